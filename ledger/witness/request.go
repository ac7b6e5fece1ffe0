// Package witness is the pure core of witnesses 见证: what a witness of C2SP
// tlog-witness answers to a checkpoint, and how many cosignatures a policy finds
// on one. It knows no clock, disk or network; witnessd is the machine around it.
package witness

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	// MaxProof is the most lines of a consistency proof (C2SP tlog-witness).
	MaxProof = 63
	// MaxRequest is the longest request that is read, in bytes: a full proof and a
	// checkpoint with some hundred signatures.
	MaxRequest = 32 << 10
)

// Request is the body of add-checkpoint.
type Request struct {
	Old        int64          // size that the client believes was cosigned last
	Proof      tlog.TreeProof // from Old to the checkpoint's size
	Checkpoint []byte         // signed note
}

// Encode writes the body.
func (r Request) Encode() []byte {
	b := fmt.Appendf(nil, "old %d\n", r.Old)
	for _, h := range r.Proof {
		b = append(b, h.String()...)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	return append(b, r.Checkpoint...)
}

// ParseRequest reads the body; what parses encodes to the same bytes again. The
// checkpoint is not looked into.
func ParseRequest(body []byte) (Request, error) {
	if len(body) > MaxRequest {
		return Request{}, fmt.Errorf("request is longer than %d bytes", MaxRequest)
	}
	head, checkpoint, found := bytes.Cut(body, []byte("\n\n"))
	if !found || len(checkpoint) == 0 {
		return Request{}, errors.New("request has no empty line with a checkpoint after it")
	}
	lines := strings.Split(string(head), "\n")
	digits, found := strings.CutPrefix(lines[0], "old ")
	old, err := strconv.ParseInt(digits, 10, 64)
	if !found || err != nil || old < 0 || strconv.FormatInt(old, 10) != digits {
		return Request{}, errors.New("first line is not an old size")
	}
	if len(lines)-1 > MaxProof {
		return Request{}, fmt.Errorf("proof has %d lines, allowed are %d", len(lines)-1, MaxProof)
	}
	r := Request{Old: old, Checkpoint: checkpoint}
	for i, line := range lines[1:] {
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(h) != tlog.HashSize || base64.StdEncoding.EncodeToString(h) != line {
			return Request{}, fmt.Errorf("line %d is not a hash", i+2)
		}
		r.Proof = append(r.Proof, tlog.Hash(h))
	}
	return r, nil
}

// Origin is the first line of a checkpoint: which log it is of, as it claims.
func (r Request) Origin() string {
	origin, _, _ := strings.Cut(string(r.Checkpoint), "\n")
	return origin
}
