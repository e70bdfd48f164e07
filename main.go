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
	"unicode/utf8"
)

const version = "1.1"

const usage = `mechpatch: activation patching on GPT-2

  mechpatch [flags] CLEAN.txt CORRUPT.txt CLEAN_ANSWER CORRUPT_ANSWER
      Runs both texts, then the corrupt one again for every layer and position, with the clean
      run's residual stream put in there. Prints the tokens, the most probable next tokens and
      logit(CORRUPT_ANSWER) - logit(CLEAN_ANSWER) for every cell, and paints the cells.
      -site says what is put in, -to who sees it; -lens, -attention and -direct look without
      patching. With the texts and the answers swapped it shows what is necessary, not what is
      sufficient.
  mechpatch [flags] -pairs PAIRS
      The same for every line of a file: clean text, corrupt text, clean answer, corrupt answer,
      with tabs between; or lines of JSON in a file named .jsonl. Writes a line of JSON for each,
      and paints their mean.
  mechpatch mean [flags] RESULTS...
      The means of results of -pairs, from one file or many, as one run would give them.
  mechpatch next [flags] TEXT.txt [ANSWER...]
      The most probable next tokens of one text, and the rank of each answer: a help in finding
      a good pair.
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
are not part of the text. After -- nothing is taken for a flag.

Flags, anywhere on the line:
`

// program is one run of the program: where it prints, the files that it reads and writes, and what
// its flags say.
type program struct {
	stdout   *bufio.Writer // flushed at the end; an error of it waits there
	stderr   io.Writer
	terminal bool // whether a person looks at stdout
	files    []fileUse

	help, version     bool
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
	}
	return p.end(withoutPanic(func() error {
		run, words, err := p.parse(args)
		if err != nil {
			return err
		}
		return run(words)
	}))
}

// end reports how the run ended, and returns the exit code.
func (p *program) end(err error) int {
	flushed := p.stdout.Flush()
	if flushed != nil && !errors.Is(flushed, syscall.EPIPE) {
		err = fmt.Errorf("writing to standard output: %w", reason(flushed))
	}
	var wrong usageError
	var broken *crash
	switch {
	case flushed != nil && (err == nil || errors.Is(err, syscall.EPIPE)):
		return 1 // and no word: whoever was reading, such as head, has had enough
	case err == nil || err == errDone:
		return 0
	case err == errTold:
		return 1
	case errors.As(err, &wrong):
		p.note(fmt.Errorf("%s (mechpatch -h shows how)", err))
		return 2
	case errors.As(err, &broken):
		p.note(fmt.Errorf("this is a fault of the program, please report it: %v", broken.cause))
		fmt.Fprintf(p.stderr, "%s", broken.stack)
		return 1
	}
	p.note(err)
	return 1
}

// withoutPanic makes an error of a panic. Mapped weights can cause one: a read faults where the
// file has been cut short, or its disk has failed, since it was opened.
func withoutPanic(f func() error) (err error) {
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
	return f()
}

// Command is a command of the program: its name; its arguments, in brackets if it does without,
// with … if more may follow; the flags that it takes; and what it does with the arguments.
type Command struct {
	name, arguments, flags string
	run                    func(words []string) error
}

// commands are all commands. The first, without a name, is the main one, which counts its arguments
// itself.
func (p *program) commands() []Command {
	const text = " model heads offline bos special tokenizer e json "
	return []Command{
		{"", "[…]", text + "ids top o csv site to layers positions lens attention direct metric " +
			"pairs resume cmap scale title range", p.patch},
		{"mean", "RESULTS…", "o json cmap scale title range", p.mean},
		{"next", "TEXT.txt [ANSWER…]", text + "ids top", p.next},
		{"tokens", "TEXT.txt", text, p.tokens},
		{"fetch", "[NAME]", "o", p.fetch},
		{"convert", "IN OUT.safetensors", "heads tokenizer dtype", p.convert},
		{"bundle", "MODEL OUT", "heads tokenizer exe", p.bundle},
	}
}

