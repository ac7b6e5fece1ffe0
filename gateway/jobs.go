package gateway

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/disclosure"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

var requestIDPattern = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

// Submit decides a query that its operator signed and, when it may run, reserves its price and starts
// the execution. A refusal is returned as *Refusal and ledgered; a job that was
// started runs on whatever becomes of ctx. Calling again with the same request
// id never decides or charges a second time. An answer that is final leaves on
// the first tick after the call: before data is read and after, no answer comes
// sooner.
func (d *Domain) Submit(ctx context.Context, operator, requestID string, q Query) (job string, err error) {
	begin := time.Now()
	job, err = d.submit(ctx, operator, requestID, q)
	if err != nil || !d.isRunning(job) {
		pause(begin.Add(ticks(d.opt.Tick).after(time.Since(begin))), ctx, d.ctx)
	}
	return job, err
}

func (d *Domain) submit(ctx context.Context, operator, requestID string, q Query) (job string, err error) {
	if err := d.Authorize(operator, policies.ActSubmitJob, policies.Resource{}); err != nil {
		return "", err
	}
	// What a disputed ledger would charge and release nobody could answer for.
	if d.log.Disputed() != nil {
		return "", disputed()
	}
	if !requestIDPattern.MatchString(requestID) {
		return "", invalid("REQUEST_ID", "request_id 必须是 UUID", "request_id must be a UUID")
	}
	signed, err := d.asked(operator, requestID, q)
	if err != nil {
		return "", err
	}
	p, err := d.prepare(ctx, operator, requestID, q)
	if err != nil {
		return "", err
	}
	defer p.settle()
	p.signed = signed
	if err := sameRequest(operator, p); err != nil {
		return "", err
	}
	job = p.request.Job
	if known, err := d.known(ctx, operator, job, p); known || err != nil {
		return job, err
	}
	if p.plan != nil {
		if _, err := d.bindPost(ctx, operator, p); err != nil {
			return "", err
		}
	}
	receipt, err := d.reserve(ctx, operator, p)
	switch {
	case errors.Is(err, errJobKnown):
		_, err = d.known(ctx, operator, job, p)
		return job, err
	case errors.Is(err, errPolicyMoved):
		return "", refusal(policies.Reason{Code: "POLICY_CHANGED", Rule: "policy", ZH: "受理期间规则已变更，请重试", EN: "the rules changed meanwhile; try again"})
	case err != nil:
		return "", err
	}
	d.opt.Logger.Info("job decided", "job", job, "outcome", string(p.decision.Kind()), "seq", receipt.Seq)
	switch {
	case p.decision.Refused != nil:
		return job, &Refusal{Job: job, Reasons: p.decision.Refused.Reasons}
	case p.decision.Repeated != nil:
		return job, d.savePost(job, p.query.Post)
	}
	d.start(job, p)
	return job, nil
}

// reserve records the decision. What a job needs, room in the queue and memory
// for its snapshots, is held before it is charged; what needs neither, a refusal
// or a repeat, is recorded without.
func (d *Domain) reserve(ctx context.Context, operator string, p *prepared) (receipt ledger.Receipt, err error) {
	needs := p.plan != nil && p.decision.Repeated == nil
	for {
		if needs {
			if err := d.admit(ctx, operator, p); err != nil {
				return receipt, err
			}
			if err := d.hold(ctx, p); err != nil {
				return receipt, err
			}
		}
		receipt, err = d.append(ctx, func(e *entry.Entry) error { return d.record(e, operator, p) })
		if !errors.Is(err, errUnadmitted) || needs {
			return receipt, err
		}
		needs = true // the answer it would have repeated is gone
	}
}

var (
	errJobKnown   = errors.New("job is known")
	errUnadmitted = errors.New("job has no place in the queue")
)

