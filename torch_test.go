package main

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The files in testdata/torch were written by PyTorch 1.13 itself; make.py beside them is the
// program. values.json holds the parameters of the tiny GPT-2 (1 layer, 2 heads, width 4) that all
// of them hold.

func torchGolden(name string) string { return filepath.Join("testdata", "torch", name+".bin") }

func tinyValues(t testing.TB) (values map[string][]float32) {
	t.Helper()
	testdata(t, "torch/values.json", &values)
	return values
}

// widened returns the numbers of a tensor as float32s.
func widened(x Tensor) []float32 {
	n := len(x.data) * 8 / formatBits[x.format]
	p := &Parameters{tensors: map[string]Tensor{"": x}}
	m := must(p.matrix(param{shape: []int{n}}))
	numbers := make([]float32, n)
	m.row(numbers, 0)
	return numbers
}

// parseTensors reads the tensors of a PyTorch file's state dict.
func parseTensors(data []byte) (tensors []Tensor, err error) {
	defer catchFault(&err)
	tree := get(parseTorch(data))
	new(Facts).read(tree, inItself)
	state, _ := stateDict(tree)
	return get(tensorsOf(state, len(data))), nil
}

func TestTorch(t *testing.T) {
	for file, want := range map[string]string{ // the format of wte, or what is wrong
		"module-zip": "F32", "module-stream": "F32", "half-zip": "F16", "bfloat16-stream": "BF16",
		"double-zip": "F32", "mixed-zip": "F32", "parameters-zip": "F32", "protocol4-zip": "F32",
		"protocol5-stream": "F32", "shared-zip": "F32", "shared-stream": "F32",
		"strided-zip": "F32", "strided-stream": "F32", "training-zip": "F32",
		"attributes-zip":      "F32",
		"evil-zip":            `it calls "posix.system", which no state dict needs`,
		"evil-stream":         `it calls "posix.system", which no state dict needs`,
		"whole-module-zip":    "a model saved whole, which only its own program can open",
		"whole-module-stream": "a model saved whole, which only its own program can open",
		"float8-zip":          "numbers of a quantized model",
		"quantized-zip":       "numbers of a quantized model",
		"subclass-zip":        `a tensor of the class "__main__.Own", not a plain one`,
		"dtensor-zip":         "a tensor that is spread over processes (DTensor)",
		"exported":            "this is an exported program (torch.export",
	} {
		ck, err := openFile(torchGolden(file), 0, -1)
		if err != nil {
			wantError(t, file, err, torchGolden(file)+": ")
			wantError(t, file, err, want)
			continue
		}
		m := must(loadModel(ck, 2))
		if m.Config != (Config{1, 2, 4, 3, 5}) || m.wte.format.String() != want {
			t.Errorf("%s: %v, %v", file, m.Config, m.wte.format)
		}
		numbers := numbersOf(m)
		for name, values := range tinyValues(t) {
			if got := numbers[name].values; !slices.Equal(got, values) {
				t.Errorf("%s: %s: %v, want %v", file, name, got, values)
			}
		}
		check(t, ck.close())
	}
}

// rezip copies a PyTorch file: the entry that ends so is changed, the entry more is added.
func rezip(t testing.TB, file, ending, how, more, content string) []byte {
	t.Helper()
	in := must(zip.OpenReader(torchGolden(file)))
	defer in.Close()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, entry := range in.File {
		content := must(io.ReadAll(must(entry.Open())))
		h := &zip.FileHeader{Name: entry.Name, Method: zip.Store}
		if strings.HasSuffix(h.Name, ending) {
			switch how {
			case "dropped":
				continue
			case "deflated":
				h.Method = zip.Deflate
			case "encrypted":
				h.Flags |= 1
			case "shorter":
				content = content[:len(content)-1]
			case "longer":
				content = append(content, 0)
			}
		}
		must(must(w.CreateHeader(h)).Write(content))
	}
	if more != "" {
		h := &zip.FileHeader{Name: more, Method: zip.Store}
		must(must(w.CreateHeader(h)).Write([]byte(content)))
	}
	check(t, w.Close())
	return out.Bytes()
}

