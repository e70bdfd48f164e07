package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// matrix is one of JSON: nil for null, what was not run.
type matrix = [][]*float64

// jsonReport is a report as others read it.
type jsonReport struct {
	Site, To, Metric string
	Rows, Columns    []string
	Clean, Corrupt   struct{ Logits map[string]float64 }
	Matrix           matrix
	Matrices         map[string]matrix
	Logits           json.RawMessage
	Lens             map[string][]any
	Attention        map[string]map[string]matrix
	Direct           map[string]Shares
}

// asJSON writes a report and reads it again.
func asJSON(t *testing.T, r *Report) (got jsonReport) {
	t.Helper()
	var text strings.Builder
	check(t, r.writeJSON(&text))
	decodeJSON(t, text.String(), &got)
	return got
}

const circuitSize = "built-in circuit (not GPT-2): 12 layers, 4 heads, width 256"

// TestFigure checks everything that a report tells its heat map, for every metric and site.
func TestFigure(t *testing.T) {
	const diff = "logit(Smith) − logit(Jones)"
	one := []string{""}
	for _, c := range []struct {
		study    Study
		colorMap string
		scale    int
		title    string
		what     string
		reversed bool
		panels   []string // their titles
	}{
		{Study{site: "resid", metric: metricDiff}, "rdbu", 3, diff, "patched: resid", false, one},
		{Study{site: "attn", metric: metricLogit}, "viridis", 1, "logit(Jones)", "patched: attn",
			true, one},
		{Study{site: "mlp", metric: metricProb}, "viridis", 2, "p(Smith) − p(Jones)",
			"patched: mlp", false, one},
		{Study{site: "resid", metric: metricRestored}, "rdbu", 1, "restored share of " + diff,
			"patched: resid", true, one},
		{Study{site: "head", metric: metricDiff}, "viridis", 8, diff, "patched: z", false, one},
		{Study{site: "q", positions: "-2..-1", metric: metricDiff}, "viridis", 1, diff,
			"patched: q at position 9..10", false, one},
		{Study{site: "all", metric: metricDiff}, "rdbu", 1, diff, "patched: resid, attn, mlp",
			false, []string{"resid", "attn", "mlp"}},
		{Study{lens: true, metric: metricDiff}, "rdbu", 1, diff, "logit lens", false,
			[]string{"clean run", "corrupt run"}},
	} {
		r := study(t, c.study)
		got := r.figure(style{colorMap: c.colorMap, scale: c.scale})
		clean, corrupt := float64(r.Clean.Metric), float64(r.Corrupt.Metric)
		if c.reversed != (clean > corrupt) {
			t.Errorf("%+v: clean %g, corrupt %g", c.study, clean, corrupt)
		}
		want := &Figure{
			title: c.title, subtitle: c.what + " · " + circuitSize,
			rows: Axis{title: "layer", names: numbered(12)},
			columns: Axis{title: "token of the corrupt text", names: r.Corrupt.Tokens, tokens: true,
				beside: []string{"", " Jones", "", "", "", "", "", "", "", "", ""}},
			style:    style{colorMap: c.colorMap, scale: c.scale},
			reversed: c.reversed, center: corrupt,
			marks: []Mark{{clean, "clean"}, {corrupt, "corrupt"}},
		}
		if c.study.site == "head" || c.study.site == "q" {
			want.columns = Axis{title: "head", names: numbered(4)}
		}
		if c.study.lens {
			want.columns.title = "token at this position"
		}
		panels := got.panels
		got.comments = nil
		if got.panels = nil; !reflect.DeepEqual(got, want) {
			t.Errorf("%+v:\n%+v, want\n%+v", c.study, got, want)
		}
		var titles []string
		for _, p := range panels {
			titles = append(titles, p.title)
		}
		if !slices.Equal(titles, c.panels) {
			t.Errorf("%+v: panels %q", c.study, titles)
		}
	}
	r := study(t, Study{site: "resid", metric: metricRestored})
	if r.Clean.Metric != 1 || r.Corrupt.Metric != 0 {
		t.Errorf("restored: clean %g, corrupt %g", r.Clean.Metric, r.Corrupt.Metric)
	}
}

