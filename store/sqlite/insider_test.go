package sqlite

import (
	"bytes"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/trail"
)

// The insider of these tests can write the data folder, and has no keys.

// insider changes the database of a store.
func insider(t *testing.T, f folders, query string, args ...any) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(f.data, databaseFile))
	must(t, err)
	res, err := db.Exec(query, args...)
	must(t, err)
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		t.Fatalf("the insider changed nothing: %v", err)
	}
	must(t, db.Close())
}

// raw is the last row of the table batch.
type raw struct {
	position, count, time int64
	hashes, entries       []byte
}

func lastBatch(t *testing.T, f folders) raw {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(f.data, databaseFile))
	must(t, err)
	var r raw
	must(t, db.QueryRow(`SELECT position, count, time, hashes, entries FROM batch ORDER BY position DESC LIMIT 1`).
		Scan(&r.position, &r.count, &r.time, &r.hashes, &r.entries))
	must(t, db.Close())
	return r
}

// forge makes the row of one event that follows a store's last, all hashes as they should be.
func forge(t *testing.T, f folders, ev countersign.Event) (position int64, entries, hashes []byte) {
	t.Helper()
	o, err := OpenOffline(ctx, f.data)
	must(t, err)
	l := o.logs[0]
	tree, err := trail.LoadTree(l.size, l)
	must(t, err)
	must(t, o.Close())
	var random [8]byte
	_, _ = rand.Read(random[:])
	now := time.Now()
	e, err := trail.NewEntry(ev, trail.NewID(now, random), now, rand.Reader)
	must(t, err)
	stored, err := e.AppendBinary(nil)
	must(t, err)
	entries, _, _ = trail.AppendListed(nil, stored)
	for _, h := range tree.Append(e.Hash(), nil) {
		hashes = append(hashes, h[:]...)
	}
	return int64(l.size), entries, hashes
}

// TestAlteredTrailIsNotSigned alters the trail while no gateway runs, beyond what can be told from the
// hashes: the store stays shut, and says where.
func TestAlteredTrailIsNotSigned(t *testing.T) {
	for name, alter := range map[string]func(t *testing.T, f folders) (want string){
		"an event was appended": func(t *testing.T, f folders) string {
			position, entries, hashes := forge(t, f, event(countersign.PolicyLoaded))
			insider(t, f, `INSERT INTO batch (position, count, time, low, policy, directory, mac, hashes, entries)
				SELECT ?, 1, time, ?, policy, directory, mac, ?, ? FROM batch ORDER BY position DESC LIMIT 1`, position, position+1, hashes, entries)
			return "event 2"
		},
		"the last event was exchanged": func(t *testing.T, f folders) string {
			r := lastBatch(t, f)
			insider(t, f, `DELETE FROM batch WHERE position = ?`, r.position)
			must(t, os.Remove(filepath.Join(f.data, journalFile))) // it would bring the event back
			_, entries, hashes := forge(t, f, event(countersign.PolicyRefused))
			insider(t, f, `INSERT INTO batch (position, count, time, low, policy, directory, mac, hashes, entries)
				SELECT ?, 1, ?, ?, policy, directory, mac, ?, ? FROM batch ORDER BY position DESC LIMIT 1`,
				r.position, r.time, r.position+1, hashes, entries)
			return "event 1"
		},
		"a value was erased": func(t *testing.T, f folders) string {
			r := lastBatch(t, f)
			first, rest, err := trail.CutListed(r.entries)
			must(t, err)
			e, err := trail.ParseEntry(first.Raw)
			must(t, err)
			e.Fields[0] = trail.Field{Erased: true, Commitment: e.Fields[0].Commit()}
			stored, err := e.AppendBinary(nil)
			must(t, err)
			listing, _, _ := trail.AppendListed(nil, stored)
			insider(t, f, `UPDATE batch SET entries = ? WHERE position = ?`, append(listing, rest...), r.position)
			return "event 1 lacks a value"
		},
		"an intent without an outcome was hidden": func(t *testing.T, f folders) string {
			insider(t, f, `UPDATE batch SET low = 2 WHERE position = 1`)
			return "event 1"
		},
		"the time was changed": func(t *testing.T, f folders) string {
			insider(t, f, `UPDATE batch SET time = time - 1000000 WHERE position = 1`)
			return "event 1"
		},
		"a log was added": func(t *testing.T, f folders) string {
			insider(t, f, `INSERT INTO log (epoch, origin) VALUES (1, 'example.org/other')`)
			return "has no event"
		},
		"the log was named anew": func(t *testing.T, f folders) string {
			insider(t, f, `UPDATE log SET origin = 'example.org/other'`)
			return "event 0"
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFolders(t)
			s := openTest(t, f.options())
			commit(t, s, event(countersign.ActionIntent, countersign.FieldAction, "act_1"))
			must(t, s.Close())
			refused(t, f.options(), alter(t, f))
			refused(t, f.options(), "not as this gateway left it") // and stays so
		})
	}
}