// newFlags declares all flags of all commands.
func (p *program) newFlags() *flag.FlagSet {
	f := flag.NewFlagSet("mechpatch", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.BoolVar(&p.help, "h", false, "show this")
	f.BoolVar(&p.version, "version", false, "print the version")
	f.StringVar(&p.model, "model", "", "a file of weights or its folder, a name such as "+
		"gpt2-medium or ORG/NAME, or circuit (`MODEL`)")
	f.Func("heads", "how many attention heads the model has, where its files do not say it (`N`)",
		p.parseHeads)
	f.BoolVar(&p.offline, "offline", false, "do not use the network")
	f.BoolVar(&p.bosFirst, "bos", false,
		"put the token that begins a text, GPT-2's <|endoftext|>, before each")
	f.BoolVar(&p.inline, "e", false, "the arguments are the texts themselves, not files' names")
	f.StringVar(&p.json, "json", "",
		"write everything as JSON to this `FILE`; - is standard output")
	f.BoolVar(&p.numbers, "ids", false,
		"texts and answers are token ids, for a model with another kind of tokenizer")
	f.BoolVar(&p.special, "special", false,
		"find special tokens, such as <|endoftext|>, in the texts; else their characters are text")
	f.Func("tokenizer", "where libraries differ in how they read a vocabulary: as its file "+
		"says, or as the class of its tokenizer does (`file or class`)", p.parseReading)
	f.IntVar(&p.study.top, "top", 20, "how many next tokens to list (`N`)")
	f.StringVar(&p.image, "o", "", "paint the heat map into this `FILE`, by default heatmap.png; "+
		"fetch: keep the weights in this file or folder, by default in the user's cache")
	f.StringVar(&p.csv, "csv", "", "write the numbers as CSV to this `FILE`; - is standard output")
	f.StringVar(&p.study.site, "site", "",
		"what is put in: at a position, resid_pre, resid_mid, resid, attn or mlp; of a head, "+
			"z (also head), q, k, v or pattern; of the head 9.6 each entry of its pattern, "+
			"9.6.pattern; with commas between, a panel each; all is resid,attn,mlp and heads is "+
			"z,q,k,v,pattern; by default resid (`LIST`)")
	f.StringVar(&p.study.to, "to", "",
		"who sees it: logits, or inputs of heads such as 9.9.q,10.0.v (path patching from every "+
			"head); by default everything that follows (`LIST`)")
	f.StringVar(&p.study.layers, "layers", "",
		"only these layers, such as 0:6 for 0 to 5 (`LIST`)")
	f.StringVar(&p.study.positions, "positions", "",
		"only these positions: 1,10: is 1 and all from 10 on; 1..3 is 1, 2 and 3 together; a head "+
			"is patched at all positions unless some are named, : for each (`LIST`)")
	f.BoolVar(&p.study.lens, "lens", false,
		"do not patch, but read both runs after every layer (the logit lens)")
	f.StringVar(&p.study.attention, "attention", "",
		"do not patch, but show where heads attend to in both runs: those such as 9.9,10.7, of "+
			"the layer 5 all, or all (`LIST`)")
	f.BoolVar(&p.study.direct, "direct", false,
		"do not patch, but show what each part of the model adds to the difference of the "+
			"answers' logits (direct logit attribution)")
	f.StringVar((*string)(&p.study.metric), "metric", "diff",
		"what is shown: diff, logit, prob, restored, logprob or kl (`METRIC`)")
	f.StringVar(&p.pairs, "pairs", "", "run every pair of this `FILE`; - is standard input")
	f.BoolVar(&p.resume, "resume", false,
		"go on with the -json FILE of a run over -pairs that broke off, if it has its lines")
	f.StringVar(&p.colorMap, "cmap", "viridis",
		"colours: viridis, or rdbu, centred on the corrupt run or on -range (`MAP`)")
	f.IntVar(&p.scale, "scale", 1, "make the picture `N` times as sharp, for print")
	f.Func("title", "the first line of the picture, by default the metric; \"\" for no lines "+
		"above the panels (`TEXT`)", func(text string) error {
		p.heading = &text
		return nil
	})
	f.Func("range", "the numbers that the colours span, such as -5:5, so that pictures can "+
		"be compared (`LOW:HIGH`)", p.parseRange)
	f.StringVar(&p.dtype, "dtype", "",
		"the numbers' format: f32, f16 or bf16, by default as they are (`FORMAT`)")
	f.StringVar(&p.exe, "exe", "",
		"the mechpatch to copy, built for any system, by default this one (`PROGRAM`)")
	return f
}

// parse reads the command line: flags, wherever they stand, and words. The first word may name a
// command. What follows "--" is no flag and no name.
func (p *program) parse(args []string) (run func([]string) error, words []string, err error) {
	var rest []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, rest = args[:i], args[i+1:]
	}
	flags := p.newFlags()
	for err = flags.Parse(args); err == nil && flags.NArg() > 0; {
		words = append(words, flags.Arg(0))
		err = flags.Parse(flags.Args()[1:])
	}
	c := p.commands()[0]
	for _, named := range p.commands()[1:] {
		if len(words) > 0 && words[0] == named.name {
			c, words = named, words[1:]
			break
		}
	}
	words = append(words, rest...)
	takes := func(f *flag.Flag) bool {
		return slices.Contains(strings.Fields(c.flags+" version"), f.Name)
	}
	var other string // a flag that is another command's
	flags.Visit(func(f *flag.Flag) {
		if !takes(f) {
			other = f.Name
		}
		p.imageAsked = p.imageAsked || f.Name == "o"
	})
	if (c.name == "" || c.name == "mean") && !p.imageAsked {
		p.image = "heatmap.png"
	}
	switch {
	case p.help || errors.Is(err, flag.ErrHelp):
		p.print(usage)
		p.printFlags(flags, takes)
		return nil, nil, errDone
	case err != nil && strings.HasPrefix(err.Error(), "flag provided but not defined"):
		return nil, nil, misuse("%w; a word that begins with - is a flag unless it comes after --",
			err)
	case err != nil:
		return nil, nil, misuse("%s", strings.TrimSuffix(err.Error(), ": parse error"))
	case p.version:
		p.print("mechpatch " + programVersion() + "\n")
		return nil, nil, errDone
	case other != "":
		return nil, nil, misuse("-%s does not go with %s", other, cmp.Or(c.name, "patching"))
	case p.numbers && p.bosFirst:
		return nil, nil, misuse("-bos does not go with -ids: write that token's id yourself")
	case p.study.top < 0:
		return nil, nil, misuse("-top %d is negative", p.study.top)
	}
	most := len(strings.Fields(c.arguments))
	least := most - strings.Count(c.arguments, "[")
	if strings.Contains(c.arguments, "…") {
		most = len(words)
	}
	if len(words) < least || len(words) > most {
		return nil, nil, wrongArguments(len(words), c.arguments)
	}
	return c.run, words, nil
}

