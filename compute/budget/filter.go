package budget

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
)

// Filter holds what was spent in every scope. The zero value has spent nothing.
// Spending only grows: there is no refund, because once data was read whatever
// the outcome was, an error included, may have told something about it.
//
// A Filter is not safe for concurrent use; the ledger's single writer owns the
// one that counts. Copying the struct shares the accounts: use Clone.
type Filter struct {
	spent map[string]Nano
}

// Exhausted says which scope cannot bear a charge. All amounts are public: they
// depend on earlier prices, never on data.
type Exhausted struct {
	Scope Scope
	Limit Nano
	Spent Nano
	Asked Nano
}

// Error implements error in English.
func (e *Exhausted) Error() string { return e.Text("en") }

// Text explains the refusal in lang ("zh" or "en").
func (e *Exhausted) Text(lang string) string {
	if e.Scope.Kind == ScopeInformation {
		limit, spent, asked := BitsText(e.Limit), BitsText(e.Spent), BitsText(e.Asked)
		if lang == "en" {
			return fmt.Sprintf("information cap of exact answers reached: this snapshot of %s (all operators) may tell %s bits, has told %s, this query would take %s", e.Scope.Dataset, limit, spent, asked)
		}
		return fmt.Sprintf("精确答案的信息量上限不足：数据集 %s 本快照（全部机构合计）上限 %s 比特，已用 %s，本次需 %s", e.Scope.Dataset, limit, spent, asked)
	}
	if lang == "en" {
		name := map[ScopeKind]string{ScopeQuery: "single query", ScopeOperatorYear: "operator and year",
			ScopeDatasetYear: "data set and year, all operators", ScopeLifetime: "lifetime of the data set"}[e.Scope.Kind]
		return fmt.Sprintf("privacy budget exhausted: %s (%s): limit ρ %s, spent %s, asked %s", name, e.Scope.Key(), e.Limit, e.Spent, e.Asked)
	}
	name := map[ScopeKind]string{ScopeQuery: "单次查询", ScopeOperatorYear: "运营机构年度",
		ScopeDatasetYear: "数据集年度（全部机构合计）", ScopeLifetime: "数据集终身"}[e.Scope.Kind]
	return fmt.Sprintf("隐私预算不足：%s（%s）上限 ρ %s，已用 %s，本次申请 %s", name, e.Scope.Key(), e.Limit, e.Spent, e.Asked)
}

// Reserve charges every scope or none. It returns *Exhausted when a scope would
// pass its limit, another error when a charge is malformed. Scopes that occur
// twice are added up, each occurrence against its own limit.
func (f *Filter) Reserve(charges []Charge) error {
	if len(charges) == 0 {
		return errors.New("failed to reserve budget: no scope is charged")
	}
	next := make(map[string]Nano, len(charges))
	for _, c := range charges {
		switch c.Scope.Kind {
		case ScopeQuery, ScopeOperatorYear, ScopeDatasetYear, ScopeLifetime, ScopeInformation:
		default:
			return fmt.Errorf("failed to reserve budget: unknown scope kind %q", c.Scope.Kind)
		}
		if c.Amount < 0 || c.Limit < 0 {
			return fmt.Errorf("failed to reserve budget: scope %s has a negative amount or limit", c.Scope.Key())
		}
		key := c.Scope.Key()
		spent, seen := next[key]
		if !seen {
			spent = f.spent[key]
		}
		// limit−spent cannot overflow: neither is negative. amount+spent could.
		if c.Amount > c.Limit-spent {
			return &Exhausted{Scope: c.Scope, Limit: c.Limit, Spent: spent, Asked: c.Amount}
		}
		if c.Scope.Kind != ScopeQuery {
			next[key] = spent + c.Amount
		}
	}
	if f.spent == nil {
		f.spent = make(map[string]Nano, len(next))
	}
	maps.Copy(f.spent, next)
	return nil
}

// Spent returns what scope s has spent.
func (f *Filter) Spent(s Scope) Nano { return f.spent[s.Key()] }

// Clone returns an independent copy, to try a reservation without making it.
func (f *Filter) Clone() *Filter { return &Filter{spent: maps.Clone(f.spent)} }

// MarshalJSON writes the accounts in key order: equal filters give equal bytes.
func (f Filter) MarshalJSON() ([]byte, error) {
	if f.spent == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(f.spent)
}

// UnmarshalJSON reads what MarshalJSON wrote and nothing else: negative amounts
// (a refund by the back door), repeated keys and other spellings are refused.
func (f *Filter) UnmarshalJSON(b []byte) error {
	spent := map[string]Nano{}
	if err := json.Unmarshal(b, &spent); err != nil {
		return fmt.Errorf("failed to decode budget filter: %w", err)
	}
	for k, v := range spent {
		if v < 0 {
			return fmt.Errorf("failed to decode budget filter: scope %q is negative", k)
		}
	}
	canonical, err := Filter{spent: spent}.MarshalJSON()
	if err != nil {
		return fmt.Errorf("failed to decode budget filter: %w", err)
	}
	if !bytes.Equal(canonical, b) {
		return errors.New("failed to decode budget filter: not in canonical form")
	}
	f.spent = spent
	return nil
}
