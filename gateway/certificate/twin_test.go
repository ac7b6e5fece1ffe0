package certificate

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/ledger/entry"
)

// twinFile is a twin of one column with its signed certificate.
func twinFile(t testing.TB, key ed25519.PrivateKey, change func(*Twin)) (file, document []byte) {
	t.Helper()
	d := &twin.Twin{Format: twin.Format, SchemaDigest: digest([]byte("schema")), Dataset: "people", Rho: "0.01", Units: 1000, Noise: []int64{1}, Rare: 4, Lengths: []int64{1},
		Columns: []twin.Column{{Feature: model.Feature{Column: "sex", Kind: model.KindCategory, Type: algebra.Text, Codes: []string{"f", "m"}}}},
		Groups:  [][]int{{0, 1, 1}}, Cells: [][]int64{{1, 1, 0}}, Order: []twin.Vertex{{Weights: [][]int64{{1, 1}}}}, Quality: twin.Quality{Rows: 10}}
	document, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	c := Twin{V: Version, Origin: "o", Twin: "t", Department: "bureau", Spec: twin.Spec{Dataset: "people", Rho: "0.01"}, PriceNanoRho: 10_000_000, Seq: 7, At: 9,
		Outcome: entry.TwinCertificate{Document: digest(document), Schema: d.SchemaDigest, Rho: 10_000_000, Units: 1000, Quality: entry.FiguresOf(d.Quality), Code: "test"}}
	if change != nil {
		change(&c)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := Sign(TwinPayloadType, payload, key)
	if err != nil {
		t.Fatal(err)
	}
	return TwinFile(envelope, document), document
}

// R33: a file of a twin holds under the gateway's key alone, and its certificate says of
// the document what the document says.
func TestR33_TwinFilesHoldTogether(t *testing.T) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	file, document := twinFile(t, key, nil)
	envelope, rest, err := CutTwinFile(file)
	if err != nil || !bytes.Equal(rest, document) {
		t.Fatal(err)
	}
	c, err := OpenTwin(envelope, other, public)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := c.Document(document); err != nil || d.Dataset != "people" {
		t.Fatal(err)
	}
	e := &entry.Entry{Seq: 7, At: 9, Kind: entry.KindTwinPublished, TwinPublished: &entry.TwinPublished{Twin: "t", Certificate: c.Outcome}}
	if err := c.Matches(e); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*entry.Entry){
		"another place": func(e *entry.Entry) { e.Seq++ }, "another time": func(e *entry.Entry) { e.At++ }, "another kind": func(e *entry.Entry) { e.Kind = entry.KindTwinFailed },
		"another twin":   func(e *entry.Entry) { e.TwinPublished.Twin = "u" },
		"another figure": func(e *entry.Entry) { e.TwinPublished.Certificate.Units++ },
	} {
		x, p := *e, *e.TwinPublished
		x.TwinPublished = &p
		if change(&x); c.Matches(&x) == nil {
			t.Errorf("%s matches", what)
		}
	}
	if _, err := OpenTwin(envelope, other); err == nil {
		t.Error("another gateway's certificate is taken")
	}
	if _, err := Open(envelope, public); err == nil {
		t.Error("the certificate of a twin is taken for a model's")
	}
	for what, change := range map[string]func(*Twin){
		"another document": func(c *Twin) { c.Outcome.Document = digest(nil) },
		"another price":    func(c *Twin) { c.Outcome.Rho-- },
		"other units":      func(c *Twin) { c.Outcome.Units++ },
		"better quality":   func(c *Twin) { c.Outcome.Quality.OneWay.Mean.High = 1 },
		"another data set": func(c *Twin) { c.Spec.Dataset = "firms" },
		"another schema":   func(c *Twin) { c.Outcome.Schema = digest(nil) },
		"pairs":            func(c *Twin) { c.Outcome.MarginalsOnly = true },
	} {
		file, document := twinFile(t, key, change)
		envelope, _, _ := CutTwinFile(file)
		c, err := OpenTwin(envelope, public)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Document(document); err == nil {
			t.Errorf("%s is certified", what)
		}
	}
	if file, _ := twinFile(t, key, func(c *Twin) { c.V++ }); true {
		envelope, _, _ := CutTwinFile(file)
		if _, err := OpenTwin(envelope, public); err == nil {
			t.Error("another version is read")
		}
	}
	for i := range envelope {
		bad := bytes.Clone(envelope)
		if bad[i] ^= 1; bad[i] == envelope[i] {
			continue
		}
		if x, err := OpenTwin(bad, public); err == nil && (x.Outcome != c.Outcome || x.Twin != c.Twin) {
			t.Fatalf("a certificate with byte %d changed says something else", i)
		}
	}
	for _, bad := range []string{"", "\n", "{}", "{}\n"} {
		if _, _, err := CutTwinFile([]byte(bad)); err == nil {
			t.Errorf("%q is a file", bad)
		}
	}
}
