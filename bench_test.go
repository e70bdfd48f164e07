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

// sweepFLOPs counts the multiplications and additions of the matrix products that a sweep cannot do
// without. In parts of d², a row takes 2 for each of its query, key, value and the projection of
// the heads, and 16 in the MLP. In the last layer only the last row of a run takes more than keys
// and values.
func sweepFLOPs(m *Model, pair Pair, plan Plan) float64 {
	last, T, d := m.layers-1, len(pair.clean), float64(m.width)
	// n rows of a run through the layers after this one, of which the first finds the rest changed.
	after := func(layer, n, rest int) int {
		switch layer {
		case last:
			return 0
		case last - 1:
			return 4*(n-rest) + 20
		}
		return (last-layer-1)*24*n - 6*rest + 4*n + 20
	}
	parts := 2 * after(-1, T, 0)
	live, _, _ := m.cells(pair, plan)
	for _, c := range live {
		n, own := T-c.fork.from, c.fork.to-c.fork.from
		switch {
		case c.to != nil:
			first, end := last, 0 // layer of a receiver after the sender
			for _, r := range c.to {
				if r.layer > c.layer {
					first, end = min(first, r.layer), max(end, r.layer)
				}
			}
			parts += (end-c.layer)*18*n + 18*n + after(first, n, 0)
		case c.frozen:
			parts += (last - c.layer + 1) * 18
		case c.site == siteResidPre:
			parts += after(c.layer-1, n, n-own)
		case c.site.ofHead():
			parts += 18*own + after(c.layer, n, n-own)
		case c.site == siteAttn, c.site == siteResidMid:
			parts += 16*own + after(c.layer, n, n-own)
		default:
			parts += after(c.layer, n, n-own)
		}
	}
	return float64(parts) * d * d
}

// benchmarkSweep reports a sweep's time, and its rate of arithmetic as a share of the matrix
// product's: 600 rows through the first half of an MLP, which is measured between its layers.
func benchmarkSweep(b *testing.B, m *Model, pair Pair, plan Plan) {
	const rows, often = 600, 100 * time.Millisecond
	x, y := randoms(1, rows*m.width), make([]float32, rows*m.blocks[0].fc.w.cols)
	var swept, multiplied time.Duration
	products, start := 0, time.Now()
	multiply := func() {
		now := time.Now()
		swept += now.Sub(start)
		for range 5 {
			fc := m.blocks[products%m.layers].fc
			matMul(y, x, fc.w, fc.b)
			products++
		}
		start = time.Now()
		multiplied += start.Sub(now)
	}
	for range b.N {
		start = time.Now()
		must(m.sweep(pair, plan, func(float64) {
			if time.Since(start) > often {
				multiply()
			}
		}))
		multiply()
	}
	rate := sweepFLOPs(m, pair, plan) * float64(b.N) / swept.Seconds()
	product := 2 * float64(len(y)*m.width*products) / multiplied.Seconds()
	b.ReportMetric(swept.Seconds()/float64(b.N)*1e9, "ns/op")
	b.ReportMetric(rate/1e9, "GFLOP/s")
	b.ReportMetric(rate/product, "of-matmul")
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
		b.Run(c.name, func(b *testing.B) { benchmarkSweep(b, m, pair, c.plan) })
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

// BenchmarkProcess reports how many times as long as a sweep within a process, which has done one
// before, the whole program takes from its start to its end: with a file of GPT-2 small's shape,
// which the system has in its cache.
func BenchmarkProcess(b *testing.B) {
	exe, file := builtProgram(b), filepath.Join(b.TempDir(), "model.safetensors")
	weights := randomCheckpoint(Config{12, 12, 768, 1024, vocabSize}, 3072, "F32")
	write(b, file, encodeCheckpoint(weights, 0))
	m, ck, err := openModel(file, 0, 0, 0)
	check(b, err)
	defer ck.close()
	pair := Pair{clean: gpt2BPE().encode(exampleClean), corrupt: gpt2BPE().encode(exampleCorrupt),
		cleanAnswer: gpt2BPE().encode(" Jones"), corruptAnswer: gpt2BPE().encode(" Smith")}
	sweep := func() {
		must(m.sweep(pair, patching(siteResid), quiet))
	}
	sweep()
	args := []string{"-model", file, "-o", filepath.Join(b.TempDir(), "h.png"),
		"clean.txt", "corrupt.txt", "Jones", "Smith"}
	b.ResetTimer()
	process, within := time.Duration(0), time.Duration(0)
	for range b.N {
		process += timeProcess(b, exe, args...)
		b.StopTimer()
		start := time.Now()
		sweep()
		within += time.Since(start)
		b.StartTimer()
	}
	b.ReportMetric(float64(process)/float64(within), "process/sweep")
}

// BenchmarkStartup runs the program where it has little to do, and reports how many times as long
// as the command true it takes, each at its fastest.
func BenchmarkStartup(b *testing.B) {
	exe, image := builtProgram(b), filepath.Join(b.TempDir(), "h.png")
	nothing, err := exec.LookPath("true")
	if err != nil {
		b.Skip(err)
	}
	for _, c := range []struct {
		name string
		args []string
	}{
		{"version", []string{"-version"}},
		{"tokens", []string{"tokens", "clean.txt"}},
		{"circuit", []string{"-model", "circuit", "clean.txt", "corrupt.txt", "Jones", "Smith",
			"-o", image}},
	} {
		b.Run(c.name, func(b *testing.B) {
			process, least := time.Hour, time.Hour
			for range b.N {
				process = min(process, timeProcess(b, exe, c.args...))
				b.StopTimer()
				least = min(least, timeProcess(b, nothing))
				b.StartTimer()
			}
			b.ReportMetric(float64(process)/float64(least), "of-true")
		})
	}
}

// builtProgram builds the program into a file.
func builtProgram(b *testing.B) string {
	exe := filepath.Join(b.TempDir(), "mechpatch")
	if runtime.GOOS == "windows" {
		exe += ".exe"
	}
	build := exec.Command("go", "build", "-o", exe, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // nothing to be linked at the start
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return exe
}

// timeProcess is how long a process takes that prints to nowhere.
func timeProcess(b *testing.B, exe string, args ...string) time.Duration {
	cmd := exec.Command(exe, args...)
	start := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s %v: %v", exe, args, err)
	}
	return time.Since(start)
}
