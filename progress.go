package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// This file draws progress bars, on a terminal alone.

// progressBar is a bar on a terminal for work that takes longer than a second.
type progressBar struct {
	w            io.Writer
	start, drawn time.Time
	width        int   // of the line that is shown
	from         int64 // bytes that were there before
}

func newProgress(w io.Writer) *progressBar {
	return &progressBar{w: w, start: time.Now(), from: -1}
}

// share shows what share of the work is done, and how long the rest will take.
func (p *progressBar) share(done float64) {
	const whole = 1 << 20
	part := int64(done * whole)
	p.draw(func(elapsed time.Duration) string {
		return barLine(narrow, part, whole, timeLeft(part, 0, whole, elapsed))
	})
}

// bytes shows how many bytes of a download are there.
func (p *progressBar) bytes(done, total int64) {
	if p.from < 0 || done < p.from {
		p.start, p.from = time.Now(), done
	}
	p.draw(func(elapsed time.Duration) string {
		return progressLine(done, p.from, total, elapsed)
	})
}

// draw puts a line in place of the last one, at most ten times a second, if anybody watches.
func (p *progressBar) draw(line func(elapsed time.Duration) string) {
	now := time.Now()
	if now.Sub(p.start) < time.Second || now.Sub(p.drawn) < time.Second/10 || !isTerminal(p.w) {
		return
	}
	p.drawn = now
	next := line(now.Sub(p.start))
	fmt.Fprintf(p.w, "\r%-*s", p.width, next)
	p.width = len(next)
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

// progressLine says how far a download is: done of total bytes are there, of which from were there
// when it began, elapsed ago.
//
//	41% [########------------]  224.7 MB of 548.1 MB  11.2 MB/s  0:29 left
func progressLine(done, from, total int64, elapsed time.Duration) string {
	text := fmt.Sprintf("%s of %s", bytesText(done), bytesText(total))
	if arrived, seconds := done-from, elapsed.Seconds(); arrived > 0 && seconds > 0 {
		rate := bytesText(int64(float64(arrived) / seconds))
		text += fmt.Sprintf("  %s/s  %s", rate, timeLeft(done, from, total, elapsed))
	}
	return barLine(wide, done, total, text)
}

// barLine shows the share of done in total as a percentage and as a bar, and a text, in at most
// width characters.
func barLine(width int, done, total int64, text string) string {
	share := 0.0
	if total > 0 {
		share = max(0, min(1, float64(done)/float64(total)))
	}
	room := min(width-len("100% []  ")-len(text), 40)
	full := int(share * float64(room))
	bar := strings.Repeat("#", full) + strings.Repeat("-", room-full)
	return fmt.Sprintf("%3d%% [%s]  %s", int(share*100), bar, text) // rounded down: 100% is the end
}

// timeLeft says how long the rest takes at the mean speed so far: "0:29 left" or "1:02:03 left".
func timeLeft(done, from, total int64, elapsed time.Duration) string {
	seconds := 0
	if from < done && done < total {
		left := elapsed.Seconds() * float64(total-done) / float64(done-from)
		seconds = int(min(left, 1e6))
	}
	if seconds >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d left", seconds/3600, seconds/60%60, seconds%60)
	}
	return fmt.Sprintf("%d:%02d left", seconds/60, seconds%60)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func takesColor(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isTerminal(f) && obeysEscapes(f)
}
