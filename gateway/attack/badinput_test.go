package attack

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/evidence"
)

// signedLog writes raw entries as a log signed by the keys of that seed, and returns
// its directory and receipts.
func signedLog(t *testing.T, origin string, seed, receipts []byte, texts [][]byte) (dir string, out []evidence.Receipt) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "log")
	signer, _, err := ledger.NewSignerFromSeed(origin, seed)
	if err != nil {
		t.Fatal(err)
	}
	log, err := ledger.Open(t.Context(), ledger.Config{Dir: dir, GuardDir: dir + "-guard", Origin: origin, Signer: signer, ReceiptKey: ed25519.NewKeyFromSeed(receipts)}, anything{})
	if err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(texts, ledger.MaxEntriesPerCommand) {
		rs, err := log.Do(t.Context(), func() ([][]byte, error) { return part, nil })
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, rs...)
	}
	if _, err := log.WaitPublished(t.Context(), uint64(len(texts)-1)); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, out
}

// R30: what an auditor is given and what is wrong with it: the program's own command
// line names the thing in both languages and ends with the code of a failed audit.
// The honest ledger, written with the same tools, passes.
func TestR30_BadInputIsNamed(t *testing.T) {
	NeedBinary(t)
	x := newFaulted(t)
	in, keys, origin := x.in, x.a.Keys, x.a.Home.Config.Origin
	raw, err := os.Open(ledger.WriteAheadFile(x.a.Home.Ledger()))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	var texts [][]byte
	if _, err := ledger.ReadWriteAhead(raw, func(_ uint64, text []byte) error { texts = append(texts, bytes.Clone(text)); return nil }); err != nil {
		t.Fatal(err)
	}
	honest, receipts := signedLog(t, origin, keys.Log, keys.Receipt, texts)
	stranger := bytes.Repeat([]byte{7}, 32)
	_, others := signedLog(t, "elsewhere.test/log", stranger, stranger, texts)
	keep := func(name string, r evidence.Receipt) string {
		text, err := json.Marshal(r)
		path := filepath.Join(t.TempDir(), name)
		if err = errors.Join(err, os.WriteFile(path, text, 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	forged := receipts[3]
	forged.Signature = bytes.Clone(forged.Signature)
	forged.Signature[9] ^= 1
	altered := func(at int, from, to string) string {
		list := slices.Clone(texts)
		if list[at] = bytes.Replace(list[at], []byte(from), []byte(to), 1); bytes.Equal(list[at], texts[at]) {
			t.Fatalf("entry %d holds no %s", at, from)
		}
		dir, _ := signedLog(t, origin, keys.Log, keys.Receipt, list)
		return dir
	}
	damaged := func(change func(dir string) error) string {
		dir := filepath.Join(t.TempDir(), "copy")
		if err := errors.Join(os.CopyFS(dir, os.DirFS(honest)), change(dir)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	wrongKey := damaged(func(dir string) error {
		path := filepath.Join(dir, "checkpoint")
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		body, _, _ := strings.Cut(string(text), "\n\n")
		signer, _, err := ledger.NewSignerFromSeed(origin, stranger)
		if err != nil {
			return err
		}
		signed, err := note.Sign(&note.Note{Text: body + "\n"}, signer)
		if err != nil {
			return err
		}
		return os.WriteFile(path, signed, 0o600)
	})
	short := damaged(func(dir string) error {
		tiles, err := filepath.Glob(filepath.Join(dir, "tile", "entries", "*", "*"))
		for _, f := range tiles {
			err = errors.Join(err, os.Remove(f))
		}
		return err
	})
	cutLog := damaged(func(dir string) error {
		path := ledger.WriteAheadFile(dir)
		info, err := os.Stat(path)
		return errors.Join(err, os.Truncate(path, info.Size()/2))
	})
	for name, c := range map[string]struct {
		dir, receipt, said string
	}{
		"honest":                          {honest, keep("r", receipts[3]), ""},
		"a forged receipt":                {honest, keep("r", forged), `RECEIPT_BROKEN.*3`},
		"a receipt of another log":        {honest, keep("r", others[3]), `RECEIPT_BROKEN.*elsewhere\.test/log|RECEIPT_BROKEN.*3`},
		"a checkpoint with a wrong key":   {wrongKey, "", `checkpoint`},
		"an unknown entry version":        {altered(4, `"v":1`, `"v":2`), "", `entry 4 .*version 2|entry 4 .*version`},
		"an entry with an unknown field":  {altered(4, `"v":1`, `"v":1,"frobnicated":1`), "", `entry 4 .*frobnicated`},
		"an unknown kind of entry":        {altered(4, `"kind":"`, `"kind":"odd.`), "", `entry 4 .*kind`},
		"a copy without tiles of entries": {short, "", `tile/entries`},
		"a copy whose log is cut short":   {cutLog, "", `wal\.log|write-ahead|FILE`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, lang := range []string{"zh", "en"} {
				args := []string{"audit", "--lang", lang, "--ledger", c.dir, "--trust", filepath.Join(in.dir, "trust.json")}
				if c.receipt != "" {
					args = append(args, "--receipt", c.receipt)
				}
				out, err := exec.Command(Binary(), args...).CombinedOutput()
				var exit *exec.ExitError
				switch {
				case c.said == "" && err != nil:
					t.Fatalf("the honest one fails: %v\n%s", err, out)
				case c.said == "":
				case !errors.As(err, &exit) || exit.ExitCode() == 0:
					t.Errorf("%v\n%s", err, out)
				case lang == "en" && !regexp.MustCompile(`(?s)`+c.said).Match(out):
					t.Errorf("it is not named (%s), exit code %d:\n%s", c.said, exit.ExitCode(), out)
				}
			}
		})
	}
}
