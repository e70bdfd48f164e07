package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// Every 16-bit number comes back from float32 as itself. Between two neighbours, what is nearer to
// one becomes that one, and the midpoint becomes the even one: with the exact float32s beside each
// midpoint this covers every decision that rounding takes.
func TestNarrow(t *testing.T) {
	for _, f := range []struct {
		narrow func(float32) uint16
		widen  func(uint16) float32
		last   uint16 // with a midpoint behind it that is an average
	}{{narrowF16, widenF16, 0x7bff}, {narrowBF16, widenBF16, 0x7f7e}} {
		for bits := range 1 << 16 {
			h := uint16(bits)
			x := f.widen(h)
			if x != x {
				if got := f.widen(f.narrow(x)); got == got ||
					math.Signbit(float64(got)) != (h >= 0x8000) {
					t.Fatalf("NaN %#04x becomes %g", h, got)
				}
				continue
			}
			if got := f.narrow(x); got != h {
				t.Fatalf("%#04x = %g becomes %#04x", h, x, got)
			}
			if h&0x7fff > f.last {
				continue
			}
			beyond := f.widen(h + 1)
			// overflow begins where the next number would be, were there one
			if math.IsInf(float64(beyond), 0) {
				beyond = float32(math.Copysign(65536, float64(x)))
			}
			checkMidpoint(t, f.narrow, h, x, beyond)
		}
	}
	// NaNs of which the upper half alone could say infinity
	for _, bits := range []uint32{0x7f800001, 0x7fffffff, 0xff800001} {
		if got := widenBF16(narrowBF16(math.Float32frombits(bits))); got == got {
			t.Errorf("NaN %#x becomes %g", bits, got)
		}
	}
}

// checkMidpoint holds narrow to the rule between x = h and its neighbour away from zero, h + 1.
func checkMidpoint(t *testing.T, narrow func(float32) uint16, h uint16, x, beyond float32) {
	t.Helper()
	middle := float32((float64(x) + float64(beyond)) / 2)
	away := float32(math.Copysign(math.Inf(1), float64(x)))
	even := h + h&1
	below, above := narrow(math.Nextafter32(middle, x)), narrow(math.Nextafter32(middle, away))
	if got := narrow(middle); got != even || below != h || above != h+1 {
		t.Fatalf("around %g, between %#04x and the next: %#04x, %#04x, %#04x", middle, h, below,
			got, above)
	}
}

