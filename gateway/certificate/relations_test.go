package certificate

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/ledger/entry"
)

// tiedTwins are two twins of a column each, with relations between them.
func tiedTwins(t testing.TB) (documents [][]byte, relations []byte) {
	t.Helper()
	r := &twin.Relations{Format: twin.RelationsFormat, Rho: "0.01", Units: 1200, Noise: []int64{1, 1}, Ties: []twin.Tie{{Table: 0, Parent: -1, Weights: [][]int64{{1, 4}}}, {Table: 1, Parent: 0, Weights: [][]int64{{0, 1, 0}, {1, 4, 1}, {1, 1, 4}}}}}
	r.Span.Rho = 10_000_000
	for i, id := range []string{"firms", "people"} {
		d := &twin.Twin{Format: twin.Format, SchemaDigest: strings.Repeat(string("ab"[i]), 64), Dataset: id, Rho: "0.01", Units: 1000, Noise: []int64{1}, Rare: 4, Lengths: []int64{1},
			Columns: []twin.Column{{Feature: model.Feature{Column: "sex", Kind: model.KindCategory, Type: algebra.Text, Codes: []string{"f", "m"}}}},
			Groups:  [][]int{{0, 1, 1}}, Cells: [][]int64{{1, 1, 0}}, Order: []twin.Vertex{{Weights: [][]int64{{1, 1}}}}, Quality: twin.Quality{Rows: 10}}
		text, err := d.Encode()
		if err != nil {
			t.Fatal(err)
		}
		name, err := d.Digest()
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, text)
		r.Span.Tables = append(r.Span.Tables, twin.Spanned{Dataset: id, SchemaDigest: d.SchemaDigest, Twin: name, RowsPerUnit: 1, Cells: []int{3}, Links: []twin.Link{{Few: []int{0, 1, 1}, Many: []int{0, 1, 1}}}})
	}
	text, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return documents, text
}

