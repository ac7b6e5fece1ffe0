package fit

import (
	"errors"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// What a party finds out of a training by its own records: its catalogue and the rounds
// that it took part in.

// Own makes the training of a specification with a party's own catalogue entry. Every error
// but that of an entry that cannot be read is a *policies.Reason.
func Own(spec policies.ModelSpec, e policies.Entry, t Terms, run string) (m *Model, err error) {
	defer caught(&err)
	d, err := model.NewDesign(spec, e)
	if err != nil {
		return nil, err
	}
	return New(d, t, run)
}

func strange(n int) *policies.Reason {
	return refuse(CodeHistory, "第 %d 轮的结果与本方记录不符", "the answer of round %d is not that of this party's records", "以各方都有的结果继续，或重新训练", "go on from answers that all parties have, or train again", n+1)
}

// recorded holds answers to the rounds that were released: these and no others.
func recorded(history []Round, answers []Answer) *policies.Reason {
	released := map[int]Round{}
	for _, r := range history {
		if r.Values != "" {
			released[r.Pass] = r
		}
	}
	for i, a := range answers {
		r, ok := released[i]
		if !ok || r.Session != a.Session || r.Values != federate.ValuesDigest(a.Values) {
			return strange(i)
		}
	}
	for i := range released {
		if i >= len(answers) {
			return strange(i)
		}
	}
	return nil
}

// Due is the pass that the next round of a training answers, by its rounds so far: the one
// after all that were released, of which none is missing or there twice. After more failed
// rounds than are made up for there is none.
func Due(history []Round, retries int) (pass int, r *policies.Reason) {
	failed := 0
	for _, x := range history {
		switch {
		case x.Values == "":
			failed++
		case x.Pass != pass:
			return 0, strange(x.Pass)
		default:
			pass++
		}
	}
	if failed > retries {
		return 0, refuse(CodeRetries, "已有 %d 轮失败，约定至多补做 %d 轮；训练终止", "%d rounds failed and the terms make up for %d; the training is over", "重新训练", "train again", failed, retries)
	}
	return pass, nil
}

// Complete says why a model may not be tried: the answers are not those of all rounds, as
// the party took part in them.
func (m *Model) Complete(history []Round, answers []Answer) *policies.Reason {
	if x := recorded(history, answers); x != nil {
		return x
	}
	if len(answers) != m.Rounds() {
		return refuse(CodeHistory, "尚有 %d 轮未完成，不能检验", "%d rounds are still to be made; there is nothing to try", "完成全部各轮", "make all rounds first", m.Rounds()-len(answers))
	}
	return nil
}

// SameNoise says whether a proposal has columns, bounds and noise of a pass, whatever its
// parameters are: what the round costs hangs on nothing else.
func (m *Model) SameNoise(pass int, p *federate.Proposal) bool {
	return pass >= 0 && pass < len(m.columns) && p.Query == m.Query() && p.Decryptors() == m.terms.Decryptors && p.Dishonest == m.terms.Dishonest && sameColumns(p.Columns, m.columns[pass])
}

// Reads reads a verdict on this training's model and decides its report again. Which
// parameters it is about stands in it; that they are the training's own, only who has all
// answers can say (Certify), and that its contributors are, who has the rounds.
func (m *Model) Reads(text []byte) (*Verdict, error) {
	v, r, err := DecodeVerdict(text)
	if err != nil {
		return nil, err
	}
	base, err := m.Base()
	if err != nil {
		return nil, err
	}
	if v.Base != base || v.Run != m.run || v.Rho != m.Training().String() || v.RhoEvaluation != m.prices[len(m.prices)-1].String() || v.Overlap != m.terms.Overlap ||
		r.Family != m.design.Spec.Family || r.Release != policies.ReleaseParameters || !r.Private || r.Rho != m.plan.Price() || r.Features != len(m.design.Features) {
		return nil, errors.New("failed to read a verdict: it is of another training")
	}
	return v, nil
}
