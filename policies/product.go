package policies

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/internal/bilingual"
)

// Kinds of the product desk.
const (
	KindProduct       Kind = "Product"       // operator: a job template 数据产品
	KindProductReview Kind = "ProductReview" // department or regulator: compliance review 合规审查 (R08)
	KindReviewRule    Kind = "ReviewRule"    // department or regulator: what is approved without a look each time
)

// Product 数据产品 is a job template: a text with parameters that is reviewed once,
// pinned by its digest, and then run again and again under that review (R08). Any
// change of any field is another digest and needs another review.
type Product struct {
	ID       string   `yaml:"id" json:"id"`
	Operator string   `yaml:"operator" json:"operator"`
	Licence  string   `yaml:"licence" json:"licence"`
	Title    Text     `yaml:"title" json:"title"`
	Abstract Text     `yaml:"abstract,omitempty" json:"abstract,omitzero"`
	Purposes []string `yaml:"purposes" json:"purposes"`
	// SQL is the text, with $1, $2, … where Parameters stand.
	SQL        string      `yaml:"sql" json:"sql"`
	Parameters []Parameter `yaml:"parameters,omitempty" json:"parameters,omitempty"`
	// Core is the redacted canonical core of SQL as JSON, as explain gives it: a job
	// under the product must have exactly this form, so that whoever replays the
	// ledger can tell that it was this product which ran.
	Core string `yaml:"core" json:"core"`
	// Job is JobVerification for a product that verifies Predicate and has no text;
	// both are absent from one that queries.
	Job       JobKind                `yaml:"job,omitempty" json:"job,omitempty"`
	Predicate *VerificationPredicate `yaml:"predicate,omitempty" json:"predicate,omitempty"`
	// model: Model is trained by a product of JobModel, which has neither text nor predicate.
	Model *ModelSpec `yaml:"model,omitempty" json:"model,omitempty"`
}

// Parameter of a product: what $n stands for.
type Parameter struct {
	Name  string `yaml:"name" json:"name"`
	Title Text   `yaml:"title" json:"title"`
	// Values are the only ones allowed; empty leaves them open.
	Values []string `yaml:"values,omitempty" json:"values,omitempty"`
}

// ProductReview approves or refuses one version of a product. Every department
// whose data it reads and the regulator review it.
type ProductReview struct {
	Product  string   `yaml:"product" json:"product"`
	Digest   string   `yaml:"digest" json:"digest"` // Product.Digest that was looked at
	By       string   `yaml:"by" json:"by"`         // party that signs
	Approve  bool     `yaml:"approve" json:"approve"`
	Officers []string `yaml:"officials" json:"officials"` // ids of the officials who looked at it
	Reason   Text     `yaml:"reason" json:"reason"`
	Basis    string   `yaml:"basis,omitempty" json:"basis,omitempty"` // legal basis; a refusal needs one
}

// ReviewRule approves in advance, on behalf of the party that signs it, products
// that stay inside narrow limits: no product of another operator, no other column,
// no other purpose, no open parameter.
type ReviewRule struct {
	ID       string              `yaml:"id" json:"id"`
	By       string              `yaml:"by" json:"by"`
	Operator string              `yaml:"operator" json:"operator"`
	Purposes []string            `yaml:"purposes" json:"purposes"`
	Columns  map[string][]string `yaml:"columns" json:"columns"` // data set → columns a product may touch; no other data set
	NotAfter time.Time           `yaml:"not_after" json:"not_after"`
	// Withdrawn ends the rule; what it approved is open again.
	Withdrawn bool `yaml:"withdrawn,omitempty" json:"withdrawn,omitempty"`
}

// maxRuleTerm is the longest term of a ReviewRule, in months.
const maxRuleTerm = 12

// Digest names one version of a product: SHA-256 over all its fields, hexadecimal.
func (p Product) Digest() string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("policies: a product does not marshal: %v", err))
	}
	sum := sha256.Sum256(append([]byte("sandgate/product/v1\n"), text...))
	return hex.EncodeToString(sum[:])
}

// form is the decoded core of a checked product.
func (p Product) form() algebra.Core {
	core, err := algebra.ParseCore([]byte(p.Core))
	if err != nil {
		panic(fmt.Sprintf("policies: the core of a checked product does not parse: %v", err))
	}
	return core
}

// Product returns the version of a product that was filed last.
func (b *Book) Product(id string) (Product, bool) { p, ok := b.products[id]; return p, ok }

// Products lists product ids in order.
func (b *Book) Products() []string { return slices.Sorted(maps.Keys(b.products)) }

