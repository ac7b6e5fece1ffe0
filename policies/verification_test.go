package policies

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
)

// verifiable is the city with columns of the household register open to verification.
func verifiable(t testing.TB) *Book {
	t.Helper()
	b := city(t)
	b = apply(t, b, verifyRule(t, "birth_date: [filter, measure, verify]", "{}"), "public_security")
	return apply(t, b, load(t, "city/licences/alpha-2026.yaml")+"jobs: [query, verification]\n", "data_bureau", "public_security", "hrss", "housing_fund_centre", "health", "civil_affairs")
}

func verifyRule(t testing.TB, birth, limits string) string {
	t.Helper()
	text := load(t, "city/public_security.yaml")
	text = edited(t, text[strings.LastIndex(text, "kind: Disclosure"):], "birth_date: [filter, measure]", birth)
	text = edited(t, text, "district: [key, filter, join]", "district: [key, filter, join, verify]")
	return edited(t, text, "household_type: [key, filter]", "household_type: [key, filter, verify]\n      name: [verify]") + "    verification: " + limits + "\n"
}

func predicateText(id, predicate string) string {
	return fmt.Sprintf("kind: Product\nid: %s\noperator: alpha\nlicence: alpha-2026\ntitle: {zh: 核验}\npurposes: [urban_planning]\njob: verification\npredicate: {dataset: population, %s}\n", id, predicate)
}

// An equals on a masked column is told to whoever files and reviews it; where the mask
// leaves nothing, it is refused.
func TestR08_EqualsOnAMaskIsTold(t *testing.T) {
	b := verifiable(t)
	warned := func(column string, op PredicateOp) []Reason {
		return b.PredicateWarnings(VerificationPredicate{Dataset: "population", Columns: []string{column}, Op: op})
	}
	for _, column := range []string{"name", "birth_date"} {
		w := warned(column, PredEquals)
		if len(w) != 1 || w[0].Code != "EQUALS_ON_MASK" || !strings.Contains(w[0].ZH, column) || !strings.Contains(w[0].EN, column) || w[0].SetBy != "public_security" {
			t.Errorf("%s: %+v", column, w)
		}
	}
	if w := append(append(warned("district", PredEquals), warned("birth_date", PredExists)...), warned("no_such", PredEquals)...); len(w) > 0 {
		t.Errorf("warnings of what is not masked, not compared or not there: %+v", w)
	}
	e := b.datasets["population"]
	e.Masks = maps.Clone(e.Masks)
	for _, op := range []string{"constant", "null"} {
		e.Masks["district"] = Mask{Op: op, Value: "239902"}
		if op == "null" {
			e.Masks["district"] = Mask{Op: op}
		}
		b.datasets["population"] = e
		err := b.checkPredicate(VerificationPredicate{Dataset: "population", Columns: []string{"district"}, Op: PredEquals})
		if err == nil || !strings.Contains(err.Error(), "nothing is left") {
			t.Errorf("%s: %v", op, err)
		}
	}
}

