package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// testFile is what the tests fetch: longer than the buffer of a download, and without a pattern.
var testFile = func() []byte {
	data := make([]byte, 700_001)
	rand.New(rand.NewSource(1)).Read(data)
	return data
}()

// testModel is testFile as a published model whose sum is known.
func testModel() Published {
	sum := sha256.Sum256(testFile)
	return Published{
		name: "gpt2", repo: "openai-community/gpt2", former: "gpt2",
		revision: strings.Repeat("a", 40), size: int64(len(testFile)), sum: hex.EncodeToString(sum[:]),
	}
}

// testEnv is an Env with folders of its own and these variables, given as NAME=VALUE.
func testEnv(t testing.TB, variables ...string) Env {
	root := t.TempDir()
	env := Env{home: filepath.Join(root, "home"), dir: filepath.Join(root, "work"), cache: filepath.Join(root, "cache"), exe: filepath.Join(root, "bin", "mechpatch")}
	for _, folder := range []string{env.home, env.dir, env.cache, filepath.Dir(env.exe)} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	env.getenv = func(name string) string {
		for _, v := range variables {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value
			}
		}
		return ""
	}
	return env
}

// testDownloader fetches testModel from the server at address and does not wait between tries.
func testDownloader(t testing.TB, address string, variables ...string) *Downloader {
	env := testEnv(t, append(variables, "HF_ENDPOINT="+address)...)
	d := newDownloader(env, false)
	d.table = []Published{testModel()}
	d.sleep = func(ctx context.Context, _ time.Duration) error { return sleepContext(ctx, time.Millisecond) }
	t.Cleanup(d.client.CloseIdleConnections)
	return d
}

// testHub is a server that keeps a list of the requests it got: "GET bytes=5-".
type testHub struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string
}

// newHub serves with the handler, which is also told the request's number, from 0.
func newHub(t testing.TB, handler func(n int, w http.ResponseWriter, r *http.Request)) *testHub {
	hub := &testHub{}
	hub.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hub.mu.Lock()
		n := len(hub.seen)
		hub.seen = append(hub.seen, strings.TrimSpace(r.Method+" "+r.Header.Get("Range")))
		hub.mu.Unlock()
		handler(n, w, r)
	}))
	t.Cleanup(hub.Close)
	return hub
}

func (hub *testHub) requests() string {
	hub.mu.Lock()
	defer hub.mu.Unlock()
	return strings.Join(hub.seen, ", ")
}

// serveWhole serves testFile, and its ranges, as a server should.
func serveWhole(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(testFile))
}

// cutOff promises all of data and breaks the connection off after n bytes.
func cutOff(w http.ResponseWriter, data []byte, n int) {
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Write(data[:n])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// cutRange is cutOff for a request of the bytes from first on.
func cutRange(w http.ResponseWriter, first, n int) {
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, len(testFile)-1, len(testFile)))
	w.Header().Set("Content-Length", strconv.Itoa(len(testFile)-first))
	w.WriteHeader(http.StatusPartialContent)
	w.Write(testFile[first : first+n])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// leftovers lists what lies beside dest, except dest itself.
func leftovers(t testing.TB, dest string) []string {
	entries, err := os.ReadDir(filepath.Dir(dest))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != filepath.Base(dest) {
			names = append(names, e.Name())
		}
	}
	return names
}

func partialOf(dest string) string { return dest + "." + testModel().sum[:16] + ".partial" }