// TestNames checks how the rows and columns are named in JSON and CSV for every kind of study, and
// that the numbers, the logits and the picture have that shape.
func TestNames(t *testing.T) {
	type ends [2]string // the first and the last
	layers, heads, both := ends{"0", "11"}, ends{"0", "3"}, ends{"0.0", "11.3"}
	tokens := ends{"0:Michelle", "10: Michelle"}
	for _, c := range []struct {
		study         Study
		site          string // in the JSON
		rows, columns ends
		header        string // how the CSV begins
		panels        int
	}{
		{Study{}, "resid", layers, tokens, "layer,0:Michelle", 1},
		{Study{site: "resid_pre,mlp"}, "resid_pre,mlp", layers,
			tokens, "site,layer,0:Michelle,1: Smith", 2},
		{Study{site: "attn", positions: "1..2,9..10"}, "attn", layers,
			ends{"0:Michelle", "9..10:. Michelle"}, "layer,0:Michelle,1..2: Smith was,3: a", 1},
		{Study{site: "z"}, "z", layers, heads, "layer,0,1,2,3", 1},
		{Study{site: "v", positions: "1"}, "v", layers, heads, "layer,0,1,2,3", 1},
		{Study{site: "q", positions: ":"}, "q", both, tokens, "layer,head,0:Michelle", 1},
		{Study{site: "heads", positions: "1,10"}, "heads", both,
			tokens, "site,layer,head,0:Michelle", 5},
		{Study{site: "6.3.pattern"}, "6.3.pattern", tokens, tokens,
			"destination,0:Michelle,1: Smith", 1},
		{Study{to: "logits"}, "z", layers, heads, "layer,0,1,2,3", 1},
		{Study{to: "6.3.k"}, "z", layers, heads, "layer,0,1,2,3", 1},
		{Study{lens: true}, "lens", layers, tokens, "site,layer,0:Michelle", 2},
		{Study{attention: "6.3,2.1"}, "attention", tokens, tokens,
			"site,destination,0:Michelle", 4},
	} {
		c.study.metric = metricDiff
		r := study(t, c.study)
		of := func(names []string) ends { return ends{names[0], names[len(names)-1]} }
		if r.Site != c.site || r.To != c.study.to || of(r.Rows) != c.rows ||
			of(r.Columns) != c.columns || len(r.panels) != c.panels {
			t.Errorf("%+v: site %s, to %s, rows %q, columns %q, %d panels",
				c.study, r.Site, r.To, of(r.Rows), of(r.Columns), len(r.panels))
		}
		inJSON := asJSON(t, r)
		for _, p := range r.panels {
			numbers, logits := inJSON.Matrix, map[string]matrix{}
			if len(r.panels) == 1 {
				json.Unmarshal(inJSON.Logits, &logits)
			} else {
				all := map[string]map[string]matrix{}
				json.Unmarshal(inJSON.Logits, &all)
				numbers, logits = inJSON.Matrices[p.title], all[p.title]
			}
			shaped := len(numbers) == len(r.Rows) && len(numbers[0]) == len(r.Columns)
			if c.study.attention == "" && !shaped {
				t.Errorf("%+v: %d rows of numbers", c.study, len(numbers))
			}
			for row := range numbers {
				for column, v := range numbers[row] {
					clean, corrupt := logits["clean"][row][column], logits["corrupt"][row][column]
					if v != nil && (*v != *corrupt-*clean || *v != p.at(row, column)) {
						t.Errorf("%+v: %g at (%d, %d), of its logits %g, painted %g",
							c.study, *v, row, column, *corrupt-*clean, p.at(row, column))
					}
				}
			}
		}
		if c.study.lens && len(inJSON.Lens["corrupt"]) != len(r.Rows) {
			t.Errorf("the lens is %v", inJSON.Lens)
		}
		if diff := inJSON.Clean.Logits["corrupt"] - inJSON.Clean.Logits["clean"]; diff !=
			float64(r.Clean.Metric) {
			t.Errorf("%+v: the clean run's logits differ by %g", c.study, diff)
		}
		var csv bytes.Buffer
		if err := r.writeCSV(&csv); err != nil || !strings.HasPrefix(csv.String(), c.header) {
			t.Errorf("%+v: CSV %.60q, %v", c.study, csv.String(), err)
		}
		figure := r.figure(style{colorMap: "viridis", scale: 1})
		check(t, figure.write(io.Discard))
	}
}

