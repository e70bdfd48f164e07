#include "textflag.h"
#include "go_asm.h"

// The micro-kernels compute a tile: to = from + a·b + bias. The tile's sums stay in vector
// registers from the first step over k to the last. A step takes one column of a (a value for each
// row of the tile) and one row of b (a value for each column): a value of a is copied into all
// lanes of a register, multiplied with the row of b, and added to the sums of its row.
//
// AVX-512: 14 rows × 32 columns, 16 values in a register.
//   Z0 … Z27  the sums, two registers for a row
//   Z28, Z29  the row of b
//   Z30, Z31  a value of a in all lanes; two registers in turn
// That is all 32 registers. A processor starts two multiply-adds in a cycle and each takes four
// cycles, so at least 8 registers of sums must be under way: 28 are. The 28 multiply-adds of a step
// take 14 cycles, in which 14 values of a and 2 registers of b are loaded, little more than half of
// the loads that are possible. A squarer tile would load less, but 16 × 32 has no registers left
// for a and b.
//
// AVX2: 6 rows × 16 columns, 8 values in a register, by the same rules.
//   Y0 … Y11  the sums      Y12, Y13  the row of b      Y14, Y15  a value of a in all lanes
//
// There is a loop for every number of rows, so that a tile of few rows costs little. In all of
// them:
//   DI   the description of the tile
//   CX   rows of the tile               R13  bytes from one of them to the next
//   R9   a row of the tile in memory    AX   rows left; in the loop over k: steps left
//   SI   the column of a                BX   the row of b
//   R10  in LOAD, bytes to the tile below; in UNPACKED, whether to pack
//   R8   in UNPACKED, the row of b in the weight matrix; R12, R11  bytes to the next, to the 32nd
// After the loop R9 is first the bias. These are the registers of the tiles; the other functions
// have their own.

// ROW adds one value of a times the row of b to the sums of row i. at is the column of a, in bytes
// from SI.
#define ROW(i, at, lo, hi, b0, b1, value) \
	VBROADCASTSS (4*i+at)(SI), value; \
	VFMADD231PS  b0, value, lo; \
	VFMADD231PS  b1, value, hi

// STEP is step i of a round of the loop over k. width is the bytes of a register, column those of a
// column of a.
#define STEP(ROWS, i, b0, b1, width, column) \
	VMOVUPS (2*i*width)(BX), b0; \
	VMOVUPS ((2*i+1)*width)(BX), b1; \
	ROWS((i*column))

// The rounds: two steps with AVX-512, where more take no less time, and four with AVX2. The columns
// of a are fetched into the first-level cache 2 KB and 1 KB ahead, a line at a time.
#define AVX512_ROUND(ROWS) \
	STEP(ROWS, 0, Z28, Z29, 64, 64); \
	STEP(ROWS, 1, Z28, Z29, 64, 64); \
	PREFETCHT0 2048(SI); \
	PREFETCHT0 2112(SI)

#define AVX2_ROUND(ROWS) \
	STEP(ROWS, 0, Y12, Y13, 32, 24); \
	STEP(ROWS, 1, Y12, Y13, 32, 24); \
	STEP(ROWS, 2, Y12, Y13, 32, 24); \
	STEP(ROWS, 3, Y12, Y13, 32, 24); \
	PREFETCHT0 1024(SI); \
	PREFETCHT0 1088(SI)

// PACKED is the loop over k for one number of rows, in rounds of some steps; the last steps come
// singly. A tile of another number of rows goes on to what comes behind.
#define PACKED(rows, loop, rest, single, other, ROWS, ROUND, steps, b0, b1, width, column) \
	CMPQ    CX, $rows; \
	JNE     other; \
	SUBQ    $steps, AX; \
	JLT     rest; \
loop: \
	ROUND(ROWS); \
	ADDQ    $(2*steps*width), BX; \
	ADDQ    $(steps*column), SI; \
	SUBQ    $steps, AX; \
	JGE     loop; \
rest: \
	ADDQ    $steps, AX; \
	JZ      summed; \
single: \
	STEP(ROWS, 0, b0, b1, width, column); \
	ADDQ    $(2*width), BX; \
	ADDQ    $column, SI; \
	DECQ    AX; \
	JNZ     single; \
	JMP     summed; \
other:

// UNPACKED is the loop where b is read from the weight matrix, and packed on the way if it is to be
// kept. It fetches the row of b that comes 32 steps later, 256 bytes for this column panel and the
// next ones. AVX2 has no such loop: 16 columns are one cache line, for which alone it does not pay
// to visit a row.
#define UNPACKED(rows, loop, next, other, ROWS) \
	CMPQ    CX, $rows; \
	JNE     other; \