// record decides in the sequencer, on the state the entry will be applied to.
func (d *Domain) record(e *entry.Entry, operator string, p *prepared) error {
	if _, ok := d.state.Job(p.request.Job); ok {
		return errJobKnown
	}
	p.ask.At = e.Time()
	planned := p.plan != nil
	p.decision = d.state.Decide(p.ask)
	e.Kind, e.Actor, e.Signed = p.decision.Kind(), operator, p.signed
	e.Refused, e.Repeated, e.Reserved = p.decision.Refused, p.decision.Repeated, p.decision.Reserved
	if r := p.decision.Reserved; r != nil {
		// What will run is what was planned and gated; if the ground moved, plan
		// again rather than run a plan that nobody decided.
		if !planned || !slices.Equal(r.Snapshots, p.snaps) || r.Price != p.plan.Rho || !samePlan(p.decision.Plan, p) {
			return errPolicyMoved
		}
		if p.ticket == nil || p.lease == nil {
			return errUnadmitted
		}
		if err := d.isLeaving(p.query.Core.Datasets()...); err != nil {
			return err
		}
	}
	return nil
}

// samePlan says whether a decision's plan, which is made of the redacted core, is
// the outline that p was prepared with.
func samePlan(decided *protect.Plan, p *prepared) bool {
	text, err := json.Marshal(decided)
	return err == nil && bytes.Equal(text, p.outline)
}

// outlineOf encodes the plan of a redacted core. It errs unless plan, which holds
// the literals, bounds, prices and noise as that does.
func outlineOf(plan, redacted *protect.Plan) ([]byte, error) {
	x, errX := json.Marshal(skeleton(plan))
	y, errY := json.Marshal(skeleton(redacted))
	text, err := json.Marshal(redacted)
	if err := errors.Join(errX, errY, err); err != nil {
		return nil, fmt.Errorf("failed to encode plan: %w", err)
	}
	if !bytes.Equal(x, y) {
		return nil, errors.New("the plan differs from that of the redacted core")
	}
	return text, nil
}

// skeleton is a plan without what literals and labels stand in: the core, the
// conditions of FILTER and the codes of keys. Not their number either: a label that
// is also a code is one more once it is redacted; MaxCells counts it in both.
func skeleton(p *protect.Plan) protect.Plan {
	x := *p
	x.Core = algebra.Core{}
	x.Measures = slices.Clone(p.Measures)
	for i := range x.Measures {
		x.Measures[i].Filter = nil
	}
	x.Keys = slices.Clone(p.Keys)
	for i := range x.Keys {
		x.Keys[i].Codes = nil
	}
	return x
}

// known answers a request id that was seen before: the same outcome, and for a
// reservation that a crash orphaned, the execution it still owes. The price was
// debited then and is not debited again; the earlier run released nothing.
func (d *Domain) known(ctx context.Context, operator, job string, p *prepared) (bool, error) {
	var j state.Job
	var ok bool
	if err := d.settled(ctx, func() { j, ok = d.state.Job(job) }); err != nil || !ok {
		return false, err
	}
	told, other := d.sameText(j, p)
	if other != nil {
		return true, other
	}
	if !told || j.Request.Licence != p.request.Licence || j.Request.Purpose != p.request.Purpose || j.Request.Price != p.request.Price || j.Request.Product != p.request.Product {
		return true, invalid("REQUEST_ID_REUSED", "该 request_id 已用于另一请求", "the request_id was used for another request")
	}
	switch j.Phase {
	case state.PhaseRefused:
		return true, &Refusal{Job: job, Reasons: j.Reasons}
	case state.PhaseRepeated:
		// A crash may have come between the entry and the file.
		if _, err := os.Stat(d.postPath(job)); errors.Is(err, fs.ErrNotExist) {
			return true, d.savePost(job, p.query.Post)
		}
	case state.PhaseReserved:
		if d.isRunning(job) {
			return true, nil
		}
		if p.plan == nil {
			return true, &Refusal{Job: job, Reasons: p.decision.Refused.Reasons}
		}
		if !slices.Equal(j.Reserved.Snapshots, p.snaps) || j.Reserved.Price != p.plan.Rho {
			return true, d.fail(job, "SNAPSHOT_GONE", "")
		}
		if err := d.admit(ctx, operator, p); err != nil {
			return true, err
		}
		if err := d.hold(ctx, p); err != nil {
			return true, err
		}
		d.start(job, p)
	}
	return true, nil
}

