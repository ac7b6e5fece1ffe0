package state

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/query"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
	"github.com/sandgate/sandgate/policies/signature"
)

// HubRound is what the ledger of the aggregator says of one round across domains 聚合轮次.
type HubRound struct {
	Operator string
	Phase    Phase // RESERVED (under way, nothing is reserved here), RELEASED or FAILED
	At       int64 // first entry, Unix milliseconds
	Seq      uint64
	Proposed *entry.HubProposed
	Released *entry.HubReleased
	Failed   *entry.HubFailed
	// FinishSeq and FinishAt are of the entry that ended it.
	FinishSeq uint64
	FinishAt  int64
	// Regulator puts the answer together; Parties are all that answer, in order; Overlap is
	// how many domains one privacy unit may stand in: as the agreement had it then.
	Regulator string
	Parties   []string
	Overlap   int
}

// hub is their projection.
type hub struct {
	all      map[string]*HubRound
	order    []string
	sessions map[string]bool

	trainings     map[string]*HubTraining
	trainingOrder []string
}

func newHub() hub {
	return hub{all: map[string]*HubRound{}, sessions: map[string]bool{}, trainings: map[string]*HubTraining{}}
}

func (h hub) clone() hub {
	all := map[string]*HubRound{}
	for id, r := range h.all {
		own := *r
		all[id] = &own
	}
	trainings := map[string]*HubTraining{}
	for id, t := range h.trainings {
		own := *t
		own.Passes, own.Verdicts = slices.Clone(t.Passes), slices.Clone(t.Verdicts)
		trainings[id] = &own
	}
	return hub{all, slices.Clone(h.order), maps.Clone(h.sessions), trainings, slices.Clone(h.trainingOrder)}
}

// Limits of rounds under way, of all operators and of one.
const (
	hubRounds      = 8
	hubRoundsOfOne = 4
	hubTimeLeast   = 10
	hubTimeMost    = 3600
	hubTime        = 120 // unless asked otherwise, in seconds
)

// HubRoundID derives a round's id from who asks and the request id.
func HubRoundID(operator, request string) string {
	sum := sha256.Sum256([]byte("sandgate/round/v1\n" + requestKey(operator, request)))
	return hex.EncodeToString(sum[:10])
}

// HubRound returns a copy of what is known of one.
func (s *State) HubRound(id string) (HubRound, bool) {
	r, ok := s.hub.all[id]
	if !ok {
		return HubRound{}, false
	}
	return *r, true
}

// HubRounds lists ids in the order of their first entry.
func (s *State) HubRounds() []string { return slices.Clone(s.hub.order) }

// OpenHubRounds lists the rounds without an outcome, in order.
func (s *State) OpenHubRounds() []string {
	return slices.DeleteFunc(s.HubRounds(), func(id string) bool { return s.hub.all[id].Phase != PhaseReserved })
}

// HubAsk is a round to decide.
type HubAsk struct {
	Operator string
	Request  entry.HubRequest
	At       time.Time
}

// HubDecision is the outcome: reasons, or a proposal but for its session, under the
// agreement and terms.
type HubDecision struct {
	Reasons   []policies.Reason
	Proposed  *entry.HubProposed
	Agreement policies.Federation
	Terms     query.Terms
}

var hubPeriod = regexp.MustCompile(`^[0-9]{4}(-(0[1-9]|1[0-2]))?$`)

func hubReason(code, rule, by, zh, en string, args ...any) *policies.Reason {
	return &policies.Reason{Code: code, Rule: rule, SetBy: by, ZH: fmt.Sprintf(zh, args...), EN: fmt.Sprintf(en, args...)}
}

