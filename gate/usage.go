package gate

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"

	"github.com/countersign-dev/countersign"
)

// usage counts what principals were sent in the last hour, by resource, for limits per hour.
//
// BUG: it is in memory: a restart forgets it, and each replica counts for itself.
type usage struct {
	mu sync.Mutex
	m  map[usageKey]*window
}

type usageKey struct {
	principal string
	resource  countersign.ResourceName
}

// window holds sixty one-minute buckets.
type window struct {
	minute      int64 // of the newest bucket, since the epoch
	rows, bytes [60]int64
	sumRows     int64
	sumBytes    int64
}

// usageKept bounds the windows kept; beyond it those idle for an hour go.
const usageKept = 10_000

// take adds rows and bytes to the window of k if both sums stay within the limits (0: none), and
// reports whether they did.
func (u *usage) take(k usageKey, rows, bytes int64, l countersign.Limits, now time.Time) bool {
	minute := now.Unix() / 60
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.m == nil {
		u.m = map[usageKey]*window{}
	}
	w := u.m[k]
	if w == nil {
		if len(u.m) >= usageKept {
			for k, w := range u.m {
				if minute-w.minute >= 60 {
					delete(u.m, k)
				}
			}
		}
		w = &window{minute: minute}
		u.m[k] = w
	}
	w.advance(minute)
	if l.RowsPerHour != 0 && w.sumRows+rows > l.RowsPerHour || l.BytesPerHour != 0 && w.sumBytes+bytes > l.BytesPerHour {
		return false
	}
	i := w.minute % 60
	w.rows[i] += rows
	w.bytes[i] += bytes
	w.sumRows += rows
	w.sumBytes += bytes
	return true
}

// advance empties the buckets between the newest and minute. A clock that went back changes nothing.
func (w *window) advance(minute int64) {
	if minute-w.minute >= 60 {
		*w = window{minute: minute}
		return
	}
	for w.minute < minute {
		w.minute++
		i := w.minute % 60
		w.sumRows -= w.rows[i]
		w.sumBytes -= w.bytes[i]
		w.rows[i], w.bytes[i] = 0, 0
	}
}

// exports remembers actions whose result passed a limit: run again, they are exports.
type exports struct {
	n  atomic.Int64 // len(m), read without the lock on the hot path
	mu sync.Mutex
	m  map[[sha256.Size]byte]time.Time
}

// exportsKept bounds the memory; a forgotten action is limited once more.
const exportsKept = 10_000

func (e *exports) remember(canonical []byte, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.m == nil {
		e.m = map[[sha256.Size]byte]time.Time{}
	}
	if len(e.m) >= exportsKept {
		for k, t := range e.m {
			if now.After(t) || len(e.m) >= exportsKept {
				delete(e.m, k)
			}
		}
	}
	e.m[sha256.Sum256(canonical)] = now.Add(exportMemory)
	e.n.Store(int64(len(e.m)))
}

func (e *exports) has(canonical []byte, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	until, ok := e.m[sha256.Sum256(canonical)]
	return ok && now.Before(until)
}
