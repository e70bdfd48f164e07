package main

// The Hugging Face hub over HTTP: a published model, or the files of a repository, each checked
// before it gets its name.
//
// A file's checksum is known before the first byte is asked for. So what an earlier run left can be
// continued from any server without a validator such as If-Range: a wrong piece shows in the sum,
// and then the file is fetched anew.

import (
	"cmp"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Downloader fetches models from the hub, or from a mirror that answers as the hub does.
type Downloader struct {
	env    Env
	client *http.Client
	hub    *url.URL

	token, tokenFrom string // the user's, and where it is from

	progress func(done, total int64) // is told how many bytes are there, also of an earlier run
	note     func(line string)       // is told what begins, and why something is tried again

	quick bool // the run has the circuit to fall back on: nothing is tried twice before
	begun bool // something worth it has arrived
}

// worth is how many bytes a connection has to bring in the time stall, again and again, and a try
// in all: a server that sends a byte now and then would hold a run for ever. 3 kB a second bring
// GPT-2 in two days. A quick run waits for the first of them no longer than the time start.
const (
	worth = 100_000
	stall = 30 * time.Second
	start = 8 * time.Second
)

// newDownloader returns a Downloader that works in the surroundings of env, with the proxies that
// HTTPS_PROXY, HTTP_PROXY and NO_PROXY name.
func newDownloader(env Env, quick bool) *Downloader {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DisableCompression: true, Protocols: &http.Protocols{},
	}
	transport.Protocols.SetHTTP1(true) // a broken HTTP/2 connection would be used again
	return &Downloader{
		env: env, quick: quick,
		client:   &http.Client{Transport: transport, CheckRedirect: checkRedirect},
		progress: func(int64, int64) {}, note: func(string) {},
	}
}

// fetch brings a model onto this machine and returns where it is; name is a published model's, or
// ORGANISATION/NAME[@REVISION] on the hub.
//
// A published model is the file dest, or NAME.safetensors in the folder dest. One of the hub's
// other models is several files in the folder dest. Where dest is "", it is in the program's cache.
//
// A file that is there already and has the right sum is not fetched again. Until it is whole and
// its sum is right, it is FILE.SUM.partial (SUM is the beginning of its sum); that is kept when a
// fetch fails or is ended, and the next one goes on from it, unless it is wrong or cannot be
// written. Only one process at a time fetches a file; another waits for it, and then uses its file.
func (d *Downloader) fetch(name, dest string) (path string, err error) {
	repo, err := parseRepository(name)
	if err == nil {
		err = d.online()
	}
	switch {
	case err != nil:
	case dest == "" && d.env.cache == "":
		err = errors.New("this system names no cache folder; \"mechpatch fetch -o FILE\" puts " +
			"the file elsewhere")
	case repo.name != "":
		path, err = d.fetchPublished(repo, dest)
	default:
		path, err = d.fetchRepository(repo, dest)
	}
	if err != nil {
		return "", fmt.Errorf("fetching %s: %w", name, err)
	}
	return path, nil
}

// online finds out the hub's address, $HF_ENDPOINT or the hub itself, and whether the network may
// be used and the user's token can be sent.
func (d *Downloader) online() (err error) {
	if by := d.env.offlineBy(); by != "" {
		return errors.New(by)
	}
	d.token, d.tokenFrom = hubToken(d.env)
	if strings.ContainsFunc(d.token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return failed("the token in %s holds a space, a line break or another character that no "+
			"token has", d.tokenFrom)
	}
	d.hub, err = url.Parse(cmp.Or(d.env.get("HF_ENDPOINT", ""), "https://huggingface.co"))
	if err != nil || d.hub.Scheme != "https" && d.hub.Scheme != "http" || d.hub.Host == "" {
		return errors.New("HF_ENDPOINT is not an address such as https://huggingface.co")
	}
	return nil
}

// hubToken is the user's token and where it is from, by the rules of huggingface_hub: HF_TOKEN,
// else the file that "hf auth login" writes. White space around it is no part of it.
func hubToken(env Env) (token, from string) {
	if env.isTrue("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
		return "", ""
	}
	from = "HF_TOKEN"
	if env.get(from, "") == "" {
		from = "HUGGING_FACE_HUB_TOKEN"
	}
	if token = strings.TrimSpace(env.get(from, "")); token != "" {
		return token, from
	}
	from = env.expand(env.get("HF_TOKEN_PATH", filepath.Join(hubHome(env), "token")))
	data, _ := readBounded(from, 1<<16)
	return strings.TrimSpace(string(data)), from
}

func (d *Downloader) fetchPublished(repo Repository, dest string) (_ string, err error) {
	name := repo.name + ".safetensors"
	if dest == "" {
		dest = filepath.Join(d.env.cache, name)
		err = unwritable(d.env.cache, os.MkdirAll(d.env.cache, 0o755))
	} else if info, statErr := os.Stat(dest); statErr == nil && info.IsDir() {
		dest = filepath.Join(dest, name)
	} else if end, linkErr := throughLinks(dest); linkErr == nil {
		dest = end
	}
	f := hubFile{repo.id, repo.revision, weightsFile, repo.size, repo.sum}
	if err == nil && f.sum == "" {
		f, err = d.announced(f)
	}
	if err == nil {
		err = d.fetchFile(f, dest)
	}
	return dest, err
}

// unwritable says in which folder an error of writing came up; nil is none.
func unwritable(folder string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot write into %s: %w; \"mechpatch fetch -o FILE\" puts the file "+
		"elsewhere, and -model FILE uses it from there", folder, reason(err))
}

// repositoryFetch is the fetch of a repository's files into a folder. After the first error nothing
// more is done.
type repositoryFetch struct {
	*Downloader
	repo    Repository
	inCache bool     // or in a folder of the user's
	folder  string   // where the files go
	root    *os.Root // it, or the program's cache around it
	commit  string   // "" until the first answer tells it: all files are of one commit
	err     error
}

// fetchRepository brings a model of the hub and returns its folder. Its config.json is the first
// file, so that a model which cannot be computed is refused before its weights are fetched, and the
// weights are the last: where they are, the vocabulary is too. Where that is no byte-level BPE, the
// files by which other kinds are known come along, so that a run can name the kind.
func (d *Downloader) fetchRepository(repo Repository, folder string) (string, error) {
	if isFile(folder) || filepath.Ext(folder) == ".safetensors" {
		return "", fmt.Errorf("%s cannot be a folder, and this model is several files", folder)
	}
	f := &repositoryFetch{Downloader: d, repo: repo, folder: folder, inCache: folder == ""}
	if path := f.bring("config.json"); path != "" {
		var data []byte
		if data, f.err = readBounded(path, 1<<20); f.err == nil {
			_, f.err = parseConfig(data, "config.json")
		}
	}
	f.bring("tokenizer_config.json")
	f.bring("special_tokens_map.json")
	f.bring("added_tokens.json")
	if f.bring("tokenizer.json") == "" &&
		(f.bring("vocab.json") == "" || f.bring("merges.txt") == "") {
		f.bring("spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "spm.model",
			"vocab.txt")
	}
	path := f.bring(weightsNames...)
	if path == "" && f.err == nil {
		f.err = fmt.Errorf("the repository has none of %s", strings.Join(weightsNames, ", "))
	}
	var parts []string
	if isIndex(path) {
		_, parts, f.err = readIndex(path)
	}
	for _, part := range parts {
		if f.bring(part) == "" && f.err == nil {
			f.err = fmt.Errorf("%s names %s, which the repository does not have", path, quote(part))
		}
	}
	if f.err == nil && f.inCache && !isCommit(repo.revision) {
		f.err = f.remember(cmp.Or(repo.revision, "main"))
	}
	return f.folder, f.err
}

// bring brings the first of these files that the repository has, and returns where it is, or "".
func (f *repositoryFetch) bring(names ...string) (path string) {
	const largestSmall = 100 << 20 // of a file that is not weights; large vocabularies have 10 MB
	for _, name := range names {
		if f.err != nil {
			break
		}
		file, err := f.announced(hubFile{
			repo: f.repo.id, revision: cmp.Or(f.commit, f.repo.revision, "main"), name: name})
		if failed, ok := errors.AsType[*failure](err); ok && failed.absent {
			continue
		}
		if err == nil && f.commit == "" {
			err = f.settle(file.revision)
		}
		path = filepath.Join(f.folder, name)
		ext := filepath.Ext(name)
		switch {
		case err != nil:
		case ext != ".safetensors" && ext != ".bin" && file.size > largestSmall:
			err = fmt.Errorf("%s are too much", bytesText(file.size))
		case !f.inCache && isFile(path) && !isComplete(path, file):
			err = fmt.Errorf("%s differs from the repository's: name an empty folder", path)
		default:
			err = f.fetchFile(file, path)
		}
		if err == nil {
			return path
		}
		f.err = fmt.Errorf("%s: %w", name, err)
	}
	return ""
}

