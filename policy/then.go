package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/countersign-dev/countersign"
)

const (
	maxSeatCount = 8
	maxLimit     = int64(1) << 50
)

var thenKeys = []string{
	"allow", "confirm", "review", "deny", "reason", "mask", "limit", "expires", "claim_within", "mode", "until",
}

// then reads what follows when a rule matches.
func (l *loader) then(n *yaml.Node, r *rule) {
	pairs, ok := l.pairs(n, "then")
	if !ok {
		return
	}
	at := map[string]*yaml.Node{}
	for _, p := range pairs {
		at[p.key] = p.at
		if !l.thenKey(p, r) {
			l.unknown(p, "then", thenKeys...)
		}
	}
	if r.info.Verdict == "" && at["limit"] == nil && at["mask"] == nil {
		l.fail(n, "then", "say allow, confirm, review or deny, or set a limit", "the rule has no verdict")
	}
	l.checkThen(at, r)
	r.lenient = r.info.Verdict == countersign.Allow || r.info.Verdict == countersign.Confirm
	r.limits = r.info.Limits != countersign.Limits{}
}

// thenKey reads one key; it reports whether it knows it.
func (l *loader) thenKey(p pair, r *rule) bool {
	switch p.key {
	case "allow", "confirm", "deny":
		l.yes(p.value, p.key)
		l.setVerdict(p, r)
	case "review":
		r.review = l.review(p.value)
		l.setVerdict(p, r)
	case "reason":
		r.reason, _ = l.text(p.value, "reason", maxTextBytes)
	case "limit":
		r.info.Limits = l.limits(p.value)
	case "mask":
		r.info.Masks = l.texts(p.value, "mask")
		if !l.features.Mask {
			l.fail(p.at, "mask", "remove it; limit the rule to what may be seen whole", "this build cannot mask results")
		}
	case "expires":
		r.expires = l.duration(p.value, "expires", MaxExpires)
	case "claim_within":
		r.claimWithin = l.duration(p.value, "claim_within", MaxClaimWithin)
	case "mode":
		if s, ok := l.text(p.value, "mode", 32); ok && s != "observe" {
			l.fail(p.value, "mode", "remove it; rules are enforced", "no mode is named %s", quoted(s))
		} else if ok && !l.features.Observe {
			l.fail(p.at, "mode", "remove it; rules are enforced", "this build cannot observe rules without enforcing them")
		}
	case "until":
		r.info.ObserveUntil = l.date(p.value)
	default:
		return false
	}
	return true
}

func (l *loader) setVerdict(p pair, r *rule) {
	if r.info.Verdict != "" {
		l.fail(p.at, p.key, "write two rules", "a rule has one verdict; this one says %s and %s", r.info.Verdict, p.key)
		return
	}
	r.info.Verdict = countersign.Verdict(p.key)
}

// checkThen refuses keys that the rule's verdict would ignore, and completes the deadlines.
func (l *loader) checkThen(at map[string]*yaml.Node, r *rule) {
	asks := r.info.Verdict == countersign.Review || r.info.Verdict == countersign.Confirm
	for _, key := range []string{"expires", "claim_within"} {
		if at[key] != nil && !asks {
			l.fail(at[key], key, "remove it", "%s is only for review and confirm: nothing else waits", key)
		}
	}
	if at["reason"] != nil && !asks && r.info.Verdict != countersign.Deny {
		l.fail(at["reason"], "reason", "write a comment (#) instead", "reason is only for deny, review and confirm: nobody would see it")
	}
	if at["mode"] != nil && at["until"] == nil {
		l.fail(at["mode"], "until", "add until: YYYY-MM-DD", "mode: observe has no end date")
	}
	if at["until"] != nil && at["mode"] == nil {
		l.fail(at["until"], "until", "remove it, or add mode: observe", "until is only for mode: observe")
	}
	if asks {
		if r.expires == 0 {
			r.expires = DefaultExpires
		}
		if r.claimWithin == 0 {
			r.claimWithin = DefaultClaimWithin
		}
	}
	total := 0
	for i := range r.review {
		total += r.review[i].count
		if r.review[i].distinct != "" {
			r.review[i].distinct = distinctName(r, i)
		}
	}
	if total > MaxSeats {
		l.fail(at["review"], "review", "", "the rule needs %d signatures; an action may need at most %d", total, MaxSeats)
	}
}

