package gate

import (
	"context"
	"sync"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// Opening says how a session came about.
type Opening struct {
	Front    string         // the protocol
	Database sanitize.Clean // within the resource
	Role     sanitize.Clean // upstream account
	Remote   sanitize.Clean // the client's address
	Client   sanitize.Clean // what the client calls itself
}

// Session is one client's connection to one resource. Its methods are for one goroutine, except Done,
// Err and Close.
type Session struct {
	g         *Gate
	id        sanitize.Clean        // empty outside any session (Do)
	principal countersign.Principal // as authenticated; who he is now is judged with each action
	resource  *countersign.Resource
	opening   Opening
	base      []countersign.Field // the fields that every event of the session carries
	block     block
	known     *countersign.Principal // who the principal is in the directory of revision knownAt; never altered
	knownAt   uint64
	tellings  []*telling // the latest, at most tellingsKept
	told      int        // how many there were
	spare     *answer    // nobody's, to be used again

	done chan struct{}
	mu   sync.Mutex
	err  *countersign.Error // why done is closed
	shut bool               // Close has run
}

// Open begins a session, or says why not. The session's event is durable when it returns.
func (g *Gate) Open(ctx context.Context, p countersign.Principal, r countersign.ResourceName, o Opening) (*Session, error) {
	s, err := g.session(p, r, o)
	if err != nil {
		return nil, err
	}
	s.id = newID(sessionPrefix)
	s.base = append(s.base, countersign.Field{Name: countersign.FieldSession, Value: s.id})
	opened := countersign.Event{Type: countersign.SessionOpened, Fields: append(s.fields(2),
		countersign.Field{Name: "remote", Value: o.Remote},
		countersign.Field{Name: "client", Value: o.Client},
	)}
	if _, err := g.commit(ctx, Change{Events: []countersign.Event{opened}}); err != nil {
		return nil, unavailable(err)
	}
	g.mu.Lock()
	g.sessions[s] = struct{}{}
	g.mu.Unlock()
	// The directory may have changed between the look above and the registration.
	if err := s.admitted(g.active.Load().directory); err != nil {
		s.end(err)
	}
	return s, nil
}

// session makes a session that is neither recorded nor registered.
func (g *Gate) session(p countersign.Principal, r countersign.ResourceName, o Opening) (*Session, error) {
	res, ok := g.resources[r]
	if !ok {
		return nil, &countersign.Error{
			Kind:    countersign.ErrNotFound,
			Message: sanitize.Format("no resource is named %s", sanitize.Name(string(r))),
			Hint:    sanitize.Const("the database name is RESOURCE or RESOURCE/DATABASE, as in the gateway's configuration"),
		}
	}
	s := &Session{g: g, principal: p, resource: res, opening: o, done: make(chan struct{})}
	if err := s.admitted(g.active.Load().directory); err != nil {
		return nil, err
	}
	now, _ := g.active.Load().directory.Principal(p)
	s.base = []countersign.Field{
		{Name: countersign.FieldPrincipal, Value: sanitize.Name(p.ID())},
		{Name: countersign.FieldResource, Value: sanitize.Name(string(res.Name))},
		{Name: countersign.FieldFront, Value: sanitize.Name(o.Front)},
	}
	if len(now.Chain) > 0 {
		s.base = append(s.base, countersign.Field{Name: countersign.FieldChain, Value: persons(now.Chain)})
	}
	if !o.Database.IsZero() {
		s.base = append(s.base, countersign.Field{Name: countersign.FieldDatabase, Value: o.Database})
	}
	if !o.Role.IsZero() {
		s.base = append(s.base, countersign.Field{Name: countersign.FieldRole, Value: o.Role})
	}
	return s, nil
}

// admitted says whether the directory still knows the session's principal as he was authenticated.
func (s *Session) admitted(d countersign.Directory) *countersign.Error {
	if _, err := d.Principal(s.principal); err != nil {
		return &countersign.Error{
			Kind:    countersign.ErrUnauthenticated,
			Message: sanitize.Format("%s may not use the gateway", sanitize.Name(s.principal.ID())),
			Detail:  sanitize.Const("the directory has no active record of this identity, or of the person it acts for"),
			Hint:    sanitize.Const("ask an administrator of Countersign"),
			Err:     err,
		}
	}
	return nil
}

// who returns the principal as act's directory has him now.
func (s *Session) who(act *active) (*countersign.Principal, error) {
	if s.knownAt == act.directoryRevision && s.knownAt != 0 {
		return s.known, nil
	}
	now, err := act.directory.Principal(s.principal)
	if err != nil {
		return nil, s.admitted(act.directory)
	}
	s.known, s.knownAt = &now, act.directoryRevision
	return s.known, nil
}

// ID names the session in the trail.
func (s *Session) ID() string { return s.id.String() }

// Resource returns the resource as configured.
func (s *Session) Resource() countersign.Resource { return *s.resource }

// Done is closed when the session must end (its principal was deactivated, the gate closes); Err says why.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err says why Done is closed: a *countersign.Error, or nil while it is open.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return nil
	}
	return s.err
}

