package main

func init() {
	if hasAVX2 {
		vectorKernels = append(vectorKernels, vectorKernel{"avx2", geluAVX2, softmaxAVX2, layerNormAVX2})
	}
}
