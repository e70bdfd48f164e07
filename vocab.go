package main

// Vocabularies beside the weights: a GPT-2 of another language has a byte-level BPE of its own, in
// the files of Hugging Face's tokenizers:
//
//	tokenizer.json            everything in one: tokens, merges, and how texts are cut
//	vocab.json, merges.txt    the older form: {"token": id, …}, and a merge on each line
//	added_tokens.json         tokens that were added later: {"token": id, …}
//	tokenizer_config.json, special_tokens_map.json, config.json    which token is which, and rules
//
// Tokens are spelt in the letters of vocab.bpe, one for each byte (bpe.go), but the ids are not the
// order of the merges, two merges can make the same token, and no merge makes tokens such as <s>.
// What the files say is computed exactly as the library does, or refused by name: a text that is
// cut in another way than the model was trained on gives numbers that are wrong without a sign of
// it. One thing is taken more literally: a special token's characters in a text are plain text, as
// OpenAI's own tokenizer has it.

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// tokenizer maps texts to token ids and back, as a model was trained. nil is GPT-2's own. It is
// safe for concurrent use.
type tokenizer struct {
	read     func() *vocabulary // what lies beside the weights; read once, when it is first needed
	rows     int                // of the model's embedding: ids end before it
	numbers  bool               // texts are token ids (-ids)
	bosFirst bool               // every text begins with the token for that (-bos)
}

// gpt2 is GPT-2's own tokenizer.
var gpt2 *tokenizer

// newTokenizer is the tokenizer of a model with so many rows of embedding: what its metadata say,
// else the files in its folder, either of which may be empty. They are read later, and refused
// tells what is wrong with them.
func newTokenizer(folder string, meta map[string]string, rows int) *tokenizer {
	return &tokenizer{rows: rows, read: sync.OnceValue(func() *vocabulary {
		s, err := readSpec(folder, meta)
		if err == nil {
			var v *vocabulary
			if v, err = s.build(rows); err == nil {
				return v
			}
		}
		return &vocabulary{bpe: gpt2BPE(), bos: noToken, refused: err}
	})}
}

func (t *tokenizer) vocabulary() *vocabulary {
	if t == nil {
		return gpt2Vocabulary()
	}
	return t.read()
}

// withBOS is t, but every text begins with the token for that.
func (t *tokenizer) withBOS(rows int) (*tokenizer, error) {
	v := t.vocabulary()
	if v.bos == noToken {
		return nil, errors.New("-bos: nothing beside the weights says which token begins a text")
	}
	return &tokenizer{read: func() *vocabulary { return v }, rows: rows, bosFirst: true}, nil
}

// refused is nil, or why texts cannot be encoded: one line that names the file.
func (t *tokenizer) refused() error {
	if t != nil && t.numbers {
		return nil
	}
	if err := t.vocabulary().refused; err != nil {
		return fmt.Errorf("%w; with -ids the texts and answers are token ids", err)
	}
	return nil
}

// encode returns the token ids of a whole text, with what stands before it where that is asked for.
func (t *tokenizer) encode(text string) ([]int, error) {
	if t != nil && t.numbers {
		return parseIDs(text, t.rows)
	}
	v := t.vocabulary()
	ids, err := v.encode(text, v.prefixSpace)
	switch {
	case err != nil:
		return nil, err
	case len(v.before) > 0:
		return slices.Concat(v.before, ids), nil
	case t != nil && t.bosFirst:
		return slices.Insert(ids, 0, v.bos), nil
	}
	return ids, nil
}

// encodeWord returns the token ids of a text, such as an answer, by itself.
func (t *tokenizer) encodeWord(text string) ([]int, error) {
	if t != nil && t.numbers {
		return parseIDs(text, t.rows)
	}
	return t.vocabulary().encode(text, false)
}

