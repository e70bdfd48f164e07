package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// This file shows a report as text: tables, the matrix in figures or colours, and the largest effects in words.

// text is all of the report as text. paint colours a cell's text by its value; it is nil where nobody would see the colour.
func (r *Report) text(paint func(v float64, s string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nclean text: %s\n%s\ncorrupt text: %s\n%s\n",
		r.Model.origin(), r.Clean.tokenization(), table(r.Clean.Top), r.Corrupt.tokenization(), table(r.Corrupt.Top))
	figure := r.cellText()
	fmt.Fprintf(&b, "%s: clean %s, corrupt %s\n", r.Metric, figure(float64(r.Clean.Metric)), figure(float64(r.Corrupt.Metric)))
	for _, p := range r.panels {
		b.WriteString("\n" + r.matrix(p, paint))
	}
	if r.Lens != nil {
		b.WriteString("\n" + r.Lens.table())
	} else {
		b.WriteString("\n" + r.effects())
	}
	return b.String()
}

// tokenization shows a text's tokens and their ids.
func (t *TextReport) tokenization() string {
	return fmt.Sprintf("%s\n%s: %s\n", joined(t.Tokens), count(len(t.IDs), "token"), strings.Trim(fmt.Sprint(t.IDs), "[]"))
}

// joined shows tokens side by side: " Jones was" is " Jones/ was".
func joined(tokens []string) string {
	shown := make([]string, len(tokens))
	for i, t := range tokens {
		shown[i] = visible(t)
	}
	return strings.Join(shown, "/")
}

// visible makes a token fit for a line of text: control characters and broken UTF-8 become escapes.
func visible(token string) string {
	q := strconv.Quote(token)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// table lists the most probable next tokens.
func table(top []TopReport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Position  Token index  %-16s  Probability\n", "Token")
	for i, t := range top {
		fmt.Fprintf(&b, "%8d  %11d  %s  %11.4f\n", i+1, t.ID, pad(strconv.Quote(t.Token), 16), t.Prob)
	}
	return b.String()
}

// table lists the most probable next token after each layer.
func (l *LensReport) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Layer  %-22s  Probability  %-22s  Probability\n", "Clean run's top token", "Corrupt run's top token")
	for i, c := range l.Clean {
		k := l.Corrupt[i]
		fmt.Fprintf(&b, "%5d  %s  %11.4f  %s  %11.4f\n", i, pad(strconv.Quote(c.Token), 22), c.Prob, pad(strconv.Quote(k.Token), 22), k.Prob)
	}
	return b.String()
}

// pad fills s up to n characters.
func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(0, n-utf8.RuneCountInString(s)))
}

// matrix shows a matrix with a line for each position, so that the tokens can be read, and a column for each layer: in figures
// or, where there is paint, in colours on a terminal, which is narrow.
func (r *Report) matrix(p Panel, paint func(v float64, s string) string) string {
	cell, text := 6, r.cellText()
	if paint != nil {
		cell, text = terminalCell(len(p.matrix))
	}
	labels, widest := make([]string, len(p.matrix[0])), utf8.RuneCountInString(p.title)
	for c := range labels {
		labels[c] = r.label(c, paint != nil)
		widest = max(widest, utf8.RuneCountInString(labels[c]))
	}
	for _, row := range p.matrix {
		for _, v := range row {
			if n := utf8.RuneCountInString(text(v)); n >= cell && paint == nil {
				cell = n + 1
			}
		}
	}
	var b strings.Builder
	b.WriteString(pad(p.title, widest))
	for l := range p.matrix {
		if name := strconv.Itoa(l); len(name) < cell {
			fmt.Fprintf(&b, "%*s", cell, name)
		} else if every := 10 / cell; l%every == 0 {
			b.WriteString(pad(name, every*cell))
		}
	}
	for c, label := range labels {
		b.WriteString("\n" + pad(label, widest))
		for _, row := range p.matrix {
			s := fmt.Sprintf("%*s", cell, text(row[c]))
			if paint != nil {
				s = paint(row[c], s)
			}
			b.WriteString(s)
		}
	}
	return b.String() + "\n"
}

// terminalCell makes the cells of so many layers fit beside a label of terminalLabel characters on 80 columns: with a short
// figure in them if there are no more than twelve layers, else as blocks of colour.
func terminalCell(layers int) (width int, text func(v float64) string) {
	if layers > 12 {
		return max(1, (79-terminalLabel)/layers), func(float64) string { return "" }
	}
	return 5, func(v float64) string {
		for decimals := 2; decimals > 0; decimals-- {
			if s := number(v, decimals); utf8.RuneCountInString(s) <= 4 {
				return s
			}
		}
		return number(v, 0)
	}
}

