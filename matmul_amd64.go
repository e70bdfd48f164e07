package main

// The sums and sizes are explained in matmul_amd64.s.
var (
	avx512Kernel = &microKernel{name: "avx512", rows: 14, cols: 32, stride: 16, strip: 96, rowBlock: 308, depth: 768,
		tile: tileAVX512, transpose8: transposeAVX2}
	avx2Kernel = &microKernel{name: "avx2", rows: 6, cols: 16, stride: 8, strip: 96, rowBlock: 204, depth: 768,
		tile: tileAVX2, transpose8: transposeAVX2}
)

func vectorKernels() (list []*microKernel) {
	if hasAVX512 {
		list = append(list, avx512Kernel)
	}
	if hasAVX2 {
		list = append(list, avx2Kernel)
	}
	return list
}

//go:noescape
func tileAVX512(t *tile)

//go:noescape
func tileAVX2(t *tile)

//go:noescape
func transposeAVX2(dst *float32, ldd int, src *float32, lds int, blocks int)

// widenF16s and widenBF16s write 16-bit numbers as float32.
func widenF16s(dst []float32, src []uint16) {
	whole := 0
	if hasAVX2 && kernel != goKernel.name {
		if whole = len(src) &^ 7; whole > 0 {
			widenF16AVX2(&dst[0], &src[0], whole/8)
		}
	}
	widenF16sGo(dst[whole:], src[whole:])
}

func widenBF16s(dst []float32, src []uint16) {
	whole := 0
	if hasAVX2 && kernel != goKernel.name {
		if whole = len(src) &^ 7; whole > 0 {
			widenBF16AVX2(&dst[0], &src[0], whole/8)
		}
	}
	widenBF16sGo(dst[whole:], src[whole:])
}

//go:noescape
func widenF16AVX2(dst *float32, src *uint16, blocks int)

//go:noescape
func widenBF16AVX2(dst *float32, src *uint16, blocks int)
