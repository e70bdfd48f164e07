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
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Downloader fetches models from the hub, or from a mirror that answers as the hub does.
type Downloader struct {
	env      Env
	table    []Published
	hub      *url.URL
	client   *http.Client
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
		env: env, table: published, quick: quick,
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
	p, ok := lookup(d.table, name)
	if ok {
		name = p.name
		path, err = d.fetchPublished(p, dest)
	} else {
		path, err = d.fetchRepository(name, dest)
	}
	if err != nil {
		return "", fmt.Errorf("fetching %s: %w", name, err)
	}
	return path, nil
}

func (d *Downloader) fetchPublished(p Published, dest string) (string, error) {
	if err := d.online(); err != nil {
		return "", err
	}
	if dest == "" {
		if dest = cacheFile(p.name, d.env); dest == "" {
			return "", errNoCache
		}
		if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
			return "", unwritable(dest, err)
		}
	} else if info, err := os.Stat(dest); err == nil && info.IsDir() {
		dest = filepath.Join(dest, p.name+".safetensors")
	} else if target, err := throughLinks(dest); err == nil {
		dest = target
	}
	f, err := hubFile{p.repo, p.revision, weightsFile, p.size, p.sum}, error(nil)
	if f.sum == "" {
		f, err = d.announced(f)
	}
	if err != nil {
		return "", err
	}
	return dest, d.fetchFile(f, dest)
}

var errNoCache = errors.New("this system names no cache folder; " +
	"\"mechpatch fetch -o FILE\" puts the file elsewhere")

// online finds out the hub's address, $HF_ENDPOINT or the hub itself, and whether the network may
// be used and the user's token can be sent.
func (d *Downloader) online() (err error) {
	if by := d.env.offlineBy(); by != "" {
		return errors.New(by)
	}
	token, from := d.token()
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return &failure{error: fmt.Errorf("the token in %s holds a space, a line break or another "+
			"character that no token has", from)}
	}
	d.hub, err = url.Parse(cmp.Or(d.env.getenv("HF_ENDPOINT"), "https://huggingface.co"))
	if err != nil || d.hub.Scheme != "https" && d.hub.Scheme != "http" || d.hub.Host == "" {
		return errors.New("HF_ENDPOINT is not an address such as https://huggingface.co")
	}
	return nil
}

// token is the user's token and where it is from, by the rules of huggingface_hub: HF_TOKEN, else
// the file that "hf auth login" writes. White space around it is no part of it.
func (d *Downloader) token() (token, from string) {
	if d.env.isTrue("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
		return "", ""
	}
	from = "HF_TOKEN"
	if d.env.getenv(from) == "" {
		from = "HUGGING_FACE_HUB_TOKEN"
	}
	if token := strings.TrimSpace(d.env.getenv(from)); token != "" {
		return token, from
	}
	from = d.env.expand(d.env.setting("HF_TOKEN_PATH", filepath.Join(hubHome(d.env), "token")))
	data, _ := readBounded(from, 1<<16)
	return strings.TrimSpace(string(data)), from
}

// repositoryFetch is the fetch of a repository's files into a folder. After the first error nothing
// more is done.
type repositoryFetch struct {
	*Downloader
	repo   Repository
	commit string   // "" until the first answer tells it: all files are of one commit
	folder string   // where the files go; "" until then, for the program's cache
	cache  *os.Root // the program's cache; nil if the files go elsewhere
	err    error
}

