package client

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/policies/request"
)

// Signer signs a party's requests. Everything a client asks for that the ledger
// records in the party's name goes through one.
type Signer struct {
	Party    string
	Origin   string // of the log whose gateway is asked; a request is good for no other
	Official string // work account of the person who acts; may be empty
	Key      crypto.Signer
	Now      func() time.Time // time.Now when nil
	// Keep is given what opens a request's commitment before the request is sent;
	// an error keeps it from being sent. nil keeps nothing.
	Keep func(*request.Opening) error
	// Salt returns the salt that was drawn before for a request id, nil for none: a
	// retry commits as the first try did, so that what is kept opens either.
	Salt func(requestID string) []byte
}

// SignerOf signs with a kit's key.
func SignerOf(kit *home.Kit) (*Signer, error) {
	if kit.Origin == "" {
		return nil, texts.Errorf("the kit names no ledger, so its requests cannot be signed for one: write \"origin\" as trust.json has it into its party.json")
	}
	key, err := kit.SigningKey()
	if err != nil {
		return nil, err
	}
	return &Signer{Party: kit.Party, Origin: kit.Origin, Key: key}, nil
}

// Sign completes a statement with who signs it, when and for which ledger,
// commits to the body and signs. A nil body commits to nothing.
func (s *Signer) Sign(st request.Statement, body []request.Field) (envelope, salt []byte, err error) {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	at := now().UTC()
	st.V, st.Origin, st.Party, st.Official = request.Version, s.Origin, s.Party, s.Official
	st.IssuedAt, st.NotAfter = at.UnixMilli(), at.Add(request.Validity).UnixMilli()
	if body != nil {
		if s.Salt != nil {
			salt = s.Salt(st.Request)
		}
		if len(salt) != request.SaltBytes {
			salt = make([]byte, request.SaltBytes)
			rand.Read(salt) // never fails
		}
		st.Body = request.Commit(salt, body)
	}
	signed, err := request.Sign(st, s.Key)
	if err != nil {
		return nil, nil, err
	}
	if body != nil && s.Keep != nil {
		if err := s.Keep(&request.Opening{V: request.Version, Signed: *signed, Salt: salt, Body: body}); err != nil {
			return nil, nil, texts.Errorf("failed to keep what opens the request: %w", err)
		}
	}
	envelope, err = signed.Envelope()
	return envelope, salt, err
}

// JobBody is what a query's commitment covers.
func JobBody(q *sandgatev1.QuerySpec) []request.Field {
	b := request.Query{SQL: q.GetSql(), Parameters: q.GetParameters()}
	for _, t := range q.GetTargetErrors() {
		b.Targets = append(b.Targets, request.Target{Column: t.GetColumn(), HalfWidth: t.GetHalfWidth(), Values: t.GetValues()})
	}
	return b.Fields()
}

// JobStatement is what an operator says of a job; version is the digest of the
// product it runs, empty for a text of its own.
func JobStatement(req *sandgatev1.SubmitJobRequest, version string) request.Statement {
	q := req.GetQuery()
	st := request.Statement{Method: request.MethodQuery, Request: req.GetRequestId(), Licence: q.GetLicence(), Purpose: q.GetPurpose(), Terms: map[string]string{}}
	if q.GetProduct() != "" {
		st.Method, st.Terms[request.TermProduct] = request.MethodProduct, q.GetProduct()
		if version != "" {
			st.Terms[request.TermDigest] = version
		}
	}
	if n := len(q.GetTargetErrors()); n > 0 {
		st.Terms[request.TermTargets] = strconv.Itoa(n)
	} else if p := q.GetPriceNanoRho(); p != 0 {
		st.Terms[request.TermPrice] = strconv.FormatInt(p, 10)
	}
	return st
}

// SignJob returns the request with the party's signature. A product is signed in
// the version that the gateway has on file for the party.
func (c *Client) SignJob(ctx context.Context, req *sandgatev1.SubmitJobRequest) (*sandgatev1.SubmitJobRequest, error) {
	s, err := c.signer()
	if err != nil {
		return nil, err
	}
	version, err := c.versionOf(ctx, req.GetQuery().GetProduct())
	if err != nil {
		return nil, err
	}
	out := proto.CloneOf(req)
	out.SignedRequest, out.Salt, err = s.Sign(JobStatement(req, version), JobBody(req.GetQuery()))
	if err != nil {
		return nil, err
	}
	return out, nil
}

// signing is the operator's service with every job signed.
type signing struct {
	sandgatev1.OperatorServiceClient
	c *Client
}

// SubmitJob signs a request that is not signed yet. A rehearsal is not signed: nobody
// could submit the signature on the real data.
func (s signing) SubmitJob(ctx context.Context, in *sandgatev1.SubmitJobRequest, opts ...grpc.CallOption) (*longrunningpb.Operation, error) {
	if !in.GetValidateOnly() && in.GetTwin() == nil && len(in.GetSignedRequest()) == 0 {
		var err error
		if in, err = s.c.SignJob(ctx, in); err != nil {
			return nil, err
		}
	}
	return s.OperatorServiceClient.SubmitJob(ctx, in, opts...)
}

// signingVerification is the verification service with every question signed.
type signingVerification struct {
	sandgatev1.VerificationServiceClient
	c *Client
}

