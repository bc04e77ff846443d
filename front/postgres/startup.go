package postgres

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/countersign-dev/countersign/sanitize"
)

const (
	alpn = "postgresql"

	codeSSLRequest    = 80877103
	codeGSSENCRequest = 80877104
	codeCancelRequest = 80877102

	protocolMajor = 3

	tlsHandshakeRecord = 0x16
)

// opening is what a client says before it has authenticated.
type opening struct {
	conn   net.Conn // the client's connection, in TLS where the client asked for it
	minor  uint16   // of the protocol
	params startupParams
	extra  []string // protocol extensions that this front does not have
	cancel *cancelKey
}

// startupParams are the known keys of a startup message.
type startupParams struct {
	user, database string
	// settings go upstream as the session's start values, under the server's own spelling.
	settings map[string]string
	// own are the values of countersign.*: hold, reason, ticket, run.
	own map[string]string
}

// refuseStartup is a refusal that a client may read before it has authenticated.
type refuseStartup struct{ report report }

func (r *refuseStartup) Error() string { return r.report.message }

func startupError(code string, message, hint string) error {
	return &refuseStartup{report{severity: "FATAL", code: code, message: "countersign: " + message, hint: hint}}
}

// greet negotiates encryption and reads the startup message or cancel request.
func (f *Front) greet(ctx context.Context, nc net.Conn) (*opening, error) {
	o := &opening{conn: nc}
	var encrypted, asked, askedGSS bool
	for {
		var head [8]byte
		if _, err := io.ReadFull(o.conn, head[:1]); err != nil {
			return nil, err
		}
		if head[0] == tlsHandshakeRecord && !encrypted && !asked && !askedGSS {
			if f.tls == nil {
				return nil, errors.New("direct TLS, which is not configured")
			}
			t, err := f.encrypt(ctx, &prefixed{Conn: nc, prefix: []byte{head[0]}}, true)
			if err != nil {
				return nil, err
			}
			o.conn, encrypted = t, true
			continue
		}
		if _, err := io.ReadFull(o.conn, head[1:]); err != nil {
			return nil, err
		}
		size, code := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
		switch {
		case code == codeSSLRequest && size == 8 && !asked && !encrypted:
			asked = true
			if f.tls == nil {
				if _, err := o.conn.Write([]byte{'N'}); err != nil {
					return nil, err
				}
				continue
			}
			// Exactly the request has been read, so nothing sent before encryption can pass for what came after.
			if _, err := o.conn.Write([]byte{'S'}); err != nil {
				return nil, err
			}
			t, err := f.encrypt(ctx, nc, false)
			if err != nil {
				return nil, err
			}
			o.conn, encrypted = t, true
		case code == codeGSSENCRequest && size == 8 && !askedGSS && !encrypted:
			askedGSS = true
			if _, err := o.conn.Write([]byte{'N'}); err != nil {
				return nil, err
			}
		case code == codeCancelRequest && size == 16:
			var key [8]byte
			if _, err := io.ReadFull(o.conn, key[:]); err != nil {
				return nil, err
			}
			o.cancel = &cancelKey{pid: binary.BigEndian.Uint32(key[:]), secret: [4]byte(key[4:])}
			return o, nil
		case code>>16 == protocolMajor:
			if !encrypted && !(loopback(nc.LocalAddr()) && loopback(nc.RemoteAddr())) {
				return nil, startupError(codeBadAuth, "this connection is not encrypted", "Connect with sslmode=verify-full.")
			}
			if size < 8 || size > maxStartup {
				return nil, errMalformed
			}
			body := make([]byte, size-8)
			if _, err := io.ReadFull(o.conn, body); err != nil {
				return nil, err
			}
			o.minor = uint16(code)
			return o, o.decode(body)
		default:
			return nil, errMalformed
		}
	}
}

