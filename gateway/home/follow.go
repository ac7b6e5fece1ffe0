package home

import (
	"crypto/ed25519"
	"slices"

	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/state"
)

// KeyName is how the ledger names a key of this home: a public key in full, of a
// secret one what tells nothing of it.
func (h *Home) KeyName(name string, key []byte) (string, error) {
	if name != entry.KeyLog && name != entry.KeyReceipt {
		return entry.KeyName(key), nil
	}
	if len(key) != ed25519.SeedSize {
		return "", texts.Errorf("the %s key has a wrong length", name)
	}
	public := ed25519.NewKeyFromSeed(key).Public().(ed25519.PublicKey)
	if name == entry.KeyReceipt {
		return PublicKey(public), nil
	}
	return ledger.VerifierKey(h.Config.Origin, public)
}

// LogKeys are what a log signs with, by a keyring's keys.
func (h *Home) LogKeys(log, receipt []byte) (ledger.Keys, error) {
	signer, _, err := ledger.NewSignerFromSeed(h.Config.Origin, log)
	if err != nil {
		return ledger.Keys{}, texts.Errorf("failed to make the checkpoint signer: %w", err)
	}
	return ledger.Keys{Signer: signer, ReceiptKey: ed25519.NewKeyFromSeed(receipt)}, nil
}

// Follow brings a keyring in line with the ledger, which alone says what key is in
// force: one that was drawn and whose change is ledgered comes into force, as it
// would have but for a crash. It returns the keyring and what the log signs with,
// or ErrKeyringOlder.
func (h *Home) Follow(keys *Keys, s *state.State) (*Keys, ledger.Keys, error) {
	chain := s.LogKeys()
	if chain == nil {
		k, err := h.LogKeys(keys.Log, keys.Receipt)
		return keys, k, err
	}
	var err error
	for _, name := range []string{entry.KeyLog, entry.KeyReceipt, entry.KeyToken, entry.KeyCommit, entry.KeyConsent, entry.KeyServer, entry.KeyCA} {
		if keys, err = h.follow(keys, name, s); err != nil {
			return nil, ledger.Keys{}, err
		}
	}
	// What the ledger says is destroyed is, whatever crash came between.
	if keys, err = h.EraseOld(keys, entry.KeyCA, s.OldestAuthority()-1); err != nil {
		return nil, ledger.Keys{}, err
	}
	k, err := h.LogKeys(keys.Log, keys.Receipt)
	k.SignsFrom = chain.Newest().From
	return keys, k, err
}

// known says whether a public key was ever in force.
func known(s *state.State, key string) bool {
	for _, t := range s.LogKeys().Terms() {
		if t.Key == key {
			return true
		}
	}
	return slices.ContainsFunc(s.ReceiptKeys(), func(t evidence.ReceiptTerm) bool { return PublicKey(t.Key) == key })
}

func (h *Home) follow(keys *Keys, name string, s *state.State) (*Keys, error) {
	want := s.KeyInForce(name).Name
	if slices.Contains(counted, name) {
		now := ConsentKey(keys)
		if name != entry.KeyConsent {
			now = *keys.field(name)
		}
		switch keys.Epochs[name] {
		case s.KeyEpoch(name):
			// Under Vault the key itself is not at hand everywhere this is asked.
			if want != "" && now != nil && entry.KeyName(now) != want {
				return nil, ErrKeyringOlder
			}
			return keys, nil
		case s.KeyEpoch(name) - 1:
			if next := keys.Next[name]; next.Key != nil && entry.KeyName(next.Key) != want {
				return nil, ErrKeyringOlder
			}
			return h.Promote(keys, name)
		}
		if keys.Epochs[name] > s.KeyEpoch(name) {
			return nil, ErrLedgerOlder
		}
		return nil, ErrKeyringOlder
	}
	have, err := h.KeyName(name, *keys.field(name))
	if err != nil || have == want || want == "" {
		return keys, err
	}
	next, waiting := keys.Next[name]
	if waiting {
		if have, err = h.KeyName(name, next.Key); err != nil {
			return nil, err
		}
	}
	if !waiting && !known(s, have) {
		return nil, texts.Errorf("the %s key of this home is not in the ledger: %w", name, ErrLedgerOlder)
	}
	if !waiting || have != want {
		return nil, texts.Errorf("the %s key of this home is not the one that the ledger says is in force: %w", name, ErrKeyringOlder)
	}
	return h.Promote(keys, name)
}
