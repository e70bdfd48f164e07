package main

import (
	"fmt"
	"math"
	"math/rand"
	"reflect"
	"slices"
	"testing"
)

// randomModel makes a small GPT-2 with random weights whose spread is roughly that of the published one.
func randomModel(c Config, seed int64) *Model {
	r := rand.New(rand.NewSource(seed))
	d := c.width
	vector := func(n int, mean, spread float64) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(mean + spread*r.NormFloat64())
		}
		return v
	}
	matrix := func(rows, cols int, spread float64) Matrix {
		return Matrix{rows: rows, cols: cols, f32: vector(rows*cols, 0, spread)}
	}
	norm := func() Norm { return Norm{vector(d, 1, .1), vector(d, 0, .05)} }
	linear := func(in, out int, spread float64) Linear {
		return Linear{matrix(in, out, spread/math.Sqrt(float64(in))), vector(out, 0, .1)}
	}
	m := &Model{Config: c, name: "random", source: "test", lnF: norm(),
		wte: matrix(c.vocab, d, .14), wpe: matrix(c.context, d, .05)}
	for l := 0; l < c.layers; l++ {
		m.blocks = append(m.blocks, Block{norm(), linear(d, 3*d, 1.6), linear(d, d, .6), norm(), linear(d, 4*d, 1.2), linear(4*d, d, .8)})
	}
	return m
}

// randomPair makes two texts that differ in a few tokens from position differ on.
func randomPair(m *Model, T, differ int, seed int64) Pair {
	r := rand.New(rand.NewSource(seed))
	p := Pair{cleanAnswer: 1, corruptAnswer: 2}
	for i := 0; i < T; i++ {
		id := r.Intn(m.vocab)
		p.clean, p.corrupt = append(p.clean, id), append(p.corrupt, id)
		if i == differ || i > differ && r.Intn(4) == 0 {
			p.corrupt[i] = (id + 1) % m.vocab
		}
	}
	return p
}

// plainSweep is the definition of a sweep: one whole forward pass for each cell.
func plainSweep(t testing.TB, m *Model, pair Pair, site Site) [][]Reading {
	run := func(ids []int, hook Hook) []float32 {
		b, err := m.begin(ids)
		if err == nil {
			err = m.forward(b, 0, hook)
		}
		if err != nil {
			t.Fatal(err)
		}
		return m.logitsOf(b.last(), pair.cleanAnswer, pair.corruptAnswer)
	}
	d, size := m.width, m.width/m.heads
	clean := make([][]float32, m.layers)
	run(pair.clean, func(at Site, layer int, act []float32) []float32 {
		if at == site {
			clean[layer] = append([]float32(nil), act...)
		}
		return act
	})
	cells := make([][]Reading, m.layers)
	for l := range cells {
		cells[l] = make([]Reading, m.columns(site, len(pair.clean)))
		for c := range cells[l] {
			y := run(pair.corrupt, func(at Site, layer int, act []float32) []float32 {
				switch {
				case at != site || layer != l:
				case site == siteHead:
					for p := range pair.clean {
						copy(act[p*d+c*size:p*d+(c+1)*size], clean[l][p*d+c*size:])
					}
				default:
					copy(act[c*d:(c+1)*d], clean[l][c*d:])
				}
				return act
			})
			cells[l][c] = Reading{clean: float64(y[0]), corrupt: float64(y[1])}
		}
	}
	return cells
}

// TestSweepIsItsDefinition holds the one-pass sweep to the plain definition, bit for bit: every site, texts that differ
// early and late, one layer, one token, and passes so small that the cells are divided over many of them.
func TestSweepIsItsDefinition(t *testing.T) {
	for _, c := range []struct {
		layers, heads, width, T, differ int
	}{
		{3, 4, 64, 11, 1}, {3, 4, 64, 11, 0}, {2, 2, 32, 11, 10}, {1, 2, 32, 5, 2}, {3, 3, 48, 1, 0}, {4, 2, 16, 90, 3}, {1, 1, 8, 1, 0},
	} {
		m := randomModel(Config{c.layers, c.heads, c.width, 128, 100}, int64(c.T))
		pair := randomPair(m, c.T, c.differ, 5)
		for _, site := range []Site{siteResid, siteAttn, siteMLP, siteHead} {
			want := plainSweep(t, m, pair, site)
			for _, rows := range []int{1 << 20, 3 * c.T, 5*c.T + 3} {
				t.Run(fmt.Sprint(c, " site ", site, " rows ", rows), func(t *testing.T) {
					defer func(b int) { batchBytes = b }(batchBytes)
					batchBytes = rows * m.rowBytes()
					s, err := m.sweep(pair, Plan{site: site}, func(float64) {})
					if err != nil {
						t.Fatal(err)
					}
					for l := range want {
						for col, w := range want[l] {
							if g := s.cells[l][col]; g.clean != w.clean || g.corrupt != w.corrupt {
								t.Fatalf("layer %d, column %d: %v, by definition %v", l, col, g, w)
							}
						}
					}
				})
			}
		}
	}
}