// fetchRepository brings a model of the hub and returns its folder. Its config.json is the first
// file, so that a model which cannot be computed is refused before its weights are fetched, and the
// weights are the last: where they are, the vocabulary is too. Where that is no byte-level BPE, the
// files by which other kinds are known come along, so that a run can name the kind.
func (d *Downloader) fetchRepository(name, dest string) (string, error) {
	repo, err := parseRepository(name)
	if info, statErr := os.Stat(dest); err == nil && dest != "" && (statErr == nil &&
		!info.IsDir() || strings.HasSuffix(dest, ".safetensors")) {
		err = fmt.Errorf("%s cannot be a folder, and this model is several files", dest)
	}
	f := &repositoryFetch{Downloader: d, repo: repo, folder: dest, err: cmp.Or(err, d.online())}
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
	if path == "" {
		f.err = cmp.Or(f.err, fmt.Errorf("the repository has none of %s",
			strings.Join(weightsNames, ", ")))
	}
	if isIndex(path) {
		var parts []string
		_, parts, f.err = readIndex(path)
		for _, part := range parts {
			if f.bring(part) == "" {
				f.err = cmp.Or(f.err, fmt.Errorf("%s names %s, which the repository does not have",
					path, quote(part)))
			}
		}
	}
	if f.err == nil && f.cache != nil && !isCommit(repo.revision) {
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
		case f.cache == nil && isFile(path) && !isComplete(path, file):
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
	if f.folder != "" {
		return unwritable(filepath.Join(f.folder, weightsFile), os.MkdirAll(f.folder, 0o755))
	}
	cache := f.env.inCache("")
	if cache == "" {
		return errNoCache
	}
	inside := path.Join(hubFolder(f.repo.id), "snapshots", commit)
	f.folder = filepath.Join(cache, inside)
	if err = os.MkdirAll(cache, 0o755); err == nil {
		f.cache, err = os.OpenRoot(cache)
	}
	if err == nil {
		err = f.cache.MkdirAll(inside, 0o755)
	}
	return unwritable(filepath.Join(f.folder, weightsFile), err)
}

// remember notes which commit a branch or a tag is, in a new file that takes the old one's place.
func (f *repositoryFetch) remember(revision string) error {
	ref := path.Join(hubFolder(f.repo.id), "refs", revision)
	err := f.cache.MkdirAll(path.Dir(ref), 0o755)
	f.cache.Remove(ref + ".new")
	if err == nil {
		err = f.cache.WriteFile(ref+".new", []byte(f.commit), 0o644)
	}
	if err == nil {
		err = f.cache.Rename(ref+".new", ref)
	}
	return unwritable(filepath.Join(f.env.inCache(""), ref), err)
}

// unwritable says where an error of writing a file came up; nil is none.
func unwritable(dest string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot write into %s: %w; \"mechpatch fetch -o FILE\" puts the file "+
		"elsewhere, and -model FILE uses it from there", filepath.Dir(dest), reason(err))
}

type hubFile struct {
	repo, revision, name string
	size                 int64
	sum                  string // its SHA-256, or the SHA-1 that git gives it, in hexadecimal
}

