package sanitize_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/countersign-dev/countersign/sanitize"
)

// auditLines are JSON audit lines of a few hundred bytes; one in every nth has secrets.
func auditLines(n, every int) []string {
	out := make([]string, n)
	for i := range out {
		note := "plain text of a note"
		if every > 0 && i%every == 0 {
			note = "mail alice" + fmt.Sprint(i) + "@example.com password=" + fake(12)
		}
		out[i] = fmt.Sprintf(`{"time":"2024-01-15T09:30:%02d.%06dZ","level":"info","event":"action.outcome","id":"018d0c3e-7d3a-7b1c-9f00-%012x","principal":"agent:deploy-bot","resource":"shop","text":"SELECT o.id, o.total FROM orders o WHERE o.customer_id = %d AND o.state = 'open' ORDER BY o.created_at","effects":["read"],"digest":"%064x","rows":%d,"duration_ms":%d.%03d,"note":"%s"}`,
			i%60, i, i, i, i*7919, i%500, i%90, i%1000, note)
	}
	return out
}

func bench(b *testing.B, texts []string, f func(string)) {
	size := 0
	for _, t := range texts {
		size += len(t)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	start := cpuTime(syscall.RUSAGE_SELF)
	for b.Loop() {
		for _, t := range texts {
			f(t)
		}
	}
	// The rate per second of processor time, which a busy machine does not change.
	b.ReportMetric(float64(size)*float64(b.N)/1e6/(cpuTime(syscall.RUSAGE_SELF)-start).Seconds(), "MB/cpu-s")
}

func BenchmarkTextJSONClean(b *testing.B) {
	bench(b, auditLines(1000, 0), func(t string) { keyed.Text(t) })
}

func BenchmarkTextJSONSecrets(b *testing.B) {
	bench(b, auditLines(1000, 50), func(t string) { keyed.Text(t) })
}

func BenchmarkTextLog(b *testing.B) {
	line := "2024-01-15 09:30:00.123 UTC [4711] app@shop LOG:  duration: 12.345 ms  statement: SELECT count(*) FROM orders WHERE state = 'open' AND created_at > now() - interval '1 day'"
	bench(b, []string{line}, func(t string) { keyed.Text(t) })
}

func BenchmarkSQL(b *testing.B) {
	data, err := os.ReadFile("testdata/sql/statements.sql")
	if err != nil {
		b.Fatal(err)
	}
	bench(b, strings.Split(string(data), ";\n"), func(t string) { keyed.SQL(t, nil) })
}

const selectStatement = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;"

func BenchmarkSQLSelect(b *testing.B) {
	bench(b, []string{selectStatement}, func(t string) { keyed.SQL(t, nil) })
}

// ormStatements are what object mappers send: a page of a list, a row by its key with what belongs to it, an insert.
var ormStatements = map[string]string{
	"page":   `SELECT "orders"."id", "orders"."customer_id", "orders"."state", "orders"."total", "orders"."created_at" FROM "orders" WHERE "orders"."state" = 'open' AND "orders"."created_at" > '2024-01-15 09:30:00.000000' ORDER BY "orders"."created_at" DESC LIMIT 20 OFFSET 40`,
	"join":   `SELECT t0_.id AS id_0, t0_.name AS name_1, t0_.email AS email_2, t0_.status AS status_3, t1_.id AS id_4, t1_.street AS street_5, t1_.city AS city_6, t1_.postal_code AS postal_code_7, t2_.id AS id_8, t2_.total_amount AS total_amount_9, t2_.currency AS currency_10, t2_.placed_at AS placed_at_11 FROM customers t0_ LEFT JOIN addresses t1_ ON t0_.id = t1_.customer_id AND t1_.kind = 'billing' INNER JOIN purchases t2_ ON t0_.id = t2_.customer_id WHERE t0_.tenant_id = 17 AND t0_.status IN ('active', 'trial', 'past_due') AND t2_.placed_at >= '2024-01-01' AND (t2_.total_amount > 100.50 OR t1_.city = 'Wien') ORDER BY t2_.placed_at DESC, t0_.id ASC LIMIT 50 /* controller='customers',action='index',traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' */`,
	"insert": `INSERT INTO "audit_entries" ("account_id", "subject_type", "subject_id", "verb", "payload", "created_at", "updated_at") VALUES (4711, 'Invoice', 99812, 'update', '{"state":["draft","sent"],"due_on":["2024-02-01","2024-03-01"],"lines":3}', '2024-01-15 09:30:00.123456', '2024-01-15 09:30:00.123456') RETURNING "id"`,
}

func BenchmarkSQLORM(b *testing.B) {
	for name, text := range ormStatements {
		b.Run(name, func(b *testing.B) { bench(b, []string{text}, func(t string) { keyed.SQL(t, nil) }) })
	}
}

func BenchmarkInCode(b *testing.B) {
	b.Run("select", func(b *testing.B) { bench(b, []string{selectStatement}, func(t string) { keyed.InCode(t) }) })
	for name, text := range ormStatements {
		b.Run(name, func(b *testing.B) { bench(b, []string{text}, func(t string) { keyed.InCode(t) }) })
	}
}

// BenchmarkValue is a parameter as it is shown.
func BenchmarkValue(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		sink = keyed.Value("", "4711")
	}
}

func BenchmarkSQLInsert1000(b *testing.B) {
	var s strings.Builder
	s.WriteString("INSERT INTO orders (id, customer, state, total, note) VALUES ")
	for i := range 1000 {
		fmt.Fprintf(&s, "(%d, %d, 'open', %d.50, 'note number %d'), ", i, i*7, i, i)
	}
	bench(b, []string{strings.TrimSuffix(s.String(), ", ")}, func(t string) { keyed.SQL(t, nil) })
}

var sink sanitize.Clean

func BenchmarkName(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		sink = sanitize.Name("person:alice@example.com")
	}
}
