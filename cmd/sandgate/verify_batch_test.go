package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
)

// interrupted answers some questions; then the person at the keyboard has had enough.
type interrupted struct {
	sandgatev1.VerificationServiceClient
	left int
	stop context.CancelFunc
}

func (v *interrupted) Verify(context.Context, *sandgatev1.VerifyRequest, ...grpc.CallOption) (*sandgatev1.Verification, error) {
	if v.left--; v.left < 0 {
		v.stop()
		return nil, status.Error(codes.Canceled, "context canceled")
	}
	return &sandgatev1.Verification{Name: "verifications/v", Answer: sandgatev1.Verification_ANSWER_CONFIRMED}, nil
}

// Rows of CSV leave one by one and whole: what an interrupted batch leaves can be read,
// and the command says how many were answered and how to go on.
func TestR05_AnInterruptedBatchEndsAtAWholeRow(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, errOut bytes.Buffer
	a := &app{out: &out, err: &errOut, lang: "zh", format: "csv"}
	base := uuid.New()
	err := a.verifyBatch(ctx, &client.Client{Verify: &interrupted{left: 2, stop: stop}}, &verifyFlags{}, "adult", base, []subject{{id: "1"}, {id: "2"}, {id: "3"}, {id: "4"}})
	if status.Code(err) != codes.Canceled {
		t.Errorf("%v", err)
	}
	rows, rerr := csv.NewReader(&out).ReadAll()
	if rerr != nil || len(rows) != 3 || rows[0][0] != "line" || rows[2][0] != "2" || rows[2][1] != "confirmed" {
		t.Errorf("%v %v", rows, rerr)
	}
	if !strings.Contains(errOut.String(), "已答 2 名，尚有 2 名") || !strings.Contains(errOut.String(), "--request "+base.String()) {
		t.Errorf("%s", errOut.String())
	}
}
