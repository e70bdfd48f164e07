package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// vocabularyFile reads a file of testdata/vocab, a small byte-level BPE that Hugging Face's
// tokenizers made of German and Spanish text (make.py).
func vocabularyFile(name string) string {
	return string(must(os.ReadFile(filepath.Join("testdata", "vocab", name))))
}

// patched is tokenizer.json with parts replaced, and parts of its model.
func patched(t testing.TB, patch, model map[string]any) string {
	t.Helper()
	var whole map[string]any
	testdata(t, "vocab/tokenizer.json", &whole)
	maps.Copy(whole, patch)
	if model != nil {
		maps.Copy(whole["model"].(map[string]any), model)
	}
	return string(must(json.Marshal(whole)))
}

// smallVocabulary is the size of the vocabulary in testdata/vocab.
const smallVocabulary = 420

// TestVocabularyGolden holds the tokens of awkward texts to those of Hugging Face's tokenizers, for
// tokenizer.json and its variants, for vocab.json with merges.txt, and after a file's metadata have
// carried the vocabulary.
func TestVocabularyGolden(t *testing.T) {
	var golden []struct {
		Name         string
		Patch, Model map[string]any
		Texts        []struct {
			Text string
			IDs  []int
		}
	}
	testdata(t, "vocab/golden.json", &golden)
	if len(golden) < 10 {
		t.Fatalf("%d variants", len(golden))
	}
	for _, g := range golden {
		content := patched(t, g.Patch, g.Model)
		folders := []string{folderOf(t, map[string]string{"tokenizer.json": content})}
		if g.Name == "plain" {
			folders = append(folders, folderOf(t, map[string]string{
				"vocab.json": vocabularyFile("vocab.json"),
				"merges.txt": vocabularyFile("merges.txt"),
			}))
		}
		for _, folder := range folders {
			tok := newTokenizer(folder, nil, smallVocabulary+4)
			meta := tok.metadata()
			if err := tok.refused(); err != nil {
				t.Errorf("%s: %v", g.Name, err)
				continue
			}
			carried := newTokenizer("", meta, smallVocabulary+4)
			for _, want := range g.Texts {
				for _, tok := range []*tokenizer{tok, carried} {
					if got := must(tok.encode(want.Text)); !slices.Equal(got, want.IDs) {
						t.Errorf("%s: %q: %v\nwant %v", g.Name, want.Text, got, want.IDs)
					}
				}
			}
		}
	}
}

// TestVocabularyText checks what tokens are written as: in byte letters, but special ones as they
// are.
func TestVocabularyText(t *testing.T) {
	content := patched(t, map[string]any{
		"added_tokens": []any{
			map[string]any{"id": 0, "content": "<s>", "special": true},
			map[string]any{"id": 420, "content": "é Ġ", "special": true},
		},
	}, nil)
	folder := folderOf(t, map[string]string{"tokenizer.json": content})
	tok := newTokenizer(folder, nil, smallVocabulary+2)
	holds(t, tok.token, map[int]string{
		0: "<s>", 3: "!", 223: " ", 130: "\xc3", 339: "tr", 420: "é Ġ", 421: "#421", -1: "#-1",
	})
}

