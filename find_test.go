package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

const (
	commit  = "607a30d783dfa663caf39e06633721c8d4cfcd7e" // the pinned one of gpt2
	another = "1111111111111111111111111111111111111111"
	third   = "2222222222222222222222222222222222222222"
)

// snapshot is a repository in the Hugging Face cache as it is on a system with symbolic links.
func snapshot(repo string) map[string]string {
	at := repo + "/snapshots/" + commit
	return map[string]string{
		repo + "/refs/main":       commit,
		repo + "/blobs/248dfc":    "weights",
		at + "/model.safetensors": "-> ../../blobs/248dfc",
	}
}

// with adds files to others; "" as the content takes one away.
func with(files map[string]string, more ...string) map[string]string {
	for i := 0; i < len(more); i += 2 {
		files[more[i]] = more[i+1]
		if more[i+1] == "" {
			delete(files, more[i])
		}
	}
	return files
}

// ones are files of no importance.
func ones(paths ...string) map[string]string {
	files := map[string]string{}
	for _, path := range paths {
		files[path] = "1"
	}
	return files
}

// plain are snapshots of plain files, as on Windows, at these commits.
func plain(repo string, commits ...string) map[string]string {
	files := map[string]string{}
	for _, c := range commits {
		files[repo+"/snapshots/"+c+"/model.safetensors"] = "weights"
	}
	return files
}

// shown is what was found, in words, with its path below root.
func (f Found) shown(root string) string {
	path, _ := filepath.Rel(root, f.path)
	path = filepath.ToSlash(path)
	switch {
	case f.circuit:
		return "circuit, " + f.how
	case f.download:
		return "download of " + f.name
	case f.length > 0:
		return fmt.Sprintf("bytes %d+%d of %s, %s", f.offset, f.length, path, f.how)
	}
	return fmt.Sprintf("%s in %s, %s", f.name, path, f.how)
}

// findCase is a search among files below a root that has the folders work (the working directory),
// bin (the program's), home and cache. In spec and the variables, ROOT is the root.
type findCase struct {
	spec      string
	variables string // NAME=VALUE, with blanks between
	files     map[string]string
	offline   bool
	want      string // what is found, as shown, or "error: …", a part of the error
}

func (c findCase) run(t *testing.T, bundled func(string) (int64, int64, bool, error)) {
	root := t.TempDir()
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	inRoot := func(s string) string { return strings.ReplaceAll(s, "ROOT", root) }
	variables := map[string]string{}
	for _, v := range strings.Fields(inRoot(c.variables)) {
		name, value, _ := strings.Cut(v, "=")
		variables[name] = value
	}
	env := Env{
		offline: c.offline,
		lookup: func(name string) (string, bool) {
			value, set := variables[name]
			return value, set
		},
		dir:  filepath.Join(root, "work"),
		exe:  filepath.Join(root, "bin", "mechpatch"),
		home: filepath.Join(root, "home"), cache: filepath.Join(root, "cache", "mechpatch"),
		bundled: bundled,
	}
	put(t, root, c.files)
	// The file system's clock may stand still between two snapshots.
	hub := filepath.Join(root, "home", ".cache", "huggingface", "hub")
	folders, _ := filepath.Glob(filepath.Join(hub, "*", "snapshots", "*"))
	for i, folder := range folders {
		os.Chtimes(folder, time.Time{}, time.Unix(int64(1e9+i), 0))
	}

	found, err := findModel(inRoot(c.spec), env)
	if part, ok := strings.CutPrefix(c.want, "error: "); ok {
		if !says(err, part) || found != (Found{}) {
			t.Errorf("%+v, %v\nwant … %s …", found, err, part)
		}
		return
	}
	if got := found.shown(root); err != nil || got != c.want {
		t.Errorf("%s, %v\nwant %s", got, err, c.want)
	}
	if named := c.spec != "" || variables["MECHPATCH_MODEL"] != ""; found.named != named {
		t.Errorf("named is %v", found.named)
	}
}

