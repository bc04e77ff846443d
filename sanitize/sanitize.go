package sanitize

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
func (s *Sanitizer) Text(raw string) Clean { panic("being written") }

// SQL sanitizes a statement string. credentials are the literals that the parser found in credential
// positions, as byte ranges that include the quotes. Only literals and comments are replaced; a literal
// stays a literal.
func (s *Sanitizer) SQL(raw string, credentials []Span) Clean { panic("being written") }

// Value sanitizes a value that stands under a name: a JSON key, a column, a parameter. A name such as
// "password" replaces the value whole.
func (s *Sanitizer) Value(name, raw string) Clean { panic("being written") }

// Find returns the spans of raw that Text would replace, in order, not overlapping.
func (s *Sanitizer) Find(raw string) []Span { panic("being written") }

// Name returns a name chosen by an administrator or a client (a resource, group, login, database
// object): itself when it has at most 256 bytes of letters, digits, and ._-@:/ and no detector for
// secrets knows it; else what Text makes of it, type only.
func Name(raw string) Clean { panic("being written") }
