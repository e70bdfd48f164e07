package main

import (
	"image/color"
	"math"
	"strconv"
	"strings"
)

// colorScale gives every value its place on the colour map. low lies at its beginning, high at its end.
type colorScale struct {
	low, high float64
}

// newColorScale makes a scale that spans low … high. Where there is nothing to span (one value only, or none) it makes room around it.
func newColorScale(low, high float64) colorScale {
	if low > high { // no value at all
		low, high = 0, 1
	}
	const largest = 1e300 // so that high − low is finite
	low, high = math.Max(-largest, math.Min(low, largest)), math.Max(-largest, math.Min(high, largest))
	s := colorScale{low, high}
	if size := s.size(); high-low <= 1e-9*size {
		room := math.Max(size/10, 0.5)
		if size > 0 && size < 0.01 {
			room = size / 2
		}
		s = colorScale{low - room, high + room}
	}
	return s
}

// size is the largest magnitude on the scale.
func (s colorScale) size() float64 { return math.Max(math.Abs(s.low), math.Abs(s.high)) }

// position is where a value lies on the scale, 0 … 1. Infinities lie at the ends.
func (s colorScale) position(value float64) float64 {
	return math.Max(0, math.Min(1, (value-s.low)/(s.high-s.low)))
}

// step is the place of a value among the colours of the palette.
func (s colorScale) step(value float64) uint8 {
	return uint8(math.Round(s.position(value) * (mapSteps - 1)))
}

// interpolate gives the colour at a position 0 … 1 of a colour map, between the two anchors beside it.
func interpolate(anchors []uint32, position float64) color.RGBA {
	x := position * float64(len(anchors)-1)
	i := min(int(x), len(anchors)-2)
	anchor := func(v uint32) color.RGBA { return color.RGBA{uint8(v >> 16), uint8(v >> 8), uint8(v), 255} }
	return mix(anchor(anchors[i]), anchor(anchors[i+1]), x-float64(i))
}

// mix lays a colour over another, share (0 … 1) of it.
func mix(under, over color.RGBA, share float64) color.RGBA {
	channel := func(a, b uint8) uint8 { return uint8(math.Round(float64(a)*(1-share) + float64(b)*share)) }
	return color.RGBA{channel(under.R, over.R), channel(under.G, over.G), channel(under.B, over.B), 255}
}

// contrast chooses the ink that is best read on a cell: white or nearly black.
// "Relative luminance" and "contrast ratio" as the Web Content Accessibility Guidelines 2 define them.
func contrast(background color.RGBA, palette color.Palette) uint8 {
	l := luminance(background) + 0.05
	dark := luminance(palette[ink+full].(color.RGBA)) + 0.05
	light := luminance(palette[whiteInk].(color.RGBA)) + 0.05
	if light/l > l/dark {
		return whiteInk
	}
	return ink + full
}

func luminance(c color.RGBA) float64 {
	linear := func(v uint8) float64 {
		x := float64(v) / 255
		if x <= 0.04045 {
			return x / 12.92
		}
		return math.Pow((x+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c.R) + 0.7152*linear(c.G) + 0.0722*linear(c.B)
}

// ticks gives round values between low and high, multiples of 1, 2, 2.5 or 5 · 10ⁿ, about most of them at most, and their texts.
func ticks(low, high float64, most int) (values []float64, texts []string) {
	least := (high - low) / float64(max(most, 2)) // a step may not be smaller
	power := math.Floor(math.Log10(least))
	var step float64
	decimals := -int(power)
	for _, factor := range []float64{1, 2, 2.5, 5, 10} {
		if step = factor * math.Pow(10, power); step >= least*(1-1e-9) {
			if factor == 2.5 {
				decimals++
			} else if factor == 10 {
				decimals--
			}
			break
		}
	}
	size := math.Max(math.Abs(low), math.Abs(high))
	for i := math.Ceil(low/step - 1e-9); i*step <= high+1e-9*step; i++ {
		values = append(values, i*step)
		if decimalsFor(size) < 0 {
			texts = append(texts, exponent(i*step, decimals+int(math.Floor(math.Log10(size)))+1))
		} else {
			texts = append(texts, number(i*step, max(decimals, 0)))
		}
	}
	return values, texts
}

// decimalsFor is how many decimals show three digits of a number of this size: 2 for 3.14, 1 for 31.4, 3 for 0.314.
// At least one hundredth is shown of what is a logit, so 31.4 has two as well. -1 means that it should be written with an exponent.
func decimalsFor(size float64) int {
	switch {
	case size == 0:
		return 2
	case size >= 1e6 || size < 1e-4:
		return -1
	case size >= 1 && size < 100:
		return 2
	}
	return max(0, 2-int(math.Floor(math.Log10(size))))
}

// number writes a value with a true minus sign; with an exponent where decimals is -1.
func number(value float64, decimals int) string {
	if math.IsInf(value, 0) {
		return sign(value) + "∞"
	}
	if decimals < 0 {
		return exponent(value, 2)
	}
	text := strconv.FormatFloat(math.Abs(value), 'f', decimals, 64)
	if strings.Trim(text, "0.") == "" { // −0.00 is 0.00
		return text
	}
	return sign(value) + text
}

// exponent writes a value such as −1.25e8, with at most so many decimals.
func exponent(value float64, decimals int) string {
	if value == 0 {
		return "0"
	}
	mantissa, power, _ := strings.Cut(strconv.FormatFloat(math.Abs(value), 'e', max(decimals, 1), 64), "e")
	mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	n, _ := strconv.Atoi(power)
	return sign(value) + mantissa + "e" + strings.Replace(strconv.Itoa(n), "-", "−", 1)
}

func sign(value float64) string {
	if value < 0 {
		return "−"
	}
	return ""
}

// colorMaps holds evenly spaced anchors, 0xRRGGBB, from the lowest value to the highest.
//
// viridis is by Nathaniel Smith and Stéfan van der Walt (2015, in the public domain under CC0): every fifth of its 256 colours, so that no
// interpolated one is off by more than 1/255. Its lightness grows evenly, it stays in order for the colour-blind and on a grey printer.
//
// rdbu is the diverging scheme RdBu of 11 colours by Cynthia Brewer, ColorBrewer 2.0, colorbrewer2.org (Apache License 2.0).
var colorMaps = map[string][]uint32{
	"viridis": {
		0x440154, 0x46085c, 0x471063, 0x481769, 0x481d6f, 0x482475, 0x472a7a, 0x46307e, 0x453781, 0x433d84, 0x414287, 0x3f4889, 0x3d4e8a,
		0x3a538b, 0x38598c, 0x355e8d, 0x33638d, 0x31688e, 0x2e6d8e, 0x2c718e, 0x2a768e, 0x297b8e, 0x27808e, 0x25848e, 0x23898e, 0x218e8d,
		0x20928c, 0x1f978b, 0x1e9c89, 0x1fa188, 0x21a585, 0x24aa83, 0x28ae80, 0x2eb37c, 0x35b779, 0x3dbc74, 0x46c06f, 0x50c46a, 0x5ac864,
		0x65cb5e, 0x70cf57, 0x7cd250, 0x89d548, 0x95d840, 0xa2da37, 0xb0dd2f, 0xbddf26, 0xcae11f, 0xd8e219, 0xe5e419, 0xf1e51d, 0xfde725,
	},
	"rdbu": {
		0x67001f, 0xb2182b, 0xd6604d, 0xf4a582, 0xfddbc7, 0xf7f7f7, 0xd1e5f0, 0x92c5de, 0x4393c3, 0x2166ac, 0x053061,
	},
}
