package sql

import (
	"testing"

	"github.com/countersign-dev/countersign"
)

// shop is a small server with everything that without a catalog cannot be seen.
var shop = &Catalog{
	Version: 150018,
	User:    "app",
	Relations: map[Name]Relation{
		{"public", "customers"}: {Kind: 'r'},
		{"public", "audited"}:   {Kind: 'r', Writes: countersign.Execute},
		{"public", "leaky"}:     {Kind: 'v', Reads: countersign.Write},
		{"public", "remote"}:    {Kind: 'f', Reads: countersign.Execute, Writes: countersign.Execute},
		{"app", "mine"}:         {Kind: 'r'},
		{"other", "customers"}:  {Kind: 'v', Reads: countersign.Execute},
		{"pg_temp", "hidden"}:   {Kind: 'v', Reads: countersign.Execute},
		{"public", "hidden"}:    {Kind: 'r'},
	},
	Functions: map[Name]countersign.Effects{
		{"public", "lower"}:    countersign.Execute, // lower(varchar): beats pg_catalog's on exact types
		{"public", "discount"}: countersign.Read,
		{"public", "ship"}:     countersign.Execute,
		{"other", "upper"}:     countersign.Execute,
	},
	RowFunctions: map[string]countersign.Effects{"leak": countersign.Execute},
	Operators:    map[Name]countersign.Effects{{"public", "+"}: countersign.Execute, {"public", "<->"}: countersign.Read},
	Types:        map[Name]countersign.Effects{{"public", "mood"}: countersign.Read, {"public", "checked"}: countersign.Execute},
}

// With a catalog names mean what they mean there.
func TestCatalog(t *testing.T) {
	for text, want := range map[string]countersign.Effects{
		"SELECT * FROM customers":                              countersign.Read,
		"SELECT * FROM nothing":                                countersign.Read | countersign.Unknown,
		"SELECT * FROM app.mine":                               countersign.Read,
		"SELECT * FROM mine":                                   countersign.Read,
		"SELECT * FROM leaky":                                  countersign.Read | countersign.Write,
		"SELECT * FROM public.remote":                          countersign.Read | countersign.Execute,
		"SELECT * FROM hidden":                                 countersign.Read | countersign.Execute,
		"SELECT * FROM public.hidden":                          countersign.Read,
		"INSERT INTO customers VALUES (1)":                     countersign.Write,
		"INSERT INTO audited VALUES (1)":                       countersign.Write | countersign.Execute,
		"SELECT * FROM audited":                                countersign.Read,
		"DELETE FROM audited WHERE a = 1":                      countersign.Delete | countersign.Execute,
		"COPY audited FROM STDIN":                              countersign.Write | countersign.Execute,
		"SELECT lower('A')":                                    countersign.Read | countersign.Execute,
		"SELECT pg_catalog.lower('A')":                         countersign.Read,
		"SELECT upper('a')":                                    countersign.Read,
		"SELECT discount(1)":                                   countersign.Read,
		"SELECT public.discount(1)":                            countersign.Read,
		"SELECT other.discount(1)":                             countersign.Read | countersign.Execute,
		"SELECT ship(1)":                                       countersign.Read | countersign.Execute,
		"SELECT 1 + 1":                                         countersign.Read | countersign.Execute,
		"SELECT 1 OPERATOR(pg_catalog.+) 1":                    countersign.Read,
		"SELECT a <-> b FROM customers":                        countersign.Read,
		"SELECT 'x'::mood":                                     countersign.Read,
		"SELECT 'x'::public.checked":                           countersign.Read | countersign.Execute,
		"SELECT 'x'::unheard":                                  countersign.Read | countersign.Execute,
		"SELECT c.leak FROM customers c":                       countersign.Read | countersign.Execute,
		"SELECT (c).leak FROM customers c":                     countersign.Read | countersign.Execute,
		"SELECT c.name FROM customers c":                       countersign.Read,
		"SELECT leak FROM customers":                           countersign.Read,
		"SET search_path = other":                              countersign.Session,
		"SELECT set_config('search_path', 'a, b', false)":      countersign.Read | countersign.Session,
		"SET search_path = other; SELECT * FROM customers":     countersign.Session | countersign.Read | countersign.Execute,
		"SET search_path = other; SELECT upper('x')":           countersign.Session | countersign.Read | countersign.Execute,
		"SET search_path = ''; SELECT upper('x')":              countersign.Session | countersign.Read,
		"RESET ALL; SELECT * FROM customers":                   countersign.Session | countersign.Read | countersign.Execute,
		"CREATE TABLE fresh (a int)":                           countersign.Schema,
		"SELECT json_value('{}', '$')":                         countersign.Read | countersign.Execute,
		"WITH nothing AS (SELECT 1) SELECT * FROM nothing":     countersign.Read,
		"WITH customers AS (SELECT 1) SELECT * FROM customers": countersign.Read,
	} {
		if r := Classify(text, normal, shop); r.Effects != want {
			t.Errorf("%s: %s, want %s; %v", text, r.Effects, want, r.Why)
		}
	}
	newer := *shop
	newer.Version = 170000
	if r := Classify("SELECT json_value('{}', '$.a')", normal, &newer); r.Effects != countersign.Read {
		t.Errorf("SQL/JSON on version 17: %s", r.Effects)
	}
}
