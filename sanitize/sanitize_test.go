package sanitize_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/countersign-dev/countersign/sanitize"
)

var (
	plain  = sanitize.New(sanitize.Options{})
	keyed  = sanitize.New(sanitize.Options{Key: []byte("a key for tests only")})
	strict = sanitize.New(sanitize.Options{Strict: true})
)

// TestPEMAfterDashes: a block ends where the next begins, whatever dashes stand before that.
func TestPEMAfterDashes(t *testing.T) {
	for _, dashes := range []string{"", "-", "----", "------"} {
		got := plain.Text("-----BEGIN PRIVATE KEY-----\nAAAA\nno key\n" + dashes + fakePEM("PRIVATE KEY")).String()
		if want := "[private-key]\nno key\n" + dashes + "[private-key]"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestPlantedNeverSurvives is P7: a value of a known kind is in no Clean, whatever it was encoded in and
// wherever it stood.
func TestPlantedNeverSurvives(t *testing.T) {
	places := map[string]string{
		"prose":      "the value is %s, or so it says",
		"alone":      "%s",
		"quoted":     `error: invalid input "%s" at row 5`,
		"line":       "first line\n%s\nlast line",
		"brackets":   "(%s) [%s] <%s>",
		"csv":        "1,%s,2024-01-15,ok",
		"query":      "GET /items?page=2&q=%s&n=3 HTTP/1.1",
		"assignment": "X=%s Y=2",
		"xml":        "<note>%s</note>",
	}
	for _, p := range plants() {
		for _, enc := range slices.Sorted(maps.Keys(encodings)) {
			encoded := encodings[enc](p.value)
			for place, format := range places {
				raw := strings.ReplaceAll(format, "%s", encoded)
				for _, s := range []*sanitize.Sanitizer{plain, keyed, strict} {
					clean := s.Text(raw).String()
					if strings.Contains(clean, encoded) {
						t.Errorf("%s, %s, in %s, survives: %s", p.kind, enc, place, clean)
					}
					if again := s.Text(clean).String(); again != clean {
						t.Errorf("%s, %s, in %s: not the same again:\n%s\n%s", p.kind, enc, place, clean, again)
					}
				}
			}
		}
	}
}

func TestPlantedKind(t *testing.T) {
	for _, p := range plants() {
		raw := "value " + p.value + " end"
		if got, want := plain.Text(raw).String(), fmt.Sprintf("value [%s] end", p.kind); got != want {
			t.Errorf("Text(%q) = %q, want %q", raw, got, want)
		}
	}
	for _, label := range []string{"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "PGP PRIVATE KEY BLOCK"} {
		if got := plain.Text("before\n" + fakePEM(label) + "\nafter").String(); got != "before\n[private-key]\nafter" {
			t.Errorf("%s: %q", label, got)
		}
	}
}

func TestPlantedInJSON(t *testing.T) {
	for _, p := range append(plants(), plant{sanitize.PrivateKey, fakePEM("PRIVATE KEY")}) {
		for enc, f := range encodings {
			doc := `{"level":"info","msg":` + jsonString("got "+f(p.value)+" back") + `,"n":[1,{"v":` + jsonString(f(p.value)) + `}]}`
			clean := plain.Text(doc).String()
			if strings.Contains(clean, f(p.value)) || strings.Contains(clean, strings.Trim(jsonString(f(p.value)), `"`)) {
				t.Errorf("%s, %s, survives: %s", p.kind, enc, clean)
			}
			if !json.Valid([]byte(clean)) {
				t.Errorf("%s, %s: no longer JSON: %s", p.kind, enc, clean)
			}
		}
	}
}

// TestCredentialPositions: what stands in a credential position goes, whatever it looks like.
func TestCredentialPositions(t *testing.T) {
	const secret = "correct-horse"
	for _, c := range []struct{ raw, want string }{
		{`password=correct-horse`, `password=[password]`},
		{`password = correct-horse`, `password = [password]`},
		{`password: correct-horse`, `password: [password]`},
		{`password: correct-horse battery staple`, `password: [password]`},
		{`login password=correct-horse user=bob`, `login password=[password] user=bob`},
		{`password = crypt('correct-horse', gen_salt('bf'))`, `password = crypt('[password]', gen_salt('[password]'))`},
		{`"password": "correct-horse"`, `"password": "[password]"`},
		{`'passwd': 'correct-horse',`, `'passwd': '[password]',`},
		{`{"password":"correct-horse","n":1}`, `{"password":"[password]","n":1}`},
		{`{"password": ["correct-horse", "correct-horse"]}`, `{"password": ["[password]", "[password]"]}`},
		{`{'password': ['correct-horse', 'x1'], 'b': 1}`, `{'password': ['[password]', '[password]'], 'b': 1}`},
		{`{"name":"DB_PASSWORD","value":"correct-horse"}`, `{"name":"DB_PASSWORD","value":"[password]"}`},
		{"- name: DB_PASSWORD\n  value: correct-horse\n", "- name: DB_PASSWORD\n  value: [password]\n"},
		{`{"args":["--token","correct-horse"]}`, `{"args":["--token","[token]"]}`},
		{`["--password", "correct-horse"]`, `["--password", "[password]"]`},
		{`--password correct-horse --verbose`, `--password [password] --verbose`},
		{`--password=correct-horse --verbose`, `--password=[password] --verbose`},
		{`--api-key 'correct-horse'`, `--api-key '[api-key]'`},
		{`mysql -u root -pcorrect-horse shop`, `mysql -u root -p[password] shop`},
		{`sshpass -p correct-horse ssh h`, `sshpass -p [password] ssh h`},
		{`curl -u bob:correct-horse https://h/`, `curl -u bob:[password] https://h/`},
		{`curl -H "Authorization: Bearer correct-horse" https://h/`, `curl -H "Authorization: Bearer [authorization]" https://h/`},
		{"Authorization: Basic correct-horse\r\nHost: h\r\n", "Authorization: Basic [authorization]\r\nHost: h\r\n"},
		{"authorization: Digest username=\"bob\", response=\"correct-horse\"\nHost: h", "authorization: Digest [authorization]\nHost: h"},
		{"Cookie: a=correct-horse; b=2\nHost: h", "Cookie: [cookie]\nHost: h"},
		{"Set-Cookie: sid=correct-horse; Path=/; HttpOnly", "Set-Cookie: [cookie]"},
		{"X-Api-Key: correct-horse", "X-Api-Key: [api-key]"},
		{"X-Vault-Token: correct-horse-0", "X-Vault-Token: [token]"},
		{`map[Accept:[*/*] Authorization:[Bearer correct-horse] Host:[h]]`, `map[Accept:[*/*] Authorization:[Bearer [authorization]] Host:[h]]`},
		{`postgres://app:correct-horse@db:5432/shop?sslmode=disable`, `postgres://app:%5Bpassword%5D@db:5432/shop?sslmode=disable`},
		{`redis://:correct-horse@cache/0`, `redis://:%5Bpassword%5D@cache/0`},
		{`postgres://app:cor/rect-horse@db/shop`, `postgres://app:%5Bpassword%5D@db/shop`},
		{`postgres://app:cor@rect-horse@db/shop`, `postgres://app:%5Bpassword%5D@db/shop`},
		{`https://h/cb?state=1&access_token=correct-horse&x=1`, `https://h/cb?state=1&access_token=[token]&x=1`},
		{`https://h/blob?sv=2020&sig=correct-horse%3D&se=1`, `https://h/blob?sv=2020&sig=[secret]&se=1`},
		{`app:correct-horse@tcp(db:3306)/shop`, `app:[password]@tcp(db:3306)/shop`},
		{`Server=db;User Id=sa;Password=correct-horse;Encrypt=true`, `Server=db;User Id=sa;Password=[password];Encrypt=true`},
		{`DefaultEndpointsProtocol=https;AccountName=a;AccountKey=correct-horse==;EndpointSuffix=x`, `DefaultEndpointsProtocol=https;AccountName=a;AccountKey=[azure-key];EndpointSuffix=x`},
		{`host=db user=app password='correct-horse battery' dbname=shop`, `host=db user=app password='[password]' dbname=shop`},
		{`PGPASSWORD=correct-horse psql -h db -c "select 1"`, `PGPASSWORD=[password] psql -h db -c "select 1"`},
		{`AWS_SECRET_ACCESS_KEY=correct-horse`, `AWS_SECRET_ACCESS_KEY=[api-key]`},
		{`export DB_PASS="correct-horse"`, `export DB_PASS="[password]"`},
		{`client_secret: correct-horse`, `client_secret: [secret]`},
		{`clientSecret=correct-horse&grant_type=x`, `clientSecret=[secret]&grant_type=x`},
		{`passwordConfirmation=correct-horse`, `passwordConfirmation=[password]`},
		{`password_hash: correct-horse`, `password_hash: [password]`},
		{`params["password"] = "correct-horse"`, `params["password"] = "[password]"`},
		{`'password' => 'correct-horse',`, `'password' => '[password]',`},
		{`<password>correct-horse</password>`, `<password>[password]</password>`},
		{`<db:Password> correct-horse </db:Password>`, `<db:Password> [password]</db:Password>`},
		{`ERROR: syntax error: ALTER USER bob PASSWORD 'correct-horse' VALID`, `ERROR: syntax error: ALTER USER bob PASSWORD '[password]' VALID`},
		{`CREATE USER bob IDENTIFIED BY 'correct-horse'`, `CREATE USER bob IDENTIFIED BY '[password]'`},
		{`ALTER USER bob PASSWORD $x$correct-horse$x$`, `ALTER USER bob PASSWORD $x$[password]$x$`},
		{`msg="login password=\"correct-horse\" ok"`, `msg="login password=\"[password]\" ok"`},
		{`{"msg":"{\"password\":\"correct-horse\",\"n\":1}"}`, `{"msg":"{\"password\":\"[password]\",\"n\":1}"}`},
		{"private_key: |\n  correct-horse\n  correct-horse\nnext: 1\n", "private_key: |\n  [secret]\nnext: 1\n"},
		{`password=%63orrect-horse`, `password=[password]`},
		{`LOG: statement: INSERT INTO users (name, password) VALUES ('bob', 'correct-horse')`, `LOG: statement: INSERT INTO users (name, password) VALUES ('bob', '[password]')`},
		{`{"sql":"SELECT crypt('correct-horse', gen_salt('bf')), \"x\""}`, `{"sql":"SELECT crypt('[password]', gen_salt('[password]')), \"x\""}`},
		{`{"password":12345678}`, `{"password":"[password]"}`},
		{`password="correct-horse never closed`, `password="[password]`},
		{`{"auth":"Y29ycmVjdC1ob3JzZQ=="}`, `{"auth":"[secret]"}`},
		{`{"kind":"Secret","data":{"a":"Y29ycmVjdC1ob3JzZQ=="}}`, `{"kind":"Secret","data":{"a":"[secret]"}}`},
		{`{"data":{"a":"Y29ycmVjdC1ob3JzZQ=="},"kind":"Secret"}`, `{"data":{"a":"[secret]"},"kind":"Secret"}`},
		{`{"ssn":"078051120","phone_number":"5550132999"}`, `{"ssn":"[ssn]","phone_number":"[phone]"}`},
		{`{"card":4111111111111111}`, `{"card":"[payment-card]"}`},
		{`Authorization: Bearer ` + "ghp" + "_" + fake(36), `Authorization: Bearer [github-token]`},
	} {
		got := plain.Text(c.raw).String()
		if got != c.want {
			t.Errorf("Text(%q)\n got %q\nwant %q", c.raw, got, c.want)
		}
		if c.want != c.raw && strings.Contains(got, secret) {
			t.Errorf("Text(%q) keeps the secret", c.raw)
		}
		if again := plain.Text(got).String(); again != got {
			t.Errorf("Text(%q) is not the same again: %q", got, again)
		}
	}
}

// TestFalseAlarms: what looks like a secret and is none stays. Each of these was a false alarm of some
// scanner.
func TestFalseAlarms(t *testing.T) {
	for _, raw := range []string{
		"request 123e4567-e89b-12d3-a456-426614174000 done",
		"uuid 12345678-1234-1234-1234-123456789012 and 41111111-1111-4111-8111-111111111111",
		"commit 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12 by someone",
		"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"image registry.example.org/shop@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"sha384-oqVuAfXRKap7fdgcCY5uykM6+R9GqQ8K/uxy9rx7HNQlGYl1kPzQho1wx4JwY8wC",
		"SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8 user key",
		`ETag: "686897696a7c876b7e"`,
		"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"2024-01-15T09:30:00.123456Z 2024-01-15 09:30:00+00 1705312200 1705312200123 1705312200123456789",
		"v1.2.3-rc.1+20240115093000 go1.26.8 postgresql-15.6-0+deb12u1",
		"id 1234567890123456 order 9007199254740993 snowflake 1186290238474829834",
		"ip 10.0.0.1:5432 192.168.100.200 fe80::1ff:fe23:4567:890a 00:1b:44:11:3a:b7",
		"1024 2048 4096 8192 16384",
		"drwxr-xr-x 2 1000 1000 4096 Jan 15 09:30 /var/lib/data",
		"tokens: 512 max_tokens=4096 token_type=bearer unexpected token: ')'",
		"error: invalid token: unexpected end of input",
		"the password must be changed; password authentication failed for user \"bob\"",
		"key: value, primary_key=id, foreign key (user_id), public_key_path=/etc/x.pub",
		`{"key":"value","sort_key":"name","cache_key":"a:b:c"}`,
		"-----BEGIN CERTIFICATE-----\nMIIBszCCARygAwIBAgIJ\n-----END CERTIFICATE-----",
		"-----BEGIN PUBLIC KEY-----\nMIIBszCCARygAwIBAgIJ\n-----END PUBLIC KEY-----",
		"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAbCdEfGhIjKlMnOpQrStUvWxYz0123456789abcdef host",
		"password=<YOUR_PASSWORD> token=${TOKEN} api_key=$API_KEY secret={{ .Values.secret }} password=**** PASSWORD=$1",
		"password=xxxxxxxx api_key=changeme password=null passwd=%s Authorization: Bearer <token>",
		`{"password":null,"token":"","secret":"[REDACTED]","has_password":true}`,
		"PWD=/home/bob OLDPWD=/tmp",
		"git@github.com:org/repo.git getty@tty1.service user@1000.service logo@2x.png",
		"http://host:8080/path/@user https://example.org:443/a:b@c",
		"https://example.org/a?b=c&d=e#f mailto: none",
		"https://medium.example/@bob/post-1",
		"sk-fading-circle-container-wrapper hvs.x ghp_short npm_package_name npm_lifecycle_event",
		"SELECT md5('x') AS md5sum FROM t",
		"bug with the password's check in update-passwd's usage output",
		"call pass 3 fail 0 skip 1; PASS: TestX (0.00s)",
		"duration: 12.345 ms  rows=1000 loops=1 cost=0.00..431.00",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"customers_internal_reporting_table_v2/archive/2024/partition_0001",
		"%s %d %v %5.2f 100% 50%25",
		"C:\\Users\\new\\test\\bin \\d+ \\w+",
		"+0200 +05:30 1+1 x+12345678901 diff +123 -45",
		"123-45-67890 000-12-3456 666-12-3456 12-345-6789",
		"01 02 03 04 05 06 07 08 ff",
		"EAN 4006381333931 ISBN 978-3-16-148410-0",
		"[email] [password:0123456789ab] [rest:12 bytes]",
		"4111111111111112 4111-1111-1111-1112 378282246310006", // Luhn's sum is wrong
		"DE89370400440532013001 GB29 NWBK 6016 1331 9268 18",   // the remainder is wrong
		"AKIAFAKEFAKEFAKEFAK xAKIAFAKEFAKEFAKEFAKE ghp-" + fake(36) + " md5" + fakeHex(31),
		"eyJub3QiOiJqd3QifQ", // base64 of an object that is no header
	} {
		if got := plain.Text(raw).String(); got != raw {
			t.Errorf("changed\n%s\nto\n%s", raw, got)
		}
	}
}

func TestAWSSecretByContext(t *testing.T) {
	secret := rep("Fake/Secret+Key0", 3)[:40]
	id := "AKIA" + "FAKEFAKEFAKEFAKE"
	if got := plain.Text(id + "," + secret).String(); got != "[aws-access-key],[aws-secret-key]" {
		t.Errorf("%q", got)
	}
	if got := plain.Text("digest " + secret).String(); got != "digest "+secret {
		t.Errorf("40 bytes without an access key id: %q", got)
	}
}

func TestWebhookURLs(t *testing.T) {
	raw := "https://hooks.slack.com" + "/services/T0FAKE000/B0FAKE000/" + fake(24)
	if got := plain.Text("post to " + raw + " failed").String(); got != "post to https://hooks.slack.com/services/[webhook-url] failed" {
		t.Errorf("%q", got)
	}
}

// TestPseudonyms: equal values are recognised as equal, across spellings and encodings, but only under one
// key, and nothing else of them is told.
func TestPseudonyms(t *testing.T) {
	a := keyed.Text("mail from Alice@Example.com").String()
	b := keyed.Text("q=alice%40example.com").String()
	pa, pb := a[strings.Index(a, "["):], b[strings.Index(b, "["):]
	if pa != pb {
		t.Errorf("one address, two pseudonyms: %s and %s", pa, pb)
	}
	if len(pa) != len("[email:0123456789ab]") {
		t.Errorf("pseudonym %s", pa)
	}
	if c := sanitize.New(sanitize.Options{Key: []byte("another")}).Text("Alice@Example.com").String(); c == pa {
		t.Error("another key, the same pseudonym")
	}
	if d := keyed.Text("bob@example.com").String(); d == pa {
		t.Error("another address, the same pseudonym")
	}
	if d := keyed.Value("password", "alice@example.com").String(); strings.HasSuffix(d, pa[len("[email"):]) {
		t.Error("another kind, the same pseudonym")
	}
	one := keyed.SQL(`ALTER USER x PASSWORD 'it''s'`, nil).String()
	two := keyed.Value("password", "it's").String()
	if !strings.Contains(one, two) {
		t.Errorf("one password, two pseudonyms: %s and %s", one, two)
	}
	if got := keyed.Text("4111 1111 1111 1111 4111-1111-1111-1111").String(); got[:len(got)/2] != got[len(got)/2+1:] {
		t.Errorf("one card, two pseudonyms: %s", got)
	}
}

func TestValue(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"password", "hunter2", "[password]"},
		{"db_password", "changeme", "[password]"},
		{"X-Api-Key", "a", "[api-key]"},
		{"token", "abc", "[token]"},
		{"authorization", "Bearer abc", "[authorization]"},
		{"cookie", "a=b", "[cookie]"},
		{"name", "alice@example.com", "[email]"},
		{"name", "Alice", "Alice"},
		{"password", "", ""},
		{"password", "[password]", "[password]"},
		{"ssn", "078051120", "[ssn]"},
		{"order_id", "4711", "4711"},
		{"note", "password=hunter2 x", "password=[password] x"},
		{"token", "ghp" + "_" + fake(36), "[github-token]"},
	} {
		if got := plain.Value(c.name, c.raw).String(); got != c.want {
			t.Errorf("Value(%q, %q) = %q, want %q", c.name, c.raw, got, c.want)
		}
	}
	if got := strict.Value("name", "Alice").String(); got != "[text]" {
		t.Errorf("strict: %q", got)
	}
}

