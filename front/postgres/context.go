package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/classify/sql"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
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
	reported map[string]string  // what the server reports
	asked    map[string]*string // what it has answered to askSettings, nil for what it does not have; nil before it was asked
	ours     bool               // of these, one of countersign.* has a value
	sets     settings           // what SET has changed of what is neither reported nor asked for

	// touched are settings of the same kind that set_config may have changed: whether it ran, and when, only the
	// server knows. Values are those it gave last.
	touched map[string]*string
	// lost is random, and new each time when something may have changed settings that cannot be named: no
	// signature of another session, or from before, fits then.
	lost string

	path      string
	pathStale bool // something may have changed the search path since it was asked for
	pathKnown bool

	context []countersign.Setting // made from the above; nil when that changed
	at      int                   // of the transaction within context
}

// The most settings that are followed: by SET, and by set_config. What is changed beyond is lost.
const (
	maxSets    = 256
	maxTouched = 32
	maxSetting = 256 // bytes of a value; of a longer one its hash is kept
)

func (s *sessionState) begin(params map[string]string) {
	s.reported = maps.Clone(params)
	s.pathStale = true
}

// meaningless are the settings that cannot change what a statement means, only what is told of it, how long it
// may take and how it is planned at the start. They are not part of the digest, so that clients may differ in them.
var meaningless = map[string]bool{
	"application_name": true, "in_hot_standby": true, "client_min_messages": true, "lc_messages": true,
	"statement_timeout": true, "lock_timeout": true, "transaction_timeout": true,
	"idle_in_transaction_session_timeout": true, "idle_session_timeout": true,
	"tcp_keepalives_idle": true, "tcp_keepalives_interval": true, "tcp_keepalives_count": true, "tcp_user_timeout": true,
	"client_connection_check_interval": true, "deadlock_timeout": true, "geqo": true, "jit": true,
}

// askedNames are the settings of askSettings, in its order.
var askedNames = func() (names []string) {
	for _, m := range regexp.MustCompile(`'([^']+)'`).FindAllStringSubmatch(string(askSettings), -1) {
		names = append(names, m[1])
	}
	return names
}()

// learn takes the answer to askSettings.
func (s *sessionState) learn(row []*string) bool {
	if len(row) != len(askedNames) {
		return false
	}
	s.asked = make(map[string]*string, len(row))
	s.ours = false
	for i, name := range askedNames {
		s.asked[name] = row[i]
		s.ours = s.ours || ownLimits[name] > 0 && row[i] != nil
	}
	s.context = nil
	return true
}

// followed reports whether a setting is known from the server itself.
func (s *sessionState) followed(name string) bool {
	if slices.Contains(askedNames, name) || name == "search_path" {
		return true
	}
	for reported := range s.reported { // whose names have capitals
		if strings.EqualFold(reported, name) {
			return true
		}
	}
	return false
}

// freshSettings asks the server what is in force of the settings that it does not report. In a failed
// transaction it does not answer, and runs nothing either.
func (c *conn) freshSettings(ctx context.Context) error {
	s := &c.state
	if c.status == 'E' {
		return nil
	}
	if err := c.settle(ctx); err != nil {
		return err
	}
	if c.discarding {
		return errDiscarded
	}
	names := sortedKeys(s.touched)
	list := make([]asking, 1, 1+len(names))
	list[0].question = askSettings
	for _, name := range names {
		list = append(list, asking{askSetting, []string{name}})
	}
	rows, err := c.answers(ctx, list)
	if err != nil {
		return err
	}
	if c.discarding || len(rows) != len(list) || !s.learn(rows[0]) {
		return errUnsettled
	}
	for i, name := range names {
		if len(rows[i+1]) != 1 {
			return errUnsettled
		}
		s.touched[name] = rows[i+1][0]
	}
	return nil
}

var errUnsettled = own(codeUnavailable, sanitize.Const("the server does not say which settings are in force"),
	sanitize.Const("what is signed is bound to them"), sanitize.Const("run it again"))

// touch notes, before s runs, what it may change by calling set_config.
func (c *conn) touch(s *statement) {
	if s.result == nil {
		return
	}
	if c.sets(s) {
		c.state.pathStale = true
	}
	for i := range s.result.Statements {
		st := &s.result.Statements[i]
		for k := range st.Sets {
			if set := &st.Sets[k]; !bySet(st) {
				c.state.doubt(set.Name)
			}
		}
	}
}

// sets reports whether s may change settings, also by reading on from what was declared or bound before.
func (c *conn) sets(s *statement) bool {
	directly := func(s *statement) bool { return s.any(func(st *sql.Statement) bool { return len(st.Sets) > 0 }) }
	return directly(s) || s.any(func(st *sql.Statement) bool {
		cur, declared := c.cursors[st.Fetches]
		p := c.portals[st.Fetches]
		return st.Fetches != "" && (declared && directly(cur.stmt) || p != nil && directly(p.stmt))
	})
}

// bySet reports whether a statement is SET, RESET or DISCARD, which do what they say when they are completed.
func bySet(st *sql.Statement) bool { return st.Tag == "SET" || st.Tag == "RESET" || st.DiscardAll }

