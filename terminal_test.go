package main

import (
	"math"
	"testing"
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
