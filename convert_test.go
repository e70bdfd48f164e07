package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Every 16-bit number comes back from float32 as itself. Between x = h and its neighbour away from
// zero, h + 1, what is nearer to one becomes that one, and the midpoint becomes the even one: with
// the exact float32s beside each midpoint this covers every decision that rounding takes.
func TestNarrow(t *testing.T) {
	for _, f := range []struct {
		narrow func(float32) uint16
		widen  func(uint16) float32
		last   uint16 // with a midpoint behind it that is an average
	}{{narrowF16, widenF16, 0x7bff}, {narrowBF16, widenBF16, 0x7f7e}} {
		for bits := range 1 << 16 {
			h := uint16(bits)
			x := f.widen(h)
			got := f.narrow(x)
			if again := f.widen(got); got != h && (x == x || again == again || (got^h)>>15 != 0) {
				t.Fatalf("%#04x = %g becomes %#04x", h, x, got) // a NaN may become another
			}
			if h&0x7fff > f.last {
				continue
			}
			beyond := float64(f.widen(h + 1))
			if math.IsInf(beyond, 0) { // overflow begins where the next number would be
				beyond = math.Copysign(65536, beyond)
			}
			middle := float32((float64(x) + beyond) / 2)
			below := f.narrow(math.Nextafter32(middle, x))
			above := f.narrow(math.Nextafter32(middle, float32(2*beyond)))
			if even := f.narrow(middle); even != h+h&1 || below != h || above != h+1 {
				t.Fatalf("around %g, between %#04x and the next: %#04x, %#04x, %#04x", middle, h,
					below, even, above)
			}
		}
	}
	// NaNs of which the upper half alone could say infinity
	for _, bits := range []uint32{0x7f800001, 0x7fffffff, 0xff800001} {
		if got := widenBF16(narrowBF16(math.Float32frombits(bits))); got == got {
			t.Errorf("NaN %#x becomes %g", bits, got)
		}
	}
}

// tinySource puts a PyTorch golden into a folder as pytorch_model.bin with the config.json that it
// needs: its 2 heads do not follow from its width of 4.
func tinySource(t testing.TB, file string) (path string) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "tiny-gpt2")
	path = filepath.Join(folder, "pytorch_model.bin")
	write(t, path, must(os.ReadFile(torchGolden(file))))
	write(t, filepath.Join(folder, "config.json"), `{"model_type": "gpt2", "n_head": 2}`)
	return path
}

// checkLean holds a file to what the converter promises of its output, and its numbers to the
// golden ones. Where its formats are several, the wide one comes first.
func checkLean(t *testing.T, path string, offset, length int64, formats string) {
	t.Helper()
	ck := must(openFile(path, offset, length))
	defer ck.close()
	if want := map[string]string{"format": "pt", "source": "tiny-gpt2", "n_head": "2",
		"activation_function": "gelu_new"}; !reflect.DeepEqual(ck.meta, want) {
		t.Errorf("metadata %v, want %v", ck.meta, want)
	}
	values := tinyValues(t)
	var names, got []string
	for _, x := range ck.tensors {
		names, got = append(names, x.name), append(got, x.format)
		if numbers := widened(x); !slices.Equal(numbers, values[x.name]) {
			t.Errorf("%s: %v, want %v", x.name, numbers, values[x.name])
		}
	}
	got = slices.Compact(got)
	var want []string
	for _, p := range parameters(must(loadModel(ck, 0)).Config, 16) {
		want = append(want, p.name)
	}
	if strings.Join(got, " ") != formats || len(names) != len(want) ||
		len(got) == 1 && !slices.Equal(names, want) {
		t.Errorf("formats %q, names %q; want %q, %q", got, names, formats, want)
	}
	data := must(os.ReadFile(path))
	if header := binary.LittleEndian.Uint64(data[offset:]); (8+header)%64 != 0 {
		t.Errorf("the numbers begin at byte %d", 8+header)
	}
}

func TestConvert(t *testing.T) {
	for file, stored := range map[string]string{"module-stream": "F32", "half-zip": "F16",
		"bfloat16-stream": "BF16", "double-zip": "F32", "strided-zip": "F32",
		"mixed-zip": "F32 F16"} {
		for format, want := range map[Format]string{asStored: stored, f32: "F32", f16: "F16",
			bf16: "BF16"} {
			t.Run(file+" "+want, func(t *testing.T) {
				out := filepath.Join(t.TempDir(), "out.safetensors")
				must(convert(tinySource(t, file), out, format, 0, ""))
				checkLean(t, out, 0, -1, want)

				// Again, from what was just written: the name and the heads are in it.
				again := filepath.Join(t.TempDir(), "again.safetensors")
				must(convert(out, again, asStored, 0, ""))
				if !bytes.Equal(must(os.ReadFile(out)), must(os.ReadFile(again))) {
					t.Error("a lean file is not converted to itself")
				}
			})
		}
	}
}

