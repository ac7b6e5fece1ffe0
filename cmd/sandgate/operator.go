package main

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/compute/budget"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
)

// queryFlags are the flags of a query and the ground it stands on.
type queryFlags struct {
	licence, purpose, file, price, request string
	params, targets                        []string
}

func (q *queryFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&q.licence, "licence", os.Getenv("SANDGATE_LICENCE"), "授权编号 licence id (or SANDGATE_LICENCE)")
	f.StringVar(&q.purpose, "purpose", os.Getenv("SANDGATE_PURPOSE"), "用途 purpose id (or SANDGATE_PURPOSE)")
	f.StringVarP(&q.file, "file", "f", "", "从文件读 SQL，- 为标准输入 · read SQL from a file, - for stdin")
	f.StringVar(&q.price, "price", "", "愿付的 ρ，默认由数源部门定 · ρ to spend; the department's default when empty")
	f.StringArrayVar(&q.targets, "target-error", nil, "要求的 95% 误差（替代价格）：误差，或 列=误差，或 列=误差@组内值数，可重复 · 95% error to buy instead of naming a price: ERROR, COLUMN=ERROR or COLUMN=ERROR@VALUES in a cell; repeatable")
	f.StringArrayVar(&q.params, "param", nil, "占位符 $1、$2… 的取值，按次序重复给出 · value of $1, $2, …, given in order")
}

// maxSQL leaves the 64 KiB limit to the gateway, which refuses in words, and
// only keeps a wrong file from being read whole.
const maxSQL = 4 << 20

func (a *app) query(q *queryFlags, args []string) (*sandgatev1.QuerySpec, error) {
	spec := &sandgatev1.QuerySpec{Licence: q.licence, Purpose: q.purpose, Parameters: q.params}
	switch {
	case len(args) == 1 && q.file == "":
		spec.Sql = args[0]
	case len(args) == 0 && q.file != "":
		var text []byte
		var err error
		if q.file == "-" {
			text, err = io.ReadAll(io.LimitReader(a.in, maxSQL))
		} else {
			text, err = os.ReadFile(q.file)
		}
		if err != nil {
			return nil, texts.Errorf("failed to read SQL: %w", err)
		}
		spec.Sql = string(text)
	default:
		return nil, usageError{errors.New(a.t("请给出一条 SQL，或用 -f 指定文件", "give one SQL text, or a file with -f"))}
	}
	// A gRPC string must be UTF-8; say so here rather than fail in transport.
	for _, p := range q.params {
		if strings.ToValidUTF8(p, "") != p {
			return nil, usageError{errors.New(a.t("--param 不是 UTF-8 文本", "--param is not UTF-8 text"))}
		}
	}
	if strings.ToValidUTF8(spec.Sql, "") != spec.Sql {
		return nil, usageError{errors.New(a.t("SQL 不是 UTF-8 文本", "the SQL is not UTF-8 text"))}
	}
	if q.price != "" {
		p, err := budget.ParsePrice(q.price)
		if err != nil || p <= 0 {
			return nil, usageError{errors.New(a.t("--price 不是正的 ρ，例如 0.001", "--price is not a positive ρ such as 0.001"))}
		}
		spec.PriceNanoRho = int64(p)
	}
	for _, text := range q.targets {
		t, err := targetError(text)
		if err != nil || q.price != "" {
			return nil, usageError{errors.New(a.t("--target-error 形如 50、n=50 或 mean=0.5@1000，且不与 --price 并用", "--target-error is like 50, n=50 or mean=0.5@1000, and not used with --price"))}
		}
		spec.TargetErrors = append(spec.TargetErrors, t)
	}
	return spec, nil
}

