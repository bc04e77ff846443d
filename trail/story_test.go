package trail

import (
	"fmt"
	"testing"

	"github.com/countersign-dev/countersign"
)

// told makes an event of a request, with more fields as pairs of name and value.
func told(typ countersign.EventType, request string, pairs ...string) countersign.Event {
	ev := countersign.Event{Type: typ, Fields: []countersign.Field{{Name: countersign.FieldRequest, Value: stringClean([]byte(request))}}}
	for i := 0; i < len(pairs); i += 2 {
		ev.Fields = append(ev.Fields, countersign.Field{Name: pairs[i], Value: stringClean([]byte(pairs[i+1]))})
	}
	return ev
}

// TestVerifyFindsUnsignedClaims: a log that is sound as a log, in which a grant was used that nobody signed.
func TestVerifyFindsUnsignedClaims(t *testing.T) {
	opened := told(countersign.RequestOpened, "req_1", countersign.FieldDecision, "review")
	confirming := told(countersign.RequestOpened, "req_1", countersign.FieldDecision, "confirm")
	approve := told(countersign.ReviewGiven, "req_1", countersign.FieldVerdict, "approve")
	confirm := told(countersign.ReviewGiven, "req_1", countersign.FieldVerdict, "confirm")
	deny := told(countersign.ReviewGiven, "req_1", countersign.FieldVerdict, "deny")
	approved := told(countersign.RequestApproved, "req_1")
	claimed := told(countersign.GrantClaimed, "req_1")
	of := func(request string, ev countersign.Event) countersign.Event {
		ev.Fields = append([]countersign.Field{{Name: countersign.FieldRequest, Value: stringClean([]byte(request))}}, ev.Fields[1:]...)
		return ev
	}
	for _, c := range []struct {
		name   string
		events []countersign.Event
		bad    int // index of the claim that is named, or -1
	}{
		{"signed and used", []countersign.Event{opened, approve, approved, claimed}, -1},
		{"confirmed and used", []countersign.Event{confirming, confirm, approved, claimed}, -1},
		{"confirmed and signed", []countersign.Event{opened, confirm, approve, approved, claimed}, -1},
		{"of nothing", []countersign.Event{claimed}, 0},
		{"pending", []countersign.Event{opened, claimed}, 1},
		{"without a review", []countersign.Event{opened, approved, claimed}, 2},
		{"without being complete", []countersign.Event{opened, approve, claimed}, 2},
		{"a denial is no approval", []countersign.Event{opened, deny, approved, claimed}, 3},
		{"a confirmation is no review", []countersign.Event{opened, confirm, approved, claimed}, 3},
		{"never opened", []countersign.Event{approve, approved, claimed}, 2},
		{"signed afterwards", []countersign.Event{opened, claimed, approve, approved}, 1},
		{"another request's signature", []countersign.Event{opened, of("req_2", opened), of("req_2", approve), of("req_2", approved), claimed}, 4},
		{"twice", []countersign.Event{opened, approve, approved, claimed, claimed}, 4},
		{"ended before", []countersign.Event{opened, approve, approved, told(countersign.GrantRevoked, "req_1"), claimed}, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newTestLog(t)
			l.fill(3)
			for _, ev := range c.events {
				l.add(ev)
			}
			r := l.verify(l.copy, l.checkpoint())
			if c.bad < 0 {
				clean(t, r, "consistent, anchored")
				return
			}
			expect(t, r, Unsigned, uint64(3+c.bad), uint64(3+c.bad))
		})
	}
}

// TestStoriesAreBounded: a forged log of requests that never end does not fill the memory.
func TestStoriesAreBounded(t *testing.T) {
	var s story
	for i := range maxStories {
		if s.open == nil {
			s.open = map[string]signatures{}
		}
		s.open[fmt.Sprint(i)] = signatures{}
	}
	l := newTestLog(t)
	l.add(told(countersign.RequestOpened, "req_1"))
	s.tell(0, l.copy.raw[0])
	if len(s.open) != maxStories {
		t.Errorf("%d requests are followed; at most %d", len(s.open), maxStories)
	}
}
