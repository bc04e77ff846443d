package sql

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/countersign-dev/countersign"
)

// deep makes texts that nest n times, each in another way. Without limits some of them end the process.
var deep = map[string]func(n int) string{
	"parentheses": func(n int) string { return "SELECT " + strings.Repeat("(", n) + "1" + strings.Repeat(")", n) },
	"subqueries":  func(n int) string { return strings.Repeat("SELECT (", n) + "1" + strings.Repeat(")", n) },
	"from": func(n int) string {
		return strings.Repeat("SELECT * FROM (", n) + "SELECT 1" + strings.Repeat(") x", n)
	},
	"exists": func(n int) string { return strings.Repeat("SELECT EXISTS (", n) + "SELECT 1" + strings.Repeat(")", n) },
	"with": func(n int) string {
		return strings.Repeat("WITH x AS (", n) + "SELECT 1" + strings.Repeat(") SELECT 1", n)
	},
	"plus":    func(n int) string { return "SELECT 1" + strings.Repeat("+1", n) },
	"concat":  func(n int) string { return "SELECT ''" + strings.Repeat("||''", n) },
	"minus":   func(n int) string { return "SELECT " + strings.Repeat("- ", n) + "1" },
	"not":     func(n int) string { return "SELECT " + strings.Repeat("NOT ", n) + "true" },
	"not and": func(n int) string { return "SELECT " + strings.Repeat("NOT a AND ", n) + "true" },
	"casts":   func(n int) string { return "SELECT 1" + strings.Repeat("::int", n) },
	"collate": func(n int) string { return "SELECT a" + strings.Repeat(` COLLATE "C"`, n) },
	"at time zone": func(n int) string {
		return "SELECT a" + strings.Repeat(" AT TIME ZONE 'UTC'", n)
	},
	"union":       func(n int) string { return "SELECT 1, 2" + strings.Repeat(" UNION ALL SELECT 1, 2", n) },
	"values":      func(n int) string { return "VALUES (1)" + strings.Repeat(" UNION VALUES (1)", n) },
	"joins":       func(n int) string { return "SELECT 1 FROM a" + strings.Repeat(" CROSS JOIN a", n) },
	"joins on":    func(n int) string { return "SELECT 1 FROM a" + strings.Repeat(" JOIN b ON a.x = b.x AND a.y = b.y", n) },
	"joins using": func(n int) string { return "SELECT 1 FROM a" + strings.Repeat(" JOIN b USING (c, d)", n) },
	"arrays":      func(n int) string { return "SELECT ARRAY" + strings.Repeat("[", n) + "1" + strings.Repeat("]", n) },
	"calls":       func(n int) string { return "SELECT " + strings.Repeat("abs(", n) + "1" + strings.Repeat(")", n) },
	"rows":        func(n int) string { return "SELECT " + strings.Repeat("ROW(", n) + "1" + strings.Repeat(")", n) },
	"case": func(n int) string {
		return "SELECT " + strings.Repeat("CASE WHEN ", n) + "true" + strings.Repeat(" THEN 1 END", n)
	},
	"case else": func(n int) string {
		return "SELECT " + strings.Repeat("CASE WHEN a THEN 1 ELSE ", n) + "1" + strings.Repeat(" END", n)
	},
	"case plus": func(n int) string { return "SELECT 1" + strings.Repeat(" + CASE WHEN a THEN b ELSE c END", n) },
	"between not": func(n int) string {
		return "SELECT " + strings.Repeat("1 BETWEEN 1 AND NOT ", n) + "true"
	},
	"between is": func(n int) string {
		return "SELECT x" + strings.Repeat(" IS NULL BETWEEN a AND b", n)
	},
	"indirection": func(n int) string { return "SELECT " + strings.Repeat("(", n) + "a" + strings.Repeat(").b", n) },
	"grouping": func(n int) string {
		return "SELECT 1 GROUP BY " + strings.Repeat("GROUPING SETS (", n) + "a" + strings.Repeat(")", n)
	},
	"in lists": func(n int) string { return "SELECT " + strings.Repeat("a IN (1, ", n) + "1" + strings.Repeat(")", n) },
	"labels":   func(n int) string { return "SELECT 1 AS case" + strings.Repeat(" UNION SELECT 1 AS case", n) },
	"end labels": func(n int) string {
		return "SELECT CASE WHEN t.end THEN 1 END" + strings.Repeat(" + CASE WHEN t.end THEN 1 END", n)
	},
	"comments":   func(n int) string { return strings.Repeat("/*", n) + strings.Repeat("*/", n) + "SELECT 1" },
	"pluses":     func(n int) string { return "SELECT " + strings.Repeat("+", n) + "1" },
	"tildes":     func(n int) string { return "SELECT " + strings.Repeat("~-", n) + "1" },
	"semicolons": func(n int) string { return strings.Repeat(";", n) + "SELECT 1" },
	"and":        func(n int) string { return "SELECT true" + strings.Repeat(" AND a", n) },
	"ands and ors": func(n int) string {
		return "SELECT 1 WHERE true" + strings.Repeat(" OR a = 1 AND b BETWEEN 1 AND 2", n)
	},
	"prepare": func(n int) string { return strings.Repeat("PREPARE p AS ", n) + "SELECT 1" },
	"explain": func(n int) string { return strings.Repeat("EXPLAIN ", n) + "SELECT 1" },
	"xml": func(n int) string {
		return "SELECT " + strings.Repeat("xmlelement(name a, ", n) + "1" + strings.Repeat(")", n)
	},
	"commas": func(n int) string { return "SELECT 1" + strings.Repeat(",1", n) },
	"windows": func(n int) string {
		return "SELECT " + strings.Repeat("sum(1) OVER (ORDER BY ", n) + "1" + strings.Repeat(")", n)
	},
	"operators":  func(n int) string { return "SELECT 1" + strings.Repeat(" OPERATOR(pg_catalog.+) 1", n) },
	"subscripts": func(n int) string { return "SELECT " + strings.Repeat("a[", n) + "1" + strings.Repeat("]", n) },
	"types":      func(n int) string { return "SELECT NULL::int" + strings.Repeat("[]", n) },
	"names":      func(n int) string { return "SELECT a" + strings.Repeat(".a", n) },
	"function bodies": func(n int) string {
		return "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC " + strings.Repeat("SELECT 1 + 1; ", n) + "END"
	},
}

