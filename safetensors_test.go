package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// safetensorsFile puts a safetensors file together from a header and data, which may say anything.
func safetensorsFile(header string, data []byte) []byte {
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	file = append(file, header...)
	return append(file, data...)
}

// encodeCheckpoint writes a checkpoint as a safetensors file, its header padded with blanks, so
// many that the data begin at a multiple of 8 plus shift.
func encodeCheckpoint(ck *Checkpoint, shift int) []byte {
	var entries []string
	var data []byte
	if ck.meta != nil {
		entries = append(entries, `"__metadata__":`+encodeJSON(ck.meta))
	}
	for _, t := range ck.tensors {
		start := len(data)
		data = append(data, t.data...)
		entries = append(entries, entryOf(t, start))
	}
	header := "{" + strings.Join(entries, ",") + "}"
	for len(header)%8 != shift {
		header += " "
	}
	return safetensorsFile(header, data)
}

// entryOf is what a header says of a tensor whose data begin at start.
func entryOf(t Tensor, start int) string {
	return fmt.Sprintf(`%q:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, t.name, t.format,
		shapeString(t.shape), start, start+must(sizeOf(t.format, t.shape)))
}

// parsed is what parseSafetensors makes of a file.
func parsed(file []byte) (*Checkpoint, error) {
	tensors, meta, err := parseSafetensors(file)
	ck := &Checkpoint{tensors: tensors, meta: meta}
	ck.facts.readMetadata(meta)
	return ck, err
}

// oneTensor is a file with one tensor of bytes.
func oneTensor(data []byte) []byte {
	x := Tensor{"x", "U8", []int{len(data)}, data}
	return encodeCheckpoint(&Checkpoint{tensors: []Tensor{x}}, 0)
}

func TestParseSafetensors(t *testing.T) {
	// The names are in no order; b has no number, s is a scalar.
	header := ` "s": {"shape": [], "data_offsets": [10, 14], "dtype": "F32"},
		"a\u00e9": {"dtype": "F16", "shape": [1, 5], "data_offsets": [0, 10]},
		"__metadata__": {"format": "pt", "n_head": "2"},
		"b": {"dtype": "I64", "shape": [3, 0, 7], "data_offsets": [10, 10]}`
	data := []byte("0123456789abcd")
	ck := must(parsed(safetensorsFile("{"+header+"}   ", data)))
	want := []Tensor{
		{"aé", "F16", []int{1, 5}, data[:10]},
		{"b", "I64", []int{3, 0, 7}, data[10:10]},
		{"s", "F32", []int{}, data[10:]},
	}
	if !reflect.DeepEqual(ck.tensors, want) {
		t.Errorf("got tensors %v, want %v", ck.tensors, want)
	}
	if want := map[string]string{"format": "pt", "n_head": "2"}; !reflect.DeepEqual(ck.meta, want) {
		t.Errorf("got metadata %v, want %v", ck.meta, want)
	}
	for _, tensor := range ck.tensors {
		if cap(tensor.data) != len(tensor.data) {
			t.Errorf("tensor %s: an append to its data would write into its neighbour", tensor.name)
		}
	}
	for _, header := range []string{"{}", `{"__metadata__":null}`} { // as some writers spell none
		if ck := must(parsed(safetensorsFile(header, nil))); len(ck.tensors)+len(ck.meta) != 0 {
			t.Errorf("%s: %v", header, ck)
		}
	}
}

// TestParseFiles holds whole files that are no safetensors, or cut off, to the error that each must
// give.
func TestParseFiles(t *testing.T) {
	x := Tensor{"x", "F32", []int{2}, make([]byte, 8)}
	good := encodeCheckpoint(&Checkpoint{tensors: []Tensor{x}}, 0)
	const neither = "neither a safetensors nor a PyTorch file"
	const header = "truncated: the safetensors header has "
	for _, c := range []struct{ file, want string }{
		{"", "truncated: 0 bytes are too few for a safetensors file"},
		{"\x01", "truncated: 1 bytes are too few for a safetensors file"},
		{string(good[:8]), header + "56 bytes, the file only 0 after its length"},
		{string(good[:50]), header + "56 bytes, the file only 42 after its length"},
		{string(good[:len(good)-1]), `tensor "x": its data end at byte 8, but the file holds ` +
			`only 7 bytes of data: it is truncated`},
		{string(good) + "more", "4 bytes at the end of the file belong to no tensor"},
		{string(make([]byte, 16)), neither},
		{"0123456789", neither},
		{string(safetensorsFile(" {}", nil)), neither},
		{"\x01\xe1\xf5\x05\x00\x00\x00\x00{}", "not a safetensors file: its header would have " +
			"100000001 bytes, and the format allows 100000000"},
		{strings.Repeat("\xff", 8) + "{}", "not a safetensors file: its header would have " +
			"18446744073709551615 bytes, and the format allows 100000000"},
		{"\x80\x02\x00\x00\x00\x00\x00\x00{}", // like a pickle
			header + "640 bytes, the file only 2 after its length"},
	} {
		_, err := parsed([]byte(c.file))
		wantWhole(t, fmt.Sprintf("%.60q", c.file), err, c.want)
	}
}

// TestParseFaults holds headers that lie to the error that each must give. All come with 8 bytes of
// data.
func TestParseFaults(t *testing.T) {
	fault := func(header, want string) {
		t.Helper()
		_, err := parsed(safetensorsFile(header, make([]byte, 8)))
		wantWhole(t, shorten(header), err, want)
	}
	long := strings.Repeat("x", 1000)
	const (
		tooMany = " has more bytes than can be counted"
		needs   = "it needs a dtype, a shape and two data_offsets"
		beyond  = ", but the file holds only 8 bytes of data: it is truncated"
	)
	for _, c := range []struct{ dtype, shape, offsets, want string }{
		{"F33", "[2]", "[0,8]", `unknown dtype "F33"`},
		{long, "[2]", "[0,8]", `unknown dtype "` + long[:80] + `…"`},
		{"F32", "2", "[0,8]", "shape: 2 in place of a list"},
		{"F32", `["2"]`, "[0,8]", "shape: text in place of a whole number"},
		{"F32", "[-2]", "[0,8]", "[-2] is no shape"},
		{"F32", "[2.0]", "[0,8]", "shape: 2.0 in place of a whole number"},
		{"F32", "[99999999999999999999]", "[0,8]", "shape: 99999999999999999999 in place " +
			"of a whole number"},
		{"F32", "[4611686018427387906]", "[0,8]", "F32 [4611686018427387906]" + tooMany},
		{"F32", "[4294967296,4294967297]", "[0,8]", "F32 [4294967296, 4294967297]" + tooMany},
		{"F4", "[15]", "[0,8]", "F4 [15] does not fill whole bytes"},
		{"F32", "[3]", "[0,8]", "8 bytes of data, but F32 [3] is 12 bytes"},
		{"F32", "[]", "[0,8]", "8 bytes of data, but F32 [] is 4 bytes"},
		{"F32", "[2]", "[8]", needs},
		{"F32", "[2]", "[0,-8]", "its data end at byte -8, before they begin at byte 0"},
		{"F32", "[2]", "[8,0]", "its data end at byte 0, before they begin at byte 8"},
		{"F32", "[3]", "[0,12]", "its data end at byte 12" + beyond},
		{"U8", "[7]", "[9223372036854775800,9223372036854775807]",
			"its data end at byte 9223372036854775807" + beyond},
		{"F32", "[1]", "[4,8]", "a hole of 4 bytes before its data"},
	} {
		fault(fmt.Sprintf(`{"x":{"dtype":%q,"shape":%s,"data_offsets":%s}}`,
			c.dtype, c.shape, c.offsets), `tensor "x": `+c.want)
	}
	for _, c := range []struct{ a, b, want string }{ // the places of two tensors of 4 bytes
		{"[0,4]", "[3,7]", `its data overlap those of "x"`},
		{"[0,4]", "[0,4]", `its data overlap those of "x"`},
		{"[4,8]", "[3,7]", "a hole of 3 bytes before its data"},
	} {
		fault(fmt.Sprintf(`{"x":{"dtype":"U8","shape":[4],"data_offsets":%s},`+
			`"y":{"dtype":"U8","shape":[4],"data_offsets":%s}}`, c.a, c.b), `tensor "y": `+c.want)
	}
	for _, c := range []struct{ header, want string }{
		{`{"x":{"dtype":32}}`, `tensor "x": dtype: 32 in place of text`},
		{`{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`,
			"4 bytes at the end of the file belong to no tensor"},
		{`{"x":1}`, `tensor "x": 1 in place of an object`},
		{`{"x":null}`, `tensor "x": ` + needs},
		{`{"__metadata__":"pt"}`, "__metadata__: text in place of an object"},
		{`{"__metadata__":{"format":{"a":[]}}}`,
			"__metadata__.format: an object in place of text"},
		{`{"x":{"dtype":"F32","data_offsets":[0,8]}}`, `tensor "x": ` + needs},
		{`{"x":{"dtype":"F32","shape":[2]}}`, `tensor "x": ` + needs},
		{`{"x":{"DType":"F32","shape":[2],"data_offsets":[0,8]}}`, `tensor "x": ` + needs},
		{`{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"\u0078":{}}`,
			`its header: the key "x" comes twice in an object`},
		{`{"` + long + `\n":{}}`, `tensor "` + long[:80] + `…": ` + needs},
		{`{"a\nb":{}}`, `tensor "a\nb": ` + needs},
		{`{`, "its header: not JSON, or cut short, at byte 1"},
	} {
		fault(c.header, c.want)
	}
}

// TestOpenInside opens a safetensors file at all sorts of places inside another file.
func TestOpenInside(t *testing.T) {
	data := []byte("the weights")
	inner := oneTensor(data)
	for _, offset := range []int{0, 1, 4095, 4096, 65536, 65537} {
		outer := append(make([]byte, offset), inner...)
		ck := must(openFile(file(t, "outer", append(outer, "more"...)), int64(offset),
			int64(len(inner))))
		if got := ck.tensors[0].data; !bytes.Equal(got, data) {
			t.Errorf("offset %d: got %q", offset, got)
		}
		check(t, ck.close())
		check(t, ck.close()) // once more, which does nothing
	}

	ten, empty, dir := file(t, "ten", "012345678\x00"), file(t, "empty", ""), t.TempDir()
	const most, outside = math.MaxInt64, " on lie outside the file of 10 bytes"
	for _, c := range []struct {
		path           string
		offset, length int64
		want           string
	}{
		{dir, 0, -1, "not a regular file"},
		{os.DevNull, 0, -1, "not a regular file"},
		{empty, 0, -1, "truncated: 0 bytes are too few for a safetensors file"},
		{ten, 9, 1, "truncated: 1 bytes are too few for a safetensors file"},
		{ten, 3, 8, "8 bytes from byte 3" + outside},
		{ten, 11, -1, "-1 bytes from byte 11" + outside},
		{ten, -1, 5, "5 bytes from byte -1" + outside},
		{ten, 1, most, "9223372036854775807 bytes from byte 1" + outside},
		{ten, most, most, "9223372036854775807 bytes from byte 9223372036854775807" + outside},
	} {
		_, err := openFile(c.path, c.offset, c.length)
		wantWhole(t, c.path, err, c.path+": "+c.want)
	}
	_, err := openFile(filepath.Join(dir, "absent"), 0, -1)
	if !errors.Is(err, fs.ErrNotExist) || strings.Count(err.Error(), "absent") != 1 {
		t.Error(err)
	}
}

// The data of an open checkpoint are the file's own pages, alive when the file's name is gone
// (where the system lets one remove it); close takes them away.
func TestMapped(t *testing.T) {
	data := bytes.Repeat([]byte("weights "), 1<<15)
	path := file(t, "x.safetensors", oneTensor(data))
	ck := must(openFile(path, 0, -1))
	if ck.release == nil {
		t.Skipf("files are not mapped on %s", runtime.GOOS)
	}
	if runtime.GOOS != "windows" {
		check(t, os.Remove(path))
	}
	mapped := ck.tensors[0].data
	if !bytes.Equal(mapped, data) {
		t.Error("the mapped data are not the file's")
	}
	check(t, ck.close())
	if !faults(func() { runtime.KeepAlive(mapped[len(mapped)-1]) }) {
		t.Error("the data can still be read after close")
	}
}

// faults tells whether f panics, as it does where it touches memory that is not there.
func faults(f func()) (faulted bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { faulted = recover() != nil }()
	f()
	return
}

// sparseModel writes a GPT-2 of any size that takes no room on the disk: its numbers are all holes.
func sparseModel(t *testing.T, c Config) (path string) {
	t.Helper()
	var entries []string
	end := 0
	for _, p := range parameters(c, 4*c.width) {
		entries = append(entries, entryOf(Tensor{p.name, "F32", p.shape, nil}, end))
		end += must(sizeOf("F32", p.shape))
	}
	header := safetensorsFile("{"+strings.Join(entries, ",")+"}", nil)
	path = file(t, "sparse.safetensors", header)
	if err := os.Truncate(path, int64(len(header)+end)); err != nil {
		t.Skipf("no file of %d bytes can be made here: %v", end, err)
	}
	return path
}

// TestClaimsAllocateNothing reads a header that claims a gigabyte.
func TestClaimsAllocateNothing(t *testing.T) {
	lie := safetensorsFile("{"+entryOf(Tensor{"wte.weight", "U8", []int{1e6, 1e3}, nil}, 0)+","+
		entryOf(Tensor{"h.999999999.attn.bias", "U8", nil, nil}, 1e9)+"}", nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := parsed(lie)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; err == nil || n > 64<<10 {
		t.Errorf("a header of %d bytes made the parser allocate %d bytes: %v", len(lie), n, err)
	}
}
