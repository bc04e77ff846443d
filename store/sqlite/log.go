package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign/trail"
)

// querier is a database or a snapshot of it.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

const numberMask = 1<<positionShift - 1

var errMissing = errors.New("it is missing")

// logReader reads one log of a store, up to a size that is durable. It implements trail.Source.
type logReader struct {
	ctx    context.Context
	db     querier
	epoch  uint64
	origin string
	size   uint64
	behind []row // rows that are not in the database yet, behind all that are

	// the hashes of the row read last, since neighbours are mostly asked for together
	first  uint64
	count  uint64
	hashes []byte
}

// Origin implements trail.Source.
func (l *logReader) Origin() string { return l.origin }

// Size implements trail.Source.
func (l *logReader) Size() uint64 { return l.size }

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
			return nil, fmt.Errorf("hashes from event %d on: %w", l.first, trail.ErrListing)
		}
		copy(all[i][:], l.hashes[at:])
	}
	return all, nil
}

// load reads the hashes of the row that holds an event.
func (l *logReader) load(number uint64) error {
	l.hashes = nil
	for i := range l.behind {
		if r := &l.behind[i]; l.position(number) >= r.position && l.position(number) < r.position+r.count {
			l.first, l.count, l.hashes = uint64(r.position)&numberMask, uint64(r.count), r.hashes
			return nil
		}
	}
	var position, count int64
	var hashes []byte
	err := l.db.QueryRowContext(l.ctx, `SELECT position, count, hashes FROM batch WHERE position <= ? ORDER BY position DESC LIMIT 1`,
		l.position(number)).Scan(&position, &count, &hashes)
	first := uint64(position) & numberMask
	switch {
	case errors.Is(err, sql.ErrNoRows),
		err == nil && (uint64(position)>>positionShift != l.epoch || count <= 0 || number-first >= uint64(count)):
		return fmt.Errorf("event %d: %w", number, errMissing)
	case err != nil:
		return fmt.Errorf("hashes of event %d: %w", number, err)
	}
	l.first, l.count, l.hashes = first, uint64(count), hashes
	return nil
}

// Chunks implements trail.Source: a row at a time. What cannot be read is a gap.
func (l *logReader) Chunks(from uint64) iter.Seq2[trail.Chunk, error] {
	return func(yield func(trail.Chunk, error) bool) {
		next := from
		gap := func(to uint64, why error) bool {
			if to <= next {
				return true
			}
			c := trail.Chunk{First: next, Missing: to - next, Why: why}
			next = to
			return yield(c, nil)
		}
		stopped := false
		each := func(r row) (bool, error) {
			first := uint64(r.position) & numberMask
			if uint64(r.position)>>positionShift != l.epoch || r.count <= 0 || first+uint64(r.count) <= next {
				return true, nil // the row before the first that is asked for
			}
			if first < next && next != from {
				return false, fmt.Errorf("two rows hold event %d", first)
			}
			if !gap(min(first, l.size), errMissing) {
				stopped = true
				return false, nil
			}
			c, why := l.chunk(r, first, from)
			next = c.First + uint64(len(c.Raw))
			if len(c.Raw) > 0 && !yield(c, nil) || !gap(min(first+uint64(r.count), l.size), why) {
				stopped = true
				return false, nil
			}
			return true, nil
		}
		err := scan(l.ctx, l.db, l.position(from), l.position(l.size), each)
		for i := 0; i < len(l.behind) && err == nil && !stopped; i++ {
			_, err = each(l.behind[i])
		}
		if stopped {
			return
		}
		if err != nil && l.ctx.Err() != nil {
			yield(trail.Chunk{}, err)
			return
		}
		if err == nil {
			err = errMissing
		}
		gap(l.size, err)
	}
}

// chunk cuts a row into its entries from a number on, up to the first that cannot be read.
func (l *logReader) chunk(r row, first, from uint64) (trail.Chunk, error) {
	c := trail.Chunk{First: max(first, from)}
	rest := r.entries
	var why error
	for i := range uint64(r.count) {
		if first+i >= l.size {
			break
		}
		var e trail.Listed
		if e, rest, why = trail.CutListed(rest); why != nil {
			return c, why
		}
		if first+i < from {
			continue
		}
		if e.Hash != nil {
			var err error
			if e.Raw, err = readBlob(l.ctx, l.db, e.Hash); err != nil {
				e.Raw = []byte{} // cannot be read, which is told under its own number
			}
		}
		c.Raw = append(c.Raw, e.Raw)
	}
	if len(rest) != 0 && len(c.Raw) > 0 {
		c.Raw = c.Raw[:len(c.Raw)-1]
		why = fmt.Errorf("%d bytes follow it that belong to no event", len(rest))
	}
	return c, why
}

// each calls visit with every entry of the row, in order: its position and its stored form.
func (r row) each(ctx context.Context, db querier, visit func(position int64, raw []byte) error) error {
	rest := r.entries
	for i := range r.count {
		var raw []byte
		var err error
		if raw, rest, err = cut(ctx, db, rest); err != nil {
			return fmt.Errorf("event %d: %w", r.position+i, err)
		}
		if err := visit(r.position+i, raw); err != nil {
			return err
		}
	}
	if len(rest) != 0 {
		return fmt.Errorf("event %d: %w", r.position, trail.ErrListing)
	}
	return nil
}

// cut cuts the first entry off a row's, and fetches it when it is kept elsewhere.
func cut(ctx context.Context, db querier, entries []byte) (raw, rest []byte, err error) {
	first, rest, err := trail.CutListed(entries)
	if err != nil {
		return nil, nil, err
	}
	if first.Hash == nil {
		return first.Raw, rest, nil
	}
	raw, err = readBlob(ctx, db, first.Hash)
	return raw, rest, err
}

func readBlob(ctx context.Context, db querier, hash []byte) ([]byte, error) {
	var entry []byte
	err := db.QueryRowContext(ctx, `SELECT entry FROM blob WHERE hash = ?`, hash).Scan(&entry)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errMissing
	}
	return entry, err
}

// A page of rows is read at once, so that no cursor is open while they are looked at: an open cursor
// keeps the write-ahead log from being begun anew, and a slow reader would let it fill the disk.
const (
	pageRows  = 256
	pageBytes = 4 << 20
)

// scan reads rows in order, from the one that holds the position from on, while they begin before to.
func scan(ctx context.Context, db querier, from, to int64, visit func(row) (more bool, err error)) error {
	query := `SELECT position, count, entries FROM batch
		WHERE position >= coalesce((SELECT max(position) FROM batch WHERE position <= ?), 0) AND position < ? ORDER BY position LIMIT ?`
	for {
		page, err := readPage(ctx, db, query, from, to)
		for _, r := range page {
			if more, err := visit(r); err != nil || !more {
				return err
			}
			from = r.position + 1
		}
		if err != nil || len(page) == 0 {
			return err
		}
		query = `SELECT position, count, entries FROM batch WHERE position >= ? AND position < ? ORDER BY position LIMIT ?`
	}
}

// readPage reads some rows. What it read before an error it returns with the error.
func readPage(ctx context.Context, db querier, query string, from, to int64) (page []row, err error) {
	rows, err := db.QueryContext(ctx, query, from, to, pageRows)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // its error is rows.Err's
	for size := 0; size < pageBytes && rows.Next(); {
		var r row
		if err := rows.Scan(&r.position, &r.count, &r.entries); err != nil {
			return page, err
		}
		size += len(r.entries)
		page = append(page, r)
	}
	return page, rows.Err()
}
