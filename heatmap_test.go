package main

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
)

// exampleFigure is the picture of the example pair, with invented numbers of the size and shape
// that GPT-2 small gives.
func exampleFigure() *Figure {
	f := &Figure{
		title: "logit( Smith) − logit( Jones)", subtitle: "GPT-2 small (gpt2.safetensors)",
		rows: Axis{title: "layer", names: numbered(12)},
		columns: Axis{
			title: "token of the corrupt text", tokens: true,
			names: []string{"Michelle", " Smith", " was", " a", " top", "-", "not", "ch",
				" student", ".", " Michelle"},
			beside: []string{"", " Jones", "", "", "", "", "", "", "", "", ""},
		},
		center: 1.02, marks: []Mark{{-3.38, "clean"}, {1.02, "corrupt"}},
		style: style{colorMap: "viridis", scale: 1},
	}
	var matrix [][]float64
	for layer := range 12 {
		row := make([]float64, 11)
		for position := range row {
			row[position] = 1.02 + 0.3*math.Sin(float64(7*layer*position))
		}
		row[0] = 1.02
		row[1] = 1.02 - 4.4/(1+math.Exp(float64(layer)-7))
		row[10] = 1.02 - 4.4/(1+math.Exp(7-float64(layer)))
		matrix = append(matrix, row)
	}
	f.panels = []Panel{{"", cells(matrix)}}
	return f
}

// paintPNG encodes the figure and decodes it again: what a test looks at is what is in the file.
func paintPNG(t testing.TB, f *Figure) (*image.Paletted, *layout) {
	t.Helper()
	var file bytes.Buffer
	check(t, f.write(&file))
	picture := must(png.Decode(&file))
	l := must(f.layout())
	if want := image.Rect(0, 0, l.width*f.scale, l.height*f.scale); picture.Bounds() != want {
		t.Fatalf("the picture is %v, the layout %v", picture.Bounds(), want)
	}
	return picture.(*image.Paletted), l
}

// inkAt is how many eighths of a pixel are covered by a letter.
func inkAt(picture *image.Paletted, x, y int) int {
	if !(image.Point{x, y}).In(picture.Rect) {
		return 0
	}
	switch c := picture.ColorIndexAt(x, y); {
	case c == whiteInk:
		return levels
	case c >= firstEdge && c < firstInk:
		return int(c-firstEdge)%(levels-1) + 1
	case c >= firstInk && c < white:
		return int(c-firstInk)%levels + 1
	}
	return 0
}

// read is a reader of the pixels: from the lower left corner (x, y) of a text it finds, letter by
// letter, the one of the font's characters that differs least from what is there (of two that
// differ equally, the wider), until three spaces of nothing follow. It reads texts turned to the
// left if turned is set, and no further than length pixels.
func read(picture *image.Paletted, f *font, x, y int, turned bool, length int) string {
	text := ""
	for length > 0 && !strings.HasSuffix(text, "   ") {
		best, bestChar := math.Inf(1), ' '
		for _, char := range everyCharacter() {
			if char == '\u00a0' || char == '\u00ad' {
				continue // they look like a space and a hyphen
			}
			d := f.difference(picture, char, x, y, turned, best)
			if d < best || d == best && f.advance(char) > f.advance(bestChar) {
				best, bestChar = d, char
			}
		}
		text += string(bestChar)
		length -= f.advance(bestChar)
		if turned {
			y -= f.advance(bestChar)
		} else {
			x += f.advance(bestChar)
		}
	}
	return strings.TrimRight(text, " ")
}

// difference between a letter and what the picture has in its place: the mean square for each
// column of pixels. It gives up beyond limit.
func (f *font) difference(picture *image.Paletted, char rune, x, y int, turned bool,
	limit float64) float64 {
	b, width := f.bitmap(char), f.advance(char)*f.scale
	sum := 0
	// The rows from 14 above to 4 below the baseline; first those in which letters differ most.
	for i := range 18 * f.scale {
		row := (i+10*f.scale)%(18*f.scale) - 14*f.scale
		for column := range width {
			want := int(b.AlphaAt(column, row).A)
			got := inkAt(picture, x*f.scale+column, y*f.scale+row)
			if turned {
				got = inkAt(picture, x*f.scale+row, y*f.scale-1-column)
			}
			sum += (got - want) * (got - want)
		}
		if float64(sum)/float64(width) > limit {
			break
		}
	}
	return float64(sum) / float64(width)
}

