package sql

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign-dev/countersign"
)

// What a front needs to know of each statement.
func TestStatementDetails(t *testing.T) {
	for text, want := range map[string]Statement{
		"SELECT 1":                          {Tag: "SELECT", ReturnsRows: true},
		"SELECT 1 INTO t":                   {Tag: "SELECT INTO"},
		"INSERT INTO t VALUES (1)":          {Tag: "INSERT"},
		"DELETE FROM t RETURNING 1":         {Tag: "DELETE", ReturnsRows: true},
		"BEGIN":                             {Tag: "BEGIN", Tx: TxBegin},
		"START TRANSACTION READ ONLY":       {Tag: "BEGIN", Tx: TxBegin},
		"COMMIT AND CHAIN":                  {Tag: "COMMIT", Tx: TxCommit, Chain: true},
		"END":                               {Tag: "COMMIT", Tx: TxCommit},
		"ABORT":                             {Tag: "ROLLBACK", Tx: TxRollback},
		"ROLLBACK AND CHAIN":                {Tag: "ROLLBACK", Tx: TxRollback, Chain: true},
		`SAVEPOINT "A b"`:                   {Tag: "SAVEPOINT", Tx: TxSavepoint, Savepoint: "A b"},
		"ROLLBACK TO x":                     {Tag: "ROLLBACK", Tx: TxRollbackTo, Savepoint: "x"},
		"RELEASE SAVEPOINT x":               {Tag: "RELEASE", Tx: TxRelease, Savepoint: "x"},
		"PREPARE TRANSACTION 'x'":           {Tag: "PREPARE TRANSACTION", Tx: TxPrepare},
		"COMMIT PREPARED 'x'":               {Tag: "COMMIT PREPARED", Tx: TxCommitPrepared},
		"ROLLBACK PREPARED 'x'":             {Tag: "ROLLBACK PREPARED", Tx: TxRollbackPrepared},
		"COPY t TO STDOUT":                  {Tag: "COPY", Copy: CopyToClient},
		"COPY (SELECT 1) TO STDOUT":         {Tag: "COPY", Copy: CopyToClient},
		"COPY t FROM STDIN":                 {Tag: "COPY", Copy: CopyFromClient},
		"COPY t TO '/x'":                    {Tag: "COPY"},
		"COPY t FROM PROGRAM 'x'":           {Tag: "COPY"},
		"EXPLAIN SELECT 1":                  {Tag: "EXPLAIN", ReturnsRows: true},
		"SHOW ALL":                          {Tag: "SHOW", ReturnsRows: true},
		"FETCH c":                           {Tag: "FETCH", ReturnsRows: true},
		"MOVE c":                            {Tag: "MOVE"},
		"EXECUTE p(1)":                      {Tag: "EXECUTE", Execute: "p"},
		"EXPLAIN ANALYZE EXECUTE p":         {Tag: "EXPLAIN", Execute: "p", ReturnsRows: true},
		"CREATE TABLE t AS EXECUTE p":       {Tag: "CREATE TABLE AS", Execute: "p"},
		"DEALLOCATE p":                      {Tag: "DEALLOCATE", Deallocate: "p"},
		"DEALLOCATE ALL":                    {Tag: "DEALLOCATE", DiscardAll: true},
		"DISCARD ALL":                       {Tag: "DISCARD ALL", DiscardAll: true, Sets: []Setting{{Reset: true, Known: true, All: true}}},
		"DISCARD PLANS":                     {Tag: "DISCARD"},
		"SET LOCAL DateStyle = ISO, 'MDY'":  {Tag: "SET", Sets: []Setting{{Name: "datestyle", Values: []string{"iso", "MDY"}, Known: true, Local: true}}},
		"SET countersign.reason TO 'why'":   {Tag: "SET", Sets: []Setting{{Name: "countersign.reason", Values: []string{"why"}, Known: true}}},
		"SET statement_timeout = 5":         {Tag: "SET", Sets: []Setting{{Name: "statement_timeout", Values: []string{"5"}, Known: true}}},
		"SET jit = off":                     {Tag: "SET", Sets: []Setting{{Name: "jit", Values: []string{"off"}, Known: true}}},
		"SET search_path = ''":              {Tag: "SET", Sets: []Setting{{Name: "search_path", Values: []string{}, Known: true}}},
		`SET search_path = a, "B"`:          {Tag: "SET", Sets: []Setting{{Name: "search_path", Values: []string{"a", "B"}, Known: true}}},
		"RESET jit":                         {Tag: "RESET", Sets: []Setting{{Name: "jit", Known: true, Reset: true}}},
		"SET jit TO DEFAULT":                {Tag: "SET", Sets: []Setting{{Name: "jit", Known: true, Reset: true}}},
		"RESET ALL":                         {Tag: "RESET", Sets: []Setting{{Known: true, Reset: true, All: true}}},
		"SET TIME ZONE 'UTC'":               {Tag: "SET", Sets: []Setting{{Name: "timezone", Values: []string{"UTC"}, Known: true}}},
		"SELECT set_config($1, 'x', false)": {Tag: "SELECT", ReturnsRows: true, Sets: []Setting{{}}},
		"SELECT set_config('JIT', 'off', true), pg_catalog.set_config('geqo', $1, x) FROM t": {
			Tag: "SELECT", ReturnsRows: true,
			Sets: []Setting{{Name: "jit", Local: true}, {Name: "geqo"}},
		},
		"SELECT set_config('JIT', 'off', true) AS a, 1, lower('x'), set_config('geqo', $1, false)": {
			Tag: "SELECT", ReturnsRows: true,
			Sets: []Setting{{Name: "jit", Values: []string{"off"}, Known: true, Local: true}, {Name: "geqo"}},
		},
		"CREATE INDEX ON t (a)": {Tag: "CREATE INDEX"},
		"DROP VIEW v":           {Tag: "DROP VIEW"},
		"VACUUM":                {Tag: "VACUUM"},
		"LOCK t":                {Tag: "LOCK TABLE"},
	} {
		r := Classify(text, normal, nil)
		if len(r.Statements) != 1 {
			t.Errorf("%s: %d statements", text, len(r.Statements))
			continue
		}
		got := r.Statements[0]
		if (got.Set == nil) != (len(got.Sets) == 0) || got.Set != nil && got.Set != &got.Sets[0] {
			t.Errorf("%s: Set is not the first of Sets", text)
		}
		got = Statement{
			Tag: got.Tag, Tx: got.Tx, Chain: got.Chain, Savepoint: got.Savepoint, Copy: got.Copy, Execute: got.Execute,
			Deallocate: got.Deallocate, DiscardAll: got.DiscardAll, Sets: got.Sets, ReturnsRows: got.ReturnsRows,
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Statement{})); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
	}
}

