package api

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// Problem is an error as RFC 9457 has it, with the gateway's own words beside.
type Problem struct {
	Type    string                `json:"type" doc:"urn:countersign:error: and the kind"`
	Title   string                `json:"title"`
	Status  int                   `json:"status"`
	Kind    countersign.ErrorKind `json:"kind" enum:"invalid,unauthenticated,denied,pending,limit,not_found,conflict,unavailable,internal"`
	Message string                `json:"message" doc:"what was refused, one sentence"`
	Detail  string                `json:"detail,omitempty" doc:"by which rule, and why"`
	Hint    string                `json:"hint,omitempty" doc:"what to do next"`
	Request countersign.RequestID `json:"request,omitempty" doc:"when a request exists"`
	Errors  []FieldError          `json:"errors,omitempty" doc:"what is wrong with the input"`
}

// FieldError is one thing wrong with an input. It never quotes the input.
type FieldError struct {
	Location string `json:"location"`
	Message  string `json:"message"`
}

func (p *Problem) Error() string { return p.Message }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType names the media type of a problem.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// statuses is the one table from kinds of error to HTTP.
var statuses = map[countersign.ErrorKind]int{
	countersign.ErrInvalid:         http.StatusBadRequest,
	countersign.ErrUnauthenticated: http.StatusUnauthorized,
	countersign.ErrDenied:          http.StatusForbidden,
	countersign.ErrPending:         http.StatusConflict,
	countersign.ErrLimit:           http.StatusTooManyRequests,
	countersign.ErrNotFound:        http.StatusNotFound,
	countersign.ErrConflict:        http.StatusConflict,
	countersign.ErrUnavailable:     http.StatusServiceUnavailable,
	countersign.ErrInternal:        http.StatusInternalServerError,
}

// kindOf is the kind of an error that the HTTP layer itself found.
func kindOf(status int) countersign.ErrorKind {
	switch {
	case status == http.StatusUnauthorized:
		return countersign.ErrUnauthenticated
	case status == http.StatusForbidden:
		return countersign.ErrDenied
	case status == http.StatusNotFound:
		return countersign.ErrNotFound
	case status == http.StatusTooManyRequests:
		return countersign.ErrLimit
	case status < http.StatusInternalServerError:
		return countersign.ErrInvalid
	default:
		return countersign.ErrInternal
	}
}

// problem turns an error into what the caller is told. What is unknown is logged under an id, and only
// the id is told.
func (a *API) problem(err error) *Problem {
	var known *countersign.Error
	if !errors.As(err, &known) {
		known = &countersign.Error{Kind: countersign.ErrInternal, Err: err}
	}
	status, ok := statuses[known.Kind]
	if !ok {
		status, known = http.StatusInternalServerError, &countersign.Error{Kind: countersign.ErrInternal, Err: err}
	}
	p := &Problem{
		Status: status, Kind: known.Kind,
		Message: known.Message.String(), Detail: known.Detail.String(), Hint: known.Hint.String(), Request: known.Request,
	}
	if known.Kind == countersign.ErrInternal || known.Kind == countersign.ErrUnavailable {
		id := rand.Text()[:12]
		cause := known.Err
		if cause == nil {
			cause = known
		}
		a.o.Logger.Error("a request failed", "id", id, "kind", string(known.Kind), "error", a.o.Sanitizer.Text(cause.Error()))
		if known.Kind == countersign.ErrInternal {
			p.Message, p.Detail, p.Hint = "internal error "+id, "", "the gateway's log has more under that id"
		}
	}
	return p.titled()
}

func (p *Problem) titled() *Problem {
	p.Type = "urn:countersign:error:" + string(p.Kind)
	p.Title = http.StatusText(p.Status)
	return p
}

// writeProblem answers before any handler runs.
func (a *API) writeProblem(ctx huma.Context, err error) {
	p := a.problem(err)
	ctx.SetHeader("Content-Type", p.ContentType(""))
	ctx.SetStatus(p.Status)
	_ = json.NewEncoder(ctx.BodyWriter()).Encode(p) // a client that has gone needs no answer
}

// plainProblem answers outside of huma's routes.
func plainProblem(w http.ResponseWriter, status int, message, hint string) {
	p := (&Problem{Status: status, Kind: kindOf(status), Message: message, Hint: hint}).titled()
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p) // as above
}

// asProblem rewrites huma's own errors. Of its details it keeps place and message, not the value, which
// may be a secret that stood in the wrong place.
func asProblem(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := &Problem{Status: m.Status, Kind: kindOf(m.Status), Message: m.Detail}
	if p.Kind == countersign.ErrInternal {
		p.Message = "internal error"
	}
	for _, e := range m.Errors {
		if e != nil {
			p.Errors = append(p.Errors, FieldError{Location: e.Location, Message: e.Message})
		}
	}
	if len(p.Errors) > 0 {
		p.Hint = "/openapi.json describes what is expected"
	}
	return p.titled(), nil
}

func invalid(message, hint sanitize.Clean) error {
	return &countersign.Error{Kind: countersign.ErrInvalid, Message: message, Hint: hint}
}
