package main

import (
	"cmp"
	"math"
	"math/rand"
	"slices"
	"testing"
)

// eachRowKernel runs a test of the functions of single rows with the fastest kernel and the plain
// one; those between have the functions of the fastest.
func eachRowKernel(t *testing.T, test func(t *testing.T, k *kernel)) {
	for _, k := range []*kernel{kernels()[0], goKernel} {
		t.Run(k.name, func(t *testing.T) { test(t, k) })
	}
}

var (
	inf32 = float32(math.Inf(1))
	nan32 = float32(math.NaN())
)

// ulp32 is the distance from |v|, rounded down to a float32, to the next float32; at least that of
// the denormal numbers.
func ulp32(v float64) float64 {
	_, exponent := math.Frexp(v)
	return math.Ldexp(1, max(exponent-24, -149))
}

func isNaN32(v float32) bool { return v != v }

func randomRow(r *rand.Rand, length int, scale float64) []float32 {
	x := make([]float32, length)
	for i := range x {
		x[i] = float32(r.NormFloat64() * scale)
	}
	return x
}

// activationForms are the activations in a form that does not cancel, accurate to about 1e-14 of
// its value also where it is tiny, and the error that is allowed.
var activationForms = []struct {
	name     string
	f        Activation
	accurate func(x float64) float64
	ulps     float64
}{
	{"tanh", geluTanh, func(x float64) float64 {
		return x / (1 + math.Exp(-2*math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	}, 2},
	{"exact", geluExact, func(x float64) float64 { return x / 2 * math.Erfc(-x/math.Sqrt2) }, 6},
	{"relu", relu, func(x float64) float64 { return max(x, 0) }, 0},
}

// Every float32 exponent and sign, with a sample of mantissas: all of the range in which GELU is
// neither x nor 0 nor x/2 densely, the rest thinly. Where the result is below 2^−124, the bound is
// 2^−124. What is not finite never gives an ordinary number: infinity stays or becomes NaN.
func TestActivations(t *testing.T) {
	in := []float32{0, float32(math.Copysign(0, -1)), inf32, -inf32, nan32, math.MaxFloat32,
		-math.MaxFloat32}
	for bits := uint32(1); bits < 0x7f800000; bits += 65521 {
		if x := math.Float32frombits(bits); 1e-4 < x && x < 14 {
			bits -= 65521 - 997
		}
		in = append(in, math.Float32frombits(bits), -math.Float32frombits(bits))
	}
	eachRowKernel(t, func(t *testing.T, k *kernel) {
		for _, form := range activationForms {
			row := slices.Clone(in)
			k.activate[form.f](row)
			for i, x := range in {
				want, got := form.accurate(float64(x)), float64(row[i])
				allowed := form.ulps * ulp32(want)
				if tiny := math.Ldexp(1, -124); math.Abs(want) < tiny && x < -1 {
					allowed = tiny
				}
				right := math.Abs(got-want) <= allowed
				if x-x != 0 { // not finite
					right = got != got || got == want && x > 0
				}
				if !right {
					t.Fatalf("%s of %g = %g, want %g to %g", form.name, x, got, want, allowed)
				}
			}
		}
	})
}

func TestSoftmax(t *testing.T) {
	eachRowKernel(t, func(t *testing.T, k *kernel) {
		r := rand.New(rand.NewSource(2))
		worst := 0.0
		for length := 1; length <= 1100; length += 1 + length/10 {
			for _, scale := range []float64{0, 0.1, 1, 10, 1e30} {
				in := randomRow(r, length, scale)
				got := slices.Clone(in)
				k.softmax(got)
				largest, sum := float64(slices.Max(in)), 0.0
				for _, v := range in {
					sum += math.Exp(float64(v) - largest)
				}
				for i, v := range in {
					d := float64(v) - largest
					want := math.Exp(d) / sum
					if want < 1e-35 {
						if !(got[i] >= 0 && got[i] <= 2e-35) {
							t.Fatalf("length %d: %g, want %g", length, got[i], want)
						}
						continue
					}
					// d rounded to a float32 is allowed for: up to |d|·2^−24, relative, in exp(d).
					err := math.Abs(float64(got[i])-want)/want + d*math.Ldexp(1, -24)
					worst = max(worst, err)
				}
			}
		}
		// In a row of 0 and d < −17 the sum rounds to 1 and d's probability is exp(d) itself.
		ulps := 0.0
		for d := float32(-17.5); d > -87; d -= 0.0037 {
			x := []float32{0, d}
			k.softmax(x)
			want := math.Exp(float64(d))
			ulps = max(ulps, math.Abs(float64(x[1])-want)/ulp32(want))
		}
		if !(worst < 5e-7 && ulps <= 2) {
			t.Errorf("relative error %.3g, %.3f ulp; 5e-7 and 2 are allowed", worst, ulps)
		}
		for _, c := range [][2][]float32{
			{{-math.MaxFloat32, math.MaxFloat32, 0}, {0, 1, 0}},
			{{-math.MaxFloat32, -math.MaxFloat32}, {0.5, 0.5}},
		} {
			x, want := slices.Clone(c[0]), c[1]
			if k.softmax(x); !slices.Equal(x, want) {
				t.Errorf("of %v: %v, want %v", c[0], x, want)
			}
		}
	})
}

// The error of a layer norm is at most 8 units of 2^−24 of the numbers that are rounded on the way:
// (1 + |z|)·gain and bias, where z is the normalised x and 1 the row's standard deviation.
func TestLayerNorm(t *testing.T) {
	eachRowKernel(t, func(t *testing.T, k *kernel) {
		r := rand.New(rand.NewSource(3))
		for _, c := range []struct {
			name           string
			scale          float64
			mean, outsized float32 // of all channels; one channel
		}{
			{"normal", 1, 0, 0}, {"tiny", 1e-4, 0, 0}, {"huge", 1e15, 0, 0},
			{"beyond", 1e25, 0, 0}, {"mean of 100", 1, 100, 0}, {"mean of 1e5", 1, 1e5, 0},
			{"mean of 100, tiny deviations", 1e-3, 100, 0}, {"one channel of 12", 0.3, 0, 12},
			{"one channel of -300", 0.3, 0, -300}, {"one channel of 3000", 0.3, 0, 3000},
		} {
			for i := range 80 {
				d := []int{1, 2, 31, 32, 33, 64, 96, 256, 768, 1600}[i/8]
				x, y := randomRow(r, d, c.scale), make([]float32, d)
				for i := range x {
					x[i] += c.mean
				}
				x[d/3] = cmp.Or(c.outsized, x[d/3])
				n := Norm{randomRow(r, d, 1), randomRow(r, d, 1)}
				epsilon := []float64{layerNormEpsilon, 1e-12, 1e-3, 0}[i%4]
				k.layerNorm(y, x, n, epsilon)
				wide, mean, variance := floats(x), 0.0, 0.0
				for _, v := range wide {
					mean += v / float64(d)
				}
				for _, v := range wide {
					variance += (v - mean) * (v - mean) / float64(d)
				}
				if (variance+epsilon == 0 || variance > math.MaxFloat32) && !finite(y) {
					continue // as it should be
				}
				for i, v := range wide {
					z := (v - mean) / math.Sqrt(variance+epsilon)
					gain, bias := float64(n.gain[i]), float64(n.bias[i])
					off := math.Abs(float64(y[i]) - (z*gain + bias))
					terms := (1+math.Abs(z))*math.Abs(gain) + math.Abs(bias)
					if !(off <= 8*math.Ldexp(terms, -24)) {
						t.Fatalf("%s, width %d: off by %g", c.name, d, off)
					}
				}
			}
		}
		for _, d := range []int{7, 64, 96} {
			n := Norm{slices.Repeat([]float32{1}, d), randomRow(r, d, 1)}
			for _, constant := range []float32{0, 1, -3, 1e10} {
				y := slices.Repeat([]float32{constant}, d)
				k.layerNorm(y, y, n, layerNormEpsilon)
				if !slices.Equal(y, n.bias) {
					t.Errorf("constant row of %d times %g: %v, want the bias", d, constant, y)
				}
				y = slices.Repeat([]float32{constant}, d)
				k.layerNorm(y, y, n, 0) // 0 divided by 0, as PyTorch has it
				if finite(y) {
					t.Errorf("constant row of %d times %g without epsilon: %v", d, constant, y)
				}
			}
		}
		row := func(d int) []float32 { return make([]float32, d) }
		for _, n := range [][3]int{{32, 64, 64}, {64, 32, 64}, {64, 64, 32}} {
			y, gain, bias := row(n[0]), row(n[1]), row(n[2])
			if !faults(func() { k.layerNorm(y, row(64), Norm{gain, bias}, layerNormEpsilon) }) {
				t.Errorf("y, gain and bias of %v: no panic", n)
			}
		}
	})
}

// What is not finite anywhere in a row makes softmax and layer norm NaN throughout.
func TestRowsNotFinite(t *testing.T) {
	eachRowKernel(t, func(t *testing.T, k *kernel) {
		for _, length := range []int{1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 40, 64, 96} {
			n := Norm{slices.Repeat([]float32{1}, length), make([]float32, length)}
			for i, bad := range slices.Repeat([]float32{nan32, inf32, -inf32}, length) {
				x, y := make([]float32, length), make([]float32, length)
				x[i/3] = bad
				k.layerNorm(y, x, n, layerNormEpsilon)
				k.softmax(x)
				if slices.ContainsFunc(append(x, y...), func(v float32) bool { return v == v }) {
					t.Fatalf("%g at %d of %d: %v, %v, want NaN throughout", bad, i/3, length, x, y)
				}
			}
		}
	})
}

// All lengths around the vector's, against the plain version, with the same bits at any alignment;
// an activation gives the bits that it gives a value alone. Rows end where readable memory ends, or
// begin where it begins: a load or store outside a row ends the test with a fault, even one that
// would put back what it found.
func TestVectorKernels(t *testing.T) {
	r := rand.New(rand.NewSource(5))
	begin, end := guardedEnds(t, 200)
	eachRowKernel(t, func(t *testing.T, k *kernel) {
		for length := range len(begin) + 1 {
			in := randomRow(r, length, 2)
			n := Norm{randomRow(r, length, 1), randomRow(r, length, 1)}
			inside := make([]float32, length+1)[1:]
			rows := [][]float32{begin[:length], end[len(end)-length:], inside}
			for _, f := range []struct {
				name       string
				run, plain func(x []float32)
				ofEach     bool
			}{
				{"geluTanh", k.activate[geluTanh], geluTanhGo, true},
				{"geluExact", k.activate[geluExact], geluExactGo, true},
				{"relu", k.activate[relu], reluGo, true},
				{"softmax", k.softmax, softmaxGo, false},
				{"layerNorm", func(x []float32) { k.layerNorm(x, x, n, layerNormEpsilon) },
					func(x []float32) { layerNormGo(x, x, n, layerNormEpsilon) }, false},
			} {
				want, first := slices.Clone(in), slices.Clone(in)
				f.plain(want)
				if f.ofEach {
					for i := range first {
						f.run(first[i : i+1])
					}
				} else {
					f.run(first)
				}
				for _, row := range rows {
					copy(row, in)
					f.run(row)
					for i, v := range row {
						if math.Abs(float64(v-want[i])) > 2e-6*(1+math.Abs(float64(want[i]))) {
							t.Fatalf("%s of %d elements: [%d] is %g, plain %g",
								f.name, length, i, v, want[i])
						}
					}
					if !slices.Equal(row, first) {
						t.Fatalf("%s of %d elements: other bits than before", f.name, length)
					}
				}
			}
			for _, row := range rows { // which may also be the gain or the bias
				k.layerNorm(in, in, Norm{row, row}, layerNormEpsilon)
			}
		}
	})
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

func TestLogSumExp(t *testing.T) {
	r := rand.New(rand.NewSource(6))
	for _, length := range []int{1, 2, 3, 100, 50257} {
		for _, scale := range []float64{0, 1, 25, 1e4} {
			x := randomRow(r, length, scale)
			largest, sum := float64(slices.Max(x)), 0.0
			for _, v := range x {
				sum += math.Exp(float64(v) - largest)
			}
			want := largest + math.Log(sum)
			if got := logSumExp(x); math.Abs(got-want) > 1e-8+1e-15*math.Abs(want) {
				t.Errorf("length %d, scale %g: %.12g, want %.12g", length, scale, got, want)
			}
		}
	}
	for _, c := range []struct {
		x    []float32
		want float64
	}{
		{nil, math.Inf(-1)},
		{[]float32{-inf32, 3}, 3},
		{[]float32{-math.MaxFloat32, math.MaxFloat32}, math.MaxFloat32},
		{[]float32{1, nan32}, math.NaN()},
		{[]float32{nan32, 1}, math.NaN()},
		{[]float32{1, inf32}, math.NaN()},
	} {
		if got := logSumExp(c.x); got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("logSumExp(%v) = %g, want %g", c.x, got, c.want)
		}
	}
}

func TestTopK(t *testing.T) {
	check := func(x []float32, k int) {
		t.Helper()
		var want []int // the largest of what is left, the first of equal ones, k times
		for len(want) < min(k, len(x)) {
			at := -1
			for i, v := range x {
				if !slices.Contains(want, i) &&
					(at < 0 || v > x[at] || isNaN32(x[at]) && !isNaN32(v)) {
					at = i
				}
			}
			want = append(want, at)
		}
		if got := topK(x, k); !slices.Equal(got, want) {
			t.Fatalf("topK(%v, %d) = %v, want %v", x, k, got, want)
		}
	}
	r := rand.New(rand.NewSource(7))
	values := []float32{nan32, -inf32, inf32, 0, float32(math.Copysign(0, -1)), 1, 2, 3, -1}
	for length := 0; length <= 60; length++ {
		for k := -1; k <= length+2; k++ {
			x := make([]float32, length)
			for i := range x {
				x[i] = values[r.Intn(len(values))] // many ties
			}
			check(x, k)
		}
	}
	check([]float32{nan32, nan32, nan32}, 1)
	check([]float32{nan32, nan32, nan32, 1}, 1)
	check([]float32{nan32, nan32, -inf32, nan32}, 1)
	x := randomRow(r, 50257, 3)
	check(x, 20)
	if got := topK(x, math.MaxInt); len(got) != len(x) {
		t.Errorf("k beyond the length gave %d indices of %d", len(got), len(x))
	}
}

func TestExp2(t *testing.T) {
	for v := -1022.0; v < 1023.5; v += 0.00317 {
		if got, want := exp2(v), math.Exp2(v); math.Abs(got-want) > 8e-9*want {
			t.Fatalf("exp2(%g) = %g, want %g", v, got, want)
		}
	}
	holds(t, exp2, map[float64]float64{
		1e300: math.Inf(1), math.Inf(-1): math.Ldexp(1, -1022),
	})
	if got := exp2(math.NaN()); !math.IsNaN(got) {
		t.Errorf("exp2(NaN) = %g", got)
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
