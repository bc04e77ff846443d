package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/trail"
)

// pending is a change in line, with everything that can be made ready without the writer.
type pending struct {
	change  gate.Change
	done    func(gate.Receipt, error)
	size    int
	entries *entries
	store   bool // asks for everything in the journal to be stored in the database
	insert  *requestRow
	update  *updateRow
	result  error // set by the writer when the change's conditions fail
	first   uint64
}

type updateRow struct {
	body []byte
	due  sql.NullInt64
}

// Commit implements gate.Store. When it returns an error, done is not called.
func (s *Store) Commit(ctx context.Context, c gate.Change, done func(gate.Receipt, error)) error {
	if err := s.failed(); err != nil {
		return err
	}
	p, err := s.prepare(c, done)
	if err != nil {
		return err
	}
	if err := s.queue.put(ctx, p); err != nil {
		if errors.Is(err, gate.ErrClosed) {
			if cause := s.failed(); cause != nil {
				return cause
			}
		}
		return err
	}
	return nil
}

func (s *Store) prepare(c gate.Change, done func(gate.Receipt, error)) (*pending, error) {
	p := &pending{change: c, done: done, size: 256}
	var err error
	if p.entries, err = newEntries(c.Events); err != nil {
		return nil, err
	}
	for i := range p.entries.list {
		p.size += p.entries.list[i].body.Size() + 64
	}
	switch {
	case c.Insert != nil && c.Update != nil:
		return nil, errors.New("store: a change inserts or updates, not both")
	case c.Insert != nil:
		p.insert, err = s.prepareInsert(*c.Insert)
		if err == nil {
			p.size += len(p.insert.body) + len(p.insert.view)
		}
	case c.Update != nil:
		p.update = &updateRow{due: due(c.Update.Request)}
		p.update.body, err = json.Marshal(c.Update.Request)
		p.size += len(p.update.body)
	}
	p.size += len(c.Policy) + len(c.Directory)
	return p, err
}

func (s *Store) prepareInsert(in gate.Insert) (*requestRow, error) {
	r := in.Record.Request
	row := &requestRow{id: string(r.ID), revision: 1, state: r.State, due: due(r), transaction: in.Record.Transaction}
	var err error
	if row.body, err = json.Marshal(r); err != nil {
		return nil, err
	}
	if row.view, err = json.Marshal(in.Record.View); err != nil {
		return nil, err
	}
	if !ended(r.State) {
		name, sealed, err := s.ring.Seal(s.Now(), in.Record.Nonce, bound(r))
		if err != nil {
			return nil, fmt.Errorf("seal the nonce: %w", err)
		}
		row.sealingKey, row.nonce = sql.NullString{String: name, Valid: true}, sealed
	}
	if open(r.State) {
		row.joinMAC = s.ring.JoinMAC(in.Canonical)
	}
	row.seal(s.ring)
	return row, nil
}

// open: the request can still be joined.
func open(st approval.State) bool { return st == approval.Pending || st == approval.Approved }

// ended: nothing more can happen to the request, and its nonce goes.
func ended(st approval.State) bool {
	return !open(st) && st != approval.Claimed && st != approval.Uncommitted
}

func due(r approval.Request) sql.NullInt64 {
	switch r.State {
	case approval.Pending:
		return sql.NullInt64{Int64: r.Deadline.UnixMicro(), Valid: true}
	case approval.Approved:
		return sql.NullInt64{Int64: r.ClaimBy.UnixMicro(), Valid: true}
	default:
		return sql.NullInt64{}
	}
}

// bound is what a sealed nonce is bound to.
func bound(r approval.Request) []byte {
	return fmt.Appendf(nil, "countersign/nonce/v1\n%d\n%s\n%s\n", len(r.ID), r.ID, r.Digest)
}

// write is the writer: it alone changes the database, and it owns the fields of Store below "writer".
func (s *Store) write() {
	defer close(s.written)
	var batch []*pending
	for {
		var awaited int
		batch, awaited = s.queue.take(batch[:0])
		if len(batch) == 0 {
			s.commit([]*pending{{store: true, done: func(gate.Receipt, error) {}}})
			return
		}
		s.commit(batch)
		s.foldNow()
		s.queue.gather(awaited)
		clear(batch)
	}
}

// commit applies a batch in one transaction and tells each change its result.
func (s *Store) commit(batch []*pending) {
	err := s.failed()
	var at time.Time
	if err == nil {
		at, err = s.transact(batch)
	}
	for _, p := range batch {
		if p.entries != nil {
			p.entries.release()
		}
		switch {
		case p.result != nil && err == nil:
			p.done(gate.Receipt{}, p.result)
		case err != nil:
			p.done(gate.Receipt{}, err)
		default:
			p.done(gate.Receipt{First: p.first, Time: at}, nil)
		}
	}
}

// state is what a batch changes in memory. It takes effect when it is durable.
type state struct {
	tree   *trail.Tree
	active gate.Active
}

