package gateway

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/compute/model/gate"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/certificate"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// certificateOf is what the ledger keeps of a report. Every mark of the gate becomes a
// figure of the attack it belongs to, so that the ledger's own rule comes to the gate's
// verdict by itself; one that does not certifies nothing.
func certificateOf(text []byte) (policies.ModelCertificate, error) {
	r, err := gate.Load(text)
	if err != nil {
		return policies.ModelCertificate{}, err
	}
	c := policies.ModelCertificate{Verdict: policies.Verdict(r.Verdict), Units: int64(r.Units), Code: Version()}
	by := map[policies.ModelAttack][]policies.ModelFigure{}
	caught := int64(0)
	for _, f := range r.Attacks {
		figuresOf(f, by)
		if f.Caught() {
			caught++
		}
	}
	all := int64(len(r.Attacks)) * millionths
	by[policies.AttackControl] = []policies.ModelFigure{{Attack: policies.AttackControl, Value: caught * millionths, Low: caught * millionths, High: caught * millionths, Bound: all, Held: policies.HeldValue}}
	if slices.Contains(r.Skipped, gate.CodeAttribute) {
		// A model without a label gives no attribute away by it.
		by[policies.AttackAttribute] = []policies.ModelFigure{{Attack: policies.AttackAttribute, Bound: 0, Held: policies.HeldValue}}
	}
	for _, a := range policies.ModelAttacks {
		c.Figures = append(c.Figures, by[a]...)
	}
	for _, x := range r.Reasons {
		if !slices.Contains(c.Reasons, x.Code) {
			c.Reasons = append(c.Reasons, x.Code)
		}
	}
	c.Report = digestOf(text)
	if err := c.Check(); err != nil {
		return policies.ModelCertificate{}, fmt.Errorf("failed to certify: %w", err)
	}
	return c, nil
}

const millionths = 1_000_000

// attackOf is the attack that a figure of the gate is counted under.
func attackOf(code, name string) (policies.ModelAttack, bool) {
	switch code {
	case gate.CodeMembership:
		switch {
		case strings.HasPrefix(name, "tpr_01"):
			return policies.AttackTail, true
		case strings.HasPrefix(name, "tpr_1"):
			return policies.AttackLowFPR, true
		}
		return policies.AttackMembership, true
	case gate.CodeWorstCase:
		if name == "auc" {
			return policies.AttackMembership, true
		}
		return policies.AttackWorst, true
	case gate.CodeCanary:
		return policies.AttackCanary, true
	case gate.CodeAttribute:
		return policies.AttackAttribute, true
	case gate.CodeInversion:
		return policies.AttackInversion, true
	}
	return "", false
}

// figuresOf adds the figures of one attack. Those that count violations become one: how
// many there are. Of columns only the worst is kept.
func figuresOf(f gate.Finding, by map[policies.ModelAttack][]policies.ModelFigure) {
	missed := int64(0)
	for _, x := range f.Figures {
		if !x.Passes() {
			missed++
		}
		attack, ok := attackOf(f.Code, x.Name)
		if !ok {
			continue
		}
		v := decimalMillionths(x.Value)
		lo, hi := v, v
		if x.Lo != "" {
			lo = min(v, decimalMillionths(x.Lo))
		}
		if x.Hi != "" {
			hi = max(v, decimalMillionths(x.Hi))
		}
		for _, m := range []struct {
			mark string
			held policies.HeldTo
		}{{x.Most, policies.HeldValue}, {x.MostLo, policies.HeldLow}, {x.MostHi, policies.HeldHigh}} {
			if m.mark == "" || decimalMillionths(m.mark) > policies.LoosestBound(attack) {
				// Looser than the ledger takes: who meets the stricter marks beside it meets it.
				continue
			}
			add(by, policies.ModelFigure{Attack: attack, Value: v, Low: lo, High: hi, Bound: decimalMillionths(m.mark), Held: m.held}, x.Column != "")
		}
	}
	switch f.Code {
	case gate.CodeFamily, gate.CodeStructure:
		count(by, policies.AttackStructure, missed)
	case gate.CodeInstance:
		count(by, policies.AttackInstance, missed)
	}
}

