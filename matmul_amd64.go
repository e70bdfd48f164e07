package main

// The tiles are explained in matmul_amd64.s, the other sizes are measured. A row block of packed x (for AVX-512 616 · 768 values in
// rows of 16 for 14, 2.2 MB) may be a little larger than the second-level cache, because it is read in order and fetched ahead, and
// the larger it is the less often w is read. A strip of packed w is 0.6 MB, for AVX2, which older processors with less cache
// have, half of that.
var (
	avx512Kernel = &microKernel{name: "avx512", rows: 14, cols: 32, stride: 16, strip: 192, rowBlock: 616, depth: 768,
		inPlace: true, tile: tileAVX512, packRow: packRowAVX512, turn: transposeAVX2}
	avx2Kernel = &microKernel{name: "avx2", rows: 6, cols: 16, stride: 6, strip: 192, rowBlock: 606, depth: 384,
		tile: tileAVX2, packRow: packRowAVX2, turn: transposeAVX2}
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
func packRowAVX512(dst *float32, stride int, src *float32, panels, ahead int)

//go:noescape
func packRowAVX2(dst *float32, stride int, src *float32, panels, ahead int)

//go:noescape
func transposeAVX2(dst *float32, ldd int, src *float32, lds, fours, eights int)

// widenF16s writes F16 numbers as float32, eight at a time as far as there are eight.
func widenF16s(dst []float32, src []uint16) {
	if eights := len(src) / 8; eights > 0 && kernel != goKernel.name {
		widenF16AVX2(&dst[0], &src[0], eights)
		dst, src = dst[8*eights:], src[8*eights:]
	}
	widenF16sGo(dst, src)
}

// widenBF16s writes BF16 numbers as float32.
func widenBF16s(dst []float32, src []uint16) {
	if eights := len(src) / 8; eights > 0 && kernel != goKernel.name {
		widenBF16AVX2(&dst[0], &src[0], eights)
		dst, src = dst[8*eights:], src[8*eights:]
	}
	widenBF16sGo(dst, src)
}

//go:noescape
func widenF16AVX2(dst *float32, src *uint16, blocks int)

//go:noescape
func widenBF16AVX2(dst *float32, src *uint16, blocks int)
