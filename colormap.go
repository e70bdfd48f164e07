package main

import (
	"image/color"
	"math"
	"strconv"
	"strings"
)

// colorScale gives every value its colour. low lies at the beginning of the colour map, high at its end.
type colorScale struct {
	low, high float64
	anchors   []uint32
}

// newColorScale makes a scale that spans low … high. Where there is nothing to span (one value only, or none) it makes room around it.
func newColorScale(low, high float64, anchors []uint32) colorScale {
	if low > high { // no value at all
		low, high = 0, 1
	}
	const largest = 1e300 // so that high − low is finite
	low, high = math.Max(-largest, math.Min(low, largest)), math.Max(-largest, math.Min(high, largest))
	if size := math.Max(math.Abs(low), math.Abs(high)); high-low <= 1e-9*size || high == low {
		room := math.Max(size/10, 0.5)
		if size > 0 && size < 0.01 {
			room = size / 2
		}
		low, high = low-room, high+room
	}
	return colorScale{low, high, anchors}
}

// position is where a value lies on the scale, 0 … 1. Infinities lie at the ends.
func (s colorScale) position(value float64) float64 {
	return math.Max(0, math.Min(1, (value-s.low)/(s.high-s.low)))
}

func (s colorScale) color(value float64) color.RGBA { return s.at(s.position(value)) }

// at is the colour at a position 0 … 1 of the scale, interpolated between the two anchors beside it.
func (s colorScale) at(position float64) color.RGBA {
	x := position * float64(len(s.anchors)-1)
	i := min(int(x), len(s.anchors)-2)
	mix := func(shift int) uint8 {
		a, b := float64(s.anchors[i]>>shift&255), float64(s.anchors[i+1]>>shift&255)
		return uint8(math.Round(a + (b-a)*(x-float64(i))))
	}
	return color.RGBA{mix(16), mix(8), mix(0), 255}
}

// contrast is the colour of a text that is best read on a background: white, or nearly black.
// Luminance and contrast as in the Web Content Accessibility Guidelines 2, "relative luminance" and "contrast ratio".
func contrast(background color.RGBA) color.RGBA {
	l := luminance(background)
	if (luminance(white)+0.05)/(l+0.05) > (l+0.05)/(luminance(ink)+0.05) {
		return white
	}
	return ink
}

func luminance(c color.RGBA) float64 {
	linear := func(v uint8) float64 {
		if x := float64(v) / 255; x > 0.04045 {
			return math.Pow((x+0.055)/1.055, 2.4)
		} else {
			return x / 12.92
		}
	}
	return 0.2126*linear(c.R) + 0.7152*linear(c.G) + 0.0722*linear(c.B)
}

// ticks gives at most about most round values between low and high, multiples of 1, 2, 2.5 or 5 · 10ⁿ, and their texts.
func ticks(low, high float64, most int) (values []float64, texts []string) {
	width := (high - low) / float64(max(most, 2))
	power := math.Floor(math.Log10(width))
	step := math.Pow(10, power)
	digits := -int(power) // decimals that the step needs
	for _, factor := range []float64{1, 2, 2.5, 5, 10} {
		if step = factor * math.Pow(10, power); step >= width*(1-1e-9) {
			if factor == 2.5 {
				digits++
			} else if factor == 10 {
				digits--
			}
			break
		}
	}
	for i := math.Ceil(low/step - 1e-9); i*step <= high+1e-9*step && len(values) < 100; i++ {
		values = append(values, i*step+0) // + 0 turns −0 into 0
		if size := math.Max(math.Abs(low), math.Abs(high)); size >= 1e6 || size < 1e-3 {
			texts = append(texts, exponent(i*step+0))
		} else {
			texts = append(texts, number(i*step+0, max(digits, 0)))
		}
	}
	return values, texts
}

// digitsAfterPoint is the number of decimals that gives a number of this size three digits: 2 for 3.14 and 31.42, 1 for 314.2,
// 3 for 0.314. Beyond 0.001 … 100000 it does not matter: such numbers are written with an exponent.
func digitsAfterPoint(size float64) int {
	switch {
	case size >= 1000:
		return 0
	case size >= 100:
		return 1
	case size >= 1 || size == 0:
		return 2
	}
	return 3
}

// number writes a value with a true minus sign; very large and very small ones with an exponent.
func number(value float64, decimals int) string {
	size := math.Abs(value)
	switch {
	case math.IsInf(value, 0):
		return sign(value) + "∞"
	case math.IsNaN(value):
		return "NaN"
	case size >= 1e6:
		return exponent(value)
	}
	text := strconv.FormatFloat(size, 'f', decimals, 64)
	if strings.Trim(text, "0.") == "" { // −0.00 is 0.00
		return text
	}
	return sign(value) + text
}

// exponent writes a value such as −1.25e8.
func exponent(value float64) string {
	if value == 0 {
		return "0"
	}
	text := strconv.FormatFloat(math.Abs(value), 'e', 3, 64)
	mantissa, power, _ := strings.Cut(text, "e")
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
