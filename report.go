package main

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// This file answers a question and holds the result in the forms in which others read it: JSON,
// CSV, and the figure that the heat map is painted from.

// Report is the result of one pair. Its exported fields are the JSON file.
type Report struct {
	Line      int                              `json:"line,omitempty"` // of the file of pairs
	Model     ModelReport                      `json:"model"`
	Metric    string                           `json:"metric"`
	Site      string                           `json:"site"` // or lens, attention, direct
	To        string                           `json:"to,omitempty"`
	Answer    AnswerReport                     `json:"answer"`
	Clean     RunReport                        `json:"clean"`
	Corrupt   RunReport                        `json:"corrupt"`
	Rows      []string                         `json:"rows,omitempty"` // of the matrices
	Columns   []string                         `json:"columns,omitempty"`
	Matrix    [][]Number                       `json:"matrix,omitempty"`   // [row][column]
	Matrices  map[string][][]Number            `json:"matrices,omitempty"` // of several
	Logits    any                              `json:"logits,omitempty"`   // see addLogits
	Lens      *LensReport                      `json:"lens,omitempty"`
	Attention map[string]map[string][][]Number `json:"attention,omitempty"` // of a head in a run
	Direct    map[string]Shares                `json:"direct,omitempty"`    // in a run

	baselines Baselines
	readings  [][][]Reading // of each panel
	panels    []Panel       // each matrix in the metric
	rows      header
	columns   header
	picture   Figure // all that is special about the kind of report
}

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

// AnswerReport says which tokens compete, as far as the metric needs them.
type AnswerReport struct {
	Clean   *TokenReport `json:"clean,omitempty"`
	Corrupt *TokenReport `json:"corrupt,omitempty"`
}

// TokenReport is a token of the vocabulary, or the first of a set of them.
type TokenReport struct {
	ID    int           `json:"id"`
	Token string        `json:"token"`
	Set   []TokenReport `json:"set,omitempty"`
}

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

// LogitsReport is what the metric of each cell is computed from: the answers' logits (of a set
// log Σ exp) and, where it was computed, log Σ exp of all logits.
type LogitsReport struct {
	Clean     [][]Number `json:"clean,omitempty"`
	Corrupt   [][]Number `json:"corrupt,omitempty"`
	LogSumExp [][]Number `json:"log_sum_exp,omitempty"`
}

// LensReport is the most probable next token after each layer, at the last position.
type LensReport struct {
	Clean   []TopReport `json:"clean"`
	Corrupt []TopReport `json:"corrupt"`
}

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
	Logit  float32  `json:"logit"`
}

// Number is a number that JSON writes as null where there is none.
type Number float64

func (n Number) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// header names the rows or the columns of the matrices.
type header struct {
	word           string   // such as "layer" or "position"
	names          []string // of positions their numbers, of several patched together "1..3"
	clean, corrupt []string // the tokens of the positions; nil for what has none
}

func (s *Study) run(m *Model, q Question, progress func(done float64)) (*Report, error) {
	switch {
	case s.lens:
		return s.runLens(m, q, progress)
	case s.attention != "":
		return s.runAttention(m, q, progress)
	case s.direct:
		return s.runDirect(m, q, progress)
	}
	plan, err := s.plan(m, len(q.clean))
	if err != nil {
		return nil, err
	}
	sweep, err := m.sweep(q.Pair, plan, progress)
	if err != nil {
		return nil, err
	}
	r, err := newReport(m, q, sweep.Baselines, s.top)
	if err != nil {
		return nil, err
	}
	r.To = s.to
	r.nameCells(m, plan)
	var names []string
	for i, target := range plan.targets {
		names = append(names, target.name())
		r.add(target.name(), sweep.matrices[i], q.metric)
	}
	r.Site = cmp.Or(s.site, strings.Join(names, ","))
	r.addLogits()
	what := "patched: " + strings.Join(names, ", ")
	if s.to != "" {
		what = "patched: the path from each head to " + strings.ReplaceAll(s.to, ",", ", ")
	} else if r.columns.word == "head" {
		for _, span := range plan.spans {
			if span.run {
				what += " at position " + span.String()
			}
		}
	}
	r.picture.subtitle = what
	return r, nil
}

