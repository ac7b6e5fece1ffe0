// Package home is the gateway's directory on disk: what stands where, how it is
// created, and how its keys are opened. Whoever holds a file of it can do what
// the trust table of the README says, so every path is named here once.
package home

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"

	"github.com/sandgate/sandgate/policies/signature"
)

// Home is a gateway's directory.
type Home struct {
	Dir    string
	Config Config
}

// Config is what init fixed; it is public and stands in config.json.
type Config struct {
	Version   int    `json:"version"`
	Origin    string `json:"origin"`
	Regulator string `json:"regulator"`
	// RegulatorKey is the root of trust, as package signature writes it: its algorithm
	// is that of every party.
	RegulatorKey string `json:"regulator_key"`
	// Hosts are the names and addresses in the gateway's certificate.
	Hosts []string `json:"hosts"`
}

// Keys are the gateway's secrets, opened from the keyring.
type Keys struct {
	Log     []byte `json:"log"`     // Ed25519 seed that signs checkpoints
	Receipt []byte `json:"receipt"` // Ed25519 seed that signs receipts
	Token   []byte `json:"token"`   // HMAC key of unit tokens and ranks; losing it unlinks snapshots
	Commit  []byte `json:"commit"`  // derives the salts of query commitments
	Storage []byte `json:"storage"` // wraps the keys of snapshots; losing it loses them
	CA      []byte `json:"ca"`      // Ed25519 seed of the mTLS authority
	Server  []byte `json:"server"`  // Ed25519 seed of the gateway's certificate
	// Retired are storage keys of before, the newest first. The last one opens the
	// files that have no key of their own.
	Retired [][]byte `json:"retired,omitempty"`
	// VaultToken is Token as Vault wrapped it. With it there is no Storage, and
	// Token is there once Vault was asked.
	VaultToken string `json:"vault_token,omitempty"`

	// Epochs counts the rotations of the token, commit, consent and ca key.
	Epochs map[string]int `json:"epochs,omitempty"`
	// Old are token, commit and ca keys of before, oldest first, by the key's name; and
	// every key of consents, that in force last, once none comes from the token key.
	Old map[string][]Held `json:"old,omitempty"`
	// Next are keys that were drawn and are not in force yet, by name: the ledger says
	// whether they came into force.
	Next map[string]Held `json:"next,omitempty"`
}

const (
	configFile  = "config.json"
	keyringFile = "keyring.age"
	unlockFile  = "unlock.key"
	caFile      = "ca.pem"
	serverFile  = "server.pem"
)

// Ledger is the log directory, safe to copy and hand to an auditor.
func (h *Home) Ledger() string { return filepath.Join(h.Dir, "ledger") }

// Guard is where the last signed checkpoint is kept, outside the log directory,
// so that restoring an old copy of the log is noticed.
func (h *Home) Guard() string { return filepath.Join(h.Dir, "guard") }

// Access is where raw access logs are kept.
func (h *Home) Access() string { return filepath.Join(h.Dir, "access") }

// Snapshots holds the immutable ingest results.
func (h *Home) Snapshots() string { return filepath.Join(h.Dir, "snapshots") }

// Releases holds the encoded releases, each named by its job.
func (h *Home) Releases() string { return filepath.Join(h.Dir, "releases") }

// Exact holds the encrypted records of who stands in the cells of exact releases.
func (h *Home) Exact() string { return filepath.Join(h.Dir, "exact") }

// State holds state snapshots, from which a start need not replay the whole ledger.
// It can be deleted at any time.
func (h *Home) State() string { return filepath.Join(h.Dir, "state") }

// Rounds holds the parts of rounds across domains while they run, in files without names.
func (h *Home) Rounds() string { return filepath.Join(h.Dir, "rounds") }

// Models is where what is kept of models stands, each under a key of its own.
func (h *Home) Models() string { return filepath.Join(h.Dir, "models") }

// Rehearsals holds synthetic snapshots, under a key that goes with the gateway that drew
// them. It can be deleted at any time, and is at the first rehearsal after a start.
func (h *Home) Rehearsals() string { return filepath.Join(h.Dir, "rehearsal") }

// CACert is the path of the authority's certificate, which clients pin.
func (h *Home) CACert() string { return filepath.Join(h.Dir, caFile) }

