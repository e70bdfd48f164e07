package main

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The canvas knows about pixels, colours and letters, and how a PNG file is written; the scale
// about numbers: where among the colours a value stands, and in how many digits it is written.

// canvas is the picture. Its methods take pixels of scale 1, squares of scale × scale pixels of the
// picture.
type canvas struct {
	picture  *image.Paletted
	scale    int
	valueInk [stretches]uint8
}

// newCanvas is a white picture of width × height pixels of scale 1.
func newCanvas(width, height, scale int, colorMap []uint32) *canvas {
	palette, valueInk := newPalette(colorMap)
	width, height = width*scale, height*scale
	return &canvas{&image.Paletted{Pix: bytes.Repeat([]byte{white}, width*height), Stride: width,
		Rect: image.Rect(0, 0, width, height), Palette: palette}, scale, valueInk}
}

func (c *canvas) fill(r image.Rectangle, color uint8) {
	c.shade(r, func(_, _ int) uint8 { return color })
}

// hatch paints a cell that has no value: slanted grey lines.
func (c *canvas) hatch(cell image.Rectangle) {
	c.shade(cell, func(x, y int) uint8 {
		if (x+y)/c.scale%8 == 0 {
			return hatchLine
		}
		return hatchPaper
	})
}

// gradient paints the colour bar, the end of the colour map on top.
func (c *canvas) gradient(bar image.Rectangle) {
	bottom, steps := bar.Max.Y*c.scale-1, bar.Dy()*c.scale-1
	c.shade(bar, func(_, y int) uint8 {
		return uint8(((bottom-y)*2*(mapSteps-1)/steps + 1) / 2)
	})
}

// shade paints a rectangle with the colour of each pixel of the picture.
func (c *canvas) shade(r image.Rectangle, color func(x, y int) uint8) {
	r = image.Rectangle{r.Min.Mul(c.scale), r.Max.Mul(c.scale)}.Intersect(c.picture.Rect)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			c.picture.Pix[y*c.picture.Stride+x] = color(x, y)
		}
	}
}

// textRun is a piece of text in one colour, such as ink.
type textRun struct {
	text string
	ink  uint8
}

// placedText is runs one after the other from (x, y), the lower left corner of the first letter.
// Up, they are turned by 90 degrees to the left, and (x, y) is that letter's lower right corner.
type placedText struct {
	font *font
	x, y int
	up   bool
	runs []textRun
}

func (c *canvas) text(t placedText) {
	for _, r := range t.runs {
		for _, char := range r.text {
			b := t.font.bitmap(char)
			for i, level := range b.Pix {
				right, down := b.Rect.Min.X+i%b.Stride, b.Rect.Min.Y+i/b.Stride
				if t.up {
					right, down = down, -1-right
				}
				c.ink(t.x*c.scale+right, t.y*c.scale+down, level, r.ink)
			}
			if t.up {
				t.y -= t.font.advance(char)
			} else {
				t.x += t.font.advance(char)
			}
		}
	}
}

// ink covers level eighths of one pixel. On a cell the ink is the one that contrasts with it. Where
// two letters touch, the darker pixel stays.
func (c *canvas) ink(x, y int, level, color uint8) {
	if !(image.Point{x, y}).In(c.picture.Rect) {
		return
	}
	pixel := &c.picture.Pix[c.picture.PixOffset(x, y)]
	under, cell, before := *pixel, *pixel/stretch, uint8(0) // so many eighths are covered
	switch {
	case under > white:
		return
	case under < white && under >= firstInk:
		before = (under-firstInk)%levels + 1
	case under < firstInk && under >= firstEdge:
		cell, before = (under-firstEdge)/(levels-1), (under-firstEdge)%(levels-1)+1
	}
	switch {
	case level <= before:
	case under >= firstInk:
		*pixel = color + level - 1
	case level == levels:
		*pixel = c.valueInk[cell]
	default:
		*pixel = firstEdge + cell*(levels-1) + level - 1
	}
}

