package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/gateway/alert"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/ledger/accesslog"
	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/policies/signature"
	"github.com/sandgate/sandgate/sandbox"
)

const defaultServer = "127.0.0.1:7443"

func (a *app) initCmd() *cobra.Command {
	var dir, regulator, out, origin, server, profile string
	var hosts []string
	c := &cobra.Command{
		Use:   "init --home DIR --regulator ID --kit-out DIR",
		Short: "新建网关目录与主管部门密钥包 · create a gateway home and the regulator's kit",
		Long: `新建网关目录（密钥环、证书、空账本位置）以及主管部门的密钥包。主管部门的公钥是账本的信任根。
Creates a gateway home (keyring, certificates, place of the ledger) and the regulator's kit. The regulator's
public key is the root of trust of the ledger. trust.json in the kit is what auditors pin.`,
		Example: `  sandgate init --home ./home --regulator data_bureau --kit-out ./kits/data_bureau
  sandgate init --home ./home --regulator data_bureau --kit-out ./kit --host gw.example.gov.cn --server gw.example.gov.cn:7443`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			h, _, err := createHome(dir, regulator, out, origin, server, profile, hosts)
			if err != nil {
				return err
			}
			if err := a.party(regulator, h.Config.RegulatorKey, out); err != nil {
				return err
			}
			a.note("已创建网关目录 %s 和主管部门密钥包 %s", "created home %s and the regulator's kit %s", h.Dir, out)
			a.note("下一步: sandgate party create --home %s --id <编号> --out <目录>，然后 sandgate serve --home %s", "next: sandgate party create --home %s --id ID --out DIR, then sandgate serve --home %s", h.Dir, h.Dir)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "home", "", "网关目录 gateway home")
	f.StringVar(&regulator, "regulator", "", "主管部门编号 party id of the regulator")
	f.StringVar(&out, "kit-out", "", "主管部门密钥包目录 where the regulator's kit goes")
	f.StringVar(&origin, "origin", "sandgate.local/city", "账本名称 origin line of the ledger's checkpoints")
	f.StringVar(&server, "server", defaultServer, "写入密钥包的网关地址 gateway address written into kits")
	f.StringVar(&profile, "crypto", cryptoDefault, cryptoUsage)
	f.StringSliceVar(&hosts, "host", []string{"127.0.0.1", "localhost"}, "证书中的主机名 names and addresses in the gateway's certificate")
	require(c, "home", "regulator", "kit-out")
	return c
}

func require(c *cobra.Command, names ...string) {
	for _, n := range names {
		if err := c.MarkFlagRequired(n); err != nil {
			panic(err)
		}
	}
}

const (
	cryptoDefault = "default"
	cryptoUsage   = "参与方签名算法 signatures of the parties: default (Ed25519) | gm (SM2/SM3 商用密码)"
)

// cryptoProfiles are the algorithms of the parties' signatures.
var cryptoProfiles = map[string]signature.Algorithm{cryptoDefault: signature.Ed25519, "gm": signature.SM2}

// createHome makes a home, the regulator's kit and the trust file in it.
func createHome(dir, regulator, kitOut, origin, server, profile string, hosts []string) (*home.Home, *home.Keys, error) {
	// Everything that can be wrong is looked at before anything is written.
	if err := home.CheckParty(regulator); err != nil {
		return nil, nil, usageError{err}
	}
	if _, _, err := gateway.LogVerifier(origin, make([]byte, ed25519.SeedSize)); err != nil {
		return nil, nil, usageError{texts.Errorf("--origin %q: %w", origin, err)}
	}
	if err := home.CheckEmpty(kitOut); err != nil {
		return nil, nil, err
	}
	of, ok := cryptoProfiles[profile]
	if !ok {
		return nil, nil, usageError{texts.Errorf("--crypto %q is not known; known: default, gm", profile)}
	}
	sign, err := home.DrawSigningKey(of)
	if err != nil {
		return nil, nil, err
	}
	public, err := home.PublicOf(sign)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	h, err := home.Create(dir, home.Config{
		Version: 1, Origin: origin, Regulator: regulator, Hosts: hosts,
		RegulatorKey: public,
	}, now)
	if err != nil {
		return nil, nil, err
	}
	keys, err := h.Unlock()
	if err != nil {
		return nil, nil, err
	}
	if _, err := h.NewKitWithKey(keys, kitOut, regulator, server, sign, now); err != nil {
		return nil, nil, err
	}
	_, logKey, err := gateway.LogVerifier(origin, keys.Log)
	if err != nil {
		return nil, nil, err
	}
	trust, err := json.MarshalIndent(audit.Trust{
		Origin: origin, Regulator: regulator, RegulatorKey: h.Config.RegulatorKey, LogKey: logKey,
		ReceiptKey: home.PublicKey(ed25519.NewKeyFromSeed(keys.Receipt).Public().(ed25519.PublicKey)),
	}, "", "  ")
	if err != nil {
		return nil, nil, texts.Errorf("failed to encode trust file: %w", err)
	}
	return h, keys, os.WriteFile(filepath.Join(kitOut, "trust.json"), append(trust, '\n'), 0o600)
}

