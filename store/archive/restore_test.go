package archive

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/trail"
)

// restore puts an older copy of the data folder back in place of the present one.
func (g *gateway) restore(older string) {
	g.t.Helper()
	if err := os.RemoveAll(g.data); err != nil {
		g.t.Fatal(err)
	}
	if err := os.CopyFS(g.data, os.DirFS(older)); err != nil {
		g.t.Fatal(err)
	}
}

// TestRestoredCopyBeginsANewLog puts an older copy of a store back. The next start notices, begins a new log
// that says what is missing, and the old log's rollback stays provable.
func TestRestoredCopyBeginsANewLog(t *testing.T) {
	g := newGateway(t)
	g.fill(300)
	g.stop()
	older := copyFolder(t, g.data)
	g.start()
	g.fill(200)
	lost := g.checkpoint()
	lostSize := g.Size()
	g.stop()
	g.restore(older)
	g.start()

	if g.Origin() == "example.org/log" || !strings.HasPrefix(g.Origin(), "example.org/log/") {
		t.Fatalf("the log after the restore is named %q", g.Origin())
	}
	first, err := g.Search(ctx, trail.Query{Type: "trail.epoch"})
	if err != nil || len(first) != 1 {
		t.Fatalf("%d events tell of the new log, %v", len(first), err)
	}
	e := first[0]
	if e.Number != 1<<44 {
		t.Errorf("trail.epoch has number %d; want the first of the second log", e.Number)
	}
	if e.Get("old_origin").String() != "example.org/log" || e.Get("old_size").String() != strconv.FormatUint(lostSize, 10) {
		t.Errorf("trail.epoch names %s of %s events; want example.org/log of %d", e.Get("old_origin"), e.Get("old_size"), lostSize)
	}
	// Everything that the copy held can still be found, and new events are recorded.
	old, err := g.Search(ctx, trail.Query{Action: "act_00000000000000000123"})
	if err != nil || len(old) != 1 {
		t.Errorf("an event from before the restore: %d found, %v", len(old), err)
	}
	g.fill(50)
	now := g.checkpoint()
	export := filepath.Join(t.TempDir(), "export")
	if err := g.ExportFolder(ctx, export); err != nil {
		t.Fatal(err)
	}
	if proof, err := g.Prove(ctx, 1<<44+1); err != nil || len(proof) == 0 {
		t.Errorf("prove an event of the second log: %v", err)
	}
	g.stop()
	keys := g.publicKeys()
	if n := strings.Count(string(keys), "\n"); n != 2 {
		t.Errorf("log.pub has %d keys; want one for each log", n)
	}
	for _, path := range []string{g.data, export} {
		r := verified(t, path, now, keys)
		if !r.OK() || !r.Anchored || len(r.Earlier) != 1 || r.Earlier[0].Origin != "example.org/log" {
			t.Errorf("%s against the new log's checkpoint: %q, %d earlier", filepath.Base(path), r.Verdict(), len(r.Earlier))
		}
		r = verified(t, path, lost, keys)
		if r.OK() || len(r.Earlier) != 1 || len(r.Earlier[0].Problems) == 0 || r.Earlier[0].Problems[0].Kind != trail.RolledBack {
			t.Errorf("%s against a checkpoint from before the restore: %q", filepath.Base(path), r.Verdict())
		}
	}
	// A further start finds nothing wrong.
	origin := g.Origin()
	g.start()
	if g.Origin() != origin {
		t.Errorf("a further start began the log %q", g.Origin())
	}
	g.stop()
}

// TestRestoreGoesUnnoticedWithoutCheckpoints shows what the documentation says: the file outside is what
// makes a rollback visible at start.
func TestRestoreGoesUnnoticedWithoutCheckpoints(t *testing.T) {
	g := newGateway(t)
	g.fill(30)
	g.stop()
	older := copyFolder(t, g.data)
	g.start()
	g.fill(20)
	lost := g.checkpoint()
	g.stop()
	g.restore(older)
	if err := os.RemoveAll(g.kept); err != nil {
		t.Fatal(err)
	}
	g.start()
	if g.Origin() != "example.org/log" {
		t.Errorf("the log is named %q", g.Origin())
	}
	opened, err := g.Search(ctx, trail.Query{Type: string(countersign.TrailOpened), Limit: 1})
	if err != nil || len(opened) != 1 || !strings.HasPrefix(opened[0].Get("anchor").String(), "none found") {
		t.Errorf("trail.opened does not say that there was nothing to compare with: %v", err)
	}
	g.stop()
	// Whoever kept a checkpoint elsewhere still finds it.
	r := verified(t, g.data, lost, g.publicKeys())
	if r.OK() {
		t.Errorf("against a checkpoint kept elsewhere: %q", r.Verdict())
	}
}

// TestForkedCopyBeginsANewLog puts back a copy that has grown on its own, so that it is long enough but different.
func TestForkedCopyBeginsANewLog(t *testing.T) {
	g := newGateway(t)
	g.fill(30)
	g.stop()
	older := copyFolder(t, g.data)
	g.start()
	g.fill(10)
	g.stop()
	kept := copyFolder(t, g.kept)
	g.restore(older)
	if err := os.RemoveAll(g.kept); err != nil {
		t.Fatal(err)
	}
	g.start()
	g.fill(200)
	g.stop()
	if err := os.RemoveAll(g.kept); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(g.kept, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	g.start()
	if g.Origin() == "example.org/log" {
		t.Error("a store with another past went on as if nothing had happened")
	}
	g.stop()
}