// writePNG writes a picture as PNG. What image/png does not write comes between the header and the
// rest: pHYs, how many pixels a metre has, so that a document shows the picture in that size, and
// texts with their keywords, iTXt.
func writePNG(w io.Writer, picture image.Image, density int, comments [][2]string) error {
	var file bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := encoder.Encode(&file, picture); err != nil {
		return err
	}
	const header = 8 + 4 + 4 + 13 + 4 // the signature and the chunk IHDR
	out := slices.Clone(file.Next(header))
	chunk := func(body []byte) {
		out = binary.BigEndian.AppendUint32(out, uint32(len(body)-4))
		out = append(out, body...)
		out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(body))
	}
	size := binary.BigEndian.AppendUint32([]byte("pHYs"), uint32(density))
	chunk(append(binary.BigEndian.AppendUint32(size, uint32(density)), 1))
	for _, c := range comments {
		chunk([]byte("iTXt" + c[0] + "\x00\x00\x00\x00\x00" + strings.ToValidUTF8(c[1], "\ufffd")))
	}
	_, err := w.Write(append(out, file.Bytes()...))
	return err
}

// The palette. A picture of at most 256 colours is encoded eight times faster than one with three
// bytes for each pixel. The colour map takes half of them, more than the eye tells apart. The
// others are the edges of letters: a pixel that is partly covered has a colour of its own, for
// every ink on paper and for every stretch of the colour map under a cell's value.
const (
	mapSteps   = 131 // odd, so that rdbu has a middle. 0 … 130: the colour map
	stretch    = 11  // steps of the colour map that share the edges of a letter written on them
	firstEdge  = mapSteps
	stretches  = (mapSteps + stretch - 1) / stretch
	firstInk   = firstEdge + stretches*(levels-1)
	ink        = firstInk          // one to eight eighths of the ink on white paper, and so on
	paleInk    = ink + levels      // the subtitle, escapes
	faintInk   = paleInk + levels  // the box that stands for a space
	accent     = faintInk + levels // the clean text
	white      = accent + levels
	whiteInk   = white + 1  // a value on a dark cell
	frameGrey  = white + 2  // frames and ticks
	hatchLine  = white + 3  // a cell without a value …
	hatchPaper = white + 4  // … and what is between its lines
	fullInk    = levels - 1 // ink + fullInk is the ink itself
)

// newPalette makes the palette of a colour map, and chooses the ink on each stretch of it.
func newPalette(anchors []uint32) (palette color.Palette, valueInk [stretches]uint8) {
	palette = make(color.Palette, hatchPaper+1)
	for i := range mapSteps {
		palette[i] = interpolate(anchors, float64(i)/(mapSteps-1))
	}
	paper := color.RGBA{255, 255, 255, 255}
	palette[white], palette[whiteInk] = paper, paper
	palette[frameGrey] = color.RGBA{90, 90, 90, 255}
	palette[hatchLine] = color.RGBA{220, 220, 220, 255}
	palette[hatchPaper] = color.RGBA{244, 244, 244, 255}
	inks := []color.RGBA{ // as ink, paleInk, faintInk and accent
		{34, 34, 34, 255}, {104, 104, 104, 255}, {165, 165, 165, 255}, {190, 30, 45, 255},
	}
	for i, over := range inks {
		for level := 1; level <= levels; level++ {
			palette[firstInk+i*levels+level-1] = mix(paper, over, float64(level)/levels)
		}
	}
	for i := range stretches {
		under := palette[min(i*stretch+stretch/2, mapSteps-1)].(color.RGBA)
		over := inks[0]
		valueInk[i] = ink + fullInk
		if contrast(under, paper) > contrast(under, over) {
			over, valueInk[i] = paper, whiteInk
		}
		for level := 1; level < levels; level++ {
			palette[firstEdge+i*(levels-1)+level-1] = mix(under, over, float64(level)/levels)
		}
	}
	return palette, valueInk
}

