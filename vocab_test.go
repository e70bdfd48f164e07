package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// beside are the files that lie beside a model's weights, by their names. "*" is testdata/vocab's
// file of that name, a small byte-level BPE that Hugging Face's tokenizers made of German and
// Spanish text (make.py), and JSON in a tokenizer.json is what differs from that one.
type beside map[string]string

const smallVocabulary = 420 // tokens in testdata/vocab

func (files beside) folder(t testing.TB) string {
	t.Helper()
	files = maps.Clone(files)
	for name, content := range files {
		if content == "*" {
			files[name] = string(must(os.ReadFile(filepath.Join("testdata", "vocab", name))))
		} else if name == "tokenizer.json" && json.Valid([]byte(content)) {
			files[name] = patched(t, content)
		}
	}
	return folderOf(t, files)
}

// open makes the tokenizers of the files and of the metadata that carry what they say.
func (files beside) open(t testing.TB, rules textRules, rows int) []*tokenizer {
	t.Helper()
	folder := files.folder(t)
	tok, err := tokenizer{folder: folder}.obeys(rules, rows)
	carried, errCarried := tokenizer{meta: carriedOf(folder, rows)}.obeys(rules, rows)
	check(t, errors.Join(err, errCarried))
	return []*tokenizer{tok, carried}
}

// carriedOf is what a converted file carries of the vocabulary in a folder.
func carriedOf(folder string, rows int) map[string]string {
	return must(tokenizer{folder: folder}.obeys(textRules{numbers: true}, rows)).metadata()
}

// patched is testdata's tokenizer.json with other parts, and other parts of its model.
func patched(t testing.TB, patch string) string {
	t.Helper()
	var whole, parts map[string]any
	testdata(t, "vocab/tokenizer.json", &whole)
	decodeJSON(t, patch, &parts)
	model := whole["model"].(map[string]any)
	maps.Copy(whole, parts)
	if inner, ok := parts["model"].(map[string]any); ok {
		maps.Copy(model, inner)
		whole["model"] = model
	}
	return string(must(json.Marshal(whole)))
}

// variants are variants of testdata's tokenizer.json, with awkward texts and their ids according to
// Hugging Face's tokenizers.
func variants(t testing.TB) (all []struct {
	Patch, Model map[string]any
	Texts        []struct {
		Text string
		IDs  []int
	}
}, patches []string) {
	testdata(t, "vocab/golden.json", &all)
	for _, g := range all {
		g.Patch["model"] = g.Model
		patches = append(patches, encodeJSON(g.Patch))
	}
	return all, patches
}

// TestVocabularyGolden holds tokens to the golden ones, for tokenizer.json and its variants, for
// vocab.json with merges.txt, and after a file's metadata have carried the vocabulary.
func TestVocabularyGolden(t *testing.T) {
	all, patches := variants(t)
	if len(all) < 10 {
		t.Fatalf("%d variants", len(all))
	}
	for i, g := range all {
		toks := beside{"tokenizer.json": patches[i]}.open(t, textRules{}, smallVocabulary+4)
		if i == 0 {
			older := beside{"vocab.json": "*", "merges.txt": "*"}
			toks = append(toks, older.open(t, textRules{}, smallVocabulary+4)...)
		}
		for _, tok := range toks {
			for _, want := range g.Texts {
				if ids, err := tok.encode(want.Text); err != nil || !slices.Equal(ids, want.IDs) {
					t.Errorf("%.99s: %q: %v %v, want %v", patches[i], want.Text, ids, err, want.IDs)
				}
			}
		}
	}
}

// Tokens are written in byte letters, but special ones as they are; a vocabulary that encodes
// nothing names its own.
func TestVocabularyText(t *testing.T) {
	added := `{"added_tokens": [{"id": 0, "content": "<s>", "special": true},
		{"id": 420, "content": "é Ġ", "special": true}]}`
	labels := map[int]string{0: "é", 1: "C4", 2: "#2"}
	for _, c := range []struct {
		files beside
		want  map[int]string
	}{
		{beside{"tokenizer.json": added}, map[int]string{0: "<s>", 3: "!", 223: " ", 130: "\xc3",
			339: "tr", 420: "é Ġ", 421: "#421", -1: "#-1"}},
		{beside{"tokenizer.json": `{"added_tokens": [{"id": 261, "content": "Ġd"}],
			"model": {"merges": []}}`}, map[int]string{261: "Ġd", 223: " "}},
		{beside{"tokenizer.json": `{"added_tokens": [], "model": {"type": "WordLevel",
			"vocab": {"é": 0, "C4": 1}}}`}, labels},
		{beside{"tokenizer.json": `{"added_tokens": [], "model": {"type": "Unigram",
			"vocab": [["é", -1.5], ["C4", -2]]}}`}, labels},
		{beside{"vocab.json": `{"é": 0, "C4": 1}`}, labels},
		{beside{}, map[int]string{15: "#15"}}, // GPT-2's tokens do not name those of another model
	} {
		for _, tok := range c.files.open(t, textRules{numbers: true}, smallVocabulary+2) {
			holds(t, tok.token, c.want)
		}
	}
}