func wrongArguments(n int, expected string) error {
	return misuse("%s; expected: %s", count(n, "argument"), expected)
}

func (p *program) printFlags(flags *flag.FlagSet, takes func(*flag.Flag) bool) {
	flags.VisitAll(func(f *flag.Flag) {
		if !takes(f) {
			return
		}
		value, what := flag.UnquoteUsage(f)
		what = strings.TrimSuffix(what, " ("+value+")")
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
			what += ", by default " + f.DefValue
		}
		line := fmt.Sprintf("  %-17s", strings.TrimSpace("-"+f.Name+" "+value))
		for _, word := range strings.Fields(what) {
			if len(line)+len(word) > 95 {
				p.print(line + "\n")
				line = strings.Repeat(" ", 19)
			}
			line += " " + word
		}
		p.print(line + "\n")
	})
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

func (p *program) parseHeads(s string) (err error) {
	if p.heads, err = strconv.Atoi(s); err != nil || p.heads < 1 {
		return errors.New("not a number of heads, such as 12")
	}
	return nil
}

func (p *program) parseReading(s string) error {
	if p.reading = s; s != "file" && s != "class" {
		return errors.New("it is file or class")
	}
	return nil
}

func (p *program) parseRange(s string) (err error) {
	low, high, _ := strings.Cut(strings.ReplaceAll(s, "−", "-"), ":") // as pictures write it
	var errHigh error
	p.low, err = strconv.ParseFloat(low, 64)
	p.high, errHigh = strconv.ParseFloat(high, 64)
	// The difference of what is no number, or has no end, has none either.
	if gap := p.high - p.low; err != nil || errHigh != nil || gap-gap != 0 {
		return errors.New("not a pair of numbers LOW:HIGH, such as -5:5")
	}
	if p.low >= p.high {
		return errors.New("write the lower number first, such as -5:5")
	}
	return nil
}