// What is not computed as the files say is refused, in one line that names the file and what is in
// the way.
func TestVocabularyRefused(t *testing.T) {
	vocab, merges := vocabularyFile("vocab.json"), vocabularyFile("merges.txt")
	const level = `{"type": "ByteLevel", "add_prefix_space": true}`
	for _, c := range []struct{ model, says string }{
		{`{"type": "Unigram", "vocab": [["a", -1.5]]}`, "Unigram"},
		{`{"type": "WordPiece"}`, "WordPiece"},
		{`{"end_of_word_suffix": "</w>"}`, "end_of_word_suffix"},
		{`{"continuing_subword_prefix": "#"}`, "continuing_subword"},
		{`{"dropout": 0.1}`, "dropout"},
		{`{"byte_fallback": true}`, "byte_fallback"},
		{`{"vocab": null}`, "vocab"},
		{`{"vocab": {"a": "b"}}`, "vocab"},
		{`{"vocab": {"a": 420}}`, "not the vocabulary"},
		{`{"vocab": {"a": -1}}`, "not the vocabulary"},
		{`{"vocab": {"a": 1, "": 1}}`, "have the id 1"},
		{`{"merges": ["a"]}`, "merge"},
		{`{"merges": [["a", "b", "c"]]}`, "merge"},
		{`{"merges": ["a Ω"]}`, `"Ω"`},
	} {
		var model map[string]any
		decodeJSON(t, c.model, &model)
		checkRefused(t, map[string]string{"tokenizer.json": patched(t, nil, model)}, c.says)
	}
	for _, c := range []struct{ patch, says string }{
		{`{"normalizer": {"type": "NFC"}}`, "NFC"},
		{`{"normalizer": {"type": "Sequence",
			"normalizers": [{"type": "Lowercase"}, {"type": "NFD"}]}}`, "Lowercase"},
		{`{"pre_tokenizer": {"type": "Metaspace"}}`, "Metaspace"},
		{`{"pre_tokenizer": null}`, "not one ByteLevel"},
		{`{"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, ` + level +
			`]}}`, "Digits"},
		{`{"pre_tokenizer": {"type": "Sequence", "pretokenizers": [` + level + `, ` + level +
			`]}}`, "one ByteLevel"},
		{`{"pre_tokenizer": {"type": "ByteLevel"}}`, "add_prefix_space"},
		{`{"post_processor": {"type": "RobertaProcessing"}}`, "RobertaProcessing"},
		{`{"post_processor": {"type": "TemplateProcessing",
			"single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}}],
			"special_tokens": {"</s>": {"ids": [2]}}}}`, "</s>"}, // behind the text
		{`{"added_tokens": [{"id": 9999999, "content": "x y"}]}`, "which no model has"},
		{`{"added_tokens": [{"id": -1, "content": "x y"}]}`, "which no model has"},
		{`{"post_processor": {"type": "TemplateProcessing",
			"single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
			"special_tokens": {"<s>": {"ids": [9999999]}}}}`, "begins with token"},
	} {
		var patch map[string]any
		decodeJSON(t, c.patch, &patch)
		checkRefused(t, map[string]string{"tokenizer.json": patched(t, patch, nil)}, c.says)
	}
	whole := vocabularyFile("tokenizer.json")
	for _, c := range []struct{ config, says string }{ // beside it
		{`{"add_prefix_space": true}`, "add_prefix_space"},
		{`{"add_bos_token": true}`, "add_bos_token"},
		{`{"add_eos_token": true}`, "add_eos_token"},
		{`{"added_tokens_decoder": {"x": {}}}`, "added_tokens_decoder"},
	} {
		files := map[string]string{"tokenizer.json": whole, "tokenizer_config.json": c.config}
		checkRefused(t, files, c.says)
	}

	beside := func(config string) map[string]string {
		return map[string]string{"vocab.json": vocab, "merges.txt": merges,
			"tokenizer_config.json": config}
	}
	prefixed := map[string]any{"pre_tokenizer": json.RawMessage(level)}
	for _, c := range []struct {
		files map[string]string
		says  string
	}{
		{map[string]string{"tokenizer.json": whole, "added_tokens.json": "{"}, "added_tokens.json"},
		{map[string]string{"tokenizer.json": patched(t, prefixed, nil),
			"tokenizer_config.json": `{"tokenizer_class": "GPT2TokenizerFast"}`},
			"add_prefix_space"}, // or not: that is in doubt
		{map[string]string{"vocab.txt": "[UNK]\n"}, "WordPiece"},
		{map[string]string{"spiece.model": "\n"}, "SentencePiece"},
		{map[string]string{"vocab.json": vocab}, "only together"},
		{map[string]string{"merges.txt": merges}, "only together"},
		{map[string]string{"config.json": `{"tokenizer_class": "BertTokenizer"}`}, "BertTokenizer"},
		{map[string]string{"tokenizer.json": "{"}, "tokenizer.json"},
		{map[string]string{"vocab.json": "[]", "merges.txt": merges}, "vocab.json"},
		{map[string]string{"vocab.json": "null", "merges.txt": merges}, "not a JSON object"},
		{map[string]string{"vocab.json": vocab, "merges.txt": "#version: 0\ne n\nen\n"}, "line 3"},
		{beside(`{"tokenizer_class": "RobertaTokenizer"}`), "Roberta"},
		{beside(`{"add_bos_token": true, "bos_token": "<x>"}`), "bos_token"},
		{beside(`{"add_eos_token": true}`), "add_eos_token"},
	} {
		checkRefused(t, c.files, c.says)
	}
}

