// Mechpatch does activation patching on GPT-2: it runs the model on a clean and a corrupt text,
// puts the clean run's residual stream into the corrupt run one layer and one position at a time,
// and paints as a heat map where that brings the clean answer back.
package main

import (
	"bufio"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const version = "1.1"

const usage = `mechpatch: activation patching on GPT-2

  mechpatch [flags] CLEAN.txt CORRUPT.txt CLEAN_ANSWER CORRUPT_ANSWER
      Runs both texts, then the corrupt one again for every layer and position, with the clean
      run's residual stream put in there. Prints the tokens, the most probable next tokens and
      logit(CORRUPT_ANSWER) - logit(CLEAN_ANSWER) for every cell, and paints the cells.
      -site says what is put in, -to who sees it; -lens, -attention and -direct look without
      patching. With texts and answers swapped it shows what is necessary, not what is sufficient.
  mechpatch [flags] -pairs PAIRS
      The same for every line of a file: clean text, corrupt text, clean answer, corrupt answer,
      with tabs between; or lines of JSON in a file named .jsonl. Writes a line of JSON for each,
      and paints their mean.
  mechpatch mean [flags] RESULTS...
      The means of results of -pairs, from one file or many, as one run would give them.
  mechpatch next [flags] TEXT.txt [ANSWER...]
      The most probable next tokens of one text, and the rank of each answer.
  mechpatch tokens [flags] TEXT.txt
      The tokens of a text and their ids.
  mechpatch fetch [-o FILE] [NAME]
      Downloads gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2, or any ORG/NAME[@REVISION]
      of the Hugging Face hub.
  mechpatch convert [-dtype f32|f16|bf16] IN OUT.safetensors
      Makes a lean safetensors file of a safetensors or PyTorch file, or of a folder with one.
  mechpatch bundle [-exe PROGRAM] MODEL OUT
      Makes a copy of the program with the weights inside: one file holds everything.

An answer is one token: Jones stands for " Jones", with a leading space, '=Jones' for exactly
that text, '#5437' for the token with that id; is/was is a set of two, '=33..=99' one of numbers.
The texts must have equally many tokens. A line break at the end of a file and a byte-order mark
are not part of the text. After -- nothing is taken for a flag. Flags, anywhere on the line:

`

// program is one run of the program: where it prints, the files that it reads and writes, and what
// its flags say.
type program struct {
	stdout   *bufio.Writer // flushed at the end; an error of it waits there
	stderr   io.Writer
	terminal bool // whether a person looks at stdout
	bar      *progressBar
	files    []fileUse
	failed   bool // in part, as a note has said

	version           bool
	model             string
	inline, offline   bool
	heads             int
	study             Study
	image, json, csv  string
	imageAsked        bool // not the default of the main command
	pairs, exe, dtype string
	resume            bool
	args              []string
	textRules         // -ids, -bos, -special, -tokenizer
	style
}

func main() {
	endCleanly()
	code := execute(os.Args[1:], os.Stdout, os.Stderr)
	forgetMappings()
	os.Exit(code)
}

// execute runs the program and returns its exit code: 0, 1 for a failure, 2 for a wrong command
// line.
func execute(args []string, stdout, stderr io.Writer) int {
	p := &program{
		stdout: bufio.NewWriter(stdout), stderr: stderr, terminal: takesColor(stdout), args: args,
		bar: newProgress(stderr),
	}
	return p.end(withoutPanic(func() {
		run, words := p.parse(args)
		run(words)
	}))
}

// end reports how the run ended, and returns the exit code.
func (p *program) end(err error) int {
	if flushed := p.stdout.Flush(); flushed != nil && !errors.Is(flushed, syscall.EPIPE) {
		err = fmt.Errorf("writing to standard output: %w", reason(flushed))
	} else if flushed != nil && (err == nil || errors.Is(err, syscall.EPIPE)) {
		return 1 // and no word: whoever was reading, such as head, has had enough
	}
	_, misused := errors.AsType[usageError](err)
	broken, crashed := errors.AsType[*crash](err)
	switch {
	case err == nil && !p.failed:
		return 0
	case misused:
		p.note(fmt.Errorf("%s (mechpatch -h shows how)", err))
		return 2
	case crashed:
		p.note(fmt.Errorf("this is a fault of the program, please report it: %v", broken.cause))
		fmt.Fprintf(p.stderr, "%s", broken.stack)
	case err != nil:
		p.note(err)
	}
	return 1
}

// withoutPanic makes an error of a panic. Mapped weights can cause one: a read faults where the
// file has been cut short, or its disk has failed, since it was opened.
func withoutPanic(f func()) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			c := newCrash(p)
			err = c
			if _, isFault := c.cause.(interface{ Addr() uintptr }); isFault {
				err = errors.New("reading the weights: their file was cut short, or its disk " +
					"failed, while in use")
			}
		}
	}()
	return caught(f)
}

