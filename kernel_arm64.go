package main

// Every 64-bit ARM processor has NEON. The sums and sizes are explained in matmul_arm64.s.
var neonKernel = &microKernel{name: "neon", rows: 8, cols: 12, stride: 8, strip: 96, rowBlock: 128, depth: 384,
	inPlace: true, tile: tileNEON, turn: transposeNEON}

func vectorKernels() []*microKernel { return []*microKernel{neonKernel} }

//go:noescape
func tileNEON(t *tile)

//go:noescape
func transposeNEON(dst *float32, ldd int, src *float32, lds, fours, eights int)

func widenF16s(dst []float32, src []uint16)  { widenF16sGo(dst, src) }
func widenBF16s(dst []float32, src []uint16) { widenBF16sGo(dst, src) }

func gelu(x []float32) { geluGo(x) }

func softmax(x []float32) { softmaxGo(x) }

func layerNorm(y, x []float32, n Norm) { layerNormGo(y, x, n) }
