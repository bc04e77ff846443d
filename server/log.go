package server

import (
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/countersign-dev/countersign/sanitize"
)

// redactor sanitizes what is logged (P7). The store's key becomes known only after the first lines.
type redactor struct {
	current atomic.Pointer[sanitize.Sanitizer]
}

func (r *redactor) use(s *sanitize.Sanitizer)      { r.current.Store(s) }
func (r *redactor) sanitizer() *sanitize.Sanitizer { return r.current.Load() }

// newLogger returns a logger whose text values have all passed the sanitizer: packages log Clean values,
// and this holds for whatever a library or an error brings along.
func newLogger(w io.Writer, r *redactor) *slog.Logger {
	if w == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
				return a
			}
			switch v := a.Value.Resolve(); v.Kind() {
			case slog.KindString:
				a.Value = slog.StringValue(r.sanitizer().Text(v.String()).String())
			case slog.KindAny:
				if c, ok := v.Any().(sanitize.Clean); ok {
					a.Value = slog.StringValue(c.String())
				} else {
					a.Value = slog.StringValue(r.sanitizer().Text(v.String()).String())
				}
			}
			return a
		},
	}))
}

// tellReady says where the gateway listens and what exceptions are in force.
func (s *Server) tellReady(c *Config) {
	set, _ := s.gate.Active()
	s.log.Info("ready", "public_url", s.public, "web", s.webLn.Addr().String(), "postgres", s.pgLn.Addr().String(),
		"resources", len(c.Resources), "policy", set.Digest().Clean())
	for _, n := range notices(c) {
		s.log.Warn("an exception is in force", "notice", n)
	}
}
