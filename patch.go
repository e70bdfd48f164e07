package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"unsafe"
)

// This file is activation patching (Vig et al., "Causal Mediation Analysis for Interpreting Neural
// NLP", 2020; Meng et al., "Locating and Editing Factual Associations in GPT", 2022; Zhang and
// Nanda, "Towards Best Practices of Activation Patching in Language Models", 2024) and path
// patching (Wang et al., "Interpretability in the Wild", 2022, appendix B). The model runs on a
// clean and on a corrupt text. Then, for every cell, the corrupt run is repeated with the clean
// run's activation put into that one place, and the logits of the two answers are read off its
// last position.

// Pair is the question: two texts of equally many tokens, and the next token that each of them
// suggests. An answer may be a set of tokens.
type Pair struct {
	clean, corrupt             []int
	cleanAnswer, corruptAnswer []int
}

// Plan says which cells of a sweep to run.
type Plan struct {
	targets []Target
	layers  []Span // each layer, and whether to run it; nil: all
	spans   []Span // the columns by position; nil: each position, or for a head all together
	full    bool   // whether the readings need all logits: logSum and kl
}

// Target is what is patched. Each has a matrix of the result:
//
//	[layer][span]                 the sites with one vector at a position
//	[layer][head]                 the sites of a head, at all positions or at one span of them
//	[layer·heads + head][span]    the sites of a head, where there are several spans
//	[destination][source]         the entries of one head's attention pattern
type Target struct {
	site Site
	of   *Head // the head whose pattern is patched entry by entry

	// Path patching: from each head's output (siteZ) only to the receivers, or, if there are none,
	// to the logits. All other heads' outputs stay those of the corrupt run.
	frozen bool
	to     []Receiver
}

// Span is some positions, lo … hi−1, that are patched together. One that is not run is a gap.
type Span struct {
	lo, hi int
	run    bool
}

// Head is one attention head.
type Head struct{ layer, head int }

func (h Head) String() string { return fmt.Sprintf("%d.%d", h.layer, h.head) }

// Receiver is a head's queries, keys or values: siteQ, siteK or siteV.
type Receiver struct {
	Head
	site Site
}

func (r Receiver) String() string { return fmt.Sprintf("%v.%v", r.Head, r.site) }

// Reading is what is read off the last position of a run.
type Reading struct {
	clean, corrupt float64 // the logits of the answers; of a set of tokens log Σ exp of theirs
	logSum         float64 // log Σ exp of all logits, so that log p = logit − logSum
	kl             float64 // how far the clean run's next token is from this one, in nats
}

var notRun = Reading{math.NaN(), math.NaN(), math.NaN(), math.NaN()}

// Baselines are the two runs as they are.
type Baselines struct {
	clean, corrupt             Reading
	cleanLogits, corruptLogits []float32 // [vocab], at their last positions
}

// Sweep is the answer.
type Sweep struct {
	Baselines
	matrices [][][]Reading // [target][row][column]; NaN where the plan leaves a cell out
}

// checkRestorable makes sure that the runs do not have the same metric, so that shares of the way
// between them can be told.
func (s *Baselines) checkRestorable() {
	from := metricDiff.of(s.corrupt, s.clean, s.corrupt)
	if from == metricDiff.of(s.clean, s.clean, s.corrupt) {
		fail("the clean and the corrupt run both give the answers a difference of %.4g: "+
			"there is nothing to restore", from)
	}
}

// Metric is how a reading becomes one number, by its name in metrics.
type Metric string

// Those of metrics that the program itself asks for.
const (
	metricDiff     Metric = "diff"
	metricRestored Metric = "restored"
	metricKL       Metric = "kl"
)

type metricRow struct {
	name        Metric
	formula     string // with the answers for CLEAN and CORRUPT
	answers     int    // how many it cannot do without: none, the clean one, or both
	full        bool   // whether it needs the logits of all tokens
	highIsClean bool   // whether a large value speaks for the clean answer

	// of is the metric of a reading. clean and corrupt are those of the two runs as they are.
	of func(r, clean, corrupt Reading) float64
}

