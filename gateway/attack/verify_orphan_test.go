package attack

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
)

// A verification that was let in when its gateway stopped is answered by a retry of
// the same request, and counted once; the request id serves no other question.
func TestR28_VerificationSurvivesAStop(t *testing.T) {
	a, err := NewInside(t.TempDir(), gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Stop() }()
	x := newRegister(t, a, "orphan", 3, "{subjects_per_month: 1000}")
	x.consent(t, 0, 1)
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	// One seat, held for its tick: the second waits for it, let in and not answered.
	if err := a.Start(gateway.Options{Jobs: 1, Tick: time.Minute}); err != nil {
		t.Fatal(err)
	}
	request := func(person int, claim string) *sandgatev1.VerifyRequest {
		return &sandgatev1.VerifyRequest{RequestId: uuid.NewString(), Licence: LicenceID(Op(0), x.id), Purpose: Purpose, Product: x.productID(0, "code"), SubjectId: citizen(person), Claim: claim}
	}
	asked := []*sandgatev1.VerifyRequest{request(0, codeOf(0)), request(1, codeOf(1))}
	left := make(chan error, len(asked))
	for _, r := range asked {
		go func(c *sandgatev1.VerifyRequest) {
			_, err := a.Client(Op(0)).Verify.Verify(t.Context(), c)
			left <- err
		}(r)
	}
	states := func() (out []string) {
		l, err := a.Client(Regulator).Verify.ListVerifications(t.Context(), &sandgatev1.ListVerificationsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range l.GetVerifications() {
			out = append(out, v.GetState().String())
		}
		slices.Sort(out)
		return out
	}
	for until := time.Now().Add(30 * time.Second); len(states()) < 2 && time.Now().Before(until); {
		time.Sleep(20 * time.Millisecond)
	}
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	for range asked {
		if err := <-left; err == nil {
			t.Error("an answer before its tick")
		}
	}
	if err := a.Start(gateway.Options{}); err != nil {
		t.Fatal(err)
	}
	if got := states(); !slices.Contains(got, "STATE_RUNNING") {
		t.Fatalf("nothing was left open: %v", got)
	}
	for _, r := range asked {
		other := request(2, codeOf(2))
		other.RequestId = r.GetRequestId()
		if _, err := a.Client(Op(0)).Verify.Verify(t.Context(), other); Reason(err) != "REQUEST_ID_REUSED" {
			t.Errorf("another question under the request id: %v", err)
		}
		for range 2 {
			v, err := a.Client(Op(0)).Verify.Verify(t.Context(), r)
			if err != nil || v.GetAnswer() != sandgatev1.Verification_ANSWER_CONFIRMED || v.GetRepeat() {
				t.Errorf("retried: %v %v", v, err)
			}
		}
	}
	if got := states(); !slices.Equal(got, []string{"STATE_ANSWERED", "STATE_ANSWERED"}) {
		t.Errorf("%v", got)
	}
}
