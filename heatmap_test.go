package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

// exampleFigure is the picture of the example pair, with invented numbers of the size and shape
// that GPT-2 small gives.
func exampleFigure() *Figure {
	at := func(layer, position int) float64 {
		switch l := float64(layer); position {
		case 0:
			return 1.02
		case 1:
			return 1.02 - 4.4/(1+math.Exp(l-7))
		case 10:
			return 1.02 - 4.4/(1+math.Exp(7-l))
		}
		return 1.02 + 0.3*math.Sin(float64(7*layer*position))
	}
	tokens := func(name string) []string {
		return strings.Split("Michelle| "+name+"| was| a| top|-|not|ch| student|.| Michelle", "|")
	}
	return &Figure{
		title: "logit( Smith) − logit( Jones)", subtitle: "GPT-2 small (gpt2.safetensors)",
		panels: []Panel{{"resid", at}}, rows: Axis{word: "layer", names: numbered(12)},
		columns: Axis{word: "position", title: "token of the corrupt text", names: numbered(11),
			clean: tokens("Jones"), corrupt: tokens("Smith")},
		center: 1.02, marks: []Mark{{-3.38, "clean"}, {1.02, "corrupt"}},
		style: style{colorMap: "viridis", scale: 1},
	}
}

// tokensAxis names n positions by tokens, two of which are others in the clean text.
func tokensAxis(word string, n int, tokens ...string) Axis {
	a := Axis{word: word, names: numbered(n)}
	for i := range n {
		a.corrupt = append(a.corrupt, tokens[i%len(tokens)])
	}
	a.clean = slices.Clone(a.corrupt)
	a.clean[n/3], a.clean[n-1] = " Susanne", " Peter"
	return a
}

// wideFigure has as many rows and columns as asked for.
func wideFigure(rows, columns int) *Figure {
	f := exampleFigure()
	f.rows.names, f.columns = numbered(rows), tokensAxis("position", columns, " token")
	f.panels[0].at = func(r, c int) float64 { return float64(r*c%17) / 4 }
	return f
}

// kinds are figures of every kind and of awkward sizes.
func kinds() map[string]*Figure {
	all := map[string]*Figure{}
	add := func(name string, f *Figure, titles ...string) {
		f.title, f.subtitle = "logit(Smith) − logit(Jones)", "patched: everything · GPT-2"
		f.style = style{colorMap: "viridis", scale: 1}
		for _, title := range titles {
			f.panels = append(f.panels, Panel{title, func(r, c int) float64 {
				if f.blank && (f.across > 0 && c > r || f.across == 0 && c == 14 && r > 0) {
					return math.NaN() // what comes later; the embedding has one row
				}
				return math.Sin(float64(7*r + c*c))
			}})
		}
		all[name] = f
	}
	tokens := func(word string, n int) Axis {
		return tokensAxis(word, n, "When", " Mary", " and", " John", " to", " the", " store", ",",
			" internationalization")
	}
	layers, heads := Axis{word: "layer", names: numbered(12)}, Axis{word: "head"}
	for h := range 144 {
		heads.names = append(heads.names, fmt.Sprintf("%d.%d", h/12, h%12))
	}
	for _, n := range []int{2, 11, 60} {
		add(fmt.Sprintf("sites of %d", n), &Figure{rows: layers, columns: tokens("token", n),
			marks: []Mark{{-0.9, "clean"}, {0.9, "corrupt"}}},
			"resid_pre", "resid_mid", "resid", "attn", "mlp")
		add(fmt.Sprintf("heads by position of %d", n), &Figure{rows: heads, group: 12,
			columns: tokens("token", n)}, "z", "q", "k", "v", "pattern")
		add(fmt.Sprintf("attention of %d", n), &Figure{across: 2, blank: true,
			rows: tokens("destination", n), columns: tokens("source", n)},
			"9.9, clean run", "9.9, corrupt run", "10.11, clean run", "10.11, corrupt run")
	}
	add("direct", &Figure{rows: layers, blank: true, centered: true, columns: Axis{
		word: "component", names: append(numbered(12), "attn_bias", "mlp", "embed")}},
		"clean run", "corrupt run")
	add("one cell", &Figure{rows: Axis{word: "layer", names: numbered(1)},
		columns: Axis{word: "position", names: numbered(1)}}, "resid")
	for _, n := range []int{12, 144} {
		add(fmt.Sprint(n, " heads"), &Figure{across: 2, rows: tokens("destination", 11),
			columns: tokens("source", 11)}, slices.Repeat([]string{"9.11, corrupt run"}, 2*n)...)
	}
	for _, n := range [][2]int{
		{1, 1}, {12, 21}, {12, 30}, {12, 60}, {48, 11}, {12, 300}, {12, 1024}, {2, 4900},
	} {
		all[fmt.Sprintf("%d × %d", n[0], n[1])] = wideFigure(n[0], n[1])
	}
	three, negative, close := wideFigure(12, 21), wideFigure(12, 21), exampleFigure()
	three.panels = slices.Repeat(three.panels, 3)
	negative.panels[0].at = func(r, c int) float64 { return -10 * three.panels[0].at(r, c) }
	close.marks = []Mark{
		{1.02, "corrupt"}, {1.01, "clean"}, {-3.4, "low"}, {-3.41, "lower"}, {math.NaN(), "none"},
	}
	all["48 × 11"].group = 16
	all["three of 21"], all["negative of 21"], all["close marks"] = three, negative, close
	all["example"] = exampleFigure()
	return all
}