// settle takes the first file's commit for that of all files, and makes the folder. In the cache,
// which several people may share, no link that somebody has put there leads out of it.
func (f *repositoryFetch) settle(commit string) (err error) {
	if f.commit = commit; !isCommit(commit) {
		return fmt.Errorf("%s does not name the commit (in X-Repo-Commit), so that the files "+
			"might not belong together", f.hub.Host)
	}
	around, inside := f.folder, "."
	if f.inCache {
		around, inside = f.env.cache, path.Join(hubFolder(f.repo.id), "snapshots", commit)
	}
	f.folder = filepath.Join(around, inside)
	if err = os.MkdirAll(around, 0o755); err == nil {
		f.root, err = os.OpenRoot(around)
	}
	if err == nil {
		err = f.root.MkdirAll(inside, 0o755)
	}
	return unwritable(f.folder, err)
}

// remember notes which commit a branch or a tag is, in a new file that takes the old one's place.
func (f *repositoryFetch) remember(revision string) error {
	ref := path.Join(hubFolder(f.repo.id), "refs", revision)
	f.root.Remove(ref + ".new")
	return unwritable(filepath.Join(f.env.cache, path.Dir(ref)), inOrder(
		func() error { return f.root.MkdirAll(path.Dir(ref), 0o755) },
		func() error { return f.root.WriteFile(ref+".new", []byte(f.commit), 0o644) },
		func() error { return f.root.Rename(ref+".new", ref) }))
}

type hubFile struct {
	repo, revision, name string
	size                 int64
	sum                  string // its SHA-256, or the SHA-1 that git gives it, in hexadecimal
}

// sumOf is the sum, of the kind of f's, of what lies on the disk.
func (f hubFile) sumOf(file *os.File) (string, error) {
	h := sha256.New()
	if len(f.sum) == 2*sha1.Size { // git's sum of a file
		h = sha1.New()
		fmt.Fprintf(h, "blob %d\x00", f.size)
	}
	_, err := io.Copy(h, io.NewSectionReader(file, 0, f.size))
	return hex.EncodeToString(h.Sum(nil)), err
}

// isComplete tells whether path is the file f, byte for byte.
func isComplete(path string, f hubFile) bool {
	info, err := regular(path)
	if err != nil || info.Size() != f.size {
		return false
	}
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	sum, err := f.sumOf(file)
	return err == nil && sum == f.sum
}

// fetchFile makes dest the file f, from the Hugging Face cache if it is there.
func (d *Downloader) fetchFile(f hubFile, dest string) error {
	if info, err := os.Stat(dest); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file: remove it, or name a model with -model", dest)
	}
	folder, large := filepath.Dir(dest), f.size >= worth // a small one is there at once
	if isComplete(dest, f) {
		if large {
			d.note(dest + " is there, and its checksum is right")
		}
		return nil
	}
	part, err := d.claim(f, dest)
	if err != nil {
		return unwritable(folder, err)
	}
	defer part.Close()
	if isComplete(dest, f) { // by now
		return os.Remove(part.Name())
	}
	source, more := d.hub.JoinPath(f.repo).Redacted(), ""
	if part.done > 0 {
		more = fmt.Sprintf(", of which %s are there", bytesText(part.done))
	}
	if d.quick {
		more += "; -model circuit does without it"
	}
	cached := filepath.Join(hubCache(d.env), hubFolder(f.repo), "blobs", f.sum)
	if !isFile(cached) { // where there are no links
		cached = filepath.Join(hubCache(d.env), hubFolder(f.repo), "snapshots", f.revision, f.name)
	}
	isCached := isComplete(cached, f)
	if isCached {
		source, more = cached, ""
	}
	if large {
		d.note(fmt.Sprintf("%s, %s, from %s into %s%s", f.name, bytesText(f.size), source, dest,
			more))
	}
	d.progress(part.done, f.size)
	if isCached {
		err = part.copy(cached)
	}
	if err == nil { // on the disk, lest a power cut leave a file of this name without its bytes
		err = inOrder(func() error { return d.persist(part.fill) }, part.Sync)
	}
	if err == nil {
		return unwritable(folder, os.Rename(part.Name(), dest))
	}
	_, network := errors.AsType[*failure](err)
	if network && part.done > 0 {
		return fmt.Errorf("%w; %s of %s are kept, and the same command continues from there", err,
			bytesText(part.done), bytesText(f.size))
	}
	part.Close() // Windows removes no open file
	os.Remove(part.Name())
	if network {
		return err
	}
	return unwritable(folder, err)
}

