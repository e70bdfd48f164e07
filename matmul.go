package main

// How the matrices are multiplied is from K. Goto and R. van de Geijn, "Anatomy of High-Performance
// Matrix Multiplication" (ACM Transactions on Mathematical Software 34, 2008). y is cut into tiles
// of the size that a processor's vector registers hold (kernel.go), and what a tile needs is laid
// out beforehand in the order in which it is read:
//
//   - x in row panels of as many rows as a tile has: for each k, the panel's x[·, k] side by side;
//   - w in column panels of as many columns: for each k, the panel's w[k, ·] side by side.
//
// A block of x is packed: some of its rows over a portion of k, as much as stays in the caches.
// Then each thread takes strips of a few column panels over that portion and multiplies the row
// panels with them. A packed strip stays in a core's second-level cache while the row panels are
// multiplied with it one after the other, and each row panel is near while it is multiplied with
// the strip's column panels. Unfinished sums are put down in y and taken up with the next portion.
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

// product is one multiplication: y = x·w (+ bias), perhaps through an activation: [m, k]·[k, n] +
// [n] → [m, n].
type product struct {
	y, x       []float32
	w          Matrix
	bias       []float32 // nil for none
	m, n, k    int
	transposed bool              // w is [n, k]
	activate   func(x []float32) // what the finished sums go through, or nil

	// The block of x that is packed: its rows, in how many row panels, and its values of k.
	row0, rows, panels int
	k0, depth          int
	packed             []float32 // [panels][depth][stride]
}

// multiply fills in the sizes of a product and computes it, a block of rows at a time.
func multiply(p product) {
	p.k, p.n = p.w.rows, p.w.cols
	if p.transposed {
		p.k, p.n = p.n, p.k
	}
	if p.n == 0 || p.k == 0 || len(p.x) == 0 {
		return
	}
	p.m = len(p.x) / p.k
	p.y = p.y[:p.m*p.n]
	if p.w.zero() { // the bias in every row of y
		row := p.y[:p.n]
		clear(row)
		copy(row, p.bias)
		if p.activate != nil {
			p.activate(row)
		}
		for at := p.n; at < len(p.y); at += p.n {
			copy(p.y[at:], row)
		}
		return
	}
	if p.bias != nil {
		p.bias = p.bias[:p.n] // the kernels check no bounds
	}
	u, room := chosen, packedX.get()
	blocks := (p.m + u.rowBlock - 1) / u.rowBlock
	for i := range blocks {
		p.row0, p.rows = i*p.m/blocks, (i+1)*p.m/blocks-i*p.m/blocks
		p.panels = (p.rows + u.rows - 1) / u.rows
		most := u.depth * max(1, u.rowBlock/p.rows) // of k, where the block has few rows
		for p.k0 = 0; p.k0 < p.k; p.k0 += p.depth {
			p.depth = min(most, p.k-p.k0)
			*room = grow(*room, p.panels*p.depth*u.stride)
			p.packed = *room
			p.block()
		}
	}
	packedX.put(room)
}

var packedX pool[[]float32]

// firstRow is the row with which a row panel of the block begins. They have nearly equally many.
func (p *product) firstRow(panel int) int { return p.row0 + panel*p.rows/p.panels }

// worthThreads is the number of multiplications from which on it pays to wake another thread.
const worthThreads = 1 << 18

// block packs a block of x, and then multiplies it with w strip by strip.
func (p *product) block() {
	u := chosen
	eachChunk(p.panels, 8, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			row, next := p.firstRow(i), p.firstRow(i+1)
			to, from := p.packed[i*p.depth*u.stride:], p.x[row*p.k+p.k0:]
			u.transpose(to, u.stride, from, p.k, next-row, p.depth)
		}
	})
	cols := u.strip
	for cols > u.cols && p.n < 4*threads*cols {
		cols -= u.cols // so that every thread has some strips
	}
	strips, pieces := (p.n+cols-1)/cols, 1
	for pieces*strips < 2*threads && 4*u.rows*pieces < p.rows {
		pieces++ // of the rows, where there are more threads than strips to go round
	}
	atOnce := 1 + worthThreads*pieces/(p.rows*cols*p.depth)
	eachChunk(strips*pieces, atOnce, func(lo, hi int) {
		w := workspaces.get()
		for task := lo; task < hi; task++ {
			piece, c0 := task/strips, task%strips*cols
			p.strip(w, piece*p.panels/pieces, (piece+1)*p.panels/pieces, c0, min(c0+cols, p.n))
		}
		workspaces.put(w)
	})
}

// strip multiplies the row panels begin … end−1 with the columns c0 … c1−1.
func (p *product) strip(w *workspace, begin, end, c0, c1 int) {
	u := chosen
	for l := 0; l < p.depth; l += u.depth {
		k0, k, bias := p.k0+l, min(u.depth, p.depth-l), []float32(nil)
		if k0+k == p.k && p.bias != nil {
			bias = p.bias[c0:]
		}
		inPlace := u.packs && !p.transposed && p.w.half == nil && p.n%u.cols == 0
		strip, stride := w.packStrip(p, k0, k, c0, c1, inPlace)
		for i := begin; i < end; i++ {
			row, next := p.firstRow(i), p.firstRow(i+1)
			t := tile{rows: next - row, k: k, a: &p.packed[(i*p.depth+l)*u.stride], ld: p.n}
			if inPlace && i == begin { // it packs the strip for the others
				t.w, t.ldw, t.keep = p.w.f32[k0*p.n+c0:], p.n, end-begin > 1
			}
			w.rowPanel(t, p.y[row*p.n+c0:], strip, stride, c1-c0, k0 > 0, bias)
		}
	}
	if p.activate != nil && p.k0+p.depth == p.k {
		for r := p.firstRow(begin); r < p.firstRow(end); r++ {
			p.activate(p.y[r*p.n+c0 : r*p.n+c1])
		}
	}
}