func TestTorchZip(t *testing.T) {
	for _, c := range []struct{ ending, how, more, content, want string }{
		{"", "", "", "", ""},
		{"", "", "half-zip/byteorder", "little", ""},        // which PyTorch 2 adds
		{"", "", "half-zip/extra/code.py", "import os", ""}, // not PyTorch's
		{"", "", "a/b/data.pkl", "x", ""},
		{"", "", "half-zip/byteorder", "big", "only little-endian files are read"},
		{"", "", "half-zip/constants.pkl", "", "this is an exported program"},
		{"", "", "half-zip/data/0", "x", `zip entry "half-zip/data/0" is there twice`},
		{"/data/0", "deflated", "", "", `zip entry "half-zip/data/0": compressed`},
		{"/data/0", "encrypted", "", "", `zip entry "half-zip/data/0": compressed or encrypted`},
		{"/data.pkl", "dropped", "", "", "there is no data.pkl in it"},
		{"/data.pkl", "shorter", "", "", "pickle: byte 1"},
		{"/data/3", "dropped", "", "", `storage "3" has 0 bytes: its 4 elements need 8`},
		{"/data/0", "shorter", "", "", `storage "0" has 39 bytes: its 20 elements need 40`},
		{"/data/0", "longer", "", "", `storage "0" has 41 bytes`},
	} {
		tensors, err := parseTensors(rezip(t, "half-zip", c.ending, c.how, c.more, c.content))
		wantError(t, c.ending+c.how+c.more, err, c.want)
		if err == nil && len(tensors) != len(tinyValues(t)) {
			t.Errorf("%s: %d tensors", c.more, len(tensors))
		}
	}
}

// A file that is cut off is an error, and so is a byte that is lost at the front.
func TestTorchTruncated(t *testing.T) {
	for _, file := range []string{"shared-zip", "shared-stream", "bfloat16-stream"} {
		whole := must(os.ReadFile(torchGolden(file)))
		for n := 0; n < len(whole); n += 7 {
			if _, err := parseTensors(whole[:n]); err == nil {
				t.Errorf("%s: no error for the first %d of %d bytes", file, n, len(whole))
			}
		}
		if _, err := parseTensors(whole[1:]); err == nil {
			t.Errorf("%s: no error without its first byte", file)
		}
	}
}

// streamOf is a file of the older form: five pieces of pickle, of which the fourth has one tensor,
// and what is in its storage k.
func streamOf(tensor, storage string) string {
	return "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." + "\x80\x02M\xe9\x03." +
		"\x80\x02}" + pickledText("little_endian") + "\x88s." + "\x80\x02}" + tensor + "s." +
		"\x80\x02](" + pickledText("k") + "e." + storage
}

