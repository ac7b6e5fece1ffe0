package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/projection"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// ledgerSource is the copied ledger a search reads, or the projection made of it.
type ledgerSource struct {
	dir, trust, file, tier string
}

func (s *ledgerSource) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.dir, "ledger", "", "账本副本目录 directory of a copied ledger")
	f.StringVar(&s.trust, "trust", "", "信任文件 trust.json from the regulator's kit")
	f.StringVar(&s.tier, "isolation", string(sandbox.TierFull), "隔离等级 isolation tier: full|container")
}

// pool starts workers for one command.
func (s *ledgerSource) pool(ctx context.Context) (*sandbox.Pool, error) {
	return sandbox.NewPool(ctx, sandbox.Config{Tier: sandbox.Tier(s.tier), Limits: sandbox.Limits{Memory: 256 << 20}, Jobs: 1})
}

func (a *app) ledgerProjectCmd() *cobra.Command {
	var src ledgerSource
	c := &cobra.Command{
		Use:   "project --ledger DIR --out FILE",
		Short: "把账本副本展开成可查询的表（先完整审计） · spread a copied ledger out into tables, after a full audit",
		Long: `先完整审计账本副本，再把记录、作业、扣减、拒绝理由、签名文件、快照和期限写成一个 DuckDB 数据库文件，供 ledger sql 或任何 DuckDB 工具只读查询。
投影不是证据：可随时删除重建；表 meta 记有它所依据的根。
Audits the copy in full, then writes entries, jobs, charges, reasons, signed documents, snapshots and duties as one
DuckDB file, for ledger sql or any DuckDB tool. A projection is no evidence: drop it and make it again at will; its
table meta names the root it was made of.`,
		Example: "  sandgate ledger project --ledger ./ledger-copy --trust ./kits/data_bureau/trust.json --out ledger.duckdb",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			out, err := os.CreateTemp(filepath.Dir(src.file), ".projection-*")
			if err != nil {
				return texts.Errorf("failed to create projection: %w", err)
			}
			defer os.Remove(out.Name())
			defer out.Close()
			pool, err := src.pool(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			r, err := a.project(c.Context(), pool, &src, out)
			if err != nil {
				return err
			}
			if err := errors.Join(out.Sync(), os.Rename(out.Name(), src.file)); err != nil {
				return texts.Errorf("failed to store projection: %w", err)
			}
			a.say("已写 %s：%d 条记录，根 %s", "wrote %s: %d entries, root %s", src.file, r.Entries, r.Root)
			return nil
		},
	}
	src.flags(c)
	c.Flags().StringVar(&src.file, "out", "", "输出文件 file to write")
	require(c, "ledger", "out")
	return c
}

// project audits the copy and writes the projection of what it verified. A copy that
// fails the audit has none: what would be searched is not what happened.
func (a *app) project(ctx context.Context, pool *sandbox.Pool, src *ledgerSource, out io.Writer) (*audit.Report, error) {
	opt, err := auditOptions(src.trust, nil, nil)
	if err != nil {
		return nil, err
	}
	opt.Progress = a.auditProgress()
	var shapes []engine.ProjectTable
	for _, t := range projection.Tables {
		shape := engine.ProjectTable{Name: t.Name}
		for _, col := range t.Columns {
			shape.Columns = append(shape.Columns, engine.PostColumn{Name: col.Name, Type: col.Type.SQL()})
		}
		shapes = append(shapes, shape)
	}
	var report *audit.Report
	err = engine.Project(ctx, pool, shapes, func(w io.Writer) error {
		var buf []byte
		p := projection.New(func(table int, cells []*string) error {
			if buf = engine.AppendProjectRow(buf, table, cells); len(buf) < 1<<20 {
				return nil
			}
			_, err := w.Write(buf)
			buf = buf[:0]
			return err
		})
		opt.Visit = func(e *entry.Entry, text []byte) error { return p.Entry(e, text) }
		r, err := audit.Run(ctx, src.dir, opt)
		if err != nil {
			return err
		}
		if report = r; !r.OK {
			return errAudit
		}
		if err := p.Close(r.State, projection.Meta{Origin: r.Origin, Entries: r.Entries, Root: r.Root, Audited: r.OK}); err != nil {
			return err
		}
		_, err = w.Write(buf)
		return err
	}, out)
	if errors.Is(err, errAudit) {
		return nil, errors.Join(a.auditReport(report), &silentError{exitAuditFailed})
	}
	return report, err
}

