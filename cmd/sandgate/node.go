package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/sandbox"
)

func (a *app) nodeCmd() *cobra.Command {
	var dir, hub, listen, tier string
	var snapshotMemory int64
	var tick, wall time.Duration
	var keys vaultFlags
	var every stateEvery
	c := &cobra.Command{
		Use:   "node --home DIR --kit DIR",
		Short: "参加跨域聚合 · take part in aggregation across domains",
		Long: `以本域的主目录（目录、策略、快照、账本）参加跨域聚合轮次，见 docs/federation.md。节点主动拨出，域内不开端口；
--kit 是汇聚方为本域签发的密钥包，其公钥须写在本域账本的跨域协议（kind: Federation）中。主管部门的节点没有数据，
持有必不可少的密钥份额。每一轮由本域自己的规则裁决；读数据之前扣减预算并记账，不退还。断线自动重拨，中断的轮次作废。
--listen 同时运行本域的网关，否则一个主目录只供一个进程使用：网关须先停止。
Takes part in rounds with this domain's home, see docs/federation.md. The node dials: a domain opens no port. --kit is
what the hub issued to this domain, whose key this domain's own Federation document names. The regulator's node has no
data and the share of the key without which nothing opens. Each round is decided by this domain's own rules; its price
is charged, and entered in the ledger, before a row is read. A lost connection is dialled again; rounds that ran are over.
--listen serves this domain's gateway too; a home belongs to one process.`,
		Example: `  sandgate node --home ./city_a --kit ./kits/city_a-at-hub
  sandgate node --home ./city_a --kit ./kits/city_a-at-hub --hub hub.example:7443 -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if snapshotMemory < 0 || snapshotMemory > 1<<30 {
				return usageError{texts.Errorf("--snapshot-memory is a number of MiB, 0 for half of the available memory")}
			}
			if tick < 0 || tick > time.Hour {
				return usageError{texts.Errorf("--tick is a duration such as 250ms, at most 1h, or 0 for none")}
			}
			if wall < time.Second || wall > 24*time.Hour {
				return usageError{texts.Errorf("--wall is a duration from 1s to 24h")}
			}
			if tick == 0 {
				tick = -1
			}
			opt := gateway.Options{Tier: sandbox.Tier(tier), Logger: slog.New(slog.NewTextHandler(a.err, a.logOptions(slog.LevelWarn))), SnapshotMemory: snapshotMemory << 20, Tick: tick, Wall: wall}
			if err := errors.Join(keys.options(&opt), every.options(&opt)); err != nil {
				return err
			}
			return a.node(c.Context(), dir, hub, listen, opt)
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "home", "", "本域主目录 this domain's home")
	f.StringVar(&hub, "hub", "", "汇聚方地址，默认取自密钥包 address of the hub, default: the kit's")
	f.StringVar(&listen, "listen", "", "同时在此地址运行本域网关，默认不开端口 serve this domain's gateway here too; default: open no port")
	f.StringVar(&tier, "isolation", string(sandbox.TierFull), "隔离等级 isolation tier: full|container; container is weaker and is written to the ledger")
	f.Int64Var(&snapshotMemory, "snapshot-memory", 0, "解密快照可用内存（MiB），0 为启动时可用内存的一半 memory for decrypted snapshots in MiB, 0: half of what is available at start")
	f.DurationVar(&wall, "wall", time.Minute, "读取数据的时限 wall clock of reading the data")
	f.DurationVar(&tick, "tick", gateway.DefaultTick, "交出数据的首个刻度，0 关闭 first tick at which a contribution begins, 0: off")
	keys.add(c)
	every.add(c)
	require(c, "home")
	return c
}

// node runs a node until ctx ends.
func (a *app) node(ctx context.Context, dir, hub, listen string, opt gateway.Options) (err error) {
	kit, err := a.kit()
	if err != nil {
		return err
	}
	key, err := kit.SigningKey()
	if err != nil {
		return err
	}
	carrier, hangUp, err := client.Hub(kit, hub)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hangUp()) }()
	h, err := home.Open(dir)
	if err != nil {
		return err
	}
	var lis net.Listener
	if listen != "" {
		if lis, err = net.Listen("tcp", listen); err != nil {
			return hintedError{texts.Errorf("failed to listen: %w", err), a.t("用 --listen HOST:PORT 指定空闲的地址", "name a free address with --listen HOST:PORT")}
		}
	}
	d, err := gateway.OpenDomain(ctx, h, opt)
	if err != nil {
		if lis != nil {
			err = errors.Join(err, lis.Close())
		}
		return err
	}
	a.opened(d.Opened())
	ctx, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	if lis == nil {
		served <- nil
	} else {
		a.note("网关已就绪 %s，隔离层: %s", "gateway ready on %s, isolation: %s", lis.Addr().String(), join(d.Layers()))
		go func() { defer stop(); served <- gateway.Serve(ctx, d, lis) }()
	}
	at := hub
	if at == "" {
		at = kit.Server
	}
	err = d.RunNode(ctx, gateway.NodeOptions{Party: kit.Party, Key: key, Carrier: carrier, Told: a.roundEvent,
		Ready: func(regions []string) {
			a.note("节点“%s”已就绪，汇聚方 %s，跨域协议: %s", "node %s ready, hub %s, federations: %s", kit.Party, at, join(regions))
		},
		Away: func(_ error, wait time.Duration) {
			a.note("与汇聚方的连接已断开，%s 后重拨", "the connection to the hub is lost; dialling again in %s", wait.String())
		}})
	stop()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	return errors.Join(err, <-served, d.Close(closing))
}

// roundEvent prints what happened in a round, in JSON one object a line.
func (a *app) roundEvent(e gateway.RoundEvent) {
	if a.format == "json" {
		if err := json.NewEncoder(a.out).Encode(e); err != nil {
			a.note("输出失败", "the output failed")
		}
		return
	}
	what := map[string][2]string{"joined": {"参加", "joined"}, "answered": {"作答", "answered"}, "released": {"已发布", "released"}, "failed": {"作废", "failed"}, "refused": {"拒绝", "refused"}, "judged": {"已检验", "judged"}}[e.What]
	name := a.t("轮次 ", "round ") + short(e.Session)
	if e.Run != "" && e.Region == "" { // a trial
		name = a.t("模型 ", "model ") + short(e.Run)
	}
	line := name + " " + a.t(what[0], what[1])
	if e.Region != "" {
		line += " " + e.Region + " " + e.Dataset + " " + e.Period + " " + e.Purpose
	}
	if e.Run != "" && e.Region != "" {
		line += a.t("，训练 ", ", training ") + short(e.Run)
	}
	if e.Verdict != "" {
		line += " " + e.Verdict
	}
	if e.Price != "" {
		line += a.t("，扣减 ρ ", ", charged ρ ") + e.Price
	}
	if e.Release != "" {
		line += a.t("，摘要 ", ", digest ") + short(e.Release)
	}
	if e.Party != "" {
		line += a.t("，因 ", ", because of ") + e.Party
	}
	a.say("%s", "%s", line)
	for _, r := range e.Reasons {
		a.say("  %s: %s", "  %s: %s", r.Code, r.Text(a.lang))
	}
}