// No text, however deep, ends the process: it is understood or Unknown.
func TestDeepTexts(t *testing.T) {
	refused := []string{"prepare", "explain", "tildes", "comments"} // at any depth
	deepest := []string{"parentheses", "subqueries", "and", "plus", "not"}
	for name, text := range deep {
		depths := []int{100, MaxDepth + 200}
		if slices.Contains(deepest, name) || os.Getenv("COUNTERSIGN_LONG") != "" {
			depths = append(depths, 100_000)
		}
		for _, n := range depths {
			r := Classify(text(n), normal, nil)
			if r.Parsed == (r.Effects == countersign.Unknown && len(r.Statements) == 0) {
				t.Errorf("%s of %d: parsed %v, %s", name, n, r.Parsed, r.Effects)
			}
			if n == 100 && !r.Parsed && !slices.Contains(refused, name) {
				t.Errorf("%s of %d is refused: %v", name, n, r.Why)
			}
			if r.Parsed && r.Effects.Has(countersign.Unknown) {
				t.Errorf("%s of %d: %v", name, n, r.Why)
			}
		}
	}
}

// What real applications send, wide rather than deep, is not refused.
func TestWideTexts(t *testing.T) {
	wide := map[string]string{
		"1,000-row insert": "INSERT INTO t (a, b, c, d, e) VALUES (1, 'a', now(), NULL, 2.5)" + strings.Repeat(", (1, 'a', now(), NULL, 2.5)", 999),
		"long OR chain":    "SELECT * FROM t WHERE (a = 1 AND b = 2)" + strings.Repeat(" OR (a = 1 AND b = 2)", 3000),
		"long AND chain":   "SELECT * FROM t WHERE a = 1" + strings.Repeat(" AND b <> 'x'", 3000),
		"long IN list":     "SELECT * FROM t WHERE a IN (1" + strings.Repeat(", 2", 20_000) + ")",
		"many WHENs":       "SELECT CASE" + strings.Repeat(" WHEN a = 1 THEN 'x'", 3000) + " END FROM t",
		"many columns":     "SELECT a" + strings.Repeat(", b AS c", 1600) + " FROM t",
		"many unions":      "SELECT a, b FROM t WHERE x = 1" + strings.Repeat(" UNION ALL SELECT a, b FROM t WHERE x = 1", 300),
		"many statements":  strings.Repeat("UPDATE t SET a = 1, b = 2 WHERE id = 3;", 3000),
		"between":          "SELECT 1 WHERE a BETWEEN 1 AND 2" + strings.Repeat(" OR a BETWEEN 1 AND 2", 400),
		"dump":             strings.Repeat("CREATE TABLE t (id int NOT NULL, a text DEFAULT 'x'::text, CONSTRAINT c CHECK (a <> ''));\n", 500),
	}
	for name, text := range wide {
		r := Classify(text, normal, nil)
		if !r.Parsed || r.Effects.Has(countersign.Unknown) {
			t.Errorf("%s: %v", name, r.Why)
		}
	}
}

