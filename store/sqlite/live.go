package sqlite

import (
	"context"
	"fmt"

	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/sanitize"
)

// live knows the revision of each request that has not ended. A MAC shows that the store once wrote a row; this shows that
// it is the latest, so that an older row which somebody puts back while the gateway runs changes nothing. The writer owns it.
// Changes are kept only when their transaction is; else they are undone.
type live struct {
	revisions map[string]int64
	undos     []revision
}

type revision struct {
	id     string
	number int64 // 0: there was none
}

// note takes account of a row that is written.
func (l *live) note(id string, number int64, state approval.State) {
	l.undos = append(l.undos, revision{id, l.revisions[id]})
	if ended(state) {
		delete(l.revisions, id)
		return
	}
	l.revisions[id] = number
}

// check fails if a row says that its request may still change, and it is not the last one written of it.
func (l *live) check(r *requestRow) error {
	if known := l.revisions[r.id]; known != 0 && r.revision == known || known == 0 && ended(r.state) {
		return nil
	}
	return fmt.Errorf("request %s is not the last that was written of it: %w", sanitize.Name(r.id), ErrAltered)
}

// keep makes everything noted final.
func (l *live) keep() { l.undos = l.undos[:0] }

// undo forgets everything noted since keep.
func (l *live) undo() {
	for i := len(l.undos) - 1; i >= 0; i-- {
		if u := l.undos[i]; u.number == 0 {
			delete(l.revisions, u.id)
		} else {
			l.revisions[u.id] = u.number
		}
	}
	l.keep()
}

// load reads the requests that have not ended, once a start has compared them with the trail.
func (l *live) load(ctx context.Context, db querier) error {
	rows, err := db.QueryContext(ctx, `SELECT id, revision FROM request WHERE state IN (?, ?, ?, ?)`,
		string(approval.Pending), string(approval.Approved), string(approval.Claimed), string(approval.Uncommitted))
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // its error is rows.Err's
	l.revisions = map[string]int64{}
	for rows.Next() {
		var r revision
		if err := rows.Scan(&r.id, &r.number); err != nil {
			return err
		}
		l.revisions[r.id] = r.number
	}
	return rows.Err()
}
