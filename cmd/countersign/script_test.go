package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"countersign": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, "home")
			e.Setenv("HOME", home)
			e.Setenv("NO_COLOR", "1")
			e.Values[gatewayKey] = &gateway{}
			return os.MkdirAll(home, 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   cmdExits,
			"start":   cmdStart,
			"stop":    cmdStop,
			"reload":  cmdReload,
			"health":  cmdHealth,
			"setfile": cmdSetFile,
		},
	})
}

// cmdExits is exec for a command that must end with a code.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d; want %d", got, want)
	}
}

// gateway is a running `countersign serve` of a script.
type gateway struct {
	cmd *exec.Cmd
	log *bytes.Buffer
	url string
}

const gatewayKey = "gateway"

var readyLine = regexp.MustCompile(`ready: (http://\S+) for people`)

func running(ts *testscript.TestScript) *gateway { return ts.Value(gatewayKey).(*gateway) }

// cmdStart starts a gateway and sets COUNTERSIGN_URL once it is ready.
func cmdStart(ts *testscript.TestScript, _ bool, args []string) {
	var bin string
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if p := filepath.Join(dir, "countersign"); bin == "" && isFile(p) {
			bin = p
		}
	}
	g := running(ts)
	*g = gateway{cmd: exec.Command(bin, "serve", "--config", ts.MkAbs(args[0])), log: &bytes.Buffer{}}
	r, w, err := os.Pipe()
	ts.Check(err)
	g.cmd.Stdout, g.cmd.Stderr = w, g.log
	g.cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"))
	ts.Check(g.cmd.Start())
	w.Close()
	ts.Defer(func() { g.cmd.Process.Kill() })
	line := make(chan string, 1)
	go func() {
		buf := make([]byte, 4096)
		n, _ := r.Read(buf)
		line <- string(buf[:n])
		io.Copy(io.Discard, r)
	}()
	select {
	case text := <-line:
		m := readyLine.FindStringSubmatch(text)
		if m == nil {
			g.cmd.Wait()
			ts.Fatalf("the gateway says %q\n%s", text, g.log)
		}
		g.url = m[1]
	case <-time.After(20 * time.Second):
		ts.Fatalf("the gateway is not ready\n%s", g.log)
	}
	ts.Setenv("COUNTERSIGN_URL", g.url)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func cmdStop(ts *testscript.TestScript, _ bool, _ []string) {
	g := running(ts)
	ts.Check(g.cmd.Process.Signal(syscall.SIGTERM))
	done := make(chan error, 1)
	go func() { done <- g.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			ts.Fatalf("the gateway ended: %v\n%s", err, g.log)
		}
	case <-time.After(15 * time.Second):
		ts.Fatalf("the gateway does not stop\n%s", g.log)
	}
}

func cmdReload(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(running(ts).cmd.Process.Signal(syscall.SIGHUP))
}

// cmdHealth waits until the gateway's health, with details, matches.
func cmdHealth(ts *testscript.TestScript, _ bool, args []string) {
	var text string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		req, err := http.NewRequest(http.MethodGet, running(ts).url+"/api/v1/health", http.NoBody)
		ts.Check(err)
		req.Header.Set("Authorization", "Bearer "+ts.Getenv("COUNTERSIGN_TOKEN"))
		resp, err := http.DefaultClient.Do(req)
		ts.Check(err)
		data, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		ts.Check(err)
		if text = string(data); strings.Contains(text, args[0]) {
			return
		}
	}
	ts.Fatalf("health is %s; want it to hold %s", text, args[0])
}

// cmdSetFile sets a variable to the content of a file.
func cmdSetFile(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}
