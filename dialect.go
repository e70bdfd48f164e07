package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// How trainers name, turn and split the tensors of a GPT-2, and what they say about it beside them.
//
//	                 linear weights   output matrix          beside the tensors
//	Hugging Face     [in, out]        tied                   config.json
//	minGPT           [out, in]        of its own             perhaps config.json, {"model": {…}}
//	nanoGPT          [out, in]        tied                   model_args; exact GELU
//	build-nanogpt    [out, in]        tied                   config, an object
//
// Wrappers put a prefix before every name (module., model., _orig_mod.), and training programs put
// the state dict into a dict, next to the optimizer's state and, at any depth and in any form, to
// what the model was made from. That is read wherever it stands: as much as transformers, minGPT
// and nanoGPT would heed of it, and what cannot be read or computed is an error.

// Parameters are the tensors of a GPT-2 by canonical name, as the file holds them, and the model
// that is made of them, with all that is known of it.
type Parameters struct {
	*Model
	tensors    map[string]Tensor // lm_head.weight only where it is not tied to wte.weight
	inner      int               // the width of the MLPs
	turned     bool              // linear weights are [out, in] in the file: PyTorch's nn.Linear
	biases     bool              // there are biases
	said       bool              // something says which activation function it has
	headCopied bool              // the file has an lm_head, but it is wte again
	headAlone  bool              // the file has an lm_head, but no wte
	masks      bool              // there are causal masks, as minGPT saves them
}

const (
	wteWeight = "wte.weight"
	lmHead    = "lm_head.weight"
)

// unwrapped takes away what wrappers of PyTorch's put between the parts of a name.
var unwrapped = strings.NewReplacer("_orig_mod.", "", "_fsdp_wrapped_module.", "",
	"_checkpoint_wrapped_module.", "").Replace

// canonicalTensors finds the GPT-2 among a checkpoint's tensors: what stands before wte.weight
// stands before all its names. Masks and a tied lm_head are taken away. A tensor that is left over,
// such as an adapter's, is an error: the checkpoint is not the GPT-2 that it looks like.
func canonicalTensors(tensors []Tensor, meta map[string]string) *Parameters {
	inFile := map[string]Tensor{}
	for _, t := range tensors {
		name := unwrapped(t.name)
		_, twice := inFile[name]
		require(!twice, "tensor %s comes twice", quote(name))
		inFile[name] = t
	}
	all := maps.Clone(inFile)
	for _, alias := range sortedKeys(meta) { // of tied names, safetensors' save_model keeps one
		t, ok := inFile[unwrapped(meta[alias])]
		if _, there := inFile[unwrapped(alias)]; ok && !there {
			all[unwrapped(alias)] = t
		}
	}
	names := sortedKeys(all)
	require(len(names) > 0, "it holds no tensors")
	for _, kind := range foreignTensors {
		for _, name := range names {
			require(partOf("."+name+".", kind.parts) == "", "tensor %s: %s", quote(name), kind.what)
		}
	}
	p := &Parameters{Model: &Model{}, tensors: map[string]Tensor{}}
	prefix := p.findPrefix(all)
	for _, name := range sortedKeys(all) {
		rest, ok := strings.CutPrefix(name, prefix)
		outer, isHead := strings.CutSuffix(name, lmHead)
		_, inLayer, _ := splitLayer(rest)
		beside := partOf("^."+name+".$", besideTensors)
		switch {
		case isHead && strings.HasPrefix(prefix, outer):
			_, twice := p.tensors[lmHead]
			require(!twice, "tensor %s comes twice", quote(lmHead))
			p.tensors[lmHead] = all[name]
		case ok && (inLayer == "attn.bias" || inLayer == "attn.masked_bias"):
			require(inLayer == "attn.masked_bias" || isCausal(all[name]), "tensor %s: a mask "+
				"other than GPT-2's, by which a position attends to all before it and none behind",
				quote(name))
			p.masks = true
		case beside != "":
			p.notes = append(p.notes, strings.Trim(beside, "^.$")+
				", which is not GPT-2's, is left out")
		case ok:
			p.tensors[rest] = all[name]
			p.biases = p.biases || strings.HasSuffix(rest, ".bias")
		default:
			failUnknown(name)
		}
	}
	p.notes = slices.Compact(slices.Sorted(slices.Values(p.notes)))
	wte := p.tensors[wteWeight]
	if lm, ok := p.tensors[lmHead]; ok && lm.format == wte.format &&
		slices.Equal(lm.shape, wte.shape) && bytes.Equal(lm.data, wte.data) {
		delete(p.tensors, lmHead)
		p.headCopied = true
	}
	attn := p.tensors["h.0.attn.c_attn.weight"].shape
	p.turned = len(attn) == 2 && len(wte.shape) == 2 && attn[1] == wte.shape[1] &&
		attn[0] != attn[1]
	return p
}

