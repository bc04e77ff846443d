package sanitize

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// A placeholder is, byte by byte:
//
//	"[" kind "]"                      without Options.Key
//	"[" kind ":" 12 hex digits "]"    with it: the first 6 bytes of HMAC-SHA-256(key, kind ‖ 0 ‖ value)
//	"[" kind ":" decimal " bytes]"    for Rest and LongLine
//
// and inside a URL's userinfo, which may hold no brackets, "%5B" and "%5D" stand for them. The value is
// what was found, decoded where it stood encoded, and reduced to what makes it one: an e-mail address
// in lower case, a card number's digits. No placeholder is found again by any detector.
const (
	pseudonymLen    = 12
	maxLengthDigits = 12
	maxKindLen      = 24
	escapedOpen     = "%5B"
	escapedClose    = "%5D"
	lengthSuffix    = " bytes"
	maxPlaceholder  = len(escapedOpen) + maxKindLen + 1 + maxLengthDigits + len(lengthSuffix) + len(escapedClose)
)

func (s *Sanitizer) placeholder(kind Kind, value string) string {
	switch {
	case kind == Rest || kind == LongLine:
		return lengthPlaceholder(kind, len(value))
	case len(s.key) == 0 || kind == StrictText || kind == StrictNumber || kind == StrictComment:
		// What strict mode drops is not known to be anything; a pseudonym would only help guessing.
		return "[" + string(kind) + "]"
	}
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(kind))
	mac.Write([]byte{0})
	mac.Write([]byte(value))
	return "[" + string(kind) + ":" + hex.EncodeToString(mac.Sum(nil)[:pseudonymLen/2]) + "]"
}

func lengthPlaceholder(kind Kind, n int) string {
	return "[" + string(kind) + ":" + strconv.Itoa(n) + lengthSuffix + "]"
}

// placeholderAt returns the end of the placeholder that starts at t[i], or -1.
func placeholderAt(t string, i int) int {
	window := t[i:min(len(t), i+maxPlaceholder)]
	var body, closing string
	switch {
	case strings.HasPrefix(window, "["):
		body, closing = window[1:], "]"
	case strings.HasPrefix(window, escapedOpen):
		body, closing = window[len(escapedOpen):], escapedClose
	default:
		return -1
	}
	end := strings.Index(body, closing)
	if end < 0 || !validPlaceholder(body[:end]) {
		return -1
	}
	return i + len(window) - len(body) + end + len(closing)
}

// isPlaceholder reports whether t is one placeholder and nothing else.
func isPlaceholder(t string) bool { return len(t) > 0 && placeholderAt(t, 0) == len(t) }

func validPlaceholder(body string) bool {
	kind, tail, tailed := strings.Cut(body, ":")
	if !kinds[Kind(kind)] {
		return false
	}
	if !tailed {
		return true
	}
	if n, isLength := strings.CutSuffix(tail, lengthSuffix); isLength {
		return len(n) > 0 && len(n) <= maxLengthDigits && allIn(n, &digits)
	}
	return len(tail) == pseudonymLen && allIn(tail, &lowerHex)
}
