// Mechpatch does activation patching on GPT-2: it runs the model on a clean and a corrupt text, puts the clean run's
// residual stream into the corrupt run one layer and one position at a time, and paints as a heat map where that brings
// the clean answer back.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

const version = "1.0"

const usage = `mechpatch: activation patching on GPT-2

  mechpatch [flags] CLEAN.txt CORRUPT.txt CLEAN_ANSWER CORRUPT_ANSWER
      Runs both texts, then the corrupt one again for every layer and position with the clean
      run's residual stream put in there. Prints the tokens, the most probable next tokens and
      logit(CORRUPT_ANSWER) - logit(CLEAN_ANSWER) for every cell, and paints the cells.
      With the texts and the answers swapped it shows what is necessary, not what is sufficient.
  mechpatch [flags] -pairs PAIRS.tsv
      The same for every line of a file: clean text, corrupt text, clean answer, corrupt answer,
      with tabs between. Writes a line of JSON for each, and paints their mean.
  mechpatch next [flags] TEXT.txt
      The most probable next tokens of one text, for someone in search of a good pair.
  mechpatch tokens [-e] [-json] TEXT.txt
      The tokens of a text and their ids.
  mechpatch fetch [-o FILE] [NAME]
      Downloads gpt2, or gpt2-medium, gpt2-large, gpt2-xl, distilgpt2.
  mechpatch convert [-dtype f32|f16|bf16] IN OUT.safetensors
      Makes a lean safetensors file of a safetensors or PyTorch file, or of a folder with one.
  mechpatch bundle [-exe PROGRAM] MODEL OUT
      Makes a copy of the program with the weights inside: one file is all of it.

An answer is one token: Jones stands for " Jones", with a leading space, =Jones for exactly
that text, #5437 for the token with that id. The texts must have equally many tokens. One line
break at the end of a file and a byte-order mark are not part of the text.

Flags, anywhere on the line:
`

// program is one run of the program: where it prints, and the flags that several commands share.
type program struct {
	stdout, stderr  io.Writer
	model           string
	inline, offline bool
	top             int
	json            string
}

func main() {
	os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
}

// errDone says that what the command line asked for has been printed already.
var errDone = errors.New("done")

// usageError is a fault in the command line.
type usageError struct{ error }

// execute runs the program and returns its exit code: 0, 1 for a failure, 2 for a wrong command line.
func execute(args []string, stdout, stderr io.Writer) int {
	p := &program{stdout: stdout, stderr: stderr}
	err := kernelErr
	if err == nil {
		err = p.command(args)
	}
	var wrong usageError
	switch {
	case err == nil || err == errDone:
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintf(stderr, "mechpatch: %v (mechpatch -h shows how)\n", err)
		return 2
	}
	fmt.Fprintf(stderr, "mechpatch: %v\n", err)
	return 1
}

// command runs the command that the first argument names, else the main one.
func (p *program) command(args []string) error {
	commands := map[string]func(args []string) error{
		"next":    p.next,
		"tokens":  p.tokens,
		"fetch":   p.fetch,
		"convert": p.convert,
		"bundle":  p.bundle,
	}
	if len(args) > 0 && commands[args[0]] != nil {
		return commands[args[0]](args[1:])
	}
	return p.patch(args)
}

// patchFlags are the flags of the main command alone.
type patchFlags struct {
	study             Study
	image, csv, pairs string
	colorMap          string
	scale             int
}

// patch is the main command.
func (p *program) patch(args []string) error {
	var f patchFlags
	flags := p.textFlags()
	flags.StringVar(&f.image, "o", "heatmap.png", "paint the heat map into this `FILE`")
	flags.StringVar(&f.csv, "csv", "", "write the matrix as CSV to this `FILE`; - is standard output")
	flags.StringVar(&f.study.site, "site", "resid", "what is patched: resid, attn, mlp, head, or all for the first three (`SITE`)")
	flags.StringVar((*string)(&f.study.metric), "metric", "diff", "what is shown: diff, logit, prob or restored (`METRIC`)")
	flags.StringVar(&f.study.layers, "layers", "", "only these layers, such as 0:6 for 0 to 5 (`LIST`)")
	flags.StringVar(&f.study.positions, "positions", "", "only these positions, such as 1,10: for 1 and from 10 on (`LIST`)")
	flags.BoolVar(&f.study.lens, "lens", false, "do not patch, but look at both runs through the logit lens")
	flags.StringVar(&f.pairs, "pairs", "", "run every pair of this `FILE`; - is standard input")
	flags.StringVar(&f.colorMap, "cmap", "viridis", "colours: viridis, or rdbu, centred on the corrupt run (`MAP`)")
	flags.IntVar(&f.scale, "scale", 1, "make the heat map `N` times as large, for print")
	words, err := p.parse(flags, args)
	if err != nil {
		return err
	}
	if err := p.checkPatch(&f, len(words)); err != nil {
		return usageError{err}
	}
	if f.pairs != "" {
		return p.patchPairs(&f)
	}
	return p.patchPair(&f, append(words, "")[:4])
}

