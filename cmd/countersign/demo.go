package main

import (
	"os"

	"github.com/countersign-dev/countersign/demo"
)

type demoCmd struct {
	Auto bool `help:"Play the reviewer too, and end."`
}

// Run plays the story on this machine.
func (c *demoCmd) Run(s *sys) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return demo.Run(s.ctx, demo.Options{Auto: c.Auto, In: s.in, Out: s.out, Err: s.err, Self: self})
}
