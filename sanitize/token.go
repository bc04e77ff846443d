package sanitize

import (
	"encoding/base64"
	"strings"
)

// tokenRule describes a secret by the form that its issuer documents: a prefix at the start of a word,
// then min to max bytes of an alphabet (max 0: any number), then a byte that is not of it.
type tokenRule struct {
	kind     Kind
	prefix   string
	body     *charset
	min, max int
	proof    func(body string) bool // nil: the form is proof enough
}

// tokenRules holds for one prefix the longer minimum first, where kinds share it.
var tokenRules = []tokenRule{
	{AnthropicKey, "sk-ant-", &dashed, 20, 0, nil},
	{AWSAccessKey, "AKIA", &upperNum, 16, 16, nil},
	{AWSAccessKey, "ASIA", &upperNum, 16, 16, nil},
	{AWSAccessKey, "ABIA", &upperNum, 16, 16, nil},
	{CountersignToken, "csg_", &dashed, 43, 43, nil},
	{DigitalOceanToken, "dop_v1_", &lowerHex, 64, 64, nil},
	{DigitalOceanToken, "doo_v1_", &lowerHex, 64, 64, nil},
	{DigitalOceanToken, "dor_v1_", &lowerHex, 64, 64, nil},
	{DockerToken, "dckr_pat_", &dashed, 20, 0, nil},
	{GitHubToken, "ghp_", &alnum, 36, 0, nil},
	{GitHubToken, "gho_", &alnum, 36, 0, nil},
	{GitHubToken, "ghu_", &alnum, 36, 0, nil},
	{GitHubToken, "ghs_", &alnum, 36, 0, nil},
	{GitHubToken, "ghr_", &alnum, 36, 0, nil},
	{GitHubToken, "github_pat_", &word, 50, 0, nil},
	{GitLabToken, "glpat-", &dotted, 20, 0, nil},
	{GitLabToken, "gldt-", &dotted, 20, 0, nil},
	{GitLabToken, "glrt-", &dotted, 20, 0, nil},
	{GitLabToken, "glptt-", &dotted, 20, 0, nil},
	{GitLabToken, "glcbt-", &dotted, 20, 0, nil},
	{GitLabToken, "glsoat-", &dotted, 20, 0, nil},
	{GoogleAPIKey, "AIza", &dashed, 35, 35, nil},
	{GoogleOAuth, "GOCSPX-", &dashed, 28, 28, nil},
	{GoogleOAuth, "ya29.", &dashed, 20, 0, nil},
	{HuggingFaceToken, "hf_", &alnum, 30, 40, nil},
	{NPMToken, "npm_", &alnum, 36, 36, nil},
	{OpenAIKey, "sk-proj-", &dashed, 20, 0, nil},
	{OpenAIKey, "sk-svcacct-", &dashed, 20, 0, nil},
	{OpenAIKey, "sk-admin-", &dashed, 20, 0, nil},
	{OpenAIKey, "sk-", &dashed, 20, 0, longMixedRun},
	{PasswordHash, "md5", &lowerHex, 32, 32, nil},
	{PasswordHash, "SCRAM-SHA-256$", &scramChars, 20, 0, nil},
	{PyPIToken, "pypi-", &dashed, 50, 0, nil},
	{SlackToken, "xoxb-", &dashed, 10, 0, mixed},
	{SlackToken, "xoxp-", &dashed, 10, 0, mixed},
	{SlackToken, "xoxa-", &dashed, 10, 0, mixed},
	{SlackToken, "xoxr-", &dashed, 10, 0, mixed},
	{SlackToken, "xoxs-", &dashed, 10, 0, mixed},
	{SlackToken, "xoxc-", &dashed, 10, 0, mixed},
	{SlackToken, "xoxd-", &slackCookie, 10, 0, mixed},
	{SlackToken, "xoxe-", &dashed, 10, 0, mixed},
	{SlackToken, "xoxe.xoxp-", &dashed, 10, 0, mixed},
	{SlackToken, "xoxe.xoxb-", &dashed, 10, 0, mixed},
	{SlackToken, "xapp-", &dashed, 10, 0, mixed},
	{StripeKey, "sk_live_", &alnum, 10, 0, nil},
	{StripeKey, "sk_test_", &alnum, 10, 0, nil},
	{StripeKey, "rk_live_", &alnum, 10, 0, nil},
	{StripeKey, "rk_test_", &alnum, 10, 0, nil},
	{StripeKey, "whsec_", &base64Std, 24, 0, nil},
	{TwilioKey, "SK", &lowerHex, 32, 32, nil},
	{VaultToken, "hvs.", &dashed, 24, 0, nil},
	{VaultToken, "hvb.", &dashed, 24, 0, nil},
	{VaultToken, "hvr.", &dashed, 24, 0, nil},
}

