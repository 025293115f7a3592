package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxAccounts bounds what is read of an image's passwd and group, in bytes.
const maxAccounts = 1 << 20

// maxID is the highest user or group id (the kernel's -1 means "none").
const maxID = 1<<32 - 2

// account finds who user is, which is "", or user[:group] as names or numbers (OCI image specification, "config.md", User), by the
// passwd and group of an image. A number need not be listed there; a name must.
func account(user string, passwd, group []byte) (Account, error) {
	who, groupName, hasGroup := strings.Cut(user, ":")
	if who == "" {
		who = "0"
	}
	a := Account{UID: -1, Home: "/"}
	if id, err := strconv.ParseUint(who, 10, 32); err == nil && id <= maxID {
		a.UID = int(id)
	}
	for line := range bytes.Lines(passwd) { // passwd(5)
		f := strings.Split(strings.TrimRight(string(line), "\r\n"), ":")
		if len(f) < 6 {
			continue
		}
		uid, errUID := strconv.ParseUint(f[2], 10, 32)
		gid, errGID := strconv.ParseUint(f[3], 10, 32)
		if errUID != nil || errGID != nil || uid > maxID || gid > maxID || f[0] != who && (a.UID < 0 || int(uid) != a.UID) {
			continue
		}
		a.UID, a.GID, a.Name = int(uid), int(gid), f[0]
		if path.IsAbs(f[5]) && !strings.Contains(f[5], "\x00") {
			a.Home = path.Clean(f[5])
		}
		break
	}
	switch {
	case a.UID < 0:
		return a, fmt.Errorf("the image wants to run as the user %q, whom its /etc/passwd does not have", shorten(who))
	case a.Name == "" && a.UID == 0:
		a.Name, a.Home = "root", "/root"
	}
	if !hasGroup || groupName == "" {
		return a, nil
	}
	gid, err := groupID(groupName, group)
	a.GID = gid
	return a, err
}

func groupID(name string, group []byte) (int, error) {
	if id, err := strconv.ParseUint(name, 10, 32); err == nil && id <= maxID {
		return int(id), nil
	}
	for line := range bytes.Lines(group) { // group(5)
		f := strings.Split(strings.TrimRight(string(line), "\r\n"), ":")
		if len(f) < 3 || f[0] != name {
			continue
		}
		if id, err := strconv.ParseUint(f[2], 10, 32); err == nil && id <= maxID {
			return int(id), nil
		}
	}
	return 0, fmt.Errorf("the image wants to run in the group %q, which its /etc/group does not have", shorten(name))
}

// findAccount is account for an image whose layers have these folders, the lowest first.
func findAccount(user string, layers []string) (Account, error) {
	passwd, err := layeredFile(layers, "etc", "passwd")
	if err != nil {
		return Account{}, err
	}
	group, err := layeredFile(layers, "etc", "group")
	if err != nil {
		return Account{}, err
	}
	return account(user, passwd, group)
}

// layeredFile reads what will be at dir/name when the layers are stacked, nil if that is no regular file. A link is not followed.
func layeredFile(layers []string, dir, name string) ([]byte, error) {
	for i := len(layers) - 1; i >= 0; i-- {
		data, lower, err := layerFileIn(layers[i], dir, name)
		if err != nil {
			return nil, fmt.Errorf("read /%s/%s of the image: %w", dir, name, err)
		}
		if !lower {
			return data, nil
		}
	}
	return nil, nil
}

// layerFileIn looks into one layer; lower says that it lets those below it be seen.
func layerFileIn(layer, dir, name string) (data []byte, lower bool, err error) {
	d, err := unix.Open(path.Join(layer, dir), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, true, nil
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil, false, nil // removed, or something else
	case err != nil:
		return nil, false, err
	}
	defer unix.Close(d)
	var flag [1]byte
	n, err := unix.Fgetxattr(d, opaqueAttr, flag[:])
	opaque := err == nil && n == 1 && flag[0] == 'y'
	// Without waiting: it may be a fifo.
	fd, err := unix.Openat(d, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, !opaque, nil
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO), errors.Is(err, unix.EACCES):
		return nil, false, nil // a link, or a whiteout
	case err != nil:
		return nil, false, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, false, err
	}
	data, err = io.ReadAll(io.LimitReader(fdReader(fd), maxAccounts))
	return data, false, err
}

// fdReader reads a regular file.
type fdReader int

func (fd fdReader) Read(p []byte) (int, error) {
	n, err := unix.Read(int(fd), p)
	if err == nil && n == 0 {
		err = io.EOF
	}
	return max(n, 0), err
}
