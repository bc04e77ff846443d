package sql

import (
	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// Settings are the session's settings that change what a text means.
type Settings struct {
	StandardConformingStrings bool   // false: every text is Unknown
	UTF8                      bool   // client_encoding is UTF8; false: every text is Unknown
	SearchPath                string // as SHOW search_path prints it; "" is the server's default
	// Prepared returns the statement prepared in this session under a name, by PREPARE or by the
	// protocol, or nil when there is none. EXECUTE of a name it does not know is Unknown, as is every
	// EXECUTE when Prepared is nil. It is asked for at most MaxPrepared names, each
	// once, and never under a lock, so it may classify. EXECUTE of an EXECUTE is Unknown whatever
	// that one runs, so Prepared need not look further, and must not, lest one text reach very many.
	Prepared func(name string) *Statement
}

// TxControl is what a statement does to the transaction block.
type TxControl uint8

// The kinds of transaction control.
const (
	TxNone             TxControl = iota
	TxBegin                      // BEGIN, START TRANSACTION
	TxCommit                     // COMMIT, END
	TxRollback                   // ROLLBACK, ABORT
	TxSavepoint                  // SAVEPOINT
	TxRollbackTo                 // ROLLBACK TO
	TxRelease                    // RELEASE
	TxPrepare                    // PREPARE TRANSACTION: ends the block, decides nothing
	TxCommitPrepared             // COMMIT PREPARED
	TxRollbackPrepared           // ROLLBACK PREPARED
)

// CopyDirection says whether a statement opens the COPY sub-protocol, and which way data flows. COPY
// from or to the server's own files and programs is NoCopy.
type CopyDirection uint8

// The directions.
const (
	NoCopy CopyDirection = iota
	CopyToClient
	CopyFromClient
)

// Setting is a change of one session setting by SET, RESET or set_config.
type Setting struct {
	Name   string   // lower-case; "" when All, or when set_config computes it
	Values []string // the new value, a list where the statement gives one; nil when Reset or not Known
	// Known: the setting has Values when the statement has completed, or is Reset. Else what it is then is not
	// known: the value is computed or a parameter, or a set_config may not run, or only later, or more than once.
	Known bool
	Local bool // until the end of the transaction, for certain
	Reset bool // RESET, SET … TO DEFAULT
	All   bool // RESET ALL
}

// Statement is what is known of one statement of a text.
type Statement struct {
	Start, End int    // bytes in the text, without surrounding space and semicolon
	Tag        string // as a command tag starts: "SELECT", "COPY", "BEGIN"
	Effects    countersign.Effects
	Objects    []countersign.Object
	Facts      countersign.Facts
	Why        []countersign.Evidence

	Tx        TxControl
	Chain     bool   // COMMIT or ROLLBACK AND CHAIN: a new block begins at once
	Savepoint string // of TxSavepoint, TxRollbackTo, TxRelease
	Copy      CopyDirection

	Prepare     string     // the name that PREPARE gives
	PrepareBody *Statement // what EXECUTE of it does
	Execute     string     // the name that EXECUTE (or EXPLAIN EXECUTE, or CREATE TABLE … AS EXECUTE) runs
	Deallocate  string     // the name that DEALLOCATE forgets
	// DiscardAll: every prepared statement is forgotten (DEALLOCATE ALL, DISCARD ALL, DISCARD PLANS keeps them).
	DiscardAll bool

	Declares  string // the cursor that DECLARE opens
	Hold      bool   // of Declares: WITH HOLD, so that it outlives its transaction
	Fetches   string // the cursor that FETCH or MOVE reads
	Closes    string // the cursor that CLOSE drops
	ClosesAll bool   // CLOSE ALL

	// Set is the first of Sets; nil when there is none.
	Set  *Setting
	Sets []Setting

	ReturnsRows bool

	// CredentialParams are the numbers ($1 is 1) of parameters in credential positions, in order.
	CredentialParams []int

	searchPath string // under which names were resolved
}

// Result is what is known of a text.
type Result struct {
	Statements []Statement
	Effects    countersign.Effects // union; Unknown when nothing could be understood
	Objects    []countersign.Object
	Facts      countersign.Facts
	Why        []countersign.Evidence
	// Credentials are the literals in credential positions, quotes included, in order.
	Credentials []sanitize.Span
	// CredentialParams are the numbers ($1 is 1) of parameters in credential positions, in order.
	CredentialParams []int
	Shape            string // fingerprint of the whole text, hexadecimal; "" when not Parsed
	Empty            bool   // no statement at all: only space, comments, semicolons
	Reason           string // of a leading /* reason: … */ comment: raw and untrusted
	Parsed           bool   // false: Effects is Unknown and Why says what was wrong
}
