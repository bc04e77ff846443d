package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/classify/sql"
	"github.com/countersign-dev/countersign/policy"
	"github.com/countersign-dev/countersign/server"
)

type policyCmd struct {
	Check   policyCheckCmd   `cmd:"" help:"Say what is wrong in a policy, with file and line."`
	Test    policyTestCmd    `cmd:"" help:"Run a policy's test cases, *_test.yaml."`
	Explain policyExplainCmd `cmd:"" help:"Say what a policy decides about an action, and why."`
}

type policyCheckCmd struct {
	Path string `arg:"" optional:"" default:"policy.d" help:"A folder of rules, or one file."`
	JSON bool   `name:"json" help:"Print JSON."`
}

type policyChecked struct {
	OK     bool               `json:"ok"`
	Digest countersign.Digest `json:"digest,omitzero"`
	Rules  []policy.RuleInfo  `json:"rules"`
	Errors policy.Errors      `json:"errors"`
}

// Run checks a policy.
func (c *policyCheckCmd) Run(s *sys) error {
	set, err := loadPolicy(c.Path)
	var wrong policy.Errors
	if err != nil && !errors.As(err, &wrong) {
		return usage(err.Error(), "")
	}
	if c.JSON {
		out := policyChecked{OK: err == nil, Rules: []policy.RuleInfo{}, Errors: wrong}
		if err == nil {
			out.Digest, out.Rules, out.Errors = set.Digest(), set.Rules(), policy.Errors{}
		}
		if err := s.printJSON(out); err != nil {
			return err
		}
		if wrong != nil {
			return silent(exitUsage)
		}
		return nil
	}
	if wrong != nil {
		return usage(wrong.Error(), "")
	}
	fmt.Fprintf(s.out, "%d rules, nothing wrong. Digest %s\n", len(set.Rules()), set.Digest())
	return nil
}

// loadPolicy reads and checks a policy.
func loadPolicy(path string) (*policy.Set, error) {
	files, err := server.ReadPolicy(path)
	if err != nil {
		return nil, err
	}
	return policy.Load(files, server.Features())
}

type policyTestCmd struct {
	Cases  []string `arg:"" optional:"" help:"Files of cases; by default the *_test.yaml of the policy's folder."`
	Policy string   `default:"policy.d" help:"A folder of rules, or one file." placeholder:"PATH"`
	JSON   bool     `name:"json" help:"Print JSON."`
}

// Run runs test cases. The exit code is 1 when one fails.
func (c *policyTestCmd) Run(s *sys) error {
	set, err := loadPolicy(c.Policy)
	if err != nil {
		return usage(err.Error(), "countersign policy check says the same as JSON with --json")
	}
	files, err := c.files()
	if err != nil {
		return usage(err.Error(), "")
	}
	if len(files) == 0 {
		return usage("there are no test cases in "+c.Policy, "write them into files that end with _test.yaml")
	}
	var results []policy.TestResult
	for _, f := range files {
		cases, err := policy.LoadTests(f)
		if err != nil {
			return usage(err.Error(), "")
		}
		results = append(results, set.Test(cases)...)
	}
	failed := 0
	for _, r := range results {
		if !r.Passed {
			failed++
		}
	}
	if c.JSON {
		if err := s.printJSON(results); err != nil {
			return err
		}
	} else {
		for _, r := range results {
			fmt.Fprintln(s.out, visible(r.String()))
		}
		fmt.Fprintf(s.out, "%d passed, %d failed\n", len(results)-failed, failed)
	}
	if failed > 0 {
		return silent(exitNo)
	}
	return nil
}

func (c *policyTestCmd) files() ([]policy.File, error) {
	if len(c.Cases) == 0 {
		info, err := os.Stat(c.Policy)
		if err == nil && !info.IsDir() {
			return nil, errors.New("with a single policy file, name the files of its cases")
		}
		return server.ReadPolicyTests(c.Policy)
	}
	var files []policy.File
	for _, p := range c.Cases {
		data, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		files = append(files, policy.File{Name: p, Data: data})
	}
	return files, nil
}

