package box

import (
	"testing"

	"moat/internal/sandbox"
)

func TestCommandUser(t *testing.T) {
	me, root := sandbox.User{UID: 1000, GID: 100}, sandbox.User{}
	for name, test := range map[string]struct {
		person   sandbox.User
		rootless bool
		uid, gid int
		image    string
	}{
		"ordinary":       {me, false, 1000, 100, ""},
		"root":           {root, false, 0, 0, "node"},
		"rootless":       {me, true, 0, 0, ""},
		"rootless, root": {root, true, 0, 0, ""},
	} {
		spec := sandbox.Spec{User: test.person, Image: sandbox.Image{User: "node"}}
		user, image := CommandUser(spec, test.rootless)
		if user.UID != test.uid || user.GID != test.gid || image != test.image {
			t.Errorf("%s: %+v, image's %q", name, user, image)
		}
	}
}
