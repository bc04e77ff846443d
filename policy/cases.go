package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

const (
	maxTests      = 2000
	emptyTestHint = "write tests: [{name, principal, resource, effects, want}]"
)

// TestCase is one question with the answer that a policy should give.
type TestCase struct {
	Name  string
	File  string
	Line  int
	Input Input
	Want  Want
}

// Want is what a test expects. What is nil or empty is not looked at, but for Verdict.
type Want struct {
	Verdict countersign.Verdict
	Rules   []string // exactly these; not nil and empty: none
	Seats   *int
	Confirm *bool
	Limits  *countersign.Limits
	Reason  string // a part of it
}

// TestResult is how a case came out. Problems is empty when it passed.
type TestResult struct {
	Name        string               `json:"name"`
	File        string               `json:"file"`
	Line        int                  `json:"line"`
	Passed      bool                 `json:"passed"`
	Problems    []string             `json:"problems,omitempty"`
	Decision    countersign.Decision `json:"decision"`
	Explanation *Explanation         `json:"explanation,omitempty"` // of a failed case
}

// String returns the result for a terminal, for a failed case with the explanation.
func (t TestResult) String() string {
	if t.Passed {
		return fmt.Sprintf("ok    %s  (%s)", t.Name, t.Decision.Verdict)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "FAIL  %s  (%s:%d)\n", t.Name, t.File, t.Line)
	for _, p := range t.Problems {
		fmt.Fprintf(&b, "      %s\n", p)
	}
	if t.Explanation != nil {
		for line := range strings.Lines(t.Explanation.String()) {
			b.WriteString(strings.TrimRight("      | "+line, " \n") + "\n")
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// Test decides every case and compares.
func (s *Set) Test(cases []TestCase) []TestResult {
	results := make([]TestResult, len(cases))
	for i, c := range cases {
		r := TestResult{Name: c.Name, File: c.File, Line: c.Line, Decision: s.Decide(c.Input)}
		r.Problems = c.Want.compare(r.Decision)
		r.Passed = len(r.Problems) == 0
		if !r.Passed {
			x := s.Explain(c.Input)
			r.Explanation = &x
		}
		results[i] = r
	}
	return results
}

func (w Want) compare(d countersign.Decision) []string {
	var problems []string
	differs := func(what string, got, want any) {
		problems = append(problems, fmt.Sprintf("%s: got %v, want %v", what, got, want))
	}
	if d.Verdict != w.Verdict {
		differs("verdict", d.Verdict, w.Verdict)
	}
	if w.Rules != nil && !slices.Equal(d.Rules, slices.Sorted(slices.Values(w.Rules))) {
		differs("rules", d.Rules, w.Rules)
	}
	if w.Seats != nil && len(d.Seats) != *w.Seats {
		differs("seats", len(d.Seats), *w.Seats)
	}
	if w.Confirm != nil && d.Confirm != *w.Confirm {
		differs("confirm", d.Confirm, *w.Confirm)
	}
	if w.Limits != nil && d.Limits != *w.Limits {
		differs("limit", cmp.Or(limitsInWords(d.Limits), "none"), limitsInWords(*w.Limits))
	}
	if !strings.Contains(d.Reason, w.Reason) {
		differs("reason", quoted(d.Reason), "one with "+quoted(w.Reason))
	}
	return problems
}

// caseReader reads a file of tests, with the strictness of a policy file.
type caseReader struct{ loader }

// LoadTests reads a file of test cases. Its error is Errors.
func LoadTests(file File) ([]TestCase, error) {
	r := &caseReader{loader{reader: reader{file: file.Name}}}
	cases := r.read(file.Data)
	if len(r.errs) > 0 {
		r.errs.sort()
		return nil, r.errs
	}
	return cases, nil
}

func (r *caseReader) read(data []byte) []TestCase {
	root := r.document(data, emptyTestHint)
	if root == nil {
		return nil
	}
	pairs, ok := r.pairs(root, "the file")
	if !ok {
		return nil
	}
	var list *yaml.Node
	for _, p := range pairs {
		switch p.key {
		case "tests":
			list = p.value
		case "version":
			r.version(p.value)
		default:
			r.unknown(p, "the file", "version", "tests")
		}
	}
	if list == nil {
		r.fail(root, "tests", emptyTestHint, "the file has no tests")
		return nil
	}
	var cases []TestCase
	for _, item := range r.items(list, "tests", maxTests) {
		cases = append(cases, r.readTest(item))
		r.test = ""
	}
	return cases
}

func (r *caseReader) readTest(n *yaml.Node) TestCase {
	c := TestCase{File: r.file, Line: n.Line}
	c.Input.Facts = &countersign.Facts{Statements: 1}
	pairs, ok := r.pairs(n, "test")
	if !ok {
		return c
	}
	at := map[string]*yaml.Node{}
	for _, p := range pairs {
		at[p.key] = p.value
	}
	if at["name"] != nil {
		c.Name, _ = r.text(at["name"], "name", maxTextBytes)
		r.test = c.Name
	}
	for _, p := range pairs {
		if p.key != "name" && !r.testKey(p, &c) {
			r.unknown(p, "the test", "name", "principal", "resource", "effects", "objects", "facts", "shape", "want")
		}
	}
	for _, key := range []string{"name", "principal", "resource", "effects", "want"} {
		if at[key] == nil {
			r.fail(n, key, "add it", "the test has no %s", key)
		}
	}
	return c
}

// testKey reads one key of a test; it reports whether it knows it.
func (r *caseReader) testKey(p pair, c *TestCase) bool {
	switch p.key {
	case "principal":
		c.Input.Principal = r.casePrincipal(p.value)
	case "resource":
		c.Input.Resource = r.caseResource(p.value)
	case "effects":
		c.Input.Effects = r.effects(p.value, "effects")
	case "objects":
		c.Input.Objects = r.caseObjects(p.value)
	case "facts":
		r.caseFacts(p.value, c.Input.Facts)
	case "shape":
		c.Input.Shape, _ = r.text(p.value, "shape", maxNameBytes)
	case "want":
		c.Want = r.want(p.value)
	default:
		return false
	}
	return true
}

func (r *caseReader) casePrincipal(n *yaml.Node) *countersign.Principal {
	p := &countersign.Principal{}
	pairs, ok := r.pairs(n, "principal")
	if !ok {
		return p
	}
	name := ""
	for _, one := range pairs {
		switch one.key {
		case "kind":
			p.Kind = r.kind(one.value)
		case "name":
			name, _ = r.text(one.value, "name", maxNameBytes)
		case "groups":
			p.Groups = typed[countersign.Group](r.texts(one.value, "groups"))
		case "acts_for":
			if person, ok := r.text(one.value, "acts_for", maxNameBytes); ok {
				p.Chain = []countersign.PersonID{countersign.PersonID(person)}
			}
		case "owners":
			p.Owners = typed[countersign.PersonID](r.texts(one.value, "owners"))
		default:
			r.unknown(one, "principal", "kind", "name", "groups", "acts_for", "owners")
		}
	}
	if p.Kind == "" || name == "" {
		r.fail(n, "principal", "write principal: {kind: agent, name: deploy-bot}", "the principal needs a kind and a name")
	}
	if p.Kind == countersign.KindPerson {
		p.Person = countersign.PersonID(name)
		if len(p.Chain)+len(p.Owners) > 0 {
			r.fail(n, "principal", "remove acts_for and owners", "a person acts for himself")
		}
	} else {
		p.Agent = countersign.AgentID(name)
	}
	return p
}

func (r *caseReader) caseResource(n *yaml.Node) *countersign.Resource {
	res := &countersign.Resource{}
	pairs, ok := r.pairs(n, "resource")
	if !ok {
		return res
	}
	for _, p := range pairs {
		switch p.key {
		case "name":
			s, _ := r.text(p.value, "name", maxNameBytes)
			res.Name = countersign.ResourceName(s)
		case "kind":
			res.Kind, _ = r.text(p.value, "kind", maxNameBytes)
		case "labels":
			res.Labels = r.labels(p.value)
		case "owners":
			res.Owners = typed[countersign.Group](r.texts(p.value, "owners"))
		case "reviewers":
			res.Reviewers = typed[countersign.Group](r.texts(p.value, "reviewers"))
		default:
			r.unknown(p, "resource", "name", "kind", "labels", "owners", "reviewers")
		}
	}
	if res.Name == "" || res.Kind == "" {
		r.fail(n, "resource", "write resource: {name: shop, kind: postgres}", "the resource needs a name and a kind")
	}
	return res
}

func (r *caseReader) labels(n *yaml.Node) map[string]string {
	labels := map[string]string{}
	pairs, _ := r.pairs(n, "labels")
	for _, p := range pairs {
		if s, ok := r.text(p.value, p.key, maxNameBytes); ok {
			labels[p.key] = s
		}
	}
	return labels
}

func (r *caseReader) caseObjects(n *yaml.Node) []countersign.Object {
	var list []countersign.Object
	for _, name := range r.texts(n, "objects") {
		list = append(list, countersign.Object{Kind: "table", Name: sanitize.Name(name)})
	}
	return list
}

func (r *caseReader) caseFacts(n *yaml.Node, f *countersign.Facts) {
	pairs, ok := r.pairs(n, "facts")
	if !ok {
		return
	}
	flags := map[string]*bool{
		"unbounded": &f.Unbounded, "catalog_only": &f.CatalogOnly, "in_transaction": &f.InTransaction, "data_unseen": &f.DataUnseen,
	}
	for _, p := range pairs {
		switch flag := flags[p.key]; {
		case flag != nil:
			*flag = r.boolean(p.value, p.key)
		case p.key == "rows":
			f.Rows, f.RowsKnown = r.integer(p.value, "rows", 0, maxLimit), true
		case p.key == "statements":
			f.Statements = int(r.integer(p.value, "statements", 1, 1<<20))
		default:
			r.unknown(p, "facts", "rows (when the number is exact)", "unbounded", "catalog_only", "in_transaction", "data_unseen", "statements")
		}
	}
}

func (r *caseReader) want(n *yaml.Node) Want {
	var w Want
	pairs, ok := r.pairs(n, "want")
	if !ok {
		return w
	}
	for _, p := range pairs {
		switch p.key {
		case "verdict":
			w.Verdict = r.wantVerdict(p.value)
		case "rules":
			w.Rules = []string{}
			if p.value.Kind != yaml.SequenceNode || len(p.value.Content) > 0 {
				w.Rules = r.texts(p.value, "rules")
			}
		case "seats":
			seats := int(r.integer(p.value, "seats", 0, MaxSeats))
			w.Seats = &seats
		case "confirm":
			confirm := r.boolean(p.value, "confirm")
			w.Confirm = &confirm
		case "limit":
			limits := r.limits(p.value)
			w.Limits = &limits
		case "reason":
			w.Reason, _ = r.text(p.value, "reason", maxTextBytes)
		default:
			r.unknown(p, "want", "verdict", "rules", "seats", "confirm", "limit", "reason")
		}
	}
	if w.Verdict == "" {
		r.fail(n, "verdict", "add verdict: allow, confirm, review or deny", "the test expects no verdict")
	}
	return w
}

func (r *caseReader) wantVerdict(n *yaml.Node) countersign.Verdict {
	s, ok := r.text(n, "verdict", maxNameBytes)
	switch v := countersign.Verdict(s); v {
	case countersign.Allow, countersign.Confirm, countersign.Review, countersign.Deny:
		return v
	}
	if ok {
		r.fail(n, "verdict", "write allow, confirm, review or deny", "no verdict is named %s", quoted(s))
	}
	return countersign.Deny
}
