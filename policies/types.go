// Package policies is the departments' law as data: registry of parties,
// catalogue, grading, masking, disclosure rules and licences, and Decide, the
// pure function that says whether a request may run. It knows no clock, file or
// network; time comes in as a value, so an auditor can replay every decision.
package policies

import (
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
)

// Text is a bilingual text. ZH is the text of record.
type Text struct {
	ZH string `yaml:"zh" json:"zh"`
	EN string `yaml:"en" json:"en"`
}

// In returns the text in lang ("zh" or "en"), falling back to the other one.
func (t Text) In(lang string) string {
	if lang == "en" && t.EN != "" || t.ZH == "" {
		return t.EN
	}
	return t.ZH
}

// Role of a party.
type Role string

const (
	RoleOperator   Role = "operator"   // 运营机构
	RoleDepartment Role = "department" // 数源部门
	RoleRegulator  Role = "regulator"  // 公共数据主管部门
)

// Kind of a policy document; each is one YAML document of a bundle.
type Kind string

const (
	KindRegistry   Kind = "Registry"   // regulator: parties and purposes
	KindCatalogue  Kind = "Catalogue"  // department: 资源目录
	KindGrading    Kind = "Grading"    // department: 分级
	KindMasking    Kind = "Masking"    // department: 脱敏
	KindDisclosure Kind = "Disclosure" // department: what may leave, and how
	KindLicence    Kind = "Licence"    // regulator and every owning department: 授权
	KindRevocation Kind = "Revocation" // regulator or an owning department ends a licence
)

// Registry names who exists. Only the regulator, the root of trust recorded in
// the ledger's first entry, may sign it.
type Registry struct {
	Parties  []Party   `yaml:"parties" json:"parties"`
	Purposes []Purpose `yaml:"purposes" json:"purposes"`
	// BudgetCeiling is the most ρ that any scope of any data set may be given, as
	// a decimal string; empty is DefaultCeiling. A department may be stricter but
	// not looser than the city.
	BudgetCeiling string `yaml:"budget_ceiling,omitempty" json:"budget_ceiling,omitempty"`
}

// DefaultCeiling of budgets: ρ 1.06, ε 8 at δ 1e-6.
const DefaultCeiling = "1.06"

// Party is an operator, a department or the regulator. Key is its Ed25519
// public key, base64 (standard, padded).
type Party struct {
	ID     string `yaml:"id" json:"id"`
	Role   Role   `yaml:"role" json:"role"`
	Title  Text   `yaml:"title" json:"title"`
	Key    string `yaml:"key" json:"key"`
	Abroad bool   `yaml:"abroad,omitempty" json:"abroad,omitempty"` // outside the border: refused (R38)
	// Withdrawn ends an account (R37): the party stays named, because the ledger
	// names it, but may do nothing and sign nothing from then on.
	Withdrawn bool `yaml:"withdrawn,omitempty" json:"withdrawn,omitempty"`
}

// FeeClass of a purpose (发改价格〔2025〕65号): governance and welfare are free.
type FeeClass string

const (
	FeeGovernance FeeClass = "governance"
	FeeWelfare    FeeClass = "welfare"
	FeeIndustry   FeeClass = "industry"
)

// Purpose 用途 that a job may name.
type Purpose struct {
	ID    string   `yaml:"id" json:"id"`
	Title Text     `yaml:"title" json:"title"`
	Fee   FeeClass `yaml:"fee" json:"fee"`
}

// Catalogue is a department's part of the one resource catalogue (R15).
type Catalogue struct {
	Department string    `yaml:"department" json:"department"`
	Datasets   []Dataset `yaml:"datasets" json:"datasets"`
}

// UnitKind is what a privacy unit is (R18).
type UnitKind string

const (
	UnitPerson       UnitKind = "person"       // 公民身份号码
	UnitOrganisation UnitKind = "organisation" // 统一社会信用代码
	UnitRecord       UnitKind = "record"       // an opaque subject number of a foreign data set
)

