package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unsafe"
)

// loadModel makes a GPT-2 of a checkpoint. Its size is read off the tensors' shapes; only the
// number of heads is not in them, so that heads says it (n_head of a config.json, 0 = not known),
// unless the checkpoint's own metadata does.
//
// Every parameter must be there, in its shape, as F32, F16 or BF16; the matrices are used where
// they lie in ck, which must therefore stay open as long as the model is used. Names may have the
// prefix "transformer.", all or none. The causal-mask buffers h.N.attn.bias and
// h.N.attn.masked_bias are not parameters and are left out, and so is lm_head.weight where it
// equals wte.weight. Any other tensor is an error: a classifier's head or an adapter means that the
// checkpoint is not the GPT-2 that it looks like. The values are not looked at.
func loadModel(ck *Checkpoint, name string, heads int) (*Model, error) {
	m, err := buildModel(ck, heads)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ck.source, err)
	}
	m.name, m.source = name, ck.source
	return m, nil
}

func buildModel(ck *Checkpoint, heads int) (*Model, error) {
	tensors, err := canonicalTensors(ck)
	if err != nil {
		return nil, err
	}
	c, inner, err := configOf(tensors, ck.meta, heads)
	if err != nil {
		return nil, err
	}
	if err := checkParameters(tensors, parameters(c, inner)); err != nil {
		return nil, err
	}

	norm := func(name string) Norm {
		return Norm{gain: vectorOf(tensors[name+".weight"]), bias: vectorOf(tensors[name+".bias"])}
	}
	linear := func(name string) Linear {
		return Linear{w: matrixOf(tensors[name+".weight"]), b: vectorOf(tensors[name+".bias"])}
	}
	m := &Model{
		Config: c,
		wte:    matrixOf(tensors["wte.weight"]),
		wpe:    matrixOf(tensors["wpe.weight"]),
		blocks: make([]Block, c.layers),
		lnF:    norm("ln_f"),
	}
	for l := range m.blocks {
		h := fmt.Sprintf("h.%d.", l)
		m.blocks[l] = Block{
			ln1:      norm(h + "ln_1"),
			attn:     linear(h + "attn.c_attn"),
			attnProj: linear(h + "attn.c_proj"),
			ln2:      norm(h + "ln_2"),
			fc:       linear(h + "mlp.c_fc"),
			mlpProj:  linear(h + "mlp.c_proj"),
		}
	}
	return m, nil
}

// prepareAhead makes the model bring its weights, which lie in a mapped file, into memory a layer
// ahead of time. bring does so for the data of one matrix.
func (m *Model) prepareAhead(bring func(data []byte)) {
	for l := range m.blocks {
		b := &m.blocks[l]
		m.prepare = append(m.prepare, sync.OnceFunc(func() {
			for _, w := range []*Matrix{&b.attn.w, &b.attnProj.w, &b.fc.w, &b.mlpProj.w} {
				bring(w.bytes())
			}
		}))
	}
	m.prepare = append(m.prepare, sync.OnceFunc(func() { bring(m.wte.bytes()) }))
	go m.prepare[0]()
}

// param is a parameter of GPT-2: its canonical name and its shape.
type param struct {
	name  string
	shape []int
}

// parameters lists all parameters of a GPT-2 of size c, in canonical order; inner is the width of
// the MLPs, 4·width in every published GPT-2. Linear weights are [in, out]: y = x·W + b.
func parameters(c Config, inner int) []param {
	d := c.width
	list := []param{{"wte.weight", []int{c.vocab, d}}, {"wpe.weight", []int{c.context, d}}}
	norm := func(name string) {
		list = append(list, param{name + ".weight", []int{d}}, param{name + ".bias", []int{d}})
	}
	linear := func(name string, in, out int) {
		list = append(list, param{name + ".weight", []int{in, out}}, param{name + ".bias",
			[]int{out}})
	}
	for l := 0; l < c.layers; l++ {
		h := fmt.Sprintf("h.%d.", l)
		norm(h + "ln_1")
		linear(h+"attn.c_attn", d, 3*d)
		linear(h+"attn.c_proj", d, d)
		norm(h + "ln_2")
		linear(h+"mlp.c_fc", d, inner)
		linear(h+"mlp.c_proj", inner, d)
	}
	norm("ln_f")
	return list
}

