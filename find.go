package main

// Where a model's weights are: a file or folder of the user's, a cache, the hub.

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Published is a GPT-2 that can be asked for by name, as it stands on the Hugging Face hub at one
// commit. Where size and sum are not set, they are what the hub announces.
type Published struct {
	name     string
	repo     string
	revision string // commit of the repository
	size     int64  // of model.safetensors, in bytes
	sum      string // its SHA-256, in hexadecimal
}

var published = []Published{
	{
		"gpt2", "openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e", 548105171,
		"248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
	},
	{name: "gpt2-medium", repo: "openai-community/gpt2-medium",
		revision: "6dcaa7a952f72f9298047fd5137cd6e4f05f41da"},
	{name: "gpt2-large", repo: "openai-community/gpt2-large",
		revision: "32b71b12589c2f8d625668d2335a01cac3249519"},
	{name: "gpt2-xl", repo: "openai-community/gpt2-xl",
		revision: "15ea56dee5df4983c59b2538573817e1667135e2"},
	{name: "distilgpt2", repo: "distilbert/distilgpt2",
		revision: "2290a62682d06624634c1f46a6ad5be0f47f38aa"},
}

func lookup(table []Published, name string) (Published, bool) {
	if name == "gpt2-small" {
		name = "gpt2"
	}
	for _, p := range table {
		if p.name == name || p.repo == name {
			return p, true
		}
	}
	return Published{}, false
}

type Repository struct {
	id       string // ORGANISATION/NAME
	revision string // a commit, a branch or a tag; "" is the branch main
}

func (r Repository) String() string {
	return strings.TrimSuffix(r.id+"@"+r.revision, "@")
}

// parseRepository reads ORGANISATION/NAME[@REVISION], or the name of a published model with
// @REVISION. The rules are the hub's, and keep a name inside its folder of the cache. What ends as
// a file does is none.
func parseRepository(spec string) (Repository, error) {
	id, revision, hasRevision := strings.Cut(spec, "@")
	if p, ok := lookup(published, id); ok {
		id = p.repo
	}
	isName := func(s string) bool {
		const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
		return s != "" && len(s) <= 96 && strings.Trim(s, letters+".-+@") == "" &&
			strings.Contains(letters, s[:1]) && !strings.Contains(s, "..")
	}
	organisation, name, _ := strings.Cut(id, "/")
	const files = " .safetensors .bin .pt .pth .ckpt .json .gguf .h5 .git "
	parts := strings.Split(spec+"////", "/") // of a page, https://HOST/ORGANISATION/NAME
	known := ""
	for _, p := range published {
		known += p.name + ", "
	}
	switch {
	case spec == "circuit":
		return Repository{}, errors.New("it is built into the program")
	case strings.HasSuffix(parts[0], ":") && isName(parts[3]) && isName(parts[4]):
		return Repository{}, fmt.Errorf("it is a page: the model's name is %s/%s", parts[3],
			parts[4])
	case !isName(organisation) || !isName(name) || strings.ContainsAny(id, "+") ||
		strings.Contains(id, "--") || strings.Contains(files, " "+filepath.Ext(name)+" "):
		return Repository{}, fmt.Errorf("no model of that name: known are %s"+
			"and ORGANISATION/NAME on the hub", known)
	case hasRevision && slices.ContainsFunc(strings.Split(revision, "/"),
		func(part string) bool { return !isName(part) }):
		return Repository{}, fmt.Errorf("%s is not a revision", quote(revision))
	}
	return Repository{id, revision}, nil
}

// Found says where the weights of a run are.
type Found struct {
	name string // what the run and the picture call the model; "" where the weights say it
	path string // the file of weights, or the index of several; for a bundle, the program itself
	how  string // one phrase for the run's note: "the Hugging Face cache"

	offset int64 // a bundle's weights are the length bytes of path from offset on;
	length int64 // 0 is the whole file

	circuit  bool // the built-in model: no file at all
	download bool // name has to be fetched first; path is where it will be, if that is known
	named    bool // the user asked for this model: nothing else may stand in for it
}