// token returns the bytes of one token, "#50300" for an id that has none.
func (t *tokenizer) token(id int) string {
	if t == nil || !t.numbers {
		if text := t.vocabulary().token(id); text != "" {
			return text
		}
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
	if t != nil && t.numbers {
		return nil
	}
	for _, a := range t.vocabulary().special {
		if strings.Contains(text, a.Content) {
			notes = append(notes, fmt.Sprintf("it holds the characters %s, which are plain text "+
				"here, not token %d (-bos puts the one that begins a text first)", a.Content, a.ID))
		}
	}
	if strings.HasSuffix(text, " ") {
		notes = append(notes, "it ends in a space, but a word's token begins with its space, so "+
			"the next token is hardly a word: leave the space out")
	}
	return notes
}

// notesOnModel tell that a model's vocabulary is hardly the one that its texts are cut by.
func (t *tokenizer) notesOnModel() []string {
	if t == nil || t.numbers || t.rows >= endOfText || t.vocabulary().merges != nil {
		return nil
	}
	return []string{fmt.Sprintf("texts are cut by GPT-2's vocabulary of %d tokens, but the model "+
		"has %d: a vocabulary of its own belongs beside the weights", vocabSize, t.rows)}
}

// metadata is what a converted file carries of the vocabulary, to be read by newTokenizer again.
func (t *tokenizer) metadata() map[string]string {
	v := t.vocabulary()
	carried := v.spec
	if v.refused != nil {
		carried = &vocabularySpec{Refused: v.refused.Error()}
	}
	s := encodeJSON(carried)
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
	named       map[int]string  // the tokens that stand beside the BPE, such as <s>
	special     []addedToken    // those of them that no text makes
	added       [2][]addedToken // all of them, those that are looked for last behind
	before      []int           // stand before every text
	prefixSpace bool            // a text that does not begin with a space gets one
	bos         int             // the token that begins a text, noToken where none is known
	lacking     bool            // whether some bytes have no token
	spec        *vocabularySpec
	refused     error // why there is none
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

// encode returns the token ids of a text, which with space begins with one. A byte that the
// vocabulary has no token for is an error.
func (v *vocabulary) encode(text string, space bool) ([]int, error) {
	if v.refused != nil {
		return nil, v.refused
	}
	if v.lacking {
		for i := range len(text) {
			if v.letters[text[i]] == noToken {
				return nil, fmt.Errorf("%s has no token for the byte 0x%02X, as in %q",
					v.file, text[i], text[max(0, i-4):min(len(text), i+4)])
			}
		}
	}
	sets := v.added[:]
	if len(v.special) == len(v.added[0])+len(v.added[1]) {
		sets = nil // all is plain text
	}
	return v.appendAround(nil, text, space, sets)
}

// appendAround appends the ids of a text in which added tokens are looked for before anything else:
// those of the first set, from left to right and the longest where several begin, then, in what
// remains, those of the next. A special token is found, but stays plain text.
func (v *vocabulary) appendAround(
	ids []int, text string, space bool, sets [][]addedToken,
) ([]int, error) {
	if len(sets) == 0 {
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
		case a.Special:
			i += len(a.Content)
			continue
		case a.SingleWord || a.LStrip || a.RStrip:
			return nil, fmt.Errorf("the text holds %q, an added token with rules of its own in %s "+
				"(single_word, lstrip, rstrip), which are not supported here", a.Content, v.file)
		}
		if ids, err = v.appendAround(ids, text[plain:i], space, sets[1:]); err != nil {
			return nil, err
		}
		ids = append(ids, a.ID)
		i += len(a.Content)
		plain = i
	}
	return v.appendAround(ids, text[plain:], space, sets[1:])
}

// longestAt returns the longest of the tokens that the text begins with, nil for none.
func longestAt(text string, tokens []addedToken) *addedToken {
	var longest *addedToken
	for i := range tokens {
		a := &tokens[i]
		if longest != nil && len(a.Content) <= len(longest.Content) {
			continue
		}
		if strings.HasPrefix(text, a.Content) {
			longest = a
		}
	}
	return longest
}

// vocabularySpec is what the files say, and in JSON what a converted file's metadata carry.
type vocabularySpec struct {
	Base        string         `json:"base,omitempty"`  // "GPT-2", found to be its own
	Vocab       map[string]int `json:"vocab,omitempty"` // in byte letters; none: GPT-2's
	Merges      []mergePair    `json:"merges,omitempty"`
	Added       []addedToken   `json:"added_tokens,omitempty"`
	Before      []int          `json:"before,omitempty"`
	BOS         *int           `json:"bos,omitempty"`
	PrefixSpace bool           `json:"add_prefix_space,omitempty"`
	OneWord     bool           `json:"one_word,omitempty"`
	WholeWords  bool           `json:"ignore_merges,omitempty"`
	Refused     string         `json:"refused,omitempty"`

	file string
}

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
// GPT-2's where there are none.
func readSpec(folder string, meta map[string]string) (*vocabularySpec, error) {
	s := new(vocabularySpec)
	if carried, ok := meta[metaTokenizer]; ok {
		s.file = "the model's metadata"
		if err := parseJSON([]byte(carried), s); err != nil {
			return nil, fmt.Errorf("%s: not a vocabulary: %w", s.file, err)
		}
		if s.Refused != "" {
			return nil, errors.New(s.Refused)
		}
		return s, nil
	}
	if folder == "" {
		return s, nil
	}
	c := new(tokenizerConfig)
	for _, name := range []string{ // the last one has the last word
		"config.json", "special_tokens_map.json", "tokenizer_config.json",
	} {
		if _, err := readJSON(folder, name, c); err != nil {
			return nil, err
		}
	}
	read := readTokenizerJSON
	if !isFile(filepath.Join(folder, "tokenizer.json")) {
		read = readVocabAndMerges
	}
	if err := read(s, folder, c); err != nil {
		return nil, err
	}
	return s, s.addTokens(folder, c)
}

const mostTokens = 1 << 22

// largestTokenizer bounds the files. Those of vocabularies with 50,000 tokens have 2 MB.
const largestTokenizer = 32 << 20

// readJSON reads a JSON file of a folder into a value. ok is false where there is none.
func readJSON(folder, name string, into any) (ok bool, err error) {
	path := filepath.Join(folder, name)
	data, err := readBounded(path, largestTokenizer)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = parseJSON(data, into)
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, reason(err))
	}
	return true, nil
}