func (a *app) partyCmd() *cobra.Command {
	c := &cobra.Command{Use: "party", Short: "参与方密钥包 · kits of parties"}
	var dir, id, out, server string
	create := &cobra.Command{
		Use:   "create --home DIR --id ID --out DIR",
		Short: "签发参与方密钥包 · issue a party's kit",
		Long: `签发证书和签名密钥。证书只证明身份；权限来自主管部门签名的登记表（kind: Registry）。
Issues a certificate and a signing key. The certificate only identifies; rights come from the registry that the
regulator signs (kind: Registry). Prints the public key to put there.`,
		Example: `  sandgate party create --home ./home --id health --out ./kits/health`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := home.CheckParty(id); err != nil {
				return usageError{err}
			}
			h, err := home.Open(dir)
			if err != nil {
				return err
			}
			keys, err := h.Unlock()
			if err != nil {
				return err
			}
			k, err := h.NewKit(keys, out, id, server, time.Now())
			if err != nil {
				return err
			}
			sign, err := k.SigningKey()
			if err != nil {
				return err
			}
			pub, err := home.PublicOf(sign)
			if err != nil {
				return err
			}
			return a.party(id, pub, out)
		},
	}
	f := create.Flags()
	f.StringVar(&dir, "home", "", "网关目录 gateway home")
	f.StringVar(&id, "id", "", "参与方编号 party id")
	f.StringVar(&out, "out", "", "密钥包目录 where the kit goes")
	f.StringVar(&server, "gateway", defaultServer, "写入密钥包的网关地址 gateway address written into the kit")
	require(create, "home", "id", "out")
	c.AddCommand(create, a.partyRenewCmd())
	return c
}

// party prints what the registry has to say of a new party.
func (a *app) party(id, key, kit string) error {
	if a.format == "json" {
		return a.json(map[string]string{"party": id, "key": key, "kit": kit})
	}
	a.say("编号 %s\n公钥 %s", "party %s\nkey   %s", id, key)
	return nil
}

