package main

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"
)

// The parts of the forward pass that are not matrix products: the activations of the MLP, softmax
// and layer norm, sums of rows, 16-bit numbers, and how logits are read out (logSumExp, topK).
//
// What a name in Go ends is the definition, in float64 inside, and runs on every machine. A kernel
// (kernel.go) may have a vector version, which computes the same in float32. The two may differ in
// the last bits. Each gives the same bits on every run, and an element of an activation does not
// depend on its place in the row.
//
// A NaN or an infinity in a row never comes out as an ordinary number (+Inf may stay +Inf in an
// activation), so that broken weights are noticed further down.

// Activation is the function between the two products of an MLP.
type Activation uint8

const (
	geluTanh  Activation = iota // GPT-2's: the tanh form of GELU
	geluExact                   // GELU by the normal distribution itself
	relu
)

// GELU's sigmoid has the exponent −2u = −2·√(2/π)·(x + 0.044715·x³). In base 2 that is x·(geluA +
// geluB·x²).
const (
	geluA = -2 * math.Log2E * math.Sqrt2 / math.SqrtPi
	geluB = 0.044715 * geluA
)

// geluTanhGo applies the Gaussian error linear unit to every element of x, in the tanh form that
// GPT-2 uses (Hendrycks and Gimpel, 2016, "Gaussian Error Linear Units"):
//
//	gelu(x) = x/2 · (1 + tanh(u)) = x / (1 + exp(−2u)),   u = √(2/π)·(x + 0.044715·x³)
//
// The second form is exact where 1 + tanh(u) would cancel. The error is below 1 ulp of the result.
// NaN stays NaN, +Inf stays +Inf, and −Inf gives NaN, as 0·∞ does in the formula.
func geluTanhGo(x []float32) {
	for i, v := range x {
		f := float64(v)
		x[i] = float32(f / (1 + exp2(f*(geluA+geluB*f*f))))
	}
}

// geluExactGo applies GELU to every element of x as it is defined (Hendrycks and Gimpel, 2016): x
// times the share of a normal distribution that lies below x,
//
//	gelu(x) = x·Φ(x) = x/2 · erfc(−x/√2)
//
// NaN stays NaN, +Inf stays +Inf, and −Inf gives NaN, as −∞·0 does in the formula.
func geluExactGo(x []float32) {
	for i, v := range x {
		f := float64(v)
		x[i] = float32(f / 2 * math.Erfc(-f/math.Sqrt2))
	}
}

// reluGo applies max(x, 0) to every element of x. What is not finite, a sum gone wrong, gives NaN.
func reluGo(x []float32) {
	for i, v := range x {
		x[i] = max(v, 0) + v*0
	}
}

// softmaxGo turns a row of scores into probabilities: exp(x − max) / Σ exp(x − max), summed from
// left to right. Subtracting the largest score changes nothing in the quotient and keeps exp from
// overflowing. If any score is NaN or infinite, every probability is NaN.
func softmaxGo(x []float32) {
	largest := float32(-math.MaxFloat32)
	sum := 0.0
	for _, v := range x {
		if v > largest {
			largest = v
		}
		sum += float64(v * 0) // 0, or NaN where v is not finite
	}
	for i, v := range x {
		e := exp2((float64(v) - float64(largest)) * math.Log2E)
		x[i] = float32(e)
		sum += e
	}
	for i, e := range x {
		x[i] = float32(float64(e) / sum)
	}
}

// Norm is a layer norm's gain and bias, [d] each.
type Norm struct {
	gain, bias []float32
}

// layerNormEpsilon is GPT-2's ε, which keeps a constant row from being divided by zero.
const layerNormEpsilon = 1e-5

// layerNormGo normalises one row (Ba, Kiros and Hinton, 2016, "Layer Normalization"):
//
//	y = (x − mean) / √(variance + ε) · gain + bias
//
// with the biased variance, the mean of (x − mean)². x, y, gain and bias are [d]; y may be x. The
// mean is taken first and the variance in a second pass, which does not cancel where the mean is
// large.
func layerNormGo(y, x []float32, n Norm, epsilon float64) {
	mean, variance := 0.0, 0.0
	for _, v := range x {
		mean += float64(v)
	}
	mean /= float64(len(x))
	for _, v := range x {
		d := float64(v) - mean
		variance += d * d
	}
	variance /= float64(len(x))
	scale := 1 / math.Sqrt(variance+epsilon)
	for i, v := range x {
		y[i] = float32((float64(v)-mean)*scale*float64(n.gain[i]) + float64(n.bias[i]))
	}
}

// addChunk is how many values a goroutine takes at a time.
const addChunk = 1 << 12

// addTo is y += x. It reports whether the sums are finite: none a NaN or an infinity.
func addTo(y, x []float32) (ok bool) {
	var broken atomic.Bool
	eachChunk(len(y), addChunk, func(lo, hi int) {
		carried, sums := uint32(0), y[lo:hi]
		for i, v := range x[lo:hi] {
			sums[i] += v
			carried |= carry(sums[i])
		}
		if carried >= signBit {
			broken.Store(true)
		}
	})
	return !broken.Load()
}

