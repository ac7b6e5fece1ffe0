package main

import (
	"fmt"

	"github.com/spf13/cobra"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
)

func (a *app) riskCmd() *cobra.Command {
	c := &cobra.Command{Use: "risk", Short: "再识别风险评估 · re-identification risk"}
	c.AddCommand(a.riskAssessCmd())
	return c
}

func (a *app) riskAssessCmd() *cobra.Command {
	req := &sandgatev1.AssessRiskRequest{}
	c := &cobra.Command{
		Use:   "assess DATASET --quasi A,B --model MODEL --context-risk P",
		Short: "评估现行快照的再识别风险（GB/T 42460） · assess the snapshot in force",
		Long: `按 GB/T 42460 评估数据集现行快照的再识别风险。结论记入账本，数字只给数源部门。
Assesses how far people of a masked data set can be told apart. The verdict goes to the ledger, the figures to the
department alone.`,
		Example: "  sandgate risk assess visits --quasi hospital,visit_date --sensitive diagnosis --model controlled --context-risk 0.1 --kit ./kits/health",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			req.Dataset = args[0]
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			r, err := cl.Risk.AssessRisk(c.Context(), req)
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.proto(r)
			}
			verdict := a.t("未达到", "not within")
			if r.GetWithin() {
				verdict = a.t("达到", "within")
			}
			body := [][]string{
				{a.t("评估编号", "assessment"), r.GetName()},
				{a.t("结论", "verdict"), fmt.Sprintf("%s %s，%s", verdict, req.Model, r.GetLevel())},
				{a.t("隐私单元", "privacy units"), itoa(r.GetUnits())},
				{a.t("等价类", "equivalence classes"), itoa(r.GetClasses())},
				{"k", fmt.Sprintf("%d（≥ %d）", r.GetK(), r.GetLeastClass())},
				{a.t("低于阈值的单元", "units in smaller classes"), itoa(r.GetAbove())},
				{a.t("最大风险", "greatest risk"), fmt.Sprintf("%.4f", r.GetMaxRisk())},
				{a.t("平均风险", "mean risk"), fmt.Sprintf("%.4f", r.GetMeanRisk())},
				{a.t("总体风险", "overall risk"), fmt.Sprintf("%.4f（≤ 0.05）", r.GetOverall())},
			}
			for _, d := range r.GetDiversity() {
				body = append(body, []string{d.GetColumn(), fmt.Sprintf("l %d, %.2f; t %.3f", d.GetDistinct(), d.GetEntropy(), d.GetDistance())})
			}
			return a.rows([]string{a.head("项目", "item"), a.head("值", "value")}, body)
		},
	}
	f := c.Flags()
	f.StringSliceVar(&req.Quasi, "quasi", nil, "准标识符列 quasi-identifiers")
	f.StringSliceVar(&req.Sensitive, "sensitive", nil, "敏感列 sensitive columns")
	f.StringVar(&req.Model, "model", "", "共享模型 sharing model: public|controlled|enclave")
	f.StringVar(&req.ContextRisk, "context-risk", "", "环境风险 context risk, 0…1")
	require(c, "model")
	require(c, "context-risk")
	return c
}