// metrics are all there are, the usual one first: another one is another row.
var metrics = []metricRow{
	{metricDiff, "logit(CORRUPT) - logit(CLEAN)", 2, false, false,
		func(r, _, _ Reading) float64 { return r.corrupt - r.clean }},
	{"logit", "logit(CLEAN)", 1, false, true,
		func(r, _, _ Reading) float64 { return r.clean }},
	{"prob", "p(CORRUPT) - p(CLEAN)", 2, true, false, func(r, _, _ Reading) float64 {
		return math.Exp(r.corrupt-r.logSum) - math.Exp(r.clean-r.logSum)
	}},
	{metricRestored, "restored share of logit(CORRUPT) - logit(CLEAN)", 2, false, true,
		func(r, clean, corrupt Reading) float64 { // 0 is the corrupt run, 1 the clean one
			from := corrupt.corrupt - corrupt.clean
			return (r.corrupt-r.clean-from)/(clean.corrupt-clean.clean-from) + 0 // not −0
		}},
	{"logprob", "log p(CLEAN)", 1, true, true,
		func(r, _, _ Reading) float64 { return r.clean - r.logSum }},
	{metricKL, "KL(clean || patched)", 0, true, false,
		func(r, _, _ Reading) float64 { return r.kl }},
}

// row is the metric's row; of no metric, nothing.
func (k Metric) row() (row metricRow) {
	for _, m := range metrics {
		if m.name == k {
			row = m
		}
	}
	return row
}

func (k Metric) of(r, clean, corrupt Reading) float64 { return k.row().of(r, clean, corrupt) }

// sweep runs every cell of the plan. progress is told the share of the work that is done.
//
// By definition a cell is one whole forward pass. But a patch at (layer, pos) changes nothing
// before that layer, nothing left of that position, and nothing right of it before the next
// attention. A patched run is therefore a fork of the corrupt run, made at the very site, that owns
// that position, from the next attention on those to its right, and goes through the rest of the
// layers only. The clean run, the corrupt run and all the forks go through the model together, as
// one batch that grows from layer to layer: a single pass over the weights for all sites, with
// matrices tall enough for the matmul's full speed. Where that batch would take more than
// batchBytes, the cells are divided over several passes, each of which begins at the layer of its
// first cell.
func (m *Model) sweep(pair Pair, plan Plan, progress func(done float64)) (s *Sweep, err error) {
	defer catchFault(&err)
	T, s := len(pair.clean), &Sweep{}
	m.checkAnswers(pair)
	for _, t := range plan.targets {
		if t.of != nil {
			m.checkHeads(*t.of)
		}
		for _, r := range t.to {
			m.checkHeads(r.Head)
		}
	}
	m.enough(2*T, m.cellBytes(plan, T))
	x := m.embed(pair.clean, pair.corrupt)
	var live, known []Cell
	live, known, s.matrices = m.cells(pair, plan)
	passes, rows, work := m.passes(live, T)
	m.enough(rows, m.cellBytes(plan, T))
	b := m.newBatch(T, rows)
	defer batches.put(b)
	done := 0
	for i, pass := range passes {
		next := m.layers
		if i+1 < len(passes) {
			next = passes[i+1].first
		}
		step := func(layer int) {
			if done += b.rows(); layer == m.layers-1 && i == len(passes)-1 {
				done = work
			}
			progress(float64(done) / float64(work))
		}
		b.start(x)
		m.pass(b, pass, next, x, step)
		m.read(&s.Baselines, b, pass.cells, pair, plan.full)
	}
	for _, c := range known {
		*c.reading = [...]Reading{cleanRun: s.clean, corruptRun: s.corrupt}[c.fork.base]
	}
	return s, nil
}

