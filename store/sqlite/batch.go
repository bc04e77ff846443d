package sqlite

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/trail"
)

// encoded is a run of events ready for the database.
type encoded struct {
	entries []byte
	leaves  []tlog.Hash
	blobs   []blob
}

type blob struct {
	hash  [sha256.Size]byte
	entry []byte
}

// encoder turns events into batches. Its buffers are used again for each batch; the writer owns it.
type encoder struct {
	random  []byte
	workers []worker
}

type worker struct {
	hasher trail.Hasher
	entry  []byte
	out    encoded
	err    error
}

func newEncoder() *encoder {
	return &encoder{workers: make([]worker, min(4, runtime.GOMAXPROCS(0)))}
}

const idRandom = 8

// parallelFrom is the number of events from which a batch is worth sharing among goroutines.
const parallelFrom = 48

// encode encodes events that all bear the time at. What it returns is valid until the next call.
func (e *encoder) encode(events []*countersign.Event, at time.Time) (encoded, error) {
	need := 0
	for _, ev := range events {
		need += idRandom + trail.SaltSize*len(ev.Fields)
	}
	if cap(e.random) < need {
		e.random = make([]byte, need+need/2)
	}
	random := e.random[:need]
	if _, err := rand.Read(random); err != nil {
		return encoded{}, fmt.Errorf("read salts: %w", err)
	}
	if len(events) < parallelFrom || len(e.workers) == 1 {
		w := &e.workers[0]
		w.encode(events, at, random)
		return w.out, w.err
	}
	return e.share(events, at, random)
}

// share divides the events among the workers and joins what they made.
func (e *encoder) share(events []*countersign.Event, at time.Time, random []byte) (encoded, error) {
	var wg sync.WaitGroup
	n := len(e.workers)
	for i := range e.workers {
		part := events[len(events)*i/n : len(events)*(i+1)/n]
		need := 0
		for _, ev := range part {
			need += idRandom + trail.SaltSize*len(ev.Fields)
		}
		w, mine := &e.workers[i], random[:need]
		random = random[need:]
		if i == n-1 {
			w.encode(part, at, mine)
			continue
		}
		wg.Go(func() { w.encode(part, at, mine) })
	}
	wg.Wait()
	all := e.workers[0].out
	err := e.workers[0].err
	for i := 1; i < n; i++ {
		w := &e.workers[i]
		err = errors.Join(err, w.err)
		all.entries = append(all.entries, w.out.entries...)
		all.leaves = append(all.leaves, w.out.leaves...)
		all.blobs = append(all.blobs, w.out.blobs...)
	}
	e.workers[0].out = all // keeps the grown buffers
	return all, err
}

func (w *worker) encode(events []*countersign.Event, at time.Time, random []byte) {
	w.err = nil
	w.out.entries, w.out.leaves, w.out.blobs = w.out.entries[:0], w.out.leaves[:0], w.out.blobs[:0]
	for _, ev := range events {
		id := trail.NewID(at, [idRandom]byte(random))
		salts := random[idRandom : idRandom+trail.SaltSize*len(ev.Fields)]
		random = random[len(salts)+idRandom:]
		var leaf tlog.Hash
		var err error
		if w.entry, leaf, err = w.hasher.Append(w.entry[:0], *ev, id, at, salts); err != nil {
			w.err = err
			return
		}
		w.out.leaves = append(w.out.leaves, leaf)
		var hash [sha256.Size]byte
		var elsewhere bool
		if w.out.entries, hash, elsewhere = trail.AppendListed(w.out.entries, w.entry); elsewhere {
			w.out.blobs = append(w.out.blobs, blob{hash: hash, entry: w.entry})
			w.entry = nil // the blob keeps it
		}
	}
}
