package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// This file runs a file of many pairs, a line of results for each, and takes means over those of
// equal length. The means are made of the lines themselves, so that they are the same whether one
// run has written these, one that broke off and another that went on, or many machines.

// Pairs is a run over a file of pairs.
type Pairs struct {
	*Means
	study    *Study
	model    *Model
	progress func(done float64)
}

// run answers every line. A pair that cannot be run is noted, and the others are run all the same.
func (s *Pairs) run(in io.Reader) error {
	const longest = 1 << 20 // bytes of a line: no text within a model's context comes near it
	err := eachLine(s.name, in, longest, func(n int, line []byte) error {
		if len(bytes.TrimSpace(line)) == 0 || line[0] == '#' {
			return nil
		}
		s.pairs++
		return s.answer(n, string(line))
	})
	if err == nil && s.pairs == 0 {
		return fmt.Errorf("%s: there is no pair in it", s.name)
	}
	if err == nil && s.out.earlier != nil {
		return s.out.differs("has results of more pairs than " + s.name)
	}
	return err
}

// answer makes a pair's line of results, or takes it over from an earlier run, and adds it to the
// mean. Its error ends the run.
func (s *Pairs) answer(n int, line string) error {
	where := fmt.Sprintf("%s:%d", s.name, n)
	failed := func(err error) error {
		s.failed++
		s.note(fmt.Errorf("%s: %w", where, err))
		return nil
	}
	q, own, err := s.question(where, line)
	if err != nil {
		return failed(err)
	}
	var r *Report
	there := s.out.earlier != nil && string(s.out.earlier["line"]) == strconv.Itoa(n)
	if there {
		r, err = s.study.newReport(s.model, q)
	} else {
		r, err = s.study.run(s.model, q, s.progress)
	}
	if err != nil {
		return failed(err)
	}
	if !there {
		s.tell(where, q.spaceNotes(&r.baselines)...)
	}
	r.Line, r.own, r.Origin = n, own, s.origin
	var text bytes.Buffer
	if err := r.writeJSON(&text); err != nil {
		return failed(err)
	}
	switch {
	case there:
		err = s.out.check(text.Bytes(), where, min(s.study.top, s.model.vocab))
		if err == nil {
			err = s.addLine(where, s.out.earlier)
		}
		if err == nil {
			err = s.out.advance()
		}
		return err
	case s.out.earlier != nil:
		return s.out.differs("has no result of " + where + ", but one of a later pair")
	}
	if err := s.out.write(text.Bytes()); err != nil {
		return err
	}
	return s.add(where, text.Bytes())
}

// question reads a pair, with the keys of the user's own, and notes what is odd about it.
func (s *Pairs) question(where, line string) (q Question, own string, err error) {
	var fields, notes []string
	if isJSONLines(s.name, line) {
		fields, own, notes, err = s.study.jsonFields(line)
	} else {
		fields, notes, err = s.study.tabFields(line)
	}
	if err != nil {
		return q, own, err
	}
	clean, corrupt := Text{"the clean text", fields[0]}, Text{"the corrupt text", fields[1]}
	q, err = newQuestion(s.model, clean, corrupt, fields[2], fields[3], s.study.metric)
	if err == nil {
		notes = append(notes, q.notes...)
	}
	s.tell(where, notes...)
	return q, own, err
}

// eachLine calls f for every line of the file of this name, without the line's end, until f fails.
func eachLine(name string, r io.Reader, longest int, f func(n int, line []byte) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, longest)
	n := 0
	for lines.Scan() {
		n++
		line := lines.Bytes()
		if n == 1 {
			if isUTF16(string(line)) {
				return fmt.Errorf("%s: %w", name, errUTF16)
			}
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if err := f(n, line); err != nil {
			return err
		}
	}
	err := lines.Err()
	if err == bufio.ErrTooLong {
		err = fmt.Errorf("line %d is longer than %d bytes", n+1, longest)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, reason(err))
	}
	return nil
}

// isJSONLines tells whether a line of a file is JSON: by the file's name, or where it has none by
// the line.
func isJSONLines(name, line string) bool {
	if name == standardInput {
		return strings.HasPrefix(line, `{"`)
	}
	return strings.EqualFold(filepath.Ext(name), ".jsonl")
}

// standardInput is what standard input is called in notes and errors.
const standardInput = "standard input"

