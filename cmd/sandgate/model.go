package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) modelCmd() *cobra.Command {
	c := &cobra.Command{Use: "model", Short: "模型：在域内训练、检验，合格者方可发布 · train models inside the domain, attack them, release those that withstand it"}
	c.AddCommand(a.modelDraftCmd(), a.modelUploadCmd(), a.modelExplainCmd(), a.modelTrainCmd(), a.modelListCmd(), a.modelShowCmd(), a.modelCertificateCmd(), a.modelDownloadCmd(), a.modelExportCmd(), a.modelScoreCmd(), a.modelCancelCmd())
	return c
}

// maxSpec caps a specification's file.
const maxSpec = 64 << 10

func (a *app) modelDraftCmd() *cobra.Command {
	p := policies.Product{}
	var spec, out, module string
	c := &cobra.Command{
		Use:   "draft -f SPEC.yaml --id ID --title-zh TITLE",
		Short: "按模型规格拟模型产品文件，供签名登记 · write the document of a model product from a specification, to be signed and filed",
		Long: `规格文件列出数据集、模型族、标签、特征、价格与发布方式（docs/models.md）。之后用 policy sign 签名、policy apply 登记，
数源部门和主管部门用 product review 审查，再用 model train 训练。
A specification names the data set, family, label, features, price and way of release (docs/models.md). Sign and file the product; the
department and the regulator review it; then train it.`,
		Example: `  sandgate model draft -f income.yaml --id income --title-zh 缴存水平 --licence alpha-2026 --purpose urban_planning --out product.yaml --kit ./kits/alpha`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := policies.CheckProductID(p.ID); err != nil {
				return usageError{err}
			}
			k, err := a.kit()
			if err != nil {
				return err
			}
			text, err := readCapped(spec, maxSpec)
			if err != nil {
				return err
			}
			m, err := policies.ParseModelSpec(text)
			if err != nil {
				return texts.Errorf("failed to read the specification: %w", err)
			}
			if module != "" {
				if err := a.pinModule(m, module); err != nil {
					return err
				}
			}
			p.Operator, p.Job, p.Model = k.Party, policies.JobModel, m
			doc, err := documentOf(policies.KindProduct, p)
			if err != nil {
				return err
			}
			if out == "" {
				_, err = a.out.Write(doc)
				return err
			}
			if err := os.WriteFile(out, doc, 0o600); err != nil {
				return texts.Errorf("failed to write product: %w", err)
			}
			a.note("已写出 %s；下一步: sandgate policy sign %s && sandgate policy apply %s.dsse", "wrote %s; next: sandgate policy sign %s && sandgate policy apply %s.dsse", out, out, out)
			return nil
		},
	}
	f := c.Flags()
	f.StringVarP(&spec, "file", "f", "", "模型规格 specification (YAML)")
	f.StringVar(&module, "module", "", "模型族 module 的 WebAssembly 文件，填入散列与大小 WebAssembly file of family module, whose digest and size are filled in")
	f.StringVar(&p.ID, "id", "", "产品编号 product id")
	f.StringVar(&p.Title.ZH, "title-zh", "", "中文名称 title in Chinese")
	f.StringVar(&p.Title.EN, "title-en", "", "英文名称 title in English")
	f.StringVar(&p.Licence, "licence", os.Getenv("SANDGATE_LICENCE"), "授权编号 licence id (or SANDGATE_LICENCE)")
	f.StringSliceVar(&p.Purposes, "purpose", purposeDefault(), "用途，可重复 purpose, repeatable (or SANDGATE_PURPOSE)")
	f.StringVar(&out, "out", "", "输出文件，默认标准输出 · output file, standard output by default")
	require(c, "file", "id", "title-zh")
	return c
}

func readCapped(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, texts.Errorf("failed to open file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, texts.Errorf("failed to read file: %w", err)
	}
	if int64(len(text)) > most {
		return nil, texts.Errorf("the file has more than %d bytes", most)
	}
	return text, nil
}

// modelFlags are the ground a model stands on.
type modelFlags struct{ licence, purpose string }

func (m *modelFlags) bind(c *cobra.Command) {
	c.Flags().StringVar(&m.licence, "licence", os.Getenv("SANDGATE_LICENCE"), "授权编号 licence id (or SANDGATE_LICENCE)")
	c.Flags().StringVar(&m.purpose, "purpose", os.Getenv("SANDGATE_PURPOSE"), "用途 purpose (or SANDGATE_PURPOSE)")
}

