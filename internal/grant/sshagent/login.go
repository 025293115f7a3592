package sshagent

import (
	"fmt"

	"golang.org/x/crypto/ssh"
)

// Methods of authentication whose requests are signed.
const (
	methodKey       = "publickey"
	methodHostBound = "publickey-hostbound-v00@openssh.com"
)

// login is a request to log in, as it is signed (RFC 4252 section 7).
type login struct {
	session   []byte
	user      string
	key, host []byte // host is the server's key; nil if the request does not name it
}

// parseLogin reads what a client wants to have signed. Whatever else it may be, such as a file (SSHSIG), is an error.
func parseLogin(data []byte) (login, error) {
	var head struct {
		Session []byte
		Rest    []byte `ssh:"rest"`
	}
	if err := ssh.Unmarshal(data, &head); err != nil || len(head.Session) == 0 {
		return login{}, errMalformed
	}
	var m struct {
		User, Service, Method string `sshtype:"50"` // SSH_MSG_USERAUTH_REQUEST
		Signed                bool
		Algorithm             string
		Key                   []byte
		Rest                  []byte `ssh:"rest"`
	}
	if err := ssh.Unmarshal(head.Rest, &m); err != nil || !m.Signed || m.Service != "ssh-connection" {
		return login{}, errMalformed
	}
	l := login{session: head.Session, user: m.User, key: m.Key}
	switch {
	case m.Method == methodKey && len(m.Rest) == 0:
		return l, nil
	case m.Method == methodHostBound:
		var tail struct{ Host []byte }
		if err := ssh.Unmarshal(m.Rest, &tail); err != nil || len(tail.Host) == 0 {
			return login{}, errMalformed
		}
		l.host = tail.Host
		return l, nil
	}
	return login{}, fmt.Errorf("%w: the method", errMalformed)
}