// Create makes a new home. dir must not exist or be empty; nothing is ever
// overwritten. The keyring is encrypted with age to a key that stands beside it
// with mode 0600: move that file to a token or a secret store in production.
func Create(dir string, cfg Config, now time.Time) (*Home, error) {
	if err := CheckEmpty(dir); err != nil {
		return nil, err
	}
	h := &Home{Dir: dir, Config: cfg}
	for _, d := range []string{dir, h.Ledger(), h.Guard(), h.Snapshots(), h.Releases(), h.Exact()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, texts.Errorf("failed to create home: %w", err)
		}
	}
	keys := &Keys{}
	for _, k := range []*[]byte{&keys.Log, &keys.Receipt, &keys.Token, &keys.Commit, &keys.Storage, &keys.CA, &keys.Server} {
		*k = make([]byte, 32)
		if _, err := rand.Read(*k); err != nil {
			return nil, texts.Errorf("failed to draw a key: %w", err)
		}
	}
	if err := h.seal(keys); err != nil {
		return nil, err
	}
	ca, caPEM, err := newCA(cfg.Origin, ed25519.NewKeyFromSeed(keys.CA), now)
	if err != nil {
		return nil, err
	}
	serverPEM, err := issueServer(ca, ed25519.NewKeyFromSeed(keys.CA), ed25519.NewKeyFromSeed(keys.Server), cfg.Hosts, now)
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(cfg, "", "  ")
	if err != nil {
		return nil, texts.Errorf("failed to encode config: %w", err)
	}
	for name, data := range map[string][]byte{configFile: append(text, '\n'), caFile: caPEM, serverFile: serverPEM} {
		if err := writeFile(dir, name, data); err != nil {
			return nil, texts.Errorf("failed to write home: %w", err)
		}
	}
	return h, nil
}

func (h *Home) seal(keys *Keys) error {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return texts.Errorf("failed to draw the unlock key: %w", err)
	}
	sealed, err := encryptKeys(keys, id.Recipient())
	if err != nil {
		return err
	}
	if err := writeFile(h.Dir, unlockFile, []byte(id.String()+"\n")); err != nil {
		return texts.Errorf("failed to write unlock key: %w", err)
	}
	if err := writeFile(h.Dir, keyringFile, sealed); err != nil {
		return texts.Errorf("failed to write keyring: %w", err)
	}
	return nil
}

// Open reads a home's public part.
func Open(dir string) (*Home, error) {
	text, err := os.ReadFile(filepath.Join(dir, configFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, texts.Errorf("%s is not a Sandgate home; create one with: sandgate init --home %s", dir, dir)
	}
	if err != nil {
		return nil, texts.Errorf("failed to read home: %w", err)
	}
	h := &Home{Dir: dir}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&h.Config); err != nil {
		return nil, texts.Errorf("failed to parse %s: %w", configFile, err)
	}
	if h.Config.Version != 1 {
		return nil, texts.Errorf("%s has version %d; this program knows 1", configFile, h.Config.Version)
	}
	return h, nil
}

// Unlock opens the keyring.
func (h *Home) Unlock() (*Keys, error) {
	id, err := h.unlockKey()
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(h.Dir, keyringFile))
	if err != nil {
		return nil, texts.Errorf("failed to open keyring: %w", err)
	}
	defer f.Close()
	r, err := age.Decrypt(f, id)
	if err != nil {
		return nil, texts.Errorf("failed to decrypt keyring: %w", err)
	}
	plain, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return nil, texts.Errorf("failed to decrypt keyring: %w", err)
	}
	var keys Keys
	dec := json.NewDecoder(bytes.NewReader(plain))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&keys); err != nil {
		return nil, texts.Errorf("keyring is damaged")
	}
	if !keys.complete() {
		return nil, texts.Errorf("keyring lacks a key; refusing to start without it")
	}
	return &keys, nil
}

// PublicKey renders a public key as the registry wants it.
func PublicKey(k []byte) string { return signature.Text(k) }

// PublicOf renders the public key of a signer as the registry wants it.
func PublicOf(key crypto.Signer) (string, error) {
	raw, err := signature.Public(key)
	if err != nil {
		return "", texts.Errorf("unknown kind of signing key")
	}
	return PublicKey(raw), nil
}

// Crypto is the algorithm of the parties' keys, the regulator's; "" when that is none.
func (c Config) Crypto() signature.Algorithm {
	raw, err := signature.Parse(c.RegulatorKey)
	if err != nil {
		return ""
	}
	return signature.Of(raw)
}
