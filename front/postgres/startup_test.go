package postgres

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign-dev/countersign/localpg"
	"github.com/countersign-dev/countersign/localpg/pgtest"
)

// startup is a startup message.
func startup(keys ...string) []byte {
	b := []byte{0, 0, 0, 0, 0, 3, 0, 0}
	for _, k := range keys {
		b = append(append(b, k...), 0)
	}
	b = append(b, 0)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

func TestStartupKeysAreAClosedList(t *testing.T) {
	r := newRig(t, rigOptions{})
	for extra, want := range map[string]string{
		"":                     "",
		"&application_name=x":  "",
		"&timezone=Asia/Tokyo": "",
		"&options=-c%20DateStyle%3DGerman%20--extra-float-digits%3D2":           "",
		"&options=-c%20countersign.reason%3Dbecause%20-c%20countersign.run%3D7": "",
		"&replication=database":                            codeUnsupported,
		"&replication=true":                                codeUnsupported,
		"&session_replication_role=replica":                codeBadParameter,
		"&options=-c%20session_replication_role%3Dreplica": codeBadParameter,
		"&search_path=evil":                                codeBadParameter,
		"&options=-c%20search_path%3Devil":                 codeBadParameter,
		"&role=postgres":                                   codeBadParameter,
		"&standard_conforming_strings=off":                 codeBadParameter,
		"&options=-f":                                      codeBadParameter,
		"&options=-c":                                      codeBadParameter,
		"&options=-c%20countersign.hold%3Dsoon":            codeBadParameter,
		"&datestyle=nonsense":                              "22023", // the server's own words
	} {
		c, err := pgx.Connect(context.Background(), r.url(extra))
		if sqlState(err) != want || want == "" && err != nil {
			t.Errorf("%s: %v, want %q", extra, err, want)
		}
		if err == nil {
			c.Close(context.Background())
		}
	}
	c := r.connect("&timezone=Asia/Tokyo&options=-c%20intervalstyle%3Diso_8601")
	var zone, style string
	if err := c.QueryRow(context.Background(), "SELECT current_setting('TimeZone'), current_setting('IntervalStyle')").Scan(&zone, &style); err != nil || zone != "Asia/Tokyo" || style != "iso_8601" {
		t.Errorf("%s %s %v", zone, style, err)
	}
}

func TestAuthenticationFailsInOneWay(t *testing.T) {
	r := newRig(t, rigOptions{})
	say := func(user, password, database string) string {
		cfg, err := pgconn.ParseConfig("sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		host, port, _ := strings.Cut(r.addr, ":")
		cfg.Host, cfg.User, cfg.Password, cfg.Database = host, user, password, database
		p, _ := net.LookupPort("tcp", port)
		cfg.Port, cfg.Fallbacks = uint16(p), nil
		c, err := pgconn.ConnectConfig(context.Background(), cfg)
		if err == nil {
			c.Close(context.Background())
			return "let in"
		}
		var pe *pgconn.PgError
		if !errors.As(err, &pe) {
			return err.Error()
		}
		return pe.Severity + pe.Code + pe.Message + pe.Detail + pe.Hint
	}
	want := say("someone", "wrong", "shop")
	if !strings.HasPrefix(want, "FATAL"+codeBadPassword) || strings.Contains(want, "wrong") {
		t.Fatal(want)
	}
	for _, try := range [][3]string{
		{"someone", "wrong", "nowhere"},
		{"someone", agentToken, "nowhere"},
		{"someone", "", "shop"},
		{r.role, rolePassword, "shop"},
		{"postgres", "postgres", "postgres"},
	} {
		if got := say(try[0], try[1], try[2]); got != want {
			t.Errorf("%v: %s", try, got)
		}
	}
	if got := say("anyone at all", agentToken, "shop"); got != "let in" {
		t.Error(got)
	}
	if got := say("anyone at all", agentToken, "shop/"+r.database); got != "let in" {
		t.Error(got)
	}
	if got := say(r.role, agentToken, "shop/nosuchdatabase"); !strings.Contains(got, "FATAL"+codeBadAuth) {
		t.Error(got)
	}
}

func TestWrongTokensAreLimitedByAddress(t *testing.T) {
	r := newRig(t, rigOptions{limits: Limits{FailedHandshakes: 3}})
	var states []string
	for range 6 {
		_, err := pgconn.Connect(context.Background(), strings.Replace(r.url(""), agentToken, "wrong", 1))
		states = append(states, sqlState(err))
	}
	if states[0] != codeBadPassword || states[5] != "" {
		t.Errorf("%q", states)
	}
	if _, err := pgconn.Connect(context.Background(), r.url("")); err == nil {
		t.Error("a right token was let in from an address that guesses")
	}
}

func TestTooManyClients(t *testing.T) {
	r := newRig(t, rigOptions{limits: Limits{Connections: 2}})
	r.connect("")
	r.connect("")
	if _, err := pgx.Connect(context.Background(), r.url("")); sqlState(err) != codeTooMany {
		t.Errorf("the third: %v", err)
	}
}

// Whatever comes, the listener lives, memory is given back, and clients that behave are served.
func TestListenerSurvives(t *testing.T) {
	r := newRig(t, rigOptions{limits: Limits{Handshake: 300 * time.Millisecond, FailedHandshakes: 10_000, Connections: 500}})
	random := mrand.New(mrand.NewPCG(1, 2))
	junk := make([]byte, 4096)
	for i := range junk {
		junk[i] = byte(random.Uint32())
	}
	good := startup("user", "u", "database", "shop")
	starts := map[string][]byte{
		"random":             junk,
		"zero":               make([]byte, 100),
		"huge length":        {0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0},
		"tiny length":        {0, 0, 0, 1, 0, 3, 0, 0},
		"old protocol":       {0, 0, 0, 9, 0, 2, 0, 0, 0},
		"SSL twice":          {0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f, 0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f},
		"cancel, wrong":      {0, 0, 0, 16, 4, 0xd2, 0x16, 0x2e, 1, 2, 3, 4, 5, 6, 7, 8},
		"half":               good[:10],
		"nothing":            {},
		"no terminator":      startup("user")[:12],
		"password too long":  append(append([]byte{}, good...), 'p', 0x7f, 0xff, 0xff, 0xff),
		"not a password":     append(append([]byte{}, good...), 'Q', 0, 0, 0, 5, 0),
		"direct TLS, not on": {0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0},
		"http":               []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
	}
	for name, b := range starts {
		nc, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = nc.Write(b)
		_ = nc.SetReadDeadline(time.Now().Add(3 * time.Second))
		if _, err := io.Copy(io.Discard, nc); err != nil && os.IsTimeout(err) {
			t.Errorf("%s: the connection stays open", name)
		}
		nc.Close()
	}
	for i := range 200 { // after the handshake
		c := dialRaw(t, r.url(""))
		n := 1 + random.IntN(200)
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		if i%2 == 0 { // frames of the right form
			types := "QPBDESCHFdcfpX"
			b = appendFrame(nil, types[random.IntN(len(types))], b...)
		}
		_, _ = c.conn.Write(b)
		if i%3 == 0 {
			c.conn.Close()
		} else if tcp, ok := c.conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
	}
	if out := r.mustPsql("SELECT 'alive';\n", "-At"); !strings.Contains(out, "alive") {
		t.Error(out)
	}
	eventually(t, "all are gone", func() bool { r.front.mu.Lock(); defer r.front.mu.Unlock(); return len(r.front.clients) == 0 })
	if used := r.front.memory.used.Load(); used != 0 {
		t.Errorf("%d bytes are still taken", used)
	}
	r.front.cancels.mu.Lock()
	defer r.front.cancels.mu.Unlock()
	if len(r.front.cancels.byPID) != 0 {
		t.Error("cancel keys remain")
	}
}

func TestSlowClientIsServed(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url(""))
	for _, b := range encodeStep(t, "Q|SELECT 'slow'") {
		c.send([]byte{b})
		time.Sleep(3 * time.Millisecond)
	}
	if said := transcript(c.until(msgReady)); !strings.Contains(said, "slow") {
		t.Error(said)
	}
	// One that does not read holds nothing up but itself.
	c.send(encodeStep(t, "Q|SELECT repeat('x', 1000) FROM generate_series(1, 20000)"))
	time.Sleep(100 * time.Millisecond)
	if out := r.mustPsql("SELECT 'others';\n", "-At"); !strings.Contains(out, "others") {
		t.Error(out)
	}
	c.conn.Close()
}

// certificate makes a certificate for 127.0.0.1 that signs itself, and its files.
func certificate(t testing.TB) (tls.Certificate, string, []byte, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, _ := x509.MarshalECPrivateKey(key)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "root.crt")
	if err := os.WriteFile(file, certPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	return pair, file, certPEM, keyPEM
}

func TestClientsByTLS(t *testing.T) {
	pair, root, _, _ := certificate(t)
	r := newRig(t, rigOptions{tls: &tls.Config{Certificates: []tls.Certificate{pair}}})
	for _, negotiation := range []string{"postgres", "direct"} {
		c, err := pgx.Connect(context.Background(), strings.Replace(r.url(""), "sslmode=disable",
			"sslmode=verify-full&sslrootcert="+root+"&sslnegotiation="+negotiation, 1))
		if err != nil {
			t.Fatalf("%s: %v", negotiation, err)
		}
		var n int
		if err := c.QueryRow(context.Background(), "SELECT count(*) FROM items").Scan(&n); err != nil || n != 1000 {
			t.Errorf("%s: %d %v", negotiation, n, err)
		}
		ctx, stop := context.WithTimeout(context.Background(), 100*time.Millisecond)
		if _, err := c.Exec(ctx, "SELECT pg_sleep(5)"); err == nil {
			t.Error("not cancelled")
		}
		stop()
		c.Close(context.Background())
	}
	// Direct TLS without ALPN is not PostgreSQL's.
	nc, err := tls.Dial("tcp", r.addr, &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		_ = nc.SetReadDeadline(time.Now().Add(2 * time.Second))
		if _, err := nc.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("direct TLS without ALPN: %v", err)
		}
		nc.Close()
	}
	// What was sent in plaintext after SSLRequest is not taken for what comes encrypted.
	pc, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_, _ = pc.Write(append([]byte{0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f}, startup("user", "u", "database", "shop")...))
	_ = pc.SetReadDeadline(time.Now().Add(2 * time.Second))
	said, _ := io.ReadAll(pc)
	if len(said) == 0 || said[0] != 'S' || strings.Contains(string(said), "R\x00\x00\x00\x08") {
		t.Errorf("injected plaintext was answered: %q", said)
	}
}

