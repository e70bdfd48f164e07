package main

import (
	"math"
	"testing"
)

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
