package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/api"
	"github.com/countersign-dev/countersign/approval"
)

type requestsCmd struct {
	Ls     requestsLsCmd     `cmd:"" default:"withargs" help:"List the requests that are yours to see, newest first."`
	Show   requestsShowCmd   `cmd:"" help:"Show one request as a reviewer sees it."`
	Cancel requestsCancelCmd `cmd:"" help:"End a request of yours, or of your agents."`
	Wait   requestsWaitCmd   `cmd:"" help:"Wait until a request is signed or has ended."`
}

type requestsLsCmd struct {
	State []string `help:"Only these states: pending, approved, denied, expired, cancelled, claimed, done, failed, …" placeholder:"STATE"`
	All   bool     `help:"Those that have ended too."`
	Limit int      `default:"50" help:"At most so many (up to 500)."`
	JSON  bool     `name:"json" help:"Print JSON."`
}

// Run lists requests.
func (c *requestsLsCmd) Run(s *sys) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	var states []approval.State
	for _, st := range c.State {
		states = append(states, approval.State(st))
	}
	if len(states) == 0 && !c.All {
		states = []approval.State{approval.Pending, approval.Approved}
	}
	list, err := client.Requests(s.ctx, states, c.Limit)
	if err != nil {
		return err
	}
	if c.JSON {
		return s.printJSON(list)
	}
	if len(list) == 0 {
		fmt.Fprintln(s.out, "No requests wait that are yours to see.")
		if !c.All {
			fmt.Fprintln(s.out, "countersign requests ls --all shows those that have ended, too.")
		}
		return nil
	}
	now := time.Now()
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{string(r.ID), stateText(r, now), r.Requester.ID(), string(r.Resource), r.Effects.String(), signText(r), cut(oneLine(r.Text), 60)})
	}
	s.page().table([]string{"REQUEST", "STATE", "ASKED BY", "RESOURCE", "EFFECTS", "YOU", "WHAT"}, rows)
	return nil
}

func stateText(r api.Summary, now time.Time) string {
	switch {
	case r.State == approval.Pending && r.Deadline.After(now):
		return "pending, " + about(r.Deadline.Sub(now)) + " left"
	case r.State == approval.Approved && r.ClaimBy.After(now):
		return "approved, " + about(r.ClaimBy.Sub(now)) + " left"
	default:
		return strings.ReplaceAll(string(r.State), "_", " ")
	}
}

func signText(r api.Summary) string {
	switch {
	case r.State != approval.Pending:
		return ""
	case r.You.CanSign:
		return "can sign"
	default:
		return "cannot sign"
	}
}

type requestArg struct {
	ID string `arg:"" help:"The request's id: req_…"`
}

func (a requestArg) id() countersign.RequestID { return countersign.RequestID(a.ID) }

type requestsShowCmd struct {
	requestArg
	JSON bool `name:"json" help:"Print JSON."`
}

// Run shows a request.
func (c *requestsShowCmd) Run(s *sys) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	r, err := client.Request(s.ctx, c.id())
	if err != nil {
		return err
	}
	if c.JSON {
		return s.printJSON(r)
	}
	requestPage(s.page(), r, time.Now())
	return nil
}

type requestsCancelCmd struct {
	requestArg
	Reason string `help:"Why; kept in the trail, sanitized."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Run cancels a request.
func (c *requestsCancelCmd) Run(s *sys) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	r, err := client.Cancel(s.ctx, c.id(), c.Reason)
	if err != nil {
		return err
	}
	if c.JSON {
		return s.printJSON(r)
	}
	fmt.Fprintf(s.out, "Request %s is %s.\n", r.ID, r.State)
	return nil
}

type requestsWaitCmd struct {
	requestArg
	Timeout time.Duration `default:"1h" help:"How long to wait at most."`
	JSON    bool          `name:"json" help:"Print JSON."`
}

// Run waits for an answer. The exit code says which: 0 signed, 1 the answer is no, 3 none yet.
func (c *requestsWaitCmd) Run(s *sys) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	end := time.Now().Add(c.Timeout)
	r, err := client.Request(s.ctx, c.id())
	for err == nil && r.State == approval.Pending && time.Now().Before(end) {
		r, err = client.Wait(s.ctx, c.id(), r.Revision, time.Until(end))
	}
	if err != nil {
		return err
	}
	if c.JSON {
		if err := s.printJSON(r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(s.out, "Request %s is %s.\n", r.ID, strings.ReplaceAll(string(r.State), "_", " "))
		if !r.Why.IsZero() {
			fmt.Fprintf(s.out, "%s\n", visible(r.Why.String()))
		}
	}
	switch r.State {
	case approval.Pending:
		return silent(exitUnavailable)
	case approval.Denied, approval.Expired, approval.Cancelled, approval.Lapsed, approval.Revoked:
		return silent(exitNo)
	default:
		return nil
	}
}