func (s *Session) end(why *countersign.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = why
		close(s.done)
	}
}

// Close records the end of the session; a block still open ends with end. Only the first call counts.
// The session's goroutine must be through with it.
func (s *Session) Close(end BlockEnd, why sanitize.Clean) {
	s.mu.Lock()
	shut := s.shut
	s.shut = true
	s.mu.Unlock()
	if shut {
		return
	}
	s.EndBlock(end)
	s.g.mu.Lock()
	delete(s.g.sessions, s)
	s.g.mu.Unlock()
	if !s.id.IsZero() {
		s.g.note(countersign.Event{Type: countersign.SessionClosed, Fields: append(s.fields(2),
			countersign.Field{Name: countersign.FieldReason, Value: why})})
	}
}

// Refuse records that the front itself refused a, before any judgement (malformed, over a limit).
func (s *Session) Refuse(a *countersign.Action, why *countersign.Error) {
	s.g.note(s.refused(a, countersign.Decision{Verdict: countersign.Deny}, why))
}

// Judge says what policy decides of a now, without recording or holding anything. It is for questions
// asked before an action is whole, such as whether a statement may be parsed.
func (s *Session) Judge(a *countersign.Action) countersign.Decision {
	act := s.g.active.Load()
	p, err := s.who(act)
	if err != nil {
		return countersign.Decision{Verdict: countersign.Deny, Reason: "the principal is not active in the directory"}
	}
	return *s.decide(act, p, s.effective(a, p))
}

// Hold says how a front waits for signatures.
type Hold struct {
	// Max is how long; zero means not at all: the request is opened and ErrPending returned.
	Max time.Duration
	// Every is the time between calls of Notify after the first; zero means no further calls.
	Every time.Duration
	// Notify tells the client that it waits. It is called from Admit's goroutine; an error ends the wait.
	Notify func(Held) error
	// Stop, when it becomes readable, ends the wait (others wait on this session's locks). May be nil.
	Stop <-chan struct{}
}

// Held is what a waiting client is told.
type Held struct {
	Request countersign.RequestID
	Link    string // "" when there is no page
	Waited  time.Duration
	Until   time.Time      // the request's own deadline
	Needs   sanitize.Clean // whose signatures are missing: "1 of dba"
}

// Do admits one action outside any session and runs act with its Permit.
func (g *Gate) Do(ctx context.Context, p countersign.Principal, a *countersign.Action, h Hold, act func(context.Context, *Permit) Outcome) error {
	s, err := g.session(p, a.Resource, Opening{Front: a.Front})
	if err != nil {
		return err
	}
	permit, err := s.Admit(ctx, a, h)
	if err != nil {
		return err
	}
	if err := permit.Durable(ctx); err != nil {
		return err
	}
	permit.Finish(act(ctx, permit))
	return nil
}
