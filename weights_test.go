package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// randomCheckpoint makes a whole GPT-2 of random numbers in the named format.
func randomCheckpoint(c Config, inner int, format string) *Checkpoint {
	r := rand.New(rand.NewSource(1))
	ck := &Checkpoint{source: "test.safetensors", meta: map[string]string{}}
	for _, p := range parameters(c, inner) {
		size, _ := sizeOf(format, p.shape)
		data := make([]byte, 0, size)
		for len(data) < size {
			bits := math.Float32bits(r.Float32() - .5)
			if format == "F32" {
				data = binary.LittleEndian.AppendUint32(data, bits)
			} else {
				data = binary.LittleEndian.AppendUint16(data, uint16(bits>>16))
			}
		}
		ck.tensors = append(ck.tensors, Tensor{p.name, format, p.shape, data})
	}
	return ck
}

var tinyConfig = Config{2, 2, 4, 3, 5}

// parameters lists all parameters of a GPT-2 with biases; inner is the width of its MLPs.
func parameters(c Config, inner int) []param {
	m := &Model{Config: c, blocks: make([]Block, c.layers)}
	return (&Parameters{Model: m, inner: inner, biases: true}).list()
}

// TestLoadModel opens checkpoints made by an independent program in the ways published files vary,
// and holds every parameter to sums that numpy computed from the same bytes: Σ x[i] and Σ
// (i+1)·x[i], which together tell a wrong order from a right one. (tiny-*.safetensors: numpy.random
// normal values, written with struct and json; tiny-sums.json: float64 sums of np.frombuffer,
// bfloat16 by (bits << 16).view(float32).)
func TestLoadModel(t *testing.T) {
	var golden map[string]map[string]struct {
		Shape         []int
		Sum, Weighted float64
	}
	testdata(t, "tiny-sums.json", &golden)
	for _, c := range []struct {
		file   string
		config Config
		format Format
	}{
		{"tiny-f32-masks.safetensors", Config{2, 2, 8, 16, 50}, f32},
		{"tiny-f16-prefix.safetensors", Config{2, 2, 8, 16, 50}, f16},
		{"tiny-bf16.safetensors", Config{1, 4, 12, 5, 20}, bf16},
	} {
		path := filepath.Join("testdata", c.file)
		ck := must(openFile(path, 0, -1))
		m := must(loadModel(ck, 0))
		if m.Config != c.config || m.source != path {
			t.Errorf("%s: got %v, source %q, want %v", c.file, m.Config, m.source, c.config)
		}
		if m.wte.format != c.format {
			t.Errorf("%s: matrices are %v, want %v", c.file, m.wte.format, c.format)
		}
		got := numbersOf(m)
		if len(got) != len(golden[c.file]) {
			t.Errorf("%s: %d parameters, want %d", c.file, len(got), len(golden[c.file]))
		}
		for name, want := range golden[c.file] {
			var sum, weighted, size float64
			for i, x := range got[name].values {
				sum += float64(x)
				weighted += float64(i+1) * float64(x)
				size += float64(i+1) * math.Abs(float64(x))
			}
			if !slices.Equal(got[name].shape, want.Shape) || math.Abs(sum-want.Sum) > 1e-12*size ||
				math.Abs(weighted-want.Weighted) > 1e-12*size {
				t.Errorf("%s: %s %v sums to %v, %v, want %v %v, %v", c.file, name, got[name].shape,
					sum, weighted, want.Shape, want.Sum, want.Weighted)
			}
		}
		check(t, ck.close())
	}
}

type loadedNumbers struct {
	shape  []int
	values []float32
}

// numbersOf lists a model's parameters by name, widened to float32. (That each has its own place in
// the model is what TestDialects sees.)
func numbersOf(m *Model) map[string]loadedNumbers {
	all := map[string]loadedNumbers{}
	p := &Parameters{Model: m, inner: m.blocks[0].fc.w.cols, biases: true}
	for _, q := range p.list() {
		switch w := q.into.(type) {
		case *Matrix:
			values := make([]float32, w.rows*w.cols)
			w.widen(values, 0)
			all[q.name] = loadedNumbers{[]int{w.rows, w.cols}, values}
		case *[]float32:
			all[q.name] = loadedNumbers{[]int{len(*w)}, *w}
		}
	}
	return all
}

