package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

// golden is what an independent implementation of GPT-2 in float64 says of a small random checkpoint: a sweep of 132 whole
// forward passes, or as many as there are cells.
type golden struct {
	A, B           int // clean and corrupt answer
	Clean, Corrupt struct {
		IDs    []int
		Metric float64
		Top    []struct {
			ID          int
			Prob, Logit float64
		}
	}
	Matrix [][]float64
}

// TestAgainstReference holds the whole forward pass and the sweep to the goldens in testdata/oracle, which cover head
// counts from the metadata, F16, BF16, prefixed names, mask buffers, one layer, one token and a full context.
func TestAgainstReference(t *testing.T) {
	files, _ := filepath.Glob("testdata/oracle/*.json")
	if len(files) == 0 {
		t.Fatal("no goldens")
	}
	sites := map[string]Site{"resid": siteResid, "attn": siteAttn, "mlp": siteMLP}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			name, site, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".json"), ".")
			m := openTestModel(t, "testdata/oracle/"+name+".safetensors")
			var want golden
			data, err := os.ReadFile(file)
			if err == nil {
				err = json.Unmarshal(data, &want)
			}
			if err != nil {
				t.Fatal(err)
			}
			holdToGolden(t, m, sites[site], &want)
		})
	}
}

// holdToGolden fails unless the model's own sweep agrees: probabilities to 1e-5, cells to 1e-3 at least.
func holdToGolden(t *testing.T, m *Model, site Site, want *golden) {
	pair := Pair{want.Clean.IDs, want.Corrupt.IDs, want.A, want.B}
	s, err := m.sweep(pair, Plan{site: site}, func(float64) {})
	if err != nil {
		t.Fatal(err)
	}
	for i, top := range topTokens(s.cleanLogits, len(want.Clean.Top)) {
		w := want.Clean.Top[i]
		if top.ID != w.ID || math.Abs(top.Prob-w.Prob) > 1e-5 || math.Abs(float64(top.Logit)-w.Logit) > 1e-4 {
			t.Errorf("clean text's token %d: %v, want %v", i, top, w)
		}
	}
	for i, top := range topTokens(s.corruptLogits, len(want.Corrupt.Top)) {
		w := want.Corrupt.Top[i]
		if top.ID != w.ID || math.Abs(top.Prob-w.Prob) > 1e-5 || math.Abs(float64(top.Logit)-w.Logit) > 1e-4 {
			t.Errorf("corrupt text's token %d: %v, want %v", i, top, w)
		}
	}
	largest := max(math.Abs(metricDiff.of(s.clean, s.clean, s.corrupt)-want.Clean.Metric), math.Abs(metricDiff.of(s.corrupt, s.clean, s.corrupt)-want.Corrupt.Metric))
	for l, row := range want.Matrix {
		for p, w := range row {
			largest = max(largest, math.Abs(metricDiff.of(s.cells[l][p], s.clean, s.corrupt)-w))
		}
	}
	if !(largest <= 2e-5) {
		t.Errorf("a metric is off by %g", largest)
	}
}

func openTestModel(t testing.TB, path string) *Model {
	ck, err := openSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ck.close() })
	m, err := loadModel(ck, "test", 0)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestPublishedWeights holds the program to GPT-2 small's own next tokens after the example, as published implementations give
// them to four decimals. It needs the real weights: gpt2.safetensors here, or wherever else the program finds them.
func TestPublishedWeights(t *testing.T) {
	found, err := findModel("", systemEnv(true))
	if err != nil || found.circuit || found.name != "gpt2" {
		t.Skip("GPT-2's weights are not on this machine: put gpt2.safetensors into this folder to run this test")
	}
	m, err := found.open()
	if err != nil {
		t.Fatal(err)
	}
	ids := encode(exampleClean)
	if want := []int{48736, 5437, 373, 257, 1353, 12, 1662, 354, 3710, 13, 16738}; !slices.Equal(ids, want) {
		t.Fatalf("tokens %v, want %v", ids, want)
	}
	logits, err := m.next(ids)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		id   int
		prob string
	}{
		{373, "0.1634"}, {5437, "0.1396"}, {338, "0.0806"}, {550, "0.0491"}, {318, "0.0229"}, {290, "0.0227"}, {11, "0.0222"},
		{531, "0.0134"}, {468, "0.0120"}, {635, "0.0117"}, {1625, "0.0091"}, {1297, "0.0084"}, {1422, "0.0070"}, {2993, "0.0067"},
		{1816, "0.0061"}, {561, "0.0061"}, {3111, "0.0055"}, {750, "0.0054"}, {2486, "0.0053"}, {2492, "0.0050"},
	}
	for i, top := range topTokens(logits, len(want)) {
		if got := fmt.Sprintf("%.4f", top.Prob); got != want[i].prob || top.ID != want[i].id {
			t.Errorf("place %d: token %d with %s, want %d with %s", i+1, top.ID, got, want[i].id, want[i].prob)
		}
	}
}

