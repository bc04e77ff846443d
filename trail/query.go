package trail

import "time"

// Query selects events. What is empty selects all.
type Query struct {
	// Type is a type, or with a dot at its end the beginning of one.
	Type, Principal, Resource, Request, Action, Session string
	// Text is a part of any field's value.
	Text         string
	Since, Until time.Time
	// Before is the number of the event that ends the search; 0 is the end of the trail.
	Before uint64
	Limit  int
}

// Found is an event with its number. In a store whose trail was begun anew after a restore, the numbers of each
// further log begin at the next multiple of 2^44, so that a number always names one event.
type Found struct {
	Number uint64
	Entry
}
