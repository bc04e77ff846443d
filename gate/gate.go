// Package gate is the one door (P1): every action of every front passes Session.Admit, which judges it,
// holds it while people sign, claims the grant, records the intent, and only then returns a Permit.
//
// It promises P1 to P6 for whatever asks it. It does not know protocols: a front turns bytes into an
// Action, acts only with a Permit, and says the answer in its protocol's words.
package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/policy"
	"github.com/countersign-dev/countersign/sanitize"
)

// Limits of the gate itself.
const (
	// denialMemory is how long a denial answers the same shape from the same requester.
	denialMemory = 10 * time.Minute
	// denialsRemembered bounds how many recent denials are looked through.
	denialsRemembered = 500
	// exportMemory is how long the gate remembers that an action's result passed its limit.
	exportMemory = time.Hour
	// judgements is how often an action is judged anew because policy, people or its request changed meanwhile.
	judgements = 100
	// sweepEvery is the time between looks for requests past their deadline and for a new configuration.
	sweepEvery = time.Second
)

// System is the built-in resource that stands for the gateway itself: its trail and its configuration.
const System countersign.ResourceName = "countersign"

// Options configure a Gate.
type Options struct {
	Store     Store
	Sanitizer *sanitize.Sanitizer
	Features  policy.Features
	Resources []countersign.Resource
	// PendingPerAgent and PendingPerOwner cap pending requests; zero means 5 and 20.
	PendingPerAgent, PendingPerOwner int
	// ReviewByToken accepts PresenceToken (review_auth: token).
	ReviewByToken bool
	// Link returns where a person can sign; nil or "" when there is no such place.
	Link func(countersign.RequestID) string
	// Poll is how often a held action looks for changes made by other replicas; zero means 2 s.
	Poll time.Duration
	// Started is when this process began: requests inside transaction blocks from before then are over.
	Started time.Time
	Logger  *slog.Logger
}

// Gate decides. It is safe for concurrent use.
type Gate struct {
	o         Options
	store     Store
	resources map[countersign.ResourceName]*countersign.Resource
	active    atomic.Pointer[active]
	waits     waits
	usage     usage
	exports   exports
	counters  Counters

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	done sync.WaitGroup

	mu       sync.Mutex
	sessions map[*Session]struct{}
}

// active is the configuration that decides now, with the revisions every write is conditional on (P4).
type active struct {
	policyRevision, directoryRevision uint64
	policy                            *policy.Set // nil: nothing is allowed
	policyDigest                      countersign.Digest
	directory                         countersign.Directory
}

