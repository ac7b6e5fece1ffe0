package main

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io"
	"math/big"
	"os"
	"regexp"
	"strconv"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/ledger/metering"
	"github.com/sandgate/sandgate/policies"
)

//go:embed statement.html
var statementPage string

var statementTemplate = htmltemplate.Must(htmltemplate.New("statement").Parse(statementPage))

var periodPattern = regexp.MustCompile(`^([0-9]{4})(?:Q([1-4]))?$`)

// period reads 2026 or 2026Q1.
func period(text string) (metering.Period, error) {
	m := periodPattern.FindStringSubmatch(text)
	if m == nil {
		return metering.Period{}, texts.Errorf("period")
	}
	year, _ := strconv.Atoi(m[1])
	if m[2] == "" {
		return metering.Year(year), nil
	}
	quarter, _ := strconv.Atoi(m[2])
	return metering.Quarter(year, quarter), nil
}

func (a *app) statementCmd() *cobra.Command {
	var span, operator, dir, trust, page, sheet string
	c := &cobra.Command{
		Use:   "statement --period 2026Q1",
		Short: "计量与结算：调用、行数、字节、时长、应收、各部门贡献 · what was used, charged and contributed",
		Long: `按运营机构、授权、产品、用途和收费类别计量，按列数折算各数源部门的贡献；公共治理、公益事业免费，产业发展按价目且不超过上限。
来自网关，或用 --ledger 从账本副本离线得出（先完整审计，审计不通过即拒绝）：两者必然一致。
Use by operator, licence, product, purpose and fee class, and what each source department contributed, by columns used.
From the gateway, or with --ledger offline from a copy of the ledger, which is audited first: both are the same.`,
		Example: `  sandgate statement --period 2026Q3 --kit ./kits/data_bureau --html statement.html
  sandgate statement --period 2026 --ledger ./ledger-copy --trust ./kits/data_bureau/trust.json -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := period(span)
			if err != nil {
				return usageError{errors.New(a.t("--period 形如 2026 或 2026Q1", "--period is like 2026 or 2026Q1"))}
			}
			var st *sandgatev1.Statement
			source := a.t("来源：网关账本", "source: the gateway's ledger")
			if dir != "" {
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
					if err := a.auditReport(r); err != nil {
						return err
					}
					return &silentError{exitAuditFailed}
				}
				st = gateway.StatementOf(metering.Of(r.State, p, metering.Filter{Operator: operator}))
				source = fmt.Sprintf(a.t("来源：账本副本，审计通过，%d 条记录，根 %s", "source: a copy of the ledger, audit passed, %d entries, root %s"), r.Entries, r.Root)
			} else {
				cl, err := a.dial()
				if err != nil {
					return err
				}
				defer cl.Close()
				st, err = cl.Statement.GetStatement(c.Context(), &sandgatev1.GetStatementRequest{StartTime: timestamppb.New(p.From), EndTime: timestamppb.New(p.To), Operator: operator})
				if err != nil {
					return err
				}
			}
			return a.statement(st, span, source, page, sheet)
		},
	}
	f := c.Flags()
	f.StringVar(&span, "period", "", "期间：2026 或 2026Q1（北京时间）period, China Standard Time")
	f.StringVar(&operator, "operator", "", "只看该运营机构 only this operator")
	f.StringVar(&dir, "ledger", "", "账本副本目录：离线计量 directory of a copied ledger")
	f.StringVar(&trust, "trust", "", "信任文件 trust.json from the regulator's kit")
	f.StringVar(&page, "html", "", "另写一份可打印的网页 also write a page to print")
	f.StringVar(&sheet, "csv", "", "另写一份 CSV also write CSV")
	require(c, "period")
	return c
}

// sheetOf is one table of a statement.
type sheetOf struct {
	Title  string
	Header []string
	Body   [][]string
	right  []int
}

func yuan(fen int64) string { return algebra.FormatDecimal(big.NewInt(fen), 2) }

func (a *app) statementSheets(st *sandgatev1.Statement) []sheetOf {
	use := sheetOf{Title: a.t("用量", "use"), right: []int{5, 6, 7, 8, 9, 10, 11, 12, 13, 14},
		Header: []string{a.head("运营机构", "operator"), a.head("授权", "licence"), a.head("产品", "product"), a.head("用途", "purpose"), a.head("收费类别", "fee_class"),
			a.head("调用", "calls"), a.head("其中重复", "repeats"), a.head("拒绝", "refused"), a.head("失败", "failed"), a.head("发布行数", "rows"), a.head("发布字节", "bytes"),
			a.head("时长（秒）", "seconds"), "ρ", a.head("应收（元）", "yuan"), a.head("按上限计", "capped")}}
	for _, l := range st.GetLines() {
		use.Body = append(use.Body, []string{l.GetOperator(), l.GetLicence(), l.GetProduct(), l.GetPurpose(), l.GetFeeClass(), itoa(l.GetCalls()), itoa(l.GetRepeats()), itoa(l.GetRefused()), itoa(l.GetFailed()),
			itoa(l.GetRows()), itoa(l.GetBytes()), algebra.FormatDecimal(big.NewInt(l.GetMilliseconds()), 3), rho(l.GetSpentNanoRho()), yuan(l.GetChargeFen()), itoa(l.GetCapped())})
	}
	gave := sheetOf{Title: a.t("数源部门贡献", "contributions"), right: []int{2, 3, 4},
		Header: []string{a.head("数源部门", "department"), a.head("产品", "product"), a.head("涉及调用", "calls"), a.head("折合调用", "share"), a.head("折合应收（元）", "yuan")}}
	for _, c := range st.GetContributions() {
		gave.Body = append(gave.Body, []string{c.GetDepartment(), c.GetProduct(), itoa(c.GetCalls()), algebra.FormatDecimal(big.NewInt(c.GetShare()), 4), yuan(c.GetChargeFen())})
	}
	told := sheetOf{Title: a.t("使用情况反馈", "feedback on use"),
		Header: []string{a.head("运营机构", "operator"), a.head("授权", "licence"), a.head("季度", "quarter"), a.head("反馈", "report"), a.head("提交时间", "filed")}}
	for _, f := range st.GetFeedback() {
		report := f.GetReport()
		if f.GetFileTime() == nil {
			report = a.t("缺", "missing")
		}
		told.Body = append(told.Body, []string{f.GetOperator(), f.GetLicence(), f.GetQuarter(), report, a.whenIf(f.GetFileTime())})
	}
	return []sheetOf{use, gave, told}
}

func (a *app) statement(st *sandgatev1.Statement, span, source, page, sheet string) error {
	return a.handOut(func(a *app) []sheetOf { return a.statementSheets(st) }, func() error { return a.proto(st) }, paper{
		title:  a.t("公共数据授权运营计量结算单", "Statement of authorised operation") + " " + span,
		period: a.t("期间", "period") + " " + policies.Day(st.GetStartTime().AsTime()) + " – " + lastDay(st.GetEndTime()),
		source: source, page: page, sheet: sheet,
	})
}

// paper is what stands around tables that are handed out, and the files they are
// also written to; an empty name writes none.
type paper struct{ title, period, source, page, sheet string }

// handOut prints tables in the format asked for, and writes them as a page to print
// and as CSV where files are named. asJSON prints what they were made of.
func (a *app) handOut(sheets func(*app) []sheetOf, asJSON func() error, p paper) error {
	if p.page != "" {
		text, err := a.printable(sheets(a), p)
		if err != nil {
			return err
		}
		if err := os.WriteFile(p.page, text, 0o600); err != nil {
			return texts.Errorf("failed to write page: %w", err)
		}
	}
	if p.sheet != "" {
		var buf bytes.Buffer
		if err := writeSheets(&buf, sheets(&app{format: "csv", lang: a.lang})); err != nil {
			return err
		}
		if err := os.WriteFile(p.sheet, buf.Bytes(), 0o600); err != nil {
			return texts.Errorf("failed to write CSV: %w", err)
		}
	}
	switch a.format {
	case "json":
		return asJSON()
	case "csv":
		return writeSheets(a.out, sheets(a))
	}
	for _, s := range sheets(a) {
		a.say("%s", "%s", s.Title)
		printTable(a.out, s.Header, s.Body, s.right...)
	}
	a.note("%s", "%s", p.source)
	return nil
}

// writeSheets writes the tables below each other, an empty line between them.
func writeSheets(out io.Writer, sheets []sheetOf) error {
	w := csv.NewWriter(out)
	for i, s := range sheets {
		if i > 0 {
			w.Flush()
			if _, err := io.WriteString(out, "\n"); err != nil {
				return err
			}
		}
		if err := w.Write(s.Header); err != nil {
			return err
		}
		if err := w.WriteAll(s.Body); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// printable is the tables as a page.
func (a *app) printable(sheets []sheetOf, p paper) ([]byte, error) {
	right := map[string]bool{}
	for _, s := range sheets {
		for _, i := range s.right {
			right[s.Header[i]] = true
		}
	}
	var buf bytes.Buffer
	err := statementTemplate.Execute(&buf, map[string]any{
		"Lang": map[string]string{"zh": "zh-CN", "en": "en"}[a.lang], "Title": p.title, "Period": p.period, "Source": p.source, "Tables": sheets, "Right": right,
	})
	if err != nil {
		return nil, texts.Errorf("failed to write page: %w", err)
	}
	return buf.Bytes(), nil
}
