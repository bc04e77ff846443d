package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/api"
	"github.com/countersign-dev/countersign/store/sqlite"
	"github.com/countersign-dev/countersign/store/tiles"
	"github.com/countersign-dev/countersign/trail"
)

// epochShift: the numbers of each further log of a store begin at the next multiple of 2^44 (trail.Found).
const epochShift = 44

// maxOffline bounds what one search or story of a folder returns.
const maxOffline = 10_000

// offline reads the trail in a folder. It looks at every event: a folder has no index that could be trusted.
type offline struct {
	logs   []trail.Source // oldest first
	closer io.Closer
}

func openOffline(ctx context.Context, dir string) (*offline, error) {
	switch {
	case tiles.Is(dir):
		readers, closer, err := tiles.Open(dir)
		if err != nil {
			return nil, usage(err.Error(), "")
		}
		o := &offline{closer: closer}
		for _, r := range readers[1:] {
			o.logs = append(o.logs, r)
		}
		o.logs = append(o.logs, readers[0])
		return o, nil
	case sqlite.IsFolder(dir):
		store, err := sqlite.OpenOffline(ctx, dir)
		if err != nil {
			return nil, startFailure(err)
		}
		logs := store.Logs()
		return &offline{logs: append(logs[1:], logs[0]), closer: store}, nil
	default:
		return nil, usage(dir+" is neither a gateway's data folder nor an exported trail", "")
	}
}

// each calls do with every event, oldest first. What is missing or cannot be read is an error: a search
// that passes over a gap would hide it.
func (o *offline) each(ctx context.Context, do func(trail.Found) error) error {
	for epoch, l := range o.logs {
		for chunk, err := range l.Chunks(0) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
			if chunk.Missing > 0 {
				return &failure{
					code: exitNo, what: fmt.Sprintf("%d events from number %d on are missing or cannot be read", chunk.Missing, chunk.First),
					next: "countersign trail verify says what is wrong with this folder",
				}
			}
			for i, raw := range chunk.Raw {
				e, err := trail.ParseEntry(raw)
				if err != nil {
					return fmt.Errorf("event %d: %w", chunk.First+uint64(i), err)
				}
				if err := do(trail.Found{Number: uint64(epoch)<<epochShift + chunk.First + uint64(i), Entry: e}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

var errEnough = errors.New("enough")

// Search returns events, newest first, and the number to go on before.
func (o *offline) Search(ctx context.Context, q trail.Query) ([]api.Event, uint64, error) {
	limit := min(max(q.Limit, 1), maxOffline)
	var found []trail.Found
	err := o.each(ctx, func(f trail.Found) error {
		if q.Before != 0 && f.Number >= q.Before {
			return errEnough
		}
		if selects(q, f) {
			if found = append(found, f); len(found) > 2*limit {
				found = slices.Clone(found[len(found)-limit:])
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, 0, err
	}
	if len(found) > limit {
		found = found[len(found)-limit:]
	}
	slices.Reverse(found)
	var next uint64
	if len(found) == limit && found[limit-1].Number > 0 {
		next = found[limit-1].Number
	}
	return api.Events(found), next, nil
}

// Story returns every event about an action, request or session, oldest first; that of an action holds its
// request's, and that of a request its actions'.
func (o *offline) Story(ctx context.Context, id string) ([]api.Event, error) {
	wanted := map[string]bool{id: true}
	for {
		var found []trail.Found
		known := len(wanted)
		err := o.each(ctx, func(f trail.Found) error {
			if !tells(f, wanted) {
				return nil
			}
			if found = append(found, f); len(found) > maxOffline {
				return &failure{code: exitNo, what: fmt.Sprintf("the story has more than %d events", maxOffline), next: "search for parts of it"}
			}
			if strings.HasPrefix(id, "ses_") {
				return nil
			}
			for _, name := range []string{countersign.FieldRequest, countersign.FieldAction} {
				if v := f.Get(name).String(); v != "" {
					wanted[v] = true
				}
			}
			return nil
		})
		switch {
		case err != nil:
			return nil, err
		case len(wanted) > known: // an earlier event may be about what a later one named
			continue
		case len(found) == 0:
			return nil, &failure{code: exitNo, what: "the trail holds nothing under that name", next: "countersign trail search lists what it holds"}
		}
		return api.Events(found), nil
	}
}

func tells(f trail.Found, wanted map[string]bool) bool {
	for _, name := range []string{countersign.FieldRequest, countersign.FieldAction, countersign.FieldSession} {
		if v := f.Get(name).String(); v != "" && wanted[v] {
			return true
		}
	}
	return false
}

// selects reports whether q selects f.
func selects(q trail.Query, f trail.Found) bool {
	if q.Type != "" && string(f.Type) != q.Type && (!strings.HasSuffix(q.Type, ".") || !strings.HasPrefix(string(f.Type), q.Type)) {
		return false
	}
	if !q.Since.IsZero() && f.Time.Before(q.Since) || !q.Until.IsZero() && f.Time.After(q.Until) {
		return false
	}
	for name, want := range map[string]string{
		countersign.FieldPrincipal: q.Principal, countersign.FieldResource: q.Resource, countersign.FieldRequest: q.Request,
		countersign.FieldAction: q.Action, countersign.FieldSession: q.Session,
	} {
		if want != "" && f.Get(name).String() != want {
			return false
		}
	}
	return q.Text == "" || slices.ContainsFunc(f.Fields, func(field trail.Field) bool {
		return !field.Erased && strings.Contains(field.Value.String(), q.Text)
	})
}
