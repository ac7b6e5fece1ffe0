package main

import (
	"log/slog"
	"strings"
)

// logWords are the messages of the gateway's log in Chinese. The English stays beside
// them: it is what rules of log collectors match.
var logWords = map[string]string{
	"state snapshot refused": "状态快照未被采用",
	"state snapshot failed":  "写状态快照失败",
	"state snapshot made":    "已写状态快照",
	"noting duties failed":   "登记到期事项失败",
	"swap is in use: memory that holds decrypted snapshots can reach a disk; turn swap off, encrypt it or set MemorySwapMax=0": "正在使用交换分区：存有解密快照的内存可能写到磁盘；请关闭或加密交换分区，或设 MemorySwapMax=0",
	"ticks are off: how long an answer takes depends on the data":                                                              "刻度已关闭：答复用时取决于数据",
	"heartbeat failed":  "账本心跳失败",
	"access log failed": "写访问日志失败",
	"exact mode is closed for a data set: the record of an earlier release is missing or damaged": "数据集的精确模式已关闭：先前发布的记录缺失或损坏",
	"workers cannot be started":            "工作进程无法启动",
	"execution gave no release":            "作业没有发布结果",
	"old snapshots could not be deleted":   "旧快照未能删除",
	"job decided":                          "作业已裁决",
	"stored release is missing or damaged": "所存发布结果缺失或损坏",
	"a destroyed snapshot's key is not yet erased: repeat the command or restart the gateway": "已销毁快照的密钥尚未清除：请重复该命令或重启网关",
	"module taken in":                                  "模块已收存",
	"rehearsal gave no answer":                         "演练没有结果",
	"old synthetic snapshots could not be deleted":     "旧合成快照未能删除",
	"the parameters of a model are damaged":            "模型的参数文件损坏",
	"model let in":                                     "模型已受理",
	"model gave no certificate":                        "模型没有合格证",
	"an open model could not be ended":                 "未完成的模型未能终止",
	"model stopped":                                    "模型已停止",
	"the report of a model is missing or damaged":      "模型的检验报告缺失或损坏",
	"the parameters of a model are missing or damaged": "模型的参数文件缺失或损坏",
	"twin let in":                                      "孪生已受理",
	"twin was not published":                           "孪生没有发布",
	"twin stopped":                                     "孪生已停止",
	"an open twin could not be ended":                  "未完成的孪生未能终止",
	"relations let in":                                 "跨表关系已受理",
	"relations were not published":                     "跨表关系没有发布",
	"relations stopped":                                "跨表关系已停止",
	"open relations could not be ended":                "未完成的跨表关系未能终止",
	"the document of relations is missing or damaged: restore the directory models of the home from backup": "跨表关系的文件缺失或损坏：请从备份恢复主目录下的 models 目录",
	"what is kept of a twin is missing: restore the directory models of the home from backup":               "所存孪生文件缺失：请从备份恢复主目录下的 models 目录",
	"the document of a twin is missing or damaged: restore the directory models of the home from backup":    "孪生文件缺失或损坏：请从备份恢复主目录下的 models 目录",
	"what is kept of a model is missing: restore the directory models of the home from backup":              "所存模型文件缺失：请从备份恢复主目录下的 models 目录",
	"sweep of uncommitted releases failed":     "清理未提交的发布结果失败",
	"token keys of before could not be erased": "以往的令牌密钥未能清除",
	"the log key that was announced is not in the keyring; the one before stays in force until another is announced": "已公告的账本密钥不在密钥环中；在公告另一把之前，原密钥继续有效",
	"the log key that was announced is not in force yet: repeat sandgate key rotate log":                             "已公告的账本密钥尚未生效：请重复 sandgate key rotate log",
	"panic":       "内部错误（已拦截）",
	"job stopped": "作业已停止",
	"a standing order could not be carried out":      "持续有效的命令未能执行",
	"jobs that may run no longer could not be ended": "不得继续运行的作业未能终止",
	"training begun":                                         "跨域训练已开始",
	"pass proposed":                                          "跨域训练的一遍已提出",
	"training ended":                                         "跨域训练已结束",
	"model certified":                                        "跨域模型合格",
	"model tried by its domains":                             "跨域模型由各域检验",
	"a training could not go on yet":                         "跨域训练暂不能继续",
	"the end of a training could not be entered":             "跨域训练的结束未能入账",
	"the stored sums of a training are missing or damaged":   "所存跨域训练的和缺失或损坏",
	"the sums of a training could not be removed":            "跨域训练的和未能清除",
	"the stored model of a training is missing or damaged":   "所存跨域模型缺失或损坏",
	"a model that was not certified could not be removed":    "未签发合格证的模型未能清除",
	"the round of a training had ended at the hub":           "跨域训练的一轮在汇聚方已结束",
	"round proposed":                                         "跨域轮次已提出",
	"round released":                                         "跨域轮次已发布",
	"the answer of a round could not be kept":                "跨域轮次的答复未能保存",
	"the end of a round could not be entered":                "跨域轮次的结束未能入账",
	"the answer of a round that failed could not be removed": "失败轮次的答复未能清除",
	"a cancelled round had ended at the hub":                 "已取消的轮次在汇聚方已结束",
	"the stored answer of a round is missing or damaged":     "所存跨域轮次的答复缺失或损坏",
	"verification gave no answer":                            "核验没有答复",
	"witnesses answer again":                                 "见证方恢复答复",
	"witnesses":                                              "见证方",
	"a message was dropped":                                  "一条消息已丢弃",
	"an event of a round was dropped":                        "轮次的一个事件已丢弃",
	"a trial was dropped: too many run":                      "受检请求过多，一项已丢弃",
	"a proposal was dropped: too many rounds run":            "提案过多，一项已丢弃",
	"a trial was not answered":                               "受检请求未能答复",
	"the round failed":                                       "轮次作废",
	"the round is done":                                      "轮次已完成",
}

// logOptions write a log's messages in Chinese first, unless the reader asked for
// English.
func (a *app) logOptions(level slog.Level) *slog.HandlerOptions {
	o := &slog.HandlerOptions{Level: level}
	if a.lang != "en" {
		o.ReplaceAttr = func(groups []string, x slog.Attr) slog.Attr {
			if len(groups) > 0 || x.Key != slog.MessageKey {
				return x
			}
			en := x.Value.String()
			word, _, _ := strings.Cut(en, ": ")
			for _, key := range []string{en, word} {
				if zh, ok := logWords[key]; ok {
					return slog.String(slog.MessageKey, zh+" · "+en)
				}
			}
			return x
		}
	}
	return o
}
