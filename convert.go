package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The weight converter. GPT-2 is published as safetensors and as PyTorch files, with and without a
// prefix on every name, with mask buffers and tied copies that are not parameters. What comes out
// is one lean form: a safetensors file of the parameters alone, or a program with one inside.

// asStored in place of a Format leaves every tensor in the format that it has.
const asStored Format = 0xff

// convert writes the GPT-2 in the file in as a lean safetensors file, its numbers in the given
// format or asStored. Numbers are rounded to the nearest, ties to even; one too large for the
// format is an error. heads is the number of attention heads if the user says it, or else 0,
// reading how the vocabulary is read (-tokenizer). notes are what the user should know.
func convert(in, out string, format Format, heads int, reading string) (notes []string, err error) {
	defer catchFault(&err)
	ck := get(openCheckpoint(in, 0, 0))
	defer ck.close()
	l := newLean(ck, format, heads, reading)
	return l.notes, replaceFile(out, 0o644, l.size, l.write)
}

// A lean is a safetensors file yet to be written: the parameters of a GPT-2 in canonical order.
type lean struct {
	*Parameters
	format Format
	header []byte // padded with blanks so that the numbers begin at a multiple of 64 bytes
	params []param
	size   int64 // bytes in all
}

// to is the format that a parameter is written in.
func (l *lean) to(q param) Format {
	if l.format != asStored {
		return l.format
	}
	stored, _ := formatOf(l.tensors[q.name].format) // F64 becomes F32
	return stored
}

// newLean plans a lean file. What it cannot open again is refused here.
func newLean(ck *Checkpoint, format Format, heads int, reading string) *lean {
	p := readParameters(ck, heads)
	l := &lean{Parameters: p, format: format, params: p.list()}
	// Where formats are mixed, wide numbers come first, so that none of them begins in the middle
	// of its size.
	slices.SortStableFunc(l.params, func(a, b param) int {
		return cmp.Compare(formatBits[l.to(b).String()], formatBits[l.to(a).String()])
	})

	said := p.metadata()
	texts := tokenizer{folder: ck.folder, meta: ck.meta}
	rules := textRules{numbers: true, reading: reading} // why no text is encoded is carried, too
	maps.Copy(said, get(texts.obeys(rules, p.vocab)).metadata())
	said["format"], said["source"] = "pt", cmp.Or(ck.meta["source"], nameOf(ck.source))
	l.header = fmt.Appendf(make([]byte, 8), `{"__metadata__":%s`, encodeJSON(said))
	for _, q := range l.params {
		start, to := l.size, l.to(q).String()
		l.size += int64(get(sizeOf(to, q.shape)))
		l.header = fmt.Appendf(l.header, `,%q:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`,
			q.name, to, encodeJSON(q.shape), start, l.size)
	}
	l.header = append(l.header, '}')
	l.header = append(l.header, bytes.Repeat([]byte(" "), -len(l.header)&63)...)
	n := int64(len(l.header) - 8)
	binary.LittleEndian.PutUint64(l.header, uint64(n))
	require(n <= maxHeader, "%s: its header, with the vocabulary, would have %s, and a "+
		"safetensors file's has at most %s", ck.source, bytesText(n), bytesText(maxHeader))
	l.size += int64(len(l.header))
	return l
}