// Command is a command of the program: its name; its arguments, in brackets if it does without,
// with … if more may follow; the flags that it takes; and what it does with the arguments.
type Command struct {
	name, arguments, flags string
	run                    func(words []string)
}

// commands are all commands. The first, without a name, is the main one.
func (p *program) commands() []Command {
	const text = " model heads offline bos special tokenizer e json "
	return []Command{
		{"", p.patchArguments(), text + "ids top o csv site to layers positions lens attention " +
			"direct metric pairs resume cmap scale title range", p.patch},
		{"mean", "RESULTS…", "o json cmap scale title range", p.mean},
		{"next", "TEXT.txt [ANSWER…]", text + "ids top", p.next},
		{"tokens", "TEXT.txt", text, p.tokens},
		{"fetch", "[NAME]", "o", p.fetch},
		{"convert", "IN OUT.safetensors", "heads tokenizer dtype", p.convert},
		{"bundle", "MODEL OUT", "heads tokenizer exe", p.bundle},
	}
}

// patchArguments are those of the main command, which depend on its metric.
func (p *program) patchArguments() string {
	if p.pairs != "" {
		return "" // they are in the file
	}
	arguments := strings.Fields("CLEAN.txt CORRUPT.txt CLEAN_ANSWER CORRUPT_ANSWER")
	for i := 2 + p.study.metric.row().answers; i < len(arguments); i++ {
		arguments[i] = "[" + arguments[i] + "]"
	}
	return strings.Join(arguments, " ")
}

