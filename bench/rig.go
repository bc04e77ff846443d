package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/countersign-dev/countersign/demo/gateway"
	"github.com/countersign-dev/countersign/identity/token"
)

// gatewayConfig is what differs between the gateways that are measured.
type gatewayConfig struct {
	upstream string
	password string
	waiting  int // clients that may be connected, and requests that may wait; 0 for the defaults
}

// readPolicy lets the agent do what is measured.
const readPolicy = `version: 1
rules:
  - name: agents-read
    match: {principal: {kind: agent}, resource: {env: prod}, effects: [read, session]}
    then: {allow: true}
  - name: agents-export
    match: {principal: {groups: [exporters]}, resource: {env: prod}, effects: [read, export]}
    then: {allow: true}
  - name: changes
    match: {resource: {env: prod}, any_effect: [write, delete]}
    then: {review: [{count: 1, groups: [resource.reviewers]}]}
`

// startGateway runs the program on a store of its own.
func (b *bench) startGateway(ctx context.Context, name string, c gatewayConfig, policy string) (*target, *gateway.Gateway, error) {
	dir := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Join(dir, "policy.d"), 0o700); err != nil {
		return nil, nil, err
	}
	web, err := gateway.FreeAddr()
	if err != nil {
		return nil, nil, err
	}
	front, err := gateway.FreeAddr()
	if err != nil {
		return nil, nil, err
	}
	text, hash := token.New()
	_, port, _ := strings.Cut(web, ":")
	var connections, pending string
	if c.waiting > 0 {
		connections = fmt.Sprintf(", connections: %d", c.waiting)
		pending = fmt.Sprintf("pending: {per_agent: %[1]d, per_owner: %[1]d}\n", c.waiting)
	}
	config := fmt.Sprintf(`data_dir: data
keys_dir: keys
public_url: http://localhost:%s
policy: policy.d
policy_source: unreviewed
listen: {web: "%s", postgres: "%s"%s}
%speople:
  - {name: ana, groups: [shop-team]}
  - {name: ben, groups: [dba]}
agents:
  - {name: bench, groups: [exporters], owners: [ana], tokens: [{hash: "%s", use: connect}]}
resources:
  - {name: %s, kind: postgres, labels: {env: prod}, reviewers: [dba], upstream: "%s/%s", roles: {%s: {credential: "file:password"}}}
`, port, web, front, connections, pending, hash, database, c.upstream, database, role)
	for file, data := range map[string]string{"countersign.yaml": config, "policy.d/bench.yaml": policy, "password": c.password} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(data), 0o600); err != nil {
			return nil, nil, err
		}
	}
	g, err := gateway.Start(ctx, b.program, filepath.Join(dir, "countersign.yaml"), web, nil)
	if err != nil {
		return nil, nil, err
	}
	return &target{name: "Countersign", addr: front, user: role, password: text, pid: g.PID}, g, nil
}
