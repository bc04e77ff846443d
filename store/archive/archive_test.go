package archive

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
	"github.com/countersign-dev/countersign/store/sqlite"
	"github.com/countersign-dev/countersign/store/tiles"
	"github.com/countersign-dev/countersign/trail"
)

var ctx = context.Background()

var startTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// gateway is a store with its folders, as a gateway leaves them.
type gateway struct {
	t                *testing.T
	data, keys, kept string
	*sqlite.Store
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	dir := t.TempDir()
	g := &gateway{t: t, data: filepath.Join(dir, "data"), keys: filepath.Join(dir, "keys"), kept: filepath.Join(dir, "checkpoints")}
	g.start()
	return g
}

func (g *gateway) start() {
	g.t.Helper()
	s, err := sqlite.Open(sqlite.Options{
		Dir: g.data, KeysDir: g.keys, CheckpointsDir: g.kept, Origin: "example.org/log",
		Notices: func() []string { return []string{"policy_source: unreviewed", "review_auth: token"} },
	})
	if err != nil {
		g.t.Fatal(err)
	}
	g.Store = s
	g.t.Cleanup(func() { _ = s.Close() }) // most tests close it themselves
}

func (g *gateway) stop() {
	g.t.Helper()
	if err := g.Close(); err != nil {
		g.t.Fatal(err)
	}
}

func clean(text string) sanitize.Clean {
	var c sanitize.Clean
	_ = c.UnmarshalText([]byte(text)) // never fails
	return c
}

