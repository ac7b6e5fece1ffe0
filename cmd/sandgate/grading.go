package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/compute/engine/ingest"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/propose"
)

// maxHighest is how many columns explain a level.
const maxHighest = 5

// level prints what a query derives is graded, why, and what its answer waits for.
func (a *app) level(x *sandgatev1.ExplainJobResponse) {
	wait := a.t("账本落盘后发布", "released once its ledger entry is on disk")
	switch x.GetWait() {
	case policies.WaitPublished:
		wait = a.t("账本检查点公布后发布", "released once a published checkpoint covers its ledger entry")
	case policies.WaitWitnessed:
		wait = a.t("账本检查点经足够见证方签名后发布", "released once enough witnesses cosigned a checkpoint that covers its ledger entry")
	}
	// A wide query has many; a few say why.
	highest := x.GetLevelColumns()
	if len(highest) > maxHighest {
		highest = append(slices.Clone(highest[:maxHighest]), "…")
	}
	a.say("数据级别: %d（最高的列: %s）；%s", "level: %d (highest: %s); %s", x.GetLevel(), join(highest), wait)
}

// scanFlags are the flags of catalog scan.
type scanFlags struct {
	catalogue, dataset, department, format, out, header string
}

func (a *app) catalogScanCmd() *cobra.Command {
	s := &scanFlags{}
	c := &cobra.Command{
		Use:   "scan FILE",
		Short: "在本机扫描原始文件，提出分级建议 · scan a raw file on this machine and propose levels",
		Long: `在数源部门自己的机器上读一遍 CSV、CSV.GZ 或 Parquet 文件，逐列提出类型、标识、敏感类别与级别的建议及理由。
不连接网关，原始数据不离开本机；输出只有列名、计数和词典里的词，没有取值。建议不是结论：由人核对、修改、签名。
Reads a CSV, CSV.GZ or Parquet file once on the department's own machine and proposes for each column its type,
identifier, sensitive class and level, with the reason. No gateway is called and raw data does not leave; the output
holds names of columns, counts and words of the dictionary, never a value. A person checks, corrects and signs.`,
		Example: `  sandgate catalog scan visits.csv.gz --catalogue health.yaml
  sandgate catalog scan visits.csv.gz --catalogue health.yaml --out proposal.yaml
  sandgate catalog scan survey.csv --department health --dataset survey --out proposal.yaml -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.scan(c.Context(), args[0], s) },
	}
	f := c.Flags()
	f.StringVar(&s.catalogue, "catalogue", "", "含 Catalogue 的策略文件 a bundle with the Catalogue")
	f.StringVar(&s.dataset, "dataset", "", "数据集编号，目录只有一个匹配时可省略 data set id; may be left out when one of the catalogue matches")
	f.StringVar(&s.department, "department", "", "数源部门，默认取自目录 the department, the catalogue's by default")
	f.StringVar(&s.format, "format", "", "csv|csv.gz|parquet，默认按扩展名 · by extension when empty")
	f.StringVar(&s.header, "header", "auto", "首行是否表头：auto 判断并在可疑时拒绝，yes 是，no 不是（按位置命名）· whether the first line is a header: auto judges and refuses in doubt, yes, no (names by position)")
	f.StringVar(&s.out, "out", "", "把建议写成未签名的 Grading 文件（不覆盖已有文件）write the proposal as an unsigned Grading; never overwrites")
	return c
}

func (a *app) scan(ctx context.Context, name string, s *scanFlags) error {
	if !slices.Contains([]string{"auto", "yes", "no"}, s.header) {
		return usageError{texts.Errorf("--header is auto, yes or no")}
	}
	if s.header == "no" && s.catalogue != "" {
		return usageError{errors.New(a.t("没有表头的文件无法与目录的列对应：先加上表头，或不带 --catalogue 扫描", "a file without a header cannot be held against a catalogue: give it one, or scan without --catalogue"))}
	}
	f, err := os.Open(name)
	if err != nil {
		return texts.Errorf("failed to open file: %w", err)
	}
	defer f.Close()
	format := s.format
	if format == "" {
		format = formatOf(name)
	}
	catalogues, err := cataloguesOf(s.catalogue)
	if err != nil {
		return err
	}
	dict, err := propose.DefaultDictionary()
	if err != nil {
		return err
	}
	var scan *propose.Scan
	rows, done := a.progress(filepath.Base(name))
	err = ingest.Fields(ctx, f, ingest.Format(format), func(header []string) error {
		var declared *policies.Dataset
		if s.catalogue != "" {
			var err error
			if declared, err = a.declared(catalogues, s, header); err != nil {
				return err
			}
		}
		switch {
		case s.header == "no" && ingest.Format(format) == ingest.Parquet:
			return usageError{errors.New(a.t("Parquet 文件自带列名", "a Parquet file names its columns itself"))}
		case s.header == "no":
			var err error
			if scan, err = propose.New(propose.Positions(len(header)), nil, dict); err == nil {
				scan.Row(header, nil)
			}
			return err
		}
		var err error
		if scan, err = propose.New(header, declared, dict); err == nil && s.guesses(format) {
			err = propose.CheckHeader(header, dict)
		}
		return err
	}, func(fields []string, null []bool) error {
		scan.Row(fields, null)
		if n := scan.Rows(); n%4096 == 0 {
			rows(n)
		}
		return nil
	})
	done()
	if err == nil && s.guesses(format) {
		err = scan.Recurs()
	}
	var unsure *propose.HeaderError
	if errors.As(err, &unsure) {
		return hintedError{texts.Errorf("%s: %w", filepath.Base(name), err),
			a.t("是表头请加 --header=yes，不是请加 --header=no（按位置命名各列）", "if it is a header pass --header=yes, if not --header=no, which names columns by position")}
	}
	if err != nil {
		return texts.Errorf("%s: %w", filepath.Base(name), scanError(err))
	}
	report := scan.Report()
	if s.out != "" {
		if err := a.writeProposal(report, s); err != nil {
			return err
		}
	}
	if a.format == "json" {
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(report)
	}
	return a.proposals(report)
}

// guesses says whether it is for the scan to see that the first line is a header:
// Parquet has one, and a catalogue knows the names.
func (s *scanFlags) guesses(format string) bool {
	return s.header == "auto" && s.catalogue == "" && ingest.Format(format) != ingest.Parquet
}

// scanError says what is wrong with a file, by code and position only.
func scanError(err error) error {
	var x *ingest.Refusal
	if !errors.As(err, &x) {
		return err
	}
	text := "file refused: " + string(x.Code)
	if x.Row > 0 {
		text += fmt.Sprintf(", row %d", x.Row)
	}
	return errors.New(text)
}

func cataloguesOf(file string) ([]*policies.Catalogue, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, texts.Errorf("failed to read bundle: %w", err)
	}
	docs, err := policies.ParseBundle(text)
	if err != nil {
		return nil, texts.Errorf("%s: %w", file, err)
	}
	var out []*policies.Catalogue
	for _, d := range docs {
		if d.Catalogue != nil {
			out = append(out, d.Catalogue)
		}
	}
	if len(out) == 0 {
		return nil, texts.Errorf("%s: the bundle holds no Catalogue", file)
	}
	return out, nil
}

// declared picks the data set that a file belongs to: the one that was named, or the
// only one of the same columns.
func (a *app) declared(catalogues []*policies.Catalogue, s *scanFlags, header []string) (*policies.Dataset, error) {
	var found *policies.Dataset
	for _, c := range catalogues {
		for i := range c.Datasets {
			d := &c.Datasets[i]
			if s.dataset != "" && d.ID != s.dataset || s.dataset == "" && !sameColumns(d, header) {
				continue
			}
			if found != nil {
				return nil, usageError{errors.New(a.t("目录中有多个数据集与文件的列相同，请用 --dataset 指明", "several data sets of the catalogue have the file's columns; name one with --dataset"))}
			}
			found = d
			if s.department == "" {
				s.department = c.Department
			}
		}
	}
	if found == nil && s.dataset != "" {
		return nil, usageError{fmt.Errorf(a.t("目录中没有数据集 %q", "the catalogue has no data set %q"), s.dataset)}
	}
	if found == nil {
		return nil, usageError{errors.New(a.t("目录中没有与文件列相同的数据集；请用 --dataset 指明，或不带 --catalogue 扫描", "no data set of the catalogue has the file's columns; name one with --dataset, or scan without --catalogue"))}
	}
	s.dataset = found.ID
	return found, nil
}

func sameColumns(d *policies.Dataset, header []string) bool {
	if len(header) != len(d.Columns) {
		return false
	}
	for _, c := range d.Columns {
		if !slices.ContainsFunc(header, func(name string) bool { return strings.TrimSpace(name) == c.Name }) {
			return false
		}
	}
	return true
}

func (a *app) writeProposal(report propose.Report, s *scanFlags) error {
	if s.department == "" || s.dataset == "" {
		return usageError{errors.New(a.t("--out 需要 --department 和 --dataset，或 --catalogue", "--out needs --department and --dataset, or --catalogue"))}
	}
	text, err := report.Grading(s.department, s.dataset)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(s.out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return texts.Errorf("%s: %s", s.out, a.t("文件已存在，不覆盖；请另取名字", "the file exists and is not overwritten; take another name"))
	}
	if err != nil {
		return texts.Errorf("failed to write proposal: %w", err)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return texts.Errorf("failed to write proposal: %w", err)
	}
	a.note("建议已写入 %s，未签名：逐列核对后执行 sandgate policy sign", "the proposal is in %s, not signed: check every column, then run sandgate policy sign", s.out)
	return nil
}

// proposals prints a report as a table.
func (a *app) proposals(report propose.Report) error {
	var body [][]string
	for _, c := range report.Columns {
		typ := string(c.Type)
		if c.Scale > 0 {
			typ += fmt.Sprintf("(%d)", c.Scale)
		}
		distinct := itoa(int64(c.Distinct))
		if c.More {
			distinct = ">" + distinct
		}
		missing := c.Null
		for _, n := range c.Missing {
			missing += n
		}
		quasi := ""
		if c.Quasi {
			quasi = a.t("是", "yes")
		}
		why := []string{a.t(c.Why.ZH, c.Why.EN)}
		for _, n := range c.Notes {
			why = append(why, a.t(n.ZH, n.EN))
		}
		body = append(body, []string{c.Name, typ, distinct, itoa(missing), evidenceOf(c), c.Class, quasi, itoa(int64(c.Level)), strings.Join(why, a.t("；", "; "))})
	}
	if report.Ragged > 0 {
		a.note("%d 行的字段数与表头不同，未计入", "%d rows have another number of fields than the header and were not counted", report.Ragged)
	}
	a.note("%d 行；以下是建议，由人核对后签名", "%d rows; proposals, for a person to check and sign", report.Rows)
	return a.rows([]string{a.head("列", "column"), a.head("类型", "type"), a.head("不同值", "distinct"), a.head("缺失", "missing"), a.head("标识", "identifier"),
		a.head("敏感类别", "class"), a.head("准标识", "quasi"), a.head("建议级别", "level"), a.head("理由", "why")}, body, 2, 3, 7)
}

// evidenceOf is an identifier and, where its values can be checked, the shares of
// those that pass, fail the check and are none.
func evidenceOf(c propose.Column) string {
	n, ok := c.Evidence[c.Identifier]
	if c.Identifier == "" || !ok || c.Values == 0 {
		return string(c.Identifier)
	}
	percent := func(x int64) int64 { return x * 100 / c.Values }
	return fmt.Sprintf("%s %d/%d/%d%%", c.Identifier, percent(n.OK), percent(n.CheckFailed), percent(n.Malformed))
}
