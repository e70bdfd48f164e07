package main

import (
	"cmp"
	"fmt"
	"image"
	"io"
	"math"
	"slices"
)

// This file paints heat maps: a layout chooses how large the cells are and says where everything
// goes, then it is painted. It is made for a page, which it fits with letters that can be read.

// Figure is everything that a heat map shows: one or more matrices of one shape on one colour
// scale, the names of their rows and columns, and a colour bar.
type Figure struct {
	title    string // the first line: the metric
	subtitle string // the second line: what was done, and the model
	panels   []Panel
	across   int // as many panels belong together, side by side; 0 if each stands for itself
	rows     Axis
	columns  Axis
	group    int     // the rows stand in groups of so many, a layer's heads; 0 for no groups
	blank    bool    // a cell without a value is nothing, not one that was left out
	reversed bool    // the colour map from its end to its beginning
	center   float64 // the value in the middle of rdbu
	centered bool    // and of every colour map
	marks    []Mark
	comments [][2]string // keywords and texts that the file carries and nobody sees
	style
}

type Axis struct {
	title  string
	names  []string // the first row on top
	beside []string // the clean text's token where it differs, else "" (nil: none does)
	tokens bool     // the names are tokens, of any characters; else the program's own words
}

// Panel is one matrix [rows][columns] of a figure, whose shape is that of the figure's axes. NaN
// stands for a cell that has no value. Without at, before a run, no cell has one.
type Panel struct {
	title string // "" for none
	at    func(row, column int) float64
}

// Mark is a value pointed out on the colour bar, such as the metric of the corrupt run. "clean" has
// the colour of the clean text's tokens.
type Mark struct {
	value float64
	label string
}

type style struct {
	heading   *string // in place of the title; "" for no lines above the panels
	colorMap  string  // "viridis" or "rdbu"
	scale     int     // pixels of the picture for each pixel of the layout
	low, high float64 // what the colours span, if low < high, also rdbu; else they span the values
}

// Measures of the layout, in pixels at scale 1.
const (
	margin        = 8
	usualCell     = 48
	largestCell   = 96   // where numbers need as many digits to be told apart
	gridCell      = 20   // smaller cells touch each other
	smallestValue = 22   // cells below have no room for a number
	labelPitch    = 14   // lines of text closer than this run into each other
	largestSide   = 4900 // of all cells: beyond that labels are thinned
	groupGap      = 4
	titleLine     = 20 // from a panel's title to the panel
	tickLength    = 4
	letterHeight  = 10
	barWidth      = 18
	barIndent     = 11 // from the bar to the texts beside it
	smallestBar   = 180
	largestBar    = 900
	mostTicks     = 14
	panelGap      = 20
	longestLabel  = 150
	longestTitle  = 830
	largestScale  = 8
	bodyPen       = 1.25 // width of the strokes
	titleSize     = 1.2  // times the size of all other text
	titlePen      = 1.6
	largestPixels = 100e6
)

// write paints the figure as a PNG file. It fails if the picture would be too large.
func (f *Figure) write(w io.Writer) error {
	l, err := f.layout()
	if err != nil {
		return err
	}
	return writePNG(w, l.paint(), f.scale*density(l.width, l.height), f.comments)
}

// density is how many pixels of scale 1 a metre of the printed picture has: so that its letters
// have 9 points or, where that is too large for a page, that it fills a column of 16 × 24 cm.
func density(width, height int) int {
	return max(lettersOf(9), int(math.Ceil(max(float64(width)/0.16, float64(height)/0.24))))
}

// lettersOf is the density that letters of so many points have. A line of them is 14 pixels.
func lettersOf(points float64) int { return int(14 / points * 72 / 0.0254) }

// layout says where everything goes, in pixels at scale 1.
type layout struct {
	Figure
	body, large             *font
	colors                  colorScale
	rowLabels, columnLabels [][]textRun
	legend                  []textRun // below the labels: what they are

	left, top, right, bottom int // what is free around the panels, their titles and labels
	titleLine, widestTitle   int // of the panels
	longest, text            int // column label; line above or below the panels
	usual, least             int // decimals of values; so many at least
	decimals                 int // of the values in the cells, noValues if they do not fit
	grid

	frames []image.Rectangle // of the panels
	pins   []pin
	ticks  []image.Rectangle
	texts  []placedText
}

