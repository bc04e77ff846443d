package sqlite

import (
	"errors"
	"fmt"
	"syscall"

	sqlite3 "modernc.org/sqlite/lib"
)

// Refusal is an error with a hint: what a person can do about it.
type Refusal struct {
	What string
	Hint string
	Err  error // the cause, or nil
}

func (r *Refusal) Error() string {
	text := r.What
	if r.Err != nil {
		text += ": " + r.Err.Error()
	}
	return text + " (" + r.Hint + ")"
}

func (r *Refusal) Unwrap() error { return r.Err }

func refuse(hint string, err error, format string, args ...any) *Refusal {
	return &Refusal{What: fmt.Sprintf(format, args...), Hint: hint, Err: err}
}

// ErrFull: the disk is full. The change was not made; a later one may succeed.
var ErrFull = errors.New("store: the disk is full")

// ErrReadOnly: the database cannot be written.
var ErrReadOnly = errors.New("store: the database is read-only")

// coder is what errors of the database driver say of themselves.
type coder interface{ Code() int }

// outcome says what a failed commit means for the store.
type outcome int

const (
	outcomeRefused outcome = iota // nothing was written; the next change may succeed
	outcomeFatal                  // nobody knows what is on the disk; this process must not go on
)

// judge translates a fault of the database. Only what is known to leave the store as it was is a refusal.
func judge(err error) (outcome, error) {
	var c coder
	if errors.Is(err, errSync) {
		return outcomeFatal, err
	}
	if !errors.As(err, &c) {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			return outcomeRefused, fmt.Errorf("%w: %w", ErrFull, err)
		}
		return outcomeFatal, err
	}
	switch code := c.Code(); code & 0xff {
	case sqlite3.SQLITE_FULL:
		return outcomeRefused, fmt.Errorf("%w: %w", ErrFull, err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return outcomeRefused, fmt.Errorf("%w: %w", ErrReadOnly, err)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_NOMEM:
		return outcomeRefused, err
	default:
		return outcomeFatal, err
	}
}

// isCorrupt reports whether the database found its own file damaged.
func isCorrupt(err error) bool {
	var c coder
	if !errors.As(err, &c) {
		return false
	}
	code := c.Code() & 0xff
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
}
