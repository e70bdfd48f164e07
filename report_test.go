package main

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAligned(t *testing.T) {
	words := func(s string) []string { return strings.Split(s, "|") }
	for _, c := range []struct{ clean, corrupt, want string }{
		{"a| b| c", "a| Sm|ith| c", "  clean    a/ b     / c\n  corrupt  a/ Sm/ith/ c"},
		{"a", "b|c", "  clean    a  \n  corrupt  b/c"},
		{"a|b", "a|b|c", "  clean    a/b/ \n  corrupt  a/b/c"},
		{"1|2|3|4|5|6|7|8|x|1|2|3|4|5|6|7", "1|2|3|4|5|6|7|8|x|y|1|2|3|4|5|6|7", "  clean    …4/5/6/7/8/x/ /1/2/3/4/5/6…\n  corrupt  …4/5/6/7/8/x/y/1/2/3/4/5/6…"},
	} {
		if got := aligned(words(c.clean), words(c.corrupt)); got != c.want {
			t.Errorf("%s, %s:\n%q, want\n%q", c.clean, c.corrupt, got, c.want)
		}
	}
}

func TestVisible(t *testing.T) {
	for token, want := range map[string]string{" a": " a", "\n": `\n`, "\"": `"`, "\xe4": `\xe4`, "ñ": "ñ", "\u200b": `\u200b`, `\`: `\\`} {
		if got := visible(token); got != want {
			t.Errorf("%q: %s, want %s", token, got, want)
		}
	}
}

// TestEffects checks the order of the largest effects and that noise is not among them.
func TestEffects(t *testing.T) {
	r := &Report{Site: "resid"}
	r.Clean.Tokens = []string{"a", " b"}
	r.Corrupt.Metric = 1
	r.panels = []Panel{{matrix: [][]float64{{1, -3}, {1.001, math.NaN()}, {2, -3.001}}}}
	want := "The largest effects:\n  layer 0, position 1 (\" b\"): −3.00, corrupt 1.00\n  layer 2, position 1 (\" b\"): −3.00, corrupt 1.00\n" +
		"  layer 2, position 0 (\"a\"): 2.00, corrupt 1.00\n"
	if got := r.effects(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	r.panels = []Panel{{matrix: [][]float64{{1, 1}}}}
	if got := r.effects(); !strings.Contains(got, "none") {
		t.Error(got)
	}
}

// TestWriteFile checks that a failure leaves the old file as it was and nothing beside it, and that links are followed.
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
	if err := writeFile(name, put("half", errors.New("the disk is full"))); err == nil || err.Error() != "writing "+name+": the disk is full" || content() != "good" {
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

// TestAnsiPainter checks the colour codes of a terminal.
func TestAnsiPainter(t *testing.T) {
	f := &Figure{colorMap: "viridis", panels: []Panel{{matrix: [][]float64{{0, 1, math.NaN()}}}}}
	if got := ansiPainter(f, true)(1, "x"); got != "\x1b[48;2;253;231;37;38;2;34;34;34mx\x1b[0m" {
		t.Errorf("%q", got)
	}
	if got := ansiPainter(f, false)(0, "x"); got != "\x1b[48;5;53;38;5;231mx\x1b[0m" {
		t.Errorf("%q", got)
	}
	if got := ansiPainter(f, true)(math.NaN(), "x"); got != "x" {
		t.Errorf("%q", got)
	}
	f.reversed = true
	if got := ansiPainter(f, true)(0, "x"); got != "\x1b[48;2;253;231;37;38;2;34;34;34mx\x1b[0m" {
		t.Errorf("reversed: %q", got)
	}
}
