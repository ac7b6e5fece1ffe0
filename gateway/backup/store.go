package backup

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sandgate/sandgate/internal/durable"
)

// store keeps the objects of backups by name, with slashes. An object is written
// whole or not at all, and is durable when put returns.
type store interface {
	// prepare makes room for a first backup, or says why there is none.
	prepare(ctx context.Context) error
	// list names the objects whose name begins with prefix.
	list(ctx context.Context, prefix string) ([]string, error)
	// get opens an object; fs.ErrNotExist when there is none.
	get(ctx context.Context, name string) (io.ReadCloser, error)
	put(ctx context.Context, name string, text []byte) error
	// remove takes away every object, and every version of it, below a name.
	remove(ctx context.Context, dir string) error
	// String names the place.
	String() string
}

// open finds the store that a location names: a directory, or an S3-compatible
// store as s3+https://HOST[:PORT]/BUCKET[/PREFIX].
func open(location string) (store, error) {
	if strings.HasPrefix(location, "s3+") {
		return openS3(location)
	}
	if strings.Contains(location, "://") {
		return nil, fmt.Errorf("%q is neither a directory nor s3+https://HOST/BUCKET", safeLocation(location))
	}
	return directory(location), nil
}

// directory keeps objects as files.
type directory string

func (d directory) String() string { return string(d) }

func (d directory) path(name string) string {
	return filepath.Join(string(d), filepath.FromSlash(name))
}

func (d directory) prepare(context.Context) error {
	for _, sub := range []string{objectsDir, keysDir} {
		if err := os.MkdirAll(d.path(sub), 0o700); err != nil {
			return fmt.Errorf("failed to make directory of backups: %w", err)
		}
	}
	return nil
}

func (d directory) list(_ context.Context, prefix string) ([]string, error) {
	below, deep := strings.CutSuffix(prefix, "/")
	if !deep {
		below = ""
	}
	var out []string
	err := filepath.WalkDir(d.path(below), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(string(d), path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		switch {
		case e.IsDir() && !deep && name != ".":
			return filepath.SkipDir
		case e.Type().IsRegular() && strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix):
			out = append(out, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("failed to list backups: %w", err)
	}
	return out, nil
}

func (d directory) get(_ context.Context, name string) (io.ReadCloser, error) {
	f, err := os.Open(d.path(name))
	if err != nil {
		return nil, fmt.Errorf("failed to open an object of the backup: %w", err)
	}
	return f, nil
}

func (d directory) put(_ context.Context, name string, text []byte) error {
	return writeDurable(d.path(name), text)
}

func (d directory) remove(_ context.Context, dir string) error {
	if err := durable.Around("backup.remove", func() error { return os.RemoveAll(d.path(dir)) }); err != nil {
		return fmt.Errorf("failed to remove from the backups: %w", err)
	}
	return durable.SyncDir(filepath.Dir(d.path(dir)), "backup.remove")
}

func writeDurable(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("failed to make directory: %w", err)
	}
	return durable.Write(path, text, "backup")
}
