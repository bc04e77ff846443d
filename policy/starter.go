package policy

import (
	_ "embed"
	"slices"
)

//go:embed starter.yaml
var starter []byte

// Starter returns the policy file that a new installation begins with. It loads with no Features.
func Starter() []byte { return slices.Clone(starter) }