// findPrefix finds what stands before all names. Where the file has lm_head.weight and no
// wte.weight, that is put among the tensors as wte.weight too.
func (p *Parameters) findPrefix(all map[string]Tensor) string {
	names := sortedKeys(all)
	before := func(end string) (prefixes []string) {
		for _, name := range names {
			prefix, ok := strings.CutSuffix(name, end)
			if ok && strings.HasSuffix("."+prefix, ".") {
				prefixes = append(prefixes, prefix)
			}
		}
		return prefixes
	}
	tables, heads, positions := before(wteWeight), before(lmHead), before("wpe.weight")
	if len(tables) == 0 && len(heads) == 1 && len(positions) == 1 {
		tables, p.headAlone = positions, true
		all[tables[0]+wteWeight] = all[heads[0]+lmHead]
	}
	require(len(tables) > 0, "no tensor %q: these are not the weights of a GPT-2 (the first is %s)",
		wteWeight, quote(names[0]))
	if len(tables) > 1 {
		fail("it holds several models: %s and %s", quote(tables[0]+wteWeight),
			quote(tables[1]+wteWeight))
	}
	return tables[0]
}

// isCausal tells whether a tensor is a mask [1, 1, T, T] by which a position attends to itself and
// to all before it. Of its T rows nine are looked at, which no other mask in use has alike.
func isCausal(mask Tensor) bool {
	n := len(mask.shape)
	if n < 2 || mask.shape[n-1] != mask.shape[n-2] || len(mask.data) == 0 {
		return false
	}
	T := mask.shape[n-1]
	size := len(mask.data) / (T * T)
	for i := range 9 {
		row := i * (T - 1) / 8
		for col := range T {
			value := mask.data[(row*T+col)*size:][:size]
			if passes := slices.Max(value) > 0; passes != (col <= row) {
				return false
			}
		}
	}
	return true
}

// splitLayer divides h.11.attn.bias into 11 and attn.bias.
func splitLayer(name string) (layer int, rest string, ok bool) {
	fmt.Sscanf(name, "h.%d.%s", &layer, &rest)
	if layer < 0 || name != fmt.Sprintf("h.%d.%s", layer, rest) {
		return 0, "", false
	}
	return layer, rest, true
}

// partOf is the first of some parts, between blanks, that a text contains; "" if there is none.
func partOf(text, parts string) string {
	for part := range strings.FieldsSeq(parts) {
		if strings.Contains(text, part) {
			return part
		}
	}
	return ""
}

const loraAdvice = "a LoRA adapter: save the whole model, after merge_and_unload() of peft"

// besideTensors are parts of the names of tensors that do not change the logits; ^ and $ are the
// ends of a name.
const besideTensors = ".v_head. .multiple_choice_head. .n_averaged. ^.initted.$ ^.step.$"

// foreignTensors are parts of names that tell what is not a GPT-2, or not one that can be computed.
var foreignTensors = []struct{ parts, what string }{
	{".score. .classifier.", "this is a classifier, which predicts no tokens"},
	{".crossattention. .ln_cross_attn.",
		"this is a model with cross-attention, which GPT-2 does not have"},
	{".lora_A. .lora_B. .base_layer.", "this is " + loraAdvice},
	{".SCB. .absmax. .quant_map. .qweight. .qzeros. ._packed_params. .weight_scale. ._scale.",
		"the weights are quantized: save the model in F32, F16 or BF16"},
	{".weight_mask. .bias_mask.", "the weights are pruned, and each is weight_orig × " +
		"weight_mask: torch.nn.utils.prune.remove(module, 'weight') makes them one, before the " +
		"model is saved"},
	{".parametrizations. .weight_g. .weight_u.", "the weights are made of others (weight_norm, " +
		"spectral_norm): make them one, as torch.nn.utils.parametrize.remove_parametrizations " +
		"does, before the model is saved"},
	{".W_E. .W_U.", "this is a TransformerLens state dict, whose weights may have been folded: " +
		"use the checkpoint that it was made from"},
	{"._original_component. .blocks.0.attn.q.", "this is the state dict of a TransformerBridge " +
		"of TransformerLens: use the folder that it was booted from"},
	{".tok_emb.", "this is the minGPT of 2020 (tok_emb), whose parts are others: only its later " +
		"form, with transformer.wte, is read"},
}

func failUnknown(name string) {
	fail("tensor %s is not one of GPT-2's: a model that has it is not the one that mechpatch "+
		"computes", quote(name))
}

