package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
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
