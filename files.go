package main

// Files: weights mapped into memory, results that are there whole or not at all, and locks.

import (
	"bufio"
	"cmp"
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
	"unicode/utf8"
)

// readRange returns length bytes of a file from offset on, mapped into memory, and the function
// that ends the mapping. A negative length means up to the end. Some file systems map nothing, each
// with an error of its own: there the bytes are read, and there is no function. Where memory is
// what lacks, that is an error: reading would need as much.
func readRange(path string, offset, length int64) ([]byte, func() error, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	size := info.Size()
	if length < 0 {
		length = size - offset
	}
	if offset < 0 || length < 0 || offset > size || length > size-offset {
		return nil, nil, fmt.Errorf("%d bytes from byte %d on lie outside the file of %d bytes",
			length, offset, size)
	}
	if length == 0 {
		return nil, nil, nil
	}
	before := offset % mapGranule
	if length > math.MaxInt-before {
		return nil, nil, fmt.Errorf("%d bytes are more than a program of %d bits can address",
			length, strconv.IntSize)
	}
	view, unmap, err := mapFile(f, offset-before, int(before+length))
	if err == nil {
		mappings.Store(&view[0], view)
		return view[before:], func() error {
			mappings.Delete(&view[0])
			return unmap()
		}, nil
	}
	if errors.Is(err, errNoMemory) {
		return nil, nil, fmt.Errorf("mapping its %d bytes into memory: %w", length, err)
	}
	if err := enoughMemory(uint64(length), "a file that cannot be mapped"); err != nil {
		return nil, nil, err
	}
	data := make([]byte, length)
	_, err = f.ReadAt(data, offset)
	return data, nil, err
}

// A mapping must begin at a multiple of mapGranule: Windows' rule, and a multiple of every page
// size in use.
const mapGranule = 64 << 10

// mapFile is mapView, and in tests a file system that refuses.
var mapFile = mapView

// mappings are the files that are mapped at this moment: all bytes of each, by the first.
var mappings sync.Map

// touch has mapped memory brought in before a computation needs it. Linux brings in mapGranule
// bytes at a time. What cannot be read is the affair of whoever needs it. The sum only keeps the
// compiler from leaving out the reading.
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

// enoughMemory is an error if what needs more bytes of memory than the bound, or than this machine
// has left, where it tells.
func enoughMemory(need uint64, what string) error {
	have, where := uint64(maxMemory), "and the most that is taken here is %s"
	if left, ok := memoryAtFirst(); ok && left < have && need <= have {
		have, where = left, "and this machine has %s left"
	}
	if need <= have {
		return nil
	}
	return fmt.Errorf("%s needs %s of memory, "+where, what, bytesText(int64(min(need, 1<<62))),
		bytesText(int64(have)))
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

// memoryAtFirst is what was left when it was first asked for: what the program has taken since, it
// uses again.
var memoryAtFirst = sync.OnceValues(func() (uint64, bool) { return memoryLeft("/") })

// memoryLeft is how many bytes of memory a program can still get, as Linux tells below root: what
// is free on the machine, in its container, and under a limit such as ulimit -v. ok is false where
// nothing tells.
func memoryLeft(root string) (left uint64, ok bool) {
	number := func(file, label string) (n uint64, known bool) {
		data, _ := readBounded(filepath.Join(root, file), 1<<16)
		_, rest, _ := strings.Cut("\n"+string(data), "\n"+label)
		n, err := strconv.ParseUint(append(strings.Fields(rest), "")[0], 10, 64)
		return n, err == nil
	}
	left = math.MaxUint64
	limit := func(most, used uint64) {
		left, ok = min(left, most-min(used, most)), true
	}
	if free, known := number("proc/meminfo", "MemAvailable:"); known {
		swap, _ := number("proc/meminfo", "SwapFree:")
		limit((free+swap)<<10, 0)
	}
	if most, known := number("sys/fs/cgroup/memory.max", ""); known {
		used, _ := number("sys/fs/cgroup/memory.current", "")
		limit(most, used)
	}
	if most, known := number("proc/self/limits", "Max address space"); known {
		pages, _ := number("proc/self/statm", "")
		const arenas = 128 << 20 // Go's heap takes addresses in pieces of 64 MB
		limit(most, pages*uint64(os.Getpagesize())+arenas)
	}
	return left, ok
}

// sameName tells whether two names that are not there yet will be one file: a name in one folder,
// which on Windows and Macs is the same in capitals, and on Windows with dots and blanks behind it.
func sameName(a, b string) bool {
	place := func(name string) (fs.FileInfo, string) {
		if end, err := throughLinks(name); err == nil {
			name = end
		}
		folder, _ := os.Stat(filepath.Dir(name))
		base := filepath.Base(name)
		if runtime.GOOS == "windows" {
			base = strings.TrimRight(base, ". ")
		}
		if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
			base = strings.ToLower(base)
		}
		return folder, base
	}
	folder, base := place(a)
	other, otherBase := place(b)
	return base == otherBase && folder != nil && other != nil && os.SameFile(folder, other)
}

// writeFile is replaceFile for a result. What is there but is no file, such as /dev/null, is
// written to as it is.
func writeFile(name string, write func(io.Writer) error) error {
	if info, err := os.Stat(name); err != nil || info.Mode().IsRegular() {
		return replaceFile(name, 0o666, 0, write)
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err == nil {
		err = errors.Join(write(f), f.Close())
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, reason(err))
	}
	return nil
}

