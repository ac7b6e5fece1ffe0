package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) verifyCmd() *cobra.Command {
	c := &cobra.Command{Use: "verify", Short: "核验：就一名已同意的数据主体问一个经审查的问题 · ask a reviewed question about one consenting subject"}
	c.AddCommand(a.verifyDraftCmd(), a.verifyRunCmd(), a.verifyShowCmd(), a.verifyListCmd())
	return c
}

func (a *app) verifyDraftCmd() *cobra.Command {
	var p policies.Product
	var q policies.VerificationPredicate
	var op, out string
	c := &cobra.Command{
		Use:   "draft --id ID --title-zh TITLE --dataset ID --column NAME --op OP",
		Short: "拟核验产品文件，供签名登记 · write the document of a verification product, to be signed and filed",
		Long: `谓词 op：equals 申报值与所存值相同；at_least、less_than 与登记网格上的界限比较；in_list 在所列代码之内；exists 有值；valid_on 请求之日在两日期列之间。
之后用 policy sign 签名、policy apply 登记，数源部门和主管部门用 product review 审查。
Predicates: equals (the claim is what is stored), at_least and less_than (a threshold of the registered grid), in_list (codes), exists,
valid_on (the day of the request lies between two date columns). Sign and file it; the department and the regulator review it.`,
		Example: `  sandgate verify draft --id adult --title-zh 已成年 --dataset population --column birth_date --op less_than --threshold 2005 --licence alpha-2026 --purpose urban_planning --out adult.yaml --kit ./kits/alpha`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			k, err := a.kit()
			if err != nil {
				return err
			}
			q.Op, p.Operator, p.Job, p.Predicate = policies.PredicateOp(op), k.Party, policies.JobVerification, &q
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
	f := c.Flags()
	f.StringVar(&p.ID, "id", "", "产品编号 product id")
	f.StringVar(&p.Title.ZH, "title-zh", "", "中文名称 title in Chinese")
	f.StringVar(&p.Title.EN, "title-en", "", "英文名称 title in English")
	f.StringVar(&p.Licence, "licence", os.Getenv("SANDGATE_LICENCE"), "授权编号 licence id (or SANDGATE_LICENCE)")
	f.StringSliceVar(&p.Purposes, "purpose", purposeDefault(), "用途，可重复 purpose, repeatable (or SANDGATE_PURPOSE)")
	f.StringVar(&q.Dataset, "dataset", "", "数据集 data set")
	f.StringArrayVar(&q.Columns, "column", nil, "列；valid_on 依次为起、止两列 · column; of valid_on the first and the last day")
	f.StringVar(&op, "op", "", "谓词 predicate: equals|at_least|less_than|in_list|exists|valid_on")
	f.StringVar(&q.Threshold, "threshold", "", "登记网格上的界限（按入库后的值）· edge of the registered grid, as stored")
	f.StringSliceVar(&q.Codes, "code", nil, "in_list 的代码，可重复 · code of in_list, repeatable")
	f.StringVar(&out, "out", "", "输出文件，默认标准输出 · output file, standard output by default")
	require(c, "id", "title-zh", "dataset", "column", "op")
	return c
}

func purposeDefault() []string {
	if p := os.Getenv("SANDGATE_PURPOSE"); p != "" {
		return []string{p}
	}
	return nil
}

// verifyFlags are where a question comes from.
type verifyFlags struct {
	licence, purpose, request string
	id, idFile, batch         string
	stdin                     bool
	claim                     string
	claimSet                  bool
	twinFlags
	twin *sandgatev1.TwinRun
}

func (a *app) verifyRunCmd() *cobra.Command {
	v := &verifyFlags{}
	c := &cobra.Command{
		Use:   "run PRODUCT --id-from-stdin|--id-file FILE|--batch FILE.csv",
		Short: "核验一名主体，或按 CSV 逐名核验 · verify one subject, or each of a CSV",
		Long: `答复只有“已证实”与“未能证实”。不符、查无此人、未经同意、本年次数用尽，都答“未能证实”，且在同一时刻答复。
标识从标准输入或文件读取，第二行（如有）是申报值；也可用 --id，但同机的其他用户可从进程列表看到。
CSV 每行一名：标识[,申报值]；首行是 id 或 id,claim 时为表头。输出按行序，不含标识；中断后用 --request 续跑，已答的不再计数。
The answer is confirmed or not confirmed; false, not found, no consent and no bits left are one, and leave at one instant. The identifier is
read from standard input or a file, a second line is the claim; --id shows it to other users of the machine. A CSV has one subject a line,
ID[,CLAIM]. Results name lines, not identifiers. Run again with the same --request, an interrupted batch counts nothing twice.`,
		Example: `  sandgate verify run adult --id-from-stdin --licence alpha-2026 --purpose urban_planning --kit ./kits/alpha < id.txt
  sandgate verify run adult --on twin --id twin:17 --kit ./kits/alpha
  sandgate verify run adult --batch applicants.csv -o csv --kit ./kits/alpha > answers.csv`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			v.claimSet = c.Flags().Changed("claim")
			var err error
			if v.twin, err = v.run(a); err != nil {
				return err
			}
			list, err := a.subjects(v)
			if err != nil {
				return err
			}
			base := uuid.New()
			if v.request != "" {
				if base, err = uuid.Parse(v.request); err != nil {
					return usageError{errors.New(a.t("--request 必须是 UUID", "--request must be a UUID"))}
				}
			}
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			if v.batch == "" {
				return a.verifyOne(c.Context(), cl, v.ask(args[0], base.String(), list[0]))
			}
			return a.verifyBatch(c.Context(), cl, v, args[0], base, list)
		},
	}
	f := c.Flags()
	f.StringVar(&v.licence, "licence", os.Getenv("SANDGATE_LICENCE"), "授权编号 licence id (or SANDGATE_LICENCE)")
	f.StringVar(&v.purpose, "purpose", os.Getenv("SANDGATE_PURPOSE"), "用途 purpose (or SANDGATE_PURPOSE)")
	f.StringVar(&v.request, "request", "", "请求号 UUID，重试时重复 · request id, repeated by a retry")
	f.StringVar(&v.id, "id", "", "标识（进程列表可见，慎用）· identifier, visible in the process list")
	f.StringVar(&v.idFile, "id-file", "", "从文件读标识 · read the identifier from a file")
	f.BoolVar(&v.stdin, "id-from-stdin", false, "从标准输入读标识 · read the identifier from standard input")
	f.StringVar(&v.batch, "batch", "", "CSV 文件，- 为标准输入 · CSV file, - for standard input")
	f.StringVar(&v.claim, "claim", "", "申报值（equals；进程列表可见）· claim, of equals; visible in the process list")
	v.add(c)
	c.MarkFlagsOneRequired("id", "id-file", "id-from-stdin", "batch")
	c.MarkFlagsMutuallyExclusive("id", "id-file", "id-from-stdin", "batch")
	c.MarkFlagsMutuallyExclusive("claim", "batch")
	return c
}