func runsText(runs []textRun) string {
	text := ""
	for _, r := range runs {
		text += r.text
	}
	return text
}

func TestEveryNumberCanBeRead(t *testing.T) {
	for scale, colorMap := range map[int]string{1: "viridis", 2: "rdbu"} {
		f := exampleFigure()
		f.colorMap, f.scale = colorMap, scale
		picture, l := paintPNG(t, f)
		for layer, row := range cellsOf(f, 0) {
			if scale > 1 && layer%3 > 0 {
				continue // there are four times as many pixels to read
			}
			for position, value := range row {
				cell := l.cellAt(l.frames[0], layer, position)
				want := formatValue(value, 2)
				x := cell.Min.X + (cell.Dx()-l.body.width(want)+1)/2
				got := read(picture, l.body, x, cell.Min.Y+cell.Dy()/2+5, false, cell.Max.X-x)
				if got != want {
					t.Errorf("%s, scale %d, layer %d, position %d: read %q, want %q",
						colorMap, scale, layer, position, got, want)
				}
			}
		}
	}
}

// Every text of the layout is in the picture, and the layout has every text that it should have.
func TestEveryTextCanBeRead(t *testing.T) {
	for _, scale := range []int{1, 2} {
		f := exampleFigure()
		f.scale = scale
		f.columns.names = []string{"Señor", " ¿Qué", "\n", " 中", "\xe4\xb8", "a\tb", "{|}~",
			"Ñandú", "Æøß", " internationalizationisation", " Michelle"}
		f.panels = append(f.panels, f.panels[0])
		f.panels[0].title, f.panels[1].title = "resid", "mlp"
		picture, l := paintPNG(t, f)
		times := map[string]int{}
		for _, text := range l.texts {
			want := runsText(text.runs)
			length := runsWidth(text.font, text.runs)
			got := read(picture, text.font, text.x, text.y, text.up, length)
			if times[want]++; got != want {
				t.Errorf("scale %d: read %q, want %q", scale, got, want)
			}
		}
		labels := []string{"Señor", "␣Jones→␣¿Qué", `\n`, `␣\u4e2d`, `\xe4\xb8`, `a\tb`, "{|}~",
			"Ñandú", "Æøß", "␣internationalizationisa…", "␣Michelle"}
		for _, text := range slices.Concat(labels, labels, f.rows.names, []string{
			f.title, f.subtitle, "resid", "mlp", "layer", "clean −3.38", "corrupt 1.02", "−2.5",
			"token of the corrupt text; where they differ: clean→corrupt"}) {
			if times[text]--; times[text] < 0 {
				t.Errorf("there is no %q", text)
			}
		}
	}
}

// Of panels above each other the lowest have column labels, and the first of each line row labels.
func TestLabelsOfAGrid(t *testing.T) {
	f := kinds()["sites of 11"]
	_, l := paintPNG(t, f)
	if l.perLine != 2 || len(l.frames) != 5 {
		t.Fatalf("%d panels, %d side by side", len(l.frames), l.perLine)
	}
	at := map[image.Point]int{} // how many labels stand below or left of a panel, by its number
	for _, text := range l.texts {
		for i, frame := range l.frames {
			if name := runsText(text.runs); name == "␣and" || name == "␣Mary" || name == "11" {
				below := text.y > frame.Max.Y && text.y < frame.Max.Y+longestLabel &&
					text.x > frame.Min.X && text.x < frame.Max.X
				left := text.y > frame.Min.Y && text.y < frame.Max.Y && text.x < frame.Min.X &&
					text.x > frame.Min.X-40
				if below || left {
					at[image.Pt(i, map[bool]int{true: 0, false: 1}[below])]++
				}
			}
		}
	}
	want := map[image.Point]int{{0, 1}: 1, {2, 1}: 1, {4, 1}: 1, {3, 0}: 2, {4, 0}: 2}
	if !maps.Equal(at, want) {
		t.Errorf("labels: %v, want %v", at, want)
	}
}

