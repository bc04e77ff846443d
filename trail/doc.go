// Package trail is the form of the audit trail: how an event becomes a leaf of an append-only Merkle
// tree, how a tree head is signed as a checkpoint, and how a copy of the trail is verified.
//
// It promises (P8) that, against a checkpoint kept outside the copy, every event that was changed,
// removed, put elsewhere or rolled back is found, and named as precisely as the copy allows. The form of
// an entry has a place for a value that was erased; nothing erases values yet, so each that is gone is a
// problem, whatever later events say. A grant that was used without a signature in the same log is one too
// (P2, P4).
//
// It does not promise to notice a rollback when all that is at hand is the copy itself: then it says
// "consistent, not anchored". It does not judge whether a signature was one that counted: who a
// reviewer was, and which seats were asked for, is not judged again.
//
// The package is pure. It reads no clock, file or network; randomness and keys are given to it, and a
// key found in the copy that is being verified is never trusted. Each form is given byte by byte, with
// test vectors, in docs/trail-format.md.
package trail