// checkAlone makes sure that a file is the only one in its folder.
func checkAlone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}

// A weight that a format cannot hold stops the conversion; an infinity or a NaN that was there
// before is kept.
func TestConvertTooLarge(t *testing.T) {
	source := filepath.Join(t.TempDir(), "tiny.safetensors")
	must(convert(tinySource(t, "shared-zip"), source, f32, 0, ""))
	whole := must(os.ReadFile(source))
	last := whole[len(whole)-4:] // of ln_f.bias
	const before = "what was there before"
	out := file(t, "out.safetensors", before)
	for _, c := range []struct {
		x    float64
		to   Format
		want string // what the file ends in
	}{
		{1e5, f16, before}, {-65520, f16, before}, {3.4e38, bf16, before}, {1e5, bf16, "\xc3\x47"},
		{3.4e38, f32, "\x9e\xc9\x7f\x7f"}, {65519, f16, "\xff\x7b"},
		{math.Inf(-1), f16, "\x00\xfc"}, {math.Inf(1), bf16, "\x80\x7f"},
		{math.NaN(), f16, "\x00\x7e"}, {math.NaN(), bf16, "\xc0\x7f"},
	} {
		binary.LittleEndian.PutUint32(last, math.Float32bits(float32(c.x)))
		write(t, source, whole)
		write(t, out, before)
		_, err := convert(source, out, c.to, 0, "")
		checkAlone(t, out)
		fault := ""
		if c.want == before {
			fault = `tensor "ln_f.bias": the weight`
		}
		wantError(t, fmt.Sprint(c), err, fault)
		if written := string(must(os.ReadFile(out))); !strings.HasSuffix(written, c.want) {
			t.Errorf("%g to %s: it ends in %q", c.x, c.to, written[len(written)-4:])
		}
	}
}

func TestConvertErrors(t *testing.T) {
	good, text := tinySource(t, "shared-zip"), file(t, "text.safetensors", "not a model at all")
	dir := filepath.Dir(text)
	out := filepath.Join(dir, "out.safetensors")
	for _, c := range []struct{ in, out, want string }{
		{dir, out, "not a regular file"},
		{tinySource(t, "evil-stream"), out, "posix.system"},
		{torchGolden("shared-zip"), out, "heads"}, // no config.json says how many
		{good, dir, "not a regular file"},
		{good, os.DevNull, "not a regular file"},
		{good, filepath.Join(dir, "absent", "out"), "out (2.4 kB): no such file"},
	} {
		_, err := convert(c.in, c.out, f32, 0, "")
		if !says(err, c.want) || strings.Contains(err.Error(), ".tmp") {
			t.Errorf("%s to %s: %v", c.in, c.out, err)
		}
	}
	checkAlone(t, text)
}

// thisProgram is the test's own executable: a mechpatch program, as far as a bundle is concerned,
// on whatever system the test runs.
func thisProgram(t *testing.T) string {
	t.Helper()
	return must(os.Executable())
}

// emptyProgram is one that weights can be bundled with.
var emptyProgram = elf + string(bundleMark)

// bundledIn finds the weights in a bundle, as its program does.
func bundledIn(path string) (offset, length int64, err error) {
	defer func(own []byte) { bundleMark = own }(bundleMark)
	program := must(os.ReadFile(path))
	at := bytes.Index(program, bundleMark[:markWords])
	bundleMark = program[at:][:len(bundleMark)]
	return ownBundle()(path)
}

// bundleRun in the environment makes TestBundleRuns behave as a bundled program does.
const bundleRun = "MECHPATCH_TEST_BUNDLE"

