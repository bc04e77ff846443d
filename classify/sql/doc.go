// Package sql tells what a PostgreSQL text would do before it runs: its effects, the objects it
// touches, and why; where credentials stand in it; and what each statement does to the session.
//
// # What it promises
//
// The text is read by PostgreSQL's own grammar (version 17, in pg_query_go), and the tree by an
// allow-list: rules_query.go, rules_utility.go and rules_definition.go name every kind of node and
// every field that is understood. What is not named there makes the statement Unknown, and so does a
// text that is too long, too deep or too wide (see MaxBytes and the limits beside it), that does not
// parse, that holds a NUL byte or invalid UTF-8, or that the session would read otherwise
// (standard_conforming_strings off, another client_encoding). No text panics, overflows the parser's
// stack, or takes more than a bounded amount of memory.
//
// A statement has the effects of everything in it, at any depth: WITH queries, subqueries, defaults,
// casts, operators, what EXPLAIN explains, PREPARE prepares and COPY copies. Functions, operators and
// types count as reading only when they resolve to one of pg_catalog that is marked so in vetted/, by
// hand; those known to do more have that effect; every other one is Execute. Settings are Session when
// vetted/settings.txt lists them. RESET is Session, for it brings back what every new connection starts
// with, except RESET of the role. Where the design leaves it open:
//
//   - pg_sleep and the functions that assign or show transaction identifiers are Read.
//   - VACUUM, ANALYZE, REINDEX, CLUSTER and CHECKPOINT are Admin.
//   - Creating a function, trigger, rule, cast, operator or anything else that says what code will run is
//     Schema and Execute; SECURITY DEFINER and attributes that row security relies on add Privilege.
//   - Turning triggers and rules on or off, and the owner of anything, is Privilege.
//   - PREPARE TRANSACTION, COMMIT PREPARED and ROLLBACK PREPARED are Unknown.
//   - DROP COLUMN and DROP CONSTRAINT are Destroy besides Schema.
//   - A view's definition has the effects of its query, though it does not run yet.
//   - Of pg_settings, rows named by literals and columns without values are Read, the rest is Secret.
//   - EXECUTE of a statement that was prepared under another search_path is Unknown.
//   - EXECUTE of what the protocol prepared and SQL's PREPARE does not take is Unknown where it does
//     something by a name: to the transaction, to cursors, or to prepared statements.
//   - What only stands inside a statement does nothing to the session: EXPLAIN DECLARE opens no cursor.
//   - SQL/JSON functions (JSON_VALUE, JSON_ARRAY, …) are Execute unless the catalog says version 17 or
//     later: older servers call somebody's function of that name.
//   - A WHERE without a column of the target, or that is true by its form, leaves a change Unbounded.
//   - Rows are known of INSERT … VALUES only, and not where a function may return a set, or ON CONFLICT
//     stands.
//
// # What it does not promise
//
// Without a Catalog, names are taken for what they most likely are, and the evidence says so:
//
// BUG: an unqualified function, operator or type that pg_catalog has is taken for pg_catalog's, when no
// other schema comes before it in search_path. One in a schema after it wins where its argument types
// fit better: public.lower(varchar) beats pg_catalog.lower(text). Sound only with a search_path of
// pg_catalog alone, with qualified names, or with a Catalog. A name of the lists that an older server
// lacks is taken for the built-in one, too.
//
// BUG: c.leak is taken for a column; where there is no such column the server calls leak(c).
//
// BUG: a relation outside pg_catalog is taken for a plain table: a view that calls functions, triggers,
// rules, row security, defaults, foreign servers, and the functions behind columns of user-defined types
// go unseen, as does a temporary table or view that hides a system catalog.
//
// With a Catalog all three are resolved, by the union of what any candidate does; but names that the
// text itself creates are not in it, and Unknown.
//
// Credentials are found by position and by name (a column called password), not by what they look like;
// the sanitizer's detectors look at the rest. A span covers one literal or word, never code between
// literals, nor a literal as a whole that is run as code: the bodies of DO and of functions, what EXECUTE runs
// in them, and arguments of the functions in codeArguments are read as code, four deep, and what they hold in
// credential positions is found by itself. In languages other than SQL and PL/pgSQL nothing is. Any other
// function may run its arguments, and so may a variable's value be run: of more than 128 bytes the evidence says
// how much is hidden. Where standard_conforming_strings is off or not known, only what is in a literal both
// ways is a credential; in other encodings than UTF-8 nothing is that stands in a text with backslashes.
package sql
