package audit

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math"
	"os"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/internal/tilefs"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/ledger/verify"
	"github.com/sandgate/sandgate/policies"
)

// CheckpointKey is a key of the log with the smallest tree that it signs.
type CheckpointKey struct {
	Key  string `json:"key"`
	From uint64 `json:"from"`
}

// Keys reads the chain of a log's checkpoint keys from a copy of it: from its first
// key, by the announcements that each key signed of the next. What stands where is
// not authenticated here: who uses the chain replays the entries under a checkpoint
// of it and compares (state.State.LogKeys).
func Keys(ctx context.Context, dir, first string) (*evidence.Chain, error) {
	chain, err := evidence.NewChain(first)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return chain, nil // whoever opens the copy says what is missing
	}
	defer root.Close()
	raw, err := fs.ReadFile(root.FS(), "checkpoint")
	if err != nil {
		return chain, nil
	}
	// A log whose first key signs has not changed it, or is refused by the replay.
	if _, err := note.Open(raw, note.VerifierList(chain)); err == nil {
		return chain, nil
	}
	text, _, _ := bytes.Cut(raw, []byte("\n\n"))
	cp, err := torchwood.ParseCheckpoint(string(text) + "\n")
	if err != nil {
		return chain, nil // the audit says what is wrong with it
	}
	return chain, follow(ctx, tilefs.Reader{FS: root.FS()}, cp.N, chain)
}

// follow goes through the entries of the tiles for what hands a log key over. An
// entry that does not read ends the chain: the audit says what is wrong with it.
func follow(ctx context.Context, tiles tilefs.Reader, size int64, chain *evidence.Chain) error {
	var next *entry.Announced
	for first := int64(0); first < size; first += torchwood.TileWidth {
		if err := ctx.Err(); err != nil {
			return err
		}
		data, _, err := tiles.Read(tlog.Tile{H: torchwood.TileHeight, L: -1, N: first / torchwood.TileWidth, W: int(min(torchwood.TileWidth, size-first))})
		if err != nil {
			return nil
		}
		for seq := uint64(first); len(data) > 0; seq++ {
			var text []byte
			if text, data, err = torchwood.ReadTileEntry(data); err != nil {
				return nil
			}
			if !bytes.Contains(text, []byte(`"kind":"key.`)) {
				continue
			}
			e, err := entry.Decode(text)
			if err != nil {
				return nil
			}
			next = state.HandOver(chain, seq, e, next)
		}
	}
	return nil
}

// checkKeys holds the keys that the copy was opened by to those that the replay
// found, and the old keys' checkpoints over each change to the log as it is.
func (r *Report) checkKeys(ctx context.Context, dir string, used *evidence.Chain, s *state.State, newest []byte) *evidence.Chain {
	chain := s.LogKeys()
	if chain == nil {
		return used
	}
	for _, t := range chain.Terms() {
		r.Keys = append(r.Keys, CheckpointKey{t.Key, t.From})
	}
	if want, have := chain.Of(r.Entries), used.Of(r.Entries); r.Entries > 0 && want.Key != have.Key {
		r.fail("CHECKPOINT_KEY", fmt.Sprintf("覆盖 %d 条记录的检查点由已停用的密钥签署", r.Entries),
			fmt.Sprintf("the checkpoint over %d entries is signed by a key that was retired before", r.Entries))
		return chain
	}
	for _, cp := range s.Handovers() {
		if err := verify.Consistency(ctx, dir, chain, []byte(cp), newest); err != nil {
			r.fail("KEY_HANDOVER", "检查点密钥交接时的检查点与账本不一致："+err.Error(), "a checkpoint under which the log key was handed over is not of this log: "+err.Error())
		}
	}
	return chain
}

// receiptKeys are those that the replay found; of a log that does not begin as the
// auditor trusts, the one he trusts.
func receiptKeys(s *state.State, trust *Trust) []evidence.ReceiptTerm {
	if keys := s.ReceiptKeys(); len(keys) > 0 {
		return keys
	}
	key, err := policies.ParseKey(trust.ReceiptKey)
	if err != nil {
		return nil
	}
	return []evidence.ReceiptTerm{{Key: key, Until: math.MaxUint64}}
}
