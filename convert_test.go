package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
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
		{1, 0x3c00, 0x3f80},
		{-1.5, 0xbe00, 0xbfc0},
		{0.1, 0x2e66, 0x3dcd},
		{1.0 / 3, 0x3555, 0x3eab},
		{65504, 0x7bff, 0x4780},
		{65519.996, 0x7bff, 0x4780},
		{65520, 0x7c00, 0x4780},
		{-65520, 0xfc00, 0xc780},
		{6.1035156e-05, 0x0400, 0x3880}, // 2⁻¹⁴, the smallest normal binary16
		{6.1e-05, 0x03ff, 0x3880},       // below it
		{6.1005354e-05, 0x0400, 0x3880}, // half a step below it: a tie, to even
		{5.9604645e-08, 0x0001, 0x3380}, // 2⁻²⁴, the smallest binary16
		{2.9802322e-08, 0x0000, 0x3300}, // half of it: a tie, to even
		{2.9802326e-08, 0x0001, 0x3300}, // a little more than half
		{8.940697e-08, 0x0002, 0x33c0},  // one and a half of it: a tie, to even
		{1e-45, 0x0000, 0x0000},         // the smallest float32
		{9.1835e-41, 0x0000, 0x0001},    // the smallest bfloat16
		{3.3895314e38, 0x7c00, 0x7f7f},  // the largest bfloat16
		{3.3961775e38, 0x7c00, 0x7f80},  // half a step more: a tie, to even, which is infinity
		{3.3961773e38, 0x7c00, 0x7f7f},  // a little less
		{3.4028235e38, 0x7c00, 0x7f80},  // the largest float32
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
	ck := must(openSafetensorsAt(path, offset, length))
	defer ck.close()
	if want := map[string]string{"format": "pt", "source": name,
		"n_head": "2"}; !reflect.DeepEqual(ck.meta, want) {
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
				must(convert(source, out, format, 0))
				checkLean(t, out, 0, -1, want, "tiny-gpt2")

				// Again, from what was just written: the name and the heads are in it.
				again := filepath.Join(t.TempDir(), "again.safetensors")
				must(convert(out, again, asStored, 0))
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
	must(convert(tinySource(t, "mixed-zip"), out, asStored, 0))
	ck := must(openSafetensors(out))
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
		l := must(newLean(ck, format, 0))
		size := int(l.size())
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
	must(convert(tinySource(t, "shared-zip"), source, f32, 0))
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
		_, err := convert(source, out, c.to, 0)
		checkAlone(t, out)
		if !c.ok {
			wantError(t, fmt.Sprint(c), err, `tensor "ln_f.bias": the weight`)
			if after, _ := os.ReadFile(out); !bytes.Equal(before, after) {
				t.Errorf("%g to %s: the file is another", c.x, c.to)
			}
			continue
		}
		check(t, err)
		ck := must(openSafetensors(out))
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
		_, err := convert(c.in, c.out, f32, 0)
		if !says(err, c.want) || strings.Contains(err.Error(), ".tmp") {
			t.Errorf("%s to %s: %v", c.in, c.out, err)
		}
	}
	checkAlone(t, text)
	if runtime.GOOS != "windows" {
		_, err := convert(good, os.DevNull, f32, 0)
		wantError(t, "to a device", err, "not a regular file")
	}
}