// resultKeys are the keys of a line of results.
const resultKeys = " line model metric site to answer clean corrupt rows columns version command " +
	"bos layers positions matrix matrices logits mean "

// jsonFields reads a line of JSON: clean text, corrupt text, clean answer, corrupt answer. An
// answer that the metric does without may be missing. Other keys are a user's own: own is what they
// are in the result, as they were written.
func (s *Study) jsonFields(line string) (fields []string, own string, notes []string, err error) {
	defer catchFault(&err)
	said, err := parseJSON([]byte(line))
	var object map[string]json.RawMessage // as it is written
	if err = cmp.Or(err, json.Unmarshal([]byte(line), &object)); err != nil {
		return nil, "", nil, err
	}
	keys := []string{"clean", "corrupt", "clean_answer", "corrupt_answer"}
	fields = make([]string, 4)
	for i, key := range keys {
		fields[i] = as[string](said[key], key)
		if said[key] == nil && i < 2+s.metric.row().answers {
			return nil, "", nil, fmt.Errorf("it has no %q", key)
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
	return fields, own, notes, nil
}

// tabFields splits a line at its tabs. A metric that needs fewer answers does with fewer fields.
func (s *Study) tabFields(line string) (fields, notes []string, err error) {
	fields = strings.Split(line, "\t")
	if len(fields) >= 2+s.metric.row().answers && len(fields) < 4 {
		fields = append(fields, "", "")[:4]
	}
	if len(fields) == 1 && strings.HasPrefix(line, `{"`) {
		err = errors.New("this looks like JSON, which is read from a file named .jsonl")
		return nil, nil, err
	}
	if len(fields) != 4 {
		return nil, nil, fmt.Errorf("%s, where four are expected, with tabs between: clean text, "+
			"corrupt text, clean answer, corrupt answer", count(len(fields), "field"))
	}
	for _, field := range fields {
		if len(field) > 1 && field[0] == '"' && field[len(field)-1] == '"' {
			return fields, []string{"fields are not quoted here: " +
				"the quotation marks around this line's are taken for part of them"}, nil
		}
	}
	return fields, nil, nil
}

// lineFile is a file of results that grows line by line. Until it is whole its name ends in
// .partial: a run that fails neither destroys an older file nor loses what it has. The partial file
// is locked as long as the run lives, and another one is refused.
type lineFile struct {
	name, target string // as the user calls it, and where that leads
	partial      string // "" for what is no file, such as a pipe: that is written to as it is
	file         *os.File
	from         *os.File           // what an earlier run has left: the partial file or the target
	lines        *bufio.Scanner     // its lines
	earlier      Line               // the next one of them; nil where they are at their end
	means, whole bool               // whether a mean follows them, and whether all do
	end, next    int64              // bytes: where those that are right end, and the next one
	print        func([]byte) error // in place of a file: standard output
}

// openLines opens a file of results, and to resume goes to the lines that it has.
func openLines(name string, resume bool) (l *lineFile, err error) {
	l = &lineFile{name: name, target: name}
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing %s: %w", name, reason(err))
		}
	}()
	info, statErr := os.Stat(name)
	if statErr == nil && !info.Mode().IsRegular() {
		if resume {
			return nil, errors.New("it is no file that a run could go on with")
		}
		l.file, err = os.OpenFile(name, os.O_WRONLY, 0)
		return l, err
	}
	if l.target, err = throughLinks(name); err != nil {
		return nil, err
	}
	mode := fs.FileMode(0o666)
	if statErr == nil {
		mode = info.Mode().Perm()
	}
	l.partial = l.target + ".partial"
	if l.file, err = openLocked(l.partial, mode); err != nil {
		return nil, err
	}
	if statErr == nil {
		l.file.Chmod(mode) // the umask has no say in the mode of a file that was there
	}
	size, err := l.file.Seek(0, io.SeekEnd)
	switch {
	case err != nil:
	case !resume && size > 0:
		l.file.Close()
		return nil, fmt.Errorf("a run that broke off has left its lines in %s: go on from there "+
			"with -resume, or rename or delete it", l.partial)
	case resume && size == 0 && statErr == nil:
		l.from, err = os.Open(l.target)
	case resume:
		l.from = l.file
	}
	if err == nil && resume {
		l.lines = bufio.NewScanner(io.NewSectionReader(l.from, 0, math.MaxInt64))
		l.lines.Buffer(nil, longestLine)
		l.lines.Split(wholeLine)
		if err = l.advance(); err != nil {
			l.finish(err)
		}
	}
	return l, err
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

// advance goes to the next line of the earlier run.
func (l *lineFile) advance() (err error) {
	l.end, l.earlier = l.next, nil
	if l.lines.Scan() {
		if l.means = isMean(l.lines.Bytes()); !l.means {
			l.next += int64(len(l.lines.Bytes()))
			l.earlier, err = parseLine(l.lines.Bytes())
		}
	}
	if err = cmp.Or(err, l.lines.Err()); err != nil {
		return l.differs("has a line that is no result (" + err.Error() + ")")
	}
	return nil
}

// check makes sure that the earlier run's line is the one that this run would write, as far as that
// is known beforehand.
func (l *lineFile) check(text []byte, where string, top int) error {
	want, err := parseLine(text)
	if err != nil {
		return err
	}
	const computed = " command clean.metric clean.top clean.logits corrupt.metric corrupt.top " +
		"corrupt.logits matrix matrices logits "
	for _, key := range append(sortedKeys(want), sortedKeys(l.earlier)...) {
		if !strings.Contains(computed, " "+key+" ") && !bytes.Equal(want[key], l.earlier[key]) {
			return l.differs(fmt.Sprintf("has a result of %s with another %q", where, key))
		}
	}
	if bytes.Count(l.earlier["clean.top"], []byte(`{"id":`)) != top {
		return l.differs(fmt.Sprintf("has a result of %s with another -top", where))
	}
	return nil
}

// differs is the error of an earlier run's lines that are not the first ones of this run.
func (l *lineFile) differs(how string) error {
	file := l.partial
	if l.from != l.file {
		file = l.target
	}
	return fmt.Errorf("%s %s, so that this run cannot go on with it: rename it, or name another "+
		"file", file, how)
}

// write adds one line, whole or not at all.
func (l *lineFile) write(line []byte) error {
	if l.print != nil {
		return l.print(line)
	}
	err := l.begin()
	if err == nil {
		if _, err = l.file.Write(line); err == nil {
			l.end += int64(len(line))
			return nil
		}
		if l.partial != "" {
			l.file.Truncate(l.end)
		}
	}
	return fmt.Errorf("writing %s: %w", l.name, reason(err))
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

// isWhole reports whether the target has all lines of an earlier run, and so many means.
func (l *lineFile) isWhole(means int) bool {
	if l.means && l.from != nil && l.from != l.file {
		for means--; l.lines.Scan() && isMean(l.lines.Bytes()); {
			means--
		}
		l.whole = means == 0
	}
	return l.whole
}

// finish ends the file. If all went well it gets its name; else what went wrong is returned, with
// the name under which the lines can be found.
func (l *lineFile) finish(err error) error {
	if l.file == nil {
		return err
	}
	defer l.file.Close() // it is locked until it has its name
	untouched := l.from != nil && l.from != l.file
	switch {
	case l.partial == "":
	case l.end == 0 && l.next == 0, untouched && (err != nil || l.whole):
		os.Remove(l.partial)
	case err == nil:
		if err = l.begin(); err == nil {
			err = l.file.Sync()
		}
		if err == nil {
			err = os.Rename(l.partial, l.target)
		}
		if err != nil {
			err = fmt.Errorf("writing %s: %w; its lines are in %s", l.name, reason(err), l.partial)
		}
	default:
		err = fmt.Errorf("%w; the lines that are done are in %s", err, l.partial)
	}
	return err
}

// Means are the mean heat maps of lines of results, one for each token count among them.
type Means struct {
	name          string // of the file of pairs, or of results
	origin        Origin
	out           *lineFile
	note          func(error)
	kinds         map[string]int    // of how many pairs there were notes of each kind
	last          map[string]string // where the last one was
	pairs, failed int
	common        Line // what all lines have in common
	study         Study
	model         *Model
	of            map[int]*Mean
}

// Mean is the ratio of means over pairs of equal token count: of each cell Σ(patched − corrupt),
// over Σ(clean − corrupt). A mean of ratios would be ruled by the pair whose gap is the smallest.
type Mean struct {
	Result
	pairs int
	gap   Sum     // Σ(clean − corrupt)
	sums  [][]Sum // Σ(patched − corrupt): [panel][row·columns + column]

	cells [][3][]float64 // of a line, as sums: what is shown, and the answers' logits
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

func (s *Sum) value() float64 {
	high, low, sign := s.high, s.low, 1.
	if int64(high) < 0 {
		low, high, sign = -low, ^high, -1
		if low == 0 {
			high++
		}
	}
	if s.none {
		return math.NaN()
	}
	return sign * (float64(high) + math.Ldexp(float64(low), -64))
}

// Line is a line of results: its keys, "clean.ids" for one within another, and their JSON.
type Line map[string][]byte

// parseLine takes a line of results apart. What nobody asks for is not looked into.
func parseLine(text []byte) (Line, error) {
	line, err := object(bytes.TrimSpace(text))
	if err != nil {
		return nil, err
	}
	for _, run := range runNames {
		inner, err := object(line[run])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", run, err)
		}
		delete(line, run)
		for key, value := range inner {
			line[run+"."+key] = value
		}
	}
	return line, nil
}

func isMean(line []byte) bool { return bytes.HasPrefix(line, []byte(`{"mean":`)) }

// object is a JSON object's keys and their values.
func object(text []byte) (Line, error) {
	line := Line{}
	return line, items(text, func(key string, value []byte) error {
		if _, twice := line[key]; twice {
			return fmt.Errorf("the key %q comes twice", key)
		}
		line[key] = value
		return nil
	})
}

// items calls f for the items of a JSON object or list as this program writes them, without spaces.
func items(text []byte, f func(key string, value []byte) error) error {
	last := len(text) - 1
	isObject := last > 0 && text[0] == '{' && text[last] == '}'
	if !isObject && !(last > 0 && text[0] == '[' && text[last] == ']') {
		return errNoResult
	}
	for start := 1; start < last; start++ {
		end, key := start+itemLength(text[start:last]), ""
		if isObject {
			if end-start < 2 || text[start] != '"' || text[end] != ':' {
				return errNoResult
			}
			key, start = string(text[start+1:end-1]), end+1
			end = start + itemLength(text[start:last])
		}
		if end == start || end < last && text[end] != ',' || end == last-1 && text[end] == ',' {
			return errNoResult
		}
		if err := f(key, text[start:end]); err != nil {
			return err
		}
		start = end
	}
	return nil
}

var errNoResult = errors.New("it is not a line of results")

// itemLength is the length of the JSON string, number, list or object that begins a text.
func itemLength(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',', ':':
			if depth == 0 {
				return i
			}
		}
		if depth < 0 {
			return i
		}
	}
	return len(text)
}

