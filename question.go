package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file is what is asked: a pair of texts and the answers to compare, which become tokens here
// (Question), and what to do with every pair, in the words of the command line (Study).

// Text is a text, and what to call it in an error.
type Text struct {
	name, text string
}

// encode gives the text's tokens, and notes on what a user may not expect of them.
func (t Text) encode(by *tokenizer) (ids []int, notes []string) {
	within(t.name, func() { ids = get(by.encode(t.text)) })
	for _, note := range by.notes(t.text) {
		notes = append(notes, t.name+": "+note)
	}
	return ids, notes
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
	answers                [2]string // the clean and the corrupt one, as they were typed
	metric                 Metric
	tokenizer              *tokenizer
	notes                  []string // what a user may not expect of the pair
}

// newQuestion encodes the texts, which must have equally many tokens but not be the same, and the
// answers. An answer that the metric does without may be left empty.
func newQuestion(
	m *Model, clean, corrupt Text, cleanAnswer, corruptAnswer string, metric Metric,
) Question {
	q := Question{cleanText: clean, corruptText: corrupt, metric: metric, tokenizer: m.tokenizer,
		answers: [2]string{cleanAnswer, corruptAnswer}}
	ids := [2]*[]int{&q.clean, &q.corrupt}
	for i, text := range []Text{clean, corrupt} {
		encoded, notes := text.encode(m.tokenizer)
		if len(encoded) == 0 {
			fail("%s is empty: the model needs at least one token", text.name)
		}
		*ids[i], q.notes = encoded, append(q.notes, notes...)
	}
	if len(q.clean) != len(q.corrupt) {
		part := 0 // where they do
		for q.clean[part] == q.corrupt[part] && part+1 < min(len(q.clean), len(q.corrupt)) {
			part++
		}
		around := func(ids []int) string {
			return joined(m.tokenizer.tokens(ids[max(0, part-6):min(len(ids), part+12)]))
		}
		fail("%s has %s and %s %d: they must have equally many, so change a word where they part: "+
			"clean is %s, corrupt is %s", clean.name, count(len(q.clean), "token"), corrupt.name,
			len(q.corrupt), around(q.clean), around(q.corrupt))
	}
	if slices.Equal(q.clean, q.corrupt) {
		fail("%s and %s are the same text: change a word in one of them", clean.name, corrupt.name)
	}
	if m.onlyGuesses(q.clean, q.corrupt) {
		q.notes = append(q.notes, "the built-in circuit can only guess here: all it knows is "+
			"that what followed a word follows it again, and the last word of neither text stands "+
			"in it before")
	}
	ids = [2]*[]int{&q.cleanAnswer, &q.corruptAnswer}
	eachAnswer(metric, q.answers, func(i int, answer string) { *ids[i] = answerTokens(m, answer) })
	for _, id := range q.cleanAnswer {
		if slices.Contains(q.corruptAnswer, id) {
			fail("both answers are the token %q: they must differ", q.tokenizer.token(id))
		}
	}
	return q
}

// eachAnswer calls f for the clean answer and the corrupt one, as far as they were typed or the
// metric cannot do without.
func eachAnswer(metric Metric, answers [2]string, f func(i int, answer string)) {
	for i, run := range runNames {
		if strings.Join(answers[i:], "") != "" || metric.row().answers > i {
			within("the "+run+" answer", func() { f(i, answers[i]) })
		}
	}
}

// members divides an answer, which may be a set: "is/was" is " is" or " was", and "=33/=34" exactly
// "33" or "34"; "33..99" is the numbers from 33 to 99, "=02..=32" those of two digits from 02 on.
// What begins with = is a set only where all its members do. The error is what is wrong whatever
// the vocabulary is.
func members(answer string) (words []string) {
	parts := strings.Split(answer, "/")
	for _, part := range parts {
		if part == "" || part == "=" || answer[0] == '=' && part[0] != '=' {
			parts = []string{answer}
		}
	}
	for _, part := range parts {
		_, err := strconv.ParseUint(strings.TrimPrefix(part, "#"), 10, 31)
		switch {
		case part == "" || part == "=":
			fail("it is empty: name one token, such as Jones")
		case part[0] == '#' && err != nil:
			fail("%q is not a token id, such as '#5437' "+
				"(for a text that begins with #, write '=#…')", part)
		}
		words = append(words, numbersIn(part)...)
	}
	return words
}

