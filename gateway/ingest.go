package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/disclosure"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/compute/engine/sealed"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// ingestWall bounds one ingest.
const ingestWall = time.Hour

// Ingest reads a department's raw file into a new snapshot and puts it into
// service. The raw bytes pass through to the ingest worker and touch no disk on
// the way, nor does the snapshot before it is encrypted; the old snapshot answers until the ledger holds the new one.
// A file without rows is refused unless allowEmpty says that it is meant.
func (d *Domain) Ingest(ctx context.Context, actor, dataset, format string, allowEmpty bool, r io.Reader, progress func(rows int64)) (engine.Manifest, ledger.Receipt, error) {
	var none ledger.Receipt
	var e policies.Entry
	var reason *policies.Reason
	d.log.View(func() {
		e, _ = d.state.Book().Dataset(dataset)
		digest := ""
		if e.Dataset.ID != "" {
			digest = e.SpecDigest()
		}
		reason = d.state.CheckIngest(actor, dataset, digest)
	})
	if reason != nil {
		if e.Dataset.ID == "" && d.Authorize(actor, policies.ActReadCatalogue, policies.Resource{}) == nil && d.isDepartment(actor) {
			// The catalogue is public to every party; a slip of the pen should not
			// read like a lack of rights.
			reason = &policies.Reason{Code: "DATASET_UNKNOWN", Rule: "catalogue", SetBy: actor,
				ZH: "目录中没有数据集“" + dataset + "”", EN: "data set \"" + dataset + "\" is not in the catalogue",
				HintZH: "用 sandgate catalog list 查看数据集编号", HintEN: "see sandgate catalog list for the ids"}
		}
		return engine.Manifest{}, none, refusal(*reason)
	}
	spec, err := ingestSpec(e)
	if err != nil {
		return engine.Manifest{}, none, err
	}
	if err := d.pool.Restart(ctx); err != nil {
		d.opt.Logger.Error("workers cannot be started")
		return engine.Manifest{}, none, workersDown()
	}
	keys, epoch, consentEpoch := d.ingestKeys(e)
	m, err := engine.IngestVia(ctx, d.pool, d.store, r, engine.IngestOptions{
		Spec: spec, Format: ingest.Format(format), Keys: keys, Created: d.opt.Now(), Progress: progress,
		Limits: sandbox.Limits{Wall: ingestWall, Memory: d.opt.Memory, Threads: 2},
	})
	if err != nil {
		return engine.Manifest{}, none, ingestRefused(err)
	}
	if m.Rows == 0 && !allowEmpty {
		return engine.Manifest{}, none, refusal(policies.Reason{Code: "EMPTY_FILE", Rule: "ingest", SetBy: "sandgate",
			ZH: "文件没有任何数据行，未入库，原快照不变", EN: "the file has no rows; it was not ingested, the old snapshot stands",
			HintZH: "若确要清空该数据集，用 sandgate ingest --allow-empty", HintEN: "if the data set is meant to be empty, use sandgate ingest --allow-empty"})
	}
	// The manifest names the hash of a file full of keyed tokens: nobody can test
	// a guess at its counts against this commitment.
	text, err := json.Marshal(m)
	if err != nil {
		return engine.Manifest{}, none, fmt.Errorf("failed to encode manifest: %w", err)
	}
	sum := sha256.Sum256(text)
	manifest := hex.EncodeToString(sum[:])
	receipt, err := d.append(ctx, func(x *entry.Entry) error {
		if reason := d.state.CheckIngest(actor, dataset, e.SpecDigest()); reason != nil {
			return refusal(*reason)
		}
		// A destruction that ran meanwhile may have taken the file that an equal
		// earlier ingest had left.
		if err := d.isLeaving(dataset); err != nil {
			return err
		}
		if reason := d.state.CheckEpoch(epoch); reason != nil {
			return refusal(*reason)
		}
		if reason := d.state.CheckConsentEpoch(dataset, consentEpoch); reason != nil {
			return refusal(*reason)
		}
		// masking:
		if now, _ := d.state.Book().Dataset(dataset); !slices.Equal(now.VariantNames(), e.VariantNames()) {
			return refusal(*state.MaskingMoved(now))
		}
		if d.store.Method(m.Snapshot) == engine.MethodAbsent {
			return leaving(dataset)
		}
		x.Kind, x.Actor, x.Signed = entry.KindSnapshot, actor, signedOf(ctx)
		x.Snapshot = &entry.Snapshot{Dataset: dataset, Snapshot: m.Snapshot, Manifest: manifest, Spec: e.SpecDigest(), Epoch: epoch, ConsentEpoch: consentEpoch, Variants: e.VariantNames(), Generalised: generalised(e, m)}
		if d.state.Exact(dataset) {
			x.Snapshot.Units = disclosure.PublicUnits(m.Units)
		}
		return nil
	})
	if err == nil {
		d.pruneSnapshots()
		d.store.Evacuate() // the level may have been raised meanwhile
		d.eraseTokens(ctx)
		return m, receipt, nil
	}
	var held bool
	d.log.View(func() { _, held = d.state.Snapshot(dataset) })
	if !held {
		// What the ledger does not have and a destruction has passed over must not
		// stay.
		err = errors.Join(err, d.store.Destroy(context.WithoutCancel(ctx), dataset))
	}
	return m, receipt, err
}

