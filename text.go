package main

import (
	"cmp"
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// This file is what a report says on a terminal: tables of tokens, the panels in figures or in
// colours, and in words what is largest in them.

// mostRows is how many rows of a matrix are printed; of one with more, the largest effects are.
const mostRows = 40

// text is all of the report as text. paint colours a cell's text by its value; it is nil where the
// text is not for a terminal.
func (r *Report) text(paint func(v float64, s string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nclean text: %s\n%s\ncorrupt text: %s\n%s\n",
		r.Model.origin(), r.Clean.tokenization(), topTable(r.Clean.Top),
		r.Corrupt.tokenization(), topTable(r.Corrupt.Top))
	d := r.decimals()
	clean, corrupt := cellText(float64(r.Clean.Metric), d), cellText(float64(r.Corrupt.Metric), d)
	fmt.Fprintf(&b, "%s: clean %s, corrupt %s\n", r.Metric, clean, corrupt)
	words, panels := r.effects, r.panels
	switch r.site {
	case "lens":
		words = r.lens.table
	case "attention":
		words, panels = r.attention, nil
	case "direct":
		words, panels = r.shares, nil
	}
	if len(r.rows.names) <= mostRows {
		for _, p := range panels {
			b.WriteString("\n" + r.matrix(p, paint))
		}
	}
	b.WriteString("\n" + words())
	return b.String()
}

func (r *NextReport) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n%s", r.Model.origin(), r.tokenization(), topTable(r.Top))
	for i, a := range r.Answers {
		if i == 0 {
			fmt.Fprintf(&b, "\n%-16s  %8s  Probability  %9s\n", "Answer", "Position", "Logit")
		}
		name := make([]string, len(a.Tokens))
		for i, t := range a.Tokens {
			name[i] = strconv.Quote(t)
		}
		fmt.Fprintf(&b, "%s  %8d  %11.4f  %9s\n", pad(strings.Join(name, "/"), 16), a.Rank, a.Prob,
			cellText(float64(a.Logit), 2))
	}
	return b.String()
}

func (t *TextReport) tokenization() string {
	var b strings.Builder
	writeTokenization(&b, t.IDs, func(i int) string { return t.Tokens[i] })
	return b.String()
}

// writeTokenization writes tokens and their ids one after the other: a long text's are never all in
// memory.
func writeTokenization(w io.Writer, ids []int, token func(i int) string) {
	var b []byte
	shown := map[int]string{} // each token's text is made once
	for i, id := range ids {
		if _, ok := shown[id]; !ok {
			shown[id] = visible(token(i))
		}
		b = append(b[:0], shown[id]...)
		if i+1 < len(ids) {
			b = append(b, '/')
		}
		w.Write(b)
	}
	io.WriteString(w, "\n"+count(len(ids), "token")+":")
	for _, id := range ids {
		b = strconv.AppendInt(append(b[:0], ' '), int64(id), 10)
		w.Write(b)
	}
	io.WriteString(w, "\n")
}

func topTable(top []TopReport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Position  Token index  %-16s  Probability\n", "Token")
	for i, t := range top {
		quoted := pad(strconv.Quote(t.Token), 16)
		fmt.Fprintf(&b, "%8d  %11d  %s  %11.4f\n", i+1, t.ID, quoted, t.Prob)
	}
	return b.String()
}

func (l *LensReport) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Layer  %-22s  Probability  %-23s  Probability\n",
		"Clean run's top token", "Corrupt run's top token")
	for i, c := range l.Clean {
		k := l.Corrupt[i]
		clean, corrupt := pad(strconv.Quote(c.Token), 22), pad(strconv.Quote(k.Token), 23)
		fmt.Fprintf(&b, "%5d  %s  %11.4f  %s  %11.4f\n", i, clean, c.Prob, corrupt, k.Prob)
	}
	return b.String()
}

