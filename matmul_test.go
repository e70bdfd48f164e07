package main

import (
	"bytes"
	"fmt"
	"math"
	"math/rand"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"
)

// eachKernel runs a test with every kernel that this machine has, by name.
func eachKernel(t *testing.T, test func(t *testing.T)) {
	was := chosen.name
	defer chooseKernel(was)
	for _, u := range kernels() {
		if err := chooseKernel(u.name); err != nil || chosen.name != u.name {
			t.Fatalf("chooseKernel(%q): %v, kernel is %q", u.name, err, chosen.name)
		}
		t.Run(u.name, test)
	}
}

// step is one step of the chain of sums that defines an element of a product: sum + a·b, rounded
// once, except by the plain Go kernel, which rounds the product too.
func step(sum, a, b float32) float32 {
	if chosen.name == goKernel.name {
		return sum + float32(a*b)
	}
	// In float64 the product is exact. The sum is rounded there to odd (its last bit set if
	// anything was lost), so that rounding it again to float32 gives what rounding once would have
	// given.
	p, s := float64(a)*float64(b), float64(sum)
	r := p + s
	v := r - p
	if lost := (p - (r - v)) + (s - v); lost != 0 && math.Float64bits(r)&1 == 0 {
		r = math.Nextafter(r, math.Inf(int(math.Copysign(1, lost))))
	}
	return float32(r)
}

func wideMatrix(rows, cols int, values []float32) Matrix {
	return Matrix{rows: rows, cols: cols, f32: values}
}

func randoms(seed int64, n int) []float32 {
	r := rand.New(rand.NewSource(seed))
	v := make([]float32, n)
	for i := range v {
		v[i] = r.Float32()*2 - 1
	}
	return v
}

const canary = 12345.5

// fenced returns n values of a slice that has canaries on both sides, and a function that tells
// whether they live.
func fenced(n int) (values []float32, alive func() bool) {
	const fence = 64
	all := slices.Repeat([]float32{canary}, n+2*fence)
	return all[fence : fence+n : fence+n], func() bool {
		whole := slices.Repeat([]float32{canary}, fence)
		return slices.Equal(all[:fence], whole) && slices.Equal(all[fence+n:], whole)
	}
}

// sameBits compares two slices by their bits, at the speed of memory.
func sameBits(a, b []float32) bool {
	raw := func(v []float32) []byte {
		return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v))
	}
	return bytes.Equal(raw(a), raw(b))
}

// Products of 1 … 40 rows, columns and steps (of the steps a third) have the bits of the chain that
// defines them, reads nothing past x, w and bias and writes nothing beside y.
func TestMatMulEdges(t *testing.T) {
	const most = 40
	x, w, bias := randoms(1, most*most), randoms(2, most*most), randoms(3, most)
	turned := make([]float32, most*most)
	goKernel.transpose(turned, most, w, most, most, most)
	eachKernel(t, func(t *testing.T) {
		guardX, guardW, guardBias := guarded(t, most*most), guarded(t, most*most), guarded(t, most)
		// sums[k] holds the chains of k steps. They do not depend on the size of the product.
		sums := make([][]float32, most+1)
		sums[0] = make([]float32, most*most)
		for k := 1; k <= most; k++ {
			sums[k] = make([]float32, most*most)
			for i := range sums[k] {
				sums[k][i] = step(sums[k-1][i], x[i/most*most+k-1], w[(k-1)*most+i%most])
			}
		}
		want := make([]float32, most*most)
		y, alive := fenced(most * most)
		for m := 1; m <= most; m++ {
			for n := 1; n <= most; n++ {
				for i := range y[m*n:] {
					y[m*n+i] = canary
				}
				for k := 1 + (m+n)%3; k <= most; k += 3 {
					if chosen.name == goKernel.name && (m*n+k)%7 != 0 && m*n*k > 1000 {
						continue // it is slow, and its tile small
					}
					xs, ws := guardX[most*most-m*k:], guardW[most*most-k*n:]
					bs, ys, want := guardBias[most-n:], y[:m*n], want[:m*n]
					for i := range m {
						copy(xs[i*k:(i+1)*k], x[i*most:])
						copy(want[i*n:(i+1)*n], sums[k][i*most:])
					}
					if (m+n+k)%2 == 1 {
						for j := range n {
							copy(ws[j*k:(j+1)*k], turned[j*most:])
						}
						matMulT(ys, xs, wideMatrix(n, k, ws))
					} else {
						for l := range k {
							copy(ws[l*n:(l+1)*n], w[l*most:])
						}
						if (m+n+k)%8 == 0 {
							copy(bs, bias)
							for i := range want {
								want[i] += bias[i%n]
							}
						} else {
							bs = nil
						}
						matMul(ys, xs, wideMatrix(k, n, ws), bs)
					}
					if !sameBits(ys, want) {
						t.Fatalf("[%d, %d]·[%d, %d]: %v, want %v", m, k, k, n, ys, want)
					}
				}
				if slices.ContainsFunc(y[m*n:], func(v float32) bool { return v != canary }) {
					t.Fatalf("[%d, k]·[k, %d]: something was written behind y", m, n)
				}
			}
		}
		if !alive() {
			t.Fatal("something was written beside y")
		}
	})
}

