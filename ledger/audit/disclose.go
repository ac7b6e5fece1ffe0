package audit

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// Reading is what a text means in the closed language.
type Reading struct {
	// Core is the canonical core with its literals, nil when the language refuses
	// the text, for Reason.
	Core   *algebra.Core
	Reason *policies.Reason
}

// Reader reads a text against the catalogue of its time, on the auditor's own
// machine. An error is one of the machine.
type Reader func(book *policies.Book, q request.Query) (Reading, error)

// disclosure is a request that its operator disclosed, and what became of it.
type disclosure struct {
	*request.Opening
	found bool
}

func disclosureKey(party, request string) string { return party + "\x00" + request }

// disclosures indexes what was disclosed by who asked and request id.
func disclosures(list []*request.Opening) map[string]*disclosure {
	out := map[string]*disclosure{}
	for _, o := range list {
		out[disclosureKey(o.Signed.Statement.Party, o.Signed.Statement.Request)] = &disclosure{Opening: o}
	}
	return out
}

// asked returns the request of an entry, nil when it holds none.
func asked(e *entry.Entry) (*entry.Request, []policies.Reason) {
	switch {
	case e.Reserved != nil:
		return &e.Reserved.Request, nil
	case e.Refused != nil:
		return &e.Refused.Request, e.Refused.Analysis
	case e.Repeated != nil:
		return &e.Repeated.Request, nil
	}
	return nil, nil
}

// disclosed holds an entry that was replayed against what its operator shows: the
// text he signed must be the one of which the entry keeps the redacted core. book
// is the policy that the entry was decided under.
func (a *auditor) disclosed(e *entry.Entry, book *policies.Book) error {
	if len(a.openings) == 0 {
		return nil
	}
	if e.VerificationReserved != nil || e.VerificationRefused != nil {
		a.disclosedVerification(e)
		return nil
	}
	r, analysis := asked(e)
	if r == nil {
		return nil
	}
	d, ok := a.openings[disclosureKey(e.Actor, r.Request)]
	if !ok {
		return nil
	}
	d.found = true
	wrong := func(zh, en string) {
		a.report.fail("DISCLOSURE", fmt.Sprintf("第 %d 条：%s", e.Seq, zh), fmt.Sprintf("entry %d: %s", e.Seq, en))
	}
	if e.Signed.Statement.CheckBody(d.Salt, d.Body) != nil {
		wrong("所示文本不是签名所承诺的文本", "the text shown is not the one that the signature commits to")
		return nil
	}
	q, err := request.QueryOf(d.Body)
	if err != nil {
		wrong("所示内容不是作业", "what is shown is no job")
		return nil
	}
	if r.Product != "" {
		p, ok := book.Product(r.Product)
		if !ok || p.Digest() != r.Version {
			// Such a request was refused; there is no text to compare.
			a.report.Disclosed++
			return nil
		}
		q.SQL = p.SQL
	}
	reading, err := a.read(book, q)
	if err != nil {
		return fmt.Errorf("failed to read a disclosed text: %w", err)
	}
	switch {
	case reading.Core == nil && (r.Core != nil || len(analysis) == 0 || reading.Reason == nil || analysis[0].Code != reading.Reason.Code):
		wrong("账本所记与所签文本不符：该文本不能作为查询受理", "the entry is not of the text that was signed, which the language refuses")
	case reading.Core != nil && r.Core == nil && !beyondText(analysis):
		wrong("账本称该文本被拒绝，而它可以受理", "the entry says that the language refuses the text, which it does not")
	case reading.Core != nil && r.Core != nil && !bytes.Equal(reading.Core.Redacted().Bytes(), r.Core.Bytes()):
		wrong("账本所记查询不是所签文本的查询", "the query in the entry is not that of the text that was signed")
	default:
		a.report.Disclosed++
	}
	if reading.Core != nil && r.Core != nil {
		a.commitments(e.Seq, sha256.Sum256(reading.Core.Bytes()), r.Query)
	}
	return nil
}

// disclosedVerification holds a verification against what its operator shows. The
// signature binds identifier and claim; whether the subject's commitment is of that
// identifier only the gateway's key tells.
func (a *auditor) disclosedVerification(e *entry.Entry) {
	d, ok := a.openings[disclosureKey(e.Actor, e.Signed.Statement.Request)]
	if !ok {
		return
	}
	d.found = true
	if e.Signed.Statement.CheckBody(d.Salt, d.Body) != nil {
		a.report.fail("DISCLOSURE", fmt.Sprintf("第 %d 条：所示内容不是签名所承诺的内容", e.Seq), fmt.Sprintf("entry %d: what is shown is not what the signature commits to", e.Seq))
		return
	}
	a.report.Disclosed++
}

// beyondText says whether an analysis refuses for what the text alone does not
// tell: the gateway's time limit, the size of an entry, a product's own list.
func beyondText(analysis []policies.Reason) bool {
	return len(analysis) > 0 && (analysis[0].Code == "TOO_COMPLEX" || analysis[0].Code == "TOO_LARGE" || analysis[0].Code == "PARAMETER_NOT_ALLOWED" || analysis[0].Code == "NO_QUERY")
}

// commitments holds the gateway's own commitments, whose salt it keeps, against
// each other: equal queries commit equally, and others do not. A new query passed
// off as a repeat, or a repeat charged again, shows here.
func (a *auditor) commitments(seq uint64, query [sha256.Size]byte, commitment string) {
	byQuery, seenQuery := a.byQuery[query]
	byCommitment, seenCommitment := a.byCommitment[commitment]
	if seenQuery && byQuery != commitment || seenCommitment && byCommitment != query {
		a.report.fail("COMMITMENT", fmt.Sprintf("第 %d 条：网关对查询的承诺与另一条已披露的查询矛盾", seq), fmt.Sprintf("entry %d: the gateway's commitment to the query contradicts that to another query that was disclosed", seq))
	}
	a.byQuery[query], a.byCommitment[commitment] = commitment, query
}

// undisclosed notes what was shown and stands in no entry.
func (a *auditor) undisclosed() {
	for _, d := range a.openings {
		if !d.found {
			a.report.notice("DISCLOSURE_UNKNOWN", "所示请求（"+d.Signed.Statement.Request+"）不在账本中", "the request shown ("+d.Signed.Statement.Request+") stands in no entry")
		}
	}
}
