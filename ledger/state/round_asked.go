package state

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// Unasked is the refusal of a round that the hub proposes in a receiver's name and the receiver did not
// ask for. what names the part of the request that is another.
func Unasked(p *federate.Proposal, region, what string) *policies.Reason {
	return &policies.Reason{Code: "FEDERATION_UNASKED", Rule: "federation/" + region, SetBy: p.Aggregator,
		ZH: "“" + p.Aggregator + "”以“" + p.Receiver + "”之名所提的轮次与其签名的请求不符：" + what, EN: "the round that " + p.Aggregator + " proposes in the name of " + p.Receiver + " is not the one that it signed: " + what,
		HintZH: "由接收方重新签名提出；若非其所提，请与汇聚方核对", HintEN: "have the receiver propose it anew; if it never did, take it up with the hub"}
}

// asked holds a round against the request that its receiver signed, by the receiver's key
// of the agreement: a hub asks nothing of its own. What the request leaves open is what
// the agreement has. The body is another matter: neither SQL nor salt are in this ledger.
func (s *State) asked(p *federate.Proposal, j *entry.RoundJoined) *policies.Reason {
	f, _ := s.book.Federation(j.Region) // it is there: the policy has decided by it
	if j.Request == nil {
		return Unasked(p, j.Region, "signature")
	}
	st := j.Request.Statement
	key, _ := f.KeyOf(p.Receiver)
	origin := f.Hub.Origin
	if origin == "" {
		origin = st.Origin
	}
	// A round may last longer than a request is fresh: its deadline bounds both.
	if x := policies.CheckSignedBy(j.Request, key, origin, p.Receiver, time.UnixMilli(st.IssuedAt)); x != nil {
		return Unasked(p, j.Region, x.Code)
	}
	if what := askedOtherwise(st, p, j, f); what != "" {
		return Unasked(p, j.Region, what)
	}
	for _, id := range s.rounds.order {
		x := s.rounds.all[id].Joined.Request.Statement
		// One that covers all rounds of a training names it.
		if x.Request == st.Request && x.Party == st.Party && st.Method == request.MethodRound {
			return &policies.Reason{Code: "FEDERATION_REPLAYED", Rule: "federation/" + j.Region, SetBy: p.Aggregator, ZH: "“" + p.Receiver + "”的同一请求已用于另一轮次；一次签名只问一次",
				EN: "the same request of " + p.Receiver + " was used for another round: one signature asks once", HintZH: "由接收方用新的 request_id 另行提出", HintEN: "have the receiver propose it under another request_id"}
		}
	}
	return nil
}

// askedPrice holds the price of a request that names none to the department's default.
func askedPrice(p *federate.Proposal, j entry.RoundJoined, otherwise budget.Nano) *policies.Reason {
	if _, priced := j.Request.Statement.Terms[request.TermPrice]; priced || j.Data.PlanPrice == otherwise {
		return nil
	}
	x := Unasked(p, j.Region, request.TermPrice)
	x.HintZH, x.HintEN = "由接收方在请求中写明价格（--price）：本域的默认价格不同", "have the receiver name a price (--price): the default of this domain is another"
	return x
}

// askedOtherwise names what of a round its receiver did not sign; empty if nothing.
func askedOtherwise(st request.Statement, p *federate.Proposal, j *entry.RoundJoined, f policies.Federation) string {
	terms := maps.Clone(st.Terms)
	take := func(name, otherwise string) string {
		v, ok := terms[name]
		if delete(terms, name); !ok {
			return otherwise
		}
		return v
	}
	domains := DomainsDigest(f.With(policies.FederationContributor))
	seconds, err := strconv.Atoi(take(request.TermSeconds, strconv.Itoa(hubTime)))
	until := st.NotAfter + request.Tolerance.Milliseconds()
	method, model := request.MethodRound, j.Model
	if model != nil {
		method = request.MethodTrain
		// One request covers every pass, and every attempt at one, in as much time as they have
		// by what was signed: no state says who was asked before, and none lasts for ever.
		until += int64(fit.RoundsOf(model.Spec)+model.Retries-1) * int64(seconds) * 1000
	}
	_, priced := terms[request.TermPrice]
	price, perr := strconv.ParseInt(take(request.TermPrice, "0"), 10, 64)
	switch {
	case st.Method != method:
		return "method"
	case st.Purpose != j.Purpose:
		return "purpose"
	case take(request.TermRegion, "") != j.Region:
		return request.TermRegion
	case take(request.TermPeriod, "") != j.Period:
		return request.TermPeriod
	case take(request.TermScheme, f.Schemes[0]) != p.Scheme:
		return request.TermScheme
	case take(request.TermDomains, domains) != DomainsDigest(p.Contributors):
		return request.TermDomains
	case err != nil || seconds < hubTimeLeast || seconds > hubTimeMost || p.Deadline > until/1000+int64(seconds):
		return "deadline"
	case perr != nil || priced && (model != nil || j.Data != nil && price != int64(j.Data.PlanPrice)):
		return request.TermPrice
	case model != nil && model.Run != HubTrainingID(st.Party, st.Request):
		return request.TermTraining
	case model != nil && take(request.TermRetries, strconv.Itoa(hubRetries)) != strconv.Itoa(model.Retries):
		return request.TermRetries
	case model != nil && st.Body != request.Commit(nil, request.TrainFields(model.Spec.Text())):
		return "specification"
	case st.Body == "":
		return "body"
	case len(terms) > 0:
		return slices.Min(slices.Collect(maps.Keys(terms)))
	}
	return ""
}