// matrix shows a panel with a line for each column, so that tokens can be read, and a column for
// each row: with all their digits or, where there is paint, in as many as fit on 80 columns.
func (r *Result) matrix(p Panel, paint func(v float64, s string) string) string {
	labels, label := make([]string, len(r.columns.names)), utf8.RuneCountInString(p.title)
	for c := range labels {
		labels[c] = r.columns.label(c, paint != nil)
		label = max(label, utf8.RuneCountInString(labels[c]))
	}
	widest := func(decimals int) (width int) {
		one := Result{rows: r.rows, columns: r.columns, panels: []Panel{p}}
		one.eachValue(func(v float64) { width = max(width, len(cellText(v, decimals))) })
		return width
	}
	decimals := r.decimals()
	cell := max(6, widest(decimals)+1)
	if paint != nil {
		most := max(1, (79-terminalLabel)/len(r.rows.names))
		for decimals > 0 && widest(decimals) >= most {
			decimals--
		}
		cell = min(cell, most)
	}
	var b strings.Builder
	b.WriteString(pad(p.title, label))
	for row, name := range r.rows.names {
		if len(name) < cell {
			fmt.Fprintf(&b, "%*s", cell, name)
		} else if every := 10 / cell; row%every == 0 {
			b.WriteString(pad(name, every*cell))
		}
	}
	for column := range labels {
		b.WriteString("\n" + pad(labels[column], label))
		for row := range r.rows.names {
			v, s := p.at(row, column), ""
			if paint == nil || len(r.rows.names) <= mostFigures {
				s = cellText(v, decimals)
			}
			if s = fmt.Sprintf("%*s", cell, s); paint != nil {
				s = paint(v, s)
			}
			b.WriteString(s)
		}
	}
	return b.String() + "\n"
}

const (
	mostFigures   = 12 // layers whose cells have room for a figure on 80 columns
	terminalLabel = 19 // the longest label beside them
)

// decimals is how many tell a hundred steps of the range of all panels apart, at least two.
func (r *Result) decimals() int {
	low, high := math.Inf(1), math.Inf(-1)
	r.eachValue(func(v float64) { low, high = min(low, v), max(high, v) })
	decimals := 2
	for step := 0.01; decimals < 6 && 0 < high-low && high-low < 100*step; decimals++ {
		step /= 10
	}
	return decimals
}

// eachValue calls f for every cell of the panels that has a value.
func (r *Result) eachValue(f func(v float64)) {
	figure := Figure{panels: r.panels, rows: Axis{names: r.rows.names},
		columns: Axis{names: r.columns.names}}
	figure.eachValue(f)
}

// cellText is a value as other programs read it, with a plain minus. A cell that was not run is a
// dot.
func cellText(v float64, decimals int) string {
	if v != v {
		return "·"
	}
	return strings.NewReplacer("−", "-", "∞", "inf").Replace(formatValue(v, decimals))
}

// place says which row or column it is, in a sentence.
func (a *header) place(i int) string {
	if a.clean == nil {
		return a.word + " " + a.names[i]
	}
	return fmt.Sprintf("%s %s (%q)", a.word, a.names[i], a.clean[i])
}

// label names a row or column at the beginning of a line, with its token, and the clean token where
// that is another one.
func (a *header) label(i int, short bool) string {
	if a.corrupt == nil {
		return a.word + " " + a.names[i]
	}
	clean, corrupt := a.clean[i], a.corrupt[i]
	if short {
		s := visible(corrupt)
		if clean != corrupt {
			s = visible(clean) + "→" + s
		}
		if runes := []rune(s); len(runes) > terminalLabel-5 {
			s = string(runes[:terminalLabel-6]) + "…"
		}
		return fmt.Sprintf("%4s %s", a.names[i], s)
	}
	label := fmt.Sprintf("%4s %q", a.names[i], corrupt)
	if clean != corrupt {
		label += fmt.Sprintf(" (clean %q)", clean)
	}
	return label
}

// effects says in words which cells of each panel change the corrupt run's metric most: five, or
// twenty where the panels are not printed, and of several panels fewer of each.
func (r *Report) effects() string {
	type effect struct {
		row, column   int
		value, change float64
	}
	d, listed := r.decimals(), 5
	corrupt := cellText(float64(r.Corrupt.Metric), d)
	if len(r.rows.names) > mostRows {
		listed = 20
	}
	lines, none := "", "no cell was run"
	for _, p := range r.panels {
		var all []effect
		largest := 0.
		for row := range r.rows.names {
			for column := range r.columns.names {
				v := p.at(row, column)
				if v != v {
					continue
				}
				none = "no cell changes the corrupt run's metric"
				// What no figure shows is no effect.
				if change := math.Abs(v - float64(r.Corrupt.Metric)); cellText(v, d) != corrupt {
					all = append(all, effect{row, column, v, change})
					largest = max(largest, change)
				}
			}
		}
		// Changes are told apart by hundredths of the largest: less is none.
		rank := func(e effect) int { return int(math.Round(100 * e.change / largest)) }
		all = slices.DeleteFunc(all, func(e effect) bool { return rank(e) == 0 })
		slices.SortStableFunc(all, func(a, b effect) int { return rank(b) - rank(a) })
		most := listed
		if len(r.panels) > 1 {
			most = max(3, listed/len(r.panels))
		}
		for _, e := range all[:min(most, len(all))] {
			where := r.rows.place(e.row) + ", " + r.columns.place(e.column)
			if len(r.panels) > 1 {
				where += ", " + p.title
			}
			lines += fmt.Sprintf("  %s: %s, corrupt %s\n", where, cellText(e.value, d), corrupt)
		}
	}
	if lines == "" {
		lines = "  none: " + none + "\n"
	}
	return "The largest effects:\n" + lines
}

