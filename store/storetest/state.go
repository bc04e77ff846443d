package storetest

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
)

var ctx = context.Background()

var comparable = cmp.Comparer(func(a, b sanitize.Clean) bool { return a == b })

func testEmpty(t *testing.T, f *fixture) {
	a, err := f.Active(ctx)
	if err != nil || a.PolicyRevision != 0 || a.DirectoryRevision != 0 || a.Policy != nil || a.Directory != nil {
		t.Errorf("Active of an empty store = %+v, %v", a, err)
	}
	if _, err := f.Request(ctx, "req_none"); !errors.Is(err, gate.ErrNotFound) {
		t.Errorf("Request of an empty store: %v; want ErrNotFound", err)
	}
	if _, err := f.Joinable(ctx, []byte("x")); !errors.Is(err, gate.ErrNotFound) {
		t.Errorf("Joinable of an empty store: %v; want ErrNotFound", err)
	}
	if list, err := f.Requests(ctx, gate.Filter{Limit: 10}); err != nil || len(list) != 0 {
		t.Errorf("Requests of an empty store = %v, %v", list, err)
	}
	if list, err := f.Unfinished(ctx); err != nil || len(list) != 0 {
		t.Errorf("Unfinished of an empty store = %v, %v", list, err)
	}
}

func testInsertAndFind(t *testing.T, f *fixture) {
	c := f.insert("DELETE 1")
	want := c.Insert.Record
	want.Revision = 1
	f.must(c)
	for name, find := range map[string]func() (gate.Record, error){
		"Request":  func() (gate.Record, error) { return f.Request(ctx, want.Request.ID) },
		"Joinable": func() (gate.Record, error) { return f.Joinable(ctx, []byte("DELETE 1")) },
	} {
		got, err := find()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got, comparable); diff != "" {
			t.Errorf("%s gives another record (-want +got):\n%s", name, diff)
		}
		if got.View.ViewDigest() != want.View.ViewDigest() {
			t.Errorf("%s: the view has another digest than the one that was stored", name)
		}
	}
	if _, err := f.Joinable(ctx, []byte("DELETE 2")); !errors.Is(err, gate.ErrNotFound) {
		t.Errorf("Joinable with another action: %v; want ErrNotFound", err)
	}
}

func testJoinUnique(t *testing.T, f *fixture) {
	f.must(f.insert("same"))
	if _, err := f.commit(f.insert("same")); !errors.Is(err, gate.ErrConflict) {
		t.Errorf("a second open request with the same action: %v; want ErrConflict", err)
	}
	again := f.insert("other")
	f.must(again)
	again.Insert.Canonical = []byte("third")
	if _, err := f.commit(again); !errors.Is(err, gate.ErrConflict) {
		t.Errorf("a second request with the same id: %v; want ErrConflict", err)
	}
}

func testJoinEnds(t *testing.T, f *fixture) {
	for _, to := range []approval.State{
		approval.Denied, approval.Expired, approval.Cancelled, approval.Lapsed, approval.Revoked,
		approval.Claimed, approval.Uncommitted, approval.Done, approval.Failed, approval.RolledBack, approval.Unknown,
	} {
		c := f.insert("joined until " + string(to))
		f.must(c)
		r := f.request(c.Insert.Record.Request.ID)
		f.must(change(r, approval.Approved))
		if _, err := f.Joinable(ctx, c.Insert.Canonical); err != nil {
			t.Errorf("an approved request is not joinable: %v", err)
		}
		f.must(change(f.request(r.Request.ID), to))
		if _, err := f.Joinable(ctx, c.Insert.Canonical); !errors.Is(err, gate.ErrNotFound) {
			t.Errorf("Joinable after %s: %v; want ErrNotFound", to, err)
		}
		next := f.insert(string(c.Insert.Canonical))
		if _, err := f.commit(next); err != nil {
			t.Errorf("a new request with the action of one that is %s: %v", to, err)
		}
	}
}

func testStaleRevision(t *testing.T, f *fixture) {
	c := f.insert("a")
	f.must(c)
	r := f.request(c.Insert.Record.Request.ID)
	f.must(change(r, approval.Approved))
	if _, err := f.commit(change(r, approval.Denied)); !errors.Is(err, gate.ErrConflict) {
		t.Errorf("an update at a stale revision: %v; want ErrConflict", err)
	}
	now := f.request(r.Request.ID)
	if now.Revision != 2 || now.Request.State != approval.Approved {
		t.Errorf("after the refused update: revision %d, %s; want 2, approved", now.Revision, now.Request.State)
	}
	future := now
	future.Revision++
	if _, err := f.commit(change(future, approval.Denied)); !errors.Is(err, gate.ErrConflict) {
		t.Errorf("an update at a revision to come: %v; want ErrConflict", err)
	}
	ghost := now
	ghost.Request.ID = "req_ghost"
	if _, err := f.commit(change(ghost, approval.Denied)); !errors.Is(err, gate.ErrNotFound) {
		t.Errorf("an update of no request: %v; want ErrNotFound", err)
	}
}

