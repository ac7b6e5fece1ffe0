package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

func (a *app) ledgerCmd() *cobra.Command {
	c := &cobra.Command{Use: "ledger", Short: "账本 · the ledger"}
	c.AddCommand(a.ledgerProjectCmd(), a.ledgerSQLCmd(), a.ledgerTablesCmd(), a.ledgerStatsCmd())
	c.AddCommand(a.ledgerTailCmd(), a.ledgerShowCmd(), a.ledgerProveCmd(), a.ledgerCopyCmd(), a.ledgerWitnessesCmd())
	return c
}

func (a *app) ledgerTailCmd() *cobra.Command {
	var n int64
	var follow bool
	c := &cobra.Command{
		Use:     "tail",
		Short:   "最近的记录 · the latest entries",
		Example: "  sandgate ledger tail -n 20 --kit ./kits/data_bureau\n  sandgate ledger tail --follow",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if n < 1 || n > 1000 {
				return usageError{texts.Errorf("-n must lie in 1…1000")}
			}
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			req := &sandgatev1.ListEntriesRequest{Start: -n, PageSize: 1000}
			var body [][]string
			next := uint64(0)
			for {
				resp, err := cl.Regulator.ListEntries(c.Context(), req)
				if err != nil {
					return err
				}
				for _, e := range resp.GetEntries() {
					row, err := a.entryRow(e)
					if err != nil {
						return err
					}
					next = e.GetSeq() + 1
					if follow {
						fmt.Fprintln(a.out, strings.Join(row, "  "))
					} else {
						body = append(body, row)
					}
				}
				req.PageToken, req.Start = resp.GetNextPageToken(), int64(next)
				switch {
				case req.PageToken != "":
				case !follow:
					return a.rows([]string{a.head("序号", "seq"), a.head("时间", "time"), a.head("类型", "kind"), a.head("主体", "actor"), a.head("摘要", "summary")}, body, 0)
				default:
					select {
					case <-c.Context().Done():
						return nil
					case <-time.After(time.Second):
					}
				}
			}
		},
	}
	c.Flags().Int64VarP(&n, "number", "n", 20, "条数 number of entries")
	c.Flags().BoolVar(&follow, "follow", false, "持续显示新记录 go on with new entries")
	return c
}

func (a *app) entryRow(le *sandgatev1.LedgerEntry) ([]string, error) {
	e, err := entry.Decode(le.GetJson())
	if err != nil {
		return nil, texts.Errorf("entry %d: %w", le.GetSeq(), err)
	}
	return []string{strconv.FormatUint(e.Seq, 10), a.when(e.Time()), string(e.Kind), e.Actor, a.entrySummary(e)}, nil
}

func (a *app) entrySummary(e *entry.Entry) string {
	switch e.Kind {
	case entry.KindPolicy:
		var kinds []string
		for _, k := range e.Policy.Kinds {
			kinds = append(kinds, string(k))
		}
		return join(kinds)
	case entry.KindSnapshot:
		return e.Snapshot.Dataset + " " + short(e.Snapshot.Snapshot)
	case entry.KindRefused:
		var codes []string
		for _, r := range e.Refused.Reasons {
			codes = append(codes, r.Code)
		}
		return e.Refused.Request.Job + " " + join(codes)
	case entry.KindReserved:
		return e.Reserved.Request.Job + " ρ " + e.Reserved.Price.String()
	case entry.KindRepeated:
		return e.Repeated.Request.Job + a.t(" 重复 ", " repeats ") + e.Repeated.Of
	case entry.KindReleased:
		return e.Released.Job + " " + short(e.Released.Digest)
	case entry.KindFailed:
		return e.Failed.Job + " " + e.Failed.Code
	case entry.KindDutyNoted:
		return e.DutyNoted.Duty + " " + string(e.DutyNoted.Phase)
	case entry.KindDestroyed:
		return e.Destroyed.Dataset + " " + short(e.Destroyed.Snapshot) + " " + e.Destroyed.Method
	case entry.KindAnnounced:
		return e.Announced.Key + " " + e.Announced.From + " → " + e.Announced.To
	case entry.KindErased:
		return fmt.Sprintf("%s ≤ %d", e.Erased.Key, e.Erased.Epoch)
	case entry.KindRotated:
		return e.Rotated.Key + " " + e.Rotated.From + " → " + e.Rotated.To
	case entry.KindRestored:
		return short(e.Restored.Home) + " " + strconv.FormatUint(e.Restored.Size, 10)
	case entry.KindModelScored:
		return scoredSummary(e.ModelScored, a.t("行", "rows"), a.t("加密", "encrypted"))
	// carried:
	case entry.KindRecorded:
		return recordedSummary(e.Recorded)
	case entry.KindStarted:
		return e.Started.Tier + ": " + join(e.Started.Layers) + a.startSummary(e.Started.Start)
	}
	return ""
}

