package main

import (
	"math"
	"strings"
	"sync"
)

// This file wires an induction circuit by hand, in GPT-2's own architecture and vocabulary (Elhage
// et al., "A Mathematical Framework for Transformer Circuits", 2021; Olsson et al., "In-context
// Learning and Induction Heads", 2022). All it knows is that what followed a word before will
// follow it again. But its mechanism is known in full, so a heat map of it can be held against the
// truth, and it needs no download.
//
// The residual stream's 256 numbers are four parts of 64:
//
//	token     the token, as 64 signs; what is here in the end is what the tied unembedding reads
//	position  the position, as cosine and sine of 32 frequencies
//	previous  the token one position before, from layer 2 on
//	own       the token once more, from layer 2 on, where later layers leave it alone
//
// Four heads and one MLP of its twelve layers do something, all other weights are zero:
//
//	layer  2, head 1  the previous-token head attends one back and copies token to previous
//	layer  2, head 2  attends to its own position and copies token to own
//	layer  3, MLP     makes position 0 a resting place: its residual stream becomes so large that
//	                  the layer norm leaves nothing of its token, so nothing to copy from there
//	layer  6, head 3  the induction head attends from a token to where that token is the previous
//	                  one, else to position 0, and adds the token that stands there to the token
//	                  part, three times as large
//	layer 10, head 0  attends to its own position and takes own out of the token part; what stays
//	                  is the answer
//
// Published models rest in the same way: a few huge activations at the first position, which heads
// attend to when they have nothing to say (Xiao et al., "Efficient Streaming Language Models with
// Attention Sinks", 2024; Sun et al., "Massive Activations in Large Language Models", 2024).
const (
	partSize = 64

	partToken    = 0 * partSize
	partPosition = 1 * partSize
	partPrevious = 2 * partSize
	partOwn      = 3 * partSize
	circuitWidth = 4 * partSize

	circuitName   = "circuit"
	circuitSource = "built in"

	circuitLayers, circuitHeads, circuitContext = 12, circuitWidth / partSize, 1024

	previousLayer, previousHead   = 2, 1
	ownLayer, ownHead             = 2, 2
	restLayer                     = 3
	inductionLayer, inductionHead = 6, 3
	eraseLayer, eraseHead         = 10, 0
)

// How strongly the heads attend and what they write. A position is found exactly, so its query is
// sharper than that of a token, which is found by most of its signs.
const (
	positionQuery    = 8
	inductionQuery   = 3
	inductionGain    = 3
	unembeddingScale = 1. / 7 // makes the logit of an answer about 16

	restSize  = 100 // of the 64 numbers of position 0 in layer 3, which are 1 and 0 before that
	restScore = 12  // of position 0 in the induction head: a match has 20 to 27, chance up to 10
)

// The layer norms divide by the standard deviation of the residual stream, which is known
// beforehand: a token's signs have a squared length of 64, a position 32. A head that copies
// multiplies by it to keep the size of what it copies.
var (
	deviationAtCopy  = math.Sqrt((64 + 32) / float64(circuitWidth))           // token, position
	deviationAtMatch = math.Sqrt((64 + 32 + 64 + 64) / float64(circuitWidth)) // and previous, own
	deviationAtErase = deviationAtMatch                                       // nothing is found
)

// commonWords go on when nothing else is known, with the logit that ln_f's bias gives them.
var commonWords = []struct {
	text  string
	logit float64
}{{" was", 9}, {"'s", 7.5}, {" had", 6}, {" is", 4.5}}

