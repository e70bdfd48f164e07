package main

// Byte-level byte-pair encoding, GPT-2's map between text and token ids.
//
// Byte-pair encoding (Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words with Subword Units") learns its
// vocabulary by counting: start from single symbols, join the most frequent adjacent pair of the corpus into a new symbol, repeat.
// The joins, in the order in which they were learnt, are the whole tokenizer: a word is encoded by splitting it into single symbols
// and repeating the joins in that order. GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section
// 2.2) takes the 256 bytes of UTF-8 for its symbols, so that no text is ever unknown, and first cuts the text into words (splitWord
// below), so that no token spans two kinds of characters, such as "dog" and "dog!".
//
// vocab.bpe lists 50,000 joins, one on each line: "Ġ t" joins " " and "t". For the file to be readable text, every byte is written as
// a printable character: the bytes that are printable in Latin-1 as themselves, the 68 others as U+0100, U+0101, …, in order (so the
// space, the 33rd of them, is Ġ, U+0120). The token ids follow from that and need no second file:
//
//	0–255      the single bytes: first the printable ones in order, then the 68 others
//	256+i      what join i makes, so a lower id is an earlier join
//	50256      <|endoftext|>, which separated the training texts; encode never makes it, in a text those are 13 plain characters
//
// Each join makes a token that no other join makes, and the encoding of every token by itself is that one token (a test checks both).
// This has two consequences that make encode short and fast. First, most words of a common text are tokens and need one look into a
// table. Second, a table from a token's bytes to its id is all it takes: two neighbours may be joined exactly if their bytes together
// are a token, and the id of that token tells how early.

