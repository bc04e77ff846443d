package api

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/countersign-dev/countersign/gate"
)

// gateCollector reads the gate's counters. Every label has a closed set of values, so that nothing that
// a client sends becomes a time series.
type gateCollector struct{ gate *gate.Gate }

var (
	actionsDesc  = prometheus.NewDesc("countersign_actions_total", "Actions judged, by what became of them.", []string{"answer"}, nil)
	reviewsDesc  = prometheus.NewDesc("countersign_reviews_total", "Verdicts of people, by what became of them.", []string{"verdict"}, nil)
	outcomesDesc = prometheus.NewDesc("countersign_outcomes_total", "How actions that ran ended.", []string{"outcome"}, nil)
	waitingDesc  = prometheus.NewDesc("countersign_requests_waited_for", "Requests that somebody waits for now.", nil, nil)
)

// counts names the gate's counters, for metrics and health alike.
func counts(g *gate.Gate) (actions, reviews, outcomes map[string]int64, waiting int) {
	c, waiting := g.Counters()
	actions = map[string]int64{
		"allowed": c.Allowed.Load(), "denied": c.Denied.Load(), "held": c.Held.Load(), "claimed": c.Claimed.Load(),
	}
	reviews = map[string]int64{
		"approved": c.Approvals.Load(), "denied": c.Denials.Load(), "refused": c.ReviewsRefused.Load(),
	}
	outcomes = map[string]int64{
		"done": c.Done.Load(), "failed": c.Failed.Load(), "rolled_back": c.RolledBack.Load(), "unknown": c.UnknownEnds.Load(),
	}
	return actions, reviews, outcomes, waiting
}

func (gateCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- actionsDesc
	ch <- reviewsDesc
	ch <- outcomesDesc
	ch <- waitingDesc
}

func (c gateCollector) Collect(ch chan<- prometheus.Metric) {
	actions, reviews, outcomes, waiting := counts(c.gate)
	for desc, values := range map[*prometheus.Desc]map[string]int64{actionsDesc: actions, reviewsDesc: reviews, outcomesDesc: outcomes} {
		for label, n := range values {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), label)
		}
	}
	ch <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(waiting))
}

// metrics serves Prometheus. From loopback it needs no token; from elsewhere any valid one.
func (a *API) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), gateCollector{a.o.Gate})
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "countersign_build_info", Help: "Always 1; the label is the version.",
		ConstLabels: prometheus.Labels{"version": version(a.o.Version)},
	})
	info.Set(1)
	registry.MustRegister(info)
	registry.MustRegister(a.o.Collectors...)
	serve := promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !remoteAddr(r).IsLoopback() || proxied(r) {
			if _, err := a.authenticate(r); err != nil {
				p := a.problem(err)
				plainProblem(w, p.Status, p.Message, p.Hint)
				return
			}
		}
		serve.ServeHTTP(w, r)
	})
}
