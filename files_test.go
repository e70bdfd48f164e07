package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// TestReadUnmapped reads what cannot be mapped, and refuses a size that only a hole in a file can have.
func TestReadUnmapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("0123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if data, err := readUnmapped(f, 3, 5); err != nil || string(data) != "34567" {
		t.Errorf("got %q, %v", data, err)
	}
	if _, err := readUnmapped(f, 3, 8); !errors.Is(err, io.EOF) {
		t.Errorf("bytes past the end: %v", err)
	}
	_, err = readUnmapped(f, 0, maxRead+1)
	wantError(t, "a huge file", err, "17179869185 bytes can neither be mapped nor read into memory")
}