// Verify signs a request that is not signed yet, in the version of the product that
// the gateway has on file for the party.
func (s signingVerification) Verify(ctx context.Context, in *sandgatev1.VerifyRequest, opts ...grpc.CallOption) (*sandgatev1.Verification, error) {
	if len(in.GetSignedRequest()) > 0 || in.GetTwin() != nil {
		return s.VerificationServiceClient.Verify(ctx, in, opts...)
	}
	signer, err := s.c.signer()
	if err != nil {
		return nil, err
	}
	version, err := s.c.versionOf(ctx, in.GetProduct())
	if err != nil {
		return nil, err
	}
	st := request.Statement{Method: request.MethodVerify, Request: in.GetRequestId(), Licence: in.GetLicence(), Purpose: in.GetPurpose(), Terms: map[string]string{}}
	if in.GetProduct() != "" {
		st.Terms[request.TermProduct] = in.GetProduct()
	}
	if version != "" {
		st.Terms[request.TermDigest] = version
	}
	out := proto.CloneOf(in)
	out.SignedRequest, out.Salt, err = signer.Sign(st, request.VerificationFields(in.GetSubjectId(), in.GetClaim()))
	if err != nil {
		return nil, err
	}
	return s.VerificationServiceClient.Verify(ctx, out, opts...)
}

// versionOf is the digest of a product's version on file for the party, empty for
// one that it has not.
func (c *Client) versionOf(ctx context.Context, product string) (string, error) {
	if product == "" {
		return "", nil
	}
	p, err := c.Product.GetProduct(ctx, &sandgatev1.GetProductRequest{Name: product})
	if err != nil && status.Code(err) != codes.NotFound && status.Code(err) != codes.PermissionDenied {
		return "", err
	}
	return p.GetDigest(), nil
}

// act signs an act that is no job and puts the envelope into the call's metadata.
func (c *Client) act(ctx context.Context, method string, terms map[string]string, public []request.Field) (context.Context, error) {
	s, err := c.signer()
	if err != nil {
		return nil, err
	}
	st := request.Statement{Method: method, Request: uuid.NewString(), Terms: terms}
	if public != nil {
		st.Body = request.Commit(nil, public)
	}
	envelope, _, err := s.Sign(st, nil)
	var f *request.Fault
	if errors.As(err, &f) {
		return ctx, nil // a name that cannot be one: the gateway says what is wrong with it
	}
	if err != nil {
		return nil, err
	}
	return metadata.AppendToOutgoingContext(ctx, request.Header, string(envelope)), nil
}

// signingOperations is google.longrunning with every cancellation signed.
type signingOperations struct {
	longrunningpb.OperationsClient
	c *Client
}

func (s signingOperations) CancelOperation(ctx context.Context, in *longrunningpb.CancelOperationRequest, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	job := strings.TrimPrefix(in.GetName(), "operations/")
	var err error
	if model, ok := strings.CutPrefix(job, "models/"); ok {
		if ctx, err = s.c.act(ctx, request.MethodCancelModel, map[string]string{request.TermModel: model}, nil); err != nil {
			return nil, err
		}
	} else if job != "" {
		if ctx, err = s.c.act(ctx, request.MethodCancel, map[string]string{request.TermJob: job}, nil); err != nil {
			return nil, err
		}
	}
	return s.OperationsClient.CancelOperation(ctx, in, opts...)
}

// signingKeys is the key service with every destruction signed.
type signingKeys struct {
	sandgatev1.KeyServiceClient
	c *Client
}

func (s signingKeys) DestroySnapshot(ctx context.Context, in *sandgatev1.DestroySnapshotRequest, opts ...grpc.CallOption) (*sandgatev1.DestroySnapshotResponse, error) {
	ctx, err := s.c.act(ctx, request.MethodDestroy, map[string]string{request.TermDataset: in.GetDataset()}, nil)
	if err != nil {
		return nil, err
	}
	return s.KeyServiceClient.DestroySnapshot(ctx, in, opts...)
}

// signingRisk is the risk service with every assessment signed.
type signingRisk struct {
	sandgatev1.RiskServiceClient
	c *Client
}

func (s signingRisk) AssessRisk(ctx context.Context, in *sandgatev1.AssessRiskRequest, opts ...grpc.CallOption) (*sandgatev1.RiskAssessment, error) {
	ctx, err := s.c.act(ctx, request.MethodRisk, map[string]string{request.TermDataset: in.GetDataset()},
		request.RiskFields(in.GetQuasi(), in.GetSensitive(), in.GetModel(), in.GetContextRisk()))
	if err != nil {
		return nil, err
	}
	return s.RiskServiceClient.AssessRisk(ctx, in, opts...)
}

// signFile signs what was sent of a file.
func (c *Client) signFile(head *sandgatev1.IngestHeader, sum []byte) (*sandgatev1.IngestSignature, error) {
	s, err := c.signer()
	if err != nil {
		return nil, err
	}
	st := request.Statement{Method: request.MethodIngest, Request: uuid.NewString(), Terms: map[string]string{request.TermDataset: head.GetDataset()}}
	envelope, salt, err := s.Sign(st, request.FileFields(hex.EncodeToString(sum), head.GetFormat(), head.GetAllowEmpty()))
	if err != nil {
		return nil, err
	}
	return &sandgatev1.IngestSignature{SignedRequest: envelope, Salt: salt}, nil
}