// Unit names the column that identifies the privacy unit 隐私单元.
type Unit struct {
	Column string   `yaml:"column" json:"column"`
	Kind   UnitKind `yaml:"kind" json:"kind"`
}

// Dataset is one catalogue entry.
type Dataset struct {
	ID              string   `yaml:"id" json:"id"`
	Title           Text     `yaml:"title" json:"title"`
	Abstract        Text     `yaml:"abstract,omitempty" json:"abstract,omitzero"`
	Industry        string   `yaml:"industry,omitempty" json:"industry,omitempty"`
	Period          string   `yaml:"period,omitempty" json:"period,omitempty"`                     // time covered
	Area            string   `yaml:"area,omitempty" json:"area,omitempty"`                         // area covered
	UpdateFrequency string   `yaml:"update_frequency,omitempty" json:"update_frequency,omitempty"` // 更新周期
	Unit            *Unit    `yaml:"unit,omitempty" json:"unit,omitempty"`                         // nil only with Public
	Public          bool     `yaml:"public,omitempty" json:"public,omitempty"`                     // declared free of private units
	OneRow          bool     `yaml:"one_row_per_unit,omitempty" json:"one_row_per_unit,omitempty"` // verified at ingest
	Unique          []string `yaml:"unique,omitempty" json:"unique,omitempty"`                     // unique key columns (Public only), each alone unique
	BadRows         BadRows  `yaml:"bad_rows,omitempty" json:"bad_rows,omitzero"`
	Columns         []Column `yaml:"columns" json:"columns"`
}

// BadRows limits how many rows ingest may set aside before it refuses the file.
type BadRows struct {
	MaxPercent float64 `yaml:"max_percent" json:"max_percent"` // of all rows; 0: none may be bad
}

// IdentifierKind says what a column identifies; empty for none.
type IdentifierKind string

const (
	IdentCitizen IdentifierKind = "citizen_id"  // 公民身份号码, GB 11643
	IdentCredit  IdentifierKind = "credit_code" // 统一社会信用代码, GB 32100
	IdentPhone   IdentifierKind = "phone"
	IdentName    IdentifierKind = "name"
	IdentCard    IdentifierKind = "bank_card"
	IdentAddress IdentifierKind = "address"
	IdentEmail   IdentifierKind = "email"
	IdentPlate   IdentifierKind = "plate"
	IdentOpaque  IdentifierKind = "opaque" // any other direct identifier
)

// Column of a data set, as the file carries it. Bounds are inclusive, in the
// column's own unit ("0", "40000.00", "2010-01-01"); values outside are clamped
// to them at ingest and counted. Codes is the registered code list: a value not
// in it becomes Other when that is set, else the row is bad. Missing lists file
// spellings of NULL beside the empty field.
type Column struct {
	Name       string         `yaml:"name" json:"name"`
	Title      Text           `yaml:"title" json:"title"`
	Type       algebra.Kind   `yaml:"type" json:"type"`
	Scale      uint8          `yaml:"scale,omitempty" json:"scale,omitempty"` // decimal only, 0…6
	Measure    string         `yaml:"measure,omitempty" json:"measure,omitempty"`
	Nullable   bool           `yaml:"nullable,omitempty" json:"nullable,omitempty"`
	Missing    []string       `yaml:"missing,omitempty" json:"missing,omitempty"`
	Identifier IdentifierKind `yaml:"identifier,omitempty" json:"identifier,omitempty"`
	Bounds     *Bounds        `yaml:"bounds,omitempty" json:"bounds,omitempty"`
	Grid       *Grid          `yaml:"grid,omitempty" json:"grid,omitempty"`
	Codes      []Code         `yaml:"codes,omitempty" json:"codes,omitempty"`
	Other      string         `yaml:"other,omitempty" json:"other,omitempty"`
}

// Bounds is the registered inclusive range of a numeric or date column.
type Bounds struct {
	Lo string `yaml:"lo" json:"lo"`
	Hi string `yaml:"hi" json:"hi"`
}

