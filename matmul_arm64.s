#include "textflag.h"
#include "go_asm.h"

// The micro-kernel computes a tile of 8 rows × 12 columns: to = from + a·b + bias. The tile's sums
// stay in vector registers from the first step over k to the last. A step takes one column of a (8
// values) and one row of b (12 values), and multiplies each value of the one with each value of the
// other. A tile of fewer rows is computed like a whole one, and only its rows are stored.
//
//   V0, V1    the column of a, 4 values in a register
//   V2 … V4   the row of b
//   V8 … V31  the sums: row i is in V(8+3i), V(9+3i), V(10+3i)
//
// A processor starts two to four multiply-adds in a cycle and each takes about four cycles, so 16
// sums must be under way at once: 24 are. A step of 24 multiply-adds loads only 5 registers.
//
//   R0 the tile's description    R1 its rows              R2 bytes from one of them to the next
//   R3 the column of a           R4 the row of b          R6 steps left
//   R8 a row of the tile in memory                        R9 rows left

// FMLA adds n times value i of m to d: d += n·m[i]. FADD adds n to d. Go's assembler has no names
// for these two, so they are given as numbers (Arm Architecture Reference Manual, "FMLA (by
// element)" and "FADD (vector)"), and so are their registers.
#define FMLA(d, n, m, i) WORD $(0x4f801000 | ((i)&1)<<21 | ((i)>>1)<<11 | (m)<<16 | (n)<<5 | (d))
#define FADD(d, n) WORD $(0x4e20d400 | (n)<<16 | (d)<<5 | (d))

// ROW adds value i of register a times the row of b to the sums of one row.
#define ROW(s0, s1, s2, a, i) \
	FMLA(s0, 2, a, i); \
	FMLA(s1, 3, a, i); \
	FMLA(s2, 4, a, i)

#define STEP \
	VLD1.P 32(R3), [V0.S4, V1.S4]; \
	VLD1.P 48(R4), [V2.S4, V3.S4, V4.S4]; \
	ROW(8, 9, 10, 0, 0); \
	ROW(11, 12, 13, 0, 1); \
	ROW(14, 15, 16, 0, 2); \
	ROW(17, 18, 19, 0, 3); \
	ROW(20, 21, 22, 1, 0); \
	ROW(23, 24, 25, 1, 1); \
	ROW(26, 27, 28, 1, 2); \
	ROW(29, 30, 31, 1, 3)

#define ZERO(v0, v1, v2, n0, n1, n2) \
	VEOR v0.B16, v0.B16, v0.B16; \
	VEOR v1.B16, v1.B16, v1.B16; \
	VEOR v2.B16, v2.B16, v2.B16

// LOAD and STORE go down the rows of the tile in memory and leave after the last.
#define LOAD(v0, v1, v2, n0, n1, n2) \
	VLD1 (R8), [v0.S4, v1.S4, v2.S4]; \
	ADD  R2, R8; \
	SUB  $1, R9; \
	CBZ  R9, begin

#define STORE(v0, v1, v2, n0, n1, n2) \
	VST1 [v0.S4, v1.S4, v2.S4], (R8); \
	ADD  R2, R8; \
	SUB  $1, R9; \
	CBZ  R9, done

#define BIAS(v0, v1, v2, n0, n1, n2) \
	FADD(n0, 2); \
	FADD(n1, 3); \
	FADD(n2, 4)

#define EACH(DO) \
	DO(V8, V9, V10, 8, 9, 10); \
	DO(V11, V12, V13, 11, 12, 13); \
	DO(V14, V15, V16, 14, 15, 16); \
	DO(V17, V18, V19, 17, 18, 19); \
	DO(V20, V21, V22, 20, 21, 22); \
	DO(V23, V24, V25, 23, 24, 25); \
	DO(V26, V27, V28, 26, 27, 28); \
	DO(V29, V30, V31, 29, 30, 31)

// func tileNEON(t *tile)
TEXT ·tileNEON(SB), NOSPLIT, $0-8
	MOVD t+0(FP), R0
	MOVD tile_rows(R0), R1
	MOVD tile_ld(R0), R2
	LSL  $2, R2
	EACH(ZERO)
	MOVD tile_from(R0), R8
	MOVD R1, R9
	CBZ  R8, begin
	EACH(LOAD)

begin:
	MOVD tile_a(R0), R3
	MOVD tile_b(R0), R4
	MOVD tile_k(R0), R6

step:
	STEP
	SUB  $1, R6
	CBNZ R6, step

	MOVD tile_bias(R0), R8
	CBZ  R8, biased
	VLD1 (R8), [V2.S4, V3.S4, V4.S4]
	EACH(BIAS)

biased:
	MOVD tile_to(R0), R8
	MOVD R1, R9
	EACH(STORE)

done:
	RET

// func transposeNEON(dst *float32, ldd int, src *float32, lds, fours, eights int)
//
// Four rows of src are taken four columns at a time. Taking the even (TRN1) or odd (TRN2) values of
// two registers in turn, first single values and then pairs, makes columns of rows. The inner loop
// goes down the rows, so that dst is written in long stretches. R5 counts the fours of columns, R4
// those of rows.
TEXT ·transposeNEON(SB), NOSPLIT, $0-48
	MOVD dst+0(FP), R0
	MOVD ldd+8(FP), R1
	MOVD src+16(FP), R2
	MOVD lds+24(FP), R3
	MOVD eights+40(FP), R5
	LSL  $2, R1
	LSL  $2, R3
	LSL  $1, R5

columns:
	MOVD fours+32(FP), R4
	MOVD R0, R6             // four rows of dst
	ADD  R1, R6, R11
	ADD  R1, R11, R12
	ADD  R1, R12, R13
	MOVD R2, R7             // four rows of src
	ADD  R3, R7, R8
	ADD  R3, R8, R9
	ADD  R3, R9, R10

four:
	VLD1   (R7), [V0.S4]
	VLD1   (R8), [V1.S4]
	VLD1   (R9), [V2.S4]
	VLD1   (R10), [V3.S4]
	ADD    R3<<2, R7
	ADD    R3<<2, R8
	ADD    R3<<2, R9
	ADD    R3<<2, R10
	VTRN1  V1.S4, V0.S4, V4.S4
	VTRN2  V1.S4, V0.S4, V5.S4
	VTRN1  V3.S4, V2.S4, V6.S4
	VTRN2  V3.S4, V2.S4, V7.S4
	VTRN1  V6.D2, V4.D2, V16.D2
	VTRN1  V7.D2, V5.D2, V17.D2
	VTRN2  V6.D2, V4.D2, V18.D2
	VTRN2  V7.D2, V5.D2, V19.D2
	VST1.P [V16.S4], 16(R6)
	VST1.P [V17.S4], 16(R11)
	VST1.P [V18.S4], 16(R12)
	VST1.P [V19.S4], 16(R13)
	SUB    $1, R4
	CBNZ   R4, four
	ADD    $16, R2          // the next four columns: four rows further in dst
	ADD    R1<<2, R0
	SUB    $1, R5
	CBNZ   R5, columns
	RET
