package main

import (
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
	picture := f.paint(l)
	return writePNG(w, picture, f.scale*density(l.width, l.height), f.comments)
}

// density is how many pixels of scale 1 a metre of the printed picture has: so that its letters
// have 9 points or, where that is too large for a page, that it fills a column of 16 × 24 cm.
func density(width, height int) int {
	return max(lettersOf(9), int(math.Ceil(max(float64(width)/0.16, float64(height)/0.24))))
}

// lettersOf is the density that letters of so many points have. A line of them is 14 pixels.
func lettersOf(points float64) int { return int(14 / points * 72 / 0.0254) }

// paint draws the figure as it is laid out.
func (f *Figure) paint(l *layout) *image.Paletted {
	c := newCanvas(l.width, l.height, f.scale, f.anchors())
	for i, frame := range l.panels {
		c.fill(frame.Inset(-1), frameGrey)
		c.fill(frame, white)
		for row := range f.rows.names {
			for column := range f.columns.names {
				f.paintCell(c, l, f.cellAt(l, frame, row, column), f.panels[i].at(row, column))
			}
		}
	}
	c.fill(l.bar.Inset(-1), frameGrey)
	c.gradient(l.bar)
	for _, m := range l.marks {
		c.fill(image.Rect(l.bar.Min.X, m.y-1, l.bar.Max.X, m.y+2).Intersect(l.bar), white)
		c.fill(image.Rect(l.bar.Min.X, m.y, l.bar.Max.X, m.y+1), ink+fullInk)
		c.pointer(l.bar.Max.X+2, m.y, m.labelY, m.text.ink+fullInk)
	}
	for _, tick := range l.ticks {
		c.fill(tick, frameGrey)
	}
	for _, t := range l.texts {
		c.text(t.font, t.x, t.y, t.up, t.runs...)
	}
	return c.picture
}

func (f *Figure) paintCell(c *canvas, l *layout, cell image.Rectangle, value float64) {
	if math.IsNaN(value) {
		if !f.blank {
			c.hatch(cell)
		}
		return
	}
	c.fill(cell, l.scale.step(value))
	if l.decimals != noValues {
		text := formatValue(value, l.decimals)
		x := cell.Min.X + (cell.Dx()-l.body.width(text)+1)/2
		c.text(l.body, x, cell.Min.Y+cell.Dy()/2+letterHeight/2, false, textRun{text, ink})
	}
}

// layout says where everything goes, in pixels at scale 1.
type layout struct {
	body, large       *font
	scale             colorScale
	rowLabels, labels [][]textRun // what stands beside a row or below a column
	legend            []textRun   // below the labels: what they are

	left, top, right, bottom int // what is free around the panels, their titles and labels
	titleLine, widestTitle   int // of the panels
	longest, text            int // column label; line above or below the panels
	across, cell             int // panels side by side; side of a cell with the line beside it
	decimals                 int // of the values in the cells, noValues if they do not fit

	width, height int
	panels        []image.Rectangle
	bar           image.Rectangle
	marks         []barLabel
	ticks         []image.Rectangle
	texts         []placedText
}

// placedText is a text at its lower left corner or, if it is turned upwards, its lower right one.
type placedText struct {
	font *font
	x, y int
	up   bool
	runs []textRun
}

// barLabel is a text beside the colour bar, at the row of pixels y of its value. The middle of the
// text is at labelY: elsewhere if two marks are close together.
type barLabel struct {
	text      textRun
	y, labelY int
}

// noValues is the number of decimals where cells are too small for their values.
const noValues = math.MinInt

// layout lays the figure out. It fails if the picture would be too large, also before a run, when
// no value is known.
func (f *Figure) layout() (*layout, error) {
	l := &layout{scale: f.colorScale(), decimals: noValues}
	l.body = newFont(1, bodyPen, f.scale)
	l.large = newFont(titleSize, titlePen, f.scale)
	f.measure(l)
	if !f.choose(l) {
		return nil, fmt.Errorf("heat map: %d of %d × %d cells, %d pixels for one, are too many "+
			"for one picture: ask for less in one, or for a smaller scale", len(f.panels),
			len(f.rows.names), len(f.columns.names), f.scale)
	}
	l.width, l.height = f.size(l, l.across, l.cell)
	f.place(l)
	f.labelBar(l)
	return l, nil
}

