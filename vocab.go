package main

// Vocabularies beside the weights: a GPT-2 of another language has a byte-level BPE of its own, in
// the files of Hugging Face's tokenizers:
//
//	tokenizer.json            everything in one: tokens, merges, and how texts are cut
//	vocab.json, merges.txt    the older form: {"token": id, …}, and a merge on each line
//	added_tokens.json         tokens that were added later: {"token": id, …}
//	tokenizer_config.json, special_tokens_map.json, config.json    which token is which, and rules
//
// or, of characters, in the meta.pkl of nanoGPT. Tokens are spelt in the letters of vocab.bpe, one
// for each byte (bpe.go), but the ids are not the order of the merges, two merges can make the same
// token, and no merge makes tokens such as <s>. What the files say is computed exactly as the
// libraries do, or refused by name: a text that is cut in another way than the model was trained on
// gives numbers that are wrong without a sign of it. One thing is taken more literally: a special
// token's characters in a text are plain text, as OpenAI's own tokenizer has it, unless -special
// asks for the token.

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// tokenizer maps texts to token ids and back, as a model was trained. It is safe for concurrent
// use.
type tokenizer struct {
	vocabulary func() *vocabulary // is read when it is first needed
	rows       int                // of the model's embedding: ids end before it
	textRules
}

// textRules are what the command line says about texts.
type textRules struct {
	numbers  bool   // they are token ids (-ids)
	bosFirst bool   // each begins with the token for that (-bos)
	special  bool   // special tokens are found in them (-special)
	reading  string // which of two readings of a vocabulary counts: "file", "class" (-tokenizer)
}

// gpt2 is GPT-2's own tokenizer.
var gpt2 = &tokenizer{rows: vocabSize, vocabulary: sync.OnceValue(func() *vocabulary {
	v := &vocabulary{vocabularySpec: vocabularySpec{Base: gpt2Base}, rows: vocabSize}
	v.build()
	return v
})}

// newTokenizer is the tokenizer of a model with so many rows of embedding: what its metadata say,
// else the files in its folder, either of which may be empty. They are read later, and refused
// tells what is wrong with them.
func newTokenizer(folder string, meta map[string]string, rows int) *tokenizer {
	t := &tokenizer{rows: rows}
	t.vocabulary = sync.OnceValue(func() *vocabulary {
		v := &vocabulary{rows: rows}
		if err := caught(func() {
			v.read(folder, meta, t.reading)
			v.build()
		}); err != nil {
			v.refuse(err)
		}
		return v
	})
	return t
}

// obeys has the tokenizer of a model with so many rows obey the command line. It is called before
// the first text.
func (t *tokenizer) obeys(rules textRules, rows int) (*tokenizer, error) {
	if t == gpt2 {
		t = &tokenizer{vocabulary: t.vocabulary, rows: rows}
	}
	t.textRules = rules
	if err := t.refused(); err != nil {
		return nil, err
	}
	switch bos := t.vocabulary().bos; {
	case rules.bosFirst && bos == noToken:
		return nil, errors.New("-bos: nothing beside the weights says which token begins a text, " +
			"or the class of tokenizer and config.json's bos_token_id say two")
	case rules.bosFirst && (bos < 0 || bos >= rows):
		return nil, fmt.Errorf("-bos: the token that begins a text has the id %d, but the model "+
			"has %d tokens", bos, rows)
	}
	return t, nil
}

// refused is nil, or why texts cannot be encoded: one line that names the file.
func (t *tokenizer) refused() error {
	err := t.vocabulary().refused
	if err == nil || t.numbers {
		return nil
	}
	return fmt.Errorf("%w; with -ids the texts and answers are token ids", err)
}

// encode returns the token ids of a whole text, with what stands before it where that is asked for.
func (t *tokenizer) encode(text string) ([]int, error) {
	v := t.vocabulary()
	ids, err := t.encodePart(text, v.PrefixSpace)
	switch {
	case err != nil || t.numbers:
		return ids, err
	case len(v.Before) > 0:
		return slices.Concat(v.Before, ids), nil
	case t.bosFirst:
		return slices.Insert(ids, 0, v.bos), nil
	}
	return ids, nil
}

// encodeWord returns the token ids of a text, such as an answer, by itself.
func (t *tokenizer) encodeWord(text string) ([]int, error) { return t.encodePart(text, false) }

// encodePart returns the token ids of a text, which with space begins with one.
func (t *tokenizer) encodePart(text string, space bool) (ids []int, err error) {
	if t.numbers {
		return parseIDs(text, t.rows)
	}
	defer catchFault(&err)
	v := t.vocabulary()
	if v.refused != nil {
		return nil, v.refused
	}
	for _, token := range sortedKeys(v.Unsure) {
		if t.special && strings.Contains(text, token) {
			fail("-special: the text holds %s, which %s; with -ids the texts and answers are "+
				"token ids", quote(token), v.Unsure[token])
		}
	}
	sets := v.added[:]
	if v.plain && !t.special {
		sets = nil
	}
	return v.appendAround(nil, text, space, t.special, sets), nil
}

