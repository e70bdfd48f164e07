package main

import (
	"bytes"
	"encoding/binary"
	"errors"
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
	return &Figure{
		title: "logit( Smith) − logit( Jones)", subtitle: "GPT-2 small (gpt2.safetensors)",
		panels: []Panel{{"", at}}, rows: Axis{title: "layer", names: numbered(12)},
		columns: Axis{
			title: "token of the corrupt text", tokens: true,
			names: []string{"Michelle", " Smith", " was", " a", " top", "-", "not", "ch",
				" student", ".", " Michelle"},
			beside: []string{"", " Jones", "", "", "", "", "", "", "", "", ""},
		},
		center: 1.02, marks: []Mark{{-3.38, "clean"}, {1.02, "corrupt"}},
		style: style{colorMap: "viridis", scale: 1},
	}
}

// wideFigure has as many rows and columns as asked for, all tokens " token", two of them different
// in the clean text.
func wideFigure(rows, columns int) *Figure {
	f := exampleFigure()
	f.rows.names = numbered(rows)
	f.columns.names = slices.Repeat([]string{" token"}, columns)
	f.columns.beside = make([]string, columns)
	f.columns.beside[min(columns/3+1, columns-1)], f.columns.beside[columns/3] = " too", " other"
	f.panels[0].at = func(r, c int) float64 { return float64(r*c%17) / 4 }
	return f
}

// kinds are figures of every kind and of awkward sizes.
func kinds() map[string]*Figure {
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
	for h := range 144 {
		heads.names = append(heads.names, fmt.Sprintf("%d.%d", h/12, h%12))
	}
	all := map[string]*Figure{}
	add := func(name string, f *Figure, titles ...string) {
		f.title, f.subtitle = "logit(Smith) − logit(Jones)", "patched: everything · GPT-2"
		f.style = style{colorMap: "viridis", scale: 1}
		at := func(r, c int) float64 {
			if f.blank && (f.across > 0 && c > r || f.across == 0 && c == 14 && r > 0) {
				return math.NaN() // what comes later; the embedding has one row
			}
			return math.Sin(float64(7*r + c*c))
		}
		for _, title := range titles {
			f.panels = append(f.panels, Panel{title, at})
		}
		all[name] = f
	}
	layers := Axis{title: "layer", names: numbered(12)}
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
		title: "component", names: append(numbered(12), "attn_bias", "mlp", "embed")}},
		"clean run", "corrupt run")
	add("one cell", &Figure{rows: Axis{title: "layer", names: numbered(1)},
		columns: Axis{title: "position", names: numbered(1)}}, "")
	for _, n := range []int{12, 144} {
		add(fmt.Sprint(n, " heads"), &Figure{across: 2, rows: tokens("destination", 11),
			columns: tokens("source", 11)}, slices.Repeat([]string{"9.11, corrupt run"}, 2*n)...)
	}
	three, negative := wideFigure(12, 21), wideFigure(12, 21)
	three.panels = slices.Repeat([]Panel{{"resid", three.panels[0].at}}, 3)
	negative.panels[0].at = func(r, c int) float64 { return -10 * three.panels[0].at(r, c) }
	all["example"], all["close marks"] = exampleFigure(), exampleFigure()
	all["three of 21"], all["negative of 21"] = three, negative
	all["close marks"].marks = []Mark{
		{1.02, "corrupt"}, {1.01, "clean"}, {-3.4, "low"}, {-3.41, "lower"}, {math.NaN(), "none"},
	}
	for _, n := range [][2]int{
		{1, 1}, {12, 21}, {12, 30}, {12, 60}, {48, 11}, {12, 300}, {12, 1024}, {48, 1024},
		{100, 4900},
	} {
		all[fmt.Sprintf("%d × %d", n[0], n[1])] = wideFigure(n[0], n[1])
	}
	all["48 × 1024"].group = 16
	return all
}

