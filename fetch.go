package main

// A file from the hub: where it goes, the part of it that is there, checked and then renamed.
//
// A file is identified by its SHA-256, which is known before the first byte is asked for. So what
// an earlier run left can be continued from any server without a validator such as If-Range: a
// wrong piece shows in the sum, and then the file is fetched anew.

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"
)

// fetch downloads the published model of that name into the file dest and returns dest's path.
// Where dest is "", that is the program's cache; where it is a folder, NAME.safetensors in it. A
// file that is there already and has the right sum is not fetched again.
//
// Until it is whole and its sum is right, the file is dest.SUM.partial (SUM is the beginning of its
// SHA-256); that is kept when a fetch fails, and the next one goes on from it. It is not kept when
// it turns out to be wrong or cannot be written.
//
// Only one process at a time fetches into dest; another waits for it, and then uses its file.
func (d *Downloader) fetch(ctx context.Context, name, dest string) (path string, err error) {
	p, ok := lookup(d.table, name)
	switch {
	case name == "circuit":
		return "", errors.New("fetching circuit: it is built into the program")
	case !ok:
		return "", fmt.Errorf("fetching %s: no model of that name: known are %s", name, names(d.table))
	}
	d.begun = false
	path, err = d.fetchPublished(ctx, p, dest)
	if err != nil {
		return "", fmt.Errorf("fetching %s: %w", p.name, err)
	}
	return path, nil
}

func (d *Downloader) fetchPublished(ctx context.Context, p Published, dest string) (string, error) {
	if by := d.env.offlineBy(); by != "" {
		return "", fmt.Errorf("%s forbids the network", by)
	}
	dest, err := d.destination(p.name, dest)
	if err != nil {
		return "", err
	}
	hub, err := endpoint(d.env)
	if err != nil {
		return "", err
	}
	if p.sum == "" {
		if p, err = d.announced(ctx, hub, p); err != nil {
			return "", err
		}
	}

	partial := beside(dest, "."+p.sum[:16]+".partial")
	release, err := d.claim(ctx, dest, partial, p.size)
	if err != nil {
		return "", err
	}
	defer release()
	if isComplete(dest, p) {
		d.note(fmt.Sprintf("%s is there, and its checksum is right", dest))
		return dest, nil
	}
	return dest, d.transfer(ctx, hub, p, partial, dest)
}

// destination settles which file is written, and makes the cache's folder.
func (d *Downloader) destination(name, dest string) (string, error) {
	if dest == "" {
		dest = cacheFile(name, d.env)
		if dest == "" {
			return "", errors.New("this system names no cache folder; " +
				"\"mechpatch fetch -o FILE\" puts the file elsewhere")
		}
		if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
			return "", unwritable(dest, err)
		}
		return dest, nil
	}
	info, err := os.Stat(dest)
	if err == nil && info.IsDir() {
		return filepath.Join(dest, name+".safetensors"), nil
	}
	if err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", dest)
	}
	return dest, nil
}

// beside is the name of a file that belongs to path, in the same folder. Where path's name leaves
// no room for the suffix (a name has at most 255 bytes), it is cut.
func beside(path, suffix string) string {
	folder, name := filepath.Split(path)
	for len(name)+len(suffix) > 255 {
		_, last := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-last]
	}
	return folder + name + suffix
}

// unwritable explains a failure to write beside dest.
func unwritable(dest string, err error) error {
	return fmt.Errorf("cannot write into %s: %w; \"mechpatch fetch -o FILE\" puts the file elsewhere, "+
		"and -model FILE uses it from there", filepath.Dir(dest), reason(err))
}

