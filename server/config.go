package server

import (
	"fmt"
	"path/filepath"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/identity/token"
)

// Config is the whole configuration. It is read strictly: an unknown key is a mistake that names file,
// line and key. Secrets are never in it, only references to them and hashes of tokens. Relative paths
// are taken from the folder of the file.
//
// On SIGHUP the gateway reads the file again. The policy, people, agents and tokens take effect at once;
// every other key needs a restart, and the log says so when one has changed.
type Config struct {
	// DataDir holds the store: requests, the active policy, and the trail. One gateway at a time uses it.
	DataDir string `yaml:"data_dir"`
	// KeysDir holds the keys that sign the trail, seal what is held, and make pseudonyms. They are made
	// at first start, readable by the gateway alone. A store whose keys are gone is refused.
	KeysDir string `yaml:"keys_dir"`
	// Checkpoints is the folder outside the store to which every checkpoint of the trail is written, so
	// that a store put back to an older state is noticed. By default the folder checkpoints beside keys_dir.
	Checkpoints string `yaml:"checkpoints"`
	// PublicURL is the gateway's address as people type it; links begin with it. It names a host, never
	// an IP address. By default http://localhost and the port of listen.web.
	PublicURL string `yaml:"public_url"`
	// Store says where state is kept: sqlite, in data_dir. It is the default.
	Store string `yaml:"store"`
	// Policy is the folder with the rules, *.yaml.
	Policy string `yaml:"policy"`
	// PolicySource says who vouches for the policy. This build knows unreviewed: whoever writes to the
	// folder changes the rules. It must be written out, and health and every checkpoint repeat it.
	PolicySource string `yaml:"policy_source"`
	// ReviewAuth, when it is token, lets a person sign with a token for reviewing. It is meant for trials:
	// whoever reads that token is that person. It works on loopback only and is off unless written here.
	ReviewAuth string `yaml:"review_auth"`
	// Listen says where the gateway listens.
	Listen Listen `yaml:"listen"`
	// Pending bounds how many requests may wait for signatures at a time.
	Pending Pending `yaml:"pending"`
	// People are the humans. Reviews count them, whatever logins they have.
	People []Person `yaml:"people"`
	// Agents are AI agents, pipelines and services. They can never review.
	Agents []Agent `yaml:"agents"`
	// Resources are what the gateway protects.
	Resources []Resource `yaml:"resources"`
	// Identity connects the gateway to an identity provider; this build has none, and refuses it.
	Identity Identity `yaml:"identity"`

	src *source
}

// Listen says where the gateway listens: an IP address or localhost, and a port. Port 0 takes a free one.
type Listen struct {
	// Web serves the API. By default 127.0.0.1:8443.
	Web string `yaml:"web"`
	// Postgres serves PostgreSQL clients. By default 127.0.0.1:15432.
	Postgres string `yaml:"postgres"`
	// Connections is how many PostgreSQL clients may be connected at once; 1000 by default. Each takes two
	// file descriptors, and about 100 KB of memory while it is held.
	Connections int `yaml:"connections"`
	// TLS is needed by every address off loopback.
	TLS TLS `yaml:"tls"`
}

// TLS names the files of the gateway's own certificate chain and key, in PEM.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Pending bounds open requests.
type Pending struct {
	// PerAgent is how many one agent may have; 5 by default.
	PerAgent int `yaml:"per_agent"`
	// PerOwner is how many all agents of one owner may have together; 20 by default.
	PerOwner int `yaml:"per_owner"`
}

// Person is a human.
type Person struct {
	// Name is what reviews and rules know him by.
	Name string `yaml:"name"`
	// Groups are what rules and seats speak of.
	Groups []string `yaml:"groups"`
	// Logins are the accounts that are this person. A login belongs to one person.
	Logins []string `yaml:"logins"`
	// Inactive people can do nothing, and their signatures stop counting at once.
	Inactive bool `yaml:"inactive"`
	// Tokens let him connect, or review.
	Tokens []Token `yaml:"tokens"`
}

// Agent is an AI agent, a pipeline or a service.
type Agent struct {
	Name   string   `yaml:"name"`
	Groups []string `yaml:"groups"`
	// ActsFor is the person on whose behalf it works. He can confirm what it does and can never review it.
	ActsFor string `yaml:"acts_for"`
	// Owners are the people answerable for it; at least one. They can never review what it does.
	Owners []string `yaml:"owners"`
	// Inactive agents can do nothing.
	Inactive bool `yaml:"inactive"`
	// Tokens let it connect. Their use can only be connect.
	Tokens []Token `yaml:"tokens"`
}

// Token is a token of its holder, made by `countersign token new`.
type Token struct {
	Hash token.Hash `yaml:"hash"`
	// Use is connect or review.
	Use string `yaml:"use"`
}

// Resource is a protected endpoint.
type Resource struct {
	// Name is what clients write for it: as the database, or before a slash and the database's own name.
	Name string `yaml:"name"`
	// Kind is postgres.
	Kind string `yaml:"kind"`
	// Labels are what rules speak of: env: prod.
	Labels map[string]string `yaml:"labels"`
	// Owners and Reviewers are groups; rules can name them as resource.owners and resource.reviewers.
	Owners    []string `yaml:"owners"`
	Reviewers []string `yaml:"reviewers"`
	// Upstream is HOST:PORT/DATABASE.
	Upstream string `yaml:"upstream"`
	// Roles are the upstream accounts. A client picks one by the user name it sends.
	Roles map[string]Role `yaml:"roles"`
	// Databases are those that a client may name as RESOURCE/DATABASE, besides that of Upstream.
	Databases []string `yaml:"databases"`
	// DefaultRole serves every other user name. With a single role it is that one.
	DefaultRole string `yaml:"default_role"`
}