// How large the cells are, and at least the letters in points where the picture is set 16 cm wide:
// 7, of several panels 6, up to 21 tokens. A grid of heads has the shape of a page, at most so many
// times as high as wide. Values stand in the cells as long as letters can be read.
func TestLayouts(t *testing.T) {
	all := kinds()
	for name, want := range map[string]struct {
		cell          int
		points, shape float64
		values        bool
	}{
		"example": {48, 7, 1.1, true}, "one cell": {48, 7, 1.1, true}, "1 × 1": {48, 7, 1, true},
		"12 × 21": {34, 7, 1, true}, "negative of 21": {34, 7, 1, true},
		"12 × 30": {23, 7, 0.6, true}, "12 × 60": {14, 5.7, 0.4, false},
		"12 × 300": {14, 1.4, 0.1, false}, "12 × 1024": {4, 1.4, 0.1, false},
		"48 × 1024": {4, 1.4, 0.1, false}, "48 × 11": {24, 7, 3, true},
		"100 × 4900": {1, 1.2, 0.1, false}, "three of 21": {35, 6, 2, true},
		"sites of 11": {38, 6, 1.7, true}, "sites of 60": {14, 6, 1.3, false},
		"direct": {48, 6, 1.6, true}, "heads by position of 11": {14, 6, 2.3, false},
		"12 heads": {16, 5.9, 1.5, false}, "144 heads": {14, 2.2, 1.7, false},
	} {
		l := must(all[name].layout())
		points := 14 * 0.16 / 0.0254 * 72 / float64(l.width)
		shape, values := float64(l.height)/float64(l.width), l.decimals != noValues
		if l.cell != want.cell || points < want.points || shape > want.shape ||
			values != want.values {
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
		first := slices.IndexFunc(l.columns.beside, func(s string) bool { return s != "" })
		if first > 0 && len(l.columnLabels[first]) < 3 {
			t.Errorf("%s: the column that differs has no label", name)
		}
		if l.group > 0 && l.rowLabels[l.group] == nil || l.upright != (name == "one cell") {
			t.Errorf("%s: a group begins without a label, or upright: %v", name, l.upright)
		}
	}
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

// written tells whether a text stands in a picture, from the lower left corner (x, y) of its first
// letter, or turned: every pixel is covered as much as the letters cover it. On paper the full ones
// have the run's ink.
func written(picture *image.Paletted, text placedText, onPaper bool) bool {
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
			if onPaper && level == levels && c != cover.ink+fullInk {
				return false
			}
		}
		if level != cover.level {
			return false
		}
	}
	return along > 0
}

func TestEveryNumberCanBeRead(t *testing.T) {
	for scale, colorMap := range map[int]string{1: "viridis", 2: "rdbu"} {
		f := exampleFigure()
		f.colorMap, f.scale = colorMap, scale
		picture, l := paintPNG(t, f)
		for layer, row := range cellsOf(f, 0) {
			for position, value := range row {
				cell, want := l.cellAt(l.frames[0], layer, position), formatValue(value, 2)
				x := cell.Min.X + (cell.Dx()-l.body.width(want)+1)/2
				text := placedText{l.body, x, cell.Min.Y + cell.Dy()/2 + 5, false,
					[]textRun{{want, ink}}}
				if !written(picture, text, false) {
					t.Errorf("%s, scale %d, layer %d, position %d: no %s", colorMap, scale, layer,
						position, want)
				}
			}
		}
	}
}

