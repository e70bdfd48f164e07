package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// This file runs a file of many pairs, a line of results for each, and takes means over those of
// equal length. The means are made of the lines themselves, so that they are the same whether one
// run has written these, one that broke off and another that went on, or many machines.

// Pairs is a run over a file of pairs, or over results of such runs.
type Pairs struct {
	name     string // of the file of pairs, or of the results
	origin   Origin
	study    *Study
	model    *Model // of results, what they say about theirs; nil before the first one
	progress func(done float64)
	note     func(error)
	out      *lineFile

	pairs, resumed, failed int            // resumed: taken over from an earlier run
	kinds                  map[string]int // of how many pairs there were notes of each kind
	common                 Line           // what all lines have in common
	means                  map[int]*Mean  // by token count
}

func newPairs(name string, origin Origin, note func(error)) *Pairs {
	return &Pairs{name: name, origin: origin, note: note, study: &Study{metric: metricDiff},
		kinds: map[string]int{}, means: map[int]*Mean{}}
}

// run answers every line. A pair that cannot be run is noted, and the others are run all the same.
func (s *Pairs) run(in io.Reader) {
	const longest = 1 << 20 // bytes of a line: no text within a model's context comes near it
	eachLine(s.name, in, longest, func(n int, line []byte) {
		if len(bytes.TrimSpace(line)) > 0 && line[0] != '#' {
			s.pairs++
			s.answer(n, string(line))
		}
	})
	require(s.pairs > 0, "%s: there is no pair in it", s.name)
	if s.out.earlier != nil {
		s.out.differs("has results of more pairs than %s", s.name)
	}
}

// answer makes a pair's line of results, or takes it over from an earlier run, and adds it to the
// mean. What ends the run is what it fails with.
func (s *Pairs) answer(n int, line string) {
	where := fmt.Sprintf("%s:%d", s.name, n)
	there := string(s.out.earlier["line"]) == strconv.Itoa(n)
	var text bytes.Buffer
	var notes []string
	err := caught(func() {
		fields, own, odd := s.study.fields(s.name, line)
		notes = odd
		clean, corrupt := Text{"the clean text", fields[0]}, Text{"the corrupt text", fields[1]}
		q := newQuestion(s.model, clean, corrupt, fields[2], fields[3], s.study.metric)
		notes = append(notes, q.notes...)
		var r *Report
		if there {
			r = s.study.newReport(s.model, q)
		} else {
			r = get(s.study.run(s.model, q, s.progress))
			notes = append(notes, q.spaceNotes(&r.baselines)...)
		}
		r.Line, r.own, r.Origin = n, own, s.origin
		try(r.writeJSON(&text))
	})
	switch {
	case err != nil:
		s.tell(where, notes)
		s.failed++
		s.note(fmt.Errorf("%s: %w", where, err))
	case there:
		s.resumed++ // its notes are those of the earlier run
		s.out.check(text.Bytes(), where, min(s.study.top, s.model.vocab))
		if err := caught(func() { s.add(s.out.earlier) }); err != nil {
			s.out.differs("has a result of %s that is none (%v)", where, err)
		}
		s.out.advance()
	case s.out.earlier != nil:
		s.out.differs("has no result of %s, but one of a later pair", where)
	default:
		s.out.write(text.Bytes())
		s.addText(where, text.Bytes(), notes)
	}
}

// tell notes what is odd about a pair. The first few notes of a kind are shown, and the end of the
// run sums all of them up.
func (s *Pairs) tell(where string, notes []string) {
	var kinds []string // a pair counts once
	for _, note := range notes {
		kind := kindOf()(note)
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
			s.kinds[kind]++
		}
		if s.kinds[kind] <= fewNotes {
			s.note(fmt.Errorf("%s: %s", where, note))
		}
	}
}

const fewNotes = 3

// kindOf is what notes of a kind have in common: not texts and numbers, nor a clause that ends in
// one.
var kindOf = sync.OnceValue(func() func(note string) string {
	detail := regexp.MustCompile(`"(\\.|[^"\\])*"|-?[0-9][0-9.]*`)
	last := regexp.MustCompile(`[:,][^:,]*…$`)
	return func(note string) string {
		return last.ReplaceAllString(detail.ReplaceAllString(note, "…"), "")
	}
})

