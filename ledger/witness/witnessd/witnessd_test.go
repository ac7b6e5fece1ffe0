package witnessd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/ledger/witness"
)

const origin = "sandgate.example/city"

// history is a log in memory.
type history struct {
	stored []tlog.Hash
	size   int64
	signer note.Signer
	vkey   string
}

func newHistory(t testing.TB, seed string) *history {
	t.Helper()
	skey, vkey, err := note.GenerateKey(strings.NewReader(strings.Repeat(seed, 64)), origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return &history{signer: signer, vkey: vkey}
}

func (h *history) ReadHashes(idx []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(idx))
	for i, x := range idx {
		out[i] = h.stored[x]
	}
	return out, nil
}

func (h *history) grow(t testing.TB, size int64, story string) {
	t.Helper()
	for ; h.size < size; h.size++ {
		hs, err := tlog.StoredHashes(h.size, []byte(story), h)
		if err != nil {
			t.Fatal(err)
		}
		h.stored = append(h.stored, hs...)
	}
}

func (h *history) request(t testing.TB, old, size int64) []byte {
	t.Helper()
	root, err := tlog.TreeHash(size, h)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(&note.Note{Text: torchwood.Checkpoint{Origin: origin, Tree: tlog.Tree{N: size, Hash: root}}.String()}, h.signer)
	if err != nil {
		t.Fatal(err)
	}
	r := witness.Request{Old: old, Checkpoint: signed}
	if old > 0 && old < size {
		if r.Proof, err = tlog.ProveTree(size, old, h); err != nil {
			t.Fatal(err)
		}
	}
	return r.Encode()
}

// start makes a witness for a log and serves it.
func start(t testing.TB, keys ...string) (h *Home, dir string, post func(body []byte) (*http.Response, string)) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "witness")
	if err := Create(dir, "regulator.example/witness"); err != nil {
		t.Fatal(err)
	}
	h, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	for _, k := range keys {
		if err := h.Add(origin, k); err != nil {
			t.Fatal(err)
		}
	}
	s := httptest.NewServer(h.Handler(slog.New(slog.DiscardHandler)))
	t.Cleanup(s.Close)
	return h, dir, func(body []byte) (*http.Response, string) {
		resp, err := http.Post(s.URL+"/add-checkpoint", "", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(text)
	}
}

func TestAnswersOverHTTP(t *testing.T) {
	log := newHistory(t, "a")
	log.grow(t, 40, "x")
	stranger := newHistory(t, "b")
	stranger.grow(t, 40, "x")
	h, _, post := start(t, log.vkey)
	resp, body := post(log.request(t, 0, 20))
	if resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	r, err := witness.ParseRequest(log.request(t, 0, 20))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := witness.Add(r.Checkpoint, []byte(body), h.signer.Verifier()); !ok {
		t.Errorf("the answer is no cosignature: %q", body)
	}
	for name, c := range map[string]struct {
		body   []byte
		status int
		kind   string
		text   string
	}{
		"from nothing":  {log.request(t, 0, 30), 409, "text/x.tlog.size", "20\n"},
		"stranger":      {stranger.request(t, 20, 30), 403, "text/plain; charset=utf-8", "UNKNOWN_KEY\n"},
		"unknown log":   {bytes.Replace(log.request(t, 20, 30), []byte("city"), []byte("town"), 2), 404, "text/plain; charset=utf-8", "UNKNOWN_LOG\n"},
		"garbage":       {[]byte("GET me"), 400, "text/plain; charset=utf-8", "MALFORMED\n"},
		"endless":       {bytes.Repeat([]byte("x"), 1<<20), 400, "text/plain; charset=utf-8", "MALFORMED\n"},
		"old too large": {log.request(t, 31, 30), 400, "text/plain; charset=utf-8", "OLD_TOO_LARGE\n"},
	} {
		resp, body := post(c.body)
		if resp.StatusCode != c.status || resp.Header.Get("Content-Type") != c.kind || body != c.text {
			t.Errorf("%s: %d %q %q", name, resp.StatusCode, resp.Header.Get("Content-Type"), body)
		}
	}
	if resp, body := post(log.request(t, 20, 40)); resp.StatusCode != 200 {
		t.Errorf("grown: %d %s", resp.StatusCode, body)
	}
}

