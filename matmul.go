package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"
)

// matMul computes y = x·w + bias: [m, k]·[k, n] + [n] → [m, n]. A nil bias is none.
func matMul(y, x []float32, w Matrix, bias []float32) {
	multiply(product{y: y, x: x, w: w, bias: bias})
}

// matMulAdd computes y += x·w + bias, the step that adds to a residual stream: [m, k]·[k, n] + [n] → [m, n].
// The product and the bias are summed first and then added to y, so y is rounded once.
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

// gemm computes c = a·b, or c += a·b when accumulate is set: [m, k]·[k, n] → [m, n]; transB reads b as [n, k].
// Rows are lda, ldb and ldc floats apart. It runs on the calling goroutine alone.
func gemm(c []float32, ldc int, a []float32, lda int, b []float32, ldb int, m, n, k int, transB, accumulate bool) {
	if m == 0 || n == 0 {
		return
	}
	p := products.get()
	defer products.put(p)
	p.product = product{y: c, x: a, w: Matrix{f32: b}, m: m, n: n, k: k, ldy: ldc, ldx: lda, ldw: ldb, transposed: transB, accumulate: accumulate, serial: true}
	p.run()
}

func multiply(q product) {
	q.m = len(q.x) / max(1, q.w.rows)
	q.k, q.n = q.w.rows, q.w.cols
	if q.transposed {
		q.k, q.n = q.w.cols, q.w.rows
		q.m = len(q.x) / max(1, q.k)
	}
	q.ldy, q.ldx, q.ldw = q.n, q.k, q.w.cols
	p := products.get()
	defer products.put(p)
	p.product = q
	p.run()
}

type product struct {
	y, x                  []float32
	w                     Matrix
	bias                  []float32
	m, n, k               int
	ldy, ldx, ldw         int
	transposed, add, gelu bool
	accumulate, serial    bool
}

type productState struct {
	product
	r0, rows                     int // the block of rows under way
	rowPanels, colPanels, depths int
	kc                           int
	a                            []float32
	sums                         []float32
	done                         []atomic.Int32
	next, packed                 atomic.Int32
	runner                       func(int)
}

type worker struct {
	tile           tile
	b              []float32
	edge, edgePlus [14 * 32]float32
	edgeBias       [32]float32
	wide           []float32
}

var (
	maxRows = 644
	depth   = 384
)

func (p *productState) run() {
	u := micro
	if p.w.zero() || p.k == 0 {
		for i := 0; i < p.m; i++ {
			row := p.y[i*p.ldy:][:p.n]
			for j := range row {
				row[j] = 0
				if p.bias != nil {
					row[j] = p.bias[j]
				}
			}
			if p.product.gelu {
				gelu(row)
			}
		}
		return
	}
	p.kc = p.k
	if p.m > 2*u.mr {
		blocks := (p.k + depth - 1) / depth
		p.kc = (p.k + blocks - 1) / blocks
	}
	p.depths = (p.k + p.kc - 1) / p.kc
	p.colPanels = (p.n + u.nr - 1) / u.nr
	nb := (p.m + maxRows - 1) / maxRows
	for i := 0; i < nb; i++ {
		p.r0 = i * p.m / nb
		p.rows = (i+1)*p.m/nb - p.r0
		p.block()
	}
}

func grow(s []float32, n int) []float32 {
	if cap(s) >= n {
		return s[:n]
	}
	s = make([]float32, n+16)
	off := int(-uintptr(unsafe.Pointer(&s[0]))&63) / 4
	return s[off : off+n : off+n]
}

func (p *productState) block() {
	u := micro
	p.rowPanels = (p.rows + u.mr - 1) / u.mr
	p.a = grow(p.a, p.rowPanels*p.k*u.ma)
	if p.add && p.depths > 1 {
		p.sums = grow(p.sums, p.rows*p.n)
	}
	if cap(p.done) < p.colPanels {
		p.done = make([]atomic.Int32, p.colPanels)
	}
	p.done = p.done[:p.colPanels]
	for i := range p.done {
		p.done[i].Store(0)
	}
	p.next.Store(0)
	p.packed.Store(0)
	n := threads
	if p.serial || p.rows*p.n*p.k < 1<<19 {
		n = 1
	}
	parallel(n, p.runner)
}

