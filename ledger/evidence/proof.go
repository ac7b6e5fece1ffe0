package evidence

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Proof shows offline that an entry stands at a position of the tree that a checkpoint commits to.
type Proof struct {
	Entry      []byte      `json:"entry"`
	Index      uint64      `json:"index"`      // position in the log, from 0
	Size       uint64      `json:"size"`       // tree size of the checkpoint
	Hashes     []tlog.Hash `json:"hashes"`     // RFC 6962 §2.1.1 audit path, leaf to root
	Checkpoint string      `json:"checkpoint"` // signed note as published (C2SP tlog-checkpoint)
}

// WitnessedFile is the name, beside checkpoint in a log directory, of the newest checkpoint that enough witnesses
// cosigned.
const WitnessedFile = "checkpoint.witnessed"

const (
	proofHeader = "c2sp.org/tlog-proof@v1\n"
	maxPath     = 63 // audit path of the largest tree tlog can express
)

// Verify checks the checkpoint's signature and origin against the log's verifier and the entry against the tree.
func (p Proof) Verify(verifier note.Verifier) error {
	cp, err := OpenCheckpoint([]byte(p.Checkpoint), verifier)
	if err != nil {
		return err
	}
	if p.Size != uint64(cp.N) {
		return texts.Errorf("proof claims a tree of %d entries, its checkpoint one of %d", p.Size, cp.N)
	}
	if p.Index >= p.Size {
		return texts.Errorf("proof is for entry %d, but its checkpoint covers %d entries only", p.Index, p.Size)
	}
	if err := tlog.CheckRecord(p.Hashes, cp.N, cp.Hash, int64(p.Index), tlog.RecordHash(p.Entry)); err != nil {
		return texts.Errorf("entry %d is not in the tree of its checkpoint: %w", p.Index, err)
	}
	return nil
}

// OpenCheckpoint checks a signed checkpoint: signature, form, that its origin is the verifier's name, and of a
// Chain that the key was in force for a tree of this size.
func OpenCheckpoint(raw []byte, verifier note.Verifier) (torchwood.Checkpoint, error) {
	n, err := note.Open(raw, verifiersOf(verifier))
	if err != nil {
		return torchwood.Checkpoint{}, texts.Errorf("failed to verify checkpoint signature: %w", err)
	}
	cp, err := torchwood.ParseCheckpoint(n.Text)
	if err != nil {
		return torchwood.Checkpoint{}, texts.Errorf("failed to parse checkpoint: %w", err)
	}
	if cp.Origin != verifier.Name() {
		return torchwood.Checkpoint{}, texts.Errorf("checkpoint is of log %q, not of %q", cp.Origin, verifier.Name())
	}
	if err := inTerm(verifier, n, cp); err != nil {
		return torchwood.Checkpoint{}, err
	}
	return cp, nil
}

// ParseProof reads the canonical JSON encoding of a proof.
func ParseProof(data []byte) (Proof, error) {
	var p Proof
	if err := strictJSON(data, &p); err != nil {
		return Proof{}, fmt.Errorf("failed to parse proof: %w", err)
	}
	return p, nil
}

// TLogProof encodes the proof, without the entry, in the C2SP tlog-proof text format (file extension .tlog-proof).
func (p Proof) TLogProof() []byte {
	b := append([]byte(proofHeader), "index "...)
	b = strconv.AppendUint(b, p.Index, 10)
	b = append(b, '\n')
	for _, h := range p.Hashes {
		b = append(b, h.String()...)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	return append(b, p.Checkpoint...)
}

// ParseTLogProof reads the C2SP tlog-proof text format and joins it with the entry it is about. An extra line is
// refused: this log never writes one, so it would have a meaning that is not known here. Verify is still to be
// called.
func ParseTLogProof(text, entry []byte) (Proof, error) {
	body, known := bytes.CutPrefix(text, []byte(proofHeader))
	head, checkpoint, found := bytes.Cut(body, []byte("\n\n"))
	if !known || !found {
		return Proof{}, errors.New("failed to parse tlog-proof: header or checkpoint is missing")
	}
	lines := strings.Split(string(head), "\n")
	digits, found := strings.CutPrefix(lines[0], "index ")
	index, err := strconv.ParseUint(digits, 10, 64)
	if !found || err != nil || strconv.FormatUint(index, 10) != digits || index > math.MaxInt64 {
		return Proof{}, errors.New("failed to parse tlog-proof: the second line is not an index")
	}
	if len(lines)-1 > maxPath {
		return Proof{}, fmt.Errorf("failed to parse tlog-proof: %d hashes, allowed are %d", len(lines)-1, maxPath)
	}
	p := Proof{Entry: entry, Index: index, Checkpoint: string(checkpoint)}
	for i, line := range lines[1:] {
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(h) != tlog.HashSize || base64.StdEncoding.EncodeToString(h) != line {
			return Proof{}, fmt.Errorf("failed to parse tlog-proof: line %d is not a hash", i+3)
		}
		p.Hashes = append(p.Hashes, tlog.Hash(h))
	}
	signed, _, found := strings.Cut(p.Checkpoint, "\n\n")
	cp, err := torchwood.ParseCheckpoint(signed + "\n")
	if !found || err != nil {
		return Proof{}, errors.New("failed to parse tlog-proof: the checkpoint is malformed")
	}
	p.Size = uint64(cp.N)
	return p, nil
}
