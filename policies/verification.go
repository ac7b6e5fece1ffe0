package policies

import (
	"slices"
	"strings"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/internal/bilingual"
	"github.com/sandgate/sandgate/masking"
)

// UseVerify lets reviewed predicates of verification products 核验产品 be evaluated
// on a column. It is no use in a query.
const UseVerify Use = "verify"

// PredicateOp is what a verification asks of the stored values of one data subject.
type PredicateOp string

// The closed set of predicates. Each answer is one bit.
const (
	PredEquals  PredicateOp = "equals"    // the operator's claim is what is stored
	PredAtLeast PredicateOp = "at_least"  // not below a threshold of the registered grid
	PredLess    PredicateOp = "less_than" // below it
	PredInList  PredicateOp = "in_list"   // one of the codes that the product names
	PredExists  PredicateOp = "exists"    // a value is stored
	PredValidOn PredicateOp = "valid_on"  // the day of the request lies between two stored dates
)

// VerificationPredicate 核验谓词 is fixed in a product and reviewed with it: an
// operator chooses nothing at run time but the subject and, for equals, the claim.
// It is evaluated on what is stored, after the column's mask.
type VerificationPredicate struct {
	Dataset string      `yaml:"dataset" json:"dataset"`
	Columns []string    `yaml:"columns" json:"columns"` // one; of valid_on the first and the last day
	Op      PredicateOp `yaml:"op" json:"op"`
	// Threshold is an edge of the column's registered grid, as stored: of a date kept
	// as a year, "2005".
	Threshold string   `yaml:"threshold,omitempty" json:"threshold,omitempty"`
	Codes     []string `yaml:"codes,omitempty" json:"codes,omitempty"` // of in_list, from the column's code list
}

// VerificationRule is the owning department's limit on verifications of a data set;
// 0 takes the most that is allowed, or of subjects DefaultSubjects.
type VerificationRule struct {
	// SubjectsPerMonth is about how many subjects one operator may ask in a calendar
	// month, under all its licences.
	SubjectsPerMonth int64 `yaml:"subjects_per_month,omitempty" json:"subjects_per_month,omitempty"`
	// QuestionsPerYear is how many questions one operator may ask about one column of
	// one subject in a calendar year; every claim of an equals is a question.
	QuestionsPerYear int64 `yaml:"questions_per_year,omitempty" json:"questions_per_year,omitempty"`
	// BitsPerYear is how many of them all operators together have answered from data.
	BitsPerYear int64 `yaml:"bits_per_year,omitempty" json:"bits_per_year,omitempty"`
}

// Limits of a VerificationRule. Two bits a year tell one subject's cell among four
// at most, whoever asks.
const (
	DefaultSubjects   = 1000
	MostSubjects      = 1_000_000
	MostQuestions     = 2
	MostBits          = 2
	maxPredicateCodes = 100
	maxClaim          = 256 // bytes
)

// Verification returns the limits in force for a data set.
func (e Entry) Verification() VerificationRule {
	v := VerificationRule{}
	if e.Rule != nil && e.Rule.Verification != nil {
		v = *e.Rule.Verification
	}
	for _, f := range []struct {
		n *int64
		v int64
	}{{&v.SubjectsPerMonth, DefaultSubjects}, {&v.QuestionsPerYear, MostQuestions}, {&v.BitsPerYear, MostBits}} {
		if *f.n == 0 {
			*f.n = f.v
		}
	}
	return v
}

// checkVerificationRule holds a department's limits to those of the product.
func (e Entry) checkVerificationRule(r DisclosureRule) error {
	verified := false
	for name, uses := range r.Uses {
		if !slices.Contains(uses, UseVerify) {
			continue
		}
		if verified = true; e.Dataset.Unit == nil || e.Dataset.Unit.Kind != UnitPerson {
			return texts.Errorf("column %q: only the data of persons, who can agree to it, is verified", safeName(name))
		}
	}
	if r.Verification == nil {
		return nil
	}
	if !verified {
		return texts.Errorf("verification: no column has the use verify")
	}
	for _, f := range []struct {
		name    string
		v, most int64
	}{{"subjects_per_month", r.Verification.SubjectsPerMonth, MostSubjects}, {"questions_per_year", r.Verification.QuestionsPerYear, MostQuestions}, {"bits_per_year", r.Verification.BitsPerYear, MostBits}} {
		if f.v < 0 || f.v > f.most {
			return texts.Errorf("verification.%s is %d and must lie in 1…%d, or be left out", f.name, f.v, f.most)
		}
	}
	return nil
}

