package main

import (
	"fmt"
	"math"
	"math/rand"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// randomModel makes a small GPT-2 with random weights whose spread is roughly that of the published
// one. Its Config is layers, heads, width, context and vocabulary.
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
		return wideMatrix(rows, cols, vector(rows*cols, 0, spread))
	}
	norm := func() Norm { return Norm{vector(d, 1, .1), vector(d, 0, .05)} }
	linear := func(in, out int, spread float64) Linear {
		return Linear{matrix(in, out, spread/math.Sqrt(float64(in))), vector(out, 0, .1)}
	}
	m := &Model{Config: c, Variant: openAIs, tokenizer: gpt2, name: "random", source: "test",
		lnF: norm(), wte: matrix(c.vocab, d, .14), wpe: matrix(c.context, d, .05)}
	for range c.layers {
		m.blocks = append(m.blocks, Block{
			norm(), linear(d, 3*d, 1.6), linear(d, d, .6),
			norm(), linear(d, 4*d, 1.2), linear(4*d, d, .8),
		})
	}
	return m
}

// randomPair makes two texts that differ in a few tokens from position differ on.
func randomPair(m *Model, T, differ int, seed int64) Pair {
	r := rand.New(rand.NewSource(seed))
	p := Pair{cleanAnswer: []int{1}, corruptAnswer: []int{2}}
	for i := range T {
		id := r.Intn(m.vocab)
		p.clean, p.corrupt = append(p.clean, id), append(p.corrupt, id)
		if i == differ || i > differ && r.Intn(4) == 0 {
			p.corrupt[i] = (id + 1) % m.vocab
		}
	}
	return p
}

// edit is what a test does with the activations at a site of a layer: look at them, or change them.
type edit func(at Site, layer int, act []float32)

// plainRun is one whole forward pass over one text, without batch and forks: the model's own
// operations in their plain order. edit is shown the activations at each site of each layer and may
// change them: [T, d], for a head's sites all heads side by side, for sitePattern [heads][T, T].
// It returns the residual stream at the last position.
func plainRun(m *Model, ids []int, edit edit) []float32 {
	x := m.embed(ids)
	T, d, size := len(ids), m.width, m.width/m.heads
	h, qkv, z := make([]float32, T*d), make([]float32, T*3*d), make([]float32, T*d)
	q, k, v := make([]float32, T*d), make([]float32, T*d), make([]float32, T*d)
	for l, w := range m.blocks {
		edit(siteResidPre, l, x)
		m.layerNorms(h, x, w.ln1)
		matMul(qkv, h, w.attn.w, w.attn.b)
		for i, part := range [][]float32{q, k, v} {
			copyColumns(part, d, qkv[i*d:], 3*d, T, d)
		}
		edit(siteQ, l, q)
		edit(siteK, l, k)
		edit(siteV, l, v)

		// Attention as four plain steps: what the fast one is held to.
		pattern := make([]float32, m.heads*T*T)
		for head := 0; head < m.heads; head++ { // 1. the scores, 2. softmax over what may be seen
			a, scaled := pattern[head*T*T:(head+1)*T*T], columns(q, d, head*size, size)
			for i := range scaled {
				scaled[i] *= m.attentionScale(l)
			}
			matMulT(a, scaled, wideMatrix(T, size, columns(k, d, head*size, size)))
			for p := range T {
				chosen.softmax(a[p*T : p*T+p+1])
				clear(a[p*T+p+1 : (p+1)*T])
			}
		}
		edit(sitePattern, l, pattern)
		for head := 0; head < m.heads; head++ { // 3. the mean of the values
			out := make([]float32, T*size)
			values := wideMatrix(T, size, columns(v, d, head*size, size))
			matMul(out, pattern[head*T*T:(head+1)*T*T], values, nil)
			copyColumns(z[head*size:], d, out, size, T, size)
		}
		edit(siteZ, l, z)
		matMul(h, z, w.attnProj.w, w.attnProj.b) // 4. c_proj mixes the heads

		edit(siteAttn, l, h)
		addTo(x, h)
		edit(siteResidMid, l, x)
		m.layerNorms(h, x, w.ln2)
		u := make([]float32, T*w.fc.w.cols)
		matMulActivated(u, h, w.fc.w, w.fc.b, m.activation)
		matMul(h, u, w.mlpProj.w, w.mlpProj.b)
		edit(siteMLP, l, h)
		addTo(x, h)
		edit(siteResid, l, x)
	}
	return x[(T-1)*d:]
}

