package native

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// maxEtc bounds the walk of /etc. A larger one is an error: what was not seen cannot be called harmless.
const maxEtc = 200_000

// etcMasks returns which paths below dir, the host's /etc, must not be visible inside: relative to dir, sorted, none in
// another one. These are all that not everybody may read (the sandbox runs as the person, who may be root or in the
// file's group) and secrets known by place, name or content, whatever their mode. Links are not followed and only
// hidden by name: what they lead to is judged at its own place. The files of etcFiles are never among them. A path that vanishes meanwhile is left out; one that
// cannot be looked at is hidden.
func etcMasks(dir string) ([]string, error) {
	// Not os.Root: it looks at every entry twice, and nobody but the host's root can change what is in /etc.
	m := etcMasker{etc: os.DirFS(dir), rules: etcRules()}
	if err := fs.WalkDir(m.etc, ".", m.visit); err != nil {
		return nil, fmt.Errorf("look for secrets in %s: %w", dir, err)
	}
	slices.Sort(m.masks)
	return m.masks, nil
}

type etcMasker struct {
	etc   fs.FS
	rules map[string][]string
	seen  int
	masks []string
}

func (m *etcMasker) visit(name string, entry fs.DirEntry, err error) error {
	if name == "." {
		return err
	}
	if m.seen++; m.seen > maxEtc {
		return errTooLarge
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if etcMade(name) || err == nil && !m.secret(name, entry) {
		return nil
	}
	// A directory that could not be read is visited a second time; its first visit found nothing.
	m.masks = append(m.masks, name)
	if entry.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// secret judges one path whose parents are all visible.
func (m *etcMasker) secret(name string, entry fs.DirEntry) bool {
	base := entry.Name()
	if m.matches(name) || etcSecretName(base) && !publicKeys(name) {
		return true
	}
	if entry.Type()&fs.ModeSymlink != 0 {
		return false
	}
	info, err := entry.Info()
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return mode&0o005 != 0o005
	case !mode.IsRegular() || mode&0o004 == 0 || name == "mtab": // a link everywhere since 2012, else the host's mounts
		return true
	case path.Ext(base) == ".pem" && !publicCertificates(name):
		return m.holdsKey(name)
	}
	return false
}

// matches looks name up among the rules for its first component.
func (m *etcMasker) matches(name string) bool {
	top, _, deep := strings.Cut(name, "/")
	if !deep && matchesAny(m.rules["*"], name) {
		return true
	}
	return matchesAny(m.rules[top], name)
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if pattern[0] != name[0] {
			return false // no pattern begins with a wildcard
		}
		ok, _ := path.Match(pattern, name)
		return ok
	})
}

// publicCertificates holds the system's trusted roots, of which there may be hundreds.
func publicCertificates(name string) bool {
	return strings.HasPrefix(name, "ssl/certs/") || strings.HasPrefix(name, "pki/ca-trust/") ||
		strings.HasPrefix(name, "ca-certificates/")
}

// publicKeys are those that packages are verified with.
func publicKeys(name string) bool {
	return strings.HasPrefix(name, "apt/keyrings/") || strings.HasPrefix(name, "apt/trusted.gpg.d/") ||
		strings.HasPrefix(name, "pki/rpm-gpg/")
}

// holdsKey tells whether a PEM file holds a private key (RFC 7468); what cannot be read counts as one.
func (m *etcMasker) holdsKey(name string) bool {
	file, err := m.etc.Open(name)
	if err != nil {
		return true
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFile))
	return err != nil || len(content) == maxFile || bytes.Contains(content, []byte("PRIVATE KEY-----"))
}

// etcSecretName tells whether a file or directory is a secret by its name, wherever in /etc it is.
func etcSecretName(base string) bool {
	switch base {
	case "private", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", ".netrc", "netrc", ".pgpass", ".my.cnf", ".htpasswd", "htpasswd",
		"credentials", ".credentials", "credentials.json", "secrets", ".smbcredentials", "smbcredentials",
		"cifs-credentials", ".vault_pass", "vault_pass", "vault-password", ".vault-token", ".git-credentials", ".env",
		".npmrc", "npmrc", ".pypirc", ".dockercfg", "auth.json":
		return true
	}
	switch path.Ext(base) {
	case ".key", ".keytab", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".psk", ".secret", ".secrets", ".cred",
		".creds", ".credentials":
		return true
	}
	return false
}

// etcRules are patterns (path.Match) of secrets known by their place, keyed by the first component that they can
// match; "*" holds those of one component that is a pattern. docs/tools.md explains them.
func etcRules() map[string][]string {
	rules := map[string][]string{}
	for _, pattern := range etcSecrets() {
		top, _, _ := strings.Cut(pattern, "/")
		if strings.ContainsAny(top, "*?[") {
			top = "*"
		}
		rules[top] = append(rules[top], pattern)
	}
	return rules
}