// TestCSV reads CSV files as others do: the names of the columns are unique and valid UTF-8 though
// a token is a part of a character or stands there twice, the numbers are the matrix's to the last
// bit, and a cell that was not run is NaN.
func TestCSV(t *testing.T) {
	for _, c := range []struct {
		name, clean, corrupt string
		study                Study
		keys                 int // columns before the numbers
	}{
		{"layers", exampleClean, exampleCorrupt, Study{layers: "5:7", positions: "1,9:"}, 1},
		{"several sites", exampleClean, exampleCorrupt, Study{site: "all", layers: "0"}, 2},
		{"heads by position", exampleClean, exampleCorrupt,
			Study{site: "z,q", positions: "1,3"}, 3},
		{"parts of characters", "Michelle Jones said “hi” to Michelle",
			"Michelle Smith said “hi” to Michelle", Study{}, 1},
		{"a token twice", "When Mary and John went to the store, John gave a drink to",
			"When Mary and John went to the store, Mary gave a drink to", Study{}, 1},
		{"line breaks and commas", "a,\n\"b\"\nJones a", "a,\n\"b\"\nSmith a", Study{}, 1},
	} {
		c.study.metric = metricDiff
		q := question(t, c.clean, c.corrupt, metricDiff)
		r := must(c.study.run(newCircuit(), q, quiet))
		var b bytes.Buffer
		check(t, r.writeCSV(&b))
		if !utf8.Valid(b.Bytes()) {
			t.Errorf("%s: not UTF-8: %q", c.name, b.Bytes())
		}
		records := must(csv.NewReader(&b).ReadAll())
		if len(records) != 1+len(r.panels)*len(r.Rows) {
			t.Fatal(c.name, len(records))
		}
		sorted := slices.Clone(records[0])
		slices.Sort(sorted)
		if len(slices.Compact(sorted)) != len(records[0]) ||
			!slices.Equal(records[0][c.keys:], r.Columns) {
			t.Errorf("%s: columns %q", c.name, records[0])
		}
		for i, record := range records[1:] {
			p, row := r.panels[i/len(r.Rows)], i%len(r.Rows)
			for column, field := range record[c.keys:] {
				v := p.at(row, column)
				got, err := strconv.ParseFloat(field, 64)
				if err != nil || got != v && (v == v || field != "NaN") {
					t.Errorf("%s, %s, (%d, %d): %q, want %g",
						c.name, p.title, row, column, field, v)
				}
			}
		}
	}
}

// TestAttention checks the view of heads: what the induction head of the circuit looks at, that a
// row is a distribution over what lies before, and how it is printed.
func TestAttention(t *testing.T) {
	r := study(t, Study{attention: "6.3,2.1", metric: metricDiff, top: 1})
	for name, runs := range asJSON(t, r).Attention {
		for run, matrix := range runs {
			for destination, row := range matrix {
				sum := 0.
				for source, a := range row {
					sum += *a
					if source > destination && *a != 0 {
						t.Errorf("%s, %s: %d attends to %d", name, run, destination, source)
					}
				}
				if math.Abs(sum-1) > 1e-5 {
					t.Errorf("%s, %s, row %d: sum %g", name, run, destination, sum)
				}
			}
		}
	}
	text := r.text(nil)
	want := "  10 \" Michelle\"\n       clean    0.98 1 \" Jones\"  0.02 0 \"Michelle\""
	if !strings.Contains(text, want) || !strings.Contains(text, "Head 2.1 attends") {
		t.Errorf("no %q in\n%s", want, text)
	}
}

// The shares of each run add up to its metric, in the JSON and in what is painted and printed.
func TestDirect(t *testing.T) {
	r := study(t, Study{direct: true, metric: metricDiff, top: 1})
	for run, name := range runNames {
		metric := float64([]Number{r.Clean.Metric, r.Corrupt.Metric}[run])
		s := asJSON(t, r).Direct[name]
		sum := s.Embed + s.PosEmbed + s.LnFBias
		for l := range s.Heads {
			sum += s.AttnBias[l] + s.MLP[l]
			for _, share := range s.Heads[l] {
				sum += share
			}
		}
		painted := 0.
		r.eachValue(func(v float64) { painted += v }, r.panels[run])
		if math.Abs(sum-metric) > 1e-3 || math.Abs(painted-sum) > 1e-9 {
			t.Errorf("%s run: the shares add up to %g, painted %g, want %g",
				name, sum, painted, metric)
		}
		want := cellText(sum, 2)
		text := r.text(nil)
		if line := text[strings.Index(text, "sum of all"):]; !strings.Contains(line, want) {
			t.Errorf("%s run: no %s in %q", name, want, line)
		}
	}
	f := r.figure(style{colorMap: "viridis", scale: 1})
	if s := f.colorScale(); s.low != -s.high {
		t.Errorf("the scale is %v", s)
	}
}

