package countersign

import "time"

// Verdict is what policy says of an action, from mildest to strictest.
type Verdict string

// The verdicts.
const (
	Allow   Verdict = "allow"
	Confirm Verdict = "confirm" // the person acted for confirms
	Review  Verdict = "review"  // other people sign; a Confirm may be needed besides
	Deny    Verdict = "deny"
)

// Seat is a place that one person's approval fills. Two rules asking for one person each are two seats.
type Seat struct {
	Rule   string  `json:"rule"`
	Groups []Group `json:"groups"` // the person is a member of one of these
	// Distinct, when not empty, names a set of seats that must be filled through different groups.
	Distinct string `json:"distinct,omitempty"`
	Passkey  bool   `json:"passkey,omitempty"` // only a review with a passkey fills it
}

// Limits bound what an action may return. Zero is no limit.
type Limits struct {
	Rows         int64 `json:"rows,omitempty"`
	Bytes        int64 `json:"bytes,omitempty"`
	RowsPerHour  int64 `json:"rows_per_hour,omitempty"`
	BytesPerHour int64 `json:"bytes_per_hour,omitempty"`
}

// Min returns the stricter of each limit.
func (l Limits) Min(m Limits) Limits {
	return Limits{
		Rows:         stricter(l.Rows, m.Rows),
		Bytes:        stricter(l.Bytes, m.Bytes),
		RowsPerHour:  stricter(l.RowsPerHour, m.RowsPerHour),
		BytesPerHour: stricter(l.BytesPerHour, m.BytesPerHour),
	}
}

func stricter(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// Decision is policy's answer for one action.
type Decision struct {
	Verdict Verdict `json:"verdict"`
	// Seats is not empty exactly when Verdict is Review.
	Seats []Seat `json:"seats,omitempty"`
	// Confirm: the person acted for must confirm, besides any seats.
	Confirm bool   `json:"confirm,omitempty"`
	Limits  Limits `json:"limits,omitzero"`
	// Expires is how long a request waits for signatures; ClaimWithin how long an approval may be used.
	Expires     time.Duration `json:"expires,omitempty"`
	ClaimWithin time.Duration `json:"claim_within,omitempty"`
	// Rules are the names of the rules that made the decision, sorted.
	Rules []string `json:"rules,omitempty"`
	// Reason is one sentence for people: why denied, or why review is needed. It quotes rule names and
	// reasons from the policy, never the action.
	Reason string `json:"reason,omitempty"`
}
