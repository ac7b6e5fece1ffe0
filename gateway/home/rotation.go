package home

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"maps"
	"slices"

	"github.com/sandgate/sandgate/compute/engine/sealed"
	"github.com/sandgate/sandgate/ledger/entry"
)

// Held is a key that is not the one in force: of an epoch before, or to come.
type Held struct {
	Epoch int    `json:"epoch,omitempty"`
	Key   []byte `json:"key,omitempty"`
	// Vault is Key as Vault wrapped it; Key is there once Vault was asked.
	Vault string `json:"vault,omitempty"`
}

// ErrKeyringOlder is a keyring that lacks a key which the ledger says is in force:
// it was restored from a backup that was made before the key was changed.
var ErrKeyringOlder = texts.Errorf("the keyring lacks a key that the ledger says is in force: it is older than the ledger; bring back the keyring that was saved after the last rotation")

// ErrLedgerOlder is a ledger that ends before a key of the home came into force.
var ErrLedgerOlder = texts.Errorf("the ledger ends before a key of this home came into force: an old copy of it was put back, or it is another home's; bring back the newest")

// wrapToken has a token key wrapped. What was wrapped must unwrap before the only
// other copy goes.
func wrapToken(ctx context.Context, s sealed.Wrapper, key []byte) (string, error) {
	wrapped, err := s.Wrap(ctx, tokenPlace, key)
	if err != nil {
		return "", err
	}
	again, err := s.Unwrap(ctx, tokenPlace, wrapped)
	if err != nil {
		return "", err
	}
	if !bytes.Equal(again, key) {
		return "", sealed.ErrKeyLost
	}
	return wrapped, nil
}

// counted are the keys of which epochs before are kept.
var counted = []string{entry.KeyToken, entry.KeyCommit, entry.KeyConsent, entry.KeyCA}