// Results of numpy's astype(float16) and PyTorch's bfloat16() for the values where something
// happens.
func TestNarrowValues(t *testing.T) {
	for _, c := range []struct {
		x   float32
		f16 uint16
		bf  uint16
	}{
		{0, 0x0000, 0x0000},
		{float32(math.Copysign(0, -1)), 0x8000, 0x8000},
		{0.1, 0x2e66, 0x3dcd},
		{65519.996, 0x7bff, 0x4780},
		{65520, 0x7c00, 0x4780},
		{6.1035156e-05, 0x0400, 0x3880}, // 2⁻¹⁴, the smallest normal binary16
		{6.1e-05, 0x03ff, 0x3880},       // below it
		{6.1005354e-05, 0x0400, 0x3880}, // half a step below it: a tie, to even
		{5.9604645e-08, 0x0001, 0x3380}, // 2⁻²⁴, the smallest binary16
		{2.9802322e-08, 0x0000, 0x3300}, // half of it: a tie, to even
		{2.9802326e-08, 0x0001, 0x3300}, // a little more than half
		{8.940697e-08, 0x0002, 0x33c0},  // one and a half of it: a tie, to even
		{9.1835e-41, 0x0000, 0x0001},    // the smallest bfloat16
		{3.3895314e38, 0x7c00, 0x7f7f},  // the largest bfloat16
		{3.3961775e38, 0x7c00, 0x7f80},  // half a step more: a tie, to even, which is infinity
		{3.3961773e38, 0x7c00, 0x7f7f},  // a little less
		{float32(math.Inf(-1)), 0xfc00, 0xff80},
	} {
		if f, b := narrowF16(c.x), narrowBF16(c.x); f != c.f16 || b != c.bf {
			t.Errorf("%g: %#04x %#04x, want %#04x %#04x", c.x, f, b, c.f16, c.bf)
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
// golden ones.
func checkLean(t *testing.T, path string, offset, length int64, format string, name string) {
	t.Helper()
	ck := must(openFile(path, offset, length))
	defer ck.close()
	if want := map[string]string{"format": "pt", "source": name, "n_head": "2",
		"activation_function": "gelu_new"}; !reflect.DeepEqual(ck.meta, want) {
		t.Errorf("metadata %v, want %v", ck.meta, want)
	}
	m := must(loadModel(ck, 0))
	values := tinyValues(t)
	for i, p := range parameters(m.Config, 16) {
		x := ck.tensors[i]
		if x.name != p.name || format != "" && x.format != format || !reflect.DeepEqual(x.shape,
			p.shape) {
			t.Errorf("tensor %d is %s %s %v, want %s %s %v", i, x.name, x.format, x.shape, p.name,
				format, p.shape)
		} else if got := widened(t, x); !reflect.DeepEqual(got, values[p.name]) {
			t.Errorf("%s: %v, want %v", p.name, got, values[p.name])
		}
	}
	if len(ck.tensors) != len(values) {
		t.Errorf("%d tensors, want %d", len(ck.tensors), len(values))
	}
	data := must(os.ReadFile(path))
	if header := binary.LittleEndian.Uint64(data[offset:]); (8+header)%64 != 0 {
		t.Errorf("the numbers begin at byte %d", 8+header)
	}
}

func TestConvert(t *testing.T) {
	for _, file := range []string{"module-zip", "module-stream", "half-zip", "bfloat16-stream",
		"parameters-zip", "shared-stream",
		"strided-zip", "training-zip"} {
		stored := map[string]string{"half-zip": "F16", "bfloat16-stream": "BF16"}[file]
		if stored == "" {
			stored = "F32"
		}
		for format, want := range map[Format]string{asStored: stored, f32: "F32", f16: "F16",
			bf16: "BF16"} {
			t.Run(file+" "+want, func(t *testing.T) {
				source := tinySource(t, file)
				out := filepath.Join(t.TempDir(), "out.safetensors")
				must(convert(source, out, format, 0, ""))
				checkLean(t, out, 0, -1, want, "tiny-gpt2")

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

// Of a checkpoint in two formats the wide numbers come first, and each number begins at a multiple
// of its size.
func TestConvertMixed(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.safetensors")
	must(convert(tinySource(t, "mixed-zip"), out, asStored, 0, ""))
	ck := must(openFile(out, 0, -1))
	defer ck.close()
	values := tinyValues(t)
	var order []string
	for _, x := range ck.tensors {
		if got := widened(t, x); !reflect.DeepEqual(got, values[x.name]) {
			t.Errorf("%s: %v, want %v", x.name, got, values[x.name])
		}
		if n := len(order); n == 0 || order[n-1] != x.format {
			order = append(order, x.format)
		}
	}
	if want := []string{"F32", "F16"}; len(ck.tensors) != len(values) || !reflect.DeepEqual(order,
		want) {
		t.Errorf("%d tensors, formats in the order %v", len(ck.tensors), order)
	}
}

// A writer that takes no more than so many bytes, as a disk does.
type fullDisk struct{ left int }

func (d *fullDisk) Write(b []byte) (int, error) {
	if len(b) > d.left {
		return d.left, errors.New("no space left on device")
	}
	d.left -= len(b)
	return len(b), nil
}

// However little is missing, a disk that is full is noticed.
func TestLeanFullDisk(t *testing.T) {
	ck := must(openCheckpoint(tinySource(t, "module-zip"), 0, 0))
	defer ck.close()
	for _, format := range []Format{asStored, bf16} {
		l := must(newLean(ck, format, 0, ""))
		size := int(l.size)
		for room := range size {
			if err := l.write(&fullDisk{room}); err == nil {
				t.Fatalf("%d bytes were written where there is room for %d", size, room)
			}
		}
		check(t, l.write(&fullDisk{size}))
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
	out := file(t, "out.safetensors", "what was there before")
	for _, c := range []struct {
		x  float64
		to Format
		ok bool
	}{
		{1e5, f16, false}, {-65520, f16, false}, {1e5, bf16, true}, {3.4e38, bf16, false},
		{3.4e38, f32, true}, {65519, f16, true}, {math.Inf(-1), f16, true},
		{math.Inf(1), bf16, true}, {math.NaN(), f16, true}, {math.NaN(), bf16, true},
	} {
		binary.LittleEndian.PutUint32(last, math.Float32bits(float32(c.x)))
		write(t, source, whole)
		before, _ := os.ReadFile(out)
		_, err := convert(source, out, c.to, 0, "")
		checkAlone(t, out)
		if !c.ok {
			wantError(t, fmt.Sprint(c), err, `tensor "ln_f.bias": the weight`)
			if after, _ := os.ReadFile(out); !bytes.Equal(before, after) {
				t.Errorf("%g to %s: the file is another", c.x, c.to)
			}
			continue
		}
		check(t, err)
		ck := must(openFile(out, 0, -1))
		v := widened(t, ck.tensors[len(ck.tensors)-1])
		ck.close()
		got := float64(v[len(v)-1])
		if math.IsNaN(c.x) != math.IsNaN(got) || math.IsInf(c.x, 0) != math.IsInf(got, 0) ||
			math.Signbit(c.x) != math.Signbit(got) {
			t.Errorf("%g to %s: %g", c.x, c.to, got)
		}
	}
}

func TestConvertErrors(t *testing.T) {
	text := file(t, "text.safetensors", "this is a text, and not a model at all")
	dir := filepath.Dir(text)
	good := tinySource(t, "shared-zip")
	out := filepath.Join(dir, "out.safetensors")
	for _, c := range []struct{ in, out, want string }{
		{filepath.Join(dir, "absent"), out, "absent: "},
		{dir, out, "not a regular file"},
		{text, out, "text.safetensors: "},
		{tinySource(t, "evil-stream"), out, "posix.system"},
		{torchGolden("shared-zip"), out, "heads"}, // no config.json says how many
		{good, dir, "not a regular file"},
		{good, filepath.Join(dir, "absent", "out"), "out (2.4 kB): no such file"},
	} {
		_, err := convert(c.in, c.out, f32, 0, "")
		if !says(err, c.want) || strings.Contains(err.Error(), ".tmp") {
			t.Errorf("%s to %s: %v", c.in, c.out, err)
		}
	}
	checkAlone(t, text)
	if runtime.GOOS != "windows" {
		_, err := convert(good, os.DevNull, f32, 0, "")
		wantError(t, "to a device", err, "not a regular file")
	}
}

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
		m := (&program{stderr: os.Stderr, offline: true}).openModel()
		fmt.Printf("%s has %d heads, %s, ends in %v\n", m.name, m.heads, m.wte.format, m.lnF.bias)
		os.Exit(0)
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
	good := newTrailer(2*page+1, 1000)
	got, ok, err := parseTrailer(good.encode(), size)
	if good.Sum = got.Sum; got != good || !ok || err != nil {
		t.Error(got, ok, err)
	}
	for bit := range trailerSize * 8 {
		b := good.encode()
		b[bit/8] ^= 1 << (bit % 8)
		if _, ok, err := parseTrailer(b, size); ok || bit >= 16*8 && err == nil {
			t.Errorf("bit %d changed: %v, %v", bit, ok, err)
		}
	}
	for _, bad := range [][3]int64{ // length, offset and length of the weights
		{2*page + 1, 3 * page, 999}, {2*page + 1, 3 * page, 1001}, {2*page + 1, 3*page + 1, 999},
		{page, 3 * page, 1000}, {3*page + 1, 3 * page, 1000}, {3*page + 1, 4 * page, 1000 - page},
		{0, 0, size - trailerSize}, {-5, 0, size - trailerSize},
		{math.MaxInt64, alignUp(math.MaxInt64), 0},
		{math.MaxInt64 - 1, math.MinInt64, math.MaxInt64},
	} {
		b := trailer{bundleMagic, bad[0], bad[1], bad[2], trailerVersion, 0}.encode()
		if got, ok, err := parseTrailer(b, size); ok || err == nil {
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
	windows := "MZ and so on"
	exe, model := file(t, "mechpatch", emptyProgram), tinySource(t, "module-zip")
	out := filepath.Join(t.TempDir(), "out")
	for _, c := range []struct{ exe, model, out, want string }{
		{file(t, "text", "#!/bin/sh\n# mechpatch bundle"), model, out,
			"text: not a program for Linux (ELF), Windows (PE) or macOS"},
		{file(t, "ls", "\x7fELF, but another program"), model, out,
			"ls: a program, but not mechpatch"},
		{file(t, "ls.exe", windows), model, out + ".exe", "ls.exe: a program, but not mechpatch"},
		{file(t, "empty", ""), model, out, "empty: not a program"},
		{file(t, "mechpatch.exe", windows+string(bundleMark)), model, out, "must end in .exe"},
		{file(t, "damaged", elf+string(bundleMagic[:])+strings.Repeat("\x00", 32)), model, out,
			"are damaged"},
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
	out += ".exe"
	if _, err := bundle(file(t, "mechpatch.exe", windows+string(bundleMark)), model, out, 0,
		""); err != nil {
		t.Error(err)
	}
	if _, _, ok, err := bundled(out); !ok || err != nil {
		t.Error(ok, err)
	}
}

// Windows starts no program of 4 GiB: a bundle of that size is refused before it is written.
func TestBundleTooLargeForWindows(t *testing.T) {
	if runtime.GOOS == "windows" || math.MaxInt == math.MaxInt32 {
		t.Skip("needs a file of 4 GiB that takes no room")
	}
	ck := randomCheckpoint(Config{1, 1, 4, 1, 1}, 4, "F32")
	var header strings.Builder
	end := 0
	for i, tensor := range ck.tensors {
		if i == 0 { // wte
			tensor.shape[0] = 1 << 28
		}
		size := must(sizeOf("F32", tensor.shape))
		fmt.Fprintf(&header, `,%q:{"dtype":"F32","shape":%s,"data_offsets":[%d,%d]}`, tensor.name,
			shapeString(tensor.shape), end, end+size)
		end += size
	}
	file0 := safetensorsFile("{"+header.String()[1:]+"}", nil)
	model := file(t, "model.safetensors", file0)
	check(t, os.Truncate(model, int64(len(file0)+end)))
	windows := "MZ and so on"
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
	ck := randomCheckpoint(Config{1, 1, 4, 1, 1}, 4, "F32")
	ck.meta["source"] = strings.Repeat("\x01", maxHeader/6)
	_, err := newLean(ck, asStored, 1, "")
	wantError(t, "large", err, "its header, with the vocabulary, would have 100.0 MB")
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

// A program that carries weights knows it, whatever is left of its end.
func TestBundleTruncated(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.exe")
	must(bundle(thisProgram(t), tinySource(t, "module-zip"), out, 0, ""))
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
		{machO + words + "\xfa\xde\x0c\xc0\x00\x00\x00\x3c\x00\x00\x00\x01" +
			strings.Repeat("\x00\x02\x00\x02", 12), "damaged"},
		{machO + words + "\xfa\xde\x0c\xc0\x00\x00\x00\x3c\x00\x00\x00\x03" +
			strings.Repeat("\x00", 48), "somebody has signed"},
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
	f.Add(newTrailer(100, 1000).encode(),
		int64(bundleAlign+1000+trailerSize))
	f.Add(newTrailer(math.MaxInt64, -1).encode(),
		int64(math.MaxInt64))
	f.Add([]byte("no trailer"), int64(10))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		check := func() {
			x, ok, err := parseTrailer(b, size)
			if ok && (err != nil || x.Program <= 0 || x.Offset < x.Program ||
				x.Offset%bundleAlign != 0 || x.Length < 0 ||
				x.Offset+x.Length+trailerSize != size) {
				t.Fatalf("%+v in a file of %d bytes, %v", x, size, err)
			}
		}
		if size < 0 {
			return
		}
		check()
		if len(b) == trailerSize {
			b = bytes.Clone(b)
			copy(b, bundleMagic[:])
			binary.LittleEndian.PutUint32(b[44:], crc32.ChecksumIEEE(b[:44]))
			check()
		}
	})
}
