package gate

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/sanitize"
)

// Permit is the right to run one action once. Only Admit makes one. Its methods are for one goroutine.
type Permit struct {
	s       *Session
	a       *countersign.Action
	id      sanitize.Clean // of the action
	request countersign.RequestID
	limits  countersign.Limits
	began   time.Time

	intent *answer // says once whether the intent is durable; nil when it was awaited
	failed error   // why the intent is not durable

	rows, bytes int64 // counted so far
	over        bool
	once        sync.Once
}

// Action returns the name of the action in the trail.
func (p *Permit) Action() countersign.ActionID { return countersign.ActionID(p.id.String()) }

// Request returns the request whose grant was claimed, or "".
func (p *Permit) Request() countersign.RequestID { return p.request }

// Durable waits until the intent is durable. No byte of a result may leave before it has returned nil (P6).
// On an error the result must be dropped, and the error told.
func (p *Permit) Durable(ctx context.Context) error {
	if p.intent == nil {
		return p.failed
	}
	// The store always answers, and soon; an answer is awaited even when ctx has ended, so that what is
	// told agrees with what is recorded.
	err := <-p.intent.err
	p.s.spare, p.intent = p.intent, nil
	if errors.Is(err, ErrConflict) {
		err = p.judgeAgain(ctx)
	}
	if err != nil {
		p.failed = unavailable(err)
	}
	return p.failed
}

