package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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

// Parameters are the tensors of a GPT-2 by canonical name, as the file holds them, and all that is
// known of the model.
type Parameters struct {
	Config
	Variant
	inner        int               // the width of the MLPs
	tensors      map[string]Tensor // lm_head.weight only where it is not tied to wte.weight
	turned       bool              // linear weights are [out, in] in the file: PyTorch's nn.Linear
	biases       bool              // there are biases
	said         bool              // something says which activation function it has
	headCopied   bool              // the file has an lm_head, but it is wte again
	headAlone    bool              // the file has an lm_head, but no wte
	masks        bool              // there are causal masks, as minGPT saves them
	headsAssumed bool              // nothing says how many heads there are
	notes        []string          // what of the file is left out
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
func canonicalTensors(tensors []Tensor, meta map[string]string) (*Parameters, error) {
	inFile := map[string]Tensor{}
	for _, t := range tensors {
		name := unwrapped(t.name)
		if _, twice := inFile[name]; twice {
			return nil, fmt.Errorf("tensor %s comes twice", quote(name))
		}
		inFile[name] = t
	}
	byName := maps.Clone(inFile)
	for _, alias := range sortedKeys(meta) { // of tied names, safetensors' save_model keeps one
		t, ok := inFile[unwrapped(meta[alias])]
		if _, there := inFile[unwrapped(alias)]; ok && !there {
			byName[unwrapped(alias)] = t
		}
	}
	names := sortedKeys(byName)
	if err := foreignTensor(names); err != nil {
		return nil, err
	}
	ends := func(end string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
			return !strings.HasSuffix("."+name, "."+end)
		})
	}
	p := &Parameters{tensors: map[string]Tensor{}}
	tables, heads, positions := ends(wteWeight), ends(lmHead), ends("wpe.weight")
	if len(tables) == 0 && len(heads) == 1 && len(positions) == 1 {
		tables = []string{strings.TrimSuffix(positions[0], "wpe.weight") + wteWeight}
		byName[tables[0]], p.headAlone = byName[heads[0]], true
		names = append(names, tables[0])
	}
	if len(tables) == 0 {
		return nil, fmt.Errorf("no tensor %q: these are not the weights of a GPT-2 (the first is "+
			"%s)", wteWeight, quote(names[0]))
	}
	if len(tables) > 1 {
		return nil, fmt.Errorf("it holds several models: %s and %s", quote(tables[0]),
			quote(tables[1]))
	}
	prefix := strings.TrimSuffix(tables[0], wteWeight)
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, prefix)
		outer, isHead := strings.CutSuffix(name, lmHead)
		_, inLayer, _ := splitLayer(rest)
		beside := "" // what does not change the logits
		for _, part := range []string{"v_head", "multiple_choice_head", "n_averaged"} {
			if strings.Contains("."+name+".", "."+part+".") {
				beside = part + ", which is not GPT-2's, is left out"
			}
		}
		switch {
		case isHead && strings.HasPrefix(prefix, outer):
			if _, twice := p.tensors[lmHead]; twice {
				return nil, fmt.Errorf("tensor %s comes twice", quote(lmHead))
			}
			p.tensors[lmHead] = byName[name]
		case ok && inLayer == "attn.bias" && !isCausal(byName[name]):
			return nil, fmt.Errorf("tensor %s: a mask other than GPT-2's, by which a position "+
				"attends to all before it and none behind", quote(name))
		case ok && (inLayer == "attn.bias" || inLayer == "attn.masked_bias"):
			p.masks = true
		case beside != "":
			if !slices.Contains(p.notes, beside) {
				p.notes = append(p.notes, beside)
			}
		case ok:
			p.tensors[rest] = byName[name]
			p.biases = p.biases || strings.HasSuffix(rest, ".bias")
		default:
			return nil, unknownTensor(name)
		}
	}
	wte := p.tensors[wteWeight]
	if lm, ok := p.tensors[lmHead]; ok && lm.format == wte.format &&
		slices.Equal(lm.shape, wte.shape) && bytes.Equal(lm.data, wte.data) {
		delete(p.tensors, lmHead)
		p.headCopied = true
	}
	attn := p.tensors["h.0.attn.c_attn.weight"].shape
	p.turned = len(attn) == 2 && len(wte.shape) == 2 && attn[1] == wte.shape[1] &&
		attn[0] != attn[1]
	return p, nil
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
	name, inLayer := strings.CutPrefix(name, "h.")
	digits, rest, _ := strings.Cut(name, ".")
	layer, err := strconv.Atoi(digits)
	if !inLayer || err != nil || layer < 0 || strconv.Itoa(layer) != digits {
		return 0, "", false
	}
	return layer, rest, true
}

