package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// statements are prepared on the writer's own connection.
type statements struct {
	begin, commit, rollback *sql.Stmt
	batch, blob             *sql.Stmt
	document                *sql.Stmt
	exists, countParty      *sql.Stmt
	insert, party           *sql.Stmt
	request, update         *sql.Stmt
	noParty                 *sql.Stmt

	all []*sql.Stmt
}

// close closes every statement: the database is not closed, nor its log folded in, while one is open.
func (st *statements) close() error {
	var err error
	for _, s := range st.all {
		err = errors.Join(err, s.Close())
	}
	return err
}

func prepare(ctx context.Context, conn *sql.Conn) (*statements, error) {
	var st statements
	for _, p := range []struct {
		to   **sql.Stmt
		text string
	}{
		{&st.begin, `BEGIN IMMEDIATE`},
		{&st.commit, `COMMIT`},
		{&st.rollback, `ROLLBACK`},
		{&st.batch, `INSERT INTO batch (position, count, time, low, policy, directory, mac, hashes, entries)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`},
		{&st.blob, `INSERT INTO blob (hash, entry) VALUES (?, ?)`},
		{&st.document, `INSERT INTO document (name, revision, value, mac) VALUES (?, ?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET revision = excluded.revision, value = excluded.value, mac = excluded.mac`},
		{&st.exists, `SELECT count(*) FROM request WHERE id = ? OR join_mac = ?`},
		{&st.countParty, `SELECT count(*) FROM party WHERE name = ?`},
		{&st.insert, `INSERT INTO request (id, revision, state, due, body, view, transaction_name, sealing_key, nonce, join_mac, mac)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`},
		{&st.party, `INSERT OR IGNORE INTO party (name, request) VALUES (?, ?)`},
		{&st.request, requestColumns + `WHERE id = ?`},
		{&st.update, `UPDATE request SET id = ?, revision = ?, state = ?, due = ?, body = ?, view = ?, transaction_name = ?,
			sealing_key = ?, nonce = ?, join_mac = ?, mac = ? WHERE seq = ?`},
		{&st.noParty, `DELETE FROM party WHERE request = ?`},
	} {
		stmt, err := conn.PrepareContext(ctx, p.text) //nolint:sqlclosecheck // close closes them all
		if err != nil {
			return nil, errors.Join(fmt.Errorf("prepare %q: %w", p.text, err), st.close())
		}
		*p.to = stmt
		st.all = append(st.all, stmt)
	}
	return &st, nil
}

func (s *Store) begin() error {
	if err := s.inject("begin"); err != nil {
		return err
	}
	_, err := s.stmt.begin.Exec()
	return err
}

func (s *Store) rollback() error {
	_, err := s.stmt.rollback.Exec()
	return err
}

// commitTransaction makes the transaction durable.
func (s *Store) commitTransaction() error {
	if err := s.inject("commit"); err != nil {
		return err
	}
	if _, err := s.stmt.commit.Exec(); err != nil {
		return err
	}
	return s.committed()
}

// committed comes after each commit and each record of the journal: what was made durable is told to nobody unless the files that were written are still those
// in the folder.
func (s *Store) committed() error {
	if err := s.inject("committed"); err != nil {
		return err
	}
	return s.files.check()
}