// isComplete tells whether path is the published file, byte for byte.
func isComplete(path string, p Published) bool {
	file, err := openRegular(path)
	if err != nil {
		return false
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.Size() != p.size {
		return false
	}
	sum, err := sumOf(file)
	return err == nil && sum == p.sum
}

// sumOf is the SHA-256 of all that lies on the disk, in hexadecimal.
func sumOf(file *os.File) (string, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	h := sha256.New()
	_, err := io.Copy(h, file)
	return hex.EncodeToString(h.Sum(nil)), err
}

// The lock is a file that its owner touches every lockBeat. One that has not been touched for
// lockStale is of a run that was killed or suspended, and is taken over. Should its owner go on all
// the same, both write the same bytes into the partial file, and its sum tells whether they did.
const (
	lockBeat  = 10 * time.Second
	lockStale = 45 * time.Second
)

// claim waits until this process alone may write dest and its partial file, and returns the
// function that gives them free.
func (d *Downloader) claim(ctx context.Context, dest, partial string, size int64) (
	release func(), err error) {
	const look = 200 * time.Millisecond
	lock := beside(dest, ".lock")
	var last time.Time
	for waited, unchanged := false, time.Duration(0); ; unchanged += look {
		file, err := os.OpenFile(lock, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err == nil {
			file.Close()
			return d.holdLock(lock), nil
		}
		info, statErr := os.Lstat(lock)
		switch {
		case errors.Is(statErr, fs.ErrNotExist) && errors.Is(err, fs.ErrExist):
			continue // just given free
		case statErr != nil:
			return nil, unwritable(dest, err)
		case !info.ModTime().Equal(last):
			last, unchanged = info.ModTime(), 0
		case unchanged >= lockStale:
			os.Remove(lock)
		}

		if !waited {
			d.note(fmt.Sprintf("another mechpatch is fetching %s: waiting for it", dest))
			waited = true
		}
		if info, err := os.Stat(partial); err == nil {
			d.progress(min(info.Size(), size), size)
		}
		if d.sleep(ctx, look) != nil {
			return nil, errInterrupted
		}
	}
}

// holdLock touches a lock from time to time until it is released.
func (d *Downloader) holdLock(lock string) (release func()) {
	held := make(chan struct{})
	mine, _ := os.Lstat(lock)
	isMine := func() bool {
		info, err := os.Lstat(lock)
		return err == nil && mine != nil && os.SameFile(info, mine)
	}
	var beat func()
	beat = func() {
		select {
		case <-held:
			return
		default:
		}
		if isMine() {
			os.Chtimes(lock, time.Now(), time.Now())
			d.after(lockBeat, beat)
		}
	}
	d.after(lockBeat, beat)
	return func() {
		close(held)
		if isMine() {
			os.Remove(lock)
		}
	}
}

// partialFile is a download under way.
type partialFile struct {
	*os.File
	size    int64 // of the whole
	done    int64 // bytes that are there
	spliced bool  // they came over more than one connection
	dropped int   // how often what was there had to be given up
}

// transfer downloads p into partial, continuing what is there, checks it, and renames it to dest.
func (d *Downloader) transfer(ctx context.Context, hub *url.URL, p Published,
	partial, dest string) error {
	part, err := openPartial(partial, p.size)
	if err != nil {
		return unwritable(dest, err)
	}
	line := fmt.Sprintf("fetching %s (%s) from %s into %s", p.name, bytesText(p.size),
		hub.JoinPath(p.repo).Redacted(), dest)
	if part.done > 0 {
		line += fmt.Sprintf(", of which %s are there", bytesText(part.done))
	}
	if d.quick {
		line += "; -model circuit does without it"
	}
	d.note(line)

	d.progress(part.done, p.size)
	err = d.fill(ctx, fileURL(hub, p), part, p.sum)
	if err == nil {
		err = d.keep(part, dest, p)
	}
	if err != nil {
		return d.abandon(part, dest, err)
	}
	return nil
}

// openPartial opens or makes a partial file. What is there but is no file of this program's, such
// as a link that somebody else has put there, is not followed but replaced.
func openPartial(path string, size int64) (*partialFile, error) {
	part := &partialFile{size: size}
	if there, err := os.Lstat(path); err == nil && there.Mode().IsRegular() && there.Size() <= size {
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		if info, err := file.Stat(); err == nil && os.SameFile(info, there) && !hasTwoNames(info) {
			part.File, part.spliced = file, there.Size() > 0
			part.done, err = file.Seek(0, io.SeekEnd)
			return part, err
		}
		file.Close()
	}
	os.Remove(path)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	part.File = file
	return part, err
}

// drop gives up what is there: the file is made anew, since another process may have it open under
// its final name. A server that makes this necessary again and again is given up on.
func (part *partialFile) drop() error {
	part.Close()
	if err := os.Remove(part.Name()); err != nil {
		return err
	}
	file, err := os.OpenFile(part.Name(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	part.File, part.done, part.spliced = file, 0, false
	if part.dropped++; part.dropped > 3 {
		return &failure{error: errors.New("the server's answers do not fit together")}
	}
	return nil
}

// fill downloads what part lacks and makes sure of the checksum of what lies on the disk.
func (d *Downloader) fill(ctx context.Context, address string, part *partialFile, sum string) error {
	for {
		err := d.persist(ctx, func(ctx context.Context, arrived func(n int)) error {
			return d.get(ctx, address, part, arrived)
		})
		if err != nil {
			return err
		}
		got, err := sumOf(part.File)
		if err != nil || got == sum {
			return err
		}
		if !part.spliced {
			return wrongFile{fmt.Errorf("wrong checksum: the SHA-256 of what arrived is %s, not %s; "+
				"it was deleted", got, sum)}
		}
		d.note("what was put together has a wrong checksum; starting anew")
		if err := part.drop(); err != nil {
			return err
		}
	}
}

// wrongFile is the error of a file that is not the one that was asked for, so that nothing of it is
// worth keeping.
type wrongFile struct{ error }

// get asks for what part still lacks and appends what arrives. Failures of the network are of type
// *failure, a file of a wrong length is a wrongFile, anything else is a failure to write.
func (d *Downloader) get(ctx context.Context, address string, part *partialFile,
	arrived func(n int)) error {
	if part.done == part.size {
		return nil
	}
	ctx, watchdog := d.watched(ctx, fmt.Errorf("less than %s within %s", bytesText(worth), d.stall))
	defer watchdog.Stop()

	request, err := d.request(ctx, http.MethodGet, address)
	if err != nil {
		return err
	}
	if part.done > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", part.done))
	}
	response, err := d.client.Do(request)
	if err != nil {
		return broken(ctx, err)
	}
	defer response.Body.Close()
	if err := d.position(response, part); err != nil {
		return err
	}

	buffer := make([]byte, 256<<10)
	for sinceReset := 0; part.done < part.size; {
		n, err := response.Body.Read(buffer[:min(int64(len(buffer)), part.size-part.done)])
		if n > 0 {
			arrived(n)
			written, writeErr := d.write(part.File, buffer[:n])
			part.done += int64(written)
			if writeErr != nil {
				return writeErr
			}
			if sinceReset += n; sinceReset >= worth {
				watchdog.Reset(d.stall)
				sinceReset = 0
			}
			d.progress(part.done, part.size)
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && part.done < part.size {
			part.spliced = part.done > 0
			return broken(ctx, err)
		}
	}
	if n, _ := io.ReadFull(response.Body, buffer[:1]); n > 0 {
		return wrongFile{fmt.Errorf("wrong size: more arrives than the %d bytes of the file; "+
			"what arrived was deleted", part.size)}
	}
	return nil
}

// position makes sure that the answer is the file, or its rest, and that part stands where the
// answer's body begins.
func (d *Downloader) position(response *http.Response, part *partialFile) error {
	host := response.Request.URL.Host
	if code := response.Header.Get("Content-Encoding"); code != "" && code != "identity" {
		return &failure{error: fmt.Errorf("%s sends the file encoded as %.20q, which was not asked for",
			host, code)}
	}
	wrongSize := func(size int64, offers, page string) error {
		return &failure{error: fmt.Errorf("wrong size: %s %s %d bytes%s, not %d",
			host, offers, size, page, part.size)}
	}
	page := "" // a remark on an answer that is to be read by people
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") {
		page = " (a web page: does this network ask for a login?)"
	}
	switch response.StatusCode {
	case http.StatusOK:
		n := response.ContentLength
		if n >= 0 && n != part.size {
			return wrongSize(n, "offers", page)
		}
		if n < 0 && page != "" {
			return &failure{error: fmt.Errorf("%s answers with something else than the file%s", host, page)}
		}
		if part.done > 0 { // the server does not do ranges
			return part.drop()
		}
		return nil

	case http.StatusPartialContent:
		first, total, ok := parseContentRange(response.Header.Get("Content-Range"))
		if ok && total >= 0 && total != part.size {
			return wrongSize(total, "has", "")
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

// keep makes a whole and checked partial file the file dest.
func (d *Downloader) keep(part *partialFile, dest string, p Published) error {
	// Without Sync a power cut could leave a file of the right name whose bytes never reached the
	// disk.
	err := part.Sync()
	if closeErr := part.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(part.Name(), dest)
	}
	// Another process may have been sooner, and Windows does not replace a file that is in use.
	if err != nil && isComplete(dest, p) {
		os.Remove(part.Name())
		return nil
	}
	return err
}

// abandon closes a partial file that cannot be finished, removes it unless another run can go on
// from it, and explains err.
func (d *Downloader) abandon(part *partialFile, dest string, err error) error {
	part.Close()
	network := err == errInterrupted || errors.As(err, new(*failure))
	if network && part.done > 0 {
		return fmt.Errorf("%w; %s of %s are kept, and the same command goes on from there", err,
			bytesText(part.done), bytesText(part.size))
	}
	os.Remove(part.Name())
	if network || errors.As(err, new(wrongFile)) {
		return err
	}
	return unwritable(dest, err)
}
