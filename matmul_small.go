package main

// Products of small matrices, as attention needs them by the thousand: on the calling goroutine alone, with the right-hand matrix packed
// once for several products. Their sums are the chains that matmul.go defines.

// packed is a matrix [k, n] in column panels, the form in which a tile reads its right-hand side: [panels][k][cols].
type packed struct {
	k      int
	values []float32
}

// pack packs a matrix [k, n] whose rows are ld values apart.
func (p *packed) pack(rows []float32, ld, k, n int) {
	u := micro
	p.fit(k, n)
	for l := 0; l < k; l++ {
		u.spread(p.values[l*u.cols:], k*u.cols, rows[l*ld:l*ld+n], 0)
	}
}

// packTurned packs the transpose of a matrix [n, k] whose rows are ld values apart.
func (p *packed) packTurned(rows []float32, ld, k, n int) {
	u := micro
	p.fit(k, n)
	for c := 0; c < n; c += u.cols {
		u.transpose(p.panel(c), u.cols, rows[c*ld:], ld, min(u.cols, n-c), k)
	}
}

// fit makes room for [k, n].
func (p *packed) fit(k, n int) {
	panels := (n + micro.cols - 1) / micro.cols
	p.k, p.values = k, grow(p.values, panels*k*micro.cols)
}

// panel is the column panel that begins with column c.
func (p *packed) panel(c int) []float32 { return p.values[c*p.k:] }

// multiplySmall computes c = a·b, or c += a·b with accumulate, where b is the first k rows and n columns of a packed matrix:
// [m, k]·[k, n] → [m, n]. Rows of a and c are lda and ldc values apart. Where k is 0, c stays as it is.
func (w *workspace) multiplySmall(c []float32, ldc int, a []float32, lda int, b *packed, m, n, k int, accumulate bool) {
	if n == 0 || k == 0 {
		return
	}
	u := micro
	panels := (m + u.rows - 1) / u.rows
	for i := 0; i < panels; i++ {
		from, to := i*m/panels, (i+1)*m/panels
		w.left = grow(w.left, k*u.stride)
		u.transpose(w.left, u.stride, a[from*lda:], lda, to-from, k)
		for col := 0; col < n; col += u.cols {
			t := &w.tile
			*t = tile{rows: to - from, k: k, a: &w.left[0], b: &b.panel(col)[0], ldb: u.cols, to: &c[from*ldc+col], ld: ldc}
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