// Env is what of the program's surroundings decides where weights are looked for. What the system
// cannot tell is empty.
type Env struct {
	lookup  func(variable string) (value string, set bool)
	dir     string // the working directory
	home    string // the user's home folder
	cache   string // os.UserCacheDir: the folder of all programs' caches
	offline bool   // -offline was given

	exe func() string // the program's own file, where links lead
	// bundled finds the weights inside exe; nil for a program that carries none.
	bundled func(exe string) (offset, length int64, ok bool, err error)
}

func systemEnv(offline bool) Env {
	env := Env{lookup: os.LookupEnv, dir: ".", offline: offline}
	env.home, _ = os.UserHomeDir()
	env.cache, _ = os.UserCacheDir()
	env.exe = func() string {
		exe, err := os.Executable()
		if err != nil {
			return ""
		}
		real, err := filepath.EvalSymlinks(exe)
		if err != nil {
			return exe
		}
		return real
	}
	return env
}

func (env Env) getenv(name string) string {
	value, _ := env.lookup(name)
	return value
}

// setting is a variable's value, or what else counts where it is not set. One that is set to
// nothing is a path for huggingface_hub, that of the working directory.
func (env Env) setting(name, otherwise string) string {
	if value, set := env.lookup(name); set {
		return value
	}
	return otherwise
}

// offlineBy says what forbids the network, "" if nothing does. The variables are huggingface_hub's:
// the second counts where the first says nothing.
func (env Env) offlineBy() string {
	if env.offline {
		return "this run does not use the network" // by -offline, or a command that never does
	}
	name := "HF_HUB_OFFLINE"
	if env.getenv(name) == "" {
		name = "TRANSFORMERS_OFFLINE"
	}
	if env.isTrue(name) {
		return name + "=" + env.getenv(name) + " forbids the network"
	}
	return ""
}

// isTrue tells whether a variable has one of the values that count as true for huggingface_hub.
func (env Env) isTrue(name string) bool {
	return slices.Contains([]string{"1", "ON", "YES", "TRUE"}, strings.ToUpper(env.getenv(name)))
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
// file). Whether the weights are sound is seen when they are read.
func findModel(spec string, env Env) (Found, error) {
	found, ok, err := findAsked(spec, env)
	if ok || err != nil {
		return found, err
	}
	if found, _ = findHere(published[0], "", env); found.download && env.offlineBy() != "" {
		return circuitFound("built in"), nil
	}
	return found, nil
}

// findAsked is findModel up to 2: the model that was asked for, by word or by choice of the
// program. Where there is none, ok is false, and the run is about gpt2. A program that carries
// weights and cannot read them, perhaps because its file may only be run, does not use others.
func findAsked(spec string, env Env) (found Found, ok bool, err error) {
	origin := "-model"
	if spec == "" {
		spec, origin = env.getenv("MECHPATCH_MODEL"), "$MECHPATCH_MODEL"
	}
	if spec != "" {
		found, err := findNamed(spec, origin, env)
		if err != nil {
			return Found{}, false, fmt.Errorf("%s %s: %w", origin, spec, err)
		}
		found.named = true
		return found, true, nil
	}
	if env.bundled == nil {
		return Found{}, false, nil
	}
	found = Found{path: env.exe(), how: "the program itself"}
	if found.path == "" {
		err = errors.New("this system does not tell where the program is")
	} else {
		found.offset, found.length, ok, err = env.bundled(found.path)
	}
	if err != nil || !ok {
		return Found{}, false, fmt.Errorf("reading the weights that this program carries: %w; "+
			"-model names others", cmp.Or(err, errNoWeights))
	}
	return found, true, nil
}

// open opens the weights that were found; heads is openModel's. They stay mapped into memory for as
// long as the program runs.
func (f Found) open(heads int) (*Model, error) {
	m, ck, err := openModel(f.path, f.offset, f.length, heads)
	if err != nil {
		return nil, err
	}
	m.name, m.how = f.name, f.how
	p, known := lookup(published, f.name)
	if known && f.how != "-model" && f.how != "$MECHPATCH_MODEL" { // not a path that the user named
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
	} else if info, err := os.Stat(f.path); f.how == "the program's cache" && err == nil &&
		info.Size() == p.size {
		m.sum = p.sum
	}
	if f.name == "" { // bundled weights carry their own
		m.name = cmp.Or(ck.meta["source"], nameOf(f.path))
	}
	if ck.release != nil {
		m.prepareAhead(touch)
	}
	return m, nil
}

func circuitFound(how string) Found { return Found{name: "circuit", circuit: true, how: how} }

func findNamed(spec, origin string, env Env) (found Found, err error) {
	if spec == "circuit" {
		return circuitFound(origin), nil
	}
	path := env.inDir(filepath.Clean(spec))
	known, isKnown := lookup(published, spec)
	repo, repoErr := parseRepository(spec)
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		path, err = findInFolder(path)
		if isKnown && errors.Is(err, errNoWeights) {
			break // a folder that only happens to bear a model's name
		}
		if err != nil {
			return Found{}, err
		}
		fallthrough
	case err == nil:
		return Found{name: nameOf(path), path: path, how: origin}, nil
	case !errors.Is(err, fs.ErrNotExist) && !isKnown:
		return Found{}, reason(err)
	case !isKnown && repoErr != nil:
		return Found{}, fmt.Errorf("there is no such file or folder, and %w", repoErr)
	}

	file := known.name + ".safetensors"
	if !isKnown {
		known.repo = repo.id
		file = repo.id[strings.Index(repo.id, "/")+1:] // a folder
	}
	found, err = findHere(known, repo.revision, env)
	if by := env.offlineBy(); found.download && by != "" {
		return Found{}, fmt.Errorf("%w, and %s; "+
			"on a connected one, \"mechpatch fetch -o %s %s\" makes a copy to carry over",
			err, by, file, found.name)
	}
	return found, nil
}

