package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"
)

// This file multiplies matrices, and three quarters of the program's time is spent here. How it is done is from
// K. Goto and R. van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (ACM TOMS 34, 2008): the product
// is cut into tiles of the size that a processor's vector registers hold, and what a tile needs is laid out beforehand in the
// order in which it is read.
//
//   - x is packed into panels of as many rows as a tile has: for each k, the panel's values of x[·, k] side by side.
//   - w is packed into panels of as many columns as a tile has: for each k, the panel's values of w[k, ·] side by side.
//   - A task is one column panel times a block of row panels. Threads take tasks from a common counter.
//   - The block of row panels, rowBlock rows by depth values, stays in a core's second-level cache from task to task.
//     Where k is larger than depth, a tile's sums are put down in y and taken up again.
//
// Every element of a product is one chain of fused multiply-adds over k in ascending order, beginning with zero; the bias is
// added last. It does not matter in which tile an element lies, how many rows there are or who computes it: the bits are the same, on every
// processor whose kernel is not the plain Go one (which rounds the product before it adds).

// matMul computes y = x·w + bias: [m, k]·[k, n] + [n] → [m, n]. A nil bias is none.
func matMul(y, x []float32, w Matrix, bias []float32) {
	multiply(product{y: y, x: x, w: w, bias: bias})
}

// matMulAdd computes y += x·w + bias, the step that adds to the residual stream: [m, k]·[k, n] + [n] → [m, n].
// Product and bias are summed first and added to y as one number, so that y is rounded only once.
func matMulAdd(y, x []float32, w Matrix, bias []float32) {
	multiply(product{y: y, x: x, w: w, bias: bias, add: true})
}

// matMulGELU computes y = gelu(x·w + bias): [m, k]·[k, n] + [n] → [m, n].
func matMulGELU(y, x []float32, w Matrix, bias []float32) {
	multiply(product{y: y, x: x, w: w, bias: bias, gelu: true})
}

// matMulT computes y = x·wᵀ, the tied unembedding: [m, k]·[n, k]ᵀ → [m, n].
func matMulT(y, x []float32, w Matrix) {
	multiply(product{y: y, x: x, w: w, transposed: true})
}

// gemm computes c = a·b, or c += a·b with accumulate: [m, k]·[k, n] → [m, n]. With transB, b is [n, k] and is read as its
// transpose. Rows of a, b and c are lda, ldb and ldc values apart. It stays on the calling goroutine, and many may call
// it at once.
func gemm(c []float32, ldc int, a []float32, lda int, b []float32, ldb int, m, n, k int, transB, accumulate bool) {
	if m == 0 || n == 0 {
		return
	}
	compute(product{y: c, ldy: ldc, x: a, ldx: lda, w: Matrix{f32: b}, ldw: ldb, m: m, n: n, k: k,
		transposed: transB, accumulate: accumulate, serial: true})
}

// product is one multiplication: y (+)= x·w (+ bias), [m, k]·[k, n] + [n] → [m, n].
type product struct {
	y, x          []float32
	w             Matrix
	bias          []float32 // nil for none
	m, n, k       int
	ldy, ldx, ldw int  // values from one row to the next
	transposed    bool // w is [n, k]
	accumulate    bool // the chain of sums begins with y
	add           bool // y is added to the finished sum
	gelu          bool // the finished sum goes through GELU
	serial        bool // on the calling goroutine alone
}

// multiply fills in the sizes of a product of dense matrices and runs it.
func multiply(p product) {
	p.k, p.n = p.w.rows, p.w.cols
	if p.transposed {
		p.k, p.n = p.n, p.k
	}
	if p.n == 0 || p.k == 0 || len(p.x) == 0 {
		return
	}
	p.m = len(p.x) / p.k
	p.ldy, p.ldx, p.ldw = p.n, p.k, p.w.cols
	if p.w.zero() {
		p.biasAlone()
		return
	}
	compute(p)
}

// biasAlone is the product where w is all zeros: the bias in every row of y.
func (p *product) biasAlone() {
	for r := 0; r < p.m; r++ {
		row := p.y[r*p.ldy : r*p.ldy+p.n]
		switch {
		case p.add:
			for i, b := range p.bias {
				row[i] += b
			}
		case p.bias == nil:
			clear(row)
		case r > 0:
			copy(row, p.y[:p.n])
		default:
			copy(row, p.bias)
			if p.gelu {
				gelu(row)
			}
		}
	}
}

// maxBlocks is how many row blocks have their x packed at a time. It bounds the scratch memory of very tall products.
const maxBlocks = 4

// compute computes a product, a few row blocks at a time.
func compute(p product) {
	s := schedules.get()
	s.product = p
	u := micro
	depths := max(1, (p.k+u.depth-1)/u.depth)
	if p.m <= 2*u.rows {
		depths = 1
	}
	s.depth = (p.k + depths - 1) / max(1, depths)
	s.depths = depths
	s.colPanels = (p.n + u.cols - 1) / u.cols
	blocks := (p.m + u.rowBlock - 1) / u.rowBlock
	for b := 0; b < blocks; b += maxBlocks {
		e := min(b+maxBlocks, blocks)
		s.slab(b*p.m/blocks, e*p.m/blocks, e-b)
	}
	s.product = product{}
	schedules.put(s)
}

