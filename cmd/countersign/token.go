package main

import (
	"fmt"

	"github.com/countersign-dev/countersign/identity/token"
)

type tokenCmd struct {
	New tokenNewCmd `cmd:"" help:"Make a token, and the hash of it for the configuration."`
}

type tokenNewCmd struct {
	Use  string `required:"" enum:"connect,review" help:"What it is for: ${enum}, never both."`
	JSON bool   `name:"json" help:"Print JSON."`
}

type newToken struct {
	Token string     `json:"token"`
	Hash  token.Hash `json:"hash"`
	Use   token.Use  `json:"use"`
}

// Run makes a token. It is shown this once.
func (c *tokenNewCmd) Run(s *sys) error {
	text, hash := token.New()
	use, err := token.ParseUse(c.Use)
	if err != nil {
		return usage(err.Error(), "")
	}
	if c.JSON {
		return s.printJSON(newToken{text, hash, use})
	}
	fmt.Fprintf(s.out, "%s\n", text)
	fmt.Fprintf(s.err, "\nThat is the token: give it to its holder; it is kept nowhere. Into the configuration, under the holder's tokens:\n\n  - {hash: %q, use: %s}\n", hash, use)
	return nil
}
