package sql

import (
	"strings"
	"testing"

	"github.com/countersign-dev/countersign/sanitize"
)

func visible(text string, hidden []sanitize.Span) string {
	var b strings.Builder
	rest := 0
	for _, s := range hidden {
		b.WriteString(text[rest:s.Start] + "•")
		rest = s.End
	}
	return b.String() + text[rest:]
}

// Code is not hidden as a credential, whatever stands around it: neither what is between literals, nor a
// literal that is run.
func TestCodeIsNotHidden(t *testing.T) {
	off := normal
	off.StandardConformingStrings = false
	const code = "DROP TABLE precious"
	equals := strings.Repeat("=", MaxOperatorRun+1)
	for _, text := range []string{
		// Not understood.
		"UPDATE items SET name = 'ok'; " + code + "; -- create the user's row " + equals,
		"SELECT 'a'; " + code + "; SELECT 'b' -- password ' " + equals,
		"/* password ' */ " + code + " /* ' " + equals + " */",
		"ALTER ROLE x PASSWORD 'a'; " + code + "; SELECT 'b' " + equals,
		"ALTER ROLE x PASSWORD $a$b$a$; " + code + "; SELECT $a$b$a$ " + equals,
		"ALTER ROLE x PASSWORD E'a\\''; " + code + "; SELECT 'b' " + equals,
		"SELEKT password 'a'; " + code + "; SELECT 'b'",
		"ALTER ROLE x; DO $$ BEGIN " + code + "; END $$; SELEKT",
		"ALTER ROLE x; DO LANGUAGE plpgsql 'BEGIN " + code + "; END'; SELEKT",
		"ALTER ROLE x; DO $$ ' " + code + " ' $$ LANGUAGE plpython3u; SELEKT",
		"ALTER ROLE x PASSWORD a/**/" + strings.ReplaceAll(code, " ", "/**/") + "; SELEKT",
		// Parsed.
		"DO LANGUAGE plpgsql 'BEGIN PERFORM ''password ''''''; " + code + "; END'",
		`DO LANGUAGE plpgsql E'BEGIN PERFORM \'password=\\\'; ` + code + "; END'",
		"DO $$ BEGIN EXECUTE '/* password=a */ " + code + "'; END $$",
		"DO $$ BEGIN EXECUTE 'x ' || '/* password=a */ " + code + "'; END $$",
		"DO $$ x = 1 # alter user's\n " + code + " $$ LANGUAGE plpython3u",
		"DO $$ # password 's\n " + code + " # '\n $$ LANGUAGE plpython3u",
		"SELECT query_to_xml('" + code + "', true, true, '') AS password",
		"SELECT query_to_xml(query => '" + code + "'::text, nulls => true) = password FROM t",
		"SELECT query_to_xml('/* password=a */ ' || '" + code + "', true, true, '')",
		"UPDATE users SET password = (SELECT query_to_xml('" + code + "', true, true, '')::text)",
		"INSERT INTO users(password) SELECT query_to_xml('" + code + "', true, true, '')::text",
		"SELECT f(password => dblink_exec('" + code + "'))",
		"SELECT dblink_exec('password=x', '/* password=x */ " + code + "')",
		"SELECT dblink_exec('" + code + "'); COPY t FROM STDIN WITH (password a)",
	} {
		for _, s := range []Settings{normal, off} {
			r := Classify(text, s, nil)
			shown := visible(text, r.Credentials)
			if !strings.Contains(strings.ReplaceAll(shown, "/**/", " "), code) {
				t.Errorf("conforming %t, parsed %t: %s\n  shown as %s", s.StandardConformingStrings, r.Parsed, text, shown)
			}
		}
	}
	// Which of these is code depends on standard_conforming_strings; with it off it is not known here.
	for _, text := range []string{
		`SELECT 'a\', password='; ` + code + `; --'`,
		`ALTER ROLE x PASSWORD 'a\'; ` + code + `; SELECT 'b'`,
		`ALTER ROLE x PASSWORD 'a\' || '; ` + code + `; --'`,
	} {
		if shown := visible(text, Classify(text, off, nil).Credentials); !strings.Contains(shown, code) {
			t.Errorf("%s\n  shown as %s", text, shown)
		}
	}
	// And in other encodings a backslash may be half of a character.
	other := Settings{}
	text := `ALTER ROLE x PASSWORD 'a\'; ` + code + `; SELECT 'b'`
	if r := Classify(text, other, nil); len(r.Credentials) > 0 || !strings.Contains(r.Why[len(r.Why)-1].Why.String(), "cannot be told") {
		t.Errorf("%v %v", r.Credentials, r.Why)
	}
}

