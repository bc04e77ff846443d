package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/trail"
)

// maxAnswer bounds what a client reads of one answer.
const maxAnswer = 64 << 20

// ErrUnreachable is wrapped by errors of a client that got no answer.
var ErrUnreachable = errors.New("the gateway does not answer")

// Client asks a gateway's API. It follows no redirect, and sends its token in the clear to this machine only.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// NewClient returns a client of the gateway at base, "http://localhost:8443".
func NewClient(base, token string) (*Client, error) {
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return nil, errors.New("a gateway's address is http://HOST:PORT or https://HOST:PORT")
	}
	if u.Scheme == "http" && !local(u.Hostname()) {
		return nil, fmt.Errorf("%s is not this machine: a token is sent there by https only", u.Hostname())
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if u.Scheme == "http" {
		transport.Proxy = nil // what is for this machine stays on it
	}
	return &Client{base: u, token: token, http: &http.Client{
		Transport: transport,
		Timeout:   maxWait + 30*time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}}, nil
}

func local(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// URL returns the gateway's address.
func (c *Client) URL() string { return c.base.String() }

// Requests lists the caller's requests, newest first.
func (c *Client) Requests(ctx context.Context, states []approval.State, limit int) ([]Summary, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if len(states) > 0 {
		names := make([]string, len(states))
		for i, s := range states {
			names[i] = string(s)
		}
		q.Set("state", strings.Join(names, ","))
	}
	var out struct {
		Requests []Summary `json:"requests"`
	}
	err := c.do(ctx, http.MethodGet, "/api/v1/requests", q, nil, &out)
	return out.Requests, err
}

// Request returns one request.
func (c *Client) Request(ctx context.Context, id countersign.RequestID) (Request, error) {
	var out Request
	err := c.do(ctx, http.MethodGet, requestURL(id, ""), nil, nil, &out)
	return out, err
}

// Wait returns the request once its revision differs, or after the given time at most.
func (c *Client) Wait(ctx context.Context, id countersign.RequestID, revision uint64, most time.Duration) (Request, error) {
	seconds := int(min(max(most, time.Second), maxWait) / time.Second)
	q := url.Values{"revision": {strconv.FormatUint(revision, 10)}, "seconds": {strconv.Itoa(seconds)}}
	var out Request
	err := c.do(ctx, http.MethodGet, requestURL(id, "/wait"), q, nil, &out)
	return out, err
}

// Review gives a verdict on what was shown: the request's digest, and the digest of the view as the
// caller computed it from what he displayed.
func (c *Client) Review(ctx context.Context, id countersign.RequestID, v approval.Verdict, digest, view countersign.Digest, reason string) (Request, error) {
	var out Request
	body := verdictBody{Digest: digest.String(), ViewDigest: view.String(), Reason: reason}
	err := c.do(ctx, http.MethodPost, requestURL(id, "/"+string(v)), nil, body, &out)
	return out, err
}

// Cancel ends a request.
func (c *Client) Cancel(ctx context.Context, id countersign.RequestID, reason string) (Request, error) {
	var out Request
	err := c.do(ctx, http.MethodPost, requestURL(id, "/cancel"), nil, struct {
		Reason string `json:"reason,omitempty"`
	}{reason}, &out)
	return out, err
}

// Health tells how the gateway is.
func (c *Client) Health(ctx context.Context) (Health, error) {
	var out Health
	err := c.do(ctx, http.MethodGet, "/api/v1/health", nil, nil, &out)
	return out, err
}

func requestURL(id countersign.RequestID, more string) string {
	return "/api/v1/requests/" + url.PathEscape(string(id)) + more
}

func (c *Client) do(ctx context.Context, method, path string, q url.Values, in, out any) error {
	resp, err := c.send(ctx, method, path, q, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("%w: reading from %s: %w", ErrUnreachable, c.base, err)
	}
	if len(data) > maxAnswer {
		return fmt.Errorf("the answer of %s is longer than %d bytes", c.base, maxAnswer)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("the answer of %s is not what was asked for; is that a Countersign gateway of this version?", c.base)
	}
	return nil
}

// send returns a response that is not an error; its body is the caller's to close.
func (c *Client) send(ctx context.Context, method, path string, q url.Values, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encoding a request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	target := c.base.String() + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", c.base, err)
	}
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w at %s: %w", ErrUnreachable, c.base, plainError(err))
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxBodyBytes))
	p := &Problem{}
	if err := json.Unmarshal(data, p); err != nil || p.Kind == "" {
		return nil, fmt.Errorf("%s answers %s, which is not a Countersign gateway's answer", c.base, resp.Status)
	}
	return nil, p
}

// plainError drops method and address, which the caller names.
func plainError(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

// Search returns events, newest first, and the number to pass as Before for more; 0 at the end.
func (c *Client) Search(ctx context.Context, q trail.Query) ([]Event, uint64, error) {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("type", q.Type)
	set("principal", q.Principal)
	set("resource", q.Resource)
	set("request", q.Request)
	set("action", q.Action)
	set("session", q.Session)
	set("text", q.Text)
	if !q.Since.IsZero() {
		v.Set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	if !q.Until.IsZero() {
		v.Set("until", q.Until.UTC().Format(time.RFC3339Nano))
	}
	if q.Before > 0 {
		v.Set("before", strconv.FormatUint(q.Before, 10))
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	var out struct {
		Events []Event `json:"events"`
		Next   uint64  `json:"next"`
	}
	err := c.do(ctx, http.MethodGet, "/api/v1/trail", v, nil, &out)
	return out.Events, out.Next, err
}

// Story returns every event about an action, request or session, oldest first.
func (c *Client) Story(ctx context.Context, id string) ([]Event, error) {
	var out struct {
		Events []Event `json:"events"`
	}
	err := c.do(ctx, http.MethodGet, "/api/v1/trail/story/"+url.PathEscape(id), nil, nil, &out)
	return out.Events, err
}

// Proof returns the proof that an event is in the log.
func (c *Client) Proof(ctx context.Context, number uint64) ([]byte, error) {
	return c.bytes(ctx, "/api/v1/trail/events/"+strconv.FormatUint(number, 10)+"/proof")
}

// Checkpoint returns a signed checkpoint of now.
func (c *Client) Checkpoint(ctx context.Context) ([]byte, error) {
	return c.bytes(ctx, "/api/v1/trail/checkpoint")
}

// Export returns the whole trail as a tar archive. What breaks off ends with an error of the reader.
func (c *Client) Export(ctx context.Context) (io.ReadCloser, error) {
	whole := *c
	client := *c.http
	client.Timeout = 0 // as long as it takes; ctx ends it
	whole.http = &client
	resp, err := whole.send(ctx, http.MethodGet, "/api/v1/trail/export", nil, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (c *Client) bytes(ctx context.Context, path string) ([]byte, error) {
	resp, err := c.send(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%w: reading from %s: %w", ErrUnreachable, c.base, err)
	}
	return data, nil
}