// TestLoadAnywhere loads the same numbers from data at every alignment, in place where that can be.
func TestLoadAnywhere(t *testing.T) {
	set(t, &inPlace, inPlace)
	here := inPlace
	for _, format := range []string{"F32", "F16", "BF16"} {
		var want map[string]loadedNumbers
		for shift := range 8 {
			for _, inPlace = range []bool{here, false} {
				file := encodeCheckpoint(randomCheckpoint(tinyConfig, 16, format), shift)
				ck := must(parsed(file))
				m := must(loadModel(ck, 2))
				got := numbersOf(m)
				if want == nil {
					want = got
				}
				used := &m.wte.bytes()[0] == &ck.tensors[0].data[0]
				if !reflect.DeepEqual(got, want) || used != inPlace {
					t.Errorf("%s at 8n+%d: used in place %v, want %v, or other numbers", format,
						shift, used, inPlace)
				}
			}
		}
	}
}

// TestLoadVariants changes a good checkpoint in the ways that are allowed, and in those that are
// not, and checks what comes of it.
func TestLoadVariants(t *testing.T) {
	type change = func(*Checkpoint)
	find := func(ck *Checkpoint, name string) *Tensor {
		return &ck.tensors[slices.IndexFunc(ck.tensors, func(t Tensor) bool {
			return t.name == name
		})]
	}
	all := func(changes ...change) change {
		return func(ck *Checkpoint) {
			for _, change := range changes {
				change(ck)
			}
		}
	}
	remove := func(end string) change {
		return func(ck *Checkpoint) {
			ck.tensors = slices.DeleteFunc(ck.tensors, func(t Tensor) bool {
				return strings.HasSuffix(t.name, end)
			})
		}
	}
	add := func(name, format string, data string, shape ...int) change {
		return func(ck *Checkpoint) {
			size := must(sizeOf(format, shape))
			numbers := append([]byte(data), make([]byte, size-len(data))...)
			ck.tensors = append(ck.tensors, Tensor{name, format, shape, numbers})
		}
	}
	reshape := func(name string, shape ...int) change {
		return func(ck *Checkpoint) {
			tensor := find(ck, name)
			size, _ := sizeOf(tensor.format, shape)
			tensor.shape, tensor.data = shape, make([]byte, size)
		}
	}
	rename := func(from, to string) change {
		return func(ck *Checkpoint) {
			for i := range ck.tensors {
				ck.tensors[i].name = strings.Replace(ck.tensors[i].name, from, to, 1)
			}
		}
	}
	prefixed := rename("", "transformer.")
	tie := func(ck *Checkpoint) {
		head := *find(ck, "wte.weight")
		head.name, head.data = "lm_head.weight", slices.Clone(head.data)
		ck.tensors = append(ck.tensors, head)
	}
	untie := all(tie, func(ck *Checkpoint) { find(ck, "lm_head.weight").data[79] ^= 1 })
	says := func(tied bool) change {
		return func(ck *Checkpoint) { ck.config.put("tie_word_embeddings", tied, "config.json") }
	}
	meta := func(pairs ...string) change {
		return func(ck *Checkpoint) {
			for ; len(pairs) > 0; pairs = pairs[2:] {
				ck.meta[pairs[0]] = pairs[1]
			}
		}
	}
	const (
		mask = `tensor "h.0.attn.bias": a mask other than GPT-2's, by which a position attends ` +
			`to all before it and none behind`
		matrix  = "[rows, columns], neither of them 0"
		unknown = " is not one of GPT-2's: a model that has it is not the one that mechpatch " +
			"computes"
	)
	for _, c := range []struct {
		name   string
		change change
		want   string // the error; "" where there must be none
	}{
		{"as it is", all(), ""},
		{"other order", func(ck *Checkpoint) { slices.Reverse(ck.tensors) }, ""},
		{"masks", all(add("h.1.attn.masked_bias", "F32", ""),
			add("h.0.attn.bias", "BOOL", "\x01\x00\x00\x01\x01\x00\x01\x01\x01", 1, 1, 3, 3)), ""},
		{"a mask that lets nothing pass", add("h.0.attn.bias", "F32", "", 1, 1, 3, 3), mask},
		{"a mask that lets the future pass", add("h.0.attn.bias", "U8", "\x01\x01\x01\x01", 2, 2),
			mask},
		{"a mask of a window, a sink and a row that sees all", add("h.0.attn.bias", "U8",
			"\x01\x00\x00\x00\x01\x01\x00\x00\x01\x00\x01\x00\x01\x01\x01\x01", 4, 4), mask},
		{"slopes in place of a mask", add("h.0.attn.bias", "F32", "", 2), mask},
		{"tied lm_head", tie, ""},
		{"untied lm_head", untie, ""},
		{"lm_head that differs under a config that says tied", all(untie, says(true)),
			`tensor "lm_head.weight" differs from "wte.weight", but config.json says that they ` +
				`are one (tie_word_embeddings): set it to false there for the file's two ` +
				`matrices, with which transformers 5 computes, or take the former out of the ` +
				`file for the one of transformers 4`},
		{"lm_head alone", all(rename("wte", "lm_head"), says(true)), ""},
		{"lm_head alone, and nothing said", rename("wte", "lm_head"),
			`tensor "wte.weight" is missing, and nothing says that "lm_head.weight" is the same: ` +
				`a config.json beside the file can, by tie_word_embeddings`},
		{"a tied name", all(remove("h.0.ln_2.bias"), meta("h.0.ln_2.bias", "h.0.ln_1.bias")), ""},
		{"a chain of tied names", all( // whichever of them is looked at first
			remove("h.0.ln_1.bias"), remove("h.0.ln_2.bias"),
			meta("h.0.ln_1.bias", "h.0.ln_2.bias", "h.0.ln_2.bias", "ln_f.bias"),
		), `tensor "h.0.ln_1.bias" is missing`},
		{"lm_head that says it is its own, but is tied", all(tie, says(false)), ""},
		{"no lm_head of its own", says(false), `tensor "lm_head.weight" is missing, but ` +
			`config.json says that it differs from wte.weight (tie_word_embeddings)`},
		{"an average's counters", all(add("initted", "BOOL", ""), add("step", "I64", "")), ""},

		{"a counter inside", add("h.0.step", "I64", ""), `tensor "h.0.step"` + unknown},
		{"nothing", remove(""), "it holds no tensors"},
		{"another model", rename("wte.weight", "embed.weight"), `no tensor "wte.weight": these ` +
			`are not the weights of a GPT-2 (the first is "embed.weight")`},
		{"mixed prefix", rename("h.0.ln_1.bias", "transformer.h.0.ln_1.bias"),
			`tensor "h.0.ln_1.bias" is missing`},
		{"two models", add("transformer.wte.weight", "F32", "", 5, 4),
			`it holds several models: "transformer.wte.weight" and "wte.weight"`},
		{"name twice", add("wte.weight", "F32", "", 5, 4), `tensor "wte.weight" comes twice`},
		{"lm_head twice", all(tie, prefixed, add("lm_head.weight", "F32", "", 5, 4)),
			`tensor "lm_head.weight" comes twice`},
		{"lm_head of another shape", all(tie, reshape("lm_head.weight", 4, 5)),
			`tensor "lm_head.weight": its shape is [4, 5] and should be [5, 4]`},
		{"integers", func(ck *Checkpoint) { find(ck, "ln_f.bias").format = "I32" },
			`tensor "ln_f.bias": its numbers are I32, as in a quantized model: only F32, F16, ` +
				`BF16 and F64 can be used`},
		{"no positions", remove("wpe.weight"), `tensor "wpe.weight" is missing: a model with a ` +
			`position embedding other than GPT-2's cannot be computed`},
		{"no layers", all(rename("h.0", "x"), rename("h.1", "y")),
			`tensor "h.0.ln_1.weight" is missing`},
		{"a layer missing", rename("h.1.", "h.2."), `tensor "h.1.ln_1.weight" is missing`},
		{"a layer claimed", add("h.999999999.ln_1.weight", "F32", "", 4),
			`tensor "h.2.ln_1.weight" is missing`},
		{"number with a zero before it", rename("h.1.ln_1.bias", "h.01.ln_1.bias"),
			`tensor "h.1.ln_1.bias" is missing`},
		{"a vector missing", remove("ln_f.bias"), `tensor "ln_f.bias" is missing`},
		{"a matrix turned", reshape("h.1.attn.c_attn.weight", 12, 4),
			`tensor "h.1.attn.c_attn.weight": its shape is [12, 4] and should be [4, 12]`},
		{"MLPs of two widths", reshape("h.1.mlp.c_fc.weight", 4, 17),
			`tensor "h.1.mlp.c_fc.weight": its shape is [4, 17] and should be [4, 16]`},
		{"a number", reshape("ln_f.bias"),
			`tensor "ln_f.bias": its shape is [] and should be [4]`},
		{"a flat table", reshape("wte.weight", 20),
			`tensor "wte.weight": its shape is [20] and should be ` + matrix},
		{"an empty table", reshape("wte.weight", 0, math.MaxInt),
			`tensor "wte.weight": its shape is [0, 9223372036854775807] and should be ` + matrix},
		{"no position", reshape("wpe.weight", 0, 4),
			`tensor "wpe.weight": its shape is [0, 4] and should be ` + matrix},
		{"a classifier", add("score.weight", "F32", "", 2, 4),
			`tensor "score.weight": this is a classifier, which predicts no tokens`},
		{"cross-attention", all(add("h.1.crossattention.c_attn.weight", "F32", "", 4, 8),
			add("zz", "F32", "")), `tensor "h.1.crossattention.c_attn.weight": this is a model ` +
			`with cross-attention, which GPT-2 does not have`},
		{"pruned", add("h.0.mlp.c_fc.weight_mask", "F32", "", 2, 4),
			`tensor "h.0.mlp.c_fc.weight_mask": the weights are pruned, and each is weight_orig ` +
				`× weight_mask: torch.nn.utils.prune.remove(module, 'weight') makes them one, ` +
				`before the model is saved`},
		{"quantized", add("h.0.attn.c_attn.SCB", "F32", "", 2), `tensor "h.0.attn.c_attn.SCB": ` +
			`the weights are quantized: save the model in F32, F16 or BF16`},
		{"an adapter", add("h.0.attn.c_attn.lora_A.default.weight", "F32", "", 2),
			`tensor "h.0.attn.c_attn.lora_A.default.weight": this is ` + loraAdvice},
		{"of a layer spelt otherwise", add("h.01.attn.bias", "F32", "", 2),
			`tensor "h.01.attn.bias"` + unknown},
		{"of no layer", add("attn.bias", "F32", "", 2), `tensor "attn.bias"` + unknown},
	} {
		ck := randomCheckpoint(tinyConfig, 16, "F32")
		c.change(ck)
		m, err := loadModel(ck, 2)
		switch {
		case c.want != "":
			wantWhole(t, c.name, err, "test.safetensors: "+c.want)
		case err != nil || m.Config != tinyConfig:
			t.Errorf("%s: got %v, %v, want %v", c.name, m, err, tinyConfig)
		default:
			checkShapes(t, m)
		}
	}
}

