package sanitize

import (
	"bytes"
	"strings"
)

// position is what a name says about the value under it. The zero position says nothing.
type position struct {
	kind Kind
	// weak names ("token", "secret", "auth") are also words of prose and names of numbers and references,
	// so they count where the name is clearly a key, and never for numbers.
	weak bool
	// directory marks the variable PWD, which holds a password in connection strings only.
	directory bool
}

func (p position) none() bool { return p.kind == "" }

// secretRule says what a name that ends in suffix names.
type secretRule struct {
	suffix string
	position
}

// secretNames are what the name of a secret ends in, written without separators and in lower case.
// Longer ones stand before those they end in.
var secretNames = []secretRule{
	{"password", position{kind: Password}},
	{"passwords", position{kind: Password, weak: true}},
	{"passwd", position{kind: Password}},
	{"passphrase", position{kind: Password}},
	{"passcode", position{kind: Password}},
	{"passwort", position{kind: Password}},
	{"kennwort", position{kind: Password}},
	{"motdepasse", position{kind: Password}},
	{"contrasena", position{kind: Password}},
	{"pwd", position{kind: Password}},
	{"pswd", position{kind: Password}},
	{"mysqlpass", position{kind: Password}},
	{"sshpass", position{kind: Password}},
	{"apikey", position{kind: APIKey}},
	{"appkey", position{kind: APIKey}},
	{"accesskey", position{kind: APIKey}},
	{"authkey", position{kind: APIKey}},
	{"servicekey", position{kind: APIKey}},
	{"accountkey", position{kind: AzureKey}},
	{"storagekey", position{kind: AzureKey}},
	{"secretkey", position{kind: Secret}},
	{"privatekey", position{kind: Secret}},
	{"signingkey", position{kind: Secret}},
	{"sessionkey", position{kind: Secret}},
	{"masterkey", position{kind: Secret}},
	{"sharedkey", position{kind: Secret}},
	{"encryptionkey", position{kind: Secret}},
	{"sharedaccesssignature", position{kind: Secret}},
	{"secret", position{kind: Secret, weak: true}},
	{"secrets", position{kind: Secret, weak: true}},
	{"accesstoken", position{kind: Token}},
	{"authtoken", position{kind: Token}},
	{"apitoken", position{kind: Token}},
	{"bearertoken", position{kind: Token}},
	{"refreshtoken", position{kind: Token}},
	{"securitytoken", position{kind: Token}},
	{"sessiontoken", position{kind: Token}},
	{"idtoken", position{kind: Token}},
	{"token", position{kind: Token, weak: true}},
	{"jwt", position{kind: Token, weak: true}},
	{"credential", position{kind: Secret, weak: true}},
	{"credentials", position{kind: Secret, weak: true}},
	{"authorization", position{kind: Authorization}},
	{"cookie", position{kind: Cookie}},
	{"cookies", position{kind: Cookie, weak: true}},
	{"cvv", position{kind: CardCode}},
	{"cvc", position{kind: CardCode}},
}

// wholeNames count only when they are the whole last word of a name: db_pass, but not compass.
var wholeNames = map[string]position{
	"pass":   {kind: Password, weak: true},
	"pw":     {kind: Password, weak: true},
	"auth":   {kind: Secret, weak: true},
	"bearer": {kind: Token, weak: true},
	"otp":    {kind: Password, weak: true},
	"totp":   {kind: Password, weak: true},
	"pin":    {kind: CardCode, weak: true},
}

// personalNames are names under which a value is personal data whatever its form.
var personalNames = []struct {
	suffix string
	kind   Kind
}{
	{"ssn", SSN},
	{"socialsecuritynumber", SSN},
	{"phone", Phone},
	{"phonenumber", Phone},
	{"phoneno", Phone},
	{"telephone", Phone},
	{"msisdn", Phone},
	{"mobilenumber", Phone},
	{"cardnumber", PaymentCard},
	{"ccnumber", PaymentCard},
	{"iban", IBAN},
}