// pruneSnapshots deletes snapshots that nothing refers to any more: old rows must
// not outlive their use. A failure keeps a file too long and harms no answer.
func (d *Domain) pruneSnapshots() {
	keep := map[string]bool{}
	d.log.View(func() {
		for _, id := range d.state.Book().Datasets() {
			if s, ok := d.state.Snapshot(id); ok {
				keep[s.Snapshot] = true
			}
		}
		for _, id := range d.state.Open() {
			j, _ := d.state.Job(id)
			for _, s := range j.Reserved.Snapshots {
				keep[s] = true
			}
		}
	})
	if _, err := d.store.Prune(keep); err != nil {
		d.opt.Logger.Warn("old snapshots could not be deleted")
	}
}

func (d *Domain) isDepartment(party string) bool {
	var p policies.Party
	d.log.View(func() { p, _ = d.state.Book().Party(party) })
	return p.Role == policies.RoleDepartment
}

// ingestKeys derives the secrets of one data set's ingest. The unit key is one
// for the whole pool, so that one person is one unit in every table; ranks and
// pseudonyms are keyed by data set, so that two tables' pseudonyms do not join. The
// epochs are those of the token key they come from, and of the key of consents.
func (d *Domain) ingestKeys(e policies.Entry) (keys ingest.Keys, epoch, consentEpoch int) {
	epoch, token := d.tokenKey()
	keys = ingestKeysFrom(e, token)
	keys.Consent, consentEpoch = d.consentKey(e)
	return keys, epoch, consentEpoch
}

// keysOf are those that a snapshot of an epoch was made with, but for that of consents.
func (d *Domain) keysOf(e policies.Entry, epoch int) (ingest.Keys, error) {
	token, ok := d.tokenKeyOf(epoch)
	if !ok {
		return ingest.Keys{}, fmt.Errorf("failed to find the token key of snapshot of %s", e.Dataset.ID)
	}
	return ingestKeysFrom(e, token), nil
}

func ingestKeysFrom(e policies.Entry, token []byte) ingest.Keys {
	derive := func(label string) []byte {
		mac := hmac.New(sha256.New, token)
		mac.Write([]byte("sandgate/ingest/v1/" + label))
		return mac.Sum(nil)
	}
	kind := ""
	if e.Dataset.Unit != nil {
		kind = string(e.Dataset.Unit.Kind)
	}
	return ingest.Keys{Unit: derive("unit/" + kind), Rank: derive("rank/" + e.Dataset.ID), Pseudonym: derive("pseudonym/" + e.Dataset.ID)}
}

// ingestSpec is the catalogue and masking of a data set as ingest wants them.
func ingestSpec(e policies.Entry) (ingest.Spec, error) {
	s := ingest.Spec{Dataset: e.Dataset.ID, OneRow: e.Dataset.OneRow, Unique: e.Dataset.Unique, MaxBadPercent: e.Dataset.BadRows.MaxPercent, Consent: e.Dataset.Consent == policies.ConsentRequired}
	if u := e.Dataset.Unit; u != nil {
		s.UnitColumn, s.UnitKind = u.Column, string(u.Kind)
	}
	for _, c := range e.Dataset.Columns {
		col := ingest.Column{
			Name: c.Name, Type: algebra.Type{Kind: c.Type, Scale: c.Scale}, Nullable: c.Nullable, Missing: c.Missing, Other: c.Other,
		}
		for _, code := range c.Codes {
			col.Codes = append(col.Codes, code.Value)
		}
		if c.Bounds != nil {
			b, err := policies.ParseBounds(c)
			if err != nil {
				return s, fmt.Errorf("failed to read bounds of column %q: %w", c.Name, err)
			}
			col.Bounds = &ingest.Range{Lo: b[0], Hi: b[1]}
		}
		if m, ok := e.Masks[c.Name]; ok && m.Op != masking.OpKeep && c.Name != s.UnitColumn {
			col.Mask = ingestMask(c, m)
		}
		s.Columns = append(s.Columns, col)
	}
	var err error
	s.Variants, err = ingestVariants(e)
	return s, err
}