// relationsEnvelope is a signed certificate of them.
func relationsEnvelope(t testing.TB, key ed25519.PrivateKey, documents [][]byte, relations []byte, change func(*Relations)) []byte {
	t.Helper()
	c := Relations{V: Version, Origin: "o", Relations: "r", Department: "bureau", PriceNanoRho: 10_000_000, Seq: 7, At: 9,
		Spec:    twin.RelationsSpec{Rho: "0.01", Tables: []twin.RelatedTable{{Dataset: "firms"}, {Dataset: "people"}}},
		Outcome: entry.RelationsCertificate{Document: digest(relations), Rho: 10_000_000, Units: 1200, Code: "test"}}
	for i, d := range documents {
		c.Tables = append(c.Tables, entry.RelatedTwin{Twin: "t", Document: digest(d), Schema: strings.Repeat(string("ab"[i]), 64)})
	}
	if change != nil {
		change(&c)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := Sign(RelationsPayloadType, payload, key)
	if err != nil {
		t.Fatal(err)
	}
	return envelope
}

// R33: a file of relations holds under the gateway's key alone, with the very twins it ties,
// and its certificate says of it what its document says.
func TestR33_RelationsFilesHoldTogether(t *testing.T) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	documents, relations := tiedTwins(t)
	envelope := relationsEnvelope(t, key, documents, relations, nil)
	file := RelationsFile(envelope, relations, [][]byte{TwinFile([]byte("{1}"), documents[0]), TwinFile([]byte("{2}"), documents[1])})
	e, d, twins, err := CutRelationsFile(file)
	if err != nil || !IsRelationsFile(file) || IsRelationsFile(TwinFile([]byte("{1}"), documents[0])) || !bytes.Equal(d, relations) || len(twins) != 2 || !bytes.HasSuffix(twins[1], documents[1]) {
		t.Fatalf("%v, %d twins", err, len(twins))
	}
	c, err := OpenRelations(e, other, public)
	if err != nil {
		t.Fatal(err)
	}
	if r, x, err := c.Document(relations, documents); err != nil || r.Units != 1200 || len(x) != 2 {
		t.Fatal(err)
	}
	if _, err := OpenRelations(e, other); err == nil {
		t.Error("under another key")
	}
	if _, err := OpenTwin(e, public); err == nil {
		t.Error("the certificate of relations is taken for a twin's")
	}
	for what, d := range map[string][][]byte{"turned": {documents[1], documents[0]}, "one": documents[:1], "the same twice": {documents[0], documents[0]}} {
		if _, _, err := c.Document(relations, d); err == nil {
			t.Errorf("twins, %s", what)
		}
	}
	if _, _, err := c.Document(bytes.Replace(relations, []byte(`"units":1200`), []byte(`"units":1300`), 1), documents); err == nil {
		t.Error("another document")
	}
	for what, change := range map[string]func(*Relations){
		"another document": func(c *Relations) { c.Outcome.Document = digest(nil) },
		"another price":    func(c *Relations) { c.Outcome.Rho-- },
		"other units":      func(c *Relations) { c.Outcome.Units++ },
		"better quality":   func(c *Relations) { c.Outcome.Quality.Mean.High = 1 },
		"another data set": func(c *Relations) { c.Spec.Tables[0].Dataset = "folk" },
		"another twin":     func(c *Relations) { c.Tables[0].Document = digest(nil) },
		"another schema":   func(c *Relations) { c.Tables[0].Schema = digest(nil) },
		"fewer tables":     func(c *Relations) { c.Tables = c.Tables[:1] },
	} {
		c, err := OpenRelations(relationsEnvelope(t, key, documents, relations, change), public)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Document(relations, documents); err == nil {
			t.Errorf("%s: the document holds", what)
		}
	}
	if _, err := OpenRelations(relationsEnvelope(t, key, documents, relations, func(c *Relations) { c.V++ }), public); err == nil {
		t.Error("another version")
	}
	of := &entry.Entry{Seq: 7, At: 9, Kind: entry.KindRelationsPublished, RelationsPublished: &entry.RelationsPublished{Relations: "r", Certificate: c.Outcome}}
	if err := c.Matches(of); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*entry.Entry){
		"another place": func(e *entry.Entry) { e.Seq++ }, "another time": func(e *entry.Entry) { e.At++ }, "another kind": func(e *entry.Entry) { e.Kind = entry.KindTwinPublished },
		"other relations": func(e *entry.Entry) { e.RelationsPublished.Relations = "s" },
		"another figure":  func(e *entry.Entry) { e.RelationsPublished.Certificate.Units++ },
	} {
		x, p := *of, *of.RelationsPublished
		x.RelationsPublished = &p
		if change(&x); c.Matches(&x) == nil {
			t.Errorf("%s: it matches", what)
		}
	}
	for _, bad := range [][]byte{nil, []byte("\n"), envelope, relations, file[:len(file)/2], append(bytes.Repeat([]byte("x\n"), 19), 'x')} {
		if _, _, _, err := CutRelationsFile(bad); err == nil && !bytes.HasPrefix(file, bad) {
			t.Errorf("%.20q is a file", bad)
		}
	}
}

func FuzzCutRelationsFile(f *testing.F) {
	documents, relations := tiedTwins(f)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(RelationsFile(relationsEnvelope(f, key, documents, relations, nil), relations, [][]byte{TwinFile([]byte("{}"), documents[0]), TwinFile([]byte("{}"), documents[1])}))
	f.Add([]byte("a\nb\nc\nd\ne\nf\n"))
	f.Add([]byte("\n\n\n\n\n\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		envelope, document, twins, err := CutRelationsFile(file)
		if err != nil {
			return
		}
		if len(twins) < 2 || len(twins) > maxRelated || len(envelope)+len(document) > len(file) {
			t.Errorf("%d twins", len(twins))
		}
		if _, err := OpenRelations(envelope, key.Public().(ed25519.PublicKey)); err != nil && err.Error() == "" {
			t.Error("an error without words")
		}
	})
}
