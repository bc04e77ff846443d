package gate

import (
	"context"
	"errors"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
)

// Errors a Store returns, besides faults.
var (
	// ErrConflict: a revision in a Change is no longer the current one, or an open request with the same
	// key exists. Read again, judge again.
	ErrConflict = errors.New("store: changed meanwhile")
	// ErrTime: the store's clock is outside the Change's NotBefore and Before.
	ErrTime = errors.New("store: outside the time allowed")
	// ErrCap: a cap on open requests is reached.
	ErrCap = errors.New("store: too many open requests")
	// ErrNotFound: no such request.
	ErrNotFound = errors.New("store: no such request")
	// ErrClosed: the store is closed, or has failed and accepts nothing more.
	ErrClosed = errors.New("store: closed")
)

// Active is the active configuration. Each document has a revision that grows by one with each change,
// 0 meaning that there is none yet.
type Active struct {
	PolicyRevision    uint64
	Policy            []byte // policy.Set's own encoding
	DirectoryRevision uint64
	Directory         []byte // JSON of countersign.Directory
}

// Record is a request as stored.
type Record struct {
	Revision uint64 // grows by one with each change; 1 when inserted
	Request  approval.Request
	View     countersign.View
	// Nonce makes the digest. It is sealed at rest, and gone once the request has ended.
	Nonce []byte
	// Transaction names the transaction block that the request belongs to and ends with; "" for none.
	Transaction string
}

// Insert is a new request.
type Insert struct {
	Record Record // its Revision is ignored
	// Canonical finds the request again for joining. The store keeps only an HMAC of it, under a key that
	// never leaves the store.
	Canonical []byte
	// Caps bound the pending requests of each party, counting this one.
	Caps []Cap
}

// Cap says that Party ("agent:NAME", "owner:NAME", "person:NAME") may have at most Max pending requests.
type Cap struct {
	Party string
	Max   int
}

// Update changes a stored request.
type Update struct {
	Revision uint64 // that it has now
	Request  approval.Request
}

// Change is one atomic step: the conditions, the new state and the events that tell of it.
type Change struct {
	// PolicyRevision and DirectoryRevision, when not zero, must be the active ones.
	PolicyRevision    uint64
	DirectoryRevision uint64
	// The store's clock must be at or after NotBefore and before Before, where they are not zero.
	NotBefore, Before time.Time
	// Request state to write; at most one of them.
	Insert *Insert
	Update *Update
	// Policy and Directory, when not nil, become active with the next revision.
	Policy, Directory []byte
	// Lazy: nobody waits for done, and the store may keep the Change for some milliseconds to write it
	// together with the next.
	Lazy bool
	// Events are appended to the trail in this order, without gaps between them.
	Events []countersign.Event
}

// Receipt says where a Change stands in the trail.
type Receipt struct {
	First uint64    // number of its first event
	Time  time.Time // of its events, by the store's clock
}

// Filter selects requests.
type Filter struct {
	States []approval.State // empty: all
	Limit  int              // at most; newest first
}

// Intent is a recorded intent without an outcome.
type Intent struct {
	Action  countersign.ActionID
	Request countersign.RequestID // "" when none was needed
	Time    time.Time
	Event   countersign.Event
}

// Store keeps state and trail together. Every implementation passes storetest.
type Store interface {
	// Commit applies c whole or not at all. It waits for a place in a bounded queue (ctx ends that wait)
	// and returns; done is called once, from the store's own goroutine, after c is durable or has failed,
	// and must not block. Changes are applied in the order in which Commit returned.
	Commit(ctx context.Context, c Change, done func(Receipt, error)) error
	// Now is the store's clock: it never goes back, not even across restarts.
	Now() time.Time
	// Active returns the active configuration.
	Active(ctx context.Context) (Active, error)
	// Request returns a request, or ErrNotFound.
	Request(ctx context.Context, id countersign.RequestID) (Record, error)
	// Joinable returns the pending or approved request with that canonical action, or ErrNotFound.
	Joinable(ctx context.Context, canonical []byte) (Record, error)
	// Requests lists requests.
	Requests(ctx context.Context, f Filter) ([]Record, error)
	// Due lists pending and approved requests whose Deadline or ClaimBy is not after now, oldest first.
	Due(ctx context.Context, now time.Time, limit int) ([]Record, error)
	// Unfinished lists the intents of this store's earlier boots that have no outcome, and no others.
	Unfinished(ctx context.Context) ([]Intent, error)
}
