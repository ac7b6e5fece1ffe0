package policies

import "github.com/sandgate/sandgate/internal/bilingual"

// federationTexts are the errors of federation documents in Chinese.
var federationTexts = bilingual.Book{
	"signature of the regulator %q is missing: there is no data set %q here whose department could sign": "缺少主管部门“%s”的签名：此处没有数据集“%s”，无数源部门可签",
	"federation %q: %w":                             "跨域协议“%s”：%w",
	"there are %d federations; no more can be kept": "已有 %d 份跨域协议，不能再多",
	"hub: %w": "hub：%w",
	"party %q has another key in federation %q: a party signs with one":                                      "参与方“%s”在跨域协议“%s”中是另一把公钥：一方只用一把",
	"receiver %q has another key in the registry: whom orders on that name are to stop must be one party":    "接收方“%s”的公钥与登记表中的不同：对此名称的决定须能止住同一方",
	"federation %q is an agreement of %q, whose signature is missing: take another region, or sign together": "跨域协议“%s”由“%s”签署，缺其签名：请换一个 region，或共同签署",
	"a federation names at most %d periods":                                                                  "跨域协议至多列 %d 个期次",
	"period %q is neither a year (2026) nor a month (2026-10)":                                               "期次“%s”须为年（2026）或月（2026-10）",
	"unknown scheme %q; known: bgv, mask":                                                                    "未知方案“%s”；已知：bgv、mask",
	"schemes, purposes and columns must not be empty: what is not named is refused":                          "schemes、purposes、columns 不得为空：未写明的一律拒绝",
	"purpose %q is not registered":                                                                           "用途“%s”未登记",
	"a federation names at most %d parties":                                                                  "跨域协议至多列 %d 方",
	"parties %q and %q have the same key: whoever holds it could speak as either":                            "“%s”与“%s”公钥相同：持有者可冒充任一方",
	"party %q has no role": "参与方“%s”没有角色",
	"party %q: unknown role %q; known: contributor, key, regulator, receiver":                                 "参与方“%s”：未知角色“%s”；已知：contributor、key、regulator、receiver",
	"the regulator %q neither contributes nor holds a department's share":                                     "主管部门“%s”不得兼为参与方或密钥部门",
	"exactly one party is the regulator":                                                                      "须恰有一方为主管部门（regulator）",
	"no party is a receiver":                                                                                  "没有接收方（receiver）",
	"1 to %d parties hold a key, and the threshold lies between 1 and their number":                           "密钥部门须 1 至 %d 个，门限在 1 与其个数之间",
	"k is at least %d and at most the number of contributors, of which there are at most %d":                  "k 至少 %d，至多为参与方个数；参与方至多 %d 个",
	"dishonest lies between 0 and the threshold":                                                              "dishonest 在 0 与门限之间",
	"max_units lies in 1…2^40 and overlap in 1…%d":                                                            "max_units 须在 1…2^40，overlap 在 1…%d",
	"models.families: %q is no family that is trained over domains, or stands twice; known: linear, logistic": "models.families：“%s”不是可以跨域训练的模型族，或写了两次；可用：linear、logistic",
	"models.rho is a positive decimal number and at most rho.period":                                          "models.rho 须为正的十进制数，且不超过 rho.period",
	"rho.round and rho.period are positive decimal numbers, and the period's is no less than the round's":     "rho.round 与 rho.period 须为正的十进制数，且期次的不小于每轮的",
}
