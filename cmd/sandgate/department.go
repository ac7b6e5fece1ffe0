package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"encoding/json"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) policyCmd() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "目录、分级、脱敏、披露、授权 · catalogue, grading, masking, disclosure, licences"}
	c.AddCommand(a.policyLintCmd(), a.policyPreviewCmd(), a.policySignCmd(), a.policyApplyCmd())
	return c
}

func (a *app) policyLintCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "lint FILE",
		Short:   "检查策略文件的格式 · check the form of a bundle",
		Example: "  sandgate policy lint health.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return texts.Errorf("failed to read bundle: %w", err)
			}
			docs, err := policies.ParseBundle(text)
			if err != nil {
				return texts.Errorf("%s: %w", args[0], err)
			}
			var body [][]string
			for i, d := range docs {
				body = append(body, []string{itoa(int64(i + 1)), string(d.Kind)})
			}
			return a.rows([]string{a.head("序号", "document"), "kind"}, body, 0)
		},
	}
}

func (a *app) policySignCmd() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "sign FILE",
		Short: "用密钥包签名 · sign a bundle with the kit",
		Long: `生成或追加签名（DSSE，Ed25519）。授权（Licence）需要主管部门和每个数源部门依次签名。
Makes FILE.dsse or adds a signature to it. A licence needs the regulator's signature and that of every owning
department: each runs this command on the same file.`,
		Example: `  sandgate policy sign health.yaml --kit ./kits/health
  sandgate policy sign alpha-2026.yaml --kit ./kits/data_bureau && sandgate policy sign alpha-2026.yaml --kit ./kits/health`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := a.kit()
			if err != nil {
				return err
			}
			key, err := k.SigningKey()
			if err != nil {
				return err
			}
			bundle, err := os.ReadFile(args[0])
			if err != nil {
				return texts.Errorf("failed to read bundle: %w", err)
			}
			if _, err := policies.ParseBundle(bundle); err != nil {
				return texts.Errorf("%s: %w", args[0], err)
			}
			if out == "" {
				out = args[0] + ".dsse"
			}
			var env *dsse.Envelope
			old, err := os.ReadFile(out)
			switch {
			case err == nil:
				if env, _, err = policies.ParseEnvelope(old); err != nil {
					return texts.Errorf("%s: %w", out, err)
				}
			case !errors.Is(err, fs.ErrNotExist):
				return texts.Errorf("failed to read envelope: %w", err)
			}
			if env, err = policies.Sign(env, bundle, k.Party, key); err != nil {
				return texts.Errorf("%s: %w", out, err)
			}
			text, err := json.MarshalIndent(env, "", "  ")
			if err != nil {
				return texts.Errorf("failed to encode envelope: %w", err)
			}
			if err := os.WriteFile(out, append(text, '\n'), 0o600); err != nil {
				return texts.Errorf("failed to write envelope: %w", err)
			}
			a.note("%s 已签名: %s（共 %d 个签名）", "%s signed: %s (%d signatures)", k.Party, out, len(env.Signatures))
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "签名文件，默认 FILE.dsse · envelope file, FILE.dsse by default")
	return c
}

func (a *app) policyApplyCmd() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use:     "apply FILE.dsse",
		Short:   "提交签名后的策略 · put a signed bundle in force",
		Example: "  sandgate policy apply health.yaml.dsse --kit ./kits/health\n  sandgate policy apply health.yaml.dsse --kit ./kits/health --check",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			env, err := os.ReadFile(args[0])
			if err != nil {
				return texts.Errorf("failed to read envelope: %w", err)
			}
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			resp, err := cl.Policy.ApplyPolicy(c.Context(), &sandgatev1.ApplyPolicyRequest{Envelope: env, ValidateOnly: check})
			if err != nil {
				return err
			}
			if check && a.format != "json" {
				a.warnings(resp.GetWarnings())
				a.say("检查通过: %s", "would be put in force: %s", join(resp.GetKinds()))
				return nil
			}
			return a.inForce(resp)
		},
	}
	c.Flags().BoolVar(&check, "check", false, "只检查，不生效 · check only")
	return c
}

