package main

import (
	"strings"

	"github.com/spf13/cobra"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
)

func (a *app) alertCmd() *cobra.Command {
	c := &cobra.Command{Use: "alert", Short: "监管预警 · alerts for the regulator"}
	c.AddCommand(a.alertListCmd())
	return c
}

func (a *app) alertListCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "列出近三十日的预警，旧的在前 · list the alerts of the last thirty days, the oldest first",
		Long: `只供主管部门。预警由账本推出，每件事编号固定；推送另见 sandgate serve --alerts 与 docs/alerts.md。
For the regulator. Alerts are derived from the ledger, each event under an id that does not change; for their delivery
see sandgate serve --alerts and docs/alerts.md.`,
		Example: "  sandgate alert list --kit ./kits/data_bureau\n  sandgate alert list --kit ./kits/data_bureau -o json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			var body [][]string
			req := &sandgatev1.ListAlertsRequest{PageSize: 200}
			for {
				resp, err := cl.Supervision.ListAlerts(c.Context(), req)
				if err != nil {
					return err
				}
				for _, x := range resp.GetAlerts() {
					body = append(body, []string{a.whenIf(x.GetTime()), a.state(x.GetSeverity()), x.GetKind(), x.GetAbout(), a.t(x.GetTextZh(), x.GetTextEn()), x.GetId()})
				}
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			return a.rows([]string{a.head("时间", "time"), a.head("程度", "severity"), a.head("种类", "kind"), a.head("对象", "about"), a.head("内容", "text"), a.head("编号", "id")}, body)
		},
	}
}

func (a *app) orderStandingCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "standing",
		Short: "列出自动处置规则及其执行情况 · list standing orders and what the gateway ordered by them",
		Long: `自动处置规则（kind: StandingOrder）由主管部门或数源部门签名，以 sandgate policy sign/apply 提交；示例见 testdata/standing。
条件一经满足，网关即作出决定并记入账本；无人签名则什么也不会自动处置。
A standing order (kind: StandingOrder) is signed by the regulator or a department and applied with sandgate policy
sign and apply; see testdata/standing. When its condition is met the gateway gives the order. Nothing is ordered
unless somebody signed.`,
		Example: "  sandgate order standing --kit ./kits/data_bureau",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			var body [][]string
			req := &sandgatev1.ListStandingOrdersRequest{PageSize: 200}
			for {
				resp, err := cl.Supervision.ListStandingOrders(c.Context(), req)
				if err != nil {
					return err
				}
				for _, x := range resp.GetStandingOrders() {
					measure := x.GetMeasure()
					if x.GetDays() > 0 {
						measure += " " + itoa(int64(x.GetDays()))
					}
					state := a.t("生效", "in force")
					if !x.GetInForce() {
						state = a.t("失效", "ended")
					}
					orders := join(x.GetOrders())
					body = append(body, []string{strings.TrimPrefix(x.GetName(), "standingOrders/"), x.GetBy(), a.t(x.GetConditionZh(), x.GetConditionEn()), measure, state,
						a.whenIf(x.GetCreateTime()), a.whenIf(x.GetEndTime()), join(x.GetLicences()), strings.ReplaceAll(orders, "orders/", "")})
				}
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			return a.rows([]string{a.head("规则", "standing"), a.head("签名方", "by"), a.head("条件", "condition"), a.head("措施", "measure"), a.head("状态", "state"),
				a.head("自", "since"), a.head("至", "until"), a.head("涉及授权", "licences"), a.head("已作出的决定", "orders")}, body)
		},
	}
}
