package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/compute/twin/compare"
	"github.com/sandgate/sandgate/compute/twin/report"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/certificate"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) twinCmd() *cobra.Command {
	c := &cobra.Command{Use: "twin", Short: "合成孪生：部门发布，运营机构免费抽取，没有一行属于任何人 · synthetic twins: published by departments, drawn from freely, not a row that is anyone's"}
	c.AddCommand(a.twinPublishCmd(), a.twinListCmd(), a.twinShowCmd(), a.twinDownloadCmd(), a.twinVerifyCmd(), a.twinSampleCmd(), a.twinCompareCmd(), a.twinRelateCmd())
	return c
}

var twinIDPattern = regexp.MustCompile(`^[0-9a-f]{20}$`)

// twinName is the resource that an argument names: a twin's id, or a data set.
func twinName(arg string) string {
	if strings.Contains(arg, "/") {
		return arg
	}
	if twinIDPattern.MatchString(arg) {
		return "twins/" + arg
	}
	return "datasets/" + arg
}

func (a *app) twinPublishCmd() *cobra.Command {
	req := &sandgatev1.PublishTwinRequest{}
	c := &cobra.Command{
		Use:   "publish DATASET --rho RHO",
		Short: "由数源部门学习并发布数据集的孪生 · have a twin of a data set learned and published, as its department",
		Long: `价格记在部门自己的账上，受理时一次扣减，之后不退还，也不再扣。中断后用同一 --request 再次执行，即接着等待同一孪生。
预算不足以学习列对时只发布单列分布，并予说明。披露规则须写 twin:（docs/twin.md）。
The price is debited from the department's own account once, when the twin is let in. Run again with the same --request, the command goes
on waiting for the same twin. Where the budget is too small for pairs of columns the twin holds the distribution of each column, and says
so. The Disclosure needs a rule twin: (docs/twin.md).`,
		Example: `  sandgate twin publish social_insurance --rho 0.02 --rows-per-unit 12 --dry-run --kit ./kits/hrss
  sandgate twin publish social_insurance --rho 0.02 --column scheme --column district --kit ./kits/hrss`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			req.Dataset = args[0]
			hint := func() {}
			if req.GetRequestId() == "" {
				req.RequestId = uuid.NewString()
				hint = sync.OnceFunc(func() {
					a.note("请求号 %s；中断后加 --request 续等", "request %s; if interrupted, go on with --request", req.GetRequestId())
				})
			}
			return a.withClient(func(cl *client.Client) error {
				said := ""
				t, err := cl.Publish(c.Context(), req, func(now *sandgatev1.Twin) {
					hint()
					line := fmt.Sprintf("%s %s %d/%d", client.TwinID(now.GetName()), a.t("学习", "learning"), now.GetPassesDone(), now.GetPasses())
					if line != said {
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
				return a.published(t, req.GetValidateOnly())
			})
		},
	}
	f := c.Flags()
	f.StringVar(&req.Rho, "rho", "", "价格 ρ price")
	f.StringSliceVar(&req.Columns, "column", nil, "只学习这些列，可重复；默认全部入库的列 · columns to take, repeatable; all that are stored by default")
	f.StringSliceVar(&req.PerUnit, "per-unit", nil, "同一单元各行取值相同的列，可重复 · columns of which all rows of a unit hold the same value, repeatable")
	f.Int32Var(&req.RowsPerUnit, "rows-per-unit", 0, "每单元最多用多少行，默认 1 · most rows of a unit that are used, 1 by default")
	f.BoolVar(&req.ValidateOnly, "dry-run", false, "只说明将读取什么、花费多少，不收费 · only tell what it would read and cost")
	f.StringVar(&req.RequestId, "request", "", "请求号 UUID，重试时重复 · request id, repeated by a retry")
	require(c, "rho")
	return c
}

// published shows an ended twin, or what one would be; one that was refused or failed
// ends the command as refused.
func (a *app) published(t *sandgatev1.Twin, dry bool) error {
	if err := a.showTwin(t); err != nil {
		return err
	}
	for _, r := range t.GetReasons() {
		a.note("✗ %s: %s", "✗ %s: %s", r.GetCode(), reasonText(r, a.lang))
	}
	switch {
	case len(t.GetReasons()) > 0:
		return &silentError{exitRefused}
	case dry:
		a.note("✓ 现在可以发布；没有收费", "✓ it may be published now; nothing was charged")
		return nil
	}
	a.note("已发布；价格 ρ %s，账本第 %d 条", "published; price ρ %s, ledger entry %d", rho(t.GetPriceNanoRho()), t.GetReceipt().GetSeq())
	if t.GetMarginalsOnly() {
		a.note("预算不足以学习列对：孪生只含单列分布，列与列之间没有关系", "the budget was too small for pairs of columns: the twin holds the distribution of each column and no relation between them")
	}
	return nil
}

// showTwin shows one twin: what it is, then its quality.
func (a *app) showTwin(t *sandgatev1.Twin) error {
	return a.handOut(func(a *app) []sheetOf { return a.twinSheets(t) }, func() error { return a.proto(t) },
		paper{source: fmt.Sprintf(a.t("账本第 %d 条", "ledger entry %d"), t.GetSeq())})
}

func (a *app) twinState(t *sandgatev1.Twin) string {
	code := strings.TrimPrefix(t.GetState().String(), "STATE_")
	switch {
	case t.GetState() == sandgatev1.Twin_STATE_UNSPECIFIED:
		return ""
	case t.GetStale() != nil && a.format == "table":
		return a.t("已过期", "stale")
	case a.state(code) != code:
		return a.state(code)
	}
	return strings.ToLower(code)
}

func (a *app) twinSheets(t *sandgatev1.Twin) []sheetOf {
	head := sheetOf{Title: a.t("合成孪生", "Synthetic twin"), Header: []string{a.head("项目", "item"), a.head("内容", "value")}}
	put := func(zh, en, v string) {
		if v != "" {
			head.Body = append(head.Body, []string{a.head(zh, en), v})
		}
	}
	put("编号", "twin", client.TwinID(t.GetName()))
	put("数据集", "dataset", t.GetDataset())
	put("部门", "department", t.GetDepartment())
	put("状态", "state", a.twinState(t))
	if x := t.GetStale(); x != nil {
		put("过期", "stale", x.GetCode()+": "+reasonText(x, a.lang))
	}
	put("价格 ρ", "price", rho(t.GetPriceNanoRho()))
	if t.GetState() == sandgatev1.Twin_STATE_PUBLISHED {
		put("其中已用 ρ", "spent", rho(t.GetSpentNanoRho()))
		put("单元（加噪）", "units", itoa(t.GetUnits()))
		if t.GetMarginalsOnly() {
			put("只含单列分布", "marginals_only", a.t("预算不足以学习列对", "the budget was too small for pairs of columns"))
		}
	}
	put("学习的列", "columns", join(t.GetColumns()))
	put("编造的列", "made_up", join(t.GetGenerated()))
	put("每单元行数", "rows_per_unit", itoa(int64(t.GetRowsPerUnit())))
	put("结构摘要", "schema", t.GetSchemaDigest())
	put("孪生摘要", "document", t.GetDocumentDigest())
	sheets := []sheetOf{head}
	if len(t.GetQuality()) == 0 {
		return sheets
	}
	quality := sheetOf{Title: a.t("质量：与真实数据的总变差距离，% · 只由加噪的和得出，不另花预算", "Quality: total variation distance to the data, in % · from noised sums alone, at no further cost"), right: []int{2, 3, 4},
		Header: []string{a.head("分布", "tables"), a.head("统计", "figure"), a.head("下限", "low"), a.head("估计", "about"), a.head("上限", "high")}}
	for _, q := range t.GetQuality() {
		tables, of := q.GetTables(), q.GetOf()
		if a.format == "table" {
			tables = map[string]string{"one_way": a.t("单列", "single columns"), "two_way": a.t("列对", "pairs of columns")}[tables]
			of = map[string]string{"mean": a.t("平均", "mean"), "worst": a.t("最差", "worst")}[of]
		}
		quality.Body = append(quality.Body, []string{tables, of, percent(q.GetLow()), percent(q.GetAbout()), percent(q.GetHigh())})
	}
	return append(sheets, quality)
}

// percent renders ten-thousandths.
func percent(n int64) string { return strconv.FormatFloat(float64(n)/100, 'f', 2, 64) }

func (a *app) twinListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "列出孪生，新的在前；运营机构见其获授权数据集的 · list twins, newest first",
		Example: "  sandgate twin list --kit ./kits/alpha",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withClient(func(cl *client.Client) error {
				head := []string{a.head("孪生", "twin"), a.head("数据集", "dataset"), a.head("部门", "department"), a.head("状态", "state"), a.head("现行", "current"), a.head("过期", "stale"),
					a.head("价格 ρ", "price"), a.head("单元", "units"), a.head("只含单列", "marginals_only"), a.head("账本", "entry"), a.head("原因", "reason")}
				var body [][]string
				req := &sandgatev1.ListTwinsRequest{PageSize: 200}
				for {
					resp, err := cl.Twin.ListTwins(c.Context(), req)
					if err != nil {
						return err
					}
					for _, t := range resp.GetTwins() {
						var reasons []string
						for _, r := range t.GetReasons() {
							reasons = append(reasons, r.GetCode())
						}
						body = append(body, []string{client.TwinID(t.GetName()), t.GetDataset(), t.GetDepartment(), a.twinState(t), a.yesNo(t.GetCurrent()), a.yesNo(t.GetStale() != nil),
							rho(t.GetPriceNanoRho()), itoa(t.GetUnits()), a.yesNo(t.GetMarginalsOnly()), strconv.FormatUint(t.GetSeq(), 10), strings.Join(reasons, " ")})
					}
					if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
						break
					}
				}
				related, err := a.relatedRows(c.Context(), cl)
				if err != nil {
					return err
				}
				return a.rows(head, append(body, related...), 6, 7, 9)
			})
		},
	}
}