const loraAdvice = "a LoRA adapter: save the whole model, after merge_and_unload() of peft"

// foreignTensors are parts of names that tell what is not a GPT-2, or not one that can be computed.
var foreignTensors = []struct{ parts, what string }{
	{"score classifier", "this is a classifier, which predicts no tokens"},
	{"crossattention ln_cross_attn",
		"this is a model with cross-attention, which GPT-2 does not have"},
	{"lora_A lora_B base_layer", "this is " + loraAdvice},
	{"SCB absmax quant_map qweight qzeros _packed_params weight_scale _scale",
		"the weights are quantized: save the model in F32, F16 or BF16"},
	{"weight_mask bias_mask", "the weights are pruned, and each is weight_orig × weight_mask: " +
		"torch.nn.utils.prune.remove(module, 'weight') makes them one, before the model is saved"},
	{"parametrizations weight_g weight_u", "the weights are made of others (weight_norm, " +
		"spectral_norm): make them one, as torch.nn.utils.parametrize.remove_parametrizations " +
		"does, before the model is saved"},
	{"W_E W_U", "this is a TransformerLens state dict, whose weights may have been folded: use " +
		"the checkpoint that it was made from"},
	{"_original_component blocks.0.attn.q", "this is the state dict of a TransformerBridge of " +
		"TransformerLens: use the folder that it was booted from"},
	{"tok_emb", "this is the minGPT of 2020 (tok_emb), whose parts are others: only its later " +
		"form, with transformer.wte, is read"},
}

// foreignTensor is the error of the first of these that is there.
func foreignTensor(names []string) error {
	for _, k := range foreignTensors {
		for _, part := range strings.Fields(k.parts) {
			for _, name := range names {
				if strings.Contains("."+name+".", "."+part+".") {
					return fmt.Errorf("tensor %s: %s", quote(name), k.what)
				}
			}
		}
	}
	if len(names) == 0 {
		return errors.New("it holds no tensors")
	}
	return nil
}

func unknownTensor(name string) error {
	return fmt.Errorf("tensor %s is not one of GPT-2's: a model that has it is not the one that "+
		"mechpatch computes", quote(name))
}

// stateDict finds the state dict of a GPT-2 in what a PyTorch file holds: the dict with a key that
// ends in wte.weight, else the one with the most tensors. note names a model that is passed over.
func stateDict(tree map[string]any) (state map[string]any, note string, err error) {
	type place struct {
		dict map[string]any
		key  string
	}
	var largest map[string]any
	most, whole := 0, false
	const deepest = 3 // dicts within dicts
	level := []place{{dict: tree}}
	var found []place
	for depth := 0; depth <= deepest; depth++ {
		var next []place
		above := len(found)
		for _, p := range level {
			isGPT2, tensors := false, 0
			for _, key := range sortedKeys(p.dict) {
				switch value := p.dict[key].(type) {
				case *strided:
					isGPT2 = isGPT2 || strings.HasSuffix("."+key, "."+wteWeight)
					tensors++
				case map[string]any:
					next = append(next, place{value, key})
				}
			}
			if isGPT2 {
				found = append(found, p)
			}
			if tensors > most {
				most, largest = tensors, p.dict
			}
			whole = whole || p.dict["_modules"] != nil
		}
		// Of several, an average of the weights beside the model for one, the usual name decides.
		for _, name := range []string{"", "model", "state_dict", "model_state_dict", "module"} {
			for _, p := range found {
				if p.key != name || above > 0 {
					continue
				}
				for _, other := range found {
					if other.key != name {
						note = fmt.Sprintf("it holds several models, and %s is taken, not %s",
							cmp.Or(name, "the outermost"), quote(other.key))
					}
				}
				return p.dict, note, nil
			}
		}
		if len(found) > 1 {
			return nil, "", fmt.Errorf("it holds several models, %s and %s: save the state dict "+
				"of one alone", quote(found[0].key), quote(found[1].key))
		}
		level = next
	}
	switch {
	case len(found) == 1:
		return found[0].dict, "", nil
	case whole:
		return nil, "", errors.New("it holds a model saved whole, which only its own program can " +
			"open: save it again there, as torch.save(model.state_dict(), FILE)")
	case tree["ds_version"] != nil && most == 0:
		return nil, "", errors.New("this is a part of a DeepSpeed checkpoint: make one file of " +
			"it with the zero_to_fp32.py that lies beside it")
	case most == 0:
		return nil, "", errors.New("it holds a dict without tensors, not a state dict")
	}
	return largest, "", nil
}

