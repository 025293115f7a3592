package grant

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
)

// InvalidError says that a provider did not accept a credential.
type InvalidError struct {
	Name   string // of the provider
	Host   string
	Status int
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("%s answered %d to the credential for %s", e.Host, e.Status, e.Name)
}

// Try asks the provider whether a credential is good, if it has told how. An *[InvalidError] says that it is not, every other
// error that nobody knows.
func (p Provider) Try(ctx context.Context, client *http.Client, c Credential) error {
	v := p.Validate
	if v == nil {
		return nil
	}
	r, err := http.NewRequestWithContext(ctx, cmp.Or(v.Method, http.MethodGet), v.URL, nil)
	if err != nil {
		return fmt.Errorf("try the credential: %w", err)
	}
	r.Header.Set("User-Agent", "moat")
	if err := p.inject(c.Token, r); err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("try the credential: %w", err)
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, 64<<10)
	if good := answer.StatusCode == v.Status || v.Status == 0 && answer.StatusCode/100 == 2; !good {
		return &InvalidError{Name: p.Name, Host: r.URL.Host, Status: answer.StatusCode}
	}
	return nil
}
