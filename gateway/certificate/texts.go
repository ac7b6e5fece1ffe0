package certificate

import "github.com/sandgate/sandgate/internal/bilingual"

// texts are what is wrong with certificates in Chinese.
var texts = bilingual.Book{
	"certificate version %d is unknown; this reader knows %d":                                                             "不认识第 %d 版的合格证；本程序支持第 %d 版",
	"the report is not the one that the certificate names":                                                                "检验报告与合格证所记散列不符",
	"the evaluation is not the one that the certificate names":                                                            "评估与合格证所记散列不符",
	"the certificate is too large":                                                                                        "合格证过大",
	"failed to read certificate: %w":                                                                                      "读取合格证失败：%w",
	"failed to read certificate: not an envelope of this kind of certificate":                                             "读取合格证失败：不是这一种合格证的签名文件",
	"failed to encode certificate: %w":                                                                                    "编码合格证失败：%w",
	"failed to read certificate: its signature is none":                                                                   "读取合格证失败：签名无法读取",
	"the certificate is not signed by the gateway":                                                                        "合格证不是由网关签名的",
	"the twin is not the one that the certificate names":                                                                  "孪生与合格证所记散列不符",
	"the certificate says other things of the twin than its document does":                                                "合格证与孪生文件所述不一致",
	"the ledger's entry at its place publishes no twin":                                                                   "账本中该条记录不是孪生的发布",
	"the ledger's entry is about another twin":                                                                            "账本中该条记录是另一个孪生的",
	"the relations are not those that the certificate names":                                                              "跨表关系与合格证所记散列不符",
	"the certificate says other things of the relations than their document does":                                         "合格证与跨表关系的文件所述不一致",
	"a twin is not the one that the relations tie":                                                                        "孪生不是跨表关系所系的那一个",
	"the ledger's entry at its place publishes no relations":                                                              "账本中该条记录不是跨表关系的发布",
	"the ledger's entry is about other relations":                                                                         "账本中该条记录是另一份跨表关系的",
	"this is no file of published relations: it holds a certificate and a document, then those of each twin, a line each": "这不是已发布跨表关系的文件：应有合格证与文件各一行，其后为各孪生的合格证与文件",
	"this is no file of a published twin: it holds a certificate and a document, a line each":                             "这不是已发布孪生的文件：应有合格证与孪生各一行",
	"it is not the JSON laid down":                                                                                        "不是规定的 JSON",
	"more follows":                                                                                                        "之后有多余内容",
	"the ledger's entry at its place certifies no model":                                                                  "账本中该条记录不是模型合格证",
	"the ledger's entry is about another model":                                                                           "账本中该条记录是另一个模型的",
	"the ledger's entry holds another certificate":                                                                        "账本中该条记录的合格证与此不同",
}
