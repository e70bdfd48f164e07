package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// This file is GPT-2: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019. Read Model for what
// there is, forward and block for what happens, attention for the one place where positions see each other. Weights and
// activations are float32. Shapes are written [rows, columns]; T is the number of tokens of a text, d the model's width,
// R the number of rows of a batch.

// Config is the shape of a model. GPT-2 small is {12, 12, 768, 1024, 50257}.
type Config struct {
	layers, heads, width, context, vocab int
}

// Norm is a layer norm's gain and bias, [d] each.
type Norm struct {
	gain, bias []float32
}

// Linear is a linear map x·w + b. GPT-2 stores w as [in, out], so that no transpose is needed.
type Linear struct {
	w Matrix
	b []float32
}

// Block is one layer: attention, then an MLP, each reading the residual stream through a layer norm and adding to it.
type Block struct {
	ln1      Norm
	attn     Linear // c_attn, [d, 3d]: queries, keys and values of all heads side by side
	attnProj Linear // attn.c_proj, [d, d]
	ln2      Norm
	fc       Linear // c_fc, [d, 4d]
	mlpProj  Linear // mlp.c_proj, [4d, d]
}

// Model is GPT-2's weights. The unembedding is tied: logits are read off the residual stream with wte itself.
type Model struct {
	Config
	name   string // what a picture's title calls it: "gpt2"
	source string // the file it came from
	how    string // and the place where that was found: "the working directory"
	wte    Matrix // token embedding, [vocab, d]
	wpe    Matrix // position embedding, [context, d]
	blocks []Block
	lnF    Norm
}

// Run is one run of the model over a text, as a stretch of a batch's rows. A run that was forked off another one owns
// only the positions from its first change on: causal attention cannot carry a change backwards, so what lies before is
// read from the run it was forked from.
type Run struct {
	row  int // the batch's row that holds position from
	from int // the first position it owns; 0 for a whole run
	base int // the run in the batch that holds the positions before from
}

// Batch is the state of several runs over texts of the same length, one under the other in one tall matrix, so that
// each weight matrix is read once for all of them.
type Batch struct {
	length int // T
	width  int // d
	runs   []Run
	x      []float32 // the residual stream, [R, d]

	// Scratch that lives for part of a block; its capacity is that of the batch.
	h    []float32 // [R, d]
	wide []float32 // [R, 4d]
	jobs []attentionJob
}

// Site is a place in a block where activations can be read and replaced.
type Site int

const (
	siteResid Site = iota // the residual stream after the block, [R, d]
	siteAttn              // what attention adds to the residual stream, [R, d]
	siteMLP               // what the MLP adds to the residual stream, [R, d]
	siteHead              // the heads' outputs side by side, before attn.c_proj mixes them, [R, d]
)

func (s Site) String() string { return [...]string{"resid", "attn", "mlp", "head"}[s] }

// Hook is called as a batch passes each site of each block with the activations there. It may read them, overwrite them,
// or fork runs, which makes them longer; it returns the activations to go on with.
type Hook func(site Site, layer int, act []float32) []float32

// embed looks up x = wte[token] + wpe[position] for texts of equal length T, one under the other: [len(texts)·T, d].
func (m *Model) embed(texts ...[]int) ([]float32, error) {
	T, d := len(texts[0]), m.width
	if T == 0 {
		return nil, errors.New("the text is empty: the model needs at least one token")
	}
	if T > m.context {
		return nil, fmt.Errorf("the text has %d tokens, but the context of %s is %d: shorten it", T, m.name, m.context)
	}
	x, position := make([]float32, len(texts)*T*d), make([]float32, d)
	for i, ids := range texts {
		for p, id := range ids {
			if err := m.checkToken(id); err != nil {
				return nil, err
			}
			row := x[(i*T+p)*d : (i*T+p+1)*d]
			m.wte.row(row, id)
			m.wpe.row(position, p)
			addTo(row, position)
		}
	}
	if !finite(x) {
		return nil, fmt.Errorf("the embeddings of the text hold a NaN or an infinity: wte or wpe in %s is damaged", m.source)
	}
	return x, nil
}