// sameText says whether a job asked what p asks. A text whose analysis ran out of time
// is committed to as it stands, so whether it did decides what the commitment covers:
// asked again under another load, the same text must not look like another.
func (d *Domain) sameText(j state.Job, p *prepared) (same bool, undecided error) {
	if j.Request.Query == p.request.Query {
		return true, nil
	}
	if late := slices.Contains(p.analysis, tooComplex); late && j.Request.Core != nil {
		return false, refusal(policies.Reason{Code: "BUSY", Rule: "core language", SetBy: "sandgate",
			ZH: "这次未能在时限内分析语句，无法确认是否为同一请求；没有再次受理或扣减", EN: "the text could not be analysed in time, so whether this is the same request is not known; nothing was taken in or charged again",
			HintZH: "请稍后用同一 request_id 重试", HintEN: "retry with the same request_id a little later"})
	}
	if j.Phase != state.PhaseRefused || j.Request.Core != nil {
		return false, nil
	}
	for _, k := range d.commitKeys() {
		if asText, _ := entry.Commit(k.Key, []byte("text\n"+p.text)); j.Request.Query == asText {
			return true, nil
		}
	}
	return false, nil
}

// settled runs f on the state and returns once all that f can have seen is
// durable: an answer given on an entry that a power failure undoes would be one
// that nobody paid for.
func (d *Domain) settled(ctx context.Context, f func()) error {
	_, err := d.log.Do(ctx, func() ([][]byte, error) { f(); return nil, nil })
	return err
}

// wait holds an answer until the ledger is as far as the data's level asks. Every
// answer passes here, however it is asked for.
func (d *Domain) wait(ctx context.Context, core algebra.Core, seq uint64) error {
	rule := policies.WaitPublished
	d.log.View(func() { rule = d.state.Book().WaitOf(core) })
	return d.settledBy(ctx, rule, seq)
}

// compute runs the worker and the release kernel.
func (d *Domain) compute(ctx context.Context, p *prepared) (*release.Release, error) {
	files, manifests, err := p.lease.Open()
	if err != nil {
		return nil, err
	}
	if p.plan.Exact != nil {
		p.plan.Exact.SnapUnits = manifests[0].Units
	}
	subjects, err := d.subjects(p)
	if err != nil {
		return nil, err
	}
	return d.kernel(ctx, p, files, subjects, func(k exactKernel) (*release.Release, error) { return d.differenced(p, k) })
}

// exactKernel releases exact partials against a check of earlier releases.
type exactKernel = func(*disclosure.Check) (*release.Release, error)

// kernel is the one way from files to a release: the prepared statement in a worker, and
// its partials into the release kernel. differenced brings the check of exact mode.
func (d *Domain) kernel(ctx context.Context, p *prepared, files []*os.File, subjects []engine.Subjects, differenced func(exactKernel) (*release.Release, error)) (*release.Release, error) {
	// A spawner that died is replaced, with the self-test of a start; one that
	// lives is left alone.
	if err := d.pool.Restart(ctx); err != nil {
		return nil, fmt.Errorf("failed to replace the worker spawner: %w", err)
	}
	partials, err := d.runner.ExecuteConsented(ctx, p.sql, p.plan, files, subjects, sandbox.Limits{Wall: d.opt.Wall, Memory: d.opt.Memory, Threads: 2})
	if err != nil {
		return nil, err
	}
	if p.plan.Mode == protect.ModeExact {
		return differenced(func(c *disclosure.Check) (*release.Release, error) { return release.Exact(p.plan, partials, c) })
	}
	return release.DP(p.plan, partials, release.NewSource())
}

// Answer is a release as its job's operator sees it: post-processed, with the
// receipt of the entry that allowed it.
type Answer struct {
	Job      string
	Release  *release.Release
	Digest   string
	Price    budget.Nano
	RepeatOf string
	Receipt  ledger.Receipt
	// Derived is what the text's own post-processing makes of Release and Sources;
	// nil when it has none. Release is nil when the text has no core.
	Derived *engine.Derived
	Sources []Source

	// Mark is set when the answer comes from synthetic rows: no receipt, no digest.
	Mark *Mark

	owner string
	query *algebra.PostQuery
	// Collides is the earlier release that values are withheld for, as the party may
	// know it; see release.AnotherOperator.
	Collides string
}

