package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"

	"moat/internal/atomicfile"
)

// Store is the folder of images of one $MOAT_HOME. Its methods may be called concurrently, by any number of processes.
type Store struct {
	dir    string
	limits Limits
}

// Open returns the store in the folder home, which is $MOAT_HOME. Nothing is made before something is pulled.
func Open(home string) *Store {
	return &Store{dir: filepath.Join(home, "images"), limits: DefaultLimits()}
}

// Image is what is kept of an image that is in the store.
type Image struct {
	Digest string   // of its manifest
	Layers []string // diff ids, the lowest first
	Bytes  int64    // of the files of all layers

	// What the image says about the command that runs in it.
	Env, Entrypoint, Cmd []string
	Dir, User            string
	Account              Account // who User is in the image
}

// Account is a user of an image.
type Account struct {
	UID  int    `json:"uid"`
	GID  int    `json:"gid"`
	Name string `json:"name"`
	Home string `json:"home"`
}

const (
	lockFile     = "lock"
	refsDir      = "refs"
	manifestsDir = "manifests"
	layersDir    = "layers"
	newPrefix    = ".new-"
	trashPrefix  = ".trash-"
	layerFile    = "layer.json"
	filesDir     = "fs"
	version      = 1
	maxRecord    = 16 << 20
)

// errAbsent says that something is not in the store, or that what is there is of no use.
var errAbsent = errors.New("not in the store")

// ErrGone says that an image that was there when a run was planned is there no more.
var ErrGone = errors.New("the image is not in moat's home any more")

type refRecord struct {
	Version  int       `json:"version"`
	Ref      string    `json:"ref"`
	Digest   string    `json:"digest"`
	PulledAt time.Time `json:"pulled_at"`
}

type imageRecord struct {
	Version    int      `json:"version"`
	Digest     string   `json:"digest"`
	Layers     []string `json:"layers"`
	Bytes      int64    `json:"size_bytes"`
	Env        []string `json:"env"`
	Entrypoint []string `json:"entrypoint"`
	Cmd        []string `json:"cmd"`
	Dir        string   `json:"dir"`
	User       string   `json:"user"`
	Account    Account  `json:"account"`
}

type layerRecord struct {
	Version int   `json:"version"`
	Bytes   int64 `json:"size_bytes"`
	Entries int64 `json:"entries"`
	Opaque  bool  `json:"opaque"`
}

// open returns the store's folder. It is made if it is not there.
func (s *Store) open() (*os.Root, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the images: %w", err)
	}
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, fmt.Errorf("open the images: %w", err)
	}
	for _, dir := range []string{refsDir, manifestsDir, layersDir} {
		if err := root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			root.Close()
			return nil, fmt.Errorf("open the images: %w", err)
		}
	}
	return root, nil
}

// hexOf is the part of a digest that names files. Other digests than SHA-256 are not kept.
func hexOf(digest string) (string, error) {
	m := regexp.MustCompile(`^sha256:([0-9a-f]{64})$`).FindStringSubmatch(digest)
	if m == nil {
		return "", hostile("digest %q", shorten(digest))
	}
	return m[1], nil
}

func refPath(ref string) string {
	sum := sha256.Sum256([]byte(ref))
	return path.Join(refsDir, hex.EncodeToString(sum[:])+".json")
}

// read reads a JSON file of the store; errAbsent if there is none.
func (s *Store) read(name string, into any) error {
	root, err := os.OpenRoot(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return errAbsent
	}
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return errAbsent
	}
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%w: %s: %w", errAbsent, name, err)
	}
	return nil
}

func (s *Store) write(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	root, err := s.open()
	if err != nil {
		return err
	}
	defer root.Close()
	return atomicfile.Write(root, name, append(data, '\n'), 0o600)
}

// byRef returns the image that a whole reference meant when it was pulled; errAbsent if it is not there with all its layers.
func (s *Store) byRef(ref string) (*Image, error) {
	var r refRecord
	if err := s.read(refPath(ref), &r); err != nil {
		return nil, err
	}
	if r.Version != version || r.Ref != ref {
		return nil, errAbsent
	}
	return s.byDigest(r.Digest)
}

// byDigest is byRef for the digest of a manifest.
func (s *Store) byDigest(digest string) (*Image, error) {
	id, err := hexOf(digest)
	if err != nil {
		return nil, err
	}
	var r imageRecord
	if err := s.read(path.Join(manifestsDir, id+".json"), &r); err != nil {
		return nil, err
	}
	if r.Version != version || r.Digest != digest {
		return nil, errAbsent
	}
	for _, layer := range r.Layers {
		if _, err := s.layer(layer); err != nil {
			return nil, err
		}
	}
	return &Image{
		Digest: r.Digest, Layers: r.Layers, Bytes: r.Bytes,
		Env: r.Env, Entrypoint: r.Entrypoint, Cmd: r.Cmd, Dir: r.Dir, User: r.User, Account: r.Account,
	}, nil
}

// layer returns what is known of a layer that is there.
func (s *Store) layer(diffID string) (layerRecord, error) {
	var r layerRecord
	id, err := hexOf(diffID)
	if err != nil {
		return r, err
	}
	if err := s.read(path.Join(layersDir, id, layerFile), &r); err != nil {
		return r, err
	}
	if r.Version != version {
		return r, errAbsent
	}
	return r, nil
}

// keep stores an image whose layers are there, and what ref means now.
func (s *Store) keep(ref string, i *Image) error {
	id, err := hexOf(i.Digest)
	if err != nil {
		return err
	}
	err = s.write(path.Join(manifestsDir, id+".json"), imageRecord{
		Version: version, Digest: i.Digest, Layers: orEmpty(i.Layers), Bytes: i.Bytes,
		Env: orEmpty(i.Env), Entrypoint: orEmpty(i.Entrypoint), Cmd: orEmpty(i.Cmd), Dir: i.Dir, User: i.User, Account: i.Account,
	})
	if err != nil {
		return err
	}
	return s.write(refPath(ref), refRecord{Version: version, Ref: ref, Digest: i.Digest, PulledAt: time.Now().UTC()})
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// Layers returns the folders of an image's layers, the lowest first, and keeps them from being removed until release is called. What
// has mounted them must be on record as a run by then: see [Store.Clean]. ErrGone if they are not there.
func (s *Store) Layers(ctx context.Context, digest string) (dirs []string, release func(), err error) {
	if _, err := os.Stat(s.dir); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrGone, err)
	}
	release, err = s.lock(ctx, lockFile, unix.LOCK_SH)
	if err != nil {
		return nil, nil, err
	}
	image, err := s.byDigest(digest)
	if err != nil {
		release()
		return nil, nil, fmt.Errorf("%w: %s: %w", ErrGone, digest, err)
	}
	return s.folders(image), release, nil
}

// folders are those of the layers, without what others hide as a whole.
func (s *Store) folders(image *Image) []string {
	dirs := []string{}
	for _, diffID := range image.Layers {
		id, _ := hexOf(diffID) // byDigest has looked
		if r, err := s.layer(diffID); err == nil && r.Opaque {
			dirs = dirs[:0]
		}
		dirs = append(dirs, filepath.Join(s.dir, layersDir, id, filesDir))
	}
	return dirs
}
