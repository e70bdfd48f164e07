package main

import (
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Figure is everything that a heat map shows: one or more matrices on one colour scale, the names of their rows and columns, and a colour bar.
type Figure struct {
	title       string // the first line: the metric
	subtitle    string // the second line: the model
	panels      []Panel
	rows        []string // [rows] labels, the first row on top
	rowTitle    string
	columns     []string // [columns] token texts as they are; the painter makes white space and broken characters visible
	beside      []string // [columns] the clean text's token where it differs, else "" (nil: none differs)
	columnTitle string
	colorMap    string  // "viridis" or "rdbu"
	reversed    bool    // low values at the end of the colour map, not at its beginning
	center      float64 // the value that lies in the middle of rdbu
	marks       []Mark
	barTitle    string
	scale       int // pixels of the picture for each pixel of the layout
}

// Panel is one matrix [rows, columns] of a figure. NaN stands for a cell that was not run and is hatched.
type Panel struct {
	title  string // "" for none
	matrix [][]float64
}

// Mark is a value pointed out on the colour bar, such as the metric of the clean run.
type Mark struct {
	value float64
	label string
}

// Colours of everything but the cells.
var (
	white     = color.RGBA{255, 255, 255, 255}
	ink       = color.RGBA{34, 34, 34, 255}
	paleInk   = color.RGBA{104, 104, 104, 255} // the subtitle, escapes
	faintInk  = color.RGBA{165, 165, 165, 255} // the box that stands for a space
	accent    = color.RGBA{190, 30, 45, 255}   // the clean text
	frameGrey = color.RGBA{90, 90, 90, 255}    // frames and ticks
	hatch     = color.RGBA{214, 214, 214, 255} // a cell without a value …
	hatched   = color.RGBA{240, 240, 240, 255} // … and what is between its lines
)

// Measures of the layout, in pixels at scale 1.
const (
	margin        = 20
	largestCell   = 48
	labelPitch    = 14   // lines of text closer than this run into each other
	usualWidth    = 1440 // cells shrink so that all columns fit in here, as long as every column can still have its label
	largestWidth  = 4900 // beyond that labels are thinned
	largestHeight = 2304
	tick          = 4
	barWidth      = 18
	markIndent    = 11 // from the bar to a mark's text
	smallestBar   = 180
	panelGap      = 24
	longestLabel  = 150
	longestTitle  = 900
	largestScale  = 8
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

// paint draws the figure. It fails if the figure is empty, its panels differ in shape, or it would be too large.
func (f *Figure) paint() (*image.RGBA, error) {
	l, err := f.layout()
	if err != nil {
		return nil, err
	}
	c := newCanvas(l.width, l.height, f.scale)
	c.text(c.large, l.left, l.titleY, run{l.title, ink})
	c.text(c.body, l.left, l.subtitleY, run{l.subtitle, paleInk})
	c.text(c.body, l.left, l.legendY, l.legend...)
	for i, panel := range f.panels {
		f.paintPanel(c, l, panel, l.panels[i])
	}
	f.paintRowLabels(c, l)
	f.paintBar(c, l)
	return c.picture, nil
}

// layout says where everything goes, in pixels at scale 1. It is apart from the painting so that a test can look where something should be.
type layout struct {
	width, height     int
	left              int // of the first panel
	title, subtitle   string
	titleY, subtitleY int // baselines
	cell, gap         int // side of a cell with the white line beside it, width of that line
	panels            []image.Rectangle
	labels            [][]run // [columns] what stands below each column, nil where labels are thinned
	legend            []run   // below the labels
	legendY           int
	rowStep           int
	rowLabelWidth     int
	decimals          int // of the values in the cells, -1 if they do not fit
	scale             colorScale
	bar               image.Rectangle
	ticks             []barLabel
	marks             []barLabel
	barTitleX         int // baseline of the title beside the bar
}

// barLabel is a tick or a mark of the colour bar.
type barLabel struct {
	text   string
	y      int // the row of pixels of its value
	labelY int // the middle of its text: elsewhere if two marks are close together
	color  color.RGBA
}

func (f *Figure) layout() (*layout, error) {
	rows, columns, err := f.shape()
	if err != nil {
		return nil, err
	}
	l := &layout{cell: cellSize(rows, columns*len(f.panels))}
	if l.cell < 1 {
		return nil, fmt.Errorf("heat map: %d × %d cells are too many for one picture (at most %d × %d)", rows, columns*len(f.panels), largestHeight, largestWidth)
	}
	if l.cell >= 8 {
		l.gap = 1
	}
	l.scale = f.colorScale()
	body, large := newFont(1, bodyPen, 1), newFont(titleSize, titlePen, 1)
	l.decimals = f.cellDecimals(l, body)

	// Down: title, panels, column labels, legend.
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
	top := y
	panelHeight := rows*l.cell + l.gap
	y += panelHeight
	l.labels = f.columnLabels(l, body)
	deepest := 0
	for _, label := range l.labels {
		deepest = max(deepest, runsWidth(body, label))
	}
	y += tick + 5 + deepest
	if l.legend = f.legendText(); l.legend != nil {
		l.legendY = y + 18
		y = l.legendY + 4
	}
	barHeight := max(panelHeight, smallestBar)
	l.height = max(y, top+barHeight) + margin

	// Across: row title and labels, panels, colour bar.
	x := margin
	if f.rowTitle != "" {
		x += labelPitch + 6
	}
	for l.rowStep = 1; l.rowStep*l.cell < labelPitch; {
		l.rowStep = nextRound(l.rowStep)
	}
	for r := 0; r < rows && r < len(f.rows); r += l.rowStep {
		l.rowLabelWidth = max(l.rowLabelWidth, body.width(plain(f.rows[r])))
	}
	l.rowLabelWidth = min(l.rowLabelWidth, longestLabel)
	x += l.rowLabelWidth + 5 + tick
	l.left = x
	for i := range f.panels {
		l.panels = append(l.panels, image.Rect(x, top, x+columns*l.cell+l.gap, top+panelHeight))
		x = l.panels[i].Max.X + panelGap
	}
	l.bar = image.Rect(x, top, x+barWidth, top+barHeight)
	f.labelBar(l)
	x = l.bar.Max.X
	widest := 0
	for _, label := range append(l.ticks, l.marks...) {
		widest = max(widest, body.width(label.text))
	}
	x += markIndent + widest
	if f.barTitle != "" {
		l.barTitleX = x + 20
		x = l.barTitleX + 4
	}
	l.title = clip(large, plain(f.title), max(longestTitle, x-l.left))
	l.subtitle = clip(body, plain(f.subtitle), max(longestTitle, x-l.left))
	x = max(x, l.left+large.width(l.title), l.left+body.width(l.subtitle), l.left+runsWidth(body, l.legend))
	l.width = x + margin
	if float64(l.width)*float64(l.height)*float64(f.scale*f.scale) > largestPixels {
		return nil, fmt.Errorf("heat map: %d × %d pixels are too many for one picture: use a smaller scale", l.width*f.scale, l.height*f.scale)
	}
	return l, nil
}

// shape checks that the figure can be painted at all.
func (f *Figure) shape() (rows, columns int, err error) {
	if f.scale < 1 || f.scale > largestScale {
		return 0, 0, fmt.Errorf("heat map: scale %d is not between 1 and %d", f.scale, largestScale)
	}
	if colorMaps[f.colorMap] == nil {
		return 0, 0, fmt.Errorf("heat map: no colour map is called %q: there are viridis and rdbu", f.colorMap)
	}
	if len(f.panels) == 0 || len(f.panels[0].matrix) == 0 || len(f.panels[0].matrix[0]) == 0 {
		return 0, 0, fmt.Errorf("heat map: there is nothing to paint")
	}
	rows, columns = len(f.panels[0].matrix), len(f.panels[0].matrix[0])
	for _, panel := range f.panels {
		if len(panel.matrix) != rows {
			return 0, 0, fmt.Errorf("heat map: one panel has %d rows, another %d", rows, len(panel.matrix))
		}
		for _, row := range panel.matrix {
			if len(row) != columns {
				return 0, 0, fmt.Errorf("heat map: one row has %d columns, another %d", columns, len(row))
			}
		}
	}
	return rows, columns, nil
}

// cellSize is the side of a cell: as large as a number needs, smaller where there are many, and smaller than a label only where it must be.
func cellSize(rows, columns int) int {
	if size := min(largestCell, usualWidth/columns, largestHeight/rows); size >= labelPitch {
		return size
	}
	return min(labelPitch, largestWidth/columns, largestHeight/rows)
}

// columnLabels gives the text below each column. Where two labels would touch, the columns in which the texts differ come first,
// then every second, fifth, tenth … column.
func (f *Figure) columnLabels(l *layout, body *font) [][]run {
	_, columns, _ := f.shape()
	step := 1
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

	labels := make([][]run, columns)
	for c := range labels {
		if !chosen[c] {
			continue
		}
		if c < len(f.beside) && f.beside[c] != "" {
			labels[c] = append(labels[c], tokenRuns(body, f.beside[c], accent)...)
			labels[c] = append(labels[c], run{"→", paleInk})
		}
		labels[c] = append(labels[c], tokenRuns(body, f.columns[c], ink)...)
	}
	return labels
}

// legendText is the column title and, where the texts differ, the key to the labels.
func (f *Figure) legendText() []run {
	var legend []run
	if f.columnTitle != "" {
		legend = append(legend, run{plain(f.columnTitle), ink})
	}
	for _, token := range f.beside {
		if token != "" {
			if legend != nil {
				legend = append(legend, run{"; where they differ: ", paleInk})
			}
			return append(legend, run{"clean", accent}, run{"→", paleInk}, run{"corrupt", ink})
		}
	}
	return legend
}

// paintPanel draws one matrix with its frame, its values and its column labels.
func (f *Figure) paintPanel(c *canvas, l *layout, panel Panel, frame image.Rectangle) {
	c.text(c.body, frame.Min.X, frame.Min.Y-8, run{clip(c.body, plain(panel.title), frame.Dx()), ink})
	c.fill(frame.Inset(-1), frameGrey)
	c.fill(frame, white)
	for row, values := range panel.matrix {
		for column, value := range values {
			cell := l.cellAt(frame, row, column)
			if math.IsNaN(value) {
				c.hatch(cell)
				continue
			}
			background := l.scale.color(value)
			c.fill(cell, background)
			if l.decimals >= 0 {
				text := number(value, l.decimals)
				c.text(c.body, cell.Min.X+(cell.Dx()-c.body.width(text)+1)/2, cell.Min.Y+cell.Dy()/2+5, run{text, contrast(background)})
			}
		}
	}
	for column, label := range l.labels {
		if label != nil {
			cell := l.cellAt(frame, 0, column)
			x, y := cell.Min.X+cell.Dx()/2, frame.Max.Y+1
			c.fill(image.Rect(x, y, x+1, y+tick), frameGrey)
			c.textUp(c.body, x+5, y+tick+4+runsWidth(c.body, label), label...)
		}
	}
}

// cellAt is the place of one cell of the panel that lies in frame, without the white lines around it.
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
		c.fill(image.Rect(frame.Min.X-1-tick, y, frame.Min.X-1, y+1), frameGrey)
		text := clip(c.body, plain(f.rows[row]), longestLabel)
		c.text(c.body, frame.Min.X-tick-4-c.body.width(text), y+5, run{text, ink})
	}
	if f.rowTitle != "" {
		text := clip(c.body, plain(f.rowTitle), max(frame.Dy(), smallestBar))
		y := max((frame.Min.Y+frame.Max.Y+c.body.width(text))/2, frame.Min.Y+c.body.width(text))
		c.textUp(c.body, margin+11, y, run{text, ink})
	}
}