// targetError reads [COLUMN=]ERROR[@VALUES]. The last = counts: a column's name
// may hold one.
func targetError(text string) (*sandgatev1.TargetError, error) {
	t := &sandgatev1.TargetError{HalfWidth: text}
	if i := strings.LastIndex(text, "="); i >= 0 {
		t.Column, t.HalfWidth = text[:i], text[i+1:]
	}
	if half, n, ok := strings.Cut(t.HalfWidth, "@"); ok {
		values, err := strconv.ParseInt(n, 10, 64)
		if err != nil || values < 1 {
			return nil, texts.Errorf("number of values")
		}
		t.HalfWidth, t.Values = half, values
	}
	if t.HalfWidth == "" || strings.ToValidUTF8(text, "") != text {
		return nil, texts.Errorf("error")
	}
	return t, nil
}

func (a *app) jobCmd() *cobra.Command {
	c := &cobra.Command{Use: "job", Short: "作业：解释、提交、查看、取消 · explain, submit, look at and cancel jobs"}
	c.AddCommand(a.jobExplainCmd(), a.jobSubmitCmd(), a.jobShowCmd(), a.jobListCmd(), a.jobCancelCmd())
	return c
}

func (a *app) jobExplainCmd() *cobra.Command {
	q := &queryFlags{}
	c := &cobra.Command{
		Use:   "explain [SQL]",
		Short: "执行前说明：结论、改写计划、价格、预期误差 · verdict, plan, price and error before anything is run",
		Example: `  sandgate job explain "SELECT district, COUNT(*) AS n FROM population GROUP BY district" --licence alpha-2026 --purpose urban_planning --kit ./kits/alpha
  sandgate job explain -f query.sql --licence alpha-2026 --purpose urban_planning`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			spec, err := a.query(q, args)
			if err != nil {
				return err
			}
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			x, err := cl.Operator.ExplainJob(c.Context(), &sandgatev1.ExplainJobRequest{Query: spec})
			if err != nil {
				return err
			}
			return a.explanation(x, spec.GetSql())
		},
	}
	q.add(c)
	return c
}

func (a *app) explanation(x *sandgatev1.ExplainJobResponse, sql string) error {
	if a.format == "json" {
		if err := a.proto(x); err != nil {
			return err
		}
	} else if !x.GetAllowed() {
		for _, r := range x.GetReasons() {
			a.say("将被拒绝 %s: %s", "would be refused %s: %s", r.GetCode(), reasonText(r, a.lang))
		}
	}
	if !x.GetAllowed() {
		return &silentError{exitRefused}
	}
	if a.format == "json" {
		return nil
	}
	if b := x.GetBoundary(); b != nil && b.GetCoreSql() == "" {
		a.say("结论: 可以执行，不收费", "verdict: may run, free of charge")
		a.boundary(b, sql)
		return nil
	}
	a.say("结论: 可以执行（%s 方式）", "verdict: may run (mode %s)", x.GetMode())
	if x.GetRepeat() {
		a.say("此查询已发布过：返回同一结果，不收费", "this query was released before: the same answer, free of charge")
	} else {
		a.say("价格: ρ %s", "price: ρ %s", rho(x.GetPriceNanoRho()))
	}
	a.level(x)
	a.boundary(x.GetBoundary(), sql)
	steps := x.GetStepsZh()
	if a.lang == "en" {
		steps = x.GetStepsEn()
	}
	for _, s := range steps {
		a.say("  · %s", "  · %s", s)
	}
	a.say("引擎语句:\n  %s", "engine statement:\n  %s", x.GetEngineSql())
	var body [][]string
	for _, e := range x.GetErrors() {
		half := e.GetHalfWidth()
		switch {
		case e.GetRank():
			half = a.t("名次误差 "+half+" 行", half+" rows of rank")
		case half == "":
			half = a.t(e.GetHalfWidth_1000()+"（组内 1000 个值时）", e.GetHalfWidth_1000()+" (in a cell of 1000 values)")
		}
		if e.GetTypical() {
			half = "≈ " + half
		}
		body = append(body, []string{e.GetColumn(), e.GetStandardDeviation(), half})
	}
	printTable(a.out, []string{a.t("输出", "output"), a.t("噪声标准差", "noise sd"), a.t("95% 区间半宽", "95% half-width")}, body, 1, 2)
	return a.budgets(x.GetBudgets(), true)
}