// grid is how large everything is with so many panels in a line and cells of so many pixels.
type grid struct {
	perLine, cell, gap int         // gap of a cell's pixels are the white line before it
	size, pitch        image.Point // of a panel, and how far the next ones are
	upright            bool        // the column labels, if they are short
	bar                image.Rectangle
	width, height      int // of the picture
}

// placedText is a text at its lower left corner or, if it is turned upwards, its lower right one.
type placedText struct {
	font *font
	x, y int
	up   bool
	runs []textRun
}

// pin is a mark on the colour bar, at the row of pixels y of its value. The middle of its text is
// at labelY: elsewhere if two marks are close together.
type pin struct {
	text      textRun
	y, labelY int
}

// noValues is the number of decimals where cells are too small for their values.
const noValues = math.MinInt

// layout lays the figure out. It fails if the picture would be too large, also before a run, when
// no value is known.
func (f *Figure) layout() (*layout, error) {
	l := &layout{Figure: *f, colors: f.colorScale()}
	l.body, l.large = &font{1, bodyPen, f.scale}, &font{titleSize, titlePen, f.scale}
	l.usual, l.least = l.colors.decimals()
	if f.heading != nil {
		if l.title = *f.heading; l.title == "" {
			l.subtitle = ""
		}
	}
	l.measure()
	if !l.choose() {
		return nil, fmt.Errorf("heat map: %d of %d × %d cells, %d pixels for one, are too many "+
			"for one picture: ask for less in one, or for a smaller scale", len(f.panels),
			len(f.rows.names), len(f.columns.names), f.scale)
	}
	l.place()
	l.placeBar()
	return l, nil
}

// paint draws the figure as it is laid out.
func (l *layout) paint() *image.Paletted {
	c := newCanvas(l.width, l.height, l.scale, l.anchors())
	for i, frame := range l.frames {
		c.fill(frame.Inset(-1), frameGrey)
		c.fill(frame, white)
		for row := range l.rows.names {
			for column := range l.columns.names {
				l.paintCell(c, l.cellAt(frame, row, column), l.panels[i].at(row, column))
			}
		}
	}
	c.fill(l.bar.Inset(-1), frameGrey)
	c.gradient(l.bar)
	for _, p := range l.pins { // a line, a small triangle, a thin line to a text that had to move
		x, color := l.bar.Max.X+2, p.text.ink+fullInk
		c.fill(image.Rect(l.bar.Min.X, p.y-1, l.bar.Max.X, p.y+2).Intersect(l.bar), white)
		c.fill(image.Rect(l.bar.Min.X, p.y, l.bar.Max.X, p.y+1), ink+fullInk)
		for i := range 5 {
			c.fill(image.Rect(x+i, p.y-i, x+i+1, p.y+i+1), color)
		}
		c.fill(image.Rect(x+4, min(p.y, p.labelY), x+5, max(p.y, p.labelY)+1), color)
	}
	for _, tick := range l.ticks {
		c.fill(tick, frameGrey)
	}
	for _, t := range l.texts {
		c.text(t.font, t.x, t.y, t.up, t.runs...)
	}
	return c.picture
}

func (l *layout) paintCell(c *canvas, cell image.Rectangle, value float64) {
	switch {
	case !math.IsNaN(value):
		c.fill(cell, l.colors.step(value))
		if l.decimals != noValues {
			text := formatValue(value, l.decimals)
			x := cell.Min.X + (cell.Dx()-l.body.width(text)+1)/2
			c.text(l.body, x, cell.Min.Y+cell.Dy()/2+letterHeight/2, false, textRun{text, ink})
		}
	case !l.blank:
		c.hatch(cell)
	}
}

// measure makes the texts, and finds how much room they take around the panels.
func (l *layout) measure() {
	l.rowLabels, l.left = l.rows.labels(l.body)
	l.columnLabels, l.longest = l.columns.labels(l.body)
	l.left += margin + 5 + tickLength
	if l.rows.title != "" {
		l.left += labelPitch + 6
	}
	l.top = margin
	if l.title != "" {
		l.top += 20
	}
	if l.subtitle != "" {
		l.top += 16
	}
	if l.top > margin {
		l.top += 14
	}
	for _, p := range l.panels {
		if l.widestTitle = max(l.widestTitle, l.body.width(p.title)); p.title != "" {
			l.titleLine = titleLine
		}
	}
	for _, v := range []float64{l.colors.low, l.colors.high} {
		l.right = max(l.right, l.body.width(formatValue(v, l.usual)))
	}
	for _, mark := range l.marks {
		l.right = max(l.right, l.body.width(l.markText(mark)))
	}
	l.right += barWidth + barIndent + margin
	l.legend, l.bottom = l.makeLegend(), margin
	if len(l.legend) > 0 {
		l.bottom += 22
	}
	l.text = min(max(l.large.width(l.title), l.body.width(l.subtitle)), longestTitle)
	l.text = max(l.text, runsWidth(l.body, l.legend))
}

