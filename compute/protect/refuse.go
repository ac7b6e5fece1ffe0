package protect

import (
	"fmt"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// by is a refusal that rests on a department's rules for one data set.
func by(f Facts, code, zh, en, hintZH, hintEN string) *policies.Reason {
	return &policies.Reason{Code: code, Rule: "disclosure/" + f.Dataset, SetBy: f.Department,
		ZH: zh, EN: en, HintZH: hintZH, HintEN: hintEN}
}

// invalidCore is a fault of the caller, not of the operator: analysis never
// produces such a core.
func invalidCore(zh, en string) *policies.Reason {
	return &policies.Reason{Code: "CORE_INVALID", Rule: "core language", SetBy: "sandgate",
		ZH: "查询的受保护部分不合规：" + zh, EN: "the protected core is malformed: " + en}
}

func noAggregate() *policies.Reason {
	return &policies.Reason{Code: "NO_AGGREGATE", Rule: "core language", SetBy: "sandgate",
		ZH: "查询没有聚合函数，原始行不能出域", EN: "the query has no aggregate, and raw rows never leave the domain",
		HintZH: "请使用 COUNT、SUM 或 AVG", HintEN: "use COUNT, SUM or AVG"}
}

func factPublic(f Facts) *policies.Reason {
	return by(f, "FACT_TABLE_PUBLIC",
		fmt.Sprintf("数据集 %s 是公开维表，没有隐私单元，不能作为主表", f.Dataset),
		fmt.Sprintf("data set %s is a public dimension without a privacy unit and cannot be the fact table", f.Dataset),
		"请以含个人或单位记录的数据集为 FROM 的第一张表", "put a data set of persons or organisations first in FROM")
}

func incomplete(f Facts, what string) *policies.Reason {
	return by(f, "RULE_INCOMPLETE",
		fmt.Sprintf("部门 %s 对数据集 %s 的发布规则缺少有效的 %s", f.Department, f.Dataset, what),
		fmt.Sprintf("the disclosure rule of department %s for data set %s lacks a valid %s", f.Department, f.Dataset, what),
		"请该部门补全并签署发布规则", "ask the department to complete and sign its disclosure rule")
}

func modeMixed(fact, dim Facts) *policies.Reason {
	return by(dim, "MODE_MIXED",
		fmt.Sprintf("数据集 %s 与 %s 的发布方式不同，不能在同一查询中使用", fact.Dataset, dim.Dataset),
		fmt.Sprintf("data sets %s and %s have different release modes and cannot meet in one query", fact.Dataset, dim.Dataset),
		"请分别查询", "query them separately")
}

func privateJoin(f Facts) *policies.Reason {
	return by(f, "PRIVATE_JOIN",
		fmt.Sprintf("数据集 %s 含隐私单元，且不是每个单元一行，不能被连接", f.Dataset),
		fmt.Sprintf("data set %s holds privacy units and not one row of each: it cannot be joined", f.Dataset),
		"请先按隐私单元汇总（GROUP BY 单元列）再按单元连接，或只连接公开维表", "aggregate it per unit first (GROUP BY the unit column) and join on the unit, or join public dimension tables only")
}

func joinNotUnique(f Facts, col string) *policies.Reason {
	return by(f, "JOIN_NOT_UNIQUE",
		fmt.Sprintf("连接列 %s 不是公开维表 %s 登记的唯一键，连接会使一个单元的行数倍增", col, f.Dataset),
		fmt.Sprintf("join column %s is not a registered unique key of public table %s: the join could multiply a unit's rows", col, f.Dataset),
		"请用目录中登记的唯一键连接", "join on a unique key registered in the catalogue")
}

func unknownColumn(f Facts, col string) *policies.Reason {
	return by(f, "COLUMN_UNKNOWN",
		fmt.Sprintf("数据集 %s 的快照中没有该类型的列 %s", f.Dataset, col),
		fmt.Sprintf("the snapshot of data set %s has no column %s of that type", f.Dataset, col),
		"请查看资源目录", "see the catalogue")
}

func keyNotPublic(f Facts, col string) *policies.Reason {
	return by(f, "KEY_NOT_PUBLIC",
		fmt.Sprintf("数据集 %s 的列 %s 没有代码表，部门 %s 也未将其列为非公开分组键，不能用于 GROUP BY", f.Dataset, col, f.Department),
		fmt.Sprintf("column %s of data set %s has no code list and department %s did not register it as a private key, so it cannot stand in GROUP BY", col, f.Dataset, f.Department),
		"请部门登记代码表，或列入 private_keys", "ask the department to register a code list or to name it in private_keys")
}

func badCodes(f Facts, col string) *policies.Reason {
	return by(f, "CODES_INVALID",
		fmt.Sprintf("数据集 %s 列 %s 的代码表有重复、空值或类型不符的代码", f.Dataset, col),
		fmt.Sprintf("the code list of column %s of data set %s has a repeated, NULL or wrongly typed code", col, f.Dataset),
		fmt.Sprintf("请部门 %s 更正资源目录", f.Department), fmt.Sprintf("ask department %s to correct its catalogue", f.Department))
}

func tooManyCells(f Facts, col string) *policies.Reason {
	return by(f, "TOO_MANY_CELLS",
		fmt.Sprintf("加入数据集 %s 的分组键 %s 后，分组组合超过 %d 个", f.Dataset, col, MaxPublicCells),
		fmt.Sprintf("with grouping key %s of data set %s the key combinations exceed %d", col, f.Dataset, MaxPublicCells),
		"请减少分组键，或改用更粗的代码", "use fewer keys or a coarser code list")
}

func measureType(f Facts, col string) *policies.Reason {
	return by(f, "MEASURE_TYPE",
		fmt.Sprintf("数据集 %s 的列 %s 不是整数或定点小数，不能求和或求平均", f.Dataset, col),
		fmt.Sprintf("column %s of data set %s is neither an integer nor a decimal: it cannot be summed or averaged", col, f.Dataset),
		"可用 COUNT 统计", "it can be counted")
}

func noBounds(f Facts, col string) *policies.Reason {
	return by(f, "MEASURE_NO_BOUNDS",
		fmt.Sprintf("部门 %s 未登记数据集 %s 列 %s 的上下界，无法限定一个单元的影响", f.Department, f.Dataset, col),
		fmt.Sprintf("department %s registered no bounds for column %s of data set %s, so the influence of one unit is unbounded", f.Department, col, f.Dataset),
		"请部门在资源目录登记 bounds", "ask the department to register bounds in the catalogue")
}

func badBounds(f Facts, col string) *policies.Reason {
	return by(f, "BOUNDS_INVALID",
		fmt.Sprintf("数据集 %s 列 %s 的下界大于上界", f.Dataset, col),
		fmt.Sprintf("the lower bound of column %s of data set %s exceeds its upper bound", col, f.Dataset),
		fmt.Sprintf("请部门 %s 更正资源目录", f.Department), fmt.Sprintf("ask department %s to correct its catalogue", f.Department))
}

func priceNotPositive(f Facts) *policies.Reason {
	return by(f, "PRICE_NOT_POSITIVE",
		"查询价格 ρ 必须大于 0：没有噪声的结果不能发布", "the price rho of a query must be positive: nothing is released without noise",
		fmt.Sprintf("默认价格为 %s", f.QueryRho), fmt.Sprintf("the default price is %s", f.QueryRho))
}

func priceTooHigh(f Facts, price budget.Nano) *policies.Reason {
	return by(f, "PRICE_TOO_HIGH",
		fmt.Sprintf("查询价格 ρ %s 超过部门 %s 为数据集 %s 设定的单次上限 %s", price, f.Department, f.Dataset, f.QueryMaxRho),
		fmt.Sprintf("the price rho %s exceeds %s, the most department %s lets one query on data set %s cost", price, f.QueryMaxRho, f.Department, f.Dataset),
		"请放宽目标误差，或减少聚合与分组", "accept a larger error, or ask for fewer aggregates and keys")
}

func priceTooLow(f Facts, n int) *policies.Reason {
	return by(f, "PRICE_TOO_LOW",
		fmt.Sprintf("查询价格不足以分给 %d 个统计量", n), fmt.Sprintf("the price cannot be split over %d measures", n),
		"请减少聚合，或提高价格", "ask for fewer aggregates or raise the price")
}
