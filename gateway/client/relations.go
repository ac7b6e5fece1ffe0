package client

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies/request"
)

// signingRelations is the service of relations with every publication signed, its data
// sets in the order of their ids.
type signingRelations struct {
	sandgatev1.RelationsServiceClient
	c *Client
}

// RelateTwins signs what is tied; a call that only validates needs no signature.
func (s signingRelations) RelateTwins(ctx context.Context, in *sandgatev1.RelateTwinsRequest, opts ...grpc.CallOption) (*sandgatev1.Relations, error) {
	in = proto.CloneOf(in)
	slices.SortStableFunc(in.Tables, func(a, b *sandgatev1.RelatedTable) int { return cmp.Compare(a.GetDataset(), b.GetDataset()) })
	if in.GetValidateOnly() {
		return s.RelationsServiceClient.RelateTwins(ctx, in, opts...)
	}
	signer, err := s.c.signer()
	if err != nil {
		return nil, err
	}
	var tables []request.RelatedTable
	for _, t := range in.GetTables() {
		tables = append(tables, request.RelatedTable{Dataset: t.GetDataset(), Link: t.GetLink()})
	}
	envelope, _, err := signer.Sign(request.Statement{Method: request.MethodRelations, Request: in.GetRequestId(), Terms: request.RelationsTerms(tables),
		Body: request.Commit(nil, request.RelationsFields(tables, in.GetRho()))}, nil)
	var f *request.Fault
	if err != nil && !errors.As(err, &f) { // a name that cannot be one: the gateway says what is wrong with it
		return nil, err
	}
	if err == nil {
		ctx = metadata.AppendToOutgoingContext(ctx, request.Header, string(envelope))
	}
	return s.RelationsServiceClient.RelateTwins(ctx, in, opts...)
}

// RelationsID is the id of relations by their resource name or the id itself.
func RelationsID(name string) string { return strings.TrimPrefix(name, "relations/") }

// Relate has twins tied and waits for the outcome. told, which may be nil, is called with
// the relations as they are.
func (c *Client) Relate(ctx context.Context, req *sandgatev1.RelateTwinsRequest, told func(*sandgatev1.Relations)) (*sandgatev1.Relations, error) {
	r, err := c.Relations.RelateTwins(ctx, req)
	for err == nil && (r.GetState() == sandgatev1.Twin_STATE_QUEUED || r.GetState() == sandgatev1.Twin_STATE_RUNNING) {
		if told != nil {
			told(r)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(twinLook):
		}
		r, err = c.Relations.GetRelations(ctx, &sandgatev1.GetRelationsRequest{Name: r.GetName()})
	}
	return r, err
}
