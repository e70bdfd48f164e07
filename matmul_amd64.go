package main

//go:noescape
func tileAVX512(t *tile)

//go:noescape
func transposeAVX2(dst *float32, ldd int, src *float32, lds int, blocks int)

func microKernels() (k []*microKernel) {
	if hasAVX512 {
		k = append(k, &microKernel{"avx512", 14, 32, 16, tileAVX512, transposeAVX2})
	}
	return k
}
func widenF16s(dst []float32, src []uint16) { widenF16sGo(dst, src) }