// checkRefused checks that the vocabulary in these files is refused, also once metadata carried it.
func checkRefused(t *testing.T, files map[string]string, says string) {
	t.Helper()
	folder := folderOf(t, files)
	tok := newTokenizer(folder, nil, smallVocabulary)
	err := tok.refused()
	for _, want := range []string{folder, says, "-ids"} {
		wantError(t, says, err, want)
	}
	if _, err := tok.encode("a"); err == nil {
		t.Errorf("%s: it encodes all the same", says)
	}
	carried := newTokenizer("", tok.metadata(), smallVocabulary).refused()
	wantWhole(t, says+", carried by metadata", carried, fmt.Sprint(err))
}

// gpt2Files are GPT-2's own vocabulary as the files that lie beside its weights.
func gpt2Files() (vocab map[string]int, merges string) {
	vocab = map[string]int{"<|endoftext|>": endOfText}
	for r := rune(0); r <= lastByteLetter; r++ {
		if _, ok := byteOfLetter(r); ok {
			vocab[string(r)] = len(vocab) - 1
		}
	}
	_, lines, _ := strings.Cut(strings.TrimSuffix(vocabFile, "\n"), "\n")
	for _, line := range strings.Split(lines, "\n") {
		vocab[strings.Replace(line, " ", "", 1)] = len(vocab) - 1
	}
	return vocab, vocabFile
}

