package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) productCmd() *cobra.Command {
	c := &cobra.Command{Use: "product", Short: "数据产品：拟稿、审查、运行、交付 · draft, review, run and deliver products"}
	c.AddCommand(a.productDraftCmd(), a.productReviewCmd(), a.productListCmd(), a.productShowCmd(), a.productRunCmd(), a.productDeliverCmd())
	return c
}

func (a *app) productDraftCmd() *cobra.Command {
	q := &queryFlags{}
	var id, titleZH, titleEN, out string
	var params []string
	c := &cobra.Command{
		Use:   "draft [SQL] --id ID --title-zh TITLE",
		Short: "由语句拟产品文件，供签名登记 · write the product document of a text, to be signed and filed",
		Long: `检查语句并写出产品文件（YAML）。参数 $1、$2… 逐个用 --parameter 说明，并用 --param 各给一个样例值。
之后用 policy sign 签名、policy apply 登记；数源部门和主管部门用 product review 审查后即可 product run。
Checks the text and writes the product document. Every $1, $2, … is described by --parameter and given a sample value by
--param. Sign it with policy sign and file it with policy apply; once departments and regulator approved it, product run.`,
		Example: `  sandgate product draft "SELECT district, COUNT(*) AS n FROM population WHERE birth_date >= $1 GROUP BY district" --id residents \
    --title-zh 分区人口 --title-en "residents by district" --parameter since=起始年份 --param 1990 --licence alpha-2026 --purpose urban_planning --out residents.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			spec, err := a.query(q, args)
			if err != nil {
				return err
			}
			p := policies.Product{ID: id, Licence: q.licence, Title: policies.Text{ZH: titleZH, EN: titleEN}, Purposes: []string{q.purpose}, SQL: spec.GetSql()}
			for _, text := range params {
				x, err := parameter(text)
				if err != nil {
					return usageError{errors.New(a.t("--parameter 形如 名称=标题 或 名称=标题:值1,值2", "--parameter is like NAME=TITLE or NAME=TITLE:VALUE,VALUE"))}
				}
				p.Parameters = append(p.Parameters, x)
			}
			if len(p.Parameters) != len(q.params) {
				return usageError{errors.New(a.t("--parameter 与 --param 的个数不同：每个参数各给一个说明和一个样例值", "--parameter and --param differ in number: give every parameter a description and a sample value"))}
			}
			k, err := a.kit()
			if err != nil {
				return err
			}
			p.Operator = k.Party
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			x, err := cl.Operator.ExplainJob(c.Context(), &sandgatev1.ExplainJobRequest{Query: spec})
			if err != nil {
				return err
			}
			// A licence for products only refuses every free query, and nothing else.
			if !x.GetAllowed() && (len(x.GetReasons()) != 1 || x.GetReasons()[0].GetCode() != "PRODUCT_REQUIRED") || x.GetForm() == "" {
				return a.explanation(x, spec.GetSql())
			}
			p.Core = x.GetForm()
			text, err := documentOf(policies.KindProduct, p)
			if err != nil {
				return err
			}
			if out == "" {
				_, err = a.out.Write(text)
				return err
			}
			if err := os.WriteFile(out, text, 0o600); err != nil {
				return texts.Errorf("failed to write product: %w", err)
			}
			a.note("已写出 %s；下一步: sandgate policy sign %s && sandgate policy apply %s.dsse", "wrote %s; next: sandgate policy sign %s && sandgate policy apply %s.dsse", out, out, out)
			return nil
		},
	}
	q.add(c)
	f := c.Flags()
	f.StringVar(&id, "id", "", "产品编号 product id")
	f.StringVar(&titleZH, "title-zh", "", "中文名称 title in Chinese")
	f.StringVar(&titleEN, "title-en", "", "英文名称 title in English")
	f.StringArrayVar(&params, "parameter", nil, "参数说明：名称=标题[:值,值…]，按 $1、$2… 的次序 · description of a parameter, in order")
	f.StringVar(&out, "out", "", "输出文件，默认标准输出 · output file, standard output by default")
	require(c, "id", "title-zh")
	return c
}

// parameter reads NAME=TITLE[:VALUE,VALUE…].
func parameter(text string) (policies.Parameter, error) {
	name, rest, ok := strings.Cut(text, "=")
	if !ok || name == "" || strings.ToValidUTF8(text, "") != text {
		return policies.Parameter{}, texts.Errorf("parameter")
	}
	title, values, listed := strings.Cut(rest, ":")
	p := policies.Parameter{Name: name, Title: policies.Text{ZH: title}}
	if listed {
		p.Values = strings.Split(values, ",")
	}
	return p, nil
}

func (a *app) productReviewCmd() *cobra.Command {
	var r policies.ProductReview
	var refuse bool
	c := &cobra.Command{
		Use:   "review PRODUCT --approve|--refuse --official ID --reason-zh TEXT",
		Short: "审查产品的现行版本并签名提交 · review a product's present version, sign and apply",
		Long: `数源部门（数据被读取的）和主管部门各自审查产品的现行版本；审查意见按版本摘要签名，产品一经改动即须重新审查。
Departments whose data is read and the regulator each review the present version; the signed review names its digest, so
any change needs another review.`,
		Example: `  sandgate product review residents --approve --official zhang --reason-zh 合规 --kit ./kits/civil
  sandgate product review residents --refuse --official li --reason-zh 超出场景 --basis "27号 第十条" --kit ./kits/data_bureau`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if r.Approve == refuse {
				return usageError{errors.New(a.t("须在 --approve 与 --refuse 中选一个", "choose one of --approve and --refuse"))}
			}
			k, err := a.kit()
			if err != nil {
				return err
			}
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			p, err := cl.Product.GetProduct(c.Context(), &sandgatev1.GetProductRequest{Name: args[0]})
			if err != nil {
				return err
			}
			a.warnings(p.GetWarnings())
			r.Product, r.Digest, r.By = strings.TrimPrefix(p.GetName(), "products/"), p.GetDigest(), k.Party
			text, err := documentOf(policies.KindProductReview, r)
			if err != nil {
				return err
			}
			resp, err := a.signAndApply(c.Context(), text)
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.proto(resp)
			}
			a.say("已提交对产品 %s 版本 %.12s 的审查（账本第 %d 条）", "review of product %s, version %.12s, is in force (ledger entry %d)", r.Product, r.Digest, resp.GetReceipt().GetSeq())
			return nil
		},
	}
	f := c.Flags()
	f.BoolVar(&r.Approve, "approve", false, "通过 approve")
	f.BoolVar(&refuse, "refuse", false, "不通过（须写依据）refuse (needs --basis)")
	f.StringArrayVar(&r.Officers, "official", nil, "经办人编号，可重复 · id of an official who looked at it, repeatable")
	f.StringVar(&r.Reason.ZH, "reason-zh", "", "理由 reason in Chinese")
	f.StringVar(&r.Reason.EN, "reason-en", "", "理由（英文）reason in English")
	f.StringVar(&r.Basis, "basis", "", "法律依据 legal basis")
	require(c, "official", "reason-zh")
	return c
}

func (a *app) productListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "列出可见的产品及审查进度 · list products and how far their reviews are",
		Example: "  sandgate product list --kit ./kits/alpha",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			var body [][]string
			req := &sandgatev1.ListProductsRequest{}
			for {
				resp, err := cl.Product.ListProducts(c.Context(), req)
				if err != nil {
					return err
				}
				for _, p := range resp.GetProducts() {
					var reviews []string
					for _, r := range p.GetReviews() {
						reviews = append(reviews, r.GetBy()+": "+a.reviewState(r))
					}
					body = append(body, []string{strings.TrimPrefix(p.GetName(), "products/"), a.t(p.GetTitleZh(), p.GetTitleEn()), p.GetOperator(), p.GetLicence(),
						a.yesNo(p.GetRunnable()), join(reviews)})
				}
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			return a.rows([]string{a.head("产品", "product"), a.head("名称", "title"), a.head("运营机构", "operator"), a.head("授权", "licence"),
				a.head("可运行", "runnable"), a.head("审查", "reviews")}, body)
		},
	}
}

func (a *app) yesNo(v bool) string {
	if v {
		return a.head("是", "yes")
	}
	return a.head("否", "no")
}

func (a *app) reviewState(r *sandgatev1.ProductReview) string {
	switch {
	case r.GetState() == sandgatev1.ProductReview_STATE_APPROVED && r.GetRule() != "":
		return a.head("按规则通过 "+r.GetRule(), "approved by rule "+r.GetRule())
	case r.GetState() == sandgatev1.ProductReview_STATE_APPROVED:
		return a.head("通过", "approved")
	case r.GetState() == sandgatev1.ProductReview_STATE_REFUSED:
		return a.head("不通过", "refused")
	}
	return a.head("待审", "open")
}

func (a *app) productShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show PRODUCT",
		Short:   "查看产品全文、参数和审查意见 · show a product in full",
		Example: "  sandgate product show residents --kit ./kits/civil",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			p, err := cl.Product.GetProduct(c.Context(), &sandgatev1.GetProductRequest{Name: args[0]})
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.proto(p)
			}
			a.say("%s · %s\n运营机构 %s，授权 %s，用途 %s，读取 %s\n版本 %s\n%s", "%s · %s\noperator %s, licence %s, purposes %s, reads %s\nversion %s\n%s",
				p.GetName(), a.t(p.GetTitleZh(), p.GetTitleEn()), p.GetOperator(), p.GetLicence(), join(p.GetPurposes()), join(p.GetDatasets()), p.GetDigest(), printable(p.GetSql()))
			if q := p.GetPredicate(); q != nil {
				a.say("核验谓词: %s.%s %s %s%s", "predicate: %s.%s %s %s%s", q.GetDataset(), join(q.GetColumns()), q.GetOp(), q.GetThreshold(), join(q.GetCodes()))
			} else if p.GetModel() != "" {
				a.say("模型规格:\n%s", "model specification:\n%s", printable(p.GetModel()))
			} else {
				a.say("形式（每次运行须与之相同）:\n%s", "form (every run must have it):\n%s", printable(p.GetForm()))
			}
			a.warnings(p.GetWarnings())
			for i, x := range p.GetParameters() {
				a.say("  $%d %s · %s  %s", "  $%d %s · %s  %s", i+1, x.GetName(), x.GetTitleZh(), join(x.GetValues()))
			}
			var body [][]string
			for _, r := range p.GetReviews() {
				body = append(body, []string{r.GetBy(), a.reviewState(r), join(r.GetOfficials()), a.t(r.GetReasonZh(), r.GetReasonEn()), r.GetBasis()})
			}
			printTable(a.out, []string{a.t("审查方", "reviewer"), a.t("意见", "state"), a.t("经办人", "officials"), a.t("理由", "reason"), a.t("依据", "basis")}, body)
			return nil
		},
	}
}

func (a *app) productRunCmd() *cobra.Command {
	q := &queryFlags{}
	c := &cobra.Command{
		Use:   "run PRODUCT",
		Short: "在审查通过后运行产品 · run a reviewed product",
		Example: `  sandgate product run residents --param 1990 --purpose urban_planning --kit ./kits/alpha
  sandgate product run residents --param 1990 --purpose urban_planning -o csv > answer.csv`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if q.file != "" {
				return usageError{errors.New(a.t("产品自带语句，不能用 -f", "a product brings its own text: -f is not for it"))}
			}
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			p, err := cl.Product.GetProduct(c.Context(), &sandgatev1.GetProductRequest{Name: args[0]})
			if err != nil {
				return err
			}
			spec, err := a.query(q, []string{p.GetSql()})
			if err != nil {
				return err
			}
			spec.Sql, spec.Product, spec.Licence = "", strings.TrimPrefix(p.GetName(), "products/"), p.GetLicence()
			if q.request == "" {
				q.request = uuid.NewString()
			}
			r, err := cl.Follow(c.Context(), &sandgatev1.SubmitJobRequest{Query: spec, RequestId: q.request}, nil)
			if err != nil {
				a.note("request-id: %s", "request-id: %s", q.request)
				return err
			}
			if err := a.release(r); err != nil {
				return err
			}
			a.summary(r)
			return nil
		},
	}
	q.add(c)
	c.Flags().StringVar(&q.request, "request-id", "", "幂等请求号（UUID），默认随机 · idempotency UUID, random when empty")
	return c
}

func (a *app) productDeliverCmd() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "deliver JOB --out FILE.zip",
		Short: "导出交付包：结果、来源与取得日期、方法、误差、授权、回执 · export the package of a delivered product",
		Long: `写出一个 ZIP：answer.csv、answer.json（含每格 95% 区间）、delivery.json（来源、取得日期、方法、授权、回执）、SHA256SUMS。
Writes a ZIP with the answer, its intervals, its sources and when they were acquired, method, licence and receipt (R14).`,
		Example: "  sandgate product deliver jobs/0123456789abcdef0123 --out residents.zip --kit ./kits/alpha",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			d, err := cl.Product.GetDelivery(c.Context(), &sandgatev1.GetDeliveryRequest{Name: args[0]})
			if err != nil {
				return err
			}
			text, err := deliveryPackage(d)
			if err != nil {
				return err
			}
			if err := os.WriteFile(out, text, 0o600); err != nil {
				return texts.Errorf("failed to write package: %w", err)
			}
			a.note("已写出 %s（账本第 %d 条）", "wrote %s (ledger entry %d)", out, d.GetRelease().GetReceipt().GetSeq())
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "交付包文件 package file")
	require(c, "out")
	return c
}

// deliveryPackage is the ZIP of a delivery.
func deliveryPackage(d *sandgatev1.Delivery) ([]byte, error) {
	var csv bytes.Buffer
	sheet := &app{out: &csv, format: "csv", lang: "en"}
	if err := sheet.release(d.GetRelease()); err != nil {
		return nil, err
	}
	pretty := protojson.MarshalOptions{Multiline: true, Indent: "  "}
	answer, err := pretty.Marshal(d.GetRelease())
	if err != nil {
		return nil, texts.Errorf("failed to encode answer: %w", err)
	}
	papers, err := pretty.Marshal(d)
	if err != nil {
		return nil, texts.Errorf("failed to encode delivery: %w", err)
	}
	files := []struct {
		name string
		text []byte
	}{{"answer.csv", csv.Bytes()}, {"answer.json", answer}, {"delivery.json", papers}, {"receipt.json", []byte(d.GetRelease().GetReceipt().GetJson())}}
	var sums strings.Builder
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	put := func(name string, text []byte) error {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write(text)
		}
		return err
	}
	for _, f := range files {
		sum := sha256.Sum256(f.text)
		fmt.Fprintf(&sums, "%s  %s\n", hex.EncodeToString(sum[:]), f.name)
		if err := put(f.name, f.text); err != nil {
			return nil, texts.Errorf("failed to write package: %w", err)
		}
	}
	if err := errors.Join(put("SHA256SUMS", []byte(sums.String())), w.Close()); err != nil {
		return nil, texts.Errorf("failed to write package: %w", err)
	}
	return buf.Bytes(), nil
}
