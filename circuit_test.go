package main

import (
	"math"
	"slices"
	"testing"
)

// Beside the example's, two corrupt texts: each asks another part of the induction head, layer 6's
// head 3, than what is copied: where that is found, and what is looked for.
const (
	textJessica = "Jessica Jones was a top-notch student. Michelle"
	textQuery   = "Michelle Smith was a top-notch student. Jessica"
)

var (
	induction = Head{inductionLayer, inductionHead}
	previous  = Head{previousLayer, previousHead}
)

// circuitPair is the question with exampleClean as the clean text.
func circuitPair(t *testing.T, corrupt string) Pair {
	t.Helper()
	return question(t, exampleClean, corrupt, metricRestored).Pair
}

// TestCircuitTruth holds the whole program, from tokens to cells, to what is known of the circuit
// beforehand: in which cells the clean activation must bring the clean answer back. Everything else
// must leave the corrupt run as it is. Of a path to a receiver, no later head is run.
func TestCircuitTruth(t *testing.T) {
	m := newCircuit()
	at := func(heads ...Head) func(l, h int) bool {
		return func(l, h int) bool { return slices.Contains(heads, Head{l, h}) }
	}
	for _, c := range []struct {
		corrupt  string
		study    Study
		restores func(layer, column int) bool
	}{
		{exampleCorrupt, Study{site: "resid"}, func(l, p int) bool {
			return l < inductionLayer && p == 1 || l >= inductionLayer && p == 10
		}},
		{textJessica, Study{site: "resid"}, func(l, p int) bool {
			return l < previousLayer && p == 0 ||
				l >= previousLayer && l < inductionLayer && p == 1 || l >= inductionLayer && p == 10
		}},
		{exampleCorrupt, Study{site: "attn"}, at(Head{inductionLayer, 10})},
		{exampleCorrupt, Study{site: "mlp"}, at()},
		{exampleCorrupt, Study{site: "z"}, at(induction)},
		{exampleCorrupt, Study{site: "v"}, at(induction)},
		{exampleCorrupt, Study{site: "k"}, at()},
		{exampleCorrupt, Study{site: "q"}, at()},
		{textJessica, Study{site: "z"}, at(previous, induction)},
		{textJessica, Study{site: "k"}, at(induction)},
		{textJessica, Study{site: "v"}, at(previous)},
		{textJessica, Study{site: "q"}, at()},
		{textJessica, Study{site: "pattern"}, at(induction)},
		// From the first name through the previous-token head to the keys of the induction head,
		// and from there to the logits.
		{textJessica, Study{to: induction.String() + ".k"}, at(previous)},
		{textJessica, Study{to: "logits"}, at(induction)},
	} {
		plan := c.study.plan(m.Config, 11)
		s := must(m.sweep(circuitPair(t, c.corrupt), plan, quiet))
		diff := func(r Reading) float64 { return metricDiff.of(r, s.clean, s.corrupt) }
		if from, to := diff(s.corrupt), diff(s.clean); from-to < 10 {
			t.Fatalf("the answers do not part: clean %.2f, corrupt %.2f", to, from)
		}
		for l, row := range s.matrices[0] {
			for col, r := range row {
				got, want := metricRestored.of(r, s.clean, s.corrupt), 0.
				if c.restores(l, col) {
					want = 1
				}
				if len(plan.targets[0].to) > 0 && l >= inductionLayer {
					want = math.NaN()
				}
				if math.IsNaN(got) != math.IsNaN(want) || math.Abs(got-want) > .1 {
					t.Errorf("%+v: layer %d, column %d restores %.3f, want %g", c.study, l, col,
						got, want)
				}
			}
		}
	}
}

