package main

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"fmt"
	"image/color"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// This file answers a question. Whatever is asked, the answer has one shape, a named list of panels
// whose rows and columns have names. It becomes a figure, CSV, JSON and, below, what is printed:
// tables of tokens, the panels in figures or in colours, and in words what is largest in them.

// Result is an answer: a figure, and the numbers of the JSON, after all that is small.
type Result struct {
	Origin
	Figure
	site    string // what was patched, or looked at
	numbers []field
}

// field is a key of a JSON object and its value: a matrix, given by its cells, an object of such
// values by their names, or what encoding/json takes. A matrix may be large, and is never in memory
// as text.
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
	words     func() string // the end of its text: what is largest
	tables    bool          // whether the panels are printed too
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
	Metric Number            `json:"metric"`
	Top    []TopReport       `json:"top"`
	Logits map[string]Number `json:"logits,omitempty"` // as those of a cell
}

// NextReport is what a model predicts after one text.
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
	case v == 0 || 1e-6 <= size && size < 1e21:
		return strconv.AppendFloat(b, v, 'f', -1, 64)
	}
	b = strconv.AppendFloat(b, v, 'e', -1, 64)
	if n := len(b); b[n-3] == '-' && b[n-2] == '0' { // 1e-07 is written 1e-7
		b = append(b[:n-2], b[n-1])
	}
	return b
}

// run answers a question. progress is told the share of the work that is done.
func (s *Study) run(m *Model, q Question, progress func(done float64)) (r *Report, err error) {
	defer catchFault(&err)
	r = s.newReport(m, q)
	full := q.metric.row().full
	switch {
	case s.lens:
		lens := get(m.lens(q.Pair, full, progress))
		r.addRuns(m, q, lens.Baselines, s.top)
		r.addReadings(lens.cells[:], q.metric)
		r.words = func() string { return lensTable(lens.top) }
		r.numbers = append(r.numbers, field{"lens", ofRuns(lens.top)})
	case s.attention != "":
		heads := s.heads(m.Config)
		patterns := get(m.patterns(q.Pair, heads, full, progress))
		r.addRuns(m, q, patterns.Baselines, s.top)
		r.addPatterns(patterns, heads)
	case s.direct:
		direct := get(m.direct(q.Pair, progress))
		r.addRuns(m, q, direct.Baselines, s.top)
		r.addShares(direct)
	default:
		sweep := get(m.sweep(q.Pair, s.plan(m.Config, len(q.clean)), progress))
		r.addRuns(m, q, sweep.Baselines, s.top)
		r.addReadings(sweep.matrices, q.metric)
	}
	return r, nil
}

// newReport is what is known of a question's result before anything runs. It fails if the study
// cannot be made.
func (s *Study) newReport(m *Model, q Question) *Report {
	t := m.tokenizer
	r := &Report{Model: newModelReport(m), Metric: q.metricName(), To: s.to,
		Answer: AnswerReport{newAnswerReport(t, q.cleanAnswer),
			newAnswerReport(t, q.corruptAnswer)}}
	r.Clean.TextReport = TextReport{q.cleanText.text, q.clean, t.tokens(q.clean)}
	r.Corrupt.TextReport = TextReport{q.corruptText.text, q.corrupt, t.tokens(q.corrupt)}
	r.Result = s.layOut(m, len(q.clean), r.Clean.Tokens, r.Corrupt.Tokens)
	r.Site, r.Rows, r.Columns = r.site, r.rows.unique(), r.columns.unique()
	r.title += strings.ReplaceAll(r.Metric, " - ", " − ")
	if s.attention != "" {
		r.title = "attention of " + s.attended()
	}
	return r
}

