package analyse

const (
	hintShapeZH = "允许的形式：SELECT 分组列, COUNT(*) FROM 数据集 WHERE 条件 GROUP BY 分组列"
	hintShapeEN = "allowed: SELECT keys, COUNT(*) FROM data_set WHERE condition GROUP BY keys"
	hintAggZH   = "可用的聚合：COUNT、SUM、AVG、VAR_*、STDDEV_*、COVAR_*、CORR、REGR_*、MEDIAN、QUANTILE、MIN、MAX"
	hintAggEN   = "aggregates: COUNT, SUM, AVG, VAR_*, STDDEV_*, COVAR_*, CORR, REGR_*, MEDIAN, QUANTILE, MIN, MAX"
	hintFuncZH  = hintAggZH + "；表达式：CASE、COALESCE、+ − * // %、abs、year、quarter、month、day、isodow、bin"
	hintFuncEN  = hintAggEN + "; expressions: CASE, COALESCE, + - * // %, abs, year, quarter, month, day, isodow, bin"
	hintCondZH  = "条件可用：列或表达式与字面量或列的比较、BETWEEN、IN (…)、IS [NOT] NULL、AND、OR、NOT"
	hintCondEN  = "conditions may use: a column or expression compared with a literal or column, BETWEEN, IN (…), IS [NOT] NULL, AND, OR, NOT"
	hintExprZH  = "表达式可用：列、字面量、CASE、COALESCE、+ − * // %、abs、日期部分、bin"
	hintExprEN  = "expressions may use: columns, literals, CASE, COALESCE, + - * // %, abs, parts of dates, bin"
	hintSubZH   = "子查询可写：SELECT 列 FROM 数据集 WHERE 条件，或 SELECT 隐私单元列, 聚合 AS 名 FROM 数据集 GROUP BY 隐私单元列"
	hintSubEN   = "a sub-query may be: SELECT columns FROM data_set WHERE condition, or SELECT unit, aggregate AS name FROM data_set GROUP BY unit"
	hintUnionZH = "写作 (SELECT 列 FROM 甲 UNION ALL SELECT 相同的列 FROM 乙) AS v，条件写在外层"
	hintUnionEN = "write (SELECT columns FROM a UNION ALL SELECT the same columns FROM b) AS v, with the condition outside"
	hintJoinZH  = "写作 JOIN 公开表 ON 事实表.列 = 公开表.唯一键"
	hintJoinEN  = "write JOIN public_table ON fact.column = public_table.unique_key"
	hintNameZH  = "请在资源目录中查看可用的名称"
	hintNameEN  = "see the catalogue for the names you may use"
)