// checkToken is an error if the model has no such token.
func (m *Model) checkToken(id int) error {
	if id < 0 || id >= m.vocab {
		return fmt.Errorf("token %d (%q) is not in the vocabulary of %s, which has %d tokens: it was made for another tokenizer than GPT-2's", id, token(id), m.name, m.vocab)
	}
	return nil
}

// newBatch makes a batch for texts of length T, with room for that many rows in all.
func (m *Model) newBatch(T, rows int) *Batch {
	wide := m.wideRow()
	return &Batch{
		length: T,
		width:  m.width,
		x:      make([]float32, 0, rows*m.width),
		h:      make([]float32, rows*m.width),
		wide:   make([]float32, rows*wide),
	}
}

// wideRow is the widest that a row gets within a block: 3d with queries, keys and values, 4d within the MLP.
func (m *Model) wideRow() int {
	wide := 3 * m.width
	for _, w := range m.blocks {
		wide = max(wide, w.fc.w.cols)
	}
	return wide
}

// rowBytes is what one row takes in a batch's buffers.
func (m *Model) rowBytes() int { return 4 * (2*m.width + m.wideRow()) }

// start makes the batch hold nothing but whole runs with the residual streams x, [n·T, d].
func (b *Batch) start(x []float32) {
	b.x = append(b.x[:0], x...)
	b.runs = b.runs[:0]
	for row := 0; row < b.rows(); row += b.length {
		b.runs = append(b.runs, Run{row: row, base: len(b.runs)})
	}
}

// rows is R, the number of rows in use.
func (b *Batch) rows() int { return len(b.x) / b.width }

// forward takes the batch through the blocks first, first+1, …, the last.
func (m *Model) forward(b *Batch, first int, hook Hook) error {
	for l := first; l < m.layers; l++ {
		if err := m.block(b, l, hook); err != nil {
			return err
		}
	}
	return nil
}

// block is layer l of the model: x += attn(ln_1(x)), then x += mlp(ln_2(x)). It fails if that leaves a NaN or an infinity
// in the residual stream: a damaged weight is noticed here, where it has an effect, and no weight is read just to check it.
func (m *Model) block(b *Batch, l int, hook Hook) error {
	w, d := &m.blocks[l], m.width

	R := b.rows()
	h, qkv := b.h[:R*d], b.wide[:R*3*d]
	layerNorms(h, b.x, w.ln1)          // [R, d] → [R, d]
	matMul(qkv, h, w.attn.w, w.attn.b) // [R, d] → [R, 3d]
	m.attention(h, qkv, b)             // [R, 3d] → [R, d]
	if l == m.layers-1 {
		h = b.keepLast(h)
	}
	heads := hook(siteHead, l, h)

	R = b.rows()
	out := b.wide[:R*d]
	matMul(out, heads, w.attnProj.w, w.attnProj.b) // [R, d] → [R, d]
	out = hook(siteAttn, l, out)
	addTo(b.x, out)

	R = b.rows()
	h, u := b.h[:R*d], b.wide[:R*w.fc.w.cols]
	layerNorms(h, b.x, w.ln2)              // [R, d] → [R, d]
	matMulGELU(u, h, w.fc.w, w.fc.b)       // [R, d] → [R, 4d]
	matMul(h, u, w.mlpProj.w, w.mlpProj.b) // [R, 4d] → [R, d]
	out = hook(siteMLP, l, h)
	addTo(b.x, out)

	b.x = hook(siteResid, l, b.x)
	if !finite(b.x) {
		return fmt.Errorf("the residual stream holds a NaN or an infinity after layer %d: its weights in %s are damaged", l, m.source)
	}
	return nil
}

