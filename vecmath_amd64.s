#include "go_asm.h"
#include "textflag.h"

// GELU, softmax and layer norm with AVX2 and FMA: eight float32 at a time.
//
// How to read this. Y0 … Y15 are registers of eight float32 lanes. X0 … X15 are their lower halves;
// an instruction that ends in SS uses lane 0 only, as a scalar. Operands stand in the order source,
// source, destination, and a source may be memory:
//
//	VSUBPS      a, b, c    c = b − a        VDIVPS likewise c = b / a
//	VFMADD231PS a, b, c    c = a·b + c      rounded once, at the end, as are the next three
//	VFMADD213PS a, b, c    c = b·c + a
//	VFMSUB231PS a, b, c    c = a·b − c
//	VFMSUB213PS a, b, c    c = b·c − a
//
// ·constants+vectorConstants_one(SB) is the field one of the Go variable constants in
// vecmath_amd64.go.
//
// Powers of two are computed as by exp2 in vecmath.go: t = n + r, with n the integer nearest to t.
// Here n is found by adding "round", 1.5·2²³ + 127, to t: float32 numbers of that size are
// integers, so the sum is rounded to one, and its lowest bits are n + 127. Shifted left by 23 these
// are the bits of 2^n, from 0 for n = −127 to +Inf for n = 128.

// TAYLOR computes p = (2^r − 1) / r for |r| ≤ 1/2.
#define TAYLOR(r, p) \
	VMOVUPS     ·constants+vectorConstants_taylor7(SB), p; \
	VFMADD213PS ·constants+vectorConstants_taylor6(SB), r, p; \
	VFMADD213PS ·constants+vectorConstants_taylor5(SB), r, p; \
	VFMADD213PS ·constants+vectorConstants_taylor4(SB), r, p; \
	VFMADD213PS ·constants+vectorConstants_taylor3(SB), r, p; \
	VFMADD213PS ·constants+vectorConstants_taylor2(SB), r, p; \
	VFMADD213PS ·constants+vectorConstants_taylor1(SB), r, p

// SUMLANES adds the eight lanes of y, whose lower half is x, into lane 0 of x: ((0+4)+(2+6)) +
// ((1+5)+(3+7)).
#define SUMLANES(y, x, temp) \
	VEXTRACTF128 $1, y, temp; \
	VADDPS       temp, x, x; \
	VMOVHLPS     x, x, temp; \
	VADDPS       temp, x, x; \
	VMOVSHDUP    x, temp; \
	VADDSS       temp, x, x

// func geluTanhVectors(x []float32)
//
// gelu(x) = x / (1 + 2^t), t = x·(a + b·x²). An error in t is a relative error of 2^t, and t
// reaches 128: it needs 7 bits before the point and 26 after it, more than a float32 has. So x² and
// a + b·x² are each carried as a rounded number and what the rounding lost, which FMA gives
// exactly, and the large n is taken away from t before the small parts come in.
//
//	Y0  x
//	Y1  x within [geluLow, geluHigh]; beyond, the result is −0 or x whatever t is
//	Y2  x², rounded          later n, then 2^r rounded
//	Y3  what x² lost         later t + round, then 2^n
//	Y4  s = a + b·x² rounded later r
//	Y5  what s lost          later (2^r − 1) / r
//	Y6  1 + 2^t
//	Y12 a, Y13 b (high parts), Y14 round, Y15 one
TEXT ·geluTanhVectors(SB), NOSPLIT, $0-24
	MOVQ    x_base+0(FP), DI
	MOVQ    x_len+8(FP), CX
	VMOVUPS ·constants+vectorConstants_geluAHigh(SB), Y12
	VMOVUPS ·constants+vectorConstants_geluBHigh(SB), Y13
	VMOVUPS ·constants+vectorConstants_round(SB), Y14
	VMOVUPS ·constants+vectorConstants_one(SB), Y15
	TESTQ   CX, CX
	JZ      geluDone

