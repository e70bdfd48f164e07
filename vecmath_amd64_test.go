package main

func init() {
	if hasAVX2 {
		rowKernels = append(rowKernels, rowKernel{"avx2", geluAVX2, softmaxAVX2, layerNormAVX2})
	}
}
