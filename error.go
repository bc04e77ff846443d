package countersign

import "github.com/countersign-dev/countersign/sanitize"

// ErrorKind is the closed list of what can go wrong as a caller sees it. Each front and the API have
// one table from kind to their protocol's codes.
type ErrorKind string

// The kinds of error.
const (
	ErrInvalid         ErrorKind = "invalid"         // the input is malformed or over a limit
	ErrUnauthenticated ErrorKind = "unauthenticated" // nobody known asks
	ErrDenied          ErrorKind = "denied"          // policy, a reviewer, or the rules of review say no
	ErrPending         ErrorKind = "pending"         // held; no answer yet
	ErrLimit           ErrorKind = "limit"           // a limit on results or on requests is reached
	ErrNotFound        ErrorKind = "not_found"       // no such thing, or not yours to see
	ErrConflict        ErrorKind = "conflict"        // it has changed or ended meanwhile
	ErrUnavailable     ErrorKind = "unavailable"     // the trail or the upstream cannot be reached
	ErrInternal        ErrorKind = "internal"        // a bug; details are in the gateway's log
)

// Error is a refusal that helps: what was refused, by which rule, what to do next.
type Error struct {
	Kind    ErrorKind
	Message sanitize.Clean // what was refused, one sentence
	Detail  sanitize.Clean // by which rule, why
	Hint    sanitize.Clean // what to do next
	Request RequestID      // when a request exists
	Err     error          // the cause, for logs only; never shown to a client
}

func (e *Error) Error() string {
	text := e.Message.String()
	if !e.Detail.IsZero() {
		text += ": " + e.Detail.String()
	}
	if !e.Hint.IsZero() {
		text += " (" + e.Hint.String() + ")"
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }
