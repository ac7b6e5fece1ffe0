package fit

import (
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/gate"
	"github.com/sandgate/sandgate/policies"
)

// Certificate is the form of the certificate of a model, by the digest of its parameters,
// with these verdicts. It checks none of them: Certify and ReadCertificate do.
func (m *Model) Certificate(model string, contributors []string, verdicts []federate.Signed) (*Certificate, error) {
	base, err := m.Base()
	if err != nil {
		return nil, err
	}
	return &Certificate{V: federate.Version, Base: base, Run: m.run, Model: model, Rho: m.Training().String(), RhoEvaluation: m.prices[len(m.prices)-1].String(),
		Overlap: m.terms.Overlap, Contributors: contributors, Verdicts: verdicts}, nil
}

// Accept holds one contributor's verdict to what Certify asks of each; the reason names the
// contributor. That the contributors which it signed are those of the training is for
// Certify, which knows them all.
func (m *Model) Accept(out *Outcome, party string, s federate.Signed, verify func(party string, text, sig []byte) error) error {
	var signed []string
	if v, _, err := DecodeVerdict(s.Text); err == nil {
		signed = v.Contributors
	}
	c, err := m.Certificate(out.Digest, signed, nil)
	if err != nil {
		return err
	}
	r, err := c.one(party, s, verify)
	if err != nil {
		return err
	}
	if v, _, err := DecodeVerdict(s.Text); err != nil || !m.about(v, out, r) {
		return notPassed(party, "其检验报告属于另一模型", "its report is of another model")
	}
	return nil
}

// Missing is the reason of a contributor whose verdict did not come.
func Missing(party string) *policies.Reason {
	return notPassed(party, "尚未检验模型", "it has not tried the model")
}

// About says why parameters are not those that a certificate and its reports, as
// ReadCertificate gives them, are about: another digest, family, size or release, or another
// price. All domains compute at one price, so that a report which is held to the marks of
// another one differs from those of the others. A pass's noise is rounded up, so that what
// is computed from it may be a nano-ρ below its price.
func (c *Certificate) About(p *model.Parameters, reports []*gate.Report) *policies.Reason {
	if d, err := p.Digest(); err != nil || d != c.Model || p.Rho != c.Rho {
		return refuse(CodeVerdict, "参数文件不是合格证所称的模型", "the parameter file is not the model of the certificate", "另取参数文件与合格证", "fetch file and certificate again")
	}
	paid, err := budget.ParsePrice(c.Rho)
	if err != nil || len(reports) != len(c.Contributors) {
		return refuse(CodeVerdict, "合格证的价格或报告份数有误", "the price or the number of reports of the certificate is wrong", "另取合格证", "fetch the certificate again")
	}
	for i, r := range reports {
		if r.Family != p.Family || r.Release != policies.ReleaseParameters || !r.Private || r.Features != len(p.Features) || r.Parameters != p.Count() ||
			r.Rho < 1 || r.Rho > paid+MaxRounds || r.Rho != reports[0].Rho {
			return notPassed(c.Contributors[i], "其检验报告的模型族、规模或价格不是这一模型的", "family, size or price of its report are not those of this model")
		}
	}
	return nil
}
