package main

// The safetensors format: a header in JSON that describes tensors, and their numbers.

import (
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
var maxHeader int64 = 100_000_000

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
	require(len(file) >= 8, "truncated: %d bytes are too few for a safetensors file", len(file))
	n, data := binary.LittleEndian.Uint64(file), file[8:]
	require(n > 0 && (len(data) == 0 || data[0] == '{'), "neither a safetensors nor a PyTorch file")
	require(n <= uint64(maxHeader), "not a safetensors file: its header would have %d bytes, and "+
		"the format allows %d", n, maxHeader)
	require(n <= uint64(len(data)), "truncated: the safetensors header has %d bytes, the file "+
		"only %d after its length", n, len(data))
	entries, err := parseJSON(data[:n])
	require(err == nil, "its header: %w", err)
	data = data[n:]
	meta = asMap(entries["__metadata__"], "__metadata__", as[string])
	delete(entries, "__metadata__")
	places := map[string][]int{}
	for _, name := range sortedKeys(entries) {
		said := as[map[string]any](entries[name], "tensor "+quote(name))
		within("tensor "+quote(name), func() {
			format := as[string](said["dtype"], "dtype")
			shape := asList(said["shape"], "shape", asInt)
			place := asList(said["data_offsets"], "data_offsets", asInt)
			require(format != "" && said["shape"] != nil && len(place) == 2,
				"it needs a dtype, a shape and two data_offsets")
			start, end, size := place[0], place[1], get(sizeOf(format, shape))
			require(0 <= start && start <= end,
				"its data end at byte %d, before they begin at byte %d", end, start)
			require(end-start == size, "%d bytes of data, but %s %s is %d bytes", end-start, format,
				shapeString(shape), size)
			require(end <= len(data), "its data end at byte %d, but the file holds only %d bytes "+
				"of data: it is truncated", end, len(data))
			tensors = append(tensors, Tensor{name, format, shape, data[start:end:end]})
			places[name] = place
		})
	}
	slices.SortStableFunc(tensors, func(a, b Tensor) int {
		return slices.Compare(places[a.name], places[b.name])
	})
	end, last := 0, "" // of the data accounted for, and the tensor there
	for _, t := range tensors {
		name, start := quote(t.name), places[t.name][0]
		require(start >= end, "tensor %s: its data overlap those of %s", name, last)
		require(start == end, "tensor %s: a hole of %d bytes before its data", name, start-end)
		end, last = places[t.name][1], name
	}
	require(end == len(data), "%d bytes at the end of the file belong to no tensor", len(data)-end)
	return tensors, meta, nil
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