// What is not computed as the files say is refused, in one line that names the file and what is in
// the way.
func TestVocabularyRefused(t *testing.T) {
	const level, pointer = `{"type": "ByteLevel", "add_prefix_space": true}`,
		"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
	for _, c := range []struct{ patch, says string }{ // of tokenizer.json
		{`{"model": {"type": "Unigram", "vocab": [["a", -1.5]]}}`, "Unigram"},
		{`{"model": {"type": "WordPiece"}}`, "WordPiece"},
		{`{"model": {"end_of_word_suffix": "</w>"}}`, "end_of_word_suffix"},
		{`{"model": {"continuing_subword_prefix": "#"}}`, "continuing_subword"},
		{`{"model": {"dropout": 0.1}}`, "dropout"},
		{`{"model": {"byte_fallback": true}}`, "byte_fallback"},
		{`{"model": {"vocab": null}}`, "vocab"},
		{`{"model": {"vocab": {"a": "b"}}}`, "vocab.a: text in place of a whole number"},
		{`{"model": {"vocab": {"a": 420}}}`, "not the vocabulary"},
		{`{"model": {"vocab": {"a": -1}}}`, "not the vocabulary"},
		{`{"model": {"vocab": {"a": 1, "": 1}}}`, "have the id 1"},
		{`{"model": {"merges": ["a"]}}`, "merge"},
		{`{"model": {"merges": [["a", "b", "c"]]}}`, "merge"},
		{`{"model": {"merges": ["a Ω"]}}`, `"Ω"`},
		{`{"normalizer": {"type": "NFC"}}`, "NFC"},
		{`{"normalizer": {"type": "Sequence",
			"normalizers": [{"type": "Lowercase"}, {"type": "NFD"}]}}`, "Lowercase"},
		{`{"pre_tokenizer": {"type": "Metaspace"}}`, "Metaspace"},
		{`{"pre_tokenizer": null}`, "not one ByteLevel"},
		{`{"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, ` + level +
			`]}}`, "Digits"},
		{`{"pre_tokenizer": {"type": "Sequence", "pretokenizers": [` + level + `, ` + level +
			`]}}`, "not one ByteLevel"},
		{`{"pre_tokenizer": {"type": "ByteLevel"}}`, "add_prefix_space"},
		{`{"post_processor": {"type": "RobertaProcessing"}}`, "RobertaProcessing"},
		{`{"post_processor": {"type": "TemplateProcessing",
			"single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}}],
			"special_tokens": {"</s>": {"ids": [2]}}}}`, "</s>"}, // behind the text
		{`{"post_processor": {"type": "TemplateProcessing", "single": []}}`, "does not keep texts"},
		{`{"post_processor": {"type": "TemplateProcessing",
			"single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
			"special_tokens": {"<s>": {"ids": [9999999]}}}}`, "begins with token"},
		{"{", "tokenizer.json: not JSON"},
		{pointer, "git lfs pull"},
	} {
		checkRefused(t, beside{"tokenizer.json": c.patch}, c.says)
	}
	for _, c := range []struct{ config, whole, older string }{ // beside either form, or both
		{`{"add_prefix_space": true}`, "add_prefix_space", ""},
		{`{"add_prefix_space": 1}`, "add_prefix_space: 1", "add_prefix_space: 1"},
		{`{"add_bos_token": true, "bos_token": "<x>"}`, "add_bos_token", `bos_token, "<x>"`},
		{`{"add_eos_token": true}`, "add_eos_token", "add_eos_token"},
		{`{"added_tokens_decoder": {"x": {}}}`, "added_tokens_decoder", "added_tokens_decoder"},
		{`{"tokenizer_class": "RobertaTokenizer"}`, "Roberta", "Roberta"},
	} {
		whole := beside{"tokenizer.json": "*", "tokenizer_config.json": c.config}
		checkRefused(t, whole, c.whole)
		older := beside{"vocab.json": "*", "merges.txt": "*", "tokenizer_config.json": c.config}
		if c.older != "" {
			checkRefused(t, older, c.older)
		}
	}
	for _, c := range []struct {
		files beside
		says  string
	}{
		{beside{"tokenizer.json": "*", "added_tokens.json": "{"}, "added_tokens.json"},
		{beside{"tokenizer.json": `{"pre_tokenizer": ` + level + `}`,
			"tokenizer_config.json": `{"tokenizer_class": "GPT2TokenizerFast"}`},
			"add_prefix_space"}, // or not: that is in doubt
		{beside{"special_tokens_map.json": `{"additional_special_tokens": ["<x>"]}`,
			"tokenizer_config.json": `{"additional_special_tokens": ["<y>"]}`},
			"additional_special_tokens: tokenizer_config.json says others"},
		{beside{"vocab.txt": "[UNK]\n"}, "vocab.txt: this may be the model's vocabulary, but"},
		{beside{"spiece.model": "\n"}, "spiece.model: this may be"},
		{beside{"esperanto-vocab.json": "{}"}, "esperanto-vocab.json: this may be"},
		{beside{"vocab.json": "*"}, "vocab.json: this may be"},
		{beside{"merges.txt": "*"}, "and only together: "},
		{beside{"config.json": `{"tokenizer_class": "BertTokenizer"}`}, "BertTokenizer"},
		{beside{"vocab.json": "[]", "merges.txt": "*"}, "vocab.json"},
		{beside{"vocab.json": "{}", "merges.txt": "*"}, "no tokens"},
		{beside{"vocab.json": "*", "merges.txt": "#version: 0\ne n\nen\n"},
			`merges.txt: its lines: a merge that is not two tokens: "en"`},
		{beside{"vocab.json": pointer, "merges.txt": "*"}, "git lfs pull"},
		{beside{"vocab.json": "*", "merges.txt": pointer}, "git lfs pull"},
	} {
		checkRefused(t, c.files, c.says)
	}
}

