package main

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// This is GPT-2 without anything that makes it fast: the definition of the model, in plain loops
// and float64. Begin reading here. T is the number of tokens, d the model's width, and x[p] the
// residual stream at position p, [d].

// plainGPT2 predicts what follows a text: [T] token ids → [vocab] logits. edit is handed the
// residual stream after each layer, [T, d]; to change it there is activation patching.
func plainGPT2(m *Model, ids []int, edit func(layer int, x [][]float64)) (logits []float64) {
	x := make([][]float64, len(ids))
	for p, id := range ids {
		x[p] = plus(rowOf(m.wte, id), rowOf(m.wpe, p)) // [d]
	}
	for l, w := range m.blocks {
		for p, y := range plainAttention(x, w, m.heads) { // [T, d] → [T, d]
			x[p] = plus(x[p], y)
		}
		for p := range x {
			hidden := linear(normed(x[p], w.ln2), w.fc) // [d] → [4d]
			for i, v := range hidden {                  // GELU
				hidden[i] = v / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
			}
			x[p] = plus(x[p], linear(hidden, w.mlpProj)) // [4d] → [d]
		}
		edit(l, x)
	}
	last := normed(x[len(x)-1], m.lnF) // [d]
	for id := 0; id < m.vocab; id++ {
		logits = append(logits, dot(last, rowOf(m.wte, id)))
	}
	return logits
}

// plainAttention lets every position look at itself and at those before it: [T, d] → [T, d].
func plainAttention(x [][]float64, w Block, heads int) (out [][]float64) {
	d := len(x[0])
	size := d / heads
	var q, k, v [][]float64 // [T, d], the heads side by side
	for p := range x {
		qkv := linear(normed(x[p], w.ln1), w.attn) // [d] → [3d]
		q, k, v = append(q, qkv[:d]), append(k, qkv[d:2*d]), append(v, qkv[2*d:])
	}
	for p := range x {
		z := make([]float64, d)
		for h := 0; h < d; h += size {
			a, largest, sum := make([]float64, p+1), math.Inf(-1), 0.
			for i := range a { // 1. How well does the query match each key? [p+1]
				a[i] = dot(q[p][h:h+size], k[i][h:h+size]) / math.Sqrt(float64(size))
				largest = max(largest, a[i])
			}
			for i := range a { // 2. Softmax turns the scores into shares, up to their sum.
				a[i] = math.Exp(a[i] - largest)
				sum += a[i]
			}
			for i := range a { // 3. The head's output is the mean of the values, by these shares.
				for j := h; j < h+size; j++ {
					z[j] += a[i] / sum * v[i][j]
				}
			}
		}
		out = append(out, linear(z, w.attnProj)) // 4. c_proj mixes the heads. [d] → [d]
	}
	return out
}

// normed is layer norm: x with mean 0 and variance 1, then scaled and shifted. [d] → [d]
func normed(x []float64, n Norm) (y []float64) {
	mean, variance, d := 0., 0., float64(len(x))
	for _, v := range x {
		mean += v / d
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / d
	}
	for i, v := range x {
		unit := (v - mean) / math.Sqrt(variance+1e-5)
		y = append(y, unit*float64(n.gain[i])+float64(n.bias[i]))
	}
	return y
}

// linear is x·w + b: [k]·[k, n] + [n] → [n].
func linear(x []float64, w Linear) []float64 {
	y := floats(w.b)
	for i, v := range x {
		for j, u := range w.w.f32[i*len(y) : (i+1)*len(y)] {
			y[j] += v * float64(u)
		}
	}
	return y
}

func plus(x, y []float64) []float64 {
	sum := make([]float64, len(x))
	for i := range x {
		sum[i] = x[i] + y[i]
	}
	return sum
}

func dot(x, y []float64) (sum float64) {
	for i := range x {
		sum += x[i] * y[i]
	}
	return sum
}

// rowOf is row i of a weight matrix.
func rowOf(w Matrix, i int) []float64 { return floats(w.f32[i*w.cols : (i+1)*w.cols]) }

func floats(x []float32) (wide []float64) {
	for _, v := range x {
		wide = append(wide, float64(v))
	}
	return wide
}

