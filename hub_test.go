package main

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

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

// TestRetryAfter looks at how long a server makes one wait.
func TestRetryAfter(t *testing.T) {
	d, _ := testDownloader(t, "http://127.0.0.1")
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