// New returns a Gate on a store. Intents that an earlier boot left without an outcome become unknown first.
func New(ctx context.Context, o Options) (*Gate, error) {
	if o.PendingPerAgent == 0 {
		o.PendingPerAgent = 5
	}
	if o.PendingPerOwner == 0 {
		o.PendingPerOwner = 20
	}
	if o.Poll == 0 {
		o.Poll = 2 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Gate{
		o: o, store: o.Store,
		resources: map[countersign.ResourceName]*countersign.Resource{
			System: {Name: System, Kind: "countersign"},
		},
		sessions: map[*Session]struct{}{},
	}
	for i := range o.Resources {
		r := o.Resources[i]
		if _, taken := g.resources[r.Name]; taken {
			return nil, fmt.Errorf("gate: resource %s is declared twice or its name is reserved", r.Name)
		}
		g.resources[r.Name] = &r
	}
	g.ctx, g.stop = context.WithCancel(context.Background())
	if err := g.refresh(ctx); err != nil {
		g.stop()
		return nil, err
	}
	if err := g.settleEarlierBoots(ctx); err != nil {
		g.stop()
		return nil, err
	}
	g.done.Go(g.sweep)
	return g, nil
}

// Close ends all sessions and background work. It does not close the store.
func (g *Gate) Close() error {
	if g.ctx.Err() != nil {
		return nil
	}
	g.endSessions(func(*Session) *countersign.Error {
		return &countersign.Error{
			Kind:    countersign.ErrUnavailable,
			Message: sanitize.Const("the gateway is stopping"),
			Hint:    sanitize.Const("connect again in a moment"),
		}
	})
	// What was noted is in the store's queue; this returns when it is durable.
	if _, err := g.commit(g.ctx, Change{}); err != nil {
		g.o.Logger.Error("the last events were not recorded", "error", g.o.Sanitizer.Text(err.Error()))
	}
	g.stop()
	g.done.Wait()
	return nil
}

// Active returns the configuration that decides now. The policy is nil when there is none.
func (g *Gate) Active() (*policy.Set, countersign.Directory) {
	a := g.active.Load()
	return a.policy, a.directory
}

// Resource returns a resource by name.
func (g *Gate) Resource(name countersign.ResourceName) (countersign.Resource, bool) {
	r, ok := g.resources[name]
	if !ok {
		return countersign.Resource{}, false
	}
	return *r, true
}

// LoadPolicy makes files the active policy. A bad file changes nothing, is recorded, and is told.
func (g *Gate) LoadPolicy(ctx context.Context, files []policy.File, source sanitize.Clean) error {
	set, err := policy.Load(files, g.o.Features)
	if err != nil {
		g.note(countersign.Event{Type: countersign.PolicyRefused, Fields: []countersign.Field{
			{Name: countersign.FieldError, Value: g.o.Sanitizer.Text(err.Error())},
		}})
		return err
	}
	digest := set.Digest()
	return g.activate(ctx, func(now *active) (Change, bool) {
		if now.policy != nil && now.policyDigest == digest {
			return Change{}, false
		}
		return Change{Policy: set.Encode(), Events: []countersign.Event{{
			Type: countersign.PolicyLoaded,
			Fields: []countersign.Field{
				{Name: countersign.FieldPolicy, Value: digest.Clean()},
				{Name: "source", Value: source},
			},
		}}}, true
	})
}

// LoadDirectory makes d the active directory. Sessions and requests of those who are no longer in it end.
func (g *Gate) LoadDirectory(ctx context.Context, d countersign.Directory) error {
	if err := d.Check(); err != nil {
		return err
	}
	doc, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encoding the directory: %w", err)
	}
	return g.activate(ctx, func(now *active) (Change, bool) {
		if old, err := json.Marshal(now.directory); err == nil && now.directoryRevision != 0 && slices.Equal(old, doc) {
			return Change{}, false
		}
		return Change{Directory: doc, Events: []countersign.Event{{
			Type: countersign.IdentityLoaded,
			Fields: []countersign.Field{
				{Name: "persons", Value: sanitize.Int(int64(len(d.Persons)))},
				{Name: "agents", Value: sanitize.Int(int64(len(d.Agents)))},
			},
		}}}, true
	})
}

// activate commits what change says of the active configuration until no other change comes between.
func (g *Gate) activate(ctx context.Context, change func(*active) (Change, bool)) error {
	for range judgements {
		now := g.active.Load()
		c, needed := change(now)
		if !needed {
			return nil
		}
		c.PolicyRevision, c.DirectoryRevision = now.policyRevision, now.directoryRevision
		_, err := g.commit(ctx, c)
		if err != nil && !errors.Is(err, ErrConflict) {
			return unavailable(err)
		}
		if err := g.refresh(ctx); err != nil {
			return err
		}
		if err == nil {
			return nil
		}
	}
	return unavailable(ErrConflict)
}

// refresh reads the active configuration and ends the sessions that it no longer admits.
func (g *Gate) refresh(ctx context.Context) error {
	stored, err := g.store.Active(ctx)
	if err != nil {
		return unavailable(err)
	}
	old := g.active.Load()
	if old != nil && old.policyRevision == stored.PolicyRevision && old.directoryRevision == stored.DirectoryRevision {
		return nil
	}
	next := &active{policyRevision: stored.PolicyRevision, directoryRevision: stored.DirectoryRevision}
	if stored.PolicyRevision != 0 {
		// A version that this build cannot read decides nothing: policy stays nil, which denies.
		set, err := policy.Decode(stored.Policy, g.o.Features)
		if err != nil {
			g.o.Logger.Error("the active policy cannot be read by this build; everything is denied", "error", g.o.Sanitizer.Text(err.Error()))
		} else {
			next.policy, next.policyDigest = set, set.Digest()
		}
	}
	if stored.DirectoryRevision != 0 {
		if err := json.Unmarshal(stored.Directory, &next.directory); err != nil {
			return fmt.Errorf("gate: reading the active directory: %w", err)
		}
	}
	g.active.Store(next)
	if old == nil || old.directoryRevision != next.directoryRevision {
		g.endSessions(func(s *Session) *countersign.Error { return s.admitted(next.directory) })
		g.endRequestsOf(ctx, next.directory)
	}
	return nil
}

// endSessions closes the sessions for which why returns an error.
func (g *Gate) endSessions(why func(*Session) *countersign.Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for s := range g.sessions {
		if err := why(s); err != nil {
			s.end(err)
		}
	}
}

