package entry

import (
	"errors"
	"regexp"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// Kinds of model jobs 模型作业.
const (
	KindModelRefused   Kind = "model.refused"
	KindModelReserved  Kind = "model.reserved"
	KindModelCertified Kind = "model.certified"
	KindModelFailed    Kind = "model.failed"
	KindModelScored    Kind = "model.scored"
	KindModelModule    Kind = "model.module"
)

// ModelRequest asks for the model of a reviewed product to be trained.
type ModelRequest struct {
	Model   string `json:"model"` // id, derived from operator and request id
	Request string `json:"request_id"`
	Licence string `json:"licence"`
	Purpose string `json:"purpose"`
	Product string `json:"product"`
	Version string `json:"product_version"` // digest of the product's version: the specification
}

// ModelRefused is a refusal, by the request and the policy alone.
type ModelRefused struct {
	Request ModelRequest      `json:"request"`
	Reasons []policies.Reason `json:"reasons"`
}

// ModelReserved lets a model be trained: the price of training and evaluation is
// debited before a row is read, and never given back.
type ModelReserved struct {
	Request  ModelRequest    `json:"request"`
	Snapshot string          `json:"snapshot"`
	Price    budget.Nano     `json:"price"`
	Charges  []budget.Charge `json:"charges"`
}

// ModelCertified commits to a trained model and what the gate found, before anything
// of it leaves.
type ModelCertified struct {
	Model       string                    `json:"model"`
	Certificate policies.ModelCertificate `json:"certificate"`
	// Parameters is the SHA-256 of the parameter file; of a module, of its file.
	Parameters string `json:"parameters"`
}

// ModelFailed ends a model without a certificate; as Failed does a job.
type ModelFailed struct {
	Model string `json:"model"`
	Code  string `json:"code"`
	By    string `json:"by,omitempty"`
	Rule  string `json:"rule,omitempty"`
}

// ModelModule says that the gateway holds the file of an operator's module 自带模块, as
// the product pins it. Its bytes stand nowhere.
type ModelModule struct {
	Product string `json:"product"`
	Version string `json:"product_version"`
	SHA256  string `json:"sha256"`
	Size    int64  `json:"size"`
}

// ModelScored says that rows were scored, before the scores are given. The rows and
// scores stand nowhere.
type ModelScored struct {
	Model   string `json:"model"`
	Request string `json:"request_id"`
	Rows    int64  `json:"rows"`
	// Encrypted says that the rows stayed encrypted: their scores are exact.
	Encrypted bool `json:"encrypted,omitempty"`
}

var modelCode = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)

func (e *Entry) checkModel() error {
	switch {
	case e.ModelCertified != nil:
		c := e.ModelCertified.Certificate
		if !isHash(e.ModelCertified.Parameters) || (c.Basis == policies.BasisGate) != isHash(c.Report) || c.Evaluation != "" && !isHash(c.Evaluation) {
			return errors.New("a digest of the model is not a SHA-256 hash")
		}
		for _, r := range c.Reasons {
			if !modelCode.MatchString(r) {
				return errors.New("a reason of the certificate is no code")
			}
		}
	case e.ModelFailed != nil && !modelCode.MatchString(e.ModelFailed.Code):
		return errors.New("the failure of a model is no code")
	case e.ModelModule != nil && (!isHash(e.ModelModule.SHA256) || !isHash(e.ModelModule.Version) || e.ModelModule.Size <= 0):
		return errors.New("a module without digest or size")
	case e.ModelScored != nil && e.ModelScored.Rows <= 0:
		return errors.New("no row was scored")
	}
	return nil
}
