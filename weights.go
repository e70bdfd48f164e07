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
	release []func() error    // end the mappings; nil where the data is ordinary memory

	torch  int64  // the size of a PyTorch file in bytes; 0 for safetensors
	folder string // where a config.json and a vocabulary may lie; "" for weights in a program
	facts  Facts  // what the file itself says about the model, and what lies beside it,
	config Facts  // and what the config.json there says
}

// close gives the file's memory back. Nothing that was made of the checkpoint, such as a Model, may
// be used after it.
func (ck *Checkpoint) close() (err error) {
	for _, release := range ck.release {
		err = errors.Join(err, release())
	}
	ck.tensors, ck.release = nil, nil
	return err
}

// openModel opens the weights in a file: safetensors, PyTorch's, or the index of a checkpoint in
// several files; or the safetensors file that is length bytes of it from offset on (0, 0 is the
// whole file). heads is the number of attention heads if the user says it, or else 0.
//
// Matrices are used where they lie in the checkpoint's files, if they lie there as they are needed:
// it must stay open as long as the model is used.
func openModel(path string, offset, length int64, heads int) (m *Model, ck *Checkpoint, err error) {
	ck, err = openCheckpoint(path, offset, length)
	if err != nil {
		return nil, nil, err
	}
	if m, err = loadModel(ck, heads); err != nil {
		ck.close()
	}
	return m, ck, err
}

// openCheckpoint opens a file of weights of any kind, with what lies beside it.
func openCheckpoint(path string, offset, length int64) (ck *Checkpoint, err error) {
	switch {
	case offset != 0 || length != 0: // weights bundled into a program
		return openFile(path, offset, length)
	case isIndex(path):
		ck, err = openShards(path)
	case isPart(path):
		err = fmt.Errorf("%s: this is one part of a checkpoint in several: name its index "+
			"(….index.json), or the folder with all of them", path)
	default:
		ck, err = openFile(path, 0, -1)
	}
	if err == nil {
		ck.folder = filepath.Dir(path)
		ck.lookAround()
	}
	return ck, err
}

