package countersign

import (
	"crypto/sha256"
	"encoding/json"
	"time"

	"github.com/countersign-dev/countersign/sanitize"
)

// RequestID names a held action: "req_" and 20 hexadecimal digits.
type RequestID string

// ActionID names one action in the trail, held or not: "act_" and 20 hexadecimal digits.
type ActionID string

// View is what a reviewer is shown of a request, all of it sanitized, and nothing that changes while it waits.
type View struct {
	Request       RequestID      `json:"request"`
	Digest        Digest         `json:"digest"`
	Resource      ResourceName   `json:"resource"`
	ResourceKind  string         `json:"resource_kind"`
	Labels        []string       `json:"labels,omitempty"` // "env=prod", sorted
	Front         string         `json:"front"`
	Database      sanitize.Clean `json:"database,omitzero"` // within the resource
	Role          sanitize.Clean `json:"role,omitzero"`     // upstream account
	Requester     Principal      `json:"requester"`
	Text          sanitize.Clean `json:"text"`
	Effects       Effects        `json:"effects"`
	Objects       []Object       `json:"objects,omitempty"`
	Facts         Facts          `json:"facts"`
	Why           []Evidence     `json:"why,omitempty"`
	Shape         string         `json:"shape,omitempty"`
	Justification Justification  `json:"justification,omitzero"`
	Context       []ShownSetting `json:"context,omitempty"` // what the session's state is, sorted by name
	Decision      Decision       `json:"decision"`
	Policy        Digest         `json:"policy"`
	Asked         time.Time      `json:"asked"`
	Expires       time.Time      `json:"expires"`
}

// ShownSetting is a Setting as a reviewer is shown it.
type ShownSetting struct {
	Name  sanitize.Clean `json:"name"`
	Value sanitize.Clean `json:"value"`
}

// ViewDigest is SHA-256 over "countersign/view/v1", a newline, and the JSON encoding of v by encoding/json, in the order of
// its fields, times in UTC.
func (v View) ViewDigest() Digest {
	v.Asked, v.Expires = v.Asked.UTC(), v.Expires.UTC()
	data, err := json.Marshal(v)
	if err != nil {
		// Every field is plain data; a failure is a bug here.
		panic("countersign: view does not encode: " + err.Error())
	}
	return sha256.Sum256(append([]byte("countersign/view/v1\n"), data...))
}
