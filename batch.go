package main

import (
	"math"
	"sync/atomic"
)

// This file is the batch: several runs of the model that go through its layers together, and how runs are forked.

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
}

// newBatch makes a batch for texts of length T, with room for that many rows in all.
func (m *Model) newBatch(T, rows int) *Batch {
	wide := m.wideRow()
	reserve(rows, wide)
	b := batches.get()
	b.length, b.width, b.runs = T, m.width, b.runs[:0]
	b.x = grow(b.x, rows*m.width)[:0]
	b.h = grow(b.h, rows*m.width)
	b.wide = grow(b.wide, rows*wide)
	return b
}

// batches keeps the memory of a sweep's batch for the next one: else both would be there at once until the garbage
// collector has run.
var batches pool[Batch]

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

// layerNorms normalises each row: [R, d] → [R, d].
func layerNorms(y, x []float32, n Norm) {
	l := normLoops.get()
	*l = normLoop{y, x, n}
	parallel((len(x)/len(n.gain)+normRows-1)/normRows, l)
	*l = normLoop{}
	normLoops.put(l)
}

// normLoop is the loop over the rows, a few in each round.
type normLoop struct {
	y, x []float32
	norm Norm
}

const normRows = 16

var normLoops pool[normLoop]

func (l *normLoop) round(i int) {
	d := len(l.norm.gain)
	for r := i * normRows; r < min((i+1)*normRows, len(l.x)/d); r++ {
		layerNorm(l.y[r*d:(r+1)*d], l.x[r*d:(r+1)*d], l.norm)
	}
}

// addTo is y += x. It reports whether the sums are finite: none a NaN or an infinity.
func addTo(y, x []float32) (ok bool) {
	l := addLoops.get()
	l.y, l.x = y, x
	l.broken.Store(false)
	parallel((len(y)+addChunk-1)/addChunk, l)
	ok = !l.broken.Load()
	l.y, l.x = nil, nil
	addLoops.put(l)
	return ok
}

// addLoop is the loop over the values, many in each round.
type addLoop struct {
	y, x   []float32
	broken atomic.Bool
}

const addChunk = 1 << 14

var addLoops pool[addLoop]

func (l *addLoop) round(i int) {
	lo, hi := i*addChunk, min((i+1)*addChunk, len(l.y))
	y := l.y[lo:hi]
	for j, v := range l.x[lo:hi] {
		y[j] += v
	}
	if !finite(y) {
		l.broken.Store(true)
	}
}

// finite reports whether no value is a NaN or an infinity: no exponent has all its bits set.
func finite(x []float32) bool {
	var largest uint32
	for _, v := range x {
		largest = max(largest, math.Float32bits(v)<<1)
	}
	return largest < 0xff<<24
}

// allFinite is finite for many values, on all cores.
func allFinite(x []float32) bool {
	var broken atomic.Bool
	eachChunk(len(x), addChunk, func(lo, hi int) {
		if !finite(x[lo:hi]) {
			broken.Store(true)
		}
	})
	return !broken.Load()
}
