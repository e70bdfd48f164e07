package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Text is a text, and what to call it in an error.
type Text struct {
	name, text string
}

// errUTF16 is what is wrong with a text that Windows wrote in two bytes for each character.
var errUTF16 = errors.New("it is UTF-16: save it as UTF-8")

func isUTF16(s string) bool {
	return strings.HasPrefix(s, "\xff\xfe") || strings.HasPrefix(s, "\xfe\xff")
}

// Question is what a user asks: a pair, and the metric to answer it with.
type Question struct {
	Pair
	cleanText, corruptText Text
	metric                 Metric
	tokenizer              *tokenizer
}

// newQuestion encodes the texts, which must have equally many tokens but not be the same, and the answers, which must be
// one token each. metricLogit needs no corrupt answer; the clean one then stands in for it.
func newQuestion(
	m *Model, clean, corrupt Text, cleanAnswer, corruptAnswer string, metric Metric,
) (Question, error) {
	q := Question{cleanText: clean, corruptText: corrupt, metric: metric, tokenizer: m.tokenizer}
	var err error
	if q.clean, err = m.tokenizer.encode(clean.text); err != nil {
		return q, fmt.Errorf("%s: %w", clean.name, err)
	}
	if q.corrupt, err = m.tokenizer.encode(corrupt.text); err != nil {
		return q, fmt.Errorf("%s: %w", corrupt.name, err)
	}
	if len(q.clean) == 0 || len(q.corrupt) == 0 {
		empty := clean
		if len(q.clean) > 0 {
			empty = corrupt
		}
		return q, fmt.Errorf("%s is empty: the model needs at least one token", empty.name)
	}
	if len(q.clean) != len(q.corrupt) {
		return q, detailed{
			fmt.Errorf("%s has %s and %s %d: they must have equally many, so change a word where they part",
				clean.name, count(len(q.clean), "token"), corrupt.name, len(q.corrupt)),
			aligned(q.tokenizer.tokens(q.clean), q.tokenizer.tokens(q.corrupt)),
		}
	}
	if slices.Equal(q.clean, q.corrupt) {
		return q, fmt.Errorf("%s and %s are the same text: change a word in one of them", clean.name, corrupt.name)
	}
	answer, err := answerToken(m, cleanAnswer)
	if err != nil {
		return q, fmt.Errorf("the clean answer: %w", err)
	}
	q.cleanAnswer = []int{answer}
	if metric == metricLogit && corruptAnswer == "" {
		q.corruptAnswer = q.cleanAnswer
		return q, nil
	}
	if answer, err = answerToken(m, corruptAnswer); err != nil {
		return q, fmt.Errorf("the corrupt answer: %w", err)
	}
	q.corruptAnswer = []int{answer}
	if q.cleanAnswer[0] == q.corruptAnswer[0] {
		return q, fmt.Errorf("both answers are the token %q: they must differ", q.tokenizer.token(answer))
	}
	return q, nil
}

// notes tell what a user may not expect of the texts' tokens.
func (q *Question) notes() (notes []string) {
	for _, t := range []Text{q.cleanText, q.corruptText} {
		for _, note := range q.tokenizer.notes(t.text) {
			notes = append(notes, t.name+": "+note)
		}
	}
	return notes
}

// answerToken reads an answer: "Jones" is the token " Jones", "=Jones" exactly "Jones", "#5437" the token with that id.
func answerToken(m *Model, answer string) (int, error) {
	text := " " + answer
	switch {
	case answer == "":
		return 0, errors.New("it is empty: name one token, such as Jones")
	case answer[0] == '#':
		id, err := strconv.Atoi(answer[1:])
		if err != nil || id < 0 || id >= m.vocab {
			return 0, fmt.Errorf("%q is no token id: they run from #0 to #%d (for a text that begins with #, write =#…)", answer, m.vocab-1)
		}
		return id, nil
	case answer[0] == '=':
		text = answer[1:]
	case answer[0] == ' ':
		text = answer
	}
	ids, err := m.tokenizer.encodeWord(text)
	switch {
	case err != nil:
		return 0, err
	case len(ids) == 0:
		return 0, errors.New("it is empty: name one token, such as =Jones")
	case len(ids) == 1:
		return ids[0], nil
	}
	return 0, fmt.Errorf("%q is not one token but %d, %s: take the first, which is what the model predicts, as %q or #%d, or another word",
		text, len(ids), joined(m.tokenizer.tokens(ids)), "="+m.tokenizer.token(ids[0]), ids[0])
}

// metricName is the metric as a formula with the pair's own answers.
func (q *Question) metricName() string {
	word := func(id int) string { return visible(strings.TrimPrefix(q.tokenizer.token(id), " ")) }
	a, b := q.cleanAnswer[0], q.corruptAnswer[0]
	clean, corrupt := word(a), word(b)
	if clean == corrupt && a != b { // they differ in the space alone
		clean, corrupt = strconv.Quote(q.tokenizer.token(a)), strconv.Quote(q.tokenizer.token(b))
	}
	switch q.metric {
	case metricLogit:
		return fmt.Sprintf("logit(%s)", clean)
	case metricProb:
		return fmt.Sprintf("p(%s) - p(%s)", corrupt, clean)
	case metricLogProb:
		return fmt.Sprintf("log p(%s)", clean)
	case metricKL:
		return "KL(clean, patched)"
	case metricRestored:
		return fmt.Sprintf("restored share of logit(%s) - logit(%s)", corrupt, clean)
	}
	return fmt.Sprintf("logit(%s) - logit(%s)", corrupt, clean)
}

