package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/gate"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/signature"
)

// trainFlags are the flags of a training over domains.
type trainFlags struct {
	region, period, licence, purpose, scheme, request string
	domains                                           []string
	seconds, retries                                  int
}

func (a *app) roundTrainCmd() *cobra.Command {
	f := &trainFlags{}
	c := &cobra.Command{
		Use:   "train SPEC.yaml|PRODUCT --region REGION --period PERIOD",
		Short: "跨域训练模型，各域数据不出域，全部域检验合格才有模型 · train a model over domains whose data stay inside; there is one only if every domain's gate passes it",
		Long: `规格与单域的模型规格相同（docs/models.md），限 linear 与 logistic、private: true、release: parameters；也可给出本机构已登记的模型产品
编号。每一遍扫描是一轮跨域聚合，各域按自己的策略决定、在自己的账本上扣减；失败的一轮至多补做 --retries 次，每次都付价。最后各域以
自己的行攻击模型，全部通过才签发合格证；有一域不通过、不作答或签名不符，即指名结束，网关不向任何人交付模型。
汇聚方网关、主管部门与各域都持有各遍含噪声的和，可自行算出参数：对它们的保证只是差分隐私的价格（协议 models.rho，ε 至多 4），关卡
约束的是交付什么。
The specification is that of a model of one domain (docs/models.md): linear or logistic, private: true, release: parameters; or name a
filed model product of yours. Each pass over the rows is a round; each domain decides by its own policy and charges its own ledger. A round
that fails is made up for --retries times at most, at its price. In the end every domain attacks the model with its own rows: all pass, or
the training ends in the name of who is in the way and the gateway hands no model to anybody. The hub's gateway, the regulator and the
domains hold the noisy sums of every pass and could compute the parameters themselves: against them the guarantee is the price in
differential privacy (models.rho of the agreement, ε of 4 at most); the gate binds what is handed out.`,
		Example: `  sandgate round train base.yaml --region delta --period 2025 --licence alpha-region --purpose urban_planning --kit ./kits/alpha
  sandgate round train base.yaml --region delta --period 2025 --scheme mask --retries 2 -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.trainOverDomains(c.Context(), f, args[0], c.Flags().Changed("retries"))
		},
	}
	l := c.Flags()
	l.StringVar(&f.region, "region", "", "跨域协议名称 name of the agreement")
	l.StringVar(&f.period, "period", "", "数据期次：年（2026）或月（2026-10） year or month of the data")
	l.StringVar(&f.licence, "licence", os.Getenv("SANDGATE_LICENCE"), "授权编号 licence id (or SANDGATE_LICENCE)")
	l.StringVar(&f.purpose, "purpose", strings.Join(purposeDefault(), ","), "用途 purpose id (or SANDGATE_PURPOSE)")
	l.StringVar(&f.scheme, "scheme", "", "方案 bgv 或 mask，默认取协议的第一个 scheme, the agreement's first when empty")
	l.StringSliceVar(&f.domains, "domain", nil, "只请这些域，可重复，默认全部 domains to ask, repeatable; all when empty")
	l.IntVar(&f.seconds, "seconds", 0, "每一轮的时限（秒），10 至 3600，默认 120 · seconds of each round, 10 to 3600, 120 by default")
	l.IntVar(&f.retries, "retries", 1, "失败的轮次至多补做几次，0 至 8 · failed rounds that are made up for, 0 to 8")
	l.StringVar(&f.request, "request-id", "", "幂等请求号（UUID），默认随机 · idempotency UUID, random when empty")
	require(c, "region", "period")
	return c
}

// specOf reads a specification: of a file, or of a product of the caller's.
func (a *app) specOf(ctx context.Context, cl *client.Client, name string) ([]byte, error) {
	text, err := readCapped(name, maxSpec)
	if errors.Is(err, fs.ErrNotExist) && policies.CheckProductID(name) == nil {
		p, perr := cl.Product.GetProduct(ctx, &sandgatev1.GetProductRequest{Name: "products/" + name})
		if perr != nil {
			return nil, perr
		}
		if p.GetModel() == "" {
			return nil, texts.Errorf("product %q trains no model", name)
		}
		text, err = []byte(p.GetModel()), nil
	}
	if err != nil {
		return nil, err
	}
	spec, err := policies.ParseModelSpec(text)
	if err != nil {
		return nil, texts.Errorf("failed to read the specification: %w", err)
	}
	return []byte(spec.Text()), nil
}

func (a *app) trainOverDomains(ctx context.Context, f *trainFlags, name string, retries bool) error {
	cl, err := a.dial()
	if err != nil {
		return err
	}
	defer cl.Close()
	domains := slices.Clone(f.domains)
	slices.Sort(domains)
	req := &sandgatev1.ProposeTrainingRequest{RequestId: f.request, Region: f.region, Licence: f.licence, Purpose: f.purpose, Period: f.period, Scheme: f.scheme,
		Contributors: slices.Compact(domains), Seconds: int32(f.seconds)}
	if retries {
		n := int32(f.retries)
		req.Retries = &n
	}
	if req.Specification, err = a.specOf(ctx, cl, name); err != nil {
		return err
	}
	if req.RequestId == "" {
		req.RequestId = uuid.NewString()
	}
	t, err := cl.Training.ProposeTraining(ctx, req)
	if err != nil {
		a.note("request-id: %s", "request-id: %s", req.RequestId)
		return err
	}
	t, err = cl.FollowTraining(ctx, t, a.trainingProgress())
	if ctx.Err() != nil {
		a.note("已停止等待；%s 仍在继续\n  查看: sandgate round training %s --wait\n  取消: sandgate round training %s --cancel", "stopped waiting; %s goes on\n  look at it: sandgate round training %s --wait\n  cancel it:  sandgate round training %s --cancel", t.GetName(), t.GetName(), t.GetName())
		return &silentError{exitError}
	}
	if err != nil {
		return err
	}
	return a.trainingOutcome(t)
}

// trainingProgress tells of every step of a training once, on the error stream.
func (a *app) trainingProgress() func(*sandgatev1.Training) {
	last, told := "", 0
	return func(t *sandgatev1.Training) {
		for ; told < len(t.GetAttempts()); told++ {
			if x := t.GetAttempts()[told]; !x.GetAnswered() && len(x.GetReasons()) == 0 {
				break
			} else if len(x.GetReasons()) > 0 {
				r := x.GetReasons()[0]
				a.note("%s 第 %d/%d 遍未能完成 %s: %s", "%s: pass %d of %d failed, %s: %s", t.GetName(), x.GetPass()+1, t.GetPasses(), r.GetCode(), reasonText(r, a.lang))
			}
		}
		if t.GetState() != sandgatev1.Training_STATE_RUNNING || t.GetPhase() == "" {
			return
		}
		phase, ok := roundPhases[t.GetPhase()]
		if t.GetPhase() == "trial" {
			phase = [2]string{"各域检验模型", "every domain tries the model"}
		} else if !ok {
			phase = [2]string{t.GetPhase(), t.GetPhase()}
		}
		line := itoa(int64(t.GetAnswered())) + t.GetPhase() + join(t.GetMissing())
		if line == last {
			return
		}
		last = line
		what := a.t(phase[0], phase[1])
		if len(t.GetMissing()) > 0 {
			what += a.t("；尚缺 ", "; without ") + join(t.GetMissing())
		}
		a.note("%s 已完成 %d/%d 遍，%s", "%s: %d of %d passes done, %s", t.GetName(), t.GetAnswered(), t.GetPasses(), what)
	}
}

// trainingOutcome shows an ended training; one without a model ends the command as
// refused, or as broken off.
func (a *app) trainingOutcome(t *sandgatev1.Training) error {
	if a.format == "json" {
		if err := a.proto(t); err != nil {
			return err
		}
	}
	if t.GetState() == sandgatev1.Training_STATE_CERTIFIED {
		if a.format != "json" {
			a.say("%s 合格：%d 个域（%s）逐一检验通过，%s，方案 %s；每域花费 ρ %s（%d 遍）\n  下载: sandgate round model %s --agreement AGREEMENT.yaml --out model.json --certificate certificate.json",
				"%s passed: each of %d domains (%s) tried it; %s by %s; ρ %s charged in each (%d passes)\n  fetch: sandgate round model %s --agreement AGREEMENT.yaml --out model.json --certificate certificate.json",
				t.GetName(), len(t.GetContributors()), join(t.GetContributors()), t.GetFamily(), t.GetScheme(), rho(t.GetPriceNanoRho()), t.GetPasses(), t.GetName())
		}
		return nil
	}
	code := exitRefused
	for _, x := range t.GetReasons() {
		if slices.Contains(brokenRounds, x.GetCode()) {
			code = exitError
		}
		a.note("%s 没有模型 %s: %s", "%s has no model, %s: %s", t.GetName(), x.GetCode(), reasonText(x, a.lang))
	}
	return &silentError{code}
}

func (a *app) roundTrainingsCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "trainings",
		Short:   "列出跨域训练，新的在前 · list trainings over domains, newest first",
		Example: "  sandgate round trainings --kit ./kits/alpha",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withClient(func(cl *client.Client) error {
				var all []*sandgatev1.Training
				req := &sandgatev1.ListTrainingsRequest{}
				for {
					resp, err := cl.Training.ListTrainings(c.Context(), req)
					if err != nil {
						return err
					}
					all = append(all, resp.GetTrainings()...)
					if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
						return a.trainings(all)
					}
				}
			})
		},
	}
}

func (a *app) roundTrainingCmd() *cobra.Command {
	var wait, cancel bool
	c := &cobra.Command{
		Use:   "training TRAINING",
		Short: "查看一次跨域训练；--wait 等待，--cancel 取消 · show a training over domains, wait for it, or cancel it",
		Long: `取消即刻结束进行中的一轮；各域已扣的预算不退还。网关重启后，训练从最近一次已完成的一遍接续。
To cancel ends the round that runs at once; what the domains have charged stays charged. After a restart of the gateway a training goes on
from its last finished pass.`,
		Example: `  sandgate round training trainings/0123456789abcdef0123456789abcdef --wait --kit ./kits/alpha
  sandgate round training trainings/0123456789abcdef0123456789abcdef --cancel --kit ./kits/alpha`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withClient(func(cl *client.Client) error {
				if cancel {
					t, err := cl.Training.CancelTraining(c.Context(), &sandgatev1.CancelTrainingRequest{Name: args[0]})
					if err != nil {
						return err
					}
					if a.format == "json" {
						return a.proto(t)
					}
					a.say("%s 已取消；各域已扣的预算不退还", "%s is cancelled; what the domains have charged stays charged", t.GetName())
					return nil
				}
				t, err := cl.Training.GetTraining(c.Context(), &sandgatev1.GetTrainingRequest{Name: args[0]})
				if err == nil && wait {
					if t, err = cl.FollowTraining(c.Context(), t, a.trainingProgress()); err == nil {
						return a.trainingOutcome(t)
					}
				}
				if err != nil {
					return err
				}
				if a.format == "json" {
					return a.proto(t)
				}
				return a.trainings([]*sandgatev1.Training{t})
			})
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "等到有结论 wait for its outcome")
	c.Flags().BoolVar(&cancel, "cancel", false, "取消 cancel it")
	c.MarkFlagsMutuallyExclusive("wait", "cancel")
	return c
}

func (a *app) trainings(all []*sandgatev1.Training) error {
	var body [][]string
	for _, t := range all {
		why := t.GetPhase()
		if p, ok := roundPhases[why]; ok && a.format == "table" {
			why = a.t(p[0], p[1])
		}
		if len(t.GetMissing()) > 0 {
			why += " ← " + join(t.GetMissing())
		}
		for _, x := range t.GetReasons() {
			if why = x.GetCode(); x.GetSetBy() != "" {
				why += " " + x.GetSetBy()
			}
			if a.format == "table" && len(all) == 1 {
				why += "\n" + reasonText(x, a.lang)
			}
		}
		body = append(body, []string{t.GetName(), a.when(t.GetCreateTime().AsTime()), t.GetOperator(), t.GetRegion(), t.GetDataset(), t.GetPeriod(), t.GetFamily(), t.GetScheme(), join(t.GetContributors()),
			a.state(strings.TrimPrefix(t.GetState().String(), "STATE_")), itoa(int64(t.GetAnswered())) + "/" + itoa(int64(t.GetPasses())), rho(t.GetPriceNanoRho()), why})
	}
	return a.rows([]string{a.head("训练", "training"), a.head("时间", "time"), a.head("运营机构", "operator"), a.head("协议", "agreement"), a.head("数据集", "dataset"), a.head("期次", "period"), a.head("模型族", "family"),
		a.head("方案", "scheme"), a.head("参与方", "domains"), a.head("状态", "state"), a.head("遍", "passes"), "ρ", a.head("进度或原因", "phase or why")}, body, 11)
}

func (a *app) roundModelCmd() *cobra.Command {
	var agreement, out, certificate, file string
	c := &cobra.Command{
		Use:   "model TRAINING --agreement AGREEMENT.yaml --out FILE | model [TRAINING] --file FILE --certificate FILE --agreement AGREEMENT.yaml",
		Short: "取得跨域模型及合格证并核验，或离线核验 · fetch a model over domains with its certificate and check both, or check them offline",
		Long: `核验只凭跨域协议中各域的公钥：每个参与方对这一模型的检验结论、其签名，以及由报告数字重新得出的 PASS。训练编号、参与方名单、价格与
重叠由每个参与方在结论中签名，与合格证、参数文件和所要的训练不同即不成立。不成立时退出码为 4，不写文件。
参数文件与单域模型的相同，可用 sandgate model score --file 打分、sandgate model export 转为 ONNX。网关不为跨域模型打分。
What is checked hangs on the keys of the agreement alone: every contributor's verdict on this very model, its signature, and that the PASS
follows from the figures of the report. Each verdict names the training, all contributors, the prices and the overlap: none of them may
differ from the certificate, from the file, or from the training that was asked for. If it does not hold, the exit code is 4 and nothing is
written. The parameter file is that of any model: sandgate model score --file scores with it, sandgate model export writes ONNX. The
gateway scores no rows with it.`,
		Example: `  sandgate round model trainings/0123456789abcdef0123456789abcdef --agreement delta.yaml --out model.json --certificate certificate.json --kit ./kits/alpha
  sandgate round model --file model.json --certificate certificate.json --agreement delta.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if file == "" && (len(args) == 0 || out == "") || file != "" && (certificate == "" || out != "") {
				return usageError{errors.New(a.t("须给出训练与 --out，或 --file 与 --certificate", "name a training and --out, or give --file and --certificate"))}
			}
			asked := strings.Join(args, "") // one at most
			f, err := readAgreement(agreement)
			if err != nil {
				return err
			}
			if file != "" {
				text, err := readCapped(file, model.MaxFile)
				if err != nil {
					return err
				}
				cert, err := readCapped(certificate, maxTrainingCertificate)
				if err != nil {
					return err
				}
				return a.trainedModel(f, asked, text, cert, nil)
			}
			return a.withClient(func(cl *client.Client) error {
				got, err := cl.Training.GetTrainedModel(c.Context(), &sandgatev1.GetTrainedModelRequest{Name: args[0]})
				if err != nil {
					return err
				}
				return a.trainedModel(f, asked, got.GetFile(), got.GetCertificate(), func() error {
					if err := os.WriteFile(out, got.GetFile(), 0o600); err != nil {
						return texts.Errorf("failed to write model: %w", err)
					}
					a.note("已写出 %s（%d 字节，账本第 %d 条）", "wrote %s (%d bytes, ledger entry %d)", out, len(got.GetFile()), got.GetReceipt().GetSeq())
					a.modelFigures(got.GetEvaluation())
					if certificate == "" {
						return nil
					}
					if err := os.WriteFile(certificate, got.GetCertificate(), 0o600); err != nil {
						return texts.Errorf("failed to write certificate: %w", err)
					}
					a.note("已写出 %s（%d 字节）", "wrote %s (%d bytes)", certificate, len(got.GetCertificate()))
					return nil
				})
			})
		},
	}
	l := c.Flags()
	l.StringVar(&agreement, "agreement", "", "跨域协议文件，列有各域公钥 file of the agreement, which names the domains' keys")
	l.StringVar(&out, "out", "", "参数文件写到何处 where the parameter file goes")
	l.StringVar(&certificate, "certificate", "", "合格证写到何处；离线核验时为其文件 where the certificate goes; its file when checked offline")
	l.StringVar(&file, "file", "", "离线核验的参数文件 parameter file to check offline")
	require(c, "agreement")
	return c
}