// attention lists the three sources that each position attends to most, in both runs; of a long
// text only for the last position.
func (r *Report) attention() string {
	var b strings.Builder
	for i := 0; i < len(r.panels); i += 2 {
		head, _, _ := strings.Cut(r.panels[i].title, ",")
		fmt.Fprintf(&b, "Head %s attends from each position most to:\n", head)
		first := 0
		if len(r.rows.names) > mostRows {
			first = len(r.rows.names) - 1
		}
		for destination := first; destination < len(r.rows.names); destination++ {
			fmt.Fprintf(&b, "%s\n", r.rows.label(destination, false))
			for run, name := range runNames {
				tokens := [][]string{r.columns.clean, r.columns.corrupt}[run]
				a := make([]float64, destination+1)
				for source := range a {
					a[source] = r.panels[i+run].at(destination, source)
				}
				fmt.Fprintf(&b, "       %-7s", name)
				for i, source := range topPlaces(a, 3) {
					if i == 0 || a[source] >= 0.005 {
						fmt.Fprintf(&b, "  %.2f %d %q", a[source], source, tokens[source])
					}
				}
				b.WriteString("\n")
			}
		}
	}
	return b.String()
}

// topPlaces are the places of the n largest values, the largest first.
func topPlaces(values []float64, n int) []int {
	places := make([]int, len(values))
	for i := range places {
		places[i] = i
	}
	slices.SortStableFunc(places, func(a, b int) int { return cmp.Compare(values[b], values[a]) })
	return places[:min(n, len(places))]
}

// shares lists the twenty largest shares of both runs, and the sum of all. What is less than a
// hundredth of the largest is none.
func (r *Report) shares() string {
	type share struct {
		name string
		runs [2]float64
	}
	var all []share
	var sums [2]float64
	for row := range r.rows.names {
		for c, component := range r.columns.names {
			s := share{name: fmt.Sprintf("%s %d", component, row)}
			switch {
			case math.IsNaN(r.panels[cleanRun].at(row, c)):
				continue
			case c < 2 || component == "ln_f_bias":
				s.name = component
			case c < 2+r.Model.Heads:
				s.name = "head " + Head{row, c - 2}.String()
			}
			for run := range s.runs {
				s.runs[run] = r.panels[run].at(row, c)
				sums[run] += s.runs[run]
			}
			all = append(all, s)
		}
	}
	size := func(s share) float64 { return max(math.Abs(s.runs[0]), math.Abs(s.runs[1])) }
	slices.SortStableFunc(all, func(a, b share) int { return cmp.Compare(size(b), size(a)) })
	var b strings.Builder
	d := r.decimals()
	fmt.Fprintf(&b, "The largest shares  %9s  %9s\n", runNames[cleanRun], runNames[corruptRun])
	all = slices.DeleteFunc(all, func(s share) bool { return 100*size(s) < size(all[0]) })
	for _, s := range append(all[:min(20, len(all))], share{"sum of all", sums}) {
		fmt.Fprintf(&b, "  %-16s  %9s  %9s\n", s.name, cellText(s.runs[0], d),
			cellText(s.runs[1], d))
	}
	return b.String()
}

// ansiPainter paints with ECMA-48's "select graphic rendition": background 48 and foreground 38,
// followed by 2;R;G;B or, without trueColor, by 5;N with a colour of the 6×6×6 cube that xterm's
// 256 colours hold.
func ansiPainter(f *Figure, trueColor bool) func(v float64, text string) string {
	scale := f.colorScale()
	palette, valueInk := newPalette(f.anchors())
	code := func(index uint8) string {
		c := palette[index].(color.RGBA)
		if trueColor {
			return fmt.Sprintf("2;%d;%d;%d", c.R, c.G, c.B)
		}
		side := func(v uint8) int { // the cube's steps are 0, 95, 135, 175, 215, 255
			if v < 48 {
				return 0
			}
			return max(1, (int(v)-35)/40)
		}
		return fmt.Sprintf("5;%d", 16+36*side(c.R)+6*side(c.G)+side(c.B))
	}
	return func(v float64, text string) string {
		if math.IsNaN(v) {
			return text
		}
		step := scale.step(v)
		paper, ink := code(step), code(valueInk[step/stretch])
		return fmt.Sprintf("\x1b[48;%s;38;%sm%s\x1b[0m", paper, ink, text)
	}
}
