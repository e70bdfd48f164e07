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
	const name = `(\w[\w.-]*)`
	page := regexp.MustCompile(`^\w+://[^/]+/` + name + "/" + name).FindStringSubmatch(spec)
	// The length is no part of the patterns, which it would make a hundred times as large.
	isLong := func(part string) bool { return len(part) > 96 }
	fits := func(text, pattern string) bool {
		ok, _ := regexp.MatchString("^"+pattern+"$", text)
		return ok && !slices.ContainsFunc(strings.Split(text, "/"), isLong)
	}
	const files = " .safetensors .bin .pt .pth .ckpt .json .gguf .h5 .git "
	switch {
	case spec == "circuit":
		fail("it is built into the program")
	case page != nil:
		fail("it is a page: the model's name is %s/%s", page[1], page[2])
	case !fits(id, name+"/"+name) || strings.Contains(id, "..") || strings.Contains(id, "--") ||
		strings.Contains(files, " "+path.Ext(id)+" "):
		fail("no model of that name: known are %sand ORGANISATION/NAME on the hub", known)
	case hasRevision && (!fits(revision, `\w[\w.+@-]*(/\w[\w.+@-]*)*`) ||
		strings.Contains(revision, "..")):
		fail("%s is not a revision", quote(revision))
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

// ownFile is the program's own file, where links lead; "" if the system cannot tell.
var ownFile = func() string {
	exe, _ := os.Executable()
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	return exe
}

// cacheFolder is the program's folder among the user's caches; "" if the system names none.
func cacheFolder() string {
	caches, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(caches, "mechpatch")
}

// variable is an environment variable's value, or what else counts where it is not set. A path that
// is set to nothing is for huggingface_hub that of the working directory.
func variable(name, otherwise string) string {
	if value, set := os.LookupEnv(name); set {
		return value
	}
	return otherwise
}

// isTrue tells whether a variable has one of the values that count as true for huggingface_hub.
func isTrue(name string) bool {
	return slices.Contains([]string{"1", "ON", "YES", "TRUE"}, strings.ToUpper(os.Getenv(name)))
}

// offlineBy says what forbids the network, "" if nothing does; offline is the user's -offline, or a
// command that never uses it. The variables are huggingface_hub's: the second counts where the
// first says nothing.
func offlineBy(offline bool) string {
	name := "HF_HUB_OFFLINE"
	if os.Getenv(name) == "" {
		name = "TRANSFORMERS_OFFLINE"
	}
	switch {
	case offline:
		return "this run does not use the network"
	case isTrue(name):
		return name + "=" + os.Getenv(name) + " forbids the network"
	}
	return ""
}

// A bundleIn finds the weights inside the program's own file; nil is a program that carries none.
type bundleIn func(exe string) (offset, length int64, err error)

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
func findModel(spec string, offline bool, bundled bundleIn) (found Found, err error) {
	origin := "-model"
	if spec == "" {
		spec, origin = os.Getenv("MECHPATCH_MODEL"), "$MECHPATCH_MODEL"
	}
	switch {
	case spec != "":
		if found, err = findNamed(spec, origin, offline); err != nil {
			return Found{}, fmt.Errorf("%s %s: %w", origin, spec, err)
		}
		found.named = true
	case bundled != nil:
		found = Found{path: ownFile(), how: "the program itself"}
		if found.offset, found.length, err = bundled(found.path); err != nil {
			return Found{}, fmt.Errorf("reading the weights that this program carries: %w; "+
				"-model names others", err)
		}
	default:
		found, _ = findHere(published[0])
		if found.download && offlineBy(offline) != "" {
			found = circuitFound("built in")
		}
	}
	return found, nil
}

func circuitFound(how string) Found { return Found{name: "circuit", circuit: true, how: how} }

// findNamed finds a model that was asked for; origin is what asked. A folder's weights have their
// usual names, or lie as in the Hugging Face cache, or are the one file there that could be some.
func findNamed(spec, origin string, offline bool) (found Found, err error) {
	defer catchFault(&err)
	if spec == "circuit" {
		return circuitFound(origin), nil
	}
	path := filepath.Clean(spec)
	repo, hubErr := parseRepository(spec)
	info, err := os.Stat(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if folder := path; err == nil && info.IsDir() {
		if path = weightsIn(folder); path == "" {
			path = snapshotWeights(folder, Repository{})
		}
		if path == "" {
			path, err = otherWeightsIn(folder)
		}
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
	found, why := findHere(repo)
	if by := offlineBy(offline); found.download && by != "" {
		_, out, _ := strings.Cut(repo.id, "/") // a folder
		if repo.name != "" {
			out = repo.name + ".safetensors"
		}
		fail("%w, and %s; on a connected one, \"mechpatch fetch -o %s %s\" makes a copy to carry "+
			"over", why, by, out, repo)
	}
	return found, nil
}

// findHere looks for a model on this machine: a published one as a file, then any as a repository's
// folder in a cache. Where there is none, it has to be downloaded, and err says why.
func findHere(repo Repository) (found Found, err error) {
	type place struct{ folder, name, how string }
	var places []place
	ours, ids := cacheFolder(), []string{repo.id}
	if repo.name != "" {
		file := repo.name + ".safetensors"
		places = []place{
			{".", file, "the working directory"},
			{filepath.Dir(ownFile()), file, "the program's folder"},
			{ours, file, ourCache},
		}
		ids = append(ids, path.Base(repo.id)) // as caches of before 2024 have it
	}
	for _, id := range ids {
		places = append(places, place{ours, hubFolder(id), ourCache},
			place{hubCache(), hubFolder(id), "the Hugging Face cache"})
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
	blob, _ := os.Readlink(f.path)
	if sum := filepath.Base(cmp.Or(blob, f.path)); len(sum) == 64 && isHex(sum) {
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
				require(isFile(filepath.Join(folder, part)), "%s: it names %s, which is not there",
					path, quote(part))
			}
		}
		return path
	}
	return ""
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
	slices.SortStableFunc(entries, func(a, b fs.DirEntry) int {
		one, err := a.Info()
		other, otherErr := b.Info()
		if err != nil || otherErr != nil {
			return 0
		}
		return other.ModTime().Compare(one.ModTime())
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
func hubCache() string {
	home := filepath.Join(hubHome(), "hub")
	return expand(variable("HF_HUB_CACHE", variable("HUGGINGFACE_HUB_CACHE", home)))
}

func hubHome() string {
	caches := variable("XDG_CACHE_HOME", filepath.Join(userHome(), ".cache"))
	return expand(variable("HF_HOME", filepath.Join(caches, "huggingface")))
}

// userHome is the user's home folder; "" if the system names none.
func userHome() string {
	home, _ := os.UserHomeDir()
	return home
}

// expand puts in a path's ~ and variables. A variable that is not set stays as it is.
func expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || os.IsPathSeparator(rest[0])) {
		path = userHome() + rest
	}
	orItself := func(name string) string { return variable(name, "$"+name) }
	return filepath.Clean(os.Expand(path, orItself))
}
