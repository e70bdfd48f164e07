package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// thisProgram is the test's own executable: a mechpatch program, as far as a bundle is concerned,
// on whatever system the test runs.
func thisProgram(t *testing.T) string {
	t.Helper()
	return must(os.Executable())
}

// emptyProgram is one that weights can be bundled with.
var emptyProgram = "\x7fELF" + string(bundleMark)

// bundleRun in the environment makes TestBundleRuns behave as a bundled program does.
const bundleRun = "MECHPATCH_TEST_BUNDLE"

// A bundle finds its weights, and runs, with no other file in its folder; a second one made of the
// first has new weights and not both.
func TestBundleRuns(t *testing.T) {
	if os.Getenv(bundleRun) != "" {
		m := must((&program{stderr: os.Stderr, offline: true}).openModel())
		fmt.Printf("%s has %d heads, %s, ends in %v\n", m.name, m.heads, m.wte.format, m.lnF.bias)
		os.Exit(0)
	}

	if err := exec.Command(thisProgram(t), "-test.run=^$").Run(); err != nil {
		t.Skip("this machine cannot start the test's own program, as under an emulator: ", err)
	}
	folder := t.TempDir()
	first, second := filepath.Join(folder, "first.exe"), filepath.Join(folder, "second.exe")
	must(bundle(thisProgram(t), tinySource(t, "module-zip"), first, 0))
	small := filepath.Join(t.TempDir(), "small.safetensors")
	must(convert(tinySource(t, "module-zip"), small, f16, 0))
	must(bundle(first, small, second, 0))
	for path, format := range map[string]string{first: "F32", second: "F16"} {
		offset, length, ok, err := bundled(path)
		if err != nil || !ok || offset%bundleAlign != 0 {
			t.Fatal(path, offset, length, ok, err)
		}
		checkLean(t, path, offset, length, format, "tiny-gpt2")
		program, whole := must(os.ReadFile(thisProgram(t))), must(os.ReadFile(path))
		check(t, mark(program, int64(len(whole))))
		if !bytes.Equal(whole[:len(program)], program) ||
			bytes.Trim(whole[len(program):offset], "\x00") != nil {
			t.Errorf("%s: not the program and zeros before the weights", path)
		}

		run := exec.Command(path, "-test.run=^TestBundleRuns$")
		run.Env = append(os.Environ(), bundleRun+"=1")
		run.Dir = t.TempDir()
		out, err := run.CombinedOutput()
		want := fmt.Sprintf("tiny-gpt2 has 2 heads, %s, ends in %v\n", format,
			tinyValues(t)["ln_f.bias"])
		if err != nil || string(out) != want {
			t.Errorf("%s prints %q, %v; want %q", path, out, err, want)
		}
	}

	for _, n := range []int64{1, trailerSize, 1 << 10} { // as a copy that was interrupted
		info, err := os.Stat(second)
		if err == nil {
			err = os.Truncate(second, info.Size()-n)
		}
		check(t, err)
		run := exec.Command(second, "-test.run=^TestBundleRuns$")
		run.Env = append(os.Environ(), bundleRun+"=1")
		out, err := run.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "copied incompletely") {
			t.Errorf("%d bytes less: %q, %v", n, out, err)
		}
	}
	if mode := must(os.Stat(first)).Mode(); runtime.GOOS != "windows" && mode&0o500 != 0o500 {
		t.Errorf("mode %v", mode)
	}
}

func TestNotBundled(t *testing.T) {
	short := file(t, "short", "short")
	for _, path := range []string{thisProgram(t), short} {
		if _, _, ok, err := bundled(path); ok || err != nil {
			t.Errorf("%s: %v, %v", path, ok, err)
		}
	}
	if _, _, ok, err := bundled(filepath.Join(short, "absent")); ok || err == nil {
		t.Error(ok, err)
	}
}

