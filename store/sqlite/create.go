package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/countersign-dev/countersign/store/keys"
)

// openKeys opens the keys, or makes them at the first start, and reports whether this is the first start.
func (s *Store) openKeys(path string) (fresh bool, err error) {
	exists, err := inspect(path)
	if err != nil {
		return false, err
	}
	dir := s.options.KeysDir
	s.ring, err = keys.Open(dir)
	if keys.Unfinished(dir) {
		// A first start was cut short. Unless it got as far as an event, it begins anew.
		used := false
		if exists {
			var fault error
			if used, fault = holdsEvents(path); fault != nil {
				return false, s.explain(path, fault)
			}
		}
		if !used {
			if err := removeDatabase(path); err != nil {
				return false, err
			}
			s.ring, err = keys.Create(dir)
			return true, err
		}
	}
	switch {
	case errors.Is(err, keys.ErrNone) && exists:
		return false, refuse("restore the keys' folder from its backup: without it nothing that the store holds can be trusted or opened", err,
			"the store in %s exists, but its keys are missing", s.options.Dir)
	case errors.Is(err, keys.ErrNone):
		s.ring, err = keys.Create(dir)
		return true, err
	case err != nil:
		return false, refuse("restore the keys' folder from its backup", err, "cannot open the keys in %s", dir)
	case !exists:
		return false, refuse("if the store was lost, restore data_dir from its backup; to begin anew, and have that noticed by everyone who "+
			"knows the old log, move the keys' folder and the checkpoints away", nil,
			"the keys in %s belong to a store, but there is none in %s", dir, s.options.Dir)
	}
	return false, nil
}

// holdsEvents reports whether a database has recorded anything.
func holdsEvents(path string) (bool, error) {
	db, err := openWriter(path)
	if err != nil {
		return false, err
	}
	var rows int
	err = db.QueryRow(`SELECT count(*) FROM (SELECT 1 FROM batch LIMIT 1)`).Scan(&rows)
	return rows > 0, errors.Join(err, db.Close())
}

func removeDatabase(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// create makes a new store. It appears in its place whole, so that a file of that name is always ours.
func (s *Store) create(path string) error {
	origin := s.options.Origin
	if origin == "" {
		origin = "countersign.invalid/" + randomName()
	}
	if _, err := s.ring.VerifierKey(origin); err != nil {
		return refuse("an origin has no spaces and no +", err, "the log cannot be named %q", origin)
	}
	draft := path + ".new"
	if err := removeDatabase(draft); err != nil {
		return err
	}
	f, err := os.OpenFile(draft, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	db, err := openWriter(draft)
	if err != nil {
		return err
	}
	if err := errors.Join(s.writeSchema(db, origin), db.Close()); err != nil {
		return err
	}
	if err := os.Rename(draft, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func (s *Store) writeSchema(db *sql.DB, origin string) error {
	tx, err := db.BeginTx(background(), nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	for _, q := range []string{
		schema,
		fmt.Sprintf("PRAGMA application_id = %d", applicationID),
		fmt.Sprintf("PRAGMA user_version = %d", schemaVersion),
	} {
		if _, err := tx.Exec(q); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(`INSERT INTO log (epoch, origin) VALUES (0, ?)`, origin); err != nil {
		return err
	}
	meta := map[string]string{"replica": randomName()}
	for _, p := range keys.Purposes() {
		meta["key."+p] = s.ring.ID(p)
	}
	for name, value := range meta {
		if _, err := tx.Exec(`INSERT INTO meta (name, value) VALUES (?, ?)`, name, value); err != nil {
			return err
		}
	}
	return tx.Commit()
}
