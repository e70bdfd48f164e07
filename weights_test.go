package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"
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
	return (&Parameters{Config: c, inner: inner, biases: true}).list()
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
		{"tiny-bf16.safetensors", Config{1, 4, 12, 5, 20},
			bf16},
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

// numbersOf lists a model's parameters by name, widened to float32.
func numbersOf(m *Model) map[string]loadedNumbers {
	all := map[string]loadedNumbers{}
	matrix := func(name string, w Matrix) {
		values := slices.Clone(w.f32)
		for _, bits := range w.half {
			if w.format == f16 {
				values = append(values, widenF16(bits))
			} else {
				values = append(values, widenBF16(bits))
			}
		}
		all[name] = loadedNumbers{[]int{w.rows, w.cols}, values}
	}
	vector := func(name string, v []float32) { all[name] = loadedNumbers{[]int{len(v)}, v} }
	norm := func(name string, n Norm) {
		vector(name+".weight", n.gain)
		vector(name+".bias",
			n.bias)
	}
	linear := func(name string, l Linear) { matrix(name+".weight", l.w); vector(name+".bias", l.b) }
	matrix("wte.weight", m.wte)
	matrix("wpe.weight", m.wpe)
	for l, b := range m.blocks {
		h := "h." + strconv.Itoa(l) + "."
		norm(h+"ln_1", b.ln1)
		linear(h+"attn.c_attn", b.attn)
		linear(h+"attn.c_proj", b.attnProj)
		norm(h+"ln_2", b.ln2)
		linear(h+"mlp.c_fc", b.fc)
		linear(h+"mlp.c_proj", b.mlpProj)
	}
	norm("ln_f", m.lnF)
	return all
}

// TestLoadAnywhere loads the same numbers from data at every alignment, on processors of every
// kind, and in place where that can be.
func TestLoadAnywhere(t *testing.T) {
	defer func(l, a bool) { littleEndian, anyAddress = l, a }(littleEndian, anyAddress)
	host := littleEndian
	for _, format := range []string{"F32", "F16", "BF16"} {
		var want map[string]loadedNumbers
		for shift := range 8 {
			for _, machine := range []struct{ littleEndian, anyAddress bool }{{host, anyAddress},
				{host, false}, {false, false}} {
				littleEndian, anyAddress = machine.littleEndian, machine.anyAddress
				ck := must(parsed(encodeCheckpoint(randomCheckpoint(tinyConfig, 16,
					format), shift)))
				m := must(loadModel(ck, 2))
				got := numbersOf(m)
				if want == nil {
					want = got
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s at 8n+%d on a processor with %+v: other numbers", format, shift,
						machine)
				}
				data := ck.tensors[0].data
				first := unsafe.Pointer(unsafe.SliceData(m.wte.f32))
				if format != "F32" {
					first = unsafe.Pointer(unsafe.SliceData(m.wte.half))
				}
				aligned := uintptr(unsafe.Pointer(&data[0]))%uintptr(len(data)/20) == 0
				if used, want := first == unsafe.Pointer(&data[0]), machine.littleEndian &&
					(machine.anyAddress || aligned); used != want {
					t.Errorf("%s at 8n+%d on a processor with %+v: used in place %v, want %v",
						format, shift, machine, used, want)
				}
			}
		}
	}
}