// check checks the main command's flags against each other and against the arguments.
func (p *program) check(words []string) error {
	if err := p.study.check(); err != nil {
		return err
	}
	arguments := strings.Fields("CLEAN.txt CORRUPT.txt CLEAN_ANSWER CORRUPT_ANSWER")
	least := 2 + p.study.metric.answers()
	if err := p.checkStyle(); err != nil {
		return err
	}
	switch views := p.study.views(); {
	case p.image == "-" && p.terminal:
		return errors.New("-o -: a terminal cannot show a picture: send it to a file or a program")
	case p.pairs != "" && len(views) > 0:
		return fmt.Errorf("%s looks at one pair: -pairs does not go with it", views[0])
	case p.pairs != "" && len(words) > 0:
		return errors.New("-pairs takes the texts and answers from its file: " +
			"there are no arguments beside it")
	case p.pairs != "" && p.csv != "":
		return errors.New("-csv is for one pair: with -pairs the matrices are in the JSON")
	case p.pairs != "" && p.image == "-":
		return errors.New("-o - is for one pair: with -pairs there may be several pictures")
	case p.resume && (p.pairs == "" || p.json == "" || p.json == "-"):
		return errors.New("-resume goes on with the results of -pairs: name their file with -json")
	case p.pairs != "":
		return nil
	case len(words) < least || len(words) > 4:
		expected := strings.Join(arguments[:least], " ")
		for _, optional := range arguments[least:] {
			expected += " [" + optional + "]"
		}
		if len(words) == 2 {
			expected += "; a # begins a comment in a shell: write '#5437'"
		}
		return wrongArguments(len(words), expected)
	case words[0] == words[1]:
		return fmt.Errorf("%s is both texts: they must differ", quote(words[0]))
	}
	words = append(words, "", "")
	return p.study.checkAnswers(words[2], words[3])
}

func (p *program) checkStyle() error {
	switch {
	case anchorsOf(p.colorMap) == nil:
		return fmt.Errorf("-cmap %s: the maps are viridis and rdbu", p.colorMap)
	case p.scale < 1 || p.scale > largestScale:
		return fmt.Errorf("-scale %d is not between 1 and %d", p.scale, largestScale)
	}
	return nil
}

func (p *program) patch(words []string) error {
	if err := p.check(words); err != nil {
		return usageError{err}
	}
	var told error
	if !p.imageAsked {
		if err := writable(p.image); err != nil {
			p.note(fmt.Errorf("%w: there will be no picture, unless -o says where", err))
			p.image, told = "", errTold
		}
	}
	if err := p.useOutputs("-o", p.image, "-json", p.json, "-csv", p.csv); err != nil {
		return err
	}
	if p.pairs != "" {
		return cmp.Or(p.patchPairs(), told)
	}
	return cmp.Or(p.patchPair(append(words, "", "")[:4]), told)
}

// patchPair runs one pair and shows all of the result. The files come first: they are written
// whatever becomes of standard output. What cannot be written is said in the end.
func (p *program) patchPair(words []string) error {
	clean, err := p.text(words[0], "the clean text")
	if err != nil {
		return err
	}
	corrupt, err := p.text(words[1], "the corrupt text")
	if err != nil {
		return err
	}
	m, err := p.openModel()
	if err != nil {
		return err
	}
	q, err := newQuestion(m, clean, corrupt, words[2], words[3], p.study.metric)
	if err != nil {
		return err
	}
	layOut, _, err := p.study.layOut(m, len(q.clean), m.tokenizer.tokens(q.clean),
		m.tokenizer.tokens(q.corrupt))
	if err == nil && p.image != "" {
		_, err = layOut.figure(p.style).layout()
	}
	if err != nil {
		return err
	}
	bar := newProgress(p.stderr)
	r, err := p.study.run(m, q, bar.share)
	bar.clear()
	if err != nil {
		return err
	}
	r.Origin = p.origin()
	p.notes(q.notes, m.tokenizer.notesOnModel(), r.Answer.notes(r.baselines.clean),
		q.spaceNotes(&r.baselines))
	figure := r.figure(p.style)
	painted := p.output(p.image, figure.write)
	written := errors.Join(painted, p.output(p.json, r.writeJSON), p.output(p.csv, r.writeCSV))
	if p.json == "-" || p.csv == "-" || p.image == "-" {
		return written
	}
	text := r.text(p.cellPainter(figure))
	if p.image != "" && painted == nil {
		text += fmt.Sprintf("\nThe heat map is in %s\n", inOneLine(p.image))
	}
	p.print(text)
	return written
}

