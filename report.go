package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// This file holds results in the form in which they leave the program: JSON, CSV, a figure;
// table.go has them as text.

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

	plain    *Baselines    // the two runs as they are
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
	Assumed bool   `json:"headsAssumed,omitempty"` // nothing said how many heads there are

	how string
}

// AnswerReport says which tokens compete. There is no corrupt answer where the metric is the clean
// answer's logit alone.
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

// LensReport is the most probable next token after each layer, read with the logit lens at the last
// position.
type LensReport struct {
	Clean   []TopReport `json:"clean"`
	Corrupt []TopReport `json:"corrupt"`
}

// NextReport is the result of one text alone.
type NextReport struct {
	Model ModelReport `json:"model"`
	TextReport
	Top     []TopReport  `json:"top"`
	Answers []RankReport `json:"answers,omitempty"`
}

// RankReport is what a run predicts of an answer that was asked for, which may be a set of tokens.
type RankReport struct {
	Answer string   `json:"answer"`
	IDs    []int    `json:"ids"`
	Tokens []string `json:"tokens"`
	Rank   int      `json:"rank"` // 1 is the most probable token; of a set, that of its best member
	Prob   float64  `json:"prob"` // of a set, the sum
	Logit  float64  `json:"logit"`
}

// Number is a number that JSON writes as null where there is none.
type Number float64

func (n Number) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// newReport reports the two plain runs of a sweep; add adds the matrices. It fails if the metric
// makes no sense for them.
func newReport(m *Model, q Question, plain *Baselines, top int) (*Report, error) {
	if q.metric == metricRestored {
		if err := plain.restorable(); err != nil {
			return nil, err
		}
	}
	run := func(t Text, ids []int, r Reading, logits []float32) RunReport {
		text := newTextReport(m.tokenizer, t.text, ids)
		metric := q.metric.of(r, plain.clean, plain.corrupt)
		return RunReport{text, Number(metric), topTokens(m.tokenizer, logits, top)}
	}
	r := &Report{
		Model:    newModelReport(m),
		Metric:   q.metricName(),
		Answer:   AnswerReport{Clean: newTokenReport(m.tokenizer, q.cleanAnswer[0])},
		Clean:    run(q.cleanText, q.clean, plain.clean, plain.cleanLogits),
		Corrupt:  run(q.corruptText, q.corrupt, plain.corrupt, plain.corruptLogits),
		plain:    plain,
		reversed: q.metric.highIsClean(),
	}
	if q.corruptAnswer[0] != q.cleanAnswer[0] {
		corrupt := newTokenReport(m.tokenizer, q.corruptAnswer[0])
		r.Answer.Corrupt = &corrupt
	}
	return r, nil
}

// add adds a matrix of readings.
func (r *Report) add(name string, cells [][]Reading, metric Metric) {
	p := Panel{title: name, matrix: make([][]float64, len(cells))}
	for row := range cells {
		for _, reading := range cells[row] {
			v := metric.of(reading, r.plain.clean, r.plain.corrupt)
			p.matrix[row] = append(p.matrix[row], v)
		}
	}
	r.readings, r.panels = append(r.readings, cells), append(r.panels, p)
	r.Matrix, r.Matrices = jsonMatrices(r.panels)
}

// jsonMatrices are matrices as JSON has them: one alone, or several by their names.
func jsonMatrices(panels []Panel) (matrix [][]Number, matrices map[string][][]Number) {
	matrices = map[string][][]Number{}
	for _, p := range panels {
		matrix = make([][]Number, len(p.matrix))
		for row := range p.matrix {
			for _, v := range p.matrix[row] {
				matrix[row] = append(matrix[row], Number(v))
			}
		}
		matrices[p.title] = matrix
	}
	if len(panels) == 1 {
		return matrix, nil
	}
	return nil, matrices
}

// notes are what a user should know about the result.
func (r *Report) notes() []string {
	clean, corrupt := r.plain.clean.clean, r.plain.clean.corrupt
	if r.Answer.Corrupt == nil || corrupt <= clean {
		return nil
	}
	return []string{fmt.Sprintf("the clean run itself prefers the corrupt answer: "+
		"its logits are %.2f for %q and %.2f for %q",
		corrupt, r.Answer.Corrupt.Token, clean, r.Answer.Clean.Token)}
}