// canonicalTensors returns a checkpoint's tensors by canonical name, without the prefix, and leaves
// the tied lm_head.weight out.
func canonicalTensors(ck *Checkpoint) (map[string]Tensor, error) {
	const prefix, head = "transformer.", "lm_head.weight"
	tensors := make(map[string]Tensor, len(ck.tensors))
	var prefixed, bare string // the first tensor of either kind
	for _, t := range ck.tensors {
		name, cut := strings.CutPrefix(t.name, prefix)
		if cut && prefixed == "" {
			prefixed = t.name
		}
		if !cut && bare == "" && name != head { // lm_head stands beside the transformer
			bare = t.name
		}
		if prefixed != "" && bare != "" {
			return nil, fmt.Errorf("tensors with and without the prefix %q: %s and %s", prefix,
				quote(prefixed), quote(bare))
		}
		if _, twice := tensors[name]; twice {
			return nil, fmt.Errorf("tensor %s comes twice", quote(name))
		}
		tensors[name] = t
	}

	wte, ok := tensors["wte.weight"]
	if !ok {
		return nil, errors.New(`no tensor "wte.weight": these are not the weights of a GPT-2`)
	}
	if t, ok := tensors[head]; ok {
		// Equal bytes are the only proof that the two are tied. It costs a pass over both; files
		// seldom carry lm_head.
		if t.format != wte.format || !slices.Equal(t.shape, wte.shape) || !bytes.Equal(t.data,
			wte.data) {
			return nil, fmt.Errorf("tensor %q differs from \"wte.weight\": a GPT-2 whose output "+
				"matrix is not tied to its token embedding is not supported", head)
		}
		delete(tensors, head)
	}
	return tensors, nil
}

// configOf reads a GPT-2's size off its tensors, and the width of its MLPs.
func configOf(tensors map[string]Tensor, meta map[string]string, heads int) (c Config, inner int,
	err error) {
	if c.vocab, c.width, err = matrixShape(tensors, "wte.weight"); err != nil {
		return
	}
	if c.context, _, err = matrixShape(tensors, "wpe.weight"); err != nil {
		return
	}
	if c.layers, err = layersOf(tensors); err != nil {
		return
	}
	if _, inner, err = matrixShape(tensors, "h.0.mlp.c_fc.weight"); err != nil {
		return
	}
	c.heads, err = headsOf(c.width, meta, heads)
	return
}

// matrixShape returns the two sides of a matrix, both at least 1.
func matrixShape(tensors map[string]Tensor, name string) (rows, cols int, err error) {
	t, ok := tensors[name]
	if !ok {
		return 0, 0, missingTensor(name)
	}
	if len(t.shape) != 2 || t.shape[0] < 1 || t.shape[1] < 1 {
		return 0, 0, fmt.Errorf("tensor %q: its shape is %s and should be [rows, columns], "+
			"neither of them 0", name, shapeString(t.shape))
	}
	return t.shape[0], t.shape[1], nil
}

func missingTensor(name string) error {
	return fmt.Errorf("tensor %q is missing", name)
}

// layersOf counts the layers: one more than the highest N of all names h.N.…, and none may be
// absent below it.
func layersOf(tensors map[string]Tensor) (int, error) {
	highest, present := 0, map[int]bool{}
	for name := range tensors {
		if l, _, ok := splitLayer(name); ok {
			present[l] = true
			highest = max(highest, l)
		}
	}
	// A name can claim any number; the loop ends at the first layer that is not there, hence after
	// no more turns than there are tensors.
	for l := 0; l <= highest; l++ {
		if !present[l] {
			return 0, missingTensor(fmt.Sprintf("h.%d.ln_1.weight", l))
		}
	}
	return highest + 1, nil
}

// splitLayer divides h.11.attn.bias into 11 and attn.bias.
func splitLayer(name string) (layer int, rest string, ok bool) {
	name, inLayer := strings.CutPrefix(name, "h.")
	digits, rest, _ := strings.Cut(name, ".")
	layer, err := strconv.Atoi(digits)
	return layer, rest, inLayer && err == nil && layer >= 0 && strconv.Itoa(layer) == digits
}