// patchPairs runs a file of pairs: a line of JSON for each as soon as it is done, in the end their
// mean heat maps.
func (p *program) patchPairs() error {
	if err := p.use(fileUse{"the file of pairs", p.pairs, false}); err != nil {
		return err
	}
	name, file := standardInput, os.Stdin
	if p.pairs != "-" {
		var err error
		if file, err = os.Open(p.pairs); err != nil {
			return fmt.Errorf("reading %s: %w", p.pairs, reason(err))
		}
		defer file.Close()
		name = p.pairs
	}
	m, err := p.openModel()
	if err != nil {
		return err
	}
	if _, err := selection(p.study.layers, m.layers); err != nil {
		return err
	}
	bar := newProgress(p.stderr)
	means, err := p.newMeans(name, bar.clear)
	if err != nil {
		return err
	}
	pairs := &Pairs{means, &p.study, m, bar.share}
	return p.endMeans(means, pairs.run(file))
}

// mean joins results of many runs over pairs.
func (p *program) mean(words []string) error {
	if err := p.checkStyle(); err != nil {
		return usageError{err}
	}
	if err := p.useOutputs("-o", p.image, "-json", p.json); err != nil {
		return err
	}
	for _, name := range words {
		if err := p.use(fileUse{"the results", name, false}); err != nil {
			return err
		}
	}
	means, err := p.newMeans("the results", func() {})
	if err != nil {
		return err
	}
	for i := 0; i < len(words) && err == nil; i++ {
		err = means.readResults(words[i])
	}
	if err == nil && means.pairs == 0 {
		err = errors.New("mean: there is no result of a pair in these files")
	}
	return p.endMeans(means, err)
}

// newMeans opens the file of results, or else standard output. clear makes room for a note.
func (p *program) newMeans(name string, clear func()) (*Means, error) {
	means := &Means{name: name, origin: p.origin(), kinds: map[string]int{}, of: map[int]*Mean{}}
	means.note = func(what error) {
		clear()
		p.note(what)
	}
	means.out = &lineFile{print: func(line []byte) error {
		p.output("-", func(w io.Writer) error {
			_, err := w.Write(line)
			return err
		})
		if err := p.stdout.Flush(); p.image == "" {
			return err
		}
		return nil // an error waits in p.stdout for the end: there is a picture yet to paint
	}}
	if p.json == "" || p.json == "-" {
		return means, nil
	}
	partial := absolute(p.json) + ".partial"
	err := p.use(fileUse{"-json's", partial, true})
	if err == nil {
		means.out, err = openLines(p.json, p.resume)
	}
	return means, err
}

// endMeans is the end of every run over pairs or results: the means follow the lines, the file of
// these gets its name, and the means are painted. err is what has ended the run early.
func (p *program) endMeans(means *Means, err error) error {
	if err = means.end(err); err != nil {
		return err
	}
	var failed []error
	files, figures := means.figures(p.image, p.style)
	for i := 0; i < len(files) && p.image != ""; i++ {
		err = nil
		if len(files) > 1 { // the names are known only now
			err = p.use(fileUse{"-o's", files[i], true})
		}
		if err == nil {
			err = p.output(files[i], figures[i].write)
		}
		failed = append(failed, err)
	}
	return errors.Join(append(failed, means.incomplete())...)
}

// next shows the most probable next tokens of one text.
func (p *program) next(words []string) error {
	for _, answer := range words[1:] {
		if _, err := members(answer); err != nil {
			return misuse("the answer %q: %w", answer, err)
		}
	}
	if err := p.useOutputs("-json", p.json); err != nil {
		return err
	}
	text, err := p.text(words[0], "the text")
	if err != nil {
		return err
	}
	m, err := p.openModel()
	if err != nil {
		return err
	}
	t := m.tokenizer
	ids, err := text.encode(t)
	if err != nil {
		return err
	}
	logits, err := m.next(ids)
	if err != nil {
		return err
	}
	p.notes(text.notes(t), t.notesOnModel())
	top := topTokens(t, logits, p.study.top)
	r := NextReport{newModelReport(m), newTextReport(t, text.text, ids), top, nil, p.origin()}
	for _, answer := range words[1:] {
		ids, err := answerTokens(m, answer)
		if err != nil {
			return fmt.Errorf("the answer %q: %w", answer, err)
		}
		p.notes(spaceNotes(t, answer, logits))
		r.Answers = append(r.Answers, newRankReport(t, logits, answer, ids))
	}
	if p.json != "-" {
		p.print(r.text())
	}
	return p.outputJSON(p.json, r)
}

