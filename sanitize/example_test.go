package sanitize_test

import (
	"fmt"
	"os"
	"strings"

	"github.com/countersign-dev/countersign/sanitize"
)

func Example() {
	s := sanitize.New(sanitize.Options{})
	fmt.Println(s.SQL(`ALTER ROLE app PASSWORD 'hunter2'; SELECT * FROM c WHERE mail = 'alice@example.com'`, nil))
	fmt.Println(s.Text(`{"dsn":"postgres://app:hunter2@db/shop","card":4111111111111111}`))
	fmt.Println(s.Value("client_secret", "s3cr3t"))
	// Output:
	// ALTER ROLE app PASSWORD '[password]'; SELECT * FROM c WHERE mail = '[email]'
	// {"dsn":"postgres://app:%5Bpassword%5D@db/shop","card":"[payment-card]"}
	// [secret]
}

// With a key, equal values have equal pseudonyms, so that a reader can follow one through a log.
func Example_pseudonyms() {
	s := sanitize.New(sanitize.Options{Key: []byte("32 bytes from a random source ..")})
	a := s.Text("order 7 by alice@example.com")
	b := s.Text("refund to ALICE@example.com")
	fmt.Println(strings.TrimPrefix(a.String(), "order 7 by ") == strings.TrimPrefix(b.String(), "refund to "))
	// Output: true
}

func ExampleSanitizer_Lines() {
	s := sanitize.New(sanitize.Options{})
	log := "GET /?access_token=abc123 200\nlogin failed for bob@example.com\n"
	err := s.Lines(strings.NewReader(log), os.Stdout, func(line int, sp sanitize.Span) {
		fmt.Printf("(line %d has a %s)\n", line, sp.Kind)
	})
	if err != nil {
		fmt.Println(err)
	}
	// Unordered output:
	// GET /?access_token=[token] 200
	// login failed for [email]
	// (line 1 has a token)
	// (line 2 has a email)
}
