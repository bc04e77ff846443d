package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/countersign-dev/countersign/api"
	"github.com/countersign-dev/countersign/policy"
	"github.com/countersign-dev/countersign/sanitize"
)

// The parts that a reload can find wrong, as health names them.
const (
	partConfig    = "configuration"
	partPolicy    = "policy"
	partDirectory = "people and agents"
	partTLS       = "certificate"
)

// maxPolicyFile bounds one policy file.
const maxPolicyFile = 1 << 20

// testSuffix ends the names of files with cases for `policy test`; they are not rules.
const testSuffix = "_test.yaml"

// Reload reads the configuration file and the policy again. Each part takes effect whole or not at all;
// the error joins what was wrong, which health shows until a reload succeeds.
func (s *Server) Reload(ctx context.Context) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	old := s.config.Load()
	next, err := LoadConfig(old.src.file)
	if s.noted(partConfig, err) != nil {
		s.log.Error("reload: the configuration has mistakes; the old one stays", "error", err)
		return errors.Join(err, s.reloadPolicy(ctx, old))
	}
	if changed := needRestart(old, next); len(changed) > 0 {
		s.log.Warn("reload: these keys need a restart; the old values stay", "keys", strings.Join(changed, ", "))
	}
	merged := *old
	merged.People, merged.Agents, merged.src = next.People, next.Agents, next.src
	errs := []error{s.reloadPeople(ctx, &merged)}
	if errs[0] == nil {
		s.config.Store(&merged)
	}
	errs = append(errs, s.reloadPolicy(ctx, old), s.noted(partTLS, s.loadCertificate(old)))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.log.Info("reloaded")
	return nil
}

// reloadPeople makes people, agents and tokens current: first those who are judged, then who can get in.
func (s *Server) reloadPeople(ctx context.Context, c *Config) error {
	table, err := c.Tokens()
	if err == nil {
		err = s.gate.LoadDirectory(ctx, c.Directory())
	}
	if s.noted(partDirectory, err) != nil {
		s.log.Error("reload: people and agents are not loaded; the old ones stay", "error", err)
		return fmt.Errorf("people and agents: %w", err)
	}
	s.tokens.Replace(table)
	return nil
}

func (s *Server) reloadPolicy(ctx context.Context, c *Config) error {
	err := s.loadPolicy(ctx, c)
	if err != nil {
		s.log.Error("reload: the policy is not loaded; the old one stays", "error", err)
	}
	return err
}

func (s *Server) loadPolicy(ctx context.Context, c *Config) error {
	files, err := ReadPolicy(c.Policy)
	if err == nil {
		err = s.gate.LoadPolicy(ctx, files, sanitize.Const(SourceUnreviewed))
	}
	return s.noted(partPolicy, err)
}

// noted keeps what is wrong with a part for health, or that nothing is any more, and returns err.
func (s *Server) noted(part string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.problems, part)
		return nil
	}
	what := sanitize.Format("%s: %s", sanitize.Name(part), s.redact.sanitizer().Text(err.Error()))
	s.problems[part] = api.HealthProblem{What: what, Since: time.Now().UTC()}
	return err
}

// needRestart names the keys that differ and are not taken up by a reload.
func needRestart(old, next *Config) []string {
	var keys []string
	o, n := reflect.ValueOf(*old), reflect.ValueOf(*next)
	for i := range o.NumField() {
		key := o.Type().Field(i).Tag.Get("yaml")
		if key == "" || key == "people" || key == "agents" {
			continue
		}
		if !reflect.DeepEqual(o.Field(i).Interface(), n.Field(i).Interface()) {
			keys = append(keys, key)
		}
	}
	return keys
}

// ReadPolicy reads the rules of a folder: every *.yaml but the files with cases for `policy test`. A path
// to a single file reads that.
func ReadPolicy(path string) ([]policy.File, error) {
	return readPolicy(path, func(name string) bool { return !strings.HasSuffix(name, testSuffix) })
}

// ReadPolicyTests reads the cases of a folder, *_test.yaml.
func ReadPolicyTests(path string) ([]policy.File, error) {
	return readPolicy(path, func(name string) bool { return strings.HasSuffix(name, testSuffix) })
}

func readPolicy(path string, wanted func(string) bool) ([]policy.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	paths := []string{path}
	if info.IsDir() {
		if paths, err = filepath.Glob(filepath.Join(escapeGlob(path), "*.yaml")); err != nil {
			return nil, fmt.Errorf("policy: %w", err)
		}
		paths = slices.DeleteFunc(paths, func(p string) bool { return !wanted(filepath.Base(p)) })
	}
	var files []policy.File
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("policy: %w", err)
		}
		if info.Size() > maxPolicyFile {
			return nil, fmt.Errorf("policy: %s is longer than %d bytes", p, maxPolicyFile)
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return nil, fmt.Errorf("policy: %w", err)
		}
		files = append(files, policy.File{Name: filepath.Base(p), Data: data})
	}
	return files, nil
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// loadCertificate reads the certificate, so that a renewed one is taken up without a restart.
func (s *Server) loadCertificate(c *Config) error {
	t := c.Listen.TLS
	if t.Cert == "" {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return c.mistakeAt("listen.tls", "cannot be used: %v", err)
	}
	s.cert.Store(&cert)
	return nil
}

func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cert.Load(), nil },
	}
}