// queried are the uses of a column that are not verification.
func queried(uses []Use) bool {
	return slices.ContainsFunc(uses, func(u Use) bool { return u != UseVerify })
}

// checkVerificationProduct checks the part of a product that a query has not.
func (b *Book) checkVerificationProduct(l Licence, p Product) error {
	if p.Job != JobVerification || p.Predicate == nil {
		return texts.Errorf("a predicate and job: verification go together; a query leaves both out")
	}
	if p.SQL != "" || p.Core != "" || len(p.Parameters) > 0 {
		return texts.Errorf("a verification product has a predicate in the place of sql, core and parameters")
	}
	if !slices.Contains(l.Jobs, JobVerification) {
		return texts.Errorf("licence %q does not grant jobs of kind verification", l.ID)
	}
	if b.decideDatasetGrant(l, p.Predicate.Dataset) != nil {
		return texts.Errorf("licence %q does not grant data set %q", l.ID, safeName(p.Predicate.Dataset))
	}
	if err := b.checkPredicate(*p.Predicate); err != nil {
		return err
	}
	for _, c := range p.Predicate.Columns {
		if x := b.decideColumn(l, ColumnUse{p.Predicate.Dataset, c, UseVerify}); x != nil {
			return bilingual.Plain(x.ZH, x.EN)
		}
	}
	return nil
}

// checkPredicate holds a predicate to the catalogue, masks and grid in force.
func (b *Book) checkPredicate(p VerificationPredicate) error {
	e, ok := b.datasets[p.Dataset]
	if !ok {
		return texts.Errorf("data set %q is not in the catalogue", safeName(p.Dataset))
	}
	if e.Dataset.Unit == nil || e.Dataset.Unit.Kind != UnitPerson {
		return texts.Errorf("data set %q: only the data of persons, who can agree to it, is verified", p.Dataset)
	}
	if x := e.Ready(); x != nil {
		return bilingual.Plain(x.ZH, x.EN)
	}
	columns, err := e.predicateColumns(p)
	if err != nil {
		return err
	}
	if len(columns) != 1 && p.Op != PredValidOn {
		return texts.Errorf("predicate.columns names one column")
	}
	if (p.Threshold != "") != (p.Op == PredAtLeast || p.Op == PredLess) {
		return texts.Errorf("predicate.threshold is for at_least and less_than, which need one")
	}
	if (len(p.Codes) > 0) != (p.Op == PredInList) || len(p.Codes) > maxPredicateCodes {
		return texts.Errorf("predicate.codes is for in_list, which needs 1 to %d", maxPredicateCodes)
	}
	switch c := columns[0]; p.Op {
	case PredEquals:
		if op := c.Mask.Op; op == masking.OpNull || op == masking.OpConstant {
			return texts.Errorf("column %q is masked by %q: nothing is left that a claim could equal", c.Column.Name, op)
		}
	case PredExists:
	case PredAtLeast, PredLess:
		v, err := parseStored(c.Type, p.Threshold)
		if err != nil || c.Type.Kind == algebra.Text || c.Type.Kind == algebra.Bool || !slices.Contains(c.Grid, v.I) {
			return texts.Errorf("predicate.threshold is no edge of the registered grid of column %q as it is stored", c.Column.Name)
		}
	case PredInList:
		seen := map[string]bool{}
		for _, code := range p.Codes {
			if !slices.ContainsFunc(c.Column.Codes, func(x Code) bool { return x.Value == code }) || seen[code] || c.Mask.Op != masking.OpKeep {
				return texts.Errorf("predicate.codes holds what is not in the code list of column %q, or twice, or the column is masked", c.Column.Name)
			}
			seen[code] = true
		}
	case PredValidOn:
		if len(columns) != 2 || columns[0].Column.Name == columns[1].Column.Name || c.Type.Kind != algebra.Date || columns[1].Type.Kind != algebra.Date {
			return texts.Errorf("valid_on names two columns stored as dates: the first and the last day")
		}
	default:
		return texts.Errorf("unknown predicate %q; known: equals, at_least, less_than, in_list, exists, valid_on", safeName(string(p.Op)))
	}
	return nil
}

