package postgres

import (
	"strings"
	"testing"
)

func TestPsqlReadsAndWrites(t *testing.T) {
	r := newRig(t, rigOptions{})
	out := r.mustPsql("SELECT count(*) FROM items;\nINSERT INTO log VALUES ('hello');\n\\d items\nSELECT line FROM log;\n", "-At")
	for _, want := range []string{"1000\n", "INSERT 0 1\n", "hello\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("psql's output lacks %q:\n%s", want, out)
		}
	}
	if got := r.outside("SELECT line FROM log"); got != "hello" {
		t.Errorf("the server has %q", got)
	}
}