// number is a JSON number, NaN for null or nothing.
func number(text []byte) (float64, error) {
	if len(text) == 0 || string(text) == "null" {
		return math.NaN(), nil
	}
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil || v-v != 0 || text[0] != '-' && (text[0] < '0' || text[0] > '9') {
		return 0, fmt.Errorf("%s is not a number", quote(string(text)))
	}
	return v, nil
}

// readMatrix reads [rows][columns] numbers into a list of them.
func readMatrix(into []float64, text []byte, columns int) error {
	n := 0
	err := items(text, func(_ string, row []byte) error {
		end := n + columns
		err := items(row, func(_ string, value []byte) (err error) {
			if n == min(end, len(into)) {
				return errShape
			}
			into[n], err = number(value)
			n++
			return err
		})
		if err == nil && n != end {
			err = errShape
		}
		return err
	})
	if err == nil && n != len(into) {
		err = errShape
	}
	return err
}

var errShape = errors.New("its matrices do not have the shape of what its site is")

// add adds a line to the mean of its token count, and notes what is odd about it.
func (s *Means) add(where string, text []byte) error {
	line, err := parseLine(text)
	if err == nil {
		err = s.addLine(where, line)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}

func (s *Means) addLine(where string, line Line) error {
	clean, err := readLogits(line["clean.logits"])
	corrupt, corruptErr := readLogits(line["corrupt.logits"])
	if err = cmp.Or(err, corruptErr, s.compare(line)); err != nil {
		return err
	}
	diff := func(r Reading) float64 { return metricDiff.of(r, r, r) }
	from, gap := diff(corrupt), diff(clean)-diff(corrupt)
	if math.IsNaN(gap) {
		s.tell(where, "it has no corrupt answer, so that it is not in the mean")
		return nil
	}
	var answer AnswerReport
	if clean.corrupt > clean.clean && json.Unmarshal(line["answer"], &answer) == nil {
		s.tell(where, answer.notes(clean)...)
	}
	mean, err := s.meanFor(line)
	if err != nil {
		return err
	}
	if err := mean.read(line); err != nil {
		return err
	}
	mean.pairs++
	mean.gap.add(gap)
	for panel, cells := range mean.cells {
		for i := range cells[0] {
			change := diff(Reading{clean: cells[1][i], corrupt: cells[2][i]}) - from
			if math.IsNaN(cells[0][i]) {
				change = math.NaN() // there is no such cell
			}
			mean.sums[panel][i].add(change)
		}
	}
	return nil
}

// readLogits reads what the metric of a run is computed from; what is not there is NaN.
func readLogits(text []byte) (r Reading, err error) {
	if text == nil {
		return notRun, nil
	}
	logits, err := object(text)
	if err == nil {
		r.clean, err = number(logits["clean"])
	}
	if err == nil {
		r.corrupt, err = number(logits["corrupt"])
	}
	return r, err
}

// compare makes sure that a line is of the same study as those before it. The first one says which.
func (s *Means) compare(line Line) error {
	if line["version"] == nil || line["model"] == nil {
		return errors.New("it is no line of results, or was written by an older mechpatch, " +
			"which left out what a mean needs")
	}
	keys := []string{"model", "site", "to", "layers", "positions", "bos"}
	for _, key := range keys {
		if s.common != nil && !bytes.Equal(line[key], s.common[key]) {
			return fmt.Errorf("its %q is not that of the results before it", key)
		}
	}
	if s.common != nil {
		return nil
	}
	s.common = Line{}
	var model ModelReport
	s.study.metric = metricDiff
	for i, into := range []any{&model, &s.study.site, &s.study.to, &s.study.layers,
		&s.study.positions, &s.origin.BOS} {
		value := line[keys[i]]
		s.common[keys[i]] = bytes.Clone(value)
		if err := json.Unmarshal(value, into); value != nil && err != nil {
			return fmt.Errorf("its %q: %w", keys[i], errNoResult)
		}
	}
	const most = 1 << 9
	if model.Layers < 1 || model.Heads < 1 || model.Layers > most || model.Heads > most {
		return errShape
	}
	s.origin.Layers, s.origin.Positions = s.study.layers, s.study.positions
	s.model = &Model{Config: Config{model.Layers, model.Heads, model.Width, model.Context,
		model.Vocab}, name: model.Name, source: model.Source, headsAssumed: model.Assumed,
		sum: model.Sum}
	return nil
}

// meanFor is the mean that a line belongs to.
func (s *Means) meanFor(line Line) (*Mean, error) {
	T := 1 + bytes.Count(line["clean.ids"], []byte(","))
	if mean := s.of[T]; mean != nil {
		return mean, nil
	}
	r, err := s.study.layOut(s.model, T, nil, nil)
	if err != nil {
		return nil, err
	}
	mean, columns := &Mean{Result: r}, len(r.columns.names)
	cells := len(r.rows.names) * columns
	if len(line["matrix"])+len(line["matrices"]) < 2*cells*len(r.panels) {
		return nil, errShape
	}
	for i := range r.panels {
		sums := make([]Sum, cells)
		mean.sums = append(mean.sums, sums)
		mean.cells = append(mean.cells, [3][]float64{
			make([]float64, cells), make([]float64, cells), make([]float64, cells)})
		r.panels[i].at = func(row, column int) float64 {
			return sums[row*columns+column].value()/mean.gap.value() + 0 // not −0
		}
	}
	mean.numbers = []field{mean.matrices()}
	mean.picture.reversed = metricRestored.row().highIsClean
	mean.picture.marks = []Mark{{1, "clean"}, {0, "corrupt"}}
	s.of[T] = mean
	return mean, nil
}

// read reads the numbers of a line: the matrices, and the logits of both answers.
func (s *Mean) read(line Line) (err error) {
	one := s.panels[0].title
	matrices, logits := Line{one: line["matrix"]}, Line{one: line["logits"]}
	if len(s.panels) > 1 {
		if matrices, err = object(line["matrices"]); err == nil {
			logits, err = object(line["logits"])
		}
	}
	for i := 0; i < len(s.panels) && err == nil; i++ {
		var of Line
		if of, err = object(logits[s.panels[i].title]); err != nil {
			return err
		}
		for j, text := range [][]byte{matrices[s.panels[i].title], of["clean"], of["corrupt"]} {
			err = cmp.Or(err, readMatrix(s.cells[i][j], text, len(s.columns.names)))
		}
	}
	return err
}

// readResults adds the lines of a file of results.
func (s *Means) readResults(name string) error {
	in, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, reason(err))
	}
	defer in.Close()
	ends := false
	err = eachLine(name, in, longestLine, func(n int, text []byte) error {
		if ends = isMean(text); ends {
			return nil
		}
		s.pairs++
		return s.add(fmt.Sprintf("%s:%d", name, n), text)
	})
	if err == nil && !ends {
		s.note(fmt.Errorf("%s does not end in a mean: the run that wrote it may have broken off",
			name))
	}
	return err
}

