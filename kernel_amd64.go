package main

import "math"

// cpuid executes the CPUID instruction; xgetbv reads extended control register 0.
func cpuid(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)
func xgetbv() uint32

// detectVectors asks the processor for its vector instructions and the operating system, through
// extended control register 0, whether it saves the registers they use when it switches between
// threads: without that, another program would overwrite our sums. (Intel 64 and IA-32 Software
// Developer's Manual, volume 1, sections 14.3 and 15.2.) avx2 stands for AVX2, FMA and F16C
// together, avx512 for the foundation set (AVX512F) on top of them.
func detectVectors() (avx2, avx512 bool) {
	const (
		fma, osxsave, avx, f16c = 1 << 12, 1 << 27, 1 << 28, 1 << 29 // leaf 1, ECX
		leaf7AVX2, leaf7AVX512F = 1 << 5, 1 << 16                    // leaf 7, EBX
		savesYMM                = 1<<1 | 1<<2                        // XCR0: SSE and AVX state
		savesZMM                = savesYMM | 1<<5 | 1<<6 | 1<<7      // masks, upper halves, Z16–Z31
	)
	leaves, _, _, _ := cpuid(0, 0)
	_, _, ecx, _ := cpuid(1, 0)
	if need := uint32(fma | osxsave | avx | f16c); leaves < 7 || ecx&need != need {
		return false, false
	}
	saved := xgetbv()
	_, ebx, _, _ := cpuid(7, 0)
	avx2 = saved&savesYMM == savesYMM && ebx&leaf7AVX2 != 0
	avx512 = avx2 && saved&savesZMM == savesZMM && ebx&leaf7AVX512F != 0
	return avx2, avx512
}

func init() { vectorKernels = avxKernels }

// avxKernels lists the kernels of this processor. The tiles are explained in matmul_amd64.s, the
// other sizes are measured. A row block of packed x (for AVX-512 616 · 768 values in rows of 16 for
// 14, 2.2 MB) may be a little larger than the second-level cache, because it is read in order and
// fetched ahead, and the larger it is the less often w is read. A strip of packed w is 0.6 MB, for
// AVX2, which older processors with less cache have, half of that.
//
// With AVX-512 the functions of single rows are AVX2's too: with 16 lanes in place of 8 GELU is 1.3
// times as fast, less than 1 % of a sweep and not worth a second kernel.
func avxKernels() (all []*kernel) {
	avx2 := &kernel{
		name: "avx2", rows: 6, cols: 16, stride: 6, strip: 192, rowBlock: 606, depth: 384,
		tile: tileAVX2, packPanels: packPanelsAVX2, turn: transposeAVX2,
		activate: [3]func(x []float32){geluTanh: byVectors(geluTanhVectors),
			geluExact: byVectors(geluExactVectors), relu: reluGo},
		softmax: softmaxAVX2, layerNorm: layerNormAVX2,
		widenF16:  widenByVectors(widenF16Vectors, widenF16Go),
		widenBF16: widenByVectors(widenBF16Vectors, widenBF16Go),
	}
	hasAVX2, hasAVX512 := detectVectors()
	if hasAVX512 {
		u := *avx2
		u.name, u.rows, u.cols, u.stride = "avx512", 14, 32, 16
		u.strip, u.rowBlock, u.depth = 192, 616, 768
		u.tile, u.packs, u.packPanels = tileAVX512, true, packPanelsAVX512
		all = append(all, &u)
	}
	if hasAVX2 {
		all = append(all, avx2)
	}
	return all
}

//go:noescape
func tileAVX512(t *tile)

//go:noescape
func tileAVX2(t *tile)

//go:noescape
func packPanelsAVX512(dst *float32, stride int, src *float32, ld, rows, panels, ahead int)

//go:noescape
func packPanelsAVX2(dst *float32, stride int, src *float32, ld, rows, panels, ahead int)

//go:noescape
func transposeAVX2(dst *float32, ldd int, src *float32, lds, fours, eights int)

// widenByVectors writes 16-bit numbers as float32, eight at a time as far as there are eight.
func widenByVectors(vectors, plain func(dst []float32, src []uint16)) func([]float32, []uint16) {
	return func(dst []float32, src []uint16) {
		whole := len(src) &^ 7
		vectors(dst[:whole], src)
		plain(dst[whole:], src[whole:])
	}
}

// widenF16Vectors and widenBF16Vectors write as many numbers as dst has, a multiple of 8.
//
//go:noescape
func widenF16Vectors(dst []float32, src []uint16)

//go:noescape
func widenBF16Vectors(dst []float32, src []uint16)

// byVectors applies a function of whole vectors to a row of any length.
func byVectors(f func(x []float32)) func(x []float32) {
	return func(x []float32) {
		whole := len(x) &^ 7
		f(x[:whole])
		if tail := x[whole:]; len(tail) > 0 {
			var vector [8]float32
			copy(vector[:], tail)
			f(vector[:])
			copy(tail, vector[:])
		}
	}
}

// geluTanhVectors is GELU for a length that is a multiple of 8; geluTanhGo has the formula. The
// error is at most 2 ulp of the result. Results below 2^−124 in size, where x < −10, may come out
// as −0.
//
//go:noescape
func geluTanhVectors(x []float32)