func testActive(t *testing.T, f *fixture) {
	f.must(gate.Change{Policy: []byte("p1"), Events: []countersign.Event{event(countersign.PolicyLoaded)}})
	f.must(gate.Change{Directory: []byte("d1")})
	f.must(gate.Change{Policy: []byte("p2"), PolicyRevision: 1})
	if _, err := f.commit(gate.Change{Policy: []byte("p3"), PolicyRevision: 1}); !errors.Is(err, gate.ErrConflict) {
		t.Errorf("a policy over a stale revision: %v; want ErrConflict", err)
	}
	want := gate.Active{PolicyRevision: 2, Policy: []byte("p2"), DirectoryRevision: 1, Directory: []byte("d1")}
	for range 2 {
		got, err := f.Active(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Active (-want +got):\n%s", diff)
		}
		f.reopen()
	}
	stale := f.insert("x")
	stale.PolicyRevision, stale.DirectoryRevision = 2, 2
	if _, err := f.commit(stale); !errors.Is(err, gate.ErrConflict) {
		t.Errorf("an insert judged by another directory: %v; want ErrConflict", err)
	}
	stale.PolicyRevision, stale.DirectoryRevision = 1, 1
	if _, err := f.commit(stale); !errors.Is(err, gate.ErrConflict) {
		t.Errorf("an insert judged by another policy: %v; want ErrConflict", err)
	}
	stale.PolicyRevision = 2
	if _, err := f.commit(stale); err != nil {
		t.Errorf("an insert judged by the active policy and directory: %v", err)
	}
}

func testTime(t *testing.T, f *fixture) {
	now := f.Now()
	for name, c := range map[string]struct {
		notBefore, before time.Time
		want              error
	}{
		"within":       {now.Add(-time.Hour), now.Add(time.Hour), nil},
		"no bounds":    {time.Time{}, time.Time{}, nil},
		"too early":    {now.Add(time.Hour), time.Time{}, gate.ErrTime},
		"too late":     {time.Time{}, now.Add(-time.Microsecond), gate.ErrTime},
		"at the end":   {time.Time{}, now, gate.ErrTime},
		"at the start": {now, time.Time{}, nil},
	} {
		ch := f.insert("time " + name)
		ch.NotBefore, ch.Before = c.notBefore, c.before
		if _, err := f.commit(ch); !errors.Is(err, c.want) {
			t.Errorf("%s: %v; want %v", name, err, c.want)
		}
	}
	// The deadline is judged by the store's clock when the change is written, not when it was asked for.
	c := f.insert("deadline")
	c.Before = f.Now().Add(time.Minute)
	f.clock.Move(2 * time.Minute)
	if _, err := f.commit(c); !errors.Is(err, gate.ErrTime) {
		t.Errorf("a change past its deadline by the store's clock: %v; want ErrTime", err)
	}
}

func capped(c gate.Change, caps ...gate.Cap) gate.Change {
	c.Insert.Caps = caps
	return c
}

func testCaps(t *testing.T, f *fixture) {
	bot, owner := gate.Cap{Party: "agent:deploy-bot", Max: 2}, gate.Cap{Party: "owner:requester-1", Max: 3}
	first := capped(f.insert("1"), bot, owner)
	f.must(first)
	f.must(capped(f.insert("2"), bot, owner))
	if _, err := f.commit(capped(f.insert("3"), bot, owner)); !errors.Is(err, gate.ErrCap) {
		t.Errorf("a third pending request of an agent with a cap of 2: %v; want ErrCap", err)
	}
	other := gate.Cap{Party: "agent:other-bot", Max: 2}
	f.must(capped(f.insert("4"), other, owner))
	if _, err := f.commit(capped(f.insert("5"), other, owner)); !errors.Is(err, gate.ErrCap) {
		t.Errorf("a fourth pending request of an owner with a cap of 3: %v; want ErrCap", err)
	}
	f.reopen()
	if _, err := f.commit(capped(f.insert("3"), bot, owner)); !errors.Is(err, gate.ErrCap) {
		t.Errorf("after reopening: %v; want ErrCap", err)
	}
	// An approved request waits for nobody, so it counts no more.
	f.must(change(f.request(first.Insert.Record.Request.ID), approval.Approved))
	if _, err := f.commit(capped(f.insert("6"), bot, owner)); err != nil {
		t.Errorf("once one of them is approved: %v", err)
	}
	if _, err := f.commit(capped(f.insert("7"), gate.Cap{Party: "agent:nobody", Max: 0})); !errors.Is(err, gate.ErrCap) {
		t.Errorf("a cap of 0: %v; want ErrCap", err)
	}
}

