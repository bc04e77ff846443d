package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/countersign-dev/countersign/sanitize"
	"github.com/countersign-dev/countersign/store/keys"
)

// A key for pseudonyms that is not a gateway's own has so many bytes.
const (
	minKey = 16
	maxKey = 4096
)

type sanitizeCmd struct {
	Findings string `help:"Write what was replaced to this file, one JSON object a line: line, start, end, kind." placeholder:"FILE" type:"path"`
	Key      string `help:"Make pseudonyms ([email:7f3a9c2e51b0]) with this key: a gateway's pseudonym.key, or any file of 16 bytes or more. Without it, placeholders tell the kind only." placeholder:"FILE" type:"path"`
	Strict   bool   `help:"Replace every literal, known or not."`
}

// finding is one replacement. Scripts rely on these keys.
type finding struct {
	Line  int           `json:"line"`
	Start int           `json:"start"`
	End   int           `json:"end"`
	Kind  sanitize.Kind `json:"kind"`
}

// Run sanitizes standard input line for line.
func (c *sanitizeCmd) Run(s *sys) (err error) {
	o := sanitize.Options{Strict: c.Strict}
	if c.Key != "" {
		if o.Key, err = pseudonymKey(c.Key); err != nil {
			return usage(err.Error(), "")
		}
	}
	var report func(int, sanitize.Span)
	if c.Findings != "" {
		f, err := os.OpenFile(c.Findings, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return usage(err.Error(), "")
		}
		out := bufio.NewWriter(f)
		defer func() { err = errors.Join(err, out.Flush(), f.Close()) }()
		enc := json.NewEncoder(out)
		report = func(line int, sp sanitize.Span) {
			// A writer keeps its first error, and Flush tells it.
			_ = enc.Encode(finding{line, sp.Start, sp.End, sp.Kind})
		}
	}
	if err := sanitize.New(o).Lines(s.in, s.out, report); err != nil {
		return &failure{code: exitUnavailable, what: err.Error()}
	}
	return nil
}

// keyFile begins every key file of a gateway.
const keyFile = "countersign"

func pseudonymKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() < minKey || info.Size() > maxKey {
		return nil, fmt.Errorf("%s has %d bytes; a key has %d to %d", path, info.Size(), minKey, maxKey)
	}
	data, err := os.ReadFile(path)
	if err != nil || !bytes.HasPrefix(data, []byte(keyFile)) {
		return data, err
	}
	k, err := keys.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if k.Purpose != keys.PurposePseudonym {
		return nil, fmt.Errorf("%s is a gateway's key, but not the one for pseudonyms", path)
	}
	return k.Secret(), nil
}
