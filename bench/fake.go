package main

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgproto3"
)

// login answers a server's demand for a password, in plain text as on loopback, until it is ready.
func login(f *pgproto3.Frontend, password string) error {
	for {
		m, err := f.Receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgproto3.AuthenticationCleartextPassword:
			f.Send(&pgproto3.PasswordMessage{Password: password})
			if err := f.Flush(); err != nil {
				return err
			}
		case *pgproto3.ErrorResponse:
			return fmt.Errorf("%s: %s (%s)", m.Code, m.Message, m.Detail)
		case *pgproto3.ReadyForQuery:
			return nil
		}
	}
}

// fakeUpstream is a listener that speaks as much of the protocol as a session needs to begin. It answers
// whatever is asked but DELETE, which it leaves waiting.
type fakeUpstream struct {
	listener net.Listener
	mu       sync.Mutex
	conns    []net.Conn // guarded by mu
}

func (u *fakeUpstream) serve() {
	for {
		conn, err := u.listener.Accept()
		if err != nil {
			return // closed
		}
		u.mu.Lock()
		u.conns = append(u.conns, conn)
		u.mu.Unlock()
		go func() { _ = session(conn) }() // ends when its client does
	}
}

func (u *fakeUpstream) close() {
	_ = u.listener.Close() // whoever is left hears of it from its connection
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range u.conns {
		_ = c.Close() // as above
	}
}

func session(conn net.Conn) error {
	b := pgproto3.NewBackend(conn, conn)
	for started := false; !started; {
		m, err := b.ReceiveStartupMessage()
		if err != nil {
			return err
		}
		switch m.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if _, err := conn.Write([]byte{'N'}); err != nil {
				return err
			}
		case *pgproto3.StartupMessage:
			started = true
		default:
			return conn.Close()
		}
	}
	b.Send(&pgproto3.AuthenticationOk{})
	for _, p := range [][2]string{
		{"server_version", "15.0"},
		{"server_encoding", "UTF8"},
		{"client_encoding", "UTF8"},
		{"DateStyle", "ISO, MDY"},
		{"TimeZone", "UTC"},
		{"IntervalStyle", "postgres"},
		{"integer_datetimes", "on"},
		{"standard_conforming_strings", "on"},
		{"session_authorization", role},
		{"is_superuser", "off"},
		{"application_name", ""},
		{"in_hot_standby", "off"},
		{"default_transaction_read_only", "off"},
	} {
		b.Send(&pgproto3.ParameterStatus{Name: p[0], Value: p[1]})
	}
	var key [8]byte
	_, _ = rand.Read(key[:]) // never fails
	b.Send(&pgproto3.BackendKeyData{ProcessID: binary.BigEndian.Uint32(key[:4]) >> 1, SecretKey: key[4:]})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if err := b.Flush(); err != nil {
		return err
	}
	return answer(conn)
}

// settings are what a gateway asks for with SHOW. Those that it asks for with current_setting are all off.
var settings = map[string]string{"search_path": `"$user", public`, "standard_conforming_strings": "on", "client_encoding": "UTF8"}

// answer reads frames itself: pgproto3 would keep a buffer for each of thousands of sessions.
func answer(conn net.Conn) error {
	var head [5]byte
	var values [][]byte // of the settings that were asked for last
	var tag string
	for {
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return err
		}
		size := int64(binary.BigEndian.Uint32(head[1:])) - 4
		if size < 0 || size > 1<<16 {
			return conn.Close()
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(conn, body); err != nil {
			return err
		}
		if head[0] == 'Q' && strings.HasPrefix(string(body), "DELETE") {
			continue
		}
		if head[0] == 'P' {
			_, name, _ := strings.Cut(string(body), "SHOW ")
			name, _, _ = strings.Cut(name, "\x00")
			values, tag = [][]byte{[]byte(settings[name])}, "SHOW"
			if n := strings.Count(string(body), "current_setting("); n > 0 {
				values, tag = slices.Repeat([][]byte{[]byte("off")}, n), "SELECT 1"
			}
		}
		messages := replies[head[0]]
		if head[0] == 'E' {
			messages = []pgproto3.BackendMessage{&pgproto3.DataRow{Values: values}, &pgproto3.CommandComplete{CommandTag: []byte(tag)}}
		}
		var reply []byte
		for _, m := range messages {
			var err error
			if reply, err = m.Encode(reply); err != nil {
				return err
			}
		}
		if _, err := conn.Write(reply); err != nil {
			return err
		}
	}
}

// replies are those that are the same whatever is asked.
var replies = map[byte][]pgproto3.BackendMessage{
	'Q': {&pgproto3.CommandComplete{CommandTag: []byte("SET")}, &pgproto3.ReadyForQuery{TxStatus: 'I'}},
	'P': {&pgproto3.ParseComplete{}},
	'B': {&pgproto3.BindComplete{}},
	'D': {&pgproto3.NoData{}},
	'C': {&pgproto3.CloseComplete{}},
	'S': {&pgproto3.ReadyForQuery{TxStatus: 'I'}},
}
