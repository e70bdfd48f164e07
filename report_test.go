package main

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"math"
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

// TestStudies checks for every kind of study what the picture is told, how the rows and columns are
// named in JSON and CSV, and that the numbers, the logits and the picture are of that shape.
func TestStudies(t *testing.T) {
	const diff, paths = "logit(Smith) − logit(Jones)", "patched: the path from each head to "
	const layers, heads, both, tokens = "0 … 11", "0 … 3", "0.0 … 11.3", "0:Michelle … 10: Michelle"
	for _, c := range []struct {
		study         Study // whose metric is diff where it has none
		title, what   string
		site          string // in the JSON
		rows, columns string // the first and the last
		header        string // how the CSV begins
		panels        string // their titles
	}{
		{Study{}, diff, "patched: resid", "resid", layers, tokens, "layer,0:Michelle,1: Smith",
			"resid"},
		{Study{site: "attn", positions: "1..2,9..10", metric: metricLogit}, "logit(Jones)",
			"patched: attn", "attn", layers, "0:Michelle … 9..10:. Michelle",
			"layer,0:Michelle,1..2: Smith was,3: a", "attn"},
		{Study{site: "resid_pre,mlp", metric: metricProb}, "p(Smith) − p(Jones)",
			"patched: resid_pre, mlp", "resid_pre,mlp", layers, tokens,
			"site,layer,0:Michelle,1: Smith", "resid_pre|mlp"},
		{Study{site: "all", metric: metricRestored}, "restored share of " + diff,
			"patched: resid, attn, mlp", "all", layers, tokens, "site,layer,0:Michelle",
			"resid|attn|mlp"},
		{Study{site: "head"}, diff, "patched: z", "head", layers, heads, "layer,0,1,2,3", "z"},
		{Study{site: "v", positions: "-2..-1"}, diff, "patched: v at position 9..10", "v", layers,
			heads, "layer,0,1,2,3", "v"},
		{Study{site: "q", positions: ":"}, diff, "patched: q", "q", both, tokens,
			"layer,head,0:Michelle", "q"},
		{Study{site: "heads", positions: "1,10"}, diff, "patched: z, q, k, v, pattern", "heads",
			both, tokens, "site,layer,head,0:Michelle", "z|q|k|v|pattern"},
		{Study{site: "6.3.pattern"}, diff, "patched: 6.3.pattern", "6.3.pattern", tokens, tokens,
			"destination,0:Michelle,1: Smith", "6.3.pattern"},
		{Study{to: "logits"}, diff, paths + "logits", "z", layers, heads, "layer,0,1,2,3", "z"},
		{Study{to: "6.3.k,7.0.v"}, diff, paths + "6.3.k, 7.0.v", "z", layers, heads,
			"layer,0,1,2,3", "z"},
		{Study{lens: true}, diff, "logit lens", "lens", layers, tokens, "site,layer,0:Michelle",
			"clean run|corrupt run"},
		{Study{attention: "6.3,2.1"}, "attention of 6.3, 2.1", "both runs as they are",
			"attention", tokens, tokens, "site,destination,0:Michelle",
			"6.3, clean run|6.3, corrupt run|2.1, clean run|2.1, corrupt run"},
		{Study{direct: true}, "shares of " + diff, "direct logit attribution", "direct", layers,
			"embed … ln_f_bias", "site,layer,embed,pos_embed,0,1,2,3,attn_bias,mlp,ln_f_bias",
			"clean run|corrupt run"},
	} {
		c.study.metric = cmp.Or(c.study.metric, metricDiff)
		r := study(t, c.study)
		inJSON, patterns := asJSON(t, r), c.study.attention != ""
		ends := func(names []string) string { return names[0] + " … " + names[len(names)-1] }
		var csv bytes.Buffer
		check(t, r.writeCSV(&csv))
		var titles []string
		for _, p := range r.panels {
			titles = append(titles, p.title)
		}
		if inJSON.Site != c.site || r.To != c.study.to || ends(inJSON.Rows) != c.rows ||
			ends(inJSON.Columns) != c.columns || strings.Join(titles, "|") != c.panels ||
			!strings.HasPrefix(csv.String(), c.header) {
			t.Errorf("%+v: site %s, to %s, rows %q, columns %q, panels %q, CSV %.60q", c.study,
				inJSON.Site, r.To, ends(inJSON.Rows), ends(inJSON.Columns), titles, csv.String())
		}

		clean, corrupt := float64(r.Clean.Metric), float64(r.Corrupt.Metric)
		want := Figure{title: c.title, subtitle: c.what + " · " + circuitSize, center: corrupt,
			style:    style{colorMap: "rdbu", scale: 2},
			reversed: clean > corrupt, marks: []Mark{{clean, "clean"}, {corrupt, "corrupt"}}}
		if patterns || c.study.direct {
			want.marks, want.reversed, want.center = nil, false, 0
		}
		if patterns {
			want.high = 1
		}
		got := *r.figure(style{colorMap: "rdbu", scale: 2})
		must(got.layout())
		got = Figure{title: got.title, subtitle: got.subtitle, center: got.center,
			style: got.style, reversed: got.reversed, marks: got.marks}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v:\n%+v, want\n%+v", c.study, got, want)
		}
		ofUser := style{colorMap: "viridis", scale: 1, low: -2, high: 3}
		if got := r.figure(ofUser).style; got != ofUser {
			t.Errorf("%+v: the style is %+v", c.study, got)
		}

		if patterns || c.study.direct {
			continue // their JSON has another shape
		}
		for _, p := range r.panels {
			numbers, logits := inJSON.Matrix, map[string]matrix{}
			if len(r.panels) == 1 {
				decodeJSON(t, string(inJSON.Logits), &logits)
			} else {
				all := map[string]map[string]matrix{}
				decodeJSON(t, string(inJSON.Logits), &all)
				numbers, logits = inJSON.Matrices[p.title], all[p.title]
			}
			if len(numbers) != len(r.Rows) || len(numbers[0]) != len(r.Columns) {
				t.Errorf("%+v: %d rows of numbers", c.study, len(numbers))
			}
			for row := range numbers {
				for column, v := range numbers[row] {
					clean, corrupt := logits["clean"][row][column], logits["corrupt"]
					if v != nil && (*v != p.at(row, column) || c.study.metric == metricDiff &&
						*v != *corrupt[row][column]-*clean) {
						t.Errorf("%+v: %g at (%d, %d), painted %g", c.study, *v, row, column,
							p.at(row, column))
					}
				}
			}
		}
		if c.study.lens && len(inJSON.Lens["corrupt"]) != len(r.Rows) {
			t.Errorf("the lens is %v", inJSON.Lens)
		}
		difference := inJSON.Clean.Logits["corrupt"] - inJSON.Clean.Logits["clean"]
		if c.study.metric == metricDiff && difference != clean {
			t.Errorf("%+v: the clean run's logits differ by %g", c.study, difference)
		}
	}
}

