package analyse

// postWordings are the refusals of the cut between the protected core and the
// post-processing around it.
var postWordings = map[string]wording{
	"POST_TWO_CORES":     {"一条语句只能含一个受保护核心", "a statement may hold one protected core only", `请分别提交各个聚合查询，再用 releases."作业编号" 连接它们的发布结果`, `submit each aggregate query as a job, then join their releases as releases."<job id>"`},
	"POST_MIXED":         {"原始数据集不能与发布结果放在同一个 FROM 或集合运算中", "a data set cannot stand beside released values in one FROM or set operation", "请先在子查询中把数据集聚合，再与发布结果连接", "aggregate the data set in a sub-query first, then join the result"},
	"POST_RAW":           {"后处理只能读取发布结果，不能读取数据集的行", "post-processing reads released values only, never rows of a data set", "请先在子查询中聚合该数据集", "aggregate the data set in a sub-query first"},
	"POST_TABLE":         {"后处理不能读取此表或此函数", "post-processing cannot read this table or function", `可读取：本语句的核心、WITH 中的名称、releases."作业编号"、VALUES、range、generate_series、unnest`, `it may read: the core of this text, names of its WITH, releases."<job id>", VALUES, range, generate_series, unnest`},
	"POST_FUNCTION":      {"后处理不支持函数{name}：其结果不由发布结果决定", "post-processing does not support the function {name}: its result is not decided by released values", "请去掉随机、时钟、环境与动态 SQL 函数", "drop functions of chance, clock, environment and dynamic SQL"},
	"POST_RELEASE":       {`发布结果须写作 releases."作业编号"`, `a release is written releases."<job id>"`, "作业编号见 sandgate job list", "sandgate job list shows the job ids"},
	"POST_HISTOGRAM":     {"此聚合会得到多列，不能直接用于后处理", "this aggregate gives several columns and cannot stand inside post-processing", "请改写为 GROUP BY bin(列) 与 COUNT(*)", "write GROUP BY bin(column) and COUNT(*) instead"},
	"POST_PARAMETER":     {"参数没有给出取值，或占位符不是 $1、$2… 或 ?", "a parameter has no value, or a placeholder is not $1, $2… or ?", "请为每个占位符给出一个取值", "give one value for every placeholder"},
	"POST_RECURSIVE_RAW": {"递归的 WITH 不能读取数据集", "a recursive WITH cannot read a data set", "请先在另一个 WITH 项中聚合该数据集", "aggregate the data set in another WITH item first"},
}
