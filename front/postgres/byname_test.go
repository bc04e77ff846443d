package postgres

import (
	"strings"
	"testing"
)

// A FETCH, DECLARE or CLOSE under the name of a prepared statement is held: what it does to cursors the
// EXECUTE does not say, so neither limits nor outcomes could be told (P5).
func TestExecuteOfCursorStatementsIsHeld(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{policy: openPolicy})
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D200ms"))
	c.play([]string{"P|f|FETCH 5 FROM c ; P|k|CLOSE c ; P|y|DECLARE c CURSOR FOR SELECT * FROM items ; S"})
	for _, text := range []string{"EXECUTE f", "EXECUTE k", "EXECUTE y"} {
		said := c.play([]string{"Q|BEGIN", "Q|DECLARE c CURSOR FOR SELECT 1", "Q|" + text, "Q|ROLLBACK"})
		if strings.Count(said, "E ERROR "+codePending) != 1 {
			t.Errorf("%s: %s", text, said)
		}
	}
}

// EXPLAIN DECLARE opens nothing: the rows of every FETCH count under the DECLARE that did.
func TestExplainDeclareOpensNoCursor(t *testing.T) {
	t.Parallel()
	limited := strings.Replace(openPolicy, "then: {allow: true}", "then: {allow: true, limit: {rows: 5}}", 1)
	r := newRig(t, rigOptions{policy: limited})
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D200ms"))
	said := c.play([]string{
		"Q|BEGIN", "Q|DECLARE c CURSOR FOR SELECT * FROM items", "Q|FETCH 4 c",
		"Q|EXPLAIN DECLARE c CURSOR FOR SELECT 1", "Q|FETCH 4 c", "Q|ROLLBACK",
	})
	if n := strings.Count(said, "item "); n > 5 {
		t.Errorf("%d rows past a limit of 5: %s", n, said)
	}
}

// A prepared statement is one command, as the server has it, and EXECUTE does not follow another EXECUTE: no
// text reaches more of them than it names.
func TestPreparedStatementIsOneCommand(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{policy: openPolicy})
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D200ms"))
	c.play([]string{"P|a|SELECT 1 ; P|b|EXECUTE a ; S"})
	said := c.play([]string{"P|two|EXECUTE none; EXECUTE none ; S"}) // not held for a signature either
	if want := "E ERROR 42601 cannot insert multiple commands into a prepared statement"; !strings.Contains(said, want) {
		t.Errorf("said: %s", said)
	}
	if said := c.play([]string{"Q|EXECUTE a"}); strings.Contains(said, "E ERROR") {
		t.Errorf("EXECUTE: %s", said)
	}
	if said := c.play([]string{"Q|EXECUTE b"}); !strings.Contains(said, "E ERROR "+codePending) {
		t.Errorf("EXECUTE of EXECUTE: %s", said)
	}
}
