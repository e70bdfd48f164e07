package main

// Files: weights mapped into memory, results that are there whole or not at all, and locks.

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// readRange returns length bytes of a file from offset on, mapped into memory, and the function
// that ends the mapping. A negative length means up to the end. Some file systems map nothing, each
// with an error of its own: there the bytes are read, and there is no function. Where memory is
// what lacks, that is an error: reading would need as much.
func readRange(path string, offset, length int64) (data []byte, unmap func() error, err error) {
	defer catchFault(&err)
	f := get(openRegular(path))
	defer f.Close()
	size, before := get(f.Stat()).Size(), offset%mapGranule
	if length < 0 {
		length = size - offset
	}
	require(offset >= 0 && length >= 0 && offset <= size-length,
		"%d bytes from byte %d on lie outside the file of %d bytes", length, offset, size)
	require(length <= math.MaxInt-before, "%d bytes are more than a program of %d bits can address",
		length, strconv.IntSize)
	if length == 0 {
		return nil, nil, nil
	}
	view, end, err := mapFile(f, offset-before, int(before+length))
	switch {
	case err == nil:
		mappings.Store(&view[0], view)
		return view[before:], func() error {
			mappings.Delete(&view[0])
			return end()
		}, nil
	case errors.Is(err, errNoMemory):
		fail("mapping its %d bytes into memory: %w", length, err)
	}
	try(enoughMemory(uint64(length), "a file that cannot be mapped"))
	data = make([]byte, length)
	get(f.ReadAt(data, offset))
	return data, nil, nil
}

const (
	// A mapping must begin at a multiple of mapGranule: Windows' rule, and a multiple of every page
	// size in use.
	mapGranule = 64 << 10
	// hugePage is the size of Linux' huge pages on most processors, in bytes.
	hugePage = 2 << 20
)

// mapFile is mapView, and in tests a file system that refuses.
var mapFile = mapView

// mappings are the files that are mapped at this moment: all bytes of each, by the first.
var mappings sync.Map

// touch has mapped memory brought in before a computation needs it, which Linux does by mapGranule
// bytes. What cannot be read is the affair of whoever needs it. The sum keeps the reads alive.
func touch(data []byte) (sum byte) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { recover() }()
	for i := 0; i < len(data); i += mapGranule {
		sum += data[i]
	}
	return sum
}

// maxMemory bounds what a run may need beside mapped weights, whatever a file claims: five times
// what GPT-2 XL takes to be converted from PyTorch's form.
const maxMemory = 32 << 30

// enoughMemory is an error if what needs more bytes of memory than a run can have.
func enoughMemory(need uint64, what string) error {
	if have := memoryAtFirst(); need > have {
		return fmt.Errorf("%s needs %s of memory, and a run can have %s here", what,
			bytesText(int64(min(need, 1<<62))), bytesText(int64(have)))
	}
	return nil
}

// memoryAtFirst is what was left when it was first asked for: what the program has taken since, it
// uses again.
var memoryAtFirst = sync.OnceValue(func() uint64 { return memoryLeft("/") })

// memoryLeft is how many bytes of memory a run can get: no more than maxMemory, nor than what Linux
// tells below root to be free on the machine, in its container, and under a limit as of ulimit -v.
func memoryLeft(root string) uint64 {
	number := func(file, label string, otherwise uint64) uint64 {
		data, _ := readBounded(filepath.Join(root, file), 1<<16)
		_, rest, _ := strings.Cut("\n"+string(data), "\n"+label)
		n, err := strconv.ParseUint(append(strings.Fields(rest), "")[0], 10, 64)
		if err != nil {
			return otherwise
		}
		return n
	}
	const unlimited = 1 << 53
	free := number("proc/meminfo", "MemAvailable:", unlimited) // kB
	free += number("proc/meminfo", "SwapFree:", 0)
	contained := number("sys/fs/cgroup/memory.max", "", unlimited)
	inUse := number("sys/fs/cgroup/memory.current", "", 0)
	addresses := number("proc/self/limits", "Max address space", unlimited)
	pages := number("proc/self/statm", "", 0)
	const arenas = 128 << 20 // Go's heap takes addresses in pieces of 64 MB
	taken := pages*uint64(os.Getpagesize()) + arenas
	return min(maxMemory, free<<10, contained-min(inUse, contained),
		addresses-min(taken, addresses))
}