// colorMaps are the evenly spaced anchors of each colour map, 0xRRGGBB, from the lowest value to
// the highest.
var colorMaps = map[string][]uint32{"viridis": viridis, "rdbu": rdbu}

// viridis is by Nathaniel Smith and Stéfan van der Walt (2015, in the public domain under CC0):
// every fifth of its 256 colours, so that no interpolated one is off by more than 1/255. Its
// lightness grows evenly, it stays in order for the colour-blind and on a grey printer.
var viridis = []uint32{
	0x440154, 0x46085c, 0x471063, 0x481769, 0x481d6f, 0x482475, 0x472a7a, 0x46307e, 0x453781,
	0x433d84, 0x414287, 0x3f4889, 0x3d4e8a, 0x3a538b, 0x38598c, 0x355e8d, 0x33638d, 0x31688e,
	0x2e6d8e, 0x2c718e, 0x2a768e, 0x297b8e, 0x27808e, 0x25848e, 0x23898e, 0x218e8d, 0x20928c,
	0x1f978b, 0x1e9c89, 0x1fa188, 0x21a585, 0x24aa83, 0x28ae80, 0x2eb37c, 0x35b779, 0x3dbc74,
	0x46c06f, 0x50c46a, 0x5ac864, 0x65cb5e, 0x70cf57, 0x7cd250, 0x89d548, 0x95d840, 0xa2da37,
	0xb0dd2f, 0xbddf26, 0xcae11f, 0xd8e219, 0xe5e419, 0xf1e51d, 0xfde725,
}

// rdbu is the diverging scheme RdBu of 11 colours by Cynthia Brewer, ColorBrewer 2.0,
// colorbrewer2.org (Apache License 2.0).
var rdbu = []uint32{
	0x67001f, 0xb2182b, 0xd6604d, 0xf4a582, 0xfddbc7, 0xf7f7f7, 0xd1e5f0, 0x92c5de, 0x4393c3,
	0x2166ac, 0x053061,
}

// interpolate gives the colour at a position 0 … 1 of a colour map.
func interpolate(anchors []uint32, position float64) color.RGBA {
	x := position * float64(len(anchors)-1)
	i := min(int(x), len(anchors)-2)
	anchor := func(i int) color.RGBA {
		v := anchors[i]
		return color.RGBA{uint8(v >> 16), uint8(v >> 8), uint8(v), 255}
	}
	return mix(anchor(i), anchor(i+1), x-float64(i))
}

// mix lays a colour over another, share (0 … 1) of it.
func mix(under, over color.RGBA, share float64) color.RGBA {
	channel := func(a, b uint8) uint8 {
		return uint8(math.Round(float64(a)*(1-share) + float64(b)*share))
	}
	return color.RGBA{channel(under.R, over.R), channel(under.G, over.G),
		channel(under.B, over.B), 255}
}

// contrast between two colours, and their luminance, are as the Web Content Accessibility
// Guidelines 2 define them.
func contrast(a, b color.RGBA) float64 {
	x, y := luminance(a)+0.05, luminance(b)+0.05
	return max(x/y, y/x)
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

// legible makes runs of a text that the font can show, no longer than width: what it lacks becomes
// an escape, in a token a space becomes an open box, and what does not fit an ellipsis.
func legible(f *font, text string, color uint8, width int, token bool) (runs []textRun) {
	for char := range strings.SplitSeq(text, "") {
		run := textRun{char, color}
		if token && char == " " {
			run = textRun{"␣", faintInk}
		} else if !drawable(char) {
			run = textRun{escape(char), paleInk}
		}
		if width -= f.width(run.text); width < 0 {
			return append(runs, textRun{"…", color})
		}
		runs = append(runs, run)
	}
	return runs
}

// escaped puts escapes in place of the characters of a text, and the bytes that are none, that are
// not to be kept.
func escaped(text string, keep func(char string) bool) string {
	var b strings.Builder
	for char := range strings.SplitSeq(text, "") {
		if !keep(char) {
			char = escape(char)
		}
		b.WriteString(char)
	}
	return b.String()
}

// drawable tells whether the font has the character, and a reader can see it: not a no-break space
// or a soft hyphen.
func drawable(char string) bool {
	r, _ := utf8.DecodeRuneInString(char)
	_, found := glyphs()[r]
	return found && r != utf8.RuneError && r != '\u00a0' && r != '\u00ad'
}

// escape writes one character, or one byte of a broken one, in ASCII: \n, \u4e2d, \xe4.
func escape(char string) string {
	quoted := strconv.QuoteToASCII(char)
	return quoted[1 : len(quoted)-1]
}

func runsWidth(f *font, runs []textRun) int {
	sum := 0
	for _, r := range runs {
		sum += f.width(r.text)
	}
	return sum
}

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
	size := max(math.Abs(low), math.Abs(high))
	if high-low > 1e-9*size {
		return colorScale{low, high}
	}
	room := max(size/10, 0.5)
	if size > 0 && size < 0.01 {
		room = size / 2
	}
	return colorScale{low - room, high + room}
}

