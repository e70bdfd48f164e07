package main

// The safetensors format: a header in JSON that describes tensors, and their numbers.

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Tensor is one tensor of a checkpoint. Its data are row-major, little-endian, exactly as long as
// shape and format ask for.
type Tensor struct {
	name   string
	format string // the number format as the file spells it: "F32", "F16", "BF16", "I64", …
	shape  []int
	data   []byte
}

// maxHeader is the format's own limit on the length of the header, in bytes.
const maxHeader = 100_000_000

// parseSafetensors reads the header of a safetensors file and returns its tensors, whose data are
// slices of file, in the order of the data, and what it says beside them.
//
// The format (github.com/huggingface/safetensors, "Format"): the header's length n as 8 bytes,
// little-endian; n bytes of JSON,
//
//	{"__metadata__": {"format": "pt"},
//	 "wte.weight": {"dtype": "F32", "shape": [50257, 768], "data_offsets": [0, 154389504]}, …}
//
// perhaps padded with blanks; then the data, to which data_offsets (first byte, end) refer. The
// tensors must cover the data without a hole or an overlap. Their order in the JSON means nothing.
func parseSafetensors(file []byte) (tensors []Tensor, meta map[string]string, err error) {
	defer catchFault(&err)
	header, data := splitHeader(file)
	entries, err := parseJSON(header)
	require(err == nil, "its header: %w", err)
	meta = asMap(entries["__metadata__"], "__metadata__", as[string])
	delete(entries, "__metadata__")
	var all []placed
	for _, name := range sortedKeys(entries) {
		all = append(all, place(name, entries[name], data))
	}
	slices.SortStableFunc(all, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end))
	})
	end, last := 0, "" // of the data accounted for, and the tensor there
	for _, t := range all {
		name := quote(t.name)
		require(t.start >= end, "tensor %s: its data overlap those of %s", name, last)
		require(t.start == end, "tensor %s: a hole of %d bytes before its data", name, t.start-end)
		end, last = t.end, name
		tensors = append(tensors, t.Tensor)
	}
	require(end == len(data), "%d bytes at the end of the file belong to no tensor", len(data)-end)
	return tensors, meta, nil
}

func splitHeader(file []byte) (header, data []byte) {
	require(len(file) >= 8, "truncated: %d bytes are too few for a safetensors file", len(file))
	n, rest := binary.LittleEndian.Uint64(file), file[8:]
	require(n > 0 && (len(rest) == 0 || rest[0] == '{'), "neither a safetensors nor a PyTorch file")
	require(n <= maxHeader, "not a safetensors file: its header would have %d bytes, and the "+
		"format allows %d", n, maxHeader)
	require(n <= uint64(len(rest)), "truncated: the safetensors header has %d bytes, the file "+
		"only %d after its length", n, len(rest))
	return rest[:n], rest[n:]
}

// placed is a tensor and where its data lie: bytes start to end of all data.
type placed struct {
	Tensor
	start, end int
}

// place reads a tensor's entry in the header and checks it against itself and against the data that
// there are.
func place(name string, entry any, data []byte) placed {
	tensor := "tensor " + quote(name)
	said := as[map[string]any](entry, tensor)
	format := as[string](said["dtype"], tensor+": dtype")
	shape := asList(said["shape"], tensor+": shape", asInt)
	offsets := asList(said["data_offsets"], tensor+": data_offsets", asInt)
	require(format != "" && said["shape"] != nil && len(offsets) == 2,
		"%s: it needs a dtype, a shape and two data_offsets", tensor)
	start, end := offsets[0], offsets[1]
	size, err := sizeOf(format, shape)
	require(err == nil, "%s: %w", tensor, err)
	require(0 <= start && start <= end, "%s: its data end at byte %d, before they begin at byte %d",
		tensor, end, start)
	require(end-start == size, "%s: %d bytes of data, but %s %s is %d bytes", tensor, end-start,
		format, shapeString(shape), size)
	require(end <= len(data), "%s: its data end at byte %d, but the file holds only %d bytes of "+
		"data: it is truncated", tensor, end, len(data))
	return placed{Tensor{name, format, shape, data[start:end:end]}, start, end}
}

// formatBits is how many bits a number takes in each of safetensors' formats.
var formatBits = map[string]int{
	"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
	"BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
	"F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
	"U16": 16, "I16": 16, "F16": 16, "BF16": 16,
	"U32": 32, "I32": 32, "F32": 32,
	"U64": 64, "I64": 64, "F64": 64, "C64": 64,
}

// sizeOf is how many bytes a tensor of a number format and shape takes.
func sizeOf(format string, shape []int) (int, error) {
	n := formatBits[format]
	if n == 0 {
		return 0, fmt.Errorf("unknown dtype %s", quote(format))
	}
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("%s is no shape", shapeString(shape))
		}
		if d != 0 && n > math.MaxInt/d {
			return 0, fmt.Errorf("%s %s has more bytes than can be counted", format,
				shapeString(shape))
		}
		n *= d
	}
	if n%8 != 0 {
		return 0, fmt.Errorf("%s %s does not fill whole bytes", format, shapeString(shape))
	}
	return n / 8, nil
}

// shapeString writes a shape as [50257, 768].
func shapeString(shape []int) string {
	return strings.ReplaceAll(fmt.Sprint(shape), " ", ", ")
}