// Facts is what is said about a model beside its tensors, by config.json's keys: "n_head".
type Facts map[string]Fact

// Fact is something said: an int, a float64, a bool or a string, and where it is said.
type Fact struct {
	value any
	from  string // "config.json"
}

// put adds a fact. Another value for the same key is a contradiction, and an error.
func (f Facts) put(key string, value any, from string) error {
	old, ok := f[key]
	if ok && old.value != value {
		return fmt.Errorf("%s is %v in %s, but %v in %s", key, old.value, old.from, value, from)
	}
	if !ok {
		f[key] = Fact{value, from}
	}
	return nil
}

func (f Facts) add(others Facts) (err error) {
	for _, key := range sortedKeys(others) {
		err = cmp.Or(err, f.put(key, others[key].value, others[key].from))
	}
	return err
}

// headKeys are the names under which trainers say how many heads a layer has.
const headKeys = "n_head num_attention_heads n_heads num_heads heads"

// factKeys are the keys that are understood, by all their names: the type of what is said as value,
// and as from the first of the names, which is config.json's.
var factKeys = sync.OnceValue(func() map[string]Fact {
	keys := map[string]Fact{}
	for _, k := range []struct {
		zero  any
		names string
	}{
		{0, "n_layer num_hidden_layers n_layers num_layers"},
		{0, headKeys},
		{0, "n_embd hidden_size n_embed d_model"},
		{0, "n_positions max_position_embeddings block_size"},
		{0, "vocab_size"},
		{0, "n_inner intermediate_size"},
		{0.0, "layer_norm_epsilon"},
		{"", "activation_function hidden_act"},
		{true, "scale_attn_weights"},
		{true, "scale_attn_by_inverse_layer_idx"},
		{true, "tie_word_embeddings"},
	} {
		names := strings.Fields(k.names)
		for _, name := range names {
			keys[name] = Fact{k.zero, names[0]}
		}
	}
	return keys
})

// sizeKeys are the facts that the tensors' shapes say as well.
var sizeKeys = []string{"n_layer", "n_embd", "n_positions", "vocab_size", "n_inner"}

// ownWords are the keys that nothing but the architecture of a model has: a dict with one of them
// is a configuration, and a text that gives one of them a value may be one. (A vocabulary's size is
// the data's as well.)
var ownWords = sync.OnceValue(func() []string {
	return append(slices.DeleteFunc(sortedKeys(factKeys()), func(word string) bool {
		return word == "vocab_size"
	}), "activation", "act_fn", "nonlinearity", "model_type", "architecture", "architectures")
})

// lastPart is a key without what flattened configurations put before it: "model.n_head".
func lastPart(key string) string {
	key = strings.ReplaceAll(key, "__", ".")
	key = key[strings.LastIndexAny(key, "./:")+1:]
	for _, prefix := range []string{"model_", "config_"} {
		rest, _ := strings.CutPrefix(key, prefix)
		if _, ok := factKeys()[rest]; ok {
			return rest
		}
	}
	return key
}

// scalingUnheeded tells that a configuration is of a transformers that may not have heeded what it
// says of attention's scale: torch's attention, which 4.44 to 4.57 use by default, was not told.
const scalingUnheeded = "scaling that may not have been heeded"

