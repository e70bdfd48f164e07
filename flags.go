package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// This file reads the command line: which command, its flags wherever they stand, and as many arguments as it takes.

// Command is one of the program's commands: its flags, the names of its arguments (in brackets if it does without), and what it
// does with them once the flags are read.
type Command struct {
	flags     *flag.FlagSet
	arguments string
	run       func(words []string) error
}

// usageError is a fault in the command line.
type usageError struct{ error }

// errDone says that all that the command line asked for has been printed already.
var errDone = errors.New("done")

// choose returns the command that a command line names, and the line without that name; the main command if it names none. The
// name is the first word that is no flag and no flag's value.
func (p *program) choose(args []string) (Command, []string) {
	for i, arg := range args {
		if newCommand := p.commands()[arg]; newCommand != nil {
			c := newCommand()
			if words, err := parseFlags(c.flags, args[:i]); err == nil && len(words) == 0 && !slices.Contains(args[:i], "--") {
				return newCommand(), slices.Concat(args[:i], args[i+1:])
			}
		}
	}
	return p.patch(), args
}

// parse reads a command's flags and returns its arguments.
func (p *program) parse(c Command, args []string) ([]string, error) {
	showVersion := c.flags.Bool("version", false, "print the version")
	words, err := parseFlags(c.flags, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		p.help(c.flags)
		return nil, errDone
	case err != nil:
		return nil, usageError{fmt.Errorf("%w; what begins with - is taken for a flag, but not after --", err)}
	case *showVersion:
		fmt.Fprintln(p.stdout, "mechpatch", version)
		return nil, errDone
	case p.top < 0:
		return nil, usageError{fmt.Errorf("-top %d is negative", p.top)}
	}
	most := len(strings.Fields(c.arguments))
	if least := most - strings.Count(c.arguments, "["); len(words) < least || len(words) > most {
		return nil, usageError{fmt.Errorf("%s, but expected is: %s", count(len(words), "argument"), strings.NewReplacer("[", "", "]", "").Replace(c.arguments))}
	}
	return words, nil
}

// parseFlags reads flags wherever they stand and returns the other words. What follows "--" is no flag.
func parseFlags(flags *flag.FlagSet, args []string) ([]string, error) {
	var words, rest []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, rest = args[:i], args[i+1:]
	}
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if args = flags.Args(); len(args) == 0 {
			return append(words, rest...), nil
		}
		words, args = append(words, args[0]), args[1:]
	}
}

// count is "1 token", "2 tokens".
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprint(n, " ", what)
}

// newFlags is an empty set of flags.
func newFlags() *flag.FlagSet {
	flags := flag.NewFlagSet("mechpatch", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	return flags
}

// help prints the usage and the command's flags.
func (p *program) help(flags *flag.FlagSet) {
	fmt.Fprint(p.stdout, usage)
	flags.VisitAll(func(f *flag.Flag) {
		value, what := flag.UnquoteUsage(f)
		what = strings.TrimSuffix(what, " ("+value+")")
		if f.DefValue != "" && f.DefValue != "false" {
			what += ", by default " + f.DefValue
		}
		fmt.Fprintf(p.stdout, "  %-17s %s\n", strings.TrimSpace("-"+f.Name+" "+value), what)
	})
}
