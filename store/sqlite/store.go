// Package sqlite is the embedded store: state and trail of one gateway in one SQLite file.
//
// It promises what gate.Store asks for. A change and its events are one transaction, durable before
// anybody is told (P6); a request's next state is written only over the revision it was judged at, by the store's
// own clock (P4); what the trail held when a checkpoint was last written outside is still there when the
// store opens, or a new log begins and says so (P8). One goroutine writes; it gathers what waits into
// one commit, and the events of a commit into one row.
//
// Whoever can write the data folder, but has no keys, cannot make the gateway sign an event that it did not
// record, run what nobody signed, or judge by another policy: rows carry a MAC under a key outside that folder, and
// a start compares the requests that are open with the trail.
//
// It does not promise to notice that an older copy was put back when the checkpoints outside were put
// back, or lost, with it; nor that a row of its own was put back while it runs, which the trail shows to its
// verifier. The counts behind caps and the search index are not guarded so.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	_ "modernc.org/sqlite" // registers the driver

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/store/keys"
	"github.com/countersign-dev/countersign/trail"
)

// Options say where the store lives.
type Options struct {
	Dir            string // the data folder
	KeysDir        string // outside Dir
	CheckpointsDir string // outside Dir; by default "checkpoints" beside KeysDir
	// Origin names the log at its first start; a log keeps its name. By default it is made up.
	Origin string
	// Notices returns what every checkpoint must say of this gateway, a line each ("review_auth: token").
	Notices func() []string
	// Clock is the wall clock; by default time.Now.
	Clock func() time.Time
	// Fatal is called once, in a goroutine of its own, when nobody can know any more what is on the disk.
	// The store accepts nothing more then, and the process must end: only a start reads the truth again.
	Fatal  func(error)
	Logger *slog.Logger

	// fault, for tests, is called at each step of a commit, by name, and may fail it.
	fault func(step string) error
	// indexIdle and storeAfter are the constants of that name, others in tests.
	indexIdle  time.Duration
	storeAfter time.Duration
}

// Store is an open store.
type Store struct {
	options Options
	log     *slog.Logger
	ring    *keys.Ring
	lock    *os.File
	db      *sql.DB // the writer's
	conn    *sql.Conn
	reader  *sql.DB
	folder  *sql.DB    // folds the write-ahead log into the database
	folding sync.Mutex // held while that is done
	stmt    *statements
	files   *files
	queue   *queue
	written chan struct{} // closed when the writer has ended
	grown   chan struct{} // holds a token when the trail has grown
	closing chan struct{}
	aside   sync.WaitGroup // the goroutines beside the writer
	outside *outside
	boot    string
	replica string

	active   atomic.Pointer[gate.Active]
	head     atomic.Pointer[head]
	index    atomic.Pointer[index]
	pages    atomic.Int64 // in the write-ahead log, about
	clock    atomic.Int64 // the latest time handed out, in microseconds
	failure  atomic.Pointer[error]
	failOnce sync.Once
	close    sync.Once
	closeErr error

	mu         sync.Mutex // protects unfinished and checkpoint
	unfinished map[countersign.ActionID]int64
	signed     []byte // the latest checkpoint
	signedHead *head

	// writer: only that goroutine touches these.
	epoch   uint64
	origin  string
	tree    *trail.Tree
	intents *intents
	live    live
	encoder encoder
	events  []*entry
	hashes  []tlog.Hash
	flat    []byte
	foldAt  int64 // pages in the write-ahead log at which the writer folds
	journal *journal

	unstored       []row // in the journal, not in the database
	unstoredEvents int
}

// head is the end of the trail in the database, where readers find it. What the journal holds is behind it. It is never
// changed once published.
type head struct {
	epoch  uint64
	origin string
	tree   *trail.Tree
	time   time.Time
}

var _ gate.Store = (*Store)(nil)

func (o *Options) defaults() {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Notices == nil {
		o.Notices = func() []string { return nil }
	}
	if o.Fatal == nil {
		o.Fatal = func(error) {}
	}
	if o.indexIdle == 0 {
		o.indexIdle = indexIdle
	}
	if o.storeAfter == 0 {
		o.storeAfter = storeAfter
	}
	if o.CheckpointsDir == "" {
		o.CheckpointsDir = filepath.Join(filepath.Dir(filepath.Clean(o.KeysDir)), "checkpoints")
	}
}