// eachLine calls f for every line of the file of this name, without the line's end.
func eachLine(name string, r io.Reader, longest int, f func(n int, line []byte)) {
	lines, n := bufio.NewScanner(r), 1
	lines.Buffer(nil, longest)
	for ; lines.Scan(); n++ {
		line := lines.Bytes()
		if n == 1 {
			require(!isUTF16(string(line)), "%s: %w", name, errUTF16)
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		f(n, line)
	}
	switch err := lines.Err(); err {
	case nil:
	case bufio.ErrTooLong:
		fail("%s: line %d is longer than %d bytes", name, n, longest)
	default:
		fail("%s: %w", name, reason(err))
	}
}

// standardInput is what standard input is called in notes and errors.
const standardInput = "standard input"

// fields reads a line of a file of pairs: clean text, corrupt text, clean answer, corrupt answer.
// An answer that the metric does without may be missing. own is what else the line has, for the
// result. The line is JSON by the file's name, or where it has none by itself.
func (s *Study) fields(file, line string) (fields []string, own string, notes []string) {
	least, likeJSON := 2+s.metric.row().answers, strings.HasPrefix(line, `{"`)
	if strings.EqualFold(filepath.Ext(file), ".jsonl") || file == standardInput && likeJSON {
		return jsonFields(line, least)
	}
	fields = strings.Split(line, "\t")
	for len(fields) >= least && len(fields) < 4 {
		fields = append(fields, "")
	}
	quoted := func(field string) bool {
		return len(field) > 1 && field[0] == '"' && field[len(field)-1] == '"'
	}
	switch {
	case len(fields) == 1 && likeJSON:
		fail("this looks like JSON, which is read from a file named .jsonl")
	case len(fields) != 4:
		fail("%s, where four are expected, with tabs between: clean text, corrupt text, "+
			"clean answer, corrupt answer", count(len(fields), "field"))
	case slices.ContainsFunc(fields, quoted):
		notes = []string{"fields are not quoted here: " +
			"the quotation marks around this line's are taken for part of them"}
	}
	return fields, "", notes
}

// resultKeys are the keys of a line of results.
const resultKeys = " line model metric site to answer clean corrupt rows columns version command " +
	"bos layers positions matrix matrices logits mean "

// jsonFields is fields of a line of JSON. Other keys are a user's own: own is what they are in the
// result, as they were written.
func jsonFields(line string, least int) (fields []string, own string, notes []string) {
	said := get(parseJSON([]byte(line)))
	var object map[string]json.RawMessage // as it is written
	try(json.Unmarshal([]byte(line), &object))
	keys := []string{"clean", "corrupt", "clean_answer", "corrupt_answer"}
	for i, key := range keys {
		fields = append(fields, as[string](said[key], key))
		if said[key] == nil && i < least {
			fail("it has no %q", key)
		}
	}
	for _, key := range sortedKeys(object) {
		switch {
		case slices.Contains(keys, key):
		case strings.Contains(resultKeys, " "+key+" "):
			notes = append(notes, fmt.Sprintf("its key %q is left out: "+
				"results have one of that name", key))
		default:
			own += fmt.Sprintf(",%s:%s", encodeJSON(key), object[key])
		}
	}
	return fields, own, notes
}

// lineFile is a file of results that grows line by line. Until it is whole its name ends in
// .partial: a run that fails neither destroys an older file nor loses what it has. The partial file
// is locked as long as the run lives, and another one is refused.
type lineFile struct {
	name, target, partial string // as the user calls it, and where that leads
	file                  *os.File
	print                 func(line []byte) error // in place of a file

	// What an earlier run has left, as long as no line is added to it.
	from      *os.File // the partial file, or the target; nil for nothing
	lines     *bufio.Scanner
	earlier   Line  // the next of its results; nil where they are at their end
	means     bool  // whether a mean follows them
	end, next int64 // bytes: where the lines that are right end, and the next one
}

// openLines opens a file of results, and to resume goes to the lines that it has. What is no file,
// such as a pipe, is written to as it is.
func openLines(name string, resume bool) (l *lineFile, err error) {
	l = &lineFile{name: name}
	err = caught(func() {
		info, statErr := os.Stat(name)
		if statErr == nil && !info.Mode().IsRegular() {
			if resume {
				fail("it is no file that a run could go on with")
			}
			device := get(os.OpenFile(name, os.O_WRONLY, 0))
			l.print = func(line []byte) error {
				_, err := device.Write(line)
				return l.failed(err)
			}
			return
		}
		l.target = get(throughLinks(name))
		l.partial = l.target + ".partial"
		if statErr == nil {
			l.file = get(openLocked(l.partial, info.Mode().Perm()))
			l.file.Chmod(info.Mode().Perm()) // whatever the umask is
		} else {
			l.file = get(openLocked(l.partial, 0o666))
		}
		left := get(l.file.Seek(0, io.SeekEnd))
		switch {
		case !resume && left > 0:
			l.file.Close()
			fail("a run that broke off has left its lines in %s: go on from there with -resume, "+
				"or rename or delete it", l.partial)
		case !resume:
			return
		case left == 0 && statErr == nil:
			l.from = get(os.Open(l.target))
		default:
			l.from = l.file
		}
		l.lines = bufio.NewScanner(io.NewSectionReader(l.from, 0, math.MaxInt64))
		l.lines.Buffer(nil, longestLine)
		l.lines.Split(wholeLine)
		if err := caught(l.advance); err != nil {
			try(l.finish(err))
		}
	})
	return l, l.failed(err)
}

// failed is an error of writing the file.
func (l *lineFile) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("writing %s: %w", l.name, reason(err))
}