geluLoop:
	VMOVUPS (DI), Y0
	VMAXPS  ·constants+vectorConstants_geluLow(SB), Y0, Y1
	VMINPS  ·constants+vectorConstants_geluHigh(SB), Y1, Y1

	VMULPS      Y1, Y1, Y2
	VMOVAPS     Y2, Y3
	VFMSUB231PS Y1, Y1, Y3   // x·x − fl(x²)
	VMOVAPS     Y12, Y4
	VFMADD231PS Y13, Y2, Y4  // s = a + b·fl(x²)
	VSUBPS      Y4, Y12, Y5
	VFMADD231PS Y13, Y2, Y5  // (a − s) + b·fl(x²)
	VFMADD231PS Y13, Y3, Y5  // + b·(what x² lost)
	VMOVUPS     ·constants+vectorConstants_geluALow(SB), Y3
	VFMADD231PS ·constants+vectorConstants_geluBLow(SB), Y2, Y3
	VADDPS      Y3, Y5, Y5   // + the low parts of a and b

	VMULPS      Y1, Y4, Y3
	VADDPS      Y14, Y3, Y3
	VSUBPS      Y14, Y3, Y2  // n
	VFMSUB213PS Y2, Y1, Y4
	VFMADD231PS Y1, Y5, Y4   // r = (x·s − n) + x·(what s lost)
	TAYLOR(Y4, Y5)

	// 1 + 2^n·2^r, with 2^r also as a rounded number and what it lost. 2^n may be +Inf, which must
	// not meet the lost part, whose sign may be negative: Inf − Inf would be NaN.
	VMOVAPS     Y15, Y2
	VFMADD231PS Y4, Y5, Y2   // 2^r = 1 + r·p
	VSUBPS      Y2, Y15, Y6
	VFMADD231PS Y4, Y5, Y6   // (1 − fl(2^r)) + r·p
	VPSLLD      $23, Y3, Y3  // 2^n
	VMINPS      ·constants+vectorConstants_largest(SB), Y3, Y1
	VFMADD213PS Y15, Y1, Y6
	VFMADD231PS Y3, Y2, Y6
	VDIVPS      Y6, Y0, Y0
	VMOVUPS     Y0, (DI)

	ADDQ $32, DI
	SUBQ $8, CX
	JNZ  geluLoop

geluDone:
	VZEROUPPER
	RET

// func geluExactVectors(x []float32)
//
// gelu(x) = x·Φ(x). With a = |x| and Φ(−a) = 2^t·Q(a), t = −a²·log2(e)/2, which is e^(−a²/2)·Q(a),
// both signs of x have
//
//	gelu(x) = max(x, 0) − a·2^t·Q(a)
//
// in which nothing cancels. Q falls smoothly from 1/2 like 1/a and is a quotient of two
// polynomials, Q = P/R, to 1.4e-8 of its value. t reaches −127, so a² is carried as a rounded
// number and what the rounding lost.
//
//	Y0  x
//	Y1  a
//	Y2  max(x, 0), later the result
//	Y3  a up to geluExactHigh, beyond which 2^t is 0
//	Y4  a², rounded
//	Y5  what a² lost
//	Y6  t + round, then a·2^n
//	Y7  n, then r
//	Y8  (2^r − 1) / r, then 2^r − 1
//	Y9  P        Y10 R
//	Y11 −0, Y12 all bits but the sign, Y13 −log2(e)/2 (high part), Y14 round, Y15 one
TEXT ·geluExactVectors(SB), NOSPLIT, $0-24
	MOVQ    x_base+0(FP), DI
	MOVQ    x_len+8(FP), CX
	VMOVUPS ·constants+vectorConstants_negativeZero(SB), Y11
	VPCMPEQD Y12, Y12, Y12
	VPSRLD  $1, Y12, Y12
	VMOVUPS ·constants+vectorConstants_halfLog2eHigh(SB), Y13
	VMOVUPS ·constants+vectorConstants_round(SB), Y14
	VMOVUPS ·constants+vectorConstants_one(SB), Y15
	TESTQ   CX, CX
	JZ      exactDone

