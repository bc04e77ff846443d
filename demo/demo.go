// Package demo plays the product's story on one machine, with nothing faked: a real PostgreSQL server
// with a sample shop, the gateway as its own process, psql as the agent, the command line as the people.
//
// It promises that each step is checked against what the step is told to show, and that an error names
// the step that came out otherwise. It leaves nothing behind: every process and file is its own, and ends with it.
package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/term"

	"github.com/countersign-dev/countersign/demo/gateway"
	"github.com/countersign-dev/countersign/identity/token"
	"github.com/countersign-dev/countersign/localpg"
)

// storyLimit bounds a story in which nobody is waited for.
const storyLimit = 110 * time.Second

// Options say how to play.
type Options struct {
	// Auto plays the reviewer too. So does a demo whose input or output is not a terminal.
	Auto bool
	In   io.Reader
	Out  io.Writer
	// Err takes what goes wrong while cleaning up.
	Err io.Writer
	// Self is the countersign program.
	Self string
}

// demo is one running demo.
type demo struct {
	show
	auto     bool
	self     string
	dir      string // everything the demo writes
	psqlPath string
	postgres *localpg.Server
	gateway  *gateway.Gateway
	front    string // where agents connect
	bot      string // the agent's token
}

// Run plays the story. It returns when it is told (Auto, or no terminal), or when ctx ends after that.
func Run(ctx context.Context, o Options) (err error) {
	d := &demo{auto: o.Auto || !isTerminal(o.In) || !isTerminal(o.Out), show: newShow(o.Out)}
	if d.self, err = filepath.Abs(o.Self); err != nil {
		return err
	}
	if d.auto {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, storyLimit)
		defer cancel()
	}
	defer func() {
		if cerr := d.cleanUp(); cerr != nil {
			fmt.Fprintln(o.Err, "demo:", cerr)
			err = errors.Join(err, cerr)
		}
	}()
	if err := d.setUp(ctx); err != nil {
		return fmt.Errorf("setting up the demo: %w", err)
	}
	if err := d.play(ctx); err != nil {
		return err
	}
	if d.auto {
		return nil
	}
	d.leaveRunning(ctx)
	return nil
}

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

//go:embed shop.sql
var shopSQL string

//go:embed policy.yaml
var policyYAML []byte

//go:embed countersign.yaml.tmpl
var configTemplate string

// setUp starts the database and the gateway.
func (d *demo) setUp(ctx context.Context) error {
	install, err := localpg.Find()
	if err != nil {
		return err
	}
	if d.psqlPath, err = install.Psql(); err != nil {
		return err
	}
	if d.dir, err = os.MkdirTemp("", "countersign-demo-"); err != nil {
		return err
	}
	if d.postgres, err = localpg.Start(ctx, localpg.Options{Install: install}); err != nil {
		return err
	}
	password := rand.Text()
	if err := d.fillShop(ctx, password); err != nil {
		return fmt.Errorf("sample database: %w", err)
	}
	if err := d.write("shop.password", []byte(password), 0o600); err != nil {
		return err
	}
	return d.startGateway(ctx)
}

func (d *demo) fillShop(ctx context.Context, password string) error {
	for _, part := range []struct{ database, text string }{
		{"postgres", "CREATE ROLE app LOGIN PASSWORD '" + password + "'"},
		{"postgres", "CREATE DATABASE shop"},
		{"shop", shopSQL},
	} {
		conn, err := pgconn.Connect(ctx, d.postgres.URL(part.database))
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, part.text).ReadAll()
		if err = errors.Join(err, conn.Close(ctx)); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) startGateway(ctx context.Context) error {
	web, err := gateway.FreeAddr()
	if err != nil {
		return err
	}
	if d.front, err = gateway.FreeAddr(); err != nil {
		return err
	}
	_, port, _ := strings.Cut(web, ":")
	url := "http://localhost:" + port
	bot, botHash := token.New()
	values := struct{ PublicURL, Web, Postgres, Upstream, Ana, Ben, Kim, Bot string }{
		PublicURL: url, Web: web, Postgres: d.front, Upstream: d.postgres.Addr, Bot: botHash.String(),
	}
	d.bot = bot
	if err := d.person("deploy-bot", url, bot); err != nil {
		return err
	}
	for name, hash := range map[string]*string{"ana": &values.Ana, "ben": &values.Ben, "kim": &values.Kim} {
		text, h := token.New()
		*hash = h.String()
		if err := d.person(name, url, text); err != nil {
			return err
		}
	}
	if err := d.client(); err != nil {
		return err
	}
	t, err := template.New("config").Parse(configTemplate)
	if err != nil {
		return err
	}
	var config bytes.Buffer
	if err := t.Execute(&config, values); err != nil {
		return err
	}
	if err := d.write("countersign.yaml", config.Bytes(), 0o600); err != nil {
		return err
	}
	if err := d.write("policy.d/shop.yaml", policyYAML, 0o600); err != nil {
		return err
	}
	d.gateway, err = gateway.Start(ctx, d.self, d.path("countersign.yaml"), web, nil)
	return err
}

// person writes a command of its own for someone: countersign with that one's token. It keeps what a user
// pastes short, and the tokens off the command line.
func (d *demo) person(name, url, text string) error {
	script := fmt.Sprintf("#!/bin/sh\nCOUNTERSIGN_URL=%s COUNTERSIGN_TOKEN=%s exec '%s' \"$@\"\n",
		url, text, strings.ReplaceAll(d.self, "'", `'\''`))
	return d.write(name, []byte(script), 0o700)
}

// client writes a command that is psql as the agent.
func (d *demo) client() error {
	info, err := d.conninfo()
	if err != nil {
		return err
	}
	script := fmt.Sprintf("#!/bin/sh\nPGPASSWORD=%s exec '%s' '%s' \"$@\"\n", d.bot, d.psqlPath, info)
	return d.write("psql", []byte(script), 0o700)
}

// conninfo is how the agent connects.
func (d *demo) conninfo() (string, error) {
	host, port, err := net.SplitHostPort(d.front)
	return fmt.Sprintf("host=%s port=%s dbname=shop user=app sslmode=disable", host, port), err
}

func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

func (d *demo) write(name string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(d.path(name)), 0o700); err != nil {
		return err
	}
	return os.WriteFile(d.path(name), data, mode)
}

// cleanUp stops everything, the gateway before what it speaks to.
func (d *demo) cleanUp() error {
	if d.gateway != nil {
		d.gateway.Stop()
	}
	var errs []error
	if d.postgres != nil {
		errs = append(errs, d.postgres.Stop())
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}
