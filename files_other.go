//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || windows)

package main

import (
	"errors"
	"os"
)

// lockFile says that files cannot be locked here.
func lockFile(string) (unlock func(), err error) { return nil, errNoLocks }

// diskFull does not know this system's errors.
func diskFull(error) bool { return false }

// mapView says that files cannot be mapped into memory here: readRange reads them instead.
func mapView(*os.File, int64, int) ([]byte, func() error, error) {
	return nil, nil, errors.ErrUnsupported
}

// obeysEscapes reports whether a terminal obeys escape sequences: here all do.
func obeysEscapes(*os.File) bool { return true }

var errPipeClosed = errors.New("the pipe is closed")

func ignoreClosedPipes() {}