// numbersIn is the numbers of a range, "8..11" or "=08..=11", with as many digits as its first has
// at least; of anything else it is that itself.
func numbersIn(part string) (words []string) {
	first, last, ok := strings.Cut(part, "..")
	low, exact := strings.CutPrefix(first, "=")
	high, exactHigh := strings.CutPrefix(last, "=")
	lo, errLo := strconv.ParseUint(low, 10, 14) // numbers of a token have a few digits
	hi, errHi := strconv.ParseUint(high, 10, 14)
	if !ok || exact != exactHigh || errLo != nil || errHi != nil || lo > hi {
		return []string{part}
	}
	for n := lo; n <= hi; n++ {
		words = append(words, fmt.Sprintf("%s%0*d", first[:len(first)-len(low)], len(low), n))
	}
	return words
}

// answerTokens reads an answer, which may be a set.
func answerTokens(m *Model, answer string) (ids []int) {
	for _, word := range members(answer) {
		id := answerToken(m, word)
		if slices.Contains(ids, id) {
			fail("%q has the token %q twice", answer, m.tokenizer.token(id))
		}
		ids = append(ids, id)
	}
	return ids
}

// wordText is the text that one word of an answer stands for: Jones for " Jones", with the space
// that begins a word within a text, =Jones for exactly "Jones".
func wordText(word string) (text string, exact bool) {
	if text, exact = strings.CutPrefix(word, "="); exact || word[0] == ' ' {
		return text, true
	}
	return " " + word, false
}

// answerToken reads one token of an answer: a word, or "#5437", the token with that id.
func answerToken(m *Model, word string) int {
	if word[0] == '#' {
		id, err := strconv.Atoi(word[1:])
		if err != nil || id >= m.vocab {
			fail("%q is not a token of the model: its ids run from #0 to #%d", word, m.vocab-1)
		}
		return id
	}
	t := m.tokenizer
	text, exact := wordText(word)
	ids := get(t.encodeWord(text))
	if len(ids) == 0 {
		fail("%q holds no token", word)
	}
	if len(ids) == 1 {
		return ids[0]
	}
	advice := "which is what the model predicts, as " + typed(t, ids[0])
	without, _ := t.encodeWord(word)
	switch {
	case exact || len(without) == 0:
	case len(without) == 1 || strings.TrimSpace(t.token(ids[0])) == "":
		advice = "without the space, as " + typed(t, without[0])
	case strings.Contains(word, "'"): // such as n't, which follows a word without a space
		advice = "as " + typed(t, ids[0]) + ", or without the space, as " + typed(t, without[0])
	}
	fail("%q is not one token but %d, %s: take the first, %s, or another word", text, len(ids),
		joined(t.tokens(ids)), advice)
	return 0
}

// typed is how an answer that is one token can be typed in bash and in zsh: as a word, with
// quotation marks where a character means something to them, and by its id.
func typed(t *tokenizer, id int) string {
	token, number := t.token(id), fmt.Sprintf("'#%d'", id)
	odd := func(r rune) bool { return !strconv.IsPrint(r) || r == utf8.RuneError || r == '\'' }
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_./,:@%+", r)
	}
	if strings.TrimSpace(token) == "" || strings.ContainsFunc(token, odd) {
		return number
	}
	for _, word := range []string{strings.TrimPrefix(token, " "), "=" + token} {
		if strings.ContainsAny(word[:1], "#-") || word == "=" || len(members(word)) > 1 {
			continue
		}
		text, _ := wordText(word)
		if ids, err := t.encodeWord(text); err == nil && slices.Equal(ids, []int{id}) {
			if strings.TrimFunc(word, plain) != "" {
				word = "'" + word + "'"
			}
			return word + " or " + number
		}
	}
	return number
}

