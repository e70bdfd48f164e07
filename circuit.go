package main

import (
	"math"
	"strings"
)

// This file wires an induction circuit by hand, in GPT-2's own architecture and vocabulary (Elhage et al., "A
// Mathematical Framework for Transformer Circuits", 2021; Olsson et al., "In-context Learning and Induction Heads",
// 2022). It is no language model: all it knows is that what followed a word before will follow it again. But its
// mechanism is known in full, so a heat map of it can be held against the truth, and it needs no download.
//
// The residual stream's 256 numbers are four parts of 64:
//
//	token     the token, as 64 signs; what stands here in the end is what the tied unembedding reads
//	position  the position, as cosine and sine of 32 frequencies
//	previous  the token one position before, from layer 2 on
//	own       the token once more, from layer 2 on, where later layers leave it alone
//
// Four heads of its twelve layers do something, all other weights are zero:
//
//	layer  2, head 1  the previous-token head attends one position back and copies token to previous
//	layer  2, head 2  attends to its own position and copies token to own
//	layer  6, head 3  the induction head attends from a token to where that token is the previous one and not the own
//	                  one, and adds the token that stands there to the token part, three times as large
//	layer 10, head 0  attends to its own position and takes own out of the token part: what is left is the answer
const (
	partSize = 64

	partToken    = 0 * partSize
	partPosition = 1 * partSize
	partPrevious = 2 * partSize
	partOwn      = 3 * partSize
	circuitWidth = 4 * partSize

	circuitName = "circuit"

	circuitLayers, circuitHeads, circuitContext = 12, circuitWidth / partSize, 1024

	previousLayer, previousHead   = 2, 1
	ownLayer, ownHead             = 2, 2
	inductionLayer, inductionHead = 6, 3
	eraseLayer, eraseHead         = 10, 0
)

// How strongly the heads attend and what they write. A position is found exactly, so its query is sharp; a token is found
// by most of its signs, so its query is blunter.
const (
	positionQuery    = 8
	inductionQuery   = 2
	inductionGain    = 3
	unembeddingScale = 1. / 7 // makes the logit of an answer about 16
)

// The layer norms divide by the standard deviation of the residual stream. A token's signs have a squared length of 64, a
// position 32, so it is known beforehand, and a head that copies multiplies by it to keep the size of what it copies.
var (
	deviationAtCopy  = math.Sqrt((64 + 32) / float64(circuitWidth))                // token, position
	deviationAtMatch = math.Sqrt((64 + 32 + 64 + 64) / float64(circuitWidth))      // and previous, own
	deviationAtErase = math.Sqrt((64 + 32 + 64 + 64 + 48) / float64(circuitWidth)) // and a mixture, where nothing was found
)

// commonWords are how a sentence goes on when nothing else is known, with the logit that ln_f's bias gives them.
var commonWords = []struct {
	text  string
	logit float64
}{{" was", 9}, {"'s", 7.5}, {" had", 6}, {" is", 4.5}}

// newCircuit makes the built-in model.
func newCircuit() *Model {
	d := circuitWidth
	m := &Model{
		Config: Config{circuitLayers, circuitHeads, d, circuitContext, vocabSize},
		name:   circuitName,
		source: "built in",
		wte:    tokenSigns(),
		wpe:    positionWaves(),
		lnF:    Norm{make([]float32, d), make([]float32, d)},
	}
	for l := 0; l < m.layers; l++ {
		unit := make([]float32, d)
		for i := range unit {
			unit[i] = 1
		}
		zero := make([]float32, 4*d)
		m.blocks = append(m.blocks, Block{
			ln1:      Norm{unit, zero[:d]},
			attn:     Linear{Matrix{rows: d, cols: 3 * d}, zero[:3*d]},
			attnProj: Linear{Matrix{rows: d, cols: d}, zero[:d]},
			ln2:      Norm{unit, zero[:d]},
			fc:       Linear{Matrix{rows: d, cols: 4 * d}, zero},
			mlpProj:  Linear{Matrix{rows: 4 * d, cols: d}, zero[:d]},
		})
	}
	m.wirePositionHead(previousLayer, previousHead, 1)
	m.wireCopy(previousLayer, previousHead, partToken, partPrevious, deviationAtCopy)
	m.wirePositionHead(ownLayer, ownHead, 0)
	m.wireCopy(ownLayer, ownHead, partToken, partOwn, deviationAtCopy)
	m.wireInductionHead(inductionLayer, inductionHead)
	m.wireCopy(inductionLayer, inductionHead, partToken, partToken, inductionGain*deviationAtMatch)
	m.wirePositionHead(eraseLayer, eraseHead, 0)
	m.wireCopy(eraseLayer, eraseHead, partOwn, partToken, -deviationAtErase)

	signs := make([]float32, d)
	for _, word := range commonWords {
		m.wte.row(signs, encode(word.text)[0])
		for i := range signs {
			m.lnF.bias[i] += float32(word.logit/partSize) * signs[i]
		}
	}
	for i := 0; i < partSize; i++ {
		m.lnF.gain[partToken+i] = unembeddingScale
	}
	return m
}