// labels gives the texts of the rows or columns, and the width of the widest.
func (a *Axis) labels(body *font) (labels [][]textRun, widest int) {
	for i, name := range a.names {
		var label []textRun
		if a.beside != nil && a.beside[i] != "" {
			clean := legible(body, a.beside[i], accent, longestLabel, a.tokens)
			label = append(clean, textRun{"→", paleInk})
		}
		label = append(label, legible(body, name, ink, longestLabel, a.tokens)...)
		labels, widest = append(labels, label), max(widest, runsWidth(body, label))
	}
	return labels, widest
}

// makeLegend is the column title and, where the texts differ, the key to the labels.
func (f *Figure) makeLegend() (legend []textRun) {
	if f.columns.title != "" {
		legend = append(legend, textRun{f.columns.title, ink})
	}
	if slices.ContainsFunc(f.columns.beside, func(s string) bool { return s != "" }) {
		if legend != nil {
			legend = append(legend, textRun{"; where they differ: ", paleInk})
		}
		legend = append(legend, textRun{"clean", accent}, textRun{"→", paleInk},
			textRun{"corrupt", ink})
	}
	return legend
}

// markText is what stands beside a mark: "corrupt 1.02".
func (l *layout) markText(m Mark) string {
	return m.label + " " + formatValue(m.value, l.usual)
}

// choose finds how many panels stand side by side, and how large the cells are. In this order:
// values stand in the cells, if there is room for them; every row and column has its label, or else
// cells are large; on a page letters have 7 points, of several panels 6; values have all their
// decimals; many panels stand side by side; cells are large. It fails if no picture is small.
func (l *layout) choose() bool {
	legible := lettersOf(7)
	if len(l.panels) > 1 {
		legible = lettersOf(6)
	}
	widths, fewest := l.valueWidths()
	var best []int
	step := max(l.across, 1)
	for perLine := step; perLine < len(l.panels)+step; perLine += step {
		for cell := 1; cell <= max(usualCell, fewest); cell++ {
			g, small := l.gridOf(perLine, cell)
			if !small {
				break
			}
			page := min(legible-density(g.width, g.height), 0)
			rank, column, decimals := min(cell, labelPitch), page, noValues
			for d, needed := range widths {
				if needed <= cell && density(g.width, g.height) <= lettersOf(4.5) {
					rank, column = labelPitch+1, min(legible-density(g.width, 0), 0)
					decimals = max(decimals, d)
				}
			}
			try := []int{rank, column, min(decimals, l.usual-1), page, perLine, decimals, cell}
			if slices.Compare(try, best) > 0 {
				best, l.grid, l.decimals = try, g, decimals
			}
		}
	}
	return best != nil
}

// valueWidths says how large a cell must be for values with so many decimals: as many as are usual,
// or fewer as long as colours that the eye tells apart are different numbers; and how large the
// cells are that hold the fewest.
func (l *layout) valueWidths() (widths map[int]int, fewest int) {
	widths = map[int]int{}
	for decimals := l.least; decimals <= l.usual; decimals++ {
		widest := 0
		l.eachValue(func(v float64) {
			widest = max(widest, l.body.width(formatValue(v, decimals)))
		})
		if widest > 0 && widest < largestCell {
			widths[decimals] = max(widest+2, smallestValue)
		}
	}
	return widths, widths[l.least]
}

// eachValue calls see for every cell of the panels that has a value.
func (f *Figure) eachValue(see func(v float64)) {
	for _, p := range f.panels {
		if p.at == nil {
			continue
		}
		for row := range f.rows.names {
			for column := range f.columns.names {
				if v := p.at(row, column); !math.IsNaN(v) {
					see(v)
				}
			}
		}
	}
}