// write writes the file: tensor by tensor, and one in a new format row by row. A number that would
// become infinite there is an error.
func (l *lean) write(w io.Writer) (err error) {
	defer catchFault(&err)
	get(w.Write(l.header))
	for _, q := range l.params {
		what, to := "tensor "+quote(q.name), l.to(q)
		try(enoughMemory(l.copied(q), what))
		m := get(l.matrix(q))
		if m.format == to && inPlace {
			get(w.Write(m.bytes()))
			continue
		}
		row, out := make([]float32, m.cols), []byte{}
		for r := range m.rows {
			m.row(row, r)
			out = out[:0]
			for _, x := range row {
				half, infinity := narrowBF16(x), uint16(0x7f80)
				switch to {
				case f32:
					out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
					continue
				case f16:
					half, infinity = narrowF16(x), 0x7c00
				}
				// not by require, which would cost an allocation for each number
				if half&0x7fff == infinity && !math.IsInf(float64(x), 0) {
					fail("%s: the weight %g is too large for %s: convert to another format", what,
						x, to)
				}
				out = binary.LittleEndian.AppendUint16(out, half)
			}
			get(w.Write(out))
		}
	}
	return nil
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

// A bundle is the program with a model's weights inside:
//
//	the program, as it was built, but for the two numbers of its mark
//	zeros up to a multiple of 64 KB, so that the weights can be mapped into memory on every system
//	a lean safetensors file
//
// Systems load of a program file what its headers speak of, and ignore bytes behind that: so for
// ELF (Linux) and PE (Windows), for which bundles have been tried. A Mach-O file (macOS) ends in
// its signature, which covers what lies before it: bytes behind it should not matter at the start,
// though a strict codesign --verify objects to them; that has not been tried on a Mac.

// bundleMark lies in the program's data: words by which bundle finds it, and behind them, where it
// writes them, the lengths of the program and of the whole bundle. So a program knows that it
// carries weights even if it was copied without them, and one that carries none opens no file to
// find that out.
var bundleMark = []byte("mechpatch and weights:" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")

const markWords = len("mechpatch and weights:")

const bundleAlign = 64 << 10

// alignUp is where the weights begin behind a program of n bytes.
func alignUp(n int64) int64 { return (n + bundleAlign - 1) / bundleAlign * bundleAlign }

// ownBundle returns what finds the weights in this program's file: where the safetensors file in it
// begins, and its length. It is nil for a program that carries none.
func ownBundle() func(path string) (offset, length int64, err error) {
	program := int64(binary.LittleEndian.Uint64(bundleMark[markWords:]))
	size := int64(binary.LittleEndian.Uint64(bundleMark[markWords+8:]))
	if size == 0 {
		return nil
	}
	return func(path string) (offset, length int64, err error) {
		info, err := os.Stat(path)
		if err == nil && info.Size() < size {
			err = fmt.Errorf("it was copied incompletely, and should have %d bytes: copy it again",
				size)
		}
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", path, reason(err))
		}
		offset = alignUp(program)
		return offset, size - offset, nil
	}
}

// bundle writes out: the program exe with the GPT-2 in the file model inside. exe may be built for
// another system, and may be a bundle itself, of which the program alone is taken. The weights keep
// their number format. heads, reading and notes are convert's.
func bundle(exe, model, out string, heads int, reading string) (notes []string, err error) {
	defer catchFault(&err)
	var program []byte
	var at int
	within(exe, func() { program, at = readProgram(exe) })
	isWindows := bytes.HasPrefix(program, []byte(windows))
	require(!isWindows || strings.HasSuffix(strings.ToLower(out), ".exe"),
		"%s: a program for Windows: the name of the bundle must end in .exe", exe)
	ck := get(openCheckpoint(model, 0, 0))
	defer ck.close()
	weights := newLean(ck, asStored, heads, reading)
	notes = weights.notes
	if needs := needsOf(program); needs != "" {
		notes = append(notes, fmt.Sprintf("%s is linked dynamically: wherever it runs, the bundle "+
			"needs %s; CGO_ENABLED=0 go build makes a program that needs nothing", exe, needs))
	}
	offset := alignUp(int64(len(program)))
	size := offset + weights.size
	require(!isWindows || size < 1<<32, "%s: the bundle would have %s, and Windows starts no "+
		"program of 4 GiB or more: `mechpatch convert -dtype f16` halves F32 weights, or carry "+
		"program and weights side by side", out, bytesText(size))
	within(exe, func() { mark(program, at, size) })
	program = append(program, make([]byte, offset-int64(len(program)))...)
	return notes, replaceFile(out, 0o755, size, func(w io.Writer) error {
		w.Write(program) // what fails to be written, replaceFile knows
		return weights.write(w)
	})
}

// What a program begins with: for Linux, for Windows, and for macOS of 64 bits.
const (
	elf     = "\x7fELF"
	windows = "MZ"
	machO   = "\xcf\xfa\xed\xfe"
)

// readProgram reads a program file, without the weights if it is a bundle, and finds its mark.
func readProgram(path string) (program []byte, at int) {
	data, release, err := readRange(path, 0, -1)
	try(reason(err))
	if release != nil {
		defer release()
	}
	begins := func(magic string) bool { return bytes.HasPrefix(data, []byte(magic)) }
	require(begins(elf) || begins(windows) || begins(machO),
		"not a program for Linux (ELF), Windows (PE) or macOS (Mach-O)")
	const largest = 256 << 20
	words, length := bundleMark[:markWords], uint64(len(data))
	at = bytes.Index(data, words)
	if at >= 0 && len(data)-at >= len(bundleMark) {
		length = min(length, cmp.Or(binary.LittleEndian.Uint64(data[at+markWords:]), length))
	}
	if at < 0 || length > largest || length < uint64(at+len(bundleMark)) ||
		bytes.Contains(data[at+1:length], words) {
		fail("a program, but not mechpatch, or another version of it")
	}
	return bytes.Clone(data[:length]), at
}

// needsOf names what a program for Linux that is linked dynamically needs: the interpreter that its
// first page names, and the newest version of the C library that it asks for.
func needsOf(program []byte) string {
	first := program[:min(len(program), 4096)]
	needs := shorten(string(regexp.MustCompile(`/[!-~]*/ld-[!-~]*`).Find(first)))
	if needs == "" || !bytes.HasPrefix(program, []byte(elf)) {
		return ""
	}
	newest := 0
	for _, of := range regexp.MustCompile(`GLIBC_2\.(\d+)`).FindAllSubmatch(program, -1) {
		minor, _ := strconv.Atoi(string(of[1]))
		newest = max(newest, minor)
	}
	if newest > 0 {
		needs += fmt.Sprintf(" of glibc 2.%d or newer", newest)
	}
	return needs
}

// mark writes into a program, where its mark is, how long it and the whole bundle are.
//
// macOS ends a program of which a page does not have its SHA-256 in the signature at the program's
// end. The signature that Go's linker makes is nothing but such hashes (cmd/internal/codesign in
// Go's sources), so those of the changed pages are put in the place of the old ones. One that
// somebody else has made holds a certificate's signature, or place for one, and is refused.
func mark(program []byte, at int, size int64) {
	before, end := bytes.Clone(program), at+len(bundleMark)
	binary.LittleEndian.PutUint64(program[at+markWords:], uint64(len(program)))
	binary.LittleEndian.PutUint64(program[at+markWords+8:], uint64(size))
	if !bytes.HasPrefix(program, []byte(machO)) {
		return
	}
	for _, page := range []int{4 << 10, 16 << 10} { // Go's, and that of Apple's processors
		for start := at / page * page; start < end; start += page {
			stop := min(start+page, len(program))
			old, new := sha256.Sum256(before[start:stop]), sha256.Sum256(program[start:stop])
			slot := bytes.LastIndex(before, old[:])
			if slot < 0 { // Go signs programs for Apple's own processors alone
				continue
			}
			const certificate = "\xfa\xde\x0b\x01"
			require(!bytes.Contains(before[slot:], []byte(certificate)), "a program for macOS "+
				"that somebody has signed: bundle first, then sign")
			copy(program[slot:], new[:])
		}
	}
}