// TestAlteredDocumentIsNotActive alters the active policy, takes it away, and puts an older one back.
func TestAlteredDocumentIsNotActive(t *testing.T) {
	for name, alter := range map[string]func(t *testing.T, f folders, old []byte){
		"edited": func(t *testing.T, f folders, _ []byte) {
			insider(t, f, `UPDATE document SET value = x'616c' WHERE name = 'policy'`)
		},
		"removed": func(t *testing.T, f folders, _ []byte) { insider(t, f, `DELETE FROM document WHERE name = 'policy'`) },
		"put back": func(t *testing.T, f folders, old []byte) {
			insider(t, f, `UPDATE document SET value = x'6669727374', revision = 1, mac = ? WHERE name = 'policy'`, old)
		},
		"exchanged": func(t *testing.T, f folders, _ []byte) {
			insider(t, f, `UPDATE document SET (value, revision, mac) =
				(SELECT value, revision, mac FROM document WHERE name = 'directory') WHERE name = 'policy'`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFolders(t)
			s := openTest(t, f.options())
			for _, p := range []string{"first", "second"} {
				_, err := tryCommit(s, gate.Change{Policy: []byte(p), Directory: []byte(p), Events: []countersign.Event{event(countersign.PolicyLoaded)}})
				must(t, err)
			}
			old := sealDocument(s.ring, documentPolicy, 1, []byte("first"))
			must(t, s.Close())
			s = openTest(t, f.options()) // as it is, it opens
			must(t, s.Close())
			alter(t, f, old)
			refused(t, f.options(), "the active policy")
		})
	}
}

// signed inserts a request and approves it.
func signed(t *testing.T, s *Store, id string) {
	t.Helper()
	_, err := tryCommit(s, insert(s, id))
	must(t, err)
	r, err := s.Request(ctx, countersign.RequestID(id))
	must(t, err)
	r.Request.ClaimBy = s.Now().Add(time.Hour)
	_, err = tryCommit(s, approve(r))
	must(t, err)
}

// expectEnded expects that a start ended a request, with an event that names it.
func expectEnded(t *testing.T, s *Store, id string, state approval.State, typ countersign.EventType) gate.Record {
	t.Helper()
	r, err := s.Request(ctx, countersign.RequestID(id))
	if err != nil || r.Request.State != state {
		t.Errorf("request %s after the start: %s, %v; want it %s", id, r.Request.State, err, state)
	}
	list, err := s.Search(ctx, trail.Query{Request: id, Type: string(typ)})
	if err != nil || len(list) != 1 || !strings.Contains(list[0].Get(countersign.FieldReason).String(), "altered") {
		t.Errorf("%d events say that request %s was ended, %v", len(list), id, err)
	}
	if _, err := s.Joinable(ctx, []byte("the canonical action of "+id)); !errors.Is(err, gate.ErrNotFound) {
		t.Errorf("request %s can still be joined: %v", id, err)
	}
	return r
}

// TestForgedRequestIsRefused: an insider approves a request in a reviewer's name. While the gateway runs the
// row is refused wherever it is read; a start ends the request, and believes nothing of the row.
func TestForgedRequestIsRefused(t *testing.T) {
	f := newFolders(t)
	s := openTest(t, f.options())
	_, err := tryCommit(s, insert(s, "req_1"))
	must(t, err)
	r, err := s.Request(ctx, "req_1")
	must(t, err)
	forged := r.Request
	forged.State, forged.ClaimBy = approval.Approved, forged.Deadline
	forged.Reviews = []approval.Review{{Person: "reviewer-1", Verdict: approval.Approve}}
	body, err := json.Marshal(forged)
	must(t, err)
	insider(t, f, `UPDATE request SET state = 'approved', body = ?`, body)
	_, byID := s.Request(ctx, "req_1")
	_, joined := s.Joinable(ctx, []byte("the canonical action of req_1"))
	_, listed := s.Requests(ctx, gate.Filter{})
	_, updated := tryCommit(s, gate.Change{Update: &gate.Update{Revision: 1, Request: forged}})
	for how, err := range map[string]error{"Request": byID, "Joinable": joined, "Requests": listed, "Commit": updated} {
		if !errors.Is(err, ErrAltered) || !strings.Contains(err.Error(), "req_1") {
			t.Errorf("%s of a forged row: %v; want ErrAltered that names the request", how, err)
		}
	}
	must(t, s.Close())
	s = openTest(t, f.options())
	if r := expectEnded(t, s, "req_1", approval.Cancelled, countersign.RequestCancelled); len(r.Request.Reviews) != 0 || r.Nonce != nil {
		t.Errorf("of a forged row is left: %+v", r.Request)
	}
	if _, err := tryCommit(s, insert(s, "req_2")); err != nil {
		t.Errorf("the store does not go on: %v", err)
	}
}