// checkRefused checks that the vocabulary in these files is refused, also once metadata carried it.
func checkRefused(t *testing.T, files beside, says string) {
	t.Helper()
	folder := files.folder(t)
	_, err := tokenizer{folder: folder}.obeys(textRules{}, smallVocabulary)
	for _, want := range []string{folder, says, "-ids"} {
		wantError(t, says, err, want)
	}
	meta := carriedOf(folder, smallVocabulary)
	_, carried := tokenizer{meta: meta}.obeys(textRules{}, smallVocabulary)
	wantWhole(t, says+", carried by metadata", carried, fmt.Sprint(err))
}

// GPT-2's own files are known for what they are, and tokens which were added to it have their ids.
func TestVocabularyOfGPT2(t *testing.T) {
	vocab := map[string]int{}
	for r := range rune(0x200) {
		if _, ok := bytesOfLetters(string(r)); ok {
			vocab[string(r)] = len(vocab)
		}
	}
	merges := strings.Split(strings.TrimSuffix(vocabFile, "\n"), "\n")[1:]
	for _, line := range merges {
		vocab[strings.Replace(line, " ", "", 1)] = len(vocab)
	}
	vocab[standardToken] = endOfText
	own := beside{"vocab.json": encodeJSON(vocab), "merges.txt": vocabFile}
	whole := beside{"tokenizer.json": encodeJSON(map[string]any{
		"added_tokens": []addedToken{{ID: endOfText, Content: standardToken, Special: true}},
		"model":        map[string]any{"vocab": vocab, "merges": merges},
	})}
	later := beside{"added_tokens.json": `{"<|user|>": 50257, "[PAD]": 50258}`,
		"special_tokens_map.json": `{"pad_token": {"content": "[PAD]"}}`}
	maps.Copy(later, own)
	vocab["<|pad|>"] = 50257
	within := beside{"vocab.json": encodeJSON(vocab), "merges.txt": vocabFile}
	vocab["Ġt"], vocab["Ġa"] = vocab["Ġa"], vocab["Ġt"]
	swapped := beside{"vocab.json": encodeJSON(vocab), "merges.txt": vocabFile}

	const text = "<|user|> at once[PAD]"
	plain := must(gpt2.encode(text))
	for _, c := range []struct {
		name  string
		files beside
		is    bool
		ids   []int
		token string // 50257
	}{
		{"vocab.json", own, true, plain, "#50257"},
		{"tokenizer.json", whole, true, plain, "#50257"},
		{"added later", later, true, []int{50257, 379, 1752, 58, 47, 2885, 60}, "<|user|>"},
		{"added within", within, true, plain, "<|pad|>"},
		{"two ids swapped", swapped, false, plain, "<|pad|>"},
		{"no file", nil, true, plain, "#50257"},
	} {
		for _, tok := range c.files.open(t, textRules{}, 50304) {
			ids, err := tok.encode(text)
			if err != nil || !slices.Equal(ids, c.ids) || tok.token(50257) != c.token {
				t.Errorf("%s: %v %v, token 50257 is %s", c.name, ids, err, tok.token(50257))
			}
			if is := tok.slots != ""; is != c.is {
				t.Errorf("%s: GPT-2's own: %t", c.name, is)
			}
			if meta := tok.metadata(); (meta == nil) != (c.files == nil) {
				t.Errorf("%s: metadata %v", c.name, meta)
			}
		}
	}
}

