package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// endpoint is the hub's address: $HF_ENDPOINT, or the hub itself.
func endpoint(env Env) (*url.URL, error) {
	address := env.getenv("HF_ENDPOINT")
	if address == "" {
		address = "https://huggingface.co"
	}
	hub, err := url.Parse(address)
	if err != nil || hub.Scheme != "https" && hub.Scheme != "http" || hub.Host == "" {
		return nil, errors.New("HF_ENDPOINT is not an address such as https://huggingface.co")
	}
	return hub, nil
}

// fileURL is the address of a published model's weights.
func fileURL(hub *url.URL, p Published) string {
	revision := p.revision
	if revision == "" {
		revision = "main"
	}
	return hub.JoinPath(p.repo, "resolve", revision, weightsFile).String()
}

// request makes a request, with the user's token if it goes to the hub: HF_TOKEN is for HF_ENDPOINT's scheme, host and port alone.
func (d *Downloader) request(ctx context.Context, method, address string) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, &failure{error: err}
	}
	request.Header.Set("User-Agent", "mechpatch")
	request.Header.Set("Accept-Encoding", "identity")
	if token := d.token(); token != "" {
		if hub, err := endpoint(d.env); err == nil && sameOrigin(request.URL, hub) {
			request.Header.Set("Authorization", "Bearer "+token)
		}
	}
	return request, nil
}

func (d *Downloader) token() string { return strings.TrimSpace(d.env.getenv("HF_TOKEN")) }

// checkRedirect is asked before a redirect is followed. The standard library takes the token along to subdomains of the host; here only to
// the very same scheme, host and port.
func checkRedirect(request *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return &failure{error: errors.New("more than 10 redirects")}
	}
	if via[len(via)-1].URL.Scheme == "https" && request.URL.Scheme != "https" {
		return &failure{error: fmt.Errorf("%s redirects to an address without HTTPS", via[len(via)-1].URL.Host)}
	}
	if !sameOrigin(request.URL, via[0].URL) {
		request.Header.Del("Authorization")
	}
	return nil
}

// sameOrigin tells whether two addresses have the same scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	port := func(u *url.URL) string {
		if p := u.Port(); p != "" {
			return p
		}
		return map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

// announced asks the hub for the size, the SHA-256 and the commit of the newest version of p. The hub answers the request for a large file
// with a redirect to where its bytes are, and tells of them in the redirect's X-Linked-Size, X-Linked-Etag and X-Repo-Commit. So the first answer
// that has these is the last one asked for; one that has not (a repository that was renamed, a mirror) is followed.
func (d *Downloader) announced(ctx context.Context, hub *url.URL, p Published) (Published, error) {
	client := *d.client
	client.CheckRedirect = func(request *http.Request, via []*http.Request) error {
		if response := request.Response; response != nil && response.Header.Get("X-Linked-Etag") != "" {
			return http.ErrUseLastResponse
		}
		return checkRedirect(request, via)
	}
	begun := false
	err := d.persist(ctx, &begun, func(ctx context.Context, _ func()) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		watchdog := time.AfterFunc(d.stall, func() { cancel(errStalled) })
		defer watchdog.Stop()
		request, err := d.request(ctx, http.MethodHead, fileURL(hub, p))
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return broken(ctx, err)
		}
		response.Body.Close()
		if response.StatusCode >= 400 {
			return d.refusal(response)
		}
		p.size, p.sum, err = parseAnnouncement(response.Header)
		if err != nil {
			return &failure{error: fmt.Errorf("%s %w", response.Request.URL.Host, err)}
		}
		if commit := response.Header.Get("X-Repo-Commit"); len(commit) == 40 && isHex(commit) {
			p.revision = commit // so that the file is of the version that was announced even if main moves on
		}
		return nil
	})
	return p, err
}

// parseAnnouncement reads the size and the SHA-256 of a large file from the headers of the hub's answer. Without both, what arrives could
// not be checked, and nothing is fetched.
func parseAnnouncement(header http.Header) (size int64, sum string, err error) {
	etag := strings.TrimPrefix(strings.TrimSpace(header.Get("X-Linked-Etag")), "W/")
	sum = strings.ToLower(strings.Trim(etag, `"`))
	if len(sum) != 2*sha256.Size || !isHex(sum) {
		return 0, "", errors.New("does not announce the file's SHA-256 (in X-Linked-Etag), so that it could not be checked")
	}
	size = parseLength(strings.TrimSpace(header.Get("X-Linked-Size")))
	if size < 1 || size > 1<<40 {
		return 0, "", errors.New("does not announce the file's size (in X-Linked-Size), so that it could not be checked")
	}
	return size, sum, nil
}