// ingestRefused renders a refusal of the file: codes, row and column numbers and
// catalogue names.
func ingestRefused(err error) error {
	var x *engine.Refused
	if errors.As(err, &x) {
		return refusal(policies.Reason{Code: "INGEST_REFUSED", Rule: "catalogue", ZH: "文件未入库，原快照不变：" + refusedZH(x), EN: "the file was not ingested, the old snapshot stands: " + x.Error(),
			HintZH: "按目录修正文件后重新入库（提示只含行号和列号，不含数据）", HintEN: "correct the file against the catalogue and ingest it again (messages hold row and column numbers, never values)"})
	}
	var confined *engine.Confined
	if errors.As(err, &confined) {
		return refusal(confinedRefused(confined, "原快照不变", "the old snapshot stands"))
	}
	if errors.Is(err, sealed.ErrKeysAway) {
		return refusal(policies.Reason{Code: "KEYS_AWAY", Rule: "keys", SetBy: "sandgate",
			ZH: "密钥服务暂不可用，文件未入库，原快照不变", EN: "the key service does not answer; the file was not ingested, the old snapshot stands",
			HintZH: "请稍后重新入库；若仍失败请联系网关管理员", HintEN: "ingest it again later; if it fails again, tell the gateway's administrator"})
	}
	var short *engine.TooLarge
	if errors.As(err, &short) {
		return refusal(ingestTooLarge(short))
	}
	switch {
	case errors.Is(err, sandbox.ErrBusy):
		return refusal(policies.Reason{Code: "BUSY", Rule: "queue", SetBy: "sandgate",
			ZH: "同时入库的文件过多，原快照不变", EN: "too many files are being ingested at once; the old snapshot stands", HintZH: "请稍后重试", HintEN: "try again later"})
	case errors.Is(err, sandbox.ErrSpawner):
		return workersDown()
	}
	var killed *sandbox.ErrKilled
	if errors.As(err, &killed) && killed.Cause == sandbox.CauseMemory {
		return refusal(policies.Reason{Code: "INGEST_MEMORY", Rule: "memory", SetBy: "sandgate",
			ZH: "入库进程内存不足，原快照不变：文件中可能有过长的字段或行（文本至多 4096 字节）", EN: "the ingest worker ran out of memory, the old snapshot stands: the file may hold a field or a row that is far too long (text has at most 4096 bytes)",
			HintZH: "检查引号和换行是否成对；确需更多内存时请网关管理员处理", HintEN: "look for unbalanced quotes and line ends; if it does need the memory, ask the gateway's administrator"})
	}
	if errors.As(err, &killed) {
		return refusal(policies.Reason{Code: "INGEST_FAILED", Rule: "ingest", SetBy: "sandgate", ZH: "入库进程未能完成，原快照不变", EN: "the ingest worker did not finish; the old snapshot stands",
			HintZH: "请重新入库；若仍失败，请管理员检查网关的内存", HintEN: "ingest the file again; if it fails again, have the gateway's memory looked at"})
	}
	return err
}

// refusedZH is x.Error in Chinese: codes, names of the catalogue and positions.
func refusedZH(x *engine.Refused) string {
	text := string(x.Code)
	if x.Detail != "" {
		text += fmt.Sprintf("（首个：%s）", x.Detail)
	}
	if x.Name != "" {
		text += fmt.Sprintf("，列“%s”", x.Name)
	}
	if x.Row > 0 {
		text += fmt.Sprintf("，第 %d 行", x.Row)
	}
	if x.Field > 0 {
		text += fmt.Sprintf("，第 %d 个字段", x.Field)
	}
	if x.Count > 0 {
		text += fmt.Sprintf("，%d 行中有 %d 行", x.Rows, x.Count)
	}
	return text
}

func init() {
	ingest.BuildOperator = buildOperator
	ingest.CanonicalUnit = canonicalUnit
}

// typingKey stands in where the gateway only asks for a mask's stored type.
var typingKey = []byte("typing only, never used to mask a value")

func buildOperator(m ingest.Mask, source algebra.Type, key []byte) (ingest.Operator, algebra.Type, bool, error) {
	if key == nil {
		key = typingKey
	}
	p := maskParams(m, source, key)
	t, drop, err := masking.OutType(m.Op, p)
	if err != nil || drop {
		return nil, t, drop, err
	}
	o, err := masking.New(m.Op, p)
	return o, t, false, err
}

// canonicalUnit brings an identifier to the one spelling under which it is
// tokenised: the same person written with 15 or 18 digits is one unit.
func canonicalUnit(kind, v string) (string, bool) {
	switch policies.UnitKind(kind) {
	case policies.UnitPerson:
		id, ok := masking.NormaliseCitizenID(v)
		// A number whose check fails is still somebody's: it is kept as a unit of
		// its own rather than dropped, a malformed one is a bad row.
		return id, ok && masking.CitizenID(id) != masking.Malformed
	case policies.UnitOrganisation:
		return v, masking.CreditCode(v) != masking.Malformed
	case policies.UnitRecord:
		return v, v != "" && len(v) <= 64
	}
	return "", false
}