func etcSecrets() []string {
	return slices.Concat(
		// Accounts, rights and the machine's identity.
		[]string{
			"shadow*", "gshadow*", "passwd-", "group-", "subuid*", "subgid*", "sudoers", "sudoers.d", "sudo_logsrvd.conf",
			"doas.conf", "doas.d", "security/opasswd", "security/pam_ldap*", "polkit-1/rules.d", "polkit-1/localauthority",
			"hostid", "environment", "environment.d", ".pwd.lock", "tcb", "userdb", "credstore", "credstore.encrypted",
		},
		// Keys and tickets.
		[]string{
			"ssh/ssh_host_*", "ssh/*authorized*", "dropbear", "krb5.keytab*", "krb5kdc",
			"ssl/private", "pki/tls/private", "pki/nssdb", "pki/*/private", "letsencrypt", "acme*", "step-ca",
			"ca-keys", "keys", "secureboot", "tpm*", "luks*", "cryptsetup-keys.d", "opendkim", "dkimkeys", "grub.d/*password*", "pam_usb*",
			"duo", "yubico", "ipsec.secrets", "ipsec.d/private", "ipsec.d/*.secrets", "swanctl",
		},
		// Disks and shares.
		[]string{
			"fstab", "fstab.d", "crypttab", "exports", "exports.d", "auto.*", "autofs*", "cifs*", "samba", "davfs2", "iscsi",
			"nvme", "multipath*", "ceph", "glusterfs", "rclone*", "s3fs*", "passwd-s3fs", "zfs", "restic*", "borg*", "duplicity*",
		},
		// Networks.
		[]string{
			"NetworkManager", "netplan", "network/interfaces*", "systemd/network", "wireguard", "openvpn", "ppp", "chatscripts",
			"wpa_supplicant*", "iwd", "hostapd*", "tinc", "zerotier*", "tailscale*", "cloudflared", "strongswan*", "openfortivpn",
			"vpnc", "freeradius", "raddb", "snmp", "bind", "nebula", "xl2tpd", "racoon", "proxychains*", "ngrok*", "frp*",
		},
		// Packages and providers.
		[]string{
			"apt/auth.conf*", "apt/apt.conf.d/*proxy*", "yum/vars", "dnf/vars", "yum.repos.d", "zypp/credentials.d", "rhsm", "ubuntu-advantage", "pip.conf",
			"cloud", "google*", "boto*", "aws*", "azure*", "waagent*", "gitlab-runner", "github*", "buildkite-agent", "docker/key.json",
			"docker/daemon.json", "docker/certs.d", "containers/auth.json", "containers/certs.d", "containerd", "crio", "cri*",
			"cni", "kubernetes", "rancher", "k3s*", "k0s*", "microk8s*", "origin", "etcd*", "nomad*", "consul*", "vault*", "boundary*",
		},
		// Services.
		[]string{
			"mysql", "my.cnf.d", "mariadb*", "postgresql", "postgresql-common/*pass*", "pgbouncer*", "redis*", "valkey*", "mongod*", "cassandra*", "elasticsearch*", "kibana*",
			"influxdb*", "clickhouse*", "rabbitmq*", "mosquitto*", "grafana*", "prometheus*", "alertmanager*", "datadog-agent",
			"newrelic*", "telegraf*", "zabbix*", "nagios*", "icinga*", "munin*", "monit*", "cups", "sane.d", "exim4", "postfix", "dovecot*", "msmtprc*", "ssmtp", "nullmailer",
			"mail", "mailname", "aliases*", "ldap*", "libnss-ldap*", "pam_ldap*", "nslcd*", "sssd", "openldap", "ipa",
			"salt", "puppet*", "chef", "cinc", "ansible", "cfengine*", "foreman*", "nginx/sites-*", "nginx/conf.d", "nginx/snippets", "nginx/ssl", "apache2/sites-*", "apache2/conf-*", "httpd/conf.d", "caddy", "traefik*", "haproxy*", "squid*",
			"gitea*", "forgejo*", "nextcloud*", "keycloak*", "jenkins*", "teleport*", "fail2ban", "crowdsec*", "aide*",
			"cron*", "anacrontab", "at.*", "default/*", "systemd/system", "systemd/user", "audit*", "rsyncd.*", "tripwire", "supervisor*", "bacula*", "bareos*", "amanda*", "xrdp", "x2go*", "vnc*",
		},
	)
}