// workspace is the scratch memory of one goroutine.
type workspace struct {
	tile  tile
	strip []float32 // packed column panels of w: [panels][depth][cols]
	left  []float32 // a row panel of a small product: [k][stride]
	wide  []float32 // values of w, widened to float32

	// A tile at the right edge, with all the kernel's columns: its sums and bias.
	sums [maxTileRows * maxTileCols]float32
	bias [maxTileCols]float32
}

var workspaces pool[workspace]

// packStrip packs the columns c0 … c1−1 of the rows k0 … k0+k−1 of w into column panels that are
// stride values apart: a little more than they take, since panels a power of two apart would crowd
// the same lines of the cache. Or it only makes room for them, where the first row panel will.
func (w *workspace) packStrip(p *product, k0, k, c0, c1 int, inPlace bool) (
	strip []float32, stride int) {
	const gap, aheadRows = 16, 8 // a row is fetched from main memory that many rows beforehand
	u, n := chosen, c1-c0
	stride = k*u.cols + gap
	w.strip = grow(w.strip, (n+u.cols-1)/u.cols*stride)
	if inPlace {
		return w.strip, stride
	}
	if p.transposed {
		for c := 0; c < n; c += u.cols {
			cols := min(u.cols, n-c)
			src, ld := w.floats(&p.w, c0+c, cols, k0, k)
			u.transpose(w.strip[c/u.cols*stride:], u.cols, src, ld, cols, k)
		}
		return w.strip, stride
	}
	rows := k // at a time
	if p.w.half != nil {
		rows = 1
	}
	for l := 0; l < k; l += rows {
		src, ld := w.floats(&p.w, k0+l, rows, c0, n)
		u.spread(w.strip[l*u.cols:], stride, src, ld, rows, n, aheadRows*ld)
	}
	return w.strip, stride
}

// floats is the part of a matrix with the rows i, i+1, … and the columns j, j+1, … as float32,
// [rows, cols] with rows ld values apart: where it lies, or widened.
func (w *workspace) floats(m *Matrix, i, rows, j, cols int) (part []float32, ld int) {
	if m.half == nil {
		return m.f32[i*m.cols+j:], m.cols
	}
	w.wide = grow(w.wide, rows*cols)
	for r := range rows {
		m.widen(w.wide[r*cols:(r+1)*cols], (i+r)*m.cols+j)
	}
	return w.wide, cols
}

// rowPanel computes y = a·b + bias, or y += a·b + bias with more: [rows, k]·[k, n] + [n] → [rows,
// n]. t has a row panel a, its size, and ld, from one row of y to the next; b is column panels that
// are stride values apart. A tile at the right edge is computed in scratch memory.
func (w *workspace) rowPanel(t tile, y, b []float32, stride, n int, more bool, bias []float32) {
	u := chosen
	for c := 0; c < n; c += u.cols {
		w.tile = t
		t, y, cols := &w.tile, y[c:], min(u.cols, n-c)
		t.b, t.to = &b[c/u.cols*stride], &y[0]
		if t.w != nil {
			t.w = t.w[c:]
		}
		if bias != nil {
			t.bias = &bias[c]
		}
		ld, edge := t.ld, cols < u.cols
		if edge {
			t.to, t.ld = &w.sums[0], u.cols
			for r := 0; more && r < t.rows; r++ {
				copy(w.sums[r*u.cols:], y[r*ld:r*ld+cols])
			}
			if bias != nil {
				t.bias = &w.bias[0]
				copy(w.bias[:], bias[c:n])
			}
		}
		if more {
			t.from = t.to
		}
		u.tile(t)
		for r := 0; edge && r < t.rows; r++ {
			copy(y[r*ld:], w.sums[r*u.cols:r*u.cols+cols])
		}
	}
}

// multiplySmall computes c = a·b for attention: [m, k]·[k, n] → [m, n]. Rows of a and c are lda and
// ldc values apart. b is the first k rows and n columns of a packed matrix of ldb rows.
func (w *workspace) multiplySmall(c []float32, ldc int, a []float32, lda int, b []float32, ldb int,
	m, n, k int) {
	u := chosen
	w.left = grow(w.left, k*u.stride)
	panels := (m + u.rows - 1) / u.rows
	for i := range panels {
		row, next := i*m/panels, (i+1)*m/panels
		u.transpose(w.left, u.stride, a[row*lda:], lda, next-row, k)
		t := tile{rows: next - row, k: k, a: &w.left[0], ld: ldc}
		w.rowPanel(t, c[row*ldc:], b, ldb*u.cols, n, false, nil)
	}
}

// packRows packs a matrix [k, n], whose first rows are in panels already: the others are given.
func packRows(panels []float32, kept int, rows []float32, k, n int) []float32 {
	u := chosen
	panels = grow(panels, (n+u.cols-1)/u.cols*k*u.cols)
	u.spread(panels[kept*u.cols:], k*u.cols, rows, n, k-kept, n, 0)
	return panels
}

// packTurned packs the transpose of a matrix [n, k], whose first rows are in panels already.
func packTurned(panels []float32, kept int, rows []float32, k, n int) []float32 {
	u := chosen
	panels = grow(panels, (n+u.cols-1)/u.cols*k*u.cols)
	for c, next := kept, 0; c < n; c = next {
		next = min(n, c-c%u.cols+u.cols)
		to := panels[(c-c%u.cols)*k+c%u.cols:]
		u.transpose(to, u.cols, rows[(c-kept)*k:], k, next-c, k)
	}
	return panels
}
