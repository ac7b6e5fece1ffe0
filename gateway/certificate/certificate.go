// Package certificate is a model certificate 模型合格证 as it is handed out: what the
// ledger committed to, with the gate's report and the evaluation that its digests
// name, signed by the gateway. It is pure and read by whoever holds one.
package certificate

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"reflect"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// PayloadType of a certificate in its DSSE envelope. A signature under any other type
// is none under this.
const PayloadType = "application/vnd.sandgate.model-certificate+json"

// Version of the certificate. A reader refuses every other.
const Version = 1

// MaxBytes caps an envelope.
const MaxBytes = 2 << 20

// Certificate is the signed payload.
type Certificate struct {
	V              int    `json:"v"`
	Origin         string `json:"origin"` // of the log that holds its entry
	Model          string `json:"model"`
	Operator       string `json:"operator"`
	Licence        string `json:"licence"`
	Purpose        string `json:"purpose"`
	Product        string `json:"product"`
	ProductVersion string `json:"product_version"` // digest of the product: the specification
	// Spec is the specification, absent when the product was changed since.
	Spec         *policies.ModelSpec `json:"spec,omitempty"`
	Snapshot     string              `json:"snapshot"`
	PriceNanoRho int64               `json:"price_nano_rho"`
	// Outcome is what the ledger's entry holds, and Parameters the digest of the file.
	Outcome    policies.ModelCertificate `json:"certificate"`
	Parameters string                    `json:"parameters"`
	Seq        uint64                    `json:"seq"` // of that entry
	At         int64                     `json:"at"`  // Unix milliseconds
	// Report is what the gate found, Evaluation the noised figures on held-out units:
	// both absent when what was kept of the model was destroyed.
	Report     json.RawMessage `json:"report,omitempty"`
	Evaluation json.RawMessage `json:"evaluation,omitempty"`
}

// Check holds a certificate to itself: the verdict follows from its figures, and report
// and evaluation are those whose digests it names.
func (c *Certificate) Check() error {
	if c.V != Version {
		return texts.Errorf("certificate version %d is unknown; this reader knows %d", c.V, Version)
	}
	if err := c.Outcome.Check(); err != nil {
		return err
	}
	if c.Report != nil && digest(c.Report) != c.Outcome.Report {
		return texts.Errorf("the report is not the one that the certificate names")
	}
	if c.Evaluation != nil && digest(c.Evaluation) != c.Outcome.Evaluation {
		return texts.Errorf("the evaluation is not the one that the certificate names")
	}
	return nil
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Open reads an envelope and checks its signature by one of the gateway's keys.
func Open(envelope []byte, keys ...ed25519.PublicKey) (*Certificate, error) {
	var c Certificate
	if err := open(envelope, PayloadType, &c, keys); err != nil {
		return nil, err
	}
	return &c, c.Check()
}

// open reads the payload of an envelope of one type that one of the keys signed.
func open(envelope []byte, payloadType string, into any, keys []ed25519.PublicKey) error {
	if len(envelope) > MaxBytes {
		return texts.Errorf("the certificate is too large")
	}
	var env dsse.Envelope
	if err := strict(envelope, &env); err != nil {
		return texts.Errorf("failed to read certificate: %w", err)
	}
	payload, err := base64.StdEncoding.DecodeString(env.Payload)
	if err != nil || env.PayloadType != payloadType || len(env.Signatures) != 1 {
		return texts.Errorf("failed to read certificate: not an envelope of this kind of certificate")
	}
	sig, err := base64.StdEncoding.DecodeString(env.Signatures[0].Sig)
	if err != nil {
		return texts.Errorf("failed to read certificate: its signature is none")
	}
	signed := false
	for _, k := range keys {
		signed = signed || len(k) == ed25519.PublicKeySize && ed25519.Verify(k, dsse.PAE(payloadType, payload), sig)
	}
	if !signed {
		return texts.Errorf("the certificate is not signed by the gateway")
	}
	if err := strict(payload, into); err != nil {
		return texts.Errorf("failed to read certificate: %w", err)
	}
	return nil
}

// Sign puts a payload into an envelope signed by the gateway's receipt key.
func Sign(payloadType string, payload []byte, key ed25519.PrivateKey) ([]byte, error) {
	env := dsse.Envelope{PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString(payload),
		Signatures: []dsse.Signature{{KeyID: "gateway", Sig: base64.StdEncoding.EncodeToString(ed25519.Sign(key, dsse.PAE(payloadType, payload)))}}}
	text, err := json.Marshal(env)
	if err != nil {
		return nil, texts.Errorf("failed to encode certificate: %w", err)
	}
	return text, nil
}

// strict decodes one JSON value without unknown fields.
func strict(text []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return texts.Errorf("it is not the JSON laid down")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return texts.Errorf("more follows")
	}
	return nil
}

// Matches says whether a ledger entry is the one that the certificate speaks of.
func (c *Certificate) Matches(e *entry.Entry) error {
	switch {
	case e.Seq != c.Seq || e.Kind != entry.KindModelCertified || e.ModelCertified == nil:
		return texts.Errorf("the ledger's entry at its place certifies no model")
	case e.ModelCertified.Model != c.Model || e.ModelCertified.Parameters != c.Parameters || e.At != c.At:
		return texts.Errorf("the ledger's entry is about another model")
	case !reflect.DeepEqual(e.ModelCertified.Certificate, c.Outcome):
		return texts.Errorf("the ledger's entry holds another certificate")
	}
	return nil
}
