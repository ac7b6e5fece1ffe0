package policies

import (
	"errors"
	"time"

	"github.com/sandgate/sandgate/policies/request"
)

// PartyKey returns the signing key of a party in force: the regulator's is the
// root of trust, any other the registry's. A withdrawn party has none.
func (b *Book) PartyKey(party string) ([]byte, bool) { return b.key(party) }

// CheckSigned says whether a request is signed by the party under its key in
// force, for the log of this origin, and may be acted on at the instant. What it
// asks for, the caller compares.
func (b *Book) CheckSigned(s *request.Signed, origin, party string, at time.Time) *Reason {
	key, _ := b.key(party)
	return CheckSignedBy(s, key, origin, party, at)
}

// CheckSignedBy is Book.CheckSigned under a key taken from the book; nil is of a
// party that has none.
func CheckSignedBy(s *request.Signed, key []byte, origin, party string, at time.Time) *Reason {
	if s == nil {
		return SignatureFault(request.ErrMissing, party)
	}
	if err := s.Statement.Check(); err != nil {
		return SignatureFault(err, party)
	}
	if s.Statement.Origin != origin {
		return SignatureFault(request.Mismatch("origin"), party)
	}
	if s.Statement.Party != party {
		return SignatureFault(request.Mismatch("party"), party)
	}
	if err := s.Verify(key); err != nil {
		return SignatureFault(err, party)
	}
	if err := s.Statement.Fresh(at); err != nil {
		return SignatureFault(err, party)
	}
	return nil
}

// SignatureFault is the reason for a fault of a signed request.
func SignatureFault(err error, party string) *Reason {
	var f *request.Fault
	if !errors.As(err, &f) {
		f = request.ErrSignature
	}
	return &Reason{Code: f.Code, Rule: "signature", SetBy: safeName(party), ZH: f.ZH, EN: f.EN, HintZH: f.HintZH, HintEN: f.HintEN}
}
