package main

import (
	"bytes"
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
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// bundleRun in the environment makes TestBundleRuns behave as a bundled program does.
const bundleRun = "MECHPATCH_TEST_BUNDLE"

// A bundle finds its weights, and runs, with no other file in its folder; a second one made of the
// first has new weights and not both.
func TestBundleRuns(t *testing.T) {
	if os.Getenv(bundleRun) != "" {
		m, err := (&program{stderr: os.Stderr, offline: true}).openModel()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%s has %d heads, %s, ends in %v\n", m.name, m.heads, m.wte.format, m.lnF.bias)
		os.Exit(0)
	}

	if err := exec.Command(thisProgram(t), "-test.run=^$").Run(); err != nil {
		t.Skip("this machine cannot start the test's own program, as under an emulator: ", err)
	}
	folder := t.TempDir()
	first, second := filepath.Join(folder, "first.exe"), filepath.Join(folder, "second.exe")
	if err := bundle(thisProgram(t), tinySource(t, "module-zip"), first); err != nil {
		t.Fatal(err)
	}
	small := filepath.Join(t.TempDir(), "small.safetensors")
	if err := convert(tinySource(t, "module-zip"), small, f16); err != nil {
		t.Fatal(err)
	}
	if err := bundle(first, small, second); err != nil {
		t.Fatal(err)
	}
	for path, format := range map[string]string{first: "F32", second: "F16"} {
		offset, length, ok, err := bundled(path)
		if err != nil || !ok || offset%bundleAlign != 0 {
			t.Fatal(path, offset, length, ok, err)
		}
		checkLean(t, path, offset, length, format, "tiny-gpt2")
		program, err1 := os.ReadFile(thisProgram(t))
		whole, err2 := os.ReadFile(path)
		if err1 != nil || err2 != nil || !bytes.Equal(whole[:len(program)], program) ||
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
	if info, err := os.Stat(first); err != nil || runtime.GOOS != "windows" &&
		info.Mode().Perm()&0o500 != 0o500 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestNotBundled(t *testing.T) {
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("short"), 0o644); err != nil {
		t.Fatal(err)
	}
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
	const size = 3*bundleAlign + 1000 + trailerSize
	good := trailer{program: 2*bundleAlign + 1, offset: 3 * bundleAlign, length: 1000}
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
		{program: 2*bundleAlign + 1, offset: 3 * bundleAlign, length: 999},
		{program: 2*bundleAlign + 1, offset: 3 * bundleAlign, length: 1001},
		{program: 2*bundleAlign + 1, offset: 3*bundleAlign + 1, length: 999},
		{program: bundleAlign, offset: 3 * bundleAlign, length: 1000},
		{program: 3*bundleAlign + 1, offset: 3 * bundleAlign, length: 1000},
		{program: 3*bundleAlign + 1, offset: 4 * bundleAlign, length: 1000 - bundleAlign},
		{program: 0, offset: 0, length: size - trailerSize},
		{program: -5, offset: 0, length: size - trailerSize},
		{program: math.MaxInt64, offset: alignUp(math.MaxInt64), length: 0},
		{program: math.MaxInt64 - 1, offset: math.MinInt64, length: math.MaxInt64},
	} {
		if got, ok, err := parseTrailer(bad.encode(), size); ok || err == nil {
			t.Errorf("%+v is taken for %+v", bad, got)
		}
	}
	newer := good.encode()[:40]
	newer = binary.LittleEndian.AppendUint32(newer, 2)
	newer = binary.LittleEndian.AppendUint32(newer, crc32.ChecksumIEEE(newer))
	if _, ok, err := parseTrailer(newer, size); ok || err == nil || !strings.Contains(err.Error(),
		"form 2") {
		t.Error(ok, err)
	}
}

func TestBundleErrors(t *testing.T) {
	folder := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	windows := "MZ" + strings.Repeat("\x00", 58) + "\x40\x00\x00\x00PE\x00\x00 and so on"
	exe, model := file("mechpatch", "\x7fELF"+string(bundleMagic)), tinySource(t, "module-zip")
	out := filepath.Join(t.TempDir(), "out")
	for _, c := range []struct{ exe, model, out, want string }{
		{file("text", "#!/bin/sh\n# mechpatch bundle"), model, out,
			"text: not a program for Linux (ELF), Windows (PE) or macOS"},
		{file("dos", "MZ"+strings.Repeat("\xff", 100)), model, out, "dos: not a program"},
		{file("ls", "\x7fELF, but another program"), model, out,
			"ls: a program, but not mechpatch"},
		{file("ls.exe", windows), model, out, "ls.exe: a program, but not mechpatch"},
		{file("empty", ""), model, out, "empty: not a program"},
		{file("mechpatch.exe", windows+string(bundleMagic)), model, out, "must end in .exe"},
		{file("damaged", "\x7fELF"+string(bundleMagic)+strings.Repeat("\x00", 32)), model, out,
			"are damaged"},
		{folder, model, out, "not a regular file"},
		{filepath.Join(folder, "absent"), model, out, "absent: "},
		{exe, filepath.Join(folder, "absent"), out, "absent: "},
		{exe, tinySource(t, "evil-zip"), out, "posix.system"},
		{exe, model, filepath.Join(model, "pytorch_model.bin"), "is the model itself"},
		{exe, model, model, "not a regular file"},
	} {
		err := bundle(c.exe, c.model, c.out)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s %s: %v, want %q", c.exe, c.model, c.out, err, c.want)
		}
	}
	if err := bundle(exe, model, exe); err == nil || !strings.Contains(err.Error(),
		"is the program itself") {
		t.Error(err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("an error left a file")
	}
	if out += ".exe"; bundle(file("mechpatch.exe", windows+string(bundleMagic)), model,
		out) != nil {
		t.Error("a Windows program is not bundled")
	}
	if _, _, ok, err := bundled(out); !ok || err != nil {
		t.Error(ok, err)
	}
}

// A bundle that was cut off while it was copied is a program without weights.
func TestBundleTruncated(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.exe")
	if err := bundle(thisProgram(t), tinySource(t, "module-zip"), out); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, lost := range []int64{1, trailerSize, 1000} {
		if err := os.Truncate(out, info.Size()-lost); err != nil {
			t.Fatal(err)
		}
		if _, _, ok, err := bundled(out); ok || err != nil {
			t.Errorf("%d bytes lost: %v, %v", lost, ok, err)
		}
	}
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
