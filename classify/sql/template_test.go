package sql

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign"
)

// template of text with # for integers, % for other numbers and ? for strings; "" when it has none.
func templateText(text string) string {
	t, ok := readTemplate(template{}, []byte(text))
	if !ok {
		return ""
	}
	return strings.NewReplacer("\x01", "#", "\x02", "%", "\x03", "?").Replace(string(t.key))
}

func TestTemplates(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT abalance FROM pgbench_accounts WHERE aid = 4711;":         "SELECT abalance FROM pgbench_accounts WHERE aid = #;",
		"UPDATE t SET a = a + -12 WHERE b=7":                              "UPDATE t SET a = a + -# WHERE b=#",
		"INSERT INTO t1 (a, b2) VALUES (1, 'x'), (007, '')":               "INSERT INTO t1 (a, b2) VALUES (#, ?), (#, ?)",
		"SELECT 1.5, 0.5, 10.00":                                          "SELECT %, %, %",
		"SELECT 999999999, 2147483647":                                    "SELECT #, #",
		"SELECT 2147483648, 123456789012345678":                           "SELECT %, %",
		"SELECT a[1:2], b[3], (4)":                                        "SELECT a[#:#], b[#], (#)",
		"SELECT 'a'::text, b->>'c', d||'e', f~'^g'":                       "SELECT ?::text, b->>?, d||?, f~?",
		"SELECT '{\"a\": [1, 2]}'::jsonb, '--', '/*', '$1', '#', 'a.b@c'": "SELECT ?::jsonb, ?, ?, ?, ?, ?",
		`SELECT "a b'1'"."t""2" FROM "x" WHERE y = 3`:                     `SELECT "a b'1'"."t""2" FROM "x" WHERE y = #`,
		"SELECT $1, 2 FROM t WHERE a = ANY ($12)":                         "SELECT $1, # FROM t WHERE a = ANY ($12)",
		"SELECT interval '1 day'\n\t, 5":                                  "SELECT interval ?\n\t, #",
		"SELECT 5-3, 5 - 3, 1+1, 2*3":                                     "SELECT #-#, # - #, #+#, #*#",

		// Nothing to replace.
		"SELECT a FROM t": "", "": "", "BEGIN": "",
		// Numbers that are more, or other, than they begin as.
		"SELECT 1e5": "", "SELECT 1E5": "", "SELECT 1.5e5": "", "SELECT 1e-5": "", "SELECT 0x1": "", "SELECT 0b1": "",
		"SELECT 1_000": "", "SELECT 1a": "", "SELECT 1.": "", "SELECT .5": "", "SELECT 1..2": "", "SELECT 1.2.3": "", "SELECT 1.5a": "",
		"SELECT t.5": "", "SELECT 1$1": "", "SELECT 0000000001": "", "SELECT 1234567890123456789": "", "SELECT 'x'1": "", `SELECT "x"1`: "",
		"SELECT 5ä": "",
		// Strings of other kinds, or that go on.
		"SELECT E'x'": "", "SELECT e'x'": "", "SELECT B'1'": "", "SELECT x'1F'": "", "SELECT N'x'": "", "SELECT U&'x'": "", "SELECT u&'x' UESCAPE '!'": "",
		"SELECT 'a''b'": "", "SELECT ''''": "", "SELECT 'a'\n'b'": "", "SELECT 'a' \n 'b'": "", "SELECT 'a' 'b'": "", "SELECT 'a'\n\n\t'b'": "",
		"SELECT 'a\nb'": "", "SELECT 'a\\'": "", "SELECT 'a": "", "SELECT 'ä'": "", "SELECT 1'x'": "", "SELECT f 'x'": "SELECT f ?", "SELECT f'x'": "",
		`SELECT "a"'x'`: "", "SELECT t.'x'": "", "SELECT $1'x'": "",
		"SELECT 'my Password'": "", "SELECT 'a secret'": "", "SELECT 'toKEN'": "", "SELECT 'Turkey'": "", "SELECT 'pas', 's'": "SELECT ?, ?",
		"SELECT '" + strings.Repeat("x", maxTemplateString+1) + "'": "",
		"SELECT '" + strings.Repeat("x", maxTemplateString) + "'":   "SELECT ?",
		// Comments, dollar quotes, and bytes that are not understood.
		"SELECT 1 -- x": "", "SELECT 1 /* x */": "", "SELECT 1--1": "", "SELECT $$x$$, 1": "", "SELECT $a$x$a$, 1": "", "SELECT $1a, 1": "", "SELECT a$1, 1": "",
		"SELECT $1$1$, 1": "", "SELECT 1 \\ 2": "", "SELECT 1\r": "", "SELECT 1\x00": "", "SELECT \x01": "", "SELECT 1, \x02": "", "SELECT 1\x7f": "", "SELECT ä, 1": "",
		`SELECT U&"x", 1`: "", `SELECT "x, 1`: "", "SELECT \"x\ny\", 1": "", `SELECT "ä", 1`: "", `SELECT "\", 1`: "",
		"SELECT 1" + strings.Repeat(" ", maxTemplateText): "",
	} {
		if got := templateText(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// To PostgreSQL's scanner the texts of a template differ in the values of the tokens that are marked, and
// in nothing else.
func TestTemplatesScanAlike(t *testing.T) {
	pieces := strings.Split("SELECT |5|007|1.5|9999999999|2147483647|e5|E|e|x|b|N|U&|'x'|''|'a b'|'|\"x\"|\"|-|+|*|/|.|,|;|:|::|(|)|[|]|$1|$|=|<|>|@|&|~|!|#|%|^|?|`|_|a|int|0x1|1_0|\\|--|/*|*/|{|}|\t|\n| |ä", "|")
	pieces = append(pieces, "|", " ", " ", "5", "'x'", "5", "'x'")
	rnd := rand.New(rand.NewPCG(3, 4))
	scanned := 0
	for range 100_000 {
		var b strings.Builder
		for range 1 + rnd.IntN(8) {
			b.WriteString(pieces[rnd.IntN(len(pieces))])
		}
		if checkScan(t, b.String(), rnd) {
			scanned++
		}
	}
	if scanned < 5000 {
		t.Errorf("only %d texts had a template", scanned)
	}
}

// checkScan reports whether text has a template, having compared it with another text of that template.
func checkScan(t *testing.T, text string, rnd *rand.Rand) bool {
	t.Helper()
	tpl, ok := readTemplate(template{}, []byte(text))
	if !ok {
		return false
	}
	var b strings.Builder
	at := 0
	for _, l := range tpl.literals {
		b.WriteString(text[at:l.start])
		b.WriteString(otherLiterals[l.kind][rnd.IntN(len(otherLiterals[l.kind]))])
		at = l.end
	}
	b.WriteString(text[at:])
	one, err := pg.Scan(text)
	other, otherErr := pg.Scan(b.String())
	if (err == nil) != (otherErr == nil) {
		t.Fatalf("%q: %v\n%q: %v", text, err, b.String(), otherErr)
	}
	if err != nil {
		return true
	}
	literals := tpl.literals
	for i, tok := range one.Tokens {
		if len(one.Tokens) != len(other.Tokens) || tok.Token != other.Tokens[i].Token {
			t.Fatalf("%q\n%q\nare not alike: %v\n%v", text, b.String(), one.Tokens, other.Tokens)
		}
		kinds := map[byte]pg.Token{integerMark: pg.Token_ICONST, numberMark: pg.Token_FCONST, stringMark: pg.Token_SCONST}
		if len(literals) > 0 && int(tok.Start) == literals[0].start && int(tok.End) == literals[0].end && tok.Token == kinds[literals[0].kind] {
			literals = literals[1:]
		}
	}
	if len(literals) > 0 {
		t.Fatalf("%q: %v is no token", text, literals[0])
	}
	return true
}

// Texts beside those of testdata whose literals stand in every kind of place.
var literalPlaces = []string{
	"SELECT abalance FROM pgbench_accounts WHERE aid = 4711;",
	"UPDATE pgbench_accounts SET abalance = abalance + -1234 WHERE aid = 12",
	"INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 2, 3, -4, CURRENT_TIMESTAMP);",
	"  \n SELECT a FROM t WHERE b = 'x' ;  \n",
	`SELECT "auth_user"."id" FROM "auth_user" WHERE ("auth_user"."name" = 'ana' AND "auth_user"."active" AND n > -1.5) LIMIT 21 OFFSET 40`,
	"SELECT a FROM t WHERE b IN (1, 2, 3) AND c BETWEEN 'a' AND 'b' AND d = 5000000000 ORDER BY 2, 1 FETCH FIRST 5 ROWS ONLY",
	"SELECT - 5, - - 5, -(5), +5, 3-5, 3 - 5, @-5, -0, - 1.5, 2 * -3000000000",
	"SELECT a::varchar(10), b::numeric(10, 2), c::float(24), d::int[3], e::bit(3), 'x'::char(3), interval '1' day, interval(3) '1 s', interval '5' second(2)",
	"SELECT current_timestamp(3), localtime(2), extract('year' FROM a), date '2024-01-01', point '(1,2)', f 'x', a[1], b[2:3]",
	"FETCH 5 FROM c", "FETCH BACKWARD -5 FROM c", "MOVE 7 FROM c", "SELECT 1; SELECT 2", "DO 'BEGIN END'", "LISTEN a; SELECT 5",
	"SET statement_timeout = 5000", "SET statement_timeout TO '5s'", "SET search_path = 'a', 'pg_catalog'", "SET TIME ZONE -5", "SET TIME ZONE 'UTC'", "SET ROLE 'x'",
	"SET TIME ZONE INTERVAL '1' HOUR TO MINUTE", "ALTER ROLE x CONNECTION LIMIT 5", "ALTER ROLE x PASSWORD 'x'", "ALTER ROLE x SET work_mem = 5",
	"SELECT set_config('search_path', 'pg_catalog', false)", "SELECT set_config('work_mem', 'x', true)", "SELECT current_setting('x')", "SELECT nextval('s'), setval('s', 5)",
	"SELECT pg_read_file('x', 0, 5)", "SELECT lower('x'), format('%s', 'x'), format('x' || 'y', 1), concat('x', 'y')", "SELECT dblink('x', 'y')", "SELECT dblink_connect('x')",
	"SELECT crypt('x', 'y')", "SELECT 'x' AS password, 5 AS pin", "UPDATE t SET password = 'x' WHERE id = 5", "SELECT a FROM t WHERE password = 5", "SELECT 'x' || a || 'y'",
	"SELECT setting FROM pg_settings WHERE name = 'x'", "SELECT name FROM pg_settings WHERE name IN ('x', 'y')", "SELECT 'x'::regclass, 'x'::text, 'y'::name",
	"CREATE TABLE t (a int DEFAULT 5, b varchar(10) DEFAULT 'x', c float(10)) WITH (fillfactor = 70)", "CREATE SEQUENCE s START 5", "ALTER TABLE t ALTER a SET STATISTICS 5",
	"CREATE TABLE p PARTITION OF t FOR VALUES FROM (1) TO (10)", "CREATE TABLE p PARTITION OF t FOR VALUES WITH (MODULUS 4, REMAINDER 1)", "CREATE FUNCTION f() RETURNS int LANGUAGE 'sql' COST 5 AS 'x'",
	"COMMENT ON TABLE t IS 'x'", "NOTIFY c, 'x'", "COPY t FROM 'x'", "COPY t TO STDOUT WITH (DELIMITER 'x')", "COPY t FROM PROGRAM 'x'", "LOAD 'x'", "PREPARE p AS SELECT 5", "EXECUTE p(5, 'x')",
	"EXPLAIN SELECT a FROM t WHERE b = 5", "EXPLAIN (FORMAT 'x') SELECT 5", "DECLARE c CURSOR FOR SELECT 5", "CREATE VIEW v AS SELECT 5 AS a", "PREPARE TRANSACTION 'x'", "ALTER TYPE x ADD VALUE 'y'",
	"SELECT * FROM t TABLESAMPLE system (10) REPEATABLE (5)", "SELECT * FROM JSON_TABLE('{}', '$.a' COLUMNS (b int PATH '$.c', NESTED '$.d' COLUMNS (e int)))", "SELECT json_value('{}', '$.a' DEFAULT 5 ON EMPTY)",
	"SELECT sum(a) OVER (ORDER BY b ROWS 5 PRECEDING), percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t GROUP BY 1 HAVING count(*) > 5 LIMIT 5",
	"WITH x AS (SELECT 5 AS a) UPDATE t SET (a, b) = (1, 'x') FROM x WHERE t.id = 5 RETURNING 5", "DELETE FROM t WHERE id = 5", "DELETE FROM t WHERE 5 = 5", "UPDATE t SET a = 5 WHERE true",
	"INSERT INTO t VALUES (1, 'x'), (2, 'y') ON CONFLICT (a) DO UPDATE SET b = 'z'", "MERGE INTO t USING u ON t.a = 5 WHEN MATCHED THEN UPDATE SET b = 'x' WHEN NOT MATCHED THEN INSERT VALUES (5, 'y')",
	"SELECT sk-ant-5-5-5-5-5, a FROM t", "SELECT sk-proj-5-5", "SELECT a://b:5@c", "SELECT a FROM t WHERE whsec_abcdefghijklmnopqrst/5/5 = 5", "SELECT 5 + (a://hooks.slack.com/services/5)", "SELECT xoxb-5-5-5, glpat-5.5-5",
	"SELECT '" + strings.Repeat("+ ", 100) + "', 5", "SELECT 'x'" + strings.Repeat(", 5", 420), "SELECT 5" + strings.Repeat("+5", 480) + ", 'x'", "SELECT 5" + strings.Repeat("+5", 245) + ", 'x'",
	"SELECT a[b://hooks.slack.com/services/x=5 ] FROM t", "SELECT 5 + $1, 'x' FROM t WHERE a = $2", "SELECT a FROM t WHERE password = $1 AND b = 5", "VALUES (1, 'x'), (2, 'y') LIMIT 5", "CALL p(5, 'x')", "SELECT * FROM generate_series(1, 5), unknown_function(5, 'x')",
	"LOCK t; SELECT 5", "TRUNCATE t; SELECT 'x'", "VACUUM (PARALLEL 5) t", "ALTER SYSTEM SET work_mem = 5", "SELECT 5e5, 5", "SELECT E'x', 5", "SELECT 5 -- 5", "SELECT 'x'\n'y', 5", "SELECT 5 FROM t WHERE a ~ 'x' AND b -> 'y' ->> 0 = 'z'",
}

var otherLiterals = map[byte][]string{
	integerMark: {"0", "1", "7", "24", "53", "54", "999999999", "007", "000000000", "2147483647", "123"},
	numberMark:  {"0.0", "1.5", "2147483648", "123456789012345678", "000.10", "99999999999999999999.5"},
	stringMark: {
		"''", "'x'", "'pg_read_file'", "'users'", "'0'", "'c'", "'sql'", "'true'", "'f'", "'1 day'", "'search_path'", "'pg_catalog'", "'role'", "'all'", "'PUBLIC, x'",
		"'host=a user=b'", "'%L'", "'$.a'", "'" + strings.Repeat("+", maxTemplateString) + "'", "'" + strings.Repeat("a ", maxTemplateString/2) + "'",
	},
}

// unlikeLiterals have another template than those they may stand for, or none.
var unlikeLiterals = []string{
	"'secret'", "'ALTER ROLE x PASSWORD '", "'password=x'", "'ALTER ROLE x PASSWORD %L'", "'x.api_key'", "'a''b'", "E'x'", "'\\'", "'ä'", "$$x$$", "1e5", "5", "'5'", "5.5", "-5", "NULL", "B'1'",
	"'" + strings.Repeat("+", MaxOperatorRun+1) + "'",
}

// variants returns n texts that differ from text in what PostgreSQL's scanner takes for literals, or in
// what readTemplate does.
func variants(text string, n int, rnd *rand.Rand) []string {
	type span struct {
		start, end int
		mark       byte
	}
	var spans []span
	if scan, err := pg.Scan(text); err == nil && len(text) < 64<<10 {
		for _, tok := range scan.Tokens {
			switch tok.Token {
			case pg.Token_ICONST:
				spans = append(spans, span{int(tok.Start), int(tok.End), integerMark})
			case pg.Token_FCONST:
				spans = append(spans, span{int(tok.Start), int(tok.End), numberMark})
			case pg.Token_SCONST:
				spans = append(spans, span{int(tok.Start), int(tok.End), stringMark})
			}
		}
	}
	var list []string
	for i := range n {
		use := spans
		if t, ok := readTemplate(template{}, []byte(text)); ok && (i%2 == 1 || len(spans) == 0) {
			use = nil
			for _, l := range t.literals {
				use = append(use, span{l.start, l.end, l.kind})
			}
		}
		var b strings.Builder
		at := 0
		for _, s := range use {
			b.WriteString(text[at:s.start])
			at = s.end
			switch pick := otherLiterals[s.mark]; {
			case rnd.IntN(8) == 0:
				b.WriteString(text[s.start:s.end])
			case rnd.IntN(12*len(use)) == 0:
				b.WriteString(unlikeLiterals[rnd.IntN(len(unlikeLiterals))])
			default:
				b.WriteString(pick[rnd.IntN(len(pick))])
			}
		}
		b.WriteString(text[at:])
		list = append(list, b.String())
	}
	return list
}

// checkVariants classifies texts after one another for every order in which one of them comes first, and
// compares each result with that of the function. It returns how many were known by another's template.
func checkVariants(t *testing.T, texts []string, s Settings, c *Catalog) (known int) {
	t.Helper()
	cold := make([]Result, len(texts))
	for i, text := range texts {
		cold[i] = Classify(text, s, c)
	}
	for first := range texts {
		k := NewClassifier(c, 1<<20)
		k.Classify([]byte(texts[first]), s)
		if first > 0 && k.templates() == 0 {
			continue // the others are not known by it
		}
		for i, text := range texts {
			r := k.Classify([]byte(text), s)
			if k.templates() > 0 && k.results[cacheKey{text, s.SearchPath, true, true, false}] == nil {
				known++
			}
			if !reflect.DeepEqual(*r, cold[i]) {
				t.Fatalf("after %q\n      %q\nis    %+v\nnot   %+v", texts[first], text, *r, cold[i])
			}
		}
	}
	return known
}

func (k *Classifier) templates() (n int) {
	for key := range k.results {
		if key.template {
			n++
		}
	}
	return n
}

// Whatever text of a template comes first, the results for the others are those of the function.
func TestTemplatesChangeNothing(t *testing.T) {
	n := 6
	if os.Getenv("COUNTERSIGN_LONG") != "" {
		n = 60
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	texts := literalPlaces
	for _, g := range readGolden(t) {
		texts = append(texts, g.text)
	}
	bases, known := 0, 0
	for i, text := range texts {
		s, c := normal, (*Catalog)(nil)
		switch i % 4 {
		case 0:
			c = shop
		case 1:
			s.SearchPath = "evil, pg_catalog"
		}
		s.Prepared = func(string) *Statement { return &Classify("PREPARE p AS SELECT $1", s, nil).Statements[0] }
		if found := checkVariants(t, append([]string{text}, variants(text, n, rnd)...), s, c); found > 0 {
			bases++
			known += found
		}
	}
	t.Logf("%d of %d texts have others that are known by their template; %d results were", bases, len(texts), known)
	if bases < 150 {
		t.Errorf("only %d of %d texts were ever known by a template", bases, len(texts))
	}
}

// What applications send with ever new literals is known by its template.
func TestTemplatesAreFound(t *testing.T) {
	for _, c := range [][2]string{
		{"SELECT abalance FROM pgbench_accounts WHERE aid = 1;", "SELECT abalance FROM pgbench_accounts WHERE aid = 99999;"},
		{"UPDATE t SET a = a + -1 WHERE b = 2", "UPDATE t SET a = a + -4999 WHERE b = 100000"},
		{"INSERT INTO t (a, b, c) VALUES (1, 'Ana', 19.99)", "INSERT INTO t (a, b, c) VALUES (4711, 'Johann', 0.50)"},
		{`SELECT "u"."id" FROM "u" WHERE "u"."id" = 1 LIMIT 21`, `SELECT "u"."id" FROM "u" WHERE "u"."id" = 20 LIMIT 1`},
		{"SELECT a FROM t WHERE b IN (1, 2) AND c LIKE 'x%' ORDER BY 1 LIMIT 5", "SELECT a FROM t WHERE b IN (3, 4000) AND c LIKE '%' ORDER BY 2 LIMIT 50"},
		{"DELETE FROM t WHERE day < '2024-01-01'::date", "DELETE FROM t WHERE day < '2025-12-31'::date"},
		{"SELECT lower('x'), '1 day'::interval", "SELECT lower('users'), 'now'::interval"},
		{"SELECT a FROM t WHERE id = 1700000000000", "SELECT a FROM t WHERE id = 1800000000000"},
		{"SELECT a+1 FROM t", "SELECT a+2 FROM t"},
		{"EXPLAIN SELECT a FROM t WHERE b = 'x'", "EXPLAIN SELECT a FROM t WHERE b = 'yz'"},
	} {
		k := NewClassifier(nil, 1<<20)
		k.Classify([]byte(c[0]), normal)
		kept := len(k.results)
		r := k.Classify([]byte(c[1]), normal)
		if len(k.results) != kept {
			t.Errorf("%s is classified again after %s", c[1], c[0])
		}
		if again := k.Classify([]byte(c[1]), normal); again != r {
			t.Errorf("%s has a new result each time", c[1])
		}
		if got := c[1][r.Statements[0].Start:r.Statements[0].End]; got != strings.TrimSuffix(c[1], ";") {
			t.Errorf("the statement of %s is %s", c[1], got)
		}
		if n := testing.AllocsPerRun(100, func() { k.Classify([]byte(c[1]), normal) }); n > 0 && c[1] != "SELECT a+2 FROM t" {
			t.Errorf("%s, known by its template, costs %v allocations", c[1], n)
		}
	}
}

// What has no template, or a result that may depend on the literals, is remembered by its text alone.
func TestTemplatesAreNotKept(t *testing.T) {
	s := normal
	body := Classify("PREPARE p AS SELECT $1", normal, nil).Statements[0].PrepareBody
	s.Prepared = func(string) *Statement { return body }
	for _, text := range []string{
		"SELECT 1; SELECT 2", "SELECT 1 FROM", "PREPARE p AS SELECT 5", "EXECUTE p(5)", "EXPLAIN EXECUTE p(5)", "PREPARE TRANSACTION 'x'",
		"SELECT x FROM t WHERE password = 'x'", "SELECT 5 AS password", "SET work_mem = 5", "SELECT nextval('x')", "SELECT set_config('a', 'b', true)",
		"FETCH 5 FROM c", "SELECT 5::float(24)", "SELECT current_time(5)", "COMMENT ON TABLE t IS 'x'", "CREATE FUNCTION f() RETURNS int LANGUAGE 'sql' AS 'x'",
		"SELECT 1" + strings.Repeat(", 1", maxTemplateTokens/2), "SELECT E'x'", "SELECT 1e5",
	} {
		k := NewClassifier(nil, 1<<20)
		if k.Classify([]byte(text), s); k.templates() > 0 {
			t.Errorf("%s is remembered by its template", text)
		}
	}
}

// A literal that is not in the tree as it stands in the text makes a result special.
func TestLiteralsStandInTheTree(t *testing.T) {
	at := func(location int32, n *pg.Node) *pg.A_Const {
		c := n.GetAConst()
		c.Location = location
		return c
	}
	text := []byte("SELECT - 12, 'x', 1.5")
	literals := []literalAt{{9, 11, integerMark}, {13, 16, stringMark}, {18, 21, numberMark}}
	number := &pg.A_Const{Val: &pg.A_Const_Fval{Fval: &pg.Float{Fval: "1.5"}}, Location: 18}
	word := at(13, pg.MakeAConstStrNode("x", 0))
	for _, right := range []*pg.A_Const{at(7, pg.MakeAConstIntNode(-12, 0)), at(9, pg.MakeAConstIntNode(12, 0))} {
		if s := (&session{constants: []*pg.A_Const{number, right, word}}); !s.standFor(text, literals) {
			t.Errorf("%v is not taken", right)
		}
	}
	for _, wrong := range []*pg.A_Const{
		at(7, pg.MakeAConstIntNode(12, 0)), at(9, pg.MakeAConstIntNode(-12, 0)), at(9, pg.MakeAConstIntNode(13, 0)),
		at(7, pg.MakeAConstIntNode(-13, 0)), at(9, pg.MakeAConstStrNode("12", 0)), at(8, pg.MakeAConstIntNode(-12, 0)),
		{Location: 9},
		{Location: 7, Isnull: true},
	} {
		if s := (&session{constants: []*pg.A_Const{number, wrong, word}}); s.standFor(text, literals) {
			t.Errorf("%v is taken", wrong)
		}
	}
}

// A template is remembered for its settings only, and never taken for the text that it is made of.
func TestTemplatesKeepSettingsApart(t *testing.T) {
	k := NewClassifier(nil, 1<<20)
	k.Classify([]byte("SELECT lower('x')"), normal)
	other := normal
	other.SearchPath = "evil, pg_catalog"
	if r := k.Classify([]byte("SELECT lower('y')"), other); !r.Effects.Has(countersign.Execute) {
		t.Errorf("other path: %s", r.Effects)
	}
	if r := k.Classify([]byte("SELECT lower('z')"), Settings{UTF8: true}); r.Effects != countersign.Unknown {
		t.Errorf("backslashes: %s", r.Effects)
	}
	if r := k.Classify([]byte("SELECT lower('z')"), Settings{StandardConformingStrings: true}); r.Effects != countersign.Unknown {
		t.Errorf("encoding: %s", r.Effects)
	}
	if r := k.Classify([]byte("SELECT lower(\x03)"), normal); r.Parsed {
		t.Errorf("a template is a text: %s", r.Effects)
	}
	if r := k.Classify([]byte("SELECT lower('w')"), normal); r.Effects != countersign.Read {
		t.Errorf("default: %s", r.Effects)
	}
}

// Texts with ever new literals drive nobody out, and statements of many lengths take a bounded memory.
func TestTemplatesAreBounded(t *testing.T) {
	const maxBytes = 256 << 10
	k := NewClassifier(nil, maxBytes)
	for i := range 200 {
		k.Classify(fmt.Appendf(nil, "SELECT a, %d FROM t%d", i, i%20), normal)
	}
	kept := len(k.results)
	for i := range 5000 {
		k.Classify(fmt.Appendf(nil, "SELECT a, %d FROM t%d", i*i*i, i%20), normal)
	}
	if len(k.results) > kept+40 { // numbers of more than 32 bits have templates of their own
		t.Errorf("%d results, %d before", len(k.results), kept)
	}
	k = NewClassifier(nil, maxBytes)
	for i := range 5000 {
		x := strings.Repeat("x", i%maxTemplateString)
		k.Classify(fmt.Appendf(nil, "SELECT '%s' FROM t%d WHERE a = '%s'", x, i%50, x), normal)
		checkSizes(t, k)
	}
	if k.templates() < 2 {
		t.Errorf("%d templates are remembered", k.templates())
	}
}

func checkSizes(t *testing.T, k *Classifier) {
	t.Helper()
	size, entries := 0, 0
	for e := k.newest; e != nil; e = e.older {
		size += e.size
		entries++
		if len(e.moved) > maxMoved {
			t.Fatalf("%d results of one template", len(e.moved))
		}
	}
	if size > k.maxBytes || size != k.bytes || entries != len(k.results) {
		t.Fatalf("%d entries of %d bytes; the classifier says %d of %d", entries, size, len(k.results), k.bytes)
	}
}

func TestTemplatesConcurrently(t *testing.T) {
	k := NewClassifier(shop, 16<<10)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				n := i * (g + 1)
				text := fmt.Appendf(nil, "DELETE FROM customers WHERE id = %d AND n%d = '%d' ", n, i%10, n*n)
				r := k.Classify(text, normal)
				if st := r.Statements[0]; r.Effects != countersign.Delete || st.End != len(text)-1 {
					t.Errorf("%s: %s, %d", text, r.Effects, st.End)
				}
			}
		})
	}
	wg.Wait()
}