// subject is a person asked about, and what is claimed of him.
type subject struct{ id, claim string }

func (v *verifyFlags) ask(product, request string, s subject) *sandgatev1.VerifyRequest {
	return &sandgatev1.VerifyRequest{RequestId: request, Licence: v.licence, Purpose: v.purpose, Product: product, SubjectId: s.id, Claim: s.claim, Twin: v.twin}
}

// maxBatch caps the lines of one file: 16 MiB of identifiers.
const maxBatch = 16 << 20

func (a *app) subjects(v *verifyFlags) ([]subject, error) {
	if v.id != "" {
		if v.twin == nil {
			a.note("注意：--id 使标识出现在进程列表和命令历史中；请改用 --id-from-stdin", "note: --id shows the identifier in the process list and the shell's history; prefer --id-from-stdin")
		}
		return []subject{{v.id, v.claim}}, nil
	}
	in := a.in
	if name := v.idFile + v.batch; name != "" && name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, texts.Errorf("failed to open the file of identifiers: %w", err)
		}
		defer f.Close()
		in = f
	}
	if v.batch != "" {
		return a.batch(in)
	}
	// An identifier and a claim fit many times over.
	text, err := io.ReadAll(io.LimitReader(in, 4*maxIdentifier+1))
	if err != nil {
		return nil, texts.Errorf("failed to read the identifier: %w", err)
	}
	id, claim, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if id, claim = strings.TrimSpace(id), strings.TrimSpace(claim); v.claimSet {
		claim = v.claim
	}
	if len(text) > 4*maxIdentifier || id == "" || strings.ToValidUTF8(id+claim, "") != id+claim || strings.Contains(claim, "\n") {
		return nil, usageError{errors.New(a.t("应为一行标识，可另有一行申报值", "expected one line with an identifier, and at most one with a claim"))}
	}
	return []subject{{id, claim}}, nil
}

