// Package credential turns references to upstream secrets into secrets, inside the gateway only and at
// each use, so that a rotated secret is taken up without a restart and none is kept.
//
// A reference is "env:NAME" or "file:PATH". Errors name the reference and never quote a value.
package credential

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// maxSecret bounds a secret's size.
const maxSecret = 64 << 10

// Reference says where a secret is.
type Reference struct {
	scheme, name string
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Parse reads a reference. A relative file is taken from dir. The error does not quote text, which may
// be the secret itself.
func Parse(text, dir string) (Reference, error) {
	scheme, name, ok := strings.Cut(text, ":")
	switch {
	case ok && scheme == "env" && envName.MatchString(name):
		return Reference{scheme, name}, nil
	case ok && scheme == "file" && name != "" && !strings.ContainsRune(name, 0):
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return Reference{scheme, filepath.Clean(name)}, nil
	}
	return Reference{}, errors.New("a credential is a reference, env:NAME or file:PATH, and never the secret itself")
}

func (r Reference) String() string { return r.scheme + ":" + r.name }

// Secret is a fetched credential. Its printed and encoded forms tell nothing.
type Secret struct{ value string }

// Reveal returns the secret, for the upstream's login only.
func (s Secret) Reveal() string { return s.value }

func (s Secret) String() string               { return "[secret]" }
func (s Secret) GoString() string             { return s.String() }
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Fetch returns the secret as it is now. Of a file, one line end at its end is not part of the secret.
func (r Reference) Fetch(context.Context) (Secret, error) {
	switch r.scheme {
	case "env":
		v, ok := os.LookupEnv(r.name)
		if !ok || v == "" {
			return Secret{}, fmt.Errorf("credential %s: the variable is not set in the gateway's environment", r)
		}
		return Secret{v}, nil
	case "file":
		return r.read()
	}
	return Secret{}, errors.New("credential: no reference")
}

func (r Reference) read() (Secret, error) {
	f, err := os.Open(r.name)
	if err != nil {
		return Secret{}, fmt.Errorf("credential %s: %w", r, pathless(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return Secret{}, fmt.Errorf("credential %s: %w", r, pathless(err))
	}
	if len(data) > maxSecret {
		return Secret{}, fmt.Errorf("credential %s: longer than %d bytes", r, maxSecret)
	}
	data = bytes.TrimSuffix(data, []byte("\n"))
	data = bytes.TrimSuffix(data, []byte("\r"))
	if len(data) == 0 {
		return Secret{}, fmt.Errorf("credential %s: the file is empty", r)
	}
	return Secret{string(data)}, nil
}

// pathless drops the path of an error, which the reference has named already.
func pathless(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
