package entry

import (
	"errors"

	"github.com/sandgate/sandgate/policies"
)

// Kinds of verification jobs 核验.
const (
	KindVerificationRefused  Kind = "verification.refused"
	KindVerificationReserved Kind = "verification.reserved"
	KindVerificationAnswered Kind = "verification.answered"
	KindVerificationFailed   Kind = "verification.failed"
)

// VerificationRequest is what an operator asked about one subject, who and whose
// claim stand here as commitments alone.
type VerificationRequest struct {
	Verification string `json:"verification"` // id, derived from operator and request id
	Request      string `json:"request_id"`
	Licence      string `json:"licence"`
	Purpose      string `json:"purpose"`
	Product      string `json:"product"`
	Version      string `json:"product_version"` // digest of the product's version
	// Subject is the commitment by which consents name the subject. Empty, with
	// Question, in the refusal of a product that is not the operator's.
	Subject string `json:"subject,omitempty"`
	// Former is the subject's commitment under the key that was in force when the year
	// began, once that was replaced: what counts over a year counts by it.
	Former string `json:"former,omitempty"`
	// Question is Commit of subject, predicate and claim: equal questions commit
	// equally, in whatever product and spelling.
	Question string `json:"question,omitempty"`
}

// Counted is the commitment by which the year's questions about the subject are
// counted: one, whatever key is in force when each is asked.
func (r VerificationRequest) Counted() string {
	if r.Former != "" {
		return r.Former
	}
	return r.Subject
}

func (r VerificationRequest) commitments() []string {
	if r.Former == "" {
		return []string{r.Subject, r.Question}
	}
	return []string{r.Subject, r.Question, r.Former}
}

// VerificationRefused is a refusal. It depends on the request, the policy and the
// operator's own requests, never on a consent or on data.
type VerificationRefused struct {
	Request VerificationRequest `json:"request"`
	Reasons []policies.Reason   `json:"reasons"`
}

// Ground on which a verification is answered. Those who ask cannot tell them apart.
type Ground string

// Grounds of an answer.
const (
	GroundData      Ground = "data"       // the subject's rows are read
	GroundStored    Ground = "stored"     // the same was answered on the same snapshot
	GroundConsent   Ground = "no_consent" // there is none: nothing of the subject is read
	GroundExhausted Ground = "exhausted"  // the bits of the year are used up: nothing is read
)

// VerificationReserved lets a verification run. Repeat says that the operator asked
// the same on the same snapshot before: it is free of quotas then.
type VerificationReserved struct {
	Request  VerificationRequest `json:"request"`
	Snapshot string              `json:"snapshot"`
	Ground   Ground              `json:"ground"`
	Repeat   bool                `json:"repeat,omitempty"`
}

// VerificationAnswered commits to an answer before it is given. Ground is decided
// again at that instant.
type VerificationAnswered struct {
	Verification string `json:"verification"`
	Ground       Ground `json:"ground"`
	Answer       string `json:"answer"` // OpenCommit of AnswerText under a salt the regulator is shown
}

// VerificationFailed ends a verification without an answer; as Failed does a job.
type VerificationFailed struct {
	Verification string `json:"verification"`
	Code         string `json:"code"`
	By           string `json:"by,omitempty"`
	Rule         string `json:"rule,omitempty"`
}

// AnswerText is what the commitment to an answer is made of.
func AnswerText(verification string, confirmed bool) []byte {
	word := "not confirmed"
	if confirmed {
		word = "confirmed"
	}
	return []byte("sandgate/verification-answer/v1\n" + verification + "\n" + word)
}

// AnswerOf reads a committed answer back; false for ok when the key is another one.
func AnswerOf(key []byte, verification, commitment string) (confirmed, ok bool) {
	yes, _ := Commit(key, AnswerText(verification, true))
	no, _ := Commit(key, AnswerText(verification, false))
	return commitment == yes, commitment == yes || commitment == no
}

// checkVerification keeps what is no commitment out of the ledger: a claim or a
// number that a programming error put there.
func (e *Entry) checkVerification() error {
	hash := func(list ...string) error {
		for _, s := range list {
			if !isHash(s) {
				return errors.New("a commitment is not a SHA-256 hash")
			}
		}
		return nil
	}
	switch {
	case e.VerificationRefused != nil:
		if r := e.VerificationRefused.Request; r.Subject != "" || r.Question != "" || r.Former != "" {
			return hash(r.commitments()...)
		}
	case e.VerificationReserved != nil:
		return hash(e.VerificationReserved.Request.commitments()...)
	case e.VerificationAnswered != nil:
		return hash(e.VerificationAnswered.Answer)
	}
	return nil
}
