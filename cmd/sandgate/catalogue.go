package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/sheet"
)

// catalogueCmds are the commands of "catalog" beside list.
func (a *app) catalogueCmds() []*cobra.Command {
	return []*cobra.Command{a.catalogShowCmd(), a.catalogExportCmd(), a.catalogImportCmd(), a.catalogTemplateCmd(), a.catalogLintCmd(),
		a.catalogNegativeCmd(), a.catalogRegisterCmd()}
}

func (a *app) catalogShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show DATASET",
		Short:   "一个数据集的目录信息、共享开放属性和登记 · one entry: description, classes, registration",
		Example: "  sandgate catalog show visits --kit ./kits/alpha",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			d, err := findDataset(c.Context(), cl, args[0])
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.proto(d)
			}
			return a.showDataset(d)
		},
	}
}

func findDataset(ctx context.Context, cl *client.Client, id string) (*sandgatev1.Dataset, error) {
	req := &sandgatev1.ListDatasetsRequest{PageSize: 200}
	for {
		resp, err := cl.Operator.ListDatasets(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, d := range resp.GetDatasets() {
			if d.GetName() == "datasets/"+id {
				return d, nil
			}
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return nil, &gateway.Refusal{Reasons: []policies.Reason{{Code: "DATASET_UNKNOWN", Rule: "catalogue", ZH: "目录中没有此数据集", EN: "no such data set is in the catalogue",
				HintZH: "用 sandgate catalog list 查看", HintEN: "see sandgate catalog list"}}}
		}
	}
}

func (a *app) showDataset(d *sandgatev1.Dataset) error {
	access := func(x *sandgatev1.Access) string {
		parts := []string{x.GetClass()}
		if c := a.t(x.GetConditionZh(), x.GetConditionEn()); c != "" {
			parts = append(parts, c)
		}
		if x.GetBasis() != "" {
			parts = append(parts, x.GetBasis())
		}
		return strings.Join(parts, " · ")
	}
	registration := ""
	if r := d.GetRegistration(); r != nil {
		registration = r.GetCode() + " " + a.state(r.GetState()) + " " + dateOf(r.GetValidUntil())
	}
	var withheld []string
	for _, r := range d.GetWithheld() {
		withheld = append(withheld, reasonText(r, a.lang))
	}
	var body [][]string
	for _, r := range [][2]string{
		{a.head("数据集", "dataset"), strings.TrimPrefix(d.GetName(), "datasets/")},
		{a.head("名称", "title"), a.t(d.GetTitleZh(), d.GetTitleEn())},
		{a.head("摘要", "abstract"), a.t(d.GetAbstractZh(), d.GetAbstractEn())},
		{a.head("数源部门", "department"), d.GetDepartment()},
		{a.head("提供单位", "provider"), strings.TrimSpace(a.t(d.GetProviderZh(), d.GetProviderEn()) + " " + d.GetProviderCode())},
		{a.head("数据格式", "format"), d.GetFormat()}, {a.head("所属行业", "industry"), d.GetIndustry()},
		{a.head("时间范围", "period"), d.GetPeriod()}, {a.head("区域范围", "area"), d.GetArea()}, {a.head("更新周期", "update_frequency"), d.GetUpdateFrequency()},
		{a.head("共享属性", "sharing"), access(d.GetSharing())}, {a.head("共享方式", "sharing_methods"), join(d.GetSharingMethods())}, {a.head("开放属性", "opening"), access(d.GetOpening())},
		{a.head("授权运营", "operation"), strings.TrimSpace(d.GetOperationStatus() + " " + a.t(d.GetScenarioZh(), d.GetScenarioEn()))},
		{a.head("登记", "registration"), registration}, {a.head("不可查询的原因", "withheld"), strings.Join(withheld, "\n")},
	} {
		body = append(body, []string{r[0], r[1]})
	}
	return a.rows([]string{a.head("项目", "field"), a.head("内容", "value")}, body)
}

func (a *app) catalogExportCmd() *cobra.Command {
	var department, form, out string
	c := &cobra.Command{
		Use:   "export --out FILE",
		Short: "导出生效的目录 · export the catalogue in force",
		Long: `导出为未签名的 YAML 策略文件、XLSX 工作簿，或三个 CSV 文件打成的 ZIP。以 = + - @ 开头的文字在 CSV 中加单引号，在 XLSX 中为文本单元格。
Writes an unsigned YAML bundle, an XLSX workbook, or a ZIP of three CSV files. Texts that begin with = + - @ get an
apostrophe in CSV and are text cells in XLSX. Every format can be imported again without loss.`,
		Example: "  sandgate catalog export --department health -f xlsx --out health.xlsx --kit ./kits/health\n  sandgate catalog export -f csv --out all.csv.zip --kit ./kits/data_bureau",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"yaml", "csv", "xlsx"}, form) {
				return usageError{texts.Errorf("unknown format; known: yaml, csv, xlsx")}
			}
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			catalogues, err := fetchCatalogues(c.Context(), cl, department)
			if err != nil {
				return err
			}
			n := 0
			for _, c := range catalogues {
				n += len(c.Datasets)
			}
			if n == 0 {
				return &gateway.Refusal{Reasons: []policies.Reason{{Code: "CATALOGUE_EMPTY", Rule: "catalogue", ZH: "没有可导出的数据集", EN: "there is no data set to export"}}}
			}
			var file []byte
			if form == "yaml" {
				file, err = policies.FormatCatalogues(catalogues)
			} else {
				file, err = sheet.Write(sheet.Format(form), catalogues)
			}
			if err != nil {
				return sheetError(err)
			}
			if err := writeWhole(out, file); err != nil {
				return err
			}
			a.note("已导出 %d 个数据集: %s", "%[1]d data sets exported: %[2]s", n, out)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&department, "department", "", "只导出此部门 of this department only")
	f.StringVarP(&form, "format", "f", "yaml", "yaml|csv|xlsx")
	f.StringVar(&out, "out", "", "输出文件 output file")
	require(c, "out")
	return c
}

