package main

// Byte-level byte-pair encoding: GPT-2's map between text and token ids.
//
// Byte-pair encoding (Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words
// with Subword Units") learns a vocabulary by counting: start from single symbols, merge the most
// frequent adjacent pair of the training texts into one new symbol, repeat. The merges, in the
// order in which they were learnt, are the whole tokenizer: a word is encoded by splitting it
// into single symbols and repeating the merges in that order. GPT-2 (Radford et al. 2019,
// "Language Models are Unsupervised Multitask Learners", section 2.2) takes the 256 bytes for its
// symbols, so that there is no text that it cannot encode, and first splits the text into words
// (splitWord below), so that no token mixes kinds of characters, as in "dog!".
//
// vocab.bpe lists 50,000 merges, one on each line: "Ġ t" merges " " and "t". To be seen, a byte
// that is a printable character of Latin-1 is written as that, the 68 others as U+0100, U+0101, …
// in order (the space is the 33rd: Ġ, U+0120). The ids follow from the file and need no other:
//
//	0–255    the single bytes: first those printable in Latin-1, then the 68 others, each in order
//	256+i    the token that merge i makes; so a lower id is an earlier merge
//	50256    <|endoftext|>, which separated the training texts; encode never makes it: in a text
//	         it is 13 plain characters
//
// No two merges make the same token, and every token encoded by itself gives that one token (a test
// checks both). It follows that a table from a token's bytes to its id is all that encode needs. A
// word that is a token, as most words are, takes one look into it. And neighbours may be merged
// exactly if their bytes together are a token, whose id tells how early the merge comes.

import (
	_ "embed"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

//go:embed vocab/vocab.bpe
var vocabFile string

// tokenTable is what vocab.bpe amounts to, laid out to be searched where it lies: slots, start and
// bytes of a bpe, numbers with their lower bytes first. TestTokenTable makes it.
//
//go:embed vocab/tokens.bin
var tokenTable string

const (
	vocabSize = 50257
	endOfText = vocabSize - 1
)

// bpe is a byte-level BPE: the tokens, and how they merge. It is safe for concurrent use.
type bpe struct {
	letters [256]int32 // the tokens of the single bytes, noToken where there is none

	bytes string // of GPT-2's tokens, in the order of their ids:
	start string // token id is bytes[start[id]:start[id+1]]
	slots string // ids by the hash of their bytes, plus 1; 0 is empty

	merges map[[2]int32]merged // another vocabulary's: what two tokens merge to,
	words  map[string]int32    // and the words that are tokens, however their merges go

	oneWord bool // a text is not split into words
}

// encode returns the token ids of a text.
func (b *bpe) encode(text string) []int { return b.appendText(make([]int, 0, len(text)), text) }

// appendText appends the ids of a text, which may be any bytes: one that is not part of valid UTF-8
// counts as one character of the kind of U+FFFD (neither space nor letter nor number) and is kept
// as it is, so that the tokens' bytes one after the other are always the text again.
func (b *bpe) appendText(ids []int, text string) []int {
	parts := make([]part, 0, mergeWindow+1) // which all words share
	for len(text) > 0 {
		word := text
		if !b.oneWord {
			word = text[:splitWord(text)]
		}
		text = text[len(word):]
		if id := b.find(word); id != noToken {
			ids = append(ids, int(id))
		} else {
			ids = b.appendWord(ids, word, mergeWindow, parts)
		}
	}
	return ids
}

// splitWord returns the length in bytes of the first word of a text that is not empty. It is
// GPT-2's regular expression
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// in which the first alternative that matches wins: the end of an English contraction; a run of
// letters, of numbers or of other characters, with one space (U+0020) before it; or white space. Of
// white space between words the last character is left for the next word, so that a space can join
// it: "a   b" is "a", "  ", " b". That is the meaning of \s+(?!\S), which gives one character back
// unless the text ends here. Where there is only one to give, the last alternative takes it.
func splitWord(text string) int {
	if text[0] == '\'' {
		for _, suffix := range [...]string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"} {
			if strings.HasPrefix(text, suffix) {
				return len(suffix)
			}
		}
	}
	kind, n := firstKind(text)
	if text[0] == ' ' && len(text) > 1 {
		if next, size := firstKind(text[1:]); next != charSpace {
			kind, n = next, 1+size
		}
	}
	last := n // the size of the run's last character
	for n < len(text) {
		next, size := firstKind(text[n:])
		if next != kind {
			if kind == charSpace && n > last {
				n -= last
			}
			break
		}
		n += size
		last = size
	}
	return n
}