var errAudit = texts.Errorf("the audit failed")

func (a *app) ledgerSQLCmd() *cobra.Command {
	var src ledgerSource
	c := &cobra.Command{
		Use:   "sql SELECT",
		Short: "用 SQL 检索账本：只读、离线、隔离运行 · search the ledger by SQL: read only, offline, jailed",
		Long: `对账本副本或其投影执行一条 SELECT。表见 sandgate ledger tables。不带 --projection 时先审计并临时展开；同时给出两者时，核对投影与副本的检查点一致，
过期或被替换的投影将被拒绝。
Runs one SELECT over a copied ledger or its projection; sandgate ledger tables lists the tables. Without --projection
the copy is audited and spread out first. With both, the projection must be of the copy's checkpoint: a stale or
exchanged one is refused.`,
		Example: `  sandgate ledger sql "SELECT operator, phase, count(*) FROM jobs GROUP BY ALL" --ledger ./ledger-copy --trust ./kits/data_bureau/trust.json
  sandgate ledger sql "SELECT time, kind, actor FROM entries WHERE body->>'$.policy' IS NOT NULL" --projection ledger.duckdb -o csv
  sandgate ledger sql - --projection ledger.duckdb < question.sql`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			text := args[0]
			if text == "-" {
				raw, err := io.ReadAll(io.LimitReader(c.InOrStdin(), 1<<20))
				if err != nil {
					return texts.Errorf("failed to read statement: %w", err)
				}
				text = string(raw)
			}
			if src.file == "" && src.dir == "" {
				return usageError{errors.New(a.t("请给出 --ledger 或 --projection", "give --ledger or --projection"))}
			}
			pool, err := src.pool(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			f, err := a.openProjection(c.Context(), pool, &src)
			if err != nil {
				return err
			}
			defer f.Close()
			answer, err := engine.Search(c.Context(), pool, f, strings.TrimSuffix(strings.TrimSpace(text), ";"))
			if err != nil {
				return searchError(err)
			}
			return a.derived(answer)
		},
	}
	src.flags(c)
	c.Flags().StringVar(&src.file, "projection", "", "ledger project 写出的文件 file that ledger project wrote")
	return c
}