// What is said of the heads but is no count of them: how wide one is, and what is not understood.
const (
	headWidth   = "d_head"
	headsUnread = "heads that are not understood"
)

// noteHeads keeps a number that a key in any dict gives the heads: where nothing says how many
// there are, their width does, if the model's is said beside it, and anything else forbids to
// assume it.
func (f Facts) noteHeads(key string, value any, from string, sized bool) {
	name := lastPart(key)
	_, known := factKeys()[name]
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return r == '_' || r == '-'
	})
	n, err := strconv.Atoi(fmt.Sprint(value))
	if known || err != nil || n < 1 || !slices.ContainsFunc(words, func(word string) bool {
		return slices.Contains(strings.Fields("head heads nhead nheads dhead headdim"), word)
	}) || slices.Contains(words, "lm") {
		return
	}
	about, said := headsUnread, any(true)
	if sized && slices.Contains(strings.Fields("d_head head_dim head_size dim_head"), name) {
		about, said = headWidth, n
	}
	if old, twice := f[about]; twice && old.value != said {
		about, said = headsUnread, true
	}
	f[about] = Fact{said, from + " (" + key + ")"}
}

// bare is a key as all spellings of it are alike: nHead, N_HEAD and n-head.
func bare(key string) string {
	return strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(key, "_", ""), "-", ""))
}

var bareWords = sync.OnceValue(func() map[string]string {
	words := map[string]string{}
	for _, word := range ownWords() {
		words[bare(word)] = word
	}
	return words
})

// ownWord is which of the words a key is, in any spelling; "" if none.
func ownWord(key string) string { return bareWords()[bare(lastPart(key))] }

// read adds what a tree says about a GPT-2 in any of its dicts and lists: map[string]any, []any and
// plain values, as JSON has them. from is where it stands, and below begins the places of what it
// holds. A text is JSON, or refused where it may be a configuration in another form. The error is
// the first fault; what can be read is read all the same.
func (f Facts) read(tree any, from, below string) (err error) {
	isOwn := func(key string) bool { return ownWord(key) != "" }
	switch v := tree.(type) {
	case map[string]any:
		args, isNano := v["model_args"].(map[string]any)
		config, _ := v["config"].(map[string]any)
		if isNano && strings.HasPrefix(below, "its ") { // of a pickle
			args[className] = "nanoGPT"
			for key := range factKeys() { // its config holds what was asked for at first
				delete(config, key)
			}
		}
		if values, _ := v[valuesName].([]any); len(values) > 1 {
			err = fmt.Errorf("%s is an object of the class %s, whose values have no names: it may "+
				"be a configuration. Save the state dict alone, with a config.json beside it", from,
				shorten(fmt.Sprint(v[className])))
		}
		keys := sortedKeys(v)
		if from == configJSON || slices.ContainsFunc(keys, isOwn) {
			err = f.readConfig(v, from)
		}
		sized := slices.ContainsFunc(keys, func(key string) bool {
			return factKeys()[lastPart(key)].from == "n_embd"
		})
		for _, key := range keys {
			f.noteHeads(key, v[key], from, sized)
			place := below + shorten(key)
			text, isText := v[key].(string)
			ends := func(end string) bool { return strings.HasSuffix(strings.ToLower(key), end) }
			switch {
			case isText && slices.ContainsFunc([]string{"name", "dir", "path", "argv"}, ends):
				// of a run, a file or a folder: whatever it speaks of
			case isText && !isOwn(key) && saysActivation(key, text):
				err = cmp.Or(err, fmt.Errorf("%s is %s: only as activation_function, among a "+
					"configuration's other keys, is it known what it means", place, quote(text)))
			default:
				err = cmp.Or(err, f.read(v[key], place, place+"."))
			}
		}
	case []any:
		if len(v) == 2 { // perhaps an item of a dict's
			if key, _ := v[0].(string); isOwn(key) {
				return f.readConfig(map[string]any{key: v[1]}, from)
			}
		}
		for i, item := range v {
			place := fmt.Sprintf("%s[%d]", from, i)
			err = cmp.Or(err, f.read(item, place, place+"."))
		}
	case string:
		if inner, err := parseJSON([]byte(v)); err == nil {
			return f.read(inner, from, from+".")
		}
		if word := wordIn(v); word != "" {
			err = fmt.Errorf("%s is a text that speaks of %s and cannot be read: only JSON can. "+
				"Save the state dict alone, with a config.json beside it", from, word)
		}
	}
	return err
}

