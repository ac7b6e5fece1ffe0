package state

import (
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/ledger/entry"
)

// part adds a partition of social_insurance to the city: in every document of the
// department's bundle a second data set of the same rules.
func (w *world) part(id string) {
	w.t.Helper()
	var docs []string
	for _, doc := range strings.Split(load(w.t, "city/hrss.yaml"), "\n---\n") {
		at := strings.Index(doc, "\n  - id: social_insurance\n")
		if at < 0 {
			at = strings.Index(doc, "\n  social_insurance:\n")
		}
		docs = append(docs, doc+strings.Replace(doc[at:], "social_insurance", id, 1))
	}
	w.policy(strings.Join(docs, "\n---\n"), "hrss")
	licence := strings.Replace(load(w.t, "city/licences/alpha-2026.yaml"), "resources:\n",
		"resources:\n  - dataset: "+id+"\n    columns: [month, scheme, base_yuan, contribution_yuan, district, industry]\n", 1)
	w.policy(licence, append([]string{"data_bureau"}, departments...)...)
	w.must(w.snapshotOf(id))
}

// A refresh of a data set earns nothing: its lifetime stays spent, on whatever rows.
// New rows get a lifetime of their own as a new partition; a union with a spent part
// is refused, and the new part alone is answered.
func TestR05_NewRowsAreCreditedAsPartitions(t *testing.T) {
	w := city(t)
	price := w.s.Decide(w.ask("alpha", "p", counted("social_insurance"))).Plan.Rho
	w.limits("hrss", "social_insurance", "lifetime: "+rho(2*price))
	for _, text := range []string{"a", "b"} {
		w.submit(w.ask("alpha", text, counted("social_insurance")), entry.KindReserved)
	}
	spent := func(id string) budget.Nano { return spentOf(w, budget.ScopeLifetime, id, "", 0) }
	refused := func(what string, a Ask) {
		t.Helper()
		d := w.s.Decide(a)
		if d.Refused == nil || d.Refused.Reasons[0].Code != "BUDGET_EXHAUSTED" || !strings.Contains(d.Refused.Reasons[0].EN, "lifetime/social_insurance)") {
			t.Errorf("%s: %+v", what, d.Refused)
		}
	}
	refused("a third query", w.ask("alpha", "c", counted("social_insurance")))
	for range 2 {
		w.must(w.snapshotOf("social_insurance"))
		refused("after a refresh", w.ask("alpha", "d", counted("social_insurance")))
	}
	w.now = w.now.AddDate(1, 0, 0)
	refused("in a new year", w.ask("alpha", "e", counted("social_insurance")))
	if got := spent("social_insurance"); got != 2*price {
		t.Errorf("spent %s, want %s", got, 2*price)
	}

	w.part("social_insurance_2026")
	w.limitsKept("social_insurance", 2*price)
	w.must(w.snapshotOf("social_insurance"))
	refused("after a new part", w.ask("alpha", "f", counted("social_insurance")))
	union := counted("social_insurance_2026")
	union.Tables[0].Parts = []string{"social_insurance"}
	refused("a union with the spent part", w.ask("alpha", "g", union))
	if spent("social_insurance_2026") != 0 {
		t.Error("the new part starts with something spent")
	}
	w.submit(w.ask("alpha", "h", counted("social_insurance_2026")), entry.KindReserved)
	if got := spent("social_insurance_2026"); got != price {
		t.Errorf("the new part spent %s, want %s", got, price)
	}
	if got := spent("social_insurance"); got != 2*price {
		t.Errorf("the old part spent %s, want %s", got, 2*price)
	}
}

// A union charges every part the whole price.
func TestR05_AUnionChargesEveryPart(t *testing.T) {
	w := city(t)
	w.part("social_insurance_2026")
	union := counted("social_insurance_2026")
	union.Tables[0].Parts = []string{"social_insurance"}
	a := w.ask("alpha", "u", union)
	d := w.s.Decide(a)
	if d.Reserved == nil {
		t.Fatalf("%+v", d.Refused)
	}
	var charged []string
	for _, c := range d.Reserved.Charges {
		if c.Scope.Kind == budget.ScopeLifetime && c.Amount == d.Plan.Rho {
			charged = append(charged, c.Scope.Dataset)
		}
	}
	if !slices.Equal(charged, []string{"social_insurance_2026", "social_insurance"}) || len(d.Reserved.Snapshots) != 2 {
		t.Errorf("charged %v of %d snapshots", charged, len(d.Reserved.Snapshots))
	}
}

// limitsKept puts the bundle with both parts in force again with a lifetime for one.
func (w *world) limitsKept(dataset string, lifetime budget.Nano) {
	w.t.Helper()
	doc := load(w.t, "city/hrss.yaml")
	doc = doc[strings.LastIndex(doc, "kind: Disclosure"):]
	block := doc[strings.Index(doc, "\n  "+dataset+":\n"):]
	w.policy(doc+strings.Replace(block, dataset, dataset+"_2026", 1)+"    # again\n", "hrss")
	if at := strings.Index(doc, "    budget:"); at >= 0 {
		end := at + strings.Index(doc[at:], "\n") + 1
		doc = doc[:at] + doc[end:]
	}
	first := strings.Replace(doc, "  "+dataset+":\n", "  "+dataset+":\n    budget: {lifetime: "+rho(lifetime)+"}\n", 1)
	w.policy(first+strings.Replace(block, dataset, dataset+"_2026", 1), "hrss")
}
