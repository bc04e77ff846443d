package postgres

import (
	"strings"
	"testing"
)

// Names that are one to the server and two to the gateway are refused, wherever they stand: else a text that
// was judged could be replaced by another one under its name.
func TestNamesAreThoseOfTheServer(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", maxName)
	for name, script := range map[string][]string{
		"statement, swapped": {
			"P|" + long + "Y|SELECT 1 ; S", "C|S|" + long + "X ; S", "P|" + long + "X|DELETE FROM items ; S", "B||" + long + "Y ; E||0 ; S",
		},
		"parse":        {"P|" + long + "Y|SELECT 1 ; S"},
		"bind":         {"P||SELECT 1 ; B||" + long + "Y ; S"},
		"portal":       {"P||SELECT 1 ; B|" + long + "Y| ; S"},
		"describe":     {"D|S|" + long + "Y ; S"},
		"describe p":   {"D|P|" + long + "Y ; S"},
		"execute":      {"E|" + long + "Y|0 ; S"},
		"close":        {"C|S|" + long + "Y ; S"},
		"close portal": {"C|P|" + long + "Y ; S"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{})
			c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D200ms"))
			said := c.play(script)
			if !strings.Contains(said, "E ERROR "+codeNameTooLong) || strings.Contains(said, "26000") && name != "statement, swapped" {
				t.Errorf("a name of %d bytes: %s", maxName+1, said)
			}
			if got := r.outside("SELECT count(*) FROM items"); got != "1000" {
				t.Errorf("%s rows are left\n%s", got, said)
			}
			said = c.play([]string{"P|" + long + "|SELECT 42 ; B|" + long + "|" + long + " ; E|" + long + "|0 ; S"})
			if !strings.Contains(said, "SELECT 1") {
				t.Errorf("a name of %d bytes: %s", maxName, said)
			}
		})
	}
}

// Within SQL the parser cuts names as the server does; a name that is cut is the one that the protocol knows.
func TestNamesInSQLAreCutAsByTheServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D200ms"))
	long := strings.Repeat("a", maxName)
	for _, name := range []string{long + "Y", `"` + long + `Y"`, `U&"` + long + `\0059"`} {
		said := c.play([]string{
			"P|" + long + "|DELETE FROM items ; S", "Q|EXECUTE " + name, "Q|DEALLOCATE " + name,
			"Q|PREPARE " + name + " AS SELECT 42", "Q|EXECUTE " + long + "Z", "Q|DEALLOCATE " + long + "W",
			"Q|BEGIN", "Q|DECLARE " + name + " CURSOR FOR SELECT 43", "Q|FETCH ALL FROM " + long, "Q|CLOSE " + name,
			"Q|SAVEPOINT " + name, "Q|ROLLBACK TO " + long + "Q", "Q|RELEASE " + long, "Q|ROLLBACK",
		})
		if n := strings.Count(said, "E ERROR"); n != 1 || !strings.Contains(said, `\x0242"`) || !strings.Contains(said, `\x0243"`) {
			t.Errorf("%s: %s", name, said)
		}
	}
	// Letters of several bytes: a cut that could differ is refused.
	odd := strings.Repeat("é", 40)
	for _, text := range []string{"PREPARE " + odd + " AS SELECT 1", "DEALLOCATE " + odd, "EXECUTE " + odd, "SAVEPOINT " + odd} {
		if said := c.play([]string{"Q|" + text}); !strings.Contains(said, codeReservedName) {
			t.Errorf("%s: %s", text, said)
		}
	}
	if said := c.play([]string{"Q|PREPARE é AS SELECT 1", "P|ü|SELECT 2 ; B||ü ; E||0 ; S", "Q|EXECUTE é"}); strings.Contains(said, "E ERROR") {
		t.Errorf("short names of such letters: %s", said)
	}
	if got := r.outside("SELECT count(*) FROM items"); got != "1000" {
		t.Errorf("%s rows are left", got)
	}
}

// The gateway's own statements and portals cannot be met or made by a client.
func TestOwnNameIsReserved(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url(""))
	for _, script := range []string{
		"P|" + ownName + "|SELECT 'evil' ; S", "P||SELECT 1 ; B|" + ownName + "| ; S", "C|S|" + ownName + " ; S",
		"Q|PREPARE " + ownName + " AS SELECT 1", "Q|DEALLOCATE " + ownName, "Q|DECLARE " + ownName + " CURSOR WITH HOLD FOR SELECT 1",
	} {
		if said := c.play([]string{script}); !strings.Contains(said, "E ERROR "+codeReservedName) {
			t.Errorf("%s: %s", script, said)
		}
	}
	said := c.play([]string{"Q|BEGIN", "Q|SET search_path = pg_catalog", "Q|SELECT 42", "Q|COMMIT"})
	if !strings.Contains(said, `\x0242"`) || strings.Contains(said, "E ERROR") {
		t.Errorf("afterwards: %s", said)
	}
}