// saysActivation tells a key that may name the activation function in words that are not its own.
func saysActivation(key, text string) bool {
	about := func(part string) bool { return strings.Contains(parted(key), part) }
	names := func(end string) bool { return strings.HasSuffix(strings.ToLower(text), end) }
	return slices.ContainsFunc(strings.Fields("_act_ nonlin ffn_type mlp_type"), about) &&
		slices.ContainsFunc(strings.Fields("lu lu2 lu_squared tanh mish swish sigmoid"), names)
}

// parted is a key with an underscore on each side and between its parts.
func parted(key string) string {
	return "_" + strings.NewReplacer(".", "_", "/", "_", ":", "_").Replace(key) + "_"
}

// readMetadata adds what a safetensors file's __metadata__ says, where all is text.
func (f Facts) readMetadata(meta map[string]string) error {
	tree := map[string]any{}
	for key, text := range meta {
		tree[key] = text
		if _, ok := factKeys()[lastPart(key)]; ok {
			tree[key] = json.Number(text) // which is what it is, if it is no number
		}
	}
	delete(tree, metaTokenizer)
	delete(tree, "source") // a name
	return f.read(tree, "its __metadata__", "its __metadata__.")
}

// wordIn finds a word of the architecture that a text gives a value, as YAML, TOML, Python and
// command lines do; "" if there is none.
func wordIn(text string) string {
	text = strings.ReplaceAll(text, "-", "_")
	for _, word := range ownWords() {
		pieces := strings.Split(text, word)
		for i, after := range pieces[1:] {
			after = strings.TrimLeft(after, `'"\ `)
			if strings.HasSuffix(pieces[i], "__") ||
				after != "" && strings.IndexByte(":=>0123456789", after[0]) >= 0 {
				return word
			}
		}
	}
	return ""
}

// parseConfig reads what a config.json, which messages call from, says about a GPT-2; the error is
// why that cannot be computed.
func parseConfig(data []byte, from string) (Facts, error) {
	tree, err := parseJSON(data)
	facts := Facts{}
	if err != nil {
		return facts, fmt.Errorf("%s: %w", from, err)
	}
	return facts, facts.read(tree, from, from+"'s ")
}

// minGPTs are minGPT's own model types, and how many heads those have that say it.
var minGPTs = map[string]int{"gpt": 0, "openai-gpt": 12, "gpt2": 12, "gpt2-medium": 16,
	"gpt2-large": 20, "gpt2-xl": 25, "gopher-44m": 16, "gpt-mini": 6, "gpt-micro": 4, "gpt-nano": 3}

// nanoGPTs are the keys of nanoGPT's model_args that are no size, and what else does no harm there:
// any other key is of a program that was changed.
var nanoGPTs = []string{className, "bias", "dropout", "flash", "flash_attention",
	"use_flash_attention"}

// gptNames are parts of the names that an architecture which can be computed goes by.
var gptNames = []string{"gpt2", "nanogpt", "mingpt"}