exactLoop:
	VMOVUPS (DI), Y0
	VANDPS  Y0, Y12, Y1
	VMAXPS  Y0, Y11, Y2 // NaN stays
	VMINPS  ·constants+vectorConstants_geluExactHigh(SB), Y1, Y3

	VMULPS      Y3, Y3, Y4
	VMOVAPS     Y4, Y5
	VFMSUB231PS Y3, Y3, Y5   // a·a − fl(a²)
	VMULPS      Y13, Y4, Y6
	VADDPS      Y14, Y6, Y6
	VSUBPS      Y14, Y6, Y7  // n
	VFMSUB231PS Y13, Y4, Y7
	VFMADD231PS ·constants+vectorConstants_halfLog2eLow(SB), Y4, Y7
	VFMADD231PS Y13, Y5, Y7  // r = t − n
	TAYLOR(Y7, Y8)
	VMULPS      Y7, Y8, Y8   // 2^r − 1
	VPSLLD      $23, Y6, Y6  // 2^n
	VMULPS      Y1, Y6, Y6   // a·2^n, exact; a not cut off: with an infinity ∞·0 makes NaN

	VMOVUPS     ·constants+vectorConstants_geluP4(SB), Y9
	VMOVUPS     ·constants+vectorConstants_geluR5(SB), Y10
	VFMADD213PS ·constants+vectorConstants_geluP3(SB), Y3, Y9
	VFMADD213PS ·constants+vectorConstants_geluR4(SB), Y3, Y10
	VFMADD213PS ·constants+vectorConstants_geluP2(SB), Y3, Y9
	VFMADD213PS ·constants+vectorConstants_geluR3(SB), Y3, Y10
	VFMADD213PS ·constants+vectorConstants_geluP1(SB), Y3, Y9
	VFMADD213PS ·constants+vectorConstants_geluR2(SB), Y3, Y10
	VFMADD213PS ·constants+vectorConstants_geluP0(SB), Y3, Y9
	VFMADD213PS ·constants+vectorConstants_geluR1(SB), Y3, Y10
	VFMADD213PS Y15, Y3, Y10

	VFMADD231PS Y9, Y8, Y9   // 2^r·P
	VDIVPS      Y10, Y9, Y9
	VFNMADD231PS Y9, Y6, Y2
	VMOVUPS     Y2, (DI)

	ADDQ $32, DI
	SUBQ $8, CX
	JNZ  exactLoop

exactDone:
	VZEROUPPER
	RET

// EXP replaces x by exp(x − max), with max in Y0 and log2(e), high part, round and one in Y12, Y14,
// Y15.
#define EXP(x, n, r, p) \
	VSUBPS      Y0, x, x; \
	VMAXPS      ·constants+vectorConstants_softmaxLow(SB), x, x; \
	VMULPS      Y12, x, n; \
	VADDPS      Y14, n, n; \
	VSUBPS      Y14, n, r; \
	VFMSUB231PS Y12, x, r; \
	VFMADD231PS ·constants+vectorConstants_log2eLow(SB), x, r; \
	TAYLOR(r, p); \
	VFMADD213PS Y15, r, p; \
	VPSLLD      $23, n, n; \
	VMULPS      n, p, x

