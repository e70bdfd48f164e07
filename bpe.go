package main

// Byte-level byte-pair encoding: GPT-2's map between text and token ids.
//
// Byte-pair encoding (Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words with Subword Units") learns a vocabulary
// by counting: start from single symbols, merge the most frequent adjacent pair of the training texts into one new symbol, repeat. The
// merges, in the order in which they were learnt, are the whole tokenizer: a word is encoded by splitting it into single symbols and
// repeating the merges in that order. GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2)
// takes the 256 bytes for its symbols, so that there is no text that it cannot encode, and first splits the text into words (splitWord
// below), so that no token mixes kinds of characters, as in "dog!".
//
// vocab.bpe lists 50,000 merges, one on each line: "Ġ t" merges " " and "t". To make the file printable, every byte is written as a
// character that can be seen: a byte that is a printable character of Latin-1 as that character, the 68 others as U+0100, U+0101, … in
// order (the space is the 33rd of them: Ġ, U+0120). The ids follow from the file and need no other:
//
//	0–255    the single bytes: first those printable in Latin-1, then the 68 others, each in order
//	256+i    the token that merge i makes; so a lower id is an earlier merge
//	50256    <|endoftext|>, which separated the training texts; encode never makes it: in a text it is 13 plain characters
//
// No two merges make the same token, and every token encoded by itself gives that one token (a test checks both). It follows that a
// table from a token's bytes to its id is all that encode needs. A word that is a token, as most words are, takes one look into it. And
// neighbours may be merged exactly if their bytes together are a token, whose id tells how early the merge comes.

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
	noToken      = vocabSize // greater than every id
	longestToken = 128       // in bytes
)

// encode returns the token ids of a text, which may be any bytes: a byte that is not part of valid UTF-8 counts as one character of the
// kind of U+FFFD (neither space nor letter nor number) and is kept as it is, so that decode(encode(text)) == text always holds.
// Like decode and token it is safe for concurrent use.
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

// decode returns the text that token ids stand for: the bytes of the tokens, one after the other.
func decode(ids []int) string {
	var text strings.Builder
	for _, id := range ids {
		text.WriteString(token(id))
	}
	return text.String()
}

// token returns the bytes of one token: a word with its leading space, or a part of one, sometimes only a part of a UTF-8 sequence.
// An id that is not in 0 … vocabSize-1 has no bytes: "".
func token(id int) string {
	switch {
	case id < 0 || id >= vocabSize:
		return ""
	case id == endOfText:
		return "<|endoftext|>"
	}
	return loadVocabulary().token(id)
}

// splitWord returns the length in bytes of the first word of a text that is not empty. It is GPT-2's regular expression
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// in which the first alternative that matches wins: the end of an English contraction; a run of letters, of numbers or of other
// characters, with one space (U+0020) before it; or white space. Of white space between words the last character is left for the next
// word, so that a space can join it: "a   b" is "a", "  ", " b". That is the meaning of \s+(?!\S), which gives one character back unless
// the text ends here. Where there is only one to give, the last alternative takes it.
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
	other   byte = iota // [^\s\p{L}\p{N}]
	letter              // \p{L}
	numeral             // \p{N}
	space               // \s: the Unicode property White_Space
)

// firstKind returns the kind of the first character of a text that is not empty, and its size in bytes.
func firstKind(text string) (kind byte, size int) {
	if c := text[0]; c < utf8.RuneSelf {
		return asciiKind[c], 1
	}
	r, size := utf8.DecodeRuneInString(text)
	return kindOf(r), size
}

var asciiKind = func() (kinds [utf8.RuneSelf]byte) {
	for c := range kinds {
		kinds[c] = kindOf(rune(c))
	}
	return kinds
}()