// leaveAlone is the hook that does nothing.
func leaveAlone(_ Site, _ int, act []float32) []float32 { return act }

// attentionJob is one run's rows lo…hi−1, for all heads: as many as keep the scores in the cache.
type attentionJob struct {
	run    Run
	lo, hi int
}

const attentionRows = 64

// scorePool keeps the goroutines' attention scores, [rows, keys].
var scorePool = sync.Pool{New: func() any { return new([]float32) }}

// attention is causal multi-head attention (Vaswani et al., 2017, section 3.2): for each head,
// z = softmax(q·kᵀ/√(d/heads))·v, where position p sees the positions 0…p. qkv, [R, 3d], holds the queries, keys and
// values; z, [R, d], receives the heads' outputs side by side. The queries are scaled in place.
func (m *Model) attention(z, qkv []float32, b *Batch) {
	d, size := m.width, m.width/m.heads
	b.jobs = b.jobs[:0]
	for _, run := range b.runs {
		for lo, n := 0, b.length-run.from; lo < n; lo += attentionRows {
			b.jobs = append(b.jobs, attentionJob{run, lo, min(lo+attentionRows, n)})
		}
	}
	scale := float32(1 / math.Sqrt(float64(size)))
	parallel(len(b.jobs)*m.heads, func(i int) {
		job, head := b.jobs[i/m.heads], i%m.heads*size
		rows, from := job.hi-job.lo, job.run.from
		at := func(row, part int) []float32 { return qkv[row*3*d+part*d+head:] }
		q, own := at(job.run.row+job.lo, 0), job.run.row
		before := b.runs[job.run.base].row

		for r := 0; r < rows; r++ {
			for j, v := range q[r*3*d : r*3*d+size] {
				q[r*3*d+j] = v * scale
			}
		}
		// The keys are those of the base run before position from, then the run's own up to the job's last row.
		keys := from + job.hi
		scores := scorePool.Get().(*[]float32)
		defer scorePool.Put(scores)
		*scores = slices.Grow((*scores)[:0], rows*keys)
		s := (*scores)[:rows*keys]
		if from > 0 {
			gemm(s, keys, q, 3*d, at(before, 1), 3*d, rows, from, size, true, false)
		}
		gemm(s[from:], keys, q, 3*d, at(own, 1), 3*d, rows, job.hi, size, true, false)
		for r := 0; r < rows; r++ {
			seen := from + job.lo + r + 1
			softmax(s[r*keys : r*keys+seen])
			clear(s[r*keys+seen : (r+1)*keys])
		}
		out := z[(own+job.lo)*d+head:]
		if from > 0 {
			gemm(out, d, s, keys, at(before, 2), 3*d, rows, size, from, false, false)
		}
		gemm(out, d, s[from:], keys, at(own, 2), 3*d, rows, size, job.hi, false, from > 0)
	})
}

// logits reads the next token's logits off residual streams: ln_f, then the tied unembedding. [n, d] → [n, vocab]
func (m *Model) logits(x []float32) ([]float32, error) {
	h := make([]float32, len(x))
	layerNorms(h, x, m.lnF)
	y := make([]float32, len(x)/m.width*m.vocab)
	matMulT(y, h, m.wte)
	if !finite(y) {
		return nil, m.damagedLogits()
	}
	return y, nil
}

func (m *Model) damagedLogits() error {
	return fmt.Errorf("the logits hold a NaN or an infinity: the final layer norm or wte in %s is damaged", m.source)
}

// logitsOf is logits for the named tokens alone. [n, d] → [n, len(ids)]
func (m *Model) logitsOf(x []float32, ids ...int) []float32 {
	h := make([]float32, len(x))
	layerNorms(h, x, m.lnF)
	columns := Matrix{rows: len(ids), cols: m.width, f32: make([]float32, len(ids)*m.width)}
	for i, id := range ids {
		m.wte.row(columns.f32[i*m.width:(i+1)*m.width], id)
	}
	y := make([]float32, len(x)/m.width*len(ids))
	matMulT(y, h, columns)
	return y
}

