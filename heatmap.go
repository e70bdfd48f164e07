package main

import (
	"fmt"
	"image"
	"io"
	"math"
	"slices"
	"unicode/utf8"
)

// This file paints heat maps: a layout says where everything goes, then it is painted. The canvas
// knows about pixels, colours and letters, the scale about numbers.

// Figure is everything that a heat map shows: one or more matrices of one shape on one colour
// scale, the names of their rows and columns, and a colour bar.
type Figure struct {
	title    string // the first line: the metric
	subtitle string // the second line: what was done, and the model
	panels   []Panel
	across   int // how many panels stand side by side; 0 for all
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
// stands for a cell that has no value.
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
	colorMap  string  // "viridis" or "rdbu"
	scale     int     // pixels of the picture for each pixel of the layout
	low, high float64 // what the colours span, if low < high, also rdbu; else they span the values
}

// Measures of the layout, in pixels at scale 1.
const (
	margin        = 20
	usualCell     = 48
	largestCell   = 96   // where numbers need as many digits to be told apart
	gridCell      = 20   // smaller cells touch each other
	smallestValue = 22   // cells below have no room for a number
	labelPitch    = 14   // lines of text closer than this run into each other
	usualWidth    = 1440 // cells shrink to fit in here, as long as every column can have its label
	largestWidth  = 4900 // beyond that labels are thinned
	largestHeight = 2304
	groupGap      = 4
	titleLine     = 20 // from a panel's title to the panel
	tickLength    = 4
	letterHeight  = 10
	barWidth      = 18
	barIndent     = 11 // from the bar to the texts beside it
	smallestBar   = 180
	largestBar    = 900
	mostTicks     = 14
	panelGap      = 24
	longestLabel  = 150
	longestTitle  = 900
	largestScale  = 8
	bodyPen       = 1.25 // width of the strokes
	titleSize     = 1.2  // times the size of all other text
	titlePen      = 1.6
	largestPixels = 100e6
)

func (f *Figure) write(w io.Writer) error {
	picture, err := f.paint()
	if err != nil {
		return err
	}
	size := picture.Rect.Size().Div(f.scale)
	return writePNG(w, picture, f.scale*density(size.X, size.Y), f.comments)
}

// density is how many pixels of scale 1 a metre of the printed picture has: so that its letters
// have 9 points or, where that is too large for a page, that it fills a column of 16 × 24 cm.
func density(width, height int) int {
	const em, point = 14, 0.0254 / 72
	return int(math.Ceil(max(em/(9*point), float64(width)/0.16, float64(height)/0.24)))
}

// paint draws the figure. It fails if the picture would be too large.
func (f *Figure) paint() (*image.Paletted, error) {
	l, err := f.layout()
	if err != nil {
		return nil, err
	}
	c := newCanvas(l.width, l.height, f.scale, f.anchors())
	c.text(l.large, l.left, l.titleY, textRun{l.title, ink})
	c.text(l.body, l.left, l.subtitleY, textRun{l.subtitle, paleInk})
	c.text(l.body, l.left, l.legendY, l.legend...)
	for i := range f.panels {
		f.paintPanel(c, l, i)
	}
	f.paintBar(c, l)
	return c.picture, nil
}

// layout says where everything goes, in pixels at scale 1.
type layout struct {
	width, height     int
	body, large       *font
	left              int // of the first panel
	title, subtitle   string
	titleY, subtitleY int // baselines
	cell, gap         int // side of a cell with the white line beside it, width of that line
	group             int // rows after which the gap between groups follows
	across            int
	panels            []image.Rectangle
	rowLabels, labels [][]textRun // what stands beside a row or below a column, nil where thinned
	upright           bool        // column labels so short that they need not be turned
	legend            []textRun   // below the labels
	legendY           int
	decimals          int // of the values in the cells, noValues if they do not fit
	scale             colorScale
	bar               image.Rectangle
	ticks             []barLabel
	marks             []barLabel
}

type barLabel struct {
	text   string
	y      int // the row of pixels of its value
	labelY int // the middle of its text: elsewhere if two marks are close together
	ink    uint8
}

