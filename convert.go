package main

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
)

// The weight converter. GPT-2 is published as safetensors and as PyTorch files, with and without a
// prefix on every name, with mask buffers and tied copies that are not parameters. What comes out
// is one lean form: a safetensors file of the parameters alone.

// asStored in place of a Format leaves every tensor in the format that it has.
const asStored Format = 0xff

// convert writes the GPT-2 in the file in as a lean safetensors file, its numbers in the given
// format or asStored. Numbers are rounded to the nearest, ties to even; one too large for the
// format is an error. heads is the number of attention heads if the user says it, or else 0. notes
// are what the user should know.
func convert(in, out string, format Format, heads int) (notes []string, err error) {
	ck, err := openCheckpoint(in, 0, 0)
	if err != nil {
		return nil, err
	}
	defer ck.close()
	l, err := newLean(ck, format, heads)
	if err != nil {
		return nil, err
	}
	return l.notes, replaceFile(out, 0o644, l.size(), l.write)
}

// A lean is a safetensors file yet to be written: the parameters of a GPT-2 in canonical order.
type lean struct {
	header  []byte // padded with blanks so that the numbers begin at a multiple of leanAlign
	tensors []leanTensor
	notes   []string
}

type leanTensor struct {
	param
	parameters *Parameters
	from, to   Format // what it is written in here and there
	length     int64  // bytes there
}

const leanAlign = 64 // bytes

func newLean(ck *Checkpoint, format Format, heads int) (*lean, error) {
	p, err := readParameters(ck, heads)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ck.source, err)
	}
	l := &lean{notes: append(p.notes, ck.notes...)}
	for _, q := range p.list() {
		t := leanTensor{param: q, parameters: p, from: f32, to: format}
		if stored, ok := formatOf(p.tensors[q.name].format); ok {
			t.from = stored
		}
		if format == asStored {
			t.to = t.from
		}
		t.length = bytesOf(t.to)
		for _, n := range q.shape {
			t.length *= int64(n)
		}
		l.tensors = append(l.tensors, t)
	}
	// Where formats are mixed, wide numbers come first, so that none of them begins in the middle
	// of its size.
	slices.SortStableFunc(l.tensors, func(a, b leanTensor) int {
		return cmp.Compare(bytesOf(b.to), bytesOf(a.to))
	})

	said := p.metadata()
	maps.Copy(said, newTokenizer(ck.folder, ck.meta, p.vocab).metadata())
	said["format"], said["source"] = "pt", cmp.Or(ck.meta["source"], nameOf(ck.source))
	meta, _ := json.Marshal(said)
	l.header = fmt.Appendf(make([]byte, 8), `{"__metadata__":%s`, meta)
	end := int64(0)
	for _, t := range l.tensors {
		start := end
		end += t.length
		shape := strings.ReplaceAll(fmt.Sprint(t.shape), " ", ",")
		l.header = fmt.Appendf(l.header, `,%q:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`,
			t.name, t.to, shape, start, end)
	}
	l.header = append(l.header, '}')
	for len(l.header)%leanAlign != 0 {
		l.header = append(l.header, ' ')
	}
	binary.LittleEndian.PutUint64(l.header, uint64(len(l.header)-8))
	return l, nil
}

func (l *lean) size() int64 {
	n := int64(len(l.header))
	for _, t := range l.tensors {
		n += t.length
	}
	return n
}

func (l *lean) write(w io.Writer) error {
	if _, err := w.Write(l.header); err != nil {
		return err
	}
	for _, t := range l.tensors {
		if err := t.write(w); err != nil {
			return err
		}
	}
	return nil
}

// write writes the tensor's numbers in its new format, a piece at a time.
func (t leanTensor) write(w io.Writer) error {
	if err := enoughMemory(t.parameters.copied(t.param), "tensor "+quote(t.name)); err != nil {
		return err
	}
	usable, err := t.parameters.usable(t.param)
	if err != nil {
		return err
	}
	if t.from == t.to {
		_, err := w.Write(usable.data)
		return err
	}
	const piece = 1 << 16 // numbers
	out := make([]byte, 0, piece*4)
	for data := usable.data; len(data) > 0; {
		in := data[:min(len(data), piece*int(bytesOf(t.from)))]
		data = data[len(in):]
		if out, err = recode(out[:0], in, t.from, t.to); err != nil {
			return fmt.Errorf("tensor %s: %w", quote(t.name), err)
		}
		if _, err := w.Write(out); err != nil {
			return err
		}
	}
	return nil
}

// recode appends the numbers in to out in another format. One that would become infinite there is
// an error.
func recode(out, in []byte, from, to Format) ([]byte, error) {
	for ; len(in) > 0; in = in[bytesOf(from):] {
		var x float32
		switch from {
		case f32:
			x = math.Float32frombits(binary.LittleEndian.Uint32(in))
		case f16:
			x = widenF16(binary.LittleEndian.Uint16(in))
		case bf16:
			x = widenBF16(binary.LittleEndian.Uint16(in))
		}
		var half uint16
		var infinite bool
		switch to {
		case f32:
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
			continue
		case f16:
			half = narrowF16(x)
			infinite = half&0x7fff == 0x7c00
		case bf16:
			half = narrowBF16(x)
			infinite = half&0x7fff == 0x7f80
		}
		if infinite && !math.IsInf(float64(x), 0) {
			return nil, fmt.Errorf("the weight %g is too large for %s: convert to another format",
				x, to)
		}
		out = binary.LittleEndian.AppendUint16(out, half)
	}
	return out, nil
}

// narrowF16 returns the IEEE 754 binary16 nearest to x, ties to even: the reverse of widenF16. From
// 65520 on that is infinity. A NaN stays one.
func narrowF16(x float32) uint16 {
	const infinity, tooLarge, smallestNormal = 0x7f800000, 0x477ff000, 0x38800000 // ∞, 65520, 2⁻¹⁴
	b := math.Float32bits(x)
	sign := uint16(b>>16) & 0x8000
	b &= 0x7fffffff
	switch {
	case b > infinity:
		return sign | 0x7e00 | uint16(b>>13)&0x3ff
	case b >= tooLarge:
		return sign | 0x7c00
	// a multiple of 2⁻²⁴; 1024 of them are the first normal number, also in the bits
	case b < smallestNormal:
		return sign | uint16(math.RoundToEven(float64(math.Float32frombits(b))*0x1p24))
	}
	b -= (127 - 15) << 23 // the exponent's bias
	// half of the last place that remains, a little less if that place is even
	b += 1<<12 - 1 + b>>13&1
	// a carry out of the fraction raises the exponent, as it should
	return sign | uint16(b>>(23-10))
}

// narrowBF16 returns the bfloat16 nearest to x, ties to even: the reverse of widenBF16. A NaN stays
// one.
func narrowBF16(x float32) uint16 {
	b := math.Float32bits(x)
	if x != x {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 1<<15 - 1 + b>>16&1) >> 16)
}
