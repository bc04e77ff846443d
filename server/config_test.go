package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/identity/token"
)

const (
	hashA = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	hashB = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
)

// good is a complete configuration; tests change single lines of it.
const good = `data_dir: data
keys_dir: keys
policy: policy.d
policy_source: unreviewed
review_auth: token
public_url: http://localhost:8443
listen:
  web: 127.0.0.1:8443
  postgres: 127.0.0.1:15432
people:
  - name: requester-1
    groups: [shop-team]
  - name: reviewer-1
    groups: [dba]
    logins: [reviewer-1@example.org]
    tokens: [{hash: "sha256:1111111111111111111111111111111111111111111111111111111111111111", use: review}]
agents:
  - name: deploy-bot
    acts_for: requester-1
    owners: [requester-1]
    tokens: [{hash: "sha256:2222222222222222222222222222222222222222222222222222222222222222", use: connect}]
resources:
  - name: shop
    kind: postgres
    labels: {env: prod}
    reviewers: [dba]
    upstream: "127.0.0.1:5432/shop"
    roles: {app: {credential: "env:SHOP_PW"}}
`

func load(t *testing.T, text string) (*Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "countersign.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadConfig(file)
}

func TestConfigLoads(t *testing.T) {
	c, err := load(t, good)
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(c.DataDir) || c.Checkpoints != filepath.Join(filepath.Dir(c.KeysDir), "checkpoints") || c.Store != StoreSQLite {
		t.Errorf("defaults: %+v", c)
	}
	if c.Resources[0].DefaultRole != "app" {
		t.Errorf("default role %q; want the only one", c.Resources[0].DefaultRole)
	}
	d := c.Directory()
	bot, err := d.Principal(countersign.Principal{Kind: countersign.KindAgent, Agent: "deploy-bot"})
	if err != nil || len(bot.Chain) != 1 || bot.Chain[0] != "requester-1" {
		t.Errorf("deploy-bot: %+v, %v", bot, err)
	}
	table, err := c.Tokens()
	if err != nil {
		t.Fatal(err)
	}
	if table == nil {
		t.Fatal("no tokens")
	}
}

func TestInactivePeopleLoseTheirTokens(t *testing.T) {
	tok, h := token.New()
	text := strings.Replace(good, hashA, h.String(), 1)
	c, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	a := token.NewAuthenticator(mustTokens(t, c), nil)
	if e, err := a.Authenticate(loopbackAddr, tok, token.Review); err != nil || e.Login != "reviewer-1@example.org" {
		t.Fatalf("active: %+v, %v", e, err)
	}
	c, err = load(t, strings.Replace(text, "    groups: [dba]\n", "    groups: [dba]\n    inactive: true\n", 1))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Directory().Persons) != 2 || c.Directory().Persons[1].Active {
		t.Fatalf("directory: %+v", c.Directory())
	}
}

