// Package audit verifies a copied ledger offline and trusts nobody: hashes,
// checkpoint and gapless order (ledger/verify, an independent reader of the
// public tile format), then every decision again with the same pure functions
// the gateway used. What the gateway claims to have decided is never believed.
package audit

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/ledger/accesslog"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/internal/tilefs"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/ledger/verify"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// Trust is what an auditor pins: the keys he got from the regulator by another
// way than the log. Without it the keys of the log's own first entry are used,
// and the report says so.
type Trust = entry.Genesis

// Options of an audit.
type Options struct {
	Trust    *Trust             // nil: take the keys from the log itself
	Receipts []evidence.Receipt // receipts that parties were given
	// Earlier are checkpoints saved before, each of which must be consistent with
	// the ledger as it is now.
	Earlier  [][]byte
	Progress func(done, total uint64)
	// Access is a copy of the gateway's raw access log, held against the heads in the
	// ledger; empty checks none.
	Access string
	// Visit is told of every entry that the replay accepted, in order, with its
	// canonical bytes, which it must not keep. Its error ends the audit.
	Visit func(e *entry.Entry, text []byte) error
	// Openings are what operators disclosed of requests they signed; Read, needed
	// with them, reads their texts.
	Openings []*request.Opening
	Read     Reader
}

// Finding is one thing that is wrong, or worth knowing.
type Finding struct {
	Code  string `json:"code"`
	Fatal bool   `json:"fatal"` // the verdict fails
	ZH    string `json:"zh"`
	EN    string `json:"en"`
}

// Spending is what the replay found spent in one scope.
type Spending struct {
	Scope budget.Scope `json:"scope"`
	Spent budget.Nano  `json:"spent"`
	Limit budget.Nano  `json:"limit"`
}

// Report is the outcome of an audit.
type Report struct {
	OK          bool               `json:"ok"`
	Origin      string             `json:"origin"`
	Entries     uint64             `json:"entries"`     // covered by the checkpoint
	Unpublished uint64             `json:"unpublished"` // beyond it, in the write-ahead file
	Root        string             `json:"root"`
	Pinned      bool               `json:"pinned"` // keys were pinned by the auditor
	First       time.Time          `json:"first"`
	Last        time.Time          `json:"last"`
	Kinds       map[entry.Kind]int `json:"kinds"`
	Jobs        map[string]int     `json:"jobs"` // by phase
	Refusals    map[string]int     `json:"refusals"`
	Spending    []Spending         `json:"spending"`
	Receipts    int                `json:"receipts"`
	Checkpoints int                `json:"checkpoints"`            // earlier ones found consistent
	AccessLines int                `json:"access_lines,omitempty"` // of the access log
	// AccessVouched are those that a head in the ledger vouches for.
	AccessVouched int       `json:"access_vouched,omitempty"`
	Missed        []string  `json:"missed,omitempty"`    // duties whose deadline was missed
	Disclosed     int       `json:"disclosed,omitempty"` // requests whose disclosed text fits their entry
	Findings      []Finding `json:"findings"`
	// SecondReader says that a second, independent reader confirmed the Merkle part.
	SecondReader bool `json:"second_reader"`
	// Quorum of the witness policy in force, 0 without one; Witnessed is how many
	// entries the newest witnessed checkpoint covers, and Cosignatures who cosigned it.
	Quorum       int           `json:"quorum"`
	Witnessed    uint64        `json:"witnessed"`
	Cosignatures []Cosignature `json:"cosignatures,omitempty"`
	// Keys are the checkpoint keys in order, as the replay found them.
	Keys []CheckpointKey `json:"keys,omitempty"`
	// Verifications are counted by phase; absent when there was none.
	Verifications map[string]int `json:"verifications,omitempty"`
	// Models are counted by phase, of those certified by verdict; absent when there was none.
	Models map[string]int `json:"models,omitempty"`
	// Rounds are those of this domain by phase; absent when there was none.
	Rounds map[string]int `json:"rounds,omitempty"`
	// HubRounds are the rounds across domains of which this gateway was the aggregator, by
	// phase; absent when there was none.
	HubRounds map[string]int `json:"hub_rounds,omitempty"`
	// HubTrainings are the trainings of models over domains, likewise.
	HubTrainings map[string]int `json:"hub_trainings,omitempty"`

	// States are the recorded hashes of states that the replay came to as well.
	States int `json:"states,omitempty"`

	// State is what the replayed entries lead to, as far as the replay came.
	State *state.State `json:"-"`
}

