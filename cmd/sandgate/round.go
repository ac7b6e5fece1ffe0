package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) roundCmd() *cobra.Command {
	c := &cobra.Command{Use: "round", Short: "跨域轮次：几个域的合计，各域数据不出域 · rounds across domains: sums of several domains whose data stay inside"}
	c.AddCommand(a.roundProposeCmd(), a.roundListCmd(), a.roundShowCmd(), a.roundCancelCmd(), a.roundHubCmd(),
		a.roundTrainCmd(), a.roundTrainingsCmd(), a.roundTrainingCmd(), a.roundModelCmd())
	return c
}

// roundFlags are the flags of a round's proposal.
type roundFlags struct {
	query                  queryFlags
	region, period, scheme string
	domains                []string
	seconds                int
	agreement              string
}

func (f *roundFlags) add(c *cobra.Command) {
	q := &f.query
	l := c.Flags()
	l.StringVar(&f.region, "region", "", "跨域协议名称 name of the agreement")
	l.StringVar(&f.period, "period", "", "数据期次：年（2026）或月（2026-10） year or month of the data")
	l.StringVar(&q.licence, "licence", os.Getenv("SANDGATE_LICENCE"), "授权编号 licence id (or SANDGATE_LICENCE)")
	l.StringVar(&q.purpose, "purpose", strings.Join(purposeDefault(), ","), "用途 purpose id (or SANDGATE_PURPOSE)")
	l.StringVarP(&q.file, "file", "f", "", "从文件读 SQL，- 为标准输入 · read SQL from a file, - for stdin")
	l.StringVar(&q.price, "price", "", "愿付的 ρ，默认由数源部门定 · ρ to spend; the department's default when empty")
	l.StringVar(&f.scheme, "scheme", "", "方案 bgv 或 mask，默认取协议的第一个 scheme, the agreement's first when empty")
	l.StringSliceVar(&f.domains, "domain", nil, "只请这些域，可重复，默认全部 domains to ask, repeatable; all when empty")
	l.IntVar(&f.seconds, "seconds", 0, "时限（秒），10 至 3600，默认 120 · seconds until the round ends, 10 to 3600, 120 by default")
	agreementFlag(c, &f.agreement)
	l.StringVar(&q.request, "request-id", "", "幂等请求号（UUID），默认随机 · idempotency UUID, random when empty")
	require(c, "region", "period")
}

func (a *app) roundProposeCmd() *cobra.Command {
	f := &roundFlags{}
	c := &cobra.Command{
		Use:   "propose [SQL] --region REGION --period PERIOD",
		Short: "提出一轮并等待合计 · propose a round and wait for its sums",
		Long: `网关按目录与规则拟定计划，记入账本，再请协议各域参加；每个域按自己的策略决定，并在自己的账本上扣减预算。
发布的是全体之和，已含各解密方的噪声；任何一方都看不到别人的部分。一个单元若在几个域出现，会被计几次（上限见输出）。
The gateway plans the query, enters it in the ledger and asks the domains of the agreement; each decides by its own policy and charges
its own ledger. What is released is the sum of all with every decryptor's noise in it; nobody sees another's part. A unit that stands
in several domains is counted in each (the output says how often at most).`,
		Example: `  sandgate round propose "SELECT scheme, COUNT(*) AS n, AVG(base_yuan) AS base FROM social_insurance GROUP BY scheme" --region delta --period 2025 --licence alpha-region --purpose urban_planning --kit ./kits/alpha
  sandgate round propose -f query.sql --region delta --period 2025 --scheme mask -o csv > answer.csv`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.proposeRound(c.Context(), f, args) },
	}
	f.add(c)
	return c
}

func (a *app) proposeRound(ctx context.Context, f *roundFlags, args []string) error {
	spec, err := a.query(&f.query, args)
	if err != nil {
		return err
	}
	domains := slices.Clone(f.domains)
	slices.Sort(domains)
	req := &sandgatev1.ProposeRoundRequest{RequestId: f.query.request, Region: f.region, Licence: spec.GetLicence(), Purpose: spec.GetPurpose(), Period: f.period, Sql: spec.GetSql(),
		PriceNanoRho: spec.GetPriceNanoRho(), Scheme: f.scheme, Contributors: slices.Compact(domains), Seconds: int32(f.seconds)}
	if req.RequestId == "" {
		req.RequestId = uuid.NewString()
	}
	agreed, err := a.agreement(f.agreement, f.region)
	if err != nil {
		return err
	}
	cl, err := a.dial()
	if err != nil {
		return err
	}
	defer cl.Close()
	r, err := cl.Round.ProposeRound(ctx, req)
	if err != nil {
		a.note("request-id: %s", "request-id: %s", req.RequestId)
		return err
	}
	r, err = cl.FollowRound(ctx, r, a.roundProgress())
	if ctx.Err() != nil {
		a.note("已停止等待；%s 仍在继续\n  查看: sandgate round show %s\n  取消: sandgate round cancel %s", "stopped waiting; %s goes on\n  look at it: sandgate round show %s\n  cancel it:  sandgate round cancel %s", r.GetName(), r.GetName(), r.GetName())
		return &silentError{exitError}
	}
	if err != nil {
		return err
	}
	return a.roundOutcome(ctx, cl, r, agreed, req.RequestId)
}

