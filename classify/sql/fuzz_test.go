package sql

import (
	"testing"

	"github.com/countersign-dev/countersign"
)

// FuzzClassify: no text panics, and what a result says of itself agrees.
func FuzzClassify(f *testing.F) {
	for _, g := range readGolden(f) {
		f.Add(g.text, "")
	}
	for _, text := range deep {
		f.Add(text(20), "evil, pg_catalog")
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		s := Settings{StandardConformingStrings: true, UTF8: true, SearchPath: path}
		r := Classify(text, s, nil)
		checkResult(t, text, r)
		checkResult(t, text, Classify(text, s, shop))
		// A text says at least as much with another one behind it.
		if r.Parsed && !r.Empty && len(text) < 1000 {
			both := Classify(text+"\n;DELETE FROM t", s, nil)
			if both.Parsed && !both.Effects.Has(r.Effects|countersign.Delete) {
				t.Errorf("%s, with a DELETE behind it %s", r.Effects, both.Effects)
			}
		}
	})
}

func checkResult(t *testing.T, text string, r Result) {
	t.Helper()
	if r.Effects == 0 || len(r.Why) == 0 {
		t.Errorf("effects %s, evidence %v", r.Effects, r.Why)
	}
	if !r.Parsed && (r.Effects != countersign.Unknown || len(r.Statements) > 0) {
		t.Errorf("not parsed, and %s", r.Effects)
	}
	if r.Parsed && r.Empty != (len(r.Statements) == 0) {
		t.Errorf("empty %v of %d statements", r.Empty, len(r.Statements))
	}
	var union countersign.Effects
	end := 0
	for _, st := range r.Statements {
		union |= st.Effects
		if st.Effects == 0 {
			t.Error("a statement without effects")
		}
		if st.Start < end || st.End < st.Start || st.End > len(text) {
			t.Errorf("statement at %d to %d after %d", st.Start, st.End, end)
		}
		end = st.End
		if st.Effects.Privileged() && st.Facts.CatalogOnly {
			t.Errorf("catalog only, and %s", st.Effects)
		}
	}
	if len(r.Statements) > 0 && union != r.Effects {
		t.Errorf("statements do %s, the text %s", union, r.Effects)
	}
	end = 0
	for _, c := range r.Credentials {
		if c.Start < end || c.End <= c.Start || c.End > len(text) {
			t.Errorf("credential at %d to %d after %d", c.Start, c.End, end)
		}
		end = c.End
	}
}

func BenchmarkClassify(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"select", "SELECT abalance FROM pgbench_accounts WHERE aid = 12345"},
		{"begin", "BEGIN"},
		{"update", "UPDATE pgbench_accounts SET abalance = abalance + 5 WHERE aid = 12345"},
		{"join", "SELECT c.name, sum(o.total) FROM customers c JOIN orders o ON o.customer = c.id WHERE o.day > now() - interval '30 days' GROUP BY c.name ORDER BY 2 DESC LIMIT 10"},
		{"catalog", `SELECT n.nspname, c.relname, CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' END, pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r','p','v','m','S','f','') AND n.nspname <> 'pg_catalog' AND n.nspname !~ '^pg_toast' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2`},
	} {
		b.Run(c.name+"/cold", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Classify(c.text, normal, nil)
			}
		})
		b.Run(c.name+"/cached", func(b *testing.B) {
			k := NewClassifier(nil, 1<<20)
			text := []byte(c.text)
			b.ReportAllocs()
			for b.Loop() {
				k.Classify(text, normal)
			}
		})
	}
}
