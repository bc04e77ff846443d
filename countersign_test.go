package countersign

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/countersign-dev/countersign/sanitize"
)

func TestEmptyEffectsArePrivileged(t *testing.T) {
	for e, want := range map[Effects]bool{
		0: true, Read: false, Session: false, Read | Session: false, Read | Write: true, Unknown: true, Read | Unknown: true, Export: true,
	} {
		if got := e.Privileged(); got != want {
			t.Errorf("%q privileged: %v", e, got)
		}
	}
}

func TestEffectsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := Effects(rapid.Uint16Max(uint16(allEffects)).Draw(t, "effects"))
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var back Effects
		if err := json.Unmarshal(data, &back); err != nil || back != e {
			t.Fatalf("%v came back as %v (%v)", e, back, err)
		}
	})
	var e Effects
	if err := json.Unmarshal([]byte(`["read","raed"]`), &e); err == nil {
		t.Error("an effect that does not exist was read")
	}
}

// P3: two actions that differ in anything have different canonical forms.
func TestCanonicalTellsApart(t *testing.T) {
	action := func() Action {
		return Action{
			Resource: "shop", Front: "postgres", Text: Raw("SELECT $1"),
			Params:      []Param{{Type: 23, Format: 1, Value: Raw("1")}},
			Context:     []Setting{{"role", Raw("app")}},
			Definitions: []Definition{{Name: "public.v"}},
		}
	}
	who := Principal{Kind: KindAgent, Agent: "bot", Chain: []PersonID{"ana"}}
	base := action()
	seen := map[string]string{string(base.Canonical(who)): "the same action"}
	try := func(name string, p Principal, change func(*Action)) {
		t.Helper()
		a := action()
		change(&a)
		key := string(a.Canonical(p))
		if other, ok := seen[key]; ok {
			t.Errorf("%s has the canonical form of %s", name, other)
		}
		seen[key] = name
	}
	try("resource", who, func(a *Action) { a.Resource = "shop2" })
	try("front", who, func(a *Action) { a.Front = "postgre" })
	try("text", who, func(a *Action) { a.Text = Raw("SELECT  $1") })
	try("text moved into front", who, func(a *Action) { a.Front, a.Text = "postgresSELECT", Raw(" $1") })
	try("no params", who, func(a *Action) { a.Params = nil })
	try("param type", who, func(a *Action) { a.Params[0].Type = 25 })
	try("param format", who, func(a *Action) { a.Params[0].Format = 0 })
	try("param null", who, func(a *Action) { a.Params[0].Null = true })
	try("param value", who, func(a *Action) { a.Params[0].Value = Raw("11") })
	try("two params", who, func(a *Action) { a.Params = append(a.Params, a.Params[0]) })
	try("context name", who, func(a *Action) { a.Context[0].Name = "rol" })
	try("context value", who, func(a *Action) { a.Context[0].Value = Raw("admin") })
	try("definition", who, func(a *Action) { a.Definitions[0].Hash[31] = 1 })
	try("agent", Principal{Kind: KindAgent, Agent: "bot2", Chain: who.Chain}, func(*Action) {})
	try("person of that name", Principal{Kind: KindPerson, Person: "bot", Chain: who.Chain}, func(*Action) {})
	try("chain", Principal{Kind: KindAgent, Agent: "bot", Chain: []PersonID{"ana", "ben"}}, func(*Action) {})
	try("no chain", Principal{Kind: KindAgent, Agent: "bot"}, func(*Action) {})

	// What is shown or told besides is outside the digest.
	told := action()
	told.Shown, told.Effects, told.Justification.Reason = sanitize.Const("x"), Write, sanitize.Const("because")
	if !bytes.Equal(told.Canonical(who), base.Canonical(who)) {
		t.Error("the justification is inside the canonical form")
	}
	a, b := BindingDigest([]byte("n"), []byte("c")), BindingDigest([]byte("nc"), nil)
	if a == b {
		t.Error("nonce and canonical form run into each other in the digest")
	}
}

// P7: raw bytes do not print.
func TestRawDoesNotPrint(t *testing.T) {
	a := Action{Text: Raw("SELECT 'hunter2'"), Params: []Param{{Value: Raw("hunter2")}}, Context: []Setting{{"x", Raw("hunter2")}}}
	data, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(data), fmt.Sprintf("%v %+v %#v %s", a, a, a, a.Text)} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("raw text in %s", text)
		}
	}
}

func TestDirectoryCheck(t *testing.T) {
	ok := Directory{
		Persons: []Person{{ID: "ana", Logins: []string{"a@x"}, Active: true}, {ID: "ben", Logins: []string{"b@x"}, Active: true}},
		Agents:  []Agent{{ID: "bot", ActsFor: "ana", Owners: []PersonID{"ana"}, Active: true}},
	}
	if err := ok.Check(); err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]Directory{
		"login on two persons": {Persons: []Person{{ID: "ana", Logins: []string{"x"}}, {ID: "ben", Logins: []string{"x"}}}},
		"person twice":         {Persons: []Person{{ID: "ana"}, {ID: "ana"}}},
		"no owner":             {Persons: ok.Persons, Agents: []Agent{{ID: "bot"}}},
		"unknown owner":        {Persons: ok.Persons, Agents: []Agent{{ID: "bot", Owners: []PersonID{"zoe"}}}},
		"unknown person acted for": {
			Persons: ok.Persons, Agents: []Agent{{ID: "bot", ActsFor: "zoe", Owners: []PersonID{"ana"}}},
		},
		"agent twice": {Persons: ok.Persons, Agents: []Agent{ok.Agents[0], ok.Agents[0]}},
	} {
		if err := d.Check(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPrincipalFollowsTheDirectory(t *testing.T) {
	d := Directory{
		Persons: []Person{{ID: "ana", Groups: []Group{"dev"}, Active: true}},
		Agents:  []Agent{{ID: "bot", ActsFor: "ana", Owners: []PersonID{"ana"}, Active: true}},
	}
	bot := Principal{Kind: KindAgent, Agent: "bot", Groups: []Group{"admins"}}
	now, err := d.Principal(bot)
	if err != nil || now.In("admins") || len(now.Chain) != 1 || now.Chain[0] != "ana" {
		t.Errorf("%+v, %v", now, err)
	}
	d.Persons[0].Active = false
	for _, p := range []Principal{bot, {Kind: KindPerson, Person: "ana"}, {Kind: KindPerson, Person: "zoe"}, {}} {
		if _, err := d.Principal(p); err == nil {
			t.Errorf("%s may ask", p.ID())
		}
	}
}

func TestViewDigestCoversEverythingShown(t *testing.T) {
	v := View{Text: sanitize.Const("SELECT 1"), Effects: Read}
	w := v
	w.Text = sanitize.Const("SELECT 2")
	x := v
	x.Effects = Write
	if v.ViewDigest() == w.ViewDigest() || v.ViewDigest() == x.ViewDigest() {
		t.Error("two views share a digest")
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var back View
	if err := json.Unmarshal(data, &back); err != nil || back.ViewDigest() != v.ViewDigest() {
		t.Errorf("a view that was stored and read has another digest (%v)", err)
	}
}
