package sqlite

import (
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/trail"
)

// entry is an event on its way into the log. Whoever commits it encodes and hashes its fields, so that the
// writer, of which there is one, has little left to do.
type entry struct {
	event  *countersign.Event
	body   trail.Body
	random [idRandom]byte
}

const idRandom = 8

// entries is a run of events with the memory that they take, to be used again.
type entries struct {
	list   []entry
	random []byte
}

var entriesPool = sync.Pool{New: func() any { return new(entries) }}

// newEntries makes events ready. They must not change before release.
func newEntries(events []countersign.Event) (*entries, error) {
	es := entriesPool.Get().(*entries)
	need := 0
	for i := range events {
		need += idRandom + trail.SaltSize*len(events[i].Fields)
	}
	es.random = slices.Grow(es.random[:0], need)[:need]
	rand.Read(es.random)
	es.list = slices.Grow(es.list[:0], len(events))[:len(events)]
	random := es.random
	for i := range events {
		e := &es.list[i]
		e.event, e.random = &events[i], [idRandom]byte(random)
		salts := random[idRandom : idRandom+trail.SaltSize*len(events[i].Fields)]
		random = random[idRandom+len(salts):]
		if err := e.body.Make(events[i], salts); err != nil {
			es.release()
			return nil, err
		}
	}
	return es, nil
}

// keptBytes bounds the memory that is used again.
const keptBytes = 16 << 10

// release gives the memory back. The salts are in the log by now, or never will be.
func (es *entries) release() {
	size := len(es.random)
	for i := range es.list {
		es.list[i].event = nil
		size += es.list[i].body.Size()
	}
	if size <= keptBytes {
		entriesPool.Put(es)
	}
}

// encoder turns a run of entries into what a row of the database holds. Its buffers are used again for each; the
// writer owns it.
type encoder struct {
	hasher  trail.Hasher
	entry   []byte
	entries []byte // a listing
	leaves  []tlog.Hash
	blobs   []blob
}

type blob struct {
	hash  [sha256.Size]byte
	entry []byte
}

// encode gives entries the time at. What it leaves in the encoder is valid until the next call.
func (e *encoder) encode(list []*entry, at time.Time) error {
	e.entries, e.leaves, e.blobs = e.entries[:0], e.leaves[:0], e.blobs[:0]
	for _, one := range list {
		var leaf tlog.Hash
		var err error
		if e.entry, leaf, err = e.hasher.Append(e.entry[:0], &one.body, trail.NewID(at, one.random), at); err != nil {
			return err
		}
		e.leaves = append(e.leaves, leaf)
		var hash [sha256.Size]byte
		var elsewhere bool
		if e.entries, hash, elsewhere = trail.AppendListed(e.entries, e.entry); elsewhere {
			e.blobs = append(e.blobs, blob{hash: hash, entry: e.entry})
			e.entry = nil // the blob keeps it
		}
	}
	return nil
}