// TestPlainGPT2 holds the program to the plain GPT-2: the next token's logits, and each cell of a
// sweep of the residual stream to the same patch made by hand.
func TestPlainGPT2(t *testing.T) {
	for _, c := range []struct {
		Config
		T, differ int
	}{
		{Config{layers: 3, heads: 4, width: 64, context: 16, vocab: 50}, 11, 1},
		{Config{layers: 2, heads: 3, width: 48, context: 16, vocab: 50}, 7, 6},
		{Config{layers: 2, heads: 1, width: 12, context: 90, vocab: 30}, 70, 66},
		{Config{layers: 1, heads: 2, width: 10, context: 1, vocab: 5}, 1, 0},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			m := randomModel(c.Config, 1)
			pair := randomPair(m, c.T, c.differ, 2)
			leave := func(int, [][]float64) {}
			got := must(m.next(pair.clean))
			for id, want := range plainGPT2(m, pair.clean, leave) {
				if math.Abs(float64(got[id])-want) > 1e-4 {
					t.Errorf("logit %d is %g, want %g", id, got[id], want)
				}
			}
			sweep := must(m.sweep(pair, patching(siteResid), quiet))
			clean := make([][][]float64, m.layers) // [layer][pos]
			plainGPT2(m, pair.clean, func(l int, x [][]float64) { clean[l] = slices.Clone(x) })
			for l, row := range sweep.matrices[0] {
				for p, cell := range row {
					want := plainGPT2(m, pair.corrupt, func(layer int, x [][]float64) {
						if layer == l {
							x[p] = clean[l][p]
						}
					})
					a, b := want[pair.cleanAnswer[0]], want[pair.corruptAnswer[0]]
					if math.Abs(cell.clean-a) > 1e-4 || math.Abs(cell.corrupt-b) > 1e-4 {
						t.Errorf("layer %d, position %d: %v, want %g and %g", l, p, cell, a, b)
					}
				}
			}
		})
	}
}

// golden is what an independent implementation of GPT-2 in float64 says of a small random
// checkpoint: a sweep of 132 whole forward passes, or as many as there are cells.
type golden struct {
	A, B           int // clean and corrupt answer
	Clean, Corrupt struct {
		IDs    []int
		Metric float64
		Top    []TopReport
	}
	Matrix [][]float64
}

// TestAgainstReference holds the whole forward pass and the sweep to the goldens in
// testdata/oracle, which cover head counts from the metadata, F16, BF16, prefixed names, mask
// buffers, one layer, one token and a full context.
func TestAgainstReference(t *testing.T) {
	files, _ := filepath.Glob("testdata/oracle/*.json")
	if len(files) == 0 {
		t.Fatal("no goldens")
	}
	for _, file := range files {
		name, site, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".json"), ".")
		m := openTestModel(t, "testdata/oracle/"+name+".safetensors")
		var want golden
		testdata(t, "oracle/"+filepath.Base(file), &want)
		pair := Pair{want.Clean.IDs, want.Corrupt.IDs, []int{want.A}, []int{want.B}}
		s := must(m.sweep(pair, patching(Site(slices.Index(siteNames, site))), quiet))
		worst := 0.
		off := func(got, want float64) { worst = max(worst, math.Abs(got-want)) }
		for i, w := range append(want.Clean.Top, want.Corrupt.Top...) {
			logits, n := s.cleanLogits, len(want.Clean.Top)
			if i >= n {
				logits = s.corruptLogits
			}
			top := topTokens(m.tokenizer, logits, n)[i%n]
			if top.ID != w.ID || math.Abs(top.Prob-w.Prob) > 1e-5 {
				t.Errorf("%s, token %d: %v, want %v", file, i, top, w)
			}
			off(float64(top.Logit)/5, float64(w.Logit)/5) // rounded to 1e-4
		}
		diff := func(r Reading) float64 { return metricDiff.of(r, s.clean, s.corrupt) }
		off(diff(s.clean), want.Clean.Metric)
		off(diff(s.corrupt), want.Corrupt.Metric)
		for l, row := range want.Matrix {
			for p, w := range row {
				off(diff(s.matrices[0][l][p]), w)
			}
		}
		if !(worst <= 2e-5) {
			t.Errorf("%s: a number is off by %g", file, worst)
		}
	}
}

func openTestModel(t testing.TB, path string) *Model {
	ck := must(openFile(path, 0, -1))
	t.Cleanup(func() { ck.close() })
	heads := 0
	if ck.meta["n_head"] == "" { // onelayer.safetensors does not say it
		heads = 1
	}
	return must(loadModel(ck, heads))
}