func (a *app) twinShowCmd() *cobra.Command {
	var page, with string
	c := &cobra.Command{
		Use:   "show DATASET|TWIN|DATASET+DATASET",
		Short: "查看孪生：价格、列、质量、是否过期 · show a twin: price, columns, quality, whether it is stale",
		Example: `  sandgate twin show social_insurance --kit ./kits/alpha
  sandgate twin show social_insurance --page quality.html --kit ./kits/alpha
  sandgate twin show population+social_insurance --kit ./kits/alpha
  sandgate twin show social_insurance --page quality.html --with compared.json --kit ./kits/alpha
  sandgate twin show social_insurance -o json --kit ./kits/hrss`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if isRelated(args[0]) {
				if page != "" {
					return usageError{texts.Errorf("a page is about one twin; name a data set or a twin")}
				}
				return a.showRelated(c.Context(), args[0])
			}
			if with != "" && page == "" {
				return usageError{errors.New(a.t("--with 与 --page 同用", "--with goes with --page"))}
			}
			if page != "" {
				if err := a.twinPage(c.Context(), args[0], page, with); err != nil {
					return err
				}
			}
			return a.withClient(func(cl *client.Client) error {
				t, err := cl.Twin.GetTwin(c.Context(), &sandgatev1.GetTwinRequest{Name: twinName(args[0])})
				if err != nil {
					return err
				}
				if err := a.showTwin(t); err != nil {
					return err
				}
				for _, r := range t.GetReasons() {
					a.note("%s: %s", "%s: %s", r.GetCode(), reasonText(r, a.lang))
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&page, "page", "", "另写一份质量报告网页，含图 also write a page on its quality, with plots")
	c.Flags().StringVar(&with, "with", "", "网页中另示 twin compare -o json 的比较 · a comparison that the page also shows, of twin compare -o json")
	return c
}

// twinPage writes the page on a twin's quality, of its verified document, and of a
// comparison where one is named.
func (a *app) twinPage(ctx context.Context, arg, page, with string) error {
	_, document, x, err := a.fetchTwin(ctx, arg)
	if err != nil {
		return err
	}
	t, err := x.Document(document)
	if err != nil {
		return err
	}
	var compared *compare.Report
	if with != "" {
		if compared, err = comparison(with, t.Dataset, x.Outcome.Document); err != nil {
			return err
		}
	}
	text, err := report.Page{Twin: t, Compared: compared, Lines: []report.Line{
		{ZH: "部门", EN: "department", Value: x.Department}, {ZH: "编号", EN: "twin", Value: x.Twin},
		{ZH: "发布于", EN: "published", Value: policies.Clock(time.UnixMilli(x.At))}, {ZH: "账本", EN: "ledger entry", Value: fmt.Sprintf("%s %d", x.Origin, x.Seq)},
		{ZH: "价格 ρ", EN: "price ρ", Value: rho(x.PriceNanoRho)},
	}}.HTML(a.lang)
	if err != nil {
		return err
	}
	if err := os.WriteFile(page, text, 0o600); err != nil {
		return texts.Errorf("failed to write page: %w", err)
	}
	return nil
}

func (a *app) twinDownloadCmd() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:     "download DATASET|TWIN|DATASET+DATASET --out FILE",
		Short:   "取得孪生及其签名合格证，此后抽取不需网关 · get a twin with its signed certificate; drawing needs no gateway from then on",
		Example: "  sandgate twin download social_insurance --out social_insurance.twin --kit ./kits/alpha",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if isRelated(args[0]) {
				return a.downloadRelated(c.Context(), args[0], out)
			}
			envelope, document, x, err := a.fetchTwin(c.Context(), args[0])
			if err != nil {
				return err
			}
			if err := os.WriteFile(out, certificate.TwinFile(envelope, document), 0o600); err != nil {
				return texts.Errorf("failed to write twin: %w", err)
			}
			a.note("已写出 %s（孪生 %s，账本第 %d 条）；下一步: sandgate twin sample --file %[1]s --trust trust.json", "wrote %s (twin %s, ledger entry %d); next: sandgate twin sample --file %[1]s --trust trust.json", out, x.Twin, x.Seq)
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "输出文件 output file")
	require(c, "out")
	return c
}

// fetchTwin downloads a twin and holds its document to its certificate, and that to the
// key that the gateway, whom the connection pins, signs by.
func (a *app) fetchTwin(ctx context.Context, arg string) (envelope, document []byte, x *certificate.Twin, err error) {
	err = a.withClient(func(cl *client.Client) error {
		envelope, document, x, err = a.fetchTwinBy(ctx, cl, arg)
		return err
	})
	return envelope, document, x, err
}

func (a *app) fetchTwinBy(ctx context.Context, cl *client.Client, arg string) (envelope, document []byte, x *certificate.Twin, err error) {
	got, err := cl.Twin.DownloadTwin(ctx, &sandgatev1.DownloadTwinRequest{Name: twinName(arg)})
	if err != nil {
		return nil, nil, nil, err
	}
	key, err := policies.ParseKey(got.GetKey())
	if err != nil {
		return nil, nil, nil, err
	}
	envelope, document = got.GetEnvelope(), got.GetDocument()
	if x, err = certificate.OpenTwin(envelope, key); err != nil {
		return nil, nil, nil, err
	}
	if r := got.GetStale(); r != nil {
		a.note("! %s: %s", "! %s: %s", r.GetCode(), reasonText(r, a.lang))
	}
	_, err = x.Document(document)
	return envelope, document, x, err
}

func (a *app) twinVerifyCmd() *cobra.Command {
	var trust, dir string
	c := &cobra.Command{
		Use:   "verify FILE --trust TRUST [--ledger DIR]",
		Short: "离线核验孪生文件与合格证 · verify a twin's file and certificate offline",
		Long: `核对合格证的签名、孪生的散列与其内容。只有 --trust 时，以信任文件中的回执公钥核对；网关更换过回执密钥的，加 --ledger（账本副本）。
--ledger 另重放账本，核对其中的记录。不成立时退出码为 4。
Checks the certificate's signature, the twin's digest and what is said of it. With --trust alone the receipt key of the trust file counts;
where the gateway has changed that key, give --ledger, a copy of the ledger, which is also replayed for the entry. Exit code 4 when it
does not hold.`,
		Example: "  sandgate twin verify social_insurance.twin --trust trust.json --ledger ./ledger-copy",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if text, err := readCapped(args[0], certificate.MaxRelationsFile); err == nil && certificate.IsRelationsFile(text) {
				return a.verifyRelated(c.Context(), text, trust, dir)
			}
			x, t, err := a.openTwinFile(c.Context(), args[0], trust, dir)
			var broken *brokenTwin
			if errors.As(err, &broken) {
				a.say("孪生文件不成立: %s", "the twin's file does not hold: %s", a.said(broken.error))
				return &silentError{exitAuditFailed}
			}
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.json(x)
			}
			a.say("孪生成立: 数据集 %s，孪生 %s，ρ %s，账本第 %d 条，%s", "the twin holds: data set %s, twin %s, ρ %s, ledger entry %d, %s", t.Dataset, x.Twin, x.Outcome.Rho, x.Seq, policies.Clock(time.UnixMilli(x.At)))
			return nil
		},
	}
	c.Flags().StringVar(&trust, "trust", "", "信任文件 trust.json from the regulator's kit")
	c.Flags().StringVar(&dir, "ledger", "", "账本副本目录 directory of a copied ledger")
	return c
}

