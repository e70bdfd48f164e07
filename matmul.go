package main

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

// How the matrices are multiplied is from K. Goto and R. van de Geijn, "Anatomy of High-Performance
// Matrix Multiplication" (ACM Transactions on Mathematical Software 34, 2008). y is cut into tiles
// of the size that a processor's vector registers hold (kernel.go), and what a tile needs is laid
// out beforehand in the order in which it is read:
//
//   - x in row panels of as many rows as a tile has: for each k, the panel's x[·, k] side by side;
//   - w in column panels of as many columns: for each k, the panel's w[k, ·] side by side.
//
// A task, which the threads take from a common counter, is a strip of a few column panels times a
// block of row panels. Only a portion of k, depth values, is summed at a time: unfinished sums are
// put down in y and taken up again. A packed strip of that depth stays in a core's second-level
// cache while the row panels are multiplied with it one after the other, and each row panel is near
// while it is multiplied with the strip's column panels. Of x too only a portion is packed at a
// time, where it is large: in room that is used again and again, the packed x stays in the caches.
//
// Every element of y is one chain of fused multiply-adds over k in ascending order that begins with
// zero; the bias comes last. In which tile the element lies, how many other rows there are and how
// many threads work makes no difference to it, and every vector kernel gives the same bits. The
// plain Go kernel rounds each product before it adds, and so differs from them in the last bits.

// matMul computes y = x·w + bias: [m, k]·[k, n] + [n] → [m, n]. A nil bias is none.
func matMul(y, x []float32, w Matrix, bias []float32) {
	multiply(product{y: y, x: x, w: w, bias: bias})
}

// matMulActivated computes y = f(x·w + bias), with f the activation: [m, k]·[k, n] + [n] → [m, n].
func matMulActivated(y, x []float32, w Matrix, bias []float32, f Activation) {
	multiply(product{y: y, x: x, w: w, bias: bias, activate: chosen.activate[f]})
}

// matMulT computes y = x·wᵀ, the tied unembedding: [m, k]·[n, k]ᵀ → [m, n].
func matMulT(y, x []float32, w Matrix) {
	multiply(product{y: y, x: x, w: w, transposed: true})
}

// product is one multiplication: y = x·w (+ bias), perhaps through GELU: [m, k]·[k, n] + [n] → [m,
// n].
type product struct {
	y, x       []float32
	w          Matrix
	bias       []float32 // nil for none
	m, n, k    int
	transposed bool              // w is [n, k]
	activate   func(x []float32) // what the finished sums go through, or nil
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
	if p.w.zero() {
		p.biasAlone()
		return
	}
	_ = p.y[:p.m*p.n] // the kernels check no bounds
	if p.bias != nil {
		_ = p.bias[:p.n]
	}
	compute(p)
}

// biasAlone is the product where w is all zeros: the bias in every row of y.
func (p *product) biasAlone() {
	for r := 0; r < p.m; r++ {
		row := p.y[r*p.n : (r+1)*p.n]
		switch {
		case p.bias == nil:
			clear(row)
		case r > 0:
			copy(row, p.y[:p.n])
		default:
			copy(row, p.bias)
			if p.activate != nil {
				p.activate(row)
			}
		}
	}
}

// maxBlocks is how many row blocks have their x packed at a time. It bounds the scratch memory of
// very tall products.
const maxBlocks = 2

// stripGap is the values between the packed column panels of a strip. Panels a power of two apart
// would crowd the same lines of the cache.
const stripGap = 16

// aheadRows is how many rows before it is packed a row of w is fetched from main memory.
const aheadRows = 8

// worthThreads is the number of multiplications from which on it pays to wake other threads.
const worthThreads = 1 << 18

// compute computes a product, a few row blocks at a time.
func compute(p product) {
	s := schedules.get()
	s.product = p
	u := chosen
	s.depths = (p.k + u.depth - 1) / u.depth
	s.depth = (p.k + s.depths - 1) / s.depths
	blocks := (p.m + u.rowBlock - 1) / u.rowBlock
	s.strip = u.strip
	for s.strip > u.cols && blocks*p.n < 4*threads*s.strip {
		s.strip -= u.cols // so that every thread has some tasks
	}
	s.strips = (p.n + s.strip - 1) / s.strip
	pieces := 1 // of a block, where there are more threads than columns to go round
	for min(blocks, maxBlocks)*pieces*s.strips < 2*threads && 4*u.rows*blocks*pieces < p.m {
		pieces++
	}
	for b := 0; b < blocks; b += maxBlocks {
		e := min(b+maxBlocks, blocks)
		s.slab(b*p.m/blocks, e*p.m/blocks, (e-b)*pieces)
	}
	s.product = product{}
	schedules.put(s)
}

