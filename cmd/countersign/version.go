package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker.
var version string

type versionCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

type buildInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
}

// Run prints the version.
func (c *versionCmd) Run(s *sys) error {
	b := build()
	if c.JSON {
		return s.printJSON(b)
	}
	line := "countersign " + b.Version
	if b.Revision != "" {
		line += " (" + b.Revision[:min(12, len(b.Revision))]
		if b.Modified {
			line += ", modified"
		}
		line += ")"
	}
	_, err := fmt.Fprintln(s.out, line, b.Go)
	return err
}

// build is what the program knows of itself.
func build() buildInfo {
	b := buildInfo{Version: "development", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if ok {
		if m := info.Main.Version; m != "" && m != "(devel)" {
			b.Version = m
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Revision = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}
	if version != "" {
		b.Version = version
	}
	return b
}