// readConfig adds what one dict says about a GPT-2.
func (f Facts) readConfig(said map[string]any, from string) error {
	class, _ := said[className].(string)
	is := func(name string) bool { return strings.HasSuffix("."+class, "."+name) }
	has := func(key string) bool { _, ok := said[key]; return ok }
	kind := said["model_type"]
	size, _ := kind.(string)
	_, isMinGPT := minGPTs[size]
	isMinGPT = isMinGPT && (size != "gpt2" || has("block_size")) && (has("n_head") || is("CfgNode"))
	isHF := is("GPT2Config") || size == "gpt2" && !isMinGPT
	noNull := isHF || from == configJSON && kind == nil
	var fault error
	note := func(format string, args ...any) {
		fault = cmp.Or(fault, fmt.Errorf(format, args...))
	}
	if name, ok := said["architecture"].(string); ok && !slices.ContainsFunc(gptNames,
		func(known string) bool { return strings.Contains(bare(name), known) }) {
		note("%s: architecture is %s, not gpt2", from, quote(name))
	}
	if kind != nil && !isHF && !isMinGPT {
		note("%s: model_type is %s, not gpt2", from, quote(fmt.Sprint(kind)))
	}

	facts := Facts{}
	for _, key := range sortedKeys(said) {
		known, ok := factKeys()[lastPart(key)]
		value := said[key]
		switch {
		case !ok && ownWord(key) != "" && ownWord(key) != lastPart(key):
			note("%s: %s is spelt otherwise than %s, so that nothing tells what reads it", from,
				shorten(key), ownWord(key))
			continue
		case !ok:
			_, isDict := value.(map[string]any) // in the outermost dict, parts of another kind
			own := !is("nanoGPT") || isOff(value) || slices.Contains(nanoGPTs, key) ||
				ownWord(key) != ""
			if !(from == inItself && isDict) && !(own && harmless(key, value)) {
				text, _ := json.Marshal(value)
				note("%s: %s is %s: a GPT-2 with that change cannot be computed here", from,
					shorten(key), shorten(string(text)))
			}
			continue
		case value == nil: // transformers takes it for what it is, if it can
			if !isMinGPT && known.from != "n_inner" && (known.value != 0 || noNull) {
				note("%s is null in %s, which cannot be right", key, from)
			}
			continue
		case size == "gpt2" && isHF && !has(known.from) &&
			strings.Contains(" n_heads num_heads heads hidden_act ", " "+key+" "): // read by nobody
			note("%s: of a gpt2, %s is called %s", from, key, known.from)
			continue
		}
		where := from
		if key != known.from {
			where += " (" + key + ")"
		}
		value, err := parseFact(known.value, value)
		if err == nil {
			err = facts.put(known.from, value, where)
		} else if fault == nil {
			text := quote(fmt.Sprint(said[key]))
			switch said[key].(type) {
			case *strided, map[string]any:
				text = pyKind(said[key])
			}
			err = fmt.Errorf("%s is %s in %s, %w", key, text, from, err)
		}
		fault = cmp.Or(fault, err)
	}
	if n := minGPTs[size]; n > 0 && !isHF && facts["n_head"].value == nil {
		facts["n_head"] = Fact{n, from}
	}
	heads, _ := facts["n_head"].value.(int)
	if d, _ := facts["n_embd"].value.(int); heads > 0 && d%heads != 0 {
		note("%s: n_head is %d, which does not divide n_embd, %d", from, heads, d)
	}
	if isHF {
		facts["model_type"] = Fact{"gpt2", from}
		minor, v := 0, Variant{}
		n, _ := fmt.Sscanf(fmt.Sprint(said["transformers_version"]), "4.%d", &minor)
		if v, _ = facts.variant(); n > 0 && minor >= 44 && (v.unscaled || v.byLayer) {
			facts[scalingUnheeded] = Fact{true, from}
		}
	}
	if _, ok := facts["activation_function"]; !ok { // each trainer has its own where none is said
		const tanh, exact = "gelu_new", "gelu"
		for _, k := range []struct {
			known            bool
			activation, from string
		}{
			{isHF, tanh, from},
			{is("nanoGPT") && has("bias"), exact, "nanoGPT"},
			{is("nanoGPT"), tanh, "nanoGPT"}, // from before that option
			{is("GPTConfig") && (has("dropout") || has("bias")), exact, "nanoGPT"},
			{is("GPTConfig"), tanh, "build-nanogpt"},
			{is("CfgNode"), tanh, "minGPT"},
		} {
			if k.known {
				facts["activation_function"] = Fact{k.activation, k.from}
				break
			}
		}
	}
	return cmp.Or(fault, f.add(facts))
}

// Where the outermost dict of a config.json and of a PyTorch file stands.
const (
	configJSON = "config.json"
	inItself   = "the checkpoint itself"
)

