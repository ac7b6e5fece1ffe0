package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/compute/twin"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/certificate"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/policies"
)

var relationsIDPattern = regexp.MustCompile(`^[0-9a-f]{24}$`)

// isRelated says whether an argument names relations: their id, or data sets with + between.
func isRelated(arg string) bool {
	return relationsIDPattern.MatchString(arg) || strings.Contains(arg, "+") || strings.HasPrefix(arg, "relations/")
}

// relationsName is the resource that such an argument names.
func relationsName(arg string) string {
	switch {
	case strings.Contains(arg, "/"):
		return arg
	case relationsIDPattern.MatchString(arg):
		return "relations/" + arg
	}
	return "datasets/" + arg
}

// relatedTo are the data sets of relations, as they are named on the command line.
func relatedTo(r *sandgatev1.Relations) string {
	var ids []string
	for _, t := range r.GetTables() {
		ids = append(ids, t.GetDataset())
	}
	return strings.Join(ids, "+")
}

func (a *app) twinRelateCmd() *cobra.Command {
	req := &sandgatev1.RelateTwinsRequest{}
	var links []string
	c := &cobra.Command{
		Use:   "relate DATASET DATASET... --rho RHO",
		Short: "学习并发布几个孪生之间的跨表关系 · have what ties several twins by the unit learned and published",
		Long: `各数据集先各自发布孪生；每个数据集的规则须在 twin.relate 中列出其余各个，由其中一个数据集的部门提出。
价格记在每个数据集自己的账上（其部门的年度账，以及数据集的年度与终身预算），受理时一次扣减，不退还。
Each data set has a published twin; the rule of each names all others in twin.relate, and the department of one of them asks. The price
is debited from every data set's own account (its department's year, and the data set's year and lifetime) once, and never given back.`,
		Example: `  sandgate twin relate population social_insurance --rho 0.01 --dry-run --kit ./kits/hrss
  sandgate twin relate population social_insurance --rho 0.01 --link population.birth_date --link population.district --kit ./kits/hrss`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			for _, id := range args {
				t := &sandgatev1.RelatedTable{Dataset: id}
				for _, l := range links {
					if dataset, column, _ := strings.Cut(l, "."); dataset == id {
						t.Link = append(t.Link, column)
					}
				}
				req.Tables = append(req.Tables, t)
			}
			named := 0
			for _, t := range req.GetTables() {
				named += len(t.GetLink())
			}
			if named != len(links) {
				return usageError{texts.Errorf("a column that may tie is written DATASET.COLUMN, of one of the data sets")}
			}
			hint := func() {}
			if req.GetRequestId() == "" {
				req.RequestId = uuid.NewString()
				hint = sync.OnceFunc(func() {
					a.note("请求号 %s；中断后加 --request 续等", "request %s; if interrupted, go on with --request", req.GetRequestId())
				})
			}
			return a.withClient(func(cl *client.Client) error {
				said := ""
				r, err := cl.Relate(c.Context(), req, func(now *sandgatev1.Relations) {
					hint()
					line := fmt.Sprintf("%s %s %d/%d", client.RelationsID(now.GetName()), a.t("学习", "learning"), now.GetPassesDone(), now.GetPasses())
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
				return a.related(r, req.GetValidateOnly())
			})
		},
	}
	f := c.Flags()
	f.StringVar(&req.Rho, "rho", "", "价格 ρ，每个数据集各扣一份 · price, debited for every data set")
	f.StringSliceVar(&links, "link", nil, "只以这些列相系，写作 数据集.列，可重复；默认孪生的全部列 · columns that may tie, as DATASET.COLUMN, repeatable; all of the twin by default")
	f.BoolVar(&req.ValidateOnly, "dry-run", false, "只说明能否发布、花费多少，不收费 · only tell whether it may be and what it would cost")
	f.StringVar(&req.RequestId, "request", "", "请求号 UUID，重试时重复 · request id, repeated by a retry")
	require(c, "rho")
	return c
}

// related shows ended relations, or what they would be; those that were refused or failed
// end the command as refused.
func (a *app) related(r *sandgatev1.Relations, dry bool) error {
	if err := a.showRelations(r); err != nil {
		return err
	}
	for _, x := range r.GetReasons() {
		a.note("✗ %s: %s", "✗ %s: %s", x.GetCode(), reasonText(x, a.lang))
	}
	switch {
	case len(r.GetReasons()) > 0:
		return &silentError{exitRefused}
	case dry:
		a.note("✓ 现在可以发布；没有收费", "✓ they may be published now; nothing was charged")
		return nil
	}
	a.note("已发布；价格 ρ %s，记在 %d 个数据集各自的账上，账本第 %d 条", "published; price ρ %s from the account of each of the %d data sets, ledger entry %d", rho(r.GetPriceNanoRho()), len(r.GetTables()), r.GetReceipt().GetSeq())
	return nil
}

func (a *app) showRelations(r *sandgatev1.Relations) error {
	return a.handOut(func(a *app) []sheetOf { return a.relationsSheets(r) }, func() error { return a.proto(r) },
		paper{source: fmt.Sprintf(a.t("账本第 %d 条", "ledger entry %d"), r.GetSeq())})
}

// relationsState is the state of relations as a twin's.
func (a *app) relationsState(r *sandgatev1.Relations) string {
	return a.twinState(&sandgatev1.Twin{State: r.GetState(), Stale: r.GetStale()})
}

func (a *app) relationsSheets(r *sandgatev1.Relations) []sheetOf {
	head := sheetOf{Title: a.t("跨表关系", "Relations across tables"), Header: []string{a.head("项目", "item"), a.head("内容", "value")}}
	put := func(zh, en, v string) {
		if v != "" {
			head.Body = append(head.Body, []string{a.head(zh, en), v})
		}
	}
	put("编号", "relations", client.RelationsID(r.GetName()))
	put("提出部门", "asked_by", r.GetDepartment())
	put("状态", "state", a.relationsState(r))
	if x := r.GetStale(); x != nil {
		put("过期", "stale", x.GetCode()+": "+reasonText(x, a.lang))
	}
	put("价格 ρ", "price", rho(r.GetPriceNanoRho()))
	if r.GetState() == sandgatev1.Twin_STATE_PUBLISHED {
		put("单元（加噪）", "units", itoa(r.GetUnits()))
	}
	put("文件摘要", "document", r.GetDocumentDigest())
	tables := sheetOf{Title: a.t("相系的数据集，价格各扣一份", "Data sets that are tied, each debited the price"),
		Header: []string{a.head("数据集", "dataset"), a.head("部门", "department"), a.head("孪生", "twin"), a.head("可相系的列", "link")}}
	for _, t := range r.GetTables() {
		link := join(t.GetLink())
		if len(t.GetLink()) == 0 {
			link = a.t("孪生的全部列", "all of the twin")
		}
		tables.Body = append(tables.Body, []string{t.GetDataset(), t.GetDepartment(), t.GetTwin(), link})
	}
	sheets := []sheetOf{head, tables}
	if len(r.GetQuality()) == 0 {
		return sheets
	}
	quality := sheetOf{Title: a.t("质量：跨表列对与真实数据的总变差距离，% · 只由加噪的和得出，不另花预算", "Quality: total variation distance of pairs across tables to the data, in % · from noised sums alone, at no further cost"), right: []int{2, 3, 4},
		Header: []string{a.head("分布", "tables"), a.head("统计", "figure"), a.head("下限", "low"), a.head("估计", "about"), a.head("上限", "high")}}
	for _, q := range r.GetQuality() {
		tables, of := q.GetTables(), q.GetOf()
		if a.format == "table" {
			tables = a.t("跨表列对", "pairs across tables")
			of = map[string]string{"mean": a.t("平均", "mean"), "worst": a.t("最差", "worst")}[of]
		}
		quality.Body = append(quality.Body, []string{tables, of, percent(q.GetLow()), percent(q.GetAbout()), percent(q.GetHigh())})
	}
	return append(sheets, quality)
}

// relatedRows are relations in a list of twins.
func (a *app) relatedRows(ctx context.Context, cl *client.Client) ([][]string, error) {
	var body [][]string
	req := &sandgatev1.ListRelationsRequest{PageSize: 200}
	current := map[string]bool{}
	for {
		resp, err := cl.Relations.ListRelations(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, r := range resp.GetRelations() {
			var reasons []string
			for _, x := range r.GetReasons() {
				reasons = append(reasons, x.GetCode())
			}
			over := relatedTo(r)
			last := r.GetState() == sandgatev1.Twin_STATE_PUBLISHED && !current[over]
			current[over] = current[over] || last
			body = append(body, []string{client.RelationsID(r.GetName()), over, r.GetDepartment(), a.relationsState(r), a.yesNo(last), a.yesNo(r.GetStale() != nil),
				rho(r.GetPriceNanoRho()), itoa(r.GetUnits()), "", strconv.FormatUint(r.GetSeq(), 10), strings.Join(reasons, " ")})
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return body, nil
		}
	}
}

func (a *app) showRelated(ctx context.Context, arg string) error {
	return a.withClient(func(cl *client.Client) error {
		r, err := cl.Relations.GetRelations(ctx, &sandgatev1.GetRelationsRequest{Name: relationsName(arg)})
		if err != nil {
			return err
		}
		if err := a.showRelations(r); err != nil {
			return err
		}
		for _, x := range r.GetReasons() {
			a.note("%s: %s", "%s: %s", x.GetCode(), reasonText(x, a.lang))
		}
		return nil
	})
}

// relatedTwins is a verified file of relations: what ties the twins, and the twins.
type relatedTwins struct {
	certificate  *certificate.Relations
	relations    *twin.Relations
	certificates []*certificate.Twin
	twins        []*twin.Twin
}

// open verifies a file of relations: its certificate, those of all its twins, and that the
// documents are those that they name.
func (t *trusted) open(file []byte) (*relatedTwins, error) {
	envelope, document, files, err := certificate.CutRelationsFile(file)
	if err != nil {
		return nil, &brokenTwin{err}
	}
	out := &relatedTwins{}
	if out.certificate, err = certificate.OpenRelations(envelope, t.keys...); err != nil {
		return nil, &brokenTwin{err}
	}
	if err := t.holds(out.certificate.Origin, out.certificate.Seq, out.certificate.Matches); err != nil {
		return nil, err
	}
	var documents [][]byte
	for _, f := range files {
		envelope, document, err := certificate.CutTwinFile(f)
		if err != nil {
			return nil, &brokenTwin{err}
		}
		x, err := t.twin(envelope)
		if err != nil {
			return nil, err
		}
		if _, err := x.Document(document); err != nil {
			return nil, &brokenTwin{err}
		}
		out.certificates, documents = append(out.certificates, x), append(documents, document)
	}
	if out.relations, out.twins, err = out.certificate.Document(document, documents); err != nil {
		return nil, &brokenTwin{err}
	}
	for i, x := range out.certificates {
		if x.Twin != out.certificate.Tables[i].Twin {
			return nil, &brokenTwin{texts.Errorf("the file holds another twin than its relations tie")}
		}
	}
	return out, nil
}

// fetchRelated downloads relations with all their twins and verifies them by the key that
// the gateway, whom the connection pins, signs by.
func (a *app) fetchRelated(ctx context.Context, arg string) (file []byte, x *relatedTwins, err error) {
	err = a.withClient(func(cl *client.Client) error {
		got, err := cl.Relations.DownloadRelations(ctx, &sandgatev1.DownloadRelationsRequest{Name: relationsName(arg)})
		if err != nil {
			return err
		}
		key, err := policies.ParseKey(got.GetKey())
		if err != nil {
			return err
		}
		if r := got.GetStale(); r != nil {
			a.note("! %s: %s", "! %s: %s", r.GetCode(), reasonText(r, a.lang))
		}
		by := &trusted{keys: []ed25519.PublicKey{key}}
		c, err := certificate.OpenRelations(got.GetEnvelope(), key)
		if err != nil {
			return err
		}
		by.origin = c.Origin
		var twins [][]byte
		for _, t := range c.Tables {
			f, err := cl.Twin.DownloadTwin(ctx, &sandgatev1.DownloadTwinRequest{Name: "twins/" + t.Twin})
			if err != nil {
				return err
			}
			twins = append(twins, certificate.TwinFile(f.GetEnvelope(), f.GetDocument()))
		}
		file = certificate.RelationsFile(got.GetEnvelope(), got.GetDocument(), twins)
		x, err = by.open(file)
		return err
	})
	return file, x, err
}

func (a *app) downloadRelated(ctx context.Context, arg, out string) error {
	file, x, err := a.fetchRelated(ctx, arg)
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, file, 0o600); err != nil {
		return texts.Errorf("failed to write twin: %w", err)
	}
	a.note("已写出 %s（跨表关系 %s 与 %d 个孪生，账本第 %d 条）；下一步: sandgate twin sample --relations %[1]s --trust trust.json --out 目录",
		"wrote %s (relations %s and %d twins, ledger entry %d); next: sandgate twin sample --relations %[1]s --trust trust.json --out DIR", out, x.certificate.Relations, len(x.twins), x.certificate.Seq)
	return nil
}

// openRelated verifies a file of relations offline.
func (a *app) openRelated(ctx context.Context, file []byte, trust, dir string) (*relatedTwins, error) {
	if trust == "" && dir == "" {
		return nil, usageError{texts.Errorf("give --trust, the trust.json that the regulator hands out: without it nobody says whose signature a twin's file needs")}
	}
	opt, err := auditOptions(trust, nil, nil)
	if err != nil {
		return nil, err
	}
	by, err := trustedOf(ctx, opt, dir)
	if err != nil {
		return nil, err
	}
	return by.open(file)
}

func (a *app) verifyRelated(ctx context.Context, file []byte, trust, dir string) error {
	x, err := a.openRelated(ctx, file, trust, dir)
	if broken := asBroken(err); broken != nil {
		a.say("跨表关系的文件不成立: %s", "the file of relations does not hold: %s", a.said(broken.error))
		return &silentError{exitAuditFailed}
	}
	if err != nil {
		return err
	}
	if a.format == "json" {
		return a.json(x.certificate)
	}
	c := x.certificate
	a.say("跨表关系成立: 数据集 %s，编号 %s，ρ %s，账本第 %d 条，%s", "the relations hold: data sets %s, relations %s, ρ %s, ledger entry %d, %s", strings.Join(c.Spec.Datasets(), "+"), c.Relations, c.Outcome.Rho, c.Seq, policies.Clock(time.UnixMilli(c.At)))
	return nil
}

// asBroken is an error about a file that was read and does not hold; nil for any other.
func asBroken(err error) *brokenTwin {
	var broken *brokenTwin
	if errors.As(err, &broken) {
		return broken
	}
	return nil
}

// tiedSample is what is drawn of relations: all tables, a file for each.
type tiedSample struct {
	args                                   []string
	file, trust, ledger, seed, format, out string
	units                                  int64
}

// tiedTable draws one table of relations.
type tiedTable struct {
	certificate *certificate.Relations
	linked      *twin.Linked
	table       int
}

func (t *tiedTable) source() rowSource {
	return rowSource{t.linked.Names(t.table), func(from uint64, units int) (twin.Rows, []int64, error) {
		rows, err := t.linked.Rows(t.table, from, units)
		numbers := make([]int64, len(rows.Numbers))
		for i, n := range rows.Numbers {
			numbers[i] = int64(n)
		}
		return rows.Rows, numbers, err
	}}
}

// sampleTied draws all tables of relations into a directory.
func (a *app) sampleTied(ctx context.Context, s tiedSample) error {
	if s.out == "" {
		return usageError{texts.Errorf("tables that are tied need --out, a directory")}
	}
	if s.format == "" {
		s.format = "csv"
	}
	kind, err := sampleFormat(s.format, s.out)
	if err != nil {
		return err
	}
	var x *relatedTwins
	if s.file != "" {
		text, rerr := readCapped(s.file, certificate.MaxRelationsFile)
		if rerr != nil {
			return rerr
		}
		x, err = a.openRelated(ctx, text, s.trust, s.ledger)
	} else {
		_, x, err = a.fetchRelated(ctx, s.args[0])
	}
	if broken := asBroken(err); broken != nil {
		a.note("跨表关系的文件不成立: %s", "the file of relations does not hold: %s", a.said(broken.error))
		return &silentError{exitAuditFailed}
	}
	if err != nil {
		return err
	}
	linked, err := twin.NewLinked(x.relations, x.twins, []byte(s.seed))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.out, 0o700); err != nil {
		return texts.Errorf("failed to create directory: %w", err)
	}
	for i, t := range x.twins {
		d := &drawing{twin: t, certificate: x.certificates[i], seed: s.seed, units: s.units, tied: &tiedTable{x.certificate, linked, i}}
		path := filepath.Join(s.out, t.Dataset+"."+kind)
		n, err := a.sample(d, kind, path)
		if err != nil {
			return err
		}
		a.note("%s: 合成数据 %d 行，以跨表关系 %s 相系（种子 %s）：没有一行属于任何人", "%s: %d synthetic rows, tied by relations %s (seed %s): not one that is anyone's", path, n, x.certificate.Relations, s.seed)
	}
	return nil
}
