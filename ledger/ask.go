package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/ledger/internal/tilefs"
	"github.com/sandgate/sandgate/ledger/witness"
)

// maxAnswer is the longest answer of a witness that is read, in bytes.
const maxAnswer = 16 << 10

// asker is the client side of C2SP tlog-witness.
type asker struct {
	http *http.Client
	dir  string // of the log
}

func newAsker(dir string) asker {
	return asker{dir: dir, http: &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
			TLSHandshakeTimeout: 2 * time.Second, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
		},
		// The policy names the place; a witness does not send the log elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// outcome of asking one witness. At most one of answer, refused and ahead is set.
type outcome struct {
	size    int64  // it stands at, as far as is known
	answer  []byte // signature lines that hold
	refused error  // it holds another history
	ahead   bool   // it has cosigned a later checkpoint of this log
	problem string // why there is no answer, in names and codes only
}

// ask submits checkpoint p to a witness that is believed to stand at old. limit is
// the most entries this log can have had signed: a witness that knows more knows
// another history.
func (a asker) ask(ctx context.Context, p published, old int64, w witness.Party, limit int64) outcome {
	tree, err := checkpointTree(p.raw)
	if err != nil {
		return outcome{size: old, problem: "the checkpoint is malformed"}
	}
	if old > tree.N {
		old = 0 // it tells where it stands now
	}
	for range 4 {
		req := witness.Request{Old: old, Checkpoint: p.raw}
		if old > 0 && old < tree.N {
			hashes := torchwood.TileHashReaderWithContext(ctx, tree, tilefs.Reader{FS: os.DirFS(a.dir)})
			if req.Proof, err = tlog.ProveTree(tree.N, old, hashes); err != nil {
				return outcome{size: old, problem: "no consistency proof could be made from the tiles"}
			}
		}
		status, kind, body, err := a.post(ctx, w.URL, req.Encode())
		if err != nil {
			return outcome{size: old, problem: silence(err)}
		}
		switch {
		case status == http.StatusOK:
			if _, ok := witness.Add(p.raw, body, w.Key); !ok {
				return outcome{size: old, problem: "its answer holds no cosignature by its key"}
			}
			return outcome{size: tree.N, answer: body}
		case status == http.StatusConflict && kind == "text/x.tlog.size":
			size, err := strconv.ParseInt(strings.TrimSuffix(string(body), "\n"), 10, 64)
			if err != nil || size < 0 {
				return outcome{size: old, problem: "its answer names no size"}
			}
			if size > limit {
				return outcome{size: size, refused: fmt.Errorf("it has cosigned %d entries, and this log has signed %d at most: an old copy was restored, bring back the newest", size, limit)}
			}
			if size > tree.N {
				return outcome{size: size, ahead: true}
			}
			old = size
		case status == http.StatusConflict:
			return outcome{size: old, refused: fmt.Errorf("it has cosigned another root over the same %d entries", tree.N)}
		case status == http.StatusUnprocessableEntity:
			return outcome{size: old, refused: fmt.Errorf("what it has cosigned, %d entries, is no part of this log's %d", old, tree.N)}
		case status == http.StatusNotFound:
			return outcome{size: old, problem: "it does not serve this log: add the log there with sandgate witness add"}
		case status == http.StatusForbidden:
			return outcome{size: old, problem: "it does not trust this log's key"}
		default:
			return outcome{size: old, problem: "it answered " + strconv.Itoa(status)}
		}
	}
	return outcome{size: old, problem: "its size changes with every request"}
}

func (a asker) post(ctx context.Context, prefix string, body []byte) (status int, kind string, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(prefix, "/")+"/add-checkpoint", bytes.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, resp.Header.Get("Content-Type"), answer, err
}

// silence says in one phrase why there was no answer.
func silence(err error) string {
	var dial *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "it did not answer in time"
	case errors.Is(err, context.Canceled):
		return "the request was given up"
	case errors.As(err, &dial) && dial.Op == "dial":
		return "it cannot be reached"
	}
	return "the connection broke off"
}
