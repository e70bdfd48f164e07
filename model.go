package main

import (
	"math"
	"slices"
)

// This file is GPT-2: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
// Read Model for what there is, Batch for what goes through it, block for what happens, headOut for
// the one place where positions see each other. Weights and activations are float32. Shapes are
// written [rows, columns]; T is the number of tokens of a text, d the model's width, R the number
// of rows of a batch.

// Config is the shape of a model. GPT-2 small is {12, 12, 768, 1024, 50257}.
type Config struct {
	layers, heads, width, context, vocab int
}

// Variant is what some GPT-2s do in another way than OpenAI's.
type Variant struct {
	activation Activation
	epsilon    float64 // of the layer norms
	unscaled   bool    // attention scores are not divided by √(d/heads)
	byLayer    bool    // attention scores of layer l are divided by l + 1 as well
}

// openAIs is how OpenAI's own GPT-2s are.
var openAIs = Variant{activation: geluTanh, epsilon: layerNormEpsilon}

// Linear is a linear map x·w + b. GPT-2 stores w as [in, out], so that no transpose is needed.
type Linear struct {
	w Matrix
	b []float32
}

// Block is one layer: attention, then an MLP, each reading the residual stream through a layer
// norm and adding to it.
type Block struct {
	ln1      Norm
	attn     Linear // c_attn, [d, 3d]: queries, keys and values of all heads side by side
	attnProj Linear // attn.c_proj, [d, d]
	ln2      Norm
	fc       Linear // c_fc, [d, 4d]
	mlpProj  Linear // mlp.c_proj, [4d, d]
}

// Model is GPT-2's weights.
type Model struct {
	Config
	Variant
	name   string // what a picture's title calls it: "gpt2"
	source string // the file it came from
	how    string // and the place where that was found: "the working directory"
	sum    string // its SHA-256, where that is known; else ""
	wte    Matrix // token embedding, [vocab, d]
	wpe    Matrix // position embedding, [context, d]
	blocks []Block
	lnF    Norm
	lmHead *Matrix // the unembedding, [vocab, d], where it is not wte itself; else nil

	headsAssumed bool     // nothing said how many heads there are
	notes        []string // what the user should know about the file

	tokenizer *tokenizer

	// [layers + 1]: each brings the weights of a layer into memory, the last one the unembedding;
	// empty where they are not mapped.
	prepare []func()
}

// unembed is the matrix that logits are read off with, [vocab, d]: wte itself where the two are
// tied.
func (m *Model) unembed() Matrix {
	if m.lmHead != nil {
		return *m.lmHead
	}
	return m.wte
}

// next is the plain use of the model: [T] token ids → [vocab] logits of the next token.
func (m *Model) next(ids []int) (logits []float32, err error) {
	defer catchFault(&err)
	b := m.begin(ids)
	m.forward(b, 0, leaveAlone)
	return m.logits(nil, b.last(), m.unembed()), nil
}

// embed looks up x = wte[token] + wpe[position] for texts of equal length T, one under the other:
// [len(texts)·T, d].
func (m *Model) embed(texts ...[]int) []float32 {
	T, d := len(texts[0]), m.width
	if T == 0 {
		fail("the text is empty: the model needs at least one token")
	}
	if T > m.context {
		fail("the text has %d tokens, but the context of %s is %d: shorten it",
			T, m.name, m.context)
	}
	x, position := make([]float32, len(texts)*T*d), make([]float32, d)
	for i, ids := range texts {
		m.checkTokens(ids)
		for p, id := range ids {
			row := x[(i*T+p)*d : (i*T+p+1)*d]
			m.wte.row(row, id)
			m.wpe.row(position, p)
			addTo(row, position)
		}
	}
	if !finite(x) {
		fail("the embeddings of the text hold a NaN or an infinity: wte or wpe in %s is damaged",
			m.source)
	}
	return x
}

// checkTokens makes sure that the model has such tokens.
func (m *Model) checkTokens(ids []int) {
	for _, id := range ids {
		if 0 <= id && id < m.vocab {
			continue
		}
		why := "it was made for a tokenizer other than GPT-2's; with -ids texts and answers are " +
			"token ids"
		if m.tokenizer.file != "" {
			why = "the tokenizer was given tokens after the model was trained " +
				"(resize_token_embeddings)"
		}
		fail("token %d (%q) is not in the vocabulary of %s, which has %d rows: %s", id,
			m.tokenizer.token(id), m.name, m.vocab, why)
	}
}

