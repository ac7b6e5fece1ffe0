package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/dossier"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/ledger/witness"
	"github.com/sandgate/sandgate/policies"
)

// WitnessHealth is the name of the health service of the witnesses: not serving
// while they are silent for longer than the policy bears, or one holds another
// history.
const WitnessHealth = "witnesses"

// witnessLook is the interval at which the state of the witnesses is looked at for
// health and log.
const witnessLook = time.Second

// copyWitnessed is how long a copy of the ledger waits for its newest entries to be
// witnessed.
const copyWitnessed = 2 * time.Second

// CheckWitnessAt says whether a place of a witness can be one.
func CheckWitnessAt(place string) error {
	u, err := url.Parse(place)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("a witness is reached at http(s)://HOST[:PORT][/PREFIX]")
	}
	return nil
}

// witnessesAt is the witness policy for a checkpoint over size entries. Call it in
// the sequencer or a view.
func (d *Domain) witnessesAt(size uint64) witness.Policy {
	p, err := witness.PolicyOf(d.state.WitnessesAt(size))
	if err != nil {
		// The book lets no such key in; were one there, nobody could satisfy it.
		return witness.Policy{Quorum: 1}
	}
	for i, w := range p.Parties {
		if at, ok := d.opt.WitnessAt[w.Key.Name()]; ok {
			p.Parties[i].URL = at
		}
	}
	return p
}

// awaited is an answer that waits for witnesses.
func awaited() error {
	return refusal(policies.Reason{Code: "WITNESSES_AWAITED", Rule: "WitnessPolicy", SetBy: "sandgate",
		ZH: "结果已入账，正等待足够的见证签名，尚不能作答", EN: "the release is in the ledger and waits for enough witnesses to cosign it",
		HintZH: "见证恢复后用同一 request_id 重试或查看作业，不会再次扣减", HintEN: "when the witnesses are back, retry with the same request_id or show the job; nothing is debited again"})
}

// disputed is a ledger of which a witness holds another history.
func disputed() error {
	return refusal(policies.Reason{Code: "LEDGER_DISPUTED", Rule: "WitnessPolicy", SetBy: "sandgate",
		ZH: "见证方持有账本的另一段历史：账本可能被恢复为旧副本，网关不再作答", EN: "a witness holds another history of the ledger: an old copy may have been restored, and nothing is answered",
		HintZH: "请管理员恢复最新副本；主管部门用 sandgate ledger witnesses 查看", HintEN: "the administrator brings back the newest copy; the regulator sees which with sandgate ledger witnesses"})
}

// settledBy waits until the ledger is as far as a rule asks for an entry.
func (d *Domain) settledBy(ctx context.Context, rule string, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	var err error
	switch rule {
	case policies.WaitDurable:
		// Durable it is. A history that is disputed is no ground for an answer.
		err = d.log.Disputed()
	case policies.WaitWitnessed:
		if _, err = d.log.WaitWitnessed(ctx, seq); errors.Is(err, context.DeadlineExceeded) {
			return awaited()
		}
	default:
		_, err = d.log.WaitPublished(ctx, seq)
	}
	return err
}

// waitsForWitnesses says whether a job's answer does, and until when the caller is
// told to wait.
func (d *Domain) waitsForWitnesses(j state.Job) (waits bool, until time.Time) {
	seq, at := j.FinishSeq, j.FinishAt
	switch j.Phase {
	case state.PhaseReleased:
	case state.PhaseRepeated:
		seq, at = j.Seq, j.At
	default:
		return false, time.Time{}
	}
	if _, size := d.log.Witnessed(); size > seq && d.log.Disputed() == nil {
		return false, time.Time{}
	}
	d.log.View(func() {
		b := d.state.Book()
		waits, until = b.WaitOf(*j.Request.Core) == policies.WaitWitnessed, time.UnixMilli(at)
		if p := b.Witnesses(); p != nil {
			until = until.Add(p.Patience())
		}
	})
	return waits, until
}

