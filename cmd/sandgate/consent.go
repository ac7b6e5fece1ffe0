package main

import (
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) consentCmd() *cobra.Command {
	c := &cobra.Command{Use: "consent", Short: "数据主体同意：承诺值、登记、撤回 · consents of data subjects"}
	c.AddCommand(a.consentSubjectCmd(), a.consentRecordCmd(), a.consentWithdrawCmd(), a.consentListCmd())
	return c
}

// maxIdentifier is more than any identifier has.
const maxIdentifier = 256

func (a *app) consentSubjectCmd() *cobra.Command {
	var dataset string
	var stdin bool
	c := &cobra.Command{
		Use:   "subject --dataset ID --id-from-stdin",
		Short: "由标识计算数据主体的承诺值 · the commitment that stands for a data subject",
		Long: `从标准输入读一个标识（如公民身份号码），由网关以自有密钥算出承诺值。标识不作参数（进程列表可见），网关不保存、不记日志、不入账本。
Reads one identifier from standard input; the gateway computes its commitment under a key of its own. It is no argument,
which other users of the machine could see, and is neither kept nor logged nor ledgered.`,
		Example: "  sandgate consent subject --dataset population --id-from-stdin --kit ./kits/public_security < id.txt",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !stdin {
				return usageError{errors.New(a.t("标识只从标准输入读取：请加 --id-from-stdin", "the identifier is read from standard input alone: pass --id-from-stdin"))}
			}
			text, err := io.ReadAll(io.LimitReader(a.in, maxIdentifier+1))
			if err != nil {
				return texts.Errorf("failed to read the identifier: %w", err)
			}
			id := strings.TrimSpace(string(text))
			if len(text) > maxIdentifier || strings.ToValidUTF8(id, "") != id {
				return usageError{errors.New(a.t("标准输入不是一个标识", "standard input is no identifier"))}
			}
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			resp, err := cl.Licence.ComputeSubject(c.Context(), &sandgatev1.ComputeSubjectRequest{Dataset: dataset, Id: id})
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.proto(resp)
			}
			a.say("%s", "%s", resp.GetSubject())
			return nil
		},
	}
	c.Flags().StringVar(&dataset, "dataset", "", "本部门的数据集 · a data set of the department")
	c.Flags().BoolVar(&stdin, "id-from-stdin", false, "从标准输入读标识 · read the identifier from standard input")
	require(c, "dataset")
	return c
}

func (a *app) consentRecordCmd() *cobra.Command {
	v := policies.Consent{}
	var from, until, out string
	var many manySubjects
	c := &cobra.Command{
		Use:   "record --subject HEX | --subjects-csv FILE",
		Short: "登记一项同意，或许多人的同意 · record a consent, or that of many",
		Long: `登记数据主体的同意：对哪项授权（或哪家运营机构）、何用途、哪些数据集、至何时。以密钥包签名并提交。
--subjects-csv 从文件逐行读标识（第一行为列名），由网关算出承诺值，每 2000 人一份文件，各自签名入账；标识不入文件和账本。
Records what a data subject agreed to: for which licence or operator, purposes and data sets, until when.
--subjects-csv reads one identifier a line below a header; the gateway computes their commitments, and documents of up to
2000 subjects are signed and recorded one by one. No identifier is in a document or the ledger.`,
		Example: "  sandgate consent record --subject 5f…c1 --licence alpha-2026 --purpose public_health --dataset visits --from 2026-01-01 --until 2027-01-01 --document 档案-17 --kit ./kits/health",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			k, err := a.kit()
			if err != nil {
				return err
			}
			if v.Department = k.Party; v.ID == "" {
				v.ID = freshID("c")
			}
			if v.NotBefore, err = instant(from); err != nil {
				return usageError{err}
			}
			if v.NotAfter, err = instant(until); err != nil {
				return usageError{err}
			}
			if many.path != "" {
				return a.recordMany(c.Context(), v, many)
			}
			return a.declare(c.Context(), consentDocument{policies.KindConsent, v}, "consents/"+v.ID, out)
		},
	}
	f := c.Flags()
	f.StringVar(&v.ID, "id", "", "编号，默认随机 · id, random when empty")
	f.StringVar(&v.Subject, "subject", "", "承诺值 · commitment, from consent subject")
	f.StringVar(&many.path, "subjects-csv", "", "许多人的标识，CSV 文件 · identifiers of many, a CSV file")
	f.StringVar(&many.column, "column", "", "标识所在的列，默认唯一的列 · column of the identifiers; the only one when empty")
	f.StringVar(&v.Licence, "licence", "", "授权编号 · licence id")
	f.StringVar(&v.Operator, "operator", "", "或运营机构 · or operator id")
	f.StringSliceVar(&v.Purposes, "purpose", nil, "用途，可重复 · purpose, repeatable")
	f.StringSliceVar(&v.Datasets, "dataset", nil, "数据集，可重复 · data set, repeatable")
	f.StringVar(&from, "from", "", "起 YYYY-MM-DD · begin")
	f.StringVar(&until, "until", "", "止（不含）· end, exclusive")
	f.StringVar(&v.Document, "document", "", "授权书存放处 · where the authorisation is kept")
	f.StringVar(&out, "out", "", "同时保存文件及其签名 · keep the document and FILE.dsse")
	require(c, "purpose", "dataset", "from", "until", "document")
	c.MarkFlagsOneRequired("subject", "subjects-csv")
	c.MarkFlagsMutuallyExclusive("subject", "subjects-csv")
	c.MarkFlagsMutuallyExclusive("out", "subjects-csv")
	c.MarkFlagsOneRequired("licence", "operator")
	c.MarkFlagsMutuallyExclusive("licence", "operator")
	return c
}