// GPT-2's own files are known for what they are, and tokens which were added to it have their ids.
func TestVocabularyOfGPT2(t *testing.T) {
	vocab, merges := gpt2Files()
	asJSON := func(v any) string {
		return string(must(json.Marshal(v)))
	}
	whole := patched(t, map[string]any{
		"added_tokens": []any{
			map[string]any{"id": endOfText, "content": "<|endoftext|>", "special": true},
		},
	}, map[string]any{
		"vocab": vocab, "merges": strings.Split(strings.TrimSuffix(merges, "\n"), "\n")[1:],
	})
	own := map[string]string{"vocab.json": asJSON(vocab), "merges.txt": merges}
	added := map[string]string{
		"added_tokens.json":       `{"<|user|>": 50257, "[PAD]": 50258}`,
		"special_tokens_map.json": `{"pad_token": {"content": "[PAD]"}}`,
	}
	later := map[string]string{}
	maps.Copy(later, own)
	maps.Copy(later, added)
	vocab["<|pad|>"] = 50257
	within := map[string]string{"vocab.json": asJSON(vocab), "merges.txt": merges}
	vocab["Ġt"], vocab["Ġa"] = vocab["Ġa"], vocab["Ġt"]
	swapped := map[string]string{"vocab.json": asJSON(vocab), "merges.txt": merges}

	const text = "<|user|> at once[PAD]"
	plain, _ := gpt2.encode(text)
	for _, c := range []struct {
		name  string
		files map[string]string
		is    bool
		ids   []int
		token string // 50257
	}{
		{"vocab.json", own, true, plain, "#50257"},
		{"tokenizer.json", map[string]string{"tokenizer.json": whole}, true, plain, "#50257"},
		{"added later", later, true, []int{50257, 379, 1752, 58, 47, 2885, 60}, "<|user|>"},
		{"added within", within, true, plain, "<|pad|>"},
		{"two ids swapped", swapped, false, nil, ""},
		{"no file", nil, true, plain, "#50257"},
	} {
		tok := newTokenizer(folderOf(t, c.files), nil, 50304)
		if err := tok.refused(); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if is := tok.vocabulary().slots != ""; is != c.is {
			t.Errorf("%s: GPT-2's own: %t", c.name, is)
		}
		meta := tok.metadata()
		if (len(meta) == 0) != (c.files == nil) {
			t.Errorf("%s: metadata %v", c.name, meta)
		}
		for _, tok := range []*tokenizer{tok, newTokenizer("", meta, 50304)} {
			ids, err := tok.encode(text)
			if !c.is {
				continue
			}
			if err != nil || !slices.Equal(ids, c.ids) || tok.token(50257) != c.token {
				t.Errorf("%s: %v %v, token 50257 is %s", c.name, ids, err, tok.token(50257))
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
		s := &vocabulary{vocabularySpec: vocabularySpec{Vocab: map[string]int{}}}
		d := &definition{rank: map[[2]string]int{}, id: s.Vocab}
		known := []string{"a", "b", "c"}
		for range random.Intn(40) {
			m := mergePair{known[random.Intn(len(known))], known[random.Intn(len(known))]}
			if len(m[0]+m[1]) <= 12 {
				s.Merges = append(s.Merges, m)
				known = append(known, m[0]+m[1])
			}
		}
		random.Shuffle(len(s.Merges), func(i, j int) {
			if random.Intn(3) == 0 {
				s.Merges[i], s.Merges[j] = s.Merges[j], s.Merges[i]
			}
		})
		for rank, m := range s.Merges {
			d.rank[m] = rank
		}
		order := random.Perm(len(known))
		for i, token := range known {
			if _, ok := s.Vocab[token]; !ok {
				s.Vocab[token] = order[i]
			}
		}
		s.rows = len(known)
		s.build()
		b := s.bpe
		for range 10 {
			word := make([]byte, 1+random.Intn(shortWord))
			for i := range word {
				word[i] = "aaabbc"[random.Intn(6)]
			}
			var want []int
			for _, part := range d.merge(string(word)) {
				want = append(want, s.Vocab[part])
			}
			if got := b.mergeShort(nil, string(word)); !slices.Equal(got, want) {
				t.Fatalf("merges %v: mergeShort(%s) = %v, want %v", s.Merges, word, got, want)
			}
			for _, window := range []int{2, 9, 20, mergeWindow} {
				got := b.mergeLong(new(merger), nil, string(word), window)
				if !slices.Equal(got, want) {
					t.Fatalf("merges %v: mergeLong(%s), %d bytes at a time, = %v, want %v",
						s.Merges, word, window, got, want)
				}
			}
		}
	}
}

// TestOwnVocabulary runs the program on a model with a vocabulary of its own, before and after it
// is converted: the folder is its only sign, then the file's metadata.
func TestOwnVocabulary(t *testing.T) {
	c := Config{2, 1, 8, 16, smallVocabulary}
	ck := randomCheckpoint(c, 32, "F32")
	ck.meta["n_head"] = "1"
	weights, special := string(encodeCheckpoint(ck, 0)), `{"bos_token": "<s>"}`
	folder := folderOf(t, map[string]string{
		"model.safetensors":       weights,
		"tokenizer.json":          vocabularyFile("tokenizer.json"),
		"special_tokens_map.json": special,
	})
	older := folderOf(t, map[string]string{
		"model.safetensors":       weights,
		"vocab.json":              vocabularyFile("vocab.json"),
		"merges.txt":              vocabularyFile("merges.txt"),
		"special_tokens_map.json": special,
	})
	lean := filepath.Join(t.TempDir(), "lean.safetensors")
	if code, _, stderr := command(t, "convert", folder, lean); code != 0 {
		t.Fatal(stderr)
	}
	var first string
	for _, model := range []string{folder, lean, older} {
		for _, c := range []struct {
			args string
			code int
			says string // on stdout, or on stderr where it fails
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
			printed := stdout
			if c.code != 0 {
				printed = stderr
			}
			if code != c.code || !strings.Contains(printed, c.says) {
				t.Errorf("%v: %d\n%s%s", args, code, stdout, stderr)
			}
		}
		_, stdout, _ := command(t, "next", "-json", "-", "-model", model, "-e", "El niño")
		_, answer, _ := strings.Cut(uncommanded(stdout), `"text"`)
		if first == "" {
			first = answer
		}
		if answer != first || !strings.Contains(answer, `"top"`) {
			t.Errorf("%s: %s, first %s", model, answer, first)
		}
	}
}

// TestParseIDs reads texts of -ids.
func TestParseIDs(t *testing.T) {
	for _, c := range []struct {
		text string
		want []int
		err  string
	}{
		{"1 0\t9\r\n", []int{1, 0, 9}, ""},
		{"[1, #2,3]", []int{1, 2, 3}, ""},
		{"", nil, ""},
		{"1 10", nil, `"10" is not a token id`},
		{"-1", nil, `"-1" is not a token id`},
		{"1 Jones", nil, `"Jones" is not a token id`},
		{"99999999999999999999", nil, "is not a token id"},
	} {
		ids, err := parseIDs(c.text, 10)
		if !slices.Equal(ids, c.want) || !says(err, c.err) {
			t.Errorf("%q: %v, %v", c.text, ids, err)
		}
	}
}

// TestAddedTokenRules refuses a text with a token that takes spaces beside it, or only whole words,
// for its own; other texts are encoded.
func TestAddedTokenRules(t *testing.T) {
	for _, rule := range []string{"single_word", "lstrip", "rstrip"} {
		added := []any{map[string]any{"id": smallVocabulary, "content": "<x>", rule: true}}
		folder := folderOf(t, map[string]string{
			"tokenizer.json": patched(t, map[string]any{"added_tokens": added}, nil),
		})
		tok := newTokenizer(folder, nil, smallVocabulary+1)
		must(tok.encode("El mar"))
		_, err := tok.encode("El <x> mar")
		wantError(t, rule, err, "rules of its own")
	}
}

// TestTextNotes checks what is said about texts whose tokens are not what they seem to be.
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
	} {
		code, _, stderr := command(t, strings.Split(c.args, "/")...)
		if code != 0 || !strings.Contains(stderr, c.says) || strings.Contains(stderr, c.not) ||
			(c.says == "") != (stderr == "") {
			t.Errorf("%s: %d %s", c.args, code, stderr)
		}
	}
}