// stateDict finds the state dict of a GPT-2 in what a PyTorch file holds: the dict with a key that
// ends in wte.weight, else the one with the most tensors. others are up to three of those that may
// belong to the model, too, and are passed over.
func stateDict(tree map[string]any) (state map[string]any, others string) {
	const deepest = 3 // dicts within dicts
	type place struct {
		dict map[string]any
		path []string
	}
	var found []place // those of GPT-2s
	most, whole := 0, false
	places := []place{{dict: tree}}
	for i := 0; i < len(places); i++ {
		p := places[i]
		isGPT2, tensors := false, 0
		for _, key := range sortedKeys(p.dict) {
			switch value := p.dict[key].(type) {
			case *strided:
				isGPT2 = isGPT2 || strings.HasSuffix("."+key, "."+wteWeight)
				tensors++
			case map[string]any:
				if len(p.path) < deepest {
					path := append(slices.Clone(p.path), key)
					places = append(places, place{value, path})
				}
			}
		}
		if isGPT2 {
			found = append(found, p)
		}
		if tensors > most {
			most, state = tensors, p.dict
		}
		whole = whole || p.dict["_modules"] != nil
	}
	// Of several, an average of the weights beside the model for one, the usual name decides, if it
	// is that of one.
	for _, name := range []string{"", "model", "state_dict", "model_state_dict", "module"} {
		so := slices.DeleteFunc(slices.Clone(found), func(p place) bool {
			last := strings.Join(p.path[max(0, len(p.path)-1):], "")
			return len(p.path) > len(found[0].path) || name != last
		})
		if len(so) == 1 {
			found = so
			break
		}
	}
	switch {
	case len(found) > 1:
		fail("it holds several models, %s and %s: save the state dict of one alone",
			quote(strings.Join(found[0].path, ".")), quote(strings.Join(found[1].path, ".")))
	case len(found) == 1:
		others := passedOver(tree, found[0].path)
		return found[0].dict, strings.Join(others[:min(len(others), 3)], ", ")
	case whole:
		fail("it holds a model saved whole, which only its own program can open: save it again " +
			"there, as torch.save(model.state_dict(), FILE)")
	case tree["ds_version"] != nil && most == 0:
		fail("this is a part of a DeepSpeed checkpoint: make one file of it with the " +
			"zero_to_fp32.py that lies beside it")
	case most == 0:
		fail("it holds a dict without tensors, not a state dict")
	}
	return state, ""
}

// passedOver names what lies beside the state dict at a path and may belong to the model: it holds
// tensors of some dimensions, and not for the training's sake alone, or scales the logits.
func passedOver(tree map[string]any, path []string) (names []string) {
	isTraining := func(key string) bool {
		return partOf(bare(key), "opt sched scal rng random amp loss metric hist grad") != ""
	}
	var holds func(value any) bool
	holds = func(value any) bool {
		switch v := value.(type) {
		case *strided:
			return len(v.shape) > 0
		case map[string]any:
			for key, inner := range v {
				if !isTraining(key) && holds(inner) {
					return true
				}
			}
		case []any:
			return slices.ContainsFunc(v, holds)
		}
		return false
	}
	for _, step := range path {
		for _, key := range sortedKeys(tree) {
			scales := partOf(bare(key), "logitscale logitbias temperature") != ""
			if key != step && (scales || !isTraining(key) && holds(tree[key])) {
				names = append(names, quote(key))
			}
		}
		tree, _ = tree[step].(map[string]any)
	}
	return names
}

// Facts is what is said about a model beside its tensors, by config.json's keys, what the user
// should know of it, and the first reason why a model of which this is said cannot be computed.
type Facts struct {
	said  map[string]Fact
	heads []Fact // what else is said of them: how wide one is, or 0
	notes []string
	fault error
}

// Fact is something said: an int, a float64, a bool or a string, and where it is said.
type Fact struct {
	value any
	from  string // "config.json"
}

func (f *Facts) refuse(format string, args ...any) {
	f.fault = cmp.Or(f.fault, fmt.Errorf(format, args...))
}

func (f *Facts) note(format string, args ...any) {
	f.notes = append(f.notes, fmt.Sprintf(format, args...))
}

// put adds a fact. Another value for the same key is a contradiction.
func (f *Facts) put(key string, value any, from string) {
	if f.said == nil {
		f.said = map[string]Fact{}
	}
	if old, ok := f.said[key]; !ok {
		f.said[key] = Fact{value, from}
	} else if old.value != value {
		f.refuse("%s is %v in %s, but %v in %s", key, old.value, old.from, value, from)
	}
}

