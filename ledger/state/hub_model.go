package state

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
	"github.com/sandgate/sandgate/policies/signature"
)

// HubTraining is what the ledger of the aggregator says of one training of a model over
// domains 跨域模型.
type HubTraining struct {
	Operator string
	Phase    Phase // RESERVED (under way, nothing is reserved here), RELEASED (certified) or FAILED
	At       int64 // first entry, Unix milliseconds
	Seq      uint64
	// Request is what its operator signed: every pass shows it to the domains.
	Request   *request.Signed
	Asked     *entry.HubModelAsked
	Passes    []HubPass    // every attempt, in order
	Verdicts  []HubVerdict // in the order in which they came; gone when the training is over
	Judged    []string     // whose verdict the ledger holds
	Certified *entry.HubModelCertified
	Ended     *entry.HubModelEnded
	FinishSeq uint64
	FinishAt  int64
	// Regulator puts the sums together; Parties are all that answer, in order; Overlap is how
	// many domains one privacy unit may stand in: as the agreement had it then.
	Regulator string
	Parties   []string
	Overlap   int
}

// HubPass is one attempt at one pass.
type HubPass struct {
	Pass     int
	Session  string
	Deadline int64 // Unix seconds
	Seq      uint64
	// Release and Values are the digests of the delivery and of the sums; empty until it is
	// answered.
	Release string
	Values  string
	Missed  *entry.HubModelMissed
}

// HubVerdict is a domain's signed verdict.
type HubVerdict struct {
	Party  string
	Signed federate.Signed
}

// Limits of trainings: retries unless asked otherwise.
const hubRetries = 1

// HubTrainingID derives a training's id, its run, from who asks and the request id.
func HubTrainingID(operator, request string) string {
	sum := sha256.Sum256([]byte("sandgate/training/v1\n" + requestKey(operator, request)))
	return hex.EncodeToString(sum[:16])
}

// HubTraining returns a copy of what is known of one.
func (s *State) HubTraining(run string) (HubTraining, bool) {
	t, ok := s.hub.trainings[run]
	if !ok {
		return HubTraining{}, false
	}
	own := *t
	own.Passes, own.Verdicts = slices.Clone(t.Passes), slices.Clone(t.Verdicts)
	return own, true
}

// HubTrainings lists runs in the order of their first entry.
func (s *State) HubTrainings() []string { return slices.Clone(s.hub.trainingOrder) }

// OpenHubTrainings lists those without an outcome, in order.
func (s *State) OpenHubTrainings() []string {
	return slices.DeleteFunc(s.HubTrainings(), func(id string) bool { return s.hub.trainings[id].Phase != PhaseReserved })
}

// Answered is how many passes have their answer.
func (t HubTraining) Answered() (n int) {
	for _, p := range t.Passes {
		if p.Release != "" {
			n++
		}
	}
	return n
}

// Misses is how many rounds failed.
func (t HubTraining) Misses() (n int) {
	for _, p := range t.Passes {
		if p.Missed != nil {
			n++
		}
	}
	return n
}

// Open is the pass that runs.
func (t HubTraining) Open() (HubPass, bool) {
	if n := len(t.Passes); n > 0 && t.Passes[n-1].Release == "" && t.Passes[n-1].Missed == nil {
		return t.Passes[n-1], true
	}
	return HubPass{}, false
}

// HubTrainingAsk is a training to decide.
type HubTrainingAsk struct {
	Operator string
	Request  entry.HubModelRequest
	At       time.Time
}

// HubTrainingDecision is the outcome: reasons, or the training under the agreement.
type HubTrainingDecision struct {
	Reasons   []policies.Reason
	Asked     *entry.HubModelAsked
	Agreement policies.Federation
	Model     *fit.Model
}

// asRound is what a training has in common with a round.
func (a HubTrainingAsk) asRound() HubAsk {
	r := a.Request
	return HubAsk{Operator: a.Operator, At: a.At, Request: entry.HubRequest{Licence: r.Licence, Purpose: r.Purpose, Region: r.Region, Period: r.Period, Scheme: r.Scheme, Contributors: r.Contributors, Seconds: r.Seconds}}
}

// DecideHubTraining is pure, as Decide is. What it decides is whether this operator may put
// this training to the domains; whether they take part in its passes is for each of them.
func (s *State) DecideHubTraining(a HubTrainingAsk) HubTrainingDecision {
	d := s.decideHubTraining(a)
	if d.Asked != nil {
		if x := s.hubBusy(a.Operator); x != nil {
			return HubTrainingDecision{Reasons: []policies.Reason{*x}}
		}
	}
	return d
}

