package protect

import (
	"fmt"

	"github.com/sandgate/sandgate/policies"
)

// what names a column, or an expression that has no name of its own.
func what(col string) (zh, en string) {
	if col == "" {
		return "表达式", "the expression"
	}
	return "列 " + col, "column " + col
}

func unitMixed(fact, f Facts) *policies.Reason {
	return by(f, "UNIT_MIXED",
		fmt.Sprintf("数据集 %s 与 %s 的隐私单元种类不同，不能在同一查询中使用", fact.Dataset, f.Dataset),
		fmt.Sprintf("data sets %s and %s have different kinds of privacy unit and cannot meet in one query", fact.Dataset, f.Dataset),
		"请分别查询", "query them separately")
}

func noGrid(f Facts, col string) *policies.Reason {
	zh, en := what(col)
	return by(f, "GRID_MISSING",
		fmt.Sprintf("部门 %s 未登记数据集 %s %s 的分档网格，不能求分位数、最小值、最大值或分档", f.Department, f.Dataset, zh),
		fmt.Sprintf("department %s registered no grid for %s of data set %s, so it has no quantile, minimum, maximum or bin", f.Department, en, f.Dataset),
		"请部门在资源目录登记 grid，并直接使用该列", "ask the department to register a grid in the catalogue, and use the column itself")
}

func overflow(f Facts, col string) *policies.Reason {
	zh, en := what(col)
	return by(f, "EXPRESSION_OVERFLOW",
		fmt.Sprintf("按登记的上下界，含%s的表达式可能超出数值范围", zh),
		fmt.Sprintf("within its registered bounds an expression with %s could leave the range of its type", en),
		"请减少乘法或小数位", "use fewer multiplications or decimals")
}

func negativeDividend(f Facts, col string) *policies.Reason {
	zh, en := what(col)
	return by(f, "DIVIDEND_NEGATIVE",
		fmt.Sprintf("%s可能为负，不能作整除或取余", zh),
		fmt.Sprintf("%s may be negative, so it has no integer quotient or remainder here", en),
		"请先用 ABS 或 CASE 使其非负", "make it non-negative first, by ABS or CASE")
}

func tooWide(f Facts, col string) *policies.Reason {
	zh, en := what(col)
	return by(f, "MEASURE_TOO_WIDE",
		fmt.Sprintf("%s的登记范围太宽，其平方或乘积之和可能溢出", zh),
		fmt.Sprintf("the registered bounds of %s are so wide that sums of its squares or products could overflow", en),
		"请部门收窄上下界，或只求和与平均", "ask the department for narrower bounds, or use SUM and AVG only")
}

func privateKeysOf(f Facts, zh, en string) *policies.Reason {
	return by(f, "PRIVATE_KEYS_UNSUPPORTED",
		fmt.Sprintf("非公开分组键不能与 %s 同用", zh), fmt.Sprintf("private grouping keys do not go with %s", en),
		"请改用有代码表的分组键", "use keys with a code list")
}

func unitsInSets(f Facts) *policies.Reason {
	return by(f, "UNITS_NOT_ADDITIVE",
		fmt.Sprintf("数据集 %s 每个单元可有多行，去重单元数不能由各组相加，不能与 ROLLUP、CUBE、GROUPING SETS 同用", f.Dataset),
		fmt.Sprintf("a unit may have several rows in data set %s: counts of distinct units do not add up, so they do not go with ROLLUP, CUBE or GROUPING SETS", f.Dataset),
		"请改用 COUNT(*)，或分别查询各层", "use COUNT(*), or ask for each level by itself")
}

func tooManyDraws(f Facts) *policies.Reason {
	return by(f, "TOO_MANY_CELLS",
		fmt.Sprintf("分组数乘统计量数超过 %d", maxDraws), fmt.Sprintf("groups times measures exceed %d", maxDraws),
		"请减少分组键、聚合或分位数", "use fewer keys, aggregates or quantiles")
}
