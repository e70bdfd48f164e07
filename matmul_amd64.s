#include "textflag.h"
#include "go_asm.h"

// AVX-512: a tile of up to 14 rows by 32 columns.
//
//   Z0 … Z27   the tile's sums: row i is in Z(2i) (columns 0–15) and Z(2i+1) (columns 16–31)
//   Z28, Z29   one row of b: 32 weights
//   Z30, Z31   one value of a, copied into all 16 lanes (two registers, used in turn)
//
//   SI  the current column of a     BX  the current row of b     R8  bytes from one row of b to the next
//   DX  steps left                  R10 where b is packed        R11, R12 what is fetched ahead, and its stride

#define ROW(i, lo, hi, value) \
	VBROADCASTSS (4*i)(SI), value; \
	VFMADD231PS  Z28, value, lo; \
	VFMADD231PS  Z29, value, hi

#define ROWS1 ROW(0, Z0, Z1, Z30)
#define ROWS2 ROWS1; ROW(1, Z2, Z3, Z31)
#define ROWS3 ROWS2; ROW(2, Z4, Z5, Z30)
#define ROWS4 ROWS3; ROW(3, Z6, Z7, Z31)
#define ROWS5 ROWS4; ROW(4, Z8, Z9, Z30)
#define ROWS6 ROWS5; ROW(5, Z10, Z11, Z31)
#define ROWS7 ROWS6; ROW(6, Z12, Z13, Z30)
#define ROWS8 ROWS7; ROW(7, Z14, Z15, Z31)
#define ROWS9 ROWS8; ROW(8, Z16, Z17, Z30)
#define ROWS10 ROWS9; ROW(9, Z18, Z19, Z31)
#define ROWS11 ROWS10; ROW(10, Z20, Z21, Z30)
#define ROWS12 ROWS11; ROW(11, Z22, Z23, Z31)
#define ROWS13 ROWS12; ROW(12, Z24, Z25, Z30)
#define ROWS14 ROWS13; ROW(13, Z26, Z27, Z31)

#define LOOP(rows, plain, packing, ROWS) \
	CMPQ CX, $rows; \
	JNE  after##plain; \
	TESTQ R10, R10; \
	JNZ  packing

#define STEPS(label, pack, ROWS) \
label: \
	VMOVUPS    (BX), Z28; \
	VMOVUPS    64(BX), Z29; \
	ROWS; \
	pack; \
	ADDQ       R8, BX; \
	ADDQ       $64, SI; \
	DECQ       DX; \
	JNZ        label; \
	JMP        summed

#define PACK \
	VMOVUPS Z28, (R10); \
	VMOVUPS Z29, 64(R10); \
	PREFETCHT0 (BX)(R11*1); \
	PREFETCHT0 64(BX)(R11*1); \
	PREFETCHT0 124(BX)(R11*1); \
	ADDQ    $128, R10

#define AHEAD \
	PREFETCHT1 (R11); \
	ADDQ       R12, R11

#define CHOOSE(rows, plain, packing) \
	CMPQ  CX, $rows; \
	JEQ   plain

// LOAD, PLUS and STORE work through the rows of the tile in memory, R9, and leave after the last.
#define LOAD(lo, hi) \
	VMOVUPS (R9), lo; \
	VMOVUPS 64(R9), hi; \
	ADDQ    R13, R9; \
	DECQ    AX; \
	JZ      loaded

#define FETCH(lo, hi) \
	PREFETCHT0 (R9); \
	PREFETCHT0 64(R9); \
	ADDQ    R13, R9; \
	DECQ    AX; \
	JZ      fetched

#define PLUS(lo, hi) \
	VADDPS (R9), lo, lo; \
	VADDPS 64(R9), hi, hi; \
	ADDQ   R13, R9; \
	DECQ   AX; \
	JZ     store

#define STORE(lo, hi) \
	VMOVUPS lo, (R9); \
	VMOVUPS hi, 64(R9); \
	ADDQ    R13, R9; \
	DECQ    AX; \
	JZ      done