// TestRandomVocabularies holds the merges of a BPE to its definition for vocabularies of every
// kind: ids in any order, two merges that make one token, merges before those that make their
// halves.
func TestRandomVocabularies(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for range 300 {
		v := &tokenizer{vocabularySpec: vocabularySpec{Vocab: map[string]int{}}}
		d := &definition{rank: map[[2]string]int{}, id: v.Vocab}
		known := []string{"a", "b", "c"}
		for range random.Intn(40) {
			m := mergePair{known[random.Intn(len(known))], known[random.Intn(len(known))]}
			if len(m[0]+m[1]) <= 12 {
				v.Merges = append(v.Merges, m)
				known = append(known, m[0]+m[1])
			}
		}
		random.Shuffle(len(v.Merges), func(i, j int) {
			if random.Intn(3) == 0 {
				v.Merges[i], v.Merges[j] = v.Merges[j], v.Merges[i]
			}
		})
		for rank, m := range v.Merges {
			d.rank[m] = rank
		}
		order := random.Perm(len(known))
		for i, token := range known {
			if _, ok := v.Vocab[token]; !ok {
				v.Vocab[token] = order[i]
			}
		}
		v.rows = len(known)
		v.build()
		for range 10 {
			word := make([]byte, 1+random.Intn(48))
			for i := range word {
				word[i] = "aaabbc"[random.Intn(6)]
			}
			var want []int
			for _, part := range d.merge(string(word)) {
				want = append(want, v.Vocab[part])
			}
			for _, window := range []int{1, 2, 9, 20, mergeWindow} {
				got := v.appendWord(nil, string(word), window, nil)
				if !slices.Equal(got, want) {
					t.Fatalf("merges %v: %s, %d bytes at a time, is %v, want %v", v.Merges, word,
						window, got, want)
				}
			}
		}
	}
}