// How large the cells are, and at least the letters in points where the picture is set 16 cm wide:
// 7, of several panels 6, up to 21 tokens. A grid of heads has the shape of a page, at most so many
// times as high as wide. Values stand in the cells as long as letters can be read. No picture has
// more than 16 × 24 cm, no two things in it overlap, and all of them are inside.
func TestLayouts(t *testing.T) {
	type want struct {
		cell          int
		points, shape float64
		values        bool
	}
	wants := map[string]want{
		"example": {48, 7, 1.1, true}, "one cell": {48, 7, 1.1, true}, "1 × 1": {48, 7, 1, true},
		"12 × 21": {34, 7, 1, true}, "negative of 21": {34, 7, 1, true},
		"12 × 30": {23, 7, 0.6, true}, "12 × 60": {14, 5.7, 0.4, false},
		"12 × 300": {14, 1.4, 0.1, false}, "12 × 1024": {4, 1.4, 0.1, false},
		"48 × 11": {23, 7, 3.1, true}, "2 × 4900": {1, 1.2, 0.1, false},
		"three of 21": {35, 6, 2, true}, "sites of 11": {38, 6, 1.7, true},
		"sites of 60": {14, 6, 1.3, false}, "direct": {48, 6, 1.6, true},
		"heads by position of 11": {14, 6, 2.3, false}, "12 heads": {16, 5.9, 1.5, false},
		"144 heads": {14, 2.2, 1.7, false},
	}
	for name, f := range kinds() {
		l := must(f.layout())
		points := 14 * 0.16 / 0.0254 * 72 / float64(l.width)
		shape, values := float64(l.height)/float64(l.width), l.decimals != noValues
		page := image.Pt(l.width, l.height).Mul(1000).Div(density(l.width, l.height)) // mm
		if page.X > 160 || page.Y > 240 || name == "example" && page.X < 150 {
			t.Errorf("%s: %v millimetres", name, page)
		}
		if want, ok := wants[name]; ok && (l.cell != want.cell || points < want.points ||
			shape > want.shape || values != want.values) {
			t.Errorf("%s: cells of %d, %d × %d, letters of %.1f points, %d decimals", name, l.cell,
				l.width, l.height, points, l.decimals)
		}
		for _, labels := range [][][]textRun{l.columnLabels, l.rowLabels} {
			labelled := 0
			for _, label := range labels {
				labelled += min(len(label), 1)
			}
			if n := len(labels); labelled < min(n, n*l.cell/(3*labelPitch)) {
				t.Errorf("%s: only %d labels of %d", name, labelled, n)
			}
		}
		for i, differ := 0, false; i < len(l.columns.clean) && !differ; i++ {
			if differ = l.columns.differs(i); differ && len(l.columnLabels[i]) < 3 {
				t.Errorf("%s: the first column that differs has no label", name)
			}
		}
		if l.group > 0 && l.rowLabels[l.group] == nil || l.upright != (name == "one cell") ||
			l.perLine%max(l.across, 1) != 0 {
			t.Errorf("%s: a group begins without a label, or upright: %v, or %d panels in a line",
				name, l.upright, l.perLine)
		}
		things := []image.Rectangle{l.bar}
		for _, frame := range l.frames {
			things = append(things, frame.Inset(-1))
		}
		for _, text := range l.texts {
			width := runsWidth(text.font, text.runs)
			box := image.Rect(text.x, text.y-letterHeight, text.x+width, text.y+3)
			if text.up {
				box = image.Rect(text.x-letterHeight, text.y-width, text.x+3, text.y)
			}
			things = append(things, box)
		}
		for i, box := range things {
			if !box.In(image.Rect(0, 0, l.width, l.height)) {
				t.Errorf("%s: %v is outside", name, box)
			}
			for _, other := range things[:i] {
				if box.Overlaps(other) {
					t.Errorf("%s: %v overlaps %v", name, box, other)
				}
			}
		}
	}
}