// batch reads ID[,CLAIM] a line. Errors name lines and hold nothing of them.
func (a *app) batch(in io.Reader) ([]subject, error) {
	r := csv.NewReader(bufio.NewReader(io.LimitReader(in, maxBatch+1)))
	r.FieldsPerRecord, r.TrimLeadingSpace = -1, true
	var out []subject
	for line := 1; ; line++ {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || len(row) > 2 || row[0] == "" || strings.ToValidUTF8(strings.Join(row, ""), "") != strings.Join(row, "") || r.InputOffset() > maxBatch {
			return nil, usageError{fmt.Errorf(a.t("第 %d 行应为 标识 或 标识,申报值（文件至多 16 MiB）", "line %d is not ID or ID,CLAIM (a file has at most 16 MiB)"), line)}
		}
		row[0] = strings.TrimPrefix(row[0], "\ufeff")
		if line == 1 && (slices.Equal(row, []string{"id"}) || slices.Equal(row, []string{"id", "claim"})) {
			continue
		}
		s := subject{id: strings.TrimSpace(row[0])}
		if len(row) == 2 {
			s.claim = strings.TrimSpace(row[1])
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, usageError{errors.New(a.t("文件中没有标识", "the file names no subject"))}
	}
	return out, nil
}

func (a *app) verifyOne(ctx context.Context, cl *client.Client, req *sandgatev1.VerifyRequest) error {
	resp, err := cl.Verify.Verify(ctx, req)
	if err != nil {
		return err
	}
	if a.format == "json" {
		return a.proto(resp)
	}
	if a.format == "csv" {
		return a.verifications([]*sandgatev1.Verification{resp})
	}
	if m := resp.GetSynthetic(); m != nil {
		a.synthetic(m)
		a.say("%s", "%s", a.answerText(resp))
		return nil
	}
	a.say("%s  （%s，账本第 %d 条）", "%s  (%s, ledger entry %d)", a.answerText(resp), strings.TrimPrefix(resp.GetName(), "verifications/"), resp.GetReceipt().GetSeq())
	return nil
}

// verifyBatch asks line by line: one operator's questions leave on ticks anyway. The
// request id of a line follows from the base and the line.
func (a *app) verifyBatch(ctx context.Context, cl *client.Client, v *verifyFlags, product string, base uuid.UUID, list []subject) error {
	a.note("批次 %s：%d 名；中断后加 --request %s 续跑", "batch %s: %d subjects; if interrupted, go on with --request %s", base, len(list), base)
	head := []string{a.head("行", "line"), a.head("答复", "answer"), a.head("核验", "verification"), a.head("账本", "entry"), a.head("未答原因", "refused")}
	if v.twin != nil {
		head = append(head, syntheticColumn)
	}
	// A reader of CSV is given each row as it is answered, whole or not at all.
	told := func(row []string) error { return nil }
	if a.format == "csv" {
		told = a.wholeRow
		if err := told(head); err != nil {
			return err
		}
	}
	var body [][]string
	failed := error(nil)
	for i, s := range list {
		resp, err := cl.Verify.Verify(ctx, v.ask(product, uuid.NewSHA1(base, fmt.Appendf(nil, "%d", i+1)).String(), s))
		row := []string{itoa(int64(i + 1)), "", "", "", ""}
		if err != nil {
			failed = err
		}
		switch p := client.ProblemOf(err); {
		case err == nil:
			row[1], row[2], row[3] = a.answerText(resp), strings.TrimPrefix(resp.GetName(), "verifications/"), fmt.Sprint(resp.GetReceipt().GetSeq())
		case p != nil && len(p.Reasons) > 0:
			row[4] = p.Reasons[0].GetCode()
		}
		// A line that was not decided has no row: it is asked again.
		if err != nil && (row[4] == "" || ctx.Err() != nil) {
			break
		}
		if v.twin != nil {
			row = append(row, "true")
		}
		body = append(body, row)
		if err := told(row); err != nil {
			return err
		}
		if n := i + 1; n%50 == 0 || n == len(list) {
			a.note("已核验 %d / %d", "%d of %d verified", n, len(list))
		}
		// What the next line would meet as well ends the batch.
		if err != nil && !slices.Contains([]string{"SUBJECT_ID", "CLAIM_FORM", "QUESTIONS_EXHAUSTED"}, row[4]) {
			break
		}
	}
	if a.format != "csv" {
		if err := a.rows(head, body, 0, 3); err != nil {
			return err
		}
	}
	if failed != nil && len(body) < len(list) {
		a.note("已答 %d 名，尚有 %d 名；以同一文件加 --request %s 续跑，已答的不再计数", "%d answered, %d left; go on with the same file and --request %s: nothing is counted twice", len(body), len(list)-len(body), base)
	}
	return failed
}

// wholeRow writes one row of CSV in one piece.
func (a *app) wholeRow(row []string) error {
	var line bytes.Buffer
	w := csv.NewWriter(&line)
	if err := w.Write(row); err != nil {
		return err
	}
	if w.Flush(); w.Error() != nil {
		return w.Error()
	}
	_, err := a.out.Write(line.Bytes())
	return err
}

func (a *app) answerText(v *sandgatev1.Verification) string {
	switch v.GetAnswer() {
	case sandgatev1.Verification_ANSWER_CONFIRMED:
		return a.head("已证实", "confirmed")
	case sandgatev1.Verification_ANSWER_NOT_CONFIRMED:
		return a.head("未能证实", "not confirmed")
	}
	return ""
}

func (a *app) verifyShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "show VERIFICATION",
		Short: "查看一次核验；主管部门另见依据和承诺的开启值 · show one; the regulator also sees its ground and what opens the commitment",
		Example: `  sandgate verify show 0123456789abcdef0123 --kit ./kits/alpha
  sandgate verify show 0123456789abcdef0123 -o json --kit ./kits/data_bureau`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			v, err := cl.Verify.GetVerification(c.Context(), &sandgatev1.GetVerificationRequest{Name: args[0]})
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.proto(v)
			}
			if err := a.verifications([]*sandgatev1.Verification{v}); err != nil {
				return err
			}
			for _, r := range v.GetReasons() {
				a.note("%s: %s", "%s: %s", r.GetCode(), reasonText(r, a.lang))
			}
			return nil
		},
	}
}

