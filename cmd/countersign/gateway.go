package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/countersign-dev/countersign/api"
)

// The files under ~/.config/countersign that stand in for COUNTERSIGN_URL and COUNTERSIGN_TOKEN.
const (
	urlFile    = "url"
	tokenFile  = "token"
	defaultURL = "http://localhost:8443"
	maxSetting = 4096
)

// setting returns the environment's variable, else the file's first line, else "".
func (s *sys) setting(variable, file string) (string, error) {
	if v := s.getenv(variable); v != "" {
		return v, nil
	}
	dir := s.getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home := s.getenv("HOME")
		if home == "" {
			return "", nil
		}
		dir = filepath.Join(home, ".config")
	}
	path := filepath.Join(dir, "countersign", file)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", usage(fmt.Sprintf("reading %s: %v", path, err), "set "+variable+" instead")
	}
	if file == tokenFile && info.Mode().Perm()&0o077 != 0 {
		return "", usage(fmt.Sprintf("%s can be read by others (mode %04o)", path, info.Mode().Perm()),
			"whoever reads a token is its holder: chmod 600 it, and replace the token if others may have read it")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", usage(fmt.Sprintf("reading %s: %v", path, err), "set "+variable+" instead")
	}
	line, _, _ := strings.Cut(string(data), "\n")
	if line = strings.TrimSpace(line); len(line) > maxSetting {
		return "", usage(path+" is too long to be right", "")
	}
	return line, nil
}

// client returns a client of the gateway that the user has in mind.
func (s *sys) client() (*api.Client, error) {
	base, err := s.setting("COUNTERSIGN_URL", urlFile)
	if err != nil {
		return nil, err
	}
	if base == "" {
		base = defaultURL
	}
	tok, err := s.token()
	if err != nil {
		return nil, err
	}
	c, err := api.NewClient(base, tok)
	if err != nil {
		return nil, usage(err.Error(), "set COUNTERSIGN_URL to the gateway's public_url")
	}
	return c, nil
}

func (s *sys) token() (string, error) {
	tok, err := s.setting("COUNTERSIGN_TOKEN", tokenFile)
	if err != nil {
		return "", err
	}
	if tok == "" {
		return "", usage("no token", "set COUNTERSIGN_TOKEN, or write your token to ~/.config/countersign/token (mode 600); whoever runs the gateway makes one with countersign token new")
	}
	return tok, nil
}

// printJSON writes v for a program to read.
func (s *sys) printJSON(v any) error {
	enc := json.NewEncoder(s.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
