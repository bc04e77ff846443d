package sqlite

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	driver "modernc.org/sqlite"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
	"github.com/countersign-dev/countersign/store/keys"
	"github.com/countersign-dev/countersign/trail"
)

// Open opens the store in the data folder, or makes it at the first start.
func Open(o Options) (*Store, error) {
	setDriver()
	o.defaults()
	if err := checkFolders(o); err != nil {
		return nil, err
	}
	s := &Store{
		options: o,
		log:     o.Logger,
		queue:   newQueue(),
		written: make(chan struct{}),
		grown:   make(chan struct{}, 1),
		closing: make(chan struct{}),
		outside: &outside{dir: o.CheckpointsDir},
		boot:    randomName(),
		intents: newIntents(),
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.release())
	}
	s.start()
	return s, nil
}

func checkFolders(o Options) error {
	if o.Dir == "" || o.KeysDir == "" {
		return errors.New("store: the data folder and the keys' folder must be given")
	}
	for _, d := range []string{o.Dir, o.KeysDir, o.CheckpointsDir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return refuse("the user that runs the gateway must be able to make it", err, "cannot make the folder %s", d)
		}
	}
	for name, d := range map[string]string{"keys_dir": o.KeysDir, "checkpoints": o.CheckpointsDir} {
		in, err := inside(o.Dir, d)
		if err != nil {
			return err
		}
		if in {
			return refuse("choose a folder that is not copied, restored or lost together with the data", nil,
				"%s (%s) lies inside data_dir (%s)", name, d, o.Dir)
		}
	}
	return nil
}

// inside reports whether folder d is dir or below it.
func inside(dir, d string) (bool, error) {
	outer, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false, err
	}
	inner, err := filepath.EvalSymlinks(d)
	if err != nil {
		return false, err
	}
	if outer, err = filepath.Abs(outer); err != nil {
		return false, err
	}
	if inner, err = filepath.Abs(inner); err != nil {
		return false, err
	}
	rel, err := filepath.Rel(outer, inner)
	if err != nil {
		return false, err
	}
	return rel == "." || rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)), nil
}

func randomName() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (s *Store) open() error {
	var err error
	if s.lock, err = lockFolder(s.options.Dir); err != nil {
		return err
	}
	path := filepath.Join(s.options.Dir, databaseFile)
	fresh, err := s.openKeys(path)
	if err != nil {
		return err
	}
	if fresh {
		if err := s.create(path); err != nil {
			return s.explain(path, err)
		}
	}
	if err := s.openDatabase(path); err != nil {
		return s.explain(path, err)
	}
	requests, err := s.load(fresh)
	if err != nil {
		return s.explain(path, err)
	}
	if err := s.announce(fresh, requests); err != nil {
		return s.explain(path, err)
	}
	if err := s.writeOutside(true); err != nil {
		return err
	}
	if err := s.publish(); err != nil {
		return err
	}
	if err := s.dropSealingKeys(); err != nil {
		return err
	}
	return s.ring.Settle()
}

// dataSource returns the name under which the driver opens a file.
func dataSource(path string, params url.Values) string {
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: params.Encode()}
	return u.String()
}

func (s *Store) openDatabase(path string) error {
	if err := checkWritable(path); err != nil {
		return err
	}
	var err error
	if s.db, err = openWriter(path, "journal_mode(WAL)"); err != nil {
		return err
	}
	if s.conn, err = s.db.Conn(background()); err != nil {
		return err
	}
	s.folder, err = openWriter(path, "journal_mode(WAL)")
	return err
}

