package main

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"io"
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
func widened(t testing.TB, x Tensor) []float32 {
	t.Helper()
	from, ok := formatOf(x.format)
	if !ok {
		t.Fatalf("%s: format %s", x.name, x.format)
	}
	wide := must(recode(x.data, from, f32))
	var v []float32
	for ; len(wide) > 0; wide = wide[4:] {
		v = append(v, math.Float32frombits(binary.LittleEndian.Uint32(wide)))
	}
	return v
}

// parseTensors reads the tensors of a PyTorch file's state dict.
func parseTensors(data []byte) ([]Tensor, error) {
	ck := &Checkpoint{facts: Facts{}}
	err := ck.readTorch(data)
	return ck.tensors, err
}

func TestTorch(t *testing.T) {
	want := tinyValues(t)
	for file, format := range map[string]string{
		"module-zip": "F32", "module-stream": "F32", "half-zip": "F16", "bfloat16-stream": "BF16",
		"double-zip": "F64", "mixed-zip": "F32", "parameters-zip": "F32", "protocol4-zip": "F32",
		"protocol5-stream": "F32", "shared-zip": "F32", "shared-stream": "F32",
		"strided-zip": "F32", "strided-stream": "F32", "training-zip": "F32",
		"attributes-zip": "F32",
	} {
		t.Run(file, func(t *testing.T) {
			ck := must(openFile(torchGolden(file), 0, -1))
			defer ck.close()
			m := must(loadModel(ck, 2))
			if c := (Config{1, 2, 4, 3, 5}); m.Config != c {
				t.Errorf("config %v, want %v", m.Config, c)
			}
			numbers := numbersOf(m)
			for name, values := range want {
				if got := numbers[name].values; !slices.Equal(got, values) {
					t.Errorf("%s: %v, want %v", name, got, values)
				}
			}
			got := must(canonicalTensors(ck.tensors, ck.meta)).tensors
			if got := got["wte.weight"].format; got != format {
				t.Errorf("format %s, want %s", got, format)
			}
			mask, ok := got["h.0.attn.bias"]
			if ok && !bytes.Equal(mask.data, []byte{1, 0, 0, 1, 1, 0, 1, 1, 1}) {
				t.Errorf("mask %v", mask.data)
			}
		})
	}
}

func TestTorchRefused(t *testing.T) {
	for file, want := range map[string]string{
		"evil-zip":            `it calls "posix.system", which no state dict needs`,
		"evil-stream":         `it calls "posix.system", which no state dict needs`,
		"whole-module-zip":    "a model saved whole, which only its own program can open",
		"whole-module-stream": "a model saved whole, which only its own program can open",
		"float8-zip":          "numbers of a quantized model",
		"quantized-zip":       "numbers of a quantized model",
		"subclass-zip":        "a tensor of the class __main__.Own, not a plain one",
		"dtensor-zip":         "a tensor that is spread over processes (DTensor)",
		"exported":            "this is an exported program (torch.export)",
	} {
		_, err := openFile(torchGolden(file), 0, -1)
		wantError(t, file, err, torchGolden(file)+": ")
		wantError(t, file, err, want)
	}
}

// rezip copies a PyTorch file entry by entry; change may alter an entry's header and content or
// drop it, and more is added.
func rezip(t testing.TB, file string, change func(h *zip.FileHeader, content []byte) []byte,
	more map[string]string) []byte {
	t.Helper()
	in := must(zip.OpenReader(torchGolden(file)))
	defer in.Close()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	add := func(h *zip.FileHeader, content []byte) {
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = f.Write(content)
		}
		check(t, err)
	}
	for _, entry := range in.File {
		r := must(entry.Open())
		content := must(io.ReadAll(r))
		h := &zip.FileHeader{Name: entry.Name, Method: zip.Store}
		if change != nil {
			content = change(h, content)
		}
		if content != nil {
			add(h, content)
		}
	}
	for name, content := range more {
		add(&zip.FileHeader{Name: name, Method: zip.Store}, []byte(content))
	}
	check(t, w.Close())
	return out.Bytes()
}

