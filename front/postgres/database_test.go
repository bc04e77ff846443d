package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// A client does not choose freely among the databases of the resource's server, and what it chose is seen.
func TestOnlyTheResourcesDatabases(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	url := func(database string) string {
		return fmt.Sprintf("postgres://someone:%s@%s/%s?sslmode=disable&options=-c%%20countersign.hold%%3D100ms", agentToken, r.addr, database)
	}
	ctx := context.Background()
	if c, err := pgx.Connect(ctx, url("shop/template1")); err == nil {
		c.Close(ctx)
		t.Error("another database of the server was reached")
	} else if !strings.Contains(err.Error(), "does not offer this database") {
		t.Error(err)
	}
	c, err := pgx.Connect(ctx, url("shop/"+r.database))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, "DELETE FROM items WHERE id = 1"); err == nil {
		t.Fatal("it ran unsigned")
	}
	if got := r.Pending(1)[0].View.Database.String(); got != r.database {
		t.Errorf("reviewers are shown database %q", got)
	}
}