// checkShapes checks that every matrix and vector of a model has the numbers that its shape needs,
// and reads them all.
func checkShapes(t *testing.T, m *Model) {
	t.Helper()
	all := numbersOf(m)
	inner := m.blocks[0].fc.w.cols
	for _, p := range parameters(m.Config, inner) {
		size := 1
		for _, d := range p.shape {
			size *= d
		}
		if n := all[p.name]; !slices.Equal(n.shape, p.shape) || len(n.values) != size {
			t.Errorf("%s: %d numbers in shape %v, want shape %v", p.name, len(n.values), n.shape,
				p.shape)
		}
	}
}

// TestHeads settles the number of heads from all that may be said about it. Where nothing says how
// many there are, their width does; beside what is not understood nothing is assumed.
func TestHeads(t *testing.T) {
	const unread = "and what is said of them in config.json"
	for _, c := range []struct {
		width, metadata int // 0 where nothing is said
		config          string
		flag, want      int
		err             string
	}{
		{768, 0, `{}`, 0, 12, ""},
		{1024, 0, `{}`, 0, 16, ""},
		{1600, 0, `{}`, 0, 25, ""},
		{768, 0, `{}`, 6, 6, ""},
		{768, 0, `{"n_head": 6}`, 0, 6, ""},
		{8, 2, `{"n_head": 2}`, 2, 2, ""},
		{768, 0, `{"a": {"d_head": 128, "d_model": 768}}`, 0, 6, ""},
		{768, 0, `{"a": {"dim": 768, "head_size": 128}}`, 0, 0, unread},
		{768, 0, `{"n_head": 3, "head_dim": 64}`, 0, 3, ""},
		{768, 0, `{"a": {"heads": 6}}`, 0, 6, ""},
		{768, 0, `{"lm_head": 5, "a": {"head_lr": 0.1, "value_head": false, "overhead": 3}}`, 0, 12,
			""},
		{768, 0, `{"a": {"num_attn_heads": 6}}`, 0, 0, unread},
		{768, 0, `{"a": {"n_attention_heads": "6"}}`, 0, 0, unread},
		{768, 0, `{"a": {"d_head": 100, "n_embd": 768}}`, 0, 0, unread},
		{768, 0, `{"a": {"d_head": 128}}`, 0, 0, unread}, // of what?
		{768, 0, `{"a": {"d_head": 128, "n_embd": 768}, "b": {"d_head": 64, "n_embd": 768}}`, 0, 0,
			unread},
		{768, 0, `{"a": {"d_head": 128}, "b": {"dim_head": 64}}`, 0, 0, unread},
		{512, 0, `{}`, 0, 0, "the number of attention heads is not known: say it as -heads N, or " +
			"put a config.json with n_head beside the file"},
		{768, 0, `{"n_head": 5}`, 0, 0, "the width, 768, cannot be divided among 5 heads, as " +
			"config.json says"},
		{768, 0, `{}`, 769, 0, "the width, 768, cannot be divided among 769 heads, as -heads says"},
		{768, 6, `{"n_head": 12}`, 0, 0, "n_head is 6 in its __metadata__, but 12 in config.json"},
		{768, 0, `{"n_head": 6}`, 12, 0, "n_head is 6 in config.json, but 12 in -heads"},
	} {
		ck := &Checkpoint{source: "model.safetensors", config: parseConfig([]byte(c.config))}
		if c.metadata > 0 {
			ck.facts.readMetadata(map[string]string{"n_head": fmt.Sprint(c.metadata)})
		}
		p := &Parameters{Model: &Model{Config: Config{width: c.width}}}
		err := caught(func() { p.settleHeads(p.facts(ck, c.flag)) })
		wantError(t, fmt.Sprint(c), err, c.err)
		assumed := c.metadata+c.flag == 0 && c.want == c.width/64
		if err == nil && (p.heads != c.want || p.headsAssumed != assumed) {
			t.Errorf("%v: got %d heads, assumed %v", c, p.heads, p.headsAssumed)
		}
	}
}