// phases of a round, for a person.
var roundPhases = map[string][2]string{
	"proposed": {"等待答复", "waiting for answers"}, "committing": {"密钥份额：承诺", "commitments to shares of the key"}, "revealing": {"密钥份额：公布", "shares of the key"},
	"collecting": {"收集密文", "collecting ciphertexts"}, "summing": {"求和", "adding up"}, "opening": {"联合解密与发布", "opening and releasing"}, "opened": {"发布", "releasing"},
}

// roundProgress tells of every step of a round once, on the error stream.
func (a *app) roundProgress() func(*sandgatev1.Round) {
	last := ""
	return func(r *sandgatev1.Round) {
		if r.GetState() != sandgatev1.Round_STATE_RUNNING {
			return
		}
		phase, ok := roundPhases[r.GetPhase()]
		if !ok {
			phase = [2]string{r.GetPhase(), r.GetPhase()}
		}
		line := r.GetPhase() + join(r.GetMissing())
		if line == last || r.GetPhase() == "" {
			return
		}
		last = line
		if len(r.GetMissing()) > 0 {
			a.note("%s %s；尚缺 %s", "%s: %s; without %s so far", r.GetName(), a.t(phase[0], phase[1]), join(r.GetMissing()))
		} else {
			a.note("%s %s", "%s: %s", r.GetName(), a.t(phase[0], phase[1]))
		}
	}
}

// roundOutcome prints the answer of a round, or why it has none.
func (a *app) roundOutcome(ctx context.Context, cl *client.Client, r *sandgatev1.Round, agreed *policies.Federation, request string) error {
	if r.GetState() == sandgatev1.Round_STATE_FAILED {
		return a.roundFailed(r)
	}
	got, err := cl.Round.GetRoundRelease(ctx, &sandgatev1.GetRoundReleaseRequest{Name: r.GetName()})
	if err != nil {
		return err
	}
	if err := a.checkAnswer(agreed, r, request, got); err != nil {
		return err
	}
	if a.format == "json" {
		return a.proto(got)
	}
	if err := a.release(got.GetRelease()); err != nil {
		return err
	}
	r = got.GetRound()
	a.note("%s：%d 个域之和（%s），方案 %s，每域花费 ρ %s；方括号内为 95%% 置信区间，含全体解密方的噪声（账本第 %d 条）", "%s: the sum of %d domains (%s) by %s; ρ %s charged in each; brackets hold the 95%% confidence interval of all decryptors' noise (ledger entry %d)",
		r.GetName(), len(r.GetContributors()), join(r.GetContributors()), r.GetScheme(), rho(r.GetPriceNanoRho()), got.GetRelease().GetReceipt().GetSeq())
	if r.GetOverlap() > 1 {
		if zh, en := got.GetOverlapNote(), got.GetOverlapNoteEn(); zh != "" {
			a.note("%s", "%s", a.t(zh, en))
		}
		a.note("重复计数：一个单元至多在 %d 个域出现，在几个域出现即计几次；噪声已按此放大", "double counting: one unit stands in %d domains at most and is counted once in each; the noise is scaled to it", r.GetOverlap())
	} else {
		a.note("重复计数：协议声明各域单元互不重叠；若有重叠，重叠者计两次", "double counting: the agreement declares that no unit stands in two domains; one that does is counted twice")
	}
	return nil
}

// brokenRounds are ends that no rule decided.
var brokenRounds = []string{"FEDERATION_LATE", "FEDERATION_GONE", "FEDERATION_INTERNAL", "HUB_RESTARTED", "HUB_LOST", "ROUND_NOT_BEGUN", "CANCELLED"}

func (a *app) roundFailed(r *sandgatev1.Round) error {
	code := exitRefused
	if a.format == "json" {
		if err := a.proto(r); err != nil {
			return err
		}
	}
	for _, x := range r.GetReasons() {
		if slices.Contains(brokenRounds, x.GetCode()) {
			code = exitError
		}
		a.note("%s 未能完成 %s: %s", "%s failed, %s: %s", r.GetName(), x.GetCode(), reasonText(x, a.lang))
	}
	return &silentError{code}
}

