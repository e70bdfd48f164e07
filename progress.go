package main

// A bar on a terminal, alone, for work that takes longer than a second.

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

type progressBar struct {
	w            io.Writer
	start, drawn time.Time
	width        int   // of the line that is shown
	from         int64 // bytes of a download that were there before; -1 as long as there is none
}

func newProgress(w io.Writer) *progressBar {
	return &progressBar{w: w, start: time.Now(), from: -1}
}

// share shows what share of the work is done, and how long the rest will take.
func (p *progressBar) share(done float64) {
	const whole = 1 << 20
	p.draw(narrow, int64(done*whole), 0, whole)
}

// bytes shows how many bytes of a download are there.
func (p *progressBar) bytes(done, total int64) {
	if p.from < 0 || done < p.from {
		p.start, p.from = time.Now(), done
	}
	p.draw(wide, done, p.from, total)
}

// draw puts a line in place of the last one, at most ten times a second, if anybody watches.
func (p *progressBar) draw(width int, done, from, total int64) {
	elapsed := time.Since(p.start)
	if elapsed < time.Second || time.Since(p.drawn) < time.Second/10 || !isTerminal(p.w) {
		return
	}
	line := progressLine(width, done, from, total, elapsed)
	fmt.Fprintf(p.w, "\r%-*s", p.width, line)
	p.drawn, p.width = time.Now(), len(line)
}

func (p *progressBar) clear() {
	if !p.drawn.IsZero() {
		fmt.Fprintf(p.w, "\r%*s\r", p.width, "")
		p.drawn = time.Time{}
	}
}

// A line that a terminal breaks in two cannot be drawn over: so a sweep's has at most narrow
// characters, and a download's, of which there is more to say, at most wide ones.
const narrow, wide = 39, 79

// progressLine shows how much of total is done as a percentage and as a bar, and how long the rest
// takes at the mean speed so far: from were done when it began, elapsed ago. A wide one has bytes:
//
//	41% [########------------]  224.7 MB of 548.1 MB  11.2 MB/s  0:29 left
func progressLine(width int, done, from, total int64, elapsed time.Duration) string {
	seconds, arrived, left := elapsed.Seconds(), float64(done-from), 0
	if from < done && done < total {
		left = int(min(seconds*float64(total-done)/arrived, 1e6))
	}
	text := fmt.Sprintf("%d:%02d left", left/60, left%60)
	if left >= 3600 {
		text = fmt.Sprintf("%d:%02d:%02d left", left/3600, left/60%60, left%60)
	}
	if width == wide {
		rate := ""
		if arrived > 0 && seconds > 0 {
			rate = fmt.Sprintf("  %s/s  %s", bytesText(int64(arrived/seconds)), text)
		}
		text = bytesText(done) + " of " + bytesText(total) + rate
	}
	share := max(0, min(1, float64(done)/float64(max(total, 1))))
	room := min(width-len("100% []  ")-len(text), 40)
	full := int(share * float64(room))
	bar := strings.Repeat("#", full) + strings.Repeat("-", room-full)
	return fmt.Sprintf("%3d%% [%s]  %s", int(share*100), bar, text) // rounded down: 100% is the end
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	null, _ := os.Stat(os.DevNull)
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && !os.SameFile(info, null)
}

func takesColor(w io.Writer) bool { return isTerminal(w) && obeysEscapes(w.(*os.File)) }
