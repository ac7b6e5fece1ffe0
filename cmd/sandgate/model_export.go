package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/onnx"
)

func (a *app) modelExportCmd() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "export MODEL.json --out MODEL.onnx",
		Short: "把下载的参数文件转换为 ONNX，供通用工具打分 · write a downloaded parameter file as ONNX, for common tools to score with",
		Long: `在本机转换自己的参数文件，不联网。每个特征一个输入（行×1）：数值为双精度数，NaN 为缺失；代码为字符串，空串为缺失；日期为
1970-01-01 起的天数。输出 score 为未取整的分值，rounded 保留两位小数。分值与 sandgate model score 相差不超过 1e-9（相对），两位小数仅
在恰为半分处可能差 0.01；sandgate model score 会拒绝的行在这里得 NaN。详见 docs/model-file.md。
Converts a parameter file of your own on this machine; nothing is sent. Each feature is an input (rows × 1): numbers are doubles, NaN when
missing; codes are strings, empty when missing; dates are days since 1970-01-01. Output score is the score not rounded, rounded has two
digits. Scores are those of sandgate model score to 1e-9 (relative); at two digits they may differ by 0.01 where the score stands at half a
hundredth; a row that sandgate model score refuses is NaN. See docs/model-file.md.`,
		Example: `  sandgate model download 0123456789abcdef0123 --out income.json --kit ./kits/alpha
  sandgate model export income.json --out income.onnx`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := readCapped(args[0], model.MaxFile)
			if err != nil {
				return err
			}
			p, err := model.Parse(text)
			if err != nil {
				return err
			}
			m, err := onnx.Export(p)
			if err != nil {
				return err
			}
			if out == args[0] {
				return usageError{errors.New(a.t("--out 不能是参数文件本身", "--out must not be the parameter file itself"))}
			}
			if err := os.WriteFile(out, m.Content, 0o600); err != nil {
				return texts.Errorf("failed to write model: %w", err)
			}
			a.note("已写出 %s（%d 字节，ONNX 1.12 起可读）", "wrote %s (%d bytes, for ONNX 1.12 and newer)", out, len(m.Content))
			return a.exported(m)
		},
	}
	c.Flags().StringVar(&out, "out", "", "输出文件 · output file")
	require(c, "out")
	return c
}

// exported shows what goes into the model and what comes out.
func (a *app) exported(m *onnx.Model) error {
	var body [][]string
	add := func(kindZH, kindEN string, columns int, ports []onnx.Port) {
		for _, p := range ports {
			kind := kindEN
			if a.format == "table" {
				kind = a.t(kindZH, kindEN)
			}
			body = append(body, []string{kind, p.Name, p.Type, itoa(int64(columns)), a.t(p.ZH, p.EN)})
		}
	}
	add("输入", "input", 1, m.Inputs)
	add("输出", "output", m.Columns, m.Outputs)
	return a.rows([]string{a.head("方向", "port"), a.head("名称", "name"), a.head("类型", "type"), a.head("列数", "columns"), a.head("含义", "meaning")}, body, 3)
}
