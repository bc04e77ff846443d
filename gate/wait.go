package gate

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/sanitize"
)

// wait returns once the request is approved, or an error once it has ended or the wait has.
func (s *Session) wait(ctx context.Context, rec Record, h Hold) (Record, error) {
	id := rec.Request.ID
	changed, stop := s.g.waits.watch(id)
	defer stop()
	// It may have changed between the caller's read and the watch.
	rec, err := s.g.store.Request(ctx, id)
	if err != nil {
		return Record{}, unavailable(err)
	}
	began := time.Now()
	var over, tell <-chan time.Time
	if h.Max > 0 {
		timer := time.NewTimer(h.Max)
		defer timer.Stop()
		over = timer.C
		if h.Every > 0 {
			ticker := time.NewTicker(h.Every)
			defer ticker.Stop()
			tell = ticker.C
		}
	}
	// Replicas are polled at uneven times, so that a thousand waits do not all look at once.
	poll := time.NewTicker(s.g.o.Poll + rand.N(s.g.o.Poll/4+1))
	defer poll.Stop()

	notify := h.Max > 0 && h.Notify != nil
	for {
		if done, err := s.settled(rec); done || err != nil {
			return rec, err
		}
		if h.Max <= 0 {
			return Record{}, s.g.pending(rec, sanitize.Const("no wait was asked for"))
		}
		if notify {
			if err := h.Notify(s.g.heldAs(rec, time.Since(began))); err != nil {
				return Record{}, goneError(rec, err)
			}
			notify = false
		}
		select {
		case <-ctx.Done():
			return Record{}, goneError(rec, ctx.Err())
		case <-s.done:
			return Record{}, s.Err()
		case <-over:
			return Record{}, s.g.pending(rec, sanitize.Format("the wait of %s is over", sanitize.Duration(h.Max)))
		case <-h.Stop:
			return Record{}, s.g.pending(rec, sanitize.Const("others wait on this transaction's locks"))
		case <-tell:
			notify = h.Notify != nil
			continue
		case <-changed:
		case <-poll.C:
		}
		if rec, err = s.g.store.Request(ctx, id); err != nil {
			return Record{}, unavailable(err)
		}
	}
}

// settled reports whether the request may be claimed, or says how it ended.
func (s *Session) settled(rec Record) (bool, error) {
	r := rec.Request
	switch r.State {
	case approval.Pending:
		return false, nil
	case approval.Approved:
		return true, nil
	case approval.Claimed, approval.Uncommitted, approval.Done, approval.Failed, approval.RolledBack, approval.Unknown:
		// Another session of the same requester joined the same request and used its grant.
		return false, &countersign.Error{
			Kind:    countersign.ErrConflict,
			Message: sanitize.Format("the grant of request %s has been used by another session of yours", sanitize.Name(string(r.ID))),
			Hint:    sanitize.Const("run it again to ask for another"),
			Request: r.ID,
		}
	default:
		return false, endedError(r)
	}
}

// endedError words the end of a request that will not run.
func endedError(r approval.Request) error {
	return &countersign.Error{
		Kind:    countersign.ErrDenied,
		Message: sanitize.Format("request %s is %s", sanitize.Name(string(r.ID)), stateName(r.State)),
		Detail:  r.Why,
		Hint:    sanitize.Const("nothing has run; `countersign requests show` tells the whole story"),
		Request: r.ID,
	}
}

func (g *Gate) heldAs(rec Record, waited time.Duration) Held {
	_, dir := g.Active()
	r := rec.Request
	return Held{
		Request: r.ID, Link: g.link(r.ID), Waited: waited, Until: r.Deadline,
		Needs: needs(r.OpenSeats(dir), r.Confirm),
	}
}

func (g *Gate) pending(rec Record, why sanitize.Clean) error {
	_, dir := g.Active()
	return &countersign.Error{
		Kind:    countersign.ErrPending,
		Message: sanitize.Format("held: request %s waits for %s", sanitize.Name(string(rec.Request.ID)), needs(rec.Request.OpenSeats(dir), rec.Request.Confirm)),
		Detail:  sanitize.Join("; ", why, sanitize.Format("the request itself waits until %s", sanitize.Time(rec.Request.Deadline))),
		Hint:    sanitize.Format("run the same again after approval (`countersign approve %s`)", sanitize.Name(string(rec.Request.ID))),
		Request: rec.Request.ID,
	}
}

// endRequest applies end to an open request and records it. A request that has ended already is left alone.
func (g *Gate) endRequest(ctx context.Context, id countersign.RequestID, end func(approval.Request, time.Time) (approval.Request, error)) {
	for range judgements {
		rec, err := g.store.Request(ctx, id)
		if err != nil || !rec.Request.IsOpen() {
			return
		}
		next, err := end(rec.Request, g.store.Now())
		if err != nil {
			return // it has ended, or been used, meanwhile
		}
		_, err = g.commit(ctx, Change{
			Update: &Update{Revision: rec.Revision, Request: next},
			Events: []countersign.Event{requestEvent(endEvent(next.State), rec, countersign.Field{Name: countersign.FieldReason, Value: next.Why})},
		})
		if err == nil {
			g.waits.wake(id)
			return
		}
		if !errors.Is(err, ErrConflict) {
			g.o.Logger.Error("the end of a request was not recorded", "request", string(id), "error", g.o.Sanitizer.Text(err.Error()))
			return
		}
	}
}

// expire ends a request whose deadline has passed.
func (g *Gate) expire(ctx context.Context, id countersign.RequestID) {
	g.endRequest(ctx, id, func(r approval.Request, now time.Time) (approval.Request, error) {
		next, passed := r.Expire(now)
		if !passed {
			return r, errors.New("its deadline has not passed")
		}
		return next, nil
	})
}

// endEvent is the event that tells of a request's end.
func endEvent(s approval.State) countersign.EventType {
	switch s {
	case approval.Denied:
		return countersign.RequestDenied
	case approval.Expired:
		return countersign.RequestExpired
	case approval.Lapsed:
		return countersign.GrantLapsed
	case approval.Revoked:
		return countersign.GrantRevoked
	default:
		return countersign.RequestCancelled
	}
}