// tell notes something about a pair. The first few notes of a kind are shown, and the end of the
// run sums all of them up.
func (s *Means) tell(where string, notes ...string) {
	for _, note := range notes {
		kind := note
		if i := strings.IndexAny(note, "\"0123456789"); i > 0 {
			kind = note[:i] + "…"
		}
		if s.last == nil {
			s.last = map[string]string{}
		}
		if s.last[kind] != where { // a pair counts once
			s.last[kind] = where
			s.kinds[kind]++
		}
		if s.kinds[kind] <= fewNotes {
			s.note(fmt.Errorf("%s: %s", where, note))
		}
	}
}

const fewNotes = 3

// end ends a run over pairs or over results, which err has ended early: the notes are summed up,
// the means follow the lines, and the file of results gets its name.
func (s *Means) end(err error) error {
	for _, kind := range sortedKeys(s.kinds) {
		if n := s.kinds[kind]; n > fewNotes {
			s.note(fmt.Errorf("%s: in %d of %s %s", s.name, n, count(s.pairs, "pair"),
				strings.TrimSuffix(kind, ": its logits are …")))
		}
	}
	for _, T := range sortedKeys(s.of) {
		if err == nil && s.of[T].gap.value() == 0 {
			s.note(fmt.Errorf("%s: no mean of %s: the clean and the corrupt runs give the answers "+
				"the same difference, there is nothing to restore", s.name, count(T, "token")))
			delete(s.of, T)
		}
	}
	if err == nil && s.out.isWhole(len(s.of)) {
		s.note(fmt.Errorf("%s is whole: there is nothing left to run", s.out.name))
		return s.out.finish(nil)
	}
	for _, T := range sortedKeys(s.of) {
		if err == nil {
			err = s.writeMean(T)
		}
	}
	return s.out.finish(err)
}

