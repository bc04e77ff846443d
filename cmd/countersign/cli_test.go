package main

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/api"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/gatetest"
	"github.com/countersign-dev/countersign/identity/token"
	"github.com/countersign-dev/countersign/sanitize"
)

// world is a real gate and its API, with commands that people run against it.
type world struct {
	*gatetest.World
	t      *testing.T
	server *httptest.Server
	tokens map[string]string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: gatetest.New(t, gatetest.Options{}), t: t, tokens: map[string]string{}}
	var entries []token.Entry
	add := func(name string, use token.Use, p countersign.Principal, login string) {
		text, hash := token.New()
		entries = append(entries, token.Entry{Hash: hash, Use: use, Holder: p, Login: login})
		w.tokens[name] = text
	}
	for _, p := range gatetest.Directory().Persons {
		add(string(p.ID), token.Review, countersign.Principal{Kind: countersign.KindPerson, Person: p.ID}, p.Logins[0])
	}
	for _, a := range gatetest.Directory().Agents {
		add(string(a.ID), token.Connect, countersign.Principal{Kind: countersign.KindAgent, Agent: a.ID}, "")
	}
	table, err := token.NewTable(entries)
	if err != nil {
		t.Fatal(err)
	}
	auth := token.NewAuthenticator(table, time.Now)
	a, err := api.New(api.Options{
		Gate: w.Gate, Trail: w.Store, Sanitizer: sanitize.New(sanitize.Options{}),
		PublicURL: "http://localhost", ReviewByToken: true,
		Authenticate: func(remote netip.Addr, text string) (api.Caller, error) {
			e, err := auth.Authenticate(remote, text, token.Connect, token.Review)
			return api.Caller{Holder: e.Holder, Login: e.Login, Review: e.Use == token.Review}, err
		},
		Health: func(context.Context) api.Health { return api.Health{Status: api.OK} },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewServer(a)
	t.Cleanup(w.server.Close)
	return w
}

// answer is what a command said.
type answer struct {
	code     int
	out, err string
}

// as runs a command as someone. Typed is what he types; "" is no terminal.
func (w *world) as(who, typed string, args ...string) answer {
	w.t.Helper()
	return w.at(w.server.URL, who, typed, args...)
}

func (w *world) at(url, who, typed string, args ...string) answer {
	w.t.Helper()
	var out, stderr bytes.Buffer
	s := &sys{
		ctx: context.Background(), in: strings.NewReader(typed), out: &out, err: &stderr, inTTY: typed != "",
		getenv: func(name string) string {
			return map[string]string{"COUNTERSIGN_URL": url, "COUNTERSIGN_TOKEN": w.tokens[who]}[name]
		},
	}
	code := run(args, s)
	return answer{code, out.String(), stderr.String()}
}

func (w *world) ask(text string) countersign.RequestID {
	w.t.Helper()
	a := gatetest.Action(text, countersign.Write)
	a.Justification.Reason = sanitize.Const("ticket 12")
	a.Objects = []countersign.Object{{Kind: "table", Name: sanitize.Const("public.orders"), Effects: countersign.Write}}
	a.Why = []countersign.Evidence{{Effect: countersign.Write, Why: sanitize.Const("UPDATE changes public.orders")}}
	_, err := w.Session(gatetest.Agent("deploy-bot")).Admit(context.Background(), a, gate.Hold{})
	var held *countersign.Error
	if !errors.As(err, &held) || held.Kind != countersign.ErrPending {
		w.t.Fatalf("asking: %v", err)
	}
	return held.Request
}

func (w *world) state(id countersign.RequestID) approval.State {
	w.t.Helper()
	rec, err := w.Store.Request(context.Background(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return rec.Request.State
}

func wantAll(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("it does not tell %q:\n%s", p, text)
		}
	}
}

func TestApproveShowsAsksAndSigns(t *testing.T) {
	w := newWorld(t)
	id := w.ask("UPDATE orders SET paid = true WHERE id = 7")
	list := w.as("ben", "", "requests")
	wantAll(t, list.out, string(id), "pending", "agent:deploy-bot", "shop", "write", "can sign", "UPDATE orders")

	no := w.as("ben", "n\n", "approve", string(id))
	if no.code != exitNo || w.state(id) != approval.Pending {
		t.Fatalf("after no: %d, %s", no.code, w.state(id))
	}
	if silent := w.as("ben", "\n", "approve", string(id)); silent.code != exitNo {
		t.Fatalf("after nothing: %d", silent.code)
	}
	if script := w.as("ben", "", "approve", string(id)); script.code != exitUsage || w.state(id) != approval.Pending {
		t.Fatalf("without a terminal: %d, %s", script.code, w.state(id))
	}
	yes := w.as("ben", "y\n", "approve", string(id), "--reason", "checked")
	if yes.code != exitOK || w.state(id) != approval.Approved {
		t.Fatalf("after yes: %d, %s\n%s", yes.code, w.state(id), yes.err)
	}
	wantAll(t, yes.out, "Request "+string(id)+": pending", "WHO", "agent:deploy-bot", "on behalf of  ana", "shop (postgres, env=prod)", "ticket 12",
		"nobody has checked them", "WHAT", "│ UPDATE orders SET paid = true WHERE id = 7", "table public.orders: write", "HOW WE KNOW",
		"UPDATE changes public.orders", "RULES", "changes", "SIGNATURES", "one of dba", "PROOF", "[y/N]", "You have signed request")
	show := w.as("ben", "", "requests", "show", string(id))
	wantAll(t, show.out, "approved", "ben approved at", "present by token", "“checked”")
}

func TestThoseWhoMayNotSignAreRefused(t *testing.T) {
	w := newWorld(t)
	id := w.ask("UPDATE orders SET paid = true WHERE id = 7")
	for who, why := range map[string]string{
		"deploy-bot": "agents, keys and services never sign",
		"ana":        "countersign:",
	} {
		for _, verb := range []string{"approve", "deny"} {
			got := w.as(who, "", verb, string(id), "--yes")
			if got.code != exitNo || !strings.Contains(got.err, why) {
				t.Errorf("%s %s: %d\n%s", who, verb, got.code, got.err)
			}
		}
	}
	if got := w.as("eve", "y\n", "approve", string(id)); got.code != exitNo {
		t.Errorf("eve: %d %s", got.code, got.err)
	}
	if w.state(id) != approval.Pending {
		t.Fatalf("state %s", w.state(id))
	}
	deny := w.as("cora", "yes\n", "deny", string(id), "--reason", "not on a Friday")
	if deny.code != exitOK || w.state(id) != approval.Denied {
		t.Fatalf("cora: %d, %s", deny.code, w.state(id))
	}
	if wait := w.as("ana", "", "requests", "wait", string(id)); wait.code != exitNo || !strings.Contains(wait.out, "is denied") {
		t.Errorf("wait: %+v", wait)
	}
}

// TestForgedViewIsNotSigned is P3 at the reviewer's end: a gateway, or whoever stands between, that shows
// another statement than the one whose digest it names gets no signature.
func TestForgedViewIsNotSigned(t *testing.T) {
	w := newWorld(t)
	id := w.ask("DROP everything WHERE true")
	other := w.ask("UPDATE orders SET paid = true WHERE id = 7")
	for name, change := range map[string]func(string) string{
		"another text":    func(b string) string { return strings.ReplaceAll(b, "DROP everything", "SELECT nothing") },
		"another request": func(b string) string { return strings.ReplaceAll(b, string(id), string(other)) },
		"fewer effects":   func(b string) string { return strings.ReplaceAll(b, `["write"]`, `["read"]`) },
	} {
		forger := forge(t, w.server.URL, change)
		got := w.at(forger, "ben", "", "approve", string(id), "--yes")
		if got.code != exitNo || !strings.Contains(got.err, "nothing is signed") {
			t.Errorf("%s: %d %s", name, got.code, got.err)
		}
	}
	if w.state(id) != approval.Pending || w.state(other) != approval.Pending {
		t.Fatalf("states %s, %s", w.state(id), w.state(other))
	}
}

// forge passes requests on and changes the answers.
func forge(t *testing.T, to string, change func(string) string) string {
	t.Helper()
	s := httptest.NewServer(forger{to, change})
	t.Cleanup(s.Close)
	return s.URL
}

// TestConfirmIsTheWordOfThePersonActedFor: he confirms with approve, and fills no seat by it.
func TestConfirmIsTheWordOfThePersonActedFor(t *testing.T) {
	w := newWorld(t)
	w.SetPolicy(gatetest.Policy + `
  - name: own-agents
    match: {resource: {env: prod}, principal: {kind: agent}, effects: [write]}
    then: {confirm: true}
`)
	id := w.ask("UPDATE orders SET paid = true WHERE id = 7")
	ana := w.as("ana", "y\n", "approve", string(id))
	if ana.code != exitOK || w.state(id) != approval.Pending {
		t.Fatalf("ana: %d, %s\n%s%s", ana.code, w.state(id), ana.out, ana.err)
	}
	wantAll(t, ana.out, "confirmation by ana", "on your behalf?", "You have confirmed", "Still needed: 1 of dba")
	if ben := w.as("ben", "y\n", "approve", string(id)); ben.code != exitOK || w.state(id) != approval.Approved {
		t.Fatalf("ben: %d, %s\n%s", ben.code, w.state(id), ben.err)
	}
}

func TestWaitEndsWithTheAnswer(t *testing.T) {
	w := newWorld(t)
	id := w.ask("UPDATE orders SET paid = true WHERE id = 7")
	if got := w.as("deploy-bot", "", "requests", "wait", string(id), "--timeout", "1s"); got.code != exitUnavailable {
		t.Errorf("unanswered: %+v", got)
	}
	go func() {
		time.Sleep(100 * time.Millisecond)
		if err := w.Sign("ben", id, approval.Approve); err != nil {
			t.Error(err)
		}
	}()
	if got := w.as("deploy-bot", "", "requests", "wait", string(id), "--timeout", "20s"); got.code != exitOK || !strings.Contains(got.out, "approved") {
		t.Errorf("answered: %+v", got)
	}
	if got := w.as("ana", "", "requests", "cancel", string(id), "--reason", "no longer"); got.code != exitOK || w.state(id) != approval.Cancelled {
		t.Errorf("cancel: %+v, %s", got, w.state(id))
	}
}

// TestTrailTellsTheStory is P9, through the API and from the folder of an export.
func TestTrailTellsTheStory(t *testing.T) {
	w := newWorld(t)
	id := w.ask("UPDATE orders SET paid = true WHERE id = 7")
	w.as("ana", "", "approve", string(id), "--yes") // refused, and told
	if got := w.as("ben", "", "approve", string(id), "--yes", "--reason", "checked"); got.code != exitOK {
		t.Fatal(got.err)
	}
	s := w.Session(gatetest.Agent("deploy-bot"))
	a := gatetest.Action("UPDATE orders SET paid = true WHERE id = 7", countersign.Write)
	permit, err := s.Admit(context.Background(), a, gate.Hold{})
	if err != nil {
		t.Fatal(err)
	}
	permit.Finish(gate.Outcome{State: approval.Done, Rows: 1})
	action := string(permit.Action())
	settled(t, w, action)

	dir := filepath.Join(t.TempDir(), "export")
	for _, name := range []string{"gateway", "folder"} {
		from := []string{}
		if name == "folder" {
			if got := w.as("aud", "", "trail", "export", dir); got.code != exitOK {
				t.Fatal(got.err)
			}
			from = []string{"--data", dir}
		}
		for _, about := range []string{string(id), action} {
			got := w.as("aud", "", append([]string{"trail", "show", about}, from...)...)
			if got.code != exitOK {
				t.Fatalf("%s: %s", name, got.err)
			}
			wantAll(t, got.out, about+": done", "agent:deploy-bot", "on behalf of  ana", "shop", "│ UPDATE orders SET paid = true WHERE id = 7",
				"changes", "ana", "and was refused", "ben", "approved at", "present by token", "“checked”",
				"request.opened", "review.given", "grant.claimed", "action.intent", "action.outcome", "rows          1", "trail proof")
		}
		got := w.as("aud", "", append([]string{"trail", "search", "--type", "review.", "--json"}, from...)...)
		wantAll(t, got.out, `"type": "review.given"`, `"type": "review.refused"`)
		if strings.Contains(got.out, "action.intent") {
			t.Errorf("%s: other types are found too", name)
		}
		if got := w.as("aud", "", append([]string{"trail", "search", "paid = true", "--principal", "agent:deploy-bot"}, from...)...); !strings.Contains(got.out, "action.intent") {
			t.Errorf("%s: the text is not found:\n%s", name, got.out)
		}
		if got := w.as("aud", "", append([]string{"trail", "show", "act_nothing"}, from...)...); got.code != exitNo {
			t.Errorf("%s: nothing: %+v", name, got)
		}
	}
	w.verifies(t, dir)
}

// verifies checks an export and a proof against a checkpoint and key kept elsewhere, then changed ones.
func (w *world) verifies(t *testing.T, dir string) {
	t.Helper()
	since := filepath.Join(t.TempDir(), "kept")
	w.as("aud", "", "trail", "search") // is recorded too, so that the trail is longer than the copy
	signed, err := w.Store.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(since, signed, 0o600); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(w.Dir, "keys", "log.pub")
	if got := w.as("", "", "trail", "verify", dir, "--since", since, "--keys", keys); got.code != exitNo || !strings.Contains(got.out, "rolled back") {
		t.Errorf("a copy that ends before a checkpoint: %+v", got)
	}
	inside, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(since, inside, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := w.as("", "", "trail", "verify", dir, "--since", since, "--keys", keys); got.code != exitOK || !strings.Contains(got.out, "consistent, anchored") {
		t.Errorf("a sound copy: %+v", got)
	}
	if got := w.as("", "", "trail", "verify", dir); got.code != exitOK || !strings.Contains(got.out, "not anchored") || !strings.Contains(got.out, "--since") {
		t.Errorf("without a checkpoint: %+v", got)
	}
	proof := filepath.Join(t.TempDir(), "proof")
	if got := w.as("aud", "", "trail", "proof", "1", "-o", proof); got.code != exitOK {
		t.Fatalf("proof: %+v", got)
	}
	if got := w.as("", "", "trail", "verify", proof, "--keys", keys); got.code != exitOK || !strings.Contains(got.out, "Proven: event 1") {
		t.Errorf("a proof: %+v", got)
	}
	if got := w.as("aud", "", "trail", "proof", "100000"); got.code != exitNo {
		t.Errorf("a proof of nothing: %+v", got)
	}
	flip(t, dir, "bodies", "paid = true")
	got := w.as("", "", "trail", "verify", dir, "--since", since, "--keys", keys, "--json")
	if got.code != exitNo {
		t.Errorf("a changed copy: %d", got.code)
	}
	wantAll(t, got.out, `"ok": false`, `"kind": "changed"`, `"type": "`)
}

// flip changes one byte of text in the files of a folder.
func flip(t *testing.T, dir, below, text string) {
	t.Helper()
	found := false
	err := filepath.Walk(filepath.Join(dir, below), func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || found {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if i := bytes.Index(data, []byte(text)); i >= 0 {
			data[i] ^= 1
			found = true
			return os.WriteFile(path, data, 0o600)
		}
		return nil
	})
	if err != nil || !found {
		t.Fatalf("no file holds %q (%v)", text, err)
	}
}

// settled waits until the outcome of an action is recorded.
func settled(t *testing.T, w *world, action string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		story, err := w.Store.Story(context.Background(), action)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range story {
			if e.Type == countersign.ActionOutcome {
				return
			}
		}
	}
	t.Fatal("no outcome")
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext\nin lines":        "plain\ttext\nin lines",
		"colour \x1b[31m":              `colour \x1b[31m`,
		"back\rover":                   `back\x0dover`,
		"bell\a nul\x00 del\x7f":       `bell\x07 nul\x00 del\x7f`,
		"bidi \u202e\u2066 zero\u200b": `bidi \u202e\u2066 zero\u200b`,
		"C1 \u009b":                    `C1 \u009b`,
		"bad \xff utf-8":               `bad \xff utf-8`,
		"tag \U000e0041":               `tag \U000e0041`,
		"line\u2028separator\u3164":    `line\u2028separator\u3164`,
		"Müller 東京 ✓ naïve":            "Müller 東京 ✓ naïve",
	} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestHostileTextIsHarmlessOnTheTerminal: whoever asks chooses the text that a reviewer reads.
func TestHostileTextIsHarmlessOnTheTerminal(t *testing.T) {
	w := newWorld(t)
	id := w.ask("UPDATE a SET b = 1 -- \x1b[2K\x1b[1A\r harmless \u202e")
	for _, got := range []answer{
		w.as("ben", "", "requests"), w.as("ben", "", "requests", "show", string(id)),
		w.as("aud", "", "trail", "show", string(id)), w.as("aud", "", "trail", "search"),
	} {
		if strings.ContainsAny(got.out, "\x1b\r\u202e") {
			t.Errorf("the terminal would obey:\n%q", got.out)
		}
	}
}
