package main

import (
	"cmp"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestDialects opens checkpoints that the trainers' own programs wrote (testdata/dialects/make.py),
// converts them, and puts them into a bundle. The logits must be those of their own forward pass.
func TestDialects(t *testing.T) {
	var golden struct {
		IDs    []int
		Logits map[string][]float64
	}
	testdata(t, "dialects/logits.json", &golden)
	if len(golden.Logits) < 12 {
		t.Fatal(len(golden.Logits))
	}
	program := file(t, "program", emptyProgram)
	for path, want := range golden.Logits {
		t.Run(path, func(t *testing.T) {
			check := func(path string, offset, length int64) *Model {
				t.Helper()
				m, ck, err := openModel(path, offset, length, 0)
				check(t, err)
				defer ck.close()
				logits := must(m.next(golden.IDs))
				worst := 0.0
				for i, y := range logits {
					worst = max(worst, math.Abs(float64(y)-want[i]))
				}
				if len(logits) != len(want) || !(worst < 1e-5) {
					t.Errorf("%s: %d logits, the worst off by %g", path, len(logits), worst)
				}
				return m
			}
			path = filepath.Join("testdata/dialects", path)
			m := check(path, 0, 0)
			isTorch := filepath.Ext(path) == ".pt" || filepath.Ext(path) == ".ckpt"
			if told := strings.Contains(fmt.Sprint(m.notes),
				"converted in memory"); told != isTorch {
				t.Errorf("notes: %q", m.notes)
			}
			for folder, part := range map[string]string{"value-head": "v_head",
				"averaged": "n_averaged"} {
				note := part + ", which is not GPT-2's, is left out"
				if slices.Contains(m.notes, note) != strings.Contains(path, folder) {
					t.Errorf("notes: %q", m.notes)
				}
			}

			folder := t.TempDir()
			lean := filepath.Join(folder, "lean.safetensors")
			must(convert(path, lean, asStored, 0, ""))
			if again := check(lean, 0, 0); again.Config != m.Config || again.Variant != m.Variant ||
				again.headsAssumed || again.notes != nil &&
				!strings.Contains(fmt.Sprint(m.notes), "nothing says") {
				t.Errorf("converted: %v %v %q, want %v %v", again.Config, again.Variant,
					again.notes,
					m.Config, m.Variant)
			}
			out := filepath.Join(folder, "bundle")
			must(bundle(program, path, out, 0, ""))
			offset, length, err := bundledIn(out)
			if err != nil {
				t.Fatal(err)
			}
			check(out, offset, length)
		})
	}
}

// TestAdapterBeside: transformers would load the adapter that lies beside a model. Here it is left
// out, and a note says so.
func TestAdapterBeside(t *testing.T) {
	files := inFolder(t, "testdata/dialects/huggingface")
	files["adapter_config.json"] = "{}"
	path := filepath.Join(folderOf(t, files), "model.safetensors")
	m, ck, err := openModel(path, 0, 0, 0)
	check(t, err)
	ck.close()
	notes, err := convert(path, filepath.Join(t.TempDir(), "lean"), asStored, 0, "")
	for _, notes := range [][]string{m.notes, notes} {
		if want := "an adapter lies beside " + path + ": it is not applied"; err != nil ||
			!slices.Contains(notes, want) {
			t.Errorf("%q, %v", notes, err)
		}
	}
}

func TestParseConfig(t *testing.T) {
	type facts map[string]any
	for _, c := range []struct {
		config string
		want   facts // some of them
	}{
		{`{}`, nil},
		{`{"model_type": "gpt2", "n_inner": null, "attn_mult": null}`,
			facts{"n_head": nil, "activation_function": "gelu_new"}},
		{`{"n_head": 12, "n_embd": 768, "n_layer": 12, "n_ctx": 1024, "n_positions": 1024,
			"attn_pdrop": 0.1, "summary_activation": "tanh", "reorder_and_upcast_attn": true,
			"task_specific_params": {"text-generation": {"do_sample": true}}, "pruned_heads": {},
			"quantization_config": null, "add_cross_attention": false, "auto_map": {},
			"_attn_implementation_autoset": true, "use_flash_attention": true}`,
			facts{"n_head": 12, "n_embd": 768, "n_layer": 12, "n_positions": 1024}},
		{`{"num_attention_heads": 4, "hidden_size": 8, "block_size": 16}`,
			facts{"n_head": 4, "n_embd": 8, "n_positions": 16}},
		{`{"activation_function": "relu", "layer_norm_epsilon": 1e-06,
			"scale_attn_weights": false, "scale_attn_by_inverse_layer_idx": true}`,
			facts{"activation_function": "relu", "layer_norm_epsilon": 1e-6,
				"scale_attn_weights": false, "scale_attn_by_inverse_layer_idx": true}},
		{`{"model": {"model_type": "gpt-mini", "n_head": null}, "data": {}}`, facts{"n_head": 6}},
		{`{"model": {"model_type": "gpt", "n_head": 2, "n_embd": 8}}`,
			facts{"n_head": 2, "n_embd": 8}},
		{`{"layer_norm_epsilon": 0.0}`, facts{"layer_norm_epsilon": 0.0}},
		{`{"layer_norm_epsilon": 1}`, facts{"layer_norm_epsilon": 1.0}},
		{`{"scale_attn_weights": 0}`, facts{"scale_attn_weights": false}},
		{`{"model_type": "gpt2", "num_attention_heads": 6}`, facts{"n_head": 6}},
		{`{"hidden_act": "relu"}`, facts{"activation_function": "relu"}},
		{`{"eps": 1e-5, "adam_eps": 1e-8, "architecture": "GPT2LMHeadModel", "heads": 2}`,
			facts{"n_head": 2}},
		{`{"temperature": 0.7, "active": 1, "n_steps": 5, "top_p": 0.9}`, nil},
		{`{"position_embedding_type": "absolute"}`, nil},
		{`{"auto_map": {"AutoTokenizer": "x.Y"}}`, nil},
		{`{"model_type": "gpt2", "transformers_version": "4.57.6", "scale_attn_weights": false}`,
			facts{scalingUnheeded: true}},
		{`{"model_type": "gpt2", "transformers_version": "5.24.0", "scale_attn_weights": false}`,
			facts{scalingUnheeded: nil}},
		{`{"model_type": "gpt2", "transformers_version": "4.57.6"}`, facts{scalingUnheeded: nil}},
	} {
		got, err := parseConfig([]byte(c.config), "config.json")
		wantError(t, c.config, err, "")
		for key, want := range c.want {
			if got := got[key].value; got != want {
				t.Errorf("%s: %s is %v, want %v", c.config, key, got, want)
			}
		}
	}

	for _, c := range []struct{ config, want string }{
		{`{"n_head": 5, "n_embd": 768}`, "n_head is 5, which does not divide n_embd, 768"},
		{`{"n_head": 12.5}`, `n_head is "12.5" in config.json, which cannot be`},
		{`{"n_head": 99999999999999999999}`, "which cannot be"},
		{`{"n_head": 12, "num_attention_heads": 6}`,
			"n_head is 12 in config.json, but 6 in config.json (num_attention_heads)"},
		{`{"layer_norm_epsilon": -1e-05}`, `layer_norm_epsilon is "-1e-05" in config.json`},
		{`{"layer_norm_epsilon": "NaN"}`, "layer_norm_epsilon is"},
		{`{"layer_norm_epsilon": 1e999}`, "layer_norm_epsilon is"},
		{`{"scale_attn_weights": "false"}`, `scale_attn_weights is "false" in config.json`},
		{`{"n_head": null}`, "n_head is null in config.json, which cannot be right"},
		{`{"activation_function": null}`, "activation_function is null"},
		{`{"scale_attn_weights": null}`, "scale_attn_weights is null"},
		{`{"model_type": "gpt2", "hidden_act": "relu"}`,
			"of a gpt2, hidden_act is called activation_function"},
		{`{"model_type": "gpt2", "n_heads": 6}`, "of a gpt2, n_heads is called n_head"},
		{`{"model_type": "llama", "num_attention_heads": 32}`, `model_type is "llama"`},
		{`{"activation_function": "silu"}`, `activation_function is "silu" in config.json`},
		{`{"attn_mult": 8.0}`, "attn_mult is 8.0: a GPT-2 with that change"},
		{`{"afn": "gelu"}`, "afn is"},
		{`{"nonlinearity": "relu"}`, "nonlinearity is"},
		{`{"eps": 0.3}`, "eps is 0.3"},
		{`{"pre_ln": false}`, "pre_ln is false"},
		{`{"is_causal": false}`, "is_causal is false"},
		{`{"use_pos_emb": false}`, "use_pos_emb is false"},
		{`{"post_ln": true}`, "post_ln is true"},
		{`{"logits_soft_cap": 30}`, "logits_soft_cap is 30"},
		{`{"quantization_config": {"bits": 4}}`, `quantization_config is {"bits":4}`},
		{`{"add_cross_attention": true}`, "add_cross_attention is true"},
		{`{"position_embedding_type": "rotary"}`, "position_embedding_type is"},
		{`{"auto_map": {"AutoModelForCausalLM": "x.Y"}}`, "auto_map is"},
		{`{"pruned_heads": {"0": [1]}}`, "pruned_heads is"},
		{`{"model": {"n_head": 2, "n_embd": 8, "rotary": true}}`, "rotary is true"},
		{`{"model": {"model_type": {}}}`, "config.json's model: model_type is"},
		{`{"model": {"n_head": [1]}}`, "n_head is"},
		{`{"layer_norm_epsilon": "inf"}`, `layer_norm_epsilon is "inf" in config.json`},
		{`{"layer_norm_epsilon": 2}`, "which cannot be right"},
		{`{"n_layer": 0}`, "which cannot be right"},
		{`{"a": {"b": [{"n_head": 2}, {"n_head": 3}]}}`,
			"n_head is 2 in config.json's a.b[0], but 3 in config.json's a.b[1]"},
		{`[]`, "config.json: not a JSON object, {…}"},
	} {
		_, err := parseConfig([]byte(c.config), "config.json")
		wantError(t, c.config, err, c.want)
	}
}

func FuzzParseConfig(f *testing.F) {
	for _, s := range []string{
		`{"model_type": "gpt2", "n_head": 12, "n_embd": 768, "activation_function": "gelu_new"}`,
		`{"n_head": 5, "n_embd": 768}`, `{"layer_norm_epsilon": 1e-06}`, `{"n_head": -1}`, `null`,
		`{"model": {"model_type": "gpt-mini"}}`, `{"auto_map": {"AutoModel": ""}, "attn_mult": 8}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		facts, err := parseConfig(data, "config.json")
		if err != nil && len(err.Error()) > 500 { // control characters are made visible later
			t.Errorf("%v", err)
		}
		for key, said := range facts {
			known, ok := factKeys()[key]
			if ok && reflect.TypeOf(said.value) != reflect.TypeOf(known.value) {
				t.Errorf("%s is %T", key, said.value)
			}
		}
		facts.variant()
	})
}

// aTensor stands for a tensor of a pickle.
var aTensor = &strided{storage: &storage{}}

// TestStateDict finds the state dict of a GPT-2 wherever training programs put it.
func TestStateDict(t *testing.T) {
	state := dictOf("transformer.wte.weight", aTensor)
	average := dictOf("transformer.wte.weight", &strided{storage: &storage{}})
	other := dictOf("step", aTensor, "other", aTensor)
	module := objectOf("a.B", "_modules", dictOf())
	var notes []string
	open := func(object any) (map[string]any, error) {
		state, note, err := stateDict(plainTree(object))
		if note != "" {
			notes = append(notes, note)
		}
		return state, err
	}
	for name, c := range map[string]struct {
		object any
		err    string
	}{
		"itself": {state, ""},
		"among others": {dictOf("a", other, "best_val_loss", aTensor, "model", state),
			""},
		"under any name":         {dictOf("opt", other, "my net", state), ""},
		"deep":                   {dictOf("x", dictOf("y", dictOf("z", state))), ""},
		"beside an average":      {dictOf("ema", average, "model", state), ""},
		"beside its own average": {dictOf("model", state, "swa_model", average), ""},
		"too deep": {dictOf("x", dictOf("y", dictOf("z", dictOf("a", state)))),
			"without tensors"},
		"two of them": {dictOf("actor", state, "critic", average),
			`several models, "actor" and "critic"`},
		"at two depths": {dictOf("ema", average, "trainer", dictOf("model", state)),
			`several models, "ema" and "model"`},
		"no tensors": {dictOf("a", int64(1)), "it holds a dict without tensors"},
		"DeepSpeed's third stage": {dictOf("module", nil, "ds_version", "0.14"),
			"a part of a DeepSpeed checkpoint: make one file of it with the zero_to_fp32.py"},
		"a model saved whole":      {module, "a model saved whole"},
		"a model saved whole in a": {dictOf("model", module), "a model saved whole"},
	} {
		found, err := open(c.object)
		wantError(t, name, err, c.err)
		if c.err == "" && found["transformer.wte.weight"] != aTensor {
			t.Errorf("%s: %v", name, found)
		}
	}
	slices.Sort(notes)
	const note = "it holds several models, and model is taken, not "
	if !slices.Equal(notes, []string{note + `"ema"`, note + `"swa_model"`}) {
		t.Errorf("notes %q", notes)
	}
	if found, err := open(dictOf("x", int64(1), "other", other)); err != nil || len(found) != 2 {
		t.Errorf("without a GPT-2: %v, %v", found, err)
	}
}

// TestTrainerFacts reads what stands around a state dict.
func TestTrainerFacts(t *testing.T) {
	sizes := []any{"n_head", int64(2), "n_embd", int64(8)}
	with := func(class string, more ...any) pyDict {
		return objectOf(class, append(more, sizes...)...)
	}
	for name, c := range map[string]struct {
		around     pyDict
		activation any
		err        string
	}{
		"nanoGPT": {dictOf("model_args", dictOf(append(sizes, "bias", false)...),
			"config", dictOf("n_head", int64(12), "n_embd", int64(768))), "gelu", ""},
		"nanoGPT of before": {dictOf("model_args", dictOf(sizes...)), "gelu_new", ""},
		"nanoGPT's object": {dictOf("config", with("__main__.GPTConfig", "dropout", 0.0)),
			"gelu", ""},
		"build-nanogpt":   {dictOf("config", with("__main__.GPTConfig")), "gelu_new", ""},
		"minGPT's object": {dictOf("cfg", with("mingpt.utils.CfgNode")), "gelu_new", ""},
		"any object":      {dictOf("args", with("argparse.Namespace")), nil, ""},
		"transformers' own": {dictOf("c", with("a.GPT2Config", "activation_function", "relu")),
			"relu", ""},
		"a change": {dictOf("model_args", dictOf(append(sizes, "rope", true)...)), nil,
			"its model_args: rope is true"},
		"a change, an object": {dictOf("config", with("a.GPTConfig", "n_kv_head", int64(1))), nil,
			"its config: n_kv_head is 1"},
	} {
		facts, err := factsAround(c.around)
		wantError(t, name, err, c.err)
		if err == nil && (facts["n_head"].value != 2 ||
			facts["activation_function"].value != c.activation) {
			t.Errorf("%s: %v", name, facts)
		}
	}
	if facts := must(factsAround(dictOf("epoch", int64(1), "args", dictOf("lr", 1.5, "vocab_size",
		int64(3)), "scaler", dictOf("scale", 2.0)))); len(facts) != 0 {
		t.Errorf("arguments that are not about the model: %v", facts)
	}
}

// factsAround reads what a pickle holds around its tensors.
func factsAround(outer pyDict) (Facts, error) {
	facts, tree := Facts{}, plainTree(outer)
	return facts, facts.read(tree, inItself, "its ")
}

// TestFactsAnywhere: a configuration is found wherever it stands and in whatever form, and is read,
// or refused with its place.
func TestFactsAnywhere(t *testing.T) {
	config := func(more ...any) pyDict {
		return dictOf(append(more, "model_type", "gpt2", "n_head", int64(2), "activation_function",
			"relu", "scale_attn_by_inverse_layer_idx", true)...)
	}
	const text = `{"model_type": "gpt2", "n_head": 2, "activation_function": "relu",
		"scale_attn_by_inverse_layer_idx": true}`
	value := func(v any) pyDict {
		return objectOf("omegaconf.nodes.AnyNode", "_val", v)
	}
	omega := objectOf("omegaconf.dictconfig.DictConfig", "_content", dictOf("model_type",
		value("gpt2"), "n_head", value(int64(2)), "activation_function", value("relu"),
		"scale_attn_by_inverse_layer_idx", value(true)))
	loop := config()
	loop["itself"] = loop
	for name, c := range map[string]struct {
		around pyDict
		err    string
	}{
		"Lightning's":       {dictOf("hyper_parameters", dictOf("lr", 0.1, "cfg", config())), ""},
		"two dicts down":    {dictOf("a", dictOf("model", dictOf("config", config()))), ""},
		"in the state dict": {config("wte.weight", aTensor, "h.0.attn.bias", aTensor), ""},
		"in a list":         {dictOf("configs", listOf(int64(1), config())), ""},
		"its items": {dictOf("configs", listOf(pyTuple{"n_head", int64(2)}, pyTuple{
			"activation_function", "relu"}, pyTuple{"scale_attn_by_inverse_layer_idx", true})), ""},
		"in a tuple": {dictOf("configs", pyTuple{config()}), ""},
		"beside how it was trained": {dictOf("a", config("warmup_steps", int64(9), "moe", int64(0),
			"model_parallel_size", int64(1), "run_name", "gpt2-n_head=4")), ""},
		"with a number as key": {dictOf(int64(0), config()), ""},
		"flattened": {dictOf("a", dictOf("m.n_head", int64(2), "m/activation_function",
			"relu", "m.scale_attn_by_inverse_layer_idx", true)), ""},
		"flattened otherwise": {dictOf("a", dictOf("m:n_head", int64(2), "m__activation_function",
			"relu", "model_scale_attn_by_inverse_layer_idx", true)), ""},
		"in a list of a class": {dictOf("a", objectOf("a.L", itemsName, listOf(config()))), ""},
		"beside the versions of modules": {dictOf("a", config(), "sd", dictOf(attributesName,
			dictOf("h.0.attn.activation", dictOf("version", int64(1))))), ""},
		"OmegaConf's":       {dictOf("cfg", omega), ""},
		"that holds itself": {dictOf("cfg", loop), ""},
		"JSON":              {dictOf("config", text), ""},
		"JSON in an object": {dictOf("a", objectOf("a.B", "c", text)), ""},
		"JSON in JSON":      {dictOf("config", fmt.Sprintf(`{"model": %q}`, text)), ""},
		"YAML": {dictOf("config", "model_type: gpt2\nn_head: 2\n"),
			"its config is a text that speaks of n_head"},
		"TOML": {dictOf("a", dictOf("b", "[model]\nn_layer = 2")),
			"its a.b is a text that speaks of n_layer"},
		"Python": {dictOf("c", "{'activation_function': 'relu'}"),
			"its c is a text that speaks of activation_function"},
		"a named tuple": {dictOf("c", objectOf("a.Conf", valuesName, []any{int64(2), "relu"})),
			"its c is an object of the class a.Conf, whose values have no names"},
		"a text of a class": {dictOf("v", objectOf("torch.torch_version.TorchVersion", valuesName,
			[]any{"2.15.0"}), "c", text), ""},
		"JSON as a text in JSON": {dictOf("c", `"{\"n_head\": 2}"`), "its c is a text"},
		"another spelling": {dictOf("c", dictOf("nHead", int64(2))),
			"its c: nHead is spelt otherwise than n_head"},
		"capitals":       {dictOf("N_HEAD", int64(2)), "N_HEAD is spelt otherwise than n_head"},
		"a command line": {dictOf("cmd", "train.py --n-head 4"), "its cmd is a text"},
		"its words": {dictOf("argv", listOf("train.py", "--n_head", "4")),
			"its argv[1] is a text that speaks of n_head"},
		"two that differ": {dictOf("a", config(), "b", dictOf("c", dictOf("n_head", int64(4)))),
			"n_head is 2 in its a, but 4 in its b.c"},
		"another model": {dictOf("a", dictOf("model_type", "gpt_bigcode")),
			`its a: model_type is "gpt_bigcode", not gpt2`},
		"another model, deep": {dictOf("a", listOf(dictOf("model_type", "llama", "n_head",
			int64(2)))), `its a[0]: model_type is "llama", not gpt2`},
		"epsilon": {dictOf("a", config("layer_norm_epsilon", math.Inf(1))),
			`layer_norm_epsilon is "+Inf" in its a, which cannot be right`},
		"a tensor for a number": {dictOf("a", dictOf("n_head", aTensor)),
			"n_head is a tensor in its a"},
		"a dict for a number": {dictOf("a", dictOf("n_head", dictOf("value", int64(2)))),
			"n_head is a dict in its a"},
		"an activation alone": {dictOf("a", dictOf("activation", "relu")),
			`its a: activation is "relu": a GPT-2 with that change`},
		"an activation in other words": {dictOf("a", dictOf("mlp", dictOf("act", "ReLU"))),
			`its a.mlp.act is "ReLU": only as activation_function`},
		"an activation behind a dot": {dictOf("a", config("model.mlp.act", "relu")),
			`its a: model.mlp.act is "relu": a GPT-2 with that change`},
		"a changed nanoGPT": {dictOf("model_args", config("use_softmax1", true)),
			"its model_args: use_softmax1 is true: a GPT-2 with that change"},
		"a changed nanoGPT, in words that say nothing": {dictOf("model_args",
			config("zigzag", int64(8))), "its model_args: zigzag is 8: a GPT-2 with that change"},
		"a minGPT without a count of heads": {dictOf("args", dictOf("model_type", "gpt2-medium")),
			`its args: model_type is "gpt2-medium", not gpt2`},
		"an architecture alone": {dictOf("a", dictOf("architecture", "gpt_bigcode")),
			`its a: architecture is "gpt_bigcode", not gpt2`},
		"a change, outermost": {dictOf("n_head", int64(2), "rotary", true),
			"the checkpoint itself: rotary is true"},
		"a change": {dictOf("args", dictOf("n_head", int64(2), "activation", "relu")),
			`its args: activation is "relu": a GPT-2 with that change`},
	} {
		facts, err := factsAround(c.around)
		if wantError(t, name, err, c.err); err == nil && (facts["n_head"].value != 2 ||
			facts["activation_function"].value != "relu" ||
			facts["scale_attn_by_inverse_layer_idx"].value != true) {
			t.Errorf("%s: %v", name, facts)
		}
	}
	for _, meta := range []map[string]string{
		{"config": text}, {"n_head": "2", "activation_function": "relu",
			"scale_attn_by_inverse_layer_idx": "True", "model_type": "gpt2"},
	} {
		facts := Facts{}
		if err := facts.readMetadata(meta); err != nil || facts["n_head"].value != 2 ||
			facts["scale_attn_by_inverse_layer_idx"].value != true {
			t.Errorf("%v: %v, %v", meta, facts, err)
		}
	}
	wantError(t, "metadata", Facts{}.readMetadata(map[string]string{"c": "n_head: 2"}),
		"its __metadata__.c is a text that speaks of n_head")
	wantError(t, "metadata", Facts{}.readMetadata(map[string]string{"model_type": "gpt_neo"}),
		`its __metadata__: model_type is "gpt_neo"`)
	check(t, Facts{}.readMetadata(map[string]string{metaTokenizer: `{"vocab": {"n_head": 5}}`,
		"doc": "of n_head and n_layer", "source": "gpt2-n_head=4"}))
}

// TestActivationUnknown refuses nn.Linear's weights of which nothing tells the activation function.
func TestActivationUnknown(t *testing.T) {
	for _, c := range []struct {
		untied, biases, masks bool
		said                  string
		want                  Activation
		err                   string
	}{
		{true, true, true, "", geluTanh, ""},     // minGPT
		{false, false, false, "", geluExact, ""}, // nanoGPT
		{false, true, false, "relu", relu, ""},
		{false, true, true, "", 0, "the activation function is not known"},
		{true, true, false, "", 0, "the activation function is not known"},
	} {
		p := &Parameters{
			tensors: map[string]Tensor{}, turned: true, biases: c.biases, masks: c.masks,
		}
		if c.untied {
			p.tensors[lmHead] = Tensor{}
		}
		facts := Facts{}
		if c.said != "" {
			facts["activation_function"] = Fact{c.said, "config.json"}
		}
		v, err := p.variant(facts)
		noted := strings.Contains(fmt.Sprint(p.notes), "nothing says what its activation")
		if !says(err, c.err) || err == nil && (v.activation != c.want || noted == (c.said != "")) {
			t.Errorf("%+v: %v, %v", c, v, err)
		}
	}
}

func TestForeignFile(t *testing.T) {
	zeros := strings.Repeat("\x00", 64)
	for _, c := range []struct{ name, head, want string }{
		{"x.bin", "GGUF\x03" + zeros, "GGUF"},
		{"x.bin", "lmgg" + zeros, "ggml"},
		{"x.bin", "\xc6\xd7\x34\x01\x03\x00\x00\x00" + zeros, "llm.c"},
		{"x.bin", "24ka\x01" + zeros, "llama2.c"},
		{"x.bin", "\x20\x01\x00\x00\x00\x03\x00\x00" + strings.Repeat("\x06\x00\x00\x00", 3) +
			"\x00\x83\xff\xff\x00\x01\x00\x00" + zeros, "llama2.c"},
		{"model.ckpt.index", zeros, "TensorFlow"},
		{"model.ckpt.data-00000-of-00001", zeros, "TensorFlow"},
		{"x.bin", "\x89HDF\r\n\x1a\n", "HDF5"},
		{"flax_model.msgpack", zeros, "Flax"},
		{"x.bin", "\x82\xabtransformer", "msgpack"},
		{"x.bin", "\x08\x07\x12\x07pytorch", "ONNX"},
		{"x.bin", "\x93NUMPY\x01\x00v", "NumPy"},
		{"x.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:248d", "Git LFS pointer"},
		{"x.bin", "\ufeff\r\n<!DOCTYPE html><html>", "web page"},
		{"x.bin", "{\"weight_map\": {}}", "JSON"},
		{"x.bin", "Entry not found", "text file"},
		{"x.bin", "\x1f\x8b\x08\x00", "compressed"},
		{"x.bin", "\x7fELF" + zeros, "program"},
		{"x.bin", "a line\r\n\tand another", "text file"},
		{"x.bin", "a line\x01", ""},
		{"x.bin", zeros, ""},
		{"x.bin", "\x85", "text file"},
		{"x.bin", "", ""},
		{".metadata", zeros, "dcp_to_torch_save"},
		{"__0_0.distcp", zeros, "dcp_to_torch_save"},
		{"adapter_model.safetensors", zeros, "LoRA adapter"},
	} {
		got := cmp.Or(foreignForm([]string{c.name}, nil),
			foreignForm(nil, []byte(c.head)[:min(64, len(c.head))]))
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s %.20q: %q, want %q", c.name, c.head, got, c.want)
		}
	}
}

func FuzzForeignFile(f *testing.F) {
	for _, head := range []string{"GGUF\x03", "\x82\xabtransformer", "\x08\x07\x12", "\x85", "{"} {
		f.Add("model.bin", []byte(head))
	}
	f.Fuzz(func(t *testing.T, path string, head []byte) {
		if kind := foreignForm([]string{path}, head); strings.ContainsAny(kind, "\n\r") {
			t.Errorf("%q", kind)
		}
	})
}

// TestOpenForeign opens files that are no weights: one line that says what they are.
func TestOpenForeign(t *testing.T) {
	for name, content := range map[string]string{
		"a.bin": "GGUF\x03" + strings.Repeat("\x00", 64), "model-00001-of-00002.safetensors": "x",
		"model.ckpt.index": "x", "text.safetensors": "Entry not found", "short.bin": "ab",
		"none": "",
	} {
		path := file(t, name, content)
		_, _, err := openModel(path, 0, 0, 0)
		if !says(err, path) || strings.Count(err.Error(), path) != 1 ||
			strings.Contains(err.Error(), "header would have") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestShards takes a checkpoint in several files apart.
func TestShards(t *testing.T) {
	const index, two, three = "model.safetensors.index.json",
		"model-00002-of-00004.safetensors", "model-00003-of-00004.safetensors"
	for _, c := range []struct {
		name   string
		change func(files map[string]string)
		want   string
	}{
		{"as it is", func(map[string]string) {}, ""},
		{"a part missing", func(files map[string]string) { delete(files, two) },
			`a part that the index names, "model-00002-of-00004.safetensors", is missing`},
		{"a part twice", func(files map[string]string) { files[three] = files[two] },
			`is in two parts, "model-00002-of-00004.safetensors" and "model-00003-of-`},
		{"another part", func(files map[string]string) {
			files[index] = strings.Replace(files[index], two, three, 1)
		}, `is not in "model-00003-of-00004.safetensors", where the index has it`},
		{"no index", func(files map[string]string) { files[index] = `{"weight_map": {}}` },
			"it has no weight_map"},
	} {
		files := inFolder(t, "testdata/dialects/shards")
		c.change(files)
		_, ck, err := openModel(filepath.Join(folderOf(t, files), index), 0, 0, 0)
		if err == nil {
			ck.close()
		}
		wantError(t, c.name, err, c.want)
	}
}

func TestShardFiles(t *testing.T) {
	tooMany := `{"weight_map": {"a": "x"`
	for i := range maxShards {
		tooMany += fmt.Sprintf(`, "%d": "%d"`, i, i)
	}
	for _, c := range []struct {
		index, want, err string
	}{
		{`{"weight_map": {"a": "y", "b": "x", "c": "y"}}`, "[x y]", ""},
		{`{"weight_map": {"a": "../x"}}`, "[]", "the parts lie beside the index"},
		{`{"weight_map": {"a": "/x"}}`, "[]", "the parts lie beside the index"},
		{`{"weight_map": {"a": "C:\\x"}}`, "[]", "the parts lie beside the index"},
		{`{"weight_map": {"a": ""}}`, "[]", "the parts lie beside the index"},
		{`{"weight_map": {"a": 1}}`, "[]", "the parts lie beside the index"},
		{`{"Weight_Map": {"a": "x"}}`, "[]", "it has no weight_map"},
		{`{"weight_map": null}`, "[]", "it has no weight_map"},
		{`[]`, "[]", "not a JSON object"},
		{tooMany + "}}", "[]", "it names 1001 files, more than 1000"},
	} {
		_, files, err := parseIndex([]byte(c.index))
		if fmt.Sprint(files) != c.want || !says(err, c.err) {
			t.Errorf("%s: %v, %v", c.index, files, err)
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata": {"total_size": 1}, "weight_map": {"wte.weight": ` +
		`"model-1.safetensors"}}`))
	f.Add([]byte(`{"weight_map": {"a": ".."}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, files, err := parseIndex(data)
		if err != nil && len(err.Error()) > 500 { // control characters are made visible later
			t.Errorf("%v", err)
		}
		for _, file := range files {
			if file != filepath.Base(file) || file == "." || file == ".." {
				t.Errorf("%q leads out of the folder", file)
			}
		}
	})
}