// parseFact takes a value, JSON's or a pickle's, for what zero has the type of, in the range in
// which it means something. A switch that is a text, such as "false", is refused: for Python it is
// true.
func parseFact(zero, value any) (any, error) {
	wrong := errors.New("which cannot be right")
	text := fmt.Sprint(value)
	switch zero.(type) {
	case int:
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, wrong
		}
		return n, nil
	case float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || !(x >= 0 && x <= 1) {
			return nil, wrong
		}
		return x + 0, nil // not −0
	case bool:
		b, err := strconv.ParseBool(strings.ToLower(text))
		if _, isText := value.(string); err != nil || isText {
			return nil, wrong
		}
		return b, nil
	}
	if _, ok := activationNamed(text); !ok {
		return nil, errors.New("and only GPT-2's own, gelu_new, and gelu and relu can be computed")
	}
	return text, nil
}

// variant is the architecture that the facts ask for, and whether they say which activation
// function it has.
func (f Facts) variant() (v Variant, activation bool) {
	v = openAIs
	said, activation := f["activation_function"]
	if activation {
		v.activation, _ = activationNamed(said.value.(string))
	}
	if epsilon, ok := f["layer_norm_epsilon"]; ok {
		v.epsilon = epsilon.value.(float64)
	}
	v.unscaled = f["scale_attn_weights"].value == false
	v.byLayer = f["scale_attn_by_inverse_layer_idx"].value == true
	return v, activation
}

// activationNamed is the activation function that transformers knows by a name. ok is false for one
// that cannot be computed here.
func activationNamed(name string) (a Activation, ok bool) {
	switch name {
	case "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate", "gelu_python_tanh":
		return geluTanh, true
	case "gelu", "gelu_python":
		return geluExact, true
	case "relu":
		return relu, true
	}
	return 0, false
}

// otherThan says how a config.json's sizes differ from others; "" if they do not.
func (f Facts) otherThan(others Facts) string {
	for _, key := range sizeKeys {
		if said, ok := f[key]; ok && said.value != others[key].value {
			return fmt.Sprintf(" (the %s there is about another model: its %s is %v, not %v)",
				said.from, key, said.value, others[key].value)
		}
	}
	return ""
}

// Of keys that are not known, those with one of innerWorkings in their names, between underscores
// or not, change what a GPT-2 computes, unless one of harmlessParts shows that they do not:
// dropout, the heads of classifiers, how training goes, and how, not what, is computed. Those with
// one of trueParts must not be false.
var (
	innerWorkings = strings.Fields("attn attention mult scale scaling mup rotary rope alibi " +
		"softmax loops relu nonlin " +
		"position pos_emb norm rms ln_ residual gate gating moe expert quant window sparse " +
		"activation _act_ _afn_ nonlinearity _eps_ _epsilon_ glu softcap soft_cap " +
		"causal direction prefix_lm pruned adapter encoder_decoder kv_ parallel")
	trueParts     = strings.Fields("pre_ln pre_norm prenorm causal pos_emb positional")
	harmlessParts = strings.Fields("__ drop adam _summary_ flash reorder_and_upcast_attn " +
		"output_attentions attn_implementation grad loss optim batch precision data_ _lr_ " +
		"multi_gpu multiproc clip_norm norm_clip warmup parallel_size scale_parameter advantage " +
		"_log_ init_scale activation_checkpointing")
)

// isOff tells a value that turns nothing on.
func isOff(value any) bool {
	return value == nil || slices.Contains([]string{"false", "0", "0.0", ""}, fmt.Sprint(value))
}

// harmless tells whether a key of a configuration leaves the numbers as they are.
func harmless(key string, value any) bool {
	padded := parted(key)
	in := func(part string) bool { return strings.Contains(padded, part) }
	dict, isDict := value.(map[string]any)
	list, isList := value.([]any)
	_, isTensor := value.(*strided)
	switch {
	case value == false && slices.ContainsFunc(trueParts, in):
		return strings.Contains(key, "drop")
	case key == "eps" || key == "epsilon": // of the layer norms, or the optimizer's
		epsilon, err := parseFact(0.0, value)
		return value == nil || err == nil && epsilon == openAIs.epsilon
	case isDict && len(dict) == 1 && dict["version"] != nil: // of a module, beside a state dict
		return true
	case isOff(value), isTensor, isDict && len(dict) == 0, isList && len(list) == 0,
		slices.ContainsFunc(harmlessParts, in):
		return true
	case key == "position_embedding_type":
		return value == "absolute" || value == "learned"
	case key == "auto_map": // a tokenizer of its own is not the model's affair
		isModel := func(name string) bool { return strings.HasPrefix(name, "AutoModel") }
		return isDict && !slices.ContainsFunc(sortedKeys(dict), isModel)
	}
	return !slices.ContainsFunc(innerWorkings, in)
}

