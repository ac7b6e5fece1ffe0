// Package state is the ledger's state machine: Apply is the very function that
// the live gateway, its replay at start and the auditor use. It does not trust
// what an entry claims was decided; it decides again and refuses the entry when
// the outcome differs. So whoever holds the log can prove that no release left
// without a grant in force and a reservation within every budget.
package state

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// Phase of a job.
type Phase string

const (
	PhaseRefused  Phase = "REFUSED"
	PhaseReserved Phase = "RESERVED" // budget debited; running, or orphaned by a crash
	PhaseRepeated Phase = "REPEATED"
	PhaseReleased Phase = "RELEASED"
	PhaseFailed   Phase = "FAILED"
)

// Job is what the ledger says of one job 作业.
type Job struct {
	Operator  string
	Request   entry.Request
	Phase     Phase
	At        int64 // first entry, Unix milliseconds
	Seq       uint64
	Reasons   []policies.Reason
	Reserved  *entry.Reserved
	Released  *entry.Released
	RepeatOf  string
	FailCode  string
	FailRule  string // what stopped the job, and FailBy whose it is; or FailBy cancelled it
	FailBy    string
	FinishSeq uint64
	FinishAt  int64 // entry that ended it, Unix milliseconds; 0 while open

	// consents are those it was let in with, while it is open.
	consents []policies.ConsentUse
}

// State is the projection of a ledger prefix. It is not safe for concurrent
// use; ledger.Log runs everything that touches it in one goroutine.
type State struct {
	genesis   *entry.Genesis
	book      *policies.Book
	next      uint64
	at        int64
	snapshots map[string]entry.Snapshot // current, by data set
	filter    *budget.Filter
	jobs      map[string]*Job
	order     []string          // job ids in the order of their first entry
	answers   map[string]string // query commitment + snapshots → released job
	requests  map[string]string // operator + request id → job
	released  uint64
	exact     map[string]int   // exact releases by data set
	acquired  map[string]int64 // when a snapshot came into service, Unix milliseconds
	open      map[string]bool  // jobs with an open reservation
	used      map[string]usage // by licence
	desk      desk

	// keys:
	destroyed  map[string][]Destruction // by data set
	storageKey string
	unknown    map[string]bool // data sets of which nobody knows what was spent
	// restorations are the random numbers of those that were confirmed.
	restorations map[string]bool

	// witness:
	witnessed []witnessing
	bundles   []uint64 // policy entries

	// auto:
	conduct conduct
	starts  []weakening // that weakened the isolation of workers
	tier    string

	// signed:
	acts map[string]bool // party + request id of signed acts that are no jobs

	// rotation:
	keys rotation

	verifications verifications

	models models

	// twin:
	synthetics synthetics

	hub hub

	rounds rounds

	// carried:
	marked   *mark
	recorded *Recorded
}

// New returns the empty state, before genesis.
func New() *State {
	return &State{
		snapshots: map[string]entry.Snapshot{}, jobs: map[string]*Job{},
		answers: map[string]string{}, requests: map[string]string{}, exact: map[string]int{}, acquired: map[string]int64{}, open: map[string]bool{}, used: map[string]usage{}, filter: &budget.Filter{},
		desk:      newDesk(),
		destroyed: map[string][]Destruction{}, unknown: map[string]bool{}, restorations: map[string]bool{},
		conduct:       newConduct(),
		acts:          map[string]bool{},
		keys:          newRotation(),
		verifications: newVerifications(),
		models:        newModels(),
		synthetics:    newSynthetics(),
		hub:           newHub(),
		rounds:        newRounds(),
	}
}

// Size is the number of entries applied.
func (s *State) Size() uint64 { return s.next }

// At is the time of the last entry, Unix milliseconds.
func (s *State) At() int64 { return s.at }

// Genesis returns the first entry's body, nil before it.
func (s *State) Genesis() *entry.Genesis { return s.genesis }

// Book returns the policy in force, nil before genesis. Callers must not keep it
// across entries.
func (s *State) Book() *policies.Book { return s.book }