// newFlags declares all flags of all commands.
func (p *program) newFlags() *flag.FlagSet {
	f := flag.NewFlagSet("mechpatch", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	choice := func(to *string, name, usage string, values ...string) {
		*to = values[0]
		f.Func(name, usage, func(value string) error {
			if *to = strings.ToLower(value); slices.Contains(values, *to) {
				return nil
			}
			return errors.New("it is one of " + strings.TrimSpace(strings.Join(values, " ")))
		})
	}
	f.BoolVar(&p.version, "version", false, "print the version")
	f.StringVar(&p.model, "model", "", "the `MODEL`: a file of weights or its folder, a name such "+
		"as gpt2-medium or ORG/NAME, or circuit")
	f.IntVar(&p.heads, "heads", 0, "the model has `N` attention heads, where its files do not say")
	f.BoolVar(&p.offline, "offline", false, "do not use the network")
	f.BoolVar(&p.bosFirst, "bos", false, "put the token that begins a text before each")
	f.BoolVar(&p.inline, "e", false, "the arguments are the texts themselves, not files' names")
	f.StringVar(&p.json, "json", "", "write all as JSON to this `FILE`; - is standard output")
	f.BoolVar(&p.numbers, "ids", false, "texts and answers are token ids")
	f.BoolVar(&p.special, "special", false, "find special tokens, such as <|endoftext|>, in texts")
	choice(&p.reading, "tokenizer", "where libraries differ in `HOW` they read a vocabulary: "+
		"file, as it says,\nor class, as the class of its tokenizer does", "", "file", "class")
	f.IntVar(&p.study.top, "top", 20, "list `N` next tokens")
	f.StringVar(&p.image, "o", "", "paint the heat map into this `FILE`, by default heatmap.png;\n"+
		"fetch: keep the weights in this file or folder, by default in the user's cache")
	f.StringVar(&p.csv, "csv", "", "write the numbers as CSV to this `FILE`; - is standard output")
	f.StringVar(&p.study.site, "site", "", "a `LIST` of what is put in, a panel each, by default "+
		"resid;\nat a position: resid_pre, resid_mid, resid, attn, mlp; all is resid,attn,mlp;\n"+
		"of a head: z (also head), q, k, v, pattern; heads is z,q,k,v,pattern;\n"+
		"each entry of the pattern of the head 9.6: 9.6.pattern")
	f.StringVar(&p.study.to, "to", "", "a `LIST` of who sees it: logits, or inputs of heads such "+
		"as 9.9.q,10.0.v (path patching\nfrom every head); by default everything that follows")
	f.StringVar(&p.study.layers, "layers", "", "a `LIST` of layers, such as 0:6 for 0 to 5")
	f.StringVar(&p.study.positions, "positions", "", "a `LIST` of positions: 1,10: is 1 and all "+
		"from 10 on; 1..3 is 1, 2 and 3 together;\n"+
		"a head is patched at all positions unless some are named, : for each")
	f.BoolVar(&p.study.lens, "lens", false, "do not patch, but read both runs after every layer "+
		"(the logit lens)")
	f.StringVar(&p.study.attention, "attention", "", "do not patch, but show where a `LIST` of "+
		"heads attends to: 9.9,10.7, 5 for layer 5, or all")
	f.BoolVar(&p.study.direct, "direct", false, "do not patch, but show what each part of the "+
		"model adds (direct logit attribution)")
	var names []string
	for _, m := range metrics {
		names = append(names, string(m.name))
	}
	choice((*string)(&p.study.metric), "metric", "the `METRIC` that is shown, by default diff: "+
		strings.Join(names, ", "), names...)
	f.StringVar(&p.pairs, "pairs", "", "run every pair of this `FILE`; - is standard input")
	f.BoolVar(&p.resume, "resume", false, "go on with the -json FILE of a run over -pairs")
	choice(&p.colorMap, "cmap", "a `MAP` of colours: viridis (by default), or rdbu, centred on "+
		"the corrupt run or on -range", "viridis", "rdbu")
	f.IntVar(&p.scale, "scale", 1, "make the picture `N` times as sharp, for print")
	f.Func("title", "begin the picture with this `TEXT`, by default the metric; with \"\" no "+
		"lines are above the panels", func(text string) error {
		p.heading = &text
		return nil
	})
	f.Func("range", "the colours span `LOW:HIGH`, such as -5:5, so that pictures can be compared",
		p.parseRange)
	choice(&p.dtype, "dtype", "the numbers' `FORMAT`: f32, f16 or bf16, by default as they are",
		"", "f32", "f16", "bf16")
	f.StringVar(&p.exe, "exe", "", "the `PROGRAM` to copy, for any system, by default this one")
	return f
}

// parseRange reads what the colours span.
func (p *program) parseRange(s string) (err error) {
	low, high, _ := strings.Cut(strings.ReplaceAll(s, "−", "-"), ":") // as pictures write it
	var errHigh error
	p.low, err = strconv.ParseFloat(low, 64)
	p.high, errHigh = strconv.ParseFloat(high, 64)
	// The difference of what is no number, or has no end, has none either.
	if gap := p.high - p.low; err != nil || errHigh != nil || gap-gap != 0 || gap <= 0 {
		return errors.New("it is two numbers, the lower one first, such as -5:5")
	}
	return nil
}

// parse reads the command line: flags, wherever they stand, and words. The first word may name a
// command. What follows "--" is no flag and no name.
func (p *program) parse(args []string) (run func(words []string), words []string) {
	var rest []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, rest = args[:i], args[i+1:]
	}
	flags := p.newFlags()
	err := flags.Parse(args)
	for err == nil && flags.NArg() > 0 {
		words = append(words, flags.Arg(0))
		err = flags.Parse(flags.Args()[1:])
	}
	commands := p.commands()
	c := commands[0]
	for _, named := range commands[1:] {
		if len(words) > 0 && words[0] == named.name {
			c, words = named, words[1:]
			break
		}
	}
	words = append(words, rest...)
	takes := func(f *flag.Flag) bool {
		return slices.Contains(strings.Fields(c.flags+" version"), f.Name)
	}
	given, other := map[string]bool{}, "" // and a flag that is another command's
	flags.Visit(func(f *flag.Flag) {
		if given[f.Name] = true; !takes(f) {
			other = f.Name
		}
	})
	most := len(strings.Fields(c.arguments))
	least := most - strings.Count(c.arguments, "[")
	if strings.Contains(c.arguments, "…") {
		most = len(words)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return func([]string) { p.printUsage(flags, takes) }, nil
	case err != nil && strings.HasPrefix(err.Error(), "flag provided but not defined"):
		err = fmt.Errorf("%w; a word that begins with - is a flag unless it comes after --", err)
	case err != nil:
	case p.version:
		return func([]string) { p.print("mechpatch " + programVersion() + "\n") }, nil
	case other != "":
		err = fmt.Errorf("-%s does not go with %s", other, cmp.Or(c.name, "patching"))
	case p.numbers && p.bosFirst:
		err = errors.New("-bos does not go with -ids: write that token's id yourself")
	case p.study.top < 0:
		err = fmt.Errorf("-top %d is negative", p.study.top)
	case p.heads < 1 && given["heads"]:
		err = fmt.Errorf("-heads %d: a model has one head at least", p.heads)
	case p.scale < 1 || p.scale > largestScale:
		err = fmt.Errorf("-scale %d is not between 1 and %d", p.scale, largestScale)
	case p.pairs != "" && len(words) > 0:
		err = errors.New("-pairs takes the texts and answers from its file: " +
			"there are no arguments beside it")
	case len(words) < least || len(words) > most:
		err = fmt.Errorf("%s; expected: %s", count(len(words), "argument"), c.arguments)
		if c.name == "" && len(words) == 2 {
			err = fmt.Errorf("%w; a # begins a comment in a shell: write '#5437'", err)
		}
	}
	misuse(err)
	if p.imageAsked = given["o"]; !p.imageAsked && takes(flags.Lookup("cmap")) {
		p.image = "heatmap.png"
	}
	return c.run, words
}