// longestLine bounds a line of results: the largest sweeps have some hundred MB.
const longestLine = 1 << 30

// wholeLine splits off a line that has its end. What follows the last one is of a run that broke
// off within it.
func wholeLine(data []byte, _ bool) (advance int, token []byte, err error) {
	if end := bytes.IndexByte(data, '\n') + 1; end > 0 {
		return end, data[:end], nil
	}
	return 0, nil, nil
}

// advance goes to the next result of the earlier run.
func (l *lineFile) advance() {
	var err error
	l.end, l.earlier = l.next, nil
	if l.lines.Scan() {
		if l.means = isMean(l.lines.Bytes()); !l.means {
			l.next += int64(len(l.lines.Bytes()))
			l.earlier, err = parseLine(l.lines.Bytes())
		}
	}
	if err = cmp.Or(err, l.lines.Err()); err != nil {
		l.differs("has a line that is no result (%v)", err)
	}
}

// check makes sure that the earlier run's line is the one that this run would write, as far as that
// is known beforehand.
func (l *lineFile) check(text []byte, where string, top int) {
	const computed = " command clean.metric clean.top clean.logits corrupt.metric corrupt.top " +
		"corrupt.logits matrix matrices logits "
	want := get(parseLine(text))
	for _, key := range append(sortedKeys(want), sortedKeys(l.earlier)...) {
		if !strings.Contains(computed, " "+key+" ") && !bytes.Equal(want[key], l.earlier[key]) {
			l.differs("has a result of %s with another %q", where, key)
		}
	}
	if bytes.Count(l.earlier["clean.top"], []byte(`{"id":`)) != top {
		l.differs("has a result of %s with another -top", where)
	}
}

// differs fails because an earlier run's lines are not the first ones of this run.
func (l *lineFile) differs(how string, args ...any) {
	file := l.partial
	if l.from != l.file {
		file = l.target
	}
	fail("%s %s, so that this run cannot go on with it: rename it, or name another file", file,
		fmt.Sprintf(how, args...))
}

// write adds one line, whole or not at all.
func (l *lineFile) write(line []byte) {
	if l.print != nil {
		try(l.print(line))
		return
	}
	try(l.failed(l.begin()))
	if _, err := l.file.Write(line); err != nil {
		l.file.Truncate(l.end)
		try(l.failed(err))
	}
	l.end += int64(len(line))
}

// begin makes the partial file end behind the lines of an earlier run: half a line is cut off, and
// so are its means, which are those of all lines again.
func (l *lineFile) begin() (err error) {
	switch l.from {
	case nil:
	case l.file:
		if err = l.file.Truncate(l.end); err == nil {
			_, err = l.file.Seek(l.end, io.SeekStart)
		}
	default:
		_, err = io.Copy(l.file, io.NewSectionReader(l.from, 0, l.end))
		l.from.Close()
	}
	l.from = nil
	return err
}

// isWhole tells whether the target has all lines, and so many means: then it is left as it is.
func (l *lineFile) isWhole(means int) bool {
	if !l.means || l.from == nil || l.from == l.file {
		return false
	}
	for means--; l.lines.Scan() && isMean(l.lines.Bytes()); {
		means--
	}
	if means == 0 {
		os.Remove(l.partial)
		l.file.Close()
		l.file = nil
	}
	return means == 0
}