func TestName(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{"", ""},
		{"shop", "shop"},
		{"person:alice@example.com", "person:alice@example.com"},
		{"4111111111111111", "[payment-card]"},
		{"public.4111111111111111", "public.[payment-card]"},
		{"card-4111-1111-1111-1111", "card-4111-1111-1111-1111"},
		{"a/078-05-1120", "a/[ssn]"},
		{"DE89370400440532013000", "[iban]"},
		{"10.0.0.1:54321", "10.0.0.1:54321"},
		{"018d0c3e-7d3a-7b1c-9f00-123456789012", "018d0c3e-7d3a-7b1c-9f00-123456789012"},
		{"Müller_2", "Müller_2"},
		{"public.customers", "public.customers"},
		{"app:token:rw", "app:token:rw"},
		{"two words", "two words"},
		{"ghp" + "_" + fake(36), "[github-token]"},
		{"x/" + "AKIA" + "FAKEFAKEFAKEFAKE", "x/[aws-access-key]"},
		{"postgres://bob:hunter2@db", "postgres://bob:%5Bpassword%5D@db"},
		{"mail alice@example.com", "mail [email]"},
		{"password=hunter2", "password=[password]"},
		{fakeHex(64), fakeHex(64)},
	} {
		if got := sanitize.Name(c.raw).String(); got != c.want {
			t.Errorf("Name(%q) = %q, want %q", c.raw, got, c.want)
		}
	}
	if got := sanitize.Name(rep("a", 257)).String(); got != rep("a", 257) {
		t.Errorf("a long name that holds nothing: %q", got)
	}
}