// gridOf lays out the grid, and tells whether the picture is small enough.
func (l *layout) gridOf(perLine, cell int) (g grid, small bool) {
	rows, columns := len(l.rows.names), len(l.columns.names)
	lines := (len(l.panels) + perLine - 1) / perLine
	g = grid{perLine: perLine, cell: cell, upright: l.longest <= cell-6}
	if cell >= gridCell {
		g.gap = 1
	}
	g.size = image.Pt(columns*cell+g.gap, rows*cell+g.gap+l.groupGaps(rows-1))
	g.pitch = image.Pt(max(g.size.X, l.widestTitle)+panelGap, g.size.Y+l.titleLine+panelGap)
	x, y := l.left+perLine*g.pitch.X, l.top+l.titleLine
	g.bar = image.Rect(x, y, x+barWidth, y+min(max(g.size.Y, smallestBar), largestBar))
	bottom := l.top + lines*g.pitch.Y - panelGap + tickLength + 5 // of the column labels
	if g.upright {
		bottom += letterHeight
	} else {
		bottom += l.longest
	}
	g.width = max(x+l.right, l.left+l.text+margin)
	g.height = max(bottom, g.bar.Max.Y) + l.bottom
	pixels := float64(g.width*l.scale) * float64(g.height*l.scale)
	return g, max(perLine*columns, lines*rows)*cell <= largestSide && pixels <= largestPixels
}

// groupGaps is how much is between the groups of rows that end above a row.
func (f *Figure) groupGaps(row int) int { return row / cmp.Or(f.group, math.MaxInt) * groupGap }

// cellAt is the place of a cell of the panel in frame, without the white lines around it.
func (l *layout) cellAt(frame image.Rectangle, row, column int) image.Rectangle {
	x, y := frame.Min.X+column*l.cell, frame.Min.Y+row*l.cell+l.groupGaps(row)
	return image.Rect(x+l.gap, y+l.gap, x+l.cell, y+l.cell)
}

// place places the lines above, the panels with their labels, and the legend.
func (l *layout) place() {
	y, room := margin, max(longestTitle, l.width-l.left-margin)
	if l.title != "" {
		l.addText(l.large, l.left, y+13, false, legible(l.large, l.title, ink, room, false)...)
		y += 20
	}
	l.addText(l.body, l.left, y+11, false, legible(l.body, l.subtitle, paleInk, room, false)...)
	thin(l.rowLabels, l.rows.beside, l.cell, max(l.group, 1))
	thin(l.columnLabels, l.columns.beside, l.cell, 1)
	for i, p := range l.panels {
		x, y := l.left+i%l.perLine*l.pitch.X, l.bar.Min.Y+i/l.perLine*l.pitch.Y
		frame := image.Rectangle{Max: l.size}.Add(image.Pt(x, y))
		l.frames = append(l.frames, frame)
		l.addText(l.body, x, y-8, false, textRun{p.title, ink})
		if i%l.perLine == 0 {
			l.labelRows(frame)
		}
		if i+l.perLine >= len(l.panels) { // nothing stands below it
			l.labelColumns(frame)
		}
	}
	l.addText(l.body, l.left, l.height-margin-4, false, l.legend...)
}

func (l *layout) addText(f *font, x, y int, up bool, runs ...textRun) {
	if runsWidth(f, runs) > 0 {
		l.texts = append(l.texts, placedText{f, x, y, up, runs})
	}
}

// thin leaves out labels that would touch others. First come those for which the texts differ, then
// every second, fifth, tenth … one, or where they stand in groups those that divide a group evenly.
func thin(labels [][]textRun, beside []string, cell, group int) {
	even := func(step int) bool {
		return group%step == 0 ||
			step%group == 0 && slices.Contains([]int{2, 5, 10, 20}, step/group)
	}
	step := 1
	for step*cell < labelPitch || !even(step) {
		step++
	}
	chosen := make([]bool, len(labels))
	choose := func(i int) {
		near := chosen[max(0, i-step+1):min(len(labels), i+step)]
		chosen[i] = chosen[i] || !slices.Contains(near, true)
	}
	for i, clean := range beside {
		if clean != "" {
			choose(i)
		}
	}
	for i := 0; i < len(labels); i += step {
		choose(i)
	}
	for i := range labels {
		if !chosen[i] {
			labels[i] = nil
		}
	}
}

