package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"os"
	"slices"
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
func convert(in, out string, format Format, heads int, reading string) (
	notes []string, err error,
) {
	ck, err := openCheckpoint(in, 0, 0)
	if err != nil {
		return nil, err
	}
	defer ck.close()
	l, err := newLean(ck, format, heads, reading)
	if err != nil {
		return nil, err
	}
	return l.notes, replaceFile(out, 0o644, l.size, l.write)
}

// A lean is a safetensors file yet to be written: the parameters of a GPT-2 in canonical order.
type lean struct {
	header  []byte // padded with blanks so that the numbers begin at a multiple of 64 bytes
	tensors []leanTensor
	size    int64 // bytes in all
	notes   []string
}

type leanTensor struct {
	param
	parameters *Parameters
	to         Format
}

// newLean plans a lean file. What it cannot open again is refused here.
func newLean(ck *Checkpoint, format Format, heads int, reading string) (*lean, error) {
	p, err := readParameters(ck, heads)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ck.source, err)
	}
	l := &lean{notes: append(p.notes, ck.notes...)}
	for _, q := range p.list() {
		to := format
		if stored, ok := formatOf(p.tensors[q.name].format); format == asStored {
			to = f32 // of F64
			if ok {
				to = stored
			}
		}
		l.tensors = append(l.tensors, leanTensor{q, p, to})
	}
	// Where formats are mixed, wide numbers come first, so that none of them begins in the middle
	// of its size.
	slices.SortStableFunc(l.tensors, func(a, b leanTensor) int {
		return cmp.Compare(bytesOf(b.to), bytesOf(a.to))
	})

	said := p.metadata()
	texts := newTokenizer(ck.folder, ck.meta, p.vocab)
	texts.reading = reading
	maps.Copy(said, texts.metadata())
	said["format"], said["source"] = "pt", cmp.Or(ck.meta["source"], nameOf(ck.source))
	l.header = fmt.Appendf(make([]byte, 8), `{"__metadata__":%s`, encodeJSON(said))
	for _, t := range l.tensors {
		start := l.size
		length := bytesOf(t.to)
		for _, n := range t.shape {
			length *= int64(n)
		}
		l.size += length
		shape := strings.ReplaceAll(fmt.Sprint(t.shape), " ", ",")
		l.header = fmt.Appendf(l.header, `,%q:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`,
			t.name, t.to, shape, start, l.size)
	}
	l.header = append(l.header, '}')
	for len(l.header)%64 != 0 {
		l.header = append(l.header, ' ')
	}
	binary.LittleEndian.PutUint64(l.header, uint64(len(l.header)-8))
	if n := int64(len(l.header) - 8); n > maxHeader {
		return nil, fmt.Errorf("%s: its header, with the vocabulary, would have %s, and a "+
			"safetensors file's has at most %s", ck.source, bytesText(n), bytesText(maxHeader))
	}
	l.size += int64(len(l.header))
	return l, nil
}