var (
	scramChars  = chars("A-Za-z0-9+/=:$")
	slackCookie = chars("A-Za-z0-9%_-")
)

// rulesByFirst finds the rules for a word by its first byte.
var rulesByFirst = func() (by [256][]tokenRule) {
	for _, r := range tokenRules {
		by[r.prefix[0]] = append(by[r.prefix[0]], r)
	}
	return by
}()

// tokenSecond holds, for the first byte of a word, the second bytes of the tokens that begin so: most words
// are passed over by their first two bytes.
var tokenSecond = func() (by [256]*charset) {
	for _, r := range append(tokenRules, tokenRule{prefix: "eyJ"}, tokenRule{prefix: "SG."}) {
		if by[r.prefix[0]] == nil {
			by[r.prefix[0]] = &charset{}
		}
		by[r.prefix[0]][r.prefix[1]] = true
	}
	return by
}()

// maxProof is how much of a body a proof looks at.
const maxProof = 128

// matchToken returns the kind and end of the token of a known form at t[i], which starts a word, or -1.
func matchToken(t string, i int) (Kind, int) {
	if i+1 >= len(t) {
		return "", -1
	}
	if second := tokenSecond[t[i]]; second == nil || !second[t[i+1]] {
		return "", -1
	}
	for k := range rulesByFirst[t[i]] {
		if end := rulesByFirst[t[i]][k].match(t, i); end > 0 {
			return rulesByFirst[t[i]][k].kind, end
		}
	}
	switch t[i] {
	case 'e':
		if end := matchJWT(t, i); end > 0 {
			return JWT, end
		}
	case 'S':
		if end := matchSendGrid(t, i); end > 0 {
			return SendGridKey, end
		}
	}
	return "", -1
}

func (r *tokenRule) match(t string, i int) int {
	if !strings.HasPrefix(t[i:], r.prefix) {
		return -1
	}
	start := i + len(r.prefix)
	limit := r.min + maxProof
	if r.max > 0 {
		limit = r.max + 1
	}
	end := run(t, start, limit, r.body)
	if end-start < r.min || r.max > 0 && (end-start > r.max || wordAt(t, end)) {
		return -1
	}
	if r.proof != nil && !r.proof(t[start:end]) {
		return -1
	}
	if r.max > 0 {
		return end
	}
	// From here on the token is known, so that the scanner moves past whatever is read.
	end = run(t, end, len(t), r.body)
	// A full stop or dash at the end belongs to the sentence around it.
	for r.body[t[end-1]] && (t[end-1] == '.' || t[end-1] == '-') && end-start > r.min {
		end--
	}
	return end
}

// longMixedRun reports whether body has 16 letters and digits in a row, both of them: names joined by
// dashes have not.
func longMixedRun(body string) bool {
	for i := 0; i < len(body); {
		end := run(body, i, len(body), &alnum)
		if end-i >= 16 && mixed(body[i:end]) {
			return true
		}
		i = end + 1
	}
	return false
}

