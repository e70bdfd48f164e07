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
// row in each layer, of which a run that is forked where a head's output is known has 18 in its
// own.
func sweepFLOPs(m *Model, pair Pair, plan Plan) float64 {
	live, _, _ := m.cells(pair, plan)
	T, d := len(pair.clean), float64(m.width)
	parts := 24 * 2 * T * m.layers
	for _, c := range live {
		_, rows := m.cost(&c, T)
		parts += 24 * (rows - 1) // in the last layer there is one row, which has but 18
		if c.layer == m.layers-1 {
			parts += 18
		} else if c.site.ofHead() {
			parts += 18 + 18*(T-c.from)
		}
	}
	return float64(parts) * d * d
}

// benchmarkSweep reports a sweep's time, and its rate of arithmetic as a share of the matrix
// product's.
func benchmarkSweep(b *testing.B, m *Model, pair Pair, plan Plan) {
	const rows = 600
	w := m.blocks[0].fc
	x, y := randoms(1, rows*m.width), make([]float32, rows*w.w.cols)
	product := 0.
	for i := 0; i < b.N; i++ {
		if _, err := m.sweep(pair, plan, func(float64) {}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		start := time.Now()
		for j := 0; j < 20; j++ {
			matMul(y, x, m.blocks[j%m.layers].fc.w, w.b)
		}
		product += time.Since(start).Seconds()
		b.StartTimer()
	}
	rate := sweepFLOPs(m, pair, plan) * float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate/1e9, "GFLOP/s")
	b.ReportMetric(rate/(20*2*float64(len(y)*m.width)*float64(b.N)/product), "of-matmul")
}

// BenchmarkSweep sweeps pairs of some lengths.
func BenchmarkSweep(b *testing.B) {
	m := gpt2Shape()
	for _, T := range []int{11, 40, 128} {
		b.Run(fmt.Sprintf("%d tokens", T), func(b *testing.B) {
			benchmarkSweep(b, m, randomPair(m, T, 1, 1), patching(siteResid))
		})
	}
}

// BenchmarkPatching patches heads and paths in a pair of 15 tokens that differs at the third.
func BenchmarkPatching(b *testing.B) {
	m := gpt2Shape()
	pair := randomPair(m, 15, 2, 1)
	byPosition := patching(siteQ)
	byPosition.spans = everySpan(15)
	path := func(to ...Receiver) Plan {
		return Plan{targets: []Target{{site: siteZ, frozen: true, to: to}}}
	}
	for _, c := range []struct {
		name string
		plan Plan
	}{
		{"z", patching(siteZ)},
		{"five kinds", patching(siteZ, siteQ, siteK, siteV, sitePattern)},
		{"q by position", byPosition},
		{"to the logits", path()},
		{"to 9.9.q, 9.6.q and 10.0.v", path(Receiver{Head{9, 9}, siteQ},
			Receiver{Head{9, 6}, siteQ}, Receiver{Head{10, 0}, siteV})},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkSweep(b, m, pair, c.plan) })
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
