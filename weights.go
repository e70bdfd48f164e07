package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unsafe"
)

// From a file of weights to a Model. The file is safetensors or PyTorch's, whole or in parts; how
// its trainer named and turned the tensors is dialect.go's affair. The architecture is what the
// file and a config.json beside it say. What is not said and cannot be seen is not guessed, but for
// one thing: the head count at the widths of OpenAI's own models.

// Checkpoint is what a file of weights holds, or several, and what lies beside it.
type Checkpoint struct {
	source  string // the file's name
	tensors []Tensor
	meta    map[string]string // safetensors' __metadata__
	release func() error      // ends the mapping; nil where the data is ordinary memory

	torch     int64  // the size of a PyTorch file in bytes; 0 for safetensors
	facts     Facts  // what the file itself says about the model,
	factsErr  error  // and why that cannot be computed
	folder    string // where a config.json and a vocabulary may lie; "" for weights in a program
	config    Facts  // what the config.json there says,
	configErr error  // and why that cannot be computed
	notes     []string
}

// close gives the file's memory back. Nothing that was made of the checkpoint, such as a Model, may
// be used after it.
func (ck *Checkpoint) close() error {
	release := ck.release
	ck.tensors, ck.release = nil, nil
	if release == nil {
		return nil
	}
	return release()
}

// openModel opens the weights in a file: safetensors, PyTorch's, or the index of a checkpoint in
// several files; or the safetensors file that is length bytes of it from offset on (0, 0 is the
// whole file). heads is the number of attention heads if the user says it, or else 0.
//
// Matrices are used where they lie in the checkpoint's files, if they lie there as they are needed:
// it must stay open as long as the model is used.
func openModel(path string, offset, length int64, heads int) (*Model, *Checkpoint, error) {
	ck, err := openCheckpoint(path, offset, length)
	if err != nil {
		return nil, nil, err
	}
	m, err := loadModel(ck, heads)
	if err != nil {
		ck.close()
		return nil, nil, err
	}
	return m, ck, nil
}

// openCheckpoint opens a file of weights of any kind, with what a config.json beside it says.
func openCheckpoint(path string, offset, length int64) (*Checkpoint, error) {
	if offset != 0 || length != 0 { // weights bundled into a program
		return openFile(path, offset, length)
	}
	var ck *Checkpoint
	var err error
	switch {
	case isIndex(path):
		ck, err = openShards(path)
	case isPart(path):
		err = fmt.Errorf("%s: this is one part of a checkpoint in several: name its index "+
			"(….index.json), or the folder with all of them", path)
	default:
		ck, err = openFile(path, 0, -1)
	}
	if err != nil {
		return nil, err
	}
	ck.folder = filepath.Dir(path)
	data, err := readBounded(filepath.Join(ck.folder, "config.json"), 1<<20)
	if err == nil {
		ck.config, ck.configErr = parseConfig(data, "config.json")
	} else if !errors.Is(err, fs.ErrNotExist) {
		ck.configErr = reason(err)
	}
	if isFile(filepath.Join(ck.folder, "adapter_config.json")) {
		ck.notes = append(ck.notes, "an adapter lies beside "+path+": it is not applied")
	}
	besides := []string{".hydra/config.yaml", "../hparams.yaml"}
	for _, pattern := range strings.Fields(
		"*.y*ml *.json *.toml *config*.py *args.txt configs/*.*") {
		names, _ := fs.Glob(os.DirFS(ck.folder), pattern)
		besides = append(besides, slices.DeleteFunc(names, func(name string) bool {
			return name == "config.json" || strings.Contains(name, "vocab") ||
				strings.Contains(name, "token") || strings.Contains(name, ".index.")
		})...)
	}
	if ck.config == nil {
		besides = append(besides, "../config.json")
	}
	for _, name := range besides {
		data, _ := readBounded(filepath.Join(ck.folder, name), 1<<20)
		if word := wordIn(string(data)); word != "" {
			ck.notes = append(ck.notes, fmt.Sprintf("%s beside %s speaks of %s and is not read: "+
				"only a config.json is", quote(name), path, word))
		}
	}
	return ck, nil
}

