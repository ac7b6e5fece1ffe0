package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/ledger/witness"
	"github.com/sandgate/sandgate/ledger/witness/witnessd"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// defaultWitness is where a witness listens.
const defaultWitness = "127.0.0.1:7455"

func (a *app) witnessCmd() *cobra.Command {
	c := &cobra.Command{Use: "witness", Short: "账本见证 · a witness of ledgers"}
	c.AddCommand(a.witnessInitCmd(), a.witnessAddCmd(), a.witnessServeCmd(), a.witnessShowCmd())
	return c
}

func (a *app) witnessInitCmd() *cobra.Command {
	var dir, name string
	var trust, logs []string
	c := &cobra.Command{
		Use:   "init --home DIR --name NAME",
		Short: "新建见证方目录与密钥 · make a witness's directory and key",
		Long: `在主管部门或数源部门自己的机器上新建见证方（C2SP tlog-witness）。打印的公钥写入见证规则（kind: WitnessPolicy）。
Makes a witness (C2SP tlog-witness) on the regulator's or a department's own machine. The key it prints goes into the
witness policy (kind: WitnessPolicy).`,
		Example: `  sandgate witness init --home ./witness --name data-bureau.example/witness --trust ./kits/data_bureau/trust.json`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			keys, err := logKeys(trust, logs)
			if err != nil {
				return err
			}
			if err := witnessd.Create(dir, name); err != nil {
				return err
			}
			return a.witnessAdd(dir, keys)
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "home", "", "见证方目录 the witness's directory")
	f.StringVar(&name, "name", "", "见证方名称 name of the witness, such as data-bureau.example/witness")
	witnessedLogs(c, &trust, &logs)
	require(c, "home", "name")
	return c
}

func witnessedLogs(c *cobra.Command, trust, logs *[]string) {
	c.Flags().StringArrayVar(trust, "trust", nil, "要见证的账本的信任文件 trust.json of a ledger to witness (repeatable)")
	c.Flags().StringArrayVar(logs, "log", nil, "要见证的日志的公钥 verifier key (vkey) of a log to witness (repeatable)")
}

// logKeys are the keys of the logs that are named by trust files and by themselves.
func logKeys(trust, logs []string) ([]string, error) {
	for _, path := range trust {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, texts.Errorf("failed to read trust file: %w", err)
		}
		t, err := audit.ParseTrust(text)
		if err != nil {
			return nil, err
		}
		logs = append(logs, t.LogKey)
	}
	for _, k := range logs {
		if _, err := note.NewVerifier(k); err != nil {
			return nil, usageError{texts.Errorf("--log is the verifier key of a log, name+hash+key")}
		}
	}
	return logs, nil
}

func (a *app) witnessAdd(dir string, keys []string) error {
	h, err := witnessd.Open(dir)
	if err != nil {
		return err
	}
	defer h.Close()
	for _, k := range keys {
		v, err := note.NewVerifier(k)
		if err != nil {
			return texts.Errorf("failed to read the key of a log: %w", err)
		}
		if err := h.Add(v.Name(), k); err != nil {
			return err
		}
	}
	if a.format == "json" {
		return a.json(map[string]any{"key": h.Key(), "logs": h.Logs()})
	}
	a.say("见证公钥 %s", "witness key %s", h.Key())
	for _, l := range h.Logs() {
		a.say("见证账本 %s", "witnesses %s", l.Origin)
	}
	return nil
}

func (a *app) witnessAddCmd() *cobra.Command {
	var dir string
	var trust, logs []string
	c := &cobra.Command{
		Use:   "add --home DIR --trust FILE",
		Short: "增加要见证的账本 · witness one more ledger",
		Long: `增加一个账本，或为已见证的账本增加一把公钥（轮换时）。见证方运行时不能增加，请先停止。
Adds a ledger, or one more key of a ledger that is witnessed already (at a rotation). Stop the witness first.`,
		Example: `  sandgate witness add --home ./witness --trust ./kits/data_bureau/trust.json`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			keys, err := logKeys(trust, logs)
			if err != nil {
				return err
			}
			if len(keys) == 0 {
				return usageError{texts.Errorf("name a log: --trust FILE or --log KEY")}
			}
			return a.witnessAdd(dir, keys)
		},
	}
	c.Flags().StringVar(&dir, "home", "", "见证方目录 the witness's directory")
	witnessedLogs(c, &trust, &logs)
	require(c, "home")
	return c
}

