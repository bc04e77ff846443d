package sqlite

import (
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/store/keys"
	"github.com/countersign-dev/countersign/trail"
)

// databaseError is a fault as the database driver reports it.
type databaseError int

func (e databaseError) Error() string { return fmt.Sprintf("database error %d", int(e)) }
func (e databaseError) Code() int     { return int(e) }

// folders are the folders of a store under test.
type folders struct{ data, keys, kept string }

func newFolders(t testing.TB) folders {
	t.Helper()
	dir := t.TempDir()
	return folders{filepath.Join(dir, "data"), filepath.Join(dir, "keys"), filepath.Join(dir, "checkpoints")}
}

func (f folders) options() Options { return Options{Dir: f.data, KeysDir: f.keys} }

// made makes the folders' store, with one event of a test, and closes it.
func made(t *testing.T) folders {
	t.Helper()
	f := newFolders(t)
	s := openTest(t, f.options())
	commit(t, s, event(countersign.PolicyLoaded))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return f
}

// refused fails unless the store does not open, with a hint, in words that hold want.
func refused(t *testing.T, o Options, want string) {
	t.Helper()
	s, err := Open(o)
	if err == nil {
		t.Errorf("the store opened; want a refusal that says %q", want)
		_ = s.Close() // the test has failed
		return
	}
	var r *Refusal
	if !errors.As(err, &r) || r.Hint == "" {
		t.Errorf("%v: without a hint", err)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("%v; want it to say %q", err, want)
	}
}

