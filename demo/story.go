package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const (
	customers = 5000 // rows, as shop.sql makes them
	readLimit = 100  // rows, as policy.yaml has it
	stepLimit = 30 * time.Second

	copyStatement = "COPY customers TO STDOUT"
	signLimit     = 15 * time.Minute // how long a hold of psql waits, and so the user has
)

// story is what the steps share.
type story struct {
	*demo
	session *psql
	request string
}

// play tells the story. Each step returns an error when it came out otherwise than told.
func (d *demo) play(ctx context.Context) error {
	s := &story{demo: d}
	defer func() {
		if s.session != nil {
			s.session.close()
		}
	}()
	s.introduce()
	for _, step := range []struct {
		title string
		limit time.Duration
		play  func(context.Context) error
	}{
		{"The agent reads what it needs", stepLimit, s.smallRead},
		{"The agent reads too much", stepLimit, s.rowLimit},
		{"The agent exports customer data: it is held", stepLimit, s.held},
		{"Nobody signs for himself", stepLimit, s.selfApproval},
		{"Another person signs, and the same connection goes on", signLimit, s.signed},
		{"The agent deletes without WHERE", stepLimit, s.denied},
		{"What happened, in one page", stepLimit, s.shown},
		{"Nobody rewrites what happened", stepLimit, s.proven},
	} {
		s.title(step.title)
		limited, cancel := context.WithTimeout(ctx, step.limit)
		err := step.play(limited)
		cancel()
		if err != nil {
			return fmt.Errorf("step %d, %q: %w", s.step, step.title, err)
		}
	}
	s.line("")
	s.good("Every step came out as told.")
	return nil
}

func (s *story) introduce() {
	s.line("")
	s.line(s.paint(bold, "Countersign: the second signature that makes an order valid."))
	s.line("")
	s.say(fmt.Sprintf("On this machine now run a private PostgreSQL server with a sample shop (%d customers with "+
		"e-mail addresses, phone numbers and cards; their orders; staff with password hashes) and the gateway in front of it.", customers))
	s.line("")
	s.line("  database   " + s.postgres.Addr + "   its password is known to the gateway alone")
	s.line("  gateway    " + s.front + "   agents connect here, as to any PostgreSQL")
	s.line("  files      " + s.dir + "   configuration, policy, trail")
	s.line("")
	s.line("  deploy-bot an AI agent; it works for ana, who answers for it")
	s.line("  ana, ben   people of the group dba, who may sign")
	s.line("  kim        an auditor, who may read the trail")
}

// run has the agent run a statement to its end, showing at most shown lines of the answer.
func (s *story) run(ctx context.Context, statement string, shown int) ([]string, error) {
	s.prompt("deploy-bot", statement)
	if err := s.session.send(statement); err != nil {
		return nil, err
	}
	lines, err := s.session.rest(ctx)
	s.abridged(lines, shown)
	return lines, err
}

func (s *story) abridged(lines []string, shown int) {
	if len(lines) <= shown {
		s.output(lines...)
		return
	}
	messages := 0
	for i := len(lines) - 1; i >= 0 && isMessage(lines[i]); i-- {
		messages++
	}
	s.output(lines[:shown]...)
	if hidden := len(lines) - shown - messages; hidden > 0 {
		s.output(fmt.Sprintf("… and %d more lines", hidden))
	}
	s.output(lines[max(shown, len(lines)-messages):]...)
}

func (s *story) smallRead(ctx context.Context) error {
	var err error
	if s.session, err = s.connect(); err != nil {
		return err
	}
	s.say("psql connects to the gateway with the agent's own token as the password.")
	lines, err := s.run(ctx, "SELECT id, name, city FROM customers WHERE id = 17;", 10)
	if err != nil {
		return err
	}
	if !contains(lines, "(1 row)") {
		return unexpected("one row", lines)
	}
	s.good("It ran at once: policy allows an agent small reads.")
	return nil
}

func (s *story) rowLimit(ctx context.Context) error {
	lines, err := s.run(ctx, "SELECT * FROM customers;", 6)
	if err != nil {
		return err
	}
	text := strings.Join(lines, "\n")
	if !strings.Contains(text, "ERROR") || !strings.Contains(text, "HINT") || !strings.Contains(text, fmt.Sprint(readLimit)) {
		return unexpected("an error that names the limit and the way on", lines)
	}
	if n := strings.Count(text, "@example."); n > readLimit {
		return fmt.Errorf("%d customers came through a limit of %d rows", n, readLimit)
	}
	s.good(fmt.Sprintf("Policy lets an agent read %d rows at a time; the error says how to get more.", readLimit))
	return nil
}

var requestID = regexp.MustCompile(`\breq_[0-9A-Za-z]{20}\b`)