// Site is a place in a block where activations can be read and replaced, in the order of a block.
// The names are TransformerLens'.
type Site int

const (
	siteResidPre Site = iota // the residual stream before the block, [R, d]
	siteZ                    // what a head puts out, before attn.c_proj mixes them, [R, d/heads]
	siteQ                    // a head's queries, [R, d/heads]
	siteK                    // its keys
	siteV                    // its values
	sitePattern              // its attention, from each position to those before it
	siteAttn                 // what attention adds to the residual stream, [R, d]
	siteResidMid             // the residual stream between attention and the MLP, [R, d]
	siteMLP                  // what the MLP adds to the residual stream, [R, d]
	siteResid                // the residual stream after the block, [R, d]
)

var siteNames = []string{
	"resid_pre", "z", "q", "k", "v", "pattern", "attn", "resid_mid", "mlp", "resid",
}

func (s Site) String() string { return siteNames[s] }

// ofHead reports whether each head has such activations of its own.
func (s Site) ofHead() bool { return siteZ <= s && s <= sitePattern }

// isStream reports whether the activations there are the residual stream itself.
func (s Site) isStream() bool {
	return s == siteResidPre || s == siteResidMid || s == siteResid
}

// Hook is called as a batch passes the sites of each block, with the activations there: the
// residual stream, all heads' outputs side by side at siteZ (never at the four sites that lead to
// it), what attention or the MLP adds. It may read them, overwrite them, or fork runs, which makes
// them longer; it returns the activations to go on with.
type Hook func(site Site, layer int, act []float32) []float32

// Run is one run of the model over a text, as a stretch of a batch's rows. A run that was forked
// off another one owns only positions that may differ: causal attention cannot carry a change
// backwards, so what lies before the first change is read from the run it was forked from; and
// only attention carries it forwards, so what lies behind the last is read from there too until
// the next one.
type Run struct {
	row    int  // the batch's row that holds position from
	from   int  // the first position it owns; 0 for a whole run
	to     int  // the one behind the last that it owns; T after the next attention
	base   int  // the whole run in the batch that holds the positions before from
	rest   int  // and the one that holds those from to on
	cell   int  // which patch it was forked for; noCell for a whole run
	frozen bool // the heads put out what they do in the base run

	readIn []bool // by layer: where a frozen run's queries, keys and values are read all the same
}

const noCell = -1

// Batch is the state of several runs over texts of the same length, one under the other in one tall
// matrix, so that each weight matrix is read once for all of them.
type Batch struct {
	length int // T
	width  int // d
	size   int // of a head's vectors, d/heads
	runs   []Run
	x      []float32 // the residual stream, [R, d]
	qkv    []float32 // at siteZ the queries, keys and values, [R, 3d]; a part of wide
	inside []Run     // the runs as qkv holds them
	scale  float32   // of the attention scores

	// Scratch that lives for part of a block; its capacity is that of the batch.
	h    []float32 // [R, d]
	wide []float32 // [R, 4d]
}

// start makes the batch hold nothing but whole runs with the residual streams x, [n·T, d].
func (b *Batch) start(x []float32) {
	b.x = append(b.x[:0], x...)
	b.runs = b.runs[:0]
	for row := 0; row < b.rows(); row += b.length {
		i := len(b.runs)
		b.runs = append(b.runs, Run{row: row, to: b.length, base: i, rest: i, cell: noCell})
	}
}

// rows is R, the number of rows in use.
func (b *Batch) rows() int { return len(b.x) / b.width }

// fork appends a run to the batch whose rows are those of the whole run rest at the positions that
// it owns, and the activations act at the site where the batch is just now, and returns those. It
// is the same run as rest until somebody changes a row, or its base is another one.
func (b *Batch) fork(r Run, site Site, act []float32) []float32 {
	d, rest := b.width, b.runs[r.rest].row
	r.row = b.rows()
	b.runs = append(b.runs, r)
	lo, hi := (rest+r.from)*d, (rest+r.to)*d
	b.x = append(b.x, b.x[lo:hi]...)
	if site.isStream() {
		return b.x
	}
	return append(act, act[lo:hi]...)
}

