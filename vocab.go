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
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// tokenizer maps texts to token ids and back, as a model was trained. nil is GPT-2's own. It is
// safe for concurrent use.
type tokenizer struct {
	read func() *vocabulary // what lies beside the weights; read once, when it is first needed
	rows int                // of the model's embedding: ids end before it
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
var gpt2 *tokenizer

// newTokenizer is the tokenizer of a model with so many rows of embedding: what its metadata say,
// else the files in its folder, either of which may be empty. They are read later, and refused
// tells what is wrong with them.
func newTokenizer(folder string, meta map[string]string, rows int) *tokenizer {
	t := &tokenizer{rows: rows}
	t.read = sync.OnceValue(func() *vocabulary {
		s, err := readSpec(folder, meta, t.reading)
		if err == nil {
			var v *vocabulary
			if v, err = s.build(rows); err == nil {
				return v
			}
		}
		return s.refuse(err)
	})
	return t
}

// obeys has the tokenizer of a model with so many rows obey the command line. It is called before
// the first text.
func (t *tokenizer) obeys(rules textRules, rows int) (*tokenizer, error) {
	if t == nil {
		t = &tokenizer{read: gpt2Vocabulary, rows: rows}
	}
	t.textRules = rules
	if err := t.refused(); err != nil {
		return nil, err
	}
	switch bos := t.read().bos; {
	case rules.bosFirst && bos == noToken:
		return nil, errors.New("-bos: nothing beside the weights says which token begins a text, " +
			"or the class of tokenizer and config.json's bos_token_id say two")
	case rules.bosFirst && (bos < 0 || bos >= rows):
		return nil, fmt.Errorf("-bos: the token that begins a text has the id %d, but the model "+
			"has %d tokens", bos, rows)
	}
	return t, nil
}

func (t *tokenizer) vocabulary() *vocabulary {
	if t == nil {
		return gpt2Vocabulary()
	}
	return t.read()
}

func (t *tokenizer) rules() textRules {
	if t == nil {
		return textRules{}
	}
	return t.textRules
}

// refused is nil, or why texts cannot be encoded: one line that names the file.
func (t *tokenizer) refused() error {
	err := t.vocabulary().refused
	if err == nil || t.rules().numbers {
		return nil
	}
	return fmt.Errorf("%w; with -ids the texts and answers are token ids", err)
}

// encode returns the token ids of a whole text, with what stands before it where that is asked for.
func (t *tokenizer) encode(text string) ([]int, error) {
	rules, v := t.rules(), t.vocabulary()
	if rules.numbers {
		return parseIDs(text, t.rows)
	}
	ids, err := v.encode(text, v.prefixSpace, rules.special)
	switch {
	case err != nil:
		return nil, err
	case len(v.before) > 0:
		return slices.Concat(v.before, ids), nil
	case rules.bosFirst:
		return slices.Insert(ids, 0, v.bos), nil
	}
	return ids, nil
}

// encodeWord returns the token ids of a text, such as an answer, by itself.
func (t *tokenizer) encodeWord(text string) ([]int, error) {
	if t.rules().numbers {
		return parseIDs(text, t.rows)
	}
	return t.vocabulary().encode(text, false, t.rules().special)
}

// token returns the bytes of one token, "#50300" for an id that has none. With -ids, GPT-2's tokens
// do not name those of a model that has fewer, and no vocabulary beside it.
func (t *tokenizer) token(id int) string {
	v := t.vocabulary()
	foreign := t.rules().numbers && v.file == "" && v.refused == nil && t.rows < endOfText
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
	rules, v := t.rules(), t.vocabulary()
	if rules.numbers {
		return nil
	}
	var seen []int
	for i := 0; i < len(text) && !rules.special && len(seen) < mostNotes; i++ {
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
	if strings.HasSuffix(text, " ") && v.spec.Base != characterBase {
		notes = append(notes, "it ends in a space, but a word's token begins with its space, so "+
			"the next token is hardly a word: leave the space out")
	}
	return notes
}

// mostNotes bounds how many special tokens of one text are told.
const mostNotes = 5

// notesOnModel tell that a model's vocabulary is hardly the one that its texts are cut by.
func (t *tokenizer) notesOnModel() []string {
	if t == nil || t.numbers || t.rows >= endOfText || t.vocabulary().bpe != gpt2BPE() {
		return nil
	}
	return []string{fmt.Sprintf("texts are cut by GPT-2's vocabulary of %d tokens, but the model "+
		"has %d: a vocabulary of its own belongs beside the weights", vocabSize, t.rows)}
}

// metadata is what a converted file carries of the vocabulary, to be read by newTokenizer again.
func (t *tokenizer) metadata() map[string]string {
	s := encodeJSON(t.vocabulary().spec)
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

type vocabulary struct {
	*bpe
	file        string          // where it was read, for errors; "" is GPT-2's own
	rows        int             // ids of the model end before it
	named       map[int]string  // the tokens that stand beside the BPE, such as <s>
	added       [2][]addedToken // all of them by their texts, those that are looked for last behind
	before      []int           // stand before every text
	prefixSpace bool            // a text that does not begin with a space gets one
	bos         int             // the token that begins a text, noToken where none is known
	lacking     bool            // whether some bytes have no token
	spec        *vocabularySpec
	refused     error // why no text is encoded: then it only names tokens
}

// gpt2Vocabulary is GPT-2's own.
var gpt2Vocabulary = sync.OnceValue(func() *vocabulary {
	v, _ := (&vocabularySpec{Base: gpt2Base}).build(vocabSize)
	return v
})

// token returns the bytes of a token, "" where an id has none.
func (v *vocabulary) token(id int) string {
	if text, ok := v.named[id]; ok {
		return text
	}
	return v.bpe.token(id)
}

// encode returns the token ids of a text, which with space begins with one.
func (v *vocabulary) encode(text string, space, special bool) ([]int, error) {
	if v.refused != nil {
		return nil, v.refused
	}
	for _, token := range sortedKeys(v.spec.Unsure) {
		if special && strings.Contains(text, token) {
			return nil, fmt.Errorf("-special: the text holds %s, which %s; with -ids the texts "+
				"and answers are token ids", quote(token), v.spec.Unsure[token])
		}
	}
	sets := v.added[:]
	plain := func(a addedToken) bool { return !a.Special || special }
	if !slices.ContainsFunc(v.added[0], plain) && !slices.ContainsFunc(v.added[1], plain) {
		sets = nil // all is plain text
	}
	return v.appendAround(roomFor(text), text, space, special, sets)
}

// appendAround appends the ids of a text in which added tokens are looked for before anything else:
// those of the first set, from left to right and the longest where several begin, then, in what
// remains, those of the next. Where special is false a special token is found, but stays plain
// text. A byte that the vocabulary has no token for is an error.
func (v *vocabulary) appendAround(
	ids []int, text string, space, special bool, sets [][]addedToken,
) ([]int, error) {
	if len(sets) == 0 {
		for i := 0; v.lacking && i < len(text); i++ {
			if v.letters[text[i]] == noToken {
				return nil, fmt.Errorf("%s has no token for the byte 0x%02X, as in %q",
					v.file, text[i], text[max(0, i-4):min(len(text), i+4)])
			}
		}
		if space && text != "" && text[0] != ' ' {
			text = " " + text
		}
		return v.appendText(ids, text), nil
	}
	var err error
	plain := 0 // where the text begins that is not yet encoded
	for i := 0; i < len(text); {
		a := longestAt(text[i:], sets[0])
		switch {
		case a == nil:
			i++
			continue
		case a.Special && !special:
			i += len(a.Content)
			continue
		case a.SingleWord || a.LStrip || a.RStrip:
			return nil, fmt.Errorf("the text holds %q, an added token with rules of its own in %s "+
				"(single_word, lstrip, rstrip), which are not supported here", a.Content, v.file)
		case a.ID >= v.rows:
			return nil, fmt.Errorf("the text holds %q, token %d, but the model has %d rows: the "+
				"tokenizer was given tokens after the model was trained (resize_token_embeddings)",
				a.Content, a.ID, v.rows)
		}
		if ids, err = v.appendAround(ids, text[plain:i], space, special, sets[1:]); err != nil {
			return nil, err
		}
		ids = append(ids, a.ID)
		i += len(a.Content)
		plain = i
	}
	return v.appendAround(ids, text[plain:], space, special, sets[1:])
}

// longestAt returns the longest token that the text begins with, nil for none. The tokens are in
// the order of their texts, so that those that begin with the same bytes stand together.
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
	Before      []int          `json:"before,omitempty"`
	BOS         *int           `json:"bos,omitempty"`
	PrefixSpace bool           `json:"add_prefix_space,omitempty"`
	OneWord     bool           `json:"one_word,omitempty"`
	WholeWords  bool           `json:"ignore_merges,omitempty"`
	Refused     string         `json:"refused,omitempty"`

	// Unsure are texts that are special tokens to transformers, or not, otherwise than here, and
	// why: a text that holds one is refused where special tokens are looked for.
	Unsure map[string]string `json:"unsure,omitempty"`

	file string
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

// mergePair is a merge: "a b" or ["a", "b"].
type mergePair [2]string

func (m *mergePair) fromJSON(v any) error {
	if line, ok := v.(string); ok {
		return m.parse(line)
	}
	halves, _ := v.([]any)
	for i := range halves {
		half, ok := halves[i].(string)
		if len(halves) != 2 || !ok {
			break
		}
		if m[i] = half; i == 1 {
			return nil
		}
	}
	return errors.New("a merge that is not two tokens")
}

func (m *mergePair) parse(line string) error {
	left, right, ok := strings.Cut(line, " ")
	if !ok || strings.Contains(right, " ") {
		return fmt.Errorf("the merge %s is not two tokens with a space between", quote(line))
	}
	m[0], m[1] = left, right
	return nil
}

// readSpec reads what a model's metadata say of its vocabulary, else the files in its folder;
// GPT-2's where there are none. Together with an error it returns what names tokens all the same.
func readSpec(folder string, meta map[string]string, reading string) (*vocabularySpec, error) {
	s := new(vocabularySpec)
	if carried, ok := meta[metaTokenizer]; ok {
		s.file = "the model's metadata"
		said, err := parseJSON([]byte(carried))
		if err == nil {
			err = fill(reflect.ValueOf(s).Elem(), said, "")
		}
		if err != nil {
			return s, fmt.Errorf("%s: not a vocabulary: %w", s.file, err)
		}
		if s.Refused != "" {
			return s, errors.New(s.Refused)
		}
		return s, nil
	}
	if folder == "" {
		return s, nil
	}
	c := &tokenizerConfig{folder: folder}
	for _, name := range []string{ // the last one has the last word
		"config.json", "special_tokens_map.json", "tokenizer_config.json",
	} {
		var said map[string]any
		err := cmp.Or(readJSON(folder, name, c), readJSON(folder, name, &said))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return s, err
		}
		if name != "config.json" {
			c.said = append(c.said, said)
		}
	}
	if err := readJSON(folder, "added_tokens.json", &c.Later); err != nil &&
		!errors.Is(err, os.ErrNotExist) {
		return s, err
	}
	if isFile(filepath.Join(folder, "tokenizer.json")) {
		return c.readTokenizerJSON(reading)
	}
	return c.readVocabAndMerges()
}

const mostTokens = 1 << 22

// largestTokenizer bounds the files. Those of vocabularies with 50,000 tokens have 2 MB.
const largestTokenizer = 32 << 20

// readVocabularyFile reads a file of a folder.
func readVocabularyFile(folder, name string, parse func(data []byte) error) error {
	path := filepath.Join(folder, name)
	data, err := readBounded(path, largestTokenizer)
	if strings.HasPrefix(string(data), "version https://git-lfs") {
		err = errors.New("this is a Git LFS pointer, not the file itself: fetch it with " +
			"`git lfs pull`")
	}
	if err == nil {
		err = parse(data)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, reason(err))
	}
	return nil
}

func readJSON(folder, name string, into any) error {
	return readVocabularyFile(folder, name, func(data []byte) error {
		said, err := parseJSON(data)
		if err != nil {
			return err
		}
		return fill(reflect.ValueOf(into).Elem(), said, "")
	})
}

// tokenizerConfig is what decides the ids of a plain text in tokenizer_config.json,
// special_tokens_map.json, config.json and added_tokens.json.
type tokenizerConfig struct {
	Class       string                `json:"tokenizer_class"`
	ModelType   string                `json:"model_type"`
	PrefixSpace *bool                 `json:"add_prefix_space"`
	AddBOS      *bool                 `json:"add_bos_token"`
	AddEOS      bool                  `json:"add_eos_token"`
	BOS         tokenName             `json:"bos_token"`
	EOS         tokenName             `json:"eos_token"`
	UNK         tokenName             `json:"unk_token"`
	PAD         tokenName             `json:"pad_token"`
	Additional  []tokenName           `json:"additional_special_tokens"`
	Decoder     map[string]addedToken `json:"added_tokens_decoder"`
	BOSID       any                   `json:"bos_token_id"` // of several, a list

	Later  map[string]int
	said   []map[string]any // all of special_tokens_map.json and of tokenizer_config.json
	folder string
}

// tokenName is the text of a token, which is written as "<s>" or {"content": "<s>", …}.
type tokenName string

func (t *tokenName) fromJSON(v any) error {
	if object, ok := v.(map[string]any); ok {
		v = object["content"]
	}
	text, ok := v.(string)
	if *t = tokenName(text); !ok {
		return errors.New("neither text nor a token")
	}
	return nil
}

// class is the class of tokenizer that transformers makes, without "Fast"; "" if nothing says it.
func (c *tokenizerConfig) class() string {
	if c.Class == "" && c.ModelType == "gpt2" {
		return "GPT2Tokenizer"
	}
	return strings.TrimSuffix(c.Class, "Fast")
}

// The classes that rebuild a byte-level BPE of a tokenizer.json's tokens and merges in transformers
// 5, and those that take the file as it is.
var (
	rebuilding = []string{"GPT2Tokenizer", "CodeGenTokenizer"}
	plainClass = []string{"", "PreTrainedTokenizer", "TokenizersBackend"}
)

// standardToken is the bos_token, eos_token and unk_token of the rebuilding classes where no file
// says another or null.
const standardToken = "<|endoftext|>"

// standard tells whether one of these keys is left to the class. What special_tokens_map.json says
// does not count beside an added_tokens_decoder.
func (c *tokenizerConfig) standard(keys ...string) bool {
	left := func(key string) bool {
		_, inMap := c.said[0][key]
		_, inConfig := c.said[1][key]
		return !inConfig && (!inMap || c.Decoder != nil)
	}
	return slices.Contains(rebuilding, c.class()) && slices.ContainsFunc(keys, left)
}

// tokensNamed are the tokens that a key of a configuration makes special: one, a list, or an object
// of them by names.
func tokensNamed(key string, value any) (tokens []string) {
	lists := []string{"additional_special_tokens", "extra_special_tokens",
		"model_specific_special_tokens"}
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

// readVocabAndMerges reads the older form, or finds what else there is in the folder.
func (c *tokenizerConfig) readVocabAndMerges() (*vocabularySpec, error) {
	const vocabName, mergesName, config = "vocab.json", "merges.txt", "tokenizer_config.json"
	in := func(name string) string { return filepath.Join(c.folder, name) }
	s := &vocabularySpec{file: in(vocabName)}
	known := slices.Contains(slices.Concat(plainClass, rebuilding), c.class())
	hasVocab, hasMerges := isFile(s.file), isFile(in(mergesName))
	if hasVocab {
		if err := readJSON(c.folder, vocabName, &s.Vocab); err != nil {
			return s, err
		}
	}
	if !hasVocab || !hasMerges {
		if isFile(in("meta.pkl")) {
			return readCharacters(c.folder)
		}
		for _, other := range [][2]string{
			{"spiece.model", "SentencePiece"}, {"tokenizer.model", "SentencePiece"},
			{"sentencepiece.bpe.model", "SentencePiece"}, {"spm.model", "SentencePiece"},
			{"vocab.txt", "WordPiece"},
		} {
			if isFile(in(other[0])) {
				return s, fmt.Errorf("%s: this vocabulary is of the kind %s, not a byte-level BPE",
					in(other[0]), other[1])
			}
		}
		switch {
		case !known:
			return s, fmt.Errorf("%s: the model was made for a %s, and no vocabulary lies beside "+
				"it", c.folder, shorten(c.Class))
		case hasVocab:
			return s, fmt.Errorf("%s: without %s this is not a byte-level BPE", s.file, mergesName)
		case hasMerges:
			return s, fmt.Errorf("%s: without %s the tokens' ids are not known", in(mergesName),
				vocabName)
		}
		s.file = ""
		return s, s.addTokens(c)
	}
	if len(s.Vocab) == 0 {
		return s, fmt.Errorf("%s: it holds no tokens", s.file)
	}
	err := readVocabularyFile(c.folder, mergesName, func(data []byte) (err error) {
		s.Merges, err = parseMerges(string(data))
		return err
	})
	s.PrefixSpace = c.PrefixSpace != nil && *c.PrefixSpace
	bos, hasBOS := s.Vocab[string(c.BOS)]
	addsBOS := c.AddBOS != nil && *c.AddBOS
	switch {
	case err != nil:
		return s, err
	case !known:
		return s, fmt.Errorf("%s: beside it tokenizer_class is %s, which cuts texts in another "+
			"way than GPT-2's", s.file, shorten(c.Class))
	case c.AddEOS:
		return s, fmt.Errorf("%s: add_eos_token asks for a token behind every text: not supported",
			in(config))
	case addsBOS && !hasBOS:
		return s, fmt.Errorf("%s: add_bos_token is true, but bos_token, %s, is not in %s",
			in(config), quote(string(c.BOS)), vocabName)
	case addsBOS:
		s.Before = []int{bos}
	}
	return s, s.addTokens(c)
}

// readCharacters reads nanoGPT's meta.pkl, a vocabulary of characters: a dict with a dict stoi from
// each of them to its id.
func readCharacters(folder string) (*vocabularySpec, error) {
	s := &vocabularySpec{file: filepath.Join(folder, "meta.pkl")}
	return s, readVocabularyFile(folder, "meta.pkl", func(data []byte) error {
		meta, err := parsePickle(data)
		if err != nil {
			return err
		}
		stoi, ok := meta["stoi"].(map[string]any)
		if !ok {
			return errors.New("it has no dict stoi of characters and ids")
		}
		for _, character := range slices.Sorted(maps.Keys(stoi)) {
			id, err := strconv.Atoi(fmt.Sprint(stoi[character]))
			if err != nil || utf8.RuneCountInString(character) != 1 {
				return fmt.Errorf("its stoi is not of characters and ids: %s", quote(character))
			}
			s.Added = append(s.Added, addedToken{ID: id, Content: character})
		}
		s.Base = characterBase
		return nil
	})
}

// parseMerges reads merges.txt: "a b" on each line, perhaps after a line with a version.
func parseMerges(data string) ([]mergePair, error) {
	merges, n := []mergePair{}, 0
	for line := range strings.Lines(data) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "#version") {
			continue
		}
		var m mergePair
		if err := m.parse(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		merges = append(merges, m)
	}
	return merges, nil
}

// tokenizerJSON is tokenizer.json, without truncation and padding, which are for batches of texts.
type tokenizerJSON struct {
	Added         []addedToken   `json:"added_tokens"`
	Normalizer    *stage         `json:"normalizer"`
	PreTokenizer  *stage         `json:"pre_tokenizer"`
	PostProcessor *stage         `json:"post_processor"`
	Model         map[string]any `json:"model"`
}

// stage is something that is done to a text, or several such things: "Sequence".
type stage struct {
	Type          string  `json:"type"`
	PrefixSpace   *bool   `json:"add_prefix_space"`
	UseRegex      *bool   `json:"use_regex"`
	Normalizers   []stage `json:"normalizers"`
	PreTokenizers []stage `json:"pretokenizers"`
	Processors    []stage `json:"processors"`
	Single        []struct {
		Sequence     *template `json:"Sequence"`
		SpecialToken *template `json:"SpecialToken"`
	} `json:"single"`
	SpecialTokens map[string]template `json:"special_tokens"`
}

// template is a piece of what is put together of a text and special tokens.
type template struct {
	ID  string `json:"id"`
	IDs []int  `json:"ids"`
}

// flat is the stages one after the other, without the sequences that hold them.
func (p *stage) flat() (list []stage) {
	if p == nil || p.Type != "Sequence" {
		if p != nil {
			list = append(list, *p)
		}
		return list
	}
	for _, inner := range slices.Concat(p.Normalizers, p.PreTokenizers, p.Processors) {
		list = append(list, inner.flat()...)
	}
	return list
}

// readTokenizerJSON reads tokenizer.json in both ways that libraries read it: by the file, as
// tokenizers does, and by the class of tokenizer, as transformers does. That takes add_prefix_space
// from tokenizer_config.json, and in its version 5 GPT-2's class rebuilds the rest of tokens,
// merges, added tokens and post_processor alone, where version 4 went by the file. Where the two
// differ only the user can know which the model was trained with: then reading says it.
func (c *tokenizerConfig) readTokenizerJSON(reading string) (*vocabularySpec, error) {
	path, class := filepath.Join(c.folder, "tokenizer.json"), c.class()
	var t tokenizerJSON
	if err := readJSON(c.folder, "tokenizer.json", &t); err != nil {
		return new(vocabularySpec), err
	}
	s, err := t.spec(path, c, t.Added)
	byClass, classErr := s, err
	switch {
	case slices.Contains(rebuilding, class):
		prefix := c.PrefixSpace != nil && *c.PrefixSpace
		model := map[string]any{"type": t.Model["type"], "vocab": t.Model["vocab"],
			"merges": t.Model["merges"]}
		rebuilt := tokenizerJSON{PostProcessor: t.PostProcessor, Model: model,
			PreTokenizer: &stage{Type: "ByteLevel", PrefixSpace: &prefix}}
		if c.Decoder == nil {
			rebuilt.Added = slices.SortedStableFunc(slices.Values(t.Added), byID)
		}
		byClass, classErr = rebuilt.spec(path, c, rebuilt.Added)
	case !slices.Contains(plainClass, class):
		classErr = fmt.Errorf("%s: its tokenizer_class, %s, has rules of its own in transformers "+
			"5, such as <s> and </s> around every text, which are not computed here", path,
			shorten(c.Class))
	case err == nil && class != "TokenizersBackend" &&
		(c.PrefixSpace != nil || class == "PreTrainedTokenizer"):
		copied := *s
		copied.PrefixSpace = c.PrefixSpace != nil && *c.PrefixSpace
		byClass = &copied
	}
	differ := differences(s, byClass)
	config := filepath.Join(c.folder, "tokenizer_config.json")
	switch {
	case reading == "file" || err != nil && classErr != nil:
		return s, err
	case reading == "class":
		return byClass, classErr
	case err != nil:
		return s, fmt.Errorf("%w; but transformers 5 leaves that out, by the class %s: with "+
			"-tokenizer class it is left out here", err, class)
	case classErr != nil:
		return s, fmt.Errorf("%w; tokenizers and transformers 4 go by the file: -tokenizer file",
			classErr)
	case len(differ[0]) > 0:
		return s, fmt.Errorf("%s: to tokenizers it is %s in this file, to transformers 5 %s, by "+
			"its class %s: -tokenizer file or -tokenizer class says which the model was trained "+
			"with", path, strings.Join(differ[0], ", "), strings.Join(differ[1], ", "),
			cmp.Or(class, "and tokenizer_config.json"))
	case c.AddBOS != nil && *c.AddBOS != (s.Before != nil) || c.AddEOS:
		return s, fmt.Errorf("%s: add_bos_token or add_eos_token says otherwise than %s, which "+
			"counts in transformers: -tokenizer file, if it did for the model", config, path)
	}
	return s, nil
}

// differences tell what two readings of a file have that differs: as the one has it, as the other.
func differences(a, b *vocabularySpec) (differ [2][]string) {
	for _, d := range []struct {
		name string
		has  [2]any
	}{
		{"add_prefix_space", [2]any{a.PrefixSpace, b.PrefixSpace}},
		{"use_regex", [2]any{!a.OneWord, !b.OneWord}},
		{"ignore_merges", [2]any{a.WholeWords, b.WholeWords}},
	} {
		for i, has := range d.has {
			if d.has[0] != d.has[1] {
				differ[i] = append(differ[i], fmt.Sprint(d.name, " ", has))
			}
		}
	}
	if slices.Equal(a.Added, b.Added) {
		return differ
	}
	n := 0
	for n < len(a.Added) && n < len(b.Added) && a.Added[n] == b.Added[n] {
		n++
	}
	// They are in the order of ids, so that the first that differs is nowhere in the other.
	first := slices.MinFunc(slices.Concat(a.Added[n:], b.Added[n:]), byID)
	for i, added := range [][]addedToken{a.Added, b.Added} {
		is := "none"
		for _, t := range added {
			if t.Content == first.Content {
				is = fmt.Sprint(t.ID, t.rules())
			}
		}
		is = fmt.Sprintf("added token %s: %s", quote(first.Content), is)
		differ[i] = append(differ[i], is)
	}
	return differ
}

// rules tell how a token is looked for: " (lstrip, special)".
func (a addedToken) rules() string {
	var rules []string
	for _, r := range []struct {
		is   bool
		name string
	}{{a.SingleWord, "single_word"}, {a.LStrip, "lstrip"}, {a.RStrip, "rstrip"},
		{a.Normalized, "normalized"}, {a.Special, "special"}} {
		if r.is {
			rules = append(rules, r.name)
		}
	}
	if rules == nil {
		return ""
	}
	return " (" + strings.Join(rules, ", ") + ")"
}

// spec is what the file says that can be computed here, with these tokens beside the BPE. The rest
// is refused by name.
func (t *tokenizerJSON) spec(
	path string, c *tokenizerConfig, added []addedToken,
) (*vocabularySpec, error) {
	s := &vocabularySpec{file: path}
	refuse := func(format string, args ...any) (*vocabularySpec, error) {
		return s, fmt.Errorf("%s: "+format, append([]any{path}, args...)...)
	}
	m := t.Model
	pieces, isList := m["vocab"].([]any) // Unigram's: tokens and scores
	if isList {
		s.Vocab = map[string]int{}
	}
	for id, piece := range pieces {
		if pair, ok := piece.([]any); ok && len(pair) > 0 {
			s.Vocab[fmt.Sprint(pair[0])] = id
		}
	}
	if kind := m["type"]; kind != "BPE" && kind != nil { // old files do not name it
		fill(reflect.ValueOf(&s.Vocab).Elem(), m["vocab"], "")
		return refuse("its model is %s, not a byte-level BPE", shorten(fmt.Sprint(kind)))
	}
	for _, from := range []struct {
		key  string
		into any
	}{{"vocab", &s.Vocab}, {"merges", &s.Merges}, {"ignore_merges", &s.WholeWords}} {
		if err := fill(reflect.ValueOf(from.into).Elem(), m[from.key], from.key); err != nil {
			return refuse("%w", err)
		}
	}
	if len(s.Vocab) == 0 {
		return refuse("its model has no vocab of tokens and ids")
	}
	for _, key := range []string{
		"dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback",
	} {
		unset := []any{nil, "", false, json.Number("0"), json.Number("0.0")}
		if !slices.Contains(unset, m[key]) {
			return refuse("its model has %s, as no byte-level BPE of GPT-2's kind has", key)
		}
	}
	for _, p := range t.Normalizer.flat() {
		return refuse("its normalizer, %s, changes texts in a way that is not supported",
			shorten(p.Type))
	}
	splits := 0
	for _, p := range t.PreTokenizer.flat() {
		if splits++; p.Type != "ByteLevel" || splits > 1 {
			return refuse("its pre_tokenizer, %s, splits texts in another way than one ByteLevel",
				shorten(p.Type))
		}
		if p.PrefixSpace == nil {
			return refuse("its pre_tokenizer lacks add_prefix_space")
		}
		s.PrefixSpace, s.OneWord = *p.PrefixSpace, p.UseRegex != nil && !*p.UseRegex
	}
	if splits == 0 {
		return refuse("it has no pre_tokenizer ByteLevel: not a byte-level BPE")
	}
	for _, p := range t.PostProcessor.flat() {
		before, err := p.before()
		if err != nil {
			return refuse("%w", err)
		}
		s.Before = slices.Concat(before, s.Before)
	}
	return s, s.addTokens(c, added...)
}

// before returns the tokens that a post_processor puts before a text.
func (p *stage) before() (before []int, err error) {
	if p.Type == "ByteLevel" { // that one is about offsets alone
		return nil, nil
	}
	if p.Type != "TemplateProcessing" {
		return nil, fmt.Errorf("its post_processor, %s, puts tokens around texts in a way that is "+
			"not supported here", shorten(p.Type))
	}
	texts := 0
	for _, piece := range p.Single {
		switch {
		case piece.Sequence != nil && piece.Sequence.ID == "A":
			texts++
		case piece.SpecialToken != nil && texts == 0:
			before = append(before, p.SpecialTokens[piece.SpecialToken.ID].IDs...)
		case piece.SpecialToken != nil:
			return nil, fmt.Errorf("its post_processor puts %s behind every text, which is "+
				"not supported here", quote(piece.SpecialToken.ID))
		}
	}
	if texts != 1 {
		return nil, errors.New("its post_processor does not keep texts as they are")
	}
	return before, nil
}

// addTokens adds the tokens that stand beside the BPE: those given, which are tokenizer.json's,
// then those of tokenizer_config.json or else added_tokens.json. It notes which are special and
// which begins a text. As in the libraries, one that the vocabulary lacks has the next id from the
// count of its entries on, whatever id the file gives it.
func (s *vocabularySpec) addTokens(c *tokenizerConfig, added ...addedToken) error {
	var more []addedToken
	for key, a := range c.Decoder {
		id, err := strconv.Atoi(key)
		if a.ID = id; err != nil {
			return fmt.Errorf("%s: added_tokens_decoder: %s is not a token id",
				filepath.Join(c.folder, "tokenizer_config.json"), quote(key))
		}
		more = append(more, a)
	}
	for content, id := range c.Later {
		if c.Decoder == nil {
			more = append(more, addedToken{ID: id, Content: content, Normalized: true})
		}
	}
	slices.SortFunc(more, byID)
	names := append(slices.Clone(c.Additional), c.BOS, c.EOS, c.UNK, c.PAD)
	if c.standard("bos_token", "eos_token", "unk_token") {
		names = append(names, standardToken)
	}
	for _, name := range names {
		if id, ok := s.Vocab[string(name)]; ok {
			more = append(more, addedToken{ID: id, Content: string(name)})
		}
	}
	next := len(s.Vocab)
	if s.Vocab == nil {
		next = vocabSize
	}
	known := map[string]bool{"": true}
	for _, a := range append(slices.Clone(added), more...) {
		if a.ID < 0 || a.ID >= mostTokens {
			return fmt.Errorf("%s: the added token %s has the id %d, which no model has",
				cmp.Or(s.file, c.folder), quote(a.Content), a.ID)
		}
		if known[a.Content] {
			continue
		}
		known[a.Content] = true
		id, ok := s.Vocab[a.Content]
		if s.Vocab == nil && a.Content == "<|endoftext|>" {
			id, ok = endOfText, true
		}
		if a.ID = id; !ok {
			a.ID = next
		}
		next = max(next, a.ID+1)
		if slices.Contains(names, tokenName(a.Content)) {
			a.Special, a.Normalized = true, a.Normalized && c.Later[a.Content] == 0
		}
		if a.Content == string(c.BOS) {
			s.BOS = &a.ID
		}
		s.Added = append(s.Added, a)
	}
	slices.SortFunc(s.Added, byID)
	if s.BOS == nil && fill(reflect.ValueOf(&s.BOS).Elem(), c.BOSID, "") != nil {
		s.BOS = nil
	}
	if id, ok := s.Vocab[standardToken]; s.BOS != nil && s.Vocab != nil &&
		c.standard("bos_token") && !(ok && id == *s.BOS) {
		s.BOS = new(noToken) // config.json says one, the class another
	}
	s.doubt(c, added)
	return nil
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
	}
	for _, a := range slices.Concat(added, slices.Collect(maps.Values(c.Decoder))) {
		given[a.Content] = a.Special
	}
	doubt := func(token, who string) {
		why := who + " makes a special token, but the vocabulary has no such token"
		if _, ok := s.Vocab[token]; ok {
			why = who + " makes a special token, but nothing else does"
		}
		s.Unsure[token] = why
	}
	for i, file := range []string{"special_tokens_map.json", "tokenizer_config.json"} {
		path := filepath.Join(c.folder, file)
		for _, key := range sortedKeys(c.said[i]) {
			tokens := tokensNamed(key, c.said[i][key])
			other, both := c.said[1-i][key]
			contested := both && !slices.Equal(tokens, tokensNamed(key, other)) ||
				!both && file == "special_tokens_map.json" && c.Decoder != nil
			for _, token := range tokens {
				if !special[token] || contested && !given[token] && token != "" {
					doubt(token, path)
				}
			}
		}
		for _, a := range s.Added {
			if a.Special && c.said[i]["split_special_tokens"] == true {
				s.Unsure[a.Content] = path + " keeps from being a token: split_special_tokens"
			}
		}
	}
	if c.standard("bos_token", "eos_token", "unk_token") && !special[standardToken] {
		doubt(standardToken, c.class())
	}
}