// verifyAll verifies the whole trail of a store from its bodies.
func verifyAll(t *testing.T, f folders) trail.Report {
	t.Helper()
	o, err := OpenOffline(ctx, f.data)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}()
	kept, err := os.ReadFile(filepath.Join(f.kept, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(filepath.Join(f.keys, "log.pub"))
	if err != nil {
		t.Fatal(err)
	}
	known, err := keys.ParseVerifiers(public)
	if err != nil {
		t.Fatal(err)
	}
	r, err := trail.Verify(o.Logs()[0], trail.Options{Checkpoints: [][]byte{kept}, Verifiers: known})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() || !r.Anchored {
		t.Errorf("the trail is %q: %v", r.Verdict(), r.Problems)
	}
	return r
}

// TestDiskFull fills the database up to a limit that SQLite enforces like a full disk. Changes are
// refused, nothing of them stays, and with room again the store goes on.
func TestDiskFull(t *testing.T) {
	f := newFolders(t)
	o := f.options()
	o.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	var s *Store
	var limit atomic.Int64
	o.fault = func(step string) error {
		// The writer's own goroutine is the one that may use its connection.
		if n := limit.Swap(0); step == "begin" && n != 0 {
			_, err := s.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA max_page_count = %d", n))
			return err
		}
		return nil
	}
	s = openTest(t, o)
	large := event(countersign.ActionIntent, countersign.FieldAction, "act_1", countersign.FieldText, strings.Repeat("x", 20_000))
	commit(t, s, large)
	limit.Store(1) // no fewer than there are
	refusals := 0
	for range 40 {
		if _, err := tryCommit(s, gate.Change{Events: []countersign.Event{large}}); err != nil {
			if !errors.Is(err, ErrFull) {
				t.Fatalf("on a full disk: %v; want ErrFull", err)
			}
			refusals++
		}
	}
	if refusals < 30 {
		t.Fatalf("%d changes were refused; the disk was not full", refusals)
	}
	if _, err := s.Request(ctx, "req_none"); !errors.Is(err, gate.ErrNotFound) {
		t.Errorf("reading on a full disk: %v", err)
	}
	limit.Store(1 << 30)
	size := s.Size()
	if r := commit(t, s, large); r.First != size {
		t.Errorf("with room again event %d is recorded; want %d", r.First, size)
	}
	must(t, s.Close())
	if r := verifyAll(t, f); r.Size != size+1 {
		t.Errorf("%d events; want %d", r.Size, size+1)
	}
}

// TestFatalFault lets the disk fail where nobody can know what was written. The process is told to end, and nothing
// is acknowledged any more.
func TestFatalFault(t *testing.T) {
	for _, code := range []int{sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_CORRUPT} {
		for _, step := range []string{"begin", "commit", "committed"} {
			f := newFolders(t)
			o := f.options()
			var armed atomic.Bool
			fatal := make(chan error, 10)
			o.Fatal = func(err error) { fatal <- err }
			o.fault = func(at string) error {
				if armed.Load() && at == step {
					return databaseError(code)
				}
				return nil
			}
			s := openTest(t, o)
			armed.Store(true)
			if _, err := tryCommit(s, gate.Change{Events: []countersign.Event{event(countersign.PolicyLoaded)}}); !errors.Is(err, gate.ErrClosed) {
				t.Errorf("code %d at %s: %v; want ErrClosed", code, step, err)
			}
			select {
			case err := <-fatal:
				if !strings.Contains(err.Error(), fmt.Sprint(code)) {
					t.Errorf("fatal: %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("code %d at %s: Fatal was not called", code, step)
			}
			armed.Store(false)
			if _, err := tryCommit(s, gate.Change{}); !errors.Is(err, gate.ErrClosed) {
				t.Errorf("a change after that: %v; want ErrClosed", err)
			}
			if _, err := s.Active(ctx); !errors.Is(err, gate.ErrClosed) {
				t.Errorf("reading after that: %v; want ErrClosed", err)
			}
			if len(fatal) != 0 {
				t.Error("Fatal was called twice")
			}
			_ = s.Close() // what it says after a fault is of no use
			// A new start reads the truth.
			openTest(t, f.options())
		}
	}
}

// TestRefusedFaults lets the disk be full at random steps while many write. What was acknowledged is
// there, what was refused is not, and the trail is whole.
func TestRefusedFaults(t *testing.T) {
	f := newFolders(t)
	o := f.options()
	o.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	var steps, opened atomic.Int64
	o.fault = func(at string) error {
		if opened.Load() == 0 || at == "committed" {
			return nil
		}
		switch steps.Add(1) % 7 {
		case 3:
			return databaseError(sqlite3.SQLITE_FULL)
		case 5:
			return databaseError(sqlite3.SQLITE_READONLY)
		}
		return nil
	}
	s := openTest(t, o)
	opened.Store(1)
	var mu sync.Mutex
	acknowledged, refusals := map[string]uint64{}, map[string]bool{}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 60 {
				action := fmt.Sprintf("act_%d_%d", w, i)
				r, err := tryCommit(s, gate.Change{Events: []countersign.Event{event(countersign.ActionIntent, countersign.FieldAction, action)}})
				mu.Lock()
				switch {
				case err == nil:
					acknowledged[action] = r.First
				case errors.Is(err, ErrFull), errors.Is(err, ErrReadOnly):
					refusals[action] = true
				default:
					t.Errorf("commit: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(refusals) == 0 || len(acknowledged) == 0 {
		t.Fatalf("%d acknowledged, %d refused: the faults did not reach", len(acknowledged), len(refusals))
	}
	opened.Store(0)
	found := 0
	for _, e := range everything(t, s) {
		action := e.Get(countersign.FieldAction).String()
		if refusals[action] {
			t.Errorf("%s was refused, but is in the trail", action)
		}
		if at, ok := acknowledged[action]; ok {
			found++
			if at != e.Number {
				t.Errorf("%s was acknowledged as event %d and is event %d", action, at, e.Number)
			}
		}
	}
	if found != len(acknowledged) {
		t.Errorf("%d of %d acknowledged events are in the trail", found, len(acknowledged))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	verifyAll(t, f)
	s = openTest(t, f.options())
	list, err := s.Unfinished(ctx)
	if err != nil || len(list) != len(acknowledged) {
		t.Errorf("%d intents are unfinished, %v; want %d", len(list), err, len(acknowledged))
	}
}

// TestRefusedOutcome refuses the outcome of an action. Its intent stays unfinished, whatever is recorded after it.
func TestRefusedOutcome(t *testing.T) {
	f := newFolders(t)
	o := f.options()
	var full atomic.Bool
	o.fault = func(step string) error {
		if step == "commit" && full.Load() {
			return databaseError(sqlite3.SQLITE_FULL)
		}
		return nil
	}
	s := openTest(t, o)
	commit(t, s, event(countersign.ActionIntent, countersign.FieldAction, "act_1"))
	full.Store(true)
	c := gate.Change{Events: []countersign.Event{event(countersign.ActionOutcome, countersign.FieldAction, "act_1")}}
	if _, err := tryCommit(s, c); !errors.Is(err, ErrFull) {
		t.Fatalf("%v; want ErrFull", err)
	}
	full.Store(false)
	commit(t, s, event(countersign.PolicyLoaded))
	must(t, s.Close())
	s = openTest(t, f.options())
	list, err := s.Unfinished(ctx)
	if err != nil || len(list) != 1 || list[0].Action != "act_1" {
		t.Errorf("unfinished: %v, %v; want act_1", list, err)
	}
}

// TestFilesTakenAway deletes or replaces the files of a running store. Nothing is acknowledged any more, and the
// process is not ended, since only it can still reach them.
func TestFilesTakenAway(t *testing.T) {
	for name, take := range map[string]func(t *testing.T, path string){
		"deleted": func(t *testing.T, path string) { must(t, os.Remove(path)) },
		"all deleted": func(t *testing.T, path string) {
			must(t, errors.Join(os.Remove(path), os.Remove(path+"-wal"), os.Remove(path+"-shm")))
		},
		"log deleted":     func(t *testing.T, path string) { must(t, os.Remove(path+"-wal")) },
		"journal deleted": func(t *testing.T, path string) { must(t, os.Remove(filepath.Join(filepath.Dir(path), journalFile))) },
		"replaced": func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".old"))
			copyFile(t, path+".old", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFolders(t)
			o := f.options()
			o.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
			s := openTest(t, o)
			commit(t, s, event(countersign.PolicyLoaded))
			take(t, filepath.Join(f.data, databaseFile))
			_, err := tryCommit(s, gate.Change{Events: []countersign.Event{event(countersign.PolicyLoaded)}})
			if !errors.Is(err, gate.ErrClosed) || !strings.Contains(err.Error(), "/proc/") {
				t.Errorf("a change after that: %v; want a refusal that says how to rescue the files", err)
			}
			_ = s.Close() // what it says after a fault is of no use
			if name == "all deleted" {
				refused(t, f.options(), "belong to a store, but there is none")
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	must(t, err)
	out, err := os.Create(to)
	must(t, err)
	_, err = io.Copy(out, in)
	must(t, errors.Join(err, in.Close(), out.Close()))
}

func TestForeignFiles(t *testing.T) {
	for name, c := range map[string]struct {
		write func(t *testing.T, path string)
		want  string
	}{
		"text": {func(t *testing.T, path string) {
			must(t, os.WriteFile(path, []byte(strings.Repeat("not a database ", 100)), 0o600))
		}, "not a database of Countersign"},
		"short": {func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("x"), 0o600)) }, "not a database of Countersign"},
		"another's database": {func(t *testing.T, path string) {
			execute(t, path, `CREATE TABLE theirs (x)`)
		}, "not a database of Countersign"},
		"a later version": {func(t *testing.T, path string) {
			execute(t, path, fmt.Sprintf(`PRAGMA application_id = %d; PRAGMA user_version = %d; CREATE TABLE meta (x)`, applicationID, schemaVersion+1))
		}, "schema version 2"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFolders(t)
			must(t, os.MkdirAll(f.data, 0o700))
			path := filepath.Join(f.data, databaseFile)
			c.write(t, path)
			before, err := os.ReadFile(path)
			must(t, err)
			refused(t, f.options(), c.want)
			after, err := os.ReadFile(path)
			if err != nil || string(after) != string(before) {
				t.Errorf("the file was changed: %v", err)
			}
			if _, err := keys.Open(f.keys); !errors.Is(err, keys.ErrNone) {
				t.Errorf("keys were made for it: %v", err)
			}
		})
	}
}

func execute(t *testing.T, path, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	must(t, err)
	_, err = db.Exec(query)
	must(t, errors.Join(err, db.Close()))
}

func TestDamagedStore(t *testing.T) {
	f := made(t)
	path := filepath.Join(f.data, databaseFile)
	data, err := os.ReadFile(path)
	must(t, err)
	for i := pageSize; i < len(data); i++ {
		data[i] = 0xa5
	}
	must(t, os.WriteFile(path, data, 0o600))
	refused(t, f.options(), "damaged")

	f = made(t)
	execute(t, filepath.Join(f.data, databaseFile), `UPDATE batch SET entries = substr(entries, 1, 20)`)
	refused(t, f.options(), "damaged")

	f = made(t)
	execute(t, filepath.Join(f.data, databaseFile), `UPDATE batch SET hashes = zeroblob(length(hashes)) WHERE position = (SELECT max(position) FROM batch)`)
	refused(t, f.options(), "damaged")
}

func TestSecondProcess(t *testing.T) {
	f := newFolders(t)
	openTest(t, f.options())
	refused(t, f.options(), "in use by another process")
}

func TestKeysAndStoreBelongTogether(t *testing.T) {
	t.Run("keys lost", func(t *testing.T) {
		f := made(t)
		must(t, os.RemoveAll(f.keys))
		refused(t, f.options(), "its keys are missing")
		if _, err := keys.Open(f.keys); !errors.Is(err, keys.ErrNone) {
			t.Errorf("keys were made anew beside an existing store: %v", err)
		}
	})
	for _, name := range []string{"log.key", "join.key", "pseudonym.key"} {
		t.Run(name+" lost", func(t *testing.T) {
			f := made(t)
			must(t, os.Remove(filepath.Join(f.keys, name)))
			refused(t, f.options(), name)
		})
	}
	t.Run("a key that others can read", func(t *testing.T) {
		f := made(t)
		must(t, os.Chmod(filepath.Join(f.keys, "log.key"), 0o640))
		refused(t, f.options(), "chmod 600")
	})
	t.Run("another gateway's keys", func(t *testing.T) {
		f, other := made(t), made(t)
		must(t, os.RemoveAll(f.kept))
		o := f.options()
		o.KeysDir, o.CheckpointsDir = other.keys, f.kept
		refused(t, o, "is not the one that the store")
	})
	t.Run("store lost", func(t *testing.T) {
		f := made(t)
		must(t, os.RemoveAll(f.data))
		refused(t, f.options(), "belong to a store, but there is none")
	})
	t.Run("store emptied", func(t *testing.T) {
		f := made(t)
		must(t, os.Truncate(filepath.Join(f.data, databaseFile), 0))
		refused(t, f.options(), "belong to a store, but there is none")
	})
	t.Run("keys inside the data folder", func(t *testing.T) {
		f := newFolders(t)
		o := f.options()
		o.KeysDir, o.CheckpointsDir = filepath.Join(f.data, "keys"), f.kept
		refused(t, o, "inside data_dir")
	})
	t.Run("checkpoints inside the data folder", func(t *testing.T) {
		f := newFolders(t)
		o := f.options()
		o.CheckpointsDir = filepath.Join(f.data, "checkpoints")
		refused(t, o, "inside data_dir")
	})
	t.Run("checkpoint of another gateway", func(t *testing.T) {
		f, other := made(t), made(t)
		copyFile(t, filepath.Join(other.kept, "checkpoint"), filepath.Join(f.kept, "checkpoint"))
		refused(t, f.options(), "is not signed by this gateway's log key")
	})
	t.Run("checkpoint damaged", func(t *testing.T) {
		f := made(t)
		must(t, os.WriteFile(filepath.Join(f.kept, "checkpoint"), []byte("garbage"), 0o600))
		refused(t, f.options(), "is not signed by this gateway's log key")
	})
	t.Run("sealing key lost", func(t *testing.T) {
		f := newFolders(t)
		s := openTest(t, f.options())
		if _, err := tryCommit(s, insert(s, "req_1")); err != nil {
			t.Fatal(err)
		}
		must(t, s.Close())
		must(t, os.RemoveAll(filepath.Join(f.keys, "sealing")))
		refused(t, f.options(), "sealing key")
	})
}

// TestSealingKeysGo follows the daily sealing keys: each is kept while a request needs it, and deleted
// once that has ended and the day after has passed.
func TestSealingKeysGo(t *testing.T) {
	f := newFolders(t)
	o := f.options()
	now := time.Date(2026, 3, 1, 23, 0, 0, 0, time.UTC)
	o.Clock = func() time.Time { return now }
	s := openTest(t, o)
	days := func() string {
		entries, err := os.ReadDir(filepath.Join(f.keys, "sealing"))
		must(t, err)
		var names []string
		for _, e := range entries {
			names = append(names, strings.TrimSuffix(e.Name(), ".key"))
		}
		return strings.Join(names, " ")
	}
	open := func(id string) {
		c := insert(s, id)
		if _, err := tryCommit(s, c); err != nil {
			t.Fatal(err)
		}
	}
	open("req_1")
	now = now.Add(24 * time.Hour)
	open("req_2")
	now = now.Add(48 * time.Hour)
	must(t, s.dropSealingKeys())
	if days() != "2026-03-01 2026-03-02" {
		t.Errorf("keys of %s; want both, since both requests are pending", days())
	}
	r, err := s.Request(ctx, "req_1")
	must(t, err)
	r.Request.State = approval.Expired
	if _, err := tryCommit(s, gate.Change{Update: &gate.Update{Revision: 1, Request: r.Request}}); err != nil {
		t.Fatal(err)
	}
	must(t, s.dropSealingKeys())
	if days() != "2026-03-02" {
		t.Errorf("keys of %s; want 2026-03-02 only", days())
	}
	must(t, s.Close())
	s = openTest(t, o)
	if r, err := s.Request(ctx, "req_2"); err != nil || string(r.Nonce) != "the nonce of req_2" {
		t.Errorf("the nonce of a pending request of another day: %q, %v", r.Nonce, err)
	}
}

// TestReadOnly opens a store whose file, and one whose folder, this user may not write.
func TestReadOnly(t *testing.T) {
	for name, take := range map[string]func(f folders) error{
		"file":   func(f folders) error { return os.Chmod(filepath.Join(f.data, databaseFile), 0o400) },
		"folder": func(f folders) error { return os.Chmod(f.data, 0o500) },
	} {
		f := made(t)
		must(t, take(f))
		t.Cleanup(func() { _ = os.Chmod(f.data, 0o700) }) // so that it can be removed
		out := openAsNobody(t, f)
		if !strings.Contains(out, "the user that runs the gateway must be able to write") {
			t.Errorf("read-only %s: %s", name, out)
		}
	}
}

// openAsNobody opens the folders' store in a process that is not root, and returns what that says.
func openAsNobody(t *testing.T, f folders) string {
	t.Helper()
	root := filepath.Dir(f.data)
	self, err := os.Executable()
	must(t, err)
	binary := filepath.Join(root, "opener")
	copyFile(t, self, binary)
	must(t, os.Chmod(binary, 0o700))
	cmd := exec.Command(binary)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), openFolder+"="+root)
	if os.Getuid() == 0 {
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Chown(path, nobody, nobody))
		}))
		must(t, os.Chmod(filepath.Dir(root), 0o711)) // the test's own folder above
	}
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("the store opened: %s", out)
	}
	return string(out)
}