// position makes sure that the answer is the file, or its rest, and that part stands where the answer's body begins.
func (d *Downloader) position(response *http.Response, part *partialFile) error {
	host := response.Request.URL.Host
	if encoding := response.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return &failure{error: fmt.Errorf("%s sends the file encoded as %.20q, which was not asked for", host, encoding)}
	}
	switch response.StatusCode {
	case http.StatusOK:
		if n := response.ContentLength; n >= 0 && n != part.size {
			return &failure{error: fmt.Errorf("wrong size: %s offers %d bytes%s, not %d", host, n, webPage(response), part.size)}
		}
		if page := webPage(response); response.ContentLength < 0 && page != "" {
			return &failure{error: fmt.Errorf("%s answers with something else than the file%s", host, page)}
		}
		if part.done > 0 { // the server does not do ranges
			return part.drop()
		}
		return nil

	case http.StatusPartialContent:
		first, total, ok := parseContentRange(response.Header.Get("Content-Range"))
		if ok && total >= 0 && total != part.size {
			return &failure{error: fmt.Errorf("wrong size: %s has %d bytes, not %d", host, total, part.size)}
		}
		if ok && first == part.done {
			return nil
		}
		if err := part.drop(); err != nil {
			return err
		}
		return &failure{error: fmt.Errorf("%s sends another part than was asked for", host), again: true}

	case http.StatusRequestedRangeNotSatisfiable:
		if part.done == 0 {
			break
		}
		if err := part.drop(); err != nil {
			return err
		}
		return &failure{error: fmt.Errorf("%s refuses to go on at the middle", host), again: true}
	}
	return d.refusal(response)
}

// webPage is a remark on an answer that is a page to be read by people.
func webPage(response *http.Response) string {
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") {
		return " (a web page: does this network ask for a login?)"
	}
	return ""
}

// parseContentRange reads a Content-Range, "bytes FIRST-LAST/TOTAL", where TOTAL may be "*" and is then -1 (RFC 9110, section 14.4).
func parseContentRange(s string) (first, total int64, ok bool) {
	s, isBytes := strings.CutPrefix(s, "bytes ")
	span, whole, hasTotal := strings.Cut(s, "/")
	from, to, hasTo := strings.Cut(span, "-")
	first, last := parseLength(from), parseLength(to)
	total = parseLength(whole)
	ok = isBytes && hasTotal && hasTo && first >= 0 && last >= first && (whole == "*" || total > last)
	return first, total, ok
}

// parseLength reads a number of bytes, digits alone; -1 if it is none.
func parseLength(s string) int64 {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return -1
	}
	return int64(n)
}

// broken explains why a request got no answer, or not all of it.
func broken(ctx context.Context, err error) error {
	var known *failure
	if errors.As(err, &known) {
		return known
	}
	if context.Cause(ctx) == errStalled {
		return &failure{error: errStalled, again: true}
	}
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err // without the address, which behind a redirect is long and signed
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = errors.New("the connection broke off")
	}
	var certificate *tls.CertificateVerificationError
	return &failure{error: err, again: !errors.As(err, &certificate)}
}

// proxyAnswer sees what a proxy answers to the wish for a connection to an HTTPS host.
func (d *Downloader) proxyAnswer(_ context.Context, proxy *url.URL, _ *http.Request, response *http.Response) error {
	if response.StatusCode == http.StatusOK {
		return nil
	}
	f := d.refusal(response)
	f.error = fmt.Errorf("the proxy %s: %w", proxy.Host, f.error)
	return f
}

// refusal explains an answer that is not the file.
func (d *Downloader) refusal(response *http.Response) *failure {
	code := response.StatusCode
	f := &failure{again: code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout}
	advice := ""
	switch code {
	case http.StatusUnauthorized, http.StatusForbidden:
		advice = ": it may want a token in HF_TOKEN"
		if d.token() != "" {
			advice = ": it may not accept the token in HF_TOKEN"
		}
	case http.StatusNotFound:
		advice = ": the file is not there"
		if d.env.getenv("HF_ENDPOINT") != "" {
			advice += "; is HF_ENDPOINT right?"
		}
	case http.StatusProxyAuthRequired:
		advice = ": it wants a name and a password, as in HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT"
	}
	from := "" // the answer of a proxy has no request
	if response.Request != nil && response.Request.Method != http.MethodConnect {
		from = response.Request.URL.Host + " "
	}
	f.error = fmt.Errorf("%sanswers %d %s%s", from, code, http.StatusText(code), advice)

	if after := response.Header.Get("Retry-After"); after != "" { // seconds, or a date
		if seconds := parseLength(after); seconds >= 0 {
			f.after = time.Duration(min(seconds, 1<<20)) * time.Second
		} else if date, err := http.ParseTime(after); err == nil {
			f.after = time.Until(date)
		}
	}
	return f
}
