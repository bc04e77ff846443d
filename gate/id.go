package gate

import (
	"crypto/rand"

	"github.com/countersign-dev/countersign/sanitize"
)

// newID returns prefix and 80 random bits in hexadecimal.
func newID(prefix sanitize.Clean) sanitize.Clean {
	var b [10]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return sanitize.Join("", prefix, sanitize.Hex(b[:]))
}

// The names that the gate gives.
var (
	actionPrefix  = sanitize.Const("act_")
	requestPrefix = sanitize.Const("req_")
	sessionPrefix = sanitize.Const("ses_")
	blockPrefix   = sanitize.Const("txn_")
)