func (a *app) roundShowCmd() *cobra.Command {
	var wait bool
	var agreement string
	c := &cobra.Command{
		Use:     "show ROUND",
		Short:   "查看一轮及其合计 · show a round and its sums",
		Example: "  sandgate round show rounds/0123456789abcdef0123 --kit ./kits/alpha",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			r, err := cl.Round.GetRound(c.Context(), &sandgatev1.GetRoundRequest{Name: args[0]})
			if err == nil && wait {
				r, err = cl.FollowRound(c.Context(), r, a.roundProgress())
			}
			if err != nil {
				return err
			}
			if client.RoundID(r.GetName()) != client.RoundID(args[0]) {
				return texts.Errorf("the answer is of another round than the one that was asked for")
			}
			if k, kerr := a.kit(); r.GetState() == sandgatev1.Round_STATE_RELEASED && kerr == nil && k.Party == r.GetOperator() {
				agreed, err := a.agreement(agreement, r.GetRegion())
				if err != nil {
					return err
				}
				return a.roundOutcome(c.Context(), cl, r, agreed, "")
			}
			return a.rounds([]*sandgatev1.Round{r})
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "等到有结果 wait for its outcome")
	agreementFlag(c, &agreement)
	return c
}

func (a *app) roundListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "列出轮次，新的在前 · list rounds, newest first",
		Example: "  sandgate round list --kit ./kits/alpha",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			var all []*sandgatev1.Round
			req := &sandgatev1.ListRoundsRequest{}
			for {
				resp, err := cl.Round.ListRounds(c.Context(), req)
				if err != nil {
					return err
				}
				all = append(all, resp.GetRounds()...)
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					return a.rounds(all)
				}
			}
		},
	}
}

func (a *app) rounds(all []*sandgatev1.Round) error {
	var body [][]string
	for _, r := range all {
		why := r.GetPhase()
		if p, ok := roundPhases[why]; ok && a.format == "table" {
			why = a.t(p[0], p[1])
		}
		if len(r.GetMissing()) > 0 {
			why += " ← " + join(r.GetMissing())
		}
		for _, x := range r.GetReasons() {
			if why = x.GetCode(); x.GetSetBy() != "" {
				why += " " + x.GetSetBy()
			}
			if a.format == "table" && len(all) == 1 {
				why += "\n" + reasonText(x, a.lang)
			}
		}
		body = append(body, []string{r.GetName(), a.when(r.GetCreateTime().AsTime()), r.GetOperator(), r.GetRegion(), r.GetDataset(), r.GetPeriod(), r.GetScheme(), join(r.GetContributors()),
			a.state(strings.TrimPrefix(r.GetState().String(), "STATE_")), rho(r.GetPriceNanoRho()), why})
	}
	return a.rows([]string{a.head("轮次", "round"), a.head("时间", "time"), a.head("运营机构", "operator"), a.head("协议", "agreement"), a.head("数据集", "dataset"), a.head("期次", "period"),
		a.head("方案", "scheme"), a.head("参与方", "domains"), a.head("状态", "state"), "ρ", a.head("进度或原因", "phase or why")}, body, 9)
}

func (a *app) roundCancelCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel ROUND",
		Short: "取消进行中的轮次 · cancel a round that runs",
		Long: `取消进行中的轮次：各方销毁密钥，账本记为失败（CANCELLED）。各域已扣的预算不退还。
Cancels a round that runs: every party discards its keys and the ledger holds it as failed (CANCELLED). What the domains have charged
stays charged.`,
		Example: "  sandgate round cancel rounds/0123456789abcdef0123 --kit ./kits/alpha",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			r, err := cl.Round.CancelRound(c.Context(), &sandgatev1.CancelRoundRequest{Name: args[0]})
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.proto(r)
			}
			a.say("%s 已取消；各域已扣的预算不退还", "%s is cancelled; what the domains have charged stays charged", r.GetName())
			return nil
		},
	}
}

func (a *app) roundHubCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "hub",
		Short:   "本网关作为汇聚方的公钥，写入跨域协议 · this gateway's key as the aggregator, for agreements",
		Example: "  sandgate round hub --kit ./kits/data_bureau",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			h, err := cl.Round.GetHub(c.Context(), &sandgatev1.GetHubRequest{})
			if err != nil {
				return err
			}
			if h.GetKey() == "" {
				return errors.New(a.t("网关没有汇聚方公钥", "the gateway has no key as an aggregator"))
			}
			return a.rows([]string{a.head("公钥", "key"), a.head("账本", "origin"), a.head("协议", "agreements")}, [][]string{{h.GetKey(), h.GetOrigin(), join(h.GetRegions())}})
		},
	}
}