// measure makes the texts, and finds how much room they take around the panels.
func (f *Figure) measure(l *layout) {
	l.rowLabels, l.labels = f.rows.labels(l.body), f.columns.labels(l.body)
	l.longest = widestRuns(l.body, l.labels)
	l.left = margin + widestRuns(l.body, l.rowLabels) + 5 + tickLength
	if f.rows.title != "" {
		l.left += labelPitch + 6
	}
	title, subtitle := f.heads()
	l.top = margin
	if title != "" {
		l.top += 20
	}
	if subtitle != "" {
		l.top += 16
	}
	if l.top > margin {
		l.top += 14
	}
	for _, p := range f.panels {
		if l.widestTitle = max(l.widestTitle, l.body.width(p.title)); p.title != "" {
			l.titleLine = titleLine
		}
	}
	decimals, _ := l.scale.decimals()
	for _, v := range []float64{l.scale.low, l.scale.high} {
		l.right = max(l.right, l.body.width(formatValue(v, decimals)))
	}
	for _, mark := range f.marks {
		l.right = max(l.right, l.body.width(mark.label+" "+formatValue(mark.value, decimals)))
	}
	l.right += barWidth + barIndent + margin
	l.legend, l.bottom = f.legend(), margin
	if len(l.legend) > 0 {
		l.bottom += 22
	}
	l.text = min(max(l.large.width(title), l.body.width(subtitle)), longestTitle)
	l.text = max(l.text, runsWidth(l.body, l.legend))
}

// heads are the two lines above the panels.
func (f *Figure) heads() (title, subtitle string) {
	switch {
	case f.heading == nil:
		return f.title, f.subtitle
	case *f.heading == "":
		return "", ""
	}
	return *f.heading, f.subtitle
}

// choose finds how many panels stand side by side, and how large the cells are. In this order:
// values stand in the cells, if there is room for them; every row and column has its label, or else
// cells are large; on a page letters have 7 points, of several panels 6; values have all their
// decimals; many panels stand side by side; cells are large. It fails if no picture is small.
func (f *Figure) choose(l *layout) bool {
	rows, columns, panels := len(f.rows.names), len(f.columns.names), len(f.panels)
	legible := lettersOf(7)
	if panels > 1 {
		legible = lettersOf(6)
	}
	usual, _ := l.scale.decimals()
	widths, least := f.valueWidths(l)
	var best []int
	for across := max(f.across, 1); across < panels+max(f.across, 1); across += max(f.across, 1) {
		lines := (panels + across - 1) / across
		for cell := 1; cell <= max(usualCell, least); cell++ {
			width, height := f.size(l, across, cell)
			pixels := float64(width*f.scale) * float64(height*f.scale)
			wide, high := across*columns*cell, lines*rows*cell
			if max(wide, high) > largestSide || pixels > largestPixels {
				break
			}
			page := min(legible-density(width, height), 0)
			rank, column, decimals := min(cell, labelPitch), page, noValues
			for d, needed := range widths {
				if needed <= cell && density(width, height) <= lettersOf(4.5) {
					rank, column = labelPitch+1, min(legible-density(width, 0), 0)
					decimals = max(decimals, d)
				}
			}
			try := []int{rank, column, min(decimals, usual-1), page, across, decimals, cell}
			if slices.Compare(try, best) > 0 {
				best, l.across, l.cell, l.decimals = try, across, cell, decimals
			}
		}
	}
	return best != nil
}

// valueWidths says how large a cell must be for values with so many decimals: as many as are usual,
// or fewer as long as colours that the eye tells apart are different numbers; and how large the
// cells are that hold the fewest.
func (f *Figure) valueWidths(l *layout) (widths map[int]int, fewest int) {
	widths = map[int]int{}
	usual, least := l.scale.decimals()
	for decimals := least; decimals <= usual; decimals++ {
		widest := 0
		f.eachValue(func(v float64) {
			widest = max(widest, l.body.width(formatValue(v, decimals)))
		})
		if widest > 0 && widest < largestCell {
			widths[decimals] = max(widest+2, smallestValue)
		}
	}
	return widths, widths[least]
}

// eachValue calls see for every cell of the panels that has a value.
func (f *Figure) eachValue(see func(v float64)) {
	for _, p := range f.panels {
		for row := range f.rows.names {
			for column := range f.columns.names {
				if p.at == nil {
					return
				}
				if v := p.at(row, column); !math.IsNaN(v) {
					see(v)
				}
			}
		}
	}
}

// size is the picture's with so many panels side by side and cells so large.
func (f *Figure) size(l *layout, across, cell int) (width, height int) {
	panel, pitch := f.panelSize(l, cell)
	lines := (len(f.panels) + across - 1) / across
	width = l.left + max(across*pitch.X+l.right, l.text+margin)
	height = lines*pitch.Y - panelGap + tickLength + 5 + l.depth(cell)
	return width, l.top + max(height, l.titleLine+barHeight(panel)) + l.bottom
}

