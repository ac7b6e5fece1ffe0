package main

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/twin/compare"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/certificate"
	"github.com/sandgate/sandgate/gateway/client"
)

func (a *app) twinCompareCmd() *cobra.Command {
	var on twinFlags
	var models []string
	c := &cobra.Command{
		Use:   "compare [FILE.sql=JOB …] [--model MODEL …]",
		Short: "把自己持有的发布结果与孪生上的同一语句、同一模型作比较，不收费 · hold releases of one's own against the same texts and models on the twins, free of charge",
		Long: `每个参数是一份 SQL 文件与它在真实数据上得到答复的作业。同一语句在孪生上演练一次，逐值比较，误差以区间给出；模型以同一产品在孪生上
再训练一次。只用到已发布的结果与免费的演练：不花预算，账本中没有记录，也不透露更多。-o json 的输出可由 twin show --page FILE --with 显示。
Each argument is a file of SQL and the job that answered it on the data. The text is rehearsed on the twins and compared value by value, the
errors being ranges; a model's product is trained once more on the twin. Only releases and free rehearsals are used: nothing is spent,
recorded or told beyond them. What -o json writes is shown by twin show --page FILE --with.`,
		Example: `  sandgate twin compare residents.sql=jobs/0123456789abcdef0123 --kit ./kits/alpha
  sandgate twin compare residents.sql=jobs/0123456789abcdef0123 --model 0123456789abcdef0123 -o json > compared.json
  sandgate twin show population --page quality.html --with compared.json`,
		RunE: func(c *cobra.Command, args []string) error {
			on.on = "twin"
			run, err := on.run(a)
			if err != nil {
				return err
			}
			if len(args)+len(models) == 0 {
				return usageError{errors.New(a.t("请给出 FILE.sql=JOB 或 --model MODEL", "give FILE.sql=JOB, or --model MODEL"))}
			}
			var asked []released
			for _, arg := range args {
				t, err := a.releasedText(arg)
				if err != nil {
					return err
				}
				asked = append(asked, t)
			}
			k, err := a.kit()
			if err != nil {
				return err
			}
			return a.withClient(func(cl *client.Client) error {
				x := &comparing{a: a, cl: cl, run: run}
				r := &compare.Report{Party: k.Party, At: time.Now().UnixMilli()}
				for _, t := range asked {
					q, err := x.query(c.Context(), t)
					if err != nil {
						return err
					}
					r.Queries = append(r.Queries, q)
				}
				for _, name := range models {
					m, err := x.model(c.Context(), name)
					if err != nil {
						return err
					}
					r.Models = append(r.Models, m)
				}
				return a.compared(r)
			})
		},
	}
	f := c.Flags()
	f.StringSliceVar(&models, "model", nil, "自己的、已合格的模型，可重复 · a model of one's own that passed, repeatable")
	f.StringVar(&on.seed, "seed", "", "孪生的抽样种子，默认同一份 · seed of the synthetic rows")
	f.Int64Var(&on.units, "units", 0, "合成单元数，0 为孪生的单元数；其他数目使计数不可比 · synthetic units, 0 for as many as the twin counts; with any other counts are not comparable")
	return c
}

// released is a text and the job that was its answer.
type released struct{ name, sql, job string }

func (a *app) releasedText(arg string) (released, error) {
	i := strings.LastIndex(arg, "=")
	if i <= 0 || i == len(arg)-1 {
		return released{}, usageError{errors.New(a.t("每个参数形如 FILE.sql=jobs/ID", "each argument is like FILE.sql=jobs/ID"))}
	}
	text, err := readCapped(arg[:i], maxSQL)
	if err != nil {
		return released{}, err
	}
	if !utf8.Valid(text) {
		return released{}, usageError{errors.New(a.t("SQL 不是 UTF-8 文本", "the SQL is not UTF-8 text"))}
	}
	job, _, _ := strings.Cut(arg[i+1:], "/releases/")
	if !strings.Contains(job, "/") {
		job = "jobs/" + job
	}
	return released{strings.TrimSuffix(filepath.Base(arg[:i]), ".sql"), string(text), job}, nil
}

// comparing rehearses what was released.
type comparing struct {
	a   *app
	cl  *client.Client
	run *sandgatev1.TwinRun
}

// refusedAs is the code of a refusal; it is empty of anything else.
func refusedAs(err error) string {
	if p := client.ProblemOf(err); err != nil && p != nil && len(p.Reasons) > 0 {
		return p.Reasons[0].GetCode()
	}
	return ""
}

