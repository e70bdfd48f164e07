package main

import (
	"math"
	"testing"
)

// The example pairs, and in which cells the clean activation must bring the clean answer back. Everything else must leave
// the corrupt run as it is.
var circuitTruth = []struct {
	name, clean, corrupt string
	site                 Site
	restores             func(layer, column int) bool
}{
	{
		"the last name", "Michelle Jones was a top-notch student. Michelle", "Michelle Smith was a top-notch student. Michelle", siteResid,
		func(l, p int) bool { return l < inductionLayer && p == 1 || l >= inductionLayer && p == 10 },
	}, {
		"the first name", "Michelle Jones was a top-notch student. Michelle", "Jessica Jones was a top-notch student. Michelle", siteResid,
		func(l, p int) bool {
			return l < previousLayer && p == 0 || l >= previousLayer && l < inductionLayer && p == 1 || l >= inductionLayer && p == 10
		},
	}, {
		"what attention adds", "Michelle Jones was a top-notch student. Michelle", "Michelle Smith was a top-notch student. Michelle", siteAttn,
		func(l, p int) bool { return l == inductionLayer && p == 10 },
	}, {
		"what the MLPs add", "Michelle Jones was a top-notch student. Michelle", "Michelle Smith was a top-notch student. Michelle", siteMLP,
		func(l, p int) bool { return false },
	}, {
		"the heads", "Michelle Jones was a top-notch student. Michelle", "Michelle Smith was a top-notch student. Michelle", siteZ,
		func(l, h int) bool { return l == inductionLayer && h == inductionHead },
	}, {
		"the heads, of the first name", "Michelle Jones was a top-notch student. Michelle", "Jessica Jones was a top-notch student. Michelle", siteZ,
		func(l, h int) bool {
			return l == previousLayer && h == previousHead || l == inductionLayer && h == inductionHead
		},
	},
}

// TestCircuitTruth holds the whole program, from tokens to cells, to what is known of the circuit beforehand.
func TestCircuitTruth(t *testing.T) {
	m := newCircuit()
	for _, c := range circuitTruth {
		t.Run(c.name, func(t *testing.T) {
			q, err := newQuestion(m, Text{"clean", c.clean}, Text{"corrupt", c.corrupt}, "Jones", "Smith", metricRestored)
			if err != nil {
				t.Fatal(err)
			}
			s, err := m.sweep(q.Pair, patching(c.site), func(float64) {})
			if err != nil {
				t.Fatal(err)
			}
			if from, to := metricDiff.of(s.corrupt, s.clean, s.corrupt), metricDiff.of(s.clean, s.clean, s.corrupt); from-to < 10 {
				t.Fatalf("the answers do not part: clean %.2f, corrupt %.2f", to, from)
			}
			for l, row := range s.matrices[0] {
				for col, r := range row {
					want := 0.
					if c.restores(l, col) {
						want = 1
					}
					if got := metricRestored.of(r, s.clean, s.corrupt); math.Abs(got-want) > .1 {
						t.Errorf("layer %d, column %d restores %.3f, want %g", l, col, got, want)
					}
				}
			}
		})
	}
}

// TestCircuitThirdPair is the pair in which the query token differs too: before the induction layer it decides which name is
// looked up in the corrupt text, so the corrupt answer appears; after it the clean run's answer is carried over whole.
func TestCircuitThirdPair(t *testing.T) {
	m := newCircuit()
	q, err := newQuestion(m, Text{"clean", "Michelle Jones was a top-notch student. Michelle"},
		Text{"corrupt", "Michelle Smith was a top-notch student. Jessica"}, "Jones", "Smith", metricDiff)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.sweep(q.Pair, patching(siteResid), func(float64) {})
	if err != nil {
		t.Fatal(err)
	}
	clean, corrupt := metricDiff.of(s.clean, s.clean, s.corrupt), metricDiff.of(s.corrupt, s.clean, s.corrupt)
	if clean > -10 || math.Abs(corrupt) > 8 {
		t.Fatalf("clean %.2f, corrupt %.2f", clean, corrupt)
	}
	for l, row := range s.matrices[0] {
		for p, r := range row {
			v, ok := metricDiff.of(r, s.clean, s.corrupt), false
			switch {
			case p == 10 && l < inductionLayer:
				ok = v > 10
			case p == 10:
				ok = math.Abs(v-clean) < 2
			default:
				ok = math.Abs(v-corrupt) < 3
			}
			if !ok {
				t.Errorf("layer %d, position %d: %.2f (clean %.2f, corrupt %.2f)", l, p, v, clean, corrupt)
			}
		}
	}
}

// TestCircuitPredicts checks the circuit's answers, and that common words come to the top where it has none.
func TestCircuitPredicts(t *testing.T) {
	m := newCircuit()
	for _, c := range []struct{ text, want string }{
		{"Michelle Jones was a top-notch student. Michelle", " Jones"},
		{"The Queen lives in London. Who knows London? The", " Queen"},
		{"Hello world, how are you", " was"},
		{"The weather today", " was"},
		{"Paris", " was"},
	} {
		logits, err := m.next(gpt2BPE().encode(c.text))
		if err != nil {
			t.Fatal(err)
		}
		top := topTokens(m.tokenizer, logits, 20)
		if top[0].Token != c.want {
			t.Errorf("%q goes on with %v, want %q", c.text, top[:3], c.want)
		}
	}
}

// TestCircuitPositions checks that no two positions of the context are alike enough to be confused
// by a position head, and none like position 0 to the MLP that makes that a resting place.
func TestCircuitPositions(t *testing.T) {
	for distance := 1; distance < circuitContext; distance++ {
		position, rest := 0., 0.
		for j := 0; j < partSize/2; j++ {
			sin, cos := math.Sincos(float64(distance) * frequency(j))
			position, rest = position+cos, rest+cos-sin
		}
		if max(position, rest) > 0.75*partSize/2 {
			t.Errorf("position %d agrees with position 0 to %.1f and %.1f of %d",
				distance, position, rest, partSize/2)
		}
	}
}

// TestCircuitRests checks that the first position keeps nothing that could be copied from there,
// whatever its token, and that no other position is touched.
func TestCircuitRests(t *testing.T) {
	m := newCircuit()
	for id := 0; id < vocabSize; id += 997 {
		ids := []int{id, (id + 1) % vocabSize, (id + 2) % vocabSize}
		b, err := m.begin(ids)
		if err != nil {
			t.Fatal(err)
		}
		before := append([]float32(nil), b.x...)
		for l := 0; l <= restLayer; l++ {
			if l == restLayer {
				copy(before, b.x)
			}
			if err := m.block(b, l, leaveAlone); err != nil {
				t.Fatal(err)
			}
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