// printUsage prints what -h asks for: the commands, and the flags that the one asked about takes.
func (p *program) printUsage(flags *flag.FlagSet, takes func(*flag.Flag) bool) {
	var text strings.Builder
	text.WriteString(usage)
	own := flag.NewFlagSet("", flag.ContinueOnError)
	own.SetOutput(&text)
	flags.VisitAll(func(f *flag.Flag) {
		if takes(f) {
			own.Var(f.Value, f.Name, f.Usage)
		}
	})
	own.PrintDefaults()
	p.print(strings.ReplaceAll(text.String(), "\t", "  "))
}

// programVersion is the version, with the commit that the binary was built from where it knows.
func programVersion() string {
	info, _ := debug.ReadBuildInfo()
	for i := 0; info != nil && i < len(info.Settings); i++ {
		if s := info.Settings[i]; s.Key == "vcs.revision" {
			return fmt.Sprintf("%s (%.7s)", version, s.Value)
		}
	}
	return version
}

// origin is what every result says about how it came about.
func (p *program) origin() Origin {
	return Origin{programVersion(), p.args, p.bosFirst, p.study.layers, p.study.positions}
}

// patch is the main command. Without an -o it does without the picture where it cannot write one.
func (p *program) patch(words []string) {
	words = append(words, "", "", "", "")[:4]
	misuse(caught(func() { p.check(words) }))
	if !p.imageAsked {
		if err := writable(p.image); err != nil {
			p.note(fmt.Errorf("%w: there will be no picture, unless -o says where", err))
			p.image, p.failed = "", true
		}
	}
	p.useOutputs()
	if p.pairs != "" {
		p.patchPairs()
	} else {
		p.patchPair(words)
	}
}

// check checks the main command's flags against each other and against the arguments.
func (p *program) check(words []string) {
	p.study.check()
	single := p.study.views()
	if p.csv != "" {
		single = append(single, "-csv")
	}
	if p.image == "-" {
		single = append(single, "-o -")
	}
	switch {
	case p.image == "-" && p.terminal:
		fail("-o -: a terminal cannot show a picture: send it to a file or a program")
	case p.pairs != "" && len(single) > 0:
		fail("%s is for one pair: -pairs, which gives JSON and mean pictures, does not go with it",
			single[0])
	case p.resume && (p.pairs == "" || p.json == "" || p.json == "-"):
		fail("-resume goes on with the results of -pairs: name their file with -json")
	case p.pairs != "":
		return
	case words[0] == words[1]:
		fail("%s is both texts: they must differ", quote(words[0]))
	case words[2] == words[3] && words[2] != "":
		fail("both answers are %q: they must differ", words[2])
	}
	eachAnswer(p.study.metric, [2]string(words[2:]), func(_ int, answer string) { members(answer) })
}

