// Package sql tells what a PostgreSQL text would do before it runs: its effects, the objects it
// touches, and why.
package sql
