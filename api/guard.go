package api

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/countersign-dev/countersign/sanitize"
)

// guard is what every request passes before any route.
func (a *API) guard(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		defer func() {
			// One request's bug must not be another's; net/http's own way of ending a response goes on.
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				a.o.Logger.Error("a handler panicked", "path", a.o.Sanitizer.Text(r.URL.Path), "panic", a.o.Sanitizer.Text(panicText(p)))
				plainProblem(w, http.StatusInternalServerError, "internal error", "the gateway's log has more")
			}
		}()
		// Probes ask under an address of the machine, and are told one word.
		probe := r.URL.Path == "/healthz" || r.URL.Path == "/readyz"
		if !probe && !a.hostAllowed(r.Host) {
			plainProblem(w, http.StatusForbidden, "this gateway does not answer under that host name",
				"use the address in public_url, or localhost")
			return
		}
		if status, allowed := routed(mux, r); status != http.StatusOK {
			if allowed != "" {
				h.Set("Allow", allowed)
			}
			plainProblem(w, status, "nothing is here", "/openapi.json describes what is")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// routed says whether the mux has a route for r, or 404 or 405, so that these are answered as problems too.
func routed(mux *http.ServeMux, r *http.Request) (status int, allowed string) {
	if _, pattern := mux.Handler(r); pattern != "" {
		return http.StatusOK, ""
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "" {
			return http.StatusMethodNotAllowed, method
		}
	}
	return http.StatusNotFound, ""
}

// hostAllowed refuses names that a page of someone else's could have been given (DNS rebinding).
func (a *API) hostAllowed(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, a.host) || strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func panicText(p any) string {
	if err, ok := p.(error); ok {
		return err.Error()
	}
	if s, ok := p.(string); ok {
		return s
	}
	return sanitize.Const("a value").String()
}
