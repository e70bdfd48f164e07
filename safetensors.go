package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
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
	ck := &Checkpoint{meta: map[string]string{}}
	var all []placed
	h := headerReader{json.NewDecoder(bytes.NewReader(header))}
	h.json.UseNumber()
	err = h.object(func(name string) error {
		if name == "__metadata__" {
			if err := h.metadata(ck.meta); err != nil {
				return fmt.Errorf("__metadata__: %w", err)
			}
			return nil
		}
		t, err := h.tensor(data)
		if err != nil {
			return fmt.Errorf("tensor %s: %w", quote(name), err)
		}
		t.name = name
		all = append(all, t)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if _, err := h.json.Token(); err != io.EOF {
		return nil, errors.New("the header goes on after its JSON object")
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
	case "BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0":
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

// headerReader walks a safetensors header token by token. It takes exactly what the format
// describes and names anything else; decoding into Go values would let repeated names, and names
// that differ in capitals only, go unnoticed.
type headerReader struct{ json *json.Decoder }

// tensor reads {"dtype": …, "shape": […], "data_offsets": [start, end]} and checks it against
// itself and against the data there is.
func (h headerReader) tensor(data []byte) (placed, error) {
	var t placed
	var offsets []int
	err := h.object(func(field string) (err error) {
		switch field {
		case "dtype":
			t.format, err = h.text()
		case "shape":
			t.shape, err = h.integers()
		case "data_offsets":
			offsets, err = h.integers()
		default:
			return fmt.Errorf("unknown field %s", quote(field))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
		return nil
	})
	switch {
	case err != nil:
		return placed{}, err
	case t.format == "":
		return placed{}, errors.New("dtype is missing")
	case t.shape == nil:
		return placed{}, errors.New("shape is missing")
	case offsets == nil:
		return placed{}, errors.New("data_offsets is missing")
	case len(offsets) != 2:
		return placed{}, fmt.Errorf("data_offsets are %d numbers and should be two", len(offsets))
	}

	size, err := sizeOf(t.format, t.shape)
	if err != nil {
		return placed{}, err
	}
	t.start, t.end = offsets[0], offsets[1]
	if t.start > t.end {
		return placed{}, fmt.Errorf("its data end at byte %d, before they begin at byte %d", t.end,
			t.start)
	}
	if t.end-t.start != size {
		return placed{}, fmt.Errorf("%d bytes of data, but %s %s is %d bytes", t.end-t.start,
			t.format, shapeString(t.shape), size)
	}
	if t.end > len(data) {
		return placed{}, fmt.Errorf("its data end at byte %d, but the file holds only %d bytes "+
			"of data: it is truncated", t.end, len(data))
	}
	t.data = data[t.start:t.end:t.end]
	return t, nil
}

// sizeOf is how many bytes a tensor of a number format and shape takes. Nothing in shape is
// negative.
func sizeOf(format string, shape []int) (int, error) {
	bits := formatBits(format)
	if bits == 0 {
		return 0, fmt.Errorf("unknown dtype %s", quote(format))
	}
	n := bits
	for _, d := range shape {
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

// metadata reads an object of strings, or null, which is none.
func (h headerReader) metadata(into map[string]string) error {
	token, err := h.token()
	if err != nil || token == nil {
		return err
	}
	return h.members(token, func(key string) (err error) {
		if into[key], err = h.text(); err != nil {
			return fmt.Errorf("%s: %w", quote(key), err)
		}
		return nil
	})
}

// object reads an object, calling value after each key to read what belongs to it.
func (h headerReader) object(value func(key string) error) error {
	token, err := h.token()
	if err != nil {
		return err
	}
	return h.members(token, value)
}

// members is object after its first token. A key that comes twice is an error.
func (h headerReader) members(first json.Token, value func(key string) error) error {
	if first != json.Delim('{') {
		return errors.New("should be an object")
	}
	seen := map[string]bool{}
	for h.json.More() {
		if len(seen) == maxNames {
			return fmt.Errorf("more than %d names, far more than a GPT-2's", maxNames)
		}
		key, err := h.text()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("the name %s comes twice", quote(key))
		}
		seen[key] = true
		if err := value(key); err != nil {
			return err
		}
	}
	return h.delimiter('}', "the end of the object")
}

// maxNames bounds what a header can cost: GPT-2 XL has 580 tensors.
const maxNames = 1 << 16

// maxDimensions bounds a tensor's rank, as PyTorch does.
const maxDimensions = 64

func (h headerReader) integers() ([]int, error) {
	if err := h.delimiter('[', "an array of integers"); err != nil {
		return nil, err
	}
	list := []int{}
	for h.json.More() {
		token, err := h.token()
		if err != nil {
			return nil, err
		}
		number, ok := token.(json.Number)
		if !ok {
			return nil, errors.New("should be an array of integers")
		}
		n, err := strconv.Atoi(string(number))
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%s is not a count of bytes or numbers", shorten(string(number)))
		}
		if len(list) == maxDimensions {
			return nil, fmt.Errorf("more than %d numbers", maxDimensions)
		}
		list = append(list, n)
	}
	return list, h.delimiter(']', "the end of the array")
}

func (h headerReader) text() (string, error) {
	token, err := h.token()
	if err != nil {
		return "", err
	}
	s, ok := token.(string)
	if !ok {
		return "", errors.New("should be a string")
	}
	return s, nil
}

func (h headerReader) delimiter(want json.Delim, what string) error {
	token, err := h.token()
	if err != nil {
		return err
	}
	if token != want {
		return fmt.Errorf("should be %s", what)
	}
	return nil
}

func (h headerReader) token() (json.Token, error) {
	token, err := h.json.Token()
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.New("the header's JSON ends in the middle")
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return nil, fmt.Errorf("the header is not JSON at byte %d: %s", syntax.Offset,
			shorten(syntax.Error()))
	}
	return token, err
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