func (a *app) witnessServeCmd() *cobra.Command {
	var dir, listen string
	c := &cobra.Command{
		Use:   "serve --home DIR",
		Short: "运行见证方 · run the witness",
		Long: `运行见证方（C2SP tlog-witness 的 add-checkpoint）：只为与先前所签一致的检查点签名，落盘之后才应答。
同一大小的两个不同根即为账本分叉的证据，两个检查点都存入 alarms 目录，用 sandgate witness show 查看。
Runs the witness (add-checkpoint of C2SP tlog-witness): cosigns only what extends what it cosigned before, and answers
when that is on the disk. Two roots for one size prove a second history: both checkpoints are kept in the directory
alarms; sandgate witness show tells.`,
		Example: `  sandgate witness serve --home ./witness
  sandgate witness serve --home ./witness --listen 10.0.0.7:7455`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := witnessd.Open(dir)
			if err != nil {
				return err
			}
			defer h.Close()
			lis, err := net.Listen("tcp", listen)
			if err != nil {
				return hintedError{texts.Errorf("failed to listen: %w", err), a.t("用 --listen HOST:PORT 指定空闲的地址", "name a free address with --listen HOST:PORT")}
			}
			a.note("见证方已就绪 http://%s，账本 %d 个", "witness ready on http://%s, %d ledgers", lis.Addr().String(), len(h.Logs()))
			return h.Serve(c.Context(), lis, slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn})))
		},
	}
	c.Flags().StringVar(&dir, "home", "", "见证方目录 the witness's directory")
	c.Flags().StringVar(&listen, "listen", defaultWitness, "监听地址 address to listen on")
	require(c, "home")
	return c
}