// layOut is the shape of a study's result over texts of T tokens: the panels by name, and the names
// of their rows and columns. Positions have the texts' tokens, unless these are nil.
func (s *Study) layOut(m *Model, T int, clean, corrupt []string) (r Result) {
	positions := func(word string, spans []Span) Axis {
		a := Axis{word: word}
		if spans == nil {
			spans = everySpan(T)
		}
		for _, span := range spans {
			a.names = append(a.names, span.String())
			if clean != nil {
				a.clean = append(a.clean, strings.Join(clean[span.lo:span.hi], ""))
				a.corrupt = append(a.corrupt, strings.Join(corrupt[span.lo:span.hi], ""))
			}
		}
		if word == "position" && clean != nil {
			a.title = "token of the corrupt text"
		}
		return a
	}
	titles := []string{"clean run", "corrupt run"}
	r.rows, r.columns = numberedAxis("layer", m.layers), positions("position", nil)
	switch {
	case s.lens:
		r.site, r.subtitle, r.columns.title = "lens", "logit lens", "token at this position"
	case s.attention != "":
		r.site, r.subtitle = "attention", "both runs as they are"
		r.across, r.blank, r.low, r.high = 2, true, 0, 1
		r.rows, r.columns = positions("destination", nil), positions("source", nil)
		titles = nil
		for _, head := range s.heads(m.Config) {
			titles = append(titles, head.String()+", clean run", head.String()+", corrupt run")
		}
	case s.direct:
		r.site, r.title, r.subtitle = "direct", "shares of ", "direct logit attribution"
		r.centered, r.blank = true, true
		r.columns = Axis{word: "component", title: "head, or another component",
			names: slices.Concat([]string{"embed", "pos_embed"}, numberedAxis("", m.heads).names,
				[]string{"attn_bias", "mlp", "ln_f_bias"})}
	default:
		titles = r.layOutSweep(s, m, s.plan(m.Config, T), positions)
	}
	for _, title := range titles {
		r.panels = append(r.panels, Panel{title: title})
	}
	r.subtitle += " · " + newModelReport(m).String()
	return r
}

// layOutSweep is layOut for a sweep. Target says what its matrices are.
func (r *Result) layOutSweep(s *Study, m *Model, plan Plan,
	positions func(word string, spans []Span) Axis) (titles []string) {
	for _, target := range plan.targets {
		titles = append(titles, target.String())
	}
	r.site = cmp.Or(s.site, strings.Join(titles, ","))
	r.subtitle = "patched: " + strings.Join(titles, ", ")
	if s.to != "" {
		r.subtitle = "patched: the path from each head to " + strings.ReplaceAll(s.to, ",", ", ")
	}
	run := running(plan.spans)
	switch target := plan.targets[0]; {
	case target.of != nil:
		r.rows, r.columns = positions("destination", nil), positions("source", nil)
		r.blank = true
	case !target.site.ofHead():
		r.columns = positions("position", plan.spans)
	case len(run) > 1:
		r.rows, r.columns = Axis{word: "head"}, positions("position", plan.spans)
		r.group = m.heads
		for head := range m.layers * m.heads {
			r.rows.names = append(r.rows.names, Head{head / m.heads, head % m.heads}.String())
		}
	default:
		r.columns = numberedAxis("head", m.heads)
		for _, span := range run {
			r.subtitle += " at position " + span.String()
		}
	}
	return titles
}

