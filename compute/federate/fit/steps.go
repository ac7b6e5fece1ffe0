package fit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// Answer is what a round released: noisy sums, which every party of the training may see.
type Answer struct {
	Session string  `json:"session"`
	Values  []int64 `json:"values"`
}

// Brief is the federate.ModelBrief.Step of a round: all that a party needs to find out by
// itself what the round is to sum.
type Brief struct {
	Run        string `json:"run"`
	Decryptors int    `json:"decryptors"`
	Dishonest  int    `json:"dishonest"`
	Retries    int    `json:"retries"`
	// Spec is the specification as its operator signed it, without the defaults that a
	// design fills in.
	Spec policies.ModelSpec `json:"spec"`
	// Design is the asked one as the proposer has it. A domain makes its own of
	// Spec and its own catalogue; only who has no catalogue goes by this one, which the
	// schema binds.
	Design model.Design `json:"design"`
	// Answers of all rounds so far, in the order of the passes.
	Answers []Answer `json:"answers"`
}

// Brief is that of the round after these answers. Its Spec is that of the design; whoever
// knows how the operator signed it puts that in its place.
func (m *Model) Brief(answers []Answer) Brief {
	return Brief{Spec: m.joint.Spec, Run: m.run, Decryptors: m.terms.Decryptors, Dishonest: m.terms.Dishonest, Retries: m.terms.Retries, Design: m.joint, Answers: answers}
}