func (a *app) verifyListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "列出核验，新的在前；主管部门另见试探迹象 · list verifications, newest first; the regulator also sees signs of probing",
		Example: "  sandgate verify list --kit ./kits/data_bureau",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			var all []*sandgatev1.Verification
			req := &sandgatev1.ListVerificationsRequest{PageSize: 200}
			for {
				resp, err := cl.Verify.ListVerifications(c.Context(), req)
				if err != nil {
					return err
				}
				all = append(all, resp.GetVerifications()...)
				for _, p := range resp.GetProbes() {
					a.note("试探迹象：授权 %s，%s，%s", "probing: licence %s, %s, %s", p.GetLicence(), a.probeText(p.GetPattern()), dateOf(p.GetTime()))
				}
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					return a.verifications(all)
				}
			}
		},
	}
}

func (a *app) probeText(pattern string) string {
	text, ok := map[string][2]string{
		"subjects": {"逐人枚举（超出主体额度）", "subjects (beyond the quota of subjects)"}, "strangers": {"逐人枚举（多人未同意）", "strangers (many without consent)"},
		"claims": {"逐值试探", "claims (claim after claim)"}, "search": {"逐界限试探", "search (threshold after threshold)"},
		"pool": {"超出各机构合计的次数", "pool (beyond the bits of all operators)"},
	}[pattern]
	if !ok {
		return pattern
	}
	return a.t(text[0], text[1])
}

func (a *app) verificationState(v *sandgatev1.Verification) string {
	code := strings.TrimPrefix(v.GetState().String(), "STATE_")
	if name := a.state(code); name != code {
		return name
	}
	return strings.ToLower(code)
}

func (a *app) verifications(list []*sandgatev1.Verification) error {
	head := []string{a.head("核验", "verification"), a.head("运营机构", "operator"), a.head("授权", "licence"), a.head("用途", "purpose"), a.head("产品", "product"),
		a.head("状态", "state"), a.head("答复", "answer"), a.head("重复", "repeat"), a.head("账本", "entry"), a.head("依据", "ground"), a.head("原因", "reason")}
	var body [][]string
	for _, v := range list {
		reason := ""
		if r := v.GetReasons(); len(r) > 0 {
			reason = r[0].GetCode()
		}
		body = append(body, []string{strings.TrimPrefix(v.GetName(), "verifications/"), v.GetOperator(), v.GetLicence(), v.GetPurpose(), v.GetProduct(),
			a.verificationState(v), a.answerText(v), a.yesNo(v.GetRepeat()), fmt.Sprint(v.GetSeq()), v.GetInsight().GetGround(), reason})
		if v.GetSynthetic() != nil { // shown alone
			head, body[len(body)-1] = append(head, syntheticColumn), append(body[len(body)-1], "true")
		}
	}
	return a.rows(head, body, 8)
}
