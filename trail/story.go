package trail

import (
	"github.com/countersign-dev/countersign"
)

// The words of a review and of a decision that a claim is judged by, as the events hold them.
const (
	wordApprove = "approve"
	wordConfirm = "confirm"
)

// maxStories bounds the requests that are followed at a time. Past it new ones are not, and using one
// counts as unsigned. A gateway admits far fewer open requests.
const maxStories = 1 << 18

// story follows the requests of a log from being opened to being used or ended.
type story struct {
	open     map[string]signatures
	unsigned findings // uses of a request without the signatures for it
}

// signatures are what the log has told so far of one request.
type signatures struct {
	confirmOnly bool // the person acted for suffices
	confirmed   bool
	signed      bool // somebody approved
	approved    bool // the gateway found the signatures complete
}

// tells reports whether an event of that type is one that story follows. It allocates nothing.
func tells(t []byte) bool {
	switch countersign.EventType(t) {
	case countersign.RequestOpened, countersign.ReviewGiven, countersign.RequestApproved, countersign.GrantClaimed,
		countersign.RequestDenied, countersign.RequestExpired, countersign.RequestCancelled, countersign.GrantLapsed, countersign.GrantRevoked:
		return true
	}
	return false
}

// tell takes account of an event. An approval permits one use: this build makes no grants of several.
func (s *story) tell(number uint64, raw []byte) {
	e, err := ParseEntry(raw)
	if err != nil {
		return // its leaf is judged all the same
	}
	id := e.Get(countersign.FieldRequest).String()
	r, known := s.open[id]
	switch e.Type {
	case countersign.RequestOpened:
		if s.open == nil {
			s.open = map[string]signatures{}
		}
		if known || len(s.open) >= maxStories {
			return
		}
		r.confirmOnly = e.Get(countersign.FieldDecision).String() == wordConfirm
	case countersign.ReviewGiven:
		switch e.Get(countersign.FieldVerdict).String() {
		case wordApprove:
			r.signed = true
		case wordConfirm:
			r.confirmed = true
		}
	case countersign.RequestApproved:
		r.approved = true
	case countersign.GrantClaimed:
		if !known || !r.approved || !r.signed && !(r.confirmOnly && r.confirmed) {
			s.unsigned.add(finding{number: number, count: 1, envelope: e.Envelope})
		}
		delete(s.open, id)
		return
	default:
		delete(s.open, id)
		return
	}
	if known || e.Type == countersign.RequestOpened {
		s.open[id] = r
	}
}
