package engine

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/sandbox"
)

// IngestJob is the payload of an ingest job. Its files are the raw bytes, the
// snapshot to write, and IngestSpares empty scratch files.
type IngestJob struct {
	Format ingest.Format `json:"format"`
	Spec   ingest.Spec   `json:"spec"`
	Keys   ingest.Keys   `json:"keys"`
}

// IngestSpares is how many nameless scratch files an ingest worker is given for
// the engine's own temporary databases and logs.
const IngestSpares = 6

// IngestMessage is one frame of an ingest worker: exactly one field is set.
type IngestMessage struct {
	Progress int64           `json:"progress,omitempty"`
	Refusal  *ingest.Refusal `json:"refusal,omitempty"`
	Summary  *ingest.Summary `json:"summary,omitempty"`
}

// Refused is a file that was not taken. It names columns of the catalogue and
// positions in the file, never a value.
type Refused struct {
	ingest.Refusal
	Name string // catalogue name of the column concerned, if one is
}

func (r *Refused) Error() string {
	text := fmt.Sprintf("file refused: %s", r.Code)
	if r.Detail != "" {
		text += fmt.Sprintf(" (first: %s)", r.Detail)
	}
	if r.Name != "" {
		text += fmt.Sprintf(", column %q", r.Name)
	}
	if r.Field > 0 {
		text += fmt.Sprintf(", field %d", r.Field)
	}
	if r.Row > 0 {
		text += fmt.Sprintf(", row %d", r.Row)
	}
	if r.Count > 0 {
		text += fmt.Sprintf(", %d of %d", r.Count, r.Rows)
	}
	return text
}

// IngestOptions are what an ingest takes beside its data.
type IngestOptions struct {
	Format   ingest.Format
	Spec     ingest.Spec
	Keys     ingest.Keys
	Created  time.Time // recorded in the manifest
	Limits   sandbox.Limits
	Progress func(rows int64) // may be nil
}