func (a *app) jobSubmitCmd() *cobra.Command {
	q, on := &queryFlags{}, &twinFlags{}
	c := &cobra.Command{
		Use:   "submit [SQL]",
		Short: "提交查询并等待发布结果 · submit a query and wait for its release",
		Long: `提交查询。中断后用同一 --request-id 重试：不会重复受理，也不会重复扣减预算。
Submits a query. After an interruption retry with the same --request-id: nothing is decided or charged twice.`,
		Example: `  sandgate job submit "SELECT district, COUNT(*) AS n FROM population GROUP BY district" --licence alpha-2026 --purpose urban_planning --kit ./kits/alpha
  sandgate job submit -f query.sql --licence alpha-2026 --purpose urban_planning -o csv > answer.csv
  sandgate job submit -f query.sql --licence alpha-2026 --purpose urban_planning --on twin`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			spec, err := a.query(q, args)
			if err != nil {
				return err
			}
			if q.request == "" {
				q.request = uuid.NewString()
			}
			run, err := on.run(a)
			if err != nil {
				return err
			}
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			job, place, waits := "", int32(0), false
			r, err := cl.Follow(c.Context(), &sandgatev1.SubmitJobRequest{Query: spec, RequestId: q.request, Twin: run}, func(j *sandgatev1.Job) {
				job = j.GetName()
				if at := j.GetQueuePosition(); at != 0 && at != place {
					place = at
					a.note("%s 排队中，第 %d 位", "%s is queued, number %d", job, at)
				}
				if j.GetState() == sandgatev1.Job_STATE_WAITING_FOR_WITNESSES && !waits {
					waits = true
					a.note("%s 已入账，等待见证签名", "%s is in the ledger and waits for witnesses", job)
				}
			})
			if c.Context().Err() != nil && run == nil {
				return a.interrupted(job, q.request)
			}
			if err != nil {
				a.note("request-id: %s", "request-id: %s", q.request)
				return err
			}
			if err := a.release(r); err != nil {
				return err
			}
			a.summary(r)
			return nil
		},
	}
	q.add(c)
	on.add(c)
	c.Flags().StringVar(&q.request, "request-id", "", "幂等请求号（UUID），默认随机 · idempotency UUID, random when empty")
	return c
}

// interrupted says what becomes of a job whose submitter stopped waiting.
func (a *app) interrupted(job, request string) error {
	if job == "" {
		a.note("已中断。作业可能已受理：用同一请求号重试不会重复扣减 --request-id %s", "interrupted. The job may have been accepted: a retry is not charged twice with --request-id %s", request)
		return &silentError{exitError}
	}
	a.note("已停止等待；%s 仍在继续，预算已扣减\n  等待结果: sandgate job submit … --request-id %s\n  查看: sandgate job show %s\n  取消（不退还预算）: sandgate job cancel %s",
		"stopped waiting; %s goes on and its price is debited\n  wait for it:  sandgate job submit … --request-id %s\n  look at it:   sandgate job show %s\n  cancel it (the price stays debited): sandgate job cancel %s", job, request, job, job)
	return &silentError{exitError}
}

func (a *app) jobCancelCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel JOB",
		Short: "取消排队或运行中的作业 · cancel a queued or running job",
		Long: `取消排队或运行中的作业：工作进程立即终止，账本记为失败（CANCELLED）。已扣的预算一律不退还，排队中的作业也一样：
是否已读数据不可由此推断。本机构可取消自己的作业，主管部门可取消任何作业。
Cancels a queued or running job: its worker ends at once and the ledger holds it as failed (CANCELLED). The price
stays debited always, for a queued job too, so that nobody learns whether data was read. An operator cancels its own
jobs, the regulator any.`,
		Example: "  sandgate job cancel jobs/0123456789abcdef0123 --kit ./kits/alpha",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			if err := cl.Cancel(c.Context(), args[0]); err != nil {
				return err
			}
			j, err := cl.Operator.GetJob(c.Context(), &sandgatev1.GetJobRequest{Name: args[0]})
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.proto(j)
			}
			if j.GetSynthetic() {
				a.say("%s 已取消；演练不扣减", "%s is cancelled; a rehearsal costs nothing", j.GetName())
				return nil
			}
			a.say("%s 已取消；已扣的 ρ %s 不退还", "%s is cancelled; its price, ρ %s, stays debited", j.GetName(), rho(j.GetPriceNanoRho()))
			return nil
		},
	}
}

