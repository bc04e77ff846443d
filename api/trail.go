package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
	"github.com/countersign-dev/countersign/trail"
)

// Trail is what the API reads of the trail.
type Trail interface {
	// Search returns the events that a query selects, newest first.
	Search(ctx context.Context, q trail.Query) ([]trail.Found, error)
	// Story returns every event about an action, request or session, oldest first; none when id is unknown.
	Story(ctx context.Context, id string) ([]trail.Found, error)
	// Prove returns the proof of one event against a checkpoint of now.
	Prove(ctx context.Context, number uint64) ([]byte, error)
	// Checkpoint returns a signed checkpoint of now.
	Checkpoint() ([]byte, error)
	// Export writes the whole trail as a tar archive that `trail verify` takes once unpacked.
	Export(ctx context.Context, w io.Writer) error
}

// Event is a recorded event.
type Event struct {
	Number uint64                `json:"number" doc:"in the log, from 0"`
	ID     string                `json:"id"`
	Time   time.Time             `json:"time"`
	Type   countersign.EventType `json:"type"`
	Fields []EventField          `json:"fields"`
}

// EventField is one field of an event. The value of an erased one is gone for good.
type EventField struct {
	Name   string         `json:"name"`
	Value  sanitize.Clean `json:"value,omitzero"`
	Erased bool           `json:"erased,omitempty"`
}

// Get returns the value of the field of that name, or "".
func (e Event) Get(name string) string {
	for _, f := range e.Fields {
		if f.Name == name {
			return f.Value.String()
		}
	}
	return ""
}

type searchInput struct {
	Type      string    `query:"type" maxLength:"64" doc:"a type, or its beginning with a dot: request."`
	Principal string    `query:"principal" maxLength:"256" doc:"agent:NAME or person:NAME"`
	Resource  string    `query:"resource" maxLength:"256"`
	Request   string    `query:"request" maxLength:"64"`
	Action    string    `query:"action" maxLength:"64"`
	Session   string    `query:"session" maxLength:"64"`
	Text      string    `query:"text" maxLength:"256" doc:"a part of any field's value"`
	Since     time.Time `query:"since"`
	Until     time.Time `query:"until"`
	Before    uint64    `query:"before" doc:"only events before this number; the answer's next"`
	Limit     int       `query:"limit" minimum:"1" maximum:"500" default:"50"`
}

type eventsOutput struct {
	Body struct {
		Events []Event `json:"events"`
		Next   uint64  `json:"next,omitempty" doc:"pass as before for the next page; absent at the end"`
	}
}

type storyPath struct {
	ID string `path:"id" pattern:"^[a-z]{3}_[a-zA-Z0-9]{1,64}$" doc:"of an action, request or session"`
}

type numberPath struct {
	Number uint64 `path:"number" maximum:"9223372036854775806" doc:"the event's number in the log"`
}

type noteOutput struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (a *API) trailRoutes() {
	op := func(id, path, summary string, errs ...int) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: http.MethodGet, Path: "/api/v1/trail" + path, Tags: []string{"trail"}, Summary: summary,
			Description: "Reading the trail is an action on the resource countersign, with the effect read: policy decides, and it is recorded.",
			Errors:      append(errs, http.StatusForbidden),
		}
	}
	register(a, op("search-trail", "", "Events, newest first"), a.search)
	register(a, op("story", "/story/{id}", "Every event about an action, request or session, oldest first", http.StatusNotFound), a.story)
	register(a, op("proof", "/events/{number}/proof", "The proof that an event is in the log, as C2SP tlog-proof", http.StatusNotFound), a.proof)
	register(a, op("checkpoint", "/checkpoint", "A signed checkpoint of now, as C2SP tlog-checkpoint"), a.checkpoint)
	register(a, op("export-trail", "/export", "The whole trail as a tar archive, for `trail verify`"), a.export)
}

// read asks the gate for the right to read the trail and calls do with it. Shown says what is read.
func (a *API) read(ctx context.Context, who caller, shown sanitize.Clean, do func(context.Context, *gate.Permit) error) error {
	action := &countersign.Action{
		Resource: gate.System, Front: "api", Text: countersign.Raw(shown.String()), Shown: shown,
		Effects: countersign.Read, Shape: "trail",
		Facts: countersign.Facts{Statements: 1},
	}
	var failed error
	err := a.o.Gate.Do(ctx, who.Holder, action, gate.Hold{}, func(ctx context.Context, p *gate.Permit) gate.Outcome {
		if failed = do(ctx, p); failed != nil {
			return gate.Outcome{State: approval.Failed, Rows: -1, Error: a.o.Sanitizer.Text(failed.Error())}
		}
		return gate.Outcome{State: approval.Done, Rows: -1}
	})
	if err != nil {
		return err
	}
	return failed
}

// Events turns events into what is sent and shown.
func Events(found []trail.Found) []Event {
	events := make([]Event, len(found))
	for i, f := range found {
		events[i] = Event{Number: f.Number, ID: f.ID.String(), Time: f.Time, Type: f.Type, Fields: make([]EventField, len(f.Fields))}
		for j, field := range f.Fields {
			events[i].Fields[j] = EventField{Name: field.Name, Value: field.Value, Erased: field.Erased}
		}
	}
	return events
}

