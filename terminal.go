package main

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"os"
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

// cellPainter returns a function that gives a cell's text the colour of its value in the figure, or nil where nobody would see
// the colour. See no-color.org for NO_COLOR.
func (p *program) cellPainter(f *Figure) func(v float64, text string) string {
	if !p.terminal || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return nil
	}
	depth := os.Getenv("COLORTERM")
	return ansiPainter(f, depth == "truecolor" || depth == "24bit")
}

// ansiPainter paints with ECMA-48's "select graphic rendition": background 48 and foreground 38, followed by 2;R;G;B or, for
// terminals that do not say that they know more, by 5;N with a colour of the 6×6×6 cube that xterm's 256 colours hold.
func ansiPainter(f *Figure, trueColor bool) func(v float64, text string) string {
	scale := f.colorScale()
	palette, valueInk := newPalette(f.anchors())
	code := func(index uint8) string {
		c := palette[index].(color.RGBA)
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
		step := scale.step(v)
		return fmt.Sprintf("\x1b[48;%s;38;%sm%s\x1b[0m", code(step), code(valueInk[step/stretch]), text)
	}
}

// progress is a bar on a terminal for work that takes longer than a second.
type progress struct {
	w            io.Writer
	start, drawn time.Time
	from         int64 // bytes that were there before
}

func newProgress(w io.Writer) *progress { return &progress{w: w, start: time.Now(), from: -1} }

// share shows what share of the work is done, and how long the rest will take.
func (p *progress) share(done float64) {
	const whole = 1 << 20
	part := int64(done * whole)
	p.draw(func(elapsed time.Duration) string {
		return barLine(part, whole, clock(timeLeft(part, 0, whole, elapsed))+" left", lineWidth)
	})
}

// bytes shows how many bytes of a download are there.
func (p *progress) bytes(done, total int64) {
	if p.from < 0 || done < p.from {
		p.start, p.from = time.Now(), done
	}
	p.draw(func(elapsed time.Duration) string { return progressLine(done, p.from, total, elapsed, lineWidth) })
}

// lineWidth fits into the narrowest usual terminal.
const lineWidth = 79

// draw puts a line in place of the last one, at most ten times a second, if anybody watches.
func (p *progress) draw(line func(elapsed time.Duration) string) {
	now := time.Now()
	if now.Sub(p.start) < time.Second || now.Sub(p.drawn) < time.Second/10 || !isTerminal(p.w) {
		return
	}
	p.drawn = now
	fmt.Fprintf(p.w, "\r%-*s", lineWidth, line(now.Sub(p.start)))
}

// clear removes the bar.
func (p *progress) clear() {
	if !p.drawn.IsZero() {
		fmt.Fprintf(p.w, "\r%*s\r", lineWidth, "")
		p.drawn = time.Time{}
	}
}
