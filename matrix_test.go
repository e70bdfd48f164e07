package main

import (
	"math"
	"testing"
)

// A row of a matrix without data is zeros.
func TestZeroRow(t *testing.T) {
	dst := []float32{9, 9}
	zero := Matrix{rows: 2, cols: 2}
	if zero.row(dst, 1); dst[0] != 0 || dst[1] != 0 {
		t.Errorf("row of a matrix without data is %v", dst)
	}
}

// All 65536 patterns of both 16-bit formats are widened to the value that the format's definition
// gives, by every kernel.
func TestWiden(t *testing.T) {
	all := make([]uint16, 1<<16)
	for i := range all {
		all[i] = uint16(i)
	}
	formats := []struct {
		format             Format
		fraction, exponent int // bits
	}{{f16, 10, 5}, {bf16, 7, 8}}
	eachKernel(t, func(t *testing.T) {
		for _, f := range formats {
			// 1 + 65521 + 14: the pieces are no multiples of a register.
			got := make([]float32, len(all))
			for _, half := range [][]uint16{all[:1], all[1:65522], all[65522:]} {
				row := Matrix{rows: 1, cols: len(half), half: half, format: f.format}
				row.row(got[row.half[0]:], 0)
			}
			bias := 1<<(f.exponent-1) - 1
			for i, v := range got {
				sign := 1 - 2*float64(i>>15)
				exponent := i >> f.fraction & (1<<f.exponent - 1)
				fraction := math.Ldexp(float64(i&(1<<f.fraction-1)), -f.fraction)
				var want float64
				switch {
				case exponent == 0:
					want = sign * math.Ldexp(fraction, 1-bias)
				case exponent < 1<<f.exponent-1:
					want = sign * math.Ldexp(1+fraction, exponent-bias)
				case fraction == 0:
					want = sign * math.Inf(1)
				default:
					want = math.NaN()
				}
				same := float64(v) == want || math.IsNaN(want) && isNaN32(v)
				if !same || math.Signbit(float64(v)) != (i>>15 == 1) {
					t.Fatalf("%v %#04x is %v, want %v", f.format, i, v, want)
				}
			}
		}
	})
}