// checkWritable fails when the file cannot be written: SQLite would open it for reading all the same.
func checkWritable(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// setDriver chooses how the driver locks and syncs, for the whole process.
func setDriver() {
	// Locks that belong to the open file are not lost when something else in the process opens and closes it. This
	// has no effect once a database is open, or on systems without such locks.
	_, _ = driver.OFDLocking(true)
	// fdatasync keeps what a commit needs as safely as fsync does, in half the time on a journaling file
	// system. Where there is none, fsync is used.
	_, _ = driver.Fdatasync(true)
}

// openWriter opens an existing database for one connection that may write.
func openWriter(path string, pragmas ...string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dataSource(abs, url.Values{
		"mode": {"rw"},
		"_pragma": append([]string{
			"busy_timeout(5000)", "page_size(" + strconv.Itoa(pageSize) + ")", "synchronous(FULL)",
			"wal_autocheckpoint(0)", "secure_delete(ON)", "cache_size(-16384)",
		}, pragmas...),
		"_dqs": {"0"},
	}))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

const pageSize = 8192

// openReader opens the connections that read.
func (s *Store) openReader(path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	s.reader, err = sql.Open("sqlite", dataSource(abs, url.Values{
		"mode":    {"ro"},
		"_pragma": {"busy_timeout(5000)", "query_only(ON)", "cache_size(-4096)"},
		"_dqs":    {"0"},
	}))
	if err != nil {
		return err
	}
	s.reader.SetMaxOpenConns(4)
	s.reader.SetMaxIdleConns(4)
	return s.reader.Ping()
}

// explain adds a hint to a fault met while opening.
func (s *Store) explain(path string, err error) error {
	var r *Refusal
	if errors.As(err, &r) {
		return err
	}
	_, told := judge(err)
	switch {
	case errors.Is(told, ErrFull):
		return refuse("make room on the disk", err, "cannot open the store %s", path)
	case errors.Is(told, ErrReadOnly), errors.Is(err, fs.ErrPermission):
		return refuse("the user that runs the gateway must be able to write the file and its folder", err, "cannot write the store %s", path)
	case errors.Is(err, ErrAltered):
		return refuse("find out who could write the folder, and keep it as it is for that; to go on, restore data_dir from its backup, "+
			"which begins a new log that says so; countersign trail verify tells what else differs", err, "the store %s is not as this gateway left it", path)
	case isCorrupt(err), errors.Is(err, trail.ErrListing), errors.Is(err, errMissing):
		return refuse("restore data_dir from its backup; countersign trail verify tells what is damaged", err, "the store %s is damaged", path)
	default:
		return fmt.Errorf("open the store %s: %w", path, err)
	}
}

// load reads what the writer keeps in memory, and checks that store and keys belong together.
func (s *Store) load(fresh bool) (requests []*found, err error) {
	ctx := background()
	path := filepath.Join(s.options.Dir, databaseFile)
	if s.stmt, err = prepare(ctx, s.conn); err != nil {
		return nil, err
	}
	if err := s.openReader(path); err != nil {
		return nil, err
	}
	if err := s.checkKeys(ctx); err != nil {
		return nil, err
	}
	if err := s.conn.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = 'replica'`).Scan(&s.replica); err != nil {
		return nil, err
	}
	if err := s.conn.QueryRowContext(ctx, `SELECT epoch, origin FROM log ORDER BY epoch DESC LIMIT 1`).Scan(&s.epoch, &s.origin); err != nil {
		return nil, err
	}
	if err := s.loadActive(ctx); err != nil {
		return nil, err
	}
	replayed, err := s.replay(ctx)
	if err != nil {
		return nil, err
	}
	last, low, err := s.loadTree(ctx)
	if err != nil {
		return nil, err
	}
	if s.tree.Size() == 0 && !fresh {
		return nil, fmt.Errorf("the log %s has no event: %w", s.origin, ErrAltered)
	}
	if requests, err = s.findOpen(ctx); err != nil {
		return nil, err
	}
	from, err := s.tailStart(ctx, oldest(requests))
	if err != nil {
		return nil, err
	}
	from = min(from, uint64(replayed)&numberMask)
	followed := lives{}
	for _, f := range requests {
		followed[sanitize.Name(f.row.id).String()] = f
	}
	if err := s.checkTail(ctx, from, followed.visit); err != nil {
		return nil, err
	}
	if err := s.checkDocuments(ctx); err != nil {
		return nil, err
	}
	s.clock.Store(last)
	return requests, s.loadIntents(ctx, low)
}

// checkDocuments fails when an active document is older than the last batch says: somebody has put it back.
func (s *Store) checkDocuments(ctx context.Context) error {
	var policy, directory uint64
	err := s.conn.QueryRowContext(ctx, `SELECT policy, directory FROM batch ORDER BY position DESC LIMIT 1`).Scan(&policy, &directory)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	active := s.active.Load()
	for _, d := range []struct {
		name        string
		have, wrote uint64
	}{{documentPolicy, active.PolicyRevision, policy}, {documentDirectory, active.DirectoryRevision, directory}} {
		if d.have < d.wrote {
			return fmt.Errorf("the active %s is version %d, the trail was last written under version %d: %w", d.name, d.have, d.wrote, ErrAltered)
		}
	}
	return nil
}

func (s *Store) checkKeys(ctx context.Context) error {
	for _, p := range keys.Purposes() {
		var id string
		if err := s.conn.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = ?`, "key."+p).Scan(&id); err != nil {
			return err
		}
		if id != s.ring.ID(p) {
			return refuse("give the keys_dir and the data_dir that belong together", nil,
				"the %s key in %s is not the one that the store in %s was made with", p, s.options.KeysDir, s.options.Dir)
		}
	}
	rows, err := s.conn.QueryContext(ctx, `SELECT DISTINCT sealing_key FROM request WHERE nonce IS NOT NULL`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // its error is rows.Err's
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		if !s.ring.HasSealing(name) {
			return refuse("restore the keys' folder from its backup", nil, "the sealing key of %s is missing in %s", name, s.options.KeysDir)
		}
	}
	return rows.Err()
}