func TestTorchZip(t *testing.T) {
	ending := func(suffix string, change func(h *zip.FileHeader,
		content []byte) []byte) func(h *zip.FileHeader, content []byte) []byte {
		return func(h *zip.FileHeader, content []byte) []byte {
			if strings.HasSuffix(h.Name, suffix) {
				return change(h, content)
			}
			return content
		}
	}
	for _, c := range []struct {
		what   string
		change func(h *zip.FileHeader, content []byte) []byte
		more   map[string]string
		want   string // of the error; "" = none
	}{
		{"as it is", nil, nil, ""},
		{"what PyTorch 2 adds", nil, map[string]string{"half-zip/byteorder": "little",
			"half-zip/.format_version":    "1",
			"half-zip/.storage_alignment": "64", "half-zip/.data/serialization_id": "123"}, ""},
		{"entries that are not PyTorch's", nil,
			map[string]string{"half-zip/extra/code.py": "import os", "README": "x",
				"a/b/data.pkl": "x"}, ""},
		{"big-endian", nil, map[string]string{"half-zip/byteorder": "big"},
			`its byte order is "big"`},
		{"compressed", ending("/data/0", func(h *zip.FileHeader, content []byte) []byte {
			h.Method = zip.Deflate
			return content
		}), nil, `zip entry "half-zip/data/0": compressed`},
		{"encrypted", ending("/data/0", func(h *zip.FileHeader, content []byte) []byte {
			h.Flags |= 1
			return content
		}), nil, `zip entry "half-zip/data/0": compressed or encrypted`},
		{"no pickle", ending("/data.pkl", func(*zip.FileHeader, []byte) []byte { return nil }), nil,
			"there is no data.pkl in it"},
		{"no storage", ending("/data/3", func(*zip.FileHeader, []byte) []byte { return nil }), nil,
			`storage "3" is missing`},
		{"a short storage", ending("/data/0", func(_ *zip.FileHeader,
			content []byte) []byte {
			return content[:len(content)-1]
		}), nil,
			`storage "0" has 39 bytes: its 20 elements need 40`},
		{"a long storage", ending("/data/0", func(_ *zip.FileHeader,
			content []byte) []byte {
			return append(content, 0)
		}), nil,
			`storage "0" has 41 bytes`},
		{"a storage twice", nil, map[string]string{"half-zip/data/0": "x"},
			`zip entry "half-zip/data/0" is there twice`},
		{"a short pickle", ending("/data.pkl", func(_ *zip.FileHeader,
			content []byte) []byte {
			return content[:len(content)-1]
		}), nil,
			"pickle: byte 1"},
	} {
		tensors, err := parseTensors(rezip(t, "half-zip", c.change, c.more))
		wantError(t, c.what, err, c.want)
		if err == nil && len(tensors) != len(tinyValues(t)) {
			t.Errorf("%s: %d tensors", c.what, len(tensors))
		}
	}
}

// A file cut off anywhere is an error, and so is a byte that is lost at the front.
func TestTorchTruncated(t *testing.T) {
	for _, file := range []string{"shared-zip", "shared-stream", "bfloat16-stream"} {
		whole := must(os.ReadFile(torchGolden(file)))
		for n := range whole {
			if _, err := parseTensors(whole[:n]); err == nil {
				t.Errorf("%s: no error for the first %d of %d bytes", file, n, len(whole))
			}
		}
		if _, err := parseTensors(whole[1:]); err == nil {
			t.Errorf("%s: no error without its first byte", file)
		}
	}
}

// torchStream is a file of the older form: pieces of pickle, and what is in its storages.
type torchStream struct{ version, machine, object, keys, storages string }

func (s torchStream) file() []byte {
	const magic = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
	return []byte(magic + s.version + s.machine + s.object + s.keys + s.storages)
}

// streamOf is a file with one tensor of storage k.
func streamOf(tensor, storage string) torchStream {
	return torchStream{
		"\x80\x02M\xe9\x03.", "\x80\x02}X\x0d\x00\x00\x00little_endian\x88s.",
		"\x80\x02}" + tensor + "s.", "\x80\x02](X\x01\x00\x00\x00ke.", storage,
	}
}

