package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/countersign-dev/countersign/api"
	"github.com/countersign-dev/countersign/identity/token"
	"github.com/countersign-dev/countersign/policy"
)

var ctx = context.Background()

// rig is a gateway in a folder of its own.
type rig struct {
	t      *testing.T
	dir    string
	tokens map[string]string // "reviewer-1", "deploy-bot"
	log    *lockedBuffer
	*Server
}

const rigPolicy = `version: 1
rules:
  - name: readers
    match: {principal: {anyone: true}, resource: {env: prod}, effects: [read, session]}
    then: {allow: true}
`

func newFolder(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), tokens: map[string]string{}, log: &lockedBuffer{}}
	text := strings.NewReplacer("web: 127.0.0.1:8443", "web: 127.0.0.1:0", "postgres: 127.0.0.1:15432", "postgres: 127.0.0.1:0",
		"public_url: http://localhost:8443\n", "").Replace(good)
	for name, hash := range map[string]string{"reviewer-1": hashA, "deploy-bot": hashB} {
		tok, h := token.New()
		r.tokens[name] = tok
		text = strings.ReplaceAll(text, hash, h.String())
	}
	r.write("countersign.yaml", text)
	r.write("policy.d/rules.yaml", rigPolicy)
	return r
}

func (r *rig) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// change replaces a part of a file.
func (r *rig) change(name, old, with string) {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil || !strings.Contains(string(data), old) {
		r.t.Fatalf("%s does not hold %q (%v)", name, old, err)
	}
	r.write(name, strings.Replace(string(data), old, with, 1))
}

func (r *rig) start() error {
	r.t.Helper()
	c, err := LoadConfig(filepath.Join(r.dir, "countersign.yaml"))
	if err != nil {
		return err
	}
	if r.Server, err = Start(ctx, c, Options{Log: r.log}); err != nil {
		r.Server = nil
		return err
	}
	r.t.Cleanup(r.stop)
	return nil
}

func (r *rig) stop() {
	if r.Server == nil {
		return
	}
	limit, end := context.WithTimeout(ctx, 10*time.Second)
	defer end()
	if err := r.Close(limit); err != nil {
		r.t.Errorf("closing: %v", err)
	}
	r.Server = nil
}

