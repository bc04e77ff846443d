package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

const (
	dialTimeout   = 15 * time.Second
	cancelTimeout = 10 * time.Second
)

// upstream is a connection to the protected server, logged in as a role.
type upstream struct {
	conn   net.Conn
	pid    uint32
	key    []byte
	params map[string]string // as the server reported them
	config *pgconn.Config    // to log in again, beside this connection
	role   string
}

// target is what a resource's upstream says: "host:port/database?sslmode=…&sslrootcert=FILE".
type target struct {
	host     string
	port     uint16
	database string
	tls      *tls.Config // nil: plaintext
}

// parseTarget reads an upstream. Without sslmode a loopback address is reached in plaintext, and any other
// with verify-full.
func parseTarget(text string) (target, error) {
	u, err := url.Parse("postgres://" + text)
	if err != nil || u.User != nil || u.Fragment != "" || u.Hostname() == "" {
		return target{}, errors.New(`an upstream is "host:port/database", with ?sslmode= and &sslrootcert= where needed`)
	}
	t := target{host: u.Hostname(), port: 5432}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return target{}, fmt.Errorf("an upstream's port is a number up to 65535")
		}
		t.port = uint16(n)
	}
	if len(u.Path) > 1 {
		t.database = u.Path[1:]
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return target{}, fmt.Errorf("an upstream's parameters do not parse")
	}
	for key := range q {
		if key != "sslmode" && key != "sslrootcert" {
			return target{}, fmt.Errorf("an upstream has no parameter %q; it has sslmode and sslrootcert", key)
		}
	}
	mode := q.Get("sslmode")
	if mode == "" {
		mode = "verify-full"
		if addr, err := netip.ParseAddr(t.host); t.host == "localhost" || err == nil && addr.IsLoopback() {
			mode = "disable"
		}
	}
	t.tls, err = tlsFor(mode, t.host, q.Get("sslrootcert"))
	return t, err
}