func (a *app) serveCmd() *cobra.Command {
	var dir, listen, tier, large, encryptedBy string
	var snapshotMemory int64
	var jobs, perOperator, queue, months int
	var tick, wall time.Duration
	var keys vaultFlags
	var every stateEvery
	var witnessAt []string
	var alerts string
	c := &cobra.Command{
		Use:   "serve --home DIR",
		Short: "运行网关 · run the gateway",
		Long: `运行网关（gRPC，双向 TLS 1.3）。启动时先用探针验证隔离层，再打开密钥和账本；任何一项缺失则拒绝启动。
Runs the gateway (gRPC, mutual TLS 1.3). Proves the isolation layers with probes first, then opens keys and
ledger; refuses to start when anything is missing.

--tick：作业的结果（发布或失败、账本记录、操作状态）只在自作业开始起的刻度上可见：首刻、两倍、四倍……，使耗时几乎不携带数据；
失败一律在超时所在的刻度可见。每个刻度内座位不释放，因此首刻也限定吞吐：每秒至多 jobs ÷ tick 个作业。0 关闭（写入账本）。
--tick: a job's outcome (release or failure, ledger entry, state of the operation) is seen only on ticks counted from
its start: the first, twice that, four times …, so that latency carries next to nothing of the data. A failure is seen
on the tick of a time-out. A seat is held until its tick, so at most jobs ÷ tick jobs end in a second. 0 turns ticks
off, which the ledger records.`,
		Example: `  sandgate serve --home ./home
  sandgate serve --home ./home --listen 0.0.0.0:7443
  sandgate serve --home ./home --snapshot-memory 8192
  sandgate serve --home ./home --large-snapshots /srv/encrypted/sandgate`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := home.Open(dir)
			if err != nil {
				return err
			}
			if snapshotMemory < 0 || snapshotMemory > 1<<30 {
				return texts.Errorf("--snapshot-memory is a number of MiB, 0 for half of the available memory")
			}
			if encryptedBy != "" && large == "" {
				return texts.Errorf("--large-snapshots-volume-encrypted-by needs --large-snapshots DIR")
			}
			if jobs < 1 || jobs > 1024 || perOperator < 0 || queue < 1 || queue > 1<<20 {
				return usageError{texts.Errorf("--jobs is 1 to 1024, --jobs-per-operator at least 0, --queue 1 to 1048576")}
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
			logger := slog.New(slog.NewTextHandler(a.err, a.logOptions(slog.LevelInfo)))
			if months < accesslog.LeastMonths || months > 120 {
				return usageError{texts.Errorf("--access-log-months is %d to 120", accesslog.LeastMonths)}
			}
			opt := gateway.Options{AccessMonths: months, Tier: sandbox.Tier(tier), Logger: logger, SnapshotMemory: snapshotMemory << 20,
				LargeSnapshots: large, LargeSnapshotsEncryptedBy: encryptedBy,
				Jobs: jobs, JobsPerOperator: perOperator, Queue: queue, Tick: tick, Wall: wall}
			if alerts != "" {
				conf, err := alert.ReadConfig(alerts)
				if err != nil {
					return err
				}
				opt.Alerts = &conf
			}
			if err := keys.options(&opt); err != nil {
				return err
			}
			if err := every.options(&opt); err != nil {
				return err
			}
			if opt.WitnessAt, err = witnessPlaces(witnessAt); err != nil {
				return err
			}
			return a.serve(c.Context(), h, listen, opt, func(addr string, layers []string) {
				a.note("网关已就绪 %s，隔离层: %s", "gateway ready on %s, isolation: %s", addr, join(layers))
			})
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "home", "", "网关目录 gateway home")
	f.StringVar(&listen, "listen", defaultServer, "监听地址 address to listen on")
	f.StringVar(&tier, "isolation", string(sandbox.TierFull), "隔离等级 isolation tier: full|container; container is weaker and is written to the ledger")
	f.Int64Var(&snapshotMemory, "snapshot-memory", 0, "解密快照与入库可用内存（MiB），0 为启动时可用内存的一半 memory for decrypted snapshots and ingests in MiB, 0: half of what is available at start")
	f.IntVar(&jobs, "jobs", 4, "同时运行的作业数 executions at once")
	f.IntVar(&perOperator, "jobs-per-operator", 0, "其中单个运营机构至多几个，0 为一半 how many of them may be one operator's, 0: half")
	f.IntVar(&queue, "queue", 256, "最多排队作业数，单个运营机构至多四分之一 executions that may wait, a quarter of them one operator's")
	f.DurationVar(&wall, "wall", time.Minute, "单个作业的时限 wall clock of one execution; a failure is seen on its tick")
	f.DurationVar(&tick, "tick", gateway.DefaultTick, "结果可见的首个刻度，0 关闭 first tick at which an outcome is seen, 0: off")
	f.StringVar(&large, "large-snapshots", "", "加密卷上的目录：放不进内存的快照与全部入库在此打开（无文件名），默认拒绝 directory on an encrypted volume where snapshots too large for memory and all ingests are opened, without a name; default: refuse them")
	f.StringVar(&encryptedBy, "large-snapshots-volume-encrypted-by", "", "声明本机看不出的卷加密方式，写入账本 declares by name an encryption that this host cannot see; written to the ledger")
	f.IntVar(&months, "access-log-months", accesslog.DefaultMonths, "原始访问日志（home/access）保存月数，至少 6 · months for which raw access logs are kept, at least 6")
	f.StringArrayVar(&witnessAt, "witness", nil, "名称=网址：见证方的地址与见证规则所写不同时 NAME=URL where a witness listens, if not where the witness policy says (repeatable)")
	f.StringVar(&alerts, "alerts", "", "预警推送配置（YAML，见 docs/alerts.md），默认不推送 whom to send alerts (YAML, docs/alerts.md); default: nobody")
	keys.add(c)
	every.add(c)
	require(c, "home")
	return c
}

// serve runs a gateway until ctx ends.
func (a *app) serve(ctx context.Context, h *home.Home, listen string, opt gateway.Options, ready func(addr string, layers []string)) error {
	lis, err := net.Listen("tcp", listen)
	if err != nil {
		return hintedError{texts.Errorf("failed to listen: %w", err),
			a.t("用 --listen HOST:PORT 指定空闲的地址", "name a free address with --listen HOST:PORT")}
	}
	d, err := gateway.OpenDomain(ctx, h, opt)
	if err != nil {
		return errors.Join(err, lis.Close())
	}
	a.opened(d.Opened())
	ready(lis.Addr().String(), d.Layers())
	serveErr := gateway.Serve(ctx, d, lis)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	return errors.Join(serveErr, d.Close(closing))
}
