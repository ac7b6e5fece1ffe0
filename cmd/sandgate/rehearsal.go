package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
)

// twinFlags say whether a request runs on the data or on its synthetic twin.
type twinFlags struct {
	on, seed string
	units    int64
}

func (t *twinFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&t.on, "on", "real", "real 真实数据，twin 合成孪生（演练：不收费，不入账本）· real data, or twin: a rehearsal on synthetic rows, free and in no ledger")
	f.StringVar(&t.seed, "seed", "", "孪生的抽样种子，默认同一份 · seed of the synthetic rows")
	f.Int64Var(&t.units, "units", 0, "合成单元数，0 为孪生的单元数 · synthetic units, 0 for as many as the twin counts")
}

// run is nil for the real data.
func (t *twinFlags) run(a *app) (*sandgatev1.TwinRun, error) {
	switch {
	case t.on == "twin":
		return &sandgatev1.TwinRun{Units: t.units, Seed: t.seed}, nil
	case t.on != "real":
		return nil, usageError{errors.New(a.t("--on 为 real 或 twin", "--on is real or twin"))}
	case t.seed != "" || t.units != 0:
		return nil, usageError{errors.New(a.t("--seed 与 --units 只用于 --on twin", "--seed and --units go with --on twin"))}
	}
	return nil, nil
}

// syntheticColumn marks every row of a CSV that was computed from synthetic rows.
const syntheticColumn = "_synthetic"

// synthetic says, above a table, that it holds no real results.
func (a *app) synthetic(m *sandgatev1.SyntheticMark) {
	if m == nil || a.format != "table" {
		return
	}
	a.say("【合成数据】%s", "[SYNTHETIC DATA] %s", a.t(m.GetNoticeZh(), m.GetNoticeEn()))
}

// syntheticSummary tells what was drawn and what the same would cost on the data.
func (a *app) syntheticSummary(m *sandgatev1.SyntheticMark) {
	for _, s := range m.GetSources() {
		a.note("孪生 %s（%.12s）：%d 个合成单元，%d 行", "twin of %s (%.12s): %d synthetic units, %d rows", s.GetDataset(), s.GetTwin(), s.GetUnits(), s.GetRows())
		if len(s.GetMadeUp()) > 0 {
			a.note("孪生未学习的列，取值为编造: %s", "columns that the twin did not learn, whose values are made up: %s", strings.Join(s.GetMadeUp(), ", "))
		}
	}
	switch {
	case m.GetRelations() != "":
		a.note("各表以已发布的跨表关系相系（%.12s）", "the tables are tied by published relations (%.12s)", m.GetRelations())
	case m.GetUntied() != "":
		a.note("各表未相系，各自抽取。%s: %s", "the tables are not tied: each was drawn by itself. %s: %s", m.GetUntied(), a.t(m.GetUntiedZh(), m.GetUntiedEn()))
	}
	if m.GetRepeatOnReal() {
		a.note("在真实数据上为重复查询，不收费；去掉 --on twin 提交", "on the real data this is a repeat, free of charge: submit it without --on twin")
		return
	}
	a.note("未扣减。在真实数据上将花费 ρ %s；去掉 --on twin 提交同一语句", "nothing was charged. On the real data it would cost ρ %s: submit the same without --on twin", rho(m.GetPriceNanoRho()))
}

// rehearseModel trains on a twin, shows the outcome and writes the marked file.
func (a *app) rehearseModel(ctx context.Context, cl *client.Client, req *sandgatev1.TrainModelRequest, out string) error {
	m, err := cl.Rehearse(ctx, req)
	if err != nil {
		return err
	}
	verdict := strings.TrimPrefix(m.GetVerdict().String(), "VERDICT_")
	if a.format == "json" {
		err = a.proto(m)
	} else {
		a.synthetic(m.GetSynthetic())
		head, row := []string{a.head("产品", "product"), a.head("结论", "verdict"), a.head("价格", "price"), a.head("评估", "figures")},
			[]string{m.GetProduct(), verdict, rho(m.GetSynthetic().GetPriceNanoRho()), string(m.GetFigures())}
		if a.format == "csv" {
			head, row = append(head, syntheticColumn), append(row, "true")
		}
		err = a.rows(head, [][]string{row}, 2)
	}
	if err != nil {
		return err
	}
	if out != "" && len(m.GetFile()) > 0 {
		if err := os.WriteFile(out, m.GetFile(), 0o600); err != nil {
			return texts.Errorf("failed to write model: %w", err)
		}
		a.note("合成模型已写入 %s；它不是参数文件，不能打分或导出", "the synthetic model was written to %s; it is no parameter file, and neither scored nor exported", out)
	}
	a.syntheticSummary(m.GetSynthetic())
	if m.GetVerdict() == sandgatev1.Model_VERDICT_PASS {
		return nil
	}
	for _, r := range m.GetReasons() {
		a.note("✗ %s: %s", "✗ %s: %s", r.GetCode(), reasonText(r, a.lang))
	}
	return &silentError{exitRefused}
}
