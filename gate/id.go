package gate

import (
	"crypto/rand"
	"encoding/base32"
)

var idAlphabet = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// newID returns prefix and 20 random characters, 100 bits.
func newID(prefix string) string {
	var b [13]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return prefix + idAlphabet.EncodeToString(b[:])[:20]
}