// token returns the bytes of one token, "#50300" for an id that has none. With -ids, GPT-2's tokens
// do not name those of a model that has fewer, and no vocabulary beside it.
func (t *tokenizer) token(id int) string {
	v := t.vocabulary()
	foreign := t.numbers && v.file == "" && v.refused == nil && t.rows < endOfText
	if text := v.token(id); text != "" && !foreign {
		return text
	}
	return "#" + strconv.Itoa(id)
}

func (t *tokenizer) tokens(ids []int) []string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = t.token(id)
	}
	return texts
}

// notes tell what a user may not expect of a text's tokens.
func (t *tokenizer) notes(text string) (notes []string) {
	if t.numbers {
		return nil
	}
	v, seen := t.vocabulary(), []int{}
	for i := 0; i < len(text) && !t.special && len(seen) < 5; i++ { // tokens are enough
		for _, set := range v.added {
			a := longestAt(text[i:], set)
			if a == nil || !a.Special || slices.Contains(seen, a.ID) {
				continue
			}
			seen = append(seen, a.ID)
			notes = append(notes, fmt.Sprintf("it holds the characters %s, which are plain text "+
				"here, not token %d: with -special they are the token, with -ids the text is "+
				"written in token ids", a.Content, a.ID))
		}
	}
	if strings.HasSuffix(text, " ") && v.Base != characterBase {
		notes = append(notes, "it ends in a space, but a word's token begins with its space, so "+
			"the next token is hardly a word: leave the space out")
	}
	return notes
}

// notesOnModel tell that a model's vocabulary is hardly the one that its texts are cut by.
func (t *tokenizer) notesOnModel() []string {
	if t.numbers || t.rows >= endOfText || t.vocabulary().slots == "" {
		return nil
	}
	return []string{fmt.Sprintf("texts are cut by GPT-2's vocabulary of %d tokens, but the model "+
		"has %d: a vocabulary of its own belongs beside the weights", vocabSize, t.rows)}
}

// metadata is what a converted file carries of the vocabulary, to be read by newTokenizer again.
func (t *tokenizer) metadata() map[string]string {
	s := encodeJSON(t.vocabulary().vocabularySpec)
	if s == "{}" { // nothing is known: what a text is cut by is to be a guess again
		return nil
	}
	return map[string]string{metaTokenizer: s}
}

// metaTokenizer is the key of the vocabulary in a safetensors file's metadata.
const metaTokenizer = "tokenizer"

