package api

import (
	"context"
)

// Trail is what the API reads of the trail.
type Trail interface {
	Checkpoint() ([]byte, error)
}

func (a *API) trailRoutes() { _ = context.Background }
