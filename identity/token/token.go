// Package token is identity by static token: the config declares people and agents with the hashes of
// their tokens, and whoever presents the text of one is that person or agent.
//
// It promises that a token is for connecting or for reviewing and never for both, that an agent's token
// is never for reviewing (P2), that a refusal says nothing of why (unknown, malformed, or of the other
// use), and that wrong tokens are limited by address in bounded memory. It does not promise that the one
// who presents a token is the one to whom it was given: whoever reads a token is its holder.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Prefix begins every token, so that people and scanners recognise one.
const Prefix = "csg_"

const (
	secretBytes = 32
	hashPrefix  = "sha256:"
	// maxText bounds what is hashed for an unknown client; a token has 47 characters.
	maxText = 256
)

// Use says what a token is for.
type Use string

// The uses. A token has exactly one.
const (
	Connect Use = "connect" // opens connections, asks for actions, reads one's own requests
	Review  Use = "review"  // lists requests, and signs where review_auth allows it
)

// ParseUse returns the use of that name.
func ParseUse(name string) (Use, error) {
	switch u := Use(name); u {
	case Connect, Review:
		return u, nil
	}
	return "", errors.New("a token's use is connect or review, never both")
}

// Hash is what is kept of a token. Its text form is "sha256:" and 64 hexadecimal digits. A plain hash
// is enough, because a token has 256 random bits.
type Hash [sha256.Size]byte

// HashOf returns the hash of a token's text.
func HashOf(text string) Hash { return sha256.Sum256([]byte(text)) }

func (h Hash) String() string { return hashPrefix + hex.EncodeToString(h[:]) }

// MarshalText writes the text form.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads the text form. Its errors never quote the text, which may be a token put in the
// place of its hash.
func (h *Hash) UnmarshalText(text []byte) error {
	s, ok := strings.CutPrefix(string(text), hashPrefix)
	if !ok {
		if strings.HasPrefix(string(text), Prefix) {
			return errors.New("this is a token; write its hash here, and replace that token, which must now count as known to others")
		}
		return fmt.Errorf("a token's hash is %q and %d hexadecimal digits, as `countersign token new` prints it", hashPrefix, 2*len(h))
	}
	if hex.DecodedLen(len(s)) != len(h) {
		return fmt.Errorf("a token's hash has %d hexadecimal digits after %q; these are %d", 2*len(h), hashPrefix, len(s))
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return errors.New("a token's hash has only hexadecimal digits")
	}
	return nil
}

// New makes a token and its hash. The text is shown to its holder once and kept nowhere.
func New() (text string, hash Hash) {
	var secret [secretBytes]byte
	// crypto/rand.Read never fails; it ends the process when the system has no randomness.
	_, _ = rand.Read(secret[:])
	text = Prefix + base64.RawURLEncoding.EncodeToString(secret[:])
	return text, HashOf(text)
}

// wellFormed reports whether text could be a token.
func wellFormed(text string) bool {
	if len(text) > maxText {
		return false
	}
	s, ok := strings.CutPrefix(text, Prefix)
	if !ok {
		return false
	}
	secret, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(secret) == secretBytes
}
