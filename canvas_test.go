package main

import (
	"image/color"
	"math"
	"testing"
)

// Entries of the published table of viridis that are no anchors of ours, to three bytes.
func TestViridis(t *testing.T) {
	published := map[int][3]float64{
		0: {0.267004, 0.004874, 0.329415}, 1: {0.268510, 0.009605, 0.335427},
		2: {0.269944, 0.014625, 0.341379}, 32: {0.278826, 0.175490, 0.483397},
		64: {0.229739, 0.322361, 0.545706}, 96: {0.172719, 0.448791, 0.557885},
		128: {0.127568, 0.566949, 0.550556}, 130: {0.125394, 0.574318, 0.549086},
		157: {0.146616, 0.673050, 0.508936}, 192: {0.369214, 0.788888, 0.382914},
		213: {0.565498, 0.842430, 0.262877}, 243: {0.876168, 0.891125, 0.095250},
		252: {0.964894, 0.902323, 0.123941}, 254: {0.983868, 0.904867, 0.136897},
		255: {0.993248, 0.906157, 0.143936},
	}
	for i, want := range published {
		got := interpolate(viridis, float64(i)/255)
		for c, channel := range []uint8{got.R, got.G, got.B} {
			if math.Abs(float64(channel)-255*want[c]) > 1.5 {
				t.Errorf("colour %d is %v, want %v", i, got, want)
			}
		}
	}
	for step := 1; step < 256; step++ {
		light := func(step int) float64 {
			return luminance(interpolate(viridis, float64(step)/255))
		}
		if light(step) <= light(step-1)-1e-3 {
			t.Errorf("colour %d is darker than the one before", step)
		}
	}
}

// TestPalette: the colours of the map and of all edges fit into one byte, and values are legible on
// every cell.
func TestPalette(t *testing.T) {
	for _, name := range []string{"viridis", "rdbu"} {
		palette, valueInk := newPalette(anchorsOf(name))
		if len(palette) > 256 {
			t.Fatalf("%d colours", len(palette))
		}
		for step := range mapSteps {
			light := func(index uint8) float64 {
				return luminance(palette[index].(color.RGBA)) + 0.05
			}
			background, text := light(uint8(step)), light(valueInk[step/stretch])
			if ratio := math.Max(background/text, text/background); ratio < 3.4 {
				t.Errorf("%s: the contrast of a value on step %d is only %.2f", name, step, ratio)
			}
		}
		for step := 1; step < mapSteps; step++ {
			before, now := palette[step-1].(color.RGBA), palette[step].(color.RGBA)
			if far := colorDistance(before, now); far > 9 || far == 0 {
				t.Errorf("%s: steps %d and %d differ by %d", name, step-1, step, far)
			}
		}
	}
}