func TestFetch(t *testing.T) {
	wrong := bytes.Repeat([]byte("x"), len(testFile))
	status := func(code int) func(int, http.ResponseWriter, *http.Request) {
		return func(_ int, w http.ResponseWriter, _ *http.Request) { http.Error(w, "sorry", code) }
	}
	for _, test := range []struct {
		name      string
		handler   func(n int, w http.ResponseWriter, r *http.Request)
		before    []byte   // of the partial file
		quick     bool     // a plain run
		variables []string // of the environment
		requests  string   // what the server is asked
		err       string   // "" for success
		noStart   bool
		kept      int // bytes of the partial file that are left after a failure
	}{
		{
			name:     "at once",
			handler:  func(_ int, w http.ResponseWriter, r *http.Request) { serveWhole(w, r) },
			requests: "GET",
		},
		{
			name: "broken off twice",
			handler: func(n int, w http.ResponseWriter, r *http.Request) {
				switch n {
				case 0:
					cutOff(w, testFile, 300_000)
				case 1:
					cutRange(w, 300_000, 100_000)
				}
				serveWhole(w, r)
			},
			requests: "GET, GET bytes=300000-, GET bytes=400000-",
		},
		{
			name: "broken off again and again, but always further",
			handler: func(n int, w http.ResponseWriter, r *http.Request) {
				if n < 10 {
					cutRange(w, 1000*n, 1000)
				}
				serveWhole(w, r)
			},
			requests: "GET, GET bytes=1000-, GET bytes=2000-, GET bytes=3000-, GET bytes=4000-, GET bytes=5000-, " +
				"GET bytes=6000-, GET bytes=7000-, GET bytes=8000-, GET bytes=9000-, GET bytes=10000-",
		},
		{
			name:     "resumed from an earlier run",
			handler:  func(_ int, w http.ResponseWriter, r *http.Request) { serveWhole(w, r) },
			before:   testFile[:123_456],
			requests: "GET bytes=123456-",
		},
		{
			name:    "whole, but not yet renamed by an earlier run",
			handler: func(_ int, w http.ResponseWriter, r *http.Request) { serveWhole(w, r) },
			before:  testFile,
		},
		{
			name:     "longer than the file by an earlier run",
			handler:  func(_ int, w http.ResponseWriter, r *http.Request) { serveWhole(w, r) },
			before:   append(bytes.Clone(testFile), 'x'),
			requests: "GET",
		},
		{
			name:     "spoilt by an earlier run",
			handler:  func(_ int, w http.ResponseWriter, r *http.Request) { serveWhole(w, r) },
			before:   make([]byte, 123_456),
			requests: "GET bytes=123456-, GET",
		},
		{
			name: "broken off where the connection ends the file",
			handler: func(n int, w http.ResponseWriter, r *http.Request) {
				if n > 0 {
					serveWhole(w, r)
					return
				}
				conn, buf, _ := w.(http.Hijacker).Hijack()
				buf.WriteString("HTTP/1.0 200 OK\r\n\r\n")
				buf.Write(testFile[:50_000])
				buf.Flush()
				conn.Close()
			},
			requests: "GET, GET bytes=50000-",
		},
		{
			name: "without a Content-Length",
			handler: func(n int, w http.ResponseWriter, r *http.Request) {
				w.(http.Flusher).Flush()
				w.Write(testFile)
			},
			requests: "GET",
		},
		{
			name: "range ignored",
			handler: func(n int, w http.ResponseWriter, r *http.Request) {
				if n == 0 {
					cutOff(w, testFile, 1000)
				}
				r.Header.Del("Range")
				serveWhole(w, r)
			},
			requests: "GET, GET bytes=1000-",
		},
		{
			name: "range refused",
			handler: func(n int, w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") != "" {
					w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
					return
				}
				serveWhole(w, r)
			},
			before:   testFile[:1000],
			requests: "GET bytes=1000-, GET",
		},
		{
			name: "another range than asked for",
			handler: func(n int, w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") != "" {
					cutRange(w, 17, 100)
				}
				serveWhole(w, r)
			},
			before:   testFile[:1000],
			requests: "GET bytes=1000-, GET",
		},
		{
			name: "a range without Content-Range",
			handler: func(n int, w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") != "" {
					w.WriteHeader(http.StatusPartialContent)
					w.Write(testFile[1000:])
					return
				}
				serveWhole(w, r)
			},
			before:   testFile[:1000],
			requests: "GET bytes=1000-, GET",
		},
		{
			name:    "never the range that was asked for",
			handler: func(_ int, w http.ResponseWriter, r *http.Request) { cutRange(w, 17, 100) },
			before:  testFile[:1000], requests: "GET bytes=1000-, GET, GET, GET",
			err: "the server's answers do not fit together", noStart: true,
		},
		{
			name: "a range of a file of another length",
			handler: func(_ int, w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Range", "bytes 1000-1999/2000")
				w.WriteHeader(http.StatusPartialContent)
			},
			before: testFile[:1000], requests: "GET bytes=1000-",
			err: "has 2000 bytes, not 700001", noStart: true, kept: 1000,
		},
		{
			name: "another file behind the break",
			handler: func(n int, w http.ResponseWriter, r *http.Request) {
				switch n {
				case 0:
					cutOff(w, testFile, 1000)
				case 1:
					http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(wrong))
				default:
					serveWhole(w, r)
				}
			},
			requests: "GET, GET bytes=1000-, GET",
		},
		{
			name:     "wrong length",
			handler:  func(_ int, w http.ResponseWriter, r *http.Request) { w.Write(testFile[:2000]) },
			requests: "GET",
			err:      "offers 2000 bytes, not 700001", noStart: true,
		},
		{
			name: "no length, and longer",
			handler: func(_ int, w http.ResponseWriter, r *http.Request) {
				w.(http.Flusher).Flush()
				w.Write(testFile)
				w.Write([]byte("x"))
			},
			requests: "GET",
			err:      "wrong size: more arrives than the 700001 bytes",
		},
		{
			name: "no length, and empty",
			handler: func(_ int, w http.ResponseWriter, r *http.Request) {
				w.(http.Flusher).Flush()
			},
			requests: "GET, GET, GET, GET",
			err:      "the connection broke off", noStart: true,
		},
		{
			name:     "of no length",
			handler:  func(_ int, w http.ResponseWriter, r *http.Request) {},
			requests: "GET",
			err:      "offers 0 bytes, not 700001", noStart: true,
		},
		{
			name: "wrong checksum",
			handler: func(_ int, w http.ResponseWriter, r *http.Request) {
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(wrong))
			},
			requests: "GET",
			err:      "is " + fmt.Sprintf("%x", sha256.Sum256(wrong)) + ", not " + testModel().sum,
		},
		{
			name: "wrong checksum of what goes on an earlier run",
			handler: func(_ int, w http.ResponseWriter, r *http.Request) {
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(wrong))
			},
			before: wrong[:10], requests: "GET bytes=10-, GET",
			err: "is " + fmt.Sprintf("%x", sha256.Sum256(wrong)) + ", not " + testModel().sum,
		},
		{
			name: "a login page",
			handler: func(_ int, w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, "<!DOCTYPE html><title>Welcome to the guest network</title>")
			},
			requests: "GET",
			err:      "a web page: does this network ask for a login?", noStart: true,
		},
		{
			name: "a login page without a length, over an earlier run's part",
			handler: func(_ int, w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				w.(http.Flusher).Flush()
				fmt.Fprint(w, "<!DOCTYPE html><title>Welcome to the guest network</title>")
			},
			before: testFile[:1000], requests: "GET bytes=1000-",
			err: "a web page: does this network ask for a login?", noStart: true, kept: 1000,
		},
		{
			name: "encoded",
			handler: func(_ int, w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				w.Write(testFile)
			},
			requests: "GET",
			err:      `encoded as "gzip"`, noStart: true,
		},
		{
			name: "500, 503, 429, then the file",
			handler: func(n int, w http.ResponseWriter, r *http.Request) {
				if n < 3 {
					status([]int{500, 503, 429}[n])(n, w, r)
					return
				}
				serveWhole(w, r)
			},
			requests: "GET, GET, GET, GET",
		},
		{
			name: "500 in the middle",
			handler: func(n int, w http.ResponseWriter, r *http.Request) {
				if n == 0 {
					cutOff(w, testFile, 1000)
				}
				if n < 6 {
					status(500)(n, w, r)
					return
				}
				serveWhole(w, r)
			},
			requests: "GET, GET bytes=1000-, GET bytes=1000-, GET bytes=1000-, GET bytes=1000-, GET bytes=1000-, GET bytes=1000-",
		},
		{
			name: "the middle is as far as it goes",
			handler: func(n int, w http.ResponseWriter, r *http.Request) {
				if n == 0 {
					cutOff(w, testFile, 1000)
				}
				status(502)(n, w, r)
			},
			requests: "GET" + strings.Repeat(", GET bytes=1000-", 6),
			err:      "502 Bad Gateway; 1.0 kB of 700.0 kB are kept", kept: 1000,
		},
		{
			name: "404 in the middle",
			handler: func(n int, w http.ResponseWriter, r *http.Request) {
				if n == 0 {
					cutOff(w, testFile, 1000)
				}
				status(404)(n, w, r)
			},
			requests: "GET, GET bytes=1000-", err: "404 Not Found", kept: 1000,
		},
		{name: "500", handler: status(500), requests: "GET, GET, GET, GET", err: "500 Internal Server Error", noStart: true},
		{name: "500, plain run", quick: true, handler: status(500), requests: "GET, GET", err: "500 Internal Server Error", noStart: true},
		{name: "404", handler: status(404), requests: "GET", err: "404 Not Found: the file is not there; is HF_ENDPOINT right?", noStart: true},
		{name: "401", handler: status(401), requests: "GET", err: "401 Unauthorized: it may want a token in HF_TOKEN", noStart: true},
		{name: "403 with a token", handler: status(403), variables: []string{"HF_TOKEN=hf_secret"}, requests: "GET",
			err: "403 Forbidden: it may not accept the token in HF_TOKEN", noStart: true},
		{name: "416 for the whole", handler: status(416), requests: "GET", err: "416 Requested Range Not Satisfiable", noStart: true},
		{name: "an unknown answer", handler: status(299), requests: "GET", err: "answers 299", noStart: true},
		{name: "offline", handler: status(500), variables: []string{"HF_HUB_OFFLINE=1"}, err: "HF_HUB_OFFLINE=1 forbids the network"},
		{
			name: "asked to come back later than one wants to wait",
			handler: func(n int, w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Retry-After", "3600")
				status(429)(n, w, r)
			},
			requests: "GET", err: "429 Too Many Requests", noStart: true,
		},
		{
			name: "redirects without end",
			handler: func(_ int, w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, r.URL.Path, http.StatusFound)
			},
			requests: "GET" + strings.Repeat(", GET", 9), err: "more than 10 redirects", noStart: true,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			hub := newHub(t, test.handler)
			d := testDownloader(t, hub.URL, test.variables...)
			d.quick = test.quick
			dest := cacheFile("gpt2", d.env)
			if test.before != nil {
				if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(partialOf(dest), test.before, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			last := int64(-1)
			d.progress = func(done, total int64) {
				if done < 0 || done > total || total != int64(len(testFile)) {
					t.Errorf("progress(%d, %d)", done, total)
				}
				last = done
			}

			path, err := d.fetch(context.Background(), "gpt2", "")
			if got := hub.requests(); got != test.requests {
				t.Errorf("requests: %s\n    want: %s", got, test.requests)
			}
			if test.err == "" {
				if err != nil {
					t.Fatal(err)
				}
				got, readErr := os.ReadFile(path)
				if readErr != nil || path != dest || !bytes.Equal(got, testFile) {
					t.Errorf("%s: %d bytes, %v", path, len(got), readErr)
				}
				if last != int64(len(testFile)) {
					t.Errorf("progress ended at %d", last)
				}
				if left := leftovers(t, dest); left != nil {
					t.Errorf("left over: %q", left)
				}
				return
			}

			if err == nil || !strings.Contains(err.Error(), test.err) || !strings.HasPrefix(err.Error(), "fetching gpt2: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v\n want … %s …", err, test.err)
			}
			if errors.Is(err, errNoStart) != test.noStart {
				t.Errorf("errNoStart is %v: %v", !test.noStart, err)
			}
			if _, err := os.Stat(dest); err == nil {
				t.Error("the file is there")
			}
			kept, _ := os.ReadFile(partialOf(dest))
			if !bytes.Equal(kept, testFile[:test.kept]) {
				t.Errorf("%d bytes are kept, want %d", len(kept), test.kept)
			}
			if left := leftovers(t, dest); len(left) > 1 || len(left) == 1 && test.kept == 0 {
				t.Errorf("left over: %q", left)
			}
		})
	}
}