// patchPair runs one pair and shows all of the result. The files come first: they are written
// whatever becomes of standard output. What cannot be written is said in the end.
func (p *program) patchPair(words []string) {
	clean, corrupt := p.text(words[0], "the clean text"), p.text(words[1], "the corrupt text")
	m := p.openModel()
	q := newQuestion(m, clean, corrupt, words[2], words[3], p.study.metric)
	r := p.study.newReport(m, q)
	if p.image != "" {
		get(r.figure(p.style).layout()) // better known now than when all is computed
	}
	p.bar = newProgress(p.stderr)
	r = get(p.study.run(m, q, p.bar.share))
	p.bar.clear()
	r.Origin = p.origin()
	p.notes(q.notes, m.tokenizer.notesOnModel(), r.Answer.notes(r.baselines.clean),
		q.spaceNotes(&r.baselines))
	figure := r.figure(p.style)
	painted := p.output(p.image, figure.write)
	written := errors.Join(painted, p.output(p.json, r.writeJSON), p.output(p.csv, r.writeCSV))
	if p.json != "-" && p.csv != "-" && p.image != "-" {
		p.print(r.text(p.cellPainter(figure)))
		if p.image != "" && painted == nil {
			p.print("\nThe heat map is in " + inOneLine(p.image) + "\n")
		}
	}
	try(written)
}

// patchPairs runs a file of pairs: a line of JSON for each as soon as it is done, in the end their
// mean heat maps.
func (p *program) patchPairs() {
	try(p.use("the file of pairs", p.pairs, false))
	name, file := standardInput, os.Stdin
	if p.pairs != "-" {
		var err error
		if file, err = os.Open(p.pairs); err != nil {
			fail("reading %s: %w", p.pairs, reason(err))
		}
		defer file.Close()
		name = p.pairs
	}
	m := p.openModel()
	spans("-layers", p.study.layers, m.layers) // which is the same for all pairs
	p.bar = newProgress(p.stderr)
	p.withMeans(name, func(s *Pairs) {
		s.study, s.model, s.progress = &p.study, m, p.bar.share
		s.run(file)
	})
}

// mean joins results of many runs over pairs.
func (p *program) mean(words []string) {
	p.useOutputs()
	for _, name := range words {
		try(p.use("the results", name, false))
	}
	p.withMeans("the results", func(s *Pairs) {
		for _, name := range words {
			s.readResults(name)
		}
		require(s.pairs > 0, "mean: there is no result of a pair in these files")
	})
}

// withMeans runs over pairs or results, whose lines go to the -json FILE or else to standard
// output. In the end the means follow the lines, the file gets its name, and the means are painted.
func (p *program) withMeans(name string, run func(s *Pairs)) {
	s := newPairs(name, p.origin(), p.note)
	s.out = &lineFile{print: func(line []byte) error {
		p.output("-", func(w io.Writer) error {
			_, err := w.Write(line)
			return err
		})
		if err := p.stdout.Flush(); p.image == "" {
			return err
		}
		return nil // an error waits in p.stdout for the end: there is a picture yet to paint
	}}
	if p.json != "" && p.json != "-" {
		try(p.use("-json's", absolute(p.json)+".partial", true))
		s.out = get(openLines(p.json, p.resume))
	}
	try(s.finish(caught(func() { run(s) })))
	var figures map[string]*Figure
	if p.image != "" {
		figures = s.figures(p.image, p.style)
	}
	var failed []error
	for _, file := range sortedKeys(figures) {
		var err error
		if file != p.image { // the names are known only now
			err = p.use("-o's", file, true)
		}
		if err == nil {
			err = p.output(file, figures[file].write)
		}
		failed = append(failed, err)
	}
	try(errors.Join(append(failed, s.incomplete())...))
}

