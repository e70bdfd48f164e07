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

// Text is a text, and what to call it in an error.
type Text struct {
	name, text string
}

// errUTF16 is what is wrong with a text that Windows wrote in two bytes for each character.
var errUTF16 = errors.New("it is UTF-16: save it as UTF-8")

func isUTF16(s string) bool {
	return strings.HasPrefix(s, "\xff\xfe") || strings.HasPrefix(s, "\xfe\xff")
}

// Question is what a user asks: a pair, and the metric to answer it with.
type Question struct {
	Pair
	cleanText, corruptText Text
	metric                 Metric
}

// newQuestion encodes the texts, which must have equally many tokens but not be the same, and the answers, which must be
// one token each. metricLogit needs no corrupt answer; the clean one then stands in for it.
func newQuestion(clean, corrupt Text, cleanAnswer, corruptAnswer string, metric Metric) (Question, error) {
	q := Question{cleanText: clean, corruptText: corrupt, metric: metric}
	q.clean, q.corrupt = encode(clean.text), encode(corrupt.text)
	if len(q.clean) == 0 || len(q.corrupt) == 0 {
		empty := clean
		if len(q.clean) > 0 {
			empty = corrupt
		}
		return q, fmt.Errorf("%s is empty: the model needs at least one token", empty.name)
	}
	if len(q.clean) != len(q.corrupt) {
		return q, fmt.Errorf("%s has %s and %s %d: they must have equally many, so change a word where they part\n%s",
			clean.name, count(len(q.clean), "token"), corrupt.name, len(q.corrupt), aligned(tokens(q.clean), tokens(q.corrupt)))
	}
	if slices.Equal(q.clean, q.corrupt) {
		return q, fmt.Errorf("%s and %s are the same text: change a word in one of them", clean.name, corrupt.name)
	}
	var err error
	if q.cleanAnswer, err = answerToken(cleanAnswer); err != nil {
		return q, fmt.Errorf("the clean answer: %w", err)
	}
	if metric == metricLogit && corruptAnswer == "" {
		q.corruptAnswer = q.cleanAnswer
		return q, nil
	}
	if q.corruptAnswer, err = answerToken(corruptAnswer); err != nil {
		return q, fmt.Errorf("the corrupt answer: %w", err)
	}
	if q.cleanAnswer == q.corruptAnswer {
		return q, fmt.Errorf("both answers are the token %q: they must differ", token(q.cleanAnswer))
	}
	return q, nil
}

// answerToken reads an answer: "Jones" is the token " Jones", "=Jones" exactly "Jones", "#5437" the token with that id.
func answerToken(answer string) (int, error) {
	text := " " + answer
	switch {
	case answer == "":
		return 0, errors.New("it is empty: name one token, such as Jones")
	case answer[0] == '#':
		id, err := strconv.Atoi(answer[1:])
		if err != nil || id < 0 || id >= vocabSize {
			return 0, fmt.Errorf("%q is no token id: they run from #0 to #%d (for a text that begins with #, write =#…)", answer, vocabSize-1)
		}
		return id, nil
	case answer[0] == '=':
		text = answer[1:]
	case answer[0] == ' ':
		text = answer
	}
	ids := encode(text)
	switch len(ids) {
	case 0:
		return 0, errors.New("it is empty: name one token, such as =Jones")
	case 1:
		return ids[0], nil
	}
	return 0, fmt.Errorf("%q is not one token but %d, %s: take the first, which is what the model predicts, as %q or #%d, or another word",
		text, len(ids), joined(tokens(ids)), "="+token(ids[0]), ids[0])
}

// metricName is the metric as a formula with the pair's own answers.
func (q *Question) metricName() string {
	word := func(id int) string { return visible(strings.TrimPrefix(token(id), " ")) }
	clean, corrupt := word(q.cleanAnswer), word(q.corruptAnswer)
	if clean == corrupt && q.cleanAnswer != q.corruptAnswer { // they differ in the space alone
		clean, corrupt = strconv.Quote(token(q.cleanAnswer)), strconv.Quote(token(q.corruptAnswer))
	}
	switch q.metric {
	case metricLogit:
		return fmt.Sprintf("logit(%s)", clean)
	case metricProb:
		return fmt.Sprintf("p(%s) - p(%s)", corrupt, clean)
	case metricRestored:
		return fmt.Sprintf("restored share of logit(%s) - logit(%s)", corrupt, clean)
	}
	return fmt.Sprintf("logit(%s) - logit(%s)", corrupt, clean)
}