// TestFirstStartCutShort ends a first start at each step; the next one begins anew.
func TestFirstStartCutShort(t *testing.T) {
	f := newFolders(t)
	if _, err := keys.Create(f.keys); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, f.options())
	must(t, s.Close())

	for _, step := range []string{"begin", "commit"} {
		f = newFolders(t)
		o := f.options()
		o.fault = func(at string) error {
			if at == step {
				return databaseError(sqlite3.SQLITE_FULL)
			}
			return nil
		}
		if s, err := Open(o); err == nil {
			_ = s.Close() // the test has failed
			t.Fatalf("the store opened in spite of a fault at %s", step)
		}
		s = openTest(t, f.options())
		commit(t, s, event(countersign.PolicyLoaded))
		must(t, s.Close())
		verifyAll(t, f)
	}
	// Keys that are settled are never replaced.
	if _, err := keys.Create(f.keys); err == nil {
		t.Error("keys in use were replaced")
	}
}

// TestNothingReadableAtRest looks for a nonce and a canonical action in every file of the store.
func TestNothingReadableAtRest(t *testing.T) {
	f := newFolders(t)
	s := openTest(t, f.options())
	c := insert(s, "req_1")
	if _, err := tryCommit(s, c); err != nil {
		t.Fatal(err)
	}
	look := func() {
		t.Helper()
		for _, dir := range []string{f.data, f.keys, f.kept} {
			entries, err := os.ReadDir(dir)
			must(t, err)
			for _, e := range entries {
				if e.IsDir() {
					continue
				}
				info, gone := e.Info()
				data, err := os.ReadFile(filepath.Join(dir, e.Name()))
				if errors.Is(gone, fs.ErrNotExist) || errors.Is(err, fs.ErrNotExist) {
					continue // the search index's journal comes and goes
				}
				must(t, errors.Join(gone, err))
				for _, secret := range [][]byte{c.Insert.Record.Nonce, c.Insert.Canonical} {
					if strings.Contains(string(data), string(secret)) || strings.Contains(string(data), hex.EncodeToString(secret)) {
						t.Errorf("%s holds %q", e.Name(), secret)
					}
				}
				if filepath.Dir(dir) == f.keys && info.Mode().Perm() != 0o600 {
					t.Errorf("%s has mode %v, %v", e.Name(), info.Mode(), err)
				}
			}
		}
	}
	look()
	must(t, s.Close())
	look()
}