type policyExplainCmd struct {
	Config   string   `default:"countersign.yaml" help:"The configuration: its policy, people, agents and resources." type:"path"`
	Policy   string   `help:"Another policy than the configuration's: a folder or a file." placeholder:"PATH"`
	As       string   `required:"" help:"Who asks: agent:NAME or person:NAME." placeholder:"PRINCIPAL"`
	Resource string   `required:"" help:"On what."`
	Effects  []string `help:"Instead of a statement: its effects." placeholder:"EFFECT"`
	Rows     int64    `default:"-1" help:"Suppose that exactly so many rows are concerned."`
	JSON     bool     `name:"json" help:"Print JSON."`

	Statement string `arg:"" optional:"" help:"The statement; - reads standard input."`
}

// Run explains a decision. The exit code is 1 when the answer is a denial.
func (c *policyExplainCmd) Run(s *sys) error {
	cfg, err := server.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	path := cfg.Policy
	if c.Policy != "" {
		path = c.Policy
	}
	set, err := loadPolicy(path)
	if err != nil {
		return usage(err.Error(), "")
	}
	in, err := c.input(s, cfg)
	if err != nil {
		return err
	}
	x := set.Explain(in)
	if c.JSON {
		if err := s.printJSON(x); err != nil {
			return err
		}
	} else {
		fmt.Fprint(s.out, visible(x.String()))
	}
	if x.Decision.Verdict == countersign.Deny {
		return silent(exitNo)
	}
	return nil
}

func (c *policyExplainCmd) input(s *sys, cfg *server.Config) (policy.Input, error) {
	var in policy.Input
	who, err := c.principal(cfg)
	if err != nil {
		return in, usage(err.Error(), "people and agents are those of the configuration")
	}
	res, ok := cfg.Resource(countersign.ResourceName(c.Resource))
	if !ok {
		return in, usage(fmt.Sprintf("no resource is named %q in %s", c.Resource, c.Config), "")
	}
	in.Principal, in.Resource, in.Facts = &who, &res, &countersign.Facts{Statements: 1}
	switch {
	case len(c.Effects) > 0 && c.Statement != "":
		return in, usage("give a statement or --effects, not both", "")
	case len(c.Effects) > 0:
		for _, name := range c.Effects {
			e, err := countersign.ParseEffect(name)
			if err != nil {
				return in, usage(err.Error(), "")
			}
			in.Effects |= e
		}
	case c.Statement != "":
		text := c.Statement
		if text == "-" {
			data, err := io.ReadAll(io.LimitReader(s.in, maxStdin))
			if err != nil {
				return in, fmt.Errorf("reading standard input: %w", err)
			}
			text = string(data)
		}
		r := sql.Classify(text, sql.Settings{StandardConformingStrings: true, UTF8: true}, nil)
		in.Effects, in.Objects, in.Facts, in.Shape = r.Effects, r.Objects, &r.Facts, r.Shape
	default:
		return in, usage("nothing to decide about", "give a statement, or --effects read,write")
	}
	if c.Rows >= 0 {
		in.Facts.Rows, in.Facts.RowsKnown = c.Rows, true
	}
	return in, nil
}

func (c *policyExplainCmd) principal(cfg *server.Config) (countersign.Principal, error) {
	kind, name, _ := strings.Cut(c.As, ":")
	switch countersign.PrincipalKind(kind) {
	case countersign.KindPerson:
		return cfg.Directory().Principal(countersign.Principal{Kind: countersign.KindPerson, Person: countersign.PersonID(name)})
	case countersign.KindAgent:
		return cfg.Directory().Principal(countersign.Principal{Kind: countersign.KindAgent, Agent: countersign.AgentID(name)})
	}
	return countersign.Principal{}, fmt.Errorf("%q is nobody: write agent:NAME or person:NAME", c.As)
}