func leave(Site, int, []float32) {}

// columns copies the columns from … from+n−1 of a matrix whose rows are ld values apart: [rows, n].
func columns(x []float32, ld, from, n int) []float32 {
	part := make([]float32, len(x)/ld*n)
	copyColumns(part, n, x[from:], ld, len(x)/ld, n)
	return part
}

// copyColumns copies a [rows, n] matrix whose rows are ldx apart to where they are ldy apart.
func copyColumns(y []float32, ldy int, x []float32, ldx, rows, n int) {
	for r := range rows {
		copy(y[r*ldy:r*ldy+n], x[r*ldx:])
	}
}

// recording is all activations of a run, [site][layer].
type recording map[Site][][]float32

// recorded is the recording of a plain run.
func recorded(m *Model, ids []int) recording {
	acts := recording{}
	plainRun(m, ids, func(at Site, _ int, act []float32) {
		acts[at] = append(acts[at], slices.Clone(act))
	})
	return acts
}

// replacing is the edit that replaces what a cell names by another run's.
func replacing(m *Model, c Cell, from recording) edit {
	return func(at Site, layer int, act []float32) {
		if at != c.site || layer != c.layer {
			return
		}
		T, size := len(from[siteZ][0])/m.width, m.width/m.heads
		for pos := c.lo; pos < c.hi; pos++ {
			lo, n := pos*m.width, m.width // a whole vector
			switch {
			case c.of != nil:
				lo, n = (c.head*T+pos)*T+c.source, 1
			case c.site == sitePattern:
				lo, n = (c.head*T+pos)*T, T
			case c.site.ofHead():
				lo, n = lo+c.head*size, size
			}
			copy(act[lo:lo+n], from[c.site][layer][lo:])
		}
	}
}

// plainCell is the definition of a cell: one whole forward pass, or three for a path to a head.
func plainCell(m *Model, corrupt []int, c Cell, clean, base recording) []float32 {
	if !c.frozen {
		return plainRun(m, corrupt, replacing(m, c, clean))
	}
	// All heads put out what they do in the corrupt run, only the sender what it does in the clean
	// one.
	receivers := recording{}
	x := plainRun(m, corrupt, func(at Site, layer int, act []float32) {
		if at == siteZ {
			copy(act, base[siteZ][layer])
			replacing(m, c, clean)(at, layer, act)
		}
		receivers[at] = append(receivers[at], slices.Clone(act))
	})
	if len(c.to) == 0 {
		return x
	}
	return plainRun(m, corrupt, func(at Site, layer int, act []float32) {
		for _, r := range c.to {
			span := Span{0, len(corrupt), true}
			c := Cell{Target: &Target{site: r.site}, Head: r.Head, Span: span}
			replacing(m, c, receivers)(at, layer, act)
		}
	})
}

// plainSweep is the definition of a sweep. It is laid out like one, and has NaN where nothing is
// run.
func plainSweep(m *Model, pair Pair, plan Plan) (matrices [][][]Reading) {
	clean, base := recorded(m, pair.clean), recorded(m, pair.corrupt)
	for i := range plan.targets {
		var matrix [][]Reading
		for _, cells := range m.grid(&plan.targets[i], plan, len(pair.clean)) {
			var row []Reading
			for _, c := range cells {
				r := notRun
				if c.run {
					x := plainCell(m, pair.corrupt, c, clean, base)
					readings := m.readings(x, pair, false, nil)
					r = readings[0]
				}
				row = append(row, r)
			}
			matrix = append(matrix, row)
		}
		matrices = append(matrices, matrix)
	}
	return matrices
}

// patching is the plan that patches some sites.
func patching(sites ...Site) (plan Plan) {
	for _, site := range sites {
		plan.targets = append(plan.targets, Target{site: site})
	}
	return plan
}