func (f *Figure) layout() (*layout, error) {
	rows, columns := len(f.rows.names), len(f.columns.names)
	l := &layout{across: f.across, group: f.group, scale: f.colorScale()}
	if l.across == 0 {
		l.across = panelsAcross(len(f.panels), rows, columns)
	}
	if l.group == 0 {
		l.group = rows
	}
	l.body = newFont(1, bodyPen, f.scale)
	l.large = newFont(titleSize, titlePen, f.scale)
	l.cell = cellSize(rows, columns*l.across)
	if l.cell < 1 {
		return nil, fmt.Errorf("heat map: %d × %d cells are too many for one picture "+
			"(at most %d × %d)", rows, columns*l.across, largestHeight, largestWidth)
	}
	f.fitValues(l, rows, columns*l.across)
	if l.cell >= gridCell {
		l.gap = 1
	}
	l.labels = axisLabels(&f.columns, columns, l.cell, 0, l.body)
	l.rowLabels = axisLabels(&f.rows, rows, l.cell, f.group, l.body)
	l.legend = f.legendText()
	f.placeDown(l, rows, columns)
	f.labelBar(l)
	f.placeAcross(l, columns)
	scale := f.scale
	if float64(l.width)*float64(l.height)*float64(scale*scale) > largestPixels {
		return nil, fmt.Errorf("heat map: %d × %d pixels are too many for one picture: "+
			"ask for less in one, or for a smaller scale", l.width*scale, l.height*scale)
	}
	return l, nil
}

// panelsAcross is how many panels stand side by side: all, or fewer where that would be too wide
// and the lines of panels are not too high.
func panelsAcross(panels, rows, columns int) int {
	across := panels
	for across > 1 && columns*across*labelPitch > usualWidth {
		lines := (panels + across - 2) / (across - 1)
		if lines*rows*cellSize(rows, columns*(across-1)) > largestHeight {
			break
		}
		across--
	}
	return across
}

// cellSize is the side of a cell: as large as a number needs, smaller where there are many, and
// smaller than a label only where it must be.
func cellSize(rows, columns int) int {
	if size := min(usualCell, usualWidth/columns, largestHeight/rows); size >= labelPitch {
		return size
	}
	return min(labelPitch, largestWidth/columns, largestHeight/rows)
}

// noValues is the number of decimals where cells are too small for their values.
const noValues = math.MinInt

// fitValues finds the decimals with which every value fits into its cell: as many as are usual, or
// one less. Where it takes more digits to tell the colours apart, cells may grow.
func (f *Figure) fitValues(l *layout, rows, columns int) {
	l.decimals = noValues
	if l.cell < smallestValue {
		return
	}
	usual, least := l.scale.decimals()
	for decimals := usual; decimals >= max(least, usual-1); decimals-- {
		need, largest := f.widestValue(l.body, decimals)+6, l.cell
		if decimals == least {
			largest = max(l.cell, min(largestCell, usualWidth/columns, largestHeight/rows))
		}
		if need <= largest {
			l.cell, l.decimals = max(l.cell, need), decimals
			return
		}
	}
}

func (f *Figure) widestValue(body *font, decimals int) int {
	widest := 0
	f.eachValue(func(v float64) {
		widest = max(widest, body.width(formatValue(v, decimals)))
	})
	return widest
}

// eachValue calls see for every cell of the panels that has a value.
func (f *Figure) eachValue(see func(v float64)) {
	for _, p := range f.panels {
		for row := range f.rows.names {
			for column := range f.columns.names {
				if v := p.at(row, column); !math.IsNaN(v) {
					see(v)
				}
			}
		}
	}
}

// axisLabels gives the texts of the n rows or columns. Where labels would touch, those come first
// for which the texts differ, then every second, fifth, tenth … one, or where they stand in groups
// those that divide a group evenly.
func axisLabels(a *Axis, n, cell, group int, body *font) [][]textRun {
	step := 1
	for step*cell < labelPitch {
		step = nextStep(step, group)
	}
	chosen := make([]bool, n)
	choose := func(wanted func(i int) bool) {
		for i := range min(n, len(a.names)) {
			if !wanted(i) {
				continue
			}
			free := true
			for near := max(0, i-step+1); near < min(n, i+step); near++ {
				if chosen[near] && abs(near-i)*cell < labelPitch {
					free = false
				}
			}
			chosen[i] = free
		}
	}
	differs := func(i int) bool { return i < len(a.beside) && a.beside[i] != "" }
	choose(differs)
	choose(func(i int) bool { return i%step == 0 && !chosen[i] })

	labels := make([][]textRun, n)
	for i := range labels {
		switch {
		case !chosen[i]:
		case !a.tokens:
			labels[i] = []textRun{{a.names[i], ink}}
		default:
			if differs(i) {
				labels[i] = tokenRuns(body, a.beside[i], accent)
				labels[i] = append(labels[i], textRun{"→", paleInk})
			}
			labels[i] = append(labels[i], tokenRuns(body, a.names[i], ink)...)
		}
	}
	return labels
}

