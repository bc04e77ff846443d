package sanitize_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/countersign-dev/countersign/sanitize"
)

// entryPoints are the ways into the package, and the ways that a text takes inside it.
var entryPoints = []struct {
	name string
	f    func(string)
}{
	{"Text", func(s string) { keyed.Text(s) }},
	{"SQL", func(s string) { keyed.SQL(s, nil) }},
	{"SQL literal", func(s string) { keyed.SQL("SELECT '"+strings.ReplaceAll(s, "'", "''")+"'", nil) }},
	{"SQL body", func(s string) { keyed.SQL("DO $body$"+s+"$body$", nil) }},
	{"SQL comment", func(s string) { keyed.SQL("SELECT 1 /*"+s+"*/", nil) }},
	{"InCode", func(s string) { keyed.InCode(s) }},
	{"InCode name", func(s string) { keyed.InCode(`SELECT "` + s + `"`) }},
	{"Value", func(s string) { keyed.Value("note", s) }},
	{"Value name", func(s string) { keyed.Value(s, "x") }},
	{"Value secret", func(s string) { keyed.Value("password", s) }},
	{"Name", func(s string) { sanitize.Name(s) }},
	{"Find", func(s string) { keyed.Find(s) }},
	{"Lines", func(s string) { _ = keyed.Lines(strings.NewReader(s), io.Discard, nil) }},
	{"JSON", func(s string) { keyed.Text(`{"note":` + jsonString(s) + `}`) }},
	{"JSON in JSON", func(s string) { keyed.Text(`{"note":` + jsonString(`{"note":`+jsonString(s)+`}`) + `}`) }},
	{"base64", func(s string) { keyed.Text(base64.StdEncoding.EncodeToString([]byte(s))) }},
	{"hex", func(s string) { keyed.Text(hex.EncodeToString([]byte(s))) }},
	{"percent", func(s string) { keyed.Text(percentAll(s)) }},
	{"strict Text", func(s string) { strict.Text(s) }},
	{"strict SQL", func(s string) { strict.SQL(s, nil) }},
}

const (
	shortSize, longSize = 64 << 10 >> sizeShift, 256 << 10 >> sizeShift
	// quick is what no text of shortSize takes that is read in one pass, or in a few; what takes longer is
	// measured at both sizes.
	quick = 60 * time.Millisecond
	// maxRatio is between the four times as long that linear time takes and the sixteen of quadratic time.
	maxRatio = 9
	// maxTime bounds what a text of longSize takes, the slowest that there is.
	maxTime = 5 * time.Second
)

// TestLinearTime gives four times the input of every adversarial pattern to every way into the package: the
// time must be about four times too. What looks otherwise is measured again, since the machine has other
// work to do. COUNTERSIGN_LONG=1 measures every pattern at both sizes.
func TestLinearTime(t *testing.T) {
	units := adversarial
	for b := range 0x80 {
		units = append(units, string(rune(b)))
	}
	for i, unit := range units {
		for k, e := range entryPoints {
			// By default every unit takes the main ways, and the other ways in turn.
			if k >= 3 && os.Getenv("COUNTERSIGN_LONG") == "" && (i+k)%6 != 0 {
				continue
			}
			checkLinear(t, e.name+" of "+fmt.Sprintf("%q", unit), e.f, func(n int) string { return rep(unit, n/len(unit)) })
		}
	}
}

func checkLinear(t *testing.T, name string, f func(string), text func(size int) string) {
	t.Helper()
	base := timeOf(f, text(shortSize))
	if base < quick && os.Getenv("COUNTERSIGN_LONG") == "" {
		return
	}
	best := time.Duration(1 << 62)
	for range 5 {
		base, best = min(base, timeOf(f, text(shortSize))), min(best, timeOf(f, text(longSize)))
		if best < max(maxRatio*base, 4*quick) {
			break
		}
	}
	if best >= max(maxRatio*base, 4*quick) || best > maxTime {
		t.Errorf("%s: %v for %d KiB, %v for %d KiB", name, base, shortSize>>10, best, longSize>>10)
	}
}

