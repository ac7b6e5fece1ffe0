package policies

import (
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
)

// KindFederation is an agreement under which a domain takes part in aggregation rounds
// (docs/federation.md).
const KindFederation Kind = "Federation"

// FederationRole is what a party does in rounds.
type FederationRole string

// Roles of parties in an agreement.
const (
	FederationContributor FederationRole = "contributor" // brings its data
	FederationKey         FederationRole = "key"         // holds a share of the departments' key
	FederationRegulator   FederationRole = "regulator"   // holds the share without which nothing opens
	FederationReceiver    FederationRole = "receiver"    // is given the releases
)

// Limits of an agreement. Those on numbers of parties are the protocol's.
const (
	maxFederationParties = 128
	maxFederationKeys    = 32
	maxContributors      = 64
	leastContributors    = 3
	maxFederations       = 64
	maxFederationUnits   = 1 << 40
)

// Federation 跨域协议: with whom, about what and at what price a domain takes part in
// aggregation rounds. What it does not name is refused. The same text stands in every
// domain's ledger; each signs it for itself: the department of the data set, or, where
// there is no such data set, the regulator.
type Federation struct {
	Region string `yaml:"region" json:"region"`
	// Hub carries the rounds; its key signs proposals and manifests.
	Hub       FederationHub     `yaml:"hub" json:"hub"`
	Parties   []FederationParty `yaml:"parties" json:"parties"`
	Threshold int               `yaml:"threshold" json:"threshold"` // of the key departments, all with mask
	Schemes   []string          `yaml:"schemes" json:"schemes"`     // bgv | mask
	// K is the least number of contributors, 3…64; Dishonest the most decryptors whose noise
	// is not counted on: a round proposes it or more.
	K         int      `yaml:"k" json:"k"`
	Dishonest int      `yaml:"dishonest" json:"dishonest"`
	Dataset   string   `yaml:"dataset" json:"dataset"`
	Columns   []string `yaml:"columns" json:"columns"`
	Purposes  []string `yaml:"purposes" json:"purposes"`
	// Periods are those that rounds may be about; empty leaves them open, and a mistyped one
	// then holds a snapshot for good.
	Periods []string `yaml:"periods,omitempty" json:"periods,omitempty"`
	// MaxUnits is the bound of each domain's privacy units, Overlap the number of domains that
	// one may stand in. Rounds are proposed under these very terms.
	MaxUnits int64         `yaml:"max_units" json:"max_units"`
	Overlap  int           `yaml:"overlap" json:"overlap"`
	Rho      FederationRho `yaml:"rho" json:"rho"`
	// Models lets models be trained over rounds; without it no round of one is joined.
	Models    *FederationModels `yaml:"models,omitempty" json:"models,omitempty"`
	NotBefore time.Time         `yaml:"not_before" json:"not_before"`
	NotAfter  time.Time         `yaml:"not_after" json:"not_after"` // exclusive
}

// FederationHub is the aggregator: a gateway by its receipt key.
type FederationHub struct {
	Party string `yaml:"party" json:"party"`
	Key   string `yaml:"key" json:"key"`
	// Origin is that of its ledger, which receivers sign their requests for; empty takes any.
	Origin string `yaml:"origin,omitempty" json:"origin,omitempty"`
}

// FederationParty is a party by its key, as in a Registry.
type FederationParty struct {
	Party string           `yaml:"party" json:"party"`
	Key   string           `yaml:"key" json:"key"`
	Roles []FederationRole `yaml:"roles" json:"roles"`
}

// FederationRho bounds prices, in ρ as decimal strings: of one round, and of all rounds
// about one period.
type FederationRho struct {
	Round  string `yaml:"round" json:"round"`
	Period string `yaml:"period" json:"period"`
}

// federated is an agreement and who put it in force.
type federated struct {
	Federation Federation
	By         string
}

// Has says whether the party has the role.
func (p FederationParty) Has(r FederationRole) bool { return slices.Contains(p.Roles, r) }

// Party looks a party up; false for the hub.
func (f Federation) Party(id string) (FederationParty, bool) {
	i := slices.IndexFunc(f.Parties, func(p FederationParty) bool { return p.Party == id })
	if i < 0 {
		return FederationParty{}, false
	}
	return f.Parties[i], true
}

// With lists the parties of a role, in order.
func (f Federation) With(r FederationRole) []string {
	var out []string
	for _, p := range f.Parties {
		if p.Has(r) {
			out = append(out, p.Party)
		}
	}
	slices.Sort(out)
	return out
}