// In code that is in a literal, credentials are hidden by themselves, whatever its quotes.
func TestCredentialsInQuotedCode(t *testing.T) {
	for text, want := range map[string]string{
		`DO 'BEGIN ALTER ROLE x PASSWORD ''hunter2''; END'`:                                                    `DO 'BEGIN ALTER ROLE x PASSWORD •; END'`,
		`DO E'BEGIN ALTER ROLE x PASSWORD \'hunter2\'; END'`:                                                   `DO E'BEGIN ALTER ROLE x PASSWORD •; END'`,
		`DO U&'BEGIN ALTER ROLE x PASSWORD \0027hunter2\+000027; END'`:                                         `DO U&'BEGIN ALTER ROLE x PASSWORD •; END'`,
		"DO 'BEGIN ALTER ROLE x PASSWORD '\n'''hunter2''; END'":                                                "DO 'BEGIN ALTER ROLE x PASSWORD '\n'•; END'",
		`DO $$BEGIN EXECUTE 'ALTER ROLE x PASSWORD ''hunter2'''; END$$`:                                        `DO $$BEGIN EXECUTE 'ALTER ROLE x PASSWORD •'; END$$`,
		`DO $$BEGIN EXECUTE $a$ DO 'ALTER ROLE x PASSWORD ''hunter2''' $a$; END$$`:                             `DO $$BEGIN EXECUTE $a$ DO 'ALTER ROLE x PASSWORD •' $a$; END$$`,
		`DO $$BEGIN EXECUTE 'SET a.password = hunter2'; END$$`:                                                 `DO $$BEGIN EXECUTE 'SET a.password = •'; END$$`,
		`SELECT query_to_xml('SELECT 1 WHERE password = ''hunter2''', true, true, '')`:                         `SELECT query_to_xml('SELECT 1 WHERE password = •', true, true, '')`,
		`SELECT query_to_xml('SELECT ''host=x password=hunter2''', true, true, '')`:                            `SELECT query_to_xml('SELECT •', true, true, '')`,
		`SELECT dblink('host=x password=hunter2', 'ALTER ROLE x PASSWORD ' || 'hunter2')`:                      `SELECT dblink(•, 'ALTER ROLE x PASSWORD ' || •)`,
		`CREATE SUBSCRIPTION s CONNECTION 'hunter' PUBLICATION p WITH (password = 'hunter2', token = hunter3)`: `CREATE SUBSCRIPTION s CONNECTION • PUBLICATION p WITH (password = •, token = •)`,
	} {
		if got := visible(text, Classify(text, normal, nil).Credentials); got != want {
			t.Errorf("%s\n  shown as %s\n  want     %s", text, got, want)
		}
	}
}

// Who signs is told when so much is hidden that it could be code.
func TestHiddenBytesAreTold(t *testing.T) {
	says := func(text string) string {
		for _, ev := range Classify(text, normal, nil).Why {
			if strings.Contains(ev.Why.String(), "hidden") {
				return ev.Why.String()
			}
		}
		return ""
	}
	long := strings.Repeat("x", maxHidden-2)
	for text, want := range map[string]string{
		"SELECT f(password => '" + long + "')":                        "",
		"SELECT f(password => '" + long + "x')":                       "129 bytes of the text are hidden as credentials",
		"SELECT f(password => '" + long + "'), g(password => 'DROP')": "134 bytes of the text are hidden as credentials",
		"SELEKT f(password => '" + long + "x')":                       "129 bytes of the text are hidden as credentials",
		"SELECT '" + long + long + "'":                                "",
	} {
		if got := says(text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// FuzzHidden: whatever the text and however its quotes are read, nothing panics, and a hidden span is inside
// the text and not longer than one literal or word.
func FuzzHidden(f *testing.F) {
	for _, g := range readGolden(f) {
		f.Add(g.text)
	}
	for _, text := range []string{
		`DO E'BEGIN PERFORM \'password=\\\'; END'`, "DO U&'PASSWORD \\0027x\\+000027'", "DO 'a' -- it's\n 'b'", "ALTER ROLE x PASSWORD $a$ ' $a", "PASSWORD 'x\\'y'",
		`DO E'\x4\u00e9\777\'`, "SELECT u&\"x", "SELECT $$", "EXECUTE 'EXECUTE ''EXECUTE ''''password=x''''''' ", "X'", "E'\\",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range []Settings{normal, {UTF8: true}, {}} {
			r := Classify(text, s, nil)
			checkResult(t, text, r)
			longest := 0
			for _, tokens := range [][]int{lengths(text, false), lengths(text, true)} {
				for _, n := range tokens {
					longest = max(longest, n)
				}
			}
			for _, c := range r.Credentials {
				if strings.ContainsAny(text[c.Start:c.End], " \n") && c.End-c.Start > longest {
					t.Errorf("%q hidden", text[c.Start:c.End])
				}
			}
		}
	})
}

func lengths(text string, escapes bool) (n []int) {
	for _, t := range lex(text, escapes) {
		n = append(n, int(t.End-t.Start))
	}
	return n
}
