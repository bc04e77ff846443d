package sanitize

// Kind names what was found: "email", "payment-card", "password", "github-token", …
type Kind string

// The kinds of values that stand in credential positions, whatever they look like.
const (
	Password      Kind = "password"
	Secret        Kind = "secret"
	Token         Kind = "token"
	APIKey        Kind = "api-key"
	Authorization Kind = "authorization"
	Cookie        Kind = "cookie"
	CardCode      Kind = "card-code"
)

// The kinds of secrets that detectors know by their form, each as its issuer documents it.
const (
	AnthropicKey      Kind = "anthropic-key"
	AWSAccessKey      Kind = "aws-access-key"
	AWSSecretKey      Kind = "aws-secret-key"
	AzureKey          Kind = "azure-key"
	CountersignToken  Kind = "countersign-token"
	DigitalOceanToken Kind = "digitalocean-token"
	DockerToken       Kind = "docker-token"
	GitHubToken       Kind = "github-token"
	GitLabToken       Kind = "gitlab-token"
	GoogleAPIKey      Kind = "google-api-key"
	GoogleOAuth       Kind = "google-oauth"
	HuggingFaceToken  Kind = "huggingface-token"
	JWT               Kind = "jwt"
	NPMToken          Kind = "npm-token"
	OpenAIKey         Kind = "openai-key"
	PasswordHash      Kind = "password-hash"
	PrivateKey        Kind = "private-key"
	PyPIToken         Kind = "pypi-token"
	SendGridKey       Kind = "sendgrid-key"
	SlackToken        Kind = "slack-token"
	StripeKey         Kind = "stripe-key"
	TwilioKey         Kind = "twilio-key"
	VaultToken        Kind = "vault-token"
	WebhookURL        Kind = "webhook-url"
)

// The kinds of personal data.
const (
	Email       Kind = "email"
	PaymentCard Kind = "payment-card"
	Phone       Kind = "phone"
	IBAN        Kind = "iban"
	SSN         Kind = "ssn"
)

// The kinds of parts that are replaced without being known: literals under Options.Strict, and what
// is beyond a limit. The last two tell their length instead of a pseudonym.
const (
	StrictText    Kind = "text"
	StrictNumber  Kind = "number"
	StrictComment Kind = "comment"
	Rest          Kind = "rest" // of a text longer than MaxText
	LongLine      Kind = "line" // longer than MaxLine, in Lines
)

// kinds holds every kind. A placeholder of any other is not taken for one.
var kinds = func() map[Kind]bool {
	all := map[Kind]bool{}
	for _, k := range [...]Kind{
		Password, Secret, Token, APIKey, Authorization, Cookie, CardCode,
		AnthropicKey, AWSAccessKey, AWSSecretKey, AzureKey, CountersignToken, DigitalOceanToken, DockerToken,
		GitHubToken, GitLabToken, GoogleAPIKey, GoogleOAuth, HuggingFaceToken, JWT, NPMToken, OpenAIKey,
		PasswordHash, PrivateKey, PyPIToken, SendGridKey, SlackToken, StripeKey, TwilioKey, VaultToken, WebhookURL,
		Email, PaymentCard, Phone, IBAN, SSN,
		StrictText, StrictNumber, StrictComment, Rest, LongLine,
	} {
		all[k] = true
	}
	return all
}()

// Known reports whether this package gives out k.
func (k Kind) Known() bool { return kinds[k] }

// Personal reports whether k is personal data, as opposed to a secret. Everything else that is
// replaced counts as secret.
func (k Kind) Personal() bool {
	switch k {
	case Email, PaymentCard, Phone, IBAN, SSN:
		return true
	default:
		return false
	}
}

// LowEntropy reports whether the values of kind k are so few that whoever holds pseudonyms of them
// and may have texts sanitized under the same key can try them all. Outside the trail such a kind is
// shown without pseudonym: by a Sanitizer without Key.
func (k Kind) LowEntropy() bool {
	switch k {
	case PaymentCard, Phone, SSN, CardCode:
		return true
	default:
		return false
	}
}

// says ranks kinds by how much they say: what strict mode drops, a value known by its position, a value
// known by its form.
func (k Kind) says() int {
	switch k {
	case StrictText, StrictNumber, StrictComment:
		return 0
	case Password, Secret, Token, APIKey, Authorization, Cookie:
		return 1
	default:
		return 2
	}
}
