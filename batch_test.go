package main

import (
	"math"
	"testing"
)

// TestBlockAllocations checks that a layer allocates no memory, on one thread or on two, also where a run is forked.
func TestBlockAllocations(t *testing.T) {
	m := randomModel(Config{layers: 2, heads: 2, width: 128, context: 64, vocab: 50}, 1)
	x, err := m.embed([]int{1, 2, 3, 4, 5, 6, 7, 8, 9}, []int{9, 8, 7, 6, 5, 4, 3, 2, 1})
	if err != nil {
		t.Fatal(err)
	}
	b := m.newBatch(9, 40)
	for _, n := range []int{1, 2} {
		withThreads(n, func() {
			if allocs := testing.AllocsPerRun(20, func() {
				b.start(x)
				b.fork(1, 3, siteResid, b.x)
				if err := m.block(b, 0, leaveAlone); err != nil {
					t.Fatal(err)
				}
			}); allocs != 0 {
				t.Errorf("%d threads: %v allocations in a layer", n, allocs)
			}
		})
	}
}

// TestAddTo adds more than one chunk, and notices what is not a number wherever it is.
func TestAddTo(t *testing.T) {
	const n = 2*addChunk + 5
	for _, at := range []int{-1, 0, addChunk, n - 1} {
		y, x := randoms(1, n), randoms(2, n)
		if at >= 0 {
			x[at] = float32(math.Inf(-1))
		}
		want := make([]float32, n)
		for i := range want {
			want[i] = y[i] + x[i]
		}
		if finite := addTo(y, x); finite != (at < 0) {
			t.Errorf("finite is %v with an infinity at %d", finite, at)
		}
		if !sameBits(y, want) {
			t.Errorf("wrong sums, with an infinity at %d", at)
		}
	}
}