// bytesText is a number of bytes for people: "548.1 MB".
func bytesText(n int64) string {
	for i, unit := range []string{"GB", "MB", "kB"} {
		if size := math.Pow10(9 - 3*i); float64(n) >= size {
			return fmt.Sprintf("%.1f %s", float64(n)/size, unit)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// absolute is the file that a path leads to in the end, which need not exist, from the root on.
func absolute(path string) string {
	if end, err := throughLinks(path); err == nil {
		path = end
	}
	folder, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		folder = filepath.Dir(path)
	}
	if whole, err := filepath.Abs(folder); err == nil {
		folder = whole
	}
	return filepath.Join(folder, filepath.Base(path))
}

// sameName tells whether two names that are not there yet will be one file: on Windows and Macs
// capitals do not count, and on Windows dots and blanks at the end.
func sameName(a, b string) bool {
	fold := func(name string) string {
		name = absolute(name)
		if runtime.GOOS == "windows" {
			name = strings.TrimRight(name, ". ")
		}
		if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
			name = strings.ToLower(name)
		}
		return name
	}
	return fold(a) == fold(b)
}

// throughLinks is the file that is written if name is: where links lead, also if nothing is there.
func throughLinks(name string) (string, error) {
	for range 40 { // as many as Linux follows
		target, err := os.Readlink(name)
		if err != nil {
			return name, nil // it is no link
		}
		if !filepath.IsAbs(target) {
			// Put together as text: Join would resolve "..", which leads elsewhere behind a link.
			folder, _ := filepath.Split(name)
			target = folder + target
		}
		name = target
	}
	return "", errors.New("too many links")
}

// writable is the error in which writing a result under this name would end, as far as it can be
// known before there is one: not whether a device takes anything.
func writable(name string) error {
	if isDevice(name) {
		return nil
	}
	trial := errors.New("only tried")
	if err := replaceFile(name, 0o666, 0, func(io.Writer) error { return trial }); err != trial {
		return err
	}
	return nil
}

func isDevice(name string) bool { // or a pipe
	info, err := os.Stat(name)
	return err == nil && !info.Mode().IsRegular() && !info.IsDir()
}

// replaceFile writes a file under a temporary name in the same folder, and renames it once it is
// whole. Whatever fails, and whatever signal ends the program, what was there before is still
// there and nothing else. An existing file keeps its mode; mode is a new one's. Links are followed.
// size is that of a large file, which is on the disk before it gets its name; a small one's is 0,
// and a device takes it as it is. An error of write's own is returned as it is.
func replaceFile(name string, mode fs.FileMode, size int64, write func(io.Writer) error) error {
	var failure error
	err := caught(func() {
		if size == 0 && isDevice(name) {
			f := get(os.OpenFile(name, os.O_WRONLY, 0))
			defer f.Close()
			try(write(f))
			return
		}
		f, path := createTemporary(name, mode)
		defer discard(f)
		w := bufio.NewWriterSize(f, 1<<18)
		failure = caught(func() { try(write(w)) })
		try(w.Flush()) // the first error of the file itself, also if write met it
		if failure != nil {
			return
		}
		if size > 0 {
			try(f.Sync())
		}
		try(f.Close()) // Windows renames no open file
		try(os.Rename(f.Name(), path))
	})
	if err == nil {
		return failure
	}
	if size > 0 {
		name += " (" + bytesText(size) + ")"
	}
	return fmt.Errorf("writing %s: %w", name, reason(err))
}

// createTemporary makes a temporary file beside path, the file that is written if name is. It must
// be discarded in the end, also where it has got its name by then.
func createTemporary(name string, mode fs.FileMode) (f *os.File, path string) {
	path = get(throughLinks(name))
	old, err := regular(path)
	require(err != errNotRegular, "%w", err)
	if old != nil { // a program stays one that can be started by whoever may read it
		kept := old.Mode().Perm()
		mode = kept | mode&0o111&(kept>>2)
	}
	unfinished.Lock()
	defer unfinished.Unlock()
	folder, _ := filepath.Split(path)
	f = get(os.OpenFile(folder+".mechpatch-"+rand.Text()+".tmp", os.O_WRONLY|os.O_CREATE|os.O_EXCL,
		mode))
	unfinished.files[f] = true
	if old != nil {
		f.Chmod(mode) // the umask has no say in the mode of a file that was there
	}
	return f, path
}

// unfinished are the temporary files of this moment.
var unfinished = struct {
	sync.Mutex
	files map[*os.File]bool
}{files: map[*os.File]bool{}}

func discard(f *os.File) {
	unfinished.Lock()
	defer unfinished.Unlock()
	f.Close() // Windows removes no open file
	os.Remove(f.Name())
	delete(unfinished.files, f)
}

// endCleanly has the temporary files removed before a signal ends the program. The signal ends it
// all the same, so that a shell or a batch system sees which; but Ctrl-\, SIGQUIT, is taken for
// SIGTERM: Go would print what every goroutine does. What nohup or a shell's background job has the
// program ignore does nothing. Nor does a pipe that nobody reads any more: writing to it fails.
func endCleanly() {
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM,
	} {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	go func() {
		s := <-signals
		unfinished.Lock() // for good: no other is made any more
		for f := range unfinished.files {
			f.Close()
			os.Remove(f.Name())
		}
		if s == syscall.SIGQUIT {
			s = syscall.SIGTERM
		}
		signal.Reset(s)
		if self, err := os.FindProcess(os.Getpid()); err == nil && self.Signal(s) == nil {
			time.Sleep(time.Second)
		}
		os.Exit(1)
	}()
}

// openLocked opens a file that one process at a time may write, for reading and writing, and makes
// it if it is not there. If another process has it, the error is errInUse. The lock ends with the
// file's closing, or with the process, however that ends; the file may be renamed while it is open.
// What cannot be this program's, such as a link that somebody has put there, is replaced.
func openLocked(path string, mode fs.FileMode) (f *os.File, err error) {
	defer catchFault(&err)
	root := get(os.OpenRoot(filepath.Dir(path)))
	defer root.Close()
	for name := filepath.Base(path); ; f.Close() { // whoever had it renamed or removed it
		there, err := root.Lstat(name)
		if err == nil && (!there.Mode().IsRegular() || hasTwoNames(there)) {
			err = root.Remove(name)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			try(err)
		}
		f = get(root.OpenFile(name, os.O_RDWR|os.O_CREATE, mode))
		if !lockFile(f) {
			f.Close()
			return nil, errInUse
		}
		mine, _ := f.Stat()
		if there, _ = root.Lstat(name); os.SameFile(mine, there) {
			return f, nil
		}
	}
}

var errInUse = errors.New("another run is writing it")

// readBounded reads a file whole, and refuses one of more than limit bytes, and a pipe.
func readBounded(path string, limit int64) ([]byte, error) {
	if _, err := regular(path); err != nil {
		return nil, err
	}
	return readInput(path, limit)
}

// readInput is readBounded for what may also come through a pipe.
func readInput(path string, limit int64) (data []byte, err error) {
	defer catchFault(&err)
	file := get(os.Open(path))
	defer file.Close()
	var text bytes.Buffer // at once as large as the file, where that is known
	text.Grow(int(min(get(file.Stat()).Size(), limit)) + bytes.MinRead)
	get(text.ReadFrom(io.LimitReader(file, limit+1)))
	require(int64(text.Len()) <= limit, "more than %d bytes", limit)
	return text.Bytes(), nil
}

// regular is what the system tells of a file, but of no folder, device or pipe, whose writer an
// opening would wait for.
func regular(path string) (fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	return info, err
}

var errNotRegular = errors.New("not a regular file")

func openRegular(path string) (*os.File, error) {
	if _, err := regular(path); err != nil {
		return nil, err
	}
	return os.Open(path)
}

// isFile tells whether path is a file, or a link that leads to one.
func isFile(path string) bool {
	_, err := regular(path)
	return err == nil
}

// reason is what went wrong with a file, without the operation and the paths that the os package
// puts before it.
func reason(err error) error {
	if inPath, ok := errors.AsType[*fs.PathError](err); ok {
		return inPath.Err
	}
	if inLink, ok := errors.AsType[*os.LinkError](err); ok {
		return inLink.Err
	}
	return err
}