// transact makes a batch durable: in the journal if that will do, else in the database.
func (s *Store) transact(batch []*pending) (time.Time, error) {
	at := s.Now()
	if s.forJournal(batch) {
		return at, s.journalBatch(batch, at)
	}
	next := state{active: *s.active.Load()}
	if err := s.begin(); err != nil {
		return at, s.fault(err)
	}
	changed := len(s.unstored) > 0
	if err := s.storeRows(); err != nil {
		return at, s.abort(err)
	}
	events := s.events[:0]
	for _, p := range batch {
		wrote, err := s.apply(p, &next.active, at)
		if err != nil {
			return at, s.abort(err)
		}
		if p.result == nil {
			changed = changed || wrote
			events = s.take(p, events)
		}
	}
	s.events = events
	defer clear(s.events)
	if !changed && len(events) == 0 {
		if err := s.rollback(); err != nil {
			return at, s.fault(err)
		}
		return at, nil
	}
	var err error
	if next.tree, err = s.appendEvents(events, at, &next.active); err != nil {
		return at, s.abort(err)
	}
	if err := s.commitTransaction(); err != nil {
		return at, s.abort(err)
	}
	s.stored()
	s.live.keep()
	s.active.Store(&next.active)
	s.adopt(next.tree, len(events))
	s.show(at)
	return at, nil
}

// take adds a change's events to those of its batch.
func (s *Store) take(p *pending, events []*entry) []*entry {
	p.first = uint64(s.position(s.tree.Size() + uint64(len(events))))
	if p.entries == nil {
		return events
	}
	for i := range p.entries.list {
		events = append(events, &p.entries.list[i])
	}
	return events
}

// abort undoes the transaction after a fault.
func (s *Store) abort(err error) error {
	s.intents.undo()
	s.live.undo()
	// After some faults SQLite has rolled back by itself. Should a transaction stay open, the next one
	// cannot begin, which is fatal.
	_ = s.rollback()
	return s.fault(err)
}

// adopt makes the tree with so many more events the current one. They are durable.
func (s *Store) adopt(tree *trail.Tree, events int) {
	if events == 0 {
		return
	}
	s.tree = tree
	s.finish()
	s.intents.keep()
}

// show lets readers see everything up to now. It is in the database.
func (s *Store) show(at time.Time) {
	if h := s.head.Load(); h.epoch == s.epoch && h.tree.Size() == s.tree.Size() {
		return
	}
	s.head.Store(&head{epoch: s.epoch, origin: s.origin, tree: s.tree.Clone(), time: at})
	select {
	case s.grown <- struct{}{}:
	default:
	}
}

// finish takes the intents that have their outcome now off the list of the unfinished.
func (s *Store) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unfinished) == 0 {
		return
	}
	for _, m := range s.intents.undos {
		if !m.added {
			delete(s.unfinished, countersign.ActionID(m.action))
		}
	}
}

// appendEvents writes a run of events as one row, and returns the tree that they make. active is what is active
// once the transaction is written.
func (s *Store) appendEvents(events []*entry, at time.Time, active *gate.Active) (*trail.Tree, error) {
	if len(events) == 0 {
		return s.tree, nil
	}
	r, tree, err := s.makeRow(events, at, active)
	if err != nil {
		return nil, err
	}
	for _, b := range s.encoder.blobs {
		if _, err := s.stmt.blob.Exec(b.hash[:], b.entry); err != nil {
			return nil, err
		}
	}
	return tree, s.insertRow(&r)
}

// makeRow makes the row of a run of events, whose bytes are valid until the next call, and the tree with them.
func (s *Store) makeRow(events []*entry, at time.Time, active *gate.Active) (row, *trail.Tree, error) {
	enc := &s.encoder
	if err := enc.encode(events, at); err != nil {
		return row{}, nil, err
	}
	tree := s.tree.Clone()
	hashes := s.hashes[:0]
	for _, leaf := range enc.leaves {
		hashes = tree.Append(leaf, hashes)
	}
	s.hashes = hashes
	first := s.tree.Size()
	for i, ev := range events {
		s.intents.note(ev.event, s.position(first+uint64(i)))
	}
	r := row{hashes: s.flatten(hashes), entries: enc.entries, batchRow: batchRow{
		position: s.position(first), count: int64(len(events)), time: at.UnixMicro(), low: s.intents.low(s.position(tree.Size())),
		policy: int64(active.PolicyRevision), directory: int64(active.DirectoryRevision),
	}}
	r.mac = r.seal(s.ring, s.origin, tree.Root())
	return r, tree, nil
}

func (s *Store) insertRow(r *row) error {
	s.pages.Add(int64((len(r.entries)+len(r.hashes))/pageSize) + 3)
	_, err := s.stmt.batch.Exec(r.position, r.count, r.time, r.low, r.policy, r.directory, r.mac, r.hashes, r.entries)
	return err
}

func (s *Store) position(number uint64) int64 { return int64(s.epoch<<positionShift | number) }

func (s *Store) flatten(hashes []tlog.Hash) []byte {
	b := s.flat[:0]
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	s.flat = b
	return b
}