// eachStretch calls f for the stretches of rows, lo … hi−1, whose queries, keys and values are read
// in layer l.
func (b *Batch) eachStretch(l int, f func(lo, hi int)) {
	lo := 0
	for _, r := range b.runs {
		if r.frozen && !r.readIn[l] {
			if lo < r.row {
				f(lo, r.row)
			}
			lo = r.row + r.to - r.from
		}
	}
	if lo < b.rows() {
		f(lo, b.rows())
	}
}

// widen gives each run all positions from its first on, just before attention changes them. qkv
// stays as it was, and so does inside.
func (b *Batch) widen() {
	b.inside = append(b.inside[:0], b.runs...)
	d, rows := b.width, 0
	for _, r := range b.runs {
		rows += b.length - r.from
	}
	b.x = b.x[:rows*d]
	for i := len(b.runs) - 1; i >= 0; i-- { // from the end, since the rows move there
		r := &b.runs[i]
		rows -= b.length - r.from
		if r.row == rows && r.to == b.length {
			break // here and before nothing moves
		}
		rest := (b.runs[r.rest].row + r.to) * d
		own := copy(b.x[rows*d:], b.x[r.row*d:(r.row+r.to-r.from)*d])
		copy(b.x[rows*d+own:], b.x[rest:rest+(b.length-r.to)*d])
		r.row, r.to = rows, b.length
	}
}

// rowsOf says which row of qkv holds a position of a run.
func (b *Batch) rowsOf(run int) func(pos int) int {
	r := b.inside[run]
	base, rest := b.inside[r.base].row, b.inside[r.rest].row
	return func(pos int) int {
		switch {
		case pos < r.from:
			return base + pos
		case pos < r.to:
			return r.row + pos - r.from
		}
		return rest + pos
	}
}

// keep drops the rows of each run before a position, from the residual stream and from z, and
// returns what is left of z. A run that is to begin at the end of the text is dropped whole.
func (b *Batch) keep(z []float32, from func(r Run) int) []float32 {
	d, rows, kept := b.width, 0, b.runs[:0]
	for _, r := range b.runs {
		begin := from(r)
		if begin == b.length {
			continue
		}
		lo, hi := r.row+begin-r.from, r.row+r.to-r.from
		copy(b.x[rows*d:], b.x[lo*d:hi*d])
		copy(z[rows*d:], z[lo*d:hi*d])
		r.row, r.from = rows, begin
		kept, rows = append(kept, r), rows+hi-lo
	}
	b.runs, b.x = kept, b.x[:rows*d]
	return z[:rows*d]
}

// forward takes the batch through the blocks first, first+1, …, the last.
func (m *Model) forward(b *Batch, first int, hook Hook) {
	for l := first; l < m.layers; l++ {
		m.block(b, l, hook)
	}
}

// block is layer l of the model: x += attn(ln_1(x)), then x += mlp(ln_2(x)). It fails if that
// leaves a NaN or an infinity in the residual stream: a damaged weight is noticed here, where it
// has an effect, and no weight is read just to check it.
func (m *Model) block(b *Batch, l int, hook Hook) {
	w, d := &m.blocks[l], m.width
	if l+1 < len(m.prepare) {
		go m.prepare[l+1]() // the next layer's weights, while this one is computed
	}

	b.x = hook(siteResidPre, l, b.x)
	b.qkv = b.wide[:b.rows()*3*d]
	b.eachStretch(l, func(lo, hi int) {
		h := b.h[lo*d : hi*d]
		m.layerNorms(h, b.x[lo*d:hi*d], w.ln1)              // [R, d] → [R, d]
		matMul(b.qkv[lo*3*d:hi*3*d], h, w.attn.w, w.attn.b) // [R, d] → [R, 3d]
	})
	b.widen()
	heads := b.h[:b.rows()*d]
	m.attention(heads, b, l) // [R, 3d] → [R, d]
	heads = hook(siteZ, l, heads)
	if l == m.layers-1 { // nothing reads a fork's other rows once keys and values have been used
		heads = b.keep(heads, func(r Run) int {
			if r.cell == noCell {
				return 0
			}
			return b.length - 1
		})
	}

	R := b.rows()
	out := b.wide[:R*d]
	matMul(out, heads, w.attnProj.w, w.attnProj.b) // [R, d] → [R, d]
	out = hook(siteAttn, l, out)
	addTo(b.x, out)
	b.x = hook(siteResidMid, l, b.x)

	R = b.rows()
	h, u := b.h[:R*d], b.wide[:R*w.fc.w.cols]
	m.layerNorms(h, b.x, w.ln2)                         // [R, d] → [R, d]
	matMulActivated(u, h, w.fc.w, w.fc.b, m.activation) // [R, d] → [R, 4d]
	matMul(h, u, w.mlpProj.w, w.mlpProj.b)              // [R, 4d] → [R, d]
	out = hook(siteMLP, l, h)
	ok := addTo(b.x, out)

	b.x = hook(siteResid, l, b.x)
	if !ok {
		fail("the residual stream holds a NaN or an infinity after layer %d: "+
			"its weights in %s are damaged", l, m.source)
	}
}