func (s *State) decideHubTraining(a HubTrainingAsk) HubTrainingDecision {
	refuse := func(x ...policies.Reason) HubTrainingDecision { return HubTrainingDecision{Reasons: x} }
	round := a.asRound()
	f, x := s.agreement(round)
	if x != nil {
		return refuse(*x)
	}
	r := a.Request
	if r.Spec.Dataset != f.Dataset {
		return refuse(*hubReason("ROUND_DATASET", "federation/"+f.Region, s.book.Root(), "协议“%s”只涵盖数据集“%s”", "agreement %q is about data set %q alone", f.Region, f.Dataset))
	}
	if x := s.checkAsked(round.Request, f); x != nil {
		return refuse(*x)
	}
	retries := hubRetries
	if r.Retries != nil {
		retries = *r.Retries
	}
	if retries < 0 || retries > fit.MaxRetries {
		return refuse(*hubReason("TRAINING_RETRIES", "request", "sandgate", "补做次数须在 0 至 %d 之间", "failed rounds are made up for 0 to %d times", fit.MaxRetries))
	}
	common, terms := s.hubProposed(round, f)
	out := &entry.HubModelAsked{Request: r, Agreement: common.Agreement, Scheme: common.Scheme, Contributors: common.Contributors, Retries: retries, Seconds: hubTime, Decryptors: f.Threshold + 1}
	if r.Seconds != 0 {
		out.Seconds = r.Seconds
	}
	if out.Scheme == federate.Mask { // every holder's mask must come off
		out.Decryptors = len(f.With(policies.FederationKey)) + 1
	}
	if all := s.book.DecideTraining(policies.Request{Operator: a.Operator, Licence: r.Licence, Purpose: r.Purpose, At: a.At}, r.Spec); len(all) > 0 {
		return refuse(all...)
	}
	e, _ := s.book.Dataset(f.Dataset)
	m, err := fit.Own(r.Spec, e, fit.Terms{Terms: terms, Decryptors: out.Decryptors, Dishonest: f.Dishonest, Retries: retries}, r.Run)
	if err == nil {
		out.Base, err = m.Base()
	}
	if err != nil {
		var why *policies.Reason
		if !errors.As(err, &why) {
			why = hubReason("MODEL_INVALID", "disclosure/"+f.Dataset, e.Department, "模型规格不符合目录或规则", "the specification does not fit the catalogue or the rules")
		}
		return refuse(*why)
	}
	out.Passes, out.Price, out.Reserve = m.Rounds(), m.Price(), m.Reserve()
	if reasons := s.book.DecideRound(hubTrainingRound(a, f, out)); len(reasons) > 0 {
		return refuse(reasons...)
	}
	return HubTrainingDecision{Asked: out, Agreement: f, Model: m}
}

// HubModel is the training of a run under the catalogue in force; nil if it has become
// another, which StoppedHubTraining says.
func (s *State) HubModel(run string) *fit.Model {
	t, ok := s.hub.trainings[run]
	if !ok {
		return nil
	}
	return s.hubModel(s.book, t)
}

func (s *State) hubModel(book *policies.Book, t *HubTraining) *fit.Model {
	p := t.Asked
	f, ok := book.Federation(p.Request.Region)
	e, there := book.Dataset(p.Request.Spec.Dataset)
	if !ok || !there || e.Ready() != nil {
		return nil
	}
	m, err := fit.Own(p.Request.Spec, e, fit.Terms{Terms: federate.Terms{MaxUnits: f.MaxUnits, Overlap: f.Overlap, Period: p.Request.Period}, Decryptors: p.Decryptors, Dishonest: f.Dishonest, Retries: p.Retries}, p.Request.Run)
	if err != nil {
		return nil
	}
	if base, err := m.Base(); err != nil || base != p.Base {
		return nil
	}
	return m
}

// HubTrainingTerms are the terms that an operator signs of a training.
func HubTrainingTerms(r entry.HubModelRequest) map[string]string {
	terms := HubTerms(HubTrainingAsk{Request: r}.asRound().Request)
	if r.Retries != nil {
		terms[request.TermRetries] = strconv.Itoa(*r.Retries)
	}
	return terms
}

// SameHubTraining compares what an operator signed with a training's request; it verifies
// no signature.
func SameHubTraining(st request.Statement, operator string, r entry.HubModelRequest) *policies.Reason {
	what := ""
	switch {
	case st.Method != request.MethodTrain:
		what = "method"
	case st.Request != r.Request:
		what = "request_id"
	case st.Licence != r.Licence:
		what = "licence"
	case st.Purpose != r.Purpose:
		what = "purpose"
	case !maps.Equal(st.Terms, HubTrainingTerms(r)):
		what = "terms"
	case st.Body != request.Commit(nil, request.TrainFields(r.Spec.Text())):
		what = "body"
	default:
		return nil
	}
	return policies.SignatureFault(request.Mismatch(what), operator)
}

