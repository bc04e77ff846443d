package sqlite

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/trail"
)

func commit(t testing.TB, s *Store, events ...countersign.Event) gate.Receipt {
	t.Helper()
	r, err := tryCommit(s, gate.Change{Events: events})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tryCommit(s *Store, c gate.Change) (gate.Receipt, error) {
	type result struct {
		receipt gate.Receipt
		err     error
	}
	done := make(chan result, 1)
	if err := s.Commit(ctx, c, func(r gate.Receipt, err error) { done <- result{r, err} }); err != nil {
		return gate.Receipt{}, err
	}
	r := <-done
	return r.receipt, r.err
}

// event makes an event of pairs of name and value.
func event(typ countersign.EventType, pairs ...string) countersign.Event {
	ev := countersign.Event{Type: typ}
	for i := 0; i < len(pairs); i += 2 {
		ev.Fields = append(ev.Fields, countersign.Field{Name: pairs[i], Value: own(pairs[i+1])})
	}
	return ev
}

// waitForIndex waits until every whole part is indexed.
func waitForIndex(t *testing.T, s *Store) {
	t.Helper()
	for range 2000 {
		if x := s.index.Load(); x != nil {
			var next int64
			if err := x.db.QueryRow(`SELECT next FROM progress`).Scan(&next); err != nil {
				t.Fatal(err)
			}
			if next == s.head.Load().end()>>partShift {
				return
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the index does not follow")
}

// TestSearchAgainstScan compares searches with a plain reading of everything, with a full index, while
// it grows, and without one.
func TestSearchAgainstScan(t *testing.T) {
	dir := t.TempDir()
	var clock atomic.Int64 // milliseconds
	clock.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMilli())
	o := Options{
		Dir: filepath.Join(dir, "data"), KeysDir: filepath.Join(dir, "keys"),
		Clock: func() time.Time { return time.UnixMilli(clock.Load()) }, indexIdle: time.Millisecond,
	}
	s := openTest(t, o)
	rng := rand.New(rand.NewPCG(1, 2))
	types := []countersign.EventType{countersign.ActionIntent, countersign.ActionOutcome, countersign.RequestOpened, countersign.ReviewGiven, countersign.SessionOpened}
	for n := 0; n < 5000; {
		var events []countersign.Event
		for range 1 + rng.IntN(300) {
			ev := event(types[rng.IntN(len(types))],
				countersign.FieldAction, fmt.Sprintf("act_%d", rng.IntN(2000)),
				countersign.FieldPrincipal, fmt.Sprintf("agent:bot-%d", rng.IntN(4)),
				countersign.FieldResource, fmt.Sprintf("shop-%d", rng.IntN(3)),
				countersign.FieldText, fmt.Sprintf("DELETE %d", rng.IntN(50)))
			if rng.IntN(3) == 0 {
				ev.Fields = append(ev.Fields, countersign.Field{Name: countersign.FieldRequest, Value: own(fmt.Sprintf("req_%d", rng.IntN(50)))})
			}
			events = append(events, ev)
		}
		clock.Add(rng.Int64N(3000))
		commit(t, s, events...)
		n += len(events)
	}
	var all []trail.Found
	check := func() {
		t.Helper()
		all = everything(t, s)
		for range 60 {
			q := randomQuery(rng, all)
			got, err := s.Search(ctx, q)
			if err != nil {
				t.Fatal(err)
			}
			var want []uint64
			for _, f := range all {
				if len(want) < q.Limit && matches(q, f) {
					want = append(want, f.Number)
				}
			}
			var numbers []uint64
			for _, f := range got {
				numbers = append(numbers, f.Number)
			}
			if !slices.Equal(numbers, want) {
				t.Fatalf("%+v finds %v; want %v", q, numbers, want)
			}
		}
	}
	check() // the index is somewhere on its way
	waitForIndex(t, s)
	check()
	x := s.index.Swap(nil)
	check()
	s.index.Store(x)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// A damaged index is made anew.
	if err := os.WriteFile(filepath.Join(o.Dir, indexFile), []byte("garbage, not an index at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, o)
	waitForIndex(t, s)
	check()
}

// everything reads the whole trail plainly, newest first.
func everything(t *testing.T, s *Store) []trail.Found {
	t.Helper()
	must(t, s.storeNow(ctx))
	var all []trail.Found
	err := visit(ctx, s.reader, 0, s.head.Load().end(), func(at int64, raw []byte) error {
		e, err := trail.ParseEntry(raw)
		all = append(all, trail.Found{Number: uint64(at), Entry: e})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(all)
	return all
}

func randomQuery(rng *rand.Rand, all []trail.Found) trail.Query {
	q := trail.Query{Limit: 1 + rng.IntN(60)}
	f := all[rng.IntN(len(all))]
	if rng.IntN(3) == 0 {
		q.Type = string(f.Type)
	} else if rng.IntN(4) == 0 {
		q.Type = strings.Split(string(f.Type), ".")[0] + "."
	}
	for name, to := range map[string]*string{
		countersign.FieldAction: &q.Action, countersign.FieldPrincipal: &q.Principal,
		countersign.FieldResource: &q.Resource, countersign.FieldRequest: &q.Request,
	} {
		if rng.IntN(4) == 0 {
			*to = f.Get(name).String()
		}
	}
	if rng.IntN(4) == 0 {
		q.Text = "DELETE 7"
	}
	if rng.IntN(3) == 0 {
		q.Since = all[rng.IntN(len(all))].Time
	}
	if rng.IntN(3) == 0 {
		q.Until = all[rng.IntN(len(all))].Time
	}
	if rng.IntN(3) == 0 {
		q.Before = uint64(rng.IntN(len(all)))
	}
	return q
}

// matches says plainly what a query selects.
func matches(q trail.Query, f trail.Found) bool {
	eq := func(want, name string) bool { return want == "" || f.Get(name).String() == want }
	text := q.Text == ""
	for _, field := range f.Fields {
		text = text || strings.Contains(field.Value.String(), q.Text)
	}
	typ := q.Type == "" || string(f.Type) == q.Type || strings.HasSuffix(q.Type, ".") && strings.HasPrefix(string(f.Type), q.Type)
	return typ && text && eq(q.Action, countersign.FieldAction) && eq(q.Principal, countersign.FieldPrincipal) &&
		eq(q.Resource, countersign.FieldResource) && eq(q.Request, countersign.FieldRequest) && eq(q.Session, countersign.FieldSession) &&
		(q.Since.IsZero() || !f.Time.Before(q.Since)) && (q.Until.IsZero() || !f.Time.After(q.Until)) && (q.Before == 0 || f.Number < q.Before)
}

// TestSearchIsBounded finds a few among many large events, and refuses to return more than fits in memory.
func TestSearchIsBounded(t *testing.T) {
	s := openTest(t, Options{})
	large := event(countersign.ActionIntent, countersign.FieldAction, "act_1", countersign.FieldText, strings.Repeat("x", 1<<20))
	for range 80 {
		commit(t, s, large)
	}
	list, err := s.Search(ctx, trail.Query{Action: "act_1", Limit: 5})
	if err != nil || len(list) != 5 || list[0].Number != 80 {
		t.Errorf("%d found, %v; want the newest 5", len(list), err)
	}
	var e *countersign.Error
	if _, err := s.Search(ctx, trail.Query{Action: "act_1", Limit: 100}); !errors.As(err, &e) || e.Kind != countersign.ErrLimit || e.Hint.IsZero() {
		t.Errorf("80 MiB of events: %v; want a refusal with a hint", err)
	}
	if _, err := s.Story(ctx, "act_1"); !errors.As(err, &e) || e.Kind != countersign.ErrLimit {
		t.Errorf("a story of 80 MiB: %v; want a refusal", err)
	}
}

func TestStory(t *testing.T) {
	s := openTest(t, Options{})
	filler := func() {
		var events []countersign.Event
		for i := range 700 {
			events = append(events, event(countersign.ActionIntent, countersign.FieldAction, fmt.Sprintf("act_filler%d", i), countersign.FieldSession, "ses_other"))
		}
		commit(t, s, events...)
	}
	var want []uint64
	tell := func(ev countersign.Event) {
		filler()
		want = append(want, commit(t, s, ev).First)
	}
	tell(event(countersign.RequestOpened, countersign.FieldRequest, "req_1", countersign.FieldSession, "ses_1", countersign.FieldText, "COPY"))
	tell(event(countersign.ReviewRefused, countersign.FieldRequest, "req_1", countersign.FieldReviewer, "requester-1"))
	tell(event(countersign.ReviewGiven, countersign.FieldRequest, "req_1", countersign.FieldReviewer, "reviewer-1"))
	tell(event(countersign.GrantClaimed, countersign.FieldRequest, "req_1", countersign.FieldAction, "act_1"))
	tell(event(countersign.ActionIntent, countersign.FieldRequest, "req_1", countersign.FieldAction, "act_1", countersign.FieldSession, "ses_1"))
	tell(event(countersign.ActionOutcome, countersign.FieldAction, "act_1", countersign.FieldOutcome, "done"))
	commit(t, s, event(countersign.RequestOpened, countersign.FieldRequest, "req_2"))
	for _, id := range []string{"act_1", "req_1"} {
		story, err := s.Story(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for _, f := range story {
			got = append(got, f.Number)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the story of %s is events %v; want %v", id, got, want)
		}
	}
	if story, err := s.Story(ctx, "ses_1"); err != nil || len(story) != 2 {
		t.Errorf("the story of a session has %d events, %v; want 2", len(story), err)
	}
	for _, id := range []string{"act_none", "nonsense", ""} {
		if story, err := s.Story(ctx, id); err != nil || len(story) != 0 {
			t.Errorf("the story of %q has %d events, %v", id, len(story), err)
		}
	}
}