#define BIAS(lo, hi) \
	VADDPS Z28, lo, lo; \
	VADDPS Z29, hi, hi

#define EACH(DO) \
	DO(Z0, Z1); \
	DO(Z2, Z3); \
	DO(Z4, Z5); \
	DO(Z6, Z7); \
	DO(Z8, Z9); \
	DO(Z10, Z11); \
	DO(Z12, Z13); \
	DO(Z14, Z15); \
	DO(Z16, Z17); \
	DO(Z18, Z19); \
	DO(Z20, Z21); \
	DO(Z22, Z23); \
	DO(Z24, Z25); \
	DO(Z26, Z27)

#define ZERO(lo, hi) \
	VPXORD lo, lo, lo; \
	VPXORD hi, hi, hi

// func tileAVX512(t *tile)
TEXT ·tileAVX512(SB), NOSPLIT, $0-8
	MOVQ t+0(FP), DI
	MOVQ tile_rows(DI), CX
	MOVQ tile_ld(DI), R13
	SHLQ $2, R13
	EACH(ZERO)
	MOVQ tile_from(DI), R9
	MOVQ CX, AX
	TESTQ R9, R9
	JZ   loaded
	EACH(LOAD)

loaded:
	MOVQ CX, AX
	MOVQ tile_next(DI), R9
	TESTQ R9, R9
	JZ    fetched
	EACH(FETCH)

fetched:
	MOVQ tile_k(DI), DX
	MOVQ tile_a(DI), SI
	MOVQ tile_b(DI), BX
	MOVQ tile_ldb(DI), R8
	SHLQ $2, R8
	MOVQ tile_pack(DI), R10
	MOVQ tile_ahead(DI), R11
	MOVQ tile_ldAhead(DI), R12
	SHLQ $2, R12
	TESTQ R10, R10
	JNZ  packing
	CHOOSE(14, plain14, 0)
	CHOOSE(13, plain13, 0)
	CHOOSE(12, plain12, 0)
	CHOOSE(11, plain11, 0)
	CHOOSE(10, plain10, 0)
	CHOOSE(9, plain9, 0)
	CHOOSE(8, plain8, 0)
	CHOOSE(7, plain7, 0)
	CHOOSE(6, plain6, 0)
	CHOOSE(5, plain5, 0)
	CHOOSE(4, plain4, 0)
	CHOOSE(3, plain3, 0)
	CHOOSE(2, plain2, 0)
	STEPS(plain1, AHEAD, ROWS1)
	STEPS(plain2, AHEAD, ROWS2)
	STEPS(plain3, AHEAD, ROWS3)
	STEPS(plain4, AHEAD, ROWS4)
	STEPS(plain5, AHEAD, ROWS5)
	STEPS(plain6, AHEAD, ROWS6)
	STEPS(plain7, AHEAD, ROWS7)
	STEPS(plain8, AHEAD, ROWS8)
	STEPS(plain9, AHEAD, ROWS9)
	STEPS(plain10, AHEAD, ROWS10)
	STEPS(plain11, AHEAD, ROWS11)
	STEPS(plain12, AHEAD, ROWS12)
	STEPS(plain13, AHEAD, ROWS13)
	STEPS(plain14, AHEAD, ROWS14)

