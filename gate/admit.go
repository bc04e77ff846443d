package gate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/policy"
	"github.com/countersign-dev/countersign/sanitize"
)

// decide asks the active policy.
func (act *active) decide(p *countersign.Principal, r *countersign.Resource, a *countersign.Action) countersign.Decision {
	return act.policy.Decide(policy.Input{
		Principal: p, Resource: r, Effects: a.Effects, Objects: a.Objects, Facts: &a.Facts, Shape: a.Shape,
	})
}

// effective returns a as the gate judges and binds it: with the block it runs in, unknown when nothing is
// known of it, and an export when its result has passed a limit before. It is a itself where that changes nothing.
func (s *Session) effective(a *countersign.Action, p *countersign.Principal) *countersign.Action {
	export := s.g.exports.n.Load() > 0 && s.g.exports.has(anywhere(a, *p), s.g.store.Now())
	if a.Effects != 0 && s.block.id == "" && !export {
		return a
	}
	b := *a
	if b.Effects == 0 {
		b.Effects = countersign.Unknown
	}
	if s.block.id != "" {
		b.Facts.InTransaction = true
		at, _ := slices.BinarySearchFunc(b.Context, contextBlock, func(x countersign.Setting, name string) int { return strings.Compare(x.Name, name) })
		b.Context = slices.Insert(slices.Clip(b.Context), at, countersign.Setting{Name: contextBlock, Value: countersign.Raw(s.block.id)})
	}
	if export {
		b.Effects |= countersign.Export
		b.Why = append(slices.Clone(b.Why), countersign.Evidence{
			Effect: countersign.Export,
			Why:    sanitize.Const("its result passed the limit of policy, and it was run again for the whole"),
		})
	}
	return &b
}

// The parts of the context that name a transaction block: the gate's name of it, and a front's ContextTransaction.
const (
	contextBlock = "block"
	// ContextTransaction is the setting under which a front binds what ran before in the same block.
	ContextTransaction = "transaction"
)

// anywhere is the canonical form of a, whatever transaction block it runs in: run again in the next block, it
// is the same action to the memory of exports.
func anywhere(a *countersign.Action, p countersign.Principal) []byte {
	b := *a
	b.Context = slices.DeleteFunc(slices.Clone(a.Context), func(s countersign.Setting) bool {
		return s.Name == contextBlock || s.Name == ContextTransaction
	})
	return b.Canonical(p)
}

// Admit returns a Permit if a may run now: allowed by policy, or signed and claimed. Otherwise it returns
// a *countersign.Error: ErrDenied, ErrPending (the wait ended, the request lives on), ErrLimit,
// ErrUnavailable. A privileged action's intent is durable when Admit returns (P6); that of an action with
// the effects read and session only is durable when the Permit's Durable returns.
//
// When ctx ends, the wait ends, not the request, and nothing is claimed for a client that has gone. The Permit
// keeps a, which must not be changed any more.
func (s *Session) Admit(ctx context.Context, a *countersign.Action, h Hold) (*Permit, error) {
	for range judgements {
		if err := s.Err(); err != nil {
			return nil, err
		}
		act := s.g.active.Load()
		who, err := s.who(act)
		if err != nil {
			return nil, err
		}
		b := s.effective(a, who)
		d := s.decide(act, who, b)
		var permit *Permit
		switch d.Verdict {
		case countersign.Allow:
			permit, err = s.allow(ctx, act, b, d)
		case countersign.Confirm, countersign.Review:
			permit, err = s.held(ctx, *who, b, h)
		default:
			return nil, s.refuse(b, *d, s.g.deniedBy(d))
		}
		if !errors.Is(err, ErrConflict) {
			return permit, err
		}
		if err := s.g.refresh(ctx); err != nil {
			return nil, err
		}
	}
	return nil, unavailable(ErrConflict)
}