// Snapshot returns the current snapshot of a data set.
func (s *State) Snapshot(dataset string) (entry.Snapshot, bool) {
	v, ok := s.snapshots[dataset]
	return v, ok
}

// Acquired returns when a snapshot, of the present or the past, came into service.
func (s *State) Acquired(snapshot string) (time.Time, bool) {
	at, ok := s.acquired[snapshot]
	return time.UnixMilli(at).UTC(), ok
}

// Job returns a copy of what is known of a job.
func (s *State) Job(id string) (Job, bool) {
	j, ok := s.jobs[id]
	if !ok {
		return Job{}, false
	}
	return *j, true
}

// JobOf returns the job that an operator's request id already started.
func (s *State) JobOf(operator, request string) (string, bool) {
	id, ok := s.requests[requestKey(operator, request)]
	return id, ok
}

// Jobs lists job ids in order.
func (s *State) Jobs() []string { return slices.Clone(s.order) }

// Spent returns what was debited in a scope.
func (s *State) Spent(scope budget.Scope) budget.Nano { return s.filter.Spent(scope) }

// Released is the number of releases since genesis.
func (s *State) Released() uint64 { return s.released }

// Apply implements ledger.Machine.
func (s *State) Apply(seq uint64, text []byte) error {
	e, err := entry.Decode(text)
	if err != nil {
		return err
	}
	return s.ApplyEntry(seq, e)
}

// ApplyEntry is Apply for a decoded entry.
func (s *State) ApplyEntry(seq uint64, e *entry.Entry) error {
	if e.Seq != seq || seq != s.next {
		return fmt.Errorf("entry says sequence %d and stands at %d; %d was expected", e.Seq, seq, s.next)
	}
	if e.At < s.at {
		return fmt.Errorf("entry %d is dated before the one it follows", seq)
	}
	if (s.genesis == nil) != (e.Kind == entry.KindGenesis) {
		return fmt.Errorf("entry %d: genesis must be the first entry and no other", seq)
	}
	if err := unsigned(e); err != nil {
		return fmt.Errorf("entry %d (%s): %w", seq, e.Kind, err)
	}
	if err := s.apply(e); err != nil {
		return fmt.Errorf("entry %d (%s): %w", seq, e.Kind, err)
	}
	s.next, s.at = seq+1, e.At
	return nil
}

