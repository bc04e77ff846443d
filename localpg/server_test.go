package localpg_test

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign-dev/countersign/localpg"
	"github.com/countersign-dev/countersign/localpg/pgtest"
)

// parentEnv makes the test binary play a process that starts a server and then waits to be killed.
const parentEnv = "LOCALPG_TEST_PARENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(parentEnv); dir != "" {
		s, err := localpg.Start(context.Background(), localpg.Options{Dir: dir})
		if err != nil {
			panic(err)
		}
		os.Stdout.WriteString(strconv.Itoa(s.PID) + "\n")
		select {}
	}
	pgtest.Main(m)
}

// openDir returns a folder that the user postgres can reach; t.TempDir is closed to others.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "localpg-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func value(t *testing.T, url, query string) string {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	results, err := conn.Exec(t.Context(), query).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return string(results[0].Rows[0][0])
}

func TestServerAsAskedFor(t *testing.T) {
	dir := openDir(t)
	var log strings.Builder
	s := pgtest.Own(t, localpg.Options{
		Dir: dir, Log: &log, Durable: true,
		Settings: map[string]string{"application_name": `it's a \ "name"`, "log_connections": "on"},
		Files:    map[string][]byte{"extra.txt": []byte("here")},
	})
	url := s.URL("postgres")
	for query, want := range map[string]string{
		"SHOW fsync":                   "on",
		"SHOW listen_addresses":        "127.0.0.1",
		"SHOW unix_socket_directories": s.SocketDir,
		"SELECT reset_val FROM pg_settings WHERE name = 'application_name'":           `it's a \ "name"`,
		"SELECT pg_read_file('extra.txt')":                                            "here",
		"SELECT substr(rolpassword, 1, 13) FROM pg_authid WHERE rolname = 'postgres'": "SCRAM-SHA-256",
	} {
		if got := value(t, url, query); got != want {
			t.Errorf("%s = %q; want %q", query, got, want)
		}
	}
	psql, err := s.Install.Psql()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(psql, "-XAtc", "SELECT 41 + 1", url).CombinedOutput(); err != nil || string(out) != "42\n" {
		t.Errorf("psql says %q, %v", out, err)
	}

	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	<-s.Done()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("Stop left %v, %v", left, err)
	}
	if !strings.Contains(log.String(), "connection authorized") || !strings.Contains(s.Log(), "shut down") {
		t.Errorf("the log was not passed on; kept: %s", s.Log())
	}
}

func TestPasswordIsNeeded(t *testing.T) {
	s := pgtest.Server(t)
	for name, url := range map[string]string{
		"TCP":    s.URLFor(s.Superuser, "wrong", "postgres"),
		"socket": "host=" + s.SocketDir + " port=" + strconv.Itoa(s.Port) + " user=postgres dbname=postgres password=wrong",
	} {
		_, err := pgconn.Connect(t.Context(), url)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "28P01" {
			t.Errorf("%s with a wrong password: %v; want 28P01", name, err)
		}
	}
}

func TestDatabasesAreApart(t *testing.T) {
	s := pgtest.Server(t)
	role := pgtest.Role(t, "it's")
	first := pgtest.Database(t, "CREATE TABLE t (n int)", "INSERT INTO t VALUES (7)", "GRANT SELECT ON t TO "+role)
	second := pgtest.Database(t)
	if got := value(t, s.URLFor(role, "it's", first), "SELECT n FROM t"); got != "7" {
		t.Errorf("n = %s", got)
	}
	if got := value(t, s.URL(second), "SELECT count(*) FROM pg_class WHERE relname = 't'"); got != "0" {
		t.Errorf("%s tables t in the second database", got)
	}
}

func TestStartFailures(t *testing.T) {
	t.Run("a setting the server refuses", func(t *testing.T) {
		dir := openDir(t)
		_, err := localpg.Start(t.Context(), localpg.Options{Dir: dir, Settings: map[string]string{"shared_buffers": "many"}})
		if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "shared_buffers"`) {
			t.Errorf("err = %v; want the server's own words", err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	t.Run("a file outside", func(t *testing.T) {
		_, err := localpg.Start(t.Context(), localpg.Options{Files: map[string][]byte{"../x": nil}})
		if err == nil || !strings.Contains(err.Error(), "not inside") {
			t.Errorf("err = %v", err)
		}
	})
	t.Run("an ended context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := localpg.Start(ctx, localpg.Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
	})
}

// A server does not outlive a process that had no chance to stop it.
func TestDiesWithItsParent(t *testing.T) {
	dir := openDir(t)
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentEnv+"="+dir)
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("the server does not run: %v", err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // says that it was killed
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if ended(pid) {
			return
		}
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGQUIT)
			t.Fatal("the server outlived its parent by 10 s")
		}
	}
}

// ended counts a zombie, which nobody may be there to reap, as ended.
func ended(pid int) bool {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if errors.Is(err, fs.ErrNotExist) {
		return syscall.Kill(pid, 0) != nil
	}
	_, state, _ := strings.Cut(string(data), ") ")
	return strings.HasPrefix(state, "Z")
}

func TestPortIsClosedAfterStop(t *testing.T) {
	s := pgtest.Own(t, localpg.Options{})
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.DialTimeout("tcp", s.Addr, time.Second); err == nil {
		conn.Close()
		t.Error("the port still answers")
	}
}
