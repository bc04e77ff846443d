package postgres

import (
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/classify/sql"
	"github.com/countersign-dev/countersign/gate"
)

// settings are changes of session settings, by lower-case name. A value of this type is never altered:
// changing one makes another, so that savepoints can keep theirs.
type settings map[string]setting

type setting struct {
	value string
	local bool // ends with the transaction
}

// sessionState is what decides, beside its bytes, what a statement means.
type sessionState struct {
	start    map[string]string // what the server reported when the session began
	reported map[string]string // what it reports now
	sets     settings          // what SET has changed and the server does not report

	path      string
	pathStale bool // something may have changed the search path since it was asked for
	pathKnown bool

	context []countersign.Setting // made from the above; nil when that changed
}

func (s *sessionState) begin(params map[string]string) {
	s.start = params
	s.reported = maps.Clone(params)
	s.pathStale = true
}

// unbound are the settings that are not part of the digest: what clients change all the time without
// changing what a statement does, and the justification.
func unbound(name string) bool {
	return name == "application_name" || name == "in_hot_standby" || strings.HasPrefix(name, "countersign.")
}

func (c *conn) parameter(body []byte) {
	f := fields{b: body}
	name, value := string(f.text()), string(f.text())
	if f.end() != nil {
		return
	}
	c.state.reported[name] = value
	c.state.context = nil
}

// conforming and utf8 are what the classifier must know to read a text as the server does.
func (s *sessionState) conforming() bool { return s.reported["standard_conforming_strings"] == "on" }
func (s *sessionState) utf8() bool       { return s.reported["client_encoding"] == "UTF8" }

// setting follows a completed SET or RESET.
func (c *conn) setting(st *sql.Setting) {
	s := &c.state
	s.context = nil
	switch st.Name {
	case "", "search_path", "role", "session_authorization", "standard_conforming_strings", "client_encoding":
		s.pathStale = true // "" also when it is RESET ALL
	}
	next := maps.Clone(s.sets)
	if next == nil {
		next = settings{}
	}
	switch {
	case st.All:
		next = settings{}
		for name := range c.own {
			delete(c.own, name)
		}
	case st.Name == "":
		next["?"] = setting{"changed by a computed name", st.Local}
	case strings.HasPrefix(st.Name, "countersign."):
		c.justify(st)
		return
	case st.Reset:
		delete(next, st.Name)
	case !st.Known:
		next[st.Name] = setting{"a computed value", st.Local}
	default:
		next[st.Name] = setting{strings.Join(st.Values, "\x00"), st.Local}
	}
	s.sets = next
}

// justify takes the values that a client gives to countersign.*.
func (c *conn) justify(st *sql.Setting) {
	own := maps.Clone(c.own)
	if own == nil {
		own = map[string]string{}
	}
	switch {
	case st.Reset:
		delete(own, st.Name)
	case st.Known && len(st.Values) == 1:
		own[st.Name] = st.Values[0]
	}
	c.own = own
}

// restore puts the settings back as they were, as the server does when it rolls back.
func (s *sessionState) restore(to settings, doubted bool) {
	if maps.Equal(to, s.sets) && !doubted {
		return
	}
	s.sets = to
	s.pathStale = true
	s.context = nil
}

// dropLocal forgets what SET LOCAL set, as the server does at the end of a transaction.
func (s *sessionState) dropLocal() {
	for _, v := range s.sets {
		if v.local {
			next := maps.Clone(s.sets)
			maps.DeleteFunc(next, func(_ string, v setting) bool { return v.local })
			s.sets = next
			s.pathStale = true
			s.context = nil
			return
		}
	}
}

// bound returns the context that an action is bound to, sorted by name.
func (c *conn) bound() []countersign.Setting {
	s := &c.state
	if s.context == nil {
		list := []countersign.Setting{
			{Name: "client_encoding", Value: countersign.Raw(s.reported["client_encoding"])},
			{Name: "database", Value: countersign.Raw(c.up.config.Database)},
			{Name: "role", Value: countersign.Raw(c.up.role)},
			{Name: "search_path", Value: countersign.Raw(s.path)},
			{Name: "standard_conforming_strings", Value: countersign.Raw(s.reported["standard_conforming_strings"])},
		}
		for name, v := range s.reported {
			if v != s.start[name] && !unbound(name) {
				list = append(list, countersign.Setting{Name: "set " + strings.ToLower(name), Value: countersign.Raw(v)})
			}
		}
		for name, v := range s.sets {
			if _, reported := s.reportedAs(name); !reported && !unbound(name) && name != "search_path" {
				list = append(list, countersign.Setting{Name: "set " + name, Value: countersign.Raw(v.value)})
			}
		}
		slices.SortFunc(list, func(a, b countersign.Setting) int { return strings.Compare(a.Name, b.Name) })
		s.context = append(list, countersign.Setting{Name: gate.ContextTransaction, Value: countersign.Raw("none")})
	}
	if !c.block.open {
		return s.context // shared: nobody alters an action's context
	}
	last := len(s.context) - 1
	list := slices.Clone(s.context)
	list[last].Value = countersign.Raw(hex.EncodeToString(c.block.hash[:]))
	return list
}

// reportedAs finds a setting among those that the server reports by itself, whose names have capitals.
func (s *sessionState) reportedAs(name string) (string, bool) {
	for reported := range s.reported {
		if strings.EqualFold(reported, name) {
			return reported, true
		}
	}
	return "", false
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
