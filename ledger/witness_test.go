package ledger

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/ledger/evidence"
)

// witness is a C2SP tlog-witness for one log that keeps its state in memory.
type witness struct {
	log    note.Verifier
	signer *torchwood.CosignatureSigner

	mu      sync.Mutex
	down    bool
	tree    tlog.Tree
	refused int
}

func startWitness(t *testing.T) (w *witness, policy []byte) {
	t.Helper()
	_, verifier := testKeys(t)
	signer, err := torchwood.NewCosignatureSigner("regulator.example/witness", ed25519.NewKeyFromSeed(seedOf(7)))
	if err != nil {
		t.Fatal(err)
	}
	w = &witness{log: verifier, signer: signer}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	return w, fmt.Appendf(nil, "witness regulator %s %s\nquorum regulator\n", signer.Verifier(), server.URL)
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil || w.down {
		http.Error(rw, "out of order", http.StatusServiceUnavailable)
		return
	}
	head, raw, _ := strings.Cut(string(body), "\n\n")
	lines := strings.Split(head, "\n")
	var old int64
	if _, err := fmt.Sscanf(lines[0], "old %d", &old); err != nil {
		http.Error(rw, "bad request", http.StatusBadRequest)
		return
	}
	cp, err := evidence.OpenCheckpoint([]byte(raw), w.log)
	if err != nil {
		http.Error(rw, "unknown signer", http.StatusForbidden)
		return
	}
	if old != w.tree.N {
		w.refused++
		rw.Header().Set("Content-Type", "text/x.tlog.size")
		rw.WriteHeader(http.StatusConflict)
		fmt.Fprintf(rw, "%d\n", w.tree.N)
		return
	}
	var proof tlog.TreeProof
	for _, line := range lines[1:] {
		h, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(h) != tlog.HashSize {
			http.Error(rw, "bad request", http.StatusBadRequest)
			return
		}
		proof = append(proof, tlog.Hash(h))
	}
	same := cp.N == w.tree.N && cp.Hash == w.tree.Hash
	if w.tree.N > 0 && !same && tlog.CheckTree(proof, cp.N, cp.Hash, w.tree.N, w.tree.Hash) != nil {
		w.refused++
		http.Error(rw, "inconsistent", http.StatusUnprocessableEntity)
		return
	}
	w.tree = cp.Tree
	signed, err := note.Sign(&note.Note{Text: cp.String()}, w.signer)
	if err != nil {
		http.Error(rw, "cannot sign", http.StatusInternalServerError)
		return
	}
	_, sigs, _ := strings.Cut(string(signed), "\n\n")
	io.WriteString(rw, sigs)
}

func (w *witness) set(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

func TestWitnessedCheckpoints(t *testing.T) {
	w, policy := startWitness(t)
	cfg := testConfig(t, t.TempDir())
	cfg.WitnessPolicy = policy
	l, m := mustOpen(t, cfg)
	ctx := context.Background()
	mustAppend(t, l, m, 1, 5, "")
	cp, err := l.WaitPublished(ctx, 4)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open(cp, note.VerifierList(w.signer.Verifier())); err != nil {
		t.Errorf("the published checkpoint is not cosigned: %v", err)
	}
	w.set(true)
	receipts := mustAppend(t, l, m, 1, 5, "") // durable all the same
	short, cancel := context.WithTimeout(ctx, 400*time.Millisecond)
	defer cancel()
	if _, err := l.WaitPublished(short, 9); !errors.Is(err, ErrNotPublished) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("published without the witness: %v", err)
	}
	if _, err := l.Prove(ctx, 9); !errors.Is(err, ErrNotPublished) {
		t.Errorf("proved without the witness: %v", err)
	}
	w.set(false)
	if _, err := l.WaitPublished(ctx, 9); err != nil {
		t.Error(err)
	}
	mustClose(t, l)
	mustVerify(t, cfg.Dir, receipts)

	cfg.Dir, cfg.GuardDir = filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "guard")
	cfg.WitnessPolicy = []byte("quorum nobody\n")
	if _, err := Open(ctx, cfg, newTally()); err == nil {
		t.Error("a policy that names an unknown witness was accepted")
	}
}

// A restored old copy, signed again because the guard is switched off, does not get past a witness.
func TestWitnessStopsRollback(t *testing.T) {
	w, policy := startWitness(t)
	base := t.TempDir()
	cfg := testConfig(t, base)
	cfg.WitnessPolicy, cfg.unguarded = policy, true
	l, m := mustOpen(t, cfg)
	mustAppend(t, l, m, 1, 20, "")
	mustClose(t, l)
	old := filepath.Join(base, "old")
	copyDir(t, cfg.Dir, old)
	l, m = mustOpen(t, cfg)
	mustAppend(t, l, m, 1, 5, "first history")
	mustClose(t, l)
	if err := os.RemoveAll(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	copyDir(t, old, cfg.Dir)

	l, m = mustOpen(t, cfg)
	mustAppend(t, l, m, 2, 7, "second history")
	ctx, cancel := context.WithTimeout(context.Background(), 600*time.Millisecond)
	defer cancel()
	if cp, err := l.WaitPublished(ctx, 26); !errors.Is(err, ErrNotPublished) {
		t.Errorf("a second history was published: %v\n%s", err, cp)
	}
	w.mu.Lock()
	if w.refused == 0 || w.tree.N != 25 {
		t.Errorf("the witness refused %d times and stands at %d", w.refused, w.tree.N)
	}
	w.mu.Unlock()
	l.stop(errors.New("end of the test")) // so that Close does not wait for the witness
}
