package main

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
)

// TestDialects opens checkpoints that the trainers' own programs wrote (testdata/dialects/make.py)
// and what they are converted to. The logits must be those of their own forward pass.
func TestDialects(t *testing.T) {
	var golden struct {
		IDs    []int
		Logits map[string][]float64
	}
	testdata(t, "dialects/logits.json", &golden)
	if len(golden.Logits) < 12 {
		t.Fatal(len(golden.Logits))
	}
	for path, want := range golden.Logits {
		t.Run(path, func(t *testing.T) {
			check := func(path string) *Model {
				t.Helper()
				m, ck, err := openModel(path, 0, 0, 0)
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
			m := check(path)
			notes := fmt.Sprint(m.notes)
			for note, part := range map[string]string{"converted in memory": ".pt .ckpt",
				"v_head, which is not GPT-2's, is left out":     "value-head",
				"n_averaged, which is not GPT-2's, is left out": "averaged",
			} {
				if strings.Contains(notes, note) != (partOf(path, part) != "") {
					t.Errorf("notes: %s", notes)
				}
			}

			lean := filepath.Join(t.TempDir(), "lean.safetensors")
			must(convert(path, lean, asStored, 0, ""))
			if again := check(lean); again.Config != m.Config || again.Variant != m.Variant ||
				again.headsAssumed ||
				again.notes != nil && !strings.Contains(notes, "nothing says") {
				t.Errorf("converted: %v %v %q, want %v %v", again.Config, again.Variant,
					again.notes, m.Config, m.Variant)
			}
		})
	}
}

// TestFacts reads what is said about a model in a config.json, in a safetensors file's metadata, or
// around a state dict: wherever it stands and in whatever form, it is read (and perhaps noted), or
// refused with its place.
func TestFacts(t *testing.T) {
	const text, read = `{"n_head": 2, "activation_function": "relu"}`,
		"activation_function=relu n_head=2"
	config := func(more ...any) pyDict {
		return dictOf(append(more, "n_head", int64(2), "activation_function", "relu")...)
	}
	loop := config()
	loop["itself"] = loop
	value := func(v any) pyDict { return objectOf("omegaconf.nodes.AnyNode", "_val", v) }
	sizes := func(class string, more ...any) pyDict {
		return objectOf(class, append(more, "n_head", int64(2), "n_embd", int64(8))...)
	}
	for _, c := range []struct {
		said any // text: a config.json
		want string
	}{
		{`{}`, ""},
		{`{"model_type": "gpt2", "n_inner": null, "attn_mult": null}`,
			"activation_function=gelu_new model_type=gpt2"},
		{`{"n_head": 12, "n_embd": 768, "n_layer": 12, "n_ctx": 1024, "n_positions": 1024,
			"attn_pdrop": 0.1, "summary_activation": "tanh", "reorder_and_upcast_attn": true,
			"task_specific_params": {"text-generation": {"do_sample": true}}, "pruned_heads": {},
			"quantization_config": null, "add_cross_attention": false, "auto_map": {},
			"_attn_implementation_autoset": true, "use_flash_attention": true}`,
			"n_embd=768 n_head=12 n_layer=12 n_positions=1024"},
		{`{"num_attention_heads": 4, "hidden_size": 8, "block_size": 16}`,
			"n_embd=8 n_head=4 n_positions=16"},
		{`{"activation_function": "relu", "layer_norm_epsilon": 1e-06,
			"scale_attn_weights": false, "scale_attn_by_inverse_layer_idx": true}`,
			"activation_function=relu layer_norm_epsilon=1e-06 " +
				"scale_attn_by_inverse_layer_idx=true scale_attn_weights=false"},
		{`{"model": {"model_type": "gpt-mini", "n_head": null}, "data": {}}`, "n_head=6"},
		{`{"model": {"model_type": "gpt", "n_head": 2, "n_embd": 8}}`, "n_embd=8 n_head=2"},
		{`{"layer_norm_epsilon": 0.0}`, "layer_norm_epsilon=0"},
		{`{"layer_norm_eps": 1}`, "layer_norm_epsilon=1"},
		{`{"scale_attn_weights": 0}`, "scale_attn_weights=false"},
		{`{"model_type": "gpt2", "num_attention_heads": 6, "activation_function": "relu"}`,
			"activation_function=relu model_type=gpt2 n_head=6"},
		{`{"hidden_act": "relu"}`, "activation_function=relu"},
		{`{"eps": 1e-5, "adam_eps": 1e-8, "architecture": "GPT2LMHeadModel", "heads": 2}`,
			"n_head=2"},
		{`{"temperature": 0.7, "active": 1, "n_steps": 5, "top_p": 0.9}`, ""},
		{`{"position_embedding_type": "absolute", "norm_type": "layernorm", "causal": true,
			"tensor_parallel_size": 2, "init_scale": 0.02, "activation_checkpointing": true}`, ""},
		{`{"auto_map": {"AutoTokenizer": "x.Y"}}`, ""},
		{`{"model_type": "gpt2", "transformers_version": "4.57.6"}`,
			"activation_function=gelu_new model_type=gpt2"},
		{`{"model_type": "gpt2", "transformers_version": "4.44.0", "scale_attn_weights": 0}`,
			"activation_function=gelu_new model_type=gpt2 scale_attn_weights=false; config.json " +
				"scales attention otherwise, which transformers 4.44 to 4.57 do not heed unless " +
				"they are told to use eager attention: if the model was trained so, take that " +
				"out there"},
		{`{"model_type": "gpt2", "architectures": ["MyGPT2"]}`,
			"activation_function=gelu_new model_type=gpt2; config.json (MyGPT2) names a class " +
				"that is not transformers' own: what that does otherwise than a GPT-2 is not " +
				"computed"},
		{`{"n_head": 2, "recurrence": 3, "warmup": 9, "is_decoder": 1}`, "n_head=2; recurrence " +
			"in config.json is not understood: if it changes what a GPT-2 computes, the numbers " +
			"are not the model's"},
		{`{"model_type": "gpt2", "transformers_version": "5.24.0", "scale_attn_weights": 0}`,
			"activation_function=gelu_new model_type=gpt2 scale_attn_weights=false"},

		{pyDict{"hyper_parameters": pyDict{"lr": 0.1, "cfg": config()}}, read}, // Lightning's
		{pyDict{"a": pyDict{"model": pyDict{"config": config()}}}, read},
		{config("wte.weight", aTensor, "h.0.attn.bias", aTensor), read}, // in the state dict
		{pyDict{"configs": listOf(int64(1), config())}, read},
		{pyDict{"configs": pyTuple{config()}}, read},
		{pyDict{"a": config("warmup_steps", int64(9), "moe", int64(0), "model_parallel_size",
			int64(1), "run_name", "gpt2-n_head=4")}, read}, // how it was trained
		{pyDict{"c": listOf(pyTuple{"n_head", int64(2)}, pyTuple{"activation_function", "relu"})},
			read},
		{dictOf(int64(0), config()), read},
		{pyDict{"a": pyDict{"m.n_head": int64(2), "m/activation_function": "relu"}}, read},
		{pyDict{"a": pyDict{"m:n_head": int64(2), "m__activation_function": "relu"}}, read},
		{pyDict{"a": pyDict{"model_n_head": int64(2), "activation_function": "relu"}}, read},
		{pyDict{"a": objectOf("a.L", itemsName, listOf(config()))}, read},
		{pyDict{"a": config(), "sd": pyDict{attributesName: pyDict{ // versions of modules
			"h.0.attn.activation": pyDict{"version": int64(1)}}}}, read},
		{pyDict{"cfg": objectOf("omegaconf.dictconfig.DictConfig", "_content", pyDict{
			"n_head": value(int64(2)), "activation_function": value("relu")})}, read},
		{pyDict{"cfg": loop}, read},
		{pyDict{"config": text}, read},
		{pyDict{"a": objectOf("a.B", "c", text)}, read},
		{pyDict{"config": fmt.Sprintf(`{"model": %q}`, text)}, read},
		{pyDict{"v": objectOf("torch.torch_version.TorchVersion", valuesName, []any{"2.15.0"}),
			"c": text}, read},
		{pyDict{"model_args": sizes("", "bias", false), // nanoGPT's
			"config": pyDict{"n_head": int64(12), "n_embd": int64(768)}},
			"activation_function=gelu n_embd=8 n_head=2"},
		{pyDict{"model_args": sizes("")}, "activation_function=gelu_new n_embd=8 n_head=2"},
		{pyDict{"config": sizes("__main__.GPTConfig", "dropout", 0.0)},
			"activation_function=gelu n_embd=8 n_head=2"},
		{pyDict{"config": sizes("__main__.GPTConfig")}, // build-nanogpt's
			"activation_function=gelu_new n_embd=8 n_head=2"},
		{pyDict{"cfg": sizes("mingpt.utils.CfgNode")},
			"activation_function=gelu_new n_embd=8 n_head=2"},
		{pyDict{"args": sizes("argparse.Namespace")}, "n_embd=8 n_head=2"},
		{pyDict{"c": sizes("a.GPT2Config", "activation_function", "relu")},
			"activation_function=relu model_type=gpt2 n_embd=8 n_head=2"},
		{pyDict{"epoch": int64(1), "args": pyDict{"lr": 1.5, "vocab_size": int64(3)},
			"scaler": pyDict{"scale": 2.0}}, ""}, // not about the model

		{map[string]string{"config": text}, read},
		{map[string]string{"n_head": "2", "tie_word_embeddings": "True"},
			"n_head=2 tie_word_embeddings=true"},
		{map[string]string{metaTokenizer: `{"vocab": {"n_head": 5}}`,
			"doc": "of n_head and n_layer", "source": "gpt2-n_head=4"}, ""},

		{`{"n_head": 5, "n_embd": 768}`, "n_head is 5, which does not divide n_embd, 768"},
		{`{"n_head": 12.5}`, `n_head is "12.5" in config.json, which cannot be right`},
		{`{"n_head": 99999999999999999999}`, "which cannot be right"},
		{`{"n_head": 12, "num_attention_heads": 6}`,
			"n_head is 12 in config.json, but 6 in config.json (num_attention_heads)"},
		{`{"layer_norm_epsilon": -1e-05}`, `layer_norm_epsilon is "-1e-05" in config.json`},
		{`{"layer_norm_epsilon": "NaN"}`, "layer_norm_epsilon is"},
		{`{"layer_norm_epsilon": 1e999}`, "layer_norm_epsilon is"},
		{`{"layer_norm_epsilon": "inf"}`, `layer_norm_epsilon is "inf" in config.json`},
		{`{"layer_norm_epsilon": 2}`, "which cannot be right"},
		{`{"n_layer": 0}`, "which cannot be right"},
		{`{"scale_attn_weights": "false"}`, `scale_attn_weights is "false" in config.json`},
		{`{"n_head": null}`, "n_head is null in config.json, which cannot be right"},
		{`{"activation_function": null}`, "activation_function is null"},
		{`{"scale_attn_weights": null}`, "scale_attn_weights is null"},
		{`{"model_type": "gpt2", "hidden_act": "relu"}`,
			"of a gpt2, hidden_act is called activation_function"},
		{`{"model_type": "gpt2", "layer_norm_eps": 1e-6}`, "is called layer_norm_epsilon"},
		{`{"model_type": "llama", "num_attention_heads": 32}`, `model_type is "llama"`},
		{`{"activation_function": "silu"}`, `activation_function is "silu" in config.json, and ` +
			`only GPT-2's own, gelu_new, and gelu and relu can be computed`},
		{`{"norm_first": false}`, "norm_first is false: a GPT-2 with that change"},
		{`{"norm_first": null}`, "norm_first is null: a GPT-2 with that change"},
		{`{"scaled": 0}`, "scaled is 0: a GPT-2 with that change"},
		{`{"attn_mult": 8.0}`, "attn_mult is 8.0: a GPT-2 with that change"},
		{`{"afn": "gelu"}`, "afn is"},
		{`{"nonlinearity": "relu"}`, "nonlinearity is"},
		{`{"eps": 0.3}`, "eps is 0.3"},
		{`{"pre_ln": false}`, "pre_ln is false"},
		{`{"is_causal": false}`, "is_causal is false"},
		{`{"non_causal": true}`, "non_causal is true"},
		{`{"use_pos_emb": false}`, "use_pos_emb is false"},
		{`{"post_ln": true}`, "post_ln is true"},
		{`{"norm_type": "rmsnorm"}`, "norm_type is"},
		{`{"logits_soft_cap": 30}`, "logits_soft_cap is 30"},
		{`{"quantization_config": {"bits": 4}}`, `quantization_config is {"bits":4}`},
		{`{"add_cross_attention": true}`, "add_cross_attention is true"},
		{`{"position_embedding_type": "rotary"}`, "position_embedding_type is"},
		{`{"auto_map": {"AutoModelForCausalLM": "x.Y"}}`, "auto_map is"},
		{`{"pruned_heads": {"0": [1]}}`, "pruned_heads is"},
		{`{"model": {"n_head": 2, "n_embd": 8, "rotary": true}}`, "rotary is true"},
		{`{"model": {"model_type": {}}}`, "config.json's model: model_type is"},
		{`{"model": {"n_head": [1]}}`, "n_head is"},
		{`{"a": {"b": [{"n_head": 2}, {"n_head": 3}]}}`,
			"n_head is 2 in config.json's a.b[0], but 3 in config.json's a.b[1]"},
		{`[]`, "config.json: not a JSON object, {…}"},

		{pyDict{"config": "model_type: gpt2\nn_head: 2\n"},
			"its config is a text that speaks of model_type"},
		{pyDict{"a": pyDict{"b": "[model]\nn_layer = 2"}},
			"its a.b is a text that speaks of n_layer"},
		{pyDict{"c": "{'hidden_act': 'relu'}"}, "its c is a text that speaks of hidden_act"},
		{pyDict{"c": `"{\"n_head\": 2}"`}, "its c is a text"},
		{pyDict{"cmd": "train.py --n-head 4"}, "its cmd is a text that speaks of n_head"},
		{pyDict{"argv": listOf("train.py", "--n_head", "4")},
			"its argv[1] is a text that speaks of n_head"},
		{pyDict{"c": objectOf("a.Conf", valuesName, []any{int64(2), "relu"})},
			"its c is an object of the class a.Conf, whose values have no names"},
		{pyDict{"c": pyDict{"nHead": int64(2)}}, "its c: nHead is spelt otherwise than n_head"},
		{pyDict{"N_HEAD": int64(2)}, "N_HEAD is spelt otherwise than n_head"},
		{pyDict{"a": config(), "b": pyDict{"c": pyDict{"n_head": int64(4)}}},
			"n_head is 2 in its a, but 4 in its b.c"},
		{pyDict{"a": pyDict{"model_type": "gpt_bigcode"}},
			`its a: model_type is "gpt_bigcode", not gpt2`},
		{pyDict{"a": listOf(pyDict{"model_type": "llama", "n_head": int64(2)})},
			`its a[0]: model_type is "llama", not gpt2`},
		{pyDict{"a": pyDict{"architecture": "gpt_bigcode"}},
			`its a: architecture is "gpt_bigcode", not gpt2`},
		{pyDict{"a": config("layer_norm_epsilon", math.Inf(1))},
			`layer_norm_epsilon is "+Inf" in its a, which cannot be right`},
		{pyDict{"a": pyDict{"n_head": aTensor}}, "n_head is a tensor in its a"},
		{pyDict{"a": pyDict{"model_type": aTensor}}, "its a: model_type is a tensor, not gpt2"},
		{pyDict{"a": pyDict{"n_head": pyDict{"value": int64(2)}}}, "n_head is a dict in its a"},
		{pyDict{"args": pyDict{"n_head": int64(2), "activation": "relu"}},
			`its args: activation is "relu": a GPT-2 with that change`},
		{pyDict{"a": pyDict{"activation": "relu"}},
			`its a: activation is "relu": a GPT-2 with that change`},
		{pyDict{"a": pyDict{"mlp": pyDict{"act": "ReLU"}}},
			`its a.mlp.act is "ReLU": only as activation_function`},
		{pyDict{"a": pyDict{"mlp": pyDict{"type": "relu"}}}, `its a.mlp.type is "relu": only as`},
		{pyDict{"a": pyDict{"act": pyDict{"name": "relu"}}}, `its a.act.name is "relu": only as`},
		{pyDict{"a": config("model.mlp.act", "relu")},
			`its a: model.mlp.act is "relu": a GPT-2 with that change`},
		{pyDict{"model_args": config("use_softmax1", true)}, "model_args: use_softmax1 is true"},
		{pyDict{"model_args": config("zigzag", int64(8))}, "its model_args: zigzag is 8"},
		{pyDict{"args": pyDict{"model_type": "gpt2-medium"}},
			`its args: model_type is "gpt2-medium", not gpt2`},
		{pyDict{"n_head": int64(2), "rotary": true}, "the checkpoint itself: rotary is true"},
		{pyDict{"model_args": sizes("", "rope", true)}, "its model_args: rope is true"},
		{pyDict{"config": sizes("a.GPTConfig", "n_kv_head", int64(1))},
			"its config: n_kv_head is 1"},

		{map[string]string{"c": "n_head: 2"}, "its __metadata__.c is a text that speaks of n_head"},
		{map[string]string{"model_type": "gpt_neo"}, `its __metadata__: model_type is "gpt_neo"`},
	} {
		var facts Facts
		switch said := c.said.(type) {
		case string:
			facts = parseConfig([]byte(said))
		case map[string]string:
			facts.readMetadata(said)
		case pyDict:
			facts.read(plainTree(said), inItself)
		}
		if facts.fault != nil && c.want != "" {
			wantError(t, fmt.Sprint(c.said), facts.fault, c.want)
			continue
		}
		var got []string
		for _, key := range sortedKeys(facts.said) {
			got = append(got, fmt.Sprintf("%s=%v", key, facts.said[key].value))
		}
		all := strings.Join(append([]string{strings.Join(got, " ")}, facts.notes...), "; ")
		if facts.fault != nil || all != c.want {
			t.Errorf("%v: %s, %v, want %s", c.said, all, facts.fault, c.want)
		}
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
		facts := parseConfig(data)
		// control characters are made visible later
		if err := facts.fault; err != nil && len(err.Error()) > 500 {
			t.Errorf("%v", err)
		}
		for key, said := range facts.said {
			if w := wordOf(key); w.kind != "" && factOf(w.kind, said.value) != said.value {
				t.Errorf("%s is %v", key, said.value)
			}
		}
		p := &Parameters{Model: &Model{Config: Config{width: 768}}}
		caught(func() { p.settleVariant(facts); p.settleHeads(facts, "") })
	})
}

