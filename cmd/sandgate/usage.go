package main

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) usageCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "usage",
		Short: "使用情况反馈：按季度报告用途与成效 · feedback on use, quarter by quarter",
		Long: `运营机构按季度反馈数据使用场景、成效和问题；缺报在 usage list、计量结算单和办理期限中可见。
Operators report each quarter where data was used, to what effect, and what went wrong; a missing report shows in
usage list, in statements and among the duties.`,
	}
	c.AddCommand(a.usageFileCmd(), a.usageListCmd())
	return c
}

func (a *app) usageFileCmd() *cobra.Command {
	var s statement
	var r policies.UsageReport
	var scenario, effect, incidents string
	c := &cobra.Command{
		Use:     "file --licence ID --period 2026Q3",
		Short:   "提交一个季度的反馈 · file the feedback on a quarter",
		Example: "  sandgate usage file --licence alpha-2026 --period 2026Q3 --scenario 规划评估 --effect 三份规划采用 --incidents 无 --kit ./kits/alpha",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			party, err := a.signer()
			if err != nil {
				return err
			}
			r.Operator, r.Scenario, r.Effect, r.Incidents = party, zh(scenario), zh(effect), zh(incidents)
			if r.ID == "" {
				r.ID = strings.ToLower(r.Licence + "-" + r.Period)
			}
			text, err := documentOf(policies.KindUsageReport, r)
			return s.say(a, c, text, err)
		},
	}
	f := c.Flags()
	f.StringVar(&r.ID, "id", "", "反馈编号，缺省为“授权-季度” id; licence-quarter when left out")
	f.StringVar(&r.Licence, "licence", "", "授权编号 licence")
	f.StringVar(&r.Period, "period", "", "季度，如 2026Q3 · quarter")
	f.StringVar(&scenario, "scenario", "", "使用场景 where the results were used")
	f.StringVar(&effect, "effect", "", "使用成效 what came of it")
	f.StringVar(&incidents, "incidents", "", "问题与安全事件，没有则写“无” · problems and incidents, 无 for none")
	s.add(c)
	require(c, "licence", "period", "scenario", "effect", "incidents")
	return c
}

func (a *app) usageListCmd() *cobra.Command {
	var years int
	var missing bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "各授权各季度的反馈，缺报在列 · feedback by licence and quarter, missing ones among it",
		Example: "  sandgate usage list --missing --kit ./kits/data_bureau",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if years < 1 || years > 6 {
				return usageError{errors.New(a.t("--years 为 1…6", "--years is 1…6"))}
			}
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			now := time.Now()
			st, err := cl.Statement.GetStatement(c.Context(), &sandgatev1.GetStatementRequest{StartTime: timestamppb.New(now.AddDate(-years, 0, 0)), EndTime: timestamppb.New(now)})
			if err != nil {
				return err
			}
			told := a.statementSheets(st)[2]
			var body [][]string
			for i, f := range st.GetFeedback() {
				if !missing || f.GetFileTime() == nil {
					body = append(body, told.Body[i])
				}
			}
			return a.rows(told.Header, body)
		},
	}
	c.Flags().IntVar(&years, "years", 1, "最近几年 how many years back")
	c.Flags().BoolVar(&missing, "missing", false, "只列缺报 only what is missing")
	return c
}
