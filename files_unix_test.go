//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// TestLoadReadsNoWeights takes the weights away between opening and loading: what is cut off a
// mapped file cannot be read any more, so that loading can succeed only if it reads none of them.
func TestLoadReadsNoWeights(t *testing.T) {
	c := Config{layers: 1, heads: 1, width: 64, context: 1024, vocab: 1024}
	ck := randomCheckpoint(c, 256, "F32")
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(path, encodeCheckpoint(ck, 3), 0o644); err != nil {
		t.Fatal(err)
	}
	ck, err := openSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.close()
	if ck.release == nil || !littleEndian || !anyAddress {
		t.Skip("here a file is not mapped, or not used in place")
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	var m *Model
	if faults(func() { m, err = loadModel(ck, 1) }) || err != nil {
		t.Fatalf("loading reads weights (%v)", err)
	}
	if !faults(func() { runtime.KeepAlive(m.wte.f32[0]) }) {
		t.Error("the test shows nothing: the weights can be read though the file is empty")
	}
}

// TestFetchPlanted puts something else in the partial file's place: it is left as it is.
func TestFetchPlanted(t *testing.T) {
	for name, plant := range map[string]func(victim, partial string) error{
		"link":      os.Symlink,
		"hard link": os.Link,
		"folder":    func(_, partial string) error { return os.Mkdir(partial, 0o755) },
		"pipe":      func(_, partial string) error { return syscall.Mkfifo(partial, 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := testDownloader(t, scripted(t, whole).URL)
			dest := filepath.Join(t.TempDir(), "x")
			victim := filepath.Join(t.TempDir(), "victim")
			put(t, filepath.Dir(victim), map[string]string{"victim": "precious"})
			if err := plant(victim, partialOf(dest)); err != nil {
				t.Skip(err)
			}
			_, err := d.fetch(context.Background(), "gpt2", dest)
			checkFetched(t, dest, err)
			if data, _ := os.ReadFile(victim); string(data) != "precious" {
				t.Errorf("the other file has %d bytes", len(data))
			}
		})
	}
}