func (r *Report) fail(code, zh, en string) {
	r.Findings = append(r.Findings, Finding{Code: code, Fatal: true, ZH: zh, EN: en})
}

func (r *Report) notice(code, zh, en string) {
	r.Findings = append(r.Findings, Finding{Code: code, ZH: zh, EN: en})
}

// begin forgets what the replay of a copy told.
func (r *Report) begin() {
	*r = Report{Kinds: map[entry.Kind]int{}, Jobs: map[string]int{}, Refusals: map[string]int{}, Pinned: r.Pinned}
}

func (r *Report) unpinned() {
	r.notice("KEYS_FROM_LOG", "未指定信任文件：公钥取自账本首条记录，请用 --trust 指定主管部门另行提供的信任文件",
		"no trust file was given: the keys are those of the log's own first entry; pin them with --trust")
}

func newAuditor(r *Report, trust *Trust, opt Options) *auditor {
	a := &auditor{report: r, trust: trust, state: state.New(), tell: opt.Visit, openings: disclosures(opt.Openings), read: opt.Read, byQuery: map[[sha256.Size]byte]string{}, byCommitment: map[string][sha256.Size]byte{}}
	r.State = a.state
	return a
}

// Run audits the log in dir. It returns an error only when the audit could not
// be carried out; everything wrong with the ledger is a finding.
func Run(ctx context.Context, dir string, opt Options) (*Report, error) {
	garbage := postpone()
	defer garbage.restore()
	r := &Report{Pinned: opt.Trust != nil}
	r.begin()
	trust, trustless := opt.Trust, opt.Trust == nil
	if trust == nil {
		g, err := firstEntry(dir)
		if err != nil {
			return nil, err
		}
		trust = g
		r.unpinned()
	}
	verifier, err := Keys(ctx, dir, trust.LogKey)
	if err != nil {
		return nil, err
	}
	// Every return waits for the second reader: nobody reads the copy afterwards.
	reading, stop := context.WithCancel(ctx)
	answer := confirm(reading, dir, verifier)
	var confirmed *confirmation
	await := func() *confirmation {
		if answer != nil {
			confirmed, answer = <-answer, nil
		}
		return confirmed
	}
	defer func() { stop(); await() }()
	a := newAuditor(r, trust, opt)
	var res verify.Result
	authentic := false
	from := stream
	if opt.Visit != nil {
		from = checked // nobody else hears of an entry that may not be one
	}
	a.garbage = garbage
	err = a.replay(ctx, from(dir, verifier, opt.Progress, &res, &authentic))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if !authentic {
		// What was replayed does not stand under the signed root.
		r.begin()
		a = newAuditor(r, trust, opt)
		if trustless {
			r.unpinned()
		}
	}
	if a.told != nil {
		return nil, a.told
	}
	if err != nil {
		r.fail("LOG_DAMAGED", "账本完整性校验失败："+err.Error(), "the log is damaged: "+err.Error())
	}
	r.Origin, r.Entries, r.Unpublished, r.Root = res.Origin, res.Size, res.Unpublished, res.Root.String()
	if err == nil && a.broken == nil && a.state.Genesis() == nil {
		r.fail("EMPTY", "账本为空", "the ledger is empty")
	}
	if err == nil && a.broken == nil {
		verifier = r.checkKeys(ctx, dir, verifier, a.state, res.Checkpoint)
	}
	if err == nil {
		if err := r.secondReader(ctx, dir, verifier, res, await()); err != nil {
			return nil, err
		}
		r.checkEarlier(ctx, dir, verifier, res, opt.Earlier)
		if a.broken == nil {
			a.witnesses(ctx, dir, verifier, res)
			r.checkReceipts(ctx, dir, verifier, receiptKeys(a.state, trust), opt.Receipts)
		}
	}
	a.summarise()
	if opt.Access != "" {
		if err := a.checkAccess(opt.Access); err != nil {
			return nil, err
		}
	}
	r.OK = !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Fatal })
	return r, nil
}