// large are shapes that are cut into several row blocks, rounds, portions of k and column panels,
// with remainders everywhere.
var large = []struct{ m, k, n int }{
	{1, 1000, 75}, {3, 801, 33}, {29, 801, 50}, {310, 801, 33},
	{701, 90, 45}, {1301, 35, 13}, {15, 70, 1001}, {29, 801, 96},
}

// Large products agree with a product in float64 to 1e-5 of the sum of magnitudes, and have the
// same bits from 1, 2 and 7 threads, by each vector kernel, and for every row alone.
func TestMatMulLarge(t *testing.T) {
	for _, s := range large {
		x, w := randoms(1, s.m*s.k), randoms(2, s.k*s.n)
		bias, y0 := randoms(3, s.n), randoms(4, s.m*s.n)
		exact, magnitude := make([]float64, s.m*s.n), make([]float64, s.m*s.n)
		for i := range s.m {
			for l := range s.k {
				for j := range s.n {
					p := float64(x[i*s.k+l]) * float64(w[l*s.n+j])
					exact[i*s.n+j] += p
					magnitude[i*s.n+j] += math.Abs(p)
				}
			}
		}
		matrix := wideMatrix(s.k, s.n, w)
		turned := newMatrix(s.n, s.k)
		goKernel.transpose(turned.f32, s.k, w, s.n, s.k, s.n)
		var vector []float32 // the result of the first vector kernel
		eachKernel(t, func(t *testing.T) {
			products := map[string]func(y, x []float32){
				"matMul": func(y, x []float32) { matMul(y, x, matrix, bias) },
				"matMulActivated": func(y, x []float32) {
					matMulActivated(y, x, matrix, bias, geluTanh)
				},
				"matMulT": func(y, x []float32) { matMulT(y, x, turned) },
			}
			for name, product := range products {
				var one []float32
				for _, n := range []int{1, 2, 7} {
					y := slices.Clone(y0)
					set(t, &threads, n)
					if product(y, x); n == 1 {
						one = y
					} else if !slices.Equal(y, one) {
						t.Errorf("%s %v: %d threads give other bits than one", name, s, n)
					}
				}
				for _, i := range []int{0, s.m / 3, s.m - 1} {
					y := slices.Clone(y0[i*s.n : (i+1)*s.n])
					product(y, x[i*s.k:(i+1)*s.k])
					if !slices.Equal(y, one[i*s.n:(i+1)*s.n]) {
						t.Errorf("%s %v: row %d alone has other bits than among others", name, s, i)
					}
				}
				for i := range one {
					want, scale := exact[i], magnitude[i]
					if name != "matMulT" {
						want, scale = want+float64(bias[i%s.n]), scale+1
					}
					if name == "matMulActivated" {
						v := []float32{float32(want)}
						chosen.activate[geluTanh](v)
						want = float64(v[0])
					}
					if !(math.Abs(float64(one[i])-want) <= 1e-5*scale) {
						t.Fatalf("%s %v: element %d is %v, want %v", name, s, i, one[i], want)
					}
				}
				if name != "matMul" || chosen.name == goKernel.name {
					continue
				}
				if vector == nil {
					vector = one
				} else if !slices.Equal(one, vector) {
					t.Errorf("%v: the kernel gives other bits than the first vector kernel", s)
				}
			}
		})
	}
}

