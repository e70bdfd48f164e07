package main

import (
	"errors"
	"fmt"
	"math"
	"os"
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
