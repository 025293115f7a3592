package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"moat/internal/grant"
	"moat/internal/grant/sshagent"
	"moat/internal/plan"
	"moat/internal/secret"
)

// maxKeyFile bounds a file with a key.
const maxKeyFile = 64 << 10

// obtainSSH finds the key for a host, and the keys by which the host is known.
func (app *App) obtainSSH(c *cobra.Command, o grantOptions, ref grant.Ref) (grant.Credential, error) {
	if o.take || o.key != "" && o.tokenStdin {
		return grant.Credential{}, usagef(c, "a key is in the ssh agent, in a file (--key FILE), or comes from standard input (--token-stdin)")
	}
	home, err := app.userHome()
	if err != nil {
		return grant.Credential{}, err
	}
	known, err := grant.KnownHost(home, ref.Host)
	if err != nil {
		return grant.Credential{}, err
	}
	if len(known) == 0 {
		return grant.Credential{}, &exitError{code: codeFailure, err: fmt.Errorf("ssh does not know the keys of %s, so nobody could tell whether it is that host", ref.Host),
			hint: fmt.Sprintf("connect to it once and compare its fingerprint: ssh -T git@%s", ref.Host)}
	}
	found, err := app.findKey(c.Context(), o)
	if err != nil {
		return grant.Credential{}, err
	}
	found.SSH.Host, found.SSH.Keys = ref.Host, known
	return found, nil
}

// findKey finds the person's key where they say that it is.
func (app *App) findKey(ctx context.Context, o grantOptions) (grant.Credential, error) {
	var text []byte
	var err error
	source := o.key
	switch {
	case o.key != "":
		text, err = readKeyFile(o.key)
	case o.tokenStdin:
		source = "stdin"
		text, err = io.ReadAll(io.LimitReader(app.In, maxKeyFile))
	default:
		return app.keyOfAgent(ctx, nil)
	}
	if err != nil {
		return grant.Credential{}, fmt.Errorf("read the key: %w", err)
	}
	private, public, err := grant.ParseKey(text, nil)
	if errors.Is(err, grant.ErrPassphrase) {
		private, public, err = app.unlockKey(ctx, text)
	}
	if err != nil {
		return grant.Credential{}, &exitError{code: codeUsage, err: err}
	}
	if private.IsZero() {
		return app.keyOfAgent(ctx, public)
	}
	return grant.Credential{Token: private, Source: source, SSH: &grant.SSH{Public: grant.Authorized(public)}}, nil
}

func readKeyFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxKeyFile))
}

// unlockKey asks for a passphrase.
func (app *App) unlockKey(ctx context.Context, text []byte) (secret.Value, ssh.PublicKey, error) {
	if app.stdin() != plan.StdinTerminal {
		return secret.Value{}, nil, fmt.Errorf("%w, and there is no terminal to ask for it; add it to the ssh agent and use --key FILE.pub", grant.ErrPassphrase)
	}
	passphrase, err := app.askSecret(ctx, "passphrase of the key: ")
	if err != nil {
		return secret.Value{}, nil, err
	}
	private, public, err := grant.ParseKey(text, []byte(passphrase))
	if errors.Is(err, grant.ErrPassphrase) {
		err = errors.New("the passphrase is wrong")
	}
	return private, public, err
}

// keyOfAgent is a key that stays in the person's agent: the one that they named, or the only one that there is.
func (app *App) keyOfAgent(ctx context.Context, public ssh.PublicKey) (grant.Credential, error) {
	socket := app.getenv("SSH_AUTH_SOCK")
	keys, err := sshagent.AgentKeys(ctx, socket)
	if err != nil {
		return grant.Credential{}, &exitError{code: codeFailure, err: fmt.Errorf("%w: %w", sshagent.ErrAgent, err), hint: "start one and add the key with ssh-add, or name its file: --key FILE"}
	}
	switch {
	case public != nil && !sshagent.Has(keys, public):
		return grant.Credential{}, &exitError{code: codeFailure, err: errors.New("the ssh agent does not have this key"), hint: "add it with ssh-add, or name the file of the private key: --key FILE"}
	case public == nil && len(keys) == 0:
		return grant.Credential{}, &exitError{code: codeFailure, err: errors.New("the ssh agent has no key"), hint: "add one with ssh-add, or name its file: --key FILE"}
	case public == nil && len(keys) > 1:
		return grant.Credential{}, &exitError{code: codeUsage, err: fmt.Errorf("the ssh agent has %d keys; say which one with --key FILE.pub", len(keys)), hint: listKeys(keys)}
	case public == nil:
		public = keys[0]
	}
	return grant.Credential{Source: "ssh agent", SSH: &grant.SSH{Public: grant.Authorized(public), Socket: socket}}, nil
}

func listKeys(keys []*agent.Key) string {
	lines := []string{"it has"}
	for _, k := range keys {
		lines = append(lines, "  "+ssh.FingerprintSHA256(k)+" "+plain(k.Comment))
	}
	return strings.Join(lines, "\n")
}
