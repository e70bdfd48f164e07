package main

import (
	"cmp"
	"fmt"
	"image"
	"io"
	"iter"
	"math"
	"slices"
)

// This file paints heat maps: a layout chooses how large the cells are and says where everything
// goes, then it is painted. It is made for a page, which it fits with letters that can be read.

// Figure is everything that a heat map shows: panels of one shape on one colour scale, what their
// rows and columns are, and a colour bar.
type Figure struct {
	title         string // the first line: the metric
	subtitle      string // the second line: what was done, and the model
	panels        []Panel
	across        int // as many panels belong together, side by side; 0 if each stands for itself
	rows, columns Axis
	group         int     // the rows stand in groups of so many, a layer's heads; 0 for no groups
	blank         bool    // a cell without a value is nothing, not one that was left out
	reversed      bool    // the colour map from its end to its beginning
	center        float64 // the value in the middle of rdbu
	centered      bool    // and of every colour map
	marks         []Mark
	comments      [][2]string // keywords and texts that the file carries and nobody sees
	style
}

// Panel is one matrix, whose title is shown where there are several. NaN stands for a cell that was
// not run, or is none. Without at, before a run, no cell has a value.
type Panel struct {
	title string
	at    func(row, column int) float64
}

// Axis names the rows of the panels, the first on top, or their columns.
type Axis struct {
	word           string   // such as "layer" or "position"
	title          string   // in the picture, where it is not the word
	names          []string // of positions their numbers, of several patched together "1..3"
	clean, corrupt []string // the tokens of positions, their names in the picture; else nil
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
	rowLabels, columnLabels [][]textRun // nil for one that is left out
	legend                  []textRun   // below the labels: what they are

	left, top, right, bottom int // what is free around the panels, their titles and labels
	titleLine, widestTitle   int // of several panels
	longest, text            int // column label; line above or below the panels
	usual, least             int // decimals of values; so many at least

	perLine, cell, gap int         // gap of a cell's pixels are the white line before it
	size, pitch        image.Point // of a panel, and how far the next ones are
	upright            bool        // the column labels, if they are short
	bar                image.Rectangle
	width, height      int // of the picture
	decimals           int // of the values in the cells, noValues if they do not fit

	frames []image.Rectangle // of the panels
	boxes  []box             // ticks and marks
	texts  []placedText
}

type box struct {
	image.Rectangle
	color uint8
}

// noValues is the number of decimals where cells are too small for their values.
const noValues = math.MinInt