// TestR08_PredicatesAreFixedAndOnTheGrid: what can be filed, and why the rest cannot.
func TestR08_PredicatesAreFixedAndOnTheGrid(t *testing.T) {
	b := verifiable(t)
	for _, predicate := range []string{
		`columns: [birth_date], op: less_than, threshold: "2005"`, `columns: [birth_date], op: at_least, threshold: "1960"`,
		`columns: [district], op: equals`, `columns: [district], op: in_list, codes: ["239902", "239903"]`, `columns: [birth_date], op: exists`,
	} {
		apply(t, b, predicateText("p", predicate), "alpha")
	}
	for predicate, want := range map[string]string{
		`columns: [birth_date], op: less_than, threshold: "2006"`:               "no edge of the registered grid",
		`columns: [birth_date], op: less_than, threshold: "2005-01-01"`:         "no edge of the registered grid",
		`columns: [district], op: at_least, threshold: "239902"`:                "no edge of the registered grid",
		`columns: [birth_date], op: less_than`:                                  "which need one",
		`columns: [birth_date], op: equals, threshold: "2005"`:                  "which need one",
		`columns: [district], op: in_list, codes: ["239902", "239902"]`:         "or twice",
		`columns: [district], op: in_list, codes: ["000000"]`:                   "not in the code list",
		`columns: [district], op: in_list`:                                      "needs 1 to",
		`columns: [district, birth_date], op: equals`:                           "names one column",
		`columns: [birth_date, birth_date], op: valid_on`:                       "two columns stored as dates",
		`columns: [birth_date], op: like`:                                       "unknown predicate",
		`columns: [], op: equals`:                                               "columns is missing",
		`columns: [id_number], op: equals`:                                      "is not stored",
		`columns: [address], op: exists`:                                        "is not stored",
		`columns: [gender], op: equals`:                                         `does not allow column "population"."gender" as a verify`,
		`columns: [name], op: equals`:                                           `does not grant column "population"."name"`,
		`columns: [birth_date], op: exists}` + "\nsql: SELECT 1\nparameters: [": "in the place of sql",
	} {
		text := predicateText("p", predicate)
		if strings.HasSuffix(predicate, "[") {
			text = strings.Replace(text, "parameters: [}", "parameters: []", 1)
		}
		if got := refused(t, b, text, "alpha"); !strings.Contains(got, want) {
			t.Errorf("%s: %s", predicate, got)
		}
	}
	for text, want := range map[string]string{
		edited(t, predicateText("p", `columns: [district], op: equals`), "job: verification", "job: query"):             "go together",
		edited(t, predicateText("p", `columns: [district], op: equals`), "dataset: population", "dataset: enterprises"): "does not grant data set",
		edited(t, predicateText("p", `columns: [district], op: equals`), "job: verification\n", ""):                     "go together",
	} {
		if got := refused(t, b, text, "alpha"); !strings.Contains(got, want) {
			t.Errorf("%s", got)
		}
	}
	if got := refused(t, city(t), predicateText("p", `columns: [district], op: equals`), "alpha"); !strings.Contains(got, "does not grant jobs of kind verification") {
		t.Error(got)
	}
	// A rule in advance approves no predicate, whatever it names.
	b = apply(t, b, predicateText("where", "columns: [district], op: equals"), "alpha")
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	next, _, err := b.Apply(signed(t, "kind: ReviewRule\nid: r1\nby: public_security\noperator: alpha\npurposes: [urban_planning]\ncolumns: {population: [district]}\nnot_after: 2026-12-01T00:00:00Z\n", "public_security"), at)
	if err != nil {
		t.Fatal(err)
	}
	if s := next.ReviewsOf("where", at); len(s) != 2 || s[0].Approved() || s[1].Approved() {
		t.Errorf("%+v", s)
	}
	// A query cannot run under it.
	p, _ := next.Product("where")
	got := next.Decide(Request{Operator: "alpha", Licence: "alpha-2026", Purpose: "urban_planning", At: at, Core: townCore(), Product: "where", Version: p.Digest()})
	if !slices.Contains(codesOf(got), "PRODUCT_UNKNOWN") {
		t.Errorf("%v", codesOf(got))
	}
}

