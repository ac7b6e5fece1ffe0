package protect

import (
	"encoding/json"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
)

// FuzzBuild: no core makes Build panic, and what it lets through is priced and
// noised whatever the core says.
func FuzzBuild(f *testing.F) {
	base := facts(3)
	for _, c := range []algebra.Core{
		query(base, "area firm", "count", "avg debt"),
		joined(base, true, "sector", "sum pay", "count_units"),
		query(base, "huge huge", "count_col debt"),
	} {
		b, err := json.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, int64(880_000), false)
		f.Add(b, int64(0), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, price int64, exact bool) {
		var c algebra.Core
		if json.Unmarshal(b, &c) != nil {
			return
		}
		fact := base
		if exact {
			fact.Mode, fact.OneRow = ModeExact, true
		}
		fs := []Facts{fact, dim, dim}
		p, r := Build(c, fs[:min(len(c.Tables), len(fs))], budget.Nano(price))
		if (p == nil) == (r == nil) {
			t.Fatal("Build must give a plan or a reason")
		}
		if r != nil {
			if r.ZH == "" || r.EN == "" || r.Code == "" {
				t.Fatalf("%+v", r)
			}
			return
		}
		if len(p.Outputs) != len(c.Aggs) || len(p.Keys) != len(c.Keys) || len(p.ExpectedError()) != len(c.Aggs) {
			t.Fatalf("%+v", p)
		}
		if exact {
			return
		}
		if p.Rho < 1 || int64(p.Rho) > price {
			t.Fatalf("rho %s at price %d", p.Rho, price)
		}
		for _, o := range p.Outputs {
			if p.Measures[o.A].Sigma2.Sign() < 1 || p.Measures[o.B].Sigma2.Sign() < 1 && o.Func == algebra.Avg {
				t.Fatalf("output without noise: %+v", o)
			}
		}
	})
}
