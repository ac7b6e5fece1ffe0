// Package fit trains a model over several domains by aggregation rounds
// (compute/federate). Every round is one pass of the trainer that a single domain uses
// (compute/model): the domains' exact integers are added up under encryption, the noise is
// in the decryption shares, and the trainer sees noisy sums alone. A linear model takes one
// round, a logistic model one and as many as it has steps; one more evaluates either.
//
// What a party knows of a training is the answers of the rounds so far. Everything else,
// where the next gradient is taken among it, every party computes from them itself, and the
// digest of it is the schema of the next round: nobody can have another looked at. The
// package is pure.
package fit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// Limits of a training.
const (
	MaxRounds  = 64 // of a model, the evaluation's included
	MaxRetries = 8
	// MostEpsilon is the greatest ε, at δ = 10⁻⁶, of what a unit is exposed to in training by
	// all domains together: the mark of the gate's family rule, which a domain holds to its
	// own part alone.
	MostEpsilon = 4
	delta       = 1e-6
)

// Codes of refusals.
const (
	CodeFamily  = "FEDERATED_FAMILY"  // only linear and logistic models are added up
	CodePrivate = "FEDERATED_PRIVATE" // the model is not trained privately, or not released as parameters
	CodeTerms   = "FEDERATED_TERMS"   // the terms contradict themselves or the model
	CodePrice   = "FEDERATED_PRICE"   // the price is too small or too great
	CodeHistory = "FEDERATED_HISTORY" // the answers are not those of this party's rounds
	CodeRetries = "FEDERATED_RETRIES" // too many rounds failed
	CodeVerdict = "FEDERATED_VERDICT" // a domain's gate did not pass the model
)

func refuse(code, zh, en, hintZH, hintEN string, args ...any) *policies.Reason {
	return &policies.Reason{Code: code, Rule: "federation", SetBy: "sandgate", ZH: fmt.Sprintf(zh, args...), EN: fmt.Sprintf(en, args...), HintZH: hintZH, HintEN: hintEN}
}

// Terms are what the domains agree on beside the model.
type Terms struct {
	federate.Terms
	// Decryptors and Dishonest are those of every round's proposal: how much noise there is
	// follows from them.
	Decryptors int `json:"decryptors"`
	Dishonest  int `json:"dishonest"`
	// Retries is how many failed rounds are made up for, 0…MaxRetries; each is paid.
	Retries int `json:"retries"`
}

// Model is a training over several domains. It must not be changed and is safe for
// concurrent use.
type Model struct {
	joint   model.Design // as it was asked for
	design  model.Design // as each domain computes it; see Design
	plan    model.Plan
	terms   Terms
	run     string
	columns [][]federate.Column // per round
	prices  []budget.Nano       // per round
}

var runPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)

