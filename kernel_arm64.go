package main

// The kernel neon is for every 64-bit ARM processor: all have it. The sums and sizes are explained
// in matmul_arm64.s. The functions of single rows are the plain ones.
func init() {
	u := *goKernel
	u.name, u.rows, u.cols, u.stride = "neon", 8, 12, 8
	u.strip, u.rowBlock, u.depth = 96, 128, 384
	u.tile, u.turn = tileNEON, transposeNEON
	vectorKernels = func() []*kernel { return []*kernel{&u} }
}

//go:noescape
func tileNEON(t *tile)

//go:noescape
func transposeNEON(dst *float32, ldd int, src *float32, lds, fours, eights int)
