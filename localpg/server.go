package localpg

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/countersign-dev/countersign/localpg/child"
)

const (
	startLimit   = 60 * time.Second // from starting the process to accepting connections
	fastLimit    = 10 * time.Second // after SIGINT
	quitLimit    = 5 * time.Second  // after SIGQUIT
	portAttempts = 5                // another process may take the free port between choosing and binding it
)

// Options say how a server runs. The zero value is a server in a temporary folder that trades
// durability for speed.
type Options struct {
	// Dir is where the server's folder is made, and must be open to the user postgres when we are root.
	// Empty means os.TempDir().
	Dir string
	// Log takes what the server writes. May be nil.
	Log io.Writer
	// Durable keeps fsync on; without it a crash of the machine loses the data.
	Durable bool
	// Settings are lines of postgresql.conf.
	Settings map[string]string
	// Files are written into the data folder, readable by the server alone: certificates, pg_hba.conf.
	Files map[string][]byte
	// Install is the installation to use. Zero means the one that Find returns.
	Install Install
}

// Server is a running server. Its fields do not change.
type Server struct {
	Install    Install
	Addr       string // 127.0.0.1:port
	Port       int
	SocketDir  string
	Superuser  string
	Password   string
	PID        int
	as         *account
	dir        string
	log        *tail
	process    *child.Process
	removeOnce sync.Once
}

// Start makes a new cluster and returns when its server accepts connections. ctx bounds the start only;
// the server runs until Stop, or until this process ends.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Install.Bin == "" {
		in, err := Find()
		if err != nil {
			return nil, err
		}
		o.Install = in
	}
	as, err := serverUser()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.Dir, "countersign-pg-")
	if err != nil {
		return nil, err
	}
	s := &Server{as: as, Install: o.Install, Superuser: "postgres", Password: rand.Text(), dir: dir, SocketDir: dir, log: &tail{to: o.Log}}
	err = s.initialize(ctx, o)
	for range portAttempts {
		if err != nil {
			break
		}
		if err = s.launch(ctx); !errors.Is(err, errPortTaken) {
			break
		}
		err = nil
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (s *Server) dataDir() string { return filepath.Join(s.dir, "data") }

// initialize runs initdb and writes the configuration.
func (s *Server) initialize(ctx context.Context, o Options) error {
	if err := s.as.own(s.dir); err != nil {
		return err
	}
	passwordFile := filepath.Join(s.dir, "password")
	if err := s.as.write(passwordFile, []byte(s.Password+"\n")); err != nil {
		return err
	}
	args := []string{
		"-D", s.dataDir(), "-U", s.Superuser, "--pwfile=" + passwordFile,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
	}
	if !o.Durable {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, s.Install.Tool("initdb"), args...)
	s.as.prepare(cmd, s.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, bytes.TrimSpace(out))
	}
	if err := os.Remove(passwordFile); err != nil {
		return err
	}
	for name, data := range o.Files {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("file %q is not inside the data folder", name)
		}
		if err := s.as.write(filepath.Join(s.dataDir(), name), data); err != nil {
			return err
		}
	}
	return s.configure(o)
}

func (s *Server) configure(o Options) error {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"unix_socket_directories": s.SocketDir,
		"password_encryption":     "scram-sha-256",
		"log_line_prefix":         "%m [%p] ",
	}
	if !o.Durable {
		settings["fsync"] = "off"
		settings["synchronous_commit"] = "off"
		settings["full_page_writes"] = "off"
	}
	for name, value := range o.Settings {
		settings[name] = value
	}
	var conf bytes.Buffer
	conf.WriteString("\n")
	for name, value := range settings {
		if strings.ContainsAny(name+value, "\n\r\x00") {
			return fmt.Errorf("setting %q holds a line break", name)
		}
		fmt.Fprintf(&conf, "%s = '%s'\n", name, strings.NewReplacer("'", "''", `\`, `\\`).Replace(value))
	}
	f, err := os.OpenFile(filepath.Join(s.dataDir(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(conf.Bytes())
	return errors.Join(err, f.Close())
}

var errPortTaken = errors.New("the free port was taken by another process")

// launch starts the server on a free port and waits until it accepts connections.
func (s *Server) launch(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	s.Port, s.Addr = port, net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	cmd := exec.Command(s.Install.Tool("postgres"), "-D", s.dataDir(), "-p", strconv.Itoa(port))
	s.as.prepare(cmd, s.dir)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if s.process, err = child.Start(cmd, syscall.SIGQUIT); err != nil {
		return err
	}
	s.PID = s.process.PID
	if err := s.await(ctx); err != nil {
		s.end()
		return err
	}
	return nil
}

// await waits until the server's own status line, which pg_ctl reads too, says that it is ready.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.ready() {
			return nil
		}
		select {
		case <-s.process.Done():
			if text := s.log.String(); strings.Contains(text, "could not bind") {
				return fmt.Errorf("%w\n%s", errPortTaken, text)
			}
			return fmt.Errorf("postgres ended while starting:\n%s", s.log)
		case <-ctx.Done():
			return fmt.Errorf("postgres did not accept connections: %w\n%s", ctx.Err(), s.log)
		case <-tick.C:
		}
	}
}

func (s *Server) ready() bool {
	data, err := os.ReadFile(filepath.Join(s.dataDir(), "postmaster.pid"))
	if err != nil {
		return false
	}
	const pidLine, statusLine = 0, 7
	lines := strings.Split(string(data), "\n")
	return len(lines) > statusLine && strings.TrimSpace(lines[statusLine]) == "ready" &&
		strings.TrimSpace(lines[pidLine]) == strconv.Itoa(s.PID)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// Stop ends the server and removes its folder. It takes at most some seconds, and may be called more
// than once.
func (s *Server) Stop() error {
	s.end()
	var err error
	s.removeOnce.Do(func() { err = os.RemoveAll(s.dir) })
	return err
}

// Command returns a command that runs as the server's user, in the server's folder, for what is to stand
// beside the server: a pooler, a dump.
func (s *Server) Command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	s.as.prepare(cmd, s.dir)
	return cmd
}

// WriteFile makes a file in the server's folder, readable by the server's user alone, and returns its path.
func (s *Server) WriteFile(name string, data []byte) (string, error) {
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("file %q is not inside the folder", name)
	}
	path := filepath.Join(s.dir, name)
	return path, s.as.write(path, data)
}

// Done is closed when the server has ended, for whatever reason.
func (s *Server) Done() <-chan struct{} { return s.process.Done() }

// Log returns the end of what the server wrote.
func (s *Server) Log() string { return s.log.String() }

// end ends sessions and saves what is in memory; if that takes too long, it saves nothing.
func (s *Server) end() {
	s.process.Stop(child.Step{Signal: syscall.SIGINT, Limit: fastLimit}, child.Step{Signal: syscall.SIGQUIT, Limit: quitLimit})
}

// URL returns the superuser's connection string for a database, over TCP without TLS.
func (s *Server) URL(database string) string { return s.URLFor(s.Superuser, s.Password, database) }

// URLFor returns the connection string of another role.
func (s *Server) URLFor(user, password, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(user, password), Host: s.Addr, Path: "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// tail passes on what is written and keeps the end of it.
type tail struct {
	mu   sync.Mutex
	to   io.Writer
	kept []byte
}

const tailSize = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if extra := len(t.kept) - tailSize; extra > 0 {
		t.kept = slices.Delete(t.kept, 0, extra)
	}
	if t.to != nil {
		return t.to.Write(p)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.kept))
}