func (s *Store) loadActive(ctx context.Context) error {
	var a gate.Active
	for _, d := range []struct {
		name     string
		revision *uint64
		value    *[]byte
	}{
		{documentPolicy, &a.PolicyRevision, &a.Policy},
		{documentDirectory, &a.DirectoryRevision, &a.Directory},
	} {
		var mac []byte
		err := s.conn.QueryRowContext(ctx, `SELECT revision, value, mac FROM document WHERE name = ?`, d.name).Scan(d.revision, d.value, &mac)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return err
		}
		if !hmac.Equal(mac, sealDocument(s.ring, d.name, *d.revision, *d.value)) {
			return fmt.Errorf("the active %s: %w", d.name, ErrAltered)
		}
	}
	s.active.Store(&a)
	return nil
}

// loadTree reads the right edge of the tree, and returns the time of the last event of the store and the
// position from which intents may lack an outcome.
func (s *Store) loadTree(ctx context.Context) (last, low int64, err error) {
	var position, count int64
	low = s.position(0)
	err = s.conn.QueryRowContext(ctx, `SELECT position, count, time, low FROM batch ORDER BY position DESC LIMIT 1`).Scan(&position, &count, &last, &low)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, 0, err
	}
	var size uint64
	if err == nil && uint64(position)>>positionShift == s.epoch {
		size = uint64(position)&numberMask + uint64(count)
	}
	s.tree, err = trail.LoadTree(size, &logReader{ctx: ctx, db: s.conn, epoch: s.epoch, size: size})
	if err != nil {
		return 0, 0, err
	}
	s.head.Store(&head{epoch: s.epoch, origin: s.origin, tree: s.tree.Clone(), time: time.UnixMicro(last).UTC()})
	return last, low, nil
}

// loadIntents finds the intents without an outcome, all of earlier boots.
func (s *Store) loadIntents(ctx context.Context, low int64) error {
	err := scan(ctx, s.conn, low, math.MaxInt64, func(r row) (bool, error) {
		return true, r.each(ctx, s.reader, func(at int64, raw []byte) error {
			env, err := trail.ParseEnvelope(raw)
			if err != nil {
				return fmt.Errorf("event %d: %w", at, err)
			}
			if at < low || env.Type != countersign.ActionIntent && env.Type != countersign.ActionOutcome {
				return nil
			}
			e, err := trail.ParseEntry(raw)
			if err != nil {
				return fmt.Errorf("event %d: %w", at, err)
			}
			ev := e.Event()
			s.intents.note(&ev, at)
			return nil
		})
	})
	if err != nil {
		return err
	}
	s.intents.keep()
	s.unfinished = make(map[countersign.ActionID]int64, len(s.intents.open))
	for action, at := range s.intents.open {
		s.unfinished[countersign.ActionID(action)] = at
	}
	return nil
}

// publish writes the log's public keys beside the secret ones, for auditors to take away.
func (s *Store) publish() error {
	rows, err := s.conn.QueryContext(background(), `SELECT origin FROM log ORDER BY epoch DESC`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // its error is rows.Err's
	var origins []string
	for rows.Next() {
		var o string
		if err := rows.Scan(&o); err != nil {
			return err
		}
		origins = append(origins, o)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return s.ring.Publish(origins)
}

// Verifiers returns the log's own public keys, for checks inside this process.
func (s *Store) Verifiers() (note.Verifiers, error) {
	data, err := os.ReadFile(s.ring.PublicFile())
	if err != nil {
		return nil, err
	}
	return keys.ParseVerifiers(data)
}

// start begins the goroutines.
func (s *Store) start() {
	go s.write()
	s.aside.Add(3)
	go s.keepIndex()
	go s.keepOutside()
	go s.foldBeside()
}