// PredicateWarnings is what whoever files or reviews a predicate should know: an
// equals compares what the column's mask leaves, which many subjects may share.
func (b *Book) PredicateWarnings(p VerificationPredicate) []Reason {
	e, ok := b.datasets[p.Dataset]
	if !ok || p.Op != PredEquals {
		return nil
	}
	columns, err := e.predicateColumns(p)
	if err != nil {
		return nil
	}
	var out []Reason
	for _, c := range columns {
		d, known := masking.Describe(c.Mask.Op)
		// A pseudonym is equal where the value is.
		if !known || c.Mask.Op == masking.OpKeep || c.Mask.Op == masking.OpPseudonym {
			continue
		}
		out = append(out, *reasonf("EQUALS_ON_MASK", "masking/"+p.Dataset, e.Department,
			"列“%[1]s”以 %[2]s（%[3]s）脱敏入库：equals 只核对脱敏后的值（%[4]s），不同的人可能相同",
			"column %[1]q is stored under the mask %[2]s (%[5]s): equals compares what the mask leaves alone (%[6]s), which different people may share",
			c.Column.Name, c.Mask.Op, d.Title.ZH, d.Keeps.ZH, d.Title.EN, d.Keeps.EN).
			hint("“已证实”不等于本人的全值相符；审查时请核对标题与用途是否如实说明", "confirmed does not mean that the full value agrees; see that title and purpose say so"))
	}
	return out
}

// predicateColumns are the stored columns of a predicate, in its order.
func (e Entry) predicateColumns(p VerificationPredicate) ([]StoredColumn, error) {
	stored, err := e.Stored()
	if err != nil {
		return nil, err
	}
	if len(p.Columns) == 0 || len(p.Columns) > 2 {
		return nil, texts.Errorf("predicate.columns is missing")
	}
	var out []StoredColumn
	for _, name := range p.Columns {
		i := slices.IndexFunc(stored, func(c StoredColumn) bool { return c.Column.Name == name && !c.Drop })
		if i < 0 {
			return nil, texts.Errorf("column %q of data set %q is not stored", safeName(name), e.Dataset.ID)
		}
		out = append(out, stored[i])
	}
	return out, nil
}

// Attributes name the columns that a predicate's bits are counted against.
func (p VerificationPredicate) Attributes() []string {
	var out []string
	for _, c := range p.Columns {
		out = append(out, p.Dataset+"."+c)
	}
	return out
}

// core is a predicate as the rules on levels, masks and the negative list see it: a
// condition on its columns. No plan is ever made of it.
func (b *Book) predicateCore(p VerificationPredicate) algebra.Core {
	core := algebra.Core{Tables: []algebra.Table{{Dataset: p.Dataset}}}
	e := b.datasets[p.Dataset]
	columns, err := e.predicateColumns(p)
	if err != nil {
		return core // refused by checkPredicate
	}
	and := algebra.Pred{Op: algebra.OpAnd}
	for _, c := range columns {
		col := algebra.Col{Name: c.Column.Name, Type: c.Type}
		and.Args = append(and.Args, algebra.Pred{Op: algebra.OpEq, Col: &col, Values: []algebra.Value{{Type: c.Type, Redacted: true}}})
	}
	core.Where = &and
	return core
}

// WaitOfVerification is what an answer under a product waits for; see WaitOf.
func (b *Book) WaitOfVerification(product string) string {
	p, ok := b.products[product]
	if !ok || p.Predicate == nil {
		return WaitPublished
	}
	return b.WaitOf(b.predicateCore(*p.Predicate))
}

// Keys of what is remembered of a product by its id.
type (
	digestKey    string
	predicateKey string
	checkKey     string
)

// digestOf is the digest of a product in the book.
func (b *Book) digestOf(id string) string {
	return b.Remember(digestKey(id), func() any { return b.products[id].Digest() }).(string)
}