// allow records the intent of an action that policy allows.
func (s *Session) allow(ctx context.Context, act *active, a *countersign.Action, d *countersign.Decision) (*Permit, error) {
	p := &Permit{s: s, a: a, id: newID(actionPrefix), limits: d.Limits, began: time.Now()}
	c := Change{
		PolicyRevision: act.policyRevision, DirectoryRevision: act.directoryRevision,
		Events: []countersign.Event{s.intentEvent(a, p.id, d, Record{})},
	}
	s.g.counters.Allowed.Add(1)
	if a.Effects.Privileged() || len(s.block.uncommitted) > 0 {
		// Awaited also in a block that has changed something: its COMMIT is one of these actions.
		if _, err := s.g.commit(ctx, c); err != nil {
			if errors.Is(err, ErrConflict) {
				return nil, err
			}
			return nil, unavailable(err)
		}
		return p, nil
	}
	if p.intent = s.spare; p.intent == nil {
		p.intent = newAnswer()
	}
	s.spare = nil
	if err := s.g.store.Commit(ctx, c, p.intent.done); err != nil {
		return nil, unavailable(err)
	}
	return p, nil
}

// answer receives what the store says of one Change.
type answer struct {
	err  chan error
	done func(Receipt, error)
}

func newAnswer() *answer {
	w := &answer{err: make(chan error, 1)}
	w.done = func(_ Receipt, err error) { w.err <- err }
	return w
}

func (s *Session) intentEvent(a *countersign.Action, id sanitize.Clean, d *countersign.Decision, rec Record) countersign.Event {
	f := s.described(a, id, d)
	if rec.Request.ID != "" {
		f = append(f,
			countersign.Field{Name: countersign.FieldRequest, Value: sanitize.Name(string(rec.Request.ID))},
			countersign.Field{Name: countersign.FieldDigest, Value: rec.Request.Digest.Clean()})
	}
	return countersign.Event{Type: countersign.ActionIntent, Fields: f}
}

// refuse records a refusal and returns it. That the record fails does not make the answer a yes.
func (s *Session) refuse(a *countersign.Action, d countersign.Decision, why *countersign.Error) error {
	s.g.counters.Denied.Add(1)
	if _, err := s.g.commit(s.g.ctx, Change{Events: []countersign.Event{s.refused(a, d, why)}}); err != nil {
		s.g.o.Logger.Error("a refusal was not recorded", "error", s.g.o.Sanitizer.Text(err.Error()))
	}
	return why
}

// deniedBy words policy's no.
func (g *Gate) deniedBy(d *countersign.Decision) *countersign.Error {
	e := &countersign.Error{
		Kind:    countersign.ErrDenied,
		Message: sanitize.Const("denied by policy"),
		Detail:  g.o.Sanitizer.Text(d.Reason),
		Hint:    sanitize.Const("change the action, or ask those who write the policy; `countersign policy explain` shows each rule's part"),
	}
	if len(d.Rules) > 0 {
		e.Message = sanitize.Format("denied by policy rule %s", sanitize.Join(", ", cleanNames(d.Rules)...))
	}
	return e
}

func cleanNames[T ~string](list []T) []sanitize.Clean {
	out := make([]sanitize.Clean, len(list))
	for i, n := range list {
		out[i] = sanitize.Name(string(n))
	}
	return out
}

// held joins or opens the request for a, waits for its signatures, and claims its grant.
func (s *Session) held(ctx context.Context, who countersign.Principal, a *countersign.Action, h Hold) (*Permit, error) {
	canonical := a.Canonical(who)
	rec, err := s.g.store.Joinable(ctx, canonical)
	if errors.Is(err, ErrNotFound) {
		rec, err = s.submit(ctx, a, canonical)
	}
	if err != nil {
		if errors.Is(err, ErrConflict) {
			return nil, err
		}
		return nil, unavailable(err)
	}
	rec, err = s.wait(ctx, rec, h)
	if err != nil {
		return nil, err
	}
	return s.claim(ctx, rec.Request.ID, a, canonical)
}

