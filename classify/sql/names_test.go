package sql

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/countersign-dev/countersign"
)

// longNames are longer than what a server keeps of a name, 63 bytes, and by whole characters.
var longNames = []string{
	strings.Repeat("a", 70), strings.Repeat("AbC", 30), `"` + strings.Repeat("a", 63) + `B"`, `"` + strings.Repeat(`""`, 70) + `"`,
	"x" + strings.Repeat("é", 40), strings.Repeat("é", 40), `"` + strings.Repeat("€", 30) + `"`, `"a` + strings.Repeat("🙂", 20) + `"`,
	`U&"` + strings.Repeat(`\00e9`, 40) + `"`, `U&"` + strings.Repeat(`!00e9`, 40) + `" UESCAPE '!'`,
}

// Names of prepared statements, cursors and savepoints are those that the server keeps.
func TestLongNames(t *testing.T) {
	ctx := context.Background()
	conn := connect(t)
	for _, name := range longNames {
		st := func(before, after string) *Statement {
			r := Classify(before+name+after, normal, nil)
			if len(r.Statements) != 1 {
				t.Fatalf("%s%s%s: %v", before, name, after, r.Why)
			}
			return &r.Statements[0]
		}
		prepare, declare := st("PREPARE ", " AS SELECT 1"), st("DECLARE ", " CURSOR WITH HOLD FOR SELECT 1")
		if _, err := conn.Exec(ctx, "PREPARE "+name+" AS SELECT 1; DECLARE "+name+" CURSOR WITH HOLD FOR SELECT 1", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
		var prepared, cursor string
		row := conn.QueryRow(ctx, "SELECT (SELECT name FROM pg_prepared_statements WHERE from_sql), (SELECT name FROM pg_cursors WHERE is_holdable)", pgx.QueryExecModeSimpleProtocol)
		if err := row.Scan(&prepared, &cursor); err != nil {
			t.Fatal(err)
		}
		if prepare.Prepare != prepared || declare.Declares != cursor {
			t.Errorf("%s: PREPARE %q, want %q; DECLARE %q, want %q", name, prepare.Prepare, prepared, declare.Declares, cursor)
		}
		for what, got := range map[string]string{
			"EXECUTE": st("EXECUTE ", "").Execute, "DEALLOCATE": st("DEALLOCATE ", "").Deallocate,
			"FETCH": st("FETCH ALL FROM ", "").Fetches, "MOVE": st("MOVE NEXT FROM ", "").Fetches,
			"SAVEPOINT": st("SAVEPOINT ", "").Savepoint, "RELEASE": st("RELEASE ", "").Savepoint, "ROLLBACK TO": st("ROLLBACK TO ", "").Savepoint,
		} {
			if got != prepared {
				t.Errorf("%s %s: %q, want %q", what, name, got, prepared)
			}
		}
		if _, err := conn.Exec(ctx, "DEALLOCATE ALL; CLOSE ALL", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
}

// Where a name may be cut depends on the server's encoding unless it is ASCII: nobody can say which
// statement is meant.
func TestLongNamesInOtherEncodings(t *testing.T) {
	for text, want := range map[string]bool{
		"PREPARE " + strings.Repeat("é", 31) + " AS SELECT 1":                           true,
		"PREPARE a AS SELECT 1; DEALLOCATE " + strings.Repeat("é", 40):                  true,
		"PREPARE x" + strings.Repeat("é", 28) + " AS SELECT 1":                          false,
		"PREPARE " + strings.Repeat("a", 70) + " AS SELECT 1":                           false,
		"PREPARE " + strings.Repeat("a", 70) + "é AS SELECT 1":                          false,
		"PREPARE a AS SELECT 1; EXECUTE a":                                              false,
		"DECLARE " + strings.Repeat("é", 40) + " CURSOR FOR SELECT 1; FETCH ALL FROM c": false,
	} {
		if r := Classify(text, normal, nil); r.Effects.Has(countersign.Unknown) != want {
			t.Errorf("%s: %s", text, r.Effects)
		}
	}
}
