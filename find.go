package main

// Where a model's weights are: a file or folder of the user's, a cache, the hub.

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Repository is a model on the Hugging Face hub.
type Repository struct {
	name     string // by which it is published; "" for all but the few below
	id       string // ORGANISATION/NAME
	revision string // a commit, a branch or a tag; "" is the branch main
	size     int64  // of model.safetensors, in bytes,
	sum      string // and its SHA-256, in hexadecimal; 0 and "" are what the hub announces
}

// published are the GPT-2s that can be asked for by name, each at one commit.
var published = []Repository{
	{"gpt2", "openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e", 548105171,
		"248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707"},
	{"gpt2-medium", "openai-community/gpt2-medium",
		"6dcaa7a952f72f9298047fd5137cd6e4f05f41da", 0, ""},
	{"gpt2-large", "openai-community/gpt2-large",
		"32b71b12589c2f8d625668d2335a01cac3249519", 0, ""},
	{"gpt2-xl", "openai-community/gpt2-xl", "15ea56dee5df4983c59b2538573817e1667135e2", 0, ""},
	{"distilgpt2", "distilbert/distilgpt2", "2290a62682d06624634c1f46a6ad5be0f47f38aa", 0, ""},
}

func (r Repository) String() string {
	return cmp.Or(r.name, strings.TrimSuffix(r.id+"@"+r.revision, "@"))
}

// parseRepository reads the name of a published model, which with @REVISION is that of its
// repository, or ORGANISATION/NAME[@REVISION]. The rules are the hub's, and keep a name inside its
// folder of the cache. What ends as a file does is none.
func parseRepository(spec string) (_ Repository, err error) {
	defer catchFault(&err)
	id, revision, hasRevision := strings.Cut(spec, "@")
	if id == "gpt2-small" {
		id = "gpt2"
	}
	known := ""
	for _, p := range published {
		known += p.name + ", "
		if (id == p.name || id == p.id) && !hasRevision {
			return p, nil
		}
		if id == p.name {
			id = p.id
		}
	}
	isName := func(s string) bool {
		ok, _ := regexp.MatchString(`^\w[\w.+@-]{0,95}$`, s)
		return ok && !strings.Contains(s, "..")
	}
	organisation, name, _ := strings.Cut(id, "/")
	page := strings.Split(spec+"////", "/") // https://HOST/ORGANISATION/NAME
	const files = " .safetensors .bin .pt .pth .ckpt .json .gguf .h5 .git "
	switch {
	case spec == "circuit":
		fail("it is built into the program")
	case strings.HasSuffix(page[0], ":") && isName(page[3]) && isName(page[4]):
		fail("it is a page: the model's name is %s/%s", page[3], page[4])
	case !isName(organisation) || !isName(name) || strings.Contains(id, "+") ||
		strings.Contains(id, "--") || strings.Contains(files, " "+filepath.Ext(name)+" "):
		fail("no model of that name: known are %sand ORGANISATION/NAME on the hub", known)
	}
	for part := range strings.SplitSeq(revision, "/") {
		if hasRevision && !isName(part) {
			fail("%s is not a revision", quote(revision))
		}
	}
	return Repository{id: id, revision: revision}, nil
}

// Found says where the weights of a run are.
type Found struct {
	name string // what the run and the picture call the model; "" where the weights say it
	path string // the file of weights, or the index of several; for a bundle, the program itself
	how  string // one phrase for the run's note: "the Hugging Face cache"
	repo Repository

	offset int64 // a bundle's weights are the length bytes of path from offset on;
	length int64 // 0 is the whole file

	circuit  bool // the built-in model: no file at all
	download bool // name has to be fetched first
	named    bool // the user asked for this model: nothing else may stand in for it
}