// TestPublishedWeights holds the program to GPT-2 small's own next tokens after the example, as
// published implementations give them to four decimals. It needs the real weights:
// gpt2.safetensors here, or wherever else the program finds them.
func TestPublishedWeights(t *testing.T) {
	found, err := findModel("", true, nil)
	if err != nil || found.circuit || found.name != "gpt2" {
		t.Skip("GPT-2's weights are not on this machine: " +
			"put gpt2.safetensors into this folder to run this test")
	}
	m := must(found.open(0))
	want := "373 .1634 5437 .1396 338 .0806 550 .0491 318 .0229 290 .0227 11 .0222 531 .0134 " +
		"468 .0120 635 .0117 1625 .0091 1297 .0084 1422 .0070 2993 .0067 1816 .0061 561 .0061 " +
		"3111 .0055 750 .0054 2486 .0053 2492 .0050"
	got := ""
	for _, top := range topTokens(m.tokenizer, must(m.next(exampleIDs)), 20) {
		got += fmt.Sprintf(" %d %s", top.ID, fmt.Sprintf("%.4f", top.Prob)[1:])
	}
	if got[1:] != want {
		t.Errorf("the next tokens are%s, want %s", got, want)
	}

	// The heat map of the example, as others have published it.
	corrupt := slices.Clone(exampleIDs)
	corrupt[1] = 4176
	s := must(m.sweep(Pair{exampleIDs, corrupt, []int{5437}, []int{4176}}, patching(siteResid),
		quiet))
	cells := s.matrices[0]
	for _, c := range []struct {
		what       string
		got        Reading
		metric     Metric
		want, most float64
	}{
		{"clean", s.clean, metricDiff, -4.12408, 1e-3},
		{"corrupt", s.corrupt, metricDiff, 5.65624, 1e-3},
		{"layer 0, position 1", cells[0][1], metricRestored, 0.99438, 1e-4},
		{"layer 1, position 1", cells[1][1], metricRestored, 0.994191, 1e-4},
		{"layer 11, position 10", cells[11][10], metricRestored, 1, 1e-6},
	} {
		if got := c.metric.of(c.got, s.clean, s.corrupt); !(math.Abs(got-c.want) <= c.most) {
			t.Errorf("%s: %g, want %g", c.what, got, c.want)
		}
	}
}

// A NaN or an infinity among the weights is an error that names the place where it is first felt.
func TestDamagedWeights(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		name   string
		damage func(m *Model)
		want   string
	}{
		{"wte of the text", func(m *Model) { m.wte.f32[3*32+5] = nan }, "the embeddings"},
		{"wte of another token", func(m *Model) { m.wte.f32[20*32+5] = inf }, "the logits"},
		{"wpe", func(m *Model) { m.wpe.f32[2*32] = inf }, "the embeddings"},
		{"c_attn", func(m *Model) { m.blocks[1].attn.w.f32[70] = nan }, "after layer 1"},
		{"ln_1", func(m *Model) { m.blocks[0].ln1.gain[7] = inf }, "after layer 0"},
		{"the MLP's bias", func(m *Model) { m.blocks[2].mlpProj.b[31] = nan }, "after layer 2"},
		{"c_fc", func(m *Model) { m.blocks[2].fc.w.f32[1] = inf }, "after layer 2"},
		{"ln_f", func(m *Model) { m.lnF.bias[0] = nan }, "the logits"},
		{"no numbers", func(m *Model) { clear(m.wte.f32) }, "all logits are 0"},
	} {
		m := randomModel(Config{3, 2, 32, 8, 30}, 1)
		c.damage(m)
		pair := Pair{[]int{3, 4, 5}, []int{3, 6, 5}, []int{1}, []int{2}}
		_, err := m.sweep(pair, patching(siteResid), quiet)
		if wantError(t, c.name, err, c.want); c.name != "no numbers" {
			wantError(t, c.name, err, "NaN")
		}
		if _, err := m.lens(pair, true, quiet); err == nil {
			t.Errorf("%s: the lens sees nothing", c.name)
		}
	}
}

// TestImpossibleTexts checks the limits of context and vocabulary.
func TestImpossibleTexts(t *testing.T) {
	m := randomModel(Config{1, 1, 8, 4, 10}, 1)
	for _, c := range []struct {
		ids  []int
		want string
	}{
		{[]int{1, 2, 3, 4}, ""},
		{nil, "empty"},
		{[]int{1, 2, 3, 4, 5}, "5 tokens, but the context of random is 4"},
		{[]int{10}, `is not in the vocabulary of random, which has 10 rows: it was made for`},
		{[]int{-1}, "token -1"},
	} {
		_, err := m.next(c.ids)
		wantError(t, fmt.Sprint(c.ids), err, c.want)
	}
	pair := Pair{[]int{1}, []int{2}, []int{3}, []int{10}}
	_, err := m.sweep(pair, Plan{}, quiet)
	wantError(t, "an answer outside the vocabulary", err, "token 10")
}

