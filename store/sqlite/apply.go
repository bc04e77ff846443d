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
		_, fault = s.stmt.document.Exec(documentPolicy, int64(active.PolicyRevision), active.Policy)
		wrote = true
	}
	if c.Directory != nil && fault == nil {
		active.DirectoryRevision++
		active.Directory = append([]byte{}, c.Directory...)
		_, fault = s.stmt.document.Exec(documentDirectory, int64(active.DirectoryRevision), active.Directory)
		wrote = true
	}
	return wrote, fault
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
	row, record := p.insert, &p.change.Insert.Record
	var found int
	if err := s.stmt.exists.QueryRow(string(record.Request.ID), row.joinMAC).Scan(&found); err != nil {
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
	res, err := s.stmt.insert.Exec(string(record.Request.ID), string(record.Request.State), row.due, row.body, row.view,
		row.transaction, row.sealingKey, nullable(row.nonce), nullable(row.joinMAC))
	if err != nil {
		return err
	}
	seq, err := res.LastInsertId()
	if err != nil || !row.wantsParty {
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
	var seq, revision int64
	err := s.stmt.revision.QueryRow(string(u.Request.ID)).Scan(&seq, &revision)
	if errors.Is(err, sql.ErrNoRows) {
		p.result = gate.ErrNotFound
		return nil
	}
	if err != nil {
		return err
	}
	if uint64(revision) != u.Revision {
		p.result = gate.ErrConflict
		return nil
	}
	st := u.Request.State
	if _, err := s.stmt.update.Exec(string(st), p.update.due, p.update.body, ended(st), ended(st), open(st), seq); err != nil {
		return err
	}
	if st == approval.Pending {
		return nil
	}
	_, err = s.stmt.noParty.Exec(seq)
	return err
}