// allPlans is every site in every way it can be patched, and paths to the logits and to receivers
// of all kinds, in one layer and in several; each by what it is called on a command line.
func allPlans(m *Model, T int) map[string]Plan {
	const vectors = "resid_pre,attn,resid_mid,mlp,resid"
	studies := []Study{{site: vectors}, {site: "heads"}, {site: "heads", positions: ":"},
		{site: "heads", positions: "-1"}, {to: "logits"}}
	if T >= 4 { // a word of two tokens, a gap, and the rest
		studies = append(studies, Study{site: vectors, positions: "0,1..2,-1"},
			Study{site: "heads", positions: "0,1..2,-1"})
	}
	for l := range m.layers {
		studies = append(studies, Study{site: fmt.Sprintf("%d.%d.pattern", l, m.heads-1)})
	}
	places := strings.NewReplacer("END", fmt.Sprint(m.layers-1), "MID", fmt.Sprint(m.layers/2),
		"ONE", fmt.Sprint(min(1, m.layers-1)), "LAST", fmt.Sprint(m.heads-1))
	for _, to := range []string{"END.0.q", "END.0.k", "MID.0.v", "MID.0.q,MID.0.k,MID.LAST.v",
		"END.0.v,MID.0.k,ONE.LAST.q"} {
		if m.layers > 1 { // else nothing comes before them
			studies = append(studies, Study{to: places.Replace(to)})
		}
	}
	plans := map[string]Plan{"all in one pass": {}}
	for _, s := range studies {
		plans[s.site+" to "+s.to+" at "+s.positions] = s.plan(m.Config, T)
	}
	plans["all in one pass"] = Plan{targets: slices.Concat(plans["heads to  at "].targets,
		plans[vectors+" to  at "].targets)}
	return plans
}

// TestSweepIsItsDefinition holds the one-pass sweep to the plain definition, bit for bit: every
// site, by head, by position, by span, by entry, and paths; texts that differ early and late, one
// layer, one token, passes so small that the cells are divided over many of them, and any number of
// threads.
func TestSweepIsItsDefinition(t *testing.T) {
	for i, c := range []struct {
		layers, heads, width, T, differ int
	}{
		{4, 3, 24, 5, 1}, {3, 2, 16, 4, 0}, {2, 2, 24, 5, 4}, {1, 2, 16, 4, 2}, {3, 3, 12, 1, 0},
		{1, 1, 8, 1, 0}, {2, 1, 8, 70, 66},
	} {
		m := randomModel(Config{c.layers, c.heads, c.width, 128, 100}, int64(c.T))
		pair := randomPair(m, c.T, c.differ, 5)
		for name, plan := range allPlans(m, c.T) {
			if c.T > 20 && (plan.spans != nil || plan.targets[0].of != nil) { // many cells
				continue
			}
			want := fmt.Sprintf("%x", plainSweep(m, pair, plan)) // to the last bit
			for _, rows := range []int{1 << 20, 3 * c.T, 5*c.T + 3} {
				t.Run(fmt.Sprint(c, " ", name, " rows ", rows), func(t *testing.T) {
					set(t, &batchBytes, rows*m.rowBytes())
					set(t, &threads, []int{1, 2, 7}[i%3])
					s := must(m.sweep(pair, plan, quiet))
					if got := fmt.Sprintf("%x", s.matrices); got != want {
						t.Errorf("%s, by definition %s", got, want)
					}
				})
			}
		}
	}
}

// patchingGoldens is what the independent implementation says of patching, one command a case.
type patchingGoldens struct {
	Clean, Corrupt []int
	A, B           int // clean and corrupt answer
	Cases          []struct {
		Do             string // as on its command line: "sweep --site z --by pos"
		Matrix, KL     any
		Clean, Corrupt goldenShares
	}
}

// goldenShares is what direct attribution finds in one run; or what a head attends to.
type goldenShares struct {
	Embed, Pos_embed, Ln_f_bias float64
	Heads                       any // [layer][head]
	Attn_bias, Mlp              []float64
	Pattern                     any // [destination][source]
}