// fetchCatalogues reads the catalogue in force, one Catalogue per department.
func fetchCatalogues(ctx context.Context, cl *client.Client, department string) ([]policies.Catalogue, error) {
	var out []policies.Catalogue
	req := &sandgatev1.ListCatalogueEntriesRequest{Department: department, PageSize: 20}
	for {
		resp, err := cl.Catalogue.ListCatalogueEntries(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, e := range resp.GetEntries() {
			docs, err := policies.ParseBundle([]byte(e.GetDocument()))
			if err != nil || len(docs) != 1 || docs[0].Catalogue == nil {
				return nil, texts.Errorf("failed to read entry %s: it is not one Catalogue document", e.GetName())
			}
			one := docs[0].Catalogue
			if len(out) == 0 || out[len(out)-1].Department != one.Department {
				out = append(out, policies.Catalogue{Department: one.Department})
			}
			last := &out[len(out)-1]
			last.Datasets = append(last.Datasets, one.Datasets...)
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return out, nil
		}
	}
}

func (a *app) catalogImportCmd() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "import FILE --out BUNDLE.yaml",
		Short: "由 XLSX 或 CSV（ZIP）生成未签名的目录文件 · make an unsigned bundle of an XLSX or CSV (ZIP) file",
		Long: `读取按模板填写的 XLSX，或含 datasets.csv、columns.csv、codes.csv 的 ZIP，检查后写成未签名的 YAML。有任何问题则不写文件，并指明工作表、行和列。
公式、合并单元格、应为文本却是数字的单元格一律拒绝。生成后用 sandgate policy sign 签名。目录变更后，分级、脱敏、披露须在同一策略文件中重新提交。
Reads a filled-in template (XLSX), or a ZIP of datasets.csv, columns.csv and codes.csv, checks it and writes unsigned
YAML. On any problem nothing is written and sheet, row and column are named. Sign the result with sandgate policy sign;
a changed catalogue needs its grading, masking and disclosure applied again.`,
		Example: "  sandgate catalog import health.xlsx --out health.yaml && sandgate policy sign health.yaml --kit ./kits/health",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			catalogues, err := readSheet(args[0])
			if err != nil {
				return err
			}
			text, err := policies.FormatCatalogues(catalogues)
			if err != nil {
				return err
			}
			if err := writeWhole(out, text); err != nil {
				return err
			}
			n, cols := 0, 0
			for _, c := range catalogues {
				n += len(c.Datasets)
				for _, d := range c.Datasets {
					cols += len(d.Columns)
				}
			}
			a.note("已生成 %s：%d 个数据集，%d 列；下一步: sandgate policy sign %[1]s", "%s written: %d data sets, %d columns; next: sandgate policy sign %[1]s", out, n, cols)
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "生成的策略文件 bundle to write")
	require(c, "out")
	return c
}

func (a *app) catalogTemplateCmd() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:     "template --out FILE.xlsx",
		Short:   "供填写的空白工作簿 · an empty workbook to fill in",
		Example: "  sandgate catalog template --out catalogue.xlsx",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			file, err := sheet.Template()
			if err != nil {
				return sheetError(err)
			}
			if err := writeWhole(out, file); err != nil {
				return err
			}
			a.note("已生成 %s；填写后: sandgate catalog import", "%s written; when filled in: sandgate catalog import", out)
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "输出文件 output file")
	require(c, "out")
	return c
}

// readSheet reads catalogues of an XLSX or CSV file. The limit is checked before
// the file is read.
func readSheet(name string) ([]policies.Catalogue, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, texts.Errorf("failed to read file: %w", err)
	}
	if info.Size() > sheet.MaxFile {
		return nil, texts.Errorf("file is larger than %d bytes", sheet.MaxFile)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, texts.Errorf("failed to read file: %w", err)
	}
	form, err := sheet.Detect(data)
	if err != nil {
		return nil, sheetError(err)
	}
	out, err := sheet.Read(form, data)
	return out, sheetError(err)
}

// sheetError shows a refused spreadsheet as what it is: refused, for every reason.
func sheetError(err error) error {
	var r *sheet.Refused
	if errors.As(err, &r) {
		return &gateway.Refusal{Reasons: r.Reasons}
	}
	return err
}

// writeWhole writes a file or nothing: an older one of the name stays until the new
// one is complete.
func writeWhole(name string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".sandgate-*")
	if err != nil {
		return texts.Errorf("failed to write file: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return texts.Errorf("failed to write file: %w", err)
	}
	if err := os.Rename(tmp.Name(), name); err != nil {
		return texts.Errorf("failed to write file: %w", err)
	}
	return nil
}
