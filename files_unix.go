//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// lockFile makes the file path and takes it for this process, or for one of its goroutines, alone. Its error is errLocked while another has
// it, and errNoLocks on a file system without locks (flock, which some network file systems lack). unlock removes the file; the system ends the
// lock of a process that dies.
func lockFile(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		file.Close()
		return nil, errLocked
	}
	if err != nil {
		os.Remove(path)
		file.Close()
		return nil, fmt.Errorf("%w: %v", errNoLocks, err)
	}
	// Between Open and Flock the former owner may have removed the file: then the lock is one on nothing.
	here, hereErr := file.Stat()
	there, thereErr := os.Stat(path)
	if hereErr != nil || thereErr != nil || !os.SameFile(here, there) {
		file.Close()
		return nil, errLocked
	}
	return func() {
		os.Remove(path)
		file.Close()
	}, nil
}

// diskFull tells whether a file could not be written for want of space, on the disk or in the user's share of it.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// mapView maps length bytes of f, from offset on, into memory, to be read only, and returns them with the function that ends the
// mapping. offset must be a multiple of mapGranule. The mapping outlives f's closing.
func mapView(f *os.File, offset int64, length int) ([]byte, func() error, error) {
	data, err := syscall.Mmap(int(f.Fd()), offset, length, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, nil, err
	}
	return data, func() error { return syscall.Munmap(data) }, nil
}

// obeysEscapes reports whether a terminal obeys escape sequences: here all do.
func obeysEscapes(*os.File) bool { return true }

// errPipeClosed is the error of a write to a pipe that nobody reads any more.
var errPipeClosed = syscall.EPIPE

// ignoreClosedPipes lets such a write fail like any other, where the system would end the program.
func ignoreClosedPipes() { signal.Ignore(syscall.SIGPIPE) }
