// Package dossier is the one-file evidence of a release 证据文件: the ledger entries
// that allowed it, the signed documents that they rest on, their inclusion proofs, and
// a checkpoint with its cosignatures. Whoever has the log's keys verifies it on a
// machine that has nothing else; docs/evidence.md describes the format.
package dossier

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// Format names the format of evidence files.
const Format = "sandgate-evidence/v1"

// MaxFile is the largest evidence file that is read, in bytes.
const MaxFile = 32 << 20

// maxEntries of a file: each is an inclusion proof to check.
const maxEntries = 4096

// File is the evidence of one release.
type File struct {
	Format     string  `json:"format"`
	Job        string  `json:"job"`
	Checkpoint string  `json:"checkpoint"` // signed note with its cosignatures
	Entries    []Entry `json:"entries"`    // by index, genesis first
	// Timestamp is an RFC 3161 token over the checkpoint, absent unless somebody asked an
	// authority for one.
	Timestamp []byte `json:"timestamp,omitempty"`
}

// Entry is one ledger entry and its inclusion proof under the checkpoint.
type Entry struct {
	Index  uint64      `json:"index"`
	Text   string      `json:"entry"` // canonical bytes
	Hashes []tlog.Hash `json:"hashes"`
}

// Parse reads a file; fields it does not know are refused.
func Parse(data []byte) (*File, error) {
	if len(data) > MaxFile {
		return nil, texts.Errorf("evidence file is larger than %d bytes", MaxFile)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var f File
	if err := dec.Decode(&f); err != nil {
		return nil, texts.Errorf("not an evidence file: JSON of the expected fields is needed")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, texts.Errorf("something follows the evidence")
	}
	if f.Format != Format {
		return nil, texts.Errorf("evidence is of another format than %s", Format)
	}
	if len(f.Entries) > maxEntries {
		return nil, texts.Errorf("evidence holds more than %d entries", maxEntries)
	}
	return &f, nil
}

// Encode writes a file.
func (f *File) Encode() ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(f); err != nil {
		return nil, texts.Errorf("failed to encode evidence: %w", err)
	}
	return buf.Bytes(), nil
}

// needed are the kinds of document that evidence holds.
var needed = []policies.Kind{policies.KindRegistry, policies.KindCatalogue, policies.KindGrading, policies.KindMasking, policies.KindDisclosure,
	policies.KindLicence, policies.KindWitnessPolicy}

// Bundles chooses, from the policy entries of a ledger, those that a release rests on:
// every registry, and the last document before the reservation on its licence and on
// each of its data sets; of witness policies the last below size, which the checkpoint
// covers. read returns the entry at a sequence number.
func Bundles(seqs []uint64, reserved, size uint64, r entry.Request, read func(seq uint64) (*entry.Entry, error)) ([]uint64, error) {
	var registries []uint64
	last := map[string]uint64{}
	for _, seq := range seqs {
		if seq >= size {
			break
		}
		e, err := read(seq)
		if err != nil {
			return nil, err
		}
		if e.Policy == nil || !slices.ContainsFunc(e.Policy.Kinds, func(k policies.Kind) bool { return slices.Contains(needed, k) }) {
			continue
		}
		docs, err := documents(e)
		if err != nil {
			return nil, err
		}
		for _, d := range docs {
			if d.Kind == policies.KindRegistry {
				registries = append(registries, seq)
			}
			if seq > reserved && d.Kind != policies.KindWitnessPolicy {
				continue
			}
			for _, subject := range subjects(d, r) {
				last[subject] = seq
			}
		}
	}
	out := registries
	for _, seq := range last {
		out = append(out, seq)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func documents(e *entry.Entry) ([]policies.Document, error) {
	envelope, err := state.Inflate(e.Policy.Envelope)
	if err != nil {
		return nil, err
	}
	_, payload, err := policies.ParseEnvelope(envelope)
	if err != nil {
		return nil, err
	}
	return policies.ParseBundle(payload)
}

// subjects names what a document says about a request, "masking/visits" or
// "licence/alpha"; nothing if it is about others.
func subjects(d policies.Document, r entry.Request) []string {
	var out []string
	dataset := func(what, id string) {
		if r.Core != nil && slices.Contains(r.Core.Datasets(), id) {
			out = append(out, what+"/"+id)
		}
	}
	switch {
	case d.Catalogue != nil:
		for _, x := range d.Catalogue.Datasets {
			dataset("catalogue", x.ID)
		}
	case d.Grading != nil:
		for id := range d.Grading.Levels {
			dataset("grading", id)
		}
	case d.Masking != nil:
		for id := range d.Masking.Masks {
			dataset("masking", id)
		}
	case d.Disclosure != nil:
		for id := range d.Disclosure.Datasets {
			dataset("disclosure", id)
		}
	case d.Licence != nil && d.Licence.ID == r.Licence:
		out = append(out, "licence/"+d.Licence.ID)
	case d.Kind == policies.KindWitnessPolicy:
		out = append(out, "witnesses")
	}
	return out
}