func TestTorchStream(t *testing.T) {
	const numbers = "\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x3f\x00\x00\x00\x40"
	tensor := pickledText("wte.weight") + pickledTensor("FloatStorage", "k", 2, 0, "\x85", 2, 1)
	object, keys := "}"+tensor+"s.", "]("+pickledText("k")+"e."
	good := streamOf(tensor, numbers)
	want := []Tensor{{"wte.weight", "F32", []int{2}, []byte(numbers[8:])}}
	if tensors := must(parseTensors([]byte(good))); !reflect.DeepEqual(tensors, want) {
		t.Errorf("%v", tensors)
	}
	for _, c := range []struct{ old, new, want string }{
		{"\x8a\x0a", "\x8a\x0b\x00", "it does not begin with PyTorch's magic number"},
		{"M\xe9\x03.", "M\xea\x03.", "an unknown version"},
		{"M\xe9\x03.", "}.", "an unknown version"},
		{"\x88s.", "\x89s.", "little-endian"},
		{"}" + pickledText("little_endian") + "\x88s.", "N.", "little-endian"},
		{object + "\x80\x02" + keys + numbers, "].\x80\x02].", "it holds a list, not a state dict"},
		{object + "\x80\x02" + keys + numbers, "}.\x80\x02].", "a dict without tensors"},
		{keys, "}.", "it has no list of its storages"},
		{keys, "](" + pickledText("q") + "e.", `storage "q" belongs to no tensor`},
		{keys, "](Ne.", "belongs to no tensor"},
		{keys, "].", `storage "k" has 0 bytes: its 2 elements need 8`},
		{numbers, "\x01" + numbers[1:], `storage "k" has 4 bytes: its 2 elements need 8`},
		{numbers, "\x03" + numbers[1:], "ends in storage"},
		{numbers, strings.Repeat("\xff", 16), "ends in storage"},
		{numbers, numbers[:7], "ends in storage"},
		{numbers, numbers[:15], "ends in storage"},
	} {
		_, err := parseTensors([]byte(strings.Replace(good, c.old, c.new, 1)))
		wantError(t, fmt.Sprintf("%q", c.new), err, c.want)
	}
}

