// Package storetest is the conformance suite of stores: every implementation of gate.Store passes it.
//
// It tests what gate.Store promises and nothing of how a store keeps it: conditions judged inside the
// same step as the write (P4), events with their change or not at all (P6), durability of what was
// acknowledged across reopening, a clock that never goes back.
package storetest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
)

// Store is a store that can be closed.
type Store interface {
	gate.Store
	Close() error
}

// Clock is the wall clock that a store under test is given. It is safe for concurrent use.
type Clock struct{ offset atomic.Int64 }

// Now returns the real time, moved.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

// Move moves the clock, backwards too.
func (c *Clock) Move(d time.Duration) { c.offset.Add(int64(d)) }

// Opener opens the same store each time it is called, once the one before has been closed. It reports
// failures to t.
type Opener func(t *testing.T) Store

// Run runs the suite. open makes a new, empty store's Opener, which must use the given clock.
func Run(t *testing.T, open func(t *testing.T, clock *Clock) Opener) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *fixture)
	}{
		{"Empty", testEmpty},
		{"InsertAndFind", testInsertAndFind},
		{"JoinIsUnique", testJoinUnique},
		{"JoinEndsWithTheRequest", testJoinEnds},
		{"StaleRevision", testStaleRevision},
		{"ActiveRevisions", testActive},
		{"Time", testTime},
		{"Caps", testCaps},
		{"NonceGoes", testNonce},
		{"FailedChangeLeavesNothing", testFailedChange},
		{"EventsAreDense", testEventsDense},
		{"OrderOfCallbacks", testOrder},
		{"Lazy", testLazy},
		{"DoneOnce", testDoneOnce},
		{"OneWinner", testOneWinner},
		{"CapsUnderLoad", testCapsUnderLoad},
		{"Requests", testRequests},
		{"Due", testDue},
		{"Unfinished", testUnfinished},
		{"Durable", testDurable},
		{"ClockNeverGoesBack", testClock},
		{"CommitWaitsNoLongerThanItsContext", testContext},
		{"MalformedEvent", testMalformed},
		{"Closed", testClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fixture{t: t, clock: &Clock{}}
			f.opener = open(t, f.clock)
			f.Store = f.opener(t)
			t.Cleanup(func() {
				if err := f.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			c.test(t, f)
		})
	}
}

// fixture is one store under test with what its tests have in common.
type fixture struct {
	Store
	t      *testing.T
	clock  *Clock
	opener Opener
	serial atomic.Int64
}

func (f *fixture) reopen() {
	f.t.Helper()
	if err := f.Close(); err != nil {
		f.t.Fatalf("close: %v", err)
	}
	f.Store = f.opener(f.t)
}

// commit commits and waits for the result.
func (f *fixture) commit(c gate.Change) (gate.Receipt, error) {
	type result struct {
		receipt gate.Receipt
		err     error
	}
	done := make(chan result, 1)
	if err := f.Commit(context.Background(), c, func(r gate.Receipt, err error) { done <- result{r, err} }); err != nil {
		return gate.Receipt{}, err
	}
	select {
	case r := <-done:
		return r.receipt, r.err
	case <-time.After(30 * time.Second):
		f.t.Error("done was not called within 30 s")
		return gate.Receipt{}, context.DeadlineExceeded
	}
}

func (f *fixture) must(c gate.Change) gate.Receipt {
	f.t.Helper()
	r, err := f.commit(c)
	if err != nil {
		f.t.Fatalf("commit: %v", err)
	}
	return r
}

// insert makes a change that inserts a new request with that canonical action.
func (f *fixture) insert(canonical string) gate.Change {
	now := f.Now()
	n := f.serial.Add(1)
	id := countersign.RequestID(fmt.Sprintf("req_%020d", n))
	digest := countersign.Digest(sha256.Sum256([]byte(canonical)))
	requester := countersign.Principal{Kind: countersign.KindAgent, Agent: "deploy-bot", Chain: []countersign.PersonID{"requester-1"}}
	view := countersign.View{
		Request: id, Digest: digest, Resource: "shop", ResourceKind: "postgres", Front: "postgres",
		Labels: []string{"env=prod"}, Requester: requester, Text: sanitize.Const("DELETE FROM orders WHERE id = 7"),
		Effects: countersign.Delete, Decision: countersign.Decision{Verdict: countersign.Review},
		Asked: now, Expires: now.Add(time.Hour),
	}
	return gate.Change{
		Insert: &gate.Insert{
			Canonical: []byte(canonical),
			Record: gate.Record{
				View:        view,
				Nonce:       []byte("nonce of " + string(id)),
				Transaction: "session-1/7",
				Request: approval.Request{
					ID: id, Resource: "shop", Requester: requester, Digest: digest, View: view.ViewDigest(),
					Seats: []countersign.Seat{{Rule: "r", Groups: []countersign.Group{"dba"}}}, MaxUses: 1,
					Created: now, Deadline: now.Add(time.Hour), ClaimWithin: 15 * time.Minute, State: approval.Pending,
				},
			},
		},
		Events: []countersign.Event{event(countersign.RequestOpened, countersign.FieldRequest, string(id))},
	}
}

// changeEvents are the events that tell of a request's next state.
var changeEvents = map[approval.State]countersign.EventType{
	approval.Approved: countersign.RequestApproved, approval.Denied: countersign.RequestDenied,
	approval.Expired: countersign.RequestExpired, approval.Cancelled: countersign.RequestCancelled,
	approval.Lapsed: countersign.GrantLapsed, approval.Revoked: countersign.GrantRevoked,
	approval.Claimed: countersign.GrantClaimed, approval.Uncommitted: countersign.ActionOutcome,
	approval.Done: countersign.ActionOutcome, approval.Failed: countersign.ActionOutcome,
	approval.RolledBack: countersign.ActionOutcome, approval.Unknown: countersign.ActionOutcome,
}

// change makes the change that moves a request to a state.
func change(r gate.Record, to approval.State) gate.Change {
	req := r.Request
	req.State = to
	return gate.Change{
		Update: &gate.Update{Revision: r.Revision, Request: req},
		Events: []countersign.Event{event(changeEvents[to], countersign.FieldRequest, string(req.ID))},
	}
}

func (f *fixture) request(id countersign.RequestID) gate.Record {
	f.t.Helper()
	r, err := f.Request(context.Background(), id)
	if err != nil {
		f.t.Fatalf("request %s: %v", id, err)
	}
	return r
}

// event makes an event of pairs of name and value.
func event(typ countersign.EventType, pairs ...string) countersign.Event {
	ev := countersign.Event{Type: typ}
	for i := 0; i < len(pairs); i += 2 {
		ev.Fields = append(ev.Fields, countersign.Field{Name: pairs[i], Value: clean(pairs[i+1])})
	}
	return ev
}

func clean(text string) sanitize.Clean {
	var c sanitize.Clean
	_ = c.UnmarshalText([]byte(text)) // never fails
	return c
}
