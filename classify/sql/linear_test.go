//go:build !race

// The race detector slows what it watches by more than these tests allow for.

package sql

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// growing are texts of about n bytes, each of which repeats something, by what they repeat.
func growing(n int) map[string]string {
	texts := map[string]string{}
	for _, unit := range []string{
		"'", "''", "' ", "$", "$a$", "$a$ ", "$$ ", "(", ")", "()", "[", ",", ";", ";;", "=", "= ", "+", "+ ", "- ", "-- \n", "--\n", "/*", "/* ", "/* */", "*/",
		"a ", "a.", "a,", "a=", "ab", "1", "1 ", "1,", "1.", `"`, `""`, `"a" `, `\`, "E'", `E'\'`, "U&'", `U&"`, "N'", "::", "::int ", ":", ":=", "@", "#", "é", "\xff", "\x00", "\n",
		"password=", "password = ", "password ", "password ' ", "password='", "password='a' ", "password=a ", "PASSWORD 'x' ", `password"`, "token:", "secret ", "passwd '",
		"identified by ", "connection ", "create ", "create role ", "alter user ", "create \n", "insert ", "insert password ", "select ", "with ", "password to ", "password := ", "'password ' || ",
		"case ", "end ", "not ", "and ", "or ", "between ", "union ", "join ", "in (", "select (", "f(", "lower(", "/* reason: x */", "/*;*/", "0x", "$1", "$1 ",
	} {
		texts["repeated "+fmt.Sprintf("%q", unit)] = strings.Repeat(unit, n/len(unit))
	}
	for name, f := range map[string]struct{ before, unit, after string }{
		"numbers":      {"SELECT 1", ",1", ""},
		"strings":      {"SELECT ''", ",'a'", ""},
		"quotes":       {"SELECT '", "''", "'"},
		"passwords":    {"SELECT ''", ",'password='", ""},
		"telling":      {"SELECT '", "password=", "'"},
		"opening":      {"SELECT '", "password ", "'"},
		"dollars":      {"SELECT 1", ",$a$b$a$", ""},
		"a body":       {"DO $a$ ", "x := password = 'y'; ", "$a$"},
		"a quoted one": {"DO '", "x := password = ''y''; ", "'"},
		"operators":    {"SELECT 1", "+1", ""},
		"casts":        {"SELECT ", "1::int,", "1"},
		"and":          {"SELECT 1 WHERE 1=1", " AND 1=1", ""},
		"in":           {"SELECT 1 WHERE 1 IN (1", ",1", ")"},
		"in names":     {"SELECT 1 WHERE password IN ('1'", ",'1'", ")"},
		"functions":    {"SELECT 1", ",lower('a')", ""},
		"set_config":   {"SELECT 1", ",set_config('jit','on',false)", ""},
		"columns":      {"SELECT a", ",a.b", ""},
		"names":        {"SELECT 1", ",1 AS password", ""},
		"tables":       {"SELECT 1 FROM t", ",t", ""},
		"roles":        {"SELECT 1 FROM pg_roles a", ",pg_roles a", ""},
		"settings":     {"SELECT 1", ",(SELECT name FROM pg_settings)", ""},
		"joins":        {"SELECT 1 FROM t", " JOIN t USING (a)", ""},
		"with":         {"WITH a AS (SELECT 1)", ",b AS (TABLE a)", " TABLE b"},
		"with in with": {"WITH a AS (SELECT 1)", ",b AS (WITH c AS (SELECT 1) TABLE c)", " TABLE b"},
		"unions":       {"SELECT 1", "; SELECT 1 UNION SELECT 2", ""},
		"statements":   {"SELECT 1", "; UPDATE t SET a = 1", ""},
		"comments":     {"SELECT 1", "/* x */ -- y\n", ""},
		"rows":         {"INSERT INTO t (password) VALUES ('a')", ",('a')", ""},
		"options":      {"COPY t FROM STDIN WITH (x", ", password a", ")"},
		"sequence":     {"CREATE ROLE r", " PASSWORD 'x'", ""},
		"mappings":     {"CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (a 'b'", ", password 'a'", ")"},
		"set":          {"SET a.password = b", ", b", ""},
		"prepare":      {"SELECT 1", "; PREPARE p AS SELECT 1; EXECUTE p", ""},
		"secret names": {"SELECT 1", `; SELECT "AKIAIOSFODNN7EXAMPLE"`, ""},
		"concatenated": {"SELECT ''", "||'password '", ""},
		"formatted":    {"SELECT 1", ",format('password %s','a')", ""},
	} {
		texts[name] = f.before + strings.Repeat(f.unit, n/len(f.unit)) + f.after
	}
	half := func(unit string) string { return strings.Repeat(unit, n/2/len(unit)) }
	deep := func(open, in, end string) string {
		const levels = MaxDepth / 8
		return "SELECT " + strings.Repeat(open, levels) + in + strings.Repeat(end, levels)
	}
	for name, text := range map[string]string{
		"deep functions":      deep("lower(", "'a'"+half(",'a'"), ")"),
		"deep set_config":     deep("set_config(", "'a'"+half(",'a'"), ",'a','b')"),
		"deep settings":       deep("current_setting(", "'a'"+half(",'a'"), ")"),
		"deep password":       deep("f(password => ", "f('a'"+half(",'a'")+")", ")"),
		"deep format":         deep("format('password %s',", "'a'"+half(",'a'"), ")"),
		"deep concatenation":  deep("'password '||(", "f('a'"+half(",'a'")+")", ")"),
		"deep UPDATE":         deep("(WITH a AS (UPDATE t SET a=1 WHERE f(", "1"+half(",1"), ")) SELECT 1)"),
		"deep assignment":     deep("(WITH a AS (UPDATE t SET password=f(", "1"+half(",1"), ")) SELECT 1)"),
		"columns × rows":      "INSERT INTO t (password" + half(",password") + ") VALUES (1)" + half(",(1)"),
		"names × tables":      "WITH " + half("aa AS (SELECT 1),") + "b AS (SELECT 1) SELECT 1 FROM t" + half(",t"),
		"conditions × WHEN":   "MERGE INTO t USING s ON f(1" + half(",1") + ")" + half(" WHEN MATCHED THEN DELETE"),
		"roles × columns":     "SELECT 1" + half(",1") + " FROM pg_roles a" + half(",pg_roles a"),
		"statements × names":  "SELECT 1" + half("; SELECT 1") + half(`; SELECT "AKIAIOSFODNN7EXAMPLE"`),
		"options × tokens":    "COPY t FROM STDIN WITH (x" + half(",password a") + "); SELECT 1" + half(",a"),
		"reasons":             half("/* x */") + half("-- y\n") + "SELECT 1",
		"accounts, broken":    "CREATE ROLE x " + half("PASSWORD 'y' ") + half("password=") + "'",
		"accounts, unparsed":  "CREATE ROLE x " + half("PASSWORD y ") + half("password="),
		"open in a statement": "DO $a$ BEGIN x := 'password %L'; " + half("password=a; ") + half("'x' ") + " $a$",
	} {
		texts[name] = text
	}
	return texts
}