// add adds a figure; of one that stands for a column the one nearest to its bound stays.
func add(by map[policies.ModelAttack][]policies.ModelFigure, f policies.ModelFigure, worst bool) {
	held := func(f policies.ModelFigure) int64 {
		return map[policies.HeldTo]int64{policies.HeldValue: f.Value, policies.HeldLow: f.Low, policies.HeldHigh: f.High}[f.Held]
	}
	if worst {
		for i, x := range by[f.Attack] {
			if x.Bound == f.Bound && x.Held == f.Held {
				if held(f) > held(x) {
					by[f.Attack][i] = f
				}
				return
			}
		}
	}
	by[f.Attack] = append(by[f.Attack], f)
}

// count adds violations to the one figure of an attack that counts them.
func count(by map[policies.ModelAttack][]policies.ModelFigure, a policies.ModelAttack, n int64) {
	was := int64(0)
	if len(by[a]) > 0 {
		was = by[a][0].Value
	}
	v := was + n*millionths
	by[a] = []policies.ModelFigure{{Attack: a, Value: v, Low: v, High: v, Bound: 0, Held: policies.HeldValue}}
}

// decimalMillionths reads a decimal of three places, which Load has checked.
func decimalMillionths(s string) int64 {
	n := int64(0)
	for _, c := range strings.TrimPrefix(s, "-") {
		if c != '.' {
			n = 10*n + int64(c-'0')
		}
	}
	if strings.HasPrefix(s, "-") {
		n = -n
	}
	return 1000 * n
}

// gateReasons are the reasons of a certificate in words.
func gateReasons(c policies.ModelCertificate) []policies.Reason {
	var out []policies.Reason
	for _, code := range c.Reasons {
		w := gateWords[code]
		if w[0] == "" {
			w = gateWords[""]
		}
		out = append(out, policies.Reason{Code: code, Rule: "disclosure/model-gate", SetBy: "sandgate", ZH: w[0], EN: w[1], HintZH: w[2], HintEN: w[3]})
	}
	return out
}

var gateWords = map[string][4]string{
	"":                        {"未通过合格检验", "it did not pass the release gate", "用 sandgate model certificate 查看各项结果", "see sandgate model certificate"},
	gate.CodeFamily:           {"该模型族或发布方式不允许出域", "this family, or this way of release, may not leave the domain", "导出参数须差分隐私训练，且 ε ≤ 4", "parameters leave only when trained privately, with ε of 4 at most"},
	gate.CodeStructure:        {"模型结构过细，或训练损失明显低于留出损失", "the model is too fine, or fits its training units clearly better than others", "减少特征、分箱或深度，提高 leaf，或使用更多数据", "use fewer features, bins or levels, raise leaf, or use more data"},
	gate.CodeMembership:       {"成员推断攻击能识别哪些单元参与了训练", "membership inference tells which units were in training", "加强正则化、减少参数，或使用 private 训练", "regularise more, use fewer parameters, or train privately"},
	gate.CodeWorstCase:        {"仅凭分数即可区分训练单元与留出单元", "the scores alone tell training units from others", "加强正则化、减少参数，或使用 private 训练", "regularise more, use fewer parameters, or train privately"},
	gate.CodeCanary:           {"植入的金丝雀单元可被识别", "planted canaries are recognised", "限制单个单元的影响（clip），或使用 private 训练", "bound what one unit can do (clip), or train privately"},
	gate.CodeAttribute:        {"模型泄露训练单元的属性", "the model gives away attributes of its training units", "去掉该列、减少其分箱，或使用 private 训练", "leave the column out, give it fewer bins, or train privately"},
	gate.CodeInversion:        {"知情攻击者可还原训练单元的缺失值", "an informed adversary restores a value of training units", "加强正则化、减少参数，或使用 private 训练", "regularise more, use fewer parameters, or train privately"},
	gate.CodeInstance:         {"模型内存有训练记录，或与某条记录过近的点", "the model holds training records, or points too close to them", "使用不保存记录的模型族", "use a family that keeps no records"},
	policies.CodeModuleHidden: {"噪声盖过了单元数，没有可发布的汇总", "noise hides the units: there are no figures to release", "提高 rho_evaluation、减少 bins，或使用更大的数据集；价格不退", "raise rho_evaluation, use fewer bins or a larger data set; the price stays charged"},
	gate.CodeControl:          {"检验无效：某项攻击未能识破故意记忆数据的对照模型", "the run is void: an attack did not find the control out, a model that memorises", "使用更多数据后重新训练", "train again on more data"},
}

