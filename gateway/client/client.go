// Package client dials a gateway with a party's kit and turns its errors back
// into words for a person.
package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/home"
)

// Client is one party's connection. It is safe for concurrent use.
type Client struct {
	Operator   sandgatev1.OperatorServiceClient
	Policy     sandgatev1.PolicyServiceClient
	Department sandgatev1.DepartmentServiceClient
	Regulator  sandgatev1.RegulatorServiceClient
	Product    sandgatev1.ProductServiceClient
	Statement  sandgatev1.StatementServiceClient
	Licence    sandgatev1.LicenceServiceClient
	Desk       sandgatev1.DeskServiceClient
	Catalogue  sandgatev1.CatalogueServiceClient
	Risk       sandgatev1.RiskServiceClient
	Keys       sandgatev1.KeyServiceClient
	Witness    sandgatev1.WitnessServiceClient
	// auto:
	Supervision sandgatev1.SupervisionServiceClient

	Verify     sandgatev1.VerificationServiceClient
	Model      sandgatev1.ModelServiceClient
	Twin       sandgatev1.TwinServiceClient
	Relations  sandgatev1.RelationsServiceClient
	Round      sandgatev1.RoundServiceClient
	Training   sandgatev1.TrainingServiceClient
	Node       sandgatev1.NodeServiceClient
	Operations longrunningpb.OperationsClient
	conn       *grpc.ClientConn
	signer     func() (*Signer, error)
}

