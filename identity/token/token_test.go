package token

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
)

var (
	loopback = netip.MustParseAddr("127.0.0.1")
	agent    = countersign.Principal{Kind: countersign.KindAgent, Agent: "deploy-bot"}
	reviewer = countersign.Principal{Kind: countersign.KindPerson, Person: "reviewer-1"}
)

func authenticator(t *testing.T, now func() time.Time, entries ...Entry) *Authenticator {
	t.Helper()
	table, err := NewTable(entries)
	if err != nil {
		t.Fatal(err)
	}
	return NewAuthenticator(table, now)
}

func TestTokenForm(t *testing.T) {
	a, ha := New()
	b, hb := New()
	if a == b || ha == hb {
		t.Fatal("two tokens are the same")
	}
	secret, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(a, "csg_"))
	if err != nil || len(secret) != 32 {
		t.Fatalf("token %d bytes after csg_, %v; want 32", len(secret), err)
	}
	text, _ := ha.MarshalText()
	var back Hash
	if err := back.UnmarshalText(text); err != nil || back != ha || back != HashOf(a) {
		t.Fatalf("hash %s does not read back: %v", text, err)
	}
}

func TestHashRefusesAndNeverQuotes(t *testing.T) {
	tok, h := New()
	for _, text := range []string{tok, "", "sha256:", "sha256:zz", strings.ToUpper(h.String()), h.String() + "00", "sha256:" + strings.Repeat("x", 64), "md5:" + strings.Repeat("0", 64)} {
		var back Hash
		err := back.UnmarshalText([]byte(text))
		if err == nil {
			t.Errorf("%q is taken as a hash", text)
			continue
		}
		if len(text) > 10 && strings.Contains(err.Error(), text[len(text)-10:]) {
			t.Errorf("the error quotes its input: %v", err)
		}
	}
}

func TestEachUseIsItsOwn(t *testing.T) {
	connectTok, ch := New()
	reviewTok, rh := New()
	a := authenticator(t, time.Now,
		Entry{Hash: ch, Use: Connect, Holder: agent},
		Entry{Hash: rh, Use: Review, Holder: reviewer, Login: "reviewer-1@example.org"})
	for _, c := range []struct {
		name, tok string
		uses      []Use
		want      string
	}{
		{"connect to connect", connectTok, []Use{Connect}, "agent:deploy-bot"},
		{"connect to review", connectTok, []Use{Review}, ""},
		{"review to review", reviewTok, []Use{Review}, "person:reviewer-1"},
		{"review to connect", reviewTok, []Use{Connect}, ""},
		{"review to either", reviewTok, []Use{Connect, Review}, "person:reviewer-1"},
		{"no use at all", reviewTok, nil, ""},
		{"unknown", "csg_" + strings.Repeat("A", 43), []Use{Connect, Review}, ""},
		{"empty", "", []Use{Connect, Review}, ""},
		{"its hash", ch.String(), []Use{Connect, Review}, ""},
		{"a space after it", connectTok + " ", []Use{Connect, Review}, ""},
		{"very long", connectTok + strings.Repeat("A", 1<<20), []Use{Connect, Review}, ""},
	} {
		e, err := a.Authenticate(loopback, c.tok, c.uses...)
		if c.want == "" {
			var ce *countersign.Error
			if !errors.As(err, &ce) || ce.Kind != countersign.ErrUnauthenticated {
				t.Errorf("%s: %v, %v; want unauthenticated", c.name, e, err)
			}
			continue
		}
		if err != nil || e.Holder.ID() != c.want {
			t.Errorf("%s: %v, %v; want %s", c.name, e, err, c.want)
		}
	}
}

func TestRefusalsAreUniform(t *testing.T) {
	tok, h := New()
	a := authenticator(t, time.Now, Entry{Hash: h, Use: Connect, Holder: agent})
	var first string
	for _, wrong := range []string{"", "x", tok + "x", tok, "csg_" + strings.Repeat("A", 43)} {
		_, err := a.Authenticate(loopback, wrong, Review)
		if err == nil {
			t.Fatalf("%q lets in", wrong)
		}
		if first == "" {
			first = err.Error()
		}
		if err.Error() != first {
			t.Errorf("refusal %q differs from %q", err, first)
		}
	}
}

