package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Text is a text, and what to call it in an error.
type Text struct {
	name, text string
}

func (t Text) encode(by *tokenizer) ([]int, error) {
	ids, err := by.encode(t.text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.name, err)
	}
	return ids, nil
}

// notes tell what a user may not expect of the text's tokens.
func (t Text) notes(by *tokenizer) (notes []string) {
	for _, note := range by.notes(t.text) {
		notes = append(notes, t.name+": "+note)
	}
	return notes
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

// newQuestion encodes the texts, which must have equally many tokens but not be the same, and the
// answers. An answer that the metric does without may be left empty.
func newQuestion(
	m *Model, clean, corrupt Text, cleanAnswer, corruptAnswer string, metric Metric,
) (Question, error) {
	q := Question{cleanText: clean, corruptText: corrupt, metric: metric, tokenizer: m.tokenizer}
	var err error
	if q.clean, err = clean.encode(m.tokenizer); err != nil {
		return q, err
	}
	if q.corrupt, err = corrupt.encode(m.tokenizer); err != nil {
		return q, err
	}
	if len(q.clean) == 0 || len(q.corrupt) == 0 {
		empty := clean.name
		if len(q.clean) > 0 {
			empty = corrupt.name
		}
		return q, fmt.Errorf("%s is empty: the model needs at least one token", empty)
	}
	if len(q.clean) != len(q.corrupt) {
		return q, detailed{
			fmt.Errorf("%s has %s and %s %d: they must have equally many, "+
				"so change a word where they part",
				clean.name, count(len(q.clean), "token"), corrupt.name, len(q.corrupt)),
			aligned(q.tokenizer.tokens(q.clean), q.tokenizer.tokens(q.corrupt)),
		}
	}
	if slices.Equal(q.clean, q.corrupt) {
		return q, fmt.Errorf("%s and %s are the same text: change a word in one of them",
			clean.name, corrupt.name)
	}
	if cleanAnswer != "" || corruptAnswer != "" || metric.answers() > 0 {
		if q.cleanAnswer, err = answerTokens(m, cleanAnswer); err != nil {
			return q, fmt.Errorf("the clean answer: %w", err)
		}
	}
	if corruptAnswer != "" || metric.answers() > 1 {
		if q.corruptAnswer, err = answerTokens(m, corruptAnswer); err != nil {
			return q, fmt.Errorf("the corrupt answer: %w", err)
		}
	}
	for _, id := range q.cleanAnswer {
		if slices.Contains(q.corruptAnswer, id) {
			return q, fmt.Errorf("both answers are the token %q: they must differ",
				q.tokenizer.token(id))
		}
	}
	return q, nil
}

// notes tell what a user may not expect of the texts' tokens.
func (q *Question) notes() []string {
	return append(q.cleanText.notes(q.tokenizer), q.corruptText.notes(q.tokenizer)...)
}

// answers is how many answers a metric cannot do without.
func (k Metric) answers() int {
	switch k {
	case metricKL:
		return 0
	case metricLogit, metricLogProb:
		return 1
	}
	return 2
}

// members divides an answer, which may be a set: "is/was" is " is" or " was". One that begins with
// = is a text with any characters. The error is what is wrong whatever the vocabulary is.
func members(answer string) ([]string, error) {
	words := strings.Split(answer, "/")
	if strings.HasPrefix(answer, "=") || slices.Contains(words, "") {
		words = []string{answer}
	}
	for i, word := range words {
		_, err := strconv.ParseUint(strings.TrimPrefix(word, "#"), 10, 31)
		switch {
		case word == "" || word == "=":
			return nil, errors.New("it is empty: name one token, such as Jones")
		case word[0] == '#' && err != nil:
			return nil, fmt.Errorf("%q is not a token id, such as #5437 "+
				"(for a text that begins with #, write =#…)", word)
		case slices.Contains(words[:i], word):
			return nil, fmt.Errorf("%q has %q twice", answer, word)
		}
	}
	return words, nil
}

// answerTokens reads an answer, which may be a set.
func answerTokens(m *Model, answer string) ([]int, error) {
	words, err := members(answer)
	if err != nil {
		return nil, err
	}
	var ids []int
	for _, word := range words {
		id, err := answerToken(m, word)
		if err != nil {
			return nil, err
		}
		if slices.Contains(ids, id) {
			return nil, fmt.Errorf("%q has the token %q twice", answer, m.tokenizer.token(id))
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// answerToken reads one token of an answer: "Jones" is the token " Jones", "=Jones" exactly
// "Jones", "#5437" the token with that id.
func answerToken(m *Model, answer string) (int, error) {
	text := " " + answer
	switch answer[0] {
	case '#':
		id, err := strconv.Atoi(answer[1:])
		if err != nil || id >= m.vocab {
			return 0, fmt.Errorf("%q is not a token of the model: its ids run from #0 to #%d",
				answer, m.vocab-1)
		}
		return id, nil
	case '=':
		text = answer[1:]
	case ' ':
		text = answer
	}
	ids, err := m.tokenizer.encodeWord(text)
	switch {
	case err != nil:
		return 0, err
	case len(ids) == 0:
		return 0, fmt.Errorf("%q holds no token", answer)
	case len(ids) == 1:
		return ids[0], nil
	}
	first := fmt.Sprintf("#%d", ids[0])
	if token := m.tokenizer.token(ids[0]); utf8.ValidString(token) {
		first = fmt.Sprintf("%q or %s", "="+token, first)
	}
	return 0, fmt.Errorf("%q is not one token but %d, %s: take the first, which is what the model "+
		"predicts, as %s, or another word", text, len(ids), joined(m.tokenizer.tokens(ids)), first)
}

// metricName is the metric as a formula with the pair's own answers.
func (q *Question) metricName() string {
	name := func(ids []int, word func(token string) string) string {
		words := make([]string, len(ids))
		for i, id := range ids {
			words[i] = word(q.tokenizer.token(id))
		}
		return strings.Join(words, "/")
	}
	bare := func(token string) string { return visible(strings.TrimPrefix(token, " ")) }
	clean, corrupt := name(q.cleanAnswer, bare), name(q.corruptAnswer, bare)
	if clean == corrupt { // they differ in the space alone
		clean, corrupt = name(q.cleanAnswer, strconv.Quote), name(q.corruptAnswer, strconv.Quote)
	}
	switch q.metric {
	case metricLogit:
		return fmt.Sprintf("logit(%s)", clean)
	case metricLogProb:
		return fmt.Sprintf("log p(%s)", clean)
	case metricProb:
		return fmt.Sprintf("p(%s) - p(%s)", corrupt, clean)
	case metricRestored:
		return fmt.Sprintf("restored share of logit(%s) - logit(%s)", corrupt, clean)
	case metricKL:
		return "KL(clean || patched)"
	}
	return fmt.Sprintf("logit(%s) - logit(%s)", corrupt, clean)
}

// Study is what a user wants to know of every pair, in the words of the command line.
type Study struct {
	site      string // what is put in, commas between; "" is resid, or z where there is a to
	to        string // who sees it: logits, or heads' inputs such as 9.9.q; "" is all that follows
	layers    string // which cells: see selection
	positions string // see spans
	lens      bool   // look in place of patching: through the logit lens,
	direct    bool   // at what each part of the model adds to the metric,
	attention string // or at the attention patterns of these heads
	metric    Metric
	top       int // how many next tokens to list
}

// check finds what is wrong with a study whatever the model and the texts are.
func (s *Study) check() error {
	if !slices.Contains(metrics, s.metric) {
		return fmt.Errorf("-metric %s: the metrics are diff, logit, prob, restored, logprob and kl",
			s.metric)
	}
	views := s.views()
	switch {
	case len(views) > 1:
		return fmt.Errorf("%s and %s make a picture each: ask for one at a time",
			views[0], views[1])
	case s.lens && s.metric == metricKL:
		return errors.New("-lens has no -metric kl, which compares whole runs")
	case s.direct && s.metric != metricDiff:
		return fmt.Errorf("-direct divides up the difference of two logits: "+
			"-metric %s does not go with it", s.metric)
	}
	for _, flag := range []struct{ name, value string }{
		{"-site", s.site}, {"-to", s.to}, {"-layers", s.layers}, {"-positions", s.positions},
	} {
		if len(views) > 0 && flag.value != "" {
			return fmt.Errorf("%s looks at the two runs and patches nothing: "+
				"%s does not go with it", views[0], flag.name)
		}
	}
	if _, err := s.heads(); err != nil {
		return err
	}
	if _, err := choices(s.positions, true); err != nil {
		return fmt.Errorf("-positions %s: %w", s.positions, err)
	}
	layers, err := choices(s.layers, false)
	if err != nil {
		return fmt.Errorf("-layers %s: %w", s.layers, err)
	}
	targets, err := s.targets()
	if err != nil {
		return err
	}
	first := 0
	if layers != nil { // one that counts from the end may be any
		byLow := func(a, b choice) int { return cmp.Compare(a.lo, b.lo) }
		first = max(0, slices.MinFunc(layers, byLow).lo)
	}
	return s.checkSenders(targets[0].to, first)
}

// checkAnswers finds what is wrong with a pair's answers whatever the vocabulary is.
func (s *Study) checkAnswers(clean, corrupt string) error {
	var words [2][]string
	for i, answer := range []string{clean, corrupt} {
		name := []string{"clean", "corrupt"}[i]
		if answer == "" && i >= s.metric.answers() && (i == 1 || corrupt == "") {
			continue
		}
		var err error
		if words[i], err = members(answer); err != nil {
			return fmt.Errorf("the %s answer: %w", name, err)
		}
		if s.direct && len(words[i]) > 1 {
			return fmt.Errorf("-direct divides up the difference of two logits: the %s answer, "+
				"%s, is a set", name, answer)
		}
	}
	for _, word := range words[0] {
		if slices.Contains(words[1], word) {
			return fmt.Errorf("both answers are %q: they must differ", word)
		}
	}
	return nil
}

func (s *Study) views() []string {
	var flags []string
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

// plan is the plan of the study's sweep over a model and texts of T tokens.
func (s *Study) plan(m *Model, T int) (plan Plan, err error) {
	if plan.targets, err = s.targets(); err != nil {
		return plan, err
	}
	if plan.layers, err = selection(s.layers, m.layers); err != nil {
		return plan, fmt.Errorf("-layers %s: %w", s.layers, err)
	}
	if plan.spans, err = spans(s.positions, T); err != nil {
		return plan, fmt.Errorf("-positions %s: %w", s.positions, err)
	}
	plan.full = s.metric.full()
	return plan, s.checkSenders(plan.targets[0].to, max(0, slices.Index(plan.layers, true)))
}

// checkSenders is an error if no head of the first chosen layer, or a later one, comes before any
// receiver.
func (s *Study) checkSenders(receivers []Receiver, first int) error {
	after := func(r Receiver) bool { return r.layer > first }
	if receivers == nil || slices.ContainsFunc(receivers, after) {
		return nil
	}
	which := "no head"
	if s.layers != "" {
		which = "no head of -layers " + s.layers
	}
	return fmt.Errorf("-to %s: %s comes before it, so there is no path to patch", s.to, which)
}

// sitesNamed are the sites that a name stands for: a site's own name, or that of a group. There are
// none if it is no name.
func sitesNamed(name string) []Site {
	switch name {
	case "all":
		return []Site{siteResid, siteAttn, siteMLP}
	case "heads":
		return []Site{siteZ, siteQ, siteK, siteV, sitePattern}
	case "head":
		return []Site{siteZ}
	}
	for s := siteResidPre; s <= siteResid; s++ {
		if s.String() == name {
			return []Site{s}
		}
	}
	return nil
}

// targets are what the study patches, a panel of the picture for each.
func (s *Study) targets() ([]Target, error) {
	receivers, err := s.receivers()
	if err != nil {
		return nil, err
	}
	site := s.site
	if site == "" {
		site = "resid"
		if s.to != "" {
			site = "z"
		}
	}
	var targets []Target
	for _, name := range strings.Split(site, ",") {
		name = strings.TrimSpace(name)
		if head, of := strings.CutSuffix(name, ".pattern"); of {
			h, err := parseHead(head)
			if err != nil {
				return nil, fmt.Errorf("-site %s: %w", site, err)
			}
			targets = append(targets, Target{site: sitePattern, of: &h})
			continue
		}
		sites := sitesNamed(name)
		if sites == nil {
			return nil, fmt.Errorf("-site %s: %q is not a site: they are resid_pre, resid_mid, "+
				"resid, attn and mlp, z (or head), q, k, v and pattern, all and heads, and "+
				"9.6.pattern for a head", site, name)
		}
		for _, site := range sites {
			targets = append(targets, Target{site: site})
		}
	}
	for i := range targets {
		t := &targets[i]
		if s.to != "" {
			if t.site != siteZ {
				return nil, fmt.Errorf("-to follows the outputs of heads: "+
					"-site z goes with it, but not %s", t.name())
			}
			t.frozen, t.to = true, receivers
		}
		for _, other := range targets[:i] {
			if t.name() == other.name() {
				return nil, fmt.Errorf("-site %s names %s twice", site, t.name())
			}
			if (t.of == nil) != (other.of == nil) || t.site.ofHead() != other.site.ofHead() {
				return nil, fmt.Errorf("-site %s: %s and %s have cells of different kinds "+
					"and need a picture each", site, other.name(), t.name())
			}
		}
		switch {
		case t.frozen && s.positions != "":
			return nil, errors.New("-to patches all positions at once: " +
				"-positions does not go with it")
		case t.of != nil && s.layers != "":
			return nil, fmt.Errorf("-site %s is of one layer: -layers does not go with it",
				t.name())
		case t.of != nil && strings.Contains(s.positions, ".."):
			return nil, fmt.Errorf("-site %s patches entries one by one: "+
				"-positions %s does not go with it", t.name(), s.positions)
		}
	}
	return targets, nil
}

// name is what the site is called on the command line, and what titles the target's panel.
func (t Target) name() string {
	if t.of != nil {
		return fmt.Sprintf("%s.%s", t.of, t.site)
	}
	return t.site.String()
}

// receivers are what of which heads the study's to names; none for the logits.
func (s *Study) receivers() ([]Receiver, error) {
	if s.to == "" || s.to == "logits" {
		return nil, nil
	}
	return parseList("-to", s.to, func(name string) (r Receiver, err error) {
		dot := strings.LastIndex(name, ".")
		site, ok := map[string]Site{".q": siteQ, ".k": siteK, ".v": siteV}[name[max(0, dot):]]
		if !ok {
			return r, errors.New("the receivers are logits, and heads' q, k and v " +
				"such as 9.9.q, with commas between")
		}
		head, err := parseHead(name[:dot])
		return Receiver{head, site}, err
	})
}

// heads are those whose attention the study looks at.
func (s *Study) heads() ([]Head, error) {
	if s.attention == "" {
		return nil, nil
	}
	return parseList("-attention", s.attention, parseHead)
}

// parseList reads a flag's list, in which nothing may come twice.
func parseList[T comparable](flag, list string, parse func(name string) (T, error)) ([]T, error) {
	var all []T
	for _, name := range strings.Split(list, ",") {
		name = strings.TrimSpace(name)
		one, err := parse(name)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", flag, list, err)
		}
		if slices.Contains(all, one) {
			return nil, fmt.Errorf("%s %s names %s twice", flag, list, name)
		}
		all = append(all, one)
	}
	return all, nil
}

// parseHead reads a head: "9.6" is the head 6 of layer 9. Whether the model has it is seen later.
func parseHead(s string) (Head, error) {
	layer, head, dot := strings.Cut(s, ".")
	l, errL := strconv.ParseUint(layer, 10, 31)
	h, errH := strconv.ParseUint(head, 10, 31)
	if !dot || errL != nil || errH != nil {
		return Head{}, fmt.Errorf("%q is not a head: write layer.head, such as 9.6", s)
	}
	return Head{int(l), int(h)}, nil
}

// spans reads a choice among T positions, as selection does; "1..3" is 1, 2 and 3, patched
// together. Each is a column, in the order of the text, and so is each position that is not chosen,
// whose column is not run. "" is nil, which stands for all.
func spans(list string, T int) (columns []Span, err error) {
	parts, err := choices(list, true)
	if parts == nil {
		return nil, err
	}
	single := make([]bool, T)
	for _, part := range parts {
		lo, hi, err := part.within(T)
		if err != nil {
			return nil, err
		}
		if part.together {
			columns = append(columns, Span{lo, hi, true})
			continue
		}
		for p := lo; p < hi; p++ {
			single[p] = true
		}
	}
	for p, chosen := range single {
		within := func(s Span) bool { return s.lo <= p && p < s.hi }
		if chosen || !slices.ContainsFunc(columns, within) {
			columns = append(columns, Span{p, p + 1, chosen})
		}
	}
	slices.SortFunc(columns, func(a, b Span) int {
		return cmp.Or(cmp.Compare(a.lo, b.lo), cmp.Compare(a.hi, b.hi))
	})
	return slices.Compact(columns), nil
}

// selection reads a choice among n layers: "1,10:" is 1 and all from 10 on, "0:6" is 0 to 5, and a
// negative number counts from the end, all as in Python. "" is nil, which stands for all.
func selection(list string, n int) ([]bool, error) {
	parts, err := choices(list, false)
	if parts == nil {
		return nil, err
	}
	chosen := make([]bool, n)
	for _, part := range parts {
		lo, hi, err := part.within(n)
		if err != nil {
			return nil, err
		}
		for i := lo; i < hi; i++ {
			chosen[i] = true
		}
	}
	return chosen, nil
}

// choice is a part of a list of layers or positions: lo up to, but not including, hi. A negative
// number counts from the end, and a hi of toEnd is the end.
type choice struct {
	text     string // as it was written: "3", "0:6", "1..3"
	lo, hi   int
	together bool // they are patched together
}

const toEnd = math.MaxInt

// within is the choice among n.
func (c choice) within(n int) (lo, hi int, err error) {
	if lo = c.lo; lo < 0 {
		lo += n
	}
	if hi = c.hi; hi == toEnd {
		hi = n
	} else if hi < 0 {
		hi += n
	}
	if lo < 0 || hi > n {
		err = fmt.Errorf("%q lies outside 0 to %d", c.text, n-1)
	} else if lo >= hi {
		err = fmt.Errorf("%q holds nothing of 0 to %d", c.text, n-1)
	}
	return lo, hi, err
}

// choices reads a list of them. The error is what is wrong however many there are to choose from.
func choices(list string, together bool) (all []choice, err error) {
	if list == "" {
		return nil, nil
	}
	for _, part := range strings.Split(list, ",") {
		c, err := parseChoice(part, together)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// parseChoice reads "3", "0:6", "6:" or, where several can be patched together, "1..3".
func parseChoice(text string, together bool) (c choice, err error) {
	c = choice{text: text, hi: toEnd}
	low, high, isRange := strings.Cut(text, ":")
	if !isRange {
		high = low
	}
	if first, last, ok := strings.Cut(text, ".."); ok {
		if !together {
			return c, fmt.Errorf("%q: layers are patched one by one: write 1:4 for 1 to 3",
				text)
		}
		low, high, isRange, c.together = first, last, false, true
	}
	if !isRange || strings.TrimSpace(low) != "" {
		if c.lo, err = parseNumber(low); err != nil {
			return c, err
		}
	}
	if !isRange || strings.TrimSpace(high) != "" {
		if c.hi, err = parseNumber(high); err != nil {
			return c, err
		}
	}
	if !isRange { // high is the last one
		if c.hi++; c.hi == 0 {
			c.hi = toEnd
		}
	}
	if (c.lo < 0) == (c.hi < 0) && c.lo >= c.hi {
		return c, fmt.Errorf("%q holds nothing", text)
	}
	return c, nil
}

func parseNumber(s string) (int, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number: write 3, 0:6 for 0 to 5, or 6: for all from 6 on",
			s)
	}
	return int(n), nil
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

// inOneLine makes a name or a message fit for one line of a terminal: what cannot be seen, and
// broken UTF-8, become escapes. Unlike visible it leaves a backslash alone, of which the names of
// files on Windows are full.
func inOneLine(s string) string {
	return escaped(s, func(char string) bool {
		r, _ := utf8.DecodeRuneInString(char)
		return strconv.IsPrint(r) && utf8.ValidString(char)
	})
}

func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(0, n-utf8.RuneCountInString(s)))
}

// aligned shows two tokenizations one under the other. What lies between their common beginning and
// end has equal width, so that one sees which word to change.
func aligned(clean, corrupt []string) []string {
	head := 0
	for head < min(len(clean), len(corrupt)) && clean[head] == corrupt[head] {
		head++
	}
	tail := 0
	for tail < min(len(clean), len(corrupt))-head &&
		clean[len(clean)-1-tail] == corrupt[len(corrupt)-1-tail] {
		tail++
	}
	// near is how many tokens of common text are shown on each side, and half of what is shown of
	// the rest.
	const near = 6
	before := clean[max(0, head-near):head]
	after := clean[len(clean)-tail:][:min(tail, near)]
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
