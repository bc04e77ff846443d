package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign-dev/countersign/demo/gateway"
	"github.com/countersign-dev/countersign/identity/token"
	"github.com/countersign-dev/countersign/localpg"
	"github.com/countersign-dev/countersign/localpg/child"
)

const (
	database = "bench"
	role     = "app"
	scale    = 10 // pgbench: 100,000 accounts each
)

// target is a way to the database.
type target struct {
	name     string
	addr     string
	user     string
	password string
	pid      int // of what stands between; 0 for none
}

func (t *target) conninfo() string {
	host, port, _ := net.SplitHostPort(t.addr)
	return fmt.Sprintf("host=%s port=%s dbname=%s user=%s sslmode=disable", host, port, database, t.user)
}

// command returns a client program with the target's password in its environment.
func (t *target) command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C", "PGPASSWORD=" + t.password}
	return cmd
}

// postgres measures the way of queries and of bulk data.
func (b *bench) postgres(ctx context.Context) (err error) {
	server, err := localpg.Start(ctx, localpg.Options{Durable: true, Settings: map[string]string{
		"shared_buffers": "256MB", "max_connections": "50", "autovacuum": "off",
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	direct, err := b.fill(ctx, server)
	if err != nil {
		return err
	}
	bouncer, stop, err := startBouncer(ctx, server, direct)
	if err != nil {
		return err
	}
	defer stop()
	own, g, err := b.startGateway(ctx, "postgres", gatewayConfig{upstream: server.Addr, password: direct.password}, readPolicy)
	if err != nil {
		return err
	}
	defer g.Stop()
	targets := []*target{direct, bouncer, own}
	if err := b.selects(ctx, server, targets); err != nil {
		return fmt.Errorf("%w\n%s", err, g.Log())
	}
	if err := b.bulk(ctx, server, targets); err != nil {
		return fmt.Errorf("%w\n%s", err, g.Log())
	}
	return nil
}

// fill makes the database that pgbench uses.
func (b *bench) fill(ctx context.Context, server *localpg.Server) (*target, error) {
	t := &target{name: "direct", addr: server.Addr, user: role, password: token.Prefix + "bench"}
	for _, text := range []string{
		"CREATE ROLE " + role + " LOGIN PASSWORD '" + t.password + "'", "CREATE DATABASE " + database + " OWNER " + role,
	} {
		if err := execute(ctx, server.URL("postgres"), text); err != nil {
			return nil, err
		}
	}
	out, err := t.command(ctx, b.dir, server.Install.Tool("pgbench"), "-i", "-q", "-s", strconv.Itoa(scale), t.conninfo()).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("pgbench -i: %w\n%s", err, out)
	}
	return t, nil
}

func execute(ctx context.Context, url, text string) error {
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, text).ReadAll()
	return errors.Join(err, conn.Close(ctx))
}

// startBouncer runs Debian's PgBouncer in session mode, as the server's user: it refuses to run as root.
func startBouncer(ctx context.Context, server *localpg.Server, upstream *target) (*target, func(), error) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // not in the PATH of other users than root
	}
	addr, err := gateway.FreeAddr()
	if err != nil {
		return nil, nil, err
	}
	host, port, _ := net.SplitHostPort(addr)
	users, err := server.WriteFile("users.txt", fmt.Appendf(nil, "%q %q\n", upstream.user, upstream.password))
	if err != nil {
		return nil, nil, err
	}
	uhost, uport, _ := net.SplitHostPort(upstream.addr)
	config, err := server.WriteFile("pgbouncer.ini", fmt.Appendf(nil, `[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = %s
listen_port = %s
unix_socket_dir =
auth_type = plain
auth_file = %s
pool_mode = session
default_pool_size = 6000
max_client_conn = 6000
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
`, uhost, uport, host, port, users))
	if err != nil {
		return nil, nil, err
	}
	cmd := server.Command(program, "-q", config)
	process, err := child.Start(cmd, syscall.SIGTERM)
	if err != nil {
		return nil, nil, fmt.Errorf("%w; install PgBouncer with: apt-get install pgbouncer", err)
	}
	stop := func() { process.Stop(child.Step{Signal: syscall.SIGTERM, Limit: 3 * time.Second}) }
	t := &target{name: "PgBouncer", addr: addr, user: upstream.user, password: upstream.password, pid: process.PID}
	for range 200 {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return t, stop, conn.Close()
		}
		time.Sleep(25 * time.Millisecond)
	}
	stop()
	return nil, nil, errors.New("PgBouncer does not listen")
}

