// Package gatetest is a real gate on a real store in a temporary folder, with named people, for every
// test that tells a story.
//
//	Ana asks, through her agent deploy-bot. Ben and Cora are of dba, Cora and Dan of security, Eve of
//	nothing. Dan and Eve answer for batch-bot, which acts for Dan. Ben has two logins.
package gatetest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/policy"
	"github.com/countersign-dev/countersign/sanitize"
	"github.com/countersign-dev/countersign/store/sqlite"
)

// Policy is the policy of a world that names no other.
const Policy = `version: 1
rules:
  - name: readers
    match: {principal: {anyone: true}, resource: {env: prod}, effects: [read, session]}
    then: {allow: true, limit: {rows: 100}}
  - name: changes
    match: {resource: {env: prod}, any_effect: [write, delete, schema]}
    then: {review: [{count: 1, groups: [resource.reviewers]}]}
  - name: exports
    match: {resource: {env: prod}, any_effect: [export, secret, privilege]}
    then: {review: [{count: 2, groups: [dba, security], distinct_groups: true}]}
  - name: strange
    match: {resource: {env: prod}, any_effect: [unknown, execute]}
    then: {review: [{count: 1, groups: [dba]}]}
  - name: destroys
    match: {any_effect: [destroy, admin]}
    then: {deny: true, reason: "nothing is destroyed through here"}
  - name: everything
    match: {any_effect: [delete]}
    when: facts.unbounded
    then: {deny: true, reason: "a DELETE needs a WHERE clause"}
  - name: auditors
    match: {principal: {groups: [auditors]}, resource: {name: countersign}, effects: [read]}
    then: {allow: true}
`

// Shop is the protected resource of every world.
var Shop = countersign.Resource{
	Name: "shop", Kind: "postgres", Labels: map[string]string{"env": "prod"},
	Owners: []countersign.Group{"shop-team"}, Reviewers: []countersign.Group{"dba"},
}

// Directory is who is known in every world.
func Directory() countersign.Directory {
	person := func(id countersign.PersonID, groups ...countersign.Group) countersign.Person {
		return countersign.Person{ID: id, Groups: groups, Logins: []string{string(id) + "@example.org"}, Active: true}
	}
	d := countersign.Directory{
		Persons: []countersign.Person{
			person("ana", "shop-team"), person("ben", "dba"), person("cora", "dba", "security"),
			person("dan", "security"), person("eve"), person("aud", "auditors"),
		},
		Agents: []countersign.Agent{
			{ID: "deploy-bot", ActsFor: "ana", Owners: []countersign.PersonID{"ana"}, Active: true},
			{ID: "batch-bot", ActsFor: "dan", Owners: []countersign.PersonID{"dan", "eve"}, Active: true},
		},
	}
	d.Persons[1].Logins = append(d.Persons[1].Logins, "ben.admin@example.org")
	return d
}

// World is a gate and what it stands on.
type World struct {
	T     testing.TB
	Gate  *gate.Gate
	Store *sqlite.Store
	Clock *Clock
	Dir   string
}

// Options change a world.
type Options struct {
	Policy    string // default: Policy
	Resources []countersign.Resource
	Dir       string // default: a temporary folder; given, an existing world is opened again
	Gate      func(*gate.Options)
}

