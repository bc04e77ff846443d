package sqlite

import (
	"context"
	"database/sql"
	"time"
)

// The write-ahead log is folded into the database by a goroutine beside the writer, so that commits do
// not wait for it. SQLite's own folding is off: it hides its errors, and after a failed fsync a later
// success would hide that pages were lost.
const (
	// foldFrom is the number of pages in the write-ahead log from which it is folded in beside the writer.
	foldFrom = 8 << 20 / pageSize
	// foldAtOnce is the number from which the writer itself folds in the rest and begins the log anew. It
	// bounds the log's size on disk, unless a reader holds an old snapshot.
	foldAtOnce = 64 << 20 / pageSize
	foldEvery  = 100 * time.Millisecond
)

// fold copies pages of the write-ahead log into the database. It returns the number of pages still in
// the log.
func fold(ctx context.Context, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
},
) (pages int64, err error) {
	var busy, inLog, folded int64
	if err := db.QueryRowContext(ctx, `PRAGMA wal_checkpoint(PASSIVE)`).Scan(&busy, &inLog, &folded); err != nil {
		return 0, err
	}
	if busy != 0 || folded < inLog {
		return inLog, nil
	}
	return 0, nil // the next commit begins the log anew
}

// foldNow folds in what is left, in the writer, once the log has become long.
func (s *Store) foldNow() {
	if s.pages.Load() < max(s.foldAt, foldAtOnce) {
		return
	}
	s.folding.Lock()
	defer s.folding.Unlock()
	s.folded(fold(background(), s.conn))
	// A reader with an old snapshot keeps the log from beginning anew; it is tried again after as much again.
	s.foldAt = s.pages.Load() + foldAtOnce/4
}

// folded takes account of one folding. The number of pages is an estimate, since the writer may have gone on
// meanwhile; each folding puts it right.
func (s *Store) folded(pages int64, err error) {
	if err == nil {
		s.pages.Store(pages)
		return
	}
	if what, told := judge(err); what == outcomeFatal {
		s.fail(told, true)
	} else {
		s.log.Error("cannot fold the write-ahead log into the database", "error", told)
	}
}

// foldBeside folds while the store is open.
func (s *Store) foldBeside() {
	defer s.aside.Done()
	tick := time.NewTicker(foldEvery)
	defer tick.Stop()
	next := int64(foldFrom)
	for {
		select {
		case <-s.closing:
			return
		case <-tick.C:
		}
		pages := s.pages.Load()
		if pages < foldFrom {
			next = foldFrom
		}
		if pages < next || s.failed() != nil {
			continue
		}
		s.folding.Lock()
		s.folded(fold(background(), s.folder))
		s.folding.Unlock()
		next = s.pages.Load() + foldFrom
	}
}
