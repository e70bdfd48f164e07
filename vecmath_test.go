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

// activationForms are the activations as they are published and in a form that does not cancel,
// accurate to about 1e-14 of its value also where it is tiny. The published form of GELU is off by
// up to 4e-16·|x| below about x = −3.
var activationForms = []struct {
	name                string
	f                   Activation
	published, accurate func(x float64) float64
	ulps                float64 // the error that is allowed
}{
	{"tanh", geluTanh, func(x float64) float64 {
		return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	}, func(x float64) float64 {
		return x / (1 + math.Exp(-2*math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	}, 2},
	{"exact", geluExact, func(x float64) float64 {
		return x / 2 * (1 + math.Erf(x/math.Sqrt2))
	}, func(x float64) float64 {
		return x / 2 * math.Erfc(-x/math.Sqrt2)
	}, 6},
	{"relu", relu, func(x float64) float64 { return max(x, 0) },
		func(x float64) float64 { return max(x, 0) }, 0},
}

// Every float32 exponent and sign, with a sample of mantissas: all of the range in which GELU is
// neither x nor 0 nor x/2 densely, the rest thinly. Where the result is below 2^−124, the bound is
// 2^−124.
func TestActivationError(t *testing.T) {
	var in []float32
	add := func(bits uint32) {
		if x := math.Float32frombits(bits); x-x == 0 { // finite
			in = append(in, x, -x)
		}
	}
	for bits := uint64(0); bits < 1<<31; bits += 65521 {
		add(uint32(bits))
	}
	for bits := math.Float32bits(1e-4); bits < math.Float32bits(14); bits += 613 {
		add(bits)
	}
	for exponent := uint32(0); exponent < 255; exponent++ {
		for d := uint32(0); d < 6; d++ {
			add(exponent<<23 + d - 3)
		}
	}
	eachRowKernel(t, func(t *testing.T, k *kernel) {
		for _, form := range activationForms {
			row := slices.Clone(in)
			k.activate[form.f](row)
			worst, worstAt := 0.0, float32(0)
			for i, x := range in {
				want, got := form.accurate(float64(x)), float64(row[i])
				err := math.Abs(got - want)
				if math.Abs(want) < math.Ldexp(1, -124) && math.Abs(float64(x)) > 1 {
					if !(err <= math.Ldexp(1, -124)) {
						t.Fatalf("%s of %g = %g, want %g", form.name, x, got, want)
					}
					continue
				}
				published := form.published(float64(x))
				off := 4e-16 * math.Abs(float64(x))
				if !(math.Abs(got-published) <= form.ulps*ulp32(want)+off) {
					t.Errorf("%s of %g = %g, but published is %g", form.name, x, got, published)
				}
				if ulps := err / ulp32(want); !(ulps <= worst) {
					worst, worstAt = ulps, x
				}
			}
			t.Logf("%s: largest error %.3f ulp, at %g", form.name, worst, worstAt)
			if !(worst <= form.ulps) {
				t.Errorf("%s: error of %.3f ulp at %g; %g are allowed",
					form.name, worst, worstAt, form.ulps)
			}
		}
	})
}

// The ends of the range give what the formula does, and what is not finite never an ordinary
// number: infinity stays or becomes NaN.
func TestActivationSpecialValues(t *testing.T) {
	eachRowKernel(t, func(t *testing.T, k *kernel) {
		for _, form := range activationForms {
			for _, x := range []float32{
				0, float32(math.Copysign(0, -1)), inf32, -inf32, nan32, math.MaxFloat32,
				-math.MaxFloat32, 1e20, -1e20, -20, 20,
			} {
				// In a whole vector, and as the last element of a tail.
				for _, length := range []int{8, 11} {
					row := make([]float32, length)
					row[length-1] = x
					k.activate[form.f](row)
					got, want := row[length-1], float32(form.accurate(float64(x)))
					if isNaN32(got) && x-x != 0 || got == want && x != -inf32 {
						continue
					}
					t.Errorf("%s of %g = %g, want %g", form.name, x, got, want)
				}
			}
		}
	})
}

func TestSoftmaxError(t *testing.T) {
	eachRowKernel(t, func(t *testing.T, k *kernel) {
		r := rand.New(rand.NewSource(2))
		worst := 0.0
		for length := 1; length <= 1100; length += 1 + length/40 {
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
		for d := float32(-17.5); d > -87; d -= 0.00037 {
			x := []float32{0, d}
			k.softmax(x)
			want := math.Exp(float64(d))
			ulps = max(ulps, math.Abs(float64(x[1])-want)/ulp32(want))
		}
		t.Logf("largest relative error %.3g, of an exponential %.3f ulp", worst, ulps)
		if !(worst < 5e-7 && ulps <= 2) {
			t.Errorf("relative error %.3g, %.3f ulp; 5e-7 and 2 are allowed", worst, ulps)
		}
	})
}

func TestSoftmaxSpecialValues(t *testing.T) {
	eachRowKernel(t, func(t *testing.T, k *kernel) {
		for _, bad := range []float32{nan32, inf32, -inf32} {
			for length := 1; length <= 40; length++ {
				for at := range length {
					x := make([]float32, length)
					x[at] = bad
					k.softmax(x)
					if slices.ContainsFunc(x, func(v float32) bool { return v == v }) {
						t.Fatalf("%g at %d of %d: %v, want NaN throughout", bad, at, length, x)
					}
				}
			}
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

// layerNormError returns the largest error of a row in units of 2^−24 of the numbers that are
// rounded on the way: (1 + |z|)·gain and bias, where z is the normalised x and 1 the row's standard
// deviation.
func layerNormError(k *kernel, x []float32, n Norm, epsilon float64) float64 {
	y := make([]float32, len(x))
	k.layerNorm(y, x, n, epsilon)
	mean, variance := 0.0, 0.0
	for _, v := range x {
		mean += float64(v) / float64(len(x))
	}
	for _, v := range x {
		variance += (float64(v) - mean) * (float64(v) - mean) / float64(len(x))
	}
	if variance+epsilon == 0 && !finite(y) {
		return 0 // as it should be
	}
	worst := 0.0
	for i, v := range x {
		z := (float64(v) - mean) / math.Sqrt(variance+epsilon)
		gain, bias := float64(n.gain[i]), float64(n.bias[i])
		err := math.Abs(float64(y[i]) - (z*gain + bias))
		worst = max(worst, err/((1+math.Abs(z))*math.Abs(gain)+math.Abs(bias))/math.Ldexp(1, -24))
		if isNaN32(y[i]) {
			return math.Inf(1)
		}
	}
	return worst
}

func TestLayerNormError(t *testing.T) {
	eachRowKernel(t, func(t *testing.T, k *kernel) {
		r := rand.New(rand.NewSource(3))
		for _, c := range []struct {
			name           string
			scale          float64
			mean, outsized float32 // of all channels; one channel
		}{
			{"normal", 1, 0, 0},
			{"tiny", 1e-4, 0, 0},
			{"huge", 1e15, 0, 0},
			{"mean of 100", 1, 100, 0},
			{"mean of 1e5", 1, 1e5, 0},
			{"mean of 100, tiny deviations", 1e-3, 100, 0},
			{"one channel of 12", 0.3, 0, 12},
			{"one channel of -300", 0.3, 0, -300},
			{"one channel of 3000", 0.3, 0, 3000},
		} {
			worst := 0.0
			for _, d := range []int{1, 2, 31, 32, 33, 64, 96, 256, 768, 1600} {
				for i := range 21 {
					x := randomRow(r, d, c.scale)
					for i := range x {
						x[i] += c.mean
					}
					x[d/3] = cmp.Or(c.outsized, x[d/3])
					n := Norm{randomRow(r, d, 1), randomRow(r, d, 1)}
					epsilon := []float64{layerNormEpsilon, 1e-12, 1e-3, 0}[i%4]
					worst = max(worst, layerNormError(k, x, n, epsilon))
				}
			}
			t.Logf("%s: largest error %.2f · 2^-24", c.name, worst)
			if !(worst <= 8) {
				t.Errorf("%s: error of %.2f · 2^-24 of the terms; 8 are allowed", c.name, worst)
			}
		}
	})
}

func TestLayerNormSpecialValues(t *testing.T) {
	eachRowKernel(t, func(t *testing.T, k *kernel) {
		for _, d := range []int{7, 64, 96} {
			n := Norm{make([]float32, d), make([]float32, d)}
			for i := range n.gain {
				n.gain[i], n.bias[i] = 1, float32(i)
			}
			y := make([]float32, d)
			for _, constant := range []float32{0, 1, -3, 1e10} {
				x := slices.Repeat([]float32{constant}, d)
				k.layerNorm(y, x, n, layerNormEpsilon)
				if !slices.Equal(y, n.bias) {
					t.Errorf("constant row of %d times %g: %v, want the bias", d, constant, y)
				}
				k.layerNorm(y, x, n, 0) // 0 divided by 0, as PyTorch has it
				if finite(y) {
					t.Errorf("constant row of %d times %g without epsilon: %v", d, constant, y)
				}
			}
			for _, bad := range []float32{nan32, inf32, -inf32} {
				for at := range d {
					x := make([]float32, d)
					x[at] = bad
					k.layerNorm(y, x, n, layerNormEpsilon)
					if slices.ContainsFunc(y, func(v float32) bool { return v == v }) {
						t.Fatalf("%g at %d of %d: %v, want NaN throughout", bad, at, d, y)
					}
				}
			}
			in := randomRow(rand.New(rand.NewSource(4)), d, 1)
			k.layerNorm(y, in, n, layerNormEpsilon)
			k.layerNorm(in, in, n, layerNormEpsilon)
			if !slices.Equal(y, in) {
				t.Errorf("width %d: in place the result differs", d)
			}
		}
	})
}

// layerNorm must refuse, not overrun, slices shorter than the row.
func TestLayerNormShortSlices(t *testing.T) {
	row := func(d int) []float32 { return make([]float32, d) }
	eachRowKernel(t, func(t *testing.T, k *kernel) {
		for _, n := range [][3]int{{32, 64, 64}, {64, 32, 64}, {64, 64, 32}} {
			y, gain, bias := row(n[0]), row(n[1]), row(n[2])
			if !faults(func() { k.layerNorm(y, row(64), Norm{gain, bias}, layerNormEpsilon) }) {
				t.Errorf("y, gain and bias of %v: no panic", n)
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