// TestCSV reads CSV files as others do: the names of the columns are unique and valid UTF-8 though
// a token is a part of a character or stands there twice, the numbers are the matrix's to the last
// bit, and a cell that was not run is NaN.
func TestCSV(t *testing.T) {
	for _, c := range []struct {
		study Study
		keys  int // columns before the numbers
	}{
		{Study{layers: "5:7", positions: "1,9:"}, 1},
		{Study{site: "z,q", positions: "1,3"}, 3},
	} {
		c.study.metric = metricDiff
		const clean, corrupt = "a,\n\"b\"\nJones said “hi”, a", "a,\n\"b\"\nSmith said “hi”, a"
		q := question(t, clean, corrupt, metricDiff)
		r := must(c.study.run(newCircuit(), q, quiet))
		var b bytes.Buffer
		check(t, r.writeCSV(&b))
		if !utf8.Valid(b.Bytes()) {
			t.Errorf("not UTF-8: %q", b.Bytes())
		}
		records := must(csv.NewReader(&b).ReadAll())
		sorted := slices.Compact(slices.Sorted(slices.Values(records[0])))
		if len(records) != 1+len(r.panels)*len(r.Rows) || len(sorted) != len(records[0]) ||
			!slices.Equal(records[0][c.keys:], r.Columns) {
			t.Fatalf("%d records, columns %q", len(records), records[0])
		}
		for i, record := range records[1:] {
			p, row := r.panels[i/len(r.Rows)], i%len(r.Rows)
			for column, field := range record[c.keys:] {
				v := p.at(row, column)
				got, err := strconv.ParseFloat(field, 64)
				if err != nil || got != v && (v == v || field != "NaN") {
					t.Errorf("%s, (%d, %d): %q, want %g", p.title, row, column, field, v)
				}
			}
		}
	}
}

