package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// everyCharacter is what the font must be able to write: ASCII, Latin-1 and the signs that the
// painter uses or that English texts are full of.
func everyCharacter() []rune {
	var all []rune
	for r := ' '; r <= '~'; r++ {
		all = append(all, r)
	}
	for r := '\u00a0'; r <= 'ÿ'; r++ {
		all = append(all, r)
	}
	return append(all, []rune("−…→␣∞–—‘’“”•€")...)
}

func TestEveryCharacterHasAGlyph(t *testing.T) {
	for _, scale := range []int{1, 2} {
		f := newFont(1, bodyPen, scale)
		for _, r := range everyCharacter() {
			if _, _, found := findGlyph(r); !found {
				t.Errorf("%q: no glyph", r)
				continue
			}
			b, advance := f.bitmap(r), f.advance(r)*scale
			if blank := r == ' ' || r == '\u00a0'; blank != (b.width == 0) {
				t.Errorf("%q: %d × %d pixels", r, b.width, b.height)
			}
			if advance < 3*scale {
				t.Errorf("%q: advance %d", r, advance)
			}
			// A glyph may lean over to its neighbours a little, and must stay in its line.
			right, bottom := b.left+b.width, b.top+b.height
			if min(b.left, advance-right) < -3*scale || b.top < -16*scale || bottom > 4*scale {
				t.Errorf("%q, scale %d: (%d, %d) to (%d, %d), advance %d",
					r, scale, b.left, b.top, right, bottom, advance)
			}
		}
	}
}

// TestGlyphsDiffer: no character can be taken for another, not even at scale 1.
func TestGlyphsDiffer(t *testing.T) {
	same := map[string]bool{" \u00a0": true, "-\u00ad": true}
	f := newFont(1, bodyPen, 1)
	seen := map[string]rune{}
	for _, r := range everyCharacter() {
		b := f.bitmap(r)
		picture := fmt.Sprintln(b.left, b.top, b.width, b.cover)
		if before, ok := seen[picture]; ok && !same[string([]rune{before, r})] {
			t.Errorf("%q and %q look the same", before, r)
		}
		seen[picture] = r
	}
}

func TestGlyphNotation(t *testing.T) {
	word := regexp.MustCompile(`^-?\d+(\.\d+)?,-?\d+(\.\d+)?$`)
	control := regexp.MustCompile(`^\((-?\d+(\.\d+)?,-?\d+(\.\d+)?)\)$`)
	seen := map[rune]bool{}
	for _, g := range glyphs {
		if seen[g.char] {
			t.Errorf("%q is drawn twice", g.char)
		}
		seen[g.char] = true
		for _, stroke := range strings.Split(g.strokes, "|") {
			words := strings.Fields(stroke)
			controls := 0
			for _, w := range words {
				if control.MatchString(w) {
					controls++
				} else if !word.MatchString(w) {
					t.Errorf("%q: %q is no point", g.char, w)
				}
			}
			if len(words) == 0 {
				if g.strokes != "" {
					t.Errorf("%q has an empty stroke", g.char)
				}
				continue
			}
			loop := words[0][0] == '(' || words[len(words)-1][0] == '('
			if loop && controls != len(words) {
				t.Errorf("%q: a stroke is neither open nor a closed loop: %s", g.char, stroke)
			}
		}
	}
	for _, a := range accented {
		letters, with := []rune(a.letters), []rune(a.with)
		if len(letters) != len(with) || !seen[a.accent] {
			t.Fatalf("%q: %d letters are %d, or the accent is missing", a.accent, len(letters),
				len(with))
		}
		for i, char := range with {
			if seen[char] || !seen[letters[i]] {
				t.Errorf("%q is drawn and composed, or its letter is missing", char)
			}
		}
	}
}

// asciiArt shows a bitmap: how dark a pixel is in four steps.
func asciiArt(b *bitmap) []string {
	var rows []string
	for y := range b.height {
		row := ""
		for _, level := range b.cover[y*b.width:][:b.width] {
			row += string(" .:+#"[(level+1)/2])
		}
		rows = append(rows, "|"+row+"|")
	}
	return rows
}

func TestLettersAsDrawn(t *testing.T) {
	tests := []struct {
		char      rune
		left, top int
		want      string
	}{
		{'L', 0, -11, `
			| .      |
			|.#.     |
			|.#.     |
			|.#.     |
			|.#.     |
			|.#.     |
			|.#.     |
			|.#.     |
			|.#.     |
			|.#..... |
			|.######.|
			| ...... |`},
		{'ñ', 0, -12, `
			|        |
			|  ::  + |
			| +##++# |
			|.#..++. |
			| . ..   |
			|.#+##+. |
			|.##..++ |
			|.#.  .#.|
			|.#.  .#.|
			|.#.  .#.|
			|.#.  .#.|
			|.#.  .#.|
			| .    . |`},
	}
	f := newFont(1, bodyPen, 1)
	for _, test := range tests {
		b := f.bitmap(test.char)
		got := strings.Join(asciiArt(b), "\n")
		want := strings.TrimSpace(strings.ReplaceAll(test.want, "\t", ""))
		if got != want || b.left != test.left || b.top != test.top {
			t.Errorf("%q, left %d, top %d:\n%s", test.char, b.left, b.top, got)
		}
	}
}

// TestScaleOnlyRefines: four pixels of a letter at scale 2 cover together what one covers at scale
// 1, but for what the edges smooth.
func TestScaleOnlyRefines(t *testing.T) {
	one, two := newFont(1, bodyPen, 1), newFont(1, bodyPen, 2)
	for _, r := range everyCharacter() {
		coarse, fine := one.bitmap(r), two.bitmap(r)
		if two.advance(r) != one.advance(r) {
			t.Errorf("%q: advances differ", r)
		}
		at := func(b *bitmap, x, y int) int {
			if x -= b.left; x < 0 || x >= b.width {
				return 0
			}
			if y -= b.top; y < 0 || y >= b.height {
				return 0
			}
			return int(b.cover[y*b.width+x])
		}
		for y := -16; y < 6; y++ {
			for x := -4; x < 16; x++ {
				sum, want := 0, at(coarse, x, y)
				for i := range 4 {
					sum += at(fine, 2*x+i%2, 2*y+i/2)
				}
				if abs(sum/4-want) > levels/2 {
					t.Errorf("%q: pixel (%d, %d): %d/32 are covered at scale 2, %d/8 at scale 1",
						r, x, y, sum, want)
				}
			}
		}
	}
}

func TestMissingGlyphIsABox(t *testing.T) {
	f := newFont(1, bodyPen, 1)
	got, want := asciiArt(f.bitmap('中')), asciiArt(f.bitmap('\ufffd'))
	if !slices.Equal(got, want) {
		t.Error("a character that the font lacks is not the box")
	}
}

func BenchmarkFont(b *testing.B) {
	for range b.N {
		f := newFont(1, bodyPen, 1)
		for r := ' '; r <= '~'; r++ {
			f.bitmap(r)
		}
	}
}
