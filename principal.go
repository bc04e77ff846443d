package countersign

import (
	"fmt"
	"slices"
)

type (
	// PersonID names a human, whatever logins he has. Reviews count persons.
	PersonID string
	// AgentID names an AI agent, a pipeline or a service.
	AgentID string
	// Group names a set of persons or agents.
	Group string
	// ResourceName names a protected endpoint.
	ResourceName string
)

// PrincipalKind says what a principal is.
type PrincipalKind string

// The kinds of principal.
const (
	KindPerson PrincipalKind = "person"
	KindAgent  PrincipalKind = "agent"
)

// Principal is a verified identity that asks for an action.
type Principal struct {
	Kind   PrincipalKind `json:"kind"`
	Person PersonID      `json:"person,omitempty"` // when Kind is KindPerson
	Agent  AgentID       `json:"agent,omitempty"`  // when Kind is KindAgent
	Groups []Group       `json:"groups,omitempty"`
	// Chain is the persons on whose behalf an agent acts, nearest first; empty for a person.
	Chain []PersonID `json:"chain,omitempty"`
	// Owners are the persons answerable for an agent.
	Owners []PersonID `json:"owners,omitempty"`
}

// ID returns "person:NAME" or "agent:NAME".
func (p Principal) ID() string {
	if p.Kind == KindPerson {
		return "person:" + string(p.Person)
	}
	return "agent:" + string(p.Agent)
}

// Interested returns every person who may not review what p asks (P2): the person himself, everyone
// in the chain, every owner.
func (p Principal) Interested() []PersonID {
	var all []PersonID
	if p.Person != "" {
		all = append(all, p.Person)
	}
	all = append(all, p.Chain...)
	return append(all, p.Owners...)
}

// In reports whether p is a member of g.
func (p Principal) In(g Group) bool { return slices.Contains(p.Groups, g) }

// Person is a directory's record of a human.
type Person struct {
	ID     PersonID `json:"id"`
	Groups []Group  `json:"groups,omitempty"`
	Logins []string `json:"logins,omitempty"`
	Active bool     `json:"active"`
}

// Agent is a directory's record of a non-human.
type Agent struct {
	ID      AgentID    `json:"id"`
	Groups  []Group    `json:"groups,omitempty"`
	ActsFor PersonID   `json:"acts_for,omitempty"`
	Owners  []PersonID `json:"owners,omitempty"`
	Active  bool       `json:"active"`
}

// Directory is everyone who is known, as one value that is judged against. Its JSON form is a part of
// the active configuration.
type Directory struct {
	Persons []Person `json:"persons"`
	Agents  []Agent  `json:"agents"`
}

// Person returns the record of id.
func (d Directory) Person(id PersonID) (Person, bool) {
	i := slices.IndexFunc(d.Persons, func(p Person) bool { return p.ID == id })
	if i < 0 {
		return Person{}, false
	}
	return d.Persons[i], true
}

// Agent returns the record of id.
func (d Directory) Agent(id AgentID) (Agent, bool) {
	i := slices.IndexFunc(d.Agents, func(a Agent) bool { return a.ID == id })
	if i < 0 {
		return Agent{}, false
	}
	return d.Agents[i], true
}

// Principal returns who p is now: groups, chain and owners as the directory has them. It fails when p
// or a person of its chain is unknown or inactive.
func (d Directory) Principal(p Principal) (Principal, error) {
	switch p.Kind {
	case KindPerson:
		rec, ok := d.Person(p.Person)
		if !ok || !rec.Active {
			return Principal{}, fmt.Errorf("person %s is not active in the directory", p.Person)
		}
		return Principal{Kind: KindPerson, Person: rec.ID, Groups: rec.Groups}, nil
	case KindAgent:
		rec, ok := d.Agent(p.Agent)
		if !ok || !rec.Active {
			return Principal{}, fmt.Errorf("agent %s is not active in the directory", p.Agent)
		}
		now := Principal{Kind: KindAgent, Agent: rec.ID, Groups: rec.Groups, Owners: rec.Owners}
		if rec.ActsFor != "" {
			behalf, ok := d.Person(rec.ActsFor)
			if !ok || !behalf.Active {
				return Principal{}, fmt.Errorf("person %s, for whom agent %s acts, is not active in the directory", rec.ActsFor, rec.ID)
			}
			now.Chain = []PersonID{rec.ActsFor}
		}
		return now, nil
	default:
		return Principal{}, fmt.Errorf("principal of kind %q", p.Kind)
	}
}

// Check reports what makes d ambiguous: a name twice, a login on two persons, an owner or a person
// acted for who is not in it. A directory that fails Check is never activated, since reviews count
// persons (P2).
func (d Directory) Check() error {
	persons := map[PersonID]bool{}
	logins := map[string]PersonID{}
	for _, p := range d.Persons {
		if p.ID == "" {
			return fmt.Errorf("a person has no name")
		}
		if persons[p.ID] {
			return fmt.Errorf("person %s is declared twice", p.ID)
		}
		persons[p.ID] = true
		for _, l := range p.Logins {
			if other, ok := logins[l]; ok {
				return fmt.Errorf("login %s belongs to both %s and %s; one login is one person", l, other, p.ID)
			}
			logins[l] = p.ID
		}
	}
	agents := map[AgentID]bool{}
	for _, a := range d.Agents {
		if a.ID == "" {
			return fmt.Errorf("an agent has no name")
		}
		if agents[a.ID] {
			return fmt.Errorf("agent %s is declared twice", a.ID)
		}
		agents[a.ID] = true
		if len(a.Owners) == 0 {
			return fmt.Errorf("agent %s has no owners; somebody must answer for it", a.ID)
		}
		for _, o := range append(slices.Clone(a.Owners), a.ActsFor) {
			if o != "" && !persons[o] {
				return fmt.Errorf("agent %s names person %s, who is not declared", a.ID, o)
			}
		}
	}
	return nil
}

// Resource is a protected endpoint.
type Resource struct {
	Name      ResourceName      `json:"name"`
	Kind      string            `json:"kind"`
	Labels    map[string]string `json:"labels,omitempty"`
	Owners    []Group           `json:"owners,omitempty"`
	Reviewers []Group           `json:"reviewers,omitempty"`
	Upstream  string            `json:"upstream,omitempty"`
	// Databases are those that a client may name besides that of Upstream.
	Databases   []string        `json:"databases,omitempty"`
	Roles       map[string]Role `json:"roles,omitempty"`
	DefaultRole string          `json:"default_role,omitempty"`
}

// Role is an upstream account. Credential is a reference ("env:NAME", "file:PATH"), never the secret.
type Role struct {
	Credential string `json:"credential"`
}