// A bundle finds its weights, and runs, with no other file in its folder; a second one made of the
// first has new weights and not both.
func TestBundleRuns(t *testing.T) {
	if os.Getenv(bundleRun) != "" {
		m := (&program{stderr: os.Stderr, offline: true}).openModel()
		fmt.Printf("%s has %d heads, %s, ends in %v\n", m.name, m.heads, m.wte.format, m.lnF.bias)
		os.Exit(0)
	}
	if ownBundle() != nil {
		t.Error("a program without weights looks for some")
	}
	if err := exec.Command(thisProgram(t), "-test.run=^$").Run(); err != nil {
		t.Skip("this machine cannot start the test's own program, as under an emulator: ", err)
	}
	folder := t.TempDir()
	first, second := filepath.Join(folder, "first.exe"), filepath.Join(folder, "second.exe")
	must(bundle(thisProgram(t), tinySource(t, "module-zip"), first, 0, ""))
	small := filepath.Join(t.TempDir(), "small.safetensors")
	must(convert(tinySource(t, "module-zip"), small, f16, 0, ""))
	must(bundle(first, small, second, 0, ""))
	size := must(os.Stat(thisProgram(t))).Size()
	for path, format := range map[string]string{first: "F32", second: "F16"} {
		offset, length, err := bundledIn(path)
		if err != nil || offset != alignUp(size) {
			t.Fatal(path, offset, length, err)
		}
		checkLean(t, path, offset, length, format)
		if bytes.Trim(must(os.ReadFile(path))[size:offset], "\x00") != nil {
			t.Errorf("%s: not zeros before the weights", path)
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
	if mode := must(os.Stat(first)).Mode(); runtime.GOOS != "windows" && mode&0o500 != 0o500 {
		t.Errorf("mode %v", mode)
	}
}

// A program that carries weights knows it, whatever is left of its end, and is not misled by what
// is put behind it, such as a signature.
func TestBundleTruncated(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.exe")
	must(bundle(file(t, "program", emptyProgram), tinySource(t, "module-zip"), out, 0, ""))
	size := must(os.Stat(out)).Size()
	offset, length, err := bundledIn(out)
	check(t, err)
	if offset != 1<<16 || offset+length != size {
		t.Error(offset, length, size)
	}
	write(t, out, string(must(os.ReadFile(out)))+"signature")
	if o, l, err := bundledIn(out); o != offset || l != length || err != nil {
		t.Error(o, l, err)
	}
	for _, left := range []int64{size - 1, size - 1000, size / 2} {
		check(t, os.Truncate(out, left))
		_, _, err := bundledIn(out)
		wantError(t, "cut off", err, fmt.Sprintf("out.exe: it was copied incompletely, and "+
			"should have %d bytes", size))
	}
}

func TestBundleErrors(t *testing.T) {
	folder, words := t.TempDir(), string(bundleMark)
	exe, model := file(t, "mechpatch", emptyProgram), tinySource(t, "module-zip")
	exeWindows := file(t, "mechpatch.exe", windows+words)
	out := filepath.Join(t.TempDir(), "out")
	number := func(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }
	for _, c := range []struct{ exe, model, out, want string }{
		{file(t, "text", "#!/bin/sh\n# mechpatch bundle"), model, out,
			"text: not a program for Linux (ELF), Windows (PE) or macOS"},
		{file(t, "empty", ""), model, out, "empty: not a program"},
		{file(t, "ls", elf+", but another program"), model, out,
			"ls: a program, but not mechpatch"},
		{file(t, "ls.exe", windows), model, out + ".exe", "ls.exe: a program, but not mechpatch"},
		{file(t, "two", elf+words+words), model, out, "two: a program, but not mechpatch"},
		{file(t, "cut", emptyProgram[:len(emptyProgram)-1]), model, out, "cut: a program, but not"},
		{file(t, "short", elf+words[:markWords]+number(20)+number(99)), model, out,
			"short: a program, but not mechpatch"},
		{exeWindows, model, out, "must end in .exe"},
		{folder, model, out, "not a regular file"},
		{filepath.Join(folder, "absent"), model, out, "absent: "},
		{exe, filepath.Join(folder, "absent"), out, "absent: "},
		{exe, tinySource(t, "evil-zip"), out, "posix.system"},
		{exe, model, folder, "not a regular file"},
	} {
		_, err := bundle(c.exe, c.model, c.out, 0, "")
		wantError(t, c.exe+" "+c.model+" "+c.out, err, c.want)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("an error left a file")
	}
	must(bundle(exeWindows, model, out+".EXE", 0, ""))
}

// Windows starts no program of 4 GiB: a bundle of that size is refused before it is written.
func TestBundleTooLargeForWindows(t *testing.T) {
	if runtime.GOOS == "windows" || math.MaxInt == math.MaxInt32 {
		t.Skip("needs a file of 4 GiB that takes no room")
	}
	model := sparseModel(t, Config{1, 1, 4, 1, 1 << 28})
	out := filepath.Join(t.TempDir(), "out.exe")
	_, err := bundle(file(t, "mechpatch.exe", windows+string(bundleMark)), model, out, 1, "")
	wantError(t, "4 GiB", err, "out.exe: the bundle would have 4.3 GB, and Windows starts no "+
		"program of 4 GiB")
	if entries := must(os.ReadDir(filepath.Dir(out))); len(entries) > 0 {
		t.Error(entries)
	}
}

// A header beyond the format's limit is refused before anything is written.
func TestConvertLargeHeader(t *testing.T) {
	set(t, &maxHeader, 1_000_000)
	ck := randomCheckpoint(Config{1, 1, 4, 1, 1}, 4, "F32")
	ck.meta["source"] = strings.Repeat("a", int(maxHeader))
	err := caught(func() { newLean(ck, asStored, 1, "") })
	wantError(t, "large", err, "its header, with the vocabulary, would have 1.0 MB")
}

// The vocabulary lies in the header as it is: < takes one byte and not six.
func TestConvertPlainVocabulary(t *testing.T) {
	files := inFolder(t, "testdata/dialects/huggingface")
	files["tokenizer.json"] = `{"added_tokens": [{"id": 8, "content": "` +
		strings.Repeat("<", 5000) + `"}], 
		"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
		"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}`
	folder := folderOf(t, files)
	out := filepath.Join(t.TempDir(), "out.safetensors")
	must(convert(filepath.Join(folder, weightsFile), out, asStored, 0, ""))
	ck := must(openFile(out, 0, -1))
	defer ck.close()
	if said := ck.meta[metaTokenizer]; strings.Count(said, "<") < 5000 || len(said) > 6000 {
		t.Errorf("%d bytes: %.200s", len(said), said)
	}
}

// needsOf reads what a program names, not what it says of others.
func TestNeeds(t *testing.T) {
	const interpreter = "\x00/lib64/ld-linux-x86-64.so.2\x00"
	holds(t, func(program string) string { return needsOf([]byte(program)) }, map[string]string{
		elf: "", elf + "GLIBC_2.34": "", machO + interpreter: "", "": "",
		elf + interpreter + "GLIBC_2.4\x00GLIBC_2.34\x00GLIBC_2.2.5\x00GLIBC_PRIVATE": "/lib64/" +
			"ld-linux-x86-64.so.2 of glibc 2.34 or newer",
		elf + "\x00/lib/ld-musl-x86_64.so.1\x00": "/lib/ld-musl-x86_64.so.1",
	})
}

// The signature of a Mach-O program that Go's linker has made is right again after the mark has
// changed, whose bytes lie in two pages; what others have signed is refused.
func TestMarkSigned(t *testing.T) {
	const page, at = 4 << 10, 2<<12 - 30
	code := bytes.Repeat([]byte("program "), page/2)
	copy(code, machO)
	copy(code[at:], bundleMark)
	signed := func(code []byte) (all []byte) {
		all = bytes.Clone(code)
		for one := range slices.Chunk(code, page) {
			sum := sha256.Sum256(one)
			all = append(all, sum[:]...)
		}
		return all
	}
	program := signed(code)
	mark(program, at, 1<<40+5)
	numbers := binary.LittleEndian.AppendUint64(nil, uint64(len(program)))
	copy(code[at+markWords:], binary.LittleEndian.AppendUint64(numbers, 1<<40+5))
	if !bytes.Equal(program, signed(code)) {
		t.Error("a page does not have its hash")
	}
	foreign := append(program, "\xfa\xde\x0b\x01"...)
	err := caught(func() { mark(foreign, at, 5) })
	wantError(t, "not the linker's", err, "somebody has signed")
}

// FuzzProgram takes any file for a program: what is taken of it is its beginning, with one mark.
func FuzzProgram(f *testing.F) {
	f.Add([]byte(emptyProgram))
	f.Add([]byte(machO + "more" + string(bundleMark) + "and more"))
	f.Add([]byte(elf + string(bundleMark[:markWords]) + "\x28\x00\x00\x00\x00\x00\x00\x00"))
	path := filepath.Join(f.TempDir(), "program")
	f.Fuzz(func(t *testing.T, b []byte) {
		write(t, path, b)
		var program []byte
		var at int
		if caught(func() { program, at = readProgram(path) }) != nil {
			return
		}
		if words := bundleMark[:markWords]; !bytes.HasPrefix(b, program) ||
			bytes.Count(program, words) != 1 || bytes.Index(program, words) != at {
			t.Fatalf("%q of %q, %d", program, b, at)
		}
		needsOf(program)
		if caught(func() { mark(program, at, 5) }) == nil &&
			!bytes.Contains(program[at:], []byte("\x05\x00")) {
			t.Fatalf("%q", program)
		}
	})
}