// Job returns what the ledger says of a job, to its operator or the regulator.
func (d *Domain) Job(party, job string) (j state.Job, err error) {
	d.log.View(func() {
		if j, err = d.job(party, job); err == nil {
			j = d.veil(party, j)
		}
	})
	return j, err
}

// job is Job inside the sequencer.
func (d *Domain) job(party, job string) (state.Job, error) {
	j, ok := d.state.Job(job)
	x := d.state.Book().Authorize(party, policies.ActReadJob, policies.Resource{Operator: j.Operator})
	// A job that is not there and one that is somebody else's look the same.
	if x != nil || !ok {
		return state.Job{}, invalid("NOT_FOUND", "没有这个作业", "there is no such job")
	}
	return j, nil
}

// veil hides from an operator whose answer his repeat was given: that another
// operator asked the same is not for him to learn. Call it in View.
func (d *Domain) veil(party string, j state.Job) state.Job {
	if of, ok := d.state.Job(j.RepeatOf); ok && of.Operator != party {
		if p, _ := d.state.Book().Party(party); p.Role != policies.RoleRegulator {
			j.RepeatOf = j.Request.Job
		}
	}
	return j
}

// Jobs lists the jobs a party may see, newest first.
func (d *Domain) Jobs(party string) ([]state.Job, error) {
	if err := d.Authorize(party, policies.ActReadJob, policies.Resource{Operator: party}); err != nil {
		return nil, err
	}
	var out []state.Job
	d.log.View(func() {
		p, _ := d.state.Book().Party(party)
		ids := d.state.Jobs()
		for i := len(ids) - 1; i >= 0; i-- {
			j, _ := d.state.Job(ids[i])
			if p.Role == policies.RoleRegulator || j.Operator == party {
				out = append(out, d.veil(party, j))
			}
		}
	})
	return out, nil
}

// Answer returns the release of a finished job, with its text's post-processing.
func (d *Domain) Answer(ctx context.Context, party, job string) (*Answer, error) {
	a, err := d.Released(ctx, party, job)
	if err != nil || a.query == nil {
		return a, err
	}
	if err := d.derive(ctx, party, a.owner, a, a.query); err != nil {
		return nil, err
	}
	return a, nil
}

// Released is Answer without post-processing of the operator's own. It is loaded
// from disk and refused unless its bytes are those the ledger committed to.
func (d *Domain) Released(ctx context.Context, party, job string) (*Answer, error) {
	var j state.Job
	var err error
	if serr := d.settled(ctx, func() { j, err = d.job(party, job) }); serr != nil {
		return nil, serr
	}
	if err != nil {
		return nil, err
	}
	a := &Answer{Job: job, owner: j.Operator}
	from, seq := j, j.FinishSeq
	switch j.Phase {
	case state.PhaseReleased:
		a.Price = j.Reserved.Price
	case state.PhaseRepeated:
		seq = j.Seq
		d.log.View(func() {
			from, _ = d.state.Job(j.RepeatOf)
			a.RepeatOf = d.veil(party, j).RepeatOf
		})
	case state.PhaseRefused:
		return nil, &Refusal{Job: job, Reasons: j.Reasons}
	case state.PhaseFailed:
		return nil, &Refusal{Job: job, Reasons: []policies.Reason{failure(j)}}
	default:
		return nil, &Refusal{Job: job, Reasons: []policies.Reason{{Code: "OUTCOME_UNKNOWN", Rule: "ledger", ZH: "作业未完成",
			EN: "the job has not finished", HintZH: "请用同一 request_id 重试，不会再次扣减", HintEN: "retry with the same request_id; nothing is debited again"}}}
	}
	if err := d.wait(ctx, *j.Request.Core, seq); err != nil {
		return nil, err
	}
	a.Digest = from.Released.Digest
	var want [32]byte
	if n, err := hex.Decode(want[:], []byte(a.Digest)); err != nil || n != len(want) {
		return nil, errors.New("ledger holds a malformed digest")
	}
	if a.Release, a.query, err = d.load(j, from, want); err != nil {
		// Paths and hashes only: a stored release holds nothing that was not released.
		d.opt.Logger.Error("stored release is missing or damaged", "job", job)
		return nil, &Refusal{Job: job, Reasons: []policies.Reason{damaged}}
	}
	a.Collides = d.collision(party, a.Release)
	a.Receipt, err = d.log.Receipt(seq)
	return a, err
}

