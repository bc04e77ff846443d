package postgres

import (
	"bytes"
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/localpg"
	"github.com/countersign-dev/countersign/localpg/pgtest"
)

// P1: only door.go writes to a session's upstream connection, and what executes needs a permit there.
func TestOneDoor(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, file, nil, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if data, _ := os.ReadFile(file); file != "door.go" && bytes.Contains(data, []byte(".queue = append")) {
			t.Errorf("%s expects answers outside the door", file)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "conn" {
				return true
			}
			inner, ok := sel.X.(*ast.SelectorExpr)
			if !ok || inner.Sel.Name != "up" {
				return true
			}
			// c.up.conn: what is done with it decides. Its parent is found by position in allowed forms.
			line := set.Position(sel.Pos())
			text := lineOf(t, file, line.Line)
			if file == "door.go" || readsOrEnds.MatchString(text) {
				return true
			}
			t.Errorf("%s: %q reaches the upstream connection outside the door", line, strings.TrimSpace(text))
			return true
		})
	}
	c := &conn{}
	for _, typ := range []byte{msgQuery, msgBind, msgExecute, msgFunctionCall, msgCopyData, msgCopyDone, msgCopyFail} {
		for k := range asks {
			e := expected{kind: kind(k), stmt: &statement{understood: true}}
			if err := c.forwardExecutable(t.Context(), e, appendFrame(nil, typ)); !errors.Is(err, errNoPermit) {
				t.Errorf("%c without a permit: %v", typ, err)
			}
			if err := c.forwardInert(e, appendFrame(nil, typ)); !errors.Is(err, errNotInert) && !errors.Is(err, errMiscounted) {
				t.Errorf("%c as inert: %v", typ, err)
			}
			if err := c.forwardParse(e, appendFrame(nil, typ)); !errors.Is(err, errNotInert) && !errors.Is(err, errMiscounted) {
				t.Errorf("%c as Parse: %v", typ, err)
			}
		}
	}
	if err := c.forwardParse(expected{kind: expectParse, stmt: &statement{}}, appendFrame(nil, msgParse)); !errors.Is(err, errNoPermit) {
		t.Errorf("Parse of what is not understood: %v", err)
	}
	if len(c.queue) != 0 {
		t.Errorf("%d answers are expected of what was not sent", len(c.queue))
	}
	if err := c.sendCopy(nil, nil); !errors.Is(err, errNoPermit) {
		t.Errorf("COPY data without a permit: %v", err)
	}
	if len(c.toUp) != 0 {
		t.Errorf("%q was queued", c.toUp)
	}
}

// readsOrEnds are the uses of the upstream connection that send nothing.
var readsOrEnds = regexp.MustCompile(`up\.conn\.(Set(Read)?Deadline|Close)\(`)

func lineOf(t *testing.T, file string, n int) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.Split(data, []byte("\n"))[n-1])
}

// With a policy that allows nothing, nothing of what clients send reaches the server, whatever they send.
func TestNothingExecutesWithoutAPermit(t *testing.T) {
	var log buffer
	server := pgtest.Own(t, localpg.Options{Log: &log, Settings: map[string]string{"log_statement": "all", "log_min_messages": "warning", "log_min_error_statement": "panic"}})
	r := newRig(t, rigOptions{server: server, policy: `version: 1
rules:
  - name: nobody
    match: {resource: {env: prod}, any_effect: [read, session, write, schema, delete, destroy, export, execute, privilege, unknown, secret, admin, infra]}
    then: {deny: true}
`})
	r.outside("SELECT 1")
	eventually(t, "the log", func() bool { return strings.Contains(log.String(), "SELECT 1") })
	before := len(log.String())
	for name, script := range conversations {
		if strings.Contains(name, "copy") || strings.Contains(name, "unknown") || strings.Contains(name, "flush") || name == "query amid a pipeline" {
			continue // they read answers that do not come
		}
		t.Run(name, func(t *testing.T) {
			c := dialRaw(t, r.url(""))
			c.play(script)
			c.conn.Close()
		})
	}
	r.outside("SELECT 'the end'")
	eventually(t, "the log's end", func() bool { return strings.Contains(log.String(), "the end") })
	for line := range strings.Lines(log.String()[before:]) {
		if strings.HasSuffix(strings.TrimSpace(line), "statement: -- ping") {
			continue // pgconn's own empty statement, which it sends at login when it was slow, before the client is let in
		}
		if !strings.Contains(line, "statement:") && !strings.Contains(line, "execute") || strings.Contains(line, "the end") ||
			strings.Contains(line, "execute "+ownName+"/"+ownName+": "+"SHOW ") || strings.Contains(line, "execute "+ownName+"/"+ownName+": "+string(askSettings)) {
			continue
		}
		t.Errorf("the server ran: %s", line)
	}
}