// TestLinearTimeRandom is TestLinearTime of patterns made at random, for as long as COUNTERSIGN_LINEAR says.
func TestLinearTimeRandom(t *testing.T) {
	pieces := append(strings.Fields(`x a 1 = : / . - _ $ @ \ " ' ( ) [ ] { } , ; & ? | < > <a {{ }} ${A} xxxx **** token password
		do E' U&' -p bearer basic ya29. eyJhbGciOiJIUzI1NiJ9. YWJjYWJjYWJjYWJj phone %5B [password]`), " ", "\n", "    ")
	pieces = append(pieces, adversarial...)
	limit, err := time.ParseDuration(os.Getenv("COUNTERSIGN_LINEAR"))
	if err != nil {
		limit = time.Second
	}
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(most int) string {
		var b strings.Builder
		for range 1 + r.IntN(most) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		return b.String()
	}
	for end := time.Now().Add(limit); time.Now().Before(end) && !t.Failed(); {
		before, unit, then, after := pick(2), pick(4), pick(4), pick(2)
		shape, e := r.IntN(3), entryPoints[r.IntN(len(entryPoints))]
		checkLinear(t, fmt.Sprintf("%s of %q, %q, %q, %q, shape %d", e.name, before, unit, then, after, shape), e.f, func(n int) string {
			switch shape {
			case 0:
				return before + rep(unit, n/len(unit)) + after
			case 1:
				return rep(unit, n/2/len(unit)) + rep(then, n/2/len(then))
			default:
				var b strings.Builder
				for i := 0; b.Len() < n; i++ {
					fmt.Fprintf(&b, "%s%d%s", unit, i, then)
				}
				return b.String()
			}
		})
	}
}

// adversarial inputs repeat what makes a matcher start and not finish.
var adversarial = []string{
	"@", "a@", "a.", "://", "a://b:", "a://b:c/", "eyJ", "eyJ-", "eyJhbGciOiJ4-", "eyJhbGciOiJ4.", "sk-", "xoxb-", "AIza-", "glpat-.",
	"password=", "password:", "password: ", "password=\"", "password=\\\"", "password='", "token:(", "token=(", `"token":`, "a:", "a=",
	"authorization: bearer x ", "authorization: ", "cookie: ", "PASSWORD '", "PASSWORD $a$", "identified by ", "bearer aaaaaaaaaaaaaaaaaaa-",
	"--token ", "--password=", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n", "-----BEGIN ", "-----", "[", "{", `{"`, `{"a":`, `[1,`, `[{"`,
	"<password>", "<password>a", "\\", "\\u0041", "%41", "%", "4111-", "4111 ", "4111 1111 1111 1111 ", "1234567890123456 ", "+1 ", "+1", "(415) ",
	"$1$", "$2b$", "AKIAFAKEFAKEFAKEFAKE ", "YWJj", "YWJjYWJjYWJjYWJj/", "YWJjYWJjYWJjYWJj-", "6162636465", "'", "''", "\"", "$$", "$a", "$a$", "/*", "*/", "--", "E'\\",
	"name: password value: ", "password: |\n", "password: |\n  x\n", "[email]", "[email", "GB29", "GB29 NWBK ", "' \"", "password='''", "?sig=", "(", "((", "crypt(",
	"a'b", "password=a)", "insert into t(password) values(", "select ", "select '", "insert into t(password) values('a') ", ",", "x, ", "'a'\n", "a=b\\", "password=[", "token: [a,", "\n", " ", "\t\n ",
	// What goes back or ahead over what another has looked at.
	"PWD=/", "password='''x", "password=f('x',", "DO 'x';", "AKIAFAKEFAKEFAKEFAKE/", "AKIAFAKEFAKEFAKEFAKE$", "AKIAFAKEFAKEFAKEFAKEé", `\\\":=`,
	`password="<a `, `token: "`, "a$1$", "$1$a", "a://b:c/", "a://b:c@", "http://u:p@h/ ", "//", "u:", "key:", `"a":`, "@a.", "+49 ", "DE44 ", "A.B", "AKIA",
	"é", "\x00\"", "--authorization ", "mysql -p", "curl -u a:", "x=1&", "a.a.1@", "QUI/QUJDREVGR0hJSkv/", "//a:b@", "AIza------BEGIN PRIVATE KEY-----\n[email''", `$.password?"`, "{password,", "'a'||", `\\u005cu0041`, "%2541",
}

// timeOf returns the processor time that f takes on this thread: the machine may be busy.
func timeOf(f func(string), text string) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := cpuTime(rusageThread)
	f(text)
	return cpuTime(rusageThread) - start
}

const rusageThread = 1 // RUSAGE_THREAD of getrusage(2)

func cpuTime(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