func newModelReport(m *Model) ModelReport {
	return ModelReport{m.name, m.source, m.layers, m.heads, m.width, m.context, m.vocab,
		m.headsAssumed, m.how}
}

// String names the model and its size.
func (m ModelReport) String() string {
	name := m.Name
	if name == circuitName {
		name = "built-in circuit (not GPT-2)"
	}
	heads := count(m.Heads, "head")
	if m.Assumed {
		heads += ", assumed"
	}
	return fmt.Sprintf("%s: %s, %s, width %d", name, count(m.Layers, "layer"), heads, m.Width)
}

// origin says where the weights were found.
func (m ModelReport) origin() string {
	if m.how == "" {
		return m.String()
	}
	return fmt.Sprintf("%s, from %s (%s)", m, m.how, m.Source)
}

func newTokenReport(t *tokenizer, id int) TokenReport { return TokenReport{id, t.token(id)} }

func newTextReport(t *tokenizer, text string, ids []int) TextReport {
	return TextReport{text, ids, t.tokens(ids)}
}

// topTokens lists the n most probable next tokens of [vocab] logits.
func topTokens(t *tokenizer, logits []float32, n int) []TopReport {
	logSum := logSumExp(logits)
	top := []TopReport{}
	for _, id := range topK(logits, n) {
		prob := math.Exp(float64(logits[id]) - logSum)
		top = append(top, TopReport{id, t.token(id), prob, logits[id]})
	}
	return top
}

// newRankReport finds an answer among [vocab] logits.
func newRankReport(t *tokenizer, logits []float32, answer string, ids []int) RankReport {
	r := RankReport{Answer: answer, IDs: ids, Tokens: t.tokens(ids), Rank: 1}
	members, best := make([]float32, len(ids)), ids[0]
	for i, id := range ids {
		members[i] = logits[id]
		if logits[id] > logits[best] || logits[id] == logits[best] && id < best {
			best = id
		}
	}
	for id, v := range logits { // equals in the order of their ids, as in topK
		if v > logits[best] || v == logits[best] && id < best {
			r.Rank++
		}
	}
	r.Logit = logSumExp(members)
	r.Prob = math.Exp(r.Logit - logSumExp(logits))
	return r
}

// text is all of the report as text.
func (r *NextReport) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n%s", r.Model.origin(), r.tokenization(), topTable(r.Top))
	for i, a := range r.Answers {
		if i == 0 {
			fmt.Fprintf(&b, "\n%-16s  %8s  Probability  %9s\n", "Answer", "Position", "Logit")
		}
		name := make([]string, len(a.Tokens))
		for i, t := range a.Tokens {
			name[i] = strconv.Quote(t)
		}
		fmt.Fprintf(&b, "%s  %8d  %11.4f  %9s\n", pad(strings.Join(name, "/"), 16), a.Rank, a.Prob,
			formatValue(a.Logit, 2))
	}
	return b.String()
}

// writeJSON writes one line of JSON.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// writeCSV writes the matrix with a header row of positions and tokens (or heads) and a first
// column of layers, and where there are several matrices with their names in a column before that.
// A cell that was not run is empty.
func (r *Report) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	var named []string
	if len(r.panels) > 1 {
		named = []string{"site"}
	}
	c.Write(slices.Concat(named, []string{"layer"}, r.uniqueColumns()))
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