// panelSize is how large a panel is, and how far the next ones are.
func (f *Figure) panelSize(l *layout, cell int) (size, pitch image.Point) {
	rows, columns := len(f.rows.names), len(f.columns.names)
	size = image.Pt(columns, rows).Mul(cell)
	if f.group > 0 {
		size.Y += (rows - 1) / f.group * groupGap
	}
	if cell >= gridCell {
		size = size.Add(image.Pt(1, 1))
	}
	pitch = image.Pt(max(size.X, l.widestTitle)+panelGap, size.Y+l.titleLine+panelGap)
	return size, pitch
}

func barHeight(panel image.Point) int { return min(max(panel.Y, smallestBar), largestBar) }

// depth is how far the column labels reach down: they stand upright if they are short.
func (l *layout) depth(cell int) int {
	if l.longest <= cell-6 {
		return letterHeight
	}
	return l.longest
}

// cellAt is the place of a cell of the panel in frame, without the white lines around it.
func (f *Figure) cellAt(l *layout, frame image.Rectangle, row, column int) image.Rectangle {
	gap := 0
	if l.cell >= gridCell {
		gap = 1
	}
	corner := frame.Min.Add(image.Pt(column*l.cell+gap, row*l.cell+gap))
	if f.group > 0 {
		corner.Y += row / f.group * groupGap
	}
	return image.Rectangle{corner, corner.Add(image.Pt(l.cell-gap, l.cell-gap))}
}

// place places everything: the lines above, the panels with their labels, the colour bar beside the
// first line of them, the legend.
func (f *Figure) place(l *layout) {
	title, subtitle := f.heads()
	y, room := margin, max(longestTitle, l.width-l.left-margin)
	if title != "" {
		l.write(l.large, l.left, y+13, false, legible(l.large, title, ink, room, false)...)
		y += 20
	}
	l.write(l.body, l.left, y+11, false, legible(l.body, subtitle, paleInk, room, false)...)

	size, pitch := f.panelSize(l, l.cell)
	thin(l.rowLabels, f.rows.beside, l.cell, f.group)
	thin(l.labels, f.columns.beside, l.cell, 0)
	first := image.Pt(l.left, l.top+l.titleLine)
	for i, p := range f.panels {
		corner := first.Add(image.Pt(i%l.across*pitch.X, i/l.across*pitch.Y))
		frame := image.Rectangle{corner, corner.Add(size)}
		l.panels = append(l.panels, frame)
		l.write(l.body, frame.Min.X, frame.Min.Y-8, false, textRun{p.title, ink})
		if i%l.across == 0 {
			f.placeRowLabels(l, frame)
		}
		if i+l.across >= len(f.panels) { // nothing stands below it
			f.placeColumnLabels(l, frame)
		}
	}
	corner := first.Add(image.Pt(l.across*pitch.X, 0))
	l.bar = image.Rectangle{corner, corner.Add(image.Pt(barWidth, barHeight(size)))}
	l.write(l.body, l.left, l.height-margin-4, false, l.legend...)
}

// write places a text.
func (l *layout) write(f *font, x, y int, up bool, runs ...textRun) {
	if runsWidth(f, runs) > 0 {
		l.texts = append(l.texts, placedText{f, x, y, up, runs})
	}
}

func (f *Figure) placeRowLabels(l *layout, frame image.Rectangle) {
	for row, label := range l.rowLabels {
		if label != nil {
			cell := f.cellAt(l, frame, row, 0)
			x, y := frame.Min.X-1-tickLength, cell.Min.Y+cell.Dy()/2
			l.ticks = append(l.ticks, image.Rect(x, y, x+tickLength, y+1))
			x -= 3 + runsWidth(l.body, label)
			l.write(l.body, x, y+letterHeight/2, false, label...)
		}
	}
	width := l.body.width(f.rows.title)
	y := max((frame.Min.Y+frame.Max.Y+width)/2, frame.Min.Y+width)
	l.write(l.body, margin+11, y, true, textRun{f.rows.title, ink})
}

func (f *Figure) placeColumnLabels(l *layout, frame image.Rectangle) {
	for column, label := range l.labels {
		if label != nil {
			cell := f.cellAt(l, frame, 0, column)
			x, y := cell.Min.X+cell.Dx()/2, frame.Max.Y+1
			l.ticks = append(l.ticks, image.Rect(x, y, x+1, y+tickLength))
			y += tickLength + 4
			if width := runsWidth(l.body, label); l.longest <= l.cell-6 {
				l.write(l.body, x-width/2, y+letterHeight, false, label...)
			} else {
				l.write(l.body, x+letterHeight/2, y+width, true, label...)
			}
		}
	}
}

