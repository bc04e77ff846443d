// Package pgtest gives tests a real PostgreSQL server, one for all tests of a package. A test that
// cannot have one fails and says what to install; it never skips.
package pgtest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign-dev/countersign/localpg"
)

var (
	inMain  atomic.Bool
	shared  *localpg.Server
	failure error
	once    sync.Once
	number  atomic.Int64
)

// Main runs a package's tests and then stops the shared server. A package that uses Server has
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
func Main(m *testing.M) {
	inMain.Store(true)
	code := m.Run()
	once.Do(func() {}) // from here on nobody starts one
	if shared != nil {
		if err := shared.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "pgtest:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// Server returns the package's shared server, starting it on first use.
func Server(t testing.TB) *localpg.Server {
	t.Helper()
	if !inMain.Load() {
		t.Fatal("pgtest.Server needs: func TestMain(m *testing.M) { pgtest.Main(m) }")
	}
	// The context of the first test would bound what all of them use.
	once.Do(func() { shared, failure = localpg.Start(context.Background(), localpg.Options{}) })
	if failure != nil {
		t.Fatalf("no PostgreSQL server for this test: %v", failure)
	}
	return shared
}

// Own starts a server for one test alone, for settings or crashes of its own.
func Own(t testing.TB, o localpg.Options) *localpg.Server {
	t.Helper()
	s, err := localpg.Start(t.Context(), o)
	if err != nil {
		t.Fatalf("no PostgreSQL server for this test: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop PostgreSQL: %v", err)
		}
	})
	return s
}

// Database makes a database on the shared server, runs statements in it, and returns its name. It is
// dropped, with its sessions ended, when the test ends.
func Database(t testing.TB, statements ...string) string {
	t.Helper()
	s := Server(t)
	name := fmt.Sprintf("test_%d", number.Add(1))
	Exec(t, s.URL("postgres"), "CREATE DATABASE "+name)
	t.Cleanup(func() { Exec(t, s.URL("postgres"), "DROP DATABASE "+name+" WITH (FORCE)") })
	if len(statements) > 0 {
		Exec(t, s.URL(name), statements...)
	}
	return name
}

// Role makes a login role on the shared server, dropped when the test ends, and returns its name. What
// it was granted in a Database goes with that database, which must be made after the role.
func Role(t testing.TB, password string) string {
	t.Helper()
	s := Server(t)
	name := fmt.Sprintf("role_%d", number.Add(1))
	Exec(t, s.URL("postgres"), fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", name, strings.ReplaceAll(password, "'", "''")))
	t.Cleanup(func() { Exec(t, s.URL("postgres"), "DROP ROLE "+name) })
	return name
}

// Exec runs statements, each by itself, on a connection of its own.
func Exec(t testing.TB, url string, statements ...string) {
	t.Helper()
	ctx := context.Background() // t.Context has ended when cleanups run
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range statements {
		if _, err := conn.Exec(ctx, text).ReadAll(); err != nil {
			t.Errorf("%s: %v", text, err)
			break
		}
	}
	if err := conn.Close(ctx); err != nil {
		t.Error(err)
	}
}
