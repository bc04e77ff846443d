package sanitize

import "strings"

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

// secretNames are what the name of a secret ends in, written without separators and in lower case.
// Longer ones stand before those they end in.
var secretNames = []struct {
	suffix string
	position
}{
	{"password", position{kind: Password}},
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
	"pass": {kind: Password, weak: true},
	"auth": {kind: Secret, weak: true},
	"otp":  {kind: Password, weak: true},
	"totp": {kind: Password, weak: true},
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

// tailWords may follow the name of a secret without changing what it names: password_confirmation.
var tailWords = []string{
	"hash", "digest", "confirmation", "confirm", "again", "repeat", "verify", "plain", "plaintext", "value",
	"encrypted", "hashed", "base64", "string", "old", "new", "current", "text",
}

// maxName is how much of a name is looked at, from its end.
const maxName = 64

// nameRoots is one string of every secret name: a name that holds none of them is passed over at once.
var nameRoots = []string{"pas", "pwd", "pswd", "secret", "token", "key", "auth", "cookie", "cred", "jwt", "cvv", "cvc", "otp", "wort", "signature", "contrasena"}

// classify says what a name says about its value. raw is a key, column, variable, header, or flag name.
func classify(raw string) position {
	var joined, split [maxName]byte
	j, s := fold(raw, &joined, &split)
	name, words := string(joined[:j]), string(split[:s])
	if !hasRoot(name) {
		return position{}
	}
	if p := secretName(name, words); !p.none() {
		return p
	}
	// password_hash, secretString: the tail says in which form.
	for _, tail := range tailWords {
		if stem, ok := strings.CutSuffix(name, tail); ok && len(stem) >= 3 {
			p := secretName(stem, strings.TrimRight(strings.TrimSuffix(words, tail), " "))
			if p.kind == Password || p.kind == APIKey || p.kind == Secret || p.kind == Token {
				return p
			}
		}
	}
	return position{}
}

func secretName(name, words string) position {
	for _, n := range secretNames {
		if strings.HasSuffix(name, n.suffix) {
			n.directory = name == "pwd" || name == "oldpwd"
			if n.suffix == "token" && strings.Contains(words, " ") {
				n.weak = false // csrf_token, x-vault-token: a compound is a name
			}
			if n.suffix == "secret" && strings.Contains(words, " ") {
				n.weak = false
			}
			return n.position
		}
	}
	last := words[strings.LastIndexByte(words, ' ')+1:]
	p := wholeNames[last]
	if last != words {
		p.weak = p.weak && last == "auth"
	}
	return p
}

// classifyPersonal says which personal data the value under a name is.
func classifyPersonal(raw string) (Kind, bool) {
	var joined, split [maxName]byte
	j, _ := fold(raw, &joined, &split)
	name := string(joined[:j])
	for _, n := range personalNames {
		if strings.HasSuffix(name, n.suffix) && (n.suffix != "ssn" || j == 3 || len(raw) > j) {
			return n.kind, true
		}
	}
	return "", false
}

// fold writes the last maxName letters and digits of raw in lower case, once joined, and once with a
// space between words ("dbPassword", "DB-PASSWORD" and "db.password" are all "db password").
// Digits at the end (password1) are dropped.
func fold(raw string, joined, split *[maxName]byte) (j, s int) {
	raw = strings.TrimRight(raw[max(0, len(raw)-maxName/2):], "0123456789_-.")
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

func hasRoot(name string) bool {
	for _, root := range nameRoots {
		if strings.Contains(name, root) {
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