// DecideHubRound is pure, as Decide is. What it decides is whether this operator may put this
// query to the domains; whether they take part is for each of them.
func (s *State) DecideHubRound(a HubAsk) HubDecision {
	refuse := func(x ...policies.Reason) HubDecision { return HubDecision{Reasons: x} }
	f, x := s.agreement(a)
	if x != nil {
		return refuse(*x)
	}
	r := a.Request
	if r.Core == nil {
		return refuse(policies.Reason{Code: "NO_QUERY", Rule: "core language", SetBy: "sandgate", ZH: "没有查询", EN: "there is no query"})
	}
	if sets := r.Core.Datasets(); len(sets) != 1 || sets[0] != f.Dataset {
		return refuse(*hubReason("ROUND_DATASET", "federation/"+f.Region, s.book.Root(), "协议“%s”只涵盖数据集“%s”", "agreement %q is about data set %q alone", f.Region, f.Dataset))
	}
	out, terms := s.hubProposed(a, f)
	if x := s.checkAsked(r, f); x != nil {
		return refuse(*x)
	}
	price, x := s.hubPrice(r, f, terms)
	if x != nil {
		return refuse(*x)
	}
	out.Price = price
	if reasons := s.hubReasons(a, f, out, s.book, a.At); len(reasons) > 0 {
		return refuse(reasons...)
	}
	if x := s.hubBusy(a.Operator); x != nil {
		return refuse(*x)
	}
	return HubDecision{Proposed: out, Agreement: f, Terms: terms}
}

// hubBusy refuses what is more than a hub or an operator may have under way: rounds, and
// trainings, each of which has a round at a time.
func (s *State) hubBusy(operator string) *policies.Reason {
	open, own := 0, 0
	count := func(by string) {
		if open++; by == operator {
			own++
		}
	}
	for _, id := range s.OpenHubRounds() {
		count(s.hub.all[id].Operator)
	}
	for _, id := range s.OpenHubTrainings() {
		count(s.hub.trainings[id].Operator)
	}
	if open < hubRounds && own < hubRoundsOfOne {
		return nil
	}
	return hubReason("ROUNDS_BUSY", "federation", "sandgate", "进行中的轮次与训练已满：一家机构至多 %d 个，全部至多 %d 个；请稍后再提", "as many rounds and trainings run as may: %d of one operator, %d in all; propose it later", hubRoundsOfOne, hubRounds)
}

// agreement finds the agreement of an ask, and holds who stands in it against the
// registry: each party signs under one key.
func (s *State) agreement(a HubAsk) (policies.Federation, *policies.Reason) {
	root := s.book.Root()
	f, ok := s.book.Federation(a.Request.Region)
	if !ok {
		return f, hubReason("FEDERATION_UNKNOWN", "federation", root, "没有名为“%s”的跨域协议", "there is no agreement %q", a.Request.Region)
	}
	rule := "federation/" + f.Region
	if !slices.Contains(f.With(policies.FederationReceiver), a.Operator) {
		return f, hubReason("ROUND_RECEIVER", rule, root, "协议未将“%s”列为接收方", "the agreement does not name %q as a receiver", a.Operator)
	}
	for _, m := range f.Parties {
		p, ok := s.book.Party(m.Party)
		switch {
		case !ok:
			return f, hubReason("ROUND_PARTY", rule, root, "协议的一方“%s”不在登记表中", "party %q of the agreement is not in the registry", m.Party)
		case p.Withdrawn || p.Abroad:
			return f, hubReason("ROUND_PARTY", rule, root, "协议的一方“%s”已退出", "party %q of the agreement has left", m.Party)
		case p.Key != m.Key:
			return f, hubReason("ROUND_PARTY", rule, root, "“%s”的公钥与登记表不符", "the key of party %q is not the one in the registry", m.Party)
		}
	}
	return f, nil
}

