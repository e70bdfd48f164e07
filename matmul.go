package main

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"unsafe"
)

// How the matrices are multiplied is from K. Goto and R. van de Geijn, "Anatomy of High-Performance Matrix Multiplication"
// (ACM Transactions on Mathematical Software 34, 2008). y is cut into tiles of the size that a processor's vector
// registers hold (kernel.go), and what a tile needs is laid out beforehand in the order in which it is read:
//
//   - x in row panels, as many rows as a tile has: for each k, the panel's values of x[·, k] side by side;
//   - w in column panels, as many columns as a tile has: for each k, the panel's values of w[k, ·] side by side.
//
// A task is a strip of a few column panels times a block of row panels. The threads take tasks from a common counter. A
// block of packed x, rowBlock rows × depth values of k, stays in a core's second-level cache from one task to the next.
// Where k is larger than depth, unfinished sums are put down in y and taken up again.
//
// Every element of y is one chain of fused multiply-adds over k in ascending order that begins with zero; the bias comes
// last. In which tile the element lies, how many other rows there are and how many threads work makes no difference to it,
// and every vector kernel gives the same bits. The plain Go kernel rounds each product before it adds, and so differs from
// them in the last bits.

// matMul computes y = x·w + bias: [m, k]·[k, n] + [n] → [m, n]. A nil bias is none.
func matMul(y, x []float32, w Matrix, bias []float32) {
	multiply(product{y: y, x: x, w: w, bias: bias})
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
	if k == 0 {
		for r := 0; r < m && !accumulate; r++ {
			clear(c[r*ldc : r*ldc+n])
		}
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
const maxBlocks = 2

// worthThreads is the number of multiplications from which on it pays to wake other threads.
const worthThreads = 1 << 18

// compute computes a product, a few row blocks at a time.
func compute(p product) {
	s := schedules.get()
	s.product = p
	u := micro
	s.depths = (p.k + u.depth - 1) / u.depth
	s.depth = (p.k + s.depths - 1) / s.depths
	blocks := (p.m + u.rowBlock - 1) / u.rowBlock
	s.strip = u.strip
	for s.strip > u.cols && blocks*p.n < 4*threads*s.strip {
		s.strip -= u.cols // so that every thread has some tasks
	}
	s.strips = (p.n + s.strip - 1) / s.strip
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
	strip, strips int // columns of a strip, and how many strips there are
	row0, rows    int // the rows under way
	blocks        int // and into how many blocks they are cut
	panels        int // row panels in a block, at most

	packedX []float32      // [blocks][panels][k][stride]
	next    atomic.Int32   // the next task
	packed  atomic.Int32   // row panels that are packed
	done    []atomic.Int32 // [blocks][strips]: portions of k that are summed
	broken  atomic.Bool    // a goroutine has panicked, and its tasks will not be done
	work    func(int)      // the method workThrough, bound once
}

// slab multiplies rows row0 … row1−1, cut into the given number of blocks.
func (s *schedule) slab(row0, row1, blocks int) {
	u := micro
	s.row0, s.rows, s.blocks = row0, row1-row0, blocks
	s.panels = ((s.rows+blocks-1)/blocks + u.rows - 1) / u.rows
	s.packedX = grow(s.packedX, blocks*s.panels*s.k*u.stride)
	if n := blocks * s.strips; cap(s.done) < n {
		s.done = make([]atomic.Int32, n)
	} else {
		s.done = s.done[:n]
	}
	for i := range s.done {
		s.done[i].Store(0)
	}
	s.next.Store(0)
	s.packed.Store(0)
	workers := min(threads, blocks*s.strips)
	if s.serial || s.rows*s.n*s.k < worthThreads {
		workers = 1
	}
	parallel(workers, s.work)
}

// panel returns the rows of row panel i of block b, counted from row0. Blocks and panels have nearly equally many rows each.
func (s *schedule) panel(b, i int) (from, to int) {
	first, rows := b*s.rows/s.blocks, (b+1)*s.rows/s.blocks-b*s.rows/s.blocks
	return first + i*rows/s.panels, first + (i+1)*rows/s.panels
}

// workThrough takes tasks until none is left: first x is packed, then the strips are multiplied, block after block and, in
// a block, portion after portion of k. A task waits for those that it builds on; they were taken earlier, so they end.
func (s *schedule) workThrough(int) {
	w := workspaces.get()
	whole := false
	defer func() {
		workspaces.put(w)
		if !whole { // a panic: nobody is to wait for this goroutine's tasks
			s.broken.Store(true)
		}
	}()
	packs := s.blocks * s.panels // tasks of packing come first
	for {
		t := int(s.next.Add(1)) - 1
		if t < packs {
			s.packX(t/s.panels, t%s.panels)
			s.packed.Add(1)
			continue
		}
		t -= packs
		b, d, j := t/s.strips/s.depths, t/s.strips%s.depths, t%s.strips
		if b >= s.blocks || s.broken.Load() {
			whole = true
			return
		}
		for int(s.packed.Load()) < packs && !s.broken.Load() {
			runtime.Gosched()
		}
		done := &s.done[b*s.strips+j]
		for int(done.Load()) < d && !s.broken.Load() {
			runtime.Gosched()
		}
		s.multiply(w, b, d, j)
		done.Store(int32(d + 1))
	}
}

// packX packs row panel i of block b.
func (s *schedule) packX(b, i int) {
	u := micro
	from, to := s.panel(b, i)
	rows := s.x[(s.row0+from)*s.ldx:]
	u.transpose(s.packedX[(b*s.panels+i)*s.k*u.stride:], u.stride, rows, s.ldx, to-from, s.k)
}

// multiply multiplies row block b with strip j of the columns over portion d of k.
func (s *schedule) multiply(w *workspace, b, d, j int) {
	u := micro
	k0 := d * s.depth
	k := min(s.depth, s.k-k0)
	c0 := j * s.strip
	c1 := min(c0+s.strip, s.n)
	w.b = grow(w.b, k*((c1-c0+u.cols-1)/u.cols*u.cols))
	for c := c0; c < c1; c += u.cols {
		if !s.readInPlace(c) {
			s.packW(w, w.b[(c-c0)*k:], k0, k, c, min(u.cols, c1-c))
		}
	}
	for i := 0; i < s.panels; i++ {
		for c := c0; c < c1; c += u.cols {
			s.tile(w, w.b[(c-c0)*k:], b, i, c, d)
		}
		if s.gelu && d == s.depths-1 {
			for r, to := s.panel(b, i); r < to; r++ {
				row := (s.row0 + r) * s.ldy
				gelu(s.y[row+c0 : row+c1])
			}
		}
	}
}

// readInPlace reports whether the first row panel reads the column panel at c where the matrix lies, and packs it for the
// others on the way. So it does where the panel is whole and needs neither widening nor turning about.
func (s *schedule) readInPlace(c int) bool {
	return !s.transposed && s.w.half == nil && c+micro.cols <= s.n
}

// tile multiplies row panel i of block b with the column panel at c, packed in panel, over portion d of k.
func (s *schedule) tile(w *workspace, panel []float32, b, i, c, d int) {
	u := micro
	from, to := s.panel(b, i)
	k0 := d * s.depth
	cols := min(u.cols, s.n-c)
	first, last := d == 0, d == s.depths-1

	t := &w.tile
	*t = tile{rows: to - from, k: min(s.depth, s.k-k0), ld: s.ldy, b: &panel[0], ldb: u.cols}
	t.a = &s.packedX[((b*s.panels+i)*s.k+k0)*u.stride]
	if i == 0 && s.readInPlace(c) {
		t.b, t.ldb, t.inPlace = &s.w.f32[k0*s.ldw+c], s.ldw, 1
		if s.panels > 1 {
			t.pack = &panel[0]
		}
	}
	y := s.y[(s.row0+from)*s.ldy+c:]
	t.to = &y[0]
	if !first || s.accumulate {
		t.from = &y[0]
	}
	if last && s.bias != nil {
		t.bias = &s.bias[c]
	}
	if cols == u.cols {
		u.tile(t)
	} else {
		w.edge(cols)
	}
}

// packW packs rows k0 … k0+k−1 of columns c0 … c0+cols−1 of w into dst: widened to float32, and turned about if w is
// transposed.
func (s *schedule) packW(w *workspace, dst []float32, k0, k, c0, cols int) {
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
		u.transpose(dst, u.cols, rows, ld, cols, k)
		return
	}
	for l := 0; l < k; l++ {
		s.w.widen(dst[l*u.cols:l*u.cols+cols], (k0+l)*s.ldw+c0)
	}
}

// workspace is the scratch memory of one goroutine.
type workspace struct {
	tile tile
	b    []float32                          // a packed strip of w: [panels][depth][cols]
	wide []float32                          // rows of w, widened to float32
	from [maxTileRows * maxTileCols]float32 // for tiles at the right edge
	bias [maxTileCols]float32
}

// edge computes a tile that has fewer columns than the kernel's, in scratch memory.
func (w *workspace) edge(cols int) {
	u, t := micro, &w.tile
	whole := *t
	t.ld = u.cols
	t.to = &w.from[0]
	if t.from != nil {
		t.from = &w.from[0]
		copyRows(t.from, t.ld, whole.from, whole.ld, t.rows, cols)
	}
	if t.bias != nil {
		t.bias = &w.bias[0]
		copyRows(t.bias, 0, whole.bias, 0, 1, cols)
	}
	u.tile(t)
	copyRows(whole.to, whole.ld, t.to, t.ld, t.rows, cols)
	*t = whole
}

// copyRows copies a [rows, cols] matrix whose rows are lds values apart to where they are ldd apart.
func copyRows(dst *float32, ldd int, src *float32, lds, rows, cols int) {
	d := unsafe.Slice(dst, (rows-1)*ldd+cols)
	s := unsafe.Slice(src, (rows-1)*lds+cols)
	for r := 0; r < rows; r++ {
		copy(d[r*ldd:r*ldd+cols], s[r*lds:])
	}
}

// threads is how many goroutines a parallel loop runs on.
var threads = runtime.GOMAXPROCS(0)

// parallel calls f(0) … f(n−1), on up to threads goroutines, each of which takes the next i when it is done with one. A panic in
// one of them is handed on to the caller, where it can be recovered from: mapped weights may fail to be read.
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
	var cause atomic.Pointer[any]
	loop := func() {
		defer wg.Done()
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() {
			if p := recover(); p != nil {
				cause.Store(&p)
			}
		}()
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			f(i)
		}
	}
	wg.Add(g)
	for ; g > 1; g-- {
		go loop()
	}
	loop()
	wg.Wait()
	if p := cause.Load(); p != nil {
		panic(*p)
	}
}

// pool keeps scratch memory for the next product. Unlike a sync.Pool it is never emptied, so that in the steady state nothing
// is allocated.
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