// A second history is refused, over a restart too, and both checkpoints are kept:
// anybody with the log's key can check that it signed them.
func TestEquivocationIsProvenAndShown(t *testing.T) {
	log := newHistory(t, "a")
	log.grow(t, 40, "first")
	other := newHistory(t, "a")
	other.grow(t, 10, "first")
	other.grow(t, 40, "second")
	h, dir, post := start(t, log.vkey)
	if resp, body := post(log.request(t, 0, 25)); resp.StatusCode != 200 {
		t.Fatal(body)
	}
	if resp, _ := post(other.request(t, 25, 25)); resp.StatusCode != 409 || resp.Header.Get("Content-Type") == "text/x.tlog.size" {
		t.Errorf("same size, other root: %d", resp.StatusCode)
	}
	h.Close()
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for range 3 {
		if v, text, err := again.answer(other.request(t, 25, 30)); err != nil || v.Status != 422 || bytes.HasPrefix(text, []byte("—")) {
			t.Errorf("%+v %q %v", v, text, err)
		}
	}
	shown, err := Show(dir, 10)
	if err != nil || len(shown.Alarms) != 2 || len(shown.Logs) != 1 || shown.Logs[0].Size != 25 || shown.Key != again.Key() {
		t.Fatalf("%+v %v", shown, err)
	}
	verifier, err := note.NewVerifier(log.vkey)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range shown.Alarms {
		var roots [2]string
		for i, text := range []string{a.Cosigned, a.Offered} {
			n, err := note.Open([]byte(text), note.VerifierList(verifier))
			if err != nil {
				t.Fatalf("%s: a checkpoint of the evidence is not signed by the log: %v", a.File, err)
			}
			cp, err := torchwood.ParseCheckpoint(n.Text)
			if err != nil {
				t.Fatal(err)
			}
			roots[i] = fmt.Sprint(cp.N, cp.Hash)
		}
		size := func(s string) string { n, _, _ := strings.Cut(s, " "); return n }
		if a.Code == witness.CodeEquivocation && (roots[0] == roots[1] || size(roots[0]) != size(roots[1])) {
			t.Errorf("the evidence proves nothing: %v", roots)
		}
	}
	alarms := 0
	for _, e := range shown.Events {
		if e.Alarm {
			alarms++
		}
	}
	if alarms != 4 {
		t.Errorf("%d alarms among the events %+v", alarms, shown.Events)
	}
}

// A log that goes on from an old copy offers less than is cosigned. That is shown, and
// is no alarm: the old checkpoint is public, so anybody can send it.
func TestAnOldCopyIsShown(t *testing.T) {
	log := newHistory(t, "a")
	log.grow(t, 40, "first")
	_, dir, post := start(t, log.vkey)
	if resp, body := post(log.request(t, 0, 25)); resp.StatusCode != 200 {
		t.Fatal(body)
	}
	// Who asks for the size with a newer checkpoint, or the same, is as a log should be.
	post(log.request(t, 0, 30))
	post(log.request(t, 0, 25))
	if shown, err := Show(dir, 10); err != nil || len(shown.Events) != 0 {
		t.Fatalf("%+v %v", shown.Events, err)
	}
	for _, old := range []int64{0, 10} {
		if resp, _ := post(log.request(t, old, 20)); resp.StatusCode != 409 {
			t.Errorf("old %d: %d", old, resp.StatusCode)
		}
	}
	shown, err := Show(dir, 10)
	if err != nil || len(shown.Events) != 2 || len(shown.Alarms) != 0 {
		t.Fatalf("%+v %v", shown, err)
	}
	for _, e := range shown.Events {
		if e.Behind != 25 || e.Size != 20 || e.Alarm {
			t.Errorf("%+v", e)
		}
	}
}

// Nothing is cosigned that is not on the disk, whichever step of writing fails; and
// what was cosigned is there after a restart.
func TestPersistsBeforeItAnswers(t *testing.T) {
	log := newHistory(t, "a")
	log.grow(t, 40, "x")
	for _, point := range []string{"witness.write/before", "witness.write/after", "witness.rename/before", "witness.rename/after", "witness.syncdir/before"} {
		h, dir, post := start(t, log.vkey)
		if resp, _ := post(log.request(t, 0, 20)); resp.StatusCode != 200 {
			t.Fatal("not cosigned")
		}
		h.fault = func(p string) error {
			if p == point {
				return errors.New("disk is full")
			}
			return nil
		}
		resp, body := post(log.request(t, 20, 30))
		if resp.StatusCode != 500 || strings.Contains(body, "—") {
			t.Errorf("%s: %d %q", point, resp.StatusCode, body)
		}
		h.Close()
		again, err := Open(dir)
		if err != nil {
			t.Fatalf("%s: %v", point, err)
		}
		if n := again.Logs()[0].Size; n != 20 && n != 30 {
			t.Errorf("%s: stands at %d", point, n)
		}
		if v, _, err := again.answer(log.request(t, again.Logs()[0].Size, 40)); err != nil || v.Status != 200 {
			t.Errorf("%s: does not go on: %+v %v", point, v, err)
		}
		again.Close()
	}
}

