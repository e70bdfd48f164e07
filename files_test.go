package main

import (
	"bufio"
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
	}{
		"nothing":     {nil, maxMemory},
		"the machine": {map[string]string{"proc/meminfo": meminfo}, 1024 << 10},
		"no limits": {map[string]string{"proc/meminfo": meminfo,
			"proc/self/limits":         limits("unlimited"),
			"sys/fs/cgroup/memory.max": "max\n"}, 1024 << 10},
		"a container": {map[string]string{"proc/meminfo": meminfo,
			"sys/fs/cgroup/memory.max": "500000\n", "sys/fs/cgroup/memory.current": "400000\n"},
			100000},
		"ulimit -v": {map[string]string{"proc/meminfo": meminfo,
			"proc/self/limits": limits("135117728"), // arenas and 900,000
			"proc/self/statm":  "10 5 1 1 0 2 0\n"}, 900000 - 10*uint64(os.Getpagesize())},
		"more than the limit": {map[string]string{"proc/self/limits": limits("9"),
			"proc/self/statm": "10 5"}, 0},
		"damaged": {map[string]string{"proc/meminfo": "MemAvailable:\nMemAvailable: x kB"},
			maxMemory},
	} {
		if got := memoryLeft(folderOf(t, c.files)); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
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

// TestLocked has a process hold a file's lock, and die: another is refused, and then has it at
// once. A file that got another name meanwhile is another file.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	holder := child(t, "TestLockedChild", "MECHPATCH_TEST_LOCKS="+path)
	out := must(holder.StdoutPipe())
	must(holder.StdinPipe()) // it waits for the end of it
	if err := holder.Start(); err != nil {
		t.Skipf("this program cannot be started here: %v", err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := openLocked(path, 0o644); err != errInUse {
		t.Errorf("while another process has it: %v", err)
	}
	holder.Process.Kill()
	holder.Wait()
	f := must(openLocked(path, 0o644))
	if data, err := io.ReadAll(f); string(data) != "a line" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	check(t, os.Rename(path, path+".done"))
	must(openLocked(path, 0o644)).Close()
	f.Close()
	must(openLocked(path, 0o644)).Close()
	_, err := openLocked(filepath.Join(path, "below a file"), 0o644)
	if err == nil || err == errInUse {
		t.Errorf("where there is no folder: %v", err)
	}
}

// TestLockedChild is what TestLocked starts and kills.
func TestLockedChild(t *testing.T) {
	path := os.Getenv("MECHPATCH_TEST_LOCKS")
	if path == "" {
		t.Skip("runs as a child of TestLocked")
	}
	f := must(openLocked(path, 0o644))
	f.WriteString("a line")
	fmt.Println("locked")
	io.Copy(io.Discard, os.Stdin)
	f.Close()
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

// TestWritable says beforehand what writing would say, and leaves nothing behind.
func TestWritable(t *testing.T) {
	root := folderOf(t, map[string]string{"old": "old", "circle": "-> circle", "to": "-> no/x"})
	for name, want := range map[string]string{
		"new": "", "old": "", "no/x": "writing ", "circle": "too many links", "to": "writing ",
		"": "not a regular file",
	} {
		wantError(t, name, writable(filepath.Join(root, name)), want)
	}
	wantError(t, "no file", writable(os.DevNull), "")
	if left := must(os.ReadDir(root)); len(left) != 3 {
		t.Errorf("left are %q", left)
	}
	os.Chmod(root, 0o555)
	defer os.Chmod(root, 0o755)
	err := writable(filepath.Join(root, "new"))
	if os.Getuid() != 0 && runtime.GOOS != "windows" {
		wantError(t, "a folder to read only", err, "permission denied")
	}
}
