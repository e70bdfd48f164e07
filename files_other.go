//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || windows)

package main

import (
	"errors"
	"io/fs"
	"os"
)

// endingSignals are the signals that end a program unless it takes care of them.
var endingSignals = []os.Signal{os.Interrupt}

// hasTwoNames does not know a file's other names (hard links) here.
func hasTwoNames(fs.FileInfo) bool { return false }

// mapView says that files cannot be mapped into memory here: readRange reads them instead.
func mapView(*os.File, int64, int) ([]byte, func() error, error) {
	return nil, nil, errors.ErrUnsupported
}

// hugePage is the size that large memory is aligned to.
const hugePage = 2 << 20

// useHugePages does nothing: here the system chooses the size of pages.
func useHugePages([]byte) {}

// forget does nothing: here there are no mappings.
func forget(start, end uintptr) {}

// obeysEscapes reports whether a terminal obeys escape sequences: here all do.
func obeysEscapes(*os.File) bool { return true }

var errPipeClosed = errors.New("the pipe is closed")

func ignoreClosedPipes() {}
