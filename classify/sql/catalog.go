package sql

import "github.com/countersign-dev/countersign"

// Name is a name in a schema, as the server stores it: case kept, no quotes.
type Name struct{ Schema, Name string }

// Catalog is a snapshot of what the server has, as far as it decides what a text does. Its maps hold
// everything outside pg_catalog and information_schema that the session can see. A relation that
// Relations lacks is Unknown; a function, operator or type that its map lacks is Execute. Objects in the
// session's temporary schema are under the schema "pg_temp". A Catalog is immutable once given to a
// Classifier.
type Catalog struct {
	Version   int    // as server_version_num; 150018
	User      string // the role that "$user" in search_path stands for
	Relations map[Name]Relation
	// Functions holds, by name, the union of the effects of all functions, procedures and aggregates of
	// that name. Read alone means that every one of them was vetted as doing nothing but compute and
	// read; Execute that some of them was not.
	Functions map[Name]countersign.Effects
	// RowFunctions are the names of those functions that take a single argument a row could be: they
	// can be called as c.name.
	RowFunctions map[string]countersign.Effects
	Operators    map[Name]countersign.Effects // the same for the functions behind operators
	Types        map[Name]countersign.Effects // the same for input, cast and check functions of types and domains
}

// Relation is a table, view, sequence, or another thing with rows.
type Relation struct {
	Kind   byte                // as pg_class.relkind
	Reads  countersign.Effects // what reading it does besides Read: a view's functions, a foreign server
	Writes countersign.Effects // what changing it does besides: triggers, rules, defaults
}
