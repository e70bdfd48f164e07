package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// put writes files below root, each given as its slash-separated path and its content; "->
// TARGET" as the content makes a symbolic link.
func put(t testing.TB, root string, files map[string]string) {
	for path, content := range files {
		path = filepath.Join(root, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, isLink := strings.CutPrefix(content, "-> "); isLink {
			if err := os.Symlink(filepath.FromSlash(target), path); err != nil {
				t.Skipf("needs symbolic links: %v", err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	commit  = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
	hubGPT2 = "models--openai-community--gpt2/"
)

// snapshot is a repository in the Hugging Face cache as it is on a system with symbolic links.
func snapshot(hub, repo string) map[string]string {
	at := hub + repo + "/"
	return map[string]string{
		at + "refs/main": commit,
		at + "snapshots/" + commit + "/model.safetensors": "-> ../../blobs/248dfc",
		at + "snapshots/" + commit + "/config.json":       "-> ../../blobs/10c66461",
		at + "blobs/248dfc":                               "weights",
		at + "blobs/10c66461":                             `{"model_type": "gpt2", "n_head": 12, "n_embd": 768}`,
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

// TestFindModel lays files out below a root that has the folders work (the working directory),
// bin (the program's), home and cache. In the expected path and the variables, ROOT is the root.
func TestFindModel(t *testing.T) {
	const hub = "home/.cache/huggingface/hub/"
	inSnapshot := hub + hubGPT2 + "snapshots/" + commit + "/model.safetensors"
	for _, test := range []struct {
		name      string
		spec      string
		variables []string
		files     map[string]string
		bundle    error // nil: none; fs.ErrExist: one, at 65536
		offline   bool
		path      string
		want      Found // without path
		err       string
	}{
		{name: "nothing anywhere", path: "cache/mechpatch/gpt2.safetensors", want: Found{name: "gpt2", download: true, how: "a download"}},
		{name: "nothing anywhere, offline", offline: true, want: Found{name: "circuit", circuit: true, how: "built in"}},
		{name: "nothing anywhere, HF_HUB_OFFLINE", variables: []string{"HF_HUB_OFFLINE=yes"}, want: Found{name: "circuit", circuit: true, how: "built in"}},
		{name: "HF_HUB_OFFLINE=0", variables: []string{"HF_HUB_OFFLINE=0"}, path: "cache/mechpatch/gpt2.safetensors", want: Found{name: "gpt2", download: true, how: "a download"}},
		{name: "all of the places",
			files: with(snapshot(hub, "models--openai-community--gpt2"), "work/gpt2.safetensors", "1", "bin/gpt2.safetensors", "2", "cache/mechpatch/gpt2.safetensors", "3"),
			path:  "work/gpt2.safetensors", want: Found{name: "gpt2", how: "the working directory"}},
		{name: "all but the working directory",
			files: with(snapshot(hub, "models--openai-community--gpt2"), "bin/gpt2.safetensors", "2", "cache/mechpatch/gpt2.safetensors", "3", "work/gpt2.safetensors/a-folder", "x"),
			path:  "bin/gpt2.safetensors", want: Found{name: "gpt2", how: "the program's folder"}},
		{name: "both caches",
			files: with(snapshot(hub, "models--openai-community--gpt2"), "cache/mechpatch/gpt2.safetensors", "3"),
			path:  "cache/mechpatch/gpt2.safetensors", want: Found{name: "gpt2", how: "the program's cache"}},
		{name: "the Hugging Face cache, offline", offline: true,
			files: with(snapshot(hub, "models--openai-community--gpt2"), "cache/mechpatch/gpt2.safetensors.248dfc3911869ec4.partial", "3"),
			path:  inSnapshot, want: Found{name: "gpt2", how: "the Hugging Face cache"}},
		{name: "the Hugging Face cache, of an old tool", files: snapshot(hub, "models--gpt2"),
			path: hub + "models--gpt2/snapshots/" + commit + "/model.safetensors", want: Found{name: "gpt2", how: "the Hugging Face cache"}},
		{name: "the Hugging Face cache without links, as on Windows",
			files: map[string]string{hub + hubGPT2 + "refs/main": commit + "\n", inSnapshot: "weights"},
			path:  inSnapshot, want: Found{name: "gpt2", how: "the Hugging Face cache"}},
		{name: "HF_HUB_CACHE before HF_HOME", variables: []string{"HF_HUB_CACHE=ROOT/a", "HF_HOME=ROOT/b"},
			files: with(snapshot("a/", "models--gpt2"), "b/hub/models--gpt2/refs/main", commit, "b/hub/models--gpt2/snapshots/"+commit+"/model.safetensors", "x"),
			path:  "a/models--gpt2/snapshots/" + commit + "/model.safetensors", want: Found{name: "gpt2", how: "the Hugging Face cache"}},
		{name: "HF_HOME with a ~", variables: []string{"HF_HOME=~/b", "XDG_CACHE_HOME=ROOT/c"}, files: snapshot("home/b/hub/", "models--gpt2"),
			path: "home/b/hub/models--gpt2/snapshots/" + commit + "/model.safetensors", want: Found{name: "gpt2", how: "the Hugging Face cache"}},
		{name: "HF_HOME with a variable", variables: []string{"HF_HOME=$SCRATCH/b", "SCRATCH=ROOT/s"}, files: snapshot("s/b/hub/", "models--gpt2"),
			path: "s/b/hub/models--gpt2/snapshots/" + commit + "/model.safetensors", want: Found{name: "gpt2", how: "the Hugging Face cache"}},
		{name: "XDG_CACHE_HOME", variables: []string{"XDG_CACHE_HOME=ROOT/c"}, files: snapshot("c/huggingface/hub/", "models--gpt2"),
			path: "c/huggingface/hub/models--gpt2/snapshots/" + commit + "/model.safetensors", want: Found{name: "gpt2", how: "the Hugging Face cache"}},
		{name: "a variable in place of the home folder's cache", variables: []string{"HF_HUB_CACHE=ROOT/a"}, files: snapshot(hub, "models--openai-community--gpt2"), offline: true,
			want: Found{name: "circuit", circuit: true, how: "built in"}},
		{name: "a blob that is under way", offline: true,
			files: with(snapshot(hub, "models--openai-community--gpt2"), hub+hubGPT2+"blobs/248dfc", "", hub+hubGPT2+"blobs/248dfc.incomplete", "x"),
			want:  Found{name: "circuit", circuit: true, how: "built in"}},
		{name: "a link to a blob that is under way", offline: true,
			files: with(snapshot(hub, "models--openai-community--gpt2"), hub+hubGPT2+"blobs/248dfc.incomplete", "x", inSnapshot, "-> ../../blobs/248dfc.incomplete"),
			want:  Found{name: "circuit", circuit: true, how: "built in"}},
		{name: "a snapshot without the weights", offline: true,
			files: with(snapshot(hub, "models--openai-community--gpt2"), inSnapshot, ""),
			want:  Found{name: "circuit", circuit: true, how: "built in"}},
		{name: "another snapshot than main's", offline: true,
			files: with(snapshot(hub, "models--openai-community--gpt2"), hub+hubGPT2+"refs/main", strings.Repeat("0", 40)),
			want:  Found{name: "circuit", circuit: true, how: "built in"}},
		{name: "a main that leads out of the cache", offline: true,
			files: with(snapshot(hub, "models--openai-community--gpt2"), hub+hubGPT2+"refs/main", "../../../../../../elsewhere/x", "elsewhere/x/model.safetensors", "x"),
			want:  Found{name: "circuit", circuit: true, how: "built in"}},
		{name: "a main that is endless", offline: true,
			files: with(snapshot(hub, "models--openai-community--gpt2"), hub+hubGPT2+"refs/main", commit+strings.Repeat(" ", 1000)),
			want:  Found{name: "circuit", circuit: true, how: "built in"}},

		{name: "a bundle", bundle: fs.ErrExist, files: map[string]string{"work/gpt2.safetensors": "1"},
			path: "bin/mechpatch", want: Found{offset: 65536, length: 7, how: "the program itself"}},
		{name: "a bundle and -model", bundle: fs.ErrExist, spec: "circuit", want: Found{name: "circuit", circuit: true, how: "-model", named: true}},
		{name: "a bundle and the variable", bundle: fs.ErrExist, variables: []string{"MECHPATCH_MODEL=x.bin"}, files: map[string]string{"work/x.bin": "1"},
			path: "work/x.bin", want: Found{name: "x", how: "$MECHPATCH_MODEL", named: true}},
		{name: "a bundle that is spoilt", bundle: errors.New("mechpatch: the bundled weights are cut short"), err: "cut short"},
		{name: "a program that nobody may read", bundle: &fs.PathError{Op: "open", Path: "x", Err: fs.ErrPermission}, files: map[string]string{"work/gpt2.safetensors": "1"},
			path: "work/gpt2.safetensors", want: Found{name: "gpt2", how: "the working directory"}},

		{name: "-model before the variable", spec: "a.safetensors", variables: []string{"MECHPATCH_MODEL=b.safetensors"}, files: map[string]string{"work/a.safetensors": "1", "work/b.safetensors": "1"},
			path: "work/a.safetensors", want: Found{name: "a", how: "-model", named: true}},
		{name: "a path from the root", spec: "ROOT/x/a.safetensors", files: map[string]string{"x/a.safetensors": "1", "x/config.json": "not ours"},
			path: "x/a.safetensors", want: Found{name: "a", how: "-model", named: true}},
		{name: "a file with its config.json", spec: "x/model.safetensors", files: map[string]string{"work/x/model.safetensors": "1", "work/x/config.json": `{"n_head": 3}`},
			path: "work/x/model.safetensors", want: Found{name: "x", how: "-model", named: true}},
		{name: "a folder", spec: "x/", files: map[string]string{"work/x/model.safetensors": "1", "work/x/config.json": `{"n_head": 3}`},
			path: "work/x/model.safetensors", want: Found{name: "x", how: "-model", named: true}},
		{name: "a folder without config.json", spec: "x", files: map[string]string{"work/x/model.safetensors": "1"},
			path: "work/x/model.safetensors", want: Found{name: "x", how: "-model", named: true}},
		{name: "a folder with a PyTorch file", spec: "x", files: map[string]string{"work/x/pytorch_model.bin": "1"},
			path: "work/x/pytorch_model.bin", want: Found{name: "x", how: "-model", named: true}},
		{name: "a folder with a checkpoint in parts", spec: "x", files: map[string]string{"work/x/model.safetensors.index.json": "1"},
			path: "work/x/model.safetensors.index.json", want: Found{name: "x", how: "-model", named: true}},
		{name: "a folder with one file of another name", spec: "x", files: map[string]string{"work/x/ckpt.pt": "1", "work/x/log.txt": "1"},
			path: "work/x/ckpt.pt", want: Found{name: "ckpt", how: "-model", named: true}},
		{name: "a folder with two", spec: "x", files: map[string]string{"work/x/a.pt": "1", "work/x/b.pt": "1"}, err: `several files that may be weights, "a.pt" and "b.pt": name one`},
		{name: "a folder of TensorFlow's", spec: "x", files: map[string]string{"work/x/model.ckpt.index": "1", "work/x/checkpoint": "1"}, err: "this is a TensorFlow checkpoint"},
		{name: "a folder with an adapter", spec: "x", files: map[string]string{"work/x/adapter_model.safetensors": "1", "work/x/adapter_config.json": "1"}, err: "a LoRA adapter"},
		{name: "an empty folder", spec: "x", files: map[string]string{"work/x/y": "1"}, err: "-model x: the folder holds no weights"},
		{name: "a repository of the Hugging Face cache", spec: "ROOT/" + hub + hubGPT2, files: snapshot(hub, "models--openai-community--gpt2"),
			path: inSnapshot, want: Found{name: "gpt2", how: "-model", named: true}},
		{name: "a snapshot of the Hugging Face cache", spec: "ROOT/" + filepath.Dir(inSnapshot), files: snapshot(hub, "models--openai-community--gpt2"),
			path: inSnapshot, want: Found{name: "gpt2", how: "-model", named: true}},

		{name: "a name", spec: "gpt2-xl", files: map[string]string{"work/gpt2.safetensors": "1", "bin/gpt2-xl.safetensors": "1"},
			path: "bin/gpt2-xl.safetensors", want: Found{name: "gpt2-xl", how: "the program's folder", named: true}},
		{name: "a repository", spec: "distilbert/distilgpt2", files: snapshot(hub, "models--distilbert--distilgpt2"),
			path: hub + "models--distilbert--distilgpt2/snapshots/" + commit + "/model.safetensors", want: Found{name: "distilgpt2", how: "the Hugging Face cache", named: true}},
		{name: "a name to be fetched", spec: "gpt2-medium", path: "cache/mechpatch/gpt2-medium.safetensors", want: Found{name: "gpt2-medium", download: true, how: "a download", named: true}},
		{name: "a name that may not be fetched", spec: "gpt2-medium", offline: true, err: `the Hugging Face cache, and -offline forbids to fetch it; on a connected machine, "mechpatch fetch -o gpt2-medium.safetensors gpt2-medium"`},
		{name: "a name that may not be fetched, by a variable", variables: []string{"MECHPATCH_MODEL=gpt2", "HF_HUB_OFFLINE=ON"}, err: `$MECHPATCH_MODEL gpt2: not in `},
		{name: "a folder with a name", spec: "gpt2", files: map[string]string{"work/gpt2/model.safetensors": "1", "work/gpt2.safetensors": "1"},
			path: "work/gpt2/model.safetensors", want: Found{name: "gpt2", how: "-model", named: true}},
		{name: "a folder that only has the name", spec: "gpt2", files: map[string]string{"work/gpt2/notes.txt": "1", "work/gpt2.safetensors": "1"},
			path: "work/gpt2.safetensors", want: Found{name: "gpt2", how: "the working directory", named: true}},
		{name: "the circuit, beside a folder of its name", spec: "circuit", files: map[string]string{"work/circuit/model.safetensors": "1"}, want: Found{name: "circuit", circuit: true, how: "-model", named: true}},
		{name: "no such thing", spec: "gpt3", err: "-model gpt3: there is no such file or folder, and no model of that name: known are gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2, circuit"},
		{name: "no such file", variables: []string{"MECHPATCH_MODEL=x/y.safetensors"}, err: "$MECHPATCH_MODEL x/y.safetensors: there is no such file or folder"},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			if real, err := filepath.EvalSymlinks(root); err == nil {
				root = real
			}
			inRoot := func(s string) string { return strings.ReplaceAll(s, "ROOT", root) }
			variables := map[string]string{}
			for _, v := range test.variables {
				name, value, _ := strings.Cut(inRoot(v), "=")
				variables[name] = value
			}
			env := Env{
				getenv: func(name string) string { return variables[name] },
				dir:    filepath.Join(root, "work"), exe: filepath.Join(root, "bin", "mechpatch"),
				home: filepath.Join(root, "home"), cache: filepath.Join(root, "cache"), offline: test.offline,
			}
			put(t, root, test.files)
			env.bundled = func(exe string) (int64, int64, bool, error) {
				if test.bundle == fs.ErrExist {
					return 65536, 7, exe == env.exe, nil
				}
				return 0, 0, false, test.bundle
			}

			found, err := findModel(inRoot(test.spec), env)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%v\nwant … %s …", err, test.err)
				}
				if (found != Found{}) {
					t.Errorf("an error, and %+v", found)
				}
				return
			}
			want := test.want
			if test.path != "" {
				want.path = filepath.Join(root, filepath.FromSlash(test.path))
			}
			if err != nil || found != want {
				t.Errorf("%+v, %v\nwant %+v", found, err, want)
			}
		})
	}
}

// TestFindModelAlone finds nothing where the system knows no folders at all, and does not look
// into the root of the file system.
func TestFindModelAlone(t *testing.T) {
	env := Env{getenv: func(string) string { return "" }, dir: t.TempDir()}
	found, err := findModel("", env)
	if want := (Found{name: "gpt2", download: true, how: "a download"}); err != nil || found != want {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestFindUnreadable(t *testing.T) {
	if os.Getuid() == 0 || runtime.GOOS == "windows" {
		t.Skip("needs a user whose access can be denied")
	}
	root := t.TempDir()
	put(t, root, map[string]string{"locked/model.safetensors": "1"})
	os.Chmod(filepath.Join(root, "locked"), 0)
	defer os.Chmod(filepath.Join(root, "locked"), 0o755)
	_, err := findModel(filepath.Join(root, "locked", "model.safetensors"), testEnv(t))
	if err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Error(err)
	}
}