// tokenSigns is wte, [vocab, d]: for each token 48 signs from a hash of its text without leading space and capitals, so
// that " Michelle" is nearly "Michelle", and 16 from a hash of its id, so that it is not quite. A sign needs no more than 16 bits.
func tokenSigns() Matrix {
	const plusOne, minusOne = 0x3f80, 0xbf80 // in BF16
	w := Matrix{rows: vocabSize, cols: circuitWidth, half: make([]uint16, vocabSize*circuitWidth), format: bf16}
	eachChunk(vocabSize, 512, func(lo, hi int) {
		for id := lo; id < hi; id++ {
			bits := scramble(textHash(token(id)))<<16 | scramble(uint64(id))>>48
			row := w.half[id*w.cols+partToken:][:partSize]
			for i := range row {
				row[i] = plusOne | uint16(bits>>i&1)*(plusOne^minusOne)
			}
		}
	})
	return w
}

// textHash is FNV-1a (Fowler, Noll and Vo) of a token's text without its leading space and in small letters.
func textHash(text string) uint64 {
	text = strings.ToLower(strings.TrimPrefix(text, " "))
	h := uint64(0xcbf29ce484222325)
	for i := 0; i < len(text); i++ {
		h = (h ^ uint64(text[i])) * 0x100000001b3
	}
	return h
}

// scramble spreads the bits of x over the whole word: the finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// frequency is that of the j-th wave of a position, in radians per token: anything up to π, as a hash has it. In a regular
// series of frequencies there would be distances at which all waves meet again.
func frequency(j int) float64 {
	return math.Pi * float64(scramble(uint64(j))) / (1 << 64)
}

// positionWaves is wpe, [context, d].
func positionWaves() Matrix {
	w := newMatrix(circuitContext, circuitWidth)
	for p := 0; p < circuitContext; p++ {
		row := w.f32[p*w.cols+partPosition:]
		for j := 0; j < partSize/2; j++ {
			sin, cos := math.Sincos(float64(p) * frequency(j))
			row[2*j], row[2*j+1] = float32(cos), float32(sin)
		}
	}
	return w
}

// wirePositionHead makes a head attend the given number of positions back: the query is the position with each wave
// turned back by that many steps, the key the position as it is.
func (m *Model) wirePositionHead(layer, head, back int) {
	query, key, _ := m.head(layer, head)
	for j := 0; j < partSize/2; j++ {
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

// wireInductionHead makes a head attend from a token to where it is the previous token and not the own one; without
// the latter a token at the start of the text, which is its own previous token, would find itself.
func (m *Model) wireInductionHead(layer, head int) {
	query, key, _ := m.head(layer, head)
	for i := 0; i < partSize; i++ {
		query(partToken+i, i, inductionQuery)
		key(partPrevious+i, i, 1)
		key(partOwn+i, i, -1)
	}
}

// wireCopy makes a head read one part of what it attends to and add it, times size, to another part.
func (m *Model) wireCopy(layer, head, from, to int, size float64) {
	_, _, value := m.head(layer, head)
	proj := &m.blocks[layer].attnProj.w
	if proj.f32 == nil {
		*proj = newMatrix(proj.rows, proj.cols)
	}
	for i := 0; i < partSize; i++ {
		value(from+i, i, 1)
		proj.f32[(head*partSize+i)*proj.cols+to+i] = float32(size)
	}
}

// head returns setters for the weights from the residual stream to a head's queries, keys and values in c_attn.
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

// newMatrix is a matrix to be filled in.
func newMatrix(rows, cols int) Matrix {
	return Matrix{rows: rows, cols: cols, f32: make([]float32, rows*cols)}
}