// openFile opens length bytes of a file from offset on, or with a negative length all that follows:
// safetensors or a state dict of PyTorch's. The file is mapped into memory where the system can do
// that: opening safetensors reads the header and nothing else, and a weight is read from the disk
// when it is first used. Elsewhere all of it is read.
//
// A mapped file must not shrink while it is in use: the system ends a program that reads what is no
// longer there. Replacing the file by renaming another one over it does no harm.
func openFile(path string, offset, length int64) (*Checkpoint, error) {
	data, release, err := readRange(path, offset, length)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, reason(err))
	}
	ck := &Checkpoint{source: path, release: release, facts: Facts{}}
	head := data[:min(64, len(data))]
	foreign := ""
	if offset == 0 {
		foreign = foreignForm([]string{filepath.Base(path)}, nil)
	}
	if isSafetensors := len(head) > 8 && head[8] == '{'; !isSafetensors && !isTorch(head) {
		foreign = cmp.Or(foreign, foreignForm(nil, head))
	}
	switch {
	case foreign != "":
		err = errors.New("this is " + foreign)
	case isTorch(head):
		err = ck.readTorch(data)
	default:
		ck.tensors, ck.meta, err = parseSafetensors(data)
	}
	if err != nil {
		ck.close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return ck, nil
}

// readTorch reads the state dict in a PyTorch file, and what stands around that.
func (ck *Checkpoint) readTorch(data []byte) error {
	tree, err := parseTorch(data)
	if err != nil {
		return err
	}
	state, note, err := stateDict(tree)
	if err != nil {
		return err
	}
	if note != "" {
		ck.notes = append(ck.notes, note)
	}
	ck.torch, ck.factsErr = int64(len(data)), ck.facts.read(tree, inItself, "its ")
	ck.tensors, err = tensorsOf(state, len(data))
	return err
}

const weightsFile = "model.safetensors"

// weightsNames are the usual names of a checkpoint in a folder or a repository, the one that is
// taken first, first. An index names the files that a large checkpoint is divided into.
var weightsNames = []string{
	weightsFile, weightsFile + ".index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
}

// hasUsualName tells whether a config.json beside a file is certainly about it.
func hasUsualName(path string) bool {
	return slices.ContainsFunc(append([]string{
		"model.pt", "model-00001-of-00001.safetensors", "pytorch_model-00001-of-00001.bin",
		weightsFile + ".index.*.json", "pytorch_model.bin.index.*.json", // of a variant: fp16
	}, weightsNames...), func(pattern string) bool {
		ok, _ := filepath.Match(pattern, filepath.Base(path))
		return ok
	})
}

// isIndex knows an index by its name: model.safetensors.index.json, or with a variant before .json.
func isIndex(path string) bool {
	ok, _ := filepath.Match("*.index*.json", filepath.Base(path))
	return ok
}

// isPart knows one of several parts: model-00001-of-00002.safetensors. One of one is whole.
func isPart(path string) bool {
	base := filepath.Base(path)
	ok, _ := filepath.Match("*-[0-9]????-of-[0-9]????.*", base)
	return ok && !strings.Contains(base, "-00001-of-00001.")
}

// openShards opens a checkpoint in several files by its index.
func openShards(path string) (all *Checkpoint, err error) {
	places, files, err := readIndex(path)
	if err != nil {
		return nil, err
	}
	var parts []*Checkpoint
	release := func() (err error) {
		for _, part := range parts {
			err = errors.Join(err, part.close())
		}
		return err
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	all = &Checkpoint{source: path, meta: map[string]string{}, facts: Facts{}, release: release}
	holds := map[string]string{} // the file of each tensor
	for _, file := range files {
		part, err := openFile(filepath.Join(filepath.Dir(path), file), 0, -1)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: a part that the index names, %s, is missing", path, quote(file))
		}
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
		for _, t := range part.tensors {
			if other, twice := holds[t.name]; twice {
				return nil, fmt.Errorf("%s: tensor %s is in two parts, %s and %s", path,
					quote(t.name), quote(other), quote(file))
			}
			holds[t.name] = file
		}
		all.tensors = append(all.tensors, part.tensors...)
		all.torch += part.torch
		maps.Copy(all.meta, part.meta)
		all.factsErr = cmp.Or(all.factsErr, part.factsErr, all.facts.add(part.facts),
			all.facts.readMetadata(part.meta))
	}
	for _, name := range sortedKeys(places) {
		if holds[name] != places[name] {
			return nil, fmt.Errorf("%s: tensor %s is not in %s, where the index has it", path,
				quote(name), quote(places[name]))
		}
	}
	return all, nil
}