// withClient dials, calls and hangs up.
func (a *app) withClient(call func(*client.Client) error) error {
	cl, err := a.dial()
	if err != nil {
		return err
	}
	return errors.Join(call(cl), cl.Close())
}

func (a *app) modelExplainCmd() *cobra.Command {
	var m modelFlags
	c := &cobra.Command{
		Use:     "explain PRODUCT",
		Short:   "说明模型产品将读取什么、怎样训练、花费多少，不收费 · tell what a model would read, do and cost, free of charge",
		Example: "  sandgate model explain income --licence alpha-2026 --purpose urban_planning --kit ./kits/alpha",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withClient(func(cl *client.Client) error {
				x, err := cl.Model.ExplainModel(c.Context(), &sandgatev1.ExplainModelRequest{Licence: m.licence, Purpose: m.purpose, Product: args[0]})
				if err != nil {
					return err
				}
				if a.format == "json" {
					return a.proto(x)
				}
				for _, s := range a.pick(x.GetStepsZh(), x.GetStepsEn()) {
					a.say("· %s", "· %s", s)
				}
				if len(x.GetColumns()) > 0 {
					a.say("列: %s", "columns: %s", join(x.GetColumns()))
					a.say("价格: 训练 ρ %s，评估 ρ %s；%d 遍扫描，%d 个加噪的和；发布: %s", "price: training ρ %s, evaluation ρ %s; %d passes, %d noised sums; released: %s",
						rho(x.GetTrainingNanoRho()), rho(x.GetEvaluationNanoRho()), x.GetPasses(), x.GetSums(), a.state(x.GetRelease()))
				}
				for _, r := range x.GetReasons() {
					a.say("✗ 拒绝 %s: %s", "✗ refused %s: %s", r.GetCode(), reasonText(r, a.lang))
				}
				if x.GetAllowed() {
					a.say("✓ 现在可以训练", "✓ it may be trained now")
				}
				return nil
			})
		},
	}
	m.bind(c)
	return c
}

// pick is the text of the app's language.
func (a *app) pick(zh, en []string) []string {
	if a.lang == "en" {
		return en
	}
	return zh
}

func (a *app) modelTrainCmd() *cobra.Command {
	var m modelFlags
	var on twinFlags
	var id, out string
	c := &cobra.Command{
		Use:   "train PRODUCT",
		Short: "训练经审查的模型产品（模块则评估），等待结论 · train a reviewed model product, or evaluate a module, and wait for its verdict",
		Long: `价格在受理时一次扣减，之后不退还，也不再扣。中断后用同一 --request 再次执行，即接着等待同一模型。结论为 FAIL 或 VOID 时退出码为 3。
The price is debited once, when the model is let in. Run again with the same --request, the command goes on waiting for the same model.
A verdict of FAIL or VOID ends with exit code 3.`,
		Example: `  sandgate model train income --licence alpha-2026 --purpose urban_planning --kit ./kits/alpha
  sandgate model train income --on twin --kit ./kits/alpha
  sandgate model train income -o json --request 6f0e4a0e-3a77-4a3b-8f5d-0a6f60f0c001 --kit ./kits/alpha`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			// A refusal leaves nothing to go on with, so the hint waits until the model is
			// let in, or until nobody knows whether it was.
			hint := func() {}
			run, err := on.run(a)
			if err != nil {
				return err
			}
			if id == "" && run == nil {
				id = uuid.NewString()
				hint = sync.OnceFunc(func() {
					a.note("请求号 %s；中断后加 --request 续等", "request %s; if interrupted, go on with --request", id)
				})
			}
			return a.withClient(func(cl *client.Client) error {
				if run != nil {
					return a.rehearseModel(c.Context(), cl, &sandgatev1.TrainModelRequest{RequestId: uuid.NewString(), Licence: m.licence, Purpose: m.purpose, Product: args[0], Twin: run}, out)
				}
				said := ""
				got, err := cl.Train(c.Context(), &sandgatev1.TrainModelRequest{RequestId: id, Licence: m.licence, Purpose: m.purpose, Product: args[0]}, func(now *sandgatev1.Model) {
					hint()
					if line := a.modelProgress(now); line != said {
						said = line
						a.note("%s", "%s", line)
					}
				})
				if err != nil {
					if p := client.ProblemOf(err); p == nil || len(p.Reasons) == 0 {
						hint()
					}
					return err
				}
				return a.verdict(got)
			})
		},
	}
	m.bind(c)
	on.add(c)
	c.Flags().StringVar(&id, "request", "", "请求号 UUID，重试时重复 · request id, repeated by a retry")
	c.Flags().StringVar(&out, "out", "", "孪生上训练所得的文件，带合成标记 · file for what is trained on a twin, marked synthetic")
	return c
}

