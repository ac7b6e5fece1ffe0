package certificate

import (
	"bytes"
	"crypto/ed25519"
	"slices"

	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/ledger/entry"
)

// RelationsPayloadType of the certificate of relations in its DSSE envelope.
const RelationsPayloadType = "application/vnd.sandgate.relations-certificate+json"

// maxRelated is how many twins relations tie at most.
const maxRelated = 8

// MaxRelationsFile caps the file of published relations: their envelope and document, and
// those of all twins.
const MaxRelationsFile = (1 + maxRelated) * MaxTwinFile

// Relations is the signed payload about published relations across tables 跨表关系.
type Relations struct {
	V            int                        `json:"v"`
	Origin       string                     `json:"origin"` // of the log that holds their entry
	Relations    string                     `json:"relations"`
	Department   string                     `json:"department"` // that asked
	Spec         twin.RelationsSpec         `json:"spec"`
	Tables       []entry.RelatedTwin        `json:"tables"`
	PriceNanoRho int64                      `json:"price_nano_rho"` // charged for every data set
	Outcome      entry.RelationsCertificate `json:"certificate"`
	Seq          uint64                     `json:"seq"` // of the entry that holds Outcome
	At           int64                      `json:"at"`  // Unix milliseconds
}

// OpenRelations reads an envelope and checks its signature by one of the gateway's keys.
func OpenRelations(envelope []byte, keys ...ed25519.PublicKey) (*Relations, error) {
	var c Relations
	if err := open(envelope, RelationsPayloadType, &c, keys); err != nil {
		return nil, err
	}
	if c.V != Version {
		return nil, texts.Errorf("certificate version %d is unknown; this reader knows %d", c.V, Version)
	}
	return &c, nil
}

// Document parses the document that a certificate is about, and refuses any other. twins
// are the documents of the certificate's tables, in their order: any other is refused too.
func (c *Relations) Document(text []byte, twins [][]byte) (*twin.Relations, []*twin.Twin, error) {
	if digest(text) != c.Outcome.Document {
		return nil, nil, texts.Errorf("the relations are not those that the certificate names")
	}
	r, err := twin.ParseRelations(text)
	if err != nil {
		return nil, nil, err
	}
	o := c.Outcome
	if len(c.Tables) != len(twins) || len(r.Span.Tables) != len(twins) || len(c.Spec.Tables) != len(twins) || r.Rho != o.Rho.String() || r.Units != o.Units || r.Quality != o.Quality {
		return nil, nil, texts.Errorf("the certificate says other things of the relations than their document does")
	}
	var parsed []*twin.Twin
	for i, x := range twins {
		if digest(x) != c.Tables[i].Document || r.Span.Tables[i].Dataset != c.Spec.Tables[i].Dataset || r.Span.Tables[i].SchemaDigest != c.Tables[i].Schema {
			return nil, nil, texts.Errorf("a twin is not the one that the relations tie")
		}
		t, err := twin.Parse(x)
		if err != nil {
			return nil, nil, err
		}
		parsed = append(parsed, t)
	}
	if _, err := twin.NewLinked(r, parsed, nil); err != nil {
		return nil, nil, err
	}
	return r, parsed, nil
}

// Matches says whether a ledger entry is the one that the certificate speaks of.
func (c *Relations) Matches(e *entry.Entry) error {
	switch {
	case e.Seq != c.Seq || e.Kind != entry.KindRelationsPublished || e.RelationsPublished == nil:
		return texts.Errorf("the ledger's entry at its place publishes no relations")
	case e.RelationsPublished.Relations != c.Relations || e.At != c.At:
		return texts.Errorf("the ledger's entry is about other relations")
	case e.RelationsPublished.Certificate != c.Outcome:
		return texts.Errorf("the ledger's entry holds another certificate")
	}
	return nil
}

// RelationsFile joins a certificate, its document and the files of the twins, in the order
// of the tables, into the file that is handed out.
func RelationsFile(envelope, document []byte, twins [][]byte) []byte {
	return append(TwinFile(envelope, document), slices.Concat(twins...)...)
}

// IsRelationsFile says whether a file holds more than a twin.
func IsRelationsFile(file []byte) bool { return bytes.Count(file, []byte("\n")) > 2 }

// CutRelationsFile is the inverse of RelationsFile; nothing of it is checked.
func CutRelationsFile(file []byte) (envelope, document []byte, twins [][]byte, err error) {
	lines := bytes.SplitAfter(file, []byte("\n"))
	if len(lines[len(lines)-1]) == 0 {
		lines = lines[:len(lines)-1]
	}
	if n := len(lines); n < 6 || n > 2+2*maxRelated || n%2 != 0 || len(file) > MaxRelationsFile {
		return nil, nil, nil, texts.Errorf("this is no file of published relations: it holds a certificate and a document, then those of each twin, a line each")
	}
	for i := 2; i < len(lines); i += 2 {
		twins = append(twins, slices.Concat(lines[i], lines[i+1]))
	}
	return bytes.TrimSpace(lines[0]), lines[1], twins, nil
}