// sample is what one run of pgbench says.
type sample struct {
	tps       float64
	latencies []time.Duration // sorted
	cpu       time.Duration   // of what stands between, for each query
}

// selects runs pgbench's select-only script through every target, in turns, so that what else the machine
// does falls on all of them.
func (b *bench) selects(ctx context.Context, server *localpg.Server, targets []*target) error {
	rounds, seconds := pick(b, 3, 1), pick(b, 6, 2)
	var rows [][]string
	for _, mode := range []string{"simple", "prepared"} {
		for _, clients := range []int{1, 8} {
			got := make([][]sample, len(targets))
			for range rounds {
				for i, t := range targets {
					s, err := b.pgbench(ctx, server, t, mode, clients, seconds)
					if err != nil {
						return fmt.Errorf("pgbench through %s: %w", t.name, err)
					}
					got[i] = append(got[i], s)
				}
			}
			for i, t := range targets {
				rows = append(rows, selectRow(fmt.Sprintf("%s, %d × %s", mode, clients, t.name), got, i))
			}
		}
	}
	b.table("Queries", fmt.Sprintf("pgbench select-only, scale %d, %d rounds of %d s each, medians; PgBouncer in session mode; "+
		"Countersign with policy and a durable record of every query. CPU is that of the process between, for each query.", scale, rounds, seconds),
		[]string{"mode, clients × way", "TPS", "× PgBouncer", "× direct", "p50 µs", "p99 µs", "added p50", "added p99", "CPU µs"}, rows)
	return nil
}

func selectRow(name string, got [][]sample, i int) []string {
	const direct, bouncer = 0, 1
	var tps, ofBouncer, ofDirect, p50, p99, add50, add99, cpu []float64
	for r, s := range got[i] {
		d := got[direct][r]
		us := func(s sample, p float64) float64 { return float64(percentile(s.latencies, p).Nanoseconds()) / 1000 }
		tps = append(tps, s.tps)
		ofBouncer = append(ofBouncer, s.tps/got[bouncer][r].tps)
		ofDirect = append(ofDirect, s.tps/d.tps)
		p50, p99 = append(p50, us(s, .50)), append(p99, us(s, .99))
		add50, add99 = append(add50, us(s, .50)-us(d, .50)), append(add99, us(s, .99)-us(d, .99))
		cpu = append(cpu, float64(s.cpu.Nanoseconds())/1000)
	}
	row := []string{name, number(median(tps), 0), number(median(ofBouncer), 2), number(median(ofDirect), 2), number(median(p50), 0), number(median(p99), 0)}
	if i == direct {
		return append(row, "", "", "")
	}
	return append(row, number(median(add50), 0), number(median(add99), 0), number(median(cpu), 0))
}

var tpsLine = regexp.MustCompile(`tps = ([0-9.]+) \(without initial connection time\)`)