// distinctName names the set of seats of the i-th review entry: the rule's name, or for later sets of the
// same rule, that and a number. No rule's name holds a slash.
func distinctName(r *rule, i int) string {
	before := slices.ContainsFunc(r.review[:i], func(s seats) bool { return s.distinct != "" })
	if !before {
		return r.info.Name
	}
	return fmt.Sprintf("%s/%d", r.info.Name, i+1)
}

func (l *loader) review(n *yaml.Node) []seats {
	if n.Kind == yaml.MappingNode {
		l.fail(n, "review", "write review: [{count: 1, groups: [dba]}]", "review is a mapping; it must be a list")
		return nil
	}
	var list []seats
	for _, item := range l.items(n, "review", maxListItems) {
		list = append(list, l.seats(item))
	}
	return list
}

func (l *loader) seats(n *yaml.Node) seats {
	var s seats
	pairs, ok := l.pairs(n, "review")
	if !ok {
		return s
	}
	at := map[string]*yaml.Node{}
	for _, p := range pairs {
		at[p.key] = p.at
		switch p.key {
		case "count":
			s.count = int(l.integer(p.value, "count", 1, maxSeatCount))
		case "groups":
			s.groups, s.reviewers = l.reviewers(p.value)
		case "distinct_groups":
			l.yes(p.value, "distinct_groups")
			s.distinct = "set" // checkThen gives the name
		case "passkey":
			l.yes(p.value, "passkey")
			s.passkey = true
			if !l.features.Passkey {
				l.fail(p.at, "passkey", "remove it; ask for one more signature instead", "this build has no passkeys")
			}
		default:
			l.unknown(p, "review", "count", "groups", "distinct_groups", "passkey")
		}
	}
	if at["count"] == nil {
		l.fail(n, "count", "add count: 1", "a review does not say how many people sign")
	}
	if at["groups"] == nil {
		l.fail(n, "groups", "add groups: [resource.reviewers]", "a review does not say who signs")
	}
	if s.distinct != "" && !s.reviewers && at["groups"] != nil && s.count > len(s.groups) {
		l.fail(at["distinct_groups"], "distinct_groups", "name more groups or lower the count",
			"%d people cannot sign through %d distinct groups", s.count, len(s.groups))
	}
	return s
}

// reviewers reads the groups of a review; resource.reviewers stands for those of the resource.
func (l *loader) reviewers(n *yaml.Node) (groups []countersign.Group, ofResource bool) {
	for _, s := range l.texts(n, "groups") {
		switch {
		case s == "resource.reviewers":
			ofResource = true
		case strings.HasPrefix(s, "resource."):
			l.fail(n, "groups", "write resource.reviewers or a group's name", "%s is not known", quoted(s))
		default:
			groups = append(groups, countersign.Group(s))
		}
	}
	return groups, ofResource
}

func (l *loader) limits(n *yaml.Node) countersign.Limits {
	var limits countersign.Limits
	pairs, ok := l.pairs(n, "limit")
	if !ok {
		return limits
	}
	for _, p := range pairs {
		switch p.key {
		case "rows":
			limits.Rows = l.integer(p.value, p.key, 1, maxLimit)
		case "bytes":
			limits.Bytes = l.integer(p.value, p.key, 1, maxLimit)
		case "rows_per_hour":
			limits.RowsPerHour = l.integer(p.value, p.key, 1, maxLimit)
		case "bytes_per_hour":
			limits.BytesPerHour = l.integer(p.value, p.key, 1, maxLimit)
		default:
			l.unknown(p, "limit", "rows", "bytes", "rows_per_hour", "bytes_per_hour")
		}
	}
	if len(pairs) == 0 {
		l.fail(n, "limit", "write limit: {rows: 1000} or remove it", "limit is empty")
	}
	return limits
}

// date reads a day in UTC, written as YYYY-MM-DD.
func (l *loader) date(n *yaml.Node) time.Time {
	if n.Kind == yaml.ScalarNode && (n.Tag == "!!timestamp" || n.Tag == "!!str") {
		if day, err := time.Parse(time.DateOnly, n.Value); err == nil {
			return day
		}
	}
	l.fail(n, "until", "write it like 2030-01-31", "until is %s; it must be a day", kindOf(n))
	return time.Time{}
}
