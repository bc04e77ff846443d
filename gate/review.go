package gate

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/sanitize"
)

// Reviewer is who gives a verdict, and how he proved to be there.
type Reviewer struct {
	Principal countersign.Principal
	Login     string
	Presence  approval.Presence
}

// Review gives a person's verdict on a request. Of v, Verdict, Digest, View and Reason are used: the digests
// are those of what the reviewer was shown (P3). A refused verdict is recorded too.
func (g *Gate) Review(ctx context.Context, by Reviewer, id countersign.RequestID, v approval.Review) (Record, error) {
	for range judgements {
		act := g.active.Load()
		rec, err := g.store.Request(ctx, id)
		if errors.Is(err, ErrNotFound) {
			return Record{}, notFound()
		}
		if err != nil {
			return Record{}, unavailable(err)
		}
		v.Person, v.Login, v.Presence = by.Principal.Person, by.Login, by.Presence
		if err := g.mayReview(by); err != nil {
			return Record{}, g.reviewRefused(rec, by, v, err)
		}
		now := g.store.Now()
		next, err := rec.Request.Review(v, act.directory, now)
		if err != nil {
			return Record{}, g.reviewRefused(rec, by, v, err)
		}
		before := rec.Request.Deadline
		if rec.Request.State == approval.Approved {
			before = rec.Request.ClaimBy
		}
		_, err = g.commit(ctx, Change{
			PolicyRevision: act.policyRevision, DirectoryRevision: act.directoryRevision, Before: before,
			Update: &Update{Revision: rec.Revision, Request: next},
			Events: reviewEvents(rec, next, v),
		})
		switch {
		case err == nil:
			g.waits.wake(id)
			g.counters.review(v.Verdict)
			return g.outward(ctx, id)
		case errors.Is(err, ErrTime):
			g.expire(ctx, id)
		case errors.Is(err, ErrConflict):
			if err := g.refresh(ctx); err != nil {
				return Record{}, err
			}
		default:
			return Record{}, unavailable(err)
		}
	}
	return Record{}, unavailable(ErrConflict)
}

// mayReview is P2's first half: persons only, and present.
func (g *Gate) mayReview(by Reviewer) error {
	switch {
	case by.Principal.Kind != countersign.KindPerson:
		return &countersign.Error{
			Kind:    countersign.ErrDenied,
			Message: sanitize.Format("%s may not review: agents, keys and services never sign", sanitize.Name(by.Principal.ID())),
			Hint:    sanitize.Const("a person other than the requester has to sign"),
		}
	case by.Presence == approval.PresenceToken && !g.o.ReviewByToken:
		return &countersign.Error{
			Kind:    countersign.ErrDenied,
			Message: sanitize.Const("a token does not prove that a person is present"),
			Detail:  sanitize.Const("review_auth: token is not configured"),
			Hint:    sanitize.Const("for a trial on loopback, set review_auth: token in the gateway's configuration"),
		}
	case by.Presence == "":
		return &countersign.Error{Kind: countersign.ErrDenied, Message: sanitize.Const("a review needs a proof of presence")}
	}
	return nil
}

func (g *Gate) reviewRefused(rec Record, by Reviewer, v approval.Review, err error) error {
	var told *countersign.Error
	if !errors.As(err, &told) {
		told = internalError(err)
	}
	g.counters.ReviewsRefused.Add(1)
	g.note(requestEvent(countersign.ReviewRefused, rec,
		countersign.Field{Name: countersign.FieldReviewer, Value: sanitize.Name(by.Principal.ID())},
		countersign.Field{Name: countersign.FieldVerdict, Value: sanitize.Name(string(v.Verdict))},
		countersign.Field{Name: countersign.FieldError, Value: told.Message},
		countersign.Field{Name: "detail", Value: told.Detail}))
	if !g.maySee(by.Principal, rec.Request) {
		return notFound() // who may not see it does not learn whom it asks for
	}
	return told
}

func reviewEvents(rec Record, next approval.Request, v approval.Review) []countersign.Event {
	f := []countersign.Field{
		{Name: countersign.FieldReviewer, Value: sanitize.Name(string(v.Person))},
		{Name: countersign.FieldVerdict, Value: sanitize.Name(string(v.Verdict))},
		{Name: countersign.FieldPresence, Value: sanitize.Name(string(v.Presence))},
	}
	if v.Login != "" {
		f = append(f, countersign.Field{Name: "login", Value: sanitize.Name(v.Login)})
	}
	if !v.Reason.IsZero() {
		f = append(f, countersign.Field{Name: countersign.FieldReason, Value: v.Reason})
	}
	events := []countersign.Event{requestEvent(countersign.ReviewGiven, rec, f...)}
	if next.State != rec.Request.State {
		t := countersign.RequestApproved
		if next.State != approval.Approved {
			t = endEvent(next.State)
		}
		events = append(events, requestEvent(t, rec, countersign.Field{Name: countersign.FieldReason, Value: next.Why}))
	}
	return events
}