// brokenTwin is a file that was read and does not hold.
type brokenTwin struct{ error }

// openTwinFile reads a downloaded file and verifies it offline.
func (a *app) openTwinFile(ctx context.Context, file, trust, dir string) (*certificate.Twin, *twin.Twin, error) {
	if trust == "" && dir == "" {
		return nil, nil, usageError{texts.Errorf("give --trust, the trust.json that the regulator hands out: without it nobody says whose signature a twin's file needs")}
	}
	text, err := readCapped(file, certificate.MaxTwinFile)
	if err != nil {
		return nil, nil, err
	}
	opt, err := auditOptions(trust, nil, nil)
	if err != nil {
		return nil, nil, err
	}
	envelope, document, err := certificate.CutTwinFile(text)
	if err != nil {
		return nil, nil, &brokenTwin{err}
	}
	by, err := trustedOf(ctx, opt, dir)
	if err != nil {
		return nil, nil, err
	}
	x, err := by.twin(envelope)
	if err != nil {
		return nil, nil, err
	}
	t, err := x.Document(document)
	if err != nil {
		return nil, nil, &brokenTwin{err}
	}
	return x, t, nil
}

// trusted is what certificates are checked by: the keys of a gateway and, where a copy of
// its ledger was replayed, the entries.
type trusted struct {
	origin  string
	keys    []ed25519.PublicKey
	entries map[uint64]*entry.Entry // nil: no copy was given
}