// What template.go takes for granted of strings: without the sensitive words they carry no password.
func TestPlainStringsCarryNoPassword(t *testing.T) {
	texts := append([]string{"ALTER ROLE x PASSWORD 'y'", "password := 'x'", "host=x password=y", "api_key%", "accesskey = $1", "ACCESS_KEY: %s", "passphrase=>%", "my passwd", "a token to "}, credentialSuffixes...)
	for _, text := range texts {
		for _, text := range []string{text, text + " ", text + "=x", text + "='", text + " %L", strings.ToUpper(text) + " '"} {
			checkPlain(t, text)
		}
	}
}

// checkPlain reports a string that a template may hold although it carries a password, or opens one.
func checkPlain(t *testing.T, text string) {
	t.Helper()
	if plainString([]byte("'"+text+"'"), 0) == len(text)+2 && (tells(text) || opens(text)) {
		t.Errorf("%q goes into templates", text)
	}
}

// secretNames are names and operators that a detector knows, as they can stand in a statement's code.
var secretNames = []string{
	"sk-ant-api03-0123456789abcdefghij", "AKIAIOSFODNN7EXAMPLE", "ghp_0123456789abcdefghijklmnopqrstuvwxyz", "github_pat_0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghij",
	"glpat-0123456789abcdefghij", "AIza0123456789abcdefghijklmnopqrstuvwxy", "ya29.0123456789abcdefghij", "hf_0123456789abcdefghijklmnopqrstuvwxyz", "sk-proj-0123456789abcdefghij",
	"xoxb-123456789-123456789-abc", "xapp-1-a1b2c3d4e5", "sk_live_0123456789", "whsec_0123456789abcdefghijklmn/+", "hvs.0123456789abcdefghijklmn", "md50123456789abcdef0123456789abcdef", "SG.0123456789abcdefghijkl.0123456789abcdefghijklmnopqrstuvwxyz0123456",
	"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefghijkl", "dop_v1_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "pypi-0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghij",
}