// TestOtherWeightsIn finds the weights of a folder without the usual names, or says where they are.
func TestOtherWeightsIn(t *testing.T) {
	for _, c := range []struct{ files, want, err string }{
		{"model.pt", "model.pt", ""},
		{"model.fp16.safetensors optimizer.pt rng_state_0.pth training_args.bin",
			"model.fp16.safetensors", ""},
		{"model-00001-of-00001.safetensors config.json", "model-00001-of-00001.safetensors", ""},
		{"model.safetensors.index.fp16.json model.fp16-00001-of-00002.safetensors " +
			"model.fp16-00002-of-00002.safetensors", "model.safetensors.index.fp16.json", ""},
		{"a.pt b.ckpt", "", `several files that may be weights, "a.pt" and "b.ckpt": name one`},
		{"model-00001-of-00002.safetensors", "", "not their index"},
		{"config.json", "", "the folder holds no weights"},
		{"tf_model.h5", "", "it holds an HDF5 file"},
		{".metadata __0_0.distcp", "", "dcp_to_torch_save"},
		{"checkpoint-500/model.safetensors checkpoint-1000/pytorch_model.bin logs/x", "",
			`what is in it does: name "checkpoint-500" or "checkpoint-1000"`},
		{"models--a--b/snapshots/12ab/model.safetensors", "", `name "models--a--b"`},
	} {
		files := map[string]string{}
		for _, name := range strings.Fields(c.files) {
			files[name] = "x"
		}
		path, err := otherWeightsIn(folderOf(t, files))
		if wantError(t, c.files, err, c.err); err == nil && filepath.Base(path) != c.want {
			t.Errorf("%s: %s", c.files, path)
		}
	}
}

