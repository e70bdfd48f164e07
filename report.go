package main

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// This file holds results in the form in which they leave the program: JSON, CSV, a figure; table.go has them as text.

// Report is the result of one pair. Its exported fields are the JSON file.
type Report struct {
	Line     int                   `json:"line,omitempty"` // of the file of pairs
	Model    ModelReport           `json:"model"`
	Metric   string                `json:"metric"`
	Site     string                `json:"site"`
	Answer   AnswerReport          `json:"answer"`
	Clean    RunReport             `json:"clean"`
	Corrupt  RunReport             `json:"corrupt"`
	Matrix   [][]Number            `json:"matrix,omitempty"`   // [layer][pos], [layer][head]
	Matrices map[string][][]Number `json:"matrices,omitempty"` // where there are several
	Lens     *LensReport           `json:"lens,omitempty"`

	plain    *Sweep        // the two runs as they are
	readings [][][]Reading // of each matrix
	panels   []Panel       // each matrix in the metric
	reversed bool          // whether high values speak for the clean answer
}

// ModelReport says which model it was.
type ModelReport struct {
	Name    string `json:"name"`
	Source  string `json:"source"`
	Layers  int    `json:"layers"`
	Heads   int    `json:"heads"`
	Width   int    `json:"width"`
	Context int    `json:"context"`
	Vocab   int    `json:"vocab"`

	how string
}

// AnswerReport says which tokens compete. There is no corrupt answer where the metric is the clean answer's logit alone.
type AnswerReport struct {
	Clean   TokenReport  `json:"clean"`
	Corrupt *TokenReport `json:"corrupt,omitempty"`
}

// TokenReport is a token of the vocabulary.
type TokenReport struct {
	ID    int    `json:"id"`
	Token string `json:"token"`
}

// TextReport is a text and its tokens.
type TextReport struct {
	Text   string   `json:"text"`
	IDs    []int    `json:"ids"`
	Tokens []string `json:"tokens"`
}

// RunReport is what one run of the model predicts after a text.
type RunReport struct {
	TextReport
	Metric Number      `json:"metric"`
	Top    []TopReport `json:"top"`
}

// TopReport is a probable next token.
type TopReport struct {
	ID    int     `json:"id"`
	Token string  `json:"token"`
	Prob  float64 `json:"prob"`
	Logit float32 `json:"logit"`
}

// LensReport is the most probable next token after each layer, read with the logit lens at the last position.
type LensReport struct {
	Clean   []TopReport `json:"clean"`
	Corrupt []TopReport `json:"corrupt"`
}

// NextReport is the result of one text alone.
type NextReport struct {
	Model ModelReport `json:"model"`
	TextReport
	Top []TopReport `json:"top"`
}

// Number is a number that JSON writes as null where there is none.
type Number float64

func (n Number) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// newReport reports the two plain runs of a sweep; add adds the matrices. It fails if the metric makes no sense for them.
func newReport(m *Model, q Question, plain *Sweep, top int) (*Report, error) {
	if q.metric == metricRestored {
		if err := plain.restorable(); err != nil {
			return nil, err
		}
	}
	run := func(t Text, ids []int, r Reading, logits []float32) RunReport {
		return RunReport{newTextReport(t.text, ids), Number(q.metric.of(r, plain.clean, plain.corrupt)), topTokens(logits, top)}
	}
	r := &Report{
		Model:    newModelReport(m),
		Metric:   q.metricName(),
		Answer:   AnswerReport{Clean: TokenReport{q.cleanAnswer, token(q.cleanAnswer)}},
		Clean:    run(q.cleanText, q.clean, plain.clean, plain.cleanLogits),
		Corrupt:  run(q.corruptText, q.corrupt, plain.corrupt, plain.corruptLogits),
		plain:    plain,
		reversed: q.metric.highIsClean(),
	}
	if q.corruptAnswer != q.cleanAnswer {
		r.Answer.Corrupt = &TokenReport{q.corruptAnswer, token(q.corruptAnswer)}
	}
	return r, nil
}

// add adds a matrix of readings.
func (r *Report) add(name string, cells [][]Reading, metric Metric) {
	p := Panel{title: name, matrix: make([][]float64, len(cells))}
	numbers := make([][]Number, len(cells))
	for l, row := range cells {
		for _, reading := range row {
			v := metric.of(reading, r.plain.clean, r.plain.corrupt)
			p.matrix[l] = append(p.matrix[l], v)
			numbers[l] = append(numbers[l], Number(v))
		}
	}
	r.readings, r.panels = append(r.readings, cells), append(r.panels, p)
	switch len(r.panels) {
	case 1:
		r.Matrix = numbers
	case 2:
		r.Matrices = map[string][][]Number{r.panels[0].title: r.Matrix, name: numbers}
		r.Matrix = nil
	default:
		r.Matrices[name] = numbers
	}
}

func newModelReport(m *Model) ModelReport {
	return ModelReport{m.name, m.source, m.layers, m.heads, m.width, m.context, m.vocab, m.how}
}