// Every text of the layout is in the picture, and the layout has every text that it should have, so
// many times: of panels in a grid those with nothing below them have column labels, the first of
// each line row labels.
func TestEveryTextCanBeRead(t *testing.T) {
	grid, headed, bare, fixed, all := exampleFigure(), exampleFigure(), exampleFigure(),
		exampleFigure(), kinds()
	grid.columns.names = []string{"Señor", " ¿Qué", "\n", " 中", "\xe4\xb8", "a\u00a0b", "{|}~",
		"Ñandú", "Æøß", " internationalizationisation", " Michelle"}
	grid.panels = []Panel{{"resid", grid.panels[0].at}, {"mlp", grid.panels[0].at}}
	heading, empty := "My figure", ""
	headed.heading, bare.heading = &heading, &empty
	fixed.low, fixed.high = -2, 2
	for _, c := range []struct {
		f     *Figure
		top   int
		times map[int]string
	}{
		{grid, 58, map[int]string{
			2: "Señor|␣Jones→␣¿Qué|\\n|␣\\u4e2d|\\xe4\\xb8|a\\u00a0b|Ñandú|Æøß|" +
				"␣internationalizationisa…|␣Michelle",
			1: "logit( Smith) − logit( Jones)|GPT-2 small (gpt2.safetensors)|resid|mlp|layer|11|" +
				"clean −3.38|corrupt 1.02|−2.5|" +
				"token of the corrupt text; where they differ: clean→corrupt"}},
		{headed, 58, map[int]string{1: "My figure|GPT-2 small (gpt2.safetensors)",
			0: "logit( Smith) − logit( Jones)"}},
		{bare, 8, map[int]string{1: "layer|11|−2.5",
			0: "logit( Smith) − logit( Jones)|GPT-2 small (gpt2.safetensors)"}},
		{fixed, 58, map[int]string{1: "corrupt 1.02", 0: "clean −3.38"}},
		{all["sites of 11"], 58, map[int]string{3: "11", 2: "␣and|␣Mary", 1: "resid_pre|mlp"}},
		{all["close marks"], 58, map[int]string{0: "none NaN",
			1: "corrupt 1.02|clean 1.01|low −3.40|lower −3.41"}},
	} {
		for _, c.f.scale = range []int{1, 2} {
			picture, l := paintPNG(t, c.f)
			times := map[string]int{}
			for _, text := range l.texts {
				name, accented := "", false
				for _, run := range text.runs {
					name, accented = name+run.text, accented || run.ink == accent
				}
				if times[name]++; !written(picture, text, true) {
					t.Errorf("scale %d: %q is not in the picture", c.f.scale, name)
				}
				if accented != (strings.Contains(name, "→") || strings.HasPrefix(name, "clean ")) {
					t.Errorf("%q has the clean text's colour: %v", name, accented)
				}
			}
			for want, names := range c.times {
				for _, name := range strings.Split(names, "|") {
					if times[name] != want {
						t.Errorf("%q is there %d times, want %d", name, times[name], want)
					}
				}
			}
			for _, p := range l.pins {
				if p.labelY >= l.bar.Max.Y || p.labelY < l.bar.Min.Y {
					t.Errorf("%q is beside the bar's end", p.text.text)
				}
			}
			if l.top != c.top {
				t.Errorf("%d pixels for the lines above, want %d", l.top, c.top)
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
		{exampleFigure(), style{colorMap: "viridis", scale: 3}, true, -3.38, 1.32},
		{exampleFigure(), style{colorMap: "rdbu", scale: 3}, false, -3.38, 5.42},
		{exampleFigure(), style{colorMap: "rdbu", scale: 1, low: -2, high: 1}, true, -2, 1},
		{direct, style{colorMap: "viridis", scale: 1}, false, -1, 2},
		{kinds()["attention of 11"], style{colorMap: "viridis", scale: 2}, false, -1, 1},
	} {
		f, scale := c.f, c.style.scale
		f.style, f.reversed = c.style, c.reversed
		matrix := cellsOf(f, 0)
		matrix[3][4], matrix[3][5], matrix[3][6] = math.NaN(), math.Inf(1), math.Inf(-1)
		f.panels[0].at = cells(matrix)
		picture, l := paintPNG(t, f)
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

// TestColourBar: a reader who takes a cell's colour to the bar finds its value there.
func TestColourBar(t *testing.T) {
	for _, colorMap := range []string{"viridis", "rdbu"} {
		f := exampleFigure()
		f.colorMap = colorMap
		picture, l := paintPNG(t, f)
		pixel := (l.colors.high - l.colors.low) / float64(l.bar.Dy()-1)
		valueAt := func(y int) float64 { return l.colors.low + pixel*float64(l.bar.Max.Y-1-y) }
		for y := l.bar.Min.Y; y < l.bar.Max.Y; y++ {
			near := slices.ContainsFunc(l.pins, func(p pin) bool { return abs(p.y-y) <= 1 })
			got, want := picture.ColorIndexAt(l.bar.Min.X, y), l.colors.step(valueAt(y))
			if !near && abs(int(got)-int(want)) > 1 {
				t.Errorf("row %d of the bar has colour %d, want %d", y, got, want)
			}
		}
		values, _ := ticks(l.colors.low, l.colors.high, min(l.bar.Dy()/40, mostTicks))
		if len(values) < 4 {
			t.Fatalf("ticks at %v", values)
		}
		for i, tick := range l.ticks[len(l.ticks)-len(values):] {
			got := picture.ColorIndexAt(l.bar.Max.X+2, tick.Min.Y)
			if at := valueAt(tick.Min.Y); math.Abs(at-values[i]) > pixel || got != frameGrey {
				t.Errorf("the tick of %g is at %g, colour %d", values[i], at, got)
			}
		}
		for i, want := range []Mark{{1.02, "corrupt 1.02"}, {-3.38, "clean −3.38"}} {
			p := l.pins[i]
			at, painted := valueAt(p.y), picture.ColorIndexAt(l.bar.Min.X+5, p.y)
			pointer := picture.ColorIndexAt(l.bar.Max.X+2, p.y)
			if math.Abs(at-want.value) > pixel || painted != ink+fullInk ||
				p.text.text != want.label || pointer != p.text.ink+fullInk {
				t.Errorf("mark %q at %g, colours %d and %d", p.text.text, at, painted, pointer)
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
			f.eachValue(func(v float64) {
				text, step := formatValue(v, l.decimals), l.colors.step(v)
				if other, ok := seen[text]; ok && abs(int(other)-int(step)) > mapSteps/20 {
					t.Fatalf("%g ± %g: %s stands on colours %d and %d", size, width, text, other,
						step)
				}
				seen[text] = step
			})
		}
	}
}

// The file says how large a document shows it, 16 × 24 cm at most, whatever the scale, and what its
// maker wants known; and it is the same every time.
func TestWhatThePNGSays(t *testing.T) {
	names := []string{"example", "one cell", "sites of 60", "heads by position of 11"}
	for _, name := range names {
		var sizes []image.Point // in millimetres
		f := kinds()[name]
		f.comments = [][2]string{{"Software", "mechpatch"}, {"command", "−\xff"}}
		for _, f.scale = range []int{1, 3} {
			var first, second bytes.Buffer
			check(t, errors.Join(f.write(&first), f.write(&second)))
			file := first.Bytes()
			config := must(png.DecodeConfig(&first))
			perMetre := binary.BigEndian.Uint32(file[41:])
			want := binary.BigEndian.AppendUint32([]byte("\x00\x00\x00\x09pHYs"), perMetre)
			want = append(binary.BigEndian.AppendUint32(want, perMetre), 1)
			for _, text := range []string{string(want), "Software\x00\x00\x00\x00\x00mechpatch",
				"−\ufffd"} {
				if !bytes.Contains(file, []byte(text)) {
					t.Errorf("%s: there is no %q", name, text)
				}
			}
			if !bytes.Equal(file, second.Bytes()) {
				t.Errorf("%s: two pictures of the same figure differ", name)
			}
			sizes = append(sizes,
				image.Pt(config.Width*1000, config.Height*1000).Div(int(perMetre)))
		}
		if s := sizes[0]; s != sizes[1] || s.X > 160 || s.Y > 240 || name == names[0] && s.X < 150 {
			t.Errorf("%s: %v millimetres", name, sizes)
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
		rows, columns = 1+rows%4, 1+columns%5
		text, label = text[:min(len(text), 9)], label[:min(len(label), 9)]
		names, beside := slices.Repeat([]string{text}, int(columns)), []string{label}
		at := func(r, c int) float64 {
			return []float64{a, b, a - b, math.NaN(), a * float64(r)}[(r+c)%5]
		}
		figure := &Figure{title: text, subtitle: label, center: b,
			panels: slices.Repeat([]Panel{{"resid", at}}, 1+int(panels%3)),
			marks:  []Mark{{a, "clean"}, {b, "corrupt"}},
			rows: Axis{title: "destination", tokens: true,
				names: slices.Repeat([]string{label}, int(rows))},
			columns: Axis{title: "position", tokens: true, names: names,
				beside: slices.Repeat(beside, int(columns))},
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
