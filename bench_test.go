package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// BenchmarkSweep sweeps pairs of some lengths, and patches heads and paths in a pair of 15 tokens
// that differs at the third.
func BenchmarkSweep(b *testing.B) {
	m := gpt2Shape()
	sweep := func(name string, pair Pair, plan Plan) {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				must(m.sweep(pair, plan, quiet))
			}
		})
	}
	for _, T := range []int{11, 40, 128} {
		sweep(fmt.Sprintf("%d tokens", T), randomPair(m, T, 1, 1), patching(siteResid))
	}
	byPosition := func(sites ...Site) Plan {
		plan := patching(sites...)
		plan.spans = everySpan(15)
		return plan
	}
	path := func(to ...Receiver) Plan {
		return Plan{targets: []Target{{site: siteZ, frozen: true, to: to}}}
	}
	for _, c := range []struct {
		name string
		plan Plan
	}{
		{"z", patching(siteZ)},
		{"five kinds", patching(siteZ, siteQ, siteK, siteV, sitePattern)},
		{"z by position", byPosition(siteZ)},
		{"q by position", byPosition(siteQ)},
		{"k by position", byPosition(siteK)},
		{"v by position", byPosition(siteV)},
		{"pattern by position", byPosition(sitePattern)},
		{"five kinds by position", byPosition(siteZ, siteQ, siteK, siteV, sitePattern)},
		{"to the logits", path()},
		{"to 9.9.q, 9.6.q and 10.0.v", path(Receiver{Head{9, 9}, siteQ},
			Receiver{Head{9, 6}, siteQ}, Receiver{Head{10, 0}, siteV})},
	} {
		sweep(c.name, randomPair(m, 15, 2, 1), c.plan)
	}
}

// BenchmarkSweepAgainstNaive reports how many times as long as the sweep the definition takes: a
// whole forward pass for each cell, with the same kernels.
func BenchmarkSweepAgainstNaive(b *testing.B) {
	m := gpt2Shape()
	pair := randomPair(m, 11, 1, 1)
	var naive, fast time.Duration
	for range b.N {
		start := time.Now()
		plainSweep(m, pair, patching(siteResid))
		naive += time.Since(start)
		start = time.Now()
		must(m.sweep(pair, patching(siteResid), quiet))
		fast += time.Since(start)
	}
	b.ReportMetric(float64(naive)/float64(fast), "naive/sweep")
}

// BenchmarkStartup runs the program where it has little to do, and reports how many times as long
// as the command true it takes, each at its fastest.
func BenchmarkStartup(b *testing.B) {
	exe, image := filepath.Join(b.TempDir(), "mechpatch.exe"), filepath.Join(b.TempDir(), "h.png")
	build := exec.Command("go", "build", "-o", exe, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // nothing to be linked at the start
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	nothing, err := exec.LookPath("true")
	if err != nil {
		b.Skip(err)
	}
	timeOf := func(exe string, args ...string) time.Duration {
		start := time.Now()
		check(b, exec.Command(exe, args...).Run())
		return time.Since(start)
	}
	for name, args := range map[string][]string{
		"version": {"-version"}, "tokens": {"tokens", "clean.txt"},
		"circuit": {"-model", "circuit", "clean.txt", "corrupt.txt", "Jones", "Smith", "-o", image},
	} {
		b.Run(name, func(b *testing.B) {
			process, least := time.Hour, time.Hour
			for range b.N {
				process = min(process, timeOf(exe, args...))
				b.StopTimer()
				least = min(least, timeOf(nothing))
				b.StartTimer()
			}
			b.ReportMetric(float64(process)/float64(least), "of-true")
		})
	}
}
