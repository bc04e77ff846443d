package approval

import "github.com/countersign-dev/countersign"

// The worlds. Each is walked to its end, so each is wide in another place and narrow in the others.

var (
	bySession = []Presence{PresenceSession}
	byEither  = []Presence{PresenceSession, PresencePasskey}

	allows       = ask{verdict: countersign.Allow}
	denies       = ask{verdict: countersign.Deny}
	confirmation = ask{verdict: countersign.Confirm}
	aDBA         = reviewBy(want{groups: dba})
	aSec         = reviewBy(want{groups: sec})
	dbaSec       = reviewBy(want{groups: dba}, want{groups: sec})
	aPair        = reviewBy(want{groups: dba | sec, set: "pair"}, want{groups: dba | sec, set: "pair"})
)

func reviewBy(seats ...want) ask { return ask{verdict: countersign.Review, seats: seats} }

func (a ask) andConfirm() ask {
	a.confirm = true
	return a
}

func (a ask) byPasskey() ask {
	seats := make([]want, len(a.seats))
	for i, s := range a.seats {
		seats[i] = s
		seats[i].passkey = true
	}
	a.seats = seats
	return a
}

// first makes the policies of a world with one request.
func first(asks ...ask) [][2]ask {
	var all [][2]ask
	for _, a := range asks {
		all = append(all, [2]ask{a, denies})
	}
	return all
}

// alone are the worlds with one request: wide in what happens to people and to policy.
func alone() []*world {
	only := func(a int) [2]int { return [2]int{a, nobody} }
	return []*world{
		{
			name: "an agent asks for a signature", askers: only(x), uses: [2]int{1, 0},
			policies: first(aDBA),
			changes:  []change{xActsForBob, annOwnsX, xDeactivated}, dirChanges: 1,
			lastTick: 2, presences: bySession, replicas: 1, readsAll: true,
		},
		{
			name: "an agent asks for a confirmation or for a signature", askers: only(x), uses: [2]int{1, 0},
			policies: first(confirmation, aDBA, allows), policyChanges: 2,
			changes: []change{workIsAnns}, dirChanges: 1,
			presences: bySession, replicas: 1,
		},
		{
			name: "an agent asks for a confirmation and for a signature", askers: only(x), uses: [2]int{1, 0},
			policies: first(aDBA.andConfirm()),
			changes:  []change{xActsForBob, bobDeactivated}, dirChanges: 1,
			presences: bySession, replicas: 1,
		},
		{
			name: "an agent asks for a pair", askers: only(x), uses: [2]int{1, 0},
			policies: first(aPair, allows, denies, ask{}, reviewBy()), policyChanges: 1,
			changes: []change{annOwnsX, bobDeactivated, bobLeavesSec, xActsForBob}, dirChanges: 1,
			lastTick: 2, presences: bySession, replicas: 2,
		},
		{
			name: "an agent asks for a passkey", askers: only(x), uses: [2]int{1, 0},
			policies: first(aDBA.byPasskey(), dbaSec), policyChanges: 1,
			changes: []change{homeIsDans, xDeactivated}, dirChanges: 1,
			lastTick: 1, presences: byEither, replicas: 1,
		},
		{
			name: "an agent asks for a signature and a confirmation", askers: only(y), uses: [2]int{1, 0},
			policies: first(aSec.andConfirm(), aSec, aSec.byPasskey()), policyChanges: 1,
			changes: []change{homeIsDans, bobLeavesSec}, dirChanges: 2,
			lastTick: 1, presences: bySession, replicas: 1,
		},
		{
			name: "an agent asks for two of one group, and for a confirmation later", askers: only(x), uses: [2]int{1, 0},
			policies: first(reviewBy(want{groups: dba}, want{groups: dba}), aDBA.andConfirm()), policyChanges: 1,
			changes: []change{annLeavesDBA, catJoinsDBA}, dirChanges: 1,
			lastTick: 1, presences: bySession, replicas: 1,
		},
		{
			name: "an agent is to be confirmed only", askers: only(x), uses: [2]int{1, 0},
			policies: first(confirmation, allows, aDBA.andConfirm()), policyChanges: 1,
			changes: []change{xActsForBob, workIsAnns, danDeactivated}, dirChanges: 1,
			lastTick: 1, presences: bySession, replicas: 1,
		},
		{
			name: "a person with two logins asks", askers: only(agents + ann), uses: [2]int{1, 0},
			policies: first(aDBA, denies), policyChanges: 1,
			changes: []change{homeIsDans, bobDeactivated}, dirChanges: 1,
			lastTick: 1, presences: bySession, replicas: 2,
		},
	}
}

