package sqlite

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/trail"
)

// maxListed bounds what one call lists.
const maxListed = 10_000

// Active implements gate.Store.
func (s *Store) Active(context.Context) (gate.Active, error) {
	if err := s.failed(); err != nil {
		return gate.Active{}, err
	}
	return *s.active.Load(), nil
}

// Request implements gate.Store.
func (s *Store) Request(ctx context.Context, id countersign.RequestID) (gate.Record, error) {
	return s.one(ctx, requestColumns+`WHERE id = ?`, string(id))
}

// Joinable implements gate.Store.
func (s *Store) Joinable(ctx context.Context, canonical []byte) (gate.Record, error) {
	return s.one(ctx, requestColumns+`WHERE join_mac = ?`, s.ring.JoinMAC(canonical))
}

// Requests implements gate.Store.
func (s *Store) Requests(ctx context.Context, f gate.Filter) ([]gate.Record, error) {
	query, args := requestColumns, []any{}
	if len(f.States) > 0 {
		for _, st := range f.States {
			args = append(args, string(st))
		}
		query += `WHERE state IN (?` + strings.Repeat(`, ?`, len(f.States)-1) + `) `
	}
	return s.list(ctx, query+`ORDER BY seq DESC LIMIT ?`, append(args, bounded(f.Limit))...)
}

// Due implements gate.Store.
func (s *Store) Due(ctx context.Context, now time.Time, limit int) ([]gate.Record, error) {
	return s.list(ctx, requestColumns+`WHERE due <= ? ORDER BY due, seq LIMIT ?`, now.UnixMicro(), bounded(limit))
}

func bounded(limit int) int {
	if limit <= 0 || limit > maxListed {
		return maxListed
	}
	return limit
}

// Unfinished implements gate.Store.
func (s *Store) Unfinished(ctx context.Context) ([]gate.Intent, error) {
	if err := s.failed(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	positions := make([]int64, 0, len(s.unfinished))
	for _, p := range s.unfinished {
		positions = append(positions, p)
	}
	s.mu.Unlock()
	slices.Sort(positions)
	all := make([]gate.Intent, 0, len(positions))
	for _, p := range positions {
		e, err := entryAt(ctx, s.reader, p)
		if err != nil {
			return nil, err
		}
		all = append(all, gate.Intent{
			Action:  countersign.ActionID(e.Get(countersign.FieldAction).String()),
			Request: countersign.RequestID(e.Get(countersign.FieldRequest).String()),
			Time:    e.Time,
			Event:   e.Event(),
		})
	}
	return all, nil
}

// entryAt reads one entry.
func entryAt(ctx context.Context, db querier, position int64) (trail.Entry, error) {
	raw, err := rawAt(ctx, db, position)
	if err != nil {
		return trail.Entry{}, err
	}
	e, err := trail.ParseEntry(raw)
	if err != nil {
		return trail.Entry{}, fmt.Errorf("event %d: %w", position, err)
	}
	return e, nil
}

// rawAt reads the stored form of one entry.
func rawAt(ctx context.Context, db querier, position int64) ([]byte, error) {
	var found []byte
	err := scan(ctx, db, position, position+1, func(r row) (bool, error) {
		rest := r.entries
		for at := r.position; at < r.position+r.count; at++ {
			if at == position {
				var err error
				found, _, err = cut(ctx, db, rest)
				return false, err
			}
			var err error
			if _, rest, err = trail.CutListed(rest); err != nil {
				return false, fmt.Errorf("event %d: %w", at, err)
			}
		}
		return true, nil
	})
	if err == nil && found == nil {
		err = fmt.Errorf("event %d: %w", position, errMissing)
	}
	return found, err
}

func (s *Store) one(ctx context.Context, query string, args ...any) (gate.Record, error) {
	list, err := s.list(ctx, query, args...)
	if err != nil {
		return gate.Record{}, err
	}
	if len(list) == 0 {
		return gate.Record{}, gate.ErrNotFound
	}
	return list[0], nil
}

func (s *Store) list(ctx context.Context, query string, args ...any) ([]gate.Record, error) {
	if err := s.failed(); err != nil {
		return nil, err
	}
	rows, err := s.reader.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read requests: %w", err)
	}
	defer func() { _ = rows.Close() }() // its error is rows.Err's
	var list []gate.Record
	for rows.Next() {
		var row requestRow
		if err := row.scan(rows.Scan); err != nil {
			return nil, fmt.Errorf("read a request: %w", err)
		}
		r, err := row.record(s.ring)
		if err != nil {
			s.log.Error("a request is refused", "error", err)
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}