// tokenRuns makes a token visible: a space becomes an open box, what cannot be drawn an escape.
// What is longer than longestLabel ends in an ellipsis.
func tokenRuns(f *font, token string, color uint8) []textRun {
	var runs []textRun
	width := 0
	for len(token) > 0 {
		char, size := utf8.DecodeRuneInString(token)
		piece := textRun{string(char), color}
		switch {
		case char == ' ':
			piece = textRun{"␣", faintInk}
		case !drawable(token[:size]):
			piece = textRun{escape(token[:size]), paleInk}
		}
		width += f.width(piece.text)
		if width > longestLabel {
			return append(runs, textRun{"…", color})
		}
		runs = append(runs, piece)
		token = token[size:]
	}
	return runs
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

// legendText is the column title and, where the texts differ, the key to the labels.
func (f *Figure) legendText() []textRun {
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

// placeDown places everything from top to bottom, at x = 0: titles, lines of panels with their
// column labels and the colour bar beside the first, legend.
func (f *Figure) placeDown(l *layout, rows, columns int) {
	y := margin
	if f.title != "" {
		l.titleY = y + 13
		y += 20
	}
	if f.subtitle != "" {
		l.subtitleY = y + 11
		y += 16
	}
	if y > margin {
		y += 14
	}
	titled := slices.ContainsFunc(f.panels, func(p Panel) bool { return p.title != "" })
	panelHeight := rows*l.cell + l.gap + (rows-1)/l.group*groupGap
	longest := widestRuns(l.body, l.labels)
	if l.upright = longest <= l.cell-6; l.upright {
		longest = letterHeight
	}
	for i := range f.panels {
		if i%l.across == 0 {
			if i > 0 {
				y += panelGap
			}
			if titled {
				y += titleLine
			}
			y += panelHeight + tickLength + 5 + longest
		}
		bottom := y - tickLength - 5 - longest
		l.panels = append(l.panels, image.Rect(0, bottom-panelHeight, 0, bottom))
	}
	top := l.panels[0].Min.Y
	l.bar = image.Rect(0, top, barWidth, top+min(max(panelHeight, smallestBar), largestBar))
	if runsWidth(l.body, l.legend) > l.across*(columns*l.cell+l.gap+panelGap) {
		y = max(y, l.bar.Max.Y) // the legend reaches below the colour bar
	}
	if l.legend != nil {
		l.legendY = y + 18
		y = l.legendY + 4
	}
	l.height = max(y, l.bar.Max.Y) + margin
}

// placeAcross places everything from left to right: row title and labels, panels, colour bar.
func (f *Figure) placeAcross(l *layout, columns int) {
	x := margin
	if f.rows.title != "" {
		x += labelPitch + 6
	}
	l.left = x + widestRuns(l.body, l.rowLabels) + 5 + tickLength
	panelWidth := columns*l.cell + l.gap
	pitch := panelWidth
	for _, panel := range f.panels {
		pitch = max(pitch, l.body.width(panel.title))
	}
	for i := range l.panels {
		left := l.left + i%l.across*(pitch+panelGap)
		l.panels[i].Min.X, l.panels[i].Max.X = left, left+panelWidth
	}
	l.bar = l.bar.Add(image.Pt(l.left+l.across*(pitch+panelGap), 0))
	widest := 0
	for _, label := range slices.Concat(l.ticks, l.marks) {
		widest = max(widest, l.body.width(label.text))
	}
	right := l.bar.Max.X + barIndent + widest
	l.title = clip(l.large, legible(f.title), max(longestTitle, right-l.left))
	l.subtitle = clip(l.body, legible(f.subtitle), max(longestTitle, right-l.left))
	text := max(l.large.width(l.title), l.body.width(l.subtitle), runsWidth(l.body, l.legend))
	l.width = margin + max(right, l.left+text)
}

func widestRuns(body *font, labels [][]textRun) int {
	widest := 0
	for _, label := range labels {
		widest = max(widest, runsWidth(body, label))
	}
	return widest
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
		text := mark.label + " " + formatValue(mark.value, decimals)
		label := barLabel{text: text, y: at(mark.value), ink: ink}
		if mark.label == "clean" {
			label.ink = accent
		}
		l.marks = append(l.marks, label)
	}
	slices.SortStableFunc(l.marks, func(a, b barLabel) int { return a.y - b.y })
	for i := range l.marks {
		l.marks[i].labelY = l.marks[i].y
		if i > 0 {
			l.marks[i].labelY = max(l.marks[i].y, l.marks[i-1].labelY+labelPitch+2)
		}
	}
	for i := len(l.marks) - 1; i >= 0; i-- { // and not below the bar
		lowest := l.bar.Max.Y - 1
		if i+1 < len(l.marks) {
			lowest = l.marks[i+1].labelY - labelPitch - 2
		}
		l.marks[i].labelY = min(l.marks[i].labelY, lowest)
	}
	values, texts := ticks(l.scale.low, l.scale.high, min(l.bar.Dy()/40, mostTicks))
	for i, v := range values {
		t := barLabel{texts[i], at(v), at(v), ink}
		for _, m := range l.marks {
			if abs(m.labelY-t.labelY) < labelPitch {
				t.text = ""
			}
		}
		l.ticks = append(l.ticks, t)
	}
}

func (f *Figure) paintPanel(c *canvas, l *layout, i int) {
	frame, panel := l.panels[i], f.panels[i]
	c.text(l.body, frame.Min.X, frame.Min.Y-8, textRun{panel.title, ink})
	c.fill(frame.Inset(-1), frameGrey)
	c.fill(frame, white)
	for row := range f.rows.names {
		for column := range f.columns.names {
			f.paintCell(c, l, l.cellAt(frame, row, column), panel.at(row, column))
		}
	}
	for column, label := range l.labels {
		if label != nil {
			cell := l.cellAt(frame, 0, column)
			x, y := cell.Min.X+cell.Dx()/2, frame.Max.Y+1
			c.fill(image.Rect(x, y, x+1, y+tickLength), frameGrey)
			if width := runsWidth(l.body, label); l.upright {
				c.text(l.body, x-width/2, y+tickLength+4+letterHeight, label...)
			} else {
				c.textUp(l.body, x+letterHeight/2, y+tickLength+4+width, label...)
			}
		}
	}
	if i%l.across == 0 {
		f.paintRowLabels(c, l, frame)
	}
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
		c.text(l.body, x, cell.Min.Y+cell.Dy()/2+letterHeight/2, textRun{text, ink})
	}
}

