package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// row is one row of the table of attacks.
type row struct {
	number, zh, en string
	elsewhere      string // where its figures are, when not on this card
}

var rows = []row{
	{number: "01", zh: "重放、求平均、同一查询的多种写法", en: "replay, averaging, many spellings of one query"},
	{number: "02", zh: "差分对、追踪器、补集", en: "differencing pair, tracker, complement"},
	{number: "03", zh: "线性重构", en: "linear reconstruction"},
	{number: "04", zh: "克隆（无关条件）", en: "cloning with dummy conditions"},
	{number: "05", zh: "随机查询搜索", en: "random query search"},
	{number: "06", zh: "多机构合谋、跨年度", en: "colluding operators, period rollover"},
	{number: "07", zh: "极小筛选中的离群值、方差分类、缺失信道", en: "outlier in a tiny filter, variance classifier, absence channel"},
	{number: "08", zh: "错误信道", en: "error oracles"},
	{number: "09", zh: "时间信道", en: "timing"},
	{number: "10", zh: "冻结机制在相邻数据上重放", en: "frozen-mechanism replay on neighbouring data"},
	{number: "11", zh: "区分性审计", en: "distinguishing audit"},
	{number: "12", zh: "格点、随机源、无种子", en: "lattice, randomness, no seed"},
	{number: "13", zh: "少数单元持有的分组键", en: "rare keys"},
	{number: "14", zh: "预算竞争、崩溃、时钟回拨、篡改", en: "budget race, crash, clock rollback, tampering"},
	{number: "15", zh: "身份与接口滥用", en: "identity and abuse of the interface", elsewhere: "-"},
	{number: "16", zh: "精确表的区间审计", en: "interval audit of exact tables"},
	{number: "17", zh: "模型出域关口", en: "model release gate"},
	{number: "18", zh: "合成孪生：独特、链接、属性、成员、逐值相同、罕见值", en: "synthetic twin: singling out, linkage, inference, membership, copies, rare values"},
}

// card is the document's machine-readable form.
type card struct {
	Date   string `json:"date"`
	Passed int    `json:"passed"`
	Leaked int    `json:"leaked"`
	Open   int    `json:"open"`
	Tests  int    `json:"tests_not_passed"`
	// Later are rows that were measured again by themselves, and when.
	Later   map[string]string `json:"rows_measured_later,omitempty"`
	Attacks []score           `json:"attacks"`
}

// write makes NAME.md and NAME.json; it says false, and which, when a row of the
// table that belongs on this card has no figure.
func write(name string, scores []score, broken int, now time.Time, out io.Writer) (bool, error) {
	return save(name, card{Date: now.UTC().Format(time.DateOnly), Tests: broken, Attacks: scores}, rows, out)
}

// rewrite puts new figures of some rows on a card that is there; the others stay as they
// are, whether they have figures or not.
func rewrite(name string, numbers []string, scores []score, broken int, now time.Time, out io.Writer) (bool, error) {
	text, err := os.ReadFile(name + ".json")
	if err != nil {
		return false, fmt.Errorf("failed to read score card: %w", err)
	}
	var c card
	if err := json.Unmarshal(text, &c); err != nil {
		return false, fmt.Errorf("failed to read score card: %w", err)
	}
	if c.Later == nil {
		c.Later = map[string]string{}
	}
	var again []row
	for _, number := range numbers {
		i := slices.IndexFunc(rows, func(r row) bool { return r.number == number })
		if i < 0 {
			return false, fmt.Errorf("failed to write score card: there is no row %q", number)
		}
		of := func(s score) bool { return strings.HasPrefix(s.Attack, number+" ") }
		c.Attacks = slices.DeleteFunc(c.Attacks, of)
		for _, s := range scores {
			if of(s) {
				c.Attacks = append(c.Attacks, s)
			}
		}
		again, c.Later[number] = append(again, rows[i]), now.UTC().Format(time.DateOnly)
	}
	slices.SortStableFunc(c.Attacks, func(a, b score) int { return strings.Compare(a.Attack, b.Attack) })
	c.Tests += broken
	return save(name, c, again, out)
}