// schedule is a product under way: how it is cut up, what is done, and scratch memory.
type schedule struct {
	product
	depth, depths int // values of k that are summed at a time, and how many such portions there are
	colPanels     int
	row0, rows    int // the rows under way
	blocks        int // and into how many blocks they are cut
	panels        int // row panels in a block, at most
	workers       int

	x      []float32      // packed x: [blocks][panels][k][stride]
	sums   []float32      // unfinished sums of rows × n, where y may not be written before its end
	next   atomic.Int32   // the next task
	packed atomic.Int32   // row panels of x that are packed
	done   []atomic.Int32 // [blocks][colPanels]: portions of k that are summed
	work   func(int)      // the method workThrough, bound once
}

// slab multiplies rows row0 … row1−1, cut into the given number of blocks.
func (s *schedule) slab(row0, row1, blocks int) {
	u := micro
	s.row0, s.rows, s.blocks = row0, row1-row0, blocks
	s.panels = ((s.rows+blocks-1)/blocks + u.rows - 1) / u.rows
	s.x = grow(s.x, blocks*s.panels*s.k*u.stride)
	if s.add && s.depths > 1 {
		s.sums = grow(s.sums, s.rows*s.n)
	}
	if n := blocks * s.colPanels; cap(s.done) < n {
		s.done = make([]atomic.Int32, n)
	} else {
		s.done = s.done[:n]
	}
	for i := range s.done {
		s.done[i].Store(0)
	}
	s.next.Store(0)
	s.packed.Store(0)
	s.workers = min(threads, s.colPanels*blocks)
	if s.serial || s.rows*s.n*s.k < 1<<18 {
		s.workers = 1
	}
	parallel(s.workers, s.work)
}

// block returns the rows of block b, and panel those of row panel i in it, counted from row0: all nearly equally many.
func (s *schedule) block(b int) (from, to int) {
	return b * s.rows / s.blocks, (b + 1) * s.rows / s.blocks
}
func (s *schedule) panel(b, i int) (from, to int) {
	from, to = s.block(b)
	return from + i*(to-from)/s.panels, from + (i+1)*(to-from)/s.panels
}

// workThrough takes tasks until none is left: first x is packed, then the column panels are multiplied, block after block and, in a
// block, portion after portion of k. A task waits for those that it builds on; they were taken earlier, so they end.
func (s *schedule) workThrough(int) {
	w := workspaces.get()
	defer workspaces.put(w)
	packs := s.blocks * s.panels
	for {
		t := int(s.next.Add(1)) - 1
		if t < packs {
			s.packX(t/s.panels, t%s.panels)
			s.packed.Add(1)
			continue
		}
		t -= packs
		b, d, j := t/s.colPanels/s.depths, t/s.colPanels%s.depths, t%s.colPanels
		if b >= s.blocks {
			return
		}
		for int(s.packed.Load()) < packs {
			runtime.Gosched()
		}
		done := &s.done[b*s.colPanels+j]
		for int(done.Load()) < d {
			runtime.Gosched()
		}
		s.columns(w, b, d, j)
		done.Store(int32(d + 1))
	}
}

// packX packs row panel i of block b.
func (s *schedule) packX(b, i int) {
	u := micro
	from, to := s.panel(b, i)
	u.transpose(s.x[(b*s.panels+i)*s.k*u.stride:], u.stride, s.x0(from), s.ldx, to-from, s.k)
}

func (s *schedule) x0(row int) []float32 { return s.product.x[(s.row0+row)*s.ldx:] }

// columns multiplies row block b with column panel j over portion d of k.
func (s *schedule) columns(w *workspace, b, d, j int) {
	u := micro
	k0 := d * s.depth
	k := min(s.depth, s.k-k0)
	c0 := j * u.cols
	cols := min(u.cols, s.n-c0)
	first, last := d == 0, d == s.depths-1

	t := &w.tile
	*t = tile{k: k, ld: s.ldy}
	w.b = grow(w.b, k*u.cols)
	// Whole panels of F32 weights are read where they are by the first tile, which packs them for the others as it goes.
	inPlace := !s.transposed && s.w.half == nil && cols == u.cols
	if inPlace {
		t.b, t.ldb = &s.w.f32[k0*s.ldw+c0], s.ldw
		t.inPlace = 1
		if s.panels > 1 {
			t.pack = &w.b[0]
		}
	} else {
		s.packW(w, k0, k, c0, cols)
		t.b, t.ldb = &w.b[0], u.cols
	}
	if last && s.bias != nil {
		t.bias = &s.bias[c0]
	}
	for i := 0; i < s.panels; i++ {
		from, to := s.panel(b, i)
		t.rows = to - from
		t.a = &s.x[((b*s.panels+i)*s.k+k0)*u.stride]
		y := s.y[(s.row0+from)*s.ldy+c0:]
		sums := y
		if s.add && s.depths > 1 {
			sums = s.sums[from*s.n+c0:]
		}
		t.from, t.plus, t.to = nil, nil, &sums[0]
		if !first || s.accumulate {
			t.from = &sums[0]
		}
		if last {
			t.to = &y[0]
			if s.add {
				t.plus = &y[0]
			}
		}
		if cols == u.cols {
			u.tile(t)
		} else {
			w.edge(cols)
		}
		if i == 0 && inPlace {
			t.b, t.ldb, t.pack = &w.b[0], u.cols, nil
			t.inPlace = 0
		}
		if last && s.gelu {
			for r := 0; r < t.rows; r++ {
				gelu(y[r*s.ldy : r*s.ldy+cols])
			}
		}
	}
}