// paintBar draws the colour bar with its ticks, its marks and its title.
func (f *Figure) paintBar(c *canvas, l *layout) {
	c.fill(l.bar.Inset(-1), frameGrey)
	c.gradient(l.bar, l.scale)
	for _, t := range l.ticks {
		c.fill(image.Rect(l.bar.Max.X+1, t.y, l.bar.Max.X+1+tick, t.y+1), frameGrey)
		c.text(c.body, l.bar.Max.X+tick+6, t.labelY+5, run{t.text, t.color})
	}
	for _, m := range l.marks {
		c.fill(image.Rect(l.bar.Min.X, m.y-1, l.bar.Max.X, m.y+2).Intersect(l.bar), white)
		c.fill(image.Rect(l.bar.Min.X, m.y, l.bar.Max.X, m.y+1), ink)
		c.pointer(l.bar.Max.X+2, m.y, m.labelY, m.color)
		c.text(c.body, l.bar.Max.X+markIndent, m.labelY+5, run{m.text, m.color})
	}
	if f.barTitle != "" {
		text := clip(c.body, plain(f.barTitle), l.bar.Dy())
		c.textUp(c.body, l.barTitleX, (l.bar.Min.Y+l.bar.Max.Y+c.body.width(text))/2, run{text, ink})
	}
}

