package approval

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/countersign-dev/countersign"
	"pgregory.net/rapid"
)

// most is how many seats can be filled at best, by trying everything: each seat stays open or takes a
// signer through a group.
func most(seats []countersign.Seat, people []Signer) int {
	type place struct {
		set   string
		group countersign.Group
	}
	usedPeople := map[countersign.PersonID]bool{}
	usedPlaces := map[place]bool{}
	var try func(s int) int
	try = func(s int) int {
		if s == len(seats) {
			return 0
		}
		best := try(s + 1)
		for _, p := range people {
			if usedPeople[p.Person] || setNeedsPasskey(seats, s) && !p.Passkey {
				continue
			}
			for _, g := range p.Groups {
				at := place{seats[s].Distinct, g}
				if !slices.Contains(seats[s].Groups, g) || seats[s].Distinct != "" && usedPlaces[at] {
					continue
				}
				usedPeople[p.Person], usedPlaces[at] = true, true
				best = max(best, 1+try(s+1))
				usedPeople[p.Person], usedPlaces[at] = false, false
			}
		}
		return best
	}
	return try(0)
}

func setNeedsPasskey(seats []countersign.Seat, s int) bool {
	for i, seat := range seats {
		if seat.Passkey && (i == s || seat.Distinct != "" && seat.Distinct == seats[s].Distinct) {
			return true
		}
	}
	return false
}

// sound reports what is wrong with an assignment.
func sound(seats []countersign.Seat, people []Signer, assignment []int) error {
	if len(assignment) != len(seats) {
		return fmt.Errorf("%d entries for %d seats", len(assignment), len(seats))
	}
	var filled []countersign.Seat
	var who []Signer
	for s, i := range assignment {
		if i < 0 {
			continue
		}
		for _, w := range who {
			if w.Person == people[i].Person {
				return fmt.Errorf("%s fills two seats", w.Person)
			}
		}
		filled, who = append(filled, seats[s]), append(who, people[i])
		if setNeedsPasskey(seats, s) && !people[i].Passkey {
			return fmt.Errorf("seat %d needs a passkey", s)
		}
	}
	// Each seat with exactly its signer must still be fillable through groups.
	var through func(s int, used []string) bool
	through = func(s int, used []string) bool {
		if s == len(filled) {
			return true
		}
		return slices.ContainsFunc(who[s].Groups, func(g countersign.Group) bool {
			key := filled[s].Distinct + "\x00" + string(g)
			return slices.Contains(filled[s].Groups, g) && (filled[s].Distinct == "" || !slices.Contains(used, key)) &&
				through(s+1, append(slices.Clip(used), key))
		})
	}
	if !through(0, nil) {
		return fmt.Errorf("no choice of groups admits %v", assignment)
	}
	return nil
}

func drawGroups(t *rapid.T, label string) []countersign.Group {
	return rapid.SliceOfNDistinct(rapid.SampledFrom([]countersign.Group{"a", "b", "c", "d"}), 0, 3, rapid.ID).Draw(t, label)
}

func TestQuorumEqualsBruteForce(t *testing.T) {
	full, open := 0, 0
	rounds := 50 // of 100 cases
	if os.Getenv("COUNTERSIGN_LONG") != "" {
		rounds = 2000
	}
	for range rounds {
		rapid.Check(t, func(t *rapid.T) { checkQuorum(t, &full, &open) })
	}
	t.Logf("%d cases filled every seat, %d did not", full, open)
	if full == 0 || open == 0 {
		t.Error("both kinds of case are needed")
	}
}

func checkQuorum(t *rapid.T, full, open *int) {
	seats := make([]countersign.Seat, rapid.IntRange(0, 5).Draw(t, "seats"))
	for i := range seats {
		seats[i] = countersign.Seat{
			Groups:   drawGroups(t, "seat groups"),
			Distinct: rapid.SampledFrom([]string{"", "one", "one", "two"}).Draw(t, "distinct"),
			Passkey:  rapid.IntRange(0, 3).Draw(t, "passkey") == 0,
		}
	}
	people := make([]Signer, rapid.IntRange(0, 6).Draw(t, "people"))
	for i := range people {
		people[i] = Signer{
			Person:  rapid.SampledFrom([]countersign.PersonID{"p", "q", "r", "s", "t", "u"}).Draw(t, "person"), // may come twice
			Groups:  drawGroups(t, "groups"),
			Passkey: rapid.Bool().Draw(t, "has passkey"),
		}
	}
	assignment, ok := Quorum(seats, people)
	if err := sound(seats, people, assignment); err != nil {
		t.Fatal(err)
	}
	filled := 0
	for _, a := range assignment {
		if a >= 0 {
			filled++
		}
	}
	if want := most(seats, people); filled != want {
		t.Fatalf("filled %d seats; %d can be filled", filled, want)
	}
	if ok != (filled == len(seats)) {
		t.Fatalf("ok = %v with %d of %d seats filled", ok, filled, len(seats))
	}
	if ok {
		*full++
	} else {
		*open++
	}
}

func TestQuorumOfOnePersonInTwoGroups(t *testing.T) {
	seats := []countersign.Seat{{Groups: []countersign.Group{"dba"}}, {Groups: []countersign.Group{"security"}}}
	both := Signer{Person: "ann", Groups: []countersign.Group{"dba", "security"}}
	if _, ok := Quorum(seats, []Signer{both, both}); ok {
		t.Error("one person in two groups filled two seats")
	}
	dba := Signer{Person: "bob", Groups: []countersign.Group{"dba"}}
	if _, ok := Quorum(seats, []Signer{both, dba}); !ok {
		t.Error("ann takes either seat, so bob's dba must do")
	}
}

func TestQuorumLimits(t *testing.T) {
	seats := make([]countersign.Seat, MaxSeats+1)
	people := make([]Signer, 20_000)
	for i := range people {
		people[i] = Signer{Person: countersign.PersonID(fmt.Sprint(i)), Groups: []countersign.Group{"g", countersign.Group(fmt.Sprint("h", i%16))}}
	}
	for i := range seats {
		seats[i] = countersign.Seat{Groups: []countersign.Group{"g"}}
	}
	if _, ok := Quorum(seats, people); ok {
		t.Errorf("%d seats were filled; the limit is %d", len(seats), MaxSeats)
	}
	if _, ok := Quorum(seats[:MaxSeats], people); !ok {
		t.Errorf("%d seats were not filled by %d people", MaxSeats, len(people))
	}
	for i := range seats { // the costliest form: every seat through another of sixteen groups
		for h := range 16 {
			seats[i].Groups = append(seats[i].Groups, countersign.Group(fmt.Sprint("h", h)))
		}
		seats[i].Groups = seats[i].Groups[1:]
		seats[i].Distinct = "set"
	}
	if _, ok := Quorum(seats[:MaxSeats], people); !ok {
		t.Error("sixteen distinct seats were not filled")
	}
	if _, ok := Quorum(nil, nil); !ok {
		t.Error("no seats are filled by nobody")
	}
	if _, ok := Quorum([]countersign.Seat{{}}, people[:1]); ok {
		t.Error("a seat for no group was filled")
	}
}
