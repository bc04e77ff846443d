package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	"github.com/countersign-dev/countersign/identity/token"
	"github.com/countersign-dev/countersign/policy"
	"github.com/countersign-dev/countersign/server"
)

type initCmd struct {
	Dir      string `default:"." help:"Where to write; files that exist are never touched." type:"path"`
	Upstream string `help:"The database: postgres://USER:PASSWORD@HOST:PORT/DATABASE. Asked for on a terminal." placeholder:"URL"`
	Resource string `help:"The name that clients use for it; by default the database's." placeholder:"NAME"`
	Env      string `default:"prod" help:"Its label env, which rules speak of."`
	Web      string `default:"127.0.0.1:8443" help:"Where to serve the API."`
	Postgres string `default:"127.0.0.1:15432" help:"Where to serve PostgreSQL clients."`
}

//go:embed init.yaml.tmpl
var initTemplate string

// written is what init fills the template with.
type written struct {
	Resource, Env, Upstream, Role, Credential, Web, Postgres string
	Agent, You, Reviewer                                     token.Hash
}

// quote writes a text as YAML reads it back.
func quote(v any) (string, error) {
	data, err := json.Marshal(v) // a JSON string is a YAML string
	return string(data), err
}

// files are what init writes, by path below its folder.
type files map[string][]byte

// Run writes a configuration, a policy and tokens for a first start.
func (c *initCmd) Run(s *sys) error {
	up, err := c.upstream(s)
	if err != nil {
		return err
	}
	w := written{Resource: c.Resource, Env: c.Env, Upstream: up.place, Role: up.role, Web: c.Web, Postgres: c.Postgres}
	if w.Resource == "" {
		w.Resource = up.database
	}
	out := files{"policy.d/starter.yaml": policy.Starter()}
	w.Credential = "env:" + envName(w.Resource)
	if up.password != "" {
		w.Credential = "file:secrets/" + w.Resource
		out["secrets/"+w.Resource] = []byte(up.password + "\n")
	}
	for name, hash := range map[string]*token.Hash{"agent": &w.Agent, "you": &w.You, "reviewer": &w.Reviewer} {
		var text string
		text, *hash = token.New()
		out["tokens/"+name] = []byte(text + "\n")
	}
	var config strings.Builder
	if err := template.Must(template.New("").Funcs(template.FuncMap{"quote": quote}).Parse(initTemplate)).Execute(&config, w); err != nil {
		return fmt.Errorf("making the configuration: %w", err)
	}
	out["countersign.yaml"] = []byte(config.String())
	if err := out.write(c.Dir); err != nil {
		return err
	}
	file := filepath.Join(c.Dir, "countersign.yaml")
	if _, err := server.LoadConfig(file); err != nil {
		return errors.Join(err, out.remove(c.Dir))
	}
	c.next(s, w, file, up.password == "")
	return nil
}

// upstreamURL is where the database is and who logs in.
type upstreamURL struct{ place, database, role, password string }

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func (c *initCmd) upstream(s *sys) (upstreamURL, error) {
	text := c.Upstream
	if text == "" {
		if !s.inTTY {
			return upstreamURL{}, usage("which database?", "name it with --upstream postgres://USER:PASSWORD@HOST:PORT/DATABASE")
		}
		fmt.Fprint(s.out, "The database to protect, as postgres://USER@HOST:PORT/DATABASE\n> ")
		var err error
		if text, err = s.readLine(); err != nil {
			return upstreamURL{}, err
		}
	}
	const next = "it is postgres://USER:PASSWORD@HOST:PORT/DATABASE"
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Hostname() == "" {
		return upstreamURL{}, usage("that is not a database's address", next) // it may hold a password, and is not repeated
	}
	up := upstreamURL{database: strings.TrimPrefix(u.Path, "/"), role: u.User.Username()}
	up.password, _ = u.User.Password()
	port := u.Port()
	if port == "" {
		port = "5432"
	}
	if up.database == "" || up.role == "" {
		return upstreamURL{}, usage("the address names no database or no user", next)
	}
	up.place = net.JoinHostPort(u.Hostname(), port) + "/" + up.database
	if u.RawQuery != "" {
		up.place += "?" + u.RawQuery
	}
	if c.Resource == "" && !plainName.MatchString(up.database) {
		return upstreamURL{}, usage("the database's name cannot be a resource's", "choose one with --resource NAME")
	}
	if c.Resource != "" && !plainName.MatchString(c.Resource) {
		return upstreamURL{}, usage("a resource's name is letters, digits and ._- only", "")
	}
	if up.password == "" && s.inTTY && c.Upstream == "" {
		fmt.Fprintf(s.out, "Password of %s there (empty: the gateway will find it in the environment)\n> ", visible(up.role))
		if up.password, err = s.readSecretLine(); err != nil {
			return upstreamURL{}, fmt.Errorf("reading the password: %w", err)
		}
		fmt.Fprintln(s.out)
	}
	return up, nil
}

func envName(resource string) string {
	return strings.ToUpper(regexp.MustCompile(`[^A-Za-z0-9]`).ReplaceAllString(resource, "_")) + "_PASSWORD"
}

// write writes every file, for the user alone, or none.
func (f files) write(dir string) error {
	for name := range f {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return usage(path+" exists already; nothing was written", "choose another folder with --dir, or move it away")
		}
	}
	for name, data := range f {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return errors.Join(usage(err.Error(), ""), f.remove(dir))
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return errors.Join(usage(err.Error(), ""), f.remove(dir))
		}
	}
	return nil
}

func (f files) remove(dir string) error {
	var errs []error
	for name := range f {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c *initCmd) next(s *sys, w written, file string, needsPassword bool) {
	p := s.page()
	at := func(name string) string { return filepath.Join(c.Dir, name) }
	p.title("Written to " + c.Dir)
	p.row("config", file+": people, an agent, your database")
	p.row("policy", at("policy.d/starter.yaml")+": reads within limits, changes signed, destruction denied")
	p.row("tokens", at("tokens")+": agent (connects), you (sign others' requests), reviewer (signs yours)")
	p.section("NEXT")
	n := 0
	step := func(what, command string) {
		n++
		p.line(fmt.Sprintf("%d. %s", n, what))
		p.line("     " + command)
	}
	if needsPassword {
		step("Give the gateway the database's password.", "export "+strings.TrimPrefix(w.Credential, "env:")+"=…")
	}
	step("Start the gateway.", "countersign serve --config "+file)
	_, port, _ := net.SplitHostPort(w.Postgres) // the configuration has been checked
	step("Connect as the agent, in another shell.", fmt.Sprintf("PGPASSWORD=$(cat %s) psql 'host=127.0.0.1 port=%s dbname=%s user=%s'", at("tokens/agent"), port, w.Resource, w.Role))
	step("Try a change there. psql waits; sign it in a third shell, as the reviewer.", fmt.Sprintf("COUNTERSIGN_TOKEN=$(cat %s) countersign requests", at("tokens/reviewer")))
	step("See what happened.", fmt.Sprintf("COUNTERSIGN_TOKEN=$(cat %s) countersign trail search", at("tokens/reviewer")))
	p.section("MIND")
	p.line("Signing by token (review_auth: token) is for trials: whoever reads a token is its holder. Give the")
	p.line("reviewer's to another person, delete the file here, and edit people and agents before real use.")
}