// KeyOf is the public key of a party or of the hub.
func (f Federation) KeyOf(id string) ([]byte, bool) {
	text := ""
	if p, ok := f.Party(id); ok {
		text = p.Key
	} else if id == f.Hub.Party {
		text = f.Hub.Key
	}
	key, err := ParsePartyKey(text)
	return key, err == nil
}

// Prices are the bounds of one round and of a period.
func (f Federation) Prices() (round, period budget.Nano, err error) {
	if round, err = budget.ParseLimit(f.Rho.Round); err == nil {
		period, err = budget.ParseLimit(f.Rho.Period)
	}
	return round, period, err
}

// Federation returns an agreement, whether or not it is in force.
func (b *Book) Federation(region string) (Federation, bool) {
	r, ok := b.federations[region]
	return r.Federation, ok
}

// Federations lists the regions of agreements in order.
func (b *Book) Federations() []string { return slices.Sorted(maps.Keys(b.federations)) }

func (b *Book) putFederation(f Federation, a act) error {
	by := b.root
	if e, ok := b.datasets[f.Dataset]; ok {
		by = e.Department
		if err := b.department(by, a.signers); err != nil {
			return err
		}
	} else if !a.signers[b.root] {
		return texts.Errorf("signature of the regulator %q is missing: there is no data set %q here whose department could sign", b.root, safeName(f.Dataset))
	}
	if err := b.checkFederation(f); err != nil {
		return texts.Errorf("federation %q: %w", safeName(f.Region), err)
	}
	// Two departments of one domain may agree to two things; neither ends the other's.
	old, again := b.federations[f.Region]
	if again && old.By != by && !a.signers[old.By] {
		return texts.Errorf("federation %q is an agreement of %q, whose signature is missing: take another region, or sign together", safeName(f.Region), old.By)
	}
	if !again && len(b.federations) >= maxFederations {
		return texts.Errorf("there are %d federations; no more can be kept", maxFederations)
	}
	b.federations[f.Region] = federated{f, by}
	return nil
}

func (b *Book) checkFederation(f Federation) error {
	for what, id := range map[string]string{"region": f.Region, "party": f.Hub.Party, "dataset": f.Dataset} {
		if err := checkID(what, id); err != nil {
			return err
		}
	}
	if _, err := ParsePartyKey(f.Hub.Key); err != nil {
		return texts.Errorf("hub: %w", err)
	}
	if err := f.checkParties(); err != nil {
		return err
	}
	for _, id := range f.With(FederationReceiver) {
		if p, ok := b.parties[id]; ok && p.Key != "" {
			theirs, err := ParsePartyKey(p.Key)
			if mine, ok := f.KeyOf(id); err != nil || !ok || !slices.Equal(theirs, mine) {
				return texts.Errorf("receiver %q has another key in the registry: whom orders on that name are to stop must be one party", id)
			}
		}
	}
	for region, other := range b.federations {
		for _, p := range append(slices.Clone(f.Parties), FederationParty{Party: f.Hub.Party, Key: f.Hub.Key}) {
			if key, ok := other.Federation.KeyOf(p.Party); ok && region != f.Region {
				if mine, err := ParsePartyKey(p.Key); err != nil || !slices.Equal(mine, key) {
					return texts.Errorf("party %q has another key in federation %q: a party signs with one", p.Party, region)
				}
			}
		}
	}
	for _, s := range f.Schemes {
		if s != "bgv" && s != "mask" {
			return texts.Errorf("unknown scheme %q; known: bgv, mask", safeName(s))
		}
	}
	if len(f.Schemes) == 0 || len(f.Purposes) == 0 || len(f.Columns) == 0 {
		return texts.Errorf("schemes, purposes and columns must not be empty: what is not named is refused")
	}
	for _, p := range f.Purposes {
		if _, ok := b.purposes[p]; !ok {
			return texts.Errorf("purpose %q is not registered", safeName(p))
		}
	}
	if len(f.Periods) > maxFederationPeriods {
		return texts.Errorf("a federation names at most %d periods", maxFederationPeriods)
	}
	for _, p := range f.Periods {
		if !federationPeriod.MatchString(p) {
			return texts.Errorf("period %q is neither a year (2026) nor a month (2026-10)", safeName(p))
		}
	}
	if e, ok := b.datasets[f.Dataset]; ok {
		for _, c := range f.Columns {
			if !slices.ContainsFunc(e.Dataset.Columns, func(x Column) bool { return x.Name == c }) {
				return texts.Errorf("data set %q has no column %q", f.Dataset, safeName(c))
			}
		}
	}
	return f.checkNumbers()
}