func byID(a, b addedToken) int { return cmp.Compare(a.ID, b.ID) }

// build makes the vocabulary of a model with so many rows of embedding.
func (s *vocabularySpec) build(rows int) (*vocabulary, error) {
	if s.Vocab != nil && s.isGPT2() {
		s.toGPT2()
	}
	v := &vocabulary{
		bpe: gpt2BPE(), file: s.file, rows: rows, named: map[int]string{},
		before: s.Before, prefixSpace: s.PrefixSpace, bos: noToken, spec: s,
	}
	added := s.Added
	switch {
	case s.Base == characterBase && len(added) != rows:
		return nil, fmt.Errorf("%s: it has %d characters, but the model has %d tokens: this is "+
			"not the vocabulary of these weights", s.file, len(added), rows)
	case s.Base == characterBase || s.Vocab != nil:
		var err error
		if v.bpe, err = s.newBPE(rows); err != nil {
			return nil, fmt.Errorf("%s: %w", s.file, err)
		}
		v.lacking = slices.Contains(v.letters[:], noToken)
	default:
		v.bos = endOfText
		isEnd := func(a addedToken) bool { return a.ID == endOfText }
		if !slices.ContainsFunc(added, isEnd) {
			end := addedToken{ID: endOfText, Content: "<|endoftext|>", Special: true}
			added = append(slices.Clone(added), end)
		}
	}
	for _, id := range s.Before {
		if id < 0 || id >= rows {
			return nil, fmt.Errorf("%s: every text begins with token %d, but the model has %d",
				s.file, id, rows)
		}
	}
	for _, a := range added {
		id, ok := s.Vocab[a.Content]
		text := v.token(a.ID)
		if a.ID < 0 || a.ID >= mostTokens || ok && id != a.ID ||
			!ok && text != "" && text != a.Content {
			return nil, fmt.Errorf("%s: the added token %s has the id %d, which is another "+
				"token's, or it has two", s.file, quote(a.Content), a.ID)
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
	}
	for _, set := range v.added {
		slices.SortFunc(set, func(a, b addedToken) int { return cmp.Compare(a.Content, b.Content) })
	}
	if s.BOS != nil {
		v.bos = *s.BOS
	}
	if s.OneWord {
		b := *v.bpe
		b.oneWord = true
		v.bpe = &b
	}
	return v, nil
}

// refuse is a vocabulary that encodes nothing, for a reason, and names the tokens that are known.
func (s *vocabularySpec) refuse(why error) *vocabulary {
	v := &vocabulary{bpe: new(bpe), bos: noToken, named: map[int]string{}, refused: why,
		spec: &vocabularySpec{Vocab: s.Vocab, Added: s.Added, Refused: why.Error()}}
	_, inLetters := s.Vocab["Ġ"]
	for _, token := range slices.Sorted(maps.Keys(s.Vocab)) {
		text, ok := bytesOfLetters(token)
		if !ok || !inLetters {
			text = token
		}
		v.named[s.Vocab[token]] = text
	}
	for _, a := range s.Added {
		v.named[a.ID] = a.Content
	}
	return v
}

// isGPT2 tells whether the tokens and merges are GPT-2's own, perhaps with more tokens behind.
func (s *vocabularySpec) isGPT2() bool {
	if len(s.Merges) != endOfText-256 {
		return false
	}
	id := 0
	is := func(token string) bool {
		got, ok := s.Vocab[token]
		id++
		return ok && got == id-1
	}
	for r := rune(0); r <= lastByteLetter; r++ {
		if _, ok := byteOfLetter(r); ok && !is(string(r)) {
			return false
		}
	}
	_, lines, _ := strings.Cut(vocabFile, "\n")
	for _, m := range s.Merges {
		var line string
		line, lines, _ = strings.Cut(lines, "\n")
		left, right, _ := strings.Cut(line, " ")
		if m != (mergePair{left, right}) || !is(left+right) {
			return false
		}
	}
	return true
}

// toGPT2 makes it GPT-2's vocabulary by name; tokens that were behind it are added ones.
func (s *vocabularySpec) toGPT2() {
	for _, a := range s.Added {
		if id, ok := s.Vocab[a.Content]; ok && id == a.ID {
			delete(s.Vocab, a.Content)
		}
	}
	for content, id := range s.Vocab {
		if id >= endOfText {
			s.Added = append(s.Added, addedToken{ID: id, Content: content, Special: true})
		}
	}
	slices.SortFunc(s.Added, byID)
	s.Base, s.Vocab, s.Merges = gpt2Base, nil, nil
}

// newBPE makes the BPE of a vocabulary that is not GPT-2's.
func (s *vocabularySpec) newBPE(rows int) (*bpe, error) {
	spelt, err := s.spelling(min(rows, mostTokens)) // which a file of weights merely claims
	if err != nil {
		return nil, err
	}
	b := &bpe{
		merges:     make(map[[2]int32]merged, len(s.Merges)),
		words:      map[string]int32{},
		wholeWords: s.WholeWords,
	}
	literal := make([]bool, len(spelt)) // tokens such as <s>, whose characters are no byte letters
	for _, a := range s.Added {
		if id, ok := s.Vocab[a.Content]; ok {
			literal[id] = true
		}
	}
	for rank, m := range s.Merges {
		var ids [3]int
		for i, token := range []string{m[0], m[1], m[0] + m[1]} {
			var ok bool
			if ids[i], ok = s.Vocab[token]; !ok {
				return nil, fmt.Errorf("merge %d, of %s and %s: there is no token %s",
					rank+1, quote(m[0]), quote(m[1]), quote(token))
			}
		}
		b.merges[[2]int32{int32(ids[0]), int32(ids[1])}] = merged{int32(rank), int32(ids[2])}
		literal[ids[2]] = false
	}
	for i := range b.letters {
		b.letters[i] = noToken
	}
	var bytes []byte
	start := make([]byte, 4, 4*(len(spelt)+1))
	for id, token := range spelt {
		text, ok := bytesOfLetters(token)
		if ok && len(text) == 1 {
			b.letters[text[0]] = int32(id)
			literal[id] = false
		}
		if ok && s.WholeWords {
			b.words[text] = int32(id)
		}
		if !ok || literal[id] {
			text = token
		}
		bytes = append(bytes, text...)
		start = binary.LittleEndian.AppendUint32(start, uint32(len(bytes)))
	}
	b.bytes, b.start = string(bytes), uint32s(start)
	return b, nil
}

// spelling is the tokens by their ids, as the file spells them, of a model with so many rows.
func (s *vocabularySpec) spelling(rows int) ([]string, error) {
	var spelt []string
	taken := map[int]bool{}
	for _, token := range slices.Sorted(maps.Keys(s.Vocab)) {
		id := s.Vocab[token]
		if id < 0 || id >= rows {
			return nil, fmt.Errorf("the token %s has the id %d, but the model has %d tokens: "+
				"this is not the vocabulary of these weights", quote(token), id, rows)
		}
		if id >= len(spelt) {
			spelt = append(spelt, make([]string, id+1-len(spelt))...)
		}
		if taken[id] {
			return nil, fmt.Errorf("two tokens, %s and %s, have the id %d", quote(spelt[id]),
				quote(token), id)
		}
		spelt[id], taken[id] = token, true
	}
	return spelt, nil
}

// bytesOfLetters returns the bytes of a token; ok is false where not all of it are byte letters.
func bytesOfLetters(token string) (text string, ok bool) {
	bytes := make([]byte, 0, len(token))
	for _, r := range token {
		b, ok := byteOfLetter(r)
		if !ok {
			return "", false
		}
		bytes = append(bytes, b)
	}
	return string(bytes), true
}

// fill puts a value that was read, found at a path of keys, into a Go value. A type may do it by
// itself: with a method fromJSON.
func fill(into reflect.Value, v any, path string) (err error) {
	defer catchFault(&err)
	assign(into, v, path)
	return nil
}

func assign(into reflect.Value, v any, path string) {
	if v == nil {
		return
	}
	if own, ok := into.Addr().Interface().(interface{ fromJSON(v any) error }); ok {
		if err := own.fromJSON(v); err != nil {
			fail("%s: %w", path, err)
		}
		return
	}
	within := func(key string) string { return strings.TrimPrefix(path+"."+shorten(key), ".") }
	switch into.Kind() {
	case reflect.Interface:
		into.Set(reflect.ValueOf(v))
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		assign(into.Elem(), v, path)
	case reflect.Struct:
		object := as[map[string]any](v, path)
		for i := range into.NumField() {
			key, _, _ := strings.Cut(into.Type().Field(i).Tag.Get("json"), ",")
			if inner, ok := object[key]; ok && key != "" {
				assign(into.Field(i), inner, within(key))
			}
		}
	case reflect.Map:
		object := as[map[string]any](v, path)
		into.Set(reflect.MakeMapWithSize(into.Type(), len(object)))
		for _, key := range sortedKeys(object) {
			inner := reflect.New(into.Type().Elem()).Elem()
			assign(inner, object[key], within(key))
			into.SetMapIndex(reflect.ValueOf(key), inner)
		}
	case reflect.Slice:
		list := as[[]any](v, path)
		into.Set(reflect.MakeSlice(into.Type(), len(list), len(list)))
		for i, inner := range list {
			assign(into.Index(i), inner, path)
		}
	case reflect.String:
		into.SetString(as[string](v, path))
	case reflect.Bool:
		into.SetBool(as[bool](v, path))
	case reflect.Int:
		into.SetInt(int64(asInt(v, path)))
	}
}