// TestLoadVariants changes a good checkpoint in the ways that are allowed, and in those that are
// not, and checks what comes of it.
func TestLoadVariants(t *testing.T) {
	find := func(ck *Checkpoint, name string) *Tensor {
		for i := range ck.tensors {
			if ck.tensors[i].name == name {
				return &ck.tensors[i]
			}
		}
		t.Fatalf("no tensor %s", name)
		return nil
	}
	remove := func(ck *Checkpoint, name string) {
		ck.tensors = slices.DeleteFunc(ck.tensors, func(t Tensor) bool { return t.name == name })
	}
	add := func(ck *Checkpoint, name, format string, shape ...int) {
		size, _ := sizeOf(format, shape)
		ck.tensors = append(ck.tensors, Tensor{name, format, shape, make([]byte, size)})
	}
	reshape := func(ck *Checkpoint, name string, shape ...int) {
		tensor := find(ck, name)
		size, _ := sizeOf(tensor.format, shape)
		tensor.shape, tensor.data = shape, make([]byte, size)
	}
	tie := func(ck *Checkpoint) *Tensor {
		head := *find(ck, "wte.weight")
		head.name, head.data = "lm_head.weight", slices.Clone(head.data)
		ck.tensors = append([]Tensor{head}, ck.tensors...)
		return &ck.tensors[0]
	}
	load := func(name string, change func(*Checkpoint), want string) {
		t.Helper()
		ck := randomCheckpoint(tinyConfig, 16, "F32")
		change(ck)
		m, err := loadModel(ck, 2)
		if want != "" {
			wantWhole(t, name, err, "test.safetensors: "+want)
			return
		}
		if wantError(t, name, err, ""); err != nil || m.Config != tinyConfig {
			t.Fatalf("%s: got %v, want %v", name, m, tinyConfig)
		}
		checkShapes(t, m)
	}
	untied := Facts{"n_layer": {2, "config.json"}, "tie_word_embeddings": {false, "config.json"}}
	const quantized = `its numbers are I32, as in a quantized model: only F32, F16, BF16 and F64 ` +
		`can be used`
	for _, c := range []struct {
		name   string
		change func(*Checkpoint)
		want   string // the error; "" where there must be none
	}{
		{"as it is", func(*Checkpoint) {}, ""},
		{"other order", func(ck *Checkpoint) { slices.Reverse(ck.tensors) }, ""},
		{"prefix", func(ck *Checkpoint) {
			tie(ck)
			for i := range ck.tensors[1:] {
				ck.tensors[1+i].name = "transformer." + ck.tensors[1+i].name
			}
		}, ""},
		{"masks", func(ck *Checkpoint) {
			add(ck, "h.0.attn.bias", "BOOL", 1, 1, 3, 3)
			copy(ck.tensors[len(ck.tensors)-1].data, "\x01\x00\x00\x01\x01\x00\x01\x01\x01")
			add(ck, "h.1.attn.masked_bias", "F32")
		}, ""},
		{"a mask that lets nothing pass", func(ck *Checkpoint) {
			add(ck, "h.0.attn.bias", "F32", 1, 1, 3, 3)
		}, `tensor "h.0.attn.bias": a mask other than GPT-2's, by which a position attends to ` +
			`all before it and none behind`},
		{"a mask of a window, a sink and a row that sees all", func(ck *Checkpoint) {
			add(ck, "h.0.attn.bias", "U8", 4, 4)
			copy(ck.tensors[len(ck.tensors)-1].data,
				"\x01\x00\x00\x00\x01\x01\x00\x00\x01\x00\x01\x00\x01\x01\x01\x01")
		}, `tensor "h.0.attn.bias": a mask other than GPT-2's, by which a position attends to ` +
			`all before it and none behind`},
		{"slopes in place of a mask", func(ck *Checkpoint) {
			add(ck, "h.0.attn.bias", "F32", 2)
		}, `tensor "h.0.attn.bias": a mask other than GPT-2's, by which a position attends to ` +
			`all before it and none behind`},
		{"a mask that lets the future pass", func(ck *Checkpoint) {
			add(ck, "h.0.attn.bias", "U8", 2, 2)
			copy(ck.tensors[len(ck.tensors)-1].data, "\x01\x01\x01\x01")
		}, `tensor "h.0.attn.bias": a mask other than GPT-2's, by which a position attends to ` +
			`all before it and none behind`},
		{"tied lm_head", func(ck *Checkpoint) { tie(ck) }, ""},
		{"untied lm_head", func(ck *Checkpoint) { tie(ck).data[79] ^= 1 }, ""},
		{"lm_head that differs under a config that says tied", func(ck *Checkpoint) {
			tie(ck).data[79] ^= 1
			ck.config = Facts{"tie_word_embeddings": {true, "config.json"}}
		}, `tensor "lm_head.weight" differs from "wte.weight", but config.json says that they ` +
			`are one (tie_word_embeddings): set it to false there for the file's two matrices, ` +
			`with which transformers 5 computes, or take the former out of the file for the one ` +
			`of transformers 4`},
		{"lm_head alone", func(ck *Checkpoint) {
			find(ck, "wte.weight").name = "lm_head.weight"
			ck.config = Facts{"tie_word_embeddings": {true, "config.json"}}
		}, ""},
		{"lm_head alone, and nothing said", func(ck *Checkpoint) {
			find(ck, "wte.weight").name = "lm_head.weight"
		}, `tensor "wte.weight" is missing, and nothing says that "lm_head.weight" is the same: ` +
			`a config.json beside the file can, by tie_word_embeddings`},
		{"a tied name", func(ck *Checkpoint) {
			remove(ck, "h.0.ln_2.bias")
			ck.meta = map[string]string{"h.0.ln_2.bias": "h.0.ln_1.bias"}
		}, ""},
		{"a chain of tied names", func(ck *Checkpoint) { // whichever of them is looked at first
			remove(ck, "h.0.ln_1.bias")
			remove(ck, "h.0.ln_2.bias")
			ck.meta = map[string]string{"h.0.ln_1.bias": "h.0.ln_2.bias",
				"h.0.ln_2.bias": "ln_f.bias"}
		}, `tensor "h.0.ln_1.bias" is missing`},
		{"lm_head that says it is its own, but is tied", func(ck *Checkpoint) {
			tie(ck)
			ck.config = untied
		}, ""},
		{"no lm_head of its own", func(ck *Checkpoint) { ck.config = untied },
			`tensor "lm_head.weight" is missing, but config.json says that it differs from ` +
				`wte.weight (tie_word_embeddings)`},
		{"formats by tensor", func(ck *Checkpoint) {
			for i := range ck.tensors {
				if i%3 > 0 {
					ck.tensors[i].format = []string{"", "F16", "BF16"}[i%3]
					ck.tensors[i].data = ck.tensors[i].data[len(ck.tensors[i].data)/2:]
				}
			}
		}, ""},
		{"inner width of its own", func(ck *Checkpoint) {
			for _, h := range []string{"h.0.", "h.1."} {
				reshape(ck, h+"mlp.c_fc.weight", 4, 7)
				reshape(ck, h+"mlp.c_fc.bias", 7)
				reshape(ck, h+"mlp.c_proj.weight", 7, 4)
			}
		}, ""},
		{"no biases", func(ck *Checkpoint) {
			ck.tensors = slices.DeleteFunc(ck.tensors, func(t Tensor) bool {
				return strings.HasSuffix(t.name, ".bias")
			})
		}, ""},
		{"value head", func(ck *Checkpoint) { add(ck, "v_head.summary.weight", "F32", 1, 4) }, ""},

		{"nothing", func(ck *Checkpoint) { ck.tensors = nil }, "it holds no tensors"},
		{"another model", func(ck *Checkpoint) { ck.tensors[0].name = "embed.weight" },
			`no tensor "wte.weight": these are not the weights of a GPT-2 (the first is ` +
				`"embed.weight")`},
		{"mixed prefix", func(ck *Checkpoint) {
			ck.tensors[3].name = "transformer." + ck.tensors[3].name
		}, `tensor "h.0.ln_1.bias" is missing`},
		{"two models", func(ck *Checkpoint) { add(ck, "transformer.wte.weight", "F32", 5, 4) },
			`it holds several models: "transformer.wte.weight" and "wte.weight"`},
		{"name twice", func(ck *Checkpoint) { add(ck, "wte.weight", "F32", 5, 4) },
			`tensor "wte.weight" comes twice`},
		{"lm_head twice", func(ck *Checkpoint) {
			tie(ck)
			for i := range ck.tensors {
				ck.tensors[i].name = "transformer." + ck.tensors[i].name
			}
			add(ck, "lm_head.weight", "F32", 5, 4)
		}, `tensor "lm_head.weight" comes twice`},
		{"lm_head of another shape", func(ck *Checkpoint) { tie(ck).shape = []int{4, 5} },
			`tensor "lm_head.weight": its shape is [4, 5] and should be [5, 4]`},
		{"lm_head of integers", func(ck *Checkpoint) { tie(ck).format = "I32" },
			`tensor "lm_head.weight": ` + quantized},
		{"integers", func(ck *Checkpoint) { find(ck, "h.0.attn.c_proj.weight").format = "I32" },
			`tensor "h.0.attn.c_proj.weight": ` + quantized},
		{"no positions", func(ck *Checkpoint) { remove(ck, "wpe.weight") },
			`tensor "wpe.weight" is missing: a model with a position embedding other than ` +
				`GPT-2's cannot be computed`},
		{"no layers", func(ck *Checkpoint) {
			ck.tensors = append(ck.tensors[:2], ck.tensors[len(ck.tensors)-2:]...)
		}, `tensor "h.0.ln_1.weight" is missing`},
		{"a layer missing", func(ck *Checkpoint) {
			for i := range ck.tensors {
				ck.tensors[i].name = strings.Replace(ck.tensors[i].name, "h.1.", "h.2.", 1)
			}
		}, `tensor "h.1.ln_1.weight" is missing`},
		{"a layer claimed", func(ck *Checkpoint) { add(ck, "h.999999999.ln_1.weight", "F32", 4) },
			`tensor "h.2.ln_1.weight" is missing`},
		{"number with a zero before it", func(ck *Checkpoint) {
			find(ck, "h.1.ln_1.bias").name = "h.01.ln_1.bias"
		}, `tensor "h.1.ln_1.bias" is missing`},
		{"cross-attention", func(ck *Checkpoint) {
			add(ck, "h.1.crossattention.c_attn.weight", "F32", 4, 8)
			add(ck, "zz", "F32")
		}, `tensor "h.1.crossattention.c_attn.weight": this is a model with cross-attention, ` +
			`which GPT-2 does not have`},
	} {
		load(c.name, c.change, c.want)
	}

	for _, name := range []string{"ln_f.bias", "h.0.mlp.c_fc.weight", "h.1.attn.c_attn.bias"} {
		load(name, func(ck *Checkpoint) { remove(ck, name) },
			fmt.Sprintf("tensor %q is missing", name))
	}
	const matrix = "[rows, columns], neither of them 0"
	for _, c := range []struct {
		name   string
		shape  []int
		should string
	}{
		{"h.1.attn.c_attn.weight", []int{12, 4}, "[4, 12]"},
		{"h.1.attn.c_attn.weight", []int{48}, "[4, 12]"},
		{"h.1.mlp.c_fc.weight", []int{4, 17}, "[4, 16]"},
		{"ln_f.bias", nil, "[4]"},
		{"wte.weight", []int{20}, matrix},
		{"wte.weight", []int{0, math.MaxInt}, matrix},
		{"wpe.weight", []int{0, 4}, matrix},
		{"wpe.weight", []int{3, 2}, "[3, 4]"},
	} {
		shape := strings.ReplaceAll(fmt.Sprint(c.shape), " ", ", ")
		load(c.name+shape, func(ck *Checkpoint) { reshape(ck, c.name, c.shape...) },
			fmt.Sprintf("tensor %q: its shape is %s and should be %s", c.name, shape, c.should))
	}
	const unknown = " is not one of GPT-2's: a model that has it is not the one that mechpatch " +
		"computes"
	for _, c := range []struct{ name, want string }{
		{"score.weight", ": this is a classifier, which predicts no tokens"},
		{"h.0.mlp.c_fc.weight_mask", ": the weights are pruned, and each is weight_orig × " +
			"weight_mask: torch.nn.utils.prune.remove(module, 'weight') makes them one, before " +
			"the model is saved"},
		{"h.0.attn.c_attn.SCB",
			": the weights are quantized: save the model in F32, F16 or BF16"},
		{"h.0.attn.c_attn.lora_A.default.weight", ": this is " + loraAdvice},
		{"h.01.attn.bias", unknown}, // of a layer spelt otherwise
		{"attn.bias", unknown},      // of none
	} {
		load(c.name, func(ck *Checkpoint) { add(ck, c.name, "F32", 2, 4) },
			fmt.Sprintf("tensor %q%s", c.name, c.want))
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

// TestHeads settles the number of heads from all that may be said about it.
func TestHeads(t *testing.T) {
	for _, c := range []struct {
		width, metadata, config, flag int // 0 where nothing is said
		want                          int
		err                           string
	}{
		{768, 0, 0, 0, 12, ""},
		{1024, 0, 0, 0, 16, ""},
		{1600, 0, 0, 0, 25, ""},
		{768, 0, 0, 6, 6, ""},
		{768, 0, 6, 0, 6, ""},
		{8, 2, 2, 2, 2, ""},
		{512, 0, 0, 0, 0, "the number of attention heads is not known: say it as -heads N, or " +
			"put a config.json with n_head beside the file"},
		{768, 0, 5, 0, 0, "the width, 768, cannot be divided among 5 heads, as config.json says"},
		{768, 0, 0, 769, 0, "the width, 768, cannot be divided among 769 heads, as -heads says"},
		{768, 6, 12, 0, 0, "n_head is 6 in its __metadata__, but 12 in config.json"},
		{768, 0, 6, 12, 0, "n_head is 6 in config.json, but 12 in -heads"},
	} {
		ck := randomCheckpoint(Config{1, 1, 8, 1, 1}, 8, "F32")
		ck.source = "model.safetensors"
		ck.facts, ck.config = Facts{}, Facts{}
		p := must(canonicalTensors(ck.tensors, ck.meta))
		check(t, p.sizes())
		if c.metadata > 0 {
			ck.facts["n_head"] = Fact{c.metadata, "its __metadata__"}
		}
		if c.config > 0 {
			ck.config["n_head"] = Fact{c.config, "config.json"}
		}
		p.width = c.width
		facts, other, err := p.facts(ck, c.flag)
		if err == nil {
			err = p.settleHeads(facts, other)
		}
		if c.err != "" {
			wantWhole(t, fmt.Sprint(c), err, c.err)
		} else if assumed := c.metadata+c.config+c.flag == 0; err != nil || p.heads != c.want ||
			p.headsAssumed != assumed {
			t.Errorf("%v: got %d heads, assumed %v, %v", c, p.heads, p.headsAssumed, err)
		}
	}
}

// TestHeadsInOtherWords reads the heads' width where nothing says how many there are, and assumes
// nothing beside what it does not understand.
func TestHeadsInOtherWords(t *testing.T) {
	for _, c := range []struct {
		said string
		want int // 0: refused
	}{
		{`{"a": {"d_head": 128, "d_model": 768}}`, 6},
		{`{"a": {"dim": 768, "head_size": 128}}`, 0},
		{`{"n_head": 3, "head_dim": 64}`, 3},
		{`{"a": {"heads": 6}}`, 6},
		{`{"lm_head": 5, "a": {"head_lr": 0.1, "value_head": false, "overhead": 3}}`, 12},
		{`{"a": {"num_attn_heads": 6}}`, 0},
		{`{"a": {"n_attention_heads": "6"}}`, 0},
		{`{"a": {"d_head": 100, "n_embd": 768}}`, 0},
		{`{"a": {"d_head": 128}}`, 0}, // of what?
		{`{"a": {"d_head": 128}, "b": {"dim_head": 64}}`, 0},
	} {
		facts := must(parseConfig([]byte(c.said), "config.json"))
		p := &Parameters{Config: Config{width: 768}}
		err := p.settleHeads(facts, "")
		want := "and what is said of them in config.json"
		if c.want > 0 {
			want = ""
		}
		if wantError(t, c.said, err, want); p.heads != c.want {
			t.Errorf("%s: %d heads, want %d", c.said, p.heads, c.want)
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
		folder := folderOf(t, map[string]string{"my.safetensors": files[weightsFile],
			"config.json": c.config, "hparams.yaml": "n_head: 4", "config.py": "n_head = 4"})
		m, ck, err := openModel(filepath.Join(folder, "my.safetensors"), 0, 0, 0)
		if wantError(t, c.config, err, c.err); err != nil {
			continue
		}
		if ck.close(); !strings.Contains(fmt.Sprint(m.notes), `"hparams.yaml" beside`) ||
			!strings.Contains(fmt.Sprint(m.notes), `"config.py" beside`) {
			t.Error(m.notes)
		}
	}
}

func TestTurned(t *testing.T) {
	for _, size := range []int{2, 4} {
		for _, shape := range [][2]int{{1, 1}, {1, 40}, {33, 2}, {16, 16}, {35, 50}} {
			rows, cols := shape[0], shape[1]
			data := make([]byte, rows*cols*size)
			rand.New(rand.NewSource(1)).Read(data)
			out := turned(data, rows, cols, size)
			for r := range rows {
				for c := range cols {
					if !bytes.Equal(out[(c*rows+r)*size:][:size], data[(r*cols+c)*size:][:size]) {
						t.Fatalf("%v of %d bytes: [%d, %d] is not where it belongs", shape, size, c,
							r)
					}
				}
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
		header, data := splitHeader(file)
		f.Add(header, data, uint64(0), 1)
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
			if _, data := splitHeader(file); total != len(data) {
				t.Errorf("tensors of %d bytes in %d bytes of data", total, len(data))
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
