package state

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/policies"
)

const testOrigin = "sandgate.test/city"

func logKeyOf(name string) string {
	key, err := note.NewEd25519VerifierKey(testOrigin, keyOf(name).Public().(ed25519.PublicKey))
	if err != nil {
		panic(err)
	}
	return key
}

// signs is a note signer of a test key.
type signs struct {
	name string
	v    note.Verifier
}

func signerOf(name string) signs {
	v, err := note.NewVerifier(logKeyOf(name))
	if err != nil {
		panic(err)
	}
	return signs{name, v}
}

func (s signs) Name() string                    { return s.v.Name() }
func (s signs) KeyHash() uint32                 { return s.v.KeyHash() }
func (s signs) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(keyOf(s.name), msg), nil }

func checkpointOf(t *testing.T, key string, size uint64) string {
	t.Helper()
	text := torchwood.Checkpoint{Origin: testOrigin, Tree: tlog.Tree{N: int64(size), Hash: sha256.Sum256([]byte("any"))}}.String()
	out, err := note.Sign(&note.Note{Text: text}, signerOf(key))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func (w *world) announced(actor, from, to string) *entry.Entry {
	e := w.next(entry.KindAnnounced, actor)
	a := &entry.Announced{Key: entry.KeyLog, From: logKeyOf(from), To: logKeyOf(to)}
	text := evidence.RotationText(testOrigin, a.Key, a.From, a.To, e.Seq)
	a.Old, a.New = ed25519.Sign(keyOf(from), text), ed25519.Sign(keyOf(to), text)
	e.Announced = a
	return e
}

func (w *world) handed(from, to, checkpoint string) *entry.Entry {
	e := w.next(entry.KindRotated, "gateway")
	e.Rotated = &entry.Rotated{Key: entry.KeyLog, From: logKeyOf(from), To: logKeyOf(to), Checkpoint: checkpoint}
	return e
}

func (w *world) refused(what string, e *entry.Entry, change func(*entry.Entry)) {
	w.t.Helper()
	change(e)
	if err := w.try(e); err == nil {
		w.t.Fatalf("%s is taken", what)
	}
}

// R34: a log key is handed over by an entry that both keys signed, under a
// checkpoint of the old key, and not otherwise.
func TestR34_LogKeyHandover(t *testing.T) {
	w := city(t)
	for what, change := range map[string]func(*entry.Entry){
		"an announcement by an operator":         func(e *entry.Entry) { e.Actor = "alpha" },
		"an announcement by a department":        func(e *entry.Entry) { e.Actor = "health" },
		"an announcement by the gateway":         func(e *entry.Entry) { e.Actor = "gateway" },
		"an announcement without the old key":    func(e *entry.Entry) { e.Announced.Old = ed25519.Sign(keyOf("mallory"), []byte("x")) },
		"an announcement without the new key":    func(e *entry.Entry) { e.Announced.New = e.Announced.Old },
		"an announcement of another key":         func(e *entry.Entry) { e.Announced.To = logKeyOf("mallory") },
		"an announcement after another key":      func(e *entry.Entry) { e.Announced.From = logKeyOf("mallory") },
		"an announcement signed for another seq": func(e *entry.Entry) { *e.Announced = *w.announced("data_bureau", "log", "log2").Announced; e.Seq++ },
		"an announcement of no key":              func(e *entry.Entry) { e.Announced.To = "x" },
	} {
		w.refused(what, w.announced("data_bureau", "log", "log2"), change)
	}
	w.refused("a change that was not announced", w.handed("log", "log2", checkpointOf(t, "log", w.s.Size())), func(*entry.Entry) {})
	w.must(w.announced("data_bureau", "log", "log2"))
	w.must(w.announced("data_bureau", "log", "log3"))
	w.refused("a change to what is announced no more", w.handed("log", "log2", checkpointOf(t, "log", w.s.Size())), func(*entry.Entry) {})
	at := w.s.Size()
	w.must(w.announced("data_bureau", "log", "log2"))
	for what, cp := range map[string]string{
		"a checkpoint that does not cover it": checkpointOf(t, "log", at),
		"a checkpoint of the new key":         checkpointOf(t, "log2", at+1),
		"a checkpoint of more than there is":  checkpointOf(t, "log", at+2),
		"no checkpoint":                       "x",
	} {
		w.refused(what, w.handed("log", "log2", cp), func(*entry.Entry) {})
	}
	good := checkpointOf(t, "log", at+1)
	w.refused("a change by an operator", w.handed("log", "log2", good), func(e *entry.Entry) { e.Actor = "alpha" })
	w.refused("a change to another key", w.handed("log", "log3", good), func(*entry.Entry) {})
	w.must(w.handed("log", "log2", good))
	chain := w.s.LogKeys()
	for size, key := range map[uint64]string{1: "log", at + 1: "log", at + 2: "log2", at + 9: "log2"} {
		if chain.Of(size).Key != logKeyOf(key) {
			t.Errorf("a tree of %d entries is not signed by %s", size, key)
		}
		for _, by := range []string{"log", "log2"} {
			if _, err := evidence.OpenCheckpoint([]byte(checkpointOf(t, by, size)), chain); (err == nil) != (by == key) {
				t.Errorf("a checkpoint of %s over %d entries: %v", by, size, err)
			}
		}
	}
	w.refused("the return of the old key", w.announced("data_bureau", "log2", "log"), func(*entry.Entry) {})
	if w.s.Announced() != nil || len(w.s.Handovers()) != 1 || w.s.KeyInForce(entry.KeyLog).Name != logKeyOf("log2") {
		t.Error("the change is not what the state says")
	}
}

func receiptText(name string) string {
	return base64.StdEncoding.EncodeToString(keyOf(name).Public().(ed25519.PublicKey))
}

// R34: a receipt key is replaced by what both signed; receipts of before stay
// good, of after only the new key's are.
func TestR34_ReceiptKeyChange(t *testing.T) {
	w := city(t)
	make := func(actor, from, to string) *entry.Entry {
		e := w.next(entry.KindRotated, actor)
		r := &entry.Rotated{Key: entry.KeyReceipt, From: receiptText(from), To: receiptText(to)}
		text := evidence.RotationText(testOrigin, r.Key, r.From, r.To, e.Seq)
		r.Old, r.New = ed25519.Sign(keyOf(from), text), ed25519.Sign(keyOf(to), text)
		e.Rotated = r
		return e
	}
	for what, change := range map[string]func(*entry.Entry){
		"a change by an operator":      func(e *entry.Entry) { e.Actor = "alpha" },
		"a change by the gateway":      func(e *entry.Entry) { e.Actor = "gateway" },
		"a change without the old key": func(e *entry.Entry) { e.Rotated.Old = e.Rotated.New },
		"a change without the new key": func(e *entry.Entry) { e.Rotated.New = e.Rotated.Old },
		"a change to no key":           func(e *entry.Entry) { e.Rotated.To = "x" },
		"a change of epoch":            func(e *entry.Entry) { e.Rotated.Epoch = 1 },
	} {
		w.refused(what, make("data_bureau", "gateway", "receipts2"), change)
	}
	w.refused("a change from another key", make("data_bureau", "mallory", "receipts2"), func(*entry.Entry) {})
	at := w.s.Size()
	w.must(make("data_bureau", "gateway", "receipts2"))
	w.refused("the return of the old key", make("data_bureau", "receipts2", "gateway"), func(*entry.Entry) {})
	for _, c := range []struct {
		key string
		seq uint64
		ok  bool
	}{{"gateway", at - 1, true}, {"gateway", at, false}, {"receipts2", at, true}, {"receipts2", 0, true}, {"mallory", 0, false}} {
		r := evidence.SignReceipt(keyOf(c.key), testOrigin, c.seq, tlog.Hash{})
		if err := r.VerifyBy(w.s.ReceiptKeys()); (err == nil) != c.ok {
			t.Errorf("a receipt of %s for %d: %v", c.key, c.seq, err)
		}
	}
}

func (w *world) counted(actor, key, from, to string, epoch int) *entry.Entry {
	e := w.next(entry.KindRotated, actor)
	e.Rotated = &entry.Rotated{Key: key, From: from, To: to, Epoch: epoch}
	return e
}

// R34: data sets of one kind of unit are joined within one epoch of the token key
// only; the key of before is erased when nothing in force needs it.
func TestR34_TokenEpochs(t *testing.T) {
	w := city(t)
	persons := []string{}
	for _, id := range w.s.TokensBefore(1) {
		if d, _ := w.s.Book().Dataset(id); d.Dataset.Unit != nil && d.Dataset.Unit.Kind == policies.UnitPerson {
			persons = append(persons, id)
		}
	}
	if len(persons) < 2 {
		t.Fatalf("data sets of persons: %v", persons)
	}
	joined := algebra.Core{Tables: []algebra.Table{{Dataset: persons[0]}, {Dataset: persons[1]}}}
	if x := w.s.oneEpoch(joined); x != nil {
		t.Errorf("in one epoch: %v", x)
	}
	w.refused("an epoch that is left out", w.counted("data_bureau", entry.KeyToken, "a", "b", 2), func(*entry.Entry) {})
	w.refused("a change by an operator", w.counted("alpha", entry.KeyToken, "a", "b", 1), func(*entry.Entry) {})
	w.refused("a snapshot of a key to come", w.snapshotOf("population"), func(e *entry.Entry) { e.Snapshot.Epoch = 1 })
	w.refused("a snapshot of no key", w.snapshotOf("population"), func(e *entry.Entry) { e.Snapshot.Epoch = -1 })
	w.must(w.counted("data_bureau", entry.KeyToken, "a", "b", 1))
	w.refused("a change from another key", w.counted("data_bureau", entry.KeyToken, "a", "c", 2), func(*entry.Entry) {})
	erased := func(actor string, epoch int) *entry.Entry {
		e := w.next(entry.KindErased, actor)
		e.Erased = &entry.Erased{Key: entry.KeyToken, Epoch: epoch}
		return e
	}
	old := w.s.TokensBefore(1)
	if len(old) < 2 {
		t.Fatalf("data sets %v", old)
	}
	for i, id := range old {
		w.refused("an erasure too early", erased("gateway", 0), func(*entry.Entry) {})
		e := w.snapshotOf(id)
		e.Snapshot.Epoch = 1
		w.must(e)
		a, _ := w.s.Snapshot(persons[0])
		b, _ := w.s.Snapshot(persons[1])
		behind := persons[0]
		if a.Epoch > b.Epoch {
			behind = persons[1]
		}
		if x := w.s.oneEpoch(joined); (x != nil) != (a.Epoch != b.Epoch) || x != nil && (x.Code != "TOKEN_EPOCHS_DIFFER" || !strings.Contains(x.EN, behind)) {
			t.Errorf("epochs %d and %d: %v", a.Epoch, b.Epoch, x)
		}
		if left := w.s.TokensBefore(1); len(left) != len(old)-i-1 {
			t.Errorf("left %v", left)
		}
	}
	w.refused("an erasure by an operator", erased("alpha", 0), func(*entry.Entry) {})
	w.refused("an erasure of the key in force", erased("gateway", 1), func(*entry.Entry) {})
	w.must(erased("gateway", 0))
	w.refused("a second erasure", erased("gateway", 0), func(*entry.Entry) {})
	w.refused("a snapshot of an erased key", w.snapshotOf("population"), func(*entry.Entry) {})
	if x := w.s.CheckEpoch(0); x == nil || x.Code != "TOKEN_KEY_MOVED" {
		t.Errorf("reason %v", x)
	}
}

// R34: a query is committed to under a key that the ledger knows, and a repeat is
// recognised across the change.
func TestR34_CommitEpochs(t *testing.T) {
	w := city(t)
	ask := w.ask("alpha", "c1", counted("population"))
	ask.Request.Epoch = 1
	e := w.next(entry.KindReserved, "alpha")
	ask.At = w.now
	e.Reserved, e.Signed = w.s.Decide(ask).Reserved, w.signed(ask, nil)
	if e.Reserved == nil {
		t.Fatal("refused")
	}
	if err := w.try(e); err == nil || !strings.Contains(err.Error(), "not in force") {
		t.Errorf("a commitment under a key to come: %v", err)
	}
	w.must(w.counted("data_bureau", entry.KeyCommit, "a", "b", 1))
	e.Seq = w.s.Size()
	w.must(e)
}