// reserve makes room for the packed x of products up to [m, k]·[k, n], so that those of a batch
// that grows from layer to layer do not outgrow it again and again.
func reserve(m, k int) {
	u := chosen
	s := schedules.get()
	panels := min(m, maxBlocks*u.rowBlock)/u.rows + 2*maxBlocks
	s.packedX = grow(s.packedX, panels*min(k+k/u.depth+1, 2*u.depth)*u.stride)
	schedules.put(s)
}

// schedule is a product under way: how it is cut up, what is done, and scratch memory.
type schedule struct {
	product
	depth, depths int   // values of k that are summed at a time, and how many such portions
	strip, strips int   // columns of a strip, and how many strips
	blocks        int   // of the rows under way
	panels        int   // row panels in a block
	firstRow      []int // [blocks·panels + 1]: where the row panels begin, and where the last ends
	group, rounds int   // portions of a round, and how many rounds there are

	packedX []float32      // [2 rounds][blocks][group][panels][depth][stride]
	next    atomic.Int32   // the next task
	packed  atomic.Int32   // tasks of packing that are done
	summed  []atomic.Int32 // [blocks·strips]: how many rounds are in y
	broken  atomic.Bool    // a goroutine has panicked, and its tasks will not be done
}

// slab multiplies rows row0 … row1−1, cut into the given number of blocks. Blocks and panels have
// nearly equally many rows each.
func (s *schedule) slab(row0, row1, blocks int) {
	u := chosen
	rows := row1 - row0
	s.blocks = blocks
	s.panels = ((rows+blocks-1)/blocks + u.rows - 1) / u.rows
	all := blocks * s.panels
	s.firstRow = s.firstRow[:0]
	for i := 0; i <= all; i++ {
		s.firstRow = append(s.firstRow, row0+i*rows/all)
	}
	s.group = min(s.depths, max(1, blocks*u.rowBlock/(2*rows)))
	s.rounds = (s.depths + s.group - 1) / s.group
	s.packedX = grow(s.packedX, min(2, s.rounds)*s.group*all*s.depth*u.stride)
	s.next.Store(0)
	s.packed.Store(0)
	s.summed = make([]atomic.Int32, blocks*s.strips)
	workers := min(threads, blocks*s.strips)
	if int64(rows)*int64(s.n)*int64(s.k) < worthThreads {
		workers = 1
	}
	parallel(workers, func(int) { s.work() })
}

// work takes tasks until none is left. In each round x is packed over a group of portions of k, and
// then the strips are multiplied, block after block. There is room for the packed x of two rounds,
// so that one can begin while the last strips of the one before are under way.
func (s *schedule) work() {
	w := workspaces.get()
	finished := false
	defer func() {
		workspaces.put(w)
		if !finished { // a panic: nobody is to wait for this goroutine's tasks
			s.broken.Store(true)
		}
	}()
	packs, products := s.blocks*s.panels, s.blocks*s.strips
	for {
		t := int(s.next.Add(1)) - 1
		round, t := t/(packs+products), t%(packs+products)
		if round == s.rounds || s.broken.Load() {
			finished = true
			return
		}
		if t < packs {
			s.await(&s.packed, round*packs)
			for i := range s.summed {
				s.await(&s.summed[i], round-1)
			}
			s.packX(round, t/s.panels, t%s.panels)
			s.packed.Add(1)
			continue
		}
		t -= packs
		s.await(&s.packed, (round+1)*packs)
		s.await(&s.summed[t], round)
		s.multiply(w, round, t/s.strips, t%s.strips)
		s.summed[t].Add(1)
	}
}

// await waits until a counter has reached n, or nobody will get it there.
func (s *schedule) await(counter *atomic.Int32, n int) {
	for int(counter.Load()) < n && !s.broken.Load() {
		runtime.Gosched()
	}
}

// panel returns the rows of row panel i of block b.
func (s *schedule) panel(b, i int) (from, to int) {
	return s.firstRow[b*s.panels+i], s.firstRow[b*s.panels+i+1]
}

// portion returns where portion d of k begins and how much of k it is.
func (s *schedule) portion(d int) (k0, k int) {
	return d * s.depth, min(s.depth, s.k-d*s.depth)
}

// endOf is the portion behind the last one of a round.
func (s *schedule) endOf(round int) int { return min(s.depths, (round+1)*s.group) }