// leaveAlone is the hook that does nothing.
func leaveAlone(_ Site, _ int, act []float32) []float32 { return act }

// attention is causal multi-head attention in layer l, for each run and head: [R, 3d] → z, [R, d],
// the heads' outputs side by side. A frozen run's z is that of its base run. In the last layer only
// the last row of a fork is computed: nothing reads the others.
func (m *Model) attention(z []float32, b *Batch, l int) {
	n, d, T := len(b.runs), b.width, b.length
	b.scale = m.attentionScale(l)
	shares := min(n, 1+4*threads/m.heads)
	parallel(shares*m.heads, func(task int) {
		head, share := task%m.heads, task/m.heads
		s := headSpaces.get()
		defer headSpaces.put(s)
		base, kept := -1, 0 // the base run whose first keys and values s holds, and how many
		for i := share * n / shares; i < (share+1)*n/shares; i++ {
			run, rows := b.runs[i], b.rowsOf(i)
			if run.frozen {
				continue
			}
			if run.base != base {
				kept = 0
			}
			from := run.from
			if l == m.layers-1 && run.cell != noCell {
				from = T - 1
			}
			out := z[(run.row+from-run.from)*d:]
			b.headOut(s, min(kept, run.from), out, head, from, T, rows, rows, rows, nil)
			base, kept = run.base, run.from
		}
	})
	for _, run := range b.runs {
		if run.frozen {
			base := b.runs[run.base].row
			copy(z[run.row*d:], z[(base+run.from)*d:(base+T)*d])
		}
	}
}

// headSpace is one goroutine's scratch memory for what a head puts out. Keys and values are packed
// in column panels (matmul.go): those of many forks begin alike, and so need be packed but once.
type headSpace struct {
	workspace
	rows, scores []float32
	keys         []float32 // [d/heads, positions]
	values       []float32 // [positions, d/heads]
}

var headSpaces pool[headSpace]

// headOut is what a head puts out at the positions lo … hi−1 (Vaswani et al., 2017, section 3.2):
// softmax(scale·q·kᵀ)·v, [hi−lo, d/heads], in rows of z that are d apart, where a position sees
// those up to itself. q, k and v say which rows of the batch's qkv have the query, the key and the
// value of a position. The keys and values of the first kept positions are still in s; without an
// s it takes one. edit, where there is one, is shown what each position attends to, and may change
// it.
func (b *Batch) headOut(s *headSpace, kept int, z []float32, head, lo, hi int,
	q, k, v func(pos int) int, edit func(pos int, pattern []float32)) {
	if s == nil {
		s = headSpaces.get()
		defer headSpaces.put(s)
	}
	size := b.size
	gather := func(part, lo int, row func(pos int) int) []float32 {
		s.rows = s.rows[:0]
		for pos := lo; pos < hi; pos++ {
			at := row(pos)*3*b.width + part*b.width + head*size
			s.rows = append(s.rows, b.qkv[at:at+size]...)
		}
		return s.rows
	}
	s.keys = packTurned(s.keys, kept, gather(1, kept, k), size, hi)
	s.values = packRows(s.values, kept, gather(2, kept, v), hi, size)
	queries := gather(0, lo, q)
	for i := range queries {
		queries[i] *= b.scale
	}
	const most = 64 // queries at a time, so that their scores stay in the cache
	for first := lo; first < hi; first += most {
		end := min(first+most, hi)
		n := end - first
		// 1. How well does each query match the keys?
		s.scores = grow(s.scores, n*end)
		s.multiplySmall(s.scores, end, queries[(first-lo)*size:], size, s.keys, size, n, end, size)
		// 2. Softmax makes shares of it, for the positions that a query may see.
		for pos := first; pos < end; pos++ {
			row := s.scores[(pos-first)*end : (pos-first+1)*end]
			chosen.softmax(row[:pos+1])
			clear(row[pos+1:])
			if edit != nil {
				edit(pos, row[:pos+1])
			}
		}
		// 3. The head puts out the mean of the values, by these shares.
		out := z[(first-lo)*b.width+head*size:]
		s.multiplySmall(out, b.width, s.scores, end, s.values, hi, n, size, end)
	}
}

