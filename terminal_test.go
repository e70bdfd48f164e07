package main

import (
	"bytes"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

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

var ansiCode = regexp.MustCompile("\x1b\\[[0-9;]*m")

// TestTerminalWidth checks that a report fits a terminal of 80 columns for models of every depth,
// that each cell is painted, and that the tokens of both texts can be read beside the cells.
func TestTerminalWidth(t *testing.T) {
	for _, layers := range []int{1, 12, 13, 24, 48} {
		m := randomModel(Config{layers, 5, 10, 16, vocabSize}, 3)
		for _, s := range []Study{{site: "resid"}, {site: "head"}, {site: "all"}, {lens: true}} {
			s.metric, s.top = metricDiff, 3
			q := question(t, exampleClean, exampleCorrupt, metricDiff)
			r, err := s.run(m, q, func(float64) {})
			if err != nil {
				t.Fatal(err)
			}
			painted := 0
			text := r.text(ansiPainter(r.figure("viridis", 1), true))
			for _, line := range strings.Split(text, "\n") {
				seen := ansiCode.ReplaceAllString(line, "")
				if n := utf8.RuneCountInString(seen); n > 80 {
					t.Errorf("%d layers, %+v: %d columns: %s", layers, s, n, seen)
				}
				cells := strings.Count(line, "\x1b[48;2;")
				if cells == 0 {
					continue
				}
				painted += cells
				figures := strings.ContainsAny(line[strings.Index(line, "\x1b"):], ".")
				if cells != layers || figures != (layers <= 12) {
					t.Errorf("%d layers, %+v: %d cells, figures in them: %v: %s",
						layers, s, cells, figures, seen)
				}
			}
			if want := len(r.panels) * layers * len(r.columns()); painted != want {
				t.Errorf("%d layers, %+v: %d cells are painted, not %d", layers, s, painted, want)
			}
			labels := []string{"\n   0 Michelle", "\n   1  Jones→ Smith", "\n  10  Michelle"}
			if s.site == "head" {
				labels = []string{"\nhead 0", "\nhead 4"}
			}
			for _, label := range labels {
				if got := strings.Count(text, label); got != len(r.panels) {
					t.Errorf("%d layers, %+v: %d lines begin with %q, want %d",
						layers, s, got, label, len(r.panels))
				}
			}
		}
	}
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

// TestCellPainter checks when there are colours, and which.
func TestCellPainter(t *testing.T) {
	f := &Figure{colorMap: "viridis", panels: []Panel{{matrix: [][]float64{{0, 1}}}}}
	for _, c := range []struct {
		terminal                 bool
		noColor, term, colorTerm string
		want                     string // how a painted 1 begins; "" for no colours
	}{
		{false, "", "xterm", "truecolor", ""},
		{true, "1", "xterm", "truecolor", ""},
		{true, "0", "xterm", "truecolor", ""}, // no-color.org: any value but the empty one
		{true, "", "dumb", "truecolor", ""},
		{true, "", "xterm", "truecolor", "\x1b[48;2;253;231;37;"},
		{true, "", "xterm", "24bit", "\x1b[48;2;253;231;37;"},
		{true, "", "xterm", "", "\x1b[48;5;"},
		{true, "", "", "yes", "\x1b[48;5;"},
	} {
		t.Setenv("NO_COLOR", c.noColor)
		t.Setenv("TERM", c.term)
		t.Setenv("COLORTERM", c.colorTerm)
		paint := (&program{terminal: c.terminal}).cellPainter(f)
		painted := ""
		if paint != nil {
			painted = paint(1, "x")
		}
		if (painted != "") != (c.want != "") || !strings.HasPrefix(painted, c.want) {
			t.Errorf("%+v: colours: %v", c, paint != nil)
		}
	}
}

// TestNoColorsInFiles checks that what is not printed to a terminal has no colour codes in it.
func TestNoColorsInFiles(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("COLORTERM", "truecolor")
	args := []string{"-e", exampleClean, exampleCorrupt, "Jones", "Smith", "-o", ""}
	code, stdout, stderr := command(t, args...)
	if code != 0 || strings.Contains(stdout+stderr, "\x1b") || !strings.Contains(stdout, "resid") {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
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
