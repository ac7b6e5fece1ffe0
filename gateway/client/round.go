package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies/request"
)

// signingRound is the round service with everything signed that the ledger records.
type signingRound struct {
	sandgatev1.RoundServiceClient
	c *Client
}

// RoundID is a round's id by its resource name or the id itself.
func RoundID(name string) string { return strings.TrimPrefix(name, "rounds/") }

// ProposeRound signs a request that is not signed yet.
func (s signingRound) ProposeRound(ctx context.Context, in *sandgatev1.ProposeRoundRequest, opts ...grpc.CallOption) (*sandgatev1.Round, error) {
	if len(in.GetSignedRequest()) > 0 {
		return s.RoundServiceClient.ProposeRound(ctx, in, opts...)
	}
	signer, err := s.c.signer()
	if err != nil {
		return nil, err
	}
	st := request.Statement{Method: request.MethodRound, Request: in.GetRequestId(), Licence: in.GetLicence(), Purpose: in.GetPurpose(), Terms: map[string]string{}}
	put := func(name, value string) {
		if value != "" {
			st.Terms[name] = value
		}
	}
	put(request.TermRegion, in.GetRegion())
	put(request.TermPeriod, in.GetPeriod())
	put(request.TermScheme, in.GetScheme())
	if in.GetPriceNanoRho() != 0 {
		put(request.TermPrice, strconv.FormatInt(in.GetPriceNanoRho(), 10))
	}
	if in.GetSeconds() != 0 {
		put(request.TermSeconds, strconv.Itoa(int(in.GetSeconds())))
	}
	put(request.TermDomains, domainsDigest(in.GetContributors()))
	out := proto.CloneOf(in)
	if out.SignedRequest, out.Salt, err = signer.Sign(st, request.Query{SQL: in.GetSql()}.Fields()); err != nil {
		return nil, err
	}
	return s.RoundServiceClient.ProposeRound(ctx, out, opts...)
}

// domainsDigest is what a signed request says of the domains asked for; empty for all.
func domainsDigest(domains []string) string {
	if len(domains) == 0 {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.Join(domains, "\n") + "\n"))
	return hex.EncodeToString(sum[:])
}

// CancelRound signs what ends a round.
func (s signingRound) CancelRound(ctx context.Context, in *sandgatev1.CancelRoundRequest, opts ...grpc.CallOption) (*sandgatev1.Round, error) {
	ctx, err := s.c.act(ctx, request.MethodCancelRound, map[string]string{request.TermRound: RoundID(in.GetName())}, nil)
	if err != nil {
		return nil, err
	}
	return s.RoundServiceClient.CancelRound(ctx, in, opts...)
}

// roundLook is the interval of looks at a round.
const roundLook = 300 * time.Millisecond

// FollowRound looks at a round until it has its outcome; told, which may be nil, is called
// with each look.
func (c *Client) FollowRound(ctx context.Context, r *sandgatev1.Round, told func(*sandgatev1.Round)) (*sandgatev1.Round, error) {
	t := time.NewTicker(roundLook)
	defer t.Stop()
	for {
		if told != nil {
			told(r)
		}
		if r.GetState() != sandgatev1.Round_STATE_RUNNING {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-t.C:
		}
		var err error
		if r, err = c.Round.GetRound(ctx, &sandgatev1.GetRoundRequest{Name: r.GetName()}); err != nil {
			return nil, err
		}
	}
}
