package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/trail"
)

// The index says in which parts of the trail a word occurs: a part is 1024 events, a word is the value
// of one of a few fields, or a type. It lies in a file of its own, is made from the trail beside the
// durable path, and can be deleted at any time. Only whole parts are indexed; what follows the last of them is read
// through. Whatever the index says is checked against the events themselves, so a wrong index can
// hide events from a search, never show what is not in the trail.
const (
	partShift = 10
	partSize  = 1 << partShift

	indexVersion = 1
	// maxIndexed is how many parts are indexed in one transaction.
	maxIndexed = 64
	// While events come in, the index waits until it is so many parts behind: those who commit come first,
	// and a search reads what is missing in about a second. It also goes on when nothing came for a while.
	maxLag    = 256
	indexIdle = 2 * time.Second
)

const indexSchema = `
CREATE TABLE progress (next INTEGER NOT NULL, store TEXT NOT NULL) STRICT; -- the first part not indexed, and whose
CREATE TABLE term (
	word INTEGER NOT NULL, -- the first 8 bytes of SHA-256 over the name, a zero byte and the value
	part INTEGER NOT NULL, -- position >> 10
	PRIMARY KEY (word, part)
) STRICT, WITHOUT ROWID;
`

// wordType is the name under which types are words, besides the names of fields.
const wordType = "."

var indexedFields = []string{
	countersign.FieldAction, countersign.FieldRequest, countersign.FieldSession, countersign.FieldPrincipal, countersign.FieldResource,
}

// word is the index's name of a value.
func word[T ~string | ~[]byte](name string, value T) int64 {
	var buf [256]byte
	b := append(buf[:0], name...)
	b = append(b, 0)
	b = append(b, value...)
	sum := sha256.Sum256(b)
	return int64(binary.BigEndian.Uint64(sum[:8]))
}

// index is the derived search index. Its goroutine alone writes it.
type index struct {
	db   *sql.DB
	next int64 // the first part not indexed
}

// openIndex opens the index of this store, or makes a new one when there is none that fits.
func openIndex(ctx context.Context, dir, store string, end int64) (*index, error) {
	path := filepath.Join(dir, indexFile)
	x, err := tryIndex(ctx, path, store, end)
	if err == nil {
		return x, nil
	}
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return tryIndex(ctx, path, store, end)
}

// tryIndex opens the index if it is whole, of this version, of this store, and not ahead of it.
func tryIndex(ctx context.Context, path, store string, end int64) (*index, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dataSource(abs, url.Values{
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(NORMAL)", "cache_size(-8192)"}, "_dqs": {"0"},
	}))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(3)
	x := &index{db: db}
	if err := x.load(ctx, store, end); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return x, nil
}

func (x *index) load(ctx context.Context, store string, end int64) error {
	var version int
	if err := x.db.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return err
	}
	if version == 0 {
		return x.create(ctx, store)
	}
	if version != indexVersion {
		return fmt.Errorf("index of version %d", version)
	}
	var whose string
	if err := x.db.QueryRowContext(ctx, `SELECT next, store FROM progress`).Scan(&x.next, &whose); err != nil {
		return err
	}
	if whose != store || x.next<<partShift > end {
		return errors.New("index of another state")
	}
	return nil
}

func (x *index) create(ctx context.Context, store string) error {
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if _, err := tx.ExecContext(ctx, indexSchema); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO progress VALUES (0, ?)`, store); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA user_version = %d`, indexVersion)); err != nil {
		return err
	}
	return tx.Commit()
}