func TestTableRefuses(t *testing.T) {
	_, h := New()
	for name, entries := range map[string][]Entry{
		"agent that reviews": {{Hash: h, Use: Review, Holder: agent}},
		"both uses":          {{Hash: h, Use: Review, Holder: reviewer}, {Hash: h, Use: Connect, Holder: reviewer}},
		"two holders":        {{Hash: h, Use: Connect, Holder: reviewer}, {Hash: h, Use: Connect, Holder: agent}},
		"no use":             {{Hash: h, Holder: reviewer}},
		"hash of nothing":    {{Hash: HashOf(""), Use: Connect, Holder: reviewer}},
		"no hash":            {{Use: Connect, Holder: reviewer}},
	} {
		if _, err := NewTable(entries); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestReplaceTakesTokensAway(t *testing.T) {
	tok, h := New()
	a := authenticator(t, time.Now, Entry{Hash: h, Use: Connect, Holder: agent})
	empty, _ := NewTable(nil)
	a.Replace(empty)
	if _, err := a.Authenticate(loopback, tok, Connect); err == nil {
		t.Fatal("a removed token lets in")
	}
}

func TestWrongTokensAreLimitedByAddress(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	tok, h := New()
	a := authenticator(t, func() time.Time { return now }, Entry{Hash: h, Use: Connect, Holder: agent})
	kind := func(addr, text string) countersign.ErrorKind {
		_, err := a.Authenticate(netip.MustParseAddr(addr), text, Connect)
		var ce *countersign.Error
		if err == nil {
			return ""
		}
		errors.As(err, &ce)
		return ce.Kind
	}
	for range wrongBurst {
		if k := kind("192.0.2.1", "wrong"); k != countersign.ErrUnauthenticated {
			t.Fatalf("within the burst: %s", k)
		}
	}
	if k := kind("192.0.2.1", "wrong"); k != countersign.ErrLimit {
		t.Fatalf("past the burst: %q", k)
	}
	if k := kind("::ffff:192.0.2.1", "wrong"); k != countersign.ErrLimit {
		t.Fatalf("the same address in IPv6 clothes: %q", k)
	}
	if k := kind("192.0.2.1", tok); k != "" {
		t.Fatalf("a right token is locked out: %q", k)
	}
	if k := kind("192.0.2.2", "wrong"); k != countersign.ErrUnauthenticated {
		t.Fatalf("another address: %q", k)
	}
	for range wrongBurst {
		kind("2001:db8::1", "wrong")
	}
	if k := kind("2001:db8::2", "wrong"); k != countersign.ErrLimit {
		t.Fatalf("another address of the same /64: %q", k)
	}
	now = now.Add(wrongEvery)
	if k := kind("192.0.2.1", "wrong"); k != countersign.ErrUnauthenticated {
		t.Fatalf("after a pause: %q", k)
	}
}

func TestLimiterStaysBounded(t *testing.T) {
	l := newLimiter(time.Now)
	addr := netip.MustParseAddr("10.0.0.0")
	for range 3 * maxAddresses {
		l.allow(addr)
		addr = addr.Next()
	}
	if len(l.byAddr) != maxAddresses || l.order.Len() != maxAddresses {
		t.Fatalf("%d addresses, %d in order; want %d", len(l.byAddr), l.order.Len(), maxAddresses)
	}
}

func FuzzAuthenticate(f *testing.F) {
	tok, h := New()
	table, err := NewTable([]Entry{{Hash: h, Use: Connect, Holder: agent}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tok)
	f.Add("csg_")
	f.Add(h.String())
	f.Fuzz(func(t *testing.T, text string) {
		if _, ok := table.lookup(text); ok != (text == tok) {
			t.Fatalf("lookup of %q: %v", text, ok)
		}
		var back Hash
		_ = back.UnmarshalText([]byte(text))
	})
}
