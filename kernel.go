package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// tile is what a micro-kernel computes: to = from + a·b + bias, [rows, k]·[k, cols] → [rows, cols],
// where rows is at most the kernel's and cols is the kernel's. k is at least 1.
type tile struct {
	rows, k int
	a       *float32 // packed: value (i, l) at a[l·stride + i]
	b       *float32 // packed: value (l, j) at b[l·cols + j]

	// Where b is not packed yet, a kernel that packs finds its values in w, with rows ldw values
	// apart, and packs it if it is to be kept.
	w    []float32
	ldw  int
	keep bool

	from *float32 // where the sums begin, or nil for zero
	bias *float32 // [cols], added when the sums are complete, or nil
	to   *float32 // [rows, cols]
	ld   int      // from one row to the next of from and to
}

// kernel is everything that is written more than once because processors differ: the micro-kernel
// that computes a tile, with the sizes that suit it, and the functions of single rows.
type kernel struct {
	name       string
	rows, cols int // of a tile
	stride     int // of packed x: rows, perhaps rounded up
	strip      int // columns of a task: a few panels
	rowBlock   int // rows of a task
	depth      int // values of k that are summed at a time

	tile  func(t *tile)
	packs bool // and can pack b
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
	name: "go", rows: 4, cols: 4, stride: 4, strip: 16, rowBlock: 64, depth: 256,
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
	b := unsafe.Slice(t.b, t.k*cols)
	area := (t.rows-1)*t.ld + cols
	for i := 0; i < t.rows; i++ {
		var s0, s1, s2, s3 float32
		if t.from != nil {
			from := unsafe.Slice(t.from, area)[i*t.ld:]
			s0, s1, s2, s3 = from[0], from[1], from[2], from[3]
		}
		for l := 0; l < t.k; l++ {
			x, w := a[l*rows+i], b[l*cols:(l+1)*cols]
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
func kernels() []*kernel { return append(vectorKernels(), goKernel) }

// vectorKernels lists those that a file of this processor's kind has.
var vectorKernels = func() []*kernel { return nil }

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

// Matrix is a weight matrix, row-major [rows, cols], in the number format in which the checkpoint
// stores it: F32 data is used where it lies (memory-mapped); 16-bit data is widened to float32 on
// its way into the kernel. With neither slice set the matrix is all zeros and costs nothing.
type Matrix struct {
	rows, cols int
	f32        []float32
	half       []uint16 // F16 or BF16 bit patterns, by format
	format     Format
}

// Format is the number format of a Matrix.
type Format uint8

const (
	f32  Format = iota // IEEE 754 binary32
	f16                // IEEE 754 binary16: 1 sign, 5 exponent and 10 fraction bits
	bf16               // bfloat16: the upper half of a binary32
)

// String is the format's name as safetensors spells it.
func (f Format) String() string { return [...]string{"F32", "F16", "BF16"}[f] }

// newMatrix is a matrix to be filled in.
func newMatrix(rows, cols int) Matrix {
	return Matrix{rows: rows, cols: cols, f32: make([]float32, rows*cols)}
}

// zero reports whether the matrix holds no data and so stands for all zeros.
func (w *Matrix) zero() bool { return w.f32 == nil && w.half == nil }

// bytes is the matrix's data as it lies in memory.
func (w *Matrix) bytes() []byte {
	if w.half == nil {
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(w.f32))), 4*len(w.f32))
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(w.half))), 2*len(w.half))
}

// row writes row i as float32 into dst [cols].
func (w *Matrix) row(dst []float32, i int) {
	w.widen(dst[:w.cols], i*w.cols)
}

// widen writes the len(dst) values that begin at index at of the matrix's data as float32.
func (w *Matrix) widen(dst []float32, at int) {
	switch {
	case w.zero():
		clear(dst)
	case w.half == nil:
		copy(dst, w.f32[at:])
	case w.format == bf16:
		chosen.widenBF16(dst, w.half[at:at+len(dst)])
	default:
		chosen.widenF16(dst, w.half[at:at+len(dst)])
	}
}

// threads is how many goroutines a parallel loop runs on. More would only wait for each other.
var threads = min(runtime.GOMAXPROCS(0), 1024)

// parallel calls f(0) … f(n−1) on up to threads goroutines, each of which takes the next number
// when it is done with one. What f does must not depend on who calls it or in which order: so the
// results are the same bits with any number of threads. A panic in one of them is handed on to the
// caller, where it can be recovered from: mapped weights may fail to be read.
func parallel(n int, f func(i int)) {
	var next atomic.Int64
	var crashed atomic.Pointer[crash]
	work := func() {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() {
			if p := recover(); p != nil {
				crashed.Store(newCrash(p))
			}
		}()
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			f(i)
		}
	}
	var others sync.WaitGroup
	for range min(n, threads) - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
	if c := crashed.Load(); c != nil {
		panic(c)
	}
}

// eachChunk calls f for consecutive ranges that together are 0…n−1, on all cores.
func eachChunk(n, size int, f func(lo, hi int)) {
	parallel((n+size-1)/size, func(i int) { f(i*size, min(n, (i+1)*size)) })
}

// crash is a panic on its way from one goroutine to another, with the stack where it happened.
type crash struct {
	cause any
	stack []byte
}

// newCrash is called in the deferred function that recovered p.
func newCrash(p any) *crash {
	if c, ok := p.(*crash); ok {
		return c
	}
	return &crash{p, debug.Stack()}
}

func (c *crash) Error() string { return fmt.Sprint(c.cause) }

// forgetMappings takes the pages of all mapped files out of memory at the end of the program, on
// all cores. The system does it as well, but on one: GPT-2 small's take 20 ms, a tenth of a sweep.
func forgetMappings() {
	const piece = 16 << 20
	mappings.Range(func(_, mapped any) bool {
		data := mapped.([]byte)
		eachChunk(len(data), piece, func(lo, hi int) { forget(data[lo:hi]) })
		return true
	})
}

// pool keeps scratch memory for its next user. Unlike a sync.Pool it is never emptied: fresh memory
// is slow where it is touched for the first time.
type pool[T any] struct {
	mu   sync.Mutex
	free []*T
}

func (p *pool[T]) get() *T {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		t := p.free[n-1]
		p.free = p.free[:n-1]
		return t
	}
	return new(T)
}

func (p *pool[T]) put(t *T) {
	p.mu.Lock()
	p.free = append(p.free, t)
	p.mu.Unlock()
}

// grow returns a slice of n values, s itself if it is large enough. It begins on a cache line, or
// on a huge page where it is long enough for one. Longer slices than mostHuge have ordinary pages:
// in a virtual machine clearing that many huge ones can cost more than the faults that they save.
// Its content is arbitrary.
func grow(s []float32, n int) []float32 {
	const line, mostHuge = 64, 32 << 20 // bytes
	if cap(s) >= n {
		return s[:n]
	}
	align, huge := line, 4*n >= hugePage/2 && 4*n <= mostHuge
	if huge {
		align = hugePage
	}
	s = make([]float32, n+align/4)
	skip := int(-uintptr(unsafe.Pointer(&s[0]))%uintptr(align)) / 4
	s = s[skip:]
	if huge {
		useHugePages(unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), 4*len(s)))
	}
	return s[:n]
}
