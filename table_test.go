package main

import (
	"math"
	"strings"
	"testing"
)

func TestAligned(t *testing.T) {
	words := func(s string) []string { return strings.Split(s, "|") }
	for _, c := range []struct{ clean, corrupt, want string }{
		{"a| b| c", "a| Sm|ith| c", "  clean    a/ b     / c\n  corrupt  a/ Sm/ith/ c"},
		{"a", "b|c", "  clean    a  \n  corrupt  b/c"},
		{"a|b", "a|b|c", "  clean    a/b/ \n  corrupt  a/b/c"},
		{"1|2|3|4|5|6|7|8|x|1|2|3|4|5|6|7", "1|2|3|4|5|6|7|8|x|y|1|2|3|4|5|6|7",
			"  clean    …4/5/6/7/8/x/ /1/2/3/4/5/6…\n  corrupt  …4/5/6/7/8/x/y/1/2/3/4/5/6…"},
	} {
		if got := aligned(words(c.clean), words(c.corrupt)); got != c.want {
			t.Errorf("%s, %s:\n%q, want\n%q", c.clean, c.corrupt, got, c.want)
		}
	}
}

func TestVisible(t *testing.T) {
	for token, want := range map[string]string{
		" a": " a", "\n": `\n`, "\"": `"`, "\xe4": `\xe4`, "ñ": "ñ", "\u200b": `\u200b`, `\`: `\\`,
	} {
		if got := visible(token); got != want {
			t.Errorf("%q: %s, want %s", token, got, want)
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
