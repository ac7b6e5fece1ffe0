package policies

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies/signature"
)

var (
	idPattern     = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)
	columnPattern = regexp.MustCompile(`^[\p{L}_][\p{L}\p{N}_-]*$`)
)

func checkID(what, id string) error {
	if len(id) > 63 || !idPattern.MatchString(id) {
		return texts.Errorf("%s %q is not an id: lower-case letters, digits, _ and -, at most 63", what, safeName(id))
	}
	if what == "official" && longNumber.MatchString(id) {
		return texts.Errorf("an official's id holds a number as long as an identity number: give officials ids of your own")
	}
	return nil
}

func checkRegistry(r Registry, root string, rootKey []byte) (map[string]Party, map[string]Purpose, error) {
	parties, purposes := map[string]Party{}, map[string]Purpose{}
	owners := map[string]string{} // of keys: whoever holds one could act as either
	for _, p := range r.Parties {
		if err := checkID("party", p.ID); err != nil {
			return nil, nil, err
		}
		// The ledger names the gateway itself as the actor of its own entries.
		if p.ID == "gateway" {
			return nil, nil, texts.Errorf("party \"gateway\" cannot be registered: the ledger names the gateway itself so")
		}
		if _, dup := parties[p.ID]; dup {
			return nil, nil, texts.Errorf("party %q stands twice", p.ID)
		}
		if !slices.Contains([]Role{RoleOperator, RoleDepartment, RoleRegulator}, p.Role) {
			return nil, nil, texts.Errorf("party %q: unknown role %q; known: operator, department, regulator", p.ID, p.Role)
		}
		key, err := ParsePartyKey(p.Key)
		if err != nil {
			return nil, nil, texts.Errorf("party %q: %w", p.ID, err)
		}
		if other, dup := owners[string(key)]; dup {
			return nil, nil, texts.Errorf("party %q has the key of %q; every party has a key of its own: sandgate party create", p.ID, other)
		}
		owners[string(key)] = p.ID
		if want := signature.Of(rootKey); signature.Of(key) != want {
			return nil, nil, texts.Errorf("party %q: its key is of %s and the ledger's profile demands %s, as the regulator's; draw one with: sandgate party create", p.ID, signature.Of(key), want)
		}
		if (p.ID == root) != (p.Role == RoleRegulator) || p.ID == root && !bytes.Equal(key, rootKey) {
			return nil, nil, texts.Errorf("party %q: the regulator is %q with the key in the ledger's first entry, and no other", p.ID, root)
		}
		parties[p.ID] = p
	}
	if r, ok := parties[root]; !ok || r.Withdrawn || r.Abroad {
		return nil, nil, texts.Errorf("the regulator %q is missing, withdrawn or abroad", root)
	}
	for _, p := range r.Purposes {
		if err := checkID("purpose", p.ID); err != nil {
			return nil, nil, err
		}
		if _, dup := purposes[p.ID]; dup {
			return nil, nil, texts.Errorf("purpose %q stands twice", p.ID)
		}
		if !slices.Contains([]FeeClass{FeeGovernance, FeeWelfare, FeeIndustry}, p.Fee) {
			return nil, nil, texts.Errorf("purpose %q: unknown fee class %q; known: governance, welfare, industry", p.ID, p.Fee)
		}
		purposes[p.ID] = p
	}
	return parties, purposes, nil
}