// cellAt is the place of a cell of the panel in frame, without the white lines around it.
func (l *layout) cellAt(frame image.Rectangle, row, column int) image.Rectangle {
	x := frame.Min.X + column*l.cell + l.gap
	y := frame.Min.Y + row*l.cell + l.gap + row/l.group*groupGap
	return image.Rect(x, y, x+l.cell-l.gap, y+l.cell-l.gap)
}

func (f *Figure) paintRowLabels(c *canvas, l *layout, frame image.Rectangle) {
	for row, label := range l.rowLabels {
		if label != nil {
			cell := l.cellAt(frame, row, 0)
			y := cell.Min.Y + cell.Dy()/2
			c.fill(image.Rect(frame.Min.X-1-tickLength, y, frame.Min.X-1, y+1), frameGrey)
			x := frame.Min.X - tickLength - 4 - runsWidth(l.body, label)
			c.text(l.body, x, y+letterHeight/2, label...)
		}
	}
	width := l.body.width(f.rows.title)
	y := max((frame.Min.Y+frame.Max.Y+width)/2, frame.Min.Y+width)
	c.textUp(l.body, margin+11, y, textRun{f.rows.title, ink})
}

func (f *Figure) paintBar(c *canvas, l *layout) {
	c.fill(l.bar.Inset(-1), frameGrey)
	c.gradient(l.bar)
	for _, t := range l.ticks {
		c.fill(image.Rect(l.bar.Max.X+1, t.y, l.bar.Max.X+1+tickLength, t.y+1), frameGrey)
		c.text(l.body, l.bar.Max.X+barIndent, t.labelY+letterHeight/2, textRun{t.text, t.ink})
	}
	for _, m := range l.marks {
		c.fill(image.Rect(l.bar.Min.X, m.y-1, l.bar.Max.X, m.y+2).Intersect(l.bar), white)
		c.fill(image.Rect(l.bar.Min.X, m.y, l.bar.Max.X, m.y+1), ink+fullInk)
		c.pointer(l.bar.Max.X+2, m.y, m.labelY, m.ink+fullInk)
		c.text(l.body, l.bar.Max.X+barIndent, m.labelY+letterHeight/2, textRun{m.text, m.ink})
	}
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