// modelProgress is one line on a model that is under way.
func (a *app) modelProgress(m *sandgatev1.Model) string {
	id := client.ModelID(m.GetName())
	if m.GetState() == sandgatev1.Model_STATE_QUEUED {
		return id + " " + a.t("排队", "queued")
	}
	p := m.GetProgress()
	if p == nil {
		return id + " " + a.t("读取", "reading")
	}
	stage := map[string]string{"load": a.t("读取", "reading"), "train": a.t("训练", "training"), "gate": a.t("检验", "gate"), "evaluate": a.t("评估", "evaluation")}[p.GetStage()]
	if p.GetTotal() == 0 {
		return id + " " + stage
	}
	return fmt.Sprintf("%s %s %d/%d", id, stage, p.GetDone(), p.GetTotal())
}

// verdict shows an ended model; one that did not pass ends the command as refused.
func (a *app) verdict(m *sandgatev1.Model) error {
	if a.format == "json" {
		if err := a.proto(m); err != nil {
			return err
		}
	} else if err := a.models([]*sandgatev1.Model{m}); err != nil {
		return err
	}
	if m.GetVerdict() == sandgatev1.Model_VERDICT_PASS {
		a.note("合格；价格 ρ %s，账本第 %d 条", "passed; price ρ %s, ledger entry %d", rho(m.GetPriceNanoRho()), m.GetReceipt().GetSeq())
		return nil
	}
	for _, r := range m.GetReasons() {
		a.note("✗ %s: %s", "✗ %s: %s", r.GetCode(), reasonText(r, a.lang))
	}
	return &silentError{exitRefused}
}

func (a *app) models(list []*sandgatev1.Model) error {
	head := []string{a.head("模型", "model"), a.head("运营机构", "operator"), a.head("产品", "product"), a.head("状态", "state"), a.head("结论", "verdict"), a.head("发布", "release"),
		a.head("价格", "price"), a.head("已打分行", "scored"), a.head("账本", "entry"), a.head("原因", "reason")}
	var body [][]string
	for _, m := range list {
		var reasons []string
		for _, r := range m.GetReasons() {
			reasons = append(reasons, r.GetCode())
		}
		verdict := strings.TrimPrefix(m.GetVerdict().String(), "VERDICT_")
		if m.GetVerdict() == sandgatev1.Model_VERDICT_UNSPECIFIED {
			verdict = ""
		}
		// Programs have known the states of models in small letters.
		code := strings.TrimPrefix(m.GetState().String(), "STATE_")
		state := a.state(code)
		if state == code {
			state = strings.ToLower(code)
		}
		body = append(body, []string{client.ModelID(m.GetName()), m.GetOperator(), m.GetProduct(), state, verdict, a.state(m.GetRelease()),
			rho(m.GetPriceNanoRho()), itoa(m.GetRowsScored()), fmt.Sprint(m.GetSeq()), strings.Join(reasons, " ")})
	}
	return a.rows(head, body, 6, 7, 8)
}

func (a *app) modelListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "列出模型，新的在前；部门见用其数据者，主管部门见全部 · list models, newest first",
		Example: "  sandgate model list --kit ./kits/alpha",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withClient(func(cl *client.Client) error {
				var all []*sandgatev1.Model
				req := &sandgatev1.ListModelsRequest{PageSize: 200}
				for {
					resp, err := cl.Model.ListModels(c.Context(), req)
					if err != nil {
						return err
					}
					all = append(all, resp.GetModels()...)
					if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
						return a.models(all)
					}
				}
			})
		},
	}
}