// CheckProductID says what is wrong with a product's id, so that a draft need not be
// filed to be told.
func CheckProductID(id string) error { return checkID("product", id) }

func (b *Book) putProduct(p Product, a act) error {
	if err := checkID("product", p.ID); err != nil {
		return err
	}
	if !a.signers[p.Operator] {
		return texts.Errorf("product %q: signature of operator %q is missing", p.ID, safeName(p.Operator))
	}
	if old, ok := b.products[p.ID]; ok && old.Operator != p.Operator {
		return texts.Errorf("product %q belongs to another operator; choose another id", p.ID)
	}
	if order, ok := b.ended[Target{TargetProduct, p.ID}]; ok {
		return texts.Errorf("product %q was ended by order %q for good; file another under another id", p.ID, order)
	}
	if err := b.checkProduct(p); err != nil {
		return texts.Errorf("product %q: %w", p.ID, err)
	}
	b.products[p.ID] = p
	return nil
}

// Limits of a product.
const (
	maxProductSQL = 32 << 10
	maxParameters = 100
)

func (b *Book) checkProduct(p Product) error {
	l, ok := b.licences[p.Licence]
	if !ok || l.Operator != p.Operator {
		return texts.Errorf("operator %q holds no licence %q", p.Operator, safeName(p.Licence))
	}
	if p.Title.ZH == "" {
		return texts.Errorf("title.zh is missing")
	}
	if len(p.Purposes) == 0 {
		return texts.Errorf("purposes are missing")
	}
	for _, u := range p.Purposes {
		if !slices.Contains(l.Purposes, u) {
			return texts.Errorf("licence %q does not grant purpose %q", l.ID, safeName(u))
		}
	}
	if p.Job == JobModel || p.Model != nil {
		return b.checkModelProduct(l, p)
	}
	if p.Job != "" || p.Predicate != nil {
		return b.checkVerificationProduct(l, p)
	}
	if p.SQL == "" || len(p.SQL) > maxProductSQL || len(p.Parameters) > maxParameters {
		return texts.Errorf("sql must hold 1 to %d bytes and at most %d parameters", maxProductSQL, maxParameters)
	}
	names := map[string]bool{}
	for _, x := range p.Parameters {
		if !columnPattern.MatchString(x.Name) || len(x.Name) > 63 || names[x.Name] {
			return texts.Errorf("parameter name %q is not a name, or stands twice", safeName(x.Name))
		}
		names[x.Name] = true
	}
	core, err := algebra.ParseCore([]byte(p.Core))
	if err != nil {
		return texts.Errorf("core is not the form of a query: take it from sandgate product draft")
	}
	if redacted := core.Redacted(); string(redacted.Bytes()) != p.Core {
		return texts.Errorf("core holds literals or is not canonical: take it from sandgate product draft")
	}
	for _, id := range core.Datasets() {
		if b.decideDatasetGrant(l, id) != nil {
			return texts.Errorf("licence %q does not grant data set %q", l.ID, safeName(id))
		}
	}
	for _, u := range Uses(core) {
		if x := b.decideColumn(l, u); x != nil {
			return bilingual.Plain(x.ZH, x.EN)
		}
	}
	return nil
}

func (b *Book) putProductReview(r ProductReview, a act) error {
	p, ok := b.products[r.Product]
	if !ok {
		return texts.Errorf("product %q was not filed", safeName(r.Product))
	}
	if !slices.Contains(b.reviewersOf(p), r.By) {
		return texts.Errorf("product %q: party %q does not review it: only the regulator and the departments whose data it reads", p.ID, safeName(r.By))
	}
	if !a.signers[r.By] {
		return texts.Errorf("product %q: signature of reviewer %q is missing", p.ID, r.By)
	}
	if r.Digest != p.Digest() {
		return texts.Errorf("product %q: the review is of another version; look at the one filed last", p.ID)
	}
	profile, _ := b.Profile()
	if err := checkOfficials(r.By, r.Officers, nil, profile.TwoPerson); err != nil {
		return texts.Errorf("product %q: %w", p.ID, err)
	}
	if p.Model != nil && p.Model.costly() && r.Approve && len(r.Officers) < 2 {
		return texts.Errorf("product %q: a model of more than ρ %s (ε 1) is approved by two officials of each reviewer", p.ID, DefaultModelRho)
	}
	if err := checkWords(true, map[string]Text{"reason": r.Reason}); err != nil {
		return texts.Errorf("product %q: %w", p.ID, err)
	}
	if !r.Approve && r.Basis == "" {
		return texts.Errorf("product %q: a refusal states its legal basis", p.ID)
	}
	key := reviewKey{p.ID, r.By}
	b.reviews[key] = r
	return nil
}

