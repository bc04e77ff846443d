package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/api"
)

// storyPage writes what the trail holds about one action, request or session: who asked and for whom, what
// it would do and how that was known, which rules decided, who signed and how they proved presence, what
// happened (P9).
func storyPage(p *page, id string, events []api.Event, now time.Time) {
	s := tellStory(events)
	p.title(fmt.Sprintf("%s: %s", id, s.end()))
	if strings.HasPrefix(id, "ses_") {
		sessionPage(p, events, now)
		return
	}
	s.who(p)
	s.what(p)
	s.rules(p)
	s.signatures(p, now)
	s.timeline(p, now)
	s.outcome(p)
	s.proof(p)
}

// story is the events about one thing, sorted by what they tell.
type story struct {
	events  []api.Event
	asked   api.Event // the first that describes the action
	reviews []api.Event
	ending  api.Event // the last outcome, if there is one
	last    api.Event // of the request's own states
}

func tellStory(events []api.Event) story {
	s := story{events: events}
	for _, e := range events {
		if s.asked.Type == "" && e.Get(countersign.FieldText) != "" {
			s.asked = e
		}
		switch e.Type {
		case countersign.ReviewGiven, countersign.ReviewRefused:
			s.reviews = append(s.reviews, e)
		case countersign.ActionOutcome:
			s.ending = e
		case countersign.RequestOpened, countersign.RequestApproved, countersign.RequestDenied, countersign.RequestExpired,
			countersign.RequestCancelled, countersign.GrantLapsed, countersign.GrantRevoked, countersign.ActionRefused, countersign.GrantClaimed:
			s.last = e
		}
	}
	if s.asked.Type == "" && len(events) > 0 {
		s.asked = events[0]
	}
	return s
}

// end is how it ended, or where it stands, in a few words.
func (s story) end() string {
	if s.ending.Type != "" {
		return strings.ReplaceAll(s.ending.Get(countersign.FieldOutcome), "_", " ")
	}
	switch s.last.Type {
	case "":
		return fmt.Sprintf("%d events", len(s.events))
	case countersign.RequestOpened:
		return "pending"
	case countersign.ActionRefused:
		return "refused"
	case countersign.GrantClaimed:
		return "running"
	default:
		_, word, _ := strings.Cut(string(s.last.Type), ".")
		return word
	}
}

func (s story) who(p *page) {
	p.section("WHO")
	p.row("asked", s.asked.Get(countersign.FieldPrincipal))
	p.row("on behalf of", spaced(s.asked.Get(countersign.FieldChain)))
	p.row("on", s.asked.Get(countersign.FieldResource))
	p.row("in database", s.asked.Get(countersign.FieldDatabase))
	p.row("as role", s.asked.Get(countersign.FieldRole))
	p.row("through", s.asked.Get(countersign.FieldFront))
	p.row("session", s.asked.Get(countersign.FieldSession))
	said := false
	for _, f := range []struct{ name, field string }{
		{"says", countersign.FieldReason}, {"ticket", countersign.FieldTicket}, {"run", countersign.FieldRun},
	} {
		if v := s.asked.Get(f.field); v != "" && s.asked.Get(countersign.FieldText) != "" {
			p.row(f.name, v)
			said = true
		}
	}
	if said {
		p.row("", "(the requester's own words; nobody has checked them)")
	}
}

func (s story) what(p *page) {
	if s.asked.Get(countersign.FieldText) == "" {
		return
	}
	p.section("WHAT")
	p.code(s.asked.Get(countersign.FieldText))
	p.row("effects", spaced(s.asked.Get(countersign.FieldEffects)))
	p.row("reaches", spaced(s.asked.Get(countersign.FieldObjects)))
	p.row("size", spaced(strings.ReplaceAll(s.asked.Get(countersign.FieldFacts), "_", " ")))
	if why := s.asked.Get(countersign.FieldWhy); why != "" {
		p.section("HOW WE KNOW")
		for part := range strings.SplitSeq(why, "; ") {
			effect, text, ok := strings.Cut(part, ": ")
			if !ok {
				effect, text = "", part
			}
			p.row(spaced(effect), text)
		}
	}
}

func (s story) rules(p *page) {
	p.section("RULES")
	p.row("decision", s.asked.Get(countersign.FieldDecision))
	p.row("by", spaced(s.asked.Get(countersign.FieldRules)))
	p.row("policy", s.asked.Get(countersign.FieldPolicy))
}

func (s story) signatures(p *page, now time.Time) {
	if len(s.reviews) == 0 {
		return
	}
	p.section("SIGNATURES")
	for _, e := range s.reviews {
		who := strings.TrimPrefix(e.Get(countersign.FieldReviewer), "person:")
		verdict := e.Get(countersign.FieldVerdict)
		if e.Type == countersign.ReviewRefused {
			text := fmt.Sprintf("tried to %s at %s, and was refused", verdict, clock(e.Time, now))
			for _, f := range []string{countersign.FieldError, "detail"} {
				if v := e.Get(f); v != "" {
					text += "\n" + v
				}
			}
			p.row(who, text)
			continue
		}
		text := fmt.Sprintf("%s at %s, present by %s", pastWord(verdict), clock(e.Time, now), e.Get(countersign.FieldPresence))
		if login := e.Get("login"); login != "" {
			text += ", as " + login
		}
		if reason := e.Get(countersign.FieldReason); reason != "" {
			text += fmt.Sprintf("\n“%s”", reason)
		}
		p.row(who, text)
	}
}

