package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/ledger/yearbook"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) yearbookCmd() *cobra.Command {
	var year int
	var dir, trust, page, sheet string
	c := &cobra.Command{
		Use:   "yearbook --year 2026 --ledger DIR",
		Short: "年度披露：授权、使用、拒绝、处置、逾期 · the yearly disclosure of authorised operation",
		Long: `从审计通过的账本副本得出一年的授权运营情况：数据目录、授权、用量与收费、贡献、拒绝理由、隐私预算、命令、异议与更正、逾期、使用反馈及缺报。
任何人用同一副本得到同一份披露；其中没有任何数据取值。
Made of a copied ledger that passes its audit: catalogue, licences, use and charges, contributions, reasons of refusals,
privacy budget, orders, objections, missed deadlines, feedback and its gaps. Whoever holds the copy gets the same; no
value of the data is in it.`,
		Example: "  sandgate yearbook --year 2026 --ledger ./ledger-copy --trust ./kits/data_bureau/trust.json --html disclosure.html",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if year < 2000 || year > 2200 {
				return usageError{errors.New(a.t("--year 形如 2026", "--year is like 2026"))}
			}
			opt, err := auditOptions(trust, nil, nil)
			if err != nil {
				return err
			}
			opt.Progress = a.auditProgress()
			r, err := audit.Run(c.Context(), dir, opt)
			if err != nil {
				return err
			}
			if !r.OK {
				return errors.Join(a.auditReport(r), &silentError{exitAuditFailed})
			}
			return a.yearbook(yearbook.Of(r.State, year), fmt.Sprintf(a.t("来源：账本副本，审计通过，%d 条记录，根 %s", "source: a copy of the ledger, audit passed, %d entries, root %s"), r.Entries, r.Root), page, sheet)
		},
	}
	f := c.Flags()
	f.IntVar(&year, "year", 0, "年份（北京时间）year, China Standard Time")
	f.StringVar(&dir, "ledger", "", "账本副本目录 directory of a copied ledger")
	f.StringVar(&trust, "trust", "", "信任文件 trust.json from the regulator's kit")
	f.StringVar(&page, "html", "", "另写一份可打印的网页 also write a page to print")
	f.StringVar(&sheet, "csv", "", "另写一份 CSV also write CSV")
	require(c, "year", "ledger")
	return c
}

func (a *app) yearbook(b yearbook.Book, source, page, sheet string) error {
	return a.handOut(func(a *app) []sheetOf { return a.yearbookSheets(b) }, func() error { return a.json(b) }, paper{
		title:  a.t("公共数据授权运营年度披露", "Yearly disclosure of authorised operation") + " " + strconv.Itoa(b.Year),
		period: a.t("截至", "as of") + " " + policies.Clock(b.Until),
		source: source, page: page, sheet: sheet,
	})
}

func (a *app) yearbookSheets(b yearbook.Book) []sheetOf {
	offer := sheetOf{Title: a.t("数源部门与数据目录", "departments and their data"), right: []int{1, 2, 3},
		Header: []string{a.head("数源部门", "department"), a.head("数据集", "datasets"), a.head("已登记", "registered"), a.head("中止", "suspended")}}
	for _, d := range b.Departments {
		offer.Body = append(offer.Body, []string{d.ID, strconv.Itoa(d.Datasets), strconv.Itoa(d.Registered), strconv.Itoa(d.Suspended)})
	}
	grants := sheetOf{Title: a.t("授权", "licences"),
		Header: []string{a.head("授权", "licence"), a.head("运营机构", "operator"), a.head("名称", "title"), a.head("用途", "purposes"), a.head("自", "from"), a.head("至", "until"), a.head("状态", "state")}}
	for _, l := range b.Licences {
		grants.Body = append(grants.Body, []string{l.ID, l.Operator, l.Title.In(a.lang), strings.Join(l.Purposes, " "), policies.Day(l.From), policies.Day(l.Until), l.State})
	}
	out := append([]sheetOf{offer, grants}, a.statementSheets(gateway.StatementOf(b.Use))...)
	refusals := sheetOf{Title: a.t("拒绝理由", "reasons of refusals"), right: []int{1}, Header: []string{a.head("代码", "code"), a.head("次数", "times")}}
	for _, r := range b.Refusals {
		refusals.Body = append(refusals.Body, []string{r.Name, strconv.Itoa(r.N)})
	}
	spent := sheetOf{Title: a.t("隐私预算", "privacy budget"), right: []int{1, 2}, Header: []string{a.head("数据集", "dataset"), a.head("作业", "jobs"), "ρ"}}
	for _, s := range b.Spending {
		spent.Body = append(spent.Body, []string{s.Dataset, strconv.Itoa(s.Jobs), s.Rho.String()})
	}
	orders := sheetOf{Title: a.t("命令", "orders"),
		Header: []string{a.head("命令", "order"), a.head("签发", "by"), a.head("时间", "at"), a.head("对象", "target"), a.head("措施", "stage"), a.head("理由", "reason"), a.head("已了结", "closed")}}
	for _, o := range b.Orders {
		orders.Body = append(orders.Body, []string{o.ID, o.By, a.when(o.At), string(o.Target.Kind) + "/" + o.Target.ID, o.Stage, o.Reason.In(a.lang), strconv.FormatBool(o.Closed)})
	}
	cases := sheetOf{Title: a.t("异议与更正", "objections and corrections"), right: []int{2}, Header: []string{a.head("类型", "kind"), a.head("状态", "state"), a.head("件数", "cases")}}
	for _, k := range b.Cases {
		for _, s := range k.State {
			cases.Body = append(cases.Body, []string{k.Kind, s.Name, strconv.Itoa(s.N)})
		}
	}
	missed := sheetOf{Title: a.t("逾期事项", "missed deadlines"), Header: []string{a.head("事项", "duty")}}
	for _, id := range b.Missed {
		missed.Body = append(missed.Body, []string{id})
	}
	return append(out, refusals, spent, orders, cases, missed)
}