// The kinds of characters that splitWord tells apart.
const (
	charOther  byte = iota // [^\s\p{L}\p{N}]
	charLetter             // \p{L}
	charNumber             // \p{N}
	charSpace              // \s: the Unicode property White_Space
)

// firstKind returns the kind of the first character of a text that is not empty, and its size in
// bytes.
func firstKind(text string) (kind byte, size int) {
	switch c := text[0]; {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		return charLetter, 1
	case c == ' ', '\t' <= c && c <= '\r':
		return charSpace, 1
	case '0' <= c && c <= '9':
		return charNumber, 1
	case c < utf8.RuneSelf:
		return charOther, 1
	}
	r, size := utf8.DecodeRuneInString(text)
	if table := kindTable(); int(r) < len(table) {
		kind = table[r]
	}
	return kind, size
}

// unicodeFile lists the letters, numbers and white space of Unicode 16.0, which GPT-2's tokenizers
// know, whatever Unicode package unicode of the compiler is at: the ids hang on it.
//
//go:embed vocab/unicode.txt
var unicodeFile string

// kindTable is a table of the kind of each character, up to the last one in unicodeFile.
var kindTable = sync.OnceValue(func() (table []byte) {
	_, lines, _ := strings.Cut(unicodeFile, "\n")
	for line := range strings.Lines(lines) { // such as "L 0041 005A"
		kind := [...]byte{'L': charLetter, 'N': charNumber, 'S': charSpace}[line[0]]
		first, last, _ := strings.Cut(strings.TrimSpace(line[1:]), " ")
		from, _ := strconv.ParseUint(first, 16, 32)
		to, _ := strconv.ParseUint(last, 16, 32)
		table = append(table, make([]byte, int(from)-len(table))...)
		for range to + 1 - from {
			table = append(table, kind)
		}
	}
	return table
})

// merged is what two neighbours become: a token, and how early; the lowest rank comes first.
type merged struct {
	rank, id int32
}

// noToken stands for an id or a rank where there is none. It is greater than all of them.
const noToken = math.MaxInt32

// merge returns what two neighbours merge to, whose bytes together are joined.
func (b *bpe) merge(left, right int32, joined string) merged {
	if b.merges == nil {
		id := b.find(joined)
		return merged{id, id}
	}
	if to, ok := b.merges[[2]int32{left, right}]; ok {
		return to
	}
	return merged{noToken, noToken}
}

// A part of a word is a token that may yet be merged. Behind the last one is an empty one.
type part struct {
	start int32  // where it starts in the word
	id    int32  // its token
	next  merged // what it and the next one merge to
}

// mergeParts is byte-pair encoding itself: of all neighbours that can be merged, merge those of the
// lowest rank, the leftmost of equals, until none can. Its time grows with the length's square.
func (b *bpe) mergeParts(word string, parts []part) []part {
	none := merged{noToken, noToken}
	parts = parts[:0]
	for i := range len(word) {
		parts = append(parts, part{int32(i), b.letters[word[i]], none})
	}
	parts = append(parts, part{start: int32(len(word)), next: none})
	look := func(i int) {
		if i >= 0 && i+2 < len(parts) {
			p := parts[i : i+3]
			p[0].next = b.merge(p[0].id, p[1].id, word[p[0].start:p[2].start])
		}
	}
	for i := range parts {
		look(i)
	}
	for {
		best := 0
		for i := range parts {
			if parts[i].next.rank < parts[best].next.rank {
				best = i
			}
		}
		if parts[best].next.rank == noToken {
			return parts
		}
		parts[best].id, parts[best].next = parts[best].next.id, none
		parts = slices.Delete(parts, best+1, best+2)
		look(best)
		look(best - 1)
	}
}