// decimals is how many decimals its values are written with, and how many they must have at least
// so that a 25th of the range, which the eye sees as another colour, is another number. Both are
// negative for numbers with an exponent, as formatValue wants them.
func (s colorScale) decimals() (usual, least int) {
	size := max(math.Abs(s.low), math.Abs(s.high))
	usual, least = decimalsFor(size), -powerOf((s.high-s.low)/25)
	if usual < 0 {
		least = 1 - min(max(least+powerOf(size), 2), 15)
		return least, least
	}
	return max(usual, least), max(least, 0)
}

// position is where a value lies on the scale, 0 … 1. Infinities lie at the ends.
func (s colorScale) position(value float64) float64 {
	return max(0, min(1, (value-s.low)/(s.high-s.low)))
}

// step is the place of a value among the colours of the palette.
func (s colorScale) step(value float64) uint8 {
	return uint8(math.Round(s.position(value) * (mapSteps - 1)))
}

// ticks gives round values between low and high, multiples of 1, 2, 2.5 or 5 · 10ⁿ, and their
// texts: about most of them at most.
func ticks(low, high float64, most int) (values []float64, texts []string) {
	least := (high - low) / float64(max(most, 2)) // a step may not be smaller
	power, step, decimals := powerOf(least), 0.0, 0
	for _, round := range []struct {
		factor   float64
		decimals int
	}{{1, 0}, {2, 0}, {2.5, 1}, {5, 0}, {10, -1}} {
		step = round.factor * math.Pow(10, float64(power))
		decimals = max(round.decimals-power, 0)
		if step >= least*(1-1e-9) {
			break
		}
	}
	if size := max(math.Abs(low), math.Abs(high)); decimalsFor(size) < 0 {
		decimals = min(power-powerOf(size)-1, -1)
	}
	for i := math.Ceil(low/step - 1e-9); i*step <= high+1e-9*step; i++ {
		values, texts = append(values, i*step), append(texts, formatValue(i*step, decimals))
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
	return max(0, 2-powerOf(size))
}

// powerOf is n for a size from 10ⁿ on.
func powerOf(size float64) int { return int(math.Floor(math.Log10(size))) }

// formatValue writes a value with a true minus sign; where decimals is negative, with an exponent
// and at most 1 − decimals decimals: −1.25e8.
func formatValue(value float64, decimals int) string {
	text := strconv.FormatFloat(value, 'f', max(decimals, 0), 64)
	switch {
	case decimals < 0 && value != 0 && !math.IsInf(value, 0):
		mantissa, power, _ := strings.Cut(strconv.FormatFloat(value, 'e', 1-decimals, 64), "e")
		text = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".") + "e" + power
	case strings.Trim(text, "-0.") == "": // −0.00 is 0.00
		text = strings.TrimPrefix(text, "-")
	}
	return signs.Replace(text)
}

var signs = strings.NewReplacer("+Inf", "∞", "-Inf", "−∞", "e+0", "e", "e+", "e", "e-0", "e−",
	"-", "−")