// endRequestsOf ends the open requests of those who may no longer ask.
func (g *Gate) endRequestsOf(ctx context.Context, d countersign.Directory) {
	open, err := g.store.Requests(ctx, Filter{States: []approval.State{approval.Pending, approval.Approved}})
	if err != nil {
		g.o.Logger.Error("looking for requests of people who left", "error", g.o.Sanitizer.Text(err.Error()))
		return
	}
	for _, rec := range open {
		if _, err := d.Principal(rec.Request.Requester); err == nil {
			continue
		}
		g.endRequest(ctx, rec.Request.ID, func(r approval.Request, now time.Time) (approval.Request, error) {
			return r.Lapse(now, sanitize.Const("the requester is no longer active in the directory"))
		})
	}
}

// sweep ends what is past its deadline and notices configurations that other replicas made active.
func (g *Gate) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-tick.C:
		}
		if err := g.refresh(g.ctx); err != nil && g.ctx.Err() == nil {
			g.o.Logger.Error("reading the active configuration", "error", g.o.Sanitizer.Text(err.Error()))
		}
		due, err := g.store.Due(g.ctx, g.store.Now(), 100)
		if err != nil {
			continue
		}
		for _, rec := range due {
			g.expire(g.ctx, rec.Request.ID)
		}
	}
}

// settleEarlierBoots records what can be said of actions and requests that an earlier boot left open.
func (g *Gate) settleEarlierBoots(ctx context.Context) error {
	intents, err := g.store.Unfinished(ctx)
	if err != nil {
		return fmt.Errorf("gate: looking for unfinished intents: %w", err)
	}
	for _, in := range intents {
		ev := countersign.Event{Type: countersign.ActionOutcome, Fields: []countersign.Field{
			{Name: countersign.FieldAction, Value: sanitize.Name(string(in.Action))},
			{Name: countersign.FieldPrincipal, Value: in.Event.Get(countersign.FieldPrincipal)},
			{Name: countersign.FieldResource, Value: in.Event.Get(countersign.FieldResource)},
			{Name: countersign.FieldOutcome, Value: sanitize.Const("unknown")},
			{Name: countersign.FieldReason, Value: sanitize.Const("the gateway stopped before it learnt the outcome")},
		}}
		if in.Request != "" {
			ev.Fields = append(ev.Fields, countersign.Field{Name: countersign.FieldRequest, Value: sanitize.Name(string(in.Request))})
		}
		if err := g.settle(ctx, in.Request, in.Action, approval.Unknown, ev); err != nil {
			return fmt.Errorf("gate: settling the outcome of %s: %w", in.Action, err)
		}
	}
	if g.o.Started.IsZero() {
		return nil
	}
	open, err := g.store.Requests(ctx, Filter{States: []approval.State{approval.Pending, approval.Approved}})
	if err != nil {
		return fmt.Errorf("gate: looking for requests of ended transactions: %w", err)
	}
	for _, rec := range open {
		if rec.Transaction != "" && rec.Request.Created.Before(g.o.Started) {
			g.endRequest(ctx, rec.Request.ID, blockEnded)
		}
	}
	return nil
}

// commit makes c durable, or says why not. It does not give up once c is queued: the answer tells
// whether c holds.
func (g *Gate) commit(ctx context.Context, c Change) (Receipt, error) {
	type answer struct {
		r   Receipt
		err error
	}
	ch := make(chan answer, 1)
	if err := g.store.Commit(ctx, c, func(r Receipt, err error) { ch <- answer{r, err} }); err != nil {
		return Receipt{}, err
	}
	a := <-ch
	return a.r, a.err
}

// note records events that nothing waits for. A failure is logged: what they tell of has been refused
// already, or has ended.
func (g *Gate) note(events ...countersign.Event) {
	err := g.store.Commit(g.ctx, Change{Events: events, Lazy: true}, func(_ Receipt, err error) {
		if err != nil {
			g.o.Logger.Error("an event was not recorded", "type", string(events[0].Type), "error", g.o.Sanitizer.Text(err.Error()))
		}
	})
	if err != nil {
		g.o.Logger.Error("an event was not recorded", "type", string(events[0].Type), "error", g.o.Sanitizer.Text(err.Error()))
	}
}

func (g *Gate) link(id countersign.RequestID) string {
	if g.o.Link == nil {
		return ""
	}
	return g.o.Link(id)
}