// TestFind: the spans are what Text replaces, in order.
func TestFind(t *testing.T) {
	for _, p := range plants() {
		raw := "é " + p.value + " and password=hunter2; " + p.value
		var b strings.Builder
		at := 0
		for _, sp := range plain.Find(raw) {
			if sp.Start < at || sp.End <= sp.Start || sp.End > len(raw) {
				t.Fatalf("%s: spans %v", p.kind, plain.Find(raw))
			}
			b.WriteString(raw[at:sp.Start] + "[" + string(sp.Kind) + "]")
			at = sp.End
		}
		b.WriteString(raw[at:])
		if got := plain.Text(raw).String(); got != b.String() {
			t.Errorf("Text %q, by Find %q", got, b.String())
		}
	}
}

// TestLimit: what is beyond a limit is told by its length and nothing else, and the result is within the
// limit whatever was replaced.
func TestLimit(t *testing.T) {
	for name, raw := range map[string]string{
		"words":       rep("some words ", 200_000),
		"one word":    rep("x", 2<<20),
		"many values": rep("pw=aaa password=b ", 60_000),
		"open quote":  rep("word ", 1000) + `password="` + rep("secret ", 300_000),
		"json":        `{"a":"` + rep("x ", 1<<20) + `"}`,
	} {
		for _, f := range []func(string) sanitize.Clean{keyed.Text, strict.Text, func(raw string) sanitize.Clean { return keyed.SQL(raw, nil) }} {
			got := f(raw).String()
			if len(got) > sanitize.MaxText {
				t.Errorf("%s: %d bytes", name, len(got))
			}
			if !strings.HasSuffix(got, " bytes]") && !strings.HasSuffix(got, " bytes]*/") {
				t.Errorf("%s ends in %q", name, got[max(0, len(got)-64):])
			}
			if again := f(got).String(); again != got {
				t.Errorf("%s: not the same again: %d bytes, then %d", name, len(got), len(again))
			}
		}
	}
}

