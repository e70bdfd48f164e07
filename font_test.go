package main

import (
	"fmt"
	"image"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// everyCharacter is what the font must be able to write: ASCII, Latin-1 and the signs that the
// painter uses or that English texts are full of.
func everyCharacter() []rune {
	all := []rune("−…→␣∞–—‘’“”•€")
	for r := ' '; r <= 'ÿ'; r++ {
		if r <= '~' || r >= '\u00a0' {
			all = append(all, r)
		}
	}
	return all
}

// Every character has a glyph of its own, which none can be taken for, not even at scale 1. Others
// are the box.
func TestEveryCharacterHasAGlyph(t *testing.T) {
	same := map[string]bool{" \u00a0": true, "-\u00ad": true, "中\ufffd": true}
	for _, scale := range []int{1, 2} {
		f, seen := &font{1, bodyPen, scale}, map[string]rune{}
		for _, r := range append(everyCharacter(), '中', '\ufffd') {
			b, advance := f.bitmap(r), f.advance(r)*scale
			if blank := r == ' ' || r == '\u00a0'; blank != b.Rect.Empty() {
				t.Errorf("%q: %v pixels", r, b.Rect)
			}
			// A glyph may lean over to its neighbours a little, and must stay in its line.
			line := image.Rect(-3*scale, -16*scale, advance+3*scale, 4*scale)
			if !b.Rect.In(line) || advance < 3*scale {
				t.Errorf("%q, scale %d: %v, advance %d", r, scale, b.Rect, advance)
			}
			picture := fmt.Sprintln(b.Rect, b.Pix)
			if before, ok := seen[picture]; ok != same[string([]rune{before, r})] {
				t.Errorf("%q and %q look the same: %v", before, r, ok)
			}
			seen[picture] = r
		}
	}
}

// The tables say each character once, and every stroke is points with a way to each: a closed loop
// of four control points, or none at its ends.
func TestGlyphNotation(t *testing.T) {
	number := `-?\d+(\.\d+)?`
	point := number + "," + number
	stroke := regexp.MustCompile(
		"^(" + point + "([/~]" + point + ")*/" + point + "|" + point + "|(~" + point + "){4})$")
	begin := regexp.MustCompile(`^.:\d+$`)
	seen, texts := map[rune]bool{}, ""
	for _, word := range strings.Fields(drawings) {
		if !begin.MatchString(word) {
			texts += " " + word
			continue
		}
		char, _ := utf8.DecodeRuneInString(word)
		if seen[char] {
			t.Errorf("%q is drawn twice", char)
		}
		seen[char] = true
	}
	for _, a := range accents {
		letters, with := []rune(a.letters), []rune(a.with)
		if len(letters) != len(with) {
			t.Fatalf("%s are %s", a.letters, a.with)
		}
		for i, char := range with {
			if seen[char] || !seen[letters[i]] {
				t.Errorf("%q is drawn and composed, or its letter is missing", char)
			}
		}
		texts += " " + a.strokes
	}
	for _, word := range strings.Fields(texts) {
		if !stroke.MatchString(word) {
			t.Errorf("%s is no stroke", word)
		}
	}
}

// TestLetterAsDrawn shows how dark each pixel is, in four steps.
func TestLetterAsDrawn(t *testing.T) {
	const want = `
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
| .    . |`
	b, got := (&font{1, bodyPen, 1}).bitmap('ñ'), ""
	for i, level := range b.Pix {
		if i%b.Stride == 0 {
			got += "\n|"
		}
		if got += string(" .:+#"[(level+1)/2]); (i+1)%b.Stride == 0 {
			got += "|"
		}
	}
	if got != want || b.Rect.Min != image.Pt(0, -12) {
		t.Errorf("at %v:%s", b.Rect.Min, got)
	}
}

// TestScaleOnlyRefines: four pixels of a letter at scale 2 cover together what one covers at scale
// 1, but for what the edges smooth.
func TestScaleOnlyRefines(t *testing.T) {
	one, two := &font{1, bodyPen, 1}, &font{1, bodyPen, 2}
	for _, r := range everyCharacter() {
		coarse, fine := one.bitmap(r), two.bitmap(r)
		at := func(b *image.Alpha, x, y int) int { return int(b.AlphaAt(x, y).A) }
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