// parseIDs reads token ids of a model with so many rows: "15496 995", "[15496, 995]" or "#995".
func parseIDs(text string, rows int) ([]int, error) {
	split := func(r rune) bool { return strings.ContainsRune(" \t\r\n,[]", r) }
	var ids []int
	for _, word := range strings.FieldsFunc(text, split) {
		id, err := strconv.Atoi(strings.TrimPrefix(word, "#"))
		if err != nil || id < 0 || id >= rows {
			return nil, fmt.Errorf("%s is not a token id: with -ids, texts and answers are "+
				"numbers from 0 to %d", quote(word), rows-1)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// vocabulary is what the files say and what is made of it.
type vocabulary struct {
	vocabularySpec
	*bpe
	rows    int             // ids of the model end before it
	named   map[int]string  // the tokens that are not GPT-2's
	added   [2][]addedToken // all of them by their texts, those that are looked for last behind
	plain   bool            // unless special tokens are looked for, none of them is
	bos     int             // the token that begins a text, noToken where none is known
	refused error           // why no text is encoded: then it only names tokens
}

// token returns the bytes of a token, "" where an id has none.
func (v *vocabulary) token(id int) string {
	if text, ok := v.named[id]; ok {
		return text
	}
	return v.bpe.token(id)
}

// appendAround appends the ids of a text in which added tokens are looked for before anything else:
// those of the first set, from left to right and the longest where several begin, then, in what
// remains, those of the next. Where special is false a special token is found, but stays plain
// text. A byte that the vocabulary has no token for is a fault.
func (v *vocabulary) appendAround(
	ids []int, text string, space, special bool, sets [][]addedToken,
) []int {
	if len(sets) == 0 {
		for i := range len(text) {
			if v.letters[text[i]] == noToken {
				fail("%s has no token for the byte 0x%02X, as in %q", v.file, text[i],
					text[max(0, i-4):min(len(text), i+4)])
			}
		}
		if space && text != "" && text[0] != ' ' {
			text = " " + text
		}
		return v.appendText(ids, text)
	}
	plain := 0 // where the text begins that is not yet encoded
	for i := 0; i < len(text); {
		a := longestAt(text[i:], sets[0])
		if a == nil {
			i++
			continue
		}
		before := text[plain:i]
		i += len(a.Content)
		switch {
		case a.Special && !special:
			continue
		case a.SingleWord || a.LStrip || a.RStrip:
			fail("the text holds %q, an added token with rules of its own in %s (single_word, "+
				"lstrip, rstrip), which are not supported here", a.Content, v.file)
		case a.ID >= v.rows:
			fail("the text holds %q, token %d, but the model has %d rows: the tokenizer was given "+
				"tokens after the model was trained (resize_token_embeddings)", a.Content, a.ID,
				v.rows)
		}
		ids = append(v.appendAround(ids, before, space, special, sets[1:]), a.ID)
		plain = i
	}
	return v.appendAround(ids, text[plain:], space, special, sets[1:])
}

// longestAt returns the longest token that the text begins with, nil for none. The tokens are in
// the order of their texts. So of those that are not behind the text the last begins with whatever
// the text begins with: if it is not what is looked for, that begins both.
func longestAt(text string, tokens []addedToken) (longest *addedToken) {
	for n := 0; len(tokens) > 0; n++ { // all of them begin with text[:n]
		if len(tokens[0].Content) == n {
			longest, tokens = &tokens[0], tokens[1:]
		}
		if n == len(text) {
			break
		}
		from := func(c int) int { // where those begin whose next byte is c or more
			return sort.Search(len(tokens), func(i int) bool {
				return int(tokens[i].Content[n]) >= c
			})
		}
		tokens = tokens[from(int(text[n])):from(int(text[n])+1)]
	}
	return longest
}

// vocabularySpec is what the files say, and in JSON what a converted file's metadata carry.
type vocabularySpec struct {
	Base        string         `json:"base,omitempty"`  // gpt2Base, characterBase
	Vocab       map[string]int `json:"vocab,omitempty"` // in byte letters; none: the base's
	Merges      []mergePair    `json:"merges,omitempty"`
	Added       []addedToken   `json:"added_tokens,omitempty"`
	Before      []int          `json:"before,omitempty"` // stand before every text
	BOS         *int           `json:"bos,omitempty"`
	PrefixSpace bool           `json:"add_prefix_space,omitempty"` // or the text begins with one
	OneWord     bool           `json:"one_word,omitempty"`
	WholeWords  bool           `json:"ignore_merges,omitempty"`
	Refused     string         `json:"refused,omitempty"`

	// Unsure are texts that are special tokens to transformers, or not, otherwise than here, and
	// why: a text that holds one is refused where special tokens are looked for.
	Unsure map[string]string `json:"unsure,omitempty"`

	file string // where it was read, "" for GPT-2's own; what reading fails with is about it
}

// What a spec calls GPT-2's own tokens and merges, and a vocabulary of added tokens alone.
const gpt2Base, characterBase = "GPT-2", "characters"

// addedToken is a token that stands beside the BPE.
type addedToken struct {
	ID         int    `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word,omitempty"`
	LStrip     bool   `json:"lstrip,omitempty"`
	RStrip     bool   `json:"rstrip,omitempty"`
	Normalized bool   `json:"normalized,omitempty"` // looked for after those that are not
	Special    bool   `json:"special,omitempty"`
}

func asAddedToken(v any, path string) addedToken {
	o := as[map[string]any](v, path)
	is := func(key string) bool { return as[bool](o[key], key) }
	return addedToken{asInt(o["id"], "id"), as[string](o["content"], "content"),
		is("single_word"), is("lstrip"), is("rstrip"), is("normalized"), is("special")}
}

func byID(a, b addedToken) int { return cmp.Compare(a.ID, b.ID) }

// mergePair is a merge: "a b" or ["a", "b"].
type mergePair [2]string

func asMerge(v any, path string) mergePair {
	line, isLine := v.(string)
	halves := strings.Split(line, " ")
	if !isLine {
		halves = asList(v, path, as[string])
	}
	if len(halves) != 2 {
		fail("%s: a merge that is not two tokens: %s", path, quote(fmt.Sprint(v)))
	}
	return mergePair(halves)
}

// read reads what a model's metadata say of its vocabulary, else the files in its folder; GPT-2's
// where there are none. What it has read where it fails names tokens all the same.
func (s *vocabularySpec) read(folder string, meta map[string]string, reading string) {
	if carried, ok := meta[metaTokenizer]; ok {
		s.file = "the model's metadata"
		if err := json.Unmarshal([]byte(carried), s); err != nil { // which wrote it
			fail("not a vocabulary of this program's: convert the model again")
		}
		if s.Refused != "" {
			s.file = "" // which that names
			fail("%s", s.Refused)
		}
		return
	}
	if folder == "" {
		return
	}
	c := s.readConfig(folder)
	has := func(name string) bool { return isFile(filepath.Join(folder, name)) }
	switch {
	case has("tokenizer.json"):
		s.readTokenizerJSON(c, reading)
	case has("vocab.json") && has("merges.txt"):
		s.readVocabAndMerges(c)
	case has("meta.pkl"):
		s.readCharacters(folder)
	default:
		s.lookAround(c)
	}
}

const (
	mostTokens       = 1 << 22
	largestTokenizer = 32 << 20 // bounds the files: those of 50,000 tokens have 2 MB
)

// readFile reads a file of a folder; nil where there is none.
func (s *vocabularySpec) readFile(folder, name string) []byte {
	s.file = filepath.Join(folder, name)
	data, err := readBounded(s.file, largestTokenizer)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	refusePointer(data)
	return get(data, reason(err))
}

func (s *vocabularySpec) readJSON(folder, name string) map[string]any {
	if data := s.readFile(folder, name); data != nil {
		return get(parseJSON(data))
	}
	return nil
}

// tokenizerConfig is what decides the ids of a plain text in config.json, special_tokens_map.json,
// tokenizer_config.json and added_tokens.json.
type tokenizerConfig struct {
	folder  string
	said    map[string]any         // in the first three, of which the last has the last word
	special [2]map[string][]string // the tokens that each key of the last two makes special
	class   string                 // of tokenizer that transformers makes, without "Fast", or ""
	bos     string
	names   map[string]bool // of special tokens
	later   map[string]int  // added_tokens.json
	added   []addedToken    // added_tokens_decoder, else added_tokens.json
}

func (s *vocabularySpec) readConfig(folder string) *tokenizerConfig {
	c := &tokenizerConfig{folder: folder, said: map[string]any{}}
	for i, name := range []string{
		"config.json", "special_tokens_map.json", "tokenizer_config.json",
	} {
		special := map[string][]string{}
		for key, value := range s.readJSON(folder, name) {
			special[key] = tokensNamed(key, value)
			if value != nil {
				c.said[key] = value
			}
		}
		c.special[max(0, i-1)] = special
		c.understand()
	}
	if c.standard("bos_token", "eos_token", "unk_token") {
		c.names[standardToken] = true
	}
	c.later = asMap(s.readJSON(folder, "added_tokens.json"), "added_tokens", asInt)
	if !c.has("added_tokens_decoder") {
		for content, id := range c.later {
			c.added = append(c.added, addedToken{ID: id, Content: content, Normalized: true})
		}
	}
	slices.SortFunc(c.added, byID)
	return c
}

// understand reads what was said so far, so that what is wrong is known by the last file.
func (c *tokenizerConfig) understand() {
	c.class = as[string](c.said["tokenizer_class"], "tokenizer_class")
	if c.class == "" && c.said["model_type"] == "gpt2" {
		c.class = "GPT2Tokenizer"
	}
	c.class = strings.TrimSuffix(c.class, "Fast")
	for _, key := range []string{"add_prefix_space", "add_bos_token", "add_eos_token"} {
		as[bool](c.said[key], key)
	}
	c.names = map[string]bool{}
	for _, key := range []string{additional, "pad_token", "unk_token", "eos_token", "bos_token"} {
		named := tokensNamed(key, c.said[key])
		require(key == additional || !c.has(key) || len(named) == 1,
			"%s: neither text nor a token", key)
		for _, name := range named {
			c.names[name] = true
		}
	}
	c.bos = strings.Join(tokensNamed("bos_token", c.said["bos_token"]), "")
	const decoder = "added_tokens_decoder"
	c.added = nil
	for key, a := range asMap(c.said[decoder], decoder, asAddedToken) {
		id, err := strconv.Atoi(key)
		require(err == nil, "%s: %s is not a token id", decoder, quote(key))
		a.ID = id
		c.added = append(c.added, a)
	}
}

func (c *tokenizerConfig) is(key string) bool  { return c.said[key] == true }
func (c *tokenizerConfig) has(key string) bool { return c.said[key] != nil }

// rebuilds tells whether the class is one that in transformers 5 rebuilds a byte-level BPE of a
// tokenizer.json's tokens and merges; plain, whether it is one of those or takes the file as it is.
func (c *tokenizerConfig) rebuilds() bool {
	return c.class == "GPT2Tokenizer" || c.class == "CodeGenTokenizer"
}

func (c *tokenizerConfig) plain() bool {
	others := []string{"", "PreTrainedTokenizer", "TokenizersBackend"}
	return c.rebuilds() || slices.Contains(others, c.class)
}

// standardToken is the bos_token, eos_token and unk_token of the rebuilding classes where no file
// says another or null.
const standardToken = "<|endoftext|>"

// standard tells whether one of these keys is left to the class. What special_tokens_map.json says
// does not count beside an added_tokens_decoder.
func (c *tokenizerConfig) standard(keys ...string) bool {
	left := func(key string) bool {
		_, inMap := c.special[0][key]
		_, inConfig := c.special[1][key]
		return !inConfig && (!inMap || c.has("added_tokens_decoder"))
	}
	return c.rebuilds() && slices.ContainsFunc(keys, left)
}

const additional = "additional_special_tokens"

// tokensNamed are the tokens that a key of a configuration makes special: one, "<s>" or {"content":
// "<s>", …}, or a list, or an object of them by names.
func tokensNamed(key string, value any) (tokens []string) {
	lists := []string{additional, "extra_special_tokens", "model_specific_special_tokens"}
	if !strings.HasSuffix(key, "_token") && !slices.Contains(lists, key) {
		return nil
	}
	switch value := value.(type) {
	case string:
		tokens = append(tokens, value)
	case []any:
		for _, inner := range value {
			tokens = append(tokens, tokensNamed(key, inner)...)
		}
	case map[string]any:
		if content, ok := value["content"].(string); ok {
			return []string{content}
		}
		for _, name := range sortedKeys(value) {
			tokens = append(tokens, tokensNamed(key, value[name])...)
		}
	}
	return tokens
}

// readVocabAndMerges reads the older form.
func (s *vocabularySpec) readVocabAndMerges(c *tokenizerConfig) {
	s.Vocab = asMap(s.readJSON(c.folder, "vocab.json"), "vocab", asInt)
	require(len(s.Vocab) > 0, "it holds no tokens")
	s.Merges = parseMerges(string(s.readFile(c.folder, "merges.txt")))
	s.PrefixSpace = c.is("add_prefix_space")
	s.file = filepath.Join(c.folder, "tokenizer_config.json")
	bos, hasBOS := s.Vocab[c.bos]
	switch {
	case !c.plain():
		fail("tokenizer_class is %s, which cuts texts in another way than GPT-2's",
			shorten(c.class))
	case c.is("add_eos_token"):
		fail("add_eos_token asks for a token behind every text: not supported")
	case c.is("add_bos_token") && !hasBOS:
		fail("add_bos_token is true, but bos_token, %s, is not in vocab.json", quote(c.bos))
	case c.is("add_bos_token"):
		s.Before = []int{bos}
	}
	s.file = filepath.Join(c.folder, "vocab.json")
	s.addTokens(c, nil)
}

// lookAround finds a folder's vocabulary of another kind, or under another name, or none.
func (s *vocabularySpec) lookAround(c *tokenizerConfig) {
	s.Vocab = asMap(s.readJSON(c.folder, "vocab.json"), "vocab", asInt)
	find := func(patterns string) string {
		for _, pattern := range strings.Fields(patterns) {
			names, _ := fs.Glob(os.DirFS(c.folder), pattern)
			if len(names) > 0 {
				return names[0]
			}
			// Beside the checkpoint-500 of a Trainer's:
			if path := filepath.Join(c.folder, pattern); pattern[0] == '.' && isFile(path) &&
				strings.HasPrefix(filepath.Base(c.folder), "checkpoint-") {
				return pattern
			}
		}
		return ""
	}
	other := find("spiece.model tokenizer.model sentencepiece.bpe.model spm.model vocab.txt")
	named := find("*-vocab.json *.tokenizer.json encoder.json vocab.bpe tokenizer/*.json " +
		"../tokenizer.json ../vocab.json")
	switch s.file = c.folder; {
	case other != "":
		fail("%s is a vocabulary of SentencePiece or WordPiece, not a byte-level BPE", other)
	case named != "":
		fail("%s may be its vocabulary, which is read as tokenizer.json, or vocab.json and "+
			"merges.txt, beside the weights", quote(named))
	case !c.plain():
		fail("the model was made for a %s, and no vocabulary lies beside it", shorten(c.class))
	case find("vocab.json merges.txt") != "":
		fail("vocab.json and merges.txt are a byte-level BPE only together")
	}
	s.Vocab = nil
	s.addTokens(c, nil)
	s.file = ""
}

// readCharacters reads nanoGPT's meta.pkl, a vocabulary of characters: a dict with a dict stoi from
// each of them to its id.
func (s *vocabularySpec) readCharacters(folder string) {
	stoi, ok := get(parsePickle(s.readFile(folder, "meta.pkl")))["stoi"].(map[string]any)
	require(ok, "it has no dict stoi of characters and ids")
	for _, character := range sortedKeys(stoi) {
		id, err := strconv.Atoi(fmt.Sprint(stoi[character]))
		require(err == nil && utf8.RuneCountInString(character) == 1,
			"its stoi is not of characters and ids: %s", quote(character))
		s.Added = append(s.Added, addedToken{ID: id, Content: character})
	}
	s.Base = characterBase
}

// parseMerges reads merges.txt: "a b" on each line, perhaps after a line with a version.
func parseMerges(data string) (merges []mergePair) {
	n := 0
	for line := range strings.Lines(data) {
		n++
		if !strings.HasPrefix(line, "#version") {
			line = strings.TrimRight(line, "\r\n")
			merges = append(merges, asMerge(line, "line "+strconv.Itoa(n)))
		}
	}
	return merges
}

// readTokenizerJSON reads tokenizer.json in both ways that libraries read it: by the file, as
// tokenizers does, and by the class of tokenizer, as transformers does. That takes add_prefix_space
// from tokenizer_config.json, and in its version 5 GPT-2's class rebuilds the rest of tokens,
// merges, added tokens and post_processor alone, where version 4 went by the file. Where the two
// differ only the user can know which the model was trained with: then reading says it.
func (s *vocabularySpec) readTokenizerJSON(c *tokenizerConfig, reading string) {
	t := s.readJSON(c.folder, "tokenizer.json")
	s.readModel(t)
	added := asList(t["added_tokens"], "added_tokens", asAddedToken)
	byFile, byClass := *s, *s
	err := caught(func() {
		byFile.readRules(t)
		byFile.addTokens(c, added)
	})
	var classErr error
	switch {
	case c.rebuilds():
		added = slices.SortedStableFunc(slices.Values(added), byID)
		if c.has("added_tokens_decoder") {
			added = nil
		}
		classErr = caught(func() { byClass.addTokens(c, added) })
		byClass.PrefixSpace = c.is("add_prefix_space")
	case !c.plain():
		classErr = fmt.Errorf("its tokenizer_class, %s, has rules of its own in transformers 5, "+
			"such as <s> and </s> around every text, which are not computed here",
			shorten(c.class))
	default:
		byClass, classErr = byFile, err
		if c.class == "PreTrainedTokenizer" || c.class == "" && c.has("add_prefix_space") {
			byClass.PrefixSpace = c.is("add_prefix_space")
		}
	}
	differ := differences(&byFile, &byClass)
	*s = byFile
	switch {
	case reading == "file" || err != nil && classErr != nil:
	case reading == "class":
		*s, err = byClass, classErr
	case err != nil:
		err = fmt.Errorf("%w; but transformers 5 leaves that out, by the class %s: with "+
			"-tokenizer class it is left out here", err, c.class)
	case classErr != nil:
		err = fmt.Errorf("%w; tokenizers and transformers 4 go by the file: -tokenizer file",
			classErr)
	case differ != "":
		err = fmt.Errorf("to tokenizers it is%s as in this file, to transformers 5 otherwise, by "+
			"its class %s: -tokenizer file or -tokenizer class says which the model was trained "+
			"with", differ, cmp.Or(c.class, "and tokenizer_config.json"))
	case c.has("add_bos_token") && c.is("add_bos_token") != (s.Before != nil),
		c.is("add_eos_token"):
		err = errors.New("add_bos_token or add_eos_token of tokenizer_config.json says otherwise " +
			"than its post_processor, which counts in transformers: -tokenizer file, if it did " +
			"for the model")
	}
	try(err)
}

// differences tell what one reading of a file has that another has not.
func differences(a, b *vocabularySpec) (has string) {
	rules := func(s *vocabularySpec) []string {
		return []string{fmt.Sprintf(" add_prefix_space %t,", s.PrefixSpace),
			fmt.Sprintf(" use_regex %t,", !s.OneWord),
			fmt.Sprintf(" ignore_merges %t,", s.WholeWords)}
	}
	for i, rule := range rules(b) {
		if its := rules(a)[i]; its != rule {
			has += its
		}
	}
	n := 0
	for n < min(len(a.Added), len(b.Added)) && a.Added[n] == b.Added[n] {
		n++
	}
	switch {
	case n < len(a.Added):
		has += " with the added token " + encodeJSON(a.Added[n]) + ","
	case n < len(b.Added):
		has += " without the added token " + encodeJSON(b.Added[n]) + ","
	}
	return has
}

// readModel reads of a tokenizer.json what both readings share: the tokens, the merges, and what
// stands before a text.
func (s *vocabularySpec) readModel(t map[string]any) {
	m := as[map[string]any](t["model"], "model")
	if kind := m["type"]; kind != "BPE" && kind != nil { // old files do not name it
		pieces, _ := m["vocab"].([]any) // Unigram's: tokens and scores
		if s.Vocab = map[string]int{}; pieces == nil {
			caught(func() { s.Vocab = asMap(m["vocab"], "vocab", asInt) })
		}
		for id, piece := range pieces {
			if pair, ok := piece.([]any); ok && len(pair) > 0 {
				s.Vocab[fmt.Sprint(pair[0])] = id
			}
		}
		fail("its model is %s, not a byte-level BPE", shorten(fmt.Sprint(kind)))
	}
	s.Vocab = asMap(m["vocab"], "vocab", asInt)
	s.Merges = asList(m["merges"], "merges", asMerge)
	require(len(s.Vocab) > 0, "its model has no vocab of tokens and ids")
	after := stages(t["post_processor"], "post_processor", "ByteLevel", "TemplateProcessing")
	for _, p := range after {
		if p["type"] != "ByteLevel" { // that one is about offsets alone
			s.Before = slices.Concat(before(p), s.Before)
		}
	}
}

// readRules reads of a tokenizer.json what the rebuilding classes leave out: how a text becomes
// words, and those tokens. It fails where that is not as in a BPE of GPT-2's kind.
func (s *vocabularySpec) readRules(t map[string]any) {
	m := as[map[string]any](t["model"], "model")
	s.WholeWords = as[bool](m["ignore_merges"], "ignore_merges")
	for _, key := range []string{
		"dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback",
	} {
		unset := []any{nil, "", false, json.Number("0"), json.Number("0.0")}
		require(slices.Contains(unset, m[key]),
			"its model has %s, as no byte-level BPE of GPT-2's kind has", key)
	}
	stages(t["normalizer"], "normalizer") // none
	splits := stages(t["pre_tokenizer"], "pre_tokenizer", "ByteLevel")
	require(len(splits) == 1 && splits[0]["add_prefix_space"] != nil,
		"its pre_tokenizer is not one ByteLevel with add_prefix_space")
	is := func(key string) bool { return as[bool](splits[0][key], key) }
	s.PrefixSpace = is("add_prefix_space")
	s.OneWord = splits[0]["use_regex"] != nil && !is("use_regex")
}

// stages is what a key of tokenizer.json has done to a text: one thing, or the several of a
// "Sequence", of these kinds.
func stages(v any, key string, kinds ...string) (list []map[string]any) {
	stage := as[map[string]any](v, key)
	switch kind := stage["type"]; {
	case v == nil:
	case kind == "Sequence":
		for _, within := range []string{"normalizers", "pretokenizers", "processors"} {
			for _, inner := range as[[]any](stage[within], within) {
				list = append(list, stages(inner, key, kinds...)...)
			}
		}
	case !slices.Contains(kinds, fmt.Sprint(kind)):
		fail("its %s, %s, treats texts in a way that is not supported here", key,
			shorten(fmt.Sprint(kind)))
	default:
		list = append(list, stage)
	}
	return list
}

// before returns the tokens that a post_processor, a template, puts before a text.
func before(stage map[string]any) (before []int) {
	type object = map[string]any
	special, texts := as[object](stage["special_tokens"], "special_tokens"), 0
	for _, piece := range asList(stage["single"], "single", as[object]) {
		token := as[object](piece["SpecialToken"], "SpecialToken")
		name := as[string](token["id"], "id")
		switch {
		case as[object](piece["Sequence"], "Sequence")["id"] == "A":
			texts++
		case token != nil && texts == 0:
			ids := as[object](special[name], "special_tokens")["ids"]
			before = append(before, asList(ids, "ids", asInt)...)
		case token != nil:
			fail("its post_processor puts %s behind every text, which is not supported here",
				quote(name))
		}
	}
	require(texts == 1, "its post_processor does not keep texts as they are")
	return before
}

// addTokens adds the tokens that stand beside the BPE: those given, which are tokenizer.json's,
// then those of tokenizer_config.json or else added_tokens.json. It notes which are special and
// which begins a text. As in the libraries, one that the vocabulary lacks has the next id from the
// count of its entries on, whatever id the file gives it.
func (s *vocabularySpec) addTokens(c *tokenizerConfig, added []addedToken) {
	more := slices.Concat(added, c.added)
	for name := range c.names {
		if id, ok := s.Vocab[name]; ok {
			more = append(more, addedToken{ID: id, Content: name})
		}
	}
	next := len(s.Vocab)
	if s.Vocab == nil {
		next = vocabSize
	}
	known := map[string]bool{"": true}
	s.Added = make([]addedToken, 0, len(more))
	for _, a := range more {
		if a.ID < 0 || a.ID >= mostTokens {
			fail("the added token %s has the id %d, which no model has", quote(a.Content), a.ID)
		}
		if known[a.Content] {
			continue
		}
		known[a.Content] = true
		id, ok := s.Vocab[a.Content]
		if s.Vocab == nil && a.Content == standardToken {
			id, ok = endOfText, true
		}
		if a.ID = id; !ok {
			a.ID = next
		}
		next = max(next, a.ID+1)
		if c.names[a.Content] {
			a.Special, a.Normalized = true, a.Normalized && c.later[a.Content] == 0
		}
		if a.Content == c.bos {
			s.BOS = &a.ID
		}
		s.Added = append(s.Added, a)
	}
	slices.SortFunc(s.Added, byID)
	number, _ := c.said["bos_token_id"].(json.Number) // of several, a list
	if id, err := strconv.Atoi(string(number)); err == nil && s.BOS == nil {
		s.BOS = &id
	}
	if id, ok := s.Vocab[standardToken]; s.BOS != nil && s.Vocab != nil &&
		c.standard("bos_token") && !(ok && id == *s.BOS) {
		s.BOS = new(noToken) // config.json says one, the class another
	}
	s.doubt(c, added)
}

// doubt notes which texts are special tokens to transformers otherwise than here. There any token
// that a file names is one, with an id behind the vocabulary where that lacks it. What
// special_tokens_map.json says is the last word, or nothing beside an added_tokens_decoder. With
// split_special_tokens none is found.
func (s *vocabularySpec) doubt(c *tokenizerConfig, added []addedToken) {
	s.Unsure = map[string]string{}
	special := map[string]bool{"": true, standardToken: s.Vocab == nil}
	given := map[string]bool{} // special whatever the configuration names
	for _, a := range s.Added {
		special[a.Content] = special[a.Content] || a.Special
		if a.Special && c.is("split_special_tokens") {
			s.Unsure[a.Content] = c.folder + " keeps from being a token: split_special_tokens"
		}
	}
	for _, a := range slices.Concat(added, c.added) {
		given[a.Content] = given[a.Content] || a.Special
	}
	given[""] = true
	const why = " makes a special token, but it is none in the vocabulary"
	for i, file := range []string{"special_tokens_map.json", "tokenizer_config.json"} {
		for _, key := range sortedKeys(c.special[i]) {
			tokens := c.special[i][key]
			others, both := c.special[1-i][key]
			contested := both && !slices.Equal(tokens, others) ||
				!both && i == 0 && c.has("added_tokens_decoder")
			for _, token := range tokens {
				if !special[token] || contested && !given[token] {
					s.Unsure[token] = filepath.Join(c.folder, file) + why
				}
			}
		}
	}
	if c.standard("bos_token", "eos_token", "unk_token") && !special[standardToken] {
		s.Unsure[standardToken] = c.class + why
	}
}

// build makes the vocabulary of what was read.
func (v *vocabulary) build() {
	v.knowGPT2()
	v.named, v.bos, v.plain = map[int]string{}, noToken, true
	added := v.Added
	switch {
	case v.Base == characterBase && len(added) != v.rows:
		fail("it has %d characters, but the model has %d tokens: this is not the vocabulary of "+
			"these weights", len(added), v.rows)
	case v.Base == characterBase || v.Vocab != nil:
		v.buildBPE()
	default:
		own := *gpt2BPE()
		v.bpe, v.bos = &own, endOfText
		isEnd := func(a addedToken) bool { return a.ID == endOfText }
		if !slices.ContainsFunc(added, isEnd) {
			end := addedToken{ID: endOfText, Content: standardToken, Special: true}
			added = append(slices.Clone(added), end)
		}
	}
	v.oneWord = v.OneWord
	for _, id := range v.Before {
		require(0 <= id && id < v.rows, "every text begins with token %d, but the model has %d", id,
			v.rows)
	}
	for _, a := range added {
		id, ok := v.Vocab[a.Content]
		text := v.token(a.ID)
		if a.ID < 0 || a.ID >= mostTokens || ok && id != a.ID ||
			!ok && text != "" && text != a.Content {
			fail("the added token %s has the id %d, which is another token's, or it has two",
				quote(a.Content), a.ID)
		}
		if a.Content == "" {
			continue
		}
		if text == "" {
			v.named[a.ID] = a.Content
		}
		set := &v.added[0]
		if a.Normalized {
			set = &v.added[1]
		}
		*set = append(*set, a)
		v.plain = v.plain && a.Special
	}
	for _, set := range v.added {
		slices.SortFunc(set, func(a, b addedToken) int { return cmp.Compare(a.Content, b.Content) })
	}
	if v.BOS != nil {
		v.bos = *v.BOS
	}
}

// refuse makes it a vocabulary that encodes nothing, for a reason, and names what is known.
func (v *vocabulary) refuse(why error) {
	if v.file != "" {
		why = fmt.Errorf("%s: %w", v.file, why)
	}
	v.vocabularySpec = vocabularySpec{Vocab: v.Vocab, Added: v.Added, Refused: why.Error()}
	v.bpe, v.bos, v.named, v.refused = new(bpe), noToken, map[int]string{}, why
	_, inLetters := v.Vocab["Ġ"]
	for _, token := range sortedKeys(v.Vocab) {
		text, ok := bytesOfLetters(token)
		if !ok || !inLetters {
			text = token
		}
		v.named[v.Vocab[token]] = text
	}
	for _, a := range v.Added {
		v.named[a.ID] = a.Content
	}
}

// knowGPT2 makes it GPT-2's vocabulary by name where its tokens and merges are that, perhaps with
// more tokens behind, which become added ones.
func (s *vocabularySpec) knowGPT2() {
	if len(s.Merges) != endOfText-256 || !slices.Equal(s.Merges, parseMerges(vocabFile)) {
		return
	}
	same := 0
	for token, id := range s.Vocab {
		text, ok := bytesOfLetters(token)
		if ok && id < endOfText && text == gpt2BPE().token(id) {
			same++
		}
	}
	if same != endOfText {
		return
	}
	for _, a := range s.Added {
		delete(s.Vocab, a.Content)
	}
	for content, id := range s.Vocab {
		if id >= endOfText {
			s.Added = append(s.Added, addedToken{ID: id, Content: content, Special: true})
		}
	}
	slices.SortFunc(s.Added, byID)
	s.Base, s.Vocab, s.Merges = gpt2Base, nil, nil
}

// buildBPE makes the BPE of a vocabulary that is not GPT-2's, whose tokens are all named.
func (v *vocabulary) buildBPE() {
	v.bpe = &bpe{merges: make(map[[2]int32]merged, len(v.Merges)), words: map[string]int32{}}
	for i := range v.letters {
		v.letters[i] = noToken
	}
	literal := map[string]bool{} // tokens such as <s>, whose characters are no byte letters
	for _, a := range v.Added {
		literal[a.Content] = true
	}
	for _, m := range v.Merges {
		delete(literal, m[0]+m[1])
	}
	for token, id := range v.Vocab {
		if id < 0 || id >= min(v.rows, mostTokens) { // the rows are what a file merely claims
			fail("the token %s has the id %d, but the model has %d tokens: this is not the "+
				"vocabulary of these weights", quote(token), id, v.rows)
		}
		if other, twice := v.named[id]; twice {
			fail("two tokens, %s and %s, have the id %d", quote(other), quote(token), id)
		}
		text, ok := bytesOfLetters(token)
		if ok && v.WholeWords {
			v.words[text] = int32(id)
		}
		if ok && len(text) == 1 {
			v.letters[text[0]] = int32(id)
		} else if !ok || literal[token] {
			text = token
		}
		v.named[id] = text
	}
	for rank, m := range v.Merges {
		id := func(token string) int32 {
			id, ok := v.Vocab[token]
			if !ok {
				fail("merge %d, of %s and %s: there is no token %s", rank+1, quote(m[0]),
					quote(m[1]), quote(token))
			}
			return int32(id)
		}
		v.merges[[2]int32{id(m[0]), id(m[1])}] = merged{int32(rank), id(m[0] + m[1])}
	}
}
