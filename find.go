package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Published is a GPT-2 that can be asked for by name, as it stands on the Hugging Face hub. Where
// revision, size and sum are set, exactly that file is fetched; where they are not, the hub's
// main revision is, against the size and the sum that the hub announces.
type Published struct {
	name     string
	repo     string
	revision string // commit of the repository
	size     int64  // of model.safetensors, in bytes
	sum      string // its SHA-256, in hexadecimal
}

var published = []Published{
	{
		name: "gpt2", repo: "openai-community/gpt2",
		revision: "607a30d783dfa663caf39e06633721c8d4cfcd7e", size: 548105171,
		sum: "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
	},
	{name: "gpt2-medium", repo: "openai-community/gpt2-medium"},
	{name: "gpt2-large", repo: "openai-community/gpt2-large"},
	{name: "gpt2-xl", repo: "openai-community/gpt2-xl"},
	{name: "distilgpt2", repo: "distilbert/distilgpt2"},
}

// weightsFile is what a checkpoint is called inside a folder or a repository.
const weightsFile = "model.safetensors"

// Found says where the weights of a run are.
type Found struct {
	name   string // "gpt2": what the run and the picture call the model; "" for a bundle, whose weights bear their name inside
	path   string // the safetensors file; for a bundle, the program itself; for a download, where the file will be kept
	offset int64  // a bundle's weights are the length bytes of path from offset on;
	length int64  // 0 is the whole file
	how    string // one phrase for the run's note: "the Hugging Face cache"

	circuit  bool // the built-in model: no file at all
	download bool // name has to be fetched first
	named    bool // the user asked for this model: nothing else may stand in for it
}

// Env is what of the program's surroundings decides where weights are looked for. Tests fill it
// with folders of their own.
type Env struct {
	getenv  func(string) string
	dir     string // the working directory
	exe     string // the program's own file
	home    string // the user's home folder
	cache   string // os.UserCacheDir: the folder of all programs' caches
	offline bool   // -offline was given

	bundled func(exe string) (offset, length int64, ok bool, err error) // the weights inside exe; nil: none
}

// systemEnv is the Env of this process. What the system cannot tell stays empty and is not looked
// at.
func systemEnv(offline bool) Env {
	env := Env{getenv: os.Getenv, dir: ".", offline: offline}
	env.home, _ = os.UserHomeDir()
	env.cache, _ = os.UserCacheDir()
	if exe, err := os.Executable(); err == nil {
		env.exe = exe
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			env.exe = real
		}
	}
	return env
}

// offlineBy names what forbids the network, "" if nothing does. The variables and the values that
// count as true are huggingface_hub's.
func (env Env) offlineBy() string {
	if env.offline {
		return "-offline"
	}
	for _, name := range []string{"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} {
		value := env.getenv(name)
		switch strings.ToUpper(value) {
		case "1", "ON", "YES", "TRUE":
			return name + "=" + value
		}
	}
	return ""
}

// findModel decides which model a run uses. spec is the value of -model, "" where it was not
// given. The first hit wins:
//
//  1. -model, else $MECHPATCH_MODEL: a file, a folder that holds model.safetensors, or the name of a published model or of the circuit;
//  2. weights bundled into the program;
//  3. NAME.safetensors in the working directory, then beside the program;
//  4. the program's own cache, where a download is kept;
//  5. the Hugging Face cache;
//  6. a download, unless the network is forbidden;
//  7. the circuit.
//
// A published model that was asked for by name goes through 3 to 6; without any name the run is
// about gpt2. A file or folder of the working directory comes before a published model of the
// same name, but "circuit" is always the built-in one ("./circuit" is a file). Nothing but
// config.json is opened: whether the weights are sound is seen when they are read.
func findModel(spec string, env Env) (Found, error) {
	origin := "-model"
	if spec == "" {
		spec, origin = env.getenv("MECHPATCH_MODEL"), "$MECHPATCH_MODEL"
	}
	if spec != "" {
		found, err := findNamed(spec, origin, env)
		if err != nil {
			return Found{}, fmt.Errorf("%s %s: %w", origin, spec, err)
		}
		found.named = true
		return found, nil
	}

	if env.exe != "" && env.bundled != nil {
		offset, length, ok, err := env.bundled(env.exe)
		if err != nil && !errors.Is(err, fs.ErrPermission) { // a program may be run by people who may not read it
			return Found{}, err
		}
		if ok {
			return Found{path: env.exe, offset: offset, length: length, how: "the program itself"}, nil
		}
	}

	found, err := findPublished(published[0], env)
	switch {
	case err != nil:
		return Found{}, err
	case found.download && env.offlineBy() != "":
		return circuitFound("built in"), nil
	}
	return found, nil
}

// open opens the weights that were found; heads is the number of attention heads if the user says
// it, or else 0. They stay mapped into memory for as long as the program runs.
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
		m.prepareAhead(populate)
	}
	return m, nil
}

// circuitFound is the built-in model.
func circuitFound(how string) Found { return Found{name: "circuit", circuit: true, how: how} }

// findNamed finds the model that the user asked for.
func findNamed(spec, origin string, env Env) (Found, error) {
	if spec == "circuit" {
		return circuitFound(origin), nil
	}

	path := filepath.Clean(spec)
	if !filepath.IsAbs(path) {
		path = filepath.Join(env.dir, path)
	}
	known, isKnown := lookup(published, spec)
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		found, err := findInFolder(path)
		if isKnown && err == errNoWeights {
			break // a folder that only happens to bear a model's name
		}
		found.how = origin
		return found, err
	case err == nil:
		return Found{name: nameOf(path), path: path, how: origin}, nil
	case !errors.Is(err, fs.ErrNotExist) && !isKnown:
		return Found{}, reason(err)
	}

	if !isKnown {
		return Found{}, fmt.Errorf("there is no such file or folder, and no model of that name: known are %s, circuit", names(published))
	}
	found, err := findPublished(known, env)
	if err != nil {
		return Found{}, err
	}
	if by := env.offlineBy(); found.download && by != "" {
		var folders []string
		for _, place := range places(known.name, env) {
			folders = append(folders, filepath.Dir(place.path))
		}
		return Found{}, fmt.Errorf("not in %s or the Hugging Face cache, and %s forbids to fetch it; on a connected machine, \"mechpatch fetch -o %s.safetensors %s\" makes a file to carry over",
			strings.Join(folders, ", "), by, known.name, known.name)
	}
	return found, nil
}