// checkAnswers makes sure that the model has the answers' tokens, and checkHeads that it has heads.
func (m *Model) checkAnswers(pair Pair) {
	m.checkTokens(slices.Concat(pair.cleanAnswer, pair.corruptAnswer))
}

func (m *Model) checkHeads(heads ...Head) {
	for _, h := range heads {
		if h.layer < 0 || h.layer >= m.layers || h.head < 0 || h.head >= m.heads {
			fail("there is no head %v in %s: its heads are 0.0 to %v", h, m.name,
				Head{m.layers - 1, m.heads - 1})
		}
	}
}

// Cell is one patched run to be: what is put in, and where its reading goes.
type Cell struct {
	*Target
	Head        // 0 at the sites that are not a head's
	Span        // the positions that are put in
	source  int // of an entry of the pattern, whose destination is lo
	fork    Run // what of it is a run of its own
	reading *Reading
}

// cells lists the cells of the plan in the order in which a batch comes to them, those to run and
// those that are known to be one of the two whole runs, and makes the matrices that their readings
// go to.
func (m *Model) cells(pair Pair, plan Plan) (live, known []Cell, matrices [][][]Reading) {
	T, differ := len(pair.clean), 0
	for differ < T && pair.clean[differ] == pair.corrupt[differ] {
		differ++
	}
	for i := range plan.targets {
		grid := m.grid(&plan.targets[i], plan, T)
		matrix, readIn := make([][]Reading, len(grid)), make([]bool, m.layers)
		for _, to := range plan.targets[i].to {
			readIn[to.layer] = true
		}
		for r, row := range grid {
			matrix[r] = make([]Reading, len(row))
			for col, c := range row {
				c.reading = &matrix[r][col]
				*c.reading = notRun
				c.fork.readIn = readIn
				switch whole := c.trim(differ, T, m.layers-1); {
				case !c.run:
				case whole:
					known = append(known, c)
				default:
					live = append(live, c)
				}
			}
		}
		matrices = append(matrices, matrix)
	}
	slices.SortStableFunc(live, func(a, b Cell) int {
		return cmp.Or(cmp.Compare(a.layer, b.layer), cmp.Compare(a.site.place(), b.site.place()))
	})
	return live, known, matrices
}

// trim says what of a cell's run is to be run, and reports whether nothing is, because it is the
// run it is forked off. A patch left of the first token in which the texts differ puts in what is
// there already; so does the attention to a later position, which is always 0. In the last layer
// only the last of T positions is read, which sees the others as keys and values.
func (c *Cell) trim(differ, T, lastLayer int) (whole bool) {
	last := c.layer == lastLayer
	attended := c.site == siteResidPre || c.site == siteK || c.site == siteV
	f := &c.fork
	f.from, f.to, f.frozen = max(differ, c.lo), c.hi, c.frozen
	f.base, f.rest = corruptRun, corruptRun
	switch {
	case c.hi <= differ, last && c.hi < T && !attended, c.of != nil && c.source > c.lo:
		return true
	case c.site.isStream() && c.lo <= differ: // up to the span's end it is the clean run's for good
		f.base, f.from = cleanRun, c.hi
		return c.hi == T
	case last && c.site != siteResidPre, c.frozen && len(c.to) == 0:
		f.from, f.to = T-1, T // all that is still read
	case c.frozen, c.site == siteK, c.site == siteV:
		f.to = T
	}
	return false
}

// cellBytes is about what the cells of a plan and their readings take, in bytes.
func (m *Model) cellBytes(plan Plan, T int) (bytes float64) {
	for _, t := range plan.targets {
		cells := float64(m.layers) * float64(max(T, len(plan.spans)))
		if t.of != nil {
			cells = float64(T) * float64(T)
		} else if t.site.ofHead() {
			cells *= float64(m.heads)
		}
		bytes += cells * 3 * float64(unsafe.Sizeof(Cell{}))
	}
	return bytes
}

