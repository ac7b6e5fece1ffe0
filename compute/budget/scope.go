package budget

import (
	"strconv"
	"strings"
)

// ScopeKind is one of the limits every charge must hold.
type ScopeKind string

const (
	ScopeQuery        ScopeKind = "query"         // one query; nothing accumulates
	ScopeOperatorYear ScopeKind = "operator_year" // operator × data set × calendar year
	ScopeDatasetYear  ScopeKind = "dataset_year"  // data set × calendar year, all operators: collusion
	ScopeLifetime     ScopeKind = "lifetime"      // data set, for ever: unchanged rows
	// ScopeInformation is what exact answers over one snapshot tell together, over
	// all operators. Its amounts and limits are thousandths of a bit, not of ρ.
	ScopeInformation ScopeKind = "information"
)

// Scope names one account of the filter. Fields a kind does not use are empty.
type Scope struct {
	Kind     ScopeKind `json:"kind"`
	Operator string    `json:"operator,omitempty"`
	Dataset  string    `json:"dataset"`
	Year     int       `json:"year,omitempty"`
	Snapshot string    `json:"snapshot,omitempty"`
}

// keyEscape keeps Key injective whatever characters an identifier holds: two
// scopes that shared a key would share a budget, or split one.
var keyEscape = strings.NewReplacer("%", "%25", "/", "%2F")

// Key is the canonical, injective text of a scope, e.g.
// "operator_year/social_insurance/bank_a/2026".
func (s Scope) Key() string {
	k := string(s.Kind) + "/" + keyEscape.Replace(s.Dataset)
	switch s.Kind {
	case ScopeOperatorYear:
		k += "/" + keyEscape.Replace(s.Operator) + "/" + strconv.Itoa(s.Year)
	case ScopeInformation:
		k += "/" + keyEscape.Replace(s.Snapshot)
	case ScopeDatasetYear:
		k += "/" + strconv.Itoa(s.Year)
	}
	return k
}

// Limits are the caps of one data set, set by its department.
type Limits struct {
	Query        Nano `json:"query"`         // most one query may cost
	OperatorYear Nano `json:"operator_year"` // per operator and calendar year
	DatasetYear  Nano `json:"dataset_year"`  // all operators, calendar year
	Lifetime     Nano `json:"lifetime"`      // for ever
}

// DefaultQuery is the proposed price of a query whose operator asked for no
// target error: ρ 0.00088, ε 0.17 at δ 1e-6, count σ 24.
const DefaultQuery Nano = 880_000

// DefaultLimits are the proposed caps: query ρ 0.0044 (ε 0.40), operator and
// year 0.088 (ε 2), data set and year 0.311 (ε 4), lifetime 1.05 (ε 8).
func DefaultLimits() Limits {
	return Limits{Query: 4_400_000, OperatorYear: 88_000_000, DatasetYear: 311_000_000, Lifetime: 1_050_000_000}
}

// Charge asks Amount of a scope whose cap is Limit.
type Charge struct {
	Scope  Scope `json:"scope"`
	Amount Nano  `json:"amount"`
	Limit  Nano  `json:"limit"`
}

// BitsText prints an amount of ScopeInformation in bits.
func BitsText(milli Nano) string {
	s := strconv.FormatInt(int64(milli)/1000, 10) + "." + strconv.FormatInt(1000+int64(milli)%1000, 10)[1:]
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// Charges lists what one execution over dataset owes: its whole price in every
// scope. A query over several private data sets owes the charges of each.
func Charges(dataset, operator string, year int, price Nano, l Limits) []Charge {
	return []Charge{
		{Scope{Kind: ScopeQuery, Dataset: dataset}, price, l.Query},
		{Scope{Kind: ScopeOperatorYear, Operator: operator, Dataset: dataset, Year: year}, price, l.OperatorYear},
		{Scope{Kind: ScopeDatasetYear, Dataset: dataset, Year: year}, price, l.DatasetYear},
		{Scope{Kind: ScopeLifetime, Dataset: dataset}, price, l.Lifetime},
	}
}
