package gate

import (
	"context"
	"errors"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// unavailable is what a caller is told when the trail cannot be written or read: the action is refused (P6).
func unavailable(err error) error {
	var told *countersign.Error
	if errors.As(err, &told) {
		return told
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &countersign.Error{
			Kind:    countersign.ErrPending,
			Message: sanitize.Const("the wait was ended by the client"),
			Hint:    sanitize.Const("a request that was opened lives on; run the same again to join it"),
			Err:     err,
		}
	}
	return &countersign.Error{
		Kind:    countersign.ErrUnavailable,
		Message: sanitize.Const("refused: the trail cannot be written"),
		Detail:  sanitize.Const("nothing runs that cannot be recorded first"),
		Hint:    sanitize.Const("see the gateway's log and health; try again when it is well"),
		Err:     err,
	}
}

func internalError(err error) *countersign.Error {
	return &countersign.Error{
		Kind:    countersign.ErrInternal,
		Message: sanitize.Const("internal error"),
		Hint:    sanitize.Const("see the gateway's log"),
		Err:     err,
	}
}

func notFound() error {
	return &countersign.Error{
		Kind:    countersign.ErrNotFound,
		Message: sanitize.Const("no such request, or it is not yours to see"),
		Hint:    sanitize.Const("`countersign requests ls` lists the requests you can see"),
	}
}
