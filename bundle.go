package main

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strings"
)

// A bundle is the program with a model's weights inside:
//
//	the program, as it was built
//	zeros up to a multiple of 64 KB, so that the weights can be mapped into memory on every system
//	a lean safetensors file (convert.go)
//	the trailer: 48 bytes
//
// Systems load of a program file what its headers speak of, and ignore bytes behind that: so for
// ELF (Linux) and PE (Windows), for which bundles have been tried. A Mach-O file (macOS) ends in
// its signature, which covers what lies before it: bytes behind it should not matter at the start,
// though a strict codesign --verify objects to them; that has not been tried on a Mac. A signature
// of Windows is put at the end of a file and would hide the trailer: sign before bundling.
//
// The trailer, little-endian:
//
//	 0  16 bytes  "mechpatch bundle"
//	16   8 bytes  length of the program
//	24   8 bytes  where the weights begin, a multiple of 65536
//	32   8 bytes  length of the weights
//	40   4 bytes  version of this form, 1
//	44   4 bytes  CRC-32 (IEEE) of the 44 bytes before
const (
	trailerSize    = 48
	trailerVersion = 1
	bundleAlign    = 64 << 10
)

var bundleMagic = []byte("mechpatch bundle")

// bundleMark lies in the program's data, and tells a program that looks for weights. bundle writes
// the length of the whole file behind its words, so that the program knows that it carries weights
// even if it was copied without them.
var bundleMark = []byte("mechpatch carries\x00\x00\x00\x00\x00\x00\x00\x00")

const markWords = len("mechpatch carries")

type trailer struct {
	program, offset, length int64
}

func (t trailer) encode() []byte {
	b := bytes.Clone(bundleMagic)
	for _, n := range []int64{t.program, t.offset, t.length} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	b = binary.LittleEndian.AppendUint32(b, trailerVersion)
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

var errTrailer = errors.New("the weights bundled with this program are damaged: copy it again")

// parseTrailer reads the last bytes of a file of the given size. ok is false where they are not a
// trailer at all.
func parseTrailer(b []byte, fileSize int64) (t trailer, ok bool, err error) {
	if len(b) != trailerSize || !bytes.HasPrefix(b, bundleMagic) {
		return trailer{}, false, nil
	}
	if binary.LittleEndian.Uint32(b[44:]) != crc32.ChecksumIEEE(b[:44]) {
		return trailer{}, false, errTrailer
	}
	if version := binary.LittleEndian.Uint32(b[40:]); version != trailerVersion {
		return trailer{}, false, fmt.Errorf("weights bundled in form %d: this program knows form "+
			"%d only", version, trailerVersion)
	}
	t.program = int64(binary.LittleEndian.Uint64(b[16:]))
	t.offset = int64(binary.LittleEndian.Uint64(b[24:]))
	t.length = int64(binary.LittleEndian.Uint64(b[32:]))
	weightsEnd := fileSize - trailerSize
	if t.program <= 0 || t.offset != alignUp(t.program) || t.offset > weightsEnd ||
		t.length != weightsEnd-t.offset {
		return trailer{}, false, errTrailer
	}
	return t, true, nil
}

// alignUp is the next multiple of bundleAlign; negative for a number too near to the largest one.
func alignUp(n int64) int64 {
	return (n + bundleAlign - 1) / bundleAlign * bundleAlign
}

// ownBundle returns bundled, or nil if this program has no mark, so that its file is not opened.
func ownBundle() func(path string) (offset, length int64, ok bool, err error) {
	if carried() == 0 {
		return nil
	}
	return bundled
}

// carried is the length of this program's file if it carries weights, 0 if it carries none.
func carried() uint64 { return binary.LittleEndian.Uint64(bundleMark[markWords:]) }

// bundled finds the weights in this program's file, with one short read: where the safetensors file
// in it begins, and its length. ok is false for a program that has none.
func bundled(path string) (offset, length int64, ok bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, false, err
	}
	defer f.Close()
	t, ok, err := readTrailer(f)
	if size := carried(); size > 0 && !ok && err == nil {
		err = fmt.Errorf("the weights that this program carries are missing: it was copied "+
			"incompletely, and should have %d bytes: copy it again", size)
	}
	if err != nil {
		return 0, 0, false, fmt.Errorf("%s: %w", path, reason(err))
	}
	return t.offset, t.length, ok, nil
}

func readTrailer(f *os.File) (t trailer, ok bool, err error) {
	info, err := f.Stat()
	if err != nil || info.Size() < trailerSize {
		return trailer{}, false, err
	}
	var b [trailerSize]byte
	if _, err := f.ReadAt(b[:], info.Size()-trailerSize); err != nil {
		return trailer{}, false, err
	}
	return parseTrailer(b[:], info.Size())
}