// awaitWitnesses returns when a job's answer need not wait any more, or with ctx.
func (d *Domain) awaitWitnesses(ctx context.Context, party, job string) {
	j, err := d.Job(party, job)
	if err != nil {
		return
	}
	waits, until := d.waitsForWitnesses(j)
	if !waits {
		return
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	seq := j.FinishSeq
	if j.Phase == state.PhaseRepeated {
		seq = j.Seq
	}
	d.log.WaitWitnessed(ctx, seq) // what it ended with the operation tells
}

// copyWitnessed gives the witnesses, if there are any, time to cosign an entry.
func (d *Domain) copyWitnessed(ctx context.Context, seq uint64) {
	var named bool
	d.log.View(func() { named = d.state.Book().Witnesses() != nil })
	if !named {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, copyWitnessed)
	defer cancel()
	d.log.WaitWitnessed(ctx, seq) // the audit tells what is not witnessed
}

// watchWitnesses tells the log and the health service of silence and dispute.
func (d *Domain) watchWitnesses() {
	t := time.NewTicker(witnessLook)
	defer t.Stop()
	told := map[string]string{}
	tell := func(about, now string, args ...any) {
		if told[about] == now {
			return
		}
		if told[about] = now; now == "" {
			d.opt.Logger.Info("witnesses answer again", args...)
			return
		}
		d.opt.Logger.Error("witnesses: "+now, args...)
	}
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-t.C:
		}
		w, overdue := d.witnessing()
		for _, p := range w.Parties {
			tell("witness "+p.Name, p.Problem, "witness", p.Name)
		}
		tell("dispute", w.Disputed)
		silent := ""
		if overdue {
			silent = "the newest checkpoint lacks cosignatures for longer than the policy bears"
		}
		tell("silence", silent, "witnessed", w.Witnessed, "published", w.Published)
		well := healthpb.HealthCheckResponse_SERVING
		if overdue || w.Disputed != "" {
			well = healthpb.HealthCheckResponse_NOT_SERVING
		}
		d.health.SetServingStatus(WitnessHealth, well)
		all := healthpb.HealthCheckResponse_SERVING
		if w.Disputed != "" {
			all = healthpb.HealthCheckResponse_NOT_SERVING
		}
		d.health.SetServingStatus("", all)
	}
}

func newHealth() *health.Server {
	h := health.NewServer()
	h.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	h.SetServingStatus(WitnessHealth, healthpb.HealthCheckResponse_SERVING)
	return h
}

// contested says that a witness holds another history, or nothing.
func (d *Domain) contested() string {
	if err := d.log.Disputed(); err != nil {
		return err.Error()
	}
	return ""
}

// silentWitnesses names the witnesses whose newest signature is older than the policy
// bears, with that signature's time; those who object are not silent.
func (d *Domain) silentWitnesses() map[string]time.Time {
	w, overdue := d.witnessing()
	if !overdue {
		return nil
	}
	out := map[string]time.Time{}
	for _, p := range w.Parties {
		if p.Problem != "" && !p.Refuses {
			out[p.Name] = p.At
		}
	}
	return out
}

// witnessing is the state of the witnesses, and whether they are silent for longer
// than the policy in force bears.
func (d *Domain) witnessing() (w ledger.Witnessing, overdue bool) {
	w = d.log.Witnessing()
	var p *policies.WitnessPolicy
	d.log.View(func() { p = d.state.Book().Witnesses() })
	return w, p != nil && !w.Unmet.IsZero() && time.Since(w.Unmet) > p.Patience()
}

type witnessService struct {
	sandgatev1.UnimplementedWitnessServiceServer
	d *Domain
}