func TestConfigMistakes(t *testing.T) {
	for _, m := range []struct{ name, old, new, want string }{
		{"unknown key", "data_dir: data", "data_dirs: data", ":1: data_dirs: unknown key"},
		{"unknown key deep", "    labels: {env: prod}", "    lables: {env: prod}", ":25: resources[0].lables: unknown key"},
		{"unknown key in role", `{credential: "env:SHOP_PW"}`, `{password: hunter2}`, ":28: resources[0].roles.app.password: unknown key"},
		{"missing key", "policy: policy.d\n", "", ": policy: is missing"},
		{"key twice", "keys_dir: keys", "keys_dir: keys\nkeys_dir: other", ":3:"},
		{"not YAML", "agents:", "agents: [", ":17: this is not YAML"},
		{"tab", "  web: 127", "\tweb: 127", ":8: this is not YAML"},
		{"not a text", "keys_dir: keys", "keys_dir: 12", ":2: keys_dir: must be a text"},
		{"not a list", "groups: [dba]", "groups: dba", ":14: people[1].groups: must be a list"},
		{"not a mapping", "listen:\n  web: 127.0.0.1:8443\n  postgres: 127.0.0.1:15432", "listen: 8443", ":7: listen: must be a mapping"},
		{"null", "data_dir: data", "data_dir:", ":1: data_dir: has no value"},
		{"alias", "data_dir: data\nkeys_dir: keys", "data_dir: &d data\nkeys_dir: *d", ":1: data_dir: anchors and aliases"},
		{"merge key", "    kind: postgres", "    <<: {kind: postgres}", ":24: resources[0].<<: unknown key"},
		{"keys in store", "keys_dir: keys", "keys_dir: data/keys", ":2: keys_dir: must be outside data_dir"},
		{"checkpoints in store", "keys_dir: keys", "keys_dir: keys\ncheckpoints: data", ":3: checkpoints: must be outside data_dir"},
		{"other store", "keys_dir: keys", "keys_dir: keys\nstore: postgres://db/x", ":3: store: a store on PostgreSQL is not in this build"},
		{"no source", "policy_source: unreviewed\n", "", ": policy_source: is missing"},
		{"signed source", "policy_source: unreviewed", "policy_source: signed", ":4: policy_source: signed is not in this build"},
		{"other source", "policy_source: unreviewed", "policy_source: whatever", ":4: policy_source: must be unreviewed"},
		{"identity", "review_auth: token", "identity: {issuer: https://idp.example.org}", ":5: identity: identity providers are not in this build"},
		{"issuer and review by token", "review_auth: token", "review_auth: token\nidentity: {issuer: https://idp.example.org}", ":5: review_auth: token is refused once an issuer is configured"},
		{"other review_auth", "review_auth: token", "review_auth: passkey", ":5: review_auth: must be token"},
		{"plain off loopback", "web: 127.0.0.1:8443", "web: 0.0.0.0:8443", ":8: listen.web: is not on loopback and needs TLS"},
		{"plain everywhere", "postgres: 127.0.0.1:15432", `postgres: ":15432"`, ":9: listen.postgres: is not on loopback and needs TLS"},
		{"host name", "web: 127.0.0.1:8443", "web: gateway.example.org:8443", ":8: listen.web: must begin with an IP address"},
		{"no port", "web: 127.0.0.1:8443", "web: 127.0.0.1", ":8: listen.web: must be ADDRESS:PORT"},
		{"bad port", "web: 127.0.0.1:8443", "web: 127.0.0.1:84430", ":8: listen.web: port must be"},
		{"half TLS", "  postgres: 127.0.0.1:15432", "  postgres: 127.0.0.1:15432\n  tls: {cert: c.pem}", ":10: listen.tls: needs both"},
		{"review by token off loopback", "  web: 127.0.0.1:8443", "  web: 0.0.0.0:8443\n  tls: {cert: c.pem, key: k.pem}", ":5: review_auth: token works on loopback only, and listen.web"},
		{"review by token behind a name", "http://localhost:8443", "https://gateway.example.org", ":5: review_auth: token works on loopback only, and public_url"},
		{"public IP", "http://localhost:8443", "http://127.0.0.1:8443", ":6: public_url: must name a host, not an IP"},
		{"plain public URL", "http://localhost:8443", "http://gateway.example.org", ":6: public_url: must be https"},
		{"public URL with path", "http://localhost:8443", "http://localhost:8443/x", ":6: public_url: has only"},
		{"public URL without scheme", "http://localhost:8443", "localhost:8443", ":6: public_url: must be http"},
		{"bad name", "- name: requester-1", "- name: requester,1", ":11: people[0].name: must be letters"},
		{"no name", "- name: requester-1\n    groups", "- groups", ":11: people[0].name: is missing"},
		{"reserved group", "groups: [dba]", "groups: [resource.reviewers]", ":14: people[1].groups[0]: names beginning with resource."},
		{"person twice", "- name: reviewer-1", "- name: requester-1", ":13: people[1].name: the same person stands at people[0].name (line 11)"},
		{"login twice", "    groups: [shop-team]", "    groups: [shop-team]\n    logins: [reviewer-1@example.org]", ":16: people[1].logins[0]: the same login stands at people[0].logins[0] (line 13)"},
		{"token twice", hashB, hashA, ":21: agents[0].tokens[0].hash: the same token stands at people[1].tokens[0].hash (line 16)"},
		{"token in clear", hashA, "csg_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", ":16: people[1].tokens[0].hash: this is a token"},
		{"short hash", hashA, "sha256:11", ":16: people[1].tokens[0].hash: a token's hash has 64"},
		{"both uses", "use: review", "use: both", ":16: people[1].tokens[0].use: a token's use is connect or review, never both"},
		{"no use", ", use: review", "", ":16: people[1].tokens[0].use: is missing"},
		{"agent that reviews", "use: connect", "use: review", ":21: agents[0].tokens[0].use: agents never review"},
		{"agent without owner", "    owners: [requester-1]\n", "", ":18: agents[0].owners: is missing"},
		{"owner unknown", "owners: [requester-1]", "owners: [nobody]", `:20: agents[0].owners[0]: "nobody" is nobody in people`},
		{"acts for unknown", "acts_for: requester-1", "acts_for: nobody", `:19: agents[0].acts_for: "nobody" is nobody in people`},
		{"resource's name", "- name: shop\n", "- name: shop/x\n", ":23: resources[0].name: must be letters"},
		{"own name", "- name: shop\n", "- name: countersign\n", ":23: resources[0].name: is the gateway's own"},
		{"kind", "kind: postgres", "kind: mysql", ":24: resources[0].kind: \"mysql\" is not in this build"},
		{"upstream with password", "127.0.0.1:5432/shop", "postgres://app:hunter2@127.0.0.1:5432/shop", ":27: resources[0].upstream: must be HOST:PORT/DATABASE, without"},
		{"upstream without database", "127.0.0.1:5432/shop", "127.0.0.1:5432", ":27: resources[0].upstream: must be HOST:PORT/DATABASE"},
		{"credential in clear", "env:SHOP_PW", "hunter2", ":28: resources[0].roles.app.credential: a credential is a reference"},
		{"default role unknown", "    reviewers: [dba]", "    reviewers: [dba]\n    default_role: root", ":27: resources[0].default_role: is not one of roles"},
		{"default role missing", `roles: {app: {credential: "env:SHOP_PW"}}`, `roles: {app: {credential: "env:A"}, ro: {credential: "env:B"}}`, ":23: resources[0].default_role: is missing"},
		{"negative cap", "review_auth: token", "review_auth: token\npending: {per_agent: -1}", ":6: pending.per_agent: must not be negative"},
		{"negative connections", "  postgres: 127.0.0.1:15432", "  postgres: 127.0.0.1:15432\n  connections: -1", ":10: listen.connections: must not be negative"},
		{"cap no number", "review_auth: token", "review_auth: token\npending: {per_agent: many}", ":6: pending.per_agent: must be a whole number"},
	} {
		t.Run(m.name, func(t *testing.T) {
			if !strings.Contains(good, m.old) {
				t.Fatalf("the good configuration does not hold %q", m.old)
			}
			_, err := load(t, strings.Replace(good, m.old, m.new, 1))
			var ce *ConfigError
			if !errors.As(err, &ce) {
				t.Fatalf("error %v; want a ConfigError", err)
			}
			if !strings.Contains(err.Error(), "countersign.yaml"+m.want) {
				t.Errorf("error\n%v\nwant it to hold\ncountersign.yaml%s", err, m.want)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "csg_AAAA") {
				t.Errorf("the error quotes a secret: %v", err)
			}
		})
	}
}