// writeMean writes the line of a mean over texts of T tokens.
func (s *Means) writeMean(T int) error {
	mean := s.of[T]
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
	var text bytes.Buffer
	b := bufio.NewWriter(&text)
	b.WriteString(`{"mean":`)
	mean.writeObject(b, head)
	fmt.Fprintf(b, "},%s\n", encodeJSON(s.origin)[1:])
	b.Flush()
	return s.out.write(text.Bytes())
}

// incomplete is an error if there were pairs that could not be run.
func (s *Means) incomplete() error {
	if s.failed == 0 {
		return nil
	}
	return fmt.Errorf("%s: %d of %s could not be run", s.name, s.failed, count(s.pairs, "pair"))
}

// figures paints the means, each with the name of its file: image, and where there are several,
// with the token count before the extension.
func (s *Means) figures(image string, style style) (files []string, figures []*Figure) {
	for _, T := range sortedKeys(s.of) {
		file := image
		if len(s.of) > 1 {
			extension := filepath.Ext(image)
			file = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(image, extension), T, extension)
		}
		s.of[T].Origin = s.origin
		f := s.of[T].figure(style)
		f.title = fmt.Sprintf("mean restored share, %s of %s", count(s.of[T].pairs, "pair"),
			count(T, "token"))
		files, figures = append(files, file), append(figures, f)
	}
	return files, figures
}