func TestCellsHaveTheColoursOfTheirValues(t *testing.T) {
	for _, colorMap := range []string{"viridis", "rdbu"} {
		for _, scale := range []int{1, 3} {
			f := exampleFigure()
			f.colorMap, f.scale = colorMap, scale
			matrix := cellsOf(f, 0)
			matrix[3][4], matrix[3][5], matrix[3][6] = math.NaN(), math.Inf(1), math.Inf(-1)
			f.panels[0].at = cells(matrix)
			picture, l := paintPNG(t, f)
			low, high := l.colors.low, l.colors.high
			for layer, row := range matrix {
				for position, value := range row {
					cell := l.cellAt(l.frames[0], layer, position)
					corners := []image.Point{
						cell.Min.Mul(scale), cell.Max.Mul(scale).Sub(image.Pt(1, 1)),
						image.Pt(cell.Min.X, cell.Max.Y-1).Mul(scale),
					}
					for _, p := range corners {
						got := picture.At(p.X, p.Y).(color.RGBA)
						if math.IsNaN(value) {
							line, paper := picture.Palette[hatchLine], picture.Palette[hatchPaper]
							if got != line && got != paper {
								t.Errorf("a cell that was not run is %v", got)
							}
							continue
						}
						share := max(0, min(1, (value-low)/(high-low)))
						want := interpolate(colorMaps[colorMap], share)
						// Half a step of the palette.
						if far := colorDistance(got, want); far > 5 {
							t.Errorf("%s, layer %d, position %d, value %.3f: %v, want %v",
								colorMap, layer, position, value, got, want)
						}
					}
				}
			}
		}
	}
}

func colorDistance(a, b color.RGBA) int {
	return max(abs(int(a.R)-int(b.R)), abs(int(a.G)-int(b.G)), abs(int(a.B)-int(b.B)))
}

// TestColourBar: a reader who takes a cell's colour to the bar finds its value there.
func TestColourBar(t *testing.T) {
	for _, colorMap := range []string{"viridis", "rdbu"} {
		f := exampleFigure()
		f.colorMap = colorMap
		picture, l := paintPNG(t, f)
		height := float64(l.bar.Dy() - 1)
		valueAt := func(y int) float64 {
			return l.colors.low + (l.colors.high-l.colors.low)*float64(l.bar.Max.Y-1-y)/height
		}
		pixel := (l.colors.high - l.colors.low) / height
		for y := l.bar.Min.Y; y < l.bar.Max.Y; y++ {
			near := false
			for _, m := range l.pins {
				near = near || abs(m.y-y) <= 1
			}
			got, want := picture.ColorIndexAt(l.bar.Min.X, y), l.colors.step(valueAt(y))
			if !near && abs(int(got)-int(want)) > 1 {
				t.Errorf("row %d of the bar has colour %d, want %d", y, got, want)
			}
		}
		values, _ := ticks(l.colors.low, l.colors.high, min(l.bar.Dy()/40, mostTicks))
		lines := l.ticks[len(l.ticks)-len(values):]
		if len(values) < 4 {
			t.Fatalf("ticks at %v", values)
		}
		for i, tick := range lines {
			if y := tick.Min.Y; math.Abs(valueAt(y)-values[i]) > pixel {
				t.Errorf("the tick of %g is at %g", values[i], valueAt(y))
			}
			if got := picture.ColorIndexAt(l.bar.Max.X+2, tick.Min.Y); got != frameGrey {
				t.Errorf("the tick of %g is not painted: colour %d", values[i], got)
			}
		}
		texts := map[string]float64{"clean −3.38": -3.38, "corrupt 1.02": 1.02}
		for _, mark := range l.pins {
			at, painted := valueAt(mark.y), picture.ColorIndexAt(l.bar.Min.X+5, mark.y)
			if math.Abs(at-texts[mark.text.text]) > pixel || painted != ink+fullInk {
				t.Errorf("mark %q at %g, colour %d", mark.text.text, at, painted)
			}
			delete(texts, mark.text.text)
		}
		if len(texts) > 0 {
			t.Errorf("not marked: %v", texts)
		}
	}
}

func TestDivergingMapIsCentred(t *testing.T) {
	f := exampleFigure()
	f.colorMap = "rdbu"
	picture, l := paintPNG(t, f)
	cell := l.cellAt(l.frames[0], 0, 0)
	got, want := picture.At(cell.Min.X, cell.Min.Y), color.RGBA{0xf7, 0xf7, 0xf7, 255}
	if got != want {
		t.Errorf("the corrupt run's metric is %v, want %v", got, want)
	}
	up, down := l.colors.high-f.center, f.center-l.colors.low
	if math.Abs(up-down) > 1e-12 || math.Abs(down-4.4) > 0.01 {
		t.Errorf("the scale reaches %g up and %g down", up, down)
	}
}