// Without the lines above it a picture is as wide as its panels and their legend.
func TestNoHeading(t *testing.T) {
	f, empty := kinds()["one cell"], ""
	before := must(f.layout()).width
	f.heading = &empty
	if l := must(f.layout()); l.width >= before || l.width > l.bar.Max.X+100 {
		t.Errorf("%d pixels wide, with lines above %d", l.width, before)
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

// written tells whether a text stands in a picture: every pixel is covered as much as the letters
// cover it. The full ones have the colour full, or on paper, where that is 0, the run's ink.
func written(picture *image.Paletted, text placedText, full uint8) bool {
	type cover struct{ level, ink uint8 }
	want, f, along := map[image.Point]cover{}, text.font, 0
	for _, run := range text.runs {
		for _, char := range run.text {
			b := f.bitmap(char)
			for i, level := range b.Pix {
				x, y := along*f.scale+b.Rect.Min.X+i%b.Stride, b.Rect.Min.Y+i/b.Stride
				if text.up {
					x, y = y, -1-x
				}
				p := image.Pt(text.x*f.scale+x, text.y*f.scale+y)
				if level >= want[p].level {
					want[p] = cover{level, run.ink}
				}
			}
			along += f.advance(char)
		}
	}
	for p, cover := range want {
		var level uint8
		switch c := picture.ColorIndexAt(p.X, p.Y); {
		case c == whiteInk:
			level = levels
		case c >= firstEdge && c < firstInk:
			level = (c-firstEdge)%(levels-1) + 1
		case c >= firstInk && c < white:
			level = (c-firstInk)%levels + 1
		}
		color := cmp.Or(full, cover.ink+fullInk)
		if level != cover.level || level == levels && picture.ColorIndexAt(p.X, p.Y) != color {
			return false
		}
	}
	return along > 0
}

// Every text of the layout is in the picture, and every value in its cell; and the layout has every
// text that it should have, so many times: of panels in a grid those with nothing below them have
// column labels, the first of each line row labels.
func TestEveryTextCanBeRead(t *testing.T) {
	grid, headed, bare, fixed, all := exampleFigure(), exampleFigure(), exampleFigure(),
		exampleFigure(), kinds()
	grid.columns.corrupt = []string{"Señor", " ¿Qué", "\n", " 中", "\xe4\xb8", "a\u00a0b", "{|}~",
		"Ñandú", "Æøß", " internationalizationisation", " Michelle"}
	grid.columns.clean = slices.Concat([]string{"Señor", " Jones"}, grid.columns.corrupt[2:])
	grid.panels = []Panel{{"resid", grid.panels[0].at}, {"mlp", grid.panels[0].at}}
	heading, empty := "My figure", ""
	headed.heading, bare.heading, bare.colorMap = &heading, &empty, "rdbu"
	fixed.low, fixed.high = -2, 2
	for _, c := range []struct {
		f          *Figure
		scale, top int
		times      map[int]string
	}{
		{grid, 2, 58, map[int]string{
			2: "Señor|␣Jones→␣¿Qué|\\n|␣\\u4e2d|\\xe4\\xb8|a\\u00a0b|Ñandú|Æøß|" +
				"␣internationalizationisa…|␣Michelle",
			1: "logit( Smith) − logit( Jones)|GPT-2 small (gpt2.safetensors)|resid|mlp|layer|11|" +
				"clean −3.38|corrupt 1.02|−2.5|" +
				"token of the corrupt text; where they differ: clean→corrupt"}},
		{headed, 1, 58, map[int]string{1: "My figure|GPT-2 small (gpt2.safetensors)",
			0: "logit( Smith) − logit( Jones)|resid"}},
		{bare, 1, 8, map[int]string{1: "layer|11|−2",
			0: "logit( Smith) − logit( Jones)|GPT-2 small (gpt2.safetensors)|"}},
		{fixed, 1, 58, map[int]string{1: "corrupt 1.02", 0: "clean −3.38"}},
		{all["sites of 11"], 1, 58, map[int]string{3: "11", 2: "␣and|␣Mary", 1: "resid_pre|mlp"}},
		{all["close marks"], 1, 58, map[int]string{0: "none NaN",
			1: "corrupt 1.02|clean 1.01|low −3.40|lower −3.41"}},
	} {
		c.f.scale = c.scale
		l := must(c.f.layout())
		picture, times := l.paint(), map[string]int{}
		for _, text := range l.texts {
			name, accented := "", false
			for _, run := range text.runs {
				name, accented = name+run.text, accented || run.ink == accent
			}
			if times[name]++; !written(picture, text, 0) {
				t.Errorf("scale %d: %q is not in the picture", c.scale, name)
			}
			if accented != (strings.Contains(name, "→") || strings.HasPrefix(name, "clean ")) {
				t.Errorf("%q has the clean text's colour: %v", name, accented)
			}
			middle := image.Pt(l.bar.Min.X, text.y-letterHeight/2)
			if l.top != c.top || text.x > l.bar.Max.X && !middle.In(l.bar) {
				t.Errorf("%d pixels for the lines above; %q is at %d", l.top, name, text.y)
			}
		}
		for want, names := range c.times {
			for name := range strings.SplitSeq(names, "|") {
				if times[name] != want {
					t.Errorf("%q is there %d times, want %d", name, times[name], want)
				}
			}
		}
		_, valueInk := newPalette(l.anchors())
		for row := range l.rows.names {
			for column := range l.columns.names {
				cell := l.cellAt(l.frames[0], row, column)
				value := l.panels[0].at(row, column)
				want, full := formatValue(value, 2), valueInk[l.colors.step(value)/stretch]
				x, y := cell.Min.X+(cell.Dx()-l.body.width(want)+1)/2, cell.Min.Y+cell.Dy()/2+5
				text := placedText{l.body, x, y, false, []textRun{{want, ink}}}
				if l.decimals == 2 && !written(picture, text, full) {
					t.Errorf("scale %d, row %d, column %d: no %s", c.scale, row, column, want)
				}
			}
		}
	}
}

// TestCellsHaveTheColoursOfTheirValues also where the colour map is centred, where the user says
// what it spans, so that the same value has the same colour in every picture, and where cells have
// no value. Each panel stands in a frame.
func TestCellsHaveTheColoursOfTheirValues(t *testing.T) {
	direct := kinds()["direct"]
	direct.center = 0.5
	for _, c := range []struct {
		f         *Figure
		style     style
		reversed  bool
		low, high float64
	}{
		{exampleFigure(), style{colorMap: "viridis", scale: 1}, false, -3.38, 1.32},
		{exampleFigure(), style{colorMap: "viridis", scale: 2}, true, -3.38, 1.32},
		{exampleFigure(), style{colorMap: "rdbu", scale: 3}, false, -3.38, 5.42},
		{exampleFigure(), style{colorMap: "rdbu", scale: 1, low: -2, high: 1}, true, -2, 1},
		{direct, style{colorMap: "viridis", scale: 1}, false, -1, 2},
		{kinds()["attention of 11"], style{colorMap: "viridis", scale: 1}, false, -1, 1},
	} {
		f, scale := c.f, c.style.scale
		f.style, f.reversed = c.style, c.reversed
		matrix := cellsOf(f, 0)
		matrix[3][4], matrix[3][5], matrix[3][6] = math.NaN(), math.Inf(1), math.Inf(-1)
		f.panels[0].at = cells(matrix)
		l := must(f.layout())
		picture := l.paint()
		if math.Abs(l.colors.low-c.low) > 0.01 || math.Abs(l.colors.high-c.high) > 0.01 {
			t.Errorf("%+v: the colours span %v", c.style, l.colors)
		}
		for row := range matrix {
			for column, value := range matrix[row] {
				cell := l.cellAt(l.frames[0], row, column)
				share := max(0, min(1, (value-l.colors.low)/(l.colors.high-l.colors.low)))
				if c.reversed {
					share = 1 - share
				}
				for _, p := range []image.Point{cell.Min.Mul(scale),
					cell.Max.Mul(scale).Sub(image.Pt(1, 1)),
					image.Pt(cell.Min.X, cell.Max.Y-1).Mul(scale)} {
					index := picture.ColorIndexAt(p.X, p.Y)
					right := index == hatchLine || index == hatchPaper
					if f.blank {
						right = index == white
					}
					if !math.IsNaN(value) { // but for half a step of the palette
						got, want := picture.At(p.X, p.Y), interpolate(colorMaps[f.colorMap], share)
						right = colorDistance(got.(color.RGBA), want) <= 5
					}
					if !right {
						t.Errorf("%+v, row %d, column %d, value %.3f: colour %d", c.style, row,
							column, value, index)
					}
				}
			}
		}
		if f.blank == bytes.Contains(picture.Pix, []byte{hatchLine}) {
			t.Errorf("%+v: cells are blank: %v", c.style, f.blank)
		}
		for _, frame := range l.frames {
			for _, p := range []image.Point{frame.Min.Mul(scale).Sub(image.Pt(1, 1)),
				frame.Max.Mul(scale).Add(image.Pt(scale-1, scale-1))} {
				if picture.ColorIndexAt(p.X, p.Y) != frameGrey {
					t.Errorf("%+v: the frame is not at %v", c.style, p)
				}
			}
		}
	}
}

func colorDistance(a, b color.RGBA) int {
	return max(abs(int(a.R)-int(b.R)), abs(int(a.G)-int(b.G)), abs(int(a.B)-int(b.B)))
}

// TestColourBar: a reader who takes a cell's colour to the bar finds its value there. A mark is a
// line with a pointer beside it, and a tick is where its text says.
func TestColourBar(t *testing.T) {
	for _, colorMap := range []string{"viridis", "rdbu"} {
		f := exampleFigure()
		f.colorMap = colorMap
		l := must(f.layout())
		picture, bottom := l.paint(), l.bar.Max.Y-1
		pixel := (l.colors.high - l.colors.low) / float64(l.bar.Dy()-1)
		rowOf := func(v float64) int { return bottom - int(math.Round((v-l.colors.low)/pixel)) }
		marked := map[int]uint8{rowOf(1.02): ink, rowOf(-3.38): accent}
		for y := l.bar.Min.Y; y <= bottom; y++ {
			pointer, mark := marked[y]
			want := l.colors.step(l.colors.low + pixel*float64(bottom-y))
			got := picture.ColorIndexAt(l.bar.Min.X, y)
			beside := picture.ColorIndexAt(l.bar.Max.X+2, y)
			if mark && (got != ink+fullInk || beside != pointer+fullInk) ||
				!mark && got != white && abs(int(got)-int(want)) > 1 {
				t.Errorf("row %d of the bar has colour %d, want %d; beside it is %d", y, got, want,
					beside)
			}
		}
		values, texts := ticks(l.colors.low, l.colors.high, min(l.bar.Dy()/40, mostTicks))
		if len(values) < 4 {
			t.Fatalf("ticks at %v", values)
		}
		for i, v := range values {
			if picture.ColorIndexAt(l.bar.Max.X+2, rowOf(v)) != frameGrey {
				t.Errorf("there is no tick at %s", texts[i])
			}
		}
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
			for v := range f.values(f.panels...) {
				text, step := formatValue(v, l.decimals), l.colors.step(v)
				if other, ok := seen[text]; ok && abs(int(other)-int(step)) > mapSteps/20 {
					t.Fatalf("%g ± %g: %s stands on colours %d and %d", size, width, text, other,
						step)
				}
				seen[text] = step
			}
		}
	}
}

// The file holds the picture, how many of its pixels a metre has, and what its maker wants known.
func TestWhatThePNGSays(t *testing.T) {
	f := kinds()["one cell"]
	f.comments = [][2]string{{"Software", "mechpatch"}, {"command", "−\xff"}}
	for _, f.scale = range []int{1, 3} {
		l := must(f.layout())
		var file bytes.Buffer
		check(t, f.write(&file))
		size := binary.BigEndian.AppendUint32(nil, uint32(f.scale*density(l.width, l.height)))
		for _, want := range []string{"\x00\x00\x00\x09pHYs" + string(size) + string(size) + "\x01",
			"iTXtSoftware\x00\x00\x00\x00\x00mechpatch", "−\ufffd"} {
			if !bytes.Contains(file.Bytes(), []byte(want)) {
				t.Errorf("there is no %q", want)
			}
		}
		picture := must(png.Decode(&file)).(*image.Paletted)
		if !bytes.Equal(picture.Pix, l.paint().Pix) || picture.Rect.Dx() != l.width*f.scale {
			t.Errorf("the picture in the file is another one, %v", picture.Rect)
		}
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
		text, label = text[:min(len(text), 9)], label[:min(len(label), 9)]
		axis := func(word string, n uint8) Axis {
			return Axis{word: word, names: numbered(int(n)),
				clean:   slices.Repeat([]string{label}, int(n)),
				corrupt: slices.Repeat([]string{text}, int(n))}
		}
		at := func(r, c int) float64 {
			return []float64{a, b, a - b, math.NaN(), a * float64(r)}[(r+c)%5]
		}
		figure := &Figure{title: text, subtitle: label, center: b,
			panels: slices.Repeat([]Panel{{label, at}}, 1+int(panels%3)),
			marks:  []Mark{{a, "clean"}, {b, "corrupt"}},
			rows:   axis("destination", 1+rows%4), columns: axis("position", 1+columns%5),
			across: int(panels % 4), group: int(rows % 5), blank: scale%2 == 0,
			style: style{colorMap: "viridis", scale: 1 + int(scale%8/7)}}
		if diverging {
			figure.colorMap = "rdbu"
		}
		picture := must(figure.layout()).paint()
		if picture.Rect.Dx() > 2*2000 || picture.Rect.Dy() > 2*2000 {
			t.Fatalf("the picture is %v", picture.Rect)
		}
	})
}