// Encode writes the brief the one way it is written.
func (b Brief) Encode() (json.RawMessage, error) {
	if b.Answers == nil {
		b.Answers = []Answer{}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(b); err != nil {
		return nil, errBrief
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

var errBrief = errors.New("failed to read the brief of a training: not in canonical form")

// DecodeBrief reads what Encode wrote and nothing else.
func DecodeBrief(text []byte) (Brief, error) {
	var b Brief
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if len(text) > federate.MaxBrief || dec.Decode(&b) != nil || len(b.Answers) > MaxRounds {
		return Brief{}, errBrief
	}
	again, err := b.Encode()
	if err != nil || !bytes.Equal(again, text) {
		return Brief{}, errBrief
	}
	return b, nil
}

// Of makes the training of a brief with a design: a domain's own, or the brief's for a
// party that has no data.
func Of(b Brief, t federate.Terms, d model.Design) (m *Model, err error) {
	defer caught(&err)
	if !completes(b.Spec, d.Spec) {
		return nil, errBrief
	}
	return New(d, Terms{Terms: t, Decryptors: b.Decryptors, Dishonest: b.Dishonest, Retries: b.Retries}, b.Run)
}

// completes says whether a design's specification is the asked one with defaults filled in
// and nothing else changed: what was signed is what is trained, for a party too that has
// no catalogue to make the design from.
func completes(asked, full policies.ModelSpec) bool {
	if asked.RowsPerUnit == 0 || full.RowsPerUnit == 1 { // a data set may have one row a unit
		asked.RowsPerUnit = full.RowsPerUnit
	}
	if asked.HoldOut == 0 {
		asked.HoldOut = full.HoldOut
	}
	own, theirs := reflect.ValueOf(&asked.Setting).Elem(), reflect.ValueOf(full.Setting)
	for i := range own.NumField() {
		if own.Field(i).IsZero() {
			own.Field(i).Set(theirs.Field(i))
		}
	}
	return asked.Text() == full.Text()
}

// caught keeps a design that another party made up from ending the process.
func caught(err *error) {
	if recover() != nil {
		*err = errBrief
	}
}

// Step is one round of a training.
type Step struct {
	Index, Of int // Index counts from 0
	// Pass is what each domain's worker sums: over units in training, or over those held out
	// if it is one of scores.
	Pass    model.Pass
	Query   string
	Schema  string
	Columns []federate.Column
	terms   Terms
}

// Outcome is a trained model, before the domains have tried it.
type Outcome struct {
	Parameters *model.Parameters
	Evaluation model.Evaluation
	File       []byte // the parameter file
	Digest     string // of the parameters
}

var errAsked = errors.New("a pass is to be answered")

// asking is the oracle of what nobody has answered.
type asking struct{ pass *model.Pass }

func (a *asking) Sums(_ context.Context, p model.Pass) ([]int64, error) {
	a.pass = &p
	return nil, errAsked
}

// Next goes by the answers so far to the next round, or to the outcome when all rounds have
// answered. Equal answers give an equal step, at every party. An error that the answers
// give rise to is a *policies.Reason, drawn from noisy sums, and ends the training.
func (m *Model) Next(ctx context.Context, answers []Answer) (step *Step, out *Outcome, err error) {
	defer caught(&err)
	passes := len(m.plan.Passes)
	if len(answers) > passes+1 {
		return nil, nil, errBrief
	}
	var values [][]int64
	for i, a := range answers {
		if len(a.Values) != m.pass(i).Width {
			return nil, nil, errBrief
		}
		values = append(values, a.Values)
	}
	ask := &asking{}
	p, err := model.Train(ctx, m.design, model.Replay(values[:min(len(values), passes)], ask), nil)
	switch {
	case ask.pass != nil:
		if err := m.plan.Admit(len(answers), *ask.pass); err != nil {
			return nil, nil, err
		}
		step, err = m.step(answers, *ask.pass)
		return step, nil, err
	case err != nil:
		return nil, nil, err
	case len(answers) < passes:
		return nil, nil, errBrief // a private training uses every pass
	}
	p.Rho = m.Training().String() // of a unit in all the domains, not in one
	if len(answers) == passes {
		pass := m.plan.Evaluation
		pass.Model = p
		step, err = m.step(answers, pass)
		return step, nil, err
	}
	out = &Outcome{Parameters: p}
	if out.Evaluation, err = model.Evaluate(values[passes], m.design); err != nil {
		return nil, nil, err
	}
	if out.File, err = p.Encode(); err != nil {
		return nil, nil, err
	}
	if out.Digest, err = p.Digest(); err != nil {
		return nil, nil, err
	}
	return nil, out, nil
}

func (m *Model) step(answers []Answer, p model.Pass) (*Step, error) {
	base, err := m.Base()
	if err != nil {
		return nil, err
	}
	var chain []string
	for _, a := range answers {
		chain = append(chain, a.Session, federate.ValuesDigest(a.Values))
	}
	s := &Step{Index: len(answers), Of: m.Rounds(), Pass: p, Query: m.Query(), Columns: m.columns[len(answers)], terms: m.terms}
	s.Schema, err = digest("schema", struct {
		Base  string     `json:"base"`
		Index int        `json:"index"`
		Chain []string   `json:"chain"`
		Pass  model.Pass `json:"pass"`
	}{base, s.Index, chain, p})
	return s, err
}

// Fits says whether a proposal is this round's.
func (s *Step) Fits(p *federate.Proposal) bool {
	return p.Query == s.Query && p.Schema == s.Schema && p.Decryptors() == s.terms.Decryptors && p.Dishonest == s.terms.Dishonest &&
		sameColumns(p.Columns, s.Columns)
}

func sameColumns(a, b []federate.Column) bool {
	return slices.EqualFunc(a, b, func(a, b federate.Column) bool {
		return a.Name == b.Name && a.Cells == b.Cells && a.Low == b.Low && a.High == b.High && a.Sigma2 != nil && a.Sensitivity2 != nil &&
			a.Sigma2.Cmp(b.Sigma2) == 0 && a.Sensitivity2.Cmp(b.Sensitivity2) == 0
	})
}

// Cells are a domain's, from the exact sums of its worker: the sums themselves, held to
// their bounds. The error holds no value.
func (s *Step) Cells(sums []int64) ([]int64, error) {
	c := s.Columns[0]
	if len(sums) != c.Cells {
		return nil, errors.New("failed to contribute: the sums do not have the width of the pass")
	}
	for _, x := range sums {
		if x < c.Low || x > c.High {
			return nil, refuse(CodeTerms, "本域隐私单元数超过约定的 max_units", "this domain has more privacy units than the max_units of the terms", "提高 max_units", "raise max_units")
		}
	}
	return sums, nil
}

// Round is a round of a training as a party's own records have it.
type Round struct {
	Session string
	Pass    int
	// Values is the digest of what was released (federate.Result); empty when the round failed
	// or has not ended.
	Values string
}

// Admit decides, before a round is joined, whether the answers that it builds on are those
// of the rounds that this party took part in, and whether another round may be made. The
// rule: what failed is asked again from the last released pass, each failed round is paid
// and counts as a retry; what was released is never asked again; after the last retry the
// training is over.
func (m *Model) Admit(history []Round, answers []Answer) *policies.Reason {
	if x := recorded(history, answers); x != nil {
		return x
	}
	if len(answers) >= m.Rounds() {
		return refuse(CodeHistory, "各轮均已完成", "all rounds have answered", "训练已结束", "the training is over")
	}
	_, x := Due(history, m.terms.Retries)
	return x
}

// EncodeValues is the release of a model's round (federate.Delivery): the noisy sums, in
// canonical JSON.
func EncodeValues(values []int64) []byte {
	text, err := json.Marshal(values)
	if err != nil {
		panic("fit: integers did not marshal")
	}
	return text
}

// DecodeValues reads what EncodeValues wrote and nothing else.
func DecodeValues(text []byte) ([]int64, error) {
	var v []int64
	if len(text) > federate.MaxMessage || json.Unmarshal(text, &v) != nil || len(v) == 0 || !bytes.Equal(EncodeValues(v), text) {
		return nil, errors.New("failed to read the sums of a round: not in canonical form")
	}
	return v, nil
}
