// Package postgres is the front for PostgreSQL clients: it speaks the server's protocol, turns each
// statement into an Action, asks the gate, and passes the statement and its result on.
//
// It promises that nothing executes upstream without a Permit of the gate (P1: door.go is the only
// writer to the upstream connection), that the bytes forwarded are the bytes that were judged (P3), that
// no byte of a result leaves before the intent of its statement is durable (P6), that text which is not
// understood is held before the server parses it (P5), and that after a refusal the session and its
// transaction stand as after an error of the server's own: a transaction block is failed, a pipeline is
// discarded up to its Sync.
//
// It does not understand SQL (package classify/sql does), decide (gate), or change results.
//
// One goroutine owns a connection in both directions and hands the client's or the server's side to
// another one only for stated phases: while it waits for a client that is idle (idle.go), while an
// action is held (hold.go), and while incoming COPY data streams (copy.go).
package postgres