// hubProposed fills in what an ask left to the agreement.
func (s *State) hubProposed(a HubAsk, f policies.Federation) (*entry.HubProposed, query.Terms) {
	r := a.Request
	out := &entry.HubProposed{Request: r, Agreement: agreementDigest(f), Scheme: r.Scheme, Contributors: r.Contributors, Deadline: a.At.Unix() + hubTime}
	if out.Scheme == "" {
		out.Scheme = f.Schemes[0]
	}
	if r.Seconds != 0 {
		out.Deadline = a.At.Unix() + int64(r.Seconds)
	}
	if len(out.Contributors) == 0 {
		out.Contributors = f.With(policies.FederationContributor)
	}
	return out, query.Terms{MaxUnits: f.MaxUnits, Overlap: f.Overlap, Period: r.Period}
}

// checkAsked says what is wrong with what was asked for by itself.
func (s *State) checkAsked(r entry.HubRequest, f policies.Federation) *policies.Reason {
	if !hubPeriod.MatchString(r.Period) {
		return hubReason("ROUND_PERIOD", "request", "sandgate", "期次须为年（2026）或月（2026-10）", "the period is a year (2026) or a month (2026-10)")
	}
	if n := r.Seconds; n != 0 && (n < hubTimeLeast || n > hubTimeMost) {
		return hubReason("ROUND_SECONDS", "request", "sandgate", "时限须在 %d 至 %d 秒之间", "a round takes %d to %d seconds", hubTimeLeast, hubTimeMost)
	}
	for i, c := range r.Contributors {
		if p, ok := f.Party(c); !ok || !p.Has(policies.FederationContributor) || i > 0 && r.Contributors[i-1] >= c {
			return hubReason("ROUND_PARTY", "federation/"+f.Region, s.book.Root(), "有一方不是协议的参与方，或列出两次、次序不对（第 %d 个）", "domain %d asked for is no contributor of the agreement, or stands twice or out of order", i+1)
		}
	}
	return nil
}

// hubReasons is what licence and agreement say against a round at an instant.
func (s *State) hubReasons(a HubAsk, f policies.Federation, p *entry.HubProposed, book *policies.Book, at time.Time) []policies.Reason {
	r := a.Request
	if out := book.Decide(policies.Request{Operator: a.Operator, Licence: r.Licence, Purpose: r.Purpose, At: at, Core: *r.Core}); len(out) > 0 {
		return out
	}
	return book.DecideRound(policies.Round{Region: f.Region, Self: a.Operator, Hub: f.Hub.Party, Regulator: f.With(policies.FederationRegulator)[0], Receiver: a.Operator,
		Contributors: p.Contributors, Departments: f.With(policies.FederationKey), Threshold: f.Threshold, K: f.K, Dishonest: f.Dishonest, Scheme: p.Scheme,
		Dataset: f.Dataset, Purpose: r.Purpose, Period: r.Period, MaxUnits: f.MaxUnits, Overlap: f.Overlap, Price: p.Price, At: at, Core: r.Core})
}

// hubPrice is what every domain charges, by the policy that is in force here.
func (s *State) hubPrice(r entry.HubRequest, f policies.Federation, terms query.Terms) (price budget.Nano, x *policies.Reason) {
	e, _ := s.book.Dataset(f.Dataset)
	if x := e.Ready(); x != nil {
		return 0, x
	}
	facts, err := factsOf(e)
	if err != nil {
		return 0, missing("POLICY_INVALID", f.Dataset, e.Department, "数据集“%s”的规则无法读取", "the rules of data set %q cannot be read")
	}
	asked := r.Price
	if asked == 0 {
		asked = facts.QueryRho
	}
	plan, x := protect.Build(*r.Core, []protect.Facts{facts}, asked)
	if x != nil {
		return 0, x
	}
	q, err := query.New(plan, terms, "")
	if err != nil {
		return 0, hubReason("ROUND_QUERY", "federation/"+f.Region, "sandgate", "不能跨域相加：须为 dp 方式、每个度量都有噪声、每个分组键都有公开代码表，且单元数上限与取值范围相称",
			"this cannot be added up across domains: it takes dp mode, noise on every measure, a public code list for every key, and a bound of units that fits the values' range")
	}
	return (&federate.Proposal{Columns: q.Columns()}).Price(), nil
}

