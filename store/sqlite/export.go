package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/countersign-dev/countersign/store/tiles"
	"github.com/countersign-dev/countersign/trail"
)

// ErrNoEvent: the trail has no event of that number.
var ErrNoEvent = errors.New("store: no such event")

// Prove returns the proof, in the form of c2sp.org/tlog-proof with the stored event as its extra data, that an
// event is in its log. Of a number that the trail does not have, the error wraps ErrNoEvent.
func (s *Store) Prove(ctx context.Context, number uint64) ([]byte, error) {
	logs, err := s.logs(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range logs {
		if l.reader.epoch != number>>positionShift || number&numberMask >= l.reader.size {
			continue
		}
		raw, err := rawAt(ctx, s.reader, int64(number))
		if err != nil {
			return nil, err
		}
		return trail.Prove(raw, number&numberMask, l.checkpoint, l.reader)
	}
	return nil, fmt.Errorf("event %d: %w", number, ErrNoEvent)
}

// Export writes the whole trail as a tar archive of the folder that ExportFolder makes.
func (s *Store) Export(ctx context.Context, w io.Writer) error {
	sink := tiles.NewTar(w, s.Now())
	if err := s.exportTo(ctx, sink); err != nil {
		return err
	}
	return sink.Close()
}

// ExportFolder writes the whole trail into a new or empty folder.
func (s *Store) ExportFolder(ctx context.Context, dir string) error {
	folder, err := tiles.MakeFolder(dir)
	if err != nil {
		return err
	}
	return s.exportTo(ctx, folder)
}

func (s *Store) exportTo(ctx context.Context, sink tiles.Sink) error {
	logs, err := s.logs(ctx)
	if err != nil {
		return err
	}
	export := make([]tiles.Log, 0, len(logs))
	for _, l := range logs {
		export = append(export, tiles.Log{Source: l.reader, Checkpoint: l.checkpoint})
	}
	return tiles.Write(ctx, sink, export)
}

// signedLog is one log of the store with a checkpoint of all of it.
type signedLog struct {
	reader     *logReader
	checkpoint []byte
}

// logs returns the current log and then the earlier ones, oldest first, as they are now.
func (s *Store) logs(ctx context.Context) ([]signedLog, error) {
	if err := s.storeNow(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	signed, h, err := s.checkpoint()
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	all := []signedLog{{&logReader{ctx: ctx, db: s.reader, epoch: h.epoch, origin: h.origin, size: h.tree.Size()}, signed}}
	readers, err := readLogs(ctx, s.reader)
	if err != nil {
		return nil, err
	}
	for _, r := range readers {
		if r.epoch >= h.epoch {
			continue
		}
		tree, err := trail.LoadTree(r.size, r)
		if err != nil {
			return nil, err
		}
		if err := s.checkEnd(ctx, r, tree); err != nil {
			return nil, err
		}
		signer, err := s.ring.Signer(r.origin)
		if err != nil {
			return nil, err
		}
		// What is signed here is no older or newer state of that log, but what the restore has left of it.
		c := trail.Checkpoint{Origin: r.origin, Size: r.size, Root: tree.Root(), Lines: []string{"ended: restored from a copy, continued as " + h.origin}}
		signed, err := c.Sign(signer)
		if err != nil {
			return nil, err
		}
		all = append(all, signedLog{r, signed})
	}
	return all, nil
}

// checkEnd fails unless the store itself wrote the last batch of an earlier log, and so all of it.
func (s *Store) checkEnd(ctx context.Context, l *logReader, tree *trail.Tree) error {
	if l.size == 0 {
		return nil
	}
	var r batchRow
	err := s.reader.QueryRowContext(ctx, `SELECT position, count, time, low, policy, directory, mac FROM batch
		WHERE position <= ? ORDER BY position DESC LIMIT 1`, l.position(l.size-1)).
		Scan(&r.position, &r.count, &r.time, &r.low, &r.policy, &r.directory, &r.mac)
	if err != nil {
		return err
	}
	if err := r.check(s.ring, l.origin, tree.Root()); err != nil {
		return fmt.Errorf("the log %s: %w", l.origin, err)
	}
	return nil
}

// readLogs returns readers of all logs that a database holds, oldest first.
func readLogs(ctx context.Context, db querier) ([]*logReader, error) {
	rows, err := db.QueryContext(ctx, `SELECT epoch, origin,
		(SELECT position FROM batch WHERE position >= epoch << 44 AND position < (epoch + 1) << 44 ORDER BY position DESC LIMIT 1) AS last,
		(SELECT count FROM batch WHERE position >= epoch << 44 AND position < (epoch + 1) << 44 ORDER BY position DESC LIMIT 1)
		FROM log ORDER BY epoch`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // its error is rows.Err's
	var all []*logReader
	for rows.Next() {
		r := &logReader{ctx: ctx, db: db}
		var epoch int64
		var last, count *int64
		if err := rows.Scan(&epoch, &r.origin, &last, &count); err != nil {
			return nil, err
		}
		if r.epoch = uint64(epoch); epoch < 0 || epoch >= 1<<(63-positionShift) {
			return nil, fmt.Errorf("log number %d", epoch)
		}
		if last != nil && count != nil {
			r.size = uint64(*last)&numberMask + uint64(*count)
			if *count < 0 || r.size > numberMask {
				return nil, fmt.Errorf("the log %s claims %d events", r.origin, r.size)
			}
		}
		all = append(all, r)
	}
	return all, rows.Err()
}
