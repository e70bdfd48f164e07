package main

// Where a model's weights are: a file or folder of the user's, a cache, the hub.

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
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

type Repository struct {
	id       string // ORGANISATION/NAME
	revision string // a commit, a branch or a tag; "" is the branch main
}

func (r Repository) String() string {
	if r.revision == "" {
		return r.id
	}
	return r.id + "@" + r.revision
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

// Env is what of the program's surroundings decides where weights are looked for.
type Env struct {
	getenv  func(string) string
	dir     string // the working directory
	home    string // the user's home folder
	cache   string // os.UserCacheDir: the folder of all programs' caches
	offline bool   // -offline was given

	exe func() string // the program's own file; "" where the system cannot tell
	// bundled finds the weights inside exe; nil where none are looked for.
	bundled func(exe string) (offset, length int64, ok bool, err error)
}

// systemEnv is the Env of this process. What the system cannot tell stays empty.
func systemEnv(offline bool) Env {
	env := Env{getenv: os.Getenv, dir: ".", exe: ownFile, offline: offline}
	env.home, _ = os.UserHomeDir()
	env.cache, _ = os.UserCacheDir()
	return env
}

// ownFile is this program's file, where links lead; "" where the system cannot tell.
func ownFile() string {
	exe, err := os.Executable()
	if err != nil {
		return ""
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		return real
	}
	return exe
}

// offlineBy says what forbids the network, "" if nothing does. The variables are huggingface_hub's.
func (env Env) offlineBy() string {
	if env.offline {
		return "this run does not use the network" // by -offline, or a command that never does
	}
	for _, name := range []string{"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} {
		if env.isTrue(name) {
			return name + "=" + env.getenv(name) + " forbids the network"
		}
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
	found = findPublished(published[0], env)
	if found.download && env.offlineBy() != "" {
		return circuitFound("built in"), nil
	}
	return found, nil
}

// findAsked is findModel up to 2: the model that was asked for, by word or by choice of the
// program. Where there is none, ok is false, and the run is about gpt2.
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
	exe := env.exe()
	if exe == "" {
		return Found{}, false, nil
	}
	offset, length, ok, err := env.bundled(exe)
	if errors.Is(err, fs.ErrPermission) { // a program may be run by people who may not read it
		err = nil
	}
	if err != nil || !ok {
		return Found{}, false, err
	}
	return Found{path: exe, how: "the program itself", offset: offset, length: length}, true, nil
}

// open opens the weights that were found; heads is openModel's. They stay mapped into memory for as
// long as the program runs.
func (f Found) open(heads int) (*Model, error) {
	m, ck, err := openModel(f.path, f.offset, f.length, heads)
	if err != nil {
		return nil, err
	}
	m.name, m.how = f.name, f.how
	_, known := lookup(published, f.name)
	if known && f.how != "-model" && f.how != "$MECHPATCH_MODEL" { // not a path that the user named
		m.tokenizer = gpt2
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

func findNamed(spec, origin string, env Env) (Found, error) {
	if spec == "circuit" {
		return circuitFound(origin), nil
	}

	path := filepath.Clean(spec)
	if !filepath.IsAbs(path) {
		path = filepath.Join(env.dir, path)
	}
	known, isKnown := lookup(published, spec)
	repo, repoErr := parseRepository(spec)
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		found, err := findInFolder(path)
		if isKnown && errors.Is(err, errNoWeights) {
			break // a folder that only happens to bear a model's name
		}
		found.how = origin
		return found, err
	case err == nil:
		return Found{name: nameOf(path), path: path, how: origin}, nil
	case !errors.Is(err, fs.ErrNotExist) && !isKnown:
		return Found{}, reason(err)
	case !isKnown && repoErr != nil:
		return Found{}, fmt.Errorf("there is no such file or folder, and %w", repoErr)
	}

	var found Found
	if isKnown {
		found = findPublished(known, env)
	} else {
		found = findRepository(repo, env)
	}
	if by := env.offlineBy(); found.download && by != "" {
		file := found.name + ".safetensors"
		if !isKnown {
			file = repo.id[strings.Index(repo.id, "/")+1:] // a folder
		}
		return Found{}, fmt.Errorf("it is not on this machine, and %s; "+
			"on a connected one, \"mechpatch fetch -o %s %s\" makes a copy to carry over",
			by, file, found.name)
	}
	return found, nil
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

var (
	// repositoryID is the hub's rule for ORGANISATION/NAME, each of at most 96 characters.
	repositoryID = lazyRegexp(`^[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}$`)
	// revisionName is git's rule for names, as far as it keeps one inside its folder of the cache.
	revisionName = lazyRegexp(`^[^\x00-\x20\x7f~^:?*\[\\]+$`)
	// fileNames are what nobody calls a repository.
	fileNames = lazyRegexp(`\.(safetensors|bin|pth?|ckpt|json|gguf|h5|git)$`)
)

// parseRepository reads ORGANISATION/NAME[@REVISION], or the name of a published model with
// @REVISION.
func parseRepository(spec string) (Repository, error) {
	id, revision, hasRevision := strings.Cut(spec, "@")
	if p, ok := lookup(published, id); ok {
		id = p.repo
	}
	switch {
	case spec == "circuit":
		return Repository{}, errors.New("it is built into the program")
	case !repositoryID().MatchString(id) || fileNames().MatchString(id) ||
		strings.Contains(id, "--") || strings.Contains(id, ".."):
		known := ""
		for _, p := range published {
			known += p.name + ", "
		}
		return Repository{}, fmt.Errorf("no model of that name: known are %s"+
			"and ORGANISATION/NAME on the hub", known)
	case hasRevision && (!revisionName().MatchString(revision) || len(revision) > 200 ||
		strings.Contains(revision, "..") || strings.Contains("/"+revision+"/", "//")):
		return Repository{}, fmt.Errorf("%s is not a revision", quote(revision))
	}
	return Repository{id, revision}, nil
}

// findInFolder finds the weights in a folder that the user named: under their usual names, in a
// repository's folder of the Hugging Face cache, or the one file there that could be weights.
func findInFolder(folder string) (Found, error) {
	path, err := weightsIn(folder)
	if errors.Is(err, errNoWeights) {
		if snapshot, ok := snapshotWeights(folder, "", ""); ok {
			path, err = snapshot, nil
		} else {
			path, err = otherWeightsIn(folder)
		}
	}
	if err != nil {
		return Found{}, err
	}
	return Found{name: nameOf(path), path: path}, nil
}

// weightsIn finds the weights in a folder under one of their usual names.
func weightsIn(folder string) (path string, err error) {
	for _, name := range weightsNames {
		path := filepath.Join(folder, name)
		if !isWhole(path) {
			continue
		}
		if isIndex(name) {
			if err := checkParts(path); err != nil {
				return "", err
			}
		}
		return path, nil
	}
	return "", errNoWeights
}

// checkParts makes sure that all files that an index names lie beside it.
func checkParts(index string) error {
	_, parts, err := readIndex(index)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if !isWhole(filepath.Join(filepath.Dir(index), part)) {
			return fmt.Errorf("%s: it names %s, which is not there", index, quote(part))
		}
	}
	return nil
}

// isWhole tells whether path is a file, and not a link to one that the hub's own tools are still
// fetching.
func isWhole(path string) bool {
	target, err := filepath.EvalSymlinks(path)
	return err == nil && isFile(target) && !strings.HasSuffix(target, ".incomplete")
}

// findPublished looks for a published model on this machine; the last place is a download.
func findPublished(p Published, env Env) Found {
	for _, place := range places(p.name, env) {
		if isFile(place.path) {
			return Found{name: p.name, path: place.path, how: place.how}
		}
	}
	// Caches of before 2024 know a repository by its name without an organisation.
	for _, id := range []string{p.repo, p.repo[strings.Index(p.repo, "/")+1:]} {
		if found, ok := findInCaches(Repository{id: id}, p.revision, env); ok {
			found.name = p.name
			return found
		}
	}
	return Found{name: p.name, path: cacheFile(p.name, env), download: true, how: "a download"}
}

// findRepository looks for a model of the hub on this machine; the last place is a download.
func findRepository(r Repository, env Env) Found {
	if found, ok := findInCaches(r, "", env); ok {
		return found
	}
	return Found{name: r.String(), download: true, how: "a download"}
}

type place struct{ path, how string }

// places lists the files of our own, the first one first.
func places(name string, env Env) []place {
	file := name + ".safetensors"
	list := []place{{filepath.Join(env.dir, file), "the working directory"}}
	if exe := env.exe(); exe != "" {
		beside := filepath.Join(filepath.Dir(exe), file)
		list = append(list, place{beside, "the program's folder"})
	}
	if cached := cacheFile(name, env); cached != "" {
		list = append(list, place{cached, "the program's cache"})
	}
	return list
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

func findInCaches(r Repository, pinned string, env Env) (found Found, ok bool) {
	for _, cache := range []place{
		{env.inCache(""), "the program's cache"}, {hubCache(env), "the Hugging Face cache"},
	} {
		if cache.path == "" {
			continue
		}
		folder := filepath.Join(cache.path, hubFolder(r.id))
		if path, ok := snapshotWeights(folder, r.revision, pinned); ok {
			return Found{name: r.String(), path: path, how: cache.how}, true
		}
	}
	return Found{}, false
}

// snapshotWeights finds the weights in a repository's folder of the Hugging Face cache:
//
//	refs/main                            the commit that the branch main stood at
//	snapshots/<commit>/model.safetensors a link to ../../blobs/<sha256>, or a plain file
//	blobs/<sha256>.incomplete            a download that is under way: never taken
//
// Where no revision is asked for, the first of these is taken that has weights: the pinned commit,
// main, and, if nothing says where main stands (files were fetched by their commit), the newest.
func snapshotWeights(repo, revision, pinned string) (path string, ok bool) {
	commits := []string{commitOf(repo, cmp.Or(revision, "main"))}
	if revision == "" {
		if commits[0] == "" {
			commits = newestSnapshots(repo)
		}
		commits = append([]string{pinned}, commits...)
	}
	for _, commit := range commits {
		if !isHex(commit) { // and so no ".." leads out of the cache
			continue
		}
		if path, err := weightsIn(filepath.Join(repo, "snapshots", commit)); err == nil {
			return path, true
		}
	}
	return "", false
}

// commitOf is the commit that a revision stands for in a repository's folder, "" where nothing
// tells.
func commitOf(repo, revision string) string {
	ref, err := readBounded(filepath.Join(repo, "refs", filepath.FromSlash(revision)), 256)
	if commit := strings.TrimSpace(string(ref)); err == nil && isHex(commit) {
		return commit
	}
	if isCommit(revision) {
		return revision
	}
	return ""
}

func newestSnapshots(repo string) []string {
	entries, _ := os.ReadDir(filepath.Join(repo, "snapshots"))
	changed := func(e fs.DirEntry) int64 {
		info, err := e.Info()
		if err != nil {
			return 0
		}
		return info.ModTime().UnixNano()
	}
	slices.SortStableFunc(entries,
		func(a, b fs.DirEntry) int { return cmp.Compare(changed(b), changed(a)) })
	var commits []string
	for _, e := range entries {
		commits = append(commits, e.Name())
	}
	return commits
}

// isCommit tells whether s is a commit of git, in full.
func isCommit(s string) bool { return len(s) == 40 && isHex(s) }

// isHex tells whether s is a hexadecimal number, such as a commit or a SHA-256.
func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// hubCache is the folder of the Hugging Face cache, by the rules of huggingface_hub; "" for none.
func hubCache(env Env) string {
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"} { // the old name, too
		if value := env.getenv(name); value != "" {
			return env.expand(value)
		}
	}
	if home := hubHome(env); home != "" {
		return filepath.Join(home, "hub")
	}
	return ""
}

func hubHome(env Env) string {
	switch home, caches := env.getenv("HF_HOME"), env.getenv("XDG_CACHE_HOME"); {
	case home != "":
		return env.expand(home)
	case caches != "":
		return env.expand(filepath.Join(caches, "huggingface"))
	case env.home != "":
		return filepath.Join(env.home, ".cache", "huggingface")
	}
	return ""
}

// variable is a variable in a path, as Python's expandvars knows it.
var variable = lazyRegexp(`\$(\w+|\{[^}]*\})`)

// expand puts in a path's ~, ~user and variables as Python's expanduser and expandvars do: what is
// not known is left as it stands.
func (env Env) expand(path string) string {
	if strings.HasPrefix(path, "~") {
		name := path[1:]
		if i := strings.IndexAny(name, `/`+string(filepath.Separator)); i >= 0 {
			name = name[:i]
		}
		home := env.home
		if name != "" {
			home = ""
			if u, err := user.Lookup(name); err == nil {
				home = u.HomeDir
			}
		}
		if home != "" {
			path = home + path[1+len(name):]
		}
	}
	return variable().ReplaceAllStringFunc(path, func(s string) string {
		return cmp.Or(env.getenv(strings.Trim(s, "${}")), s)
	})
}
