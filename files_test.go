package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestReadRefused reads a file, and weights behind another one's bytes as in a bundle, where the
// file system refuses a mapping; but not where memory is what lacks.
func TestReadRefused(t *testing.T) {
	weights := encodeCheckpoint(randomCheckpoint(Config{1, 1, 64, 8, 300}, 256, "F32"), 3)
	path := file(t, "x", string(make([]byte, bundleAlign))+string(weights))
	for _, refusal := range []error{
		syscall.EINVAL, syscall.EACCES, syscall.EPERM, errors.ErrUnsupported,
	} {
		set(t, &mapFile, func(*os.File, int64, int) ([]byte, func() error, error) {
			return nil, nil, refusal
		})
		data, release, err := readRange(path, bundleAlign+8, 2)
		if string(data) != `{"` || release != nil || err != nil {
			t.Errorf("%v: %q, %v", refusal, data, err)
		}
		if m, _, err := openModel(path, bundleAlign, int64(len(weights)), 1); err != nil {
			t.Errorf("%v: %+v, %v", refusal, m, err)
		}
	}
	set(t, &mapFile, func(*os.File, int64, int) ([]byte, func() error, error) {
		return nil, nil, errNoMemory
	})
	_, _, err := readRange(path, 1, 2)
	wantWhole(t, "without memory", err,
		"mapping its 2 bytes into memory: "+errNoMemory.Error())
}

// writing is a function that writes a text.
func writing(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

// TestReplaceFile writes files whole or not at all, and leaves nothing else behind. It says
// beforehand what writing would say, as far as that can be known.
func TestReplaceFile(t *testing.T) {
	root := folderOf(t, map[string]string{"file": "first", "circle": "-> circle", "to": "-> no/x"})
	in := func(name string) string { return filepath.Join(root, name) }
	cutShort := func(w io.Writer) error {
		if _, err := w.Write(make([]byte, 5<<20)); err != nil {
			return err
		}
		return errors.New("x.pt: cut short")
	}
	for _, test := range []struct {
		path  string
		write func(io.Writer) error
		err   string
		want  string // of path; "" for no file
	}{
		{in("file"), cutShort, "x.pt: cut short", "first"}, // the fault is not the output's
		{in("file"), writing("second"), "", "second"},
		{in(strings.Repeat("n", 255)), writing("long"), "", "long"},
		{in("no/x"), writing("x"), "writing " + in("no/x") + " (5.0 MB): ", ""},
		{in("to"), writing("x"), "writing " + in("to") + " (5.0 MB): ", ""},
		{in("circle"), writing("x"), "writing " + in("circle") + " (5.0 MB): too many links", ""},
		{root, writing("x"), "writing " + root + " (5.0 MB): not a regular file", ""},
	} {
		said := writable(test.path)
		if says(said, "") != (test.want != "") {
			t.Errorf("before writing %s: %v", test.path, said)
		}
		wantError(t, test.path, replaceFile(test.path, 0o644, 5_000_000, test.write), test.err)
		if got, _ := os.ReadFile(test.path); string(got) != test.want {
			t.Errorf("%.20q; want %q", got, test.want)
		}
	}
	func() {
		defer func() { recover() }()
		replaceFile(in("file"), 0o644, 0, func(w io.Writer) error { panic("a fault") })
	}()
	wantError(t, "no file", writable(os.DevNull), "")
	if left := must(os.ReadDir(root)); len(left) != 4 {
		t.Errorf("left are %q", left)
	}
	os.Chmod(root, 0o555)
	defer os.Chmod(root, 0o755)
	err := writable(in("new"))
	if os.Getuid() != 0 && runtime.GOOS != "windows" {
		wantError(t, "a folder to read only", err, "permission denied")
	}
}

// TestReplaceFileNoSpace runs out of space: that is what failed, also if the writer met it.
func TestReplaceFileNoSpace(t *testing.T) {
	path := filepath.Join(smallDisk(t), "x")
	for length, size := range map[int]int64{1 << 16: 0, 1 << 20: 1_000_000} {
		err := replaceFile(path, 0o644, size, writing(strings.Repeat("x", length)))
		unit := map[int64]string{1_000_000: " (1.0 MB)"}[size]
		wantWhole(t, "a full disk", err, "writing "+path+unit+": no space left on device")
		if left := leftovers(path); len(left) > 0 || isFile(path) {
			t.Errorf("left over: %q", left)
		}
	}
}

// TestReplaceFileKeepsMode replaces files that have a mode already.
func TestReplaceFileKeepsMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there files have no such modes")
	}
	path := file(t, "file", "")
	for _, test := range []struct{ before, mode, want fs.FileMode }{
		{0o600, 0o666, 0o600}, {0o666, 0o600, 0o666}, {0o600, 0o755, 0o700}, {0o644, 0o755, 0o755},
	} {
		check(t, os.Chmod(path, test.before))
		check(t, replaceFile(path, test.mode, 0, writing("x")))
		if got := must(os.Stat(path)).Mode(); got != test.want {
			t.Errorf("%v over %v: %v; want %v", test.mode, test.before, got, test.want)
		}
	}
}

