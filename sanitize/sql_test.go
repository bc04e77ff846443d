package sanitize_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign/sanitize"
)

// sqlCredentials are statements with the literal 'correct-horse' in a credential position that needs no
// parser's help.
var sqlCredentials = []struct{ raw, want string }{
	{`ALTER USER bob PASSWORD 'correct-horse'`, `ALTER USER bob PASSWORD '[password]'`},
	{`SELECT jsonb_build_object('pass' || 'word', 'correct-horse')`, `SELECT jsonb_build_object('pass' || 'word', '[password]')`},
	{`SELECT set_config('app.' || 'pass' || 'word', 'correct-horse', false)`, `SELECT set_config('app.' || 'pass' || 'word', '[password]', false)`},
	{`SELECT json_object('{password,correct-horse}')`, `SELECT json_object('[password]')`},
	{`SELECT JSONB_OBJECT('{a,1,"password","correct-horse"}')`, `SELECT JSONB_OBJECT('[password]')`},
	{`SELECT 1 FROM t WHERE x #>> '{auth,password}' = 'correct-horse'`, `SELECT 1 FROM t WHERE x #>> '{auth,password}' = '[password]'`},
	{`SELECT jsonb_set(x, '{auth,"password"}', '"correct-horse"') FROM t`, `SELECT jsonb_set(x, '{auth,"password"}', '[password]') FROM t`},
	{`SELECT 1 FROM t WHERE x @? '$.password ? (@ == "correct-horse")'`, `SELECT 1 FROM t WHERE x @? '$.password ? (@ == "[password]")'`},
	{`SELECT 1 FROM t WHERE x @? E'$.a."password" ? (@ == "correct-\\x68orse")'`, `SELECT 1 FROM t WHERE x @? E'$.a."password" ? (@ == "[password]")'`},
	{`SELECT 1 /* pw=correct-horse */`, `SELECT 1 /* pw=[password] */`},
	{`SELECT '//u:correct-horse@h/'`, `SELECT '//u:%5Bpassword%5D@h/'`},
	{`UPDATE u SET passwords[1] = 'correct-horse', db_pw = 'correct-horse'`, `UPDATE u SET passwords[1] = '[password]', db_pw = '[password]'`},
	{`UPDATE u SET bearer = 'correct-horse', pin = 'correct-horse'`, `UPDATE u SET bearer = '[token]', pin = '[card-code]'`},
	{`CREATE ROLE bob LOGIN ENCRYPTED PASSWORD E'correct-\x68orse' VALID UNTIL 'infinity'`, `CREATE ROLE bob LOGIN ENCRYPTED PASSWORD '[password]' VALID UNTIL 'infinity'`},
	{`alter role bob password $$correct-horse$$`, `alter role bob password '[password]'`},
	{`ALTER ROLE bob PASSWORD U&'correct!002dhorse' UESCAPE '!'`, `ALTER ROLE bob PASSWORD '[password]'`},
	{"ALTER ROLE bob PASSWORD 'correct-'\n  'horse'", `ALTER ROLE bob PASSWORD '[password]'`},
	{`CREATE USER MAPPING FOR bob SERVER s OPTIONS (user 'bob', password 'correct-horse')`, `CREATE USER MAPPING FOR bob SERVER s OPTIONS (user 'bob', password '[password]')`},
	{`ALTER USER MAPPING FOR bob SERVER s OPTIONS (SET password 'correct-horse')`, `ALTER USER MAPPING FOR bob SERVER s OPTIONS (SET password '[password]')`},
	{`CREATE SUBSCRIPTION s CONNECTION 'host=h user=u password=correct-horse' PUBLICATION p`, `CREATE SUBSCRIPTION s CONNECTION 'host=h user=u password=[password]' PUBLICATION p`},
	{`CREATE SUBSCRIPTION s CONNECTION 'host=h password=''correct-horse'' user=u' PUBLICATION p`, `CREATE SUBSCRIPTION s CONNECTION 'host=h password=''[password]'' user=u' PUBLICATION p`},
	{`CREATE SUBSCRIPTION s CONNECTION 'postgres://u:correct-horse@h/db' PUBLICATION p`, `CREATE SUBSCRIPTION s CONNECTION 'postgres://u:%5Bpassword%5D@h/db' PUBLICATION p`},
	{`SELECT dblink_connect('c', 'host=h password=correct-horse')`, `SELECT dblink_connect('c', 'host=h password=[password]')`},
	{`UPDATE users SET password = 'correct-horse', name = 'bob'`, `UPDATE users SET password = '[password]', name = 'bob'`},
	{`UPDATE users SET (name, password) = ('bob', 'correct-horse') WHERE id = 1`, `UPDATE users SET (name, password) = ('bob', '[password]') WHERE id = 1`},
	{`UPDATE users SET password = crypt('correct-horse', gen_salt('bf', 8)) WHERE id = 5`, `UPDATE users SET password = crypt('[password]', gen_salt('[password]', '[password]')) WHERE id = 5`},
	{`SELECT 1 FROM users WHERE u.api_key = 'correct-horse' AND name = 'bob'`, `SELECT 1 FROM users WHERE u.api_key = '[api-key]' AND name = 'bob'`},
	{`SELECT 1 FROM users WHERE 'correct-horse' = token`, `SELECT 1 FROM users WHERE '[token]' = token`},
	{`SELECT 1 FROM users WHERE "Password" IN ('correct-horse', 'a') OR b IN ('c')`, `SELECT 1 FROM users WHERE "Password" IN ('[password]', '[password]') OR b IN ('c')`},
	{`SELECT 1 FROM users WHERE lower(password) LIKE 'correct-horse'`, `SELECT 1 FROM users WHERE lower(password) LIKE '[password]'`},
	{`SELECT 1 FROM users WHERE password::text IS NOT DISTINCT FROM 'correct-horse'`, `SELECT 1 FROM users WHERE password::text IS NOT DISTINCT FROM '[password]'`},
	{`SELECT 1 FROM t WHERE data->>'password' = 'correct-horse'`, `SELECT 1 FROM t WHERE data->>'password' = '[password]'`},
	{`SELECT 1 FROM t WHERE data['password'] = 'correct-horse'`, `SELECT 1 FROM t WHERE data['password'] = '[password]'`},
	{`INSERT INTO users (name, password) VALUES ('bob', 'correct-horse'), ('eve', 'correct-horse') RETURNING 'x'`, `INSERT INTO users (name, password) VALUES ('bob', '[password]'), ('eve', '[password]') RETURNING 'x'`},
	{`INSERT INTO users AS u (name, password, n) SELECT 'bob', 'correct-horse', 5 FROM t WHERE a = 'b'`, `INSERT INTO users AS u (name, password, n) SELECT 'bob', '[password]', 5 FROM t WHERE a = 'b'`},
	{`INSERT INTO users (name, password) VALUES ('a', lower('correct-horse')) ON CONFLICT (name) DO UPDATE SET password = 'correct-horse'`, `INSERT INTO users (name, password) VALUES ('a', lower('[password]')) ON CONFLICT (name) DO UPDATE SET password = '[password]'`},
	{`SELECT set_config('app.api_key', 'correct-horse', false)`, `SELECT set_config('app.api_key', '[api-key]', false)`},
	{`SET app.secret_key TO 'correct-horse'`, `SET app.secret_key TO '[secret]'`},
	{`SET "app.token" = 'correct-horse'`, `SET "app.token" = '[token]'`},
	{`SELECT f(password => 'correct-horse', n := 'x')`, `SELECT f(password => '[password]', n := 'x')`},
	{`SELECT jsonb_build_object('password', 'correct-horse', 'n', 'x')`, `SELECT jsonb_build_object('password', '[password]', 'n', 'x')`},
	{`SELECT pgp_sym_encrypt('data', 'correct-horse')`, `SELECT pgp_sym_encrypt('[password]', '[password]')`},
	{`SELECT '{"password": "correct-horse", "n": 4111111111111111}'::jsonb`, `SELECT '{"password": "[password]", "n": "[payment-card]"}'::jsonb`},
	{`/* password=correct-horse */ SELECT 1 -- token=correct-horse-1`, `/* password=[password] */ SELECT 1 -- token=[token]`},
	{`/* a /* password=correct-horse*/ b */ SELECT 1`, `/* a /* password=[password]*/ b */ SELECT 1`},
	{`DO $$ BEGIN EXECUTE 'ALTER USER x PASSWORD ''correct-horse'''; END $$`, `DO $$ BEGIN EXECUTE 'ALTER USER x PASSWORD ''[password]'''; END $$`},
	{`DO LANGUAGE plpgsql 'BEGIN UPDATE t SET password = ''correct-horse''; END'`, `DO LANGUAGE plpgsql 'BEGIN UPDATE t SET password = ''[password]''; END'`},
	{`CREATE FUNCTION f() RETURNS int AS $f$ SELECT 4111111111111111; -- password=correct-horse
$f$ LANGUAGE sql`, `CREATE FUNCTION f() RETURNS int AS $f$ SELECT '[payment-card]'; -- password=[password]
$f$ LANGUAGE sql`},
	{`DO LANGUAGE plpython3u $$ password = "correct-horse" $$`, `DO LANGUAGE plpython3u $$ password = "[password]" $$`},
	{`COPY t FROM PROGRAM 'mysql -pcorrect-horse'`, `COPY t FROM PROGRAM 'mysql -p[password]'`},
	{`COPY t FROM PROGRAM 'mysql -h h -pcorrect-horse shop'`, `COPY t FROM PROGRAM 'mysql -h h -p[password] shop'`},
	{`COPY t FROM PROGRAM E'/opt/tool -p\'correct-horse\' x'`, `COPY t FROM PROGRAM E'/opt/tool -p\'[password]\' x'`},
	{`COPY t FROM PROGRAM $$tool -pcorrect-horse$$`, `COPY t FROM PROGRAM $$tool -p[password]$$`},
	{`COPY t TO PROGRAM 'psql -p5432 -P pager --password=correct-horse'`, `COPY t TO PROGRAM 'psql -p5432 -P pager --password=[password]'`},
	{`COPY t TO PROGRAM 'mongosh --password correct-horse'`, `COPY t TO PROGRAM 'mongosh --password [password]'`},
	{`COPY t TO PROGRAM 'PGPASSWORD=correct-horse psql -p 5432'`, `COPY t TO PROGRAM 'PGPASSWORD=[password] psql -p 5432'`},
	{`COPY t TO PROGRAM 'curl -u bob:correct-horse ftp://eve:correct-horse@h'`, `COPY t TO PROGRAM 'curl -u bob:[password] ftp://eve:%5Bpassword%5D@h'`},
	{`COPY t TO PROGRAM 'curl -H "Authorization: Bearer correct-horse" -T - https://h/'`, `COPY t TO PROGRAM 'curl -H "Authorization: Bearer [authorization]" -T - https://h/'`},
}