// load reads a stored release, of the job from, gives it the pseudonyms of the
// agreement that j is under, and post-processes it as j asked.
func (d *Domain) load(j, from state.Job, digest [32]byte) (*release.Release, *algebra.PostQuery, error) {
	job := j.Request.Job
	encoded, err := os.ReadFile(d.releasePath(hex.EncodeToString(digest[:])))
	if err != nil {
		return nil, nil, fmt.Errorf("failed to read stored release: %w", err)
	}
	rel, err := release.Load(encoded, digest)
	if err != nil {
		return nil, nil, fmt.Errorf("failed to load stored release: %w", err)
	}
	if rel, err = d.rekeyed(rel, j, from); err != nil {
		return nil, nil, err
	}
	post, err := d.readPost(job)
	if err != nil {
		return nil, nil, err
	}
	rel, err = rel.Apply(post)
	return rel, post.Query, err
}

// readPost reads how a job had its columns named, ordered and cut.
func (d *Domain) readPost(job string) (post algebra.Post, err error) {
	text, err := os.ReadFile(d.postPath(job))
	if err != nil {
		return post, fmt.Errorf("failed to read post-processing: %w", err)
	}
	seal, text, _ := bytes.Cut(text, []byte("\n"))
	if !d.sealedPost(job, append(seal, '\n'), text) {
		return post, errors.New("stored post-processing was changed")
	}
	if err := json.Unmarshal(text, &post); err != nil {
		return post, fmt.Errorf("failed to read post-processing: %w", err)
	}
	return post, nil
}

// damaged is a release whose stored bytes are not those the ledger committed to.
var damaged = policies.Reason{Code: "RELEASE_DAMAGED", Rule: "ledger", SetBy: "sandgate",
	ZH: "已存结果缺失或与账本记载的哈希不符，不予提供", EN: "the stored release is missing or is not the one the ledger committed to; it is not served",
	HintZH: "请管理员从备份恢复 releases 目录", HintEN: "ask the administrator to restore the releases directory from backup"}

func failure(j state.Job) policies.Reason {
	if j.FailRule != "" {
		return stopped(j)
	}
	switch code := j.FailCode; code {
	case state.LicenceEnded:
		return policies.Reason{Code: code, Rule: "R06", ZH: "授权在作业运行期间终止，结果未发布", EN: "the licence ended while the job ran; nothing was released"}
	case "CANCELLED":
		return policies.Reason{Code: code, Rule: "request", ZH: "作业已按请求取消，预算不退还", EN: "the job was cancelled on request; its price stays debited",
			HintZH: "需要结果请用新的 request_id 重新提交", HintEN: "to have the answer, submit it anew under another request_id"}
	case "SNAPSHOT_DESTROYED":
		return policies.Reason{Code: code, Rule: "snapshot", ZH: "数据集的快照已销毁，作业终止，预算不退还", EN: "the snapshot of a data set was destroyed, which ended the job; its price stays debited"}
	case "SNAPSHOT_GONE":
		return policies.Reason{Code: code, Rule: "snapshot", ZH: "作业中断期间数据快照已更新，请重新提交", EN: "the snapshot was replaced while the job was interrupted; submit it anew"}
	}
	return policies.Reason{Code: "EXECUTION_FAILED", Rule: "execution", SetBy: "sandgate", ZH: "作业未能完成，预算不退还", EN: "the job could not be completed; its price stays debited"}
}

// decimalOf renders minimal units with scale decimals; nil is empty.
func decimalOf(v *big.Int, scale uint8) string {
	if v == nil {
		return ""
	}
	return algebra.FormatDecimal(v, scale)
}