func (p *program) tokens(words []string) error {
	if err := p.useOutputs("-json", p.json); err != nil {
		return err
	}
	text, err := p.text(words[0], "the text")
	if err != nil {
		return err
	}
	t, err := p.textTokenizer()
	if err != nil {
		return err
	}
	ids, err := text.encode(t)
	if err != nil {
		return err
	}
	p.notes(text.notes(t), t.notesOnModel())
	if p.json != "-" {
		writeTokenization(p.stdout, ids, func(i int) string { return t.token(ids[i]) })
	}
	return p.output(p.json, func(w io.Writer) error {
		return writeJSON(w, struct {
			TextReport
			Origin
		}{newTextReport(t, text.text, ids), p.origin()})
	})
}

func (p *program) fetch(words []string) error {
	name := append(words, "gpt2")[0]
	if _, err := parseRepository(name); err != nil {
		return misuse("fetching %s: %w", name, err)
	}
	path, err := p.download(systemEnv(false), name, p.image, false)
	if err == nil {
		p.print(path + "\n")
	}
	return err
}

// convert makes a lean safetensors file of whatever GPT-2 is published as.
func (p *program) convert(words []string) error {
	format, ok := formatOf(strings.ToUpper(p.dtype))
	if p.dtype == "" {
		format, ok = asStored, true
	}
	if !ok {
		return misuse("-dtype %s: the formats are f32, f16 and bf16", p.dtype)
	}
	in, err := p.source(words[0], words[1], systemEnv(true))
	if err != nil {
		return err
	}
	notes, err := convert(in, words[1], format, p.heads, p.reading)
	if err == nil {
		p.notes(notes)
	}
	return err
}

// bundle makes a copy of a mechpatch with weights inside.
func (p *program) bundle(words []string) error {
	env := systemEnv(true)
	exe := cmp.Or(p.exe, env.exe())
	if err := p.use(fileUse{"the program", exe, false}); err != nil {
		return err
	}
	in, err := p.source(words[0], words[1], env)
	if err != nil {
		return err
	}
	notes, err := bundle(exe, in, words[1], p.heads, p.reading)
	if err == nil {
		p.notes(notes)
	}
	return err
}

// source is where the weights are that convert or bundle makes its file out of: a file or folder of
// any kind, or a published model by its name.
func (p *program) source(model, out string, env Env) (string, error) {
	if err := p.use(fileUse{"OUT", out, true}); err != nil {
		return "", err
	}
	found, err := findNamed(model, "", env)
	if err == nil && found.circuit {
		err = misuse("the circuit is wired by the program itself: there is no file of it")
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", cmp.Or(model, "."), err)
	}
	return found.path, p.useModel(found.path)
}

// openModel finds the weights, fetches them if it must, and opens them.
func (p *program) openModel() (*Model, error) {
	if err := chooseKernel(os.Getenv("MECHPATCH_KERNEL")); err != nil {
		return nil, err
	}
	env := systemEnv(p.offline)
	env.bundled = ownBundle()
	found, err := findModel(p.model, env)
	if err != nil {
		return nil, err
	}
	if found.download {
		_, err := p.download(env, found.name, "", !found.named)
		failed, isFailure := errors.AsType[*failure](err)
		switch {
		case isFailure && !failed.begun && !found.named:
			p.note(err)
			found = circuitFound("built in")
		case err != nil:
			return nil, err
		default: // where it lies depends on the commit
			if found, err = findModel(p.model, env); err != nil {
				return nil, err
			}
		}
	}
	if found.circuit {
		if !found.named {
			p.note(errors.New("this is the built-in circuit, not GPT-2, whose weights are not on " +
				"this machine; on a connected one, \"mechpatch fetch -o gpt2.safetensors\" makes " +
				"a copy to carry over"))
		}
		m := newCircuit()
		if p.heads != 0 && p.heads != m.heads {
			return nil, misuse("-heads %d: the built-in circuit has %d", p.heads, m.heads)
		}
		m.tokenizer, err = m.tokenizer.obeys(p.textRules, m.vocab)
		return m, err
	}
	if err := p.useModel(found.path); err != nil {
		return nil, err
	}
	m, err := found.open(p.heads)
	if err != nil {
		return nil, err
	}
	if m.tokenizer, err = m.tokenizer.obeys(p.textRules, m.vocab); err != nil {
		return nil, err
	}
	p.notes(m.notes)
	return m, nil
}