// Numbers are written as encoding/json writes them.
func TestNumbers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	numbers := []float64{0, math.Copysign(0, -1), 1e21, -1e20, 1e-6, 9e-7, -1e-10, 1e-100,
		5e-324, 1e300}
	for range 10000 {
		numbers = append(numbers, math.Float64frombits(random.Uint64()),
			float64(math.Float32frombits(random.Uint32())))
	}
	for _, v := range numbers {
		want, err := json.Marshal(v)
		if err != nil {
			want = []byte("null")
		}
		if got := appendNumber(nil, v); string(got) != string(want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
	var text bytes.Buffer
	b := bufio.NewWriter(&text)
	(&Result{}).writeValue(b, map[string]any{"lens": []TopReport{{Token: " <&>"}}})
	b.Flush()
	if !strings.Contains(text.String(), `"token":" <&>"`) {
		t.Errorf("%s", &text)
	}
}

// TestAnswerSets checks how answers of several tokens and none stand in the JSON, and which logits
// a metric is computed from.
func TestAnswerSets(t *testing.T) {
	m := newCircuit()
	for _, c := range []struct {
		metric         Metric
		clean, corrupt string
		want           string
		logits         []string
	}{
		{metricDiff, "Jones", "Smith", `{"clean":{"id":5437,"token":" Jones"},` +
			`"corrupt":{"id":4176,"token":" Smith"}}`, []string{"clean", "corrupt"}},
		{metricDiff, "Jones/was", "Smith", `{"clean":{"id":5437,"token":" Jones","set":[` +
			`{"id":5437,"token":" Jones"},{"id":373,"token":" was"}]},` +
			`"corrupt":{"id":4176,"token":" Smith"}}`, []string{"clean", "corrupt"}},
		{metricLogit, "Jones", "", `{"clean":{"id":5437,"token":" Jones"}}`, []string{"clean"}},
		{metricKL, "", "", `{}`, []string{"log_sum_exp"}},
	} {
		clean, corrupt := Text{"clean", exampleClean}, Text{"corrupt", exampleCorrupt}
		q := newQuestion(m, clean, corrupt, c.clean, c.corrupt, c.metric)
		s := Study{site: "resid", layers: "6", metric: c.metric}
		r := must(s.run(m, q, quiet))
		if got := encodeJSON(r.Answer); got != c.want {
			t.Errorf("%s %q: %s", c.metric, c.clean, got)
		}
		var logits map[string]matrix
		decodeJSON(t, string(asJSON(t, r).Logits), &logits)
		if !slices.Equal(sortedKeys(logits), c.logits) || len(logits[c.logits[0]]) != 12 {
			t.Errorf("%s %q: logits %v", c.metric, c.clean, logits)
		}
	}
}

// TestMetrics holds every metric to its formula, computed from the whole logits of whole forward
// passes.
func TestMetrics(t *testing.T) {
	m := randomModel(Config{2, 2, 16, 16, 40}, 8)
	pair := randomPair(m, 6, 1, 9)
	plan := patching(siteResid)
	plan.full = true
	s := must(m.sweep(pair, plan, quiet))
	logits := func(ids []int, edit edit) (clean, corrupt, pClean, pCorrupt float64) {
		y := m.logits(nil, plainRun(m, ids, edit), m.unembed())
		sum := 0.
		for _, v := range y {
			sum += math.Exp(float64(v))
		}
		clean, corrupt = float64(y[pair.cleanAnswer[0]]), float64(y[pair.corruptAnswer[0]])
		return clean, corrupt, math.Exp(clean) / sum, math.Exp(corrupt) / sum
	}
	cleanA, cleanB, _, _ := logits(pair.clean, leave)
	corruptA, corruptB, _, _ := logits(pair.corrupt, leave)
	cell := Cell{Target: &Target{site: siteResid}, Head: Head{1, 0}, Span: Span{5, 6, true}}
	a, b, pA, pB := logits(pair.corrupt, replacing(m, cell, recorded(m, pair.clean)))
	for metric, want := range map[Metric]float64{
		metricDiff:     b - a,
		metricLogit:    a,
		metricProb:     pB - pA,
		metricRestored: (b - a - (corruptB - corruptA)) / (cleanB - cleanA - (corruptB - corruptA)),
	} {
		if got := metric.of(s.matrices[0][1][5], s.clean, s.corrupt); math.Abs(got-want) > 1e-6 {
			t.Errorf("%s is %g, want %g", metric, got, want)
		}
	}
}

// A part of a sweep has the numbers of the whole one, and no others.
func TestPartOfSweep(t *testing.T) {
	whole := study(t, Study{metric: metricDiff}).panels[0]
	part := study(t, Study{metric: metricDiff, layers: "5:7", positions: "1,9:"}).panels[0]
	for l := range 12 {
		for p := range 11 {
			run := (l == 5 || l == 6) && (p == 1 || p >= 9)
			if got := part.at(l, p); run != (got == got) || run && got != whole.at(l, p) {
				t.Errorf("layer %d, position %d is %g", l, p, got)
			}
		}
	}
}

// TestAnsiPainter checks the colour codes of a terminal.
func TestAnsiPainter(t *testing.T) {
	const dark, light = "\x1b[48;2;68;1;84;38;2;255;255;255mx\x1b[0m",
		"\x1b[48;2;253;231;37;38;2;34;34;34mx\x1b[0m"
	for _, c := range []struct {
		value               float64
		trueColor, reversed bool
		want                string
	}{
		{1, true, false, light}, {0, true, false, dark}, {0, true, true, light},
		{0, false, false, "\x1b[48;5;53;38;5;231mx\x1b[0m"}, {math.NaN(), true, false, "x"},
	} {
		f := &Figure{style: style{colorMap: "viridis"}, rows: Axis{names: numbered(1)},
			columns: Axis{names: numbered(2)}, reversed: c.reversed,
			panels: []Panel{{at: cells([][]float64{{0, 1}})}}}
		if got := ansiPainter(f, c.trueColor)(c.value, "x"); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

var ansiCode = regexp.MustCompile("\x1b\\[[0-9;]*m")

// A report fits a terminal of 80 columns for models of every depth, each cell is painted, and the
// tokens of both texts can be read beside the cells.
func TestTerminalWidth(t *testing.T) {
	for _, layers := range []int{1, 12, 13, 24, 40} {
		m := randomModel(Config{layers, 5, 10, 16, vocabSize}, 3)
		for _, s := range []Study{{site: "resid"}, {site: "head"}, {site: "all"}, {lens: true}} {
			s.metric, s.top = metricDiff, 3
			q := question(t, exampleClean, exampleCorrupt, metricDiff)
			r := must(s.run(m, q, quiet))
			painted := 0
			text := r.text(ansiPainter(r.figure(style{colorMap: "viridis", scale: 1}), true))
			for _, line := range strings.Split(text, "\n") {
				seen := ansiCode.ReplaceAllString(line, "")
				if n := utf8.RuneCountInString(seen); n > 80 {
					t.Errorf("%d layers, %+v: %d columns: %s", layers, s, n, seen)
				}
				cells := strings.Count(line, "\x1b[48;2;")
				if cells == 0 {
					continue
				}
				painted += cells
				figures := strings.ContainsAny(line[strings.Index(line, "\x1b"):], ".")
				if cells != layers || figures != (layers <= 12) {
					t.Errorf("%d layers, %+v: %d cells, figures in them: %v: %s",
						layers, s, cells, figures, seen)
				}
			}
			if want := len(r.panels) * layers * len(r.columns.names); painted != want {
				t.Errorf("%d layers, %+v: %d cells are painted, not %d", layers, s, painted, want)
			}
			labels := []string{"\n   0 Michelle", "\n   1  Jones→ Smith", "\n  10  Michelle"}
			if s.site == "head" {
				labels = []string{"\nhead 0", "\nhead 4"}
			}
			for _, label := range labels {
				if got := strings.Count(text, label); got != len(r.panels) {
					t.Errorf("%d layers, %+v: %d lines begin with %q, want %d",
						layers, s, got, label, len(r.panels))
				}
			}
		}
	}
}

// TestEffects checks the order of the largest effects and that noise is not among them.
func TestEffects(t *testing.T) {
	tokens := []string{"a", " b"}
	r := &Report{}
	r.rows = numberedHeader("layer", 3)
	r.columns = header{word: "position", names: numbered(2), clean: tokens, corrupt: tokens}
	r.Corrupt.Metric = 1
	matrix := [][]float64{{1, -3}, {1.001, math.NaN()}, {2, -3.001}}
	r.panels = []Panel{{at: cells(matrix)}}
	want := `The largest effects:
  layer 0, position 1 (" b"): -3.00, corrupt 1.00
  layer 2, position 1 (" b"): -3.00, corrupt 1.00
  layer 2, position 0 ("a"): 2.00, corrupt 1.00
`
	if got := r.effects(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// Of several panels the largest of each are listed.
	r.panels = append(r.panels, Panel{title: "attn", at: func(row, column int) float64 {
		return 1 + float64(row+column)/100
	}})
	for _, want := range []string{", : -3.00, corrupt 1.00\n", `(" b"), attn: 1.03, corrupt`} {
		if got := r.effects(); !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	for want, row := range map[string][]float64{
		"none: no cell changes":             {1, math.NaN()},
		"none: no cell was run\n":           {math.NaN(), math.NaN()},
		"effects:\n  none: no cell changes": {1.0000001, 1}, // by less than is printed
	} {
		r.rows, r.panels = numberedHeader("layer", 1), []Panel{{at: cells([][]float64{row})}}
		if got := r.effects(); !strings.Contains(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestText checks the matrix in figures: a line for each position with its tokens, the layers side
// by side, and a dot for a cell that was not run.
func TestText(t *testing.T) {
	r := study(t, Study{site: "resid", metric: metricRestored, layers: "1:3,7", top: 1})
	text := r.text(nil)
	for _, want := range []string{
		"clean text: Michelle/ Jones/ was/ a/ top/-/not/ch/ student/./ Michelle\n11 tokens: 48736 ",
		"corrupt text: Michelle/ Smith/ was/",
		"restored share of logit(Smith) - logit(Jones): clean 1.00, corrupt 0.00\n",
		"resid                              0     1     2     3     4     5     6     7     8",
		`   1 " Smith" (clean " Jones")     ·  1.00  1.00     ·     ·     ·     ·  0.00     ·`,
		"\n   0 \"Michelle\"                    ·  0.00  0.00     ·",
		"\n  layer 1, position 1 (\" Jones\"): 1.00, corrupt 0.00\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// On a terminal, which /dev/null is not, all cells of a matrix have as many decimals as fit, and a
// plain minus, which is also what -range takes.
func TestTerminalCells(t *testing.T) {
	if isTerminal(must(os.Open(os.DevNull))) {
		t.Error("what leads nowhere is taken for a terminal")
	}
	for layers, want := range map[int]string{12: "  -15   19", 6: " -15.35  19.10"} {
		r := &Result{rows: numberedHeader("layer", layers), columns: numberedHeader("head", 1)}
		p := Panel{at: func(row, _ int) float64 { return []float64{-15.35, 19.1}[row%2] }}
		r.panels = []Panel{p}
		got := r.matrix(p, func(_ float64, s string) string { return s })
		if !strings.Contains(got, strings.Repeat(want, layers/2)+"\n") {
			t.Errorf("%d layers: no %q in\n%s", layers, want, got)
		}
	}
	for _, s := range []string{"-5:-2.5", "−5:−2.5"} {
		var p program
		if err := p.parseRange(s); err != nil || p.low != -5 || p.high != -2.5 {
			t.Errorf("-range %s: %g to %g, %v", s, p.low, p.high, err)
		}
	}
}

// Of a matrix of more than forty rows no line is printed, but its largest effects are, at most
// twenty.
func TestManyRows(t *testing.T) {
	m := randomModel(Config{12, 4, 10, 16, vocabSize}, 3)
	for positions, most := range map[string]int{"": 5, ":": 20} {
		s := Study{site: "z", positions: positions, metric: metricDiff}
		r := must(s.run(m, question(t, exampleClean, exampleCorrupt, metricDiff), quiet))
		matrix, effects, _ := strings.Cut(r.text(nil), "The largest effects:\n")
		printed, lines := strings.Contains(matrix, "\nhead 0"), strings.Count(effects, "\n")
		if printed != (positions == "") || lines != most ||
			!printed && !strings.Contains(effects, "  head ") {
			t.Errorf("positions %q: printed: %v; %d effects: %s", positions, printed, lines,
				effects)
		}
	}
}
