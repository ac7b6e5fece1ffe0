package main

import (
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
)

// previewRows are the synthetic rows of a preview.
const previewRows = 3

func (a *app) policyPreviewCmd() *cobra.Command {
	var dataset, purpose, operator string
	c := &cobra.Command{
		Use:   "preview FILE --dataset ID",
		Short: "用合成数据看脱敏效果 · show what masks do to synthetic rows",
		Long: `按策略文件中的目录、分级和脱敏规则，用合成数据（不存在的区划 990101）显示脱敏前后的值，以及每种脱敏保留什么、不防什么。
不需要网关，也不读任何数据。给出用途或运营机构时，显示按此文件入库后，其查询所见：适用的最严规则、列的类型、以及被拒绝的列。
Shows values before and after their masks by the bundle's catalogue, levels and masking rules, on synthetic rows (area
990101, which does not exist), and what each mask keeps and does not protect. It needs no gateway and reads no data.
With a purpose or an operator it shows what a query under them meets once the file is ingested under the bundle: the
strictest rule that holds for them, the type its column has then, and what is refused.`,
		Example: "  sandgate policy preview health.yaml --dataset visits\n  sandgate policy preview health.yaml --dataset visits --purpose public_health --operator alpha",
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
			e, err := policies.PreviewEntry(docs, dataset)
			if err != nil {
				return texts.Errorf("%s: %w", args[0], err)
			}
			columns, err := e.Preview(purpose, operator, previewRows)
			if err != nil {
				return err
			}
			return a.preview(columns)
		},
	}
	f := c.Flags()
	f.StringVar(&dataset, "dataset", "", "数据集编号 data set id")
	f.StringVar(&purpose, "purpose", "", "用途编号 purpose id")
	f.StringVar(&operator, "operator", "", "运营机构编号 operator's party id")
	require(c, "dataset")
	return c
}

func (a *app) preview(columns []policies.ColumnPreview) error {
	full := a.format != "table"
	var body [][]string
	var ops []string
	for _, c := range columns {
		d, ok := masking.Describe(c.Demanded.Op)
		if !ok {
			return texts.Errorf("a mask without description")
		}
		if !slices.Contains(ops, c.Demanded.Op) && !c.Unit {
			ops = append(ops, c.Demanded.Op)
		}
		row := func(before, after string) {
			line := []string{c.Column, c.Demanded.Op, c.Rule, before, after, a.meets(c)}
			if full {
				line = append(line, a.t(d.Keeps.ZH, d.Keeps.EN), a.t(d.Exposes.ZH, d.Exposes.EN))
			}
			body = append(body, line)
		}
		if c.Unit {
			row("", a.t("（令牌）", "(token)"))
			continue
		}
		for _, x := range c.Effects {
			switch {
			case c.Drop:
				row(x.Before, a.t("（不入库）", "(not stored)"))
			case x.Null:
				row(x.Before, "NULL")
			default:
				row(x.Before, x.After)
			}
		}
	}
	head := []string{a.head("列", "column"), a.head("脱敏", "mask"), a.head("规则", "rule"), a.head("之前（合成）", "before"), a.head("之后", "after"), a.head("查询", "query")}
	if full {
		return a.rows(append(head, "keeps", "does_not_protect"), body)
	}
	if err := a.rows(head, body); err != nil {
		return err
	}
	var described [][]string
	for _, op := range ops {
		d, _ := masking.Describe(op)
		described = append(described, []string{op, a.t(d.Title.ZH, d.Title.EN), a.t(d.Keeps.ZH, d.Keeps.EN), a.t(d.Exposes.ZH, d.Exposes.EN)})
	}
	return a.rows([]string{a.head("脱敏", "mask"), a.head("名称", "name"), a.head("保留", "keeps"), a.head("不防", "does not protect")}, described)
}

// meets says what a query that names the column meets.
func (a *app) meets(c policies.ColumnPreview) string {
	switch {
	case c.Unit:
		return a.t("只可计数", "counted only")
	case c.Refused != nil:
		return c.Refused.Code + a.t("："+c.Refused.ZH, ": "+c.Refused.EN)
	}
	return string(c.Type.Kind)
}