// What template.go takes for granted of secrets in names: a number with space or punctuation on both
// sides is part of none.
func TestSecretNamesEndAtPunctuation(t *testing.T) {
	for _, name := range secretNames {
		if !holdsSecretNames("SELECT " + name + " FROM t") {
			t.Errorf("%s is not known", name)
		}
		for cut := range name {
			for _, c := range "(),;=<> \t\n" {
				for _, n := range []string{"", "1", "123456789"} {
					checkSecretNames(t, fmt.Sprintf("SELECT %s%c%s%c%s FROM t", name[:cut], c, n, c, name[cut:]))
					checkSecretNames(t, fmt.Sprintf("SELECT %s%c%s", name[:cut], c, n))
				}
			}
		}
	}
}

// checkSecretNames reports a secret in the names of text that space or punctuation goes through.
func checkSecretNames(t *testing.T, text string) {
	t.Helper()
	tpl, ok := readTemplate(template{}, []byte(text))
	if !ok || tpl.joined {
		return
	}
	for _, span := range detectors.InCode(text) {
		if i := strings.IndexAny(text[span.Start:span.End], "(),;=<> \t\n"); !span.Kind.Personal() && i >= 0 && text[span.Start] != '"' {
			t.Errorf("%s in %q", span.Kind, text)
		}
	}
}