// TestReplaceFileThroughLinks writes where links lead, also if nothing is there yet.
func TestReplaceFileThroughLinks(t *testing.T) {
	root := folderOf(t, map[string]string{
		"a/b/file": "old", "folder": "-> a/b", // "../" behind folder is a, not the root
		"link": "-> a/b/file", "second": "-> link", "dangling": "-> folder/../new",
		"a/b/up": "-> ../up",
	})
	for name, target := range map[string]string{
		"link": "a/b/file", "second": "a/b/file", "dangling": "a/new", "folder/up": "a/up",
	} {
		name, target = filepath.Join(root, name), filepath.Join(root, target)
		check(t, replaceFile(name, 0o644, 0, writing(name)))
		if data := must(os.ReadFile(target)); string(data) != name {
			t.Errorf("%s: %q", name, data)
		}
		for path, kind := range map[string]fs.FileMode{target: 0, name: fs.ModeSymlink} {
			if got := must(os.Lstat(path)).Mode().Type(); got != kind {
				t.Errorf("%s is %v", path, got)
			}
		}
	}
}

// TestMemoryLeft reads what Linux tells about memory.
func TestMemoryLeft(t *testing.T) {
	const meminfo = "proc/meminfo MemTotal:   24000000 kB\nMemFree:  5 kB\n" +
		"MemAvailable:    1000 kB\nSwapFree:          24 kB\n"
	const limit = "proc/self/limits Max file size        unlimited       unlimited       bytes\n" +
		"Max address space    "
	const statm, most, inUse = "proc/self/statm 10 5 1 1 0 2 0\n", "sys/fs/cgroup/memory.max ",
		"sys/fs/cgroup/memory.current "
	taken := uint64(10*os.Getpagesize() + 128<<20) // with arenas
	for want, files := range map[uint64][]string{
		maxMemory:     {"proc/meminfo MemAvailable:\nMemAvailable: x kB"},
		1024 << 10:    {meminfo, limit + "unlimited", most + "max\n"},
		100_000:       {meminfo, most + "500000\n", inUse + "400000\n"},
		900_000:       {meminfo, limit + fmt.Sprint(taken+900_000), statm},
		0:             {limit + "9", statm},
		maxMemory / 2: {"proc/meminfo MemAvailable: 16777216 kB"},
	} {
		root := t.TempDir()
		for _, file := range files {
			name, content, _ := strings.Cut(file, " ")
			write(t, filepath.Join(root, name), content)
		}
		if got := memoryLeft(root); got != want {
			t.Errorf("%q: %d, want %d", files, got, want)
		}
	}
}

func TestEnoughMemory(t *testing.T) {
	wantError(t, "little", enoughMemory(1<<20, "this test"), "")
	wantError(t, "too much", enoughMemory(85e9, "a run of x"), "a run of x needs 85.0 GB of memory")
	set(t, &memoryAtFirst, func() uint64 { return 41_500_000 })
	wantWhole(t, "more than there is", enoughMemory(41_600_000, "a run of x"),
		"a run of x needs 41.6 MB of memory, and a run can have 41.5 MB here")
}

// TestLocked opens a file that somebody else has: it is refused until that is closed, or until it
// has got another name and is another file.
func TestLocked(t *testing.T) {
	path := file(t, "x", "a line")
	holder := must(openLocked(path, 0o644))
	if _, err := openLocked(path, 0o644); err != errInUse {
		t.Errorf("while somebody has it: %v", err)
	}
	if data, err := io.ReadAll(holder); string(data) != "a line" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	check(t, os.Rename(path, path+".done"))
	must(openLocked(path, 0o644)).Close()
	holder.Close()
	must(openLocked(path+".done", 0o644)).Close()
	_, err := openLocked(filepath.Join(path, "below a file"), 0o644)
	if err == nil || err == errInUse {
		t.Errorf("where there is no folder: %v", err)
	}
}

func TestSameName(t *testing.T) {
	root := folderOf(t, map[string]string{"a/x": "", "link": "-> a", "a/y": "-> z"})
	capitals, dots := runtime.GOOS == "windows" || runtime.GOOS == "darwin",
		runtime.GOOS == "windows"
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"a/new", "a/new", true}, {"a/new", "a/../a/new", true}, {"a/new", "link/new", true},
		{"a/y", "link/z", true}, {"a/new", "new", false}, {"a/new", "a/New", capitals},
		{"no/new", "no/new", true}, {"no/new", "no/New", capitals},
		{"a/new", "a/new. ", dots}, {"a/n.", "a/n..", dots},
	} {
		a, b := filepath.Join(root, test.a), filepath.Join(root, test.b)
		if sameName(a, b) != test.same || sameName(b, a) != test.same {
			t.Errorf("%s and %s: want %v", test.a, test.b, test.same)
		}
	}
}