// inDir is a path from the working directory on.
func (env Env) inDir(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(env.dir, path)
}

// findInFolder finds the weights in a folder that the user named: under their usual names, in a
// repository's folder of the Hugging Face cache, or the one file there that could be weights.
func findInFolder(folder string) (path string, err error) {
	path, err = weightsIn(folder)
	if errors.Is(err, errNoWeights) {
		path, err = snapshotWeights(folder, "", "")
	}
	if errors.Is(err, errNoWeights) {
		path, err = otherWeightsIn(folder)
	}
	return path, err
}

// weightsIn finds the weights in a folder under one of their usual names.
func weightsIn(folder string) (path string, err error) {
	for _, name := range weightsNames {
		path := filepath.Join(folder, name)
		target, err := filepath.EvalSymlinks(path)
		if _, linkErr := os.Readlink(path); err != nil && linkErr == nil {
			return "", fmt.Errorf("%s is a link that leads nowhere from here: copy the folder "+
				"with cp -aL, or the whole cache", path)
		}
		// A link may lead to a file that the hub's own tools are still fetching.
		if err != nil || !isFile(target) || strings.HasSuffix(target, ".incomplete") {
			continue
		}
		var parts []string
		if err = nil; isIndex(name) {
			_, parts, err = readIndex(path)
		}
		for _, part := range parts {
			if !isFile(filepath.Join(folder, part)) {
				return "", fmt.Errorf("%s: it names %s, which is not there", path, quote(part))
			}
		}
		return path, err
	}
	return "", errNoWeights
}

// findHere looks for a model on this machine: a published one as a file of ours, then any as a
// repository's folder in a cache. The last place is a download, and err then says why.
func findHere(p Published, revision string, env Env) (Found, error) {
	name := cmp.Or(p.name, Repository{p.repo, revision}.String())
	ids, target := []string{p.repo}, ""
	if p.name != "" {
		// Caches of before 2024 know a repository by its name without an organisation.
		ids = append(ids, p.repo[strings.Index(p.repo, "/")+1:])
		target = cacheFile(p.name, env)
		file := p.name + ".safetensors"
		for _, place := range [][2]string{
			{env.inDir(file), "the working directory"},
			{filepath.Join(filepath.Dir(env.exe()), file), "the program's folder"},
			{target, "the program's cache"},
		} {
			if isFile(place[0]) {
				return Found{name: name, path: place[0], how: place[1]}, nil
			}
		}
	}
	why := errors.New("it is not on this machine")
	for _, id := range ids {
		for _, cache := range [][2]string{
			{env.inCache(""), "the program's cache"}, {hubCache(env), "the Hugging Face cache"},
		} {
			path, err := snapshotWeights(filepath.Join(cache[0], hubFolder(id)), revision,
				p.revision)
			if err == nil && cache[0] != "" {
				return Found{name: name, path: path, how: cache[1]}, nil
			}
			if err != errNoWeights && err != nil {
				why = err
			}
		}
	}
	return Found{name: name, path: target, download: true, how: "a download"}, why
}