func (f *Front) encrypt(ctx context.Context, nc net.Conn, direct bool) (net.Conn, error) {
	t := tls.Server(nc, f.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	if direct && t.ConnectionState().NegotiatedProtocol != alpn {
		return nil, errors.New("direct TLS without ALPN postgresql")
	}
	return t, nil
}

// prefixed gives back what was read to look at it.
type prefixed struct {
	net.Conn
	prefix []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.prefix) > 0 {
		n := copy(b, p.prefix)
		p.prefix = p.prefix[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// settable are the settings that a client may start with: those that change how values are written and
// how long the server waits, never what a statement means or may do. The value is the server's spelling.
var settable = map[string]string{
	"application_name":                    "application_name",
	"client_encoding":                     "client_encoding",
	"datestyle":                           "DateStyle",
	"intervalstyle":                       "IntervalStyle",
	"timezone":                            "TimeZone",
	"extra_float_digits":                  "extra_float_digits",
	"bytea_output":                        "bytea_output",
	"client_min_messages":                 "client_min_messages",
	"lc_messages":                         "lc_messages",
	"statement_timeout":                   "statement_timeout",
	"lock_timeout":                        "lock_timeout",
	"idle_in_transaction_session_timeout": "idle_in_transaction_session_timeout",
	"idle_session_timeout":                "idle_session_timeout",
	"default_transaction_isolation":       "default_transaction_isolation",
	"default_transaction_read_only":       "default_transaction_read_only",
	"default_transaction_deferrable":      "default_transaction_deferrable",
	"tcp_keepalives_idle":                 "tcp_keepalives_idle",
	"tcp_keepalives_interval":             "tcp_keepalives_interval",
	"tcp_keepalives_count":                "tcp_keepalives_count",
	"geqo":                                "geqo",
	"jit":                                 "jit",
}

// The settings of our own.
const (
	ownHold   = "countersign.hold"
	ownReason = "countersign.reason"
	ownTicket = "countersign.ticket"
	ownRun    = "countersign.run"
)

// ownLimits are the settings of our own, and the most bytes that one may have.
var ownLimits = map[string]int{ownHold: 32, ownReason: 2000, ownTicket: 256, ownRun: 256}

func (o *opening) decode(body []byte) error {
	p := &o.params
	p.settings, p.own = map[string]string{}, map[string]string{}
	f := fields{b: body}
	seen := map[string]bool{}
	for {
		key := strings.ToLower(string(f.text()))
		if f.bad {
			return errMalformed
		}
		if key == "" {
			if err := f.end(); err != nil {
				return err
			}
			break
		}
		value := string(f.text())
		if f.bad || len(seen) >= maxStartupKeys {
			return errMalformed
		}
		if strings.HasPrefix(key, "_pq_.") {
			o.extra = append(o.extra, key)
			continue
		}
		if seen[key] {
			return startupError(codeBadParameter, "a startup parameter is given twice", "Give each parameter once.")
		}
		seen[key] = true
		if err := p.set(key, value); err != nil {
			return err
		}
	}
	if p.user == "" {
		return startupError(codeBadAuth, "no user name is given", "Give any user name; the password is a Countersign token.")
	}
	if p.database == "" {
		p.database = p.user
	}
	return nil
}

func (p *startupParams) set(key, value string) error {
	switch key {
	case "user":
		p.user = value
		return nil
	case "database":
		p.database = value
		return nil
	case "options":
		return p.options(value)
	case "replication":
		switch strings.ToLower(value) {
		case "false", "off", "no", "0":
			return nil
		}
		return startupError(codeUnsupported, "replication connections do not pass this gateway",
			"Connect without replication.")
	default:
		return p.setting(key, value)
	}
}

func (p *startupParams) setting(key, value string) error {
	key = strings.ToLower(key)
	if limit, ours := ownLimits[key]; ours && len(value) > limit {
		return startupError(codeBadParameter, fmt.Sprintf("%s has more than %d bytes", sanitize.Name(key), limit), "Give a shorter one.")
	}
	switch key {
	case ownHold:
		if _, err := parseHold(value); err != nil {
			return startupError(codeBadParameter, "countersign.hold is not a duration", "Give it as 0, 90s or 10min.")
		}
		fallthrough
	case ownReason, ownTicket, ownRun:
		p.own[key] = value
		return nil
	}
	name, ok := settable[key]
	if !ok {
		return startupError(codeBadParameter,
			fmt.Sprintf("the startup parameter %s is not allowed here", sanitize.Name(key)),
			"Leave it out, and use SET after connecting, where policy decides.")
	}
	p.settings[name] = value
	return nil
}

// options decodes the command line that libpq's options carry: -c name=value, -cname=value and
// --name=value, with spaces and backslashes escaped by a backslash.
func (p *startupParams) options(line string) error {
	words := splitOptions(line)
	bad := startupError(codeBadParameter, "options hold something other than -c name=value", "Use options='-c name=value'.")
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "-c":
			i++
			if i == len(words) {
				return bad
			}
			w = words[i]
		case strings.HasPrefix(w, "-c"):
			w = w[2:]
		case strings.HasPrefix(w, "--"):
			w = w[2:]
		default:
			return bad
		}
		name, value, ok := strings.Cut(w, "=")
		if !ok {
			return bad
		}
		if err := p.setting(strings.ReplaceAll(name, "-", "_"), value); err != nil {
			return err
		}
	}
	return nil
}

func splitOptions(line string) []string {
	var words []string
	var b strings.Builder
	in := false
	for i := 0; i < len(line); i++ {
		ch := line[i]
		switch {
		case ch == '\\' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
			in = true
		case strings.IndexByte(" \t\n\r\v\f", ch) >= 0:
			if in {
				words = append(words, b.String())
				b.Reset()
				in = false
			}
		default:
			b.WriteByte(ch)
			in = true
		}
	}
	if in {
		words = append(words, b.String())
	}
	return words
}

// parseHold reads a duration as a client writes it: Go's form, PostgreSQL's min, or plain seconds.
func parseHold(text string) (time.Duration, error) {
	text = strings.ReplaceAll(strings.TrimSpace(text), " ", "")
	if n := len(text); n > 0 && text[n-1] >= '0' && text[n-1] <= '9' {
		text += "s"
	}
	if v, ok := strings.CutSuffix(text, "min"); ok {
		text = v + "m"
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = errors.New("a negative duration")
	}
	return d, err
}

func appendNegotiate(dst []byte, extra []string) []byte {
	dst, at := begin(dst, msgNegotiate)
	dst = binary.BigEndian.AppendUint32(dst, protocolMajor<<16) // the newest that this front speaks: 3.0
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(extra)))
	for _, e := range extra {
		dst = append(append(dst, e...), 0)
	}
	return finish(dst, at)
}
