package server

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/countersign-dev/countersign/credential"
	"github.com/countersign-dev/countersign/front/postgres"
	"github.com/countersign-dev/countersign/identity/token"
)

// Names of people, agents and groups never hold a comma or a colon, with which lists and principals are
// written; those of resources also no slash, at which a database's name begins.
var (
	nameForm     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$`)
	resourceForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
)

// countersignResource is the gateway itself as a resource; no configured resource may take its name.
const countersignResource = "countersign"

func (c *Config) check() {
	c.checkPlaces()
	c.checkSources()
	c.checkListen()
	c.checkPublicURL()
	c.checkReviewAuth()
	c.checkPeople()
	c.checkResources()
}

func (c *Config) checkPlaces() {
	for _, p := range []struct{ key, value string }{{"data_dir", c.DataDir}, {"keys_dir", c.KeysDir}, {"policy", c.Policy}} {
		if p.value == "" {
			c.src.mistake(p.key, "is missing")
		}
	}
	if c.DataDir == "" || c.KeysDir == "" {
		return
	}
	// Keys and checkpoints guard the store; inside it they would be lost, copied and put back with it.
	for _, p := range []struct{ key, value string }{{"keys_dir", c.KeysDir}, {"checkpoints", c.Checkpoints}} {
		if within(p.value, c.DataDir) {
			c.src.mistake(p.key, "must be outside data_dir, which it guards")
		}
	}
}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

func (c *Config) checkSources() {
	switch {
	case c.Store == StoreSQLite:
	case strings.HasPrefix(c.Store, "postgres:"), strings.HasPrefix(c.Store, "postgresql:"):
		c.src.mistake("store", "a store on PostgreSQL is not in this build; write sqlite")
	default:
		c.src.mistake("store", "must be sqlite")
	}
	switch c.PolicySource {
	case SourceUnreviewed:
	case "":
		c.src.mistake("policy_source", "is missing; write `policy_source: unreviewed` to accept that whoever writes to the policy folder changes the rules")
	case "signed", "git":
		c.src.mistake("policy_source", "%s is not in this build; write unreviewed", c.PolicySource)
	default:
		c.src.mistake("policy_source", "must be unreviewed")
	}
	if _, ok := c.src.lines["identity"]; ok {
		if c.ReviewAuth == ReviewAuthToken && c.Identity.Issuer != "" {
			c.src.mistake("review_auth", "token is refused once an issuer is configured")
		}
		c.src.mistake("identity", "identity providers are not in this build; declare people and agents with hashed tokens")
	}
	if c.Listen.Connections < 0 {
		c.src.mistake("listen.connections", "must not be negative")
	}
	if c.Pending.PerAgent < 0 {
		c.src.mistake("pending.per_agent", "must not be negative")
	}
	if c.Pending.PerOwner < 0 {
		c.src.mistake("pending.per_owner", "must not be negative")
	}
}

func (c *Config) checkListen() {
	t := c.Listen.TLS
	if (t.Cert == "") != (t.Key == "") {
		c.src.mistake("listen.tls", "needs both cert and key")
	}
	for _, l := range []struct{ key, addr string }{{"listen.web", c.Listen.Web}, {"listen.postgres", c.Listen.Postgres}} {
		loopback, err := isLoopback(l.addr)
		switch {
		case err != nil:
			c.src.mistake(l.key, "%v", err)
		case !loopback && t.Cert == "":
			c.src.mistake(l.key, "is not on loopback and needs TLS: set listen.tls, or listen on 127.0.0.1")
		}
	}
	if c.Listen.Web == c.Listen.Postgres && !strings.HasSuffix(c.Listen.Web, ":0") {
		c.src.mistake("listen.postgres", "is the same address as listen.web")
	}
}

// isLoopback reports whether an address to listen on is reached from this machine only. A host name
// other than localhost is refused, since what it resolves to can change.
func isLoopback(addr string) (bool, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false, fmt.Errorf("must be ADDRESS:PORT")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return false, fmt.Errorf("port must be a number up to 65535")
	}
	if host == "" || host == "localhost" {
		return host == "localhost", nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false, fmt.Errorf("must begin with an IP address or localhost")
	}
	return ip.Unmap().IsLoopback(), nil
}

func defaultPublicURL(l Listen) string {
	scheme := "http"
	if l.TLS.Cert != "" {
		scheme = "https"
	}
	_, port, err := net.SplitHostPort(l.Web)
	if err != nil {
		return ""
	}
	return scheme + "://" + net.JoinHostPort("localhost", port)
}

func (c *Config) checkPublicURL() {
	if c.PublicURL == "" {
		return // listen.web is wrong, and said so
	}
	u, err := url.Parse(c.PublicURL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		c.src.mistake("public_url", "must be http://HOST:PORT or https://HOST:PORT")
		return
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		c.src.mistake("public_url", "has only a scheme, a host name and a port")
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		c.src.mistake("public_url", "must name a host, not an IP address: passkeys and links are bound to a name")
	}
	if u.Scheme == "http" && !localName(u.Hostname()) {
		c.src.mistake("public_url", "must be https off this machine")
	}
}

func localName(host string) bool {
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

func (c *Config) checkReviewAuth() {
	switch c.ReviewAuth {
	case "":
		return
	case ReviewAuthToken:
	default:
		c.src.mistake("review_auth", "must be token, or absent")
		return
	}
	if on, err := isLoopback(c.Listen.Web); err == nil && !on {
		c.src.mistake("review_auth", "token works on loopback only, and listen.web is not")
	}
	if u, err := url.Parse(c.PublicURL); err == nil && !localName(u.Hostname()) {
		c.src.mistake("review_auth", "token works on loopback only, and public_url names another machine")
	}
}

func (c *Config) checkPeople() {
	for i, p := range c.People {
		key := fmt.Sprintf("people[%d]", i)
		c.checkName(key+".name", p.Name)
		c.checkGroups(key+".groups", p.Groups)
		c.checkTokens(key, p.Tokens, true)
		for j, l := range p.Logins {
			if l == "" || len(l) > 256 || strings.ContainsAny(l, ", \t\r\n\x00") {
				c.src.mistake(fmt.Sprintf("%s.logins[%d]", key, j), "is not a login")
			}
		}
	}
	for i, a := range c.Agents {
		key := fmt.Sprintf("agents[%d]", i)
		c.checkName(key+".name", a.Name)
		c.checkGroups(key+".groups", a.Groups)
		c.checkTokens(key, a.Tokens, false)
		c.checkAnswerable(key, a)
	}
	c.checkTwice()
	if len(c.src.mistakes) > 0 {
		return
	}
	if err := c.Directory().Check(); err != nil {
		c.src.mistake("people", "%v", err)
	}
	if _, err := c.Tokens(); err != nil {
		c.src.mistake("people", "%v", err)
	}
}

func (c *Config) checkAnswerable(key string, a Agent) {
	known := func(name string) bool {
		return slices.ContainsFunc(c.People, func(p Person) bool { return p.Name == name })
	}
	if len(a.Owners) == 0 {
		c.src.mistake(key+".owners", "is missing: somebody must answer for an agent")
	}
	for j, o := range a.Owners {
		if !known(o) {
			c.src.mistake(fmt.Sprintf("%s.owners[%d]", key, j), "%q is nobody in people", o)
		}
	}
	if a.ActsFor != "" && !known(a.ActsFor) {
		c.src.mistake(key+".acts_for", "%q is nobody in people", a.ActsFor)
	}
}

// checkTwice finds what must be one's own: names, logins, tokens.
func (c *Config) checkTwice() {
	names := map[string]string{}
	once := func(kind, value, key string) {
		if value == "" {
			return
		}
		if first, ok := names[kind+value]; ok {
			c.src.mistake(key, "the same %s stands at %s (line %d)", kind, first, c.src.line(first))
			return
		}
		names[kind+value] = key
	}
	tokens := func(key string, ts []Token) {
		for j, t := range ts {
			if t.Hash != (token.Hash{}) {
				once("token", t.Hash.String(), fmt.Sprintf("%s.tokens[%d].hash", key, j))
			}
		}
	}
	for i, p := range c.People {
		key := fmt.Sprintf("people[%d]", i)
		once("person", p.Name, key+".name")
		for j, l := range p.Logins {
			once("login", l, fmt.Sprintf("%s.logins[%d]", key, j))
		}
		tokens(key, p.Tokens)
	}
	for i, a := range c.Agents {
		key := fmt.Sprintf("agents[%d]", i)
		once("agent", a.Name, key+".name")
		tokens(key, a.Tokens)
	}
	for i, r := range c.Resources {
		once("resource", r.Name, fmt.Sprintf("resources[%d].name", i))
	}
}

func (c *Config) checkName(key, name string) {
	switch {
	case name == "":
		c.src.mistake(key, "is missing")
	case !nameForm.MatchString(name):
		c.src.mistake(key, "must be letters, digits and ._@+- only, at most 128, beginning with a letter or digit")
	}
}

func (c *Config) checkGroups(key string, names []string) {
	for j, g := range names {
		at := fmt.Sprintf("%s[%d]", key, j)
		c.checkName(at, g)
		if strings.HasPrefix(g, "resource.") {
			c.src.mistake(at, "names beginning with resource. are what rules use for a resource's own groups")
		}
	}
}

func (c *Config) checkTokens(key string, ts []Token, person bool) {
	for j, t := range ts {
		at := fmt.Sprintf("%s.tokens[%d]", key, j)
		if t.Hash == (token.Hash{}) {
			c.src.mistake(at+".hash", "is missing; `countersign token new` makes a token and its hash")
		}
		use, err := token.ParseUse(t.Use)
		switch {
		case t.Use == "":
			c.src.mistake(at+".use", "is missing; write connect or review")
		case err != nil:
			c.src.mistake(at+".use", "%v", err)
		case use == token.Review && !person:
			c.src.mistake(at+".use", "agents never review: an agent's token is for connecting only")
		}
	}
}

func (c *Config) checkResources() {
	for i, r := range c.Resources {
		key := fmt.Sprintf("resources[%d]", i)
		switch {
		case r.Name == "":
			c.src.mistake(key+".name", "is missing")
		case r.Name == countersignResource:
			c.src.mistake(key+".name", "is the gateway's own name")
		case !resourceForm.MatchString(r.Name):
			c.src.mistake(key+".name", "must be letters, digits and ._- only, at most 63, beginning with a letter or digit")
		}
		switch r.Kind {
		case KindPostgres:
			c.checkPostgres(key, r)
		case "":
			c.src.mistake(key+".kind", "is missing; this build protects postgres")
		default:
			c.src.mistake(key+".kind", "%q is not in this build, which protects postgres", r.Kind)
		}
		c.checkGroups(key+".owners", r.Owners)
		c.checkGroups(key+".reviewers", r.Reviewers)
		for name, value := range r.Labels {
			if !nameForm.MatchString(name) || !nameForm.MatchString(value) {
				c.src.mistake(key+".labels."+name, "a label and its value are letters, digits and ._@+- only")
			}
		}
	}
}

func (c *Config) checkPostgres(key string, r Resource) {
	if text := upstreamMistake(r.Upstream); text != "" {
		c.src.mistake(key+".upstream", "%s", text)
	}
	if len(r.Roles) == 0 {
		c.src.mistake(key+".roles", "is missing: the gateway logs in upstream as one of these")
	}
	for name, role := range r.Roles {
		at := key + ".roles." + name
		if name == "" || len(name) > 63 || strings.ContainsRune(name, 0) {
			c.src.mistake(at, "is not a role's name")
		}
		if _, err := credential.Parse(role.Credential, c.dir()); err != nil {
			c.src.mistake(at+".credential", "%v", err)
		}
	}
	if _, ok := r.Roles[r.DefaultRole]; len(r.Roles) > 0 && !ok {
		if r.DefaultRole == "" {
			c.src.mistake(key+".default_role", "is missing: with several roles, name the one for all other user names")
		} else {
			c.src.mistake(key+".default_role", "is not one of roles")
		}
	}
}

// upstreamMistake says what is wrong with HOST:PORT/DATABASE. It never quotes the text, in which people
// put passwords.
func upstreamMistake(text string) string {
	const form = "must be HOST:PORT/DATABASE"
	if text == "" {
		return "is missing; it is HOST:PORT/DATABASE"
	}
	if strings.Contains(text, "://") || strings.Contains(text, "@") {
		return form + ", without scheme, user or password: those belong to roles"
	}
	place, _, _ := strings.Cut(text, "?")
	addr, db, ok := strings.Cut(place, "/")
	if !ok || db == "" || len(db) > 63 || strings.ContainsAny(db, "/\x00") {
		return form
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return form
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return form + ", and the port a number up to 65535"
	}
	if err := postgres.CheckUpstream(text); err != nil {
		return err.Error()
	}
	return ""
}