// uniqueColumns names the columns so that no two have the same name, and that all of it is valid
// UTF-8 though a token may be a part of a character: "1: Mary".
func (r *Report) uniqueColumns() []string {
	names := slices.Clone(r.columns())
	if r.Site != "head" {
		for c := range names {
			names[c] = fmt.Sprintf("%d:%s", c, visible(names[c]))
		}
	}
	return names
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
func (r *Report) figure(s style) *Figure {
	f := &Figure{
		title:    strings.ReplaceAll(r.Metric, " - ", " − "),
		subtitle: r.what() + " · " + r.Model.String(),
		panels:   r.panels,
		rows:     Axis{title: "layer"},
		columns:  Axis{title: "token of the corrupt text", names: r.columns()},
		reversed: r.reversed,
		center:   float64(r.Corrupt.Metric),
		style:    s,
	}
	f.marks = []Mark{{float64(r.Clean.Metric), "clean"}, {float64(r.Corrupt.Metric), "corrupt"}}
	if len(f.panels) == 1 {
		f.panels = []Panel{{matrix: r.panels[0].matrix}} // the subtitle names the one site
	}
	for l := range r.panels[0].matrix {
		f.rows.names = append(f.rows.names, strconv.Itoa(l))
	}
	switch r.Site {
	case "head":
		f.columns.title = "head"
		return f
	case "lens":
		f.columns.title = "token at this position"
	}
	f.columns.tokens = true
	f.columns.beside = make([]string, len(f.columns.names))
	for i, t := range r.Clean.Tokens {
		if t != f.columns.names[i] {
			f.columns.beside[i] = t
		}
	}
	return f
}

// what says what the matrices are, for a reader who has nothing but the picture.
func (r *Report) what() string {
	switch {
	case r.Site == "lens":
		return "logit lens"
	case len(r.panels) > 1:
		return "patched one site at a time"
	}
	return "patched: " + r.Site
}

// run answers a question.
func (s *Study) run(m *Model, q Question, progress func(done float64)) (*Report, error) {
	if s.lens {
		return s.look(m, q, progress)
	}
	plan := Plan{full: q.metric.full()}
	var err error
	if plan.layers, err = selection(s.layers, m.layers); err != nil {
		return nil, fmt.Errorf("-layers %s: %w", s.layers, err)
	}
	positions, err := selection(s.positions, len(q.clean))
	if err != nil {
		return nil, fmt.Errorf("-positions %s: %w", s.positions, err)
	}
	for pos, run := range positions {
		plan.spans = append(plan.spans, Span{pos, pos + 1, run})
	}
	for _, site := range siteNames[s.site] {
		plan.targets = append(plan.targets, Target{site: site})
	}
	sweep, err := m.sweep(q.Pair, plan, progress)
	if err != nil {
		return nil, err
	}
	r, err := newReport(m, q, &sweep.Baselines, s.top)
	if err != nil {
		return nil, err
	}
	r.Site = s.site
	for i, target := range plan.targets {
		r.add(target.site.String(), sweep.matrices[i], q.metric)
	}
	return r, nil
}

// look answers a question through the logit lens.
func (s *Study) look(m *Model, q Question, progress func(done float64)) (*Report, error) {
	lens, err := m.lens(q.Pair, q.metric.full(), progress)
	if err != nil {
		return nil, err
	}
	r, err := newReport(m, q, &lens.Baselines, s.top)
	if err != nil {
		return nil, err
	}
	r.Site = "lens"
	r.add("clean run", lens.cells[cleanRun], q.metric)
	r.add("corrupt run", lens.cells[corruptRun], q.metric)
	top := func(guesses []Guess) (top []TopReport) {
		for _, g := range guesses {
			top = append(top, TopReport{g.id, m.tokenizer.token(g.id), g.prob, g.logit})
		}
		return top
	}
	r.Lens = &LensReport{top(lens.top[cleanRun]), top(lens.top[corruptRun])}
	return r, nil
}

// text is all of the report as text. paint colours a cell's text by its value; it is nil where
// nobody would see the colour.
func (r *Report) text(paint func(v float64, s string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nclean text: %s\n%s\ncorrupt text: %s\n%s\n",
		r.Model.origin(), r.Clean.tokenization(), topTable(r.Clean.Top),
		r.Corrupt.tokenization(), topTable(r.Corrupt.Top))
	figure := r.cellText()
	clean, corrupt := figure(float64(r.Clean.Metric)), figure(float64(r.Corrupt.Metric))
	fmt.Fprintf(&b, "%s: clean %s, corrupt %s\n", r.Metric, clean, corrupt)
	for _, p := range r.panels {
		b.WriteString("\n" + r.matrix(p, paint))
	}
	if r.Lens != nil {
		b.WriteString("\n" + r.Lens.table())
	} else {
		b.WriteString("\n" + r.effects())
	}
	return b.String()
}

// tokenization shows a text's tokens and their ids.
func (t *TextReport) tokenization() string {
	var b strings.Builder
	writeTokenization(&b, t.IDs, func(i int) string { return t.Tokens[i] })
	return b.String()
}

// writeTokenization writes tokens and their ids one after the other: of a long text they are never
// all in memory.
func writeTokenization(w io.Writer, ids []int, token func(i int) string) {
	var b []byte
	for i := range ids {
		b = appendVisible(b[:0], token(i))
		if i+1 < len(ids) {
			b = append(b, '/')
		}
		w.Write(b)
	}
	fmt.Fprintf(w, "\n%s:", count(len(ids), "token"))
	for _, id := range ids {
		b = strconv.AppendInt(append(b[:0], ' '), int64(id), 10)
		w.Write(b)
	}
	io.WriteString(w, "\n")
}

// topTable lists the most probable next tokens.
func topTable(top []TopReport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Position  Token index  %-16s  Probability\n", "Token")
	for i, t := range top {
		quoted := pad(strconv.Quote(t.Token), 16)
		fmt.Fprintf(&b, "%8d  %11d  %s  %11.4f\n", i+1, t.ID, quoted, t.Prob)
	}
	return b.String()
}

// table lists the most probable next token after each layer.
func (l *LensReport) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Layer  %-22s  Probability  %-23s  Probability\n",
		"Clean run's top token", "Corrupt run's top token")
	for i, c := range l.Clean {
		k := l.Corrupt[i]
		clean, corrupt := pad(strconv.Quote(c.Token), 22), pad(strconv.Quote(k.Token), 23)
		fmt.Fprintf(&b, "%5d  %s  %11.4f  %s  %11.4f\n", i, clean, c.Prob, corrupt, k.Prob)
	}
	return b.String()
}

