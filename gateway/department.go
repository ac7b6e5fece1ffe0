package gateway

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sandgate/sandgate/compute/engine"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
)

type policyService struct {
	sandgatev1.UnimplementedPolicyServiceServer
	d *Domain
}

// warnings are those on the products of an envelope that was taken.
func (s *policyService) warnings(envelope []byte) (out []policies.Reason) {
	_, payload, err := policies.ParseEnvelope(envelope)
	if err != nil {
		return nil
	}
	docs, err := policies.ParseBundle(payload)
	if err != nil {
		return nil
	}
	s.d.log.View(func() {
		for _, doc := range docs {
			if p, ok := doc.Body.(*policies.Product); ok && p.Predicate != nil {
				out = append(out, s.d.state.Book().PredicateWarnings(*p.Predicate)...)
			}
		}
	})
	return out
}

func (s *policyService) ApplyPolicy(ctx context.Context, req *sandgatev1.ApplyPolicyRequest) (*sandgatev1.ApplyPolicyResponse, error) {
	if err := s.d.Authorize(caller(ctx), policies.ActApplyPolicy, policies.Resource{}); err != nil {
		return nil, err
	}
	kinds, receipt, err := s.d.ApplyPolicy(ctx, caller(ctx), req.GetEnvelope(), req.GetValidateOnly())
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.ApplyPolicyResponse{}
	for _, k := range kinds {
		out.Kinds = append(out.Kinds, string(k))
	}
	out.Warnings = reasonsOf(s.warnings(req.GetEnvelope()))
	if !req.GetValidateOnly() {
		out.Receipt = receiptOf(receipt)
	}
	return out, nil
}

type departmentService struct {
	sandgatev1.UnimplementedDepartmentServiceServer
	d *Domain
}

// maxChunk caps one message of a file stream.
const maxChunk = 1 << 20

func (s *departmentService) IngestSnapshot(stream grpc.BidiStreamingServer[sandgatev1.IngestSnapshotRequest, sandgatev1.IngestSnapshotResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	head := first.GetHeader()
	if head == nil {
		return invalid("HEADER_MISSING", "第一条消息必须是 header", "the first message must be the header")
	}
	pr, pw := io.Pipe()
	defer pr.Close()
	ctx, file := withFile(stream.Context(), head)
	go receive(stream, pw, file)
	// gRPC streams take one sender at a time; progress comes from another
	// goroutine than the final answer.
	var mu sync.Mutex
	var last time.Time
	progress := func(rows int64) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) < 200*time.Millisecond {
			return
		}
		last = time.Now()
		// A lost progress message loses nothing: the ingest goes on, and a gone
		// client is noticed by the next Recv.
		_ = stream.Send(&sandgatev1.IngestSnapshotResponse{RowsRead: rows})
	}
	m, receipt, err := s.d.Ingest(ctx, caller(ctx), head.GetDataset(), head.GetFormat(), head.GetAllowEmpty(), pr, progress)
	if err != nil {
		return err
	}
	snap := snapshotOf(head.GetDataset(), m)
	snap.Receipt = receiptOf(receipt)
	mu.Lock()
	defer mu.Unlock()
	return stream.Send(&sandgatev1.IngestSnapshotResponse{RowsRead: m.Rows + m.Bad, Snapshot: snap})
}

// receive copies the chunks of a stream into a pipe. A stream that breaks off
// breaks the pipe with an error, so that half a file is never taken for a whole.
func receive(stream grpc.BidiStreamingServer[sandgatev1.IngestSnapshotRequest, sandgatev1.IngestSnapshotResponse], pw *io.PipeWriter, file *signedFile) {
	for {
		msg, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			// A file is whole only with its department's signature under it.
			pw.CloseWithError(file.end())
			return
		}
		if err != nil {
			pw.CloseWithError(err)
			return
		}
		if s := msg.GetSignature(); s != nil {
			file.signature = s
			continue
		}
		chunk := msg.GetChunk()
		file.sum.Write(chunk)
		if len(chunk) > maxChunk {
			pw.CloseWithError(invalid("CHUNK_TOO_LARGE", "单条消息超过 1 MiB", "a chunk is larger than 1 MiB"))
			return
		}
		if _, err := pw.Write(chunk); err != nil {
			return
		}
	}
}

func snapshotOf(dataset string, m engine.Manifest) *sandgatev1.Snapshot {
	var clamped int64
	for _, c := range m.Columns {
		clamped += c.Clamped
	}
	return &sandgatev1.Snapshot{
		Name: "datasets/" + dataset + "/snapshots/" + m.Snapshot, Rows: m.Rows, Units: m.Units, BadRows: m.Bad,
		ClampedValues: clamped, CreateTime: timestamppb.New(m.Created),
	}
}

func (s *departmentService) ListSnapshots(ctx context.Context, req *sandgatev1.ListSnapshotsRequest) (*sandgatev1.ListSnapshotsResponse, error) {
	if err := s.d.Authorize(caller(ctx), policies.ActReadSnapshot, policies.Resource{Department: caller(ctx)}); err != nil {
		return nil, err
	}
	var ids []string
	datasets := map[string]string{}
	s.d.log.View(func() {
		b := s.d.state.Book()
		for _, id := range b.Datasets() {
			e, _ := b.Dataset(id)
			snap, ok := s.d.state.Snapshot(id)
			if ok && b.Authorize(caller(ctx), policies.ActReadSnapshot, policies.Resource{Department: e.Department}) == nil {
				ids = append(ids, snap.Snapshot)
				datasets[snap.Snapshot] = id
			}
		}
	})
	page, next, err := pageOf(ids, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.ListSnapshotsResponse{NextPageToken: next}
	for _, id := range page {
		m, err := s.d.store.Manifest(id)
		if err != nil {
			return nil, err
		}
		out.Snapshots = append(out.Snapshots, snapshotOf(datasets[id], m))
	}
	return out, nil
}