func short(s string) string { return s[:min(12, len(s))] }

func seqArg(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, usageError{texts.Errorf("SEQ must be a sequence number from 0")}
	}
	return n, nil
}

func (a *app) ledgerShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show SEQ",
		Short:   "显示一条记录 · show one entry",
		Example: "  sandgate ledger show 12 --kit ./kits/data_bureau",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			seq, err := seqArg(args[0])
			if err != nil {
				return err
			}
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			e, err := cl.Regulator.GetEntry(c.Context(), &sandgatev1.GetEntryRequest{Seq: seq})
			if err != nil {
				return err
			}
			return a.indent(e.GetJson())
		},
	}
}

func (a *app) indent(text []byte) error {
	var buf bytes.Buffer
	if err := json.Indent(&buf, text, "", "  "); err != nil {
		return texts.Errorf("failed to print JSON: %w", err)
	}
	_, err := fmt.Fprintln(a.out, buf.String())
	return err
}

func (a *app) ledgerProveCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "prove SEQ",
		Short:   "出具可离线验证的包含证明 · an inclusion proof to verify offline",
		Example: "  sandgate ledger prove 12 --kit ./kits/data_bureau > evidence.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			seq, err := seqArg(args[0])
			if err != nil {
				return err
			}
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			p, err := cl.Regulator.ProveEntry(c.Context(), &sandgatev1.ProveEntryRequest{Seq: seq})
			if err != nil {
				return err
			}
			return a.indent(p.GetJson())
		},
	}
}

func (a *app) ledgerCopyCmd() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:     "copy --out DIR",
		Short:   "复制整个账本以便离线审计 · copy the whole ledger for an offline audit",
		Example: "  sandgate ledger copy --out ./ledger-copy --kit ./kits/data_bureau && sandgate audit --ledger ./ledger-copy --trust ./kits/data_bureau/trust.json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			n, err := copyLedger(c.Context(), cl, out)
			if err != nil {
				return err
			}
			a.note("已复制 %d 个文件到 %s", "copied %d files to %s", n, out)
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "目录，须不存在或为空 directory, new or empty")
	require(c, "out")
	return c
}

// copyLedger unpacks the archive into dir, through os.Root so that no name in it
// can lead outside.
func copyLedger(ctx context.Context, cl *client.Client, dir string) (files int, err error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return 0, texts.Errorf("directory %s is not empty", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, texts.Errorf("failed to create directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, texts.Errorf("failed to open directory: %w", err)
	}
	defer root.Close()
	stream, err := cl.Regulator.CopyLedger(ctx, &sandgatev1.CopyLedgerRequest{})
	if err != nil {
		return 0, err
	}
	pr, pw := io.Pipe()
	defer pr.Close()
	go func() {
		for {
			msg, err := stream.Recv()
			if err != nil {
				// io.EOF is the end of the archive and passes on as such.
				pw.CloseWithError(err)
				return
			}
			if _, err := pw.Write(msg.GetChunk()); err != nil {
				return
			}
		}
	}()
	r := tar.NewReader(pr)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return files, err
		}
		if err := unpack(root, h.Name, r); err != nil {
			return files, err
		}
		files++
	}
}