// matchSendGrid matches "SG.", 22 bytes, ".", 43 bytes of base64url.
func matchSendGrid(t string, i int) int {
	if !strings.HasPrefix(t[i:], "SG.") {
		return -1
	}
	id := run(t, i+3, 23, &dashed)
	if id-i != 3+22 || id >= len(t) || t[id] != '.' {
		return -1
	}
	end := run(t, id+1, 44, &dashed)
	if end-id != 1+43 {
		return -1
	}
	return end
}

const (
	maxJOSE      = 256  // how much of a JWT's header is decoded
	maxJWTHeader = 4096 // a header that goes on further is taken for a token cut off
)

// matchJWT matches a compact JWS or JWE (RFC 7515, 7516): base64url parts joined by dots, the first of
// which decodes to the start of a JSON object with an "alg". A token cut off after its payload counts too.
func matchJWT(t string, i int) int {
	if !strings.HasPrefix(t[i:], "eyJ") || !isJOSE(t[i:run(t, i, maxJOSE, &dashed)]) {
		return -1
	}
	end := run(t, i, maxJWTHeader, &dashed)
	if end-i == maxJWTHeader {
		return run(t, end, len(t), &dashed)
	}
	if !strings.HasPrefix(t[end:], ".eyJ") && !strings.HasPrefix(t[end:], "..") && run(t, end+1, 8, &dashed) < end+9 {
		return -1
	}
	for parts := 1; parts < 5 && end < len(t) && t[end] == '.'; parts++ {
		end = run(t, end+1, len(t), &dashed)
	}
	return end
}

func isJOSE(header string) bool {
	if len(header)%4 == 1 {
		header = header[:len(header)-1]
	}
	plain, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil {
		return false
	}
	text := string(plain)
	return strings.HasPrefix(text, "{") &&
		(strings.Contains(text, `"alg"`) || strings.Contains(text, `"typ"`) || strings.Contains(text, `"enc"`))
}

// hash looks for password hashes in modular crypt format: $2b$12$…, $argon2id$…, $6$….
func (c *scanner) hash() {
	t, i := c.t, c.i
	c.i++
	if wordBefore(t, i) {
		return
	}
	id := run(t, i+1, 12, &cryptID)
	if id >= len(t) || t[id] != '$' || !cryptIDs[t[i+1:id]] {
		return
	}
	end := run(t, id+1, maxCrypt, &cryptChars)
	if end-id < minCrypt {
		return
	}
	c.found(i, end, PasswordHash, "")
	c.i = end
}

const (
	minCrypt = 20
	maxCrypt = 512
)

var (
	cryptID    = chars("a-z0-9-")
	cryptChars = chars("A-Za-z0-9./+=,$-")
	cryptIDs   = map[string]bool{
		"1": true, "2a": true, "2b": true, "2y": true, "5": true, "6": true, "y": true, "7": true,
		"argon2i": true, "argon2d": true, "argon2id": true, "scrypt": true, "pbkdf2": true, "pbkdf2-sha256": true, "apr1": true,
	}
)

// awsReach is how far from an access key id a secret access key is looked for.
const awsReach = 512

// awsSecrets looks for secret access keys, 40 bytes of base64 without any mark of their own, near the
// access key ids that were found.
func (c *scanner) awsSecrets() {
	to := 0
	for _, f := range c.out {
		if f.Kind != AWSAccessKey {
			continue
		}
		i, end := max(to, f.Start-c.base-awsReach), min(len(c.t), f.End-c.base+awsReach)
		i = runBack(c.t, i, 40, &base64Std)
		for i < end {
			stop := run(c.t, i, 64, &base64Std)
			if stop-i == 40 && !allIn(c.t[i:stop], &anyHex) && mixed(c.t[i:stop]) {
				c.found(i, stop, AWSSecretKey, "")
			}
			i = run(c.t, stop, len(c.t), &base64Std) + 1
		}
		to = max(to, end, min(i, len(c.t)))
	}
}