func (s *witnessService) GetWitnessing(ctx context.Context, _ *sandgatev1.GetWitnessingRequest) (*sandgatev1.Witnessing, error) {
	if err := s.d.Authorize(caller(ctx), policies.ActReadWitnesses, policies.Resource{}); err != nil {
		return nil, err
	}
	w, overdue := s.d.witnessing()
	by := map[string]string{}
	s.d.log.View(func() {
		if p := s.d.state.Book().Witnesses(); p != nil {
			for _, x := range p.Witnesses {
				by[x.Name()] = x.By
			}
		}
	})
	out := &sandgatev1.Witnessing{Quorum: int32(w.Quorum), Published: w.Published, Witnessed: w.Witnessed, UnmetTime: stamp(w.Unmet), Overdue: overdue, Disputed: w.Disputed}
	for _, p := range w.Parties {
		out.Witnesses = append(out.Witnesses, &sandgatev1.LedgerWitness{Name: p.Name, Party: by[p.Name], Size: p.Size,
			CosignTime: stamp(p.At), Problem: p.Problem, ProblemTime: stamp(p.Since), Refuses: p.Refuses})
	}
	return out, nil
}

// stamp is a time on the wire; the zero time is none.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func (s *witnessService) GetEvidence(ctx context.Context, req *sandgatev1.GetEvidenceRequest) (*sandgatev1.Evidence, error) {
	f, err := s.d.Evidence(ctx, caller(ctx), jobID(req.GetName()))
	if err != nil {
		return nil, err
	}
	text, err := f.Encode()
	if err != nil {
		return nil, err
	}
	return &sandgatev1.Evidence{File: text}, nil
}

// Evidence puts together what shows a job's release to be in order. A repeat of
// another operator's release, whose entries would tell that somebody asked the same,
// is for the regulator alone.
func (d *Domain) Evidence(ctx context.Context, party, job string) (*dossier.File, error) {
	if err := noRelease(job); err != nil {
		return nil, err
	}
	j, err := d.Job(party, job)
	if err != nil {
		return nil, err
	}
	first, last := j, j.FinishSeq
	var regulator bool
	var bundles, handovers []uint64
	rule := policies.WaitPublished
	d.log.View(func() {
		b := d.state.Book()
		p, _ := b.Party(party)
		regulator = p.Role == policies.RoleRegulator
		if j.Phase == state.PhaseRepeated {
			own, _ := d.state.Job(job)
			first, _ = d.state.Job(own.RepeatOf)
			last = j.Seq
		}
		if b.Witnesses() != nil {
			rule = policies.WaitWitnessed
		}
		bundles = d.state.Bundles(d.state.Size())
		handovers = d.state.LogHandovers()
	})
	if first.Phase != state.PhaseReleased {
		return nil, invalid("NO_RELEASE", "该作业没有发布结果", "the job has no release")
	}
	if first.Operator != party && !regulator {
		return nil, invalid("EVIDENCE_OF_REPEAT", "重复查询的证据由主管部门出具", "the evidence of a repeat is the regulator's to give")
	}
	if err := d.settledBy(ctx, rule, last); err != nil {
		return nil, err
	}
	checkpoint, size := d.log.Published()
	if rule == policies.WaitWitnessed {
		checkpoint, size = d.log.Witnessed()
	}
	chosen, err := dossier.Bundles(bundles, max(first.Seq, j.Seq), size, j.Request, func(seq uint64) (*entry.Entry, error) {
		text, err := d.log.Entry(seq)
		if err != nil {
			return nil, err
		}
		return entry.Decode(text)
	})
	if err != nil {
		return nil, fmt.Errorf("failed to choose the documents of the evidence: %w", err)
	}
	out := &dossier.File{Format: dossier.Format, Job: job, Checkpoint: string(checkpoint)}
	chosen = append(chosen, 0, first.Seq, first.FinishSeq, j.Seq)
	// Whoever trusts the first key of the log learns from them which one signed.
	for _, seq := range handovers {
		if seq < size {
			chosen = append(chosen, seq)
		}
	}
	slices.Sort(chosen)
	for _, seq := range slices.Compact(chosen) {
		p, err := d.log.ProveUnder(ctx, checkpoint, seq)
		if err != nil {
			return nil, err
		}
		out.Entries = append(out.Entries, dossier.Entry{Index: seq, Text: string(p.Entry), Hashes: p.Hashes})
	}
	return out, nil
}
