package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/classify/sql"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/gatetest"
	"github.com/countersign-dev/countersign/localpg"
	"github.com/countersign-dev/countersign/localpg/pgtest"
	"github.com/countersign-dev/countersign/sanitize"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// openPolicy lets the agent read and change, holds what deletes, leaves or cannot be understood, and denies what destroys.
const openPolicy = `version: 1
rules:
  - name: workers
    match: {principal: {anyone: true}, resource: {env: prod}, effects: [read, session, write, schema]}
    then: {allow: true}
  - name: deletes
    match: {resource: {env: prod}, any_effect: [delete, export, unknown, execute, secret]}
    then: {review: [{count: 1, groups: [dba]}]}
  - name: destroys
    match: {any_effect: [destroy]}
    then: {deny: true, reason: "nothing is destroyed through here"}
`

const (
	agentToken = "csg_agent"
	anaToken   = "csg_ana"
)

// rig is a front before a real server, with a real gate.
type rig struct {
	*gatetest.World
	t        testing.TB
	front    *Front
	addr     string
	database string
	role     string
	direct   string // the server itself, as a URL
}

type rigOptions struct {
	policy   string
	limits   Limits
	tls      *tls.Config
	setup    []string
	log      bool
	upstream func(addr, database string) string
	gate     func(*gate.Options)
	server   *localpg.Server // of the test's own, used by its superuser
}

// rigs numbers the roles of rigs.
var rigs atomic.Int64

const rolePassword = "upstream-only-secret"

func newRig(t testing.TB, o rigOptions) *rig {
	t.Helper()
	server, role, password, db := o.server, "", rolePassword, "postgres"
	setup := append([]string{
		"CREATE TABLE items (id int PRIMARY KEY, name text)",
		"INSERT INTO items SELECT i, 'item ' || i FROM generate_series(1, 1000) i",
		"CREATE TABLE log (line text)",
	}, o.setup...)
	if server == nil {
		// A role with a schema of its own in one database is made much faster than a database.
		server, db = pgtest.Server(t), "postgres"
		role = fmt.Sprintf("rig_%d", rigs.Add(1))
		pgtest.Exec(t, server.URL(db), append([]string{
			fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", role, rolePassword),
			"CREATE SCHEMA AUTHORIZATION " + role,
			fmt.Sprintf("ALTER ROLE %s SET search_path = %[1]s", role),
			"SET SESSION AUTHORIZATION " + role, "SET search_path = " + role,
		}, setup...)...)
	} else {
		role, password = server.Superuser, server.Password
		pgtest.Exec(t, server.URL(db), setup...)
	}
	if o.policy == "" {
		o.policy = openPolicy
	}
	upstream := server.Addr + "/" + db
	if o.upstream != nil {
		upstream = o.upstream(server.Addr, db)
	}
	shop := gatetest.Shop
	shop.Upstream = upstream
	shop.Roles = map[string]countersign.Role{role: {Credential: "env:ROLE"}}
	shop.DefaultRole = role
	w := gatetest.New(t, gatetest.Options{Policy: o.policy, Resources: []countersign.Resource{shop}, Gate: o.gate})
	r := &rig{World: w, t: t, database: db, role: role, direct: server.URLFor(role, password, db)}
	var handler slog.Handler = slog.DiscardHandler
	if o.log || testing.Verbose() && os.Getenv("FRONT_LOG") != "" {
		handler = slog.NewTextHandler(os.Stderr, nil)
	}
	r.front = New(Options{
		Gate: w.Gate, Classifier: sql.NewClassifier(nil, 16<<20),
		Sanitizer: sanitize.New(sanitize.Options{Key: []byte("a key for tests of thirty-two by")}),
		Authenticate: func(_ context.Context, token string, _ netip.AddrPort) (countersign.Principal, error) {
			switch token {
			case agentToken:
				return gatetest.Agent("deploy-bot"), nil
			case anaToken:
				return gatetest.Person("ana"), nil
			}
			return countersign.Principal{}, errors.New("unknown token " + token)
		},
		Resource: func(n countersign.ResourceName) (countersign.Resource, bool) { return shop, n == shop.Name },
		Secret: func(_ context.Context, ref string) (string, error) {
			if ref != "env:ROLE" {
				return "", fmt.Errorf("no secret %s", ref)
			}
			return password, nil
		},
		TLS: o.tls, Limits: o.limits, Logger: slog.New(handler),
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- r.front.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		if err := r.front.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return r
}

func (r *rig) url(extra string) string {
	return fmt.Sprintf("postgres://someone:%s@%s/shop?sslmode=disable%s", agentToken, r.addr, extra)
}

// connect is a client by pgx.
func (r *rig) connect(extra string) *pgx.Conn {
	r.t.Helper()
	c, err := pgx.Connect(context.Background(), r.url(extra))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// outside runs a query directly on the server, and returns its first column as lines.
func (r *rig) outside(query string) string {
	r.t.Helper()
	c, err := pgconn.Connect(context.Background(), r.direct)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close(context.Background())
	res, err := c.Exec(context.Background(), query).ReadAll()
	if err != nil {
		r.t.Fatal(err)
	}
	var lines []string
	for _, row := range res[len(res)-1].Rows {
		lines = append(lines, string(row[0]))
	}
	return strings.Join(lines, "\n")
}

// psql runs the real psql with input on its stdin.
func (r *rig) psql(input string, args ...string) (string, error) {
	r.t.Helper()
	cmd := r.psqlCommand(args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (r *rig) psqlCommand(args ...string) *exec.Cmd {
	path, err := pgtest.Server(r.t).Install.Psql()
	if err != nil {
		r.t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(r.addr)
	cmd := exec.Command(path, append([]string{"-X", "-h", host, "-p", port, "-U", "someone", "-d", "shop"}, args...)...)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+agentToken, "PGSSLMODE=prefer")
	return cmd
}

func (r *rig) mustPsql(input string, args ...string) string {
	r.t.Helper()
	out, err := r.psql(input, args...)
	if err != nil {
		r.t.Fatalf("psql: %v\n%s", err, out)
	}
	return out
}

// sqlState is the SQLSTATE of an error of pgx.
func sqlState(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code
	}
	return ""
}

// onlyUse is the one use of the newest request.
func (r *rig) onlyUse() approval.Use {
	r.t.Helper()
	recs, err := r.Store.Requests(context.Background(), gate.Filter{Limit: 10})
	if err != nil {
		r.t.Fatal(err)
	}
	if len(recs) == 0 || len(recs[0].Request.Uses) != 1 {
		return approval.Use{}
	}
	return recs[0].Request.Uses[0]
}
