package main

// Files: weights mapped into memory, and results that are there whole or not at all.

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"unsafe"
)

// readRange returns length bytes of a file from offset on, mapped into memory, and the function
// that ends the mapping. A negative length means up to the end. What the system cannot map is read,
// and there is no function; where it could but refuses, as for lack of memory, that is an error:
// reading would need the same memory.
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
	view, unmap, err := mapView(f, offset-before, int(before+length))
	switch {
	case err == nil:
		return view[before:], noteMapping(view, path, unmap), nil
	case errors.Is(err, errors.ErrUnsupported):
		data, err := readUnmapped(f, offset, length)
		return data, nil, err
	}
	return nil, nil, fmt.Errorf("mapping its %d bytes into memory: %w", length, err)
}

// mappings are the files that are mapped at this moment: where each begins, and ends.
var mappings = struct {
	sync.Mutex
	paths map[[2]uintptr]string
}{paths: map[[2]uintptr]string{}}

// noteMapping notes which file a mapping is of, and returns the function that ends it.
func noteMapping(view []byte, path string, unmap func() error) func() error {
	start := uintptr(unsafe.Pointer(&view[0]))
	place := [2]uintptr{start, start + uintptr(len(view))}
	mappings.Lock()
	defer mappings.Unlock()
	mappings.paths[place] = path
	return func() error {
		mappings.Lock()
		defer mappings.Unlock()
		delete(mappings.paths, place)
		return unmap()
	}
}

// faultAt explains why memory could not be read at an address; nil if no mapped file is there.
func faultAt(address uintptr) error {
	mappings.Lock()
	defer mappings.Unlock()
	for place, path := range mappings.paths {
		if place[0] <= address && address < place[1] {
			return fmt.Errorf("reading %s: it was cut short, or its disk failed, while in use",
				path)
		}
	}
	return nil
}

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

func readUnmapped(f io.ReaderAt, offset, length int64) ([]byte, error) {
	if length > maxRead {
		return nil, fmt.Errorf("%d bytes can neither be mapped nor read into memory", length)
	}
	data := make([]byte, length)
	if _, err := f.ReadAt(data, offset); err != nil {
		return nil, err
	}
	return data, nil
}

const (
	// A mapping must begin at a multiple of mapGranule: Windows' rule, and a multiple of every page
	// size in use.
	mapGranule = 64 << 10
	// maxRead bounds what is read where mapping is not possible. GPT-2 XL in F32 has 6.4 GB; a
	// sparse file can claim any size.
	maxRead = 16 << 30
)

// maxMemory bounds what a run may need beside mapped weights, whatever a file claims: five times
// what GPT-2 XL takes to be converted from PyTorch's form.
const maxMemory = 32 << 30

// enoughMemory is an error if what needs more bytes of memory than the bound, or than this machine
// has left, where it tells.
func enoughMemory(need uint64, what string) error {
	const gb = 1e9
	if need > maxMemory {
		return fmt.Errorf("%s needs %.1f GB of memory, and the most that is taken here is %.1f GB",
			what, float64(need)/gb, float64(maxMemory)/gb)
	}
	if left, ok := memoryAtFirst(); ok && need > left {
		return fmt.Errorf("%s needs %.1f GB of memory, and this machine has %.1f GB left", what,
			float64(need)/gb, float64(left)/gb)
	}
	return nil
}

// memoryAtFirst is what was left when it was first asked for: what the program has taken since, it
// uses again.
var memoryAtFirst = sync.OnceValues(func() (uint64, bool) { return memoryLeft("/") })