func (l *lean) write(w io.Writer) error {
	_, err := w.Write(l.header)
	for _, t := range l.tensors {
		if err != nil {
			return err
		}
		err = t.write(w)
	}
	return err
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
	from, _ := formatOf(usable.format)
	if from == t.to {
		_, err := w.Write(usable.data)
		return err
	}
	for in := range slices.Chunk(usable.data, 1<<18) {
		out, err := recode(in, from, t.to)
		if err == nil {
			_, err = w.Write(out)
		} else {
			err = fmt.Errorf("tensor %s: %w", quote(t.name), err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recode returns numbers in another format. One that would become infinite there is an error.
func recode(in []byte, from, to Format) (out []byte, err error) {
	n := len(in) / int(bytesOf(from))
	for _, x := range vectorOf(Tensor{format: from.String(), shape: []int{n}, data: in}) {
		half, infinity := narrowBF16(x), uint16(0x7f80)
		switch to {
		case f32:
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
			continue
		case f16:
			half, infinity = narrowF16(x), 0x7c00
		}
		if half&0x7fff == infinity && !math.IsInf(float64(x), 0) {
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

// A bundle is the program with a model's weights inside:
//
//	the program, as it was built
//	zeros up to a multiple of 64 KB, so that the weights can be mapped into memory on every system
//	a lean safetensors file
//	the trailer
//
// Systems load of a program file what its headers speak of, and ignore bytes behind that: so for
// ELF (Linux) and PE (Windows), for which bundles have been tried. A Mach-O file (macOS) ends in
// its signature, which covers what lies before it: bytes behind it should not matter at the start,
// though a strict codesign --verify objects to them; that has not been tried on a Mac. A signature
// of Windows is put at the end of a file and would hide the trailer: sign before bundling.
const bundleAlign = 64 << 10

// trailer is the last 48 bytes of a bundle, little-endian.
type trailer struct {
	Magic   [16]byte
	Program int64  // its length
	Offset  int64  // where the weights begin, a multiple of bundleAlign
	Length  int64  // of the weights
	Version uint32 // of this form
	Sum     uint32 // CRC-32 (IEEE) of the 44 bytes before
}

const (
	trailerSize    = 48
	trailerVersion = 1
)

var bundleMagic = [16]byte([]byte("mechpatch bundle"))

func newTrailer(program, weights int64) trailer {
	return trailer{bundleMagic, program, alignUp(program), weights, trailerVersion, 0}
}

// alignUp is the next multiple of bundleAlign; negative for a number too near to the largest one.
func alignUp(n int64) int64 { return (n + bundleAlign - 1) / bundleAlign * bundleAlign }

func (t trailer) encode() []byte {
	b, _ := binary.Append(nil, binary.LittleEndian, t)
	return binary.LittleEndian.AppendUint32(b[:44], crc32.ChecksumIEEE(b[:44]))
}

// parseTrailer reads the last bytes of a file of the given size. ok is false where they are not a
// trailer at all.
func parseTrailer(b []byte, fileSize int64) (t trailer, ok bool, err error) {
	_, err = binary.Decode(b, binary.LittleEndian, &t)
	end := fileSize - trailerSize // of the weights
	switch {
	case err != nil || len(b) != trailerSize || t.Magic != bundleMagic:
		return trailer{}, false, nil
	case t.Sum == crc32.ChecksumIEEE(b[:44]) && t.Version != trailerVersion:
		return trailer{}, false, fmt.Errorf("weights bundled in form %d: this program knows form "+
			"%d only", t.Version, trailerVersion)
	case t.Sum != crc32.ChecksumIEEE(b[:44]) || t.Program <= 0 || t.Offset != alignUp(t.Program) ||
		t.Offset > end || t.Length != end-t.Offset:
		return trailer{}, false, errors.New("the weights bundled with this program are damaged: " +
			"copy it again")
	}
	return t, true, nil
}

// readTrailer reads the trailer of a file that may be a bundle, and the file's size.
func readTrailer(f *os.File) (t trailer, ok bool, size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return trailer{}, false, 0, err
	}
	b := make([]byte, min(trailerSize, info.Size()))
	if _, err = f.ReadAt(b, info.Size()-int64(len(b))); err == nil {
		t, ok, err = parseTrailer(b, info.Size())
	}
	return t, ok, info.Size(), err
}

// bundleMark lies in the program's data, and tells a program that looks for weights. bundle writes
// the length of the whole file behind its words, so that the program knows that it carries weights
// even if it was copied without them.
var bundleMark = []byte("mechpatch carries\x00\x00\x00\x00\x00\x00\x00\x00")

const markWords = len("mechpatch carries")

// carried is the length of this program's file if it carries weights, 0 if it carries none.
func carried() uint64 { return binary.LittleEndian.Uint64(bundleMark[markWords:]) }

// ownBundle returns bundled, or nil if this program has no mark, so that its file is not opened.
func ownBundle() func(path string) (offset, length int64, ok bool, err error) {
	if carried() == 0 {
		return nil
	}
	return bundled
}

// bundled finds the weights in this program's file, with one short read: where the safetensors file
// in it begins, and its length. ok is false for a program that has none.
func bundled(path string) (offset, length int64, ok bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, false, err
	}
	defer f.Close()
	t, ok, _, err := readTrailer(f)
	if size := carried(); size > 0 && !ok && err == nil {
		err = fmt.Errorf("the weights that this program carries are missing: it was copied "+
			"incompletely, and should have %d bytes: copy it again", size)
	}
	if err != nil {
		return 0, 0, false, fmt.Errorf("%s: %w", path, reason(err))
	}
	return t.Offset, t.Length, ok, nil
}

// bundle writes out: the program exe with the GPT-2 in the file model inside. exe may be built for
// another system, and may be a bundle itself, of which the program alone is taken. The weights keep
// their number format. heads, reading and notes are convert's.
func bundle(exe, model, out string, heads int, reading string) (notes []string, err error) {
	program, err := readProgram(exe)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", exe, reason(err))
	}
	isWindows := bytes.HasPrefix(program, []byte(windows))
	if isWindows && !strings.HasSuffix(strings.ToLower(out), ".exe") {
		return nil, fmt.Errorf("%s: a program for Windows: the name of the bundle must end in .exe",
			exe)
	}
	ck, err := openCheckpoint(model, 0, 0)
	if err != nil {
		return nil, err
	}
	defer ck.close()
	weights, err := newLean(ck, asStored, heads, reading)
	if err != nil {
		return nil, err
	}
	notes = weights.notes
	if needs := needsOf(program); needs != "" {
		notes = append(notes, fmt.Sprintf("%s is linked dynamically: wherever it runs, the bundle "+
			"needs %s; CGO_ENABLED=0 go build makes a program that needs nothing", exe, needs))
	}
	t := newTrailer(int64(len(program)), weights.size)
	size := t.Offset + t.Length + trailerSize
	if isWindows && size >= 1<<32 {
		return nil, fmt.Errorf("%s: the bundle would have %s, and Windows starts no program of "+
			"4 GiB or more: `mechpatch convert -dtype f16` halves F32 weights, or carry program "+
			"and weights side by side", out, bytesText(size))
	}
	if err := mark(program, size); err != nil {
		return nil, fmt.Errorf("%s: %w", exe, err)
	}
	program = append(program, make([]byte, t.Offset-t.Program)...)
	return notes, replaceFile(out, 0o755, size, func(w io.Writer) error {
		_, err := w.Write(program)
		if err == nil {
			err = weights.write(w)
		}
		if err == nil {
			_, err = w.Write(t.encode())
		}
		return err
	})
}

// readProgram reads a program file, without the weights if it is a bundle.
func readProgram(path string) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, ok, size, err := readTrailer(f)
	if err != nil {
		return nil, err
	}
	if ok {
		size = t.Program
	}
	const largest = 256 << 20
	if size > largest {
		return nil, fmt.Errorf("not a mechpatch program: %d bytes are too many", size)
	}
	program := make([]byte, size)
	if _, err := io.ReadFull(f, program); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc([]string{elf, windows, machO}, func(magic string) bool {
		return bytes.HasPrefix(program, []byte(magic))
	}) {
		return nil, errors.New("not a program for Linux (ELF), Windows (PE) or macOS (Mach-O)")
	}
	return program, nil
}

// What a program begins with: for Linux, for Windows, and for macOS of 64 bits.
const (
	elf     = "\x7fELF"
	windows = "MZ"
	machO   = "\xcf\xfa\xed\xfe"
)

// needsOf names what a program for Linux that is linked dynamically needs: the interpreter that its
// first page names, and the newest version of the C library that it asks for.
func needsOf(program []byte) string {
	head := program[:min(len(program), 4096)]
	at := bytes.Index(head, []byte("/ld-"))
	if at < 0 || !bytes.HasPrefix(program, []byte(elf)) {
		return ""
	}
	start := bytes.LastIndexFunc(head[:at], func(r rune) bool { return r <= ' ' || r > '~' }) + 1
	start += bytes.IndexByte(head[start:], '/')
	name, _, _ := bytes.Cut(head[start:], []byte{0})
	needs, newest := shorten(string(name)), []int{0, 0}
	for _, text := range bytes.Split(program, []byte("GLIBC_"))[1:] {
		version := []int{0, 0}
		fmt.Sscanf(string(text[:min(len(text), 12)]), "%d.%d", &version[0], &version[1])
		if slices.Compare(version, newest) > 0 {
			newest = version
		}
	}
	if newest[0] > 0 {
		needs += fmt.Sprintf(" of glibc %d.%d or newer", newest[0], newest[1])
	}
	return needs
}

// mark writes the length of the whole bundle into its program.
func mark(program []byte, size int64) error {
	at := bytes.Index(program, bundleMark[:markWords])
	if at < 0 || bytes.Contains(program[at+1:], bundleMark[:markWords]) {
		return errors.New("a program, but not mechpatch, or one too old for bundled weights")
	}
	binary.LittleEndian.PutUint64(program[at+markWords:], uint64(size))
	if bytes.HasPrefix(program, []byte(machO)) {
		return resign(program, at, at+len(bundleMark))
	}
	return nil
}

// resign corrects the signature of a Mach-O program after a change of the bytes from start to end:
// macOS ends a program of which a page does not have the hash in its signature. The signature that
// Go's linker puts at the end of a program is nothing but such hashes. (Go's cmd/internal/codesign;
// cs_blobs.h in Apple's xnu.) One that somebody else has made is refused.
func resign(program []byte, start, end int) error {
	const superBlob, codeDirectory, linkerSigned = 0xfade0cc0, 0xfade0c02, 0x20002
	var s struct { // a blob of one blob, big-endian
		Magic, Length, Count, Kind, At uint32
		// and the one, a directory of hashes: HashAndPage is the size of one, SHA-256's number, the
		// platform and log₂ of the page
		Directory, Size, Version, Flags, Hashes, Name, Special, Pages, Limit, HashAndPage uint32
	}
	at := max(0, bytes.LastIndex(program, binary.BigEndian.AppendUint32(nil, superBlob)))
	_, err := binary.Decode(program[at:], binary.BigEndian, &s)
	damaged := errors.New("a program for macOS, but its signature is damaged")
	switch {
	case err != nil || s.Magic != superBlob || int(s.Length) > len(program)-at || s.Count > 100:
		return nil // Go signs programs for Apple's own processors alone
	case s.Count != 1 || s.Flags&linkerSigned == 0:
		return errors.New("a program for macOS that somebody has signed: bundle first, then sign")
	case s.Directory != codeDirectory || s.Limit != uint32(at) ||
		s.HashAndPage>>16 != sha256.Size<<8|2 || s.HashAndPage&0xff > 20:
		return damaged
	}
	page := 1 << (s.HashAndPage & 0xff)
	for p := start / page; p*page < end; p++ {
		slot := at + 20 + int(s.Hashes) + p*sha256.Size
		if slot < 0 || slot > len(program)-sha256.Size {
			return damaged
		}
		sum := sha256.Sum256(program[p*page : min((p+1)*page, at)])
		copy(program[slot:], sum[:])
	}
	return nil
}
