package policies

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
)

// productCore is townCore with a fee that can be summed.
func productCore() algebra.Core {
	core := townCore()
	core.Aggs[1].Arg.Type = algebra.Type{Kind: algebra.Decimal, Scale: 2}
	return core
}

// productText is a product of op over townCore.
func productText(t testing.TB, more string) string {
	t.Helper()
	core := productCore()
	form, err := json.Marshal(string(core.Redacted().Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("kind: Product\nid: fees\noperator: op\nlicence: l1\ntitle: {zh: 费用}\npurposes: [plan]\nsql: SELECT $1\ncore: %s\nparameters: [{name: day, title: {zh: 日}, values: [\"2000-01-01\"]}]\n%s", form, more)
}

func reviewText(b *Book, by string, approve bool) string {
	p, _ := b.Product("fees")
	return fmt.Sprintf("kind: ProductReview\nproduct: fees\ndigest: %s\nby: %s\napprove: %t\nofficials: [zhang]\nreason: {zh: 理由}\nbasis: 第八条\n# %s\n", p.Digest(), by, approve, time.Duration(len(by)))
}

func productRequest(b *Book) Request {
	p, _ := b.Product("fees")
	core := productCore()
	return Request{Operator: "op", Licence: "l1", Purpose: "plan", At: may2026, Core: core.Redacted(), Product: "fees", Version: p.Digest()}
}

// R08 R14: a product runs once every owner of its data and the regulator approved
// this very version, and a change of anything needs review again.
func TestR08_ProductRunsUnderTheReviewOfItsVersion(t *testing.T) {
	b := apply(t, town(t, ""), productText(t, ""), "op")
	if got := codesOf(b.Decide(productRequest(b))); !slices.Equal(got, []string{"PRODUCT_NOT_APPROVED", "PRODUCT_NOT_APPROVED"}) {
		t.Fatalf("unreviewed: %v", got)
	}
	b = apply(t, b, reviewText(b, "dept", true), "dept")
	if got := codesOf(b.Decide(productRequest(b))); !slices.Equal(got, []string{"PRODUCT_NOT_APPROVED"}) {
		t.Fatalf("half reviewed: %v", got)
	}
	b = apply(t, b, reviewText(b, "bureau", true), "bureau")
	if got := b.Decide(productRequest(b)); len(got) != 0 {
		t.Fatalf("reviewed: %v", got)
	}
	for name, change := range map[string]func(*Request){
		"another form":    func(r *Request) { r.Core.Aggs = r.Core.Aggs[:1] },
		"another version": func(r *Request) { r.Version = strings.Repeat("0", 64) },
		"no version":      func(r *Request) { r.Version = "" },
		"no product":      func(r *Request) { r.Product = "" },
		"unknown":         func(r *Request) { r.Product = "ghost" },
		"of another":      func(r *Request) { r.Operator = "rival" },
	} {
		r := productRequest(b)
		change(&r)
		if len(b.Decide(r)) == 0 {
			t.Errorf("%s: runs", name)
		}
	}
	changed := apply(t, b, productText(t, "abstract: {zh: 新}\n"), "op")
	if got := codesOf(changed.Decide(productRequest(changed))); !slices.Equal(got, []string{"PRODUCT_NOT_APPROVED", "PRODUCT_NOT_APPROVED"}) {
		t.Errorf("a changed product: %v", got)
	}
	refusedBy := apply(t, b, reviewText(b, "dept", false), "dept")
	if got := codesOf(refusedBy.Decide(productRequest(refusedBy))); !slices.Equal(got, []string{"PRODUCT_REFUSED"}) {
		t.Errorf("an approval taken back: %v", got)
	}
	held := b.clone()
	held.suspend(Target{TargetProduct, "fees"}, Hold{By: "bureau", Cause: "o1"})
	if got := codesOf(held.Decide(productRequest(held))); !slices.Equal(got, []string{"PRODUCT_SUSPENDED"}) {
		t.Errorf("suspended: %v", got)
	}
}

func TestR08_ProductsOnly(t *testing.T) {
	b := apply(t, town(t, ""), withKeys(townLicence)+"products_only: true\n", "bureau", "dept")
	r := Request{Operator: "op", Licence: "l1", Purpose: "plan", At: may2026, Core: townCore()}
	if got := codesOf(b.Decide(r)); !slices.Equal(got, []string{"PRODUCT_REQUIRED"}) {
		t.Fatalf("without a product: %v", got)
	}
}

func TestR08_ProductDocumentsAreRefusedByName(t *testing.T) {
	full := town(t, "")
	filed := apply(t, full, productText(t, ""), "op")
	sub := func(text, from, to string) string {
		if !strings.Contains(text, from) {
			t.Fatalf("the document holds no %q", from)
		}
		return strings.Replace(text, from, to, 1)
	}
	review := reviewText(filed, "dept", true)
	literal := productCore()
	literal.Where.Args[0].Values[0] = algebra.Value{Type: textType, S: "240101199001011234"}
	clear, err := json.Marshal(string(literal.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	product := productText(t, "")
	at := strings.Index(product, "core: ")
	inClear := product[:at] + "core: " + string(clear) + "\n"
	for name, c := range map[string]struct {
		b       *Book
		text    string
		signers []string
		want    string
	}{
		"unsigned by its operator": {full, product, []string{"dept"}, "signature of operator"},
		"licence of another":       {full, sub(product, "licence: l1", "licence: l2"), []string{"op"}, "holds no licence"},
		"purpose not granted":      {full, sub(product, "[plan]", "[welfare]"), []string{"op"}, "does not grant purpose"},
		"no core":                  {full, product[:at] + "core: \"{}\"\n", []string{"op"}, "core"},
		"literal in the core":      {full, inClear, []string{"op"}, "holds literals"},
		"column not granted":       {full, strings.ReplaceAll(product, `\"fee\"`, `\"phone\"`), []string{"op"}, "does not grant column"},
		"review of nothing":        {full, review, []string{"dept"}, "was not filed"},
		"review by a stranger":     {filed, sub(review, "by: dept", "by: other"), []string{"other"}, "does not review"},
		"review by the operator":   {filed, sub(review, "by: dept", "by: op"), []string{"op"}, "does not review"},
		"review unsigned":          {filed, review, []string{"bureau"}, "signature of reviewer"},
		"review of an old version": {filed, sub(review, "digest: ", "digest: 0"), []string{"dept"}, "another version"},
		"alone where two must":     {apply(t, filed, withKeys(load(t, "profiles/chifeng.yaml")), "bureau"), review, []string{"dept"}, "two officials"},
		"a number in the reason":   {filed, sub(review, "zh: 理由", "zh: 见 240101199001011234"), []string{"dept"}, "reason"},
		"refusal without basis":    {filed, sub(sub(review, "approve: true", "approve: false"), "basis: 第八条\n", ""), []string{"dept"}, "legal basis"},
		"rule without columns":     {full, "kind: ReviewRule\nid: r\nby: dept\noperator: op\npurposes: [plan]\ncolumns: {}\nnot_after: 2026-12-01T00:00:00Z\n", []string{"dept"}, "narrow"},
		"rule for ever":            {full, "kind: ReviewRule\nid: r\nby: dept\noperator: op\npurposes: [plan]\ncolumns: {people: [fee]}\nnot_after: 2036-12-01T00:00:00Z\n", []string{"dept"}, "within 12 months"},
		"rule of an operator":      {full, "kind: ReviewRule\nid: r\nby: op\noperator: op\npurposes: [plan]\ncolumns: {people: [fee]}\nnot_after: 2026-12-01T00:00:00Z\n", []string{"op"}, "department or regulator"},
	} {
		if got := refused(t, c.b, c.text, c.signers...); !strings.Contains(got, c.want) || strings.Contains(got, "240101") {
			t.Errorf("%s: %s; want %q", name, got, c.want)
		}
	}
}

// A rule approves what stays inside it and nothing else.
func TestR08_ReviewRulesAreNarrow(t *testing.T) {
	const rule = "kind: ReviewRule\nid: r-%[1]s\nby: %[1]s\noperator: op\npurposes: [plan]\ncolumns: {people: [diagnosis_name, born, fee]}\nnot_after: 2026-12-01T00:00:00Z\n"
	b := apply(t, town(t, ""), productText(t, ""), "op")
	for _, by := range []string{"dept", "bureau"} {
		b = apply(t, b, fmt.Sprintf(rule, by), by)
	}
	in := productRequest(b)
	in.At = applied
	if got := b.Decide(in); len(got) != 0 {
		t.Fatalf("inside the rules: %v", got)
	}
	late := in
	late.At = time.Date(2026, 12, 2, 0, 0, 0, 0, time.UTC)
	if got := codesOf(b.Decide(late)); !slices.Contains(got, "PRODUCT_NOT_APPROVED") {
		t.Errorf("after the rule's end: %v", got)
	}
	no := apply(t, b, reviewText(b, "dept", false), "dept")
	if got := codesOf(no.Decide(in)); !slices.Equal(got, []string{"PRODUCT_REFUSED"}) {
		t.Errorf("a refusal goes before a rule: %v", got)
	}
	for name, c := range map[string][2]string{
		"fewer columns":   {"born, fee]", "born]"},
		"other operator":  {"operator: op", "operator: rival"},
		"other purpose":   {"[plan]", "[trade]"},
		"withdrawn":       {"not_after", "withdrawn: true\nnot_after"},
		"other data sets": {"people: [diagnosis_name, born, fee]", "areas: [area]"},
	} {
		text := strings.Replace(fmt.Sprintf(rule, "dept"), c[0], c[1], 1)
		next, _, err := b.Apply(signed(t, text, "dept"), applied)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := codesOf(next.Decide(in)); !slices.Contains(got, "PRODUCT_NOT_APPROVED") {
			t.Errorf("%s: %v", name, got)
		}
	}
	open := apply(t, b, strings.Replace(productText(t, ""), ", values: [\"2000-01-01\"]", "", 1), "op")
	req := productRequest(open)
	req.At = applied
	if got := codesOf(open.Decide(req)); !slices.Contains(got, "PRODUCT_NOT_APPROVED") {
		t.Errorf("an open parameter: %v", got)
	}
}

// R11: where registration is required, a product that is not registered, or no
// longer, does not run.
func TestR11_UnregisteredProductsDoNotRun(t *testing.T) {
	b := apply(t, town(t, ""), withKeys(townRegistry)+"registration_required: true\n", "bureau")
	b = apply(t, b, registration("first", "A-1", "2028-06-01"), "bureau")
	b = apply(t, b, productText(t, ""), "op")
	for _, by := range []string{"dept", "bureau"} {
		b = apply(t, b, reviewText(b, by, true), by)
	}
	r := productRequest(b)
	r.At = applied
	if got := codesOf(b.Decide(r)); !slices.Equal(got, []string{"REGISTRATION_MISSING"}) {
		t.Fatalf("unregistered: %v", got)
	}
	b = apply(t, b, strings.Replace(registration("first", "P-1", "2028-06-01"), "{kind: dataset, id: people}", "{kind: product, id: fees}", 1), "bureau")
	if got := b.Decide(r); len(got) != 0 {
		t.Fatalf("registered: %v", got)
	}
	r.At = time.Date(2028, 6, 1, 0, 0, 0, 0, time.UTC)
	if got := codesOf(b.Decide(r)); !slices.Contains(got, "REGISTRATION_EXPIRED") {
		t.Errorf("expired: %v", got)
	}
}