func (f *Facts) add(others Facts) {
	f.fault = cmp.Or(f.fault, others.fault)
	f.heads = append(f.heads, others.heads...)
	f.notes = append(f.notes, others.notes...)
	for _, key := range sortedKeys(others.said) {
		f.put(key, others.said[key].value, others.said[key].from)
	}
}

// keyTable is the words of a configuration that are understood. A dict with one of them as a key is
// a configuration, and a text that gives one of them a value may be one. (But a vocabulary's size
// is the data's as well.) The first five facts are seen in the tensors' shapes, too.
var keyTable = []struct {
	names  string // config.json's own first, then what transformers takes for it
	others string // what other trainers call it
	kind   string // of the fact; "" where it is not certain what it means
}{
	{"n_layer num_hidden_layers", "n_layers num_layers", "count"},
	{"n_embd hidden_size", "n_embed d_model", "count"},
	{"n_positions max_position_embeddings", "block_size", "count"},
	{"vocab_size", "", "count"},
	{"n_inner", "intermediate_size", "count"},
	{"n_head num_attention_heads", "n_heads num_heads heads", "count"},
	{"layer_norm_epsilon", "layer_norm_eps", "fraction"},
	{"activation_function", "hidden_act", "activation"},
	{"scale_attn_weights", "", "switch"},
	{"scale_attn_by_inverse_layer_idx", "", "switch"},
	{"tie_word_embeddings", "", "switch"},
	{"activation act_fn nonlinearity model_type architecture architectures", "", ""},
}

// factOf is a value of some kind; nil where it means nothing.
func factOf(kind string, value any) any {
	text := fmt.Sprint(value)
	switch kind {
	case "count":
		if n, err := strconv.Atoi(text); err == nil && n > 0 {
			return n
		}
	case "fraction":
		if x, err := strconv.ParseFloat(text, 64); err == nil && x >= 0 && x <= 1 {
			return x + 0 // not −0
		}
	case "switch": // a text, such as "false", is none: for Python that is true
		if _, isText := value.(string); !isText {
			switches := map[string]any{"true": true, "1": true, "false": false, "0": false}
			return switches[strings.ToLower(text)]
		}
	case "activation":
		if _, ok := activations[text]; ok {
			return text
		}
	}
	return nil
}

// activations are the functions that can be computed, by transformers' names.
var activations = map[string]Activation{
	"gelu_new": geluTanh, "gelu_pytorch_tanh": geluTanh, "gelu_fast": geluTanh,
	"gelu_accurate": geluTanh, "gelu_python_tanh": geluTanh,
	"gelu": geluExact, "gelu_python": geluExact, "relu": relu,
}

// A word is one of the table's.
type word struct {
	name, key string // as it is spelt, and config.json's name for the same
	kind      string
	other     bool // transformers does not read it
	exact     bool // a key is spelt so
}

// wordTable is the words by what is alike of all their spellings, and an expression of their own:
// it fits one that nothing but the architecture of a model has where a text gives it a value, as
// YAML, TOML, Python and command lines do. It is made when it is first needed.
var wordTable = sync.OnceValues(func() (known map[string]word, own *regexp.Regexp) {
	known = map[string]word{}
	var names []string
	for _, k := range keyTable {
		own := strings.Fields(k.names)
		for i, name := range append(own, strings.Fields(k.others)...) {
			known[bare(name)] = word{name, own[0], k.kind, i >= len(own), false}
			if name != "vocab_size" {
				names = append(names, name)
			}
		}
	}
	one := "(" + strings.Join(names, "|") + ")"
	return known, regexp.MustCompile("__" + one + "|" + one + `['"\\ ]*[:=>0-9]`)
})

// wordIn finds such a word in a text; "" if there is none.
func wordIn(text string) string {
	_, own := wordTable()
	found := own.FindString(strings.ReplaceAll(text, "-", "_"))
	return strings.Trim(found, `_'"\ :=>0123456789`)
}

// bare is a key as all spellings of it are alike: nHead, N_HEAD and n-head.
func bare(key string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(key))
}

// wordOf is the word that a key is, in any spelling. Flattened configurations put more before it,
// such as "model.n_head" or "model_n_head".
func wordOf(key string) word {
	known, _ := wordTable()
	for _, prefix := range []string{"", "model_", "config_"} {
		name := strings.TrimPrefix(lastPart(key), prefix)
		if w, ok := known[bare(name)]; ok {
			w.exact = name == w.name
			return w
		}
	}
	return word{}
}

func lastPart(key string) string {
	key = strings.ReplaceAll(key, "__", ".")
	return key[strings.LastIndexAny(key, "./:")+1:]
}

