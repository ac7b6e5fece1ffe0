package audit

import (
	"crypto/ed25519"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/internal/leak"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/evidence"
)

func logKey(t testing.TB, name string) string {
	t.Helper()
	key, err := ledger.VerifierKey(origin, keyOf(name).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// announce hands the log over from one key to another, as a holder of by could say.
func (b *book) announce(forged bool, actor, from, to, by string) {
	b.t.Helper()
	b.add(forged, entry.KindAnnounced, actor, func(e *entry.Entry) {
		a := &entry.Announced{Key: entry.KeyLog, From: logKey(b.t, from), To: logKey(b.t, to)}
		text := evidence.RotationText(origin, a.Key, a.From, a.To, e.Seq)
		a.Old, a.New = ed25519.Sign(keyOf(by), text), ed25519.Sign(keyOf(to), text)
		e.Announced = a
	})
}

// handOver puts the announced key in force under a checkpoint with the root of tree,
// signed by the old key.
func (b *book) handOver(forged bool, from, to string, root func([][]byte) tlog.Hash) {
	b.t.Helper()
	n := int64(len(b.entries))
	s, _, err := ledger.NewSignerFromSeed(origin, seedOf(from))
	if err != nil {
		b.t.Fatal(err)
	}
	cp, err := note.Sign(&note.Note{Text: torchwood.Checkpoint{Origin: origin, Tree: tlog.Tree{N: n, Hash: root(b.entries)}}.String()}, s)
	if err != nil {
		b.t.Fatal(err)
	}
	b.add(forged, entry.KindRotated, "gateway", func(e *entry.Entry) {
		e.Rotated = &entry.Rotated{Key: entry.KeyLog, From: logKey(b.t, from), To: logKey(b.t, to), Checkpoint: string(cp)}
	})
}

func trueRoot(t testing.TB) func([][]byte) tlog.Hash {
	return func(entries [][]byte) tlog.Hash {
		stored := []tlog.Hash{}
		read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
			var out []tlog.Hash
			for _, i := range indexes {
				out = append(out, stored[i])
			}
			return out, nil
		})
		for i, text := range entries {
			more, err := tlog.StoredHashes(int64(i), text, read)
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, more...)
		}
		root, err := tlog.TreeHash(int64(len(entries)), read)
		if err != nil {
			t.Fatal(err)
		}
		return root
	}
}

// R30 R34: a log whose key was handed over passes by the first key alone; one that
// the retired key went on with, or that was handed over under a checkpoint of
// another history, does not, and nobody who forges a rotation gets past the replay.
func TestAttack14_R30_ForgedRotations(t *testing.T) {
	passed, tried := 0, 0
	look := func(name, signer, code string, b *book) {
		t.Helper()
		b.add(true, entry.KindHeartbeat, "gateway", func(e *entry.Entry) { e.Heartbeat = &entry.Beat{} }) // the log goes on
		w := write(t, b.entries, signer, anything{})
		r := audit(t, w.dir, Options{Trust: trust(t)})
		if code == "" {
			if !r.OK || len(r.Keys) != 2 {
				t.Errorf("%s: %+v", name, r.Findings)
			}
			return
		}
		tried++
		if r.OK || found(r, code) == "" {
			passed++
			t.Errorf("%s: %+v", name, r.Findings)
		}
	}
	handed := func(root func([][]byte) tlog.Hash) *book {
		b := begun(t)
		b.announce(false, "data_bureau", "log", "log2", "log")
		b.handOver(false, "log", "log2", root)
		return b
	}
	look("an honest handover", "log2", "", handed(trueRoot(t)))
	look("the retired key goes on", "log", "CHECKPOINT_KEY", handed(trueRoot(t)))
	look("a checkpoint of another history", "log2", "KEY_HANDOVER", handed(func([][]byte) tlog.Hash { return tlog.Hash{1} }))
	look("a key that was never announced", "log3", "LOG_DAMAGED", handed(trueRoot(t)))

	b := begun(t)
	b.announce(true, "alpha", "log", "log2", "log")
	look("announced by an operator", "log", "REPLAY", b)
	b = begun(t)
	b.announce(true, "data_bureau", "log", "log2", "log2")
	look("announced without the old key", "log", "REPLAY", b)
	b = begun(t)
	b.announce(true, "data_bureau", "log", "log2", "mallory")
	b.handOver(true, "log", "log2", trueRoot(t))
	look("handed over by nobody", "log2", "LOG_DAMAGED", b)
	for _, key := range []string{entry.KeyToken, entry.KeyCommit} {
		b = begun(t)
		b.add(true, entry.KindRotated, "alpha", func(e *entry.Entry) {
			e.Rotated = &entry.Rotated{Key: key, From: "a", To: "b", Epoch: 1}
		})
		look("a "+key+" key by an operator", "log", "REPLAY", b)
	}
	leak.Record(t, leak.Score{Attack: "14 forged rotations of keys", Figure: passed, Bound: 0, Control: "an honest one passes", Pass: passed == 0, Trials: tried})
}
