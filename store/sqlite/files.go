package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	databaseFile = "countersign.db"
	indexFile    = "index.db"
	lockFile     = "lock"
)

// lockFolder takes the lock that one process at a time holds on a data folder.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, refuse("the user that runs the gateway must be able to write there", err, "cannot lock the data folder %s", dir)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, refuse("stop the other gateway first; one process at a time may use an embedded store", nil,
				"the data folder %s is in use by another process", dir)
		}
		return nil, refuse("the data folder must be on a local file system that has locks", err, "cannot lock the data folder %s", dir)
	}
	return f, nil
}

// inspect looks at the head of a database file without opening it as a database. It reports whether
// there is one, and refuses what is not ours.
func inspect(path string) (exists bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, refuse("the user that runs the gateway must be able to read it", err, "cannot open %s", path)
	}
	defer func() { _ = f.Close() }() // only read
	var head [100]byte
	n, err := io.ReadFull(f, head[:])
	if n == 0 && errors.Is(err, io.EOF) {
		return false, nil
	}
	foreign := refuse("give another data_dir, or move the file away", nil, "%s is not a database of Countersign", path)
	if err != nil || string(head[:16]) != "SQLite format 3\x00" {
		return true, foreign
	}
	if binary.BigEndian.Uint32(head[68:]) != applicationID {
		return true, foreign
	}
	if v := binary.BigEndian.Uint32(head[60:]); v != schemaVersion {
		return true, refuse("use the version of Countersign that wrote it, or a later one", nil,
			"%s has schema version %d; this build knows %d", path, v, schemaVersion)
	}
	return true, nil
}

// files remembers which files the database was opened from, to notice that they were deleted or replaced.
type files struct {
	paths []string
	infos []os.FileInfo
}

// movedError: the database's files are no longer those that are open.
type movedError struct{ path string }

func (e *movedError) Error() string {
	return fmt.Sprintf("%s was deleted or replaced while the gateway used it: nothing more is accepted; "+
		"the files can be copied from /proc/%d/fd while this process lives, and a restart will tell what is in place now",
		e.path, os.Getpid())
}

// watchFiles notes the files at the given paths.
func watchFiles(paths ...string) (*files, error) {
	w := &files{paths: paths}
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		w.infos = append(w.infos, info)
	}
	return w, nil
}

// check reports the first file that is no longer in its place.
func (w *files) check() error {
	if w == nil {
		return nil
	}
	for i, p := range w.paths {
		info, err := os.Stat(p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err != nil || !os.SameFile(info, w.infos[i]) {
			return &movedError{p}
		}
	}
	return nil
}
