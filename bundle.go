package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
)

// A bundle is the program with a model's weights inside, one file to copy to a machine that has
// nothing else:
//
//	the program, as it was built
//	zeros up to a multiple of 64 KB, so that the weights can be mapped into memory on every system
//	a lean safetensors file (convert.go)
//	the trailer: 48 bytes
//
// Operating systems load of a program file what its headers speak of and take no notice of bytes
// behind that: so for ELF (Linux) and PE (Windows), for which bundles have been tried. A Mach-O
// file (macOS) ends in its signature, which covers what lies before it: bytes behind it should not
// matter when the program is started, though a strict codesign --verify objects to them; that has
// not been tried on a Mac. Whoever signs programs for Windows signs before bundling: a signature is
// put at the end of a file and would hide the trailer.
//
// The trailer is, little-endian:
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

// bundleMagic begins a trailer. It is a variable because it has a second use: being found in the
// data of a program, it tells that the program is one that looks for bundled weights.
var bundleMagic = []byte("mechpatch bundle")

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

// alignUp returns the next multiple of bundleAlign; a number too near to the largest one becomes
// negative.
func alignUp(n int64) int64 {
	return (n + bundleAlign - 1) / bundleAlign * bundleAlign
}

// bundled finds the weights in a program file: where the safetensors file in it begins, and its
// length. ok is false for a program that has none. It costs one short read.
func bundled(path string) (offset, length int64, ok bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, false, err
	}
	defer f.Close()
	t, ok, err := readTrailer(f)
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

// bundle writes out: the program exe with the GPT-2 in the file or folder model inside. exe may be
// built for another system, and may be a bundle itself, of which the program alone is taken. The
// weights keep their number format.
func bundle(exe, model, out string) error {
	program, err := readProgram(exe)
	if err != nil {
		return fmt.Errorf("%s: %w", exe, reason(err))
	}
	if isPE(program) && !strings.HasSuffix(strings.ToLower(out), ".exe") {
		return fmt.Errorf("%s: a program for Windows: the name of the bundle must end in .exe", exe)
	}
	if sameFile(exe, out) {
		return fmt.Errorf("%s: is the program itself: name another file for the bundle", out)
	}
	ck, m, err := openSource(model)
	if err != nil {
		return err
	}
	defer ck.close()
	if sameFile(ck.source, out) {
		return fmt.Errorf("%s: is the model itself: name another file for the bundle", out)
	}
	weights, err := newLean(ck, m, asStored)
	if err != nil {
		return err
	}
	t := trailer{program: int64(len(program)), offset: alignUp(int64(len(program))),
		length: weights.size()}
	return replaceFile(out, 0o755, t.offset+t.length+trailerSize, func(w io.Writer) error {
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
	if !isExecutable(program) {
		return nil, errors.New("not a program for Linux (ELF), Windows (PE) or macOS (Mach-O)")
	}
	if !bytes.Contains(program, bundleMagic) {
		return nil, errors.New("a program, but not mechpatch, or one too old for bundled weights")
	}
	return program, nil
}

func isExecutable(program []byte) bool {
	for _, magic := range []string{
		"\x7fELF",
		"\xcf\xfa\xed\xfe", // Mach-O, 64 bits
		"\xca\xfe\xba\xbe", // Mach-O for several processors
	} {
		if bytes.HasPrefix(program, []byte(magic)) {
			return true
		}
	}
	return isPE(program)
}

// isPE knows a Windows program: a DOS program, of which byte 60 says where the Windows part begins.
func isPE(program []byte) bool {
	if len(program) < 64 || !bytes.HasPrefix(program, []byte("MZ")) {
		return false
	}
	at := uint64(binary.LittleEndian.Uint32(program[60:]))
	return at < uint64(len(program)) && bytes.HasPrefix(program[at:], []byte("PE\x00\x00"))
}
