package native

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"moat/internal/sandbox"
)

// etcFiles returns the files of /etc that are made for a sandbox, by path relative to /etc. None holds anything of
// the host's: no other accounts, no name servers, no machine id.
func etcFiles(spec sandbox.Spec) map[string][]byte {
	host := hostname(spec.Hostname)
	return map[string][]byte{
		"passwd":        []byte(passwd(spec.User, shell())),
		"group":         []byte(group(spec.User)),
		"hosts":         []byte(hosts(host)),
		"hostname":      []byte(host + "\n"),
		"resolv.conf":   []byte(resolvConf),
		"nsswitch.conf": []byte(nsswitchConf),
		"machine-id":    []byte(machineID(spec.ID) + "\n"),
	}
}

// etcMade tells whether etcFiles makes a file, whatever the host has there.
func etcMade(name string) bool {
	switch name {
	case "passwd", "group", "hosts", "hostname", "resolv.conf", "nsswitch.conf", "machine-id":
		return true
	}
	return false
}

// resolvConf names a server at which nobody answers: the kernel refuses at once (ICMP port unreachable on lo), so a
// look-up fails in microseconds. An empty file would mean the same server (resolv.conf(5)), but with 5 s and 2 attempts
// for resolvers that do not see the refusal.
const resolvConf = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"

// nsswitchConf leaves out every service that needs a daemon or a bus (sss, systemd, mymachines, mdns; nsswitch.conf(5)).
const nsswitchConf = `passwd:     files
group:      files
shadow:     files
gshadow:    files
initgroups: files
hosts:      files dns
networks:   files
protocols:  files
services:   files
ethers:     files
rpc:        files
netgroup:   files
`

const nobody = 65534 // the kernel's overflow uid and gid (user_namespaces(7))

// account is a line of passwd or group.
type account struct {
	name string
	id   int
	rest string // what follows the ids
}

// passwd has root, the person and nobody. The person's line is first for its uid, so that getpwuid names the person
// even where that is root or nobody.
func passwd(u sandbox.User, shell string) string {
	home := u.Home
	if home == "" || strings.ContainsAny(home, ":\n\x00") {
		home = "/"
	}
	lines := []account{
		{"root", 0, "root:/root:" + shell},
		{"nobody", nobody, "nobody:/nonexistent:/usr/sbin/nologin"},
	}
	person := account{accountName(u), u.UID, ":" + home + ":" + shell}
	var b strings.Builder
	for _, a := range merge(lines, person) {
		gid := a.id
		if a == person {
			gid = u.GID
		}
		fmt.Fprintf(&b, "%s:x:%d:%d:%s\n", a.name, a.id, gid, a.rest)
	}
	return b.String()
}

// group has what programs ask for by name (tty for grantpt, nogroup and nobody for daemons' drop of rights) and the person's own.
func group(u sandbox.User) string {
	lines := []account{{"root", 0, ""}, {"tty", 5, ""}, {"nogroup", nobody, ""}}
	person := account{accountName(u), u.GID, ""}
	for _, a := range lines {
		if a.id == u.GID {
			person = a // renaming tty would break more than it tells
		}
	}
	var b strings.Builder
	for _, a := range merge(lines, person) {
		fmt.Fprintf(&b, "%s:x:%d:\n", a.name, a.id)
	}
	return b.String()
}

// merge adds the person and leaves out fixed lines with the same id or name.
func merge(fixed []account, person account) []account {
	var out []account
	placed := false
	for _, a := range fixed {
		if a.id == person.id || a.name == person.name {
			if !placed {
				out = append(out, person)
				placed = true
			}
			continue
		}
		out = append(out, a)
	}
	if !placed {
		out = append(out, person)
	}
	return out
}

// accountName is the person's name if passwd can hold it (useradd(8): lower-case letters, digits, "_", "-", "."; 32 bytes).
func accountName(u sandbox.User) string {
	if u.UID == 0 {
		return "root"
	}
	ok := u.Name != "" && u.Name != "root" && len(u.Name) <= 32
	for i, c := range u.Name {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		ok = ok && (letter || i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.'))
	}
	if !ok {
		return "user"
	}
	return u.Name
}

func hosts(hostname string) string {
	return "127.0.0.1\tlocalhost " + hostname + "\n" +
		"::1\tlocalhost ip6-localhost ip6-loopback\n"
}

// hostname keeps what a host name may hold (hostname(7)) and falls back to "moat".
func hostname(name string) string {
	keep := func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return -1
	}
	name = strings.Trim(strings.Map(keep, name), "-.")
	if len(name) > 64 {
		name = strings.TrimRight(name[:64], "-.")
	}
	if name == "" {
		return "moat"
	}
	return name
}

// machineID is made of the run's id: the same for the run's whole life, unrelated to the host's (machine-id(5)).
func machineID(run string) string {
	sum := sha256.Sum256([]byte("moat machine-id\x00" + run))
	id := sum[:16]
	id[6] = id[6]&0x0f | 0x40 // UUID version 4, as machine-id(5) wants
	id[8] = id[8]&0x3f | 0x80
	return hex.EncodeToString(id)
}

// shell is bash where the host's system directories, which the sandbox shares, have it.
func shell() string {
	if _, err := os.Stat("/bin/bash"); err == nil {
		return "/bin/bash"
	}
	return "/bin/sh"
}
