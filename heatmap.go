package main

import (
	"fmt"
	"image"
	"image/png"
	"io"
	"math"
	"slices"
	"sort"
)

// Figure is everything that a heat map shows: one or more matrices on one colour scale, the names
// of their rows and columns, and a colour bar.
type Figure struct {
	title       string // the first line: the metric
	subtitle    string // the second line: the model
	panels      []Panel
	rows        []string // [rows] labels, the first row on top
	rowTitle    string
	columns     []string // [columns] tokens as they are; the painter makes all of them visible
	beside      []string // [columns] the clean token where it differs, else "" (nil: none does)
	columnTitle string
	colorMap    string  // "viridis" or "rdbu"
	reversed    bool    // the colour map from its end to its beginning
	center      float64 // the value that lies in the middle of rdbu
	marks       []Mark
	scale       int // pixels of the picture for each pixel of the layout
}

// Panel is one matrix [rows, columns] of a figure. NaN stands for a cell that was not run and is
// hatched.
type Panel struct {
	title  string // "" for none
	matrix [][]float64
}

// Mark is a value pointed out on the colour bar, such as the metric of the corrupt run. The one
// labelled "clean" has the colour of the clean text's tokens.
type Mark struct {
	value float64
	label string
}

// Measures of the layout, in pixels at scale 1.
const (
	margin        = 20
	largestCell   = 48
	gridCell      = 20   // smaller cells touch each other
	smallestValue = 22   // cells below have no room for a number
	labelPitch    = 14   // lines of text closer than this run into each other
	usualWidth    = 1440 // cells shrink to fit in here, as long as every column can have its label
	largestWidth  = 4900 // beyond that labels are thinned
	largestHeight = 2304
	tickLength    = 4
	letterHeight  = 10
	barWidth      = 18
	barIndent     = 11 // from the bar to the texts beside it
	smallestBar   = 180
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

// write paints the figure and encodes it as a PNG.
func (f *Figure) write(w io.Writer) error {
	picture, err := f.paint()
	if err != nil {
		return err
	}
	encoder := png.Encoder{CompressionLevel: png.BestSpeed}
	return encoder.Encode(w, picture)
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
	for i, panel := range f.panels {
		f.paintPanel(c, l, panel, l.panels[i])
	}
	f.paintRowLabels(c, l)
	f.paintBar(c, l)
	return c.picture, nil
}

// layout says where everything goes, in pixels at scale 1. It is apart from the painting so that a
// test can look where something should be.
type layout struct {
	width, height     int
	body, large       *font
	left              int // of the first panel
	title, subtitle   string
	titleY, subtitleY int // baselines
	cell, gap         int // side of a cell with the white line beside it, width of that line
	panels            []image.Rectangle
	labels            [][]textRun // [columns] what stands below a column, nil where thinned out
	upright           bool        // labels so short that they need not be turned
	legend            []textRun   // below the labels
	legendY           int
	rowStep           int
	decimals          int // of the values in the cells, -1 if they do not fit
	scale             colorScale
	bar               image.Rectangle
	ticks             []barLabel
	marks             []barLabel
}

// barLabel is a tick or a mark of the colour bar.
type barLabel struct {
	text   string
	y      int // the row of pixels of its value
	labelY int // the middle of its text: elsewhere if two marks are close together
	ink    uint8
}

func (f *Figure) layout() (*layout, error) {
	rows, columns := len(f.panels[0].matrix), len(f.panels[0].matrix[0])
	l := &layout{cell: cellSize(rows, columns*len(f.panels))}
	if l.cell < 1 {
		return nil, fmt.Errorf("heat map: %d × %d cells are too many for one picture "+
			"(at most %d × %d)", rows, columns*len(f.panels), largestHeight, largestWidth)
	}
	if l.cell >= gridCell {
		l.gap = 1
	}
	l.body, l.large = newFont(1, bodyPen, f.scale), newFont(titleSize, titlePen, f.scale)
	l.scale = f.colorScale()
	l.decimals = f.cellDecimals(l)
	l.labels = f.columnLabels(l)
	l.legend = f.legendText(l.body)
	f.placeDown(l, rows*l.cell+l.gap, columns*l.cell+l.gap)
	f.labelBar(l)
	f.placeAcross(l)
	if float64(l.width)*float64(l.height)*float64(f.scale*f.scale) > largestPixels {
		return nil, fmt.Errorf("heat map: %d × %d pixels are too many for one picture: "+
			"use a smaller scale", l.width*f.scale, l.height*f.scale)
	}
	return l, nil
}

// placeDown places everything from top to bottom: titles, panels and the colour bar, column labels,
// legend. The panels and the bar are placed at x = 0.
func (f *Figure) placeDown(l *layout, panelHeight, panelWidth int) {
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
	for _, panel := range f.panels {
		if panel.title != "" {
			y += 20
			break
		}
	}
	for range f.panels {
		l.panels = append(l.panels, image.Rect(0, y, panelWidth, y+panelHeight))
	}
	l.bar = image.Rect(0, y, barWidth, y+max(panelHeight, smallestBar))

	longest := 0
	for _, label := range l.labels {
		longest = max(longest, runsWidth(l.body, label))
	}
	l.upright = longest <= l.cell-6
	if l.upright {
		longest = letterHeight
	}
	y += panelHeight + tickLength + 5 + longest
	if runsWidth(l.body, l.legend) > len(f.panels)*(panelWidth+panelGap) {
		// The legend reaches below the colour bar.
		y = max(y, l.bar.Max.Y)
	}
	if l.legend != nil {
		l.legendY = y + 18
		y = l.legendY + 4
	}
	l.height = max(y, l.bar.Max.Y) + margin
}

// placeAcross places everything from left to right: row title and labels, panels, colour bar with
// its labels and title.
func (f *Figure) placeAcross(l *layout) {
	x := margin
	if f.rowTitle != "" {
		x += labelPitch + 6
	}
	for l.rowStep = 1; l.rowStep*l.cell < labelPitch; {
		l.rowStep = nextRound(l.rowStep)
	}
	widest := 0
	for row := 0; row < len(f.panels[0].matrix) && row < len(f.rows); row += l.rowStep {
		widest = max(widest, l.body.width(clip(l.body, legible(f.rows[row]), longestLabel)))
	}
	l.left = x + widest + 5 + tickLength
	x = l.left
	for i := range l.panels {
		l.panels[i] = l.panels[i].Add(image.Pt(x, 0))
		x = l.panels[i].Max.X + panelGap
	}
	l.bar = l.bar.Add(image.Pt(x, 0))
	widest = 0
	for _, labels := range [][]barLabel{l.ticks, l.marks} {
		for _, label := range labels {
			widest = max(widest, l.body.width(label.text))
		}
	}
	x = l.bar.Max.X + barIndent + widest
	l.title = clip(l.large, legible(f.title), max(longestTitle, x-l.left))
	l.subtitle = clip(l.body, legible(f.subtitle), max(longestTitle, x-l.left))
	text := max(l.large.width(l.title), l.body.width(l.subtitle), runsWidth(l.body, l.legend))
	l.width = margin + max(x, l.left+text)
}

// cellSize is the side of a cell: as large as a number needs, smaller where there are many, and
// smaller than a label only where it must be.
func cellSize(rows, columns int) int {
	if size := min(largestCell, usualWidth/columns, largestHeight/rows); size >= labelPitch {
		return size
	}
	return min(labelPitch, largestWidth/columns, largestHeight/rows)
}

// columnLabels gives the text below each column. Where two labels would touch, the columns in which
// the texts differ come first, then every second, fifth, tenth … column.
func (f *Figure) columnLabels(l *layout) [][]textRun {
	columns, step := len(f.panels[0].matrix[0]), 1
	for step*l.cell < labelPitch {
		step = nextRound(step)
	}
	chosen := make([]bool, columns)
	choose := func(wanted func(column int) bool) {
		for c := range chosen {
			if c >= len(f.columns) || !wanted(c) {
				continue
			}
			free := true
			for near := c - step + 1; near < c+step; near++ {
				if near >= 0 && near < columns && chosen[near] && abs(near-c)*l.cell < labelPitch {
					free = false
				}
			}
			chosen[c] = free
		}
	}
	choose(func(c int) bool { return c < len(f.beside) && f.beside[c] != "" })
	choose(func(c int) bool { return c%step == 0 && !chosen[c] })

	labels := make([][]textRun, columns)
	for c := range labels {
		if !chosen[c] {
			continue
		}
		if c < len(f.beside) && f.beside[c] != "" {
			labels[c] = append(labels[c], tokenRuns(l.body, f.beside[c], longestLabel, accent)...)
			labels[c] = append(labels[c], textRun{"→", paleInk})
		}
		labels[c] = append(labels[c], tokenRuns(l.body, f.columns[c], longestLabel, ink)...)
	}
	return labels
}

// legendText is the column title and, where the texts differ, the key to the labels.
func (f *Figure) legendText(body *font) []textRun {
	var legend []textRun
	if f.columnTitle != "" {
		legend = append(legend, textRun{clip(body, legible(f.columnTitle), longestTitle), ink})
	}
	for _, token := range f.beside {
		if token != "" {
			if legend != nil {
				legend = append(legend, textRun{"; where they differ: ", paleInk})
			}
			arrow := textRun{"→", paleInk}
			return append(legend, textRun{"clean", accent}, arrow, textRun{"corrupt", ink})
		}
	}
	return legend
}

// paintPanel draws one matrix with its frame, its values and its column labels.
func (f *Figure) paintPanel(c *canvas, l *layout, panel Panel, frame image.Rectangle) {
	title := clip(l.body, legible(panel.title), frame.Dx())
	c.text(l.body, frame.Min.X, frame.Min.Y-8, textRun{title, ink})
	c.fill(frame.Inset(-1), frameGrey)
	c.fill(frame, white)
	for row, values := range panel.matrix {
		for column, value := range values {
			cell := l.cellAt(frame, row, column)
			if math.IsNaN(value) {
				c.hatch(cell)
				continue
			}
			c.fill(cell, l.scale.step(value))
			if l.decimals >= 0 {
				text := formatValue(value, l.decimals)
				x := cell.Min.X + (cell.Dx()-l.body.width(text)+1)/2
				c.text(l.body, x, cell.Min.Y+cell.Dy()/2+letterHeight/2, textRun{text, ink})
			}
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
}

// cellAt is the place of one cell of the panel that lies in frame, without the white lines around
// it.
func (l *layout) cellAt(frame image.Rectangle, row, column int) image.Rectangle {
	x, y := frame.Min.X+column*l.cell+l.gap, frame.Min.Y+row*l.cell+l.gap
	return image.Rect(x, y, x+l.cell-l.gap, y+l.cell-l.gap)
}

// paintRowLabels draws what stands to the left of the first panel.
func (f *Figure) paintRowLabels(c *canvas, l *layout) {
	frame := l.panels[0]
	for row := 0; row < len(f.rows) && row < len(f.panels[0].matrix); row += l.rowStep {
		cell := l.cellAt(frame, row, 0)
		y := cell.Min.Y + cell.Dy()/2
		c.fill(image.Rect(frame.Min.X-1-tickLength, y, frame.Min.X-1, y+1), frameGrey)
		text := clip(l.body, legible(f.rows[row]), longestLabel)
		x := frame.Min.X - tickLength - 4 - l.body.width(text)
		c.text(l.body, x, y+letterHeight/2, textRun{text, ink})
	}
	if f.rowTitle != "" {
		text := clip(l.body, legible(f.rowTitle), max(frame.Dy(), smallestBar))
		y := max((frame.Min.Y+frame.Max.Y+l.body.width(text))/2, frame.Min.Y+l.body.width(text))
		c.textUp(l.body, margin+11, y, textRun{text, ink})
	}
}

// paintBar draws the colour bar with its ticks, its marks and its title.
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
	anchors := slices.Clone(colorMaps[f.colorMap])
	if f.reversed {
		slices.Reverse(anchors)
	}
	return anchors
}

// colorScale spans the colours over all values and marks. The scale of rdbu reaches equally far on
// both sides of its centre.
func (f *Figure) colorScale() colorScale {
	low, high := math.Inf(1), math.Inf(-1)
	include := func(v float64) {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			low, high = math.Min(low, v), math.Max(high, v)
		}
	}
	for _, panel := range f.panels {
		for _, row := range panel.matrix {
			for _, v := range row {
				include(v)
			}
		}
	}
	for _, mark := range f.marks {
		include(mark.value)
	}
	if f.colorMap == "rdbu" && !math.IsNaN(f.center) && !math.IsInf(f.center, 0) {
		include(f.center)
		reach := math.Max(high-f.center, f.center-low)
		low, high = f.center-reach, f.center+reach
	}
	return newColorScale(low, high)
}

// cellDecimals is the number of decimals with which every value fits into its cell: as many as
// decimalsFor asks, or one less; -1 if that is still too wide.
func (f *Figure) cellDecimals(l *layout) int {
	if l.cell < smallestValue {
		return -1
	}
	wanted := decimalsFor(l.scale.size())
	for decimals := wanted; decimals >= max(0, wanted-1); decimals-- {
		if f.widestValue(l.body, decimals) <= l.cell-6 {
			return decimals
		}
	}
	return -1
}

func (f *Figure) widestValue(body *font, decimals int) int {
	widest := 0
	for _, panel := range f.panels {
		for _, row := range panel.matrix {
			for _, v := range row {
				if !math.IsNaN(v) {
					widest = max(widest, body.width(formatValue(v, decimals)))
				}
			}
		}
	}
	return widest
}

// labelBar places the ticks and the marks. Marks that would overlap are moved apart, and a tick in
// a mark's way keeps its line and loses its number.
func (f *Figure) labelBar(l *layout) {
	at := func(v float64) int {
		return l.bar.Max.Y - 1 - int(math.Round(l.scale.position(v)*float64(l.bar.Dy()-1)))
	}
	for _, mark := range f.marks {
		if math.IsNaN(mark.value) {
			continue
		}
		text := mark.label + " " + formatValue(mark.value, decimalsFor(l.scale.size()))
		label := barLabel{text: text, y: at(mark.value), ink: ink}
		if mark.label == "clean" {
			label.ink = accent
		}
		l.marks = append(l.marks, label)
	}
	sort.SliceStable(l.marks, func(i, j int) bool { return l.marks[i].y < l.marks[j].y })
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

func abs(n int) int { return max(n, -n) }