// Statements are found where they stand, whatever stands around them.
func TestExtents(t *testing.T) {
	text := " ;; /* é */ SELECT 'ü;' ; \n-- x;\n BEGIN;DROP TABLE t -- ;\n;; "
	r := Classify(text, normal, nil)
	var got []string
	for _, s := range r.Statements {
		got = append(got, text[s.Start:s.End])
	}
	want := []string{"/* é */ SELECT 'ü;'", "-- x;\n BEGIN", "DROP TABLE t -- ;"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if r.Facts.Statements != 3 {
		t.Errorf("%d statements", r.Facts.Statements)
	}
}

// A leading comment carries the requester's reason, and nothing else does.
func TestReason(t *testing.T) {
	for text, want := range map[string]string{
		"/* reason: fix #1 */ DELETE FROM t":               "fix #1",
		" \n-- note\n/* other */ /*reason:a /*b*/ c*/ x y": "a /*b*/ c",
		"/* reason: a":              "",
		"SELECT 1 /* reason: a */":  "",
		"SELECT '/* reason: a */'":  "",
		"/* a reason: b */SELECT 1": "",
		"-- reason: a":              "",
		"/* reason: only */":        "only",
	} {
		if got := Classify(text, normal, nil).Reason; got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// The shape is the same for other literals, and another for another statement.
func TestShape(t *testing.T) {
	shape := func(text string) string { return Classify(text, normal, nil).Shape }
	a := shape("SELECT * FROM t WHERE id = 1")
	if len(a) != 16 || a != shape("select *  from t where id = 'x'") || a == shape("SELECT * FROM u WHERE id = 1") {
		t.Errorf("shape %q", a)
	}
}

// A text's statements name what they touch.
func TestObjects(t *testing.T) {
	for text, want := range map[string][]string{
		"SELECT * FROM customers c JOIN public.orders USING (id)":              {"table customers read", "table public.orders read"},
		"SELECT * FROM Customers, \"Customers\", \"public.orders\", \"a b\".c": {"table customers read", "table Customers read", `table "public.orders" read`, `table "a b".c read`},
		"INSERT INTO t SELECT * FROM t":                                        {"table t read,write"},
		"SELECT * FROM pg_class, pg_authid":                                    {"table pg_catalog.pg_class read", "table pg_catalog.pg_authid read,secret"},
		"SELECT evil(), lower('x'), pg_reload_conf()":                          {"function evil execute", "function pg_reload_conf admin"},
		"SELECT nextval('public.s'::regclass)":                                 {"function nextval write", "sequence public.s write"},
		"COPY t TO '/tmp/x'":                                                   {"table t read,export", "file /tmp/x export,execute"},
		"COPY t TO PROGRAM 'curl -u bob:pw http://x'":                          {"table t read,export", "program curl export,execute"},
		"DROP TABLE a, s.b":                                                    {"table a destroy", "table s.b destroy"},
		"DROP FUNCTION s.f(int)":                                               {"function s.f destroy"},
		"GRANT SELECT ON a, s.b TO bob":                                        {"table a privilege", "table s.b privilege", "role bob privilege"},
		"GRANT admin TO bob":                                                   {"role admin privilege", "role bob privilege"},
		"ALTER TABLE s.t OWNER TO bob":                                         {"table s.t schema", "role bob privilege"},
		"SET work_mem = '1GB'":                                                 {"setting work_mem privilege"},
		"CREATE SCHEMA s":                                                      {"schema s schema"},
		"CREATE EXTENSION dblink":                                              {"extension dblink schema,privilege,execute"},
		"TRUNCATE a, b":                                                        {"table a delete", "table b delete"},
		"CREATE VIEW v AS SELECT * FROM t":                                     {"view v schema", "table t read"},
		"CREATE MATERIALIZED VIEW m AS SELECT 1":                               {"materialized view m write,schema"},
		"MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE":           {"table t write,delete", "table u read"},
		"WITH t AS (SELECT 1) SELECT * FROM t":                                 nil,
		"BEGIN; DELETE FROM a WHERE b = 1; INSERT INTO a VALUES (1)":           {"table a write,delete"},
		"SELECT * FROM t FOR UPDATE OF t":                                      {"table t read"},
		"ALTER FUNCTION f(int) SECURITY DEFINER":                               {"function f schema"},
		"LOCK TABLE s.t":                                                       {"table s.t write"},
		"CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION public.f('a')": {"table t schema"},
	} {
		var got []string
		for _, o := range Classify(text, normal, nil).Objects {
			got = append(got, o.Kind+" "+o.Name.String()+" "+o.Effects.String())
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
	}
}

// EXECUTE does what was prepared under that name, in this session.
func TestPrepared(t *testing.T) {
	prepared := map[string]*Statement{}
	for name, text := range map[string]string{
		"del": "PREPARE x AS DELETE FROM t", "cat": "PREPARE x AS SELECT * FROM pg_class", "ins": "PREPARE x AS INSERT INTO t VALUES (1), (2)",
		"set": "PREPARE x AS SELECT set_config('search_path', 'evil', false)",
	} {
		prepared[name] = Classify(text, normal, nil).Statements[0].PrepareBody
	}
	s := normal
	s.Prepared = func(name string) *Statement { return prepared[name] }
	for text, want := range map[string]string{
		"EXECUTE del":                   "delete unbounded",
		"EXECUTE cat(1)":                "read catalog",
		"EXECUTE ins":                   "write rows=2",
		"EXECUTE other":                 "unknown ",
		"EXPLAIN EXECUTE del":           "read,delete unbounded",
		"EXPLAIN ANALYZE EXECUTE ins":   "read,write ",
		"CREATE TABLE n AS EXECUTE cat": "read,write,schema ",
		"DEALLOCATE del; EXECUTE del":   "session,unknown ",
		"DEALLOCATE ALL; EXECUTE del":   "session,unknown ",
		"DEALLOCATE del; PREPARE del AS SELECT 1; EXECUTE del": "read,session catalog",
		"EXECUTE set; SELECT lower('x')":                       "read,privilege,execute ",
		"PREPARE a AS SELECT 1; EXECUTE del":                   "read,delete,session unbounded",
	} {
		r := Classify(text, s, nil)
		want, facts, _ := strings.Cut(want, " ")
		var e countersign.Effects
		for _, n := range strings.Split(want, ",") {
			one, err := countersign.ParseEffect(n)
			if err != nil {
				t.Fatal(err)
			}
			e |= one
		}
		if r.Effects != e || describeFacts(r.Facts) != facts {
			t.Errorf("%s: %s %s, want %s %s; %v", text, r.Effects, describeFacts(r.Facts), want, facts, r.Why)
		}
	}
	s.SearchPath = "evil, pg_catalog"
	if r := Classify("EXECUTE cat", s, nil); r.Effects != countersign.Unknown {
		t.Errorf("EXECUTE under another search_path: %s", r.Effects)
	}
	if st := Classify("EXECUTE cat", func() Settings { s.SearchPath = ""; return s }(), nil).Statements[0]; !st.ReturnsRows {
		t.Error("EXECUTE of a SELECT returns rows")
	}
}

// What a name without a schema means depends on search_path.
func TestSearchPath(t *testing.T) {
	for path, want := range map[string]struct{ call, authid countersign.Effects }{
		"":                           {countersign.Read, countersign.Read | countersign.Secret},
		`"$user", public`:            {countersign.Read, countersign.Read | countersign.Secret},
		"pg_catalog":                 {countersign.Read, countersign.Read | countersign.Secret},
		"pg_catalog, public":         {countersign.Read, countersign.Read | countersign.Secret},
		`""`:                         {countersign.Read, countersign.Read | countersign.Secret},
		"pg_temp, pg_catalog":        {countersign.Read, countersign.Read | countersign.Secret},
		"public, pg_catalog":         {countersign.Read | countersign.Execute, countersign.Read | countersign.Secret},
		`"a,b", "pg_catalog"`:        {countersign.Read | countersign.Execute, countersign.Read | countersign.Secret},
		`"pg_catalog", PG_CATALOG,x`: {countersign.Read, countersign.Read | countersign.Secret},
		`"x""y", pg_catalog`:         {countersign.Read | countersign.Execute, countersign.Read | countersign.Secret},
	} {
		s := normal
		s.SearchPath = path
		if r := Classify("SELECT lower('x') || 'y'", s, nil); r.Effects != want.call {
			t.Errorf("%s: a call is %s, want %s", path, r.Effects, want.call)
		}
		if r := Classify("SELECT * FROM pg_authid", s, nil); r.Effects != want.authid {
			t.Errorf("%s: pg_authid is %s", path, r.Effects)
		}
		if r := Classify("SELECT pg_catalog.lower('x')", s, nil); r.Effects != countersign.Read {
			t.Errorf("%s: a qualified call is %s", path, r.Effects)
		}
		said := slices.ContainsFunc(Classify("SELECT lower('x')", s, nil).Why, func(ev countersign.Evidence) bool { return ev.Why == namesAssumed })
		if sound := parsePath(path).only || !parsePath(path).first; said == sound {
			t.Errorf("%s: the assumption is said: %v", path, said)
		}
	}
}

// The end of a transaction may bring back the search_path from before it.
func TestSearchPathAfterTransaction(t *testing.T) {
	inner := normal
	inner.SearchPath = `""` // perhaps by SET LOCAL
	for text, s := range map[string]Settings{
		"COMMIT; SELECT lower('x')":                                               inner,
		"ROLLBACK TO a; SELECT lower('x')":                                        inner,
		"BEGIN; SET LOCAL search_path = ''; ROLLBACK; SELECT lower('x')":          inner,
		"BEGIN; SELECT set_config('search_path', '', true); END; SELECT lower(a)": normal,
	} {
		if r := Classify(text, s, nil); !r.Effects.Has(countersign.Execute) {
			t.Errorf("%s: %s", text, r.Effects)
		}
	}
	if r := Classify("BEGIN; SELECT lower('x'); COMMIT; SELECT lower('y')", normal, nil); r.Effects.Has(countersign.Execute) {
		t.Errorf("a path that nobody changed: %s", r.Effects)
	}
}

// privileged are statements with effects that no embedding may lose.
var privileged = []string{
	"DELETE FROM t", "UPDATE t SET a = 1 WHERE b = 2", "INSERT INTO t VALUES (1)", "SELECT evil()",
	"SELECT * FROM pg_authid", "SELECT nextval('s')", "SELECT pg_reload_conf()", "SELECT 'x'::mood",
	"SELECT * FROM t FOR UPDATE", "SELECT lo_export(1, 'x')", "SELECT set_config('role', 'x', false)",
	"DELETE FROM t WHERE a = evil() RETURNING *", "VALUES (pg_terminate_backend(1))",
}

// Wherever a statement is put, its effects come along.
func TestEmbedding(t *testing.T) {
	for _, inner := range privileged {
		want := Classify(inner, normal, nil)
		for _, outer := range []string{
			"EXPLAIN %", "EXPLAIN ANALYZE %", "PREPARE p AS %", "COPY (%) TO STDOUT", "%; SELECT 1", "SELECT 1; %",
			"BEGIN; %; COMMIT", "/* x */ % -- y", "EXPLAIN (VERBOSE, FORMAT json) %", "PREPARE p AS %; EXECUTE p",
		} {
			text := strings.ReplaceAll(outer, "%", inner)
			r := Classify(text, normal, nil)
			if strings.HasPrefix(outer, "COPY") && !r.Parsed {
				continue
			}
			if !r.Parsed || !r.Effects.Has(want.Effects) || want.Facts.Unbounded && !r.Facts.Unbounded {
				t.Errorf("%s is %s, parsed %v; without its surroundings it is %s", text, r.Effects, r.Parsed, want.Effects)
			}
		}
		returning := inner
		if !strings.HasPrefix(inner, "SELECT") && !strings.HasPrefix(inner, "VALUES") && !strings.Contains(inner, "RETURNING") {
			returning += " RETURNING *"
		}
		for _, outer := range []string{
			"WITH x AS (%) SELECT * FROM x", "WITH x AS (%), y AS (SELECT 1) INSERT INTO z SELECT * FROM y",
			"WITH RECURSIVE x AS (%) DELETE FROM z WHERE a = 1", "CREATE TABLE n AS WITH x AS (%) SELECT 1",
			"DECLARE c CURSOR FOR WITH x AS (%) SELECT 1", "WITH x AS (%) MERGE INTO a USING b ON a.c = b.c WHEN MATCHED THEN DO NOTHING",
		} {
			text := strings.ReplaceAll(outer, "%", returning)
			if r := Classify(text, normal, nil); !r.Parsed || !r.Effects.Has(want.Effects) {
				t.Errorf("%s is %s, parsed %v; without its surroundings it is %s", text, r.Effects, r.Parsed, want.Effects)
			}
		}
		if strings.HasPrefix(inner, "SELECT") && !strings.Contains(inner, "FOR UPDATE") {
			for _, outer := range []string{
				"SELECT (%)", "SELECT 1 WHERE EXISTS (%)", "SELECT * FROM (%) x", "SELECT 1 UNION %", "SELECT ARRAY(%)",
				"SELECT 1 ORDER BY (%)", "SELECT 1 LIMIT (%)", "INSERT INTO z %", "UPDATE z SET a = (%)", "CREATE VIEW v AS %",
				"DELETE FROM z WHERE a IN (%)", "SELECT CASE WHEN (%) IS NULL THEN 1 END", "VALUES ((%))", "CALL p((%))", "EXECUTE p((%))",
				"CREATE RULE r AS ON INSERT TO z DO ALSO %", "SELECT * FROM z, LATERAL (%) x", "SELECT sum(a) OVER (ORDER BY (%)) FROM z",
			} {
				text := strings.ReplaceAll(outer, "%", inner)
				if r := Classify(text, normal, nil); !r.Parsed || !r.Effects.Has(want.Effects&^countersign.Read) {
					t.Errorf("%s is %s, parsed %v; without its surroundings it is %s", text, r.Effects, r.Parsed, want.Effects)
				}
			}
		}
	}
}

// Two texts one after the other do what both do.
func TestConcatenation(t *testing.T) {
	list := readGolden(t)
	for i, a := range list {
		b := list[(i*7+3)%len(list)]
		ra, rb := Classify(a.text, normal, nil), Classify(b.text, normal, nil)
		if !ra.Parsed || !rb.Parsed || ra.Empty || rb.Empty {
			continue
		}
		r := Classify(a.text+"\n;"+b.text, normal, nil)
		if !r.Parsed || !r.Effects.Has(ra.Effects|rb.Effects) || len(r.Statements) != len(ra.Statements)+len(rb.Statements) {
			t.Errorf("%s; %s: %s, want %s", a.text, b.text, r.Effects, ra.Effects|rb.Effects)
		}
		if (ra.Facts.Unbounded || rb.Facts.Unbounded) != r.Facts.Unbounded || r.Facts.CatalogOnly && !(ra.Facts.CatalogOnly && rb.Facts.CatalogOnly) {
			t.Errorf("%s; %s: %+v", a.text, b.text, r.Facts)
		}
		if len(r.Credentials) < len(ra.Credentials)+len(rb.Credentials) {
			t.Errorf("%s; %s: %d credentials", a.text, b.text, len(r.Credentials))
		}
	}
}