// TestConfigBeside: what a config.json says counts beside a file of any name, unless its sizes are
// those of another model; one that cannot be read may be about it.
func TestConfigBeside(t *testing.T) {
	for _, c := range []struct{ config, err string }{
		{`{"n_head": 2}`, ""},
		{`{"n_head": 2, "n_layer": 12}`, "(the config.json there is about another model: its " +
			"n_layer is 12, not 2)"},
		{`{"n_head": 2`, "config.json: not JSON"},
		{`{"model_type": "gpt_neo"}`, `config.json: model_type is "gpt_neo", not gpt2`},
		{"version https://git-lfs.github.com/spec/v1\n", "config.json: a Git LFS pointer"},
	} {
		files := inFolder(t, "testdata/dialects/huggingface")
		path := filepath.Join(folderOf(t, map[string]string{"my.safetensors": files[weightsFile],
			"config.json": c.config, "adapter_config.json": "{}", "hparams.yaml": "n_head: 4",
			"config.py": "n_head = 4", "result.json": `{"heads":4}`}), "my.safetensors")
		m, ck, err := openModel(path, 0, 0, 0)
		if wantError(t, c.config, err, c.err); err != nil {
			continue
		}
		check(t, ck.close())
		converted := must(convert(path, filepath.Join(t.TempDir(), "lean"), asStored, 0, ""))
		for _, want := range []string{`"hparams.yaml" beside`, `"config.py" beside`,
			"an adapter lies beside " + path + ": it is not applied"} {
			for _, notes := range [][]string{m.notes, converted} {
				if !strings.Contains(fmt.Sprint(notes), want) ||
					strings.Contains(fmt.Sprint(notes), "result.json") { // of this program's
					t.Errorf("%q, want %s", notes, want)
				}
			}
		}
	}
}