// submit opens a request for a.
func (s *Session) submit(ctx context.Context, a *countersign.Action, canonical []byte) (Record, error) {
	act := s.g.active.Load()
	who, err := s.who(act)
	if err != nil {
		return Record{}, err
	}
	d := act.decide(who, s.resource, a)
	if d.Verdict != countersign.Review && d.Verdict != countersign.Confirm {
		return Record{}, ErrConflict // policy has changed since the caller looked
	}
	if err := s.deniedBefore(ctx, *who, a, d); err != nil {
		return Record{}, err
	}
	nonce := make([]byte, 32)
	rand.Read(nonce)
	now := s.g.store.Now()
	view := s.view(a, *who, d, act, countersign.BindingDigest(nonce, canonical), now)
	req, err := approval.Open(approval.Opening{
		ID: view.Request, Resource: s.resource.Name, Requester: *who, Digest: view.Digest, View: view.ViewDigest(),
		Policy: act.policyDigest, Decision: d, MaxUses: 1,
	}, act.directory, now)
	if err != nil {
		var told *countersign.Error
		if !errors.As(err, &told) {
			return Record{}, internalError(err)
		}
		return Record{}, s.refuse(a, d, told)
	}
	rec := Record{Revision: 1, Request: req, View: view, Nonce: nonce, Transaction: s.block.id}
	opened := requestEvent(countersign.RequestOpened, rec, s.described(a, sanitize.Clean{}, &d)[len(s.base):]...)
	opened.Fields = append(opened.Fields,
		countersign.Field{Name: countersign.FieldPolicy, Value: act.policyDigest.Clean()},
		countersign.Field{Name: countersign.FieldSession, Value: s.id},
		countersign.Field{Name: "needs", Value: needs(req.Seats, req.Confirm)})
	_, err = s.g.commit(ctx, Change{
		PolicyRevision: act.policyRevision, DirectoryRevision: act.directoryRevision,
		Insert: &Insert{Record: rec, Canonical: canonical, Caps: s.g.caps(*who)},
		Events: []countersign.Event{opened},
	})
	if errors.Is(err, ErrCap) {
		return Record{}, s.refuse(a, d, s.g.tooMany())
	}
	if err != nil {
		return Record{}, err
	}
	s.g.counters.Held.Add(1)
	if s.block.id != "" {
		s.block.requests = append(s.block.requests, req.ID)
	}
	return rec, nil
}

// view is what reviewers will be shown.
func (s *Session) view(a *countersign.Action, who countersign.Principal, d countersign.Decision, act *active, digest countersign.Digest, now time.Time) countersign.View {
	labels := make([]string, 0, len(s.resource.Labels))
	for k, v := range s.resource.Labels {
		labels = append(labels, k+"="+v)
	}
	sort.Strings(labels)
	expires := d.Expires
	if expires == 0 {
		expires = approval.DefaultExpires
	}
	return countersign.View{
		Request: countersign.RequestID(newID(requestPrefix).String()), Digest: digest,
		Resource: s.resource.Name, ResourceKind: s.resource.Kind, Labels: labels,
		Front: a.Front, Database: s.opening.Database, Role: s.opening.Role, Requester: who,
		Text: a.Shown, Effects: a.Effects, Objects: a.Objects, Facts: a.Facts, Why: a.Why, Shape: a.Shape,
		Justification: a.Justification, Context: s.g.shownContext(a.Context), Decision: d, Policy: act.policyDigest,
		Asked: now.UTC(), Expires: now.Add(expires).UTC(),
	}
}

// maxShownSetting is the longest value of a setting that a reviewer is shown.
const maxShownSetting = 1 << 10