// Env is what of the program's surroundings decides where weights are looked for. What the system
// cannot tell is empty.
type Env struct {
	lookup  func(variable string) (value string, set bool)
	home    string // the user's home folder
	cache   string // the program's folder among the user's caches
	exe     string // the program's own file, where links lead
	offline bool   // -offline was given
	// bundled finds the weights inside exe; nil for a program that carries none.
	bundled func(exe string) (offset, length int64, err error)
}

func systemEnv(offline bool) Env {
	env := Env{lookup: os.LookupEnv, offline: offline}
	env.home, _ = os.UserHomeDir()
	if caches, err := os.UserCacheDir(); err == nil {
		env.cache = filepath.Join(caches, "mechpatch")
	}
	env.exe, _ = os.Executable()
	if real, err := filepath.EvalSymlinks(env.exe); err == nil {
		env.exe = real
	}
	return env
}

// get is a variable's value, or what else counts where it is not set. A path that is set to nothing
// is for huggingface_hub that of the working directory.
func (env Env) get(name, otherwise string) string {
	if value, set := env.lookup(name); set {
		return value
	}
	return otherwise
}

// isTrue tells whether a variable has one of the values that count as true for huggingface_hub.
func (env Env) isTrue(name string) bool {
	return slices.Contains([]string{"1", "ON", "YES", "TRUE"}, strings.ToUpper(env.get(name, "")))
}

// offlineBy says what forbids the network, "" if nothing does. The variables are huggingface_hub's:
// the second counts where the first says nothing.
func (env Env) offlineBy() string {
	if env.offline {
		return "this run does not use the network" // by -offline, or a command that never does
	}
	name := "HF_HUB_OFFLINE"
	if env.get(name, "") == "" {
		name = "TRANSFORMERS_OFFLINE"
	}
	if env.isTrue(name) {
		return name + "=" + env.get(name, "") + " forbids the network"
	}
	return ""
}

// findModel decides which model a run uses; spec is -model's value. The first hit wins:
//
//  1. -model, else $MECHPATCH_MODEL: a file, a folder with weights, the name of a published model
//     or of the circuit, or ORGANISATION/NAME[@REVISION] on the hub;
//  2. weights bundled into the program;
//  3. NAME.safetensors in the working directory, then beside the program;
//  4. the program's own cache, where a download is kept;
//  5. the Hugging Face cache;
//  6. a download, unless the network is forbidden;
//  7. the circuit.
//
// A published model that was asked for by name goes through 3 to 6, one of the hub's others through
// 4 to 6; without any name the run is about gpt2. A file or folder of the working directory comes
// before a model of the same name, but "circuit" is always the built-in one ("./circuit" is a
// file). Whether the weights are sound is seen when they are read. A program that carries weights
// and cannot read them, perhaps because its file may only be run, does not use others.
func findModel(spec string, env Env) (Found, error) {
	origin := "-model"
	if spec == "" {
		spec, origin = env.get("MECHPATCH_MODEL", ""), "$MECHPATCH_MODEL"
	}
	if spec != "" {
		found, err := findNamed(spec, origin, env)
		if err != nil {
			return Found{}, fmt.Errorf("%s %s: %w", origin, spec, err)
		}
		found.named = true
		return found, nil
	}
	if env.bundled != nil {
		offset, length, err := env.bundled(env.exe)
		if err != nil {
			return Found{}, fmt.Errorf("reading the weights that this program carries: %w; "+
				"-model names others", err)
		}
		return Found{path: env.exe, how: "the program itself", offset: offset, length: length}, nil
	}
	found, _ := findHere(published[0], env)
	if found.download && env.offlineBy() != "" {
		return circuitFound("built in"), nil
	}
	return found, nil
}

func circuitFound(how string) Found { return Found{name: "circuit", circuit: true, how: how} }

const ourCache = "the program's cache"