// openProjection opens the file named, or makes one for this command alone.
func (a *app) openProjection(ctx context.Context, pool *sandbox.Pool, src *ledgerSource) (*os.File, error) {
	if src.file != "" {
		f, err := os.Open(src.file)
		if err != nil {
			return nil, texts.Errorf("failed to open projection: %w", err)
		}
		if src.dir != "" {
			if err := sameTree(ctx, pool, f, src); err != nil {
				return nil, errors.Join(err, f.Close())
			}
		}
		return f, nil
	}
	f, err := os.CreateTemp("", "sandgate-projection-*")
	if err != nil {
		return nil, texts.Errorf("failed to create projection: %w", err)
	}
	// It is gone with its descriptor.
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := a.project(ctx, pool, src, f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sameTree holds a projection's own description against the signed checkpoint of the
// copy it is said to be of.
func sameTree(ctx context.Context, pool *sandbox.Pool, f *os.File, src *ledgerSource) error {
	if src.trust == "" {
		return usageError{texts.Errorf("--ledger beside --projection needs --trust: the checkpoint's key")}
	}
	opt, err := auditOptions(src.trust, nil, nil)
	if err != nil {
		return err
	}
	verifier, err := audit.Keys(ctx, src.dir, opt.Trust.LogKey)
	if err != nil {
		return texts.Errorf("failed to read the log's verifier key: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(src.dir, "checkpoint"))
	if err != nil {
		return texts.Errorf("failed to read checkpoint: %w", err)
	}
	cp, err := evidence.OpenCheckpoint(text, verifier)
	if err != nil {
		return texts.Errorf("the copy's checkpoint is not what the log's key signed: %w", err)
	}
	meta, err := engine.Search(ctx, pool, f, "SELECT origin, entries, root FROM meta")
	if err != nil {
		return searchError(err)
	}
	want := []string{cp.Origin, strconv.FormatInt(cp.N, 10), cp.Hash.String()}
	if len(meta.Rows) == 1 {
		same := true
		for i, cell := range meta.Rows[0] {
			same = same && cell != nil && *cell == want[i]
		}
		if same {
			return nil
		}
	}
	return &gateway.Refusal{Reasons: []policies.Reason{{Code: "PROJECTION_STALE", Rule: "projection",
		ZH: "投影不是由该账本副本的检查点得出的（过期或被替换）", EN: "the projection was not made of this copy's checkpoint: it is stale or another one",
		HintZH: "用 sandgate ledger project 重新生成", HintEN: "make it again with sandgate ledger project"}}}
}

// searchError shows a statement's fault as a refusal.
func searchError(err error) error {
	var p *engine.PostError
	if !errors.As(err, &p) {
		return err
	}
	r := policies.Reason{Code: "SEARCH_FAILED", Rule: "projection", ZH: "检索语句无法执行：" + p.Message, EN: "the statement gave no answer: " + p.Message,
		HintZH: "表和列见 sandgate ledger tables", HintEN: "sandgate ledger tables lists tables and columns"}
	switch p.Code {
	case engine.PostLimit:
		r.ZH, r.EN, r.HintZH, r.HintEN = "检索超出时间、内存或十万行的限制", "the statement ran out of time, memory or the limit of 100000 rows", "缩小条件或汇总", "narrow it or aggregate"
	case engine.PostType:
		r.ZH, r.EN, r.HintZH, r.HintEN = "列“"+p.Message+"”的类型无法输出", "column \""+p.Message+"\" has a type that cannot be handed out", "转换为文本：CAST(… AS VARCHAR)", "cast it: CAST(… AS VARCHAR)"
	}
	return &gateway.Refusal{Reasons: []policies.Reason{r}}
}

// derived prints an answer as a table, CSV or JSON.
func (a *app) derived(d *engine.Derived) error {
	var head []string
	var right []int
	for i, c := range d.Columns {
		head = append(head, c.Name)
		if c.Type == "int" || c.Type == "decimal" || c.Type == "double" {
			right = append(right, i)
		}
	}
	if a.format == "json" {
		out := make([]map[string]*string, 0, len(d.Rows))
		for _, row := range d.Rows {
			m := map[string]*string{}
			for i, cell := range row {
				m[head[i]] = cell
			}
			out = append(out, m)
		}
		return a.json(out)
	}
	body := make([][]string, len(d.Rows))
	for i, row := range d.Rows {
		for _, cell := range row {
			if cell == nil {
				body[i] = append(body[i], "")
				continue
			}
			body[i] = append(body[i], *cell)
		}
	}
	return a.rows(head, body, right...)
}

func (a *app) ledgerTablesCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "tables",
		Short:   "投影的表与列 · tables and columns of the projection",
		Example: "  sandgate ledger tables",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var body [][]string
			for _, t := range projection.Tables {
				for i, c := range t.Columns {
					about := ""
					if i == 0 {
						about = a.t(t.ZH, t.EN)
					}
					body = append(body, []string{t.Name, c.Name, c.Type.SQL(), about})
				}
			}
			return a.rows([]string{a.head("表", "table"), a.head("列", "column"), a.head("类型", "type"), a.head("说明", "about")}, body)
		},
	}
}
