package main

import (
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sandgate/sandgate/compute/budget"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) licenceCmd() *cobra.Command {
	c := &cobra.Command{Use: "licence", Short: "授权：列出、查看 · list and show licences"}
	c.AddCommand(a.licenceListCmd(), a.licenceShowCmd())
	return c
}

func (a *app) licenceListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "列出与本方有关的授权 · list the licences that concern the caller",
		Example: "  sandgate licence list --kit ./kits/alpha",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			var body [][]string
			req := &sandgatev1.ListLicencesRequest{}
			for {
				resp, err := cl.Licence.ListLicences(c.Context(), req)
				if err != nil {
					return err
				}
				for _, l := range resp.GetLicences() {
					var purposes []string
					for _, p := range l.GetPurposes() {
						purposes = append(purposes, p.GetPurpose())
					}
					body = append(body, []string{strings.TrimPrefix(l.GetName(), "licences/"), l.GetOperator(), a.t(l.GetTitleZh(), l.GetTitleEn()),
						a.licenceState(l), dateOf(l.GetNotBefore()), dateOf(l.GetNotAfter()), join(purposes)})
				}
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			return a.rows([]string{a.head("授权", "licence"), a.head("运营机构", "operator"), a.head("名称", "title"), a.head("状态", "state"),
				a.head("起", "from"), a.head("止", "until"), a.head("用途", "purposes")}, body)
		},
	}
}

var licenceStates = map[sandgatev1.Licence_State][2]string{
	sandgatev1.Licence_STATE_ACTIVE: {"有效", "active"}, sandgatev1.Licence_STATE_PENDING: {"未生效", "pending"}, sandgatev1.Licence_STATE_EXPIRED: {"到期", "expired"},
	sandgatev1.Licence_STATE_ENDED: {"终止", "ended"}, sandgatev1.Licence_STATE_SUSPENDED: {"暂停", "suspended"},
}

func (a *app) licenceState(l *sandgatev1.Licence) string {
	s := licenceStates[l.GetState()]
	if a.format != "table" {
		return s[1]
	}
	return a.t(s[0], s[1])
}

// dateOf is a date in China, as documents state it.
func dateOf(t *timestamppb.Timestamp) string { return policies.Day(t.AsTime()) }

func (a *app) licenceShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show LICENCE",
		Short:   "查看一项授权的范围、期限和额度 · scope, term and quotas of a licence",
		Example: "  sandgate licence show alpha-2026 --kit ./kits/alpha",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			l, err := cl.Licence.GetLicence(c.Context(), &sandgatev1.GetLicenceRequest{Name: "licences/" + args[0]})
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.proto(l)
			}
			var body [][]string
			add := func(zh, en, value string) {
				if value != "" {
					body = append(body, []string{a.head(zh, en), value})
				}
			}
			add("授权", "licence", args[0])
			add("名称", "title", a.t(l.GetTitleZh(), l.GetTitleEn()))
			add("运营机构", "operator", l.GetOperator())
			add("实施机构", "implementing body", l.GetImplementingBody())
			add("状态", "state", strings.TrimSpace(a.licenceState(l)+" "+join(l.GetHeldBy())))
			add("授权方式", "mode", l.GetMode())
			add("期限", "term", dateOf(l.GetNotBefore())+" … "+dateOf(l.GetNotAfter()))
			add("续自", "renews", l.GetRenews())
			add("作业类型", "jobs", join(l.GetJobs()))
			for _, p := range l.GetPurposes() {
				add("用途", "purpose", p.GetPurpose()+" ("+p.GetFee()+")")
			}
			for _, r := range l.GetResources() {
				from := ""
				if r.GetSharedFrom() != "" {
					from = a.t("，共享自 ", ", shared from ") + r.GetSharedFrom()
				}
				add("数据集", "data set", r.GetDataset()+": "+join(r.GetColumns())+from)
			}
			for _, e := range l.GetEntrusted() {
				add("受托方", "entrusted", e.GetId()+" "+e.GetTitleZh()+" "+dateOf(e.GetFrom())+" … "+dateOf(e.GetUntil()))
			}
			add("接收方", "recipients", join(l.GetRecipients()))
			for _, q := range l.GetQuotas() {
				row := a.quotaRow(q)
				add("额度", "quota", row[1]+": "+row[3]+" / "+row[2])
			}
			return a.rows([]string{a.head("项目", "item"), a.head("内容", "value")}, body)
		},
	}
}

var quotaTitles = map[string][2]string{
	string(state.QuotaDay): {"本授权当日作业", "jobs of this licence today"}, string(state.QuotaMonth): {"本授权当月作业", "jobs of this licence this month"},
	string(state.QuotaTerm): {"本授权期内作业", "jobs of this licence, its term"}, string(state.QuotaRho): {"本授权期内 ρ", "ρ of this licence, its term"},
}

// quotaRow is a row of the table of budgets.
func (a *app) quotaRow(q *sandgatev1.QuotaLine) []string {
	scope := q.GetKind()
	if t := quotaTitles[scope]; a.format == "table" {
		if scope = a.t(t[0], t[1]); q.GetRenewTime() != nil {
			scope += a.t("，至 ", ", until ") + policies.Clock(q.GetRenewTime().AsTime())
		}
	}
	text, left := itoa, max(0, q.GetLimit()-q.GetUsed())
	if q.GetKind() == string(state.QuotaRho) {
		text = func(n int64) string { return budget.Nano(n).String() }
		return []string{"", scope, text(q.GetLimit()), text(q.GetUsed()), text(left), ""}
	}
	return []string{"", scope, text(q.GetLimit()), text(q.GetUsed()), text(left), text(left)}
}