// labelBar places the ticks and the marks. Marks that would overlap are moved apart, and a tick in
// a mark's way keeps its line and loses its number. A mark beyond the user's range has no place.
func (f *Figure) labelBar(l *layout) {
	at := func(v float64) int {
		up := int(math.Round(l.scale.position(v) * float64(l.bar.Dy()-1)))
		return l.bar.Max.Y - 1 - up
	}
	for _, mark := range f.marks {
		beyond := f.low < f.high && (mark.value < f.low || mark.value > f.high)
		if math.IsNaN(mark.value) || beyond {
			continue
		}
		decimals, _ := l.scale.decimals()
		text := textRun{mark.label + " " + formatValue(mark.value, decimals), ink}
		if mark.label == "clean" {
			text.ink = accent
		}
		l.marks = append(l.marks, barLabel{text, at(mark.value), at(mark.value)})
	}
	slices.SortStableFunc(l.marks, func(a, b barLabel) int { return a.y - b.y })
	for i := 1; i < len(l.marks); i++ {
		l.marks[i].labelY = max(l.marks[i].y, l.marks[i-1].labelY+labelPitch+2)
	}
	lowest := l.bar.Max.Y - 1
	for i := len(l.marks) - 1; i >= 0; i-- { // and not below the bar
		l.marks[i].labelY = min(l.marks[i].labelY, lowest)
		lowest = l.marks[i].labelY - labelPitch - 2
	}
	x := l.bar.Max.X + barIndent
	values, texts := ticks(l.scale.low, l.scale.high, min(l.bar.Dy()/40, mostTicks))
	for i, v := range values {
		y := at(v)
		l.ticks = append(l.ticks, image.Rect(l.bar.Max.X+1, y, l.bar.Max.X+1+tickLength, y+1))
		inTheWay := func(m barLabel) bool { return abs(m.labelY-y) < labelPitch }
		if !slices.ContainsFunc(l.marks, inTheWay) {
			l.write(l.body, x, y+letterHeight/2, false, textRun{texts[i], ink})
		}
	}
	for _, m := range l.marks {
		l.write(l.body, x, m.labelY+letterHeight/2, false, m.text)
	}
}

// labels gives the texts of the rows or columns.
func (a *Axis) labels(body *font) [][]textRun {
	labels := make([][]textRun, len(a.names))
	for i, name := range a.names {
		if !a.tokens {
			labels[i] = []textRun{{name, ink}}
			continue
		}
		if a.beside != nil && a.beside[i] != "" {
			labels[i] = legible(body, a.beside[i], accent, longestLabel, true)
			labels[i] = append(labels[i], textRun{"→", paleInk})
		}
		labels[i] = append(labels[i], legible(body, name, ink, longestLabel, true)...)
	}
	return labels
}

// thin leaves out labels that would touch others. First come those for which the texts differ, then
// every second, fifth, tenth … one, or where they stand in groups those that divide a group evenly.
func thin(labels [][]textRun, beside []string, cell, group int) {
	step := 1
	for step*cell < labelPitch {
		step = nextStep(step, group)
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

// nextStep continues 1, 2, 5, 10, 20, 50, … or, among the rows of groups, the divisors of a group.
func nextStep(step, group int) int {
	for next := step + 1; next <= group; next++ {
		if group%next == 0 {
			return next
		}
	}
	return nextRound(step/max(group, 1)) * max(group, 1)
}

// legend is the column title and, where the texts differ, the key to the labels.
func (f *Figure) legend() []textRun {
	var legend []textRun
	if f.columns.title != "" {
		legend = append(legend, textRun{f.columns.title, ink})
	}
	if slices.ContainsFunc(f.columns.beside, func(s string) bool { return s != "" }) {
		if legend != nil {
			legend = append(legend, textRun{"; where they differ: ", paleInk})
		}
		arrow := textRun{"→", paleInk}
		legend = append(legend, textRun{"clean", accent}, arrow, textRun{"corrupt", ink})
	}
	return legend
}

func widestRuns(body *font, labels [][]textRun) int {
	widest := 0
	for _, label := range labels {
		widest = max(widest, runsWidth(body, label))
	}
	return widest
}

// anchors is the colour map from the lowest value's colour to the highest one's.
func (f *Figure) anchors() []uint32 {
	anchors := slices.Clone(anchorsOf(f.colorMap))
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
			low, high = math.Min(low, v), math.Max(high, v)
		}
	}
	f.eachValue(include)
	for _, mark := range f.marks {
		include(mark.value)
	}
	if (f.centered || f.colorMap == "rdbu") && !math.IsNaN(f.center) && !math.IsInf(f.center, 0) {
		include(f.center)
		reach := math.Max(high-f.center, f.center-low)
		low, high = f.center-reach, f.center+reach
	}
	return newColorScale(low, high)
}

func abs(n int) int { return max(n, -n) }
