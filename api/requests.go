package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
)

// Request is a held action as its requester and its reviewers see it.
type Request struct {
	Summary
	Digest      countersign.Digest `json:"digest" doc:"what an approval is bound to: requester, chain, resource, session context, exact bytes"`
	ViewDigest  countersign.Digest `json:"view_digest" doc:"SHA-256 over view, in its canonical form"`
	Policy      countersign.Digest `json:"policy" doc:"digest of the policy that decided"`
	Seats       []countersign.Seat `json:"seats" doc:"signatures that are needed; a person fills one seat"`
	MaxUses     int                `json:"max_uses"`
	Uses        []approval.Use     `json:"uses" doc:"claims of the grant"`
	Reviews     []approval.Review  `json:"reviews" doc:"verdicts given so far"`
	Transaction bool               `json:"transaction" doc:"it belongs to a transaction block and ends with it"`
	View        countersign.View   `json:"view" doc:"what a reviewer is shown; nothing in it changes while it waits"`
}

// Summary is a request in a list.
type Summary struct {
	ID        countersign.RequestID    `json:"id"`
	Revision  uint64                   `json:"revision" doc:"grows with each change"`
	State     approval.State           `json:"state"`
	Resource  countersign.ResourceName `json:"resource"`
	Requester countersign.Principal    `json:"requester"`
	Effects   countersign.Effects      `json:"effects"`
	Text      string                   `json:"text" doc:"the beginning of view.text"`
	Needs     []string                 `json:"needs" doc:"signatures still missing"`
	Confirm   bool                     `json:"confirm" doc:"the person acted for must confirm"`
	Created   time.Time                `json:"created"`
	Deadline  time.Time                `json:"deadline" doc:"it waits until then"`
	ClaimBy   time.Time                `json:"claim_by,omitzero" doc:"approved, it may be used until then"`
	Ended     time.Time                `json:"ended,omitzero"`
	Why       sanitize.Clean           `json:"why,omitzero" doc:"why it ended"`
	You       You                      `json:"you"`
}

// You is what the caller can do with a request.
type You struct {
	Principal string         `json:"principal"`
	CanSign   bool           `json:"can_sign"`
	Why       sanitize.Clean `json:"why,omitzero" doc:"why not"`
}

// RequestPath names a request. It is exported because huma fills only exported parts of an input.
type RequestPath struct {
	ID string `path:"id" pattern:"^req_[a-zA-Z0-9]{1,64}$" example:"req_01h2xcejqtf2nbrexx3v" doc:"the request's id"`
}

type requestOutput struct{ Body Request }

// verdictBody is what a reviewer sends. The digests are those of what he was shown, never of what the
// gateway has now.
type verdictBody struct {
	Digest     string `json:"digest" pattern:"^[0-9a-f]{64}$" doc:"the request's digest, as shown"`
	ViewDigest string `json:"view_digest" pattern:"^[0-9a-f]{64}$" doc:"SHA-256 of the view that was shown, computed by whoever showed it"`
	Reason     string `json:"reason,omitempty" maxLength:"2000" doc:"kept, sanitized, in the trail"`
}

type verdictInput struct {
	RequestPath
	Body verdictBody
}

func (a *API) requestRoutes() {
	tag := []string{"requests"}
	path := "/api/v1/requests/{id}"
	register(a, huma.Operation{
		OperationID: "list-requests", Method: http.MethodGet, Path: "/api/v1/requests", Tags: tag,
		Summary: "Requests that are yours to see: your own, your agents', those you may sign or have signed",
	}, a.list)
	register(a, huma.Operation{
		OperationID: "get-request", Method: http.MethodGet, Path: path, Tags: tag, Summary: "One request",
		Errors: []int{http.StatusNotFound},
	}, a.get)
	register(a, huma.Operation{
		OperationID: "wait-request", Method: http.MethodGet, Path: path + "/wait", Tags: tag,
		Summary: "One request, once it has changed or the time is over", Errors: []int{http.StatusNotFound},
	}, a.wait)
	register(a, huma.Operation{
		OperationID: "cancel-request", Method: http.MethodPost, Path: path + "/cancel", Tags: tag,
		Summary: "End a request of yours or your agents'", Errors: []int{http.StatusNotFound, http.StatusConflict},
	}, a.cancel)
	for _, v := range []struct {
		verdict approval.Verdict
		summary string
	}{
		{approval.Approve, "Sign a request"},
		{approval.Deny, "Deny a request; one denial ends it"},
		{approval.Confirm, "Confirm what an agent asks for on your behalf; never a substitute for a signature"},
	} {
		register(a, huma.Operation{
			OperationID: string(v.verdict) + "-request", Method: http.MethodPost, Path: path + "/" + string(v.verdict), Tags: tag,
			Summary: v.summary, Description: "Only a person's token for reviewing gives a verdict, where review_auth allows it, and from loopback only. Every other attempt is refused and recorded.",
			Errors: []int{http.StatusForbidden, http.StatusNotFound, http.StatusConflict},
		}, a.review(v.verdict))
	}
}