func (a *app) consentWithdrawCmd() *cobra.Command {
	var subject string
	c := &cobra.Command{
		Use:   "withdraw [CONSENT] [--subject HEX]",
		Short: "撤回一项同意或一人的同意，下次执行起生效 · withdraw a consent, or one subject's, from the next execution on",
		Long: `给出编号：整项撤回。另给 --subject：只撤回其中一人的。只给 --subject：撤回本部门登记的该主体的全部同意。
With an id, the whole consent ends; with --subject too, one subject's in it; with --subject alone, all that the department
recorded of that subject.`,
		Example: "  sandgate consent withdraw c-abcdefghij --kit ./kits/health\n  sandgate consent withdraw --subject 5f…c1 --kit ./kits/health",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			k, err := a.kit()
			if err != nil {
				return err
			}
			w, name := policies.ConsentWithdrawal{Subject: subject, Department: k.Party}, "withdrawal"
			switch {
			case len(args) > 0:
				w.Consent, name = args[0], "consents/"+args[0]
			case subject == "":
				return usageError{errors.New(a.t("请给出同意编号或 --subject", "name a consent, or pass --subject"))}
			}
			return a.declare(c.Context(), struct {
				Kind                       policies.Kind `yaml:"kind"`
				policies.ConsentWithdrawal `yaml:",inline"`
			}{policies.KindConsentWithdrawal, w}, name, "")
		},
	}
	c.Flags().StringVar(&subject, "subject", "", "承诺值 · commitment, from consent subject")
	return c
}

func (a *app) consentListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "列出本部门登记的同意 · list the consents that the department recorded",
		Example: "  sandgate consent list --kit ./kits/health",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			var body [][]string
			req := &sandgatev1.ListConsentsRequest{}
			for {
				resp, err := cl.Licence.ListConsents(c.Context(), req)
				if err != nil {
					return err
				}
				for _, v := range resp.GetConsents() {
					whose, withdrawn := v.GetLicence(), ""
					if whose == "" {
						whose = v.GetOperator()
					}
					if v.GetWithdrawTime() != nil {
						withdrawn = dateOf(v.GetWithdrawTime())
					}
					body = append(body, []string{strings.TrimPrefix(v.GetName(), "consents/"), v.GetDepartment(), v.GetSubject(), whose, join(v.GetPurposes()), join(v.GetDatasets()),
						dateOf(v.GetNotBefore()), dateOf(v.GetNotAfter()), withdrawn, strconv.Itoa(int(v.GetSubjectCount()))})
				}
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			return a.rows([]string{a.head("编号", "consent"), a.head("部门", "department"), a.head("主体", "subject"), a.head("授权或机构", "for"), a.head("用途", "purposes"),
				a.head("数据集", "datasets"), a.head("起", "from"), a.head("止", "until"), a.head("撤回", "withdrawn"), a.head("人数", "subjects")}, body)
		},
	}
}
