package gate_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/gatetest"
	"github.com/countersign-dev/countersign/sanitize"
	"github.com/countersign-dev/countersign/store/sqlite"
	"github.com/countersign-dev/countersign/trail"
)

var ctx = context.Background()

// kindOf returns the kind of a told error, failing the test for any other error.
func kindOf(t *testing.T, err error) countersign.ErrorKind {
	t.Helper()
	var told *countersign.Error
	if !errors.As(err, &told) {
		t.Fatalf("error %v (%T); want a *countersign.Error", err, err)
	}
	return told.Kind
}

// result is what a waiting Admit came to.
type result struct {
	permit *gate.Permit
	err    error
}

func admit(s *gate.Session, a *countersign.Action, max time.Duration) <-chan result {
	ch := make(chan result, 1)
	go func() {
		p, err := s.Admit(ctx, a, gate.Hold{Max: max})
		ch <- result{p, err}
	}()
	return ch
}

// approved asks for a through s without waiting, has ben sign, and returns the request, whose grant nobody has used.
func approved(t *testing.T, w *gatetest.World, s *gate.Session, a *countersign.Action) countersign.RequestID {
	t.Helper()
	if _, err := s.Admit(ctx, a, gate.Hold{}); kindOf(t, err) != countersign.ErrPending {
		t.Fatal(err)
	}
	id := w.Pending(1)[0].Request.ID
	if err := w.Sign("ben", id, approval.Approve); err != nil {
		t.Fatal(err)
	}
	return id
}

