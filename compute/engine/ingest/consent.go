package ingest

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"hash"
)

// Subject is the commitment to a data subject that consents are recorded by, cut to
// 128 bits: HMAC-SHA-256(consent key, kind ‖ 0 ‖ canonical identifier).
type Subject [16]byte

// CommitSubject computes the whole commitment; a Subject is its head. canonical is
// an identifier that CanonicalUnit made. key is used as it is, at least 32 bytes.
func CommitSubject(key []byte, kind, canonical string) [sha256.Size]byte {
	return [sha256.Size]byte(commit(hmac.New(sha256.New, key), kind, canonical))
}

func commit(mac hash.Hash, kind, canonical string) []byte {
	mac.Reset()
	_, _ = mac.Write([]byte(kind + "\x00" + canonical))
	return mac.Sum(nil)
}

// subjects commits to the units of a file, to each once. nil commits to nobody.
type subjects struct {
	mac   hash.Hash
	known map[uint64]Subject // by unit token
}

func newSubjects(spec *Spec, keys Keys) (*subjects, error) {
	if !spec.Consent {
		return nil, nil
	}
	if len(keys.Consent) < 32 {
		return nil, errors.New("failed to start ingest: a consent key of at least 32 bytes is needed")
	}
	return &subjects{mac: hmac.New(sha256.New, keys.Consent), known: map[uint64]Subject{}}, nil
}

// of is the subject of a unit, whose identifier stands in the file as text.
func (s *subjects) of(kind string, token uint64, text string) Subject {
	if s == nil {
		return Subject{}
	}
	if known, ok := s.known[token]; ok {
		return known
	}
	canonical, _ := CanonicalUnit(kind, text) // it made the token
	out := Subject(commit(s.mac, kind, canonical))
	if len(s.known) < maxTokens {
		s.known[token] = out
	}
	return out
}
