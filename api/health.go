package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// Status says how the gateway is.
type Status string

// The states of health. A degraded gateway serves, but something needs a person's look; a failing one
// refuses actions.
const (
	OK       Status = "ok"
	Degraded Status = "degraded"
	Failing  Status = "failing"
)

// Health is how the gateway is.
type Health struct {
	Status Status `json:"status" enum:"ok,degraded,failing"`
	// Notices are what everybody has to know: exceptions that are in force, and what is wrong.
	Notices []sanitize.Clean `json:"notices"`
	Detail  *HealthDetail    `json:"detail,omitempty" doc:"for those who present a token"`
}

// HealthDetail is the part of Health that is told to holders of a token.
type HealthDetail struct {
	Version      string             `json:"version"`
	Started      time.Time          `json:"started"`
	Policy       countersign.Digest `json:"policy" doc:"digest of the active policy"`
	PolicySource string             `json:"policy_source"`
	ReviewAuth   string             `json:"review_auth,omitempty"`
	Resources    []HealthResource   `json:"resources"`
	Listen       HealthListen       `json:"listen"`
	Events       uint64             `json:"events" doc:"number of events in the trail"`
	StoreBytes   int64              `json:"store_bytes"`
	Checkpoint   *HealthCheckpoint  `json:"checkpoint,omitempty" doc:"the latest signed state of the trail"`
	You          HealthYou          `json:"you"`
	Actions      map[string]int64   `json:"actions" doc:"judged since the start, by what became of them"`
	Reviews      map[string]int64   `json:"reviews" doc:"since the start"`
	Outcomes     map[string]int64   `json:"outcomes" doc:"since the start"`
	Waiting      int                `json:"waiting" doc:"requests that somebody waits for now"`
	Problems     []HealthProblem    `json:"problems,omitempty"`
}

// HealthResource is a resource without its upstream and credentials.
type HealthResource struct {
	Name countersign.ResourceName `json:"name"`
	Kind string                   `json:"kind"`
}

// HealthListen is where the gateway listens.
type HealthListen struct {
	Web      string `json:"web"`
	Postgres string `json:"postgres"`
	TLS      bool   `json:"tls"`
}

// HealthCheckpoint is the latest signed state of the trail.
type HealthCheckpoint struct {
	Origin string `json:"origin"`
	Size   uint64 `json:"size"`
	Root   string `json:"root"`
}

// HealthYou is who the caller is.
type HealthYou struct {
	Principal string `json:"principal"`
	Login     string `json:"login,omitempty"`
	Use       string `json:"use"`
}

// HealthProblem is something that needs a person's look.
type HealthProblem struct {
	What  sanitize.Clean `json:"what"`
	Since time.Time      `json:"since"`
}

type healthOutput struct{ Body Health }

type liveOutput struct {
	Status int
	Body   struct {
		Status Status `json:"status"`
	}
}

func (a *API) healthRoutes() {
	tag := []string{"health"}
	public(a, huma.Operation{
		OperationID: "live", Method: http.MethodGet, Path: "/healthz", Tags: tag, Summary: "Whether the process answers",
	}, func(context.Context, *struct{}) (*liveOutput, error) {
		out := &liveOutput{Status: http.StatusOK}
		out.Body.Status = OK
		return out, nil
	})
	public(a, huma.Operation{
		OperationID: "ready", Method: http.MethodGet, Path: "/readyz", Tags: tag,
		Summary: "Whether actions can be served: 200, or 503", Errors: []int{http.StatusServiceUnavailable},
	}, func(ctx context.Context, _ *struct{}) (*liveOutput, error) {
		out := &liveOutput{Status: http.StatusOK}
		out.Body.Status = a.o.Health(ctx).Status
		if out.Body.Status == Failing {
			out.Status = http.StatusServiceUnavailable
		}
		return out, nil
	})
	op := huma.Operation{
		OperationID: "health", Method: http.MethodGet, Path: "/api/v1/health", Tags: tag,
		Summary:  "How the gateway is; details for those who present a token",
		Security: []map[string][]string{{}, {bearerScheme: {}}},
		Errors:   []int{http.StatusUnauthorized},
	}
	op.Middlewares = huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
		r, _ := humago.Unwrap(ctx)
		if r.Header.Get("Authorization") != "" {
			who, err := a.authenticate(r)
			if err != nil {
				a.writeProblem(ctx, err)
				return
			}
			ctx = huma.WithValue(ctx, callerKey{}, who)
		}
		next(ctx)
	}}
	public(a, op, func(ctx context.Context, _ *struct{}) (*healthOutput, error) {
		h := a.o.Health(ctx)
		who, known := ctx.Value(callerKey{}).(caller)
		switch {
		case !known:
			h.Detail = nil
		case h.Detail != nil:
			detail := *h.Detail
			detail.Actions, detail.Reviews, detail.Outcomes, detail.Waiting = counts(a.o.Gate)
			detail.You = HealthYou{Principal: who.Holder.ID(), Login: who.Login, Use: who.use()}
			h.Detail = &detail
		}
		h.Notices = orEmpty(h.Notices)
		return &healthOutput{Body: h}, nil
	})
}
