package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/countersign-dev/countersign/api"
	"github.com/countersign-dev/countersign/store/tiles"
	"github.com/countersign-dev/countersign/trail"
)

type trailCmd struct {
	Search trailSearchCmd `cmd:"" help:"List events, newest first."`
	Show   trailShowCmd   `cmd:"" help:"Tell the whole story of a request, action or session."`
	Verify trailVerifyCmd `cmd:"" help:"Check a copy of the trail, or a proof, against what was kept elsewhere. Works offline."`
	Export trailExportCmd `cmd:"" help:"Write the trail as a folder that anybody can verify."`
	Proof  trailProofCmd  `cmd:"" help:"Write the proof that one event is in the log, for trail verify."`
}

// trailReader reads a trail: a running gateway's, or a folder's.
type trailReader interface {
	Search(ctx context.Context, q trail.Query) (events []api.Event, next uint64, err error)
	Story(ctx context.Context, id string) ([]api.Event, error)
}

// trailFrom says which trail is read.
type trailFrom struct {
	Data string `help:"Read this folder instead of asking a gateway: the data_dir of a stopped one, or an export." placeholder:"DIR" type:"path"`
}

// open returns the reader and its end.
func (f trailFrom) open(s *sys) (trailReader, func(), error) {
	if f.Data != "" {
		o, err := openOffline(s.ctx, f.Data)
		if err != nil {
			return nil, nil, err
		}
		return o, func() { _ = o.closer.Close() }, nil // only read
	}
	c, err := s.client()
	return c, func() {}, err
}

type trailSearchCmd struct {
	trailFrom
	Text      string `arg:"" optional:"" help:"A part of any field's value."`
	Type      string `help:"A type (action.intent), or the beginning of one (request.)."`
	Principal string `help:"agent:NAME or person:NAME."`
	Resource  string `help:"A resource."`
	Request   string `help:"A request's id."`
	Action    string `help:"An action's id."`
	Session   string `help:"A session's id."`
	Since     string `help:"A time (2026-01-31 or 2026-01-31T12:00:00Z), or a duration ago (2h)." placeholder:"TIME"`
	Until     string `help:"As --since." placeholder:"TIME"`
	Before    uint64 `help:"Only events before this number."`
	Limit     int    `default:"50" help:"At most so many (up to 500)."`
	JSON      bool   `name:"json" help:"Print JSON."`
}

// Run searches the trail.
func (c *trailSearchCmd) Run(s *sys) error {
	now := time.Now()
	q := trail.Query{
		Type: c.Type, Principal: c.Principal, Resource: c.Resource, Request: c.Request, Action: c.Action, Session: c.Session,
		Text: c.Text, Before: c.Before, Limit: c.Limit,
	}
	var err error
	if q.Since, err = moment(c.Since, now); err == nil {
		q.Until, err = moment(c.Until, now)
	}
	if err != nil {
		return usage(err.Error(), "")
	}
	r, done, err := c.open(s)
	if err != nil {
		return err
	}
	defer done()
	events, next, err := r.Search(s.ctx, q)
	if err != nil {
		return err
	}
	if c.JSON {
		return s.printJSON(events)
	}
	if len(events) == 0 {
		fmt.Fprintln(s.out, "No event is like that.")
		return nil
	}
	eventTable(s.page(), events, now)
	if next != 0 {
		fmt.Fprintf(s.out, "There may be more: add --before %d\n", next)
	}
	return nil
}

// moment reads a time or a duration before now.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	for _, form := range []string{time.RFC3339Nano, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(form, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is neither a time nor a duration", text)
}

type trailShowCmd struct {
	trailFrom
	ID   string `arg:"" help:"A request (req_…), action (act_…), session (ses_…), or the number of an event."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Run shows a story.
func (c *trailShowCmd) Run(s *sys) error {
	r, done, err := c.open(s)
	if err != nil {
		return err
	}
	defer done()
	id := c.ID
	if n, err := strconv.ParseUint(id, 10, 63); err == nil {
		if id, err = subject(s.ctx, r, n); err != nil {
			return err
		}
	}
	if !strings.Contains(id, "_") {
		return usage("what is shown has an id that begins with req_, act_ or ses_, or a number", "countersign trail search lists them")
	}
	events, err := r.Story(s.ctx, id)
	if err != nil {
		return err
	}
	if c.JSON {
		return s.printJSON(events)
	}
	storyPage(s.page(), id, events, time.Now())
	return nil
}

// subject returns what the event of that number is about.
func subject(ctx context.Context, r trailReader, number uint64) (string, error) {
	events, _, err := r.Search(ctx, trail.Query{Before: number + 1, Limit: 1})
	if err != nil {
		return "", err
	}
	if len(events) == 1 && events[0].Number == number {
		for _, f := range []string{"request", "action", "session"} {
			if v := events[0].Get(f); v != "" {
				return v, nil
			}
		}
		return "", &failure{code: exitNo, what: fmt.Sprintf("event %d is about no request, action or session", number), next: fmt.Sprintf("countersign trail search --before %d --limit 1 --json", number+1)}
	}
	return "", &failure{code: exitNo, what: fmt.Sprintf("there is no event %d", number)}
}

type trailExportCmd struct {
	Dir string `arg:"" help:"A new or empty folder." type:"path"`
}

// Run exports the trail of a running gateway.
func (c *trailExportCmd) Run(s *sys) error {
	if entries, err := os.ReadDir(c.Dir); err == nil && len(entries) > 0 {
		return usage("the folder "+c.Dir+" is not empty", "name a new one")
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	body, err := client.Export(s.ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := tiles.Unpack(body, c.Dir); err != nil {
		return &failure{code: exitUnavailable, what: err.Error(), next: "what was written is not whole: remove " + c.Dir + " and export again"}
	}
	// An archive ends with padding; only reading to its end tells that nothing was broken off.
	if _, err := io.Copy(io.Discard, body); err != nil {
		return &failure{code: exitUnavailable, what: "the export was broken off: " + err.Error(), next: "remove " + c.Dir + " and export again"}
	}
	logs, closer, err := tiles.Open(c.Dir)
	if err != nil {
		return err
	}
	defer closer.Close()
	fmt.Fprintf(s.out, "%d events of the log %s are in %s.\n", logs[0].Size(), logs[0].Origin(), c.Dir)
	fmt.Fprintf(s.out, "Check them: countersign trail verify %s --since CHECKPOINT-KEPT-ELSEWHERE --keys LOG.PUB\n", c.Dir)
	return nil
}

type trailProofCmd struct {
	Number uint64 `arg:"" help:"The event's number."`
	Out    string `short:"o" help:"Write it to this file instead of standard output." placeholder:"FILE" type:"path"`
}

// Run writes a proof.
func (c *trailProofCmd) Run(s *sys) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	proof, err := client.Proof(s.ctx, c.Number)
	if err != nil {
		return err
	}
	if c.Out == "" {
		_, err := s.out.Write(proof)
		return err
	}
	if err := os.WriteFile(c.Out, proof, 0o600); err != nil {
		return usage(err.Error(), "")
	}
	fmt.Fprintf(s.out, "Check it: countersign trail verify %s --keys LOG.PUB\n", c.Out)
	return nil
}
