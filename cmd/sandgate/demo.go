package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/spf13/cobra"

	"encoding/json"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

func (a *app) demoCmd() *cobra.Command {
	o := demoOptions{}
	c := &cobra.Command{
		Use:   "demo",
		Short: "演示：从入库到审计的完整过程 · the whole story, from ingest to audit",
		Long: `在临时目录中生成演示城市，启动网关（回环地址、双向 TLS），由部门发布目录和策略并入库，由运营机构提交作业，
由主管部门离线审计。任何一步结果不如预期则以非零退出码结束。
Plays the whole story in a temporary home: departments publish catalogue and signed policy and ingest, operators
submit jobs, the regulator audits offline. Ends with a non-zero exit code when any step does not turn out as it must.

用自己的数据 with your own data: --data FILE --catalog FILE（目录文件须含 Catalogue、Grading、Masking、Disclosure）`,
		Example: `  sandgate demo --once
  sandgate demo --once --lang en --residents 20000
  sandgate demo --federation
  sandgate demo --once --data encounters.csv.gz --catalog testdata/diabetes/bundle.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.federation {
				return a.playFederation(c.Context(), o)
			}
			return a.demo(c.Context(), o)
		},
	}
	f := c.Flags()
	f.BoolVar(&o.federation, "federation", false, "演示跨域聚合：三个城市与主管部门，各为一个进程 rounds across three cities and a regulator, each a process")
	f.BoolVar(&o.once, "once", false, "演示后退出 exit after the story")
	f.Uint64Var(&o.seed, "seed", 1, "生成种子 seed of the generator")
	f.IntVar(&o.residents, "residents", 200_000, "居民数 residents of the demo city")
	f.StringVar(&o.assets, "assets", filepath.Join("testdata", "city"), "演示城市的目录和策略文件 catalogue and policy files of the demo city")
	f.BoolVar(&o.rehearse, "rehearse", false, "每一步先在合成孪生上演练 play every step on synthetic twins first")
	f.StringVar(&o.data, "data", "", "自己的数据文件 a data file of your own (csv, csv.gz, parquet)")
	f.StringVar(&o.catalog, "catalog", "", "其目录与策略文件 its catalogue and policy bundle")
	f.StringVar(&o.home, "dir", "", "演示目录，默认临时 directory of the demo, temporary when empty")
	f.StringVar(&o.crypto, "crypto", cryptoDefault, cryptoUsage)
	f.StringVar(&o.tier, "isolation", string(sandbox.TierFull), "隔离等级 isolation tier: full|container")
	c.MarkFlagsRequiredTogether("data", "catalog")
	c.MarkFlagsMutuallyExclusive("federation", "data")
	return c
}

// demoTick keeps the story short; a city that serves takes the default.
const demoTick = 100 * time.Millisecond

type demoOptions struct {
	once          bool
	federation    bool
	seed          uint64
	residents     int
	assets        string
	data, catalog string
	home          string
	crypto        string
	tier          string
	rehearse      bool
}

// stage is everything a story is played on.
type stage struct {
	a        *app
	dir      string
	addr     string
	home     *home.Home
	keys     *home.Keys
	clients  map[string]*client.Client
	receipts []evidence.Receipt
	witness  *watching
	rehearse bool     // every step is played on twins first
	twinned  []string // data sets of which a twin is published
	answered []ownAnswer
	trained  []ownModel
}

func (s *stage) kitDir(party string) string { return filepath.Join(s.dir, "kits", party) }

func (a *app) demo(ctx context.Context, o demoOptions) (err error) {
	begin := time.Now()
	story, err := a.story(o)
	if err != nil {
		return err
	}
	dir := o.home
	if dir == "" {
		if dir, err = os.MkdirTemp("", "sandgate-demo-"); err != nil {
			return texts.Errorf("failed to create demo directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return texts.Errorf("failed to listen: %w", err)
	}
	s := &stage{a: a, dir: dir, addr: lis.Addr().String(), clients: map[string]*client.Client{}, rehearse: o.rehearse && story.twins != nil}
	if s.home, s.keys, err = createHome(filepath.Join(dir, "home"), story.regulator, s.kitDir(story.regulator), "sandgate.demo/"+story.id, s.addr, o.crypto, []string{"127.0.0.1", "localhost"}); err != nil {
		return errors.Join(err, lis.Close())
	}
	if s.witness, err = s.watch(ctx, story.regulator); err != nil {
		return errors.Join(err, lis.Close())
	}
	defer func() { err = errors.Join(err, s.witness.stop()) }()
	d, err := gateway.OpenDomain(ctx, s.home, gateway.Options{Tier: sandbox.Tier(o.tier), Tick: demoTick, Logger: slog.New(slog.NewTextHandler(a.err, a.logOptions(slog.LevelWarn)))})
	if err != nil {
		return errors.Join(err, lis.Close())
	}
	serving, stop := context.WithCancel(ctx)
	var served sync.WaitGroup
	var serveErr error
	served.Go(func() { serveErr = gateway.Serve(serving, d, lis) })
	defer func() {
		for _, c := range s.clients {
			err = errors.Join(err, c.Close())
		}
		stop()
		served.Wait()
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, serveErr, d.Close(closing))
	}()
	a.heading("Sandgate 公共数据沙箱：原始数据不出域，数据可用不可见", "Sandgate: raw data never leaves the domain; usable but invisible")
	a.say("网关 %s（双向 TLS 1.3），隔离层: %s", "gateway %s (mutual TLS 1.3), isolation: %s", s.addr, join(d.Layers()))
	if err := s.play(ctx, story); err != nil {
		return err
	}
	a.say("\n演示用时 %.1f 秒", "\nthe story took %.1f s", time.Since(begin).Seconds())
	if o.once {
		return nil
	}
	s.invite(story)
	<-ctx.Done()
	return nil
}

func (a *app) heading(zh, en string, args ...any) {
	fmt.Fprintf(a.out, "\n== "+a.t(zh, en)+" ==\n", args...)
}

func (s *stage) play(ctx context.Context, story *story) error {
	a := s.a
	a.heading("一、登记、目录与策略（数源部门签名，网关无法伪造）", "1. Registry, catalogue and policy (signed by the departments; the gateway cannot forge them)")
	if err := s.enrol(ctx, story); err != nil {
		return err
	}
	for _, b := range story.bundles {
		if err := s.applySigned(ctx, b.department, b.text, b.department); err != nil {
			return err
		}
		a.say("  %s: 已签名并生效", "  %s: signed and in force", b.department)
	}
	a.heading("二、入库（校验、脱敏、令牌化；成为不可变快照）", "2. Ingest (checked, masked, tokenised; an immutable snapshot)")
	for _, t := range story.tables {
		start := time.Now()
		r, err := t.open()
		if err != nil {
			return err
		}
		snap, err := a.ingest(ctx, s.clients[t.department], t.dataset, t.format, r)
		err = errors.Join(err, r.Close())
		if err != nil {
			return texts.Errorf("%s: %w", t.dataset, err)
		}
		if err := s.keep(snap.GetReceipt()); err != nil {
			return err
		}
		a.say("  %-18s %8d 行  %7d 单元  坏行 %d  截界 %d  %.1f 秒", "  %-18s %8d rows  %7d units  bad %d  clamped %d  %.1f s",
			t.dataset, snap.GetRows(), snap.GetUnits(), snap.GetBadRows(), snap.GetClampedValues(), time.Since(start).Seconds())
	}
	a.heading("三、授权（主管部门与每个数源部门共同签名）", "3. Licences (signed by the regulator and every owning department)")
	for _, l := range story.licences {
		if err := s.applySigned(ctx, story.regulator, l.text, append([]string{story.regulator}, l.departments...)...); err != nil {
			return err
		}
		a.say("  %s → %s", "  %s → %s", l.id, l.operator)
	}
	a.heading("四、运营机构的作业：发布或拒绝", "4. The operators' jobs: released or refused")
	if s.rehearse {
		for _, x := range story.twins.twins {
			if err := s.publishTwin(ctx, x); err != nil {
				return err
			}
		}
	}
	for i, st := range story.steps {
		if err := s.step(ctx, i+1, st); err != nil {
			return err
		}
	}
	next, numerals := 5, []string{"五", "六", "七", "八"}
	section := func(zh, en string) {
		a.heading(numerals[next-5]+"、"+zh, fmt.Sprint(next)+". "+en)
		next++
	}
	if story.models != nil {
		section("模型：在域内训练，受检合格方可发布", "Models: trained inside, released only when they withstand the gate")
		if err := s.models(ctx, story.models, story.regulator); err != nil {
			return err
		}
	}
	if story.twins != nil {
		section("合成孪生：运营机构对着它开发，不花预算", "A synthetic twin: operators develop on it and spend nothing")
		if err := s.twins(ctx, story.twins, s.rehearse); err != nil {
			return err
		}
	}
	section("预算余额", "Budget left")
	for _, l := range story.budgets {
		resp, err := s.clients[l.operator].Operator.ListBudgets(ctx, &sandgatev1.ListBudgetsRequest{Licence: l.id})
		if err != nil {
			return err
		}
		a.say("%s（%s）", "%s (%s)", l.id, l.operator)
		if err := a.budgets(resp.GetBudgets(), false); err != nil {
			return err
		}
	}
	section("主管部门离线审计（复制账本，逐条重放，不信任任何人）", "The regulator audits offline (copies the ledger, replays every entry, trusts nobody)")
	return s.audit(ctx, story)
}

// enrol makes every party's kit and applies the registry.
func (s *stage) enrol(ctx context.Context, story *story) error {
	text := story.registry
	for _, p := range story.parties {
		var k *home.Kit
		var err error
		if p == story.regulator {
			k, err = home.OpenKit(s.kitDir(p))
		} else {
			k, err = s.home.NewKit(s.keys, s.kitDir(p), p, s.addr, time.Now())
		}
		if err != nil {
			return err
		}
		sign, err := k.SigningKey()
		if err != nil {
			return err
		}
		public, err := home.PublicOf(sign)
		if err != nil {
			return err
		}
		text = strings.ReplaceAll(text, "@KEY:"+p, public)
		if s.clients[p], err = client.Dial(k, ""); err != nil {
			return err
		}
	}
	if err := s.applySigned(ctx, story.regulator, text, story.regulator); err != nil {
		return err
	}
	s.a.say("  %s: 登记表已生效（%d 个参与方）", "  %s: registry in force (%d parties)", story.regulator, len(story.parties))
	if err := s.applySigned(ctx, story.regulator, s.witness.policy(story.regulator), story.regulator); err != nil {
		return err
	}
	s.a.say("  %s: 见证规则已生效，见证方 %s（独立进程）", "  %s: witness policy in force, witness on %s (a process of its own)", story.regulator, s.witness.url)
	return nil
}

// applySigned has a bundle signed by the signers and applies it as a party.
func (s *stage) applySigned(ctx context.Context, as, text string, signers ...string) error {
	var env *dsse.Envelope
	for _, p := range signers {
		k, err := home.OpenKit(s.kitDir(p))
		if err != nil {
			return err
		}
		key, err := k.SigningKey()
		if err != nil {
			return err
		}
		if env, err = policies.Sign(env, []byte(text), p, key); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(env)
	if err != nil {
		return texts.Errorf("failed to encode envelope: %w", err)
	}
	resp, err := s.clients[as].Policy.ApplyPolicy(ctx, &sandgatev1.ApplyPolicyRequest{Envelope: raw})
	if err != nil {
		return err
	}
	return s.keep(resp.GetReceipt())
}

func (s *stage) keep(r *sandgatev1.Receipt) error {
	parsed, err := evidence.ParseReceipt(r.GetJson())
	if err != nil {
		return texts.Errorf("failed to read receipt: %w", err)
	}
	s.receipts = append(s.receipts, parsed)
	return nil
}

// step submits one job and checks that it ends as the story says.
func (s *stage) step(ctx context.Context, n int, st step) error {
	a := s.a
	fmt.Fprintf(a.out, "\n[%d] %s · %s\n", n, st.operator, a.t(st.zh, st.en))
	fmt.Fprintf(a.out, "    %s\n", st.show())
	var r *sandgatev1.Release
	var err error
	var shown *sandgatev1.SyntheticMark // what the rehearsal said
	if s.rehearse && st.vary == nil {
		if shown, err = s.rehearsal(ctx, st); err != nil {
			return texts.Errorf("step %d: %w", n, err)
		}
	}
	for range max(1, st.times) {
		q := st.query()
		if st.vary != nil {
			q.Sql = st.vary()
		}
		if r, err = s.clients[st.operator].Run(ctx, &sandgatev1.SubmitJobRequest{Query: q, RequestId: uuid.NewString()}); err != nil {
			break
		}
		if err := s.keep(r.GetReceipt()); err != nil {
			return err
		}
	}
	if p := client.ProblemOf(err); err != nil && p != nil {
		for _, x := range p.Reasons {
			a.say("  ✗ 拒绝 %s: %s", "  ✗ refused %s: %s", x.GetCode(), reasonText(x, a.lang))
		}
		if len(p.Reasons) == 0 || p.Reasons[0].GetCode() != st.want {
			return texts.Errorf("step %d: outcome %s %q, expected %s", n, p.Code, p.Reason, st.want)
		}
		if s.rehearse && st.vary != nil { // now that the budget is spent
			_, err = s.rehearsal(ctx, st)
			return err
		}
		return nil
	}
	if err != nil {
		return err
	}
	if err := st.check(r); err != nil {
		return texts.Errorf("step %d: %w", n, err)
	}
	if st.want != "repeated" && st.vary == nil {
		job, _, _ := strings.Cut(strings.TrimPrefix(r.GetName(), "jobs/"), "/")
		s.answered = append(s.answered, ownAnswer{st.operator, released{fmt.Sprintf("[%d]", n), st.sql, "jobs/" + job}})
	}
	if shown != nil && shown.GetPriceNanoRho() != r.GetPriceNanoRho() {
		return texts.Errorf("step %d: the rehearsal showed another price", n)
	}
	if err := a.release(cut(r, st.rows)); err != nil {
		return err
	}
	if st.rows > 0 && len(r.GetRows()) > st.rows {
		a.say("  …共 %d 行", "  … %d rows in all", len(r.GetRows()))
	}
	switch {
	case r.GetRepeatOf() != "":
		a.say("  ✓ 重复查询：同一结果，不收费", "  ✓ a repeat: the same answer, free of charge")
	case r.GetMode() == "exact":
		a.say("  ✓ 已发布（精确方式：门槛与取整）", "  ✓ released (exact mode: thresholds and rounding)")
	default:
		a.say("  ✓ 已发布，花费 ρ %s，方括号内为 95%% 置信区间", "  ✓ released for ρ %s; brackets hold the 95%% confidence interval", rho(r.GetPriceNanoRho()))
	}
	return nil
}

// cut returns r with at most n rows, all when n is 0.
func cut(r *sandgatev1.Release, n int) *sandgatev1.Release {
	if n == 0 || len(r.GetRows()) <= n {
		return r
	}
	return &sandgatev1.Release{Columns: r.GetColumns(), Rows: r.GetRows()[:n], Mode: r.GetMode()}
}

func (s *stage) audit(ctx context.Context, story *story) error {
	dir := filepath.Join(s.dir, "ledger-copy")
	files, err := copyLedger(ctx, s.clients[story.regulator], dir)
	if err != nil {
		return err
	}
	s.a.say("已复制 %d 个文件；持有回执 %d 份", "copied %d files; %d receipts at hand", files, len(s.receipts))
	opt, err := auditOptions(filepath.Join(s.kitDir(story.regulator), "trust.json"), nil, nil)
	if err != nil {
		return err
	}
	opt.Receipts = s.receipts
	r, err := audit.Run(ctx, dir, opt)
	if err != nil {
		return err
	}
	if err := s.a.auditReport(r); err != nil {
		return err
	}
	if !r.OK {
		return &silentError{exitAuditFailed}
	}
	return nil
}

// invite prints how to go on by hand.
func (s *stage) invite(story *story) {
	a, l := s.a, story.licences[0]
	a.heading("网关仍在运行，可自行尝试（Ctrl-C 结束）", "The gateway goes on running; try it yourself (Ctrl-C ends it)")
	exe, err := os.Executable()
	if err != nil {
		exe = "sandgate"
	}
	st := story.steps[0]
	fmt.Fprintf(a.out, "  %s catalog list --kit %s\n", exe, s.kitDir(l.operator))
	fmt.Fprintf(a.out, "  %s job explain %q --licence %s --purpose %s --kit %s\n", exe, st.sql, st.licence, st.purpose, s.kitDir(st.operator))
	fmt.Fprintf(a.out, "  %s job submit %q --licence %s --purpose %s --kit %s\n", exe, st.sql, st.licence, st.purpose, s.kitDir(st.operator))
	fmt.Fprintf(a.out, "  %s budget show %s --kit %s\n", exe, l.id, s.kitDir(l.operator))
	fmt.Fprintf(a.out, "  %s ledger tail --kit %s\n", exe, s.kitDir(story.regulator))
	fmt.Fprintf(a.out, "  %s ledger copy --out ./ledger-copy --kit %s && %s audit --ledger ./ledger-copy --trust %s\n", exe,
		s.kitDir(story.regulator), exe, filepath.Join(s.kitDir(story.regulator), "trust.json"))
}

// step is one job of a story and how it must end: released, repeated, withheld
// (released with a withheld cell), or a refusal's code.
type step struct {
	operator, licence, purpose string
	zh, en                     string
	sql                        string
	price                      budget.Nano
	want                       string
	rows                       int           // rows to print, 0 for all
	times                      int           // submit up to so many times, until refused
	vary                       func() string // another text each time
	label                      string        // shown instead of sql
}

func (st step) show() string {
	if st.label != "" {
		return st.label
	}
	return st.sql
}

func (st step) check(r *sandgatev1.Release) error {
	withheld := false
	for _, row := range r.GetRows() {
		for _, c := range row.GetCells() {
			withheld = withheld || c.GetWithheld() != ""
		}
	}
	ok := map[string]bool{"released": r.GetRepeatOf() == "", "repeated": r.GetRepeatOf() != "", "withheld": withheld}[st.want]
	if !ok {
		return texts.Errorf("released, expected %s", st.want)
	}
	return nil
}

// story is a play: who takes part, what they publish, ingest and ask.
type story struct {
	id        string
	regulator string
	parties   []string
	registry  string // with @KEY:<party> for every public key
	bundles   []bundle
	tables    []rawFile
	licences  []licence
	steps     []step
	budgets   []licence
	models    *modelStory // nil: none
	twins     *twinStory  // nil: none
}
