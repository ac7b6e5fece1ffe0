package policies

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"slices"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/sandgate/sandgate/policies/signature"
)

// PayloadType of a signed policy bundle in its DSSE envelope
// (https://github.com/secure-systems-lab/dsse).
const PayloadType = "application/vnd.sandgate.policy+yaml"

// Sign adds party's signature to an envelope over bundle. env may be nil for the
// first signature; a licence gathers one from the regulator and one from every
// owning department. Signing again replaces the party's earlier signature.
func Sign(env *dsse.Envelope, bundle []byte, party string, key crypto.Signer) (*dsse.Envelope, error) {
	payload := base64.StdEncoding.EncodeToString(bundle)
	if env == nil {
		env = &dsse.Envelope{PayloadType: PayloadType, Payload: payload}
	}
	if env.PayloadType != PayloadType || env.Payload != payload {
		return nil, texts.Errorf("envelope holds another text than the one to be signed; remove the old .dsse file and sign anew")
	}
	sig, err := signature.Sign(key, dsse.PAE(PayloadType, bundle))
	if err != nil {
		return nil, texts.Errorf("failed to sign: %w", err)
	}
	env.Signatures = slices.DeleteFunc(env.Signatures, func(s dsse.Signature) bool { return s.KeyID == party })
	env.Signatures = append(env.Signatures, dsse.Signature{KeyID: party, Sig: base64.StdEncoding.EncodeToString(sig)})
	return env, nil
}

// ParseEnvelope reads a DSSE envelope and returns it with its payload.
func ParseEnvelope(text []byte) (*dsse.Envelope, []byte, error) {
	var env dsse.Envelope
	if err := json.Unmarshal(text, &env); err != nil {
		return nil, nil, texts.Errorf("not a signature envelope (.dsse); sign the bundle first: sandgate policy sign FILE")
	}
	if env.PayloadType != PayloadType {
		return nil, nil, texts.Errorf("envelope payload type is not %s", PayloadType)
	}
	payload, err := base64.StdEncoding.Strict().DecodeString(env.Payload)
	if err != nil {
		return nil, nil, texts.Errorf("envelope payload is not base64")
	}
	return &env, payload, nil
}

// SignedBy says whether an envelope names a party among its signers. It verifies
// nothing; Book.Apply does.
func SignedBy(envelope []byte, party string) bool {
	env, _, err := ParseEnvelope(envelope)
	return err == nil && slices.ContainsFunc(env.Signatures, func(s dsse.Signature) bool { return s.KeyID == party })
}

// verified returns the parties whose signatures on the envelope hold. A
// signature by an unknown party or one that does not verify is an error, never
// skipped: a half-valid envelope is a sign of tampering.
func verified(env *dsse.Envelope, payload []byte, key func(party string) ([]byte, bool)) (map[string]bool, error) {
	if len(env.Signatures) == 0 {
		return nil, texts.Errorf("envelope carries no signature; sign it with: sandgate policy sign")
	}
	pae := dsse.PAE(PayloadType, payload)
	signers := map[string]bool{}
	for _, s := range env.Signatures {
		pub, ok := key(s.KeyID)
		if !ok {
			return nil, texts.Errorf("signature by %q: no such party in the registry", s.KeyID)
		}
		sig, err := base64.StdEncoding.Strict().DecodeString(s.Sig)
		if err != nil || !signature.Verify(pub, pae, sig) {
			return nil, texts.Errorf("signature by %q does not verify", s.KeyID)
		}
		if signers[s.KeyID] {
			return nil, texts.Errorf("signature by %q stands twice", s.KeyID)
		}
		signers[s.KeyID] = true
	}
	return signers, nil
}

// ParsePartyKey reads a party's public key: Ed25519, or SM2 (see package signature).
func ParsePartyKey(s string) ([]byte, error) {
	key, err := signature.Parse(s)
	if err != nil {
		return nil, texts.Errorf("key is not a base64 Ed25519 public key of 32 bytes, nor sm2: and the base64 of an SM2 point of 65 bytes")
	}
	return key, nil
}

// ParseKey reads a base64 Ed25519 public key of the gateway.
func ParseKey(s string) (ed25519.PublicKey, error) {
	raw, err := signature.Parse(s)
	if err != nil || signature.Of(raw) != signature.Ed25519 {
		return nil, texts.Errorf("key is not a base64 Ed25519 public key of 32 bytes")
	}
	return raw, nil
}
