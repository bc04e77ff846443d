package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/gatetest"
	"github.com/countersign-dev/countersign/identity/token"
	"github.com/countersign-dev/countersign/sanitize"
	"github.com/countersign-dev/countersign/trail"
)

// rig is an API on a real gate, with tokens for everyone of the world. Tokens end in the use they are for:
// "ben/review", "deploy-bot/connect".
type rig struct {
	*gatetest.World
	t      *testing.T
	server *httptest.Server
	api    *API
	tokens map[string]string
	trail  *fakeTrail
}

// fakeTrail stands for the store's reading side; what it is asked for is checked.
type fakeTrail struct {
	found  []trail.Found
	asked  trail.Query
	broken error
}

func (f *fakeTrail) Search(_ context.Context, q trail.Query) ([]trail.Found, error) {
	f.asked = q
	return f.found[:min(len(f.found), q.Limit)], f.broken
}

func (f *fakeTrail) Story(context.Context, string) ([]trail.Found, error) { return f.found, f.broken }

func (f *fakeTrail) Prove(context.Context, uint64) ([]byte, error) {
	return []byte("a proof"), f.broken
}
func (f *fakeTrail) Checkpoint() ([]byte, error) { return []byte("a checkpoint"), f.broken }
func (f *fakeTrail) Export(_ context.Context, w io.Writer) error {
	if _, err := w.Write([]byte("half of it")); err != nil {
		return err
	}
	return f.broken
}

func newRig(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, World: gatetest.New(t, gatetest.Options{}), tokens: map[string]string{}, trail: &fakeTrail{}}
	var entries []token.Entry
	for _, p := range gatetest.Directory().Persons {
		for _, use := range []token.Use{token.Connect, token.Review} {
			text, hash := token.New()
			entries = append(entries, token.Entry{
				Hash: hash, Use: use, Login: p.Logins[0],
				Holder: countersign.Principal{Kind: countersign.KindPerson, Person: p.ID},
			})
			r.tokens[string(p.ID)+"/"+string(use)] = text
		}
	}
	for _, a := range gatetest.Directory().Agents {
		text, hash := token.New()
		entries = append(entries, token.Entry{Hash: hash, Use: token.Connect, Holder: countersign.Principal{Kind: countersign.KindAgent, Agent: a.ID}})
		r.tokens[string(a.ID)+"/connect"] = text
	}
	table, err := token.NewTable(entries)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Gate: r.Gate, Trail: r.trail, Authenticate: authenticate(table),
		Sanitizer: sanitize.New(sanitize.Options{}), PublicURL: "http://gateway.example.org", ReviewByToken: true,
		Health: func(context.Context) Health { return Health{Status: OK, Detail: &HealthDetail{Version: "test"}} },
	}
	if change != nil {
		change(&o)
	}
	if r.api, err = New(o); err != nil {
		t.Fatal(err)
	}
	r.server = httptest.NewServer(r.api)
	t.Cleanup(r.server.Close)
	return r
}

func authenticate(table *token.Table) func(netip.Addr, string) (Caller, error) {
	a := token.NewAuthenticator(table, time.Now)
	return func(remote netip.Addr, text string) (Caller, error) {
		e, err := a.Authenticate(remote, text, token.Connect, token.Review)
		return Caller{Holder: e.Holder, Login: e.Login, Review: e.Use == token.Review}, err
	}
}

