package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// This file runs a file of many pairs: a result for each, and means over those of equal length.

// runPairs answers every line of a file of pairs. Each result is handed to write as soon as it is
// there, and the means at the end. What is wrong with a line, or odd, is handed to note; the others
// are run all the same, and incomplete says how many are missing.
func (s *Study) runPairs(
	m *Model, name string, in io.Reader, write func(any) error, note func(error),
	progress func(done float64),
) (means Means, incomplete, err error) {
	means = Means{}
	pairs, failed := 0, 0
	var unwritten error
	err = eachLine(in, func(n int, line string) error {
		pairs++
		complain := func(err error) { note(fmt.Errorf("%s:%d: %w", name, n, err)) }
		r, err := s.runLine(m, line, isJSONLines(name, line), complain, progress)
		if err != nil {
			failed++
			complain(err)
			return nil
		}
		for _, what := range r.notes() {
			complain(errors.New(what))
		}
		if err := means.add(r); err != nil {
			complain(fmt.Errorf("left out of the mean: %w", err))
		}
		r.Line = n
		unwritten = write(r)
		return unwritten
	})
	if err == nil && pairs == 0 {
		err = errors.New("there is no pair in it")
	}
	if unwritten != nil {
		return nil, nil, unwritten
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, reason(err))
	}
	for _, T := range sortedKeys(means) {
		if means[T].gap == 0 {
			note(fmt.Errorf("%s: no mean of %s: the clean and the corrupt runs give the answers "+
				"the same difference, there is nothing to restore", name, count(T, "token")))
			delete(means, T)
			continue
		}
		if err := write(means[T].report(T)); err != nil {
			return nil, nil, err
		}
	}
	if failed > 0 {
		incomplete = fmt.Errorf("%s: %d of %s could not be run", name, failed, count(pairs, "pair"))
	}
	return means, incomplete, nil
}

// eachLine calls f for every line that holds a pair, until f fails. Empty lines and lines that
// begin with # are left out.
func eachLine(r io.Reader, f func(n int, line string) error) error {
	const longest = 1 << 20 // bytes of a line: no text within a model's context comes near it
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, longest)
	n := 0
	for lines.Scan() {
		n++
		line := lines.Text()
		if n == 1 {
			if isUTF16(line) {
				return errUTF16
			}
			line = strings.TrimPrefix(line, "\ufeff")
		}
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		if err := f(n, line); err != nil {
			return err
		}
	}
	if lines.Err() == bufio.ErrTooLong {
		return fmt.Errorf("line %d is longer than %d bytes", n+1, longest)
	}
	return lines.Err()
}