// Grid is the registered grid 分档网格 of a numeric or date column: quantiles, minimum
// and maximum are answered as edges of its cells, and bin(column) groups by them. It
// is given by all edges, or by the first, the last and a step in the column's own
// unit (of a date, "1 month", "3 months", "7 days"); the last cell is cut at To. A
// cell holds its lower edge and not its upper one, the last cell both.
type Grid struct {
	Edges []string `yaml:"edges,omitempty" json:"edges,omitempty"`
	From  string   `yaml:"from,omitempty" json:"from,omitempty"`
	To    string   `yaml:"to,omitempty" json:"to,omitempty"`
	Step  string   `yaml:"step,omitempty" json:"step,omitempty"`
}

// Code is one registered value of a code list.
type Code struct {
	Value string `yaml:"value" json:"value"`
	Title Text   `yaml:"title,omitempty" json:"title,omitzero"`
}

// Scheme of grading. Only GB/T 43697-2024 is built in: general data 1…4,
// important 5, core 6 as one ordered scale.
const SchemeGBT43697 = "GB/T 43697-2024"

// Grading gives every column of a data set its level (R16). A data set's level
// is that of its highest column.
type Grading struct {
	Department string                    `yaml:"department" json:"department"`
	Scheme     string                    `yaml:"scheme" json:"scheme"`
	Levels     map[string]map[string]int `yaml:"levels" json:"levels"` // data set → column → 1…6
}

// Masking gives columns their mask operator, applied at ingest. A column not
// named is stored as it is, which Validate refuses for direct identifiers.
type Masking struct {
	Department string                     `yaml:"department" json:"department"`
	Masks      map[string]map[string]Mask `yaml:"masks" json:"masks"` // data set → column → mask
	// Rules demand masks by column or level, for everybody or for purposes and
	// recipients.
	Rules []MaskRule `yaml:"rules,omitempty" json:"rules,omitempty"`
}

// Mask is an operator of package masking and its parameters, see masking.Params.
type Mask struct {
	Op     string   `yaml:"op" json:"op"`
	Digits int      `yaml:"digits,omitempty" json:"digits,omitempty"` // area: leading digits kept (2, 4 or 6)
	Value  string   `yaml:"value,omitempty" json:"value,omitempty"`   // constant
	Level  string   `yaml:"level,omitempty" json:"level,omitempty"`   // address: province, city or district
	At     string   `yaml:"at,omitempty" json:"at,omitempty"`         // age_band: reference date
	Edges  []string `yaml:"edges,omitempty" json:"edges,omitempty"`   // band, age_band: lower edges
	Width  string   `yaml:"width,omitempty" json:"width,omitempty"`   // band, age_band, round
	Lo     string   `yaml:"lo,omitempty" json:"lo,omitempty"`         // clip
	Hi     string   `yaml:"hi,omitempty" json:"hi,omitempty"`         // clip
}

// Use is what a query may do with a column.
type Use string

const (
	UseKey     Use = "key"     // GROUP BY
	UseFilter  Use = "filter"  // WHERE
	UseMeasure Use = "measure" // argument of an aggregate
	UseJoin    Use = "join"    // equality with a public dimension's unique key
)

// Disclosure says per data set what may leave and at what price.
type Disclosure struct {
	Department string                    `yaml:"department" json:"department"`
	Datasets   map[string]DisclosureRule `yaml:"datasets" json:"datasets"`
}

// DisclosureRule of one data set. Budgets are in ρ as decimal strings
// ("0.00088"); an empty one takes the proposed default.
type DisclosureRule struct {
	Mode     string           `yaml:"mode" json:"mode"` // dp | exact
	MaxRows  int64            `yaml:"max_rows,omitempty" json:"max_rows,omitempty"`
	Purposes []string         `yaml:"purposes" json:"purposes"`
	Uses     map[string][]Use `yaml:"uses" json:"uses"` // column → uses; a column not named is not usable
	// PrivateKeys lists key columns whose values are not public: answered only
	// past the pre-threshold and τ.
	PrivateKeys []string   `yaml:"private_keys,omitempty" json:"private_keys,omitempty"`
	Budget      BudgetRule `yaml:"budget,omitempty" json:"budget,omitzero"`
	Exact       *ExactRule `yaml:"exact,omitempty" json:"exact,omitempty"`
	Wait        string     `yaml:"wait,omitempty" json:"wait,omitempty"` // durable | published
}