import (
	_ "embed"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

//go:embed vocab/vocab.bpe
var vocabFile string

const (
	vocabSize    = 50257
	endOfText    = vocabSize - 1
	noToken      = vocabSize // sorts after every id
	longestToken = 128       // in bytes
)

// encode returns the token ids of a text, which may be any bytes. A byte that is not part of valid UTF-8 counts as one character that
// is neither space nor letter nor number, like U+FFFD, and is itself encoded, so decode(encode(text)) == text for every text.
// Safe for concurrent use, as are decode and token.
func encode(text string) []int {
	v := loadVocabulary()
	ids := make([]int, 0, len(text)/4+1) // English has about four bytes to a token
	for len(text) > 0 {
		n := splitWord(text)
		ids = v.appendWord(ids, text[:n])
		text = text[n:]
	}
	return ids
}

// decode returns the text that the ids stand for: their tokens' bytes, one after the other.
func decode(ids []int) string {
	var text strings.Builder
	for _, id := range ids {
		text.WriteString(token(id))
	}
	return text.String()
}

// token returns the bytes of one token: often a word with its leading space, sometimes only a part of a UTF-8 sequence.
// An id outside 0 … vocabSize-1 has no bytes, "".
func token(id int) string {
	if id == endOfText {
		return "<|endoftext|>"
	}
	if id < 0 || id > endOfText {
		return ""
	}
	return loadVocabulary().token(id)
}

// splitWord returns the length in bytes of the first word of a text that is not empty. It is GPT-2's regular expression
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// of which the first alternative that matches wins: an English contraction; a run of letters, of numbers or of other characters,
// with the one space (U+0020) before it; or white space. Of white space between words the last character is left over, so that
// a space can join its word: "a   b" is "a", "  ", " b". That is what \s+(?!\S) does: it gives back one character, unless the text
// ends here or there is only one, which then falls to the last alternative.
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
		if next, size := firstKind(text[1:]); next != space {
			kind, n = next, 1+size
		}
	}
	last := n // the size of the run's last character
	for n < len(text) {
		next, size := firstKind(text[n:])
		if next != kind {
			if kind == space && n > last {
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
	other  byte = iota // [^\s\p{L}\p{N}]
	letter             // \p{L}
	digit              // \p{N}
	space              // \s, Unicode's White_Space
)

// firstKind returns the kind of the first character of a text that is not empty, and its size in bytes.
func firstKind(text string) (kind byte, size int) {
	if c := text[0]; c < utf8.RuneSelf {
		return asciiKind[c], 1
	}
	r, size := utf8.DecodeRuneInString(text)
	return kindOf(r), size
}

func kindOf(r rune) byte {
	switch {
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return digit
	case unicode.IsSpace(r):
		return space
	}
	return other
}

var asciiKind = func() (kinds [utf8.RuneSelf]byte) {
	for c := range kinds {
		kinds[c] = kindOf(rune(c))
	}
	return kinds
}()

// appendWord appends the ids of one word.
func (v *vocabulary) appendWord(ids []int, word string) []int {
	if id := v.find(word); id != noToken {
		return append(ids, id)
	}
	if len(word) <= shortWord {
		return v.joinShort(ids, word)
	}
	return v.joinLong(ids, word)
}

// shortWord is the length in bytes up to which joinShort is the faster one.
const shortWord = 64

// joinShort appends the ids of a word of at most shortWord bytes. It is byte-pair encoding as defined: of all neighbours that can be
// joined, join those of the lowest id, the leftmost if there are several, until none are left. Its time grows with the square of the word's length.
func (v *vocabulary) joinShort(ids []int, word string) []int {
	var start [shortWord + 1]int // part i is word[start[i]:start[i+1]]
	var join [shortWord]int      // the id of parts i and i+1 as one, or noToken
	parts := len(word)
	for i := 0; i <= parts; i++ {
		start[i] = i
	}
	for i := 0; i+1 < parts; i++ {
		join[i] = v.find(word[i : i+2])
	}
	for parts > 1 {
		best := 0
		for i, id := range join[:parts-1] {
			if id < join[best] {
				best = i
			}
		}
		if join[best] == noToken {
			break
		}
		copy(start[best+1:parts], start[best+2:parts+1])
		copy(join[best:parts-2], join[best+1:parts-1])
		parts--
		if best+1 < parts {
			join[best] = v.find(word[start[best]:start[best+2]])
		}
		if best > 0 {
			join[best-1] = v.find(word[start[best-1]:start[best+1]])
		}
	}
	for i := 0; i < parts; i++ {
		ids = append(ids, v.find(word[start[i]:start[i+1]]))
	}
	return ids
}

// joinLong appends the ids of a word of any length, the same ones as joinShort, in time that grows as n log n: the possible joins
// wait in a priority queue, and each join that is made changes only those of its two neighbours.
func (v *vocabulary) joinLong(ids []int, word string) []int {
	type part struct {
		previous, end int // where the part before it starts, where it ends
		join          int // the id of this part and the one after it as one, or noToken
	}
	parts := make([]part, len(word)) // by their first byte
	for i := range parts {
		parts[i] = part{i - 1, i + 1, noToken}
	}
	var queue joinQueue
	consider := func(i int) {
		parts[i].join = noToken
		if end := parts[i].end; end < len(word) {
			parts[i].join = v.find(word[i:parts[end].end])
		}
		if parts[i].join != noToken {
			queue.push(uint64(parts[i].join)<<48 | uint64(i))
		}
	}
	for i := range parts {
		consider(i)
	}
	for len(queue) > 0 {
		next := queue.pop()
		id, i := int(next>>48), int(next&(1<<48-1))
		if parts[i].join != id {
			continue // the part or its neighbour has been joined otherwise since
		}
		swallowed := parts[i].end
		parts[swallowed].join = noToken
		parts[i].end = parts[swallowed].end
		if parts[i].end < len(word) {
			parts[parts[i].end].previous = i
		}
		consider(i)
		if i > 0 {
			consider(parts[i].previous)
		}
	}
	for i := 0; i < len(word); i = parts[i].end {
		ids = append(ids, v.find(word[i:parts[i].end]))
	}
	return ids
}

// joinQueue is a binary heap, the smallest element first. An element is a possible join: the id that it makes in the upper 16 bits,
// the position in the word in the lower 48, so that the order is the lowest id first and the leftmost of equals.
type joinQueue []uint64

func (q *joinQueue) push(x uint64) {
	*q = append(*q, x)
	h, i := *q, len(*q)-1
	for i > 0 && x < h[(i-1)/2] {
		h[i] = h[(i-1)/2]
		i = (i - 1) / 2
	}
	h[i] = x
}

func (q *joinQueue) pop() uint64 {
	h := *q
	top, x := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	*q = h
	for i := 0; i < len(h); {
		child := 2*i + 1
		if child+1 < len(h) && h[child+1] < h[child] {
			child++
		}
		if child >= len(h) || x <= h[child] {
			h[i] = x
			break
		}
		h[i] = h[child]
		i = child
	}
	return top
}

// vocabulary holds the tokens other than <|endoftext|>, and finds the id of given bytes in an open-addressed hash table.
type vocabulary struct {
	bytes string                // of all tokens, in the order of their ids
	start [endOfText + 1]uint32 // token id is bytes[start[id]:start[id+1]]
	slots [1 << slotBits]uint16 // id+1, or 0 where empty; three of eight are taken
}

const slotBits = 17

// loadVocabulary reads the embedded file, once, when the first text or token is asked for.
var loadVocabulary = sync.OnceValue(buildVocabulary)

func buildVocabulary() *vocabulary {
	v := new(vocabulary)
	bytes := make([]byte, 0, len(vocabFile))
	var byteOf [256 + 68]byte // of the characters in vocab.bpe
	id, moved := 0, rune(256)
	for b := 0; b < 256; b++ {
		if printable(b) {
			byteOf[b] = byte(b)
			bytes = append(bytes, byte(b))
			id++
			v.start[id] = uint32(len(bytes))
		}
	}
	for b := 0; b < 256; b++ {
		if !printable(b) {
			byteOf[moved] = byte(b)
			moved++
			bytes = append(bytes, byte(b))
			id++
			v.start[id] = uint32(len(bytes))
		}
	}
	_, joins, _ := strings.Cut(vocabFile, "\n") // the first line is the version
	for _, r := range joins {
		switch r {
		case ' ':
		case '\n':
			id++
			v.start[id] = uint32(len(bytes))
		default:
			bytes = append(bytes, byteOf[r])
		}
	}
	v.bytes = string(bytes)
	for id := 0; id < endOfText; id++ {
		i := hash(v.token(id))
		for v.slots[i] != 0 {
			i = (i + 1) % uint32(len(v.slots))
		}
		v.slots[i] = uint16(id + 1)
	}
	return v
}

// printable tells whether vocab.bpe writes a byte as itself, as its Latin-1 character.
func printable(b int) bool {
	return '!' <= b && b <= '~' || '¡' <= b && b <= '¬' || '®' <= b && b <= 'ÿ'
}

func (v *vocabulary) token(id int) string { return v.bytes[v.start[id]:v.start[id+1]] }

// find returns the id of the token that consists of these bytes, noToken if there is none.
func (v *vocabulary) find(token string) int {
	if len(token) > longestToken {
		return noToken
	}
	for i := hash(token); v.slots[i] != 0; i = (i + 1) % uint32(len(v.slots)) {
		if id := int(v.slots[i]) - 1; v.token(id) == token {
			return id
		}
	}
	return noToken
}

// hash is FNV-1a (Fowler, Noll and Vo), folded to the size of the table.
func hash(s string) uint32 {
	h := uint32(2166136261)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return (h>>slotBits ^ h) % (1 << slotBits)
}