func TestFindModel(t *testing.T) {
	const (
		hub        = "home/.cache/huggingface/hub/"
		gpt2Repo   = hub + "models--openai-community--gpt2"
		inSnapshot = "/snapshots/" + commit + "/model.safetensors"
		download   = "download of gpt2"
		repo       = hub + "models--o--r"
		circuit    = "circuit, built in"
		cached     = "cache/mechpatch/gpt2.safetensors"
	)
	inCache := func(name, path string) string {
		return name + " in " + path + ", the Hugging Face cache"
	}
	inHub := inCache("gpt2", gpt2Repo+inSnapshot)
	all := with(snapshot(gpt2Repo), "work/gpt2.safetensors", "1", "bin/gpt2.safetensors", "2",
		cached, "3")
	hubWith := func(more ...string) map[string]string { return with(snapshot(gpt2Repo), more...) }
	without := func(names ...string) map[string]string {
		files := maps.Clone(all)
		for _, name := range names {
			delete(files, name)
		}
		return files
	}
	stripped := map[string]string{repo + "/refs/main": commit,
		repo + "/blobs/cc4a":                           "-> ../../blobs/63/63d2",
		repo + inSnapshot:                              "-> ../../blobs/cc4a",
		repo + "/snapshots/" + commit + "/config.json": "{}"}
	const dangling = "error: " + commit + "/model.safetensors is a link that leads nowhere from " +
		"here: copy the folder with cp -aL, or the whole cache"
	for name, c := range map[string]findCase{
		"nothing anywhere": {want: download},
		"offline":          {offline: true, want: circuit},
		"HF_HUB_OFFLINE":   {variables: "HF_HUB_OFFLINE=yes", want: circuit},
		"HF_HUB_OFFLINE=0": {variables: "HF_HUB_OFFLINE=0 TRANSFORMERS_OFFLINE=1", want: download},
		"the other one":    {variables: "HF_HUB_OFFLINE= TRANSFORMERS_OFFLINE=1", want: circuit},
		"all of the places": {files: all,
			want: "gpt2 in work/gpt2.safetensors, the working directory"},
		"all but the working directory": {
			files: with(without("work/gpt2.safetensors"), "work/gpt2.safetensors/a-folder", "x"),
			want:  "gpt2 in bin/gpt2.safetensors, the program's folder"},
		"both caches": {files: without("work/gpt2.safetensors", "bin/gpt2.safetensors"),
			want: "gpt2 in " + cached + ", the program's cache"},
		"a download that is under way": {files: hubWith(cached+".248dfc3911869ec4.partial", "3"),
			want: inHub},
		"an old tool's cache": {files: snapshot(hub + "models--gpt2"),
			want: inCache("gpt2", hub+"models--gpt2"+inSnapshot)},

		// The Hugging Face cache.
		"plain files": {files: with(plain(gpt2Repo, commit), gpt2Repo+"/refs/main", commit+"\n"),
			want: inHub},
		"no refs: the pinned commit": {files: plain(gpt2Repo, another, commit, third),
			want: inHub},
		"main is elsewhere, and not there: the pinned commit": {
			files: hubWith(gpt2Repo+"/refs/main", another), want: inHub},
		"no refs: the newest that has weights": {spec: "o/r",
			files: with(plain(repo, commit, another),
				repo+"/snapshots/"+third+"/config.json", "{}"),
			want: inCache("o/r", repo+inSnapshot)},
		"main without weights is not what another commit has": {spec: "o/r",
			files: with(plain(repo, commit), repo+"/refs/main", another),
			want:  "download of o/r"},
		"a blob under way": {offline: true, want: circuit,
			files: hubWith(gpt2Repo+"/blobs/248dfc", "", gpt2Repo+"/blobs/248dfc.incomplete", "x")},
		"a link to a blob under way": {offline: true, want: circuit,
			files: hubWith(gpt2Repo+"/blobs/248dfc.incomplete", "x",
				gpt2Repo+inSnapshot, "-> ../../blobs/248dfc.incomplete")},
		"main has moved on past what is there": {spec: "o/r", offline: true,
			files: with(plain(repo, another), repo+"/refs/main", third),
			want: "error: models--o--r has commit " + another + ", not " + third + ": @" + another +
				" behind the name asks for it, and this run does not use the network; "},
		"a revision that is not there": {spec: "o/r@v2", offline: true,
			files: plain(repo, another), want: "error: has commit " + another + ", not v2: @"},
		"a folder of a cache, without its store": {spec: "o/r", offline: true,
			files: stripped, want: dangling},
		"the same, by its path":   {spec: "ROOT/" + repo, files: stripped, want: dangling},
		"the same, to be fetched": {spec: "o/r", files: stripped, want: "download of o/r"},
		"no weights": {offline: true, want: circuit,
			files: hubWith(gpt2Repo+inSnapshot, "")},
		"a main that leads out of the cache": {spec: "o/r", want: "download of o/r",
			files: map[string]string{repo + "/refs/main": "../../../../../../elsewhere",
				"elsewhere/model.safetensors": "x"}},
		"a main that is endless": {spec: "o/r", want: "download of o/r",
			files: map[string]string{
				repo + "/refs/main": commit + strings.Repeat(" ", 1000)}},
		"an index without a part": {spec: "o/r", want: "download of o/r",
			files: with(plain(repo), repo+"/snapshots/"+commit+
				"/model.safetensors.index.json", `{"weight_map": {"wte": "a.safetensors"}}`)},
		"an index with its part": {spec: "o/r",
			files: map[string]string{
				repo + "/snapshots/" + commit + "/a.bin": "1",
				repo + "/snapshots/" + commit +
					"/pytorch_model.bin.index.json": `{"weight_map": {"wte": "a.bin"}}`},
			want: inCache("o/r", repo+"/snapshots/"+commit+"/pytorch_model.bin.index.json")},

		// Where that cache is.
		"HF_HUB_CACHE before HF_HOME": {variables: "HF_HUB_CACHE=ROOT/a HF_HOME=ROOT/b",
			files: with(plain("a/models--gpt2", commit), "b/hub/models--gpt2"+inSnapshot, "x"),
			want:  inCache("gpt2", "a/models--gpt2"+inSnapshot)},
		"HF_HOME with a ~": {variables: "HF_HOME=~/b XDG_CACHE_HOME=ROOT/c",
			files: plain("home/b/hub/models--gpt2", commit),
			want:  inCache("gpt2", "home/b/hub/models--gpt2"+inSnapshot)},
		"HF_HOME with a variable": {variables: "HF_HOME=$SCRATCH/b SCRATCH=ROOT/s",
			files: plain("s/b/hub/models--gpt2", commit),
			want:  inCache("gpt2", "s/b/hub/models--gpt2"+inSnapshot)},
		"XDG_CACHE_HOME": {variables: "XDG_CACHE_HOME=ROOT/c",
			files: plain("c/huggingface/hub/models--gpt2", commit),
			want:  inCache("gpt2", "c/huggingface/hub/models--gpt2"+inSnapshot)},
		"HF_HOME set to nothing": {variables: "HF_HOME=",
			files: plain("work/hub/models--gpt2", commit),
			want:  inCache("gpt2", "work/hub/models--gpt2"+inSnapshot)},
		"HF_HUB_CACHE set to nothing": {variables: "HF_HUB_CACHE=",
			files: plain("work/models--gpt2", commit),
			want:  inCache("gpt2", "work/models--gpt2"+inSnapshot)},
		"a variable in place of the home folder's": {variables: "HF_HUB_CACHE=ROOT/a",
			files: snapshot(gpt2Repo), offline: true, want: circuit},

		// Named: a file, a folder.
		"-model before the variable": {spec: "a.safetensors",
			want:      "a in work/a.safetensors, -model",
			variables: "MECHPATCH_MODEL=b.safetensors",
			files:     ones("work/a.safetensors", "work/b.safetensors")},
		"the variable": {variables: "MECHPATCH_MODEL=b.safetensors",
			files: ones("work/b.safetensors"),
			want:  "b in work/b.safetensors, $MECHPATCH_MODEL"},
		"a path from the root": {spec: "ROOT/x/a.safetensors",
			files: ones("x/a.safetensors"), want: "a in x/a.safetensors, -model"},
		"a file of its usual name": {spec: "x/model.safetensors",
			files: ones("work/x/model.safetensors"),
			want:  "x in work/x/model.safetensors, -model"},
		"a folder": {spec: "x/", files: ones("work/x/model.safetensors"),
			want: "x in work/x/model.safetensors, -model"},
		"a folder with a PyTorch file": {spec: "x",
			want:  "x in work/x/pytorch_model.bin, -model",
			files: ones("work/x/pytorch_model.bin")},
		"a folder with a part missing": {spec: "x",
			files: map[string]string{
				"work/x/model.safetensors.index.json": `{"weight_map": {"a": "b.safetensors"}}`},
			want: `error: index.json: it names "b.safetensors", which is not there`},
		"an empty folder": {spec: "x", files: ones("work/x/y"),
			want: "error: -model x: the folder holds no weights"},
		"a repository's folder": {spec: "ROOT/" + gpt2Repo, files: snapshot(gpt2Repo),
			want: "gpt2 in " + gpt2Repo + inSnapshot + ", -model"},
		"a snapshot's folder": {spec: "ROOT/" + gpt2Repo + "/snapshots/" + commit,
			files: snapshot(gpt2Repo), want: "gpt2 in " + gpt2Repo + inSnapshot + ", -model"},

		// Named: a published model.
		"a name": {spec: "gpt2-xl",
			want:  "gpt2-xl in bin/gpt2-xl.safetensors, the program's folder",
			files: ones("work/gpt2.safetensors", "bin/gpt2-xl.safetensors")},
		"gpt2-small": {spec: "gpt2-small", files: all,
			want: "gpt2 in work/gpt2.safetensors, the working directory"},
		"its repository": {spec: "openai-community/gpt2", files: snapshot(gpt2Repo),
			want: inHub},
		"a name to be fetched": {spec: "gpt2-medium",
			want: "download of gpt2-medium"},
		"a name that may not be fetched": {spec: "gpt2-medium", offline: true,
			want: `error: -model gpt2-medium: it is not on this machine, and this run does not ` +
				`use the network; on a connected one, "mechpatch fetch -o ` +
				`gpt2-medium.safetensors gpt2-medium"`},
		"by a variable": {variables: "MECHPATCH_MODEL=gpt2 HF_HUB_OFFLINE=ON",
			want: "error: $MECHPATCH_MODEL gpt2: it is not on this machine, " +
				"and HF_HUB_OFFLINE=ON forbids"},
		"a folder with a name": {spec: "gpt2",
			want:  "gpt2 in work/gpt2/model.safetensors, -model",
			files: ones("work/gpt2/model.safetensors", "work/gpt2.safetensors")},
		"a folder that only has the name": {spec: "gpt2",
			files: ones("work/gpt2/notes.txt", "work/gpt2.safetensors"),
			want:  "gpt2 in work/gpt2.safetensors, the working directory"},
		"the circuit, beside a folder of its name": {spec: "circuit", want: "circuit, -model",
			files: ones("work/circuit/model.safetensors")},

		// Named: one of the hub's.
		"a repository to be fetched": {spec: "o/r@v1", want: "download of o/r@v1"},
		"a repository that may not be fetched": {spec: "o/r@v1", offline: true,
			want: `error: on a connected one, "mechpatch fetch -o r o/r@v1" makes a copy`},
		"both caches of a repository": {spec: "o/r",
			files: with(plain("cache/mechpatch/models--o--r", another),
				"cache/mechpatch/models--o--r/refs/main", another, repo+inSnapshot,
				"x"),
			want: "o/r in cache/mechpatch/models--o--r/snapshots/" + another +
				"/model.safetensors, the program's cache"},
		"a commit": {spec: "o/r@" + another,
			files: with(plain(repo, commit, another, third),
				repo+"/refs/main", commit),
			want: inCache("o/r@"+another, repo+"/snapshots/"+another+"/model.safetensors")},
		"a branch": {spec: "o/r@a/b",
			files: with(plain(repo, commit, another), repo+"/refs/a/b",
				commit),
			want: inCache("o/r@a/b", repo+inSnapshot)},
		"another revision than those there": {spec: "o/r@v2", want: "download of o/r@v2",
			files: with(plain(repo, commit), repo+"/refs/v1", commit)},
		"a published model's revision": {spec: "gpt2@main", files: snapshot(gpt2Repo),
			want: inCache("openai-community/gpt2@main", gpt2Repo+inSnapshot)},
		"a folder of that name": {spec: "o/r",
			files: ones("work/o/r/pytorch_model.bin"),
			want:  "r in work/o/r/pytorch_model.bin, -model"},

		"no such thing": {spec: "gpt3",
			want: "error: -model gpt3: there is no such file or folder, and no model of that " +
				"name: known are gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2, " +
				"and ORGANISATION/NAME"},
		"a page": {spec: "https://huggingface.co/openai-community/gpt2/tree/main",
			want: "error: there is no such file or folder, and it is a page: the model's name is " +
				"openai-community/gpt2"},
		"no such file": {variables: "MECHPATCH_MODEL=x/y.safetensors",
			want: "error: $MECHPATCH_MODEL x/y.safetensors: there is no such file or folder"},
		"a revision that leads elsewhere": {spec: "o/r@../x",
			want: `error: "../x" is not a revision`},
		"an empty revision": {spec: "o/r@", want: `error: "" is not a revision`},
	} {
		t.Run(name, func(t *testing.T) { c.run(t, nil) })
	}
}