// String names the model and its size.
func (m ModelReport) String() string {
	name := m.Name
	if name == circuitName {
		name = "built-in circuit (not GPT-2)"
	}
	return fmt.Sprintf("%s: %d layers, %d heads, width %d", name, m.Layers, m.Heads, m.Width)
}

// origin says where the weights were found.
func (m ModelReport) origin() string {
	if m.how == "" {
		return m.String()
	}
	return fmt.Sprintf("%s, from %s (%s)", m, m.how, m.Source)
}

func newTextReport(text string, ids []int) TextReport {
	return TextReport{text, ids, tokens(ids)}
}

// topTokens lists the n most probable next tokens of [vocab] logits.
func topTokens(logits []float32, n int) []TopReport {
	logSum := logSumExp(logits)
	top := []TopReport{}
	for _, id := range topK(logits, n) {
		top = append(top, TopReport{id, token(id), math.Exp(float64(logits[id]) - logSum), logits[id]})
	}
	return top
}

// writeJSON writes one line of JSON.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// writeCSV writes the matrix with a header row of tokens (or heads) and a first column of layers, and where there are several
// matrices with their names in a column before that. A cell that was not run is empty.
func (r *Report) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	var named []string
	if len(r.panels) > 1 {
		named = []string{"site"}
	}
	c.Write(slices.Concat(named, []string{"layer"}, r.columns()))
	for _, p := range r.panels {
		if len(r.panels) > 1 {
			named = []string{p.title}
		}
		for l, row := range p.matrix {
			record := append(slices.Clone(named), strconv.Itoa(l))
			for _, v := range row {
				field := ""
				if !math.IsNaN(v) {
					field = strconv.FormatFloat(v, 'g', -1, 64)
				}
				record = append(record, field)
			}
			c.Write(record)
		}
	}
	c.Flush()
	return c.Error()
}

// columns names the columns of the matrices: the corrupt text's tokens, for siteHead the heads.
func (r *Report) columns() []string {
	if r.Site != "head" {
		return r.Corrupt.Tokens
	}
	heads := make([]string, r.Model.Heads)
	for h := range heads {
		heads[h] = strconv.Itoa(h)
	}
	return heads
}

// figure is the heat map of the report.
func (r *Report) figure(colorMap string, scale int) *Figure {
	f := &Figure{
		title:       strings.ReplaceAll(r.Metric, " - ", " − "),
		subtitle:    r.Model.String(),
		panels:      r.panels,
		rowTitle:    "layer",
		columns:     slices.Clone(r.columns()),
		columnTitle: "token of the corrupt text",
		colorMap:    colorMap,
		reversed:    r.reversed,
		center:      float64(r.Corrupt.Metric),
		marks:       []Mark{{float64(r.Clean.Metric), "clean"}, {float64(r.Corrupt.Metric), "corrupt"}},
		scale:       scale,
	}
	if len(f.panels) == 1 {
		f.panels = []Panel{{matrix: r.panels[0].matrix}} // one alone needs no title
	}
	for l := range r.panels[0].matrix {
		f.rows = append(f.rows, strconv.Itoa(l))
	}
	switch r.Site {
	case "head":
		f.columnTitle = "head"
		return f
	case "lens":
		f.columnTitle = "token at this position"
	}
	f.beside = make([]string, len(f.columns))
	for i, t := range r.Clean.Tokens {
		if t != f.columns[i] {
			f.beside[i] = t
		}
	}
	return f
}

// writeFile writes one of a run's results whole or not at all. What is there but is no file, such as a terminal or /dev/null, is
// written to as it is.
func writeFile(name string, write func(io.Writer) error) error {
	target := name
	if path, err := filepath.EvalSymlinks(name); err == nil {
		target = path
	}
	if info, err := os.Stat(target); err != nil || info.Mode().IsRegular() {
		return replaceFile(target, 0o666, 0, write)
	}
	f, err := os.OpenFile(target, os.O_WRONLY, 0)
	if err == nil {
		err = errors.Join(write(f), f.Close())
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, reason(err))
	}
	return nil
}

// replaceFile writes a file under a temporary name in the same folder, and renames it once it is whole: if anything fails, what was
// there before is still there and nothing else. size is that of a large file, which is on the disk before it is renamed, and 0 for a small one.
func replaceFile(path string, mode fs.FileMode, size int64, write func(io.Writer) error) error {
	fail := func(err error) error {
		if size > 0 {
			return fmt.Errorf("writing %s (%.1f MB): %w", path, float64(size)/1e6, reason(err))
		}
		return fmt.Errorf("writing %s: %w", path, reason(err))
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fail(errors.New("not a regular file"))
	}
	f, err := os.OpenFile(fmt.Sprintf("%s.%016x.tmp", path, rand.Uint64()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fail(err)
	}
	w := bufio.NewWriterSize(f, 1<<18)
	if err = write(w); err == nil {
		err = w.Flush()
	}
	if err == nil && size > 0 {
		err = f.Sync()
	}
	err = cmp.Or(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fail(err)
	}
	return nil
}
