// Package approval is the life of a request: its states, who may sign it, when it expires, and who may
// use it. It is pure: every transition is a function from a Request, the directory and a time to a Request.
//
// It promises P2 (nobody signs for himself), P4 (a grant is used at most as often as stated) and P5
// (silence is no), as far as a state machine can: the store makes each transition one conditional write.
// It does not decide whether a review by token is allowed at all; whoever takes in the review does.
//
//	               Review (the last one needed)                      Claim (last use)
//	[Open] ─► pending ─────────────────────► approved ─┬─────────────────────► claimed ─┬─► done
//	             │                              │  ▲   │                         │  │   ├─► failed
//	             ├─► denied     Review (deny) ◄─┤  └───┘ Claim (uses are left)   │  │   └─► unknown
//	             ├─► cancelled  Cancel        ◄─┤                                │  ▼
//	             ├─► cancelled  Lapse           ├─► lapsed  Lapse                │ uncommitted ─┬─► done
//	             └─► expired    Expire          ├─► lapsed  Expire               │              ├─► rolled_back
//	                                            └─► revoked Revoke               │              └─► unknown
//	                                                        Outcome is every arrow from here on ┘
//
// States without an arrow that leaves them have ended, and never change again. A grant of several uses
// is approved until its last use is taken; each use keeps an outcome of its own, and they are recorded
// even when the rest of the grant was denied, cancelled, lapsed or revoked meanwhile. Once every use is
// taken, the request's state is the first of these that one of its uses has: claimed, uncommitted,
// unknown, failed, rolled_back, done.
//
// Every condition of a transition is one named entry of the tables in machine.go. Tests remove each
// entry in turn and show that an exhaustive search then finds a promise broken.
package approval

import (
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// State is where a request stands.
type State string

// The states. Pending and Approved are open; all others are ended, but for Claimed and Uncommitted,
// which still await an outcome.
const (
	Pending   State = "pending"
	Approved  State = "approved"
	Denied    State = "denied"
	Expired   State = "expired"
	Cancelled State = "cancelled"
	Lapsed    State = "lapsed"  // approved, not used in time, or its transaction ended
	Revoked   State = "revoked" // approved, but its signatures no longer count

	Claimed     State = "claimed"     // its last use has been taken
	Uncommitted State = "uncommitted" // done inside a transaction block that is still open
	Done        State = "done"
	Failed      State = "failed"
	RolledBack  State = "rolled_back"
	Unknown     State = "unknown" // the gateway cannot know what happened
)

// Presence is how a reviewer proved to be there.
type Presence string

// The kinds of presence. Token is the announced exception for trials (review_auth: token).
const (
	PresenceToken   Presence = "token"
	PresenceSession Presence = "session"
	PresencePasskey Presence = "passkey"
)

// Verdict is what a person says of a request.
type Verdict string

// The verdicts. Confirm is the word of the person acted for; it fills no seat.
const (
	Approve Verdict = "approve"
	Deny    Verdict = "deny"
	Confirm Verdict = "confirm"
)

// Review is one person's verdict, bound to what was signed and to what was seen.
type Review struct {
	Person   countersign.PersonID `json:"person"`
	Login    string               `json:"login,omitempty"`
	Verdict  Verdict              `json:"verdict"`
	Presence Presence             `json:"presence"`
	Digest   countersign.Digest   `json:"digest"`
	View     countersign.Digest   `json:"view"`
	Reason   sanitize.Clean       `json:"reason,omitzero"`
	At       time.Time            `json:"at"`
}

// Use is one claim of a grant.
type Use struct {
	Action  countersign.ActionID `json:"action"`
	At      time.Time            `json:"at"`
	Outcome State                `json:"outcome"` // Claimed until known; then Uncommitted, Done, Failed, RolledBack, Unknown
}

// Request is a held action. It is a value: transitions return a changed copy and never alter their receiver.
type Request struct {
	ID          countersign.RequestID    `json:"id"`
	Resource    countersign.ResourceName `json:"resource"`
	Requester   countersign.Principal    `json:"requester"`
	Digest      countersign.Digest       `json:"digest"`
	View        countersign.Digest       `json:"view"`
	Policy      countersign.Digest       `json:"policy"`
	Seats       []countersign.Seat       `json:"seats,omitempty"`
	Confirm     bool                     `json:"confirm,omitempty"`
	MaxUses     int                      `json:"max_uses"`
	Created     time.Time                `json:"created"`
	Deadline    time.Time                `json:"deadline"` // pending until then
	ClaimWithin time.Duration            `json:"claim_within"`
	ClaimBy     time.Time                `json:"claim_by,omitzero"` // approved until then
	State       State                    `json:"state"`
	Reviews     []Review                 `json:"reviews,omitempty"`
	Uses        []Use                    `json:"uses,omitempty"`
	Ended       time.Time                `json:"ended,omitzero"`
	Why         sanitize.Clean           `json:"why,omitzero"` // why it ended, for people
}
