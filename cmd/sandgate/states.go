package main

// stateNames are the codes of states in Chinese. A code that means the same of two
// things is named once; one that is missing here is shown as it is.
var stateNames = map[string]string{
	// jobs and verifications
	"RUNNING": "运行中", "SUCCEEDED": "已完成", "REFUSED": "已拒绝", "FAILED": "失败", "QUEUED": "排队中", "WAITING_FOR_WITNESSES": "等待见证", "ANSWERED": "已答复", "RELEASED": "已发布",
	// models
	"CERTIFIED": "已检验", "parameters": "导出参数", "scores": "只提供打分",
	// twins
	"PUBLISHED": "已发布",
	// registrations
	"valid": "有效", "expired": "已到期", "cancelled": "已注销",
	// applications, changes, objections, corrections
	"filed": "已提交", "returned": "退回补正", "accepted": "已受理", "reviewing": "审查中", "approved": "已同意", "refused": "不予同意", "granted": "已授予", "withdrawn": "已撤回",
	"open": "办理中", "followed": "已跟进", "reviewed": "已审查", "ruled": "已处理", "answered": "已答复", "disputed": "有争议", "settled": "已裁定",
	// duties
	"remind": "即将到期", "overdue": "已逾期", "escalated": "已逾期并升级", "undated": "无法计算期限",
	// orders
	"notice": "提示", "rectify": "责令整改", "suspend": "暂停", "resume": "恢复", "end": "终止",
	// outcomes
	"withdraw": "不再使用", "process": "处理后恢复", "corrected": "已更正", "unfounded": "无误",
	// alerts
	"info": "一般", "warning": "注意", "serious": "严重",
}

// state names a code in the reader's language. A program, and whoever reads English,
// is given the code.
func (a *app) state(code string) string {
	if zh, ok := stateNames[code]; ok && a.format == "table" && a.lang != "en" {
		return zh
	}
	return code
}