// geluExactVectors is GELU in its exact form; geluExactGo has the formula. The error is at most 4
// ulp of the result. Results below 2^−124 in size, where x < −12, may come out as −0.
//
//go:noescape
func geluExactVectors(x []float32)

// softmaxAVX2 turns a row of scores into probabilities; softmaxGo has the formula. It adds the
// terms in eight partial sums, element i to sum i mod 8, and those in a fixed tree, so the order
// depends on nothing but the length. A score more than 87.7 below the row's largest gets the
// probability 0.
//
//go:noescape
func softmaxAVX2(x []float32)

// layerNormAVX2 normalises the row x into y; layerNormGo has the formula. The row gives NaN if its
// squares overflow float32. Widths that the vectors do not take are left to the plain version:
// every GPT-2 is a multiple of 64 wide.
func layerNormAVX2(y, x []float32, n Norm, epsilon float64) {
	d := len(x)
	if d == 0 || d%32 != 0 {
		layerNormGo(y, x, n, epsilon)
		return
	}
	layerNormVectors(y[:d], x, n.gain[:d], n.bias[:d], float32(epsilon))
}

// layerNormVectors takes slices of one length, a multiple of 32 and not 0.
//
//go:noescape
func layerNormVectors(y, x, gain, bias []float32, epsilon float32)

// lanes is one number repeated in each lane of a 256-bit register.
type lanes [8]float32

func repeat(v float64) (l lanes) {
	for i := range l {
		l[i] = float32(v)
	}
	return l
}

// vectorConstants holds the numbers that the kernels load. The assembler knows the offset of each
// field by its name.
type vectorConstants struct {
	one, taylor1, taylor2, taylor3, taylor4, taylor5, taylor6, taylor7 lanes

	round   lanes // added to t it leaves round(t) + 127 in the low bits: an exponent
	largest lanes // 2^127, the largest power of two

	geluLow, geluHigh                        lanes
	geluAHigh, geluALow, geluBHigh, geluBLow lanes

	geluExactHigh, negativeZero            lanes
	halfLog2eHigh, halfLog2eLow            lanes // of −log2(e)/2
	geluP0, geluP1, geluP2, geluP3, geluP4 lanes
	geluR1, geluR2, geluR3, geluR4, geluR5 lanes

	log2eHigh, log2eLow lanes
	lowest              lanes // −MaxFloat32
	softmaxLow          lanes

	mask [16]int32 // 8 lanes on, 8 lanes off: 32 bytes from lane 8−n select the first n
}

// A product that needs more than the 24 bits of a float32 has its constant in two parts, High +
// Low. geluAHigh has only 16 significant bits, so that the sum geluAHigh + geluBHigh·x² can be
// taken apart again exactly.
const (
	geluAHigh = -37719.0 / 16384
	geluBHigh = float32(geluB)
	log2eHigh = float32(math.Log2E)
)

var constants = vectorConstants{
	one: repeat(1), taylor1: repeat(taylor1), taylor2: repeat(taylor2), taylor3: repeat(taylor3),
	taylor4: repeat(taylor4), taylor5: repeat(taylor5), taylor6: repeat(taylor6),
	taylor7: repeat(taylor7), round: repeat(3<<22 + 127), largest: repeat(1 << 127),

	// GELU's power of two reaches 2^128, which is +Inf, just before the low end, and 2^−126 at the
	// high end.
	geluLow: repeat(-10.0625), geluHigh: repeat(10),
	geluAHigh: repeat(geluAHigh), geluALow: repeat(geluA - geluAHigh),
	geluBHigh: repeat(float64(geluBHigh)), geluBLow: repeat(geluB - float64(geluBHigh)),

	// From here on −a²·log2(e)/2 rounds to −127, whose power of two has the exponent bits of 0.
	geluExactHigh: repeat(13.25), negativeZero: repeat(math.Copysign(0, -1)),
	halfLog2eHigh: repeat(float64(-log2eHigh / 2)),
	halfLog2eLow:  repeat((float64(log2eHigh) - math.Log2E) / 2),

	// Q(a) = e^(a²/2)·Φ(−a) = (P0 + P1·a + … + P4·a⁴) / (1 + R1·a + … + R5·a⁵). The coefficients,
	// all of them float32 numbers, are a least-squares fit of the relative error whose weights were
	// raised, again and again, where the error was largest (Lawson's algorithm), up to a = 13.3.
	geluP0: repeat(0.5), geluP1: repeat(0.43500346), geluP2: repeat(0.18077856),
	geluP3: repeat(0.039800048), geluP4: repeat(0.0039912383),
	geluR1: repeat(1.6678917), geluR2: repeat(1.1923386), geluR3: repeat(0.46298134),
	geluR4: repeat(0.09977142), geluR5: repeat(0.010004406),

	log2eHigh: repeat(float64(log2eHigh)), log2eLow: repeat(math.Log2E - float64(log2eHigh)),
	lowest:     repeat(-math.MaxFloat32),
	softmaxLow: repeat(-88), // 2^−127: its exponent bits are those of 0

	mask: [16]int32{-1, -1, -1, -1, -1, -1, -1, -1},
}
