package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/api"
	"github.com/countersign-dev/countersign/server"
)

// cli is every command. The names never change; scripts rely on them.
type cli struct {
	Serve serveCmd `cmd:"" help:"Run the gateway."`
	Init  initCmd  `cmd:"" help:"Write a configuration, a safe starter policy and tokens for your own database."`
	Demo  demoCmd  `cmd:"" help:"See everything on this machine: a real database, people and an agent."`

	Requests requestsCmd `cmd:"" help:"Requests that wait for signatures, and those that did."`
	Approve  approveCmd  `cmd:"" help:"See a request and sign it."`
	Deny     denyCmd     `cmd:"" help:"Deny a request. One denial ends it."`
	Connect  connectCmd  `cmd:"" help:"Open a port on this machine through which any PostgreSQL client reaches a resource."`

	Trail    trailCmd    `cmd:"" help:"The audit trail: search, show, verify, export, prove."`
	Policy   policyCmd   `cmd:"" help:"Check, test and explain policy files."`
	Classify classifyCmd `cmd:"" help:"Say what a statement would do, and how that is known."`
	Sanitize sanitizeCmd `cmd:"" help:"Replace secrets and personal data in text."`
	Token    tokenCmd    `cmd:"" help:"Make tokens."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

// The exit codes of every command.
const (
	exitOK          = 0
	exitNo          = 1 // the answer is no: denied, verify failed, test failed
	exitUsage       = 2 // wrong use or configuration
	exitUnavailable = 3 // something that is needed cannot be reached, or failed
)

// sys is what a command has of the system around it.
type sys struct {
	ctx            context.Context
	in             io.Reader
	out, err       io.Writer
	inTTY, outTTY  bool
	getenv         func(string) string
	readSecretLine func() (string, error) // from the terminal, without echo
}

func system() *sys {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	return &sys{
		ctx: ctx, in: os.Stdin, out: os.Stdout, err: os.Stderr,
		inTTY:  term.IsTerminal(int(os.Stdin.Fd())),
		outTTY: term.IsTerminal(int(os.Stdout.Fd())),
		getenv: os.Getenv,
		readSecretLine: func() (string, error) {
			b, err := term.ReadPassword(int(os.Stdin.Fd()))
			return string(b), err
		},
	}
}

// readLine reads a line that the user types, or ends with Ctrl-C. At the end of input the line is empty.
func (s *sys) readLine() (string, error) {
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(io.LimitReader(s.in, maxAnswerLine)).ReadString('\n') // what came before the end counts
		line <- text
	}()
	select {
	case text := <-line:
		return strings.TrimSpace(text), nil
	case <-s.ctx.Done():
		return "", s.ctx.Err()
	}
}

// maxAnswerLine bounds what a user types to a question.
const maxAnswerLine = 4096

// failure is an error with an exit code and what to do next.
type failure struct {
	code int
	what string
	why  string
	next string
}

func (f *failure) Error() string { return f.what }

func usage(what, next string) error { return &failure{code: exitUsage, what: what, next: next} }

// silent ends a command with a code when all has been said.
type silent int

func (s silent) Error() string { return fmt.Sprintf("exit code %d", int(s)) }

func run(args []string, s *sys) (code int) {
	var c cli
	parser, err := kong.New(&c,
		kong.Name("countersign"),
		kong.Description("The second signature that makes an order valid: an identity-aware gateway that holds what policy says until another person signs."),
		kong.Writers(s.out, s.err),
		kong.Exit(func(code int) { panic(silent(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.Bind(s),
	)
	if err != nil {
		return tell(s, err)
	}
	least := exitOK
	defer func() {
		// Help ends the command from within the parser.
		if p := recover(); p != nil {
			ended, ok := p.(silent)
			if !ok {
				panic(p)
			}
			code = max(int(ended), least)
		}
	}()
	if len(args) == 0 {
		args, least = []string{"--help"}, exitUsage
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		var pe *kong.ParseError
		hint := "countersign --help"
		if errors.As(err, &pe) && pe.Context != nil && pe.Context.Selected() != nil {
			hint = pe.Context.Selected().FullPath() + " --help"
		}
		return tell(s, usage(err.Error(), hint+" shows how it is used"))
	}
	if err := ctx.Run(); err != nil {
		return tell(s, err)
	}
	return exitOK
}

// tell prints an error and returns the exit code for it.
func tell(s *sys, err error) int {
	var end silent
	if errors.As(err, &end) {
		return int(end)
	}
	f := failed(err)
	what := strings.Split(strings.TrimRight(f.what, "\n"), "\n")
	fmt.Fprintf(s.err, "countersign: %s\n", visible(strings.Join(what, "\n  ")))
	if f.why != "" {
		fmt.Fprintf(s.err, "  why:  %s\n", visible(f.why))
	}
	if f.next != "" {
		fmt.Fprintf(s.err, "  next: %s\n", visible(f.next))
	}
	return f.code
}

// failed is the one table from errors to exit codes.
func failed(err error) *failure {
	var f *failure
	var config *server.ConfigError
	var problem *api.Problem
	var known *countersign.Error
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &config):
		return &failure{code: exitUsage, what: err.Error()}
	case errors.As(err, &problem):
		return &failure{code: codeOf(problem.Kind), what: problem.Message, why: problemWhy(problem), next: problem.Hint}
	case errors.As(err, &known):
		return &failure{code: codeOf(known.Kind), what: known.Message.String(), why: known.Detail.String(), next: known.Hint.String()}
	case errors.Is(err, api.ErrUnreachable):
		return &failure{
			code: exitUnavailable, what: err.Error(),
			next: "start the gateway with countersign serve, or set COUNTERSIGN_URL to where it is",
		}
	case errors.Is(err, context.Canceled):
		return &failure{code: exitUnavailable, what: "interrupted"}
	default:
		return &failure{code: exitUnavailable, what: err.Error()}
	}
}

func codeOf(k countersign.ErrorKind) int {
	switch k {
	case countersign.ErrInvalid, countersign.ErrUnauthenticated:
		return exitUsage
	case countersign.ErrDenied, countersign.ErrNotFound, countersign.ErrConflict, countersign.ErrLimit:
		return exitNo
	default:
		return exitUnavailable
	}
}

func problemWhy(p *api.Problem) string {
	why := p.Detail
	for _, e := range p.Errors {
		if why != "" {
			why += "; "
		}
		why += e.Location + ": " + e.Message
	}
	return why
}
