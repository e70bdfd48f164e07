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
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
	}
	return bytes.Equal(raw(a), raw(b))
}

// Products have the bits of the chain that defines each element, whatever the weights' format and
// the way round in which they lie, and with any number of threads; they read nothing past x, w and
// bias and write nothing beside y. The sizes are small ones at random, and large ones that are cut
// into several row blocks, portions of k and column panels, with remainders everywhere.
func TestMatMul(t *testing.T) {
	sizes := [][3]int{
		{0, 5, 7}, {1, 1000, 75}, {3, 801, 33}, {29, 801, 17}, {310, 801, 9}, {701, 30, 45},
		{1301, 35, 13}, {15, 70, 1001}, {15, 801, 96},
	}
	random := rand.New(rand.NewSource(1))
	for range 400 {
		sizes = append(sizes, [3]int{1 + random.Intn(40), 1 + random.Intn(40), 1 + random.Intn(40)})
	}
	const most = 1 << 18
	guardX, guardW, guardBias := guarded(t, most), guarded(t, most), guarded(t, most)
	copy(guardX, randoms(2, most))
	copy(guardBias, randoms(3, most))
	eachKernel(t, func(t *testing.T) {
		for at, size := range sizes {
			m, k, n := size[0], size[1], size[2]
			x, w, bias := guardX[most-m*k:], guardW[most-k*n:], guardBias[most-n:]
			values, turned := make([]float32, k*n), make([]float32, k*n)
			for i := range values { // 8 bits, which each format has
				values[i] = float32(random.Intn(255)-127) / 128
			}
			goKernel.transpose(turned, k, values, n, k, n)
			sums := make([]float32, m*n)
			for i := range m {
				for l, v := range x[i*k : (i+1)*k] {
					for j, u := range values[l*n : (l+1)*n] {
						sums[i*n+j] = step(sums[i*n+j], v, u)
					}
				}
			}
			biased := slices.Clone(sums)
			for i := range biased {
				biased[i] += bias[i%n]
			}
			active := slices.Clone(biased)
			chosen.activate[geluTanh](active)
			for i, c := range []struct {
				name    string
				product func(y []float32, w Matrix)
				values  []float32
				want    []float32
			}{
				{"matMul", func(y []float32, w Matrix) { matMul(y, x, w, bias) }, values, biased},
				{"no bias", func(y []float32, w Matrix) { matMul(y, x, w, nil) }, values, sums},
				{"matMulActivated", func(y []float32, w Matrix) {
					matMulActivated(y, x, w, bias, geluTanh)
				}, values, active},
				{"matMulT", func(y []float32, w Matrix) { matMulT(y, x, w) }, turned, sums},
			} {
				copy(w, c.values)
				matrix := Matrix{rows: k, cols: n, f32: w}
				if c.name == "matMulT" {
					matrix.rows, matrix.cols = n, k
				}
				for _, matrix.format = range []Format{f32, f16, bf16} {
					if m*k*n > 1<<16 && int(matrix.format) != (at+i)%3 {
						continue // of the large ones each format for some
					}
					if narrow := narrowings[matrix.format]; narrow != nil {
						matrix.half = matrix.half[:0]
						for _, v := range c.values {
							matrix.half = append(matrix.half, narrow(v))
						}
					}
					y, alive := fenced(m * n)
					set(t, &threads, []int{1, 2, 7}[(i+int(matrix.format))%3])
					if c.product(y, matrix); !sameBits(y, c.want) || !alive() {
						t.Fatalf("%s %v %v: other bits, or something was written beside y", c.name,
							size, matrix.format)
					}
				}
				clear(w) // zeros may go without data
				y, want := make([]float32, m*n), make([]float32, m*n)
				c.product(y, Matrix{rows: matrix.rows, cols: matrix.cols})
				if c.product(want, wideMatrix(matrix.rows, matrix.cols, w)); !sameBits(y, want) {
					t.Fatalf("%s %v: zeros give %v, want %v", c.name, size, y, want)
				}
			}
		}
	})
}

var narrowings = map[Format]func(float32) uint16{f16: narrowF16, bf16: narrowBF16}

// multiplySmall works on parts of larger matrices and leaves the rest alone, at the sizes of
// attention. The packed matrix is larger than the part that is used, and packed in two goes.
func TestMultiplySmall(t *testing.T) {
	const more = 5
	eachKernel(t, func(t *testing.T) {
		for i, s := range []struct{ m, n, k int }{
			{1, 1, 64}, {1, 64, 1}, {11, 11, 64}, {11, 64, 11},
			{5, 64, 300}, {70, 333, 64}, {33, 64, 1024}, {3, 7, 1},
		} {
			K, N, w := s.k+more, s.n+more, new(workspace)
			a, b := guarded(t, (s.m-1)*K+s.k), guarded(t, K*N)
			copy(a, randoms(1, len(a)))
			copy(b, randoms(2, len(b)))
			for _, pack := range []struct {
				rows        func(panels []float32, kept int, rows []float32, k, n int) []float32
				width       int // of the rows that are packed
				along, down int // from one column and row of the matrix to the next
			}{{packRows, N, 1, N}, {packTurned, K, K, 1}} {
				kept := (i + 1) % 3 * K * N / pack.width / 3
				first := slices.Concat(b[:kept*pack.width], make([]float32, K*N-kept*pack.width))
				right := pack.rows(nil, 0, first, K, N)
				right = pack.rows(right, kept, b[kept*pack.width:], K, N)
				c, alive := fenced((s.m-1)*N + s.n)
				w.multiplySmall(c, N, a, K, right, K, s.m, s.n, s.k)
				for i := range c {
					want, r, j := float32(canary), i/N, i%N
					if j < s.n {
						want = 0
						for l := range s.k {
							want = step(want, a[r*K+l], b[j*pack.along+l*pack.down])
						}
					}
					if c[i] != want || !alive() {
						t.Fatalf("%+v: [%d, %d]: %v, want %v, or written beside c", s, r, j, c[i],
							want)
					}
				}
			}
		}
	})
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

// BenchmarkMatMul multiplies at the sweep's shapes, and at that of the unembedding of two rows; the
// weights are never those of the last product, as in a model.
func BenchmarkMatMul(b *testing.B) {
	was := chosen.name
	defer chooseKernel(was)
	for _, u := range kernels() {
		for _, s := range []struct{ m, k, n, layers int }{
			{605, 768, 3072, 12}, {605, 3072, 768, 12}, {22, 768, 3072, 12}, {22, 3072, 768, 12},
			{11, 768, 3072, 12}, {11, 3072, 768, 12}, {2, 768, vocabSize, 1},
		} {
			b.Run(fmt.Sprintf("%s/%dx%dx%d", u.name, s.m, s.k, s.n), func(b *testing.B) {
				chooseKernel(u.name)
				x, y := randoms(1, s.m*s.k), make([]float32, s.m*s.n)
				w := randoms(2, s.layers*s.k*s.n)
				b.ResetTimer()
				for i := range b.N {
					layer := w[i%s.layers*s.k*s.n:][:s.k*s.n]
					if s.n == vocabSize {
						matMulT(y, x, wideMatrix(s.n, s.k, layer))
					} else {
						matMul(y, x, wideMatrix(s.k, s.n, layer), nil)
					}
				}
				flops := 2 * float64(s.m*s.k*s.n) * float64(b.N)
				b.ReportMetric(flops/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}