// TestR03_VerificationRulesAreNarrow: a department's limits only make it stricter,
// and an open column is open to verification alone.
func TestR03_VerificationRulesAreNarrow(t *testing.T) {
	b := verifiable(t)
	for limits, want := range map[string]string{
		"{bits_per_year: 3}": "must lie in 1…2", "{questions_per_year: 3}": "must lie in 1…2", "{subjects_per_month: -1}": "must lie in 1…", "{subjects_per_month: 2000000}": "must lie in 1…",
	} {
		if got := refused(t, b, verifyRule(t, "birth_date: [filter, measure, verify]", limits), "public_security"); !strings.Contains(got, want) {
			t.Errorf("%s: %s", limits, got)
		}
	}
	text := verifyRule(t, "birth_date: [verify]", "{subjects_per_month: 5, bits_per_year: 1}")
	b = apply(t, b, text, "public_security")
	e, _ := b.Dataset("population")
	if v := e.Verification(); v != (VerificationRule{5, 2, 1}) {
		t.Errorf("%+v", v)
	}
	if got := refused(t, b, strings.Replace(text, "name: [verify]", "name: [verify, key]", 1), "public_security"); !strings.Contains(got, "identifies a unit") {
		t.Error(got)
	}
	if got := refused(t, b, strings.Replace(text, "name: [verify]", "address: [verify]", 1), "public_security"); !strings.Contains(got, "not stored") {
		t.Error(got)
	}
	// Enterprises are no persons, who could agree.
	market := load(t, "city/market_regulation.yaml")
	market = market[strings.LastIndex(market, "kind: Disclosure"):]
	if got := refused(t, b, edited(t, market, "employees: [", "employees: [verify, "), "market_regulation"); !strings.Contains(got, "only the data of persons") {
		t.Error(got)
	}
}

// TestR28_ClaimsAsStored: a claim is brought to what would be stored of it; what has
// no such form is refused without being repeated.
func TestR28_ClaimsAsStored(t *testing.T) {
	e, _ := verifiable(t).Dataset("population")
	key := []byte(strings.Repeat("k", 32))
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	value := func(column, claim string) (algebra.Value, *Reason) {
		v, _, x := e.PredicateValues(VerificationPredicate{Dataset: "population", Columns: []string{column}, Op: PredEquals}, claim, at, key)
		if x != nil {
			return algebra.Value{}, x
		}
		return v[0], nil
	}
	for _, c := range []struct {
		column, claim string
		want          algebra.Value
	}{
		{"birth_date", "1984-07-03", algebra.Value{Type: algebra.Type{Kind: algebra.Int}, I: 1984}},
		{"birth_date", " 1850-01-01 ", algebra.Value{Type: algebra.Type{Kind: algebra.Int}, I: 1900}}, // clamped as the file's is
		{"district", "239902", algebra.Value{Type: algebra.Type{Kind: algebra.Text}, S: "239902"}},
		{"name", "张三丰", algebra.Value{Type: algebra.Type{Kind: algebra.Text}, S: "张**"}},
	} {
		if got, x := value(c.column, c.claim); x != nil || got != c.want {
			t.Errorf("%s %s: %+v %v", c.column, c.claim, got, x)
		}
	}
	for _, c := range [][2]string{{"birth_date", "1984"}, {"birth_date", ""}, {"district", "110101"}, {"district", "' OR 1=1"}, {"name", strings.Repeat("x", 300)}, {"name", "a\x00b"}, {"name", "\xff"}} {
		if _, x := value(c[0], c[1]); x == nil || x.Code != "CLAIM_FORM" || c[1] != "" && strings.Contains(x.Text("zh")+x.Text("en"), c[1]) {
			t.Errorf("%q: %v", c, x)
		}
	}
	if _, _, x := e.PredicateValues(VerificationPredicate{Dataset: "population", Columns: []string{"birth_date"}, Op: PredLess, Threshold: "2005"}, "x", at, key); x == nil || x.Code != "CLAIM_UNUSED" {
		t.Errorf("%v", x)
	}
	// The day of the request is China's.
	late := time.Date(2026, 4, 30, 16, 30, 0, 0, time.UTC)
	v, _, x := e.PredicateValues(VerificationPredicate{Dataset: "population", Columns: []string{"birth_date"}, Op: PredValidOn}, "", late, key)
	if x != nil || algebra.FormatDate(v[0].I) != "2026-05-01" {
		t.Errorf("%v %v", v, x)
	}
}