// nesting is an upper bound of the depth of the tree that the parser makes. It may count a few levels
// too little where a chain ends, which the factor between MaxDepth and what the C stack holds covers.
func TestNestingBoundsDepth(t *testing.T) {
	check := func(text string) {
		t.Helper()
		tree, err := pg.Parse(text)
		if err != nil {
			return
		}
		scan, err := pg.Scan(text)
		if err != nil {
			t.Fatal(err)
		}
		depth := treeDepth(tree.ProtoReflect())
		// A level is a Node and what it holds; the text's, the statement's and the clause's own come on top.
		if bound := 2*3*nesting(scan.Tokens) + 20; depth > bound {
			t.Errorf("depth %d, bound %d: %.200s", depth, bound, text)
		}
	}
	for _, text := range deep {
		for _, n := range []int{1, 10, 100} {
			check(text(n))
		}
	}
	for _, g := range readGolden(t) {
		if strings.IndexByte(g.text, 0) < 0 {
			check(g.text)
		}
	}
	rounds := 1_000
	if os.Getenv("COUNTERSIGN_LONG") != "" {
		rounds = 60_000
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range rounds {
		check("SELECT " + randomExpression(r, 40))
	}
}

// randomExpression returns an expression of about size pieces.
func randomExpression(r *rand.Rand, size int) string {
	if size <= 1 {
		return []string{"1", "a", "t.end", "t.case", "'x'", "NULL", "a.b"}[r.IntN(7)]
	}
	part := func(n int) string { return randomExpression(r, n) }
	half := size / 2
	switch r.IntN(18) {
	case 0:
		return part(size-1) + " + " + part(1)
	case 1:
		return part(half) + " AND " + part(half)
	case 2:
		return part(half) + " OR " + part(half)
	case 3:
		return "NOT " + part(size-1)
	case 4:
		return part(half) + " BETWEEN " + part(1) + " AND " + part(half)
	case 5:
		return "CASE WHEN " + part(half) + " THEN " + part(half) + " ELSE " + part(1) + " END"
	case 6:
		return "(" + part(size-1) + ")"
	case 7:
		return "f(" + part(half) + ", " + part(half) + ")"
	case 8:
		return part(size-1) + "::int"
	case 9:
		return "(SELECT " + part(half) + ", " + part(1) + " UNION SELECT " + part(half) + ", 2)"
	case 10:
		return "ARRAY[" + part(half) + ", " + part(half) + "]"
	case 11:
		return part(size-1) + " IS NULL"
	case 12:
		return part(half) + " IN (" + part(half) + ", 1)"
	case 13:
		return "- " + part(size-1)
	case 14:
		return part(half) + " IS DISTINCT FROM " + part(half)
	case 15:
		return part(size-1) + ` COLLATE "C"`
	case 16:
		return part(half) + " || " + part(half)
	}
	return "(SELECT 1 FROM a JOIN b ON " + part(half) + " JOIN c ON " + part(half) + ")"
}

func treeDepth(m protoreflect.Message) int {
	deepest := 0
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				deepest = max(deepest, treeDepth(v.List().Get(i).Message()))
			}
		default:
			deepest = max(deepest, treeDepth(v.Message()))
		}
		return true
	})
	return deepest + 1
}

// Each limit refuses by name, without the text in its words.
func TestLimits(t *testing.T) {
	secret := "SELECT 'hunter2'"
	for name, c := range map[string]struct {
		text     string
		settings Settings
		why      string
	}{
		"length":     {secret + strings.Repeat(" ", MaxBytes), normal, "the text is longer than 1048576 bytes"},
		"NUL":        {secret + "\x00; DROP TABLE t", normal, "the text contains a NUL byte"},
		"encoding":   {secret, Settings{StandardConformingStrings: true}, "the session's client_encoding is not UTF8"},
		"strings":    {secret, Settings{UTF8: true}, "the session's standard_conforming_strings is off"},
		"UTF-8":      {secret + "\xc3\x28", normal, "the text is not valid UTF-8"},
		"overlong":   {secret + "\xc0\xa7", normal, "the text is not valid UTF-8"},
		"tokens":     {secret + strings.Repeat(",1", MaxTokens/2), normal, "the text has more than 200000 tokens"},
		"depth":      {secret + strings.Repeat("||1", MaxDepth), normal, "the text may be nested more than 1000 levels deep"},
		"statements": {strings.Repeat("BEGIN;", MaxStatements+1), normal, "the text has more than 10000 statements"},
		"operators":  {secret + strings.Repeat("+", MaxOperatorRun+1) + "1", normal, "the text has more than 256 operator characters in a row"},
		"syntax":     {secret + " FROM", normal, "the text has a syntax error, or its grammar is newer than PostgreSQL 17's"},
		"lexical":    {secret + strings.Repeat(",1", MaxDepth) + " || 'x", normal, "the text has a lexical error"},
	} {
		r := Classify(c.text, c.settings, nil)
		if r.Parsed || r.Effects != countersign.Unknown || len(r.Why) != 1 || r.Why[0].Why.String() != c.why || len(r.Statements) > 0 || r.Shape != "" {
			t.Errorf("%s: parsed %v, %s, %v", name, r.Parsed, r.Effects, r.Why)
		}
	}
	var many strings.Builder
	for i := range MaxObjects + 1 {
		fmt.Fprintf(&many, ", t%d", i)
	}
	if r := Classify("SELECT 1 FROM "+many.String()[2:], normal, nil); !r.Effects.Has(countersign.Unknown) {
		t.Errorf("a statement of %d tables is %s", MaxObjects+1, r.Effects)
	}
}