// colorScale spans the colours over all values and marks. The scale of rdbu reaches equally far on both sides of its centre.
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
	if f.colorMap == "rdbu" {
		include(f.center)
		if reach := math.Max(high-f.center, f.center-low); !math.IsNaN(reach) {
			low, high = f.center-reach, f.center+reach
		}
	}
	anchors := slices.Clone(colorMaps[f.colorMap])
	if f.reversed {
		slices.Reverse(anchors)
	}
	return newColorScale(low, high, anchors)
}

// cellDecimals is the number of decimals with which every value fits into its cell: as many as tell three digits of the largest apart,
// down to two digits; -1 if that is too wide. The colours and the JSON carry the rest.
func (f *Figure) cellDecimals(l *layout, body *font) int {
	size := math.Max(math.Abs(l.scale.low), math.Abs(l.scale.high))
	for decimals := digitsAfterPoint(size); decimals >= max(0, digitsAfterPoint(size)-1); decimals-- {
		if f.widestValue(body, decimals) <= l.cell-6 {
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
					widest = max(widest, body.width(number(v, decimals)))
				}
			}
		}
	}
	return widest
}

// labelBar places the ticks and the marks. Marks that would overlap are moved apart, and a tick in a mark's way keeps its line and loses its number.
func (f *Figure) labelBar(l *layout) {
	at := func(v float64) int {
		return l.bar.Max.Y - 1 - int(math.Round(l.scale.position(v)*float64(l.bar.Dy()-1)))
	}
	for _, mark := range f.marks {
		if math.IsNaN(mark.value) {
			continue
		}
		decimals := max(2, digitsAfterPoint(math.Max(math.Abs(l.scale.low), math.Abs(l.scale.high))))
		label := barLabel{plain(mark.label) + " " + number(mark.value, decimals), at(mark.value), 0, ink}
		if mark.label == "clean" {
			label.color = accent
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
	values, texts := ticks(l.scale.low, l.scale.high, l.bar.Dy()/40)
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

// run is a piece of text in one colour.
type run struct {
	text  string
	color color.RGBA
}

// tokenRuns makes a token visible: a space becomes an open box, a control character, a character that the font lacks and a byte
// that is no UTF-8 become escapes as in Go. Long tokens end in an ellipsis.
func tokenRuns(f *font, token string, ink color.RGBA) []run {
	var runs []run
	width := 0
	for len(token) > 0 {
		char, size := utf8.DecodeRuneInString(token)
		piece := run{string(char), ink}
		switch {
		case char == ' ':
			piece = run{"␣", faintInk}
		case !drawable(token[:size]):
			piece = run{escape(token[:size]), paleInk}
		}
		width += f.width(piece.text)
		if width > longestLabel {
			return append(runs, run{"…", ink})
		}
		runs = append(runs, piece)
		token = token[size:]
	}
	return runs
}

// plain makes a text that the font can show: what it lacks becomes escapes.
func plain(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		_, size := utf8.DecodeRuneInString(text)
		if drawable(text[:size]) {
			b.WriteString(text[:size])
		} else {
			b.WriteString(escape(text[:size]))
		}
		text = text[size:]
	}
	return b.String()
}

// drawable tells whether the font has the character, and a reader can see it: not a no-break space or a soft hyphen.
func drawable(char string) bool {
	r, size := utf8.DecodeRuneInString(char)
	if r == utf8.RuneError || r == '\u00a0' || r == '\u00ad' || size != len(char) {
		return false
	}
	_, _, found := findGlyph(r)
	return found
}

// escape writes one character, or one byte of a broken one, in ASCII: \n, \u4e2d, \xe4.
func escape(char string) string {
	quoted := strconv.QuoteToASCII(char)
	return quoted[1 : len(quoted)-1]
}

// clip shortens a text to a width and ends it in an ellipsis where something was cut.
func clip(f *font, text string, width int) string {
	if f.width(text) <= width {
		return text
	}
	x := f.advance('…')
	for i, char := range text {
		x += f.advance(char)
		if x > width {
			return text[:i] + "…"
		}
	}
	return text
}

func runsWidth(f *font, runs []run) int {
	sum := 0
	for _, r := range runs {
		sum += f.width(r.text)
	}
	return sum
}

// nextRound continues 1, 2, 5, 10, 20, 50, …
func nextRound(step int) int {
	for unit := 1; ; unit *= 10 {
		for _, digit := range []int{1, 2, 5} {
			if digit*unit > step {
				return digit * unit
			}
		}
	}
}

func abs(n int) int { return max(n, -n) }

// canvas is the picture and the pens. Its methods take pixels of scale 1; each is a square of scale × scale pixels of the picture.
type canvas struct {
	picture     *image.RGBA
	scale       int
	body, large *font
}

// The two sizes of text.
const (
	bodyPen   = 1.25
	titleSize = 1.2
	titlePen  = 1.6
)

func newCanvas(width, height, scale int) *canvas {
	c := &canvas{image.NewRGBA(image.Rect(0, 0, width*scale, height*scale)), scale, newFont(1, bodyPen, scale), newFont(titleSize, titlePen, scale)}
	c.fill(image.Rect(0, 0, width, height), white)
	return c
}

// pixels is a rectangle of the layout in pixels of the picture.
func (c *canvas) pixels(r image.Rectangle) image.Rectangle {
	return image.Rectangle{r.Min.Mul(c.scale), r.Max.Mul(c.scale)}.Intersect(c.picture.Rect)
}

// fill paints a rectangle: the first row of pixels by hand, the others as its copies.
func (c *canvas) fill(r image.Rectangle, color color.RGBA) {
	r = c.pixels(r)
	if r.Empty() {
		return
	}
	first := c.picture.Pix[c.picture.PixOffset(r.Min.X, r.Min.Y):][:4*r.Dx()]
	for i := 0; i < len(first); i += 4 {
		first[i], first[i+1], first[i+2], first[i+3] = color.R, color.G, color.B, color.A
	}
	for y := r.Min.Y + 1; y < r.Max.Y; y++ {
		copy(c.picture.Pix[c.picture.PixOffset(r.Min.X, y):], first)
	}
}

// hatch paints a cell that has no value: slanted grey lines.
func (c *canvas) hatch(cell image.Rectangle) {
	c.fill(cell, hatched)
	r := c.pixels(cell)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			if (x+y)/c.scale%6 == 0 {
				c.picture.SetRGBA(x, y, hatch)
			}
		}
	}
}

