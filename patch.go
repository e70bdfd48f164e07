package main

import (
	"fmt"
	"math"
)

// This file is activation patching (Vig et al., "Causal Mediation Analysis for Interpreting Neural NLP", 2020; Meng et
// al., "Locating and Editing Factual Associations in GPT", 2022; Zhang and Nanda, "Towards Best Practices of Activation
// Patching in Language Models", 2024). The model runs on a clean and on a corrupt text. Then, for every cell, the corrupt
// run is repeated with the clean run's activation put into that one place, and the logits of the two answers are read
// off its last position.

// Pair is the question: two texts of equally many tokens, and the next token that each of them suggests.
type Pair struct {
	clean, corrupt             []int
	cleanAnswer, corruptAnswer int
}

// Plan says which cells of a sweep to run.
type Plan struct {
	site          Site
	layers        []bool // which layers; nil for all
	columns       []bool // which positions, for siteHead which heads; nil for all
	probabilities bool   // whether the readings need logSum
}

// Reading is what is read off the last position of a run: the logits of the two answers and, where it is asked for, the
// logarithm of the softmax's denominator, so that log p = logit − logSum.
type Reading struct {
	clean, corrupt, logSum float64
}

// Sweep is the answer.
type Sweep struct {
	clean, corrupt             Reading     // of the two runs as they are
	cleanLogits, corruptLogits []float32   // [vocab], at their last positions
	cells                      [][]Reading // [layer][pos], for siteHead [layer][head]; NaN where the plan leaves one out
}

// restorable is an error where the plain runs' metric is the same, so that no share of the way between them can be told.
func (s *Sweep) restorable() error {
	from, to := metricDiff.of(s.corrupt, s.clean, s.corrupt), metricDiff.of(s.clean, s.clean, s.corrupt)
	if from != to {
		return nil
	}
	return fmt.Errorf("the clean and the corrupt run both give the answers a difference of %.4g: there is nothing to restore", from)
}

// Metric is how a reading becomes one number.
type Metric string

const (
	metricDiff     Metric = "diff"     // logit(corrupt answer) − logit(clean answer)
	metricLogit    Metric = "logit"    // logit(clean answer)
	metricProb     Metric = "prob"     // p(corrupt answer) − p(clean answer)
	metricRestored Metric = "restored" // how far diff has come from the corrupt run's (0) to the clean run's (1)
)

var metrics = []Metric{metricDiff, metricLogit, metricProb, metricRestored}

// of is the metric of a reading. clean and corrupt are the readings of the plain runs, which restored is relative to.
func (k Metric) of(r, clean, corrupt Reading) float64 {
	switch k {
	case metricLogit:
		return r.clean
	case metricProb:
		return math.Exp(r.corrupt-r.logSum) - math.Exp(r.clean-r.logSum)
	case metricRestored:
		from := metricDiff.of(corrupt, clean, corrupt)
		return (metricDiff.of(r, clean, corrupt)-from)/(metricDiff.of(clean, clean, corrupt)-from) + 0 // not −0
	}
	return r.corrupt - r.clean
}

// highIsClean reports whether a large value of the metric speaks for the clean answer.
func (k Metric) highIsClean() bool { return k == metricLogit || k == metricRestored }

// sweep runs every cell of the plan. progress is told the share of the work that is done.
//
// By definition a cell is one whole forward pass. But a patch at (layer, pos) changes nothing before that layer and
// nothing left of that position. A patched run is therefore a fork of the corrupt run, made at the very site, that owns
// the positions from pos on and goes through the rest of the layers only. The clean run, the corrupt run and all the
// forks go through the model together, as one batch that grows from layer to layer: a single pass over the weights, with
// matrices tall enough for the matmul's full speed. Where that batch would take more than batchBytes, the cells are
// divided over several passes, each of which begins at the layer of its first cell.
func (m *Model) sweep(pair Pair, plan Plan, progress func(done float64)) (*Sweep, error) {
	if err := m.checkAnswers(pair); err != nil {
		return nil, err
	}
	x, err := m.embed(pair.clean, pair.corrupt)
	if err != nil {
		return nil, err
	}
	T := len(pair.clean)
	live, inert := m.cells(pair, plan)
	passes, rows := m.passes(live, T)
	b, vectors := m.newBatch(T, rows), newVectors(T, m.width)
	defer batches.put(b)
	s := &Sweep{cells: make([][]Reading, m.layers)}
	for l := range s.cells {
		s.cells[l] = make([]Reading, m.columns(plan.site, T))
		for c := range s.cells[l] {
			s.cells[l][c] = Reading{math.NaN(), math.NaN(), math.NaN()}
		}
	}
	done, total := 0, m.rowLayers(passes, T)
	step := func() {
		done += b.rows()
		progress(min(1, float64(done)/float64(total)))
	}
	for i, pass := range passes {
		next := m.layers
		if i+1 < len(passes) {
			next = passes[i+1].first
		}
		b.start(x)
		if err := m.pass(b, plan.site, pass, next, x, vectors, step); err != nil {
			return nil, err
		}
		if err := m.read(s, b, pair, plan.probabilities, pass.cells); err != nil {
			return nil, err
		}
	}
	for _, c := range inert {
		s.cells[c.layer][c.column] = s.corrupt
	}
	return s, nil
}

