package main

import (
	"image"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// The font: a plain sans serif in which every glyph is drawn with one round pen: no outlines, only
// the path of the pen's middle. Bitmaps are made from the paths at the scale that is asked for, so
// a picture at scale 2 has strokes of twice the pixels and no staircase.
//
// The paths lie on the pixel grid of scale 1: (0, 0) is the middle of the pixel at the left end of
// the baseline, x grows to the right, y up. A stem at a whole x fills one column of pixels and
// stays as crisp as one of a bitmap font; only slants and bends are smoothed.
//
//	y = 13  top of an accent on a capital
//	y = 10  ascender: b d f h k l
//	y =  9  capitals and digits
//	y =  6  small letters: a c e m n …
//	y =  0  baseline
//	y = -3  descender: g j p q y
//
// A word is a stroke: points x,y, each after the sign of the way to it. After / the pen goes
// straight there. After ~ stands a control point: the pen bends towards it and does not reach it,
// and between two control points it passes through their middle (the convention of TrueType's
// outlines). A stroke that begins with a control point is a closed loop, so a box of four is an
// "o". One point alone is a dot.

// font writes glyphs at one size and scale.
type font struct {
	size  float64 // pixels of scale 1 for each unit of the glyphs' grid
	pen   float64 // width of the pen, pixels of scale 1
	scale int
}

// levels is the number of steps from paper to ink: enough for a smooth edge, few enough for a
// palette.
const levels = 8

// width is the length of a text in pixels of scale 1.
func (f *font) width(text string) int {
	sum := 0
	for _, char := range text {
		sum += f.advance(char)
	}
	return sum
}

// advance is the distance to the next character's origin, in pixels of scale 1.
func (f *font) advance(char rune) int {
	return int(math.Round(float64(findGlyph(char).advance) * f.size))
}

type character struct {
	font
	rune
}

// drawn holds the characters that were drawn, each font's own.
var drawn = map[character]*image.Alpha{}

// bitmap draws a character, once: how many of the levels of each pixel the pen covers. The origin
// of its coordinates is the character's, their y grows downwards.
func (f *font) bitmap(char rune) *image.Alpha {
	c := character{*f, char}
	if drawn[c] == nil {
		drawn[c] = f.draw(findGlyph(char).strokes)
	}
	return drawn[c]
}

type point struct{ x, y float64 }

// draw covers pixels with the pen: one whose centre is d from the pen's path is covered by
// radius + ½ − d of it, between 0 and 1.
func (f *font) draw(strokes [][]point) *image.Alpha {
	scale, radius := float64(f.scale), f.pen*float64(f.scale)/2
	// From the glyphs' grid to pixels of the picture, rounded so that horizontal strokes stay
	// crisp at any size.
	pixel := func(p point) point {
		y := p.y * f.size
		if p.y == math.Trunc(p.y) {
			y = math.Round(y)
		}
		return point{(p.x*f.size + 0.5) * scale, -(y + 0.5) * scale}
	}
	reach := func(a, b point) image.Rectangle { // what the pen can touch between a and b
		low := func(a, b float64) int { return int(math.Floor(min(a, b) - radius - 0.5)) }
		high := func(a, b float64) int { return int(math.Ceil(max(a, b) + radius + 0.5)) }
		return image.Rect(low(a.x, b.x), low(a.y, b.y), high(a.x, b.x), high(a.y, b.y))
	}
	var area image.Rectangle
	for _, p := range slices.Concat(strokes...) {
		area = area.Union(reach(pixel(p), pixel(p)))
	}
	bitmap := image.NewAlpha(area)
	for _, stroke := range strokes {
		from := pixel(stroke[0])
		for _, p := range stroke {
			to := pixel(p)
			near := reach(from, to)
			for i := range near.Dx() * near.Dy() {
				x, y := near.Min.X+i%near.Dx(), near.Min.Y+i/near.Dx()
				d := distance(point{float64(x) + 0.5, float64(y) + 0.5}, from, to)
				cover := &bitmap.Pix[bitmap.PixOffset(x, y)]
				*cover = max(*cover, uint8(levels*max(0, min(1, radius+0.5-d))+0.5))
			}
			from = to
		}
	}
	return bitmap
}

// distance from p to the nearest point of the straight line from a to b.
func distance(p, a, b point) float64 {
	x, y, dx, dy := p.x-a.x, p.y-a.y, b.x-a.x, b.y-a.y
	along := 0.0 // the share of the line that leads to that point
	if length := dx*dx + dy*dy; length > 0 {
		along = max(0, min(1, (x*dx+y*dy)/length))
	}
	return math.Hypot(x-along*dx, y-along*dy)
}

// glyph is one character: the pixels from its origin to the next one's, and the ways of the pen.
type glyph struct {
	advance int
	strokes [][]point
}

// findGlyph gives the glyph of a character. What the font lacks is an empty box.
func findGlyph(char rune) glyph {
	if g, found := glyphs()[char]; found {
		return g
	}
	return glyphs()['\ufffd']
}

// glyphs reads the tables. An accent is put above, or below, the middle of its letter.
var glyphs = sync.OnceValue(func() map[rune]glyph {
	all := map[rune]glyph{' ': {advance: 4}, '\u00a0': {advance: 4}}
	var char rune
	for word := range strings.FieldsSeq(drawings) {
		first, size := utf8.DecodeRuneInString(word)
		g := all[char]
		if advance, begins := strings.CutPrefix(word[size:], ":"); begins {
			char, g = first, glyph{}
			g.advance, _ = strconv.Atoi(advance)
		} else {
			g.strokes = append(g.strokes, parseStroke(word, 0, 0))
		}
		all[char] = g
	}
	all['\u00ad'] = all['-']
	for _, a := range accents {
		letters := []rune(a.letters)
		for i, char := range []rune(a.with) {
			letter, up := all[letters[i]], 0.0
			if letters[i] < 'a' && a.strokes[0] != '0' { // a capital is taller
				up = 3
			}
			left, right := math.Inf(1), math.Inf(-1)
			for _, p := range slices.Concat(letter.strokes...) {
				left, right = min(left, p.x), max(right, p.x)
			}
			letter.strokes = slices.Clip(letter.strokes)
			for word := range strings.FieldsSeq(a.strokes) {
				letter.strokes = append(letter.strokes, parseStroke(word, (left+right)/2, up))
			}
			all[char] = letter
		}
	}
	return all
})

// parseStroke turns a word of the tables into a polyline, moved by (dx, dy).
func parseStroke(word string, dx, dy float64) (line []point) {
	var points []point
	var control []bool
	ways := strings.TrimPrefix(strings.ReplaceAll(word, "~", "/~"), "/")
	for way := range strings.SplitSeq(ways, "/") {
		p, bends := strings.CutPrefix(way, "~")
		x, y, _ := strings.Cut(p, ",")
		right, _ := strconv.ParseFloat(x, 64)
		up, _ := strconv.ParseFloat(y, 64)
		points, control = append(points, point{right + dx, up + dy}), append(control, bends)
	}
	if control[0] { // a loop begins and ends between its last point and its first
		start := middle(points[0], points[len(points)-1])
		points = slices.Concat([]point{start}, points, []point{start})
		control = slices.Concat([]bool{false}, control, []bool{false})
	}
	for i, p := range points {
		switch {
		case !control[i]:
			line = append(line, p)
		case control[i+1]:
			line = bend(line, p, middle(p, points[i+1]))
		default:
			line = bend(line, p, points[i+1])
		}
	}
	return line
}

func middle(a, b point) point { return point{(a.x + b.x) / 2, (a.y + b.y) / 2} }

// bend appends the curve from the end of line to end, drawn towards via: a rational quadratic
// Bézier curve. The weight of via, √½ for an ellipse's quarter and 1 for a parabola, is one that
// makes letters a little squarer than an ellipse.
func bend(line []point, via, end point) []point {
	const pieces, weight = 8, 0.8
	start := line[len(line)-1]
	for i := 1; i <= pieces; i++ {
		t := float64(i) / pieces
		a, b, c := (1-t)*(1-t), 2*weight*t*(1-t), t*t
		line = append(line, point{
			(a*start.x + b*via.x + c*end.x) / (a + b + c),
			(a*start.y + b*via.y + c*end.y) / (a + b + c),
		})
	}
	return line
}

// drawings are the characters, each with a colon, the pixels from its origin to the next one's, and
// its strokes.
const drawings = `
!:4 1.5,9/1.5,3 1.5,0/1.5,0.5 ":6 1.5,9/1.5,6.5 4,9/4,6.5
#:9 3,9/1.6,0 6.4,9/5,0 0.8,6/7.4,6 0.6,3/7.2,3
$:8 6,6.8~5.2,8/3.6,8~1,8/1,6.2~1,4.7/3.6,4.2~6.3,3.7/6.3,2.1~6.3,0/3.6,0~1.8,0/0.9,1.2
	3.6,10/3.6,-2
%:12 ~1,9~4.6,9~4.6,4.6~1,4.6 ~6.4,4.4~10,4.4~10,0~6.4,0 8.6,9/2.4,0
&:10 8.2,4.2~7.6,0/3.6,0~1,0/1,2.3~1,3.8/3.2,5.1~5.6,6.4/5.6,7.5
	5.6,7.5~5.6,9/3.9,9~2.2,9/2.2,7.4~2.2,6.4/3,5.5/8.6,0
':3 1,9/1,6.5 (:5 3.5,10~1,7.2/1,4~1,0.8/3.5,-2.4 ):5 0.6,10~3.1,7.2/3.1,4~3.1,0.8/0.6,-2.4
*:7 3,9/3,4.6 1,8/5,5.6 5,8/1,5.6 +:9 4,7/4,1 1,4/7,4 ,:4 1.5,0.5/1.5,-0.3/0.8,-2 -:5 0.9,3/3.5,3
.:4 1.5,0/1.5,0.5 /:5 4.2,10/0.3,-1.4 0:8 ~1,9~6,9~6,0~1,0 1:8 1.4,7.8/3.8,9/4,9/4,0 1.6,0/6.3,0
2:8 1,7.4~1.9,9/3.5,9~6,9/6,6.6~6,5.2/4.4,3.5/1,0/6.2,0
3:8 1.1,8.2~2,9/3.4,9~5.9,9/5.9,7~5.9,5/3.5,5/2.7,5 3.5,5~6.2,5/6.2,2.5~6.2,0/3.4,0~1.8,0/0.9,0.9
4:8 5,0/5,9/4.7,9/0.8,3/6.7,3
5:8 5.7,9/1.5,9/1.3,5.1~2.2,5.8/3.4,5.8~6.1,5.8/6.1,2.9~6.1,0/3.2,0~1.8,0/0.9,0.8
6:8 5.6,8.5~4.9,9/3.9,9~1,9/1,3.9 ~1,5.8~6.1,5.8~6.1,0~1,0 7:8 1,9/6.2,9/2.7,0
8:8 ~1.3,9~5.8,9~5.8,5~1.3,5 ~1,5~6.1,5~6.1,0~1,0
9:8 1.4,0.5~2.1,0/3.1,0~6,0/6,5.1 ~6,3.2~0.9,3.2~0.9,9~6,9 ::4 1.5,5.5/1.5,6 1.5,0/1.5,0.5
;:4 1.5,5.5/1.5,6 1.5,0.5/1.5,-0.3/0.8,-2 <:9 7,7/1,4/7,1 =:9 1,5.5/7,5.5 1,2.5/7,2.5
>:9 1,7/7,4/1,1 ?:7 0.9,8~1.7,9/3,9~5.3,9/5.3,7~5.3,5.8/4.2,5~3,4.2/3,2.8 3,0/3,0.5
@:13 8.3,5~7.9,6/6.3,6~3.8,6/3.8,3.6~3.8,1/6,1~7.8,1/8.3,3
	8.4,6.2/8.3,2.6~8.3,1/9.4,1~11.2,1/11.2,4.2
	11.2,4.2~11.2,9/6.3,9~1,9/1,3.6~1,-2/6.4,-2~7.8,-2/9,-1.4
A:9 0.5,0/3.9,9/4.1,9/7.5,0 1.7,3/6.3,3
B:9 4.4,5~6.6,5/6.6,7~6.6,9/4.4,9/1,9/1,0/4.6,0~7,0/7,2.5~7,5/4.6,5/1,5
C:9 7.3,7.8~6.3,9/4.7,9~1,9/1,4.5~1,0/4.7,0~6.3,0/7.3,1.2
D:10 1,0/1,9/3.8,9~8,9/8,4.5~8,0/3.8,0/1,0 E:8 6.3,9/1,9/1,0/6.4,0 1,5/5.8,5
F:8 6.3,9/1,9/1,0 1,5/5.6,5 G:10 7.6,7.8~6.6,9/4.8,9~1,9/1,4.5~1,0/4.8,0~6.8,0/8,1.3/8,4/5.2,4
H:9 1,9/1,0 7,9/7,0 1,5/7,5 I:3 1,9/1,0 J:7 5,9/5,2.8~5,0/2.8,0~1.3,0/0.8,1.2
K:8 1,9/1,0 6.8,9/1,3.6 2.9,5.3/7.2,0 L:7 1,9/1,0/6,0 M:11 1,0/1,9/1.3,9/5,3/8.7,9/9,9/9,0
N:9 1,0/1,9/1.3,9/6.7,0/7,0/7,9 O:10 ~1,9~8,9~8,0~1,0 P:8 1,0/1,9/4,9~6.6,9/6.6,6.5~6.6,4/4,4/1,4
Q:10 ~1,9~8,9~8,0~1,0 5.3,1.2/7.3,-1.9
R:9 1,0/1,9/4,9~6.6,9/6.6,6.7~6.6,4.4/4,4.4/1,4.4 4.4,4.4/7.2,0
S:8 6.3,7.8~5.4,9/3.7,9~1,9/1,6.8~1,5.2/3.7,4.7~6.6,4.1/6.6,2.3~6.6,0/3.6,0~1.8,0/0.8,1.3
T:8 0.4,9/7.2,9 3.8,9/3.8,0 U:9 1,9/1,3.5~1,0/4,0~7,0/7,3.5/7,9 V:9 0.5,9/3.9,0/4.1,0/7.5,9
W:12 0.4,9/2.8,0/3,0/5.6,9/5.8,9/8.4,0/8.6,0/11,9 X:8 0.7,9/6.9,0 6.9,9/0.7,0
Y:8 0.3,9/3.8,4.4/7.3,9 3.8,4.4/3.8,0 Z:8 0.9,9/6.8,9/0.9,0/7,0 [:5 3.3,10/1,10/1,-2/3.3,-2
\:5 0.3,10/4.2,-1.4 ]:5 0.7,10/3,10/3,-2/0.7,-2 ^:9 1,6/4,9/7,6 _:7 0,-2/6,-2
` + "`" + `:6 1.6,10/3.4,8
a:8 1.2,5.4~2.2,6/3.4,6~6,6/6,3.6/6,0 6,3.3/3.6,3.3~1,3.3/1,1.6~1,0/3,0~6,0/6,2.6
b:8 1,10/1,0 ~1,6~6,6~6,0~1,0 c:7 5.5,5.3~4.7,6/3.6,6~1,6/1,3~1,0/3.6,0~4.7,0/5.5,0.7
d:8 6,10/6,0 ~1,6~6,6~6,0~1,0 e:8 1,3/6,3~6,6/3.5,6~1,6/1,3~1,0/3.8,0~5,0/5.8,0.6
f:5 4.9,10/4.3,10~2,10/2,8/2,0 0.3,6/4.6,6
g:8 6,6/6,-0.4~6,-3/3.4,-3~2.2,-3/1.4,-2.5 ~1,6~6,6~6,0~1,0
h:8 1,10/1,0 1,3~1,6/3.6,6~6,6/6,3.5/6,0 i:3 1,6/1,0 1,8.7/1,9.2
j:3 1,6/1,-0.8~1,-3/-0.6,-3 1,8.7/1,9.2 k:7 1,10/1,0 5.5,6/1.2,2.4 2.7,3.6/5.9,0 l:3 1,10/1,0
m:13 1,6/1,0 1,3~1,6/3.4,6~6,6/6,3.5/6,0 6,3~6,6/8.5,6~11,6/11,3.5/11,0
n:8 1,6/1,0 1,3~1,6/3.6,6~6,6/6,3.5/6,0 o:8 ~1,6~6,6~6,0~1,0 p:8 1,6/1,-3 ~1,6~6,6~6,0~1,0
q:8 6,6/6,-3 ~1,6~6,6~6,0~1,0 r:5 1,6/1,0 1,3~1,6/3.5,6/4.5,6
s:7 5,5.2~4.2,6/3.1,6~1,6/1,4.6~1,3.5/3,3.1~5.3,2.7/5.3,1.5~5.3,0/3,0~1.6,0/0.8,0.9
t:5 2,8.4/2,2~2,0/3.8,0/4.5,0 0.3,6/4.5,6 u:8 1,6/1,2.5~1,0/3.4,0~6,0/6,3 6,6/6,0
v:7 0.5,6/2.9,0/3.1,0/5.5,6 w:10 0.5,6/2.4,0/2.6,0/4.4,6/4.6,6/6.4,0/6.6,0/8.5,6
x:7 0.7,6/5.4,0 5.4,6/0.7,0 y:7 0.5,6/3.1,0 5.6,6/2.7,-1.6~2.2,-3/1,-3/0.5,-3
z:7 0.9,6/5.2,6/0.9,0/5.4,0
{:6 4.6,10/4.2,10~2.6,10/2.6,8.4/2.6,6~2.6,4/0.8,4~2.6,4/2.6,2/2.6,-0.4~2.6,-2/4.2,-2/4.6,-2
|:5 2,10/2,-3
}:6 0.6,10/1,10~2.6,10/2.6,8.4/2.6,6~2.6,4/4.4,4~2.6,4/2.6,2/2.6,-0.4~2.6,-2/1,-2/0.6,-2
~:9 1,3.4~1.8,4.8/2.9,4.8~3.6,4.8/4.2,4~4.8,3.2/5.4,3.2~6.4,3.2/7.2,4.6
¡:4 1.5,-3/1.5,3 1.5,5.5/1.5,6
¢:8 5.8,5.3~5,6/3.9,6~1.3,6/1.3,3~1.3,0/3.9,0~5,0/5.8,0.7 3.8,8/3.8,-2
£:8 6.2,8.3~5.4,9/4.6,9~2.4,9/2.4,6.6/2.4,2.4~2.4,0.6/1,0/6.4,0 0.8,4/5,4
¤:9 ~1.7,6.6~6.3,6.6~6.3,1.4~1.7,1.4 1,7/2.4,5.7 7,7/5.6,5.7 1,1/2.4,2.3 7,1/5.6,2.3
¥:8 0.3,9/3.8,4.6/7.3,9 3.8,4.6/3.8,0 1,4/6.6,4 1,2/6.6,2 ¦:5 2,10/2,5 2,2/2,-3
§:7 4.9,8.3~4.2,9/3.1,9~1.3,9/1.3,7.6~1.3,6.6/3.2,5.8~5.5,4.9/5.5,3.6~5.5,2.5/4,1.9
	2.4,5.9~0.8,5.3/0.8,4~0.8,2.9/2.9,2.1~5,1.3/5,-0.2~5,-2/3.1,-2~1.8,-2/1,-1.3
¨:6 1.3,9/1.3,9.3 4,9/4,9.3
©:12 ~1,9~10,9~10,0~1,0 7.3,6.2~6.6,7/5.7,7~3.5,7/3.5,4.5~3.5,2/5.7,2~6.6,2/7.3,2.8
ª:6 0.9,8.6~1.7,9/2.5,9~4,9/4,7.5/4,5 4,7/2.6,7~0.9,7/0.9,6~0.9,5/2.2,5~4,5/4,6.6 0.8,3/4.2,3
«:8 3.3,5.6/1,3/3.3,0.4 6.3,5.6/4,3/6.3,0.4 ¬:9 1,4/7,4/7,1.4
®:12 ~1,9~10,9~10,0~1,0 4,2/4,7/5.8,7~7.2,7/7.2,5.7~7.2,4.4/5.8,4.4/4,4.4 5.8,4.4/7.3,2
¯:6 0.9,9/4.2,9 °:6 ~0.9,9~4.2,9~4.2,5.6~0.9,5.6 ±:9 4,8/4,2 1,5/7,5 1,0/7,0
²:6 0.9,8.2~1.4,9/2.3,9~3.9,9/3.9,7.6~3.9,6.8/3,6/0.9,4/4.1,4
³:6 0.9,8.6~1.5,9/2.3,9~3.8,9/3.8,7.8~3.8,6.7/2.4,6.7 2.4,6.7~4,6.7/4,5.3~4,4/2.3,4~1.4,4/0.8,4.5
´:6 2,8/3.8,10 µ:8 1,6/1,-3 1,2.5~1,0/3.4,0~6,0/6,3 6,6/6,0
¶:8 6,-2/6,9/3.6,9~0.9,9/0.9,6.6~0.9,4.2/3.6,4.2 3.8,9/3.8,-2 2.4,8.1/2.4,5.2 3,8.6/3,4.7
·:4 1.5,3.5/1.5,4 ¸:6 2.6,0/2.6,-0.9~4,-1/4,-2~4,-3/2.6,-3/1.6,-3 ¹:5 0.9,8.2/2.4,9/2.5,9/2.5,4
º:6 ~0.9,9~4.2,9~4.2,5~0.9,5 0.8,3/4.3,3 »:8 1,5.6/3.3,3/1,0.4 4,5.6/6.3,3/4,0.4
¼:12 0.6,8.3/1.9,9/2,9/2,4.4 9.4,9/2.6,0 9.6,0/9.6,4.6/7,1.5/10.8,1.5
½:12 0.6,8.3/1.9,9/2,9/2,4.4 9,9/2.2,0
	7.2,4~7.7,4.7/8.6,4.7~10.2,4.7/10.2,3.4~10.2,2.6/9.3,1.9/7.2,0/10.5,0
¾:13 0.9,8.6~1.5,9/2.3,9~3.7,9/3.7,7.9~3.7,6.8/2.4,6.8
	2.4,6.8~3.9,6.8/3.9,5.6~3.9,4.4/2.3,4.4~1.4,4.4/0.8,4.8 10,9/3.2,0
	10.2,0/10.2,4.6/7.6,1.5/11.4,1.5
¿:7 5.1,-2~4.3,-3/3,-3~0.7,-3/0.7,-1~0.7,0.2/1.8,1~3,1.8/3,3.2 3,5.5/3,6
Æ:13 0.4,0/5.2,9/11.2,9 6,9/6,0/11.3,0 6,5/10.7,5 2,3/6,3
Ð:10 1,0/1,9/3.8,9~8,9/8,4.5~8,0/3.8,0/1,0 -0.6,5/4,5 ×:9 1.4,6.6/6.6,1.4 1.4,1.4/6.6,6.6
Ø:10 ~1,9~8,9~8,0~1,0 8.2,9.8/0.8,-0.8 Þ:8 1,9/1,0 1,7/4,7~6.6,7/6.6,4.5~6.6,2/4,2/1,2
ß:8 1,0/1,7.6~1,10/3.2,10~5.2,10/5.2,8.2~5.2,6.8/4.3,6.2~3.4,5.6/3.4,4.9
	3.4,4.9~3.4,4/4.6,3.4~6.2,2.6/6.2,1.6~6.2,0/4.2,0/3.2,0
æ:13 1.2,5.4~2.2,6/3.4,6~6,6/6,3.6/6,3 6,3.3/3.6,3.3~1,3.3/1,1.6~1,0/3,0~6,0/6,2.6
	6,3/11,3~11,6/8.5,6~6,6/6,3~6,0/8.8,0~10,0/10.8,0.6
ð:8 ~1,6~6,6~6,0~1,0 6,3~6,6.4/2.6,10 1.6,7.6/5.2,9.2 ÷:9 1,4/7,4 4,7/4,7.4 4,0.6/4,1
ø:8 ~1,6~6,6~6,0~1,0 6.3,6.9/0.7,-0.9 þ:8 1,10/1,-3 ~1,6~6,6~6,0~1,0 î:5 2,6/2,0 0,8/2,9.8/4,8
ï:5 2,6/2,0 0.5,8.5/0.5,9 3.5,8.5/3.5,9 Î:5 2,9/2,0 0,11/2,12.8/4,11
Ï:5 2,9/2,0 0.5,11.5/0.5,12 3.5,11.5/3.5,12 ı:3 1,6/1,0 –:7 0,3/6,3 —:13 0,3/12,3
‘:3 1.6,9.4/1.1,8.4/1.1,7.4 ’:3 1.4,9/1.4,8/0.9,7
“:6 1.6,9.4/1.1,8.4/1.1,7.4 4.3,9.4/3.8,8.4/3.8,7.4 ”:6 1.4,9/1.4,8/0.9,7 4.1,9/4.1,8/3.6,7
•:6 ~1.6,4.9~3.4,4.9~3.4,3.1~1.6,3.1 2.5,4 …:10 1.5,0/1.5,0.5 4.5,0/4.5,0.5 7.5,0/7.5,0.5
€:9 7,7.9~6.2,9/5,9~2,9/2,4.5~2,0/5,0~6.2,0/7,1.1 0.4,5.5/5.6,5.5 0.4,3.5/5.2,3.5 −:8 1,4/6.2,4
→:13 1.8,4/10,4 7,7/10.2,4/7,1
∞:12 5.4,4~7,6.4/8.2,6.4~10.2,6.4/10.2,4~10.2,1.6/8.2,1.6~7,1.6/5.4,4
	5.4,4~3.8,6.4/2.8,6.4~0.8,6.4/0.8,4~0.8,1.6/2.8,1.6~3.8,1.6/5.4,4
␣:8 1,0.5/1,-1.5/6,-1.5/6,0.5 �:8 1,0/1,9/6,9/6,0/1,0`

// accents are drawn around x = 0, above or below a small letter. They say which letters carry
// them, and what those are with them.
var accents = []struct{ strokes, letters, with string }{
	{"-1.2,10/0.5,8", "AEIOUaeıou", "ÀÈÌÒÙàèìòù"},
	{"1.2,10/-0.5,8", "AEIOUYaeıouy", "ÁÉÍÓÚÝáéíóúý"},
	{"-2,8/0,9.8/2,8", "AEOUaeou", "ÂÊÔÛâêôû"},
	{"-2.5,8.2~-2,9.4/-1.2,9.4~-0.6,9.4/0,8.9~0.6,8.4/1.2,8.4~2,8.4/2.5,9.6", "ANOano", "ÃÑÕãñõ"},
	{"-1.5,8.5/-1.5,9 1.5,8.5/1.5,9", "AEOUaeouy", "ÄËÖÜäëöüÿ"},
	{"~-1.6,10.6~1.6,10.6~1.6,7.8~-1.6,7.8", "Aa", "Åå"},
	{"0,0/0,-0.9~1.4,-1/1.4,-2~1.4,-3/0,-3/-1,-3", "Cc", "Çç"},
}
