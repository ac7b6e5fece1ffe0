package analyse

const (
	hintShapeZH = "允许的形式：SELECT 分组列, COUNT(*) FROM 数据集 WHERE 条件 GROUP BY 分组列"
	hintShapeEN = "allowed: SELECT keys, COUNT(*) FROM data_set WHERE condition GROUP BY keys"
	hintAggZH   = "可用的聚合：COUNT(*)、COUNT(列)、COUNT(DISTINCT 隐私单元列)、SUM(列)、AVG(列)"
	hintAggEN   = "use COUNT(*), COUNT(column), COUNT(DISTINCT unit column), SUM(column) or AVG(column)"
	hintCondZH  = "条件可用：列与字面量或列的比较、BETWEEN、IN (…)、IS [NOT] NULL、AND、OR、NOT"
	hintCondEN  = "conditions may use: column compared with a literal or column, BETWEEN, IN (…), IS [NOT] NULL, AND, OR, NOT"
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
	"CTE":                 {"不支持 WITH 子句", "WITH clauses are not supported", hintShapeZH, hintShapeEN},
	"SET_OPERATION":       {"不支持 UNION、INTERSECT 和 EXCEPT", "UNION, INTERSECT and EXCEPT are not supported", "请分别提交各个查询，在结果上合并", "submit the queries separately and combine the released results"},
	"SUBQUERY":            {"不支持子查询", "sub-queries are not supported", hintShapeZH, hintShapeEN},
	"VALUES":              {"不支持 VALUES 列表", "VALUES lists are not supported", hintShapeZH, hintShapeEN},
	"PARAMETER":           {"不支持参数占位符", "parameter placeholders are not supported", "请直接写出字面量", "write the literal itself"},
	"SAMPLE":              {"不支持抽样", "sampling is not supported", "请去掉 SAMPLE；贡献上限由系统施加", "drop SAMPLE; contributions are bounded by the system"},
	"DISTINCT":            {"此处不支持 DISTINCT", "DISTINCT is not supported here", "列出取值请用 GROUP BY；计数不同主体请用 COUNT(DISTINCT 隐私单元列)", "list values with GROUP BY; count distinct subjects with COUNT(DISTINCT unit column)"},
	"STAR":                {"不支持 *、COLUMNS 和 ALL：必须逐一写出列名", "*, COLUMNS and ALL are not supported: name every column", hintShapeZH, hintShapeEN},
	"RAW_ROWS":            {"不能返回原始行：查询必须含有聚合", "raw rows are never returned: the query needs an aggregate", hintShapeZH, hintShapeEN},
	"WHOLE_ROW":           {"不能把整行作为一个值：{name} 是表名", "a whole row is not a value: {name} is a table", "请写出具体的列名", "name the columns"},
	"POSITIONAL":          {"不支持按序号引用列", "columns cannot be referred to by position", "请写出列名或别名", "write the column's name or alias"},
	"NO_TABLE":            {"查询没有 FROM 子句", "the query has no FROM clause", hintShapeZH, hintShapeEN},

	// Names.
	"UNKNOWN_TABLE":    {"没有名为{name}的数据集，或未获授权", "there is no data set called {name}, or it is not granted to you", hintNameZH, hintNameEN},
	"UNKNOWN_COLUMN":   {"没有名为{name}的列，或未获授权", "there is no column called {name}, or it is not granted to you", hintNameZH, hintNameEN},
	"AMBIGUOUS_COLUMN": {"列名{name}在多个表中出现", "the column name {name} stands in several tables", "请写作 表别名.列名", "write table_alias.column"},
	"QUALIFIED_NAME":   {"不支持带库名、模式名的名称或结构字段", "names with a catalogue or schema and struct fields are not supported", "请只写 列名 或 表别名.列名", "write column or table_alias.column only"},
	"DUPLICATE_NAME":   {"同一名称{name}出现两次", "the name {name} is used twice", "请用 AS 给出不同的名称", "give different names with AS"},
	"NAME_TOO_LONG":    {"名称过长", "the name is too long", "名称最多 128 个字符", "a name has at most 128 characters"},
	"UNIT_COLUMN":      {"隐私单元列{name}只能用于 COUNT(DISTINCT …)", "the privacy unit column {name} may only stand in COUNT(DISTINCT …)", "主体数请写 COUNT(DISTINCT {name})", "count subjects with COUNT(DISTINCT {name})"},
	"COLUMN_ALIAS":     {"不支持在 FROM 中给列改名", "columns cannot be renamed in FROM", "请在 SELECT 列表中用 AS", "use AS in the SELECT list"},

	// FROM.
	"TABLE_FUNCTION":      {"不支持表函数", "table functions are not supported", "FROM 之后只能写资源目录中的数据集", "FROM takes data sets of the catalogue only"},
	"PUBLIC_FACT":         {"公开表{name}只能被连接，不能作为第一个表", "the public table {name} can only be joined, it cannot come first", "请把含隐私单元的数据集写在 FROM 之后", "put the data set with a privacy unit first"},
	"JOIN_TYPE":           {"只支持 INNER JOIN 和 LEFT JOIN", "only INNER JOIN and LEFT JOIN are supported", hintJoinZH, hintJoinEN},
	"JOIN_CONDITION":      {"连接条件必须是一个列与列的等式", "a join condition must be one equality of two columns", hintJoinZH, hintJoinEN},
	"JOIN_NOT_PUBLIC":     {"只能连接公开表，{name}不是公开表", "only public tables can be joined and {name} is not public", "请分别查询，或请来源部门提供公开维表", "query them separately, or ask the source department for a public dimension table"},
	"JOIN_NOT_UNIQUE_KEY": {"必须按公开表{name}的唯一键连接", "the join must use a unique key of the public table {name}", "资源目录写明了公开表的唯一键；此列未声明为唯一", "the catalogue names the table's unique keys; this column is not one"},
	"JOIN_TYPES":          {"连接两侧的列类型不同", "the columns on both sides of the join have different types", hintJoinZH, hintJoinEN},
	"TIME_TRAVEL":         {"不支持 AT 子句", "AT clauses are not supported", "快照由作业指定", "the job names the snapshot"},

	// Expressions.
	"WINDOW_IN_CORE":      {"不支持窗口函数和 QUALIFY", "window functions and QUALIFY are not supported", "请在发布结果上计算排名或累计", "compute ranks or running totals on the released result"},
	"UNKNOWN_FUNCTION":    {"不支持函数{name}", "the function {name} is not supported", hintAggZH, hintAggEN},
	"MIN_MAX":             {"函数{name}会返回某一行的原始值，不予支持", "the function {name} would return some row's raw value and is not supported", hintAggZH, hintAggEN},
	"AGGREGATE_ARGUMENT":  {"此聚合的参数必须是一个合适类型的列", "the argument of this aggregate must be one column of a suitable type", "SUM 和 AVG 用于整数或小数列；" + hintAggZH, "SUM and AVG take integer or decimal columns; " + hintAggEN},
	"AGGREGATE_IN_WHERE":  {"WHERE 中不能使用聚合", "WHERE cannot use aggregates", "对聚合结果的条件请写在 HAVING 中", "put conditions on aggregates into HAVING"},
	"FILTER_CLAUSE":       {"不支持聚合的 FILTER 或 ORDER BY 子句", "FILTER and ORDER BY inside an aggregate are not supported", "请把条件写在 WHERE 中，分别提交查询", "put the condition into WHERE, one query each"},
	"NOT_A_KEY":           {"列{name}既不在 GROUP BY 中，也不在聚合内", "the column {name} is neither in GROUP BY nor inside an aggregate", "请把它加入 GROUP BY，或用于聚合", "add it to GROUP BY or aggregate it"},
	"GROUP_EXPRESSION":    {"GROUP BY 只能写列名", "GROUP BY takes column names only", hintShapeZH, hintShapeEN},
	"GROUPING_SETS":       {"不支持 GROUPING SETS、ROLLUP 和 CUBE", "GROUPING SETS, ROLLUP and CUBE are not supported", "请为每一层汇总分别提交查询", "submit one query per level of totals"},
	"CAST":                {"不支持类型转换：转换失败的错误会泄露原始值", "casts are not supported: their errors disclose raw values", "请用与列类型相同的字面量比较，日期写作 DATE 'yyyy-mm-dd'", "compare with a literal of the column's type; write dates as DATE 'yyyy-mm-dd'"},
	"COLLATE":             {"不支持 COLLATE", "COLLATE is not supported", "文本按字节比较", "text is compared by bytes"},
	"CASE":                {"不支持 CASE 和 IF", "CASE and IF are not supported", "请把条件写在 WHERE 中，或按列分组", "put the condition into WHERE, or group by the column"},
	"ARITHMETIC":          {"不支持算术和拼接运算", "arithmetic and concatenation are not supported", "请在发布结果上计算；均值请用 AVG", "compute on the released result; use AVG for means"},
	"REGEX":               {"不支持正则表达式", "regular expressions are not supported", hintCondZH, hintCondEN},
	"LIKE":                {"不支持 LIKE、GLOB 等模式匹配", "LIKE, GLOB and other pattern matching are not supported", "请用 = 或 IN 列出取值，前缀可用 >= 与 <", "list the values with = or IN; a prefix can be written with >= and <"},
	"LAMBDA":              {"不支持 lambda 表达式", "lambda expressions are not supported", hintCondZH, hintCondEN},
	"DISTINCT_FROM":       {"不支持 IS [NOT] DISTINCT FROM 和 IS [NOT] TRUE/FALSE", "IS [NOT] DISTINCT FROM and IS [NOT] TRUE/FALSE are not supported", "请写 = 或 <>，需要时加 OR 列 IS NULL", "write = or <>, with OR column IS NULL where needed"},
	"EXPRESSION":          {"此处必须是列、聚合或字面量", "a column, an aggregate or a literal is needed here", hintCondZH, hintCondEN},
	"NOT_BOOLEAN":         {"此处需要条件，而{name}不是布尔列", "a condition is needed here and {name} is not a boolean column", hintCondZH, hintCondEN},
	"LITERAL_TYPE":        {"字面量与列{name}的类型不符", "the literal does not fit the type of {name}", "整数和小数直接写数字，文本用单引号，日期写作 DATE 'yyyy-mm-dd'，布尔写 TRUE 或 FALSE", "write numbers plainly, text in single quotes, dates as DATE 'yyyy-mm-dd', booleans as TRUE or FALSE"},
	"COMPARE_TYPES":       {"比较的两侧类型不同", "the two sides of the comparison have different types", "只能比较类型和小数位数相同的列", "only columns of the same type and decimal places compare"},
	"NULL_COMPARISON":     {"与 NULL 的比较永远不成立", "a comparison with NULL is never true", "请写 IS NULL 或 IS NOT NULL", "write IS NULL or IS NOT NULL"},
	"CONSTANT_COMPARISON": {"比较的两侧都是字面量", "both sides of the comparison are literals", "请去掉此条件", "drop this condition"},
	"ORDER_EXPRESSION":    {"ORDER BY 只能写分组列、聚合或其别名", "ORDER BY takes keys, aggregates and their aliases only", "例如 ORDER BY 分组列, COUNT(*) DESC", "e.g. ORDER BY key, COUNT(*) DESC"},
	"LIMIT":               {"LIMIT 和 OFFSET 必须是非负整数", "LIMIT and OFFSET must be non-negative integers", "例如 LIMIT 10 OFFSET 20", "e.g. LIMIT 10 OFFSET 20"},
}