// TestVocabularyReadings holds the ids where libraries differ to those of tokenizers 0.23 (as the
// file says) and of transformers 5.24 (by the class): without -tokenizer there are none.
func TestVocabularyReadings(t *testing.T) {
	level := func(prefix, regex bool) map[string]any {
		return map[string]any{"pre_tokenizer": map[string]any{"type": "ByteLevel",
			"add_prefix_space": prefix, "use_regex": regex}}
	}
	added := map[string]any{"added_tokens": []any{
		map[string]any{"id": 500, "content": "<x>"}, map[string]any{"id": 430, "content": "<y>"},
	}}
	lower := map[string]any{"normalizer": map[string]any{"type": "Lowercase"}}
	whole := map[string]any{"ignore_merges": true}
	const plain = "[39 78 223 30 90 32 30 91 32]"
	for _, c := range []struct {
		patch, model       map[string]any
		class              string
		either, file, byIt string // the ids of "El <x><y>", or what refuses it
	}{
		{nil, nil, "GPT2TokenizerFast", plain, plain, plain},
		{level(true, true), nil, "GPT2TokenizerFast", "add_prefix_space true, as in this file, " +
			"to transformers 5 otherwise", "[358" + plain[3:], plain},
		{level(true, true), nil, "PreTrainedTokenizerFast", "add_prefix_space", "[358" + plain[3:],
			plain},
		{level(true, true), nil, "TokenizersBackend", "[358" + plain[3:], "[358", "[358"},
		{level(false, false), nil, "GPT2Tokenizer", "use_regex false", plain, plain},
		{nil, whole, "GPT2Tokenizer", "ignore_merges true", plain, plain},
		{lower, nil, "GPT2Tokenizer", "with -tokenizer class it is left out", "Lowercase", plain},
		{added, nil, "GPT2Tokenizer", `with the added token {"id":420,"content":"<x>"}`,
			"[39 78 223 420 421]", "[39 78 223 421 420]"},
		{nil, nil, "RobertaTokenizer", "-tokenizer file", plain, "</s> around"},
	} {
		folder := folderOf(t, map[string]string{
			"tokenizer.json":        patched(t, c.patch, c.model),
			"tokenizer_config.json": fmt.Sprintf(`{"tokenizer_class": %q}`, c.class),
		})
		by := map[string]string{"": c.either, "file": c.file, "class": c.byIt}
		for reading, want := range by {
			tok := newTokenizer(folder, nil, smallVocabulary+2)
			tok.reading = reading
			ids, err := tok.encode("El <x><y>")
			if got := fmt.Sprint(ids, err); !strings.Contains(got, want) {
				t.Errorf("%v %v %s, reading %q: %s, want %s", c.patch, c.model, c.class, reading,
					got, want)
			}
		}
	}
}