// query compares one text. The rehearsal asks for the price that the answer cost, so
// that both are as noisy.
func (x *comparing) query(ctx context.Context, t released) (compare.Query, error) {
	out := compare.Query{Name: t.name, Job: t.job}
	j, err := x.cl.Operator.GetJob(ctx, &sandgatev1.GetJobRequest{Name: t.job})
	if err != nil {
		return out, err
	}
	if j.GetSynthetic() || j.GetState() != sandgatev1.Job_STATE_SUCCEEDED {
		return out, texts.Errorf("%s has no release of the data: name a job that was answered", t.job)
	}
	if j.GetProduct() != "" {
		return out, texts.Errorf("%s ran the product %s: only texts of your own are compared", t.job, j.GetProduct())
	}
	real, err := x.cl.Operator.GetRelease(ctx, &sandgatev1.GetReleaseRequest{Name: t.job, ReleasedOnly: true})
	if err != nil {
		return out, err
	}
	spec := &sandgatev1.QuerySpec{Licence: j.GetLicence(), Purpose: j.GetPurpose(), Sql: t.sql, PriceNanoRho: j.GetPriceNanoRho()}
	if real.GetMode() == "exact" {
		spec.PriceNanoRho = 0
	}
	drawn, err := x.cl.Run(ctx, &sandgatev1.SubmitJobRequest{Query: spec, RequestId: uuid.NewString(), Twin: x.run})
	if out.Refused = refusedAs(err); out.Refused != "" {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	mark := drawn.GetSynthetic()
	if mark == nil {
		return out, texts.Errorf("a rehearsal is not marked, or a release is")
	}
	out.Sources, out.Known, out.Exact = sourcesOf(mark), mark.GetRepeatOnReal(), real.GetMode() == "exact"
	if drawn.GetDerived() {
		job, _, _ := strings.Cut(strings.TrimPrefix(drawn.GetName(), "jobs/"), "/")
		if drawn, err = x.cl.Operator.GetRelease(ctx, &sandgatev1.GetReleaseRequest{Name: "jobs/" + job, ReleasedOnly: true}); err != nil {
			return out, err
		}
	}
	left, err := answerOf(real)
	if err != nil {
		return out, err
	}
	right, err := answerOf(drawn)
	if err != nil {
		return out, err
	}
	groups, columns, ok := compare.Answers(left, right, out.Exact)
	if !ok {
		return out, texts.Errorf("%s: the columns are not those of %s: give the text that was answered", t.name, t.job)
	}
	out.Groups, out.Columns = groups, columns
	return out, nil
}

func sourcesOf(m *sandgatev1.SyntheticMark) (out []compare.Source) {
	for _, s := range m.GetSources() {
		out = append(out, compare.Source{Dataset: s.GetDataset(), Twin: s.GetTwin(), Units: s.GetUnits(), MadeUp: s.GetMadeUp()})
	}
	return out
}

// answerOf reads a release's estimates as numbers; a date is its day.
func answerOf(r *sandgatev1.Release) (compare.Table, error) {
	var t compare.Table
	for _, c := range r.GetColumns() {
		t.Columns = append(t.Columns, compare.Head{Name: c.GetName(), Key: c.GetKey(), Estimate: !c.GetKey() && !derived(c) && slices.Contains([]string{"int", "decimal", "double", "date"}, c.GetType())})
	}
	for _, row := range r.GetRows() {
		if len(row.GetCells()) != len(t.Columns) {
			return t, texts.Errorf("failed to read release: a row has another number of cells")
		}
		fields := make([]compare.Field, len(t.Columns))
		for i, c := range row.GetCells() {
			f := compare.Field{Text: c.GetValue(), Absent: c.GetNull() || c.GetWithheld() != ""}
			if t.Columns[i].Estimate && !f.Absent {
				var err error
				if f.Cell, err = cellOf(c, r.GetColumns()[i].GetType()); err != nil {
					return t, texts.Errorf("failed to read release: a value of %s is no number", t.Columns[i].Name)
				}
			}
			fields[i] = f
		}
		t.Rows = append(t.Rows, fields)
	}
	return t, nil
}

func cellOf(c *sandgatev1.ReleaseCell, kind string) (compare.Cell, error) {
	number := func(s string) (float64, error) {
		if kind == "date" {
			day, err := algebra.ParseDate(s)
			return float64(day), err
		}
		return strconv.ParseFloat(s, 64)
	}
	value, err := number(c.GetValue())
	if err != nil || c.GetLower() == "" || c.GetUpper() == "" {
		return compare.Cell{Value: value, Low: value, High: value}, err
	}
	low, err := number(c.GetLower())
	high, also := number(c.GetUpper())
	return compare.Cell{Value: value, Low: min(low, value), High: max(high, value)}, errors.Join(err, also)
}

// model trains a certified model's product on the twin and compares the evaluations and,
// where parameters were released, what both models say.
func (x *comparing) model(ctx context.Context, name string) (compare.Model, error) {
	m, err := x.cl.Model.GetModel(ctx, &sandgatev1.GetModelRequest{Name: name})
	if err != nil {
		return compare.Model{}, err
	}
	id := client.ModelID(m.GetName())
	out := compare.Model{Product: m.GetProduct(), Model: id, Data: verdictWord(m.GetVerdict())}
	if m.GetState() != sandgatev1.Model_STATE_CERTIFIED || m.GetVerdict() != sandgatev1.Model_VERDICT_PASS {
		return out, texts.Errorf("model %s was not released: nothing of it may be compared", id)
	}
	got, err := x.cl.Model.GetModelCertificate(ctx, &sandgatev1.GetModelCertificateRequest{Name: m.GetName()})
	if err != nil {
		return out, err
	}
	real, err := evaluationOf(got.GetCertificate())
	if err != nil {
		return out, err
	}
	mine, err := x.cl.Rehearse(ctx, &sandgatev1.TrainModelRequest{RequestId: uuid.NewString(), Licence: m.GetLicence(), Purpose: m.GetPurpose(), Product: m.GetProduct(), Twin: x.run})
	if out.Refused = refusedAs(err); out.Refused != "" {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	if mine.GetSynthetic() == nil {
		return out, texts.Errorf("a rehearsal is not marked, or a release is")
	}
	out.Sources, out.Twin = sourcesOf(mine.GetSynthetic()), verdictWord(mine.GetVerdict())
	if real != nil && len(mine.GetFigures()) > 0 {
		var drawn model.Evaluation
		if err := json.Unmarshal(mine.GetFigures(), &drawn); err != nil {
			return out, texts.Errorf("failed to read the rehearsal's evaluation: %w", err)
		}
		out.Figures = compare.Figures(*real, drawn)
	}
	out.Agree, err = x.agreement(ctx, m, mine)
	return out, err
}

func verdictWord(v sandgatev1.Model_Verdict) string {
	return strings.TrimPrefix(v.String(), "VERDICT_")
}

// evaluationOf a certificate; nil where noise hid the held-out units.
func evaluationOf(text []byte) (*model.Evaluation, error) {
	var x certificate.Certificate
	if err := json.Unmarshal(text, &x); err != nil {
		return nil, texts.Errorf("failed to read certificate: %w", err)
	}
	if len(x.Evaluation) == 0 || string(x.Evaluation) == "null" {
		return nil, nil
	}
	e := &model.Evaluation{}
	if err := json.Unmarshal(x.Evaluation, e); err != nil {
		return nil, texts.Errorf("failed to read the evaluation of the certificate")
	}
	return e, nil
}

// agreement asks both models about the twin's rows, here: the parameters of one were
// released, those of the other are synthetic.
func (x *comparing) agreement(ctx context.Context, m *sandgatev1.Model, mine *sandgatev1.ModelRehearsal) (*compare.Agree, error) {
	if len(mine.GetFile()) == 0 || len(mine.GetSynthetic().GetSources()) != 1 {
		return nil, nil
	}
	file, err := x.cl.Model.DownloadModel(ctx, &sandgatev1.DownloadModelRequest{Name: m.GetName()})
	if refusedAs(err) != "" { // the rest of the comparison stands without it
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	real, err := model.Parse(file.GetContent())
	if err != nil {
		return nil, err
	}
	var wrapped struct {
		Parameters json.RawMessage `json:"parameters"`
	}
	if err := json.Unmarshal(mine.GetFile(), &wrapped); err != nil {
		return nil, texts.Errorf("failed to read the synthetic model: %w", err)
	}
	drawn, err := model.Parse(append(slices.Clone([]byte(wrapped.Parameters)), '\n'))
	if err != nil {
		return nil, err
	}
	source := mine.GetSynthetic().GetSources()[0]
	_, document, cert, err := x.a.fetchTwinBy(ctx, x.cl, source.GetDataset())
	if err != nil {
		return nil, err
	}
	t, err := cert.Document(document)
	if err != nil {
		return nil, err
	}
	if cert.Outcome.Document != source.GetTwin() {
		return nil, nil // published anew meanwhile
	}
	return compare.Agreement(real, drawn, t)
}

// compared shows a comparison. One in which nothing could be compared ends as refused.
func (a *app) compared(r *compare.Report) error {
	text, err := r.Encode()
	if err != nil {
		return err
	}
	if err := a.handOut(func(a *app) []sheetOf { return a.comparedSheets(r) }, func() error {
		_, err := a.out.Write(text)
		return err
	}, paper{source: a.t("只用到已发布的结果与免费的演练，没有收费；区间只反映噪声与取整", "of releases and free rehearsals alone, nothing was charged; ranges tell of noise and rounding alone")}); err != nil {
		return err
	}
	refused := 0
	for _, q := range r.Queries {
		if q.Refused != "" {
			refused++
			a.note("✗ %s: 孪生上被拒 %s", "✗ %s: refused on the twin: %s", q.Name, q.Refused)
		} else if !q.Known {
			a.note("! %s: 网关不认得该语句为现有快照上答复过者，只核对了列", "! %s: the gateway does not know the text as one that it answered on the snapshots in force; its columns alone were held together", q.Name)
		}
	}
	for _, m := range r.Models {
		if m.Refused != "" {
			refused++
			a.note("✗ %s: 孪生上被拒 %s", "✗ %s: refused on the twin: %s", m.Product, m.Refused)
		}
	}
	if refused == len(r.Queries)+len(r.Models) {
		return &silentError{exitRefused}
	}
	return nil
}

func (a *app) comparedSheets(r *compare.Report) (out []sheetOf) {
	num := func(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }
	queries := sheetOf{Title: a.t("语句：孪生与真实数据之差（绝对值，单位同该列）", "Texts: the twin's values against the data's (absolute differences, in the column's unit)"), right: []int{2, 3, 4, 5, 6, 7, 8, 9},
		Header: []string{a.head("语句", "text"), a.head("列", "column"), a.head("比较的值", "values"), a.head("未比", "not_compared"), a.head("平均误差", "mean"), a.head("下限", "mean_low"), a.head("上限", "mean_high"),
			a.head("占真实均值 %", "percent"), a.head("下限 %", "percent_low"), a.head("上限 %", "percent_high")}}
	for _, q := range r.Queries {
		for _, c := range q.Columns {
			row := []string{q.Name, c.Name, itoa(int64(c.Cells)), itoa(int64(q.Groups.Data + q.Groups.Twin + q.Groups.Unclear + c.Withheld)), "", "", "", "", "", ""}
			if c.Cells > 0 {
				row[4], row[5], row[6] = num(c.Mean.About), num(c.Mean.Low), num(c.Mean.High)
			}
			if low, about, high, ok := c.Share(); ok {
				row[7], row[8], row[9] = percent(about), percent(low), percent(high)
			}
			queries.Body = append(queries.Body, row)
		}
	}
	if len(queries.Body) > 0 {
		out = append(out, queries)
	}
	models := sheetOf{Title: a.t("模型：在真实数据上训练者与在孪生上训练者", "Models: trained on the data, and on the twin"), right: []int{3, 4, 5, 6, 7},
		Header: []string{a.head("产品", "product"), a.head("评估", "figure"), a.head("组", "group"), a.head("真实", "data"), a.head("孪生", "twin"), a.head("误差", "error"), a.head("下限", "low"), a.head("上限", "high")}}
	for _, m := range r.Models {
		if m.Refused != "" {
			continue
		}
		models.Body = append(models.Body, []string{m.Product, a.head("检验结论", "verdict"), "", m.Data, m.Twin, "", "", ""})
		for _, f := range m.Figures {
			models.Body = append(models.Body, []string{m.Product, f.Name, f.Group, num(f.Data.Value), num(f.Twin.Value), num(f.Error.About), num(f.Error.Low), num(f.Error.High)})
		}
		if g := m.Agree; g != nil {
			what := a.head("两个模型判为同类的行 %", "rows_in_the_same_class")
			if !g.Classes {
				what = a.head("两个模型预测之差，占标签范围 %", "difference_of_predictions")
			}
			models.Body = append(models.Body, []string{m.Product, what, "", "", percent(g.Share), "", "", ""})
		}
	}
	if len(models.Body) > 0 {
		out = append(out, models)
	}
	return out
}

// comparison reads what a page is to show of the twin whose document has that digest.
func comparison(name, dataset, digest string) (*compare.Report, error) {
	text, err := readCapped(name, compare.MaxDocument)
	if err != nil {
		return nil, err
	}
	r, err := compare.Parse(text)
	if err != nil {
		return nil, err
	}
	of := r.Of(dataset, digest)
	if len(of.Queries)+len(of.Models) == 0 {
		return nil, texts.Errorf("the comparison holds nothing that was computed on this twin (%.12s): compare again", digest)
	}
	return &of, nil
}
