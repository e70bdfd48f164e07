package main

import (
	"image/color"
	"math"
	"slices"
	"testing"
)

// Entries of the published table of viridis that are no anchors of ours, to three bytes.
func TestViridis(t *testing.T) {
	published := map[int][3]float64{
		2: {0.269944, 0.014625, 0.341379}, 32: {0.278826, 0.175490, 0.483397},
		64: {0.229739, 0.322361, 0.545706}, 96: {0.172719, 0.448791, 0.557885},
		128: {0.127568, 0.566949, 0.550556}, 157: {0.146616, 0.673050, 0.508936},
		192: {0.369214, 0.788888, 0.382914}, 213: {0.565498, 0.842430, 0.262877},
		243: {0.876168, 0.891125, 0.095250}, 254: {0.983868, 0.904867, 0.136897},
	}
	for i, want := range published {
		got := interpolate(viridis, float64(i)/255)
		for c, channel := range []uint8{got.R, got.G, got.B} {
			if math.Abs(float64(channel)-255*want[c]) > 1.5 {
				t.Errorf("colour %d is %v, want %v", i, got, want)
			}
		}
	}
	light := 0.0
	for step := range 256 {
		before := light
		if light = luminance(interpolate(viridis, float64(step)/255)); light <= before-1e-3 {
			t.Errorf("colour %d is darker than the one before", step)
		}
	}
}

// TestPalette: the colours of the map and of all edges fit into one byte, and values are legible on
// every cell.
func TestPalette(t *testing.T) {
	for _, name := range []string{"viridis", "rdbu"} {
		palette, valueInk := newPalette(colorMaps[name])
		if len(palette) > 256 {
			t.Fatalf("%d colours", len(palette))
		}
		for step := range mapSteps {
			now, text := palette[step].(color.RGBA), palette[valueInk[step/stretch]].(color.RGBA)
			if ratio := contrast(now, text); ratio < 3.4 {
				t.Errorf("%s: the contrast of a value on step %d is only %.2f", name, step, ratio)
			}
			before := palette[max(step-1, 0)].(color.RGBA)
			if far := colorDistance(before, now); far > 9 || far == 0 && step > 0 {
				t.Errorf("%s: step %d differs by %d from the one before", name, step, far)
			}
		}
	}
}

func TestColorScale(t *testing.T) {
	for _, test := range []struct{ low, high, value, position float64 }{
		{0, 10, 0, 0}, {0, 10, 10, 1}, {0, 10, 2.5, 0.25}, {-4, 4, 0, 0.5},
		{0, 10, math.Inf(1), 1}, {0, 10, math.Inf(-1), 0}, {0, 10, 11, 1},
		// one value only
		{3, 3, 3, 0.5}, {0, 0, 0, 0.5}, {-1e12, -1e12, -1e12, 0.5}, {1e-9, 1e-9, 1e-9, 0.5},
		{math.Inf(1), math.Inf(-1), 0.5, 0.5}, // none at all
		{-math.MaxFloat64, math.MaxFloat64, 0, 0.5},
		{-math.MaxFloat64, math.MaxFloat64, math.MaxFloat64, 1},
	} {
		s := newColorScale(test.low, test.high)
		if got := s.position(test.value); !(math.Abs(got-test.position) <= 1e-9) {
			t.Errorf("%g on %v, of %g … %g: at %g, want %g", test.value, s, test.low, test.high,
				got, test.position)
		}
	}
}

func TestTicks(t *testing.T) {
	for _, test := range []struct {
		low, high float64
		most      int
		want      []string
	}{
		{-3.4, 0.6, 13, []string{"−3.0", "−2.5", "−2.0", "−1.5", "−1.0", "−0.5", "0.0", "0.5"}},
		{-3.4, 1.5, 5, []string{"−3", "−2", "−1", "0", "1"}},
		{0, 1, 4, []string{"0.00", "0.25", "0.50", "0.75", "1.00"}},
		{0, 1, 5, []string{"0.0", "0.2", "0.4", "0.6", "0.8", "1.0"}},
		{0, 0.1, 5, []string{"0.00", "0.02", "0.04", "0.06", "0.08", "0.10"}},
		{-25, 25, 4, []string{"−20", "0", "20"}},
		{-250, 250, 4, []string{"−200", "0", "200"}},
		{0, 95, 4, []string{"0", "25", "50", "75"}},
		{1e8, 2e8, 4, []string{"1e8", "1.25e8", "1.5e8", "1.75e8", "2e8"}},
		{1e8, 1e8 + 3, 3, []string{"1e8", "1.00000001e8", "1.00000002e8", "1.00000003e8"}},
		{0, 2e-6, 4, []string{"0", "5e−7", "1e−6", "1.5e−6", "2e−6"}},
	} {
		values, texts := ticks(test.low, test.high, test.most)
		if !slices.Equal(texts, test.want) {
			t.Errorf("%g … %g: %q, want %q", test.low, test.high, texts, test.want)
		}
		for _, v := range values {
			if v < test.low-1e-9*math.Abs(test.low) || v > test.high+1e-9*math.Abs(test.high) {
				t.Errorf("%g … %g: tick at %g", test.low, test.high, v)
			}
		}
	}
}

// TestTicksEverywhere: every range has a few ticks, and no two have the same text.
func TestTicksEverywhere(t *testing.T) {
	for _, low := range []float64{0, -1, 0.37, -12.5, 999, 1e5, -1e7, 3e-5, 1e300} {
		for _, width := range []float64{1e-7, 3e-3, 0.11, 1, 2.2, 7, 49, 1234, 8e6, 1e300} {
			if math.Abs(low)*1e-9 > width {
				continue
			}
			for most := 2; most < 30; most++ {
				_, texts := ticks(low, low+width, most)
				if len(texts) < 1 || len(texts) > most+2 || len(texts) < most/4 {
					t.Errorf("%g + %g: %d ticks, want about %d", low, width, len(texts), most)
				}
				if len(slices.Compact(slices.Sorted(slices.Values(texts)))) != len(texts) {
					t.Errorf("%g + %g: two ticks are the same: %q", low, width, texts)
				}
			}
		}
	}
}

func TestNumber(t *testing.T) {
	for _, test := range []struct {
		value, size float64
		want        string
	}{
		{-3.214, 3.3, "−3.21"}, {12.345, 25, "12.35"}, {-0.001, 3, "0.00"}, {0.3417, 0.9, "0.342"},
		{math.Copysign(0, -1), 3, "0.00"}, {0.00123, 0.005, "0.00123"}, {1234.5, 2000, "1234"},
		{123.45, 200, "123"}, {math.Inf(-1), 3, "−∞"}, {-1.2345e8, 1e9, "−1.23e8"},
		{3e-7, 1e-6, "3e−7"}, {0, 0, "0.00"},
	} {
		if got := formatValue(test.value, decimalsFor(test.size)); got != test.want {
			t.Errorf("%g among %g: %s, want %s", test.value, test.size, got, test.want)
		}
	}
}
