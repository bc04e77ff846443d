package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// querier is a database or a snapshot of it.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// logReader reads one log of a store, up to a size that is durable.
type logReader struct {
	ctx   context.Context
	db    querier
	epoch uint64
	size  uint64

	// the row read last, since neighbours are mostly asked for together
	first  uint64
	count  uint64
	hashes []byte
}

func (l *logReader) position(number uint64) int64 { return int64(l.epoch<<positionShift | number) }

// ReadHashes implements tlog.HashReader.
func (l *logReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	all := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		by := uint64(n+1)<<level - 1 // the event that completed this hash
		if by >= l.size {
			return nil, fmt.Errorf("hash %d belongs to event %d, past the end", index, by)
		}
		if l.hashes == nil || by < l.first || by >= l.first+l.count {
			if err := l.load(by); err != nil {
				return nil, err
			}
		}
		at := (index - tlog.StoredHashCount(int64(l.first))) * tlog.HashSize
		if at < 0 || at+tlog.HashSize > int64(len(l.hashes)) {
			return nil, fmt.Errorf("hashes from event %d on: %w", l.first, errBatch)
		}
		copy(all[i][:], l.hashes[at:])
	}
	return all, nil
}

// load reads the hashes of the row that holds an event.
func (l *logReader) load(number uint64) error {
	var position int64
	l.hashes = nil
	err := l.db.QueryRowContext(l.ctx, `SELECT position, count, hashes FROM batch WHERE position <= ? ORDER BY position DESC LIMIT 1`,
		l.position(number)).Scan(&position, &l.count, &l.hashes)
	if errors.Is(err, sql.ErrNoRows) || err == nil && (uint64(position)>>positionShift != l.epoch || uint64(position)&numberMask+l.count <= number) {
		l.hashes = nil
		return fmt.Errorf("event %d: %w", number, errMissing)
	}
	if err != nil {
		l.hashes = nil
		return fmt.Errorf("hashes of event %d: %w", number, err)
	}
	l.first = uint64(position) & numberMask
	return nil
}

const numberMask = 1<<positionShift - 1

var errMissing = errors.New("it is missing")

// row is one row of the table batch.
type row struct {
	position int64
	count    int
	entries  []byte
}

// each calls visit with every entry of the row, in order: its position and its stored form.
func (r row) each(ctx context.Context, db querier, visit func(position int64, raw []byte) error) error {
	rest := r.entries
	for i := range r.count {
		var entry, hash []byte
		var err error
		if entry, rest, hash, err = cutEntry(rest); err != nil {
			return fmt.Errorf("event %d: %w", r.position+int64(i), err)
		}
		if hash != nil {
			if entry, err = readBlob(ctx, db, hash); err != nil {
				return fmt.Errorf("event %d: %w", r.position+int64(i), err)
			}
		}
		if err := visit(r.position+int64(i), entry); err != nil {
			return err
		}
	}
	if len(rest) != 0 {
		return fmt.Errorf("event %d: %w", r.position, errBatch)
	}
	return nil
}

func readBlob(ctx context.Context, db querier, hash []byte) ([]byte, error) {
	var entry []byte
	err := db.QueryRowContext(ctx, `SELECT entry FROM blob WHERE hash = ?`, hash).Scan(&entry)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errMissing
	}
	return entry, err
}

// scan reads rows in order from the one that holds position on.
func scan(ctx context.Context, db querier, position int64, visit func(row) (more bool, err error)) error {
	rows, err := db.QueryContext(ctx, `SELECT position, count, entries FROM batch
		WHERE position >= coalesce((SELECT max(position) FROM batch WHERE position <= ?), 0) ORDER BY position`, position)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // its error is rows.Err's
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.position, &r.count, &r.entries); err != nil {
			return err
		}
		more, err := visit(r)
		if err != nil || !more {
			return err
		}
	}
	return rows.Err()
}
