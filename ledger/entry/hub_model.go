package entry

import (
	"errors"
	"regexp"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// Kinds of the trainings of models over domains 跨域模型 that this gateway is the aggregator
// of. Each pass of a training is a round of its own.
const (
	KindHubModelAsked     Kind = "hub.model_asked"
	KindHubModelPass      Kind = "hub.model_pass"
	KindHubModelAnswered  Kind = "hub.model_answered"
	KindHubModelMissed    Kind = "hub.model_missed"
	KindHubModelJudged    Kind = "hub.model_judged"
	KindHubModelCertified Kind = "hub.model_certified"
	KindHubModelEnded     Kind = "hub.model_ended"
)

// HubModelRequest is what an operator asks of several domains together. What it left to
// the agreement is empty.
type HubModelRequest struct {
	Run          string             `json:"run"` // id, derived from operator and request id
	Request      string             `json:"request_id"`
	Licence      string             `json:"licence"`
	Purpose      string             `json:"purpose"`
	Region       string             `json:"region"` // name of the agreement 跨域协议
	Period       string             `json:"period"`
	Spec         policies.ModelSpec `json:"spec"`
	Scheme       string             `json:"scheme,omitempty"`       // asked for
	Contributors []string           `json:"contributors,omitempty"` // asked for
	Seconds      int                `json:"seconds,omitempty"`      // asked for, of each pass
	Retries      *int               `json:"retries,omitempty"`      // asked for
}

// HubModelAsked lets a training begin. The hub has no rows and charges nothing; each domain
// decides and charges every pass in a ledger of its own.
type HubModelAsked struct {
	Request      HubModelRequest `json:"request"`
	Agreement    string          `json:"agreement"` // SHA-256 of the agreement in force
	Scheme       string          `json:"scheme"`
	Contributors []string        `json:"contributors"`
	Decryptors   int             `json:"decryptors"`
	Retries      int             `json:"retries"`
	Seconds      int             `json:"seconds"`
	Passes       int             `json:"passes"`
	Price        budget.Nano     `json:"price"`   // of all passes, in each domain
	Reserve      budget.Nano     `json:"reserve"` // the most, with retries
	// Base is the digest of design, terms and run (fit.Model.Base): verdicts and
	// certificate name it.
	Base string `json:"base"`
}

// HubModelPass puts one pass to the domains, as a round.
type HubModelPass struct {
	Run      string `json:"run"`
	Pass     int    `json:"pass"` // from 0
	Session  string `json:"session"`
	Deadline int64  `json:"deadline"` // Unix seconds
}

// HubModelAnswered is the end of a pass: what the regulator's node said of its sums,
// signed by it.
type HubModelAnswered struct {
	Run     string `json:"run"`
	Session string `json:"session"`
	Result  []byte `json:"result"` // canonical JSON (docs/federation.md)
	Sig     []byte `json:"sig"`
}

// HubModelMissed ends a pass without an answer. The training goes on if retries are left.
type HubModelMissed struct {
	Run     string           `json:"run"`
	Session string           `json:"session"`
	Code    string           `json:"code"`
	Party   string           `json:"party,omitempty"` // to blame
	Reason  *policies.Reason `json:"reason,omitempty"`
}

// HubModelJudged is one domain's verdict on the trained model, signed by it, with the whole
// report of its gate.
type HubModelJudged struct {
	Run     string `json:"run"`
	Party   string `json:"party"`
	Verdict []byte `json:"verdict"` // fit.Verdict
	Sig     []byte `json:"sig"`
}

// HubModelCertified commits to a model that every domain tried and passed, before its
// receiver is given it. The verdicts are the entries before it.
type HubModelCertified struct {
	Run         string `json:"run"`
	Model       string `json:"model"`       // digest of the parameters
	Certificate string `json:"certificate"` // SHA-256 of the certificate
	File        string `json:"file"`        // SHA-256 of the parameter file
	Stored      string `json:"stored"`      // SHA-256 of what the gateway keeps of both
	Bytes       int64  `json:"bytes"`       // of the parameter file
}

// HubModelEnded ends a training without a model.
type HubModelEnded struct {
	Run   string `json:"run"`
	Code  string `json:"code"`
	Party string `json:"party,omitempty"` // to blame
	By    string `json:"by,omitempty"`    // who cancelled it, or whose rule stopped it
	Rule  string `json:"rule,omitempty"`  // that stopped it
	// Reason is what the party to blame, or the hub, said. It holds no value of anyone.
	Reason *policies.Reason `json:"reason,omitempty"`
}

var runID = regexp.MustCompile(`^[0-9a-f]{32}$`)

func (e *Entry) checkHubModel() error {
	switch {
	case e.HubModelAsked != nil:
		if p := e.HubModelAsked; !runID.MatchString(p.Request.Run) || !isHash(p.Agreement) || !isHash(p.Base) || p.Passes < 1 || p.Price <= 0 || p.Reserve < p.Price {
			return errors.New("a training lacks its id, agreement, base, passes or price")
		}
	case e.HubModelPass != nil:
		if p := e.HubModelPass; !runID.MatchString(p.Run) || !isHash(p.Session) || p.Pass < 0 {
			return errors.New("a pass lacks its training or session")
		}
	case e.HubModelAnswered != nil:
		if p := e.HubModelAnswered; !runID.MatchString(p.Run) || !isHash(p.Session) || len(p.Result) == 0 || len(p.Result) > maxResult || len(p.Sig) == 0 {
			return errors.New("the answer of a pass lacks its session, result or signature")
		}
	case e.HubModelMissed != nil:
		if p := e.HubModelMissed; !runID.MatchString(p.Run) || !isHash(p.Session) || !modelCode.MatchString(p.Code) {
			return errors.New("a missed pass lacks its session or code")
		}
	case e.HubModelJudged != nil:
		if p := e.HubModelJudged; !runID.MatchString(p.Run) || p.Party == "" || len(p.Verdict) == 0 || len(p.Sig) == 0 {
			return errors.New("a verdict lacks its training, party or signature")
		}
	case e.HubModelCertified != nil:
		if p := e.HubModelCertified; !runID.MatchString(p.Run) || !isHash(p.Model) || !isHash(p.Certificate) || !isHash(p.File) || !isHash(p.Stored) || p.Bytes <= 0 {
			return errors.New("a certified model lacks a SHA-256 hash")
		}
	case e.HubModelEnded != nil:
		if p := e.HubModelEnded; !runID.MatchString(p.Run) || !modelCode.MatchString(p.Code) {
			return errors.New("the end of a training is no code")
		}
	}
	return nil
}
