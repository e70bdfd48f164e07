package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

const circuitSize = "built-in circuit (not GPT-2): 12 layers, 4 heads, width 256"

// TestFigure checks everything that a report tells its heat map, for every metric and site.
func TestFigure(t *testing.T) {
	const diff = "logit(Smith) − logit(Jones)"
	one := []string{""}
	matrix := func(r *Report) [][]float64 { // of the JSON
		var rows [][]float64
		for _, numbers := range r.Matrix {
			var row []float64
			for _, v := range numbers {
				row = append(row, float64(v))
			}
			rows = append(rows, row)
		}
		return rows
	}
	for _, c := range []struct {
		study    Study
		colorMap string
		scale    int
		title    string
		reversed bool
		panels   []string // their titles
		heads    bool
	}{
		{Study{site: "resid", metric: metricDiff}, "rdbu", 3, diff, false, one, false},
		{Study{site: "attn", metric: metricLogit}, "viridis", 1, "logit(Jones)", true, one, false},
		{Study{site: "mlp", metric: metricProb}, "viridis", 2, "p(Smith) − p(Jones)", false,
			one, false},
		{Study{site: "resid", metric: metricRestored}, "rdbu", 1,
			"restored share of " + diff, true, one, false},
		{Study{site: "head", metric: metricDiff}, "viridis", 8, diff, false, one, true},
		{Study{site: "all", metric: metricDiff}, "rdbu", 1, diff, false,
			[]string{"resid", "attn", "mlp"}, false},
		{Study{lens: true, metric: metricDiff}, "rdbu", 1, diff, false,
			[]string{"clean run", "corrupt run"}, false},
	} {
		r := study(t, c.study)
		got := r.figure(style{colorMap: c.colorMap, scale: c.scale})
		clean, corrupt := float64(r.Clean.Metric), float64(r.Corrupt.Metric)
		if c.reversed != (clean > corrupt) {
			t.Errorf("%+v: clean %g, corrupt %g", c.study, clean, corrupt)
		}
		want := &Figure{
			title: c.title, subtitle: map[bool]string{true: "patched: " + c.study.site,
				false: "patched one site at a time"}[len(c.panels) == 1] + " · " + circuitSize,
			panels: got.panels,
			rows:   Axis{title: "layer", names: numbered(12)},
			columns: Axis{title: "token of the corrupt text", names: r.Corrupt.Tokens, tokens: true,
				beside: []string{"", " Jones", "", "", "", "", "", "", "", "", ""}},
			style:    style{colorMap: c.colorMap, scale: c.scale},
			reversed: c.reversed, center: corrupt,
			marks: []Mark{{clean, "clean"}, {corrupt, "corrupt"}},
		}
		if c.heads {
			want.columns = Axis{title: "head", names: numbered(4)}
		}
		if c.study.lens {
			want.columns.title = "token at this position"
			want.subtitle = "logit lens · " + circuitSize
		}
		if len(c.panels) == 1 {
			want.panels = []Panel{{matrix: matrix(r)}}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v:\n%+v, want\n%+v", c.study, got, want)
		}
		var titles []string
		for _, p := range got.panels {
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

// TestCSV checks the columns of a CSV file, that its numbers are the matrix's to the last bit, and
// that a cell that was not run is empty.
func TestCSV(t *testing.T) {
	all := func(l, c int) bool { return true }
	for _, c := range []struct {
		study  Study
		header []string
		sites  []string
		run    func(layer, column int) bool
	}{
		{Study{site: "resid", layers: "5:7", positions: "1,9:"}, []string{"layer"}, []string{""},
			func(l, c int) bool { return (l == 5 || l == 6) && (c == 1 || c >= 9) }},
		{Study{site: "head"}, []string{"layer", "0", "1", "2", "3"}, []string{""}, all},
		{Study{site: "all", layers: "0"}, []string{"site", "layer"},
			[]string{"resid", "attn", "mlp"},
			func(l, c int) bool { return l == 0 }},
		{Study{lens: true}, []string{"site", "layer"}, []string{"clean run", "corrupt run"}, all},
	} {
		c.study.metric = metricDiff
		r := study(t, c.study)
		if c.study.site != "head" {
			for pos, token := range r.Corrupt.Tokens {
				c.header = append(c.header, fmt.Sprintf("%d:%s", pos, token))
			}
		}
		want := [][]string{c.header}
		for i, site := range c.sites {
			for l, row := range r.panels[i].matrix {
				record := []string{site, strconv.Itoa(l)}
				if site == "" {
					record = record[1:]
				}
				for col, v := range row {
					field := ""
					if c.run(l, col) {
						field = fmt.Sprint(v)
					}
					record = append(record, field)
				}
				want = append(want, record)
			}
		}
		var b bytes.Buffer
		err := r.writeCSV(&b)
		rows, readErr := csv.NewReader(&b).ReadAll()
		if err != nil || readErr != nil || len(rows) != len(want) {
			t.Fatal(c.study, err, readErr, rows)
		}
		for i := range want {
			for j := range rows[i] { // a number may be written in more than one way
				if v, err := strconv.ParseFloat(rows[i][j], 64); err == nil && i > 0 {
					rows[i][j] = fmt.Sprint(v)
				}
			}
			if !slices.Equal(rows[i], want[i]) {
				t.Errorf("%+v: row %d is %q, want %q", c.study, i, rows[i], want[i])
			}
		}
	}
}

// TestAnsiPainter checks the colour codes of a terminal.
func TestAnsiPainter(t *testing.T) {
	row := []float64{0, 1, math.NaN()}
	f := &Figure{style: style{colorMap: "viridis"}, panels: []Panel{{matrix: [][]float64{row}}}}
	if got := ansiPainter(f, true)(1, "x"); got != "\x1b[48;2;253;231;37;38;2;34;34;34mx\x1b[0m" {
		t.Errorf("%q", got)
	}
	if got := ansiPainter(f, false)(0, "x"); got != "\x1b[48;5;53;38;5;231mx\x1b[0m" {
		t.Errorf("%q", got)
	}
	if got := ansiPainter(f, true)(math.NaN(), "x"); got != "x" {
		t.Errorf("%q", got)
	}
	f.reversed = true
	if got := ansiPainter(f, true)(0, "x"); got != "\x1b[48;2;253;231;37;38;2;34;34;34mx\x1b[0m" {
		t.Errorf("reversed: %q", got)
	}
}

var ansiCode = regexp.MustCompile("\x1b\\[[0-9;]*m")

// TestTerminalWidth checks that a report fits a terminal of 80 columns for models of every depth,
// that each cell is painted, and that the tokens of both texts can be read beside the cells.
func TestTerminalWidth(t *testing.T) {
	for _, layers := range []int{1, 12, 13, 24, 48} {
		m := randomModel(Config{layers, 5, 10, 16, vocabSize}, 3)
		for _, s := range []Study{{site: "resid"}, {site: "head"}, {site: "all"}, {lens: true}} {
			s.metric, s.top = metricDiff, 3
			q := question(t, exampleClean, exampleCorrupt, metricDiff)
			r, err := s.run(m, q, func(float64) {})
			if err != nil {
				t.Fatal(err)
			}
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
			if want := len(r.panels) * layers * len(r.columns()); painted != want {
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
	r := &Report{Site: "resid"}
	r.Clean.Tokens = []string{"a", " b"}
	r.Corrupt.Metric = 1
	r.panels = []Panel{{matrix: [][]float64{{1, -3}, {1.001, math.NaN()}, {2, -3.001}}}}
	want := `The largest effects:
  layer 0, position 1 (" b"): −3.00, corrupt 1.00
  layer 2, position 1 (" b"): −3.00, corrupt 1.00
  layer 2, position 0 ("a"): 2.00, corrupt 1.00
`
	if got := r.effects(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	r.panels = []Panel{{matrix: [][]float64{{1, 1}}}}
	if got := r.effects(); !strings.Contains(got, "none") {
		t.Error(got)
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

// TestMetrics holds every metric to its formula, computed from the whole logits of whole forward
// passes.
func TestMetrics(t *testing.T) {
	m := randomModel(Config{2, 2, 16, 16, 40}, 8)
	pair := randomPair(m, 6, 1, 9)
	plan := patching(siteResid)
	plan.full = true
	s, err := m.sweep(pair, plan, func(float64) {})
	if err != nil {
		t.Fatal(err)
	}
	logits := func(hook Hook, ids []int) (clean, corrupt, pClean, pCorrupt float64) {
		b, err := m.begin(ids)
		if err == nil {
			err = m.forward(b, 0, hook)
		}
		if err != nil {
			t.Fatal(err)
		}
		y, err := m.logits(b.last())
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.
		for _, v := range y {
			sum += math.Exp(float64(v))
		}
		clean, corrupt = float64(y[pair.cleanAnswer[0]]), float64(y[pair.corruptAnswer[0]])
		return clean, corrupt, math.Exp(clean) / sum, math.Exp(corrupt) / sum
	}
	var stream []float32
	cleanA, cleanB, _, _ := logits(func(site Site, layer int, act []float32) []float32 {
		if site == siteResid && layer == 1 {
			stream = slices.Clone(act)
		}
		return act
	}, pair.clean)
	corruptA, corruptB, _, _ := logits(leaveAlone, pair.corrupt)
	a, b, pA, pB := logits(func(site Site, layer int, act []float32) []float32 {
		if site == siteResid && layer == 1 {
			copy(act[5*16:], stream[5*16:])
		}
		return act
	}, pair.corrupt)
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

// TestStudies runs every site and metric, and parts of a sweep, as a user would.
func TestStudies(t *testing.T) {
	image := filepath.Join(t.TempDir(), "h.png")
	run := func(args ...string) map[string]any {
		t.Helper()
		args = append(args, "-e", exampleClean, exampleCorrupt, "Jones", "Smith")
		code, stdout, stderr := command(t, append(args, "-o", image, "-json", "-")...)
		if code != 0 {
			t.Fatal(args, stderr)
		}
		var r map[string]any
		if err := json.Unmarshal([]byte(stdout), &r); err != nil {
			t.Fatal(args, err)
		}
		return r
	}
	for _, metric := range []string{"diff", "logit", "prob", "restored"} {
		for _, site := range []string{"resid", "attn", "mlp", "head"} {
			r := run("-site", site, "-metric", metric)
			columns := map[string]int{"head": 4}[site]
			if columns == 0 {
				columns = 11
			}
			matrix := r["matrix"].([]any)
			if r["site"] != site || len(matrix) != 12 || len(matrix[0].([]any)) != columns {
				t.Errorf("-site %s -metric %s: %v", site, metric, r)
			}
		}
	}
	r := run("-site", "all", "-metric", "restored")
	sites := r["matrices"].(map[string]any)
	induction := sites["attn"].([]any)[6].([]any)[10].(float64)
	if len(sites) != 3 || r["matrix"] != nil || induction < .9 {
		t.Errorf("-site all: %v", r)
	}
	r = run("-lens")
	top := r["lens"].(map[string]any)["clean"].([]any)
	if len(r["matrices"].(map[string]any)) != 2 || len(top) != 12 {
		t.Errorf("-lens: %v", r)
	}
	whole := run()["matrix"].([]any)
	part := run("-layers", "5:7", "-positions", "1,9:")["matrix"].([]any)
	for l := range part {
		for p, got := range part[l].([]any) {
			want := any(nil)
			if (l == 5 || l == 6) && (p == 1 || p >= 9) {
				want = whole[l].([]any)[p]
			}
			if got != want {
				t.Errorf("part of a sweep: layer %d, position %d is %v, want %v", l, p, got, want)
			}
		}
	}
	args := []string{"-e", exampleClean, exampleCorrupt, "Jones", "-metric", "logit", "-o", image}
	code, stdout, stderr := command(t, args...)
	if code != 0 || !strings.Contains(stdout, "logit(Jones): clean") {
		t.Errorf("-metric logit without a corrupt answer: %d %s", code, stderr)
	}
}