func story(t *testing.T, w *gatetest.World, q trail.Query) []string {
	t.Helper()
	w.Gate.Close() // everything noted is in the store's queue, and Commit keeps the order
	var told []string
	found, err := w.Store.Search(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range slices.Backward(found) { // found has the newest first
		e := f.Event()
		line := string(e.Type)
		if o := e.Get(countersign.FieldOutcome); !o.IsZero() {
			line += " " + o.String()
		}
		told = append(told, line)
	}
	return told
}

func TestReadRunsAtOnceAndIsRecordedFirst(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	s := w.Session(gatetest.Agent("deploy-bot"))
	p, err := s.Admit(ctx, gatetest.Action("SELECT 1", countersign.Read), gate.Hold{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Durable(ctx); err != nil {
		t.Fatal(err)
	}
	events, err := w.Store.Story(ctx, string(p.Action()))
	if err != nil || len(events) != 1 || events[0].Event().Type != countersign.ActionIntent {
		t.Fatalf("after Durable the story is %v (%v); want the intent", events, err)
	}
	p.Finish(gate.Outcome{State: approval.Done, Rows: 1})
}

func TestHeldUntilAnotherPersonSigns(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	s := w.Session(gatetest.Agent("deploy-bot"))
	got := admit(s, gatetest.Action("UPDATE orders", countersign.Write), time.Minute)
	rec := w.Pending(1)[0]
	id := rec.Request.ID

	// P2: the requester, whom he acts for, an outsider, and agents do not count.
	for _, who := range []countersign.PersonID{"ana", "dan", "eve"} {
		if err := w.Sign(who, id, approval.Approve); err == nil {
			t.Errorf("%s signed", who)
		}
	}
	_, err := w.Gate.Review(ctx, gate.Reviewer{Principal: gatetest.Agent("batch-bot"), Presence: approval.PresenceToken}, id,
		approval.Review{Verdict: approval.Approve, Digest: rec.Request.Digest, View: rec.Request.View})
	if kindOf(t, err) != countersign.ErrNotFound {
		t.Errorf("the review of an agent that may not even see it: %v", err)
	}
	select {
	case r := <-got:
		t.Fatalf("Admit returned %v, %v before anybody signed", r.permit, r.err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := w.Sign("ben", id, approval.Approve); err != nil {
		t.Fatal(err)
	}
	r := <-got
	if r.err != nil {
		t.Fatal(r.err)
	}
	r.permit.Finish(gate.Outcome{State: approval.Done, Rows: 3})
	want := "request.opened review.refused review.refused review.refused review.refused review.given request.approved grant.claimed action.intent action.outcome done"
	if got := strings.Join(story(t, w, trail.Query{Request: string(id)}), " "); got != want {
		t.Errorf("the story is\n%s\nwant\n%s", got, want)
	}
}

// P3: a review of another digest or another view counts for nothing.
func TestReviewOfSomethingElseIsRefused(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	s := w.Session(gatetest.Agent("deploy-bot"))
	_, err := s.Admit(ctx, gatetest.Action("UPDATE orders", countersign.Write), gate.Hold{})
	if kindOf(t, err) != countersign.ErrPending {
		t.Fatal(err)
	}
	rec := w.Pending(1)[0]
	for name, v := range map[string]approval.Review{
		"digest": {Verdict: approval.Approve, View: rec.Request.View},
		"view":   {Verdict: approval.Approve, Digest: rec.Request.Digest},
	} {
		_, err := w.Gate.Review(ctx, gate.Reviewer{Principal: gatetest.Person("ben"), Presence: approval.PresenceToken}, rec.Request.ID, v)
		if err == nil {
			t.Errorf("a review with another %s counted", name)
		}
	}
}

// P3: the grant fits what was signed and nothing else.
func TestGrantIsForTheSameBytesParametersAndContext(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{Gate: func(o *gate.Options) { o.PendingPerAgent = 20 }})
	s := w.Session(gatetest.Agent("deploy-bot"))
	signed := gatetest.Action("UPDATE orders SET n = $1", countersign.Write)
	signed.Params = []countersign.Param{{Type: 23, Value: countersign.Raw("1")}}
	signed.Context = []countersign.Setting{{Name: "search_path", Value: countersign.Raw("public")}}
	approved(t, w, s, signed)
	for name, alter := range map[string]func(a *countersign.Action){
		"bytes":          func(a *countersign.Action) { a.Text = countersign.Raw("UPDATE orders SET n = $1 ") },
		"parameter":      func(a *countersign.Action) { a.Params = []countersign.Param{{Type: 23, Value: countersign.Raw("2")}} },
		"parameter type": func(a *countersign.Action) { a.Params = []countersign.Param{{Type: 25, Value: countersign.Raw("1")}} },
		"null parameter": func(a *countersign.Action) { a.Params = []countersign.Param{{Type: 23, Null: true}} },
		"context":        func(a *countersign.Action) { a.Context[0].Value = countersign.Raw("evil") },
	} {
		other := *signed
		other.Context = []countersign.Setting{signed.Context[0]}
		alter(&other)
		if p, err := s.Admit(ctx, &other, gate.Hold{}); err == nil {
			t.Errorf("with another %s the grant was claimed as %s", name, p.Action())
		}
	}
	if _, err := w.Session(gatetest.Person("ana")).Admit(ctx, signed, gate.Hold{}); err == nil {
		t.Error("another principal claimed the grant")
	}
	p, err := s.Admit(ctx, signed, gate.Hold{})
	if err != nil {
		t.Fatalf("what was signed does not run: %v", err)
	}
	p.Finish(gate.Outcome{State: approval.Done})
	if _, err := s.Admit(ctx, signed, gate.Hold{}); kindOf(t, err) != countersign.ErrPending {
		t.Errorf("used once, the grant ran again: %v", err)
	}
}

// P4: thousands of claims from two replicas on one store take one grant once.
func TestOneGrantClaimedConcurrently(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	other := w.Replica(gatetest.Options{Gate: func(o *gate.Options) { o.PendingPerAgent = 1 }})
	first := w.Session(gatetest.Agent("deploy-bot"))
	a := gatetest.Action("UPDATE orders", countersign.Write)
	approved(t, w, first, a)
	const claimers, each = 100, 20
	var claimed atomic.Int64
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range claimers {
		g := w.Gate
		if i%2 == 1 {
			g = other
		}
		s, err := g.Open(ctx, gatetest.Agent("deploy-bot"), "shop", gate.Opening{Front: "test"})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			<-start
			for range each {
				if _, err := s.Admit(ctx, a, gate.Hold{}); err == nil {
					claimed.Add(1)
				}
			}
			s.Close(gate.RolledBack, sanitize.Const("over"))
		})
	}
	close(start)
	wg.Wait()
	if claimed.Load() != 1 {
		t.Errorf("%d claims of one grant succeeded among %d tries", claimed.Load(), claimers*each)
	}
}

func TestDenialAnswersTheSameShape(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	s := w.Session(gatetest.Agent("deploy-bot"))
	got := admit(s, gatetest.Action("UPDATE orders", countersign.Write), time.Minute)
	id := w.Pending(1)[0].Request.ID
	if err := w.Sign("ben", id, approval.Deny); err != nil {
		t.Fatal(err)
	}
	if r := <-got; kindOf(t, r.err) != countersign.ErrDenied {
		t.Fatalf("a denied action: %v", r.err)
	}
	_, err := s.Admit(ctx, gatetest.Action("UPDATE orders", countersign.Write), gate.Hold{})
	if kindOf(t, err) != countersign.ErrDenied || !strings.Contains(err.Error(), string(id)) {
		t.Errorf("asked again at once: %v; want the denial of %s", err, id)
	}
	w.Clock.Advance(11 * time.Minute)
	_, err = s.Admit(ctx, gatetest.Action("UPDATE orders", countersign.Write), gate.Hold{})
	if kindOf(t, err) != countersign.ErrPending {
		t.Errorf("asked again after 11 minutes: %v; want a new request", err)
	}
}

func TestSilenceIsNo(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	s := w.Session(gatetest.Agent("deploy-bot"))
	got := admit(s, gatetest.Action("UPDATE orders", countersign.Write), time.Minute)
	id := w.Pending(1)[0].Request.ID
	w.Clock.Advance(2 * time.Hour)
	if err := w.Sign("ben", id, approval.Approve); err == nil {
		t.Error("signed after the deadline")
	}
	if r := <-got; kindOf(t, r.err) != countersign.ErrDenied {
		t.Errorf("an expired request: %v", r.err)
	}
}

// A grant that is not used in time lapses, even if the sweep has not come by.
func TestApprovalUnusedLapses(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	s := w.Session(gatetest.Agent("deploy-bot"))
	a := gatetest.Action("UPDATE orders", countersign.Write)
	approved(t, w, s, a)
	w.Clock.Advance(16 * time.Minute)
	if _, err := s.Admit(ctx, a, gate.Hold{}); err == nil {
		t.Error("claimed 16 minutes after approval")
	}
}

// P5, P6: without a trail nothing runs.
func TestClosedStoreRefuses(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	s := w.Session(gatetest.Agent("deploy-bot"))
	w.Store.Close()
	p, err := s.Admit(ctx, gatetest.Action("SELECT 1", countersign.Read), gate.Hold{})
	if err == nil {
		err = p.Durable(ctx)
	}
	if kindOf(t, err) != countersign.ErrUnavailable {
		t.Errorf("a read on a closed store: %v", err)
	}
	if _, err := s.Admit(ctx, gatetest.Action("UPDATE x", countersign.Write), gate.Hold{}); kindOf(t, err) != countersign.ErrUnavailable {
		t.Errorf("a write on a closed store: %v", err)
	}
}

// The wait ends, not the request; and the identical retry joins it.
func TestWaitEndsRequestLives(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	a := gatetest.Action("UPDATE orders", countersign.Write)
	s := w.Session(gatetest.Agent("deploy-bot"))
	gone, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		_, err := s.Admit(gone, a, gate.Hold{Max: time.Minute})
		done <- err
	}()
	id := w.Pending(1)[0].Request.ID
	cancel()
	if err := <-done; kindOf(t, err) != countersign.ErrPending {
		t.Fatal(err)
	}
	if err := w.Sign("ben", id, approval.Approve); err != nil {
		t.Fatalf("the request did not outlive its wait: %v", err)
	}
	rec, _ := w.Store.Request(ctx, id)
	if rec.Request.State != approval.Approved {
		t.Fatalf("with its client gone the request is %s; nobody may have claimed it", rec.Request.State)
	}
	p, err := w.Session(gatetest.Agent("deploy-bot")).Admit(ctx, a, gate.Hold{})
	if err != nil || p.Request() != id {
		t.Errorf("the retry did not join: %v", err)
	}
}

func TestFloodCap(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	s := w.Session(gatetest.Agent("deploy-bot"))
	for i := range 5 {
		_, err := s.Admit(ctx, gatetest.Action("UPDATE t"+string(rune('a'+i)), countersign.Write), gate.Hold{})
		if kindOf(t, err) != countersign.ErrPending {
			t.Fatal(err)
		}
	}
	_, err := s.Admit(ctx, gatetest.Action("UPDATE tz", countersign.Write), gate.Hold{})
	if kindOf(t, err) != countersign.ErrLimit {
		t.Errorf("a sixth request: %v", err)
	}
}

func TestRowLimitThenExport(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	s := w.Session(gatetest.Agent("deploy-bot"))
	a := gatetest.Action("SELECT * FROM customers", countersign.Read)
	s.BeginBlock() // the memory of what was cut off outlives the block it ran in
	p, err := s.Admit(ctx, a, gate.Hold{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := p.Count(1, 10); err != nil {
			t.Fatalf("row %d: %v", i+1, err)
		}
	}
	if err := p.Count(1, 10); kindOf(t, err) != countersign.ErrLimit {
		t.Fatalf("row 101: %v", err)
	}
	p.Finish(gate.Outcome{State: approval.Failed, Rows: 100})
	s.EndBlock(gate.RolledBack)

	got := admit(s, gatetest.Action("SELECT * FROM customers", countersign.Read), time.Minute)
	rec := w.Pending(1)[0]
	if !rec.View.Effects.Has(countersign.Export) {
		t.Errorf("run again, its effects are %s; want export among them", rec.View.Effects)
	}
	for _, who := range []countersign.PersonID{"ben", "cora"} {
		if err := w.Sign(who, rec.Request.ID, approval.Approve); err != nil {
			t.Fatal(err)
		}
	}
	r := <-got
	if r.err != nil {
		t.Fatal(r.err)
	}
	if err := r.permit.Count(5000, 50000); err != nil {
		t.Errorf("the signed export is limited: %v", err)
	}
}

// What ran in a block is done when it commits, not before; what a savepoint undid is rolled back.
func TestOutcomesInsideABlock(t *testing.T) {
	allowWrites := strings.Replace(gatetest.Policy, "effects: [read, session]}", "effects: [read, session, write]}", 1)
	allowWrites = strings.Replace(allowWrites, "any_effect: [write, delete, schema]", "any_effect: [delete, schema]", 1)
	for end, want := range map[gate.BlockEnd]string{
		gate.Committed: "done", gate.RolledBack: "rolled_back", gate.InDoubt: "unknown",
	} {
		w := gatetest.New(t, gatetest.Options{Policy: allowWrites})
		s := w.Session(gatetest.Agent("deploy-bot"))
		s.BeginBlock()
		write := func(text string) countersign.ActionID {
			p, err := s.Admit(ctx, gatetest.Action(text, countersign.Write), gate.Hold{})
			if err != nil {
				t.Fatal(err)
			}
			p.Finish(gate.Outcome{State: approval.Done, InBlock: true, Rows: 1})
			return p.Action()
		}
		kept := write("INSERT 1")
		s.Savepoint("sp")
		undone := write("INSERT 2")
		s.RollbackTo("sp")
		s.EndBlock(end)
		if got := strings.Join(story(t, w, trail.Query{Action: string(kept)}), ", "); got != "action.intent, action.outcome uncommitted, action.outcome "+want {
			t.Errorf("%s: %s", end, got)
		}
		if got := strings.Join(story(t, w, trail.Query{Action: string(undone)}), ", "); got != "action.intent, action.outcome uncommitted, action.outcome rolled_back" {
			t.Errorf("%s, after ROLLBACK TO: %s", end, got)
		}
	}
}

// A request opened inside a block ends with it, approved or not.
func TestRequestEndsWithItsBlock(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	s := w.Session(gatetest.Agent("deploy-bot"))
	s.BeginBlock()
	a := gatetest.Action("UPDATE orders", countersign.Write)
	id := approved(t, w, s, a)
	s.EndBlock(gate.RolledBack)
	rec, _ := w.Store.Request(ctx, id)
	if rec.Request.State != approval.Lapsed {
		t.Errorf("after its block the request is %s", rec.Request.State)
	}
	s.BeginBlock()
	if p, err := s.Admit(ctx, a, gate.Hold{}); err == nil {
		t.Errorf("a later block claimed it as %s", p.Action())
	}
}

// A deactivated principal's sessions end, and its requests with them.
func TestDeactivationEndsSessionsAndRequests(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	s := w.Session(gatetest.Agent("deploy-bot"))
	got := admit(s, gatetest.Action("UPDATE orders", countersign.Write), time.Minute)
	id := w.Pending(1)[0].Request.ID
	d := gatetest.Directory()
	d.Persons[0].Active = false // ana, for whom deploy-bot acts
	w.SetDirectory(d)
	select {
	case <-s.Done():
	case <-time.After(time.Second):
		t.Fatal("the session lives on")
	}
	if r := <-got; r.err == nil {
		t.Error("the held action ran")
	}
	if rec, _ := w.Store.Request(ctx, id); rec.Request.State != approval.Cancelled {
		t.Errorf("the request is %s", rec.Request.State)
	}
}

// A reviewer who leaves between signing and claim no longer counts (P4).
func TestReviewerWhoLeftNoLongerCounts(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	s := w.Session(gatetest.Agent("deploy-bot"))
	a := gatetest.Action("UPDATE orders", countersign.Write)
	id := approved(t, w, s, a)
	d := gatetest.Directory()
	d.Persons[1].Groups = nil
	w.SetDirectory(d)
	if _, err := s.Admit(ctx, a, gate.Hold{}); err == nil {
		t.Fatal("claimed with a signature that no longer counts")
	}
	if rec, _ := w.Store.Request(ctx, id); rec.Request.State != approval.Revoked {
		t.Errorf("the request is %s", rec.Request.State)
	}
}

// A replica that has not noticed that a reviewer came back must not end the grant that counts again.
func TestStaleReplicaRevokesNothing(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	s := w.Session(gatetest.Agent("deploy-bot"))
	a := gatetest.Action("UPDATE orders", countersign.Write)
	approved(t, w, s, a)
	without := gatetest.Directory()
	without.Persons[1].Groups = nil
	w.SetDirectory(without)
	stale := w.Replica(gatetest.Options{})
	late, err := stale.Open(ctx, gatetest.Agent("deploy-bot"), "shop", gate.Opening{Front: "test"})
	if err != nil {
		t.Fatal(err)
	}
	w.SetDirectory(gatetest.Directory())
	if _, err := late.Admit(ctx, a, gate.Hold{}); err != nil {
		t.Errorf("the grant counts again, and was refused: %v", err)
	}
}

// A replica that still knows an older policy allows nothing by it (P4): the write is conditional on it.
func TestStaleReplicaDecidesNothing(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	stale := w.Replica(gatetest.Options{})
	s, err := stale.Open(ctx, gatetest.Agent("deploy-bot"), "shop", gate.Opening{Front: "test"})
	if err != nil {
		t.Fatal(err)
	}
	w.SetPolicy("version: 1\nrules:\n  - name: nothing\n    match: {any_effect: [read]}\n    then: {deny: true, reason: closed}\n")
	p, err := s.Admit(ctx, gatetest.Action("SELECT 1", countersign.Read), gate.Hold{})
	if err == nil {
		err = p.Durable(ctx)
	}
	if kindOf(t, err) != countersign.ErrDenied {
		t.Errorf("a replica that knew the old policy: %v", err)
	}
}

// The same for a claim: the stale replica would take a grant that the policy now denies.
func TestStaleReplicaClaimsNothing(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	stale := w.Replica(gatetest.Options{})
	s, err := stale.Open(ctx, gatetest.Agent("deploy-bot"), "shop", gate.Opening{Front: "test"})
	if err != nil {
		t.Fatal(err)
	}
	a := gatetest.Action("UPDATE orders", countersign.Write)
	approved(t, w, s, a)
	w.SetPolicy("version: 1\nrules:\n  - name: nothing\n    match: {any_effect: [write]}\n    then: {deny: true, reason: closed}\n")
	if p, err := s.Admit(ctx, a, gate.Hold{}); err == nil {
		t.Errorf("a replica that knew the old policy claimed %s", p.Request())
	}
}

// A grant given inside one transaction block is not for another session's block that looks the same.
func TestGrantIsForItsOwnBlock(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	a := gatetest.Action("UPDATE orders", countersign.Write)
	one, other := w.Session(gatetest.Agent("deploy-bot")), w.Session(gatetest.Agent("deploy-bot"))
	one.BeginBlock()
	other.BeginBlock()
	approved(t, w, one, a)
	if p, err := other.Admit(ctx, a, gate.Hold{}); err == nil {
		t.Errorf("another block claimed %s", p.Request())
	}
	if _, err := one.Admit(ctx, a, gate.Hold{}); err != nil {
		t.Errorf("its own block: %v", err)
	}
}

func TestNoPolicyDenies(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	dir := t.TempDir()
	store, err := sqlite.Open(sqlite.Options{Dir: dir + "/data", KeysDir: dir + "/keys"})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	g, err := gate.New(ctx, gate.Options{Store: store, Sanitizer: sanitize.New(sanitize.Options{}), Resources: []countersign.Resource{gatetest.Shop}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.LoadDirectory(ctx, gatetest.Directory()); err != nil {
		t.Fatal(err)
	}
	s, err := g.Open(ctx, gatetest.Agent("deploy-bot"), "shop", gate.Opening{Front: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Admit(ctx, gatetest.Action("SELECT 1", countersign.Read), gate.Hold{}); kindOf(t, err) != countersign.ErrDenied {
		t.Errorf("without a policy: %v", err)
	}
	_ = w
}

// A grant claimed before a crash is never run again: its outcome is unknown (P4).
func TestIntentOfEarlierBootBecomesUnknown(t *testing.T) {
	dir := t.TempDir()
	w := gatetest.New(t, gatetest.Options{Dir: dir})
	s := w.Session(gatetest.Agent("deploy-bot"))
	a := gatetest.Action("UPDATE orders", countersign.Write)
	id := approved(t, w, s, a)
	if _, err := s.Admit(ctx, a, gate.Hold{}); err != nil {
		t.Fatal(err)
	}
	w.Close() // no outcome was ever told

	w = gatetest.New(t, gatetest.Options{Dir: dir})
	rec, err := w.Store.Request(ctx, id)
	if err != nil || rec.Request.State != approval.Unknown {
		t.Fatalf("after a restart the request is %s (%v)", rec.Request.State, err)
	}
	if _, err := w.Session(gatetest.Agent("deploy-bot")).Admit(ctx, a, gate.Hold{}); kindOf(t, err) != countersign.ErrPending {
		t.Errorf("after a restart the same action: %v; want a new request", err)
	}
}

// Those who may neither sign nor ask do not see a request.
func TestWhoSeesARequest(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	s := w.Session(gatetest.Agent("deploy-bot"))
	if _, err := s.Admit(ctx, gatetest.Action("UPDATE orders", countersign.Write), gate.Hold{}); kindOf(t, err) != countersign.ErrPending {
		t.Fatal(err)
	}
	id := w.Pending(1)[0].Request.ID
	for who, sees := range map[string]bool{
		"person:ana": true, "person:ben": true, "person:cora": true, "person:eve": false, "person:dan": false,
		"agent:deploy-bot": true, "agent:batch-bot": false,
	} {
		var p countersign.Principal
		if name, ok := strings.CutPrefix(who, "person:"); ok {
			p = gatetest.Person(countersign.PersonID(name))
		} else {
			p = gatetest.Agent(countersign.AgentID(strings.TrimPrefix(who, "agent:")))
		}
		if _, err := w.Gate.Request(ctx, p, id); (err == nil) != sees {
			t.Errorf("%s: %v; sees it: want %v", who, err, sees)
		}
	}
}
