package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/sealed"
	"github.com/sandgate/sandgate/gateway/home"
)

// spellings are the ways in which a value could stand in a file: as it is, as
// UTF-16, in hexadecimal, in base64 at each of its three alignments, and escaped
// as JSON does it.
func spellings(v string) [][]byte {
	raw := []byte(v)
	var wide []byte
	var escaped strings.Builder
	for _, u := range utf16.Encode([]rune(v)) {
		wide = append(wide, byte(u), byte(u>>8))
		if u < 0x80 {
			escaped.WriteByte(byte(u))
		} else {
			fmt.Fprintf(&escaped, `\u%04x`, u)
		}
	}
	out := [][]byte{raw, wide, []byte(hex.EncodeToString(raw)), []byte(strings.ToUpper(hex.EncodeToString(raw))), []byte(escaped.String())}
	for shift := range 3 {
		padded := append(make([]byte, shift), raw...)
		whole := len(padded) / 3 * 3
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := []byte(enc.EncodeToString(padded[:whole]))
			if shift > 0 {
				text = text[4:] // the first group depends on what stands before
			}
			if len(text) >= 8 {
				out = append(out, text)
			}
		}
	}
	return out
}

// canaries reads a list: one value per line, # begins a comment line.
func canaries(text string) []string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// sightings maps each canary to the files that hold it in any spelling.
func sightings(list []string, paths ...string) (found map[string][]string, files int, err error) {
	found = map[string][]string{}
	for _, path := range paths {
		if _, err := os.Lstat(path); err != nil {
			return nil, 0, err
		}
		err := filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
			// A running gateway replaces files while this looks.
			if errors.Is(err, fs.ErrNotExist) && name != path {
				return nil
			}
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(name)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			files++
			// Compression may hide a text in a database that is not encrypted, so no
			// search of its bytes says anything: it counts as holding them all.
			plain := isDatabase(text)
			for _, c := range list {
				if plain {
					found[c] = append(found[c], name)
					continue
				}
				for _, s := range spellings(c) {
					if bytes.Contains(text, s) || strings.Contains(name, string(s)) {
						found[c] = append(found[c], name)
						break
					}
				}
			}
			return nil
		})
		if err != nil {
			return nil, 0, err
		}
	}
	return found, files, nil
}

// leakfree LIST PATTERN... wants none of the canaries of LIST in any file below the
// paths; negated, it wants every one of them somewhere below.
func cmdLeakfree(ts *testscript.TestScript, neg bool, a []string) {
	args(ts, a, "leakfree LIST PATTERN...", 2, -1)
	list := canaries(ts.ReadFile(a[0]))
	if len(list) == 0 {
		ts.Fatalf("no canaries in %s", a[0])
	}
	var paths []string
	for _, p := range a[1:] {
		matches, err := filepath.Glob(ts.MkAbs(p))
		ts.Check(err)
		if len(matches) == 0 {
			ts.Fatalf("no file %s", p)
		}
		paths = append(paths, matches...)
	}
	found, files, err := sightings(list, paths...)
	ts.Check(err)
	for _, c := range list {
		switch {
		case neg && len(found[c]) == 0:
			ts.Fatalf("canary %s is nowhere in %d files: the search is blind", c, files)
		case !neg && len(found[c]) > 0:
			ts.Fatalf("canary %s leaked into %v", c, found[c])
		}
	}
	ts.Logf("%d canaries searched in %d files", len(list), files)
}

// stored HOME DATASET OUT writes every stored value of a data set's snapshots,
// old ones too, to a file: what compression hides from a plain search.
func cmdStored(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	args(ts, a, "stored HOME DATASET OUT", 3, 3)
	plain, err := decrypted(ts.MkAbs(a[0]), a[1], ts.MkAbs("."))
	ts.Check(err)
	defer os.Remove(plain)
	out, err := storedValues(plain)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(a[2]), out, 0o600))
}

// memoryFiles are the memory files that a process holds, as paths.
func memoryFiles(pid int) []string {
	var out []string
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, l := range links {
		if target, err := os.Readlink(l); err == nil && strings.HasPrefix(target, "/memfd:sandgate") {
			out = append(out, l)
		}
	}
	return out
}

