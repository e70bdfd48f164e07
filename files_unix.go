//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package main

import (
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// hasTwoNames tells whether a file has another name besides (a hard link).
func hasTwoNames(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Nlink > 1
}

// mapView maps length bytes of f, from offset on, into memory, to be read only, and returns them
// with the function that ends the mapping. offset must be a multiple of mapGranule. The mapping
// outlives f's closing.
func mapView(f *os.File, offset int64, length int) ([]byte, func() error, error) {
	data, err := syscall.Mmap(int(f.Fd()), offset, length, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, nil, err
	}
	return data, func() error { return syscall.Munmap(data) }, nil
}

// errNoMemory is mapView's error where there is no room for the mapping.
const errNoMemory = syscall.ENOMEM

// lockFile takes a file's lock, unless another process has it. On a file system without locks it
// goes on without.
func lockFile(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != syscall.EWOULDBLOCK
}

// useHugePages asks Linux to back memory that nobody has touched yet by huge pages, as many as lie
// in it whole. They come in four times as fast as pages of 4 KB.
func useHugePages(data []byte) {
	const madvHugePage = 14
	address := uintptr(unsafe.Pointer(unsafe.SliceData(data)))
	from := (address + hugePage - 1) &^ (hugePage - 1)
	to := (address + uintptr(len(data))) &^ (hugePage - 1)
	if from < to && runtime.GOOS == "linux" {
		syscall.Syscall(syscall.SYS_MADVISE, from, to-from, madvHugePage)
	}
}

// forget takes pages out of a mapping, as ending it would. Whoever reads them gets them anew.
func forget(data []byte) {
	syscall.Syscall(syscall.SYS_MADVISE, uintptr(unsafe.Pointer(unsafe.SliceData(data))),
		uintptr(len(data)), syscall.MADV_DONTNEED)
}

// obeysEscapes reports whether a terminal obeys escape sequences: here all do.
func obeysEscapes(*os.File) bool { return true }
