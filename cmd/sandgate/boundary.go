package main

import (
	"strings"
	"unicode/utf8"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
)

// boundary draws the line between what is protected and paid for and what runs
// free on released values.
func (a *app) boundary(b *sandgatev1.Boundary, sql string) {
	if b == nil {
		return
	}
	if b.GetCoreSql() != "" {
		fromLine, fromColumn := lineColumn(sql, int(b.GetCoreStart()))
		toLine, toColumn := lineColumn(sql, int(b.GetCoreEnd()))
		a.say("受保护核心 protected core（语句第 %d 行第 %d 列至第 %d 行第 %d 列）:\n  %s", "protected core (line %d, column %d to line %d, column %d of the text):\n  %s",
			fromLine, fromColumn, toLine, toColumn, b.GetCoreSql())
		a.say("发布的列 released: %s", "released columns: %s", join(b.GetReleasedColumns()))
	}
	a.say("后处理 post-processing（只读发布结果，不收费）:\n  %s", "post-processing (reads released values only, free):\n  %s", b.GetPostSql())
	if len(b.GetSources()) > 0 {
		a.say("读取的发布结果: %s", "releases it reads: %s", join(b.GetSources()))
	}
	var names []string
	for _, c := range b.GetColumns() {
		names = append(names, c.GetName()+" "+c.GetType())
	}
	a.say("输出列: %s", "output columns: %s", join(names))
}

// lineColumn is the place of a byte of text, both from 1 and in characters.
func lineColumn(text string, at int) (line, column int) {
	text = text[:min(max(at, 0), len(text))]
	last := strings.LastIndexByte(text, '\n') + 1
	return strings.Count(text, "\n") + 1, utf8.RuneCountInString(text[last:]) + 1
}

// derivedSummary says where an answer of post-processing comes from.
func (a *app) derivedSummary(r *sandgatev1.Release) {
	if r.GetDerived() && r.GetDigest() != "" {
		a.note("以上由发布结果 %s 后处理而得（摘要 %s，账本第 %d 条）；原发布结果: sandgate job show %s --released", "derived by post-processing from the release of %s (digest %s, ledger entry %d); the release itself: sandgate job show %s --released",
			strings.TrimSuffix(r.GetName(), "/releases/1"), r.GetDigest(), r.GetReceipt().GetSeq(), strings.TrimSuffix(r.GetName(), "/releases/1"))
	}
	for _, s := range r.GetSources() {
		a.note("读取了 %s（摘要 %s，账本第 %d 条）", "read %s (digest %s, ledger entry %d)", s.GetName(), s.GetDigest(), s.GetReceipt().GetSeq())
	}
	if r.GetDerived() && r.GetDigest() == "" {
		a.note("只读取已有的发布结果，不收费，也不入账本", "reads earlier releases only: free of charge, and no ledger entry")
	}
}
