package main

import (
	"regexp"
	"strings"

	"github.com/sandgate/sandgate/internal/bilingual"
)

// commandErrors are what the command-line library says of a wrong command line.
var commandErrors = []struct {
	english *regexp.Regexp
	chinese string
}{
	{regexp.MustCompile(`(?s)^unknown command "(.*?)" for "(.*?)".*$`), "“$2”没有命令“$1”"},
	{regexp.MustCompile(`^unknown flag: (.*)$`), "没有参数 $1"},
	{regexp.MustCompile(`^unknown shorthand flag: '(.*)' in (.*)$`), "没有参数 -$1（在 $2 中）"},
	{regexp.MustCompile(`^required flag\(s\) (.*) not set$`), "缺少必需的参数：$1"},
	{regexp.MustCompile(`^flag needs an argument: (?:'(.)' in -\S+|(\S+))$`), "参数 $1$2 之后须给出取值"},
	{regexp.MustCompile(`^accepts (\d+) arg\(s\), received (\d+)$`), "命令之后须有 $1 项，现有 $2 项"},
	{regexp.MustCompile(`^accepts at most (\d+) arg\(s\), received (\d+)$`), "命令之后至多 $1 项，现有 $2 项"},
	{regexp.MustCompile(`^accepts between (\d+) and (\d+) arg\(s\), received (\d+)$`), "命令之后须有 $1 至 $2 项，现有 $3 项"},
	{regexp.MustCompile(`^requires at least (\d+) arg\(s\), only received (\d+)$`), "命令之后至少 $1 项，现有 $2 项"},
	{regexp.MustCompile(`(?s)^invalid argument (".*") for "(.*)" flag: .*$`), "参数 $2 的取值 $1 无效"},
	{regexp.MustCompile(`^if any flags in the group \[(.*)\] are set none of the others can be; \[(.*)\] were all set$`), "参数 $1 只能用一个，现用了 $2"},
	{regexp.MustCompile(`^at least one of the flags in the group \[(.*)\] is required$`), "参数 $1 须给出一个"},
	{regexp.MustCompile(`^if any flags in the group \[(.*)\] are set they must all be set; missing \[(.*)\]$`), "参数 $1 须同用，缺少 $2"},
}

// said is an error as the reader is told it: in English, or in Chinese with the
// English beside it where the two differ, so that either can be searched for.
func (a *app) said(err error) string {
	en := err.Error()
	if a.lang == "en" {
		return en
	}
	zh := chineseOf(err, en)
	if zh == en || strings.Contains(en, zh) {
		return en
	}
	return zh + " · " + en
}

func chineseOf(err error, en string) string {
	if zh := bilingual.Chinese(err); zh != en {
		return zh
	}
	for _, x := range commandErrors {
		if x.english.MatchString(en) {
			return x.english.ReplaceAllString(en, x.chinese)
		}
	}
	return en
}