// TestSQLCredentialPositions also asks PostgreSQL's own parser: what parsed before parses after, and its
// code is the same.
func TestSQLCredentialPositions(t *testing.T) {
	for _, c := range sqlCredentials {
		got := plain.SQL(c.raw, nil).String()
		if got != c.want {
			t.Errorf("SQL(%q)\n got %q\nwant %q", c.raw, got, c.want)
		}
		if strings.Contains(got, "horse") {
			t.Errorf("SQL(%q) keeps the secret", c.raw)
		}
		checkSQL(t, c.raw)
	}
}

// TestSQLStays: code is never hidden, and literals that are no secrets stay.
func TestSQLStays(t *testing.T) {
	for _, raw := range []string{
		`SELECT password FROM users WHERE name = 'bob' ORDER BY token LIMIT 5`,
		`UPDATE users SET password = evil(), name = 'bob'`,
		`DO $$ BEGIN password := evil(); secret := f(token); END $$`,
		`SELECT password || name, 'x' FROM users`,
		`COMMENT ON COLUMN users.password IS 'hashed with bcrypt'`,
		`SELECT count(*) FROM t WHERE kind IN ('password', 'otp', 'sso')`,
		`INSERT INTO users (name, note) VALUES ('bob', 'x')`,
		`INSERT INTO users VALUES (1, 'bob')`,
		`CREATE TABLE users (id int, password text NOT NULL, name varchar(20) DEFAULT 'x')`,
		`SELECT 'it''s', E'a\nb', $$x$$, U&'d\0061ta', B'101', X'1F', N'x', 1.5e10, 0x1F, 1_000 FROM t`,
		`SELECT '123e4567-e89b-12d3-a456-426614174000'::uuid, '2024-01-15 09:30:00+00'::timestamptz`,
		`SELECT $1, $2 FROM a.b WHERE c @> '{"a": 1}' AND d ~ '^\d+$' AND e LIKE '%x%' ESCAPE '\'`,
		`GRANT SELECT ON t TO "alice@example.com"`,
		`ALTER ROLE bob PASSWORD NULL`,
		`SET password_encryption = 'scram-sha-256'`,
		`SELECT a - b - c, a-b, x@y FROM t -- plain comment`,
		`SELECT md5('x'), sha256('x'), crypt(a, b) FROM t`,
		`select 4711 as id, 1234567890123456, -5`,
		`SELECT 'pass' || x, 'word', 'y' || 'z', 'pass', 'word', f('a')`,
		`SELECT x #>> '{auth,state}' = 'open', x @? '$.state ? (@ == "open")', x @? '$.password', json_object('{state,open}') FROM t`,
		`SELECT '// TODO: ask bob', 'https://example.org//a@b', '//cdn.example.org:443/x@2x.png' FROM passwords`,
		`SELECT 'pin 4 of 12', 'spawn', 'spin=1', tokens, pins FROM t WHERE pin = 4 AND kind = 'bearer'`,
	} {
		if got := plain.SQL(raw, nil).String(); got != raw {
			t.Errorf("changed\n%s\nto\n%s", raw, got)
		}
		checkSQL(t, raw)
	}
}

