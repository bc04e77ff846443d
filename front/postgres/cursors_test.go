package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
)

// readsOnly holds all that is more than reading.
var readsOnly = strings.NewReplacer("effects: [read, session, write, schema]", "effects: [read, session]",
	"any_effect: [delete, ", "any_effect: [delete, write, ").Replace(openPolicy)

// One signature runs a cursor's query once: reading it again after a MOVE back is another action with the
// query's effects (P4).
func TestFetchHasTheEffectsOfItsCursor(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{policy: readsOnly, setup: []string{"CREATE SEQUENCE sq"}})
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D10s"))
	r.sign(1)
	c.play([]string{"Q|BEGIN"})
	if said := c.play([]string{"Q|DECLARE c SCROLL CURSOR FOR SELECT nextval('sq') FROM items WHERE id = 1"}); strings.Contains(said, "E ERROR") {
		t.Fatal(said)
	}
	for range 2 {
		c.send(appendQuery(nil, "SET countersign.hold = '200ms'"))
		c.until(msgReady)
		c.play([]string{"Q|SAVEPOINT s"})
		for _, text := range []string{"FETCH ALL FROM c", "MOVE ABSOLUTE 0 FROM c"} {
			if said := c.play([]string{"Q|" + text, "Q|ROLLBACK TO s"}); !strings.Contains(said, "E ERROR "+codePending) {
				t.Errorf("%s: %s", text, said)
			}
		}
	}
	if got := r.outside("SELECT is_called FROM sq"); got != "f" {
		t.Errorf("the sequence was called: %s", got)
	}
	var deny []gate.Record
	deny, err := r.Store.Requests(context.Background(), gate.Filter{Limit: 20})
	if err != nil || len(deny) < 2 || !strings.Contains(deny[0].View.Text.String(), "nextval") {
		t.Errorf("reviewers are shown: %v %v", deny, err)
	}
}

// A cursor is forgotten when the server has dropped it: its name says nothing of another one.
func TestCursorsAreForgotten(t *testing.T) {
	t.Parallel()
	const declare = "Q|DECLARE u CURSOR FOR SELECT 1"
	for name, script := range map[string][]string{
		"CLOSE":                   {"Q|BEGIN", declare, "Q|CLOSE u"},
		"CLOSE ALL":               {"Q|BEGIN", declare, "Q|CLOSE ALL"},
		"COMMIT":                  {"Q|BEGIN", declare, "Q|COMMIT"},
		"hold, ROLLBACK":          {"Q|BEGIN", "Q|DECLARE u CURSOR WITH HOLD FOR SELECT 1", "Q|ROLLBACK"},
		"ROLLBACK TO":             {"Q|BEGIN", "Q|SAVEPOINT s", declare, "Q|ROLLBACK TO s"},
		"ROLLBACK TO, an earlier": {"Q|BEGIN", "Q|SAVEPOINT s", "Q|SAVEPOINT u", declare, "Q|ROLLBACK TO s"},
		"DISCARD ALL":             {"Q|DECLARE u CURSOR WITH HOLD FOR SELECT 1", "Q|DISCARD ALL"},
		"never":                   {"Q|BEGIN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{policy: openPolicy})
			c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D200ms"))
			said := c.play(append(script, "Q|SET countersign.hold = '200ms'", "Q|FETCH ALL FROM u"))
			if !strings.Contains(said, "E ERROR "+codePending) || strings.Count(said, "E ERROR") != 1 {
				t.Errorf("said: %s", said)
			}
		})
	}
}

// What is still open stays known.
func TestCursorsAreKept(t *testing.T) {
	t.Parallel()
	const hold = "DECLARE h CURSOR WITH HOLD FOR SELECT 42"
	for name, script := range map[string][]string{
		"hold, COMMIT":           {"Q|BEGIN", "Q|" + hold, "Q|COMMIT", "Q|FETCH 1 FROM h"},
		"hold, no block":         {"Q|" + hold, "Q|SELECT 1", "Q|FETCH 1 FROM h"},
		"hold, a later ROLLBACK": {"Q|" + hold, "Q|BEGIN", "Q|ROLLBACK", "Q|FETCH 1 FROM h"},
		"a later ROLLBACK TO":    {"Q|BEGIN", "Q|DECLARE h CURSOR FOR SELECT 42", "Q|SAVEPOINT s", "Q|ROLLBACK TO s", "Q|FETCH 1 FROM h", "Q|COMMIT"},
		"another closed":         {"Q|" + hold, "Q|DECLARE g CURSOR WITH HOLD FOR SELECT 1", "Q|CLOSE g", "Q|FETCH 1 FROM h"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{policy: openPolicy})
			said := dialRaw(t, r.url("&options=-c%20countersign.hold%3D200ms")).play(script)
			if strings.Contains(said, "E ERROR") || !strings.Contains(said, `\x0242"`) {
				t.Errorf("said: %s", said)
			}
		})
	}
}

// SQL reads what the protocol bound: that is held as unknown, with the effects of what it runs, and is not
// recorded as never having run.
func TestFetchOfAPortal(t *testing.T) {
	t.Parallel()
	const update = "UPDATE items SET name = 'read' WHERE id = 1 RETURNING id"
	r := newRig(t, rigOptions{policy: readsOnly})
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D10s"))
	c.play([]string{"Q|BEGIN", "Q|DECLARE u CURSOR FOR SELECT 1", "Q|CLOSE u"})
	r.sign(1)
	if said := c.play([]string{"P||" + update + " ; B|u| ; S"}); strings.Contains(said, "E ERROR") {
		t.Fatal(said)
	}
	r.sign(1)
	said := c.play([]string{"Q|FETCH ALL FROM u", "Q|COMMIT"})
	if !strings.Contains(said, "waits for") || !strings.Contains(said, "FETCH 1") {
		t.Errorf("said: %s", said)
	}
	recs, err := r.Store.Requests(context.Background(), gate.Filter{Limit: 10})
	if err != nil || len(recs) != 2 {
		t.Fatalf("%d requests, %v", len(recs), err)
	}
	for _, rec := range recs {
		shown := rec.View.Text.String()
		if !strings.Contains(shown, "UPDATE items") {
			t.Errorf("reviewers are shown: %s", shown)
		}
		if got := rec.Request.Uses[0].Outcome; got != approval.Done {
			t.Errorf("the outcome of %s is %s", shown, got)
		}
	}
	// Bound before, executed after the name has passed to a portal.
	said = c.play([]string{
		"Q|SET countersign.hold = '200ms'", "Q|BEGIN", "Q|DECLARE v CURSOR FOR SELECT 1", "P||FETCH ALL FROM v ; B|f| ; S",
		"C|P|v ; P||SELECT 43 ; B|v| ; E|f|0 ; S",
	})
	if strings.Contains(said, `\x0243"`) || !strings.Contains(said, "E ERROR") {
		t.Errorf("said: %s", said)
	}
}
