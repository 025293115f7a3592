package image

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// withLayer lets fill unpack a layer into an empty directory, unless somebody else does or did. Either the layer is in the store
// afterwards, whole, or nothing of it.
func (s *Store) withLayer(ctx context.Context, diffID string, fill func(dir *os.File) (unpacked, error)) error {
	id, err := hexOf(diffID)
	if err != nil {
		return err
	}
	release, err := s.lock(ctx, filepath.Join(layersDir, id+".lock"), unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer release()
	if _, err := s.layer(diffID); !errors.Is(err, errAbsent) {
		return err
	}
	top := filepath.Join(s.dir, layersDir)
	if err := removeBeginning(top, newPrefix+id+"-"); err != nil { // nobody but the holder of the lock has one
		return err
	}
	temp := filepath.Join(top, newPrefix+id+"-"+rand.Text())
	if err := fillLayer(temp, fill); err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	return s.putLayer(id, temp)
}

// fillLayer makes the folder of a layer and hands all of it to the disk.
func fillLayer(temp string, fill func(dir *os.File) (unpacked, error)) error {
	if err := os.Mkdir(temp, 0o700); err != nil {
		return err
	}
	files := filepath.Join(temp, filesDir)
	if err := os.Mkdir(files, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(files, 0o755); err != nil { // whatever the umask is
		return err
	}
	dir, err := os.Open(files)
	if err != nil {
		return err
	}
	defer dir.Close()
	made, err := fill(dir)
	if err != nil {
		return err
	}
	data, err := json.Marshal(layerRecord{Version: version, Bytes: made.bytes, Entries: made.entries, Opaque: made.opaque})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(temp, layerFile), append(data, '\n'), 0o600); err != nil {
		return err
	}
	return syncFS(dir)
}

// syncFS hands the file system that f is on to the disk: one call instead of one for each of many thousand files.
func syncFS(f *os.File) error {
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync the layer: %w", err)
	}
	return nil
}

// putLayer gives a whole layer its name, in the place of one that was of no use.
func (s *Store) putLayer(id, temp string) error {
	top := filepath.Join(s.dir, layersDir)
	final := filepath.Join(top, id)
	err := os.Rename(temp, final)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		trash := filepath.Join(top, trashPrefix+id+"-"+rand.Text())
		if err = os.Rename(final, trash); err == nil {
			err = errors.Join(os.Rename(temp, final), os.RemoveAll(trash))
		}
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	d, err := os.Open(top)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// removeBeginning removes what is in dir and has a name that begins so.
func removeBeginning(dir, prefix string) error {
	found, err := os.ReadDir(dir)
	for _, e := range found {
		if strings.HasPrefix(e.Name(), prefix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// download gets a layer and unpacks it into dir. One that breaks off is begun anew.
func (p *puller) download(ctx context.Context, w wanted, dir *os.File, b *budget) (made unpacked, err error) {
	for try := 1; ; try++ {
		var got int64
		made, got, err = p.tryLayer(ctx, w, dir, b)
		if err == nil || try == layerTries || !worthAnother(ctx, err) {
			return made, err
		}
		p.report(-got)
		_ = b.spend(-made.bytes, -made.entries) // less than before
		if err := clearDir(dir); err != nil {
			return made, err
		}
		select {
		case <-ctx.Done():
			return made, ctx.Err()
		case <-time.After(time.Duration(try) * retryAfter):
		}
	}
}

// retryAfter is how long the first new try waits, and how much longer each one after it.
const retryAfter = 500 * time.Millisecond

// worthAnother tells whether the network may be to blame for err.
func worthAnother(ctx context.Context, err error) bool {
	var answer *transport.Error // it is tried again below us already, where that may help
	var errno unix.Errno
	local := errors.As(err, &errno) && errno != unix.ECONNRESET && errno != unix.EPIPE
	return ctx.Err() == nil && !local && !errors.Is(err, ErrHostile) && !errors.Is(err, errNoRoom) && !errors.As(err, &answer)
}

// clearDir removes what is in dir.
func clearDir(dir *os.File) error {
	names, err := os.ReadDir(dir.Name())
	for _, n := range names {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir.Name(), n.Name())))
	}
	return err
}

// stallTime is how long a registry may send nothing.
const stallTime = time.Minute

// tryLayer is one download; got is how many compressed bytes came.
func (p *puller) tryLayer(ctx context.Context, w wanted, dir *os.File, b *budget) (made unpacked, got int64, err error) {
	body, err := w.layer.Compressed()
	if err != nil {
		return made, 0, err
	}
	// Closing is the only way to end a read that waits.
	stalled := time.AfterFunc(stallTime, func() { body.Close() })
	defer stalled.Stop()
	stop := context.AfterFunc(ctx, func() { body.Close() })
	defer stop()
	defer body.Close()
	source := &watched{r: body, seen: func(n int) {
		stalled.Reset(stallTime)
		got += int64(n)
		p.report(int64(n))
	}}
	made, err = unpackVerified(ctx, source, w, dir, b)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return made, got, err
}

// watched tells of what is read.
type watched struct {
	r    io.Reader
	seen func(n int)
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.seen(n)
	return n, err
}

// unpackVerified unpacks a compressed archive, which must be what its diff id says. That the compressed form is what the
// manifest says is found at the end of source, by source.
func unpackVerified(ctx context.Context, source io.Reader, w wanted, dir *os.File, b *budget) (unpacked, error) {
	plain, err := decompress(source)
	if err != nil {
		return unpacked{}, err
	}
	defer plain.Close()
	sum := sha256.New()
	archive := newAhead(&bounded{r: plain, left: b.limits.archiveBytes(w.size), sum: sum})
	made, err := unpack(ctx, archive, int(dir.Fd()), b)
	if err == nil {
		_, err = io.Copy(io.Discard, archive) // padding
	}
	archive.stop()
	if err == nil {
		_, err = io.Copy(io.Discard, source) // to its verdict
	}
	if err != nil {
		return made, err
	}
	if is := "sha256:" + hex.EncodeToString(sum.Sum(nil)); is != w.diffID {
		return made, hostile("a layer is %s and not what the image says", is)
	}
	return made, nil
}

// decompress finds out how a layer is compressed: its media type may say something else. The result must be closed.
func decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 128<<10)
	magic, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}): // RFC 1952, 2.3.1
		return gzip.NewReader(b)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}): // RFC 8878, 3.1.1
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(128<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(b), nil
}

// bounded reads up to a limit and sums up what it reads.
type bounded struct {
	r    io.Reader
	left int64
	sum  hash.Hash
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.sum.Write(p[:n])
	if b.left -= int64(n); b.left < 0 {
		return 0, hostile("a layer is far larger than its compressed form, or than moat unpacks")
	}
	if corrupt(err) {
		err = hostile("a layer cannot be decompressed: %w", err)
	}
	return n, err
}

// corrupt tells errors of a decompressor from those of what it reads.
func corrupt(err error) bool {
	return err != nil && (errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) || strings.Contains(err.Error(), "corrupt"))
}