// A row of attention is a distribution over what lies before, and the shares of each run add up to
// its metric, in the JSON and in what is painted.
func TestViews(t *testing.T) {
	r := study(t, Study{attention: "6.3,2.1", metric: metricDiff})
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
	r = study(t, Study{direct: true, metric: metricDiff})
	for run, metric := range []Number{r.Clean.Metric, r.Corrupt.Metric} {
		s := asJSON(t, r).Direct[runNames[run]]
		sum, painted := s.Embed+s.PosEmbed+s.LnFBias, 0.
		for _, v := range slices.Concat(append(s.Heads, s.AttnBias, s.MLP)...) {
			sum += v
		}
		for v := range r.values(r.panels[run]) {
			painted += v
		}
		if math.Abs(sum-float64(metric)) > 1e-3 || math.Abs(painted-sum) > 1e-9 {
			t.Errorf("%s: the shares add up to %g, painted %g", runNames[run], sum, painted)
		}
		at := r.panels[run].at
		shown := []float64{at(0, 0), at(0, 1), at(6, 2+3), at(6, 6), at(6, 7), at(11, 8)}
		want := []float64{s.Embed, s.PosEmbed, s.Heads[6][3], s.AttnBias[6], s.MLP[6], s.LnFBias}
		if !slices.Equal(shown, want) {
			t.Errorf("%s: %g are painted as %g", runNames[run], want, shown)
		}
	}
	f := r.figure(style{colorMap: "viridis", scale: 1})
	if s := f.colorScale(); s.low != -s.high {
		t.Errorf("the scale is %v", s)
	}
}

// Numbers are written as encoding/json writes them, and what none is as null.
func TestNumbers(t *testing.T) {
	holds(t, func(v float64) string { return encodeJSON(Number(v)) }, map[float64]string{
		0: "0", 0.1: "0.1", 1e-6: "0.000001", 9e-7: "9e-7", -1e-10: "-1e-10", 5e-324: "5e-324",
		-1e20: "-100000000000000000000", 1e21: "1e+21", 1e300: "1e+300", math.Inf(-1): "null",
	})
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
	q := question(t, exampleClean, exampleCorrupt, metricDiff)
	for _, layers := range []int{1, 12, 13, 30} {
		m := randomModel(Config{layers, 5, 10, 16, vocabSize}, 3)
		for _, s := range []Study{{site: "head"}, {site: "all"}, {lens: true}} {
			s.metric = metricDiff
			r := must(s.run(m, q, quiet))
			text := r.text(ansiPainter(r.figure(style{colorMap: "viridis", scale: 1}), true))
			labels := []string{"   0 Michelle", "   1  Jones→ Smith", "  10  Michelle"}
			if s.site == "head" {
				labels = []string{"head 0", "head 4"}
			}
			for _, label := range labels {
				if got := strings.Count(text, "\n"+label); got != len(r.panels) {
					t.Errorf("%d layers, %+v: %d lines of %q", layers, s, got, label)
				}
			}
			painted := 0
			for line := range strings.SplitSeq(text, "\n") {
				seen := ansiCode.ReplaceAllString(line, "")
				n, cells := utf8.RuneCountInString(seen), strings.Count(line, "\x1b[48;2;")
				figures := strings.Contains(line[max(0, strings.Index(line, "\x1b")):], ".")
				painted += cells
				if n > 80 || cells > 0 && (cells != layers || figures != (layers <= 12)) {
					t.Errorf("%d layers, %+v: %d columns, %d cells, figures in them: %v: %s",
						layers, s, n, cells, figures, seen)
				}
			}
			if want := len(r.panels) * layers * len(r.columns.names); painted != want {
				t.Errorf("%d layers, %+v: %d cells are painted, not %d", layers, s, painted, want)
			}
		}
	}
}