func isOwn(key string) bool {
	name := wordOf(key).name
	return name != "" && name != "vocab_size"
}

// Where the outermost dict of a config.json and of a PyTorch file stands.
const (
	configJSON = "config.json"
	inItself   = "the checkpoint itself"
)

// parseConfig reads what a config.json says about a GPT-2.
func parseConfig(data []byte) (facts Facts) {
	if tree, err := parseJSON(data); err != nil {
		facts.refuse("%s: %w", configJSON, err)
	} else {
		facts.read(tree, configJSON)
	}
	return facts
}

// readMetadata adds what a safetensors file's __metadata__ says, where all is text.
func (f *Facts) readMetadata(meta map[string]string) {
	tree := map[string]any{}
	for key, text := range meta {
		tree[key] = text
		if w := wordOf(key); w.exact && w.kind != "" {
			tree[key] = json.Number(text) // which is what it is, if it is no number
		}
	}
	delete(tree, metaTokenizer)
	delete(tree, "source") // a name
	f.read(tree, "its __metadata__")
}

// read adds what a tree says about a GPT-2 in any of its dicts and lists: map[string]any, []any and
// plain values, as JSON has them. from is where it stands. A text is JSON, or refused where it may
// be a configuration in another form.
func (f *Facts) read(tree any, from string) {
	switch v := tree.(type) {
	case map[string]any:
		f.readDict(v, from)
	case []any:
		if len(v) == 2 { // perhaps an item of a dict's
			if key, _ := v[0].(string); isOwn(key) {
				f.readConfig(map[string]any{key: v[1]}, from)
				return
			}
		}
		for i, item := range v {
			f.read(item, fmt.Sprintf("%s[%d]", from, i))
		}
	case string:
		if inner, err := parseJSON([]byte(v)); err == nil {
			f.read(inner, from)
		} else if word := wordIn(v); word != "" {
			f.refuse("%s is a text that speaks of %s and cannot be read: only JSON can. Save the "+
				"state dict alone, with a config.json beside it", from, word)
		}
	}
}

func (f *Facts) readDict(said map[string]any, from string) {
	below := cmp.Or(map[string]string{configJSON: "config.json's ", inItself: "its "}[from],
		from+".")
	args, isNano := said["model_args"].(map[string]any)
	if isNano && !strings.HasPrefix(from, configJSON) {
		args[className] = "nanoGPT"
		config, _ := said["config"].(map[string]any) // it holds what was asked for at first
		maps.DeleteFunc(config, func(key string, _ any) bool { return wordOf(key).kind != "" })
	}
	if values, _ := said[valuesName].([]any); len(values) > 1 {
		f.refuse("%s is an object of the class %s, whose values have no names: it may be a "+
			"configuration. Save the state dict alone, with a config.json beside it", from,
			shorten(fmt.Sprint(said[className])))
	}
	keys := sortedKeys(said)
	if from == configJSON || slices.ContainsFunc(keys, isOwn) {
		f.readConfig(said, from)
	}
	sized := slices.ContainsFunc(keys, func(key string) bool {
		w := wordOf(key)
		return w.key == "n_embd" && w.exact
	})
	for _, key := range keys {
		f.noteHeads(key, said[key], from, sized)
		text, isText := said[key].(string)
		// of a run, a file or a folder: whatever it speaks of
		isName := partOf(strings.ToLower(key)+"$", "name$ dir$ path$ argv$") != ""
		isActivation := partOf(parted(below+key), "_act_ nonlin ffn_type mlp_type") != "" && partOf(
			strings.ToLower(text)+"$", "lu$ lu2$ lu_squared$ tanh$ mish$ swish$ sigmoid$") != ""
		switch {
		case isText && isActivation && !isOwn(key):
			f.refuse("%s is %s: only as activation_function, among a configuration's other "+
				"keys, is it known what it means", below+shorten(key), quote(text))
		case isText && isName:
		default:
			f.read(said[key], below+shorten(key))
		}
	}
}

// parted is a key with an underscore between its parts, and its ends.
func parted(key string) string {
	return "^_" + strings.NewReplacer(".", "_", "/", "_", ":", "_").Replace(key) + "_$"
}

// noteHeads keeps a number that a key in any dict gives the heads in other words: how wide one is,
// if the model's width is said beside it, and else 0, for what is not understood.
func (f *Facts) noteHeads(key string, value any, from string, sized bool) {
	name := lastPart(key)
	parts := parted(strings.ToLower(strings.ReplaceAll(name, "-", "_")))
	isHeads := partOf(parts, "_head_ _heads_ _nhead_ _nheads_ _dhead_ _headdim_") != "" &&
		!strings.Contains(parts, "_lm_") && wordOf(key).key == ""
	if width := factOf("count", value); isHeads && width != nil {
		if !sized || partOf("^"+name+"$", "^d_head$ ^head_dim$ ^head_size$ ^dim_head$") == "" {
			width = 0
		}
		f.heads = append(f.heads, Fact{width, from + " (" + key + ")"})
	}
}