func testNonce(t *testing.T, f *fixture) {
	for to, kept := range map[approval.State]bool{
		approval.Approved: true, approval.Claimed: true, approval.Uncommitted: true,
		approval.Denied: false, approval.Expired: false, approval.Cancelled: false, approval.Lapsed: false,
		approval.Revoked: false, approval.Done: false, approval.Failed: false, approval.RolledBack: false, approval.Unknown: false,
	} {
		c := f.insert("nonce " + string(to))
		f.must(c)
		id := c.Insert.Record.Request.ID
		f.must(change(f.request(id), to))
		got := f.request(id).Nonce
		if kept && !bytes.Equal(got, c.Insert.Record.Nonce) || !kept && got != nil {
			t.Errorf("nonce once %s: %q", to, got)
		}
	}
	c := f.insert("sealed")
	f.must(c)
	f.reopen()
	if got := f.request(c.Insert.Record.Request.ID).Nonce; !bytes.Equal(got, c.Insert.Record.Nonce) {
		t.Errorf("nonce of a pending request after reopening: %q", got)
	}
}

func testFailedChange(t *testing.T, f *fixture) {
	before := f.must(gate.Change{Events: []countersign.Event{event(countersign.PolicyLoaded)}})
	c := f.insert("never")
	c.Policy, c.Directory, c.PolicyRevision = []byte("p"), []byte("d"), 99
	if _, err := f.commit(c); !errors.Is(err, gate.ErrConflict) {
		t.Fatalf("commit: %v; want ErrConflict", err)
	}
	if _, err := f.Request(ctx, c.Insert.Record.Request.ID); !errors.Is(err, gate.ErrNotFound) {
		t.Errorf("the request of a refused change: %v; want ErrNotFound", err)
	}
	full := capped(f.insert("never either"), gate.Cap{Party: "a", Max: 5}, gate.Cap{Party: "b", Max: 0})
	full.Policy = []byte("p")
	if _, err := f.commit(full); !errors.Is(err, gate.ErrCap) {
		t.Fatalf("commit: %v; want ErrCap", err)
	}
	if a, err := f.Active(ctx); err != nil || a.PolicyRevision != 0 || a.DirectoryRevision != 0 {
		t.Errorf("the policy of a refused change is active: %+v, %v", a, err)
	}
	after := f.must(gate.Change{Events: []countersign.Event{event(countersign.PolicyLoaded)}})
	if after.First != before.First+1 {
		t.Errorf("events %d and %d: refused changes left events in the trail", before.First, after.First)
	}
}

func testRequests(t *testing.T, f *fixture) {
	var ids []countersign.RequestID
	for i := range 5 {
		c := f.insert(string(rune('a' + i)))
		f.must(c)
		ids = append(ids, c.Insert.Record.Request.ID)
	}
	f.must(change(f.request(ids[1]), approval.Approved))
	f.must(change(f.request(ids[3]), approval.Denied))
	for _, c := range []struct {
		filter gate.Filter
		want   []countersign.RequestID
	}{
		{gate.Filter{Limit: 10}, []countersign.RequestID{ids[4], ids[3], ids[2], ids[1], ids[0]}},
		{gate.Filter{Limit: 2}, []countersign.RequestID{ids[4], ids[3]}},
		{gate.Filter{States: []approval.State{approval.Pending}, Limit: 10}, []countersign.RequestID{ids[4], ids[2], ids[0]}},
		{gate.Filter{States: []approval.State{approval.Approved, approval.Denied}, Limit: 10}, []countersign.RequestID{ids[3], ids[1]}},
		{gate.Filter{States: []approval.State{approval.Expired}, Limit: 10}, nil},
	} {
		list, err := f.Requests(ctx, c.filter)
		if err != nil {
			t.Fatal(err)
		}
		var got []countersign.RequestID
		for _, r := range list {
			got = append(got, r.Request.ID)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("Requests(%+v) (-want +got):\n%s", c.filter, diff)
		}
	}
}

func testDue(t *testing.T, f *fixture) {
	at := f.Now()
	insert := func(name string, deadline time.Duration) gate.Record {
		c := f.insert(name)
		c.Insert.Record.Request.Deadline = at.Add(deadline)
		f.must(c)
		return f.request(c.Insert.Record.Request.ID)
	}
	late, soon, approved, over := insert("late", 3*time.Hour), insert("soon", time.Hour), insert("approved", time.Hour), insert("over", time.Minute)
	c := change(approved, approval.Approved)
	c.Update.Request.ClaimBy = at.Add(2 * time.Hour)
	f.must(c)
	f.must(change(over, approval.Denied))
	for _, c := range []struct {
		after time.Duration
		limit int
		want  []countersign.RequestID
	}{
		{0, 10, nil},
		{time.Hour - time.Microsecond, 10, nil},
		{time.Hour, 10, []countersign.RequestID{soon.Request.ID}},
		{4 * time.Hour, 10, []countersign.RequestID{soon.Request.ID, approved.Request.ID, late.Request.ID}},
		{4 * time.Hour, 2, []countersign.RequestID{soon.Request.ID, approved.Request.ID}},
	} {
		list, err := f.Due(ctx, at.Add(c.after), c.limit)
		if err != nil {
			t.Fatal(err)
		}
		var got []countersign.RequestID
		for _, r := range list {
			got = append(got, r.Request.ID)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("Due after %v (-want +got):\n%s", c.after, diff)
		}
	}
}
