package policy_test

import (
	"testing"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/policy"
)

// Which schema a name without one means depends on the session: a deny or review that names a table holds for
// every spelling that may mean it, an allow for its own spelling only.
func TestObjectsHoldForEverySpelling(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		stricter      bool
		allow         bool
	}{
		{"salaries", "salaries", true, true},
		{"salaries", "public.salaries", true, false},
		{"public.salaries", "salaries", true, false},
		{"public.salaries", "hr.salaries", false, false},
		{"public.salaries", "salaries_old", false, false},
		{"audit.*", "audit.log", true, true},
		{"audit.*", "log", true, false},
		{"audit.*", "public.log", false, false},
	} {
		read := policy.Input{
			Principal: &countersign.Principal{Kind: countersign.KindAgent, Agent: "bot"},
			Resource:  &countersign.Resource{Name: "shop", Kind: "postgres"},
			Effects:   countersign.Read, Objects: objects(c.name), Facts: &countersign.Facts{},
		}
		load := func(text string) *policy.Set {
			set, err := policy.Load([]policy.File{{Name: "p.yaml", Data: []byte(text)}}, policy.Features{})
			if err != nil {
				t.Fatal(err)
			}
			return set
		}
		all := "  - name: all\n    match: {principal: {anyone: true}, effects: [read]}\n    then: {allow: true}\n"
		deny := load("version: 1\nrules:\n" + all + "  - name: no\n    match: {objects: [\"" + c.pattern + "\"]}\n    then: {deny: true, reason: no}\n")
		if got := deny.Decide(read).Verdict == countersign.Deny; got != c.stricter {
			t.Errorf("deny %s meets %s: %v", c.pattern, c.name, got)
		}
		allow := load("version: 1\nrules:\n  - name: some\n    match: {principal: {anyone: true}, effects: [read], objects: [\"" + c.pattern + "\"]}\n    then: {allow: true}\n")
		if got := allow.Decide(read).Verdict == countersign.Allow; got != c.allow {
			t.Errorf("allow %s meets %s: %v", c.pattern, c.name, got)
		}
	}
}