// closeMarks is a figure whose marks are closer to each other than their labels may be.
func closeMarks() *Figure {
	f := exampleFigure()
	f.marks = []Mark{
		{1.02, "corrupt"}, {1.01, "clean"}, {-3.4, "low"}, {-3.41, "lower"}, {math.NaN(), "none"},
	}
	return f
}

func TestCloseMarks(t *testing.T) {
	picture, l := paintPNG(t, closeMarks())
	if len(l.pins) != 4 {
		t.Fatalf("%d marks", len(l.pins))
	}
	for _, mark := range l.pins {
		got := read(picture, l.body, l.bar.Max.X+barIndent, mark.labelY+5, false, 999)
		if got != mark.text.text {
			t.Errorf("read %q, want %q", got, mark.text.text)
		}
		if mark.labelY >= l.bar.Max.Y || mark.labelY < l.bar.Min.Y {
			t.Errorf("%q is beside the bar's end", mark.text.text)
		}
	}
}

// TestScaleDoublesTheGeometry: wherever the picture at scale 1 is plain, the one at scale 2 is the
// same.
func TestScaleDoublesTheGeometry(t *testing.T) {
	f := exampleFigure()
	one, l := paintPNG(t, f)
	f.scale = 2
	two, _ := paintPNG(t, f)
	plainPixels := 0
	for y := 1; y < one.Rect.Max.Y-1; y++ {
		for x := 1; x < one.Rect.Max.X-1; x++ {
			if (image.Point{x, y}).In(l.bar) { // its steps are finer
				continue
			}
			c, plain := one.ColorIndexAt(x, y), true
			for i := range 9 {
				plain = plain && one.ColorIndexAt(x-1+i%3, y-1+i/3) == c
			}
			if !plain {
				continue
			}
			plainPixels++
			for i := range 4 {
				if got := two.ColorIndexAt(2*x+i%2, 2*y+i/2); got != c {
					t.Fatalf("(%d, %d) is colour %d, at scale 2 %d", x, y, c, got)
				}
			}
		}
	}
	if plainPixels < 400000 {
		t.Errorf("only %d pixels could be compared", plainPixels)
	}
	frame := l.frames[0]
	left, right := image.Pt(frame.Min.X-1, frame.Min.Y+99), image.Pt(frame.Max.X, frame.Min.Y+99)
	for _, p := range []image.Point{left, right, {frame.Min.X + 7, frame.Max.Y}} {
		painted := one.ColorIndexAt(p.X, p.Y) == frameGrey
		for i := range 4 {
			painted = painted && two.ColorIndexAt(2*p.X+i%2, 2*p.Y+i/2) == frameGrey
		}
		if !painted {
			t.Errorf("the frame is not at %v", p)
		}
	}
}

func TestSamePixelsEveryTime(t *testing.T) {
	var first, second bytes.Buffer
	err := errors.Join(exampleFigure().write(&first), exampleFigure().write(&second))
	if err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two pictures of the same figure differ")
	}
}

// The file says how large a document shows it, whatever the scale, and what its maker wants known.
func TestWhatThePNGSays(t *testing.T) {
	for name, want := range map[string]image.Point{ // the most that it may measure, in millimetres
		"": {160, 240}, "one panel": {160, 240}, "sites of 60": {160, 240},
		"heads by position of 11": {160, 240},
	} {
		var first image.Point
		for _, scale := range []int{1, 3} {
			f := exampleFigure()
			if name != "" {
				f = kinds()[name]
			}
			f.scale = scale
			f.comments = [][2]string{{"Software", "mechpatch 1.0"}, {"command", "−\xff"}}
			var file bytes.Buffer
			check(t, f.write(&file))
			config := must(png.DecodeConfig(bytes.NewReader(file.Bytes())))
			chunk := file.Bytes()[33:]
			if got := string(chunk[:8]); got != "\x00\x00\x00\x09pHYs" || chunk[16] != 1 ||
				!bytes.Equal(chunk[8:12], chunk[12:16]) {
				t.Fatalf("%s: the chunk after the header is %q", name, got)
			}
			density := int(chunk[8])<<24 | int(chunk[9])<<16 | int(chunk[10])<<8 | int(chunk[11])
			size := image.Pt(config.Width*1000, config.Height*1000).Div(density)
			if size.X > want.X || size.Y > want.Y || scale > 1 && size != first {
				t.Errorf("%s, scale %d: %v millimetres, at scale 1 %v", name, scale, size, first)
			}
			if first = size; name == "" && size.X < 150 {
				t.Errorf("the example is %v millimetres", size)
			}
			for _, text := range []string{"Software\x00\x00\x00\x00\x00mechpatch 1.0", "−\ufffd"} {
				if !bytes.Contains(file.Bytes(), []byte(text)) {
					t.Errorf("%s: there is no %q", name, text)
				}
			}
		}
	}
}