func TestEveryMistakeIsNamedAtOnce(t *testing.T) {
	_, err := load(t, strings.NewReplacer("policy_source: unreviewed", "policy_source: x", "kind: postgres", "kind: mysql").Replace(good))
	var ce *ConfigError
	if !errors.As(err, &ce) || len(ce.Mistakes) != 2 || ce.Mistakes[0].Line != 4 || ce.Mistakes[1].Line != 24 {
		t.Fatalf("%v", err)
	}
}

func TestHugeConfigIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"long": good + "# " + strings.Repeat("x", maxConfigBytes),
		"deep": "data_dir: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"many": "people: [" + strings.Repeat("1,", 100_000) + "1]",
	} {
		_, err := load(t, text)
		var ce *ConfigError
		if !errors.As(err, &ce) {
			t.Errorf("%s: %v", name, err)
		} else if len(ce.Mistakes) > maxMistakes {
			t.Errorf("%s: %d mistakes", name, len(ce.Mistakes))
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(good)
	f.Add("people: [{name: x, tokens: [{hash: y}]}]")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(dir, fmt.Sprintf("%d.yaml", os.Getpid()))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := LoadConfig(file)
		if err == nil {
			if err := c.Directory().Check(); err != nil {
				t.Fatalf("accepted, but %v", err)
			}
		}
	})
}
