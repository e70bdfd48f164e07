package main

import (
	"context"
	"errors"
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

// note tells something beside the results.
func (p *program) note(what error) { fmt.Fprintf(p.stderr, "mechpatch: %v\n", what) }

// fetch downloads a published model.
func (p *program) fetch(args []string) error {
	flags := newFlags()
	file := flags.String("o", "", "keep it as this `FILE`, by default in the user's cache, where it is found again")
	flags.BoolVar(&p.offline, "offline", false, "do not use the network")
	words, err := p.parse(flags, args)
	if err != nil {
		return err
	}
	if len(words) > 1 {
		return wrongCount(len(words), "[NAME]")
	}
	path, err := p.download(systemEnv(p.offline), append(words, "gpt2")[0], *file, false)
	if err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, path)
	return nil
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
func (p *program) convert(args []string) error {
	flags := newFlags()
	format := flags.String("dtype", "", "the numbers' format: f32, f16 or bf16, by default as they are (`FORMAT`)")
	words, err := p.parse(flags, args)
	if err == nil && len(words) != 2 {
		err = wrongCount(len(words), "IN OUT.safetensors")
	}
	if err != nil {
		return err
	}
	formats := map[string]Format{"": asStored, "f32": f32, "f16": f16, "bf16": bf16}
	f, ok := formats[strings.ToLower(*format)]
	if !ok {
		return usageError{fmt.Errorf("-dtype %s: there are f32, f16 and bf16", *format)}
	}
	in, err := sourceFile(words[0], systemEnv(true))
	if err != nil {
		return err
	}
	return convert(in, words[1], f)
}

// bundle makes a copy of a mechpatch with weights inside.
func (p *program) bundle(args []string) error {
	flags := newFlags()
	exe := flags.String("exe", "", "the mechpatch to copy, built for any system, by default this one (`FILE`)")
	words, err := p.parse(flags, args)
	if err == nil && len(words) != 2 {
		err = wrongCount(len(words), "MODEL OUT")
	}
	if err != nil {
		return err
	}
	env := systemEnv(true)
	if *exe == "" {
		*exe = env.exe
	}
	in, err := sourceFile(words[0], env)
	if err != nil {
		return err
	}
	return bundle(*exe, in, words[1])
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