// TestFetchDestination covers the ways to say where the file goes, and a file that is there.
func TestFetchDestination(t *testing.T) {
	hub := newHub(t, func(_ int, w http.ResponseWriter, r *http.Request) { serveWhole(w, r) })
	d := testDownloader(t, hub.URL)
	folder := t.TempDir()
	file := filepath.Join(folder, "x.bin")
	if err := os.WriteFile(file, []byte("something else"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ dest, want string }{
		{folder, filepath.Join(folder, "gpt2.safetensors")},
		{file, file},
		{file, file}, // nothing is asked for the second time
	} {
		path, err := d.fetch(context.Background(), "openai-community/gpt2", test.dest)
		got, _ := os.ReadFile(test.want)
		if err != nil || path != test.want || !bytes.Equal(got, testFile) {
			t.Errorf("%s: %s, %d bytes, %v", test.dest, path, len(got), err)
		}
	}
	if got := hub.requests(); got != "GET, GET" {
		t.Errorf("requests: %s", got)
	}

	d.env.cache = ""
	for _, test := range []struct{ name, dest, want string }{
		{"gpt2", filepath.Join(folder, "no", "x"), "cannot write into " + filepath.Join(folder, "no")},
		{"gpt2", "", `this system names no cache folder; say with "mechpatch fetch -o FILE"`},
		{"gpt3", file, "fetching gpt3: no model of that name: known are gpt2"},
		{"circuit", file, "it is built into the program"},
	} {
		if _, err := d.fetch(context.Background(), test.name, test.dest); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want … %s …", test.dest, err, test.want)
		}
	}
	d.env.cache = file
	if _, err := d.fetch(context.Background(), "gpt2", ""); err == nil || !strings.Contains(err.Error(), "mechpatch fetch -o FILE") || errors.Is(err, errNoStart) {
		t.Errorf("a cache that is no folder: %v", err)
	}
	d.env.getenv = func(name string) string { return map[string]string{"HF_ENDPOINT": "huggingface.co"}[name] }
	if _, err := d.fetch(context.Background(), "gpt2", file); err == nil || !strings.Contains(err.Error(), "HF_ENDPOINT is not an address") {
		t.Errorf("an endpoint without https: %v", err)
	}
}

