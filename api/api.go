// Package api is the gateway's REST interface, described by OpenAPI 3.1 at /openapi.json, and a client
// for it.
//
// It promises that nothing but health is answered to those who present no valid token, that only
// a person's token for reviewing stands for his presence (P2), that a verdict names the digests
// of what its giver was shown (P3), and that nothing from outside becomes Clean text but by the sanitizer
// (P7). Who may see and sign what is the gate's to say, here as everywhere (P1).
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
)

// Limits of the API.
const (
	maxBodyBytes   = 64 << 10
	bodyTimeout    = 5 * time.Second
	maxReasonBytes = 2000
	maxWait        = 60 * time.Second
	maxWaits       = 512 // long polls at a time
	maxListed      = 500
	partTimeout    = 30 * time.Second // for each part of an export
	listedText     = 200              // bytes of an action's text in a list
)

// Options configure the API.
type Options struct {
	Gate      *gate.Gate
	Trail     Trail
	Sanitizer *sanitize.Sanitizer
	// Authenticate returns who presents a token. Its refusals all look alike, and it limits them.
	Authenticate func(remote netip.Addr, token string) (Caller, error)
	// Health tells how the gateway is; it is called for each look at it.
	Health func(context.Context) Health
	// Collectors are served at /metrics, besides the gate's own.
	Collectors []prometheus.Collector
	// PublicURL is the address that people type.
	PublicURL string
	// ReviewByToken lets people sign with a token, from loopback only (review_auth: token).
	ReviewByToken bool
	Version       string
	Logger        *slog.Logger
}

// API answers HTTP requests.
type API struct {
	o       Options
	host    string // of PublicURL
	waits   chan struct{}
	huma    huma.API
	handler http.Handler
	// inputs are the input types of all operations; none may hold Clean text (P7).
	inputs []reflect.Type
}

// New returns the API.
func New(o Options) (*API, error) {
	public, err := url.Parse(o.PublicURL)
	if err != nil || public.Hostname() == "" {
		return nil, errors.New("api: the public URL names no host")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &API{o: o, host: public.Hostname(), waits: make(chan struct{}, maxWaits)}
	mux := http.NewServeMux()
	a.huma = humago.New(mux, a.config())
	a.routes()
	mux.Handle("GET /metrics", a.metrics())
	a.handler = a.guard(mux)
	return a, nil
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

func (a *API) config() huma.Config {
	schemas := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	registerSchemas(schemas)
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Countersign", Version: version(a.o.Version),
				Description: "Requests that wait for signatures, the trail, and the gateway's health. Every operation but health and the probes needs a token as bearer.",
			},
			Components: &huma.Components{
				Schemas: schemas,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					bearerScheme: {Type: "http", Scheme: "bearer", Description: "A Countersign token: csg_ and 43 characters. It is for connecting or for reviewing, never for both."},
				},
			},
		},
		OpenAPIPath:                  "/openapi",
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{asProblem},
	}
}

func version(v string) string {
	if v == "" {
		return "development"
	}
	return v
}

func (a *API) routes() {
	a.requestRoutes()
	a.trailRoutes()
	a.healthRoutes()
}

// registerSchemas tells the form in JSON of types that write themselves.
func registerSchemas(r huma.Registry) {
	alias[countersign.Effects, []string](r)
	alias[countersign.Digest, string](r)
	alias[sanitize.Clean, string](r)
}