func checkDataset(d Dataset) error {
	if err := checkID("data set", d.ID); err != nil {
		return err
	}
	if d.Title.ZH == "" {
		return texts.Errorf("title.zh is missing")
	}
	if d.Public == (d.Unit != nil) {
		return texts.Errorf("exactly one of unit and public must be given: a table without a path to a privacy unit is public or unusable")
	}
	if err := checkUseTerms(d); err != nil {
		return err
	}
	// Written so that NaN fails: it would also break the digest of the entry.
	if !(d.BadRows.MaxPercent >= 0 && d.BadRows.MaxPercent <= 50) {
		return texts.Errorf("bad_rows.max_percent must lie in 0…50")
	}
	if err := checkDescription(d); err != nil {
		return err
	}
	cols := map[string]Column{}
	for _, c := range d.Columns {
		if d.Public && c.Identifier == IdentCitizen {
			return texts.Errorf("column %q identifies natural persons: the data set has a privacy unit and is not public", safeName(c.Name))
		}
		if _, dup := cols[strings.ToLower(c.Name)]; dup {
			return texts.Errorf("column %q stands twice", c.Name)
		}
		cols[strings.ToLower(c.Name)] = c
		if err := checkColumn(c); err != nil {
			return texts.Errorf("column %q: %w", safeName(c.Name), err)
		}
	}
	if len(d.Columns) == 0 {
		return texts.Errorf("no columns")
	}
	if d.Unit != nil {
		c, ok := cols[strings.ToLower(d.Unit.Column)]
		if !ok || c.Name != d.Unit.Column {
			return texts.Errorf("unit column %q is not a column", d.Unit.Column)
		}
		if c.Type != algebra.Text || c.Nullable {
			return texts.Errorf("unit column %q must be text and not nullable", d.Unit.Column)
		}
		if !slices.Contains([]UnitKind{UnitPerson, UnitOrganisation, UnitRecord}, d.Unit.Kind) {
			return texts.Errorf("unknown unit kind %q; known: person, organisation, record", d.Unit.Kind)
		}
		if err := checkUnitKey(d.Unit.Kind, c.Identifier); err != nil {
			return texts.Errorf("unit column %q: %w", d.Unit.Column, err)
		}
		if len(d.Unique) > 0 {
			return texts.Errorf("unique keys are for public tables only")
		}
	}
	for _, u := range d.Unique {
		if c, ok := cols[strings.ToLower(u)]; !ok || c.Name != u || c.Nullable {
			return texts.Errorf("unique key %q must be a column that is not nullable", u)
		}
	}
	return nil
}

// checkUnitKey holds natural persons to the citizen number and organisations to
// the credit code (R18): one person under two keys would be two units, and a
// person declared as a record would escape what protects persons.
func checkUnitKey(kind UnitKind, ident IdentifierKind) error {
	switch {
	case kind == UnitPerson && ident != IdentCitizen:
		return texts.Errorf("a person is keyed by identifier %s", IdentCitizen)
	case kind == UnitOrganisation && ident != IdentCredit:
		return texts.Errorf("an organisation is keyed by identifier %s", IdentCredit)
	case kind == UnitRecord && (ident == IdentCitizen || ident == IdentCredit):
		return texts.Errorf("identifier %s makes the unit a person or an organisation, not a record", ident)
	}
	return nil
}

func checkColumn(c Column) error {
	// A counted repetition of these classes would cost every start of the program
	// milliseconds and megabytes.
	if utf8.RuneCountInString(c.Name) > 63 || !columnPattern.MatchString(c.Name) {
		return texts.Errorf("name must start with a letter or _ and hold letters, digits, _ and - only")
	}
	if reservedName(c.Name) {
		return texts.Errorf("a name that starts with %s is reserved for hidden columns", variantPrefix)
	}
	if c.Title.ZH == "" {
		return texts.Errorf("title.zh is missing")
	}
	if !slices.Contains([]algebra.Kind{algebra.Bool, algebra.Int, algebra.Decimal, algebra.Date, algebra.Text}, c.Type) {
		return texts.Errorf("unknown type %q; known: bool, int, decimal, date, text", c.Type)
	}
	if c.Scale > 6 || c.Scale > 0 && c.Type != algebra.Decimal {
		return texts.Errorf("scale is for decimal columns, at most 6")
	}
	var bounds *[2]int64
	if c.Bounds != nil {
		r, err := ParseBounds(c)
		if err != nil {
			return err
		}
		if r[0] > r[1] {
			return texts.Errorf("bounds.lo is above bounds.hi")
		}
		bounds = &r
	}
	if c.Grid != nil {
		if _, err := ParseGrid(c); err != nil {
			return texts.Errorf("grid: %w", err)
		}
	}
	seen := map[string]bool{}
	for _, code := range c.Codes {
		if seen[code.Value] {
			return texts.Errorf("code %q stands twice", safeName(code.Value))
		}
		seen[code.Value] = true
	}
	if c.Other != "" && !seen[c.Other] {
		return texts.Errorf("other %q is not in the code list", safeName(c.Other))
	}
	for _, code := range c.Codes {
		v, err := CodeValue(algebra.Type{Kind: c.Type, Scale: c.Scale}, code.Value)
		if err != nil {
			return texts.Errorf("code list: %w", err)
		}
		// Ingest clamps to the bounds: a code outside would be stored as a value
		// that is in no list.
		if bounds != nil && (v.I < bounds[0] || v.I > bounds[1]) {
			return texts.Errorf("code %q lies outside the bounds", safeName(code.Value))
		}
	}
	known := []IdentifierKind{"", IdentCitizen, IdentCredit, IdentPhone, IdentName, IdentCard, IdentAddress, IdentEmail, IdentPlate, IdentOpaque}
	if !slices.Contains(known, c.Identifier) {
		return texts.Errorf("unknown identifier kind %q", safeName(string(c.Identifier)))
	}
	return checkColumnDescription(c)
}