// shownContext is the context that a is bound to as reviewers see it: all of it.
func (g *Gate) shownContext(list []countersign.Setting) []countersign.ShownSetting {
	shown := make([]countersign.ShownSetting, len(list))
	for i, s := range list {
		shown[i].Name = sanitize.Name(s.Name)
		switch {
		case s.Name == contextBlock || s.Name == ContextTransaction:
			shown[i].Value = sanitize.Name(string(s.Value)) // random, or a hash
		case len(s.Value) > maxShownSetting:
			shown[i].Value = sanitize.Format("[%s bytes]", sanitize.Int(int64(len(s.Value))))
		default:
			shown[i].Value = g.o.Sanitizer.Value(s.Name, string(s.Value))
		}
	}
	return shown
}

// caps are the parties whose pending requests are counted.
func (g *Gate) caps(who countersign.Principal) []Cap {
	if who.Kind == countersign.KindPerson {
		return []Cap{{who.ID(), g.o.PendingPerOwner}}
	}
	caps := []Cap{{who.ID(), g.o.PendingPerAgent}}
	for _, p := range who.Interested() {
		c := Cap{"owner:" + string(p), g.o.PendingPerOwner}
		if !slices.Contains(caps, c) {
			caps = append(caps, c)
		}
	}
	return caps
}

func (g *Gate) tooMany() *countersign.Error {
	return &countersign.Error{
		Kind:    countersign.ErrLimit,
		Message: sanitize.Const("refused: too many requests are waiting already"),
		Detail: sanitize.Format("at most %s pending requests an agent and %s an owner",
			sanitize.Int(int64(g.o.PendingPerAgent)), sanitize.Int(int64(g.o.PendingPerOwner))),
		Hint: sanitize.Const("wait until one is decided, or cancel one with `countersign requests cancel ID`"),
	}
}

// deniedBefore answers an action whose like was denied to the same requester a moment ago.
func (s *Session) deniedBefore(ctx context.Context, who countersign.Principal, a *countersign.Action, d countersign.Decision) error {
	recent, err := s.g.store.Requests(ctx, Filter{States: []approval.State{approval.Denied}, Limit: denialsRemembered})
	if err != nil {
		return err
	}
	since := s.g.store.Now().Add(-denialMemory)
	for _, rec := range recent {
		r := rec.Request
		if r.Resource != s.resource.Name || r.Requester.ID() != who.ID() || rec.View.Shape != a.Shape || r.Ended.Before(since) {
			continue
		}
		return s.refuse(a, d, &countersign.Error{
			Kind:    countersign.ErrDenied,
			Message: sanitize.Format("denied: %s, of the same shape, was denied at %s", sanitize.Name(string(r.ID)), sanitize.Time(r.Ended)),
			Detail:  r.Why,
			Hint: sanitize.Format("a denial answers the same shape for %s; talk to the reviewer before you ask again",
				sanitize.Duration(denialMemory)),
			Request: r.ID,
		})
	}
	return nil
}

// needs words whose signatures are missing: "1 of dba, 1 of dba or security".
func needs(seats []countersign.Seat, confirm bool) sanitize.Clean {
	var parts []sanitize.Clean
	count := map[string]int64{}
	var order []string
	for _, seat := range seats {
		key := joinGroups(seat.Groups)
		if count[key] == 0 {
			order = append(order, key)
		}
		count[key]++
	}
	for _, key := range order {
		groups := cleanNames(strings.Split(key, "\x00"))
		parts = append(parts, sanitize.Format("%s of %s", sanitize.Int(count[key]), sanitize.Join(" or ", groups...)))
	}
	if confirm {
		parts = append(parts, sanitize.Const("the confirmation of the person acted for"))
	}
	return sanitize.Join(", ", parts...)
}

func joinGroups(groups []countersign.Group) string {
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = string(g)
	}
	sort.Strings(names)
	return strings.Join(names, "\x00")
}

