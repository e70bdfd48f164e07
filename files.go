package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
)

// readRange returns length bytes of a file from offset on, mapped into memory if possible, and the function that ends the mapping,
// or nil where the bytes were read. A negative length means up to the end of the file.
func readRange(path string, offset, length int64) ([]byte, func() error, error) {
	info, err := os.Stat(path) // before opening, since opening a pipe waits for its writer
	if err != nil {
		return nil, nil, err
	}
	if info.IsDir() {
		return nil, nil, errors.New("a directory: name the .safetensors file in it")
	}
	if !info.Mode().IsRegular() {
		return nil, nil, errors.New("not a regular file: weights are mapped into memory and cannot come through a pipe or a device")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, nil, err
	}

	size := info.Size()
	if length < 0 {
		length = size - offset
	}
	if offset < 0 || length < 0 || offset > size || length > size-offset {
		return nil, nil, fmt.Errorf("%d bytes from byte %d on lie outside the file of %d bytes", length, offset, size)
	}
	if length == 0 {
		return nil, nil, nil
	}
	before := offset % mapGranule
	if length > math.MaxInt-before {
		return nil, nil, fmt.Errorf("%d bytes are more than a program of %d bits can address", length, strconv.IntSize)
	}
	if view, unmap, err := mapView(f, offset-before, int(before+length)); err == nil {
		return view[before:], unmap, nil
	}
	data, err := readUnmapped(f, offset, length)
	return data, nil, err
}

// readUnmapped reads length bytes of a file from offset on into memory.
func readUnmapped(f *os.File, offset, length int64) ([]byte, error) {
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
	// mapGranule is what the start of a mapping must be a multiple of: Windows' rule, and a multiple of every page size in use.
	mapGranule = 64 << 10
	// maxRead bounds what is read into memory where mapping is not possible. GPT-2 XL in F32, the largest there is, has 6.4 GB;
	// the bound keeps a sparse file, which can claim any size, from taking all memory.
	maxRead = 16 << 30
)

// firstBytes reads up to n bytes of a file.
func firstBytes(path string, n int64) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, n))
}

// openRegular opens a file, but no folder, device or pipe: opening a pipe would wait for its writer.
func openRegular(path string) (*os.File, error) {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, errors.New("not a regular file"))
	}
	return os.Open(path)
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// isFile tells whether path is a file, or a link that leads to one.
func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// readBounded reads a small file whole, and refuses one of more than limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return data, err
}

// reason is what went wrong with a file, without the operation and the paths that the os package puts before it.
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

// quote puts a name from a file in quotation marks, fit for an error of one line: control characters escaped, not too long.
func quote(name string) string {
	return strconv.Quote(shorten(name))
}

// shorten shortens a text from a file for an error message.
func shorten(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// writeFile writes one of a run's results whole or not at all. What is there but is no file, such as a terminal or /dev/null, is
// written to as it is.
func writeFile(name string, write func(io.Writer) error) error {
	target := name
	if path, err := filepath.EvalSymlinks(name); err == nil {
		target = path
	}
	if info, err := os.Stat(target); err != nil || info.Mode().IsRegular() {
		return replaceFile(target, 0o666, 0, write)
	}
	f, err := os.OpenFile(target, os.O_WRONLY, 0)
	if err == nil {
		err = errors.Join(write(f), f.Close())
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, reason(err))
	}
	return nil
}

// replaceFile writes a file under a temporary name in the same folder, and renames it once it is whole: if anything fails, what was
// there before is still there and nothing else. size is that of a large file, which is on the disk before it is renamed, and 0 for a small one.
func replaceFile(path string, mode fs.FileMode, size int64, write func(io.Writer) error) error {
	fail := func(err error) error {
		if size > 0 {
			return fmt.Errorf("writing %s (%.1f MB): %w", path, float64(size)/1e6, reason(err))
		}
		return fmt.Errorf("writing %s: %w", path, reason(err))
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fail(errors.New("not a regular file"))
	}
	f, err := os.OpenFile(fmt.Sprintf("%s.%016x.tmp", path, rand.Uint64()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fail(err)
	}
	w := bufio.NewWriterSize(f, 1<<18)
	if err = write(w); err == nil {
		err = w.Flush()
	}
	if err == nil && size > 0 {
		err = f.Sync()
	}
	err = cmp.Or(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fail(err)
	}
	return nil
}