func (b *Book) putReviewRule(r ReviewRule, a act) error {
	if err := checkID("review rule", r.ID); err != nil {
		return err
	}
	if p, ok := b.parties[r.By]; !ok || p.Role == RoleOperator || !a.signers[r.By] {
		return texts.Errorf("review rule %q: signature of the department or regulator %q is missing", r.ID, safeName(r.By))
	}
	if old, ok := b.reviewRules[r.ID]; ok && old.By != r.By {
		return texts.Errorf("review rule %q belongs to party %q", r.ID, old.By)
	}
	if op, ok := b.parties[r.Operator]; !ok || op.Role != RoleOperator {
		return texts.Errorf("review rule %q: operator %q is not in the registry", r.ID, safeName(r.Operator))
	}
	if len(r.Purposes) == 0 || len(r.Columns) == 0 {
		return texts.Errorf("review rule %q: purposes or columns are missing; a rule is narrow", r.ID)
	}
	for id, columns := range r.Columns {
		e, ok := b.datasets[id]
		if !ok {
			return texts.Errorf("review rule %q: data set %q is not in the catalogue", r.ID, safeName(id))
		}
		for _, name := range columns {
			if !slices.ContainsFunc(e.Dataset.Columns, func(c Column) bool { return c.Name == name }) {
				return texts.Errorf("review rule %q: unknown column %q of data set %q", r.ID, safeName(name), id)
			}
		}
	}
	for _, u := range r.Purposes {
		if _, ok := b.purposes[u]; !ok {
			return texts.Errorf("review rule %q: purpose %q is not in the registry", r.ID, safeName(u))
		}
	}
	if !r.NotAfter.After(a.at) && !r.Withdrawn || r.NotAfter.After(a.at.AddDate(0, maxRuleTerm, 0)) {
		return texts.Errorf("review rule %q: not_after must lie within %d months", r.ID, maxRuleTerm)
	}
	b.reviewRules[r.ID] = r
	return nil
}

type reviewKey struct{ product, by string }

