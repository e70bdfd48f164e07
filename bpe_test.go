package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"
)

// TestTokenTable makes the table of vocab.bpe, as the definition below reads that, and holds
// vocab/tokens.bin to it.
func TestTokenTable(t *testing.T) {
	const published = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
	if sum := fmt.Sprintf("%x", sha256.Sum256([]byte(vocabFile))); sum != published {
		t.Errorf("vocab.bpe has the SHA-256 %s, want %s", sum, published)
	}
	tokens := make([]string, endOfText)
	for token, id := range theDefinition().id {
		tokens[id] = token
	}
	slots, start := make([]uint16, 1<<slotBits), []uint32{0}
	for id, token := range tokens {
		start = append(start, start[id]+uint32(len(token)))
		i := slotOf(token)
		for slots[i] != 0 {
			i = (i + 1) % len(slots)
		}
		slots[i] = uint16(id + 1)
	}
	var table strings.Builder
	binary.Write(&table, binary.LittleEndian, slots)
	binary.Write(&table, binary.LittleEndian, start)
	table.WriteString(strings.Join(tokens, ""))
	if table.String() != tokenTable {
		made := filepath.Join(os.TempDir(), "tokens.bin")
		err := os.WriteFile(made, []byte(table.String()), 0o644)
		t.Errorf("vocab/tokens.bin is not what vocab.bpe makes: that is in %s now (%v)", made, err)
	}
}

// testdata/bpe.jsonl holds awkward texts and their ids according to OpenAI's tiktoken 1.0.22 (the
// npm package of its Rust core, encoding gpt2, encode_ordinary): 279 written by hand, and 200
// taken from 110,000 random ones, all of which agreed.
func TestEncodeGolden(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(string(must(os.ReadFile("testdata/bpe.jsonl")))), "\n")
	for _, line := range lines {
		var golden struct {
			Text string
			IDs  []int
		}
		decodeJSON(t, line, &golden)
		if got := gpt2BPE().encode(golden.Text); !slices.Equal(got, golden.IDs) {
			t.Errorf("encode(%+q)\n got %v\nwant %v", golden.Text, got, golden.IDs)
		}
		if got := decode(golden.IDs); got != golden.Text {
			t.Errorf("decode(%v) = %+q, want %+q", golden.IDs, got, golden.Text)
		}
	}
	if len(lines) < 400 {
		t.Errorf("only %d texts in testdata/bpe.jsonl", len(lines))
	}
}

// decode returns the text that GPT-2's token ids stand for.
func decode(ids []int) string { return strings.Join(gpt2.tokens(ids), "") }

// Every token is what encode makes of its own bytes, and no two are alike. On this rests that a
// table from bytes to ids can stand for the list of merges: where a merge makes the token "abc"
// out of "ab" and "c", then "a" and "bc" never stand side by side.
func TestEveryTokenIsItsOwnEncoding(t *testing.T) {
	b, seen := gpt2BPE(), map[string]int{}
	for id := range endOfText {
		text := b.token(id)
		if previous, ok := seen[text]; ok || text == "" {
			t.Fatalf("token %d is %q, as is %d", id, text, previous)
		}
		seen[text] = id
		if got := b.find(text); got != int32(id) {
			t.Fatalf("find(%q) = %d, want %d", text, got, id)
		}
		if got := b.appendWord(nil, text, mergeWindow, nil); !slices.Equal(got, []int{id}) {
			t.Errorf("appendWord(%q) = %v, want [%d]", text, got, id)
		}
	}
}

func TestToken(t *testing.T) {
	holds(t, gpt2.token, map[int]string{
		0: "!", 93: "~", 94: "\xa1", 187: "\xff", 188: "\x00", 198: "\n", 220: " ", 221: "\x7f",
		255: "\xad", 256: " t", 257: " a", 5437: " Jones", 50255: " gazed", 50256: "<|endoftext|>",
		50257: "#50257", -1: "#-1",
	})
}

// definition is GPT-2's tokenizer written for clarity alone: the regular expression, then the
// merges as pairs of strings, all occurrences of the earliest one at a time.
type definition struct {
	words *regexp.Regexp
	rank  map[[2]string]int
	id    map[string]int
}