// spaceNotes tell of an answer that stands for a word with a space before it where the word without
// it is likelier by these logits of a next token: "." is " .", and what follows a word is ".". Of
// two that are both unlikely, chance decides, so one that begins with a letter must be ten times
// as likely.
func spaceNotes(t *tokenizer, answer string, logits []float32) []string {
	if answer == "" { // of a metric that does without
		return nil
	}
	for _, word := range members(answer) {
		text, exact := wordText(word)
		if exact || word[0] == '#' {
			continue
		}
		least := float32(0)
		if first, _ := utf8.DecodeRuneInString(word); unicode.IsLetter(first) {
			least = 2.3
		}
		with, _ := t.encodeWord(text)
		without, _ := t.encodeWord(word)
		if len(with) == 1 && len(without) == 1 && max(with[0], without[0]) < len(logits) &&
			logits[without[0]]-logits[with[0]] > least {
			return []string{fmt.Sprintf("the answer %q is less likely than %q, without the space, "+
				"which is written %s", text, word, typed(t, without[0]))}
		}
	}
	return nil
}

// spaceNotes are those on both answers, each by its own run.
func (q *Question) spaceNotes(b *Baselines) []string {
	return append(spaceNotes(q.tokenizer, q.answers[0], b.cleanLogits),
		spaceNotes(q.tokenizer, q.answers[1], b.corruptLogits)...)
}

// metricName is the metric as a formula with the pair's own answers. They have no spaces, but as
// soon as one of them has none before it either, they have quotation marks.
func (q *Question) metricName() string {
	quoted := false
	for _, id := range slices.Concat(q.cleanAnswer, q.corruptAnswer) {
		token := q.tokenizer.token(id)
		quoted = quoted || token[0] != ' ' && token != fmt.Sprintf("#%d", id)
	}
	name := func(ids []int) string {
		var words []string
		for _, id := range ids {
			word := q.tokenizer.token(id)
			if quoted {
				word = strconv.Quote(word)
			} else {
				word = visible(strings.TrimPrefix(word, " "))
			}
			words = append(words, word)
		}
		return setOf(words)
	}
	answers := strings.NewReplacer("CLEAN", name(q.cleanAnswer), "CORRUPT", name(q.corruptAnswer))
	return answers.Replace(q.metric.row().formula)
}

// setOf shows a set of answers: "is/was", and of more than eight the first two and the last.
func setOf(words []string) string {
	if n := len(words); n > 8 {
		words = []string{words[0], words[1], "…", words[n-1]}
	}
	return strings.Join(words, "/")
}

// Study is what a user wants to know of every pair, in the words of the command line.
type Study struct {
	site      string // what is put in, commas between; "" is resid, or z where there is a to
	to        string // who sees it: logits, or heads' inputs such as 9.9.q; "" is all that follows
	layers    string // which cells: see spans
	positions string
	lens      bool   // look in place of patching: through the logit lens,
	direct    bool   // at what each part of the model adds to the metric,
	attention string // or at the attention patterns of these heads
	metric    Metric
	top       int // how many next tokens to list
}

// check finds what is wrong with a study whatever the model and the texts are.
func (s *Study) check() {
	views := s.views()
	switch {
	case len(views) > 1:
		fail("%s and %s make a picture each: ask for one at a time", views[0], views[1])
	case len(views) > 0 && s.site+s.to+s.layers+s.positions != "":
		fail("%s looks at the two runs and patches nothing: -site, -to, -layers and -positions do "+
			"not go with it", views[0])
	case s.lens && s.metric == metricKL:
		fail("-lens has no -metric kl, which compares whole runs")
	case s.direct && s.metric != metricDiff:
		fail("-direct divides up the difference of two logits: -metric %s does not go with it",
			s.metric)
	}
	s.heads(Config{})
	s.plan(Config{}, 0)
}

// views are the flags that look at the two runs in place of patching.
func (s *Study) views() (flags []string) {
	if s.lens {
		flags = append(flags, "-lens")
	}
	if s.attention != "" {
		flags = append(flags, "-attention")
	}
	if s.direct {
		flags = append(flags, "-direct")
	}
	return flags
}

// plan is the plan of the study's sweep over a model and texts of T tokens. Where the model is not
// known yet, and T is 0, the words are checked.
func (s *Study) plan(c Config, T int) Plan {
	plan := Plan{s.targets(), spans("-layers", s.layers, c.layers),
		spans("-positions", s.positions, T), s.metric.row().full}
	first := max(0, slices.IndexFunc(plan.layers, func(layer Span) bool { return layer.run }))
	if t := plan.targets[0]; len(t.to) > 0 && !t.reaches(first) {
		which := "no head"
		if s.layers != "" {
			which = "no head of -layers " + s.layers
		}
		fail("-to %s: %s comes before it, so there is no path to patch", s.to, which)
	}
	return plan
}

