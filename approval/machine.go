package approval

import "github.com/countersign-dev/countersign"

// guard is one condition of a transition, over the case at hand.
type guard[T any] struct {
	name  string
	holds func(T) bool
	// refuse says why not. It is called only when holds is false.
	refuse func(T) *countersign.Error
}

type guards[T any] []guard[T]

// broken returns the first guard that does not hold for c, or nil.
func (gs guards[T]) broken(c T) *guard[T] {
	for i := range gs {
		if !gs[i].holds(c) {
			return &gs[i]
		}
	}
	return nil
}

// machine is every condition there is. The transitions are its methods; Request's exported methods run
// them on standard. Tests run them on copies that lack one guard.
type machine struct {
	open     guards[*opening]   // a request may be made
	review   guards[*reviewing] // a verdict is taken
	seat     guards[*counting]  // an approval counts for a seat
	confirm  guards[*counting]  // a confirmation counts
	complete guards[*standing]  // the signatures suffice
	cancel   guards[*cancelling]
	expire   guards[*ending]
	lapse    guards[*ending]
	revoke   guards[*ending]
	claim    guards[*claiming]
	outcome  guards[*settling]
	quorum   func([]countersign.Seat, []Signer) ([]int, bool)
}

// standard is never changed.
var standard = &machine{
	open:     openGuards,
	review:   reviewGuards,
	seat:     seatGuards,
	confirm:  confirmGuards,
	complete: completeGuards,
	cancel:   cancelGuards,
	expire:   expireGuards,
	lapse:    lapseGuards,
	revoke:   revokeGuards,
	claim:    claimGuards,
	outcome:  outcomeGuards,
	quorum:   Quorum,
}
