package client

import (
	"context"
	"strings"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies/request"
)

// signingModel is the model service with everything signed that the ledger records.
type signingModel struct {
	sandgatev1.ModelServiceClient
	c *Client
}

// TrainModel signs a request that is not signed yet, in the version of the product
// that the gateway has on file for the party.
func (s signingModel) TrainModel(ctx context.Context, in *sandgatev1.TrainModelRequest, opts ...grpc.CallOption) (*longrunningpb.Operation, error) {
	if len(in.GetSignedRequest()) > 0 || in.GetTwin() != nil {
		return s.ModelServiceClient.TrainModel(ctx, in, opts...)
	}
	signer, err := s.c.signer()
	if err != nil {
		return nil, err
	}
	version, err := s.c.versionOf(ctx, in.GetProduct())
	if err != nil {
		return nil, err
	}
	st := request.Statement{Method: request.MethodModel, Request: in.GetRequestId(), Licence: in.GetLicence(), Purpose: in.GetPurpose(), Terms: map[string]string{}}
	if in.GetProduct() != "" {
		st.Terms[request.TermProduct] = in.GetProduct()
	}
	if version != "" {
		st.Terms[request.TermDigest] = version
	}
	out := proto.CloneOf(in)
	if out.SignedRequest, _, err = signer.Sign(st, nil); err != nil {
		return nil, err
	}
	return s.ModelServiceClient.TrainModel(ctx, out, opts...)
}

// ScoreModel signs a request that is not signed yet. What opens its commitment, the
// rows, is not kept.
func (s signingModel) ScoreModel(ctx context.Context, in *sandgatev1.ScoreModelRequest, opts ...grpc.CallOption) (*sandgatev1.ScoreModelResponse, error) {
	if len(in.GetSignedRequest()) > 0 {
		return s.ModelServiceClient.ScoreModel(ctx, in, opts...)
	}
	signer, err := s.c.signer()
	if err != nil {
		return nil, err
	}
	forgetful := *signer
	forgetful.Keep, forgetful.Salt = nil, nil
	st := request.Statement{Method: request.MethodScore, Request: in.GetRequestId(), Terms: map[string]string{request.TermModel: ModelID(in.GetName())}}
	out := proto.CloneOf(in)
	if out.SignedRequest, out.Salt, err = forgetful.Sign(st, ScoreBody(in)); err != nil {
		return nil, err
	}
	return s.ModelServiceClient.ScoreModel(ctx, out, opts...)
}

// CancelModel signs what ends a model.
func (s signingModel) CancelModel(ctx context.Context, in *sandgatev1.CancelModelRequest, opts ...grpc.CallOption) (*sandgatev1.Model, error) {
	ctx, err := s.c.act(ctx, request.MethodCancelModel, map[string]string{request.TermModel: ModelID(in.GetName())}, nil)
	if err != nil {
		return nil, err
	}
	return s.ModelServiceClient.CancelModel(ctx, in, opts...)
}

// ModelID is a model's id by its resource name or the id itself.
func ModelID(name string) string { return strings.TrimPrefix(name, "models/") }

// ScoreBody is what a scoring call's commitment covers.
func ScoreBody(in *sandgatev1.ScoreModelRequest) []request.Field {
	rows := make([][]string, len(in.GetRows()))
	for i, r := range in.GetRows() {
		rows[i] = r.GetValues()
	}
	return request.ScoreFields(in.GetColumns(), rows)
}

// Train has a model trained and waits for its outcome. told, which may be nil, is
// called with the model as it is, once a second.
func (c *Client) Train(ctx context.Context, req *sandgatev1.TrainModelRequest, told func(*sandgatev1.Model)) (*sandgatev1.Model, error) {
	op, err := c.Model.TrainModel(ctx, req)
	if err != nil {
		return nil, err
	}
	for !op.GetDone() {
		m := &sandgatev1.Model{}
		if err := op.GetMetadata().UnmarshalTo(m); err != nil {
			return nil, texts.Errorf("failed to read model: %w", err)
		}
		if told != nil {
			told(m)
		}
		if op, err = c.Operations.WaitOperation(ctx, &longrunningpb.WaitOperationRequest{Name: op.GetName(), Timeout: durationpb.New(time.Second)}); err != nil {
			return nil, err
		}
	}
	if e := op.GetError(); e != nil {
		return nil, status.ErrorProto(e)
	}
	m := &sandgatev1.Model{}
	if err := op.GetResponse().UnmarshalTo(m); err != nil {
		return nil, texts.Errorf("failed to read model: %w", err)
	}
	return m, nil
}

// Rehearse has a model trained on synthetic rows and returns what became of it.
func (c *Client) Rehearse(ctx context.Context, req *sandgatev1.TrainModelRequest) (*sandgatev1.ModelRehearsal, error) {
	op, err := c.Model.TrainModel(ctx, req)
	if err != nil {
		return nil, err
	}
	m := &sandgatev1.ModelRehearsal{}
	if err := op.GetResponse().UnmarshalTo(m); err != nil {
		return nil, texts.Errorf("failed to read model: %w", err)
	}
	return m, nil
}
