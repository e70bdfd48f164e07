//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package main

import (
	"os"
	"syscall"
)

// mapView maps length bytes of f, from offset on, into memory, to be read only, and returns them with the function that ends the
// mapping. offset must be a multiple of mapGranule. The mapping outlives f's closing.
func mapView(f *os.File, offset int64, length int) ([]byte, func() error, error) {
	data, err := syscall.Mmap(int(f.Fd()), offset, length, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, nil, err
	}
	return data, func() error { return syscall.Munmap(data) }, nil
}