// TestPatchingAgainstReference holds every site, paths, attention and direct attribution to the
// goldens in testdata/oracle/patching, which whole forward passes in float64 have made.
func TestPatchingAgainstReference(t *testing.T) {
	m := openTestModel(t, "testdata/oracle/patching/model.safetensors")
	var want patchingGoldens
	testdata(t, "oracle/patching/golden.json", &want)
	pair := Pair{want.Clean, want.Corrupt, []int{want.A}, []int{want.B}}
	for _, c := range want.Cases {
		t.Run(c.Do, func(t *testing.T) {
			var got, numbers []float64
			s := studyOf(c.Do)
			switch {
			case c.Do == "direct":
				d := must(m.direct(pair, quiet))
				for run, s := range d.shares {
					w := []goldenShares{c.Clean, c.Corrupt}[run]
					got = append(got, s.Embed, s.PosEmbed, s.LnFBias)
					got = slices.Concat(got, slices.Concat(s.Heads...), s.AttnBias, s.MLP)
					numbers = append(numbers, w.Embed, w.Pos_embed, w.Ln_f_bias)
					numbers = slices.Concat(numbers, flat(w.Heads), w.Attn_bias, w.Mlp)
				}
			case strings.HasPrefix(c.Do, "look"):
				p := must(m.patterns(pair, s.heads(m.Config), false, quiet))
				for run, w := range []any{c.Clean.Pattern, c.Corrupt.Pattern} {
					for _, row := range p.a[run][0] {
						later := make([]float32, len(pair.clean)-len(row))
						for _, v := range slices.Concat(row, later) {
							got = append(got, float64(v))
						}
					}
					numbers = append(numbers, flat(w)...)
				}
			default:
				plan := s.plan(m.Config, len(pair.clean))
				sweep := must(m.sweep(pair, plan, quiet))
				cells := slices.Concat(sweep.matrices[0]...)
				for _, r := range cells {
					got = append(got, metricDiff.of(r, sweep.clean, sweep.corrupt))
				}
				numbers = flat(c.Matrix)
				if c.KL != nil {
					for _, r := range cells {
						got = append(got, r.kl)
					}
					numbers = append(numbers, flat(c.KL)...)
				}
			}
			if len(got) != len(numbers) {
				t.Fatalf("%d numbers, want %d", len(got), len(numbers))
			}
			worst := 0.
			for i, w := range numbers {
				if math.IsNaN(w) != math.IsNaN(got[i]) {
					t.Fatalf("number %d is %g, want %g", i, got[i], w)
				}
				if w == w {
					worst = max(worst, math.Abs(got[i]-w))
				}
			}
			if !(worst <= 1e-5) {
				t.Errorf("a number is off by %g", worst)
			}
		})
	}
}

// flat are all numbers of JSON arrays within arrays; null is NaN.
func flat(v any) (numbers []float64) {
	switch v := v.(type) {
	case nil:
		return []float64{math.NaN()}
	case float64:
		return []float64{v}
	}
	x := reflect.ValueOf(v)
	for i := range x.Len() {
		numbers = append(numbers, flat(x.Index(i).Interface())...)
	}
	return numbers
}

// studyOf is the study that a command line of the reference asks for.
func studyOf(command string) (s Study) {
	flags := map[string]string{}
	words := append(strings.Fields(command), "")
	for i, word := range words[:len(words)-1] {
		flags[word] = words[i+1]
	}
	s = Study{site: flags["--site"], to: flags["--to"], attention: flags["--of"]}
	if flags["--of"] != "" {
		s.site = flags["--of"] + ".pattern"
	}
	if flags["--by"] == "pos" {
		s.positions = ":"
	}
	if _, ok := flags["--kl"]; ok {
		s.metric = metricKL
	}
	return s
}

// What was captured of the clean run stays as it was when a later run writes where it came from.
func TestCaptureCopies(t *testing.T) {
	act := []float32{1, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, -6} // the clean run, the corrupt one
	b := &Batch{length: 3, width: 2}
	clean := b.capture(b.capture(nil, Span{1, 2, true}, act), Span{1, 3, true}, act)
	clear(act)
	if want := [][]float32{nil, {3, 4}, {5, 6}}; !reflect.DeepEqual(clean, want) {
		t.Errorf("captured %v, want %v", clean, want)
	}
}

// TestRowsOfForks counts the rows that c_attn and the MLP of each layer multiply. A fork
// has its own queries, keys and values only where it was changed, until attention carries the
// change on to all later positions; in the last layer only its last row goes on.
func TestRowsOfForks(t *testing.T) {
	const T = 6
	m := randomModel(Config{3, 2, 16, T, 30}, 4)
	pair := randomPair(m, T, 1, 5)
	x := m.embed(pair.clean, pair.corrupt)
	const all = 2*T + 5 + 4
	b := m.newBatch(T, all)
	b.start(x)
	var rows [][2]int
	m.forward(b, 0, func(site Site, layer int, act []float32) []float32 {
		switch {
		case site == siteZ:
			rows = append(rows, [2]int{len(b.qkv) / (3 * m.width)})
		case site == siteMLP:
			rows[layer][1] = len(act) / m.width
		case site == siteResid && layer == 0:
			for _, from := range []int{1, 2} {
				fork := Run{from: from, to: from + 1, base: corruptRun, rest: corruptRun}
				act = b.fork(fork, site, act)
			}
		}
		return act
	})
	want := [][2]int{{2 * T, 2 * T}, {2*T + 1 + 1, all}, {all, 2*T + 2}}
	if !slices.Equal(rows, want) {
		t.Errorf("rows %v, want %v", rows, want)
	}
}