loop: \
	VMOVUPS (R8), Z28; \
	VMOVUPS 64(R8), Z29; \
	ROWS(0); \
	PREFETCHT0 2048(SI); \
	PREFETCHT1 0(R8)(R11*1); \
	PREFETCHT1 64(R8)(R11*1); \
	PREFETCHT1 128(R8)(R11*1); \
	PREFETCHT1 192(R8)(R11*1); \
	TESTQ   R10, R10; \
	JZ      next; \
	VMOVUPS Z28, (BX); \
	VMOVUPS Z29, 64(BX); \
	ADDQ    $128, BX; \
next: \
	ADDQ    R12, R8; \
	ADDQ    $64, SI; \
	DECQ    AX; \
	JNZ     loop; \
	JMP     summed; \
other:

// LOAD and STORE go down the rows of the tile in memory and leave after the last. LOAD also fetches
// the rows of the tile below, which will come soon; R10 is how far below.
#define LOAD(lo, hi, width) \
	VMOVUPS (R9), lo; \
	VMOVUPS width(R9), hi; \
	PREFETCHT0 (R9)(R10*1); \
	PREFETCHT0 (2*width-4)(R9)(R10*1); \
	ADDQ    R13, R9; \
	DECQ    AX; \
	JZ      begin

#define STORE(lo, hi, width) \
	VMOVUPS lo, (R9); \
	VMOVUPS hi, width(R9); \
	ADDQ    R13, R9; \
	DECQ    AX; \
	JZ      done

// PACKPANELS copies, row after row, a panel's piece of the row, two registers, to each panel.
#define PACKPANELS(lo, hi, width) \
	MOVQ dst+0(FP), DI; \
	MOVQ stride+8(FP), R8; \
	MOVQ src+16(FP), SI; \
	MOVQ ld+24(FP), R10; \
	MOVQ rows+32(FP), AX; \
	MOVQ panels+40(FP), BX; \
	MOVQ ahead+48(FP), R9; \
	SHLQ $2, R8; \
	SHLQ $2, R9; \
	SHLQ $2, R10; \
row: \
	MOVQ SI, R11; \
	MOVQ DI, R12; \
	MOVQ BX, CX; \
panel: \
	VMOVUPS    (R11), lo; \
	VMOVUPS    width(R11), hi; \
	PREFETCHT1 (R11)(R9*1); \
	PREFETCHT1 (2*width-1)(R11)(R9*1); \
	VMOVUPS    lo, (R12); \
	VMOVUPS    hi, width(R12); \
	ADDQ       $(2*width), R11; \
	ADDQ       R8, R12; \
	DECQ       CX; \
	JNZ        panel; \
	ADDQ       R10, SI; \
	ADDQ       $(2*width), DI; \
	DECQ       AX; \
	JNZ        row; \
	VZEROUPPER; \
	RET

// WIDEN converts eight numbers at a time.
#define F16 VCVTPH2PS (SI), Y0
#define BF16 VPMOVZXWD (SI), Y0; VPSLLD $16, Y0, Y0
#define WIDEN(CONVERT) \
	MOVQ dst_base+0(FP), DI; \
	MOVQ dst_len+8(FP), CX; \
	MOVQ src_base+24(FP), SI; \
	SHRQ $3, CX; \
	JZ   done; \
eight: \
	CONVERT; \
	VMOVUPS Y0, (DI); \
	ADDQ    $16, SI; \
	ADDQ    $32, DI; \
	DECQ    CX; \
	JNZ     eight; \
	VZEROUPPER; \
done: \
	RET

// BEGIN reads the tile's description and its sums so far, before the loops over k, and END adds the
// bias to the sums and stores them.
#define BEGIN(EACH, ZERO) \
	MOVQ  t+0(FP), DI; \
	MOVQ  tile_rows(DI), CX; \
	MOVQ  tile_ld(DI), R13; \
	SHLQ  $2, R13; \
	EACH(ZERO); \
	MOVQ  tile_from(DI), R9; \
	MOVQ  CX, AX; \
	TESTQ R9, R9; \
	JZ    begin; \
	MOVQ  CX, R10; \
	IMULQ R13, R10; \
	EACH(LOAD); \
begin: \
	MOVQ  tile_k(DI), AX; \
	MOVQ  tile_a(DI), SI; \
	MOVQ  tile_b(DI), BX

