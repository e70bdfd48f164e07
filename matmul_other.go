//go:build !amd64 && !arm64

package main

func vectorKernels() []*microKernel { return nil }

func widenF16s(dst []float32, src []uint16)  { widenF16sGo(dst, src) }
func widenBF16s(dst []float32, src []uint16) { widenBF16sGo(dst, src) }