// tokens are the texts of the tokens.
func tokens(ids []int) []string {
	t := make([]string, len(ids))
	for i, id := range ids {
		t[i] = token(id)
	}
	return t
}

// selection reads a choice among n layers or positions: "1,10:" is 1 and all from 10 on, "0:6" is 0 to 5, and a negative number
// counts from the end, all as in Python. "" is nil, which stands for all.
func selection(s string, n int) ([]bool, error) {
	if s == "" {
		return nil, nil
	}
	chosen := make([]bool, n)
	for _, part := range strings.Split(s, ",") {
		low, high, isRange := strings.Cut(part, ":")
		number := func(s string, otherwise int) (int, error) {
			if s = strings.TrimSpace(s); s == "" && isRange {
				return otherwise, nil
			}
			i, err := strconv.Atoi(s)
			if err != nil {
				return 0, fmt.Errorf("%q is neither a number nor a range such as 0:6", part)
			}
			if i < 0 {
				i += n
			}
			return i, nil
		}
		from, err := number(low, 0)
		if err != nil {
			return nil, err
		}
		to := from + 1
		if isRange {
			if to, err = number(high, n); err != nil {
				return nil, err
			}
		}
		if from < 0 || to > n || from >= to {
			return nil, fmt.Errorf("%q lies outside 0:%d, or holds nothing", part, n)
		}
		for i := from; i < to; i++ {
			chosen[i] = true
		}
	}
	return chosen, nil
}

// Study is what is to be found out about every pair.
type Study struct {
	site              string // one of siteNames
	metric            Metric
	layers, positions string // selections
	lens              bool   // look through the logit lens instead of patching
	top               int    // how many next tokens to list
}

// siteNames are what a study may call its sites.
var siteNames = map[string][]Site{
	"resid": {siteResid}, "attn": {siteAttn}, "mlp": {siteMLP}, "head": {siteHead}, "all": {siteResid, siteAttn, siteMLP},
}

// run answers a question.
func (s *Study) run(m *Model, q Question, progress func(done float64)) (*Report, error) {
	if s.lens {
		return s.look(m, q, progress)
	}
	plan := Plan{probabilities: q.metric == metricProb}
	var err error
	if plan.layers, err = selection(s.layers, m.layers); err != nil {
		return nil, fmt.Errorf("-layers %s: %w", s.layers, err)
	}
	if plan.columns, err = selection(s.positions, len(q.clean)); err != nil {
		return nil, fmt.Errorf("-positions %s: %w", s.positions, err)
	}
	var r *Report
	sites := siteNames[s.site]
	for i, site := range sites {
		plan.site = site
		sweep, err := m.sweep(q.Pair, plan, func(done float64) { progress((float64(i) + done) / float64(len(sites))) })
		if err != nil {
			return nil, err
		}
		if r == nil {
			if r, err = newReport(m, q, sweep, s.top); err != nil {
				return nil, err
			}
			r.Site = s.site
		}
		r.add(site.String(), sweep.cells, q.metric)
	}
	return r, nil
}

// look answers a question through the logit lens.
func (s *Study) look(m *Model, q Question, progress func(done float64)) (*Report, error) {
	clean, corrupt, err := m.lens(q.Pair, q.metric == metricProb, progress)
	if err != nil {
		return nil, err
	}
	end := m.layers - 1
	plain := &Sweep{
		clean: clean.cells[end][len(q.clean)-1], cleanLogits: clean.logits[end],
		corrupt: corrupt.cells[end][len(q.clean)-1], corruptLogits: corrupt.logits[end],
	}
	r, err := newReport(m, q, plain, s.top)
	if err != nil {
		return nil, err
	}
	r.Site = "lens"
	r.add("clean run", clean.cells, q.metric)
	r.add("corrupt run", corrupt.cells, q.metric)
	r.Lens = &LensReport{}
	for l := range clean.logits {
		r.Lens.Clean = append(r.Lens.Clean, topTokens(clean.logits[l], 1)...)
		r.Lens.Corrupt = append(r.Lens.Corrupt, topTokens(corrupt.logits[l], 1)...)
	}
	return r, nil
}

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