// apply must leave s unchanged when it returns an error.
func (s *State) apply(e *entry.Entry) error {
	switch e.Kind {
	case entry.KindGenesis:
		if err := s.gateway(e); err != nil {
			return err
		}
		return s.applyGenesis(e.Genesis, e.At)
	case entry.KindPolicy:
		next, err := s.CheckPolicy(e.Policy, e.Actor, e.Time())
		if err != nil {
			return err
		}
		s.noteWitnesses(e.Seq, next.Witnesses())
		s.book = next
		return nil
	case entry.KindSnapshot:
		return s.applySnapshot(e)
	case entry.KindRefused:
		return s.applyRefused(e)
	case entry.KindReserved:
		return s.applyReserved(e)
	case entry.KindRepeated:
		return s.applyRepeated(e)
	case entry.KindReleased:
		return s.applyReleased(e)
	case entry.KindFailed:
		return s.applyFailed(e)
	case entry.KindHeartbeat:
		if e.Heartbeat.Released != s.released {
			return errors.New("heartbeat counts other releases than the ledger holds")
		}
		return s.gateway(e)
	case entry.KindStarted, entry.KindStopped:
		if err := s.gateway(e); err != nil {
			return err
		}
		s.started(e)
		return nil

		// masking:
	case entry.KindRisk:
		return s.applyRisk(e)

		// grading:

		// desk:
	case entry.KindDutyNoted:
		return s.applyDutyNoted(e)

		// licences:

		// products:

		// metering:

	// keys:
	case entry.KindDestroyed:
		return s.applyDestroyed(e)
	case entry.KindRotated:
		return s.applyRotated(e)
	case entry.KindRestored:
		return s.applyRestored(e)

	// auto:
	case entry.KindOrdered:
		return s.applyOrdered(e)

		// rotation:
	case entry.KindAnnounced:
		return s.applyAnnounced(e)
	case entry.KindErased:
		return s.applyErased(e)

	// verification:
	case entry.KindVerificationRefused:
		return s.applyVerificationRefused(e)
	case entry.KindVerificationReserved:
		return s.applyVerificationReserved(e)
	case entry.KindVerificationAnswered:
		return s.applyVerificationAnswered(e)
	case entry.KindVerificationFailed:
		return s.applyVerificationFailed(e)

	// model:
	case entry.KindModelRefused:
		return s.applyModelRefused(e)
	case entry.KindModelReserved:
		return s.applyModelReserved(e)
	case entry.KindModelCertified:
		return s.applyModelCertified(e)
	case entry.KindModelFailed:
		return s.applyModelFailed(e)
	case entry.KindModelScored:
		return s.applyModelScored(e)
	case entry.KindModelModule:
		return s.applyModelModule(e)

	// twin:
	case entry.KindTwinReserved:
		return s.applyTwinReserved(e)
	case entry.KindTwinPublished:
		return s.applyTwinPublished(e)
	case entry.KindTwinFailed:
		return s.applyTwinFailed(e)
	case entry.KindRelationsReserved:
		return s.applyRelationsReserved(e)
	case entry.KindRelationsPublished:
		return s.applyRelationsPublished(e)
	case entry.KindRelationsFailed:
		return s.applyRelationsFailed(e)

	// hub:
	case entry.KindHubProposed:
		return s.applyHubProposed(e)
	case entry.KindHubReleased:
		return s.applyHubReleased(e)
	case entry.KindHubFailed:
		return s.applyHubFailed(e)
	case entry.KindHubModelAsked, entry.KindHubModelPass, entry.KindHubModelAnswered, entry.KindHubModelMissed, entry.KindHubModelJudged, entry.KindHubModelCertified, entry.KindHubModelEnded:
		return s.applyHubModel(e)

	// round:
	case entry.KindRoundJoined:
		return s.applyRoundJoined(e)
	case entry.KindRoundAnswered:
		return s.applyRoundAnswered(e)
	case entry.KindRoundEnded:
		return s.applyRoundEnded(e)
	case entry.KindRoundVerdict:
		return s.applyRoundVerdict(e)

	// carried:
	case entry.KindMarked:
		return s.applyMarked(e)
	case entry.KindRecorded:
		return s.applyRecorded(e)
	}
	return fmt.Errorf("kind is unknown")
}

func (s *State) gateway(e *entry.Entry) error {
	if e.Actor != "gateway" {
		return errors.New("only the gateway writes this entry")
	}
	return nil
}

func (s *State) applyGenesis(g *entry.Genesis, at int64) error {
	key, err := policies.ParsePartyKey(g.RegulatorKey)
	if err != nil {
		return fmt.Errorf("regulator: %w", err)
	}
	receipt, err := policies.ParseKey(g.ReceiptKey)
	if err != nil {
		return fmt.Errorf("receipt key: %w", err)
	}
	if err := s.keys.begin(g, receipt, at); err != nil {
		return err
	}
	s.genesis, s.book = g, policies.NewBook(g.Regulator, key)
	return nil
}

// CheckPolicy verifies a policy entry against the policy in force and returns
// the book that would follow when it takes effect at an instant. The state is not
// changed.
func (s *State) CheckPolicy(p *entry.Policy, actor string, at time.Time) (*policies.Book, error) {
	env, err := Inflate(p.Envelope)
	if err != nil {
		return nil, err
	}
	if x := s.book.Authorize(actor, policies.ActApplyPolicy, policies.Resource{}); x != nil {
		return nil, x
	}
	who, ok := s.book.Party(actor)
	if !ok {
		who.Role = policies.RoleRegulator // Authorize let in none but the root of trust
	}
	for _, kind := range p.Kinds {
		if !policies.MayOffer(who.Role, kind) {
			return nil, &policies.Reason{Code: "PERMISSION_DENIED", Rule: "authz.cedar", SetBy: s.genesis.Regulator,
				ZH: "“" + actor + "”不得提交 " + string(kind) + " 文件", EN: "party \"" + actor + "\" may not bring a document of kind " + string(kind)}
		}
	}
	next, docs, err := s.book.Apply(env, at)
	if err != nil {
		return nil, err
	}
	if !policies.SignedBy(env, actor) {
		return nil, &policies.Reason{Code: "POLICY_REFUSED", Rule: "policy", SetBy: actor,
			ZH: "提交者不在签名者之中", EN: "the party that applies the bundle is not among its signers",
			HintZH: "由签名的一方提交", HintEN: "one of the signers applies it"}
	}
	if !slices.EqualFunc(docs, p.Kinds, func(d policies.Document, k policies.Kind) bool { return d.Kind == k }) {
		return nil, errors.New("the kinds named are not those of the signed bundle")
	}
	return next, nil
}

