package main

import (
	"math"
	"testing"
)

// TestLensIsATruncatedModel holds the lens to its definition: what it shows after layer l is what a model that ends with that
// layer predicts.
func TestLensIsATruncatedModel(t *testing.T) {
	m := randomModel(Config{4, 2, 32, 16, 60}, 3)
	pair := randomPair(m, 7, 2, 4)
	clean, corrupt, err := m.lens(pair, true, func(float64) {})
	if err != nil {
		t.Fatal(err)
	}
	for l := 0; l < m.layers; l++ {
		short := *m
		short.layers, short.blocks = l+1, m.blocks[:l+1]
		for i, text := range [][]int{pair.clean, pair.corrupt} {
			lens := []*Lens{clean, corrupt}[i]
			for p := range text {
				want, err := short.next(text[:p+1])
				if err != nil {
					t.Fatal(err)
				}
				got := lens.cells[l][p]
				if got.clean != float64(want[pair.cleanAnswer]) || got.corrupt != float64(want[pair.corruptAnswer]) || math.Abs(got.logSum-logSumExp(want)) > 1e-9 {
					t.Errorf("layer %d, position %d: %v, want %v, %v", l, p, got, want[pair.cleanAnswer], want[pair.corruptAnswer])
				}
				if p == len(text)-1 {
					for id, y := range lens.logits[l] {
						if y != want[id] {
							t.Fatalf("layer %d: logit %d is %g, want %g", l, id, y, want[id])
						}
					}
				}
			}
		}
	}
}