// packW packs rows k0 … k0+k−1 of columns c0 … c0+cols−1 of w: widened, and turned about if w is transposed.
func (s *schedule) packW(w *workspace, k0, k, c0, cols int) {
	u := micro
	if s.transposed {
		rows, ld := s.w.f32, s.ldw
		if s.w.half != nil {
			w.wide = grow(w.wide, cols*k)
			for c := 0; c < cols; c++ {
				s.w.widen(w.wide[c*k:(c+1)*k], (c0+c)*s.ldw+k0)
			}
			rows, ld = w.wide, k
		} else {
			rows = rows[c0*ld+k0:]
		}
		u.transpose(w.b, u.cols, rows, ld, cols, k)
		return
	}
	for l := 0; l < k; l++ {
		s.w.widen(w.b[l*u.cols:l*u.cols+cols], (k0+l)*s.ldw+c0)
	}
}

// workspace is the scratch memory of one goroutine.
type workspace struct {
	tile       tile
	b          []float32 // a packed column panel: [depth][columns]
	wide       []float32 // rows of w, widened
	from, plus [maxTileRows * maxTileCols]float32
	bias       [maxTileCols]float32
}

// edge computes a tile of fewer columns than the kernel's in scratch memory.
func (w *workspace) edge(cols int) {
	u, t := micro, &w.tile
	whole := *t
	t.ld = u.cols
	t.to = &w.from[0]
	if t.from != nil {
		t.from = &w.from[0]
		copyRows(t.from, t.ld, whole.from, whole.ld, t.rows, cols)
	}
	if t.plus != nil {
		t.plus = &w.plus[0]
		copyRows(t.plus, t.ld, whole.plus, whole.ld, t.rows, cols)
	}
	if t.bias != nil {
		t.bias = &w.bias[0]
		copyRows(t.bias, 0, whole.bias, 0, 1, cols)
	}
	u.tile(t)
	copyRows(whole.to, whole.ld, t.to, t.ld, t.rows, cols)
	*t = whole
}

func copyRows(dst *float32, ldd int, src *float32, lds, rows, cols int) {
	d := unsafe.Slice(dst, (rows-1)*ldd+cols)
	s := unsafe.Slice(src, (rows-1)*lds+cols)
	for r := 0; r < rows; r++ {
		copy(d[r*ldd:r*ldd+cols], s[r*lds:])
	}
}

// threads is how many goroutines a parallel loop runs on.
var threads = runtime.GOMAXPROCS(0)

// parallel calls f(0) … f(n−1), on up to threads goroutines, each of which takes the next i when it is done with one.
func parallel(n int, f func(i int)) {
	g := min(n, threads)
	if g <= 1 {
		for i := 0; i < n; i++ {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	loop := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			f(i)
		}
	}
	wg.Add(g - 1)
	for ; g > 1; g-- {
		go func() {
			defer wg.Done()
			loop()
		}()
	}
	loop()
	wg.Wait()
}

// pool keeps scratch memory for the next product. Unlike a sync.Pool it is never emptied.
type pool[T any] struct {
	mu   sync.Mutex
	free []*T
	make func() *T
}

var (
	schedules  = pool[schedule]{make: func() *schedule { s := new(schedule); s.work = s.workThrough; return s }}
	workspaces = pool[workspace]{make: func() *workspace { return new(workspace) }}
)

func (p *pool[T]) get() *T {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		t := p.free[n-1]
		p.free = p.free[:n-1]
		return t
	}
	return p.make()
}

func (p *pool[T]) put(t *T) {
	p.mu.Lock()
	p.free = append(p.free, t)
	p.mu.Unlock()
}

// grow returns a slice of n values that begins on a cache line, s itself if it is large enough. Its content is arbitrary.
func grow(s []float32, n int) []float32 {
	const line = 64 // bytes
	if cap(s) >= n {
		return s[:n]
	}
	s = make([]float32, n+line/4)
	skip := int(-uintptr(unsafe.Pointer(&s[0]))%line) / 4
	return s[skip : skip+n]
}