// grid lays out the cells of a target as Target says.
func (m *Model) grid(t *Target, plan Plan, T int) (grid [][]Cell) {
	spans, heads := plan.spans, 1
	if spans == nil {
		spans = everySpan(T)
	}
	if t.of != nil {
		for pos, destination := range everySpan(T) {
			covers := func(s Span) bool { return s.run && s.lo <= pos && pos < s.hi }
			destination.run = slices.ContainsFunc(spans, covers)
			row := make([]Cell, T)
			for j := range row {
				row[j] = Cell{Target: t, Head: *t.of, Span: destination, source: j}
			}
			grid = append(grid, row)
		}
		return grid
	}
	if t.site.ofHead() {
		heads = m.heads
		if run := running(spans); len(run) == 1 {
			spans = run
		} else if plan.spans == nil {
			spans = []Span{{0, T, true}}
		}
	}
	for l := range m.layers {
		for h := range heads {
			row := make([]Cell, len(spans))
			for i, span := range spans {
				picked := plan.layers == nil || plan.layers[l].run
				span.run = span.run && picked && (len(t.to) == 0 || t.reaches(l))
				row[i] = Cell{Target: t, Head: Head{l, h}, Span: span}
			}
			if h > 0 && len(spans) == 1 { // one row for all heads of a layer
				grid[l] = append(grid[l], row...)
			} else {
				grid = append(grid, row)
			}
		}
	}
	return grid
}

// everySpan is each of T positions by itself.
func everySpan(T int) (spans []Span) {
	for pos := range T {
		spans = append(spans, Span{pos, pos + 1, true})
	}
	return spans
}

// running are the spans that are run.
func running(spans []Span) []Span {
	return slices.DeleteFunc(slices.Clone(spans), func(s Span) bool { return !s.run })
}

// reaches reports whether there is a receiver after a layer.
func (t *Target) reaches(layer int) bool {
	return slices.ContainsFunc(t.to, func(r Receiver) bool { return r.layer > layer })
}

// Pass is one pass over the weights: the cells it runs, and the layer that it begins with.
type Pass struct {
	first int
	cells []Cell
}

// batchBytes bounds the memory of a sweep beside the weights: the size of a batch's buffers.
var batchBytes = 200 << 20

// passes divides the cells over as few passes as batchBytes allows, at least one. rows is what the
// largest of them needs, and work, about, how often one row goes through one layer in all.
func (m *Model) passes(cells []Cell, T int) (passes []Pass, rows, work int) {
	most := batchBytes/m.rowBytes() - 2*T
	lo, n, first := 0, 0, 0
	for i, c := range cells {
		need := T - c.fork.from
		if len(c.to) > 0 {
			need *= 2 // a frozen run and a live one
		}
		if i > lo && n+need > most {
			passes = append(passes, Pass{first, cells[lo:i]})
			lo, n, first = i, 0, c.layer
		}
		n += need
		rows = max(rows, n)
		work += need * (m.layers - c.layer)
	}
	passes = append(passes, Pass{first, cells[lo:]})
	for _, p := range passes {
		work += 2 * T * (m.layers - p.first)
	}
	return passes, rows + 2*T, work
}

// cleanRun and corruptRun are the two whole runs at the head of every batch; the forks of the cells
// follow.
const cleanRun, corruptRun = 0, 1

var runNames = [2]string{cleanRun: "clean", corruptRun: "corrupt"}

