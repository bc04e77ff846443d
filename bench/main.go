// Command bench measures the gateway, each figure beside a reference that is taken in the same run on
// the same machine: absolute figures depend on the machine, ratios much less. It prints a report in
// Markdown and judges nothing. docs/performance.md says how to read it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// bench is one run.
type bench struct {
	out     io.Writer
	program string // countersign
	dir     string // scratch
	short   bool
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	program := flag.String("countersign", "bin/countersign", "the countersign `program` to measure")
	short := flag.Bool("short", false, "measure briefly: figures scatter more")
	only := flag.String("only", "", "comma-separated `sections`: postgres, held, trail, decide")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	b := &bench{out: os.Stdout, short: *short}
	if b.program, err = filepath.Abs(*program); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "countersign-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()

	b.head()
	for _, section := range []struct {
		name    string
		measure func(context.Context) error
	}{{"decide", b.decide}, {"trail", b.trail}, {"postgres", b.postgres}, {"held", b.held}} {
		if *only != "" && !strings.Contains(","+*only+",", ","+section.name+",") {
			continue
		}
		if err := section.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", section.name, err)
		}
	}
	return nil
}

func (b *bench) head() {
	kind := "full"
	if b.short {
		kind = "short"
	}
	fmt.Fprintf(b.out, "%s run of %s, %s, %d cores (%s), load %s\n",
		kind, time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.NumCPU(), cpuModel(), loadAverage())
}

// pick returns a value for the full run or the short one.
func pick[T any](b *bench, full, short T) T {
	if b.short {
		return short
	}
	return full
}

// table prints a heading and a Markdown table. The first column is text, the others are figures.
func (b *bench) table(title, note string, head []string, rows [][]string) {
	fmt.Fprintf(b.out, "\n## %s\n\n", title)
	if note != "" {
		fmt.Fprintf(b.out, "%s\n\n", note)
	}
	fmt.Fprintf(b.out, "| %s |\n|---%s|\n", strings.Join(head, " | "), strings.Repeat("|--:", len(head)-1))
	for _, r := range rows {
		fmt.Fprintf(b.out, "| %s |\n", strings.Join(r, " | "))
	}
}