// open opens the weights that were found; heads is openModel's. They stay mapped into memory for as
// long as the program runs.
func (f Found) open(heads int) (*Model, error) {
	m, ck, err := openModel(f.path, f.offset, f.length, heads)
	if err != nil {
		return nil, err
	}
	m.name, m.how = cmp.Or(f.name, ck.meta["source"], nameOf(f.path)), f.how
	if f.repo.name != "" {
		m.tokenizer = gpt2
	}
	// Nobody reads a file of weights for its checksum alone, but some say it: what the program has
	// fetched was held to it, and the Hugging Face cache names files by it (and what those may be
	// links to by another sum).
	blob, err := os.Readlink(f.path)
	if err != nil {
		blob = f.path // no link
	}
	if sum := filepath.Base(blob); len(sum) == 64 && isHex(sum) {
		m.sum = sum
	} else if info, err := os.Stat(f.path); f.how == ourCache && err == nil &&
		info.Size() == f.repo.size {
		m.sum = f.repo.sum
	}
	if ck.release != nil {
		m.prepareAhead(touch)
	}
	return m, nil
}

// findNamed finds a model that was asked for; origin is what asked.
func findNamed(spec, origin string, env Env) (found Found, err error) {
	defer catchFault(&err)
	if spec == "circuit" {
		return circuitFound(origin), nil
	}
	path := filepath.Clean(spec)
	repo, hubErr := parseRepository(spec)
	info, err := os.Stat(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err == nil && info.IsDir() {
		path, err = findInFolder(path)
		// a folder may only happen to bear a model's name
		missing = repo.name != "" && errors.Is(err, errNoWeights)
	}
	switch {
	case err == nil:
		return Found{name: nameOf(path), path: path, how: origin}, nil
	case !missing:
		return Found{}, reason(err)
	case hubErr != nil:
		fail("there is no such file or folder, and %w", hubErr)
	}
	here, why := findHere(repo, env)
	if by := env.offlineBy(); here.download && by != "" {
		_, out, _ := strings.Cut(repo.id, "/") // a folder
		if repo.name != "" {
			out = repo.name + ".safetensors"
		}
		fail("%w, and %s; on a connected one, \"mechpatch fetch -o %s %s\" makes a copy to carry "+
			"over", why, by, out, repo)
	}
	return here, nil
}

// findInFolder finds the weights in a folder that the user named: under their usual names, in a
// repository's folder of the Hugging Face cache, or the one file there that could be weights.
func findInFolder(folder string) (path string, err error) {
	defer catchFault(&err)
	if path = weightsIn(folder); path == "" {
		path = snapshotWeights(folder, Repository{})
	}
	if path == "" {
		path, err = otherWeightsIn(folder)
	}
	return path, err
}

// weightsIn finds the weights in a folder under one of their usual names; "" is none.
func weightsIn(folder string) string {
	for _, name := range weightsNames {
		path := filepath.Join(folder, name)
		target, err := filepath.EvalSymlinks(path)
		if _, linkErr := os.Readlink(path); err != nil && linkErr == nil {
			fail("%s is a link that leads nowhere from here: copy the folder with cp -aL, or the "+
				"whole cache", path)
		}
		// A link may lead to a file that the hub's own tools are still fetching.
		if err != nil || !isFile(target) || strings.HasSuffix(target, ".incomplete") {
			continue
		}
		if isIndex(name) {
			_, parts, err := readIndex(path)
			try(err)
			for _, part := range parts {
				if !isFile(filepath.Join(folder, part)) {
					fail("%s: it names %s, which is not there", path, quote(part))
				}
			}
		}
		return path
	}
	return ""
}

// findHere looks for a model on this machine: a published one as a file, then any as a repository's
// folder in a cache. Where there is none, it has to be downloaded, and err says why.
func findHere(repo Repository, env Env) (Found, error) {
	type place struct{ folder, name, how string }
	var places []place
	ids := []string{repo.id}
	if repo.name != "" {
		file := repo.name + ".safetensors"
		places = []place{
			{".", file, "the working directory"},
			{filepath.Dir(env.exe), file, "the program's folder"},
			{env.cache, file, ourCache},
		}
		ids = append(ids, path.Base(repo.id)) // as caches of before 2024 have it
	}
	for _, id := range ids {
		places = append(places, place{env.cache, hubFolder(id), ourCache},
			place{hubCache(env), hubFolder(id), "the Hugging Face cache"})
	}
	why := errors.New("it is not on this machine")
	for _, p := range places {
		if p.folder == "" { // the system names none
			continue
		}
		path := filepath.Join(p.folder, p.name)
		err := caught(func() {
			if !isFile(path) {
				path = snapshotWeights(path, repo)
			}
		})
		if err != nil {
			why = err
		} else if path != "" {
			return Found{name: repo.String(), path: path, how: p.how, repo: repo}, nil
		}
	}
	return Found{name: repo.String(), repo: repo, download: true, how: "a download"}, why
}

// hubFolder is what a repository's folder is called, in the Hugging Face cache and in ours.
func hubFolder(id string) string { return "models--" + strings.ReplaceAll(id, "/", "--") }

// snapshotWeights finds the weights in a repository's folder of the Hugging Face cache:
//
//	refs/main                            the commit that the branch main stood at
//	snapshots/<commit>/model.safetensors a link to ../../blobs/<sha256>, or a plain file
//	blobs/<sha256>.incomplete            a download that is under way: never taken
//
// Where no revision is asked for, the first of these is taken that has weights: the commit of a
// published model, main, and, if nothing says where main stands (files were fetched by their
// commit), the newest. Where main has moved on, it fails with the commit that is there; "" is none.
func snapshotWeights(folder string, repo Repository) string {
	asked, pinned := repo.revision, ""
	if repo.name != "" {
		asked, pinned = "", repo.revision
	}
	ref, _ := readBounded(filepath.Join(folder, "refs", cmp.Or(asked, "main")), 256)
	main := strings.TrimSpace(string(ref))
	if !isHex(main) && isCommit(asked) {
		main = asked
	}
	entries, _ := os.ReadDir(filepath.Join(folder, "snapshots"))
	changed := func(e fs.DirEntry) (at time.Time) {
		if info, err := e.Info(); err == nil {
			at = info.ModTime()
		}
		return at
	}
	slices.SortStableFunc(entries, func(a, b fs.DirEntry) int {
		return changed(b).Compare(changed(a))
	})
	commits := []string{pinned, main}
	for _, e := range entries {
		commits = append(commits, e.Name())
	}
	for i, commit := range commits {
		if !isHex(commit) { // and so no ".." leads out of the cache
			continue
		}
		path := weightsIn(filepath.Join(folder, "snapshots", commit))
		if path != "" && (i < 2 || asked == "" && !isHex(main)) {
			return path
		}
		if path != "" {
			fail("%s has commit %s, not %s: @%[2]s behind the name asks for it", folder, commit,
				cmp.Or(asked, main))
		}
	}
	return ""
}

// isCommit tells whether s is a commit of git, in full.
func isCommit(s string) bool { return len(s) == 40 && isHex(s) }

// isHex tells whether s is a hexadecimal number, such as a commit or a SHA-256.
func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// hubCache is the folder of the Hugging Face cache, by the rules of huggingface_hub.
func hubCache(env Env) string {
	home := filepath.Join(hubHome(env), "hub")
	return env.expand(env.get("HF_HUB_CACHE", env.get("HUGGINGFACE_HUB_CACHE", home)))
}

func hubHome(env Env) string {
	caches := env.get("XDG_CACHE_HOME", filepath.Join(env.home, ".cache"))
	return env.expand(env.get("HF_HOME", filepath.Join(caches, "huggingface")))
}

// expand puts in a path's ~ and variables. A variable that is not set stays as it is.
func (env Env) expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || os.IsPathSeparator(rest[0])) {
		path = env.home + rest
	}
	variable := func(name string) string { return env.get(name, "$"+name) }
	return filepath.Clean(os.Expand(path, variable))
}
