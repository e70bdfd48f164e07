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
	"unicode/utf8"
)

// vocabularyFiles are what a vocabulary may be read from beside the weights.
var vocabularyFiles = []string{"config.json", "tokenizer_config.json", "special_tokens_map.json",
	"added_tokens.json", "tokenizer.json", "vocab.json", "merges.txt", "meta.pkl"}

// tokenizer maps texts to token ids and back, as a model was trained. As soon as it obeys the
// command line it is safe for concurrent use.
type tokenizer struct {
	textRules
	folder string            // where its files may lie,
	meta   map[string]string // and the model's metadata, which may carry what they say
	rows   int               // of the model's embedding: ids end before it

	vocabularySpec
	bpe
	named map[int]string  // the tokens that are not GPT-2's
	added [2][]addedToken // by their texts; those that are looked for last are the second
	plain bool            // unless special tokens are looked for, none of them is
	first []int           // stand before every text
}

// textRules are what the command line says about texts.
type textRules struct {
	numbers  bool   // they are token ids (-ids)
	bosFirst bool   // each begins with the token for that (-bos)
	special  bool   // special tokens are found in them (-special)
	reading  string // which of two readings of a vocabulary counts: "file", "class" (-tokenizer)
}

// gpt2 is GPT-2's own tokenizer.
var gpt2, _ = tokenizer{
	vocabularySpec: vocabularySpec{Base: gpt2Base},
}.obeys(textRules{}, vocabSize)

const withIDs = "; with -ids the texts and answers are token ids"

// obeys reads the tokenizer of a model with so many rows of embedding, and has it obey the command
// line. With -ids it may be one that encodes no text; else an error names the file.
func (t tokenizer) obeys(rules textRules, rows int) (*tokenizer, error) {
	t.textRules, t.rows = rules, rows
	if err := caught(t.load); err != nil {
		t.refuse(err)
	}
	bos := noToken
	if t.BOS != nil {
		bos = *t.BOS
	} else if t.slots != "" {
		bos = endOfText
	}
	switch t.first = t.Before; {
	case t.Refused != "" && !t.numbers:
		return nil, errors.New(t.Refused + withIDs)
	case t.bosFirst && bos == noToken:
		return nil, errors.New("-bos: nothing beside the weights says which token begins a text, " +
			"or the tokenizer's bos_token and config.json's bos_token_id say two")
	case t.bosFirst && (bos < 0 || bos >= rows):
		return nil, fmt.Errorf("-bos: the token that begins a text has the id %d, but the model "+
			"has %d tokens", bos, rows)
	case t.bosFirst && len(t.first) == 0:
		t.first = []int{bos}
	}
	return &t, nil
}

// encode returns the token ids of a whole text, with what stands before it.
func (t *tokenizer) encode(text string) ([]int, error) {
	return t.encodeAfter(t.first, text, t.PrefixSpace)
}

// encodeWord returns the token ids of a text, such as an answer, by itself.
func (t *tokenizer) encodeWord(word string) ([]int, error) {
	return t.encodeAfter(nil, word, false)
}

// encodeAfter returns the ids of a text, which with space begins with one, after others. There is
// room for any at once: a long text's are not copied, and room that is not used is never touched.
func (t *tokenizer) encodeAfter(first []int, text string, space bool) (ids []int, err error) {
	if t.numbers {
		return parseIDs(text, t.rows)
	}
	defer catchFault(&err)
	for _, token := range sortedKeys(t.Unsure) {
		if t.special && strings.Contains(text, token) {
			fail("-special: the text holds %s, which %s"+withIDs, quote(token), t.Unsure[token])
		}
	}
	sets := t.added[:]
	if t.plain && !t.special {
		sets = nil
	}
	ids = append(make([]int, 0, len(first)+len(text)+1), first...)
	return t.appendAround(ids, text, space, sets), nil
}