func (p *productState) work(int) {
	w := workers.get()
	defer workers.put(w)
	u := micro
	for {
		t := int(p.next.Add(1)) - 1
		switch {
		case t < p.rowPanels:
			r0, r1 := t*p.rows/p.rowPanels, (t+1)*p.rows/p.rowPanels
			u.transpose(p.a[t*p.k*u.ma:], u.ma, p.x[(p.r0+r0)*p.ldx:], p.ldx, r1-r0, p.k)
			p.packed.Add(1)
		case t < p.rowPanels+p.depths*p.colPanels:
			for int(p.packed.Load()) < p.rowPanels {
				runtime.Gosched()
			}
			t -= p.rowPanels
			d, j := t/p.colPanels, t%p.colPanels
			for int(p.done[j].Load()) < d {
				runtime.Gosched()
			}
			p.panel(w, d, j)
			p.done[j].Store(int32(d + 1))
		default:
			return
		}
	}
}

var mode = 3

func (p *productState) panel(w *worker, d, j int) {
	u := micro
	k0 := d * p.kc
	k1 := min(k0+p.kc, p.k)
	c0 := j * u.nr
	cols := min(u.nr, p.n-c0)
	w.b = grow(w.b, (k1-k0)*u.nr)
	t := &w.tile
	*t = tile{k: k1 - k0, ld: p.ldy}
	direct := !p.transposed && p.w.half == nil && cols == u.nr
	if direct {
		t.b, t.ldb = &p.w.f32[k0*p.ldw+c0], p.ldw
	} else {
		p.packB(w, k0, k1, c0, cols)
		t.b, t.ldb = &w.b[0], u.nr
	}
	first, last := d == 0, d == p.depths-1
	if last && p.bias != nil {
		t.bias = &p.bias[c0]
		if cols < u.nr {
			copy(w.edgeBias[:], p.bias[c0:])
			t.bias = &w.edgeBias[0]
		}
	}
	for i := 0; i < p.rowPanels; i++ {
		r0, r1 := i*p.rows/p.rowPanels, (i+1)*p.rows/p.rowPanels
		t.rows = r1 - r0
		t.a = &p.a[(i*p.k+k0)*u.ma]
		t.pack, t.ahead, t.ldAhead = nil, t.b, 0
		if direct && i == 0 && p.rowPanels > 1 {
			t.pack = &w.b[0]
		}
		if i+1 < p.rowPanels && mode&1 != 0 {
			rr := r1
			if mode&4 != 0 {
				rr = r0
			}
			t.next = &p.y[(p.r0+rr)*p.ldy+c0]
		} else {
			t.next = nil
		}
		if i > 0 && i < 4 && j+1 < p.colPanels-1 && mode&2 != 0 && direct {
			t.ahead, t.ldAhead = &p.w.f32[k0*p.ldw+c0+u.nr+16*(i-1)], p.ldw
		}
		out := p.y[(p.r0+r0)*p.ldy+c0:]
		dst := out
		if p.add && !last {
			dst = p.sums[r0*p.n+c0:]
		}
		t.from, t.plus, t.to = nil, nil, &dst[0]
		if !first || p.accumulate {
			t.from = &dst[0]
		}
		if !first && p.add {
			t.from = &p.sums[r0*p.n+c0]
		}
		if last && p.add {
			t.plus = &out[0]
		}
		if cols < u.nr {
			p.edge(w, dst, cols)
		} else {
			u.tile(t)
		}
		if i == 0 {
			t.b, t.ldb = &w.b[0], u.nr
		}
		if last && p.gelu {
			for r := 0; r < t.rows; r++ {
				gelu(out[r*p.ldy : r*p.ldy+cols])
			}
		}
	}
}

