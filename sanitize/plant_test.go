package sanitize_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/countersign-dev/countersign/sanitize"
)

// plant is a synthetic value of a kind. All of them are made up, and those that a scanner could take for
// real are put together from pieces.
type plant struct {
	kind  sanitize.Kind
	value string
}

func rep(s string, n int) string { return strings.Repeat(s, n) }

// fake is n letters and digits that spell out what they are.
func fake(n int) string { return rep("Fake0Example1Token2", n/19+1)[:n] }

func fakeHex(n int) string { return rep("0f1e2d3c4b5a6978", n/16+1)[:n] }

func fakeJWT() string {
	enc := base64.RawURLEncoding
	return enc.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." +
		enc.EncodeToString([]byte(`{"sub":"nobody","synthetic":true}`)) + "." + enc.EncodeToString([]byte(fake(32)))
}

func fakePEM(label string) string {
	body := base64.StdEncoding.EncodeToString([]byte(rep("this is not a key, only a test of one. ", 12)))
	var b strings.Builder
	b.WriteString("-----BEGIN " + label + "-----\n")
	for len(body) > 64 {
		b.WriteString(body[:64] + "\n")
		body = body[64:]
	}
	return b.String() + body + "\n-----END " + label + "-----"
}

// secretPlants holds values that a detector must know by their form alone.
func secretPlants() []plant {
	return []plant{
		{sanitize.AWSAccessKey, "AKIA" + "FAKEFAKEFAKEFAKE"},
		{sanitize.AWSAccessKey, "ASIA" + "FAKEFAKEFAKEFAK2"},
		{sanitize.GitHubToken, "ghp" + "_" + fake(36)},
		{sanitize.GitHubToken, "gho" + "_" + fake(36)},
		{sanitize.GitHubToken, "ghs" + "_" + fake(36)},
		{sanitize.GitHubToken, "github" + "_pat_" + fake(22) + "_" + fake(59)},
		{sanitize.GitLabToken, "glpat" + "-" + fake(20)},
		{sanitize.GitLabToken, "glpat" + "-" + fake(27) + ".01." + fake(9)},
		{sanitize.SlackToken, "xoxb" + "-123456789012-" + fake(24)},
		{sanitize.SlackToken, "xapp" + "-1-A0FAKE-123456789012-" + fake(32)},
		{sanitize.StripeKey, "sk" + "_live_" + fake(24)},
		{sanitize.StripeKey, "rk" + "_live_" + fake(24)},
		{sanitize.GoogleAPIKey, "AIza" + fake(35)},
		{sanitize.GoogleOAuth, "GOCSPX" + "-" + fake(28)},
		{sanitize.OpenAIKey, "sk" + "-" + fake(48)},
		{sanitize.OpenAIKey, "sk" + "-proj-" + fake(48)},
		{sanitize.AnthropicKey, "sk" + "-ant-api03-" + fake(93) + "AA"},
		{sanitize.NPMToken, "npm" + "_" + fake(36)},
		{sanitize.PyPIToken, "pypi" + "-AgEIcHlwaS5vcmc" + fake(60)},
		{sanitize.JWT, fakeJWT()},
		{sanitize.SendGridKey, "SG" + "." + fake(22) + "." + fake(43)},
		{sanitize.TwilioKey, "SK" + fakeHex(32)},
		{sanitize.DigitalOceanToken, "dop" + "_v1_" + fakeHex(64)},
		{sanitize.DockerToken, "dckr" + "_pat_" + fake(27)},
		{sanitize.VaultToken, "hvs" + "." + fake(24)},
		{sanitize.HuggingFaceToken, "hf" + "_" + rep("FakeFakeFake", 3)[:34]},
		{sanitize.CountersignToken, "csg" + "_" + fake(43)},
		{sanitize.PasswordHash, "SCRAM-SHA-256$4096:" + fake(22) + "==$" + fake(43) + "=:" + fake(43) + "="},
		{sanitize.PasswordHash, "md5" + fakeHex(32)},
		{sanitize.PasswordHash, "$2b$12$" + fake(53)},
		{sanitize.PasswordHash, "$argon2id$v=19$m=65536,t=3,p=4$" + fake(22) + "$" + fake(43)},
	}
}

// personalPlants holds values of persons who do not exist: reserved domains, numbers, and test cards.
func personalPlants() []plant {
	return []plant{
		{sanitize.Email, "alice.example@example.com"},
		{sanitize.Email, "bob+tag@mail.example.co.uk"},
		{sanitize.PaymentCard, "4111111111111111"},
		{sanitize.PaymentCard, "5555-5555-5555-4444"},
		{sanitize.PaymentCard, "3782 822463 10005"},
		{sanitize.PaymentCard, "6011 1111 1111 1117"},
		{sanitize.Phone, "+1 415 555 0132"},
		{sanitize.Phone, "+49 30 901820"},
		{sanitize.Phone, "+442079460958"},
		{sanitize.Phone, "(415) 555-0132"},
		{sanitize.Phone, "415-555-0132"},
		{sanitize.Phone, "020 7946 0958"},
		{sanitize.IBAN, "DE89370400440532013000"},
		{sanitize.IBAN, "GB29 NWBK 6016 1331 9268 19"},
		{sanitize.SSN, "078-05-1120"},
	}
}

func plants() []plant { return append(secretPlants(), personalPlants()...) }

// encodings are the forms in which P7 says that a value may not survive.
var encodings = map[string]func(string) string{
	"plain":        func(v string) string { return v },
	"percent":      url.QueryEscape,
	"percent all":  percentAll,
	"json":         jsonString,
	"json unicode": jsonUnicode,
	"base64":       func(v string) string { return base64.StdEncoding.EncodeToString([]byte("value: " + v + " .")) },
	"base64 alone": func(v string) string { return base64.StdEncoding.EncodeToString([]byte(v)) },
	"base64 url":   func(v string) string { return base64.RawURLEncoding.EncodeToString([]byte("?>" + v + " ~~")) },
	"hex":          func(v string) string { return hex.EncodeToString([]byte(v)) },
	"bytea":        func(v string) string { return `\x` + hex.EncodeToString([]byte(v)) },
	"json in json": func(v string) string { return jsonString(`{"note":` + jsonString(v) + `}`) },
	"json in json in json": func(v string) string {
		return jsonString(`{"a":` + jsonString(`{"note":`+jsonString(v)+`}`) + `}`)
	},
	"utf-16 base64": func(v string) string {
		return base64.StdEncoding.EncodeToString([]byte(strings.Join(strings.Split(v, ""), "\x00") + "\x00"))
	},
}

func percentAll(v string) string {
	var b strings.Builder
	for i := 0; i < len(v); i++ {
		fmt.Fprintf(&b, "%%%02X", v[i])
	}
	return b.String()
}

func jsonUnicode(v string) string {
	var b strings.Builder
	for i := 0; i < len(v); i++ {
		fmt.Fprintf(&b, `\u%04x`, v[i])
	}
	return b.String()
}

func jsonString(v string) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