// The share of the work that is done grows from step to step and never goes beyond 1. No batch
// outgrows the rows that it was made for, also where a path has its frozen and its live run in it
// at the same time.
func TestProgress(t *testing.T) {
	m := randomModel(Config{12, 2, 16, 32, 60}, 6)
	pair := randomPair(m, 9, 1, 7)
	runs := map[string]func(progress func(float64)) error{
		"lens": func(progress func(float64)) error {
			_, err := m.lens(pair, false, progress)
			return err
		},
		"a study of all sites": func(progress func(float64)) error {
			study := Study{site: "all", metric: metricDiff}
			_, err := study.run(m, Question{Pair: pair, metric: metricDiff, tokenizer: gpt2},
				progress)
			return err
		},
	}
	for name, s := range map[string]Study{
		"resid": {site: "resid"}, "heads": {site: "z,k"}, "paths": {to: "5.0.q,8.1.v"},
	} {
		plan := s.plan(m.Config, 9)
		runs[name] = func(progress func(float64)) error {
			_, err := m.sweep(pair, plan, progress)
			return err
		}
		live, _, _ := m.cells(pair, plan)
		passes, rows, _ := m.passes(live, 9)
		b, most := m.newBatch(9, rows), 0
		x := m.embed(pair.clean, pair.corrupt)
		b.start(x)
		m.pass(b, passes[0], m.layers, x, func(int) { most = max(most, b.rows()) })
		if most > rows || most < rows/2 {
			t.Errorf("%s: %d rows of a batch with %d", name, most, rows)
		}
	}
	for name, run := range runs {
		for _, rows := range []int{1 << 20, 80} {
			set(t, &batchBytes, rows*m.rowBytes())
			last, steps := 0., 0
			check(t, run(func(done float64) {
				if !(done > last && done <= 1) {
					t.Errorf("%s, step %d: %g after %g", name, steps, done, last)
				}
				last = done
				steps++
			}))
			if last < .999 || rows > 80 && steps != 12 || steps < 12 {
				t.Errorf("%s: %d steps up to %g", name, steps, last)
			}
		}
	}
}

// TestReadings reads more streams than the logits are computed for at a time, with answers of one
// token and of several.
func TestReadings(t *testing.T) {
	m := randomModel(Config{1, 1, 16, 8, 40}, 1)
	const n = 150
	x := randoms(2, n*m.width)
	clean := m.logits(nil, x[:m.width], m.unembed())
	pair := Pair{cleanAnswer: []int{3}, corruptAnswer: []int{7, 1}}
	readings := m.readings(x, pair, true, clean)
	for i, r := range readings {
		y := m.logits(nil, x[i*m.width:(i+1)*m.width], m.unembed())
		set := math.Log(math.Exp(float64(y[7])) + math.Exp(float64(y[1])))
		kl, logSum := 0., logSumExp(y)
		for id := range y {
			logP := float64(clean[id]) - logSumExp(clean)
			kl += math.Exp(logP) * (logP - float64(y[id]) + logSum)
		}
		if r.clean != float64(y[3]) || r.logSum != logSum || i == 0 && r.kl != 0 ||
			math.Abs(r.corrupt-set) > 1e-6 || math.Abs(r.kl-kl) > 1e-9 {
			t.Fatalf("stream %d: %v, want %g, %g, %g, %g", i, r, y[3], set, logSum, kl)
		}
	}
}

// A sweep leaves its batch to the next one, also where it fails.
func TestSweepReusesBatch(t *testing.T) {
	set(t, &batches.free, nil)
	m := randomModel(Config{2, 2, 16, 8, 30}, 1)
	pair := randomPair(m, 5, 1, 1)
	for _, broken := range []bool{false, true} {
		if broken {
			m.blocks[1].mlpProj.b[0] = float32(math.NaN())
		}
		if _, err := m.sweep(pair, patching(siteResid), quiet); (err != nil) != broken {
			t.Fatalf("broken %v: error %v", broken, err)
		}
		if len(batches.free) != 1 {
			t.Errorf("broken %v: %d batches are kept, want 1", broken, len(batches.free))
		}
	}
}