// tailWords may follow the name of a secret without changing what it names: password_confirmation. Of
// base64 the digits are not looked at.
var tailWords = []string{
	"hash", "digest", "confirmation", "confirm", "again", "repeat", "verify", "plain", "plaintext", "value",
	"encrypted", "hashed", "base", "string", "old", "new", "current", "text",
}

// maxName is how much of a name is looked at, from its end.
const maxName = 64

// nameRoots are what every name of a secret with a tail holds.
var nameRoots = [][]byte{[]byte("pas"), []byte("pw"), []byte("pswd"), []byte("secret"), []byte("token"), []byte("key"), []byte("kennwort")}

// endings are the pairs of letters that names of a sort end in. Most names are passed over by their ending.
type endings [26 * 26]bool

func (e *endings) add(name string) { e[ending(name[len(name)-2], name[len(name)-1])] = true }

// ending numbers a pair of small letters.
func ending(a, b byte) int { return int(a-'a')*26 + int(b-'a') }

// has reports whether a name of the sort could end as raw does.
func (e *endings) has(raw string) bool {
	i := len(raw)
	for i > 0 && !letters[raw[i-1]] {
		i-- // digits and separators at the end say nothing
	}
	if i < 2 {
		return false
	}
	a, b := lower(raw[i-2]), lower(raw[i-1])
	return !letters[raw[i-2]] || e[ending(a, b)]
}

var secretEndings, personalEndings = func() (secrets, personal endings) {
	for _, n := range secretNames {
		secrets.add(n.suffix)
	}
	for n := range wholeNames {
		secrets.add(n)
	}
	for _, n := range tailWords {
		secrets.add(n)
	}
	for _, n := range personalNames {
		personal.add(n.suffix)
	}
	return secrets, personal
}()

// secretByEnding holds the rules for names that end in the same two letters.
var secretByEnding = func() (by [26 * 26][]secretRule) {
	for _, n := range secretNames {
		i := ending(n.suffix[len(n.suffix)-2], n.suffix[len(n.suffix)-1])
		by[i] = append(by[i], n)
	}
	return by
}()

// classify says what a name says about its value. raw is a key, column, variable, header, or flag name.
func classify(raw string) position {
	if !secretEndings.has(raw) {
		return position{}
	}
	var joined, split [maxName]byte
	j, s := fold(raw, &joined, &split)
	name, words := joined[:j], split[:s]
	if p := secretName(name, words); !p.none() {
		return p
	}
	if !hasRoot(name) {
		return position{}
	}
	// password_hash, secretString: the tail says in which form.
	for _, tail := range tailWords {
		if !endsIn(name, tail) || len(name) < len(tail)+3 {
			continue
		}
		p := secretName(name[:j-len(tail)], bytes.TrimRight(words[:s-len(tail)], " "))
		if p.kind == Password || p.kind == APIKey || p.kind == Secret || p.kind == Token {
			return p
		}
	}
	return position{}
}

func endsIn(name []byte, suffix string) bool {
	return len(name) >= len(suffix) && string(name[len(name)-len(suffix):]) == suffix
}

func secretName(name, words []byte) position {
	if len(name) < 2 {
		return position{}
	}
	if a, b := name[len(name)-2], name[len(name)-1]; a >= 'a' && b >= 'a' {
		rules := secretByEnding[ending(a, b)]
		for i := range rules {
			rule := &rules[i]
			if !endsIn(name, rule.suffix) {
				continue
			}
			p := rule.position
			p.directory = string(name) == "pwd" || string(name) == "oldpwd"
			if rule.suffix == "token" || rule.suffix == "secret" {
				// csrf_token, x-vault-token: a compound is a name.
				p.weak = bytes.IndexByte(words, ' ') < 0
			}
			return p
		}
	}
	last := words[bytes.LastIndexByte(words, ' ')+1:]
	p := wholeNames[string(last)]
	if len(last) < len(words) {
		p.weak = p.weak && string(last) == "auth"
	}
	return p
}

