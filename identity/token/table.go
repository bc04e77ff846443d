package token

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// Entry is one token as declared.
type Entry struct {
	Hash Hash
	Use  Use
	// Holder has a kind and a name only; groups, chain and owners are the directory's.
	Holder countersign.Principal
	// Login is the login of a person that this token stands for.
	Login string
}

// Table is a set of tokens. It is immutable.
type Table struct {
	entries map[Hash]Entry
}

// NewTable returns a table, or says which entry breaks a promise of this package.
func NewTable(entries []Entry) (*Table, error) {
	t := &Table{entries: make(map[Hash]Entry, len(entries))}
	for _, e := range entries {
		if _, err := ParseUse(string(e.Use)); err != nil {
			return nil, fmt.Errorf("token of %s: %w", e.Holder.ID(), err)
		}
		if e.Use == Review && e.Holder.Kind != countersign.KindPerson {
			return nil, fmt.Errorf("token of %s: only a person's token can be for reviewing", e.Holder.ID())
		}
		if e.Hash == HashOf("") || e.Hash == (Hash{}) {
			return nil, fmt.Errorf("token of %s: this is the hash of nothing", e.Holder.ID())
		}
		if other, ok := t.entries[e.Hash]; ok {
			return nil, fmt.Errorf("token of %s: the same token is declared for %s with use %s; a token has one holder and one use",
				e.Holder.ID(), other.Holder.ID(), other.Use)
		}
		t.entries[e.Hash] = e
	}
	return t, nil
}

// lookup finds the entry of a token. It compares hashes of the presented text, so that the time it takes
// tells nothing of any stored token.
func (t *Table) lookup(text string) (Entry, bool) {
	known := wellFormed(text)
	if len(text) > maxText {
		text = text[:maxText]
	}
	e, ok := t.entries[HashOf(text)]
	return e, ok && known
}

// Authenticator judges presented tokens against the current table. It is safe for concurrent use.
type Authenticator struct {
	table   atomic.Pointer[Table]
	limiter *limiter
}

// NewAuthenticator returns an Authenticator. now is the clock for limits.
func NewAuthenticator(t *Table, now func() time.Time) *Authenticator {
	a := &Authenticator{limiter: newLimiter(now)}
	a.table.Store(t)
	return a
}

// Replace makes t the current table. Tokens that it lacks are refused from now on.
func (a *Authenticator) Replace(t *Table) { a.table.Store(t) }

// Authenticate returns the holder of a token with one of the uses. Every refusal is the same
// ErrUnauthenticated, but for an address that has presented too many wrong tokens, which gets ErrLimit.
// A right token is let in even from such an address: with 256 random bits there is nothing to guess, and
// whoever shares an address (everyone on loopback) must not be able to lock out the others.
func (a *Authenticator) Authenticate(remote netip.Addr, text string, uses ...Use) (Entry, error) {
	e, ok := a.table.Load().lookup(text)
	if ok && slices.Contains(uses, e.Use) {
		return e, nil
	}
	if !a.limiter.allow(remote) {
		return Entry{}, &countersign.Error{
			Kind:    countersign.ErrLimit,
			Message: sanitize.Const("too many wrong tokens from this address"),
			Hint:    sanitize.Const("wait a minute"),
		}
	}
	return Entry{}, &countersign.Error{
		Kind:    countersign.ErrUnauthenticated,
		Message: sanitize.Const("no valid token for this"),
		Hint:    sanitize.Const("a token begins with csg_ and is for connecting or for reviewing, never for both; `countersign token new` makes one, and its hash goes into the configuration"),
	}
}
