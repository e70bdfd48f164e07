package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
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
// the state dict into a dict, next to the optimizer's state. But one tensor's name always ends in
// wte.weight, and what stands before that stands before all.

// headKeys are the names under which trainers say how many heads a layer has.
var headKeys = []string{"n_head", "num_attention_heads", "n_heads", "num_heads"}

// factKeys are the keys that are understood, by all their names, and the type of what is said.
var factKeys = sync.OnceValue(func() map[string]Fact {
	keys := map[string]Fact{}
	for _, k := range []struct {
		zero  any
		names string // the first is config.json's
	}{
		{0, "n_layer num_hidden_layers n_layers num_layers"},
		{0, strings.Join(headKeys, " ")},
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

// readFacts takes the facts from what was said, JSON's or a pickle's values by key. Other keys are
// left alone here, and null says nothing. A switch that is a text, such as "false", is refused: for
// Python it is true. The error is the first fault.
func readFacts(said func(key string) any, from string) (Facts, error) {
	facts := Facts{}
	var fault error
	for _, key := range sortedKeys(factKeys()) {
		value := said(key)
		if value == nil {
			continue
		}
		known := factKeys()[key] // its from is the key's first name
		text := fmt.Sprint(value)
		var err error
		switch known.value.(type) {
		case int:
			value, err = strconv.Atoi(text)
		case float64:
			var epsilon float64
			epsilon, err = strconv.ParseFloat(text, 64)
			if value = epsilon + 0; !(epsilon >= 0) { // not −0
				err = strconv.ErrRange
			}
		case bool:
			if _, isText := value.(string); isText {
				err = strconv.ErrSyntax
				break
			}
			value, err = strconv.ParseBool(strings.ToLower(text))
		case string:
			value = text
			if _, ok := activationNamed(text); !ok {
				err = fmt.Errorf("%s is %s in %s: only GPT-2's own, gelu_new, and gelu and relu "+
					"can be computed", known.from, quote(text), from)
				fault = cmp.Or(fault, err)
				continue
			}
		}
		if err != nil {
			err = fmt.Errorf("%s is %s in %s, which cannot be right", key, quote(text), from)
		} else {
			where := from
			if key != known.from {
				where += " (" + key + ")"
			}
			err = facts.put(known.from, value, where)
		}
		fault = cmp.Or(fault, err)
	}
	return facts, fault
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

// parseConfig reads what a config.json, which messages call from, says about a GPT-2; the error is
// why that cannot be computed. Trainers other than Hugging Face put it one level down, in "model".
func parseConfig(data []byte, from string) (Facts, error) {
	var said map[string]any
	if err := parseJSON(data, &said); err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	for _, key := range []string{"model", "model_args", "model_config"} {
		if inner, ok := said[key].(map[string]any); ok && said["n_embd"] == nil {
			facts, err := readArguments(func(key string) any { return inner[key] }, from)
			return facts, cmp.Or(err, checkHarmless(inner, from))
		}
	}
	facts, err := readFacts(func(key string) any { return said[key] }, from)
	for _, key := range sortedKeys(said) { // transformers takes null for what it is, if it can
		if name := factKeys()[key].from; name != "" && name != "n_inner" && said[key] == nil {
			err = cmp.Or(err, fmt.Errorf("%s is null in %s, which cannot be right", key, from))
		}
	}
	switch kind := said["model_type"]; kind {
	case nil:
	case "gpt2":
		for _, key := range []string{"n_heads", "num_heads", "hidden_act"} { // read by nobody
			if name := factKeys()[key].from; said[key] != nil && said[name] == nil {
				err = cmp.Or(err, fmt.Errorf("%s: of a gpt2, %s is called %s", from, key, name))
			}
		}
		if _, ok := facts["activation_function"]; !ok { // transformers' own where nothing is said
			facts["activation_function"] = Fact{"gelu_new", from}
		}
	default:
		err = fmt.Errorf("%s: model_type is %s, not gpt2", from, quote(fmt.Sprint(kind)))
	}
	heads, _ := facts["n_head"].value.(int)
	if width, ok := facts["n_embd"].value.(int); ok && heads > 0 && width%heads != 0 && err == nil {
		err = fmt.Errorf("%s: n_head is %d, which does not divide n_embd, %d", from, heads, width)
	}
	return facts, cmp.Or(err, checkHarmless(said, from))
}

// checkHarmless is an error if a configuration asks for what cannot be computed here.
func checkHarmless(said map[string]any, from string) error {
	for _, key := range sortedKeys(said) {
		if !harmless(key, said[key]) {
			value, _ := json.Marshal(said[key])
			return fmt.Errorf("%s: %s is %s: a GPT-2 with that change cannot be computed here",
				from, shorten(key), shorten(string(value)))
		}
	}
	return nil
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

// harmless tells whether a key of config.json leaves the numbers as they are. Of keys that are not
// known, those are not whose name speaks of the model's inner workings.
func harmless(key string, value any) bool {
	switch {
	case value == nil || value == false:
		return true
	case factKeys()[key].from != "" || slices.Contains(harmlessKeys, key),
		harmlessNames().MatchString(key):
		return true
	case key == "position_embedding_type":
		return value == "absolute" || value == "learned"
	case key == "auto_map": // a tokenizer of its own is not the model's affair
		models, _ := value.(map[string]any)
		for name := range models {
			if strings.HasPrefix(name, "AutoModel") {
				return false
			}
		}
		return models != nil
	}
	dict, isDict := value.(map[string]any)
	list, isList := value.([]any)
	empty := isDict && len(dict) == 0 || isList && len(list) == 0
	return empty || !innerWorkings().MatchString(key)
}

// harmlessKeys are keys that innerWorkings would take for others, and so are harmlessNames:
// dropout, the heads of classifiers, and how, not what, is computed.
var harmlessKeys = []string{"reorder_and_upcast_attn", "output_attentions", "attn_implementation"}

var (
	harmlessNames = lazyRegexp(`^_|drop|^summary_|flash`)
	innerWorkings = lazyRegexp(`attn|attention|mult|scal(e|ing)|mup|rotary|rope|alibi|` +
		`position|pos_emb|norm|rms|ln_|_ln$|residual|gate|gating|moe|expert|quant|window|sparse|` +
		`activation|^act$|^afn$|glu|soft_?cap|causal|direction|prefix_lm|pruned|adapter|` +
		`encoder_decoder|kv_|parallel`)
)

// readArguments takes the facts from a trainer's own arguments. minGPT's may name the size of a
// model instead of saying it.
func readArguments(said func(key string) any, from string) (Facts, error) {
	heads := map[string]int{"openai-gpt": 12, "gpt2": 12, "gpt2-medium": 16, "gpt2-large": 20,
		"gpt2-xl": 25, "gopher-44m": 16, "gpt-mini": 6, "gpt-micro": 4, "gpt-nano": 3}
	facts, err := readFacts(said, from)
	size, _ := said("model_type").(string)
	if n := heads[size]; n > 0 && err == nil && facts["n_head"].value == nil {
		facts["n_head"] = Fact{n, from}
	}
	return facts, err
}

// stateDict finds the state dict of a GPT-2 in what a PyTorch file holds: the dict with a key that
// ends in wte.weight, else the one with the most tensors. around are the dicts that it lies in, the
// outermost first.
func stateDict(object any) (state *pyDict, around []*pyDict, err error) {
	outer, ok := object.(*pyDict)
	if !ok {
		return nil, nil, fmt.Errorf("it holds %s, not a state dict", pyKind(object))
	}
	type place struct {
		dict   *pyDict
		around []*pyDict
		key    string
	}
	var other place
	most := 0
	const deepest = 3 // dicts within dicts
	level, seen := []place{{dict: outer}}, map[*pyDict]bool{outer: true}
	for depth := 0; depth <= deepest; depth++ {
		var found, next []place
		for _, p := range level {
			gpt2, tensors := p.dict.tensors()
			if gpt2 {
				found = append(found, p)
			}
			if tensors > most {
				most, other = tensors, p
			}
			for _, key := range p.dict.keys {
				inner, ok := p.dict.values[key].(*pyDict)
				if name, isString := key.(string); ok && isString && !seen[inner] {
					seen[inner] = true
					next = append(next, place{inner, append(slices.Clip(p.around), p.dict), name})
				}
			}
		}
		// Of several, an average of the weights beside the model for one, the usual name decides.
		for _, name := range []string{"model", "state_dict", "model_state_dict", "module"} {
			for _, p := range found {
				if p.key == name || len(found) == 1 {
					return p.dict, p.around, nil
				}
			}
		}
		if len(found) > 1 {
			return nil, nil, fmt.Errorf("it holds several models, %s and %s: save the state dict "+
				"of one alone", quote(found[0].key), quote(found[1].key))
		}
		level = next
	}
	if wholeModel(outer) {
		return nil, nil, errors.New("it holds a model saved whole, which only its own program " +
			"can open: save it again there, as torch.save(model.state_dict(), FILE)")
	}
	if _, ok := outer.get("ds_version"); ok && most == 0 {
		return nil, nil, errors.New("this is a part of a DeepSpeed checkpoint: make one file of " +
			"it with the zero_to_fp32.py that lies beside it")
	}
	if most == 0 {
		return nil, nil, fmt.Errorf("it holds %s without tensors, not a state dict", pyKind(outer))
	}
	return other.dict, other.around, nil
}

// tensors counts a dict's tensors, and tells whether they are a GPT-2's.
func (d *pyDict) tensors() (gpt2 bool, n int) {
	for _, key := range d.keys {
		if _, ok := d.values[key].(*strided); ok {
			n++
			name, _ := key.(string)
			gpt2 = gpt2 || isEmbedding(name)
		}
	}
	return gpt2, n
}

// wholeModel tells whether an object, or one in it, is a module of PyTorch's with all its parts.
func wholeModel(d *pyDict) bool {
	if _, ok := d.get("_modules"); ok {
		return true
	}
	for _, key := range d.keys {
		if inner, ok := d.values[key].(*pyDict); ok {
			if _, ok := inner.get("_modules"); ok {
				return true
			}
		}
	}
	return false
}

// trainerFacts is what the dicts around a state dict say about the model, in arguments and
// configurations of any name. By theirs nanoGPT and build-nanogpt are known, and so their
// activation function, which nothing else tells.
func trainerFacts(around []*pyDict) (Facts, error) {
	facts := Facts{}
	for _, d := range around {
		if args, ok := d.values["model_args"].(*pyDict); ok { // nanoGPT: its config is the defaults
			said, err := readArguments(attributes(args), "its model_args")
			if err = cmp.Or(err, checkHarmless(args.plain(), "its model_args")); err != nil {
				return nil, err
			}
			if _, ok := said["activation_function"]; !ok {
				activation := "gelu"
				if _, ok := args.get("bias"); !ok { // from before that option: the tanh form
					activation = "gelu_new"
				}
				said["activation_function"] = Fact{activation, "nanoGPT"}
			}
			return said, facts.add(said)
		}
		for _, key := range headKeys {
			if value, ok := attributes(d)(key).(int64); ok {
				if err := facts.put("n_head", int(value), "the checkpoint itself"); err != nil {
					return nil, err
				}
			}
		}
		for _, key := range d.keys {
			name, _ := key.(string)
			from := "its " + shorten(name)
			if text, ok := d.values[key].(string); ok && strings.HasPrefix(text, "{") { // JSON
				more, err := parseConfig([]byte(text), from)
				if err = cmp.Or(err, facts.add(more)); err != nil {
					return nil, err
				}
			}
			args, ok := d.values[key].(*pyDict)
			if !ok || name == "" {
				continue
			}
			for _, key := range []string{"config", "model", "model_config", "gpt_config"} {
				value, _ := args.get(key)
				if inner, ok := value.(*pyDict); ok {
					args = inner
				}
			}
			said := attributes(args)
			has := func(key string) bool { return said(key) != nil }
			if !slices.ContainsFunc(headKeys, has) && !has("model_type") {
				continue // not about the model
			}
			more, err := readArguments(said, from)
			class := string(args.class)
			isConfig := strings.HasSuffix(class, ".GPTConfig") // nanoGPT's and build-nanogpt's
			if isConfig || said("model_type") == "gpt2" {      // Hugging Face's
				err = cmp.Or(err, checkHarmless(args.plain(), from))
			}
			if err != nil {
				return nil, err
			}
			_, dropout := args.get("dropout")
			_, bias := args.get("bias")
			if _, ok := more["activation_function"]; !ok {
				switch {
				case isConfig && (dropout || bias):
					more["activation_function"] = Fact{"gelu", "nanoGPT"}
				case isConfig:
					more["activation_function"] = Fact{"gelu_new", "build-nanogpt"}
				case strings.HasSuffix(class, ".CfgNode"):
					more["activation_function"] = Fact{"gelu_new", "minGPT"}
				}
			}
			if err := facts.add(more); err != nil {
				return nil, err
			}
		}
	}
	return facts, nil
}

// attributes looks up what an object or a dict of a pickle holds, if that is a plain value.
func attributes(d *pyDict) func(key string) any {
	return func(key string) any {
		switch value, _ := d.get(key); value.(type) {
		case bool, int64, float64, string:
			return value
		}
		return nil
	}
}

// plain is what an object or a dict holds by name.
func (d *pyDict) plain() map[string]any {
	said := map[string]any{}
	for _, part := range append([]*pyDict{d}, d.state...) {
		for _, key := range part.keys {
			if name, ok := key.(string); ok {
				said[name] = attributes(part)(name)
			}
		}
	}
	return said
}

// Parameters are the tensors of a GPT-2 by canonical name, as the file holds them, and all that is
// known of the model.
type Parameters struct {
	Config
	Variant
	inner        int               // the width of the MLPs
	tensors      map[string]Tensor // lm_head.weight only where it is not tied to wte.weight
	turned       bool              // linear weights are [out, in] in the file: PyTorch's nn.Linear
	biases       bool              // there are biases
	headCopied   bool              // the file has an lm_head, but it is wte again
	masks        bool              // there are causal masks, as minGPT saves them
	headsAssumed bool              // nothing says how many heads there are
	notes        []string          // what of the file is left out
}

const lmHead = "lm_head.weight"

// isEmbedding tells whether a name is that of a GPT-2's token embedding, after any prefix.
func isEmbedding(name string) bool {
	return name == "wte.weight" || strings.HasSuffix(name, ".wte.weight")
}

// canonicalTensors finds the GPT-2 among a checkpoint's tensors, and takes prefixes, masks and a
// tied lm_head away. A tensor that is left over, such as a classifier's head or an adapter's, is an
// error: the checkpoint is not the GPT-2 that it looks like.
func canonicalTensors(ck *Checkpoint) (*Parameters, error) {
	byName := make(map[string]Tensor, len(ck.tensors))
	var names []string
	for _, t := range ck.tensors {
		name := unwrapped.Replace(t.name)
		if _, twice := byName[name]; twice {
			return nil, fmt.Errorf("tensor %s comes twice", quote(name))
		}
		byName[name] = t
		names = append(names, name)
	}
	// Of names that are tied, safetensors' save_model keeps one.
	for alias, name := range ck.meta {
		t, ok := byName[unwrapped.Replace(name)]
		if _, there := byName[unwrapped.Replace(alias)]; ok && !there {
			byName[unwrapped.Replace(alias)] = t
			names = append(names, unwrapped.Replace(alias))
		}
	}
	slices.Sort(names)
	first := slices.IndexFunc(names, isEmbedding)
	if first < 0 {
		return nil, notGPT2(names)
	}
	prefix := strings.TrimSuffix(names[first], "wte.weight")
	if i := slices.IndexFunc(names[first+1:], isEmbedding); i >= 0 {
		return nil, fmt.Errorf("it holds several models: %s and %s", quote(names[first]),
			quote(names[first+1+i]))
	}

	for _, name := range names {
		if err := foreignTensor(name); err != nil {
			return nil, err
		}
	}
	p := &Parameters{tensors: map[string]Tensor{}}
	for _, name := range names {
		t := byName[name]
		rest, ok := strings.CutPrefix(name, prefix)
		outer, isHead := strings.CutSuffix(name, lmHead)
		_, inLayer, _ := splitLayer(rest)
		switch {
		case isHead && strings.HasPrefix(prefix, outer):
			if _, twice := p.tensors[lmHead]; twice {
				return nil, fmt.Errorf("tensor %s comes twice", quote(lmHead))
			}
			p.tensors[lmHead] = t
		case ok && (inLayer == "attn.bias" || inLayer == "attn.masked_bias"): // the causal mask
			p.masks = true
		case leftOut(name) != "":
			note := fmt.Sprintf("%s, which is not GPT-2's, is left out", leftOut(name))
			if !slices.Contains(p.notes, note) {
				p.notes = append(p.notes, note)
			}
		case ok:
			p.tensors[rest] = t
		default:
			return nil, unknownTensor(name)
		}
	}
	wte := p.tensors["wte.weight"]
	if lm, ok := p.tensors[lmHead]; ok && lm.format == wte.format &&
		slices.Equal(lm.shape, wte.shape) && bytes.Equal(lm.data, wte.data) {
		delete(p.tensors, lmHead)
		p.headCopied = true
	}
	for name := range p.tensors {
		p.biases = p.biases || strings.HasSuffix(name, ".bias")
	}
	attn := p.tensors["h.0.attn.c_attn.weight"].shape
	p.turned = len(attn) == 2 && len(wte.shape) == 2 && attn[1] == wte.shape[1] &&
		attn[0] != attn[1]
	return p, nil
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

// unwrapped takes away what wrappers of PyTorch's put between the parts of a name.
var unwrapped = strings.NewReplacer("_orig_mod.", "", "_fsdp_wrapped_module.", "",
	"_checkpoint_wrapped_module.", "")

// leftOut names what may stand beside a GPT-2 and does not change its logits; "" is nothing.
func leftOut(name string) string {
	for _, head := range []string{"v_head", "multiple_choice_head"} {
		if strings.HasPrefix(name, head+".") || strings.Contains(name, "."+head+".") {
			return head
		}
	}
	return ""
}

// foreignTensor is the error of a tensor that tells what it belongs to, if that is not a GPT-2.
func foreignTensor(name string) error {
	for _, k := range []struct{ parts, what string }{
		{"score classifier", "this is a classifier, which predicts no tokens"},
		{"crossattention ln_cross_attn",
			"this is a model with cross-attention, which GPT-2 does not have"},
		{"lora_A base_layer", "this is " + loraAdvice},
		{"SCB absmax quant_map qweight qzeros _packed_params weight_scale _scale",
			"the weights are quantized: save the model in F32, F16 or BF16"},
	} {
		for _, part := range strings.Fields(k.parts) {
			if strings.Contains("."+name+".", "."+part+".") {
				return fmt.Errorf("tensor %s: %s", quote(name), k.what)
			}
		}
	}
	return nil
}

func unknownTensor(name string) error {
	return fmt.Errorf("tensor %s is not one of GPT-2's: a model that has it is not the one that "+
		"mechpatch computes", quote(name))
}

const loraAdvice = "a LoRA adapter: save the whole model, after merge_and_unload() of peft"

// notGPT2 is the error of tensors among which there is no token embedding of a GPT-2.
func notGPT2(names []string) error {
	for _, k := range []struct{ part, what string }{
		{"lora_", "this is " + loraAdvice},
		{"embed.W_E", "this is a TransformerLens state dict, whose weights may have been folded: " +
			"use the checkpoint that it was made from"},
		{"tok_emb.weight", "this is the minGPT of 2020 (tok_emb), whose parts are others: only " +
			"its later form, with transformer.wte, is read"},
	} {
		for _, name := range names {
			if strings.Contains(name, k.part) {
				return errors.New(k.what)
			}
		}
	}
	if len(names) == 0 {
		return errors.New("it holds no tensors")
	}
	return fmt.Errorf("no tensor \"wte.weight\": these are not the weights of a GPT-2 (the first "+
		"is %s)", quote(names[0]))
}

const (
	onlyRead   = ": only safetensors and PyTorch files can be read"
	tensorFlow = "this is a TensorFlow checkpoint" + onlyRead +
		"; OpenAI's own weights are `mechpatch fetch`"
)

// foreignFile says what a file is that is neither safetensors nor PyTorch's, judged by its name
// and its first bytes, and what to do about it; "" if they tell nothing.
func foreignFile(path string, head []byte) string {
	const llamaC = "this is a model of llama2.c, not a GPT-2"
	const origin = "; use the checkpoint that it was made from"
	base := strings.ToLower(filepath.Base(path))
	for _, f := range []struct{ part, kind string }{
		{".ckpt.index", tensorFlow}, {".ckpt.data-", tensorFlow}, {".ckpt.meta", tensorFlow},
		{".msgpack", "this is a Flax checkpoint (msgpack)" + onlyRead},
		{".onnx", "this is an ONNX model" + onlyRead},
	} {
		if strings.Contains(base, f.part) {
			return f.kind
		}
	}
	start := bytes.TrimLeft(head, " \t\r\n\ufeff")
	for _, f := range []struct{ magics, kind string }{
		{"version https://git-lfs", "this is a Git LFS pointer, not the weights themselves: " +
			"fetch them with `git lfs pull` or `mechpatch fetch`"},
		{"<", "this is a web page, not weights: the download brought an HTML or XML document " +
			"instead of the file"},
		{"{|[", "this is a JSON file, not weights: name the file of weights beside it"},
		{"\x89HDF", "this is an HDF5 file (Keras, TensorFlow)" + onlyRead},
		{"\x93NUMPY", "this is a NumPy file (npy)" + onlyRead},
		{"GGUF", "this is a GGUF file" + onlyRead + origin},
		{"lmgg|fmgg|tjgg", "this is a ggml file" + onlyRead + origin},
		{"\xc6\xd7\x34\x01", "this is a checkpoint of llm.c" + onlyRead +
			": its own export script, dev/eval/export_hf.py, makes a folder that is"},
		{"24ka", llamaC},
		{"\x7fELF|MZ", "this is a program, not weights"},
		{"\x1f\x8b|\xfd7zXZ|\x28\xb5\x2f\xfd|BZh|7z\xbc\xaf",
			"this is a compressed archive: unpack it first"},
	} {
		for _, magic := range strings.Split(f.magics, "|") {
			if bytes.HasPrefix(start, []byte(magic)) {
				return f.kind
			}
		}
	}
	switch {
	case len(head) >= 28 && sevenSmall(head):
		return llamaC
	case len(head) > 4 && head[0] == 8 && head[1] < 32 && (head[2] == 0x12 || head[2] == 0x3a):
		// protobuf: ir_version, then the producer or the graph
		return "this is an ONNX model" + onlyRead
	case len(head) > 2 && (head[0]&0xf0 == 0x80 || head[0] == 0xde) &&
		isPrintable(head[2:min(8, len(head))]):
		return "this is a msgpack file (Flax)" + onlyRead
	case len(head) > 0 && isPrintable(head):
		return "this is a text file, not weights"
	}
	return ""
}

// sevenSmall tells the header of an older llama2.c model: seven 32-bit numbers, such as 288, 768,
// 6, 6, 6, 32000, 256, of which the vocabulary's may be negative.
func sevenSmall(head []byte) bool {
	for i := range 7 {
		n := int32(binary.LittleEndian.Uint32(head[4*i:]))
		if i == 5 {
			n = max(n, -n)
		}
		if n < 1 || n > 1<<20 {
			return false
		}
	}
	return true
}

func isPrintable(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' {
			return false
		}
	}
	return true
}

// foreignFolder says what the files of a folder are in which no weights can be read; "" if their
// names tell nothing.
func foreignFolder(names []string) string {
	for _, k := range []struct{ part, what string }{
		{"adapter_config.json", "it holds " + loraAdvice},
		{"adapter_model.", "it holds " + loraAdvice},
		{".ckpt.index", tensorFlow}, {"hparams.json", tensorFlow},
		{"tf_model.h5", "it holds an HDF5 file (Keras, TensorFlow)" + onlyRead},
		{".msgpack", "it holds a Flax checkpoint (msgpack)" + onlyRead},
		{".gguf", "it holds a GGUF file" + onlyRead},
		{".onnx", "it holds an ONNX model" + onlyRead},
		{"saved_model.pb", tensorFlow},
		{".distcp", "it holds a checkpoint in PyTorch's distributed form: write it to one file " +
			"with torch.distributed.checkpoint.format_utils.dcp_to_torch_save"},
		{".h5", "it holds an HDF5 file (Keras, TensorFlow)" + onlyRead},
	} {
		for _, name := range names {
			if strings.Contains(name, k.part) {
				return k.what
			}
		}
	}
	return ""
}