// classifyPersonal says which personal data the value under a name is.
func classifyPersonal(raw string) (Kind, bool) {
	if !personalEndings.has(raw) {
		return "", false
	}
	var joined, split [maxName]byte
	j, s := fold(raw, &joined, &split)
	for _, n := range personalNames {
		if endsIn(joined[:j], n.suffix) && (n.kind != SSN || j != s || j == len(n.suffix)) {
			return n.kind, true
		}
	}
	return "", false
}

// fold writes the letters and digits of the end of raw in lower case, once joined, and once with a space
// between words ("dbPassword", "DB-PASSWORD" and "db.password" are all "db password"). Digits at the end
// (password1) are dropped.
func fold(raw string, joined, split *[maxName]byte) (j, s int) {
	raw = raw[max(0, len(raw)-maxName/2):]
	for len(raw) > 0 && !letters[raw[len(raw)-1]] {
		raw = raw[:len(raw)-1]
	}
	gap := false
	for i := 0; i < len(raw); i++ {
		b := raw[i]
		if !alnum[b] {
			gap = true
			continue
		}
		upper := 'A' <= b && b <= 'Z'
		if s > 0 && (gap || upper && 'a' <= raw[i-1] && raw[i-1] <= 'z') {
			split[s] = ' '
			s++
		}
		gap = false
		joined[j], split[s] = lower(b), lower(b)
		j++
		s++
	}
	return j, s
}

func hasRoot(name []byte) bool {
	for _, root := range nameRoots {
		if bytes.Contains(name, root) {
			return true
		}
	}
	return false
}

// isExample reports whether a value under a secret's name is clearly none: empty, a boolean, a
// reference, a blank to fill in, or already masked.
func isExample(v string) bool {
	v = strings.TrimSpace(v)
	if v == "" || allSame(v) {
		return true
	}
	switch strings.ToLower(v) {
	case "true", "false", "null", "nil", "none", "undefined", "changeme", "change_me", "change-me", "redacted", "masked",
		"hidden", "filtered", "[redacted]", "(redacted)", "[filtered]", "[masked]", "[hidden]", "<nil>", "(null)", "%s", "%v", "%d", "%q":
		return true
	}
	first, last := v[0], v[len(v)-1]
	switch {
	case strings.HasPrefix(v, "${") && last == '}', strings.HasPrefix(v, "$(") && last == ')':
		return allIn(v[2:len(v)-1], &word)
	case strings.HasPrefix(v, "%(") && strings.HasSuffix(v, ")s"):
		return allIn(v[2:len(v)-2], &word)
	case strings.HasPrefix(v, "{{") && strings.HasSuffix(v, "}}"):
		return allIn(v[2:len(v)-2], &templateChars)
	case first == '<' && last == '>':
		return allIn(v[1:len(v)-1], &blankChars)
	case first == '$' && len(v) > 1:
		return allIn(v[1:], &digits) || allIn(v[1:], &variableChars)
	default:
		return false
	}
}

var (
	templateChars = chars("A-Za-z0-9_. ")
	blankChars    = chars("A-Za-z_ -")
	variableChars = chars("A-Z_")
)

// allSame reports whether v is one filler character over and over.
func allSame(v string) bool {
	const filler = "*xX.-•#_?"
	if strings.Trim(v, "•") == "" {
		return true
	}
	if letters[v[0]] && len(v) < 3 {
		return false
	}
	return strings.IndexByte(filler, v[0]) >= 0 && strings.Trim(v, v[:1]) == ""
}

// plausible reports whether a value under a weak name in running text looks made by a machine.
func plausible(v string) bool {
	return len(v) >= 8 && (mixed(v) || len(v) >= 20 && allIn(v, &dashed)) && !strings.ContainsAny(v, "(){}")
}
