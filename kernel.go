package main

import (
	"fmt"
	"strings"
	"unsafe"
)

// tile is what a micro-kernel computes: to = from + a·b + bias, [rows, k]·[k, cols] → [rows, cols],
// where rows is at most the kernel's and cols is the kernel's. k is at least 1.
type tile struct {
	rows, k int
	a       *float32 // packed: value (i, l) at a[l·stride + i]
	b       *float32 // value (l, j) at b[l·ldb + j]
	ldb     int
	inPlace int      // 0 if b is packed (ldb = cols), 1 if it is read where the matrix lies
	pack    *float32 // if not nil, b is copied to here as [k, cols]; only if it is read in place

	from *float32 // where the sums begin, or nil for zero
	bias *float32 // [cols], added when the sums are complete, or nil
	to   *float32 // [rows, cols]
	ld   int      // from one row to the next of from and to
}

// kernel is everything that is written more than once because processors differ: the micro-kernel
// that computes a tile, with the sizes that suit it, and the functions of single rows.
type kernel struct {
	name       string
	rows, cols int  // of a tile
	stride     int  // of packed x: rows, perhaps rounded up
	strip      int  // columns of a task: a few panels
	rowBlock   int  // rows of a task
	depth      int  // values of k that are summed at a time
	inPlace    bool // the first tile of a panel reads w where it lies, and packs it for the others

	tile func(t *tile)
	// packPanels copies rows whose beginnings are ld values apart, cols values of each to every one
	// of a number of panels, which begin at dst, dst + stride, and so on, and has what lies ahead
	// values further on in src fetched into the cache. nil: there is none.
	packPanels func(dst *float32, stride int, src *float32, ld, rows, panels, ahead int)
	// turn writes 4·fours rows and 8·eights columns of src as columns and rows of dst. nil: there
	// is none.
	turn func(dst *float32, ldd int, src *float32, lds, fours, eights int)

	// Functions of one row, each with its plain definition in vecmath.go.
	activate            [3]func(x []float32) // by Activation
	softmax             func(x []float32)
	layerNorm           func(y, x []float32, n Norm, epsilon float64)
	widenF16, widenBF16 func(dst []float32, src []uint16)
}

// maxTileRows and maxTileCols bound the tiles of all kernels.
const maxTileRows, maxTileCols = 14, 32

// goKernel is the plain kernel, which runs everywhere. The others give its numbers but for the last
// bits, since a fused multiply-add rounds once where Go rounds twice.
var goKernel = &kernel{
	name: "go", rows: 4, cols: 4, stride: 4, strip: 16, rowBlock: 64, depth: 256, inPlace: true,
	tile:     tileGo,
	activate: [3]func(x []float32){geluTanh: geluTanhGo, geluExact: geluExactGo, relu: reluGo},
	softmax:  softmaxGo, layerNorm: layerNormGo,
	widenF16: widenF16Go, widenBF16: widenBF16Go,
}

// tileGo is the definition of a tile, in plain Go. The conversions to float32 keep the compiler
// from fusing multiplication and addition on some processors and not on others.
func tileGo(t *tile) {
	const rows, cols = 4, 4
	a := unsafe.Slice(t.a, t.k*rows)
	b := unsafe.Slice(t.b, (t.k-1)*t.ldb+cols)
	if t.pack != nil {
		pack := unsafe.Slice(t.pack, t.k*cols)
		for l := 0; l < t.k; l++ {
			copy(pack[l*cols:(l+1)*cols], b[l*t.ldb:])
		}
	}
	area := (t.rows-1)*t.ld + cols
	for i := 0; i < t.rows; i++ {
		var s0, s1, s2, s3 float32
		if t.from != nil {
			from := unsafe.Slice(t.from, area)[i*t.ld:]
			s0, s1, s2, s3 = from[0], from[1], from[2], from[3]
		}
		for l := 0; l < t.k; l++ {
			x, w := a[l*rows+i], b[l*t.ldb:l*t.ldb+cols]
			s0 += float32(x * w[0])
			s1 += float32(x * w[1])
			s2 += float32(x * w[2])
			s3 += float32(x * w[3])
		}
		sums := [cols]float32{s0, s1, s2, s3}
		if t.bias != nil {
			for j, v := range unsafe.Slice(t.bias, cols) {
				sums[j] += v
			}
		}
		copy(unsafe.Slice(t.to, area)[i*t.ld:], sums[:])
	}
}

// spread packs the first n values of some rows, which are ld values apart in src, into column
// panels that are stride values apart: [rows, n] → [panels][rows][cols]. It has what lies ahead
// values further on in src fetched into the cache.
func (u *kernel) spread(panels []float32, stride int, src []float32, ld, rows, n, ahead int) {
	c := 0
	if whole := n / u.cols; u.packPanels != nil && min(whole, rows) > 0 {
		// the kernel checks no bounds
		_, _ = panels[(whole-1)*stride+rows*u.cols-1], src[(rows-1)*ld+whole*u.cols-1]
		u.packPanels(&panels[0], stride, &src[0], ld, rows, whole, ahead)
		c = whole * u.cols
	}
	for ; c < n; c += u.cols {
		for r := 0; r < rows; r++ {
			copy(panels[c/u.cols*stride+r*u.cols:][:u.cols], src[r*ld+c:r*ld+n])
		}
	}
}

// transpose writes the [rows, cols] matrix src as the [cols, rows] matrix dst: dst[c·ldd + r] =
// src[r·lds + c].
func (u *kernel) transpose(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	if u.turn == nil || rows < 4 || cols < 8 {
		for r := 0; r < rows; r++ {
			for c, v := range src[r*lds : r*lds+cols] {
				dst[c*ldd+r] = v
			}
		}
		return
	}
	_, _ = src[(rows-1)*lds+cols-1], dst[(cols-1)*ldd+rows-1] // the kernel checks no bounds
	// Where 4 or 8 does not divide, the last rows or columns overlap those before them, which are
	// written twice, alike.
	lastRows, lastCols := rows-4, cols-8
	u.turn(&dst[0], ldd, &src[0], lds, rows/4, cols/8)
	if rows%4 != 0 {
		u.turn(&dst[lastRows], ldd, &src[lastRows*lds], lds, 1, cols/8)
	}
	if cols%8 != 0 {
		u.turn(&dst[lastCols*ldd], ldd, &src[lastCols], lds, rows/4, 1)
		u.turn(&dst[lastCols*ldd+lastRows], ldd, &src[lastRows*lds+lastCols], lds, 1, 1)
	}
}

// chosen is the kernel in use. A run that computes begins with chooseKernel; the others need not
// wait for what the processor says of itself, which in a virtual machine takes longer than all that
// is initialised otherwise.
var chosen = goKernel

// kernels lists those that this processor can run, the fastest first.
func kernels() []*kernel {
	return append(vectorKernels(), goKernel)
}

// chooseKernel makes the kernel of the given name the one in use, or the fastest if the name is
// empty. The name is the environment variable MECHPATCH_KERNEL's.
func chooseKernel(name string) error {
	var names []string
	for _, u := range kernels() {
		if name == "" || u.name == name {
			chosen = u
			return nil
		}
		names = append(names, u.name)
	}
	return fmt.Errorf("MECHPATCH_KERNEL=%s: no such kernel on this machine, which has %s",
		name, strings.Join(names, ", "))
}
