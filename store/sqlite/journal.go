package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/trail"
)

// The journal makes rows of events durable with one write and one sync of a file that never grows, which takes a
// fraction of what a transaction of the database takes. It holds only what the database does not hold
// yet: the writer stores all of it in one transaction once there is enough of it, when nothing came for a while, and before each change
// that is more than events. A start stores what a crash has left in it.
//
// The file is a run of blocks. A record begins at a block:
//
//	magic   4 bytes
//	length  uint32   of the body
//	body             row.append
//	sum     32 bytes SHA-256 over a label, the store's name and everything before it in the record
//
// Once the database holds all of it, the journal begins anew at its first block, over the older records. Positions
// tell which records the database holds.
const (
	journalFile  = "journal"
	journalBlock = 4096
	journalMagic = "\xff\xfeCJ" // not in UTF-8, and so in no value of an event
	journalLabel = "countersign/journal/v1"
	journalHead  = 4 + 4

	// journalSize is the size of the file, and storeEvents is how many events it holds at most: a start reads them
	// again. A batch that is larger than maxJournaled goes to the database at once, which then costs little more.
	journalSize  = 2 << 20
	storeEvents  = tailSize / 2
	maxJournaled = 32 << 10
)

type journal struct {
	file  *os.File
	store string // its name, so that no record of another store is taken
	at    int64  // where the next record begins
	buf   []byte
	sync  func(fd int) error
}

// openJournal opens or makes the journal of a store, of its full size, and returns the rows that its records hold, in the
// order of their positions.
func openJournal(dir, store string) (*journal, []row, error) {
	f, err := os.OpenFile(filepath.Join(dir, journalFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, err
	}
	rows, err := readJournal(f, store)
	if err == nil {
		err = fill(f, dir)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return &journal{file: f, store: store, sync: unix.Fdatasync}, rows, nil
}

// fill gives the file its size. It is written out, so that no record needs room on the disk.
func fill(f *os.File, dir string) error {
	info, err := f.Stat()
	if err != nil || info.Size() >= journalSize {
		return err
	}
	if _, err := f.WriteAt(make([]byte, journalSize-info.Size()), info.Size()); err != nil {
		return err
	}
	return errors.Join(f.Sync(), syncFolder(dir))
}

// room reports whether a record with a body of so many bytes still fits.
func (j *journal) room(body int) bool { return j.at+recordSize(body) <= journalSize }

func recordSize(body int) int64 {
	return int64(journalHead+body+sha256.Size+journalBlock-1) / journalBlock * journalBlock
}

// append makes a row durable.
func (j *journal) append(r *row) error {
	j.buf = appendRecord(j.buf[:0], j.store, r)
	if _, err := j.file.WriteAt(j.buf, j.at); err != nil {
		return err
	}
	if err := j.sync(int(j.file.Fd())); err != nil {
		return fmt.Errorf("sync the journal: %w", errors.Join(errSync, err))
	}
	j.at += recordSize(r.size())
	return nil
}

// errSync: nobody knows what is on the disk.
var errSync = errors.New("the disk did not confirm what was written")

// again makes the journal begin anew: the database holds its rows.
func (j *journal) again() { j.at = 0 }

// empty takes everything out of the file: the database holds it.
func (j *journal) empty() error { return j.file.Truncate(0) }

func (j *journal) close() error { return j.file.Close() }

func appendRecord(b []byte, store string, r *row) []byte {
	start := len(b)
	b = append(b, journalMagic...)
	b = binary.BigEndian.AppendUint32(b, uint32(r.size()))
	b = r.append(b)
	sum := recordSum(store, b[start:])
	return append(b, sum[:]...)
}

func recordSum(store string, record []byte) [sha256.Size]byte {
	h := sha256.New()
	_, _ = io.WriteString(h, journalLabel) // never fails
	_, _ = h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(store))))
	_, _ = io.WriteString(h, store)
	_, _ = h.Write(record)
	return [sha256.Size]byte(h.Sum(nil))
}