var theDefinition = sync.OnceValue(func() *definition {
	d := &definition{rank: map[[2]string]int{}, id: map[string]int{}}

	// The regular expression with its sets spelt out; the look-ahead is in encode.
	letters, numbers, spaces := class(charLetter), class(charNumber), class(charSpace)
	d.words = regexp.MustCompile(`^(?:'s|'t|'re|'ve|'m|'ll|'d| ?[` + letters + `]+| ?[` + numbers +
		`]+| ?[^` + spaces + letters + numbers + `]+|([` + spaces + `]+))`)

	original := map[rune]byte{}
	add := func(s string) { d.id[s] = len(d.id) }
	for b := range 256 {
		if r := rune(b); r < 0x7f && unicode.IsGraphic(r) && r != ' ' || r > 0xa0 && r != 0xad {
			original[r] = byte(b)
			add(string([]byte{byte(b)}))
		}
	}
	for b, next := 0, rune(256); b < 256; b++ {
		if original[rune(b)] == 0 {
			original[next] = byte(b)
			add(string([]byte{byte(b)}))
			next++
		}
	}
	unmap := func(s string) string {
		var bytes []byte
		for _, r := range s {
			bytes = append(bytes, original[r])
		}
		return string(bytes)
	}
	for i, line := range strings.Split(strings.TrimSuffix(vocabFile, "\n"), "\n")[1:] {
		left, right, _ := strings.Cut(line, " ")
		left, right = unmap(left), unmap(right)
		d.rank[[2]string{left, right}] = i
		add(left + right)
	}
	return d
})

// class is a kind of characters as a regular expression has it within brackets.
func class(kind byte) string {
	var class strings.Builder
	for r, k := range kindTable() {
		if k == kind {
			fmt.Fprintf(&class, `\x{%x}`, r)
			if r+1 < len(kindTable()) && kindTable()[r+1] == kind { // a run: only its ends count
				class.WriteByte('-')
			}
		}
	}
	return regexp.MustCompile(`-(\\x{\w+}-)+`).ReplaceAllString(class.String(), "-")
}

// The letters, numbers and white space are those of Unicode 16.0, whatever compiles the program.
// The counts and the sum over all code points are those of tiktoken 0.14 and tokenizers 0.23.
func TestKindsOfCharacters(t *testing.T) {
	all := append(kindTable(), make([]byte, unicode.MaxRune+1-len(kindTable()))...)
	var counts [4]int
	for _, kind := range all {
		counts[kind]++
	}
	const want = "ba830e7f669dd0fcc40141409e2c8be621eead74b1d0d659dc89185f117d69c8"
	sum := fmt.Sprintf("%x", sha256.Sum256(all))
	if [3]int(counts[1:]) != [3]int{141028, 1911, 25} || sum != want {
		t.Errorf("%d letters, numbers and white spaces; the kinds' sum is %s", counts[1:], sum)
	}
}

func (d *definition) encode(text string) (ids []int) {
	for text != "" {
		match := d.words.FindStringSubmatch(text)
		word := match[0]
		spaces := match[1]
		if len(spaces) < len(text) && utf8.RuneCountInString(spaces) > 1 {
			_, last := utf8.DecodeLastRuneInString(spaces)
			word = spaces[:len(spaces)-last]
		}
		for _, part := range d.merge(word) {
			ids = append(ids, d.id[part])
		}
		text = text[len(word):]
	}
	return ids
}

func (d *definition) merge(word string) []string {
	var parts []string
	for i := range len(word) {
		parts = append(parts, word[i:i+1])
	}
	for {
		best, bestRank := -1, math.MaxInt
		for i := 0; i+1 < len(parts); i++ {
			rank, ok := d.rank[[2]string{parts[i], parts[i+1]}]
			if ok && rank < bestRank {
				best, bestRank = i, rank
			}
		}
		if best < 0 {
			return parts
		}
		parts = slices.Replace(parts, best, best+2, parts[best]+parts[best+1])
	}
}