// headsOf settles the number of attention heads: what the checkpoint's metadata says, else what its
// config.json said (told, 0 = nothing), else one for every 64 of the width, as in every published
// GPT-2.
func headsOf(width int, meta map[string]string, told int) (int, error) {
	heads, from := told, "its config.json"
	if s, ok := meta["n_head"]; ok {
		n, err := strconv.Atoi(s)
		if err != nil {
			return 0, fmt.Errorf("__metadata__: n_head is %s and should be the number of "+
				"attention heads", quote(s))
		}
		heads, from = n, "its __metadata__"
	} else if told == 0 {
		if width%64 != 0 {
			return 0, fmt.Errorf("the number of attention heads is not known: the width, %d, is "+
				"not a multiple of 64; put a config.json with n_head beside the file", width)
		}
		return width / 64, nil
	}
	if heads < 1 || width%heads != 0 {
		return 0, fmt.Errorf("n_head is %d in %s, which does not divide the width, %d", heads, from,
			width)
	}
	return heads, nil
}

// checkParameters holds the tensors against the list of what there must be, and against there being
// anything else.
func checkParameters(tensors map[string]Tensor, list []param) error {
	known := make(map[string]bool, len(list))
	for _, p := range list {
		known[p.name] = true
		t, ok := tensors[p.name]
		if !ok {
			return missingTensor(p.name)
		}
		if !slices.Equal(t.shape, p.shape) {
			return fmt.Errorf("tensor %q: its shape is %s and should be %s", p.name,
				shapeString(t.shape), shapeString(p.shape))
		}
		if _, ok := formatOf(t.format); !ok {
			return fmt.Errorf("tensor %q: its numbers are %s; only F32, F16 and BF16 can be used",
				p.name, t.format)
		}
	}
	var unknown []string
	for name := range tensors {
		_, rest, inLayer := splitLayer(name)
		mask := inLayer && (rest == "attn.bias" || rest == "attn.masked_bias")
		if !known[name] && !mask {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("tensor %s is not one of GPT-2's: a model that has it is not the one "+
			"that mechpatch computes", quote(slices.Min(unknown)))
	}
	return nil
}

// formatOf returns the Format that a checkpoint spells as s.
func formatOf(s string) (Format, bool) {
	for _, f := range []Format{f32, f16, bf16} {
		if f.String() == s {
			return f, true
		}
	}
	return 0, false
}

// matrixOf makes a Matrix of a checked tensor [rows, cols], in its format, without a copy where the
// machine allows it.
func matrixOf(t Tensor) Matrix {
	m := Matrix{rows: t.shape[0], cols: t.shape[1]}
	m.format, _ = formatOf(t.format)
	if m.format == f32 {
		m.f32 = floatsOf(t.data)
	} else {
		m.half = halvesOf(t.data)
	}
	return m
}

// vectorOf makes float32s of a checked tensor [d]; 16-bit numbers are widened, each to exactly its
// value.
func vectorOf(t Tensor) []float32 {
	format, _ := formatOf(t.format)
	if format == f32 {
		return floatsOf(t.data)
	}
	v := make([]float32, t.shape[0])
	row := Matrix{rows: 1, cols: len(v), half: halvesOf(t.data), format: format}
	row.row(v, 0)
	return v
}

// floatsOf returns data as float32s, in place where that is possible.
func floatsOf(data []byte) []float32 {
	n := len(data) / 4
	if usableInPlace(data, 4) {
		return unsafe.Slice((*float32)(unsafe.Pointer(&data[0])), n)
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return v
}

// halvesOf returns data as 16-bit patterns, in place where that is possible.
func halvesOf(data []byte) []uint16 {
	n := len(data) / 2
	if usableInPlace(data, 2) {
		return unsafe.Slice((*uint16)(unsafe.Pointer(&data[0])), n)
	}
	v := make([]uint16, n)
	for i := range v {
		v[i] = binary.LittleEndian.Uint16(data[2*i:])
	}
	return v
}

// usableInPlace tells whether this machine can use little-endian numbers of size bytes where they
// lie. A safetensors header need not be padded, so that the numbers may begin at any byte: those of
// GPT-2's own published file begin one byte short of a multiple of 4.
func usableInPlace(data []byte, size uintptr) bool {
	if len(data) == 0 || !littleEndian {
		return false
	}
	return anyAddress || uintptr(unsafe.Pointer(&data[0]))%size == 0
}

// littleEndian tells this machine's byte order, and anyAddress whether it loads numbers from any
// address, as amd64 and arm64 do. (Go allows unaligned pointers to memory that holds no pointers.)
var (
	littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1
	anyAddress   = runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64"
)