// next shows the most probable next tokens of one text.
func (p *program) next(words []string) {
	misuse(caught(func() {
		for _, answer := range words[1:] {
			within(fmt.Sprintf("the answer %q", answer), func() { members(answer) })
		}
	}))
	p.useOutputs()
	text, m := p.text(words[0], "the text"), p.openModel()
	t := m.tokenizer
	ids, notes := text.encode(t)
	logits := get(m.next(ids))
	p.notes(notes, t.notesOnModel())
	top := topTokens(t, logits, p.study.top)
	r := NextReport{newModelReport(m), TextReport{text.text, ids, t.tokens(ids)}, top, nil,
		p.origin()}
	for _, answer := range words[1:] {
		var ids []int
		within(fmt.Sprintf("the answer %q", answer), func() { ids = answerTokens(m, answer) })
		p.notes(spaceNotes(t, answer, logits))
		r.Answers = append(r.Answers, newRankReport(t, logits, answer, ids))
	}
	if p.json != "-" {
		p.print(r.text())
	}
	try(p.output(p.json, jsonLine(r)))
}

// tokens shows the tokens of one text.
func (p *program) tokens(words []string) {
	p.useOutputs()
	text, t := p.text(words[0], "the text"), p.textTokenizer()
	ids, notes := text.encode(t)
	p.notes(notes, t.notesOnModel())
	if p.json != "-" {
		writeTokenization(p.stdout, ids, func(i int) string { return t.token(ids[i]) })
	}
	if p.json != "" { // else the tokens of a long text are not all in memory
		try(p.output(p.json, jsonLine(struct {
			TextReport
			Origin
		}{TextReport{text.text, ids, t.tokens(ids)}, p.origin()})))
	}
}

// jsonLine writes a value as one line of JSON.
func jsonLine(v any) func(w io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, encodeJSON(v)+"\n")
		return err
	}
}

// fetch downloads a model, and prints where it lies.
func (p *program) fetch(words []string) {
	name := append(words, "gpt2")[0]
	if _, err := parseRepository(name); err != nil {
		misuse(fmt.Errorf("fetching %s: %w", name, err))
	}
	p.print(get(p.download(name, p.image, false)) + "\n")
}

// convert makes a lean safetensors file of whatever GPT-2 is published as.
func (p *program) convert(words []string) {
	in := p.source(words[0], words[1])
	format, ok := formatOf(strings.ToUpper(p.dtype))
	if !ok {
		format = asStored
	}
	p.notes(get(convert(in, words[1], format, p.heads, p.reading)))
}

// bundle makes a copy of a mechpatch with weights inside.
func (p *program) bundle(words []string) {
	exe := cmp.Or(p.exe, ownFile())
	try(p.use("the program", exe, false))
	in := p.source(words[0], words[1])
	p.notes(get(bundle(exe, in, words[1], p.heads, p.reading)))
}

// source is where the weights are that convert or bundle makes its file out of: a file or folder of
// any kind, or a published model by its name.
func (p *program) source(model, out string) string {
	try(p.use("OUT", out, true))
	found, err := findNamed(model, "", true)
	if err != nil {
		fail("%s: %w", cmp.Or(model, "."), err)
	}
	if found.circuit {
		misuse(errors.New("the circuit is wired by the program itself: there is no file of it"))
	}
	p.useModel(found.path)
	return found.path
}

// openModel finds the weights, fetches them if it must, and opens them.
func (p *program) openModel() *Model {
	try(chooseKernel(os.Getenv("MECHPATCH_KERNEL")))
	found := get(findModel(p.model, p.offline, ownBundle()))
	if found.download {
		_, err := p.download(found.name, "", !found.named)
		failed, isFailure := errors.AsType[*failure](err)
		if isFailure && !failed.begun && !found.named {
			p.note(err)
			found = circuitFound("built in")
		} else {
			try(err)
			found = get(findModel(p.model, p.offline, nil)) // where it lies depends on the commit
		}
	}
	var m *Model
	if !found.circuit {
		p.useModel(found.path)
		m = get(found.open(p.heads))
	} else if m = newCircuit(); p.heads != 0 && p.heads != m.heads {
		misuse(fmt.Errorf("-heads %d: the built-in circuit has %d", p.heads, m.heads))
	} else if !found.named {
		m.notes = []string{"this is the built-in circuit, not GPT-2, whose weights are not on " +
			"this machine; on a connected one, \"mechpatch fetch -o gpt2.safetensors\" makes a " +
			"copy to carry over"}
	}
	p.notes(m.notes)
	m.tokenizer = get(m.tokenizer.obeys(p.textRules, m.vocab))
	return m
}