// A model with a vocabulary of its own answers the same before and after it is converted: the
// folder is its only sign, then the file's metadata.
func TestOwnVocabulary(t *testing.T) {
	ck := randomCheckpoint(Config{2, 1, 8, 16, smallVocabulary}, 32, "F32")
	ck.meta["n_head"] = "1"
	weights, special := string(encodeCheckpoint(ck, 0)), `{"bos_token": "<s>"}`
	folder := beside{"model.safetensors": weights, "tokenizer.json": "*",
		"special_tokens_map.json": special}.folder(t)
	older := beside{"model.safetensors": weights, "vocab.json": "*", "merges.txt": "*",
		"special_tokens_map.json": special}.folder(t)
	lean := filepath.Join(t.TempDir(), "lean.safetensors")
	if code, _, stderr := command(t, "convert", folder, lean); code != 0 {
		t.Fatal(stderr)
	}
	answers := map[string]bool{}
	for _, model := range []string{folder, lean, older} {
		for _, c := range []struct {
			args string
			code int
			says string
		}{
			{"tokens/-e/El mar dijo", 0, "E/l/ m/ar/ d/i/j/o\n8 tokens: 39 78 "},
			{"tokens/-e/El mar/-bos", 0, "<s>/E/l/ m/ar\n5 tokens: 0 39 78 "},
			{"next/-e/El mar/-bos/-top/3", 0, "<s>/E/l/ m/ar\n"},
			{"next/-e/39 78 288/-ids/-top/1", 0, "E/l/ n\n3 tokens: 39 78 288\n"},
			{"next/-e/[39, 420]/-ids", 1, "\"420\" is not a token id"},
			{"next/-e/39/-ids/-bos", 2, "-bos does not go with -ids"},
			{"-e/El mar/El dar/=n/=s/-o/", 0, `logit("s") - logit("n")`},
			{"-e/El mar/El dar/Jones/=s/-o/", 1, "\" Jones\" is not one token"},
			{"-e/39 78/39 79/5/#6/-ids/-o/", 0, `logit("$") - logit("#")`},
		} {
			args := append([]string{"-model", model}, strings.Split(c.args, "/")...)
			code, stdout, stderr := command(t, args...)
			if code != c.code || !strings.Contains(stdout+stderr, c.says) {
				t.Errorf("%v: %d\n%s%s", args, code, stdout, stderr)
			}
		}
		_, stdout, _ := command(t, "next", "-json", "-", "-model", model, "-e", "El niño")
		_, answer, _ := strings.Cut(uncommanded(stdout), `"text"`)
		answers[answer] = true
	}
	if len(answers) != 1 || answers[""] {
		t.Errorf("the models' answers are not one: %v", answers)
	}
}

func TestParseIDs(t *testing.T) {
	const beyond = " is not a token id: with -ids, texts and answers are numbers from 0 to 9"
	holds(t, func(text string) string {
		ids, err := parseIDs(text, 10)
		return fmt.Sprint(ids, err)
	}, map[string]string{
		"1 0\t9\r\n": "[1 0 9] <nil>", "[1, #2,3]": "[1 2 3] <nil>", "": "[] <nil>",
		"1 10": `[] "10"` + beyond, "-1": `[] "-1"` + beyond, "1 Jones": `[] "Jones"` + beyond,
		"99999999999999999999": `[] "99999999999999999999"` + beyond,
	})
}

// TestTextNotes checks what is said about texts whose tokens are not what they seem to be, and
// finds special tokens where -special asks for it.
func TestTextNotes(t *testing.T) {
	const special, space = "it holds the characters <|endoftext|>", "it ends in a space"
	for _, c := range []struct{ args, says, not string }{
		{"next/-e/a<|endoftext|>", special, space},
		{"next/-e/a ", space, special},
		{"tokens/-e/<|endoftext|> ", special, "cut by"},
		{"tokens/-e/<|endoftext|> ", space, "cut by"},
		{"next/-e/64 220/-ids", "", space},
		{"-e/a ran /a sat /b/c/-o/", "the corrupt text: " + space, special},
		{"next/-e/a ran/-bos", "", space},
		{"tokens/-special/-e/a<|endoftext|>b", "3 tokens: 64 50256 65\n", special},
		{"tokens/-e/a<|endoftext|>b", "with -special they are the token", "50256 65"},
		{"next/-ids/-model/circuit/-e/15496 50256", "Hello/<|endoftext|>\n", special},
		{"next/-model/circuit/-special/-e/<|endoftext|>a", "2 tokens: 50256 64\n", special},
	} {
		code, stdout, stderr := command(t, strings.Split(c.args, "/")...)
		if said := stdout + stderr; code != 0 || !strings.Contains(said, c.says) ||
			strings.Contains(said, c.not) || c.says == "" && stderr != "" {
			t.Errorf("%s: %d %s", c.args, code, said)
		}
	}
}

