package federate

import (
	"slices"

	"github.com/sandgate/sandgate/policies"
)

// Trial asks the contributors of a training whether its model passes their gates, after
// its last round. It is signed by the aggregator (SigningBytes); beside it goes the brief
// that it holds the digest of, of kind model with the answers of all rounds.
type Trial struct {
	V     int    `json:"v"`
	Nonce string `json:"nonce"` // 32 random bytes, hex
	Run   string `json:"run"`   // of the training, 32 hexadecimal digits
	// Aggregator and Receiver are those of the rounds, and so are the contributors, in order.
	Aggregator   string   `json:"aggregator"`
	Receiver     string   `json:"receiver"`
	Contributors []string `json:"contributors"`
	Deadline     int64    `json:"deadline"` // Unix seconds
	Brief        string   `json:"brief"`    // BriefDigest
}

// TrialRefusal is why a domain gives no verdict. It is signed (SigningBytes).
type TrialRefusal struct {
	V       int               `json:"v"`
	Trial   string            `json:"trial"` // Trial.ID
	From    string            `json:"from"`
	At      int64             `json:"at"` // Unix seconds
	Reasons []policies.Reason `json:"reasons"`
}

// codeTrial is the code of a trial that cannot be read or does not hold.
const codeTrial = "FEDERATION_TRIAL"

// Encode is the trial in its canonical form.
func (t *Trial) Encode() []byte { return canonical(t) }

// ID names a trial.
func (t *Trial) ID() string { return digest("trial", t.Encode()) }

// DecodeTrial reads canonical bytes and checks their form. The error is a Fault of nobody
// in particular.
func DecodeTrial(text []byte) (*Trial, *Fault) {
	t, err := decode[Trial](text)
	if err != nil {
		return nil, fault("", codeTrial, "受检请求不是规范格式", "the trial is not in canonical form")
	}
	return t, t.check()
}

func (t *Trial) check() *Fault {
	named := partyPattern.MatchString(t.Aggregator) && partyPattern.MatchString(t.Receiver)
	for i, c := range t.Contributors {
		named = named && partyPattern.MatchString(c) && (i == 0 || t.Contributors[i-1] < c)
	}
	switch {
	case t.V != Version:
		return fault("", codeTrial, "受检请求版本 %d 未知", "the version %d of the trial is unknown", t.V)
	case !isHash(t.Nonce) || !isHash(t.Brief) || !isHash(t.Run+t.Run) || t.Deadline <= 0:
		return fault("", codeTrial, "受检请求的随机数、训练编号、任务书摘要或截止时刻有误", "the nonce, run, digest or deadline of the trial is malformed")
	case !named || len(t.Contributors) < MinContributors || len(t.Contributors) > MaxContributors:
		return fault("", codeTrial, "受检请求的参与方名单有误", "the parties of the trial are malformed")
	}
	return nil
}

// Encode is the refusal in its canonical form.
func (r *TrialRefusal) Encode() []byte { return canonical(r) }

// maxTrialReasons bounds the reasons of a refusal.
const maxTrialReasons = 16

// DecodeTrialRefusal reads canonical bytes and checks their form. It verifies no signature.
func DecodeTrialRefusal(text []byte) (*TrialRefusal, error) {
	r, err := decode[TrialRefusal](text)
	if err != nil {
		return nil, err
	}
	if r.V != Version || !isHash(r.Trial) || !partyPattern.MatchString(r.From) || r.At <= 0 || len(r.Reasons) == 0 || len(r.Reasons) > maxTrialReasons ||
		slices.ContainsFunc(r.Reasons, func(x policies.Reason) bool { return x.Code == "" || x.EN == "" || x.ZH == "" }) {
		return nil, errForm
	}
	return r, nil
}