// DecideVerification says whether a verification may run, and if not every reason,
// as Decide does for queries. It knows nothing of the subject: a refusal that
// depended on a consent would tell whether there is one.
func (b *Book) DecideVerification(r Request) []Reason {
	var out []Reason
	add := func(x *Reason) {
		if x != nil {
			out = append(out, *x)
		}
	}
	r.Kind = JobVerification
	add(b.decideParty(r))
	add(b.Suspended(Target{Kind: TargetGateway}))
	add(b.Suspended(Target{TargetOperator, r.Operator}))
	l, granted := b.licences[r.Licence]
	if !granted || l.Operator != r.Operator {
		add(reasonf("LICENCE_UNKNOWN", "licence", b.root, "您没有编号为“%s”的授权", "you hold no licence %q", r.Licence).
			hint("用 sandgate licence list 查看授权；尚无授权请先申请", "see sandgate licence list; without a licence, apply for one first"))
		return out
	}
	add(b.InForce(r.Licence, r.At))
	add(b.Suspended(Target{TargetLicence, r.Licence}))
	add(b.decideKind(r, l))
	add(b.decidePurpose(r, l))
	p, ok := b.products[r.Product]
	if !ok || p.Operator != r.Operator || p.Predicate == nil {
		add(reasonf("PRODUCT_UNKNOWN", "product", b.root, "您没有编号为“%s”的核验产品", "you have no verification product %q", r.Product).
			hint("用 sandgate verify draft 拟稿，登记并通过审查", "draft one with sandgate verify draft, file it and have it reviewed"))
		return out[:min(len(out), maxReasons)]
	}
	if p.Licence != r.Licence || !slices.Contains(p.Purposes, r.Purpose) {
		add(reasonf("PRODUCT_SCOPE", "product/"+p.ID, p.Operator, "产品“%s”登记的授权或用途与本次请求不同", "product %q was filed for another licence or other purposes", p.ID).
			hint("用登记的授权与用途提交，或登记产品的新版本", "ask under the licence and purposes it was filed for, or file a new version of the product"))
	}
	if r.Version != b.digestOf(p.ID) {
		add(reasonf("PRODUCT_CHANGED", "product/"+p.ID, p.Operator, "产品“%s”在受理期间变更", "product %q was changed meanwhile", p.ID))
	}
	b.runnable(p, r.At, add)
	q := *p.Predicate
	add(b.decideDataset(r, l, q.Dataset))
	add(b.Suspended(Target{TargetDataset, q.Dataset}))
	add(b.decideProvider(l, q.Dataset))
	core := b.Remember(predicateKey(p.ID), func() any { return b.predicateCore(q) }).(algebra.Core)
	for _, x := range b.Withheld(core, r.At) {
		// Of the class that is not shared, data may be verified and nothing else (R03).
		if x.Code != "DATASET_NOT_SHARED" {
			add(&x)
		}
	}
	for _, c := range q.Columns {
		add(b.decideColumn(l, ColumnUse{q.Dataset, c, UseVerify}))
	}
	if len(out) == 0 {
		add(b.decideLevel(core))
		add(b.decideWitnesses(b.WaitOf(core)))
		if b.Remember(checkKey(p.ID), func() any { return b.checkPredicate(q) == nil }) == false {
			add(reasonf("PREDICATE_INVALID", "product/"+p.ID, b.datasets[q.Dataset].Department, "产品“%s”的谓词与现行目录、网格或脱敏规则不符", "the predicate of product %q does not fit the catalogue, grid or masks in force", p.ID).
				hint("重新拟稿、登记并送审", "draft, file and review it again"))
		}
	}
	r.Core = core
	for _, x := range b.decideMasks(r) {
		add(x)
	}
	return out[:min(len(out), maxReasons)]
}

// SubjectConsents says whether a subject's consent to a data set's use is in force.
// Every consent is looked at, whatever was found before: how long it takes tells
// nothing about one of them.
func (b *Book) SubjectConsents(subject, dataset, licence, purpose string, at time.Time) bool {
	key, ok := ParseSubject(subject)
	u, may := b.consentUse(dataset, licence, purpose, at)
	found := false
	for _, r := range b.consents {
		hit := r.covers(u, at) && r.holds(key, at)
		found = found || hit
	}
	return found && ok && may
}

// errClaim says what a claim should look like, and nothing of it.
func errClaim(c Column) *Reason {
	form := map[algebra.Kind][2]string{
		algebra.Bool: {"true 或 false", "true or false"}, algebra.Int: {"整数", "an integer"}, algebra.Decimal: {"小数", "a decimal number"},
		algebra.Date: {"日期 YYYY-MM-DD", "a date YYYY-MM-DD"}, algebra.Text: {"不超过 256 字节的一行文字", "one line of at most 256 bytes"},
	}[c.Type]
	if len(c.Codes) > 0 {
		form = [2]string{"目录所列的代码", "a code of the catalogue's list"}
	}
	return reasonf("CLAIM_FORM", "catalogue", "sandgate", "申报值应为%[1]s", "the claim must be %[2]s", form[0], form[1]).
		hint("申报值不入账本；本次未计数", "claims are not ledgered; nothing was counted")
}