// wideFigure has as many rows and columns as asked for, all tokens " token", two of them different
// in the clean text.
func wideFigure(rows, columns int) *Figure {
	f := exampleFigure()
	f.rows.names = numbered(rows)
	f.columns.names, f.columns.beside = make([]string, columns), make([]string, columns)
	for c := range f.columns.names {
		f.columns.names[c] = " token"
	}
	f.columns.beside[min(columns/3+1, columns-1)], f.columns.beside[columns/3] = " too", " other"
	matrix := make([][]float64, rows)
	for r := range matrix {
		matrix[r] = make([]float64, columns)
		for c := range matrix[r] {
			matrix[r][c] = float64(r*c%17) / 4
		}
	}
	f.panels[0].at = cells(matrix)
	return f
}

func TestManyColumns(t *testing.T) {
	for _, test := range []struct{ rows, columns, cell, widest, tallest int }{
		{12, 11, 48, 900, 900},
		{12, 30, 23, 907, 500},
		{12, 60, 14, 1100, 400},
		{12, 300, 14, 4500, 500},
		{12, 1024, 4, 5000, 400},
		{48, 1024, 4, 5000, 500},
		{48, 11, 24, 900, 1361},
		{1, 1, 48, 500, 400},
		{100, 4900, 1, 6000, 500},
	} {
		size := fmt.Sprintf("%d × %d", test.rows, test.columns)
		l := must(wideFigure(test.rows, test.columns).layout())
		if l.cell != test.cell || l.width > test.widest || l.height > test.tallest {
			t.Errorf("%s: cells of %d, picture of %d × %d", size, l.cell, l.width, l.height)
		}
		for what, labels := range map[string][][]textRun{
			"column": l.columnLabels, "row": l.rowLabels,
		} {
			labelled := 0
			for _, label := range labels {
				if label != nil {
					labelled++
				}
			}
			if n := len(labels); labelled < min(n, n*l.cell/(3*labelPitch)) {
				t.Errorf("%s: only %d %s labels", size, labelled, what)
			}
		}
		differs := runsText(l.columnLabels[test.columns/3])
		if test.columns >= 3 && differs != "␣other→␣token" {
			t.Errorf("%s: the column that differs is labelled %q", size, differs)
		}
	}
}

func TestShortLabelsStandUpright(t *testing.T) {
	f := wideFigure(12, 12)
	f.columns = Axis{names: numbered(12)}
	f.rows.names = make([]string, 12)
	_, l := paintPNG(t, f)
	upright := 0
	for _, text := range l.texts {
		if text.y > l.frames[0].Max.Y && !text.up {
			upright++
		}
	}
	if upright < 12 {
		t.Errorf("%d labels stand upright", upright)
	}
}

func TestFigureErrors(t *testing.T) {
	large := wideFigure(2000, 1024)
	large.scale, large.panels = 8, []Panel{{}, {}, {}, {}} // before there are values
	for want, f := range map[string]*Figure{
		"heat map: 1 of 2 × 5000 cells, 1 pixels for one, are too many for one picture: ask for " +
			"less in one, or for a smaller scale": wideFigure(2, 5000),
		"heat map: 4 of 2000 × 1024 cells, 8 pixels for one, are too many for one picture: ask " +
			"for less in one, or for a smaller scale": large,
	} {
		wantWhole(t, "too large", f.write(io.Discard), want)
	}
}

