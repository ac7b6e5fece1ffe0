package client

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies/request"
)

// signingTwin is the twin service with every publication signed.
type signingTwin struct {
	sandgatev1.TwinServiceClient
	c *Client
}

// PublishTwin signs what is published; a call that only validates needs no signature.
func (s signingTwin) PublishTwin(ctx context.Context, in *sandgatev1.PublishTwinRequest, opts ...grpc.CallOption) (*sandgatev1.Twin, error) {
	if in.GetValidateOnly() {
		return s.TwinServiceClient.PublishTwin(ctx, in, opts...)
	}
	signer, err := s.c.signer()
	if err != nil {
		return nil, err
	}
	envelope, _, err := signer.Sign(request.Statement{Method: request.MethodTwin, Request: in.GetRequestId(), Terms: map[string]string{request.TermDataset: in.GetDataset()},
		Body: request.Commit(nil, request.TwinFields(in.GetColumns(), in.GetPerUnit(), int(in.GetRowsPerUnit()), in.GetRho()))}, nil)
	var f *request.Fault
	if err != nil && !errors.As(err, &f) { // a name that cannot be one: the gateway says what is wrong with it
		return nil, err
	}
	if err == nil {
		ctx = metadata.AppendToOutgoingContext(ctx, request.Header, string(envelope))
	}
	return s.TwinServiceClient.PublishTwin(ctx, in, opts...)
}

// TwinID is a twin's id by its resource name or the id itself.
func TwinID(name string) string { return strings.TrimPrefix(name, "twins/") }

// twinLook is the interval of looks at a twin that is being learned.
const twinLook = 500 * time.Millisecond

// Publish has a twin published and waits for its outcome. told, which may be nil, is
// called with the twin as it is.
func (c *Client) Publish(ctx context.Context, req *sandgatev1.PublishTwinRequest, told func(*sandgatev1.Twin)) (*sandgatev1.Twin, error) {
	t, err := c.Twin.PublishTwin(ctx, req)
	for err == nil && (t.GetState() == sandgatev1.Twin_STATE_QUEUED || t.GetState() == sandgatev1.Twin_STATE_RUNNING) {
		if told != nil {
			told(t)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(twinLook):
		}
		t, err = c.Twin.GetTwin(ctx, &sandgatev1.GetTwinRequest{Name: t.GetName()})
	}
	return t, err
}