#define END(EACH, BIAS, b0, b1, width) \
summed: \
	MOVQ    tile_bias(DI), R9; \
	TESTQ   R9, R9; \
	JZ      biased; \
	VMOVUPS (R9), b0; \
	VMOVUPS width(R9), b1; \
	EACH(BIAS); \
biased: \
	MOVQ tile_to(DI), R9; \
	MOVQ CX, AX; \
	EACH(STORE); \
done: \
	VZEROUPPER; \
	RET

#define AVX512_ROWS1(at) ROW(0, at, Z0, Z1, Z28, Z29, Z30)
#define AVX512_ROWS2(at) AVX512_ROWS1(at); ROW(1, at, Z2, Z3, Z28, Z29, Z31)
#define AVX512_ROWS3(at) AVX512_ROWS2(at); ROW(2, at, Z4, Z5, Z28, Z29, Z30)
#define AVX512_ROWS4(at) AVX512_ROWS3(at); ROW(3, at, Z6, Z7, Z28, Z29, Z31)
#define AVX512_ROWS5(at) AVX512_ROWS4(at); ROW(4, at, Z8, Z9, Z28, Z29, Z30)
#define AVX512_ROWS6(at) AVX512_ROWS5(at); ROW(5, at, Z10, Z11, Z28, Z29, Z31)
#define AVX512_ROWS7(at) AVX512_ROWS6(at); ROW(6, at, Z12, Z13, Z28, Z29, Z30)
#define AVX512_ROWS8(at) AVX512_ROWS7(at); ROW(7, at, Z14, Z15, Z28, Z29, Z31)
#define AVX512_ROWS9(at) AVX512_ROWS8(at); ROW(8, at, Z16, Z17, Z28, Z29, Z30)
#define AVX512_ROWS10(at) AVX512_ROWS9(at); ROW(9, at, Z18, Z19, Z28, Z29, Z31)
#define AVX512_ROWS11(at) AVX512_ROWS10(at); ROW(10, at, Z20, Z21, Z28, Z29, Z30)
#define AVX512_ROWS12(at) AVX512_ROWS11(at); ROW(11, at, Z22, Z23, Z28, Z29, Z31)
#define AVX512_ROWS13(at) AVX512_ROWS12(at); ROW(12, at, Z24, Z25, Z28, Z29, Z30)
#define AVX512_ROWS14(at) AVX512_ROWS13(at); ROW(13, at, Z26, Z27, Z28, Z29, Z31)

#define AVX512_EACH(DO) \
	DO(Z0, Z1, 64); DO(Z2, Z3, 64); DO(Z4, Z5, 64); DO(Z6, Z7, 64); \
	DO(Z8, Z9, 64); DO(Z10, Z11, 64); DO(Z12, Z13, 64); DO(Z14, Z15, 64); \
	DO(Z16, Z17, 64); DO(Z18, Z19, 64); DO(Z20, Z21, 64); DO(Z22, Z23, 64); \
	DO(Z24, Z25, 64); DO(Z26, Z27, 64)

#define AVX512_ZERO(lo, hi, width) \
	VPXORD lo, lo, lo; \
	VPXORD hi, hi, hi

#define AVX512_BIAS(lo, hi, width) \
	VADDPS Z28, lo, lo; \
	VADDPS Z29, hi, hi

// func tileAVX512(t *tile)
TEXT ·tileAVX512(SB), NOSPLIT, $0-8
	BEGIN(AVX512_EACH, AVX512_ZERO)
	MOVQ  tile_w(DI), R8
	TESTQ R8, R8
	JNZ   unpacked
	PACKED(14, loop14, rest14, single14, other14, AVX512_ROWS14, AVX512_ROUND, 2, Z28, Z29, 64, 64)
	PACKED(13, loop13, rest13, single13, other13, AVX512_ROWS13, AVX512_ROUND, 2, Z28, Z29, 64, 64)
	PACKED(12, loop12, rest12, single12, other12, AVX512_ROWS12, AVX512_ROUND, 2, Z28, Z29, 64, 64)
	PACKED(11, loop11, rest11, single11, other11, AVX512_ROWS11, AVX512_ROUND, 2, Z28, Z29, 64, 64)
	PACKED(10, loop10, rest10, single10, other10, AVX512_ROWS10, AVX512_ROUND, 2, Z28, Z29, 64, 64)
	PACKED(9, loop9, rest9, single9, other9, AVX512_ROWS9, AVX512_ROUND, 2, Z28, Z29, 64, 64)
	PACKED(8, loop8, rest8, single8, other8, AVX512_ROWS8, AVX512_ROUND, 2, Z28, Z29, 64, 64)
	PACKED(7, loop7, rest7, single7, other7, AVX512_ROWS7, AVX512_ROUND, 2, Z28, Z29, 64, 64)
	PACKED(6, loop6, rest6, single6, other6, AVX512_ROWS6, AVX512_ROUND, 2, Z28, Z29, 64, 64)
	PACKED(5, loop5, rest5, single5, other5, AVX512_ROWS5, AVX512_ROUND, 2, Z28, Z29, 64, 64)
	PACKED(4, loop4, rest4, single4, other4, AVX512_ROWS4, AVX512_ROUND, 2, Z28, Z29, 64, 64)
	PACKED(3, loop3, rest3, single3, other3, AVX512_ROWS3, AVX512_ROUND, 2, Z28, Z29, 64, 64)
	PACKED(2, loop2, rest2, single2, other2, AVX512_ROWS2, AVX512_ROUND, 2, Z28, Z29, 64, 64)
	PACKED(1, loop1, rest1, single1, other1, AVX512_ROWS1, AVX512_ROUND, 2, Z28, Z29, 64, 64)
	JMP  summed

