package box

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestImageAccount(t *testing.T) {
	root := fstest.MapFS{
		"etc/passwd": {Data: []byte("root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\nnode:x:1000:1001::/home/node:/bin/sh\nodd:x:y:z::/:/\n")},
		"etc/group":  {Data: []byte("root:x:0:\nnode:x:1001:\naudio:x:29:other,node\nbroken:x:y:node\nvideo:x:44:root\n")},
	}
	for wish, want := range map[string]*account{
		"node":       {"node", 1000, 1001, []int{29}},
		"1000":       {"node", 1000, 1001, []int{29}},
		"node:video": {"node", 1000, 44, nil},
		"node:7":     {"node", 1000, 7, nil},
		"4711":       {"4711", 4711, 0, nil},
		"4711:12":    {"4711", 4711, 12, nil},
		"root":       {"root", 0, 0, []int{44}},
		"nobody":     nil,
		"odd":        nil,
		"node:none":  nil,
	} {
		got, err := imageAccount(root, wish)
		if want == nil {
			if err == nil {
				t.Errorf("%q: %+v, want an error", wish, got)
			}
			continue
		}
		if d := cmp.Diff(*want, got, cmp.AllowUnexported(account{})); d != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", wish, err, d)
		}
	}
	if got, err := imageAccount(fstest.MapFS{}, "7"); err != nil || got.uid != 7 {
		t.Errorf("an image without users: %+v, %v", got, err)
	}
	if _, err := imageAccount(fstest.MapFS{}, "node"); err == nil {
		t.Error("a name in an image without users")
	}
}