func (r *Report) checkReceipts(ctx context.Context, dir string, v note.Verifier, keys []evidence.ReceiptTerm, receipts []evidence.Receipt) {
	if len(receipts) == 0 {
		return
	}
	broken, err := verify.ReceiptsBy(ctx, dir, v, keys, receipts)
	if err != nil {
		r.fail("RECEIPTS", "回执无法核对："+err.Error(), "receipts cannot be checked: "+err.Error())
		return
	}
	r.Receipts = len(receipts) - len(broken)
	for _, b := range broken {
		r.fail("RECEIPT_BROKEN", "回执与账本不符："+b.Error(), "a receipt does not agree with the log: "+b.Error())
	}
}

type auditor struct {
	garbage *collector // nil: as it is
	report  *Report
	trust   *Trust
	state   *state.State
	broken  error
	tell    func(*entry.Entry, []byte) error // may be nil
	told    error                            // of tell
	heads   []accesslog.Beat                 // of the access log, as heartbeats tell
	// When entries were written, Unix milliseconds, from the first witness policy on;
	// and which entry set the last one.
	times       []int64
	first, last uint64
	watch       watcher
	records     records

	openings     map[string]*disclosure
	read         Reader
	byQuery      map[[sha256.Size]byte]string // disclosed canonical query → the gateway's commitment
	byCommitment map[string][sha256.Size]byte
}

// timeOf is when an entry was written, if that was after the first witness policy.
func (a *auditor) timeOf(seq uint64) (time.Time, bool) {
	if seq < a.first || seq-a.first >= uint64(len(a.times)) {
		return time.Time{}, false
	}
	return time.UnixMilli(a.times[seq-a.first]), true
}

// visit replays one entry. After the first that does not follow from the rules
// the replay stands still: what comes after cannot be judged.
func (a *auditor) visit(seq uint64, e *entry.Entry, err error, text []byte) error {
	if a.broken != nil {
		return nil
	}
	if err == nil && seq == 0 && (e.Genesis == nil || *e.Genesis != *a.trust) {
		err = errors.New("the first entry names other keys than the auditor trusts")
	}
	book := a.state.Book()
	if err == nil {
		a.look(e)
		if err := a.mark(e); err != nil {
			return err
		}
		err = a.state.ApplyEntry(seq, e)
	}
	if err == nil {
		if derr := a.disclosed(e, book); derr != nil {
			return derr
		}
	}
	if err != nil {
		a.broken = err
		a.report.fail("REPLAY", fmt.Sprintf("第 %d 条记录不符合规则：%v", seq, err), fmt.Sprintf("entry %d does not follow from the rules in force: %v", seq, err))
		return nil
	}
	if seq == 0 {
		a.report.First = e.Time()
	}
	a.report.Last = e.Time()
	if e.Policy != nil && slices.Contains(e.Policy.Kinds, policies.KindWitnessPolicy) {
		if a.times == nil {
			a.first = seq
		}
		a.last = seq
	}
	if a.times != nil || a.last == seq && seq > 0 {
		a.times = append(a.times, e.At)
	}
	a.recorded(e)
	a.report.Kinds[e.Kind]++
	if e.Heartbeat != nil {
		a.heads = append(a.heads, accesslog.Beat{At: e.Time(), Head: e.Heartbeat.Access})
	}
	if e.Started != nil {
		a.heads = append(a.heads, accesslog.Beat{At: e.Time(), Head: e.Started.Access})
	}
	if a.tell != nil {
		a.told = a.tell(e, text)
	}
	return a.told
}