// The time that a text takes grows with its length, not with its square: four times the text takes at most
// ten times as long, where the square takes sixteen.
func TestTimeIsLinear(t *testing.T) {
	const factor, most, attempts = 4, 10, 4
	small, enough := 16<<10, 400*time.Millisecond
	if os.Getenv("COUNTERSIGN_LONG") != "" {
		small = 32 << 10
	}
	timed := func(text string, s Settings) time.Duration {
		start := time.Now()
		Classify(text, s, nil)
		return time.Since(start)
	}
	off := normal
	off.StandardConformingStrings = false
	all := growing(small)
	var slow []string
	for name, text := range growing(small * factor) {
		for _, s := range []Settings{normal, off} {
			var d, before time.Duration
			for attempt := range attempts {
				// What is fast for the large text is so whatever it was for the small one.
				if d = timed(text, s); d <= enough {
					break
				}
				before = timed(all[name], s)
				if attempt < attempts-1 && d <= most*before {
					break
				}
			}
			if d > enough && d > most*before {
				t.Errorf("%s, conforming %t: %v, and %v for a quarter of it", name, s.StandardConformingStrings, d, before)
			}
			slow = append(slow, fmt.Sprintf("%8d ms  %s, conforming %t", d.Milliseconds(), name, s.StandardConformingStrings))
		}
	}
	slices.Sort(slow)
	for _, line := range slow[len(slow)-10:] {
		t.Log(line)
	}
}
