package sql

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
)

// The literals in credential positions, exactly, quotes included (P7). In the texts they are the ones
// that hold "hunter"; everything else must stay readable.
func TestCredentials(t *testing.T) {
	for _, text := range []string{
		`CREATE ROLE bob LOGIN PASSWORD 'hunter2' VALID UNTIL '2030-01-01'`,
		`CREATE USER bob WITH ENCRYPTED PASSWORD 'hunter2'`,
		`ALTER ROLE bob PASSWORD E'hunt\'er2' SUPERUSER`,
		`ALTER USER bob WITH PASSWORD $$hunter2$$`,
		`ALTER USER bob PASSWORD $a$hunter'2$a$; SELECT 'plain'`,
		`ALTER USER bob PASSWORD U&'hunter\0032'`,
		"ALTER USER bob PASSWORD 'hunter'\n'2'",
		`ALTER USER bob/*'x'*/PASSWORD/*'x'*/'hunter''2' -- 'y'`,
		`SELECT 'ümläut'; ALTER USER bob PASSWORD 'hünter'`,
		`ALTER USER bob PASSWORD NULL`,
		`CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host 'example.org', password 'hunter2', api_token 'hunter3')`,
		`ALTER SERVER s OPTIONS (SET host 'x', ADD sslpassword 'hunter2')`,
		`CREATE USER MAPPING FOR bob SERVER s OPTIONS (user 'bob', password 'hunter2', whatever 'hunter3')`,
		`ALTER USER MAPPING FOR bob SERVER s OPTIONS (SET password 'hunter2', DROP user)`,
		`CREATE FOREIGN TABLE f (a int) SERVER s OPTIONS (table_name 'x', secret 'hunter2')`,
		`ALTER FOREIGN TABLE f OPTIONS (SET password 'hunter2')`,
		`CREATE SUBSCRIPTION s CONNECTION 'host=x password=hunter2' PUBLICATION p WITH (slot_name = 'x')`,
		`ALTER SUBSCRIPTION s CONNECTION 'host=hunter'`,
		`ALTER SYSTEM SET primary_conninfo = 'host=x password=hunter2'`,
		`SET app.api_key = 'hunter2'`,
		`SET my.password TO 'hunter2'`,
		`ALTER ROLE bob SET app.token = 'hunter2'`,
		`SELECT set_config('app.jwt_secret', 'hunter2', false), set_config('app.name', 'x', false)`,
		`SELECT dblink_connect('c', 'host=x password=hunter2')`,
		`SELECT dblink_connect_u('hunter')`,
		`SELECT dblink('host=x user=hunter', 'SELECT 1')`,
		`SELECT * FROM dblink('postgres://bob:hunter2@x/d', 'SELECT 1') AS t(a int)`,
		`SELECT dblink_exec('c', 'ALTER ROLE bob PASSWORD ''hunter2''')`,
		`SELECT * FROM users WHERE password = crypt('hunter2', 'hunter-salt')`,
		`SELECT crypt('hunter2', gen_salt('bf'))`,
		`SELECT pgp_sym_encrypt(data, 'hunter2', 'cipher-algo=aes256') FROM t`,
		`SELECT pgp_sym_decrypt(data, 'hunter' || 'hunter2') FROM t`,
		`SELECT hmac('data', 'hunter2', 'sha256'), encrypt('data', 'hunter3', 'aes')`,
		`SELECT f(name => 'x', password => 'hunter2'), g(api_key := 'hunter3')`,
		`INSERT INTO users (name, password, age) VALUES ('bob', 'hunter2', 5), ('eve', md5('hunter3'), 6)`,
		`INSERT INTO users (name, "passwordHash", api_key) SELECT 'bob', 'hunter1', 'hunter2' UNION SELECT 'eve', 'hunter3', NULL`,
		`INSERT INTO users (a) VALUES ('x') ON CONFLICT (a) DO UPDATE SET password = 'hunter2', b = 'y'`,
		`UPDATE users SET password = 'hunter2', name = 'x' WHERE id = 'y'`,
		`UPDATE users SET (name, password) = ('x', 'hunter2') WHERE id = 1`,
		`UPDATE users SET pin = 'x' WHERE access_token = 'hunter2' AND name = 'y'`,
		`SELECT * FROM users u WHERE u.password IN ('hunter2', 'hunter3') OR 'hunter4' = u."secret" OR u.token LIKE 'hunter%'`,
		`SELECT 'hunter2' AS password, 'x' AS name`,
		`MERGE INTO users u USING (VALUES (1)) v(id) ON u.id = v.id WHEN MATCHED THEN UPDATE SET password = 'hunter2'`,
		`WITH x AS (UPDATE users SET password = 'hunter2' WHERE id = 1 RETURNING 1) SELECT 'y' FROM x`,
		`EXPLAIN ANALYZE UPDATE users SET password = 'hunter2'`,
		`PREPARE p AS UPDATE users SET password = 'hunter2', name = $1`,
		`DO $$ BEGIN ALTER USER bob PASSWORD 'hunter2'; RAISE 'x'; END $$`,
		`DO $body$ BEGIN EXECUTE 'ALTER USER bob PASSWORD ''hunter2'''; END $body$ LANGUAGE plpgsql`,
		`DO 'BEGIN ALTER USER bob PASSWORD ''hunter2''; END'`,
		`CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM dblink_connect('host=x password=hunter2'); PERFORM 'x'; END $$`,
		`COPY t FROM PROGRAM 'curl http://example.org'`,
		`SELECT 'password', 'my password is long', 'passwords'`,
		`COMMENT ON COLUMN users.password IS 'the password'`,
		`SELECT password FROM users WHERE name = 'bob' AND password_changed > 'x'`,
		// Through a query, or an expression.
		`INSERT INTO users (password) SELECT v FROM (VALUES ('hunter2')) t(v)`,
		`INSERT INTO users (id, password) SELECT * FROM (VALUES (1, 'hunter2')) v`,
		`INSERT INTO users (id, password) SELECT 1, u.v FROM s JOIN unnest(ARRAY['hunter2']) u(v) ON true`,
		`WITH x AS (SELECT 'hunter2' AS v) INSERT INTO users (password) SELECT v FROM x`,
		`WITH x(a, password) AS (SELECT 'x', 'hunter2') SELECT * FROM x`,
		`INSERT INTO users (password) WITH x AS (VALUES ('hunter2')) TABLE x`,
		`INSERT INTO users (name) SELECT v FROM (VALUES ('x')) t(v)`,
		`INSERT INTO users (name, note) VALUES ('hunter1', 'hunter2') ON CONFLICT (name) DO UPDATE SET password = excluded.note`,
		`SELECT * FROM (VALUES ('x', 'hunter2')) v(name, password)`,
		`CREATE VIEW v (name, password) AS SELECT 'x', 'hunter2'`,
		`UPDATE users SET password = v.p FROM (VALUES ('hunter2')) v(p) WHERE name = 'x'`,
		`UPDATE users SET (name, password) = (SELECT 'hunter1', 'hunter2') WHERE name = 'x'`,
		`MERGE INTO users u USING t ON u.id = t.id AND t.a = 'x' WHEN NOT MATCHED THEN INSERT (id, password) VALUES ('x', 'hunter2')`,
		`MERGE INTO users u USING (VALUES ('hunter2')) t(v) ON true WHEN NOT MATCHED THEN INSERT (password) VALUES (t.v)`,
		`MERGE INTO users u USING (VALUES ('hunter2')) t(v) ON true WHEN MATCHED THEN UPDATE SET password = t.v`,
		`SELECT 'ALTER ROLE bob PASSWORD ' || 'hunter2' || ' x'`,
		`SELECT format('ALTER ROLE bob PASSWORD %L', 'hunter2'), format('%s', 'x')`,
		`SELECT concat('x', 'password=', 'hunter2')`,
		`SELECT coalesce(password, 'hunter2'), starts_with(u.token, 'hunter3'), coalesce(name, 'x') FROM u`,
		`SELECT CASE password WHEN 'hunter2' THEN 'x' END FROM u`,
		`CALL set_password('hunter1', 'hunter2')`,
		`UPDATE u SET passwords[1] = 'hunter1', bearer = 'hunter2', db_pw = 'hunter3', api_keys = 'hunter4', pwd_changed = 'x'`,
		`SELECT 1 FROM u WHERE coalesce(password, 'hunter1') = 'hunter2' AND lower(u.token::text) = 'hunter3' AND length(password) > '8'`,
		`SELECT xmlelement(name password, 'hunter2'), xmlelement(name a, 'x')`,
		// Kept in a definition.
		`CREATE TABLE n (name, password) AS SELECT 'x', 'hunter2'`,
		`CREATE MATERIALIZED VIEW n (password) AS VALUES ('hunter2')`,
		`CREATE TABLE t (name text DEFAULT 'x', password text DEFAULT 'hunter2')`,
		`ALTER TABLE t ADD COLUMN api_key text NOT NULL DEFAULT 'hunter2'::text`,
		`ALTER TABLE t ALTER COLUMN password SET DEFAULT 'hunter2', ALTER COLUMN name SET DEFAULT 'x'`,
		`CREATE FUNCTION f(name text DEFAULT 'x', password text DEFAULT 'hunter2') RETURNS int LANGUAGE sql RETURN 1`,
		// Settings.
		`SET app.api_key TO hunter2`,
		`SET app.pwd = "hunter2"`,
		`SET app.token TO U&"hunter!0032" UESCAPE '!'`,
		`SET LOCAL app.secret = 'hunter2'`,
		`ALTER ROLE bob SET app.token TO hunter2`,
		`ALTER DATABASE d SET app.password = hunter2`,
		`SET search_path TO x, 'y'`,
		`SELECT set_config(new_value => 'hunter2', is_local => false, setting_name => 'hunter')`,
		// In code.
		`DO $$BEGIN EXECUTE format('ALTER ROLE bob PASSWORD %L', 'hunter2'); RAISE NOTICE 'x'; END$$`,
		`DO $$BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L', 'hunter1', 'hunter2'); END$$`,
		`DO $$BEGIN EXECUTE 'ALTER ROLE bob PASSWORD ' || quote_literal('hunter2'); END$$`,
		`DO $$BEGIN EXECUTE 'UPDATE users SET password = $1hunter' USING 'hunter2'; PERFORM f('x'); END$$`,
		`DO $$BEGIN IF password = given THEN PERFORM f(token); END IF; END$$`,
		`DO $$DECLARE pw text DEFAULT 'hunter2'; BEGIN EXECUTE format('ALTER ROLE bob PASSWORD %L', pw); END$$`,
		`DO $$BEGIN INSERT INTO users(name, password) SELECT v, w FROM (VALUES ('hunter1', 'hunter2')) t(v, w); PERFORM 'x'; END$$`,
		`CREATE FUNCTION f() RETURNS void AS 'BEGIN EXECUTE format(''ALTER ROLE x PASSWORD %L'', ''hunter2''); END' LANGUAGE plpgsql`,
		// Not parsed: from the tokens, or without them.
		`ALTER USER bob PASWORD PASSWORD 'hunter2' 'hunter3'`,
		`CREATE USER bob SECRET PASSWORD = 'hunter2', name = 'hunter3'`,
		`UPDATE users SET SET password = 'hunter2', name = 'x'`,
		`ALTER ROLE bob PASSWRD 'hunter2'`,
		`ALTER ROLE bob PASSWORD hunter2`,
		`ALTER ROLE bob PASSWORD/**/hunter2-x!hunter3;`,
		`ALTER ROLE bob PASSWORD "hunter2"`,
		`ALTER ROLE bob PASSWORD U&"hunter\0032"`,
		`ALTER ROLE bob PASSWORD = hunter2`,
		`CREATE USER bob IDENTIFIED BY hunter2`,
		`CREATE USER bob IDENTIFIED BY "hunter2" WITH 'hunter3'`,
		`SET PASSWORD FOR bob = 'hunter2'`,
		`ALTER ROLE bob PASSWORD hunter2 VALID UNTIL 'hunter`,
		`ALTER ROLE bob PASSWORD "hunter2`,
		`UPDATE users SET password = hunter2 name = 'x'`,
		`SELECT password FROM users WHEER name = 'x'`,
		`SELECT f(password, x) FROM users GROUPED name = 'x' AND password = crypt(x)`,
		`ALTER USER bob PASSWORD 'hunter2' "x`,
		`ALTER USER bob PASSWORD 'hunter2`,
		"ALTER USER bob PASSWORD 'hunter2'\x00 'hunter3'",
	} {
		r := Classify(text, normal, nil)
		var got []string
		rest := 0
		var outside strings.Builder
		for _, s := range r.Credentials {
			got = append(got, text[s.Start:s.End])
			outside.WriteString(text[rest:s.Start] + "•")
			rest = s.End
		}
		outside.WriteString(text[rest:])
		for _, word := range []string{"hunt", "hünt"} {
			if strings.Contains(outside.String(), word) {
				t.Errorf("%s\n  left %s", text, outside.String())
			}
		}
		for _, g := range got {
			if !strings.Contains(g, "hunt") && !strings.Contains(g, "hünt") {
				t.Errorf("%s\n  %s is no credential", text, g)
			}
			if r.Parsed && !(strings.HasSuffix(g, "'") || strings.HasSuffix(g, "$") || strings.Contains(text, "SET app.") || strings.Contains(text, "$1hunter")) {
				t.Errorf("%s\n  %s is not a whole literal", text, g)
			}
		}
	}
}