// checkPatch checks the flags against each other and against the number of arguments.
func (p *program) checkPatch(f *patchFlags, words int) error {
	study := &f.study
	switch {
	case siteNames[study.site] == nil:
		return fmt.Errorf("-site %s: there are resid, attn, mlp, head and all", study.site)
	case !slices.Contains([]Metric{metricDiff, metricLogit, metricProb, metricRestored}, study.metric):
		return fmt.Errorf("-metric %s: there are diff, logit, prob and restored", study.metric)
	case colorMaps[f.colorMap] == nil:
		return fmt.Errorf("-cmap %s: there are viridis and rdbu", f.colorMap)
	case f.scale < 1 || f.scale > largestScale:
		return fmt.Errorf("-scale %d is not between 1 and %d", f.scale, largestScale)
	case study.site == "head" && study.positions != "":
		return errors.New("-site head patches all positions at once: -positions does not go with it")
	case study.lens && (study.site != "resid" || study.layers != "" || study.positions != "" || f.pairs != ""):
		return errors.New("-lens shows every layer and position of one pair: -site, -layers, -positions and -pairs do not go with it")
	case p.json == "-" && f.csv == "-" || f.image == "-" && (p.json == "-" || f.csv == "-"):
		return errors.New("only one of -o, -json and -csv can have standard output")
	case f.pairs != "" && words > 0:
		return errors.New("-pairs takes the texts and answers from its file: there are further arguments")
	case f.pairs != "" && f.csv != "":
		return errors.New("-csv is for one pair: with -pairs the matrices are in the JSON")
	case f.pairs == "" && words != 4 && !(words == 3 && study.metric == metricLogit):
		return wrongCount(words, "CLEAN.txt CORRUPT.txt CLEAN_ANSWER CORRUPT_ANSWER")
	}
	study.top = p.top
	return nil
}

// patchPair runs one pair and shows all of the result.
func (p *program) patchPair(f *patchFlags, words []string) error {
	clean, err := p.text(words[0], "the clean text")
	if err != nil {
		return err
	}
	corrupt, err := p.text(words[1], "the corrupt text")
	if err != nil {
		return err
	}
	q, err := newQuestion(clean, corrupt, words[2], words[3], f.study.metric)
	if err != nil {
		return err
	}
	m, err := p.openModel()
	if err != nil {
		return err
	}
	bar := newProgress(p.stderr)
	r, err := f.study.run(m, q, bar.share)
	bar.clear()
	if err != nil {
		return err
	}
	figure := r.figure(f.colorMap, f.scale)
	quiet := p.json == "-" || f.csv == "-" || f.image == "-"
	if !quiet {
		fmt.Fprint(p.stdout, r.text(cellPainter(p.stdout, figure)))
	}
	if err := p.output(f.image, figure.write); err != nil {
		return err
	}
	if !quiet && f.image != "" {
		fmt.Fprintf(p.stdout, "\nThe heat map is in %s\n", f.image)
	}
	if err := p.output(p.json, func(w io.Writer) error { return writeJSON(w, r) }); err != nil {
		return err
	}
	return p.output(f.csv, r.writeCSV)
}

// patchPairs runs a file of pairs: a line of JSON for each as soon as it is done, in the end a mean heat map.
func (p *program) patchPairs(f *patchFlags) error {
	file := os.Stdin
	if f.pairs != "-" {
		var err error
		if file, err = os.Open(f.pairs); err != nil {
			return fmt.Errorf("reading %s: %w", f.pairs, reason(err))
		}
		defer file.Close()
	}
	m, err := p.openModel()
	if err != nil {
		return err
	}
	if p.json == "" {
		p.json = "-"
	}
	means, pairs, failed := Means{}, 0, 0
	complain := func(line int, err error) { fmt.Fprintf(p.stderr, "mechpatch: %s:%d: %v\n", f.pairs, line, err) }
	err = p.output(p.json, func(w io.Writer) error {
		return eachPair(file, func(line int, fields []string) error {
			pairs++
			r, err := f.study.runLine(m, fields)
			if err != nil {
				failed++
				complain(line, err)
				return nil
			}
			if err := means.add(r); err != nil {
				complain(line, fmt.Errorf("left out of the mean: %w", err))
			}
			r.Line = line
			return writeJSON(w, r)
		})
	})
	if err != nil {
		return fmt.Errorf("%s: %w", f.pairs, err)
	}
	files, figures := means.figures(f.image, f.colorMap, f.scale)
	for i, figure := range figures {
		if err := p.output(files[i], figure.write); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%s: %d of %d pairs could not be run", f.pairs, failed, pairs)
	}
	return nil
}