func (g *gateway) commit(events ...countersign.Event) uint64 {
	g.t.Helper()
	done := make(chan error, 1)
	var first uint64
	err := g.Commit(ctx, gate.Change{Events: events}, func(r gate.Receipt, err error) {
		first = r.First
		done <- err
	})
	if err == nil {
		err = <-done
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return first
}

// fill records n intents, in commits of different sizes, one of them larger than a row holds.
func (g *gateway) fill(n int) {
	g.t.Helper()
	for i := 0; i < n; {
		var events []countersign.Event
		for range min(1+i%37, n-i) {
			text := fmt.Sprintf("DELETE FROM orders WHERE id = %d", i)
			if i == 20 {
				text = strings.Repeat("x", 100_000)
			}
			events = append(events, countersign.Event{Type: countersign.ActionIntent, Fields: []countersign.Field{
				{Name: countersign.FieldAction, Value: clean(fmt.Sprintf("act_%020d", i))},
				{Name: countersign.FieldText, Value: clean(text)},
			}})
			i++
		}
		g.commit(events...)
	}
}

func (g *gateway) publicKeys() []byte {
	g.t.Helper()
	data, err := os.ReadFile(filepath.Join(g.keys, "log.pub"))
	if err != nil {
		g.t.Fatal(err)
	}
	return data
}

func (g *gateway) checkpoint() []byte {
	g.t.Helper()
	signed, err := g.Checkpoint()
	if err != nil {
		g.t.Fatal(err)
	}
	return signed
}

func verified(t *testing.T, path string, since, keys []byte) trail.Report {
	t.Helper()
	r, err := Verify(ctx, path, since, keys)
	if err != nil {
		t.Fatalf("verify %s: %v", filepath.Base(path), err)
	}
	return r
}

func expectVerdict(t *testing.T, r trail.Report, want string) {
	t.Helper()
	if r.Verdict() != want {
		t.Errorf("verdict %q; want %q", r.Verdict(), want)
		for _, p := range r.Problems {
			t.Log(p)
		}
	}
}

func TestVerifyBothForms(t *testing.T) {
	g := newGateway(t)
	g.fill(600)
	early := g.checkpoint()
	g.fill(500)
	late := g.checkpoint()
	export := filepath.Join(t.TempDir(), "export")
	if err := g.ExportFolder(ctx, export); err != nil {
		t.Fatal(err)
	}
	size := g.Size()
	g.stop()
	keys := g.publicKeys()
	for _, path := range []string{g.data, export} {
		expectVerdict(t, verified(t, path, nil, nil), "consistent, not anchored")
		expectVerdict(t, verified(t, path, nil, keys), "consistent, not anchored")
		expectVerdict(t, verified(t, path, late, keys), "consistent, anchored")
		expectVerdict(t, verified(t, path, append(bytes.Clone(early), late...), keys), "consistent, anchored")
		r := verified(t, path, early, keys)
		if !r.OK() || !r.Anchored || r.AnchoredSize >= r.Size || r.Size != size || r.Origin != "example.org/log" {
			t.Errorf("%s against the early checkpoint: %+v", filepath.Base(path), r)
		}
		kept, err := ReadGiven(filepath.Join(g.kept, "checkpoints.log"))
		if err != nil {
			t.Fatal(err)
		}
		expectVerdict(t, verified(t, path, kept, keys), "consistent, anchored")
		if r := verified(t, path, late, newGateway(t).publicKeys()); r.OK() || r.Anchored {
			t.Errorf("%s with another gateway's key: %q", filepath.Base(path), r.Verdict())
		}
	}
	for _, notice := range []string{"\nreview_auth: token\n", "\npolicy_source: unreviewed\n"} {
		if !strings.Contains(string(late), notice) {
			t.Errorf("the checkpoint does not say %q:\n%s", notice, late)
		}
	}
	if _, err := Verify(ctx, t.TempDir(), nil, nil); !errors.Is(err, ErrUnknownForm) {
		t.Errorf("an empty folder: %v", err)
	}
}

// copyFolder copies a folder whole.
func copyFolder(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), filepath.Base(from))
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// flip changes one byte of the file below dir that holds text, inside it.
func flip(t *testing.T, dir, text string) {
	t.Helper()
	done := false
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || done || filepath.Base(path) == "index.db" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		i := bytes.Index(data, []byte(text))
		if i < 0 {
			return nil
		}
		data[i+len(text)/2] ^= 1
		done = true
		return os.WriteFile(path, data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	if !done {
		t.Fatalf("%q is in no file", text)
	}
}

func TestOneByteFlipped(t *testing.T) {
	g := newGateway(t)
	g.fill(400)
	export := filepath.Join(t.TempDir(), "export")
	if err := g.ExportFolder(ctx, export); err != nil {
		t.Fatal(err)
	}
	late := g.checkpoint()
	keys := g.publicKeys()
	g.stop()
	for _, path := range []string{g.data, export} {
		for _, text := range []string{"DELETE FROM orders WHERE id = 333", strings.Repeat("x", 1000)} {
			for _, since := range [][]byte{late, nil} {
				bad := copyFolder(t, path)
				flip(t, bad, text)
				r := verified(t, bad, since, keys)
				if len(r.Problems) != 1 || r.Problems[0].Kind != trail.Changed || r.Problems[0].Type != countersign.ActionIntent {
					t.Errorf("%s, %.20s: %q %v", filepath.Base(path), text, r.Verdict(), r.Problems)
					continue
				}
				want := uint64(334) // the trail.opened event came first
				if text[0] == 'x' {
					want = 21
				}
				if r.Problems[0].Number != want {
					t.Errorf("%s, %.20s: event %d is named; want %d", filepath.Base(path), text, r.Problems[0].Number, want)
				}
			}
		}
	}
}

func TestRowsTampered(t *testing.T) {
	g := newGateway(t)
	g.fill(400)
	late := g.checkpoint()
	keys := g.publicKeys()
	g.stop()
	for name, c := range map[string]struct {
		sql   string
		kind  trail.ProblemKind
		first uint64
	}{
		"a row deleted":      {`DELETE FROM batch WHERE position = (SELECT max(position) FROM batch WHERE position < 200)`, trail.Removed, 0},
		"the end deleted":    {`DELETE FROM batch WHERE position > 200`, trail.RolledBack, 0},
		"a blob deleted":     {`DELETE FROM blob`, trail.Damaged, 21},
		"entries cut":        {`UPDATE batch SET entries = substr(entries, 1, length(entries) - 5) WHERE position = (SELECT max(position) FROM batch)`, trail.Removed, 400},
		"a row's count grew": {`UPDATE batch SET count = count + 1 WHERE position = (SELECT max(position) FROM batch)`, trail.Removed, 401},
		"a huge count":       {`UPDATE batch SET count = 9000000000 WHERE position = (SELECT max(position) FROM batch)`, trail.Removed, 401},
	} {
		t.Run(name, func(t *testing.T) {
			bad := copyFolder(t, g.data)
			db, err := sql.Open("sqlite", filepath.Join(bad, "countersign.db"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec(c.sql); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			r := verified(t, bad, late, keys)
			if r.OK() || r.Problems[0].Kind != c.kind && r.Problems[len(r.Problems)-1].Kind != c.kind {
				t.Fatalf("%q %v", r.Verdict(), r.Problems)
			}
			if c.first != 0 && r.Problems[0].Number != c.first {
				t.Errorf("event %d is named first; want %d: %v", r.Problems[0].Number, c.first, r.Problems)
			}
			if r.AnchoredSize > r.Problems[0].Number {
				t.Errorf("anchored up to %d, though event %d is wrong", r.AnchoredSize, r.Problems[0].Number)
			}
		})
	}
}

// TestFilesMissing takes each file of an export away in turn: that is always told, and never an accident.
func TestFilesMissing(t *testing.T) {
	g := newGateway(t)
	g.fill(600)
	export := filepath.Join(t.TempDir(), "export")
	if err := g.ExportFolder(ctx, export); err != nil {
		t.Fatal(err)
	}
	late := g.checkpoint()
	g.stop()
	keys := g.publicKeys()
	var files []string
	err := filepath.WalkDir(export, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "README.md" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("the export has only %d files", len(files))
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, with := range map[string][]byte{"deleted": nil, "emptied": {}, "cut": data[:len(data)/2], "grown": append(bytes.Clone(data), 0)} {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if with != nil {
				if err := os.WriteFile(path, with, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if r, err := Verify(ctx, export, late, keys); err == nil && r.OK() {
				t.Errorf("%s %s: %q", strings.TrimPrefix(path, export), name, r.Verdict())
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	expectVerdict(t, verified(t, export, late, keys), "consistent, anchored")
}

// TestExportIsC2SP reads an export with a client of the ecosystem that knows nothing of Countersign.
func TestExportIsC2SP(t *testing.T) {
	g := newGateway(t)
	g.fill(700)
	var archive bytes.Buffer
	if err := g.Export(ctx, &archive); err != nil {
		t.Fatal(err)
	}
	export := filepath.Join(t.TempDir(), "export")
	if err := tiles.Unpack(&archive, export); err != nil {
		t.Fatal(err)
	}
	signed, err := os.ReadFile(filepath.Join(export, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(g.publicKeys())))
	if err != nil {
		t.Fatal(err)
	}
	policy := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy("example.org/log"), torchwood.SingleVerifierPolicy(verifier))
	cp, _, err := torchwood.VerifyCheckpoint(signed, policy)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := torchwood.NewTileFS(os.DirFS(export))
	if err != nil {
		t.Fatal(err)
	}
	client, err := torchwood.NewClient(folder)
	if err != nil {
		t.Fatal(err)
	}
	n := uint64(0)
	for i, leaf := range client.AllEntries(ctx, cp.Tree, 0) {
		if _, err := trail.ParseLeaf(leaf); err != nil || uint64(i) != n {
			t.Fatalf("entry %d: %v", i, err)
		}
		n++
	}
	if err := client.Err(); err != nil || n != g.Size() {
		t.Fatalf("%d of %d entries: %v", n, g.Size(), err)
	}
	// A proof too is the ecosystem's.
	for _, number := range []uint64{0, 21, 700} {
		proof, err := g.Prove(ctx, number)
		if err != nil {
			t.Fatal(err)
		}
		got, err := trail.CheckProof(proof, note.VerifierList(verifier))
		if err != nil || got.Number != number {
			t.Fatalf("the proof of event %d: %v", number, err)
		}
		if err := torchwood.VerifyProof(policy, tlog.RecordHash(got.Entry.Leaf()), proof); err != nil {
			t.Errorf("torchwood on the proof of event %d: %v", number, err)
		}
	}
	if _, err := g.Prove(ctx, g.Size()); err == nil {
		t.Error("an event that is not there was proven")
	}
}

func TestVerifyWhileRunning(t *testing.T) {
	g := newGateway(t)
	g.fill(100)
	early := g.checkpoint()
	g.fill(10)
	r := verified(t, g.data, early, g.publicKeys())
	if !r.OK() || !r.Anchored || r.Size != g.Size() {
		t.Errorf("%q, %d of %d events", r.Verdict(), r.Size, g.Size())
	}
	g.fill(10)
	g.stop()
}

func TestUnpackRefuses(t *testing.T) {
	var archive bytes.Buffer
	sink := tiles.NewTar(&archive, startTime)
	if err := sink.WriteFile("../outside", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := tiles.Unpack(&archive, filepath.Join(dir, "in")); err == nil {
		t.Error("a path that leads out of the folder was taken")
	}
	if _, err := os.Stat(filepath.Join(dir, "outside")); err == nil {
		t.Error("a file was written outside the folder")
	}
	if err := tiles.Unpack(io.LimitReader(&archive, 0), dir); err == nil {
		t.Error("an archive was unpacked into a folder that is not empty")
	}
}
