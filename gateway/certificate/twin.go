package certificate

import (
	"bytes"
	"crypto/ed25519"

	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/ledger/entry"
)

// TwinPayloadType of a twin's certificate in its DSSE envelope.
const TwinPayloadType = "application/vnd.sandgate.twin-certificate+json"

// MaxTwinFile caps the file of a published twin: its envelope and its document, a line
// each.
const MaxTwinFile = MaxBytes + twin.MaxFile + 2

// Twin is the signed payload about a published synthetic twin 合成孪生.
type Twin struct {
	V            int       `json:"v"`
	Origin       string    `json:"origin"` // of the log that holds its entry
	Twin         string    `json:"twin"`
	Department   string    `json:"department"`
	Spec         twin.Spec `json:"spec"`
	Snapshot     string    `json:"snapshot"`
	PriceNanoRho int64     `json:"price_nano_rho"` // charged; Outcome.Rho is what was needed of it
	// Outcome is what the ledger's entry holds.
	Outcome entry.TwinCertificate `json:"certificate"`
	Seq     uint64                `json:"seq"` // of that entry
	At      int64                 `json:"at"`  // Unix milliseconds
}

// OpenTwin reads an envelope and checks its signature by one of the gateway's keys.
func OpenTwin(envelope []byte, keys ...ed25519.PublicKey) (*Twin, error) {
	var c Twin
	if err := open(envelope, TwinPayloadType, &c, keys); err != nil {
		return nil, err
	}
	if c.V != Version {
		return nil, texts.Errorf("certificate version %d is unknown; this reader knows %d", c.V, Version)
	}
	return &c, nil
}

// Document parses the document that a certificate is about, and refuses any other.
func (c *Twin) Document(text []byte) (*twin.Twin, error) {
	if digest(text) != c.Outcome.Document {
		return nil, texts.Errorf("the twin is not the one that the certificate names")
	}
	t, err := twin.Parse(text)
	if err != nil {
		return nil, err
	}
	o := c.Outcome
	if t.Dataset != c.Spec.Dataset || t.SchemaDigest != o.Schema || t.Rho != o.Rho.String() || t.Units != o.Units || t.MarginalsOnly != o.MarginalsOnly || entry.FiguresOf(t.Quality) != o.Quality {
		return nil, texts.Errorf("the certificate says other things of the twin than its document does")
	}
	return t, nil
}

// Matches says whether a ledger entry is the one that the certificate speaks of.
func (c *Twin) Matches(e *entry.Entry) error {
	switch {
	case e.Seq != c.Seq || e.Kind != entry.KindTwinPublished || e.TwinPublished == nil:
		return texts.Errorf("the ledger's entry at its place publishes no twin")
	case e.TwinPublished.Twin != c.Twin || e.At != c.At:
		return texts.Errorf("the ledger's entry is about another twin")
	case e.TwinPublished.Certificate != c.Outcome:
		return texts.Errorf("the ledger's entry holds another certificate")
	}
	return nil
}

// TwinFile joins a certificate and its document into the file that is handed out.
func TwinFile(envelope, document []byte) []byte {
	return append(append(bytes.TrimSpace(envelope), '\n'), document...)
}

// CutTwinFile is the inverse of TwinFile; nothing of it is checked.
func CutTwinFile(file []byte) (envelope, document []byte, err error) {
	envelope, document, ok := bytes.Cut(file, []byte("\n"))
	if !ok || len(document) == 0 || len(file) > MaxTwinFile {
		return nil, nil, texts.Errorf("this is no file of a published twin: it holds a certificate and a document, a line each")
	}
	return envelope, document, nil
}
