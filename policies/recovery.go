package policies

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/sandgate/sandgate/policies/signature"
)

// recoveryType separates a confirmation from every other text that a party signs.
const recoveryType = "application/vnd.sandgate.recovery+json"

// Recovery is the regulator's confirmation 恢复确认 that a gateway which was brought
// back from a backup may serve. It is good for one restoration only.
type Recovery struct {
	Origin string `json:"origin"` // of the ledger
	Home   string `json:"home"`   // the restoration's random number, 32 bytes in hex
	Size   uint64 `json:"size"`   // entries that the restored ledger holds
	Root   string `json:"root"`   // root of its tree, hex
	// Whole says that no later entry exists. Without it the regulator accepts that
	// answers were given of which the ledger knows nothing; what was spent on them is
	// unknown, so every data set's budget counts as spent.
	Whole bool `json:"whole"`
}

func (r Recovery) check() error {
	for _, s := range []string{r.Home, r.Root} {
		if b, err := hex.DecodeString(s); err != nil || len(b) != 32 {
			return texts.Errorf("confirmation does not name a restoration and its tree")
		}
	}
	if r.Origin == "" || r.Size == 0 {
		return texts.Errorf("confirmation does not name a ledger")
	}
	return nil
}

// SignRecovery makes a confirmation, a DSSE envelope.
func SignRecovery(r Recovery, party string, key crypto.Signer) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, texts.Errorf("failed to encode the confirmation")
	}
	sig, err := signature.Sign(key, dsse.PAE(recoveryType, text))
	if err != nil {
		return nil, texts.Errorf("failed to sign: %w", err)
	}
	return json.Marshal(dsse.Envelope{
		PayloadType: recoveryType, Payload: base64.StdEncoding.EncodeToString(text),
		Signatures: []dsse.Signature{{KeyID: party, Sig: base64.StdEncoding.EncodeToString(sig)}},
	})
}

// CheckRecovery reads a confirmation and verifies that the regulator in force
// signed it.
func (b *Book) CheckRecovery(envelope []byte) (Recovery, error) {
	var env dsse.Envelope
	var r Recovery
	if err := json.Unmarshal(envelope, &env); err != nil || env.PayloadType != recoveryType || len(env.Signatures) != 1 {
		return r, texts.Errorf("not a confirmation of a restoration; make one with: sandgate backup confirm")
	}
	text, err := base64.StdEncoding.Strict().DecodeString(env.Payload)
	if err != nil {
		return r, texts.Errorf("confirmation is not base64")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return Recovery{}, texts.Errorf("confirmation cannot be read")
	}
	if err := r.check(); err != nil {
		return Recovery{}, err
	}
	by := env.Signatures[0].KeyID
	p, ok := b.Party(by)
	if !ok && by == b.root && !b.registered {
		p, ok = Party{ID: b.root, Role: RoleRegulator}, true
	}
	key, known := b.key(by)
	sig, err := base64.StdEncoding.Strict().DecodeString(env.Signatures[0].Sig)
	if !ok || !known || p.Role != RoleRegulator || p.Withdrawn || err != nil || !signature.Verify(key, dsse.PAE(recoveryType, text), sig) {
		return Recovery{}, texts.Errorf("confirmation is not signed by the regulator")
	}
	return r, nil
}
