package ca

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"
)

// KeyStore is what [Authority.Bundle] made, as a file of the form JKS: Java reads no other file of roots that is as easily
// made. Nothing in it is secret; its password is "changeit", and Java asks for none to read certificates.
//
// The form is that of sun.security.provider.JavaKeyStore (OpenJDK): a magic number, version 2, how many entries there are, and
// for each: 2 for a certificate, its name, when it was added, "X.509" and the certificate. A digest of all that ends it.
func KeyStore(bundle []byte) []byte {
	certificates := ders(string(bundle))
	b := make([]byte, 0, len(bundle))
	u32 := func(n int) { b = binary.BigEndian.AppendUint32(b, uint32(n)) }
	text := func(s string) { b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) } // ASCII
	u32(0xfeedfeed)
	u32(2)
	u32(len(certificates))
	for i, der := range certificates {
		u32(2)
		text("moat-" + strconv.Itoa(i))
		b = binary.BigEndian.AppendUint64(b, 0) // in 1970: what nobody needs to know is always the same
		text("X.509")
		u32(len(der))
		b = append(b, der...)
	}
	digest := sha1.New()
	for _, c := range "changeit" {
		digest.Write([]byte{0, byte(c)})
	}
	digest.Write([]byte("Mighty Aphrodite"))
	digest.Write(b)
	return digest.Sum(b)
}

// ders are the certificates of a bundle. One that does not have the length that it says (X.690, 8.1.3) would make Java refuse
// the others too, so it is left out.
func ders(bundle string) (all [][]byte) {
	for {
		_, after, found := strings.Cut(bundle, pemBegin)
		body, rest, whole := strings.Cut(after, pemEnd)
		if !found || !whole {
			return all
		}
		bundle = rest
		der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(body)) // lines are fine
		if err == nil && len(der) > 4 && der[0] == 0x30 && der[1] == 0x82 && int(binary.BigEndian.Uint16(der[2:]))+4 == len(der) {
			all = append(all, der)
		}
	}
}