func TestTurned(t *testing.T) {
	for _, shape := range [][2]int{{1, 1}, {1, 40}, {33, 2}, {16, 16}, {35, 50}} {
		rows, cols := shape[0], shape[1]
		data := rand.New(rand.NewSource(1)).Perm(rows * cols)
		out := turned(data, rows, cols)
		for i, x := range data {
			if r, c := i/cols, i%cols; out[c*rows+r] != x {
				t.Fatalf("%v: [%d, %d] is not where it belongs", shape, r, c)
			}
		}
	}
}

// FuzzSafetensors reads files made of any header and any data, under the header's true length or,
// where length is not 0, any other, and makes models of them. Whatever is accepted must be
// consistent; nothing may panic.
func FuzzSafetensors(f *testing.F) {
	for _, format := range []string{"F32", "F16", "BF16"} {
		file := encodeCheckpoint(randomCheckpoint(Config{1, 1, 2, 1, 1}, 3, format), 0)
		end := 8 + binary.LittleEndian.Uint64(file)
		f.Add(file[8:end], file[end:], uint64(0), 1)
	}
	f.Add([]byte(`{"__metadata__":{"n_head":"2"},"x":{"dtype":"F4","shape":[3,4],`+
		`"data_offsets":[0,6]},"y":{"dtype":"U8","shape":[],"data_offsets":[6,7]}}`),
		make([]byte, 7), uint64(0), 0)
	f.Add([]byte(`PK`), []byte{}, uint64(0x0000000004034b50), 0)
	f.Add([]byte(`{}`), []byte{}, uint64(1<<63), 0)
	f.Fuzz(func(t *testing.T, header, data []byte, length uint64, heads int) {
		file := safetensorsFile(string(header), data)
		if length != 0 {
			binary.LittleEndian.PutUint64(file, length)
		}
		ck, err := parsed(file)
		var m *Model
		if err == nil {
			total := 0
			for _, x := range ck.tensors {
				if size := must(sizeOf(x.format, x.shape)); size != len(x.data) {
					t.Errorf("%q: %s %v has %d bytes", x.name, x.format, x.shape, len(x.data))
				}
				total += len(x.data)
			}
			if end := 8 + binary.LittleEndian.Uint64(file); total != len(file[end:]) {
				t.Errorf("tensors of %d bytes in %d bytes of data", total, len(file[end:]))
			}
			m, err = loadModel(ck, heads)
		}
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("an error of more than one line: %q", err)
			}
			return
		}
		if m.heads < 1 || m.width%m.heads != 0 {
			t.Errorf("%d heads in a width of %d", m.heads, m.width)
		}
		checkShapes(t, m)
	})
}