// bundle writes out: the program exe with the GPT-2 in the file model inside. exe may be built for
// another system, and may be a bundle itself, of which the program alone is taken. The weights keep
// their number format. heads and notes are convert's.
func bundle(exe, model, out string, heads int) (notes []string, err error) {
	program, err := readProgram(exe)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", exe, reason(err))
	}
	if isPE(program) && !strings.HasSuffix(strings.ToLower(out), ".exe") {
		return nil, fmt.Errorf("%s: a program for Windows: the name of the bundle must end in .exe",
			exe)
	}
	ck, err := openCheckpoint(model, 0, 0)
	if err != nil {
		return nil, err
	}
	defer ck.close()
	weights, err := newLean(ck, asStored, heads)
	if err != nil {
		return nil, err
	}
	notes = weights.notes
	if needs := needsOf(program); needs != "" {
		notes = append(notes, fmt.Sprintf("%s is linked dynamically: wherever it runs, the bundle "+
			"needs %s; CGO_ENABLED=0 go build makes a program that needs nothing", exe, needs))
	}
	t := trailer{int64(len(program)), alignUp(int64(len(program))), weights.size()}
	size := t.offset + t.length + trailerSize
	if err := mark(program, size); err != nil {
		return nil, fmt.Errorf("%s: %w", exe, err)
	}
	return notes, replaceFile(out, 0o755, size, func(w io.Writer) error {
		if _, err := w.Write(program); err != nil {
			return err
		}
		if _, err := w.Write(make([]byte, t.offset-t.program)); err != nil {
			return err
		}
		if err := weights.write(w); err != nil {
			return err
		}
		_, err := w.Write(t.encode())
		return err
	})
}

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
// Go's linker makes is nothing but such hashes. (Go's cmd/internal/codesign; cs_blobs.h in Apple's
// xnu.) One that somebody else has made is refused.
func resign(program []byte, start, end int) error {
	const loadSignature, superBlob, codeDirectory, linkerSigned = 0x1d, 0xfade0cc0, 0xfade0c02,
		0x20002
	damaged := errors.New("a program for macOS, but its signature is damaged")
	u32 := func(order binary.ByteOrder, at int) int {
		if at < 0 || at > len(program)-4 {
			return -1
		}
		return int(order.Uint32(program[at:]))
	}
	little, big := binary.LittleEndian, binary.BigEndian

	command, signature := 32, -1
	for n := u32(little, 16); n > 0 && signature < 0; n-- {
		if u32(little, command) == loadSignature {
			signature = u32(little, command+8)
		}
		size := u32(little, command+4)
		if size < 8 {
			return damaged
		}
		command += size
	}
	if signature < 0 {
		return nil
	}
	directory := signature + u32(big, signature+16)
	magic := func(at int) uint32 { return uint32(u32(big, at)) } // beyond an int of 32 bits
	if magic(signature) != superBlob || magic(directory) != codeDirectory {
		return damaged
	}
	if u32(big, signature+8) != 1 || u32(big, directory+12)&linkerSigned == 0 {
		return errors.New("a program for macOS that somebody has signed: bundle first, then sign")
	}
	hashes, limit := directory+u32(big, directory+16), u32(big, directory+32)
	kind := u32(big, directory+36) // size of a hash, SHA-256's number, platform, log₂ of the page
	if kind>>16 != sha256.Size<<8|2 || kind&0xff > 20 || limit < 0 || limit > len(program) {
		return damaged
	}
	page := 1 << (kind & 0xff)
	for at := start / page * page; at < min(end, limit); at += page {
		slot := hashes + at/page*sha256.Size
		if slot < 0 || slot > len(program)-sha256.Size {
			return damaged
		}
		sum := sha256.Sum256(program[at:min(at+page, limit)])
		copy(program[slot:], sum[:])
	}
	return nil
}

// needsOf names what a program for Linux that is linked dynamically needs: the interpreter that its
// file names, and the newest version of the C library that it asks for.
func needsOf(program []byte) string {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return "" // not Linux's
	}
	interpreter := ""
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz < 1000 {
			name, _ := io.ReadAll(p.Open())
			interpreter = strings.TrimRight(string(name), "\x00")
		}
	}
	if interpreter == "" {
		return ""
	}
	needs := shorten(interpreter)
	newest := [2]int{}
	symbols, _ := f.ImportedSymbols()
	for _, s := range symbols {
		var version [2]int
		fmt.Sscanf(s.Version, "GLIBC_%d.%d", &version[0], &version[1])
		if slices.Compare(version[:], newest[:]) > 0 {
			newest = version
		}
	}
	if newest[0] > 0 {
		needs += fmt.Sprintf(" of glibc %d.%d or newer", newest[0], newest[1])
	}
	return needs
}

// readProgram reads a program file, without the weights if it is a bundle, and makes sure that it
// is a mechpatch.
func readProgram(path string) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, ok, err := readTrailer(f)
	if err != nil {
		return nil, err
	}
	if !ok {
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		t.program = info.Size()
	}
	const largest = 256 << 20
	if t.program > largest {
		return nil, fmt.Errorf("not a mechpatch program: %d bytes are too many", t.program)
	}
	program := make([]byte, t.program)
	if _, err := io.ReadFull(f, program); err != nil {
		return nil, err
	}
	isA := func(magic string) bool { return bytes.HasPrefix(program, []byte(magic)) }
	if !isA(elf.ELFMAG) && !isA(machO) && !isPE(program) {
		return nil, errors.New("not a program for Linux (ELF), Windows (PE) or macOS (Mach-O)")
	}
	return program, nil
}

// machO begins a Mach-O program of 64 bits.
const machO = "\xcf\xfa\xed\xfe"

// isPE knows a Windows program: a DOS program, of which byte 60 says where the Windows part begins.
func isPE(program []byte) bool {
	if len(program) < 64 || !bytes.HasPrefix(program, []byte("MZ")) {
		return false
	}
	at := uint64(binary.LittleEndian.Uint32(program[60:]))
	return at < uint64(len(program)) && bytes.HasPrefix(program[at:], []byte("PE\x00\x00"))
}
