package keys

import (
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// Sealing keys live a day each, in a folder of their own, named by day. A value sealed today can be
// opened only while today's key is kept, so deleting the key also ends every copy of the value in
// backups and free pages.
const sealingDir = "sealing"

const dayForm = "2006-01-02"

func (r *Ring) loadSealing() error {
	entries, err := os.ReadDir(filepath.Join(r.dir, sealingDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		day, ok := strings.CutSuffix(e.Name(), ".key")
		if !ok {
			continue
		}
		k, err := ReadFile(filepath.Join(r.dir, sealingDir, e.Name()))
		if err != nil {
			return err
		}
		if k.Purpose != "sealing "+day {
			return fmt.Errorf("key file %s is a key for %q", filepath.Join(r.dir, sealingDir, e.Name()), k.Purpose)
		}
		r.sealing[day] = k
	}
	return nil
}

// Seal encrypts plain under the key of that day, making it if there is none. bound must be given to
// Unseal again. It returns the name of the key.
func (r *Ring) Seal(day time.Time, plain, bound []byte) (name string, sealed []byte, err error) {
	name = day.UTC().Format(dayForm)
	k, err := r.sealingKey(name)
	if err != nil {
		return "", nil, err
	}
	aead, err := newAEAD(k)
	if err != nil {
		return "", nil, err
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return "", nil, err
	}
	return name, aead.Seal(nonce, nonce, plain, bound), nil
}

// Unseal opens what Seal made under the key of that name.
func (r *Ring) Unseal(name string, sealed, bound []byte) ([]byte, error) {
	r.mu.Lock()
	k, ok := r.sealing[name]
	r.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("sealing key %s is missing in %s", name, r.dir)
	}
	aead, err := newAEAD(k)
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, errors.New("sealed value is too short")
	}
	return aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], bound)
}

// HasSealing reports whether the sealing key of that name is here.
func (r *Ring) HasSealing(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.sealing[name]
	return ok
}

// DropSealing deletes the sealing keys of days before the given one that needed does not list.
func (r *Ring) DropSealing(before time.Time, needed map[string]bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	today := before.UTC().Format(dayForm)
	dropped := false
	for day := range r.sealing {
		if day >= today || needed[day] {
			continue
		}
		if err := os.Remove(r.sealingPath(day)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		delete(r.sealing, day)
		dropped = true
	}
	if !dropped {
		return nil
	}
	return syncDir(filepath.Join(r.dir, sealingDir))
}

func (r *Ring) sealingPath(day string) string {
	return filepath.Join(r.dir, sealingDir, day+".key")
}

func (r *Ring) sealingKey(day string) (Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.sealing[day]; ok {
		return k, nil
	}
	dir := filepath.Join(r.dir, sealingDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Key{}, err
	}
	k, err := newKey("sealing " + day)
	if err != nil {
		return Key{}, err
	}
	if err := errors.Join(writeFile(r.sealingPath(day), k.encode()), syncDir(dir), syncDir(r.dir)); err != nil {
		return Key{}, err
	}
	r.sealing[day] = k
	return k, nil
}

func newAEAD(k Key) (cipher.AEAD, error) { return chacha20poly1305.NewX(k.secret[:]) }
