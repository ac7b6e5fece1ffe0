package node

import (
	"context"
	"errors"
	"io"

	"github.com/sandgate/sandgate/compute/federate"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Service is NodeService over a hub.
type Service struct {
	sandgatev1.UnimplementedNodeServiceServer
	hub *Hub
	who func(ctx context.Context) (party string, err error)
}

// NewService returns the service. who says which party a call is from, by its certificate
// and the registry, as a status error if it is from none.
func NewService(hub *Hub, who func(ctx context.Context) (party string, err error)) *Service {
	return &Service{hub: hub, who: who}
}

// answer makes a status of an error of the hub, in both languages where it has them.
func answer(err error) error {
	var f *federate.Fault
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	case errors.Is(err, ErrClosed):
		return status.Error(codes.Unavailable, ErrClosed.Error())
	case errors.Is(err, ErrRound):
		return status.Error(codes.NotFound, ErrRound.Error())
	case errors.As(err, &f):
		code := codes.Aborted
		if f.Dropped() {
			code = codes.FailedPrecondition
		}
		st, detailed := status.New(code, f.Reason.EN).WithDetails(&errdetails.ErrorInfo{Reason: f.Reason.Code, Domain: "sandgate"},
			&errdetails.LocalizedMessage{Locale: "zh-CN", Message: f.Reason.Text("zh")})
		if detailed != nil {
			return status.Error(code, f.Reason.EN)
		}
		return st.Err()
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.InvalidArgument, err.Error())
}

func (s *Service) carrier(ctx context.Context) (Carrier, error) {
	party, err := s.who(ctx)
	if err != nil {
		return nil, err
	}
	return s.hub.As(party), nil
}

func signedOf(s *sandgatev1.SignedText) federate.Signed {
	return federate.Signed{Text: s.GetText(), Sig: s.GetSig()}
}

func textOf(s *federate.Signed) *sandgatev1.SignedText {
	return &sandgatev1.SignedText{Text: s.Text, Sig: s.Sig}
}

func streamOf(s *sandgatev1.PartStream) Stream {
	return Stream{Session: s.GetSession(), From: s.GetFrom(), Share: s.GetShare()}
}

// Attend implements NodeServiceServer.
func (s *Service) Attend(_ *sandgatev1.AttendRequest, out grpc.ServerStreamingServer[sandgatev1.AttendResponse]) error {
	c, err := s.carrier(out.Context())
	if err != nil {
		return err
	}
	return answer(c.Attend(out.Context(), func(e Event) error {
		m := &sandgatev1.AttendResponse{Session: e.Session}
		switch {
		case e.Proposal != nil:
			m.Event, m.Brief = &sandgatev1.AttendResponse_Proposal{Proposal: textOf(e.Proposal)}, e.Brief
		case e.Message != nil:
			m.Event = &sandgatev1.AttendResponse_Message{Message: textOf(e.Message)}
		case e.Attachment != nil:
			m.Event = &sandgatev1.AttendResponse_Attachment{Attachment: &sandgatev1.Attachment{From: e.Attachment.From, To: e.Attachment.To, Content: e.Attachment.Bytes}}
		case e.Trial != nil:
			m.Event, m.Brief = &sandgatev1.AttendResponse_Trial{Trial: textOf(e.Trial)}, e.Brief
		}
		return out.Send(m)
	}))
}

// Say implements NodeServiceServer.
func (s *Service) Say(ctx context.Context, r *sandgatev1.SayRequest) (*sandgatev1.SayResponse, error) {
	c, err := s.carrier(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.Say(ctx, r.GetSession(), signedOf(r.GetMessage())); err != nil {
		return nil, answer(err)
	}
	return &sandgatev1.SayResponse{}, nil
}

// Attach implements NodeServiceServer.
func (s *Service) Attach(ctx context.Context, r *sandgatev1.AttachRequest) (*sandgatev1.AttachResponse, error) {
	c, err := s.carrier(ctx)
	if err != nil {
		return nil, err
	}
	a := r.GetAttachment()
	if err := c.Attach(ctx, r.GetSession(), federate.Attachment{From: a.GetFrom(), To: a.GetTo(), Bytes: a.GetContent()}); err != nil {
		return nil, answer(err)
	}
	return &sandgatev1.AttachResponse{}, nil
}

// SendParts implements NodeServiceServer.
func (s *Service) SendParts(in grpc.ClientStreamingServer[sandgatev1.SendPartsRequest, sandgatev1.SendPartsResponse]) error {
	c, err := s.carrier(in.Context())
	if err != nil {
		return err
	}
	first, err := in.Recv()
	if err != nil || first.GetStream() == nil {
		return status.Error(codes.InvalidArgument, "the first request names the parts")
	}
	err = c.SendParts(in.Context(), streamOf(first.GetStream()), func() ([]byte, error) {
		m, err := in.Recv()
		if err != nil {
			return nil, err // io.EOF as well
		}
		if m.GetStream() != nil {
			return nil, errors.New("only the first request names the parts")
		}
		return m.GetPart(), nil
	})
	if err != nil {
		return answer(err)
	}
	return in.SendAndClose(&sandgatev1.SendPartsResponse{})
}

// FetchParts implements NodeServiceServer.
func (s *Service) FetchParts(r *sandgatev1.FetchPartsRequest, out grpc.ServerStreamingServer[sandgatev1.FetchPartsResponse]) error {
	c, err := s.carrier(out.Context())
	if err != nil {
		return err
	}
	parts, err := c.FetchParts(out.Context(), streamOf(r.GetStream()))
	if err != nil {
		return answer(err)
	}
	defer parts.Close()
	for {
		part, err := parts.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return answer(err)
		}
		if err := out.Send(&sandgatev1.FetchPartsResponse{Part: part}); err != nil {
			return err
		}
	}
}

// Deliver implements NodeServiceServer.
func (s *Service) Deliver(ctx context.Context, r *sandgatev1.DeliverRequest) (*sandgatev1.DeliverResponse, error) {
	c, err := s.carrier(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.Deliver(ctx, r.GetSession(), signedOf(r.GetDelivery())); err != nil {
		return nil, answer(err)
	}
	return &sandgatev1.DeliverResponse{}, nil
}

// Judge implements NodeServiceServer.
func (s *Service) Judge(ctx context.Context, r *sandgatev1.JudgeRequest) (*sandgatev1.JudgeResponse, error) {
	c, err := s.carrier(ctx)
	if err != nil {
		return nil, err
	}
	var j Judgement
	switch x := r.GetJudgement().(type) {
	case *sandgatev1.JudgeRequest_Verdict:
		v := signedOf(x.Verdict)
		j.Verdict = &v
	case *sandgatev1.JudgeRequest_Refusal:
		v := signedOf(x.Refusal)
		j.Refusal = &v
	}
	if err := c.Judge(ctx, r.GetTrial(), j); err != nil {
		return nil, answer(err)
	}
	return &sandgatev1.JudgeResponse{}, nil
}
