package sealed

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Wrapper keeps data keys under a key of its own, so that a file can be made
// unreadable by removing a few bytes and a master key be changed without writing
// files anew. Implementations are safe for concurrent use.
type Wrapper interface {
	// ID names the wrapping key, without telling anything of it.
	ID() string
	// Wrap encrypts a data key for a place; the text holds no secret.
	Wrap(ctx context.Context, place string, key []byte) (string, error)
	// Unwrap is the inverse. The error is ErrKeyLost when the text was wrapped by
	// another key or for another place, and ErrKeysAway when whoever holds the key
	// does not answer now.
	Unwrap(ctx context.Context, place, wrapped string) ([]byte, error)
}

// Errors of wrapped keys. They name no key.
var (
	// ErrKeyLost says that a data key cannot be had from its wrapped form: it was
	// changed, or belongs to another master key or place.
	ErrKeyLost = errors.New("wrapped key does not open: it was changed or belongs to another master key or place")
	// ErrKeysAway says that the holder of the master key does not answer. It may
	// later.
	ErrKeysAway = errors.New("the key service does not answer")
)

// NewDataKey draws a key for one file or one set of files.
func NewDataKey() ([]byte, error) {
	key := make([]byte, KeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("failed to draw a data key: %w", err)
	}
	return key, nil
}

// Local wraps with keys held in memory: the first wraps, all of them unwrap.
type Local struct{ keys []localKey }

type localKey struct {
	id   string
	aead cipher.AEAD
}

const localPrefix = "local:"

// NewLocal makes a wrapper of storage keys, the one in force first.
func NewLocal(keys ...[]byte) (*Local, error) {
	if len(keys) == 0 {
		return nil, errors.New("failed to make a key wrapper: no storage key")
	}
	l := &Local{}
	for _, key := range keys {
		if len(key) != KeySize {
			return nil, errors.New("failed to make a key wrapper: a storage key must be 32 bytes")
		}
		// Wrapping and naming use keys of their own: the storage key itself also
		// encrypts the files of before.
		id, err := hkdf.Key(sha256.New, key, nil, "sandgate/wrap/v1/id", 8)
		if err != nil {
			return nil, fmt.Errorf("failed to name a storage key: %w", err)
		}
		derived, err := hkdf.Key(sha256.New, key, nil, "sandgate/wrap/v1/key", KeySize)
		if err != nil {
			return nil, fmt.Errorf("failed to derive a wrapping key: %w", err)
		}
		block, err := aes.NewCipher(derived)
		clear(derived)
		if err != nil {
			return nil, fmt.Errorf("failed to make a cipher: %w", err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, fmt.Errorf("failed to make a cipher: %w", err)
		}
		l.keys = append(l.keys, localKey{localPrefix + hex.EncodeToString(id), aead})
	}
	return l, nil
}

// ID implements Wrapper.
func (l *Local) ID() string { return l.keys[0].id }

// Wrap implements Wrapper.
func (l *Local) Wrap(_ context.Context, place string, key []byte) (string, error) {
	k := l.keys[0]
	return k.id + ":" + base64.StdEncoding.EncodeToString(k.aead.Seal(nil, nil, key, []byte(place))), nil
}

// Unwrap implements Wrapper.
func (l *Local) Unwrap(_ context.Context, place, wrapped string) ([]byte, error) {
	for _, k := range l.keys {
		text, ok := strings.CutPrefix(wrapped, k.id+":")
		if !ok {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, ErrKeyLost
		}
		key, err := k.aead.Open(nil, nil, raw, []byte(place))
		if err != nil || len(key) != KeySize {
			return nil, ErrKeyLost
		}
		return key, nil
	}
	return nil, ErrKeyLost
}

// Wrappers asks each wrapper in turn: the first wraps, and what it cannot unwrap
// may be another's. It serves while keys move from one to the next.
type Wrappers []Wrapper

// ID implements Wrapper.
func (w Wrappers) ID() string { return w[0].ID() }

// Wrap implements Wrapper.
func (w Wrappers) Wrap(ctx context.Context, place string, key []byte) (string, error) {
	return w[0].Wrap(ctx, place, key)
}

// Unwrap implements Wrapper.
func (w Wrappers) Unwrap(ctx context.Context, place, wrapped string) ([]byte, error) {
	err := ErrKeyLost
	for _, x := range w {
		var key []byte
		if key, err = x.Unwrap(ctx, place, wrapped); err == nil || !errors.Is(err, ErrKeyLost) {
			return key, err
		}
	}
	return nil, err
}