func (r *rig) mustStart() {
	r.t.Helper()
	if err := r.start(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) as(name string) *api.Client {
	r.t.Helper()
	c, err := api.NewClient("http://"+r.Web().String(), r.tokens[name])
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// startup answers what the PostgreSQL listener says to a client with a token as password.
func (r *rig) startup(tok, database string) string {
	r.t.Helper()
	c, err := net.Dial("tcp", r.Postgres().String())
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	body := "\x00\x03\x00\x00user\x00app\x00database\x00" + database + "\x00\x00"
	fmt.Fprintf(c, "\x00\x00\x00%c%s", len(body)+4, body)
	in := bufio.NewReader(c)
	head := make([]byte, 9)
	if _, err := io.ReadFull(in, head); err != nil || head[0] != 'R' {
		r.t.Fatalf("no password request: %q, %v", head, err)
	}
	fmt.Fprintf(c, "p\x00\x00\x00%c%s\x00", len(tok)+5, tok)
	rest, _ := io.ReadAll(in) // up to the end or the deadline
	return string(rest)
}

func TestServesBothAndStops(t *testing.T) {
	r := newFolder(t)
	r.mustStart()
	h, err := r.as("reviewer-1").Health(ctx)
	if err != nil || h.Status != api.OK || h.Detail.Policy.String() == strings.Repeat("0", 64) || h.Detail.StoreBytes == 0 || h.Detail.Events == 0 {
		t.Fatalf("health: %+v %+v, %v", h, h.Detail, err)
	}
	if !strings.HasPrefix(r.PublicURL(), "http://localhost:") || strings.HasSuffix(r.PublicURL(), ":0") {
		t.Errorf("public URL %s", r.PublicURL())
	}
	notices := fmt.Sprint(h.Notices)
	if !strings.Contains(notices, "policy_source: unreviewed") || !strings.Contains(notices, "review_auth: token") {
		t.Errorf("notices: %s", notices)
	}
	// The same under the signature of every checkpoint, inside and outside of the store.
	signed, err := r.as("deploy-bot").Checkpoint(ctx)
	if err != nil || !strings.Contains(string(signed), "policy_source: unreviewed\nreview_auth: token\n") {
		t.Errorf("checkpoint %q, %v", signed, err)
	}
	// Each token at the door that it is for, and not at the other.
	if got := r.startup(r.tokens["reviewer-1"], "shop"); !strings.Contains(got, "28P01") {
		t.Errorf("a token for reviewing connects: %q", got)
	}
	if got := r.startup("csg_wrong", "shop"); !strings.Contains(got, "28P01") {
		t.Errorf("a wrong token connects: %q", got)
	}
	if got := r.startup(r.tokens["deploy-bot"], "shop"); !strings.Contains(got, "57P03") {
		t.Errorf("with a right token the absent credential is the next thing missing: %q", got)
	}
	r.stop()
	kept, err := os.ReadFile(filepath.Join(r.dir, "checkpoints", "checkpoint"))
	if err != nil || !strings.Contains(string(kept), "review_auth: token") {
		t.Errorf("kept outside: %q, %v", kept, err)
	}
	if log := r.log.String(); !strings.Contains(log, "msg=ready") || !strings.Contains(log, "msg=stopped") || strings.Contains(log, "csg_") {
		t.Errorf("log:\n%s", log)
	}
	r.mustStart() // again, on what it left
}

func TestNothingListensInTheClearOffLoopback(t *testing.T) {
	r := newFolder(t)
	c, err := LoadConfig(filepath.Join(r.dir, "countersign.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// Whatever the check of the file has seen, what is listened on decides.
	for _, l := range []*string{&c.Listen.Web, &c.Listen.Postgres} {
		old := *l
		*l = "0.0.0.0:0"
		s, err := Start(ctx, c, Options{})
		var ce *ConfigError
		if !errors.As(err, &ce) || !strings.Contains(err.Error(), "needs TLS") {
			t.Errorf("%v, %v", s, err)
		}
		*l = old
	}
}

func TestTakenPortNamesTheKey(t *testing.T) {
	r := newFolder(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r.change("countersign.yaml", "postgres: 127.0.0.1:0", "postgres: "+ln.Addr().String())
	err = r.start()
	var ce *ConfigError
	if !errors.As(err, &ce) || ce.Mistakes[0].Key != "listen.postgres" || ce.Mistakes[0].Line != 8 {
		t.Fatalf("%v", err)
	}
}

func TestBadPolicyAtStart(t *testing.T) {
	r := newFolder(t)
	r.write("policy.d/rules.yaml", "version: 1\nrulez: []\n")
	var pe policy.Errors
	if err := r.start(); !errors.As(err, &pe) {
		t.Fatalf("the first start with a bad policy: %v", err)
	}
	r.write("policy.d/rules.yaml", rigPolicy)
	r.mustStart()
	r.stop()
	r.write("policy.d/rules.yaml", "version: 1\nrulez: []\n")
	r.mustStart() // the version that was active stays
	h, err := r.as("reviewer-1").Health(ctx)
	if err != nil || h.Status != api.Degraded || len(h.Detail.Problems) != 1 {
		t.Fatalf("health %+v, %v", h, err)
	}
}

func TestReloadTakesUpPartsWholeOrNotAtAll(t *testing.T) {
	r := newFolder(t)
	r.mustStart()
	before := r.health(ctx).Detail.Policy

	// A bad policy stays out, and people come in all the same.
	r.write("policy.d/rules.yaml", "version: 1\nrules: nothing\n")
	r.change("countersign.yaml", "    groups: [dba]\n", "    groups: [dba]\n    inactive: true\n")
	if err := r.Reload(ctx); err == nil {
		t.Error("a bad policy is no error")
	}
	if h := r.health(ctx); h.Status != api.Degraded || h.Detail.Policy != before || !strings.Contains(h.Detail.Problems[0].What.String(), "rules.yaml:2") {
		t.Errorf("health: %+v %+v", h, h.Detail)
	}
	if _, err := r.as("reviewer-1").Health(ctx); err == nil {
		t.Error("an inactive person's token is still let in")
	}
	if _, err := r.as("deploy-bot").Health(ctx); err != nil {
		t.Errorf("the agent: %v", err)
	}

	// A bad configuration changes nobody, and the policy comes in all the same.
	r.write("policy.d/rules.yaml", rigPolicy+"  - {name: more, match: {any_effect: [destroy]}, then: {deny: true}}\n")
	r.change("countersign.yaml", "    inactive: true\n", "    inactiv: true\n")
	if err := r.Reload(ctx); err == nil {
		t.Error("a bad configuration is no error")
	}
	if h := r.health(ctx); h.Status != api.Degraded || h.Detail.Policy == before || len(h.Detail.Problems) != 1 {
		t.Errorf("health: %+v %+v", h, h.Detail)
	}
	if _, err := r.as("reviewer-1").Health(ctx); err == nil {
		t.Error("a bad configuration lets somebody in")
	}

	// All well again. A key that needs a restart is told, and not taken up.
	r.change("countersign.yaml", "    inactiv: true\n", "")
	r.change("countersign.yaml", "review_auth: token\n", "")
	if err := r.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	h, err := r.as("reviewer-1").Health(ctx)
	if err != nil || h.Status != api.OK || h.Detail.ReviewAuth != "token" {
		t.Errorf("health %+v, %v", h, err)
	}
	if !strings.Contains(r.log.String(), "these keys need a restart") || !strings.Contains(r.log.String(), "keys=review_auth") {
		t.Errorf("log:\n%s", r.log)
	}
}

func TestTLS(t *testing.T) {
	r := newFolder(t)
	roots := r.certificate()
	r.change("countersign.yaml", "  web: 127.0.0.1:0", "  tls: {cert: cert.pem, key: key.pem}\n  web: 127.0.0.1:0")
	r.mustStart()
	get := func(roots *x509.CertPool) error {
		c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}, DisableKeepAlives: true}}
		resp, err := c.Get("https://" + r.Web().String() + "/healthz")
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	if err := get(roots); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.Get("http://" + r.Web().String() + "/healthz"); err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("it serves in the clear too")
		}
	}
	renewed := r.certificate()
	if err := get(renewed); err == nil {
		t.Error("the new certificate is served before a reload")
	}
	if err := r.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	if err := get(renewed); err != nil {
		t.Errorf("after a reload: %v", err)
	}
	r.write("key.pem", "nothing")
	if err := r.Reload(ctx); err == nil || get(renewed) != nil {
		t.Error("a broken key is taken up")
	}
}

// certificate writes a new certificate for localhost and returns who trusts it.
func (r *rig) certificate() *x509.CertPool {
	r.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		r.t.Fatal(err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		r.t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	r.write("cert.pem", string(cert))
	r.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return pool
}

func TestListenersSurviveBadInput(t *testing.T) {
	r := newFolder(t)
	r.mustStart()
	for _, addr := range []string{r.Web().String(), r.Postgres().String()} {
		var all sync.WaitGroup
		for _, input := range []string{
			"", "\x00", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", strings.Repeat("\xff", 100_000), "GET / HTTP/9.9\r\n\r\n",
			"GET /" + strings.Repeat("a", 100_000) + " HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("b", 100_000),
			"POST /api/v1/requests/req_x/approve HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n", "\x00\x00\x00\x08\x04\xd2\x16\x2f",
			"POST /api/v1/requests/req_x/approve HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
		} {
			for range 5 {
				all.Go(func() {
					c, err := net.Dial("tcp", addr)
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					c.SetDeadline(time.Now().Add(2 * time.Second))
					io.WriteString(c, input)
					io.Copy(io.Discard, io.LimitReader(c, 1<<20))
				})
			}
		}
		all.Wait()
	}
	if _, err := r.as("deploy-bot").Health(ctx); err != nil {
		t.Fatalf("afterwards: %v", err)
	}
}

func TestWebConnectionsAreBounded(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &boundedListener{Listener: ln, places: make(chan struct{}, 2)}
	accepted := make(chan net.Conn, 8)
	go func() {
		for {
			c, err := b.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	defer ln.Close()
	for range 3 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first := <-accepted
	<-accepted
	select {
	case <-accepted:
		t.Fatal("a third is accepted")
	case <-time.After(100 * time.Millisecond):
	}
	first.Close()
	first.Close() // twice is once
	select {
	case <-accepted:
	case <-time.After(5 * time.Second):
		t.Fatal("a place that was left is not taken")
	}
}

func TestLogIsSanitized(t *testing.T) {
	r := newFolder(t)
	r.mustStart()
	r.log.Reset()
	r.Server.log.Error("bad", "error", fmt.Errorf("wrapped: %w", errors.New("mail to bob@example.com failed")), "text", "password=hunter2hunter2", "n", 3)
	if got := r.log.String(); strings.Contains(got, "bob@example.com") || strings.Contains(got, "hunter2hunter2") || !strings.Contains(got, "n=3") {
		t.Errorf("log: %s", got)
	}
}

// lockedBuffer is a log that is written and read at once.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}
