package box

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"moat/internal/ca"
)

// An account is who commands run as.
type account struct {
	name     string
	uid, gid int
	groups   []int // further ones
}

// become changes to the account on every thread. Whoever is not root then has no capability left.
func (a account) become() error {
	if err := syscall.Setgroups(a.groups); err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	if err := syscall.Setresgid(a.gid, a.gid, a.gid); err != nil {
		return fmt.Errorf("group %d: %w", a.gid, err)
	}
	if err := syscall.Setresuid(a.uid, a.uid, a.uid); err != nil {
		return fmt.Errorf("user %d: %w", a.uid, err)
	}
	return nil
}

// resolve finds out who commands run as, in the files of an image.
func (b Boot) resolve(root fs.FS) (account, error) {
	if b.ImageUser == "" {
		return account{name: b.User.Name, uid: b.User.UID, gid: b.User.GID}, nil
	}
	return imageAccount(root, b.ImageUser)
}

// imageAccount resolves an image's wish: user[:group], each a name or a number (OCI image specification, config.md). As with
// Docker, the groups of a named user are those that /etc/group lists, unless a group is named.
func imageAccount(root fs.FS, wish string) (account, error) {
	user, group, hasGroup := strings.Cut(wish, ":")
	users, groups := entries(root, "etc/passwd"), entries(root, "etc/group")
	a := account{name: user}
	uid, numErr := strconv.Atoi(user)
	known := false
	for _, u := range users {
		if len(u) < 4 || u[0] != user && (numErr != nil || u[2] != user) {
			continue
		}
		id, err1 := strconv.Atoi(u[2])
		gid, err2 := strconv.Atoi(u[3])
		if err1 == nil && err2 == nil {
			a.name, a.uid, a.gid, known = u[0], id, gid, true
			break
		}
	}
	switch {
	case !known && numErr != nil:
		return a, fmt.Errorf("the image wants to run as user %q, whom its /etc/passwd does not know", user)
	case !known:
		a.uid = uid
	}
	if hasGroup {
		gid, err := groupID(groups, group)
		if err != nil {
			return a, err
		}
		a.gid = gid
		return a, nil
	}
	for _, g := range groups {
		if len(g) < 4 || !known || !slices.Contains(strings.Split(g[3], ","), a.name) {
			continue
		}
		if gid, err := strconv.Atoi(g[2]); err == nil {
			a.groups = append(a.groups, gid)
		}
	}
	return a, nil
}

func groupID(groups [][]string, name string) (int, error) {
	for _, g := range groups {
		if len(g) >= 3 && g[0] == name {
			if gid, err := strconv.Atoi(g[2]); err == nil {
				return gid, nil
			}
		}
	}
	gid, err := strconv.Atoi(name)
	if err != nil {
		return 0, fmt.Errorf("the image wants to run as group %q, which its /etc/group does not know", name)
	}
	return gid, nil
}

// maxAccounts bounds what is read of an image's lists, in bytes.
const maxAccounts = 4 << 20

// entries are the lines of passwd(5) or group(5), in fields; none if there is no such file.
func entries(root fs.FS, name string) [][]string {
	f, err := root.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Size() > maxAccounts {
		return nil
	}
	var out [][]string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if text := strings.TrimSpace(lines.Text()); text != "" && text[0] != '#' {
			out = append(out, strings.Split(text, ":"))
		}
	}
	return out
}

// trustPlaces are where programs look for what they trust: Debian and its relatives, Red Hat's, SUSE's and Alpine's. The first
// is made in any case; it is what the environment of commands names.
func trustPlaces() []string {
	return []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}
}

// resolvConf is made where an engine makes none for a container without a network. The door answers wherever a question is sent.
const resolvConf = "/etc/resolv.conf"

// writeEtc puts the sandbox's own files into the image's /etc: names for those who run, and what to trust.
func (b Boot) writeEtc(user account) error {
	if err := addAccount("/etc/passwd", user.uid, func(name string) string {
		return fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh", name, user.uid, user.gid, strings.NewReplacer(":", "", "\n", "").Replace(b.User.Home))
	}, user.name); err != nil {
		return err
	}
	if err := addAccount("/etc/group", user.gid, func(name string) string { return fmt.Sprintf("%s:x:%d:", name, user.gid) }, user.name); err != nil {
		return err
	}
	if _, err := os.Stat(resolvConf); b.Network && errors.Is(err, fs.ErrNotExist) {
		if err := put(resolvConf, []byte("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")); err != nil {
			return err
		}
	}
	if b.Hostname != "" {
		if err := put("/etc/hostname", []byte(b.Hostname+"\n")); err != nil {
			return err
		}
	}
	if len(b.Known) > 0 {
		const name = "/etc/ssh/ssh_known_hosts"
		known, err := os.ReadFile(name)
		if err == nil && len(known) > 0 {
			known = append(known, '\n')
		}
		if err := put(name, append(known, b.Known...)); err != nil {
			return err
		}
	}
	if len(b.Roots) == 0 {
		return nil
	}
	for i, path := range trustPlaces() {
		if _, err := os.Stat(path); err != nil && i > 0 {
			continue
		}
		if err := put(path, b.Roots); err != nil {
			return err
		}
	}
	for name, data := range map[string][]byte{"/etc/moat/roots.pem": b.Roots, "/etc/moat/root.pem": b.Root, "/etc/moat/roots.jks": ca.KeyStore(b.Roots)} {
		if err := put(name, data); err != nil {
			return err
		}
	}
	return nil
}

// put writes a file that everybody may read, through links: in an image they are the image's own business.
func put(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return err
	}
	return os.Chmod(path, 0o644)
}

// addAccount adds a line to passwd or group if none has the number. A name that is taken, or could not stand there, gives way.
func addAccount(path string, id int, line func(name string) string, name string) error {
	data, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	taken := false
	for _, e := range entries(os.DirFS("/"), strings.TrimPrefix(path, "/")) {
		if len(e) >= 3 && e[2] == strconv.Itoa(id) {
			return nil
		}
		taken = taken || e[0] == name
	}
	if taken || !accountName(name) {
		name = "moat" + strconv.Itoa(id)
	}
	if len(data) > 0 && !bytes.HasSuffix(data, []byte("\n")) {
		data = append(data, '\n')
	}
	return put(path, append(data, line(name)+"\n"...))
}

// accountName tells whether a name may stand in passwd (useradd(8)).
func accountName(name string) bool {
	for i, c := range name {
		if !(c >= 'a' && c <= 'z' || c == '_' || i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.')) {
			return false
		}
	}
	return name != "" && len(name) <= 32
}