// TestSpecialTokens finds special tokens in texts where -special asks for it, of GPT-2 and of
// another vocabulary, but none for which the model has no row.
func TestSpecialTokens(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"tokens/-special/-e/a<|endoftext|>b", "3 tokens: 64 50256 65\n"},
		{"tokens/-e/a<|endoftext|>b", "with -special they are the token"},
		{"next/-ids/-model/circuit/-e/15496 50256", "Hello/<|endoftext|>\n"},
		{"next/-model/circuit/-special/-e/<|endoftext|>a", "2 tokens: 50256 64\n"},
	} {
		_, stdout, stderr := command(t, strings.Split(c.args, "/")...)
		if !strings.Contains(stdout+stderr, c.says) {
			t.Errorf("%s: %s%s", c.args, stdout, stderr)
		}
	}
	folder := folderOf(t, map[string]string{"tokenizer.json": patched(t, map[string]any{
		"added_tokens": []any{map[string]any{"id": 0, "content": "<s>", "special": true},
			map[string]any{"id": 9, "content": "<x>"}},
	}, nil)})
	tok := newTokenizer(folder, nil, smallVocabulary)
	tok.special = true
	if ids := must(tok.encode("El<s>l")); !slices.Equal(ids, []int{39, 78, 0, 78}) {
		t.Errorf("ids %v", ids)
	}
	_, err := tok.encode("El <x>")
	wantError(t, "beyond the rows", err, "token 420, but the model has 420 rows")

	// As AutoTokenizer of transformers 5.24 has it, or refused. The vocabulary has no <x> and <y>.
	const class, inMap = `{"tokenizer_class": "GPT2Tokenizer"`, "special_tokens_map.json"
	whole := map[string]string{"tokenizer.json": vocabularyFile("tokenizer.json")}
	older := map[string]string{"merges.txt": vocabularyFile("merges.txt"), "vocab.json": strings.
		Replace(vocabularyFile("vocab.json"), "<s>", standardToken, 1)}
	for _, c := range []struct {
		files              map[string]string
		config, special    string
		text, plain, found string // the ids without -special and with it, or what refuses it
	}{
		{older, class + `}`, `{}`, standardToken + "l", "[30 94 392 81 72 266 90 86 94 32 78]",
			"[0 78]"},
		{older, class + `, "bos_token": null, "eos_token": null, "unk_token": null}`, `{}`,
			standardToken + "l", "[30 94 392 81 72 266 90 86 94 32 78]",
			"[30 94 392 81 72 266 90 86 94 32 78]"},
		{whole, class + `}`, `{}`, standardToken, "[30 94 ", "which GPT2Tokenizer makes a special"},
		{whole, class + `, "pad_token": "<x>"}`, `{}`, "<x>", "[30 90 32]", "it is none in"},
		{whole, class + `, "pad_token": "<x>"}`, `{}`, "l<", "[78 30]", "[78 30]"},
		{whole, class + `}`, `{"mask_token": {"content": "<x>"}}`, "<x>", "[30 90 32]", inMap},
		{whole, class + `, "extra_special_tokens": ["<y>", "<x>"]}`, `{}`, "<x>", "[30 90 32]",
			`holds "<x>"`},
		{whole, class + `, "extra_special_tokens": {"a": "<x>"}}`, `{}`, "<x>", "[30 90 32]",
			"tokenizer_config.json"},
		{whole, class + `, "model_specific_special_tokens": {"a": {"content": "<x>"}}}`, `{}`,
			"<x>", "[30 90 32]", "-ids"},
		{older, class + `}`, `{"additional_special_tokens": ["<x>"]}`, "<x>", "[30 90 32]", inMap},
		{older, class + `, "sep_token": "l"}`, `{}`, "El", "[39 78]", "it is none in"},
		{older, class + `, "pad_token": "E"}`, `{"pad_token": "l"}`, "E", "[39]", "a special"},
		{whole, class + `, "bos_token": "<s>", "split_special_tokens": true}`, `{}`, "<s>",
			"[30 85 32]", "split_special_tokens"},
	} {
		files := map[string]string{"tokenizer_config.json": c.config, inMap: c.special}
		maps.Copy(files, c.files)
		tok := newTokenizer(folderOf(t, files), nil, smallVocabulary)
		for _, tok := range []*tokenizer{tok, newTokenizer("", tok.metadata(), smallVocabulary)} {
			for special, want := range map[bool]string{false: c.plain, true: c.found} {
				tok.special = special
				ids, err := tok.encode(c.text)
				if got := fmt.Sprint(ids, err); !strings.Contains(got, want) {
					t.Errorf("%s %s, special %t: %q is %s, want %s", c.config, c.special, special,
						c.text, got, want)
				}
			}
		}
	}
}