func tlsFor(mode, host, rootFile string) (*tls.Config, error) {
	cfg := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	switch mode {
	case "disable":
		return nil, nil
	case "require":
		cfg.InsecureSkipVerify = true // sslmode=require encrypts and does not ask who answers, as in libpq
		return cfg, nil
	case "verify-full":
	default:
		return nil, fmt.Errorf("sslmode %q; an upstream has disable, require or verify-full", mode)
	}
	if rootFile != "" {
		pem, err := os.ReadFile(rootFile)
		if err != nil {
			return nil, fmt.Errorf("sslrootcert: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("sslrootcert %s holds no certificate", rootFile)
		}
	}
	return cfg, nil
}

// CheckUpstream reports what is wrong with a resource's upstream, for whoever reads the configuration.
func CheckUpstream(text string) error {
	_, err := parseTarget(text)
	return err
}

// login makes the configuration for pgconn. Nothing of the gateway's environment or home directory
// enters it.
func login(t target, role, secret, database string, settings map[string]string) (*pgconn.Config, error) {
	// The connection string overrides every variable and file that could name something else.
	cfg, err := pgconn.ParseConfig("host=127.0.0.1 port=1 user=x dbname=x password=x sslmode=disable " +
		"target_session_attrs=any passfile='' connect_timeout=0 require_auth='' channel_binding=prefer " +
		"sslcert='' sslkey='' sslrootcert='' options='' application_name='' min_protocol_version=3.0 max_protocol_version=3.0")
	if err != nil {
		return nil, err
	}
	if database == "" {
		database = t.database
	}
	cfg.Host, cfg.Port, cfg.Database = t.host, t.port, database
	cfg.User, cfg.Password = role, secret
	cfg.TLSConfig, cfg.Fallbacks = t.tls, nil
	cfg.ConnectTimeout = dialTimeout
	cfg.ValidateConnect, cfg.AfterConnect = nil, nil
	cfg.RequireAuth = "scram-sha-256,md5,password,none"
	addr, err := netip.ParseAddr(t.host)
	if local := t.host == "localhost" || err == nil && addr.IsLoopback(); t.tls == nil && !local {
		cfg.RequireAuth = "scram-sha-256,md5" // no password in the clear on a network
	}
	cfg.RuntimeParams = map[string]string{}
	for k, v := range settings {
		cfg.RuntimeParams[k] = v
	}
	return cfg, nil
}

// dial logs in upstream as role.
func (f *Front) dial(ctx context.Context, res countersign.Resource, role, database string, settings map[string]string) (*upstream, error) {
	unreachable := func(err error) error {
		f.log.Error("upstream", "resource", sanitize.Name(string(res.Name)), "cause", f.sanitizer.Text(err.Error()))
		return startupError(codeNotNow, "the resource cannot be reached", "Ask whoever runs the gateway; its log has the details.")
	}
	t, err := parseTarget(res.Upstream)
	if err != nil {
		return nil, unreachable(err)
	}
	secret := ""
	if ref := res.Roles[role].Credential; ref != "" {
		if secret, err = f.secret(ctx, ref); err != nil {
			return nil, unreachable(err)
		}
	}
	cfg, err := login(t, role, secret, database, settings)
	if err != nil {
		return nil, unreachable(err)
	}
	ctx, stop := context.WithTimeout(ctx, dialTimeout)
	defer stop()
	pc, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		var pe *pgconn.PgError
		if errors.As(err, &pe) && pe.Code[:2] != "28" {
			// The server's own words, such as an unknown database or a setting's bad value; what concerns
			// the role's credential stays in the log.
			f.log.Warn("upstream refused", "resource", sanitize.Name(string(res.Name)), "code", sanitize.Name(pe.Code))
			return nil, &refuseStartup{report{severity: "FATAL", code: pe.Code, message: pe.Message, detail: pe.Detail, hint: pe.Hint}}
		}
		return nil, unreachable(err)
	}
	if err := pc.SyncConn(ctx); err != nil {
		return nil, unreachable(err)
	}
	h, err := pc.Hijack()
	if err != nil {
		return nil, unreachable(err)
	}
	if h.Frontend.ReadBufferLen() != 0 {
		h.Conn.Close()
		return nil, unreachable(errors.New("the server spoke out of turn"))
	}
	return &upstream{conn: h.Conn, pid: h.PID, key: h.SecretKey, params: h.ParameterStatuses, config: cfg, role: role}, nil
}

// cancel asks the server to cancel what this connection runs. When it returns nil the server has sent
// its signal, so that what is forwarded afterwards is not hit.
func (u *upstream) cancel(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, cancelTimeout)
	defer stop()
	addr := u.conn.RemoteAddr()
	var d net.Dialer
	nc, err := d.DialContext(ctx, addr.Network(), addr.String())
	if err != nil {
		return err
	}
	defer nc.Close()
	deadline, _ := ctx.Deadline()
	if err := nc.SetDeadline(deadline); err != nil {
		return err
	}
	if u.config.TLSConfig != nil {
		if nc, err = requestTLS(ctx, nc, u.config.TLSConfig); err != nil {
			return err
		}
	}
	m := binary.BigEndian.AppendUint32(nil, uint32(12+len(u.key)))
	m = binary.BigEndian.AppendUint32(m, codeCancelRequest)
	m = binary.BigEndian.AppendUint32(m, u.pid)
	if _, err := nc.Write(append(m, u.key...)); err != nil {
		return err
	}
	// The server closes the connection after it has sent the signal.
	if _, err := nc.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
		var reset *net.OpError
		if !errors.As(err, &reset) || reset.Timeout() {
			return err
		}
	}
	return nil
}

func requestTLS(ctx context.Context, nc net.Conn, cfg *tls.Config) (net.Conn, error) {
	m := binary.BigEndian.AppendUint32(nil, 8)
	m = binary.BigEndian.AppendUint32(m, codeSSLRequest)
	if _, err := nc.Write(m); err != nil {
		return nil, err
	}
	var answer [1]byte
	if _, err := io.ReadFull(nc, answer[:]); err != nil {
		return nil, err
	}
	if answer[0] != 'S' {
		return nil, errors.New("the server does not offer TLS")
	}
	t := tls.Client(nc, cfg)
	return t, t.HandshakeContext(ctx)
}