// agreementDigest names an agreement by its content.
func agreementDigest(f policies.Federation) string {
	text, err := json.Marshal(f)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(append([]byte("sandgate/agreement/v1\n"), text...))
	return hex.EncodeToString(sum[:])
}

// DomainsDigest is what a signed request says of the domains asked for; empty for all.
func DomainsDigest(domains []string) string {
	if len(domains) == 0 {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.Join(domains, "\n") + "\n"))
	return hex.EncodeToString(sum[:])
}

// HubTerms are the terms that an operator signs of a round.
func HubTerms(r entry.HubRequest) map[string]string {
	terms := map[string]string{}
	put := func(name, value string) {
		if value != "" {
			terms[name] = value
		}
	}
	put(request.TermRegion, r.Region)
	put(request.TermPeriod, r.Period)
	put(request.TermScheme, r.Scheme)
	put(request.TermDomains, DomainsDigest(r.Contributors))
	if r.Price != 0 {
		put(request.TermPrice, strconv.FormatInt(int64(r.Price), 10))
	}
	if r.Seconds != 0 {
		put(request.TermSeconds, strconv.Itoa(r.Seconds))
	}
	return terms
}

// SameHubRound compares what an operator signed with a round's request; it verifies no
// signature.
func SameHubRound(st request.Statement, operator string, r entry.HubRequest) *policies.Reason {
	what := ""
	switch {
	case st.Method != request.MethodRound:
		what = "method"
	case st.Request != r.Request:
		what = "request_id"
	case st.Licence != r.Licence:
		what = "licence"
	case st.Purpose != r.Purpose:
		what = "purpose"
	case !maps.Equal(st.Terms, HubTerms(r)):
		what = "terms"
	case st.Body == "":
		what = "body"
	default:
		return nil
	}
	return policies.SignatureFault(request.Mismatch(what), operator)
}

func (s *State) applyHubProposed(e *entry.Entry) error {
	p := e.HubProposed
	r := p.Request
	if r.Round != HubRoundID(e.Actor, r.Request) {
		return errors.New("id is not derived from operator and request id")
	}
	if _, used := s.hub.all[r.Round]; used || s.hub.sessions[p.Session] {
		return errors.New("request id or session was used before")
	}
	if x := s.CheckSigned(e.Signed, e.Actor, e.Time()); x != nil {
		return x
	}
	if x := SameHubRound(e.Signed.Statement, e.Actor, r); x != nil {
		return x
	}
	if x := s.book.Authorize(e.Actor, policies.ActProposeRound, policies.Resource{}); x != nil {
		return x
	}
	d := s.DecideHubRound(HubAsk{Operator: e.Actor, Request: r, At: e.Time()})
	if d.Proposed == nil {
		return fmt.Errorf("the rules in force refuse the round (%s)", d.Reasons[0].Code)
	}
	d.Proposed.Session = p.Session
	if err := same("proposal", p, d.Proposed); err != nil {
		return err
	}
	keys := d.Agreement.With(policies.FederationKey)
	regulator := d.Agreement.With(policies.FederationRegulator)[0]
	parties := append(append([]string{regulator}, keys...), p.Contributors...)
	slices.Sort(parties)
	s.hub.all[r.Round] = &HubRound{Operator: e.Actor, Phase: PhaseReserved, At: e.At, Seq: e.Seq, Proposed: p,
		Regulator: regulator, Parties: slices.Compact(parties), Overlap: d.Agreement.Overlap}
	s.hub.order = append(s.hub.order, r.Round)
	s.hub.sessions[p.Session] = true
	s.seen(e, entry.Request{Licence: r.Licence}, nil)
	return nil
}