// maxTrainingCertificate caps a certificate's file: 64 verdicts with their reports.
const maxTrainingCertificate = 8 << 20

// readAgreement reads the Federation of a file, signed or not: what it names is what its
// reader trusts.
func readAgreement(name string) (*policies.Federation, error) {
	text, err := readCapped(name, policies.MaxBundleBytes*2)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		if _, payload, err := policies.ParseEnvelope(text); err == nil {
			text = payload
		}
	}
	docs, err := policies.ParseBundle(text)
	if err != nil {
		return nil, texts.Errorf("failed to read the agreement: %w", err)
	}
	var out *policies.Federation
	for _, d := range docs {
		if f, ok := d.Body.(*policies.Federation); ok {
			if out != nil {
				return nil, texts.Errorf("the file holds two agreements")
			}
			out = f
		}
	}
	if out == nil {
		return nil, texts.Errorf("the file holds no agreement (kind: Federation)")
	}
	return out, nil
}

// trainedModel checks a model and its certificate by an agreement, shows what every
// domain found, and then keeps them. A training that was asked for must be the one that
// every domain signed.
func (a *app) trainedModel(f *policies.Federation, asked string, file, certificate []byte, keep func() error) error {
	fails := func(zh, en string, args ...any) error {
		a.note("✗ 核验不成立: "+zh, "✗ it does not hold: "+en, args...)
		return &silentError{exitAuditFailed}
	}
	cert, reports, err := fit.ReadCertificate(certificate, func(party string, text, sig []byte) error {
		key, ok := f.KeyOf(party)
		if p, named := f.Party(party); !ok || !named || !p.Has(policies.FederationContributor) || !signature.Verify(key, fit.VerdictBytes(text), sig) {
			return texts.Errorf("the signature of the verdict does not verify")
		}
		return nil
	})
	if err != nil {
		var why *policies.Reason
		if errors.As(err, &why) {
			return fails("%s", "%s", why.Text(a.lang))
		}
		return fails("合格证不是规范格式", "the certificate is not in canonical form")
	}
	if len(cert.Contributors) < f.K {
		return fails("参与方少于协议的 %d 个", "there are fewer contributors than the agreement's %d", f.K)
	}
	if asked != "" && strings.TrimPrefix(asked, "trainings/") != cert.Run {
		return fails("合格证属于另一次训练 %s", "the certificate is of another training, %s", "trainings/"+cert.Run)
	}
	p, err := model.Parse(file)
	if err != nil {
		return err
	}
	if why := cert.About(p, reports); why != nil {
		return fails("%s", "%s", why.Text(a.lang))
	}
	var without []string // named by the agreement, not asked by the operator
	for _, party := range f.With(policies.FederationContributor) {
		if !slices.Contains(cert.Contributors, party) {
			without = append(without, party)
		}
	}
	if keep != nil {
		if err := keep(); err != nil {
			return err
		}
	}
	if a.format == "json" {
		return a.json(map[string]any{"model": cert.Model, "training": "trainings/" + cert.Run, "without": without, "family": p.Family, "contributors": cert.Contributors, "rho": cert.Rho, "rho_evaluation": cert.RhoEvaluation, "overlap": cert.Overlap, "valid": true, "reports": reports})
	}
	var body [][]string
	for i, r := range reports {
		body = append(body, []string{cert.Contributors[i], string(r.Verdict), itoa(int64(r.Units)), itoa(int64(r.HeldOut)), itoa(int64(r.Attacked)), worstOf(r)})
	}
	if err := a.rows([]string{a.head("参与方", "domain"), a.head("结论", "verdict"), a.head("训练单元", "units"), a.head("留出", "held out"), a.head("受攻击", "attacked"), a.head("攻击", "attacks")}, body, 2, 3, 4); err != nil {
		return err
	}
	a.say("✓ 成立：%s，%d 个域的结论与签名均核对无误；一个单元至多付出 ρ %s（训练）与 %s（评估）", "✓ it holds: %s, verdicts and signatures of %d domains checked; a unit pays ρ %s in training and %s in evaluation at most",
		string(p.Family), len(cert.Contributors), cert.Rho, cert.RhoEvaluation)
	if len(without) > 0 {
		a.say("  协议中的 %s 未参加这次训练：每个参与方都签名确认了名单", "  %s of the agreement took no part in this training: every contributor signed the list", join(without))
	}
	return nil
}

// worstOf lists the attacks of a report that the model withstood while they caught the
// control.
func worstOf(r *gate.Report) string {
	n := 0
	for _, x := range r.Attacks {
		if x.Passes() && x.Caught() {
			n++
		}
	}
	return itoa(int64(n)) + "/" + itoa(int64(len(r.Attacks)))
}