func TestTrailer(t *testing.T) {
	const page = bundleAlign
	const size = 3*page + 1000 + trailerSize
	good := trailer{2*page + 1, 3 * page, 1000}
	if got, ok, err := parseTrailer(good.encode(), size); got != good || !ok || err != nil {
		t.Error(got, ok, err)
	}
	for bit := range trailerSize * 8 {
		b := good.encode()
		b[bit/8] ^= 1 << (bit % 8)
		if _, ok, err := parseTrailer(b, size); ok || bit >= 16*8 && err == nil {
			t.Errorf("bit %d changed: %v, %v", bit, ok, err)
		}
	}
	for _, bad := range []trailer{
		{2*page + 1, 3 * page, 999}, {2*page + 1, 3 * page, 1001}, {2*page + 1, 3*page + 1, 999},
		{page, 3 * page, 1000}, {3*page + 1, 3 * page, 1000}, {3*page + 1, 4 * page, 1000 - page},
		{0, 0, size - trailerSize}, {-5, 0, size - trailerSize},
		{math.MaxInt64, alignUp(math.MaxInt64), 0},
		{math.MaxInt64 - 1, math.MinInt64, math.MaxInt64},
	} {
		if got, ok, err := parseTrailer(bad.encode(), size); ok || err == nil {
			t.Errorf("%+v is taken for %+v", bad, got)
		}
	}
	newer := good.encode()[:40]
	newer = binary.LittleEndian.AppendUint32(newer, 2)
	newer = binary.LittleEndian.AppendUint32(newer, crc32.ChecksumIEEE(newer))
	if _, ok, err := parseTrailer(newer, size); ok || !says(err, "form 2") {
		t.Error(ok, err)
	}
}

func TestBundleErrors(t *testing.T) {
	folder := t.TempDir()
	windows := "MZ" + strings.Repeat("\x00", 58) + "\x40\x00\x00\x00PE\x00\x00 and so on"
	exe, model := file(t, "mechpatch", emptyProgram), tinySource(t, "module-zip")
	out := filepath.Join(t.TempDir(), "out")
	for _, c := range []struct{ exe, model, out, want string }{
		{file(t, "text", "#!/bin/sh\n# mechpatch bundle"), model, out,
			"text: not a program for Linux (ELF), Windows (PE) or macOS"},
		{file(t, "dos", "MZ"+strings.Repeat("\xff", 100)), model, out, "dos: not a program"},
		{file(t, "ls", "\x7fELF, but another program"), model, out,
			"ls: a program, but not mechpatch"},
		{file(t, "ls.exe", windows), model, out + ".exe", "ls.exe: a program, but not mechpatch"},
		{file(t, "empty", ""), model, out, "empty: not a program"},
		{file(t, "mechpatch.exe", windows+string(bundleMark)), model, out, "must end in .exe"},
		{file(t, "damaged", "\x7fELF"+string(bundleMagic)+strings.Repeat("\x00", 32)), model, out,
			"are damaged"},
		{folder, model, out, "not a regular file"},
		{filepath.Join(folder, "absent"), model, out, "absent: "},
		{exe, filepath.Join(folder, "absent"), out, "absent: "},
		{exe, tinySource(t, "evil-zip"), out, "posix.system"},
		{exe, model, folder, "not a regular file"},
	} {
		_, err := bundle(c.exe, c.model, c.out, 0)
		wantError(t, c.exe+" "+c.model+" "+c.out, err, c.want)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("an error left a file")
	}
	out += ".exe"
	if _, err := bundle(file(t, "mechpatch.exe", windows+string(bundleMark)), model, out,
		0); err != nil {
		t.Error(err)
	}
	if _, _, ok, err := bundled(out); !ok || err != nil {
		t.Error(ok, err)
	}
}

// A program that carries weights knows it, whatever is left of its end.
func TestBundleTruncated(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.exe")
	must(bundle(thisProgram(t), tinySource(t, "module-zip"), out, 0))
	info := must(os.Stat(out))
	defer clear(bundleMark[markWords:])
	if err := mark(bundleMark, info.Size()); err != nil { // as if this program were that one
		t.Fatal(err)
	}
	if _, _, ok, err := bundled(out); !ok || err != nil {
		t.Error(ok, err)
	}
	for _, lost := range []int64{1, trailerSize, 1000, info.Size() / 2} {
		check(t, os.Truncate(out, info.Size()-lost))
		want := fmt.Sprintf("copied incompletely, and should have %d bytes", info.Size())
		if _, _, ok, err := bundled(out); ok || !says(err, want) {
			t.Errorf("%d bytes lost: %v, %v", lost, ok, err)
		}
	}
}