// StoppedHubRound says how a round that is under way ends at an instant because what let it
// be proposed holds no more; nil when it may go on.
func (s *State) StoppedHubRound(book *policies.Book, id string, at time.Time) *entry.HubFailed {
	r, ok := s.hub.all[id]
	if !ok || r.Phase != PhaseReserved {
		return nil
	}
	ask := HubAsk{Operator: r.Operator, Request: r.Proposed.Request}
	agreed, there := book.Federation(ask.Request.Region)
	var x *policies.Reason
	if !there || agreementDigest(agreed) != r.Proposed.Agreement {
		x = hubReason("FEDERATION_CHANGED", "federation/"+ask.Request.Region, book.Root(), "协议已变更或终止", "the agreement was changed or ended")
	} else if all := s.hubReasons(ask, agreed, r.Proposed, book, at); len(all) > 0 {
		x = &all[0]
	} else {
		return nil
	}
	f := &entry.HubFailed{Round: id, Code: x.Code, By: x.SetBy, Rule: x.Rule}
	switch x.Code {
	case "LICENCE_REVOKED", "LICENCE_EXPIRED", "LICENCE_NOT_YET_VALID":
		f.Code = LicenceEnded
	}
	return f
}

func (s *State) applyHubReleased(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	p := e.HubReleased
	r, ok := s.hub.all[p.Round]
	if !ok || r.Phase != PhaseReserved {
		return errors.New("round is not under way")
	}
	if e.At >= r.Proposed.Deadline*1000 {
		return errors.New("the deadline of the round is over")
	}
	if x := s.StoppedHubRound(s.book, p.Round, e.Time()); x != nil {
		return fmt.Errorf("the round may no longer go on (%s)", x.Code)
	}
	m, err := federate.DecodeMessage(p.Result)
	if err != nil || m.Kind != federate.KindResult || m.Session != r.Proposed.Session || m.From != r.Regulator || m.Result.Release == "" {
		return errors.New("the result is not that of the round")
	}
	if m.Result.Content != p.Digest {
		return errors.New("the digest of the release is not the one that the regulator signed")
	}
	key, ok := s.book.PartyKey(r.Regulator)
	if !ok || !signature.Verify(key, federate.SigningBytes(p.Result), p.Sig) {
		return errors.New("the result is not signed by the regulator's key in force")
	}
	r.Phase, r.Released, r.FinishSeq, r.FinishAt = PhaseReleased, p, e.Seq, e.At
	s.released++
	return nil
}

func (s *State) applyHubFailed(e *entry.Entry) error {
	f := e.HubFailed
	r, ok := s.hub.all[f.Round]
	if !ok || r.Phase != PhaseReserved {
		return errors.New("round is not under way")
	}
	if f.Code == Cancelled {
		if err := s.signedAct(e, f.By, ActCancelHubRound(f.Round)); err != nil {
			return err
		}
		if x := s.book.Authorize(f.By, policies.ActCancelRound, policies.Resource{Operator: r.Operator}); x != nil {
			return x
		}
		s.acted(e, f.By)
	} else {
		if err := s.gateway(e); err != nil {
			return err
		}
		if e.Signed != nil {
			return errors.New("the entry holds a signed request, which its kind does not take")
		}
		// A failure that names what stopped it is decided again.
		if want := s.StoppedHubRound(s.book, f.Round, e.Time()); f.Rule != "" && (want == nil || want.Code != f.Code || want.By != f.By || want.Rule != f.Rule) {
			return errors.New("nothing in force stops the round as the entry says")
		}
	}
	if f.Party != "" && !slices.Contains(r.Parties, f.Party) {
		return errors.New("the party to blame has no part in the round")
	}
	r.Phase, r.Failed, r.FinishSeq, r.FinishAt = PhaseFailed, f, e.Seq, e.At
	return nil
}

// ActCancelHubRound is what a party signs to end a round.
func ActCancelHubRound(round string) Act {
	return Act{Method: request.MethodCancelRound, Terms: map[string]string{request.TermRound: round}}
}