// targets are what the study patches, a panel of the picture for each.
func (s *Study) targets() []Target {
	site := cmp.Or(s.site, "resid")
	if s.to != "" {
		site = cmp.Or(s.site, "z")
	}
	receivers, targets := s.receivers(), parseList("-site", site, parseSite)
	for i := range targets {
		t, first := &targets[i], targets[0]
		switch {
		case s.to != "" && t.site != siteZ:
			fail("-to follows the outputs of heads: -site z goes with it, but not %s", t)
		case s.to != "" && s.positions != "":
			fail("-to patches all positions at once: -positions does not go with it")
		case (t.of == nil) != (first.of == nil) || t.site.ofHead() != first.site.ofHead():
			fail("-site %s: %s and %s have cells of different kinds and need a picture each", site,
				first, t)
		case t.of != nil && s.layers != "":
			fail("-site %s is of one layer: -layers does not go with it", t)
		case t.of != nil && strings.Contains(s.positions, ".."):
			fail("-site %s patches entries one by one: -positions %s does not go with it", t,
				s.positions)
		}
		t.frozen, t.to = s.to != "", receivers
	}
	return targets
}

// parseSite reads a site's name, or that of a group of sites.
func parseSite(name string) []Target {
	groups := map[string]string{"all": "resid,attn,mlp", "heads": "z,q,k,v,pattern", "head": "z"}
	if group, ok := groups[name]; ok {
		return parseList("-site", group, parseSite)
	}
	if head, of := strings.CutSuffix(name, ".pattern"); of {
		h := parseHead(head)
		return []Target{{site: sitePattern, of: &h}}
	}
	site := slices.Index(siteNames, name)
	if site < 0 {
		fail("%q is not a site: they are %s, all and heads, and 9.6.pattern for a head", name,
			strings.Join(siteNames, ", "))
	}
	return []Target{{site: Site(site)}}
}

// String is what the target is called on the command line, and what titles its panel.
func (t Target) String() string {
	if t.of != nil {
		return fmt.Sprintf("%s.%s", t.of, t.site)
	}
	return t.site.String()
}

// receivers are what of which heads the study's to names; none for the logits.
func (s *Study) receivers() []Receiver {
	if s.to == "logits" {
		return nil
	}
	return parseList("-to", s.to, func(name string) []Receiver {
		dot := strings.LastIndex(name, ".")
		site := Site(slices.Index(siteNames, name[dot+1:]))
		if dot < 0 || site < siteQ || site > siteV {
			fail("the receivers are logits, and heads' q, k and v such as 9.9.q, " +
				"with commas between")
		}
		return []Receiver{{parseHead(name[:dot]), site}}
	})
}

// heads are those whose attention the study looks at: 9.6, all of layer 9 for 9, all for all.
// Whether the model has them is seen later.
func (s *Study) heads(c Config) []Head {
	return parseList("-attention", s.attention, func(name string) (heads []Head) {
		layer, err := strconv.ParseUint(name, 10, 16)
		if name != "all" && err != nil {
			return []Head{parseHead(name)}
		}
		for l := range max(c.layers, int(layer)+1) {
			for h := range c.heads {
				if name == "all" || l == int(layer) {
					heads = append(heads, Head{l, h})
				}
			}
		}
		return heads
	})
}

// attended says what heads the study looks at: "9.9, layer 5", "all heads".
func (s *Study) attended() string {
	parts := strings.Split(s.attention, ",")
	for i, part := range parts {
		if parts[i] = strings.TrimSpace(part); parts[i] == "all" {
			parts[i] = "all heads"
		} else if !strings.Contains(part, ".") {
			parts[i] = "layer " + parts[i]
		}
	}
	return strings.Join(parts, ", ")
}

// parseHead reads a head: "9.6" is the head 6 of layer 9. Whether the model has it is seen later.
func parseHead(s string) Head {
	layer, head, dot := strings.Cut(s, ".")
	l, errL := strconv.ParseUint(layer, 10, 31)
	h, errH := strconv.ParseUint(head, 10, 31)
	if !dot || errL != nil || errH != nil {
		fail("%q is not a head: write layer.head, such as 9.6", s)
	}
	return Head{int(l), int(h)}
}