// minGPTs are minGPT's own model types, and how many heads those have that say it.
var minGPTs = map[string]int{"gpt": 0, "openai-gpt": 12, "gpt2": 12, "gpt2-medium": 16,
	"gpt2-large": 20, "gpt2-xl": 25, "gopher-44m": 16, "gpt-mini": 6, "gpt-micro": 4, "gpt-nano": 3}

// A configuration is a dict that says something about a GPT-2.
type configuration struct {
	Facts
	dict     map[string]any
	from     string // where it stands
	class    string // of the object that it was, and nanoGPT for that program's model_args
	hf, mini bool   // it is transformers' or minGPT's
	strange  string // a key that is not understood
}

// readConfig adds what one dict says about a GPT-2.
func (f *Facts) readConfig(dict map[string]any, from string) {
	c := configuration{dict: dict, from: from}
	class, _ := dict[className].(string)
	c.class = class[strings.LastIndexByte(class, '.')+1:]
	model := dict["model_type"]
	size, _ := model.(string)
	heads, isMini := minGPTs[size]
	c.mini = isMini && (size != "gpt2" || c.has("block_size")) &&
		(c.has("n_head") || c.class == "CfgNode")
	c.hf = c.class == "GPT2Config" || size == "gpt2" && !c.mini
	if name, ok := dict["architecture"].(string); ok &&
		partOf(bare(name), "gpt2 nanogpt mingpt") == "" {
		c.refuse("%s: architecture is %s, not gpt2", from, quote(name))
	}
	if model != nil && !c.hf && !c.mini {
		c.refuse("%s: model_type is %s, not gpt2", from, textOf(model))
	}
	for _, key := range sortedKeys(dict) {
		c.readKey(key, dict[key])
	}
	if _, ok := c.said["n_head"]; !ok && heads > 0 && c.mini {
		c.put("n_head", heads, from)
	}
	n, _ := c.said["n_head"].value.(int)
	if d, _ := c.said["n_embd"].value.(int); n > 0 && d%n != 0 {
		c.refuse("%s: n_head is %d, which does not divide n_embd, %d", from, n, d)
	}
	if c.hf {
		c.readTransformers()
	} else if c.strange != "" && model == nil && from == configJSON && len(c.said) > 0 {
		c.note("%s in %s is not understood: if it changes what a GPT-2 computes, the numbers are "+
			"not the model's", c.strange, from)
	}
	activation, by := "gelu_new", "" // each trainer has its own
	switch {
	case c.hf:
		by = from
	case c.class == "nanoGPT" && !c.has("bias"): // from before that option
		by = "nanoGPT"
	case c.class == "nanoGPT", c.class == "GPTConfig" && (c.has("dropout") || c.has("bias")):
		activation, by = "gelu", "nanoGPT"
	case c.class == "GPTConfig":
		by = "build-nanogpt"
	case c.class == "CfgNode":
		by = "minGPT"
	}
	if _, ok := c.said["activation_function"]; !ok && by != "" {
		c.put("activation_function", activation, by)
	}
	f.add(c.Facts)
}

func (c *configuration) has(key string) bool {
	_, ok := c.dict[key]
	return ok
}

// readTransformers adds what a configuration of transformers' says of its program. Its versions
// 4.44 to 4.57 use torch's attention by default, which was not told of other scales.
func (c *configuration) readTransformers() {
	c.put("model_type", "gpt2", c.from)
	minor := 0
	fmt.Sscanf(fmt.Sprint(c.dict["transformers_version"]), "4.%d", &minor)
	scaled := c.said["scale_attn_weights"].value == false ||
		c.said["scale_attn_by_inverse_layer_idx"].value == true
	if minor >= 44 && scaled {
		c.note("%s scales attention otherwise, which transformers 4.44 to 4.57 do not heed "+
			"unless they are told to use eager attention: if the model was trained so, take that "+
			"out there", c.from)
	}
	classes, _ := c.dict["architectures"].([]any)
	for _, class := range classes {
		if name := fmt.Sprint(class); !strings.HasPrefix(name, "GPT2") {
			c.note("%s (%s) names a class that is not transformers' own: what that does "+
				"otherwise than a GPT-2 is not computed", c.from, shorten(name))
		}
	}
}

