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
		return barLine(part, whole, clock(timeLeft(part, 0, whole, elapsed))+" left", lineWidth)
	})
}

// bytes shows how many bytes of a download are there.
func (p *progressBar) bytes(done, total int64) {
	if p.from < 0 || done < p.from {
		p.start, p.from = time.Now(), done
	}
	p.draw(func(elapsed time.Duration) string {
		return progressLine(done, p.from, total, elapsed, lineWidth)
	})
}

// draw puts a line in place of the last one, at most ten times a second, if anybody watches.
func (p *progressBar) draw(line func(elapsed time.Duration) string) {
	now := time.Now()
	if now.Sub(p.start) < time.Second || now.Sub(p.drawn) < time.Second/10 || !isTerminal(p.w) {
		return
	}
	p.drawn = now
	fmt.Fprintf(p.w, "\r%-*s", lineWidth, line(now.Sub(p.start)))
}

// clear removes the bar.
func (p *progressBar) clear() {
	if !p.drawn.IsZero() {
		fmt.Fprintf(p.w, "\r%*s\r", lineWidth, "")
		p.drawn = time.Time{}
	}
}

// lineWidth fits into the narrowest usual terminal.
const lineWidth = 79

// progressLine is a line of at most width columns on how far a download is: done of total bytes are
// there, of which from were there when it began, elapsed ago. Where there is little room the bar
// gives way first, then the end of the line.
//
//	41% [########------------] 224.7 of 548.1 MB  11.2 MB/s  0:29 left
func progressLine(done, from, total int64, elapsed time.Duration, width int) string {
	text := fmt.Sprintf("%s of %s", bytesText(done), bytesText(total))
	if arrived, seconds := done-from, elapsed.Seconds(); arrived > 0 && seconds > 0 {
		rate := float64(arrived) / seconds
		left := clock(timeLeft(done, from, total, elapsed))
		text += fmt.Sprintf("  %s/s  %s left", bytesText(int64(rate)), left)
	}
	return barLine(done, total, text, width)
}

// barLine is a line of at most width columns: the share of done in total as a percentage and as a
// bar, and a text.
func barLine(done, total int64, text string, width int) string {
	share := 0.0
	if total > 0 {
		share = max(0, min(1, float64(done)/float64(total)))
	}
	line := fmt.Sprintf("%3d%%", int(share*100)) // rounded down: 100% is the end
	if room := min(width-len(line)-len(text)-5, 40); room >= 8 {
		full := int(share * float64(room))
		line += " [" + strings.Repeat("#", full) + strings.Repeat("-", room-full) + "]"
	}
	line += "  " + text
	return line[:max(0, min(width, len(line)))]
}

// timeLeft is how long the rest takes at the mean speed so far.
func timeLeft(done, from, total int64, elapsed time.Duration) time.Duration {
	if done <= from || total <= done {
		return 0
	}
	left := elapsed.Seconds() * float64(total-done) / float64(done-from)
	return time.Duration(min(left, 1e6)) * time.Second
}

// clock writes a duration as 0:29 or 1:02:03.
func clock(d time.Duration) string {
	seconds := int(d.Seconds())
	if seconds >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
	}
	return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
}

// bytesText writes a number of bytes with one decimal: 548.1 MB. The units are powers of ten.
func bytesText(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if n >= unit.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(unit.size), unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// isTerminal reports whether what is written to w is seen by a person.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// takesColor reports whether w is a terminal that obeys colour codes.
func takesColor(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isTerminal(f) && obeysEscapes(f)
}
