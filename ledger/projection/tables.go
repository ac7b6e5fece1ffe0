// Package projection spreads a verified ledger out into tables for search 账本检索:
// one row per entry, job, charge, reason, signed document, snapshot and duty. A
// projection holds nothing that the ledger does not, is never authoritative, and can
// be dropped and made again at any time; its table meta says of which tree it is.
package projection

// Type of a column. Cells are text, nil for NULL; a Type says how they are read.
type Type int

// Types of columns.
const (
	Text    Type = iota
	Integer      // 64-bit, decimal
	Instant      // Unix milliseconds, decimal
	Truth        // "true" or "false"
)

// SQL returns the engine's type.
func (t Type) SQL() string {
	return [...]string{"VARCHAR", "BIGINT", "TIMESTAMP_MS", "BOOLEAN"}[t]
}

// Column of a table.
type Column struct {
	Name string
	Type Type
}

// Table is the shape of one table. ZH and EN say what a row is.
type Table struct {
	Name    string
	Columns []Column
	ZH, EN  string
}

// Indexes into Tables.
const (
	tableMeta = iota
	tableEntries
	tableJobs
	tableJobDatasets
	tableCharges
	tableSpending
	tableReasons
	tableDocuments
	tableSigners
	tableSnapshots
	tableDuties
	tableVerifications
	tableModels
	tableModelFigures
)

// Tables lists every table of a projection. Amounts of privacy budget are integer
// nano-ρ, amounts of the scope "information" are thousandths of a bit.
var Tables = []Table{
	tableMeta: {"meta", []Column{{"origin", Text}, {"entries", Integer}, {"root", Text}, {"audited", Truth}},
		"账本名称、已由检查点覆盖的记录数与根", "the log, its entries under the checkpoint and their root"},
	tableEntries: {"entries", []Column{{"seq", Integer}, {"time", Instant}, {"kind", Text}, {"actor", Text}, {"body", Text}},
		"每条记录，body 为规范 JSON", "every entry; body is its canonical JSON"},
	tableJobs: {"jobs", []Column{{"job", Text}, {"operator", Text}, {"request_id", Text}, {"licence", Text}, {"purpose", Text}, {"product", Text},
		{"mode", Text}, {"phase", Text}, {"seq", Integer}, {"time", Instant}, {"finish_seq", Integer}, {"finish_at", Instant}, {"repeat_of", Text},
		{"fail_code", Text}, {"fail_rule", Text}, {"stopped_by", Text}, {"price", Integer}, {"release_digest", Text}, {"rows", Integer}, {"bytes", Integer}},
		"每个作业及其结局", "every job and how it ended"},
	tableJobDatasets: {"job_datasets", []Column{{"job", Text}, {"dataset", Text}, {"snapshot", Text}},
		"作业读取的数据集与快照", "the data sets a job names, and the snapshots it read"},
	tableCharges: {"charges", []Column{{"job", Text}, {"scope", Text}, {"dataset", Text}, {"operator", Text}, {"year", Integer}, {"amount", Integer}, {"cap", Integer}},
		"作业在各预算范围的扣减", "what a job was charged in each scope"},
	tableSpending: {"spending", []Column{{"scope", Text}, {"dataset", Text}, {"operator", Text}, {"year", Integer}, {"spent", Integer}},
		"各预算范围重算已用", "what was spent in each scope, recomputed"},
	tableReasons: {"reasons", []Column{{"job", Text}, {"seq", Integer}, {"time", Instant}, {"operator", Text}, {"code", Text}, {"rule", Text}, {"set_by", Text}, {"zh", Text}, {"en", Text}},
		"每个拒绝理由", "every reason of a refusal"},
	tableDocuments: {"documents", []Column{{"seq", Integer}, {"time", Instant}, {"applied_by", Text}, {"number", Integer}, {"kind", Text}, {"text", Text}},
		"每份签名文件，text 为其 YAML 原文", "every signed document; text is the YAML that was signed"},
	tableSigners: {"signers", []Column{{"seq", Integer}, {"party", Text}},
		"签名文件的签名方", "who signed a bundle of documents"},
	tableSnapshots: {"snapshots", []Column{{"seq", Integer}, {"time", Instant}, {"dataset", Text}, {"snapshot", Text}, {"destroyed_seq", Integer}, {"destroyed_at", Instant}},
		"每个快照及其销毁", "every snapshot, and its destruction"},
	tableDuties: {"duties", []Column{{"seq", Integer}, {"time", Instant}, {"duty", Text}, {"phase", Text}, {"owes", Text}},
		"期限提醒、逾期与升级", "reminders, missed deadlines and escalations"},
	tableVerifications: {"verifications", []Column{{"verification", Text}, {"operator", Text}, {"request_id", Text}, {"licence", Text}, {"purpose", Text}, {"product", Text},
		{"phase", Text}, {"ground", Text}, {"repeat", Truth}, {"seq", Integer}, {"time", Instant}, {"finish_seq", Integer}},
		"每次核验；答案与主体只有承诺值", "every verification; subject and answer stand as commitments only"},
	tableModels: {"models", []Column{{"model", Text}, {"operator", Text}, {"request_id", Text}, {"licence", Text}, {"purpose", Text}, {"product", Text},
		{"phase", Text}, {"verdict", Text}, {"snapshot", Text}, {"price", Integer}, {"seq", Integer}, {"time", Instant}, {"finish_seq", Integer}, {"finish_at", Instant},
		{"fail_code", Text}, {"fail_rule", Text}, {"parameters_digest", Text}, {"rows_scored", Integer}},
		"每个模型作业、检验结论与打分行数", "every model job, the gate's verdict, and the rows scored"},
	tableModelFigures: {"model_figures", []Column{{"model", Text}, {"attack", Text}, {"value", Integer}, {"low", Integer}, {"high", Integer}, {"bound", Integer}, {"held", Text}, {"pass", Truth}},
		"合格证的各项攻击结果（百万分之一）", "what each attack found, in millionths"},
}