// readKey adds what a key says.
func (c *configuration) readKey(key string, value any) {
	w := wordOf(key)
	fact := factOf(w.kind, value)
	_, isDict := value.(map[string]any)
	switch {
	case w.key != "" && !w.exact:
		c.refuse("%s: %s is spelt otherwise than %s, so that nothing tells what reads it", c.from,
			shorten(key), w.name)
	case w.kind == "" && isDict && c.from == inItself: // a part of another kind
	case w.kind == "":
		text, _ := json.Marshal(value)
		means := meaningOf(key, string(text))
		isOff := slices.Contains(strings.Fields(off), string(text))
		if c.class == "nanoGPT" && w.key == "" && partOf("^"+key+"$", nanoGPTs) == "" && !isOff {
			means = "change"
		}
		if means == "change" {
			c.refuse("%s: %s is %s: a GPT-2 with that change cannot be computed here", c.from,
				shorten(key), shorten(string(text)))
		} else if means == "" && w.key == "" && !isDict && fmt.Sprint(value) != "false" {
			c.strange = shorten(key)
		}
	case value == nil: // transformers takes it for what it is, if it can
		if !c.mini && w.key != "n_inner" &&
			(c.hf || c.from == configJSON || w.kind != "count") {
			c.refuse("%s is null in %s, which cannot be right", key, c.from)
		}
	case c.hf && c.dict["model_type"] == "gpt2" && w.other && !c.has(w.key):
		c.refuse("%s: of a gpt2, %s is called %s", c.from, key, w.key)
	case fact == nil:
		wrong := "which cannot be right"
		if w.key == "activation_function" {
			wrong = "and only GPT-2's own, gelu_new, and gelu and relu can be computed"
		}
		c.refuse("%s is %s in %s, %s", key, textOf(value), c.from, wrong)
	case key == w.key:
		c.put(key, fact, c.from)
	default:
		c.put(w.key, fact, c.from+" ("+key+")")
	}
}

// textOf is a value in an error.
func textOf(value any) string {
	if kind := pyKind(value); kind == "a tensor" || kind == "a dict" {
		return kind
	}
	return quote(fmt.Sprint(value))
}

const (
	// off is what turns nothing on, as JSON. A tensor is {}, and a module's version stands beside a
	// state dict.
	off = `null false 0 0.0 "" "false" "0" {} [] {"version":1}`
	// nanoGPTs are the keys of nanoGPT's model_args that are no size, and what else does no harm
	// there: any other key is of a program that was changed.
	nanoGPTs = "^__class__$ ^bias$ ^dropout$ ^flash$ ^flash_attention$ ^use_flash_attention$"
	// ofBlocks and ofOthers are parts of the keys of what a GPT-2 has, and of what it has not.
	ofBlocks = "pre_ln pre_norm prenorm pre_layernorm layernorm_first norm_first " +
		"normalize_before final_norm final_layernorm residual causal autoregressive " +
		"unidirectional decoder_only use_mask pos_emb positional ^_scaled_$ ^_scale_attn_$ " +
		"scale_qk use_gelu exact_gelu"
	ofOthers = "attn attention mult scale scaling mup rotary rope alibi softmax loops relu " +
		"nonlin position pos_emb norm rms ln_ residual gate gating moe expert quant window " +
		"sparse activation _act_ _afn_ nonlinearity _eps_ _epsilon_ glu softcap soft_cap causal " +
		"direction prefix_lm pruned adapter encoder_decoder kv_ parallel"
)

// rules tell what other keys mean, by parts of their names between underscores: the first that
// speaks of the value, as JSON, says whether it leaves the numbers as they are. * is any.
var rules = []struct{ means, values, parts string }{
	{"nothing", "*", "drop"},
	{"nothing", "null 1e-5 1e-05 0.00001", "^_eps_$ ^_epsilon_$"}, // perhaps of the layer norms
	{"change", "*", "^_eps_$ ^_epsilon_$"},
	{"nothing", "*", "residual_in_fp32 fp32_residual"},
	{"change", "null false 0", ofBlocks},
	{"nothing", off, ofOthers},
	// how training goes and classifiers choose, and how, not what, is computed
	{"nothing", "*", "__ adam _summary_ flash reorder_and_upcast_attn output_attentions " +
		"attn_implementation grad loss optim batch precision data_ _lr_ multi_gpu multiproc " +
		"clip_norm norm_clip warmup parallel_size scale_parameter advantage _log_ init_scale " +
		"activation_checkpointing"},
	{"nothing", "true", "^_causal_$ ^_is_causal_$ ^_pre_norm_$"},
	{"nothing", `"layernorm" "layer_norm" "LayerNorm"`, "^_norm_type_$"},
	{"nothing", `"absolute" "learned"`, "^_position_embedding_type_$"},
	{"change", "*", ofOthers},
	{"nothing", "*", ofBlocks},
	// the other keys of GPT-2's configurations of 2019, without a model_type, and of nanoGPT's
	{"nothing", "*", "summary output n_ctx initializer labels torchscript finetuning is_decoder " +
		"bos_ eos_ label2id task_specific special bfloat dtype name version _bias_"},
}