// summary tells what a release cost, on the error stream so that data piped on
// stays clean.
func (a *app) summary(r *sandgatev1.Release) {
	if r.GetSynthetic() != nil {
		a.syntheticSummary(r.GetSynthetic())
		return
	}
	defer a.derivedSummary(r)
	switch {
	case r.GetDerived() && r.GetDigest() == "":
	case r.GetRepeatOf() != "":
		a.note("重复查询，返回 jobs/%s 的结果，未收费（账本第 %d 条）", "a repeat: the answer of jobs/%s, free of charge (ledger entry %d)", r.GetRepeatOf(), r.GetReceipt().GetSeq())
	case r.GetMode() == "exact":
		a.note("精确方式：已按门槛抑制和取整（账本第 %d 条）", "exact mode: thresholds and rounding applied (ledger entry %d)", r.GetReceipt().GetSeq())
	case r.GetDerived():
		a.note("花费 ρ %s（账本第 %d 条）", "cost ρ %s (ledger entry %d)", rho(r.GetPriceNanoRho()), r.GetReceipt().GetSeq())
	default:
		a.note("花费 ρ %s；方括号内为 95%% 置信区间，只反映噪声，超出每单元行数上限的行不计（账本第 %d 条）", "cost ρ %s; brackets hold the 95%% confidence interval of the noise; rows beyond a unit's bound are not counted (ledger entry %d)", rho(r.GetPriceNanoRho()), r.GetReceipt().GetSeq())
	}
}

func (a *app) jobShowCmd() *cobra.Command {
	var released bool
	c := &cobra.Command{
		Use:     "show JOB",
		Short:   "查看作业及其发布结果 · show a job and its release",
		Example: "  sandgate job show jobs/0123456789abcdef0123 --kit ./kits/alpha",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			j, err := cl.Operator.GetJob(c.Context(), &sandgatev1.GetJobRequest{Name: args[0]})
			if err != nil {
				return err
			}
			if j.GetState() != sandgatev1.Job_STATE_SUCCEEDED {
				return a.jobs([]*sandgatev1.Job{j})
			}
			r, err := cl.Operator.GetRelease(c.Context(), &sandgatev1.GetReleaseRequest{Name: args[0], ReleasedOnly: released})
			if err != nil {
				return err
			}
			if err := a.release(r); err != nil {
				return err
			}
			a.summary(r)
			return nil
		},
	}
	c.Flags().BoolVar(&released, "released", false, "只取发布结果，不做语句自带的后处理 · the release without the text's own post-processing")
	return c
}

func (a *app) jobListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "列出作业，新的在前 · list jobs, newest first",
		Example: "  sandgate job list --kit ./kits/alpha",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			var all []*sandgatev1.Job
			req := &sandgatev1.ListJobsRequest{}
			for {
				resp, err := cl.Operator.ListJobs(c.Context(), req)
				if err != nil {
					return err
				}
				all = append(all, resp.GetJobs()...)
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					return a.jobs(all)
				}
			}
		},
	}
}