func (s *Study) runLine(
	m *Model, line string, asJSON bool, note func(error), progress func(done float64),
) (*Report, error) {
	fields, err := []string(nil), error(nil)
	if asJSON {
		fields, err = s.jsonFields(line)
	} else {
		fields, err = s.tabFields(line, note)
	}
	if err != nil {
		return nil, err
	}
	clean, corrupt := Text{"the clean text", fields[0]}, Text{"the corrupt text", fields[1]}
	q, err := newQuestion(m, clean, corrupt, fields[2], fields[3], s.metric)
	if err != nil {
		return nil, err
	}
	for _, what := range q.notes() {
		note(errors.New(what))
	}
	return s.run(m, q, progress)
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

// jsonFields reads a line of JSON: clean text, corrupt text, clean answer, corrupt answer. An
// answer that the metric does without may be missing; other keys are left alone.
func (s *Study) jsonFields(line string) ([]string, error) {
	var pair struct {
		Clean         *string `json:"clean"`
		Corrupt       *string `json:"corrupt"`
		CleanAnswer   *string `json:"clean_answer"`
		CorruptAnswer *string `json:"corrupt_answer"`
	}
	if err := parseJSON([]byte(line), &pair); err != nil {
		return nil, err
	}
	fields := make([]string, 4)
	for i, field := range []struct {
		key   string
		value *string
	}{
		{"clean", pair.Clean}, {"corrupt", pair.Corrupt},
		{"clean_answer", pair.CleanAnswer}, {"corrupt_answer", pair.CorruptAnswer},
	} {
		if field.value != nil {
			fields[i] = *field.value
		} else if i < 2+s.metric.answers() {
			return nil, fmt.Errorf("it has no %q", field.key)
		}
	}
	// The decoder puts U+FFFD in place of what is no character, which would be another text.
	if strings.Count(strings.Join(fields, ""), "\ufffd") > strings.Count(line, "\ufffd") {
		return nil, errors.New("it holds half a surrogate pair, which is not a character")
	}
	return fields, nil
}

// tabFields splits a line at its tabs. A metric that needs fewer answers does with fewer fields.
func (s *Study) tabFields(line string, note func(error)) ([]string, error) {
	fields := strings.Split(line, "\t")
	if len(fields) >= 2+s.metric.answers() && len(fields) < 4 {
		fields = append(fields, "", "")[:4]
	}
	if len(fields) == 1 && strings.HasPrefix(line, `{"`) {
		return nil, errors.New("this looks like JSON, which is read from a file named .jsonl")
	}
	if len(fields) != 4 {
		return nil, fmt.Errorf("%s, where four are expected, with tabs between: clean text, "+
			"corrupt text, clean answer, corrupt answer", count(len(fields), "field"))
	}
	for _, field := range fields {
		if len(field) > 1 && field[0] == '"' && field[len(field)-1] == '"' {
			note(errors.New("fields are not quoted here: " +
				"the quotation marks around this line's are taken for part of them"))
			break
		}
	}
	return fields, nil
}

// lineFile is a file of results that grows line by line. Until it is whole its name ends in
// .partial: a run that fails neither destroys an older file nor loses what it has.
type lineFile struct {
	name, target string // as the user calls it, and where that leads
	partial      string // "" for what is no file, such as a pipe: that is written to as it is
	file         *wholeLines
	some         bool // whether there is a line in it
}

func openLines(name string) (*lineFile, error) {
	l := &lineFile{name: name, target: name}
	path, flags, mode := name, os.O_WRONLY, fs.FileMode(0o666)
	info, statErr := os.Stat(name)
	exists, err := statErr == nil, error(nil)
	if !exists || info.Mode().IsRegular() {
		if l.target, err = throughLinks(name); err != nil {
			return nil, fmt.Errorf("writing %s: %w", name, err)
		}
		l.partial = beside(l.target, ".partial")
		path, flags = l.partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL
		if left, err := os.Lstat(path); err == nil && left.Size() > 0 {
			return nil, fmt.Errorf("writing %s: a run that broke off, or is not done, has left "+
				"its lines in %s: rename or delete it", name, path)
		}
		os.Remove(path) // it is empty
	}
	if exists {
		mode = info.Mode().Perm()
	}
	file, err := os.OpenFile(path, flags, mode)
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", name, reason(err))
	}
	if exists && l.partial != "" {
		file.Chmod(mode) // the umask has no say in the mode of a file that was there
	}
	l.file = &wholeLines{File: file}
	return l, nil
}

// Write adds one line, whole or not at all.
func (l *lineFile) Write(line []byte) (int, error) {
	n, err := l.file.Write(line)
	if err != nil {
		return n, fmt.Errorf("writing %s: %w", l.name, reason(err))
	}
	l.some = true
	return n, nil
}

// finish ends the file. If all went well it gets its name; else what went wrong is returned, with
// the name under which the lines can be found.
func (l *lineFile) finish(err error) error {
	if closed := l.file.Close(); err == nil && closed != nil {
		err = fmt.Errorf("writing %s: %w", l.name, reason(closed))
	}
	if l.partial == "" {
		return err
	}
	if err == nil && l.some {
		if err = os.Rename(l.partial, l.target); err == nil {
			return nil
		}
		err = fmt.Errorf("writing %s: %w", l.name, reason(err))
	}
	if !l.some {
		os.Remove(l.partial)
		return err
	}
	return fmt.Errorf("%w; the lines that are done are in %s", err, l.partial)
}

// Means are mean heat maps of the restored share, one for each token count among the pairs.
type Means map[int]*Mean

