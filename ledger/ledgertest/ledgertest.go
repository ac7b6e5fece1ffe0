// Package ledgertest makes ledgers of any length for benchmarks and tests: entries
// of every common kind, each decided by the rules in force and signed by whom it
// concerns, so that an audit accepts them as it does those of a gateway.
//
// The keys are derived from the parties' names: nothing made here protects anything.
package ledgertest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
)

// Origin of the ledgers that Write makes by default.
const Origin = "sandgate.test/city"

// Options of a ledger.
type Options struct {
	// Entries is how many there are in all, at least MinEntries.
	Entries int
	// Genesis is the first entry's body; nil takes Trust().
	Genesis *entry.Genesis
	// Key is the signing key of a party of testdata/city; nil takes Key.
	Key func(party string) ed25519.PrivateKey
	// Assets is the directory of the city's documents; empty looks for testdata/city
	// of the module that the working directory lies in.
	Assets string
}

// Key is the key of a party, or of the log ("log") or the receipts ("receipts").
func Key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func publicText(key ed25519.PrivateKey) string {
	return base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
}

// Signer is the checkpoint key of the log.
func Signer() (note.Signer, error) {
	s, _, err := ledger.NewSignerFromSeed(Origin, Key("log").Seed())
	return s, err
}

// Trust is what an auditor pins of a ledger made with the default keys.
func Trust() (*entry.Genesis, error) {
	vkey, err := ledger.VerifierKey(Origin, Key("log").Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	return &entry.Genesis{Origin: Origin, Regulator: regulator, RegulatorKey: publicText(Key(regulator)), LogKey: vkey, ReceiptKey: publicText(Key("receipts"))}, nil
}

// Config opens the ledger that Write(base) made: base/ledger is what an auditor
// gets, base/guard the last signed checkpoint, base/trust.json what he pins.
func Config(base string) (ledger.Config, error) {
	signer, err := Signer()
	if err != nil {
		return ledger.Config{}, err
	}
	return ledger.Config{Dir: filepath.Join(base, "ledger"), GuardDir: filepath.Join(base, "guard"), Origin: Origin, Signer: signer, ReceiptKey: Key("receipts")}, nil
}

// Write makes a ledger with the default keys in base; see Config.
func Write(ctx context.Context, base string, entries int) error {
	cfg, err := Config(base)
	if err != nil {
		return err
	}
	if err := Append(ctx, cfg, Options{Entries: entries}); err != nil {
		return err
	}
	trust, err := Trust()
	if err != nil {
		return err
	}
	text, err := json.Marshal(trust)
	if err != nil {
		return fmt.Errorf("failed to encode trust file: %w", err)
	}
	return os.WriteFile(filepath.Join(base, "trust.json"), text, 0o644)
}

// unchecked stands behind the log: the generator has applied every entry before.
type unchecked struct{}

func (unchecked) Apply(uint64, []byte) error { return nil }

// Append writes the entries into the new log of cfg, and returns when a checkpoint
// covers them all. cfg must fit opt.Genesis.
func Append(ctx context.Context, cfg ledger.Config, opt Options) (err error) {
	l, err := ledger.Open(ctx, cfg, unchecked{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The generator and the log have a core each.
	batches := make(chan [][]byte, 8)
	made := make(chan error, 1)
	go func() {
		defer close(batches)
		made <- batched(ctx, opt, batches)
	}()
	for b := range batches {
		if _, err := l.Do(ctx, func() ([][]byte, error) { return b, nil }); err != nil {
			cancel(err)
			return fmt.Errorf("failed to append: %w", errors.Join(err, <-made))
		}
	}
	if err := <-made; err != nil {
		return err
	}
	_, err = l.WaitPublished(ctx, l.Size()-1)
	return err
}

func batched(ctx context.Context, opt Options, out chan<- [][]byte) error {
	var batch [][]byte
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		select {
		case out <- batch:
			batch = nil
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	err := Generate(opt, func(text []byte) error {
		if batch = append(batch, text); len(batch) < ledger.MaxEntriesPerCommand {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// Shared is the directory of a ledger of so many entries that is made once and then
// used by every benchmark on the machine, which must not change it. It lies in
// SANDGATE_LEDGERS, or in the user's cache.
func Shared(ctx context.Context, entries int) (string, error) {
	parent := os.Getenv("SANDGATE_LEDGERS")
	if parent == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("failed to find a place for the ledger: %w; name one in SANDGATE_LEDGERS", err)
		}
		parent = filepath.Join(cache, "sandgate-ledgers")
	}
	name, err := edition(entries)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(parent, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("failed to look for the ledger: %w", err)
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("failed to make directory of ledgers: %w", err)
	}
	// Made beside and renamed: what was broken off is never taken for whole.
	tmp, err := os.MkdirTemp(parent, "making-")
	if err != nil {
		return "", fmt.Errorf("failed to make directory of the ledger: %w", err)
	}
	if err := Write(ctx, tmp, entries); err != nil {
		return "", errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, dir); err != nil {
		if _, serr := os.Stat(dir); serr == nil { // another process was quicker
			return dir, os.RemoveAll(tmp)
		}
		return "", fmt.Errorf("failed to put the ledger in place: %w", err)
	}
	return dir, nil
}

// edition names a ledger by what it is made of: other rules make another one.
func edition(entries int) (string, error) {
	first := sha256.New()
	if err := Generate(Options{Entries: max(MinEntries, min(entries, 4*MinEntries))}, func(text []byte) error {
		first.Write(text)
		return nil
	}); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d-%x", entries, first.Sum(nil)[:6]), nil
}