// TestEveryColumnIsBound changes each column of a request alone.
func TestEveryColumnIsBound(t *testing.T) {
	for column, value := range map[string]any{
		"revision": 7, "state": "claimed", "due": 1, "body": []byte("{}"), "view": []byte("{}"), "transaction_name": "t",
		"sealing_key": "2026-01-01", "nonce": []byte("x"), "join_mac": []byte("x"), "mac": bytes.Repeat([]byte{1}, 32),
	} {
		f := newFolders(t)
		s := openTest(t, f.options())
		_, err := tryCommit(s, insert(s, "req_1"))
		must(t, err)
		insider(t, f, `UPDATE request SET `+column+` = ?`, value)
		if _, err := s.Request(ctx, "req_1"); !errors.Is(err, ErrAltered) {
			t.Errorf("with another %s: %v; want ErrAltered", column, err)
		}
		must(t, s.Close())
	}
}

// TestOldRowIsNotBelieved puts rows back that the store itself wrote earlier: a grant that was used, one that was
// withdrawn, a request that was denied. Requests that are as the trail tells stay as they are.
func TestOldRowIsNotBelieved(t *testing.T) {
	f := newFolders(t)
	s := openTest(t, f.options())
	for _, id := range []string{"req_used", "req_revoked", "req_honest"} {
		signed(t, s, id)
	}
	for _, id := range []string{"req_denied", "req_waiting"} {
		_, err := tryCommit(s, insert(s, id))
		must(t, err)
	}
	next := func(id countersign.RequestID, state approval.State, uses []approval.Use, ev countersign.Event) {
		t.Helper()
		r, err := s.Request(ctx, id)
		must(t, err)
		r.Request.State, r.Request.Uses = state, uses
		_, err = tryCommit(s, gate.Change{Update: &gate.Update{Revision: r.Revision, Request: r.Request}, Events: []countersign.Event{ev}})
		must(t, err)
	}
	must(t, s.Close())
	db, err := sql.Open("sqlite", filepath.Join(f.data, databaseFile))
	must(t, err)
	_, err = db.Exec(`CREATE TABLE kept AS SELECT * FROM request`)
	must(t, err)
	must(t, db.Close())

	s = openTest(t, f.options())
	next("req_used", approval.Claimed, []approval.Use{{Action: "act_1", Outcome: approval.Claimed}},
		event(countersign.GrantClaimed, countersign.FieldRequest, "req_used", countersign.FieldAction, "act_1"))
	next("req_revoked", approval.Revoked, nil, event(countersign.GrantRevoked, countersign.FieldRequest, "req_revoked"))
	next("req_denied", approval.Denied, nil, event(countersign.RequestDenied, countersign.FieldRequest, "req_denied"))
	must(t, s.Close())
	insider(t, f, `REPLACE INTO request SELECT * FROM kept`)

	s = openTest(t, f.options())
	expectEnded(t, s, "req_used", approval.Revoked, countersign.GrantRevoked)
	expectEnded(t, s, "req_denied", approval.Cancelled, countersign.RequestCancelled)
	if r, err := s.Request(ctx, "req_revoked"); err != nil || r.Request.State != approval.Revoked {
		t.Errorf("a revoked grant that was put back: %s, %v", r.Request.State, err)
	}
	for id, want := range map[countersign.RequestID]approval.State{"req_honest": approval.Approved, "req_waiting": approval.Pending} {
		if r, err := s.Request(ctx, id); err != nil || r.Request.State != want {
			t.Errorf("the honest request %s: %s, %v; want it %s", id, r.Request.State, err, want)
		}
	}
}

