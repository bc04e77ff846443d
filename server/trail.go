package server

import (
	"context"
	"io"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/api"
	"github.com/countersign-dev/countersign/sanitize"
	"github.com/countersign-dev/countersign/store/sqlite"
)

// trailReader is the store's trail in the API's words.
type trailReader struct{ *sqlite.Store }

func notYet() error {
	return &countersign.Error{Kind: countersign.ErrUnavailable, Message: sanitize.Const("the trail cannot be read here")}
}

func (t trailReader) Search(context.Context, api.TrailQuery) ([]api.TrailEntry, error) {
	return nil, notYet()
}
func (t trailReader) Story(context.Context, string) ([]api.TrailEntry, error) { return nil, notYet() }
func (t trailReader) Prove(context.Context, uint64) ([]byte, error)           { return nil, notYet() }
func (t trailReader) Export(context.Context, io.Writer) error                 { return notYet() }
