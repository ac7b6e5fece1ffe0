package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/second"
	"github.com/sandgate/sandgate/ledger/verify"
	"github.com/sandgate/sandgate/ledger/witness"
	"github.com/sandgate/sandgate/policies"
)

// Cosignature of a witness that holds.
type Cosignature = witness.Cosignature

// secondReader has the Merkle part confirmed by a reader that shares no code with the
// first, nor with what writes the log.
// ahead is what it found already, nil for nothing.
func (r *Report) secondReader(ctx context.Context, dir string, keys *evidence.Chain, res verify.Result, ahead *confirmation) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("failed to open log directory: %w", err)
	}
	defer root.Close()
	var tree second.Tree
	if key := keys.Of(res.Size).Key; ahead != nil && ahead.key == key && bytes.Equal(ahead.checkpoint, res.Checkpoint) {
		tree, err = ahead.tree, ahead.err
	} else {
		tree, err = second.Check(ctx, root.FS(), []string{key}, res.Checkpoint)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil && (uint64(tree.Size) != res.Size || tree.Root != res.Root.String() || tree.Origin != res.Origin) {
		err = errors.New("it finds another tree")
	}
	if err != nil {
		r.fail("SECOND_READER", "第二个独立读取程序不确认："+err.Error(), "the second, independent reader does not confirm the log: "+err.Error())
		return nil
	}
	r.SecondReader = true
	return nil
}

// checkEarlier holds checkpoints that were saved before against the ledger, and
// against each other.
func (r *Report) checkEarlier(ctx context.Context, dir string, v *evidence.Chain, res verify.Result, earlier [][]byte) {
	for _, old := range earlier {
		if err := verify.Consistency(ctx, dir, v, old, res.Checkpoint); err != nil {
			r.fail("INCONSISTENT", "与先前保存的检查点不一致："+err.Error(), "not consistent with a checkpoint saved before: "+err.Error())
			continue
		}
		r.Checkpoints++
	}
	var keys []string
	for _, t := range v.Terms() {
		keys = append(keys, t.Key)
	}
	// Two that are newer than this copy can still contradict each other.
	for i, one := range earlier {
		for _, two := range earlier[:i] {
			if err := second.Consistent(ctx, os.DirFS(dir), keys, one, two); err != nil && strings.Contains(err.Error(), "two histories") {
				r.fail("TWO_HISTORIES", "两个已保存的检查点互相矛盾："+err.Error(), "two checkpoints saved before contradict each other: "+err.Error())
			}
		}
	}
}

// witnesses checks that the log was witnessed as the regulator asked: by the policy
// that was in force where the witnessed checkpoint stands, and without a silence that
// is longer than it bears.
func (a *auditor) witnesses(ctx context.Context, dir string, v note.Verifier, res verify.Result) {
	r := a.report
	raw, err := os.ReadFile(filepath.Join(dir, evidence.WitnessedFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.fail("WITNESSED_UNREADABLE", "见证检查点无法读取", "the witnessed checkpoint cannot be read")
		return
	}
	now := a.state.WitnessesAt(res.Size)
	if raw != nil {
		cp, err := evidence.OpenCheckpoint(raw, v)
		if err == nil {
			err = verify.Consistency(ctx, dir, v, raw, res.Checkpoint)
		}
		if err != nil {
			r.fail("WITNESSED_INCONSISTENT", "见证过的检查点与账本不一致："+err.Error(), "what was witnessed is not this ledger: "+err.Error())
			return
		}
		a.cosigned(raw, uint64(cp.N))
	}
	if now == nil {
		return
	}
	r.Quorum = now.Quorum
	if r.Witnessed == res.Size {
		return
	}
	from, ok := a.timeOf(max(r.Witnessed, a.first))
	if r.Witnessed == 0 {
		from, ok = a.timeOf(a.last)
	}
	silent := r.Last.Sub(from)
	switch n := res.Size - r.Witnessed; {
	case !ok, silent > now.Patience():
		r.fail("NOT_WITNESSED", fmt.Sprintf("最新检查点缺少 %d 个见证签名：最后 %d 条记录未经见证", now.Quorum, n),
			fmt.Sprintf("the newest checkpoint lacks the cosignatures of %d witnesses: the last %d entries are not witnessed", now.Quorum, n))
	default:
		r.notice("WITNESSES_BEHIND", fmt.Sprintf("最后 %d 条记录（%s 以来）尚未见证，仍在见证规则容许的时间内", n, policies.Clock(from)),
			fmt.Sprintf("the last %d entries (since %s) are not witnessed yet, within the time that the witness policy bears", n, policies.Clock(from)))
	}
}

// cosigned counts the cosignatures on a checkpoint over size entries.
func (a *auditor) cosigned(raw []byte, size uint64) {
	r := a.report
	doc := a.state.WitnessesAt(size)
	if doc == nil {
		return // left from a policy that has ended
	}
	policy, err := witness.PolicyOf(doc)
	if err != nil {
		r.fail("WITNESS_KEYS", "见证公钥无法读取", "the keys of the witnesses cannot be read")
		return
	}
	have := policy.Cosigned(raw)
	if len(have) < policy.Quorum {
		r.fail("COSIGNATURES_LACK", fmt.Sprintf("%d 条记录处的见证检查点应有 %d 个见证签名，只有 %d 个有效", size, policy.Quorum, len(have)),
			fmt.Sprintf("the witnessed checkpoint over %d entries asks for %d cosignatures; %d hold", size, policy.Quorum, len(have)))
		return
	}
	r.Witnessed, r.Cosignatures = size, have
}