// doubt notes that the value of a setting is not what the gateway has seen of it.
func (s *sessionState) doubt(name string) {
	switch _, known := s.touched[name]; {
	case known || name != "" && s.followed(name):
	case name == "" || len(name) > maxName || len(s.touched) >= maxTouched:
		s.lose()
	default:
		if s.touched == nil {
			s.touched = map[string]*string{}
		}
		s.touched[name] = nil
	}
	s.context = nil
}

func (s *sessionState) lose() { s.lost, s.context = rand.Text(), nil }

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

// setting follows a completed SET, RESET or set_config.
func (c *conn) setting(st *sql.Statement, set *sql.Setting) {
	s := &c.state
	s.context = nil
	switch set.Name {
	case "", "search_path", "role", "session_authorization", "standard_conforming_strings", "client_encoding":
		s.pathStale = true // "" also when it is RESET ALL
	}
	if set.All {
		s.sets = settings{}
		for name := range c.own {
			delete(c.own, name)
		}
		return
	}
	if _, ours := ownLimits[set.Name]; ours {
		c.justify(set)
	}
	next := maps.Clone(s.sets)
	if next == nil {
		next = settings{}
	}
	if _, known := next[set.Name]; !known && len(next) >= maxSets {
		s.lose()
		return
	}
	switch {
	case set.Reset:
		delete(next, set.Name)
	case set.Known:
		next[set.Name] = setting{short(strings.Join(set.Values, "\x00")), set.Local}
	default:
		s.doubt(set.Name)
		next[set.Name] = setting{local: true} // it may end with the transaction
	}
	s.sets = next
}

// short is a value itself, or its hash.
func short(value string) string {
	if len(value) <= maxSetting {
		return value
	}
	h := sha256.Sum256([]byte(value))
	return fmt.Sprintf("%d bytes, SHA-256 %x", len(value), h)
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
	case st.Known && len(st.Values) == 1 && len(st.Values[0]) <= ownLimits[st.Name]:
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

// bound returns the context that the action of st is bound to, sorted by name: the values in force, wherever
// they come from.
func (c *conn) bound(st *statement) []countersign.Setting {
	s := &c.state
	if s.context == nil {
		s.context = c.inForce()
		s.at = slices.IndexFunc(s.context, func(v countersign.Setting) bool { return v.Name == gate.ContextTransaction })
	}
	list := s.context // shared: nobody alters an action's context
	if c.block.open {
		list = slices.Clone(list)
		list[s.at].Value = countersign.Raw(hex.EncodeToString(c.block.hash[:]))
	}
	if c.readsSettings(st) {
		list = slices.Clone(list)
		for _, name := range askedNames {
			if v := s.asked[name]; ownLimits[name] > 0 && v != nil {
				list = append(list, countersign.Setting{Name: "set " + name, Value: countersign.Raw(short(*v))})
			}
		}
		slices.SortFunc(list, byName)
	}
	return list
}

func byName(a, b countersign.Setting) int { return strings.Compare(a.Name, b.Name) }

// inForce lists the settings in force, with the place for the transaction.
func (c *conn) inForce() []countersign.Setting {
	s := &c.state
	list := make([]countersign.Setting, 0, 64)
	add := func(name, value string) {
		list = append(list, countersign.Setting{Name: name, Value: countersign.Raw(value)})
	}
	add("database", c.up.config.Database)
	add("role", c.up.role)
	add("search_path", s.path)
	add(gate.ContextTransaction, "none")
	for name, v := range s.reported {
		if name = strings.ToLower(name); !meaningless[name] && name != "search_path" {
			add(name, v)
		}
	}
	for name, v := range s.asked {
		switch {
		case v == nil || ownLimits[name] > 0 || s.reports(name):
		case name == "role":
			if *v != "none" {
				add("set role", *v)
			}
		default:
			add(name, *v)
		}
	}
	for name, v := range s.sets {
		if _, asked := s.touched[name]; !asked && !meaningless[name] && name != "" && !s.followed(name) {
			add("set "+name, v.value)
		}
	}
	for name, v := range s.touched {
		if v != nil && !meaningless[name] {
			add("set "+name, short(*v))
		}
	}
	if s.lost != "" {
		add("set ?", "not known: "+s.lost)
	}
	slices.SortFunc(list, byName)
	return list
}

// reports tells whether the server reports a setting that it is asked for, too, as newer ones do.
func (s *sessionState) reports(name string) bool {
	_, ok := s.reported[name]
	return ok
}

// readsSettings reports whether a statement may read countersign.*, which are outside the digest otherwise.
func (c *conn) readsSettings(s *statement) bool {
	if !c.state.ours { // there is nothing to read
		return false
	}
	may := func(s *statement) bool {
		return s == nil || s.result == nil || s.result.Effects.Any(countersign.Execute|countersign.Unknown) ||
			bytes.Contains(bytes.ToLower(s.text), []byte("setting"))
	}
	return may(s) || s.any(func(st *sql.Statement) bool {
		return st.Fetches != "" || st.Execute != "" && (may(c.statements[st.Execute]) || c.statements[st.Execute].executes())
	})
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