// TestFindBundle searches where the program may have weights inside.
func TestFindBundle(t *testing.T) {
	here := ones("work/gpt2.safetensors", "work/x.bin")
	for name, test := range map[string]struct {
		err error // of the search in the program
		findCase
	}{
		"a bundle": {nil, findCase{files: here,
			want: "bytes 65536+7 of bin/mechpatch, the program itself"}},
		"-model": {nil, findCase{spec: "circuit", want: "circuit, -model"}},
		"the variable": {nil, findCase{variables: "MECHPATCH_MODEL=x.bin", files: here,
			want: "x in work/x.bin, $MECHPATCH_MODEL"}},
		"spoilt": {errors.New("the weights are cut short"), findCase{want: "error: cut short"}},
		"a program that nobody may read": {&fs.PathError{Op: "open", Path: "x",
			Err: fs.ErrPermission}, findCase{files: here,
			want: "error: reading the weights that this program carries: open x: permission"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.run(t, func(exe string) (int64, int64, bool, error) {
				return 65536, 7, filepath.Base(exe) == "mechpatch" && test.err == nil, test.err
			})
		})
	}
}

// TestSumOfBlob tells the checksum by which the Hugging Face cache names a file, and not that of
// the store that several repositories share.
func TestSumOfBlob(t *testing.T) {
	weights := encodeCheckpoint(randomCheckpoint(Config{1, 1, 64, 8, 300}, 256, "F32"), 3)
	sum, other := strings.Repeat("5a", 32), strings.Repeat("63", 32)
	root := folderOf(t, map[string]string{
		"blobs/63/" + other:         string(weights),
		"models--o--r/blobs/" + sum: "-> ../../blobs/63/" + other,
		"models--o--r/snapshots/" + commit + "/model.safetensors": "-> ../../blobs/" + sum,
	})
	found, err := findModel(filepath.Join(root, "models--o--r"), testEnv(t))
	check(t, err)
	if m := must(found.open(1)); m.sum != sum {
		t.Errorf("the sum is %q", m.sum)
	}
}