// TestEffects checks the order of the largest effects and that noise is not among them.
func TestEffects(t *testing.T) {
	tokens := []string{"a", " b"}
	r := &Report{}
	r.rows = numberedAxis("layer", 3)
	r.columns = Axis{word: "position", names: numbered(2), clean: tokens, corrupt: tokens}
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
		got := r.effects()
		if !strings.Contains(got, want) || strings.Count(got, ", attn:") != 3 {
			t.Errorf("no %s in %s", want, got)
		}
	}
	for rows, most := range map[int]int{mostRows: 5, mostRows + 1: 20} {
		r.rows = numberedAxis("layer", rows)
		r.panels = []Panel{{at: func(row, _ int) float64 { return float64(row) }}}
		if got := r.effects(); strings.Count(got, "\n") != 1+most {
			t.Errorf("of %d rows: %s", rows, got)
		}
	}
	for want, row := range map[string][]float64{
		"none: no cell changes":             {1, math.NaN()},
		"none: no cell was run\n":           {math.NaN(), math.NaN()},
		"effects:\n  none: no cell changes": {1.0000001, 1}, // by less than is printed
	} {
		r.rows, r.panels = numberedAxis("layer", 1), []Panel{{at: cells([][]float64{row})}}
		if got := r.effects(); !strings.Contains(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestText checks what is printed: tokens, panels in figures with a line for each position and the
// layers side by side, unless these are more than forty, a dot for a cell that was not run, and in
// words what is largest.
func TestText(t *testing.T) {
	for _, c := range []struct {
		study Study
		wants []string
	}{
		{Study{metric: metricRestored, layers: "1:3,7", positions: "1,9:"}, []string{
			"clean text: Michelle/ Jones/ was/ a/ top/-/not/ch/ student/./ Michelle\n" +
				"11 tokens: 48736 ",
			"corrupt text: Michelle/ Smith/ was/",
			"restored share of logit(Smith) - logit(Jones): clean 1.00, corrupt 0.00\n",
			"resid                              0     1     2     3     4     5     6     7     8",
			`   1 " Smith" (clean " Jones")     ·  1.00  1.00     ·     ·     ·     ·  0.00     ·`,
			"\n   0 \"Michelle\"                    ·     ·     ·     ·",
			"\n  10 \" Michelle\"                   ·  0.00  0.00     ·     ·     ·     ·  1.00",
			"\n  layer 1, position 1 (\" Jones\"): 1.00, corrupt 0.00\n"}},
		{Study{site: "z"}, []string{"\nhead 0"}},
		{Study{site: "z", positions: ":"}, []string{"clean -14.58, corrupt 19.09\n\n" +
			"The largest effects:\n  head 6.3, position 10 (\" Michelle\"): "}},
		{Study{lens: true}, []string{
			"\nLayer  Clean run's top token   Probability  Corrupt run's"}},
		{Study{attention: "6.3,2.1"}, []string{"Head 2.1 attends from each",
			"  10 \" Michelle\"\n       clean    0.98 1 \" Jones\"  0.02 0 \"Michelle\""}},
		{Study{direct: true}, []string{"\nThe largest shares      clean    corrupt\n" +
			"  head 6.3 ", "\n  sum of all           -14.58      19.09\n"}},
	} {
		c.study.metric, c.study.top = cmp.Or(c.study.metric, metricDiff), 1
		text := study(t, c.study).text(nil)
		for _, want := range c.wants {
			if !strings.Contains(text, want) {
				t.Errorf("%+v: no %q in\n%s", c.study, want, text)
			}
		}
	}
}

// On a terminal all cells of a panel have as many decimals as fit, and a plain minus, which is also
// what -range takes. Long labels are cut.
func TestTerminalCells(t *testing.T) {
	for layers, want := range map[int]string{12: "  -15   19", 6: " -15.35  19.10"} {
		r := &Result{}
		r.rows, r.columns = numberedAxis("layer", layers), numberedAxis("head", 1)
		p := Panel{at: func(row, _ int) float64 { return []float64{-15.35, 19.1}[row%2] }}
		r.panels = []Panel{p}
		got := r.table(p, func(_ float64, s string) string { return s })
		if !strings.Contains(got, strings.Repeat(want, layers/2)+"\n") {
			t.Errorf("%d layers: no %q in\n%s", layers, want, got)
		}
	}
	long := Axis{names: []string{"7"}, clean: []string{" international"}, corrupt: []string{" x"}}
	if got := long.label(0, true); got != "   7  internationa…" {
		t.Errorf("a long token is %q", got)
	}
	for _, s := range []string{"-5:-2.5", "−5:−2.5"} {
		var p program
		if err := p.parseRange(s); err != nil || p.low != -5 || p.high != -2.5 {
			t.Errorf("-range %s: %g to %g, %v", s, p.low, p.high, err)
		}
	}
}