// tell counts events under the limits of the caller's policy before they are sent.
func tell(p *gate.Permit, found []trail.Found) ([]Event, error) {
	var size int64
	for _, f := range found {
		for _, field := range f.Fields {
			size += int64(len(field.Value.String()))
		}
	}
	return Events(found), p.Count(int64(len(found)), size)
}

func (a *API) search(ctx context.Context, who caller, in *searchInput) (*eventsOutput, error) {
	q := trail.Query{
		Type: in.Type, Principal: in.Principal, Resource: in.Resource, Request: in.Request, Action: in.Action,
		Session: in.Session, Text: in.Text, Since: in.Since, Until: in.Until, Before: in.Before, Limit: in.Limit,
	}
	out := &eventsOutput{}
	err := a.read(ctx, who, a.shownQuery(q), func(ctx context.Context, p *gate.Permit) error {
		found, err := a.o.Trail.Search(ctx, q)
		if err != nil {
			return err
		}
		out.Body.Events, err = tell(p, found)
		if len(found) == in.Limit && found[len(found)-1].Number > 0 {
			out.Body.Next = found[len(found)-1].Number
		}
		return err
	})
	return out, err
}

// shownQuery is the query for the trail's own record of it.
func (a *API) shownQuery(q trail.Query) sanitize.Clean {
	parts := []sanitize.Clean{sanitize.Const("trail search")}
	for _, f := range []struct{ name, value string }{
		{"type", q.Type},
		{"principal", q.Principal},
		{"resource", q.Resource},
		{"request", q.Request},
		{"action", q.Action},
		{"session", q.Session},
		{"text", q.Text},
	} {
		if f.value != "" {
			parts = append(parts, sanitize.Format("%s=%s", sanitize.Name(f.name), a.o.Sanitizer.Text(strconv.Quote(f.value))))
		}
	}
	if !q.Since.IsZero() {
		parts = append(parts, sanitize.Format("since=%s", sanitize.Time(q.Since)))
	}
	if !q.Until.IsZero() {
		parts = append(parts, sanitize.Format("until=%s", sanitize.Time(q.Until)))
	}
	return sanitize.Join(" ", parts...)
}

func (a *API) story(ctx context.Context, who caller, in *storyPath) (*eventsOutput, error) {
	out := &eventsOutput{}
	err := a.read(ctx, who, sanitize.Format("trail show %s", sanitize.Name(in.ID)), func(ctx context.Context, p *gate.Permit) error {
		found, err := a.o.Trail.Story(ctx, in.ID)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return nothingAbout()
		}
		out.Body.Events, err = tell(p, found)
		return err
	})
	return out, err
}

func nothingAbout() error {
	return &countersign.Error{
		Kind:    countersign.ErrNotFound,
		Message: sanitize.Const("the trail holds nothing under that name"),
		Hint:    sanitize.Const("`countersign trail search` lists what it holds"),
	}
}

func (a *API) proof(ctx context.Context, who caller, in *numberPath) (*noteOutput, error) {
	out := &noteOutput{ContentType: "text/plain; charset=utf-8"}
	err := a.read(ctx, who, sanitize.Format("trail proof %s", sanitize.Int(int64(in.Number))), func(ctx context.Context, p *gate.Permit) error {
		// The event before the next number is that one, or there is none of that number.
		found, err := a.o.Trail.Search(ctx, trail.Query{Before: in.Number + 1, Limit: 1})
		if err != nil {
			return err
		}
		if len(found) == 0 || found[0].Number != in.Number {
			return nothingAbout()
		}
		if out.Body, err = a.o.Trail.Prove(ctx, in.Number); err != nil {
			return err
		}
		return p.Count(1, int64(len(out.Body)))
	})
	return out, err
}

// checkpoint is a digest and a size; it shows nothing of any event, and whoever keeps one guards the log.
func (a *API) checkpoint(context.Context, caller, *struct{}) (*noteOutput, error) {
	signed, err := a.o.Trail.Checkpoint()
	if err != nil {
		return nil, fmt.Errorf("signing a checkpoint: %w", err)
	}
	return &noteOutput{ContentType: "text/plain; charset=utf-8", Body: signed}, nil
}

// export streams. What fails after the first byte breaks the stream off, so that no half is taken for whole.
func (a *API) export(ctx context.Context, who caller, _ *struct{}) (*huma.StreamResponse, error) {
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		_, w := humago.Unwrap(hctx)
		begun := false
		err := a.read(ctx, who, sanitize.Const("trail export"), func(ctx context.Context, p *gate.Permit) error {
			begun = true
			w.Header().Set("Content-Type", "application/x-tar")
			return a.o.Trail.Export(ctx, &exportWriter{w: w, control: http.NewResponseController(w), permit: p})
		})
		switch {
		case err == nil:
		case begun:
			a.o.Logger.Error("an export of the trail was broken off", "error", a.o.Sanitizer.Text(err.Error()))
			panic(http.ErrAbortHandler)
		default:
			a.writeProblem(hctx, err)
		}
	}}, nil
}

// exportWriter holds an export to the limits of the caller's policy, and gives each part its own time.
type exportWriter struct {
	w       io.Writer
	control *http.ResponseController
	permit  *gate.Permit
}

func (e *exportWriter) Write(p []byte) (int, error) {
	if err := e.permit.Count(0, int64(len(p))); err != nil {
		return 0, err
	}
	if err := e.control.SetWriteDeadline(time.Now().Add(partTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return e.w.Write(p)
}
