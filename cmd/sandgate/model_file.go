package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/gate"
	"github.com/sandgate/sandgate/compute/model/report"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/certificate"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) modelCertificateCmd() *cobra.Command {
	var out, page, check, trust, dir string
	c := &cobra.Command{
		Use:   "certificate MODEL | certificate --verify FILE --ledger DIR",
		Short: "取得模型合格证，或离线核验一份合格证 · get a model's certificate, or verify one offline",
		Long: `合格证由网关签名，内容与账本记录一致。--out 写出签名文件，--html 写出可打印的网页。
--verify 只用签名文件与账本副本：重放账本，核对签名、账本记录及报告的散列；不成立时退出码为 4。
The certificate is signed by the gateway and says what the ledger's entry says. --out writes the signed file, --html a page to print.
--verify needs the signed file and a copy of the ledger alone: it replays the ledger and checks signature, entry and digests; exit code 4
when it does not hold.`,
		Example: `  sandgate model certificate 0123456789abcdef0123 --out certificate.json --html certificate.html --kit ./kits/alpha
  sandgate model certificate --verify certificate.json --ledger ./ledger-copy --trust trust.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if check != "" {
				return a.verifyCertificate(c.Context(), check, dir, trust)
			}
			if len(args) != 1 {
				return usageError{errors.New(a.t("须给出模型编号或 --verify", "name a model, or give --verify"))}
			}
			return a.withClient(func(cl *client.Client) error {
				got, err := cl.Model.GetModelCertificate(c.Context(), &sandgatev1.GetModelCertificateRequest{Name: args[0]})
				if err != nil {
					return err
				}
				if out != "" {
					if err := os.WriteFile(out, got.GetEnvelope(), 0o600); err != nil {
						return texts.Errorf("failed to write certificate: %w", err)
					}
				}
				var x certificate.Certificate
				if err := json.Unmarshal(got.GetCertificate(), &x); err != nil {
					return texts.Errorf("failed to read certificate: %w", err)
				}
				return a.certificate(&x, page)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&out, "out", "", "写出签名文件 write the signed file")
	f.StringVar(&page, "html", "", "另写一份可打印的网页 also write a page to print")
	f.StringVar(&check, "verify", "", "离线核验的签名文件 signed file to verify offline")
	f.StringVar(&dir, "ledger", "", "账本副本目录 directory of a copied ledger")
	f.StringVar(&trust, "trust", "", "信任文件 trust.json from the regulator's kit")
	c.MarkFlagsRequiredTogether("verify", "ledger")
	return c
}

// verifyCertificate holds a signed file against a copy of the ledger.
func (a *app) verifyCertificate(ctx context.Context, file, dir, trust string) error {
	envelope, err := readCapped(file, certificate.MaxBytes)
	if err != nil {
		return err
	}
	opt, err := auditOptions(trust, nil, nil)
	if err != nil {
		return err
	}
	var certified []*entry.Entry
	opt.Visit = func(e *entry.Entry, _ []byte) error {
		if e.Kind == entry.KindModelCertified {
			certified = append(certified, e)
		}
		return nil
	}
	r, err := audit.Run(ctx, dir, opt)
	if err != nil {
		return err
	}
	broken := func(err error) error {
		a.say("合格证不成立: %s", "the certificate does not hold: %s", a.said(err))
		return &silentError{exitAuditFailed}
	}
	if !r.OK {
		return broken(errors.New(a.t("账本副本未通过审计（sandgate audit）", "the copy of the ledger does not pass its audit (sandgate audit)")))
	}
	var x *certificate.Certificate
	err = texts.Errorf("no key")
	for _, k := range r.State.ReceiptKeys() {
		if x, err = certificate.Open(envelope, k.Key); err == nil {
			break
		}
	}
	if err != nil {
		return broken(err)
	}
	err = errors.New(a.t("账本中没有这一条", "the ledger does not hold its entry"))
	for _, e := range certified {
		if e.Seq == x.Seq {
			err = x.Matches(e)
		}
	}
	if err != nil || x.Origin != r.Origin {
		return broken(err)
	}
	a.say("合格证成立: 模型 %s，结论 %s，账本第 %d 条", "the certificate holds: model %s, verdict %s, ledger entry %d", x.Model, x.Outcome.Verdict, x.Seq)
	return nil
}

// certificate shows a certificate.
func (a *app) certificate(x *certificate.Certificate, page string) error {
	if r, err := gate.Load(x.Report); err == nil && page != "" {
		// The gate's own page, with its plots.
		p := report.Page{Title: x.Product, Report: r}
		if x.Evaluation != nil {
			p.Evaluation = &model.Evaluation{}
			if err := json.Unmarshal(x.Evaluation, p.Evaluation); err != nil {
				return texts.Errorf("failed to read the evaluation of the certificate")
			}
		}
		text, err := p.HTML(a.lang)
		if err != nil {
			return err
		}
		if err := os.WriteFile(page, text, 0o600); err != nil {
			return texts.Errorf("failed to write page: %w", err)
		}
		page = ""
	}
	return a.handOut(func(a *app) []sheetOf { return a.certificateSheets(x) }, func() error { return a.json(x) }, paper{
		title:  a.t("模型合格证", "Model certificate") + " " + x.Model,
		period: a.t("结论", "verdict") + " " + string(x.Outcome.Verdict) + " · " + policies.Clock(time.UnixMilli(x.At)),
		source: fmt.Sprintf(a.t("账本 %s 第 %d 条；参数散列 %s", "ledger %s, entry %d; digest of the parameters %s"), x.Origin, x.Seq, x.Parameters), page: page,
	})
}

func (a *app) certificateSheets(x *certificate.Certificate) []sheetOf {
	head := sheetOf{Title: a.t("模型", "model"), Header: []string{a.head("项目", "item"), a.head("内容", "value")}}
	put := func(zh, en, v string) { head.Body = append(head.Body, []string{a.head(zh, en), v}) }
	put("运营机构", "operator", x.Operator)
	put("授权", "licence", x.Licence)
	put("用途", "purpose", x.Purpose)
	put("产品", "product", x.Product)
	if x.Spec != nil {
		put("数据集", "dataset", x.Spec.Dataset)
		put("模型族", "family", string(x.Spec.Family))
		put("发布方式", "release", a.state(string(x.Spec.Release)))
	}
	if x.Outcome.Basis == policies.BasisOwn {
		put("模块散列", "module", x.Parameters)
		put("依据", "basis", a.t("运营机构自带模块：没有用数据训练，只发布加噪的汇总", "the operator's own module: nothing was trained on data, and noised aggregates alone are released"))
	} else {
		put("训练单元（约）", "units", itoa(x.Outcome.Units))
	}
	put("价格 ρ", "price", rho(x.PriceNanoRho))
	put("结论", "verdict", string(x.Outcome.Verdict))
	put("原因", "reasons", strings.Join(x.Outcome.Reasons, " "))
	var e model.Evaluation
	if x.Evaluation != nil && json.Unmarshal(x.Evaluation, &e) == nil {
		for _, m := range []struct {
			zh, en string
			of     *model.Estimate
		}{{"留出单元 AUC", "AUC on held-out units", e.AUC}, {"留出单元准确率", "accuracy on held-out units", e.Accuracy}, {"留出单元 R²", "R² on held-out units", e.R2}, {"留出单元均方根误差", "RMSE on held-out units", e.RMSE}} {
			if m.of != nil {
				put(m.zh, m.en, fmt.Sprintf("%.3f [%.3f, %.3f]", m.of.Value, m.of.Low, m.of.High))
			}
		}
	}
	sheets := []sheetOf{head}
	if x.Outcome.Basis == policies.BasisOwn {
		var e model.Evaluation
		if x.Evaluation == nil || json.Unmarshal(x.Evaluation, &e) != nil {
			return sheets
		}
		return append(sheets, a.moduleSheets(x, e)...)
	}
	var r *gate.Report
	if x.Report != nil {
		r, _ = gate.Load(x.Report)
	}
	if r != nil {
		found := sheetOf{Title: a.t("攻击结果", "what each attack found"), right: []int{2, 3, 4, 5, 6},
			Header: []string{a.head("攻击", "attack"), a.head("指标", "figure"), a.head("值", "value"), a.head("下限", "low"), a.head("上限", "high"), a.head("允许", "allowed"), a.head("对照模型", "control"), a.head("合格", "pass")}}
		for _, f := range r.Attacks {
			for i, g := range f.Figures {
				allowed, control := "", ""
				for _, m := range []string{g.Most, g.MostLo, g.MostHi} {
					if m != "" {
						allowed = strings.TrimSpace(allowed + " " + m)
					}
				}
				if i < len(f.Control) {
					control = f.Control[i].Value
				}
				found.Body = append(found.Body, []string{f.Code, gate.Label(g, a.lang), g.Value, g.Lo, g.Hi, allowed, control, a.yesNo(g.Passes())})
			}
		}
		return append(sheets, found)
	}
	kept := sheetOf{Title: a.t("攻击结果（账本所记）", "what each attack found, as the ledger has it"), right: []int{1, 2, 3, 4},
		Header: []string{a.head("攻击", "attack"), a.head("值", "value"), a.head("下限", "low"), a.head("上限", "high"), a.head("允许", "allowed"), a.head("合格", "pass")}}
	for _, f := range x.Outcome.Figures {
		m := func(v int64) string { return fmt.Sprintf("%.3f", float64(v)/1e6) }
		kept.Body = append(kept.Body, []string{string(f.Attack), m(f.Value), m(f.Low), m(f.High), m(f.Bound), a.yesNo(f.Pass())})
	}
	return append(sheets, kept)
}

func (a *app) modelDownloadCmd() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "download MODEL --out FILE",
		Short: "下载合格模型的参数文件，网关每次与账本核对 · download the parameter file of a model that passed",
		Long: `只有差分隐私训练、合格且规格写明 release: parameters 的模型可以下载。文件是可声明的参数，不含代码；格式见 docs/model-file.md。
Only a privately trained model that passed and whose product says release: parameters is handed out. The file holds parameters and no code;
docs/model-file.md describes it.`,
		Example: "  sandgate model download 0123456789abcdef0123 --out income.json --kit ./kits/alpha",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withClient(func(cl *client.Client) error {
				f, err := cl.Model.DownloadModel(c.Context(), &sandgatev1.DownloadModelRequest{Name: args[0]})
				if err != nil {
					return err
				}
				if sum := sha256.Sum256(f.GetContent()); hex.EncodeToString(sum[:]) != f.GetDigest() {
					return errors.New(a.t("文件与其散列不符", "the file does not have its digest"))
				}
				if _, err := model.Parse(f.GetContent()); err != nil {
					return err
				}
				if out == "" {
					_, err = a.out.Write(f.GetContent())
					return err
				}
				if err := os.WriteFile(out, f.GetContent(), 0o600); err != nil {
					return texts.Errorf("failed to write model: %w", err)
				}
				a.note("已写出 %s（%d 字节，散列 %s，账本第 %d 条）", "wrote %s (%d bytes, digest %s, ledger entry %d)", out, len(f.GetContent()), f.GetDigest(), f.GetReceipt().GetSeq())
				return nil
			})
		},
	}
	c.Flags().StringVar(&out, "out", "", "输出文件，默认标准输出 · output file, standard output by default")
	return c
}

func (a *app) modelScoreCmd() *cobra.Command {
	var rows, file string
	var confidence, secret bool
	c := &cobra.Command{
		Use:   "score MODEL --rows FILE.csv | score --file MODEL.json --rows FILE.csv",
		Short: "用模型为自带的行打分：由网关，或用参数文件在本机 · score rows of your own, by the gateway or by a parameter file",
		Long: `CSV 首行为特征列名，取值写法与目录一致，空为缺失。分值保留两位小数。由网关打分时，按月限行数，账本只记行数，不记取值；
用 --file 在本机打分，与网关的结果相同，不联网。
用 --encrypted 时，行在本机加密，网关只在密文上计算，看不到任何取值；只用于参数可以离开的模型（release: parameters，或规格写明
encrypted_scores: true）。结果与明文打分相同，同样计行数；每 8192 行、每个输入发送约 0.2 MB。
The CSV's header names the features; values are written as the catalogue writes them, an empty one is missing. Scores have two digits. The
gateway scores a limited number of rows a month and the ledger keeps their number, never the values. With --file rows are scored on this
machine, with the same result, and nothing is sent. With --encrypted rows are encrypted on this machine and the gateway computes on
ciphertexts: it sees no value. That is for models whose parameters may leave (release: parameters, or encrypted_scores: true in the
specification). Scores are the same and rows are counted as any others; each input of 8192 rows sends about 0.2 MB.`,
		Example: `  sandgate model score 0123456789abcdef0123 --rows people.csv -o csv --kit ./kits/alpha
  sandgate model score 0123456789abcdef0123 --rows people.csv --encrypted -o json --kit ./kits/alpha
  sandgate model score --file income.json --rows people.csv -o csv`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if (file == "") == (len(args) == 0) {
				return usageError{errors.New(a.t("须给出模型编号或 --file 之一", "name a model or give --file, one of them"))}
			}
			if file != "" && confidence {
				return usageError{errors.New(a.t("置信来自网关所存的评估，参数文件中没有；请去掉 --file 或 --confidence", "the confidence comes from the evaluation, which the gateway has and a parameter file has not; leave out --file or --confidence"))}
			}
			if secret && (file != "" || confidence) {
				return usageError{errors.New(a.t("--encrypted 不能与 --file 或 --confidence 同用：用 --file 打分时行不离开本机；置信按分值给出，而网关看不到分值", "--encrypted goes with neither --file nor --confidence: with --file no row leaves this machine, and the confidence is that of a score, which the gateway does not see"))}
			}
			var in io.Reader = a.in
			if rows != "-" {
				f, err := os.Open(rows)
				if err != nil {
					return texts.Errorf("failed to open rows: %w", err)
				}
				defer f.Close()
				in = f
			}
			columns, values, err := a.scoreRows(in)
			if err != nil {
				return err
			}
			if file != "" {
				text, err := readCapped(file, model.MaxFile)
				if err != nil {
					return err
				}
				s, err := engine.ScoreRows(text, columns, values)
				if err != nil {
					var features []model.Feature
					if p, perr := model.Parse(text); perr == nil {
						features = p.Features
					}
					return rowsAtFault(err, features, columns)
				}
				return a.scores(s.Columns, s.Rows)
			}
			return a.withClient(func(cl *client.Client) error {
				var heads []string
				var out [][]string
				if secret {
					heads, out, err = a.scoreEncrypted(c.Context(), cl, args[0], columns, values)
				} else {
					heads, out, err = a.scoreAt(c.Context(), cl, args[0], columns, values, confidence)
				}
				if err != nil && len(out) == 0 {
					return err
				}
				if err != nil { // what was counted is shown, whatever became of the rest
					a.note("只打了前 %d 行的分；其余未打", "only the first %d rows were scored", len(out))
				}
				if shown := a.scores(heads, out); err == nil {
					err = shown
				}
				return err
			})
		},
	}
	c.Flags().StringVar(&rows, "rows", "", "CSV 文件，- 为标准输入 · CSV file, - for standard input")
	c.Flags().BoolVar(&confidence, "confidence", false, "附上同段分值的留出单元的实际结果与 95% 区间 · add what became of held-out units of such a score, with its 95 % interval")
	c.Flags().BoolVar(&secret, "encrypted", false, "在本机加密各行，网关在密文上打分 · encrypt the rows here; the gateway scores ciphertexts")
	c.Flags().StringVar(&file, "file", "", "参数文件：在本机打分 · parameter file: score on this machine")
	require(c, "rows")
	return c
}

// rowsAtFault says in both languages what is wrong with rows that were to be scored
// here: the place, and never a value.
func rowsAtFault(err error, features []model.Feature, columns []string) error {
	var f *engine.ScoreFault
	if !errors.As(err, &f) {
		return err
	}
	switch f.Code {
	case "COLUMN_MISSING":
		if f.Column >= 1 && f.Column <= len(features) {
			return texts.Errorf("%s: the rows lack the feature %q of the model; add the column", f.Code, features[f.Column-1].Column)
		}
	case "COLUMN_UNKNOWN":
		return texts.Errorf("%s: column %d of the header is no feature of the model, or stands twice; leave it out", f.Code, f.Column)
	case "ROW_FORM":
		if f.Row >= 1 && f.Column >= 1 && f.Column <= len(columns) {
			return texts.Errorf("%s: row %d, column %d (%s): the value does not fit the column's type or code list, or must not be missing; write it as the catalogue does", f.Code, f.Row, f.Column, columns[f.Column-1])
		}
	}
	return err
}

func (a *app) scores(heads []string, rows [][]string) error {
	var right []int
	for i := range heads {
		right = append(right, i)
	}
	return a.rows(heads, rows, right...)
}