// readJournal returns the rows of all whole records in a journal, in the order of their positions, whether the
// database holds them or not.
func readJournal(f io.ReaderAt, store string) ([]row, error) {
	data, err := io.ReadAll(io.NewSectionReader(f, 0, journalSize))
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	var rows []row
	for len(data) >= journalHead+sha256.Size {
		r, size, ok := cutRecord(data, store)
		if !ok {
			data = data[min(journalBlock, len(data)):]
			continue
		}
		rows = append(rows, r)
		data = data[min(recordSize(size), int64(len(data))):]
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.position, b.position) })
	return rows, nil
}

func cutRecord(data []byte, store string) (r row, size int, ok bool) {
	if !bytes.HasPrefix(data, []byte(journalMagic)) {
		return row{}, 0, false
	}
	size = int(binary.BigEndian.Uint32(data[journalHead-4:]))
	if size > len(data)-journalHead-sha256.Size {
		return row{}, 0, false
	}
	record, sum := data[:journalHead+size], data[journalHead+size:][:sha256.Size]
	if want := recordSum(store, record); !bytes.Equal(sum, want[:]) {
		return row{}, 0, false
	}
	r, ok = parseRow(record[journalHead:])
	return r, size, ok
}

// row is a row of the table batch.
type row struct {
	batchRow
	hashes  []byte
	entries []byte
}

const (
	rowNumbers = 6 * 8
	rowMAC     = sha256.Size
)

// size is the number of bytes that append appends.
func (r *row) size() int { return rowNumbers + rowMAC + 4 + len(r.hashes) + len(r.entries) }

func (r *row) append(b []byte) []byte {
	for _, n := range []int64{r.position, r.count, r.time, r.low, r.policy, r.directory} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = append(b, r.mac...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.hashes)))
	b = append(b, r.hashes...)
	return append(b, r.entries...)
}

func parseRow(b []byte) (row, bool) {
	if len(b) < rowNumbers+rowMAC+4 {
		return row{}, false
	}
	var r row
	for _, to := range []*int64{&r.position, &r.count, &r.time, &r.low, &r.policy, &r.directory} {
		*to = int64(binary.BigEndian.Uint64(b))
		b = b[8:]
	}
	r.mac, b = b[:rowMAC], b[rowMAC:]
	n := binary.BigEndian.Uint32(b)
	if b = b[4:]; uint64(n) > uint64(len(b)) || r.position < 0 || r.count <= 0 || r.count > numberMask-r.position&numberMask {
		return row{}, false
	}
	r.hashes, r.entries = b[:n], b[n:]
	return r, true
}

// clone returns the row in memory of its own.
func (r *row) clone() row {
	c := *r
	both := make([]byte, 0, len(r.hashes)+len(r.entries))
	both = append(append(both, r.hashes...), r.entries...)
	c.hashes, c.entries = both[:len(r.hashes):len(r.hashes)], both[len(r.hashes):]
	return c
}

// missing returns those of a journal's rows that a database lacks whose rows end at a position.
// It fails when they do not go on from there.
func missing(rows []row, end int64) ([]row, error) {
	for len(rows) > 0 && rows[0].position+rows[0].count <= end {
		rows = rows[1:]
	}
	for _, r := range rows {
		if r.position != end {
			return nil, fmt.Errorf("the journal goes on at event %d, what is before it ends at %d: %w", r.position, end, errMissing)
		}
		end += r.count
	}
	return rows, nil
}