// mergeWindow is how much of a long word is merged at a time, in bytes.
const mergeWindow = 128

// appendWord appends the ids of a word. Of a long one only a window is merged at a time, so that
// the time grows with the length alone. The next window begins with a token near the end of the
// last one. That is exact where it, too, has that token. For let a word be a·b·c, let merging a·b
// never cross the boundary between a and b, and merging b·c never the one between b and c. Then of
// the merges that are possible in a·b·c, the first is also the first that is possible in a·b, or
// in b·c, or, within b, in both: so it crosses neither boundary, and what remains is such a word
// again. Where a window lacks that boundary, all is done again with larger ones.
func (b *bpe) appendWord(ids []int, word string, window int, parts []part) []int {
	done := len(ids)
	for rest, shared := word, int32(0); ; { // the bytes of the token that both windows have
		parts = b.mergeParts(rest[:min(window, len(rest))], parts)
		n := len(parts) - 1
		if window < len(rest) {
			n = (n - 1) * 3 / 4
		}
		if n == 0 || shared > 0 && parts[1].start != shared {
			return b.appendWord(ids[:done], word, 2*window, parts)
		}
		for _, p := range parts[:n] {
			ids = append(ids, int(p.id))
		}
		if window >= len(rest) {
			return ids
		}
		rest, shared = rest[parts[n].start:], parts[n+1].start-parts[n].start
	}
}

// slotBits makes the hash table of GPT-2's vocabulary so large that three of eight slots are
// taken.
const slotBits = 17

// gpt2BPE is GPT-2's own.
var gpt2BPE = sync.OnceValue(func() *bpe {
	const slots, start = 2 << slotBits, 4 * vocabSize // bytes
	b := &bpe{
		slots: tokenTable[:slots],
		start: tokenTable[slots : slots+start],
		bytes: tokenTable[slots+start:],
	}
	for id := range b.letters {
		b.letters[b.token(id)[0]] = int32(id)
	}
	return b
})

// token returns the bytes of one token: a word with its leading space, or a part of one, sometimes
// only a part of a UTF-8 sequence. An id that is no token's has none: "".
func (b *bpe) token(id int) string {
	if id < 0 || id >= len(b.start)/4-1 {
		return ""
	}
	at := func(i int) int {
		s := b.start[4*i : 4*i+4]
		return int(s[0]) | int(s[1])<<8 | int(s[2])<<16 | int(s[3])<<24
	}
	return b.bytes[at(id):at(id+1)]
}

// find returns the id of the token that consists of these bytes, noToken if there is none.
func (b *bpe) find(token string) int32 {
	if b.slots == "" {
		if id, ok := b.words[token]; ok {
			return id
		}
		return noToken
	}
	for i := slotOf(token); ; i = (i + 1) % (1 << slotBits) {
		switch id := (int(b.slots[2*i]) | int(b.slots[2*i+1])<<8) - 1; {
		case id < 0:
			return noToken
		case b.token(id) == token:
			return int32(id)
		}
	}
}

// slotOf is FNV-1a (Fowler, Noll and Vo) in 32 bits, folded to an index of slots.
func slotOf(s string) int {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return int((h>>slotBits ^ h) % (1 << slotBits))
}

// bytesOfLetters returns the bytes of a token as a vocabulary's files spell it; ok is false where
// not all of it are byte letters. These are in the order of GPT-2's first tokens: the bytes that
// are printable in Latin-1, as they are, then the 68 others, from U+0100 on.
func bytesOfLetters(token string) (text string, ok bool) {
	bytes := make([]byte, 0, len(token))
	for _, r := range token {
		id := 256 - 68 + int(r) - 0x100
		if r < 0x100 {
			id = int(gpt2BPE().letters[r])
		}
		if id >= 256 || (r < 0x100) != (id < 256-68) {
			return "", false
		}
		bytes = append(bytes, gpt2BPE().token(id)[0])
	}
	return string(bytes), true
}