// pass takes the batch, which holds the clean and the corrupt run as they enter the pass's first
// layer, to the end of the model and forks a run for each cell on the way. The two runs as they
// enter layer stop are left in x.
func (m *Model) pass(b *Batch, p Pass, stop int, x []float32, step func(layer int)) {
	var clean [siteResid + 1][][][]float32 // [site][layer][pos]: what the cells put in
	for site := range clean {
		clean[site] = make([][][]float32, m.layers)
	}
	next := 0 // cell to be forked
	m.forward(b, p.first, func(at Site, layer int, act []float32) []float32 {
		old := len(b.runs)
		for ; next < len(p.cells); next++ {
			c := &p.cells[next]
			if c.layer != layer || c.site.place() != at {
				break
			}
			if c.site == at { // else it is put in as queries, keys, values or attention
				clean[at][layer] = b.capture(clean[at][layer], c.Span, act)
			}
			c.fork.cell = next
			act = b.fork(c.fork, at, act)
		}
		forks := b.runs[old:]
		parallel(len(forks), func(i int) {
			b.patch(forks[i], &p.cells[forks[i].cell], clean[at][layer], act)
		})
		switch at {
		case siteZ:
			act = b.receive(p.cells, layer, old, act)
		case siteResid:
			if layer == stop-1 {
				copy(x, act)
			}
			step(layer)
		}
		return act
	})
}

// place is the site at which a batch forks the runs that are patched at s: siteZ for all that shows
// in what a head puts out.
func (s Site) place() Site {
	if s.ofHead() {
		return siteZ
	}
	return s
}

// capture copies the clean run's activations at the positions of a span, [R, d] → [pos][d], where
// that has not been done yet.
func (b *Batch) capture(clean [][]float32, span Span, act []float32) [][]float32 {
	if clean == nil {
		clean = make([][]float32, b.length)
	}
	for pos := span.lo; pos < span.hi; pos++ {
		if clean[pos] == nil {
			row := cleanRun*b.length + pos
			clean[pos] = slices.Clone(act[row*b.width : (row+1)*b.width])
		}
	}
	return clean
}

// patch puts the clean run's activations into a run that has just been forked for a cell: the
// vector at each position of the span, or a head's part of it.
func (b *Batch) patch(fork Run, c *Cell, clean [][]float32, act []float32) {
	from, to := 0, b.width
	switch {
	case c.site == siteZ:
		from, to = c.head*b.size, (c.head+1)*b.size
	case c.site.ofHead():
		b.patchInside(fork, c, act)
		return
	}
	for pos := fork.from; pos < c.hi; pos++ {
		row := act[(fork.row+pos-fork.from)*b.width:]
		copy(row[from:to], clean[pos][from:to])
	}
}

// patchInside puts a head's queries, keys, values or attention of the clean run into a fork, which
// shows in what the head puts out: z = softmax(q·kᵀ)·v, with some of the three from the clean run.
// The batch still holds those of both whole runs. Clean keys and values show wherever they are
// attended to, the others only at the positions where they are put in.
func (b *Batch) patchInside(fork Run, c *Cell, z []float32) {
	clean, corrupt := b.rowsOf(cleanRun), b.rowsOf(corruptRun)
	mixed := func(pos int) int {
		if c.lo <= pos && pos < c.hi {
			return clean(pos)
		}
		return corrupt(pos)
	}
	head := func(hi int, q, k, v func(pos int) int, edit func(pos int, pattern []float32)) {
		b.headOut(nil, 0, z[fork.row*b.width:], c.head, fork.from, hi, q, k, v, edit)
	}
	switch {
	case c.site == siteQ:
		head(c.hi, clean, corrupt, corrupt, nil)
	case c.site == siteK:
		head(b.length, corrupt, mixed, corrupt, nil)
	case c.site == siteV:
		head(b.length, corrupt, corrupt, mixed, nil)
	case c.of == nil:
		head(c.hi, clean, clean, corrupt, nil)
	default:
		var entry float32
		get := func(_ int, pattern []float32) { entry = pattern[c.source] }
		put := func(_ int, pattern []float32) { pattern[c.source] = entry }
		head(c.hi, clean, clean, clean, get)
		head(c.hi, corrupt, corrupt, corrupt, put)
	}
}