packing:
	MOVQ R8, R11
	SHLQ $4, R11
	CHOOSE(14, pack14, 0)
	CHOOSE(13, pack13, 0)
	CHOOSE(12, pack12, 0)
	CHOOSE(11, pack11, 0)
	CHOOSE(10, pack10, 0)
	CHOOSE(9, pack9, 0)
	CHOOSE(8, pack8, 0)
	CHOOSE(7, pack7, 0)
	CHOOSE(6, pack6, 0)
	CHOOSE(5, pack5, 0)
	CHOOSE(4, pack4, 0)
	CHOOSE(3, pack3, 0)
	CHOOSE(2, pack2, 0)
	STEPS(pack1, PACK, ROWS1)
	STEPS(pack2, PACK, ROWS2)
	STEPS(pack3, PACK, ROWS3)
	STEPS(pack4, PACK, ROWS4)
	STEPS(pack5, PACK, ROWS5)
	STEPS(pack6, PACK, ROWS6)
	STEPS(pack7, PACK, ROWS7)
	STEPS(pack8, PACK, ROWS8)
	STEPS(pack9, PACK, ROWS9)
	STEPS(pack10, PACK, ROWS10)
	STEPS(pack11, PACK, ROWS11)
	STEPS(pack12, PACK, ROWS12)
	STEPS(pack13, PACK, ROWS13)
	STEPS(pack14, PACK, ROWS14)

summed:
	MOVQ tile_bias(DI), R9
	TESTQ R9, R9
	JZ   biased
	VMOVUPS (R9), Z28
	VMOVUPS 64(R9), Z29
	EACH(BIAS)

biased:
	MOVQ tile_plus(DI), R9
	MOVQ CX, AX
	TESTQ R9, R9
	JZ   store
	EACH(PLUS)

store:
	MOVQ tile_to(DI), R9
	MOVQ CX, AX
	EACH(STORE)

done:
	VZEROUPPER
	RET

// func transposeAVX2(dst *float32, ldd int, src *float32, lds int, blocks int)
TEXT ·transposeAVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ ldd+8(FP), R8
	MOVQ src+16(FP), SI
	MOVQ lds+24(FP), R9
	MOVQ blocks+32(FP), CX
	SHLQ $2, R8
	SHLQ $2, R9
	LEAQ (R8)(R8*2), R10  // 3 rows of dst
	LEAQ (R9)(R9*2), R11  // 3 rows of src

block:
	LEAQ (SI)(R9*4), BX   // row 4 of src
	VMOVUPS (SI), X0
	VMOVUPS (SI)(R9*1), X1
	VMOVUPS (SI)(R9*2), X2
	VMOVUPS (SI)(R11*1), X3
	VMOVUPS 16(SI), X4
	VMOVUPS 16(SI)(R9*1), X5
	VMOVUPS 16(SI)(R9*2), X6
	VMOVUPS 16(SI)(R11*1), X7
	VINSERTF128 $1, (BX), Y0, Y0
	VINSERTF128 $1, (BX)(R9*1), Y1, Y1
	VINSERTF128 $1, (BX)(R9*2), Y2, Y2
	VINSERTF128 $1, (BX)(R11*1), Y3, Y3
	VINSERTF128 $1, 16(BX), Y4, Y4
	VINSERTF128 $1, 16(BX)(R9*1), Y5, Y5
	VINSERTF128 $1, 16(BX)(R9*2), Y6, Y6
	VINSERTF128 $1, 16(BX)(R11*1), Y7, Y7
	LEAQ (DI)(R8*4), BX   // row 4 of dst
#define QUARTER(a, b, c, d, to) \
	VUNPCKLPS a, b, Y8; \
	VUNPCKLPS c, d, Y9; \
	VUNPCKHPS a, b, Y10; \
	VUNPCKHPS c, d, Y11; \
	VUNPCKLPD Y9, Y8, Y12; \
	VUNPCKHPD Y9, Y8, Y13; \
	VUNPCKLPD Y11, Y10, Y14; \
	VUNPCKHPD Y11, Y10, Y15; \
	VMOVUPS Y12, (to); \
	VMOVUPS Y13, (to)(R8*1); \
	VMOVUPS Y14, (to)(R8*2); \
	VMOVUPS Y15, (to)(R10*1)
	QUARTER(Y1, Y0, Y3, Y2, DI)
	QUARTER(Y5, Y4, Y7, Y6, BX)
	ADDQ $32, SI
	LEAQ (DI)(R8*8), DI
	DECQ CX
	JNZ  block
	VZEROUPPER
	RET