// The cells of a long text are divided into passes whose buffers stay within batchBytes.
func TestMemory(t *testing.T) {
	for _, c := range []Config{
		{12, 12, 768, 1024, 50257}, {48, 25, 1600, 1024, 50257}, {6, 12, 768, 1024, 50257},
	} {
		fc := Linear{w: Matrix{rows: c.width, cols: 4 * c.width}}
		m := &Model{Config: c, blocks: []Block{{fc: fc}}}
		for _, T := range []int{2, 128, 1024} {
			pair := Pair{clean: make([]int, T), corrupt: make([]int, T)}
			pair.corrupt[0] = 1
			live, known, _ := m.cells(pair, patching(siteResid))
			passes, rows, _ := m.passes(live, T)
			n := len(known)
			for _, p := range passes {
				n += len(p.cells)
			}
			if bytes := rows * m.rowBytes(); bytes > 200<<20 || n != c.layers*T {
				t.Errorf("%v, %d tokens: %d bytes for %d cells", c, T, bytes, n)
			}
		}
	}
}

// All large weights are brought in, each by the layer that reads it, and a forward pass, and the
// logit lens too, asks for every layer after the first and for wte.
func TestPrepareAhead(t *testing.T) {
	m := randomModel(Config{3, 2, 16, 8, 30}, 1)
	var mu sync.Mutex
	brought := map[*byte]int{}
	m.prepareAhead(func(data []byte) byte {
		mu.Lock()
		defer mu.Unlock()
		brought[&data[0]] = len(data)
		return 0
	})
	want := map[*byte]int{}
	asked := make(chan int, 10)
	for l, prepare := range m.prepare {
		prepare()
		matrices := []Matrix{m.wte}
		if l < m.layers {
			b := &m.blocks[l]
			matrices = []Matrix{b.attn.w, b.attnProj.w, b.fc.w, b.mlpProj.w}
		}
		for _, w := range matrices {
			want[&w.bytes()[0]] = 4 * w.rows * w.cols
		}
		if !maps.Equal(brought, want) {
			t.Fatalf("after preparation %d: %v, want %v", l, brought, want)
		}
		m.prepare[l] = func() { asked <- l }
	}
	pair := Pair{[]int{1, 2, 3}, []int{1, 4, 3}, []int{5}, []int{6}}
	must(m.next(pair.clean))
	must(m.lens(pair, false, quiet))
	got := []int{<-asked, <-asked, <-asked, <-asked, <-asked, <-asked}
	if slices.Sort(got); !slices.Equal(got, []int{1, 1, 2, 2, 3, 3}) || len(m.prepare) != 4 {
		t.Errorf("prepared %v, want layers 1 and 2 and wte, twice", got)
	}
}

// A model whose file claims an absurd size is refused in one line, before memory is allocated for
// it. A matrix of zeros takes none.
func TestAbsurdShapes(t *testing.T) {
	for _, c := range []struct {
		Config
		inner int
		want  string
	}{
		{Config{2, 1, 1 << 32, 8, 100}, 1 << 34, "GB of memory"},
		{Config{2, 2, 16, 8, 70e9}, 64, "GB of memory"},
		{Config{2, 2, 16, 8, 100}, 10e9, "GB of memory"},
		{Config{20000, 1, 1, 8, 100}, 4, "20000 layers, and mechpatch runs at most 1000"},
	} {
		m := &Model{Config: c.Config, name: "absurd"}
		for range c.layers {
			m.blocks = append(m.blocks, Block{fc: Linear{w: Matrix{rows: c.width, cols: c.inner}}})
		}
		pair := Pair{clean: []int{1, 2}, corrupt: []int{1, 3}}
		_, err1 := m.next(pair.clean)
		_, err2 := m.sweep(pair, patching(siteResid), quiet)
		_, err3 := m.lens(pair, false, quiet)
		for _, err := range []error{err1, err2, err3} {
			wantError(t, fmt.Sprint(c.Config), err, c.want)
		}
	}
}
