package fit

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"slices"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/model/gate"
	"github.com/sandgate/sandgate/policies"
)

// VerdictType of a verdict in its DSSE envelope.
const VerdictType = "application/vnd.sandgate.federation-verdict+json"

// VerdictBytes is what a domain signs of a verdict: its DSSE pre-authentication encoding.
func VerdictBytes(text []byte) []byte { return dsse.PAE(VerdictType, text) }

// Verdict is what a domain says of the final parameters after it attacked them with its
// own rows. It holds the whole report, so that nobody has to believe the word for it, and
// everything that a certificate says of the training: a hub that left a contributor out, or
// put another run or price on the certificate, would need another verdict of every domain.
type Verdict struct {
	V    int    `json:"v"`
	Base string `json:"base"` // Model.Base
	Run  string `json:"run"`
	// Contributors are all whose data are in the model, in order, as the domain's own rounds
	// had them.
	Contributors []string `json:"contributors"`
	// Rho, RhoEvaluation and Overlap are those of a Certificate.
	Rho           string `json:"rho"`
	RhoEvaluation string `json:"rho_evaluation"`
	Overlap       int    `json:"overlap"`
	// Model is the digest of the parameters.
	Model  string `json:"model"`
	From   string `json:"from"`
	At     int64  `json:"at"`     // Unix seconds
	Report []byte `json:"report"` // gate.Report, encoded
}

// Judge is a domain's verdict on the outcome, for it to sign. contributors are those of its
// own rounds, in order.
func (m *Model) Judge(out *Outcome, from string, contributors []string, report *gate.Report, at int64) ([]byte, error) {
	c, err := m.Certificate(out.Digest, contributors, nil)
	if err != nil {
		return nil, err
	}
	text, err := report.Encode()
	if err != nil {
		return nil, err
	}
	if !named(contributors) || !slices.Contains(contributors, from) {
		return nil, errors.New("failed to judge a model: the list of contributors is malformed, or the party is none of them")
	}
	v := &Verdict{V: federate.Version, Base: c.Base, Run: c.Run, Contributors: contributors, Rho: c.Rho, RhoEvaluation: c.RhoEvaluation, Overlap: c.Overlap,
		Model: out.Digest, From: from, At: at, Report: text}
	if !m.about(v, out, report) {
		return nil, errors.New("failed to judge a model: the report is of another model")
	}
	return encode(v), nil
}

// named says whether a list of contributors is in order, without repetition, and of a
// possible length.
func named(c []string) bool {
	return len(c) >= federate.MinContributors && len(c) <= federate.MaxContributors && slices.IsSorted(c) && len(slices.Compact(slices.Clone(c))) == len(c)
}

// about says whether a verdict and its report are those of the outcome. A report's price
// is that of one domain's computation (Design).
func (m *Model) about(v *Verdict, out *Outcome, r *gate.Report) bool {
	base, err := m.Base()
	return err == nil && v.Base == base && v.Model == out.Digest && r.Family == out.Parameters.Family && r.Release == policies.ReleaseParameters && r.Private &&
		r.Rho == m.plan.Price() && r.Features == len(out.Parameters.Features) && r.Parameters == out.Parameters.Count()
}

func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("fit: strings, numbers and bytes did not marshal")
	}
	return text
}

// decode reads what encode wrote and nothing else.
func decode[T any](text []byte) (*T, error) {
	v := new(T)
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if len(text) > federate.MaxMessage || dec.Decode(v) != nil || !bytes.Equal(encode(v), text) {
		return nil, errors.New("failed to read a verdict or certificate: not in canonical form")
	}
	return v, nil
}

// DecodeVerdict reads a verdict and decides its report again. It verifies no signature.
func DecodeVerdict(text []byte) (*Verdict, *gate.Report, error) {
	v, err := decode[Verdict](text)
	if err != nil {
		return nil, nil, err
	}
	if v.V != federate.Version || v.At <= 0 || !hashPattern.MatchString(v.Base) || !hashPattern.MatchString(v.Model) || !runPattern.MatchString(v.Run) ||
		!named(v.Contributors) || !slices.Contains(v.Contributors, v.From) || !price(v.Rho) || !price(v.RhoEvaluation) || v.Overlap < 1 || v.Overlap > federate.MaxContributors {
		return nil, nil, errors.New("failed to read a verdict: a field is malformed")
	}
	r, err := gate.Load(v.Report)
	if err != nil {
		return nil, nil, err
	}
	return v, r, nil
}

// price says whether a text is a price above nothing, written the one way it is written.
func price(s string) bool {
	n, err := budget.ParsePrice(s)
	return err == nil && n > 0 && n.String() == s
}

var hashPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Certificate is that of a model which every domain tried and passed.
type Certificate struct {
	V     int    `json:"v"`
	Base  string `json:"base"`
	Run   string `json:"run"`
	Model string `json:"model"`
	// Rho and RhoEvaluation are what a unit paid that stands in Overlap domains, decimal
	// strings.
	Rho           string `json:"rho"`
	RhoEvaluation string `json:"rho_evaluation"`
	Overlap       int    `json:"overlap"`
	// Contributors are all whose data are in the model, in order, and Verdicts theirs.
	Contributors []string          `json:"contributors"`
	Verdicts     []federate.Signed `json:"verdicts"`
}

// Encode is the certificate in its canonical form.
func (c *Certificate) Encode() []byte { return encode(c) }

// Certify joins the verdicts of all contributors, in their order. Nothing but a PASS of
// every one of them, about this very model and signed by itself, makes a certificate; the
// reason names who is in the way. verify says whether a party in force signed VerdictBytes
// of a text.
func (m *Model) Certify(out *Outcome, contributors []string, verdicts []federate.Signed, verify func(party string, text, sig []byte) error) (*Certificate, error) {
	c, err := m.Certificate(out.Digest, contributors, verdicts)
	if err != nil {
		return nil, err
	}
	reports, err := c.check(verify)
	if err != nil {
		return nil, err
	}
	for i, r := range reports {
		v, _, err := DecodeVerdict(verdicts[i].Text)
		if err != nil || !m.about(v, out, r) {
			return nil, notPassed(contributors[i], "其检验报告属于另一模型", "its report is of another model")
		}
	}
	return c, nil
}

func notPassed(party, zh, en string) *policies.Reason {
	r := refuse(CodeVerdict, "“%s”：", "%s: ", "模型不得发布", "the model is not released", party)
	r.ZH, r.EN, r.SetBy = r.ZH+zh, r.EN+en, party
	return r
}

// check holds every verdict to its contributor, signature, model and marks.
func (c *Certificate) check(verify func(party string, text, sig []byte) error) ([]*gate.Report, error) {
	if !named(c.Contributors) {
		return nil, refuse(CodeVerdict, "参与方名单有误", "the list of contributors is malformed", "按次序列出全部参与方", "list every contributor in order")
	}
	var out []*gate.Report
	for i, party := range c.Contributors {
		if i >= len(c.Verdicts) {
			return nil, Missing(party)
		}
		r, err := c.one(party, c.Verdicts[i], verify)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	if len(c.Verdicts) != len(c.Contributors) {
		return nil, refuse(CodeVerdict, "检验结论多于参与方", "there are more verdicts than contributors", "每个参与方各一份", "one for each contributor")
	}
	return out, nil
}

// one holds a verdict to its contributor, signature, model and marks.
func (c *Certificate) one(party string, s federate.Signed, verify func(party string, text, sig []byte) error) (*gate.Report, error) {
	v, r, err := DecodeVerdict(s.Text)
	switch {
	case err != nil:
		return nil, notPassed(party, "检验结论不是规范格式，或结论与数字不符", "its verdict is not in canonical form, or does not follow from its figures")
	case v.From != party || verify(party, s.Text, s.Sig) != nil:
		return nil, notPassed(party, "检验结论不是其本人签名", "the verdict is not signed by it")
	case v.Base != c.Base || v.Model != c.Model:
		return nil, notPassed(party, "检验结论属于另一模型", "its verdict is of another model")
	case v.Run != c.Run:
		return nil, notPassed(party, "其检验结论属于另一次训练", "its verdict is of another training")
	case !slices.Equal(v.Contributors, c.Contributors):
		return nil, notPassed(party, "其签名的参与方名单与合格证的不同", "the contributors that it signed are not those of the certificate")
	case v.Rho != c.Rho || v.RhoEvaluation != c.RhoEvaluation || v.Overlap != c.Overlap:
		return nil, notPassed(party, "其签名的价格或重叠与合格证的不同", "the prices or the overlap that it signed are not those of the certificate")
	case r.Verdict != gate.Pass:
		why := notPassed(party, "模型未通过其检验（"+string(r.Verdict)+"）", "the model did not pass its gate ("+string(r.Verdict)+")")
		if len(r.Reasons) > 0 {
			why.HintZH, why.HintEN = r.Reasons[0].Text("zh"), r.Reasons[0].Text("en")
		}
		return nil, why
	}
	return r, nil
}

// ReadCertificate reads a certificate and checks every verdict in it again: signature,
// model, that a PASS follows from the figures, and that every contributor signed the run,
// the contributors, the prices and the overlap that the certificate names. It needs neither
// design nor data; About holds it to the parameter file.
func ReadCertificate(text []byte, verify func(party string, text, sig []byte) error) (*Certificate, []*gate.Report, error) {
	c, err := decode[Certificate](text)
	if err != nil {
		return nil, nil, err
	}
	if c.V != federate.Version || !hashPattern.MatchString(c.Base) || !hashPattern.MatchString(c.Model) || !runPattern.MatchString(c.Run) {
		return nil, nil, errors.New("failed to read a certificate: a field is malformed")
	}
	reports, err := c.check(verify)
	return c, reports, err
}
