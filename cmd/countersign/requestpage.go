package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/api"
	"github.com/countersign-dev/countersign/approval"
)

// requestPage writes a request for a person to read before signing: who, what, how that is known, why it
// is held, who signed.
func requestPage(p *page, r api.Request, now time.Time) {
	v := r.View
	p.title(fmt.Sprintf("Request %s: %s", r.ID, stateText(r.Summary, now)))
	if !r.Why.IsZero() {
		p.line(r.Why.String())
	}
	whoSection(p, v)
	whatSection(p, v)
	contextSection(p, v)
	knownSection(p, v)
	rulesSection(p, v)
	signatureSection(p, r, now)
	timeSection(p, r, now)
	p.section("PROOF")
	p.row("digest", r.Digest.String())
	p.row("view", v.ViewDigest().String())
	p.row("policy", r.Policy.String())
	if r.State == approval.Pending {
		youSection(p, r)
	}
}

func whoSection(p *page, v countersign.View) {
	p.section("WHO")
	p.row("asks", v.Requester.ID())
	p.row("on behalf of", joined(v.Requester.Chain))
	p.row("owned by", joined(v.Requester.Owners))
	p.row("groups", joined(v.Requester.Groups))
	on := fmt.Sprintf("%s (%s", v.Resource, v.ResourceKind)
	if len(v.Labels) > 0 {
		on += ", " + strings.Join(v.Labels, ", ")
	}
	on += ")"
	p.row("on", on)
	p.row("in database", v.Database.String())
	p.row("as role", v.Role.String())
	p.row("says", v.Justification.Reason.String())
	p.row("ticket", v.Justification.Ticket.String())
	p.row("run", v.Justification.Run.String())
	if v.Justification != (countersign.Justification{}) {
		p.row("", "(the requester's own words; nobody has checked them)")
	}
}

func whatSection(p *page, v countersign.View) {
	p.section("WHAT")
	p.code(v.Text.String())
	p.row("effects", strings.Join(v.Effects.Names(), ", "))
	for i, o := range v.Objects {
		name := ""
		if i == 0 {
			name = "reaches"
		}
		text := o.Kind + " " + o.Name.String()
		if o.Effects != 0 {
			text += ": " + strings.Join(o.Effects.Names(), ", ")
		}
		p.row(name, text)
	}
	p.row("size", factText(v.Facts))
}

// contextSection shows the state of the session that the signature is bound to.
func contextSection(p *page, v countersign.View) {
	if len(v.Context) == 0 {
		return
	}
	p.section("IN A SESSION WITH")
	for _, s := range v.Context {
		value := s.Value.String()
		if value == "" {
			value = `""`
		}
		p.line(s.Name.String() + " = " + value)
	}
}

func knownSection(p *page, v countersign.View) {
	if len(v.Why) == 0 {
		return
	}
	p.section("HOW WE KNOW")
	for _, e := range v.Why {
		p.row(strings.Join(e.Effect.Names(), ", "), e.Why.String())
	}
}

func rulesSection(p *page, v countersign.View) {
	p.section("RULES")
	p.row("decision", string(v.Decision.Verdict))
	p.row("by", strings.Join(v.Decision.Rules, ", "))
	p.row("because", v.Decision.Reason)
	p.row("limits", limitText(v.Decision.Limits))
}

func signatureSection(p *page, r api.Request, now time.Time) {
	p.section("SIGNATURES")
	for _, seat := range r.Seats {
		p.row("asked", seatText(seat))
	}
	if r.Confirm {
		p.row("asked", "confirmation by "+joined(r.Requester.Chain))
	}
	for _, rv := range r.Reviews {
		text := fmt.Sprintf("%s %s at %s, present by %s", rv.Person, pastOf(rv.Verdict), clock(rv.At, now), rv.Presence)
		if !rv.Reason.IsZero() {
			text += fmt.Sprintf("\n“%s”", rv.Reason)
		}
		p.row("given", text)
	}
	if len(r.Reviews) == 0 {
		p.row("given", "none")
	}
	if r.State == approval.Pending {
		for _, n := range r.Needs {
			p.row("missing", n)
		}
	}
}

func timeSection(p *page, r api.Request, now time.Time) {
	p.section("TIME")
	p.row("asked", clock(r.Created, now))
	if r.State == approval.Pending {
		p.row("waits until", clock(r.Deadline, now))
	}
	if !r.ClaimBy.IsZero() {
		p.row("usable until", clock(r.ClaimBy, now))
	}
	for _, u := range r.Uses {
		p.row("ran", fmt.Sprintf("%s at %s: %s", u.Action, clock(u.At, now), strings.ReplaceAll(string(u.Outcome), "_", " ")))
	}
	if !r.Ended.IsZero() {
		p.row("ended", clock(r.Ended, now))
	}
}

func youSection(p *page, r api.Request) {
	p.section("YOU")
	if !r.You.CanSign {
		p.row("cannot sign", r.You.Why.String())
		return
	}
	p.row("can sign", fmt.Sprintf("countersign approve %s\ncountersign deny %s --reason '…'", r.ID, r.ID))
}

func factText(f countersign.Facts) string {
	var parts []string
	if f.RowsKnown {
		parts = append(parts, fmt.Sprintf("exactly %d rows", f.Rows))
	}
	if f.Unbounded {
		parts = append(parts, "EVERY ROW of a table: no WHERE")
	}
	if f.CatalogOnly {
		parts = append(parts, "catalogs only, no stored user data")
	}
	if f.DataUnseen {
		parts = append(parts, "incoming data was too large to be seen and is not part of what is signed")
	}
	if len(parts) == 0 {
		parts = append(parts, "not known")
	}
	if f.InTransaction {
		parts = append(parts, "inside a transaction block")
	}
	if f.Statements > 1 {
		parts = append(parts, fmt.Sprintf("%d statements", f.Statements))
	}
	return strings.Join(parts, "; ")
}

func limitText(l countersign.Limits) string {
	var parts []string
	for _, x := range []struct {
		n    int64
		text string
	}{{l.Rows, "%d rows"}, {l.Bytes, "%d bytes"}, {l.RowsPerHour, "%d rows an hour"}, {l.BytesPerHour, "%d bytes an hour"}} {
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf(x.text, x.n))
		}
	}
	return strings.Join(parts, ", ")
}

func seatText(s countersign.Seat) string {
	text := "one of " + joined(s.Groups) + ", by rule " + s.Rule
	if s.Distinct != "" {
		text += ", through a group of its own"
	}
	if s.Passkey {
		text += ", by passkey"
	}
	return text
}

func pastOf(v approval.Verdict) string {
	switch v {
	case approval.Approve:
		return "approved"
	case approval.Confirm:
		return "confirmed"
	default:
		return "denied"
	}
}

func joined[T ~string](list []T) string {
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = string(v)
	}
	return strings.Join(parts, ", ")
}