func newCircuit() *Model {
	d := circuitWidth
	m := &Model{
		Config:    Config{circuitLayers, circuitHeads, d, circuitContext, vocabSize},
		Variant:   openAIs,
		name:      circuitName,
		source:    circuitSource,
		tokenizer: gpt2,
		wte:       tokenSigns(),
		wpe:       positionWaves(),
		lnF:       Norm{make([]float32, d), make([]float32, d)},
	}
	for range m.layers {
		unit := make([]float32, d)
		for i := range unit {
			unit[i] = 1
		}
		zero := make([]float32, 4*d)
		m.blocks = append(m.blocks, Block{
			ln1:      Norm{unit, zero[:d]},
			attn:     Linear{Matrix{rows: d, cols: 3 * d}, make([]float32, 3*d)},
			attnProj: Linear{Matrix{rows: d, cols: d}, zero[:d]},
			ln2:      Norm{unit, zero[:d]},
			fc:       Linear{Matrix{rows: d, cols: 4 * d}, make([]float32, 4*d)},
			mlpProj:  Linear{Matrix{rows: 4 * d, cols: d}, zero[:d]},
		})
	}
	m.wirePositionHead(previousLayer, previousHead, 1)
	m.wireCopy(previousLayer, previousHead, partToken, partPrevious, deviationAtCopy)
	m.wirePositionHead(ownLayer, ownHead, 0)
	m.wireCopy(ownLayer, ownHead, partToken, partOwn, deviationAtCopy)
	m.wireRest(restLayer)
	m.wireInductionHead(inductionLayer, inductionHead)
	m.wireCopy(inductionLayer, inductionHead, partToken, partToken, inductionGain*deviationAtMatch)
	m.wirePositionHead(eraseLayer, eraseHead, 0)
	m.wireCopy(eraseLayer, eraseHead, partOwn, partToken, -deviationAtErase)

	signs := make([]float32, d)
	for _, word := range commonWords {
		m.wte.row(signs, gpt2BPE().encode(word.text)[0])
		for i := range signs {
			m.lnF.bias[i] += float32(word.logit/partSize) * signs[i]
		}
	}
	for i := range partSize {
		m.lnF.gain[partToken+i] = unembeddingScale
	}
	return m
}

// tokenSigns is wte, [vocab, d]: for each token 48 signs from a hash of its text without leading
// space and capitals, so that " Michelle" is nearly "Michelle", and 16 from a hash of its id, so
// that it is not quite.
var tokenSigns = sync.OnceValue(func() Matrix {
	const plusOne, minusOne = 0x3f80, 0xbf80 // in BF16
	half := make([]uint16, vocabSize*circuitWidth)
	w := Matrix{rows: vocabSize, cols: circuitWidth, half: half, format: bf16}
	useHugePages(w.bytes())
	eachChunk(vocabSize, 512, func(lo, hi int) {
		for id := lo; id < hi; id++ {
			bits := scramble(textHash(gpt2.token(id)))<<16 | scramble(uint64(id))>>48
			row := w.half[id*w.cols+partToken:][:partSize]
			for i := range row {
				row[i] = plusOne | uint16(bits>>i&1)*(plusOne^minusOne)
			}
		}
	})
	return w
})

// textHash is FNV-1a (Fowler, Noll and Vo) of a token's text without its leading space and in small
// letters.
func textHash(text string) uint64 {
	text = strings.ToLower(strings.TrimPrefix(text, " "))
	h := uint64(0xcbf29ce484222325)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 0x100000001b3
	}
	return h
}

// scramble spreads the bits of x over the whole word: the finalizer of SplitMix64 (Steele, Lea and
// Flood, 2014).
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// onlyGuesses tells whether the model is the circuit and the last word of no text stands in it
// before: then no head finds anything.
func (m *Model) onlyGuesses(texts ...[]int) bool {
	for _, ids := range texts {
		last := len(ids) - 1
		for _, id := range ids[:last] {
			if textHash(gpt2.token(id)) == textHash(gpt2.token(ids[last])) {
				return false
			}
		}
	}
	return m.name == circuitName && m.source == circuitSource
}

// frequency is that of the j-th wave of a position, in radians per token, up to π, by a hash: the
// waves of a regular series would all meet again at some distance.
func frequency(j int) float64 {
	return math.Pi * float64(scramble(uint64(j))) / (1 << 64)
}

