package main

import (
	"math"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestAnsiPainter checks the colour codes of a terminal.
func TestAnsiPainter(t *testing.T) {
	f := &Figure{style: style{colorMap: "viridis"}, rows: Axis{names: numbered(1)},
		columns: Axis{names: numbered(3)},
		panels:  []Panel{{at: cells([][]float64{{0, 1, math.NaN()}})}}}
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

// On a terminal all cells of a matrix have as many decimals as fit, and a plain minus, which is
// also what -range takes.
func TestTerminalCells(t *testing.T) {
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
	for _, c := range []struct {
		study   Study
		printed bool
	}{
		{Study{site: "z", positions: ":", metric: metricDiff}, false},
		{Study{site: "z", metric: metricDiff}, true},
	} {
		r := must(c.study.run(m, question(t, exampleClean, exampleCorrupt, metricDiff),
			quiet))
		text := r.text(nil)
		matrix, effects, _ := strings.Cut(text, "The largest effects:\n")
		lines := strings.Count(effects, "\n")
		if printed := strings.Contains(matrix, "\nhead 0"); printed != c.printed {
			t.Errorf("%+v: the matrix is printed: %v", c.study, printed)
		}
		if most := map[bool]int{true: 5, false: 20}[c.printed]; lines != most {
			t.Errorf("%+v: %d effects", c.study, lines)
		}
		if !c.printed && !strings.Contains(effects, "  head ") {
			t.Errorf("%+v: %s", c.study, effects)
		}
	}
}