// last returns copies of the residual stream at the last position of each run, [len(runs), d].
func (b *Batch) last() []float32 {
	d, x := b.width, make([]float32, 0, len(b.runs)*b.width)
	for _, r := range b.runs {
		row := r.row + b.length - 1 - r.from
		x = append(x, b.x[row*d:(row+1)*d]...)
	}
	return x
}

// fork appends to the batch a copy of a whole run from a position on, with its activations at the site where the batch
// is just now, and returns those activations. It is the same run until somebody changes a row.
func (b *Batch) fork(base, from int, site Site, act []float32) []float32 {
	d, row := b.width, b.runs[base].row
	b.runs = append(b.runs, Run{row: b.rows(), from: from, base: base})
	lo, hi := (row+from)*d, (row+b.length)*d
	if site == siteResid { // the activations are the residual stream
		b.x = append(b.x, b.x[lo:hi]...)
		return b.x
	}
	b.x = append(b.x, b.x[lo:hi]...)
	return append(act, act[lo:hi]...)
}

// keepLast drops all rows of the forked runs but the last, from the residual stream and from z, and returns what is left
// of z. In the last block, once the keys and values have been used, nothing reads the others any more.
func (b *Batch) keepLast(z []float32) []float32 {
	d, rows := b.width, 0
	for i := range b.runs {
		r := &b.runs[i]
		end := r.row + b.length - r.from
		if r.base != i {
			r.row, r.from = end-1, b.length-1
		}
		copy(b.x[rows*d:], b.x[r.row*d:end*d])
		copy(z[rows*d:], z[r.row*d:end*d])
		rows, r.row = rows+end-r.row, rows
	}
	b.x = b.x[:rows*d]
	return z[:rows*d]
}

// begin embeds whole texts of equal length in a batch of their own.
func (m *Model) begin(texts ...[]int) (*Batch, error) {
	x, err := m.embed(texts...)
	if err != nil {
		return nil, err
	}
	b := m.newBatch(len(texts[0]), len(texts)*len(texts[0]))
	b.start(x)
	return b, nil
}

// next is the plain use of the model: [T] token ids → [vocab] logits of the next token.
func (m *Model) next(ids []int) ([]float32, error) {
	b, err := m.begin(ids)
	if err != nil {
		return nil, err
	}
	if err := m.forward(b, 0, leaveAlone); err != nil {
		return nil, err
	}
	return m.logits(b.last())
}

// eachChunk calls f for consecutive ranges that together are 0…n−1, on all cores.
func eachChunk(n, size int, f func(lo, hi int)) {
	parallel((n+size-1)/size, func(i int) { f(i*size, min(n, (i+1)*size)) })
}

// layerNorms normalises each row: [R, d] → [R, d].
func layerNorms(y, x []float32, n Norm) {
	d := len(n.gain)
	eachChunk(len(x)/d, 16, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			layerNorm(y[r*d:(r+1)*d], x[r*d:(r+1)*d], n)
		}
	})
}

// addTo is y += x.
func addTo(y, x []float32) {
	eachChunk(len(y), 1<<14, func(lo, hi int) {
		y := y[lo:hi]
		for i, v := range x[lo:hi] {
			y[i] += v
		}
	})
}

// finite reports whether no value is a NaN or an infinity: no exponent has all its bits set.
func finite(x []float32) bool {
	var broken atomic.Bool
	eachChunk(len(x), 1<<14, func(lo, hi int) {
		var largest uint32
		for _, v := range x[lo:hi] {
			largest = max(largest, math.Float32bits(v)<<1)
		}
		if largest >= 0xff<<24 {
			broken.Store(true)
		}
	})
	return !broken.Load()
}
