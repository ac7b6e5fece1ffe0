package protect

import (
	"reflect"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
)

// The need of consents changes neither sensitivity nor noise nor price: nothing but
// the mark that the statement must be restricted; and it rules exact mode out, also
// where another data set of the query needs it.
func TestR28_ConsentCostsNothingAndIsNeverExact(t *testing.T) {
	f := facts(4)
	core := algebra.Core{Tables: []algebra.Table{{Dataset: f.Dataset}}, Keys: []algebra.Col{col(f, 0, "area")}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}
	open, r := Build(core, []Facts{f}, f.QueryRho)
	if r != nil {
		t.Fatal(r)
	}
	f.Consent = true
	asked, r := Build(core, []Facts{f}, f.QueryRho)
	if r != nil || !asked.Consenting(0) || open.Consenting(0) || asked.Consenting(1) || asked.Consenting(-1) {
		t.Fatal(r, asked)
	}
	asked.Consents = nil
	if !reflect.DeepEqual(open, asked) {
		t.Errorf("another plan:\n%+v\n%+v", open, asked)
	}
	f.Mode, f.OneRow = ModeExact, true
	if _, r := Build(core, []Facts{f}, 0); r == nil || r.Code != "CONSENT_EXACT" {
		t.Errorf("exact: %v", r)
	}
}
