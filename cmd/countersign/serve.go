package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/countersign-dev/countersign/server"
)

// stopLimit is how long an orderly stop may take.
const stopLimit = 10 * time.Second

type serveCmd struct {
	Config string `default:"countersign.yaml" help:"The configuration file." type:"path"`
}

// Run runs the gateway in the foreground until it is told to stop. SIGHUP reloads policy, people, agents
// and the certificate.
func (c *serveCmd) Run(s *sys) error {
	started := time.Now()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // before anything can fail slowly: a SIGHUP must never end the gateway
	defer signal.Stop(hup)
	cfg, err := server.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	srv, err := server.Start(s.ctx, cfg, server.Options{Log: s.err, Version: build().Version, Started: started})
	if err != nil {
		return startFailure(err)
	}
	fmt.Fprintf(s.out, "countersign is ready: %s for people and programs, %s for PostgreSQL clients. Ctrl-C stops it.\n",
		srv.PublicURL(), srv.Postgres())
	err = c.wait(s, srv, hup)
	ctx, stop := context.WithTimeout(context.Background(), stopLimit)
	defer stop()
	if e := srv.Close(ctx); err == nil && e != nil {
		err = &failure{code: exitUnavailable, what: "stopping: " + e.Error()}
	}
	return err
}

func (c *serveCmd) wait(s *sys, srv *server.Server, hup <-chan os.Signal) error {
	for {
		select {
		case <-s.ctx.Done():
			return nil
		case err := <-srv.Fatal():
			return &failure{code: exitUnavailable, what: "the gateway cannot go on: " + err.Error(), next: "see the log above; nothing that was acknowledged is lost"}
		case <-hup:
			_ = srv.Reload(s.ctx) // what is wrong is in the log and in health; the old version stays
		}
	}
}