// finish ends the file. If all went well it gets its name; else what went wrong is returned, with
// the name under which the lines can be found.
func (l *lineFile) finish(err error) error {
	if l.file == nil {
		return err
	}
	defer l.file.Close() // it is locked until it has its name
	switch untouched := l.from != nil && l.from != l.file; {
	case l.end == 0 && l.next == 0, untouched && err != nil:
		os.Remove(l.partial)
	case err != nil:
		err = fmt.Errorf("%w; the lines that are done are in %s", err, l.partial)
	default:
		err = caught(func() {
			try(l.begin())
			try(l.file.Sync())
			try(os.Rename(l.partial, l.target))
		})
		if err != nil {
			err = fmt.Errorf("%w; its lines are in %s", l.failed(err), l.partial)
		}
	}
	return err
}

// Mean is the ratio of means over pairs of equal token count: of each cell Σ(patched − corrupt),
// over Σ(clean − corrupt). A mean of ratios would be ruled by the pair whose gap is the smallest.
type Mean struct {
	Result
	pairs int
	gap   Sum     // Σ(clean − corrupt)
	sums  [][]Sum // Σ(patched − corrupt): [panel][row·columns + column]
}

// Sum is a sum that is the same in whatever order, and in whatever parts, its terms are added: a
// whole number of 128 bits, in units of 2⁻⁶⁴. A term of 2⁻¹¹ or more goes in to its last bit.
type Sum struct {
	high, low uint64
	none      bool // a term was no number, or so large that it is none of a logit
}

func (s *Sum) add(v float64) {
	whole, part := math.Modf(math.Abs(v))
	if !(whole < 1<<32) {
		s.none = true
		return
	}
	high, low, carry := uint64(whole), uint64(math.Ldexp(part, 64)), uint64(0)
	if v < 0 {
		s.low, carry = bits.Sub64(s.low, low, 0)
		s.high -= high + carry
		return
	}
	s.low, carry = bits.Add64(s.low, low, 0)
	s.high += high + carry
}

func (s Sum) value() float64 {
	switch {
	case s.none:
		return math.NaN()
	case int64(s.high) < 0:
		low, borrow := bits.Sub64(0, s.low, 0)
		return -Sum{high: -s.high - borrow, low: low}.value()
	}
	return float64(s.high) + math.Ldexp(float64(s.low), -64)
}

// Line is a line of results: its keys, "clean.ids" for one within another, and their JSON.
type Line map[string][]byte

// parseLine takes a line of results apart. What nobody asks for is not looked into.
func parseLine(text []byte) (line Line, err error) {
	defer catchFault(&err)
	line = object(bytes.TrimSpace(text))
	for _, run := range runNames {
		for key, value := range object(line[run]) {
			line[run+"."+key] = value
		}
		delete(line, run)
	}
	return line, nil
}

func isMean(line []byte) bool { return bytes.HasPrefix(line, []byte(`{"mean":`)) }

// object takes a JSON object apart, as this program writes it: without spaces. It fails where it is
// none.
func object(text []byte) Line {
	line, depth, start, key := Line{}, 0, 1, ""
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case c == '{' || c == '[':
			depth++
		case depth == 1 && c == ':':
			if key != "" || i < start+3 || text[start] != '"' || text[i-1] != '"' {
				try(errNoResult)
			}
			key, start = string(text[start+1:i-1]), i+1
		case depth == 1 && (c == ',' || c == '}'):
			if _, twice := line[key]; twice {
				fail("the key %q comes twice", key)
			}
			if key == "" || i == start || c == '}' && i+1 < len(text) {
				try(errNoResult)
			}
			if line[key] = text[start:i]; c == '}' {
				return line
			}
			key, start = "", i+1
		case c == '}' || c == ']':
			depth--
		}
	}
	panic(fault{errNoResult})
}

var errNoResult = errors.New("it is not a line of results")

// number is a JSON number, NaN for null or nothing.
func number(text []byte) float64 {
	if len(text) == 0 || string(text) == "null" {
		return math.NaN()
	}
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil || v-v != 0 || text[0] != '-' && (text[0] < '0' || text[0] > '9') {
		fail("%s is not a number", quote(string(text)))
	}
	return v
}

