package main

import (
	"image"
	"image/color"
)

// canvas is the picture. Its methods take pixels of scale 1; each is a square of scale × scale pixels of the picture.
type canvas struct {
	picture  *image.Paletted
	scale    int
	valueInk [stretches]uint8
}

// newCanvas is a white picture of width × height pixels of scale 1.
func newCanvas(width, height, scale int, colorMap []uint32) *canvas {
	palette, valueInk := newPalette(colorMap)
	c := &canvas{image.NewPaletted(image.Rect(0, 0, width*scale, height*scale), palette), scale, valueInk}
	c.fill(image.Rect(0, 0, width, height), white)
	return c
}

// pixels is a rectangle of the layout in pixels of the picture.
func (c *canvas) pixels(r image.Rectangle) image.Rectangle {
	return image.Rectangle{r.Min.Mul(c.scale), r.Max.Mul(c.scale)}.Intersect(c.picture.Rect)
}

// row is the part of one row of the picture that lies in r.
func (c *canvas) row(r image.Rectangle, y int) []uint8 {
	return c.picture.Pix[c.picture.PixOffset(r.Min.X, y):][:r.Dx()]
}

// fill paints a rectangle: one row by hand, the others as its copies.
func (c *canvas) fill(r image.Rectangle, color uint8) {
	r = c.pixels(r)
	if r.Empty() {
		return
	}
	first := c.row(r, r.Min.Y)
	for x := range first {
		first[x] = color
	}
	for y := r.Min.Y + 1; y < r.Max.Y; y++ {
		copy(c.row(r, y), first)
	}
}

// hatch paints a cell that has no value: slanted grey lines.
func (c *canvas) hatch(cell image.Rectangle) {
	r := c.pixels(cell)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		row := c.row(r, y)
		for x := range row {
			row[x] = hatchPaper
			if (r.Min.X+x+y)/c.scale%8 == 0 {
				row[x] = hatchLine
			}
		}
	}
}

// gradient paints the colour bar, the end of the colour map on top.
func (c *canvas) gradient(bar image.Rectangle) {
	r := c.pixels(bar)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		row := c.row(r, y)
		for x := range row {
			row[x] = uint8(((r.Max.Y-1-y)*2*(mapSteps-1)/(r.Dy()-1) + 1) / 2)
		}
	}
}

// pointer paints a small triangle whose tip points at (x, y) from the right, and a thin line from there to a text that had to move to labelY.
func (c *canvas) pointer(x, y, labelY int, color uint8) {
	for i := 0; i < 5; i++ {
		c.fill(image.Rect(x+i, y-i, x+i+1, y+i+1), color)
	}
	if labelY != y {
		c.fill(image.Rect(x+4, min(y, labelY), x+5, max(y, labelY)+1), color)
	}
}

// text writes runs one after the other, from (x, y), the lower left corner of the first letter.
func (c *canvas) text(f *font, x, y int, runs ...run) {
	for _, r := range runs {
		for _, char := range r.text {
			b := f.bitmap(char)
			for i, level := range b.cover {
				c.ink(x*c.scale+b.left+i%b.width, y*c.scale+b.top+i/b.width, level, r.ink)
			}
			x += f.advance(char)
		}
	}
}

// textUp writes runs turned by 90 degrees to the left, upwards from (x, y), the lower right corner of the first letter so turned.
func (c *canvas) textUp(f *font, x, y int, runs ...run) {
	for _, r := range runs {
		for _, char := range r.text {
			b := f.bitmap(char)
			for i, level := range b.cover {
				c.ink(x*c.scale+b.top+i/b.width, y*c.scale-1-b.left-i%b.width, level, r.ink)
			}
			y -= f.advance(char)
		}
	}
}

// ink covers level eighths of one pixel. On a cell the ink is the one that contrasts with it. Where two letters touch, the darker pixel stays.
func (c *canvas) ink(x, y int, level, color uint8) {
	if level == 0 || !(image.Point{x, y}).In(c.picture.Rect) {
		return
	}
	pixel := &c.picture.Pix[c.picture.PixOffset(x, y)]
	switch under := *pixel; {
	case under < firstEdge:
		*pixel = c.onCell(under/stretch, level)
	case under < firstInk:
		if s, before := (under-firstEdge)/(levels-1), (under-firstEdge)%(levels-1)+1; level > before {
			*pixel = c.onCell(s, level)
		}
	case under < white:
		if before := (under-firstInk)%levels + 1; level > before {
			*pixel = color + level - 1
		}
	case under == white:
		*pixel = color + level - 1
	}
}

// onCell is the colour of a pixel of a stretch of the colour map that ink covers to level eighths.
func (c *canvas) onCell(s, level uint8) uint8 {
	if level < levels {
		return firstEdge + s*(levels-1) + level - 1
	}
	return c.valueInk[s]
}

// The palette. A heat map has few colours, and a picture of at most 256 is encoded eight times faster than one with three bytes for each
// pixel. The colour map takes half of them, more than the eye tells apart. The others are the edges of letters: a pixel that
// is partly covered has a colour of its own, for every ink on paper and for every stretch of the colour map under a cell's value.
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
	full       = levels - 1 // ink + full is the ink itself
)

// newPalette fills in the colours for one colour map, and says in which ink a value is written on each stretch of it.
func newPalette(anchors []uint32) (palette color.Palette, valueInk [stretches]uint8) {
	palette = make(color.Palette, hatchPaper+1)
	for i := 0; i < mapSteps; i++ {
		palette[i] = interpolate(anchors, float64(i)/(mapSteps-1))
	}
	paper := color.RGBA{255, 255, 255, 255}
	palette[white], palette[whiteInk] = paper, paper
	palette[frameGrey] = color.RGBA{90, 90, 90, 255}
	palette[hatchLine] = color.RGBA{220, 220, 220, 255}
	palette[hatchPaper] = color.RGBA{244, 244, 244, 255}
	for i, over := range []color.RGBA{{34, 34, 34, 255}, {104, 104, 104, 255}, {165, 165, 165, 255}, {190, 30, 45, 255}} {
		for level := 1; level <= levels; level++ {
			palette[firstInk+i*levels+level-1] = mix(paper, over, float64(level)/levels)
		}
	}
	for i := 0; i < stretches; i++ {
		under := palette[min(i*stretch+stretch/2, mapSteps-1)].(color.RGBA)
		valueInk[i] = contrast(under, palette)
		over := palette[valueInk[i]].(color.RGBA)
		for level := 1; level < levels; level++ {
			palette[firstEdge+i*(levels-1)+level-1] = mix(under, over, float64(level)/levels)
		}
	}
	return palette, valueInk
}