// A number is a credential as a text is; its sign is no part of it.
func TestNumericCredential(t *testing.T) {
	text := "UPDATE users SET token = -424242, age = 5"
	r := Classify(text, normal, nil)
	if len(r.Credentials) != 1 || text[r.Credentials[0].Start:r.Credentials[0].End] != "424242" {
		t.Errorf("%+v", r.Credentials)
	}
}

func TestCredentialParameters(t *testing.T) {
	for text, want := range map[string][]int{
		`INSERT INTO users (name, password) VALUES ($1, $2)`:                         {2},
		`UPDATE users SET password = $3, name = $1 WHERE token = $2 AND name = $4`:   {2, 3},
		`SELECT pgp_sym_decrypt(a, $1), crypt($2, password) FROM t WHERE id = $3`:    {1, 2},
		`INSERT INTO users (password) SELECT $1 UNION SELECT $2`:                     {1, 2},
		`SELECT set_config('app.secret', $1, false), set_config('app.x', $2, false)`: {1},
		`SELECT $1`: nil,
	} {
		if got := Classify(text, normal, nil).CredentialParams; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// No name, evidence or other Clean of a result holds a literal of the text.
func TestNoLiteralLeaves(t *testing.T) {
	for _, g := range readGolden(t) {
		text := strings.ReplaceAll(g.text, "'x'", "'hunter2'")
		r := Classify(text, normal, nil)
		shown := fmt.Sprint(r.Why, r.Objects)
		if strings.Contains(shown, "hunter2") {
			t.Errorf("%s: %s", text, shown)
		}
	}
}

// The arguments of EXECUTE are credentials where the statement takes them for such; all are when nobody
// knows it.
func TestExecuteCredentials(t *testing.T) {
	s := normal
	up := Classify("PREPARE up AS UPDATE users SET name = $1, password = $2", normal, nil)
	protocol := Classify("UPDATE users SET password = $1 WHERE name = $2", normal, nil)
	s.Prepared = func(name string) *Statement {
		switch name {
		case "up":
			return up.Statements[0].PrepareBody
		case "protocol":
			return &protocol.Statements[0]
		}
		return nil
	}
	for text, want := range map[string]string{
		"EXECUTE up('x', 'hunter2')":                                                    "'hunter2'",
		"EXPLAIN ANALYZE EXECUTE protocol('hunter2', 'x')":                              "'hunter2'",
		"EXECUTE unknown('hunter2')":                                                    "'hunter2'",
		"PREPARE a AS SELECT crypt($1, $2); EXECUTE a('hunter2', 'x')":                  "'hunter2'",
		"PREPARE a AS SELECT $1; EXECUTE a('x')":                                        "",
		"SELECT crypt($2, ''); PREPARE a AS SELECT $1 = token; EXECUTE a('hunter2', 5)": "'hunter2'",
	} {
		r := Classify(text, s, nil)
		var got []string
		for _, sp := range r.Credentials {
			if g := text[sp.Start:sp.End]; g != "''" {
				got = append(got, g)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// A statement whose names hold a secret is Unknown, and says why.
func TestSecretNames(t *testing.T) {
	token := "ghp" + "_" + strings.Repeat("a1B2c3", 6)
	for text, want := range map[string]string{
		`SELECT 1 AS "password=hunter2"`:                           "unknown",
		`PREPARE "password=hunter2" AS SELECT 1`:                   "unknown",
		`EXECUTE "password=hunter2"`:                               "unknown",
		`DECLARE "api_key: hunter2" CURSOR FOR SELECT 1`:           "unknown",
		`SAVEPOINT "postgres://u:hunter2@h/d"`:                     "unknown",
		`SELECT U&"password\003dhunter2" FROM t`:                   "unknown",
		`SELECT "password", "Password hash" AS "the token" FROM t`: "",
		`GRANT SELECT ON t TO "alice@example.com"`:                 "",
		`SELECT 'password=hunter2' AS x`:                           "",
	} {
		r := Classify(text, normal, nil)
		if got := r.Effects.Has(countersign.Unknown); got != (want != "") {
			t.Errorf("%s: %s", text, r.Effects)
		}
		if strings.Contains(fmt.Sprint(r.Why, r.Objects), "hunter") {
			t.Errorf("%s: %v %v", text, r.Why, r.Objects)
		}
	}
	r := Classify(`SELECT 1; SELECT 2 AS "password=hunter2"; COMMIT`, normal, nil)
	for i, want := range []bool{false, true, false} {
		if got := r.Statements[i].Effects.Has(countersign.Unknown); got != want {
			t.Errorf("statement %d: %s", i, r.Statements[i].Effects)
		}
	}
	if !r.Effects.Has(countersign.Unknown) || len(token) < 40 || r.Facts.CatalogOnly {
		t.Errorf("%s %+v", r.Effects, r.Facts)
	}
	if r := Classify(`SELECT `+token+` FROM t`, normal, nil); !r.Effects.Has(countersign.Unknown) {
		t.Error("a token as a name: ", r.Effects)
	}
}

// COPY TO says of its table that every row leaves, and where to when that is the server's host.
func TestCopyEvidence(t *testing.T) {
	for text, want := range map[string]string{
		"COPY t TO STDOUT":               "read,export reads every row of t and copies them out",
		"COPY t (a) TO STDOUT":           "read,export reads every row of t and copies them out",
		"COPY (SELECT 1 FROM t) TO '/x'": "read,export COPY TO moves data out in bulk",
		"COPY t TO '/x'":                 "execute,export COPY uses a file on the server's host",
		"COPY t TO PROGRAM 'x'":          "execute,export COPY runs a program on the server's host",
	} {
		list, words, _ := strings.Cut(want, " ")
		var effects countersign.Effects
		for _, name := range strings.Split(list, ",") {
			e, err := countersign.ParseEffect(name)
			if err != nil {
				t.Fatal(err)
			}
			effects |= e
		}
		found := false
		for _, ev := range Classify(text, normal, nil).Why {
			found = found || ev.Why.String() == words && ev.Effect == effects
		}
		if !found {
			t.Errorf("%s: no %q", text, want)
		}
	}
}

// The name of a program is shown, never what it is given.
func TestProgramNames(t *testing.T) {
	for command, want := range map[string]string{
		"mysql -phunter2 x": "mysql", "PGPASSWORD=hunter2 psql": "psql", "A=hunter2": "a shell command",
		"mysql\t-phunter2": "mysql", "/usr/bin/x;hunter2": "/usr/bin/x", "$(hunter2)": "a shell command", "": "a shell command",
	} {
		if got := program(command); got != want {
			t.Errorf("%q: %q, want %q", command, got, want)
		}
	}
}

// Positions inside positions take no time that grows with their product: beyond a limit every literal and
// parameter counts.
func TestNestedCredentials(t *testing.T) {
	list := strings.Repeat("'hunter2',", 20_000) + "$1"
	text := strings.Repeat("SELECT (", 100) + "SELECT " + list + strings.Repeat(") AS password", 100) + ", 'x', $2"
	start := time.Now()
	r := Classify(text, normal, nil)
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
	if !r.Parsed || len(r.Credentials) != 20_001 || !slices.Equal(r.CredentialParams, []int{1, 2}) || !slices.Equal(r.Statements[0].CredentialParams, []int{1, 2}) {
		t.Errorf("%t, %d literals, parameters %v", r.Parsed, len(r.Credentials), r.CredentialParams)
	}
	list = strings.Repeat("1,", 20_000) + "1"
	for _, relation := range []string{"pg_settings", "pg_roles"} {
		text := strings.Repeat("SELECT oid, (", 100) + "SELECT " + list + strings.Repeat(") FROM "+relation, 100)
		text = strings.ReplaceAll(text, "oid", map[string]string{"pg_settings": "name", "pg_roles": "rolname"}[relation])
		if r := Classify(text, normal, nil); !r.Effects.Has(countersign.Secret) {
			t.Errorf("%s: %s", relation, r.Effects)
		}
	}
}
