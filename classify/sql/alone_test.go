package sql

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign-dev/countersign"
)

// control is what of a Statement the session is followed by.
func control(st Statement) Statement {
	return Statement{
		Tx: st.Tx, Chain: st.Chain, Savepoint: st.Savepoint, Copy: st.Copy, Prepare: st.Prepare, Execute: st.Execute,
		Deallocate: st.Deallocate, DiscardAll: st.DiscardAll, Declares: st.Declares, Hold: st.Hold, Fetches: st.Fetches,
		Closes: st.Closes, ClosesAll: st.ClosesAll, Sets: st.Sets,
	}
}

// What only stands in a statement does to the session nothing: EXPLAIN opens no cursor, and a function's
// body runs when it is called.
func TestOnlyTheStatementItselfControlsTheSession(t *testing.T) {
	for _, text := range []string{
		"EXPLAIN DECLARE c CURSOR FOR SELECT 1",
		"EXPLAIN (ANALYZE) DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT 1",
	} {
		r := Classify(text, normal, nil)
		if r.Effects != countersign.Read|countersign.Session {
			t.Errorf("%s: %s", text, r.Effects)
		}
		if diff := cmp.Diff(Statement{}, control(r.Statements[0]), cmp.AllowUnexported(Statement{})); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
	}
	for _, inner := range []string{
		"DECLARE c CURSOR WITH HOLD FOR SELECT 1", "FETCH c", "MOVE c", "CLOSE c", "CLOSE ALL", "COMMIT AND CHAIN", "START TRANSACTION",
		"ROLLBACK TO x", "PREPARE p AS SELECT 1", "DEALLOCATE p", "DEALLOCATE ALL", "DISCARD ALL", "COPY t FROM STDIN", "COPY t TO STDOUT",
	} {
		text := "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC " + inner + "; SELECT 1; END; SELECT 1"
		r := Classify(text, normal, nil)
		if len(r.Statements) != 2 {
			t.Errorf("%s: %v", text, r.Why)
			continue
		}
		st := r.Statements[0]
		if !st.Effects.Has(countersign.Unknown) || st.ReturnsRows {
			t.Errorf("%s: %s, returns rows: %t", text, st.Effects, st.ReturnsRows)
		}
		if diff := cmp.Diff(Statement{}, control(st), cmp.AllowUnexported(Statement{})); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
	}
}

// The protocol prepares statements that SQL's PREPARE does not take. What they do by a name to the
// transaction, to cursors or to other statements, an EXECUTE of them does not tell.
func TestExecuteOfWhatControlsTheSession(t *testing.T) {
	for _, body := range []string{
		"DECLARE c CURSOR FOR SELECT 1", "FETCH 5 FROM c", "MOVE c", "CLOSE c", "CLOSE ALL", "BEGIN", "SAVEPOINT s",
		"DEALLOCATE p", "DEALLOCATE ALL", "DISCARD ALL", "PREPARE q AS SELECT 1", "EXECUTE q",
	} {
		s := normal
		s.Prepared = func(name string) *Statement {
			if name != "p" {
				return nil
			}
			return &Classify(body, normal, nil).Statements[0]
		}
		for _, text := range []string{"EXECUTE p", "EXPLAIN EXECUTE p", "CREATE TABLE t AS EXECUTE p"} {
			if r := Classify(text, s, nil); !r.Effects.Has(countersign.Unknown) {
				t.Errorf("%s of %s: %s", text, body, r.Effects)
			}
		}
	}
	s := normal
	s.Prepared = func(string) *Statement { return &Classify("SELECT 1", normal, nil).Statements[0] }
	two := "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC EXECUTE a; EXECUTE b; END"
	if r := Classify(two, s, nil); !r.Effects.Has(countersign.Unknown) {
		t.Errorf("%s: %s", two, r.Effects)
	}
}

// What set_config sets is known when it certainly has run once, and for how long it holds is in the text.
func TestSetConfigThatMayNotRun(t *testing.T) {
	const set = "set_config('array_nulls', 'on', false)"
	s := normal
	s.Prepared = func(string) *Statement { return &Classify("SELECT "+set, normal, nil).Statements[0] }
	for text, known := range map[string]bool{
		"SELECT " + set: true,
		"SELECT 1, " + set + " AS a, pg_catalog.lower('x')": true,
		"SELECT set_config('array_nulls', 'on', true)":      true,
		"EXECUTE p": true,

		"SELECT set_config('array_nulls', 'on', 1 = 2)":     false,
		"SELECT set_config('array_nulls', NULL, false)":     false,
		"SELECT " + set + " WHERE false":                    false,
		"SELECT " + set + " FROM t":                         false,
		"SELECT " + set + " LIMIT 0":                        false,
		"SELECT " + set + " OFFSET 1":                       false,
		"SELECT " + set + " HAVING false":                   false,
		"SELECT " + set + " GROUP BY ()":                    false,
		"SELECT DISTINCT " + set:                            false,
		"SELECT " + set + " UNION SELECT 'x'":               false,
		"SELECT 1 ORDER BY " + set:                          false,
		"WITH a AS (SELECT " + set + ") SELECT 1":           false,
		"WITH a AS (SELECT 1) SELECT " + set:                false,
		"SELECT CASE WHEN false THEN " + set + " END":       false,
		"SELECT false AND " + set + " = 'on'":               false,
		"SELECT coalesce('x', " + set + ")":                 false,
		"SELECT lower(" + set + ")":                         false,
		"SELECT (SELECT " + set + ")":                       false,
		"SELECT " + set + ", generate_series(1, 0)":         false,
		"SELECT " + set + ", f()":                           false,
		"SELECT " + set + " INTO t":                         false,
		"VALUES (" + set + ")":                              false,
		"INSERT INTO t SELECT " + set:                       false,
		"CREATE TABLE t AS SELECT " + set + " WITH NO DATA": false,
		"EXPLAIN SELECT " + set:                             false,
		"DECLARE c CURSOR FOR SELECT " + set:                false,
		"COPY (SELECT " + set + ") TO STDOUT":               false,
		"CREATE VIEW v AS SELECT " + set:                    false,
		"EXPLAIN EXECUTE p":                                 false,
		"CREATE TABLE t AS EXECUTE p WITH NO DATA":          false,
	} {
		r := Classify(text, s, nil)
		if len(r.Statements) != 1 || len(r.Statements[0].Sets) != 1 {
			t.Errorf("%s: %+v", text, r)
			continue
		}
		got := r.Statements[0].Sets[0]
		if got.Name != "array_nulls" || got.Known != known || !known && got.Values != nil {
			t.Errorf("%s: %+v", text, got)
		}
	}
}
