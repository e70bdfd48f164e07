package main

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestLensIsATruncatedModel holds the lens to its definition: what it shows after layer l is what
// a model that ends with that layer predicts.
func TestLensIsATruncatedModel(t *testing.T) {
	m := randomModel(Config{4, 2, 32, 16, 60}, 3)
	pair := randomPair(m, 7, 2, 4)
	lens := must(m.lens(pair, true, quiet))
	for l := range m.layers {
		short := *m
		short.layers, short.blocks = l+1, m.blocks[:l+1]
		for i, text := range [][]int{pair.clean, pair.corrupt} {
			for p := range text {
				want := must(short.next(text[:p+1]))
				got := lens.cells[i][l][p]
				a, b := float64(want[pair.cleanAnswer[0]]), float64(want[pair.corruptAnswer[0]])
				logSum := logSumExp(want)
				if got.clean != a || got.corrupt != b || math.Abs(got.logSum-logSum) > 1e-9 {
					t.Errorf("layer %d, position %d: %v, want %v, %v, %v", l, p, got, a, b, logSum)
				}
				if p == len(text)-1 {
					id := topK(want, 1)[0]
					prob := math.Exp(float64(want[id]) - logSumExp(want))
					got := lens.top[i][l]
					if got.ID != id || got.Logit != want[id] || got.Prob != prob {
						t.Errorf("layer %d: the top token is %v, want %d, %g", l, got, id, want[id])
					}
				}
			}
		}
	}
}

// TestPatterns holds what heads attend to in both runs to the plain forward pass, bit for bit.
func TestPatterns(t *testing.T) {
	m := randomModel(Config{3, 2, 32, 80, 60}, 3)
	for _, T := range []int{1, 7, 70} {
		pair := randomPair(m, T, 0, 4)
		heads := []Head{{2, 1}, {0, 0}, {2, 0}}
		p := must(m.patterns(pair, heads, false, quiet))
		for run, ids := range [][]int{pair.clean, pair.corrupt} {
			acts := recorded(m, ids)
			for i, h := range heads {
				want := acts[sitePattern][h.layer][h.head*T*T : (h.head+1)*T*T]
				for pos, row := range p.a[run][i] {
					if !sameBits(row, want[pos*T:pos*T+pos+1]) {
						t.Errorf("%d tokens, run %d: position %d of head %v attends to something "+
							"else", T, run, pos, h)
					}
				}
				if len(p.a[run][i]) != T {
					t.Errorf("%d tokens, run %d: head %v has %d rows", T, run, h, len(p.a[run][i]))
				}
			}
		}
	}
	_, err := m.patterns(randomPair(m, 3, 0, 4), []Head{{2, 2}}, false, quiet)
	wantWhole(t, "a head that is not there", err,
		"there is no head 2.2 in random: its heads are 0.0 to 2.1")
}

// The shares of all components add up to each run's metric.
func TestDirectAddsUp(t *testing.T) {
	for _, c := range []Config{{3, 2, 32, 16, 60}, {1, 1, 8, 16, 60}} {
		m := randomModel(c, 3)
		m.epsilon = 0.5 // large enough to be missed
		pair := randomPair(m, 7, 2, 4)
		d := must(m.direct(pair, quiet))
		for run, r := range []Reading{d.clean, d.corrupt} {
			s, sum := d.shares[run], 0.
			parts := slices.Concat(slices.Concat(s.Heads...), s.AttnBias, s.MLP)
			for _, v := range append(parts, s.Embed, s.PosEmbed, s.LnFBias) {
				sum += v
			}
			if want := metricDiff.of(r, r, r); math.Abs(sum-want) > 1e-5 {
				t.Errorf("%v, run %d: the shares add up to %g, want %g", c, run, sum, want)
			}
		}
		pair.corruptAnswer = []int{3, 4}
		if _, err := m.direct(pair, quiet); err == nil {
			t.Error("a set of answers has no direction")
		}
		pair = randomPair(m, 7, 2, 4)
		pair.clean[6], pair.corrupt[6] = m.vocab, m.vocab
		_, err := m.direct(pair, quiet)
		wantError(t, "a last token beyond the model's rows", err, "which has 60 rows")
	}
}

// A study through the lens is about the same two runs as a sweep, and its table follows them from
// layer to layer, each in its own column.
func TestLensReport(t *testing.T) {
	m := randomModel(Config{12, 2, 16, 16, 60}, 3)
	q := Question{Pair: randomPair(m, 11, 1, 2), metric: metricProb, tokenizer: gpt2}
	lens := must((&Study{lens: true, metric: metricProb, top: 5}).run(m, q, quiet))
	plain := must((&Study{site: "resid", metric: metricProb, top: 5}).run(m, q, quiet))
	lines := strings.Split(strings.TrimSpace(lens.text(nil)), "\n")
	row := regexp.MustCompile(`^ *11  "(.+?)" +([0-9.]+)  "(.+?)" +([0-9.]+)$`).
		FindStringSubmatch(lines[len(lines)-1])
	if len(row) != 5 {
		t.Fatalf("%q", lines)
	}
	for run, want := range []RunReport{plain.Clean, plain.Corrupt} {
		got, top := []RunReport{lens.Clean, lens.Corrupt}[run], want.Top[0]
		shown := row[1+2*run] + row[2+2*run]
		if !reflect.DeepEqual(got, want) || shown != top.Token+fmt.Sprintf("%.4f", top.Prob) {
			t.Errorf("%s run: %+v, want %+v; in the end %s", runNames[run], got, want, shown)
		}
		panel := lens.panels[run]
		if panel.title != runNames[run]+" run" || panel.at(11, 10) != float64(want.Metric) {
			t.Errorf("panel %s ends in %g, want %g", panel.title, panel.at(11, 10), want.Metric)
		}
	}
}