// TestR03_DecideVerification: every rule that refuses a query refuses a verification,
// but for the class that is not shared.
func TestR03_DecideVerification(t *testing.T) {
	b := apply(t, verifiable(t), predicateText("where", "columns: [district], op: equals"), "alpha")
	p, _ := b.Product("where")
	for _, by := range []string{"public_security", "data_bureau"} {
		b = apply(t, b, fmt.Sprintf("kind: ProductReview\nproduct: where\ndigest: %s\nby: %s\napprove: true\nofficials: [zhang]\nreason: {zh: 合规}\n", p.Digest(), by), by)
	}
	r := Request{Operator: "alpha", Licence: "alpha-2026", Purpose: "urban_planning", At: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), Product: "where", Version: p.Digest()}
	if got := b.DecideVerification(r); len(got) != 0 {
		t.Fatal(got)
	}
	for want, change := range map[string]func(*Request){
		"OPERATOR_UNKNOWN":     func(r *Request) { r.Operator = "nobody" },
		"LICENCE_UNKNOWN":      func(r *Request) { r.Operator = "beta" },
		"LICENCE_EXPIRED":      func(r *Request) { r.At = r.At.AddDate(20, 0, 0) },
		"PURPOSE_NOT_LICENSED": func(r *Request) { r.Purpose = "industry_research" },
		"PRODUCT_SCOPE":        func(r *Request) { r.Purpose = "public_health" },
		"PRODUCT_UNKNOWN":      func(r *Request) { r.Product = "none" },
		"PRODUCT_CHANGED":      func(r *Request) { r.Version = strings.Repeat("0", 64) },
	} {
		q := r
		if change(&q); !slices.Contains(codesOf(b.DecideVerification(q)), want) {
			t.Errorf("%s: %v", want, codesOf(b.DecideVerification(q)))
		}
	}
	for want, next := range map[string]*Book{
		"JOB_KIND_NOT_LICENSED": apply(t, b, load(t, "city/licences/alpha-2026.yaml")+"# again\n", "data_bureau", "public_security", "hrss", "housing_fund_centre", "health", "civil_affairs"),
		"USE_NOT_ALLOWED":       apply(t, b, edited(t, verifyRule(t, "birth_date: [verify]", "{}"), "join, verify]", "join]"), "public_security"),
		"PRODUCT_REFUSED":       apply(t, b, fmt.Sprintf("kind: ProductReview\nproduct: where\ndigest: %s\nby: data_bureau\napprove: false\nofficials: [zhang]\nreason: {zh: 越界}\nbasis: 第八条\n", p.Digest()), "data_bureau"),
		"DATASET_SUSPENDED":     apply(t, b, "kind: Order\nid: o1\nby: public_security\ntarget: {kind: dataset, id: population}\nstage: suspend\nreason: {zh: 异常}\nbasis: {zh: 协议}\n", "public_security"),
	} {
		if !slices.Contains(codesOf(next.DecideVerification(r)), want) {
			t.Errorf("%s: %v", want, codesOf(next.DecideVerification(r)))
		}
	}
}

// FuzzClaims: no claim is a crash, none is repeated in a refusal, and what is accepted
// is of the stored type.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{"", "1984-07-03", "239902", "张三", "-1", "true", "1e9", "\x00", "9999-99-99"} {
		f.Add(s)
	}
	e, _ := verifiable(f).Dataset("population")
	key := []byte(strings.Repeat("k", 32))
	f.Fuzz(func(t *testing.T, claim string) {
		for column, kind := range map[string]algebra.Kind{"birth_date": algebra.Int, "district": algebra.Text, "name": algebra.Text} {
			v, _, x := e.PredicateValues(VerificationPredicate{Dataset: "population", Columns: []string{column}, Op: PredEquals}, claim, time.Unix(0, 0), key)
			switch {
			case x == nil && (len(v) != 1 || v[0].Type.Kind != kind || v[0].Null):
				t.Errorf("%s: %+v", column, v)
			case x != nil && len(claim) > 12 && strings.Contains(x.Text("zh")+x.Text("en"), claim):
				t.Error("a refusal repeats the claim")
			}
		}
	})
}