// faulty is a store whose commits of intents can be delayed or refused.
type faulty struct {
	gate.Store
	delay atomic.Int64 // before an intent becomes durable
	fail  atomic.Bool
}

var errDisk = errors.New("the disk is on fire")

func (f *faulty) Commit(ctx context.Context, c gate.Change, done func(gate.Receipt, error)) error {
	intent := false
	for _, e := range c.Events {
		intent = intent || e.Type == countersign.ActionIntent
	}
	if !intent {
		return f.Store.Commit(ctx, c, done)
	}
	if f.fail.Load() {
		go done(gate.Receipt{}, errDisk)
		return nil
	}
	d := time.Duration(f.delay.Load())
	return f.Store.Commit(ctx, c, func(r gate.Receipt, err error) {
		if d == 0 {
			done(r, err)
			return
		}
		time.AfterFunc(d, func() { done(r, err) })
	})
}

// P6: no byte of a result leaves before the intent of its statement is durable, and none at all when
// it cannot be recorded.
func TestNoResultBeforeTheIntent(t *testing.T) {
	scripts := map[string]string{
		"simple":   "Q|SELECT 'secret'",
		"extended": "P||SELECT 'secret' ; B|| ; D|P| ; E||0 ; S",
		"error":    "Q|SELECT 'secret'::int",
		"copy":     "Q|COPY (SELECT 'secret') TO STDOUT",
		"write":    "Q|INSERT INTO log VALUES ('secret') RETURNING line",
	}
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var f *faulty
			r := newRig(t, rigOptions{policy: allPolicy, gate: func(o *gate.Options) { f = &faulty{Store: o.Store}; o.Store = f }})
			c := dialRaw(t, r.url(""))
			f.delay.Store(int64(400 * time.Millisecond))
			began := time.Now()
			for _, step := range strings.Split(script, " ; ") {
				c.send(encodeStep(t, step))
			}
			if _, err := c.read(200 * time.Millisecond); err == nil {
				t.Error("something came before the intent was durable")
			}
			if said := transcript(c.until(msgReady)); !strings.Contains(said, "secret") {
				t.Errorf("the result: %s", said)
			}
			if d := time.Since(began); d < 400*time.Millisecond {
				t.Errorf("it took %s", d)
			}
			f.fail.Store(true)
			said := c.play([]string{script})
			if strings.Contains(said, "secret") || !strings.Contains(said, "E ERROR "+codeUnavailable) {
				t.Errorf("without a trail: %s", said)
			}
			f.fail.Store(false)
			f.delay.Store(0)
			if said := c.play([]string{script}); !strings.Contains(said, "secret") {
				t.Errorf("afterwards: %s", said)
			}
			if n := r.outside("SELECT count(*) FROM log"); name == "write" && n != "2" {
				t.Errorf("%s rows were written", n)
			}
		})
	}
}

// Nothing is forwarded while a cancel request is on its way: it would hit what it was not meant for.
func TestNothingIsForwardedBeforeACancelIsSettled(t *testing.T) {
	c := &conn{}
	c.cancelling.init()
	c.cancelling.underway = true
	sent := make(chan error, 1)
	go func() {
		sent <- c.forwardExecutable(context.Background(), expected{kind: expectQuery, permit: &gate.Permit{}}, appendQuery(nil, "SELECT 1"))
	}()
	select {
	case <-sent:
		t.Fatal("forwarded while a cancel request is on its way")
	case <-time.After(50 * time.Millisecond):
	}
	c.cancelling.mu.Lock()
	c.cancelling.underway = false
	c.cancelling.done.Broadcast()
	c.cancelling.mu.Unlock()
	if err := <-sent; err != nil || len(c.toUp) == 0 {
		t.Errorf("afterwards: %v", err)
	}
}