// ParseBounds returns a column's registered bounds in minimal units: the integer
// itself, 10^-scale units of a decimal, days since 1970-01-01 of a date.
func ParseBounds(c Column) ([2]int64, error) {
	var out [2]int64
	for i, s := range []string{c.Bounds.Lo, c.Bounds.Hi} {
		v, err := parseUnits(c, s)
		if err != nil {
			return out, texts.Errorf("bounds: %w", err)
		}
		out[i] = v
	}
	return out, nil
}

// maxBound keeps m·|bound| and its square far inside 128 bits.
const maxBound = int64(1) << 53

func parseUnits(c Column, s string) (int64, error) {
	switch c.Type {
	case algebra.Int, algebra.Decimal:
		v, err := algebra.ParseDecimal(s, c.Scale)
		if err != nil || v > maxBound || v < -maxBound {
			return 0, texts.Errorf("not a number with at most %d decimals, or beyond ±2^53 minimal units", c.Scale)
		}
		return v, nil
	case algebra.Date:
		return algebra.ParseDate(s)
	}
	return 0, texts.Errorf("a %s column takes no bounds", c.Type)
}

func checkLevels(d Dataset, levels map[string]int) error {
	for name, level := range levels {
		if !slices.ContainsFunc(d.Columns, func(c Column) bool { return c.Name == name }) {
			return texts.Errorf("unknown column %q", safeName(name))
		}
		if level < lowestLevel || level > highestLevel {
			return texts.Errorf("column %q: level %d is not in 1…6 (general 1–4, important 5, core 6)", name, level)
		}
	}
	for _, c := range d.Columns {
		if _, ok := levels[c.Name]; !ok {
			return texts.Errorf("column %q has no level: every column is graded before pooling", c.Name)
		}
	}
	return nil
}

func checkMasks(e Entry, masks map[string]Mask) error {
	for name, m := range masks {
		i := slices.IndexFunc(e.Dataset.Columns, func(c Column) bool { return c.Name == name })
		if i < 0 {
			return texts.Errorf("unknown column %q", safeName(name))
		}
		c := e.Dataset.Columns[i]
		if _, _, err := masking.OutType(m.Op, MaskParams(c, m, typingKey)); err != nil {
			return texts.Errorf("column %q: %w", name, err)
		}
		if e.Dataset.Unit != nil && e.Dataset.Unit.Column == name && m.Op != "drop" && m.Op != "pseudonym" {
			return texts.Errorf("unit column %q is replaced by its token; its mask can only be drop or pseudonym", name)
		}
	}
	for _, c := range e.Dataset.Columns {
		isUnit := e.Dataset.Unit != nil && e.Dataset.Unit.Column == c.Name
		m, ok := masks[c.Name]
		if c.Identifier != "" && !isUnit && !e.Dataset.Public && (!ok || m.Op == "keep") {
			return texts.Errorf("column %q identifies a unit (%s) and has no mask; name one, or drop", c.Name, c.Identifier)
		}
	}
	return nil
}

