package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/sanitize"
	"github.com/countersign-dev/countersign/trail"
)

// found is a request that is not ended, as a start finds it.
type found struct {
	row     requestRow
	request approval.Request
	altered bool  // the store did not write the row; nothing in it is believed
	told    *life // what the trail tells of the request; nil when it does not
}

// findOpen reads the requests that are not ended, or that somebody can still join.
func (s *Store) findOpen(ctx context.Context) ([]*found, error) {
	rows, err := s.conn.QueryContext(ctx, requestColumns+`WHERE state IN (?, ?, ?, ?) OR join_mac IS NOT NULL ORDER BY seq`,
		string(approval.Pending), string(approval.Approved), string(approval.Claimed), string(approval.Uncommitted))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // its error is rows.Err's
	var all []*found
	for rows.Next() {
		f := &found{}
		if err := f.row.scan(rows.Scan); err != nil {
			return nil, err
		}
		if err := f.row.check(s.ring); err != nil {
			f.altered = true
		} else if err := json.Unmarshal(f.row.body, &f.request); err != nil {
			return nil, fmt.Errorf("decode request %s: %w", sanitize.Name(f.row.id), err)
		}
		all = append(all, f)
	}
	return all, rows.Err()
}

// oldest returns when the oldest of the requests was made.
func oldest(all []*found) time.Time {
	var t time.Time
	for _, f := range all {
		if c := f.request.Created; !f.altered && (t.IsZero() || c.Before(t)) {
			t = c
		}
	}
	return t
}

// life is what the trail tells of a request.
type life struct {
	state   approval.State // as far as signatures and its end go; that it was used is in uses
	reviews []string       // "person verdict"
	uses    []use
}

type use struct{ action, outcome string }

// lives follows some requests through the trail.
type lives map[string]*found

func (l lives) visit(raw []byte) error {
	env, err := trail.ParseEnvelope(raw)
	if err != nil {
		return err
	}
	if !slices.Contains(lifeEvents, env.Type) {
		return nil
	}
	e, err := trail.ParseEntry(raw)
	if err != nil {
		return err
	}
	f, ok := l[e.Get(countersign.FieldRequest).String()]
	if !ok {
		return nil
	}
	if e.Type == countersign.RequestOpened {
		f.told = &life{state: approval.Pending}
	}
	if f.told != nil {
		f.told.take(e)
	}
	return nil
}

// lifeEvents are the events that change the state of a request.
var lifeEvents = []countersign.EventType{
	countersign.RequestOpened, countersign.ReviewGiven, countersign.RequestApproved, countersign.RequestDenied,
	countersign.RequestExpired, countersign.RequestCancelled, countersign.GrantLapsed, countersign.GrantRevoked,
	countersign.GrantClaimed, countersign.ActionOutcome,
}

func (l *life) take(e trail.Entry) {
	switch e.Type {
	case countersign.ReviewGiven:
		l.reviews = append(l.reviews, e.Get(countersign.FieldReviewer).String()+" "+e.Get(countersign.FieldVerdict).String())
	case countersign.RequestApproved:
		l.state = approval.Approved
	case countersign.RequestDenied:
		l.state = approval.Denied
	case countersign.RequestExpired:
		l.state = approval.Expired
	case countersign.RequestCancelled:
		l.state = approval.Cancelled
	case countersign.GrantLapsed:
		l.state = approval.Lapsed
	case countersign.GrantRevoked:
		l.state = approval.Revoked
	case countersign.GrantClaimed:
		l.uses = append(l.uses, use{e.Get(countersign.FieldAction).String(), string(approval.Claimed)})
	case countersign.ActionOutcome:
		for i := range l.uses {
			if l.uses[i].action == e.Get(countersign.FieldAction).String() {
				l.uses[i].outcome = e.Get(countersign.FieldOutcome).String()
			}
		}
	}
}

// differs reports whether a request that is not ended is not the one that the trail tells of. One that
// is claimed and was made before this log began is as the log before it told: nothing can use it again.
func (f *found) differs() bool {
	r, told := f.request, f.told
	if told == nil {
		return r.IsOpen()
	}
	state := r.State
	if state == approval.Claimed || state == approval.Uncommitted {
		state = approval.Approved
	}
	return state != told.state ||
		!slices.EqualFunc(r.Reviews, told.reviews, func(v approval.Review, t string) bool {
			return sanitize.Name(string(v.Person)).String()+" "+sanitize.Name(string(v.Verdict)).String() == t
		}) ||
		!slices.EqualFunc(r.Uses, told.uses, func(u approval.Use, t use) bool {
			return sanitize.Name(string(u.Action)).String() == t.action && string(u.Outcome) == t.outcome
		})
}

// reconcile ends each request that is not the one that the trail tells of, inside the transaction that is
// under way. State and events are written in one transaction, so a crash leaves no difference: somebody has put
// back an older row, or made one. It returns the events that tell of it.
func (s *Store) reconcile(all []*found, at time.Time) ([]countersign.Event, error) {
	var events []countersign.Event
	for _, f := range all {
		if !f.altered && !f.differs() {
			continue
		}
		s.log.Error("a request in the store is not the one that the trail tells of; it is ended", "request", sanitize.Name(f.row.id))
		ev, err := s.endFound(f, approval.Revoked, sanitize.Const("the store differed from the trail: it was altered while no gateway ran"), at)
		if err != nil {
			return nil, err
		}
		events = append(events, ev)
	}
	return events, nil
}

// endFound ends a request; one that was signed gets the given state. Of a row that the store did not
// write, nothing stays but its id.
func (s *Store) endFound(f *found, signed approval.State, why sanitize.Clean, at time.Time) (countersign.Event, error) {
	r := f.request
	if f.altered {
		r = approval.Request{ID: countersign.RequestID(f.row.id), State: approval.Pending}
		view, err := json.Marshal(countersign.View{Request: r.ID})
		if err != nil {
			return countersign.Event{}, err
		}
		f.row = requestRow{seq: f.row.seq, id: f.row.id, view: view}
	}
	ev := countersign.Event{Type: countersign.RequestCancelled, Fields: []countersign.Field{
		{Name: countersign.FieldRequest, Value: sanitize.Name(string(r.ID))},
		{Name: countersign.FieldReason, Value: why},
	}}
	if !f.altered {
		ev.Fields = append(ev.Fields,
			countersign.Field{Name: countersign.FieldPrincipal, Value: own(r.Requester.ID())},
			countersign.Field{Name: countersign.FieldResource, Value: own(string(r.Resource))})
	}
	switch {
	case r.State == approval.Pending:
		r.State = approval.Cancelled
	case signed == approval.Lapsed:
		ev.Type, r.State = countersign.GrantLapsed, signed
	default:
		ev.Type, r.State = countersign.GrantRevoked, signed
	}
	r.Ended, r.Why = at, why
	body, err := json.Marshal(r)
	if err != nil {
		return countersign.Event{}, err
	}
	f.row.become(s.ring, r.State, due(r), body)
	if err := f.row.write(s.stmt.update); err != nil {
		return countersign.Event{}, err
	}
	_, err = s.stmt.noParty.Exec(f.row.seq)
	return ev, err
}
