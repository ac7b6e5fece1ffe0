package audit

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// Whoever has taken the whole gateway signs checkpoints and receipts like it, and
// still writes no job that an auditor takes for an operator's.
func TestAttack_StolenGatewayKeysMakeNoJob(t *testing.T) {
	for name, c := range map[string]struct {
		want  string
		forge func(b *book, a state.Ask, e *entry.Entry)
	}{
		"control: the operator signed it": {"", func(*book, state.Ask, *entry.Entry) {}},
		"unsigned":                        {"SIGNATURE_MISSING", func(_ *book, _ state.Ask, e *entry.Entry) { e.Signed = nil }},
		"signed by the log's key":         {"SIGNATURE_INVALID", func(b *book, a state.Ask, e *entry.Entry) { e.Signed = b.signed(a, "log") }},
		"signed by the receipts' key":     {"SIGNATURE_INVALID", func(b *book, a state.Ask, e *entry.Entry) { e.Signed = b.signed(a, "receipts") }},
		"with the signature of an old job": {"SIGNED_REQUEST_MISMATCH", func(b *book, a state.Ask, e *entry.Entry) {
			a.Request.Request = "request-0"
			e.Signed = b.signed(a, "alpha")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := begun(t)
			a := b.ask("q")
			b.decide(a, func(e *entry.Entry) { c.forge(b, a, e) })
			b.add(true, entry.KindStopped, "gateway", nil)
			w := write(t, b.entries, "log", anything{})
			r := audit(t, w.dir, Options{Trust: trust(t), Receipts: w.receipts})
			if r.OK != (c.want == "") || !strings.Contains(found(r, "REPLAY"), c.want) {
				t.Errorf("verdict %v: %+v", r.OK, r.Findings)
			}
		})
	}
}

const salted = "0123456789abcdef0123456789abcdef"

// open signs an ask with a commitment to a text, and returns what opens it.
func (b *book) open(a state.Ask, text string) (*request.Signed, *request.Opening) {
	b.t.Helper()
	body := request.Query{SQL: text}.Fields()
	st := b.signed(a, "alpha").Statement
	st.Body = request.Commit([]byte(salted), body)
	s, err := request.Sign(st, keyOf("alpha"))
	if err != nil {
		b.t.Fatal(err)
	}
	return s, &request.Opening{V: request.Version, Signed: *s, Salt: []byte(salted), Body: body}
}

// read stands for the closed language: "count X" is the count of a data set by
// district, every other text is refused.
func read(_ *policies.Book, q request.Query) (Reading, error) {
	set, ok := strings.CutPrefix(q.SQL, "count ")
	if !ok {
		return Reading{Reason: &policies.Reason{Code: "NOT_A_QUERY"}}, nil
	}
	district := algebra.Col{Name: "district", Type: algebra.Type{Kind: algebra.Text}}
	return Reading{Core: &algebra.Core{Tables: []algebra.Table{{Dataset: strings.Fields(set)[0]}}, Keys: []algebra.Col{district}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}}, nil
}

// A text that is disclosed must be the one that was signed and the one of which
// the entry keeps the core; a gateway that ran another query is found out.
func TestR05_DisclosedTextsAreHeldAgainstTheirEntries(t *testing.T) {
	for name, c := range map[string]struct {
		signed, shown string
		commitment    string // of the gateway, to a second query
		second        string
		want          string
		ok            int
	}{
		"honest":                  {signed: "count population", shown: "count population", ok: 1},
		"another text is shown":   {signed: "count population", shown: "count population twice", want: "DISCLOSURE"},
		"another query was run":   {signed: "count social_insurance", shown: "count social_insurance", want: "DISCLOSURE"},
		"the text was no query":   {signed: "drop", shown: "drop", want: "DISCLOSURE"},
		"asked twice":             {signed: "count population", shown: "count population", commitment: "q", second: "count population", ok: 2},
		"equal, committed anew":   {signed: "count population", shown: "count population", commitment: "other", second: "count population", want: "COMMITMENT", ok: 2},
		"never entered":           {signed: "count population", shown: "", want: "DISCLOSURE_UNKNOWN"},
		"nothing to read it with": {signed: "count population", shown: "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			b := begun(t)
			a := b.ask("q")
			s, o := b.open(a, c.signed)
			b.decide(a, func(e *entry.Entry) { e.Signed = s })
			if err := b.s.Apply(uint64(len(b.entries)-1), b.entries[len(b.entries)-1]); err != nil {
				t.Fatal(err)
			}
			opt := Options{Trust: trust(t), Read: read}
			switch c.shown {
			case "":
				other := b.ask("elsewhere")
				_, o = b.open(other, c.signed)
			case "broken":
				opt.Read = func(*policies.Book, request.Query) (Reading, error) { return Reading{}, errors.New("no analyser") }
			default:
				o.Body = request.Query{SQL: c.shown}.Fields()
			}
			opt.Openings = append(opt.Openings, o)
			if c.second != "" {
				a := b.ask(c.commitment)
				s, o := b.open(a, c.second)
				b.decide(a, func(e *entry.Entry) { e.Signed = s })
				opt.Openings = append(opt.Openings, o)
			}
			b.add(true, entry.KindStopped, "gateway", nil)
			w := write(t, b.entries, "log", anything{})
			r := audit(t, w.dir, opt)
			if c.shown == "broken" {
				if r.OK || !strings.Contains(fmt.Sprint(r.Findings), "no analyser") {
					t.Errorf("%+v", r.Findings)
				}
				return
			}
			if r.Disclosed != c.ok || (c.want != "" && found(r, c.want) == "") || r.OK != (c.want == "" || c.want == "DISCLOSURE_UNKNOWN") {
				t.Errorf("verdict %v, %d disclosed: %+v", r.OK, r.Disclosed, r.Findings)
			}
		})
	}
}
