package sanitize

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"sort"
	"strings"
	"unicode"
)

// Kind names what was found: "email", "payment-card", "password", "github-token", …
type Kind string

// Span is a part of a text, in bytes: [Start, End).
type Span struct {
	Start, End int
	Kind       Kind
}

// Options configure a Sanitizer.
type Options struct {
	// Key makes the pseudonyms in placeholders ([email:7f3a9c2e51b0]). Without it they carry the kind only.
	Key []byte
	// Strict drops every literal, whether a detector knows it or not.
	Strict bool
}

// Sanitizer makes Clean text. It is immutable and safe for concurrent use.
type Sanitizer struct {
	key    []byte
	strict bool
}

// New returns a Sanitizer.
func New(o Options) *Sanitizer { return &Sanitizer{key: o.Key, strict: o.Strict} }

// Text sanitizes text of no known grammar: structure first, then the detectors.
func (s *Sanitizer) Text(raw string) Clean {
	return Clean{s.replace(raw, s.Find(raw), nil)}
}

// SQL sanitizes a statement string. credentials are the literals that the parser found in credential
// positions, as byte ranges that include the quotes. Only literals and comments are replaced; a literal
// stays a literal.
func (s *Sanitizer) SQL(raw string, credentials []Span) Clean {
	quoted := make(map[int]bool)
	var spans []Span
	for _, c := range credentials {
		if c.Start < 0 || c.End > len(raw) || c.Start >= c.End {
			continue
		}
		if c.Kind == "" {
			c.Kind = "password"
		}
		quoted[c.Start] = true
		spans = append(spans, c)
	}
	return Clean{s.replace(raw, merge(append(spans, s.Find(raw)...)), quoted)}
}

// Value sanitizes a value that stands under a name: a JSON key, a column, a parameter. A name such as
// "password" replaces the value whole.
func (s *Sanitizer) Value(name, raw string) Clean {
	if raw != "" && credentialName.MatchString(name) {
		return Clean{s.placeholder("password", raw)}
	}
	return s.Text(raw)
}

// Find returns the spans of raw that Text would replace, in order, not overlapping.
func (s *Sanitizer) Find(raw string) []Span {
	var spans []Span
	for _, p := range patterns {
		for _, m := range p.re.FindAllStringSubmatchIndex(raw, -1) {
			span := Span{m[0], m[1], p.kind}
			if len(m) > 2 && m[2] >= 0 {
				span.Start, span.End = m[2], m[3]
			}
			if span.Start < span.End && !placeholderText.MatchString(raw[span.Start:span.End]) {
				spans = append(spans, span)
			}
		}
	}
	return merge(spans)
}

// Name returns a name chosen by an administrator or a client (a resource, group, login, database
// object): itself when it has at most 256 bytes of letters, digits, and ._-@:/ and no detector for
// secrets knows it; else what Text makes of it, type only.
func Name(raw string) Clean {
	s := New(Options{})
	plain := len(raw) <= 256 && strings.IndexFunc(raw, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-@:/", r)
	}) < 0
	if plain {
		for _, f := range s.Find(raw) {
			plain = plain && f.Kind == "email"
		}
	}
	if plain {
		return Clean{raw}
	}
	return s.Text(raw)
}

type pattern struct {
	kind Kind
	re   *regexp.Regexp
}

var (
	credentialName  = regexp.MustCompile(`(?i)(passw(or)?d|passphrase|pwd|secret|token|api[_-]?key|private[_-]?key|credentials?|authorization|cookie)$`)
	placeholderText = regexp.MustCompile(`^(%5B|\[)[a-z0-9-]+(:[0-9a-f]{12})?(%5D|\])$`)
	patterns        = []pattern{
		{"private-key", regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`)},
		{"password", regexp.MustCompile(`(?i)\b[a-z0-9_.-]*(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|authorization|cookie)["']?\s*(?:=>|[:=]|\s)\s*["']([^"'\n]+)`)},
		{"password", regexp.MustCompile(`(?i)\b[a-z0-9_.-]*(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key)(?:=|:[ \t]*)([^\s"'\[,;&]+)`)},
		{"authorization", regexp.MustCompile(`(?i)\bauthorization:\s*(?:[a-z]+\s+)?([^\s"']+)`)},
		{"password", regexp.MustCompile(`[a-z][a-z0-9+.-]*://[^\s/:@"']*:([^\s/@"']+)@`)},
		{"aws-access-key-id", regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`)},
		{"github-token", regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})`)},
		{"gitlab-token", regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{20,}`)},
		{"slack-token", regexp.MustCompile(`\bxox[a-z]-[A-Za-z0-9-]{10,}`)},
		{"stripe-key", regexp.MustCompile(`\b[sr]k_(?:live|test)_[A-Za-z0-9]{10,}`)},
		{"google-api-key", regexp.MustCompile(`\bAIza[A-Za-z0-9_-]{35}`)},
		{"openai-key", regexp.MustCompile(`\bsk-[A-Za-z0-9_-]{20,}`)},
		{"countersign-token", regexp.MustCompile(`\bcsg_[A-Za-z0-9_-]{43}`)},
		{"jwt", regexp.MustCompile(`\beyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`)},
		{"scram-verifier", regexp.MustCompile(`SCRAM-SHA-256\$[0-9]+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+`)},
		{"email", regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}`)},
	}
)

// merge orders spans and joins those that overlap.
func merge(spans []Span) []Span {
	sort.SliceStable(spans, func(i, j int) bool { return spans[i].Start < spans[j].Start })
	var out []Span
	for _, sp := range spans {
		if n := len(out); n > 0 && sp.Start < out[n-1].End {
			out[n-1].End = max(out[n-1].End, sp.End)
			continue
		}
		out = append(out, sp)
	}
	return out
}

// replace puts placeholders in place of spans; those that start at a key of quoted become SQL literals.
func (s *Sanitizer) replace(raw string, spans []Span, quoted map[int]bool) string {
	var b strings.Builder
	at := 0
	for _, sp := range spans {
		b.WriteString(raw[at:sp.Start])
		p := s.placeholder(sp.Kind, raw[sp.Start:sp.End])
		if quoted[sp.Start] {
			p = "'" + p + "'"
		}
		b.WriteString(p)
		at = sp.End
	}
	b.WriteString(raw[at:])
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

func (s *Sanitizer) placeholder(kind Kind, value string) string {
	if len(s.key) == 0 {
		return "[" + string(kind) + "]"
	}
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(kind))
	mac.Write([]byte{0})
	mac.Write([]byte(value))
	return "[" + string(kind) + ":" + hex.EncodeToString(mac.Sum(nil)[:6]) + "]"
}