const (
	onlyRead   = ": only safetensors and PyTorch files can be read"
	made       = "; use the checkpoint that it was made from"
	tensorFlow = "a TensorFlow checkpoint" + onlyRead +
		"; OpenAI's own weights are `mechpatch fetch`"
	llamaC = "a model of llama2.c, not a GPT-2"
	onnx   = "an ONNX model" + onlyRead
)

// foreignForms are the files and folders that are neither safetensors nor PyTorch's, by parts of a
// name, ^ and $ being its ends, or by the bytes that a file begins with.
var foreignForms = []struct{ names, magics, what string }{
	{"^adapter_config.json$|^adapter_model.", "", loraAdvice},
	{".ckpt.index|.ckpt.data-|.ckpt.meta|^saved_model.pb$", "", tensorFlow},
	{".distcp$|^.metadata$", "", "a checkpoint in PyTorch's distributed form: write it to one " +
		"file with torch.distributed.checkpoint.format_utils.dcp_to_torch_save"},
	{".h5$", "\x89HDF", "an HDF5 file (Keras, TensorFlow)" + onlyRead},
	{".msgpack", "", "a Flax checkpoint (msgpack)" + onlyRead},
	{".gguf$", "GGUF", "a GGUF file" + onlyRead + made},
	{".onnx", "", onnx},
	{"", "lmgg|fmgg|tjgg", "a ggml file" + onlyRead + made},
	{"", "\x93NUMPY", "a NumPy file (npy)" + onlyRead},
	{"", "\xc6\xd7\x34\x01", "a checkpoint of llm.c" + onlyRead +
		": its own export script, dev/eval/export_hf.py, makes a folder that is"},
	{"", "24ka", llamaC},
	{"", "version https://git-lfs", "a Git LFS pointer, not the weights themselves: fetch them " +
		"with `git lfs pull` or `mechpatch fetch`"},
	{"", "<", "a web page, not weights: the download brought an HTML or XML document instead of " +
		"the file"},
	{"", "{|[", "a JSON file, not weights: name the file of weights beside it"},
	{"", "\x7fELF|MZ", "a program, not weights"},
	{"", "\x1f\x8b|\xfd7zXZ|\x28\xb5\x2f\xfd|BZh|7z\xbc\xaf",
		"a compressed archive: unpack it first"},
}

// foreignForm says what files of these names are, or one that begins with head; "" if nothing
// tells.
func foreignForm(names []string, head []byte) string {
	start := strings.TrimLeft(string(head), " \t\r\n\ufeff")
	for _, form := range foreignForms {
		for part := range strings.SplitSeq(form.names, "|") {
			for _, name := range names {
				if part != "" && strings.Contains("^"+strings.ToLower(name)+"$", part) {
					return form.what
				}
			}
		}
		for magic := range strings.SplitSeq(form.magics, "|") {
			if magic != "" && strings.HasPrefix(start, magic) {
				return form.what
			}
		}
	}
	isText := func(b []byte) bool {
		return len(b) > 0 && !bytes.ContainsFunc(b, func(r rune) bool {
			return r < ' ' && r != '\n' && r != '\r' && r != '\t'
		})
	}
	n := len(head)
	switch {
	case isLlama(head):
		return llamaC
	case n > 4 && head[0] == 8 && head[1] < 32 && (head[2] == 0x12 || head[2] == 0x3a):
		return onnx // protobuf: ir_version, then the producer or the graph
	case n > 2 && (head[0]&0xf0 == 0x80 || head[0] == 0xde) && isText(head[2:min(8, n)]):
		return "a msgpack file (Flax)" + onlyRead
	case isText(head):
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
