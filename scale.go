package main

import (
	"math"
	"strconv"
	"strings"
)

// colorScale gives every value its place on the colour map, which spans low … high.
type colorScale struct {
	low, high float64
}

// newColorScale makes a scale that spans low … high. Where there is nothing to span (one value
// only, or none) it makes room around it.
func newColorScale(low, high float64) colorScale {
	if low > high { // no value at all
		low, high = 0, 1
	}
	const largest = 1e300 // so that high − low is finite
	low, high = max(-largest, min(low, largest)), max(-largest, min(high, largest))
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

func (s colorScale) size() float64 { return math.Max(math.Abs(s.low), math.Abs(s.high)) }

// decimals is how many decimals its values are written with, and how many they must have at least
// so that a 25th of the range, which the eye sees as another colour, is another number. Both are
// negative for numbers with an exponent, as formatValue wants them.
func (s colorScale) decimals() (usual, least int) {
	power := func(x float64) int { return int(math.Floor(math.Log10(x))) }
	usual, least = decimalsFor(s.size()), -power((s.high-s.low)/25)
	if usual < 0 {
		least = 1 - min(max(least+power(s.size()), 2), 15)
	} else {
		least = max(least, 0)
	}
	if usual < 0 || least > usual {
		usual = least
	}
	return usual, least
}

// position is where a value lies on the scale, 0 … 1. Infinities lie at the ends.
func (s colorScale) position(value float64) float64 {
	return math.Max(0, math.Min(1, (value-s.low)/(s.high-s.low)))
}

// step is the place of a value among the colours of the palette.
func (s colorScale) step(value float64) uint8 {
	return uint8(math.Round(s.position(value) * (mapSteps - 1)))
}

// ticks gives round values between low and high, multiples of 1, 2, 2.5 or 5 · 10ⁿ, and their
// texts: about most of them at most.
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
			texts = append(texts, formatValue(i*step, max(decimals, 0)))
		}
	}
	return values, texts
}

// decimalsFor is how many decimals show three digits of a number of this size: 2 for 3.14, 3 for
// 0.314; but also 2 for 31.4, which may be a logit. −1 asks for an exponent.
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

// formatValue writes a value with a true minus sign; where decimals is negative, with an exponent
// and 1 − decimals decimals.
func formatValue(value float64, decimals int) string {
	if math.IsInf(value, 0) {
		return minus(value) + "∞"
	}
	if decimals < 0 {
		return exponent(value, 1-decimals)
	}
	text := strconv.FormatFloat(math.Abs(value), 'f', decimals, 64)
	if strings.Trim(text, "0.") == "" { // −0.00 is 0.00
		return text
	}
	return minus(value) + text
}

// exponent writes a value such as −1.25e8, with at most so many decimals.
func exponent(value float64, decimals int) string {
	if value == 0 {
		return "0"
	}
	text := strconv.FormatFloat(math.Abs(value), 'e', max(decimals, 1), 64)
	mantissa, power, _ := strings.Cut(text, "e")
	mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	n, _ := strconv.Atoi(power)
	return minus(value) + mantissa + "e" + strings.Replace(strconv.Itoa(n), "-", "−", 1)
}

func minus(value float64) string {
	if value < 0 {
		return "−"
	}
	return ""
}

// nextRound continues 1, 2, 5, 10, 20, 50, …
func nextRound(step int) int {
	for unit := 1; ; unit *= 10 {
		for _, digit := range []int{1, 2, 5} {
			if digit*unit > step {
				return digit * unit
			}
		}
	}
}