func (a *auditor) summarise() {
	r := a.report
	a.desk()
	a.undisclosed()
	a.verifications()
	a.models()
	a.rounds()
	a.hubRounds()
	a.hubTrainings()
	a.unread()
	limits := map[string]budget.Charge{}
	for _, id := range a.state.Jobs() {
		j, _ := a.state.Job(id)
		r.Jobs[string(j.Phase)]++
		for _, x := range j.Reasons {
			r.Refusals[x.Code]++
		}
		if j.Reserved != nil {
			for _, c := range j.Reserved.Charges {
				if c.Scope.Kind != budget.ScopeQuery {
					limits[c.Scope.Key()] = c
				}
			}
		}
	}
	a.state.ChargedBeside(func(_ int64, charges []budget.Charge) {
		for _, c := range charges {
			if c.Scope.Kind != budget.ScopeQuery {
				limits[c.Scope.Key()] = c
			}
		}
	})
	for _, key := range slices.SortedFunc(maps.Keys(limits), cmp.Compare[string]) {
		c := limits[key]
		spent, limit := a.state.Spent(c.Scope), a.limit(c)
		r.Spending = append(r.Spending, Spending{Scope: c.Scope, Spent: spent, Limit: limit})
		if spent > limit {
			// Replay makes this impossible while a limit only grows; a department
			// that lowers one below what was spent shows here.
			r.notice("ABOVE_LIMIT", "预算“"+key+"”已用超过现行上限（上限曾被调低）", "scope "+key+" has spent more than its present limit, which was lowered")
		}
	}
	if n := r.Jobs[string(state.PhaseReserved)]; n > 0 {
		r.notice("OPEN_RESERVATIONS", fmt.Sprintf("%d 个作业已预留预算而未发布（运行中或中断），预算保持扣减", n),
			fmt.Sprintf("%d jobs hold a reservation without a release (running or interrupted); their price stays debited", n))
	}
	if n := r.Unpublished; n > 0 {
		r.notice("UNPUBLISHED", fmt.Sprintf("%d 条记录尚未被检查点覆盖，仅由哈希链担保", n), fmt.Sprintf("%d entries are not yet covered by a checkpoint; only the hash chain vouches for them", n))
	}
}

// limit is the limit of a scope in force at the end of the log: what a
// reservation named may have changed since.
func (a *auditor) limit(c budget.Charge) budget.Nano {
	e, ok := a.state.Book().Dataset(c.Scope.Dataset)
	if !ok || e.Ready() != nil {
		return c.Limit
	}
	_, limits, err := e.Limits()
	if err != nil {
		return c.Limit
	}
	for _, now := range budget.Charges(c.Scope.Dataset, c.Scope.Operator, c.Scope.Year, 0, limits) {
		if now.Scope == c.Scope {
			return now.Limit
		}
	}
	return c.Limit
}

// firstEntry reads genesis without authenticating it; Run then checks the whole
// log against the keys it names.
func firstEntry(dir string) (*entry.Genesis, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("failed to open log directory: %w", err)
	}
	defer root.Close()
	t := tlog.Tile{H: torchwood.TileHeight, L: -1, N: 0, W: 1}
	data, _, err := tilefs.Reader{FS: root.FS()}.Read(t)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("the directory holds no ledger: there is no first entry")
	}
	if err != nil {
		return nil, err
	}
	text, _, err := torchwood.ReadTileEntry(data)
	if err != nil {
		return nil, errors.New("the first entry cannot be read")
	}
	e, err := entry.Decode(text)
	if err != nil || e.Genesis == nil {
		return nil, errors.New("the first entry is not a genesis entry")
	}
	return e.Genesis, nil
}

// ParseTrust reads a trust file, which sandgate init writes for the regulator.
func ParseTrust(text []byte) (*Trust, error) {
	var t Trust
	if err := json.Unmarshal(text, &t); err != nil {
		return nil, fmt.Errorf("failed to parse trust file: %w", err)
	}
	if t.LogKey == "" || t.RegulatorKey == "" || t.ReceiptKey == "" {
		return nil, errors.New("the trust file lacks a key")
	}
	return &t, nil
}