// PredicateValues are the values that a predicate compares with, of the stored
// types: the claim of an equals under the column's mask, with key as the key of
// pseudonyms, the threshold, the codes or the day of the request. spelled says that
// texts are compared in any spelling. A reason is about the claim's form alone.
func (e Entry) PredicateValues(p VerificationPredicate, claim string, at time.Time, key []byte) (values []algebra.Value, spelled bool, x *Reason) {
	columns, err := e.predicateColumns(p)
	if err != nil {
		return nil, false, reasonf("PREDICATE_INVALID", "catalogue/"+e.Dataset.ID, e.Department, "谓词所用的列未存储", "a column of the predicate is not stored")
	}
	c := columns[0]
	if p.Op != PredEquals && claim != "" {
		return nil, false, reasonf("CLAIM_UNUSED", "product", "sandgate", "此产品不收申报值", "the product takes no claim")
	}
	switch p.Op {
	case PredEquals:
		v, ok := maskedClaim(c, strings.TrimSpace(claim), key)
		if !ok {
			return nil, false, errClaim(c.Column)
		}
		return []algebra.Value{v}, c.Mask.Op == masking.OpKeep && c.Type.Kind == algebra.Text && len(c.Column.Codes) == 0, nil
	case PredAtLeast, PredLess:
		v, err := parseStored(c.Type, p.Threshold)
		if err != nil {
			return nil, false, errClaim(c.Column)
		}
		return []algebra.Value{v}, false, nil
	case PredInList:
		for _, code := range p.Codes {
			v, err := parseStored(c.Type, code)
			if err != nil {
				return nil, false, errClaim(c.Column)
			}
			values = append(values, v)
		}
		return values, false, nil
	case PredValidOn:
		return []algebra.Value{{Type: c.Type, I: int64(dayOf(at))}}, false, nil
	}
	return nil, false, nil
}

// maskedClaim brings a claim to what would be stored of it: parsed as the file's
// field is, clamped to the bounds and masked.
func maskedClaim(c StoredColumn, claim string, key []byte) (algebra.Value, bool) {
	if claim == "" || len(claim) > maxClaim || strings.ToValidUTF8(claim, "") != claim || strings.ContainsFunc(claim, Unprintable) {
		return algebra.Value{}, false
	}
	if len(c.Column.Codes) > 0 && !slices.ContainsFunc(c.Column.Codes, func(x Code) bool { return x.Value == claim }) {
		return algebra.Value{}, false
	}
	source := algebra.Type{Kind: c.Column.Type, Scale: c.Column.Scale}
	v, err := parseStored(source, claim)
	if err != nil {
		return algebra.Value{}, false
	}
	if c.Column.Bounds != nil {
		b, err := ParseBounds(c.Column)
		if err != nil {
			return algebra.Value{}, false
		}
		v.I = min(max(v.I, b[0]), b[1])
	}
	if c.Mask.Op == masking.OpKeep {
		return v, true
	}
	op, err := masking.New(c.Mask.Op, MaskParams(c.Column, c.Mask, key))
	if err != nil {
		return algebra.Value{}, false
	}
	if n, ok := op.(masking.IntOperator); ok {
		return algebra.Value{Type: c.Type, I: n.ApplyInt(v.I)}, true
	}
	out, null := op.Apply(claim)
	if null {
		return algebra.Value{}, false
	}
	v, err = parseStored(c.Type, out)
	return v, err == nil
}

// parseStored reads a value of a type from its canonical text.
func parseStored(t algebra.Type, text string) (algebra.Value, error) {
	v := algebra.Value{Type: t}
	var err error
	switch t.Kind {
	case algebra.Text:
		v.S = text
	case algebra.Bool:
		if text != "true" && text != "false" {
			return v, texts.Errorf("not a truth value")
		}
		if text == "true" {
			v.I = 1
		}
	case algebra.Date:
		v.I, err = algebra.ParseDate(text)
	default:
		v.I, err = algebra.ParseDecimal(text, t.Scale)
	}
	return v, err
}