// Dial connects with a kit, whose key signs what the party asks for. server
// overrides the kit's address when not empty; with sets up the signer.
func Dial(kit *home.Kit, server string, with ...func(*Signer)) (*Client, error) {
	conf, err := kit.TLS()
	if err != nil {
		return nil, err
	}
	if server == "" {
		server = kit.Server
	}
	if server == "" {
		return nil, texts.Errorf("no gateway address: the kit names none; pass --server HOST:PORT")
	}
	conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(credentials.NewTLS(conf)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		return nil, texts.Errorf("failed to dial gateway: %w", err)
	}
	c := &Client{
		Policy:     sandgatev1.NewPolicyServiceClient(conn),
		Product:    sandgatev1.NewProductServiceClient(conn),
		Statement:  sandgatev1.NewStatementServiceClient(conn),
		Licence:    sandgatev1.NewLicenceServiceClient(conn),
		Desk:       sandgatev1.NewDeskServiceClient(conn),
		Catalogue:  sandgatev1.NewCatalogueServiceClient(conn),
		Department: sandgatev1.NewDepartmentServiceClient(conn), Regulator: sandgatev1.NewRegulatorServiceClient(conn), Risk: sandgatev1.NewRiskServiceClient(conn),
		Keys:    sandgatev1.NewKeyServiceClient(conn),
		Witness: sandgatev1.NewWitnessServiceClient(conn),
		// auto:
		Supervision: sandgatev1.NewSupervisionServiceClient(conn),

		Verify:     sandgatev1.NewVerificationServiceClient(conn),
		Model:      sandgatev1.NewModelServiceClient(conn),
		Operations: longrunningpb.NewOperationsClient(conn), conn: conn,
	}
	// The key is read when something is to be signed: looking needs none.
	c.signer = sync.OnceValues(func() (*Signer, error) {
		s, err := SignerOf(kit)
		if err != nil {
			return nil, err
		}
		for _, w := range with {
			w(s)
		}
		return s, nil
	})
	c.Operations, c.Keys, c.Risk = signingOperations{c.Operations, c}, signingKeys{c.Keys, c}, signingRisk{c.Risk, c}
	c.Verify = signingVerification{c.Verify, c}
	c.Model = signingModel{c.Model, c}
	c.Twin = signingTwin{sandgatev1.NewTwinServiceClient(conn), c}
	c.Relations = signingRelations{sandgatev1.NewRelationsServiceClient(conn), c}
	c.Node = sandgatev1.NewNodeServiceClient(conn)
	c.Round = signingRound{sandgatev1.NewRoundServiceClient(conn), c}
	c.Training = signingTraining{sandgatev1.NewTrainingServiceClient(conn), c}
	c.Operator = signing{sandgatev1.NewOperatorServiceClient(conn), c}
	return c, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Run submits a query and waits for its release.
func (c *Client) Run(ctx context.Context, req *sandgatev1.SubmitJobRequest) (*sandgatev1.Release, error) {
	return c.Follow(ctx, req, nil)
}

// queueLook is the interval of looks at the queue.
const queueLook = time.Second

// Follow is Run that tells of the job: once when it is accepted, and every second
// while it waits in the queue.
func (c *Client) Follow(ctx context.Context, req *sandgatev1.SubmitJobRequest, told func(*sandgatev1.Job)) (*sandgatev1.Release, error) {
	op, err := c.Operator.SubmitJob(ctx, req)
	if err != nil {
		return nil, err
	}
	for !op.GetDone() {
		span := 30 * time.Second
		if told != nil {
			job := &sandgatev1.Job{}
			if err := op.GetMetadata().UnmarshalTo(job); err != nil {
				return nil, texts.Errorf("failed to read job: %w", err)
			}
			told(job)
			if job.GetState() == sandgatev1.Job_STATE_QUEUED {
				span = queueLook
			}
		}
		if op, err = c.Operations.WaitOperation(ctx, &longrunningpb.WaitOperationRequest{Name: op.GetName(), Timeout: durationpb.New(span)}); err != nil {
			return nil, err
		}
	}
	if e := op.GetError(); e != nil {
		return nil, status.ErrorProto(e)
	}
	rel := &sandgatev1.Release{}
	if err := op.GetResponse().UnmarshalTo(rel); err != nil {
		return nil, texts.Errorf("failed to read release: %w", err)
	}
	return rel, nil
}

// Cancel ends a queued or running job; its price stays debited.
func (c *Client) Cancel(ctx context.Context, job string) error {
	_, err := c.Operations.CancelOperation(ctx, &longrunningpb.CancelOperationRequest{Name: "operations/" + strings.TrimPrefix(job, "jobs/")})
	return err
}

// AllowEmpty has Ingest take a file without rows.
func AllowEmpty(h *sandgatev1.IngestHeader) { h.AllowEmpty = true }

// Ingest streams a file and returns its snapshot.
func (c *Client) Ingest(ctx context.Context, dataset, format string, r io.Reader, progress func(rows int64), with ...func(*sandgatev1.IngestHeader)) (*sandgatev1.Snapshot, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Department.IngestSnapshot(ctx)
	if err != nil {
		return nil, err
	}
	head := &sandgatev1.IngestHeader{Dataset: dataset, Format: format}
	for _, w := range with {
		w(head)
	}
	if err := stream.Send(&sandgatev1.IngestSnapshotRequest{Part: &sandgatev1.IngestSnapshotRequest_Header{Header: head}}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	readFailed := make(chan error, 1)
	go func() {
		err := c.sendFile(stream, head, r)
		if err != nil {
			// Half a file must not be taken for a whole one.
			cancel()
		}
		readFailed <- err
	}()
	for {
		msg, err := stream.Recv()
		if err != nil {
			select {
			case ferr := <-readFailed:
				if ferr != nil {
					return nil, ferr
				}
			default:
			}
			if errors.Is(err, io.EOF) {
				return nil, texts.Errorf("the gateway ended the stream without a snapshot")
			}
			return nil, err
		}
		if progress != nil {
			progress(msg.GetRowsRead())
		}
		if s := msg.GetSnapshot(); s != nil {
			return s, nil
		}
	}
}

// sendFile sends a file and, behind it, the party's signature over what was sent.
func (c *Client) sendFile(stream grpc.BidiStreamingClient[sandgatev1.IngestSnapshotRequest, sandgatev1.IngestSnapshotResponse], head *sandgatev1.IngestHeader, r io.Reader) error {
	buf := make([]byte, 256<<10)
	sum := sha256.New()
	for {
		n, err := r.Read(buf)
		if n > 0 {
			sum.Write(buf[:n])
			part := &sandgatev1.IngestSnapshotRequest_Chunk{Chunk: append([]byte(nil), buf[:n]...)}
			if serr := stream.Send(&sandgatev1.IngestSnapshotRequest{Part: part}); serr != nil {
				return nil // the gateway has ended the stream; Recv says why
			}
		}
		if errors.Is(err, io.EOF) {
			signature, err := c.signFile(head, sum.Sum(nil))
			if err != nil {
				return err
			}
			if err := stream.Send(&sandgatev1.IngestSnapshotRequest{Part: &sandgatev1.IngestSnapshotRequest_Signature{Signature: signature}}); err != nil {
				return nil // the gateway has ended the stream; Recv says why
			}
			return stream.CloseSend()
		}
		if err != nil {
			return texts.Errorf("failed to read the file: %w", err)
		}
	}
}

// Problem is a gateway's error, ready to be shown.
type Problem struct {
	Code    codes.Code
	Reason  string // ErrorInfo reason
	Job     string
	Reasons []*sandgatev1.Reason
	zh, en  string
}

func (p *Problem) Error() string { return p.Text("en") }

// Text is the message in lang.
func (p *Problem) Text(lang string) string {
	if lang == "zh" && p.zh != "" {
		return p.zh
	}
	return p.en
}

// ProblemOf reads an error's details; nil when err carries no gRPC status.
func ProblemOf(err error) *Problem {
	st, ok := status.FromError(err)
	if !ok || err == nil {
		return nil
	}
	p := &Problem{Code: st.Code(), en: st.Message()}
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			p.Reason = d.GetReason()
		case *errdetails.LocalizedMessage:
			p.zh = d.GetMessage()
		case *sandgatev1.RefusalDetail:
			p.Job, p.Reasons = d.GetJob(), d.GetReasons()
		}
	}
	return p
}
