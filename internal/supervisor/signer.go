package supervisor

import (
	"context"
	"time"

	"moat/internal/audit"
	"moat/internal/secret"
)

// keyWait is how long the end of the run waits for a keyring.
const keyWait = 5 * time.Second

// unlock gets the key, which may take a person who unlocks a keyring. The shortest run waits for it too.
func (a *auditor) unlock(ctx context.Context) {
	defer close(a.key)
	run := ctx
	ctx, cancel := context.WithCancel(context.WithoutCancel(run))
	defer cancel()
	defer context.AfterFunc(run, func() { time.AfterFunc(keyWait, cancel) })()
	signer, kept, err := a.machine.Signer(ctx, secret.SystemKeyring())
	if err != nil {
		a.s.Logger.Error("the audit record cannot be signed", "error", err)
		a.event("warning", audit.Text("text", "the record is not signed: "+err.Error()))
		return
	}
	if kept != nil {
		a.s.Logger.Info("a key that signs audit records was made", "key", signer.String(), "file", kept.File)
	}
	a.signer = signer
	a.changed()
}