// wordings of every refusal of the core language, by code.
var wordings = map[string]wording{
	// The text as a whole.
	"EMPTY":               {"查询为空", "the query is empty", hintShapeZH, hintShapeEN},
	"TOO_LARGE":           {"查询过大：文本、表达式、嵌套或连接的数量超过上限", "the query is too large: text, expressions, nesting or joins exceed the limit", "上限：64 KiB 文本、2000 个表达式、100 层嵌套、10 个连接；请拆分条件或使用 BETWEEN", "limits: 64 KiB of text, 2000 expressions, 100 levels, 10 joins; split the condition or use BETWEEN"},
	"NOT_UTF8":            {"查询不是有效的 UTF-8 文本", "the query is not valid UTF-8", "请以 UTF-8 编码提交", "submit the text in UTF-8"},
	"CHARACTER":           {"此处有不可见字符、控制字符或全角空格", "there is an invisible, control or full-width space character here", "请改用普通半角空格和换行", "use ordinary spaces and line breaks"},
	"SYNTAX":              {"此处有语法错误", "syntax error here", "请检查关键字、括号，以及是否误用了全角标点", "check keywords, brackets, and full-width punctuation typed by mistake"},
	"MULTIPLE_STATEMENTS": {"一次只能提交一条语句", "only one statement may be submitted at a time", "请把每条语句作为单独的作业提交", "submit each statement as a job of its own"},
	"NOT_SELECT":          {"只接受 SELECT 语句", "only SELECT statements are accepted", hintShapeZH, hintShapeEN},
	"UNSUPPORTED":         {"此处的写法不在查询语言之内", "the construct here is not part of the query language", hintShapeZH, hintShapeEN},
	"ANALYSER":            {"无法理解解析器给出的语法树", "the parser's syntax tree was not understood", "请报告运营管理员", "report this to the administrator"},
	"SHOW":                {"不支持 SHOW、DESCRIBE 和 SUMMARIZE", "SHOW, DESCRIBE and SUMMARIZE are not supported", "表结构请查看资源目录", "the catalogue describes every table"},
	"PIVOT":               {"不支持 PIVOT 和 UNPIVOT：单元格的值会成为列名", "PIVOT and UNPIVOT are not supported: cell values would become column names", "请用 GROUP BY 分组，在结果上自行转置", "use GROUP BY and pivot the released result yourself"},
	"EXPLAIN":             {"不支持 EXPLAIN：执行计划会泄露数据统计", "EXPLAIN is not supported: a plan discloses statistics of the data", "请使用作业的解释功能", "use the explain mode of a job"},
	"VALUES":              {"不支持 VALUES 列表", "VALUES lists are not supported", hintShapeZH, hintShapeEN},
	"SAMPLE":              {"不支持抽样", "sampling is not supported", "请去掉 SAMPLE；贡献上限由系统施加", "drop SAMPLE; contributions are bounded by the system"},
	"DISTINCT":            {"此处不支持 DISTINCT", "DISTINCT is not supported here", "列出取值请用 GROUP BY；计数不同主体请用 COUNT(DISTINCT 隐私单元列)", "list values with GROUP BY; count distinct subjects with COUNT(DISTINCT unit column)"},
	"STAR":                {"不支持 *、COLUMNS 和 ALL：必须逐一写出列名", "*, COLUMNS and ALL are not supported: name every column", hintShapeZH, hintShapeEN},
	"RAW_ROWS":            {"不能返回原始行：查询必须含有聚合", "raw rows are never returned: the query needs an aggregate", hintShapeZH, hintShapeEN},
	"WHOLE_ROW":           {"不能把整行作为一个值：{name} 是表名", "a whole row is not a value: {name} is a table", "请写出具体的列名", "name the columns"},
	"NO_TABLE":            {"查询没有 FROM 子句", "the query has no FROM clause", hintShapeZH, hintShapeEN},

	// Names.
	"UNKNOWN_TABLE":    {"没有名为{name}的数据集，或未获授权", "there is no data set called {name}, or it is not granted to you", hintNameZH, hintNameEN},
	"UNKNOWN_COLUMN":   {"没有名为{name}的列，或未获授权", "there is no column called {name}, or it is not granted to you", hintNameZH, hintNameEN},
	"AMBIGUOUS_COLUMN": {"列名{name}在多个表中出现", "the column name {name} stands in several tables", "请写作 表别名.列名", "write table_alias.column"},
	"QUALIFIED_NAME":   {"不支持带库名、模式名的名称或结构字段", "names with a catalogue or schema and struct fields are not supported", "请只写 列名 或 表别名.列名", "write column or table_alias.column only"},
	"DUPLICATE_NAME":   {"同一名称{name}出现两次", "the name {name} is used twice", "请用 AS 给出不同的名称", "give different names with AS"},
	"NAME_TOO_LONG":    {"名称过长", "the name is too long", "名称最多 128 个字符", "a name has at most 128 characters"},
	"COLUMN_ALIAS":     {"不支持在 FROM 中给列改名", "columns cannot be renamed in FROM", "请在 SELECT 列表中用 AS", "use AS in the SELECT list"},

	// FROM.
	"TABLE_FUNCTION":      {"不支持表函数", "table functions are not supported", "FROM 之后只能写资源目录中的数据集", "FROM takes data sets of the catalogue only"},
	"JOIN_TYPE":           {"只支持 INNER JOIN 和 LEFT JOIN", "only INNER JOIN and LEFT JOIN are supported", hintJoinZH, hintJoinEN},
	"JOIN_CONDITION":      {"连接条件必须是一个列与列的等式", "a join condition must be one equality of two columns", hintJoinZH, hintJoinEN},
	"JOIN_NOT_UNIQUE_KEY": {"必须按公开表{name}的唯一键连接", "the join must use a unique key of the public table {name}", "资源目录写明了公开表的唯一键；此列未声明为唯一", "the catalogue names the table's unique keys; this column is not one"},
	"JOIN_TYPES":          {"连接两侧的列类型不同", "the columns on both sides of the join have different types", hintJoinZH, hintJoinEN},
	"TIME_TRAVEL":         {"不支持 AT 子句", "AT clauses are not supported", "快照由作业指定", "the job names the snapshot"},

	// Expressions.
	"WINDOW_IN_CORE":      {"不支持窗口函数和 QUALIFY", "window functions and QUALIFY are not supported", "请在发布结果上计算排名或累计", "compute ranks or running totals on the released result"},
	"AGGREGATE_IN_WHERE":  {"WHERE 中不能使用聚合", "WHERE cannot use aggregates", "对聚合结果的条件请写在 HAVING 中", "put conditions on aggregates into HAVING"},
	"COLLATE":             {"不支持 COLLATE", "COLLATE is not supported", "文本按字节比较", "text is compared by bytes"},
	"REGEX":               {"不支持正则表达式", "regular expressions are not supported", hintCondZH, hintCondEN},
	"LIKE":                {"不支持 LIKE、GLOB 等模式匹配", "LIKE, GLOB and other pattern matching are not supported", "请用 = 或 IN 列出取值，前缀可用 >= 与 <", "list the values with = or IN; a prefix can be written with >= and <"},
	"LAMBDA":              {"不支持 lambda 表达式", "lambda expressions are not supported", hintCondZH, hintCondEN},
	"DISTINCT_FROM":       {"不支持 IS [NOT] DISTINCT FROM 和 IS [NOT] TRUE/FALSE", "IS [NOT] DISTINCT FROM and IS [NOT] TRUE/FALSE are not supported", "请写 = 或 <>，需要时加 OR 列 IS NULL", "write = or <>, with OR column IS NULL where needed"},
	"NOT_BOOLEAN":         {"此处需要条件，而{name}不是布尔列", "a condition is needed here and {name} is not a boolean column", hintCondZH, hintCondEN},
	"LITERAL_TYPE":        {"字面量与列{name}的类型不符", "the literal does not fit the type of {name}", "整数和小数直接写数字，文本用单引号，日期写作 DATE 'yyyy-mm-dd'，布尔写 TRUE 或 FALSE", "write numbers plainly, text in single quotes, dates as DATE 'yyyy-mm-dd', booleans as TRUE or FALSE"},
	"COMPARE_TYPES":       {"比较的两侧类型不同", "the two sides of the comparison have different types", "只能比较类型和小数位数相同的列", "only columns of the same type and decimal places compare"},
	"NULL_COMPARISON":     {"与 NULL 的比较永远不成立", "a comparison with NULL is never true", "请写 IS NULL 或 IS NOT NULL", "write IS NULL or IS NOT NULL"},
	"CONSTANT_COMPARISON": {"比较的两侧都是字面量", "both sides of the comparison are literals", "请去掉此条件", "drop this condition"},
	"ORDER_EXPRESSION":    {"ORDER BY 只能写分组列、聚合或其别名", "ORDER BY takes keys, aggregates and their aliases only", "例如 ORDER BY 分组列, COUNT(*) DESC", "e.g. ORDER BY key, COUNT(*) DESC"},
	"LIMIT":               {"LIMIT 和 OFFSET 必须是非负整数", "LIMIT and OFFSET must be non-negative integers", "例如 LIMIT 10 OFFSET 20", "e.g. LIMIT 10 OFFSET 20"},

	// Sub-queries, WITH and partitions.
	"CTE":                 {"WITH 中的{name}写法不支持", "the table {name} of WITH is written in a way that is not supported", hintSubZH, hintSubEN},
	"CTE_RECURSIVE":       {"不支持递归的 WITH", "recursive WITH is not supported", hintSubZH, hintSubEN},
	"CTE_UNUSED":          {"WITH 中的{name}没有被使用", "the table {name} of WITH is not used", "请删去它", "drop it"},
	"SUBQUERY":            {"此处不支持子查询：只有 FROM 和 WITH 中可以写", "sub-queries are not supported here: only FROM and WITH take them", hintSubZH, hintSubEN},
	"SUBQUERY_SHAPE":      {"这种子查询不支持", "sub-queries of this kind are not supported", hintSubZH, hintSubEN},
	"SUBQUERY_EXPRESSION": {"不分组的子查询只能选列、写简单条件", "a sub-query without GROUP BY selects columns only, with a condition on columns", "请把表达式和聚合写在外层查询", "write expressions and aggregates in the outer query"},
	"SUBQUERY_HAVING":     {"子查询中不支持 HAVING", "HAVING is not supported in a sub-query", "请给聚合取名，在外层 WHERE 中比较", "name the aggregate and compare it in the outer WHERE"},
	"PER_UNIT":            {"子查询只能按一个数据集的隐私单元列分组", "a sub-query can only group one data set by its privacy unit column", hintSubZH, hintSubEN},
	"PER_UNIT_LIST":       {"按隐私单元分组的子查询只能选该列和聚合", "a sub-query grouped by the unit selects that column and aggregates only", hintSubZH, hintSubEN},
	"PER_UNIT_AGGREGATE":  {"按隐私单元分组的子查询中不支持{name}", "{name} is not supported in a sub-query grouped by the unit", "可用 COUNT、SUM、MIN、MAX；均值和离差请在外层计算", "use COUNT, SUM, MIN or MAX; means and deviations belong in the outer query"},
	"SET_OPERATION":       {"只支持在 FROM 中用 UNION ALL 合并同一张表的分区", "only UNION ALL of partitions of one table, in FROM, is supported", hintUnionZH, hintUnionEN},
	"UNION_PART":          {"UNION ALL 的每一支只能从一个含隐私单元的数据集中选列", "each part of UNION ALL selects columns of one data set with a privacy unit", hintUnionZH, hintUnionEN},
	"UNION_COLUMNS":       {"UNION ALL 的各支必须选相同的列，顺序和类型也相同：{name}不同", "the parts of UNION ALL must select the same columns in the same order and types: {name} differs", hintUnionZH, hintUnionEN},
	"PUBLIC_FACT":         {"公开表{name}只能被连接，不能作为第一个表", "the public table {name} can only be joined, it cannot come first", "请把含隐私单元的数据集写在 FROM 之后", "put the data set with a privacy unit first"},
	"UNIT_COLUMN":         {"隐私单元列{name}只能用于 COUNT(DISTINCT …)、按单元连接和按单元分组的子查询", "the privacy unit column {name} may only stand in COUNT(DISTINCT …), in joins on the unit and in sub-queries grouped by the unit", "主体数请写 COUNT(DISTINCT {name})", "count subjects with COUNT(DISTINCT {name})"},
	"JOIN_NOT_PUBLIC":     {"{name}不是公开表，只能以隐私单元列相等连接", "{name} is not public: it can only be joined by equality of the unit columns", "写作 ON a.单元列 = b.单元列；{name}须每个单元一行，否则请先在子查询中按单元汇总", "write ON a.unit = b.unit; {name} must have one row per unit, or be aggregated per unit in a sub-query first"},
	"JOIN_UNIT_CHAIN":     {"按单元连接必须与第一个表，或与它内连接的表相接", "a join on the unit must meet the first table or one joined to it by INNER JOIN", "请写 ON 第一个表.单元列 = 此表.单元列", "write ON first_table.unit = this_table.unit"},
	"JOIN_OUTER_WHERE":    {"LEFT JOIN 右侧的子查询不能带条件", "a sub-query on the right of LEFT JOIN cannot have a condition", "请改用 JOIN，或把条件写在按单元分组的子查询中", "use JOIN, or put the condition into a sub-query grouped by the unit"},

	// Parameters.
	"PARAMETER":       {"参数只能写作 ? 或 $1、$2……，值必须是文本", "parameters are written ? or $1, $2, … and their values are text", "请按顺序编号，不用名称", "number them in order; names are not supported"},
	"PARAMETER_COUNT": {"参数的个数与给出的值不符", "the number of parameters is not that of the values given", "每个 ? 或 $n 对应一个值", "give one value for each ? or $n"},

	// Aggregates and keys.
	"UNKNOWN_FUNCTION":   {"不支持函数{name}", "the function {name} is not supported", hintFuncZH, hintFuncEN},
	"RAW_VALUE":          {"函数{name}会返回某一行的原始值，不予支持", "the function {name} would return some row's raw value and is not supported", hintAggZH, hintAggEN},
	"AGGREGATE_ARGUMENT": {"此聚合的参数个数或类型不符", "the arguments of this aggregate have the wrong number or type", "SUM、AVG、方差和回归用于数值；MEDIAN、QUANTILE、MIN、MAX 也用于日期", "SUM, AVG, variances and regressions take numbers; MEDIAN, QUANTILE, MIN and MAX take dates too"},
	"AGGREGATE_NESTED":   {"聚合{name}不能嵌套在表达式或另一个聚合中", "the aggregate {name} cannot stand inside an expression or another aggregate", "请把聚合单独作为一列，在发布结果上计算", "select the aggregate by itself and compute on the released result"},
	"FILTER_CLAUSE":      {"此处不支持 FILTER、DISTINCT 或 ORDER BY", "FILTER, DISTINCT and ORDER BY are not supported here", "FILTER (WHERE 条件) 可用于聚合；ORDER BY 只用于 PERCENTILE_CONT(q) WITHIN GROUP", "aggregates take FILTER (WHERE condition); ORDER BY stands in PERCENTILE_CONT(q) WITHIN GROUP only"},
	"QUANTILE":           {"分位数必须是 0 到 1 之间、至多六位小数的一个字面量，按升序", "the quantile must be one literal from 0 to 1 with at most six decimals, in ascending order", "例如 QUANTILE_CONT(列, 0.9)，PERCENTILE_CONT(0.9) WITHIN GROUP (ORDER BY 列)", "e.g. QUANTILE_CONT(column, 0.9), PERCENTILE_CONT(0.9) WITHIN GROUP (ORDER BY column)"},
	"HISTOGRAM":          {"histogram(列) 必须是唯一的聚合", "histogram(column) must be the only aggregate", "写作 SELECT 分组列, histogram(列) … GROUP BY 分组列，或 SELECT bin(列), COUNT(*) …", "write SELECT keys, histogram(column) … GROUP BY keys, or SELECT bin(column), COUNT(*) …"},
	"NOT_A_KEY":          {"{name}既不在 GROUP BY 中，也不在聚合内", "{name} is neither in GROUP BY nor inside an aggregate", "请把它加入 GROUP BY，或用于聚合", "add it to GROUP BY or aggregate it"},
	"GROUP_EXPRESSION":   {"GROUP BY 只能写列和表达式，不能写聚合或条件", "GROUP BY takes columns and expressions, no aggregates or conditions", "按条件分组请写 CASE WHEN 条件 THEN … ELSE … END", "group by a condition as CASE WHEN condition THEN … ELSE … END"},
	"GROUPING_SETS":      {"分组集过多：最多 64 个", "too many grouping sets: the limit is 64", "请减少 CUBE 的列", "use fewer columns in CUBE"},
	"GROUPING_PLACE":     {"GROUPING 只能以分组列为参数，写在 SELECT 列表中", "GROUPING takes keys and stands in the SELECT list only", "例如 SELECT 区, GROUPING(区) …", "e.g. SELECT district, GROUPING(district) …"},
	"POSITIONAL":         {"没有这个序号的列", "there is no column of that position", "请写出列名、别名，或 SELECT 列表中的序号", "write the column's name, its alias or its place in the SELECT list"},

	// Expressions.
	"EXPRESSION":         {"此处必须是列、表达式或字面量", "a column, an expression or a literal is needed here", hintExprZH, hintExprEN},
	"EXPRESSION_TYPES":   {"表达式的各部分类型不符", "the parts of the expression have types that do not fit", "CASE 和 COALESCE 的各支须同类型；算术用于数值，日期可加减天数", "branches of CASE and COALESCE share one type; arithmetic takes numbers, and dates plus or minus days"},
	"EXPRESSION_UNTYPED": {"表达式只有 NULL 或参数，没有类型", "the expression has only NULL or parameters and so no type", "请至少写一个列或字面量", "write at least one column or literal"},
	"EXPRESSION_SCALE":   {"乘积的小数位超过九位", "the product has more than nine decimal places", "请减少小数位", "use fewer decimal places"},
	"LITERAL_RANGE":      {"表达式中的数字过大：最多九位", "the number is too large for an expression: nine digits at most", "大数只能在条件中与列比较", "compare large numbers with a column in a condition"},
	"ARGUMENTS":          {"函数{name}的参数个数不对", "the function {name} has the wrong number of arguments", hintExprZH, hintExprEN},
	"DATE_PART":          {"日期部分只能是日期列的 year、quarter、month、day、isodow", "the part of a date is year, quarter, month, day or isodow of a date column", "例如 EXTRACT(year FROM 日期列)", "e.g. EXTRACT(year FROM date_column)"},
	"BIN":                {"bin 的参数必须是一个数值或日期列", "bin takes one numeric or date column", "分段由来源部门登记：bin(列) 给出所在段的下限", "the source department registers the bins: bin(column) gives the lower edge"},
	"DIVISION":           {"// 和 % 只用于整数除以正整数字面量", "// and % take a whole number and a positive whole-number literal", "例如 年龄 // 10 * 10；比值请在发布结果上计算", "e.g. age // 10 * 10; compute ratios on the released result"},
	"ARITHMETIC":         {"不支持此运算符", "this operator is not supported", "可用 + − * // %；除法和拼接请在发布结果上计算", "use + - * // %; divide and concatenate on the released result"},
	"INTERVAL":           {"不支持 INTERVAL", "INTERVAL is not supported", "日期可加减天数：日期列 + 3", "add or subtract days: date_column + 3"},
	"CAST":               {"不支持类型转换：转换失败的错误会泄露原始值", "casts are not supported: their errors disclose raw values", "请用与列类型相同的字面量；日期写作 DATE 'yyyy-mm-dd'，加减天数写作 日期列 + 3", "use literals of the column's type; write dates as DATE 'yyyy-mm-dd' and days as date_column + 3"},
}