// Mean is the ratio of means over pairs of equal token count: of each cell Σ(patched − corrupt),
// over Σ(clean − corrupt). A mean of ratios would be ruled by the pair whose gap is the smallest.
type Mean struct {
	pairs int
	gap   float64 // Σ(clean − corrupt)
	sum   []Panel // Σ(patched − corrupt)
	like  *Report // one of the reports, for what they have in common
}

func (s Means) add(r *Report) error {
	if r.Answer.Corrupt == nil {
		return errors.New("the restored share needs both answers")
	}
	T := len(r.Clean.IDs)
	mean := s[T]
	if mean == nil {
		mean = &Mean{like: r}
		for _, p := range r.panels {
			zeros := eachCell(p.matrix, func(float64) float64 { return 0 })
			mean.sum = append(mean.sum, Panel{p.title, zeros})
		}
		s[T] = mean
	}
	diff := func(r Reading) float64 { return metricDiff.of(r, r, r) }
	corrupt := diff(r.baselines.corrupt)
	mean.pairs++
	mean.gap += diff(r.baselines.clean) - corrupt
	for i, cells := range r.readings {
		for row := range cells {
			for c, reading := range cells[row] {
				change := diff(reading) - corrupt
				if math.IsNaN(r.panels[i].matrix[row][c]) {
					change = math.NaN() // there is no such cell
				}
				mean.sum[i].matrix[row][c] += change
			}
		}
	}
	return nil
}

// figures paints the means, each with the name of its file: image, and where there are several,
// with the token count before the extension.
func (s Means) figures(image string, style style) (files []string, figures []*Figure) {
	if image == "" {
		return nil, nil
	}
	for _, T := range sortedKeys(s) {
		file := image
		if len(s) > 1 {
			extension := filepath.Ext(image)
			file = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(image, extension), T, extension)
		}
		files = append(files, file)
		figures = append(figures, s[T].figure(T, style))
	}
	return files, figures
}

func (s *Mean) matrices() []Panel {
	var means []Panel
	for _, p := range s.sum {
		mean := eachCell(p.matrix, func(sum float64) float64 { return sum/s.gap + 0 }) // not −0
		means = append(means, Panel{p.title, mean})
	}
	return means
}

// figure is the heat map of a mean over texts of T tokens.
func (s *Mean) figure(T int, style style) *Figure {
	f := s.like.figure(style)
	pairs, tokens := count(s.pairs, "pair"), count(T, "token")
	f.title = fmt.Sprintf("mean restored share, %s of %s", pairs, tokens)
	f.panels = s.matrices()
	if len(f.panels) == 1 {
		f.panels[0].title = ""
	}
	f.reversed, f.center = Metric(metricRestored).highIsClean(), 0
	f.marks = []Mark{{1, "clean"}, {0, "corrupt"}}
	rows, columns := s.headers()
	f.rows, f.columns = rows.painted(), columns.painted()
	return f
}

// headers name the rows and columns of a mean: its texts differ, so positions have no tokens.
func (s *Mean) headers() (rows, columns header) {
	rows, columns = s.like.rows, s.like.columns
	rows.clean, rows.corrupt, columns.clean, columns.corrupt = nil, nil, nil, nil
	return rows, columns
}

type MeanReport struct {
	Mean struct {
		Tokens   int                   `json:"tokens"`
		Pairs    int                   `json:"pairs"`
		Model    ModelReport           `json:"model"`
		Site     string                `json:"site"`
		To       string                `json:"to,omitempty"`
		Rows     []string              `json:"rows"`
		Columns  []string              `json:"columns"`
		Matrix   [][]Number            `json:"matrix,omitempty"`
		Matrices map[string][][]Number `json:"matrices,omitempty"`
	} `json:"mean"`
}

func (s *Mean) report(T int) MeanReport {
	var r MeanReport
	r.Mean.Tokens, r.Mean.Pairs = T, s.pairs
	r.Mean.Model, r.Mean.Site, r.Mean.To = s.like.Model, s.like.Site, s.like.To
	rows, columns := s.headers()
	r.Mean.Rows, r.Mean.Columns = rows.names, columns.names
	r.Mean.Matrix, r.Mean.Matrices = jsonMatrices(s.matrices())
	return r
}