func unpack(root *os.Root, name string, r io.Reader) error {
	if d := filepath.Dir(name); d != "." {
		if err := root.MkdirAll(d, 0o700); err != nil {
			return texts.Errorf("failed to create directory: %w", err)
		}
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return texts.Errorf("failed to create file: %w", err)
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

func (a *app) auditCmd() *cobra.Command {
	var dir, trust, access, tier string
	var receipts, checkpoints, openings []string
	c := &cobra.Command{
		Use:   "audit --ledger DIR",
		Short: "离线审计：逐条重放全部决定 · offline audit: every decision decided again",
		Long: `离线审计账本副本：校验签名、哈希与连续性，用同一套纯函数重放每一个决定和每一笔预算，不需要信任任何人。
Audits a copy of the ledger offline: signatures, hashes, gapless order, and every decision and every budget decided
again by the same pure functions. Trusts nobody. Exit code 4 when something is wrong.`,
		Example: `  sandgate audit --ledger ./ledger-copy --trust ./kits/data_bureau/trust.json
  sandgate audit --ledger ./ledger-copy --receipt answer.json --checkpoint saved-checkpoint -o json
  sandgate audit --ledger ./ledger-copy --opening ./kits/alpha/requests/7f8b1c1e-3d5a-4a7e-9a61-0d6a0f3c2b11.json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			// A wrong path is a slip of the auditor, not a finding about the ledger.
			if _, err := os.ReadDir(dir); err != nil {
				return texts.Errorf("failed to read ledger copy: %w", err)
			}
			opt, err := auditOptions(trust, receipts, checkpoints)
			if err != nil {
				return err
			}
			opt.Progress, opt.Access = a.auditProgress(), access
			for _, path := range openings {
				o, err := openingIn(path)
				if err != nil {
					return err
				}
				opt.Openings = append(opt.Openings, o)
			}
			if len(openings) > 0 {
				read, done, err := reader(c.Context(), sandbox.Tier(tier))
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, done()) }()
				opt.Read = read
			}
			r, err := audit.Run(c.Context(), dir, opt)
			if err != nil {
				return err
			}
			if err := a.auditReport(r); err != nil {
				return err
			}
			if !r.OK {
				return &silentError{exitAuditFailed}
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "ledger", "", "账本副本目录 directory of the copied ledger")
	f.StringVar(&trust, "trust", "", "信任文件 trust.json from the regulator's kit")
	f.StringVar(&access, "access", "", "网关访问日志目录的副本（home/access） a copy of the gateway's access log, to hold against the ledger")
	f.StringArrayVar(&receipts, "receipt", nil, "回执文件，或含回执的 -o json 输出 · a receipt, or an -o json answer that holds one, to look up in the log (repeatable)")
	f.StringArrayVar(&checkpoints, "checkpoint", nil, "先前保存的检查点 a checkpoint saved before (repeatable)")
	f.StringArrayVar(&openings, "opening", nil, "运营机构披露的请求记录（密钥包 requests/）：核对账本所记查询出自所签文本 · a request that its operator discloses (requests/ of its kit): is the query in the ledger that of the text signed? (repeatable)")
	f.StringVar(&tier, "isolation", string(sandbox.TierFull), "读取所披露文本的进程的隔离级别 · isolation of the process that reads disclosed texts")
	require(c, "ledger")
	return c
}

func auditOptions(trust string, receipts, checkpoints []string) (audit.Options, error) {
	var opt audit.Options
	if trust != "" {
		text, err := os.ReadFile(trust)
		if err != nil {
			return opt, texts.Errorf("failed to read trust file: %w", err)
		}
		if opt.Trust, err = audit.ParseTrust(text); err != nil {
			return opt, err
		}
	}
	for _, path := range receipts {
		text, err := os.ReadFile(path)
		if err != nil {
			return opt, texts.Errorf("failed to read receipt: %w", err)
		}
		r, err := receiptIn(text)
		if err != nil {
			return opt, texts.Errorf("%s: %w", path, err)
		}
		opt.Receipts = append(opt.Receipts, r)
	}
	for _, path := range checkpoints {
		text, err := os.ReadFile(path)
		if err != nil {
			return opt, texts.Errorf("failed to read checkpoint: %w", err)
		}
		opt.Earlier = append(opt.Earlier, text)
	}
	return opt, nil
}

// receiptIn reads a receipt, bare or inside the -o json answer it came with, so
// that whoever keeps answers keeps receipts.
func receiptIn(text []byte) (evidence.Receipt, error) {
	var answer struct {
		Receipt struct {
			JSON []byte `json:"json"`
		} `json:"receipt"`
	}
	if err := json.Unmarshal(text, &answer); err == nil && len(answer.Receipt.JSON) > 0 {
		text = answer.Receipt.JSON
	}
	return evidence.ParseReceipt(bytes.TrimSpace(text))
}

func (a *app) auditProgress() func(done, total uint64) {
	f, ok := a.err.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	bar := progressbar.NewOptions64(1, progressbar.OptionSetWriter(a.err), progressbar.OptionSetDescription("audit"),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	return func(done, total uint64) {
		bar.ChangeMax64(int64(total))
		bar.Set64(int64(done))
	}
}

func (a *app) auditReport(r *audit.Report) error {
	if a.format == "json" {
		return a.json(r)
	}
	a.say("账本 %s：%d 条记录，根 %s", "ledger %s: %d entries, root %s", r.Origin, r.Entries, r.Root)
	if !r.First.IsZero() {
		a.say("时间 %s 至 %s", "from %s to %s", policies.Clock(r.First), policies.Clock(r.Last))
	}
	a.say("作业: 发布 %d，重复 %d，拒绝 %d，失败 %d，未结 %d", "jobs: released %d, repeated %d, refused %d, failed %d, open %d",
		r.Jobs["RELEASED"], r.Jobs["REPEATED"], r.Jobs["REFUSED"], r.Jobs["FAILED"], r.Jobs["RESERVED"])
	if len(r.Spending) > 0 {
		var body [][]string
		for _, s := range r.Spending {
			t := scopeTitles[string(s.Scope.Kind)]
			body = append(body, []string{s.Scope.Dataset, a.t(t[0], t[1]), s.Scope.Operator, s.Spent.String(), s.Limit.String()})
		}
		printTable(a.out, []string{a.t("数据集", "dataset"), a.t("预算范围", "scope"), a.t("运营机构", "operator"), a.t("重算已用 ρ", "recomputed ρ"), a.t("上限 ρ", "limit ρ")}, body, 3, 4)
	}
	if len(r.Keys) > 1 {
		for _, k := range r.Keys {
			a.say("检查点密钥 %s：自第 %d 条记录起", "checkpoint key %s: from %d entries on", k.Key, k.From)
		}
	}
	if r.Receipts > 0 || r.Checkpoints > 0 {
		a.say("核对回执 %d 份，先前检查点 %d 个", "receipts checked %d, earlier checkpoints %d", r.Receipts, r.Checkpoints)
	}
	if r.AccessLines > 0 {
		a.say("核对访问日志 %d 行，其中 %d 行由账本作证", "access log checked: %d lines, %d vouched for by the ledger", r.AccessLines, r.AccessVouched)
	}
	// carried:
	if r.States > 0 {
		a.say("状态快照 %d 份：重放所得散列与账本所记一致", "state snapshots checked: %d; the replay comes to the hashes that the ledger gives", r.States)
	}
	if r.SecondReader {
		a.say("第二个独立读取程序确认全部 %d 条记录", "a second, independent reader confirms all %d entries", r.Entries)
	}
	a.witnessed(r)
	if r.Disclosed > 0 {
		a.say("核对披露的请求 %d 份：账本所记查询出自所签文本", "disclosed requests checked: %d; the queries in the ledger are those of the texts signed", r.Disclosed)
	}
	for _, f := range r.Findings {
		mark := a.t("提示", "note")
		if f.Fatal {
			mark = a.t("问题", "PROBLEM")
		}
		a.say("%s %s: %s", "%s %s: %s", mark, f.Code, a.t(f.ZH, f.EN))
	}
	if r.OK {
		a.say("审计结论: 通过。签名、哈希、连续性、每个决定和每笔预算均与规则一致。", "verdict: PASSED. Signatures, hashes, order, every decision and every budget follow from the rules.")
	} else {
		a.say("审计结论: 未通过", "verdict: FAILED")
	}
	return nil
}
