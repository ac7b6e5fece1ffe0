package node

import (
	"context"
	"errors"
	"io"

	"github.com/sandgate/sandgate/compute/federate"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"google.golang.org/grpc"
)

// Remote is the carrier of a node that has dialled the hub's NodeService.
func Remote(conn grpc.ClientConnInterface) Carrier {
	return &remote{sandgatev1.NewNodeServiceClient(conn)}
}

type remote struct{ c sandgatev1.NodeServiceClient }

// frame is what a message may have around it on the wire, in bytes.
const frame = 4096

// Attend implements Carrier.
func (r *remote) Attend(ctx context.Context, take func(Event) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	in, err := r.c.Attend(ctx, &sandgatev1.AttendRequest{}, grpc.MaxCallRecvMsgSize(federate.MaxMessage+federate.MaxBrief+frame))
	if err != nil {
		return err
	}
	for {
		m, err := in.Recv()
		if err != nil {
			return err
		}
		e := Event{Session: m.GetSession()}
		switch x := m.GetEvent().(type) {
		case *sandgatev1.AttendResponse_Proposal:
			s := signedOf(x.Proposal)
			e.Proposal, e.Brief = &s, m.GetBrief()
		case *sandgatev1.AttendResponse_Message:
			s := signedOf(x.Message)
			e.Message = &s
		case *sandgatev1.AttendResponse_Attachment:
			e.Attachment = &federate.Attachment{From: x.Attachment.GetFrom(), To: x.Attachment.GetTo(), Bytes: x.Attachment.GetContent()}
		case *sandgatev1.AttendResponse_Trial:
			s := signedOf(x.Trial)
			e.Trial, e.Brief = &s, m.GetBrief()
		default:
			continue // of a later version
		}
		if err := take(e); err != nil {
			return err
		}
	}
}

// Say implements Carrier.
func (r *remote) Say(ctx context.Context, session string, s federate.Signed) error {
	_, err := r.c.Say(ctx, &sandgatev1.SayRequest{Session: session, Message: textOf(&s)})
	return err
}

// Attach implements Carrier.
func (r *remote) Attach(ctx context.Context, session string, a federate.Attachment) error {
	_, err := r.c.Attach(ctx, &sandgatev1.AttachRequest{Session: session, Attachment: &sandgatev1.Attachment{From: a.From, To: a.To, Content: a.Bytes}})
	return err
}

// Deliver implements Carrier.
func (r *remote) Deliver(ctx context.Context, session string, s federate.Signed) error {
	_, err := r.c.Deliver(ctx, &sandgatev1.DeliverRequest{Session: session, Delivery: textOf(&s)})
	return err
}

// Judge implements Carrier.
func (r *remote) Judge(ctx context.Context, trial string, j Judgement) error {
	m := &sandgatev1.JudgeRequest{Trial: trial}
	switch {
	case j.Verdict != nil:
		m.Judgement = &sandgatev1.JudgeRequest_Verdict{Verdict: textOf(j.Verdict)}
	case j.Refusal != nil:
		m.Judgement = &sandgatev1.JudgeRequest_Refusal{Refusal: textOf(j.Refusal)}
	}
	_, err := r.c.Judge(ctx, m)
	return err
}

// nameOf is the name of a stream on the wire.
func nameOf(s Stream) *sandgatev1.PartStream {
	return &sandgatev1.PartStream{Session: s.Session, From: s.From, Share: s.Share}
}

// SendParts implements Carrier.
func (r *remote) SendParts(ctx context.Context, s Stream, next func() ([]byte, error)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	out, err := r.c.SendParts(ctx)
	if err != nil {
		return err
	}
	err = out.Send(&sandgatev1.SendPartsRequest{Content: &sandgatev1.SendPartsRequest_Stream{Stream: nameOf(s)}})
	for err == nil {
		var part []byte
		if part, err = next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		err = out.Send(&sandgatev1.SendPartsRequest{Content: &sandgatev1.SendPartsRequest_Part{Part: part}})
	}
	_, err = out.CloseAndRecv() // says as well why Send broke off
	return err
}

// FetchParts implements Carrier.
func (r *remote) FetchParts(ctx context.Context, s Stream) (Parts, error) {
	ctx, stop := context.WithCancel(ctx)
	in, err := r.c.FetchParts(ctx, &sandgatev1.FetchPartsRequest{Stream: nameOf(s)})
	if err != nil {
		stop()
		return nil, err
	}
	return &received{in: in, stop: stop}, nil
}

type received struct {
	in   grpc.ServerStreamingClient[sandgatev1.FetchPartsResponse]
	stop func()
}

// Next implements Parts.
func (r *received) Next() ([]byte, error) {
	m, err := r.in.Recv()
	return m.GetPart(), err
}

// Close implements Parts.
func (r *received) Close() { r.stop() }