func TestInvalidUTF8(t *testing.T) {
	raw := "a\xff\xfeb password=\xffx\x00y alice@example.com\xc3"
	got := plain.Text(raw).String()
	if !utf8.ValidString(got) || strings.Contains(got, "alice") {
		t.Errorf("%q", got)
	}
	if again := plain.Text(got).String(); again != got {
		t.Errorf("not the same again: %q", again)
	}
}

func TestStrictText(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{`user "bob smith" ran 5 jobs at 2024-01-15T09:30:00Z`, `user "[text]" ran [number] jobs at [number]`},
		{`{"name":"bob","n":-1.5e3,"ok":true,"l":[1,2],"o2":null}`, `{"name":"[text]","n":"[number]","ok":true,"l":["[number]","[number]"],"[text]":null}`},
		{`it's fine and don't change`, `it's fine and don't change`},
		{`mail alice@example.com now`, `mail [email] now`},
		{`password=hunter2`, `password=[password]`},
		{`open "quote 1`, `open "[text]`},
	} {
		if got := strict.Text(c.raw).String(); got != c.want {
			t.Errorf("strict Text(%q)\n got %q\nwant %q", c.raw, got, c.want)
		}
	}
}

// TestOddNames: no name makes the classifier look outside of its tables.
func TestOddNames(t *testing.T) {
	for a := range 256 {
		for b := range 256 {
			name := string([]byte{'x', byte(a), byte(b)})
			plain.Value(name, "v")
			plain.Value(name+"password", "v")
		}
	}
}

func TestKinds(t *testing.T) {
	if !sanitize.Email.Personal() || sanitize.GitHubToken.Personal() || !sanitize.SSN.LowEntropy() || sanitize.JWT.LowEntropy() {
		t.Error("kinds")
	}
	if sanitize.Kind("made-up").Known() || !sanitize.Rest.Known() {
		t.Error("known kinds")
	}
}