// TestVocabularyReadings holds the ids where libraries differ to those of tokenizers 0.23 (as the
// file says) and of transformers 5.24 (by the class): without -tokenizer there are none.
func TestVocabularyReadings(t *testing.T) {
	const prefix, words = `{"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": true}}`,
		`{"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}}`
	const added = `{"added_tokens": [{"id": 500, "content": "<x>"}, {"id": 430, "content": "<y>"}]}`
	const plain, spaced = "[39 78 223 30 90 32 30 91 32]", "[358 78 223 30 90 32 30 91 32]"
	for _, c := range []struct {
		patch, class       string
		either, file, byIt string // the ids of "El <x><y>", or what refuses it
	}{
		{`{}`, "GPT2TokenizerFast", plain, plain, plain},
		{prefix, "GPT2TokenizerFast", "add_prefix_space true, by its class add_prefix_space " +
			"false: choose how the model was trained: -tokenizer file, by", spaced, plain},
		{prefix, "PreTrainedTokenizerFast", "add_prefix_space", spaced, plain},
		{prefix, "TokenizersBackend", spaced, spaced, spaced},
		{words, "GPT2Tokenizer", "use_regex false", plain, plain},
		{`{"model": {"ignore_merges": true}}`, "GPT2Tokenizer", "ignore_merges true", plain, plain},
		{`{"normalizer": {"type": "Lowercase"}}`, "GPT2Tokenizer",
			"Lowercase, treats texts in a way that is not supported here: choose " +
				"how the model was trained: -tokenizer class",
			"Lowercase", plain},
		{added, "GPT2Tokenizer", `it has the added token {"id":420,"content":"<x>"}`,
			"[39 78 223 420 421]", "[39 78 223 421 420]"},
		{`{}`, "RobertaTokenizer", "-tokenizer file", plain, "</s> around"},
	} {
		config := fmt.Sprintf(`{"tokenizer_class": %q}`, c.class)
		folder := beside{"tokenizer.json": c.patch, "tokenizer_config.json": config}.folder(t)
		by := map[string]string{"": c.either, "file": c.file, "class": c.byIt}
		for reading, want := range by {
			var ids []int
			rules := textRules{reading: reading}
			tok, err := tokenizer{folder: folder}.obeys(rules, smallVocabulary+2)
			if err == nil {
				ids, err = tok.encode("El <x><y>")
			}
			if got := fmt.Sprint(ids, err); !strings.Contains(got, want) {
				t.Errorf("%s %s, reading %q: %s, want %s", c.patch, c.class, reading, got, want)
			}
		}
	}
}