// selection reads a choice among n layers or positions: "1,10:" is 1 and all from 10 on, "0:6" is 0 to 5, and a negative number
// counts from the end, all as in Python. "" is nil, which stands for all.
func selection(s string, n int) ([]bool, error) {
	if s == "" {
		return nil, nil
	}
	chosen := make([]bool, n)
	for _, part := range strings.Split(s, ",") {
		low, high, isRange := strings.Cut(part, ":")
		number := func(s string, otherwise int) (int, error) {
			if s = strings.TrimSpace(s); s == "" && isRange {
				return otherwise, nil
			}
			i, err := strconv.Atoi(s)
			if err != nil {
				return 0, fmt.Errorf("%q is neither a number nor a range such as 0:6", part)
			}
			if i < 0 {
				i += n
			}
			return i, nil
		}
		from, err := number(low, 0)
		if err != nil {
			return nil, err
		}
		to := from + 1
		if isRange {
			if to, err = number(high, n); err != nil {
				return nil, err
			}
		}
		if from < 0 || to > n || from >= to {
			return nil, fmt.Errorf("%q lies outside 0:%d, or holds nothing", part, n)
		}
		for i := from; i < to; i++ {
			chosen[i] = true
		}
	}
	return chosen, nil
}

// Study is what is to be found out about every pair.
type Study struct {
	site              string // one of siteNames
	metric            Metric
	layers, positions string // selections
	lens              bool   // look through the logit lens instead of patching
	top               int    // how many next tokens to list
}

// siteNames are what a study may call its sites.
var siteNames = map[string][]Site{
	"resid": {siteResid}, "attn": {siteAttn}, "mlp": {siteMLP}, "head": {siteZ}, "all": {siteResid, siteAttn, siteMLP},
}

// detailed is an error with more to show below its line.
type detailed struct {
	error
	lines []string
}

// count is "1 token", "2 tokens".
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprint(n, " ", what)
}

// joined shows tokens side by side: " Jones was" is " Jones/ was".
func joined(tokens []string) string {
	shown := make([]string, len(tokens))
	for i, t := range tokens {
		shown[i] = visible(t)
	}
	return strings.Join(shown, "/")
}

// visible makes a token fit for a line of text: control characters and broken UTF-8 become escapes.
func visible(token string) string { return string(appendVisible(nil, token)) }

// appendVisible appends a token as visible shows it.
func appendVisible(b []byte, token string) []byte {
	start := len(b)
	b = strconv.AppendQuote(b, token)
	quoted := b[start+1 : len(b)-1]
	b = b[:start]
	for i, c := range quoted { // each is written before the place where it stands
		if c != '\\' || i+1 == len(quoted) || quoted[i+1] != '"' {
			b = append(b, c)
		}
	}
	return b
}

// inOneLine makes a name or a message fit for one line of a terminal: control characters, what else
// cannot be seen, and broken UTF-8 become escapes. Unlike visible it leaves a backslash alone, of
// which the names of files on Windows are full.
func inOneLine(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if broken := r == utf8.RuneError && size == 1; strconv.IsPrint(r) && !broken {
			b.WriteString(s[:size])
		} else {
			b.WriteString(escape(s[:size]))
		}
		s = s[size:]
	}
	return b.String()
}

// pad fills s up to n characters.
func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(0, n-utf8.RuneCountInString(s)))
}

// aligned shows two tokenizations one under the other. What lies between their common beginning and end stands in equal
// width, so that one sees which word to change.
func aligned(clean, corrupt []string) []string {
	head := 0
	for head < min(len(clean), len(corrupt)) && clean[head] == corrupt[head] {
		head++
	}
	tail := 0
	for tail < min(len(clean), len(corrupt))-head && clean[len(clean)-1-tail] == corrupt[len(corrupt)-1-tail] {
		tail++
	}
	const near = 6 // tokens of common text that are shown on each side, and half of what is shown of the rest
	before, after := clean[max(0, head-near):head], clean[len(clean)-tail:][:min(tail, near)]
	part := func(t []string) string {
		if t = t[head : len(t)-tail]; len(t) > 2*near {
			return joined(t[:near]) + "/…/" + joined(t[len(t)-near:])
		}
		return joined(t)
	}
	width := max(utf8.RuneCountInString(part(clean)), utf8.RuneCountInString(part(corrupt)))
	line := func(t []string) string {
		s := pad(part(t), width)
		if head > 0 {
			s = joined(before) + "/" + s
		}
		if tail > 0 {
			s += "/" + joined(after)
		}
		if head > near {
			s = "…" + s
		}
		if tail > near {
			s += "…"
		}
		return s
	}
	return []string{"  clean    " + line(clean), "  corrupt  " + line(corrupt)}
}