// judgeAgain is for a read whose intent met a newer policy or directory: it holds only if they allow it too.
func (p *Permit) judgeAgain(ctx context.Context) error {
	for range judgements {
		if err := p.s.g.refresh(ctx); err != nil {
			return err
		}
		act := p.s.g.active.Load()
		who, err := p.s.who(act)
		if err != nil {
			return err
		}
		d := act.decide(who, p.s.resource, p.a)
		if d.Verdict != countersign.Allow {
			return p.s.refuse(p.a, d, p.s.g.deniedBy(&d))
		}
		p.limits = d.Limits
		_, err = p.s.g.commit(ctx, Change{
			PolicyRevision: act.policyRevision, DirectoryRevision: act.directoryRevision,
			Events: []countersign.Event{p.s.intentEvent(p.a, p.id, &d, Record{})},
		})
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return ErrConflict
}

// Count counts a part of the result before it is sent to the client. An ErrLimit error says that this
// part and all that follow may not be sent; running the same action again then opens an export request.
func (p *Permit) Count(rows, bytes int64) error {
	if p.over {
		return p.limitError()
	}
	l := &p.limits
	switch {
	case l.Rows != 0 && p.rows+rows > l.Rows, l.Bytes != 0 && p.bytes+bytes > l.Bytes:
		p.over = true
	case l.RowsPerHour != 0 || l.BytesPerHour != 0:
		key := usageKey{p.s.principal.ID(), p.s.resource.Name}
		p.over = !p.s.g.usage.take(key, rows, bytes, *l, p.s.g.store.Now())
	}
	if p.over {
		if who, err := p.s.who(p.s.g.active.Load()); err == nil {
			p.s.g.exports.remember(anywhere(p.a, *who), p.s.g.store.Now())
		}
		return p.limitError()
	}
	p.rows += rows
	p.bytes += bytes
	return nil
}

func (p *Permit) limitError() error {
	l := p.limits
	var parts []sanitize.Clean
	add := func(n int64, what sanitize.Clean) {
		if n != 0 {
			parts = append(parts, sanitize.Join(" ", sanitize.Int(n), what))
		}
	}
	add(l.Rows, sanitize.Const("rows a statement"))
	add(l.Bytes, sanitize.Const("bytes a statement"))
	add(l.RowsPerHour, sanitize.Const("rows an hour"))
	add(l.BytesPerHour, sanitize.Const("bytes an hour"))
	return &countersign.Error{
		Kind:    countersign.ErrLimit,
		Message: sanitize.Format("the result was cut off after %s rows", sanitize.Int(p.rows)),
		Detail:  sanitize.Format("policy allows %s", sanitize.Join(", ", parts...)),
		Hint:    sanitize.Const("narrow the query with WHERE or LIMIT; or run it again unchanged to ask for an export of the whole result"),
	}
}

// Outcome is how an action ended.
type Outcome struct {
	// State is approval.Done, Failed, or Unknown.
	State approval.State
	// InBlock: it ran inside a transaction block that is still open, so that Done is not yet final.
	InBlock bool
	Rows    int64          // returned or affected, -1 when not known
	Error   sanitize.Clean // what the upstream said
}

// Finish records the outcome. Only the first call counts.
func (p *Permit) Finish(o Outcome) {
	p.once.Do(func() {
		if p.intent != nil && p.Durable(p.s.g.ctx) != nil {
			return // no intent, no outcome; the refusal is recorded, or nothing can be
		}
		if p.failed != nil {
			return
		}
		state := o.State
		if o.InBlock && state == approval.Done && p.a.Effects.Privileged() {
			state = approval.Uncommitted
			p.s.block.uncommitted = append(p.s.block.uncommitted, p)
		}
		p.record(state, o)
	})
}

func (p *Permit) record(state approval.State, o Outcome) {
	const usual = 8 // fields
	f := append(make([]countersign.Field, 0, usual),
		countersign.Field{Name: countersign.FieldAction, Value: p.id},
		countersign.Field{Name: countersign.FieldSession, Value: p.s.id},
		countersign.Field{Name: countersign.FieldPrincipal, Value: p.s.base[0].Value},
		countersign.Field{Name: countersign.FieldResource, Value: p.s.base[1].Value},
		countersign.Field{Name: countersign.FieldOutcome, Value: stateName(state)})
	if o.Rows >= 0 {
		f = append(f, countersign.Field{Name: countersign.FieldRows, Value: sanitize.Int(o.Rows)})
	}
	if p.bytes > 0 {
		f = append(f, countersign.Field{Name: countersign.FieldBytes, Value: sanitize.Int(p.bytes)})
	}
	if !o.Error.IsZero() {
		f = append(f, countersign.Field{Name: countersign.FieldError, Value: o.Error})
	}
	if state == approval.RolledBack && p.a.Effects.Any(countersign.Execute|countersign.Write|countersign.Admin) {
		f = append(f, countersign.Field{Name: "remains", Value: sanitize.Const("sequences and whatever code did outside the transaction do not roll back")})
	}
	f = append(f, countersign.Field{Name: countersign.FieldDuration, Value: sanitize.Duration(time.Since(p.began))})
	if p.request != "" {
		f = append(f, countersign.Field{Name: countersign.FieldRequest, Value: sanitize.Name(string(p.request))})
	}
	p.s.g.counters.outcome(state)
	ev := countersign.Event{Type: countersign.ActionOutcome, Fields: f}
	if p.request == "" {
		p.s.g.note(ev)
		return
	}
	if err := p.s.g.settle(p.s.g.ctx, p.request, p.Action(), state, ev); err != nil {
		p.s.g.o.Logger.Error("an outcome was not recorded", "action", p.id, "error", p.s.g.o.Sanitizer.Text(err.Error()))
	}
}

// settle writes an outcome to the request and to the trail in one step. Without a request it is an event only.
func (g *Gate) settle(ctx context.Context, id countersign.RequestID, action countersign.ActionID, state approval.State, ev countersign.Event) error {
	for range judgements {
		c := Change{Events: []countersign.Event{ev}}
		if id != "" {
			rec, err := g.store.Request(ctx, id)
			if err != nil {
				return err
			}
			for i, u := range rec.Request.Uses {
				if u.Action != action {
					continue
				}
				next, err := rec.Request.Outcome(i, state, g.store.Now())
				if err != nil {
					return err
				}
				c.Update = &Update{Revision: rec.Revision, Request: next}
			}
		}
		_, err := g.commit(ctx, c)
		if err == nil {
			g.waits.wake(id)
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return ErrConflict
}

func stateName(s approval.State) sanitize.Clean {
	if s == approval.Done {
		return doneName // nearly always
	}
	return sanitize.Name(string(s))
}

var doneName = sanitize.Name(string(approval.Done))

// Left returns how many rows the limit of the statement still allows, or -1 when it has none. A front
// uses it to end a result exactly at its limit; Count decides.
func (p *Permit) Left() int64 {
	switch {
	case p.over:
		return 0
	case p.limits.Rows == 0:
		return -1
	default:
		return p.limits.Rows - p.rows
	}
}