// TestFetchAnnounced fetches a model whose sum only the hub knows.
func TestFetchAnnounced(t *testing.T) {
	commit := strings.Repeat("b", 40)
	etag := `"` + testModel().sum + `"`
	size := strconv.Itoa(len(testFile))
	elsewhere := newHub(t, func(_ int, w http.ResponseWriter, r *http.Request) { serveWhole(w, r) })
	for _, test := range []struct {
		name               string
		etag, size, commit string
		want               string // the path of the GET, or the error
	}{
		{"as the hub does", etag, size, commit, "/o/r/resolve/" + commit + "/model.safetensors"},
		{"a weak tag", "W/" + etag, size, commit, "/o/r/resolve/" + commit + "/model.safetensors"},
		{"a tag without quotes, in capitals", strings.ToUpper(testModel().sum), size, commit, "/o/r/resolve/" + commit + "/model.safetensors"},
		{"no commit", etag, size, "", "/o/r/resolve/main/model.safetensors"},
		{"a commit that leads elsewhere", etag, size, "../../../../x", "/o/r/resolve/main/model.safetensors"},
		{"no tag", "", size, commit, "does not announce the file's SHA-256"},
		{"a git sum as the tag", commit, size, commit, "does not announce the file's SHA-256"},
		{"no size", etag, "", commit, "does not announce the file's size"},
		{"a bad size", etag, "-5", commit, "does not announce the file's size"},
		{"a vast size", etag, "99999999999999", commit, "does not announce the file's size"},
		{"another size", etag, "700002", commit, "offers 700001 bytes, not 700002"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got string
			hub := newHub(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/old/") { // as for a repository that was renamed
					http.Redirect(w, r, strings.Replace(r.URL.Path, "/old/", "/o/", 1), http.StatusTemporaryRedirect)
					return
				}
				for name, value := range map[string]string{"X-Linked-Etag": test.etag, "X-Linked-Size": test.size, "X-Repo-Commit": test.commit} {
					if value != "" {
						w.Header().Set(name, value)
					}
				}
				w.Header().Set("ETag", `"not this one"`)
				if r.Method == http.MethodGet {
					got = r.URL.Path
				}
				http.Redirect(w, r, elsewhere.URL, http.StatusFound)
			})
			d := testDownloader(t, hub.URL)
			d.table = []Published{{name: "r", repo: "old/r", former: "r"}}
			path, err := d.fetch(context.Background(), "r", "")
			if !strings.HasPrefix(test.want, "/") {
				if err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, errNoStart) {
					t.Errorf("%v, want %s", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if data, _ := os.ReadFile(path); !bytes.Equal(data, testFile) {
				t.Errorf("%s has %d bytes", path, len(data))
			}
			if got != test.want {
				t.Errorf("GET %s, want %s", got, test.want)
			}
		})
	}
}