// TestOldRowIsNotTakenWhileRunning puts an older row of the store's own back while the gateway runs: a grant that is
// used up, one that was revoked, and a request of an earlier start.
func TestOldRowIsNotTakenWhileRunning(t *testing.T) {
	f := newFolders(t)
	s := openTest(t, f.options())
	signed(t, s, "req_earlier")
	rows := map[string]requestRow{"req_earlier": rowOf(t, s, "req_earlier")}
	end := func(id string, state approval.State) {
		t.Helper()
		r, err := s.Request(ctx, countersign.RequestID(id))
		must(t, err)
		r.Request.State = state
		_, err = tryCommit(s, gate.Change{Update: &gate.Update{Revision: r.Revision, Request: r.Request}})
		must(t, err)
	}
	end("req_earlier", approval.Revoked)
	must(t, s.Close())
	s = openTest(t, f.options())
	for id, state := range map[string]approval.State{"req_used": approval.Claimed, "req_done": approval.Done, "req_revoked": approval.Revoked} {
		signed(t, s, id)
		rows[id] = rowOf(t, s, id)
		end(id, state)
	}
	for id, row := range rows {
		old := row
		old.seq = rowOf(t, s, id).seq
		must(t, old.write(rawUpdate(t, f)))
		r, err := s.Request(ctx, countersign.RequestID(id))
		if err != nil || r.Request.State != approval.Approved {
			t.Fatalf("%s was not put back: %s, %v", id, r.Request.State, err)
		}
		r.Request.State = approval.Claimed
		_, err = tryCommit(s, gate.Change{Update: &gate.Update{Revision: r.Revision, Request: r.Request}})
		if !errors.Is(err, ErrAltered) {
			t.Errorf("%s, put back, is claimed: %v; want ErrAltered", id, err)
		}
	}
}

// rowOf reads the row of a request.
func rowOf(t *testing.T, s *Store, id string) requestRow {
	t.Helper()
	var row requestRow
	must(t, row.scan(s.reader.QueryRow(requestColumns+`WHERE id = ?`, id).Scan))
	return row
}

// rawUpdate is the statement that writes a row, on a connection of the insider's own.
func rawUpdate(t *testing.T, f folders) *sql.Stmt {
	t.Helper()
	db, err := openWriter(filepath.Join(f.data, databaseFile))
	must(t, err)
	conn, err := db.Conn(ctx)
	must(t, err)
	st, err := prepare(ctx, conn)
	must(t, err)
	t.Cleanup(func() { must(t, errors.Join(st.close(), conn.Close(), db.Close())) })
	return st.update
}

// TestClaimedStaysClaimed: a start leaves a grant alone that is under way, and one whose outcome is recorded.
func TestClaimedStaysClaimed(t *testing.T) {
	f := newFolders(t)
	s := openTest(t, f.options())
	signed(t, s, "req_1")
	step := func(state approval.State, ev countersign.Event) {
		t.Helper()
		r, err := s.Request(ctx, "req_1")
		must(t, err)
		r.Request.State, r.Request.Uses = state, []approval.Use{{Action: "act_1", Outcome: state}}
		_, err = tryCommit(s, gate.Change{Update: &gate.Update{Revision: r.Revision, Request: r.Request}, Events: []countersign.Event{ev}})
		must(t, err)
		must(t, s.Close())
		s = openTest(t, f.options())
		if r, err = s.Request(ctx, "req_1"); err != nil || r.Request.State != state {
			t.Errorf("after a start: %s, %v; want it %s", r.Request.State, err, state)
		}
	}
	step(approval.Claimed, event(countersign.GrantClaimed, countersign.FieldRequest, "req_1", countersign.FieldAction, "act_1"))
	step(approval.Uncommitted, event(countersign.ActionOutcome, countersign.FieldRequest, "req_1", countersign.FieldAction, "act_1",
		countersign.FieldOutcome, string(approval.Uncommitted)))
	step(approval.Done, event(countersign.ActionOutcome, countersign.FieldRequest, "req_1", countersign.FieldAction, "act_1",
		countersign.FieldOutcome, string(approval.Done)))
}

// TestProveNoEvent: that there is no such event is told apart from a fault.
func TestProveNoEvent(t *testing.T) {
	s := openTest(t, newFolders(t).options())
	for _, n := range []uint64{s.Size(), 1 << 43, 1 << positionShift, 1<<64 - 1} {
		if _, err := s.Prove(ctx, n); !errors.Is(err, ErrNoEvent) {
			t.Errorf("Prove(%d): %v; want ErrNoEvent", n, err)
		}
	}
	if _, err := s.Prove(ctx, 0); err != nil {
		t.Errorf("Prove(0): %v", err)
	}
}