// lookup finds a published model by its name or its repository.
func lookup(table []Published, name string) (Published, bool) {
	for _, p := range table {
		if p.name == name || p.repo == name {
			return p, true
		}
	}
	return Published{}, false
}

// names lists a table's models for a message.
func names(table []Published) string {
	var list []string
	for _, p := range table {
		list = append(list, p.name)
	}
	return strings.Join(list, ", ")
}

// findInFolder finds the weights in a folder that the user named: under their usual names, in a
// repository's folder of the Hugging Face cache, or the one file there that could be weights. The
// error says what the folder holds instead if that is a model too, and is errNoWeights if not.
func findInFolder(folder string) (Found, error) {
	path, err := weightsIn(folder)
	return Found{name: nameOf(path), path: path}, err
}

func weightsIn(folder string) (string, error) {
	for _, name := range []string{weightsFile, weightsFile + ".index.json",
		"pytorch_model.bin", "pytorch_model.bin.index.json"} {
		if path := filepath.Join(folder, name); isFile(path) {
			return path, nil
		}
	}
	if snapshot, ok := currentSnapshot(folder); ok {
		return filepath.Join(snapshot, weightsFile), nil
	}
	return otherWeightsIn(folder)
}

// findPublished looks for a published model on this machine; the last place is a download.
func findPublished(p Published, env Env) (Found, error) {
	for _, place := range places(p.name, env) {
		if isFile(place.path) {
			return Found{name: p.name, path: place.path, how: place.how}, nil
		}
	}
	if hub := hubCache(env); hub != "" {
		// Caches of before 2024 know a repository by its name without an organisation.
		for _, repo := range []string{p.repo, p.repo[strings.Index(p.repo, "/")+1:]} {
			snapshot, ok := currentSnapshot(filepath.Join(hub, "models--"+strings.ReplaceAll(repo, "/", "--")))
			if !ok {
				continue
			}
			path := filepath.Join(snapshot, weightsFile)
			return Found{name: p.name, path: path, how: "the Hugging Face cache"}, nil
		}
	}
	return Found{name: p.name, path: cacheFile(p.name, env), download: true, how: "a download"}, nil
}

// place is a file in which a model's weights may be.
type place struct{ path, how string }

// places lists the places of our own, the first one first.
func places(name string, env Env) []place {
	file := name + ".safetensors"
	list := []place{{filepath.Join(env.dir, file), "the working directory"}}
	if env.exe != "" {
		list = append(list, place{filepath.Join(filepath.Dir(env.exe), file), "the program's folder"})
	}
	if cached := cacheFile(name, env); cached != "" {
		list = append(list, place{cached, "the program's cache"})
	}
	return list
}

// cacheFile is where the download of a published model is kept, "" where the system has no cache
// folder.
func cacheFile(name string, env Env) string {
	if env.cache == "" {
		return ""
	}
	return filepath.Join(env.cache, "mechpatch", name+".safetensors")
}

// hubCache is the folder of the Hugging Face cache, by the rules of huggingface_hub: the
// variables in this order, each with ~ and variables of its own expanded. "" where there is no
// home folder either.
func hubCache(env Env) string {
	expand := func(path string) string {
		if path == "~" || strings.HasPrefix(path, "~/") || strings.HasPrefix(path, `~\`) {
			path = env.home + path[1:]
		}
		return os.Expand(path, env.getenv)
	}
	for _, place := range []struct{ variable, below string }{
		{"HF_HUB_CACHE", ""},
		{"HUGGINGFACE_HUB_CACHE", ""}, // its name until 2023
		{"HF_HOME", "hub"},
		{"XDG_CACHE_HOME", "huggingface/hub"},
	} {
		if value := env.getenv(place.variable); value != "" {
			return filepath.Join(expand(value), filepath.FromSlash(place.below))
		}
	}
	if env.home == "" {
		return ""
	}
	return filepath.Join(env.home, ".cache", "huggingface", "hub")
}

// currentSnapshot finds, in a repository's folder of the Hugging Face cache, the snapshot that
// the branch main stands at:
//
//	refs/main                            the commit
//	snapshots/<commit>/model.safetensors a link to ../../blobs/<sha256>, or a plain file where the system has no links
//	blobs/<sha256>.incomplete            a download that is under way: never taken
//
// ok is false where any part is missing, as it is while the hub's own tools are still fetching.
func currentSnapshot(repo string) (folder string, ok bool) {
	ref, err := readBounded(filepath.Join(repo, "refs", "main"), 256)
	if err != nil {
		return "", false
	}
	commit := strings.TrimSpace(string(ref))
	if !isHex(commit) {
		return "", false // and so no ".." leads out of the cache
	}
	folder = filepath.Join(repo, "snapshots", commit)
	path := filepath.Join(folder, weightsFile)
	target, err := filepath.EvalSymlinks(path)
	if !isFile(path) || err == nil && strings.HasSuffix(target, ".incomplete") {
		return "", false
	}
	return folder, true
}

// isHex tells whether s is a hexadecimal number, such as a commit or a SHA-256.
func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}