// TestFetchToken looks at who gets to see the token.
func TestFetchToken(t *testing.T) {
	const token = "hf_secret"
	var cdnSaw, backSaw, hubSaw []string
	var cdn, hub *testHub
	hub = newHub(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/back") {
			backSaw = append(backSaw, r.Header.Get("Authorization"))
			serveWhole(w, r)
			return
		}
		hubSaw = append(hubSaw, r.Header.Get("Authorization"))
		w.Header().Set("X-Linked-Etag", testModel().sum)
		w.Header().Set("X-Linked-Size", strconv.Itoa(len(testFile)))
		http.Redirect(w, r, cdn.URL+"/x", http.StatusFound)
	})
	cdn = newHub(t, func(_ int, w http.ResponseWriter, r *http.Request) { // the same host, another port
		cdnSaw = append(cdnSaw, r.Header.Get("Authorization"))
		http.Redirect(w, r, hub.URL+"/back", http.StatusFound)
	})
	d := testDownloader(t, hub.URL, "HF_TOKEN= "+token+"\n")
	d.table = []Published{{name: "gpt2", repo: "openai-community/gpt2"}}
	if _, err := d.fetch(context.Background(), "gpt2", ""); err != nil {
		t.Fatal(err)
	}
	if len(hubSaw) != 2 || hubSaw[0] != "Bearer "+token || hubSaw[1] != "Bearer "+token {
		t.Errorf("the hub saw %q", hubSaw)
	}
	if len(cdnSaw) != 1 || cdnSaw[0] != "" {
		t.Errorf("the other host saw %q", cdnSaw)
	}
	if len(backSaw) != 1 {
		t.Errorf("asked %d times in the end", len(backSaw))
	}

	d = testDownloader(t, hub.URL, "HF_TOKEN=hf_\x01secret")
	if _, err := d.fetch(context.Background(), "gpt2", ""); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a token that is none: %v", err)
	}
}

func TestCheckRedirect(t *testing.T) {
	for _, test := range []struct {
		from, to string
		keeps    bool // the token
		err      string
	}{
		{"https://huggingface.co/a", "https://huggingface.co/b", true, ""},
		{"https://huggingface.co/a", "https://HuggingFace.co:443/b", true, ""},
		{"https://huggingface.co/a", "https://cdn.huggingface.co/b", false, ""},
		{"https://huggingface.co/a", "https://huggingface.co:8443/b", false, ""},
		{"http://127.0.0.1:80/a", "http://127.0.0.1:81/a", false, ""},
		{"http://127.0.0.1/a", "https://127.0.0.1/a", false, ""},
		{"https://huggingface.co/a", "http://huggingface.co/b", false, "redirects to an address without HTTPS"},
	} {
		from := httptest.NewRequest("GET", test.from, nil)
		to := httptest.NewRequest("GET", test.to, nil)
		to.Header.Set("Authorization", "Bearer hf_secret")
		err := checkRedirect(to, []*http.Request{from})
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s to %s: %v", test.from, test.to, err)
			}
			continue
		}
		if keeps := to.Header.Get("Authorization") != ""; err != nil || keeps != test.keeps {
			t.Errorf("%s to %s: keeps the token: %v, %v", test.from, test.to, keeps, err)
		}
	}
}

// TestFetchHTTPS goes through TLS, with a certificate that is trusted and with one that is not.
func TestFetchHTTPS(t *testing.T) {
	asked := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.ProtoMajor != 1 {
			t.Errorf("over %s", r.Proto)
		}
		serveWhole(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it notes the refused handshake
	server.StartTLS()
	defer server.Close()

	d := testDownloader(t, server.URL)
	_, err := d.fetch(context.Background(), "gpt2", "")
	if err == nil || !strings.Contains(err.Error(), "certificate") || !errors.Is(err, errNoStart) || asked != 0 {
		t.Errorf("an unknown certificate: %v", err)
	}
	d.client.Transport.(*http.Transport).TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
	if _, err := d.fetch(context.Background(), "gpt2", ""); err != nil || asked != 1 {
		t.Error(err)
	}
}

// TestFetchProxy has a proxy between itself and the hub: the address of the latter does not exist.
func TestFetchProxy(t *testing.T) {
	for _, test := range []struct {
		scheme string
		status int // the proxy's answer
		err    string
	}{
		{"http", 200, ""},
		{"http", 407, "407 Proxy Authentication Required: it wants a name and a password"},
		{"http", 502, "502 Bad Gateway"},
		{"https", 407, "407 Proxy Authentication Required: it wants a name and a password"},
		{"https", 502, "502 Bad Gateway"},
	} {
		proxy := newHub(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.Host != "hub.invalid" && r.Host != "hub.invalid:443" {
				t.Errorf("asked for host %s", r.Host)
			}
			if test.status != 200 {
				w.WriteHeader(test.status)
				return
			}
			serveWhole(w, r)
		})
		d := testDownloader(t, test.scheme+"://hub.invalid")
		d.quick = true
		address, _ := url.Parse(proxy.URL)
		d.client.Transport.(*http.Transport).Proxy = http.ProxyURL(address)
		_, err := d.fetch(context.Background(), "gpt2", "")
		if test.err == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.err) || !errors.Is(err, errNoStart) {
			t.Errorf("%s, %d: %v", test.scheme, test.status, err)
		}
	}
}

// TestFetchNobody asks where nobody listens.
func TestFetchNobody(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	for _, quick := range []bool{false, true} {
		d := testDownloader(t, "http://"+listener.Addr().String())
		d.quick = quick
		waits := 0
		d.sleep = func(context.Context, time.Duration) error {
			waits++
			return nil
		}
		if _, err := d.fetch(context.Background(), "gpt2", ""); !errors.Is(err, errNoStart) || strings.Contains(err.Error(), "resolve") {
			t.Errorf("quick %v: %v", quick, err)
		}
		if quick != (waits == 0) {
			t.Errorf("quick %v: tried again %d times", quick, waits)
		}
	}
}