// aTensor stands for a tensor of a pickle.
var aTensor = &strided{storage: &storage{}, shape: []int{1}}

// TestStateDict finds the state dict of a GPT-2 wherever training programs put it.
func TestStateDict(t *testing.T) {
	state := pyDict{"transformer.wte.weight": aTensor}
	average := pyDict{"transformer.wte.weight": &strided{storage: &storage{}, shape: []int{1}}}
	other := pyDict{"step": aTensor, "other": aTensor}
	module := objectOf("a.B", "_modules", pyDict{})
	number := &strided{storage: &storage{}}
	for _, c := range []struct {
		object    pyDict
		note, err string
	}{
		{state, "", ""},
		{pyDict{"a": other, "best_val_loss": aTensor, "model": state}, `"a"`, ""},
		{pyDict{"optimizer": other, "epoch": number, "my net": state}, "", ""},
		{pyDict{"adapter": pyDict{"x": other}, "ema": pyDict{"shadow_params": []any{aTensor}},
			"model": state}, `"adapter", "ema"`, ""},
		{pyDict{"logit_scale": number, "model": state}, `"logit_scale"`, ""},
		{pyDict{"best": pyDict{"state_dict": average}, "last": pyDict{"state_dict": state}}, "",
			`several models, "best.state_dict" and "last.state_dict"`},
		{pyDict{"x": pyDict{"y": pyDict{"z": state}}}, "", ""},
		{pyDict{"ema": average, "model": state}, `"ema"`, ""},
		{pyDict{"model": state, "swa_model": average}, `"swa_model"`, ""},
		{pyDict{"x": pyDict{"y": pyDict{"z": pyDict{"a": state}}}}, "", "without tensors"},
		{pyDict{"actor": state, "critic": average}, "", `several models, "actor" and "critic"`},
		{pyDict{"ema": average, "trainer": pyDict{"model": state}}, "",
			`several models, "ema" and "trainer.model"`},
		{pyDict{"a": int64(1)}, "", "it holds a dict without tensors"},
		{pyDict{"module": nil, "ds_version": "0.14"}, "",
			"a part of a DeepSpeed checkpoint: make one file of it with the zero_to_fp32.py"},
		{module, "", "a model saved whole"},
		{pyDict{"model": module}, "", "a model saved whole"},
		{pyDict{"x": int64(1), "other": other}, "", "of two tensors"},
	} {
		var found pyDict
		var note string
		err := caught(func() {
			if found, note = stateDict(plainTree(c.object)); len(found) == 2 {
				fail("of two tensors")
			}
		})
		if wantError(t, fmt.Sprint(c.object), err, c.err); note != c.note ||
			c.err == "" && found["transformer.wte.weight"] != aTensor {
			t.Errorf("%v: %v, %s", c.object, found, note)
		}
	}
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
		p := &Parameters{Model: &Model{}, turned: true, biases: c.biases, masks: c.masks}
		if c.untied {
			p.lmHead = &Matrix{}
		}
		var facts Facts
		if c.said != "" {
			facts.put("activation_function", c.said, "config.json")
		}
		err := caught(func() { p.settleVariant(facts) })
		noted := strings.Contains(fmt.Sprint(p.notes), "nothing says what its activation")
		if !says(err, c.err) || err == nil && (p.activation != c.want || noted == (c.said != "")) {
			t.Errorf("%+v: %v, %v, %v", c, p.Variant, p.notes, err)
		}
	}
}

// TestForeignFile opens files that are no weights: one line names the file and says what it is.
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
		{"x.bin", "a line\x01", "truncated: 7 bytes"},
		{"x.bin", zeros, "neither a safetensors nor a PyTorch file"},
		{"x.bin", "\x85", "text file"},
		{"x.bin", "", "truncated: 0 bytes"},
		{"model-00001-of-00002.safetensors", "x", "one part of a checkpoint"},
		{".metadata", zeros, "dcp_to_torch_save"},
		{"__0_0.distcp", zeros, "dcp_to_torch_save"},
		{"adapter_model.safetensors", zeros, "LoRA adapter"},
	} {
		path := file(t, c.name, c.head)
		_, _, err := openModel(path, 0, 0, 0)
		wantError(t, c.name, err, c.want)
		if err == nil || strings.Count(err.Error(), path) != 1 {
			t.Errorf("%s %.20q: %v", c.name, c.head, err)
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
			"model-00002-of-00004.safetensors: no such file"},
		{"a part twice", func(files map[string]string) { files[three] = files[two] },
			`is not in "model-00003-of-00004.safetensors", where the index has it`},
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
		{`{"weight_map": {"a": 1}}`, "[]", "weight_map.a: 1 in place of text"},
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
