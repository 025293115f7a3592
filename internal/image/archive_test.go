package image

import (
	"archive/tar"
	"bytes"
	"testing"
	"time"
)

// member is one entry of an archive.
type member struct {
	name    string
	kind    byte // of package tar; 0: a regular file, or a directory if the name ends in "/"
	mode    int64
	content string
	link    string
	pax     map[string]string
}

// modified is when all members were changed.
func modified() time.Time { return time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC) }

// archive makes a tar archive.
func archive(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		if m.kind == 0 {
			m.kind = tar.TypeReg
			if m.name != "" && m.name[len(m.name)-1] == '/' {
				m.kind = tar.TypeDir
			}
		}
		if m.mode == 0 {
			m.mode = 0o644
			if m.kind == tar.TypeDir {
				m.mode = 0o755
			}
		}
		h := &tar.Header{
			Name: m.name, Typeflag: m.kind, Mode: m.mode, Size: int64(len(m.content)), Linkname: m.link, ModTime: modified(),
			PAXRecords: m.pax, Uid: 12345, Gid: 12345, Format: tar.FormatPAX,
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatalf("%q: %v", m.name, err)
		}
		if _, err := w.Write([]byte(m.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
