//go:build !amd64 && !arm64

package main

func vectorKernels() []*microKernel { return nil }

func widenF16s(dst []float32, src []uint16)  { widenF16sGo(dst, src) }
func widenBF16s(dst []float32, src []uint16) { widenBF16sGo(dst, src) }

func gelu(x []float32) { geluGo(x) }

func softmax(x []float32) { softmaxGo(x) }

func layerNorm(y, x []float32, n Norm) { layerNormGo(y, x, n) }