// BudgetRule holds the four scopes of disclosure control, in ρ.
type BudgetRule struct {
	Query        string `yaml:"query,omitempty" json:"query,omitempty"`                 // default price of a query
	QueryMax     string `yaml:"query_max,omitempty" json:"query_max,omitempty"`         // most a query may cost
	OperatorYear string `yaml:"operator_year,omitempty" json:"operator_year,omitempty"` // operator × data set × calendar year
	DatasetYear  string `yaml:"dataset_year,omitempty" json:"dataset_year,omitempty"`   // all operators together
	Lifetime     string `yaml:"lifetime,omitempty" json:"lifetime,omitempty"`           // unchanged rows, for ever
}

// ExactRule of exact mode. Thresholds of 0 take the defaults and may only be made
// stricter.
type ExactRule struct {
	K     int64 `yaml:"k" json:"k"`         // distinct units per cell and complement, 10…100
	Round int64 `yaml:"round" json:"round"` // rounding base of counts, at least 2
	// Top1 and Top2 (percent, 50 and 90) are the most of a sum that one and two units
	// may make up; PPercent (10) the least that all but the two largest must make up,
	// in percent of the largest; Dof (10) the least degrees of freedom of a mean.
	Top1     int64 `yaml:"top1,omitempty" json:"top1,omitempty"`
	Top2     int64 `yaml:"top2,omitempty" json:"top2,omitempty"`
	PPercent int64 `yaml:"p_percent,omitempty" json:"p_percent,omitempty"`
	Dof      int64 `yaml:"dof,omitempty" json:"dof,omitempty"`
	// StructuralZeros lists combinations of key column and code that are empty by
	// nature; their zero is no finding.
	StructuralZeros []map[string]string `yaml:"structural_zeros,omitempty" json:"structural_zeros,omitempty"`
	// MergeOther adds the withheld cells up in one further row.
	MergeOther bool `yaml:"merge_other,omitempty" json:"merge_other,omitempty"`
	// BitsPerUnit caps what all exact answers over one snapshot may tell together,
	// in bits per privacy unit, as a decimal string; empty is DefaultBitsPerUnit.
	BitsPerUnit string `yaml:"bits_per_unit,omitempty" json:"bits_per_unit,omitempty"`
}

// DefaultBitsPerUnit is the information cap of a department that names none.
const DefaultBitsPerUnit = "0.1"

// Licence 授权 is an operating agreement's grant: who, on what, for which
// purposes, until when. It needs the signatures of the regulator and of every
// department that owns a listed data set.
type Licence struct {
	ID        string          `yaml:"id" json:"id"`
	Operator  string          `yaml:"operator" json:"operator"`
	Title     Text            `yaml:"title" json:"title"`
	Scenario  Text            `yaml:"scenario" json:"scenario"`
	Purposes  []string        `yaml:"purposes" json:"purposes"`
	NotBefore time.Time       `yaml:"not_before" json:"not_before"`
	NotAfter  time.Time       `yaml:"not_after" json:"not_after"` // at most five years later (27号)
	Resources []LicenceObject `yaml:"resources" json:"resources"`
	Security  Text            `yaml:"security_terms" json:"security_terms"`
	Exit      Text            `yaml:"exit_terms" json:"exit_terms"`
}

// LicenceObject is one data set and the columns of it that are granted.
type LicenceObject struct {
	Dataset string   `yaml:"dataset" json:"dataset"`
	Columns []string `yaml:"columns" json:"columns"`
}

// Revocation ends a licence at once.
type Revocation struct {
	Licence string `yaml:"licence" json:"licence"`
	By      string `yaml:"by" json:"by"` // party that signs
	Reason  Text   `yaml:"reason" json:"reason"`
}