// multiplySmall works on parts of larger matrices and leaves the rest alone, at the sizes of
// attention. The packed matrix is larger than the part that is used, and packed in two goes.
func TestMultiplySmall(t *testing.T) {
	const moreK, moreN, extra = 3, 5, 5
	eachKernel(t, func(t *testing.T) {
		for _, s := range []struct{ m, n, k int }{
			{1, 1, 64}, {1, 64, 1}, {11, 11, 64}, {11, 64, 11},
			{5, 64, 300}, {70, 333, 64}, {33, 64, 1024}, {3, 7, 1},
		} {
			for _, turned := range []bool{false, true} {
				K, N, w, right := s.k+moreK, s.n+moreN, new(workspace), []float32(nil)
				rows, cols, pack := K, N, packRows
				along, down := 1, N // from one column and row to the next
				if turned {
					rows, cols, pack = N, K, packTurned
					along, down = K, 1
				}
				a, b := guarded(t, (s.m-1)*(s.k+extra)+s.k), guarded(t, rows*cols)
				copy(a, randoms(1, len(a)))
				copy(b, randoms(2, len(b)))
				kept, first := rows/3, slices.Repeat([]float32{canary}, rows*cols)
				copy(first, b[:kept*cols])
				right = pack(right, 0, first, K, N)
				right = pack(right, kept, b[kept*cols:], K, N)
				c, alive := fenced((s.m-1)*(s.n+extra) + s.n)
				w.multiplySmall(c, s.n+extra, a, s.k+extra, right, K, s.m, s.n, s.k)
				if !alive() {
					t.Fatalf("%+v: written beside c", s)
				}
				for i := range c {
					want, r, j := float32(canary), i/(s.n+extra), i%(s.n+extra)
					if j < s.n {
						want = 0
						for l := range s.k {
							want = step(want, a[r*(s.k+extra)+l], b[j*along+l*down])
						}
					}
					if c[i] != want {
						t.Fatalf("%+v turned=%v: [%d, %d]: %v, want %v",
							s, turned, r, j, c[i], want)
					}
				}
			}
		}
	})
}

// transpose is held to its definition at every small size, and writes nothing but the transpose.
func TestTranspose(t *testing.T) {
	const most = 19
	eachKernel(t, func(t *testing.T) {
		for rows := 1; rows <= most; rows++ {
			for cols := 1; cols <= most; cols++ {
				lds, ldd := cols+2, rows+3
				src := guarded(t, (rows-1)*lds+cols)
				copy(src, randoms(1, len(src)))
				dst, alive := fenced((cols-1)*ldd + rows)
				chosen.transpose(dst, ldd, src, lds, rows, cols)
				for i, v := range dst {
					want := float32(canary)
					if r := i % ldd; r < rows {
						want = src[r*lds+i/ldd]
					}
					if v != want {
						t.Fatalf("%d × %d: value %d is %v, want %v", rows, cols, i, v, want)
					}
				}
				if !alive() {
					t.Fatalf("%d × %d: written beside dst", rows, cols)
				}
			}
		}
	})
}

// A 16-bit matrix gives the bits of the same matrix widened to float32.
func TestMatMulHalf(t *testing.T) {
	eachKernel(t, func(t *testing.T) {
		for _, s := range large {
			r := rand.New(rand.NewSource(5))
			half := make([]uint16, s.k*s.n)
			for i := range half {
				half[i] = uint16(r.Intn(0x7c00)) | uint16(r.Intn(2))<<15 // finite in both formats
			}
			x, bias := randoms(1, s.m*s.k), randoms(3, s.n)
			for _, format := range []Format{f16, bf16} {
				w := Matrix{rows: s.k, cols: s.n, half: half, format: format}
				wide := newMatrix(s.k, s.n)
				for i := range s.k {
					w.row(wide.f32[i*s.n:], i)
				}
				y, want := make([]float32, s.m*s.n), make([]float32, s.m*s.n)
				matMul(y, x, w, bias)
				matMul(want, x, wide, bias)
				if !slices.Equal(y, want) {
					t.Errorf("%v %v: other bits than the widened matrix", format, s)
				}
				w.rows, w.cols, wide.rows, wide.cols = s.n, s.k, s.n, s.k
				matMulT(y, x, w)
				matMulT(want, x, wide)
				if !slices.Equal(y, want) {
					t.Errorf("%v %v transposed: other bits than the widened matrix", format, s)
				}
			}
		}
	})
}

