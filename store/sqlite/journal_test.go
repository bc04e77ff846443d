package sqlite

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/gate"
)

// cutOff returns the folders of a store as a crash leaves them: n events were acknowledged, one by one, and only
// the journal holds them.
func cutOff(t *testing.T, n int) folders {
	t.Helper()
	f := newFolders(t)
	o := f.options()
	o.storeAfter = time.Hour
	s := openTest(t, o)
	for i := range n {
		commit(t, s, numbered(i))
	}
	return f.copied(t)
}

// copied copies the folders as they are at this moment.
func (f folders) copied(t *testing.T) folders {
	t.Helper()
	root := t.TempDir()
	c := folders{filepath.Join(root, "data"), filepath.Join(root, "keys"), filepath.Join(root, "checkpoints")}
	for from, to := range map[string]string{f.data: c.data, f.keys: c.keys, f.kept: c.kept} {
		must(t, os.MkdirAll(to, 0o700))
		files, err := os.ReadDir(from)
		must(t, err)
		for _, file := range files {
			if strings.HasPrefix(file.Name(), indexFile) {
				continue // it is made anew
			}
			data, err := os.ReadFile(filepath.Join(from, file.Name()))
			must(t, err)
			must(t, os.WriteFile(filepath.Join(to, file.Name()), data, 0o600))
		}
	}
	return c
}

func numbered(i int) countersign.Event {
	return event(countersign.ActionIntent, countersign.FieldAction, fmt.Sprintf("act_%d", i))
}

// expectNumbered fails unless the trail holds the first n of those events and no more.
func expectNumbered(t *testing.T, s *Store, n int) {
	t.Helper()
	var found int
	for _, e := range everything(t, s) {
		if e.Type == countersign.ActionIntent {
			found++
		}
	}
	list, err := s.Unfinished(ctx)
	if err != nil || found != n || len(list) != n {
		t.Errorf("%d of the events are in the trail, %d are unfinished, %v; want %d", found, len(list), err, n)
	}
}

// changeJournal changes the journal of a stopped store.
func changeJournal(t *testing.T, f folders, change func(data []byte) []byte) {
	t.Helper()
	path := filepath.Join(f.data, journalFile)
	data, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, change(data), 0o600))
}

func TestJournalAfterCrash(t *testing.T) {
	f := cutOff(t, 9)
	s := openTest(t, f.options())
	expectNumbered(t, s, 9)
	commit(t, s, numbered(9))
	must(t, s.Close())
	verifyAll(t, f)
	s = openTest(t, f.options())
	expectNumbered(t, s, 10)
}

// TestJournalIsReadOffline verifies the folder of a gateway that was killed, without a start in between.
func TestJournalIsReadOffline(t *testing.T) {
	f := cutOff(t, 9)
	if r := verifyAll(t, f); r.Size != 10 { // trail.opened is the first
		t.Errorf("%d events; want 10", r.Size)
	}
	changeJournal(t, f, func(data []byte) []byte { return bytes.Replace(data, []byte("act_4"), []byte("act_5"), 1) })
	o, err := OpenOffline(ctx, f.data)
	if err == nil {
		_ = o.Close() // the test has failed
	}
	if !errors.Is(err, errMissing) {
		t.Errorf("a changed record: %v; want that it is told", err)
	}
}

// TestJournalTorn cuts the last record short, as a crash in the middle of a write does. It was never acknowledged, and
// what was stays.
func TestJournalTorn(t *testing.T) {
	f := cutOff(t, 3)
	changeJournal(t, f, func(data []byte) []byte {
		last := bytes.LastIndex(data, []byte(journalMagic))
		copy(data[last+100:], make([]byte, journalBlock-100))
		return data
	})
	s := openTest(t, f.options())
	expectNumbered(t, s, 2)
	if r := commit(t, s, numbered(2)); r.First != 4 { // after trail.opened, twice
		t.Errorf("the next event has number %d; want 4", r.First)
	}
}

// TestJournalDamaged changes the journal of a store that was cut off, as a bad disk or an insider would. Nothing is
// believed that the store did not record.
func TestJournalDamaged(t *testing.T) {
	// record puts a record, with the sum that it should have, into a block.
	record := func(t *testing.T, f folders, data []byte, block int, change func(r *row)) []byte {
		rows, err := readJournal(bytes.NewReader(data), storeName(t, f))
		must(t, err)
		r := rows[2].clone()
		change(&r)
		copy(data[block*journalBlock:], appendRecord(nil, storeName(t, f), &r))
		return data
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, f folders, data []byte) []byte
		want   string
	}{
		"in the middle": {func(_ *testing.T, _ folders, data []byte) []byte {
			data[journalBlock+journalHead+10]++
			return data
		}, "does not belong to the database"},
		"at the beginning": {func(_ *testing.T, _ folders, data []byte) []byte {
			data[0]++
			return data
		}, "does not belong to the database"},
		"an event exchanged": {func(t *testing.T, f folders, data []byte) []byte {
			return record(t, f, data, 2, func(r *row) { r.entries = bytes.Replace(r.entries, []byte("act_2"), []byte("act_7"), 1) })
		}, "damaged"},
		"an event added": {func(t *testing.T, f folders, data []byte) []byte {
			return record(t, f, data, 3, func(r *row) { r.position++ })
		}, "not as this gateway left it"},
		"another time": {func(t *testing.T, f folders, data []byte) []byte {
			return record(t, f, data, 2, func(r *row) { r.time++ })
		}, "not as this gateway left it"},
		"an intent hidden": {func(t *testing.T, f folders, data []byte) []byte {
			return record(t, f, data, 2, func(r *row) { r.low = r.position + 1 })
		}, "not as this gateway left it"},
	} {
		t.Run(name, func(t *testing.T) {
			f := cutOff(t, 3)
			changeJournal(t, f, func(data []byte) []byte { return c.change(t, f, data) })
			refused(t, f.options(), c.want)
			refused(t, f.options(), c.want) // and stays so
		})
	}
}