// readIndex reads the index of a checkpoint in several files: the file of each tensor, and all
// files. They lie beside the index.
func readIndex(path string) (places map[string]string, files []string, err error) {
	const largest = 16 << 20 // bytes
	data, err := readBounded(path, largest)
	if err == nil {
		places, files, err = parseIndex(data)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, reason(err))
	}
	return places, files, nil
}

const maxShards = 1000 // files

// parseIndex reads {"weight_map": {tensor: file}}.
func parseIndex(data []byte) (places map[string]string, files []string, err error) {
	index, err := parseJSON(data)
	if err != nil {
		return nil, nil, err
	}
	weightMap, _ := index["weight_map"].(map[string]any)
	if len(weightMap) == 0 {
		return nil, nil, errors.New("not an index of a checkpoint: it has no weight_map")
	}
	places = map[string]string{}
	for name, place := range weightMap {
		file, ok := place.(string)
		if !ok || file == "" || file[0] == '.' || strings.ContainsAny(file, "/\\:\x00") {
			return nil, nil, fmt.Errorf("it names %s: the parts lie beside the index",
				quote(fmt.Sprint(place)))
		}
		places[name] = file
		files = append(files, file)
	}
	slices.Sort(files)
	if files = slices.Compact(files); len(files) > maxShards {
		return nil, nil, fmt.Errorf("it names %d files, more than %d", len(files), maxShards)
	}
	return places, files, nil
}

var errNoWeights = errors.New("the folder holds no weights")

// otherWeightsIn finds the weights in a folder that has none under the usual names: the one file
// that could be some, such as minGPT's model.pt. The error says what the folder holds instead.
func otherWeightsIn(folder string) (string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return "", reason(err)
	}
	var names, found, parts []string
	for _, e := range entries {
		name := e.Name()
		names = append(names, name)
		kind, _, _ := strings.Cut(name, ".") // training programs put other files beside the weights
		besides := []string{"optimizer", "scheduler", "scaler", "training_args"}
		isWeights := slices.Contains([]string{".safetensors", ".bin", ".pt", ".pth", ".ckpt"},
			filepath.Ext(name)) || isIndex(name)
		switch {
		case !isWeights || !isFile(filepath.Join(folder, name)):
		case slices.Contains(besides, kind) || strings.HasPrefix(name, "rng_state"):
		case isPart(name):
			parts = append(parts, name)
		default:
			found = append(found, name)
		}
	}
	what := foreignForm(names, nil)
	switch {
	case what != "":
		return "", errors.New("it holds " + what)
	case len(found) == 1:
		return filepath.Join(folder, found[0]), nil
	case len(found) > 1:
		return "", fmt.Errorf("the folder holds several files that may be weights, %s and %s: "+
			"name one", quote(found[0]), quote(found[1]))
	case len(parts) > 0:
		return "", fmt.Errorf("the folder holds parts of a checkpoint, %s for one, but not their "+
			"index (….index.json)", quote(parts[0]))
	}
	var inside []string // a trainer's checkpoints, or the snapshots of a cache
	for _, name := range weightsNames {
		for _, pattern := range []string{"*/" + name, "*/snapshots/*/" + name} {
			matches, _ := fs.Glob(os.DirFS(folder), pattern)
			for _, match := range matches {
				sub, _, _ := strings.Cut(match, "/")
				inside = append(inside, quote(sub))
			}
		}
	}
	if len(inside) == 0 {
		return "", errNoWeights
	}
	slices.SortFunc(inside, func(a, b string) int { // checkpoint-500, checkpoint-1000
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	inside = slices.Compact(inside)
	return "", fmt.Errorf("the folder itself holds no weights, but what is in it does: name %s",
		strings.Join(inside[max(0, len(inside)-5):], " or "))
}

// nameOf is the name of the model in a file: the file's own without its extension, or, if that is a
// usual one, its folder's. In the Hugging Face cache that folder is a commit, and the name is the
// last part of models--OWNER--NAME above it.
func nameOf(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if base := filepath.Base(path); !hasUsualName(base) {
		return strings.TrimSuffix(base, filepath.Ext(base))
	}
	folder := filepath.Dir(path)
	if above := filepath.Dir(folder); filepath.Base(above) == "snapshots" {
		parts := strings.Split(filepath.Base(filepath.Dir(above)), "--")
		return parts[len(parts)-1]
	}
	return filepath.Base(folder)
}

// loadModel makes a GPT-2 of a checkpoint. The values are not looked at.
func loadModel(ck *Checkpoint, heads int) (*Model, error) {
	m, err := buildModel(ck, heads)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ck.source, err)
	}
	m.source, m.notes = ck.source, append(m.notes, ck.notes...)
	m.tokenizer = newTokenizer(ck.folder, ck.meta, m.vocab)
	if ck.torch > 0 {
		m.notes = append(m.notes, fmt.Sprintf("%s is a PyTorch file of %.1f MB, converted in "+
			"memory: `mechpatch convert` makes a file that opens at once", ck.source,
			float64(ck.torch)/1e6))
	}
	return m, nil
}

