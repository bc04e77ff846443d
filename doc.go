// Package countersign is the vocabulary of the gateway: who asks (Principal), what is asked (Action with
// its Effects), what policy says (Decision), what a reviewer is shown (View), and what is recorded (Event).
// It holds values only: it reads no clock, file or network.
package countersign