func TestTorchStream(t *testing.T) {
	const numbers = "\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x3f\x00\x00\x00\x40"
	tensor := pickledText("wte.weight") + pickledTensor("FloatStorage", "k", 2, 0, "\x85", 2, 1)
	for _, c := range []struct {
		what   string
		change func(s *torchStream)
		want   string
	}{
		{"as it should be", func(s *torchStream) {}, ""},
		{"version", func(s *torchStream) { s.version = "\x80\x02M\xea\x03." },
			"an unknown version"},
		{"version of another type", func(s *torchStream) { s.version = "\x80\x02}." },
			"an unknown version"},
		{"big-endian", func(s *torchStream) {
			s.machine = strings.Replace(s.machine, "\x88", "\x89", 1)
		}, "little-endian"},
		{"no machine", func(s *torchStream) { s.machine = "\x80\x02N." }, "little-endian"},
		{"a list", func(s *torchStream) {
			s.object, s.keys, s.storages = "\x80\x02].", "\x80\x02].", ""
		}, "it holds a list, not a state dict"},
		{"an empty dict", func(s *torchStream) {
			s.object, s.keys, s.storages = "\x80\x02}.", "\x80\x02].", ""
		}, "a dict without tensors"},
		{"keys that are no list", func(s *torchStream) { s.keys = "\x80\x02}." },
			"it has no list of its storages"},
		{"a key of no tensor", func(s *torchStream) {
			s.keys = strings.Replace(s.keys, "ke.", "qe.", 1)
		}, `storage "q" belongs to no tensor`},
		{"a key that is no string", func(s *torchStream) { s.keys = "\x80\x02](Ne." },
			"belongs to no tensor"},
		{"a storage without a key", func(s *torchStream) { s.keys = "\x80\x02]." },
			`storage "k" is missing`},
		{"another count", func(s *torchStream) { s.storages = "\x03" + numbers[1:] },
			"has 3 elements where its tensors say 2"},
		{"a huge count", func(s *torchStream) { s.storages = strings.Repeat("\xff", 16) },
			"elements where its tensors say 2"},
		{"a short count", func(s *torchStream) { s.storages = numbers[:7] }, "ends in storage"},
		{"short numbers", func(s *torchStream) { s.storages = numbers[:15] }, "ends in storage"},
	} {
		s := streamOf(tensor, numbers)
		c.change(&s)
		tensors, err := parseTensors(s.file())
		wantError(t, c.what, err, c.want)
		want := []Tensor{{"wte.weight", "F32", []int{2}, []byte(numbers[8:])}}
		if err == nil && !reflect.DeepEqual(tensors, want) {
			t.Errorf("%s: %v", c.what, tensors)
		}
	}
}

func pickledText(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func pickledInt(n int64) string {
	return "\x8a\x08" + string(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

// pickledTensor is what makes a tensor with one storage; tuple is the opcode that ends its shape
// and its strides, whose dimensions come one after the other.
func pickledTensor(class, key string, count, offset int64, tuple string, dims ...int64) string {
	s := "ctorch._utils\n_rebuild_tensor_v2\n((" + pickledText("storage") + "ctorch\n" + class +
		"\n" + pickledText(key) + pickledText("cpu") +
		pickledInt(count) + "tQ" + pickledInt(offset)
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
		{7, []int64{2, 2, 0, 0}, []byte{7, 7, 7, 7}},
		// the stride of a dimension of 1 means nothing
		{0, []int64{1, 8, large, 1}, []byte{0, 1, 2, 3, 4, 5, 6, 7}},
		{0, []int64{4, 1, 2, large}, []byte{0, 2, 4, 6}},
		{0, []int64{0, large, 1, 1}, []byte{}},
		{large, []int64{5, 0, 1, 1}, []byte{}},
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
		tensors, err := parseTensors(streamOf(tensor,
			"\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07").file())
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

// A tensor of one element that claims to be repeated a thousand million times costs nothing.
func TestTorchRepeatedView(t *testing.T) {
	tensor := pickledText("x") + pickledTensor("FloatStorage", "k", 1, 0, "\x85", 1e9, 0)
	one := "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x3f"
	_, err := parseTensors(streamOf(tensor, one).file())
	wantError(t, "a view", err, "as large as the file")
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

func TestOpenTorchErrors(t *testing.T) {
	dir := t.TempDir()
	text := file(t, "text", "a text of no great length")
	for _, path := range []string{file(t, "empty", ""), text, dir, filepath.Join(dir, "absent")} {
		if _, err := openFile(path, 0, -1); err == nil || strings.Count(err.Error(), path) != 1 {
			t.Errorf("%s: %v", path, err)
		}
	}
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

func FuzzTorchZip(f *testing.F) {
	for _, file := range []string{"half-zip", "shared-zip", "strided-zip", "protocol4-zip"} {
		f.Add(rezip(f, file, nil, nil))
	}
	f.Add(rezip(f, "shared-zip", nil, map[string]string{"shared-zip/byteorder": "little"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.HasPrefix(data, []byte(zipMagic)) {
			fuzzTorch(t, data)
		}
	})
}

func FuzzTorchStream(f *testing.F) {
	for _, file := range []string{"bfloat16-stream", "shared-stream", "strided-stream",
		"protocol5-stream", "evil-stream"} {
		data := must(os.ReadFile(torchGolden(file)))
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !bytes.HasPrefix(data, []byte(zipMagic)) {
			fuzzTorch(t, data)
		}
	})
}