// eachPart calls f for the parts of a flag's list. An empty list has none.
func eachPart(flag, list string, f func(part string)) {
	within(flag+" "+list, func() {
		for part := range strings.SplitSeq(list, ",") {
			if list != "" {
				f(strings.TrimSpace(part))
			}
		}
	})
}

// parseList reads a list in which nothing may come twice. A part may stand for several.
func parseList[T fmt.Stringer](flag, list string, parse func(part string) []T) (all []T) {
	seen := map[string]bool{}
	eachPart(flag, list, func(part string) {
		for _, one := range parse(part) {
			if seen[one.String()] {
				fail("it names %s twice", one)
			}
			seen[one.String()] = true
			all = append(all, one)
		}
	})
	return all
}

// spans reads a choice among n positions or layers: "1,10:" is 1 and all from 10 on, "0:6" is 0 to
// 5, and a negative number counts from the end, all as in Python; "1..3" is the positions 1, 2 and
// 3, patched together. Each is a span, in their order, and so is each that is not chosen, which is
// not run. "" is nil, which stands for all. Where n is 0, not known yet, the words are checked.
func spans(flag, list string, n int) (all []Span) {
	if list == "" {
		return nil
	}
	eachPart(flag, list, func(part string) {
		s, together := parseSpan(part, n)
		if together && flag == "-layers" {
			fail("layers are patched one by one: write 1:4 for 1 to 3")
		}
		if together {
			all = append(all, s)
		}
		for i := s.lo; i < s.hi && !together && n > 0; i++ {
			all = append(all, Span{i, i + 1, true})
		}
	})
	for i := range n {
		covers := func(s Span) bool { return s.lo <= i && i < s.hi }
		if !slices.ContainsFunc(all, covers) {
			all = append(all, Span{i, i + 1, false})
		}
	}
	slices.SortFunc(all, func(a, b Span) int {
		return cmp.Or(cmp.Compare(a.lo, b.lo), cmp.Compare(a.hi, b.hi))
	})
	return slices.Compact(all)
}

// parseSpan reads "3", "0:6", "6:" or "1..3", which is patched together.
func parseSpan(text string, n int) (s Span, together bool) {
	low, high, together := strings.Cut(text, "..")
	open := false // where the number of an end may be missing
	if !together {
		if low, high, open = strings.Cut(text, ":"); !open {
			high = low
		}
	}
	end := func(number string, otherwise int) int {
		number = strings.TrimSpace(number)
		v, err := strconv.ParseInt(number, 10, 32)
		switch {
		case open && number == "":
			return otherwise
		case err != nil:
			fail("%q is not a number: write 3, 0:6 for 0 to 5, or 6: for all from 6 on", number)
		case v < 0:
			return int(v) + n
		}
		return int(v)
	}
	s = Span{end(low, 0), end(high, cmp.Or(n, math.MaxInt)), true}
	if !open {
		s.hi++ // it is the last one
	}
	if (s.lo < 0) == (s.hi < 0) && s.lo >= s.hi {
		fail("%q holds nothing", text)
	}
	if n > 0 && (min(s.lo, s.hi) < 0 || s.hi > n) {
		fail("%q lies outside 0 to %d", text, n-1)
	}
	return s, together
}

// count is "1 token", "2 tokens".
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

// joined shows tokens side by side: " Jones was" is " Jones/ was". A token of nothing but spaces
// would look like a gap.
func joined(tokens []string) string {
	shown := make([]string, len(tokens))
	for i, t := range tokens {
		if shown[i] = visible(t); strings.Trim(t, " ") == "" {
			shown[i] = strings.Repeat("␣", len(t))
		}
	}
	return strings.Join(shown, "/")
}

// visible makes a token fit for a line of text: control characters and broken UTF-8 become escapes.
func visible(token string) string {
	quoted := strconv.Quote(token)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// inOneLine makes a name or a message fit for one line of a terminal: what cannot be seen, and
// broken UTF-8, become escapes. Unlike visible it leaves a backslash alone, of which the names of
// files on Windows are full.
func inOneLine(s string) string { return escaped(s, isShown) }

func isShown(char string) bool {
	r, _ := utf8.DecodeRuneInString(char)
	return strconv.IsPrint(r) && utf8.ValidString(char)
}
