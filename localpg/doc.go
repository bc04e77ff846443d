// Package localpg finds an installed PostgreSQL and runs private servers from it, for the demo, the
// benchmarks and the tests.
//
// A server listens on a free port of 127.0.0.1 and on a socket in its own folder, takes SCRAM passwords
// only, has one superuser with a random password, and ends with the process that started it. It is not
// meant for data that anyone wants to keep.
package localpg