type listInput struct {
	State []string `query:"state" maxItems:"20" enum:"pending,approved,denied,expired,cancelled,lapsed,revoked,claimed,uncommitted,done,failed,rolled_back,unknown" doc:"only these states"`
	Limit int      `query:"limit" minimum:"1" maximum:"500" default:"50"`
}

type listOutput struct {
	Body struct {
		Requests []Summary `json:"requests" doc:"newest first"`
	}
}

func (a *API) list(ctx context.Context, who caller, in *listInput) (*listOutput, error) {
	f := gate.Filter{Limit: min(in.Limit, maxListed)}
	for _, s := range in.State {
		f.States = append(f.States, approval.State(s))
	}
	recs, err := a.o.Gate.Requests(ctx, who.Holder, f)
	if err != nil {
		return nil, err
	}
	out := &listOutput{}
	out.Body.Requests = make([]Summary, len(recs))
	for i, rec := range recs {
		out.Body.Requests[i] = a.summary(who, rec)
	}
	return out, nil
}

func (a *API) get(ctx context.Context, who caller, in *RequestPath) (*requestOutput, error) {
	rec, err := a.o.Gate.Request(ctx, who.Holder, countersign.RequestID(in.ID))
	if err != nil {
		return nil, err
	}
	return a.output(who, rec), nil
}

type waitInput struct {
	RequestPath
	Revision uint64 `query:"revision" doc:"the revision you know; the answer comes once it differs"`
	Seconds  int    `query:"seconds" minimum:"1" maximum:"60" default:"30" doc:"how long to wait at most"`
}

func (a *API) wait(ctx context.Context, who caller, in *waitInput) (*requestOutput, error) {
	select {
	case a.waits <- struct{}{}:
		defer func() { <-a.waits }()
	default:
		return nil, &countersign.Error{
			Kind:    countersign.ErrLimit,
			Message: sanitize.Const("too many requests are being waited for"),
			Hint:    sanitize.Const("ask again in a few seconds"),
		}
	}
	ctx, stop := context.WithTimeout(ctx, min(time.Duration(in.Seconds)*time.Second, maxWait))
	defer stop()
	rec, err := a.o.Gate.Wait(ctx, who.Holder, countersign.RequestID(in.ID), in.Revision)
	if err != nil {
		return nil, err
	}
	return a.output(who, rec), nil
}

type cancelInput struct {
	RequestPath
	Body struct {
		Reason string `json:"reason,omitempty" maxLength:"2000"`
	}
}

func (a *API) cancel(ctx context.Context, who caller, in *cancelInput) (*requestOutput, error) {
	rec, err := a.o.Gate.Cancel(ctx, who.Holder, countersign.RequestID(in.ID), a.reason(in.Body.Reason))
	if err != nil {
		return nil, err
	}
	return a.output(who, rec), nil
}

func (a *API) review(v approval.Verdict) func(context.Context, caller, *verdictInput) (*requestOutput, error) {
	return func(ctx context.Context, who caller, in *verdictInput) (*requestOutput, error) {
		review := approval.Review{Verdict: v, Reason: a.reason(in.Body.Reason)}
		if err := review.Digest.UnmarshalText([]byte(in.Body.Digest)); err != nil {
			return nil, invalid(sanitize.Const("digest is not 64 hexadecimal digits"), sanitize.Clean{})
		}
		if err := review.View.UnmarshalText([]byte(in.Body.ViewDigest)); err != nil {
			return nil, invalid(sanitize.Const("view_digest is not 64 hexadecimal digits"), sanitize.Clean{})
		}
		// An attempt without presence goes to the gate too: it refuses every one of them, and records it.
		by := gate.Reviewer{Principal: who.Holder, Login: who.Login}
		absent := a.absent(who)
		if absent == nil {
			by.Presence = approval.PresenceToken
		}
		rec, err := a.o.Gate.Review(ctx, by, countersign.RequestID(in.ID), review)
		var refused *countersign.Error
		switch {
		case err == nil && absent != nil:
			return nil, fmt.Errorf("the gate took a verdict without presence on %s", in.ID)
		case err == nil:
			return a.output(who, rec), nil
		case absent != nil && errors.As(err, &refused) && refused.Kind == countersign.ErrDenied:
			return nil, absent
		default:
			return nil, err
		}
	}
}

