package approval

import (
	"errors"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// ErrSignaturesNoLongerCount is the cause, for errors.Is, when a claim fails because the signatures of
// an approved request do not suffice any more: a reviewer has left, a group has changed, or policy now
// asks for more. Whoever claims revokes the grant then.
var ErrSignaturesNoLongerCount = errors.New("the signatures no longer suffice")

// about makes an error on request r.
func about(r *Request, kind countersign.ErrorKind, message, detail, hint sanitize.Clean) *countersign.Error {
	return &countersign.Error{Kind: kind, Message: message, Detail: detail, Hint: hint, Request: r.ID}
}

// ended says that r is not open.
func ended(r *Request) *countersign.Error {
	message := sanitize.Format("request %s is %s", name(r.ID), sanitize.Name(string(r.State)))
	return about(r, countersign.ErrConflict, message, r.Why, sanitize.Const("submit the action again to make a new request"))
}

// tooLate says that r is past its deadline, whether or not its state says so yet.
func tooLate(r *Request) *countersign.Error {
	hint := sanitize.Const("submit the action again to make a new request")
	if r.State == Approved {
		return about(r, countersign.ErrConflict, sanitize.Format("the approval of request %s has lapsed", name(r.ID)),
			sanitize.Format("it had to be used before %s", sanitize.Time(r.ClaimBy)), hint)
	}
	return about(r, countersign.ErrConflict, sanitize.Format("request %s has expired", name(r.ID)),
		sanitize.Format("it waited for signatures until %s", sanitize.Time(r.Deadline)), hint)
}

func name[T ~string](s T) sanitize.Clean { return sanitize.Name(string(s)) }

// list names up to ten and counts the rest.
func list[T ~string](items []T) sanitize.Clean {
	const shown = 10
	if len(items) == 0 {
		return sanitize.Const("none")
	}
	parts := make([]sanitize.Clean, 0, shown+1)
	for i, s := range items {
		if i == shown {
			parts = append(parts, sanitize.Format("and %s more", sanitize.Int(int64(len(items)-shown))))
			break
		}
		parts = append(parts, name(s))
	}
	return sanitize.Join(", ", parts...)
}

// wants says what seats ask for.
func wants(seats []countersign.Seat) sanitize.Clean {
	parts := make([]sanitize.Clean, 0, len(seats))
	for _, s := range seats {
		text := sanitize.Format("rule %s asks for a member of %s", name(s.Rule), oneOf(s.Groups))
		if s.Passkey {
			text = sanitize.Format("%s with a passkey", text)
		}
		if s.Distinct != "" {
			text = sanitize.Format("%s, each seat through another group", text)
		}
		parts = append(parts, text)
	}
	return sanitize.Join("; ", parts...)
}

func oneOf(groups []countersign.Group) sanitize.Clean {
	switch len(groups) {
	case 0:
		return sanitize.Const("no group")
	case 1:
		return name(groups[0])
	}
	return sanitize.Format("one of %s", list(groups))
}