// tokens visits the token keys that are not in force, and the keys of consents.
func (k *Keys) tokens(visit func(h *Held) error) error {
	for _, name := range []string{entry.KeyToken, entry.KeyConsent} {
		for i := range k.Old[name] {
			if err := visit(&k.Old[name][i]); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{entry.KeyToken, entry.KeyConsent} {
		if next, ok := k.Next[name]; ok {
			if err := visit(&next); err != nil {
				return err
			}
			k.Next[name] = next
		}
	}
	return nil
}

// openHeld asks Vault for the token keys of other epochs, and has those wrapped that
// came from a keyring without Vault.
func (h *Home) openHeld(ctx context.Context, keys *Keys, s sealed.Wrapper) error {
	moved := false
	err := keys.tokens(func(x *Held) (err error) {
		if x.Vault != "" {
			x.Key, err = s.Unwrap(ctx, tokenPlace, x.Vault)
			return err
		}
		moved = true
		x.Vault, err = wrapToken(ctx, s, x.Key)
		return err
	})
	if err != nil || !moved {
		return err
	}
	return h.Save(keys)
}

// withoutWrapped are Old and Next as they are stored: what Vault keeps is not in
// them.
func (k *Keys) withoutWrapped() (old map[string][]Held, next map[string]Held) {
	bare := *k
	if len(k.Old) > 0 {
		bare.Old = map[string][]Held{}
		for name, list := range k.Old {
			bare.Old[name] = slices.Clone(list)
		}
	}
	bare.Next = maps.Clone(k.Next)
	_ = bare.tokens(func(x *Held) error {
		if x.Vault != "" {
			x.Key = nil
		}
		return nil
	})
	return bare.Old, bare.Next
}

func (k *Keys) heldComplete() bool {
	good := func(h Held) bool { return len(h.Key) == sealed.KeySize || h.Key == nil && h.Vault != "" }
	for _, list := range k.Old {
		if !slices.ContainsFunc(list, func(h Held) bool { return !good(h) }) {
			continue
		}
		return false
	}
	for _, h := range k.Next {
		if !good(h) {
			return false
		}
	}
	return true
}

// field is where the key in force of a name stands; nil for that of consents.
func (k *Keys) field(name string) *[]byte {
	switch name {
	case entry.KeyLog:
		return &k.Log
	case entry.KeyReceipt:
		return &k.Receipt
	case entry.KeyToken:
		return &k.Token
	case entry.KeyCommit:
		return &k.Commit
	case entry.KeyServer:
		return &k.Server
	case entry.KeyCA:
		return &k.CA
	}
	return nil
}

// clone shares no map or list with k.
func (k *Keys) clone() *Keys {
	next := *k
	next.Epochs, next.Next = maps.Clone(k.Epochs), maps.Clone(k.Next)
	next.Old = map[string][]Held{}
	for name, list := range k.Old {
		next.Old[name] = slices.Clone(list)
	}
	return &next
}

// Draw draws the next key of a name and stores it, unless one is waiting. by wraps
// the keys of tokens and consents; nil keeps them in the keyring. It returns the keyring with it.
func (h *Home) Draw(ctx context.Context, keys *Keys, name string, by sealed.Wrapper) (*Keys, []byte, error) {
	if waiting, ok := keys.Next[name]; ok {
		return keys, waiting.Key, nil
	}
	key, err := sealed.NewDataKey()
	if err != nil {
		return nil, nil, err
	}
	held := Held{Epoch: keys.Epochs[name] + 1, Key: key}
	next := keys.clone()
	token := name == entry.KeyToken || name == entry.KeyConsent
	if token && len(next.Old[entry.KeyConsent]) == 0 {
		next.Old[entry.KeyConsent] = []Held{{Key: ConsentKey(keys)}}
	}
	if token && keys.VaultToken != "" {
		kept := &next.Old[entry.KeyConsent][0]
		if held.Vault, err = wrapToken(ctx, by, key); err == nil && kept.Vault == "" {
			kept.Vault, err = wrapToken(ctx, by, kept.Key)
		}
		if err != nil {
			return nil, nil, texts.Errorf("failed to have the next key wrapped: %w", err)
		}
	}
	if next.Next == nil {
		next.Next = map[string]Held{}
	}
	next.Next[name] = held
	return next, key, h.Save(next)
}

// Promote puts the key that is waiting in force and stores that. Keys of before that
// are counted are kept, all others forgotten.
func (h *Home) Promote(keys *Keys, name string) (*Keys, error) {
	held, ok := keys.Next[name]
	if !ok {
		return nil, ErrKeyringOlder
	}
	next := keys.clone()
	delete(next.Next, name)
	if slices.Contains(counted, name) {
		if next.Epochs == nil {
			next.Epochs = map[string]int{}
		}
		next.Epochs[name] = held.Epoch
	}
	if name == entry.KeyConsent {
		next.Old[name] = append(next.Old[name], held)
		return next, h.Save(next)
	}
	now := next.field(name)
	if slices.Contains(counted, name) {
		old := Held{Epoch: keys.Epochs[name], Key: *now}
		if name == entry.KeyToken {
			old.Vault, next.VaultToken = keys.VaultToken, held.Vault
		}
		next.Old[name] = append(next.Old[name], old)
	}
	*now = held.Key
	return next, h.Save(next)
}

// EraseOld forgets the keys of a name up to an epoch and stores that.
func (h *Home) EraseOld(keys *Keys, name string, epoch int) (*Keys, error) {
	if !slices.ContainsFunc(keys.Old[name], func(x Held) bool { return x.Epoch <= epoch }) {
		return keys, nil
	}
	next := keys.clone()
	next.Old[name] = slices.DeleteFunc(next.Old[name], func(x Held) bool { return x.Epoch <= epoch })
	return next, h.Save(next)
}

// ConsentKey derives commitments to subjects. The first comes from the token key that
// a home began with and stays when that is replaced.
func ConsentKey(keys *Keys) []byte {
	if kept := keys.Old[entry.KeyConsent]; len(kept) > 0 {
		return kept[len(kept)-1].Key
	}
	mac := hmac.New(sha256.New, keys.Token)
	mac.Write([]byte("sandgate/consent-subject/v1"))
	return mac.Sum(nil)
}

// ConsentKeyOf is ConsentKey of an epoch, none of which is ever erased: nil for one
// that is not there.
func ConsentKeyOf(keys *Keys, epoch int) []byte {
	kept := keys.Old[entry.KeyConsent]
	switch {
	case len(kept) == 0 && epoch == 0:
		return ConsentKey(keys)
	case epoch < 0 || epoch >= len(kept):
		return nil
	}
	return kept[epoch].Key
}
