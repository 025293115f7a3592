package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Clean removes images that no run uses, layers that no image has, and what killed pulls have left. It waits for nobody.
func (s *Store) Clean(ctx context.Context, c Cleaning) (Cleaned, error) {
	if _, err := os.Stat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return Cleaned{}, nil
	}
	release, err := s.lock(ctx, lockFile, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, errBusy) {
		return Cleaned{Busy: true}, nil
	}
	if err != nil {
		return Cleaned{}, err
	}
	defer release()
	inUse, err := c.InUse()
	if err != nil {
		return Cleaned{}, err
	}
	keep := &kept{digests: map[string]bool{}, layers: map[string]bool{}}
	for _, digest := range inUse {
		keep.digests[digest] = true
	}
	var out Cleaned
	if out.Images, err = s.cleanRefs(c, keep); err != nil {
		return out, fmt.Errorf("remove images: %w", err)
	}
	if err := s.cleanManifests(c, keep); err != nil {
		return out, fmt.Errorf("remove images: %w", err)
	}
	err = s.cleanLayers(c, keep, &out)
	if err != nil {
		err = fmt.Errorf("remove layers: %w", err)
	}
	return out, err
}

// kept is what stays: digests of manifests, and names of layers.
type kept struct{ digests, layers map[string]bool }

// cleanRefs removes what nobody used for a while and no run uses. What else is referred to is kept.
func (s *Store) cleanRefs(c Cleaning, keep *kept) ([]Stored, error) {
	files, err := os.ReadDir(filepath.Join(s.dir, refsDir))
	if err != nil {
		return nil, err
	}
	var out, stay []Stored
	for _, entry := range files {
		file := filepath.Join(s.dir, refsDir, entry.Name())
		info, err := os.Stat(file)
		if err != nil {
			return out, err
		}
		var r refRecord
		if err := s.read(path.Join(refsDir, filepath.Base(file)), &r); err != nil && !errors.Is(err, errAbsent) {
			return out, err
		}
		ref := Stored{Ref: r.Ref, Digest: r.Digest, Used: info.ModTime()}
		if image, err := s.byDigest(r.Digest); err == nil {
			ref.Bytes = image.Bytes
		}
		if keep.digests[r.Digest] || r.Version == version && info.ModTime().After(c.Before) {
			stay = append(stay, ref)
			continue
		}
		if r.Ref != "" {
			out = append(out, ref)
		}
		if err := c.remove(file); err != nil {
			return out, err
		}
	}
	for _, ref := range stay {
		keep.digests[ref.Digest] = true
	}
	slices.SortFunc(out, func(a, b Stored) int { return strings.Compare(a.Ref, b.Ref) })
	return out, nil
}

// cleanManifests removes images that nothing refers to, and finds the layers of the others.
func (s *Store) cleanManifests(c Cleaning, keep *kept) error {
	files, err := os.ReadDir(filepath.Join(s.dir, manifestsDir))
	if err != nil {
		return err
	}
	for _, entry := range files {
		file := filepath.Join(s.dir, manifestsDir, entry.Name())
		var r imageRecord
		if err := s.read(path.Join(manifestsDir, filepath.Base(file)), &r); err != nil && !errors.Is(err, errAbsent) {
			return err
		}
		if keep.digests[r.Digest] {
			for _, diffID := range r.Layers {
				keep.layers[strings.TrimPrefix(diffID, "sha256:")] = true
			}
			continue
		}
		if err := c.remove(file); err != nil {
			return err
		}
	}
	return nil
}

// cleanLayers removes layers that no image has, half-made ones, and locks, which nobody can hold now.
func (s *Store) cleanLayers(c Cleaning, keep *kept, out *Cleaned) error {
	top := filepath.Join(s.dir, layersDir)
	entries, err := os.ReadDir(top)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		id := strings.TrimSuffix(name, ".lock")
		if keep.layers[id] {
			continue
		}
		if strings.HasPrefix(name, ".") {
			out.Leftovers++
		} else if e.IsDir() {
			out.Layers++
			if layer, err := s.layer("sha256:" + name); err == nil {
				out.Bytes += layer.Bytes
			}
		}
		if err := c.remove(filepath.Join(top, name)); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a file or a folder of the store. A layer loses its name first, so that half of one never has it.
func (c Cleaning) remove(file string) error {
	if c.DryRun {
		return nil
	}
	dir, name := filepath.Split(file)
	if filepath.Base(dir) == layersDir && !strings.HasPrefix(name, ".") {
		trash := filepath.Join(dir, trashPrefix+name)
		if err := os.RemoveAll(trash); err != nil {
			return err
		}
		if err := os.Rename(file, trash); err != nil {
			return err
		}
		file = trash
	}
	return os.RemoveAll(file)
}