// tokenizerConfig is what decides the ids of a plain text in tokenizer_config.json,
// special_tokens_map.json and config.json.
type tokenizerConfig struct {
	Class       string                `json:"tokenizer_class"`
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

// isGPT2 tells whether the tokenizer's class cuts texts as GPT-2 does.
func (c *tokenizerConfig) isGPT2() bool {
	return c.Class == "" || slices.Contains([]string{
		"GPT2Tokenizer", "CodeGenTokenizer", "PreTrainedTokenizer", "TokenizersBackend",
	}, strings.TrimSuffix(c.Class, "Fast"))
}

func readVocabAndMerges(s *vocabularySpec, folder string, c *tokenizerConfig) error {
	const vocabName, mergesName = "vocab.json", "merges.txt"
	s.file = filepath.Join(folder, vocabName)
	hasVocab, hasMerges := isFile(s.file), isFile(filepath.Join(folder, mergesName))
	if !hasVocab || !hasMerges {
		for _, other := range []struct{ file, kind string }{
			{"spiece.model", "SentencePiece"}, {"tokenizer.model", "SentencePiece"},
			{"sentencepiece.bpe.model", "SentencePiece"}, {"spm.model", "SentencePiece"},
			{"vocab.txt", "WordPiece"},
		} {
			if path := filepath.Join(folder, other.file); isFile(path) {
				return fmt.Errorf("%s: this vocabulary is of the kind %s, not a byte-level BPE",
					path, other.kind)
			}
		}
		switch {
		case !c.isGPT2():
			return fmt.Errorf("%s: the model was made for a %s, and no vocabulary lies beside it",
				folder, shorten(c.Class))
		case hasVocab:
			return fmt.Errorf("%s: without %s this is not a byte-level BPE", s.file, mergesName)
		case hasMerges:
			return fmt.Errorf("%s: without %s the tokens' ids are not known",
				filepath.Join(folder, mergesName), vocabName)
		}
		s.file = ""
		return nil
	}
	if !c.isGPT2() {
		return fmt.Errorf("%s: beside it tokenizer_class is %s, which cuts texts in another way "+
			"than GPT-2's", s.file, shorten(c.Class))
	}
	if _, err := readJSON(folder, vocabName, &s.Vocab); err != nil {
		return err
	}
	if len(s.Vocab) == 0 {
		return fmt.Errorf("%s: it holds no tokens", s.file)
	}
	mergesPath := filepath.Join(folder, mergesName)
	data, err := readBounded(mergesPath, largestTokenizer)
	if err == nil {
		s.Merges, err = parseMerges(string(data))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", mergesPath, reason(err))
	}
	s.PrefixSpace = c.PrefixSpace != nil && *c.PrefixSpace
	if c.AddEOS {
		return fmt.Errorf("%s: add_eos_token asks for a token behind every text: not supported",
			filepath.Join(folder, "tokenizer_config.json"))
	}
	if c.AddBOS != nil && *c.AddBOS {
		id, ok := s.Vocab[string(c.BOS)]
		if !ok {
			return fmt.Errorf("%s: add_bos_token is true, but bos_token, %s, is not in %s",
				filepath.Join(folder, "tokenizer_config.json"), quote(string(c.BOS)), vocabName)
		}
		s.Before = []int{id}
	}
	return nil
}

// parseMerges reads merges.txt: "a b" on each line, perhaps after a line with a version.
func parseMerges(data string) ([]mergePair, error) {
	merges := []mergePair{}
	data = strings.TrimSuffix(data, "\n")
	for n := 1; data != ""; n++ {
		var line string
		line, data, _ = strings.Cut(data, "\n")
		line = strings.TrimSuffix(line, "\r")
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
	Added         []addedToken `json:"added_tokens"`
	Normalizer    *stage       `json:"normalizer"`
	PreTokenizer  *stage       `json:"pre_tokenizer"`
	PostProcessor *stage       `json:"post_processor"`
	Model         struct {
		Type         string      `json:"type"`
		Dropout      float64     `json:"dropout"`
		Prefix       string      `json:"continuing_subword_prefix"`
		Suffix       string      `json:"end_of_word_suffix"`
		ByteFallback bool        `json:"byte_fallback"`
		IgnoreMerges bool        `json:"ignore_merges"`
		Vocab        any         `json:"vocab"`
		Merges       []mergePair `json:"merges"`
	} `json:"model"`
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

func readTokenizerJSON(s *vocabularySpec, folder string, c *tokenizerConfig) error {
	var t tokenizerJSON
	s.file = filepath.Join(folder, "tokenizer.json")
	if _, err := readJSON(folder, "tokenizer.json", &t); err != nil {
		return err
	}
	if err := s.fromTokenizerJSON(&t); err != nil {
		return fmt.Errorf("%s: %w", s.file, err)
	}
	const differs = "%s: %s is %t, but %s says otherwise: it is not known which is right"
	config := filepath.Join(folder, "tokenizer_config.json")
	isGPT2 := strings.TrimSuffix(c.Class, "Fast") == "GPT2Tokenizer" // it goes by the config
	switch {
	case c.PrefixSpace != nil && *c.PrefixSpace != s.PrefixSpace:
		return fmt.Errorf(differs, config, "add_prefix_space", *c.PrefixSpace, s.file)
	case c.PrefixSpace == nil && s.PrefixSpace && isGPT2:
		return fmt.Errorf(differs, config, "add_prefix_space", false, s.file)
	case c.AddBOS != nil && *c.AddBOS != (s.Before != nil):
		return fmt.Errorf(differs, config, "add_bos_token", *c.AddBOS, s.file)
	case c.AddEOS:
		return fmt.Errorf(differs, config, "add_eos_token", true, s.file)
	}
	return nil
}

// fromTokenizerJSON takes over what can be computed here, and refuses the rest by name.
func (s *vocabularySpec) fromTokenizerJSON(t *tokenizerJSON) error {
	m := &t.Model
	vocab, hasVocab := m.Vocab.(map[string]any)
	switch {
	case m.Type != "BPE" && m.Type != "": // old files do not name it
		return fmt.Errorf("its model is %s, not a byte-level BPE", shorten(m.Type))
	case !hasVocab:
		return errors.New("its model has no vocab of tokens and ids")
	case m.Dropout != 0:
		return errors.New("its model has dropout: the same text has other tokens each time")
	case m.Prefix != "":
		return errors.New("its model has a continuing_subword_prefix: not a byte-level BPE")
	case m.Suffix != "":
		return errors.New("its model has an end_of_word_suffix: not a byte-level BPE")
	case m.ByteFallback:
		return errors.New("its model has byte_fallback: not a byte-level BPE")
	}
	if err := fill(reflect.ValueOf(&s.Vocab).Elem(), vocab, "vocab"); err != nil {
		return err
	}
	if len(s.Vocab) == 0 {
		return errors.New("its vocab holds no tokens")
	}
	s.Merges, s.WholeWords, s.Added = m.Merges, m.IgnoreMerges, t.Added
	if name := t.Normalizer.other(""); name != "" {
		return fmt.Errorf("its normalizer, %s, changes texts in a way that is not supported", name)
	}
	p := t.PreTokenizer
	if p != nil && p.Type == "Sequence" && len(p.PreTokenizers) == 1 {
		p = &p.PreTokenizers[0]
	}
	if name := p.other("ByteLevel"); name != "" {
		return fmt.Errorf("its pre_tokenizer, %s, splits texts in another way than ByteLevel", name)
	}
	if p == nil || p.Type != "ByteLevel" {
		return errors.New("it has no pre_tokenizer ByteLevel: not a byte-level BPE")
	}
	if p.PrefixSpace == nil {
		return errors.New("its pre_tokenizer lacks add_prefix_space")
	}
	s.PrefixSpace, s.OneWord = *p.PrefixSpace, p.UseRegex != nil && !*p.UseRegex
	var err error
	s.Before, err = t.PostProcessor.before()
	return err
}

// other returns the name of the first stage that is not of a known kind, "" for none. Sequences of
// nothing are nothing.
func (p *stage) other(known string) string {
	switch {
	case p == nil || p.Type == known:
		return ""
	case p.Type != "Sequence":
		return shorten(p.Type)
	}
	for _, list := range [][]stage{p.Normalizers, p.PreTokenizers} {
		for i := range list {
			if name := list[i].other(known); name != "" {
				return name
			}
		}
		if len(list) > 1 {
			return "a Sequence"
		}
	}
	return ""
}

// before returns the tokens that a post_processor puts before a text.
func (p *stage) before() ([]int, error) {
	if p == nil || p.Type == "ByteLevel" { // that one is about offsets alone
		return nil, nil
	}
	var before []int
	switch p.Type {
	case "Sequence":
		for i := range p.Processors {
			ids, err := p.Processors[i].before()
			if err != nil {
				return nil, err
			}
			before = slices.Concat(ids, before)
		}
		return before, nil
	case "TemplateProcessing":
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
	return nil, fmt.Errorf("its post_processor, %s, puts tokens around texts in a way that is "+
		"not supported here", shorten(p.Type))
}

// addTokens adds to the tokens of tokenizer.json that stand beside the BPE those of
// tokenizer_config.json and added_tokens.json, and notes which are special and which begins a text.
func (s *vocabularySpec) addTokens(folder string, c *tokenizerConfig) error {
	var later map[string]int
	if _, err := readJSON(folder, "added_tokens.json", &later); err != nil {
		return err
	}
	known := map[string]int{} // where in s.Added
	add := func(a addedToken) {
		if _, ok := known[a.Content]; !ok {
			known[a.Content] = len(s.Added)
			s.Added = append(s.Added, a)
		}
	}
	added := s.Added
	s.Added = nil
	for _, a := range added {
		add(a)
	}
	for id, a := range c.Decoder {
		var err error
		if a.ID, err = strconv.Atoi(id); err != nil {
			return fmt.Errorf("%s: added_tokens_decoder: %s is not a token id",
				filepath.Join(folder, "tokenizer_config.json"), quote(id))
		}
		add(a)
	}
	for content, id := range later {
		add(addedToken{ID: id, Content: content})
	}
	for _, name := range append(c.Additional, c.BOS, c.EOS, c.UNK, c.PAD) {
		if id, ok := s.Vocab[string(name)]; ok && name != "" {
			add(addedToken{ID: id, Content: string(name)})
		}
		if i, ok := known[string(name)]; ok {
			s.Added[i].Special = true
		}
	}
	sortTokens(s.Added)
	for _, a := range s.Added {
		if a.Content == string(c.BOS) && a.Content != "" {
			s.BOS = &a.ID
		}
	}
	if s.BOS == nil && fill(reflect.ValueOf(&s.BOS).Elem(), c.BOSID, "") != nil {
		s.BOS = nil
	}
	return nil
}

// build makes the vocabulary of a model with so many rows of embedding.
func (s *vocabularySpec) build(rows int) (*vocabulary, error) {
	if s.Vocab != nil && s.isGPT2() {
		s.toGPT2()
	}
	v := &vocabulary{
		bpe: gpt2BPE(), file: s.file, named: map[int]string{},
		before: s.Before, prefixSpace: s.PrefixSpace, bos: noToken, spec: s,
	}
	if s.Vocab != nil {
		var err error
		if v.bpe, err = s.newBPE(rows); err != nil {
			return nil, fmt.Errorf("%s: %w", s.file, err)
		}
		v.lacking = slices.Contains(v.letters[:], noToken)
	}
	for _, a := range s.Added {
		id, ok := s.Vocab[a.Content]
		text := v.bpe.token(a.ID)
		if a.ID < 0 || ok && id != a.ID || !ok && text != "" && text != a.Content {
			return nil, fmt.Errorf("%s: the added token %s has the id %d, which is another "+
				"token's, or it has two", s.file, quote(a.Content), a.ID)
		}
		v.add(a)
	}
	if s.Vocab == nil {
		v.bos = endOfText
		if v.named[endOfText] == "" {
			v.add(addedToken{ID: endOfText, Content: "<|endoftext|>", Special: true})
		}
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

func (v *vocabulary) add(a addedToken) {
	if a.Content == "" {
		return
	}
	if v.bpe.token(a.ID) == "" {
		v.named[a.ID] = a.Content
	}
	if a.Special {
		v.special = append(v.special, a)
	}
	set := 0
	if a.Normalized {
		set = 1
	}
	v.added[set] = append(v.added[set], a)
}

// gpt2Base is what a spec calls GPT-2's own tokens and merges.
const gpt2Base = "GPT-2"

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
	sortTokens(s.Added)
	s.Base, s.Vocab, s.Merges = gpt2Base, nil, nil
}

func sortTokens(tokens []addedToken) {
	slices.SortFunc(tokens, func(a, b addedToken) int { return cmp.Compare(a.ID, b.ID) })
}

// newBPE makes the BPE of a vocabulary that is not GPT-2's.
func (s *vocabularySpec) newBPE(rows int) (*bpe, error) {
	rows = min(rows, mostTokens) // which a file of weights merely claims
	spelt := map[int]string{}    // the tokens by their ids, as the file spells them
	size := 0
	for token, id := range s.Vocab {
		if id < 0 || id >= rows {
			return nil, fmt.Errorf("the token %s has the id %d, but the model has %d tokens: "+
				"this is not the vocabulary of these weights", quote(token), id, rows)
		}
		if other, taken := spelt[id]; taken {
			return nil, fmt.Errorf("two tokens, %s and %s, have the id %d",
				quote(min(other, token)), quote(max(other, token)), id)
		}
		spelt[id] = token
		size = max(size, id+1)
	}
	b := &bpe{
		merges:     make(map[[2]int32]merged, len(s.Merges)),
		words:      map[string]int32{},
		wholeWords: s.WholeWords,
	}
	literal := make([]bool, size) // tokens such as <s>, whose characters are no byte letters
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
	start := make([]byte, 4, 4*(size+1))
	for id := range size {
		token := spelt[id]
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
