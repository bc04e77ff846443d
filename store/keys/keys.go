// Package keys keeps the gateway's own secret keys in a folder outside the store: the key that signs the
// log's checkpoints, the keys that seal what must not be read at rest, the key of the pseudonyms, the
// key that finds a request to join, and the key by which the store knows its own rows again.
//
// It promises that keys are made once, at the first start, that each has an id and a file of its own
// with mode 0600, and that a key that is missing, readable by others or not the expected one is an
// error, never replaced. It does not protect keys from whoever can read this folder as this user.
package keys

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/note"
)

// The purposes of keys, which are also the names of their files (with ".key").
const (
	PurposeLog       = "log"
	PurposePseudonym = "pseudonym"
	PurposeJoin      = "join"
	PurposeStore     = "store"
)

const (
	keySize     = 32
	fileHeader  = "countersign-key v1"
	settleFile  = "first-start"
	publicFile  = "log.pub"
	maxFileSize = 4 << 10
)

var purposes = []string{PurposeLog, PurposePseudonym, PurposeJoin, PurposeStore}

// Purposes returns the purposes of the keys that a store is bound to.
func Purposes() []string { return slices.Clone(purposes) }

// ErrNone: the folder holds no keys.
var ErrNone = errors.New("no keys")

// Key is one secret with its name.
type Key struct {
	Purpose string
	ID      string // 16 hexadecimal digits, random
	secret  [keySize]byte
}

// Secret returns a copy of the secret.
func (k Key) Secret() []byte { return append([]byte(nil), k.secret[:]...) }

// Ring is the open key folder. It is safe for concurrent use.
type Ring struct {
	dir  string
	keys map[string]Key

	mu      sync.Mutex // protects sealing and what is in its folder
	sealing map[string]Key
}

// Create makes the folder and all keys. Until Settle is called, a later Create replaces them: a first
// start that was cut short leaves nothing in the way of the next.
func Create(dir string) (*Ring, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	switch _, err := Open(dir); {
	case errors.Is(err, ErrNone):
	case settled(dir):
		return nil, fmt.Errorf("keys exist already in %s", dir)
	}
	if err := writeFile(filepath.Join(dir, settleFile), []byte("keys are being made; the store holds nothing yet\n")); err != nil {
		return nil, err
	}
	for _, p := range purposes {
		k, err := newKey(p)
		if err != nil {
			return nil, err
		}
		if err := writeFile(keyPath(dir, p), k.encode()); err != nil {
			return nil, err
		}
	}
	if err := syncDir(dir); err != nil {
		return nil, err
	}
	return Open(dir)
}

// Unfinished reports whether a first start was cut short: the keys in the folder, if any, are not in use
// unless a store says so.
func Unfinished(dir string) bool { return !settled(dir) }

func settled(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, settleFile))
	return errors.Is(err, fs.ErrNotExist)
}

// Settle ends the first start: from now on the keys are never replaced.
func (r *Ring) Settle() error {
	if err := os.Remove(filepath.Join(r.dir, settleFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(r.dir)
}

// Open reads the keys. It returns ErrNone when there is none of them, and another error when some are
// missing, malformed, or open to other users.
func Open(dir string) (*Ring, error) {
	r := &Ring{dir: dir, keys: map[string]Key{}, sealing: map[string]Key{}}
	var missing []string
	for _, p := range purposes {
		k, err := ReadFile(keyPath(dir, p))
		if errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, p+".key")
			continue
		}
		if err != nil {
			return nil, err
		}
		if k.Purpose != p {
			return nil, fmt.Errorf("key file %s is a key for %q", keyPath(dir, p), k.Purpose)
		}
		r.keys[p] = k
	}
	if len(missing) == len(purposes) {
		return nil, fmt.Errorf("%w in %s", ErrNone, dir)
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("key %s is missing in %s: restore it from a backup", strings.Join(missing, ", "), dir)
	}
	if err := r.loadSealing(); err != nil {
		return nil, err
	}
	return r, nil
}

func keyPath(dir, purpose string) string { return filepath.Join(dir, purpose+".key") }

// ID returns the id of the key of that purpose.
func (r *Ring) ID(purpose string) string { return r.keys[purpose].ID }

// Dir returns the folder.
func (r *Ring) Dir() string { return r.dir }

// Pseudonym returns the key of the sanitizer's pseudonyms.
func (r *Ring) Pseudonym() []byte { return r.keys[PurposePseudonym].Secret() }

// JoinMAC returns the value under which a request with that canonical action is found again.
func (r *Ring) JoinMAC(canonical []byte) []byte {
	k := r.keys[PurposeJoin]
	m := hmac.New(sha256.New, k.secret[:])
	m.Write([]byte("countersign/join/v1\n"))
	m.Write(canonical)
	return m.Sum(nil)
}

// StoreMAC returns the value by which the store knows again what it wrote.
func (r *Ring) StoreMAC(written []byte) []byte {
	k := r.keys[PurposeStore]
	m := hmac.New(sha256.New, k.secret[:])
	m.Write([]byte("countersign/store/v1\n"))
	m.Write(written)
	return m.Sum(nil)
}