func kindOf(r rune) byte {
	switch {
	case unicode.IsLetter(r) || unicode.Is(newLetters, r):
		return letter
	case unicode.IsNumber(r) || unicode.Is(newNumbers, r):
		return numeral
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// appendWord appends the ids of one word.
func (v *vocabulary) appendWord(ids []int, word string) []int {
	if id := v.find(word); id != noToken {
		return append(ids, id)
	}
	if len(word) <= shortWord {
		return v.mergeShort(ids, word)
	}
	return v.mergeLong(ids, word)
}

// shortWord is the length in bytes up to which mergeShort is the faster one.
const shortWord = 48

// mergeShort appends the ids of a word of at most shortWord bytes by the definition of byte-pair encoding: of all neighbours that can be
// merged, merge those that make the lowest id, the leftmost of equals, until none can. Its time grows with the square of the length.
func (v *vocabulary) mergeShort(ids []int, word string) []int {
	var start [shortWord + 1]int // part i is word[start[i]:start[i+1]]
	var merged [shortWord]int    // the id of parts i and i+1 as one, or noToken
	parts := len(word)
	for i := 0; i <= parts; i++ {
		start[i] = i
	}
	for i := 0; i+1 < parts; i++ {
		merged[i] = v.find(word[i : i+2])
	}
	for parts > 1 {
		best := 0
		for i, id := range merged[:parts-1] {
			if id < merged[best] {
				best = i
			}
		}
		if merged[best] == noToken {
			break
		}
		copy(start[best+1:parts], start[best+2:parts+1])
		copy(merged[best:parts-2], merged[best+1:parts-1])
		parts--
		if best+1 < parts {
			merged[best] = v.find(word[start[best]:start[best+2]])
		}
		if best > 0 {
			merged[best-1] = v.find(word[start[best-1]:start[best+1]])
		}
	}
	for i := 0; i < parts; i++ {
		ids = append(ids, v.find(word[start[i]:start[i+1]]))
	}
	return ids
}

// mergeLong appends the ids of a word of any length, the same ones as mergeShort would, in time that grows as n log n: the possible
// merges wait in a priority queue, and a merge that is made changes only those with its two neighbours.
func (v *vocabulary) mergeLong(ids []int, word string) []int {
	type part struct {
		previous int // where the part before this one starts
		end      int // where this part ends, which is where the next one starts
		merged   int // the id of this part and the next as one, or noToken
	}
	parts := make([]part, len(word)) // by the position of their first byte
	for i := range parts {
		parts[i] = part{i - 1, i + 1, noToken}
	}
	var queue mergeQueue
	consider := func(i int) {
		parts[i].merged = noToken
		if end := parts[i].end; end < len(word) {
			parts[i].merged = v.find(word[i:parts[end].end])
		}
		if parts[i].merged != noToken {
			queue.push(uint64(parts[i].merged)<<48 | uint64(i))
		}
	}
	for i := range parts {
		consider(i)
	}
	for len(queue) > 0 {
		first := queue.pop()
		id, i := int(first>>48), int(first&(1<<48-1))
		if parts[i].merged != id {
			continue // this part or the next has since been merged otherwise
		}
		swallowed := parts[i].end
		parts[swallowed].merged = noToken
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

// mergeQueue is a binary heap with the smallest element first. An element is a possible merge: the id that it makes in the upper 16
// bits, its position in the word in the lower 48, so that the lowest id comes first, and of equal ids the leftmost.
type mergeQueue []uint64

func (q *mergeQueue) push(x uint64) {
	*q = append(*q, x)
	heap, i := *q, len(*q)-1
	for i > 0 && x < heap[(i-1)/2] {
		heap[i] = heap[(i-1)/2]
		i = (i - 1) / 2
	}
	heap[i] = x
}

// pop removes the first element of a queue that is not empty. The last one takes its place and sinks to where it belongs.
func (q *mergeQueue) pop() uint64 {
	n := len(*q) - 1
	first, x, heap := (*q)[0], (*q)[n], (*q)[:n]
	*q = heap
	for i := 0; i < n; {
		child := 2*i + 1
		if child+1 < n && heap[child+1] < heap[child] {
			child++
		}
		if child >= n || x <= heap[child] {
			heap[i] = x
			break
		}
		heap[i] = heap[child]
		i = child
	}
	return first
}

// vocabulary holds all tokens but <|endoftext|>. It finds the id of given bytes in a hash table with open addressing, which, unlike a map
// of strings, is built in about two milliseconds, so that a short text is encoded at once.
type vocabulary struct {
	bytes string                // of all tokens, in the order of their ids
	start [endOfText + 1]uint32 // token id is bytes[start[id]:start[id+1]]
	slots [1 << slotBits]uint16 // id+1, or 0 where empty; three of eight are taken
}

const slotBits = 17

// loadVocabulary builds the vocabulary when it is first asked for.
var loadVocabulary = sync.OnceValue(newVocabulary)

// newVocabulary reads vocab.bpe. The two halves of a merge stand side by side, so a line without its space is the token that it makes.
func newVocabulary() *vocabulary {
	v := new(vocabulary)
	bytes := make([]byte, 0, len(vocabFile))
	id := 0
	endToken := func() {
		id++
		v.start[id] = uint32(len(bytes))
	}

	var byteOf [256 + 68]byte // the byte that a character of the file stands for
	for b := 0; b < 256; b++ {
		if printable(b) {
			byteOf[b] = byte(b)
			bytes = append(bytes, byte(b))
			endToken()
		}
	}
	unseen := 256
	for b := 0; b < 256; b++ {
		if !printable(b) {
			byteOf[unseen] = byte(b)
			unseen++
			bytes = append(bytes, byte(b))
			endToken()
		}
	}

	_, merges, _ := strings.Cut(vocabFile, "\n") // the first line is a version
	for _, r := range merges {
		switch r {
		case ' ':
		case '\n':
			endToken()
		default:
			bytes = append(bytes, byteOf[r])
		}
	}
	v.bytes = string(bytes)

	for id := 0; id < endOfText; id++ {
		i := slotOf(v.token(id))
		for v.slots[i] != 0 {
			i = (i + 1) % uint32(len(v.slots))
		}
		v.slots[i] = uint16(id + 1)
	}
	return v
}

// printable tells whether vocab.bpe writes a byte as the Latin-1 character that it is. (U+00AD, left out, is the soft hyphen.)
func printable(b int) bool {
	return '!' <= b && b <= '~' || '¡' <= b && b <= '¬' || '®' <= b && b <= 'ÿ'
}

// token returns the bytes of token id, 0 ≤ id < endOfText.
func (v *vocabulary) token(id int) string { return v.bytes[v.start[id]:v.start[id+1]] }

// find returns the id of the token that consists of these bytes, noToken if there is none.
func (v *vocabulary) find(token string) int {
	if len(token) > longestToken {
		return noToken
	}
	for i := slotOf(token); v.slots[i] != 0; i = (i + 1) % uint32(len(v.slots)) {
		if id := int(v.slots[i]) - 1; v.token(id) == token {
			return id
		}
	}
	return noToken
}

// slotOf is FNV-1a (Fowler, Noll and Vo) in 32 bits, folded to an index of slots.
func slotOf(s string) uint32 {
	h := uint32(2166136261)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return (h>>slotBits ^ h) % (1 << slotBits)
}

// A tokenizer's \p{L} and \p{N} depend on the version of Unicode that it was built with. These are the letters and numbers that Unicode
// 15.1 and 16.0 added: Go's package unicode stands at 15.0 (in Go 1.22), OpenAI's tiktoken at 16.0. Characters of still later
// versions count as letters and numbers as soon as Go knows them, and do not before.
var (
	newLetters = &unicode.RangeTable{
		R16: []unicode.Range16{{0x1c89, 0x1c8a, 1}, {0xa7cb, 0xa7cd, 1}, {0xa7da, 0xa7dc, 1}},
		R32: []unicode.Range32{
			{0x105c0, 0x105f3, 1}, {0x10d4a, 0x10d65, 1}, {0x10d6f, 0x10d85, 1}, {0x10ec2, 0x10ec4, 1}, {0x11380, 0x11389, 1},
			{0x1138b, 0x1138e, 3}, {0x11390, 0x113b5, 1}, {0x113b7, 0x113d1, 26}, {0x113d3, 0x113d3, 1}, {0x11bc0, 0x11be0, 1},
			{0x13460, 0x143fa, 1}, {0x16100, 0x1611d, 1}, {0x16d40, 0x16d6c, 1}, {0x18cff, 0x18cff, 1}, {0x1e5d0, 0x1e5ed, 1},
			{0x1e5f0, 0x1e5f0, 1}, {0x2ebf0, 0x2ee5d, 1},
		},
	}
	newNumbers = &unicode.RangeTable{
		R32: []unicode.Range32{
			{0x10d40, 0x10d49, 1}, {0x116d0, 0x116e3, 1}, {0x11bf0, 0x11bf9, 1}, {0x16130, 0x16139, 1}, {0x16d70, 0x16d79, 1},
			{0x1ccf0, 0x1ccf9, 1}, {0x1e5f1, 0x1e5fa, 1},
		},
	}
)

// tokens are the texts of the tokens.
func tokens(ids []int) []string {
	t := make([]string, len(ids))
	for i, id := range ids {
		t[i] = token(id)
	}
	return t
}