// partialFile is the download of a file under way.
type partialFile struct {
	*os.File
	*Downloader
	hubFile
	done    int64 // bytes that are there
	dropped int   // how often what was there had to be given up
}

// claim opens the partial file of dest as soon as no other process writes it.
func (d *Downloader) claim(f hubFile, dest string) (*partialFile, error) {
	name := dest + "." + f.sum[:16] + ".partial"
	file, err := openLocked(name, 0o644)
	if err == errInUse {
		d.note(fmt.Sprintf("another mechpatch is fetching %s: waiting for it", dest))
	}
	for err == errInUse {
		if info, err := os.Stat(name); err == nil {
			d.progress(min(info.Size(), f.size), f.size)
		}
		time.Sleep(200 * time.Millisecond)
		file, err = openLocked(name, 0o644)
	}
	if err != nil {
		return nil, err
	}
	part := &partialFile{File: file, Downloader: d, hubFile: f}
	if part.done, err = file.Seek(0, io.SeekEnd); err == nil && part.done > f.size {
		err = part.drop(nil)
	}
	return part, err
}

// copy takes a file for what has arrived.
func (part *partialFile) copy(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err = part.drop(nil); err == nil {
		part.done, err = io.Copy(part.File, file)
	}
	return err
}

// drop gives up what is there, for a reason, which is returned. A server that makes it necessary
// again and again is given up on.
func (part *partialFile) drop(reason error) error {
	if part.dropped++; part.dropped > 3 {
		reason = failed("the server's answers do not fit together")
	}
	part.done = 0
	_, err := part.Seek(0, io.SeekStart)
	return cmp.Or(err, part.Truncate(0), reason)
}

// fill asks for what still lacks, appends what arrives, and makes sure of the checksum of what lies
// on the disk then. The error is a *failure, or one of writing.
func (part *partialFile) fill(ctx context.Context, arrived func(n int)) error {
	spliced := part.done > 0 // it will not be of one answer
	if part.done < part.size {
		response, err := part.ask(ctx, http.MethodGet, part.hubFile, part.done)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if err = part.position(response); err != nil {
			return err
		}
		spliced = part.done > 0
		if err = part.append(response.Body, arrived); err != nil {
			return err
		}
	}
	sum, err := part.sumOf(part.File)
	if err == nil && sum != part.sum {
		wrong := failed("wrong checksum: that of what arrived is %s, not %s; it was deleted", sum,
			part.sum)
		wrong.again = spliced
		err = part.drop(wrong)
	}
	return err
}

// position makes sure that the answer is the file, or its rest, and that it begins where part ends.
func (part *partialFile) position(response *http.Response) error {
	host, header, from := response.Request.URL.Host, response.Header, part.done
	switch response.StatusCode {
	case http.StatusOK:
		from = 0
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		if first, ok := parseContentRange(header.Get("Content-Range")); !ok || first != from {
			other := failed("%s sends a part other than the one asked for", host)
			other.again = true
			return part.drop(other)
		}
	default:
		return part.refusal(response)
	}
	size, kind, hint := from+response.ContentLength, header.Get("Content-Type"), ""
	if strings.HasPrefix(kind, "text/html") {
		hint = ": does this network ask for a login?"
	}
	if size != part.size && (response.ContentLength >= 0 || hint != "") {
		return failed("%s sends another file than that of %d bytes: %d bytes of %.40s%s", host,
			part.size, size, kind, hint)
	}
	if from < part.done { // the server does not do ranges
		return part.drop(nil)
	}
	return nil
}

func (part *partialFile) append(body io.Reader, arrived func(n int)) error {
	buffer := make([]byte, 256<<10)
	for part.done < part.size {
		n, err := body.Read(buffer[:min(int64(len(buffer)), part.size-part.done)])
		written, writeErr := part.Write(buffer[:n])
		part.done += int64(written)
		if writeErr != nil {
			return writeErr
		}
		arrived(n)
		part.progress(part.done, part.size)
		if err != nil && part.done < part.size {
			return broken(err)
		}
	}
	if n, _ := io.ReadFull(body, buffer[:1]); n > 0 {
		return part.drop(failed("wrong size: more arrives than the %d bytes of the file; what "+
			"arrived was deleted", part.size))
	}
	return nil
}

