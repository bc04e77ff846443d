package sql

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign-dev/countersign"
)

// A remembered result is the one that the function gives, and finding it allocates nothing.
func TestClassifierRemembers(t *testing.T) {
	k := NewClassifier(nil, 32<<20)
	for _, g := range readGolden(t) {
		first := k.Classify([]byte(g.text), normal)
		if diff := cmp.Diff(Classify(g.text, normal, nil), *first, cmp.AllowUnexported(Statement{}), cmp.Comparer(func(a, b countersign.Evidence) bool { return a == b }), cmp.Comparer(func(a, b countersign.Object) bool { return a == b })); diff != "" {
			t.Errorf("%s:\n%s", g.text, diff)
		}
		if strings.Contains(strings.ToUpper(g.text), "EXECUTE ") {
			continue // resolved each time
		}
		if k.Classify([]byte(g.text), normal) != first {
			t.Errorf("%s is not remembered", g.text)
		}
	}
	text := []byte("SELECT * FROM customers WHERE id = $1")
	k.Classify(text, normal)
	if n := testing.AllocsPerRun(100, func() { k.Classify(text, normal) }); n != 0 {
		t.Errorf("a remembered result costs %v allocations", n)
	}
}

// A result is remembered for its settings only.
func TestClassifierKeepsSettingsApart(t *testing.T) {
	k := NewClassifier(nil, 1<<20)
	text := []byte("SELECT lower('x')")
	other := normal
	other.SearchPath = "evil, pg_catalog"
	for range 2 {
		if r := k.Classify(text, normal); r.Effects != countersign.Read {
			t.Errorf("default: %s", r.Effects)
		}
		if r := k.Classify(text, other); !r.Effects.Has(countersign.Execute) {
			t.Errorf("other path: %s", r.Effects)
		}
		if r := k.Classify(text, Settings{UTF8: true}); r.Effects != countersign.Unknown {
			t.Errorf("backslashes: %s", r.Effects)
		}
		if r := k.Classify(text, Settings{StandardConformingStrings: true}); r.Effects != countersign.Unknown {
			t.Errorf("encoding: %s", r.Effects)
		}
	}
}

// What EXECUTE runs is the session's: one session's answer is never another's.
func TestClassifierDoesNotRememberExecute(t *testing.T) {
	k := NewClassifier(nil, 1<<20)
	body := func(text string) func(string) *Statement {
		return func(string) *Statement { return Classify("PREPARE p AS "+text, normal, nil).Statements[0].PrepareBody }
	}
	for _, text := range []string{"EXECUTE p", "EXPLAIN ANALYZE EXECUTE p", "SELECT 1; EXECUTE p", "CREATE TABLE t AS EXECUTE p"} {
		harmless, harmful := normal, normal
		harmless.Prepared, harmful.Prepared = body("SELECT 1"), body("DELETE FROM t")
		k.Classify([]byte(text), harmless)
		if r := k.Classify([]byte(text), harmful); !r.Effects.Has(countersign.Delete) {
			t.Errorf("%s: %s", text, r.Effects)
		}
		if r := k.Classify([]byte(text), normal); !r.Effects.Has(countersign.Unknown) {
			t.Errorf("%s: %s", text, r.Effects)
		}
	}
}

// Memory stays bounded, by bytes and by entries; the results least recently used go first.
func TestClassifierIsBounded(t *testing.T) {
	const maxBytes = 256 << 10
	k := NewClassifier(nil, maxBytes)
	kept := []byte("SELECT 'kept'")
	first := k.Classify(kept, normal)
	for i := range 2000 {
		k.Classify(fmt.Appendf(nil, "SELECT %d FROM t%d", i, i), normal)
		if k.Classify(kept, normal) != first {
			t.Fatalf("what is used all the time was forgotten after %d", i)
		}
	}
	size, entries := 0, 0
	for e := k.newest; e != nil; e = e.older {
		size += e.size
		entries++
	}
	if size > maxBytes || size != k.bytes || entries != len(k.results) || entries < 10 || entries >= 2000 {
		t.Errorf("%d entries of %d bytes; the classifier says %d of %d", entries, size, len(k.results), k.bytes)
	}
	large := []byte("SELECT '" + strings.Repeat("x", maxCachedText) + "'")
	if again := k.Classify(large, normal); k.Classify(large, normal) == again {
		t.Error("a large text is remembered")
	}
	none := NewClassifier(nil, 0)
	if none.Classify(kept, normal); len(none.results) != 0 {
		t.Error("a classifier without memory remembers")
	}
}

func TestClassifierConcurrently(t *testing.T) {
	k := NewClassifier(shop, 64<<10)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 300 {
				n := (i*7 + g) % 60
				r := k.Classify(fmt.Appendf(nil, "SELECT %d FROM customers; DELETE FROM customers WHERE id = %d", n, n), normal)
				if r.Effects != countersign.Read|countersign.Delete || len(r.Statements) != 2 {
					t.Errorf("%s", r.Effects)
				}
			}
		})
	}
	wg.Wait()
}
