package client

import (
	"context"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies/request"
)

// signingTraining is the training service with everything signed that the ledger records.
type signingTraining struct {
	sandgatev1.TrainingServiceClient
	c *Client
}

// TrainingID is a training's id by its resource name or the id itself.
func TrainingID(name string) string { return strings.TrimPrefix(name, "trainings/") }

// ProposeTraining signs a request that is not signed yet.
func (s signingTraining) ProposeTraining(ctx context.Context, in *sandgatev1.ProposeTrainingRequest, opts ...grpc.CallOption) (*sandgatev1.Training, error) {
	if len(in.GetSignedRequest()) > 0 {
		return s.TrainingServiceClient.ProposeTraining(ctx, in, opts...)
	}
	signer, err := s.c.signer()
	if err != nil {
		return nil, err
	}
	st := request.Statement{Method: request.MethodTrain, Request: in.GetRequestId(), Licence: in.GetLicence(), Purpose: in.GetPurpose(),
		Body: request.Commit(nil, request.TrainFields(string(in.GetSpecification()))), Terms: map[string]string{}}
	for name, value := range map[string]string{request.TermRegion: in.GetRegion(), request.TermPeriod: in.GetPeriod(), request.TermScheme: in.GetScheme(), request.TermDomains: domainsDigest(in.GetContributors())} {
		if value != "" {
			st.Terms[name] = value
		}
	}
	if in.GetSeconds() != 0 {
		st.Terms[request.TermSeconds] = strconv.Itoa(int(in.GetSeconds()))
	}
	if in.Retries != nil {
		st.Terms[request.TermRetries] = strconv.Itoa(int(in.GetRetries()))
	}
	out := proto.CloneOf(in)
	if out.SignedRequest, _, err = signer.Sign(st, nil); err != nil {
		return nil, err
	}
	return s.TrainingServiceClient.ProposeTraining(ctx, out, opts...)
}

// CancelTraining signs what ends a training.
func (s signingTraining) CancelTraining(ctx context.Context, in *sandgatev1.CancelTrainingRequest, opts ...grpc.CallOption) (*sandgatev1.Training, error) {
	ctx, err := s.c.act(ctx, request.MethodCancelTraining, map[string]string{request.TermTraining: TrainingID(in.GetName())}, nil)
	if err != nil {
		return nil, err
	}
	return s.TrainingServiceClient.CancelTraining(ctx, in, opts...)
}

// FollowTraining looks at a training until it has its outcome; told, which may be nil, is
// called with each look.
func (c *Client) FollowTraining(ctx context.Context, t *sandgatev1.Training, told func(*sandgatev1.Training)) (*sandgatev1.Training, error) {
	tick := time.NewTicker(roundLook)
	defer tick.Stop()
	for {
		if told != nil {
			told(t)
		}
		if t.GetState() != sandgatev1.Training_STATE_RUNNING {
			return t, nil
		}
		select {
		case <-ctx.Done():
			return t, ctx.Err()
		case <-tick.C:
		}
		var err error
		if t, err = c.Training.GetTraining(ctx, &sandgatev1.GetTrainingRequest{Name: t.GetName()}); err != nil {
			return nil, err
		}
	}
}