// failure is an error that the network, the server or a proxy is to blame for.
type failure struct {
	error
	again  bool          // another try may succeed,
	after  time.Duration // but not sooner
	begun  bool          // something worth it had arrived
	absent bool          // the server is well, but has no such file
}

func (f *failure) Unwrap() error { return f.error }

func failed(format string, args ...any) *failure {
	return &failure{error: fmt.Errorf(format, args...)}
}

// persist calls try until it succeeds, fails for good, or fails several times in a row without
// bringing anything worth it; the pauses between the tries grow. try tells arrived of the bytes of
// the file that have come; where they come too slowly its context ends.
func (d *Downloader) persist(try func(ctx context.Context, arrived func(n int)) error) error {
	const longestWait = 310 * time.Second // the hub counts requests by 300 s
	for tries := 1; ; tries++ {           // in a row without getting further
		within, most := stall, 4
		if d.quick {
			within, most = start, 1
		}
		if d.begun {
			within, most = stall, 7
		}
		ctx, cancel := context.WithCancel(context.Background())
		watchdog := time.AfterFunc(within, cancel)
		brought := 0
		err := try(ctx, func(n int) {
			if brought += n; brought >= worth {
				watchdog.Reset(stall)
				brought, within, tries, most, d.begun = 0, stall, 0, 7, true
			}
		})
		watchdog.Stop()
		tooSlow := ctx.Err() != nil
		cancel()
		f, ok := errors.AsType[*failure](err)
		if !ok {
			return err
		}
		if tooSlow {
			f = failed("too slow: less than %s within %s", bytesText(worth), within)
			f.again = true
		}
		f.begun = d.begun
		// 1, 2, 4 … 32 s, each more or less by up to a quarter, lest the machines of a lab that
		// were switched on together come back together too
		wait := time.Second << min(max(tries-1, 0), 5)
		wait = max(wait*3/4+rand.N(wait/2), f.after)
		if !f.again || wait > longestWait || tries >= most {
			return f
		}
		d.note(fmt.Sprintf("%v; trying again in %s", f, wait.Round(100*time.Millisecond)))
		time.Sleep(wait)
	}
}

// ask asks the hub for a file from a byte on, with the user's token. In the address the slash of a
// branch such as feature/x must not look like a folder's.
func (d *Downloader) ask(ctx context.Context, method string, f hubFile, from int64) (
	*http.Response, error) {
	address := d.hub.JoinPath(f.repo, "resolve", url.PathEscape(f.revision), url.PathEscape(f.name))
	request, err := http.NewRequestWithContext(ctx, method, address.String(), nil)
	if err != nil {
		return nil, broken(err)
	}
	request.Header.Set("User-Agent", "mechpatch")
	request.Header.Set("Accept-Encoding", "identity")
	if from > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	if d.token != "" {
		request.Header.Set("Authorization", "Bearer "+d.token)
	}
	response, err := d.client.Do(request)
	if err != nil {
		return nil, broken(err)
	}
	return response, nil
}

// checkRedirect judges a redirect. The standard library takes the token along to subdomains of the
// host; here only to the very same scheme, host and port. The hub answers for a large file with a
// redirect to its bytes, and tells of them in the redirect itself: who only asks about the file
// does not follow that, but follows others, as of a repository that was renamed.
func checkRedirect(request *http.Request, via []*http.Request) error {
	first, from, to := via[0].URL, via[len(via)-1].URL, request.URL
	switch answer := request.Response; {
	case request.Method == http.MethodHead && answer != nil &&
		answer.Header.Get("X-Linked-Etag") != "" && answer.Header.Get("X-Linked-Size") != "":
		return http.ErrUseLastResponse
	case len(via) >= 10:
		return failed("more than 10 redirects")
	case from.Scheme == "https" && to.Scheme != "https":
		return failed("%s redirects to an address without HTTPS", from.Host)
	case to.Scheme != first.Scheme || !strings.EqualFold(to.Host, first.Host):
		request.Header.Del("Authorization")
	}
	return nil
}

// announced asks the hub for the size, the sum and the commit of a file; the commit, if the hub
// names it, becomes the revision.
func (d *Downloader) announced(f hubFile) (hubFile, error) {
	err := d.persist(func(ctx context.Context, _ func(int)) error {
		response, err := d.ask(ctx, http.MethodHead, f, 0)
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode >= 400 {
			return d.refusal(response)
		}
		f.size, f.sum, err = parseAnnouncement(response)
		commit := response.Header.Get("X-Repo-Commit")
		if err == nil && isCommit(commit) {
			if isCommit(f.revision) && !strings.EqualFold(commit, f.revision) {
				err = fmt.Errorf("answers with commit %s in place of %s", commit, f.revision)
			}
			f.revision = commit // and the file is of the announced version even if main moves on
		}
		if err != nil {
			return failed("%s %w", response.Request.URL.Host, err)
		}
		return nil
	})
	return f, err
}