// New checks that several domains can train the design, which is that of the
// specification as it was asked for: rho and rho_evaluation are what a unit pays that
// stands in as many domains as the terms allow. run is 16 random bytes, hex. Every error is
// a *policies.Reason.
func New(d model.Design, t Terms, run string) (*Model, error) {
	if d.Spec.Family != policies.FamilyLinear && d.Spec.Family != policies.FamilyLogistic {
		return nil, refuse(CodeFamily, "跨域训练不接受模型族 %s：只有 linear 与 logistic 的各遍求和可以跨域相加并逐域检验", "family %s is not trained over domains: only the sums of linear and logistic models are added up and tried in every domain", "改用 linear 或 logistic", "use linear or logistic", d.Spec.Family)
	}
	if !d.Spec.Private || d.Spec.Release != policies.ReleaseParameters {
		return nil, refuse(CodePrivate, "跨域模型须以差分隐私训练（private: true），并以参数文件发布（release: parameters）", "a model over domains is trained privately (private: true) and released as parameters (release: parameters): its exact sums exist nowhere", "写 private: true、rho 与 release: parameters", "write private: true, rho and release: parameters")
	}
	if t.MaxUnits < 1 || t.MaxUnits > 1<<40 || t.Overlap < 1 || t.Overlap > federate.MaxContributors || t.Period == "" || len(t.Period) > 64 ||
		t.Decryptors < 2 || t.Decryptors > federate.MaxDepartments+1 || t.Dishonest < 0 || t.Dishonest >= t.Decryptors || t.Retries < 0 || t.Retries > MaxRetries || !runPattern.MatchString(run) {
		return nil, refuse(CodeTerms, "约定中的单元数上限、重叠、期次、解密方、重试次数或训练编号超出范围", "the bound of units, overlap, period, decryptors, retries or run of the terms is out of range", "改正约定", "correct the terms")
	}
	// A round for the moments, one per step and one of figures; before a plan is made of steps
	// that another party wrote.
	if n := d.Spec.Setting.Steps; n < 0 || n > MaxRounds-2 {
		return nil, refuse(CodeTerms, "训练的轮数过多，至多 %d 轮", "the training takes too many rounds, at most %d are made", "减少 steps", "lower steps", MaxRounds)
	}
	asked, err := d.Plan()
	if err != nil {
		return nil, err
	}
	m := &Model{joint: d, design: d, terms: t, run: run}
	if e, err := budget.Epsilon(asked.Price(), delta); err != nil || e > MostEpsilon {
		return nil, refuse(CodePrice, "rho 对应的 ε 超过 %d", "the ε of this rho is above %d", "降低 rho", "lower rho", MostEpsilon)
	}
	m.design.Spec.Rho = m.part(asked.Price(), len(asked.Passes)).String()
	m.design.Spec.RhoEvaluation = m.part(asked.Evaluation.Rho, 1).String()
	if m.plan, err = m.design.Plan(); err != nil {
		return nil, refuse(CodePrice, "rho 或 rho_evaluation 分摊到重叠的各域与各遍后过小", "rho or rho_evaluation is too small when it is divided by overlap, decryptors and passes", "提高 rho，或减少 steps 或重叠", "raise rho, or lower steps or the overlap")
	}
	for i := range m.Rounds() {
		c, err := m.column(m.pass(i))
		if err != nil {
			return nil, err
		}
		m.columns = append(m.columns, []federate.Column{c})
		m.prices = append(m.prices, (&federate.Proposal{Columns: m.columns[i]}).Price())
	}
	if err := m.briefly(); err != nil {
		return nil, err
	}
	if last := len(asked.Passes); m.sum(0, last) > asked.Price() || m.prices[last] > asked.Evaluation.Rho {
		return nil, refuse(CodePrice, "各轮价格之和超过 rho", "the rounds cost more than rho", "提高 rho", "raise rho")
	}
	return m, nil
}

// beside is room in a brief for what is not the training's: the request with its signature,
// region, purpose, terms.
const beside = 16 << 10

// briefly refuses a training whose answers might not fit into the brief that carries them
// all, which is the trial's, before any of them is paid. A sum is at most what all domains
// together may contribute, and noise beyond 64 σ is not drawn.
func (m *Model) briefly() error {
	text, err := m.Brief(nil).Encode()
	if err != nil {
		return err
	}
	size := len(text) + beside
	for _, columns := range m.columns {
		c := columns[0]
		most := new(big.Int).Mul(big.NewInt(c.High), big.NewInt(federate.MaxContributors))
		most.Add(most, new(big.Int).Mul(new(big.Int).Add(new(big.Int).Sqrt(c.Sigma2), big.NewInt(1)), big.NewInt(64)))
		size += len(`{"session":"","values":[]},`) + hex.EncodedLen(sha256.Size) + c.Cells*(min(len(most.String()), 19)+len("-,"))
	}
	if size > federate.MaxBrief {
		return refuse(CodeTerms, "各遍的和可能放不进任务书（%d 字节）", "the sums of all passes may not fit into a brief (%d bytes)", "减少特征或代码、steps 或 max_units", "use fewer features or codes, fewer steps, or a lower max_units", federate.MaxBrief)
	}
	return nil
}

// part is what is left of a price for one domain's computation. A unit stands in Overlap
// domains, which multiplies its distance and squares its price; and the computation goes by
// the noise of all decryptors, while the price does without the dishonest ones'. A nano of
// each round is kept back, since every round's price is rounded up.
func (m *Model) part(rho budget.Nano, rounds int) budget.Nano {
	d, o := int64(m.terms.Decryptors), int64(m.terms.Overlap)
	n := new(big.Int).Mul(big.NewInt(int64(rho)-int64(rounds)), big.NewInt(d-int64(m.terms.Dishonest)))
	return budget.Nano(n.Quo(n, big.NewInt(d*o*o)).Int64())
}

// pass is the i-th round's, without parameters.
func (m *Model) pass(i int) model.Pass {
	if i == len(m.plan.Passes) {
		return m.plan.Evaluation
	}
	return m.plan.Passes[i]
}

