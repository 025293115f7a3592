package ca

import (
	"bytes"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

func TestKeep(t *testing.T) {
	first, err := New("kept", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var kept bytes.Buffer
	if err := first.Keep(&kept); err != nil {
		t.Fatal(err)
	}
	whole := kept.String()
	second, err := Resume(strings.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.RootPEM(), second.RootPEM()) {
		t.Fatal("another root")
	}
	leaf, err := second.Leaf("example.test")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(first.RootPEM())
	cert, err := x509.ParseCertificate(leaf.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: "example.test"}); err != nil {
		t.Fatalf("who trusts the first does not trust the second: %v", err)
	}
	other, err := New("other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var foreign bytes.Buffer
	if err := other.Keep(&foreign); err != nil {
		t.Fatal(err)
	}
	mixed := string(first.RootPEM()) + foreign.String()[len(other.RootPEM()):]
	for name, bad := range map[string]string{"nothing": "", "half": whole[:len(whole)/2], "no key": string(first.RootPEM()), "mixed": mixed} {
		if _, err := Resume(strings.NewReader(bad)); err == nil {
			t.Errorf("%s was resumed", name)
		}
	}
}