// packedPanel is row panel i of block b over portion d of k.
func (s *schedule) packedPanel(b, d, i int) []float32 {
	half := d / s.group % 2
	return s.packedX[(((half*s.blocks+b)*s.group+d%s.group)*s.panels+i)*s.depth*chosen.stride:]
}

// packX packs row panel i of block b over the portions of a round.
func (s *schedule) packX(round, b, i int) {
	u := chosen
	from, to := s.panel(b, i)
	for d := round * s.group; d < s.endOf(round); d++ {
		k0, k := s.portion(d)
		u.transpose(s.packedPanel(b, d, i), u.stride, s.x[from*s.k+k0:], s.k, to-from, k)
	}
}

// multiply multiplies row block b with strip j of the columns over the portions of a round.
func (s *schedule) multiply(w *workspace, round, b, j int) {
	c0 := j * s.strip
	c1 := min(c0+s.strip, s.n)
	for d := round * s.group; d < s.endOf(round); d++ {
		k0, k := s.portion(d)
		strip := s.packStrip(w, k0, k, c0, c1)
		for i := 0; i < s.panels; i++ {
			s.rowPanel(w, b, d, i, c0, c1, strip)
		}
	}
	if s.activate != nil && round == s.rounds-1 {
		for r := s.firstRow[b*s.panels]; r < s.firstRow[(b+1)*s.panels]; r++ {
			s.activate(s.y[r*s.n+c0 : r*s.n+c1])
		}
	}
}

// readInPlace reports whether the first row panel reads column panels where the matrix lies, and
// packs them for the others on the way. Only whole panels can be read so, and only where they need
// neither widening nor turning about.
func (s *schedule) readInPlace() bool {
	return chosen.inPlace && !s.transposed && s.w.half == nil
}

// packStrip packs columns c0 … c1−1 of rows k0 … k0+k−1 of w, as [panels][k][cols] with gap values
// between the panels, but for the panels that the first row panel will read in place and pack
// itself, for which it leaves room.
func (s *schedule) packStrip(w *workspace, k0, k, c0, c1 int) []float32 {
	u := chosen
	stride := k*u.cols + stripGap
	w.strip = grow(w.strip, (c1-c0+u.cols-1)/u.cols*stride)
	panel := func(c int) []float32 { return w.strip[(c-c0)/u.cols*stride:] }
	if s.transposed {
		for c := c0; c < c1; c += u.cols {
			s.packTurned(w, panel(c), k0, k, c, min(u.cols, c1-c))
		}
		return w.strip
	}
	from := c0
	if s.readInPlace() {
		from += (c1 - c0) / u.cols * u.cols // but for a panel at the edge, which is not whole
	}
	n, ld := c1-from, s.w.cols
	if s.w.half == nil {
		u.spread(panel(from), stride, s.w.f32[k0*ld+from:], ld, k, n, aheadRows*ld)
		return w.strip
	}
	w.wide = grow(w.wide, n)
	for l := 0; l < k; l++ {
		s.w.widen(w.wide, (k0+l)*ld+from)
		u.spread(panel(from)[l*u.cols:], stride, w.wide, n, 1, n, 0)
	}
	return w.strip
}

// packTurned packs columns c … c+cols−1 of rows k0 … k0+k−1 of w as one panel, where w is
// transposed.
func (s *schedule) packTurned(w *workspace, panel []float32, k0, k, c, cols int) {
	rows, ld := s.w.f32, s.w.cols
	if s.w.half == nil {
		rows = rows[c*ld+k0:]
	} else {
		w.wide = grow(w.wide, cols*k)
		for i := 0; i < cols; i++ {
			s.w.widen(w.wide[i*k:(i+1)*k], (c+i)*s.w.cols+k0)
		}
		rows, ld = w.wide, k
	}
	chosen.transpose(panel, chosen.cols, rows, ld, cols, k)
}

// rowPanel multiplies row panel i of block b with columns c0 … c1−1 over portion d of k.
func (s *schedule) rowPanel(w *workspace, b, d, i, c0, c1 int, strip []float32) {
	u, t := chosen, &w.tile
	k0, k := s.portion(d)
	from, to := s.panel(b, i)
	inPlace := i == 0 && s.readInPlace()
	t.rows, t.k, t.ld = to-from, k, s.n
	t.a = &s.packedPanel(b, d, i)[0]
	t.from, t.bias = nil, nil
	for c := c0; c < c1; c += u.cols {
		t.b, t.ldb, t.inPlace, t.pack = &strip[0], u.cols, 0, nil
		if inPlace && c+u.cols <= c1 {
			t.b, t.ldb, t.inPlace = &s.w.f32[k0*s.w.cols+c], s.w.cols, 1
			if s.panels > 1 {
				t.pack = &strip[0]
			}
		}
		t.to = &s.y[from*s.n+c]
		if d > 0 {
			t.from = t.to
		}
		if d == s.depths-1 && s.bias != nil {
			t.bias = &s.bias[c]
		}
		if c+u.cols <= c1 {
			u.tile(t)
			strip = strip[k*u.cols+stripGap:]
		} else {
			w.edge(c1 - c)
		}
	}
}