// Set 16 cm wide, a picture of up to 21 tokens has letters of 7 points, of several panels 6; a grid
// of heads has the shape of a page. Values stand in the cells as long as letters can be read.
func TestPrintSizes(t *testing.T) {
	all := kinds()
	all["21 tokens"], all["21 negative"] = wideFigure(12, 21), wideFigure(12, 21)
	at := all["21 negative"].panels[0].at
	all["21 negative"].panels[0].at = func(r, c int) float64 { return -10 * at(r, c) }
	all["three sites of 21"] = wideFigure(12, 21)
	site := Panel{"resid", at}
	all["three sites of 21"].panels = []Panel{site, site, site}
	for name, n := range map[string]int{"12 heads": 12, "144 heads": 144} {
		f := *all["attention of 11"]
		f.panels = make([]Panel, 2*n)
		for i := range f.panels {
			f.panels[i] = Panel{"9.11, corrupt run", func(r, c int) float64 { return 0.35 }}
		}
		f.low, f.high = 0, 1
		all[name] = &f
	}
	for name, want := range map[string]struct {
		points float64 // of letters, 16 cm wide
		shape  float64 // at most so many times as high as wide
		values bool
	}{
		"21 tokens": {7, 1, true}, "21 negative": {7, 1, true}, "sites of 11": {6, 1.7, true},
		"three sites of 21": {6, 2, true}, "direct": {6, 1.6, true},
		"heads by position of 11": {6, 2.3, false}, // of 144 rows
		"12 heads":                {5.9, 1.5, false}, "144 heads": {2.2, 1.7, false},
	} {
		l := must(all[name].layout())
		points := 14 * 0.16 / 0.0254 * 72 / float64(l.width)
		shape := float64(l.height) / float64(l.width)
		if points < want.points || shape > want.shape || (l.decimals != noValues) != want.values {
			t.Errorf("%s: %d × %d, letters of %.1f points, %d decimals", name, l.width, l.height,
				points, l.decimals)
		}
	}
}

// A heading takes the place of the title, and an empty one of both lines.
func TestHeading(t *testing.T) {
	f := exampleFigure()
	heights := []int{must(f.layout()).height}
	for _, heading := range []string{"My figure", ""} {
		f.heading = &heading
		l := must(f.layout())
		heights = append(heights, l.height)
		above := 0
		for _, text := range l.texts {
			if text.y < l.frames[0].Min.Y {
				above++
			}
			if runsText(text.runs) == f.title {
				t.Error("the title is still there")
			}
		}
		if above != map[string]int{"My figure": 2, "": 0}[heading] {
			t.Errorf("%q: %d lines above the panels", heading, above)
		}
	}
	if heights[1] != heights[0] || heights[2] != heights[0]-50 {
		t.Errorf("heights: %v", heights)
	}
}

// FuzzFigure: whatever the numbers and the tokens are, painting neither panics nor hangs.
func FuzzFigure(f *testing.F) {
	f.Add(uint8(12), uint8(11), uint8(1), uint8(1), false, 1.02, 0.3, " Smith\n\xe4中", "clean")
	f.Add(uint8(1), uint8(1), uint8(3), uint8(2), true, math.Inf(1), math.NaN(), "", "")
	f.Add(uint8(39), uint8(3), uint8(2), uint8(1), true, 1e308, -1e308, "ññññññññ", "corrupt")
	f.Add(uint8(2), uint8(69), uint8(1), uint8(1), false, 5e-324, 1e-300, "\ufffd\u00a0", "x")
	f.Add(uint8(2), uint8(2), uint8(1), uint8(1), false, 1e17, 1e17+64, "x", "x")
	f.Fuzz(func(t *testing.T, rows, columns, panels, scale uint8, diverging bool, a, b float64,
		text, label string) {
		rows, columns = 1+rows%4, 1+columns%5
		text, label = text[:min(len(text), 9)], label[:min(len(label), 9)]
		figure := &Figure{title: text, subtitle: label, center: b,
			style: style{colorMap: "viridis", scale: 1 + int(scale%8/7)}}
		if diverging {
			figure.colorMap = "rdbu"
		}
		figure.marks = []Mark{{a, "clean"}, {b, "corrupt"}}
		at := func(r, c int) float64 {
			return []float64{a, b, a - b, math.NaN(), a * float64(r)}[(r+c)%5]
		}
		for range 1 + panels%3 {
			figure.panels = append(figure.panels, Panel{"resid", at})
		}
		figure.columns = Axis{title: "position", tokens: true}
		for range columns {
			figure.columns.names = append(figure.columns.names, text)
			figure.columns.beside = append(figure.columns.beside, label)
		}
		figure.rows = Axis{title: "destination", tokens: true}
		for range rows {
			figure.rows.names = append(figure.rows.names, label)
		}
		figure.across, figure.group, figure.blank = int(panels%4), int(rows%5), scale%2 == 0
		picture := must(figure.layout()).paint()
		if picture.Rect.Dx() > 2*2000 || picture.Rect.Dy() > 2*2000 {
			t.Fatalf("the picture is %v", picture.Rect)
		}
	})
}