// trustedOf takes the key of a trust file, or replays a copy of the ledger.
func trustedOf(ctx context.Context, opt audit.Options, dir string) (*trusted, error) {
	if dir == "" {
		key, err := policies.ParseKey(opt.Trust.ReceiptKey)
		if err != nil {
			return nil, err
		}
		return &trusted{origin: opt.Trust.Origin, keys: []ed25519.PublicKey{key}}, nil
	}
	by := &trusted{entries: map[uint64]*entry.Entry{}}
	opt.Visit = func(e *entry.Entry, _ []byte) error {
		if e.Kind == entry.KindTwinPublished || e.Kind == entry.KindRelationsPublished {
			by.entries[e.Seq] = e
		}
		return nil
	}
	r, err := audit.Run(ctx, dir, opt)
	if err != nil {
		return nil, err
	}
	if !r.OK {
		return nil, &brokenTwin{texts.Errorf("the copy of the ledger does not pass its audit (sandgate audit)")}
	}
	by.origin = r.Origin
	for _, k := range r.State.ReceiptKeys() {
		by.keys = append(by.keys, k.Key)
	}
	return by, nil
}

// twin checks the envelope of a twin's certificate.
func (t *trusted) twin(envelope []byte) (*certificate.Twin, error) {
	x, err := certificate.OpenTwin(envelope, t.keys...)
	if err != nil {
		return nil, &brokenTwin{err}
	}
	return x, t.holds(x.Origin, x.Seq, x.Matches)
}

// holds checks the rest of a certificate: its ledger and, where there is a copy, its entry.
func (t *trusted) holds(origin string, seq uint64, matches func(*entry.Entry) error) error {
	if t.entries == nil {
		if origin != t.origin {
			return &brokenTwin{texts.Errorf("the certificate is of another ledger than the trust file")}
		}
		return nil
	}
	e := t.entries[seq]
	if e == nil || origin != t.origin {
		return &brokenTwin{texts.Errorf("the ledger does not hold the certificate's entry")}
	}
	if err := matches(e); err != nil {
		return &brokenTwin{err}
	}
	return nil
}