func (s *story) held(ctx context.Context) error {
	s.prompt("deploy-bot", copyStatement+";")
	if err := s.session.send(copyStatement + ";"); err != nil {
		return err
	}
	var notice []string
	for {
		line, err := s.session.next(ctx)
		if err != nil {
			return errors.Join(unexpected("a NOTICE that it is held", notice), err)
		}
		notice = append(notice, line)
		s.output(line)
		if id := requestID.FindString(line); id != "" && s.request == "" {
			s.request = id
		}
		if s.request != "" && (strings.HasPrefix(line, "HINT") || strings.Contains(line, "countersign approve")) {
			break
		}
	}
	if !strings.HasPrefix(notice[0], "NOTICE") {
		return unexpected("a NOTICE first", notice)
	}
	s.good("Nothing was sent to the database. psql waits; the NOTICE says who has to sign, and how.")
	return nil
}

func (s *story) selfApproval(ctx context.Context) error {
	for _, try := range []struct{ who, reason, because string }{
		{"deploy-bot", "never sign", "An agent never signs, whatever token it holds."},
		{"ana", "ana", "She is in dba, but the agent works for her: it would be her own signature."},
	} {
		s.prompt(try.who, "countersign approve "+s.request)
		a, err := s.as(ctx, try.who, "approve", s.request)
		if err != nil {
			return err
		}
		s.output(strings.Split(a.err, "\n")...)
		if a.code == 0 || !strings.Contains(a.err, try.reason) {
			return fmt.Errorf("%s's approval was not refused with a reason: %v", try.who, a)
		}
		s.good(try.because)
	}
	return s.stillPending(ctx)
}

// stillPending checks that the refusals left the request as it was.
func (s *story) stillPending(ctx context.Context) error {
	a, err := s.as(ctx, "ben", "requests", "show", s.request)
	if err != nil {
		return err
	}
	if head, _, _ := strings.Cut(a.out, "\n"); a.code != 0 || !strings.Contains(head, "pending") {
		return fmt.Errorf("the request is not pending any more: %v", a)
	}
	return nil
}

func (s *story) signed(ctx context.Context) error {
	if s.auto {
		s.say("ben looks at the request and signs it.")
		s.prompt("ben", "countersign approve "+s.request)
		a, err := s.as(ctx, "ben", "approve", s.request, "--yes", "--reason", "monthly report, ticket 4711")
		if err != nil {
			return err
		}
		s.page(a.out)
		if a.code != 0 {
			return fmt.Errorf("ben's approval was refused: %v", a)
		}
	} else {
		s.say("Now you are ben. In a second shell on this machine, look at what is asked, then sign it:")
		s.line("")
		s.line("    " + s.paint(bold, s.path("ben")+" requests show "+s.request))
		s.line("    " + s.paint(bold, s.path("ben")+" approve "+s.request))
		s.line("")
		s.say("psql is still waiting …")
	}
	return s.arrived(ctx)
}

// arrived waits for the answer of the held statement.
func (s *story) arrived(ctx context.Context) error {
	var data, said []string
	for {
		line, err := s.session.next(ctx)
		if errors.Is(err, errStatementOver) {
			break
		}
		if err != nil {
			return err
		}
		if strings.Contains(line, "@example.") {
			data = append(data, line)
			continue
		}
		said = append(said, line)
		s.output(line)
	}
	s.prompt("deploy-bot", "(the answer of COPY arrives)")
	s.abridged(data, 3)
	if len(data) != customers {
		return fmt.Errorf("%d customers arrived; want %d:\n%s", len(data), customers, strings.Join(said, "\n"))
	}
	s.good(fmt.Sprintf("All %d customers arrived, on the connection that had asked.", customers))
	return nil
}

func (s *story) denied(ctx context.Context) error {
	lines, err := s.run(ctx, "DELETE FROM orders;", 10)
	if err != nil {
		return err
	}
	if text := strings.Join(lines, "\n"); !strings.Contains(text, "ERROR") || !strings.Contains(text, "never-every-row") {
		return unexpected("a denial by the rule never-every-row", lines)
	}
	lines, err = s.run(ctx, "SELECT count(*) FROM orders;", 10)
	if err != nil {
		return err
	}
	if !contains(lines, "12000") {
		return unexpected("12000 orders", lines)
	}
	s.good("Policy denies it, nobody can sign it, and the session lives on.")
	return nil
}

func (s *story) shown(ctx context.Context) error {
	s.say("kim, the auditor, asks what became of the export.")
	s.prompt("kim", "countersign trail show "+s.request)
	a, err := s.as(ctx, "kim", "trail", "show", s.request)
	if err != nil {
		return err
	}
	s.page(a.out)
	if a.code != 0 {
		return fmt.Errorf("trail show failed: %v", a)
	}
	for _, want := range []string{s.request, "deploy-bot", "ana", "ben", copyStatement, "export", "exports-are-signed"} {
		if !strings.Contains(a.out, want) {
			return fmt.Errorf("trail show does not tell %q", want)
		}
	}
	s.good("Who asked and for whom, what it would do, which rule, who signed, what happened.")
	return nil
}