// wide are worlds that take minutes.
func wide() []*world {
	return []*world{
		{
			name: "everything", askers: [2]int{x, y}, uses: [2]int{1, 1},
			policies: [][2]ask{{aDBA, confirmation}, {denies, aSec.andConfirm()}}, policyChanges: 1,
			changes: []change{bobDeactivated, annLeavesDBA}, dirChanges: 1,
			lastTick: 2, presences: bySession, replicas: 2, mergesStale: true,
		},
		{
			name: "two agents ask, one to be confirmed, and time passes", askers: [2]int{x, y}, uses: [2]int{1, 1},
			policies: [][2]ask{{dbaSec, confirmation}, {allows, denies}}, policyChanges: 1,
			changes: []change{bobDeactivated}, dirChanges: 1,
			lastTick: 1, presences: bySession, replicas: 2,
		},
		{
			name: "one agent asks twice, once for two uses, and time passes", askers: [2]int{x, x}, uses: [2]int{2, 1},
			policies: [][2]ask{{aDBA, confirmation}},
			lastTick: 1, presences: bySession, replicas: 2,
		},
		{
			name: "an agent asks for a passkey, and may be used twice", askers: [2]int{x, nobody}, uses: [2]int{2, 0},
			policies: first(aDBA.byPasskey(), dbaSec), policyChanges: 1,
			changes: []change{homeIsDans, xDeactivated}, dirChanges: 1,
			lastTick: 1, presences: byEither, replicas: 1,
		},
		{
			name: "an agent is to be confirmed, late", askers: [2]int{x, nobody}, uses: [2]int{1, 0},
			policies: first(confirmation, allows, aDBA.andConfirm()), policyChanges: 1,
			changes: []change{xActsForBob, workIsAnns, danDeactivated}, dirChanges: 2,
			lastTick: 3, lastOpen: 1, presences: bySession, replicas: 1, readsAll: true,
		},
	}
}

// together are the worlds with two requests.
func together() []*world {
	return []*world{
		{
			name: "a little of everything", askers: [2]int{x, y}, uses: [2]int{1, 1},
			policies: [][2]ask{{aDBA, confirmation}, {denies, denies}}, policyChanges: 1,
			changes: []change{bobDeactivated, annLeavesDBA}, dirChanges: 1, outcomes: []State{Done},
			lastTick: 2, presences: bySession, replicas: 2, mergesStale: true,
		},
		{
			name: "two agents ask, one to be confirmed", askers: [2]int{x, y}, uses: [2]int{1, 1},
			policies: [][2]ask{{dbaSec, confirmation}, {allows, denies}}, policyChanges: 1,
			changes: []change{bobDeactivated}, dirChanges: 1,
			lastTick: 0, presences: bySession, replicas: 2,
		},
		{
			name: "two agents ask, and time passes", askers: [2]int{x, y}, uses: [2]int{1, 1},
			policies: [][2]ask{{dbaSec, confirmation}},
			changes:  []change{bobDeactivated}, dirChanges: 1,
			lastTick: 2, presences: bySession, replicas: 1,
		},
		{
			name: "one agent asks twice, once for two uses", askers: [2]int{x, x}, uses: [2]int{2, 1},
			policies: [][2]ask{{aDBA, confirmation}},
			lastTick: 0, presences: bySession, replicas: 2,
		},
		{
			name: "two agents ask for signatures", askers: [2]int{x, y}, uses: [2]int{1, 1},
			policies: [][2]ask{{aPair, aSec.andConfirm()}, {denies, allows}}, policyChanges: 1,
			changes: []change{homeIsDans}, dirChanges: 1,
			lastTick: 0, presences: bySession, replicas: 1,
		},
	}
}