// receive puts the queries, keys and values that this layer's receivers have in the frozen runs
// into live runs, which are forked off the corrupt run where there are none yet. Then it drops the
// frozen runs that have met their last receiver. The runs from index old on have only just been
// forked.
func (b *Batch) receive(cells []Cell, layer, old int, z []float32) []float32 {
	var mixes []func()
	for i, frozen := range b.runs[:old] {
		if !frozen.frozen || !frozen.readIn[layer] {
			continue
		}
		to, theirs := cells[frozen.cell].to, b.rowsOf(i)
		isLive := func(r Run) bool { return r.cell == frozen.cell && !r.frozen }
		own, live := b.rowsOf(corruptRun), slices.IndexFunc(b.runs, isLive)
		if live >= 0 {
			own = b.rowsOf(live)
		} else {
			fork := frozen
			fork.frozen = false
			live, z = len(b.runs), b.fork(fork, siteZ, z)
		}
		for head := 0; head < b.width/b.size; head++ {
			here := func(r Receiver) bool { return r.Head == Head{layer, head} }
			if !slices.ContainsFunc(to, here) {
				continue
			}
			rows := func(site Site) func(pos int) int {
				if slices.Contains(to, Receiver{Head{layer, head}, site}) {
					return theirs
				}
				return own
			}
			run, q, k, v := b.runs[live], rows(siteQ), rows(siteK), rows(siteV)
			mixes = append(mixes, func() {
				b.headOut(nil, 0, z[run.row*b.width:], head, run.from, b.length, q, k, v, nil)
			})
		}
	}
	parallel(len(mixes), func(i int) { mixes[i]() })
	if mixes == nil {
		return z
	}
	return b.keep(z, func(r Run) int {
		if r.frozen && len(cells[r.cell].to) > 0 && !cells[r.cell].reaches(layer) {
			return b.length
		}
		return r.from
	})
}

// read reads the two whole runs and the cells' forks off the end of a pass.
func (m *Model) read(s *Baselines, b *Batch, cells []Cell, pair Pair, full bool) {
	x := b.last()
	if s.cleanLogits == nil { // the whole runs are the same in every pass
		logits := m.logits(nil, x[:2*m.width], m.unembed())
		s.cleanLogits, s.corruptLogits = logits[:m.vocab], logits[m.vocab:]
	}
	readings := m.readings(x, pair, full, s.cleanLogits)
	s.clean, s.corrupt = readings[cleanRun], readings[corruptRun]
	for i, r := range b.runs {
		if r.cell != noCell {
			*cells[r.cell].reading = readings[i]
		}
	}
}

// readings reads residual streams: [n, d] → [n]. With full they have logSum, and kl from the clean
// run's logits, [vocab], unless there are none.
func (m *Model) readings(x []float32, pair Pair, full bool, clean []float32) []Reading {
	ids, split := slices.Concat(pair.cleanAnswer, pair.corruptAnswer), len(pair.cleanAnswer)
	y := m.logits(nil, x, m.unembedOf(ids))
	r := make([]Reading, len(x)/m.width)
	for i := range r {
		answers := y[i*len(ids) : (i+1)*len(ids)]
		r[i] = notRun
		r[i].clean, r[i].corrupt = logSumExp(answers[:split]), logSumExp(answers[split:])
	}
	if !full {
		return r
	}
	sum := logSumExp(clean)
	for lo := 0; lo < len(r); lo += logitsChunk {
		hi := min(lo+logitsChunk, len(r))
		y = m.logits(y, x[lo*m.width:hi*m.width], m.unembed())
		parallel(hi-lo, func(i int) {
			y, r := y[i*m.vocab:(i+1)*m.vocab], &r[lo+i]
			r.logSum = logSumExp(y)
			if clean != nil {
				r.kl = divergence(clean, y, sum, r.logSum)
			}
		})
	}
	return r
}

// divergence is Kullback and Leibler's Σ p·(log p − log q), in nats, of two predictions p and q,
// [vocab] logits each: log p = logit − sum, which is log Σ exp of all logits.
func divergence(p, q []float32, sumP, sumQ float64) (kl float64) {
	for i := range p {
		logP, logQ := float64(p[i])-sumP, float64(q[i])-sumQ
		kl += math.Exp(logP) * (logP - logQ)
	}
	return kl
}
