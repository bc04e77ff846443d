package countersign

import "github.com/countersign-dev/countersign/sanitize"

// EventType is one of the types below.
type EventType string

// The event types of this build.
const (
	SessionOpened    EventType = "session.opened"
	SessionClosed    EventType = "session.closed"
	ActionIntent     EventType = "action.intent"
	ActionOutcome    EventType = "action.outcome"
	ActionRefused    EventType = "action.refused"
	RequestOpened    EventType = "request.opened"
	RequestApproved  EventType = "request.approved"
	RequestDenied    EventType = "request.denied"
	RequestExpired   EventType = "request.expired"
	RequestCancelled EventType = "request.cancelled"
	ReviewGiven      EventType = "review.given"
	ReviewRefused    EventType = "review.refused"
	GrantClaimed     EventType = "grant.claimed"
	GrantLapsed      EventType = "grant.lapsed"
	GrantRevoked     EventType = "grant.revoked"
	IdentityLoaded   EventType = "identity.loaded"
	PolicyLoaded     EventType = "policy.loaded"
	PolicyRefused    EventType = "policy.refused"
	TrailOpened      EventType = "trail.opened"
	TrailEpoch       EventType = "trail.epoch"
)

// Field is one named value of an event. Names are lower-case with underscores and unique within an event.
type Field struct {
	Name  string
	Value sanitize.Clean
}

// The field names that more than one package reads. An outcome carries the action of its intent.
const (
	FieldAction    = "action"    // ActionID
	FieldRequest   = "request"   // RequestID
	FieldSession   = "session"   // SessionID
	FieldPrincipal = "principal" // Principal.ID()
	FieldChain     = "chain"     // PersonIDs, comma-separated
	FieldResource  = "resource"
	FieldRole      = "role"
	FieldFront     = "front"
	FieldDatabase  = "database"
	FieldText      = "text"
	FieldEffects   = "effects" // names, comma-separated
	FieldObjects   = "objects"
	FieldFacts     = "facts"
	FieldWhy       = "why"
	FieldShape     = "shape"
	FieldDecision  = "decision" // a Verdict
	FieldRules     = "rules"    // names, comma-separated
	FieldReason    = "reason"   // why refused, denied, asked
	FieldTicket    = "ticket"
	FieldRun       = "run"
	FieldDigest    = "digest"
	FieldView      = "view_digest"
	FieldPolicy    = "policy"
	FieldReviewer  = "reviewer" // PersonID
	FieldPresence  = "presence"
	FieldVerdict   = "verdict"
	FieldOutcome   = "outcome" // done, failed, uncommitted, rolled_back, unknown
	FieldRows      = "rows"
	FieldBytes     = "bytes"
	FieldDuration  = "duration"
	FieldError     = "error"
	FieldReplica   = "replica"
)

// Event is one sanitized record on its way into the trail, which gives it id, time and number.
type Event struct {
	Type   EventType
	Fields []Field
}

// Get returns the value of the field of that name, or the zero Clean.
func (e Event) Get(name string) sanitize.Clean {
	for _, f := range e.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return sanitize.Clean{}
}
