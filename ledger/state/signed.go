package state

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// CheckSigned says whether a party signed a statement for this ledger, under the
// key in force here and within the statement's time.
func (s *State) CheckSigned(signed *request.Signed, party string, at time.Time) *policies.Reason {
	return s.book.CheckSigned(signed, s.genesis.Origin, party, at)
}

// CheckRequest says whether an operator signed the very request of a job: its id,
// licence, purpose, product and price. The text behind it is checked by whoever
// has it, with the statement's body.
func (s *State) CheckRequest(signed *request.Signed, operator string, r entry.Request, at time.Time) *policies.Reason {
	if x := s.CheckSigned(signed, operator, at); x != nil {
		return x
	}
	return SameRequest(signed.Statement, operator, r)
}

// SameRequest compares what an operator signed with a job's request; it verifies
// no signature.
func SameRequest(st request.Statement, operator string, r entry.Request) *policies.Reason {
	method := request.MethodQuery
	terms := map[string]string{}
	put := func(name, value string) {
		if value != "" {
			terms[name] = value
		}
	}
	if put(request.TermProduct, r.Product); r.Product != "" {
		method = request.MethodProduct
		put(request.TermDigest, r.Version)
	}
	if targets := st.Terms[request.TermTargets]; targets != "" {
		// The price that meets them is the gateway's to find; they stand in the body.
		terms[request.TermTargets] = targets
	} else if r.Price != 0 {
		put(request.TermPrice, strconv.FormatInt(int64(r.Price), 10))
	}
	what := ""
	switch {
	case st.Method != method:
		what = "method"
	case st.Request != r.Request:
		what = "request_id"
	case st.Licence != r.Licence:
		what = "licence"
	case st.Purpose != r.Purpose:
		what = "purpose"
	case !maps.Equal(st.Terms, terms):
		what = "terms"
	case st.Body == "":
		what = "body"
	default:
		return nil
	}
	return policies.SignatureFault(request.Mismatch(what), operator)
}

// SameVerification compares what an operator signed with a verification's request;
// it verifies no signature.
func SameVerification(st request.Statement, operator string, r entry.VerificationRequest) *policies.Reason {
	terms := map[string]string{}
	if r.Product != "" {
		terms[request.TermProduct] = r.Product
	}
	if r.Version != "" {
		terms[request.TermDigest] = r.Version
	}
	what := ""
	switch {
	case st.Method != request.MethodVerify:
		what = "method"
	case st.Request != r.Request:
		what = "request_id"
	case st.Licence != r.Licence:
		what = "licence"
	case st.Purpose != r.Purpose:
		what = "purpose"
	case !maps.Equal(st.Terms, terms):
		what = "terms"
	case st.Body == "":
		what = "body"
	default:
		return nil
	}
	return policies.SignatureFault(request.Mismatch(what), operator)
}

// Act is what a party's signed statement must say of an act through the API that
// is no job.
type Act struct {
	Method string
	Terms  map[string]string
	// Secret says that the statement commits to a body under a salt; Public is a body
	// that the entry itself shows, committed to without one.
	Secret bool
	Public []request.Field
}

// CheckAct says whether a party signed the very act, for the first time.
func (s *State) CheckAct(signed *request.Signed, party string, a Act, at time.Time) *policies.Reason {
	if x := s.CheckSigned(signed, party, at); x != nil {
		return x
	}
	st := signed.Statement
	what := ""
	switch {
	case st.Method != a.Method:
		what = "method"
	case !maps.Equal(st.Terms, a.Terms):
		what = "terms"
	case a.Public != nil && st.Body != request.Commit(nil, a.Public), a.Public == nil && (st.Body != "") != a.Secret:
		what = "body"
	case st.Licence != "" || st.Purpose != "":
		what = "licence"
	case s.acts[requestKey(party, st.Request)]:
		return policies.SignatureFault(&request.Fault{Code: "SIGNED_REQUEST_REUSED", ZH: "该已签名的请求已用过", EN: "the signed request was used before",
			HintZH: "以新的 request_id 重新签名", HintEN: "sign it anew under another request_id"}, party)
	default:
		return nil
	}
	return policies.SignatureFault(request.Mismatch(what), party)
}

// acted keeps a signed act from being entered twice.
func (s *State) acted(e *entry.Entry, party string) {
	s.acts[requestKey(party, e.Signed.Statement.Request)] = true
}

// signedAct checks what an act's entry was signed for.
func (s *State) signedAct(e *entry.Entry, party string, a Act) error {
	// An interface that holds a nil pointer is not nil.
	if x := s.CheckAct(e.Signed, party, a, e.Time()); x != nil {
		return x
	}
	return nil
}

// unsigned refuses a signature where none belongs: a statement that nothing
// compares proves nothing, and would look as if it did.
func unsigned(e *entry.Entry) error {
	if e.Signed != nil && !slices.Contains(signedKinds, e.Kind) {
		return errors.New("the entry holds a signed request, which its kind does not take")
	}
	return nil
}

// signedKinds are the entries that a party's signed request stands in.
var signedKinds = []entry.Kind{entry.KindRefused, entry.KindReserved, entry.KindRepeated, entry.KindFailed, entry.KindSnapshot, entry.KindRisk, entry.KindDestroyed,
	entry.KindVerificationRefused, entry.KindVerificationReserved, entry.KindModelRefused, entry.KindModelReserved, entry.KindModelFailed, entry.KindModelScored, entry.KindTwinReserved, entry.KindRelationsReserved,
	entry.KindHubProposed, entry.KindHubFailed, entry.KindHubModelAsked, entry.KindHubModelEnded}

// Cancelled is the code of a job that somebody cancelled, who signed that he does.
const Cancelled = "CANCELLED"

// ActCancel is what a party signs to cancel a job.
func ActCancel(job string) Act {
	return Act{Method: request.MethodCancel, Terms: map[string]string{request.TermJob: job}}
}

// ActIngest is what a department signs of a file; the body commits to its bytes.
func ActIngest(dataset string) Act {
	return Act{Method: request.MethodIngest, Terms: map[string]string{request.TermDataset: dataset}, Secret: true}
}

// ActDestroy is what a party signs to have the snapshot of a data set destroyed.
func ActDestroy(dataset string) Act {
	return Act{Method: request.MethodDestroy, Terms: map[string]string{request.TermDataset: dataset}}
}

// ActRisk is what a department signs to have its data set assessed.
func ActRisk(r *entry.Risk) Act {
	return Act{Method: request.MethodRisk, Terms: map[string]string{request.TermDataset: r.Dataset}, Public: request.RiskFields(r.Quasi, r.Sensitive, r.Model, r.Context)}
}

// checkCancelled wants the signature of whoever a job was cancelled by; no other
// failure holds one.
func (s *State) checkCancelled(e *entry.Entry) error {
	if e.Failed.Code != Cancelled {
		if e.Signed != nil {
			return errors.New("the entry holds a signed request, which its kind does not take")
		}
		return nil
	}
	return s.signedAct(e, e.Failed.By, ActCancel(e.Failed.Job))
}