// newReport reports two runs as they are. It fails if the metric makes no sense for them.
func newReport(m *Model, q Question, b Baselines, top int) (*Report, error) {
	if q.metric == metricRestored {
		if err := b.restorable(); err != nil {
			return nil, err
		}
	}
	run := func(t Text, ids []int, r Reading, logits []float32) RunReport {
		text, metric := newTextReport(m.tokenizer, t.text, ids), q.metric.of(r, b.clean, b.corrupt)
		return RunReport{text, Number(metric), topTokens(m.tokenizer, logits, top)}
	}
	r := &Report{
		Model:     newModelReport(m),
		Metric:    q.metricName(),
		Answer:    AnswerReport{Clean: newAnswerReport(m.tokenizer, q.cleanAnswer)},
		baselines: b,
	}
	both := []func(){
		func() { r.Clean = run(q.cleanText, q.clean, b.clean, b.cleanLogits) },
		func() { r.Corrupt = run(q.corruptText, q.corrupt, b.corrupt, b.corruptLogits) },
	}
	parallel(2, func(i int) { both[i]() })
	if !slices.Equal(q.cleanAnswer, q.corruptAnswer) {
		r.Answer.Corrupt = newAnswerReport(m.tokenizer, q.corruptAnswer)
	}
	clean, corrupt := float64(r.Clean.Metric), float64(r.Corrupt.Metric)
	r.picture = Figure{
		title:    strings.ReplaceAll(r.Metric, " - ", " − "),
		reversed: q.metric.highIsClean(),
		center:   corrupt,
		marks:    []Mark{{clean, "clean"}, {corrupt, "corrupt"}},
	}
	return r, nil
}

// nameCells names the rows and columns of a sweep's matrices, whose shape follows from the plan.
func (r *Report) nameCells(m *Model, plan Plan) {
	several := 0
	for _, span := range plan.spans {
		if span.run {
			several++
		}
	}
	target := plan.targets[0]
	rows, columns := numberedHeader("layer", m.layers), numberedHeader("head", m.heads)
	switch {
	case target.of != nil:
		rows, columns = r.positions("destination", nil), r.positions("source", nil)
		r.picture.blank = true
	case !target.site.ofHead():
		columns = r.positions("position", plan.spans)
	case several > 1:
		rows = header{word: "head"}
		for l := range m.layers {
			for h := range m.heads {
				rows.names = append(rows.names, Head{l, h}.String())
			}
		}
		columns = r.positions("position", plan.spans)
		r.picture.group = m.heads
	}
	r.setHeaders(rows, columns)
}

func (r *Report) setHeaders(rows, columns header) {
	r.rows, r.columns = rows, columns
	r.Rows, r.Columns = rows.unique(), columns.unique()
	r.picture.rows, r.picture.columns = rows.painted(), columns.painted()
}

func numberedHeader(word string, n int) header {
	a := header{word: word}
	for i := range n {
		a.names = append(a.names, strconv.Itoa(i))
	}
	return a
}

// positions is a header of positions, or of spans of them.
func (r *Report) positions(word string, spans []Span) header {
	if spans == nil {
		for pos := range r.Clean.IDs {
			spans = append(spans, Span{lo: pos, hi: pos + 1})
		}
	}
	a := header{word: word}
	for _, s := range spans {
		a.names = append(a.names, s.String())
		a.clean = append(a.clean, strings.Join(r.Clean.Tokens[s.lo:s.hi], ""))
		a.corrupt = append(a.corrupt, strings.Join(r.Corrupt.Tokens[s.lo:s.hi], ""))
	}
	return a
}

// String is what a span is called on the command line: 1, or 1..3 for several.
func (s Span) String() string {
	if s.hi == s.lo+1 {
		return strconv.Itoa(s.lo)
	}
	return fmt.Sprintf("%d..%d", s.lo, s.hi-1)
}

// add adds a matrix of readings.
func (r *Report) add(name string, cells [][]Reading, metric Metric) {
	p := Panel{title: name, matrix: eachCell(cells, func(c Reading) float64 {
		return metric.of(c, r.baselines.clean, r.baselines.corrupt)
	})}
	if r.picture.blank {
		blankLater(p.matrix)
	}
	r.readings, r.panels = append(r.readings, cells), append(r.panels, p)
	r.Matrix, r.Matrices = jsonMatrices(r.panels)
}

// blankLater empties the cells [destination][source] of a matrix that attention never has: those of
// later sources.
func blankLater(matrix [][]float64) {
	for destination, row := range matrix {
		for source := destination + 1; source < len(row); source++ {
			row[source] = math.NaN()
		}
	}
}

// eachCell turns every cell of a matrix into another.
func eachCell[A, B any](cells [][]A, f func(A) B) [][]B {
	turned := make([][]B, len(cells))
	for row := range cells {
		turned[row] = make([]B, len(cells[row]))
		for c, v := range cells[row] {
			turned[row][c] = f(v)
		}
	}
	return turned
}