// Cancel ends a request at the wish of the requester, or of a person in his chain or among the owners.
func (g *Gate) Cancel(ctx context.Context, by countersign.Principal, id countersign.RequestID, why sanitize.Clean) (Record, error) {
	for range judgements {
		act := g.active.Load()
		rec, err := g.Request(ctx, by, id)
		if err != nil {
			return Record{}, err
		}
		next, err := rec.Request.Cancel(by, act.directory, g.store.Now(), why)
		if err != nil {
			return Record{}, err
		}
		_, err = g.commit(ctx, Change{
			DirectoryRevision: act.directoryRevision,
			Update:            &Update{Revision: rec.Revision, Request: next},
			Events: []countersign.Event{requestEvent(endEvent(next.State), rec,
				countersign.Field{Name: "by", Value: sanitize.Name(by.ID())},
				countersign.Field{Name: countersign.FieldReason, Value: next.Why})},
		})
		if err == nil {
			g.waits.wake(id)
			return g.outward(ctx, id)
		}
		if !errors.Is(err, ErrConflict) {
			return Record{}, unavailable(err)
		}
		if err := g.refresh(ctx); err != nil {
			return Record{}, err
		}
	}
	return Record{}, unavailable(ErrConflict)
}

// Request returns a request that is the caller's to see: his own, his agents', one that he may sign or has signed.
func (g *Gate) Request(ctx context.Context, caller countersign.Principal, id countersign.RequestID) (Record, error) {
	rec, err := g.store.Request(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return Record{}, notFound()
	}
	if err != nil {
		return Record{}, unavailable(err)
	}
	if !g.maySee(caller, rec.Request) {
		return Record{}, notFound()
	}
	rec.Nonce = nil // it never leaves the gate
	return rec, nil
}

// outward returns a request as it may leave the gate: without its nonce.
func (g *Gate) outward(ctx context.Context, id countersign.RequestID) (Record, error) {
	rec, err := g.store.Request(ctx, id)
	if err != nil {
		return Record{}, unavailable(err)
	}
	rec.Nonce = nil
	return rec, nil
}

// Requests lists the requests that are the caller's to see.
func (g *Gate) Requests(ctx context.Context, caller countersign.Principal, f Filter) ([]Record, error) {
	limit := f.Limit
	f.Limit = 0
	all, err := g.store.Requests(ctx, f)
	if err != nil {
		return nil, unavailable(err)
	}
	var seen []Record
	for _, rec := range all {
		if limit > 0 && len(seen) == limit {
			break
		}
		if g.maySee(caller, rec.Request) {
			rec.Nonce = nil
			seen = append(seen, rec)
		}
	}
	return seen, nil
}

func (g *Gate) maySee(caller countersign.Principal, r approval.Request) bool {
	_, dir := g.Active()
	now, err := dir.Principal(caller)
	if err != nil {
		return false
	}
	if now.ID() == r.Requester.ID() {
		return true
	}
	if now.Kind != countersign.KindPerson {
		return false
	}
	if slices.Contains(r.Requester.Interested(), now.Person) {
		return true
	}
	for _, v := range r.Reviews {
		if v.Person == now.Person {
			return true
		}
	}
	for _, seat := range r.Seats {
		if slices.ContainsFunc(seat.Groups, now.In) {
			return true
		}
	}
	return false
}

// CanSign says whether a person's signature would count on a request now, and if not, why.
func (g *Gate) CanSign(person countersign.PersonID, rec Record) (bool, sanitize.Clean) {
	_, dir := g.Active()
	return rec.Request.CanSign(person, dir)
}

// Wait returns the request once its revision differs from the one given, or when ctx ends, as it then is.
func (g *Gate) Wait(ctx context.Context, caller countersign.Principal, id countersign.RequestID, revision uint64) (Record, error) {
	changed, stop := g.waits.watch(id)
	defer stop()
	poll := time.NewTicker(g.o.Poll)
	defer poll.Stop()
	for {
		// The last look is for a caller whose time is over: it has to see the state all the same.
		rec, err := g.Request(context.WithoutCancel(ctx), caller, id)
		if err != nil || rec.Revision != revision || ctx.Err() != nil {
			return rec, err
		}
		select {
		case <-ctx.Done():
		case <-g.ctx.Done():
			return rec, nil
		case <-changed:
		case <-poll.C:
		}
	}
}

// Counters count since the start of the gate.
type Counters struct {
	Allowed, Denied, Held, Claimed        atomic.Int64
	Approvals, Denials, ReviewsRefused    atomic.Int64
	Done, Failed, RolledBack, UnknownEnds atomic.Int64
}

// Counters returns the gate's counters, and the number of requests that somebody waits for now.
func (g *Gate) Counters() (c *Counters, waiting int) { return &g.counters, g.waits.held() }

func (c *Counters) outcome(s approval.State) {
	switch s {
	case approval.Done:
		c.Done.Add(1)
	case approval.Failed:
		c.Failed.Add(1)
	case approval.RolledBack:
		c.RolledBack.Add(1)
	case approval.Unknown:
		c.UnknownEnds.Add(1)
	}
}

func (c *Counters) review(v approval.Verdict) {
	if v == approval.Deny {
		c.Denials.Add(1)
	} else {
		c.Approvals.Add(1)
	}
}