// func softmaxAVX2(x []float32)
//
// Three passes over the row: the maximum, the exponentials and their sum, the division by the sum.
// Each takes whole vectors first, until CX reaches the number of whole elements in R8, and then the
// last 1 … 7 elements under a mask, which keeps loads and stores inside the row.
//
//	DI  x                    CX  index of the next element
//	R8  elements in whole vectors    R9  elements after them, 0 … 7
//	Y0  max                  Y1  sum
//	Y2  sum of 0·x: 0, or NaN where an x is NaN or infinite, and then the sum becomes NaN too
//	Y3 … Y6  the vector at hand and EXP's temporaries
//	Y11 the mask of the last elements, Y12 … Y15 constants
TEXT ·softmaxAVX2(SB), NOSPLIT, $0-24
	MOVQ x_base+0(FP), DI
	MOVQ x_len+8(FP), R9
	MOVQ R9, R8
	ANDQ $~7, R8
	SUBQ R8, R9

	LEAQ    ·constants+vectorConstants_mask(SB), AX
	MOVQ    $8, BX
	SUBQ    R9, BX
	VMOVUPS (AX)(BX*4), Y11
	VMOVUPS ·constants+vectorConstants_log2eHigh(SB), Y12
	VMOVUPS ·constants+vectorConstants_lowest(SB), Y13
	VMOVUPS ·constants+vectorConstants_round(SB), Y14
	VMOVUPS ·constants+vectorConstants_one(SB), Y15

	VMOVAPS Y13, Y0
	VXORPS  Y1, Y1, Y1
	VXORPS  Y2, Y2, Y2
	VXORPS  Y4, Y4, Y4
	XORQ    CX, CX
	JMP     maxNext

maxLoop:
	VMOVUPS     (DI)(CX*4), Y3
	VFMADD231PS Y3, Y4, Y2
	VMAXPS      Y3, Y0, Y0
	ADDQ        $8, CX

maxNext:
	CMPQ  CX, R8
	JLT   maxLoop
	TESTQ R9, R9
	JZ    maxDone

	VMASKMOVPS  (DI)(CX*4), Y11, Y3
	VFMADD231PS Y3, Y4, Y2
	VBLENDVPS   Y11, Y3, Y13, Y3 // lanes outside the row: −MaxFloat32
	VMAXPS      Y3, Y0, Y0

maxDone:
	VEXTRACTF128 $1, Y0, X3
	VMAXPS       X3, X0, X0
	VMOVHLPS     X0, X0, X3
	VMAXPS       X3, X0, X0
	VMOVSHDUP    X0, X3
	VMAXSS       X3, X0, X0
	VBROADCASTSS X0, Y0

	XORQ CX, CX
	JMP  expNext

expLoop:
	VMOVUPS (DI)(CX*4), Y3
	EXP(Y3, Y4, Y5, Y6)
	VMOVUPS Y3, (DI)(CX*4)
	VADDPS  Y3, Y1, Y1
	ADDQ    $8, CX

expNext:
	CMPQ  CX, R8
	JLT   expLoop
	TESTQ R9, R9
	JZ    expDone

	VMASKMOVPS (DI)(CX*4), Y11, Y3
	EXP(Y3, Y4, Y5, Y6)
	VANDPS     Y11, Y3, Y3 // lanes outside the row: 0
	VMASKMOVPS Y3, Y11, (DI)(CX*4)
	VADDPS     Y3, Y1, Y1

expDone:
	VADDPS       Y2, Y1, Y1
	SUMLANES(Y1, X1, X3)
	VDIVSS       X1, X15, X1
	VBROADCASTSS X1, Y1

	XORQ CX, CX
	JMP  divideNext

divideLoop:
	VMULPS  (DI)(CX*4), Y1, Y3
	VMOVUPS Y3, (DI)(CX*4)
	ADDQ    $8, CX

divideNext:
	CMPQ  CX, R8
	JLT   divideLoop
	TESTQ R9, R9
	JZ    divideDone

	VMASKMOVPS (DI)(CX*4), Y11, Y3
	VMULPS     Y1, Y3, Y3
	VMASKMOVPS Y3, Y11, (DI)(CX*4)

divideDone:
	VZEROUPPER
	RET

// DEVIATION takes eight elements: d = x − mean, sum += d, squares += d².
#define DEVIATION(offset, d, sum, squares) \
	VMOVUPS     offset(SI)(CX*4), d; \
	VSUBPS      Y14, d, d; \
	VADDPS      d, sum, sum; \
	VFMADD231PS d, d, squares

// SUMFOUR adds up four registers of partial sums into a, then its lanes into lane 0.
#define SUMFOUR(a, b, c, d, x, temp) \
	VADDPS b, a, a; \
	VADDPS d, c, c; \
	VADDPS c, a, a; \
	SUMLANES(a, x, temp)

