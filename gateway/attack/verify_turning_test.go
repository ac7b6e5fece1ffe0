package attack

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
)

// R28 R34: a rotation of the key that names subjects gives no new questions about one,
// and what was answered is answered from the ledger again once his consent is recorded.
func TestAttack28_RotationGivesNoQuestions(t *testing.T) {
	a, err := NewInside(t.TempDir(), gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Stop() }()
	x := newRegister(t, a, "named", 2, "{subjects_per_month: 1000}")
	x.consent(t, 0)
	wrong := codeList[0]
	if wrong == codeOf(0) {
		wrong = codeList[1]
	}
	once := &sandgatev1.VerifyRequest{RequestId: uuid.NewString(), Licence: LicenceID(Op(0), x.id), Purpose: Purpose, Product: x.productID(0, "code"), SubjectId: citizen(0), Claim: codeOf(0)}
	answer := func() string {
		v, err := a.Client(Op(0)).Verify.Verify(t.Context(), once)
		if err != nil {
			t.Fatal(err)
		}
		return v.GetName() + v.GetAnswer().String()
	}
	before := answer()
	ask := func(claim string) string {
		yes, refused := x.ask(t.Context(), 0, "code", citizen(0), claim)
		return fmt.Sprint(yes, refused)
	}
	third := codeList[6]
	for _, c := range codeList {
		if c != wrong && c != codeOf(0) {
			third = c
		}
	}
	if got := ask(wrong); got != "false" {
		t.Fatalf("a wrong claim: %s", got)
	}
	if got := ask(third); got != "falseQUESTIONS_EXHAUSTED" {
		t.Fatalf("a third question: %s", got)
	}
	for i := range 2 {
		if _, err := a.Client(Regulator).Keys.RotateKey(t.Context(), &sandgatev1.RotateKeyRequest{Key: "consent"}); err != nil {
			t.Fatal(err)
		}
		if got := ask(third); got != "falseQUESTIONS_EXHAUSTED" {
			t.Errorf("a third question after %d rotations: %s", i+1, got)
		}
		if got := ask(codeOf(0)); got != "false" {
			t.Errorf("without a consent under the new key: %s", got)
		}
		if now := answer(); now != before {
			t.Errorf("a retry of a request of before: %s, want %s", now, before)
		}
	}
	s, err := a.Client(Department).Licence.ComputeSubject(t.Context(), &sandgatev1.ComputeSubjectRequest{Dataset: x.id, Id: citizen(0)})
	if err != nil {
		t.Fatal(err)
	}
	a.Must(t, fmt.Sprintf("kind: Consent\nid: named-again\ndepartment: %s\nsubject: %s\noperator: %s\npurposes: [%s]\ndatasets: [%s]\nnot_before: %s\nnot_after: %s\ndocument: 档案\n", Department, s.GetSubject(), Op(0), Purpose, x.id,
		time.Now().AddDate(-1, 0, 0).UTC().Format(time.RFC3339), time.Now().AddDate(2, 0, 0).UTC().Format(time.RFC3339)), Department)
	stored := x.grounds(t)["stored"]
	if got := ask(codeOf(0)); got != "true" {
		t.Errorf("recorded again: %s", got)
	}
	if now := x.grounds(t)["stored"]; now != stored+1 {
		t.Errorf("the same question is a new one: %v", x.grounds(t))
	}
	if got := ask(third); got != "falseQUESTIONS_EXHAUSTED" {
		t.Errorf("a third question in the end: %s", got)
	}
}
