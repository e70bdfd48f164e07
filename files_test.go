package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestReadUnmapped reads what cannot be mapped, and refuses a size that only a hole in a file can
// have.
func TestReadUnmapped(t *testing.T) {
	f := must(os.Open(file(t, "x", "0123456789")))
	defer f.Close()
	if data := must(readUnmapped(f, 3, 5)); string(data) != "34567" {
		t.Errorf("got %q", data)
	}
	if _, err := readUnmapped(f, 3, 8); !errors.Is(err, io.EOF) {
		t.Errorf("bytes past the end: %v", err)
	}
	_, err := readUnmapped(f, 0, maxRead+1)
	wantWhole(t, "a huge file", err, "17179869185 bytes can neither be mapped nor read into memory")
}

// writing is a function that writes a text.
func writing(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

// TestReplaceFile writes files whole or not at all, and leaves nothing else behind.
func TestReplaceFile(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "file")
	const none = "<nil>"
	for _, test := range []struct {
		path  string
		write func(io.Writer) error
		err   string
		want  string // of path; "" for no file
	}{
		{path, writing("first"), none, "first"},
		{path, func(w io.Writer) error {
			if _, err := w.Write(make([]byte, 5<<20)); err != nil {
				return err
			}
			return errors.New("x.pt: cut short")
		}, "x.pt: cut short", "first"}, // the fault is not the output's
		{path, writing("second"), none, "second"},
		{filepath.Join(folder, strings.Repeat("n", 255)), writing("long"), none, "long"},
		{filepath.Join(folder, "no", "x"), writing("x"),
			"writing " + filepath.Join(folder, "no", "x") +
				" (5.0 MB): ", ""},
		{folder, writing("x"), "writing " + folder + " (5.0 MB): not a regular file", ""},
	} {
		err := replaceFile(test.path, 0o644, 5_000_000, test.write)
		if got := fmt.Sprint(err); !strings.HasPrefix(got, test.err) {
			t.Errorf("%s, want %s", got, test.err)
		}
		if got, _ := os.ReadFile(test.path); string(got) != test.want {
			t.Errorf("%.20q; want %q", got, test.want)
		}
		if left, _ := filepath.Glob(filepath.Join(folder, ".*")); left != nil {
			t.Errorf("left over: %q", left)
		}
	}
	func() {
		defer func() { recover() }()
		replaceFile(path, 0o644, 0, func(w io.Writer) error { panic("a fault") })
	}()
	if left, _ := filepath.Glob(filepath.Join(folder, ".*")); left != nil {
		t.Errorf("left over by a fault: %q", left)
	}
}

// TestReplaceFileKeepsMode replaces files that have a mode already.
func TestReplaceFileKeepsMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there files have no such modes")
	}
	path := filepath.Join(t.TempDir(), "file")
	for _, test := range []struct{ before, mode, want fs.FileMode }{
		{0o600, 0o666, 0o600}, {0o666, 0o600, 0o666}, {0o600, 0o755, 0o700}, {0o644, 0o755, 0o755},
	} {
		os.WriteFile(path, nil, 0o600)
		os.Chmod(path, test.before)
		err := replaceFile(path, test.mode, 0, func(w io.Writer) error { return nil })
		if info, _ := os.Stat(path); err != nil || info.Mode() != test.want {
			t.Errorf("%v over %v: %v, %v; want %v", test.mode, test.before, info.Mode(), err,
				test.want)
		}
	}
}

// TestWriteFileThroughLinks writes where links lead, also if nothing is there yet.
func TestWriteFileThroughLinks(t *testing.T) {
	root := folderOf(t, map[string]string{
		"a/b/file": "old", "folder": "-> a/b", // "../" behind folder is a, not the root
		"link": "-> a/b/file", "second": "-> link", "dangling": "-> folder/../new",
		"a/b/up": "-> ../up", "circle": "-> circle",
	})
	for name, target := range map[string]string{
		"link": "a/b/file", "second": "a/b/file", "dangling": "a/new", "folder/up": "a/up",
	} {
		name, target = filepath.Join(root, name), filepath.Join(root, target)
		check(t, writeFile(name, writing(name)))
		if data := must(os.ReadFile(target)); string(data) != name {
			t.Errorf("%s: %q", name, data)
		}
		for path, kind := range map[string]fs.FileMode{target: 0, name: fs.ModeSymlink} {
			if got := must(os.Lstat(path)).Mode().Type(); got != kind {
				t.Errorf("%s is %v", path, got)
			}
		}
	}
	circle := filepath.Join(root, "circle")
	err := writeFile(circle, func(io.Writer) error { return nil })
	wantWhole(t, "a circle", err, "writing "+circle+": too many links")
}

// TestMemoryLeft reads what Linux tells about memory.
func TestMemoryLeft(t *testing.T) {
	const meminfo = "MemTotal:       24000000 kB\nMemFree:  5 kB\nMemAvailable:    1000 kB\n" +
		"SwapFree:          24 kB\n"
	limits := func(soft string) string {
		return "Limit                     Soft Limit           Hard Limit           Units     \n" +
			"Max file size             unlimited            unlimited            bytes     \n" +
			"Max address space         " + soft + "              unlimited            bytes     \n"
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  uint64
		ok    bool
	}{
		"nothing":     {nil, math.MaxUint64, false},
		"the machine": {map[string]string{"proc/meminfo": meminfo}, 1024 << 10, true},
		"no limits": {map[string]string{"proc/meminfo": meminfo,
			"proc/self/limits":         limits("unlimited"),
			"sys/fs/cgroup/memory.max": "max\n"}, 1024 << 10, true},
		"a container": {map[string]string{"proc/meminfo": meminfo,
			"sys/fs/cgroup/memory.max": "500000\n", "sys/fs/cgroup/memory.current": "400000\n"},
			100000, true},
		"ulimit -v": {map[string]string{"proc/meminfo": meminfo,
			"proc/self/limits": limits("900000"),
			"proc/self/statm":  "10 5 1 1 0 2 0\n"}, 900000 - 10*uint64(os.Getpagesize()), true},
		"more than the limit": {map[string]string{"proc/self/limits": limits("9"),
			"proc/self/statm": "10 5"}, 0, true},
		"damaged": {map[string]string{"proc/meminfo": "MemAvailable:\nMemAvailable: x kB"},
			math.MaxUint64, false},
	} {
		if got, ok := memoryLeft(folderOf(t, c.files)); got != c.want || ok != c.ok {
			t.Errorf("%s: %d, %v, want %d, %v", name, got, ok, c.want, c.ok)
		}
	}
}

func TestEnoughMemory(t *testing.T) {
	wantError(t, "little", enoughMemory(1<<20, "this test"), "")
	wantWhole(t, "too much", enoughMemory(85e9, "a run of x"),
		"a run of x needs 85.0 GB of memory, and the most that is taken here is 34.4 GB")
	if left, ok := memoryAtFirst(); ok && left < maxMemory {
		wantError(t, "more than there is", enoughMemory(maxMemory, "a run of x"),
			"a run of x needs 34.4 GB of memory, and this machine has ")
	}
}
