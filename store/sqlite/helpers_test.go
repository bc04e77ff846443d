package sqlite

import (
	"crypto/sha256"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
)

// approve makes the change that approves a pending request, in a reviewer's name.
func approve(r gate.Record) gate.Change {
	id := string(r.Request.ID)
	r.Request.State = approval.Approved
	r.Request.Reviews = []approval.Review{{Person: "reviewer-1", Verdict: approval.Approve}}
	return gate.Change{
		Update: &gate.Update{Revision: r.Revision, Request: r.Request},
		Events: []countersign.Event{
			event(countersign.ReviewGiven, countersign.FieldRequest, id, countersign.FieldReviewer, "reviewer-1", countersign.FieldVerdict, "approve"),
			event(countersign.RequestApproved, countersign.FieldRequest, id),
		},
	}
}

// insert makes the change that inserts a pending request.
func insert(s *Store, id string) gate.Change {
	now := s.Now()
	r := approval.Request{
		ID: countersign.RequestID(id), Resource: "shop", Digest: sha256.Sum256([]byte(id)), MaxUses: 1,
		Requester: countersign.Principal{Kind: countersign.KindAgent, Agent: "deploy-bot"},
		Created:   now, Deadline: now.Add(time.Hour), State: approval.Pending,
	}
	return gate.Change{
		Insert: &gate.Insert{
			Record:    gate.Record{Request: r, Nonce: []byte("the nonce of " + id), View: countersign.View{Request: r.ID}},
			Canonical: []byte("the canonical action of " + id),
		},
		Events: []countersign.Event{event(countersign.RequestOpened, countersign.FieldRequest, id)},
	}
}
