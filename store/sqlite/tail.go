package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign/trail"
)

// tailSize is how many of the last events are read again at a start, at least. What a crash or a bad disk damages
// is mostly there; the whole trail is what `trail verify` reads.
const tailSize = 4096

// tailStart returns the number of the event from which the trail is read again: behind it lie the last
// tailSize events, and everything since the oldest of the given times.
func (s *Store) tailStart(ctx context.Context, since time.Time) (uint64, error) {
	size := s.tree.Size()
	from := size - min(size, tailSize)
	if since.IsZero() {
		return from, nil
	}
	// Times never decrease along the trail. A row whose time was altered makes the tail too short, and then
	// the request that it was read for is not found in it, which ends that request.
	var position int64
	err := s.conn.QueryRowContext(ctx, `SELECT position FROM batch WHERE time < ? ORDER BY position DESC LIMIT 1`, since.UnixMicro()).Scan(&position)
	switch {
	case errors.Is(err, sql.ErrNoRows), err == nil && uint64(position)>>positionShift != s.epoch:
		return 0, nil
	case err != nil:
		return 0, err
	}
	return min(from, uint64(position)&numberMask), nil
}

// checkTail recomputes the events from a number on from their bodies, and with them the tree's edge, and fails when
// the store holds other hashes, when a value is gone, or when a batch is not one that this store wrote.
// Since the MAC of a batch binds the root, and the root everything before it, what is signed from now on
// was recorded by this store. visit sees each stored entry.
func (s *Store) checkTail(ctx context.Context, from uint64, visit func(raw []byte) error) error {
	size := s.tree.Size()
	l := &logReader{ctx: ctx, db: s.reader, epoch: s.epoch, origin: s.origin, size: size}
	tree, err := trail.LoadTree(from, l)
	if err != nil {
		return err
	}
	batches, err := s.batches(ctx, from)
	if err != nil {
		return err
	}
	var h trail.Hasher
	var computed []tlog.Hash
	for c, err := range l.Chunks(from) {
		if err != nil {
			return err
		}
		if c.Missing > 0 {
			return fmt.Errorf("event %d: %w: %w", c.First, errMissing, c.Why)
		}
		for _, raw := range c.Raw {
			number := tree.Size()
			leaf, err := h.Hash(raw)
			if err != nil {
				return fmt.Errorf("event %d: %w: %w", number, trail.ErrListing, err)
			}
			if h.Erased() {
				return fmt.Errorf("event %d lacks a value: %w", number, ErrAltered)
			}
			computed = tree.Append(leaf, computed[:0])
			if err := compareHashes(l, number, computed); err != nil {
				return err
			}
			if len(batches) > 0 && batches[0].end() == tree.Size() {
				if err := batches[0].check(s.ring, s.origin, tree.Root()); err != nil {
					return err
				}
				batches = batches[1:]
			}
			if err := visit(raw); err != nil {
				return err
			}
		}
	}
	if len(batches) > 0 {
		return fmt.Errorf("event %d: its row does not follow the one before it: %w", batches[0].position&numberMask, ErrAltered)
	}
	if tree.Size() != size || tree.Root() != s.tree.Root() {
		return fmt.Errorf("the last events do not make the tree that is kept: %w", trail.ErrListing)
	}
	return nil
}

func compareHashes(l *logReader, number uint64, computed []tlog.Hash) error {
	first := tlog.StoredHashCount(int64(number))
	for i, want := range computed {
		kept, err := l.ReadHashes([]int64{first + int64(i)})
		if err != nil {
			return err
		}
		if kept[0] != want {
			return fmt.Errorf("event %d does not have the hash that is kept for it: %w", number, trail.ErrListing)
		}
	}
	return nil
}

// batches reads what the MACs of the batches from an event on bind.
func (s *Store) batches(ctx context.Context, from uint64) ([]batchRow, error) {
	rows, err := s.reader.QueryContext(ctx, `SELECT position, count, time, low, policy, directory, mac FROM batch
		WHERE position >= coalesce((SELECT max(position) FROM batch WHERE position <= ?), 0) AND position >= ? ORDER BY position`,
		int64(s.epoch<<positionShift|from), int64(s.epoch<<positionShift))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // its error is rows.Err's
	var all []batchRow
	for rows.Next() {
		var r batchRow
		if err := rows.Scan(&r.position, &r.count, &r.time, &r.low, &r.policy, &r.directory, &r.mac); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// end returns the size of the log once the batch was written.
func (r *batchRow) end() uint64 { return uint64(r.position)&numberMask + uint64(r.count) }