// matrix shows a matrix with a line for each position, so that the tokens can be read, and a column
// for each layer: in figures or, where there is paint, in colours on a terminal, which is narrow.
func (r *Report) matrix(p Panel, paint func(v float64, s string) string) string {
	cell, text := 6, r.cellText()
	if paint != nil {
		cell, text = terminalCell(len(p.matrix))
	}
	labels, widest := make([]string, len(p.matrix[0])), utf8.RuneCountInString(p.title)
	for c := range labels {
		labels[c] = r.label(c, paint != nil)
		widest = max(widest, utf8.RuneCountInString(labels[c]))
	}
	for _, row := range p.matrix {
		for _, v := range row {
			if n := utf8.RuneCountInString(text(v)); n >= cell && paint == nil {
				cell = n + 1
			}
		}
	}
	var b strings.Builder
	b.WriteString(pad(p.title, widest))
	for l := range p.matrix {
		if name := strconv.Itoa(l); len(name) < cell {
			fmt.Fprintf(&b, "%*s", cell, name)
		} else if every := 10 / cell; l%every == 0 {
			b.WriteString(pad(name, every*cell))
		}
	}
	for c, label := range labels {
		b.WriteString("\n" + pad(label, widest))
		for _, row := range p.matrix {
			s := fmt.Sprintf("%*s", cell, text(row[c]))
			if paint != nil {
				s = paint(row[c], s)
			}
			b.WriteString(s)
		}
	}
	return b.String() + "\n"
}

// terminalCell makes the cells of so many layers fit beside a label of terminalLabel characters on
// 80 columns: with a short figure in them if there are no more than twelve layers, else as blocks
// of colour.
func terminalCell(layers int) (width int, text func(v float64) string) {
	if layers > 12 {
		return max(1, (79-terminalLabel)/layers), func(float64) string { return "" }
	}
	return 5, func(v float64) string {
		for decimals := 2; decimals > 0; decimals-- {
			if s := formatValue(v, decimals); utf8.RuneCountInString(s) <= 4 {
				return s
			}
		}
		return formatValue(v, 0)
	}
}

