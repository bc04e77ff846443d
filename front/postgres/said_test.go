package postgres

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMessagesWithoutValues(t *testing.T) {
	for message, want := range map[string]string{
		`invalid input syntax for type integer: "S"`:              "invalid input syntax for type integer: […]",
		`invalid input syntax for type integer: "S`:               "invalid input syntax for type integer: […]",
		`invalid input syntax for type integer: "a" S "b"`:        "invalid input syntax for type integer: […]",
		`Fehler beim Lesen: »S« und „S“`:                          "Fehler beim Lesen: […]",
		`relation "S" does not exist`:                             "relation […] does not exist",
		`column "S" of relation "S" does not exist`:               "column […] does not exist",
		`syntax error at or near "S"`:                             "syntax error at or near […]",
		`unterminated quoted string at or near "'S`:               "unterminated quoted string at or near […]",
		`unterminated quoted string at or near 'S`:                "unterminated quoted string at or near […]",
		`syntaxe en entrée invalide pour le type integer : « S »`: "syntaxe en entrée invalide pour le type integer : […]",
		`could not connect: S`:                                    "could not connect: […]",
		`value too long for type character varying(10)`:           "value too long for type character varying(10)",
		`division by zero`:                                        "division by zero",
		``:                                                        "",
		`"S"`:                                                     "[…]",
		"\xff\"S\xff":                                             "[…]",
	} {
		got := withoutValues(report{code: "22000", message: message, routine: "r"})
		if got != want || strings.Contains(got, "S") {
			t.Errorf("%s: %q", message, got)
		}
	}
	for _, r := range []report{
		{code: "P0001", message: "the password is S", routine: "exec_stmt_raise"},
		{code: "22023", message: "the password is S", routine: "exec_stmt_raise"},
		{code: "22023", message: "the password is S"},
	} {
		if got := withoutValues(r); got != left {
			t.Errorf("%+v: %q", r, got)
		}
	}
}

// P7: no value that the server quotes in an error is stored. The client is told all the same.
func TestErrorsInTheTrailHoldNoValues(t *testing.T) {
	t.Parallel()
	const value = "Zq7Needle"
	r := newRig(t, rigOptions{policy: openPolicy, setup: []string{
		"CREATE TABLE users (id int, password text)", "INSERT INTO users VALUES (1, '" + value + "')",
	}})
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D200ms"))
	for _, text := range []string{
		"UPDATE users SET password = CAST('" + value + "' AS int)",
		"SELECT password::int FROM users",
		"INSERT INTO users SELECT password::int FROM users",
	} {
		if said := c.play([]string{"Q|" + text}); !strings.Contains(said, "E ERROR 22") || !strings.Contains(said, value) {
			t.Errorf("the client is told of %s: %s", text, said)
		}
		said := c.play([]string{"P||" + text + " ; B|| ; E||0 ; S"})
		if !strings.Contains(said, "E ERROR 22") {
			t.Errorf("the client is told of %s: %s", text, said)
		}
	}
	c.conn.Close()
	r.Store.Close()
	found := 0
	err := filepath.Walk(r.Dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if i := strings.Index(string(b), value); i >= 0 {
			t.Errorf("%s holds it: %q", path, b[max(0, i-100):i+20])
		}
		found += strings.Count(string(b), "invalid input syntax for type integer: […]")
		return err
	})
	if err != nil || found == 0 {
		t.Errorf("the fixed part of the message is stored %d times, %v", found, err)
	}
}