func (a *app) witnessShowCmd() *cobra.Command {
	var dir string
	var events int
	c := &cobra.Command{
		Use:   "show --home DIR",
		Short: "查看见证过什么、拒绝过什么、有无告警 · what was cosigned and refused, and alarms",
		Long: `有告警时退出码为 4。证据文件中的两个检查点均带账本自己的签名，任何人可凭账本公钥核验。
Exit status 4 when there is an alarm. Both checkpoints in an evidence file carry the ledger's own signature; anybody
can check them with the ledger's key.`,
		Example: `  sandgate witness show --home ./witness
  sandgate witness show --home ./witness -o json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			s, err := witnessd.Show(dir, events)
			if err != nil {
				return err
			}
			if err := a.witnessShown(s); err != nil {
				return err
			}
			if len(s.Alarms) > 0 {
				return &silentError{exitAuditFailed}
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "home", "", "见证方目录 the witness's directory")
	c.Flags().IntVar(&events, "events", 20, "最近的拒绝条数 how many of the latest refusals")
	require(c, "home")
	return c
}

func (a *app) witnessShown(s witnessd.Shown) error {
	if a.format == "json" {
		return a.json(s)
	}
	a.say("见证公钥 %s", "witness key %s", s.Key)
	for _, l := range s.Logs {
		if l.Checkpoint == "" {
			a.say("账本 %s: 尚未见证", "ledger %s: nothing cosigned yet", l.Origin)
			continue
		}
		a.say("账本 %s: 已见证 %d 条，根 %s，%s", "ledger %s: %d entries cosigned, root %s, %s", l.Origin, l.Size, l.Root, policies.Clock(l.At))
	}
	for _, x := range s.Alarms {
		what := a.t("出示的检查点不是所见证历史的延续", "offered a checkpoint that was not shown to extend what was cosigned")
		if x.Code == witness.CodeEquivocation {
			what = a.t("为同一大小签署了两个不同的根：账本有两段历史", "signed two roots for one size: the ledger has two histories")
		}
		a.say("告警 %s %s %s: %s\n  证据 %s", "ALARM %s %s %s: %s\n  evidence %s", policies.Clock(x.At), x.Code, x.Origin, what, x.File)
	}
	for _, f := range s.Spoilt {
		a.say("无法读取 %s", "cannot read %s", f)
	}
	for _, e := range s.Events {
		if e.Behind > 0 {
			a.say("注意 %s %s: 出示的检查点只有 %d 条，而已见证 %d 条：账本可能由旧副本恢复，也可能有人重发旧检查点；请查看 sandgate ledger witnesses",
				"note %s %s: offered a checkpoint of %d entries where %d are cosigned: the log may go on from an old copy, or somebody sent an old checkpoint; see sandgate ledger witnesses",
				policies.Clock(e.At), e.Origin, e.Size, e.Behind)
			continue
		}
		a.say("拒绝 %s %s %s", "refused %s %s %s", policies.Clock(e.At), e.Code, e.Origin)
	}
	return nil
}

// witnessPlaces reads NAME=URL.
func witnessPlaces(flags []string) (map[string]string, error) {
	out := map[string]string{}
	for _, f := range flags {
		name, place, ok := strings.Cut(f, "=")
		if !ok || name == "" {
			return nil, usageError{texts.Errorf("--witness is NAME=URL; keys and quorum stand in the witness policy, which the regulator signs")}
		}
		if err := gateway.CheckWitnessAt(place); err != nil {
			return nil, usageError{texts.Errorf("--witness %s: %w", name, err)}
		}
		out[name] = place
	}
	return out, nil
}

func (a *app) ledgerWitnessesCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "witnesses",
		Short: "见证情况 · how the ledger is witnessed",
		Long: `见证规则要求几方签名、各见证方签到哪里、谁沉默或有异议。沉默过久或有异议时退出码为 5。
How many must cosign, how far each witness is, who is silent or objects. Exit status 5 when they are silent for too long
or one objects.`,
		Example: "  sandgate ledger witnesses --kit ./kits/data_bureau",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			w, err := a.witnessing(c.Context())
			if err != nil {
				return err
			}
			if err := a.showWitnessing(w); err != nil {
				return err
			}
			if w.GetOverdue() || w.GetDisputed() != "" {
				return &silentError{exitUnavailable}
			}
			return nil
		},
	}
}

func (a *app) witnessing(ctx context.Context) (*sandgatev1.Witnessing, error) {
	cl, err := a.dial()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	return cl.Witness.GetWitnessing(ctx, &sandgatev1.GetWitnessingRequest{})
}

func (a *app) showWitnessing(w *sandgatev1.Witnessing) error {
	if a.format == "json" {
		return a.proto(w)
	}
	if w.GetQuorum() == 0 {
		a.say("没有生效的见证规则；已公布 %d 条", "no witness policy is in force; %d entries are published", w.GetPublished())
		return nil
	}
	a.say("见证规则: %d 方中至少 %d 方；已公布 %d 条，已见证 %d 条", "policy: at least %[2]d of %[1]d witnesses; %[3]d entries published, %[4]d witnessed",
		len(w.GetWitnesses()), w.GetQuorum(), w.GetPublished(), w.GetWitnessed())
	var body [][]string
	for _, x := range w.GetWitnesses() {
		why := x.GetProblem()
		if x.GetRefuses() {
			why = a.t("持有另一段历史", "it holds another history")
		}
		at := ""
		if t := x.GetCosignTime(); t != nil {
			at = a.when(t.AsTime())
		}
		body = append(body, []string{x.GetName(), x.GetParty(), strconv.FormatUint(x.GetSize(), 10), at, why})
	}
	if err := a.rows([]string{a.t("见证方", "witness"), a.t("运行方", "party"), a.t("签到", "cosigned"), a.t("时间", "at"), a.t("问题", "problem")}, body, 2); err != nil {
		return err
	}
	switch {
	case w.GetDisputed() != "":
		a.say("异议: %s。网关已停止签名与作答", "DISPUTED: %s. The gateway signs and answers nothing", w.GetDisputed())
	case w.GetOverdue():
		a.say("告警: 自 %s 起缺少见证签名，已超过见证规则容许的时间", "ALARM: cosignatures are lacking since %s, longer than the policy bears", policies.Clock(w.GetUnmetTime().AsTime()))
	case w.GetUnmetTime() != nil && w.GetWitnessed() < w.GetPublished():
		a.say("等待见证，自 %s", "waiting for witnesses since %s", policies.Clock(w.GetUnmetTime().AsTime()))
	}
	return nil
}

// witnessFinding is what doctor says of the gateway's witnesses.
func (a *app) witnessFinding(ctx context.Context) sandbox.Finding {
	f := sandbox.Finding{Name: "witnesses", Level: sandbox.LevelAdvice}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	w, err := a.witnessing(ctx)
	switch {
	case err != nil:
		f.Found, f.FixZh, f.FixEn = a.t("无法询问网关", "the gateway could not be asked"), "检查 --kit、--server 以及网关是否运行", "check --kit, --server and whether the gateway runs"
	case w.GetQuorum() == 0:
		f.Found = a.t("没有生效的见证规则", "no witness policy is in force")
		f.FixZh, f.FixEn = "由主管部门签发见证规则（kind: WitnessPolicy）", "have the regulator sign a WitnessPolicy"
	case w.GetDisputed() != "":
		f.Found = a.t("有见证方持有账本的另一段历史", "a witness holds another history of the ledger")
		f.FixZh, f.FixEn = "恢复账本的最新副本；证据见 sandgate witness show", "bring back the newest copy of the ledger; sandgate witness show has the evidence"
	case w.GetOverdue():
		f.Found = a.t("见证方沉默过久", "the witnesses are silent for too long")
		f.FixZh, f.FixEn = "用 sandgate ledger witnesses 查看是哪一方，并使其恢复运行", "see which with sandgate ledger witnesses, and have it run again"
	default:
		f.Level, f.Found = sandbox.LevelOK, fmt.Sprintf(a.t("%d 方中至少 %d 方，已见证 %d 条", "at least %[2]d of %[1]d, %[3]d entries witnessed"), len(w.GetWitnesses()), w.GetQuorum(), w.GetWitnessed())
	}
	return f
}

// witnessed prints what an audit found of witnesses.
func (a *app) witnessed(r *audit.Report) {
	if r.Quorum == 0 {
		return
	}
	var names []string
	for _, c := range r.Cosignatures {
		names = append(names, c.Name+" "+policies.Clock(c.At))
	}
	a.say("见证: 规则要求 %d 方签名；前 %d 条记录由 %s 见证", "witnesses: the policy asks for %d; the first %d entries were cosigned by %s", r.Quorum, r.Witnessed, join(names))
}
