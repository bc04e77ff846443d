//go:build ignore

// Generate brings the lists in this folder up to date with a server:
//
//	go run classify/sql/vetted/generate.go postgres://postgres@127.0.0.1:5432/postgres
//
// It keeps the marks that are there and gives names it sees for the first time the mark "?", which
// vets nothing: a person reads the function's documentation and replaces it. Lines whose name the
// server lacks are kept too, for other versions have it. An empty database of the version to add
// serves best.
package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// lists are the files with the queries that give a name and, for functions, whether it returns a set.
// Names outside pg_catalog carry their schema.
var lists = []struct{ file, query string }{
	{"functions.txt", `
		SELECT CASE nspname WHEN 'pg_catalog' THEN '' ELSE nspname || '.' END || proname, bool_or(proretset)
		FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = pronamespace
		WHERE nspname IN ('pg_catalog', 'information_schema') GROUP BY 1`},
	{"operators.txt", `
		SELECT DISTINCT oprname::text, false FROM pg_catalog.pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace`},
	{"types.txt", `
		SELECT CASE nspname WHEN 'pg_catalog' THEN '' ELSE nspname || '.' END || typname, false
		FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = typnamespace
		LEFT JOIN pg_catalog.pg_class c ON c.oid = typrelid
		WHERE nspname IN ('pg_catalog', 'information_schema') AND typtype <> 'c'
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = t.oid AND (e.typtype = 'c' OR nspname <> 'pg_catalog'))`},
	{"relations.txt", `
		SELECT nspname || '.' || relname, false
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
		WHERE nspname IN ('pg_catalog', 'information_schema') AND relkind NOT IN ('i', 't')`},
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate CONNECTION")
		os.Exit(2)
	}
	if err := generate(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func generate(connection string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, connection)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, l := range lists {
		if err := update(ctx, conn, "classify/sql/vetted/"+l.file, l.query); err != nil {
			return fmt.Errorf("%s: %w", l.file, err)
		}
	}
	return nil
}

// update rewrites one list: its comment lines, then one line for each name, sorted.
func update(ctx context.Context, conn *pgx.Conn, file, query string) error {
	head, lines, err := load(file)
	if err != nil {
		return err
	}
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var set bool
		if err := rows.Scan(&name, &set); err != nil {
			return err
		}
		if lines[name] != "" {
			continue
		}
		lines[name] = name + " ?"
		if set {
			lines[name] += " set"
		}
		fmt.Println(file, lines[name])
	}
	if err := rows.Err(); err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(head)
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		b.WriteString(lines[name] + "\n")
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

func load(file string) (head string, lines map[string]string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	lines = map[string]string{}
	s := bufio.NewScanner(f)
	for s.Scan() {
		name, _, marked := strings.Cut(s.Text(), " ")
		if name == "#" && len(lines) == 0 {
			head += s.Text() + "\n"
			continue
		}
		if !marked {
			return "", nil, fmt.Errorf("line %q has no mark", s.Text())
		}
		lines[name] = s.Text()
	}
	return head, lines, s.Err()
}