func numberedAxis(word string, n int) Axis {
	a := Axis{word: word}
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
func (r *Report) addRuns(m *Model, q Question, b Baselines, top int) {
	if q.metric == metricRestored {
		b.checkRestorable()
	}
	r.baselines = b
	add := func(to *RunReport, from Reading, logits []float32) {
		to.Metric = Number(q.metric.of(from, b.clean, b.corrupt))
		to.Top, to.Logits = topTokens(m.tokenizer, logits, top), map[string]Number{}
		for name, pick := range r.logits() {
			to.Logits[name] = Number(pick(from))
		}
	}
	add(&r.Clean, b.clean, b.cleanLogits)
	add(&r.Corrupt, b.corrupt, b.corruptLogits)
}

// logits are what a metric is computed from, so that another metric needs no new run: the answers'
// logits (of a set log Σ exp) and log Σ exp of all logits, as far as they were computed.
func (r *Report) logits() map[string]func(Reading) float64 {
	all := map[string]func(Reading) float64{
		"clean":       func(c Reading) float64 { return c.clean },
		"corrupt":     func(c Reading) float64 { return c.corrupt },
		"log_sum_exp": func(c Reading) float64 { return c.logSum },
	}
	maps.DeleteFunc(all, func(_ string, pick func(Reading) float64) bool {
		v := pick(r.baselines.clean)
		return v-v != 0
	})
	return all
}

// addReadings fills the panels with a metric of readings, [panel][row][column]. The JSON has what
// they are computed from beside them.
func (r *Report) addReadings(readings [][][]Reading, metric Metric) {
	clean, corrupt := float64(r.Clean.Metric), float64(r.Corrupt.Metric)
	r.reversed, r.center = metric.row().highIsClean, corrupt
	r.marks = []Mark{{clean, "clean"}, {corrupt, "corrupt"}}
	for i, cells := range readings {
		r.panels[i].at = func(row, column int) float64 {
			if r.blank && column > row { // attention never has a later source
				return math.NaN()
			}
			return metric.of(cells[row][column], r.baselines.clean, r.baselines.corrupt)
		}
	}
	r.words, r.tables = r.effects, true
	r.numbers = []field{r.matrices(), r.eachPanel("logits", "logits", func(panel int) any {
		of := map[string]any{}
		for name, pick := range r.logits() {
			of[name] = func(row, column int) float64 { return pick(readings[panel][row][column]) }
		}
		return of
	})}
}

func (r *Result) matrices() field {
	return r.eachPanel("matrix", "matrices", func(panel int) any { return r.panels[panel].at })
}

// eachPanel is a field of the one panel, or of several by their names.
func (r *Result) eachPanel(one, several string, value func(panel int) any) field {
	if len(r.panels) == 1 {
		return field{one, value(0)}
	}
	all := map[string]any{}
	for i, p := range r.panels {
		all[p.title] = value(i)
	}
	return field{several, all}
}

// ofRuns is what each run has, by their names.
func ofRuns[T any](of [2]T) map[string]any {
	return map[string]any{"clean": of[cleanRun], "corrupt": of[corruptRun]}
}

// addPatterns fills a panel for each head in each run. No position attends to a later one: the
// picture shows no cell there, and the JSON 0.
func (r *Report) addPatterns(patterns *Patterns, heads []Head) {
	all := map[string]any{}
	r.words = r.attention
	for i, head := range heads {
		var numbers [2]any
		for run := range numbers {
			of := func(later float64) func(destination, source int) float64 {
				return func(destination, source int) float64 {
					if source > destination {
						return later
					}
					return float64(patterns.a[run][i][destination][source])
				}
			}
			r.panels[2*i+run].at, numbers[run] = of(math.NaN()), of(0)
		}
		all[head.String()] = ofRuns(numbers)
	}
	r.numbers = []field{{"attention", all}}
}

// addShares fills the panels with what the parts of the model add to the metric of each run.
func (r *Report) addShares(direct *Direct) {
	r.words, r.numbers = r.shares, []field{{"direct", ofRuns(direct.shares)}}
	for run, shares := range direct.shares {
		var matrix [][]float64
		none := math.NaN()
		for l, heads := range shares.Heads {
			matrix = append(matrix, slices.Concat([]float64{none, none}, heads,
				[]float64{shares.AttnBias[l], shares.MLP[l], none}))
		}
		first, last := matrix[0], matrix[len(matrix)-1]
		first[0], first[1], last[len(last)-1] = shares.Embed, shares.PosEmbed, shares.LnFBias
		r.panels[run].at = func(row, column int) float64 { return matrix[row][column] }
	}
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
	var members []string
	for _, member := range t.Set {
		members = append(members, strconv.Quote(member.Token))
	}
	return cmp.Or(setOf(members), strconv.Quote(t.Token))
}

func newRankReport(t *tokenizer, logits []float32, answer string, ids []int) RankReport {
	order := func(a, b int) int { // equals in the order of their ids, as in topK
		return cmp.Or(cmp.Compare(logits[b], logits[a]), cmp.Compare(a, b))
	}
	rank, best := 1, slices.MinFunc(ids, order)
	for id := range logits {
		if order(id, best) < 0 {
			rank++
		}
	}
	var members []float32
	for _, id := range ids {
		members = append(members, logits[id])
	}
	logit := logSumExp(members)
	return RankReport{answer, ids, t.tokens(ids), rank, math.Exp(logit - logSumExp(logits)),
		float32(logit)}
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
func (a *Axis) unique() []string {
	names := slices.Clone(a.names)
	for i := range a.corrupt {
		names[i] += ":" + visible(a.corrupt[i])
	}
	return names
}

// figure is the result as it is painted in a user's style.
func (r *Result) figure(s style) *Figure {
	f := r.Figure
	if s.low >= s.high {
		s.low, s.high = f.low, f.high
	}
	f.style = s
	f.comments = [][2]string{{"Software", "mechpatch " + r.Version},
		{"Comment", fmt.Sprintf("%q", r.Command)}}
	return &f
}

// writeCSV writes the panels with a header row and the rows' names before the numbers, of a head
// its layer and its number apart, and before those the names of several panels. A cell without a
// value is NaN: readers take a column that begins with empty fields for text.
func (r *Result) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	keys := func(panel, row string) (keys []string) {
		if len(r.panels) > 1 {
			keys = append(keys, panel)
		}
		if r.group > 0 {
			return append(keys, strings.Split(row, ".")...)
		}
		return append(keys, row)
	}
	title := r.rows.word
	if r.group > 0 {
		title = "layer.head"
	}
	c.Write(append(keys("site", title), r.columns.unique()...))
	for _, p := range r.panels {
		for row, name := range r.rows.unique() {
			record := keys(p.title, name)
			for column := range r.columns.names {
				record = append(record, strconv.FormatFloat(p.at(row, column), 'g', -1, 64))
			}
			c.Write(record)
		}
	}
	c.Flush()
	return c.Error()
}

func (r *Report) writeJSON(w io.Writer) error {
	b := bufio.NewWriter(w)
	r.writeObject(b, r, r.own+"}\n")
	return b.Flush()
}

// writeObject writes a JSON object of what a struct holds, the numbers, and an end.
func (r *Result) writeObject(b *bufio.Writer, small any, end string) {
	b.WriteString(strings.TrimSuffix(encodeJSON(small), "}"))
	for _, f := range r.numbers {
		fmt.Fprintf(b, ",%q:", f.key)
		r.writeValue(b, f.value)
	}
	b.WriteString(end)
}

func (r *Result) writeValue(b *bufio.Writer, value any) {
	separator := ""
	switch v := value.(type) {
	case map[string]any:
		for _, key := range sortedKeys(v) {
			fmt.Fprintf(b, "%s%q:", cmp.Or(separator, "{"), key)
			r.writeValue(b, v[key])
			separator = ","
		}
		b.WriteByte('}')
	case func(row, column int) float64:
		for row := range r.rows.names {
			separator = cmp.Or(separator, "[") + "["
			for column := range r.columns.names {
				b.WriteString(separator)
				b.Write(appendNumber(b.AvailableBuffer(), v(row, column)))
				separator = ","
			}
			separator = "],"
		}
		b.WriteString("]]")
	default:
		b.WriteString(encodeJSON(v))
	}
}

// mostRows is how many rows of a matrix are printed; of one with more, the largest effects are.
const mostRows = 40

// text is all of the report as text. paint colours a cell's text by its value; it is nil where the
// text is not for a terminal.
func (r *Report) text(paint func(v float64, s string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Model.origin())
	for run, of := range []*RunReport{&r.Clean, &r.Corrupt} {
		fmt.Fprintf(&b, "\n%s text: %s", runNames[run], of.asText(of.Top))
	}
	d := r.decimals()
	fmt.Fprintf(&b, "\n%s: clean %s, corrupt %s\n", r.Metric,
		cellText(float64(r.Clean.Metric), d), cellText(float64(r.Corrupt.Metric), d))
	for _, p := range r.panels {
		if r.tables && len(r.rows.names) <= mostRows {
			b.WriteString("\n" + r.table(p, paint))
		}
	}
	b.WriteString("\n" + r.words())
	return b.String()
}

func (r *NextReport) text() string {
	text := r.Model.origin() + "\n\n" + r.asText(r.Top)
	if len(r.Answers) > 0 {
		text += fmt.Sprintf("\n%-16s  %8s  Probability  %9s\n", "Answer", "Position", "Logit")
	}
	for _, a := range r.Answers {
		name := make([]string, len(a.Tokens))
		for i, t := range a.Tokens {
			name[i] = strconv.Quote(t)
		}
		text += fmt.Sprintf("%-16s  %8d  %11.4f  %9s\n", strings.Join(name, "/"), a.Rank, a.Prob,
			cellText(float64(a.Logit), 2))
	}
	return text
}

// asText is the tokens of a text, and a table of what comes next.
func (t *TextReport) asText(top []TopReport) string {
	var b strings.Builder
	writeTokenization(&b, t.IDs, func(i int) string { return t.Tokens[i] })
	fmt.Fprintf(&b, "\nPosition  Token index  %-16s  Probability\n", "Token")
	for i, t := range top {
		fmt.Fprintf(&b, "%8d  %11d  %-16q  %11.4f\n", i+1, t.ID, t.Token, t.Prob)
	}
	return b.String()
}

// writeTokenization writes tokens and their ids one after the other: a long text's are never all in
// memory, and each token's text is made once.
func writeTokenization(w io.Writer, ids []int, token func(i int) string) {
	shown := map[int]string{}
	for i, id := range ids {
		if _, ok := shown[id]; !ok {
			shown[id] = visible(token(i))
		}
		io.WriteString(w, "/"[:min(i, 1)])
		io.WriteString(w, shown[id])
	}
	io.WriteString(w, "\n"+count(len(ids), "token")+":")
	var number []byte
	for _, id := range ids {
		number = strconv.AppendInt(append(number[:0], ' '), int64(id), 10)
		w.Write(number)
	}
	io.WriteString(w, "\n")
}

// lensTable is the most probable token at the last position after every layer, [run][layer].
func lensTable(top [2][]TopReport) string {
	text := fmt.Sprintf("Layer  %-22s  Probability  %-23s  Probability\n", "Clean run's top token",
		"Corrupt run's top token")
	for i, c := range top[cleanRun] {
		k := top[corruptRun][i]
		text += fmt.Sprintf("%5d  %-22q  %11.4f  %-23q  %11.4f\n", i, c.Token, c.Prob, k.Token,
			k.Prob)
	}
	return text
}

// table shows a panel with a line for each column, so that tokens can be read, and a column for
// each row: with all their digits or, where there is paint, in as many as fit on 80 columns.
func (r *Result) table(p Panel, paint func(v float64, s string) string) string {
	rows, decimals, short, most := r.rows.names, r.decimals(), paint != nil, math.MaxInt
	if short {
		most = max(1, (79-terminalLabel)/len(rows))
	} else {
		paint = func(_ float64, s string) string { return s }
	}
	widest := func() (width int) {
		for v := range r.values(p) {
			width = max(width, len(cellText(v, decimals)))
		}
		return width
	}
	cell := min(max(6, widest()+1), most)
	for decimals > 0 && widest() >= most {
		decimals--
	}
	label := utf8.RuneCountInString(p.title)
	for i := range r.columns.names {
		label = max(label, utf8.RuneCountInString(r.columns.label(i, short)))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-*s", label, p.title)
	for row, name := range rows {
		if len(name) < cell {
			fmt.Fprintf(&b, "%*s", cell, name)
		} else if every := 10 / cell; row%every == 0 {
			fmt.Fprintf(&b, "%-*s", every*cell, name)
		}
	}
	for column := range r.columns.names {
		fmt.Fprintf(&b, "\n%-*s", label, r.columns.label(column, short))
		for row := range rows {
			v, s := p.at(row, column), ""
			if !short || len(rows) <= mostFigures {
				s = cellText(v, decimals)
			}
			b.WriteString(paint(v, fmt.Sprintf("%*s", cell, s)))
		}
	}
	return b.String() + "\n"
}

const (
	mostFigures   = 12 // layers whose cells have room for a figure on 80 columns
	terminalLabel = 19 // the longest label beside them
)

// decimals is how many tell a hundred steps of the range of all panels apart, at least two.
func (r *Result) decimals() int {
	low, high, decimals := math.Inf(1), math.Inf(-1), 2
	for v := range r.values(r.panels...) {
		low, high = min(low, v), max(high, v)
	}
	for step := 0.01; decimals < 6 && 0 < high-low && high-low < 100*step; decimals++ {
		step /= 10
	}
	return decimals
}

// cellText is a value as other programs read it, with a plain minus. A cell that was not run is a
// dot.
func cellText(v float64, decimals int) string {
	if v != v {
		return "·"
	}
	return strings.NewReplacer("−", "-", "∞", "inf").Replace(formatValue(v, decimals))
}

// place says which row or column it is, in a sentence.
func (a *Axis) place(i int) string {
	if a.clean == nil {
		return a.word + " " + a.names[i]
	}
	return fmt.Sprintf("%s %s (%q)", a.word, a.names[i], a.clean[i])
}

// label names a row or column at the beginning of a line, with its token, and the clean token where
// that is another one.
func (a *Axis) label(i int, short bool) string {
	if a.corrupt == nil {
		return a.word + " " + a.names[i]
	}
	token := strconv.Quote(a.corrupt[i])
	switch {
	case short:
		token = visible(a.corrupt[i])
		if a.differs(i) {
			token = visible(a.clean[i]) + "→" + token
		}
		if runes := []rune(token); len(runes) > terminalLabel-5 {
			token = string(runes[:terminalLabel-6]) + "…"
		}
	case a.differs(i):
		token += fmt.Sprintf(" (clean %q)", a.clean[i])
	}
	return fmt.Sprintf("%4s %s", a.names[i], token)
}

// largest are the places of the largest of n values, the largest first, at most so many of them.
func largest(most, n int, value func(i int) float64) []int {
	places := make([]int, n)
	for i := range places {
		places[i] = i
	}
	slices.SortStableFunc(places, func(a, b int) int { return cmp.Compare(value(b), value(a)) })
	return places[:min(most, n)]
}

// effects says in words which cells of each panel change the corrupt run's metric most: five, or
// twenty where the panels are not printed, and of several panels fewer of each.
func (r *Report) effects() string {
	d, columns, most := r.decimals(), len(r.columns.names), 5
	if len(r.rows.names) > mostRows {
		most = 20
	}
	if n := len(r.panels); n > 1 {
		most = max(3, most/n)
	}
	lines, corrupt := "", cellText(float64(r.Corrupt.Metric), d)
	for _, p := range r.panels {
		changes := make([]float64, len(r.rows.names)*columns)
		for i := range changes {
			v := p.at(i/columns, i%columns)
			if v == v && cellText(v, d) != corrupt { // what no figure shows is no effect
				changes[i] = math.Abs(v - float64(r.Corrupt.Metric))
			}
		}
		// Changes are told apart by hundredths of the largest: less is none.
		unit := slices.Max(changes) / 100
		rank := func(i int) float64 { return math.Round(changes[i] / unit) }
		for _, i := range largest(most, len(changes), rank) {
			if !(rank(i) > 0) {
				break
			}
			where := r.rows.place(i/columns) + ", " + r.columns.place(i%columns)
			if len(r.panels) > 1 {
				where += ", " + p.title
			}
			lines += fmt.Sprintf("  %s: %s, corrupt %s\n", where,
				cellText(p.at(i/columns, i%columns), d), corrupt)
		}
	}
	none := "no cell was run"
	for range r.values(r.panels...) {
		none = "no cell changes the corrupt run's metric"
	}
	return "The largest effects:\n" + cmp.Or(lines, "  none: "+none+"\n")
}

// attention lists the three sources that each position attends to most, in both runs; of a long
// text only for the last position.
func (r *Report) attention() string {
	var b strings.Builder
	n := len(r.rows.names)
	for i := 0; i < len(r.panels); i += 2 {
		head, _, _ := strings.Cut(r.panels[i].title, ",")
		fmt.Fprintf(&b, "Head %s attends from each position most to:\n", head)
		for destination := range n {
			if n > mostRows && destination < n-1 {
				continue
			}
			fmt.Fprintf(&b, "%s\n", r.rows.label(destination, false))
			for run, tokens := range [][]string{r.columns.clean, r.columns.corrupt} {
				fmt.Fprintf(&b, "       %-7s", runNames[run])
				to := func(source int) float64 { return r.panels[i+run].at(destination, source) }
				for i, source := range largest(3, destination+1, to) {
					if i == 0 || to(source) >= 0.005 {
						fmt.Fprintf(&b, "  %.2f %d %q", to(source), source, tokens[source])
					}
				}
				b.WriteString("\n")
			}
		}
	}
	return b.String()
}

// shares lists the twenty largest shares of both runs, and the sum of all. What is less than a
// hundredth of the largest is none.
func (r *Report) shares() string {
	d, columns := r.decimals(), len(r.columns.names)
	text := ""
	line := func(name string, share func(run int) float64) {
		text += fmt.Sprintf("  %-16s  %9s  %9s\n", name, cellText(share(cleanRun), d),
			cellText(share(corruptRun), d))
	}
	share := func(i, run int) float64 { return r.panels[run].at(i/columns, i%columns) }
	size := func(i int) float64 {
		return max(math.Abs(share(i, cleanRun)), math.Abs(share(i, corruptRun)))
	}
	places := largest(20, len(r.rows.names)*columns, size)
	for _, i := range places {
		row, c := i/columns, i%columns
		name := fmt.Sprintf("%s %d", r.columns.names[c], row)
		if c < 2 || c == columns-1 {
			name = r.columns.names[c]
		} else if c < 2+r.Model.Heads {
			name = "head " + Head{row, c - 2}.String()
		}
		if 100*size(i) >= size(places[0]) {
			line(name, func(run int) float64 { return share(i, run) })
		}
	}
	line("sum of all", func(run int) (sum float64) {
		for v := range r.values(r.panels[run]) {
			sum += v
		}
		return sum
	})
	return fmt.Sprintf("The largest shares  %9s  %9s\n", "clean", "corrupt") + text
}

// ansiPainter paints with ECMA-48's "select graphic rendition": background 48 and foreground 38,
// followed by 2;R;G;B or, without trueColor, by 5;N with a colour of the 6×6×6 cube that xterm's
// 256 colours hold. Its steps are 0, 95, 135, 175, 215, 255.
func ansiPainter(f *Figure, trueColor bool) func(v float64, text string) string {
	scale := f.colorScale()
	palette, valueInk := newPalette(f.anchors())
	code := func(index uint8) string {
		c := palette[index].(color.RGBA)
		if trueColor {
			return fmt.Sprintf("2;%d;%d;%d", c.R, c.G, c.B)
		}
		number := 0
		for _, v := range []uint8{c.R, c.G, c.B} {
			if number *= 6; v >= 48 {
				number += max(1, (int(v)-35)/40)
			}
		}
		return fmt.Sprintf("5;%d", 16+number)
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