// finite reports whether no value is a NaN or an infinity.
func finite(x []float32) bool {
	var broken atomic.Bool
	eachChunk(len(x), addChunk, func(lo, hi int) {
		carried := uint32(0)
		for _, v := range x[lo:hi] {
			carried |= carry(v)
		}
		if carried >= signBit {
			broken.Store(true)
		}
	})
	return !broken.Load()
}

// signBit is the uppermost bit of a number.
const signBit = 1 << 31

// carry adds 1 to a number's exponent, which carries into the sign bit where all bits of the
// exponent are set: in a NaN or an infinity.
func carry(v float32) uint32 { return math.Float32bits(v)&^signBit + 1<<23 }

// logSumExp returns log Σ exp(x), so that exp(x[i] − logSumExp(x)) is the probability of logit i.
// The sum runs in float64 from left to right; the absolute error is below 1e-8 plus a rounding of
// the result. A logit of −Inf is a probability of zero. The result is −Inf for an empty row, and
// NaN if x holds a NaN or +Inf or nothing but −Inf.
func logSumExp(x []float32) float64 {
	largest := float32(math.Inf(-1))
	for _, v := range x {
		if v > largest {
			largest = v
		}
	}
	sum := 0.0
	for _, v := range x {
		sum += exp2((float64(v) - float64(largest)) * math.Log2E)
	}
	return float64(largest) + math.Log(sum)
}

// topK returns the indices of the k largest elements of x, largest first, all of them if k exceeds
// len(x). Equal elements stand in the order of their indices and NaN comes after every number.
//
// Candidates are collected until there are 2k of them, then all but the k best are dropped; from
// then on an element that does not beat the worst of those is passed over with one comparison.
func topK(x []float32, k int) []int {
	k = min(k, len(x))
	if k <= 0 {
		return nil
	}
	best := make([]int, 0, 2*k)
	keepBest := func() {
		slices.SortFunc(best, func(i, j int) int {
			// cmp.Compare puts NaN below every number, so here it comes last.
			return cmp.Or(cmp.Compare(x[j], x[i]), cmp.Compare(i, j))
		})
		best = best[:k]
	}
	full, worst := false, float32(0) // of the k best, once there are as many
	for i, v := range x {
		if full && (v <= worst || v != v) {
			continue
		}
		if best = append(best, i); len(best) == cap(best) {
			keepBest()
			full, worst = true, x[best[k-1]]
		}
	}
	keepBest()
	return best
}

// The Taylor series of 2^r = exp(r·ln 2) has the coefficients (ln 2)^i / i!. Broken off after r⁷ it
// is within 8e-9 of 2^r, relative, for |r| ≤ 1/2: about a tenth of a float32 ulp.
const (
	taylor1 = math.Ln2
	taylor2 = taylor1 * math.Ln2 / 2
	taylor3 = taylor2 * math.Ln2 / 3
	taylor4 = taylor3 * math.Ln2 / 4
	taylor5 = taylor4 * math.Ln2 / 5
	taylor6 = taylor5 * math.Ln2 / 6
	taylor7 = taylor6 * math.Ln2 / 7
)

// exp2 returns 2^t to within 8e-9 of its value, faster than math.Exp2, which is exact to the last
// bit. The result is +Inf from t = 1023.5 on; a t below −1022 counts as −1022. NaN stays NaN.
//
// t is split into the nearest integer n and the rest r. Adding round makes the sum so large that a
// float64 has no bits left after the point: it is rounded to an integer, whose lowest bits are n +
// 1023. Shifted to the top of a float64 these are the bits of 2^n. 2^r comes from the Taylor
// series.
func exp2(t float64) float64 {
	const round = 3<<51 + 1023
	if t > 1024 {
		t = 1024
	} else if t < -1022 {
		t = -1022
	}
	sum := t + round
	r := t - (sum - round)
	power := 1 + r*(taylor1+r*(taylor2+r*(taylor3+r*(taylor4+r*(taylor5+r*(taylor6+r*taylor7))))))
	return power * math.Float64frombits(math.Float64bits(sum)<<52)
}

// widenF16 returns the value of an F16 bit pattern. Every F16 value is also a float32, so nothing
// is rounded.
func widenF16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exponent, fraction := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 0: // zero and subnormal: fraction · 2⁻²⁴
		return math.Float32frombits(sign | math.Float32bits(float32(fraction)*0x1p-24))
	case 0x1f: // infinity, or not a number, made a quiet one as by the processor's own conversion
		if fraction != 0 {
			fraction |= 0x200
		}
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}

// widenBF16 returns the value of a bfloat16, which is the upper half of a float32.
func widenBF16(bits uint16) float32 { return math.Float32frombits(uint32(bits) << 16) }

// widenF16Go and widenBF16Go write 16-bit numbers as float32.
func widenF16Go(dst []float32, src []uint16) {
	for i, h := range src {
		dst[i] = widenF16(h)
	}
}

func widenBF16Go(dst []float32, src []uint16) {
	for i, h := range src {
		dst[i] = widenBF16(h)
	}
}