unpacked:
	MOVBLZX tile_keep(DI), R10
	MOVQ    tile_ldw(DI), R12
	SHLQ    $2, R12
	MOVQ    R12, R11
	SHLQ    $5, R11
	UNPACKED(14, first14, next14, not14, AVX512_ROWS14)
	UNPACKED(13, first13, next13, not13, AVX512_ROWS13)
	UNPACKED(12, first12, next12, not12, AVX512_ROWS12)
	UNPACKED(11, first11, next11, not11, AVX512_ROWS11)
	UNPACKED(10, first10, next10, not10, AVX512_ROWS10)
	UNPACKED(9, first9, next9, not9, AVX512_ROWS9)
	UNPACKED(8, first8, next8, not8, AVX512_ROWS8)
	UNPACKED(7, first7, next7, not7, AVX512_ROWS7)
	UNPACKED(6, first6, next6, not6, AVX512_ROWS6)
	UNPACKED(5, first5, next5, not5, AVX512_ROWS5)
	UNPACKED(4, first4, next4, not4, AVX512_ROWS4)
	UNPACKED(3, first3, next3, not3, AVX512_ROWS3)
	UNPACKED(2, first2, next2, not2, AVX512_ROWS2)
	UNPACKED(1, first1, next1, not1, AVX512_ROWS1)

	END(AVX512_EACH, AVX512_BIAS, Z28, Z29, 64)

#define AVX2_ROWS1(at) ROW(0, at, Y0, Y1, Y12, Y13, Y14)
#define AVX2_ROWS2(at) AVX2_ROWS1(at); ROW(1, at, Y2, Y3, Y12, Y13, Y15)
#define AVX2_ROWS3(at) AVX2_ROWS2(at); ROW(2, at, Y4, Y5, Y12, Y13, Y14)
#define AVX2_ROWS4(at) AVX2_ROWS3(at); ROW(3, at, Y6, Y7, Y12, Y13, Y15)
#define AVX2_ROWS5(at) AVX2_ROWS4(at); ROW(4, at, Y8, Y9, Y12, Y13, Y14)
#define AVX2_ROWS6(at) AVX2_ROWS5(at); ROW(5, at, Y10, Y11, Y12, Y13, Y15)

#define AVX2_EACH(DO) \
	DO(Y0, Y1, 32); DO(Y2, Y3, 32); DO(Y4, Y5, 32); \
	DO(Y6, Y7, 32); DO(Y8, Y9, 32); DO(Y10, Y11, 32)

#define AVX2_ZERO(lo, hi, width) \
	VXORPS lo, lo, lo; \
	VXORPS hi, hi, hi

#define AVX2_BIAS(lo, hi, width) \
	VADDPS Y12, lo, lo; \
	VADDPS Y13, hi, hi