func (f Federation) checkParties() error {
	if len(f.Parties) > maxFederationParties {
		return texts.Errorf("a federation names at most %d parties", maxFederationParties)
	}
	seen := map[string]string{f.Hub.Key: f.Hub.Party}
	for _, p := range f.Parties {
		if err := checkID("party", p.Party); err != nil {
			return err
		}
		if _, err := ParsePartyKey(p.Key); err != nil {
			return texts.Errorf("party %q: %w", p.Party, err)
		}
		if other, ok := seen[p.Key]; ok {
			return texts.Errorf("parties %q and %q have the same key: whoever holds it could speak as either", other, p.Party)
		}
		if seen[p.Key] = p.Party; slices.ContainsFunc(f.Parties, func(q FederationParty) bool { return q.Party == p.Party && q.Key != p.Key }) || p.Party == f.Hub.Party {
			return texts.Errorf("party %q stands twice", p.Party)
		}
		if len(p.Roles) == 0 {
			return texts.Errorf("party %q has no role", p.Party)
		}
		for _, r := range p.Roles {
			switch r {
			case FederationContributor, FederationKey, FederationRegulator, FederationReceiver:
			default:
				return texts.Errorf("party %q: unknown role %q; known: contributor, key, regulator, receiver", p.Party, safeName(string(r)))
			}
		}
		if p.Has(FederationRegulator) && (p.Has(FederationContributor) || p.Has(FederationKey)) {
			return texts.Errorf("the regulator %q neither contributes nor holds a department's share", p.Party)
		}
	}
	switch keys := len(f.With(FederationKey)); {
	case len(f.With(FederationRegulator)) != 1:
		return texts.Errorf("exactly one party is the regulator")
	case len(f.With(FederationReceiver)) == 0:
		return texts.Errorf("no party is a receiver")
	case keys < 1 || keys > maxFederationKeys || f.Threshold < 1 || f.Threshold > keys:
		return texts.Errorf("1 to %d parties hold a key, and the threshold lies between 1 and their number", maxFederationKeys)
	case f.K < leastContributors || f.K > len(f.With(FederationContributor)) || len(f.With(FederationContributor)) > maxContributors:
		return texts.Errorf("k is at least %d and at most the number of contributors, of which there are at most %d", leastContributors, maxContributors)
	case f.Dishonest < 0 || f.Dishonest > f.Threshold:
		return texts.Errorf("dishonest lies between 0 and the threshold")
	}
	return nil
}

func (f Federation) checkNumbers() error {
	if f.MaxUnits < 1 || f.MaxUnits > maxFederationUnits || f.Overlap < 1 || f.Overlap > maxContributors {
		return texts.Errorf("max_units lies in 1…2^40 and overlap in 1…%d", maxContributors)
	}
	round, period, err := f.Prices()
	if err != nil || round <= 0 || period < round {
		return texts.Errorf("rho.round and rho.period are positive decimal numbers, and the period's is no less than the round's")
	}
	if err := f.checkModels(period); err != nil {
		return err
	}
	if f.NotBefore.IsZero() || !f.NotAfter.After(f.NotBefore) || f.NotAfter.After(f.NotBefore.AddDate(maxTerm, 0, 0)) {
		return texts.Errorf("not_before and not_after must span a term of at most %d years", maxTerm)
	}
	return nil
}

// maxFederationPeriods bounds the list of periods: five years of months.
const maxFederationPeriods = 60

// federationPeriod is a year or a month.
var federationPeriod = regexp.MustCompile(`^[0-9]{4}(-(0[1-9]|1[0-2]))?$`)

// Round is a proposed round as far as policy is concerned: names and numbers, so that the
// ledger can keep them and an auditor decide again.
type Round struct {
	Region       string
	Self         string // the party that decides
	Hub          string
	Regulator    string
	Receiver     string
	Contributors []string
	Departments  []string // that hold shares of the key
	Threshold    int
	K            int
	Dishonest    int
	Scheme       string
	Dataset      string
	Purpose      string
	Period       string
	MaxUnits     int64
	Overlap      int
	Price        budget.Nano
	Spent        budget.Nano // by earlier rounds about the period
	At           time.Time
	// Core is the redacted core, of a contributor; nil of who has no data in the round, and of
	// a round of a model.
	Core *algebra.Core
	// Model is the training that the round is a pass of; nil of a query.
	Model *RoundModel
}

