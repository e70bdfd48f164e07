package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
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
		return nil, fmt.Errorf("%d fields, where clean text, corrupt text, clean answer and corrupt answer are expected, with tabs between", len(fields))
	}
	q, err := newQuestion(Text{"the clean text", fields[0]}, Text{"the corrupt text", fields[1]}, fields[2], fields[3], s.metric)
	if err != nil {
		return nil, err
	}
	return s.run(m, q, progress)
}

// longestLine bounds a line of a file of pairs. No text within a model's context comes near it.
const longestLine = 1 << 20

// eachPair calls f for every line of a file of pairs with what lies between its tabs, or with what is wrong with the line, until
// f fails. Empty lines and lines that begin with # are left out.
func eachPair(r io.Reader, f func(line int, fields []string, fault error) error) error {
	lines := bufio.NewReader(r)
	for n := 1; ; n++ {
		s, err := readLine(lines)
		if err != nil && err != errLongLine && err != io.EOF {
			return err
		}
		if n == 1 {
			if isUTF16(s) {
				return errUTF16
			}
			s = strings.TrimPrefix(s, "\ufeff")
		}
		if err == errLongLine {
			err = f(n, nil, err)
		} else if strings.TrimSpace(s) != "" && s[0] != '#' {
			if fault := f(n, strings.Split(s, "\t"), nil); fault != nil {
				err = fault
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

var errLongLine = fmt.Errorf("the line is longer than %d bytes", longestLine)

// readLine reads a line without its end. Of a line that is too long nothing is kept. With the last line comes io.EOF.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if long = long || len(line)+len(part) > longestLine; !long {
			line = append(line, part...)
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if long && (err == nil || err == io.EOF) {
			return "", errLongLine
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"), err
	}
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
			mean.sum = append(mean.sum, Panel{title: r.panels[i].title, matrix: make([][]float64, len(cells))})
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
				mean.sum[i].matrix[l][c] += metricRestored.of(reading, r.plain.clean, r.plain.corrupt)
			}
		}
	}
	return nil
}

// figures paints the means, in the order of token counts, each with the name of its file: image, and where there are
// several, with the token count before the extension.
func (s Means) figures(image, colorMap string, scale int) (files []string, figures []*Figure) {
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
		figures = append(figures, mean.figure(T, colorMap, scale))
	}
	return files, figures
}

func (s *Mean) figure(T int, colorMap string, scale int) *Figure {
	f := s.like.figure(colorMap, scale)
	f.title = fmt.Sprintf("mean restored share, %d pairs of %d tokens", s.pairs, T)
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
		f.columnTitle, f.beside = "position", nil
		for c := range f.columns {
			f.columns[c] = strconv.Itoa(c)
		}
	}
	return f
}