// TestMark writes a length into programs: there must be one place for it.
func TestMark(t *testing.T) {
	words := string(bundleMark)
	for _, c := range []struct{ program, want string }{
		{"\x7fELF" + words, ""},
		{"\x7fELF", "too old for bundled weights"},
		{"\x7fELF" + words + words, "too old for bundled weights"},
		{machO + strings.Repeat("\x00", 28) + words, ""}, // no commands, and so no signature
		{machO + strings.Repeat("\x00", 12) + "\x09" + strings.Repeat("\x00", 15) + words,
			"damaged"},
	} {
		program := []byte(c.program)
		err := mark(program, 1<<40+5)
		wantError(t, c.program, err, c.want)
		want := strings.Replace(c.program, words,
			words[:markWords]+"\x05\x00\x00\x00\x00\x01\x00\x00", 1)
		if err == nil && string(program) != want {
			t.Errorf("%q becomes %q", c.program, program)
		}
	}
}

// TestResign changes a byte of a Mach-O file that is signed as Go's linker signs, and holds every
// page to its hash.
func TestResign(t *testing.T) {
	const page, length = 1 << 12, 3<<12 + 100
	program := make([]byte, length)
	for i := range program {
		program[i] = byte(i * i)
	}
	little, big := binary.LittleEndian, binary.BigEndian
	little.PutUint32(program[16:], 2) // load commands: one of 24 bytes, then where the signature is
	little.PutUint32(program[32:], 0x19)
	little.PutUint32(program[36:], 24)
	little.PutUint32(program[56:], 0x1d)
	little.PutUint32(program[60:], 16)
	little.PutUint32(program[64:], length)
	const hashes = 20 + 88
	signature := make([]byte, hashes+4*sha256.Size)
	for at, n := range map[int]uint32{0: 0xfade0cc0, 4: uint32(len(signature)), 8: 1, 16: 20,
		20: 0xfade0c02, 24: uint32(len(signature) - 20), 28: 0x20400, 32: 0x20002, 36: 88,
		48: 4, 52: length, 56: sha256.Size<<24 | 2<<16 | 12} {
		big.PutUint32(signature[at:], n)
	}
	program = append(program, signature...)
	sign := func(p int) (slot []byte, sum [32]byte) {
		return program[length+hashes+p*sha256.Size:][:sha256.Size],
			sha256.Sum256(program[p*page : min((p+1)*page, length)])
	}
	for p := range 4 {
		slot, sum := sign(p)
		copy(slot, sum[:])
	}
	before := bytes.Clone(program)
	for at := 2*page - 8; at < 2*page+8; at++ { // in two pages
		program[at] ^= 0xff
	}
	check(t, resign(program, 2*page-8, 2*page+8))
	for p := range 4 {
		if slot, sum := sign(p); !bytes.Equal(slot, sum[:]) {
			t.Errorf("page %d does not have its hash", p)
		}
	}
	for n := range program { // whatever is cut off, nothing panics
		resign(bytes.Clone(before[:n]), 2*page-8, min(n, 2*page+8))
	}
	big.PutUint32(before[length+20+12:], 0)
	wantError(t, "not the linker's", resign(before, 0, 1), "somebody has signed")
}

// FuzzTrailer gives parseTrailer any last bytes, their checksum put right so that the checks behind
// it are reached too.
func FuzzTrailer(f *testing.F) {
	f.Add(trailer{program: 100, offset: bundleAlign, length: 1000}.encode(),
		int64(bundleAlign+1000+trailerSize))
	f.Add(trailer{program: math.MaxInt64, offset: math.MinInt64, length: -1}.encode(),
		int64(math.MaxInt64))
	f.Add([]byte("no trailer"), int64(10))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		check := func() {
			x, ok, err := parseTrailer(b, size)
			if ok && (err != nil || x.program <= 0 || x.offset < x.program ||
				x.offset%bundleAlign != 0 || x.length < 0 ||
				x.offset+x.length+trailerSize != size) {
				t.Fatalf("%+v in a file of %d bytes, %v", x, size, err)
			}
		}
		if size < 0 {
			return
		}
		check()
		if len(b) == trailerSize {
			b = bytes.Clone(b)
			copy(b, bundleMagic)
			binary.LittleEndian.PutUint32(b[44:], crc32.ChecksumIEEE(b[:44]))
			check()
		}
	})
}