// layout lays the figure out. It fails if the picture would be too large, also before a run, when
// no value is known.
func (f *Figure) layout() (*layout, error) {
	l := &layout{Figure: *f, colors: f.colorScale(), body: &font{1, bodyPen, f.scale},
		large: &font{titleSize, titlePen, f.scale}}
	if f.heading != nil {
		l.title = *f.heading
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
	for _, b := range l.boxes {
		c.fill(b.Rectangle, b.color)
	}
	for _, t := range l.texts {
		c.text(t)
	}
	return c.picture
}

func (l *layout) paintCell(c *canvas, cell image.Rectangle, value float64) {
	switch {
	case value != value && !l.blank:
		c.hatch(cell)
	case value == value:
		c.fill(cell, l.colors.step(value))
		if l.decimals != noValues {
			text := formatValue(value, l.decimals)
			x := cell.Min.X + (cell.Dx()-l.body.width(text)+1)/2
			y := cell.Min.Y + cell.Dy()/2 + letterHeight/2
			c.text(placedText{l.body, x, y, false, []textRun{{text, ink}}})
		}
	}
}

// measure makes the texts, and finds how much room they take around the panels.
func (l *layout) measure() {
	l.rowLabels, l.left = l.rows.labels(l.body)
	l.columnLabels, l.longest = l.columns.labels(l.body)
	l.left += margin + labelPitch + tickLength + 11
	l.top, l.bottom = margin, margin+22
	if l.title != "" {
		l.top += 50
		l.text = min(max(l.large.width(l.title), l.body.width(l.subtitle)), longestTitle)
	}
	if len(l.panels) > 1 {
		l.titleLine = 20
		for _, p := range l.panels {
			l.widestTitle = max(l.widestTitle, l.body.width(p.title))
		}
	}
	l.usual, l.least = l.colors.decimals()
	for _, v := range []float64{l.colors.low, l.colors.high} {
		l.right = max(l.right, l.body.width(formatValue(v, l.usual)))
	}
	for _, mark := range l.marks {
		l.right = max(l.right, l.body.width(l.markText(mark)))
	}
	l.right += barWidth + barIndent + margin
	l.legend = []textRun{{l.columns.heading(), ink}}
	if !slices.Equal(l.columns.clean, l.columns.corrupt) {
		l.legend = append(l.legend, textRun{"; where they differ: ", paleInk},
			textRun{"clean", accent}, textRun{"→", paleInk}, textRun{"corrupt", ink})
	}
	l.text = max(l.text, runsWidth(l.body, l.legend))
}

func (a *Axis) heading() string { return cmp.Or(a.title, a.word) }

// differs tells whether the texts have different tokens there.
func (a *Axis) differs(i int) bool { return a.clean != nil && a.clean[i] != a.corrupt[i] }

// labels gives the texts of the rows or columns, and the width of the widest.
func (a *Axis) labels(body *font) (labels [][]textRun, widest int) {
	for i, name := range a.names {
		var label []textRun
		if a.differs(i) {
			label = append(legible(body, a.clean[i], accent, longestLabel, true),
				textRun{"→", paleInk})
		}
		if a.corrupt != nil {
			name = a.corrupt[i]
		}
		label = append(label, legible(body, name, ink, longestLabel, a.corrupt != nil)...)
		labels, widest = append(labels, label), max(widest, runsWidth(body, label))
	}
	return labels, widest
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
	// How large a cell must be for values with so many decimals: as many as are usual, or fewer as
	// long as colours that the eye tells apart are different numbers.
	needed := map[int]int{}
	for decimals := l.least; decimals <= l.usual; decimals++ {
		widest := 0
		for v := range l.values(l.panels...) {
			widest = max(widest, l.body.width(formatValue(v, decimals)))
		}
		if widest > 0 && widest < largestCell {
			needed[decimals] = max(widest+2, smallestValue)
		}
	}
	var best []int
	step, chosen := max(l.across, 1), *l
	for perLine := step; perLine < len(l.panels)+step; perLine += step {
		for cell := 1; cell <= max(usualCell, needed[l.least]) && l.arrange(perLine, cell); cell++ {
			all := density(l.width, l.height)
			page := min(legible-all, 0)
			rank, column := min(cell, labelPitch), page
			l.decimals = noValues
			for decimals, least := range needed {
				if least <= cell && all <= lettersOf(4.5) {
					rank, column = labelPitch+1, min(legible-density(l.width, 0), 0)
					l.decimals = max(l.decimals, decimals)
				}
			}
			try := []int{rank, column, min(l.decimals, l.usual-1), page, perLine, l.decimals, cell}
			if slices.Compare(try, best) > 0 {
				best, chosen = try, *l
			}
		}
	}
	*l = chosen
	return best != nil
}

// values are those of the cells of panels that have one.
func (f *Figure) values(panels ...Panel) iter.Seq[float64] {
	return func(yield func(v float64) bool) {
		columns := len(f.columns.names)
		for _, p := range panels {
			for i := 0; i < len(f.rows.names)*columns && p.at != nil; i++ {
				if v := p.at(i/columns, i%columns); v == v && !yield(v) {
					return
				}
			}
		}
	}
}

// arrange lays out the grid, and tells whether the picture is small enough.
func (l *layout) arrange(perLine, cell int) (small bool) {
	rows, columns := len(l.rows.names), len(l.columns.names)
	lines := (len(l.panels) + perLine - 1) / perLine
	l.perLine, l.cell, l.gap, l.upright = perLine, cell, 0, l.longest <= cell-6
	if cell >= gridCell {
		l.gap = 1
	}
	l.size = image.Pt(columns*cell+l.gap, rows*cell+l.gap+l.groupGaps(rows-1))
	l.pitch = image.Pt(max(l.size.X, l.widestTitle)+panelGap, l.size.Y+l.titleLine+panelGap)
	x, y := l.left+perLine*l.pitch.X, l.top+l.titleLine
	l.bar = image.Rect(x, y, x+barWidth, y+min(max(l.size.Y, smallestBar), largestBar))
	bottom := l.top + lines*l.pitch.Y - panelGap + tickLength + 5 // of the column labels
	if l.upright {
		bottom += letterHeight
	} else {
		bottom += l.longest
	}
	l.width = max(x+l.right, l.left+l.text+margin)
	l.height = max(bottom, l.bar.Max.Y) + l.bottom
	pixels := float64(l.width*l.scale) * float64(l.height*l.scale)
	return max(perLine*columns, lines*rows)*cell <= largestSide && pixels <= largestPixels
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
	room := max(longestTitle, l.width-l.left-margin)
	if l.title != "" {
		title := legible(l.large, l.title, ink, room, false)
		l.addText(l.large, l.left, margin+13, false, title)
		subtitle := legible(l.body, l.subtitle, paleInk, room, false)
		l.addText(l.body, l.left, margin+31, false, subtitle)
	}
	l.rows.thin(l.rowLabels, l.cell, max(l.group, 1))
	l.columns.thin(l.columnLabels, l.cell, 1)
	for i, p := range l.panels {
		x, y := l.left+i%l.perLine*l.pitch.X, l.bar.Min.Y+i/l.perLine*l.pitch.Y
		frame := image.Rectangle{Max: l.size}.Add(image.Pt(x, y))
		l.frames = append(l.frames, frame)
		if len(l.panels) > 1 {
			l.addText(l.body, x, y-8, false, []textRun{{p.title, ink}})
		}
		if i%l.perLine == 0 {
			l.label(frame, l.rowLabels, true)
			width := l.body.width(l.rows.heading())
			y := max((frame.Min.Y+frame.Max.Y+width)/2, frame.Min.Y+width)
			l.addText(l.body, margin+11, y, true, []textRun{{l.rows.heading(), ink}})
		}
		if i+l.perLine >= len(l.panels) { // nothing stands below it
			l.label(frame, l.columnLabels, false)
		}
	}
	l.addText(l.body, l.left, l.height-margin-4, false, l.legend)
}

func (l *layout) addText(f *font, x, y int, up bool, runs []textRun) {
	l.texts = append(l.texts, placedText{f, x, y, up, runs})
}

func (l *layout) addBox(x, y, right, bottom int, color uint8) {
	l.boxes = append(l.boxes, box{image.Rect(x, y, right, bottom), color})
}

// thin leaves out labels that would touch others. First come those for which the texts differ, then
// every second, fifth, tenth … one, or where they stand in groups those that divide a group evenly.
func (a *Axis) thin(labels [][]textRun, cell, group int) {
	even := func(step int) bool {
		return group%step == 0 ||
			step%group == 0 && slices.Contains([]int{2, 5, 10, 20}, step/group)
	}
	step := 1
	for step*cell < labelPitch || !even(step) {
		step++
	}
	kept := make([]bool, len(labels))
	keep := func(wanted func(i int) bool) {
		for i := range labels {
			near := kept[max(0, i-step+1):min(len(labels), i+step)]
			kept[i] = kept[i] || wanted(i) && !slices.Contains(near, true)
		}
	}
	keep(a.differs)
	keep(func(i int) bool { return i%step == 0 })
	for i := range labels {
		if !kept[i] {
			labels[i] = nil
		}
	}
}

// label places the labels of a panel's rows to its left, or of its columns below it, with ticks.
func (l *layout) label(frame image.Rectangle, labels [][]textRun, rows bool) {
	for i, label := range labels {
		if label == nil {
			continue
		}
		cell := l.cellAt(frame, i, i) // in its row, or its column
		x, y := cell.Min.X+cell.Dx()/2, cell.Min.Y+cell.Dy()/2
		width, tick := runsWidth(l.body, label), image.Pt(1, tickLength)
		if rows {
			x, tick = frame.Min.X-1-tickLength, image.Pt(tickLength, 1)
			l.addText(l.body, x-3-width, y+letterHeight/2, false, label)
		} else if y = frame.Max.Y + 1; l.upright {
			l.addText(l.body, x-width/2, y+tickLength+4+letterHeight, false, label)
		} else {
			l.addText(l.body, x+letterHeight/2, y+tickLength+4+width, true, label)
		}
		l.addBox(x, y, x+tick.X, y+tick.Y, frameGrey)
	}
}

// placeBar places the marks and the ticks of the colour bar. Marks that would overlap are moved
// apart, and a tick in a mark's way keeps its line and loses its number. A mark beyond the user's
// range has no place.
func (l *layout) placeBar() {
	type pin struct {
		text      textRun
		y, labelY int // of the value, and of the middle of its text
	}
	var pins []pin
	at := func(v float64) int {
		return l.bar.Max.Y - 1 - int(math.Round(l.colors.position(v)*float64(l.bar.Dy()-1)))
	}
	for _, m := range l.marks {
		beyond := l.low < l.high && (m.value < l.low || m.value > l.high)
		if math.IsNaN(m.value) || beyond {
			continue
		}
		color := uint8(ink)
		if m.label == "clean" {
			color = accent
		}
		pins = append(pins, pin{textRun{l.markText(m), color}, at(m.value), at(m.value)})
	}
	slices.SortStableFunc(pins, func(a, b pin) int { return a.y - b.y })
	for i := 1; i < len(pins); i++ {
		pins[i].labelY = max(pins[i].y, pins[i-1].labelY+labelPitch+2)
	}
	left, right, lowest := l.bar.Min.X, l.bar.Max.X, l.bar.Max.Y-1
	for i := len(pins) - 1; i >= 0; i-- { // and not below the bar
		pins[i].labelY = min(pins[i].labelY, lowest)
		lowest = pins[i].labelY - labelPitch - 2
	}
	for _, p := range pins { // a line, a small triangle, a thin line to a text that had to move
		color := p.text.ink + fullInk
		l.addBox(left, max(p.y-1, l.bar.Min.Y), right, min(p.y+2, l.bar.Max.Y), white)
		l.addBox(left, p.y, right, p.y+1, ink+fullInk)
		for i := range 5 {
			l.addBox(right+2+i, p.y-i, right+3+i, p.y+i+1, color)
		}
		l.addBox(right+6, min(p.y, p.labelY), right+7, max(p.y, p.labelY)+1, color)
		l.addText(l.body, right+barIndent, p.labelY+letterHeight/2, false, []textRun{p.text})
	}
	values, texts := ticks(l.colors.low, l.colors.high, min(l.bar.Dy()/40, mostTicks))
	for i, v := range values {
		y := at(v)
		l.addBox(right+1, y, right+1+tickLength, y+1, frameGrey)
		inTheWay := func(p pin) bool { return abs(p.labelY-y) < labelPitch }
		if !slices.ContainsFunc(pins, inTheWay) {
			l.addText(l.body, right+barIndent, y+letterHeight/2, false, []textRun{{texts[i], ink}})
		}
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
		if v-v == 0 {
			low, high = min(low, v), max(high, v)
		}
	}
	for v := range f.values(f.panels...) {
		include(v)
	}
	for _, mark := range f.marks {
		include(mark.value)
	}
	if (f.centered || f.colorMap == "rdbu") && f.center-f.center == 0 {
		include(f.center)
		reach := max(high-f.center, f.center-low)
		low, high = f.center-reach, f.center+reach
	}
	return newColorScale(low, high)
}

func abs(n int) int { return max(n, -n) }
