// Package signature signs and verifies what parties say: Ed25519 (RFC 8032), or
// SM2 with SM3 (GB/T 32918.2, the signer's identity being the one of GM/T 0009)
// where the regulator's key is an SM2 key. The length of a public key tells which.
// It is pure: signatures of either kind are made without randomness.
package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/emmansun/gmsm/sm2"
)

// Algorithm of a party's key.
type Algorithm string

const (
	Ed25519 Algorithm = "ed25519"
	SM2     Algorithm = "sm2" // 商用密码
)

// SM2PublicSize is the length of an SM2 public key: an uncompressed point, 04 ‖ x ‖ y.
const SM2PublicSize = 65

// SM2PrivateSize is the length of an SM2 private key, a number, big endian.
const SM2PrivateSize = 32

// prefix stands before the base64 of an SM2 key. An Ed25519 key has none.
const prefix = "sm2:"

var (
	errForm   = errors.New("not a base64 Ed25519 public key of 32 bytes, nor sm2: and the base64 of an SM2 point of 65 bytes")
	errSigner = errors.New("the signing key is neither an Ed25519 nor an SM2 key")
)

// Parse reads a public key as the registry and the trust file hold it: base64 of an
// Ed25519 key, or sm2: and base64 of an uncompressed SM2 point, which must lie on the
// curve.
func Parse(text string) ([]byte, error) {
	rest, isSM2 := strings.CutPrefix(text, prefix)
	raw, err := base64.StdEncoding.Strict().DecodeString(rest)
	switch {
	case err != nil || base64.StdEncoding.EncodeToString(raw) != rest: // line breaks within, which the decoder skips
		return nil, errForm
	case !isSM2 && len(raw) == ed25519.PublicKeySize:
		return raw, nil
	case isSM2 && len(raw) == SM2PublicSize:
		if _, err := sm2.NewPublicKey(raw); err != nil {
			return nil, errForm
		}
		return raw, nil
	}
	return nil, errForm
}

// Text is the inverse of Parse.
func Text(public []byte) string {
	text := base64.StdEncoding.EncodeToString(public)
	if Of(public) == SM2 {
		return prefix + text
	}
	return text
}

// Of names the algorithm of a public key, "" when it is none.
func Of(public []byte) Algorithm {
	switch len(public) {
	case ed25519.PublicKeySize:
		return Ed25519
	case SM2PublicSize:
		return SM2
	}
	return ""
}

// NewSM2 reads an SM2 private key of SM2PrivateSize bytes.
func NewSM2(private []byte) (crypto.Signer, error) {
	if len(private) != SM2PrivateSize {
		return nil, errSigner
	}
	key, err := sm2.NewPrivateKey(private)
	if err != nil {
		return nil, errSigner
	}
	return key, nil
}

// Public is the public key of a signer.
func Public(key crypto.Signer) ([]byte, error) {
	if key == nil {
		return nil, errSigner
	}
	switch p := key.Public().(type) {
	case ed25519.PublicKey:
		return p, nil
	case *ecdsa.PublicKey:
		if sm2.IsSM2PublicKey(p) {
			// The point without the deprecated coordinates: ECDH form is 04 ‖ x ‖ y.
			e, err := sm2.PublicKeyToECDH(p)
			if err != nil {
				return nil, errSigner
			}
			return e.Bytes(), nil
		}
	}
	return nil, errSigner
}

// Sign signs a message. The key may sit in a device that implements crypto.Signer and
// signs messages, not digests.
func Sign(key crypto.Signer, message []byte) ([]byte, error) {
	public, err := Public(key)
	if err != nil {
		return nil, err
	}
	var opts crypto.SignerOpts = crypto.Hash(0)
	if Of(public) == SM2 {
		opts = sm2.NewSM2SignerOption(true, nil)
	}
	sig, err := key.Sign(nil, message, opts)
	if err != nil {
		return nil, errors.New("the signing key does not sign")
	}
	if !Verify(public, message, sig) {
		return nil, errors.New("the signing key makes signatures that do not verify")
	}
	return sig, nil
}

// Verify says whether sig is a party's signature of a message: 64 bytes for Ed25519,
// DER for SM2. A key that is none verifies nothing.
func Verify(public, message, sig []byte) bool {
	switch Of(public) {
	case Ed25519:
		return ed25519.Verify(public, message, sig)
	case SM2:
		key, err := sm2.NewPublicKey(public)
		return err == nil && sm2.VerifyASN1WithSM2(key, nil, message, sig)
	}
	return false
}