// textTokenizer is the tokenizer of the model that is asked for. Where that can only be GPT-2's, no
// weights are looked for.
func (p *program) textTokenizer() (*tokenizer, error) {
	env := systemEnv(true)
	env.bundled = ownBundle()
	_, asked, err := findAsked(p.model, env)
	if _, ok := lookup(published, p.model); ok || err == nil && !asked {
		return gpt2.obeys(p.textRules, vocabSize)
	}
	m, err := p.openModel()
	if err != nil {
		return nil, err
	}
	return m.tokenizer, nil
}

// download fetches a model, with a progress bar where somebody watches.
func (p *program) download(env Env, name, file string, quick bool) (string, error) {
	d := newDownloader(env, quick)
	bar := newProgress(p.stderr)
	d.note = func(line string) {
		bar.clear()
		p.note(fmt.Errorf("fetching %s: %s", name, line))
	}
	d.progress = bar.bytes
	path, err := d.fetch(name, file)
	bar.clear()
	return path, err
}

// text reads a file, without the byte-order mark and the line break that editors add; or takes the
// argument itself.
func (p *program) text(arg, what string) (Text, error) {
	if p.inline {
		return Text{what, arg}, nil
	}
	if err := p.use(fileUse{what, arg, false}); err != nil {
		return Text{}, err
	}
	const largest = 256 << 20
	s, err := readInput(arg, largest)
	if err == nil && isUTF16(s) {
		err = errUTF16
	}
	if err != nil {
		hint := ""
		if errors.Is(err, fs.ErrNotExist) && strings.Contains(arg, " ") {
			hint = "; with -e the arguments are the texts themselves"
		}
		return Text{}, fmt.Errorf("reading %s %s: %w%s", what, arg, reason(err), hint)
	}
	s = strings.TrimPrefix(s, "\ufeff")
	if t := strings.TrimSuffix(s, "\n"); t != s {
		s = strings.TrimSuffix(t, "\r")
	}
	return Text{arg, s}, nil
}

// output writes one of the results. The name "-" is standard output, and no name is no output.
func (p *program) output(name string, write func(io.Writer) error) error {
	switch {
	case name == "":
		return nil
	case name != "-":
		return writeFile(name, write)
	case !p.terminal:
		if err := write(p.stdout); err != nil && p.stdout.Flush() == nil {
			return err
		}
		return nil // an error of standard output itself waits in p.stdout for the end
	}
	var text strings.Builder
	if err := write(&text); err != nil {
		return err
	}
	p.print(text.String())
	return nil
}

func (p *program) outputJSON(name string, result any) error {
	return p.output(name, func(w io.Writer) error { return writeJSON(w, result) })
}

// print prints text on standard output. All that a person reads passes through here or through
// note: a model, a file or a token may be named by a stranger, and no name may move the cursor,
// change the terminal's title or pass for a line of the program's own.
func (p *program) print(text string) {
	end := 0
	for i := range len(text) {
		if n := formatting(text[i:]); n > 0 {
			p.stdout.WriteString(inOneLine(text[end:i]) + text[i:i+n])
			end = i + n
		}
	}
	p.stdout.WriteString(inOneLine(text[end:]))
}

// formatting is the length of what begins a text and is no character: the end of a line, or a
// colour of cellPainter's.
func formatting(text string) int {
	if text[0] == '\n' {
		return 1
	}
	if code, ok := strings.CutPrefix(text, "\x1b["); ok {
		code = strings.TrimLeft(code, "0123456789;")
		if strings.HasPrefix(code, "m") {
			return len(text) - len(code) + 1
		}
	}
	return 0
}