// A matrix of zeros without data adds nothing to the bias, and its rows are zeros.
func TestMatMulZero(t *testing.T) {
	const m, k, n = 3, 5, 7
	x, bias, zero := randoms(1, m*k), randoms(2, n), Matrix{rows: k, cols: n}
	active, none := slices.Clone(bias), make([]float32, n)
	chosen.activate[geluTanh](active)
	for name, c := range map[string]struct {
		product func(y []float32)
		row     []float32
	}{
		"matMul":              {func(y []float32) { matMul(y, x, zero, bias) }, bias},
		"matMul without bias": {func(y []float32) { matMul(y, x, zero, nil) }, none},
		"matMulActivated": {func(y []float32) { matMulActivated(y, x, zero, bias, geluTanh) },
			active},
		"matMulT": {func(y []float32) { matMulT(y, x, Matrix{rows: n, cols: k}) }, none},
		"row":     {func(y []float32) { zero.row(y[:n], 1); clear(y[n:]) }, none},
	} {
		y := randoms(3, m*n)
		if c.product(y); !sameBits(y, slices.Repeat(c.row, m)) {
			t.Errorf("%s: %v, want rows of %v", name, y, c.row)
		}
	}
	matMul(nil, nil, wideMatrix(k, n, randoms(4, k*n)), bias) // no rows: nothing to do
}

// Each number is taken once, and a panic in one of many goroutines can be recovered from where they
// were started.
func TestParallel(t *testing.T) {
	for _, n := range []int{1, 2, 7} {
		set(t, &threads, n)
		for _, n := range []int{0, 1, 2, 3, 100} {
			calls := make([]atomic.Int32, n)
			eachChunk(n, 1, func(i, _ int) { calls[i].Add(1) })
			for i := range calls {
				if c := calls[i].Load(); c != 1 {
					t.Errorf("%d threads, n = %d: f(%d) was called %d times", threads, n, i, c)
				}
			}
		}
		if !faults(func() { parallel(100, func(i int) { _ = []int{1}[i] }) }) {
			t.Errorf("%d threads: a panic was lost", threads)
		}
	}
}

// Whatever opens a model begins with the kernel that MECHPATCH_KERNEL names, or is refused.
func TestKernelOfARun(t *testing.T) {
	elsewhere(t)
	for _, args := range [][]string{
		{"-e", "The cat. The", "The dog. The", "Jones", "Smith", "-layers", "0"},
		{"next", "-e", "a"}, {"tokens", "-model", "circuit", "-e", "a"},
	} {
		for _, u := range []*kernel{kernels()[0], goKernel} {
			set(t, &chosen, &kernel{name: "none"})
			t.Setenv("MECHPATCH_KERNEL", u.name)
			if code, _, stderr := command(t, args...); code != 0 || chosen.name != u.name {
				t.Errorf("%q: kernel %s, want %s: %s", args, chosen.name, u.name, stderr)
			}
		}
		t.Setenv("MECHPATCH_KERNEL", "abacus")
		code, stdout, stderr := command(t, args...)
		if code != 1 || stdout != "" || !oneLine(stderr) || !strings.Contains(stderr, "abacus") ||
			!strings.Contains(stderr, goKernel.name) || chosen != goKernel {
			t.Errorf("%q with an abacus: exit %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

// BenchmarkMatMul multiplies at the sweep's shapes; the weights are never those of the last
// product, as in a model.
func BenchmarkMatMul(b *testing.B) {
	was := chosen.name
	defer chooseKernel(was)
	for _, u := range kernels() {
		for _, s := range []struct{ m, k, n int }{
			{605, 768, 3072}, {605, 3072, 768},
			{22, 768, 3072}, {22, 3072, 768}, {11, 768, 3072}, {11, 3072, 768},
		} {
			b.Run(fmt.Sprintf("%s/%dx%dx%d", u.name, s.m, s.k, s.n), func(b *testing.B) {
				chooseKernel(u.name)
				x, y := randoms(1, s.m*s.k), make([]float32, s.m*s.n)
				layers := make([]Matrix, 12)
				for i := range layers {
					layers[i] = wideMatrix(s.k, s.n, randoms(int64(i), s.k*s.n))
				}
				b.ResetTimer()
				for i := range b.N {
					matMul(y, x, layers[i%len(layers)], nil)
				}
				flops := 2 * float64(s.m*s.k*s.n) * float64(b.N)
				b.ReportMetric(flops/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

// BenchmarkMatMulT is the unembedding of two rows, which reads the whole of wte once.
func BenchmarkMatMulT(b *testing.B) {
	was := chosen.name
	defer chooseKernel(was)
	const vocab, width = 50257, 768
	x, y := randoms(1, 2*width), make([]float32, 2*vocab)
	w := wideMatrix(vocab, width, randoms(2, vocab*width))
	for _, u := range kernels() {
		b.Run(u.name, func(b *testing.B) {
			chooseKernel(u.name)
			for range b.N {
				matMulT(y, x, w)
			}
			b.ReportMetric(4*vocab*width*float64(b.N)/b.Elapsed().Seconds()/1e9, "GB/s")
		})
	}
}