func (l *layout) labelRows(frame image.Rectangle) {
	for row, label := range l.rowLabels {
		if label != nil {
			cell := l.cellAt(frame, row, 0)
			x, y := frame.Min.X-1-tickLength, cell.Min.Y+cell.Dy()/2
			l.ticks = append(l.ticks, image.Rect(x, y, x+tickLength, y+1))
			x -= 3 + runsWidth(l.body, label)
			l.addText(l.body, x, y+letterHeight/2, false, label...)
		}
	}
	width := l.body.width(l.rows.title)
	y := max((frame.Min.Y+frame.Max.Y+width)/2, frame.Min.Y+width)
	l.addText(l.body, margin+11, y, true, textRun{l.rows.title, ink})
}

func (l *layout) labelColumns(frame image.Rectangle) {
	for column, label := range l.columnLabels {
		if label != nil {
			cell := l.cellAt(frame, 0, column)
			x, y := cell.Min.X+cell.Dx()/2, frame.Max.Y+1
			l.ticks = append(l.ticks, image.Rect(x, y, x+1, y+tickLength))
			y += tickLength + 4
			if width := runsWidth(l.body, label); l.upright {
				l.addText(l.body, x-width/2, y+letterHeight, false, label...)
			} else {
				l.addText(l.body, x+letterHeight/2, y+width, true, label...)
			}
		}
	}
}

// placeBar places the ticks and the marks of the colour bar. Marks that would overlap are moved
// apart, and a tick in a mark's way keeps its line and loses its number. A mark beyond the user's
// range has no place.
func (l *layout) placeBar() {
	at := func(v float64) int {
		return l.bar.Max.Y - 1 - int(math.Round(l.colors.position(v)*float64(l.bar.Dy()-1)))
	}
	for _, m := range l.marks {
		beyond := l.low < l.high && (m.value < l.low || m.value > l.high)
		if math.IsNaN(m.value) || beyond {
			continue
		}
		text := textRun{l.markText(m), ink}
		if m.label == "clean" {
			text.ink = accent
		}
		l.pins = append(l.pins, pin{text, at(m.value), at(m.value)})
	}
	slices.SortStableFunc(l.pins, func(a, b pin) int { return a.y - b.y })
	for i := 1; i < len(l.pins); i++ {
		l.pins[i].labelY = max(l.pins[i].y, l.pins[i-1].labelY+labelPitch+2)
	}
	lowest := l.bar.Max.Y - 1
	for i := len(l.pins) - 1; i >= 0; i-- { // and not below the bar
		l.pins[i].labelY = min(l.pins[i].labelY, lowest)
		lowest = l.pins[i].labelY - labelPitch - 2
	}
	x := l.bar.Max.X + barIndent
	values, texts := ticks(l.colors.low, l.colors.high, min(l.bar.Dy()/40, mostTicks))
	for i, v := range values {
		y := at(v)
		l.ticks = append(l.ticks, image.Rect(l.bar.Max.X+1, y, l.bar.Max.X+1+tickLength, y+1))
		inTheWay := func(p pin) bool { return abs(p.labelY-y) < labelPitch }
		if !slices.ContainsFunc(l.pins, inTheWay) {
			l.addText(l.body, x, y+letterHeight/2, false, textRun{texts[i], ink})
		}
	}
	for _, p := range l.pins {
		l.addText(l.body, x, p.labelY+letterHeight/2, false, p.text)
	}
}

// anchors is the colour map from the lowest value's colour to the highest one's.
func (f *Figure) anchors() []uint32 {
	anchors := slices.Clone(colorMaps[f.colorMap])
	if f.reversed {
		slices.Reverse(anchors)
	}
	return anchors
}

// colorScale spans the colours over all values and marks, unless the user has said what to span.
// A scale with a centre reaches equally far on both sides of it.
func (f *Figure) colorScale() colorScale {
	if f.low < f.high {
		return newColorScale(f.low, f.high)
	}
	low, high := math.Inf(1), math.Inf(-1)
	include := func(v float64) {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			low, high = min(low, v), max(high, v)
		}
	}
	f.eachValue(include)
	for _, mark := range f.marks {
		include(mark.value)
	}
	if (f.centered || f.colorMap == "rdbu") && !math.IsNaN(f.center) && !math.IsInf(f.center, 0) {
		include(f.center)
		reach := max(high-f.center, f.center-low)
		low, high = f.center-reach, f.center+reach
	}
	return newColorScale(low, high)
}

func abs(n int) int { return max(n, -n) }
