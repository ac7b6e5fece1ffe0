package gateway_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/sandbox"
)

// A text that was refused because its analysis ran out of time is refused the same way
// when it is asked again, also when its analysis would finish now; and a text that was
// taken in is not said to be another when its analysis runs out of time later.
func TestRetryOfATextThatWasTooComplexOnce(t *testing.T) {
	a := arena(t, "slow", gateway.Options{})
	op := a.Client(attack.Op(0))
	text := "SELECT COUNT(*) AS n FROM slow"
	taken, late := attack.Request(attack.Op(0), "slow", text, 0), attack.Request(attack.Op(0), "slow", text+" WHERE age < 30", 0)
	first, err := op.Run(t.Context(), taken)
	if err != nil {
		t.Fatal(err)
	}
	restore, err := a.Domain.ParseWithin(t.Context(), time.Nanosecond)
	if err != nil {
		t.Fatal(err)
	}
	_, err = op.Run(t.Context(), late)
	if attack.Reason(err) != "TOO_COMPLEX" {
		t.Fatalf("analysed within a nanosecond: %v", err)
	}
	refused := status.Convert(err).Proto().String()
	if _, err = op.Run(t.Context(), taken); attack.Reason(err) != "BUSY" {
		t.Errorf("a text taken in before: %v", err)
	}
	restore()
	if _, err = op.Run(t.Context(), late); status.Convert(err).Proto().String() != refused {
		t.Errorf("asked again: %v", err)
	}
	other := attack.Request(attack.Op(0), "slow", text+" WHERE age < 31", 0)
	other.RequestId = late.GetRequestId()
	if _, err = op.Run(t.Context(), other); attack.Reason(err) != "REQUEST_ID_REUSED" {
		t.Errorf("another text under the same id: %v", err)
	}
	if again, err := op.Run(t.Context(), taken); err != nil || again.GetDigest() != first.GetDigest() {
		t.Errorf("the text taken in: %v", err)
	}
}

// A worker that is ended at its start is named, without a word of what it was for.
func TestLostWorkerIsNamed(t *testing.T) {
	st := status.Convert(gateway.StatusOf(fmt.Errorf("failed to analyse: %w", fmt.Errorf("failed to start worker %q: %w", "secret-literal", sandbox.ErrLost))))
	if code, reason := wellFormed(t, "lost", st.Err()); code != codes.Unavailable || reason != "WORKER_LOST" || strings.Contains(st.Proto().String(), "secret-literal") {
		t.Errorf("%v", st.Proto())
	}
}
