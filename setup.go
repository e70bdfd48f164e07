package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
)

// This file is the part of the command line that is about weights: finding them, and the commands fetch, convert and bundle.

// openModel finds the weights, fetches them where need be, and opens them.
func (p *program) openModel() (*Model, error) {
	env := systemEnv(p.offline)
	found, err := findModel(p.model, env)
	if err != nil {
		return nil, err
	}
	if found.download {
		_, err := p.download(env, found.name, "", !found.named)
		switch {
		case errors.Is(err, errNoStart) && !found.named:
			p.note(err)
			found = circuitFound("built in")
		case err != nil:
			return nil, err
		}
	}
	if found.circuit {
		if !found.named {
			p.note(errors.New("this is the built-in circuit, not GPT-2, whose weights are not on this machine: see mechpatch fetch -h"))
		}
		return newCircuit(), nil
	}
	return found.open()
}

// modelFlags are the flags of the commands that run the model on texts.
func (p *program) modelFlags(flags *flag.FlagSet) {
	flags.StringVar(&p.model, "model", "", "a safetensors file or its folder, a name such as gpt2-medium, or circuit (`MODEL`)")
	flags.BoolVar(&p.offline, "offline", false, "do not use the network")
	flags.BoolVar(&p.inline, "e", false, "the arguments are the texts themselves, not files' names")
	flags.IntVar(&p.top, "top", 20, "how many next tokens to list (`N`)")
	flags.StringVar(&p.json, "json", "", "write everything as JSON to this `FILE`; - is standard output")
}

// fetch downloads a published model.
func (p *program) fetch() Command {
	c := Command{flags: newFlags(), arguments: "[NAME]"}
	file := c.flags.String("o", "", "keep it as this `FILE`, by default in the user's cache, where it is found again")
	c.flags.BoolVar(&p.offline, "offline", false, "do not use the network")
	c.run = func(words []string) error {
		path, err := p.download(systemEnv(p.offline), append(words, "gpt2")[0], *file, false)
		if err == nil {
			fmt.Fprintln(p.stdout, path)
		}
		return err
	}
	return c
}

// download fetches a model, with a progress bar where somebody watches. An interrupt leaves what has arrived for the next time.
func (p *program) download(env Env, name, file string, quick bool) (string, error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	d := newDownloader(env, quick)
	bar := newProgress(p.stderr)
	d.note = func(line string) {
		bar.clear()
		fmt.Fprintln(p.stderr, "mechpatch:", line)
	}
	d.progress = bar.bytes
	path, err := d.fetch(ctx, name, file)
	bar.clear()
	return path, err
}

// convert makes a lean safetensors file of whatever GPT-2 is published as.
func (p *program) convert() Command {
	c := Command{flags: newFlags(), arguments: "IN OUT.safetensors"}
	name := c.flags.String("dtype", "", "the numbers' format: f32, f16 or bf16, by default as they are (`FORMAT`)")
	formats := map[string]Format{"": asStored, "f32": f32, "f16": f16, "bf16": bf16}
	c.run = func(words []string) error {
		format, ok := formats[strings.ToLower(*name)]
		if !ok {
			return usageError{fmt.Errorf("-dtype %s: there are f32, f16 and bf16", *name)}
		}
		in, err := sourceFile(words[0], systemEnv(true))
		if err != nil {
			return err
		}
		return convert(in, words[1], format)
	}
	return c
}

// bundle makes a copy of a mechpatch with weights inside.
func (p *program) bundle() Command {
	c := Command{flags: newFlags(), arguments: "MODEL OUT"}
	env := systemEnv(true)
	exe := c.flags.String("exe", env.exe, "the mechpatch to copy, built for any system (`PROGRAM`)")
	c.run = func(words []string) error {
		in, err := sourceFile(words[0], env)
		if err != nil {
			return err
		}
		return bundle(*exe, in, words[1])
	}
	return c
}

// sourceFile is where the weights are that a user names: a file or folder of any kind, or a published model by its name.
func sourceFile(model string, env Env) (string, error) {
	if _, err := os.Stat(model); err == nil {
		return model, nil
	}
	found, err := findModel(model, env)
	if err == nil && found.circuit {
		err = errors.New("the circuit is wired by the program itself: there is no file of it")
	}
	return found.path, err
}