// TestAddedTokens finds special tokens in texts where -special asks for it, and others always, but
// none for which the model has no row or which takes spaces beside it, or only whole words, for its
// own. It is as AutoTokenizer of transformers 5.24 has it, or refused.
func TestAddedTokens(t *testing.T) {
	const class, none = `{"tokenizer_class": "GPT2Tokenizer"`, "but its vocabulary has none such"
	const end, endText = standardToken + "l", "[30 94 392 81 72 266 90 86 94 32 78]"
	vocab := string(must(os.ReadFile("testdata/vocab/vocab.json")))
	whole, swapped := beside{"tokenizer.json": "*"}, beside{"merges.txt": "*",
		"vocab.json": strings.Replace(vocab, "<s>", standardToken, 1)}
	added := func(token string) beside {
		return beside{"tokenizer.json": `{"added_tokens": [` + token + `]}`}
	}
	for _, c := range []struct { // the vocabulary has no <x> and <y>
		files              beside
		config, special    string
		text, plain, found string // the ids without -special and with it, or what refuses it
	}{
		{added(`{"id": 0, "content": "<s>", "special": true}`), `{}`, `{}`, "El<s>l",
			"[39 78 30 85 32 78]", "[39 78 0 78]"},
		{beside{"tokenizer.json": `{"model": {"merges": [], "ignore_merges": true}}`}, `{}`, `{}`,
			"tr", "[339]", "[339]"},
		{added(`{"id": 9, "content": "<x>"}`), `{}`, `{}`, "El <x>",
			"token 420, but the model has 420 rows", "token 420, but the model has 420 rows"},
		{added(`{"id": 9, "content": "<x>", "lstrip": true}`), `{}`, `{}`, "El <x> mar",
			"rules of its own", "rules of its own"},
		{added(`{"id": 9, "content": "<x>", "rstrip": true}`), `{}`, `{}`, "El <x> mar",
			"rules of its own", "rules of its own"},
		{added(`{"id": 9, "content": "<x>", "single_word": true}`), `{}`, `{}`, "El <x> mar",
			"rules of its own", "rules of its own"},
		{beside{"vocab.json": "*", "merges.txt": "*",
			"added_tokens.json": `{"Elo": 420, "o<x>": 421}`}, `{}`, `{"pad_token": "o<x>"}`,
			"Elo<x>", "token 420, but", "token 421, but"}, // special ones first
		{swapped, class + `}`, `{}`, end, endText, "[0 78]"},
		{swapped, class + `, "bos_token": null, "eos_token": null, "unk_token": null}`, `{}`, end,
			endText, endText},
		{whole, class + `}`, `{}`, standardToken, "[30 94 ", none},
		{whole, class + `, "pad_token": "<x>"}`, `{}`, "<x>", "[30 90 32]", none},
		{whole, class + `, "pad_token": "<x>"}`, `{}`, "l<", "[78 30]", "[78 30]"},
		{whole, class + `}`, `{"mask_token": {"content": "<x>"}}`, "<x>", "[30 90 32]", none},
		{whole, class + `, "extra_special_tokens": ["<y>", "<x>"]}`, `{}`, "<x>", "[30 90 32]",
			`holds "<x>"`},
		{whole, class + `, "extra_special_tokens": {"a": "<x>"}}`, `{}`, "<x>", "[30 90 32]", none},
		{whole, class + `, "model_specific_special_tokens": {"a": {"content": "<x>"}}}`, `{}`,
			"<x>", "[30 90 32]", "-ids"},
		{swapped, class + `}`, `{"additional_special_tokens": ["<x>"]}`, "<x>", "[30 90 32]", none},
		{swapped, class + `, "sep_token": "tr"}`, `{}`, "etr", "[286 84]", "[71 339]"},
		{swapped, class + `}`, `{"sep_token": {"content": "l", "lstrip": true}}`, "El", "[39 78]",
			"rules of its own"},
		{swapped, class + `, "pad_token": "tr"}`,
			`{"pad_token": "l"}`, "etr", "[286 84]", "[286 84]"},
		{swapped, class + `, "pad_token": "l"}`,
			`{"pad_token": "tr"}`, "etr", "[286 84]", "[71 339]"},
		{swapped, class + `, "added_tokens_decoder": {}}`, `{"pad_token": "tr"}`, "etr", "[286 84]",
			"[286 84]"},
		{swapped, class + `, "added_tokens_decoder": {}}`, `{"bos_token": "E", "eos_token": "E",
			"unk_token": "E"}`, end, endText, "[0 78]"},
		{swapped, class + `, "added_tokens_decoder": {"339": {"content": "tr", "special": true}}}`,
			`{"pad_token": "E"}`, "etr", "[286 84]", "[71 339]"},
		{whole, class + `, "bos_token": "<s>", "split_special_tokens": true}`, `{}`, "<s>",
			"[30 85 32]", "split_special_tokens"},
	} {
		files := beside{"tokenizer_config.json": c.config, "special_tokens_map.json": c.special}
		maps.Copy(files, c.files)
		for special, want := range map[bool]string{false: c.plain, true: c.found} {
			for _, tok := range files.open(t, textRules{special: special}, smallVocabulary) {
				ids, err := tok.encode(c.text)
				if got := fmt.Sprint(ids, err); !strings.Contains(got, want) {
					t.Errorf("%s %s, special %t: %q is %s, want %s", c.config, c.special, special,
						c.text, got, want)
				}
			}
		}
	}
}

// TestCharacters reads nanoGPT's meta.pkl as Python's pickle writes it, of the characters a, b, é.
func TestCharacters(t *testing.T) {
	files := beside{"meta.pkl": "\x80\x04}(\x8c\x0avocab_sizeK\x03\x8c\x04stoi}(\x8c\x01aK\x00" +
		"\x8c\x01bK\x01\x8c\x02\xc3\xa9K\x02uu."}
	for _, tok := range files.open(t, textRules{}, 3) {
		ids := must(tok.encode("béa"))
		if !slices.Equal(ids, []int{1, 2, 0}) || tok.token(2) != "é" {
			t.Errorf("ids %v, token 2 is %s", ids, tok.token(2))
		}
		_, err := tok.encode("abc")
		wantError(t, "c", err, "no token for the byte 0x63")
	}
	_, err := tokenizer{folder: files.folder(t)}.obeys(textRules{}, 50304)
	wantError(t, "other weights", err, "3 characters, but the model has 50304")
}

