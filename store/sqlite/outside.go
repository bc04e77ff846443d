package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/countersign-dev/countersign/store/keys"
	"github.com/countersign-dev/countersign/trail"
)

const (
	latestFile  = "checkpoint"
	historyFile = "checkpoints.log"
	// historyEvery is how often a checkpoint is added to the history, at most.
	historyEvery = time.Minute
)

// outside is the folder of checkpoints outside the store: the latest, replaced at least each second while the trail
// grows, and a history that only grows. Against it a rolled-back store is noticed at start.
type outside struct {
	dir     string
	last    *head // what the latest file holds; the goroutine that writes owns it
	history time.Time
}

// readOutside returns the latest checkpoint, and false when there is none. One that this gateway's key
// did not sign is an error.
func (o *outside) read(ring *keys.Ring) (trail.Checkpoint, bool, error) {
	path := filepath.Join(o.dir, latestFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return trail.Checkpoint{}, false, nil
	}
	if err != nil {
		return trail.Checkpoint{}, false, err
	}
	c, err := openOwn(ring, data)
	if err != nil {
		return trail.Checkpoint{}, false, refuse(
			"it belongs to another log or was changed; put the right file back, or, knowing that a rollback then goes unnoticed, move it away", err,
			"the checkpoint %s is not signed by this gateway's log key", path)
	}
	return c, true, nil
}

// openOwn opens a checkpoint that the ring's key signed, under whatever origin it names.
func openOwn(ring *keys.Ring, signed []byte) (trail.Checkpoint, error) {
	c, err := trail.UnverifiedCheckpoint(signed)
	if err != nil {
		return trail.Checkpoint{}, err
	}
	vkey, err := ring.VerifierKey(c.Origin)
	if err != nil {
		return trail.Checkpoint{}, err
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return trail.Checkpoint{}, err
	}
	return trail.OpenCheckpoint(signed, note.VerifierList(v))
}

// writeOutside writes the latest checkpoint when the trail has grown since, and adds it to the history when
// it is time, or when final.
func (s *Store) writeOutside(final bool) error {
	s.mu.Lock()
	signed, h, err := s.checkpoint()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	o := s.outside
	if o.last == h {
		return nil
	}
	if err := replaceFile(filepath.Join(o.dir, latestFile), signed); err != nil {
		return fmt.Errorf("write the checkpoint outside the store: %w", err)
	}
	o.last = h
	if now := s.options.Clock(); final || now.Sub(o.history) >= historyEvery || now.Before(o.history) {
		if err := appendFile(filepath.Join(o.dir, historyFile), append(signed, '\n')); err != nil {
			return fmt.Errorf("add to the history of checkpoints: %w", err)
		}
		o.history = now
	}
	return nil
}

// keepOutside writes checkpoints while the store is open.
func (s *Store) keepOutside() {
	defer s.aside.Done()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	hour := time.NewTicker(time.Hour)
	defer hour.Stop()
	failing := false
	for {
		select {
		case <-s.closing:
			return
		case <-hour.C:
			if err := s.dropSealingKeys(); err != nil {
				s.log.Error("cannot delete old sealing keys", "error", err)
			}
		case <-tick.C:
			if s.failed() != nil {
				continue
			}
			if err := s.files.check(); err != nil {
				_ = s.fault(err) // nobody waits for it; the next change is told
				continue
			}
			err := s.writeOutside(false)
			switch {
			case err != nil && !failing:
				s.log.Error("checkpoints cannot be written outside the store: a rollback would go unnoticed from here on", "error", err)
			case err == nil && failing:
				s.log.Info("checkpoints are written again")
			}
			failing = err != nil
		}
	}
}

// dropSealingKeys deletes the sealing keys of past days that no request needs any more. A day is kept
// past its end, since a nonce may have been sealed under its key and still be on its way into the store.
func (s *Store) dropSealingKeys() error {
	rows, err := s.reader.QueryContext(background(), `SELECT DISTINCT sealing_key FROM request WHERE nonce IS NOT NULL`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // its error is rows.Err's
	needed := map[string]bool{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		needed[name] = true
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return s.ring.DropSealing(s.Now().Add(-24*time.Hour), needed)
}

// replaceFile writes a file whole or not at all, durably.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already when all went well
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func appendFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