// eachCell reads matrices of one size side by side: f gets the numbers of every cell.
func eachCell(rows, columns int, matrices [3][]byte, f func(cell int, v [3]float64)) {
	for cell := range rows * columns {
		before, v := ",", [3]float64{}
		if cell == 0 {
			before = "[["
		} else if cell%columns == 0 {
			before = "],["
		}
		for i, text := range matrices {
			rest, ok := bytes.CutPrefix(text, []byte(before))
			end := bytes.IndexAny(rest, ",]")
			if !ok || end < 1 {
				try(errShape)
			}
			v[i], matrices[i] = number(rest[:end]), rest[end:]
		}
		f(cell, v)
	}
	for _, rest := range matrices {
		if string(rest) != "]]" {
			try(errShape)
		}
	}
}

var errShape = errors.New("its matrices do not have the shape of what its site is")

// addText adds a line to the mean of its token count, and tells what is odd about its pair.
func (s *Pairs) addText(where string, text []byte, notes []string) {
	within(where, func() { notes = append(notes, s.add(get(parseLine(text)))...) })
	s.tell(where, notes)
}

func (s *Pairs) add(line Line) (notes []string) {
	s.compare(line)
	reading := func(run string) Reading {
		of := object(line[run+".logits"])
		return Reading{clean: number(of["clean"]), corrupt: number(of["corrupt"])}
	}
	clean, corrupt := reading("clean"), reading("corrupt")
	from := corrupt.corrupt - corrupt.clean
	gap := clean.corrupt - clean.clean - from
	if math.IsNaN(gap) {
		return []string{"it has no corrupt answer, so that it is not in the mean"}
	}
	var answer AnswerReport
	if clean.corrupt > clean.clean && json.Unmarshal(line["answer"], &answer) == nil {
		notes = answer.notes(clean)
	}
	mean := s.meanFor(line)
	one := mean.panels[0].title
	matrices, logits := Line{one: line["matrix"]}, Line{one: line["logits"]}
	if len(mean.panels) > 1 {
		matrices, logits = object(line["matrices"]), object(line["logits"])
	}
	for i, p := range mean.panels {
		of := object(logits[p.title])
		texts := [3][]byte{matrices[p.title], of["clean"], of["corrupt"]}
		eachCell(len(mean.rows.names), len(mean.columns.names), texts,
			func(cell int, v [3]float64) {
				change := v[2] - v[1] - from
				if math.IsNaN(v[0]) {
					change = v[0] // there is no such cell
				}
				mean.sums[i][cell].add(change)
			})
	}
	mean.pairs++
	mean.gap.add(gap)
	return notes
}

// compare fails if a line is not of the same study as those before it. The first one says which.
func (s *Pairs) compare(line Line) {
	if line["version"] == nil || line["model"] == nil {
		fail("it is no line of results, or was written by an older mechpatch, " +
			"which left out what a mean needs")
	}
	keys := []string{"model", "site", "to", "layers", "positions", "bos"}
	if s.common != nil {
		for _, key := range keys {
			if !bytes.Equal(line[key], s.common[key]) {
				fail("its %q is not that of the results before it", key)
			}
		}
		return
	}
	s.common = Line{}
	for _, key := range keys {
		s.common[key] = bytes.Clone(line[key])
	}
	if s.model != nil {
		return
	}
	var model ModelReport
	for i, into := range []any{&model, &s.study.site, &s.study.to, &s.study.layers,
		&s.study.positions, &s.origin.BOS} {
		value := line[keys[i]]
		if value != nil && json.Unmarshal(value, into) != nil {
			fail("its %q: %w", keys[i], errNoResult)
		}
	}
	const most = 1 << 9
	if model.Layers < 1 || model.Heads < 1 || model.Layers > most || model.Heads > most {
		try(errShape)
	}
	s.origin.Layers, s.origin.Positions = s.study.layers, s.study.positions
	s.model = &Model{Config: Config{model.Layers, model.Heads, model.Width, model.Context,
		model.Vocab}, name: model.Name, source: model.Source, headsAssumed: model.Assumed,
		sum: model.Sum}
}

