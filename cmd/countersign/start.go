package main

import (
	"errors"

	"github.com/countersign-dev/countersign/policy"
	"github.com/countersign-dev/countersign/server"
	"github.com/countersign-dev/countersign/store/sqlite"
)

// startFailure words why a gateway did not start.
func startFailure(err error) error {
	var config *server.ConfigError
	var rules policy.Errors
	var refused *sqlite.Refusal
	switch {
	case errors.As(err, &config):
		return config
	case errors.As(err, &rules):
		return usage(rules.Error(), "countersign policy check says the same without starting anything")
	case errors.As(err, &refused):
		f := &failure{code: exitUnavailable, what: refused.What, next: refused.Hint}
		if refused.Err != nil {
			f.why = refused.Err.Error()
		}
		return f
	default:
		return err
	}
}