// label names a column: its position and token, and the clean token where that is another one.
func (r *Report) label(column int, short bool) string {
	if r.Site == "head" {
		return "head " + strconv.Itoa(column)
	}
	corrupt, clean := r.Corrupt.Tokens[column], r.Clean.Tokens[column]
	if short {
		s := visible(corrupt)
		if clean != corrupt {
			s = visible(clean) + "→" + s
		}
		if runes := []rune(s); len(runes) > terminalLabel-5 {
			s = string(runes[:terminalLabel-6]) + "…"
		}
		return fmt.Sprintf("%4d %s", column, s)
	}
	label := fmt.Sprintf("%4d %q", column, corrupt)
	if clean != corrupt {
		label += fmt.Sprintf(" (clean %q)", clean)
	}
	return label
}

// cellText returns how values are written: with as many decimals, at least two, as tell a hundred
// steps of their range apart. A cell that was not run is a dot.
func (r *Report) cellText() func(v float64) string {
	low, high := math.Inf(1), math.Inf(-1)
	for _, p := range r.panels {
		for _, row := range p.matrix {
			for _, v := range row {
				if v == v {
					low, high = min(low, v), max(high, v)
				}
			}
		}
	}
	decimals := 2
	for step := 0.01; decimals < 6 && 0 < high-low && high-low < 100*step; decimals++ {
		step /= 10
	}
	return func(v float64) string {
		if v != v {
			return "·"
		}
		return formatValue(v, decimals)
	}
}

// effects says in words which cells change the corrupt run's metric most, at most five.
func (r *Report) effects() string {
	type effect struct {
		panel, layer, column int
		value, change        float64
	}
	var all []effect
	largest := 0.
	for i, p := range r.panels {
		for l, row := range p.matrix {
			for c, v := range row {
				if change := math.Abs(v - float64(r.Corrupt.Metric)); change > 0 {
					all = append(all, effect{i, l, c, v, change})
					largest = max(largest, change)
				}
			}
		}
	}
	// Changes that differ by less than a hundredth of the largest stay in the order of the layers,
	// and less than that is none.
	rank := func(e effect) int { return int(math.Round(100 * e.change / largest)) }
	all = slices.DeleteFunc(all, func(e effect) bool { return rank(e) == 0 })
	slices.SortStableFunc(all, func(a, b effect) int { return rank(b) - rank(a) })
	var b strings.Builder
	figure := r.cellText()
	b.WriteString("The largest effects:\n")
	for _, e := range all[:min(5, len(all))] {
		where := fmt.Sprintf("head %d", e.column)
		if r.Site != "head" {
			where = fmt.Sprintf("position %d (%q)", e.column, r.Clean.Tokens[e.column])
		}
		if len(r.panels) > 1 {
			where += ", " + r.panels[e.panel].title
		}
		value, corrupt := figure(e.value), figure(float64(r.Corrupt.Metric))
		fmt.Fprintf(&b, "  layer %d, %s: %s, corrupt %s\n", e.layer, where, value, corrupt)
	}
	if len(all) == 0 {
		b.WriteString("  none: no cell changes the corrupt run's metric\n")
	}
	return b.String()
}

const terminalLabel = 19

// ansiPainter paints with ECMA-48's "select graphic rendition": background 48 and foreground 38,
// followed by 2;R;G;B or, for terminals that do not say that they know more, by 5;N with a colour
// of the 6×6×6 cube that xterm's 256 colours hold.
func ansiPainter(f *Figure, trueColor bool) func(v float64, text string) string {
	scale := f.colorScale()
	palette, valueInk := newPalette(f.anchors())
	code := func(index uint8) string {
		c := palette[index].(color.RGBA)
		if trueColor {
			return fmt.Sprintf("2;%d;%d;%d", c.R, c.G, c.B)
		}
		side := func(v uint8) int { // the cube's steps are 0, 95, 135, 175, 215, 255
			if v < 48 {
				return 0
			}
			return max(1, (int(v)-35)/40)
		}
		return fmt.Sprintf("5;%d", 16+36*side(c.R)+6*side(c.G)+side(c.B))
	}
	return func(v float64, text string) string {
		if math.IsNaN(v) {
			return text
		}
		step := scale.step(v)
		paper, ink := code(step), code(valueInk[step/stretch])
		return fmt.Sprintf("\x1b[48;%s;38;%sm%s\x1b[0m", paper, ink, text)
	}
}