func (s *Store) inject(step string) error {
	if s.options.fault == nil {
		return nil
	}
	return s.options.fault(step)
}

// Keys returns the gateway's keys.
func (s *Store) Keys() *keys.Ring { return s.ring }

// Now implements gate.Store.
func (s *Store) Now() time.Time {
	now := s.options.Clock().UnixMicro()
	for {
		last := s.clock.Load()
		if now <= last {
			return time.UnixMicro(last).UTC()
		}
		if s.clock.CompareAndSwap(last, now) {
			return time.UnixMicro(now).UTC()
		}
	}
}

// failed returns why the store accepts nothing more, or nil.
func (s *Store) failed() error {
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// fault takes account of a fault in a transaction that was not acknowledged, and returns the error to tell.
func (s *Store) fault(err error) error {
	what, told := judge(err)
	var moved *movedError
	switch {
	case errors.As(err, &moved):
		s.fail(told, false)
	case what == outcomeFatal:
		s.fail(told, true)
	default:
		s.log.Error("the store refused a change", "error", told)
		return told
	}
	return errors.Join(gate.ErrClosed, told)
}

// fail ends the store's service. The process is asked to end when what is on the disk is unknown; when
// the files were taken away it is not, since they can be rescued only while it holds them open.
func (s *Store) fail(err error, end bool) {
	s.failOnce.Do(func() {
		told := errors.Join(gate.ErrClosed, err)
		s.failure.Store(&told)
		s.log.Error("the store has failed and accepts nothing more", "error", err, "process_must_end", end)
		if end {
			go s.options.Fatal(err)
		}
	})
}

// Close writes what is in line, then the last checkpoint, and closes the files.
func (s *Store) Close() error {
	s.close.Do(func() { s.closeErr = s.shut() })
	return s.closeErr
}

func (s *Store) shut() error {
	s.queue.close()
	<-s.written
	close(s.closing)
	s.aside.Wait()
	var err error
	if s.failed() == nil {
		err = s.writeOutside(true)
	}
	if s.failed() == nil && len(s.unstored) == 0 {
		err = errors.Join(err, s.journal.empty())
	}
	return errors.Join(err, s.release())
}

// release closes the files.
func (s *Store) release() error {
	var err error
	if s.journal != nil {
		err = errors.Join(err, s.journal.close())
	}
	if s.reader != nil {
		err = errors.Join(err, s.reader.Close())
	}
	if s.folder != nil {
		err = errors.Join(err, s.folder.Close())
	}
	if s.stmt != nil {
		err = errors.Join(err, s.stmt.close())
	}
	if s.conn != nil {
		err = errors.Join(err, s.conn.Close())
	}
	if s.db != nil {
		err = errors.Join(err, s.db.Close())
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// Size returns the number of durable events in the current log.
func (s *Store) Size() uint64 {
	s.storeSoonest()
	return s.head.Load().tree.Size()
}

// Origin returns the name of the current log.
func (s *Store) Origin() string { return s.head.Load().origin }

// Checkpoint returns a signed checkpoint of everything durable.
func (s *Store) Checkpoint() ([]byte, error) {
	s.storeSoonest()
	s.mu.Lock()
	defer s.mu.Unlock()
	signed, _, err := s.checkpoint()
	return signed, err
}

// checkpoint signs the head unless that was done. mu is held.
func (s *Store) checkpoint() ([]byte, *head, error) {
	h := s.head.Load()
	if s.signedHead == h {
		return s.signed, h, nil
	}
	signer, err := s.ring.Signer(h.origin)
	if err != nil {
		return nil, nil, err
	}
	c := trail.Checkpoint{Origin: h.origin, Size: h.tree.Size(), Root: h.tree.Root(), Lines: s.options.Notices()}
	signed, err := c.Sign(signer)
	if err != nil {
		return nil, nil, err
	}
	s.signed, s.signedHead = signed, h
	return signed, h, nil
}

func background() context.Context { return context.Background() }
