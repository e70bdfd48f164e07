package main

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
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

// Checkpoint is what a file of weights holds, or several, and what lies beside it.
type Checkpoint struct {
	source  string // the file's name
	tensors []Tensor
	meta    map[string]string // safetensors' __metadata__
	release func() error      // ends the mapping; nil where the data is ordinary memory

	torch     int64  // the size of a PyTorch file in bytes; 0 for safetensors
	facts     Facts  // what the file itself says about the model,
	factsErr  error  // and why that cannot be computed
	folder    string // where a config.json and a vocabulary may lie; "" for weights in a program
	config    Facts  // what the config.json there says,
	configErr error  // and why that cannot be computed
	notes     []string
}

// close gives the file's memory back. Nothing that was made of the checkpoint, such as a Model, may
// be used after it.
func (ck *Checkpoint) close() error {
	release := ck.release
	ck.tensors, ck.release = nil, nil
	if release == nil {
		return nil
	}
	return release()
}

// Facts is what is said about a model beside its tensors, by config.json's keys: "n_head".
type Facts map[string]Fact

// Fact is something said: an int, a float64, a bool or a string, and where it is said.
type Fact struct {
	value any
	from  string // "config.json"
}

// openSafetensors opens a safetensors file. The file is mapped into memory where the system can do
// that: opening reads its header and nothing else, and a weight is read from the disk when it is
// first used. Elsewhere the whole file is read.
//
// A mapped file must not shrink while it is in use: the system ends a program that reads what is no
// longer there. Replacing the file by renaming another one over it does no harm.
func openSafetensors(path string) (*Checkpoint, error) {
	return openSafetensorsAt(path, 0, -1)
}

// openSafetensorsAt is openSafetensors for length bytes of another file from offset on; a negative
// length means all that follows.
func openSafetensorsAt(path string, offset, length int64) (*Checkpoint, error) {
	data, release, err := readRange(path, offset, length)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, reason(err))
	}
	ck, err := parseSafetensors(data)
	if err != nil {
		if release != nil {
			release()
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	ck.source, ck.release = path, release
	return ck, nil
}

// maxHeader is the format's own limit on the length of the header, in bytes.
const maxHeader = 100_000_000

// parseSafetensors reads the header of a safetensors file and returns its tensors, whose data are
// slices of file. It allocates in proportion to the header that is really there.
//
// The format (github.com/huggingface/safetensors, "Format"): the header's length n as 8 bytes,
// little-endian; n bytes of JSON,
//
//	{"__metadata__": {"format": "pt"},
//	 "wte.weight": {"dtype": "F32", "shape": [50257, 768], "data_offsets": [0, 154389504]}, …}
//
// perhaps padded with blanks; then the data, to which data_offsets (first byte, end) refer. The
// tensors must cover the data without a hole or an overlap. Their order in the JSON means nothing.
func parseSafetensors(file []byte) (*Checkpoint, error) {
	header, data, err := splitHeader(file)
	if err != nil {
		return nil, err
	}
	var entries map[string]any
	if err := parseJSON(header, &entries); err != nil {
		return nil, fmt.Errorf("its header: %w", err)
	}
	ck := &Checkpoint{meta: map[string]string{}}
	var all []placed
	for _, name := range sortedKeys(entries) {
		if name == "__metadata__" {
			err = fill(reflect.ValueOf(&ck.meta).Elem(), entries[name], name)
		} else {
			var t placed
			if t, err = place(name, entries[name], data); err != nil {
				err = fmt.Errorf("tensor %s: %w", quote(name), err)
			}
			all = append(all, t)
		}
		if err != nil {
			return nil, err
		}
	}

	slices.SortStableFunc(all, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end))
	})
	end := 0 // of the data accounted for
	for i, t := range all {
		if t.start < end {
			return nil, fmt.Errorf("tensor %s: its data overlap those of %s", quote(t.name),
				quote(all[i-1].name))
		}
		if t.start > end {
			return nil, fmt.Errorf("tensor %s: a hole of %d bytes before its data", quote(t.name),
				t.start-end)
		}
		end = t.end
		ck.tensors = append(ck.tensors, t.Tensor)
	}
	if end < len(data) {
		return nil, fmt.Errorf("%d bytes at the end of the file belong to no tensor", len(data)-end)
	}
	return ck, nil
}

func splitHeader(file []byte) (header, data []byte, err error) {
	if len(file) == 0 {
		return nil, nil, errors.New("the file is empty")
	}
	if len(file) < 8 {
		return nil, nil, fmt.Errorf("truncated: %d bytes are too few for a safetensors file",
			len(file))
	}
	n, rest := binary.LittleEndian.Uint64(file), file[8:]
	if n == 0 || len(rest) > 0 && rest[0] != '{' {
		return nil, nil, errors.New("neither a safetensors nor a PyTorch file")
	}
	if n > maxHeader {
		return nil, nil, fmt.Errorf("not a safetensors file: its header would have %d bytes, and "+
			"the format allows %d", n, maxHeader)
	}
	if n > uint64(len(rest)) {
		return nil, nil, fmt.Errorf("truncated: the safetensors header has %d bytes, the file "+
			"only %d after its length", n, len(rest))
	}
	return rest[:n], rest[n:], nil
}

// placed is a tensor and where its data lie: bytes start to end of all data.
type placed struct {
	Tensor
	start, end int
}

// formatBits is how many bits a number takes in one of safetensors' formats, 0 for no format.
func formatBits(format string) int {
	switch format {
	case "F4":
		return 4
	case "F6_E2M3", "F6_E3M2":
		return 6
	case "BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ":
		return 8
	case "U16", "I16", "F16", "BF16":
		return 16
	case "U32", "I32", "F32":
		return 32
	case "U64", "I64", "F64", "C64":
		return 64
	}
	return 0
}

// place reads a tensor's entry in the header, {"dtype": …, "shape": […], "data_offsets": [start,
// end]}, and checks it against itself and against the data there is.
func place(name string, entry any, data []byte) (t placed, err error) {
	var said struct {
		Format  string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets []int  `json:"data_offsets"`
	}
	if err := fill(reflect.ValueOf(&said).Elem(), entry, ""); err != nil {
		return t, err
	}
	if said.Format == "" || said.Shape == nil || len(said.Offsets) != 2 {
		return t, errors.New("it needs a dtype, a shape and two data_offsets")
	}
	start, end := said.Offsets[0], said.Offsets[1]
	t = placed{Tensor{name: name, format: said.Format, shape: said.Shape}, start, end}
	size, err := sizeOf(t.format, t.shape)
	switch {
	case err != nil:
		return t, err
	case start < 0 || start > end:
		return t, fmt.Errorf("its data end at byte %d, before they begin at byte %d", end, start)
	case end-start != size:
		return t, fmt.Errorf("%d bytes of data, but %s %s is %d bytes", end-start, t.format,
			shapeString(t.shape), size)
	case end > len(data):
		return t, fmt.Errorf("its data end at byte %d, but the file holds only %d bytes "+
			"of data: it is truncated", end, len(data))
	}
	t.data = data[start:end:end]
	return t, nil
}

// sizeOf is how many bytes a tensor of a number format and shape takes.
func sizeOf(format string, shape []int) (int, error) {
	bits := formatBits(format)
	if bits == 0 {
		return 0, fmt.Errorf("unknown dtype %s", quote(format))
	}
	n := bits
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

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
