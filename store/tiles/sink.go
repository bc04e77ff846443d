package tiles

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Folder is a Sink that writes below a folder.
type Folder string

// WriteFile implements Sink. It never replaces a file.
func (f Folder) WriteFile(path string, data []byte) error {
	if !filepath.IsLocal(filepath.FromSlash(path)) {
		return fmt.Errorf("path %q leads out of the folder", path)
	}
	to := filepath.Join(string(f), filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

// MakeFolder makes the folder of an export, which must be new or empty.
func MakeFolder(dir string) (Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("the folder %s is not empty", dir)
	}
	return Folder(dir), nil
}

// Tar is a Sink that writes a tar archive.
type Tar struct {
	w    *tar.Writer
	time time.Time
}

// NewTar returns a Sink that writes to w. The files bear the time given.
func NewTar(w io.Writer, at time.Time) *Tar { return &Tar{tar.NewWriter(w), at} }

// WriteFile implements Sink.
func (t *Tar) WriteFile(path string, data []byte) error {
	err := t.w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: path, Size: int64(len(data)), Mode: 0o600, ModTime: t.time, Format: tar.FormatPAX,
	})
	if err != nil {
		return err
	}
	_, err = t.w.Write(data)
	return err
}

// Close ends the archive.
func (t *Tar) Close() error { return t.w.Close() }

// maxFile bounds a file of an export: a bundle of 256 entries, or one entry.
const maxFile = 16 << 20

// Unpack writes the files of a tar archive into a new or empty folder. Whatever is not a plain file of
// an export is refused.
func Unpack(r io.Reader, dir string) error {
	folder, err := MakeFolder(dir)
	if err != nil {
		return err
	}
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpack the export: %w", err)
		}
		if h.Typeflag != tar.TypeReg || h.Size > maxFile || strings.Contains(h.Name, `\`) {
			return fmt.Errorf("unpack the export: %q is not a file of an export", h.Name)
		}
		data, err := io.ReadAll(io.LimitReader(archive, maxFile))
		if err != nil {
			return fmt.Errorf("unpack the export: %w", err)
		}
		if err := folder.WriteFile(h.Name, data); err != nil {
			return fmt.Errorf("unpack the export: %w", err)
		}
	}
}