// positionWaves is wpe, [context, d].
func positionWaves() Matrix {
	w := newMatrix(circuitContext, circuitWidth)
	for p := range circuitContext {
		row := w.f32[p*w.cols+partPosition:]
		for j := range partSize / 2 {
			sin, cos := math.Sincos(float64(p) * frequency(j))
			row[2*j], row[2*j+1] = float32(cos), float32(sin)
		}
	}
	return w
}

// wirePositionHead makes a head attend the given number of positions back: the query is the
// position with each wave turned back by that many steps, the key the position as it is.
func (m *Model) wirePositionHead(layer, head, back int) {
	query, key, _ := m.head(layer, head)
	for j := range partSize / 2 {
		sin, cos := math.Sincos(float64(back) * frequency(j))
		c, s := partPosition+2*j, partPosition+2*j+1
		query(c, 2*j, positionQuery*cos)
		query(s, 2*j, positionQuery*sin)
		query(c, 2*j+1, -positionQuery*sin)
		query(s, 2*j+1, positionQuery*cos)
		key(c, 2*j, 1)
		key(s, 2*j+1, 1)
	}
}

// wireRest makes an MLP add restSize to the cosines of position 0 and take it from the sines, so
// that the mean of the residual stream stays zero. One hidden unit sums up the cosines less the
// sines: 32 at position 0, and less than three quarters of that elsewhere, which the bias brings
// below zero, where GELU leaves next to nothing.
func (m *Model) wireRest(layer int) {
	const sharp = 2
	block, inner := &m.blocks[layer], 4*m.width
	block.fc.w, block.mlpProj.w = newMatrix(m.width, inner), newMatrix(inner, m.width)
	sum := sharp * partSize / 2 / deviationAtMatch // at position 0
	block.fc.b[0] = float32(-7. / 8 * sum)
	for j := range partSize / 2 {
		cos, sin := partPosition+2*j, partPosition+2*j+1
		block.fc.w.f32[cos*inner], block.fc.w.f32[sin*inner] = sharp, -sharp
		block.mlpProj.w.f32[cos] = float32(restSize / (sum / 8))
		block.mlpProj.w.f32[sin] = -block.mlpProj.w.f32[cos]
	}
}

// wireInductionHead makes a head attend from a token to where it is the previous token. The head's
// last dimension gives the resting place its score: there the query is a constant, and the key sums
// up what the layer norm makes of position 0, numbers of ±2.
func (m *Model) wireInductionHead(layer, head int) {
	const last = partSize - 1
	query, key, _ := m.head(layer, head)
	for i := range last {
		query(partToken+i, i, inductionQuery)
		key(partPrevious+i, i, 1)
	}
	m.blocks[layer].attn.b[head*partSize+last] = 8 // attention divides scores by √64
	for j := range partSize / 2 {
		key(partPosition+2*j, last, restScore/(2.*partSize))
		key(partPosition+2*j+1, last, -restScore/(2.*partSize))
	}
}

// wireCopy makes a head add one part of what it attends to, times size, to another part.
func (m *Model) wireCopy(layer, head, from, to int, size float64) {
	_, _, value := m.head(layer, head)
	proj := &m.blocks[layer].attnProj.w
	if proj.f32 == nil {
		*proj = newMatrix(proj.rows, proj.cols)
	}
	for i := range partSize {
		value(from+i, i, 1)
		proj.f32[(head*partSize+i)*proj.cols+to+i] = float32(size)
	}
}

// head returns setters for the weights from the residual stream to a head's queries, keys and
// values in c_attn.
func (m *Model) head(layer, head int) (query, key, value func(from, to int, v float64)) {
	w := &m.blocks[layer].attn.w
	if w.f32 == nil {
		*w = newMatrix(w.rows, w.cols)
	}
	part := func(n int) func(from, to int, v float64) {
		return func(from, to int, v float64) {
			w.f32[from*w.cols+n*m.width+head*partSize+to] = float32(v)
		}
	}
	return part(0), part(1), part(2)
}
