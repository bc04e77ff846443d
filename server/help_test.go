package server

import (
	"net/netip"
	"testing"

	"github.com/countersign-dev/countersign/identity/token"
)

var loopbackAddr = netip.MustParseAddr("127.0.0.1")

func mustTokens(t *testing.T, c *Config) *token.Table {
	t.Helper()
	table, err := c.Tokens()
	if err != nil {
		t.Fatal(err)
	}
	return table
}
