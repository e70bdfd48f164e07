package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// This file makes a Pair of what a user writes: texts, words, and files of many of them.

// runLine answers one line of a file of pairs.
func (s *Study) runLine(m *Model, fields []string, progress func(done float64)) (*Report, error) {
	if len(fields) == 3 && s.metric == metricLogit {
		fields = append(fields, "")
	}
	if len(fields) != 4 {
		return nil, fmt.Errorf("%s, where four are expected, with tabs between: clean text, "+
			"corrupt text, clean answer, corrupt answer", count(len(fields), "field"))
	}
	clean, corrupt := Text{"the clean text", fields[0]}, Text{"the corrupt text", fields[1]}
	q, err := newQuestion(m, clean, corrupt, fields[2], fields[3], s.metric)
	if err != nil {
		return nil, err
	}
	return s.run(m, q, progress)
}

// eachPair calls f for every line of a file of pairs with what lies between its tabs, until f
// fails. Empty lines and lines that begin with # are left out.
func eachPair(r io.Reader, f func(line int, fields []string) error) error {
	const longest = 1 << 20 // bytes of a line: no text within a model's context comes near it
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, longest)
	n := 0
	for lines.Scan() {
		n++
		s := lines.Text()
		if n == 1 {
			if isUTF16(s) {
				return errUTF16
			}
			s = strings.TrimPrefix(s, "\ufeff")
		}
		if strings.TrimSpace(s) == "" || s[0] == '#' {
			continue
		}
		if err := f(n, strings.Split(s, "\t")); err != nil {
			return err
		}
	}
	if lines.Err() == bufio.ErrTooLong {
		return fmt.Errorf("line %d is longer than %d bytes", n+1, longest)
	}
	return lines.Err()
}

// lineFile is a file of results that grows line by line. Until it is whole its name ends in
// .partial, so that a run that fails neither destroys an older file nor loses what it has.
type lineFile struct {
	name, target string // as the user calls it, and where that leads
	partial      string // "" for what is no file, such as a pipe: that is written to as it is
	file         *os.File
	size         int64 // of the whole lines in it
}

// openLines begins a file of lines.
func openLines(name string) (*lineFile, error) {
	l := &lineFile{name: name, target: name}
	if path, err := filepath.EvalSymlinks(name); err == nil {
		l.target = path
	}
	path, flags, mode := l.target, os.O_WRONLY, fs.FileMode(0o666)
	info, err := os.Stat(path)
	if err == nil {
		mode = info.Mode().Perm()
	}
	if err != nil || info.Mode().IsRegular() {
		l.partial = l.target + ".partial"
		path, flags = l.partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL
		os.Remove(path) // what an earlier run has left
	}
	if l.file, err = os.OpenFile(path, flags, mode); err != nil {
		return nil, fmt.Errorf("writing %s: %w", name, reason(err))
	}
	return l, nil
}

// Write adds one line, whole or not at all.
func (l *lineFile) Write(line []byte) (int, error) {
	n, err := l.file.Write(line)
	if err != nil && l.partial != "" {
		l.file.Truncate(l.size)
		l.file.Seek(l.size, io.SeekStart)
		return 0, err
	}
	l.size += int64(n)
	return n, err
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
	if err == nil && l.size > 0 {
		if err = os.Rename(l.partial, l.target); err == nil {
			return nil
		}
		err = fmt.Errorf("writing %s: %w", l.name, reason(err))
	}
	if l.size == 0 {
		os.Remove(l.partial)
		return err
	}
	return fmt.Errorf("%w; the lines that are done are in %s", err, l.partial)
}

// Means are mean heat maps of the restored share, one for each token count among the pairs.
type Means map[int]*Mean

// Mean is a sum of matrices, for each site, over pairs of equal token count.
type Mean struct {
	sum   []Panel
	pairs int
	like  *Report // one of the reports, for what they have in common
}

// add adds a report, unless its pair has nothing to restore.
func (s Means) add(r *Report) error {
	if r.Answer.Corrupt == nil {
		return errors.New("the restored share needs both answers")
	}
	if err := r.plain.restorable(); err != nil {
		return err
	}
	T := len(r.Clean.IDs)
	mean := s[T]
	if mean == nil {
		mean = &Mean{like: r}
		for i, cells := range r.readings {
			sum := Panel{title: r.panels[i].title, matrix: make([][]float64, len(cells))}
			mean.sum = append(mean.sum, sum)
			for l := range cells {
				mean.sum[i].matrix[l] = make([]float64, len(cells[l]))
			}
		}
		s[T] = mean
	}
	mean.pairs++
	for i, cells := range r.readings {
		for l, row := range cells {
			for c, reading := range row {
				restored := metricRestored.of(reading, r.plain.clean, r.plain.corrupt)
				mean.sum[i].matrix[l][c] += restored
			}
		}
	}
	return nil
}

// figures paints the means, in the order of token counts, each with the name of its file: image,
// and where there are several, with the token count before the extension.
func (s Means) figures(image string, style style) (files []string, figures []*Figure) {
	if image == "" {
		return nil, nil
	}
	counts := make([]int, 0, len(s))
	for T := range s {
		counts = append(counts, T)
	}
	slices.Sort(counts)
	for _, T := range counts {
		file, mean := image, s[T]
		if len(s) > 1 {
			extension := filepath.Ext(image)
			file = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(image, extension), T, extension)
		}
		files = append(files, file)
		figures = append(figures, mean.figure(T, style))
	}
	return files, figures
}

func (s *Mean) figure(T int, style style) *Figure {
	f := s.like.figure(style)
	pairs, tokens := count(s.pairs, "pair"), count(T, "token")
	f.title = fmt.Sprintf("mean restored share, %s of %s", pairs, tokens)
	f.panels = s.sum
	for _, p := range f.panels {
		for _, row := range p.matrix {
			for c := range row {
				row[c] /= float64(s.pairs)
			}
		}
	}
	f.reversed, f.center = metricRestored.highIsClean(), 0
	f.marks = []Mark{{1, "clean"}, {0, "corrupt"}}
	if s.like.Site != "head" {
		names := make([]string, len(f.columns.names))
		for c := range names {
			names[c] = strconv.Itoa(c)
		}
		f.columns = Axis{title: "position", names: names}
	}
	return f
}
