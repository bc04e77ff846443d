package demo

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/countersign-dev/countersign/localpg/child"
)

// psql is one running psql, whose statements come from us and whose output is read line by line.
type psql struct {
	process *child.Process
	in      io.WriteCloser
	lines   chan string // closed at psql's end
	mark    string      // psql prints it after each statement
}

// connect starts psql as the agent.
func (d *demo) connect() (*psql, error) {
	cmd := exec.Command(d.path("psql"), "--no-psqlrc", "--quiet", "--no-password")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.dir, "LC_ALL=C.UTF-8"}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	// One pipe for both streams keeps results and messages in the order in which psql writes them.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	process, err := child.Start(cmd, syscall.SIGTERM)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	p := &psql{process: process, in: in, lines: make(chan string, 1024), mark: "end-" + rand.Text()}
	go func() {
		defer close(p.lines)
		defer r.Close()
		for scan := bufio.NewScanner(r); scan.Scan(); {
			p.lines <- scan.Text()
		}
	}()
	return p, nil
}

// send hands psql a statement.
func (p *psql) send(statement string) error {
	_, err := fmt.Fprintf(p.in, "%s\n\\warn %s\n", statement, p.mark)
	return err
}

var errStatementOver = errors.New("the statement ended")

// next returns the next line of output, or errStatementOver after the last one of a statement.
func (p *psql) next(ctx context.Context) (string, error) {
	select {
	case line, ok := <-p.lines:
		switch {
		case !ok:
			return "", errors.New("psql has ended: the session did not live on")
		case line == p.mark:
			return "", errStatementOver
		}
		return line, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// rest returns the lines up to the end of the statement.
func (p *psql) rest(ctx context.Context) ([]string, error) {
	var lines []string
	for {
		line, err := p.next(ctx)
		if errors.Is(err, errStatementOver) {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		lines = append(lines, line)
	}
}

// close ends the session.
func (p *psql) close() {
	_ = p.in.Close() // psql may have ended already
	p.process.Stop(child.Step{Signal: syscall.SIGTERM, Limit: 3 * time.Second})
	for range p.lines { // lets the reader end
	}
}

// answer is what a command of the command line said.
type answer struct {
	out, err string
	code     int
}

// as runs the command line as one of the people.
func (d *demo) as(ctx context.Context, name string, args ...string) (answer, error) {
	cmd := exec.CommandContext(ctx, d.path(name), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.dir, "LC_ALL=C.UTF-8", "NO_COLOR=1"}
	var out, complaint strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	a := answer{out: strings.TrimRight(out.String(), "\n"), err: strings.TrimRight(complaint.String(), "\n")}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		a.code = exit.ExitCode()
		return a, nil
	}
	return a, err
}

func (a answer) String() string {
	return fmt.Sprintf("exit code %d\n%s\n%s", a.code, a.out, a.err)
}