// TestFindModelAlone finds nothing where the system knows no folders at all, and does not look into
// the root of the file system.
func TestFindModelAlone(t *testing.T) {
	nothing := func(string) (string, bool) { return "", false }
	env := Env{lookup: nothing, dir: t.TempDir()}
	for spec, want := range map[string]string{"": "gpt2", "o/r": "o/r"} {
		if found := must(findModel(spec, env)); found.shown("") != "download of "+want {
			t.Errorf("%+v", found)
		}
	}
}

func TestFindUnreadable(t *testing.T) {
	if os.Getuid() == 0 || runtime.GOOS == "windows" {
		t.Skip("needs a user whose access can be denied")
	}
	root := t.TempDir()
	put(t, root, ones("locked/model.safetensors"))
	os.Chmod(filepath.Join(root, "locked"), 0)
	defer os.Chmod(filepath.Join(root, "locked"), 0o755)
	_, err := findModel(filepath.Join(root, "locked", "model.safetensors"), testEnv(t))
	wantError(t, "locked", err, "permission denied")
}

func TestParseRepository(t *testing.T) {
	for spec, want := range map[string]string{
		"o/r": "o/r", "DeepESP/gpt2-spanish@v1.0": "DeepESP/gpt2-spanish@v1.0",
		"o/r@a/b":        "o/r@a/b",
		"gpt2@" + commit: "openai-community/gpt2@" + commit, "o_1/r.2-x": "o_1/r.2-x",
		"gpt2-small": "gpt2", "openai-community/gpt2": "gpt2",
		"r": "", "o/r/s": "", "/o/r": "", "o/": "", "./o": "", "../r": "", "~/r": "", "o/..": "",
		"o--x/r": "", "o/r.git": "", "o/r.pt": "", "o/ü": "", "o/r@": "", "o/r@/x": "",
		"o/r@x/":   "",
		"o/r@a//b": "", "o/r@a..b": "", "o/r@a b": "", "o/r@a\n": "", `o/r@a\b`: "",
		"o/r@a@b":                    "o/r@a@b",
		"https://huggingface.co/o/r": "", "o/" + strings.Repeat("r", 97): "",
	} {
		if r, err := parseRepository(spec); r.String() != want || (err == nil) != (want != "") {
			t.Errorf("%q: %s, %v; want %s", spec, r, err, want)
		}
	}
}

// TestExpand puts in a path what Python's expanduser and expandvars do.
func TestExpand(t *testing.T) {
	env := testEnv(t, "A=/alpha", "B_1=beta")
	holds(t, env.expand, map[string]string{
		"~": env.home, "~/x": env.home + "/x", "x/~": env.dir + "/x/~", "~u/x": env.dir + "/~u/x",
		"$A/x$B_1": "/alpha/xbeta", "${A}b": "/alphab", "$C/x": env.dir + "/$C/x",
		"$A": "/alpha", "/$Ax": "/$Ax", "/x": "/x", "": env.dir, "hub": env.dir + "/hub",
	})
}