// writable is the error in which writing a result under this name would end, as far as it can be
// known before there is one.
func writable(name string) error {
	if info, err := os.Stat(name); err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		return nil // a device or a pipe: whether it takes anything is seen when it is written to
	}
	f, _, err := beginFile(name, 0o666)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, reason(err))
	}
	discard(f)
	return nil
}

// replaceFile writes a file under a temporary name in the same folder, and renames it once it is
// whole. Whatever fails, and whatever signal ends the program, what was there before is still
// there and nothing else. An existing file keeps its mode; mode is a new one's. Links are followed.
// size is that of a large file, which is on the disk before it gets its name, and 0 for a small
// one. An error of write's own is returned as it is.
func replaceFile(name string, mode fs.FileMode, size int64, write func(io.Writer) error) error {
	f, path, err := beginFile(name, mode)
	if err == nil {
		defer discard(f)
		w := bufio.NewWriterSize(f, 1<<18)
		failure := write(w)
		err = w.Flush() // the first error of the file itself, also if write met it
		if err == nil && failure != nil {
			return failure
		}
	}
	if err == nil && size > 0 {
		err = f.Sync()
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil && size > 0 {
		name += " (" + bytesText(size) + ")"
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, reason(err))
	}
	return nil
}

// beginFile makes a temporary file for path, the file that is written if name is. It must be
// discarded in the end, also where it has got its name by then.
func beginFile(name string, mode fs.FileMode) (f *os.File, path string, err error) {
	path, err = throughLinks(name)
	if err != nil {
		return nil, "", err
	}
	info, statErr := os.Stat(path)
	if statErr == nil && !info.Mode().IsRegular() {
		return nil, "", errNotRegular
	}
	if statErr == nil { // a program stays one that can be started by whoever may read it
		kept := info.Mode().Perm()
		mode = kept | mode&0o111&(kept>>2)
	}
	folder, _ := filepath.Split(path)
	unfinished.Lock()
	defer unfinished.Unlock()
	f, err = os.OpenFile(folder+".mechpatch-"+rand.Text()+".tmp", os.O_WRONLY|os.O_CREATE|os.O_EXCL,
		mode)
	if err == nil {
		unfinished.files[f] = true
	}
	if err == nil && statErr == nil {
		f.Chmod(mode) // the umask has no say in the mode of a file that was there
	}
	return f, path, err
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

// beside is path with a suffix. Where that leaves a name of more than 255 bytes, path's is cut.
func beside(path, suffix string) string {
	folder, name := filepath.Split(path)
	for len(name)+len(suffix) > 255 {
		_, last := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-last]
	}
	return folder + name + suffix
}

// endCleanly has the temporary files removed before a signal ends the program. The signal ends it
// all the same, so that a shell or a batch system sees which; but Ctrl-\, SIGQUIT, is taken for
// SIGTERM: Go would print what every goroutine does. What nohup or a shell's background job has the
// program ignore does nothing. Nor does a pipe that nobody reads any more: writing to it fails.
func endCleanly() {
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 1)
	for _, s := range endingSignals {
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
		if process, err := os.FindProcess(os.Getpid()); err == nil && process.Signal(s) == nil {
			time.Sleep(time.Second)
		}
		os.Exit(1)
	}()
}

// endingSignals are the signals that end a program unless it takes care of them. Windows knows two
// of them: Ctrl-C, and the closing of the window or of the session.
var endingSignals = []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM}

// openLocked opens a file that one process at a time may write, for reading and writing, and makes
// it if it is not there. If another process has it, the error is errInUse. The lock ends with the
// file's closing, or with the process, however that ends; the file may be renamed while it is open.
// What is there but cannot be this program's, such as a link that somebody else has put there, is
// not followed but replaced.
func openLocked(path string, mode fs.FileMode) (*os.File, error) {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	name := filepath.Base(path)
	for {
		there, err := root.Lstat(name)
		if err == nil && (!there.Mode().IsRegular() || hasTwoNames(there)) {
			err = root.Remove(name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE, mode)
		if err != nil {
			return nil, err
		}
		if !lockFile(f) {
			f.Close()
			return nil, errInUse
		}
		mine, err := f.Stat()
		there, statErr := root.Lstat(name)
		if err == nil && statErr == nil && os.SameFile(mine, there) {
			return f, nil
		}
		f.Close() // whoever had it gave it another name, or removed it
	}
}

var errInUse = errors.New("another run is writing it")

// readBounded reads a file whole, and refuses one of more than limit bytes, and a pipe.
func readBounded(path string, limit int64) ([]byte, error) {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, errNotRegular)
	}
	text, err := readInput(path, limit)
	return []byte(text), err
}

// readInput is readBounded for what may also come through a pipe. A long text is in memory once,
// not twice.
func readInput(path string, limit int64) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	var text strings.Builder
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		text.Grow(int(min(info.Size(), limit)))
	}
	n, err := io.Copy(&text, io.LimitReader(file, limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return text.String(), err
}

// openRegular opens a file, but no folder, device or pipe, whose writer it would wait for.
func openRegular(path string) (*os.File, error) {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, errNotRegular)
	}
	return os.Open(path)
}

var errNotRegular = errors.New("not a regular file")

// isFile tells whether path is a file, or a link that leads to one.
func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// reason is what went wrong with a file, without the operation and the paths that the os package
// puts before it.
func reason(err error) error {
	var inPath *fs.PathError
	var inLink *os.LinkError
	switch {
	case errors.As(err, &inPath):
		return inPath.Err
	case errors.As(err, &inLink):
		return inLink.Err
	}
	return err
}

// quote quotes a name from a file for an error: control characters escaped, not too long.
func quote(name string) string {
	return strconv.Quote(shorten(name))
}

func shorten(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
