package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	commit  = "607a30d783dfa663caf39e06633721c8d4cfcd7e" // the pinned one of gpt2
	another = "1111111111111111111111111111111111111111"
	third   = "2222222222222222222222222222222222222222"
)

// shown is what was found, in words, with its path below root.
func (f Found) shown(root string) string {
	path, _ := filepath.Abs(f.path)
	path, _ = filepath.Rel(root, path)
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

// A findCase is a search among files below a root that has the folders work (the working
// directory), bin (the program's), and home. In all of it ROOT is the root, and the words of
// findWords stand for longer ones.
type findCase struct {
	name      string
	spec      string
	variables string // NAME=VALUE, with blanks between; -offline, -bundle, -spoilt
	files     string // PATH, PATH=CONTENT or PATH->TARGET of a link, with blanks between
	want      string // what is found, as shown, or "error: …", a part of the error
}

var findWords = []string{
	"%gpt2", "home/.cache/huggingface/hub/models--openai-community--gpt2",
	"%o/r", "home/.cache/huggingface/hub/models--o--r",
	"@1", commit, "@2", another, "@3", third, // of which @1 is the newest, and @2 the oldest
	"/W", "/model.safetensors", "%theirs", "the Hugging Face cache", "%ours", ourCache,
}

const everywhere = "work/gpt2.safetensors bin/gpt2.safetensors %cache/gpt2.safetensors " +
	"%gpt2/snapshots/@1/W"

func (c findCase) run(t *testing.T) {
	root := bareMachine(t, c.variables)
	set(t, &ownFile, func() string { return filepath.Join(root, "bin", "mechpatch") })
	cache, _ := filepath.Rel(root, cacheFolder())
	cache = filepath.ToSlash(cache)
	words := strings.NewReplacer(append(findWords, "ROOT", root, "%cache", cache)...)
	files := map[string]string{}
	for file := range strings.FieldsSeq(words.Replace(c.files)) {
		path, content, _ := strings.Cut(file, "=")
		if link, target, ok := strings.Cut(path, "->"); ok {
			path, content = link, "-> "+target
		}
		files[path] = content
	}
	put(t, root, files)
	// The file system's clock may stand still between two snapshots.
	folders, _ := filepath.Glob(filepath.Join(hubCache(), "*", "snapshots", "*"))
	for i, folder := range folders {
		os.Chtimes(folder, time.Time{}, time.Unix(int64(1e9+i), 0))
	}

	var bundled bundleIn
	if strings.Contains(c.variables, "-bundle") {
		bundled = func(exe string) (int64, int64, error) {
			if strings.Contains(c.variables, "-spoilt") {
				return 0, 0, fs.ErrPermission
			}
			return 65536, int64(len(filepath.Base(exe)) - 2), nil
		}
	}
	offline := strings.Contains(c.variables, "-offline")
	found, err := findModel(words.Replace(c.spec), offline, bundled)
	want := words.Replace(c.want)
	if part, ok := strings.CutPrefix(want, "error: "); ok {
		if !says(err, part) || found != (Found{}) {
			t.Errorf("%+v, %v\nwant … %s …", found, err, part)
		}
		return
	}
	if got := found.shown(root); err != nil || got != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
	if named := c.spec+os.Getenv("MECHPATCH_MODEL") != ""; found.named != named {
		t.Errorf("named is %v", found.named)
	}
}

func TestFindModel(t *testing.T) {
	const (
		circuit  = "circuit, built in"
		inHub    = "gpt2 in %gpt2/snapshots/@1/W, %theirs"
		inRepo   = "o/r in %o/r/snapshots/@1/W, %theirs"
		atWork   = "gpt2 in work/gpt2.safetensors, the working directory"
		fetch    = "download of gpt2"
		fetchOR  = "download of o/r"
		index    = "model.safetensors.index.json"
		stripped = "%o/r/refs/main=@1 %o/r/blobs/cc->../../blobs/63/63d2 " +
			"%o/r/snapshots/@1/W->../../blobs/cc %o/r/snapshots/@1/config.json={}"
		dangling = "error: @1/W is a link that leads nowhere from here: copy the folder with " +
			"cp -aL, or the whole cache"
		offlineXL = `error: -model gpt2-xl: it is not on this machine, and this run does not use ` +
			`the network; on a connected one, "mechpatch fetch -o gpt2-xl.safetensors gpt2-xl"`
	)
	for _, c := range []findCase{
		{"nothing anywhere", "", "", "", fetch},
		{"offline", "", "-offline", "", circuit},
		{"HF_HUB_OFFLINE", "", "HF_HUB_OFFLINE=yes", "", circuit},
		{"HF_HUB_OFFLINE=0", "", "HF_HUB_OFFLINE=0 TRANSFORMERS_OFFLINE=1", "", fetch},
		{"the other one", "", "HF_HUB_OFFLINE= TRANSFORMERS_OFFLINE=1", "", circuit},
		{"all of the places", "", "", everywhere, atWork},
		{"all but the working directory", "", "",
			"work/gpt2.safetensors/a-folder bin/gpt2.safetensors %cache/gpt2.safetensors",
			"gpt2 in bin/gpt2.safetensors, the program's folder"},
		{"both caches", "", "", "%gpt2/snapshots/@1/W %cache/gpt2.safetensors",
			"gpt2 in %cache/gpt2.safetensors, %ours"},
		{"a download that is under way", "", "",
			"%gpt2/snapshots/@1/W %cache/gpt2.safetensors.248dfc391186.partial", inHub},
		{"an old tool's cache", "", "HF_HUB_CACHE=ROOT/a", "a/models--gpt2/snapshots/@1/W",
			"gpt2 in a/models--gpt2/snapshots/@1/W, %theirs"},

		// The Hugging Face cache.
		{"a link to a blob", "", "",
			"%gpt2/refs/main=@1\n %gpt2/blobs/248d %gpt2/snapshots/@1/W->../../blobs/248d", inHub},
		{"no refs: the pinned commit", "", "",
			"%gpt2/snapshots/@2/W %gpt2/snapshots/@1/W %gpt2/snapshots/@3/W", inHub},
		{"main is elsewhere, and not there: the pinned commit", "", "",
			"%gpt2/refs/main=@2 %gpt2/snapshots/@1/W", inHub},
		{"no refs: the newest that has weights", "o/r", "",
			"%o/r/snapshots/@2/W %o/r/snapshots/@3/W %o/r/snapshots/9/config.json",
			"o/r in %o/r/snapshots/@3/W, %theirs"},
		{"main without weights is not what another commit has", "o/r", "",
			"%o/r/snapshots/@1/W %o/r/refs/main=@2", fetchOR},
		{"a blob under way", "", "-offline",
			"%gpt2/blobs/2.incomplete %gpt2/snapshots/@1/W->../../blobs/2.incomplete", circuit},
		{"main has moved on past what is there", "o/r", "-offline",
			"%o/r/snapshots/@2/W %o/r/refs/main=@3", "error: models--o--r has commit @2, not @3: " +
				"@@2 behind the name asks for it, and this run does not use the network; "},
		{"a revision that is not there", "o/r@v2", "-offline", "%o/r/snapshots/@2/W",
			"error: has commit @2, not v2: @"},
		{"a folder of a cache, without its store", "o/r", "-offline", stripped, dangling},
		{"the same, by its path", "ROOT/%o/r", "", stripped, dangling},
		{"the same, to be fetched", "o/r", "", stripped, fetchOR},
		{"no weights", "", "-offline", "%gpt2/snapshots/@1/config.json", circuit},
		{"a main that leads out of the cache", "o/r", "",
			"%o/r/refs/main=../../../../../../elsewhere elsewhere/W", fetchOR},
		{"an index without a part", "o/r", "",
			"%o/r/snapshots/@1/" + index + `={"weight_map":{"wte":"a.bin"}}`, fetchOR},
		{"an index with its part", "o/r", "",
			"%o/r/snapshots/@1/a %o/r/snapshots/@1/" + index + `={"weight_map":{"wte":"a"}}`,
			"o/r in %o/r/snapshots/@1/" + index + ", %theirs"},

		// Where that cache is.
		{"HF_HUB_CACHE before HF_HOME", "o/r", "HF_HUB_CACHE=ROOT/a HF_HOME=ROOT/b",
			"a/models--o--r/snapshots/@1/W b/hub/models--o--r/snapshots/@1/W",
			"o/r in a/models--o--r/snapshots/@1/W, %theirs"},
		{"its older name", "o/r", "HUGGINGFACE_HUB_CACHE=ROOT/a HF_HOME=ROOT/b",
			"a/models--o--r/snapshots/@1/W", "o/r in a/models--o--r/snapshots/@1/W, %theirs"},
		{"HF_HOME with a ~", "o/r", "HF_HOME=~/b XDG_CACHE_HOME=ROOT/c",
			"home/b/hub/models--o--r/snapshots/@1/W",
			"o/r in home/b/hub/models--o--r/snapshots/@1/W, %theirs"},
		{"HF_HOME with a variable", "o/r", "HF_HOME=$SCRATCH/b SCRATCH=ROOT/s",
			"s/b/hub/models--o--r/snapshots/@1/W",
			"o/r in s/b/hub/models--o--r/snapshots/@1/W, %theirs"},
		{"XDG_CACHE_HOME", "o/r", "XDG_CACHE_HOME=ROOT/c",
			"c/huggingface/hub/models--o--r/snapshots/@1/W",
			"o/r in c/huggingface/hub/models--o--r/snapshots/@1/W, %theirs"},
		{"HF_HOME set to nothing", "o/r", "HF_HOME=", "work/hub/models--o--r/snapshots/@1/W",
			"o/r in work/hub/models--o--r/snapshots/@1/W, %theirs"},
		{"HF_HUB_CACHE set to nothing", "o/r", "HF_HUB_CACHE=", "work/models--o--r/snapshots/@1/W",
			"o/r in work/models--o--r/snapshots/@1/W, %theirs"},
		{"a variable in place of the home folder's", "o/r", "HF_HUB_CACHE=ROOT/a",
			"%o/r/snapshots/@1/W", fetchOR},

		// Named: a file, a folder.
		{"-model before the variable", "a.safetensors", "MECHPATCH_MODEL=b.safetensors",
			"work/a.safetensors work/b.safetensors", "a in work/a.safetensors, -model"},
		{"the variable", "", "MECHPATCH_MODEL=b.bin", "work/b.bin",
			"b in work/b.bin, $MECHPATCH_MODEL"},
		{"a path from the root", "ROOT/x/a.bin", "", "x/a.bin", "a in x/a.bin, -model"},
		{"a folder", "x/", "", "work/x/W", "x in work/x/W, -model"},
		{"a folder with a PyTorch file", "x", "", "work/x/pytorch_model.bin",
			"x in work/x/pytorch_model.bin, -model"},
		{"a folder with a part missing", "x", "", "work/x/" + index + `={"weight_map":{"a":"b"}}`,
			`error: index.json: it names "b", which is not there`},
		{"an empty folder", "x", "", "work/x/y", "error: -model x: the folder holds no weights"},
		{"a repository's folder", "ROOT/%gpt2", "", "%gpt2/snapshots/@1/W",
			"gpt2 in %gpt2/snapshots/@1/W, -model"},
		{"a snapshot's folder", "ROOT/%gpt2/snapshots/@1", "", "%gpt2/snapshots/@1/W",
			"gpt2 in %gpt2/snapshots/@1/W, -model"},

		// Named: a published model.
		{"a name", "gpt2-xl", "", "work/gpt2.safetensors bin/gpt2-xl.safetensors",
			"gpt2-xl in bin/gpt2-xl.safetensors, the program's folder"},
		{"gpt2-small", "gpt2-small", "", everywhere, atWork},
		{"its repository", "openai-community/gpt2", "", "%gpt2/snapshots/@1/W", inHub},
		{"a name to be fetched", "gpt2-medium", "", "", "download of gpt2-medium"},
		{"a name that may not be fetched", "gpt2-xl", "-offline", "", offlineXL},
		{"by a variable", "", "MECHPATCH_MODEL=gpt2 HF_HUB_OFFLINE=ON", "",
			"error: $MECHPATCH_MODEL gpt2: it is not on this machine, and HF_HUB_OFFLINE=ON for"},
		{"a folder with a name", "gpt2", "", "work/gpt2/W work/gpt2.safetensors",
			"gpt2 in work/gpt2/W, -model"},
		{"a folder that only has the name", "gpt2", "", "work/gpt2/notes.txt work/gpt2.safetensors",
			atWork},
		{"the circuit, beside a folder of its name", "circuit", "", "work/circuit/W",
			"circuit, -model"},

		// Named: one of the hub's.
		{"a repository to be fetched", "o/r@v1", "", "", "download of o/r@v1"},
		{"a repository that may not be fetched", "o/r@v1", "-offline", "",
			`error: on a connected one, "mechpatch fetch -o r o/r@v1" makes a copy`},
		{"both caches of a repository", "o/r", "", "%cache/models--o--r/snapshots/@2/W " +
			"%cache/models--o--r/refs/main=@2 %o/r/snapshots/@1/W",
			"o/r in %cache/models--o--r/snapshots/@2/W, %ours"},
		{"a commit", "o/r@@2", "", "%o/r/snapshots/@1/W %o/r/snapshots/@2/W %o/r/refs/main=@1",
			"o/r@@2 in %o/r/snapshots/@2/W, %theirs"},
		{"a branch", "o/r@a/b", "", "%o/r/snapshots/@1/W %o/r/snapshots/@2/W %o/r/refs/a/b=@2",
			"o/r@a/b in %o/r/snapshots/@2/W, %theirs"},
		{"another revision than those there", "o/r@v2", "",
			"%o/r/snapshots/@1/W %o/r/refs/v1=@1", "download of o/r@v2"},
		{"a published model's revision", "gpt2@main", "",
			"%gpt2/snapshots/@1/W %gpt2/refs/main=@1",
			"openai-community/gpt2@main in %gpt2/snapshots/@1/W, %theirs"},
		{"a folder of that name", "o/r", "", "work/o/r/pytorch_model.bin",
			"r in work/o/r/pytorch_model.bin, -model"},
		{"main", "o/r", "", "%o/r/refs/main=@1 %o/r/snapshots/@1/W %o/r/snapshots/@2/W", inRepo},

		{"no such thing", "gpt3", "", "", "error: -model gpt3: there is no such file or folder, " +
			"and no model of that name: known are gpt2, gpt2-medium, gpt2-large, gpt2-xl, " +
			"distilgpt2, and ORGANISATION/NAME"},
		{"a page", "https://huggingface.co/openai-community/gpt2/tree/main", "", "",
			"error: no such file or folder, and it is a page: the model's name is " +
				"openai-community/gpt2"},
		{"no such file", "", "MECHPATCH_MODEL=x/y.bin", "",
			"error: $MECHPATCH_MODEL x/y.bin: there is no such file or folder"},
		{"a revision that leads elsewhere", "o/r@../x", "", "", `error: "../x" is not a revision`},
		{"an empty revision", "o/r@", "", "", `error: "" is not a revision`},
		{"below a file", "x.bin/y", "", "work/x.bin", "error: -model x.bin/y: not a directory"},

		// A program that has weights inside, and a system that knows no folders at all.
		{"a bundle", "", "-bundle", "work/gpt2.safetensors",
			"bytes 65536+7 of bin/mechpatch, the program itself"},
		{"-model before a bundle", "circuit", "-bundle", "", "circuit, -model"},
		{"the variable before a bundle", "", "-bundle MECHPATCH_MODEL=x.bin", "work/x.bin",
			"x in work/x.bin, $MECHPATCH_MODEL"},
		{"a bundle that is spoilt, or that nobody may read", "", "-bundle -spoilt",
			"work/gpt2.safetensors", "error: reading the weights that this program carries: perm"},
		{"no home", "", "HOME= USERPROFILE= LocalAppData=", "", fetch},
		{"no home for a repository", "o/r", "HOME= USERPROFILE= LocalAppData=", "", fetchOR},
	} {
		t.Run(c.name, c.run)
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
	found, err := findModel(filepath.Join(root, "models--o--r"), true, nil)
	check(t, err)
	if m := must(found.open(1)); m.sum != sum {
		t.Errorf("the sum is %q", m.sum)
	}
}

func TestParseRepository(t *testing.T) {
	for spec, want := range map[string]string{
		"o/r": "o/r", "DeepESP/gpt2-spanish@v1.0": "DeepESP/gpt2-spanish@v1.0",
		"o/r@a/b":        "o/r@a/b",
		"gpt2@" + commit: "openai-community/gpt2@" + commit, "o_1/r.2-x": "o_1/r.2-x",
		"gpt2-small": "gpt2", "openai-community/gpt2": "gpt2",
		"r": "", "o/r/s": "", "/o/r": "", "o/": "", "./o": "", "../r": "", "~/r": "", "o/..": "",
		"o--x/r": "", "o/r.git": "", "o/r.pt": "", "o/ü": "", "o/r@": "", "o/r@/x": "",
		"o/r@x/": "", "o/r..x": "",
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
	bareMachine(t, "A=/alpha B_1=beta")
	home := userHome()
	holds(t, expand, map[string]string{
		"~": home, "~/x": home + "/x", "x/~": "x/~", "~u/x": "~u/x",
		"$A/x$B_1": "/alpha/xbeta", "${A}b": "/alphab", "$C/x": "$C/x", "/$Ax": "/$Ax", "": ".",
	})
}
