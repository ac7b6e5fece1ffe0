package gateway

import (
	"archive/tar"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"google.golang.org/grpc"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/verify"
	"github.com/sandgate/sandgate/policies"
)

type regulatorService struct {
	sandgatev1.UnimplementedRegulatorServiceServer
	d *Domain
}

func (s *regulatorService) allow(ctx context.Context, act policies.Action) error {
	return s.d.Authorize(caller(ctx), act, policies.Resource{})
}

func (s *regulatorService) ListEntries(ctx context.Context, req *sandgatev1.ListEntriesRequest) (*sandgatev1.ListEntriesResponse, error) {
	if err := s.allow(ctx, policies.ActReadLedger); err != nil {
		return nil, err
	}
	size := req.GetPageSize()
	switch {
	case size < 0:
		return nil, invalid("PAGE_SIZE", "page_size 不能为负", "page_size must not be negative")
	case size == 0:
		size = 50
	case size > 1000:
		size = 1000
	}
	end := s.d.log.Size()
	start := uint64(max(0, req.GetStart()))
	if req.GetStart() < 0 {
		start = end - min(end, uint64(-req.GetStart()))
	}
	if t := req.GetPageToken(); t != "" {
		raw, err := base64.RawURLEncoding.DecodeString(t)
		n, perr := strconv.ParseUint(string(raw), 10, 64)
		if err != nil || perr != nil {
			return nil, invalid("PAGE_TOKEN", "page_token 无效", "page_token is not one of ours")
		}
		start = n
	}
	out := &sandgatev1.ListEntriesResponse{}
	for seq := start; seq < end && len(out.Entries) < int(size); seq++ {
		text, err := s.d.log.Entry(seq)
		if err != nil {
			return nil, err
		}
		out.Entries = append(out.Entries, &sandgatev1.LedgerEntry{Seq: seq, Json: text})
	}
	if next := start + uint64(len(out.Entries)); next < end {
		out.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatUint(next, 10)))
	}
	return out, nil
}

func notInLog(err error) error {
	if errors.Is(err, ledger.ErrNotInLog) {
		return invalid("NOT_FOUND", "账本中没有这个序号", "the ledger has no such entry")
	}
	return err
}

func (s *regulatorService) GetEntry(ctx context.Context, req *sandgatev1.GetEntryRequest) (*sandgatev1.LedgerEntry, error) {
	if err := s.allow(ctx, policies.ActReadLedger); err != nil {
		return nil, err
	}
	text, err := s.d.log.Entry(req.GetSeq())
	if err != nil {
		return nil, notInLog(err)
	}
	return &sandgatev1.LedgerEntry{Seq: req.GetSeq(), Json: text}, nil
}

func (s *regulatorService) ProveEntry(ctx context.Context, req *sandgatev1.ProveEntryRequest) (*sandgatev1.EntryProof, error) {
	if err := s.allow(ctx, policies.ActReadLedger); err != nil {
		return nil, err
	}
	if req.GetSeq() >= s.d.log.Size() {
		return nil, notInLog(ledger.ErrNotInLog)
	}
	if _, err := s.d.log.WaitPublished(ctx, req.GetSeq()); err != nil {
		return nil, err
	}
	proof, err := s.d.log.Prove(ctx, req.GetSeq())
	if err != nil {
		return nil, notInLog(err)
	}
	text, err := json.Marshal(proof)
	if err != nil {
		return nil, err
	}
	return &sandgatev1.EntryProof{Json: text}, nil
}

// CopyLedger streams a consistent copy of the log: the newest checkpoint, exactly
// the tiles under it, and the write-ahead file.
func (s *regulatorService) CopyLedger(_ *sandgatev1.CopyLedgerRequest, stream grpc.ServerStreamingServer[sandgatev1.CopyLedgerResponse]) error {
	ctx := stream.Context()
	if err := s.allow(ctx, policies.ActCopyLedger); err != nil {
		return err
	}
	if n := s.d.log.Size(); n > 0 {
		// Of a disputed ledger a copy is what the regulator needs most.
		if _, err := s.d.log.WaitPublished(ctx, n-1); err != nil && !errors.Is(err, ledger.ErrDisputed) {
			return err
		}
		s.d.copyWitnessed(ctx, n-1)
	}
	tmp, err := os.MkdirTemp("", "sandgate-copy-")
	if err != nil {
		return fmt.Errorf("failed to create directory: %w", err)
	}
	defer os.RemoveAll(tmp)
	root := filepath.Join(tmp, "ledger")
	if err := s.copyLog(ctx, root); err != nil {
		return fmt.Errorf("failed to copy the ledger: %w", err)
	}
	w := tar.NewWriter(chunks{stream})
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return addFile(w, path, filepath.ToSlash(name))
	})
	return errors.Join(err, w.Close())
}

// copyLog copies the log as the newest checkpoint has it. Where the log's key is
// replaced between the look at the keys and that at the checkpoint, it looks again.
func (s *regulatorService) copyLog(ctx context.Context, to string) (err error) {
	for range 2 {
		var keys *evidence.Chain
		s.d.log.View(func() { keys = s.d.state.LogKeys() })
		if _, err = verify.Copy(ctx, s.d.home.Ledger(), to, keys); err == nil {
			return nil
		}
	}
	return err
}

func addFile(w *tar.Writer, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return err
	}
	_, err = io.CopyN(w, f, info.Size())
	return err
}

type chunks struct {
	stream grpc.ServerStreamingServer[sandgatev1.CopyLedgerResponse]
}

func (c chunks) Write(p []byte) (int, error) {
	for n := 0; n < len(p); n += maxChunk {
		part := p[n:min(len(p), n+maxChunk)]
		if err := c.stream.Send(&sandgatev1.CopyLedgerResponse{Chunk: append([]byte(nil), part...)}); err != nil {
			return n, err
		}
	}
	return len(p), nil
}