// attentionScale is what attention scores are multiplied by in layer l: 1/√(d/heads), and what some
// models make of it.
func (m *Model) attentionScale(l int) float32 {
	scale := 1.0
	if !m.unscaled {
		scale /= math.Sqrt(float64(m.width / m.heads))
	}
	if m.byLayer {
		scale /= float64(l + 1)
	}
	return float32(scale)
}

// layerNorms normalises each row: [R, d] → [R, d].
func (m *Model) layerNorms(y, x []float32, n Norm) {
	const rows = 16 // at a time
	d := len(n.gain)
	eachChunk(len(x)/d, rows, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			chosen.layerNorm(y[r*d:(r+1)*d], x[r*d:(r+1)*d], n, m.epsilon)
		}
	})
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

// logits reads the next token's logits off residual streams: ln_f, then a product with rows of the
// unembedding, all of them or a few tokens'. [n, d]·[rows, d]ᵀ → [n, rows]. y is memory for them.
func (m *Model) logits(y, x []float32, unembed Matrix) []float32 {
	h := make([]float32, len(x))
	m.layerNorms(h, x, m.lnF)
	y = grow(y, len(x)/m.width*unembed.rows)
	matMulT(y, h, unembed)
	if !finite(y) {
		fail("the logits hold a NaN or an infinity: the final layer norm or wte in %s is damaged",
			m.source)
	}
	if !slices.ContainsFunc(y, func(v float32) bool { return v != 0 }) && len(y) > 0 {
		fail("all logits are 0: %s was written without its numbers", m.source)
	}
	return y
}

// unembedOf are the rows of the unembedding for some tokens: [len(ids), d].
func (m *Model) unembedOf(ids []int) Matrix {
	rows, all := newMatrix(len(ids), m.width), m.unembed()
	for i, id := range ids {
		all.row(rows.f32[i*m.width:(i+1)*m.width], id)
	}
	return rows
}

// logitsChunk is for how many streams all logits are computed at a time: those of a thousand would
// take 200 MB.
const logitsChunk = 64

// begin embeds whole texts of equal length in a batch of their own.
func (m *Model) begin(texts ...[]int) *Batch {
	rows := len(texts) * len(texts[0])
	m.enough(rows, 0)
	x := m.embed(texts...)
	b := m.newBatch(len(texts[0]), rows)
	b.start(x)
	return b
}

// newBatch makes a batch for texts of length T, with room for that many rows in all.
func (m *Model) newBatch(T, rows int) *Batch {
	b := batches.get()
	b.length, b.width, b.size, b.runs = T, m.width, m.width/m.heads, b.runs[:0]
	b.x = grow(b.x, rows*m.width)[:0]
	b.h = grow(b.h, rows*m.width)
	b.wide = grow(b.wide, rows*m.wideRow())
	return b
}

// batches keeps the memory of a sweep's batch for the next one: else both would be there at once
// until the garbage collector has run.
var batches pool[Batch]

// wideRow is the widest that a row gets within a block: 3d with queries, keys and values, 4d
// within the MLP.
func (m *Model) wideRow() int {
	wide := 3 * m.width
	for _, w := range m.blocks {
		wide = max(wide, w.fc.w.cols)
	}
	return wide
}

// rowBytes is what one row takes in a batch's buffers.
func (m *Model) rowBytes() int { return 4 * (2*m.width + m.wideRow()) }

// enough makes sure that a batch of so many rows, and so many bytes beside it, take no more memory
// than there is, and that the model has no more layers than any GPT-2 in earnest. It is asked
// before anything is allocated: a file of a few kilobytes can claim any size.
func (m *Model) enough(rows int, bytes float64) {
	const mostLayers = 1000
	if m.layers > mostLayers {
		fail("%s has %d layers, and mechpatch runs at most %d", m.name, m.layers, mostLayers)
	}
	batch := float64(rows) * float64(m.rowBytes())
	logits := 4 * 2 * logitsChunk * float64(m.vocab) // of a chunk, of both runs, and more
	try(enoughMemory(uint64(min(batch+logits+bytes, 1e19)), "a run of "+m.name))
}