// New makes a world that ends with the test.
func New(t testing.TB, o Options) *World {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	w := &World{T: t, Dir: o.Dir, Clock: &Clock{}}
	store, err := sqlite.Open(sqlite.Options{
		Dir: filepath.Join(o.Dir, "data"), KeysDir: filepath.Join(o.Dir, "keys"), Clock: w.Clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Store = store
	w.Gate = w.Replica(o)
	t.Cleanup(w.Close)
	if o.Policy == "" {
		o.Policy = Policy
	}
	w.SetPolicy(o.Policy)
	w.SetDirectory(Directory())
	return w
}

// Replica returns a further gate on the same store.
func (w *World) Replica(o Options) *gate.Gate {
	w.T.Helper()
	if o.Resources == nil {
		o.Resources = []countersign.Resource{Shop}
	}
	options := gate.Options{
		Store: w.Store, Sanitizer: sanitize.New(sanitize.Options{Key: []byte("a key for tests, of 32 bytes' kin")}),
		Resources: o.Resources, ReviewByToken: true, Poll: 50 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if o.Gate != nil {
		o.Gate(&options)
	}
	g, err := gate.New(context.Background(), options)
	if err != nil {
		w.T.Fatal(err)
	}
	w.T.Cleanup(func() { g.Close() })
	return g
}

// Close ends the gate and its store. Ending twice does nothing.
func (w *World) Close() {
	w.Gate.Close()
	if err := w.Store.Close(); err != nil && !errors.Is(err, gate.ErrClosed) {
		w.T.Errorf("closing the store: %v", err)
	}
}

// SetPolicy makes text the active policy.
func (w *World) SetPolicy(text string) {
	w.T.Helper()
	err := w.Gate.LoadPolicy(context.Background(), []policy.File{{Name: "test.yaml", Data: []byte(text)}}, sanitize.Const("test"))
	if err != nil {
		w.T.Fatal(err)
	}
}

// SetDirectory makes d the active directory.
func (w *World) SetDirectory(d countersign.Directory) {
	w.T.Helper()
	if err := w.Gate.LoadDirectory(context.Background(), d); err != nil {
		w.T.Fatal(err)
	}
}

// Agent returns an agent of the directory as a principal.
func Agent(id countersign.AgentID) countersign.Principal {
	p, err := Directory().Principal(countersign.Principal{Kind: countersign.KindAgent, Agent: id})
	if err != nil {
		panic(err)
	}
	return p
}

// Person returns a person of the directory as a principal.
func Person(id countersign.PersonID) countersign.Principal {
	p, err := Directory().Principal(countersign.Principal{Kind: countersign.KindPerson, Person: id})
	if err != nil {
		panic(err)
	}
	return p
}

// Session opens a session of p on shop.
func (w *World) Session(p countersign.Principal) *gate.Session {
	w.T.Helper()
	s, err := w.Gate.Open(context.Background(), p, Shop.Name, gate.Opening{Front: "test"})
	if err != nil {
		w.T.Fatal(err)
	}
	w.T.Cleanup(func() { s.Close(gate.RolledBack, sanitize.Const("test over")) })
	return s
}

// Action is a statement with the effects it is said to have.
func Action(text string, e countersign.Effects) *countersign.Action {
	return &countersign.Action{
		Resource: Shop.Name, Front: "test", Text: countersign.Raw(text), Shown: sanitize.New(sanitize.Options{}).Text(text),
		Effects: e, Shape: text, Facts: countersign.Facts{Statements: 1},
	}
}

// Sign gives a person's verdict on a request by token, seeing exactly what is stored.
func (w *World) Sign(person countersign.PersonID, id countersign.RequestID, v approval.Verdict) error {
	rec, err := w.Store.Request(context.Background(), id)
	if err != nil {
		return err
	}
	_, err = w.Gate.Review(context.Background(), gate.Reviewer{Principal: Person(person), Presence: approval.PresenceToken}, id,
		approval.Review{Verdict: v, Digest: rec.Request.Digest, View: rec.Request.View, Reason: sanitize.Const("because")})
	return err
}

// Pending waits until n requests are pending and returns them, newest first.
func (w *World) Pending(n int) []gate.Record {
	w.T.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		recs, err := w.Store.Requests(context.Background(), gate.Filter{States: []approval.State{approval.Pending}})
		if err != nil {
			w.T.Fatal(err)
		}
		if len(recs) >= n {
			return recs
		}
	}
	w.T.Fatalf("%d pending requests did not appear", n)
	return nil
}

// Clock is the time of a world: the real one, plus what it was advanced by.
type Clock struct {
	mu     sync.Mutex
	offset time.Duration
}

// Now returns the world's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

// Advance moves the world's time forward.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}