func (p *productState) edge(w *worker, dst []float32, cols int) {
	u := micro
	t := &w.tile
	edge := func(buf []float32, src *float32) *float32 {
		if src == nil {
			return nil
		}
		s := unsafe.Slice(src, (t.rows-1)*t.ld+cols)
		for r := 0; r < t.rows; r++ {
			copy(buf[r*u.nr:r*u.nr+cols], s[r*t.ld:])
		}
		return &buf[0]
	}
	t.from = edge(w.edge[:], t.from)
	t.plus = edge(w.edgePlus[:], t.plus)
	t.to = &w.edge[0]
	ld := t.ld
	t.ld = u.nr
	u.tile(t)
	t.ld = ld
	for r := 0; r < t.rows; r++ {
		copy(dst[r*ld:r*ld+cols], w.edge[r*u.nr:])
	}
}

func (p *productState) packB(w *worker, k0, k1, c0, cols int) {
	u := micro
	switch {
	case p.transposed && p.w.half == nil:
		u.transpose(w.b, u.nr, p.w.f32[c0*p.ldw+k0:], p.ldw, cols, k1-k0)
	case p.transposed:
		w.wide = grow(w.wide, cols*(k1-k0))
		for c := 0; c < cols; c++ {
			p.w.piece(w.wide[c*(k1-k0):(c+1)*(k1-k0)], c0+c, k0)
		}
		u.transpose(w.b, u.nr, w.wide, k1-k0, cols, k1-k0)
	case p.w.half != nil:
		for k := k0; k < k1; k++ {
			p.w.piece(w.b[(k-k0)*u.nr:(k-k0)*u.nr+cols], k, c0)
		}
	default:
		for k := k0; k < k1; k++ {
			copy(w.b[(k-k0)*u.nr:(k-k0)*u.nr+cols], p.w.f32[k*p.ldw+c0:])
		}
	}
}

type tile struct {
	rows, k              int
	a                    *float32
	b                    *float32
	ldb                  int
	pack                 *float32
	ahead                *float32
	ldAhead              int
	from, bias, plus, to *float32
	ld                   int
	next                 *float32
}

type microKernel struct {
	name       string
	mr, nr, ma int
	tile       func(t *tile)
	transpose8 func(dst *float32, ldd int, src *float32, lds int, blocks int)
}

// transpose: dst[c*ldd+r] = src[r*lds+c]
func (u *microKernel) transpose(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	if u.transpose8 == nil || rows < 8 || cols < 8 {
		for r := 0; r < rows; r++ {
			for c, v := range src[r*lds : r*lds+cols] {
				dst[c*ldd+r] = v
			}
		}
		return
	}
	for r := 0; r < rows; r += 8 {
		r = min(r, rows-8)
		u.transpose8(&dst[r], ldd, &src[r*lds], lds, cols/8)
		if cols%8 != 0 {
			u.transpose8(&dst[r+(cols-8)*ldd], ldd, &src[r*lds+cols-8], lds, 1)
		}
	}
}

type freeList[T any] struct {
	sync.Mutex
	free  []*T
	fresh func() *T
}

func (f *freeList[T]) get() *T {
	f.Lock()
	defer f.Unlock()
	if n := len(f.free); n > 0 {
		t := f.free[n-1]
		f.free = f.free[:n-1]
		return t
	}
	return f.fresh()
}
func (f *freeList[T]) put(t *T) { f.Lock(); f.free = append(f.free, t); f.Unlock() }

var products = freeList[productState]{fresh: func() *productState { p := new(productState); p.runner = p.work; return p }}
var workers = freeList[worker]{fresh: func() *worker { return new(worker) }}

var threads = runtime.GOMAXPROCS(0)

func parallel(n int, f func(i int)) {
	g := min(n, threads)
	if g <= 1 {
		for i := 0; i < n; i++ {
			f(i)
		}
		return
	}
	var next atomic.Int64
	loop := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			f(i)
		}
	}
	var wg sync.WaitGroup
	wg.Add(g - 1)
	for ; g > 1; g-- {
		go func() { defer wg.Done(); loop() }()
	}
	loop()
	wg.Wait()
}

var kernel string
var micro *microKernel
var kernelErr = useKernel(os.Getenv("MECHPATCH_KERNEL"))

func useKernel(name string) error {
	for _, u := range microKernels() {
		if name == "" || u.name == name {
			kernel = u.name
			micro = u
			return nil
		}
	}
	return fmt.Errorf("MECHPATCH_KERNEL=%s: no such kernel", name)
}
