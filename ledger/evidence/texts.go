package evidence

import "github.com/sandgate/sandgate/internal/bilingual"

// texts are what is wrong with proofs, checkpoints and receipts in Chinese.
var texts = bilingual.Book{
	"proof claims a tree of %d entries, its checkpoint one of %d":                 "证明称树有 %d 条记录，其检查点为 %d 条",
	"proof is for entry %d, but its checkpoint covers %d entries only":            "证明针对第 %d 条记录，而检查点只有 %d 条",
	"entry %d is not in the tree of its checkpoint: %w":                           "第 %d 条记录不在检查点的树中：%w",
	"failed to verify checkpoint signature: %w":                                   "检查点签名不成立：%w",
	"failed to parse checkpoint: %w":                                              "读取检查点失败：%w",
	"checkpoint is of log %q, not of %q":                                          "检查点属于账本“%s”，不是“%s”",
	"%w (%d entries)":                                                             "%w（%d 条）",
	"the key that signed this checkpoint was not in force for a tree of its size": "签署该检查点的密钥对这一长度的账本无效",
	"receipt is signed by a key that was retired before its entry":                "回执由此前已停用的密钥签名",
	"receipt is not signed by this key":                                           "回执不是由该密钥签名的",
}
