package client

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/policies/request"
)

func asked() *sandgatev1.SubmitJobRequest {
	return &sandgatev1.SubmitJobRequest{RequestId: "7f8b1c1e-3d5a-4a7e-9a61-0d6a0f3c2b11", Query: &sandgatev1.QuerySpec{Licence: "alpha-2026", Purpose: "urban_planning",
		Sql: "SELECT 1", Parameters: []string{"60"}, TargetErrors: []*sandgatev1.TargetError{{Column: "n", HalfWidth: "50", Values: 9}}}}
}

// What is kept opens what was signed; a retry commits as the first try did; and
// what cannot be kept is not sent.
func TestSignerKeepsWhatOpensARequest(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	var kept []*request.Opening
	s := &Signer{Party: "alpha", Origin: "sandgate.test/city", Official: "wang.li", Key: key, Now: func() time.Time { return time.UnixMilli(1_790_000_000_000) }}
	s.Keep = func(o *request.Opening) error { kept = append(kept, o); return nil }
	st, body := JobStatement(asked(), ""), JobBody(asked().GetQuery())
	envelope, salt, err := s.Sign(st, body)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := request.Open(envelope)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(signed.Verify(key.Public().(ed25519.PublicKey)), signed.Statement.CheckBody(salt, body)); err != nil {
		t.Error(err)
	}
	if signed.Statement.Terms[request.TermTargets] != "1" || signed.Statement.Official != "wang.li" || len(kept) != 1 {
		t.Errorf("%+v, %d kept", signed.Statement, len(kept))
	}
	text, err := kept[0].Encode()
	if err != nil {
		t.Fatal(err)
	}
	if o, err := request.ParseOpening(text); err != nil || !bytes.Equal(o.Salt, salt) {
		t.Errorf("%v %v", o, err)
	}
	if _, other, _ := s.Sign(st, body); bytes.Equal(other, salt) {
		t.Error("two requests have one salt")
	}
	s.Salt = func(string) []byte { return salt }
	if _, again, _ := s.Sign(st, body); !bytes.Equal(again, salt) {
		t.Error("a retry draws another salt")
	}
	s.Keep = func(*request.Opening) error { return errors.New("disk full") }
	if envelope, _, err := s.Sign(st, body); err == nil || envelope != nil {
		t.Error("a request was signed whose opening is lost")
	}
}

// A kit that names no ledger signs for none: its requests could be used anywhere.
func TestKitWithoutALedgerSignsNothing(t *testing.T) {
	if _, err := SignerOf(&home.Kit{Party: "alpha"}); err == nil || !strings.Contains(err.Error(), "origin") {
		t.Errorf("%v", err)
	}
}