// appendAround appends the ids of a text in which added tokens are looked for before anything else:
// those of the first set, from left to right and the longest where several begin, then, in what
// remains, those of the next. Without -special a special token is found, but stays plain text. A
// byte that the vocabulary has no token for is a fault.
func (t *tokenizer) appendAround(ids []int, text string, space bool, sets [][]addedToken) []int {
	if len(sets) == 0 {
		for i := range len(text) {
			if t.letters[text[i]] == noToken {
				fail("%s has no token for the byte 0x%02X, as in %q", t.file, text[i],
					text[max(0, i-4):min(len(text), i+4)])
			}
		}
		if space && text != "" && text[0] != ' ' {
			text = " " + text
		}
		return t.appendText(ids, text)
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
		case a.Special && !t.special:
			continue
		case a.SingleWord || a.LStrip || a.RStrip:
			fail("the text holds %q, an added token with rules of its own in %s (single_word, "+
				"lstrip, rstrip), which are not supported here", a.Content, t.file)
		case a.ID >= t.rows:
			fail("the text holds %q, token %d, but the model has %d rows: the tokenizer was given "+
				"tokens after the model was trained (resize_token_embeddings)", a.Content, a.ID,
				t.rows)
		}
		ids = append(t.appendAround(ids, before, space, sets[1:]), a.ID)
		plain = i
	}
	return t.appendAround(ids, text[plain:], space, sets[1:])
}

// longestAt returns the longest token that the text begins with, nil for none. The tokens are in
// the order of their texts. So whatever the text begins with, the last one not behind it does, too.
func longestAt(text string, tokens []addedToken) *addedToken {
	for text != "" {
		behind := sort.Search(len(tokens), func(i int) bool { return tokens[i].Content > text })
		if behind == 0 {
			break
		}
		last, n := &tokens[behind-1], 0
		for n < min(len(text), len(last.Content)) && text[n] == last.Content[n] {
			n++
		}
		if n == len(last.Content) {
			return last
		}
		text = text[:n]
	}
	return nil
}

// token returns the bytes of one token, "#50300" for an id that has none.
func (t *tokenizer) token(id int) string {
	return cmp.Or(t.named[id], t.bpe.token(id), "#"+strconv.Itoa(id))
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
	seen := []int{}
	for i := 0; i < len(text) && !t.special && len(seen) < 5; i++ { // tokens are enough
		for _, set := range t.added {
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
	if strings.HasSuffix(text, " ") && t.Base != characterBase {
		notes = append(notes, "it ends in a space, but a word's token begins with its space, so "+
			"the next token is hardly a word: leave the space out")
	}
	return notes
}

// notesOnModel tell that a model's vocabulary is hardly the one that its texts are cut by.
func (t *tokenizer) notesOnModel() []string {
	if t.numbers || t.rows >= endOfText || t.slots == "" {
		return nil
	}
	return []string{fmt.Sprintf("texts are cut by GPT-2's vocabulary of %d tokens, but the model "+
		"has %d: a vocabulary of its own belongs beside the weights", vocabSize, t.rows)}
}

// metaTokenizer is the key of the vocabulary in a safetensors file's metadata.
const metaTokenizer = "tokenizer"

// metadata is what a converted file carries of the vocabulary.
func (t *tokenizer) metadata() map[string]string {
	s := encodeJSON(t.vocabularySpec)
	if s == "{}" { // nothing is known: what a text is cut by is to be a guess again
		return nil
	}
	return map[string]string{metaTokenizer: s}
}

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
	WholeWords  bool           `json:"ignore_merges,omitempty"` // that are tokens
	Refused     string         `json:"refused,omitempty"`       // why no text is encoded

	// Unsure are special tokens to transformers, but not here, and why: a text that holds one is
	// refused where special tokens are looked for.
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

// load reads what a model's metadata say of its vocabulary, else the files in its folder; either
// may be missing. What it has read where it fails names tokens all the same.
func (t *tokenizer) load() {
	s := &t.vocabularySpec
	has := func(name string) bool { return isFile(filepath.Join(t.folder, name)) }
	if carried, ok := t.meta[metaTokenizer]; ok {
		s.file = "the model's metadata"
		if err := json.Unmarshal([]byte(carried), s); err != nil { // which wrote it
			fail("not a vocabulary of this program's: convert the model again")
		}
		if s.Refused != "" {
			s.file = "" // which that names
			fail("%s", s.Refused)
		}
	} else if t.folder != "" {
		switch c := s.readConfig(t.folder); {
		case has("tokenizer.json"):
			s.readTokenizerJSON(c, t.reading)
		case has("vocab.json") && has("merges.txt"):
			s.readVocabAndMerges(c)
		case has("meta.pkl"):
			s.readCharacters(t.folder)
		default:
			s.lookAround(c)
		}
	}
	t.build()
}

const largestTokenizer = 32 << 20 // bounds the files: those of 50,000 tokens have 2 MB

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
	return map[string]any{}
}

// tokenizerConfig is what decides the ids of a plain text in the files that are no vocabulary.
type tokenizerConfig struct {
	folder string
	said   map[string]any        // in tokenizer_config.json and special_tokens_map.json
	class  string                // of tokenizer that transformers makes, without "Fast", or ""
	bos    string                // the token that begins a text by them,
	bosID  any                   // and by config.json
	named  map[string]addedToken // the special tokens
	added  []addedToken          // added_tokens_decoder, else added_tokens.json
}

// standardToken is the bos_token, eos_token and unk_token of the rebuilding classes where no file
// says another or null.
const standardToken = "<|endoftext|>"

// The keys of special tokens: these, more that end as they do, and those of several.
var namedTokens, lists = []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
	"cls_token", "mask_token"}, []string{"additional_special_tokens", "extra_special_tokens",
	"model_specific_special_tokens"}

