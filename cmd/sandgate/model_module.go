package main

import (
	"bytes"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/wasm"
	"github.com/sandgate/sandgate/gateway/certificate"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/policies"
)

// pinModule checks a module's file as the gateway will, and puts its digest and size
// into a specification.
func (a *app) pinModule(m *policies.ModelSpec, file string) error {
	if m.Family != policies.FamilyModule {
		return usageError{texts.Errorf("--module is for family module")}
	}
	text, err := readCapped(file, wasm.RowModule)
	if err != nil {
		return err
	}
	report, refused := wasm.CheckRows(text)
	if refused != nil {
		return wasmError(refused)
	}
	if m.Module != nil && (m.Module.SHA256 != report.SHA256 || m.Module.Size != int64(report.Bytes)) {
		return texts.Errorf("the specification pins another module than --module")
	}
	m.Module = &policies.ModelModule{SHA256: report.SHA256, Size: int64(report.Bytes)}
	return nil
}

func (a *app) modelUploadCmd() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "upload PRODUCT --module FILE.wasm",
		Short: "上传产品所登记的 WebAssembly 模块 · bring the WebAssembly module that a filed product pins",
		Long: `只接受散列与大小同产品登记一致的文件。网关静态检查，再在隔离进程中核对其列，加密存放，账本只记散列与大小。
Only the file with the digest and size that the product pins is taken. The gateway checks it, asks it for its columns in a jailed worker,
and keeps it encrypted; the ledger holds its digest and size.`,
		Example: "  sandgate model upload income --module income.wasm --kit ./kits/alpha",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			text, err := readCapped(file, wasm.RowModule)
			if err != nil {
				return err
			}
			return a.withClient(func(cl *client.Client) error {
				got, err := cl.UploadModule(c.Context(), args[0], bytes.NewReader(text))
				if err != nil {
					return err
				}
				if a.format == "json" {
					return a.proto(got)
				}
				a.say("已存放: %d 字节，散列 %s，账本第 %d 条", "kept: %d bytes, digest %s, ledger entry %d", got.GetSize(), got.GetDigest(), got.GetReceipt().GetSeq())
				return nil
			})
		},
	}
	c.Flags().StringVar(&file, "module", "", "WebAssembly 文件 WebAssembly file")
	require(c, "module")
	return c
}

// moduleSheets show the figures of a module: what was counted, under noise.
func (a *app) moduleSheets(x *certificate.Certificate, e model.Evaluation) []sheetOf {
	cell := func(e *model.Estimate) []string {
		if e == nil {
			return []string{"", "", ""}
		}
		n := func(v float64) string { return fmt.Sprintf("%.3f", v) }
		return []string{n(e.Value), n(e.Low), n(e.High)}
	}
	count := func(v float64) string { return fmt.Sprintf("%.0f", v) }
	figures := sheetOf{Title: a.t("汇总（加噪）", "aggregates, under noise"), right: []int{1, 2, 3},
		Header: []string{a.head("指标", "figure"), a.head("值", "value"), a.head("下限", "low"), a.head("上限", "high")}}
	for _, f := range []struct {
		zh, en string
		v      *model.Estimate
	}{{"单元数", "units", e.Units}, {"没有得分的单元", "units without a score", e.Unscored}, {"平均得分", "mean score", e.Mean}, {"AUC", "AUC", e.AUC}} {
		if f.v != nil {
			figures.Body = append(figures.Body, append([]string{a.head(f.zh, f.en)}, cell(f.v)...))
		}
	}
	parts := sheetOf{Title: a.t("得分直方图与校准", "histogram of scores and calibration"), right: []int{0, 1, 2, 3, 4, 5},
		Header: []string{a.head("从", "from"), a.head("到", "to"), a.head("单元", "units"), a.head("类别 1 占比", "observed"), a.head("下限", "low"), a.head("上限", "high")}}
	for _, p := range e.Calibration {
		parts.Body = append(parts.Body, append([]string{fmt.Sprintf("%g", p.From), fmt.Sprintf("%g", p.To), count(p.Units)}, cell(p.Observed)...))
	}
	groups := sheetOf{Title: a.t("分组", "groups"), right: []int{2, 3, 4, 5},
		Header: []string{a.head("列", "column"), a.head("代码", "code"), a.head("单元", "units"), a.head("平均得分", "mean"), a.head("下限", "low"), a.head("上限", "high"), a.head("类别 1 占比", "observed")}}
	for _, g := range e.Groups {
		row := append([]string{g.Column, g.Code, count(g.Units)}, cell(g.Mean)...)
		if g.Withheld {
			row[2] = a.t("过少", "too few")
		}
		groups.Body = append(groups.Body, append(row, cell(g.Observed)[0]))
	}
	out := []sheetOf{figures, parts}
	if len(e.Groups) > 0 {
		out = append(out, groups)
	}
	return out
}