// url is the file's address. The slash of a branch such as feature/x must not look like a folder's.
func (f hubFile) url(hub *url.URL) string {
	return hub.JoinPath(f.repo, "resolve", url.PathEscape(f.revision),
		url.PathEscape(f.name)).String()
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
	file, err := openRegular(path)
	if err != nil {
		return false
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.Size() != f.size {
		return false
	}
	sum, err := f.sumOf(file)
	return err == nil && sum == f.sum
}

// fetchFile makes dest the file f, which may be in the Hugging Face cache already.
func (d *Downloader) fetchFile(f hubFile, dest string) error {
	if info, err := os.Stat(dest); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file: remove it, or name a model with -model", dest)
	}
	large := f.size >= worth // else it is there before anybody has read of it
	if isComplete(dest, f) {
		if large {
			d.note(dest + " is there, and its checksum is right")
		}
		return nil
	}
	part, err := d.claim(f, dest)
	if err != nil {
		return unwritable(dest, err)
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
	cached := d.cached(f)
	if cached != nil {
		defer cached.Close()
		source, more = cached.Name(), ""
	}
	if large {
		d.note(fmt.Sprintf("%s, %s, from %s into %s%s", f.name, bytesText(f.size), source, dest,
			more))
	}
	d.progress(part.done, f.size)
	if cached != nil {
		err = cmp.Or(part.drop(), part.append(cached, func(int) {}))
	}
	if err == nil {
		err = d.persist(part.fill)
	}
	if err == nil {
		err = part.Sync() // lest a power cut leave a file of the right name without its bytes
	}
	if err == nil {
		return unwritable(dest, os.Rename(part.Name(), dest))
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
	return unwritable(dest, err)
}

// cached is the file in the Hugging Face cache, which has it under its sum, or under its commit
// where there are no links; nil where it has not.
func (d *Downloader) cached(f hubFile) *os.File {
	folder := filepath.Join(hubCache(d.env), hubFolder(f.repo))
	path := filepath.Join(folder, "blobs", f.sum)
	if !isFile(path) {
		path = filepath.Join(folder, "snapshots", f.revision, f.name)
	}
	if !isComplete(path, f) {
		return nil
	}
	file, _ := os.Open(path)
	return file
}

// partialFile is the download of a file under way.
type partialFile struct {
	*os.File
	*Downloader
	hubFile
	done    int64 // bytes that are there
	spliced bool  // they are not of one answer
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
		err = part.drop()
	}
	part.spliced = part.done > 0
	return part, err
}

// drop gives up what is there. A server that makes this necessary again and again is given up on.
func (part *partialFile) drop() error {
	part.done, part.spliced = 0, false
	if part.dropped++; part.dropped > 3 {
		return &failure{error: errors.New("the server's answers do not fit together")}
	}
	_, err := part.Seek(0, io.SeekStart)
	return cmp.Or(err, part.Truncate(0))
}

// fill asks for what still lacks, appends what arrives, and makes sure of the checksum of what lies
// on the disk then. The error is a *failure, or one of writing.
func (part *partialFile) fill(ctx context.Context, arrived func(n int)) error {
	if part.done < part.size {
		response, err := part.ask(ctx, http.MethodGet, part.hubFile, part.done)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if err = part.position(response); err == nil {
			err = part.append(response.Body, arrived)
		}
		if err != nil {
			return err
		}
	}
	got, err := part.sumOf(part.File)
	if err == nil && got != part.sum {
		wrong := fmt.Errorf("wrong checksum: that of what arrived is %s, not %s; it was deleted",
			got, part.sum)
		err = cmp.Or(error(&failure{error: wrong, again: part.spliced}), part.drop())
	}
	return err
}

// position makes sure that the answer is the file, or its rest, and that it begins where part ends.
func (part *partialFile) position(response *http.Response) error {
	host, header := response.Request.URL.Host, response.Header
	size := response.ContentLength // of the whole; -1 where that is not told
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		first, total, ok := parseContentRange(header.Get("Content-Range"))
		if !ok || first != part.done {
			return cmp.Or(part.drop(), error(&failure{again: true,
				error: fmt.Errorf("%s sends a part other than the one asked for", host)}))
		}
		size = total
	default:
		return part.refusal(response)
	}
	kind, coding := header.Get("Content-Type"), header.Get("Content-Encoding")
	isPage := strings.HasPrefix(kind, "text/html")
	if size != part.size && (size >= 0 || isPage) || coding != "" && coding != "identity" {
		hint := ""
		if isPage {
			hint = ": does this network ask for a login?"
		}
		return &failure{error: fmt.Errorf("%s sends another file than that of %d bytes: %d bytes "+
			"of %.40s %.20s%s", host, part.size, size, kind, coding, hint)}
	}
	if response.StatusCode == http.StatusOK && part.done > 0 { // the server does not do ranges
		return part.drop()
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
			part.spliced = part.done > 0
			return broken(err)
		}
	}
	if n, _ := io.ReadFull(body, buffer[:1]); n > 0 {
		part.drop()
		return &failure{error: fmt.Errorf("wrong size: more arrives than the %d bytes of the "+
			"file; what arrived was deleted", part.size)}
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

// persist calls try until it succeeds, fails for good, or fails several times in a row without
// bringing anything worth it; the pauses between the tries grow. try tells arrived of the bytes of
// the file that have come; where they come too slowly its context ends.
func (d *Downloader) persist(try func(ctx context.Context, arrived func(n int)) error) error {
	const longestWait = 310 * time.Second // the hub counts requests by 300 s
	for tries := 1; ; tries++ {           // in a row without getting further
		within, most := stall, 7
		if !d.begun {
			most = 4
		}
		if d.quick && !d.begun {
			within, most = start, 1
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
		f, ok := errors.AsType[*failure](err)
		if ok && ctx.Err() != nil {
			f.error, f.again = fmt.Errorf("too slow: less than %s within %s", bytesText(worth),
				within), true
		}
		cancel()
		if !ok {
			return err
		}
		f.begun = d.begun
		wait := max(pause(max(tries, 1)), f.after)
		if !f.again || wait > longestWait || tries >= most {
			return f
		}
		d.note(fmt.Sprintf("%v; trying again in %s", f, wait.Round(100*time.Millisecond)))
		time.Sleep(wait)
	}
}

// pause is how long to wait after so many tries: 1, 2, 4 … 32 s, each more or less by up to a
// quarter, lest the machines of a lab that were switched on together come back together too.
func pause(tries int) time.Duration {
	base := time.Second << min(tries-1, 5)
	return base*3/4 + time.Duration(time.Now().UnixNano())%(base/2)
}

// ask asks the hub for a file from a byte on, with the user's token.
func (d *Downloader) ask(ctx context.Context, method string, f hubFile, from int64) (
	*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, f.url(d.hub), nil)
	if err != nil {
		return nil, &failure{error: err}
	}
	request.Header.Set("User-Agent", "mechpatch")
	request.Header.Set("Accept-Encoding", "identity")
	if from > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	if token, _ := d.token(); token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := d.client.Do(request)
	if err != nil {
		err = broken(err)
	}
	return response, err
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
		return &failure{error: errors.New("more than 10 redirects")}
	case from.Scheme == "https" && to.Scheme != "https":
		return &failure{error: fmt.Errorf("%s redirects to an address without HTTPS", from.Host)}
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
			return &failure{error: fmt.Errorf("%s %w", response.Request.URL.Host, err)}
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
	if len(sum) != 2*sha256.Size && len(sum) != 2*sha1.Size || !isHex(sum) {
		return 0, "", errors.New("does not announce the file's checksum (in X-Linked-Etag " +
			"or ETag), so that it could not be checked")
	}
	size = parseLength(strings.TrimSpace(header.Get("X-Linked-Size")))
	if header.Get("X-Linked-Size") == "" && response.StatusCode == http.StatusOK {
		size = response.ContentLength
	}
	if size < 0 || size > 1<<40 {
		return 0, "", errors.New("does not announce the file's size (in X-Linked-Size or " +
			"Content-Length), so that it could not be checked")
	}
	return size, sum, nil
}

// parseContentRange reads a Content-Range, "bytes FIRST-LAST/TOTAL", where TOTAL may be "*" and is
// then -1 (RFC 9110, section 14.4).
func parseContentRange(s string) (first, total int64, ok bool) {
	last, whole := int64(0), ""
	n, _ := fmt.Sscanf(s, "bytes %d-%d/%s", &first, &last, &whole)
	total = parseLength(whole)
	return first, total, n == 3 && first >= 0 && last >= first && (whole == "*" || total > last)
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
func broken(err error) error {
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
		return &failure{error: fmt.Errorf("%w: the proxy wants a name and a password, as in "+
			"HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT", err)}
	}
	return &failure{error: err, again: true}
}

// refusal explains an answer that is not the file.
func (d *Downloader) refusal(response *http.Response) error {
	code, kind := response.StatusCode, response.Header.Get("X-Error-Code")
	f := &failure{
		again: code >= 500 || code == http.StatusTooManyRequests ||
			code == http.StatusRequestTimeout,
		after: retryAfter(response),
	}
	advice, who := "", "it wants a token in HF_TOKEN"
	if token, from := d.token(); token != "" {
		who = "it does not accept the token in " + from
	}
	switch {
	case kind == "RevisionNotFound":
		advice = ": the repository has no such revision"
	case kind == "RepoNotFound":
		advice = ": there is no such repository, or " + who
	case kind == "GatedRepo":
		advice = ": its page on the hub has terms that must be agreed to, and the request needs " +
			"the token of who did, in HF_TOKEN or by \"hf auth login\""
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		advice = ": perhaps " + who
	case code == http.StatusNotFound:
		f.absent = true
		advice = ": the file is not there"
		if d.env.getenv("HF_ENDPOINT") != "" {
			advice += "; is HF_ENDPOINT right?"
		}
	}
	f.error = fmt.Errorf("%s answers %d %s%s", response.Request.URL.Host, code,
		http.StatusText(code), advice)
	return f
}

// retryAfter is how long a server wants to be left alone: the seconds or the date in Retry-After.
// The hub's RateLimit comes with every answer, such as "api";r=0;t=55: only where no request is
// left (r) is it what a 429 is about, and t are the seconds until they are counted anew.
func retryAfter(response *http.Response) time.Duration {
	limit := map[string]int64{"r": -1, "t": -1}
	for _, field := range strings.Split(response.Header.Get("RateLimit"), ";") {
		name, value, _ := strings.Cut(field, "=")
		limit[strings.TrimSpace(name)] = parseLength(strings.TrimSpace(value))
	}
	if response.StatusCode == http.StatusTooManyRequests && limit["r"] == 0 && limit["t"] >= 0 {
		return time.Duration(min(limit["t"], 1<<20)+1) * time.Second
	}
	after := response.Header.Get("Retry-After")
	if date, err := http.ParseTime(after); err == nil {
		return time.Until(date)
	}
	return time.Duration(max(0, min(parseLength(after), 1<<20))) * time.Second
}