// TestFetchSlow has servers that let one wait.
func TestFetchSlow(t *testing.T) {
	t.Run("before the answer, plain run", func(t *testing.T) {
		t.Parallel()
		hub := newHub(t, func(_ int, w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		d := testDownloader(t, hub.URL)
		d.quick, d.startWithin = true, 50*time.Millisecond
		if _, err := d.fetch(context.Background(), "gpt2", ""); !errors.Is(err, errNoStart) || !strings.Contains(err.Error(), "nothing of the file within 50ms") {
			t.Error(err)
		}
	})
	t.Run("between the tries, plain run", func(t *testing.T) {
		t.Parallel()
		hub := newHub(t, func(_ int, w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
		d := testDownloader(t, hub.URL)
		d.quick, d.startWithin = true, 1300*time.Millisecond // longer than the first pause, or that would not even be begun
		d.sleep = func(ctx context.Context, _ time.Duration) error { <-ctx.Done(); return ctx.Err() }
		if _, err := d.fetch(context.Background(), "gpt2", ""); !errors.Is(err, errNoStart) || !strings.Contains(err.Error(), "nothing of the file within 1.3s") {
			t.Error(err)
		}
	})
	for _, before := range [][]byte{nil, []byte("spoilt, so that all is fetched twice")} {
		t.Run(fmt.Sprintf("after the first byte, plain run, %d bytes of an earlier run", len(before)), func(t *testing.T) {
			t.Parallel()
			const startWithin = 2 * time.Second
			hub := newHub(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") != "" {
					serveWhole(w, r)
					return
				}
				w.Header().Set("Content-Length", strconv.Itoa(len(testFile)))
				w.Write(testFile[:10])
				w.(http.Flusher).Flush()
				time.Sleep(startWithin + 200*time.Millisecond)
				w.Write(testFile[10:])
			})
			d := testDownloader(t, hub.URL)
			d.quick, d.startWithin = true, startWithin
			dest := filepath.Join(t.TempDir(), "x")
			if err := os.WriteFile(partialOf(dest), before, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := d.fetch(context.Background(), "gpt2", dest); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("all along, but never for too long", func(t *testing.T) {
		t.Parallel()
		const stall = 1500 * time.Millisecond
		hub := newHub(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(testFile)))
			for i := 0; i < 5; i++ {
				w.Write(testFile[10*i : 10*i+10])
				w.(http.Flusher).Flush()
				time.Sleep(stall / 4)
			}
			w.Write(testFile[50:])
		})
		d := testDownloader(t, hub.URL)
		d.stall = stall
		if _, err := d.fetch(context.Background(), "gpt2", ""); err != nil {
			t.Error(err)
		}
		if got := hub.requests(); got != "GET" {
			t.Error(got)
		}
	})
	t.Run("in the middle", func(t *testing.T) {
		t.Parallel()
		hub := newHub(t, func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 0 {
				w.Header().Set("Content-Length", strconv.Itoa(len(testFile)))
				w.Write(testFile[:10])
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				return
			}
			serveWhole(w, r)
		})
		d := testDownloader(t, hub.URL)
		d.stall = time.Second
		var notes []string
		d.note = func(line string) { notes = append(notes, line) }
		if _, err := d.fetch(context.Background(), "gpt2", ""); err != nil {
			t.Error(err)
		}
		if got := hub.requests(); !strings.HasPrefix(got, "GET, GET bytes=10-") {
			t.Error(got)
		}
		if len(notes) < 2 || !strings.HasPrefix(notes[0], "fetching gpt2 (700.0 kB) from "+hub.URL+"/openai-community/gpt2 into ") || !strings.HasPrefix(notes[1], "nothing arrives any more; trying again in ") {
			t.Errorf("%q", notes)
		}
	})
}

// TestFetchInterrupted ends a fetch in the middle, as Ctrl-C does, and lets another one go on.
func TestFetchInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	hub := newHub(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 0 {
			w.Header().Set("Content-Length", strconv.Itoa(len(testFile)))
			w.Write(testFile[:1000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		serveWhole(w, r)
	})
	d := testDownloader(t, hub.URL)
	d.quick = true
	d.progress = func(done, _ int64) {
		if done >= 1000 {
			cancel()
		}
	}
	_, err := d.fetch(ctx, "gpt2", "")
	if err == nil || !strings.Contains(err.Error(), "interrupted; 1.0 kB of 700.0 kB are kept") || errors.Is(err, errNoStart) {
		t.Error(err)
	}
	if _, err := d.fetch(context.Background(), "gpt2", ""); err != nil {
		t.Error(err)
	}
	if got := hub.requests(); got != "GET, GET bytes=1000-" {
		t.Error(got)
	}
	if _, err := d.fetch(ctx, "gpt2", filepath.Join(t.TempDir(), "x")); err == nil || errors.Is(err, errNoStart) || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("interrupted before it begins: %v", err)
	}
}

// TestFetchNoSpace runs out of space in the middle: with a writer that fails, and where the test may mount one, on a full file system.
func TestFetchNoSpace(t *testing.T) {
	full := map[bool]error{false: syscall.ENOSPC, true: syscall.Errno(112)}[runtime.GOOS == "windows"] // ERROR_DISK_FULL
	hub := newHub(t, func(_ int, w http.ResponseWriter, r *http.Request) { serveWhole(w, r) })
	check := func(t *testing.T, d *Downloader, dest, want string) {
		_, err := d.fetch(context.Background(), "gpt2", dest)
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, errNoStart) {
			t.Errorf("%v, want … %s …", err, want)
		}
		if left := leftovers(t, dest); left != nil {
			t.Errorf("left over: %q", left)
		}
	}
	for _, test := range []struct {
		err  error
		want string
	}{
		{full, "no space for 700.0 kB in "},
		{syscall.EIO, "cannot write into "},
	} {
		d := testDownloader(t, hub.URL)
		d.write = func(f *os.File, data []byte) (int, error) {
			n, _ := f.Write(data[:len(data)/2])
			return n, &os.PathError{Op: "write", Path: f.Name(), Err: test.err}
		}
		check(t, d, filepath.Join(t.TempDir(), "x"), test.want)
	}
	t.Run("tmpfs", func(t *testing.T) {
		folder := t.TempDir()
		if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=300k", "none", folder).CombinedOutput(); err != nil {
			t.Skipf("needs the right to mount a file system: %v %s", err, out)
		}
		defer exec.Command("umount", folder).Run()
		check(t, testDownloader(t, hub.URL), filepath.Join(folder, "x"), "no space for 700.0 kB in ")
	})
}

