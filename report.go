package main

import (
	"bufio"
	"bytes"
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

// This file answers a question. Whatever is asked, the answer has one shape, a named list of panels
// whose rows and columns have names. Here it becomes JSON, CSV and a figure; text.go prints it.

// Result is an answer: panels of one size, [row][column]. NaN stands for a cell that was not run,
// or is none.
type Result struct {
	Origin
	site          string // what was patched, or looked at
	rows, columns header
	panels        []Panel
	numbers       []field // of the JSON, after all that is small
	picture       Figure  // how it is painted, but for what is above
}

// header names the rows or the columns of the panels.
type header struct {
	word           string   // such as "layer" or "position"
	title          string   // in the picture, where it is not the word
	names          []string // of positions their numbers, of several patched together "1..3"
	clean, corrupt []string // the tokens of the positions; nil for what has none
}

// field is a key of a JSON object and its value: a matrix, given by its cells; an object of such
// values by their names; or what encoding/json takes. Matrices may be large and are never text as a
// whole.
type field struct {
	key   string
	value any
}

// Report is the result of one pair. Its exported fields are the JSON, and the numbers follow.
type Report struct {
	Line    int          `json:"line,omitempty"` // of the file of pairs
	Model   ModelReport  `json:"model"`
	Metric  string       `json:"metric"`
	Site    string       `json:"site"` // or lens, attention, direct
	To      string       `json:"to,omitempty"`
	Answer  AnswerReport `json:"answer"`
	Clean   RunReport    `json:"clean"`
	Corrupt RunReport    `json:"corrupt"`
	Rows    []string     `json:"rows"` // of the matrices
	Columns []string     `json:"columns"`
	Result

	own       string // keys of a user's own that the pair has, and their values: `,"id":7`
	baselines Baselines
	lens      *LensReport
}

// Origin says how a result came about.
type Origin struct {
	Version   string   `json:"version"`
	Command   []string `json:"command"` // the arguments
	BOS       bool     `json:"bos,omitempty"`
	Layers    string   `json:"layers,omitempty"` // as -layers and -positions have them
	Positions string   `json:"positions,omitempty"`
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
	Sum     string `json:"sha256,omitempty"`       // of the weights' file, where it is known

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
	Metric Number         `json:"metric"`
	Top    []TopReport    `json:"top"`
	Logits map[string]any `json:"logits,omitempty"` // as those of a cell
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
	Origin
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

func (n Number) MarshalJSON() ([]byte, error) { return appendNumber(nil, float64(n)), nil }

// appendNumber writes a number as encoding/json does, or null, and takes no memory for it.
func appendNumber(b []byte, v float64) []byte {
	switch size := math.Abs(v); {
	case v-v != 0:
		return append(b, "null"...)
	case size >= 1e21 || size < 1e-6 && v != 0: // 1e-07 is written 1e-7
		b = strconv.AppendFloat(b, v, 'e', -1, 64)
		if n := len(b); b[n-3] == '-' && b[n-2] == '0' {
			b = append(b[:n-2], b[n-1])
		}
		return b
	}
	return strconv.AppendFloat(b, v, 'f', -1, 64)
}

// run answers a question. progress is told the share of the work that is done.
func (s *Study) run(m *Model, q Question, progress func(done float64)) (*Report, error) {
	r, plan, err := s.newReport(m, q)
	if err != nil {
		return nil, err
	}
	var runs Baselines
	var fill func()
	switch {
	case s.lens:
		var lens *Lens
		if lens, err = m.lens(q.Pair, q.metric.row().full, progress); err == nil {
			runs, fill = lens.Baselines, func() { r.addLens(lens, q.metric) }
		}
	case s.attention != "":
		var heads []Head
		var patterns *Patterns
		if heads, err = s.heads(m.Config); err == nil {
			patterns, err = m.patterns(q.Pair, heads, q.metric.row().full, progress)
		}
		if err == nil {
			runs, fill = patterns.Baselines, func() { r.addPatterns(patterns, heads) }
		}
	case s.direct:
		var direct *Direct
		if direct, err = m.direct(q.Pair, progress); err == nil {
			runs, fill = direct.Baselines, func() { r.addShares(direct) }
		}
	default:
		var sweep *Sweep
		if sweep, err = m.sweep(q.Pair, plan, progress); err == nil {
			runs, fill = sweep.Baselines, func() { r.addReadings(sweep.matrices, q.metric) }
		}
	}
	if err == nil {
		err = r.addRuns(m, q, runs, s.top)
	}
	if err != nil {
		return nil, err
	}
	fill()
	return r, nil
}

// newReport is what is known of a question's result before anything runs, with the plan of a sweep.
func (s *Study) newReport(m *Model, q Question) (*Report, Plan, error) {
	t := m.tokenizer
	r := &Report{
		Model: newModelReport(m), Metric: q.metricName(), To: s.to,
		Answer: AnswerReport{Clean: newAnswerReport(t, q.cleanAnswer)},
	}
	r.Clean.TextReport = newTextReport(t, q.cleanText.text, q.clean)
	r.Corrupt.TextReport = newTextReport(t, q.corruptText.text, q.corrupt)
	if !slices.Equal(q.cleanAnswer, q.corruptAnswer) {
		r.Answer.Corrupt = newAnswerReport(t, q.corruptAnswer)
	}
	result, plan, err := s.layOut(m, len(q.clean), r.Clean.Tokens, r.Corrupt.Tokens)
	if err != nil {
		return nil, plan, err
	}
	r.Result, r.Site = result, result.site
	r.Rows, r.Columns = r.rows.unique(), r.columns.unique()
	r.picture.title += strings.ReplaceAll(r.Metric, " - ", " − ")
	if s.attention != "" {
		r.picture.title = "attention of " + s.attended()
	}
	return r, plan, nil
}

// layOut is the shape of a study's result over texts of T tokens: the panels by name, and the names
// of their rows and columns. Positions have the texts' tokens beside them, unless these are nil.
func (s *Study) layOut(m *Model, T int, clean, corrupt []string) (r Result, plan Plan, err error) {
	positions := func(word string, spans []Span) header {
		a := header{word: word}
		if spans == nil {
			spans = everySpan(T)
		}
		for _, span := range spans {
			a.add(span, clean, corrupt)
		}
		if word == "position" && clean != nil {
			a.title = "token of the corrupt text"
		}
		return a
	}
	r.rows, r.columns = numberedHeader("layer", m.layers), positions("position", nil)
	bothRuns := []Panel{{title: "clean run"}, {title: "corrupt run"}}
	switch {
	case s.lens:
		r.site, r.panels, r.picture.subtitle = "lens", bothRuns, "logit lens"
		r.columns.title = "token at this position"
	case s.attention != "":
		var heads []Head
		heads, err = s.heads(m.Config)
		r.site = "attention"
		r.picture = Figure{subtitle: "both runs as they are", across: 2, blank: true,
			style: style{low: 0, high: 1}}
		r.rows, r.columns = positions("destination", nil), positions("source", nil)
		for _, head := range heads {
			for _, run := range bothRuns {
				r.panels = append(r.panels, Panel{title: head.String() + ", " + run.title})
			}
		}
	case s.direct:
		r.site, r.panels = "direct", bothRuns
		r.picture = Figure{title: "shares of ", subtitle: "direct logit attribution",
			centered: true, blank: true}
		r.columns = header{word: "component", title: "head, or another component",
			names: slices.Concat([]string{"embed", "pos_embed"}, numberedHeader("", m.heads).names,
				[]string{"attn_bias", "mlp", "ln_f_bias"})}
	default:
		if plan, err = s.plan(m.Config, T); err == nil {
			r.layOutSweep(s, m, plan, positions)
		}
	}
	r.picture.subtitle += " · " + newModelReport(m).String()
	return r, plan, err
}

// layOutSweep is layOut for a sweep. Target says what its matrices are.
func (r *Result) layOutSweep(s *Study, m *Model, plan Plan,
	positions func(word string, spans []Span) header) {
	var names []string
	for _, target := range plan.targets {
		names = append(names, target.String())
		r.panels = append(r.panels, Panel{title: target.String()})
	}
	r.site = cmp.Or(s.site, strings.Join(names, ","))
	r.picture.subtitle = "patched: " + strings.Join(names, ", ")
	if s.to != "" {
		r.picture.subtitle = "patched: the path from each head to " +
			strings.ReplaceAll(s.to, ",", ", ")
	}
	run := running(plan.spans)
	switch target := plan.targets[0]; {
	case target.of != nil:
		r.rows, r.columns = positions("destination", nil), positions("source", nil)
		r.picture.blank = true
	case !target.site.ofHead():
		r.columns = positions("position", plan.spans)
	case len(run) > 1:
		r.rows = header{word: "head"}
		for l := range m.layers {
			for h := range m.heads {
				r.rows.names = append(r.rows.names, Head{l, h}.String())
			}
		}
		r.columns = positions("position", plan.spans)
		r.picture.group = m.heads
	default:
		r.columns = numberedHeader("head", m.heads)
		for _, span := range run {
			r.picture.subtitle += " at position " + span.String()
		}
	}
}

// add adds the name of a span, and its tokens.
func (a *header) add(s Span, clean, corrupt []string) {
	a.names = append(a.names, s.String())
	if clean != nil {
		a.clean = append(a.clean, strings.Join(clean[s.lo:s.hi], ""))
		a.corrupt = append(a.corrupt, strings.Join(corrupt[s.lo:s.hi], ""))
	}
}

func numberedHeader(word string, n int) header {
	a := header{word: word}
	for i := range n {
		a.names = append(a.names, strconv.Itoa(i))
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

// addRuns adds what the two runs as they are predict. It fails if the metric makes no sense for
// them.
func (r *Report) addRuns(m *Model, q Question, b Baselines, top int) error {
	if q.metric == metricRestored {
		if err := b.restorable(); err != nil {
			return err
		}
	}
	r.baselines = b
	add := func(to *RunReport, from Reading, logits []float32) {
		to.Metric = Number(q.metric.of(from, b.clean, b.corrupt))
		to.Top, to.Logits = topTokens(m.tokenizer, logits, top), map[string]any{}
		for name, pick := range r.logits() {
			to.Logits[name] = Number(pick(from))
		}
	}
	both := []func(){
		func() { add(&r.Clean, b.clean, b.cleanLogits) },
		func() { add(&r.Corrupt, b.corrupt, b.corruptLogits) },
	}
	parallel(2, func(i int) { both[i]() })
	return nil
}

// logits are what a metric is computed from, so that another metric needs no new run: the answers'
// logits (of a set log Σ exp) and, where it was computed, log Σ exp of all logits.
func (r *Report) logits() map[string]func(Reading) float64 {
	all := map[string]func(Reading) float64{}
	if r.Answer.Clean != nil {
		all["clean"] = func(c Reading) float64 { return c.clean }
	}
	if r.Answer.Corrupt != nil {
		all["corrupt"] = func(c Reading) float64 { return c.corrupt }
	}
	if !math.IsNaN(r.baselines.clean.logSum) {
		all["log_sum_exp"] = func(c Reading) float64 { return c.logSum }
	}
	return all
}

// addReadings fills the panels with a metric of readings, [panel][row][column]. The JSON has what
// they are computed from beside them, of several panels by their names.
func (r *Report) addReadings(readings [][][]Reading, metric Metric) {
	clean, corrupt := float64(r.Clean.Metric), float64(r.Corrupt.Metric)
	r.picture.reversed, r.picture.center = metric.row().highIsClean, corrupt
	r.picture.marks = []Mark{{clean, "clean"}, {corrupt, "corrupt"}}
	matrices, logits := map[string]any{}, map[string]any{}
	for i := range r.panels {
		cells, of := readings[i], map[string]any{}
		for name, pick := range r.logits() {
			of[name] = func(row, column int) float64 { return pick(cells[row][column]) }
		}
		at := func(row, column int) float64 {
			if r.picture.blank && column > row { // attention never has a later source
				return math.NaN()
			}
			return metric.of(cells[row][column], r.baselines.clean, r.baselines.corrupt)
		}
		r.panels[i].at, matrices[r.panels[i].title], logits[r.panels[i].title] = at, at, of
	}
	if one := r.panels[0]; len(r.panels) == 1 {
		r.numbers = []field{{"matrix", one.at}, {"logits", logits[one.title]}}
		return
	}
	r.numbers = []field{{"matrices", matrices}, {"logits", logits}}
}

func (r *Report) addLens(lens *Lens, metric Metric) {
	r.addReadings(lens.cells[:], metric)
	r.lens = &LensReport{lens.top[cleanRun], lens.top[corruptRun]}
	r.numbers = append(r.numbers, field{"lens", r.lens})
}

var runNames = [2]string{cleanRun: "clean", corruptRun: "corrupt"}

// addPatterns fills a panel for each head in each run. No position attends to a later one: the
// picture shows no cell there, and the JSON 0.
func (r *Report) addPatterns(patterns *Patterns, heads []Head) {
	all := map[string]any{}
	for i, head := range heads {
		runs := map[string]any{}
		for run, name := range runNames {
			a := patterns.a[run][i]
			of := func(later float64) func(destination, source int) float64 {
				return func(destination, source int) float64 {
					if source > destination {
						return later
					}
					return float64(a[destination][source])
				}
			}
			r.panels[2*i+run].at, runs[name] = of(math.NaN()), of(0)
		}
		all[head.String()] = runs
	}
	r.numbers = []field{{"attention", all}}
}

// addShares fills the panels with what the parts of the model add to the metric of each run.
func (r *Report) addShares(direct *Direct) {
	all := map[string]any{}
	for run, name := range runNames {
		shares, none := direct.shares[run], math.NaN()
		var matrix [][]float64
		for l, heads := range shares.Heads {
			matrix = append(matrix, slices.Concat([]float64{none, none}, heads,
				[]float64{shares.AttnBias[l], shares.MLP[l], none}))
		}
		first, last := matrix[0], matrix[len(matrix)-1]
		first[0], first[1], last[len(last)-1] = shares.Embed, shares.PosEmbed, shares.LnFBias
		r.panels[run].at = func(row, column int) float64 { return matrix[row][column] }
		all[name] = shares
	}
	r.numbers = []field{{"direct", all}}
}

func newModelReport(m *Model) ModelReport {
	return ModelReport{m.name, m.source, m.layers, m.heads, m.width, m.context, m.vocab,
		m.headsAssumed, m.sum, m.how}
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
	return setOf(members)
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

// notes are what a user should know about the answers, given the clean run.
func (a AnswerReport) notes(clean Reading) []string {
	if a.Corrupt == nil || !(clean.corrupt > clean.clean) {
		return nil
	}
	return []string{fmt.Sprintf("the clean run itself prefers the corrupt answer: its logits "+
		"are %.2f for %s and %.2f for %s", clean.corrupt, a.Corrupt, clean.clean, a.Clean)}
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
	p := Axis{title: cmp.Or(a.title, a.word), names: a.names}
	if a.corrupt != nil {
		p.names, p.beside, p.tokens = a.corrupt, make([]string, len(a.names)), true
	}
	for i, clean := range a.clean {
		if clean != a.corrupt[i] {
			p.beside[i] = clean
		}
	}
	return p
}

func (r *Result) figure(s style) *Figure {
	f := r.picture
	f.rows, f.columns, f.panels = r.rows.painted(), r.columns.painted(), r.panels
	if len(f.panels) == 1 {
		f.panels = []Panel{{at: r.panels[0].at}} // the subtitle names the one site
	}
	if s.low < s.high {
		f.low, f.high = s.low, s.high
	}
	f.colorMap, f.scale, f.heading = s.colorMap, s.scale, s.heading
	f.comments = [][2]string{{"Software", "mechpatch " + r.Version},
		{"Comment", fmt.Sprintf("%q", r.Command)}}
	return &f
}

// writeCSV writes the panels with a header row and the rows' names before the numbers, of a head
// its layer and its number apart, and before those the names of several panels. A cell without a
// value is NaN: readers take a column that begins with empty fields for text.
func (r *Result) writeCSV(w io.Writer) error {
	c, titles := csv.NewWriter(w), []string{r.rows.word}
	if r.picture.group > 0 {
		titles = []string{"layer", "head"}
	}
	if len(r.panels) > 1 {
		titles = append([]string{"site"}, titles...)
	}
	c.Write(append(titles, r.columns.unique()...))
	for _, p := range r.panels {
		for row, name := range r.rows.unique() {
			record := []string{name}
			if r.picture.group > 0 {
				record = strings.Split(name, ".")
			}
			if len(r.panels) > 1 {
				record = append([]string{p.title}, record...)
			}
			for column := range r.columns.names {
				record = append(record, strconv.FormatFloat(p.at(row, column), 'g', -1, 64))
			}
			c.Write(record)
		}
	}
	c.Flush()
	return c.Error()
}

// marshal is json.Marshal, but < and the like stay as they are.
func marshal(v any) ([]byte, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}

func writeJSON(w io.Writer, v any) error {
	text, err := marshal(v)
	if err == nil {
		_, err = w.Write(append(text, '\n'))
	}
	return err
}

func (r *Report) writeJSON(w io.Writer) error {
	b := bufio.NewWriter(w)
	if err := r.writeObject(b, r); err != nil {
		return err
	}
	b.WriteString(r.own + "}\n")
	return b.Flush()
}

// writeObject writes what a struct holds and then the numbers, as a JSON object without its end.
func (r *Result) writeObject(b *bufio.Writer, small any) error {
	object, err := marshal(small)
	if err != nil {
		return err
	}
	b.Write(object[:len(object)-1])
	for _, f := range r.numbers {
		fmt.Fprintf(b, ",%q:", f.key)
		if err := r.writeValue(b, f.value); err != nil {
			return err
		}
	}
	return nil
}

// writeValue writes the value of a field.
func (r *Result) writeValue(b *bufio.Writer, value any) error {
	switch v := value.(type) {
	case map[string]any:
		separator := "{"
		for _, key := range sortedKeys(v) {
			fmt.Fprintf(b, "%s%q:", separator, key)
			if err := r.writeValue(b, v[key]); err != nil {
				return err
			}
			separator = ","
		}
		b.WriteByte('}')
		return nil
	case func(row, column int) float64:
		begin := "[["
		for row := range r.rows.names {
			b.WriteString(begin)
			for column := range r.columns.names {
				if column > 0 {
					b.WriteByte(',')
				}
				b.Write(appendNumber(b.AvailableBuffer(), v(row, column)))
			}
			b.WriteByte(']')
			begin = ",["
		}
		b.WriteByte(']')
		return nil
	}
	text, err := marshal(value)
	b.Write(text)
	return err
}