// jsonMatrices are matrices as JSON has them: one alone, or several by their names.
func jsonMatrices(panels []Panel) (matrix [][]Number, matrices map[string][][]Number) {
	matrices = map[string][][]Number{}
	for _, p := range panels {
		matrix = eachCell(p.matrix, func(v float64) Number { return Number(v) })
		matrices[p.title] = matrix
	}
	if len(panels) == 1 {
		return matrix, nil
	}
	return nil, matrices
}

// addLogits adds what the metric of each cell was computed from, of several matrices by their
// names, so that another metric needs no new run.
func (r *Report) addLogits() {
	all := map[string]LogitsReport{}
	for i, cells := range r.readings {
		var l LogitsReport
		if r.Answer.Clean != nil {
			l.Clean = eachCell(cells, func(c Reading) Number { return Number(c.clean) })
		}
		if r.Answer.Corrupt != nil {
			l.Corrupt = eachCell(cells, func(c Reading) Number { return Number(c.corrupt) })
		}
		if !math.IsNaN(r.baselines.clean.logSum) {
			l.LogSumExp = eachCell(cells, func(c Reading) Number { return Number(c.logSum) })
		}
		all[r.panels[i].title] = l
		r.Logits = l
	}
	if len(all) > 1 {
		r.Logits = all
	}
}

func (s *Study) runLens(m *Model, q Question, progress func(done float64)) (*Report, error) {
	lens, err := m.lens(q.Pair, q.metric.full(), progress)
	if err != nil {
		return nil, err
	}
	r, err := newReport(m, q, lens.Baselines, s.top)
	if err != nil {
		return nil, err
	}
	r.Site, r.picture.subtitle = "lens", "logit lens"
	r.setHeaders(numberedHeader("layer", m.layers), r.positions("position", nil))
	r.picture.columns.title = "token at this position"
	r.Lens = &LensReport{lens.top[cleanRun], lens.top[corruptRun]}
	r.add("clean run", lens.cells[cleanRun], q.metric)
	r.add("corrupt run", lens.cells[corruptRun], q.metric)
	r.addLogits()
	return r, nil
}

var runNames = [2]string{cleanRun: "clean", corruptRun: "corrupt"}

// runAttention shows where heads attend to in both runs.
func (s *Study) runAttention(m *Model, q Question, progress func(done float64)) (*Report, error) {
	heads, err := s.heads()
	if err != nil {
		return nil, err
	}
	patterns, err := m.patterns(q.Pair, heads, q.metric.full(), progress)
	if err != nil {
		return nil, err
	}
	r, err := newReport(m, q, patterns.Baselines, s.top)
	if err != nil {
		return nil, err
	}
	r.Site, r.Attention = "attention", map[string]map[string][][]Number{}
	r.picture = Figure{
		title:    "attention of " + strings.ReplaceAll(s.attention, ",", ", "),
		subtitle: "both runs as they are",
		across:   2, blank: true, style: style{low: 0, high: 1},
	}
	r.setHeaders(r.positions("destination", nil), r.positions("source", nil))
	for i, head := range heads {
		r.Attention[head.String()] = map[string][][]Number{}
		for run, name := range runNames {
			a := patterns.a[run][i]
			matrix := eachCell(a, func(a float32) float64 { return float64(a) })
			blankLater(matrix)
			r.panels = append(r.panels, Panel{fmt.Sprintf("%s, %s run", head, name), matrix})
			numbers := eachCell(a, func(a float32) Number { return Number(a) })
			r.Attention[head.String()][name] = numbers
		}
	}
	return r, nil
}

// runDirect divides up the metric of both runs among the parts of the model.
func (s *Study) runDirect(m *Model, q Question, progress func(done float64)) (*Report, error) {
	direct, err := m.direct(q.Pair, progress)
	if err != nil {
		return nil, err
	}
	r, err := newReport(m, q, direct.Baselines, s.top)
	if err != nil {
		return nil, err
	}
	r.Site, r.Direct = "direct", map[string]Shares{}
	r.picture = Figure{title: "shares of " + r.picture.title, subtitle: "direct logit attribution",
		centered: true, blank: true}
	components := slices.Concat([]string{"embed", "pos_embed"}, numberedHeader("", m.heads).names,
		[]string{"attn_bias", "mlp", "ln_f_bias"})
	r.setHeaders(numberedHeader("layer", m.layers), header{word: "component", names: components})
	r.picture.columns.title = "head, or another component"
	for run, name := range runNames {
		shares, none := direct.shares[run], math.NaN()
		p := Panel{title: name + " run"}
		for l, heads := range shares.Heads {
			row := slices.Concat([]float64{none, none}, heads,
				[]float64{shares.AttnBias[l], shares.MLP[l], none})
			if l == 0 {
				row[0], row[1] = shares.Embed, shares.PosEmbed
			}
			if l == m.layers-1 {
				row[len(row)-1] = shares.LnFBias
			}
			p.matrix = append(p.matrix, row)
		}
		r.panels = append(r.panels, p)
		r.Direct[name] = shares
	}
	return r, nil
}

