package fit

import (
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/policies"
)

// Certificate is the form of the certificate of a model, by the digest of its parameters,
// with these verdicts. It checks none of them: Certify and ReadCertificate do.
func (m *Model) Certificate(model string, contributors []string, verdicts []federate.Signed) (*Certificate, error) {
	base, err := m.Base()
	if err != nil {
		return nil, err
	}
	return &Certificate{V: federate.Version, Base: base, Model: model, Rho: m.Training().String(), RhoEvaluation: m.prices[len(m.prices)-1].String(),
		Overlap: m.terms.Overlap, Contributors: contributors, Verdicts: verdicts}, nil
}

// Accept holds one contributor's verdict to what Certify asks of each; the reason names the
// contributor.
func (m *Model) Accept(out *Outcome, party string, s federate.Signed, verify func(party string, text, sig []byte) error) error {
	c, err := m.Certificate(out.Digest, nil, nil)
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
