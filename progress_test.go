package main

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"
)

// terminal opens something that the system takes for a terminal: files, pipes, buffers and what
// leads nowhere are none.
func terminal(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	check(t, err)
	defer r.Close()
	defer w.Close()
	null, regular := must(os.Open(os.DevNull)), must(os.Open("go.mod"))
	defer null.Close()
	defer regular.Close()
	for _, w := range []io.Writer{regular, null, w, &bytes.Buffer{}} {
		if isTerminal(w) {
			t.Errorf("%T is a terminal", w)
		}
	}
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil || !isTerminal(f) {
		t.Skip("no terminal to be had")
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// A bar shows after a second, on a terminal alone, and is wiped off.
func TestProgressBar(t *testing.T) {
	var b bytes.Buffer
	for _, w := range []io.Writer{&b, terminal(t)} {
		bar := newProgress(w)
		if bar.share(.5); !bar.drawn.IsZero() {
			t.Error("there is a bar from the beginning")
		}
		bar.start = bar.start.Add(-time.Minute)
		if bar.share(.6); bar.drawn.IsZero() != (w == &b) || b.Len() > 0 {
			t.Errorf("after a minute: %v, %q", bar.drawn, b.String())
		}
		if bar.clear(); !bar.drawn.IsZero() {
			t.Error("the bar stays")
		}
	}
}

// TestProgressLine checks the line at every stage, of a download and of a sweep.
func TestProgressLine(t *testing.T) {
	const whole, part, second = 548_105_171, 225_000_000, time.Second
	const largest = 1 << 40 // the hub announces no larger one
	for _, test := range []struct {
		width             int
		done, from, total int64
		elapsed           time.Duration
		want              string
	}{
		{wide, part, 0, whole, 20 * second,
			" 41% [###########-----------------]  225.0 MB of 548.1 MB  11.2 MB/s  0:28 left"},
		{wide, part, 125_000_000, whole, 10 * second,
			" 41% [###########-----------------]  225.0 MB of 548.1 MB  10.0 MB/s  0:32 left"},
		{wide, whole - 1, 0, whole, time.Hour,
			" 99% [##########################-]  548.1 MB of 548.1 MB  152.3 kB/s  0:00 left"},
		{wide, whole, 0, whole, second,
			"100% [###########################]  548.1 MB of 548.1 MB  548.1 MB/s  0:00 left"},
		{wide, 5000, 5000, whole, second,
			"  0% [----------------------------------------]  5.0 kB of 548.1 MB"},
		{wide, 100, 0, whole, 10 * second,
			"  0% [---------------------]  100 bytes of 548.1 MB  10 bytes/s  277:46:40 left"},
		{wide, largest - 1, largest / 2, largest, second,
			" 99% [########################-]  1099.5 GB of 1099.5 GB  549.8 GB/s  0:00 left"},
		{wide, 10, 0, 0, 0,
			"100% [########################################]  10 bytes of 0 bytes"},
		{narrow, 1, 0, 2, 9 * second, " 50% [##########-----------]  0:09 left"},
		{narrow, 1, 0, 2, 40 * time.Hour, " 50% [########---------]  40:00:00 left"},
	} {
		got := progressLine(test.width, test.done, test.from, test.total, test.elapsed)
		if got != test.want || len(got) > test.width {
			t.Errorf("%q (%d)\n want %q", got, len(got), test.want)
		}
	}
}
