package main

import (
	"strings"

	"github.com/spf13/cobra"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) applicationCmd() *cobra.Command {
	c := &cobra.Command{Use: "application", Short: "数据申请：提交、审核、进度 · applications for data: file, review, progress"}
	c.AddCommand(a.applicationFileCmd(), a.applicationReviewCmd(), a.applicationListCmd(), a.applicationShowCmd(), a.applicationWithdrawCmd())
	return c
}

func (a *app) applicationFileCmd() *cobra.Command {
	var v policies.Application
	var s statement
	var scenario, method, security, contact, from, until string
	var scope []string
	c := &cobra.Command{
		Use:   "file",
		Short: "提交申请，或补正后再次提交 · file an application, or complete a returned one",
		Example: `  sandgate application file --id app-1 --official clerk-1 --scenario 就医负担分析 --purpose public_health --scope visits=diagnosis,fee_yuan --method 分组统计 --from 2026-12-01 --until 2027-11-30 --security 只在沙箱内使用 --contact 数据部 --kit ./kits/alpha
  sandgate application file … --print > app-1.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if v.Operator, err = a.signer(); err != nil {
				return err
			}
			if v.Scope, err = scopeArgs(scope); err != nil {
				return err
			}
			if v.NotBefore, err = dayArg("from", from, false); err != nil {
				return err
			}
			if v.NotAfter, err = dayArg("until", until, true); err != nil {
				return err
			}
			v.Scenario, v.Method, v.Security, v.Contact = zh(scenario), zh(method), zh(security), zh(contact)
			text, err := documentOf(policies.KindApplication, v)
			return s.say(a, c, text, err)
		},
	}
	f := c.Flags()
	f.StringVar(&v.ID, "id", "", "申请编号 application id")
	f.StringVar(&v.Official, "official", "", "经办人编号（不写姓名）· id of the official who files, no name")
	f.StringVar(&scenario, "scenario", "", "应用场景 scenario")
	f.StringArrayVar(&v.Purposes, "purpose", nil, "用途编号，可重复 purpose id, repeatable")
	f.StringArrayVar(&scope, "scope", nil, "数据集=列,列，可重复 DATASET=COLUMN,COLUMN, repeatable")
	f.StringVar(&method, "method", "", "处理方式 method")
	f.StringVar(&from, "from", "", "期限起始日 first day")
	f.StringVar(&until, "until", "", "期限最后一日 last day")
	f.StringVar(&security, "security", "", "安全措施 security measures")
	f.StringVar(&contact, "contact", "", "联系部门（不写个人）· office to contact, no person")
	f.StringVar(&v.Renews, "renews", "", "续期的授权编号 licence to be renewed")
	s.add(c)
	require(c, "id", "official", "scenario", "purpose", "scope", "method", "from", "until", "security", "contact")
	return c
}

func (a *app) applicationReviewCmd() *cobra.Command {
	var v policies.Review
	var s statement
	var reason, basis, until string
	var scope []string
	c := &cobra.Command{
		Use:   "review APPLICATION",
		Short: "受理、退回、同意或不同意 · accept, return, approve or refuse",
		Long: `主管部门受理（accept）或退回补正（return）；数据被申请的部门以及按配置的主管部门同意（approve）或不同意（refuse，须写明法律依据）。
--scope 和 --until 可在同意时收窄范围和期限。
The regulator accepts or returns; each department whose data is asked for, and the regulator where the profile says so,
approves or refuses (a refusal names its legal basis). --scope and --until narrow what is approved.`,
		Example: `  sandgate application review app-1 --decision accept --official intake-1 --reason 材料齐全 --kit ./kits/data_bureau
  sandgate application review app-1 --decision approve --official h-1 --official h-2 --reason 最小必要 --scope visits=diagnosis --kit ./kits/health`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			v.Application = strings.TrimPrefix(args[0], "applications/")
			if v.By, err = a.signer(); err != nil {
				return err
			}
			if v.Scope, err = scopeArgs(scope); err != nil {
				return err
			}
			if until != "" {
				end, err := dayArg("until", until, true)
				if err != nil {
					return err
				}
				v.NotAfter = &end
			}
			v.Reason, v.Basis = zh(reason), zh(basis)
			text, err := documentOf(policies.KindReview, v)
			return s.say(a, c, text, err)
		},
	}
	f := c.Flags()
	f.StringVar(&v.Decision, "decision", "", "accept|return|approve|refuse")
	f.StringArrayVar(&v.Officials, "official", nil, "经办人编号，两人审核时重复给出 · id of an official, given twice where two must act")
	f.StringVar(&reason, "reason", "", "理由 reason")
	f.StringVar(&basis, "basis", "", "法律依据 legal basis")
	f.StringArrayVar(&scope, "scope", nil, "收窄为：数据集=列,列 · narrow to DATASET=COLUMN,COLUMN")
	f.StringVar(&until, "until", "", "收窄期限的最后一日 last day of a shorter term")
	s.add(c)
	require(c, "decision", "official", "reason")
	return c
}

func (a *app) applicationWithdrawCmd() *cobra.Command {
	var v policies.ApplicationWithdrawal
	var s statement
	var reason string
	c := &cobra.Command{
		Use:     "withdraw APPLICATION",
		Short:   "撤回申请 · withdraw an application",
		Example: "  sandgate application withdraw app-1 --official clerk-1 --reason 不再需要 --kit ./kits/alpha",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			v.Application, v.Reason = strings.TrimPrefix(args[0], "applications/"), zh(reason)
			if v.Operator, err = a.signer(); err != nil {
				return err
			}
			text, err := documentOf(policies.KindApplicationWithdrawal, v)
			return s.say(a, c, text, err)
		},
	}
	f := c.Flags()
	f.StringVar(&v.Official, "official", "", "经办人编号 id of the official")
	f.StringVar(&reason, "reason", "", "理由 reason")
	s.add(c)
	require(c, "official", "reason")
	return c
}

func (a *app) applicationListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "申请及进度 · applications and their progress",
		Example: "  sandgate application list --kit ./kits/alpha",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			var body [][]string
			req := &sandgatev1.ListApplicationsRequest{PageSize: 200}
			for {
				resp, err := cl.Desk.ListApplications(c.Context(), req)
				if err != nil {
					return err
				}
				for _, v := range resp.GetApplications() {
					body = append(body, []string{strings.TrimPrefix(v.GetName(), "applications/"), v.GetOperator(), a.state(v.GetState()), a.text(v.GetScenario()), a.whenIf(v.GetFileTime()), owedNow(v.GetDuties()), v.GetLicence()})
				}
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			return a.rows([]string{a.head("申请", "application"), a.head("运营机构", "operator"), a.head("状态", "state"), a.head("场景", "scenario"), a.head("提交", "filed"),
				a.head("待办", "owed"), a.head("授权", "licence")}, body)
		},
	}
}

func (a *app) applicationShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show APPLICATION",
		Short:   "一个申请的全过程 · every step of one application",
		Example: "  sandgate application show app-1 --kit ./kits/alpha",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			v, err := cl.Desk.GetApplication(c.Context(), &sandgatev1.GetApplicationRequest{Name: "applications/" + strings.TrimPrefix(args[0], "applications/")})
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.proto(v)
			}
			scope := v.GetScope()
			if len(v.GetGranted()) > 0 {
				scope = v.GetGranted()
			}
			var parts []string
			for _, o := range scope {
				parts = append(parts, o.GetDataset()+"="+strings.Join(o.GetColumns(), ","))
			}
			a.note("%s %s：%s；范围 %s；至 %s；待办 %s", "%s %s: %s; scope %s; until %s; owed %s", v.GetOperator(), a.state(v.GetState()), a.text(v.GetScenario()), strings.Join(parts, " "), lastDay(v.GetNotAfter()), owedNow(v.GetDuties()))
			return a.steps(v.GetSteps())
		},
	}
}

func (a *app) steps(steps []*sandgatev1.DeskStep) error {
	var body [][]string
	for _, s := range steps {
		body = append(body, []string{a.whenIf(s.GetCreateTime()), s.GetParty(), join(s.GetOfficials()), s.GetDecision(), a.text(s.GetReason()), a.text(s.GetBasis()), a.text(s.GetAnswer())})
	}
	return a.rows([]string{a.head("时间", "time"), a.head("办理方", "party"), a.head("经办人", "officials"), a.head("决定", "decision"), a.head("理由", "reason"),
		a.head("依据", "basis"), a.head("答复", "answer")}, body)
}