// opened LIST DIR wants every canary of LIST in files below DIR that have no name
// and that the running gateway holds open; negated, it wants no such file at all.
func cmdOpened(ts *testscript.TestScript, neg bool, a []string) {
	args(ts, a, "opened LIST DIR", 2, 2)
	dir, err := filepath.EvalSymlinks(ts.MkAbs(a[1]))
	ts.Check(err)
	names, err := os.ReadDir(dir)
	ts.Check(err)
	if len(names) > 0 {
		ts.Fatalf("files below %s have names: %v", dir, names)
	}
	var held []byte
	files := 0
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", playingOf(ts).gateway.cmd.Process.Pid))
	for _, l := range links {
		target, err := os.Readlink(l)
		if err != nil || !strings.HasPrefix(target, dir+"/") {
			continue
		}
		files++
		text, err := os.ReadFile(l)
		ts.Check(err)
		ts.Logf("%d bytes, a database: %t", len(text), isDatabase(text))
		if isDatabase(text) {
			// Read through the engine: its compression may hide a text from a plain search.
			copied := filepath.Join(ts.Getenv("WORK"), fmt.Sprintf("held-%d.duckdb", files))
			ts.Check(os.WriteFile(copied, text, 0o600))
			text, err = storedValues(copied)
			ts.Check(errors.Join(err, os.Remove(copied)))
		}
		held = append(held, text...)
	}
	if neg {
		if files > 0 {
			ts.Fatalf("the gateway holds %d files below %s", files, dir)
		}
		return
	}
	for _, c := range canaries(ts.ReadFile(a[0])) {
		if !bytes.Contains(held, []byte(c)) {
			ts.Fatalf("canary %s is in none of %d files: the snapshot was not opened there", c, files)
		}
	}
}

// decrypted opens the data file of the snapshot in force with the keys of its
// home, writes it below dir and returns where.
func decrypted(homeDir, dataset, dir string) (string, error) {
	h, err := home.Open(homeDir)
	if err != nil {
		return "", err
	}
	keys, err := h.Unlock()
	if err != nil {
		return "", err
	}
	id, err := os.ReadFile(filepath.Join(h.Snapshots(), "current", dataset))
	if err != nil {
		return "", err
	}
	key, err := dataKey(h, keys, string(id))
	if err != nil {
		return "", err
	}
	in, err := os.Open(filepath.Join(h.Snapshots(), "snapshots", string(id), "data.sealed"))
	if err != nil {
		return "", err
	}
	defer in.Close()
	r, err := sealed.NewReader(in, key, engine.DataContext(string(id)))
	if err != nil {
		return "", err
	}
	out, err := os.CreateTemp(dir, "plain-*.duckdb")
	if err != nil {
		return "", err
	}
	_, err = r.WriteTo(out)
	return out.Name(), errors.Join(err, out.Close())
}

// dataKey unwraps the key of a snapshot with those of its home.
func dataKey(h *home.Home, keys *home.Keys, id string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(h.Snapshots(), "snapshots", id, "key.json"))
	if err != nil {
		return nil, err
	}
	var r struct{ Wrapped string }
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, err
	}
	by, err := keys.Wrapper()
	if err != nil {
		return nil, err
	}
	return by.Unwrap(context.Background(), "snapshot/"+id+"/key", r.Wrapped)
}

// isDatabase says whether a file begins as DuckDB's do that are not encrypted.
func isDatabase(file []byte) bool { return len(file) >= 12 && string(file[8:12]) == "DUCK" }

// storedValues are all cells of all tables of a plain database file.
func storedValues(file string) (out []byte, err error) {
	db, err := sql.Open("duckdb", file+"?access_mode=read_only")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	ctx := context.Background()
	tables, err := textsIn(ctx, db, "SELECT table_name FROM duckdb_tables()")
	if err != nil || len(tables) == 0 {
		return nil, fmt.Errorf("no tables in %s: %w", file, err)
	}
	for _, t := range tables {
		cells, err := textsIn(ctx, db, `SELECT CAST(COLUMNS(*) AS VARCHAR) FROM "`+t+`"`)
		if err != nil {
			return nil, err
		}
		out = append(out, strings.Join(cells, "\n")...)
	}
	return out, nil
}

// textsIn runs a query and returns all cells as text.
func textsIn(ctx context.Context, db *sql.DB, query string) ([]string, error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var out []string
	for rows.Next() {
		cells := make([]sql.NullString, len(names))
		into := make([]any, len(names))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		for _, c := range cells {
			out = append(out, c.String)
		}
	}
	return out, rows.Err()
}

// The search must see every spelling, or its silence says nothing.
func TestCanarySearchSeesEverySpelling(t *testing.T) {
	t.Parallel()
	const canary = "金丝雀C4N4RY77"
	for i, s := range spellings(canary) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "f"), append(append([]byte("xx\x00"), s...), "yy"...), 0o600); err != nil {
			t.Fatal(err)
		}
		found, files, err := sightings([]string{canary, "absent-canary"}, dir)
		if err != nil || files != 1 || len(found[canary]) != 1 || len(found["absent-canary"]) != 0 {
			t.Errorf("spelling %d: found %v in %d files, %v", i, found, files, err)
		}
	}
	for shift := range 3 {
		dir := t.TempDir()
		text := base64.StdEncoding.EncodeToString([]byte("abcdef"[:3+shift] + canary + "uvw"))
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if found, _, err := sightings([]string{canary}, dir); err != nil || len(found[canary]) != 1 {
			t.Errorf("base64 at shift %d: found %v, %v", shift, found, err)
		}
	}
}