const terminalLabel = 19

// label names a column: its position and token, and the clean token where that is another one.
func (r *Report) label(column int, short bool) string {
	if r.Site == "head" {
		return "head " + strconv.Itoa(column)
	}
	corrupt, clean := r.Corrupt.Tokens[column], r.Clean.Tokens[column]
	if short {
		s := visible(corrupt)
		if clean != corrupt {
			s = visible(clean) + "→" + s
		}
		if runes := []rune(s); len(runes) > terminalLabel-5 {
			s = string(runes[:terminalLabel-6]) + "…"
		}
		return fmt.Sprintf("%4d %s", column, s)
	}
	label := fmt.Sprintf("%4d %q", column, corrupt)
	if clean != corrupt {
		label += fmt.Sprintf(" (clean %q)", clean)
	}
	return label
}

// cellText returns how values are written: with as many decimals, at least two, as tell a hundred steps of their range apart. A
// cell that was not run is a dot.
func (r *Report) cellText() func(v float64) string {
	low, high := math.Inf(1), math.Inf(-1)
	for _, p := range r.panels {
		for _, row := range p.matrix {
			for _, v := range row {
				if v == v {
					low, high = min(low, v), max(high, v)
				}
			}
		}
	}
	decimals := 2
	for step := 0.01; decimals < 6 && 0 < high-low && high-low < 100*step; decimals++ {
		step /= 10
	}
	return func(v float64) string {
		if v != v {
			return "·"
		}
		return number(v, decimals)
	}
}

// effects says in words which cells change the corrupt run's metric most, at most five.
func (r *Report) effects() string {
	type effect struct {
		panel, layer, column int
		value, change        float64
	}
	var all []effect
	largest := 0.
	for i, p := range r.panels {
		for l, row := range p.matrix {
			for c, v := range row {
				if change := math.Abs(v - float64(r.Corrupt.Metric)); change > 0 {
					all = append(all, effect{i, l, c, v, change})
					largest = max(largest, change)
				}
			}
		}
	}
	// Changes that differ by less than a hundredth of the largest stay in the order of the layers, and less than that is none.
	rank := func(e effect) int { return int(math.Round(100 * e.change / largest)) }
	all = slices.DeleteFunc(all, func(e effect) bool { return rank(e) == 0 })
	slices.SortStableFunc(all, func(a, b effect) int { return rank(b) - rank(a) })
	var b strings.Builder
	figure := r.cellText()
	b.WriteString("The largest effects:\n")
	for _, e := range all[:min(5, len(all))] {
		where := fmt.Sprintf("head %d", e.column)
		if r.Site != "head" {
			where = fmt.Sprintf("position %d (%q)", e.column, r.Clean.Tokens[e.column])
		}
		if len(r.panels) > 1 {
			where += ", " + r.panels[e.panel].title
		}
		fmt.Fprintf(&b, "  layer %d, %s: %s, corrupt %s\n", e.layer, where, figure(e.value), figure(float64(r.Corrupt.Metric)))
	}
	if len(all) == 0 {
		b.WriteString("  none: no cell changes the corrupt run's metric\n")
	}
	return b.String()
}

// aligned shows two tokenizations one under the other. What lies between their common beginning and end stands in equal
// width, so that one sees which word to change.
func aligned(clean, corrupt []string) string {
	head := 0
	for head < min(len(clean), len(corrupt)) && clean[head] == corrupt[head] {
		head++
	}
	tail := 0
	for tail < min(len(clean), len(corrupt))-head && clean[len(clean)-1-tail] == corrupt[len(corrupt)-1-tail] {
		tail++
	}
	const near = 6 // tokens of common text that are shown on each side, and half of what is shown of the rest
	before, after := clean[max(0, head-near):head], clean[len(clean)-tail:][:min(tail, near)]
	part := func(t []string) string {
		if t = t[head : len(t)-tail]; len(t) > 2*near {
			return joined(t[:near]) + "/…/" + joined(t[len(t)-near:])
		}
		return joined(t)
	}
	width := max(utf8.RuneCountInString(part(clean)), utf8.RuneCountInString(part(corrupt)))
	line := func(t []string) string {
		s := pad(part(t), width)
		if head > 0 {
			s = joined(before) + "/" + s
		}
		if tail > 0 {
			s += "/" + joined(after)
		}
		if head > near {
			s = "…" + s
		}
		if tail > near {
			s += "…"
		}
		return s
	}
	return fmt.Sprintf("  clean    %s\n  corrupt  %s", line(clean), line(corrupt))
}
