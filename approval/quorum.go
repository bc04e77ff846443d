package approval

import (
	"slices"

	"github.com/countersign-dev/countersign"
)

// MaxSeats is how many seats a request may have.
const MaxSeats = 16

// Signer is a person whose approval counts, as a filler of seats.
type Signer struct {
	Person  countersign.PersonID
	Groups  []countersign.Group
	Passkey bool // he proved to be there by a passkey
}

// Quorum assigns signers to seats: no person fills two seats, whoever fills a seat is a member of one of
// its groups, and the seats of one Distinct set are filled through different groups. Seats of one
// Distinct set are one requirement: when one of them needs a passkey, all do. A person given twice is
// still one person.
//
// It fills as many seats as can be filled. assignment has an entry for each seat, an index into people
// or -1; ok reports whether every seat is filled. More than MaxSeats seats are never filled.
//
// It is exact: a largest flow of one unit a seat, through a (Distinct set, group) that lets one unit
// pass, to a person who lets one unit pass.
func Quorum(seats []countersign.Seat, people []Signer) (assignment []int, ok bool) {
	assignment = make([]int, len(seats))
	for i := range assignment {
		assignment[i] = -1
	}
	if len(seats) > MaxSeats {
		return assignment, false
	}
	n := newNetwork(seats, people)
	filled := 0
	for s := range seats {
		if n.augment(s) {
			filled++
		}
	}
	if filled > 0 {
		for s := range seats {
			assignment[s] = n.follow(s)
		}
	}
	return assignment, filled == len(seats)
}

// sink is the node behind all persons.
const sink = -1

// network is a residual graph with edges of capacity one. The edge at index i^1 is the reverse of the
// one at index i.
type network struct {
	edges []edge
	out   [][]int // by node: its edges. The nodes of the seats come first, in their order.
}

type edge struct {
	to     int
	free   bool
	signer int // when it leads to a person: the index into people
}

func (n *network) node() int {
	n.out = append(n.out, nil)
	return len(n.out) - 1
}

func (n *network) link(from, to, signer int) {
	n.out[from] = append(n.out[from], len(n.edges))
	n.edges = append(n.edges, edge{to: to, free: true, signer: signer})
	if to != sink { // nothing flows back from the sink
		n.out[to] = append(n.out[to], len(n.edges))
	}
	n.edges = append(n.edges, edge{to: from, signer: -1})
}

// slot is a place in a Distinct set that one seat takes.
type slot struct {
	set   string
	group countersign.Group
}

func newNetwork(seats []countersign.Seat, people []Signer) *network {
	n := &network{out: make([][]int, len(seats), len(seats)+len(people))}
	nodes := make([]int, len(people)) // by index into people; one person has one node
	byID := make(map[countersign.PersonID]int, len(people))
	for i, p := range people {
		v, known := byID[p.Person]
		if !known {
			v = n.node()
			byID[p.Person] = v
			n.link(v, sink, -1)
		}
		nodes[i] = v
	}
	slots := map[slot]int{} // the node before the place
	for s, seat := range seats {
		passkey := needsPasskey(seats, s)
		if seat.Distinct == "" {
			n.linkPeople(s, seat.Groups, passkey, people, nodes)
			continue
		}
		for _, g := range seat.Groups {
			k := slot{seat.Distinct, g}
			in, known := slots[k]
			if !known {
				in = n.node()
				slots[k] = in
				through := n.node()
				n.link(in, through, -1)
				n.linkPeople(through, []countersign.Group{g}, passkey, people, nodes)
			}
			n.link(s, in, -1)
		}
	}
	return n
}

func (n *network) linkPeople(from int, groups []countersign.Group, passkey bool, people []Signer, nodes []int) {
	for i := range people {
		if (people[i].Passkey || !passkey) && anyOf(groups, people[i].Groups) {
			n.link(from, nodes[i], i)
		}
	}
}

// augment sends one unit from node start to the sink if it can, rerouting earlier ones.
func (n *network) augment(start int) bool {
	via := make([]int, len(n.out)) // by node: the edge by which it was reached, +1
	queue := append(make([]int, 0, len(n.out)), start)
	for at := 0; at < len(queue); at++ {
		for _, e := range n.out[queue[at]] {
			to := n.edges[e].to
			if !n.edges[e].free || to == start {
				continue
			}
			if to == sink {
				n.push(e, start, via)
				return true
			}
			if via[to] == 0 {
				via[to] = e + 1
				queue = append(queue, to)
			}
		}
	}
	return false
}

// push turns every edge on the way from start over e to the sink.
func (n *network) push(e, start int, via []int) {
	for {
		n.edges[e].free, n.edges[e^1].free = false, true
		from := n.edges[e^1].to
		if from == start {
			return
		}
		e = via[from] - 1
	}
}

// follow returns the signer to whom the unit of a seat went, or -1.
func (n *network) follow(node int) int {
	for {
		i := slices.IndexFunc(n.out[node], func(e int) bool { return e%2 == 0 && !n.edges[e].free })
		if i < 0 {
			return -1
		}
		e := n.edges[n.out[node][i]]
		if e.signer >= 0 {
			return e.signer
		}
		node = e.to
	}
}

func needsPasskey(seats []countersign.Seat, s int) bool {
	return slices.ContainsFunc(seats, func(t countersign.Seat) bool {
		return t.Passkey && t.Distinct != "" && t.Distinct == seats[s].Distinct
	}) || seats[s].Passkey
}

func anyOf(groups, member []countersign.Group) bool {
	return slices.ContainsFunc(groups, func(g countersign.Group) bool { return slices.Contains(member, g) })
}
