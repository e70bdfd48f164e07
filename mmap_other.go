//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || windows)

package main

import (
	"errors"
	"os"
)

// mapView says that files cannot be mapped into memory here: readRange reads them instead.
func mapView(*os.File, int64, int) ([]byte, func() error, error) {
	return nil, nil, errors.ErrUnsupported
}
