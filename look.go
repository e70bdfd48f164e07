package main

import (
	"math"
	"slices"
	"unsafe"
)

// This file looks at the clean and the corrupt run without patching anything: through the logit
// lens, at what heads attend to, and at what each component adds to the answer. Views of both runs
// are indexed with cleanRun and corruptRun.

// look takes both runs through the model and shows them to see at every site of every layer, with
// the activations there as a Hook has them. What is seen takes so many bytes of memory. progress is
// told the share of the work that is done.
func (m *Model) look(pair Pair, bytes float64, full bool, progress func(done float64),
	see func(b *Batch, site Site, layer int, act []float32)) (s Baselines) {
	m.checkAnswers(pair)
	m.enough(2*len(pair.clean), bytes)
	b := m.begin(pair.clean, pair.corrupt)
	defer batches.put(b)
	m.forward(b, 0, func(site Site, layer int, act []float32) []float32 {
		see(b, site, layer, act)
		if site == siteResid {
			progress(float64(layer+1) / float64(m.layers))
		}
		return act
	})
	m.read(&s, b, nil, pair, full)
	return s
}

// Lens is the logit lens (nostalgebraist, "interpreting GPT: the logit lens", 2020): the final
// layer norm and the unembedding applied to the residual stream after every layer, as if that
// layer were the last. It shows how early the model is on its way to its answer.
type Lens struct {
	Baselines
	cells [2][][]Reading // [run][layer][pos]
	top   [2][]TopReport // [run][layer], at the last position
}

// TopReport is a probable next token.
type TopReport struct {
	ID    int     `json:"id"`
	Token string  `json:"token"`
	Prob  float64 `json:"prob"`
	Logit float32 `json:"logit"`
}

// topTokens lists the n most probable next tokens of [vocab] logits.
func topTokens(t *tokenizer, logits []float32, n int) []TopReport {
	logSum := logSumExp(logits)
	top := []TopReport{}
	for _, id := range topK(logits, n) {
		prob := math.Exp(float64(logits[id]) - logSum)
		top = append(top, TopReport{id, t.token(id), prob, logits[id]})
	}
	return top
}

// lens looks at both runs through the logit lens. The readings have no kl.
func (m *Model) lens(pair Pair, full bool, progress func(done float64)) (lens *Lens, err error) {
	defer catchFault(&err)
	lens = &Lens{}
	var logits []float32
	bytes := 2 * float64(m.layers) * float64(len(pair.clean)) * float64(unsafe.Sizeof(Reading{}))
	lens.Baselines = m.look(pair, bytes, full, progress, func(b *Batch, site Site, _ int,
		x []float32) {
		if site != siteResid {
			return
		}
		readings := m.readings(x, pair, full, nil)
		logits = m.logits(logits, b.last(), m.unembed())
		for run := range lens.cells {
			T, y := b.length, logits[run*m.vocab:(run+1)*m.vocab]
			lens.top[run] = append(lens.top[run], topTokens(m.tokenizer, y, 1)...)
			lens.cells[run] = append(lens.cells[run], readings[run*T:(run+1)*T])
		}
	})
	return lens, nil
}

// Patterns is where heads attend to.
type Patterns struct {
	Baselines
	a [2][][][]float32 // [run][one of heads][destination][source ≤ destination]
}

func (m *Model) patterns(pair Pair, heads []Head, full bool, progress func(done float64)) (
	p *Patterns, err error) {
	defer catchFault(&err)
	m.checkHeads(heads...)
	p = &Patterns{}
	for run := range p.a {
		p.a[run] = make([][][]float32, len(heads))
	}
	T := len(pair.clean)
	bytes := 4 * float64(2*len(heads)) * float64(T) * float64(T+1) / 2
	p.Baselines = m.look(pair, bytes, full, progress, func(b *Batch, site Site, layer int,
		_ []float32) {
		if site != siteZ {
			return
		}
		z := make([]float32, T*b.width)
		for run := range p.a {
			rows := b.rowsOf(run)
			for i, h := range heads {
				keep := func(_ int, pattern []float32) {
					p.a[run][i] = append(p.a[run][i], slices.Clone(pattern))
				}
				if h.layer == layer {
					b.headOut(nil, 0, z, h.head, 0, T, rows, rows, rows, keep)
				}
			}
		}
	})
	return p, nil
}

// Direct is direct logit attribution (Elhage et al., "A Mathematical Framework for Transformer
// Circuits", 2021): what each component that writes into the last position's residual stream adds
// to logit(corrupt answer) − logit(clean answer), with the final layer norm's scale held as it is
// in that run. The shares of a run add up to its metric.
type Direct struct {
	Baselines
	shares [2]Shares // [run]
}