// MaskParams are the parameters of a column's mask operator under key.
func MaskParams(c Column, m Mask, key []byte) masking.Params {
	p := masking.Params{Digits: m.Digits, Value: m.Value, Level: m.Level, At: m.At, Edges: m.Edges, Width: m.Width, Lo: m.Lo, Hi: m.Hi,
		Key: key, Type: algebra.Type{Kind: c.Type, Scale: c.Scale}}
	return perturbed(p, c, m)
}

func (b *Book) checkRule(e Entry, r DisclosureRule) error {
	if e.Levels == nil {
		return texts.Errorf("no Grading is in force for it; data is graded before a rule is set")
	}
	if !e.Masked && !e.Dataset.Public {
		return texts.Errorf("no Masking is in force for it; masks are set before a rule is")
	}
	stored, err := e.Stored()
	if err != nil {
		return err
	}
	cols := map[string]StoredColumn{}
	for _, c := range stored {
		cols[c.Column.Name] = c
	}
	for name, uses := range r.Uses {
		c, ok := cols[name]
		if !ok {
			return texts.Errorf("unknown column %q", safeName(name))
		}
		for _, u := range uses {
			if !slices.Contains([]Use{UseKey, UseFilter, UseMeasure, UseJoin, UseVerify, UseTrain}, u) {
				return texts.Errorf("column %q: unknown use %q; known: key, filter, measure, join, verify, train", name, safeName(string(u)))
			}
			if u == UseMeasure && !e.Dataset.Public && (c.Bounds == nil || c.Type.Kind != algebra.Int && c.Type.Kind != algebra.Decimal) {
				return texts.Errorf("column %q: a measure needs an int or decimal column with registered bounds", name)
			}
		}
		if (c.Column.Identifier != "" && queried(uses) || c.Drop && len(uses) > 0) && !e.Dataset.Public {
			return texts.Errorf("column %q identifies a unit or is not stored, and cannot be used in queries", name)
		}
		if lvl := e.Levels[name]; !DemandsOf(lvl).Queries && len(uses) > 0 {
			return texts.Errorf("column %q is graded %d (important or core) and cannot be used in queries", name, lvl)
		}
	}
	for _, k := range r.PrivateKeys {
		if !slices.Contains(r.Uses[k], UseKey) {
			return texts.Errorf("private key %q is not a column with use key", safeName(k))
		}
	}
	for _, p := range r.Purposes {
		if _, ok := b.purposes[p]; !ok {
			return texts.Errorf("purpose %q is not in the registry", safeName(p))
		}
	}
	if err := checkWait(r.Wait); err != nil {
		return err
	}
	if err := e.checkVerificationRule(r); err != nil {
		return err
	}
	if err := e.checkModelRule(r); err != nil {
		return err
	}
	if err := e.checkTwinRule(r); err != nil {
		return err
	}
	if e.Dataset.Public {
		if r.Mode != "" || r.MaxRows != 0 || r.Exact != nil || len(r.PrivateKeys) > 0 {
			return texts.Errorf("a public data set takes purposes and uses only")
		}
		return nil
	}
	if err := b.checkRuleDemands(e, r); err != nil {
		return err
	}
	return b.checkMode(e, r)
}

func (b *Book) checkMode(e Entry, r DisclosureRule) error {
	if e.Dataset.OneRow && r.MaxRows > 1 {
		return texts.Errorf("max_rows must be 1 or absent where one_row_per_unit is declared")
	}
	if !e.Dataset.OneRow && (r.MaxRows < 1 || r.MaxRows > 1000) {
		return texts.Errorf("max_rows, the contribution bound, must lie in 1…1000")
	}
	switch r.Mode {
	case "dp":
		if r.Exact != nil {
			return texts.Errorf("exact rules stand beside mode dp")
		}
	case "exact":
		if err := checkExact(e, r); err != nil {
			return err
		}
	default:
		return texts.Errorf("unknown mode %q; known: dp, exact", safeName(r.Mode))
	}
	_, l, err := r.Budget.limits()
	if err != nil {
		return err
	}
	for _, scope := range []budget.Nano{l.Query, l.OperatorYear, l.DatasetYear, l.Lifetime} {
		if scope > b.ceiling {
			return texts.Errorf("a budget is above the city's ceiling of ρ %s, which the regulator sets in the registry (budget_ceiling)", b.ceiling)
		}
	}
	return nil
}