// TestFetchTogether lets several fetch the same file: one of them does, and the others wait for it.
func TestFetchTogether(t *testing.T) {
	hub := newHub(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 0 {
			time.Sleep(100 * time.Millisecond) // until all have come
			cutOff(w, testFile, 300_000)
		}
		serveWhole(w, r)
	})
	d := testDownloader(t, hub.URL)
	var group sync.WaitGroup
	for i := 0; i < 8; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			path, err := d.fetch(context.Background(), "gpt2", "")
			if data, _ := os.ReadFile(path); err != nil || !bytes.Equal(data, testFile) {
				t.Errorf("%s: %d bytes, %v", path, len(data), err)
			}
		}()
	}
	group.Wait()
	if got := hub.requests(); got != "GET, GET bytes=300000-" {
		t.Error(got)
	}
	if left := leftovers(t, cacheFile("gpt2", d.env)); left != nil {
		t.Errorf("left over: %q", left)
	}
}

// TestFetchBesideStuck has another process hold the lock and do nothing.
func TestFetchBesideStuck(t *testing.T) {
	t.Parallel()
	hub := newHub(t, func(_ int, w http.ResponseWriter, r *http.Request) { serveWhole(w, r) })
	d := testDownloader(t, hub.URL)
	d.stall = 500 * time.Millisecond
	dest := filepath.Join(t.TempDir(), "x")
	unlock, err := lockFile(dest + ".lock")
	if errors.Is(err, errNoLocks) {
		t.Skip("no locks here")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockFile(dest + ".lock"); err != errLocked {
		t.Errorf("locked twice: %v", err)
	}
	if _, err := d.fetch(context.Background(), "gpt2", dest); err != nil {
		t.Error(err)
	}
	unlock()
	if data, _ := os.ReadFile(dest); !bytes.Equal(data, testFile) {
		t.Errorf("%d bytes", len(data))
	}
	if left := leftovers(t, dest); left != nil {
		t.Errorf("left over: %q", left)
	}
}

// TestFetchProcesses does the same with processes, the first of which is killed in the middle, and through a proxy that only the environment
// names. Its children are this test program, running TestFetchChild.
func TestFetchProcesses(t *testing.T) {
	killed := make(chan bool)
	hub := newHub(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if r.Host != "hub.invalid" {
			t.Errorf("asked for host %s", r.Host)
		}
		if n == 0 {
			w.Header().Set("Content-Length", strconv.Itoa(len(testFile)))
			w.Write(testFile[:300_000])
			w.(http.Flusher).Flush()
			<-killed
			return
		}
		serveWhole(w, r)
	})
	dest := filepath.Join(t.TempDir(), "gpt2.safetensors")
	child := func() *exec.Cmd {
		command := exec.Command(os.Args[0], "-test.run=^TestFetchChild$", "-test.count=1")
		command.Env = append(os.Environ(), "MECHPATCH_TEST_DEST="+dest, "HF_ENDPOINT=http://hub.invalid", "http_proxy=", "no_proxy=", "HTTP_PROXY="+hub.URL, "NO_PROXY=",
			"HF_HUB_OFFLINE=", "TRANSFORMERS_OFFLINE=", "GOCOVERDIR="+t.TempDir())
		return command
	}

	first := child()
	if err := first.Start(); errors.Is(err, syscall.ENOEXEC) {
		t.Skipf("this program runs in an emulator and cannot start itself: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	for {
		if info, err := os.Stat(partialOf(dest)); err == nil && info.Size() == 300_000 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	first.Process.Kill()
	first.Wait()
	close(killed)

	var group sync.WaitGroup
	for i := 0; i < 3; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			if out, err := child().CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		}()
	}
	group.Wait()
	if got := hub.requests(); got != "GET, GET bytes=300000-" {
		t.Error(got)
	}
	if data, _ := os.ReadFile(dest); !bytes.Equal(data, testFile) {
		t.Errorf("%d bytes", len(data))
	}
	if left := leftovers(t, dest); left != nil {
		t.Errorf("left over: %q", left)
	}
}

// TestFetchChild is what TestFetchProcesses starts.
func TestFetchChild(t *testing.T) {
	dest := os.Getenv("MECHPATCH_TEST_DEST")
	if dest == "" {
		t.Skip("runs as a child of TestFetchProcesses")
	}
	d := newDownloader(systemEnv(false), true)
	d.table = []Published{testModel()}
	if _, err := d.fetch(context.Background(), "gpt2", dest); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(dest); !bytes.Equal(data, testFile) {
		t.Errorf("%d bytes", len(data))
	}
}