// TestThreads checks that the number of threads changes no bit of a sweep.
func TestThreads(t *testing.T) {
	defer func(n int) { threads = n }(threads)
	m := randomModel(Config{3, 4, 64, 64, 200}, 1)
	pair := randomPair(m, 23, 2, 2)
	var want *Sweep
	for _, n := range []int{1, 2, 7} {
		threads = n
		s, err := m.sweep(pair, Plan{probabilities: true}, func(float64) {})
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = s
		}
		if !reflect.DeepEqual(s, want) {
			t.Errorf("%d threads change the result", n)
		}
	}
}

// TestDamagedWeights checks that a NaN or an infinity among the weights is an error that names the place where it is first felt.
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
	} {
		m := randomModel(Config{3, 2, 32, 8, 30}, 1)
		c.damage(m)
		pair := Pair{[]int{3, 4, 5}, []int{3, 6, 5}, 1, 2}
		if _, err := m.sweep(pair, Plan{}, func(float64) {}); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "NaN") {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if _, _, err := m.lens(pair, true, func(float64) {}); err == nil {
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
		{nil, "empty"}, {[]int{1, 2, 3, 4, 5}, "5 tokens, but the context of random is 4"}, {[]int{10}, "token 10"}, {[]int{-1}, "token -1"},
	} {
		if _, err := m.next(c.ids); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.ids, err, c.want)
		}
	}
	if _, err := m.next([]int{1, 2, 3, 4}); err != nil {
		t.Error(err)
	}
	if _, err := m.sweep(Pair{[]int{1}, []int{2}, 3, 10}, Plan{}, func(float64) {}); err == nil || !strings.Contains(err.Error(), "token 10") {
		t.Errorf("an answer outside the vocabulary: %v", err)
	}
}

// TestMemory checks that the cells of a long text are divided into passes whose buffers stay within batchBytes.
func TestMemory(t *testing.T) {
	for _, c := range []Config{{12, 12, 768, 1024, 50257}, {48, 25, 1600, 1024, 50257}, {6, 12, 768, 1024, 50257}} {
		m := &Model{Config: c, blocks: []Block{{fc: Linear{w: Matrix{rows: c.width, cols: 4 * c.width}}}}}
		for _, T := range []int{2, 128, 1024} {
			pair := Pair{clean: make([]int, T), corrupt: make([]int, T)}
			pair.corrupt[0] = 1
			live, inert := m.cells(pair, Plan{})
			if len(live)+len(inert) != c.layers*T {
				t.Errorf("%v: %d cells", c, len(live)+len(inert))
			}
			passes, rows := m.passes(live, T)
			n := 0
			for _, p := range passes {
				n += len(p.cells)
			}
			if bytes := rows * m.rowBytes(); bytes > 200<<20 || n != len(live) {
				t.Errorf("%v, %d tokens: %d bytes for %d of %d cells", c, T, bytes, n, len(live))
			}
		}
	}
}

// TestPrepareAhead checks that all large weights are brought in, each by the layer that reads it.
func TestPrepareAhead(t *testing.T) {
	m := randomModel(Config{layers: 3, heads: 2, width: 16, context: 8, vocab: 30}, 1)
	var mu sync.Mutex
	brought := map[*byte]int{}
	m.prepareAhead(func(data []byte) {
		mu.Lock()
		defer mu.Unlock()
		brought[&data[0]] = len(data)
	})
	want := map[*byte]int{}
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
	}
	if len(m.prepare) != m.layers+1 {
		t.Errorf("%d preparations for %d layers and wte", len(m.prepare), m.layers)
	}
}

// TestForwardPreparesAhead checks that a forward pass, and the logit lens too, asks for every layer after the first and for wte.
func TestForwardPreparesAhead(t *testing.T) {
	pair := Pair{clean: []int{1, 2, 3}, corrupt: []int{1, 4, 3}, cleanAnswer: 5, corruptAnswer: 6}
	for name, run := range map[string]func(m *Model) error{
		"next": func(m *Model) error { _, err := m.next(pair.clean); return err },
		"lens": func(m *Model) error { _, _, err := m.lens(pair, false, func(float64) {}); return err },
	} {
		m := randomModel(Config{layers: 3, heads: 2, width: 16, context: 8, vocab: 30}, 1)
		asked := make(chan int, 10)
		for l := 0; l <= m.layers; l++ {
			m.prepare = append(m.prepare, func() { asked <- l })
		}
		if err := run(m); err != nil {
			t.Fatal(err)
		}
		got := []int{<-asked, <-asked, <-asked}
		if slices.Sort(got); !slices.Equal(got, []int{1, 2, 3}) {
			t.Errorf("%s: prepared %v, want layers 1 and 2 and wte", name, got)
		}
	}
}