// Shares is what the components of one run add.
type Shares struct {
	Embed    float64     `json:"embed"`     // wte
	PosEmbed float64     `json:"pos_embed"` // wpe
	Heads    [][]float64 `json:"heads"`     // [layer][head], without what all values hold alike
	AttnBias []float64   `json:"attn_bias"` // [layer]: c_proj's bias, and that through c_proj
	MLP      []float64   `json:"mlp"`       // [layer]
	LnFBias  float64     `json:"ln_f_bias"` // of the final layer norm
}

// direct finds the shares of both runs. Both answers must be one token.
func (m *Model) direct(pair Pair, progress func(done float64)) (direct *Direct, err error) {
	defer catchFault(&err)
	if len(pair.cleanAnswer) != 1 || len(pair.corruptAnswer) != 1 {
		fail("direct logit attribution needs two answers of one token each")
	}
	m.checkAnswers(pair)
	u, lnFBias := m.answerDirection(pair)
	row, direct := make([]float32, m.width), &Direct{}
	alongRow := func(w Matrix, i int) float64 {
		w.row(row, i)
		return along(u, row)
	}
	see := func(b *Batch, site Site, l int, act []float32) {
		w, T := &m.blocks[l], b.length
		var alike, projected []float64 // u as z has it, before c_proj: [d]
		if site == siteZ {
			alike = m.valuesAlike(l)
			for i := range m.width {
				projected = append(projected, alongRow(w.attnProj.w, i))
			}
		}
		for run, ids := range [][]int{pair.clean, pair.corrupt} {
			s, last := &direct.shares[run], act[(run*T+T-1)*m.width:][:m.width]
			switch {
			case site == siteResidPre && l == 0:
				s.Embed, s.PosEmbed = alongRow(m.wte, ids[T-1]), alongRow(m.wpe, T-1)
				s.LnFBias = lnFBias
			case site == siteZ:
				heads, bias := make([]float64, m.heads), along(u, w.attnProj.b)
				for i, c := range alike {
					heads[i/b.size] += (float64(last[i]) - c) * projected[i]
					bias += c * projected[i]
				}
				s.Heads, s.AttnBias = append(s.Heads, heads), append(s.AttnBias, bias)
			case site == siteMLP:
				s.MLP = append(s.MLP, along(u, last))
			case site == siteResid && l == m.layers-1:
				s.divide(m.deviation(last))
			}
		}
	}
	direct.Baselines = m.look(pair, 0, false, progress, see)
	return direct, nil
}

// along is how far x, [d], reaches in the direction u.
func along(u []float64, x []float32) (sum float64) {
	for i, v := range x {
		sum += float64(v) * u[i]
	}
	return sum
}

// valuesAlike is what the values of layer l hold alike at all positions, and what every pattern, of
// which each row adds up to 1, therefore passes on unchanged: c = b_v + ln_1.bias·W_v, [d].
// TransformerLens folds it into c_proj's bias by default, so its heads go without it as well.
func (m *Model) valuesAlike(l int) []float64 {
	w, d := &m.blocks[l], m.width
	c, row := make([]float64, d), make([]float32, 3*d)
	for j, v := range w.attn.b[2*d:] {
		c[j] = float64(v)
	}
	for i, bias := range w.ln1.bias {
		w.attn.w.row(row, i)
		for j, v := range row[2*d:] {
			c[j] += float64(bias) * float64(v)
		}
	}
	return c
}

// answerDirection is the direction of the last residual stream, once it is divided by its
// deviation, along which logit(corrupt answer) − logit(clean answer) grows, [d]; and what the
// final layer norm's bias adds to that. The layer norm takes out the mean of the stream, so the
// direction has none.
func (m *Model) answerDirection(pair Pair) (u []float64, lnFBias float64) {
	d, unembed := m.width, m.unembed()
	clean, corrupt := make([]float32, d), make([]float32, d)
	unembed.row(clean, pair.cleanAnswer[0])
	unembed.row(corrupt, pair.corruptAnswer[0])
	mean := 0.
	for i := range clean {
		difference := float64(corrupt[i]) - float64(clean[i])
		lnFBias += float64(m.lnF.bias[i]) * difference
		u = append(u, float64(m.lnF.gain[i])*difference)
		mean += u[i] / float64(d)
	}
	for i := range u {
		u[i] -= mean
	}
	return u, lnFBias
}

// deviation is what a layer norm divides x by: √(variance + epsilon).
func (m *Model) deviation(x []float32) float64 {
	mean, variance, d := 0., 0., float64(len(x))
	for _, v := range x {
		mean += float64(v) / d
	}
	for _, v := range x {
		variance += (float64(v) - mean) * (float64(v) - mean) / d
	}
	return math.Sqrt(variance + m.epsilon)
}

// divide divides the shares of all that goes through the final layer norm.
func (s *Shares) divide(by float64) {
	s.Embed /= by
	s.PosEmbed /= by
	for _, shares := range append(slices.Clone(s.Heads), s.AttnBias, s.MLP) {
		for i := range shares {
			shares[i] /= by
		}
	}
}
