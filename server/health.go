package server

import (
	"context"
	"maps"
	"os"
	"slices"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/api"
	"github.com/countersign-dev/countersign/sanitize"
	"github.com/countersign-dev/countersign/trail"
)

// notices are the exceptions in force. Health tells them, and every checkpoint repeats them under its
// signature, so that whoever checks the trail later knows under which rules it came about.
func notices(c *Config) []string {
	lines := []string{"policy_source: " + c.PolicySource}
	if c.ReviewAuth != "" {
		lines = append(lines, "review_auth: "+c.ReviewAuth)
	}
	return lines
}

// health is how the server is, with all its details.
func (s *Server) health(ctx context.Context) api.Health {
	c := s.config.Load()
	h := api.Health{Status: api.OK, Notices: []sanitize.Clean{
		sanitize.Const("policy_source: unreviewed: whoever can write to the policy folder makes the rules"),
	}}
	if c.ReviewAuth == ReviewAuthToken {
		h.Notices = append(h.Notices, sanitize.Const("review_auth: token: whoever reads a reviewer's token is that person; for trials on this machine only"))
	}
	set, _ := s.gate.Active()
	d := &api.HealthDetail{
		Version: s.o.Version, Started: s.o.Started.UTC(),
		PolicySource: c.PolicySource, ReviewAuth: c.ReviewAuth, Policy: set.Digest(),
		Listen: api.HealthListen{Web: s.webLn.Addr().String(), Postgres: s.pgLn.Addr().String(), TLS: c.Listen.TLS.Cert != ""},
		Events: s.store.Size(), StoreBytes: folderSize(c.DataDir),
	}
	for _, r := range c.Resources {
		d.Resources = append(d.Resources, api.HealthResource{Name: countersign.ResourceName(r.Name), Kind: r.Kind})
	}
	s.mu.Lock()
	for _, part := range slices.Sorted(maps.Keys(s.problems)) {
		d.Problems = append(d.Problems, s.problems[part])
		h.Notices = append(h.Notices, sanitize.Format("the %s was not loaded; the old one stays", sanitize.Name(part)))
		h.Status = api.Degraded
	}
	s.mu.Unlock()
	if set == nil {
		h.Status = api.Failing
		h.Notices = append(h.Notices, sanitize.Const("there is no active policy: everything is denied"))
	}
	s.storeHealth(ctx, &h, d)
	h.Detail = d
	return h
}

func (s *Server) storeHealth(ctx context.Context, h *api.Health, d *api.HealthDetail) {
	signed, err := s.store.Checkpoint()
	if err == nil {
		var c trail.Checkpoint
		if c, err = trail.UnverifiedCheckpoint(signed); err == nil {
			d.Checkpoint = &api.HealthCheckpoint{Origin: c.Origin, Size: c.Size, Root: c.Root.String()}
		}
	}
	if err != nil {
		h.Status = api.Failing
		h.Notices = append(h.Notices, sanitize.Const("the trail cannot be signed: every action is refused"))
	}
	if _, err := s.store.Active(ctx); err != nil {
		h.Status = api.Failing
		h.Notices = append(h.Notices, sanitize.Const("the trail cannot be written: every action is refused"))
	}
}

// folderSize is the size of the files in the data folder; 0 when it cannot be looked at, which the store
// will tell in its own words.
func folderSize(dir string) int64 {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	var size int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
	}
	return size
}