func TestPublished(t *testing.T) {
	hub, err := endpoint(testEnv(t))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fileURL(hub, published[0]), "https://huggingface.co/openai-community/gpt2/resolve/607a30d783dfa663caf39e06633721c8d4cfcd7e/model.safetensors"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := fileURL(hub, published[4]), "https://huggingface.co/distilbert/distilgpt2/resolve/main/model.safetensors"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	hub, err = endpoint(testEnv(t, "HF_ENDPOINT=https://mirror.example/hub/"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fileURL(hub, published[1]), "https://mirror.example/hub/openai-community/gpt2-medium/resolve/main/model.safetensors"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, p := range published {
		if p.sum != "" && (len(p.sum) != 64 || !isHex(p.sum) || len(p.revision) != 40 || p.size == 0) {
			t.Errorf("%s: the sum needs a revision and a size", p.name)
		}
	}
}

func TestPause(t *testing.T) {
	for tries := 1; tries < 100; tries++ {
		mean := min(float64(int(1)<<min(tries-1, 10)), 32)
		if got := pause(tries).Seconds(); got < 0.75*mean || got > 1.25*mean {
			t.Errorf("after %d tries %g s", tries, got)
		}
	}
}

// TestRetryAfter looks at how long a server makes one wait.
func TestRetryAfter(t *testing.T) {
	d := testDownloader(t, "http://127.0.0.1")
	for _, test := range []struct {
		header       string
		least, until time.Duration
	}{
		{"", 0, 0},
		{"7", 7 * time.Second, 7 * time.Second},
		{"-7", 0, 0},
		{"soon", 0, 0},
		{"9223372036854775807", time.Hour, 1 << 62},
		{time.Now().Add(time.Minute).UTC().Format(http.TimeFormat), 50 * time.Second, time.Minute},
	} {
		response := &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {test.header}}}
		if f := d.refusal(response); f.after < test.least || f.after > test.until || !f.again {
			t.Errorf("%q: %s", test.header, f.after)
		}
	}
}

func TestParseContentRange(t *testing.T) {
	for _, test := range []struct {
		s            string
		first, total int64
		ok           bool
	}{
		{"bytes 0-9/10", 0, 10, true},
		{"bytes 5-9/*", 5, -1, true},
		{"bytes 5-9/9", 0, 0, false},
		{"bytes 9-5/10", 0, 0, false},
		{"bytes */10", 0, 0, false},
		{"bytes 5-9", 0, 0, false},
		{"bytes -9/10", 0, 0, false},
		{"bytes 5-/10", 0, 0, false},
		{"bytes +5-9/10", 0, 0, false},
		{"bytes 5-9/99999999999999999999", 0, 0, false},
		{"items 5-9/10", 0, 0, false},
		{"", 0, 0, false},
	} {
		first, total, ok := parseContentRange(test.s)
		if ok != test.ok || ok && (first != test.first || total != test.total) {
			t.Errorf("%q: %d, %d, %v", test.s, first, total, ok)
		}
	}
}

func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes 5-9/*", "bytes */10", "bytes 9-5/10", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, total, ok := parseContentRange(s)
		if ok && (first < 0 || total != -1 && total <= first) {
			t.Errorf("%q: %d of %d", s, first, total)
		}
	})
}

func FuzzParseAnnouncement(f *testing.F) {
	f.Add(`"`+testModel().sum+`"`, "700001")
	f.Add(`W/"`+testModel().sum+`"`, "0")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, etag, size string) {
		n, sum, err := parseAnnouncement(http.Header{"X-Linked-Etag": {etag}, "X-Linked-Size": {size}})
		if raw, hexErr := hex.DecodeString(sum); err == nil && (n < 1 || hexErr != nil || len(raw) != sha256.Size) {
			t.Errorf("%q, %q: %d, %q", etag, size, n, sum)
		}
	})
}

func TestProgressLine(t *testing.T) {
	for _, test := range []struct {
		done, from, total int64
		elapsed           time.Duration
		width             int
		want              string
	}{
		{225_000_000, 0, 548_105_171, 20 * time.Second, 79, " 41% [###########-----------------]  225.0 MB of 548.1 MB  11.2 MB/s  0:28 left"},
		{225_000_000, 125_000_000, 548_105_171, 10 * time.Second, 79, " 41% [###########-----------------]  225.0 MB of 548.1 MB  10.0 MB/s  0:32 left"},
		{225_000_000, 0, 548_105_171, 20 * time.Second, 50, " 41%  225.0 MB of 548.1 MB  11.2 MB/s  0:28 left"},
		{225_000_000, 0, 548_105_171, 20 * time.Second, 10, " 41%  225."},
		{548_105_170, 0, 548_105_171, time.Hour, 60, " 99% [#######-]  548.1 MB of 548.1 MB  152.3 kB/s  0:00 left"},
		{548_105_171, 0, 548_105_171, time.Second, 60, "100% [########]  548.1 MB of 548.1 MB  548.1 MB/s  0:00 left"},
		{5000, 5000, 548_105_171, time.Second, 60, "  0% [---------------------------------]  5.0 kB of 548.1 MB"},
		{100, 0, 548_105_171, 10 * time.Second, 70, "  0% [------------]  100 bytes of 548.1 MB  10 bytes/s  277:46:40 left"},
		{10, 0, 0, 0, 60, "  0% [--------------------------------]  10 bytes of 0 bytes"},
		{10, 0, 0, 0, 0, ""},
	} {
		got := progressLine(test.done, test.from, test.total, test.elapsed, test.width)
		if got != test.want || len(got) > test.width {
			t.Errorf("%q (%d)\n want %q", got, len(got), test.want)
		}
	}
}
