package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/countersign-dev/countersign/api"
	"github.com/countersign-dev/countersign/store/archive"
	"github.com/countersign-dev/countersign/store/keys"
	"github.com/countersign-dev/countersign/store/sqlite"
	"github.com/countersign-dev/countersign/trail"
)

type trailVerifyCmd struct {
	Path  string `arg:"" help:"An exported folder, a stopped gateway's data_dir, or the file of a proof." type:"path"`
	Since string `help:"Checkpoints that were kept elsewhere, one or more in a file." placeholder:"CHECKPOINT" type:"path"`
	Keys  string `help:"The log's public key (log.pub), from whoever runs the gateway; never from the copy." placeholder:"FILE" type:"path"`
	JSON  bool   `name:"json" help:"Print JSON."`
}

// verified is the answer of verify. Scripts rely on ok and verdict.
type verified struct {
	OK           bool            `json:"ok"`
	Verdict      string          `json:"verdict"`
	Origin       string          `json:"origin"`
	Events       uint64          `json:"events"`
	Root         string          `json:"root"`
	Anchored     bool            `json:"anchored"`
	AnchoredSize uint64          `json:"anchored_size"`
	Problems     []verifyProblem `json:"problems"`
	More         int             `json:"more_problems,omitempty"`
	Notes        []string        `json:"notes"`
	Earlier      []verified      `json:"earlier,omitempty"`
}

type verifyProblem struct {
	Kind   trail.ProblemKind `json:"kind"`
	Number uint64            `json:"number"`
	Last   uint64            `json:"last"`
	ID     string            `json:"id,omitempty"`
	Type   string            `json:"type,omitempty"`
	Time   time.Time         `json:"time,omitzero"`
	What   string            `json:"what"`
}

// proofStart begins the file of a proof.
var proofStart = []byte("c2sp.org/tlog-proof@")

// Run verifies. The exit code is 1 when something is wrong with the copy.
func (c *trailVerifyCmd) Run(s *sys) error {
	given := map[*string][]byte{&c.Since: nil, &c.Keys: nil}
	for path := range given {
		if *path == "" {
			continue
		}
		data, err := archive.ReadGiven(*path)
		if err != nil {
			return usage(err.Error(), "")
		}
		if len(bytes.TrimSpace(data)) == 0 {
			return usage(*path+" is empty", "")
		}
		given[path] = data
	}
	if info, err := os.Stat(c.Path); err == nil && info.Mode().IsRegular() {
		return c.proof(s, given[&c.Keys])
	}
	report, err := archive.Verify(s.ctx, c.Path, given[&c.Since], given[&c.Keys])
	if err != nil {
		var refused *sqlite.Refusal
		if errors.As(err, &refused) {
			return &failure{code: exitNo, what: refused.Error()}
		}
		return &failure{code: codeOfCopy(err), what: "cannot verify " + c.Path + ": " + err.Error()}
	}
	if c.JSON {
		if err := s.printJSON(verifiedOf(report)); err != nil {
			return err
		}
	} else {
		verifyPage(s.page(), c, report)
	}
	if !report.OK() {
		return silent(exitNo)
	}
	return nil
}

// codeOfCopy: a path that is no trail is a wrong use; a trail that cannot be read is not verified.
func codeOfCopy(err error) int {
	if errors.Is(err, archive.ErrUnknownForm) || errors.Is(err, os.ErrNotExist) {
		return exitUsage
	}
	return exitNo
}

func verifiedOf(r trail.Report) verified {
	v := verified{
		OK: r.OK(), Verdict: r.Verdict(), Origin: r.Origin, Events: r.Size, Root: r.Root.String(),
		Anchored: r.Anchored, AnchoredSize: r.AnchoredSize, Problems: []verifyProblem{}, More: r.More, Notes: r.Notes,
	}
	for _, p := range r.Problems {
		out := verifyProblem{Kind: p.Kind, Number: p.Number, Last: p.Last, Type: string(p.Type), Time: p.Time, What: p.What}
		if p.ID != (trail.ID{}) {
			out.ID = p.ID.String()
		}
		v.Problems = append(v.Problems, out)
	}
	for _, e := range r.Earlier {
		v.Earlier = append(v.Earlier, verifiedOf(e))
	}
	return v
}

func verifyPage(p *page, c *trailVerifyCmd, r trail.Report) {
	head := "Sound"
	if !r.OK() {
		head = "NOT SOUND"
	}
	p.title(fmt.Sprintf("%s: %s", head, r.Verdict()))
	reportRows(p, r)
	for _, e := range r.Earlier {
		p.section("EARLIER LOG")
		p.row("verdict", e.Verdict())
		reportRows(p, e)
	}
	if c.Since == "" {
		p.section("MIND")
		p.line("No checkpoint from outside was given. A copy that was rolled back to an older state, or made anew by")
		p.line("whoever holds the log's key, looks the same as a true one: pass one that was kept elsewhere with --since.")
	}
	if c.Keys == "" {
		if c.Since != "" {
			p.section("MIND")
		}
		p.line("No key was given, so signatures were not checked: pass the log's public key with --keys.")
	}
}

func reportRows(p *page, r trail.Report) {
	p.row("log", r.Origin)
	p.row("events", fmt.Sprint(r.Size))
	p.row("root", r.Root.String())
	for _, problem := range r.Problems {
		p.row("wrong", problem.String())
	}
	if r.More > 0 {
		p.row("", fmt.Sprintf("and %d more", r.More))
	}
	for _, n := range r.Notes {
		p.row("note", n)
	}
}

// proof checks the proof of one event and shows the event.
func (c *trailVerifyCmd) proof(s *sys, trusted []byte) error {
	data, err := archive.ReadGiven(c.Path)
	if err != nil {
		return usage(err.Error(), "")
	}
	if !bytes.HasPrefix(data, proofStart) {
		return usage(c.Path+" is a file, and not a proof", "give the folder of an export, a data_dir, or what countersign trail proof wrote")
	}
	if trusted == nil {
		return usage("a proof is checked against the log's public key", "pass it with --keys")
	}
	known, err := keys.ParseVerifiers(trusted)
	if err != nil {
		return usage(c.Keys+": "+err.Error(), "")
	}
	proven, err := trail.CheckProof(data, known)
	if err != nil {
		return &failure{code: exitNo, what: "the proof does not hold: " + err.Error()}
	}
	events := api.Events([]trail.Found{{Number: proven.Number, Entry: proven.Entry}})
	if c.JSON {
		return s.printJSON(events[0])
	}
	p := s.page()
	p.title(fmt.Sprintf("Proven: event %d of the log %s", proven.Number, proven.Checkpoint.Origin))
	p.row("time", proven.Entry.Time.Format(time.RFC3339Nano))
	p.row("type", string(proven.Entry.Type))
	for _, f := range events[0].Fields {
		p.row(f.Name, f.Value.String())
	}
	return nil
}