func TestUpstreamByTLSAndSCRAM(t *testing.T) {
	_, root, certPEM, keyPEM := certificate(t)
	server := pgtest.Own(t, localpg.Options{
		Settings: map[string]string{"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key"},
		Files: map[string][]byte{
			"server.crt": certPEM, "server.key": keyPEM,
			"pg_hba.conf": []byte("host all all 127.0.0.1/32 md5\n"),
		},
	})
	for method, encryption := range map[string]string{"SCRAM": "scram-sha-256", "md5": "md5"} {
		role := "by_" + encryption[:3]
		pgtest.Exec(t, server.URL("postgres"), "SET password_encryption = '"+encryption+"'", "CREATE ROLE "+role+" LOGIN PASSWORD 'p'")
		for mode, works := range map[string]bool{"disable": true, "require": true, "verify-full&sslrootcert=" + root: true, "verify-full": false} {
			tgt, err := parseTarget(server.Addr + "/postgres?sslmode=" + mode)
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := login(tgt, role, "p", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			c, err := pgconn.ConnectConfig(t.Context(), cfg)
			if (err == nil) != works {
				t.Errorf("%s, %s: %v", method, mode, err)
			}
			if err != nil {
				continue
			}
			res := c.ExecParams(t.Context(), "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", nil, nil, nil, nil).Read()
			if encrypted := string(res.Rows[0][0]) == "t"; encrypted != (mode != "disable") {
				t.Errorf("%s, %s: encrypted is %t", method, mode, encrypted)
			}
			c.Close(t.Context())
		}
	}
}

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:5432/shop":                      "plain",
		"[::1]:5432/shop":                          "plain",
		"localhost/shop":                           "plain",
		"db.example.org:5432/shop":                 "verified",
		"db.example.org/shop?sslmode=disable":      "plain",
		"db.example.org/shop?sslmode=require":      "unverified",
		"127.0.0.1/shop?sslmode=verify-full":       "verified",
		"db.example.org/shop?sslmode=prefer":       "error",
		"db.example.org/shop?sslrootcert=/nowhere": "error",
		"db.example.org/shop?password=x":           "error",
		"user:pw@db.example.org/shop":              "error",
		"/shop":                                    "error",
		"db.example.org:0/shop":                    "error",
		"db.example.org:70000/shop":                "error",
	} {
		got := "verified"
		switch tgt, err := parseTarget(text); {
		case err != nil:
			got = "error"
		case tgt.tls == nil:
			got = "plain"
		case tgt.tls.InsecureSkipVerify:
			got = "unverified"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// The gateway's own environment must not steer where it connects and as whom.
func TestLoginIgnoresTheEnvironment(t *testing.T) {
	for k, v := range map[string]string{
		"PGHOST": "evil.example.org", "PGPORT": "1", "PGUSER": "evil", "PGPASSWORD": "evil", "PGDATABASE": "evil",
		"PGSSLMODE": "require", "PGOPTIONS": "-c session_replication_role=replica", "PGAPPNAME": "evil", "PGTARGETSESSIONATTRS": "standby",
	} {
		t.Setenv(k, v)
	}
	tgt, err := parseTarget("127.0.0.1:5432/shop")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := login(tgt, "app", "pw", "", map[string]string{"DateStyle": "ISO"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "127.0.0.1" || cfg.Port != 5432 || cfg.User != "app" || cfg.Password != "pw" || cfg.Database != "shop" ||
		cfg.TLSConfig != nil || len(cfg.RuntimeParams) != 1 || len(cfg.Fallbacks) != 0 || cfg.ValidateConnect != nil {
		t.Errorf("%+v", cfg)
	}
}