// note prints one line on standard error; of errors that are joined, one for each.
func (p *program) note(what error) {
	if several, ok := what.(interface{ Unwrap() []error }); ok {
		for _, one := range several.Unwrap() {
			p.note(one)
		}
		return
	}
	lines := []string{"mechpatch: " + what.Error()}
	var more detailed
	if errors.As(what, &more) {
		lines = append(lines, more.lines...)
	}
	for _, line := range lines {
		fmt.Fprintln(p.stderr, shortened(inOneLine(line)))
	}
}

// shortened cuts a line that quotes what somebody typed, or sent, without end: what is told of it
// comes first, and what to do last.
func shortened(line string) string {
	const first, last = 1000, 400
	if utf8.RuneCountInString(line) <= first+last {
		return line
	}
	all := []rune(line)
	return string(all[:first]) + " … " + string(all[len(all)-last:])
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
func (p *program) use(file fileUse) error {
	if file.path == "" {
		return nil
	}
	for _, other := range p.files {
		if !file.written && !other.written || !file.is(other) {
			continue
		}
		if file.written && other.written {
			return misuse("%s and %s would both be written to %s: name two files", other.what,
				file.what, file.name())
		}
		in, out := other, file
		if other.written {
			in, out = file, other
		}
		return misuse("%s %s would overwrite %s: name another file", out.what, out.name(), in.what)
	}
	p.files = append(p.files, file)
	if file.written && file.path != "-" {
		return writable(file.path) // better known now than when all is computed
	}
	return nil
}

// useOutputs notes the files that flags name for results: a flag, its file, and so on.
func (p *program) useOutputs(outputs ...string) error {
	for i := 0; i < len(outputs); i += 2 {
		flag, file := outputs[i], outputs[i+1]
		if err := checkEnding(flag, file); err != nil {
			return err
		}
		if err := p.use(fileUse{flag, file, true}); err != nil {
			return err
		}
	}
	return nil
}

// checkEnding refuses a file whose name promises another format than the flag writes: it would
// fail where somebody opens it, long after the run.
func checkEnding(flag, file string) error {
	const others = " .png .pdf .svg .eps .ps .jpg .jpeg .gif .tif .tiff .bmp .webp .json .jsonl " +
		".csv .tsv "
	format := map[string]string{"-o": "png", "-json": "json", "-csv": "csv"}[flag]
	ending := filepath.Ext(file)
	low := strings.ToLower(ending)
	if low == "."+format || flag == "-json" && low == ".jsonl" || ending == "" ||
		!strings.Contains(others, " "+low+" ") {
		return nil
	}
	return misuse("%s writes %s: name it %s.%s", flag, strings.ToUpper(format),
		strings.TrimSuffix(file, ending), format)
}

// useModel notes the use of a model's weights and of what belongs to them.
func (p *program) useModel(path string) error {
	files, folder := []string{path}, filepath.Dir(path)
	for _, name := range []string{"config.json", "tokenizer.json", "vocab.json", "merges.txt",
		"added_tokens.json", "tokenizer_config.json", "special_tokens_map.json", "meta.pkl"} {
		files = append(files, filepath.Join(folder, name))
	}
	if isIndex(path) {
		for _, pattern := range []string{"*.safetensors", "*.bin"} {
			parts, _ := filepath.Glob(filepath.Join(folder, pattern))
			files = append(files, parts...)
		}
	}
	for _, file := range files {
		if err := p.use(fileUse{"the model", file, false}); err != nil {
			return err
		}
	}
	return nil
}

// is tells whether two uses are of one file, perhaps through links. Many can write to what is no
// file, such as a terminal or /dev/null.
func (f fileUse) is(other fileUse) bool {
	if f.path == "-" && other.path == "-" {
		return f.written == other.written
	}
	mine, err := f.stat()
	theirs, otherErr := other.stat()
	if err == nil && otherErr == nil {
		return mine.Mode().IsRegular() && os.SameFile(mine, theirs)
	}
	return err != nil && otherErr != nil && sameName(f.path, other.path)
}

func (f fileUse) stat() (os.FileInfo, error) {
	switch {
	case f.path != "-":
		return os.Stat(f.path)
	case f.written:
		return os.Stdout.Stat()
	}
	return os.Stdin.Stat()
}

func (f fileUse) name() string {
	if f.path == "-" {
		return "standard output"
	}
	return f.path
}

type usageError struct{ error }

func misuse(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errDone says that all that the command line asked for has been printed already, and errTold that
// the run has failed in part, as a note has said.
var errDone, errTold = errors.New("done"), errors.New("told")