// meaningOf tells what a key with a value, as JSON, means: "nothing", a "change", or "", unknown.
func meaningOf(key, value string) string {
	if key == "auto_map" && strings.Contains(value, "AutoModel") {
		return "change" // but a tokenizer of its own is not the model's affair
	}
	for _, rule := range rules {
		if partOf(parted(key), rule.parts) != "" &&
			(rule.values == "*" || slices.Contains(strings.Fields(rule.values), value)) {
			return rule.means
		}
	}
	return ""
}

// foreignForms are the files and folders that are neither safetensors nor PyTorch's, by parts of a
// name, ^ and $ being its ends, or by the bytes that a file begins with.
var foreignForms = []struct{ names, magics, what string }{
	{"^adapter_config.json$ ^adapter_model.", "", loraAdvice},
	{".ckpt.index .ckpt.data- .ckpt.meta ^saved_model.pb$", "",
		"a TensorFlow checkpoint" + onlyRead + "; OpenAI's own weights are `mechpatch fetch`"},
	{".distcp$ ^.metadata$", "", "a checkpoint in PyTorch's distributed form: write it to one " +
		"file with torch.distributed.checkpoint.format_utils.dcp_to_torch_save"},
	{".h5$", "\x89HDF", "an HDF5 file (Keras, TensorFlow)" + onlyRead},
	{".msgpack", "\x81\xab|\x82\xab|\x81\xa6params", "a Flax checkpoint (msgpack)" + onlyRead},
	{".gguf$", "GGUF", "a GGUF file" + onlyRead},
	{".onnx", "\x08\x07\x12|\x08\x08\x12|\x08\x09\x12|\x08\x0a\x12", "an ONNX model" + onlyRead},
	{"", "lmgg|fmgg|tjgg", "a ggml file" + onlyRead},
	{"", "\x93NUMPY", "a NumPy file (npy)" + onlyRead},
	{"", "\xc6\xd7\x34\x01", "a checkpoint of llm.c: its own dev/eval/export_hf.py makes a " +
		"folder that can be read"},
	{"", "24ka", llamaC},
	{"", "version https://git-lfs", "a Git LFS pointer: fetch the weights themselves with " +
		"`git lfs pull` or `mechpatch fetch`"},
	{"", "<", "a web page, not weights: the download brought HTML in place of the file"},
	{"", "{|[", "a JSON file, not weights: name the file of weights beside it"},
	{"", "\x7fELF|MZ", "a program, not weights"},
	{"", "\x1f\x8b|\xfd7zXZ|\x28\xb5\x2f\xfd|BZh|7z\xbc\xaf",
		"a compressed archive: unpack it first"},
}

const (
	onlyRead = ": only safetensors and PyTorch files can be read"
	llamaC   = "a model of llama2.c, not a GPT-2"
)

// foreignForm says what files of these names are, or one that begins with head; "" if nothing
// tells.
func foreignForm(names []string, head []byte) string {
	start := strings.TrimLeft(string(head), " \t\r\n\ufeff")
	for _, form := range foreignForms {
		for _, name := range names {
			if partOf("^"+strings.ToLower(name)+"$", form.names) != "" {
				return form.what
			}
		}
		for magic := range strings.SplitSeq(form.magics, "|") {
			if magic != "" && strings.HasPrefix(start, magic) {
				return form.what
			}
		}
	}
	isControl := func(r rune) bool { return r < ' ' && !strings.ContainsRune("\n\r\t", r) }
	switch {
	case isLlama(head):
		return llamaC
	case len(head) > 0 && !bytes.ContainsFunc(head, isControl):
		return "a text file, not weights"
	}
	return ""
}

// isLlama tells the header of an older llama2.c model: seven 32-bit numbers, such as 288, 768, 6,
// 6, 6, 32000, 256, of which the vocabulary's may be negative.
func isLlama(head []byte) bool {
	var sizes [7]int32
	if _, err := binary.Decode(head, binary.LittleEndian, &sizes); err != nil {
		return false
	}
	sizes[5] = max(sizes[5], -sizes[5])
	return slices.Min(sizes[:]) > 0 && slices.Max(sizes[:]) <= 1<<20
}