// TestSQLPlanted: a value of a known kind in any kind of literal or comment, in any encoding.
func TestSQLPlanted(t *testing.T) {
	places := map[string]func(string) string{
		"string":   func(v string) string { return "SELECT '" + strings.ReplaceAll(v, "'", "''") + "' FROM t" },
		"inside":   func(v string) string { return "SELECT 'x " + strings.ReplaceAll(v, "'", "''") + " y' FROM t" },
		"escape":   func(v string) string { return "SELECT E'x " + escapeAll(v) + " y' FROM t" },
		"unicode":  func(v string) string { return "SELECT U&'x " + unicodeAll(v, `\`) + " y' FROM t" },
		"uescape":  func(v string) string { return "SELECT U&'x " + unicodeAll(v, "!") + " y' UESCAPE '!' FROM t" },
		"dollar":   func(v string) string { return "SELECT $q$x " + v + " y$q$ FROM t" },
		"line":     func(v string) string { return "SELECT 1 -- x " + v + "\nFROM t" },
		"block":    func(v string) string { return "SELECT 1 /* a /* " + v + " */ b */ FROM t" },
		"broken":   func(v string) string { return "SELECT '" + v[:len(v)/2] + "'\n'" + v[len(v)/2:] + "' FROM t" },
		"body":     func(v string) string { return "DO $$ BEGIN x := '" + v + "'; END $$" },
		"body ''":  func(v string) string { return "DO 'BEGIN x := ''" + v + "''; END'" },
		"json":     func(v string) string { return `SELECT '{"a":` + strings.ReplaceAll(jsonString(v), "'", "''") + `}'` },
		"unclosed": func(v string) string { return "SELECT 'x " + v + " y" },
	}
	for _, p := range plants() {
		for place, f := range places {
			for enc, encode := range encodings {
				if (place == "broken" || place == "body ''") && enc != "plain" {
					continue
				}
				encoded := encode(p.value)
				raw := f(encoded)
				for _, s := range []*sanitize.Sanitizer{plain, keyed, strict} {
					clean := s.SQL(raw, nil).String()
					if strings.Contains(clean, encoded) || strings.Contains(clean, p.value) {
						t.Errorf("%s, %s, in %s, survives: %s", p.kind, enc, place, clean)
					}
					if again := s.SQL(clean, nil).String(); again != clean {
						t.Errorf("%s, %s, in %s: not the same again:\n%s\n%s", p.kind, enc, place, clean, again)
					}
				}
				checkSQL(t, raw)
			}
		}
	}
}

func escapeAll(v string) string {
	var b strings.Builder
	for i := 0; i < len(v); i++ {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&b, `\x%02x`, v[i])
		case 1:
			fmt.Fprintf(&b, `\%03o`, v[i])
		default:
			fmt.Fprintf(&b, `\u%04x`, v[i])
		}
	}
	return b.String()
}

