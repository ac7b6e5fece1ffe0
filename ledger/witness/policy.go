package witness

import (
	"bytes"
	"fmt"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/policies"
)

// Party is one witness of a policy.
type Party struct {
	Key *torchwood.CosignatureVerifier // cosignature/v1, Ed25519
	URL string                         // submission prefix
}

// Policy says how many of which witnesses must cosign a checkpoint.
type Policy struct {
	Quorum  int
	Parties []Party
}

// PolicyOf reads the keys of a policy document; nil, which is none, asks for nobody.
func PolicyOf(doc *policies.WitnessPolicy) (Policy, error) {
	if doc == nil {
		return Policy{}, nil
	}
	p := Policy{Quorum: doc.Quorum}
	for _, w := range doc.Witnesses {
		key, err := torchwood.NewCosignatureVerifier(w.Key)
		if err != nil {
			return Policy{}, fmt.Errorf("failed to read the key of a witness of %q: %w", w.By, err)
		}
		p.Parties = append(p.Parties, Party{Key: key, URL: w.URL})
	}
	return p, nil
}

// Cosignature is one that holds.
type Cosignature struct {
	Name string    `json:"name"`
	At   time.Time `json:"at"`
	// Line of the signed note, without the newline.
	Line string `json:"-"`
}

// Cosigned lists the policy's cosignatures on a signed checkpoint that hold, each
// witness once, in the order of the note. Other signatures are passed over.
func (p Policy) Cosigned(checkpoint []byte) []Cosignature {
	keys := make([]note.Verifier, len(p.Parties))
	for i, w := range p.Parties {
		keys[i] = w.Key
	}
	n, err := note.Open(checkpoint, note.VerifierList(keys...))
	if err != nil {
		return nil
	}
	var out []Cosignature
	for _, s := range n.Sigs {
		at, err := torchwood.CosignatureTimestamp(s)
		if err != nil {
			continue
		}
		out = append(out, Cosignature{Name: s.Name, At: time.Unix(at, 0).UTC(), Line: "— " + s.Name + " " + s.Base64})
	}
	return out
}

// Satisfied says whether enough of the policy's witnesses cosigned a checkpoint.
func (p Policy) Satisfied(checkpoint []byte) bool { return len(p.Cosigned(checkpoint)) >= p.Quorum }

// Add appends a witness's answer, signature lines, to a signed checkpoint and returns
// it with those of key's lines that hold and were not there yet. ok is false when
// none does.
func Add(checkpoint, answer []byte, key *torchwood.CosignatureVerifier) (signed []byte, ok bool) {
	text, _, found := bytes.Cut(checkpoint, []byte("\n\n"))
	if !found {
		return checkpoint, false
	}
	n, err := note.Open(append(append(append([]byte(nil), text...), "\n\n"...), answer...), note.VerifierList(key))
	if err != nil {
		return checkpoint, false
	}
	line := []byte("— " + n.Sigs[0].Name + " " + n.Sigs[0].Base64 + "\n")
	if bytes.Contains(checkpoint, line) {
		return checkpoint, true
	}
	return append(append([]byte(nil), checkpoint...), line...), true
}