// readConfig reads it as transformers does: special_tokens_map.json has the last word, but counts
// for nothing beside an added_tokens_decoder.
func (s *vocabularySpec) readConfig(folder string) *tokenizerConfig {
	config := s.readJSON(folder, "config.json")
	c := &tokenizerConfig{folder: folder, bosID: config["bos_token_id"],
		class: as[string](config["tokenizer_class"], "tokenizer_class"),
		named: map[string]addedToken{}}
	if c.class == "" && config["model_type"] == "gpt2" {
		c.class = "GPT2Tokenizer"
	}
	c.said = s.readJSON(folder, "tokenizer_config.json")
	c.class = cmp.Or(as[string](c.said["tokenizer_class"], "tokenizer_class"), c.class)
	c.class = strings.TrimSuffix(c.class, "Fast")
	for _, key := range []string{"add_prefix_space", "add_bos_token", "add_eos_token"} {
		as[bool](c.said[key], key)
	}
	const decoder = "added_tokens_decoder"
	later := asMap(c.said[decoder], decoder, asAddedToken)
	for _, key := range sortedKeys(later) {
		a := later[key]
		a.ID = asInt(json.Number(key), decoder)
		c.added = append(c.added, a)
	}
	ids := map[string]int{}
	if !c.has(decoder) {
		for key, value := range s.readJSON(folder, "special_tokens_map.json") {
			others := tokensNamed(key, c.said[key])
			require(others == nil || slices.Contains(namedTokens, key) ||
				slices.Equal(others, tokensNamed(key, value)),
				"%s: tokenizer_config.json says others", key)
			c.said[key] = value
		}
		ids = asMap(s.readJSON(folder, "added_tokens.json"), "added_tokens", asInt)
	}
	for _, key := range namedTokens[:3] {
		if _, said := c.said[key]; !said && c.rebuilds() {
			c.said[key] = standardToken
		}
	}
	for _, key := range sortedKeys(c.said) {
		for _, a := range tokensNamed(key, c.said[key]) {
			c.named[a.Content] = a
			if key == "bos_token" {
				c.bos = a.Content
			}
		}
	}
	for _, content := range sortedKeys(ids) {
		later := addedToken{ID: ids[content], Content: content, Special: c.named[content].Special}
		later.Normalized = !later.Special
		c.added = append(c.added, later)
	}
	slices.SortStableFunc(c.added, byID)
	return c
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

// tokensNamed are the tokens that a key of a configuration makes special: one, "<s>" or {"content":
// "<s>", …}, or a list, or an object of them by names.
func tokensNamed(key string, value any) (tokens []addedToken) {
	if !strings.HasSuffix(key, "_token") && !slices.Contains(lists, key) {
		return nil
	}
	switch value := value.(type) {
	case string:
		tokens = append(tokens, addedToken{Content: value, Special: true})
	case []any:
		for _, inner := range value {
			tokens = append(tokens, tokensNamed(key, inner)...)
		}
	case map[string]any:
		if value["content"] != nil {
			a := asAddedToken(value, key)
			a.Special, a.Normalized = true, false
			return []addedToken{a}
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
	require(c.plain(), "tokenizer_class is %s, which cuts texts in another way than GPT-2's",
		shorten(c.class))
	require(!c.is("add_eos_token"), "add_eos_token asks for a token behind every text, which is "+
		"not supported here")
	if c.is("add_bos_token") {
		bos, ok := s.Vocab[c.bos]
		require(ok, "add_bos_token is true, but bos_token, %s, is not in vocab.json", quote(c.bos))
		s.Before = []int{bos}
	}
	s.file = filepath.Join(c.folder, "vocab.json")
	s.addTokens(c, nil)
}

// parseMerges reads merges.txt: "a b" on each line, perhaps after a line with a version.
func parseMerges(data string) (merges []mergePair) {
	for line := range strings.Lines(data) {
		if !strings.HasPrefix(line, "#version") {
			merges = append(merges, asMerge(strings.TrimRight(line, "\r\n"), "its lines"))
		}
	}
	return merges
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

// lookAround makes sure that a folder without a vocabulary that is read has none of another kind or
// name, nor has the folder above a Trainer's checkpoint-500: then GPT-2's counts.
func (s *vocabularySpec) lookAround(c *tokenizerConfig) {
	const others = "tokenizer.json vocab.json merges.txt spiece.model tokenizer.model " +
		"sentencepiece.bpe.model spm.model vocab.txt *-vocab.json *.tokenizer.json encoder.json " +
		"vocab.bpe tokenizer/*.json"
	s.Vocab = asMap(s.readJSON(c.folder, "vocab.json"), "vocab", asInt) // whose tokens have names
	folders := []string{c.folder}
	if strings.HasPrefix(filepath.Base(c.folder), "checkpoint-") {
		folders = append(folders, filepath.Dir(c.folder))
	}
	for _, folder := range folders {
		for _, pattern := range strings.Fields(others) {
			if names, _ := fs.Glob(os.DirFS(folder), pattern); len(names) > 0 {
				s.file = filepath.Join(folder, names[0])
				fail("this may be the model's vocabulary, but only a byte-level BPE is read " +
					"(nothing of SentencePiece or WordPiece), and only together: tokenizer.json, " +
					"or vocab.json and merges.txt, beside the weights")
			}
		}
	}
	s.file = c.folder
	require(c.plain(), "the model was made for a %s, and no vocabulary lies beside it",
		shorten(c.class))
	s.file, s.Vocab = "", nil
	s.addTokens(c, nil)
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
	fileErr := caught(func() {
		byFile.readRules(t)
		byFile.addTokens(c, added)
	})
	classErr := fileErr
	switch {
	case c.rebuilds():
		slices.SortStableFunc(added, byID)
		if c.has("added_tokens_decoder") {
			added = nil
		}
		byClass.PrefixSpace = c.is("add_prefix_space")
		classErr = caught(func() { byClass.addTokens(c, added) })
	case !c.plain():
		classErr = fmt.Errorf("its tokenizer_class, %s, has rules of its own in transformers 5, "+
			"such as <s> and </s> around every text, which are not computed here",
			shorten(c.class))
	default:
		byClass = byFile
		if c.class == "PreTrainedTokenizer" || c.class == "" && c.has("add_prefix_space") {
			byClass.PrefixSpace = c.is("add_prefix_space")
		}
	}
	*s = byFile
	switch {
	case reading == "file" || fileErr != nil && classErr != nil:
		try(fileErr)
		return
	case reading == "class":
		*s = byClass
		try(classErr)
		return
	}
	doubt := cmp.Or(fileErr, classErr, difference(&byFile, &byClass))
	if doubt == nil && (c.is("add_eos_token") ||
		c.has("add_bos_token") && c.is("add_bos_token") != (s.Before != nil)) {
		doubt = errors.New("add_bos_token or add_eos_token of tokenizer_config.json says " +
			"otherwise than its post_processor")
	}
	var ways []string
	if fileErr == nil {
		ways = append(ways, "-tokenizer file, by this file, as tokenizers and transformers 4 do")
	}
	if classErr == nil {
		ways = append(ways, "-tokenizer class, by its class, "+
			cmp.Or(c.class, "and tokenizer_config.json")+", as transformers 5 does")
	}
	require(doubt == nil, "%w: choose how the model was trained: %s", doubt,
		strings.Join(ways, "; "))
}

// difference tells what one reading of a file has that another has not.
func difference(byFile, byClass *vocabularySpec) error {
	facts := func(s *vocabularySpec) []string {
		list := []string{fmt.Sprint("add_prefix_space ", s.PrefixSpace),
			fmt.Sprint("use_regex ", !s.OneWord), fmt.Sprint("ignore_merges ", s.WholeWords)}
		for _, a := range s.Added {
			list = append(list, "the added token "+encodeJSON(a))
		}
		return append(list, "no further added token")
	}
	class := facts(byClass)
	for i, fact := range facts(byFile) {
		if fact != class[i] {
			return fmt.Errorf("by this file it has %s, by its class %s", fact, class[i])
		}
	}
	return nil
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
// count of its entries on, whatever id the file gives it. (transformers numbers those on, too, that
// are only named, but in an order of its own: texts that hold one are refused.)
func (s *vocabularySpec) addTokens(c *tokenizerConfig, added []addedToken) {
	added = slices.Concat(added, c.added)
	for _, name := range sortedKeys(c.named) {
		if _, ok := s.Vocab[name]; ok {
			added = append(added, c.named[name])
		}
	}
	ids, next := s.Vocab, len(s.Vocab)
	if ids == nil { // GPT-2's
		ids, next = map[string]int{standardToken: endOfText}, vocabSize
	}
	known := map[string]bool{"": true}
	s.Added, s.Unsure = make([]addedToken, 0, len(added)), map[string]string{}
	for _, a := range added {
		if known[a.Content] {
			continue
		}
		known[a.Content] = true
		id, ok := ids[a.Content]
		if a.ID = id; !ok {
			a.ID = next
		}
		next = max(next, a.ID+1)
		a.Special = a.Special || c.named[a.Content].Special
		if a.Content == c.bos {
			s.BOS = &a.ID
		}
		if a.Special && c.is("split_special_tokens") {
			s.Unsure[a.Content] = c.folder + " keeps from being a token: split_special_tokens"
		}
		s.Added = append(s.Added, a)
	}
	slices.SortFunc(s.Added, byID)
	for name := range c.named {
		if _, ok := ids[name]; !ok && !known[name] {
			s.Unsure[name] = c.folder + " makes a special token, but its vocabulary has none such"
		}
	}
	if id, err := strconv.Atoi(fmt.Sprint(c.bosID)); err == nil && s.BOS == nil { // not several
		if s.BOS = &id; s.Vocab != nil && c.bos != "" {
			s.BOS = new(noToken) // config.json says one, the tokenizer another
		}
	}
}

// build makes the tokenizer of what was read.
func (t *tokenizer) build() {
	t.knowGPT2()
	t.named, t.plain = map[int]string{}, true
	added := t.Added
	switch {
	case t.Base == characterBase && len(added) != t.rows:
		fail("it has %d characters, but the model has %d tokens: this is not the vocabulary of "+
			"these weights", len(added), t.rows)
	case t.Base == characterBase || t.Vocab != nil:
		t.buildBPE()
	case t.numbers && t.file == "" && t.rows < endOfText: // GPT-2's do not name another's tokens
	default:
		t.bpe = *gpt2BPE()
		isEnd := func(a addedToken) bool { return a.ID == endOfText }
		if !slices.ContainsFunc(added, isEnd) {
			end := addedToken{ID: endOfText, Content: standardToken, Special: true}
			added = append(slices.Clone(added), end)
		}
	}
	t.oneWord = t.OneWord
	for _, id := range t.Before {
		require(0 <= id && id < t.rows, "every text begins with token %d, but the model has %d", id,
			t.rows)
	}
	for _, a := range added {
		id, ok := t.Vocab[a.Content]
		text := cmp.Or(t.named[a.ID], t.bpe.token(a.ID))
		if a.ID < 0 || a.ID >= noToken || ok && id != a.ID ||
			!ok && text != "" && text != a.Content {
			fail("the added token %s has the id %d, which is another token's, or it has two",
				quote(a.Content), a.ID)
		}
		if a.Content == "" {
			continue
		}
		if text == "" {
			t.named[a.ID] = a.Content
		}
		set := &t.added[0]
		if a.Normalized {
			set = &t.added[1]
		}
		*set = append(*set, a)
		t.plain = t.plain && a.Special
	}
	for _, set := range t.added {
		slices.SortFunc(set, func(a, b addedToken) int { return cmp.Compare(a.Content, b.Content) })
	}
}

// refuse makes it a tokenizer that encodes nothing, for a reason, and names what is known.
func (t *tokenizer) refuse(why error) {
	if t.file != "" {
		why = fmt.Errorf("%s: %w", t.file, why)
	}
	t.vocabularySpec = vocabularySpec{Vocab: t.Vocab, Added: t.Added, Refused: why.Error()}
	t.bpe, t.named = bpe{}, map[int]string{}
	_, inLetters := t.Vocab["Ġ"]
	for _, token := range sortedKeys(t.Vocab) {
		text, ok := bytesOfLetters(token)
		if !ok || !inLetters {
			text = token
		}
		t.named[t.Vocab[token]] = text
	}
	for _, a := range t.Added {
		t.named[a.ID] = a.Content
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
		if text, ok := bytesOfLetters(token); ok && text != "" && text == gpt2BPE().token(id) {
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
func (t *tokenizer) buildBPE() {
	t.bpe = bpe{merges: make(map[[2]int32]merged, len(t.Merges)), words: map[string]int32{}}
	for i := range t.letters {
		t.letters[i] = noToken
	}
	literal := map[string]bool{} // tokens such as <s>, whose characters are no byte letters
	for _, a := range t.Added {
		literal[a.Content] = true
	}
	for _, m := range t.Merges {
		delete(literal, m[0]+m[1])
	}
	for _, token := range sortedKeys(t.Vocab) { // so that always the same one is refused
		id := t.Vocab[token]
		if id < 0 || id >= min(t.rows, noToken) { // the rows are what a file merely claims
			fail("the token %s has the id %d, but the model has %d tokens: this is not the "+
				"vocabulary of these weights", quote(token), id, t.rows)
		}
		if other, twice := t.named[id]; twice {
			fail("two tokens, %s and %s, have the id %d", quote(other), quote(token), id)
		}
		text, ok := bytesOfLetters(token)
		if ok && t.WholeWords {
			t.words[text] = int32(id)
		}
		if ok && len(text) == 1 {
			t.letters[text[0]] = int32(id)
		} else if !ok || literal[token] {
			text = token
		}
		t.named[id] = text
	}
	for rank, m := range t.Merges {
		id := func(token string) int32 {
			id, ok := t.Vocab[token]
			if !ok {
				fail("merge %d, of %s and %s: there is no token %s", rank+1, quote(m[0]),
					quote(m[1]), quote(token))
			}
			return int32(id)
		}
		t.merges[[2]int32{id(m[0]), id(m[1])}] = merged{int32(rank), id(m[0] + m[1])}
	}
}
