package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/classify/sql"
	"github.com/countersign-dev/countersign/policy"
	"github.com/countersign-dev/countersign/sanitize"
)

// texts are statements of the sizes that applications send, and a number in each that changes from one to
// the next where values are written into the text.
var texts = []struct{ name, text, number string }{
	{"SELECT by key", "SELECT abalance FROM pgbench_accounts WHERE aid = 4711", "4711"},
	{"join of three tables", `SELECT o.id, o.total, c.name, count(*) AS items FROM orders o JOIN customers c ON c.id = o.customer_id
		JOIN items i ON i.order_id = o.id WHERE o.placed > now() - interval '7 days' AND c.city = ANY ($1)
		GROUP BY o.id, c.name HAVING count(*) > 2 ORDER BY o.total DESC LIMIT 50`, "50"},
	{"UPDATE with CTE", `WITH late AS (SELECT id FROM orders WHERE status = 'paid' AND placed < now() - interval '3 days')
		UPDATE orders SET status = 'late' WHERE id IN (SELECT id FROM late) RETURNING id`, "3"},
	{"INSERT of 1,000 rows", "INSERT INTO orders (id, total, status) VALUES " + strings.TrimSuffix(strings.Repeat("(1, 19.99, 'paid'), ", 1000), ", "), "19"},
}

// decide measures what the gateway thinks about before an action runs.
func (b *bench) decide(ctx context.Context) error {
	settings := sql.Settings{StandardConformingStrings: true, UTF8: true}
	cached := sql.NewClassifier(nil, 64<<20)
	var rows [][]string
	for _, t := range texts {
		if _, err := pgquery.Parse(t.text); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		raw := []byte(t.text)
		parse := b.each(ctx, func() { _, _ = pgquery.Parse(t.text) })
		cold := b.each(ctx, func() { sql.Classify(t.text, settings, nil) })
		warm := b.each(ctx, func() { cached.Classify(raw, settings) })
		others := make([][]byte, 1000)
		for i := range others {
			others[i] = []byte(strings.Replace(t.text, t.number, strconv.Itoa(10_000+i), 1))
		}
		next := 0
		other := b.each(ctx, func() {
			cached.Classify(others[next%len(others)], settings)
			next++
		})
		rows = append(rows, []string{t.name, nanoseconds(parse), nanoseconds(cold), number(float64(cold)/float64(parse), 2), nanoseconds(warm), nanoseconds(other)})
	}
	b.table("Classifier", "Nanoseconds a statement. The reference is pg_query's parse of the same text, without any judgement. The last column is of texts that are the same but for one number.",
		[]string{"statement", "parse alone", "cold", "× parse", "cached", "other number"}, rows)
	return b.policies(ctx)
}

// policies measures decisions with as many rules as a team has, and as many as a company.
func (b *bench) policies(ctx context.Context) error {
	principal := &countersign.Principal{Kind: countersign.KindAgent, Agent: "deploy-bot", Groups: []countersign.Group{"team-3"}, Chain: []countersign.PersonID{"ana"}, Owners: []countersign.PersonID{"ana"}}
	input := policy.Input{
		Principal: principal, Effects: countersign.Read | countersign.Write, Facts: &countersign.Facts{Statements: 1},
		Objects:  []countersign.Object{{Kind: "table", Name: sanitize.Name("public.orders"), Effects: countersign.Write}},
		Resource: resource(0),
	}
	var rows [][]string
	for _, rules := range []int{5, 50, 500} {
		set, err := policy.Load([]policy.File{{Name: "bench.yaml", Data: []byte(rulesText(rules))}}, policy.Features{})
		if err != nil {
			return err
		}
		warm := b.each(ctx, func() { set.Decide(input) })
		// A resource that was never decided about has no index of its rules yet.
		n := pick(b, 200, 20)
		resources := make([]policy.Input, n)
		for i := range resources {
			resources[i] = input
			resources[i].Resource = resource(i + 1)
		}
		start := time.Now()
		for i := range resources {
			set.Decide(resources[i])
		}
		cold := time.Since(start) / time.Duration(n)
		rows = append(rows, []string{fmt.Sprintf("%d rules, every second with a condition", rules), nanoseconds(cold), nanoseconds(warm)})
	}
	b.table("Policy", "Nanoseconds a decision: the first about a resource, and every other.", []string{"rules", "cold", "warm"}, rows)
	return nil
}

func resource(i int) *countersign.Resource {
	return &countersign.Resource{
		Name: countersign.ResourceName(fmt.Sprintf("shop-%d", i)), Kind: "postgres",
		Labels: map[string]string{"env": "prod"}, Reviewers: []countersign.Group{"dba"},
	}
}

func rulesText(n int) string {
	var t strings.Builder
	t.WriteString("version: 1\nrules:\n")
	for i := range n {
		fmt.Fprintf(&t, "  - name: rule-%d\n    match: {principal: {groups: [team-%d]}, resource: {env: prod}, any_effect: [write, delete]}\n", i, i%5)
		if i%2 == 0 {
			t.WriteString("    when: 'facts.unbounded || size(principal.chain) > 3'\n")
		}
		t.WriteString("    then: {review: [{count: 1, groups: [resource.reviewers]}]}\n")
	}
	return t.String()
}

// each returns the time of one call of f, once it has been called for long enough to tell.
func (b *bench) each(ctx context.Context, f func()) time.Duration {
	long := pick(b, 500*time.Millisecond, 50*time.Millisecond)
	f()
	for n := 1; ; n *= 2 {
		start := time.Now()
		for range n {
			f()
		}
		if took := time.Since(start); took > long || ctx.Err() != nil {
			return took / time.Duration(n)
		}
	}
}

func nanoseconds(d time.Duration) string { return fmt.Sprint(d.Nanoseconds()) }