// gradient paints the colour bar, its highest value on top.
func (c *canvas) gradient(bar image.Rectangle, scale colorScale) {
	r := c.pixels(bar)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		color := scale.at(float64(r.Max.Y-1-y) / float64(r.Dy()-1))
		for x := r.Min.X; x < r.Max.X; x++ {
			c.picture.SetRGBA(x, y, color)
		}
	}
}

// pointer paints a small triangle whose tip points at (x, y) from the right, and a thin line from there to a text that had to move to labelY.
func (c *canvas) pointer(x, y, labelY int, color color.RGBA) {
	for i := 0; i < 5; i++ {
		c.fill(image.Rect(x+i, y-i, x+i+1, y+i+1), color)
	}
	if labelY != y {
		c.fill(image.Rect(x+4, min(y, labelY), x+5, max(y, labelY)+1), color)
	}
}

// text writes runs one after the other, from (x, y), where the baseline ends on its left.
func (c *canvas) text(f *font, x, y int, runs ...run) {
	for _, r := range runs {
		for _, char := range r.text {
			b := f.bitmap(char)
			for i, cover := range b.cover {
				c.blend(x*c.scale+b.left+i%b.width, y*c.scale+b.top+i/b.width, cover, r.color)
			}
			x += f.advance(char)
		}
	}
}

// textUp writes runs turned by 90 degrees to the left, upwards from (x, y).
func (c *canvas) textUp(f *font, x, y int, runs ...run) {
	for _, r := range runs {
		for _, char := range r.text {
			b := f.bitmap(char)
			for i, cover := range b.cover {
				c.blend(x*c.scale+b.top+i/b.width, y*c.scale-1-b.left-i%b.width, cover, r.color)
			}
			y -= f.advance(char)
		}
	}
}

// blend lays a colour over one pixel, cover/255 of it.
func (c *canvas) blend(x, y int, cover uint8, over color.RGBA) {
	if cover == 0 || !(image.Point{x, y}).In(c.picture.Rect) {
		return
	}
	mix := func(under, over uint8) uint8 {
		return uint8((int(under)*(255-int(cover)) + int(over)*int(cover) + 127) / 255)
	}
	pixel := c.picture.Pix[c.picture.PixOffset(x, y):][:3]
	pixel[0], pixel[1], pixel[2] = mix(pixel[0], over.R), mix(pixel[1], over.G), mix(pixel[2], over.B)
}