// Cell is one patched run to be: the clean activation of that layer and column goes into the corrupt run.
type Cell struct {
	layer, column int
	from          int // the first position that it changes
}

// columns is how many cells a layer has: one for each position, for siteHead one for each head.
func (m *Model) columns(site Site, T int) int {
	if site == siteHead {
		return m.heads
	}
	return T
}

// cells lists the cells of the plan in the order of the layers: those to run, and those that are known to be inert. A
// patch left of the first token in which the texts differ puts in what is there already; in the last layer only the last
// position is still read.
func (m *Model) cells(pair Pair, plan Plan) (live, inert []Cell) {
	T, differ := len(pair.clean), 0
	for differ < T && pair.clean[differ] == pair.corrupt[differ] {
		differ++
	}
	for l := 0; l < m.layers; l++ {
		for c := 0; c < m.columns(plan.site, T); c++ {
			from, last := max(differ, c), l == m.layers-1
			if plan.site == siteHead {
				from = differ // a head's output is patched at all positions
			}
			if last {
				from = T - 1 // the only one that is still read
			}
			switch {
			case plan.layers != nil && !plan.layers[l] || plan.columns != nil && !plan.columns[c]:
			case differ == T:
				inert = append(inert, Cell{l, c, T})
			case plan.site != siteHead && (c < differ || last && c < T-1):
				inert = append(inert, Cell{l, c, from})
			default:
				live = append(live, Cell{l, c, from})
			}
		}
	}
	return live, inert
}

// Pass is one pass over the weights: the cells it runs, and the layer that it begins with.
type Pass struct {
	first int
	cells []Cell
}

// batchBytes bounds the memory of a sweep beside the weights: the size of a batch's buffers.
var batchBytes = 200 << 20

// passes divides the cells over as few passes as batchBytes allows, at least one, and returns the rows that the largest
// of them needs. A cell owns T−from rows.
func (m *Model) passes(cells []Cell, T int) (passes []Pass, rows int) {
	most := batchBytes/m.rowBytes() - 2*T
	p, n := Pass{}, 0
	for _, c := range cells {
		if len(p.cells) > 0 && n+T-c.from > most {
			passes = append(passes, p)
			p, n = Pass{first: c.layer}, 0
		}
		p.cells = append(p.cells, c)
		n += T - c.from
		rows = max(rows, n)
	}
	return append(passes, p), rows + 2*T
}

// rowLayers is the sweep's work for the progress bar: how often one row goes through one layer.
func (m *Model) rowLayers(passes []Pass, T int) int {
	n := 0
	for _, p := range passes {
		n += 2 * T * (m.layers - p.first)
		for _, c := range p.cells {
			n += (T-c.from)*(m.layers-1-c.layer) + 1 // in the last layer one row is left of each
		}
	}
	return n
}

// cleanRun and corruptRun are the two whole runs at the head of every batch; the forks of the cells follow.
const cleanRun, corruptRun = 0, 1