// memoryLeft is how many bytes of memory a program can still get, as Linux tells below root: what
// is free on the machine, in its container, and under a limit such as ulimit -v. ok is false where
// nothing tells.
func memoryLeft(root string) (left uint64, ok bool) {
	left = math.MaxUint64
	field := func(file, label string, at int) (n uint64, found bool) {
		data, err := readBounded(filepath.Join(root, file), 1<<16)
		if err != nil {
			return 0, false
		}
		for _, line := range strings.Split(string(data), "\n") {
			words := strings.Fields(strings.TrimPrefix(line, label))
			if strings.HasPrefix(line, label) && at < len(words) {
				n, err = strconv.ParseUint(words[at], 10, 64)
				return n, err == nil
			}
		}
		return 0, false
	}
	limit := func(total, used uint64) {
		left, ok = min(left, total-min(used, total)), true
	}
	if free, known := field("proc/meminfo", "MemAvailable:", 0); known {
		swap, _ := field("proc/meminfo", "SwapFree:", 0)
		limit((free+swap)<<10, 0)
	}
	if most, known := field("sys/fs/cgroup/memory.max", "", 0); known {
		used, _ := field("sys/fs/cgroup/memory.current", "", 0)
		limit(most, used)
	}
	if most, known := field("proc/self/limits", "Max address space", 0); known {
		pages, _ := field("proc/self/statm", "", 0)
		limit(most, pages*uint64(os.Getpagesize()))
	}
	return left, ok
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

// replaceFile writes a file under a temporary name in the same folder, and renames it once it is
// whole. Whatever fails, and whatever signal ends the program, what was there before is still
// there and nothing else. An existing file keeps its mode; mode is a new one's. Links are followed.
// size is that of a large file, which is on the disk before it gets its name, and 0 for a small
// one. An error of write's own is returned as it is.
func replaceFile(name string, mode fs.FileMode, size int64, write func(io.Writer) error) error {
	fail := func(err error) error {
		if size > 0 {
			return fmt.Errorf("writing %s (%.1f MB): %w", name, float64(size)/1e6, reason(err))
		}
		return fmt.Errorf("writing %s: %w", name, reason(err))
	}
	path, err := throughLinks(name)
	if err != nil {
		return fail(err)
	}
	info, err := os.Stat(path)
	exists := err == nil
	if exists {
		if !info.Mode().IsRegular() {
			return fail(errors.New("not a regular file"))
		}
		// A program stays one that can be started by whoever may read it.
		kept := info.Mode().Perm()
		mode = kept | mode&0o111&(kept>>2)
	}

	f, err := createTemporary(path, mode)
	if err != nil {
		return fail(err)
	}
	defer discard(f)
	w := bufio.NewWriterSize(f, 1<<18)
	failure := write(copier{w})
	err = w.Flush() // the first error of the file itself, also if write met it
	if err == nil && failure != nil {
		return failure
	}
	if err == nil && exists {
		err = f.Chmod(mode) // the umask has no say in the mode of a file that was there
	}
	if err == nil && size > 0 {
		err = f.Sync()
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = finish(f, path)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// copier hands a buffer what is written in pieces that it copies. If it handed on a large piece as
// it is, the system would read it, and report a mapped file that was cut short as a fault of the
// file it writes.
type copier struct{ *bufio.Writer }

func (c copier) Write(data []byte) (n int, err error) {
	for n < len(data) && err == nil {
		var m int
		m, err = c.Writer.Write(data[n:min(len(data), n+c.Size()/2)])
		n += m
	}
	return n, err
}

// wholeLines is a file that is cut back to its last whole line where writing fails, as on a full
// disk. A pipe or a device takes nothing back.
type wholeLines struct {
	*os.File
	begun int64 // bytes of a line that has no end yet
}

func (w *wholeLines) Write(data []byte) (int, error) {
	n, err := w.File.Write(data)
	w.begun += int64(n)
	if last := bytes.LastIndexByte(data[:n], '\n'); last >= 0 {
		w.begun = int64(n - last - 1)
	}
	if err == nil {
		return n, nil
	}
	end, _ := w.Seek(0, io.SeekCurrent)
	if info, err := w.Stat(); err == nil && info.Mode().IsRegular() && info.Size() == end {
		end -= w.begun
		w.Truncate(end)
		w.Seek(end, io.SeekStart)
		w.begun = 0
	}
	return n, err
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

// unfinished are the temporary files of this moment.
var unfinished = struct {
	sync.Mutex
	files map[*os.File]bool
}{files: map[*os.File]bool{}}

// createTemporary makes a file in path's folder that must be finished or discarded.
func createTemporary(path string, mode fs.FileMode) (*os.File, error) {
	folder, _ := filepath.Split(path)
	name := folder + fmt.Sprintf(".mechpatch-%016x.tmp", rand.Uint64()) // for long names too
	removeUnfinishedOnSignal()
	unfinished.Lock()
	defer unfinished.Unlock()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err == nil {
		unfinished.files[f] = true
	}
	return f, err
}

// finish gives a temporary file that is whole, and closed, its name.
func finish(f *os.File, path string) error {
	unfinished.Lock()
	defer unfinished.Unlock()
	err := os.Rename(f.Name(), path)
	if err == nil {
		delete(unfinished.files, f)
	}
	return err
}

func discard(f *os.File) {
	unfinished.Lock()
	defer unfinished.Unlock()
	if unfinished.files[f] {
		f.Close()
		os.Remove(f.Name())
		delete(unfinished.files, f)
	}
}

// removeUnfinishedOnSignal has the temporary files removed before a signal ends the program. The
// signal ends it all the same, so that a shell or a batch system sees which.
var removeUnfinishedOnSignal = sync.OnceFunc(func() {
	signals := make(chan os.Signal, 1)
	for _, s := range deadlySignals() {
		signal.Notify(signals, s)
	}
	go func() {
		s := <-signals
		unfinished.Lock() // for good: nothing gets its name any more
		for f := range unfinished.files {
			f.Close() // Windows removes no open file
			os.Remove(f.Name())
		}
		signal.Reset(s)
		if process, err := os.FindProcess(os.Getpid()); err == nil && process.Signal(s) == nil {
			select {}
		}
		os.Exit(1)
	}()
})

// deadlySignals are the signals that end this program. Those that nohup or a shell's background job
// has it ignore are not among them.
func deadlySignals() []os.Signal {
	var deadly []os.Signal
	for _, s := range endingSignals {
		if !signal.Ignored(s) {
			deadly = append(deadly, s)
		}
	}
	return deadly
}

// readBounded reads a file whole, and refuses one of more than limit bytes, and a pipe.
func readBounded(path string, limit int64) ([]byte, error) {
	file, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	text, err := readAtMost(file, limit)
	return []byte(text), err
}

// readInput is readBounded for what may also come through a pipe.
func readInput(path string, limit int64) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	return readAtMost(file, limit)
}

// readAtMost reads and closes a file. A long one is in memory once, not twice.
func readAtMost(file *os.File, limit int64) (string, error) {
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

func firstBytes(path string, n int64) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, n))
}

// openRegular opens a file, but no folder, device or pipe, whose writer it would wait for.
func openRegular(path string) (*os.File, error) {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, errors.New("not a regular file"))
	}
	return os.Open(path)
}

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

// lazyRegexp compiles an expression when it is first asked for, so that no start waits for it.
func lazyRegexp(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}