// column is that of a pass. A unit of one domain moves its sums by Norm at most, in every
// cell and altogether.
func (m *Model) column(p model.Pass) (federate.Column, error) {
	norm := big.NewInt(p.Norm)
	square := new(big.Int).Mul(norm, norm)
	wide := new(big.Int).Mul(norm, big.NewInt(m.terms.MaxUnits))
	if p.Width < 1 || p.Width > federate.MaxCells {
		return federate.Column{}, refuse(CodeTerms, "特征过多：一遍至多 %d 个和", "there are too many features: a pass has at most %d sums", "减少特征", "use fewer features", federate.MaxCells)
	}
	if !wide.IsInt64() || wide.Int64() > federate.MaxBound {
		return federate.Column{}, refuse(CodeTerms, "此单元数上限下，各域之和可能超过 2^56", "at this bound of units a domain's sums may exceed 2^56", "降低 max_units", "lower max_units")
	}
	// ⌈norm²/2ρ⌉ is the noise that the domain's computation counts on, from all decryptors;
	// the guaranteed part of it is what is left without the dishonest ones'.
	all := ceil(new(big.Int).Mul(square, big.NewInt(1_000_000_000)), big.NewInt(2*int64(p.Rho)))
	sigma2 := ceil(new(big.Int).Mul(all, big.NewInt(int64(m.terms.Decryptors-m.terms.Dishonest))), big.NewInt(int64(m.terms.Decryptors)))
	if share := ceil(sigma2, big.NewInt(int64(m.terms.Decryptors-m.terms.Dishonest))); share.Cmp(big.NewInt(federate.MinShareVariance)) < 0 {
		return federate.Column{}, refuse(CodePrice, "价格过高：每个解密方的噪声方差至少 %d", "the price is too high: the noise of each decryptor has a variance of %d at least", "降低 rho 或 rho_evaluation", "lower rho or rho_evaluation", federate.MinShareVariance)
	}
	o := big.NewInt(int64(m.terms.Overlap))
	return federate.Column{Name: "pass." + string(p.Kind), Cells: p.Width, Low: -wide.Int64(), High: wide.Int64(),
		Sigma2: sigma2, Sensitivity2: square.Mul(square, o.Mul(o, o))}, nil
}

func ceil(a, b *big.Int) *big.Int {
	q, r := new(big.Int).QuoRem(a, b, new(big.Int))
	if r.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	return q
}

func (m *Model) sum(from, to int) (n budget.Nano) {
	for _, p := range m.prices[from:to] {
		n += p
	}
	return n
}

// Design is that of each domain's worker, for its passes and for its gate: the asked
// design at the price at which one domain's computation draws the noise of a whole round.
// Worker, trainer, evaluation and gate need to know nothing else of the other domains.
func (m *Model) Design() model.Design { return m.design }

// Asked is the design as it was asked for.
func (m *Model) Asked() model.Design { return m.joint }

// Rounds is how many rounds the training takes, the evaluation's included.
func (m *Model) Rounds() int { return len(m.plan.Passes) + 1 }

// Price is what all rounds cost, if none fails.
func (m *Model) Price() budget.Nano { return m.sum(0, len(m.prices)) }

// Training is what the rounds but the evaluation's cost.
func (m *Model) Training() budget.Nano { return m.sum(0, len(m.prices)-1) }

// Reserve is the most that the training can cost: Retries rounds fail, each the dearest.
func (m *Model) Reserve() budget.Nano {
	dearest := budget.Nano(0)
	for _, p := range m.prices {
		dearest = max(dearest, p)
	}
	return m.Price() + budget.Nano(m.terms.Retries)*dearest
}

// digest labels and hashes JSON; it fails on what is no number.
func digest(label string, v any) (string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("failed to digest a training: %w", err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "sandgate/federation/v1/fit/%s/%d\n", label, len(text))
	h.Write(text)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Query is the digest of what data the rounds are about (federate.DataDigest). It is the
// same for all passes of all models, and for all queries, of a data set and period: they
// look at the same units, so the journal's rule on sets of contributors holds over all of
// them.
func (m *Model) Query() string {
	return federate.DataDigest(m.joint.Spec.Dataset, m.terms.Period)
}

// Base is the digest of everything that the domains must have alike before the first
// round. The run in it is random and stands in briefs alone: no guess at the design can be
// tested by the schemas that ledgers hold.
func (m *Model) Base() (string, error) {
	return digest("base", struct {
		Design model.Design `json:"design"`
		Terms  Terms        `json:"terms"`
		Run    string       `json:"run"`
	}{m.design, m.terms, m.run})
}