// meanFor is the mean that a line belongs to.
func (s *Pairs) meanFor(line Line) *Mean {
	T := 1 + bytes.Count(line["clean.ids"], []byte(","))
	if s.means[T] != nil {
		return s.means[T]
	}
	mean := &Mean{Result: s.study.layOut(s.model, T, nil, nil)}
	columns := len(mean.columns.names)
	cells := len(mean.rows.names) * columns
	if len(line["matrix"])+len(line["matrices"]) < 2*cells*len(mean.panels) {
		try(errShape)
	}
	for i := range mean.panels {
		sums := make([]Sum, cells)
		mean.sums = append(mean.sums, sums)
		mean.panels[i].at = func(row, column int) float64 {
			return sums[row*columns+column].value()/mean.gap.value() + 0 // not −0
		}
	}
	mean.reversed = metricRestored.row().highIsClean
	mean.marks = []Mark{{1, "clean"}, {0, "corrupt"}}
	s.means[T] = mean
	return mean
}

// readResults adds the lines of a file of results.
func (s *Pairs) readResults(name string) {
	in, err := os.Open(name)
	if err != nil {
		fail("reading %s: %w", name, reason(err))
	}
	defer in.Close()
	ends := false
	eachLine(name, in, longestLine, func(n int, text []byte) {
		if ends = isMean(text); !ends {
			s.pairs++
			s.addText(fmt.Sprintf("%s:%d", name, n), text, nil)
		}
	})
	if !ends {
		s.note(fmt.Errorf("%s does not end in a mean: the run that wrote it may have broken off",
			name))
	}
}

// finish ends a run over pairs or over results, which err has ended early: the notes are summed up,
// the means follow the lines, and the file of results gets its name.
func (s *Pairs) finish(err error) error {
	of := count(s.pairs, "pair")
	if s.resumed > 0 {
		of = count(s.pairs-s.resumed, "pair") + " run now"
	}
	for _, kind := range sortedKeys(s.kinds) {
		if n := s.kinds[kind]; n > fewNotes {
			s.note(fmt.Errorf("%s: in %d of %s %s", s.name, n, of, kind))
		}
	}
	if err == nil {
		err = caught(s.writeMeans)
	}
	return s.out.finish(err)
}

// writeMeans writes a line for each mean, in the order of their token counts.
func (s *Pairs) writeMeans() {
	for _, T := range sortedKeys(s.means) {
		if s.means[T].gap.value() == 0 {
			s.note(fmt.Errorf("%s: no mean of %s: the clean and the corrupt runs give the answers "+
				"the same difference, there is nothing to restore", s.name, count(T, "token")))
			delete(s.means, T)
		}
	}
	if s.out.isWhole(len(s.means)) {
		s.note(fmt.Errorf("%s is whole: there is nothing left to run", s.out.name))
		return
	}
	for _, T := range sortedKeys(s.means) {
		mean := s.means[T]
		head := struct {
			Tokens  int         `json:"tokens"`
			Pairs   int         `json:"pairs"`
			Model   ModelReport `json:"model"`
			Site    string      `json:"site"`
			To      string      `json:"to,omitempty"`
			Rows    []string    `json:"rows"`
			Columns []string    `json:"columns"`
		}{T, mean.pairs, newModelReport(s.model), mean.site, s.study.to, mean.rows.names,
			mean.columns.names}
		mean.numbers = []field{mean.matrices()}
		var text bytes.Buffer
		b := bufio.NewWriter(&text)
		b.WriteString(`{"mean":`)
		mean.writeObject(b, head, "},"+encodeJSON(s.origin)[1:]+"\n")
		b.Flush()
		s.out.write(text.Bytes())
	}
}

// incomplete is an error if there were pairs that could not be run.
func (s *Pairs) incomplete() error {
	if s.failed == 0 {
		return nil
	}
	return fmt.Errorf("%s: %d of %s could not be run", s.name, s.failed, count(s.pairs, "pair"))
}

// figures paints the means, by the names of their files: image, and where there are several, with
// the token count before the extension.
func (s *Pairs) figures(image string, style style) map[string]*Figure {
	figures := map[string]*Figure{}
	for T, mean := range s.means {
		file := image
		if len(s.means) > 1 {
			extension := filepath.Ext(image)
			file = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(image, extension), T, extension)
		}
		mean.Origin = s.origin
		figures[file] = mean.figure(style)
		figures[file].title = fmt.Sprintf("mean restored share, %s of %s",
			count(mean.pairs, "pair"), count(T, "token"))
	}
	return figures
}