// func tileAVX2(t *tile)
TEXT ·tileAVX2(SB), NOSPLIT, $0-8
	BEGIN(AVX2_EACH, AVX2_ZERO)
	PACKED(6, loop6, rest6, single6, other6, AVX2_ROWS6, AVX2_ROUND, 4, Y12, Y13, 32, 24)
	PACKED(5, loop5, rest5, single5, other5, AVX2_ROWS5, AVX2_ROUND, 4, Y12, Y13, 32, 24)
	PACKED(4, loop4, rest4, single4, other4, AVX2_ROWS4, AVX2_ROUND, 4, Y12, Y13, 32, 24)
	PACKED(3, loop3, rest3, single3, other3, AVX2_ROWS3, AVX2_ROUND, 4, Y12, Y13, 32, 24)
	PACKED(2, loop2, rest2, single2, other2, AVX2_ROWS2, AVX2_ROUND, 4, Y12, Y13, 32, 24)
	PACKED(1, loop1, rest1, single1, other1, AVX2_ROWS1, AVX2_ROUND, 4, Y12, Y13, 32, 24)

	END(AVX2_EACH, AVX2_BIAS, Y12, Y13, 32)

// func packPanelsAVX512(dst *float32, stride int, src *float32, ld, rows, panels, ahead int)
TEXT ·packPanelsAVX512(SB), NOSPLIT, $0-56
	PACKPANELS(Z0, Z1, 64)

// func packPanelsAVX2(dst *float32, stride int, src *float32, ld, rows, panels, ahead int)
TEXT ·packPanelsAVX2(SB), NOSPLIT, $0-56
	PACKPANELS(Y0, Y1, 32)

// func transposeAVX2(dst *float32, ldd int, src *float32, lds, fours, eights int)
//
// Four rows of eight values are interleaved value by value and then pair by pair. That leaves in
// each register two columns of four: column c in its lower half and column c+4 in its upper half.
// The inner loop goes down the rows, so that dst is written in long stretches.
TEXT ·transposeAVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DX
	MOVQ ldd+8(FP), R8
	MOVQ src+16(FP), BX
	MOVQ lds+24(FP), R9
	MOVQ eights+40(FP), AX
	SHLQ $2, R8
	SHLQ $2, R9
	LEAQ (R8)(R8*2), R10  // 3 rows of dst
	LEAQ (R9)(R9*2), R11  // 3 rows of src

eight:
	MOVQ fours+32(FP), CX
	MOVQ BX, SI
	MOVQ DX, DI
	LEAQ (DX)(R8*4), R12  // 4 rows further in dst

four:
	VMOVUPS (SI), Y0
	VMOVUPS (SI)(R9*1), Y1
	VMOVUPS (SI)(R9*2), Y2
	VMOVUPS (SI)(R11*1), Y3
	PREFETCHT0 256(SI)
	PREFETCHT0 256(SI)(R9*1)
	PREFETCHT0 256(SI)(R9*2)
	PREFETCHT0 256(SI)(R11*1)
	LEAQ (SI)(R9*4), SI
	VUNPCKLPS Y1, Y0, Y4
	VUNPCKHPS Y1, Y0, Y5
	VUNPCKLPS Y3, Y2, Y6
	VUNPCKHPS Y3, Y2, Y7
	VUNPCKLPD Y6, Y4, Y0
	VUNPCKHPD Y6, Y4, Y1
	VUNPCKLPD Y7, Y5, Y2
	VUNPCKHPD Y7, Y5, Y3
	VMOVUPS X0, (DI)
	VMOVUPS X1, (DI)(R8*1)
	VMOVUPS X2, (DI)(R8*2)
	VMOVUPS X3, (DI)(R10*1)
	VEXTRACTF128 $1, Y0, (R12)
	VEXTRACTF128 $1, Y1, (R12)(R8*1)
	VEXTRACTF128 $1, Y2, (R12)(R8*2)
	VEXTRACTF128 $1, Y3, (R12)(R10*1)
	ADDQ $16, DI
	ADDQ $16, R12
	DECQ CX
	JNZ  four
	ADDQ $32, BX
	LEAQ (DX)(R8*8), DX
	DECQ AX
	JNZ  eight
	VZEROUPPER
	RET

// func widenF16Vectors(dst []float32, src []uint16)
TEXT ·widenF16Vectors(SB), NOSPLIT, $0-48
	WIDEN(F16)

// func widenBF16Vectors(dst []float32, src []uint16)
TEXT ·widenBF16Vectors(SB), NOSPLIT, $0-48
	WIDEN(BF16)

// func cpuid(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-24
	MOVL leaf+0(FP), AX
	MOVL subleaf+4(FP), CX
	CPUID
	MOVL AX, eax+8(FP)
	MOVL BX, ebx+12(FP)
	MOVL CX, ecx+16(FP)
	MOVL DX, edx+20(FP)
	RET

// func xgetbv() uint32
TEXT ·xgetbv(SB), NOSPLIT, $0-4
	XORL CX, CX
	XGETBV
	MOVL AX, ret+0(FP)
	RET