// parseAnnouncement reads a file's size and sum from the hub's answer: X-Linked-Size, and the
// SHA-256 in X-Linked-Etag, of a large file; Content-Length, and git's SHA-1 in ETag, of a small
// one.
func parseAnnouncement(response *http.Response) (size int64, sum string, err error) {
	header := response.Header
	etag := strings.TrimSpace(cmp.Or(header.Get("X-Linked-Etag"), header.Get("ETag")))
	sum = strings.ToLower(strings.Trim(strings.TrimPrefix(etag, "W/"), `"`))
	size = response.ContentLength
	if linked := header.Get("X-Linked-Size"); linked != "" || response.StatusCode != http.StatusOK {
		size, err = strconv.ParseInt(strings.TrimSpace(linked), 10, 64)
	}
	lacking := "size (in X-Linked-Size or Content-Length)"
	if len(sum) != 2*sha256.Size && len(sum) != 2*sha1.Size || !isHex(sum) {
		lacking = "checksum (in X-Linked-Etag or ETag)"
	} else if err == nil && size >= 0 && size <= 1<<40 {
		return size, sum, nil
	}
	return 0, "", fmt.Errorf("does not announce the file's %s, so that it could not be checked",
		lacking)
}

// parseContentRange reads the first byte of a Content-Range, "bytes FIRST-LAST/TOTAL" (RFC 9110,
// section 14.4).
func parseContentRange(s string) (first int64, ok bool) {
	_, err := fmt.Sscanf(s, "bytes %d-", &first)
	return first, err == nil && first >= 0
}

// broken explains why a request got no answer, or not all of it.
func broken(err error) *failure {
	if known, ok := errors.AsType[*failure](err); ok {
		return known
	}
	if inURL, ok := errors.AsType[*url.Error](err); ok {
		err = inURL.Err // without the address, which behind a redirect is long and signed
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = errors.New("the connection broke off")
	}
	if err.Error() == http.StatusText(http.StatusProxyAuthRequired) {
		return failed("%w: the proxy wants a name and a password, as in "+
			"HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT", err)
	}
	return &failure{error: err, again: true}
}

// refusal explains an answer that is not the file.
func (d *Downloader) refusal(response *http.Response) *failure {
	code, who := response.StatusCode, "it wants a token in HF_TOKEN"
	if d.token != "" {
		who = "it does not accept the token in " + d.tokenFrom
	}
	advice := map[string]string{
		"RevisionNotFound": ": the repository has no such revision",
		"RepoNotFound":     ": there is no such repository, or " + who,
		"GatedRepo": ": its page on the hub has terms that must be agreed to, and the request " +
			"needs the token of who did, in HF_TOKEN or by \"hf auth login\"",
	}[response.Header.Get("X-Error-Code")]
	absent := advice == "" && code == http.StatusNotFound
	switch {
	case absent && d.env.get("HF_ENDPOINT", "") != "":
		advice = ": the file is not there; is HF_ENDPOINT right?"
	case absent:
		advice = ": the file is not there"
	case advice == "" && (code == http.StatusUnauthorized || code == http.StatusForbidden):
		advice = ": perhaps " + who
	}
	f := failed("%s answers %d %s%s", response.Request.URL.Host, code, http.StatusText(code),
		advice)
	f.absent, f.after = absent, retryAfter(response)
	f.again = code >= 500 || code == http.StatusTooManyRequests ||
		code == http.StatusRequestTimeout
	return f
}

// noneLeft finds in the hub's RateLimit when requests are counted anew, in seconds, where none is
// left: "api";r=0;t=55. It comes with every answer, and may not be what a 429 is about.
var noneLeft = regexp.MustCompile(`;\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d{1,6})\b`)

// retryAfter is how long a server wants to be left alone.
func retryAfter(response *http.Response) time.Duration {
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	limit := noneLeft.FindStringSubmatch(response.Header.Get("RateLimit"))
	if response.StatusCode == http.StatusTooManyRequests && limit != nil {
		seconds, _ = strconv.Atoi(limit[1])
		seconds++
	}
	return time.Duration(max(0, min(seconds, 1<<20))) * time.Second
}
