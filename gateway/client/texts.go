package client

import "github.com/sandgate/sandgate/internal/bilingual"

// texts are the errors of a client in Chinese.
var texts = bilingual.Book{
	"failed to read model: %w":                                                           "读取模型失败：%w",
	"no gateway address: the kit names none; pass --hub HOST:PORT":                       "没有汇聚方地址：密钥包中未写；请用 --hub HOST:PORT",
	"no gateway address: the kit names none; pass --server HOST:PORT":                    "没有网关地址：密钥包中未写；请用 --server HOST:PORT",
	"failed to dial gateway: %w":                                                         "连接网关失败：%w",
	"failed to read job: %w":                                                             "读取作业失败：%w",
	"failed to read release: %w":                                                         "读取发布结果失败：%w",
	"the gateway ended the stream without a snapshot":                                    "网关结束了传输而没有给出快照",
	"failed to encrypt rows: %w":                                                         "加密各行失败：%w",
	"failed to decrypt scores: %w":                                                       "解密分值失败：%w",
	"the gateway describes a model of more inputs or outputs than encrypted scores take": "网关所述模型的输入或输出多于加密打分所能容纳",
	"the gateway's answer has more outputs than the model":                               "网关答复的输出多于模型",
	"failed to read the file: %w":                                                        "读取文件失败：%w",
	"the kit names no ledger, so its requests cannot be signed for one: write \"origin\" as trust.json has it into its party.json": "密钥包没有写明账本，无法为其签署请求：请把 trust.json 中的 origin 写入其 party.json",
	"the file holds no agreement %q":                                                                      "文件中没有名为“%s”的跨域协议",
	"the agreement names no regulator whose signature the answer needs":                                   "协议没有列出须由其签名的主管部门",
	"the answer is not signed by %q, the regulator of the agreement":                                      "结果没有协议所列主管部门“%s”的有效签名",
	"what the regulator signed is no answer of a round":                                                   "主管部门所签的不是一轮的结果",
	"what the regulator signed is the answer of another request":                                          "主管部门所签的是另一请求的结果",
	"the table is not the one that the regulator signed: the gateway, or somebody on the way, changed it": "表格与主管部门所签的不同：网关或途中有人改动",
	"the note on units that are counted twice is not the one of the signed answer":                        "关于重复计数的说明与所签结果的不同",
	"failed to keep what opens the request: %w":                                                           "保存请求的开启值失败：%w",
}