// lookAround reads the config.json beside the weights, and notes what else is there that may belong
// to the model: an adapter, other weights, and a configuration that nobody reads.
func (ck *Checkpoint) lookAround() {
	beside := func(name string) ([]byte, error) {
		return readBounded(filepath.Join(ck.folder, name), 1<<20)
	}
	switch data, err := beside(configJSON); {
	case err == nil:
		ck.config = parseConfig(data)
	case !errors.Is(err, fs.ErrNotExist):
		ck.config.fault = reason(err)
	}
	within := os.DirFS(ck.folder)
	names, _ := fs.Glob(within, "*")
	configs, _ := fs.Glob(within, "configs/*.*")
	adapters, _ := fs.Glob(within, "*/adapter_config.json")
	names = slices.Concat(adapters[:min(1, len(adapters))], names, configs,
		[]string{".hydra/config.yaml", "../hparams.yaml"})
	if ck.config.said == nil {
		names = append(names, "../config.json")
	}
	for _, name := range names {
		isConfig := isCalled(name, "*.y*ml *.toml *config*.json *config*.py *cfg.json *args.json "+
			"*args.txt *param*.json") || strings.HasPrefix(name, "configs/")
		switch {
		case isCalled(name, "adapter_config.json"):
			ck.facts.note("an adapter lies beside %s: it is not applied (%s)", ck.source,
				quote(name))
		case isWeights(name):
			isOther := !hasUsualName(name) && !isPart(name) && name != filepath.Base(ck.source)
			if isOther && (hasUsualName(ck.source) ||
				partOf("_"+name, "_ema .ema _swa _head lora adapter") != "") {
				ck.facts.note("%s beside %s is not used", quote(name), ck.source)
			}
		case isConfig && partOf("^"+name, "^config.json vocab token .index.") == "":
			data, _ := beside(name)
			if word := wordIn(string(data)); word != "" {
				ck.facts.note("%s beside %s speaks of %s and is not read: only a config.json is",
					quote(name), ck.source, word)
			}
		}
	}
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
	ck := &Checkpoint{source: path}
	if release != nil {
		ck.release = []func() error{release}
	}
	if err := caught(func() { ck.parse(data, offset == 0) }); err != nil {
		ck.close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return ck, nil
}

// parse reads what a file holds: tensors, and what stands around them. named says that its name
// tells what it is.
func (ck *Checkpoint) parse(data []byte, named bool) {
	head, names := data[:min(64, len(data))], []string{}
	if named {
		names = []string{filepath.Base(ck.source)}
	}
	torch, safetensors := isTorch(head), len(head) > 8 && head[8] == '{'
	if torch || safetensors {
		head = nil
	}
	if foreign := foreignForm(names, head); foreign != "" {
		fail("this is %s", foreign)
	}
	if !torch {
		var err error
		ck.tensors, ck.meta, err = parseSafetensors(data)
		try(err)
		ck.facts.readMetadata(ck.meta)
		return
	}
	tree := get(parseTorch(data))
	state, passedOver := stateDict(tree)
	if passedOver != "" {
		ck.facts.note("not used, though it lies beside the model in the file: %s", passedOver)
	}
	ck.tensors = get(tensorsOf(state, len(data)))
	ck.torch = int64(len(data))
	ck.facts.read(tree, inItself)
}

const weightsFile = "model.safetensors"

// weightsNames are the usual names of a checkpoint in a folder or a repository, the one that is
// taken first, first. An index names the files that a large checkpoint is divided into.
var weightsNames = []string{
	weightsFile, weightsFile + ".index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
}

// isCalled tells whether one of some patterns, between blanks, fits the name of a file.
func isCalled(path, patterns string) bool {
	return slices.ContainsFunc(strings.Fields(patterns), func(pattern string) bool {
		ok, _ := filepath.Match(pattern, filepath.Base(path))
		return ok
	})
}

// hasUsualName tells whether a config.json beside a file is certainly about it.
func hasUsualName(path string) bool {
	return isCalled(path, "model.safetensors pytorch_model.bin model.pt "+
		"model-00001-of-00001.safetensors pytorch_model-00001-of-00001.bin "+
		"model.safetensors.index*.json pytorch_model.bin.index*.json") // perhaps fp16's
}

// isIndex knows an index by its name: model.safetensors.index.json, or with a variant before .json.
func isIndex(path string) bool { return isCalled(path, "*.index*.json") }

// isPart knows one of several parts: model-00001-of-00002.safetensors. One of one is whole.
func isPart(path string) bool {
	return isCalled(path, "*-[0-9]????-of-[0-9]????.*") && !isCalled(path, "*-00001-of-00001.*")
}

// isWeights tells whether a file's name is that of weights, and not of what training programs put
// beside them.
func isWeights(path string) bool {
	return isCalled(path, "*.safetensors *.bin *.pt *.pth *.ckpt") &&
		!isCalled(path, "optimizer* scheduler* scaler* training_args* rng_state* random_states*")
}

// openShards opens a checkpoint in several files by its index.
func openShards(path string) (all *Checkpoint, err error) {
	places, files, err := readIndex(path)
	if err != nil {
		return nil, err
	}
	all = &Checkpoint{source: path, meta: map[string]string{}}
	in := map[string]string{} // the file of each tensor
	for _, file := range files {
		part, err := openFile(filepath.Join(filepath.Dir(path), file), 0, -1)
		if err != nil {
			all.close()
			return nil, err
		}
		for _, t := range part.tensors {
			in[t.name] = cmp.Or(in[t.name], file)
		}
		all.release = append(all.release, part.release...)
		all.tensors = append(all.tensors, part.tensors...)
		all.torch += part.torch
		maps.Copy(all.meta, part.meta)
		all.facts.add(part.facts)
	}
	for _, name := range sortedKeys(places) {
		if in[name] != places[name] {
			all.close()
			return nil, fmt.Errorf("%s: tensor %s is not in %s, where the index has it", path,
				quote(name), quote(places[name]))
		}
	}
	return all, nil
}

// readIndex reads the index of a checkpoint in several files: the file of each tensor, and all
// files. They lie beside the index.
func readIndex(path string) (places map[string]string, files []string, err error) {
	data, err := readBounded(path, 16<<20)
	if err == nil {
		places, files, err = parseIndex(data)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", path, reason(err))
	}
	return places, files, err
}

const maxShards = 1000 // files

// parseIndex reads {"weight_map": {tensor: file}}.
func parseIndex(data []byte) (places map[string]string, files []string, err error) {
	defer catchFault(&err)
	in := asMap(get(parseJSON(data))["weight_map"], "weight_map", as[string])
	all := slices.Compact(slices.Sorted(maps.Values(in)))
	require(len(all) > 0, "not an index of a checkpoint: it has no weight_map")
	require(len(all) <= maxShards, "it names %d files, more than %d", len(all), maxShards)
	for _, file := range all {
		require(file != "" && file[0] != '.' && !strings.ContainsAny(file, "/\\:\x00"),
			"it names %s: the parts lie beside the index", quote(file))
	}
	return in, all, nil
}

var errNoWeights = errors.New("the folder holds no weights")

// otherWeightsIn finds the weights in a folder that has none under the usual names: the one file
// that could be some, such as minGPT's model.pt. The error says what the folder holds instead.
func otherWeightsIn(folder string) (string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return "", reason(err)
	}
	var names, found []string
	for _, e := range entries {
		name := e.Name()
		names = append(names, name)
		if (isWeights(name) || isIndex(name)) && isFile(filepath.Join(folder, name)) {
			found = append(found, name)
		}
	}
	whole := slices.DeleteFunc(slices.Clone(found), isPart)
	switch what := foreignForm(names, nil); {
	case what != "":
		return "", errors.New("it holds " + what)
	case len(whole) == 1:
		return filepath.Join(folder, whole[0]), nil
	case len(whole) > 1:
		return "", fmt.Errorf("the folder holds several files that may be weights, %s and %s: "+
			"name one", quote(whole[0]), quote(whole[1]))
	case len(found) > 0:
		return "", fmt.Errorf("the folder holds parts of a checkpoint, %s for one, but not their "+
			"index (….index.json)", quote(found[0]))
	}
	var inside []string // a trainer's checkpoints, or the snapshots of a cache
	for _, name := range weightsNames {
		for _, place := range []string{"*/", "*/snapshots/*/"} {
			matches, _ := fs.Glob(os.DirFS(folder), place+name)
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
func loadModel(ck *Checkpoint, heads int) (m *Model, err error) {
	defer catchFault(&err)
	p := readParameters(ck, heads)
	within(ck.source, p.fill)
	m = p.Model
	m.source, m.tokenizer = ck.source, &tokenizer{folder: ck.folder, meta: ck.meta}
	if ck.torch > 0 {
		m.notes = append(m.notes, fmt.Sprintf("%s is a PyTorch file of %.1f MB, converted in "+
			"memory: `mechpatch convert` makes a file that opens at once", ck.source,
			float64(ck.torch)/1e6))
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
func readParameters(ck *Checkpoint, heads int) (p *Parameters) {
	within(ck.source, func() {
		if hasUsualName(ck.source) {
			try(ck.config.fault)
		}
		p = canonicalTensors(ck.tensors, ck.meta)
		p.sizes()
		p.check()
		facts, other := p.facts(ck, heads)
		p.settleVariant(facts)
		p.settleHeads(facts, other)
	})
	return p
}

// sizes reads the model's size off its tensors.
func (p *Parameters) sizes() {
	size := func(name string) (rows, columns int) {
		t, ok := p.tensors[name]
		require(ok, "tensor %q is missing: a model with a position embedding other than GPT-2's "+
			"cannot be computed", name)
		require(len(t.shape) == 2 && t.shape[0] > 0 && t.shape[1] > 0, "tensor %q: its shape is "+
			"%s and should be [rows, columns], neither of them 0", name, shapeString(t.shape))
		return t.shape[0], t.shape[1]
	}
	p.vocab, p.width = size(wteWeight)
	p.context, _ = size("wpe.weight")
	layers := map[int]bool{}
	for name := range p.tensors {
		if l, _, ok := splitLayer(name); ok {
			layers[l] = true
		}
	}
	p.layers = max(1, len(layers)) // if one is absent, its tensors will be missed
	p.blocks = make([]Block, p.layers)
	if fc := p.tensors["h.0.mlp.c_fc.weight"].shape; len(fc) == 2 {
		p.inner = fc[1]
		if p.turned {
			p.inner = fc[0]
		}
	}
	if _, ok := p.tensors[lmHead]; ok {
		p.lmHead = new(Matrix)
	}
}

// facts brings together what the tensors, the file, the config.json beside it and the user say. But
// beside a file without one of the usual names, a config.json of other sizes is about another
// model, and other says so.
func (p *Parameters) facts(ck *Checkpoint, heads int) (facts Facts, other string) {
	for i, n := range []int{p.layers, p.width, p.context, p.vocab, p.inner} {
		key, _, _ := strings.Cut(keyTable[i].names, " ")
		facts.put(key, n, "its tensors")
		said, ok := ck.config.said[key]
		if ok && said.value != n && other == "" && !hasUsualName(ck.source) {
			other = fmt.Sprintf(" (the config.json there is about another model: its %s is %v, "+
				"not %v)", key, said.value, n)
		}
	}
	facts.add(ck.facts)
	if other == "" {
		facts.add(ck.config)
	} else {
		facts.note("config.json is not heeded%s", other)
	}
	if heads != 0 {
		facts.put("n_head", heads, "-heads")
	}
	try(facts.fault)
	return facts, other
}

// settleVariant settles what the architecture has of its own.
func (p *Parameters) settleVariant(facts Facts) {
	said := func(key string) any { return facts.said[key].value }
	untied := p.lmHead != nil
	tied, from := said("tie_word_embeddings"), facts.said["tie_word_embeddings"].from
	switch {
	case untied && tied == true:
		fail("tensor %q differs from %q, but %s says that they are one (tie_word_embeddings): set "+
			"it to false there for the file's two matrices, with which transformers 5 computes, "+
			"or take the former out of the file for the one of transformers 4", lmHead, wteWeight,
			from)
	case !untied && !p.headCopied && tied == false:
		fail("tensor %q is missing, but %s says that it differs from wte.weight "+
			"(tie_word_embeddings)", lmHead, from)
	case p.headAlone && tied != true && (tied == false || said("model_type") == nil):
		fail("tensor %q is missing, and nothing says that %q is the same: a config.json beside "+
			"the file can, by tie_word_embeddings", wteWeight, lmHead)
	}
	p.Variant = openAIs
	p.unscaled = said("scale_attn_weights") == false
	p.byLayer = said("scale_attn_by_inverse_layer_idx") == true
	if epsilon, ok := said("layer_norm_epsilon").(float64); ok {
		p.epsilon = epsilon
	}
	// Weights that are nn.Linear's, and no word about the activation function: minGPT has an output
	// matrix of its own and saves its masks, and only nanoGPT does without biases.
	name, isSaid := said("activation_function").(string)
	p.said, p.activation = isSaid, activations[name]
	const unsaid = "nothing says what its activation function is: its weights look like "
	switch openAIsSizes := p.context == 1024 && p.vocab == 50257 && isOpenAIs(p.width); {
	case isSaid, !p.turned && openAIsSizes:
	case !p.turned:
		facts.note("nothing says what its activation function, its epsilon and its scaling are: " +
			"they are taken to be GPT-2's own")
	case untied && p.biases && p.masks:
		facts.note(unsaid + "minGPT's (gelu_new)")
	case !p.biases:
		p.activation = geluExact
		facts.note(unsaid + "nanoGPT's (gelu)")
	default:
		fail("the activation function is not known: weights like these are nanoGPT's (gelu) or " +
			"build-nanogpt's (gelu_new): put a config.json with activation_function and n_head " +
			"beside the file, or take the checkpoint as its trainer saved it")
	}
	p.notes = append(p.notes, facts.notes...)
}

// settleHeads settles the number of attention heads, which no shape tells. Where nothing says how
// many there are, their width does. Where nothing is said of them at all, they are assumed to be 64
// wide, at the widths of OpenAI's own models only.
func (p *Parameters) settleHeads(facts Facts, other string) {
	if said, ok := facts.said["n_head"]; ok {
		p.heads = said.value.(int)
		require(p.heads > 0 && p.width%p.heads == 0, "the width, %d, cannot be divided among %d "+
			"heads, as %s says", p.width, p.heads, said.from)
		return
	}
	for _, wide := range facts.heads {
		d := wide.value.(int)
		require(d > 0 && p.width%d == 0 && (p.heads == 0 || p.heads == p.width/d), "the number "+
			"of attention heads is not known, and what is said of them in %s is not understood: "+
			"say it as -heads N, or put a config.json with n_head beside the file", wide.from)
		p.heads = p.width / d
	}
	switch {
	case p.heads > 0:
	case isOpenAIs(p.width):
		p.heads, p.headsAssumed = p.width/64, true
	default:
		fail("the number of attention heads is not known: say it as -heads N, or put a "+
			"config.json with n_head beside the file%s", other)
	}
}

// isOpenAIs tells the widths of OpenAI's own models.
func isOpenAIs(width int) bool { return slices.Contains([]int{768, 1024, 1280, 1600}, width) }

// param is a parameter that the model has: y = x·W + b, where W is [in, out], or turned, that is
// [out, in], in the file.
type param struct {
	name   string
	shape  []int
	turned bool
	into   any // its place in the model: *Matrix or *[]float32
}

// list is all of them, in canonical order, perhaps with an lm_head. Biases that the file does
// without are zeros in the model.
func (p *Parameters) list() (all []param) {
	d := p.width
	add := func(name string, into any, bias *[]float32, shape ...int) {
		isLinear := bias != nil && len(shape) == 2
		all = append(all, param{name + ".weight", shape, p.turned && isLinear, into})
		switch n := shape[len(shape)-1]; {
		case bias == nil:
		case p.biases:
			all = append(all, param{name + ".bias", []int{n}, false, bias})
		default:
			*bias = make([]float32, n)
		}
	}
	add("wte", &p.wte, nil, p.vocab, d)
	add("wpe", &p.wpe, nil, p.context, d)
	for l := range p.blocks {
		b, h := &p.blocks[l], fmt.Sprintf("h.%d.", l)
		add(h+"ln_1", &b.ln1.gain, &b.ln1.bias, d)
		add(h+"attn.c_attn", &b.attn.w, &b.attn.b, d, 3*d)
		add(h+"attn.c_proj", &b.attnProj.w, &b.attnProj.b, d, d)
		add(h+"ln_2", &b.ln2.gain, &b.ln2.bias, d)
		add(h+"mlp.c_fc", &b.fc.w, &b.fc.b, d, p.inner)
		add(h+"mlp.c_proj", &b.mlpProj.w, &b.mlpProj.b, p.inner, d)
	}
	add("ln_f", &p.lnF.gain, &p.lnF.bias, d)
	if p.lmHead != nil {
		add("lm_head", p.lmHead, nil, p.vocab, d)
	}
	return all
}

// check holds the tensors against the list of what there must be, and nothing else.
func (p *Parameters) check() {
	known := map[string]bool{}
	for _, q := range p.list() {
		known[q.name] = true
		t, ok := p.tensors[q.name]
		require(ok, "tensor %q is missing", q.name)
		want := slices.Clone(q.shape)
		if q.turned {
			slices.Reverse(want)
		}
		require(slices.Equal(t.shape, want), "tensor %q: its shape is %s and should be %s", q.name,
			shapeString(t.shape), shapeString(want))
		_, ok = formatOf(t.format)
		require(ok || t.format == "F64", "tensor %q: its numbers are %s, as in a quantized model: "+
			"only F32, F16, BF16 and F64 can be used", q.name, t.format)
	}
	for _, name := range sortedKeys(p.tensors) {
		if !known[name] {
			failUnknown(name)
		}
	}
}

// fill brings the parameters into the model.
func (p *Parameters) fill() {
	all := p.list()
	need := uint64(4 * max(3*p.width, p.inner)) // one row of activations, which every run has
	for _, q := range all {
		need += p.copied(q)
	}
	try(enoughMemory(need, "making a model of it"))
	errs := make([]error, len(all))
	parallel(len(all), func(i int) {
		m, err := p.matrix(all[i])
		switch into := all[i].into.(type) {
		case *Matrix:
			*into = m
		case *[]float32: // 16-bit numbers are widened, each to exactly its value
			if *into = m.f32; m.format != f32 {
				*into = make([]float32, m.cols)
				m.row(*into, 0)
			}
		}
		errs[i] = err
	})
	try(cmp.Or(errs...))
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

// matrix is a parameter as the model needs it: [in, out], or for a vector one row, in F32, F16 or
// BF16. The numbers stay where they lie in the file, unless they have to be turned or rounded.
func (p *Parameters) matrix(q param) (Matrix, error) {
	t := p.tensors[q.name]
	m := Matrix{rows: 1, cols: q.shape[len(q.shape)-1]}
	if len(q.shape) == 2 {
		m.rows = q.shape[0]
	}
	m.format, _ = formatOf(t.format)
	switch {
	case t.format == "F64": // to F32
		m.f32 = make([]float32, m.rows*m.cols)
		for i, x := range littleEndians[float64](t.data) {
			m.f32[i] = float32(x)
			if math.IsInf(float64(m.f32[i]), 0) && !math.IsInf(x, 0) {
				return m, fmt.Errorf("tensor %q: the weight %g is too large for F32", q.name, x)
			}
		}
	case m.format == f32:
		m.f32 = littleEndians[float32](t.data)
	default:
		m.half = littleEndians[uint16](t.data)
	}
	if q.turned {
		m.f32, m.half = turned(m.f32, m.cols, m.rows), turned(m.half, m.cols, m.rows)
	}
	return m, nil
}

// turned is the transpose of a matrix [rows, cols], nil of nil. It goes by blocks of 16 × 16, of
// which both sides stay in the cache.
func turned[T any](in []T, rows, cols int) []T {
	if in == nil {
		return nil
	}
	const block = 16
	out := make([]T, len(in))
	for r0 := 0; r0 < rows; r0 += block {
		for c0 := 0; c0 < cols; c0 += block {
			for c := c0; c < min(c0+block, cols); c++ {
				for r := r0; r < min(r0+block, rows); r++ {
					out[c*rows+r] = in[r*cols+c]
				}
			}
		}
	}
	return out
}

// formatOf returns the Format that a checkpoint spells as s; f32 if there is none.
func formatOf(s string) (Format, bool) {
	i := slices.Index([]string{"F32", "F16", "BF16"}, s)
	return Format(max(0, i)), i >= 0
}

// littleEndians is data as numbers, in place where this machine can use them so. A safetensors
// header need not be padded, so they may begin at any byte: those of GPT-2's own published file
// begin one byte short of a multiple of 4.
func littleEndians[T uint16 | float32 | float64](data []byte) []T {
	size := int(unsafe.Sizeof(T(0)))
	if inPlace {
		return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(data))), len(data)/size)
	}
	numbers := make([]T, len(data)/size)
	binary.Read(bytes.NewReader(data), binary.LittleEndian, numbers)
	return numbers
}

// inPlace tells a processor that is little-endian and loads numbers from any address. (Go allows
// unaligned pointers to memory that holds no pointers.)
var inPlace = runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64"

// metadata is what a checkpoint with canonical tensors has to say about the model, by config.json's
// keys: not what OpenAI's GPT-2 does, nor what is only assumed.
func (p *Parameters) metadata() map[string]string {
	said := map[string]string{}
	for _, s := range []struct {
		is         bool
		key, value string
	}{
		{!p.headsAssumed, "n_head", strconv.Itoa(p.heads)},
		{p.said || p.activation != geluTanh, "activation_function",
			[...]string{"gelu_new", "gelu", "relu"}[p.activation]},
		{p.epsilon != openAIs.epsilon, "layer_norm_epsilon", fmt.Sprint(p.epsilon)},
		{p.unscaled, "scale_attn_weights", "false"},
		{p.byLayer, "scale_attn_by_inverse_layer_idx", "true"},
	} {
		if s.is {
			said[s.key] = s.value
		}
	}
	return said
}