// DecideRound says whether a domain takes part in a round, and if not, every reason.
// Whatever the agreement does not name is refused.
func (b *Book) DecideRound(r Round) []Reason {
	rec, ok := b.federations[r.Region]
	f := rec.Federation
	rule := "federation/" + r.Region
	refuse := func(code, zh, en string, args ...any) Reason {
		return *reasonf(code, rule, rec.By, zh, en, args...)
	}
	if !ok {
		return []Reason{*reasonf("FEDERATION_UNKNOWN", "federation", b.root, "本域没有跨域协议“%s”", "this domain has no federation %q", r.Region).
			hint("由数源部门签名跨域协议（kind: Federation）后执行 sandgate policy apply", "the department signs a Federation and runs sandgate policy apply")}
	}
	if r.At.Before(f.NotBefore) || !r.At.Before(f.NotAfter) {
		return []Reason{refuse("FEDERATION_NOT_IN_FORCE", "跨域协议“%s”不在有效期内", "federation %q is not in force at this time", r.Region)}
	}
	var out []Reason
	add := func(x *Reason) {
		if x != nil {
			out = append(out, *x)
		}
	}
	for _, x := range f.outside(r) {
		out = append(out, refuse("FEDERATION_OUTSIDE", "跨域协议“%s”不含：%s", "federation %q does not have: %s", r.Region, x))
	}
	add(b.Suspended(Target{Kind: TargetGateway}))
	add(b.receives(r.Receiver))
	most, period, err := f.Prices()
	named := true
	if r.Model != nil {
		var x []Reason
		most, x = f.decideTraining(*r.Model, rec.By)
		out, named = append(out, x...), f.Models != nil
	}
	if named && (err != nil || r.Price <= 0 || r.Price > most || r.Spent > period-r.Price) {
		out = append(out, refuse("FEDERATION_PRICE", "跨域协议“%s”：本轮价格 ρ %s 超出每轮 %s 或本期次 %s（已用 %s）", "federation %q: the price ρ %s of the round is beyond %s a round or %s a period (%s spent)", r.Region, r.Price.String(), most.String(), f.Rho.Period, r.Spent.String()))
	}
	if r.Core == nil && (r.Model == nil || !r.Model.Data) {
		return out[:min(len(out), maxReasons)]
	}
	out = append(out, b.decideRoundData(r, rec)...)
	return out[:min(len(out), maxReasons)]
}

// receives says what the domain's own registry and orders have against a receiver. One that
// is not registered here is known by the agreement alone.
func (b *Book) receives(party string) *Reason {
	if x := b.Suspended(Target{TargetOperator, party}); x != nil {
		return x
	}
	switch p, ok := b.parties[party]; {
	case ok && p.Withdrawn:
		return reasonf("PARTY_WITHDRAWN", b.endedBy(Target{TargetOperator, party}, "R37"), b.root, "“%s”的账号已停用", "the account of %q was withdrawn", party)
	case ok && p.Abroad:
		return reasonf("RECIPIENT_ABROAD", "R38", b.root, "“%s”在境外，未经评估不得向境外提供", "%q is outside the border; nothing is exported without its assessment", party)
	}
	return nil
}

// outside names what a round has and the agreement has not.
func (f Federation) outside(r Round) []string {
	var out []string
	need := func(ok bool, what string) {
		if !ok {
			out = append(out, what)
		}
	}
	has := func(id string, role FederationRole) bool { p, ok := f.Party(id); return ok && p.Has(role) }
	need(r.Hub == f.Hub.Party, "hub "+r.Hub)
	need(has(r.Regulator, FederationRegulator), "regulator "+r.Regulator)
	need(has(r.Receiver, FederationReceiver), "receiver "+r.Receiver)
	for _, c := range r.Contributors {
		need(has(c, FederationContributor), "contributor "+c)
	}
	for _, d := range r.Departments {
		need(has(d, FederationKey), "key "+d)
	}
	_, named := f.Party(r.Self)
	need(named, "party "+r.Self)
	need(r.Threshold >= f.Threshold, "threshold")
	need(r.K >= f.K && len(r.Contributors) >= f.K, "k")
	need(r.Dishonest >= f.Dishonest, "dishonest")
	need(slices.Contains(f.Schemes, r.Scheme), "scheme "+r.Scheme)
	need(r.Dataset == f.Dataset, "dataset "+r.Dataset)
	need(slices.Contains(f.Purposes, r.Purpose), "purpose "+r.Purpose)
	need(len(f.Periods) == 0 || slices.Contains(f.Periods, r.Period), "period "+safeName(r.Period))
	need(r.MaxUnits == f.MaxUnits, "max_units")
	need(r.Overlap == f.Overlap, "overlap")
	return out
}