func buildModel(ck *Checkpoint, heads int) (*Model, error) {
	p, err := readParameters(ck, heads)
	if err != nil {
		return nil, err
	}
	m := &Model{Config: p.Config, Variant: p.Variant, headsAssumed: p.headsAssumed, notes: p.notes}
	usable, err := p.allUsable()
	if err != nil {
		return nil, err
	}
	var zeros []float32 // stand for biases that the model does without
	if !p.biases {
		zeros = make([]float32, max(3*p.width, p.inner))
	}
	vector := func(name string, n int) []float32 {
		t, ok := usable[name]
		if !ok {
			return zeros[:n]
		}
		return vectorOf(t)
	}
	norm := func(name string) Norm {
		return Norm{gain: vector(name+".weight", m.width), bias: vector(name+".bias", m.width)}
	}
	linear := func(name string) Linear {
		w := matrixOf(usable[name+".weight"])
		return Linear{w: w, b: vector(name+".bias", w.cols)}
	}
	m.wte, m.wpe = matrixOf(usable["wte.weight"]), matrixOf(usable["wpe.weight"])
	if t, ok := usable[lmHead]; ok {
		unembed := matrixOf(t)
		m.lmHead = &unembed
	}
	m.blocks, m.lnF = make([]Block, m.layers), norm("ln_f")
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
// ahead of time, by bring for each matrix. A first sweep with GPT-2 small takes an eighth less time
// for it, although the file is in the system's cache.
func (m *Model) prepareAhead(bring func(data []byte) byte) {
	for l := range m.blocks {
		b := &m.blocks[l]
		m.prepare = append(m.prepare, sync.OnceFunc(func() {
			for _, w := range []*Matrix{&b.attn.w, &b.attnProj.w, &b.fc.w, &b.mlpProj.w} {
				bring(w.bytes())
			}
		}))
	}
	unembed := m.unembed()
	m.prepare = append(m.prepare, sync.OnceFunc(func() { bring(unembed.bytes()) }))
	go m.prepare[0]()
}

// readParameters finds the GPT-2 in a checkpoint and settles its size and architecture.
func readParameters(ck *Checkpoint, heads int) (*Parameters, error) {
	if hasUsualName(ck.source) && ck.configErr != nil {
		return nil, ck.configErr
	}
	p, err := canonicalTensors(ck.tensors, ck.meta)
	if err != nil {
		return nil, err
	}
	if err := p.sizes(); err != nil {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	facts, other, err := p.facts(ck, heads)
	if err != nil {
		return nil, err
	}
	if p.Variant, err = p.variant(facts); err != nil {
		return nil, err
	}
	return p, p.settleHeads(facts, other)
}

// sizes reads the model's size off its tensors.
func (p *Parameters) sizes() error {
	for _, name := range []string{wteWeight, "wpe.weight"} {
		t, ok := p.tensors[name]
		if !ok {
			return fmt.Errorf("tensor %q is missing: a model with a position embedding other than "+
				"GPT-2's cannot be computed", name)
		}
		if len(t.shape) != 2 || t.shape[0] < 1 || t.shape[1] < 1 {
			return fmt.Errorf("tensor %q: its shape is %s and should be [rows, columns], neither "+
				"of them 0", name, shapeString(t.shape))
		}
	}
	wte, wpe := p.tensors[wteWeight], p.tensors["wpe.weight"]
	p.vocab, p.width, p.context = wte.shape[0], wte.shape[1], wpe.shape[0]
	layers := map[int]bool{}
	for name := range p.tensors {
		if l, _, ok := splitLayer(name); ok {
			layers[l] = true
		}
	}
	p.layers = max(1, len(layers)) // if one is absent, its tensors will be missed
	if fc := p.tensors["h.0.mlp.c_fc.weight"].shape; len(fc) == 2 {
		p.inner = fc[1]
		if p.turned {
			p.inner = fc[0]
		}
	}
	return nil
}

// facts brings together what the tensors, the file, the config.json beside it and the user say. A
// contradiction is an error. But beside a file without one of the usual names, a config.json of
// other sizes is about another model, and other says so.
func (p *Parameters) facts(ck *Checkpoint, heads int) (facts Facts, other string, err error) {
	facts = Facts{}
	for i, n := range []int{p.layers, p.width, p.context, p.vocab, p.inner} {
		facts[sizeKeys[i]] = Fact{n, "its tensors"}
	}
	err = cmp.Or(facts.readMetadata(ck.meta), facts.add(ck.facts), ck.factsErr)
	other = ck.config.otherThan(facts)
	if other == "" || hasUsualName(ck.source) {
		err = cmp.Or(err, facts.add(ck.config), ck.configErr)
		other = ""
	} else {
		p.notes = append(p.notes, "config.json is not heeded"+other)
	}
	if heads != 0 {
		err = cmp.Or(err, facts.put("n_head", heads, "-heads"))
	}
	return facts, other, err
}

// variant settles what the architecture has of its own.
func (p *Parameters) variant(facts Facts) (Variant, error) {
	_, untied := p.tensors[lmHead]
	tied, hf := facts["tie_word_embeddings"], facts["model_type"]
	switch {
	case untied && tied.value == true:
		return Variant{}, fmt.Errorf("tensor %q differs from %q, but %s says that they are one "+
			"(tie_word_embeddings): set it to false there for the file's two matrices, with which "+
			"transformers 5 computes, or take the former out of the file for the one of "+
			"transformers 4", lmHead, wteWeight, tied.from)
	case !untied && !p.headCopied && tied.value == false:
		return Variant{}, fmt.Errorf("tensor %q is missing, but %s says that it differs from "+
			"wte.weight (tie_word_embeddings)", lmHead, tied.from)
	case p.headAlone && (tied.value == false || tied.value == nil && hf.value == nil):
		return Variant{}, fmt.Errorf("tensor %q is missing, and nothing says that %q is the "+
			"same: a config.json beside the file can, by tie_word_embeddings", wteWeight, lmHead)
	}
	v, said := facts.variant()
	if by, ok := facts[scalingUnheeded]; ok {
		p.notes = append(p.notes, by.from+" scales attention otherwise, which transformers 4.44 "+
			"to 4.57 do not heed unless they are told to use eager attention: if the model was "+
			"trained so, take that out there")
	}
	if p.said = said; said {
		return v, nil
	}
	if !p.turned {
		if p.context != 1024 || p.vocab != 50257 || !openAIsWidth(p.width) {
			p.notes = append(p.notes, "nothing says what its activation function and its scaling "+
				"are: they are taken to be GPT-2's own")
		}
		return v, nil
	}
	// Weights that are nn.Linear's, and no word about the activation function: minGPT has an output
	// matrix of its own and saves its masks, and only nanoGPT does without biases.
	switch {
	case untied && p.biases && p.masks:
		v.activation = geluTanh
	case !p.biases:
		v.activation = geluExact
	default:
		return Variant{}, errors.New("the activation function is not known: weights like these " +
			"are nanoGPT's (gelu) or build-nanogpt's (gelu_new): put a config.json with " +
			"activation_function and n_head beside the file, or take the checkpoint as its " +
			"trainer saved it")
	}
	p.notes = append(p.notes, "nothing says what its activation function is: its weights look "+
		"like "+map[Activation]string{geluTanh: "minGPT's (gelu_new)",
		geluExact: "nanoGPT's (gelu)"}[v.activation])
	return v, nil
}

// settleHeads settles the number of attention heads, which no shape tells. Where nothing says it,
// heads are assumed to be 64 wide, at the widths of OpenAI's own models only.
func (p *Parameters) settleHeads(facts Facts, other string) error {
	said, ok := facts["n_head"]
	wide, isWide := facts[headWidth]
	unread, odd := facts[headsUnread]
	if d, _ := wide.value.(int); isWide && !ok && !odd {
		said, ok = Fact{p.width / d, wide.from}, p.width%d == 0
		unread, odd = wide, !ok
	}
	if !ok {
		if odd {
			return fmt.Errorf("the number of attention heads is not known, and what is said of "+
				"them in %s is not understood: say it as -heads N, or put a config.json with "+
				"n_head beside the file", unread.from)
		}
		if openAIsWidth(p.width) {
			p.heads, p.headsAssumed = p.width/64, true
			return nil
		}
		return fmt.Errorf("the number of attention heads is not known: say it as -heads N, or "+
			"put a config.json with n_head beside the file%s", other)
	}
	p.heads, _ = said.value.(int)
	if p.heads < 1 || p.width%p.heads != 0 {
		return fmt.Errorf("the width, %d, cannot be divided among %d heads, as %s says", p.width,
			p.heads, said.from)
	}
	return nil
}

// openAIsWidth tells the widths of OpenAI's own models.
func openAIsWidth(width int) bool { return slices.Contains([]int{768, 1024, 1280, 1600}, width) }

// param is a parameter that the model has: y = x·W + b, where W is [in, out], or turned, that is
// [out, in], in the file.
type param struct {
	name   string
	shape  []int
	turned bool
}

// list is all of them, in canonical order: perhaps without biases, perhaps with an lm_head.
func (p *Parameters) list() []param {
	d := p.width
	all := []param{
		{wteWeight, []int{p.vocab, d}, false}, {"wpe.weight", []int{p.context, d}, false},
	}
	add := func(name string, shape ...int) {
		all = append(all, param{name + ".weight", shape, p.turned && len(shape) == 2})
		if p.biases {
			all = append(all, param{name + ".bias", shape[len(shape)-1:], false})
		}
	}
	for l := range p.layers {
		h := fmt.Sprintf("h.%d.", l)
		add(h+"ln_1", d)
		add(h+"attn.c_attn", d, 3*d)
		add(h+"attn.c_proj", d, d)
		add(h+"ln_2", d)
		add(h+"mlp.c_fc", d, p.inner)
		add(h+"mlp.c_proj", p.inner, d)
	}
	add("ln_f", d)
	if _, ok := p.tensors[lmHead]; ok {
		all = append(all, param{lmHead, []int{p.vocab, d}, false})
	}
	return all
}

// check holds the tensors against the list of what there must be, and nothing else.
func (p *Parameters) check() error {
	known := map[string]bool{}
	for _, q := range p.list() {
		known[q.name] = true
		t, ok := p.tensors[q.name]
		if !ok {
			return fmt.Errorf("tensor %q is missing", q.name)
		}
		want := slices.Clone(q.shape)
		if q.turned {
			slices.Reverse(want)
		}
		if !slices.Equal(t.shape, want) {
			return fmt.Errorf("tensor %q: its shape is %s and should be %s", q.name,
				shapeString(t.shape), shapeString(want))
		}
		if _, ok := formatOf(t.format); !ok && t.format != "F64" {
			return fmt.Errorf("tensor %q: its numbers are %s, as in a quantized model: only F32, "+
				"F16, BF16 and F64 can be used", q.name, t.format)
		}
	}
	for _, name := range sortedKeys(p.tensors) {
		if !known[name] {
			return unknownTensor(name)
		}
	}
	return nil
}

// allUsable returns the parameters as the model needs them, by name.
func (p *Parameters) allUsable() (map[string]Tensor, error) {
	all := p.list()
	need := uint64(4 * max(3*p.width, p.inner)) // one row of activations, which every run has
	for _, q := range all {
		need += p.copied(q)
	}
	if err := enoughMemory(need, "making a model of it"); err != nil {
		return nil, err
	}
	tensors, errs := make([]Tensor, len(all)), make([]error, len(all))
	parallel(len(all), func(i int) { tensors[i], errs[i] = p.usable(all[i]) })
	byName := make(map[string]Tensor, len(all))
	for i, q := range all {
		if errs[i] != nil {
			return nil, errs[i]
		}
		byName[q.name] = tensors[i]
	}
	return byName, nil
}

// copied is how many bytes of memory a parameter takes that cannot be used where it lies.
func (p *Parameters) copied(q param) uint64 {
	t := p.tensors[q.name]
	switch {
	case t.format == "F64" || q.turned:
		return uint64(len(t.data))
	case len(q.shape) == 1 && t.format != "F32": // vectors are widened
		return 2 * uint64(len(t.data))
	}
	return 0
}

// usable returns a parameter as the model needs it: [in, out], in F32, F16 or BF16. Its data stay
// where they lie in the file, unless they have to be turned or rounded.
func (p *Parameters) usable(q param) (Tensor, error) {
	t := p.tensors[q.name]
	if t.format == "F64" {
		data := make([]byte, 0, len(t.data)/2)
		for in := range slices.Chunk(t.data, 8) {
			x := math.Float64frombits(binary.LittleEndian.Uint64(in))
			y := float32(x)
			if math.IsInf(float64(y), 0) && !math.IsInf(x, 0) {
				return t, fmt.Errorf("tensor %q: the weight %g is too large for F32", q.name, x)
			}
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(y))
		}
		t.format, t.data = "F32", data
	}
	if q.turned {
		format, _ := formatOf(t.format)
		t.data = turned(t.data, t.shape[0], t.shape[1], int(bytesOf(format)))
		t.shape = q.shape
	}
	return t, nil
}

// turned returns the transpose of a matrix [rows, cols] whose numbers have size bytes, 4 or 2. It
// goes by blocks of 16 × 16, of which both sides stay in the cache.
func turned(data []byte, rows, cols, size int) []byte {
	const block = 16
	out := make([]byte, len(data))
	for r0 := 0; r0 < rows; r0 += block {
		for c0 := 0; c0 < cols; c0 += block {
			for c := c0; c < min(c0+block, cols); c++ {
				for r := r0; r < min(r0+block, rows); r++ {
					to, from := out[(c*rows+r)*size:], data[(r*cols+c)*size:]
					if size == 4 {
						binary.NativeEndian.PutUint32(to, binary.NativeEndian.Uint32(from))
					} else {
						binary.NativeEndian.PutUint16(to, binary.NativeEndian.Uint16(from))
					}
				}
			}
		}
	}
	return out
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

func bytesOf(f Format) int64 {
	if f == f32 {
		return 4
	}
	return 2
}

// matrixOf makes a Matrix of a checked tensor [rows, cols], in its format.
func matrixOf(t Tensor) Matrix {
	m := Matrix{rows: t.shape[0], cols: t.shape[1]}
	m.format, _ = formatOf(t.format)
	if m.format == f32 {
		m.f32 = littleEndians[float32](t.data)
	} else {
		m.half = littleEndians[uint16](t.data)
	}
	return m
}

// vectorOf makes float32s of a checked tensor [d]; 16-bit numbers are widened, each to exactly its
// value.
func vectorOf(t Tensor) []float32 {
	format, _ := formatOf(t.format)
	if format == f32 {
		return littleEndians[float32](t.data)
	}
	v := make([]float32, t.shape[0])
	row := Matrix{rows: 1, cols: len(v), half: littleEndians[uint16](t.data), format: format}
	row.row(v, 0)
	return v
}

// littleEndians returns data as numbers, in place where this machine can use them so. A safetensors
// header need not be padded, so they may begin at any byte: those of GPT-2's own published file
// begin one byte short of a multiple of 4.
func littleEndians[T float32 | uint16](data []byte) []T {
	size := int(unsafe.Sizeof(T(0)))
	first := unsafe.Pointer(unsafe.SliceData(data))
	if littleEndian && (anyAddress || uintptr(first)%uintptr(size) == 0) {
		return unsafe.Slice((*T)(first), len(data)/size)
	}
	numbers := make([]T, len(data)/size)
	binary.Read(bytes.NewReader(data), binary.LittleEndian, numbers)
	return numbers
}

// littleEndian tells this machine's byte order, and anyAddress whether it loads numbers from any
// address, as amd64 and arm64 do. (Go allows unaligned pointers to memory that holds no pointers.)
var (
	littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1
	anyAddress   = runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64"
)

// metadata is what a checkpoint with canonical tensors has to say about the model, by config.json's
// keys: not what OpenAI's GPT-2 does, nor what is only assumed.
func (p *Parameters) metadata() map[string]string {
	said := map[string]string{}
	if !p.headsAssumed {
		said["n_head"] = strconv.Itoa(p.heads)
	}
	if p.said || p.activation != geluTanh {
		said["activation_function"] = [...]string{"gelu_new", "gelu", "relu"}[p.activation]
	}
	if p.epsilon != openAIs.epsilon {
		said["layer_norm_epsilon"] = fmt.Sprint(p.epsilon)
	}
	if p.unscaled {
		said["scale_attn_weights"] = "false"
	}
	if p.byLayer {
		said["scale_attn_by_inverse_layer_idx"] = "true"
	}
	return said
}
