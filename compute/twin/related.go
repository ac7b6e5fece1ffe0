package twin

import (
	"slices"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// RelationsSpec says which data sets are to be tied by the unit, and at what price.
type RelationsSpec struct {
	// Tables in the order of their ids, two to eight.
	Tables []RelatedTable `json:"tables"`
	// Rho is the price, a decimal string. Every data set is charged all of it.
	Rho string `json:"rho"`
}

// RelatedTable is a data set of a RelationsSpec.
type RelatedTable struct {
	Dataset string `json:"dataset"`
	// Link names the columns that may tie it, by stored name; empty for all that its twin
	// learned.
	Link []string `json:"link,omitempty"`
}

// Datasets are those of the specification, in its order.
func (s RelationsSpec) Datasets() []string {
	out := make([]string, len(s.Tables))
	for i, t := range s.Tables {
		out[i] = t.Dataset
	}
	return out
}

// Price is what each data set is charged. What is wrong with the specification whatever
// the catalogue says is refused here.
func (s RelationsSpec) Price() (budget.Nano, error) {
	if err := tablesFit(len(s.Tables)); err != nil {
		return 0, err
	}
	for i, t := range s.Tables {
		if t.Dataset == "" || i > 0 && s.Tables[i-1].Dataset >= t.Dataset {
			return 0, reason(CodeSpec, "数据集须按编号次序各写一次", "data sets are named once each, in the order of their ids", "改正数据集清单", "correct the list of data sets")
		}
	}
	return priceOf(s.Rho)
}

// Holds refuses what no relations can be learned of, as far as the catalogue tells: entries
// and schemas of the twins are those of the tables, in their order.
func (s RelationsSpec) Holds(entries []policies.Entry, schemas []Schema) error {
	chosen := make([][]int, len(s.Tables))
	for i, t := range s.Tables {
		if err := sameKind(entries[0], entries[i]); err != nil {
			return err
		}
		var err error
		if chosen[i], err = linked(schemas[i].Columns, t.Link); err != nil {
			return err
		}
	}
	_, err := pairsAcross(chosen)
	return err
}

func tablesFit(n int) error {
	if n < 2 || n > maxTables {
		return reason(CodeSpec, "跨表关系须有 2 到 %d 个数据集", "relations are of 2 to %d data sets", "改正数据集清单", "correct the list of data sets", maxTables)
	}
	return nil
}

func priceOf(rho string) (budget.Nano, error) {
	price, err := budget.ParseLimit(rho)
	if err != nil || price < 3 {
		return 0, reason(CodePrice, "rho 不是大于 0 的十进制数", "rho is no decimal number above 0", `写成如 "0.01" 的十进制字符串`, `write a decimal string such as "0.01"`)
	}
	return price, nil
}

// sameKind refuses a data set whose units are not those of the first.
func sameKind(first, e policies.Entry) error {
	if e.Dataset.Unit == nil || first.Dataset.Unit == nil || e.Dataset.Unit.Kind != first.Dataset.Unit.Kind {
		return reason(CodeSpec, "数据集 %s 的隐私单元与其他数据集不同类", "the privacy unit of data set %s is of another kind than that of the others", "只关联同类单元的数据集", "relate data sets of one kind of unit", e.Dataset.ID)
	}
	return nil
}

// linked are the places of the columns that may tie.
func linked(columns []Column, link []string) ([]int, error) {
	var out []int
	if len(link) == 0 {
		for c := range columns {
			out = append(out, c)
		}
		return out, nil
	}
	for _, name := range link {
		c := slices.IndexFunc(columns, func(x Column) bool { return x.Column == name })
		if c < 0 || slices.Contains(out, c) {
			return nil, reason(CodeSpec, "link 中的列 %s 不在孪生中，或写了两次", "column %s of link is not in the twin, or named twice", "改正 link", "correct link", name)
		}
		out = append(out, c)
	}
	return out, nil
}

// pairsAcross counts the pairs of columns of different tables.
func pairsAcross(chosen [][]int) (int, error) {
	pairs := 0
	for i := range chosen {
		for j := range i {
			pairs += len(chosen[i]) * len(chosen[j])
		}
	}
	if pairs > maxAcross {
		return 0, reason(CodeSpec, "跨表的列对超过 %d 个", "there are more than %d pairs of columns across tables", "在 link 中列出少数列", "list few columns as link", maxAcross)
	}
	return pairs, nil
}
