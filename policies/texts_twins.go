package policies

import "github.com/sandgate/sandgate/internal/bilingual"

// twinTexts are the errors of twin rules in Chinese.
var twinTexts = bilingual.Book{
	"a public data set needs no twin": "公开数据集无需孪生",
	"a twin cannot be taken back with a consent: a data set that is used by each subject's consent has none": "须逐人同意的数据集不发布孪生：同意撤回后，孪生无法收回",
	"twin.rho must be a ρ above 0 and at most %s (ε 2)":                                                      "twin.rho 须为大于 0 且不超过 %s 的 ρ（ε 2）",
	"twin.level must lie in 1…%d, or be left out for %d":                                                     "twin.level 须在 1…%d 之间，不写即 %d",
	"twin.relate names at most %d data sets":                                                                 "twin.relate 至多列出 %d 个数据集",
	"twin.relate names other data sets, once each: not %q":                                                   "twin.relate 须列出其他数据集，各一次：%q 不符",
}