// TestLabels names tokens of vocabularies that encode nothing, also after metadata carried them.
func TestLabels(t *testing.T) {
	for name, content := range map[string]string{
		"tokenizer.json": `{"model": {"type": "WordLevel", "vocab": {"é": 0, "C4": 1}}}`,
		"vocab.json":     `{"é": 0, "C4": 1}`,
	} {
		tok := newTokenizer(folderOf(t, map[string]string{name: content}), nil, 3)
		for _, tok := range []*tokenizer{tok, newTokenizer("", tok.metadata(), 3)} {
			tok.numbers = true
			got := fmt.Sprint(tok.tokens([]int{0, 1, 2}))
			if got != "[é C4 #2]" || tok.refused() != nil {
				t.Errorf("%s: %s, %v", name, got, tok.refused())
			}
		}
	}
	alone := newTokenizer(t.TempDir(), nil, 32) // GPT-2's tokens do not name those of another model
	alone.numbers = true
	if got := alone.token(15); got != "#15" {
		t.Errorf("token 15 is %s", got)
	}
}

// TestCharacters reads nanoGPT's meta.pkl as Python's pickle writes it, of the characters a, b, é.
func TestCharacters(t *testing.T) {
	const meta = "\x80\x04}(\x8c\x0avocab_sizeK\x03\x8c\x04stoi}(\x8c\x01aK\x00\x8c\x01bK" +
		"\x01\x8c\x02\xc3\xa9K\x02uu."
	folder := folderOf(t, map[string]string{"meta.pkl": meta})
	tok := newTokenizer(folder, nil, 3)
	for _, tok := range []*tokenizer{tok, newTokenizer("", tok.metadata(), 3)} {
		ids := must(tok.encode("béa"))
		if !slices.Equal(ids, []int{1, 2, 0}) || tok.token(2) != "é" {
			t.Errorf("ids %v, token 2 is %s", ids, tok.token(2))
		}
		_, err := tok.encode("abc")
		wantError(t, "c", err, "no token for the byte 0x63")
	}
	wantError(t, "other weights", newTokenizer(folder, nil, 50304).refused(),
		"3 characters, but the model has 50304")
}