// checkEncoding holds encode to its definition and to what must be true of any encoding.
func checkEncoding(t *testing.T, text string) {
	t.Helper()
	ids := gpt2BPE().encode(text)
	for _, id := range ids {
		if id < 0 || id >= endOfText {
			t.Fatalf("encode(%+q) has id %d", text, id)
		}
	}
	if got := decode(ids); got != text {
		t.Fatalf("decode(encode(%+q)) = %+q", text, got)
	}
	if want := theDefinition().encode(text); !slices.Equal(ids, want) {
		t.Fatalf("encode(%+q)\n got %v\nwant %v", text, ids, want)
	}

	// Any bytes will do for a word.
	if text == "" {
		return
	}
	want := theDefinition().merge(text)
	for _, window := range []int{1, 2, 3, 8, 50, mergeWindow} {
		got := gpt2.tokens(gpt2BPE().appendWord(nil, text, window, nil))
		if !slices.Equal(got, want) {
			t.Fatalf("%+q, %d bytes at a time, is %q, want %q", text, window, got, want)
		}
	}
}

func TestEncodeIsTheDefinition(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	alphabets := []string{
		"ab", "the", "aeinorst ", "' srelvdmt", " \n\t\u00a0\u3000ab", "0123456789.,", "áñü¿ e",
		"你好我们 a", "\xc3\x82\xa9\xff ", "-=*_ ",
	}
	for i := range 1000 {
		alphabet := []byte(alphabets[i%len(alphabets)])
		// Every third text is made of single bytes, so often of invalid UTF-8.
		if i%3 > 0 {
			var text strings.Builder
			characters := []rune(string(alphabet))
			for range random.Intn(80) {
				text.WriteRune(characters[random.Intn(len(characters))])
			}
			checkEncoding(t, text.String())
			continue
		}
		text := make([]byte, random.Intn(120))
		for j := range text {
			text[j] = alphabet[random.Intn(len(alphabet))]
		}
		checkEncoding(t, string(text))
	}
}

// Megabytes in one word. If the time grew with the square, this test would not end within the hour.
// What encode needs beside a long text is at most ten bytes for each of its bytes, most of them the
// ids.
func TestEncodeOneLongWord(t *testing.T) {
	const size = 1 << 20
	random, letters := rand.New(rand.NewSource(1)), make([]byte, size)
	for i := range letters {
		letters[i] = byte('a' + random.Intn(26))
	}
	b := gpt2BPE()
	for _, unit := range []string{"internationalization", "\xff", string(letters)} {
		text := strings.Repeat(unit, max(1, size/8/len(unit)))
		if n := splitWord(text); n != len(text) {
			t.Fatalf("%.20q repeated: the first word has %d bytes of %d", unit, n, len(text))
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ids := b.encode(text)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; len(text) == size && got > 24*size {
			t.Errorf("%d bytes for a word of %d", got, size)
		}
		if decode(ids) != text {
			t.Errorf("%.20q repeated does not survive", unit)
		}
	}
}

func TestEncodeConcurrently(t *testing.T) {
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			got := gpt2BPE().encode(exampleClean)
			if !slices.Equal(got, exampleIDs) || decode(got) != exampleClean {
				t.Errorf("encode(%q) = %v, want %v", exampleClean, got, exampleIDs)
			}
		})
	}
	wait.Wait()
}

func FuzzEncode(f *testing.F) {
	for _, text := range []string{
		"", " ", exampleClean, "it's 'll ''s IT'S ''re 're've'll'l!'s é's a   b", "a \n\t b\r\n",
		"a\nb a \nb a\n b a \n\t\r\v\f", "\u00a0\u3000 \u0085x \u3000a\u3000\u3000a",
		"½ ²Ⅻ ١٢a1b½²!½²a\u0301e ١٢中文", "e\u0301 ñ 你好", "👨\u200d👩 🏳\ufe0f 😀\u200d👍🏽",
		"\xff\xc3 \xed\xa0\x80", "\xff\xfe!a \x80\n\xc3", "\ufeffa\u200b b", "<|endoftext|>",
		strings.Repeat("ab", 100), "\U0002ebf0's \U00010d40's",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) <= 2000 { // the definition's time grows with the square
			checkEncoding(t, text)
		}
	})
}

// BenchmarkEncode encodes English, a language of long words, and one endless word.
func BenchmarkEncode(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"english", string(must(os.ReadFile("README.md")))},
		{"chinese", strings.Repeat("我们今天在学校里学习了很多新的东西。", 1200)},
		{"one word", strings.Repeat("internationalization", 3277)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.text)))
			for range b.N {
				gpt2BPE().encode(c.text)
			}
		})
	}
}