// workspace is the scratch memory of one goroutine.
type workspace struct {
	tile  tile
	strip []float32 // packed column panels of w: [panels][depth][cols], stripGap values apart
	left  []float32 // a row panel of a small product: [k][stride]
	wide  []float32 // rows of w, widened to float32

	// A tile at the right edge, with all the kernel's columns: its sums and bias.
	sums [maxTileRows * maxTileCols]float32
	bias [maxTileCols]float32
}

// edge computes a tile that has fewer columns than the kernel's, in scratch memory.
func (w *workspace) edge(cols int) {
	u, t := chosen, &w.tile
	saved := *t
	t.ld = u.cols
	t.to = &w.sums[0]
	if t.from != nil {
		t.from = &w.sums[0]
		copyRows(t.from, t.ld, saved.from, saved.ld, t.rows, cols)
	}
	if t.bias != nil {
		t.bias = &w.bias[0]
		copyRows(t.bias, 0, saved.bias, 0, 1, cols)
	}
	u.tile(t)
	copyRows(saved.to, saved.ld, t.to, t.ld, t.rows, cols)
	*t = saved
}

// copyRows copies a [rows, cols] matrix whose rows are lds values apart to where they are ldd
// apart.
func copyRows(dst *float32, ldd int, src *float32, lds, rows, cols int) {
	d := unsafe.Slice(dst, (rows-1)*ldd+cols)
	s := unsafe.Slice(src, (rows-1)*lds+cols)
	for r := 0; r < rows; r++ {
		copy(d[r*ldd:r*ldd+cols], s[r*lds:])
	}
}

var (
	schedules  pool[schedule]
	workspaces pool[workspace]
)

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

// columnPanels is a matrix [k, n] in column panels, the form in which a tile reads its right-hand
// side: [panels][k][cols].
type columnPanels struct {
	k      int
	values []float32
}

// pack packs a matrix [k, n] whose rows are ld values apart.
func (p *columnPanels) pack(rows []float32, ld, k, n int) {
	p.fit(k, n)
	chosen.spread(p.values, k*chosen.cols, rows, ld, k, n, 0)
}

// packTurned packs the transpose of a matrix [n, k] whose rows are ld values apart.
func (p *columnPanels) packTurned(rows []float32, ld, k, n int) {
	u := chosen
	p.fit(k, n)
	for c := 0; c < n; c += u.cols {
		u.transpose(p.panel(c), u.cols, rows[c*ld:], ld, min(u.cols, n-c), k)
	}
}

// fit makes room for [k, n].
func (p *columnPanels) fit(k, n int) {
	panels := (n + chosen.cols - 1) / chosen.cols
	p.k, p.values = k, grow(p.values, panels*k*chosen.cols)
}

// panel is the column panel that begins with column c.
func (p *columnPanels) panel(c int) []float32 { return p.values[c*p.k:] }

// multiplySmall computes c = a·b, or c += a·b with accumulate, where b is the first k rows and n
// columns of a packed matrix: [m, k]·[k, n] → [m, n]. Rows of a and c are lda and ldc values apart.
// Where k is 0, c stays as it is.
func (w *workspace) multiplySmall(c []float32, ldc int, a []float32, lda int, b *columnPanels,
	m, n, k int, accumulate bool) {
	if n == 0 || k == 0 {
		return
	}
	u := chosen
	panels := (m + u.rows - 1) / u.rows
	for i := 0; i < panels; i++ {
		from, to := i*m/panels, (i+1)*m/panels
		w.left = grow(w.left, k*u.stride)
		u.transpose(w.left, u.stride, a[from*lda:], lda, to-from, k)
		for col := 0; col < n; col += u.cols {
			t := &w.tile
			*t = tile{rows: to - from, k: k, a: &w.left[0], b: &b.panel(col)[0], ldb: u.cols,
				to: &c[from*ldc+col], ld: ldc}
			if accumulate {
				t.from = t.to
			}
			if col+u.cols <= n {
				u.tile(t)
			} else {
				w.edge(n - col)
			}
		}
	}
}