// absent says why the caller's token does not stand for a person who is present (P2), or returns nil:
// for a person's token for reviewing, where review_auth allows it, on this machine.
func (a *API) absent(who caller) error {
	refuse := func(message, detail, hint sanitize.Clean) error {
		return &countersign.Error{Kind: countersign.ErrDenied, Message: message, Detail: detail, Hint: hint}
	}
	switch {
	case who.person() == "":
		return refuse(sanitize.Format("%s may not review: agents, keys and services never sign", sanitize.Name(who.Holder.ID())),
			sanitize.Clean{}, sanitize.Const("a person other than the requester has to sign"))
	case !who.Review:
		return refuse(sanitize.Const("this token does not sign"), sanitize.Const("it is for connecting, and a token is never for both"),
			sanitize.Const("sign with a token for reviewing: countersign token new --use review makes one"))
	case !a.o.ReviewByToken:
		return refuse(sanitize.Const("a token does not sign: it does not prove that a person is present"), sanitize.Const("review_auth: token is not configured"),
			sanitize.Const("for a trial on loopback, set review_auth: token in the gateway's configuration"))
	case !who.here:
		return refuse(sanitize.Const("a token signs on loopback only"), sanitize.Const("this request came from another machine, or through a proxy"),
			sanitize.Const("sign on the machine where the gateway runs"))
	}
	return nil
}

func (a *API) reason(text string) sanitize.Clean {
	if len(text) > maxReasonBytes {
		text = text[:maxReasonBytes]
	}
	return a.o.Sanitizer.Text(text)
}

func (a *API) output(who caller, rec gate.Record) *requestOutput {
	r := rec.Request
	return &requestOutput{Body: Request{
		Summary: a.summary(who, rec),
		Digest:  r.Digest, ViewDigest: r.View, Policy: r.Policy,
		Seats: orEmpty(r.Seats), MaxUses: r.MaxUses, Uses: orEmpty(r.Uses), Reviews: orEmpty(r.Reviews),
		Transaction: rec.Transaction != "",
		View:        rec.View,
	}}
}

func (a *API) summary(who caller, rec gate.Record) Summary {
	r := rec.Request
	_, dir := a.o.Gate.Active()
	s := Summary{
		ID: r.ID, Revision: rec.Revision, State: r.State, Resource: r.Resource, Requester: r.Requester,
		Effects: rec.View.Effects, Text: beginning(rec.View.Text), Needs: []string{}, Confirm: r.Confirm,
		Created: r.Created, Deadline: r.Deadline, ClaimBy: r.ClaimBy, Ended: r.Ended, Why: r.Why,
	}
	if r.State == approval.Pending {
		for _, seat := range r.OpenSeats(dir) {
			s.Needs = append(s.Needs, seatText(seat))
		}
	}
	s.You.Principal = who.Holder.ID()
	var refused *countersign.Error
	if errors.As(a.absent(who), &refused) {
		s.You.Why = refused.Message
		if !refused.Detail.IsZero() {
			s.You.Why = sanitize.Join(": ", refused.Message, refused.Detail)
		}
	} else {
		s.You.CanSign, s.You.Why = a.o.Gate.CanSign(who.person(), rec)
	}
	return s
}

func seatText(s countersign.Seat) string {
	text := "1 of "
	for i, g := range s.Groups {
		if i > 0 {
			text += " or "
		}
		text += string(g)
	}
	if s.Distinct != "" {
		text += " (through a group of its own)"
	}
	if s.Passkey {
		text += " (by passkey)"
	}
	return text + ", asked by rule " + strconv.Quote(s.Rule)
}

// beginning cuts a text for a list, between two characters.
func beginning(c sanitize.Clean) string {
	text := c.String()
	if len(text) <= listedText {
		return text
	}
	cut := listedText
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