// TestCaptureCopies checks that what was captured of the clean run stays as it was when a later run writes where it came from.
func TestCaptureCopies(t *testing.T) {
	const T, d = 3, 2
	act := []float32{1, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, -6} // the clean run, then the corrupt one
	clean := capture(newVectors(T, d), act)
	clear(act)
	if want := [][]float32{{1, 2}, {3, 4}, {5, 6}}; !reflect.DeepEqual(clean, want) {
		t.Errorf("captured %v, want %v", clean, want)
	}
}

// TestKeepLast counts the rows that reach each MLP: those of whole runs and of forks from where they begin, in the last layer
// of a fork the last alone.
func TestKeepLast(t *testing.T) {
	const T = 6
	m := randomModel(Config{3, 2, 16, T, 30}, 4)
	pair := randomPair(m, T, 1, 5)
	x, err := m.embed(pair.clean, pair.corrupt)
	if err != nil {
		t.Fatal(err)
	}
	b := m.newBatch(T, 2*T+5+4)
	b.start(x)
	var rows []int
	err = m.forward(b, 0, func(site Site, layer int, act []float32) []float32 {
		switch {
		case site == siteMLP:
			rows = append(rows, len(act)/m.width)
		case site == siteResid && layer == 0:
			for _, from := range []int{1, 2} {
				act = b.fork(corruptRun, from, site, act)
			}
		}
		return act
	})
	if want := []int{2 * T, 2*T + 5 + 4, 2*T + 2}; err != nil || !slices.Equal(rows, want) {
		t.Errorf("rows %v, %v, want %v", rows, err, want)
	}
}

// TestProgress checks that the share of the work that is done grows from step to step and never goes beyond 1.
func TestProgress(t *testing.T) {
	m := randomModel(Config{12, 2, 16, 32, 60}, 6)
	pair := randomPair(m, 9, 1, 7)
	sweep := func(site Site) func(func(float64)) error {
		return func(progress func(float64)) error {
			_, err := m.sweep(pair, Plan{site: site}, progress)
			return err
		}
	}
	for _, c := range []struct {
		name  string
		rows  int // of a batch
		steps int
		work  func(progress func(float64)) error
	}{
		{"resid", 1 << 20, 12, sweep(siteResid)},
		{"resid in passes", 80, 0, sweep(siteResid)},
		{"head", 1 << 20, 12, sweep(siteHead)},
		{"lens", 1 << 20, 12, func(progress func(float64)) error {
			_, _, err := m.lens(pair, false, progress)
			return err
		}},
		{"a study of all sites", 1 << 20, 36, func(progress func(float64)) error {
			study := Study{site: "all", metric: metricDiff}
			_, err := study.run(m, Question{Pair: pair, metric: metricDiff}, progress)
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer func(b int) { batchBytes = b }(batchBytes)
			batchBytes = c.rows * m.rowBytes()
			last, steps := 0., 0
			err := c.work(func(done float64) {
				if !(done > last && done <= 1) {
					t.Errorf("step %d: %g after %g", steps, done, last)
				}
				last = done
				steps++
			})
			if err != nil {
				t.Fatal(err)
			}
			if last < .999 || c.steps > 0 && steps != c.steps || steps < 12 {
				t.Errorf("%d steps up to %g", steps, last)
			}
		})
	}
}

// TestReadings reads more streams than the logits are computed for at a time.
func TestReadings(t *testing.T) {
	m := randomModel(Config{layers: 1, heads: 1, width: 16, context: 8, vocab: 40}, 1)
	const n = 150
	x := randoms(2, n*m.width)
	readings, err := m.readings(x, Pair{cleanAnswer: 3, corruptAnswer: 7}, true)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range readings {
		y, err := m.logits(x[i*m.width : (i+1)*m.width])
		if err != nil {
			t.Fatal(err)
		}
		if want := (Reading{float64(y[3]), float64(y[7]), logSumExp(y)}); r != want {
			t.Fatalf("stream %d: %v, want %v", i, r, want)
		}
	}
}

// TestSweepReusesBatch checks that a sweep leaves its batch to the next one, also where it fails.
func TestSweepReusesBatch(t *testing.T) {
	defer func(free []*Batch) { batches.free = free }(batches.free)
	batches.free = nil
	m := randomModel(Config{layers: 2, heads: 2, width: 16, context: 8, vocab: 30}, 1)
	pair := randomPair(m, 5, 1, 1)
	for _, broken := range []bool{false, true} {
		if broken {
			m.blocks[1].mlpProj.b[0] = float32(math.NaN())
		}
		if _, err := m.sweep(pair, Plan{}, func(float64) {}); (err != nil) != broken {
			t.Fatalf("broken %v: error %v", broken, err)
		}
		if len(batches.free) != 1 {
			t.Errorf("broken %v: %d batches are kept, want 1", broken, len(batches.free))
		}
	}
}