// Of two requests that race, the head never goes back: a witness that answers both
// would otherwise stand behind what it cosigned.
func TestRaceNeverRollsBack(t *testing.T) {
	log := newHistory(t, "a")
	log.grow(t, 200, "x")
	h, _, _ := start(t, log.vkey)
	var wg sync.WaitGroup
	var mu sync.Mutex
	most := int64(0)
	for i := range 8 {
		wg.Go(func() {
			for n := int64(1 + i); n <= 200; n += 8 {
				for {
					old := h.Logs()[0].Size
					if old > n {
						break
					}
					v, _, err := h.answer(log.request(t, old, n))
					if err != nil {
						t.Error(err)
						return
					}
					if v.Status == 200 {
						mu.Lock()
						most = max(most, n)
						mu.Unlock()
						break
					}
				}
			}
		})
	}
	wg.Wait()
	if got := h.Logs()[0].Size; got != most || most == 0 {
		t.Errorf("cosigned %d and stands at %d", most, got)
	}
}

func TestOpenRefusesAWitnessThatForgot(t *testing.T) {
	log := newHistory(t, "a")
	log.grow(t, 20, "x")
	h, dir, post := start(t, log.vkey)
	if resp, _ := post(log.request(t, 0, 20)); resp.StatusCode != 200 {
		t.Fatal("not cosigned")
	}
	if _, err := Open(dir); err == nil {
		t.Error("two processes have one witness open")
	}
	h.Close()
	path := filepath.Join(dir, logsDir, fileOf(origin))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	var l Log
	if err := json.Unmarshal(whole, &l); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(l *Log){
		"size":       func(l *Log) { l.Size = 10 },
		"root":       func(l *Log) { l.Root = tlog.Hash{1}.String() },
		"checkpoint": func(l *Log) { l.Checkpoint = strings.Replace(l.Checkpoint, "\n20\n", "\n19\n", 1) },
		"no head":    func(l *Log) { l.Checkpoint = "" },
		"key":        func(l *Log) { l.Keys = []string{"x"} },
		"origin":     func(l *Log) { l.Origin = "sandgate.example/town" },
	} {
		bad := l
		change(&bad)
		text, err := json.Marshal(bad)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if again, err := Open(dir); err == nil {
			again.Close()
			t.Errorf("%s changed: opened", name)
		}
	}
	for name, spoil := range map[string]func() error{
		"cut off":  func() error { return os.WriteFile(path, whole[:len(whole)/2], 0o600) },
		"no logs":  func() error { return os.RemoveAll(filepath.Join(dir, logsDir)) },
		"open key": func() error { return os.Chmod(filepath.Join(dir, keyFile), 0o644) },
		"no key":   func() error { return os.Remove(filepath.Join(dir, keyFile)) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if again, err := Open(dir); err == nil {
			again.Close()
			t.Errorf("%s: opened", name)
		}
		if err := os.MkdirAll(filepath.Join(dir, logsDir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, keyFile), key, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, keyFile), 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := Open(dir)
		if err != nil {
			t.Fatalf("mended after %s: %v", name, err)
		}
		again.Close()
	}
	if Create(dir, "x") == nil {
		t.Error("a witness was made over another")
	}
	if Create(filepath.Join(t.TempDir(), "w"), "no name") == nil || Create(filepath.Join(t.TempDir(), "w"), "a+b") == nil {
		t.Error("a bad name was taken")
	}
}

// Strangers can neither fill the disk nor write into the log of refusals.
func TestEventsAreBounded(t *testing.T) {
	h, dir, _ := start(t)
	for range 9000 {
		v, _, err := h.answer([]byte("old 3\n\n" + strings.Repeat("y", 100) + "\x1b[31m\x00\n3\n"))
		if err != nil || v.Status != 404 {
			t.Fatalf("%+v %v", v, err)
		}
	}
	total := int64(0)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil && strings.HasPrefix(f.Name(), eventsIn) {
			total += info.Size()
		}
	}
	if total == 0 || total > 2*maxEvents+1000 {
		t.Errorf("%d bytes of events", total)
	}
	shown, err := Show(dir, 5)
	if err != nil || len(shown.Events) != 5 || strings.ContainsAny(shown.Events[4].Origin, "\x1b\x00") {
		t.Errorf("%+v %v", shown.Events, err)
	}
}

// A record that is gone is no log that was never added: what it held would be forgotten.
func TestOpenRefusesAWitnessWhoseRecordIsGone(t *testing.T) {
	log := newHistory(t, "a")
	log.grow(t, 20, "x")
	h, dir, post := start(t, log.vkey)
	if resp, _ := post(log.request(t, 0, 20)); resp.StatusCode != 200 {
		t.Fatal("not cosigned")
	}
	h.Close()
	if err := os.Remove(filepath.Join(dir, logsDir, fileOf(origin))); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), origin) {
		t.Errorf("opened: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, knownFile), []byte("["), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("opened with a damaged list")
	}
}