// pass takes the batch, which holds the clean and the corrupt run as they enter the pass's first layer, to the end of the
// model and forks a run for each cell on the way. The two runs as they enter layer next are left in x. vectors is room for what is captured
// in one layer.
func (m *Model) pass(b *Batch, site Site, p Pass, next int, x []float32, vectors [][]float32, step func()) error {
	clean := make([][][]float32, m.layers) // [layer][pos]
	cells := p.cells
	return m.forward(b, p.first, func(at Site, layer int, act []float32) []float32 {
		if at == site {
			clean[layer] = capture(vectors, act)
			for len(cells) > 0 && cells[0].layer == layer {
				act = b.patch(cells[0], clean[layer], site, m.width/m.heads, act)
				cells = cells[1:]
			}
			clean[layer] = nil // all of a layer's cells are forked by now, and the next layer's vectors take their place
		}
		if at == siteResid {
			if layer == next-1 {
				copy(x, act)
			}
			step()
		}
		return act
	})
}

// newVectors makes room for one vector at each position, [pos][d].
func newVectors(T, d int) [][]float32 {
	vectors, values := make([][]float32, T), make([]float32, T*d)
	for pos := range vectors {
		vectors[pos] = values[pos*d : (pos+1)*d]
	}
	return vectors
}

// capture copies the clean run's activations at a site into vectors: [R, d] → [pos][d].
func capture(vectors [][]float32, act []float32) [][]float32 {
	T, d := len(vectors), len(vectors[0])
	for pos := range vectors {
		row := cleanRun*T + pos
		copy(vectors[pos], act[row*d:(row+1)*d])
	}
	return vectors
}

// patch forks the corrupt run at a site and puts the clean activation into the fork: for siteHead one head's output at
// all positions, else the whole vector at one position.
func (b *Batch) patch(c Cell, clean [][]float32, site Site, headSize int, act []float32) []float32 {
	act = b.fork(corruptRun, c.from, site, act)
	fork := b.runs[len(b.runs)-1]
	if site != siteHead {
		copy(act[fork.row*b.width:], clean[c.column])
		return act
	}
	lo, hi := c.column*headSize, (c.column+1)*headSize
	for pos := c.from; pos < b.length; pos++ {
		copy(act[(fork.row+pos-c.from)*b.width+lo:], clean[pos][lo:hi])
	}
	return act
}

// read reads the two plain runs and the cells' forks, in the order in which they were made, off the end of a pass.
func (m *Model) read(s *Sweep, b *Batch, pair Pair, probabilities bool, cells []Cell) error {
	x := b.last()
	readings, err := m.readings(x, pair, probabilities)
	if err != nil {
		return err
	}
	if s.cleanLogits == nil { // the plain runs are the same in every pass
		plain, err := m.logits(x[:2*m.width])
		if err != nil {
			return err
		}
		s.cleanLogits, s.corruptLogits = plain[:m.vocab], plain[m.vocab:]
		s.clean, s.corrupt = readings[cleanRun], readings[corruptRun]
	}
	for i, c := range cells {
		s.cells[c.layer][c.column] = readings[2+i]
	}
	return nil
}

// checkAnswers checks that the model knows both answers.
func (m *Model) checkAnswers(pair Pair) error {
	for _, id := range []int{pair.cleanAnswer, pair.corruptAnswer} {
		if err := m.checkToken(id); err != nil {
			return err
		}
	}
	return nil
}

// readings reads residual streams: [n, d] → [n].
func (m *Model) readings(x []float32, pair Pair, probabilities bool) ([]Reading, error) {
	r := make([]Reading, len(x)/m.width)
	y := m.logitsOf(x, pair.cleanAnswer, pair.corruptAnswer)
	if !finite(y) {
		return nil, m.damagedLogits()
	}
	for i := range r {
		r[i] = Reading{clean: float64(y[2*i]), corrupt: float64(y[2*i+1])}
	}
	if !probabilities {
		return r, nil
	}
	const chunk = 64 // at a time, for the whole logits of a thousand streams take 200 MB
	room := logitRooms.get()
	defer logitRooms.put(room)
	for lo := 0; lo < len(r); lo += chunk {
		hi := min(lo+chunk, len(r))
		*room = grow(*room, (hi-lo)*m.vocab)
		y := *room
		if err := m.logitsInto(y, x[lo*m.width:hi*m.width]); err != nil {
			return nil, err
		}
		eachChunk(hi-lo, 1, func(i, _ int) { r[lo+i].logSum = logSumExp(y[i*m.vocab : (i+1)*m.vocab]) })
	}
	return r, nil
}

// logitRooms keeps the memory for a chunk of logits: fresh memory for each of the passes of a long sweep would add up before it is collected.
var logitRooms pool[[]float32]