func (a *app) jobs(all []*sandgatev1.Job) error {
	var body [][]string
	for _, j := range all {
		why := j.GetErrorCode()
		for _, r := range j.GetReasons() {
			if r.GetCode() == why { // stopped: the reason names the order
				why += " " + r.GetRule()
				continue
			}
			if why != "" {
				why += " "
			}
			why += r.GetCode()
		}
		if j.GetRepeatOf() != "" {
			why = a.t("重复 ", "repeat of ") + j.GetRepeatOf()
		}
		place := ""
		if j.GetQueuePosition() > 0 {
			place = itoa(int64(j.GetQueuePosition()))
		}
		body = append(body, []string{j.GetName(), a.when(j.GetCreateTime().AsTime()), j.GetOperator(), j.GetLicence(), j.GetPurpose(), j.GetProduct(),
			a.state(strings.TrimPrefix(j.GetState().String(), "STATE_")), place, rho(j.GetPriceNanoRho()), why})
	}
	return a.rows([]string{a.head("作业", "job"), a.head("时间", "time"), a.head("运营机构", "operator"), a.head("授权", "licence"), a.head("用途", "purpose"), a.head("产品", "product"),
		a.head("状态", "state"), a.head("排队", "queue"), "ρ", a.head("原因", "why")}, body, 7, 8)
}

func (a *app) budgetCmd() *cobra.Command {
	c := &cobra.Command{Use: "budget", Short: "隐私预算 · privacy budgets"}
	show := &cobra.Command{
		Use:     "show LICENCE",
		Short:   "各范围已用和剩余 · what is spent and left in every scope",
		Example: "  sandgate budget show alpha-2026 --kit ./kits/alpha",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			resp, err := cl.Operator.ListBudgets(c.Context(), &sandgatev1.ListBudgetsRequest{Licence: args[0]})
			if err != nil {
				return err
			}
			l, err := cl.Licence.GetLicence(c.Context(), &sandgatev1.GetLicenceRequest{Name: "licences/" + args[0]})
			if err != nil {
				return err
			}
			return a.budgets(resp.GetBudgets(), false, l.GetQuotas()...)
		},
	}
	c.AddCommand(show)
	return c
}

var scopeTitles = map[string][2]string{
	"query": {"单次查询", "single query"}, "operator_year": {"本机构本年度", "this operator, this year"},
	"dataset_year": {"全部机构本年度", "all operators, this year"}, "lifetime": {"数据集终身", "lifetime of the data set"},
	string(budget.ScopeInformation): {"本快照信息量（全部机构）", "information of this snapshot, all operators"},
}

// budgets prints scopes; after says that the spent column includes the query
// being explained.
func (a *app) budgets(list []*sandgatev1.Budget, after bool, quotas ...*sandgatev1.QuotaLine) error {
	var body [][]string
	left := func(b *sandgatev1.Budget) string {
		if b.QueriesLeft == nil {
			return ""
		}
		return strconv.FormatInt(b.GetQueriesLeft(), 10)
	}
	for _, b := range list {
		scope := b.GetScope()
		if t := scopeTitles[scope]; a.format == "table" {
			scope = a.t(t[0], t[1])
		}
		if b.GetScope() == string(budget.ScopeInformation) {
			bits := func(n int64) string { return budget.BitsText(budget.Nano(n)) + " " + a.t("比特", "bits") }
			body = append(body, []string{b.GetDataset(), scope, bits(b.GetLimitNanoRho()), bits(b.GetSpentNanoRho()), bits(b.GetLimitNanoRho() - b.GetSpentNanoRho()), left(b)})
			continue
		}
		body = append(body, []string{b.GetDataset(), scope, rho(b.GetLimitNanoRho()), rho(b.GetSpentNanoRho()), rho(b.GetLimitNanoRho() - b.GetSpentNanoRho()), left(b)})
	}
	for _, q := range quotas {
		body = append(body, a.quotaRow(q))
	}
	spent := a.head("已用 ρ", "spent ρ")
	more := a.head("还可查询次数（默认价）", "queries left at the default price")
	if after {
		spent = a.head("执行后已用 ρ", "spent ρ after it")
		more = a.head("还可如此查询次数", "such queries left")
	}
	return a.rows([]string{a.head("数据集", "dataset"), a.head("范围", "scope"), a.head("上限 ρ", "limit ρ"), spent, a.head("剩余 ρ", "left ρ"), more}, body, 2, 3, 4, 5)
}
