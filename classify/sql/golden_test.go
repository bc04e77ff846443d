package sql

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/countersign-dev/countersign"
)

// normal is how a client's session begins.
var normal = Settings{StandardConformingStrings: true, UTF8: true}

// golden is one line of testdata/statements.txt.
type golden struct {
	line    int
	effects countersign.Effects
	facts   string
	text    string
}

func readGolden(t testing.TB) []golden {
	t.Helper()
	data, err := os.ReadFile("testdata/statements.txt")
	if err != nil {
		t.Fatal(err)
	}
	var list []golden
	for i, line := range strings.Split(string(data), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		head, text, ok := strings.Cut(line, " | ")
		if !ok {
			t.Fatalf("line %d: no |", i+1)
		}
		if strings.HasPrefix(text, `"`) {
			if text, err = strconv.Unquote(text); err != nil {
				t.Fatalf("line %d: %v", i+1, err)
			}
		}
		fields := strings.Fields(head)
		g := golden{line: i + 1, text: text, facts: strings.Join(fields[1:], " ")}
		for _, name := range strings.Split(fields[0], ",") {
			e, err := countersign.ParseEffect(name)
			if err != nil {
				t.Fatalf("line %d: %v", i+1, err)
			}
			g.effects |= e
		}
		list = append(list, g)
	}
	return list
}

func describeFacts(f countersign.Facts) string {
	var list []string
	if f.CatalogOnly {
		list = append(list, "catalog")
	}
	if f.Unbounded {
		list = append(list, "unbounded")
	}
	if f.RowsKnown {
		list = append(list, fmt.Sprintf("rows=%d", f.Rows))
	}
	return strings.Join(list, " ")
}

func TestStatements(t *testing.T) {
	list := readGolden(t)
	if len(list) < 400 {
		t.Errorf("%d statements; want at least 400", len(list))
	}
	for _, g := range list {
		r := Classify(g.text, normal, nil)
		if r.Effects != g.effects || describeFacts(r.Facts) != g.facts {
			t.Errorf("line %d: %s\n got %s %s\nwant %s %s\nwhy %v", g.line, g.text, r.Effects, describeFacts(r.Facts), g.effects, g.facts, r.Why)
		}
		if len(r.Why) == 0 {
			t.Errorf("line %d: %s: no evidence", g.line, g.text)
		}
		var evident countersign.Effects
		for _, ev := range r.Why {
			evident |= ev.Effect
		}
		if evident != r.Effects {
			t.Errorf("line %d: %s: evidence for %s, effects are %s", g.line, g.text, evident, r.Effects)
		}
	}
}
