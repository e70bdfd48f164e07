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
// vocab.bpe lists 50,000 merges, one on each line: "Ġ t" merges " " and "t". To make the file
// printable, every byte is written as a character that can be seen: a byte that is a printable
// character of Latin-1 as that character, the 68 others as U+0100, U+0101, … in order (the space is
// the 33rd of them: Ġ, U+0120). The ids follow from the file and need no other:
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

// tokenTable is what vocab.bpe amounts to, laid out so that it is searched where it lies and a
// short text is encoded at once: slots, start and bytes of a bpe. TestTokenTable makes it.
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

	bytes string  // of GPT-2's tokens, in the order of their ids:
	start uint32s // token id is bytes[start[id]:start[id+1]]
	slots uint16s // ids by the hash of their bytes, plus 1; 0 is empty

	merges map[[2]int32]merged // another vocabulary's: what two tokens merge to,
	words  map[string]int32    // and its tokens by their bytes, where wholeWords is set

	wholeWords bool // a word that is a token is that token, however its merges go
	oneWord    bool // a text is not split into words
}

// encode returns the token ids of a text, which may be any bytes: a byte that is not part of valid
// UTF-8 counts as one character of the kind of U+FFFD (neither space nor letter nor number) and is
// kept as it is, so that the tokens' bytes one after the other are always the text again.
func (b *bpe) encode(text string) []int { return b.appendText(nil, text) }