// inCache is a path in the program's cache, "" where the system has no cache folder.
func (env Env) inCache(name string) string {
	if env.cache == "" {
		return ""
	}
	return filepath.Join(env.cache, "mechpatch", name)
}

func cacheFile(name string, env Env) string { return env.inCache(name + ".safetensors") }

// hubFolder is what a repository's folder is called, in the Hugging Face cache and in ours.
func hubFolder(id string) string { return "models--" + strings.ReplaceAll(id, "/", "--") }

// snapshotWeights finds the weights in a repository's folder of the Hugging Face cache:
//
//	refs/main                            the commit that the branch main stood at
//	snapshots/<commit>/model.safetensors a link to ../../blobs/<sha256>, or a plain file
//	blobs/<sha256>.incomplete            a download that is under way: never taken
//
// Where no revision is asked for, the first of these is taken that has weights: the pinned commit,
// main, and, if nothing says where main stands (files were fetched by their commit), the newest.
// Where main has moved on, the error names the commit that is there.
func snapshotWeights(repo, revision, pinned string) (path string, err error) {
	ref, _ := readBounded(filepath.Join(repo, "refs", cmp.Or(revision, "main")), 256)
	main := strings.TrimSpace(string(ref))
	if !isHex(main) && isCommit(revision) {
		main = revision
	}
	wanted, there := []string{main}, newestSnapshots(repo)
	if revision == "" {
		wanted = []string{pinned, main}
		if !isHex(main) {
			wanted = append(wanted, there...)
		}
	}
	err = errNoWeights
	for i, commit := range slices.Concat(wanted, there) {
		if !isHex(commit) { // and so no ".." leads out of the cache
			continue
		}
		path, why := weightsIn(filepath.Join(repo, "snapshots", commit))
		if why == nil && i < len(wanted) {
			return path, nil
		}
		if why == nil {
			why = fmt.Errorf("%s has commit %s, not %s: @%[2]s behind the name asks for it", repo,
				commit, cmp.Or(revision, main))
		}
		if err == errNoWeights {
			err = why
		}
	}
	return "", err
}

// newestSnapshots are the commits in a repository's folder, the newest first.
func newestSnapshots(repo string) []string {
	var commits []string
	changed := map[string]int64{}
	entries, _ := os.ReadDir(filepath.Join(repo, "snapshots"))
	for _, e := range entries {
		if info, err := e.Info(); err == nil && isHex(e.Name()) {
			commits, changed[e.Name()] = append(commits, e.Name()), info.ModTime().UnixNano()
		}
	}
	slices.SortStableFunc(commits,
		func(a, b string) int { return cmp.Compare(changed[b], changed[a]) })
	return commits
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
	return env.expand(env.setting("HF_HUB_CACHE", env.setting("HUGGINGFACE_HUB_CACHE", home)))
}

func hubHome(env Env) string {
	caches := env.setting("XDG_CACHE_HOME", filepath.Join(env.home, ".cache"))
	return env.expand(env.setting("HF_HOME", filepath.Join(caches, "huggingface")))
}

// expand puts in a path's ~ and variables, from the working directory on. A variable that is not
// set stays as it is.
func (env Env) expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || os.IsPathSeparator(rest[0])) {
		path = env.home + rest
	}
	return env.inDir(os.Expand(path, func(name string) string {
		return env.setting(name, "$"+name)
	}))
}
