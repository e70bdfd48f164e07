package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestIsTerminal checks that files and buffers are none.
func TestIsTerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for _, w := range []io.Writer{f, w, &bytes.Buffer{}} {
		if isTerminal(w) {
			t.Errorf("%T is a terminal", w)
		}
	}
	terminal(t)
}

// terminal opens something that the system takes for a terminal.
func terminal(t *testing.T) *os.File {
	t.Helper()
	for _, name := range []string{"/dev/ptmx", os.DevNull} {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		t.Cleanup(func() { f.Close() })
		if isTerminal(f) {
			return f
		}
	}
	t.Skip("no terminal to be had")
	return nil
}

// TestProgressBar checks that a bar shows after a second, on a terminal alone, and is wiped off.
func TestProgressBar(t *testing.T) {
	var b bytes.Buffer
	bar := newProgress(&b)
	bar.start = bar.start.Add(-time.Minute)
	bar.share(.5)
	bar.clear()
	if b.Len() > 0 {
		t.Errorf("not on a terminal: %q", b.String())
	}
	bar = newProgress(terminal(t))
	if bar.share(.5); !bar.drawn.IsZero() {
		t.Error("there is a bar from the beginning")
	}
	bar.start = bar.start.Add(-time.Minute)
	if bar.share(.6); bar.drawn.IsZero() {
		t.Error("there is no bar after a minute")
	}
	if bar.clear(); !bar.drawn.IsZero() {
		t.Error("the bar stays")
	}
}