// CodeValue reads one code of a list as a value of the column's type. Errors
// carry no part of the text.
func CodeValue(t algebra.Type, s string) (algebra.Value, error) {
	switch t.Kind {
	case algebra.Text:
		return algebra.Value{Type: t, S: s}, nil
	case algebra.Int:
		i, err := algebra.ParseDecimal(s, 0)
		return algebra.Value{Type: t, I: i}, err
	case algebra.Date:
		d, err := algebra.ParseDate(s)
		return algebra.Value{Type: t, I: d}, err
	}
	return algebra.Value{}, texts.Errorf("a %s column takes no code list", t.Kind)
}

func (b BudgetRule) limits() (query budget.Nano, l budget.Limits, err error) {
	query, l = budget.DefaultQuery, budget.DefaultLimits()
	for _, f := range []struct {
		name, text string
		to         *budget.Nano
	}{
		{"query", b.Query, &query}, {"query_max", b.QueryMax, &l.Query}, {"operator_year", b.OperatorYear, &l.OperatorYear},
		{"dataset_year", b.DatasetYear, &l.DatasetYear}, {"lifetime", b.Lifetime, &l.Lifetime},
	} {
		if f.text == "" {
			continue
		}
		v, err := budget.ParseLimit(f.text)
		if err != nil || v <= 0 {
			return 0, l, texts.Errorf("budget.%s %s is not a positive ρ", f.name, strconv.Quote(safeName(f.text)))
		}
		*f.to = v
	}
	if query > l.Query {
		return 0, l, texts.Errorf("budget.query is above budget.query_max")
	}
	return query, l, nil
}

// maxTerm is the longest term of an operating agreement (27号: five years).
const maxTerm = 5

func (b *Book) checkLicence(l Licence) error {
	if err := checkID("licence", l.ID); err != nil {
		return err
	}
	op, ok := b.parties[l.Operator]
	if !ok || op.Role != RoleOperator {
		return texts.Errorf("operator %q is not in the registry", safeName(l.Operator))
	}
	if op.Withdrawn {
		return texts.Errorf("operator %q is withdrawn", l.Operator)
	}
	if op.Abroad {
		return texts.Errorf("operator %q is outside the border: nothing is exported without its assessment", l.Operator)
	}
	if l.NotBefore.IsZero() || !l.NotAfter.After(l.NotBefore) || l.NotAfter.After(l.NotBefore.AddDate(maxTerm, 0, 0)) {
		return texts.Errorf("not_before and not_after must span a term of at most %d years", maxTerm)
	}
	if l.Scenario.ZH == "" || l.Security.ZH == "" || l.Exit.ZH == "" {
		return texts.Errorf("scenario, security_terms and exit_terms must be stated in Chinese")
	}
	if len(l.Purposes) == 0 || len(l.Resources) == 0 {
		return texts.Errorf("purposes and resources must not be empty: by least authority nothing is granted unnamed")
	}
	for _, p := range l.Purposes {
		if _, ok := b.purposes[p]; !ok {
			return texts.Errorf("purpose %q is not in the registry", safeName(p))
		}
	}
	seen := map[string]bool{}
	for _, r := range l.Resources {
		e, ok := b.datasets[r.Dataset]
		if !ok {
			return texts.Errorf("data set %q is not in the catalogue", safeName(r.Dataset))
		}
		if seen[r.Dataset] {
			return texts.Errorf("data set %q stands twice", r.Dataset)
		}
		seen[r.Dataset] = true
		for _, name := range r.Columns {
			if !slices.ContainsFunc(e.Dataset.Columns, func(c Column) bool { return c.Name == name }) {
				return texts.Errorf("data set %q: unknown column %q", r.Dataset, safeName(name))
			}
		}
	}
	return nil
}
