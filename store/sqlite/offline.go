package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/countersign-dev/countersign/trail"
)

// Offline is the data folder of a gateway, or a copy of one, opened to read the trail only.
type Offline struct {
	db   *sql.DB
	lock *os.File
	logs []*logReader
}

// IsFolder reports whether a folder looks like a gateway's data folder.
func IsFolder(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, databaseFile))
	return err == nil
}

// OpenOffline opens a data folder without changing it. The trail of a gateway that still runs is read
// as it is at this moment.
func OpenOffline(ctx context.Context, dir string) (*Offline, error) {
	setDriver()
	path := filepath.Join(dir, databaseFile)
	found, err := inspect(path)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, refuse("give the data folder, or a folder that countersign trail export has made", nil, "there is no store in %s", dir)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	o := &Offline{}
	params := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(5000)", "query_only(ON)", "cache_size(-8192)"}, "_dqs": {"0"}}
	if o.lock = lockShared(dir); o.lock != nil && !hasLog(path) {
		// Nothing writes and nothing is left in a write-ahead log: SQLite need make no file beside the database.
		params.Set("immutable", "1")
	}
	if o.db, err = sql.Open("sqlite", dataSource(abs, params)); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	o.db.SetMaxOpenConns(4)
	if o.logs, err = o.read(ctx, dir); err != nil {
		return nil, errors.Join(explainOffline(path, err), o.Close())
	}
	if len(o.logs) == 0 {
		return nil, errors.Join(refuse("a gateway that has started once has one", nil, "the store %s holds no log", path), o.Close())
	}
	return o, nil
}

// read finds the logs. The last one goes on in the journal if the gateway was killed, or still runs.
func (o *Offline) read(ctx context.Context, dir string) (logs []*logReader, err error) {
	var store string
	if err := o.db.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = 'replica'`).Scan(&store); err != nil {
		return nil, err
	}
	for range 5 { // a gateway that runs may store its journal between the two looks
		if logs, err = readLogs(ctx, o.db); err != nil || len(logs) == 0 {
			return nil, err
		}
		var rows []row
		if rows, err = peekJournal(dir, store); err != nil {
			return nil, err
		}
		last := logs[len(logs)-1]
		if last.behind, err = missing(rows, last.position(last.size)); err != nil {
			continue
		}
		for _, r := range last.behind {
			last.size += uint64(r.count)
		}
		return logs, nil
	}
	return nil, err
}

func explainOffline(path string, err error) error {
	var c coder
	if errors.As(err, &c) && !isCorrupt(err) {
		return refuse("the write-ahead log beside it can only be read where its folder can be written; copy the folder somewhere else and try again", err,
			"cannot read %s", path)
	}
	return refuse("what cannot be read cannot be verified; an export or a backup may still be whole", err, "the store %s is damaged", path)
}

// lockShared holds off a gateway from starting while the folder is read. It returns nil when a gateway runs, or when
// the folder cannot be locked.
func lockShared(dir string) *os.File {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		return nil
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		_ = f.Close() // only read
		return nil
	}
	return f
}

// hasLog reports whether a write-ahead log holds something.
func hasLog(path string) bool {
	info, err := os.Stat(path + "-wal")
	return err == nil && info.Size() > 0
}

// Logs returns all logs of the store, the current one first, then the earlier ones, oldest first.
func (o *Offline) Logs() []trail.Source {
	last := len(o.logs) - 1
	all := []trail.Source{o.logs[last]}
	for _, l := range o.logs[:last] {
		all = append(all, l)
	}
	return all
}

// Close closes the folder.
func (o *Offline) Close() error {
	var err error
	if o.db != nil {
		err = o.db.Close()
	}
	if o.lock != nil {
		err = errors.Join(err, o.lock.Close())
	}
	return err
}