func (a *app) modelShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show MODEL",
		Short:   "查看一个模型的状态、进度与结论 · show a model's state, progress and verdict",
		Example: "  sandgate model show 0123456789abcdef0123 --kit ./kits/alpha",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withClient(func(cl *client.Client) error {
				m, err := cl.Model.GetModel(c.Context(), &sandgatev1.GetModelRequest{Name: args[0]})
				if err != nil {
					return err
				}
				if a.format == "json" {
					return a.proto(m)
				}
				if err := a.models([]*sandgatev1.Model{m}); err != nil {
					return err
				}
				if m.GetProgress() != nil {
					a.say("%s", "%s", a.modelProgress(m))
				}
				for _, r := range m.GetReasons() {
					a.note("%s: %s", "%s: %s", r.GetCode(), reasonText(r, a.lang))
				}
				return nil
			})
		},
	}
}

func (a *app) modelCancelCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "cancel MODEL",
		Short:   "取消正在训练或排队的模型，价格不退还 · cancel a model under way; its price stays charged",
		Example: "  sandgate model cancel 0123456789abcdef0123 --kit ./kits/alpha",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withClient(func(cl *client.Client) error {
				m, err := cl.Model.CancelModel(c.Context(), &sandgatev1.CancelModelRequest{Name: args[0]})
				if err != nil {
					return err
				}
				if a.format == "json" {
					return a.proto(m)
				}
				return a.models([]*sandgatev1.Model{m})
			})
		},
	}
}

// maxScored is how many rows go in one call.
const maxScored = 10_000

// maxRowsFile bounds a CSV of rows, which is read whole.
const maxRowsFile = 64 << 20

// scoreRows reads a CSV of feature values with a header.
func (a *app) scoreRows(in io.Reader) (columns []string, rows [][]string, err error) {
	cut := &io.LimitedReader{R: in, N: maxRowsFile + 1}
	r := csv.NewReader(cut)
	bad := func(line int) error {
		return usageError{fmt.Errorf(a.t("第 %d 行不是与表头等长的 CSV", "line %d is no CSV of the header's length"), line)}
	}
	if columns, err = r.Read(); err != nil || slices.ContainsFunc(columns, func(v string) bool { return !utf8.ValidString(v) }) {
		return nil, nil, bad(1)
	}
	columns[0] = strings.TrimPrefix(columns[0], "\ufeff")
	for line := 2; ; line++ {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || slices.ContainsFunc(row, func(v string) bool { return !utf8.ValidString(v) }) {
			return nil, nil, bad(line)
		}
		rows = append(rows, row)
	}
	if cut.N <= 0 {
		return nil, nil, usageError{texts.Errorf("the file has more than %d bytes", int64(maxRowsFile))}
	}
	if len(rows) == 0 {
		return nil, nil, usageError{errors.New(a.t("文件中没有数据行", "the file holds no row"))}
	}
	return columns, rows, nil
}

// scoreAt has rows scored by the gateway, a call for every maxScored of them.
func (a *app) scoreAt(ctx context.Context, cl *client.Client, name string, columns []string, rows [][]string, confidence bool) (heads []string, out [][]string, err error) {
	for len(rows) > 0 {
		n := min(len(rows), maxScored)
		req := &sandgatev1.ScoreModelRequest{RequestId: uuid.NewString(), Name: name, Columns: columns}
		for _, r := range rows[:n] {
			req.Rows = append(req.Rows, &sandgatev1.ModelRow{Values: r})
		}
		resp, err := cl.Model.ScoreModel(ctx, req)
		if err != nil {
			return heads, out, err
		}
		heads = resp.GetColumns()
		if confidence {
			heads = append(slices.Clone(heads), "observed", "observed_lower", "observed_upper")
		}
		for i, r := range resp.GetScores() {
			row := r.GetValues()
			if confidence {
				c := &sandgatev1.ScoreConfidence{}
				if i < len(resp.GetConfidences()) {
					c = resp.GetConfidences()[i]
				}
				row = append(slices.Clone(row), c.GetObserved(), c.GetLower(), c.GetUpper())
			}
			out = append(out, row)
		}
		rows = rows[n:]
		a.note("已打分 %d 行；本月还可打分 %d 行（账本第 %d 条）", "%d rows scored; %d more may be this month (ledger entry %d)", len(out), resp.GetRowsLeft(), resp.GetReceipt().GetSeq())
	}
	return heads, out, nil
}
