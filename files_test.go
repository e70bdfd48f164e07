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

// TestWriteFile checks that a failure leaves the old file as it was and nothing beside it, and that
// links are followed.
func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "out")
	put := func(s string, err error) func(io.Writer) error {
		return func(w io.Writer) error {
			io.WriteString(w, s)
			return err
		}
	}
	content := func() string {
		data, _ := os.ReadFile(name)
		return string(data)
	}
	if err := writeFile(name, put("good", nil)); err != nil || content() != "good" {
		t.Fatal(err, content())
	}
	err := writeFile(name, put("half", errors.New("the disk is full")))
	if err == nil || err.Error() != "writing "+name+": the disk is full" || content() != "good" {
		t.Error(err, content())
	}
	link := filepath.Join(dir, "link")
	if os.Symlink("out", link) == nil {
		if err := writeFile(link, put("better", nil)); err != nil || content() != "better" {
			t.Error(err, content())
		}
		if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
			t.Error("the link was replaced")
		}
	}
	if err := writeFile(filepath.Join(dir, "none", "out"), put("", nil)); err == nil {
		t.Error("a folder that does not exist")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
		t.Error(left)
	}
}