// Signer returns the log's signer under the name of an origin.
func (r *Ring) Signer(origin string) (note.Signer, error) {
	private := r.private()
	vkey, err := r.VerifierKey(origin)
	if err != nil {
		return nil, err
	}
	// vkey is name+hash+key; the signer's form repeats its name and hash.
	rest := strings.TrimPrefix(vkey, origin+"+")
	hash, _, _ := strings.Cut(rest, "+")
	encoded := base64.StdEncoding.EncodeToString(append([]byte{1}, private.Seed()...))
	return note.NewSigner("PRIVATE+KEY+" + origin + "+" + hash + "+" + encoded)
}

// VerifierKey returns the public key of the log under the name of an origin, in the form of a note's
// verifier key.
func (r *Ring) VerifierKey(origin string) (string, error) {
	public, ok := r.private().Public().(ed25519.PublicKey)
	if !ok {
		return "", errors.New("log key is not an Ed25519 key")
	}
	vkey, err := note.NewEd25519VerifierKey(origin, public)
	if err != nil {
		return "", err
	}
	if _, err := note.NewVerifier(vkey); err != nil {
		return "", fmt.Errorf("a log cannot be named %q: a name has no spaces and no plus sign", origin)
	}
	return vkey, nil
}

func (r *Ring) private() ed25519.PrivateKey {
	k := r.keys[PurposeLog]
	return ed25519.NewKeyFromSeed(k.secret[:])
}

// Publish writes the verifier keys of the given origins to log.pub, one a line, for auditors to take
// away: the copy that lies here proves nothing.
func (r *Ring) Publish(origins []string) error {
	var b strings.Builder
	for _, o := range origins {
		vkey, err := r.VerifierKey(o)
		if err != nil {
			return err
		}
		b.WriteString(vkey + "\n")
	}
	path := filepath.Join(r.dir, publicFile)
	if old, err := os.ReadFile(path); err == nil && string(old) == b.String() {
		return nil
	}
	if err := writeFileMode(path, []byte(b.String()), 0o644); err != nil {
		return err
	}
	return syncDir(r.dir)
}

// PublicFile returns the path of the file that Publish writes.
func (r *Ring) PublicFile() string { return filepath.Join(r.dir, publicFile) }

// ParseVerifiers reads the form of log.pub: one verifier key a line; empty lines and lines that begin with # are skipped.
func ParseVerifiers(text []byte) (note.Verifiers, error) {
	var list []note.Verifier
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		v, err := note.NewVerifier(line)
		if err != nil {
			return nil, fmt.Errorf("line %d is not a verifier key: %w", i+1, err)
		}
		list = append(list, v)
	}
	if len(list) == 0 {
		return nil, errors.New("no verifier key: one a line is expected, as in log.pub")
	}
	return note.VerifierList(list...), nil
}

func newKey(purpose string) (Key, error) {
	k := Key{Purpose: purpose}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return Key{}, err
	}
	k.ID = hex.EncodeToString(id[:])
	if _, err := rand.Read(k.secret[:]); err != nil {
		return Key{}, err
	}
	return k, nil
}

func (k Key) encode() []byte {
	return fmt.Appendf(nil, "%s\npurpose: %s\nid: %s\nsecret: %s\n",
		fileHeader, k.Purpose, k.ID, base64.StdEncoding.EncodeToString(k.secret[:]))
}

// ReadFile reads one key file. It refuses one that other users may read.
func ReadFile(path string) (Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Key{}, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFileSize {
		return Key{}, fmt.Errorf("key file %s is not a key file", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Key{}, fmt.Errorf("key file %s has mode %#o, so other users can use it: run chmod 600 on it, and think about who has read it", path, info.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Key{}, err
	}
	k, err := parseKey(string(data))
	if err != nil {
		return Key{}, fmt.Errorf("key file %s: %w", path, err)
	}
	return k, nil
}

func parseKey(text string) (Key, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 5 || lines[0] != fileHeader || lines[4] != "" {
		return Key{}, errors.New("not in the form of a key file")
	}
	purpose, ok1 := strings.CutPrefix(lines[1], "purpose: ")
	id, ok2 := strings.CutPrefix(lines[2], "id: ")
	secret, ok3 := strings.CutPrefix(lines[3], "secret: ")
	raw, err := base64.StdEncoding.Strict().DecodeString(secret)
	if !ok1 || !ok2 || !ok3 || err != nil || len(raw) != keySize || len(id) != 16 {
		return Key{}, errors.New("not in the form of a key file")
	}
	return Key{Purpose: purpose, ID: id, secret: [keySize]byte(raw)}, nil
}

// writeFile writes a file whole or not at all, with mode 0600.
func writeFile(path string, data []byte) error { return writeFileMode(path, data, 0o600) }

func writeFileMode(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already when all went well
	if err := errors.Join(f.Chmod(mode), write(f, data), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

func write(f *os.File, data []byte) error {
	_, err := f.Write(data)
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