// IngestVia streams raw into an ingest worker and, when the worker took the file,
// puts the new snapshot in force. The error is *Refused when the file does not
// match the catalogue, *sandbox.ErrKilled when the worker died. On any error the
// previous snapshot stays in force and nothing is left behind.
//
// The raw rows, the engine's scratch files and the new snapshot are held in memory
// only, within the store's limit: a file that does not fit is *TooLarge. A store
// with a volume for large snapshots holds them there instead, without a name, but for
// those of a confined data set: one that does not fit into memory is *Confined. A
// Parquet file is read out of order; unless raw is a regular file it is first
// spooled as a whole.
func IngestVia(ctx context.Context, pool *sandbox.Pool, store *Store, raw io.Reader, opt IngestOptions) (Manifest, error) {
	m, err := newManifest(opt)
	if err != nil {
		return m, err
	}
	payload, err := json.Marshal(IngestJob{Format: opt.Format, Spec: opt.Spec, Keys: opt.Keys})
	if err != nil {
		return m, fmt.Errorf("failed to encode job: %w", err)
	}
	account := &account{memory: store.memory, volume: store.volume}
	if store.kept(opt.Spec.Dataset) {
		account.volume, account.kept = nil, opt.Spec.Dataset
	}
	defer account.end()
	input, copied, err := openInput(account, raw, opt.Format)
	if err != nil {
		return m, err
	}
	defer input.Close()
	files, err := outputs(account)
	if err != nil {
		return m, err
	}
	defer func() { closeAll(files) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := account.watch(files, cancel)
	var final IngestMessage
	err = pool.Run(ctx, sandbox.Job{
		Handler: IngestHandler, Payload: payload, Files: append([]*os.File{input}, files...), Limits: opt.Limits,
	}, func(frame []byte) error {
		var msg IngestMessage
		if err := json.Unmarshal(frame, &msg); err != nil || final.Refusal != nil || final.Summary != nil {
			return &sandbox.ErrKilled{Cause: sandbox.CauseProtocol}
		}
		if msg.Refusal == nil && msg.Summary == nil {
			if opt.Progress != nil && msg.Progress > 0 {
				opt.Progress(msg.Progress)
			}
			return nil
		}
		final = msg
		return nil
	})
	if short := watched(); short != nil {
		return m, short
	}
	if err != nil {
		return m, err
	}
	if final.Summary != nil {
		// A reader that failed half way must not pass for the end of the file.
		if err := copied(); err != nil {
			return m, fmt.Errorf("failed to read raw file: %w", err)
		}
	}
	if r := final.Refusal; r != nil {
		if !r.Valid(len(opt.Spec.Columns)) {
			return m, &sandbox.ErrKilled{Cause: sandbox.CauseProtocol}
		}
		refused := &Refused{Refusal: *r}
		if r.Column >= 0 {
			refused.Name = opt.Spec.Columns[r.Column].Name
		}
		return m, refused
	}
	if err := m.complete(final.Summary, opt.Spec, opt.Keys.Consent); err != nil {
		return m, err
	}
	data, err := account.freeze(files[0])
	closeAll(files[1:])
	files = nil
	if err != nil {
		return m, err
	}
	m, fresh, err := store.commit(m, data)
	if err != nil || !fresh {
		_ = data.Close()
		return m, err
	}
	// The first job on the new snapshot finds it in memory already.
	account.handOver(m.Snapshot, data)
	return m, nil
}

func newManifest(opt IngestOptions) (Manifest, error) {
	stored, err := opt.Spec.StoredColumns()
	if err != nil {
		return Manifest{}, err
	}
	hash, err := opt.Spec.Hash()
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{Dataset: opt.Spec.Dataset, Created: opt.Created.UTC(), Spec: hash, Public: opt.Spec.UnitColumn == "", OneRow: opt.Spec.OneRow}
	for _, c := range stored {
		m.Columns = append(m.Columns, ManifestColumn{Stored: c})
	}
	return m, nil
}

// complete fills in what the worker counted, after checking that it can be true.
// The content's hash does not cover the subjects of consents; their key tells files
// apart that differ in them alone.
func (m *Manifest) complete(s *ingest.Summary, spec ingest.Spec, consent []byte) error {
	if s == nil || s.Rows < 0 || s.Bad < 0 || s.Units < 0 || s.Units > s.Rows || len(s.Content) != 32 ||
		len(s.Clamped) != len(spec.Columns) || len(s.Others) != len(spec.Columns) ||
		m.OneRow && s.Units != s.Rows || m.Public && s.Units != 0 {
		return &sandbox.ErrKilled{Cause: sandbox.CauseProtocol}
	}
	if !s.Generalised.Fits(spec) {
		return &sandbox.ErrKilled{Cause: sandbox.CauseProtocol}
	}
	m.Generalised = s.Generalised
	m.Rows, m.Bad, m.BadBy, m.Units, m.MaxRank = s.Rows, s.Bad, s.BadBy, s.Units, s.MaxRank
	for i := range m.Columns {
		source := m.Columns[i].Source()
		m.Columns[i].Clamped, m.Columns[i].Others = s.Clamped[source], s.Others[source]
	}
	h := sha256.New()
	fmt.Fprintf(h, "sandgate snapshot v1\n%q %s %d %d ", m.Dataset, m.Spec, m.Rows, m.Units)
	_, _ = h.Write(s.Content)
	if spec.Consent {
		mac := hmac.New(sha256.New, consent)
		mac.Write([]byte("sandgate/snapshot-subjects/v1"))
		_, _ = h.Write(mac.Sum(nil))
	}
	m.Snapshot = hex.EncodeToString(h.Sum(nil))
	return nil
}

// outputs creates the snapshot file and the scratch files.
func outputs(a *account) ([]*os.File, error) {
	var files []*os.File
	for range 1 + IngestSpares {
		f, err := a.file()
		if err != nil {
			closeAll(files)
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// openInput returns the descriptor a worker reads raw from and a function that
// waits for the copy behind it and returns the error of raw, if it had one.
func openInput(account *account, raw io.Reader, format ingest.Format) (*os.File, func() error, error) {
	done := func() error { return nil }
	if f, ok := raw.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			again, err := reopen([]*os.File{f})
			if err != nil {
				return nil, nil, err
			}
			return again[0], done, nil
		}
	}
	if format == ingest.Parquet {
		f, err := account.spool(raw)
		return f, done, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("failed to open pipe: %w", err)
	}
	widen(w)
	result := make(chan error, 1)
	go func() {
		_, err := io.Copy(sinkWriter{w}, raw)
		if errors.Is(err, errSink) {
			err = nil // the worker stopped reading and says why itself
		}
		result <- err
		_ = w.Close()
	}()
	return r, func() error { return <-result }, nil
}

// pipeBytes is what an unprivileged process may have under way in a pipe unless the
// host says otherwise (fs.pipe-max-size): with the usual 64 KiB reader and writer wake
// each other for every few hundred rows.
const pipeBytes = 1 << 20

// widen enlarges a pipe where the host allows; a narrow one works, too.
func widen(f *os.File) {
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeBytes) })
	}
}

// errSink marks errors of the pipe: the worker stopped reading.
var errSink = errors.New("worker closed its input")

type sinkWriter struct{ w *os.File }

func (s sinkWriter) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err != nil {
		return n, errSink
	}
	return n, nil
}
