package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
)

func testEventsDense(t *testing.T, f *fixture) {
	next := f.must(gate.Change{Events: []countersign.Event{event(countersign.PolicyLoaded)}}).First + 1
	for _, n := range []int{1, 3, 0, 100, 1} {
		var events []countersign.Event
		for i := range n {
			events = append(events, event(countersign.SessionOpened, countersign.FieldSession, fmt.Sprint(i)))
		}
		r := f.must(gate.Change{Events: events})
		if n > 0 && r.First != next {
			t.Errorf("%d events begin at %d; want %d", n, r.First, next)
		}
		next += uint64(n)
	}
}

// testOrder commits from one goroutine without waiting: results and numbers come in that order.
func testOrder(t *testing.T, f *fixture) {
	const n = 2000
	var mu sync.Mutex
	var firsts []uint64
	var times []time.Time
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		c := gate.Change{Events: []countersign.Event{event(countersign.SessionOpened, countersign.FieldSession, fmt.Sprint(i))}}
		err := f.Commit(ctx, c, func(r gate.Receipt, err error) {
			defer wg.Done()
			if err != nil {
				t.Errorf("change %d: %v", i, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if i != len(firsts) {
				t.Errorf("result of change %d came as number %d", i, len(firsts))
			}
			firsts, times = append(firsts, r.First), append(times, r.Time)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	for i := 1; i < n; i++ {
		if firsts[i] != firsts[i-1]+1 {
			t.Fatalf("change %d is event %d after event %d", i, firsts[i], firsts[i-1])
		}
		if times[i].Before(times[i-1]) {
			t.Fatalf("event %d is from %v, before its predecessor's %v", firsts[i], times[i], times[i-1])
		}
	}
}

// testLazy commits what nobody waits for: it is recorded soon, in its place, and at the latest when the store is closed.
func testLazy(t *testing.T, f *fixture) {
	lazy := func(session string) gate.Change {
		return gate.Change{Lazy: true, Events: []countersign.Event{event(countersign.SessionClosed, countersign.FieldSession, session)}}
	}
	alone := f.must(lazy("alone"))
	var first, second atomic.Uint64
	var wg sync.WaitGroup
	wg.Add(2)
	for _, c := range []struct {
		change gate.Change
		number *atomic.Uint64
	}{{lazy("before"), &first}, {gate.Change{Events: []countersign.Event{event(countersign.PolicyLoaded)}}, &second}} {
		err := f.Commit(ctx, c.change, func(r gate.Receipt, err error) {
			defer wg.Done()
			if err != nil {
				t.Errorf("commit: %v", err)
			}
			c.number.Store(r.First)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if first.Load() != alone.First+1 || second.Load() != first.Load()+1 {
		t.Errorf("events %d, %d, %d; a lazy change must keep its place", alone.First, first.Load(), second.Load())
	}
	done := make(chan error, 1)
	if err := f.Commit(ctx, lazy("last"), func(_ gate.Receipt, err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	f.reopen()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("a lazy change when the store is closed: %v", err)
		}
	default:
		t.Error("the store was closed before a lazy change was written")
	}
}

// testDoneOnce mixes changes that are written, that fail and that are refused. Each one that Commit took is told once, also
// when the store is closed meanwhile; the others never. A gate that waits for one intent must not be woken by another.
func testDoneOnce(t *testing.T, f *fixture) {
	const n = 400
	var told [n]atomic.Int64
	var taken [n]bool
	same := f.insert("the same")
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < n; i += 8 {
				if i == n/2 {
					_ = f.Close() // fixture closes it again, and looks at the error
				}
				c := gate.Change{Events: []countersign.Event{intent(fmt.Sprintf("act_%d", i), "")}}
				switch i % 5 {
				case 1:
					c.Lazy = true
				case 2:
					c = same // the first of them is written
				case 3:
					c.PolicyRevision = 99
				case 4:
					c.Events = []countersign.Event{event("not a type")}
				}
				taken[i] = f.Commit(context.Background(), c, func(gate.Receipt, error) { told[i].Add(1) }) == nil
			}
		})
	}
	wg.Wait()
	if err := f.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	some := 0
	for i := range n {
		want := int64(0)
		if taken[i] {
			want, some = 1, some+1
		}
		if got := told[i].Load(); got != want {
			t.Errorf("change %d was told %d times; want %d", i, got, want)
		}
	}
	if some < n/10 || some > n*9/10 {
		t.Errorf("%d of %d changes were taken; want some of each", some, n)
	}
}

// testOneWinner claims each of a few grants from many goroutines at the revision that all of them read:
// exactly one claim of each grant is written (P4).
func testOneWinner(t *testing.T, f *fixture) {
	const claimers, grants = 1000, 4
	for g := range grants {
		c := f.insert(fmt.Sprintf("grant %d", g))
		f.must(c)
		id := c.Insert.Record.Request.ID
		f.must(change(f.request(id), approval.Approved))
		read := f.request(id)
		var won, lost atomic.Int64
		var wg sync.WaitGroup
		for i := range claimers {
			wg.Go(func() {
				claim := change(read, approval.Claimed)
				claim.Update.Request.Uses = []approval.Use{{Action: countersign.ActionID(fmt.Sprintf("act_%d", i)), Outcome: approval.Claimed}}
				switch _, err := f.commit(claim); {
				case err == nil:
					won.Add(1)
				case errors.Is(err, gate.ErrConflict):
					lost.Add(1)
				default:
					t.Errorf("claim: %v", err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || lost.Load() != claimers-1 {
			t.Errorf("grant %d: %d of %d claims were written; want 1", g, won.Load(), claimers)
		}
		if r := f.request(id); r.Revision != 3 || len(r.Request.Uses) != 1 {
			t.Errorf("grant %d ends at revision %d with %d uses; want 3 and 1", g, r.Revision, len(r.Request.Uses))
		}
	}
}

func testCapsUnderLoad(t *testing.T, f *fixture) {
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range 200 {
		c := capped(f.insert(fmt.Sprint(i)), gate.Cap{Party: "agent:deploy-bot", Max: 5})
		wg.Go(func() {
			switch _, err := f.commit(c); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, gate.ErrCap):
				t.Errorf("insert: %v", err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 5 {
		t.Errorf("%d pending requests under a cap of 5", won.Load())
	}
}

func intent(action, request string) countersign.Event {
	return event(countersign.ActionIntent, countersign.FieldAction, action, countersign.FieldRequest, request, countersign.FieldText, "DELETE")
}

func outcome(action string) countersign.Event {
	return event(countersign.ActionOutcome, countersign.FieldAction, action, countersign.FieldOutcome, "done")
}

func testUnfinished(t *testing.T, f *fixture) {
	f.must(gate.Change{Events: []countersign.Event{intent("act_done", ""), outcome("act_done")}})
	f.must(gate.Change{Events: []countersign.Event{intent("act_lost", "req_1")}})
	f.must(gate.Change{Events: []countersign.Event{intent("act_late", "")}})
	f.must(gate.Change{Events: []countersign.Event{outcome("act_of_nobody")}})
	expect := func(want ...countersign.ActionID) []gate.Intent {
		t.Helper()
		list, err := f.Unfinished(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var got []countersign.ActionID
		for _, i := range list {
			got = append(got, i.Action)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Unfinished (-want +got):\n%s", diff)
		}
		return list
	}
	expect() // this boot's own are under way
	f.reopen()
	f.must(gate.Change{Events: []countersign.Event{intent("act_now", "")}})
	list := expect("act_lost", "act_late")
	if list[0].Request != "req_1" || list[0].Time.IsZero() || list[0].Event.Get(countersign.FieldText).String() != "DELETE" {
		t.Errorf("the unfinished intent is told as %+v", list[0])
	}
	f.must(gate.Change{Events: []countersign.Event{outcome("act_lost")}})
	expect("act_late")
	f.reopen()
	expect("act_late", "act_now")
	f.must(gate.Change{Events: []countersign.Event{outcome("act_late"), outcome("act_now")}})
	expect()
	f.reopen()
	expect()
}

func testDurable(t *testing.T, f *fixture) {
	var ids []countersign.RequestID
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 100 {
		c := f.insert(fmt.Sprintf("durable %d", i))
		c.Events = append(c.Events, intent("act_"+string(c.Insert.Record.Request.ID), ""))
		wg.Go(func() {
			if _, err := f.commit(c); err != nil {
				t.Errorf("commit: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids = append(ids, c.Insert.Record.Request.ID)
		})
	}
	wg.Wait()
	last := f.must(gate.Change{Events: []countersign.Event{event(countersign.PolicyLoaded)}})
	f.reopen()
	for _, id := range ids {
		f.request(id)
	}
	list, err := f.Unfinished(ctx)
	if err != nil || len(list) != len(ids) {
		t.Errorf("%d intents of %d after reopening, %v", len(list), len(ids), err)
	}
	if next := f.must(gate.Change{Events: []countersign.Event{event(countersign.PolicyLoaded)}}); next.First <= last.First {
		t.Errorf("event %d after reopening; the last before was %d", next.First, last.First)
	}
}

func testClock(t *testing.T, f *fixture) {
	before := f.must(gate.Change{Events: []countersign.Event{event(countersign.PolicyLoaded)}}).Time
	f.clock.Move(-time.Hour)
	for range 3 {
		if now := f.Now(); now.Before(before) {
			t.Fatalf("the clock went back from %v to %v", before, now)
		}
		r := f.must(gate.Change{Events: []countersign.Event{event(countersign.PolicyLoaded)}})
		if r.Time.Before(before) {
			t.Fatalf("event %d at %v, after one at %v", r.First, r.Time, before)
		}
		before = r.Time
		f.reopen()
	}
	// A deadline that has passed stays passed.
	c := f.insert("late")
	c.Before = before
	if _, err := f.commit(c); !errors.Is(err, gate.ErrTime) {
		t.Errorf("a change before a time that has passed: %v; want ErrTime", err)
	}
	f.clock.Move(2 * time.Hour)
	if now := f.Now(); !now.After(before.Add(30 * time.Minute)) {
		t.Errorf("the clock stays at %v though time goes on", now)
	}
}

func testContext(t *testing.T, f *fixture) {
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	called := make(chan error, 1)
	err := f.Commit(cancelled, gate.Change{Events: []countersign.Event{event(countersign.PolicyLoaded)}}, func(_ gate.Receipt, err error) { called <- err })
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Commit with a cancelled context: %v", err)
		}
		select {
		case err := <-called:
			t.Errorf("Commit failed and yet called done(%v)", err)
		case <-time.After(50 * time.Millisecond):
		}
		return
	}
	if err := <-called; err != nil {
		t.Errorf("an accepted change failed: %v", err)
	}
}

func testMalformed(t *testing.T, f *fixture) {
	for name, ev := range map[string]countersign.Event{
		"no type":         {},
		"a name twice":    event(countersign.PolicyLoaded, "a", "1", "a", "2"),
		"a name of words": event(countersign.PolicyLoaded, "two words", "1"),
	} {
		if _, err := f.commit(gate.Change{Events: []countersign.Event{ev}}); err == nil {
			t.Errorf("an event with %s was recorded", name)
		}
	}
	f.must(gate.Change{Events: []countersign.Event{event(countersign.PolicyLoaded)}})
}

func testClosed(t *testing.T, f *fixture) {
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.commit(gate.Change{Events: []countersign.Event{event(countersign.PolicyLoaded)}}); !errors.Is(err, gate.ErrClosed) {
		t.Errorf("Commit after Close: %v; want ErrClosed", err)
	}
	f.Store = f.opener(t)
}