// textTokenizer is the tokenizer of the model that is asked for. Where that can only be GPT-2's, no
// weights are looked for.
func (p *program) textTokenizer() *tokenizer {
	found, err := findModel(p.model, true, ownBundle())
	repo, _ := parseRepository(p.model)
	if repo.name != "" || err == nil && !found.named && found.length == 0 {
		return get(gpt2.obeys(p.textRules, vocabSize))
	}
	return p.openModel().tokenizer
}

// download fetches a model, with a progress bar where somebody watches.
func (p *program) download(name, file string, quick bool) (string, error) {
	d := newDownloader(p.offline, quick)
	d.note = func(line string) { p.note(fmt.Errorf("fetching %s: %s", name, line)) }
	p.bar = newProgress(p.stderr)
	d.progress = p.bar.bytes
	defer p.bar.clear()
	return d.fetch(name, file)
}

// text reads a file, without the byte-order mark and the line break that editors add; or takes the
// argument itself.
func (p *program) text(arg, what string) Text {
	if p.inline {
		return Text{what, arg}
	}
	try(p.use(what, arg, false))
	const largest = 256 << 20
	data, err := readInput(arg, largest)
	s := string(data)
	if err == nil && isUTF16(s) {
		err = errUTF16
	}
	if errors.Is(err, fs.ErrNotExist) && strings.Contains(arg, " ") {
		err = fmt.Errorf("%w; with -e the arguments are the texts themselves", reason(err))
	}
	if err != nil {
		fail("reading %s %s: %w", what, arg, reason(err))
	}
	s = strings.TrimPrefix(s, "\ufeff")
	if t := strings.TrimSuffix(s, "\n"); t != s {
		s = strings.TrimSuffix(t, "\r")
	}
	return Text{arg, s}
}

// output writes one of the results. The name "-" is standard output, and no name is no output.
func (p *program) output(name string, write func(io.Writer) error) error {
	switch {
	case name == "":
		return nil
	case name != "-":
		return replaceFile(name, 0o666, 0, write)
	case !p.terminal:
		if err := write(p.stdout); err != nil && p.stdout.Flush() == nil {
			return err
		}
		return nil // an error of standard output itself waits in p.stdout for the end
	}
	var text strings.Builder
	err := write(&text)
	p.print(text.String())
	return err
}

// print prints text on standard output, whose errors wait there. All that a person reads passes
// through here or through note: a model, a file or a token may be named by a stranger, and no name
// may move the cursor, change the terminal's title or pass for a line of the program's own. What
// passes are the ends of lines, and the colours of cellPainter.
func (p *program) print(text string) {
	shown := func(char string) bool { return char == "\n" || isShown(char) }
	for i, part := range strings.Split(text, "\x1b[") {
		code, rest, ok := strings.Cut(part, "m")
		if i > 0 && ok && strings.Trim(code, "0123456789;") == "" {
			p.stdout.WriteString("\x1b[" + code + "m" + escaped(rest, shown))
		} else {
			p.stdout.WriteString(escaped("\x1b["[:min(2*i, 2)]+part, shown))
		}
	}
}

// note prints one line on standard error; of errors that are joined, one for each. A line that
// quotes what somebody typed, or sent, without end is cut: what is told of it comes first, and what
// to do last.
func (p *program) note(what error) {
	if several, ok := what.(interface{ Unwrap() []error }); ok {
		for _, one := range several.Unwrap() {
			p.note(one)
		}
		return
	}
	const first, last = 1000, 400
	line := []rune("mechpatch: " + inOneLine(what.Error()))
	if n := len(line); n > first+last {
		line = slices.Concat(line[:first], []rune(" … "), line[n-last:])
	}
	p.bar.clear()
	fmt.Fprintln(p.stderr, string(line))
}

func (p *program) notes(lists ...[]string) {
	for _, line := range slices.Concat(lists...) {
		p.note(errors.New(line))
	}
}