func pickledText(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func pickledInt(n int64) string {
	return "\x8a\x08" + string(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

// pickledStorage is what names a storage; older versions say more.
func pickledStorage(class, key string, count int64, more string) string {
	return "(" + pickledText("storage") + "c" + class + "\n" + pickledText(key) +
		pickledText("cpu") + pickledInt(count) + more + "tQ"
}

// pickledTensor is what makes a tensor with one storage; tuple is the opcode that ends its shape
// and its strides, whose dimensions come one after the other.
func pickledTensor(class, key string, count, offset int64, tuple string, dims ...int64) string {
	s := "ctorch._utils\n_rebuild_tensor_v2\n(" + pickledStorage("torch\n"+class, key, count, "") +
		pickledInt(offset)
	for i, d := range dims {
		s += pickledInt(d)
		if i == len(dims)/2-1 || i == len(dims)-1 {
			s += tuple
		}
	}
	return s + "\x89ccollections\nOrderedDict\n)RtR"
}

// A view must lie within its storage, whatever its offset, shape and strides multiply to.
func TestTorchViews(t *testing.T) {
	const large = math.MaxInt64
	for _, c := range []struct {
		offset int64
		dims   []int64 // shape and strides, two of each
		want   []byte  // nil = an error
	}{
		{0, []int64{2, 3, 3, 1}, []byte{0, 1, 2, 3, 4, 5}},
		{2, []int64{2, 3, 3, 1}, []byte{2, 3, 4, 5, 6, 7}},
		{2, []int64{3, 2, 1, 3}, []byte{2, 5, 3, 6, 4, 7}},
		{1, []int64{2, 2, 4, 2}, []byte{1, 3, 5, 7}},
		{0, []int64{2, 2, 2, 2}, []byte{0, 2, 2, 4}},
		{0, []int64{2, 3, 4, 1}, []byte{0, 1, 2, 4, 5, 6}},
		{7, []int64{2, 2, 0, 0}, []byte{7, 7, 7, 7}},
		// the stride of a dimension of 1 means nothing
		{0, []int64{1, 8, 1 << 27, 1}, []byte{0, 1, 2, 3, 4, 5, 6, 7}},
		{0, []int64{4, 1, 2, 1 << 27}, []byte{0, 2, 4, 6}},
		{0, []int64{0, 1 << 27, 1, 1}, []byte{}},
		{1 << 27, []int64{5, 0, 1, 1}, []byte{}},
		{3, []int64{2, 3, 3, 1}, nil},
		{0, []int64{3, 3, 3, 1}, nil},
		{8, []int64{1, 1, 1, 1}, nil},
		{large, []int64{1, 1, 1, 1}, nil},
		{-1, []int64{1, 1, 1, 1}, nil},
		{0, []int64{-1, 1, 1, 1}, nil},
		{0, []int64{1, 1, -1, 1}, nil},
		{7, []int64{2, 1, -1, 1}, nil},
		{0, []int64{1 << 32, 1 << 32, 0, 0}, nil}, // 2⁶⁴ elements: the product overflows to 0
		{0, []int64{1<<32 + 1, 1 << 32, 0, 0}, nil},
		{0, []int64{large, 2, 0, 0}, nil}, // larger than the file, of one element
		{0, []int64{3, 2, large, 2}, nil},
		{1, []int64{2, 2, large, large}, nil},
	} {
		tensor := pickledText("x") +
			pickledTensor("ByteStorage", "k", 8, c.offset, "\x86", c.dims...)
		tensors, err := parseTensors([]byte(streamOf(tensor,
			"\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07")))
		if c.want == nil {
			if err == nil {
				t.Errorf("%v from %d: no error", c.dims, c.offset)
			}
			continue
		}
		if err != nil || !bytes.Equal(tensors[0].data, c.want) {
			t.Errorf("%v from %d: %v, %v", c.dims, c.offset, tensors, err)
		}
	}
}

// A tensor of one element that claims to be repeated a thousand million times costs nothing, and
// several that are each smaller than the file are not larger than it together.
func TestTorchRepeatedView(t *testing.T) {
	for length, n := range map[int64]int{1e9: 1, 100: 9} {
		var tensors []string
		for i := range n {
			tensors = append(tensors, pickledText(fmt.Sprint(i))+
				pickledTensor("FloatStorage", "k", 1, 0, "\x85", length, 0))
		}
		one := "\x01" + strings.Repeat("\x00", 11)
		_, err := parseTensors([]byte(streamOf(strings.Join(tensors, "s"), one)))
		wantError(t, "views", err, "the strided tensors together are larger than the file")
	}
}

func TestIsTorch(t *testing.T) {
	holds(t, func(head string) bool { return isTorch([]byte(head)) }, map[string]bool{
		"PK\x03\x04\x00\x00\x08\x08\x00":           true,
		"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20": true,
		"\x80\x04\x95\x0d\x00\x00\x00\x00\x00":     true,
		"\x80\x02\x00\x00\x00\x00\x00\x00{\"":      false, // safetensors with a header of 640 bytes
		"\x80\x02":                                 false, "": false, "\x7fELF": false,
	})
}

// fuzzTorch holds the parser to what it promises: data of exactly the length that the shape and the
// format ask for.
func fuzzTorch(t *testing.T, data []byte) {
	tensors, err := parseTensors(data)
	if err != nil {
		return
	}
	for _, x := range tensors {
		if n := must(sizeOf(x.format, x.shape)); n != len(x.data) {
			t.Fatalf("%q: %d bytes of data for %s %v", x.name, len(x.data), x.format, x.shape)
		}
	}
}

func FuzzTorch(f *testing.F) {
	f.Add(rezip(f, "half-zip", "", "", "half-zip/byteorder", "little"))
	for _, file := range []string{"shared-zip", "strided-zip", "protocol4-zip", "bfloat16-stream",
		"shared-stream", "strided-stream", "protocol5-stream", "evil-stream"} {
		f.Add(must(os.ReadFile(torchGolden(file))))
	}
	f.Fuzz(fuzzTorch)
}

func listOf(values ...any) pyList { return &values }

func dictOf(pairs ...any) pyDict {
	d := pyDict{}
	for ; len(pairs) > 0; pairs = pairs[2:] {
		d[fmt.Sprint(pairs[0])] = pairs[1]
	}
	return d
}

func objectOf(class string, pairs ...any) pyDict {
	return dictOf(append(pairs, className, class)...)
}

// unpickled runs a pickle of protocol 2, if it says no other, which others may follow.
func unpickled(pickle string) (object any, rest []byte, err error) {
	defer catchFault(&err)
	if !strings.HasPrefix(pickle, "\x80") {
		pickle = "\x80\x02" + pickle
	}
	object, rest = unpickle([]byte(pickle), map[string]*storage{})
	return object, rest, nil
}

func TestPickleValues(t *testing.T) {
	for _, c := range []struct {
		pickle string
		want   any
	}{
		{"(N\x88\x89G\x3f\xf4\x00\x00\x00\x00\x00\x00t.", pyTuple{nil, true, false, 1.25}},
		{"(K\xffM\x00\x80J\xff\xff\xff\xffJ\x00\x00\x00\x80t.",
			pyTuple{int64(255), int64(32768), int64(-1), int64(math.MinInt32)}},
		{"(\x8a\x00\x8a\x01\xff\x8a\x02\xff\x00t.", pyTuple{int64(0), int64(-1), int64(255)}},
		{"(\x8a\x05\x00\x00\x00\x00\x01\x8a\x05\x00\x00\x00\x00\xfft.",
			pyTuple{int64(1 << 32), int64(-1 << 32)}},
		{"(\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80\x8a\x09123456789t.",
			pyTuple{int64(math.MinInt64), "123456789"}},
		{"X\x03\x00\x00\x00\xe2\x82\xac.", "€"},
		{"\x80\x04\x8c\x03\xe2\x82\xac\x94.", "€"},
		{").", pyTuple{}},
		{"K\x01\x85K\x01K\x02\x86K\x01K\x02K\x03\x87\x87.", pyTuple{pyTuple{int64(1)},
			pyTuple{int64(1), int64(2)}, pyTuple{int64(1), int64(2), int64(3)}}},
		{"(K\x01(K\x02t)t.", pyTuple{int64(1), pyTuple{int64(2)}, pyTuple{}}},
		{"].", listOf()},
		{"]K\x01a(K\x02K\x03e.", listOf(int64(1), int64(2), int64(3))},
		{"}.", dictOf()},
		{"}" + pickledText("a") + "K\x01s(K\x05N" + pickledText("a") + "K\x02u.",
			dictOf("a", int64(2), int64(5), nil)},
		{"ctorch\nFloatStorage\n.", pyName("torch.FloatStorage")},
		{"}]K\x01s)K\x02s.", dictOf("key 0", int64(1), "key 1", int64(2))}, // keys of no name
		{"}K\x01b.", dictOf(attributesName, int64(1))},
		{"c__builtin__\neval\n.", pyName("__builtin__.eval")}, // a name is but a name
		{"\x80\x04C\x02abB\x01\x00\x00\x00c\x86.", pyTuple{"ab", "c"}},
		{"\x80\x04\x8f(K\x01\x90.", listOf(int64(1))},
		{"\x80\x04(K\x01\x91.", pyTuple{int64(1)}},
		{"ca\nB\nK\x05\x85\x81.", objectOf("a.B", valuesName, pyTuple{int64(5)})},
		{"ca\nB\n)\x81](K\x05eb.", objectOf("a.B", valuesName, listOf(int64(5)))},
		{"ca\nB\n)\x81K\x05b.", objectOf("a.B", valuesName, int64(5))},
		{"c_codecs\nencode\nX\x01\x00\x00\x00{X\x06\x00\x00\x00latin1\x86R.", "{"},
		{"c__builtin__\nset\n](K\x05e\x85R.", listOf(int64(5))},
		{"ca\nB\n)\x81(K\x01e.", objectOf("a.B", itemsName, listOf(int64(1)))},
		{"ca\nB\n)\x81}K\x00K\x01sb.", objectOf("a.B", 0, int64(1))},
		{"ca\nB\n)\x81N}K\x00K\x01s\x86b.", objectOf("a.B", 0, int64(1))},
		{"ccollections\nOrderedDict\n)R.", dictOf()},
		{"\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R.", dictOf()},
		{"ccollections\nOrderedDict\n)R}K\x00Nsb.", dictOf(attributesName, dictOf(0, nil))},
		// the memo: PUT and GET with short and long slots, MEMOIZE into the next one
		{"K\x07q\x05K\x08r\x06\x00\x00\x00h\x05j\x06\x00\x00\x00\x87K\x09\x86.",
			pyTuple{pyTuple{int64(8), int64(7), int64(8)}, int64(9)}},
		{"\x80\x04\x95\x0a\x00\x00\x00\x00\x00\x00\x00(K\x07\x94K\x08\x94h\x01h\x00t.",
			pyTuple{int64(7), int64(8), int64(8), int64(7)}},
	} {
		got, rest, err := unpickled(c.pickle + "rest")
		if err != nil || string(rest) != "rest" || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %#v, then %q, %v; want %#v", c.pickle, got, rest, err, c.want)
		}
	}
}

func TestPickleRefused(t *testing.T) {
	const class = "torch\nFloatStorage"
	set(t, &maxSteps, 1024)
	long := pickledText(strings.Repeat("x", 1<<14)) + "q\x00"
	view := pickledTensor("FloatStorage", "k", 2, 0, "\x85", 2, 1)
	negated := func(metadata string) string { // as PyTorch 1.14 and newer say it
		return strings.TrimSuffix(view, "tR") + metadata + "tR."
	}
	for _, c := range []struct{ pickle, want string }{
		{"cos\nsystem\nX\x02\x00\x00\x00id\x85R.",
			`pickle: byte 21: it calls "os.system", which no state dict needs; nothing was run`},
		{"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.", `pickle: byte 20: it calls ` +
			`"os.system"`},
		{"c__builtin__\neval\n)R.", `it calls "__builtin__.eval"`},
		{"ctorch._utils\n_rebuild_tensor_v2.__globals__\n)R.",
			`it calls "torch._utils._rebuild_tensor_v2.__globals__"`},
		{"ctorch\nFloatStorage\n)R.", `it calls "torch.FloatStorage"`},
		{"X\x09\x00\x00\x00os.system)R.", "text in place of a name"},
		{"ccollections\nOrderedDict\n]R.", "a list in place of a tuple"},
		{"ccollections\nOrderedDict\nN\x85R.", "a tuple of 1, not of 0 to 0"},
		{"ctorch._utils\n_rebuild_tensor_v2\n)R.", "a tuple of 0, not of 6 to 7"},
		{"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))\x89NtR.",
			"a plain value in place of a storage"},
		{"ctorch._utils\n_rebuild_parameter\nN\x88}\x87R.", "a plain value in place of a tensor"},
		{"\x80\x04NN\x93.", "a plain value in place of text"},
		{"K\x00)\x81.", "a plain value in place of a name"},
		{"K\x00)N\x92.", "opcode 0x92 is not one that a state dict needs"},
		{"(ios\nsystem\n.", "opcode 0x69"},
		{"(cos\n", "a name has no end"},
		// or the work of long names, and of long keys
		{long + strings.Repeat("h\x00h\x00\x93", 9) + ".", "more than 1024 opcodes"},
		{long + "}" + strings.Repeat("h\x00Ns", 17) + ".", "more than 1024 opcodes"},
		{"\xff.", "opcode 0xff is not one"},
		{".", "the stack is empty"},
		{"\x85.", "the stack is too short"},
		{"t.", "there is no mark"},
		{"K\x01(.", "the stack is empty"}, // what is below the mark is not on the stack
		{"K\x01(\x85.", "the stack is too short"},
		{"}(K\x01u.", "1 keys and values"},
		{"}K\x01a.", "a dict in place of a list"},
		{"K\x01}b.", "a plain value in place of a dict"},
		{"h\x00.", "memo slot 0 is empty"},
		{"q\x00.", "the stack is empty"},
		{"X\xff\xff\xff\xffx.", "the pickle ends in the middle"},
		{"NQ.", "a plain value in place of a tuple"},
		{"(X\x06\x00\x00\x00moduleNNNNtQ.", "a persistent id that is not a storage's"},
		{"(X\x07\x00\x00\x00storageNNNNtQ.", "a plain value in place of a name"},
		{pickledStorage(class, "k", -1, ""), "-1 is no count"},
		{pickledStorage("collections\nOrderedDict", "k", 1, ""),
			`storage "k" is of "collections.OrderedDict"`},
		{pickledStorage(class, "k", 1, ")"), `storage "k" is a part of another one`},
		{pickledStorage(class, "k", 1, "") + pickledStorage(class, "k", 2, ""),
			`storage "k" is described in two ways`},
		{negated("}" + pickledText("neg") + "\x88s"), "a negated or conjugated view"},
		{negated("K\x01"), "a plain value in place of a dict"},
		{negated("}"), ""},
		{negated("N"), ""},
		{strings.Repeat("]", maxSteps), "more than 1024 opcodes"},
		{"", "pickle: byte 2: the pickle ends in the middle"},
	} {
		_, _, err := unpickled(c.pickle)
		wantError(t, fmt.Sprintf("%.60q", c.pickle), err, c.want)
	}
	_, err := parsePickle(nil)
	wantWhole(t, "nothing", err, "pickle: byte 0: the pickle ends in the middle")
}

// Lists that each hold the one before ten times: forty of them stand for 10⁴⁰ objects. The machine
// builds the forty and never walks them, nor does an error print them, and the tree has each of the
// lists once, where it is met first.
func TestPickleBillionLaughs(t *testing.T) {
	program := "\x80\x02]q\x00"
	for range 40 {
		program += "]q\x01(" + strings.Repeat("h\x00", 10) + "eh\x01q\x00"
	}
	for ending, want := range map[string]string{
		".": "it holds a list", "h\x00a.": "it holds a list", "h\x00Q.": "in place of a tuple",
		"h\x00)R.": "a list in place of a name", "h\x00h\x00\x93.": "a list in place of text",
		"}K\x01" + strings.Repeat("]", 102) + strings.Repeat("a", 101) + "s.": "more than 100 deep",
	} {
		_, err := parsePickle([]byte(program + ending))
		wantError(t, fmt.Sprintf("%q", ending), err, want)
		if len(err.Error()) > 500 {
			t.Error(err)
		}
	}
	tree := must(parsePickle([]byte(program + "}K\x01h\x00s.")))
	if list := tree["1"].([]any); len(list) != 10 || list[0] == nil || list[1] != nil {
		t.Errorf("%.200v", tree)
	}
}

func FuzzPickle(f *testing.F) {
	for _, file := range []string{"module-zip", "training-zip", "protocol4-zip", "whole-module-zip",
		"evil-zip"} {
		r := must(zip.OpenReader(torchGolden(file)))
		f.Add(must(fs.ReadFile(r, file+"/data.pkl")))
		check(f, r.Close())
	}
	f.Add(must(os.ReadFile(torchGolden("protocol5-stream")))[30:])
	f.Add([]byte("\x80\x02}" + pickledText("x") + pickledTensor("ByteStorage", "k", 8, 1, "\x86", 2,
		2, 4, 2) + "s."))
	f.Fuzz(func(t *testing.T, data []byte) {
		object, rest, err := unpickled(string(data))
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("an error of several lines: %v", err)
			}
			return
		}
		if !bytes.HasSuffix(data, rest) {
			t.Fatalf("%q follow it in %q", rest, data)
		}
		// Every view lies within its storage, which is all that stands between a file's claims and
		// a read outside of it.
		dict, _ := object.(pyDict)
		for _, value := range dict {
			v, ok := value.(*strided)
			if !ok || slices.Contains(v.shape, 0) {
				continue
			}
			last := v.offset
			for i, n := range v.shape {
				last += (n - 1) * v.stride[i]
			}
			if last >= v.storage.count {
				t.Fatalf("%+v reaches %d of %+v", v, last, v.storage)
			}
		}
		parsePickle(data)
	})
}