// decideRoundData is what the domain's own rules on its data say.
func (b *Book) decideRoundData(r Round, rec federated) []Reason {
	var out []Reason
	add := func(x *Reason) {
		if x != nil {
			out = append(out, *x)
		}
	}
	id := r.Dataset
	e, ok := b.datasets[id]
	switch {
	case !ok:
		return []Reason{*reasonf("DATASET_UNKNOWN", "catalogue", b.root, "目录中没有数据集“%s”", "data set %q is not in the catalogue", id)}
	case e.Ready() != nil:
		return []Reason{*e.Ready()}
	case rec.By != e.Department:
		return []Reason{*reasonf("FEDERATION_UNSIGNED", "federation/"+r.Region, e.Department, "数源部门“%s”未签署跨域协议“%s”", "the department %q of the data set has not signed federation %q", e.Department, r.Region)}
	}
	add(b.Suspended(Target{TargetDataset, id}))
	core := algebra.Core{Tables: []algebra.Table{{Dataset: id}}}
	switch {
	case r.Model == nil:
		core = *r.Core
	case r.Model.Spec.Dataset == id:
		core = b.modelCore(r.Model.Spec)
		out = append(out, b.decideTrainingData(r.Model.Spec, e, rec)...)
	default:
		core.Tables[0].Dataset = r.Model.Spec.Dataset
	}
	if !slices.Equal(core.Datasets(), []string{id}) {
		add(reasonf("FEDERATION_OUTSIDE", "federation/"+r.Region, e.Department, "查询使用了跨域协议“%s”之外的数据集", "the query uses a data set that is not in federation %q", r.Region))
	}
	if !slices.Contains(e.Rule.Purposes, r.Purpose) {
		add(reasonf("PURPOSE_NOT_ALLOWED", "disclosure/"+id, e.Department, "数据集“%s”的数源部门未允许用途“%s”", "the department of data set %q does not allow purpose %q", id, r.Purpose))
	}
	if e.Dataset.Consent == ConsentRequired || e.Dataset.SharedFrom != "" {
		add(reasonf("CONSENT_REQUIRED", "catalogue/"+id, e.Department, "数据集“%s”须经数据主体或提供方同意，不参加跨域聚合", "data set %q needs the consent of its subjects or its provider and takes no part in rounds", id))
	}
	uses := Uses(core)
	if r.Model != nil {
		uses = nil // see decideTrainingData
	}
	for _, u := range uses {
		if !slices.Contains(rec.Federation.Columns, u.Column) {
			add(reasonf("FEDERATION_OUTSIDE", "federation/"+r.Region, e.Department, "跨域协议“%s”不含列“%s”", "federation %q does not have column %q", r.Region, u.Column))
		} else if !slices.Contains(e.Rule.Uses[u.Column], u.Use) {
			add(reasonf("USE_NOT_ALLOWED", "disclosure/"+u.Dataset, e.Department, "数源部门未允许把列“%s.%s”用作 %s", "the department does not allow column %q.%q as a %s", u.Dataset, u.Column, string(u.Use)))
		}
	}
	out = append(out, b.Withheld(core, r.At)...)
	q := Request{Operator: r.Receiver, Purpose: r.Purpose, At: r.At, Core: core}
	if len(out) == 0 {
		add(b.decideLevel(core))
		add(b.decideWitnesses(b.WaitOf(core)))
	}
	for _, x := range slices.Concat(b.decideMasks(q), b.decidePseudonyms(q.Core), b.decideOfTable(q)) {
		add(x)
	}
	if len(b.PseudonymKeys(q.Core)) > 0 {
		add(reasonf("FEDERATION_PSEUDONYMS", "masking/"+id, e.Department, "分组列是假名，各域不同，不能跨域相加", "a key is a pseudonym, which differs in every domain and cannot be added up"))
	}
	return out
}