// FuzzTemplate: classifying one text changes no other's result, whatever they have in common.
func FuzzTemplate(f *testing.F) {
	for _, text := range literalPlaces {
		f.Add(text, uint64(1), uint64(2))
	}
	for _, g := range readGolden(f) {
		f.Add(g.text, uint64(3), uint64(4))
	}
	for _, name := range secretNames {
		f.Add("SELECT "+name+"-5, a=5 FROM t", uint64(5), uint64(6))
	}
	f.Fuzz(func(t *testing.T, text string, a, b uint64) {
		if len(text) > maxTemplateText {
			return
		}
		rnd := rand.New(rand.NewPCG(a, b))
		list := append([]string{text}, variants(text, 3, rnd)...)
		checkVariants(t, list, normal, nil)
		for _, text := range list {
			checkSecretNames(t, text)
			checkScan(t, text, rnd)
			tpl, _ := readTemplate(template{}, []byte(text))
			for _, l := range tpl.literals {
				if l.kind == stringMark {
					checkPlain(t, text[l.start+1:l.end-1])
				}
			}
			if i := bytes.IndexByte([]byte(text), '\''); i >= 0 {
				checkPlain(t, text[i+1:])
			}
		}
	})
}

func BenchmarkClassifyOtherLiterals(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"select", "SELECT abalance FROM pgbench_accounts WHERE aid = %d"},
		{"update", "UPDATE pgbench_accounts SET abalance = abalance + -4811 WHERE aid = %d"},
		{"insert", "INSERT INTO customers (id, name, city, mail, paid) VALUES (%d, 'Ana Schmidt', 'Berlin', 'ana@example.com', 19.99)"},
		{"join", "SELECT c.name, sum(o.total) FROM customers c JOIN orders o ON o.customer = c.id WHERE o.day > now() - interval '%d days' GROUP BY c.name ORDER BY 2 DESC LIMIT 10"},
		{"joined", "SELECT abalance FROM pgbench_accounts WHERE aid = %d+1"},
	} {
		texts := make([][]byte, 4096)
		for i := range texts {
			texts[i] = fmt.Appendf(nil, c.text, i*7919)
		}
		b.Run(c.name, func(b *testing.B) {
			k := NewClassifier(nil, 1<<20)
			k.Classify(texts[0], normal)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				k.Classify(texts[i%len(texts)], normal)
			}
		})
	}
}