// func layerNormVectors(y, x, gain, bias []float32, epsilon float32)
//
// Three passes: the mean; the deviations from it and their squares; the result. The mean as rounded
// to a float32 is off by a little, δ. The second pass measures it, since the deviations then sum to
// d·δ in place of 0, and both the variance and the result are corrected by it (the corrected
// two-pass algorithm; Chan, Golub and LeVeque, 1983, "Algorithms for Computing the Sample
// Variance"). Sums run in four registers at once, because an addition takes four cycles but two can
// start in each.
//
//	DI y, SI x, R8 gain, R9 bias, DX width, CX index of the next element
//	Y0 … Y3   partial sums, of x and then of x − mean
//	Y4 … Y7   partial sums of (x − mean)²
//	Y8 … Y11  the vectors at hand
//	Y12 0, Y13 the width, then 1 / √(variance + ε), Y14 mean, Y15 δ
TEXT ·layerNormVectors(SB), NOSPLIT, $0-100
	MOVQ y_base+0(FP), DI
	MOVQ x_base+24(FP), SI
	MOVQ x_len+32(FP), DX
	MOVQ gain_base+48(FP), R8
	MOVQ bias_base+72(FP), R9

	VXORPS      Y12, Y12, Y12
	VCVTSI2SSQ  DX, X12, X13
	VXORPS      Y0, Y0, Y0
	VXORPS      Y1, Y1, Y1
	VXORPS      Y2, Y2, Y2
	VXORPS      Y3, Y3, Y3
	XORQ        CX, CX

meanLoop:
	VADDPS (SI)(CX*4), Y0, Y0
	VADDPS 32(SI)(CX*4), Y1, Y1
	VADDPS 64(SI)(CX*4), Y2, Y2
	VADDPS 96(SI)(CX*4), Y3, Y3
	ADDQ   $32, CX
	CMPQ   CX, DX
	JLT    meanLoop

	SUMFOUR(Y0, Y1, Y2, Y3, X0, X8)
	VDIVSS       X13, X0, X0
	VBROADCASTSS X0, Y14

	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7
	XORQ   CX, CX

deviationLoop:
	DEVIATION(0, Y8, Y0, Y4)
	DEVIATION(32, Y9, Y1, Y5)
	DEVIATION(64, Y10, Y2, Y6)
	DEVIATION(96, Y11, Y3, Y7)
	ADDQ $32, CX
	CMPQ CX, DX
	JLT  deviationLoop

	SUMFOUR(Y0, Y1, Y2, Y3, X0, X8)
	SUMFOUR(Y4, Y5, Y6, Y7, X4, X8)
	VDIVSS       X13, X0, X0
	VBROADCASTSS X0, Y15                // δ
	VDIVSS       X13, X4, X4
	VFNMADD231SS X0, X0, X4             // variance = mean of squares − δ²
	VMAXSS       X4, X12, X4            // not below 0 by rounding; NaN stays
	VADDSS       epsilon+96(FP), X4, X5
	VSQRTSS      X5, X5, X5
	VMOVSS       ·constants+vectorConstants_one(SB), X13
	VDIVSS       X5, X13, X13
	VFMADD231SS  X4, X12, X13           // + 0·variance: NaN, not 0, if the squares overflowed
	VBROADCASTSS X13, Y13

	XORQ CX, CX

normLoop:
	VMOVUPS     (SI)(CX*4), Y8
	VSUBPS      Y14, Y8, Y8
	VSUBPS      Y15, Y8, Y8
	VMULPS      Y13, Y8, Y8
	VMOVUPS     (R8)(CX*4), Y9
	VFMADD213PS (R9)(CX*4), Y8, Y9
	VMOVUPS     Y9, (DI)(CX*4)
	ADDQ        $8, CX
	CMPQ        CX, DX
	JLT         normLoop

	VZEROUPPER
	RET
