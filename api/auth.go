package api

import (
	"context"
	"net/http"
	"net/netip"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/countersign-dev/countersign"
)

const bearerScheme = "token"

// Caller is who presents a token.
type Caller struct {
	Holder countersign.Principal // kind and name; the rest is the directory's
	Login  string                // of a person
	// Review: the token is for reviewing; else it is for connecting. It is never for both.
	Review bool
}

// use is what the token is for, in a word.
func (c Caller) use() string {
	if c.Review {
		return "review"
	}
	return "connect"
}

// caller is who asks, and from where. Handlers take it as a parameter.
type caller struct {
	Caller
	// here: the request came from this machine and through no proxy that says so.
	here bool
}

// person is the caller as a person, or "".
func (c caller) person() countersign.PersonID {
	if c.Holder.Kind != countersign.KindPerson {
		return ""
	}
	return c.Holder.Person
}

type callerKey struct{}

// register adds an operation for holders of a token. The token is judged before anything else of the
// request is read.
func register[I, O any](a *API, op huma.Operation, handle func(context.Context, caller, *I) (*O, error)) {
	op.Security = []map[string][]string{{bearerScheme: {}}}
	op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusTooManyRequests)
	op.Middlewares = append(op.Middlewares, func(ctx huma.Context, next func(huma.Context)) {
		r, _ := humago.Unwrap(ctx)
		who, err := a.authenticate(r)
		if err != nil {
			ctx.SetHeader("WWW-Authenticate", `Bearer realm="countersign"`)
			a.writeProblem(ctx, err)
			return
		}
		next(huma.WithValue(ctx, callerKey{}, who))
	})
	a.limited(&op, reflect.TypeFor[I]())
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, ctx.Value(callerKey{}).(caller), in)
		if err != nil {
			return nil, a.problem(err)
		}
		return out, nil
	})
}

// public adds an operation for everyone.
func public[I, O any](a *API, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	a.limited(&op, reflect.TypeFor[I]())
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, a.problem(err)
		}
		return out, nil
	})
}

func (a *API) limited(op *huma.Operation, input reflect.Type) {
	a.inputs = append(a.inputs, input)
	op.MaxBodyBytes = maxBodyBytes
	op.BodyReadTimeout = bodyTimeout
}

func (a *API) authenticate(r *http.Request) (caller, error) {
	remote := remoteAddr(r)
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		text = ""
	}
	who, err := a.o.Authenticate(remote, text)
	if err != nil {
		return caller{}, err
	}
	return caller{Caller: who, here: remote.IsLoopback() && !proxied(r)}, nil
}

func remoteAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.IPv6Unspecified()
	}
	return ap.Addr().Unmap()
}

// proxied reports whether a proxy says that it passed the request on for someone else.
func proxied(r *http.Request) bool {
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if r.Header.Get(h) != "" {
			return true
		}
	}
	return false
}

func alias[T, As any](r huma.Registry) {
	r.RegisterTypeAlias(reflect.TypeFor[T](), reflect.TypeFor[As]())
}
