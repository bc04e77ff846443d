package main

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// fakeGateway answers a startup as the front does: asks for the password, takes the right one, then echoes.
type fakeGateway struct {
	ln       net.Listener
	startups chan string
	cancels  chan string
}

func newFakeGateway(t *testing.T, tok string) *fakeGateway {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &fakeGateway{ln: ln, startups: make(chan string, 10), cancels: make(chan string, 10)}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go g.serve(c, tok)
		}
	}()
	return g
}

func (g *fakeGateway) serve(c net.Conn, tok string) {
	defer c.Close()
	body, err := readStartup(c)
	if err != nil || body == nil {
		return
	}
	if binary.BigEndian.Uint32(body) == codeCancel {
		g.cancels <- string(body)
		return
	}
	g.startups <- string(body)
	c.Write(message('R', []byte{0, 0, 0, 3}))
	kind, password, err := readMessage(c, 1000)
	if err != nil || kind != 'p' || string(password) != tok+"\x00" {
		c.Write(message('E', []byte("C28P01\x00\x00")))
		return
	}
	c.Write(message('R', []byte{0, 0, 0, 0}))
	io.Copy(c, c)
}

// port serves a proxy and returns its address.
func port(t *testing.T, p *proxy) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-served:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the port does not close")
		}
	})
	return ln.Addr().String()
}

// client says text and returns its connection.
func client(t *testing.T, addr, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

const startupText = "\x00\x03\x00\x00user\x00alice\x00database\x00other\x00application_name\x00psql\x00\x00"

func TestPortPresentsTheTokenAndNamesTheResource(t *testing.T) {
	g := newFakeGateway(t, "csg_right")
	addr := port(t, &proxy{gateway: g.ln.Addr().String(), database: "shop", token: "csg_right"})
	c := client(t, addr, string(frame(binary.BigEndian.AppendUint32(nil, codeSSL))))
	if b := make([]byte, 1); func() bool { _, err := io.ReadFull(c, b); return err != nil || b[0] != 'N' }() {
		t.Fatal("no N to a request for TLS")
	}
	io.WriteString(c, string(frame([]byte(startupText)))+"Q\x00\x00\x00\x05\x00")
	kind, body, err := readMessage(c, 1000)
	if err != nil || kind != 'R' || binary.BigEndian.Uint32(body) != 0 {
		t.Fatalf("%c %q, %v; want to be let in without a password", kind, body, err)
	}
	if kind, body, err = readMessage(c, 1000); err != nil || kind != 'Q' {
		t.Fatalf("%c %q, %v; want what was sent to pass", kind, body, err)
	}
	got := <-g.startups
	if !strings.Contains(got, "database\x00shop\x00") || strings.Contains(got, "other") || !strings.Contains(got, "user\x00alice\x00") || !strings.Contains(got, "application_name\x00psql\x00") {
		t.Errorf("startup %q", got)
	}
	client(t, addr, string(frame([]byte("\x04\xd2\x16\x2e12345678"))))
	select {
	case got := <-g.cancels:
		if !strings.HasSuffix(got, "12345678") {
			t.Errorf("cancel %q", got)
		}
	case <-time.After(5 * time.Second):
		t.Error("a cancel does not arrive")
	}
}

func TestPortWithAPasswordOfItsOwn(t *testing.T) {
	g := newFakeGateway(t, "csg_right")
	addr := port(t, &proxy{gateway: g.ln.Addr().String(), database: "shop", token: "csg_right", password: "only the command"})
	for _, guess := range []string{"", "csg_right", "only the comman", "only the command "} {
		c := client(t, addr, string(frame([]byte(startupText)))+string(message('p', []byte(guess+"\x00"))))
		data, _ := io.ReadAll(c)
		if !strings.Contains(string(data), "belongs to the command") {
			t.Errorf("%q: %q", guess, data)
		}
	}
	if len(g.startups) != 0 {
		t.Error("the gateway is reached without the password")
	}
	c := client(t, addr, string(frame([]byte(startupText)))+string(message('p', []byte("only the command\x00"))))
	for _, want := range []uint32{3, 0} {
		kind, body, err := readMessage(c, 1000)
		if err != nil || kind != 'R' || binary.BigEndian.Uint32(body) != want {
			t.Fatalf("%c %q, %v; want %d", kind, body, err, want)
		}
	}
}

func TestPortSurvivesBadInput(t *testing.T) {
	g := newFakeGateway(t, "csg_right")
	addr := port(t, &proxy{gateway: g.ln.Addr().String(), database: strings.Repeat("d", 60), token: "csg_right"})
	for _, text := range []string{
		"\x16\x03\x01\x02\x00\x01", "GET / HTTP/1.1\r\n\r\n", "\xff\xff\xff\xff\x00\x03\x00\x00", "\x00\x00\x00\x04", "\x00\x00\x00\x08\x00\x02\x00\x00",
		strings.Repeat("\x00\x00\x00\x08\x04\xd2\x16\x2f", 50), string(frame([]byte("\x00\x03\x00\x00" + strings.Repeat("a", 9985)))), "\x00\x00\x00\x09\x00\x03\x00\x00x",
	} {
		c := client(t, addr, text)
		c.(*net.TCPConn).CloseWrite()
		data, _ := io.ReadAll(c)
		if strings.Contains(string(data), "csg_right") {
			t.Errorf("%q shows the token", text)
		}
	}
	gone := port(t, &proxy{gateway: "127.0.0.1:1", database: "shop", token: "csg_right"})
	data, _ := io.ReadAll(client(t, gone, string(frame([]byte(startupText)))))
	if !strings.Contains(string(data), "reaching the gateway") {
		t.Errorf("no gateway: %q", data)
	}
}

func FuzzStartup(f *testing.F) {
	f.Add([]byte(startupText))
	f.Add([]byte("\x00\x03\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 4 {
			return
		}
		out, err := withDatabase(data, "shop")
		if err != nil {
			return
		}
		if len(out) > maxStartup || !strings.HasSuffix(string(out), "database\x00shop\x00\x00") {
			t.Fatalf("%q becomes %q", data, out)
		}
		again, err := withDatabase(out, "shop")
		if err == nil && string(again) != string(out) {
			t.Fatalf("%q becomes %q", out, again)
		}
	})
}
