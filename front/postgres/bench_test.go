package postgres

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/countersign-dev/countersign/benchtest"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/localpg/pgtest"
)

// quickStore answers for events at once, so that what is measured is the front and the gate.
type quickStore struct{ gate.Store }

func (s quickStore) Commit(ctx context.Context, c gate.Change, done func(gate.Receipt, error)) error {
	if c.Policy != nil || c.Directory != nil || c.Insert != nil || c.Update != nil {
		return s.Store.Commit(ctx, c, done)
	}
	done(gate.Receipt{}, nil)
	return nil
}

// BenchmarkPgbench runs pgbench's select-only script with eight clients through the front, before a real server.
// The processor time is this process's, for each query.
func BenchmarkPgbench(b *testing.B) {
	for _, c := range []struct {
		name string
		gate func(*gate.Options)
	}{
		{"front", func(o *gate.Options) { o.Store = quickStore{o.Store} }},
		{"front+store", nil},
	} {
		for _, mode := range []string{"simple", "prepared"} {
			b.Run(c.name+"/"+mode, func(b *testing.B) { benchmarkPgbench(b, mode, c.gate) })
		}
	}
}

func benchmarkPgbench(b *testing.B, mode string, change func(*gate.Options)) {
	r := newRig(b, rigOptions{gate: change, setup: []string{
		"CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84))",
		"INSERT INTO pgbench_accounts SELECT i, 1, 0, '' FROM generate_series(1, 100000) i",
		"CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88))",
		"INSERT INTO pgbench_branches VALUES (1, 0, '')",
		"VACUUM ANALYZE pgbench_accounts",
	}})
	host, port, _ := net.SplitHostPort(r.addr)
	const clients = 8
	run := func(each int) {
		cmd := exec.Command(pgtest.Server(b).Install.Tool("pgbench"), "-n", "-S", "-M", mode, "-c", strconv.Itoa(clients),
			"-t", strconv.Itoa(each), fmt.Sprintf("host=%s port=%s dbname=shop user=someone sslmode=disable", host, port))
		cmd.Env = append(os.Environ(), "PGPASSWORD="+agentToken)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("pgbench: %v\n%s", err, out)
		}
	}
	run(10)
	b.ReportAllocs()
	b.ResetTimer()
	before := benchtest.ProcessorTime(b)
	each := max(1, b.N/clients)
	run(each)
	b.ReportMetric(float64((benchtest.ProcessorTime(b)-before).Nanoseconds())/1e3/float64(each*clients), "cpu-µs/op")
}