func BenchmarkPaint(b *testing.B) {
	f := exampleFigure()
	for range b.N {
		must(f.layout()).paint()
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, scale := range []int{1, 2} {
		b.Run(fmt.Sprintf("scale%d", scale), func(b *testing.B) {
			f := exampleFigure()
			f.scale = scale
			for range b.N {
				check(b, f.write(io.Discard))
			}
		})
	}
}

// kinds are figures of every kind and of awkward sizes.
func kinds() map[string]*Figure {
	matrix := func(rows, columns int, blank func(row, column int) bool) [][]float64 {
		m := make([][]float64, rows)
		for r := range m {
			m[r] = make([]float64, columns)
			for c := range m[r] {
				m[r][c] = math.Sin(float64(7*r + c*c))
				if blank(r, c) {
					m[r][c] = math.NaN()
				}
			}
		}
		return m
	}
	none := func(int, int) bool { return false }
	words := strings.Split("When| Mary| and| John| to| the| store|,| internationalization", "|")
	tokens := func(title string, n int) Axis {
		a := Axis{title: title, beside: make([]string, n), tokens: true}
		for i := range n {
			a.names = append(a.names, words[i%len(words)])
		}
		a.beside[n/3], a.beside[n-1] = " Susanne", " Peter"
		return a
	}
	heads := Axis{title: "layer.head"}
	for l := range 12 {
		for h := range 12 {
			heads.names = append(heads.names, fmt.Sprintf("%d.%d", l, h))
		}
	}
	figure := func(f *Figure, m [][]float64, titles ...string) *Figure {
		f.title, f.subtitle = "logit(Smith) − logit(Jones)", "patched: everything · GPT-2"
		for _, title := range titles {
			f.panels = append(f.panels, Panel{title, cells(m)})
		}
		f.style = style{colorMap: "viridis", scale: 1}
		return f
	}
	all := map[string]*Figure{"close marks": closeMarks(), "300 columns": wideFigure(12, 300),
		"1024 columns": wideFigure(48, 1024), "4900 columns": wideFigure(100, 4900)}
	for _, n := range []int{2, 11, 60} {
		layers := Axis{title: "layer", names: numbered(12)}
		sites := &Figure{rows: layers, columns: tokens("token", n),
			marks: []Mark{{-0.9, "clean"}, {0.9, "corrupt"}}}
		all[fmt.Sprintf("sites of %d", n)] = figure(sites, matrix(12, n, none),
			"resid_pre", "resid_mid", "resid", "attn", "mlp")
		byPosition := &Figure{rows: heads, columns: tokens("token", n), group: 12}
		all[fmt.Sprintf("heads by position of %d", n)] = figure(byPosition, matrix(144, n, none),
			"z", "q", "k", "v", "pattern")
		attention := &Figure{rows: tokens("destination", n), columns: tokens("source", n),
			across: 2, blank: true}
		all[fmt.Sprintf("attention of %d", n)] = figure(attention,
			matrix(n, n, func(r, c int) bool { return c > r }),
			"9.9, clean run", "9.9, corrupt run", "10.7, clean run", "10.7, corrupt run")
	}
	direct := &Figure{rows: Axis{title: "layer", names: numbered(12)}, blank: true, centered: true,
		columns: Axis{title: "component", names: append(numbered(12), "attn_bias", "mlp", "embed")}}
	all["direct"] = figure(direct, matrix(12, 15, func(r, c int) bool { return r > 0 && c == 14 }),
		"clean run", "corrupt run")
	all["one panel"] = figure(&Figure{rows: Axis{title: "layer", names: numbered(1)},
		columns: Axis{title: "position", names: numbered(1)}}, matrix(1, 1, none), "")
	return all
}

// TestNothingOverlaps holds every two things in a picture apart, and all of them inside it.
func TestNothingOverlaps(t *testing.T) {
	for name, f := range kinds() {
		for _, f.scale = range []int{1, 2} {
			l, err := f.layout()
			if err != nil {
				t.Errorf("%s, scale %d: %v", name, f.scale, err)
				continue
			}
			things := boxes(l)
			for a, box := range things {
				if !box.In(image.Rect(0, 0, l.width, l.height)) {
					t.Errorf("%s: %s at %v is outside", name, a, box)
				}
				for b, other := range things {
					if a < b && box.Overlaps(other) {
						t.Errorf("%s: %s at %v overlaps %s at %v", name, a, box, b, other)
					}
				}
			}
		}
	}
}

// boxes says where the layout puts everything, in pixels at scale 1.
func boxes(l *layout) map[string]image.Rectangle {
	all := map[string]image.Rectangle{"bar": l.bar}
	for i, frame := range l.frames {
		all[fmt.Sprint("panel ", i)] = frame.Inset(-1)
	}
	for i, text := range l.texts {
		width := runsWidth(text.font, text.runs)
		box := image.Rect(text.x, text.y-letterHeight, text.x+width, text.y+3)
		if text.up {
			box = image.Rect(text.x-letterHeight, text.y-width, text.x+3, text.y)
		}
		all[fmt.Sprintf("text %d, %s", i, runsText(text.runs))] = box
	}
	return all
}

// A cell without a value that stands for nothing has the paper's colour.
func TestBlankCells(t *testing.T) {
	f := kinds()["attention of 11"]
	picture, l := paintPNG(t, f)
	for i := range f.panels {
		for r, row := range cellsOf(f, i) {
			for c, v := range row {
				corner := l.cellAt(l.frames[i], r, c).Min
				blank := picture.ColorIndexAt(corner.X, corner.Y) == white
				if blank != math.IsNaN(v) {
					t.Fatalf("panel %d, cell (%d, %d) of value %g is blank: %v", i, r, c, v, blank)
				}
			}
		}
	}
}

// With a range of the user's the same value has the same colour in every picture, and what lies
// beyond has the colour of the end.
func TestFixedRange(t *testing.T) {
	colour := func(values ...float64) uint8 { // of the first
		f := exampleFigure()
		f.columns.names, f.columns.beside = f.columns.names[:len(values)], nil
		f.rows.names, f.panels[0].at = f.rows.names[:1], cells([][]float64{values})
		f.low, f.high = -2, 2
		picture, l := paintPNG(t, f)
		if len(l.pins) != 1 || l.pins[0].text.text != "corrupt 1.02" { // the clean one is beyond
			t.Errorf("marks: %+v", l.pins)
		}
		corner := l.cellAt(l.frames[0], 0, 0).Min
		return picture.ColorIndexAt(corner.X, corner.Y)
	}
	if a, b := colour(1, -7), colour(1, 99, 3); a != b || a != 3*(mapSteps-1)/4+1 {
		t.Errorf("1 has the colours %d and %d", a, b)
	}
	if top, bottom := colour(3), colour(-3); top != mapSteps-1 || bottom != 0 {
		t.Errorf("the colours of the ends are %d and %d", top, bottom)
	}
}

// Two cells whose colours a reader can tell apart have different numbers in them, however small the
// range is beside the values.
func TestDigitsTellColoursApart(t *testing.T) {
	for _, size := range []float64{0, 1, -57.34, 153, 2600, -3e6, 1e-7} {
		for _, width := range []float64{1e-3, 0.02, 0.3, 4.4, 50} {
			if width < 2e-6*math.Abs(size) {
				continue // beyond what float32 tells apart
			}
			f := exampleFigure()
			old := f.panels[0].at
			f.panels[0].at = func(r, c int) float64 { return size + old(r, c)*width/4.4 }
			f.marks = nil
			l, err := f.layout()
			if err != nil || l.decimals == noValues {
				t.Errorf("%g ± %g: no numbers in the cells, %v", size, width, err)
				continue
			}
			seen := map[string]uint8{}
			for _, row := range cellsOf(f, 0) {
				for _, v := range row {
					text, step := formatValue(v, l.decimals), l.colors.step(v)
					if other, ok := seen[text]; ok && abs(int(other)-int(step)) > mapSteps/20 {
						t.Fatalf("%g ± %g: %s stands on colours %d and %d",
							size, width, text, other, step)
					}
					seen[text] = step
				}
			}
		}
	}
}