// reviewersOf lists who must approve a product: the owners of its data sets, then
// the regulator.
func (b *Book) reviewersOf(p Product) []string {
	var out []string
	for _, id := range p.Datasets() {
		if d := b.datasets[id].Department; !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	slices.Sort(out)
	return append(out, b.root)
}

// ReviewState says how far the review of a product's present version is with one
// reviewer.
type ReviewState struct {
	By     string
	Review *ProductReview // nil when none, or none of this version
	Rule   string         // id of the rule that approves it without a look; empty otherwise
}

// Approved says whether the reviewer lets the product run.
func (s ReviewState) Approved() bool {
	return s.Review != nil && s.Review.Approve || s.Review == nil && s.Rule != ""
}

// ReviewsOf returns the state of every review a product needs, at an instant.
func (b *Book) ReviewsOf(id string, at time.Time) []ReviewState {
	p, ok := b.products[id]
	if !ok {
		return nil
	}
	var out []ReviewState
	for _, by := range b.reviewersOf(p) {
		s := ReviewState{By: by}
		if r, ok := b.reviews[reviewKey{id, by}]; ok && r.Digest == b.digestOf(id) {
			s.Review = &r
		} else {
			s.Rule = b.ruleFor(p, by, at)
		}
		out = append(out, s)
	}
	return out
}

// ruleFor is the first rule of a party that covers a product, or "".
func (b *Book) ruleFor(p Product, by string, at time.Time) string {
	for _, id := range slices.Sorted(maps.Keys(b.reviewRules)) {
		if r := b.reviewRules[id]; r.By == by && r.covers(p) && !r.Withdrawn && at.Before(r.NotAfter) {
			return id
		}
	}
	return ""
}

func (r ReviewRule) covers(p Product) bool {
	// A predicate about single persons is never approved without a look, nor a model.
	if r.Operator != p.Operator || p.Predicate != nil || p.Model != nil {
		return false
	}
	for _, u := range p.Purposes {
		if !slices.Contains(r.Purposes, u) {
			return false
		}
	}
	for _, x := range p.Parameters {
		if len(x.Values) == 0 {
			return false
		}
	}
	core := p.form()
	for _, id := range core.Datasets() {
		if _, ok := r.Columns[id]; !ok {
			return false
		}
	}
	for _, u := range Uses(core) {
		if !slices.Contains(r.Columns[u.Dataset], u.Column) {
			return false
		}
	}
	return true
}

// decideProduct says why a job may not run under the product it names, or why it
// must name one.
func (b *Book) decideProduct(r Request, l Licence) []Reason {
	if r.Product == "" && r.Version == "" {
		if l.ProductsOnly {
			return []Reason{*reasonf("PRODUCT_REQUIRED", "licence/"+l.ID, b.root, "授权“%s”只允许运行经审查的产品", "licence %q allows reviewed products only", l.ID).
				hint("先登记产品并通过审查，再用 sandgate product run 运行", "file a product, have it reviewed, then use sandgate product run")}
		}
		return nil
	}
	p, ok := b.products[r.Product]
	if !ok || p.Operator != r.Operator {
		return []Reason{*reasonf("PRODUCT_UNKNOWN", "product", b.root, "您没有编号为“%s”的产品", "you have no product %q", r.Product)}
	}
	if p.Predicate != nil {
		return []Reason{*reasonf("PRODUCT_UNKNOWN", "product/"+p.ID, p.Operator, "产品“%s”是核验产品，不能作查询运行", "product %q verifies and cannot be run as a query", p.ID).
			hint("用 sandgate verify run 运行", "run it with sandgate verify run")}
	}
	if p.Model != nil {
		return []Reason{*reasonf("PRODUCT_UNKNOWN", "product/"+p.ID, p.Operator, "产品“%s”是模型产品，不能作查询运行", "product %q trains a model and cannot be run as a query", p.ID).
			hint("用 sandgate model train 运行", "run it with sandgate model train")}
	}
	var out []Reason
	if p.Licence != r.Licence || !slices.Contains(p.Purposes, r.Purpose) {
		out = append(out, *reasonf("PRODUCT_SCOPE", "product/"+p.ID, p.Operator, "产品“%s”登记的授权或用途与本次请求不同", "product %q was filed for another licence or other purposes", p.ID).
			hint("用登记的授权与用途提交，或登记产品的新版本", "ask under the licence and purposes it was filed for, or file a new version of the product"))
	}
	if string(r.Core.Bytes()) != p.Core || r.Version != b.digestOf(p.ID) {
		out = append(out, *reasonf("PRODUCT_CHANGED", "product/"+p.ID, p.Operator, "本次查询与产品“%s”登记的形式不同", "the query has another form than product %q was filed with", p.ID).
			hint("参数只能代换条件中的值；其他改动须重新登记和审查", "parameters stand for values of conditions only; any other change is filed and reviewed again"))
	}
	b.runnable(p, r.At, func(x *Reason) { out = append(out, *x) })
	return out
}

// Datasets are the data sets a checked product reads.
func (p Product) Datasets() []string {
	if p.Predicate != nil {
		return []string{p.Predicate.Dataset}
	}
	if p.Model != nil {
		return []string{p.Model.Dataset}
	}
	return p.form().Datasets()
}

// Runnable says why a product may not be run at an instant, as far as its reviews
// and suspensions go; nil when it may.
func (b *Book) Runnable(id string, at time.Time) *Reason {
	p, ok := b.products[id]
	if !ok {
		return reasonf("PRODUCT_UNKNOWN", "product", b.root, "没有编号为“%s”的产品", "there is no product %q", id)
	}
	var first *Reason
	b.runnable(p, at, func(x *Reason) {
		if first == nil {
			first = x
		}
	})
	return first
}

func (b *Book) runnable(p Product, at time.Time, add func(*Reason)) {
	for _, s := range b.ReviewsOf(p.ID, at) {
		switch {
		case s.Review != nil && !s.Review.Approve:
			add(reasonf("PRODUCT_REFUSED", "product/"+p.ID, s.By, "产品“%[1]s”未通过“%[2]s”的审查", "product %[1]q was refused by %[2]q", p.ID, s.By))
		case !s.Approved():
			add(reasonf("PRODUCT_NOT_APPROVED", "product/"+p.ID, s.By, "产品“%[1]s”的现行版本尚未经“%[2]s”审查", "the present version of product %[1]q was not reviewed by %[2]q yet", p.ID, s.By).
				hint("请等待审查；进度用 sandgate product show 查看", "wait for the review; see sandgate product show"))
		}
	}
	if b.registrationRequired {
		if x := b.Registered(Target{TargetProduct, p.ID}, at); x != nil {
			add(x)
		}
	}
	if x := b.Suspended(Target{TargetProduct, p.ID}); x != nil {
		add(x)
	}
}
