package sqlite

import (
	"crypto/hmac"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
	"github.com/countersign-dev/countersign/store/keys"
)

// Whoever can write the data folder, but not the keys' folder, must not be able to make the gateway sign
// or run anything: each row of state, and the end of the trail after each batch, carry a MAC under a key that the
// data folder does not hold. A MAC shows that the store once wrote a row, not that it is the latest:
// reconcile and checkDocuments see to that.

// ErrAltered: the store holds something that it never wrote, or no longer what it wrote last.
var ErrAltered = errors.New("the store was altered from outside")

// sealing collects what a MAC is made over. Each part is told from the next.
type sealing []byte

func (b *sealing) number(n uint64) { *b = binary.BigEndian.AppendUint64(*b, n) }

func (b *sealing) text(s string) {
	b.number(uint64(len(s)))
	*b = append(*b, s...)
}

// bytes adds bytes, or that there are none.
func (b *sealing) bytes(p []byte) {
	if p == nil {
		*b = append(*b, 0)
		return
	}
	*b = append(*b, 1)
	b.number(uint64(len(p)))
	*b = append(*b, p...)
}

// batchRow is what the MAC of a batch binds besides the tree: where it stands, and what else the store
// held when it was written.
type batchRow struct {
	position, count, time, low int64
	policy, directory          int64 // revisions
	mac                        []byte
}

// seal returns the MAC of a batch after which the log has that root, and so those events.
func (r *batchRow) seal(ring *keys.Ring, origin string, root tlog.Hash) []byte {
	b := make(sealing, 0, 256)
	b.text("batch")
	b.text(origin)
	for _, n := range []int64{r.position, r.count, r.time, r.low, r.policy, r.directory} {
		b.number(uint64(n))
	}
	b = append(b, root[:]...)
	return ring.StoreMAC(b)
}

func (r *batchRow) check(ring *keys.Ring, origin string, root tlog.Hash) error {
	if !hmac.Equal(r.mac, r.seal(ring, origin, root)) {
		return fmt.Errorf("event %d, or one before it: %w", r.position, ErrAltered)
	}
	return nil
}

// sealDocument returns the MAC of a document.
func sealDocument(ring *keys.Ring, name string, revision uint64, value []byte) []byte {
	b := make(sealing, 0, 64+len(value))
	b.text("document")
	b.text(name)
	b.number(revision)
	b.text(string(value))
	return ring.StoreMAC(b)
}

// requestRow is a row of the table request.
type requestRow struct {
	seq         int64
	id          string
	revision    int64
	state       approval.State
	due         sql.NullInt64
	body, view  []byte
	transaction string
	sealingKey  sql.NullString
	nonce       []byte // sealed
	joinMAC     []byte
	mac         []byte
}

// requestColumns reads what scan takes.
const requestColumns = `SELECT seq, id, revision, state, due, body, view, transaction_name, sealing_key, nonce, join_mac, mac FROM request `

func (r *requestRow) scan(scan func(...any) error) error {
	return scan(&r.seq, &r.id, &r.revision, (*string)(&r.state), &r.due, &r.body, &r.view, &r.transaction,
		&r.sealingKey, &r.nonce, &r.joinMAC, &r.mac)
}

// seal sets the MAC of everything that the row says. Its place in the table is not bound: it only orders lists.
func (r *requestRow) seal(ring *keys.Ring) { r.mac = r.computeMAC(ring) }

func (r *requestRow) computeMAC(ring *keys.Ring) []byte {
	b := make(sealing, 0, 256+len(r.body)+len(r.view)+len(r.nonce))
	b.text("request")
	b.text(r.id)
	b.number(uint64(r.revision))
	b.text(string(r.state))
	if r.due.Valid {
		b.text("due")
	}
	b.number(uint64(r.due.Int64))
	b.bytes(r.body)
	b.bytes(r.view)
	b.text(r.transaction)
	if r.sealingKey.Valid {
		b.text("sealed")
	}
	b.text(r.sealingKey.String)
	b.bytes(r.nonce)
	b.bytes(r.joinMAC)
	return ring.StoreMAC(b)
}

// check fails unless the store itself wrote the row.
func (r *requestRow) check(ring *keys.Ring) error {
	if !hmac.Equal(r.mac, r.computeMAC(ring)) {
		return fmt.Errorf("request %s: %w", sanitize.Name(r.id), ErrAltered)
	}
	return nil
}

// become gives the row the next state of its request.
func (r *requestRow) become(ring *keys.Ring, state approval.State, due sql.NullInt64, body []byte) {
	r.revision++
	r.state, r.due, r.body = state, due, body
	if ended(state) {
		r.sealingKey, r.nonce = sql.NullString{}, nil
	}
	if !open(state) {
		r.joinMAC = nil
	}
	r.seal(ring)
}

// write writes the row over the one at its place.
func (r *requestRow) write(update *sql.Stmt) error {
	_, err := update.Exec(r.id, r.revision, string(r.state), r.due, r.body, r.view, r.transaction,
		r.sealingKey, nullable(r.nonce), nullable(r.joinMAC), r.mac, r.seq)
	return err
}

// record returns what the row says, once it is known to be the store's own.
func (r *requestRow) record(ring *keys.Ring) (gate.Record, error) {
	if err := r.check(ring); err != nil {
		return gate.Record{}, err
	}
	rec := gate.Record{Revision: uint64(r.revision), Transaction: r.transaction}
	if err := errors.Join(json.Unmarshal(r.body, &rec.Request), json.Unmarshal(r.view, &rec.View)); err != nil {
		return gate.Record{}, fmt.Errorf("decode a request: %w", err)
	}
	if r.nonce == nil {
		return rec, nil
	}
	plain, err := ring.Unseal(r.sealingKey.String, r.nonce, bound(rec.Request))
	if err != nil {
		return gate.Record{}, fmt.Errorf("request %s: open its nonce: %w", rec.Request.ID, err)
	}
	rec.Nonce = plain
	return rec, nil
}
