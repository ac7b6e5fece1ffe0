package federate

import (
	"crypto/hpke"
	"errors"
	"io"
)

// What one holder alone may read travels through the aggregator sealed to a key that the
// holder made for this round: HPKE (RFC 9180) with X-Wing (X25519 and ML-KEM-768),
// HKDF-SHA256 and AES-256-GCM. The context names the session, the kind, sender and
// recipient, so that nothing sealed fits in another place.

func suite() (hpke.KEM, hpke.KDF, hpke.AEAD) {
	return hpke.MLKEM768X25519(), hpke.HKDFSHA256(), hpke.AES256GCM()
}

// encBytes is the length of an encapsulated key of the suite.
const encBytes = 1120

// tagBytes is the length of an authentication tag of the suite.
const tagBytes = 16

// SealOverhead is what sealing adds to a text, in bytes.
const SealOverhead = encBytes + tagBytes

func sealInfo(session, kind, from, to string) []byte {
	return []byte(digest("seal", []byte(session), []byte(kind), []byte(from), []byte(to)))
}

func newSealKey(rnd io.Reader) (hpke.PrivateKey, error) {
	ikm := make([]byte, 64)
	if _, err := io.ReadFull(rnd, ikm); err != nil {
		return nil, errors.New("failed to read randomness")
	}
	kem, _, _ := suite()
	defer clear(ikm)
	return kem.DeriveKeyPair(ikm)
}

func parseSealKey(b []byte) (hpke.PublicKey, error) {
	kem, _, _ := suite()
	return kem.NewPublicKey(b)
}

func sealTo(to hpke.PublicKey, info, text []byte) ([]byte, error) {
	_, kdf, aead := suite()
	return hpke.Seal(to, kdf, aead, info, text)
}

func openSealed(k hpke.PrivateKey, info, text []byte) ([]byte, error) {
	_, kdf, aead := suite()
	return hpke.Open(k, kdf, aead, info, text)
}

func newSender(to hpke.PublicKey, info []byte) ([]byte, *hpke.Sender, error) {
	_, kdf, aead := suite()
	return hpke.NewSender(to, kdf, aead, info)
}

func newRecipient(k hpke.PrivateKey, enc, info []byte) (*hpke.Recipient, error) {
	_, kdf, aead := suite()
	return hpke.NewRecipient(enc, k, kdf, aead, info)
}
