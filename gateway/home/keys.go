package home

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"github.com/sandgate/sandgate/compute/engine/sealed"
	"github.com/sandgate/sandgate/gateway/home/vault"
)

// KeyService holds the master key of snapshots outside the home.
type KeyService interface {
	sealed.Wrapper
	// Rotate draws a new master key; what the old one wrapped still unwraps.
	Rotate(ctx context.Context) error
	// State says whether the service answers.
	State() vault.State
	// Close ends the session with it.
	Close() error
}

// tokenPlace is what the key of unit tokens is wrapped for.
const tokenPlace = "keyring/token"

// Wrapper wraps data keys by the keyring's storage keys.
func (k *Keys) Wrapper() (sealed.Wrapper, error) {
	if k.Storage == nil {
		return sealed.NewLocal(k.Retired...)
	}
	return sealed.NewLocal(append([][]byte{k.Storage}, k.Retired...)...)
}

// complete says whether no key is missing or of a wrong length.
func (k *Keys) complete() bool {
	all := append([][]byte{k.Log, k.Receipt, k.Commit, k.CA, k.Server}, k.Retired...)
	if k.VaultToken == "" {
		all = append(all, k.Storage, k.Token)
	} else if k.Storage != nil || k.Token != nil {
		return false
	}
	for _, key := range all {
		if len(key) != sealed.KeySize {
			return false
		}
	}
	return k.heldComplete()
}

// OpenKeys makes the wrapper of data keys. With cfg they are kept in Vault; the
// first time, the home moves there: the key of unit tokens is wrapped by Vault, and
// the keyring's storage key stays among the retired until the gateway has wrapped
// every data key anew. There is no way back by itself: a home that has moved does
// not open without Vault. service is nil without cfg.
func (h *Home) OpenKeys(ctx context.Context, keys *Keys, cfg *vault.Config) (by sealed.Wrapper, service KeyService, err error) {
	if cfg == nil {
		if keys.VaultToken != "" {
			return nil, nil, texts.Errorf("the keys of this home are kept in Vault: name it with --vault-addr, --vault-role and --vault-secret")
		}
		by, err = keys.Wrapper()
		return by, nil, err
	}
	s, err := vault.Open(ctx, *cfg)
	if err != nil {
		return nil, nil, err
	}
	if keys.VaultToken == "" {
		err = h.moveToVault(ctx, keys, s)
	} else {
		keys.Token, err = s.Unwrap(ctx, tokenPlace, keys.VaultToken)
	}
	if err == nil {
		err = h.openHeld(ctx, keys, s)
	}
	if err != nil {
		return nil, nil, errors.Join(texts.Errorf("failed to open the key of unit tokens by Vault: %w", err), s.Close())
	}
	if len(keys.Retired) == 0 {
		return s, s, nil
	}
	old, err := keys.Wrapper()
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return sealed.Wrappers{s, old}, s, nil
}

func (h *Home) moveToVault(ctx context.Context, keys *Keys, s sealed.Wrapper) error {
	wrapped, err := wrapToken(ctx, s, keys.Token)
	if err != nil {
		return err
	}
	keys.VaultToken = wrapped
	keys.Storage, keys.Retired = nil, append([][]byte{keys.Storage}, keys.Retired...)
	return h.Save(keys)
}

// Save writes the keyring anew, durably, to the same unlock key. What Vault keeps
// is not in it.
func (h *Home) Save(keys *Keys) error {
	id, err := h.unlockKey()
	if err != nil {
		return err
	}
	stored := *keys
	if stored.VaultToken != "" {
		stored.Token = nil
	}
	stored.Old, stored.Next = stored.withoutWrapped()
	if !stored.complete() {
		return texts.Errorf("failed to save the keyring: it lacks a key")
	}
	sealedText, err := encryptKeys(&stored, id.Recipient())
	if err != nil {
		return err
	}
	return writeFile(h.Dir, keyringFile, sealedText)
}

func encryptKeys(keys *Keys, to age.Recipient) ([]byte, error) {
	text, err := json.Marshal(keys)
	if err != nil {
		return nil, texts.Errorf("failed to encode keyring: %w", err)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err != nil {
		return nil, texts.Errorf("failed to encrypt keyring: %w", err)
	}
	if _, err := w.Write(text); err != nil {
		return nil, texts.Errorf("failed to encrypt keyring: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, texts.Errorf("failed to encrypt keyring: %w", err)
	}
	return out.Bytes(), nil
}

// unlockKey reads the key that opens the keyring. A missing, empty or
// readable-by-others unlock key is an error, never a reason to go on without
// encryption.
func (h *Home) unlockKey() (*age.X25519Identity, error) {
	path := filepath.Join(h.Dir, unlockFile)
	if p := os.Getenv("SANDGATE_UNLOCK_KEY"); p != "" {
		path = p
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, texts.Errorf("failed to find the unlock key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, texts.Errorf("unlock key %s can be read by others; run: chmod 600 %s", path, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, texts.Errorf("failed to read the unlock key: %w", err)
	}
	id, err := age.ParseX25519Identity(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, texts.Errorf("the unlock key is empty or damaged")
	}
	return id, nil
}