// claim takes the grant of an approved request for a, everything judged again in the same write (P4).
func (s *Session) claim(ctx context.Context, id countersign.RequestID, a *countersign.Action, canonical []byte) (*Permit, error) {
	for range judgements {
		rec, err := s.g.store.Request(ctx, id)
		if err != nil {
			return nil, unavailable(err)
		}
		act := s.g.active.Load()
		who, err := s.who(act)
		if err != nil {
			return nil, err
		}
		d := act.decide(who, s.resource, a)
		p := &Permit{s: s, a: a, id: newID(actionPrefix), request: id, limits: d.Limits, began: time.Now()}
		if a.Effects.Has(countersign.Export) {
			p.limits = countersign.Limits{} // the whole result is what was signed
		}
		now := s.g.store.Now()
		next, _, err := rec.Request.Claim(approval.Claim{
			Claimer: *who, Digest: countersign.BindingDigest(rec.Nonce, canonical), Action: p.Action(), Decision: d,
		}, act.directory, now)
		if errors.Is(err, approval.ErrSignaturesNoLongerCount) {
			if conflict := s.g.revoke(ctx, act, rec); errors.Is(conflict, ErrConflict) {
				if err := s.g.refresh(ctx); err != nil {
					return nil, err
				}
				continue
			}
		}
		if err != nil {
			return nil, s.claimRefused(rec, a, d, err)
		}
		if err := ctx.Err(); err != nil {
			return nil, goneError(rec, err)
		}
		_, err = s.g.commit(ctx, Change{
			PolicyRevision: act.policyRevision, DirectoryRevision: act.directoryRevision, Before: rec.Request.ClaimBy,
			Update: &Update{Revision: rec.Revision, Request: next},
			Events: []countersign.Event{
				requestEvent(countersign.GrantClaimed, rec, countersign.Field{Name: countersign.FieldAction, Value: p.id}),
				s.intentEvent(a, p.id, &d, rec),
			},
		})
		switch {
		case err == nil:
			s.g.waits.wake(id)
			s.g.counters.Claimed.Add(1)
			if err := ctx.Err(); err != nil {
				// The client went while the claim was being written: it is used up, and nothing runs.
				p.Finish(Outcome{State: approval.Failed, Rows: -1, Error: sanitize.Const("not run: the client had gone")})
				return nil, goneError(rec, err)
			}
			return p, nil
		case errors.Is(err, ErrTime):
			s.g.expire(ctx, id)
		case errors.Is(err, ErrConflict):
			if err := s.g.refresh(ctx); err != nil {
				return nil, err
			}
		default:
			return nil, unavailable(err)
		}
	}
	return nil, unavailable(ErrConflict)
}

// revoke ends a grant whose signatures no longer count under the configuration it was judged by, if that
// is still the active one: a replica that has not noticed a change must not end a good grant.
func (g *Gate) revoke(ctx context.Context, act *active, rec Record) error {
	next, err := rec.Request.Revoke(g.store.Now(), sanitize.Const("its signatures no longer count: a reviewer left, or policy now asks for more"))
	if err != nil {
		return err
	}
	_, err = g.commit(ctx, Change{
		PolicyRevision: act.policyRevision, DirectoryRevision: act.directoryRevision,
		Update: &Update{Revision: rec.Revision, Request: next},
		Events: []countersign.Event{requestEvent(countersign.GrantRevoked, rec, countersign.Field{Name: countersign.FieldReason, Value: next.Why})},
	})
	if err == nil {
		g.waits.wake(rec.Request.ID)
	}
	return err
}

// claimRefused records why a grant could not be claimed.
func (s *Session) claimRefused(rec Record, a *countersign.Action, d countersign.Decision, err error) error {
	var told *countersign.Error
	if !errors.As(err, &told) {
		return internalError(fmt.Errorf("claiming %s: %w", rec.Request.ID, err))
	}
	told.Request = rec.Request.ID
	return s.refuse(a, d, told)
}

func goneError(rec Record, cause error) error {
	return &countersign.Error{
		Kind:    countersign.ErrPending,
		Message: sanitize.Format("the wait for request %s was ended by the client", sanitize.Name(string(rec.Request.ID))),
		Hint:    sanitize.Const("the request lives on; run the same again to join it"),
		Request: rec.Request.ID,
		Err:     cause,
	}
}