// next shows the most probable next tokens of one text.
func (p *program) next(args []string) error {
	words, err := p.parse(p.textFlags(), args)
	if err == nil && len(words) != 1 {
		err = wrongCount(len(words), "TEXT.txt")
	}
	if err != nil {
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
	ids := encode(text.text)
	logits, err := m.next(ids)
	if err != nil {
		return err
	}
	r := NextReport{newModelReport(m), newTextReport(text.text, ids), topTokens(logits, p.top)}
	if p.json != "-" {
		fmt.Fprintf(p.stdout, "%s\n\n%s\n%s", r.Model.origin(), r.tokenization(), table(r.Top))
	}
	return p.output(p.json, func(w io.Writer) error { return writeJSON(w, r) })
}

// tokens shows the tokens of a text.
func (p *program) tokens(args []string) error {
	flags := newFlags()
	flags.BoolVar(&p.inline, "e", false, "the argument is the text itself, not a file's name")
	asJSON := flags.Bool("json", false, "print JSON")
	words, err := p.parse(flags, args)
	if err == nil && len(words) != 1 {
		err = wrongCount(len(words), "TEXT.txt")
	}
	if err != nil {
		return err
	}
	text, err := p.text(words[0], "the text")
	if err != nil {
		return err
	}
	r := newTextReport(text.text, encode(text.text))
	if *asJSON {
		return writeJSON(p.stdout, r)
	}
	_, err = fmt.Fprint(p.stdout, r.tokenization())
	return err
}

func newFlags() *flag.FlagSet { return flag.NewFlagSet("mechpatch", flag.ContinueOnError) }

// textFlags are the flags of the commands that run the model on texts.
func (p *program) textFlags() *flag.FlagSet {
	flags := newFlags()
	flags.StringVar(&p.model, "model", "", "a safetensors file or its folder, a name such as gpt2-medium, or circuit (`MODEL`)")
	flags.BoolVar(&p.offline, "offline", false, "do not use the network")
	flags.BoolVar(&p.inline, "e", false, "the arguments are the texts themselves, not files' names")
	flags.IntVar(&p.top, "top", 20, "how many next tokens to list (`N`)")
	flags.StringVar(&p.json, "json", "", "write everything as JSON to this `FILE`; - is standard output")
	return flags
}

// parse reads a command's flags, wherever they stand, and returns its other arguments. What follows "--" is no flag.
func (p *program) parse(flags *flag.FlagSet, args []string) ([]string, error) {
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	showVersion := flags.Bool("version", false, "print the version")
	var rest, words []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, rest = args[:i], args[i+1:]
	}
	for {
		err := flags.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			p.help(flags)
			return nil, errDone
		}
		if err != nil {
			return nil, usageError{err}
		}
		if args = flags.Args(); len(args) == 0 {
			break
		}
		words, args = append(words, args[0]), args[1:]
	}
	if *showVersion {
		fmt.Fprintln(p.stdout, "mechpatch", version)
		return nil, errDone
	}
	if p.top < 0 {
		return nil, usageError{fmt.Errorf("-top %d is negative", p.top)}
	}
	return append(words, rest...), nil
}

// wrongCount is the fault that a command has too many arguments or too few.
func wrongCount(n int, want string) error {
	return usageError{fmt.Errorf("%d arguments, where %s are expected", n, want)}
}

// help prints the usage and the command's flags.
func (p *program) help(flags *flag.FlagSet) {
	fmt.Fprint(p.stdout, usage)
	flags.VisitAll(func(f *flag.Flag) {
		value, what := flag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "false" {
			what += ", by default " + f.DefValue
		}
		fmt.Fprintf(p.stdout, "  %-17s %s\n", strings.TrimSpace("-"+f.Name+" "+value), what)
	})
}

// text reads a file, without the byte-order mark and the line break that editors add; or takes the argument itself.
func (p *program) text(arg, what string) (Text, error) {
	if p.inline {
		return Text{what, arg}, nil
	}
	data, err := os.ReadFile(arg)
	if err != nil {
		return Text{}, fmt.Errorf("reading %s %s: %w", what, arg, reason(err))
	}
	s := string(data)
	if strings.HasPrefix(s, "\xff\xfe") || strings.HasPrefix(s, "\xfe\xff") {
		return Text{}, fmt.Errorf("reading %s %s: it is UTF-16: save it as UTF-8", what, arg)
	}
	s = strings.TrimPrefix(s, "\ufeff")
	if t := strings.TrimSuffix(s, "\n"); t != s {
		s = strings.TrimSuffix(t, "\r")
	}
	return Text{arg, s}, nil
}

// output writes one of the results. The name "-" is standard output, and no name is no output.
func (p *program) output(name string, write func(io.Writer) error) error {
	switch name {
	case "":
		return nil
	case "-":
		return write(p.stdout)
	}
	return writeFile(name, write)
}