// as returns a client with the token of a name of tokens; "" has none.
func (r *rig) as(name string) *Client {
	r.t.Helper()
	tok, ok := r.tokens[name]
	if !ok && name != "" {
		r.t.Fatalf("there is no token of %s", name)
	}
	c, err := NewClient(r.server.URL, tok)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// ask has deploy-bot ask for a change and returns the request that waits.
func (r *rig) ask(text string) countersign.RequestID {
	r.t.Helper()
	s := r.Session(gatetest.Agent("deploy-bot"))
	_, err := s.Admit(context.Background(), gatetest.Action(text, countersign.Write), gate.Hold{})
	var held *countersign.Error
	if !errors.As(err, &held) || held.Kind != countersign.ErrPending {
		r.t.Fatalf("asking: %v; want pending", err)
	}
	return held.Request
}

// do sends a request as it is and returns status and body.
func (r *rig) do(method, path, tok, body string, change func(*http.Request)) (int, string) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.server.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if tok != "" {
		req.Header.Set("Authorization", "Bearer "+tok)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if change != nil {
		change(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

func kind(err error) countersign.ErrorKind {
	var p *Problem
	if !errors.As(err, &p) {
		return ""
	}
	return p.Kind
}

var ctx = context.Background()

func TestAnotherPersonSigns(t *testing.T) {
	r := newRig(t, nil)
	id := r.ask("UPDATE orders SET paid = true WHERE id = 7")
	list, err := r.as("ben/review").Requests(ctx, []approval.State{approval.Pending}, 10)
	if err != nil || len(list) != 1 || list[0].ID != id || !list[0].You.CanSign {
		t.Fatalf("ben's list: %+v, %v", list, err)
	}
	req, err := r.as("ben/review").Request(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	// P3: what the client computes from what it got is what the gate knows as shown.
	if req.View.ViewDigest() != req.ViewDigest || req.View.Digest != req.Digest {
		t.Fatalf("the view does not survive its way: %+v", req.View)
	}
	signed, err := r.as("ben/review").Review(ctx, id, approval.Approve, req.Digest, req.View.ViewDigest(), "looks right")
	if err != nil || signed.State != approval.Approved {
		t.Fatalf("signing: %s, %v", signed.State, err)
	}
	if len(signed.Reviews) != 1 || signed.Reviews[0].Person != "ben" || signed.Reviews[0].Presence != approval.PresenceToken ||
		signed.Reviews[0].Login != "ben@example.org" || signed.Reviews[0].Reason.String() != "looks right" {
		t.Fatalf("reviews: %+v", signed.Reviews)
	}
}

// TestNobodyElseSigns is P2 through every endpoint that takes a verdict.
func TestNobodyElseSigns(t *testing.T) {
	r := newRig(t, nil)
	id := r.ask("UPDATE orders SET paid = true WHERE id = 7")
	rec, err := r.Store.Request(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{
		"deploy-bot/connect", // the requester
		"batch-bot/connect",  // another agent
		"ana/review",         // the person acted for, an owner
		"ana/connect",
		"ben/connect", // may sign, but this token is for connecting
		"eve/review",  // of no group that is asked
		"dan/review",
	} {
		for _, v := range []approval.Verdict{approval.Approve, approval.Confirm, approval.Deny} {
			_, err := r.as(who).Review(ctx, id, v, rec.Request.Digest, rec.Request.View, "me")
			want := countersign.ErrDenied
			if who == "batch-bot/connect" || who == "eve/review" || who == "dan/review" {
				want = countersign.ErrNotFound // it is not theirs to see
			}
			if k := kind(err); k != want && (v != approval.Confirm || k == "") {
				t.Errorf("%s %s: %v; want %s", who, v, err, want)
			}
		}
	}
	for _, v := range []string{"approve", "confirm", "deny"} {
		body := `{"digest":"` + rec.Request.Digest.String() + `","view_digest":"` + rec.Request.View.String() + `"}`
		for name, tok := range map[string]string{"no token": "", "unknown token": "csg_" + strings.Repeat("A", 43), "hash of one": token.HashOf(r.tokens["ben/review"]).String()} {
			if status, _ := r.do("POST", "/api/v1/requests/"+string(id)+"/"+v, tok, body, nil); status != http.StatusUnauthorized {
				t.Errorf("%s, %s: status %d", v, name, status)
			}
		}
	}
	if rec, err = r.Store.Request(ctx, id); err != nil || rec.Request.State != approval.Pending || len(rec.Request.Reviews) != 0 {
		t.Fatalf("after all of them: %+v, %v", rec.Request, err)
	}
	// Each attempt of somebody who is known has been counted by the gate, which records it.
	if c, _ := r.Gate.Counters(); c.ReviewsRefused.Load() != 7*3 {
		t.Errorf("%d refusals recorded; want %d", c.ReviewsRefused.Load(), 7*3)
	}
}

func TestSigningByTokenIsAnExceptionOnLoopback(t *testing.T) {
	for name, c := range map[string]struct {
		off    bool
		change func(*http.Request)
	}{
		"not configured":      {off: true},
		"through a proxy":     {change: func(q *http.Request) { q.Header.Set("X-Forwarded-For", "192.0.2.7") }},
		"through another":     {change: func(q *http.Request) { q.Header.Set("Forwarded", "for=192.0.2.7") }},
		"through an old one":  {change: func(q *http.Request) { q.Header.Set("Via", "1.1 proxy") }},
		"through nginx alike": {change: func(q *http.Request) { q.Header.Set("X-Real-IP", "192.0.2.7") }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(o *Options) { o.ReviewByToken = !c.off })
			id := r.ask("UPDATE a SET b = 1 WHERE c = 2")
			rec, err := r.Store.Request(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			body := `{"digest":"` + rec.Request.Digest.String() + `","view_digest":"` + rec.Request.View.String() + `"}`
			status, text := r.do("POST", "/api/v1/requests/"+string(id)+"/approve", r.tokens["ben/review"], body, c.change)
			if status != http.StatusForbidden {
				t.Fatalf("status %d: %s", status, text)
			}
		})
	}
}

func TestFromAnotherMachineATokenListsAndDoesNotSign(t *testing.T) {
	r := newRig(t, nil)
	id := r.ask("UPDATE a SET b = 1 WHERE c = 2")
	rec, err := r.Store.Request(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	send := func(method, path, body string) int {
		q := httptest.NewRequest(method, "http://gateway.example.org"+path, strings.NewReader(body))
		q.RemoteAddr = "192.0.2.7:4711"
		q.Header.Set("Authorization", "Bearer "+r.tokens["ben/review"])
		q.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		r.api.ServeHTTP(w, q)
		return w.Code
	}
	if got := send("GET", "/api/v1/requests/"+string(id), ""); got != http.StatusOK {
		t.Errorf("reading: %d", got)
	}
	body := `{"digest":"` + rec.Request.Digest.String() + `","view_digest":"` + rec.Request.View.String() + `"}`
	if got := send("POST", "/api/v1/requests/"+string(id)+"/approve", body); got != http.StatusForbidden {
		t.Errorf("signing: %d", got)
	}
}

func TestBothDigestsAreRequiredAndJudged(t *testing.T) {
	r := newRig(t, nil)
	id := r.ask("UPDATE a SET b = 1 WHERE c = 2")
	rec, err := r.Store.Request(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	d, v := rec.Request.Digest.String(), rec.Request.View.String()
	other := strings.Repeat("0", 64)
	for name, body := range map[string]string{
		"nothing":         `{}`,
		"no view":         `{"digest":"` + d + `"}`,
		"no digest":       `{"view_digest":"` + v + `"}`,
		"empty":           `{"digest":"","view_digest":""}`,
		"null":            `{"digest":null,"view_digest":null}`,
		"short":           `{"digest":"ab","view_digest":"` + v + `"}`,
		"upper case":      `{"digest":"` + strings.ToUpper(d) + `","view_digest":"` + v + `"}`,
		"other view":      `{"digest":"` + d + `","view_digest":"` + other + `"}`,
		"other digest":    `{"digest":"` + other + `","view_digest":"` + v + `"}`,
		"exchanged":       `{"digest":"` + v + `","view_digest":"` + d + `"}`,
		"unknown key":     `{"digest":"` + d + `","view_digest":"` + v + `","presence":"passkey"}`,
		"another's name":  `{"digest":"` + d + `","view_digest":"` + v + `","person":"cora"}`,
		"not an object":   `[]`,
		"not JSON":        `digest`,
		"no body":         ``,
		"very long":       `{"digest":"` + d + `","view_digest":"` + v + `","reason":"` + strings.Repeat("x", maxBodyBytes) + `"}`,
		"long reason":     `{"digest":"` + d + `","view_digest":"` + v + `","reason":"` + strings.Repeat("x", 3000) + `"}`,
		"reason of array": `{"digest":"` + d + `","view_digest":"` + v + `","reason":["x"]}`,
	} {
		status, text := r.do("POST", "/api/v1/requests/"+string(id)+"/approve", r.tokens["ben/review"], body, nil)
		var p Problem
		if err := json.Unmarshal([]byte(text), &p); err != nil || status < 400 || status >= 500 || p.Status != status || p.Kind == "" || p.Message == "" {
			t.Errorf("%s: status %d: %s", name, status, text)
		}
	}
	if rec, _ = r.Store.Request(ctx, id); rec.Request.State != approval.Pending {
		t.Fatalf("state %s", rec.Request.State)
	}
}

func TestRequestsAreSeenByThoseConcerned(t *testing.T) {
	r := newRig(t, nil)
	id := r.ask("UPDATE a SET b = 1 WHERE c = 2")
	for who, sees := range map[string]bool{
		"deploy-bot/connect": true, "ana/review": true, "ana/connect": true, "ben/review": true, "cora/review": true,
		"batch-bot/connect": false, "dan/review": false, "eve/review": false,
	} {
		_, err := r.as(who).Request(ctx, id)
		if got := err == nil; got != sees {
			t.Errorf("%s sees it: %v (%v); want %v", who, got, err, sees)
		}
		if !sees && kind(err) != countersign.ErrNotFound {
			t.Errorf("%s: %v; want not found", who, err)
		}
		list, err := r.as(who).Requests(ctx, nil, 10)
		if err != nil || (len(list) == 1) != sees {
			t.Errorf("%s lists %d (%v)", who, len(list), err)
		}
	}
	if _, err := r.as("").Request(ctx, id); kind(err) != countersign.ErrUnauthenticated {
		t.Errorf("nobody: %v", err)
	}
}

func TestCancelByTheRequesterSide(t *testing.T) {
	r := newRig(t, nil)
	id := r.ask("UPDATE a SET b = 1 WHERE c = 2")
	if _, err := r.as("ben/review").Cancel(ctx, id, ""); err == nil {
		t.Error("a reviewer cancels")
	}
	got, err := r.as("ana/connect").Cancel(ctx, id, "not needed; tell bob@example.com")
	if err != nil || got.State != approval.Cancelled {
		t.Fatalf("ana: %s, %v", got.State, err)
	}
	if strings.Contains(got.Why.String(), "bob@example.com") {
		t.Errorf("the reason is kept as sent: %s", got.Why)
	}
}

func TestWaitReturnsOnceItChanges(t *testing.T) {
	r := newRig(t, nil)
	id := r.ask("UPDATE a SET b = 1 WHERE c = 2")
	first, err := r.as("deploy-bot/connect").Request(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan Request, 1)
	go func() {
		w, err := r.as("deploy-bot/connect").Wait(ctx, id, first.Revision, 30*time.Second)
		if err != nil {
			t.Error(err)
		}
		got <- w
	}()
	time.Sleep(50 * time.Millisecond)
	if err := r.Sign("ben", id, approval.Approve); err != nil {
		t.Fatal(err)
	}
	select {
	case w := <-got:
		if w.State != approval.Approved {
			t.Errorf("state %s", w.State)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it still waits")
	}
	start := time.Now()
	same, err := r.as("deploy-bot/connect").Wait(ctx, id, first.Revision+1, time.Second)
	if err != nil || same.State != approval.Approved || time.Since(start) > 5*time.Second {
		t.Errorf("the time is over: %s, %v", same.State, err)
	}
}

func TestHostNamesOfOthersAreRefused(t *testing.T) {
	r := newRig(t, nil)
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:1": 200, "127.0.0.1:80": 200, "[::1]:80": 200, "gateway.example.org": 200, "gateway.example.org:443": 200,
		"evil.example.org": 403, "localhost.evil.example.org": 403, "192.0.2.1": 403, "gateway.example.org.evil.org": 403, "127.0.0.1.nip.io": 403,
	} {
		status, _ := r.do("GET", "/api/v1/health", "", "", func(q *http.Request) { q.Host = host })
		if status != want {
			t.Errorf("Host %s: status %d, want %d", host, status, want)
		}
		if status, _ := r.do("GET", "/healthz", "", "", func(q *http.Request) { q.Host = host }); status != 200 {
			t.Errorf("a probe under %s: %d", host, status)
		}
	}
}

func TestHealthTellsStrangersLittle(t *testing.T) {
	r := newRig(t, nil)
	h, err := r.as("").Health(ctx)
	if err != nil || h.Detail != nil || h.Status != OK {
		t.Errorf("a stranger: %+v, %v", h, err)
	}
	h, err = r.as("deploy-bot/connect").Health(ctx)
	if err != nil || h.Detail == nil || h.Detail.You.Principal != "agent:deploy-bot" || h.Detail.You.Use != "connect" {
		t.Errorf("an agent: %+v, %v", h, err)
	}
	if status, _ := r.do("GET", "/api/v1/health", "csg_wrong", "", nil); status != http.StatusUnauthorized {
		t.Errorf("a wrong token: %d", status)
	}
}

func TestReadiness(t *testing.T) {
	state := OK
	r := newRig(t, func(o *Options) { o.Health = func(context.Context) Health { return Health{Status: state} } })
	for _, c := range []struct {
		state Status
		want  int
	}{{OK, 200}, {Degraded, 200}, {Failing, 503}} {
		state = c.state
		if status, _ := r.do("GET", "/readyz", "", "", nil); status != c.want {
			t.Errorf("%s: %d", c.state, status)
		}
		if status, _ := r.do("GET", "/healthz", "", "", nil); status != 200 {
			t.Errorf("%s: not live", c.state)
		}
	}
}

func TestMetricsHoldNoNames(t *testing.T) {
	r := newRig(t, nil)
	r.ask("UPDATE a SET b = 1 WHERE c = 2")
	status, text := r.do("GET", "/metrics", "", "", nil)
	if status != 200 || !strings.Contains(text, `countersign_actions_total{answer="held"} 1`) {
		t.Fatalf("%d: %s", status, text)
	}
	for _, name := range []string{"deploy-bot", "ana", "shop", "req_", "UPDATE"} {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "countersign_") && strings.Contains(line, name) {
				t.Errorf("a metric tells %q: %s", name, line)
			}
		}
	}
	q := httptest.NewRequest("GET", "http://gateway.example.org/metrics", nil)
	q.RemoteAddr = "192.0.2.7:1"
	w := httptest.NewRecorder()
	r.api.ServeHTTP(w, q)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("from another machine without token: %d", w.Code)
	}
}

func TestTrailIsReadByPolicyOnly(t *testing.T) {
	r := newRig(t, nil)
	for _, path := range []string{"/api/v1/trail", "/api/v1/trail/story/req_x", "/api/v1/trail/events/3/proof", "/api/v1/trail/export"} {
		r.trail.found = []trail.Found{{Number: 3}}
		for who, want := range map[string]int{"aud/review": 200, "aud/connect": 200, "ben/review": 403, "ana/review": 403, "deploy-bot/connect": 403} {
			if status, text := r.do("GET", path, r.tokens[who], "", nil); status != want {
				t.Errorf("%s of %s: %d, want %d: %s", path, who, status, want, text)
			}
		}
		if status, _ := r.do("GET", path, "", "", nil); status != 401 {
			t.Errorf("%s of nobody: %d", path, status)
		}
	}
}

func TestReadingTheTrailIsRecordedFirst(t *testing.T) {
	r := newRig(t, nil)
	before := r.Store.Size()
	if status, text := r.do("GET", "/api/v1/trail?text="+url.QueryEscape("bob@example.com"), r.tokens["aud/review"], "", nil); status != 200 {
		t.Fatalf("%d: %s", status, text)
	}
	if r.Store.Size() == before {
		t.Error("reading left no event")
	}
	if r.trail.asked.Text != "bob@example.com" || r.trail.asked.Limit != 50 {
		t.Errorf("asked %+v", r.trail.asked)
	}
}

func TestSearchPagesAndRefuses(t *testing.T) {
	r := newRig(t, nil)
	for n := range 5 {
		r.trail.found = append(r.trail.found, trail.Found{Number: uint64(9 - n)})
	}
	events, next, err := r.as("aud/review").Search(ctx, trail.Query{Limit: 3, Since: time.Unix(1000, 0), Type: "request."})
	if err != nil || len(events) != 3 || next != 7 {
		t.Fatalf("%d events, next %d, %v", len(events), next, err)
	}
	if !r.trail.asked.Since.Equal(time.Unix(1000, 0)) || r.trail.asked.Type != "request." {
		t.Errorf("asked %+v", r.trail.asked)
	}
	for _, q := range []string{"limit=0", "limit=501", "since=yesterday", "before=-1", "unknown=1"} {
		if status, text := r.do("GET", "/api/v1/trail?"+q, r.tokens["aud/review"], "", nil); status != 422 {
			t.Errorf("%s: %d %s", q, status, text)
		}
	}
}

func TestTrailFaultsAreToldByAnId(t *testing.T) {
	var log bytes.Buffer
	r := newRig(t, func(o *Options) { o.Logger = textLogger(&log) })
	r.trail.broken = errors.New("disk of bob@example.com is broken")
	status, text := r.do("GET", "/api/v1/trail", r.tokens["aud/review"], "", nil)
	var p Problem
	if err := json.Unmarshal([]byte(text), &p); err != nil || status != 500 || strings.Contains(text, "disk") {
		t.Fatalf("%d: %s", status, text)
	}
	id := strings.TrimPrefix(p.Message, "internal error ")
	if !strings.Contains(log.String(), id) || strings.Contains(log.String(), "bob@example.com") {
		t.Errorf("log %q; want the id %s and no address", log.String(), id)
	}
}

func TestBrokenExportIsNotTakenForWhole(t *testing.T) {
	r := newRig(t, nil)
	body, err := r.as("aud/review").Export(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(body); err != nil || string(data) != "half of it" {
		t.Fatalf("%q, %v", data, err)
	}
	r.trail.broken = errors.New("gone")
	body, err = r.as("aud/review").Export(ctx)
	if err == nil {
		_, err = io.ReadAll(body)
	}
	if err == nil {
		t.Fatal("a broken export ends as if whole")
	}
	if _, err := r.as("ben/review").Export(ctx); kind(err) != countersign.ErrDenied {
		t.Errorf("ben: %v", err)
	}
}

func TestSecurityHeaders(t *testing.T) {
	r := newRig(t, nil)
	for _, path := range []string{"/", "/api/v1/health", "/api/v1/requests", "/nothing", "/metrics", "/openapi.json"} {
		resp, err := http.Get(r.server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		for _, h := range []string{"X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy", "Cache-Control"} {
			if resp.Header.Get(h) == "" {
				t.Errorf("%s has no %s", path, h)
			}
		}
		if resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s may be read by other pages", path)
		}
	}
}

func TestMethodsAndPathsThatAreNot(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"DELETE", "/api/v1/requests", 405},
		{"GET", "/api/v1/requests/req_x/approve", 405},
		{"GET", "/api/v1/nothing", 404},
		{"GET", "/docs", 404},
		{"GET", "/api/v1/requests/..%2f..%2fx", 422},
		{"GET", "/api/v1/requests/" + strings.Repeat("a", 300), 422},
		{"GET", "/api/v1/requests?limit=100000", 422},
		{"GET", "/api/v1/requests?state=nonsense", 422},
	} {
		if status, text := r.do(c.method, c.path, r.tokens["ben/review"], "", nil); status != c.want || !strings.Contains(text, `"kind"`) {
			t.Errorf("%s %s: %d, want %d: %s", c.method, c.path, status, c.want, text)
		}
	}
}

func TestErrorsNeverQuoteTheInput(t *testing.T) {
	r := newRig(t, nil)
	secret := "hunter2-hunter2"
	for _, body := range []string{`{"digest":"` + secret + `","view_digest":"` + secret + `"}`, `{"` + secret + `":1}`, secret} {
		_, text := r.do("POST", "/api/v1/requests/req_x/approve", r.tokens["ben/review"], body, nil)
		if strings.Contains(text, `"`+secret+`"`) {
			t.Errorf("it quotes: %s", text)
		}
	}
}

func TestEveryKindHasAStatus(t *testing.T) {
	for _, k := range []countersign.ErrorKind{
		countersign.ErrInvalid, countersign.ErrUnauthenticated, countersign.ErrDenied, countersign.ErrPending, countersign.ErrLimit,
		countersign.ErrNotFound, countersign.ErrConflict, countersign.ErrUnavailable, countersign.ErrInternal,
	} {
		if statuses[k] < 400 {
			t.Errorf("%s: %d", k, statuses[k])
		}
	}
}

// TestNoInputTypeHoldsClean: Clean decodes from JSON for the store's own records. An input that held one
// would let a client hand over text as sanitized (P7).
func TestNoInputTypeHoldsClean(t *testing.T) {
	inputs := newRig(t, nil).api.inputs
	if len(inputs) < 10 {
		t.Fatalf("%d input types are registered; the test looks at the wrong place", len(inputs))
	}
	for _, in := range inputs {
		if path := findClean(in, map[reflect.Type]bool{}); path != "" {
			t.Errorf("%s%s is sanitize.Clean", in, path)
		}
	}
	type bad struct {
		Body struct {
			List []map[string]*countersign.Justification
		}
	}
	if findClean(reflect.TypeFor[bad](), map[reflect.Type]bool{}) == "" {
		t.Error("a Clean inside of lists, maps and pointers is not found")
	}
}

func findClean(t reflect.Type, seen map[reflect.Type]bool) string {
	if t == reflect.TypeFor[sanitize.Clean]() {
		return " "
	}
	if seen[t] {
		return ""
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Chan:
		return findClean(t.Elem(), seen)
	case reflect.Map:
		if p := findClean(t.Key(), seen); p != "" {
			return p
		}
		return findClean(t.Elem(), seen)
	case reflect.Struct:
		for f := range t.Fields() {
			if p := findClean(f.Type, seen); p != "" {
				return "." + f.Name + p
			}
		}
	}
	return ""
}

func TestOpenAPIDescribesEverything(t *testing.T) {
	r := newRig(t, nil)
	status, text := r.do("GET", "/openapi.json", "", "", nil)
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Summary     string
			Security    []map[string][]string
			Responses   map[string]any
		}
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil || status != 200 || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("%d, %v: %s", status, err, text)
	}
	open := map[string]bool{"live": true, "ready": true, "health": true}
	count := 0
	for path, methods := range doc.Paths {
		for method, op := range methods {
			count++
			if op.Summary == "" {
				t.Errorf("%s %s has no summary", method, path)
			}
			if !open[op.OperationID] && (len(op.Security) != 1 || op.Security[0][bearerScheme] == nil) {
				t.Errorf("%s %s needs no token: %v", method, path, op.Security)
			}
			// What the description says holds: without a token it answers 401.
			if !open[op.OperationID] {
				p := strings.NewReplacer("{id}", "req_x", "{number}", "1").Replace(path)
				if status, _ := r.do(strings.ToUpper(method), p, "", "", nil); status != http.StatusUnauthorized {
					t.Errorf("%s %s without a token: %d", method, path, status)
				}
			}
		}
	}
	if count < 14 {
		t.Errorf("%d operations are described", count)
	}
}