// save writes a card; the rows that are to have figures must.
func save(name string, c card, must []row, out io.Writer) (bool, error) {
	c.Passed, c.Leaked, c.Open = 0, 0, 0
	for _, s := range c.Attacks {
		switch {
		case !s.Pass:
			c.Leaked++
		case s.Open:
			c.Open++
		default:
			c.Passed++
		}
	}
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return false, fmt.Errorf("failed to encode score card: %w", err)
	}
	text, missing := document(c)
	missing = slices.DeleteFunc(missing, func(m string) bool { return !slices.ContainsFunc(must, func(r row) bool { return r.number == m }) })
	for _, m := range missing {
		fmt.Fprintf(out, "缺少第 %s 行的结果 · row %s of the table has no figure\n", m, m)
	}
	for suffix, content := range map[string][]byte{".json": append(raw, '\n'), ".md": []byte(text)} {
		if err := os.WriteFile(name+suffix, content, 0o644); err != nil {
			return false, fmt.Errorf("failed to write score card: %w", err)
		}
	}
	return len(missing) == 0, nil
}

func document(c card) (text string, missing []string) {
	var b strings.Builder
	fmt.Fprintf(&b, `# 泄露评分卡 · Leak score card

`+"`make attack`"+` 于 %s 以全强度写成：每项攻击测得的结果、允许的上限、以及去掉保护后的对照。除注明者外，攻击以运营机构的身份经 gRPC 对真实程序进行。
Written by `+"`make attack`"+` at full strength on %s: what every attack measured, what is allowed, and the same attack without the protection. Attacks go
through gRPC, as an operator, against the real program; those that move its clock, exchange its workers or reach into it run the same code inside the test.

通过 passed %d · 泄露 leaked %d · 未防护 open %d · 未通过的测试 tests not passed %d

攻击与界限见 · what they are and where bounds come from: [gateway/attack/README.md](../gateway/attack/README.md). 机器可读 · machine-readable: [leakage-scorecard.json](leakage-scorecard.json).

| # | 攻击 attack | 测得 measured | 上限 bound | 无保护时 control | 次数 trials | 结论 verdict |
|---|---|---|---|---|---|---|
`, c.Date, c.Date, c.Passed, c.Leaked, c.Open, c.Tests)
	escape := strings.NewReplacer("|", `\|`, "\n", " ")
	cell := func(v any) string { return escape.Replace(fmt.Sprint(v)) }
	var notes strings.Builder
	put := func(s score, number, name string) {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %d | %s |\n", number, cell(name), cell(s.Figure), cell(s.Bound), cell(s.Control), s.Trials, verdict(s))
		if s.Note != "" {
			fmt.Fprintf(&notes, "* %s: %s\n", cell(s.Attack), cell(s.Note))
		}
	}
	listed := map[int]bool{}
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | **%s** %s | | | | | |\n", r.number, r.zh, r.en)
		found := false
		for i, s := range c.Attacks {
			if name, ok := strings.CutPrefix(s.Attack, r.number+" "); ok {
				put(s, "", name)
				listed[i], found = true, true
			}
		}
		switch {
		case found || r.elsewhere == "-":
		case r.elsewhere != "":
			fmt.Fprintf(&b, "| | %s | | | | | |\n", r.elsewhere)
		default:
			b.WriteString("| | 此后完整运行时写入 · with the next run of everything | | | | | |\n")
			missing = append(missing, r.number)
		}
		if at := c.Later[r.number]; at != "" {
			fmt.Fprintf(&b, "| | 本行单独于 %s 以全强度重测 · this row was measured again by itself, at full strength, on %s | | | | | |\n", at, at)
		}
	}
	for i, s := range c.Attacks {
		if !listed[i] {
			put(s, "", s.Attack)
		}
	}
	if notes.Len() > 0 {
		b.WriteString("\n## 说明 · Remarks\n\n" + notes.String())
	}
	return b.String(), missing
}