func (a *app) catalogCmd() *cobra.Command {
	c := &cobra.Command{Use: "catalog", Short: "资源目录 · the catalogue"}
	c.AddCommand(a.catalogScanCmd())
	c.AddCommand(&cobra.Command{
		Use:     "list",
		Short:   "列出数据集和列 · list data sets and columns",
		Example: "  sandgate catalog list --kit ./kits/alpha",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			var body [][]string
			req := &sandgatev1.ListDatasetsRequest{}
			for {
				resp, err := cl.Operator.ListDatasets(c.Context(), req)
				if err != nil {
					return err
				}
				for _, d := range resp.GetDatasets() {
					for _, col := range d.GetColumns() {
						title := a.t(col.GetTitleZh(), col.GetTitleEn())
						body = append(body, []string{strings.TrimPrefix(d.GetName(), "datasets/"), d.GetDepartment(), d.GetMode(),
							col.GetName(), title, col.GetType(), itoa(int64(col.GetLevel())), join(col.GetUses()), col.GetMask()})
					}
				}
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			return a.rows([]string{a.head("数据集", "dataset"), a.head("数源部门", "department"), a.head("方式", "mode"), a.head("列", "column"),
				a.head("名称", "title"), a.head("类型", "type"), a.head("级别", "level"), a.head("可用于", "uses"), a.head("脱敏", "mask")}, body, 6)
		},
	})
	c.AddCommand(a.catalogueCmds()...)
	return c
}

func (a *app) ingestCmd() *cobra.Command {
	var dataset, format string
	var allowEmpty bool
	c := &cobra.Command{
		Use:   "ingest FILE --dataset ID",
		Short: "入库：把原始文件送入域内快照 · stream a raw file into a snapshot",
		Long: `把 CSV、CSV.GZ 或 Parquet 文件送入域内：按目录校验、脱敏、令牌化，成为不可变快照。提示只含行列号，不含数据。
Streams a CSV, CSV.GZ or Parquet file into the domain: checked against the catalogue, masked, tokenised, and kept as
an immutable snapshot. Messages hold row and column numbers, never values.`,
		Example: "  sandgate ingest visits.csv.gz --dataset visits --kit ./kits/health",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return texts.Errorf("failed to open file: %w", err)
			}
			defer f.Close()
			if format == "" {
				format = formatOf(args[0])
			}
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			var with []func(*sandgatev1.IngestHeader)
			if allowEmpty {
				with = append(with, client.AllowEmpty)
			}
			snap, err := a.ingest(c.Context(), cl, dataset, format, f, with...)
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.proto(snap)
			}
			a.say("快照 %s\n行数 %d，隐私单元 %d，坏行 %d，截到界内的值 %d（账本第 %d 条）", "snapshot %s\nrows %d, privacy units %d, bad rows %d, clamped values %d (ledger entry %d)",
				snap.GetName(), snap.GetRows(), snap.GetUnits(), snap.GetBadRows(), snap.GetClampedValues(), snap.GetReceipt().GetSeq())
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&dataset, "dataset", "", "数据集编号 data set id")
	f.StringVar(&format, "format", "", "csv|csv.gz|parquet，默认按扩展名 · by extension when empty")
	f.BoolVar(&allowEmpty, "allow-empty", false, "接受没有数据行的文件 take a file without rows")
	require(c, "dataset")
	return c
}

func formatOf(name string) string {
	switch {
	case strings.HasSuffix(name, ".gz"):
		return "csv.gz"
	case strings.HasSuffix(name, ".parquet"):
		return "parquet"
	}
	return "csv"
}

// ingest streams with a progress bar on a terminal and silence elsewhere.
func (a *app) ingest(ctx context.Context, cl *client.Client, dataset, format string, r io.Reader, with ...func(*sandgatev1.IngestHeader)) (*sandgatev1.Snapshot, error) {
	progress, done := a.progress(dataset)
	defer done()
	return cl.Ingest(ctx, dataset, format, r, progress, with...)
}

// progress shows a number of rows on a terminal until done is called.
func (a *app) progress(what string) (rows func(int64), done func()) {
	f, ok := a.err.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func(int64) {}, func() {}
	}
	bar := progressbar.NewOptions64(-1, progressbar.OptionSetWriter(a.err), progressbar.OptionSetDescription(what),
		progressbar.OptionShowIts(), progressbar.OptionSetItsString("rows"), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	return func(n int64) { bar.Set64(n) }, func() { bar.Finish() }
}
