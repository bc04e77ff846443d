package sqlite

import (
	"database/sql"
	"errors"
	"time"

	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
)

// The names of the documents.
const (
	documentPolicy    = "policy"
	documentDirectory = "directory"
)

// apply judges the conditions of one change and writes its state. A condition that fails is the
// change's result, with nothing written; an error is a fault of the database and ends the transaction.
// All conditions are judged before the first write, so a change that fails never needs undoing.
func (s *Store) apply(p *pending, active *gate.Active, at time.Time) (wrote bool, fault error) {
	c := &p.change
	if p.result = judged(c, active, at); p.result != nil {
		return false, nil //nolint:nilerr // the change's own result, not a fault of the transaction
	}
	switch {
	case c.Insert != nil:
		fault = s.insert(p)
		wrote = true
	case c.Update != nil:
		fault = s.update(p)
		wrote = true
	}
	if fault != nil || p.result != nil {
		return false, fault
	}
	if c.Policy != nil {
		active.PolicyRevision++
		active.Policy = append([]byte{}, c.Policy...)
		fault = s.document(documentPolicy, active.PolicyRevision, active.Policy)
		wrote = true
	}
	if c.Directory != nil && fault == nil {
		active.DirectoryRevision++
		active.Directory = append([]byte{}, c.Directory...)
		fault = s.document(documentDirectory, active.DirectoryRevision, active.Directory)
		wrote = true
	}
	return wrote, fault
}

// document writes an active document.
func (s *Store) document(name string, revision uint64, value []byte) error {
	_, err := s.stmt.document.Exec(name, int64(revision), value, sealDocument(s.ring, name, revision, value))
	return err
}

// judged returns the condition of a change that does not hold.
func judged(c *gate.Change, active *gate.Active, at time.Time) error {
	switch {
	case c.PolicyRevision != 0 && c.PolicyRevision != active.PolicyRevision,
		c.DirectoryRevision != 0 && c.DirectoryRevision != active.DirectoryRevision:
		return gate.ErrConflict
	case !c.NotBefore.IsZero() && at.Before(c.NotBefore),
		!c.Before.IsZero() && !at.Before(c.Before):
		return gate.ErrTime
	}
	return nil
}

// insert writes a new request, unless one with its id or key exists or a cap is reached.
func (s *Store) insert(p *pending) error {
	row := p.insert
	var found int
	if err := s.stmt.exists.QueryRow(row.id, row.joinMAC).Scan(&found); err != nil {
		return err
	}
	if found > 0 {
		p.result = gate.ErrConflict
		return nil
	}
	for _, c := range p.change.Insert.Caps {
		var pending int
		if err := s.stmt.countParty.QueryRow(c.Party).Scan(&pending); err != nil {
			return err
		}
		if pending >= c.Max {
			p.result = gate.ErrCap
			return nil
		}
	}
	res, err := s.stmt.insert.Exec(row.id, row.revision, string(row.state), row.due, row.body, row.view,
		row.transaction, row.sealingKey, nullable(row.nonce), nullable(row.joinMAC), row.mac)
	if err != nil {
		return err
	}
	s.live.note(row.id, row.revision, row.state)
	seq, err := res.LastInsertId()
	if err != nil || row.state != approval.Pending {
		return err
	}
	for _, c := range p.change.Insert.Caps {
		if _, err := s.stmt.party.Exec(c.Party, seq); err != nil {
			return err
		}
	}
	return nil
}

// nullable makes an empty value NULL.
func nullable(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

// update writes the next state of a request that still has the revision it was judged at.
func (s *Store) update(p *pending) error {
	u := p.change.Update
	var row requestRow
	err := row.scan(s.stmt.request.QueryRow(string(u.Request.ID)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		p.result = gate.ErrNotFound
		return nil
	}
	if err != nil {
		return err
	}
	// What the new row takes over from the old one must be the store's own, and what it wrote last.
	if p.result = row.check(s.ring); p.result == nil {
		p.result = s.live.check(&row)
	}
	if p.result != nil {
		return nil
	}
	if uint64(row.revision) != u.Revision {
		p.result = gate.ErrConflict
		return nil
	}
	row.become(s.ring, u.Request.State, p.update.due, p.update.body)
	s.live.note(row.id, row.revision, row.state)
	if err := row.write(s.stmt.update); err != nil || row.state == approval.Pending {
		return err
	}
	_, err = s.stmt.noParty.Exec(row.seq)
	return err
}