func unicodeAll(v, escape string) string {
	var b strings.Builder
	for i := 0; i < len(v); i++ {
		if i%2 == 0 {
			fmt.Fprintf(&b, "%s%04x", escape, v[i])
		} else {
			fmt.Fprintf(&b, "%s+%06x", escape, v[i])
		}
	}
	return b.String()
}

// TestSQLBareNumbers: a number that is a card's becomes a literal that parses where the number stood.
func TestSQLBareNumbers(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{`SELECT * FROM c WHERE card = 4111111111111111 AND n = 5`, `SELECT * FROM c WHERE card = '[payment-card]' AND n = 5`},
		{`SELECT -4111111111111111, f(4111111111111111,2)`, `SELECT -'[payment-card]', f('[payment-card]',2)`},
		{`SELECT * FROM c WHERE ssn = 078-05-1120`, `SELECT * FROM c WHERE ssn = '[ssn]'`},
		{`UPDATE u SET pin_otp = 123456`, `UPDATE u SET pin_otp = '[password]'`},
		{`SELECT t4111111111111111, a$4111111111111111, x.y4111111111111111 FROM t4111111111111111`, ``},
	} {
		if c.want == "" {
			c.want = c.raw
		}
		if got := plain.SQL(c.raw, nil).String(); got != c.want {
			t.Errorf("SQL(%q)\n got %q\nwant %q", c.raw, got, c.want)
		}
		if _, err := pg.Parse(c.want); err != nil {
			t.Errorf("%q: %v", c.want, err)
		}
	}
}