// storeName reads the name of a stopped store.
func storeName(t *testing.T, f folders) string {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(f.data, databaseFile))
	must(t, err)
	var name string
	must(t, db.QueryRow(`SELECT value FROM meta WHERE name = 'replica'`).Scan(&name))
	must(t, db.Close())
	return name
}

// TestJournalOfAnotherStore puts the journal of one store beside the database of another.
func TestJournalOfAnotherStore(t *testing.T) {
	f, other := made(t), cutOff(t, 5)
	data, err := os.ReadFile(filepath.Join(other.data, journalFile))
	must(t, err)
	changeJournal(t, f, func([]byte) []byte { return data })
	s := openTest(t, f.options())
	expectNumbered(t, s, 0)
}

// TestJournalAndOlderDatabase puts an older copy of the database under a journal. What lies between is not made up.
func TestJournalAndOlderDatabase(t *testing.T) {
	f := newFolders(t)
	o := f.options()
	o.storeAfter = time.Hour
	s := openTest(t, o)
	old := f.copied(t)
	commit(t, s, numbered(0))
	must(t, s.storeNow(ctx))
	commit(t, s, numbered(1))
	late := f.copied(t)
	for _, name := range []string{databaseFile, databaseFile + "-wal"} {
		copyFile(t, filepath.Join(old.data, name), filepath.Join(late.data, name))
	}
	refused(t, late.options(), "does not belong to the database")
}

// TestJournalStaysSmall commits more than the journal holds, and restarts.
func TestJournalStaysSmall(t *testing.T) {
	f := newFolders(t)
	o := f.options()
	o.storeAfter = time.Hour
	s := openTest(t, o)
	const n = 2*journalSize/journalBlock + 10
	for i := range n {
		commit(t, s, numbered(i))
	}
	info, err := os.Stat(filepath.Join(f.data, journalFile))
	if err != nil || info.Size() != journalSize {
		t.Errorf("the journal has %d bytes, %v; want %d", info.Size(), err, journalSize)
	}
	s = openTest(t, f.copied(t).options())
	expectNumbered(t, s, n)
}

// TestJournalCannotBeWritten fails its file, and the disk behind it. A full disk is a refusal of the change, anything else
// ends the store.
func TestJournalCannotBeWritten(t *testing.T) {
	for name, fail := range map[string]func(t *testing.T, j *journal){
		"written": func(t *testing.T, j *journal) {
			f, err := os.Open(j.file.Name()) // for reading only
			must(t, err)
			must(t, j.file.Close())
			j.file = f
		},
		"synced": func(_ *testing.T, j *journal) { j.sync = func(int) error { return syscall.EIO } },
	} {
		f := newFolders(t)
		o := f.options()
		o.storeAfter = time.Hour
		fatal := make(chan error, 1)
		o.Fatal = func(err error) { fatal <- err }
		s := openTest(t, o)
		commit(t, s, numbered(0))
		fail(t, s.journal) // the writer is idle
		if _, err := tryCommit(s, gate.Change{Events: []countersign.Event{numbered(1)}}); !errors.Is(err, gate.ErrClosed) {
			t.Errorf("not %s: %v; want ErrClosed", name, err)
		}
		select {
		case <-fatal:
		case <-time.After(10 * time.Second):
			t.Errorf("not %s: Fatal was not called", name)
		}
	}
	for _, err := range []error{errors.Join(errSync, syscall.ENOSPC), errors.Join(errSync, syscall.EIO), syscall.EIO} {
		if what, _ := judge(err); what != outcomeFatal {
			t.Errorf("%v does not end the store", err)
		}
	}
	if what, told := judge(&os.PathError{Err: syscall.ENOSPC}); what != outcomeRefused || !errors.Is(told, ErrFull) {
		t.Errorf("a full disk: %v", told)
	}
}

func FuzzReadJournal(f *testing.F) {
	r := row{batchRow: batchRow{position: 3, count: 1, mac: make([]byte, rowMAC)}, hashes: []byte("h"), entries: []byte("entries")}
	f.Add(appendRecord(nil, "store", &r))
	f.Add([]byte(journalMagic + strings.Repeat("\xff", 100)))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := readJournal(bytes.NewReader(data), "store")
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			again := appendRecord(nil, "store", &r)
			if !bytes.Contains(data, again) {
				t.Fatalf("%+v is not in the journal", r)
			}
		}
	})
}
