package sqlite

// applicationID marks a database file as ours ("CSGT").
const applicationID = 0x43534754

// schemaVersion is what PRAGMA user_version holds. Another one is refused.
const schemaVersion = 1

// positionShift splits a position into the epoch (the number of the log in this store, from 0) and an
// event's number within that log. Without a restored copy the epoch is 0 and a position is the number.
const positionShift = 44

const schema = `
CREATE TABLE meta (
	name  TEXT PRIMARY KEY,
	value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE log (
	epoch  INTEGER PRIMARY KEY,
	origin TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE batch (
	position INTEGER PRIMARY KEY, -- epoch << 44 | number of the first event
	count    INTEGER NOT NULL,    -- of events
	time     INTEGER NOT NULL,    -- of all its events, in microseconds
	low      INTEGER NOT NULL,    -- position of the oldest intent without an outcome; after the batch if there is none
	policy    INTEGER NOT NULL,   -- revisions of the documents when the batch was written
	directory INTEGER NOT NULL,
	mac      BLOB NOT NULL,       -- batchRow.seal
	hashes   BLOB NOT NULL,       -- the hashes that these events complete, in the order of tlog.StoredHashIndex
	entries  BLOB NOT NULL        -- a listing of the stored entries (package trail); last, since it is long
) STRICT;

CREATE TABLE blob (
	hash  BLOB NOT NULL UNIQUE, -- SHA-256 of entry
	entry BLOB NOT NULL         -- a stored entry too large for its batch
) STRICT;

CREATE TABLE document (
	name     TEXT PRIMARY KEY, -- policy, directory
	revision INTEGER NOT NULL,
	value    BLOB NOT NULL,
	mac      BLOB NOT NULL -- sealDocument
) STRICT, WITHOUT ROWID;

CREATE TABLE request (
	seq         INTEGER PRIMARY KEY,
	id          TEXT NOT NULL UNIQUE,
	revision    INTEGER NOT NULL,
	state       TEXT NOT NULL,
	due         INTEGER,           -- when pending or approved: deadline or claim by, in microseconds
	body        BLOB NOT NULL,     -- JSON of approval.Request
	view        BLOB NOT NULL,     -- JSON of countersign.View
	transaction_name TEXT NOT NULL,
	sealing_key TEXT,              -- NULL together with nonce
	nonce       BLOB,              -- sealed; NULL once the request has ended
	join_mac    BLOB,              -- NULL unless pending or approved
	mac         BLOB NOT NULL      -- requestRow.seal
) STRICT;

CREATE UNIQUE INDEX request_join ON request (join_mac) WHERE join_mac IS NOT NULL;
CREATE INDEX request_due ON request (due) WHERE due IS NOT NULL;
CREATE INDEX request_state ON request (state, seq);

CREATE TABLE party (
	name    TEXT NOT NULL,
	request INTEGER NOT NULL REFERENCES request (seq), -- pending
	PRIMARY KEY (name, request)
) STRICT, WITHOUT ROWID;
`