func (b *bench) pgbench(ctx context.Context, server *localpg.Server, t *target, mode string, clients, seconds int) (s sample, err error) {
	dir, err := os.MkdirTemp(b.dir, "pgbench-")
	if err != nil {
		return sample{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	before, err := t.cpu()
	if err != nil {
		return sample{}, err
	}
	out, err := t.command(ctx, dir, server.Install.Tool("pgbench"), "-n", "-S", "-M", mode, "-c", strconv.Itoa(clients),
		"-j", strconv.Itoa(min(clients, 2)), "-T", strconv.Itoa(seconds), "-l", t.conninfo()).CombinedOutput()
	if err != nil {
		return sample{}, fmt.Errorf("%w\n%s", err, out)
	}
	after, err := t.cpu()
	if err != nil {
		return sample{}, err
	}
	m := tpsLine.FindSubmatch(out)
	if m == nil {
		return sample{}, fmt.Errorf("no tps in\n%s", out)
	}

	if s.tps, err = strconv.ParseFloat(string(m[1]), 64); err != nil {
		return sample{}, err
	}
	if s.latencies, err = latencies(dir); err != nil {
		return sample{}, err
	}
	if n := len(s.latencies); n > 0 {
		s.cpu = (after - before) / time.Duration(n)
	}
	return s, nil
}

func (t *target) cpu() (time.Duration, error) {
	if t.pid == 0 {
		return 0, nil
	}
	return cpuTime(t.pid)
}

// latencies reads pgbench's logs, a line for each transaction, whose third field is its time in µs.
func latencies(dir string) ([]time.Duration, error) {
	files, err := filepath.Glob(filepath.Join(dir, "pgbench_log.*"))
	if err != nil {
		return nil, err
	}
	var all []time.Duration
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		for scan := bufio.NewScanner(f); scan.Scan(); {
			fields := strings.Fields(scan.Text())
			if len(fields) < 3 {
				continue
			}
			us, err := strconv.ParseInt(fields[2], 10, 64)
			if err != nil {
				return nil, errors.Join(err, f.Close())
			}
			all = append(all, time.Duration(us)*time.Microsecond)
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	slices.Sort(all)
	return all, nil
}

// bulk times COPY of all accounts to a client that throws them away.
func (b *bench) bulk(ctx context.Context, server *localpg.Server, targets []*target) error {
	psql, err := server.Install.Psql()
	if err != nil {
		return err
	}
	rounds := pick(b, 5, 2)
	seconds := make([][]float64, len(targets))
	cpu := make([][]float64, len(targets))
	var bytes int64
	for range rounds {
		for i, t := range targets {
			before, err := t.cpu()
			if err != nil {
				return err
			}
			start := time.Now()
			n, err := copyOut(t.command(ctx, b.dir, psql, "-XAt", "-v", "ON_ERROR_STOP=1", "-c", "COPY pgbench_accounts TO STDOUT", t.conninfo()))
			if err != nil {
				return fmt.Errorf("COPY through %s: %w", t.name, err)
			}
			seconds[i] = append(seconds[i], time.Since(start).Seconds())
			after, err := t.cpu()
			if err != nil {
				return err
			}
			cpu[i] = append(cpu[i], (after - before).Seconds())
			bytes = n
		}
	}
	var rows [][]string
	for i, t := range targets {
		var ratio []float64
		for r := range rounds {
			ratio = append(ratio, seconds[0][r]/seconds[i][r])
		}
		between := ""
		if t.pid != 0 {
			between = number(median(cpu[i])/(float64(bytes)/1e9), 2)
		}
		s := median(seconds[i])
		rows = append(rows, []string{t.name, number(s, 2), number(float64(bytes)/1e6/s, 0), number(median(ratio), 2), between})
	}
	b.table("Bulk", fmt.Sprintf("COPY pgbench_accounts TO STDOUT (%d rows, %.0f MB) with psql, %d rounds, medians.", scale*100000, float64(bytes)/1e6, rounds),
		[]string{"way", "seconds", "MB/s", "× direct", "CPU s/GB between"}, rows)
	return nil
}

// copyOut runs a command and counts the bytes it prints, every row of which must be there.
func copyOut(cmd *exec.Cmd) (int64, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	var bytes, rows int64
	buf := make([]byte, 1<<20)
	for {
		n, err := out.Read(buf)
		bytes += int64(n)
		for _, c := range buf[:n] {
			if c == '\n' {
				rows++
			}
		}
		if err != nil {
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, complaint.String())
	}
	if rows != scale*100000 {
		return 0, fmt.Errorf("%d rows came; want %d", rows, scale*100000)
	}
	return bytes, nil
}