func newModelReport(m *Model) ModelReport {
	return ModelReport{m.name, m.source, m.layers, m.heads, m.width, m.context, m.vocab,
		m.headsAssumed, m.how}
}

func (m ModelReport) String() string {
	name := inOneLine(m.Name)
	if name == circuitName {
		name = "built-in circuit (not GPT-2)"
	}
	heads := count(m.Heads, "head")
	if m.Assumed {
		heads += ", assumed"
	}
	return fmt.Sprintf("%s: %s, %s, width %d", name, count(m.Layers, "layer"), heads, m.Width)
}

func (m ModelReport) origin() string {
	if m.how == "" {
		return m.String()
	}
	return fmt.Sprintf("%s, from %s (%s)", m, m.how, inOneLine(m.Source))
}

func newAnswerReport(t *tokenizer, ids []int) *TokenReport {
	if len(ids) == 0 {
		return nil
	}
	r := &TokenReport{ID: ids[0], Token: t.token(ids[0])}
	for _, id := range ids {
		if len(ids) > 1 {
			r.Set = append(r.Set, TokenReport{ID: id, Token: t.token(id)})
		}
	}
	return r
}

// String shows a token, or the tokens of a set: " Jones"/" Jonas".
func (t *TokenReport) String() string {
	members := []string{strconv.Quote(t.Token)}
	for i, member := range t.Set {
		members = append(members[:i], strconv.Quote(member.Token))
	}
	return strings.Join(members, "/")
}

func newTextReport(t *tokenizer, text string, ids []int) TextReport {
	return TextReport{text, ids, t.tokens(ids)}
}

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
	logit := logSumExp(members)
	r.Prob, r.Logit = math.Exp(logit-logSumExp(logits)), float32(logit)
	return r
}

// notes are what a user should know about the result.
func (r *Report) notes() []string {
	clean, corrupt := r.baselines.clean.clean, r.baselines.clean.corrupt
	if r.Answer.Corrupt == nil || corrupt <= clean {
		return nil
	}
	return []string{fmt.Sprintf("the clean run itself prefers the corrupt answer: "+
		"its logits are %.2f for %s and %.2f for %s",
		corrupt, r.Answer.Corrupt, clean, r.Answer.Clean)}
}

// unique names each row or column as no other, such as "1: Mary", in valid UTF-8 though a token may
// be a part of a character.
func (a *header) unique() []string {
	names := slices.Clone(a.names)
	for i := range a.corrupt {
		names[i] += ":" + visible(a.corrupt[i])
	}
	return names
}

// painted is the header as the painter wants it.
func (a *header) painted() Axis {
	if a.corrupt == nil {
		return Axis{title: a.word, names: a.names}
	}
	p := Axis{title: a.word, names: a.corrupt, beside: make([]string, len(a.names)), tokens: true}
	if a.word == "position" {
		p.title = "token of the corrupt text"
	}
	for i, clean := range a.clean {
		if clean != a.corrupt[i] {
			p.beside[i] = clean
		}
	}
	return p
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// writeCSV writes the matrices with a header row and the rows' names before the numbers, of a head
// its layer and its number apart, and before those the names of several matrices. A cell without a
// value is empty.
func (r *Report) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	titles := []string{r.rows.word}
	if r.picture.group > 0 {
		titles = []string{"layer", "head"}
	}
	if len(r.panels) > 1 {
		titles = append([]string{"site"}, titles...)
	}
	c.Write(append(titles, r.columns.unique()...))
	for _, p := range r.panels {
		for i, name := range r.rows.unique() {
			record := []string{name}
			if r.picture.group > 0 {
				record = strings.Split(name, ".")
			}
			if len(r.panels) > 1 {
				record = append([]string{p.title}, record...)
			}
			for _, v := range p.matrix[i] {
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

func (r *Report) figure(s style) *Figure {
	f := r.picture
	f.panels = r.panels
	if len(f.panels) == 1 {
		f.panels = []Panel{{matrix: r.panels[0].matrix}} // the subtitle names the one site
	}
	f.subtitle += " · " + r.Model.String()
	if s.low < s.high {
		f.low, f.high = s.low, s.high
	}
	f.colorMap, f.scale = s.colorMap, s.scale
	return &f
}
