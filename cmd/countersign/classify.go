package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/classify/sql"
)

// maxStdin bounds what is read whole; the classifiers have a limit of their own far below it.
const maxStdin = 64 << 20

type classifyCmd struct {
	Kind  string `required:"" enum:"postgres" help:"What the text is for: ${enum}."`
	JSONL bool   `name:"jsonl" help:"Read one JSON string a line, and answer each with one line."`
}

// classified is the answer. Scripts rely on these four keys.
type classified struct {
	Effects countersign.Effects    `json:"effects"`
	Objects []countersign.Object   `json:"objects"`
	Facts   countersign.Facts      `json:"facts"`
	Why     []countersign.Evidence `json:"why"`
}

// Run classifies what standard input holds.
func (c *classifyCmd) Run(s *sys) error {
	out := bufio.NewWriter(s.out)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if !c.JSONL {
		text, err := io.ReadAll(io.LimitReader(s.in, maxStdin+1))
		if err != nil {
			return fmt.Errorf("reading standard input: %w", err)
		}
		if len(text) > maxStdin {
			return usage(fmt.Sprintf("the text is longer than %d bytes", maxStdin), "")
		}
		if err := enc.Encode(classifyPostgres(string(text))); err != nil {
			return err
		}
		return out.Flush()
	}
	in := bufio.NewReaderSize(s.in, 64<<10)
	for n := 1; ; n++ {
		line, err := readLine(in, maxStdin)
		if errors.Is(err, io.EOF) {
			return out.Flush()
		}
		var text string
		if err == nil {
			err = json.Unmarshal(line, &text)
		}
		if err != nil {
			_ = out.Flush() // the answers so far are still good
			return usage(fmt.Sprintf("line %d is not a JSON string: %v", n, err), "with --jsonl each line is one JSON string")
		}
		if err := enc.Encode(classifyPostgres(text)); err != nil {
			return err
		}
		// Whoever sends line by line waits for each answer.
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}

// readLine reads a line of at most so many bytes, without its end.
func readLine(r *bufio.Reader, most int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > most:
			return nil, fmt.Errorf("longer than %d bytes", most)
		case err == nil:
			return line[:len(line)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		default:
			return nil, err
		}
	}
}

func classifyPostgres(text string) classified {
	r := sql.Classify(text, sql.Settings{StandardConformingStrings: true, UTF8: true}, nil)
	a := classified{Effects: r.Effects, Objects: r.Objects, Facts: r.Facts, Why: r.Why}
	if a.Objects == nil {
		a.Objects = []countersign.Object{}
	}
	if a.Why == nil {
		a.Why = []countersign.Evidence{}
	}
	return a
}