// Deflate compresses an envelope for a policy entry.
func Deflate(envelope []byte) ([]byte, error) {
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("failed to compress: %w", err)
	}
	if _, err := w.Write(envelope); err != nil {
		return nil, fmt.Errorf("failed to compress: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("failed to compress: %w", err)
	}
	return buf.Bytes(), nil
}

// Inflate is the inverse of Deflate, capped so that a small entry cannot unfold
// into more than a bundle may hold.
func Inflate(deflated []byte) ([]byte, error) {
	in := bytes.NewReader(deflated)
	r := flate.NewReader(in)
	const most = 2 * policies.MaxBundleBytes // base64 and signatures on top of the text
	out, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, errors.New("the compressed envelope is damaged")
	}
	if len(out) > most {
		return nil, errors.New("the envelope is too large")
	}
	if in.Len() > 0 {
		return nil, errors.New("bytes follow the compressed envelope")
	}
	return out, nil
}

func (s *State) applySnapshot(e *entry.Entry) error {
	if x := s.CheckIngest(e.Actor, e.Snapshot.Dataset, e.Snapshot.Spec); x != nil {
		return x
	}
	if err := s.checkUnits(e.Snapshot); err != nil {
		return err
	}
	if err := s.signedAct(e, e.Actor, ActIngest(e.Snapshot.Dataset)); err != nil {
		return err
	}
	if x := s.CheckEpoch(e.Snapshot.Epoch); x != nil {
		return x
	}
	if x := s.CheckConsentEpoch(e.Snapshot.Dataset, e.Snapshot.ConsentEpoch); x != nil {
		return x
	}
	if err := s.checkVariants(e.Snapshot); err != nil {
		return err
	}
	if err := s.checkGeneralised(e.Snapshot); err != nil {
		return err
	}
	s.acted(e, e.Actor)
	s.snapshots[e.Snapshot.Dataset] = *e.Snapshot
	s.acquired[e.Snapshot.Snapshot] = e.At
	s.book = s.book.Ingested(e.Snapshot.Dataset, e.Time())
	s.book = s.book.WithSnapshot(e.Snapshot.Dataset, e.Snapshot.Variants)
	return nil
}

// CheckIngest says whether a party may put a snapshot of the data set, made
// under the ingest specification with this digest, into service.
func (s *State) CheckIngest(actor, dataset, spec string) *policies.Reason {
	d, ok := s.book.Dataset(dataset)
	if x := s.book.Authorize(actor, policies.ActIngestSnapshot, policies.Resource{Department: d.Department}); x != nil {
		return x
	}
	if !ok {
		return &policies.Reason{Code: "DATASET_UNKNOWN", Rule: "catalogue", ZH: "目录中没有该数据集", EN: "the data set is not in the catalogue"}
	}
	if x := d.Ready(); x != nil {
		return x
	}
	if d.SpecDigest() != spec {
		return &policies.Reason{Code: "POLICY_CHANGED", Rule: "catalogue/" + dataset, SetBy: d.Department,
			ZH: "入库期间目录或脱敏规则已变更", EN: "the catalogue or masking changed while the file was ingested",
			HintZH: "请重新入库", HintEN: "ingest the file again"}
	}
	return nil
}

func requestKey(operator, request string) string { return operator + "\x00" + request }
