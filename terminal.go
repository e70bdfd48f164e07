package main

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"os"
	"strings"
	"time"
)

// This file is what the program does only on a terminal: colours and a progress bar.

// isTerminal reports whether what is written to w is seen by a person.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// cellPainter returns a function that gives a cell's text the colour of its value in the figure, or leaves it alone where
// nobody would see the colour. See no-color.org for NO_COLOR.
func cellPainter(w io.Writer, f *Figure) func(v float64, text string) string {
	if !isTerminal(w) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return func(_ float64, text string) string { return text }
	}
	depth := os.Getenv("COLORTERM")
	return ansiPainter(f.colorScale(), depth == "truecolor" || depth == "24bit")
}

// ansiPainter paints with ECMA-48's "select graphic rendition": background 48 and foreground 38, followed by 2;R;G;B or, for
// terminals that do not say that they know more, by 5;N with a colour of the 6×6×6 cube that xterm's 256 colours hold.
func ansiPainter(scale colorScale, trueColor bool) func(v float64, text string) string {
	code := func(c color.RGBA) string {
		if trueColor {
			return fmt.Sprintf("2;%d;%d;%d", c.R, c.G, c.B)
		}
		side := func(v uint8) int { // the cube's steps are 0, 95, 135, 175, 215, 255
			if v < 48 {
				return 0
			}
			return max(1, (int(v)-35)/40)
		}
		return fmt.Sprintf("5;%d", 16+36*side(c.R)+6*side(c.G)+side(c.B))
	}
	return func(v float64, text string) string {
		if math.IsNaN(v) {
			return text
		}
		background := scale.color(v)
		return fmt.Sprintf("\x1b[48;%s;38;%sm%s\x1b[0m", code(background), code(contrast(background)), text)
	}
}

// progress is a bar on a terminal for work that takes longer than a second.
type progress struct {
	w            io.Writer
	start, drawn time.Time
}

func newProgress(w io.Writer) *progress { return &progress{w: w, start: time.Now()} }

// show draws the bar: the share of the work that is done, and the time that the rest will take at the same speed.
func (p *progress) show(done float64) {
	now := time.Now()
	elapsed := now.Sub(p.start)
	if elapsed < time.Second || now.Sub(p.drawn) < time.Second/10 || !isTerminal(p.w) {
		return
	}
	p.drawn = now
	const width = 40
	full := int(done * width)
	left := time.Duration(float64(elapsed) * (1 - done) / done).Round(time.Second)
	fmt.Fprintf(p.w, "\r\x1b[Kpatching  %s%s  %3.0f %%  %v left", strings.Repeat("█", full), strings.Repeat("░", width-full), 100*done, left)
}

// clear removes the bar.
func (p *progress) clear() {
	if !p.drawn.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