// TestIDsBeyond checks ids where they are read: the largest of all is refused.
func TestIDsBeyond(t *testing.T) {
	const large = "9223372036854775807"
	for _, c := range []struct{ name, content, says string }{
		{"config.json", `{"bos_token_id": ` + large + `}`, "begins a text has the id " + large},
		{"config.json", `{"model_type": "gpt2", "bos_token_id": 0}`, "bos_token_id say two"},
		{"", `{"added_tokens": [{"id": -1, "content": "x"}]}`, "another token's"},
		{"", `{"bos": ` + large + `}`, "has the id " + large},
		{"", `{"before": [` + large + `]}`, "begins with token " + large},
		{"", `{"bos": 1}`, ""}, // GPT-2's vocabulary, of which one token is named
		{"", `{"before": 1}`, "convert the model again"},
		{"", `{"added_tokens": [{"id": ` + large + `, "content": "x"}]}`, "has the id " + large},
	} {
		tok := tokenizer{meta: map[string]string{metaTokenizer: c.content}}
		if c.name != "" {
			tok = tokenizer{folder: beside{"tokenizer.json": "*", c.name: c.content}.folder(t)}
		}
		_, err := tok.obeys(textRules{bosFirst: true}, smallVocabulary)
		wantError(t, c.content, err, c.says)
	}
}

// TestLongestAt holds the search for added tokens to its definition.
func TestLongestAt(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for range 2000 {
		text, tokens, want := "", []addedToken{}, ""
		for range random.Intn(12) {
			text += string("ab\xff"[random.Intn(3)])
			tokens = append(tokens, addedToken{Content: text[random.Intn(len(text)):]})
		}
		for _, a := range tokens {
			if strings.HasPrefix(text, a.Content) && len(a.Content) > len(want) {
				want = a.Content
			}
		}
		slices.SortFunc(tokens, func(a, b addedToken) int {
			return strings.Compare(a.Content, b.Content)
		})
		tokens = slices.Compact(tokens)
		got := longestAt(text, tokens)
		if got == nil && want != "" || got != nil && got.Content != want {
			t.Fatalf("%q among %v: %v, want %q", text, tokens, got, want)
		}
	}
}

// FuzzTokenizerJSON, FuzzVocabJSON and FuzzMerges read damaged vocabularies: each is refused, or it
// encodes a text so that the tokens' bytes are the text again.
func FuzzTokenizerJSON(f *testing.F) {
	_, patches := variants(f)
	for _, patch := range patches {
		f.Add(patched(f, patch))
	}
	f.Add(`{"model": {"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
		"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": true},
		"added_tokens": [{"id": 3, "content": "x"}]}`)
	fuzzVocabulary(f, "tokenizer.json", nil)
}

func FuzzVocabJSON(f *testing.F) {
	f.Add(string(must(os.ReadFile("testdata/vocab/vocab.json"))))
	f.Add(`{"a": 1, "e": 2, "n": 3, "en": 0, "<s>": 4}`)
	f.Add(`{"a": 1, "e": 2, "n": 3, "en": 0, "": 1}`)
	fuzzVocabulary(f, "vocab.json", map[string]string{"merges.txt": "e n\n"})
}

func FuzzMerges(f *testing.F) {
	f.Add(string(must(os.ReadFile("testdata/vocab/merges.txt"))))
	f.Add("e n\r\ne r\n\n")
	vocab := string(must(os.ReadFile("testdata/vocab/vocab.json")))
	fuzzVocabulary(f, "merges.txt", map[string]string{"vocab.json": vocab})
}

func fuzzVocabulary(f *testing.F, name string, others map[string]string) {
	folder := folderOf(f, others)
	f.Fuzz(func(t *testing.T, content string) {
		put(t, folder, map[string]string{name: content})
		tok, err := tokenizer{folder: folder}.obeys(textRules{}, 1000)
		if err != nil {
			if !strings.HasPrefix(err.Error(), folder) {
				t.Fatalf("%q does not begin with the file", err)
			}
			return
		}
		carried := must(tokenizer{meta: tok.metadata()}.obeys(textRules{}, 1000))
		for _, text := range []string{"", "en er nenner", "<s>Straße und  \xff你<|user|>", "aabab"} {
			ids, err := tok.encodeWord(text)
			again, errAgain := carried.encodeWord(text)
			if !slices.Equal(ids, again) || (err == nil) != (errAgain == nil) {
				t.Fatalf("%q: %v %v, and carried %v %v", text, ids, err, again, errAgain)
			}
			if got := strings.Join(tok.tokens(ids), ""); err == nil && got != text {
				t.Fatalf("%q is encoded as %v, which is %q", text, ids, got)
			}
		}
	})
}