// TestIDsBeyond checks ids where they are read: the largest of all is refused.
func TestIDsBeyond(t *testing.T) {
	const large = "9223372036854775807"
	own := vocabularyFile("tokenizer.json")
	for _, c := range []struct{ name, content, says string }{
		{"tokenizer_config.json", `{"added_tokens_decoder": {"` + large + `": {"content": "x"}}}`,
			"which no model has"},
		{"config.json", `{"bos_token_id": ` + large + `}`, "begins a text has the id " + large},
		{"config.json", `{"model_type": "gpt2", "bos_token_id": 0}`, "bos_token_id say two"},
		{"", `{"added_tokens": [{"id": ` + large + `, "content": "x"}]}`, "another token's"},
		{"", `{"bos": ` + large + `}`, "has the id " + large},
		{"", `{"before": [` + large + `]}`, "begins with token " + large},
	} {
		tok := newTokenizer("", map[string]string{metaTokenizer: c.content}, smallVocabulary)
		if c.name != "" {
			files := map[string]string{"tokenizer.json": own, c.name: c.content}
			tok = newTokenizer(folderOf(t, files), nil, smallVocabulary)
		}
		_, err := tok.obeys(textRules{bosFirst: true}, smallVocabulary)
		wantError(t, c.content, err, c.says)
	}
}

// A pointer that Git LFS has left in place of a file is told from damage.
func TestPointersInPlaceOfVocabularies(t *testing.T) {
	for _, name := range []string{"tokenizer.json", "vocab.json", "merges.txt"} {
		files := map[string]string{"vocab.json": vocabularyFile("vocab.json"),
			"merges.txt": vocabularyFile("merges.txt")}
		files[name] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
		checkRefused(t, files, "git lfs pull")
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
	var golden []struct{ Patch, Model map[string]any }
	testdata(f, "vocab/golden.json", &golden)
	for _, g := range golden {
		f.Add(patched(f, g.Patch, g.Model))
	}
	f.Add(`{"model": {"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
		"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": true},
		"added_tokens": [{"id": 3, "content": "x"}]}`)
	folder := f.TempDir()
	f.Fuzz(func(t *testing.T, content string) {
		fuzzVocabulary(t, folder, map[string]string{"tokenizer.json": content})
	})
}

func FuzzVocabJSON(f *testing.F) {
	f.Add(vocabularyFile("vocab.json"))
	f.Add(`{"a": 1, "e": 2, "n": 3, "en": 0, "<s>": 4}`)
	f.Add(`{"a": 1, "e": 2, "n": 3, "en": 0, "": 1}`)
	folder := f.TempDir()
	f.Fuzz(func(t *testing.T, content string) {
		fuzzVocabulary(t, folder, map[string]string{"vocab.json": content, "merges.txt": "e n\n"})
	})
}

func FuzzMerges(f *testing.F) {
	f.Add(vocabularyFile("merges.txt"))
	f.Add("e n\r\ne r\n\n")
	vocab := vocabularyFile("vocab.json")
	folder := f.TempDir()
	f.Fuzz(func(t *testing.T, content string) {
		fuzzVocabulary(t, folder, map[string]string{"vocab.json": vocab, "merges.txt": content})
	})
}

func fuzzVocabulary(t *testing.T, folder string, files map[string]string) {
	put(t, folder, files)
	tok := newTokenizer(folder, nil, 1000)
	if err := tok.refused(); err != nil {
		if !strings.HasPrefix(err.Error(), folder) {
			t.Fatalf("%q does not begin with the file", err)
		}
		return
	}
	meta := tok.metadata()
	carried := newTokenizer("", meta, 1000)
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
}
