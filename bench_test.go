package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// The benchmarks of the program as a whole; those of its parts stand beside their tests. Machines
// differ and are shared, so what counts is the ratio of two figures of one run: go test -bench .
// -run '^$'

// gpt2Shape makes a model of GPT-2 small's shape with weights of the right size, quickly.
func gpt2Shape() *Model {
	m := randomModel(Config{12, 12, 768, 1024, 1000}, 1)
	m.vocab = 50257
	wte := newMatrix(m.vocab, m.width)
	for at := 0; at < len(wte.f32); at += len(m.wte.f32) {
		copy(wte.f32[at:], m.wte.f32)
	}
	m.wte = wte
	return m
}

// sweepFLOPs counts the multiplications and additions of a sweep's matrix products: 24·d² for each
// row in each layer.
func sweepFLOPs(m *Model, pair Pair) float64 {
	live, _, _ := m.cells(pair, patching(siteResid))
	T, d := len(pair.clean), float64(m.width)
	rows := 2 * T * m.layers
	for _, c := range live {
		rows += (T - c.from) * (m.layers - 1 - c.layer)
	}
	return float64(rows) * 24 * d * d
}

// BenchmarkSweep sweeps pairs of some lengths, as a whole and as a rate of arithmetic, which should
// stay near the matrix product's.
func BenchmarkSweep(b *testing.B) {
	m := gpt2Shape()
	for _, T := range []int{11, 40, 128} {
		b.Run(fmt.Sprintf("%d tokens", T), func(b *testing.B) {
			pair := randomPair(m, T, 1, 1)
			for i := 0; i < b.N; i++ {
				if _, err := m.sweep(pair, patching(siteResid), func(float64) {}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(sweepFLOPs(m, pair)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}

// BenchmarkSweepAgainstNaive reports how many times as long as the sweep the definition takes: a
// whole forward pass for each cell, with the same kernels.
func BenchmarkSweepAgainstNaive(b *testing.B) {
	m := gpt2Shape()
	pair := randomPair(m, 11, 1, 1)
	var naive, fast time.Duration
	for i := 0; i < b.N; i++ {
		start := time.Now()
		plainSweep(b, m, pair, patching(siteResid))
		naive += time.Since(start)
		start = time.Now()
		if _, err := m.sweep(pair, patching(siteResid), func(float64) {}); err != nil {
			b.Fatal(err)
		}
		fast += time.Since(start)
	}
	b.ReportMetric(float64(naive)/float64(fast), "naive/sweep")
}

// BenchmarkStartup runs the built program, from its start to its end.
func BenchmarkStartup(b *testing.B) {
	exe := filepath.Join(b.TempDir(), "mechpatch")
	if runtime.GOOS == "windows" {
		exe += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", exe, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	image := filepath.Join(b.TempDir(), "h.png")
	for _, c := range []struct {
		name string
		args []string
	}{
		{"version", []string{"-version"}},
		{"tokens", []string{"tokens", "clean.txt"}},
		{"circuit", []string{"clean.txt", "corrupt.txt", "Jones", "Smith", "-o", image}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for i := 0; i < b.N; i++ {
				cmd := exec.Command(exe, c.args...)
				cmd.Env = append(os.Environ(), "MECHPATCH_MODEL=circuit")
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
			}
		})
	}
}