// ActCancelHubTraining is what a party signs to end a training.
func ActCancelHubTraining(run string) Act {
	return Act{Method: request.MethodCancelTraining, Terms: map[string]string{request.TermTraining: run}}
}

// StoppedHubTraining says how a training that is under way ends at an instant because what
// let it be asked holds no more; nil when it may go on.
func (s *State) StoppedHubTraining(book *policies.Book, run string, at time.Time) *entry.HubModelEnded {
	t, ok := s.hub.trainings[run]
	if !ok || t.Phase != PhaseReserved {
		return nil
	}
	r := t.Asked.Request
	ask := HubTrainingAsk{Operator: t.Operator, Request: r, At: at}
	agreed, there := book.Federation(r.Region)
	var x *policies.Reason
	if !there || agreementDigest(agreed) != t.Asked.Agreement {
		x = hubReason("FEDERATION_CHANGED", "federation/"+r.Region, book.Root(), "协议已变更或终止", "the agreement was changed or ended")
	} else if all := book.DecideTraining(policies.Request{Operator: t.Operator, Licence: r.Licence, Purpose: r.Purpose, At: at}, r.Spec); len(all) > 0 {
		x = &all[0]
	} else if s.hubModel(book, t) == nil {
		e, _ := book.Dataset(r.Spec.Dataset)
		x = hubReason("TRAINING_CHANGED", "catalogue/"+r.Spec.Dataset, e.Department, "目录、脱敏或披露规则已变更，训练不再是原来的训练", "catalogue, masking or disclosure were changed: the training is no longer the one that was asked for")
	} else if all := book.DecideRound(hubTrainingRound(ask, agreed, t.Asked)); len(all) > 0 {
		x = &all[0]
	} else {
		return nil
	}
	f := &entry.HubModelEnded{Run: run, Code: x.Code, By: x.SetBy, Rule: x.Rule}
	switch x.Code {
	case "LICENCE_REVOKED", "LICENCE_EXPIRED", "LICENCE_NOT_YET_VALID":
		f.Code = LicenceEnded
	}
	return f
}

// verdictsOf verifies verdicts by the keys of a training's agreement, which whoever reads
// the certificate has.
func (s *State) verdictsOf(t *HubTraining) func(party string, text, sig []byte) error {
	f, _ := s.book.Federation(t.Asked.Request.Region)
	return func(party string, text, sig []byte) error {
		key, ok := f.KeyOf(party)
		if !ok || !signature.Verify(key, fit.VerdictBytes(text), sig) {
			return errors.New("the signature does not verify")
		}
		return nil
	}
}

// CheckHubVerdict says whether a verdict is one of a training that a contributor signed,
// whatever it says of the model: its report is of this training, at its price, and it names
// the run and the contributors.
func (s *State) CheckHubVerdict(t *HubTraining, party string, v federate.Signed) error {
	m := s.hubModel(s.book, t)
	if m == nil {
		return errors.New("the training is no longer the one that was asked for")
	}
	x, err := m.Reads(v.Text)
	switch {
	case err != nil:
		return fmt.Errorf("the verdict cannot be read: %w", err)
	case !slices.Contains(t.Asked.Contributors, party) || x.From != party || !slices.Equal(x.Contributors, t.Asked.Contributors):
		return errors.New("the verdict is not a contributor's on this training")
	case slices.Contains(t.Judged, party):
		return errors.New("the contributor has given its verdict")
	}
	return s.verdictsOf(t)(party, v.Text, v.Sig)
}

// hubTrainingRound is a training as the policy sees it.
func hubTrainingRound(a HubTrainingAsk, f policies.Federation, p *entry.HubModelAsked) policies.Round {
	return policies.Round{Region: f.Region, Self: a.Operator, Hub: f.Hub.Party, Regulator: f.With(policies.FederationRegulator)[0], Receiver: a.Operator,
		Contributors: p.Contributors, Departments: f.With(policies.FederationKey), Threshold: f.Threshold, K: f.K, Dishonest: f.Dishonest, Scheme: p.Scheme,
		Dataset: f.Dataset, Purpose: a.Request.Purpose, Period: a.Request.Period, MaxUnits: f.MaxUnits, Overlap: f.Overlap, Price: p.Price, At: a.At,
		Model: &policies.RoundModel{Spec: a.Request.Spec, Reserve: p.Reserve, Data: true}}
}