// cellPainter returns a function that gives a cell's text the colour of its value in the figure, or
// nil where the matrix is not for a terminal, which is narrow. Where nobody would see the colour,
// or wants it (see no-color.org for NO_COLOR), the function leaves the text as it is; it is nil
// where a cell would have no text either.
func (p *program) cellPainter(f *Figure) func(v float64, text string) string {
	plain := os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"
	switch {
	case !p.terminal, plain && len(f.rows.names) > mostFigures:
		return nil
	case plain:
		return func(_ float64, text string) string { return text }
	}
	depth := os.Getenv("COLORTERM")
	return ansiPainter(f, depth == "truecolor" || depth == "24bit")
}

// fileUse is a file that a run reads or writes, and what it is to the run: "the clean text", or a
// flag. The path "-" is standard input or output.
type fileUse struct {
	what, path string
	written    bool
}

// use notes the use of a file. No output may be an input, which would be destroyed, perhaps before
// it is read, or another output, of which only the last would remain; and it must be writable.
func (p *program) use(what, path string, written bool) error {
	if path == "" {
		return nil
	}
	file := fileUse{what, path, written}
	for _, other := range p.files {
		if !written && !other.written || !file.is(other) {
			continue
		}
		in, out := other, file
		if other.written {
			in, out = file, other
		}
		name := out.path
		if name == "-" {
			name = "standard output"
		}
		if in.written {
			return usageError{fmt.Errorf("%s and %s would both be written to %s: name two files",
				out.what, in.what, name)}
		}
		return usageError{fmt.Errorf("%s %s would overwrite %s: name another file", out.what, name,
			in.what)}
	}
	p.files = append(p.files, file)
	if written && path != "-" {
		return writable(path) // better known now than when all is computed
	}
	return nil
}

// is tells whether two uses are of one file, perhaps through links. Many can write to what is no
// file, such as a terminal or /dev/null.
func (f fileUse) is(other fileUse) bool {
	if f.path == "-" && other.path == "-" {
		return f.written == other.written
	}
	stat := func(f fileUse) (os.FileInfo, error) {
		if f.path != "-" {
			return os.Stat(f.path)
		}
		return map[bool]*os.File{false: os.Stdin, true: os.Stdout}[f.written].Stat()
	}
	mine, err := stat(f)
	theirs, otherErr := stat(other)
	if err == nil && otherErr == nil {
		return mine.Mode().IsRegular() && os.SameFile(mine, theirs)
	}
	return err != nil && otherErr != nil && sameName(f.path, other.path)
}

// useOutputs notes the files that flags name for results. One whose name promises another format
// than the flag writes is refused: it would fail where somebody opens it, long after the run.
func (p *program) useOutputs() {
	const others = " .png .pdf .svg .eps .ps .jpg .jpeg .gif .tif .tiff .bmp .webp .json .jsonl " +
		".csv .tsv "
	for _, out := range []struct{ flag, file, format, endings string }{
		{"-o", p.image, "PNG", ".png"},
		{"-json", p.json, "JSON", ".json .jsonl"},
		{"-csv", p.csv, "CSV", ".csv"},
	} {
		ending := filepath.Ext(out.file)
		low, right := strings.ToLower(ending), strings.Fields(out.endings)
		if strings.Contains(others, " "+low+" ") && !slices.Contains(right, low) {
			misuse(fmt.Errorf("%s writes %s: name it %s", out.flag, out.format,
				strings.TrimSuffix(out.file, ending)+right[0]))
		}
		try(p.use(out.flag, out.file, true))
	}
}

// useModel notes the use of a model's weights and of what belongs to them.
func (p *program) useModel(path string) {
	files, folder := []string{path}, filepath.Dir(path)
	for _, name := range vocabularyFiles {
		files = append(files, filepath.Join(folder, name))
	}
	if isIndex(path) {
		for _, pattern := range []string{"*.safetensors", "*.bin"} {
			parts, _ := filepath.Glob(filepath.Join(folder, pattern))
			files = append(files, parts...)
		}
	}
	for _, file := range files {
		try(p.use("the model", file, false))
	}
}

// usageError is what is wrong with the command line; misuse ends the run with one, if there is one.
type usageError struct{ error }

func misuse(err error) {
	if err != nil {
		try(usageError{err})
	}
}