// TestSQLCredentialsOfParser: spans that the parser gives are replaced whole, and nonsense is harmless.
func TestSQLCredentialsOfParser(t *testing.T) {
	raw := `SELECT connect('bob', E'correct-horse', $$x$$)`
	at := strings.Index(raw, "E'")
	span := sanitize.Span{Start: at, End: at + len(`E'correct-horse'`), Kind: "secret"}
	got := keyed.SQL(raw, []sanitize.Span{span}).String()
	if want := `SELECT connect('bob', '` + strings.Replace(keyed.Value("client_secret", "correct-horse").String(), "", "", 1) + `', $$x$$)`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if again := keyed.SQL(got, []sanitize.Span{{Start: at, End: strings.Index(got, ", $$")}}).String(); again != got {
		t.Errorf("not the same again: %q", again)
	}
	for _, sp := range []sanitize.Span{{Start: -1, End: 5}, {Start: 5, End: 5}, {Start: 9, End: 3}, {Start: 0, End: 1 << 30}} {
		if got := plain.SQL(raw, []sanitize.Span{sp}).String(); got != raw {
			t.Errorf("span %v: %q", sp, got)
		}
	}
}

// TestSQLNames: what a detector knows is replaced by a name where it stands as one; the address that names a
// role stays, and InCode tells of all.
func TestSQLNames(t *testing.T) {
	token := "ghp" + "_" + fake(36)
	for _, c := range []struct {
		raw, want string
		found     int
	}{
		{`SELECT ` + token + ` FROM t`, `SELECT "[github-token]" FROM t`, 1},
		{`SELECT "x ` + token + `" FROM t`, `SELECT "[github-token]" FROM t`, 1},
		{`SELECT U&"` + unicodeAll(token, `\`) + `" FROM t`, `SELECT "[github-token]" FROM t`, 1},
		{`SELECT 1 AS "password=correct-horse"`, `SELECT 1 AS "[password]"`, 1},
		{`PREPARE "api_key: correct-horse" AS SELECT 1`, `PREPARE "[api-key]" AS SELECT 1`, 1},
		{`DECLARE U&"x password\003dcorrect-horse" CURSOR FOR SELECT 1`, `DECLARE "[password]" CURSOR FOR SELECT 1`, 1},
		{`SAVEPOINT "postgres://u:correct-horse@h/d"`, `SAVEPOINT "[password]"`, 1},
		{`SELECT "password", "Password hash", u."api_key" AS "the token" FROM u`, `SELECT "password", "Password hash", u."api_key" AS "the token" FROM u`, 0},
		{`GRANT SELECT ON t TO "alice@example.com"`, `GRANT SELECT ON t TO "alice@example.com"`, 1},
		{`REVOKE "alice@example.com" FROM bob, "carol@example.com"`, `REVOKE "alice@example.com" FROM bob, "carol@example.com"`, 2},
		{`ALTER DEFAULT PRIVILEGES FOR ROLE "alice@example.com" GRANT SELECT ON TABLES TO x`, `ALTER DEFAULT PRIVILEGES FOR ROLE "alice@example.com" GRANT SELECT ON TABLES TO x`, 1},
		{`ALTER TABLE t OWNER TO "alice@example.com"`, `ALTER TABLE t OWNER TO "alice@example.com"`, 1},
		{`SET ROLE "alice@example.com"`, `SET ROLE "alice@example.com"`, 1},
		{`CREATE ROLE "alice@example.com" LOGIN`, `CREATE ROLE "alice@example.com" LOGIN`, 1},
		{`GRANT SELECT ON "alice@example.com" TO bob`, `GRANT SELECT ON "[email]" TO bob`, 1},
		{`GRANT SELECT ON t TO "to alice@example.com"`, `GRANT SELECT ON t TO "[email]"`, 1},
		{`SELECT 1 AS "alice@example.com"`, `SELECT 1 AS "[email]"`, 1},
		{`SELECT 1 AS U&"alice\0040example.com"`, `SELECT 1 AS "[email]"`, 1},
		{`SELECT * FROM "4111111111111111" x`, `SELECT * FROM "[payment-card]" x`, 1},
		{`SAVEPOINT "alice@example.com ` + token + `"`, `SAVEPOINT "[github-token]"`, 1},
		{`SELECT U&'4111\003111111111111', U&'alice!0040example.com' UESCAPE '!'`, `SELECT '[payment-card]', '[email]'`, 0},
		{`SELECT * FROM t WHERE mail = alice@example.com`, `SELECT * FROM t WHERE mail = alice@example.com`, 1},
		{`SELECT 'alice@example.com', 4111111111111111 FROM t -- ` + token, `SELECT '[email]', '[payment-card]' FROM t -- [github-token]`, 0},
	} {
		if got := plain.SQL(c.raw, nil).String(); got != c.want {
			t.Errorf("SQL(%q)\n got %q\nwant %q", c.raw, got, c.want)
		}
		got := plain.InCode(c.raw)
		if len(got) != c.found {
			t.Errorf("InCode(%q) = %v", c.raw, got)
		}
		if len(got) == 1 && strings.Contains(c.want, "[github-token]") && got[0].Kind != sanitize.GitHubToken {
			t.Errorf("InCode(%q) = %v, and there is a token", c.raw, got)
		}
		if _, err := pg.Parse(c.want); err != nil {
			t.Errorf("%q: %v", c.want, err)
		}
	}
}

// TestSQLUnfinished: text that no parser accepts fails closed.
func TestSQLUnfinished(t *testing.T) {
	for _, raw := range []string{
		`ALTER USER bob PASSWORD 'correct-horse`,
		`SELECT 'it's', password 'correct-horse'`,
		`SELECT "x password=correct-horse`,
		`/* password=correct-horse`,
		`ALTER USER bob PASSWORD $x$correct-horse$y$`,
		`ALTER USER bob PASSWORD E'correct-horse\'`,
		`password=correct-horse`,
		`PGPASSWORD=correct-horse psql -h db`,
		`SELECT 1; /* x */ password: correct-horse`,
		`psql "postgres://bob:correct-horse@db/shop"`,
		`{"password":"correct-horse"}`,
	} {
		got := plain.SQL(raw, nil).String()
		if strings.Contains(got, "horse") {
			t.Errorf("SQL(%q) = %q", raw, got)
		}
		if again := plain.SQL(got, nil).String(); again != got {
			t.Errorf("SQL(%q) is not the same again: %q", got, again)
		}
	}
}

func TestSQLStrict(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{`SELECT 'a', 5, $1, 'b'::varchar(20), x[3], numeric '1.5', 1::numeric(10, 2) FROM t LIMIT 10`, `SELECT '[text]', '[number]', $1, '[text]'::varchar(20), x[3], numeric '[text]', '[number]'::numeric(10, 2) FROM t LIMIT 10`},
		{`/* why */ SELECT 'a@example.com' -- so`, `/*[comment]*/ SELECT '[text]' --[comment]`},
		{`ALTER USER bob PASSWORD 'x' CONNECTION LIMIT 5`, `ALTER USER bob PASSWORD '[password]' CONNECTION LIMIT 5`},
		{`SELECT U&'x' UESCAPE '!', B'1', ''`, `SELECT '[text]', '[text]', ''`},
		{`DO $$ BEGIN x := f('a', 5); END $$`, `DO $$ BEGIN x := f('[text]', '[number]'); END $$`},
	} {
		if got := strict.SQL(c.raw, nil).String(); got != c.want {
			t.Errorf("strict SQL(%q)\n got %q\nwant %q", c.raw, got, c.want)
		}
	}
}

// checkSQL asks PostgreSQL's parser and scanner: what parsed still parses, and every token that is no
// literal or comment is as it was, in the same order.
func checkSQL(t *testing.T, raw string) {
	t.Helper()
	if strings.IndexByte(raw, 0) >= 0 {
		return // ends the text for the parser
	}
	if _, err := pg.Parse(raw); err != nil {
		return
	}
	before, scanErr := codeTokens(raw)
	for name, s := range map[string]*sanitize.Sanitizer{"plain": plain, "keyed": keyed, "strict": strict} {
		clean := s.SQL(raw, nil).String()
		if _, err := pg.Parse(clean); err != nil {
			t.Errorf("%s: %q parsed, %q does not: %v", name, raw, clean, err)
		}
		if scanErr != nil || hasSecretNames(raw) {
			continue
		}
		after, err := codeTokens(clean)
		if err != nil {
			t.Errorf("%s: %q could be scanned, %q can not: %v", name, raw, clean, err)
		} else if !slices.Equal(before, after) {
			t.Errorf("%s: code changed\n%q\n%q", name, raw, clean)
		}
	}
}

func hasSecretNames(raw string) bool {
	return slices.ContainsFunc(plain.InCode(raw), func(sp sanitize.Span) bool { return !sp.Kind.Personal() })
}

// codeTokens returns a statement's tokens as PostgreSQL's scanner has them: literals as one word each,
// comments left out.
func codeTokens(sql string) ([]string, error) {
	res, err := pg.Scan(sql)
	if err != nil {
		return nil, err
	}
	var out []string
	escape := false
	for _, tok := range res.Tokens {
		text := sql[tok.Start:tok.End]
		switch tok.Token {
		case pg.Token_SQL_COMMENT, pg.Token_C_COMMENT:
		case pg.Token_UESCAPE:
			escape = true
		case pg.Token_SCONST, pg.Token_USCONST, pg.Token_XCONST, pg.Token_BCONST, pg.Token_ICONST, pg.Token_FCONST:
			if !escape {
				out = append(out, "literal")
			}
			escape = false
		default:
			out = append(out, text)
		}
	}
	return joinSums(out), nil
}

// joinSums makes one literal of literals joined by minus signs (078-05-1120 is a sum to the scanner) and
// of one with its sign.
func joinSums(tokens []string) []string {
	var out []string
	for i := 0; i < len(tokens); i++ {
		if tokens[i] == "-" && i+1 < len(tokens) && tokens[i+1] == "literal" && len(out) > 0 {
			switch out[len(out)-1] {
			case "literal":
				i++
				continue
			case "=":
				continue
			}
		}
		out = append(out, tokens[i])
	}
	return out
}

// TestSQLCorpus runs over testdata/sql, and over the folder that COUNTERSIGN_SQL_CORPUS names, such as
// that of a PostgreSQL installation: what parses there parses after, with the same code.
func TestSQLCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/sql/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	if dir := os.Getenv("COUNTERSIGN_SQL_CORPUS"); dir != "" {
		more, err := filepath.Glob(filepath.Join(dir, "*.sql"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	statements := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list, err := pg.SplitWithScanner(string(data), true)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, stmt := range list {
			checkSQL(t, stmt)
			statements++
		}
	}
	t.Logf("%d statements", statements)
}
