package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/countersign-dev/countersign/api"
	"github.com/countersign-dev/countersign/approval"
)

type approveCmd struct {
	requestArg
	Reason string `help:"Why; kept in the trail, sanitized."`
	Yes    bool   `help:"Do not ask: for scripts, which have read what they sign."`
	JSON   bool   `name:"json" help:"Print JSON after signing."`
}

type denyCmd struct {
	requestArg
	Reason string `help:"Why; the requester is told, and it is kept in the trail, sanitized."`
	Yes    bool   `help:"Do not ask."`
	JSON   bool   `name:"json" help:"Print JSON afterwards."`
}

// Run shows the request, asks, and signs what was shown.
func (c *approveCmd) Run(s *sys) error {
	return s.sign(signing{id: c.requestArg, verdict: approval.Approve, reason: c.Reason, yes: c.Yes, json: c.JSON})
}

// Run shows the request, asks, and denies what was shown.
func (c *denyCmd) Run(s *sys) error {
	return s.sign(signing{id: c.requestArg, verdict: approval.Deny, reason: c.Reason, yes: c.Yes, json: c.JSON})
}

type signing struct {
	id        requestArg
	verdict   approval.Verdict
	reason    string
	yes, json bool
}

func (s *sys) sign(sg signing) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	r, err := client.Request(s.ctx, sg.id.id())
	if err != nil {
		return err
	}
	if err := whole(r, sg); err != nil {
		return err
	}
	if sg.verdict == approval.Approve && confirms(r) {
		sg.verdict = approval.Confirm
	}
	if !sg.json {
		requestPage(s.page(), r, time.Now())
		fmt.Fprintln(s.out)
	}
	// Who cannot sign is not asked; the gateway refuses him in its own words, and records that.
	if r.You.CanSign {
		if err := s.ask(sg); err != nil {
			return err
		}
	}
	// What is signed is what was shown: the digest of the view is computed here, from the very value that
	// the page was made of, and never taken from the answer.
	signed, err := client.Review(s.ctx, r.ID, sg.verdict, r.View.Digest, r.View.ViewDigest(), sg.reason)
	if err != nil {
		return err
	}
	if sg.json {
		return s.printJSON(signed)
	}
	done := map[approval.Verdict]string{approval.Approve: "signed", approval.Confirm: "confirmed", approval.Deny: "denied"}
	fmt.Fprintf(s.out, "You have %s request %s. It is %s now.\n", done[sg.verdict], signed.ID, signed.State)
	if signed.State == approval.Pending && len(signed.Needs) > 0 {
		fmt.Fprintf(s.out, "Still needed: %s\n", visible(strings.Join(signed.Needs, "; ")))
	}
	return nil
}

// whole refuses an answer whose parts do not belong together: then what is shown is not what would be signed.
func whole(r api.Request, sg signing) error {
	switch {
	case r.ID != sg.id.id() || r.View.Request != r.ID:
		return &failure{code: exitNo, what: "the gateway's answer is about another request; nothing is signed"}
	case r.View.ViewDigest() != r.ViewDigest:
		return &failure{
			code: exitNo, what: "what the gateway shows is not what it says it shows; nothing is signed",
			why:  fmt.Sprintf("the view has the digest %s, the request names %s", r.View.ViewDigest(), r.ViewDigest),
			next: "use a countersign of the gateway's version; if it is, tell whoever runs the gateway",
		}
	case r.View.Digest != r.Digest:
		return &failure{code: exitNo, what: "the view is of another action than the request; nothing is signed"}
	}
	return nil
}

// confirms reports whether the caller's word on r is the confirmation of the person acted for.
func confirms(r api.Request) bool {
	person, ok := strings.CutPrefix(r.You.Principal, "person:")
	if !ok || !r.Confirm {
		return false
	}
	for _, p := range r.Requester.Chain {
		if string(p) == person {
			return true
		}
	}
	return false
}

// ask returns nil when the user says yes.
func (s *sys) ask(sg signing) error {
	if sg.yes {
		return nil
	}
	if !s.inTTY {
		return usage("nobody is at the terminal to say yes", "pass --yes in a script that has read what it signs")
	}
	question := "Sign this, exactly as shown?"
	switch sg.verdict {
	case approval.Deny:
		question = "Deny this request?"
	case approval.Confirm:
		question = "Confirm that this is done on your behalf?"
	}
	fmt.Fprintf(s.out, "%s [y/N] ", question)
	line, err := s.readLine()
	if err != nil {
		fmt.Fprintln(s.out)
		return err
	}
	if slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(line))) {
		return nil
	}
	fmt.Fprintln(s.out, "Nothing was done.")
	return silent(exitNo)
}