// Certificate is a signed certificate with the receipt of its entry.
type Certificate struct {
	Envelope, Payload []byte
	Seq               uint64
}

// ModelCertificate signs the certificate of an ended model. What it says is what the
// ledger committed to; the report and the figures are held against their digests.
func (d *Domain) ModelCertificate(ctx context.Context, party, id string) (*Certificate, error) {
	m, err := d.settledModel(ctx, party, id)
	if err != nil {
		return nil, err
	}
	if m.Phase != state.PhaseReleased {
		return nil, refusal(policies.Reason{Code: "MODEL_NOT_READY", Rule: "model/" + id, SetBy: "sandgate", ZH: "模型没有合格证：尚未训练完成，或已中止", EN: "the model has no certificate: it is not trained yet, or ended without one",
			HintZH: "用 sandgate model show 查看", HintEN: "see sandgate model show"})
	}
	c := certificate.Certificate{
		V: certificate.Version, Model: id, Operator: m.Operator, Licence: m.Request.Licence, Purpose: m.Request.Purpose, Product: m.Request.Product, ProductVersion: m.Request.Version,
		Snapshot: m.Reserved.Snapshot, PriceNanoRho: int64(m.Reserved.Price), Outcome: m.Certified.Certificate, Parameters: m.Certified.Parameters, Seq: m.FinishSeq, At: m.FinishAt,
	}
	d.log.View(func() {
		c.Origin = d.state.Genesis().Origin
		if p, ok := d.state.Book().ModelProduct(m.Request.Product); ok && p.Digest() == m.Request.Version {
			c.Spec = p.Model
		}
	})
	kept, err := d.openModel(id, false)
	switch {
	case err == nil:
		defer kept.close()
		report, rerr := kept.load(partReport)
		figures, ferr := kept.load(partFigures)
		if rerr != nil || ferr != nil || report == nil && c.Outcome.Report != "" || figures == nil && c.Outcome.Evaluation != "" {
			d.opt.Logger.Error("the report of a model is missing or damaged", "model", id)
			return nil, refusal(damagedModel)
		}
		c.Report, c.Evaluation = report, figures
	case !errors.Is(err, fs.ErrNotExist):
		return nil, refusal(damagedModel)
	}
	// Without its key, after a destruction, the certificate stands without the report.
	if err := c.Check(); err != nil {
		return nil, refusal(damagedModel)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("failed to encode certificate: %w", err)
	}
	d.keyMu.Lock()
	key := ed25519.NewKeyFromSeed(d.keys.Receipt)
	d.keyMu.Unlock()
	text, err := certificate.Sign(certificate.PayloadType, payload, key)
	if err != nil {
		return nil, err
	}
	return &Certificate{Envelope: text, Payload: payload, Seq: m.FinishSeq}, nil
}

func (s *modelService) GetModelCertificate(ctx context.Context, req *sandgatev1.GetModelCertificateRequest) (*sandgatev1.ModelCertificate, error) {
	id := strings.TrimSuffix(modelIDOf(req.GetName()), "/certificate")
	c, err := s.d.ModelCertificate(ctx, caller(ctx), id)
	if err != nil {
		return nil, err
	}
	receipt, err := s.d.log.Receipt(c.Seq)
	if err != nil {
		return nil, err
	}
	return &sandgatev1.ModelCertificate{Name: "models/" + id + "/certificate", Envelope: c.Envelope, Certificate: c.Payload, Receipt: receiptOf(receipt)}, nil
}