// TestCircuitThirdPair is the pair in which the query token differs too: before the induction layer
// it decides which name is looked up in the corrupt text, so the corrupt answer appears; after it
// the clean run's answer is carried over whole. Of the induction head only the query matters.
func TestCircuitThirdPair(t *testing.T) {
	m := newCircuit()
	s := must(m.sweep(circuitPair(t, textQuery), patching(siteResid, siteQ, siteK, siteV), quiet))
	diff := func(r Reading) float64 { return metricDiff.of(r, s.clean, s.corrupt) }
	clean, corrupt := diff(s.clean), diff(s.corrupt)
	if clean > -10 || math.Abs(corrupt) > 8 {
		t.Fatalf("clean %.2f, corrupt %.2f", clean, corrupt)
	}
	for l, row := range s.matrices[0] {
		for p, r := range row {
			want, within := corrupt, 3.
			if p == 10 && l < inductionLayer {
				want, within = 20, 10
			} else if p == 10 {
				want, within = clean, 2
			}
			if v := diff(r); math.Abs(v-want) > within {
				t.Errorf("layer %d, position %d: %.2f, want %.2f", l, p, v, want)
			}
		}
	}
	for i, site := range []Site{siteQ, siteK, siteV} {
		v := diff(s.matrices[1+i][inductionLayer][inductionHead])
		if (v > 10) != (site == siteQ) || site != siteQ && math.Abs(v-corrupt) > 3 {
			t.Errorf("%v of the induction head: %.2f, corrupt %.2f", site, v, corrupt)
		}
	}
}

// The induction head attends from the last name to what followed it the first time, and the
// answer's logit comes from that head.
func TestCircuitViews(t *testing.T) {
	m := newCircuit()
	pair := circuitPair(t, exampleCorrupt)
	p := must(m.patterns(pair, []Head{{inductionLayer, inductionHead}}, false, quiet))
	d := must(m.direct(pair, quiet))
	for run, want := range map[int]float64{cleanRun: -1, corruptRun: 1} {
		if a := p.a[run][0][10][1]; a < .9 {
			t.Errorf("run %d: %.3f of the induction head's attention is at the name", run, a)
		}
		for l, heads := range d.shares[run].Heads {
			for h, v := range heads {
				if (v*want > 5) != (Head{l, h} == induction) {
					t.Errorf("run %d: head %d.%d adds %.2f", run, l, h, v)
				}
			}
		}
	}
}

// TestCircuitPredicts checks the circuit's answers, and that common words come to the top where it
// has none.
func TestCircuitPredicts(t *testing.T) {
	m := newCircuit()
	for _, c := range []struct{ text, want string }{
		{exampleClean, " Jones"},
		{"The Queen lives in London. Who knows London? The", " Queen"},
		{"Hello world, how are you", " was"},
		{"The weather today", " was"},
		{"Paris", " was"},
	} {
		logits := must(m.next(gpt2BPE().encode(c.text)))
		top := topTokens(m.tokenizer, logits, 20)
		if top[0].Token != c.want {
			t.Errorf("%q goes on with %v, want %q", c.text, top[:3], c.want)
		}
	}
}

// No two positions of the context are alike enough to be confused by a position head, and none like
// position 0 to the MLP that makes that a resting place.
func TestCircuitPositions(t *testing.T) {
	for distance := 1; distance < circuitContext; distance++ {
		position, rest := 0., 0.
		for j := range partSize / 2 {
			sin, cos := math.Sincos(float64(distance) * frequency(j))
			position, rest = position+cos, rest+cos-sin
		}
		if max(position, rest) > 0.75*partSize/2 {
			t.Errorf("position %d agrees with position 0 to %.1f and %.1f of %d",
				distance, position, rest, partSize/2)
		}
	}
}

// The first position keeps nothing that could be copied from there, whatever its token, and no
// other position is touched.
func TestCircuitRests(t *testing.T) {
	m := newCircuit()
	for id := 0; id < vocabSize; id += 997 {
		ids := []int{id, (id + 1) % vocabSize, (id + 2) % vocabSize}
		b := m.begin(ids)
		before := append([]float32(nil), b.x...)
		for l := 0; l <= restLayer; l++ {
			if l == restLayer {
				copy(before, b.x)
			}
			m.block(b, l, leaveAlone)
		}
		for i, v := range b.x {
			want := before[i]
			if part := i - partPosition; part >= 0 && part < partSize {
				want += restSize * float32(1-2*(part%2))
			}
			if math.Abs(float64(v-want)) > restSize/4 || i >= m.width && v != before[i] {
				t.Fatalf("token %d, value %d is %g, was %g", id, i, v, before[i])
			}
		}
	}
}
