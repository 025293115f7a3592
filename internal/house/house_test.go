package house

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A rule finds the breaches in a tree.
type rule struct {
	name  string
	check func(tree) []problem
}

func rules() []rule {
	return []rule{
		{"placed", placed},
		{"downward", downward},
		{"strangers", strangers},
		{"concrete", concrete},
		{"sizes", sizes},
		{"package comments", packageComments},
		{"exported comments", exportedComments},
		{"nolint", nolints},
		{"edge", edge},
		{"direct prints", directPrints},
		{"contexts", contexts},
		{"systems", systems},
		{"sleeps", sleeps},
		{"inits", inits},
		{"names", names},
	}
}

// TestHouse holds every rule against the module's source.
func TestHouse(t *testing.T) {
	house := parse(t, readSources(t))
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			for _, p := range r.check(house) {
				t.Error(p)
			}
		})
	}
	for _, p := range growing(house) {
		t.Log("growing: ", p)
	}
}

// TestPrivatePaths finds paths of the machine that a file was written on: a
// folder at the root of the file system that no other machine need have, with
// something in it that exists here.
func TestPrivatePaths(t *testing.T) {
	root := moduleRoot(t)
	private := privateFolders(t)
	walk(t, root, func(name string) {
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		for _, folder := range private {
			for _, found := range existingPaths(content, folder) {
				t.Errorf("%s: names %s, a path of this machine only", name, found)
			}
		}
	})
}

// privateFolders lists the folders at the root that are not of every system, nor
// moat's own.
func privateFolders(t *testing.T) []string {
	t.Helper()
	usual := strings.Fields(`bin boot dev etc home lib lib32 lib64 libx32 lost+found media mnt opt proc root run
		sbin snap srv sys tmp usr var workspace Applications Library System Users Volumes cores private nix`)
	entries, err := os.ReadDir("/")
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for _, entry := range entries {
		if entry.IsDir() && !slices.Contains(usual, entry.Name()) {
			folders = append(folders, "/"+entry.Name())
		}
	}
	return folders
}

// existingPaths returns what content names below folder and this machine has.
func existingPaths(content []byte, folder string) []string {
	if !bytes.Contains(content, []byte(folder+"/")) {
		return nil
	}
	var existing []string
	mention := regexp.MustCompile(`(?:^|[^\w.~/-])(` + regexp.QuoteMeta(folder) + `/[\w.-]+)`)
	for _, match := range mention.FindAllSubmatch(content, -1) {
		if _, err := os.Lstat(string(match[1])); err == nil {
			existing = append(existing, string(match[1]))
		}
	}
	return existing
}