// Role is an upstream account.
type Role struct {
	// Credential is a reference to its password, env:NAME or file:PATH, fetched at each use.
	Credential string `yaml:"credential"`
}

// Identity is refused by this build, whatever it holds. Its keys are known so that the mistake is plain.
type Identity struct {
	Issuer      string `yaml:"issuer"`
	ClientID    string `yaml:"client_id"`
	GroupsClaim string `yaml:"groups_claim"`
}

// The values that keys of this build can take, and its defaults.
const (
	StoreSQLite      = "sqlite"
	SourceUnreviewed = "unreviewed"
	ReviewAuthToken  = "token"
	KindPostgres     = "postgres"

	DefaultWeb      = "127.0.0.1:8443"
	DefaultPostgres = "127.0.0.1:15432"
)

// LoadConfig reads and checks a configuration file. What is wrong in it is a *ConfigError.
func LoadConfig(file string) (*Config, error) {
	c := &Config{}
	src, err := decodeFile(file, c)
	if err != nil {
		return nil, err
	}
	c.src = src
	if err := c.complete(); err != nil {
		return nil, err
	}
	c.check()
	if err := src.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// mistakeAt returns a mistake found after the check, when the configuration meets the machine.
func (c *Config) mistakeAt(key, format string, args ...any) error {
	return &ConfigError{Mistakes: []Mistake{{File: c.src.file, Line: c.src.line(key), Key: key, Text: fmt.Sprintf(format, args...)}}}
}

// complete fills in defaults and makes paths absolute.
func (c *Config) complete() error {
	abs, err := filepath.Abs(c.src.file)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	dir := filepath.Dir(abs)
	if c.Checkpoints == "" && c.KeysDir != "" {
		c.Checkpoints = filepath.Join(filepath.Dir(c.KeysDir), "checkpoints")
	}
	for _, p := range []*string{&c.DataDir, &c.KeysDir, &c.Checkpoints, &c.Policy, &c.Listen.TLS.Cert, &c.Listen.TLS.Key} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	orDefault(&c.Store, StoreSQLite)
	orDefault(&c.Listen.Web, DefaultWeb)
	orDefault(&c.Listen.Postgres, DefaultPostgres)
	if c.PublicURL == "" {
		c.PublicURL = defaultPublicURL(c.Listen)
	}
	for i := range c.Resources {
		r := &c.Resources[i]
		if r.DefaultRole == "" && len(r.Roles) == 1 {
			for name := range r.Roles {
				r.DefaultRole = name
			}
		}
	}
	return nil
}

func orDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// dir is the folder from which relative credential files are taken.
func (c *Config) dir() string {
	abs, err := filepath.Abs(c.src.file)
	if err != nil {
		return filepath.Dir(c.src.file)
	}
	return filepath.Dir(abs)
}

// Directory returns the people and agents as one value to be judged against.
func (c *Config) Directory() countersign.Directory {
	var d countersign.Directory
	for _, p := range c.People {
		d.Persons = append(d.Persons, countersign.Person{
			ID: countersign.PersonID(p.Name), Groups: groups(p.Groups), Logins: p.Logins, Active: !p.Inactive,
		})
	}
	for _, a := range c.Agents {
		rec := countersign.Agent{
			ID: countersign.AgentID(a.Name), Groups: groups(a.Groups),
			ActsFor: countersign.PersonID(a.ActsFor), Active: !a.Inactive,
		}
		for _, o := range a.Owners {
			rec.Owners = append(rec.Owners, countersign.PersonID(o))
		}
		d.Agents = append(d.Agents, rec)
	}
	return d
}

// Tokens returns the tokens of everyone who is active.
func (c *Config) Tokens() (*token.Table, error) {
	var entries []token.Entry
	for _, p := range c.People {
		if p.Inactive {
			continue
		}
		login := "" // a login that is not the person's own would make his reviews void
		if len(p.Logins) > 0 {
			login = p.Logins[0]
		}
		holder := countersign.Principal{Kind: countersign.KindPerson, Person: countersign.PersonID(p.Name)}
		for _, t := range p.Tokens {
			entries = append(entries, token.Entry{Hash: t.Hash, Use: token.Use(t.Use), Holder: holder, Login: login})
		}
	}
	for _, a := range c.Agents {
		if a.Inactive {
			continue
		}
		holder := countersign.Principal{Kind: countersign.KindAgent, Agent: countersign.AgentID(a.Name)}
		for _, t := range a.Tokens {
			entries = append(entries, token.Entry{Hash: t.Hash, Use: token.Use(t.Use), Holder: holder})
		}
	}
	return token.NewTable(entries)
}

// resources returns the resources in the gateway's words.
func (c *Config) resources() []countersign.Resource {
	var all []countersign.Resource
	for _, r := range c.Resources {
		res := countersign.Resource{
			Name: countersign.ResourceName(r.Name), Kind: r.Kind, Labels: r.Labels,
			Owners: groups(r.Owners), Reviewers: groups(r.Reviewers),
			Upstream: r.Upstream, Databases: r.Databases, Roles: map[string]countersign.Role{}, DefaultRole: r.DefaultRole,
		}
		for name, role := range r.Roles {
			res.Roles[name] = countersign.Role(role)
		}
		all = append(all, res)
	}
	return all
}

func groups(names []string) []countersign.Group {
	var gs []countersign.Group
	for _, n := range names {
		gs = append(gs, countersign.Group(n))
	}
	return gs
}

// Resource returns a resource by name.
func (c *Config) Resource(name countersign.ResourceName) (countersign.Resource, bool) {
	for _, r := range c.resources() {
		if r.Name == name {
			return r, true
		}
	}
	return countersign.Resource{}, false
}
