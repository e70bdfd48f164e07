package main

// This file is the logit lens (nostalgebraist, "interpreting GPT: the logit lens", 2020): the final layer norm and the
// unembedding applied to the residual stream after every layer, as if that layer were the last. It shows how early the
// model is on its way to its answer.

// Lens is what the lens shows of one run.
type Lens struct {
	cells  [][]Reading // [layer][pos]
	logits [][]float32 // [layer][vocab], at the last position
}

// lens looks at the clean and at the corrupt run. progress is told the share of the work that is done.
func (m *Model) lens(pair Pair, probabilities bool, progress func(done float64)) (clean, corrupt *Lens, err error) {
	if err := m.checkAnswers(pair); err != nil {
		return nil, nil, err
	}
	b, err := m.begin(pair.clean, pair.corrupt)
	if err != nil {
		return nil, nil, err
	}
	T := b.length
	clean, corrupt = &Lens{}, &Lens{}
	for l := 0; l < m.layers; l++ {
		if err := m.block(b, l, leaveAlone); err != nil {
			return nil, nil, err
		}
		readings, err := m.readings(b.x, pair, probabilities)
		if err != nil {
			return nil, nil, err
		}
		logits, err := m.logits(b.last())
		if err != nil {
			return nil, nil, err
		}
		clean.cells = append(clean.cells, readings[:T])
		clean.logits = append(clean.logits, logits[:m.vocab])
		corrupt.cells = append(corrupt.cells, readings[T:])
		corrupt.logits = append(corrupt.logits, logits[m.vocab:])
		progress(float64(l+1) / float64(m.layers))
	}
	return clean, corrupt, nil
}