func (s story) timeline(p *page, now time.Time) {
	p.section("TIMELINE")
	for _, e := range s.events {
		p.row(clock(e.Time, now), fmt.Sprintf("%-18s %s", e.Type, eventText(e)))
	}
}

func (s story) outcome(p *page) {
	o := s.ending
	if o.Type == "" && s.last.Get(countersign.FieldError) == "" {
		return
	}
	p.section("OUTCOME")
	if o.Type == "" {
		p.row("refused", s.last.Get(countersign.FieldError))
		p.row("because", s.last.Get("detail"))
		return
	}
	p.row("outcome", strings.ReplaceAll(o.Get(countersign.FieldOutcome), "_", " "))
	p.row("rows", o.Get(countersign.FieldRows))
	p.row("bytes", o.Get(countersign.FieldBytes))
	p.row("took", o.Get(countersign.FieldDuration))
	p.row("error", o.Get(countersign.FieldError))
	p.row("remains", o.Get("remains"))
}

func (s story) proof(p *page) {
	p.section("PROOF")
	var digest, view string
	for _, e := range s.events {
		if d := e.Get(countersign.FieldDigest); d != "" && digest == "" {
			digest, view = d, e.Get(countersign.FieldView)
		}
	}
	p.row("digest", digest)
	p.row("view", view)
	numbers := make([]string, len(s.events))
	for i, e := range s.events {
		numbers[i] = fmt.Sprint(e.Number)
	}
	p.row("events", strings.Join(numbers, ", "))
	if len(numbers) > 0 {
		p.row("each by", "countersign trail proof "+numbers[len(numbers)-1])
	}
}

// sessionPage writes a session: who, and its actions one by one.
func sessionPage(p *page, events []api.Event, now time.Time) {
	s := tellStory(events)
	s.asked = events[0]
	s.who(p)
	p.row("from", s.asked.Get("remote"))
	p.row("client", s.asked.Get("client"))
	p.section("EVENTS")
	eventTable(p, events, now)
}

// eventTable writes events one a line.
func eventTable(p *page, events []api.Event, now time.Time) {
	rows := make([][]string, len(events))
	for i, e := range events {
		about := e.Get(countersign.FieldRequest)
		if about == "" {
			about = e.Get(countersign.FieldAction)
		}
		rows[i] = []string{
			fmt.Sprint(e.Number), clock(e.Time, now), string(e.Type), e.Get(countersign.FieldPrincipal), e.Get(countersign.FieldResource),
			about, cut(oneLine(eventText(e)), 70),
		}
	}
	p.table([]string{"EVENT", "TIME", "TYPE", "WHO", "ON", "ABOUT", "WHAT"}, rows)
}

// eventText is what an event says besides who and when.
func eventText(e api.Event) string {
	var parts []string
	add := func(format string, fields ...string) {
		values := make([]any, len(fields))
		for i, f := range fields {
			v := e.Get(f)
			if v == "" {
				return
			}
			values[i] = v
		}
		parts = append(parts, fmt.Sprintf(format, values...))
	}
	switch e.Type {
	case countersign.ActionIntent, countersign.RequestOpened:
		add("%s", countersign.FieldText)
	case countersign.ActionRefused:
		add("%s", countersign.FieldError)
		add("%s", countersign.FieldText)
	case countersign.ActionOutcome:
		add("%s", countersign.FieldOutcome)
		add("%s rows", countersign.FieldRows)
		add("%s", countersign.FieldDuration)
		add("%s", countersign.FieldError)
	case countersign.ReviewGiven, countersign.ReviewRefused:
		add("%s: %s", countersign.FieldReviewer, countersign.FieldVerdict)
		add("present by %s", countersign.FieldPresence)
		add("%s", countersign.FieldError)
	case countersign.PolicyLoaded:
		add("%s", "source")
		add("%s", countersign.FieldPolicy)
	default:
		add("%s", countersign.FieldReason)
		add("%s", countersign.FieldError)
		add("by %s", "by")
		add("from %s", "remote")
	}
	return oneLine(strings.Join(parts, ", "))
}

func pastWord(verdict string) string {
	switch verdict {
	case "approve":
		return "approved"
	case "confirm":
		return "confirmed"
	case "deny":
		return "denied"
	}
	return verdict
}

// spaced writes a list of the trail for people.
func spaced(list string) string {
	return strings.Join(strings.FieldsFunc(list, func(r rune) bool { return r == ',' }), ", ")
}
