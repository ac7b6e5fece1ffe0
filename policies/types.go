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
	// OperatorSigns asks for the operator's signature on every licence granted from
	// then on, not only on those of version 2.
	OperatorSigns bool `yaml:"operator_signs,omitempty" json:"operator_signs,omitempty"`
	// RegistrationRequired makes Decide refuse what is not registered (R11).
	RegistrationRequired bool `yaml:"registration_required,omitempty" json:"registration_required,omitempty"`
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
	Format          Format   `yaml:"format,omitempty" json:"format,omitempty"`                     // 数据格式
	Provider        Provider `yaml:"provider,omitempty" json:"provider,omitzero"`                  // 提供单位
	Industry        string   `yaml:"industry,omitempty" json:"industry,omitempty"`                 // GB/T 4754
	Period          string   `yaml:"period,omitempty" json:"period,omitempty"`                     // time covered
	Area            string   `yaml:"area,omitempty" json:"area,omitempty"`                         // area covered
	UpdateFrequency string   `yaml:"update_frequency,omitempty" json:"update_frequency,omitempty"` // 更新周期
	Unit            *Unit    `yaml:"unit,omitempty" json:"unit,omitempty"`                         // nil only with Public
	Public          bool     `yaml:"public,omitempty" json:"public,omitempty"`                     // declared free of private units
	OneRow          bool     `yaml:"one_row_per_unit,omitempty" json:"one_row_per_unit,omitempty"` // verified at ingest
	Unique          []string `yaml:"unique,omitempty" json:"unique,omitempty"`                     // unique key columns (Public only), each alone unique
	BadRows         BadRows  `yaml:"bad_rows,omitempty" json:"bad_rows,omitzero"`
	Columns         []Column `yaml:"columns" json:"columns"`
	SharedFrom      string   `yaml:"shared_from,omitempty" json:"shared_from,omitempty"` // provider of shared-in data, whose consent a licence needs (R13)
	Consent         string   `yaml:"consent,omitempty" json:"consent,omitempty"`         // "required": used with the data subject's consent only (R28)
	// Sharing and Opening are the classes of R19; without a class the data set is
	// unclassified, which lint reports and Decide lets pass.
	Sharing        Access          `yaml:"sharing,omitempty" json:"sharing,omitzero"`
	SharingMethods []SharingMethod `yaml:"sharing_methods,omitempty" json:"sharing_methods,omitempty"`
	Opening        Access          `yaml:"opening,omitempty" json:"opening,omitzero"`
	Operation      Operation       `yaml:"operation,omitempty" json:"operation,omitzero"`
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
	// Element is the standard data element 数据元 and ElementType its representation
	// ("an..18", "YYYYMMDD"), as the cited standard spells them.
	Element     string `yaml:"element,omitempty" json:"element,omitempty"`
	ElementType string `yaml:"element_type,omitempty" json:"element_type,omitempty"`
	// Source is the one department that answers for the column (R17); empty is the
	// data set's own. Another department's column needs that department's signature.
	Source string `yaml:"source,omitempty" json:"source,omitempty"`
	Basis  string `yaml:"basis,omitempty" json:"basis,omitempty"` // legal basis 法律依据
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

// Grading gives every column of a data set its level (R16), in the vocabulary of
// the scheme it names. A data set's level is that of its highest column.
type Grading struct {
	Department string                          `yaml:"department" json:"department"`
	Scheme     string                          `yaml:"scheme" json:"scheme"` // SchemeGBT43697, or the id of a GradingScheme
	Levels     map[string]map[string]LevelName `yaml:"levels" json:"levels"` // data set → column → level of the scheme
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

	Scale    int      `yaml:"scale,omitempty" json:"scale,omitempty"`       // noise: in steps of width
	Retain   string   `yaml:"retain,omitempty" json:"retain,omitempty"`     // response: probability of keeping a value
	By       []string `yaml:"by,omitempty" json:"by,omitempty"`             // shuffle: columns of a group
	Least    int      `yaml:"least,omitempty" json:"least,omitempty"`       // shuffle: least units of a group
	K        int      `yaml:"k,omitempty" json:"k,omitempty"`               // k_anonymous: least units of a class
	Suppress int      `yaml:"suppress,omitempty" json:"suppress,omitempty"` // k_anonymous: most rows suppressed, percent
	Ladder   []string `yaml:"ladder,omitempty" json:"ladder,omitempty"`     // k_anonymous: rungs from fine to coarse
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
	Wait        string     `yaml:"wait,omitempty" json:"wait,omitempty"` // durable | published; the level may ask for more
	// verification: limits of columns with use verify
	Verification *VerificationRule `yaml:"verification,omitempty" json:"verification,omitempty"`
	// model: limits of models trained on columns with use train
	Models *ModelRule `yaml:"models,omitempty" json:"models,omitempty"`
	// twin: limits of synthetic twins of the data set
	Twin *TwinRule `yaml:"twin,omitempty" json:"twin,omitempty"`
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
	// ProductsOnly lets the operator run nothing but reviewed products (R08).
	ProductsOnly bool `yaml:"products_only,omitempty" json:"products_only,omitempty"`

	// Version 2 is an operating agreement: the operator signs it too. 0 and 1 are
	// grants without his signature.
	Version int         `yaml:"version,omitempty" json:"version,omitempty"`
	Mode    LicenceMode `yaml:"mode,omitempty" json:"mode,omitempty"`
	Field   Text        `yaml:"field,omitempty" json:"field,omitzero"` // which 领域, in mode field
	// Jobs are the kinds of job granted; none named is query alone.
	Jobs  []JobKind `yaml:"jobs,omitempty" json:"jobs,omitempty"`
	Quota *Quota    `yaml:"quota,omitempty" json:"quota,omitempty"`
	// Fees repeats the fee class of each purpose; it must be the registry's.
	Fees map[string]FeeClass `yaml:"fees,omitempty" json:"fees,omitempty"`
	// Body is the implementing body 实施机构, a department or the regulator. It signs.
	Body       string            `yaml:"implementing_body,omitempty" json:"implementing_body,omitempty"`
	Entrusted  []Entrusted       `yaml:"entrusted,omitempty" json:"entrusted,omitempty"`
	Recipients []Recipient       `yaml:"recipients,omitempty" json:"recipients,omitempty"`
	Providers  []ProviderConsent `yaml:"provider_consents,omitempty" json:"provider_consents,omitempty"`
	// ExitDays is within how many days of its end intermediate results are erased.
	ExitDays int `yaml:"exit_days,omitempty" json:"exit_days,omitempty"`
	// Renews is the licence of the same operator that this one goes on from.
	Renews  string `yaml:"renews,omitempty" json:"renews,omitempty"`
	Renewal Text   `yaml:"renewal_terms,omitempty" json:"renewal_terms,omitzero"`
	// Application is the approved application that the licence is granted on; it
	// may then grant nothing beyond it.
	Application string `yaml:"application,omitempty" json:"application,omitempty"`
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
	order   string // that ended the licence; empty for a Revocation document
}
