package approval

// Ended reports whether a request in state s never changes again, but for the outcomes of uses that were
// taken before.
func (s State) Ended() bool {
	switch s {
	case Denied, Expired, Cancelled, Lapsed, Revoked, Done, Failed, RolledBack, Unknown:
		return true
	}
	return false
}

// IsOpen reports whether r still waits for signatures or for use.
func (r Request) IsOpen() bool { return r.State == Pending || r.State == Approved }

// usesLeft reports whether a use may be taken, as far as number and state say.
func (r *Request) usesLeft() bool { return r.State == Approved && len(r.Uses) < r.MaxUses }
