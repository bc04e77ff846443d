package archive_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the insider's

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/gatetest"
	"github.com/countersign-dev/countersign/sanitize"
	"github.com/countersign-dev/countersign/store/archive"
	"github.com/countersign-dev/countersign/trail"
)

// TestInsiderApproves: whoever can write the data folder approves a request in Ben's name while the
// gateway is stopped. The agent gets nothing, and the trail tells of it.
func TestInsiderApproves(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	w := gatetest.New(t, gatetest.Options{Dir: dir})
	s := w.Session(gatetest.Agent("deploy-bot"))
	action := gatetest.Action("DELETE FROM x WHERE id = 1", countersign.Delete)
	if _, err := s.Admit(ctx, action, gate.Hold{Max: 10 * time.Millisecond}); err == nil {
		t.Fatal("a change ran without a signature")
	}
	s.Close(gate.RolledBack, sanitize.Const("the client has gone"))
	w.Close()

	db, err := sql.Open("sqlite", filepath.Join(dir, "data", "countersign.db"))
	if err != nil {
		t.Fatal(err)
	}
	var body []byte
	var r approval.Request
	if err := db.QueryRow(`SELECT body FROM request`).Scan(&body); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatal(err)
	}
	r.State, r.ClaimBy = approval.Approved, r.Deadline
	r.Reviews = append(r.Reviews, approval.Review{
		Person: "ben", Login: "ben@example.org", Verdict: approval.Approve,
		Presence: approval.PresencePasskey, Digest: r.Digest, View: r.View, At: time.Now(),
	})
	if body, err = json.Marshal(r); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`UPDATE request SET state = 'approved', body = ?, due = ?`, body, r.ClaimBy.UnixMicro()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	w = gatetest.New(t, gatetest.Options{Dir: dir})
	s = w.Session(gatetest.Agent("deploy-bot"))
	if _, err := s.Admit(ctx, action, gate.Hold{Max: 10 * time.Millisecond}); err == nil {
		t.Error("what an insider signed has run")
	}
	s.Close(gate.RolledBack, sanitize.Const("the client has gone"))
	told, err := w.Store.Search(ctx, trail.Query{Request: string(r.ID), Type: string(countersign.RequestCancelled)})
	if err != nil || len(told) != 1 {
		t.Errorf("%d events tell that the forged request was ended, %v", len(told), err)
	}
	w.Close()
	kept, err := os.ReadFile(filepath.Join(dir, "checkpoints", "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(filepath.Join(dir, "keys", "log.pub"))
	if err != nil {
		t.Fatal(err)
	}
	report, err := archive.Verify(ctx, filepath.Join(dir, "data"), kept, public)
	if err != nil || !report.OK() || !report.Anchored {
		t.Errorf("the trail after that is %q, %v: %v", report.Verdict(), err, report.Problems)
	}
}