// proven checks the log against a checkpoint that was kept elsewhere, then a copy with one byte changed.
func (s *story) proven(ctx context.Context) error {
	s.say("kim keeps a checkpoint of the log elsewhere, exports the log, and checks one against the other, offline.")
	if err := s.keepCheckpoint(ctx); err != nil {
		return err
	}
	s.prompt("kim", "countersign trail export "+s.path("export"))
	a, err := s.as(ctx, "kim", "trail", "export", s.path("export"))
	if err != nil {
		return err
	}
	if a.code != 0 {
		return fmt.Errorf("trail export failed: %v", a)
	}
	if err := s.verify(ctx, "export", true); err != nil {
		return err
	}
	if err := os.CopyFS(s.path("copy"), os.DirFS(s.path("export"))); err != nil {
		return err
	}
	file, err := flipByte(s.path("copy"))
	if err != nil {
		return err
	}
	s.line("")
	s.say("Now one byte of one event is changed in a copy, in " + file + ".")
	if err := s.verify(ctx, "copy", false); err != nil {
		return err
	}
	s.good("Against a checkpoint kept outside, any change is found, and the event is named.")
	return nil
}

var eventName = regexp.MustCompile(`event [0-9]+ \([a-z]+\.[a-z]+, [0-9a-f-]{36}`)

func (s *story) verify(ctx context.Context, dir string, sound bool) error {
	args := []string{"trail", "verify", s.path(dir), "--since", s.path(keptFile), "--keys", s.path("keys/log.pub")}
	s.prompt("kim", "countersign "+strings.Join(args[:3], " ")+" \\\n  "+strings.Join(args[3:5], " ")+" \\\n  "+strings.Join(args[5:], " "))
	a, err := s.as(ctx, "kim", args...)
	if err != nil {
		return err
	}
	s.page(strings.TrimSpace(a.out + "\n" + a.err))
	switch {
	case sound && (a.code != 0 || !strings.Contains(a.out, "anchored")):
		return fmt.Errorf("verify found fault with a sound log: %v", a)
	case !sound && (a.code != 1 || !eventName.MatchString(a.out)):
		return fmt.Errorf("verify did not name the event with the changed byte: %v", a)
	}
	return nil
}

const (
	keptFile = "elsewhere/checkpoint"
	// settled is more than the time within which the gateway writes what has happened to its checkpoint outside.
	settled = 1500 * time.Millisecond
)

// keepCheckpoint copies the newest checkpoint to where nobody who changes the log would reach it.
func (s *story) keepCheckpoint(ctx context.Context) error {
	select {
	case <-time.After(settled):
	case <-ctx.Done():
		return ctx.Err()
	}
	s.prompt("kim", "cp "+s.path("checkpoints/checkpoint")+" \\\n  "+s.path(keptFile))
	data, err := os.ReadFile(s.path("checkpoints/checkpoint"))
	if err != nil {
		return err
	}
	return s.write(keptFile, data, 0o600)
}

// flipByte changes one letter of the recorded statement, in the first file that holds it, and returns that file.
func flipByte(dir string) (string, error) {
	var changed string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		at := bytes.Index(data, []byte(copyStatement))
		if at < 0 {
			return nil
		}
		data[at] ^= 1
		changed = path
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
		return fs.SkipAll
	})
	if err == nil && changed == "" {
		err = errors.New("no file of the export holds the statement")
	}
	return strings.TrimPrefix(changed, dir+"/"), err
}

// leaveRunning keeps everything until the user has seen enough.
func (d *demo) leaveRunning(ctx context.Context) {
	d.line("")
	d.say("Everything is still running. Try it, for instance:")
	d.line("")
	for _, c := range [][2]string{{"psql", "be the agent"}, {"ben requests", "what waits for ben"}, {"kim trail search", "what has happened"}} {
		d.line(fmt.Sprintf("    %s  %s", d.paint(bold, fmt.Sprintf("%-50s", d.path(c[0]))), c[1]))
	}
	d.line("")
	d.say("Ctrl-C ends it and removes everything.")
	<-ctx.Done()
	d.line("")
	d.say("Cleaning up.")
}

func contains(lines []string, part string) bool {
	for _, l := range lines {
		if strings.Contains(l, part) {
			return true
		}
	}
	return false
}

func unexpected(want string, got []string) error {
	return fmt.Errorf("want %s; got:\n%s", want, strings.Join(got[:min(len(got), 20)], "\n"))
}