// appendText appends the ids of a text. If there are none yet it makes room: English has about four
// bytes to a token. Of a long text there is room for any: what is not used is never touched, and
// nothing is copied.
func (b *bpe) appendText(ids []int, text string) []int {
	if ids == nil && len(text) > 1<<20 {
		ids = make([]int, 0, len(text))
	} else if ids == nil {
		ids = make([]int, 0, len(text)/4+1)
	}
	var m merger // which all long words share
	for len(text) > 0 {
		n := len(text)
		if !b.oneWord {
			n = splitWord(text)
		}
		word := text[:n]
		text = text[n:]
		if b.wholeWords {
			if id := b.find(word); id != noToken {
				ids = append(ids, int(id))
				continue
			}
		}
		if n <= shortWord {
			ids = b.mergeShort(ids, word)
		} else {
			ids = b.mergeLong(&m, ids, word, mergeWindow)
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

// shortWord is the length in bytes up to which mergeShort is the faster one.
const shortWord = 48

// mergeShort appends the ids of a word of at most shortWord bytes by the definition of byte-pair
// encoding: of all neighbours that can be merged, merge those of the lowest rank, the leftmost of
// equals, until none can. Its time grows with the square of the length.
func (b *bpe) mergeShort(ids []int, word string) []int {
	// Bytes do for the positions. A larger frame would have Go enlarge the stack of a program that
	// has just begun, which takes longer than encoding a sentence.
	var start [shortWord + 1]uint8 // part i is word[start[i]:start[i+1]]
	var id [shortWord]int32        // its token
	var next [shortWord]merged     // what parts i and i+1 merge to
	parts := len(word)
	for i := 0; i < parts; i++ {
		start[i+1] = uint8(i + 1)
		id[i] = b.letters[word[i]]
	}
	for i := 0; i+1 < parts; i++ {
		next[i] = b.merge(id[i], id[i+1], word[i:i+2])
	}
	for parts > 1 {
		best := 0
		for i := range next[:parts-1] {
			if next[i].rank < next[best].rank {
				best = i
			}
		}
		if next[best].rank == noToken {
			break
		}
		id[best] = next[best].id
		copy(start[best+1:parts], start[best+2:parts+1])
		copy(id[best+1:parts-1], id[best+2:parts])
		copy(next[best:parts-2], next[best+1:parts-1])
		parts--
		if best+1 < parts {
			next[best] = b.merge(id[best], id[best+1], word[start[best]:start[best+2]])
		}
		if best > 0 {
			next[best-1] = b.merge(id[best-1], id[best], word[start[best-1]:start[best+1]])
		}
	}
	for _, token := range id[:parts] {
		ids = append(ids, int(token))
	}
	return ids
}

// mergeWindow is how much of a long word is merged at a time, in bytes.
const mergeWindow = 1 << 16

// mergeLong appends the ids of a word of any length, the same ones as mergeShort would, in time
// that grows as n log n and in memory that hardly grows: only a window of the word is merged at a
// time. The next window begins with a token near the end of the last one. That is exact where
// the next window, too, makes a boundary behind that token's bytes. For let a word be a·b·c, let
// merging a·b never cross the boundary between a and b, and merging b·c never the one between b
// and c. Then of the merges that are possible in a·b·c, the first is also the first that is
// possible in a·b, or in b·c, or, within b, in both: so it crosses neither boundary, and what
// remains is such a word again. Where a window lacks that boundary, all is
// done again with larger ones.
func (b *bpe) mergeLong(m *merger, ids []int, word string, window int) []int {
	done := len(ids)
	for rest, shared := word, 0; ; {
		n := min(window, len(rest))
		m.merge(b, rest[:n])
		start := m.boundary(n - n/8)
		end := m.boundary(start + 1)
		switch {
		case m.boundary(shared) != shared || end == n && n < len(rest):
			return b.mergeLong(m, ids[:done], word, 2*window)
		case n == len(rest):
			return m.appendIDs(ids, n)
		}
		ids = m.appendIDs(ids, start)
		rest, shared = rest[start:], end-start
	}
}

// merger merges a word: the possible merges wait in a priority queue, and a merge that is made
// changes only those with its two neighbours.
type merger struct {
	parts []mergePart // by the position of their first byte
	queue mergeQueue
}

type mergePart struct {
	previous int32  // where the part before this one starts
	end      int32  // where this part ends, which is where the next one starts
	id       int32  // its token
	next     merged // what this part and the next one merge to
}

// merge merges the bytes of word until no more can be.
func (m *merger) merge(b *bpe, word string) {
	m.parts = slices.Grow(m.parts[:0], len(word))[:len(word)]
	for i := range m.parts {
		m.parts[i] = mergePart{int32(i) - 1, int32(i) + 1, b.letters[word[i]], merged{}}
	}
	for i := range m.parts {
		m.consider(b, word, int32(i))
	}
	for len(m.queue) > 0 {
		first := m.queue.pop()
		rank, i := int32(first>>32), int32(first)
		p := &m.parts[i]
		if p.next.rank != rank {
			continue // this part or the next has since been merged otherwise
		}
		p.id = p.next.id
		swallowed := &m.parts[p.end]
		swallowed.next.rank = noToken
		p.end = swallowed.end
		if int(p.end) < len(word) {
			m.parts[p.end].previous = i
		}
		m.consider(b, word, i)
		if i > 0 {
			m.consider(b, word, p.previous)
		}
	}
}

// consider puts what the part at i and the next one merge to into the queue.
func (m *merger) consider(b *bpe, word string, i int32) {
	p := &m.parts[i]
	p.next.rank = noToken
	if int(p.end) == len(word) {
		return
	}
	q := &m.parts[p.end]
	p.next = b.merge(p.id, q.id, word[i:q.end])
	if p.next.rank != noToken {
		m.queue.push(uint64(p.next.rank)<<32 | uint64(i))
	}
}

// boundary returns where the first part begins that begins at position i or later; the word's end
// where none does.
func (m *merger) boundary(i int) int {
	at := 0
	for at < min(i, len(m.parts)) {
		at = int(m.parts[at].end)
	}
	return at
}

// appendIDs appends the tokens of the parts before position end.
func (m *merger) appendIDs(ids []int, end int) []int {
	for i := 0; i < end; i = int(m.parts[i].end) {
		ids = append(ids, int(m.parts[i].id))
	}
	return ids
}

// mergeQueue is a binary heap with the smallest element first. An element is a possible merge: its
// rank in the upper 32 bits, its position in the word in the lower ones, so that the lowest rank
// comes first, and of equal ranks the leftmost.
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

// pop removes the first element of a queue that is not empty. The last one takes its place and
// sinks to where it belongs.
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

// slotBits makes the hash table of GPT-2's vocabulary so large that three of eight slots are
// taken.
const slotBits = 17

// gpt2BPE is GPT-2's own.
var gpt2BPE = sync.OnceValue(func() *bpe {
	const slots, start = 2 << slotBits, 4 * vocabSize // bytes
	b := &bpe{
		slots:      uint16s(tokenTable[:slots]),
		start:      uint32s(tokenTable[slots : slots+start]),
		bytes:      tokenTable[slots+start:],
		wholeWords: true,
	}
	for id := range b.letters {
		b.letters[b.token(id)[0]] = int32(id)
	}
	return b
})

// uint16s and uint32s are numbers that lie in a file, the lower bytes first.
type (
	uint16s string
	uint32s string
)

func (s uint16s) at(i int) int { return int(s[2*i]) | int(s[2*i+1])<<8 }

func (s uint32s) at(i int) int {
	s = s[4*i : 4*i+4]
	return int(s[0]) | int(s[1])<<8 | int(s[2])<<16 | int(s[3])<<24
}

// byteOfLetter returns the byte that a character stands for in a vocabulary's files: a printable
// character of Latin-1 for the byte that it is there (U+00AD, left out, is the soft hyphen), U+0100
// and on for the 68 other bytes. ok is false for any other character.
func byteOfLetter(r rune) (b byte, ok bool) {
	switch {
	case '!' <= r && r <= '~', '¡' <= r && r <= '¬', '®' <= r && r <= 'ÿ':
		return byte(r), true
	case 0x100 <= r && r <= 0x120: // 0 to the space
		return byte(r - 0x100), true
	case 0x121 <= r && r <= 0x142: // delete, 0x7f, to the no-break space, 0xa0
		return byte(r - 0x121 + 0x7f), true
	case r == lastByteLetter: // the soft hyphen
		return 0xad, true
	}
	return 0, false
}

const lastByteLetter = 0x143

// token returns the bytes of one token: a word with its leading space, or a part of one, sometimes
// only a part of a UTF-8 sequence. An id that is no token's has none: "".
func (b *bpe) token(id int) string {
	if id < 0 || id >= len(b.start)/4-1 {
		return ""
	}
	return b.bytes[b.start.at(id):b.start.at(id+1)]
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
		id := b.slots.at(i) - 1
		if id < 0 {
			return noToken
		}
		if b.token(id) == token {
			return int32(id)
		}
	}
}

// slotOf is FNV-1a (Fowler, Noll and Vo) in 32 bits, folded to an index of slots.
func slotOf(s string) int {
	h := uint32(2166136261)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return int((h>>slotBits ^ h) % (1 << slotBits))
}