// keepIndex follows the trail while the store is open. Without an index a search reads everything.
func (s *Store) keepIndex() {
	defer s.aside.Done()
	ctx, cancel := context.WithCancel(background())
	defer cancel()
	s.aside.Go(func() {
		<-s.closing
		cancel()
	})
	x, err := openIndex(ctx, s.options.Dir, s.indexName(), s.head.Load().end())
	if err != nil {
		s.log.Error("cannot open the search index; searches read the whole trail", "error", err)
		return
	}
	s.index.Store(x)
	defer func() {
		if err := x.db.Close(); err != nil {
			s.log.Error("cannot close the search index", "error", err)
		}
	}()
	idle := true
	for {
		lag := s.head.Load().end()>>partShift - x.next
		if lag == 0 || lag < maxLag && !idle {
			var quiet <-chan time.Time
			if lag > 0 {
				quiet = time.After(s.options.indexIdle)
			}
			select {
			case <-s.grown:
				idle = false
			case <-quiet:
				idle = true
			case <-s.closing:
				return
			}
			continue
		}
		begun := time.Now()
		if err := s.extend(ctx, x); err != nil {
			if ctx.Err() == nil {
				s.log.Error("the search index does not grow; searches read on from where it ends", "error", err)
			}
			return
		}
		select {
		case <-time.After(3 * time.Since(begun)): // a quarter of one processor at most
		case <-s.closing:
			return
		}
	}
}

// indexName ties an index to the logs that it was made from.
func (s *Store) indexName() string { return fmt.Sprintf("%s %d %s", s.replica, s.epoch, s.origin) }

// extend indexes parts that are whole. They are read in one pass, since a row may reach over several.
func (s *Store) extend(ctx context.Context, x *index) error {
	end := s.head.Load().end()
	from := x.next << partShift
	to := min(from+maxIndexed*partSize, end>>partShift<<partShift)
	if to <= from {
		return nil
	}
	var terms []term
	words := map[int64]bool{}
	part := x.next
	flush := func() {
		for w := range words {
			terms = append(terms, term{w, part})
		}
		clear(words)
	}
	found := false
	err := visit(ctx, s.reader, from, to, func(at int64, raw []byte) error {
		if at>>partShift != part {
			flush()
			part = at >> partShift
		}
		found = true
		return addWords(words, raw)
	})
	if err != nil {
		return err
	}
	flush()
	if !found {
		// Between the end of a log that a restore ended and the beginning of the next there is nothing.
		next, err := nextRow(ctx, s.reader, to, end)
		if err != nil {
			return err
		}
		to = next >> partShift << partShift
	}
	return x.add(ctx, terms, to>>partShift)
}

type term struct{ word, part int64 }

// nextRow returns the position of the first row from a position on, or end.
func nextRow(ctx context.Context, db querier, from, end int64) (int64, error) {
	next := end
	err := db.QueryRowContext(ctx, `SELECT coalesce(min(position), ?) FROM batch WHERE position >= ?`, end, from).Scan(&next)
	return min(next, end), err
}

func addWords(words map[int64]bool, raw []byte) error {
	g, err := trail.GlanceAt(raw)
	if err != nil {
		return err
	}
	words[word(wordType, g.Type)] = true
	for i, c := range g.Type {
		if c == '.' {
			words[word(wordType, g.Type[:i+1])] = true
		}
	}
	g.Each(func(name, value []byte) bool {
		if slices.Contains(indexedFields, string(name)) && len(value) > 0 {
			words[word(string(name), value)] = true
		}
		return true
	})
	return nil
}

func (x *index) add(ctx context.Context, terms []term, next int64) error {
	slices.SortFunc(terms, func(a, b term) int {
		switch {
		case a.word < b.word || a.word == b.word && a.part < b.part:
			return -1
		case a == b:
			return 0
		}
		return 1
	})
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	stmt, err := tx.PrepareContext(ctx, `INSERT OR IGNORE INTO term (word, part) VALUES (?, ?)`)
	if err != nil {
		return err
	}
	defer func() { _ = stmt.Close() }() // it ends with the transaction
	for _, t := range terms {
		if _, err := stmt.ExecContext(ctx, t.word, t.part); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, `UPDATE progress SET next = ?`, next); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	x.next = next
	return nil
}