// peekJournal returns the rows in the journal of a folder that is only read.
func peekJournal(dir, store string) (rows []row, err error) {
	f, err := os.Open(filepath.Join(dir, journalFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return readJournal(f, store)
}

// forJournal reports whether a batch is nothing but events, and few enough for the journal.
func (s *Store) forJournal(batch []*pending) bool {
	bytes, events := 0, 0
	for _, p := range batch {
		c := &p.change
		if c.Insert != nil || c.Update != nil || c.Policy != nil || c.Directory != nil || p.store {
			return false
		}
		for i := range p.entries.list {
			size := p.entries.list[i].body.Size()
			if size > trail.MaxListed/2 {
				return false // it may need a row of its own
			}
			bytes += size + 256
			events++
		}
	}
	return bytes <= maxJournaled && s.unstoredEvents+events <= storeEvents && s.journal.room(bytes)
}

// journalBatch makes a batch of events durable in the journal.
func (s *Store) journalBatch(batch []*pending, at time.Time) error {
	active := s.active.Load()
	if err := errors.Join(s.inject("begin"), s.inject("commit")); err != nil {
		return s.fault(err)
	}
	events := s.events[:0]
	for _, p := range batch {
		if p.result = judged(&p.change, active, at); p.result == nil {
			events = s.take(p, events)
		}
	}
	s.events = events
	defer clear(s.events)
	if len(events) == 0 {
		return nil
	}
	r, tree, err := s.makeRow(events, at, active)
	if err == nil {
		err = s.journal.append(&r)
	}
	if err == nil {
		err = s.committed()
	}
	if err != nil {
		s.intents.undo()
		return s.fault(err)
	}
	s.adopt(tree, len(events))
	s.unstored = append(s.unstored, r.clone())
	if s.unstoredEvents += len(events); s.unstoredEvents == len(events) {
		time.AfterFunc(s.options.storeAfter, s.storeSoon)
	}
	return nil
}

// storeAfter is how long the first row of the journal waits for others before they are stored.
const storeAfter = 50 * time.Millisecond

// storeSoon asks the writer to store what the journal holds.
func (s *Store) storeSoon() {
	// Without it the next change that needs the database, a reader or the end of the store asks again.
	_ = s.queue.put(background(), &pending{store: true, done: func(gate.Receipt, error) {}})
}

// storeNow waits until everything acknowledged so far is in the database, where readers see it. When that fails they
// see what was there before.
func (s *Store) storeNow(ctx context.Context) error {
	done := make(chan struct{})
	if s.failed() != nil {
		return nil
	}
	err := s.queue.put(ctx, &pending{store: true, done: func(gate.Receipt, error) { close(done) }})
	if err != nil {
		return ctx.Err() //nolint:nilerr // a closed store still shows what it holds
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// replay stores what a crash has left in the journal, and returns the position from which it did. Whether the events are
// those that this store recorded is checked later, as for every event behind that position.
func (s *Store) replay(ctx context.Context) (from int64, err error) {
	var rows []row
	if s.journal, rows, err = openJournal(s.options.Dir, s.replica); err != nil {
		return 0, err
	}
	end := s.position(0)
	err = s.conn.QueryRowContext(ctx, `SELECT position + count FROM batch ORDER BY position DESC LIMIT 1`).Scan(&end)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	if s.unstored, err = missing(rows, end); err != nil {
		return 0, refuse("restore the whole data_dir from one backup; where only the database was restored, move the file away and start again: "+
			"what it alone holds is then lost", err, "%s does not belong to the database beside it", s.journal.file.Name())
	}
	if len(s.unstored) == 0 {
		return end, nil
	}
	if err := s.begin(); err != nil {
		return 0, err
	}
	if err := s.storeRows(); err != nil {
		return 0, errors.Join(err, s.rollback())
	}
	if err := s.commitTransaction(); err != nil {
		return 0, err
	}
	s.log.Info("events that a crash had left in the journal are stored", "rows", len(s.unstored))
	s.unstored = nil
	return end, nil
}

// storeSoonest is storeNow for those who would rather have something older than wait for a disk that hangs.
func (s *Store) storeSoonest() {
	ctx, cancel := context.WithTimeout(background(), time.Second)
	defer cancel()
	_ = s.storeNow(ctx) // see above
}

// storeRows writes the journal's rows in the transaction that is under way.
func (s *Store) storeRows() error {
	for i := range s.unstored {
		if err := s.insertRow(&s.unstored[i]); err != nil {
			return err
		}
	}
	return nil
}

// stored takes account of that transaction.
func (s *Store) stored() {
	clear(s.unstored)
	s.unstored, s.unstoredEvents = s.unstored[:0], 0
	s.journal.again()
}
