package main

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) objectionCmd() *cobra.Command {
	c := &cobra.Command{Use: "objection", Short: "异议：立即暂停，核实后处理 · objections: suspended at once, then ruled on"}
	c.AddCommand(a.objectionFileCmd(), a.objectionRuleCmd(), a.objectionAnswerCmd(), a.objectionListCmd(), a.objectionCommitCmd())
	return c
}

// objectionCommitCmd makes the commitment that stands for a person. The name
// comes from standard input, because arguments are seen by every process.
func (a *app) objectionCommitCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "commit",
		Short: "为异议人生成加盐承诺（姓名从标准输入读取） · a salted commitment for a person, read from standard input",
		Long: `从标准输入读取一行，输出承诺和盐。承诺写入 --receipt，盐与原文由受理单位自行保管：出示二者即可证明异议由谁提出。
Reads one line from standard input and prints the commitment and its salt. The commitment goes into --receipt; whoever
received the person keeps salt and line: showing both proves who objected.`,
		Example: "  sandgate objection commit < person.txt",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			line, err := bufio.NewReader(io.LimitReader(a.in, 4096)).ReadString('\n')
			line = strings.TrimSpace(line)
			if err != nil && !errors.Is(err, io.EOF) || line == "" {
				return errors.New(a.t("标准输入没有内容", "standard input holds no line"))
			}
			salt := make([]byte, 32)
			if _, err := rand.Read(salt); err != nil {
				return texts.Errorf("failed to draw a salt: %w", err)
			}
			return a.rows([]string{a.head("承诺", "receipt"), a.head("盐", "salt")}, [][]string{{entry.OpenCommit(salt, []byte("objector\n"+line)), hex.EncodeToString(salt)}})
		},
	}
}

func (a *app) objectionFileCmd() *cobra.Command {
	var v policies.Objection
	var s statement
	var ground string
	c := &cobra.Command{
		Use:   "file",
		Short: "提出异议，数据集立即暂停 · file an objection; the data set is suspended at once",
		Long: `代个人提出时只写受理编号或加盐承诺（--receipt），不写姓名和证件号码。
On behalf of a person only a receipt number or a salted commitment is given (--receipt), never a name or a number.`,
		Example: "  sandgate objection file --id obj-1 --dataset visits --official desk-1 --receipt r-2026-0017 --ground 当事人认为其信息被不当使用 --kit ./kits/public_security",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if v.By, err = a.signer(); err != nil {
				return err
			}
			v.Ground = zh(ground)
			text, err := documentOf(policies.KindObjection, v)
			return s.say(a, c, text, err)
		},
	}
	f := c.Flags()
	f.StringVar(&v.ID, "id", "", "异议编号 objection id")
	f.StringVar(&v.Dataset, "dataset", "", "数据集编号 data set id")
	f.StringVar(&v.Official, "official", "", "经办人编号 id of the official")
	f.StringVar(&v.Receipt, "receipt", "", "受理编号或加盐承诺 receipt number or salted commitment")
	f.StringVar(&ground, "ground", "", "理由 ground")
	s.add(c)
	require(c, "id", "dataset", "official", "ground")
	return c
}

func (a *app) objectionRuleCmd() *cobra.Command {
	var v policies.Ruling
	var s statement
	var reason, basis, answer string
	c := &cobra.Command{
		Use:   "rule OBJECTION",
		Short: "处理：撤回、恢复、处理后恢复 · rule: withdraw, resume, process and resume",
		Long: `withdraw 使数据集不再可用；resume 恢复；process 在重新入库或变更目录之后恢复。--answer 是给异议人的答复，缺少时另行答复。
withdraw takes the data set out of use for good; resume frees it; process frees it after a new snapshot or catalogue.
--answer is what the objector is told; without it an answer is owed.`,
		Example: "  sandgate objection rule obj-1 --outcome resume --official h-1 --official h-2 --reason 核实无误 --basis 目录所列用途 --answer 已核实 --kit ./kits/health",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			v.Objection = strings.TrimPrefix(args[0], "objections/")
			if v.By, err = a.signer(); err != nil {
				return err
			}
			v.Reason, v.Basis, v.Answer = zh(reason), zh(basis), zh(answer)
			text, err := documentOf(policies.KindRuling, v)
			return s.say(a, c, text, err)
		},
	}
	f := c.Flags()
	f.StringVar(&v.Outcome, "outcome", "", "withdraw|resume|process")
	f.StringArrayVar(&v.Officials, "official", nil, "经办人编号，可重复 id of an official, repeatable")
	f.StringVar(&reason, "reason", "", "理由 reason")
	f.StringVar(&basis, "basis", "", "法律依据 legal basis")
	f.StringVar(&answer, "answer", "", "给异议人的答复 what the objector is told")
	s.add(c)
	require(c, "outcome", "official", "reason", "basis")
	return c
}

// replyCmd answers an objection or a correction.
func (a *app) replyCmd(use, short, example string, about func(*policies.Reply, string), outcome bool) *cobra.Command {
	var v policies.Reply
	var s statement
	var answer, basis string
	c := &cobra.Command{
		Use: use, Short: short, Example: example,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			about(&v, args[0])
			if v.By, err = a.signer(); err != nil {
				return err
			}
			v.Answer, v.Basis = zh(answer), zh(basis)
			text, err := documentOf(policies.KindReply, v)
			return s.say(a, c, text, err)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&v.Officials, "official", nil, "经办人编号，可重复 id of an official, repeatable")
	f.StringVar(&answer, "answer", "", "答复 answer")
	f.StringVar(&basis, "basis", "", "法律依据 legal basis")
	s.add(c)
	require(c, "official", "answer")
	if outcome {
		f.StringVar(&v.Outcome, "outcome", "", "corrected|unfounded")
		require(c, "outcome")
	}
	return c
}

func (a *app) objectionAnswerCmd() *cobra.Command {
	return a.replyCmd("answer OBJECTION", "答复异议人 · tell the objector",
		"  sandgate objection answer obj-1 --official h-1 --answer 已告知 --kit ./kits/health",
		func(v *policies.Reply, id string) { v.Objection = strings.TrimPrefix(id, "objections/") }, false)
}

func (a *app) objectionListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "异议及处理 · objections and what became of them",
		Example: "  sandgate objection list --kit ./kits/health",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			var body [][]string
			req := &sandgatev1.ListObjectionsRequest{PageSize: 200}
			for {
				resp, err := cl.Desk.ListObjections(c.Context(), req)
				if err != nil {
					return err
				}
				for _, v := range resp.GetObjections() {
					body = append(body, []string{strings.TrimPrefix(v.GetName(), "objections/"), v.GetDataset(), v.GetParty(), v.GetReceipt(), a.state(v.GetState()), a.state(v.GetOutcome()),
						a.lastAnswer(v.GetSteps()), owedNow(v.GetDuties())})
				}
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			return a.rows([]string{a.head("异议", "objection"), a.head("数据集", "dataset"), a.head("提出方", "party"), a.head("受理编号", "receipt"), a.head("状态", "state"),
				a.head("处理", "outcome"), a.head("答复", "answer"), a.head("待办", "owed")}, body)
		},
	}
}

// lastAnswer is the latest answer among steps.
func (a *app) lastAnswer(steps []*sandgatev1.DeskStep) string {
	out := ""
	for _, s := range steps {
		if t := a.text(s.GetAnswer()); t != "" {
			out = t
		}
	}
	return out
}

func (a *app) correctionCmd() *cobra.Command {
	c := &cobra.Command{Use: "correction", Short: "数据差错：报告、答复、争议 · errors in data: report, answer, dispute"}
	c.AddCommand(a.correctionFileCmd(), a.replyCmd("answer CORRECTION", "答复差错报告，或裁定争议 · answer a report, or settle a dispute",
		"  sandgate correction answer cor-1 --outcome corrected --official h-1 --official h-2 --answer 已更正 --kit ./kits/health",
		func(v *policies.Reply, id string) { v.Correction = strings.TrimPrefix(id, "corrections/") }, true), a.correctionDisputeCmd(), a.correctionListCmd())
	return c
}

func (a *app) correctionFileCmd() *cobra.Command {
	var v policies.Correction
	var s statement
	var wrong string
	c := &cobra.Command{
		Use:     "file",
		Short:   "报告数据差错（不写记录内容） · report an error, without any record's content",
		Example: "  sandgate correction file --id cor-1 --dataset visits --column fee_yuan --official clerk-1 --error 费用单位疑似有误 --kit ./kits/alpha",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if v.By, err = a.signer(); err != nil {
				return err
			}
			v.Error = zh(wrong)
			text, err := documentOf(policies.KindCorrection, v)
			return s.say(a, c, text, err)
		},
	}
	f := c.Flags()
	f.StringVar(&v.ID, "id", "", "更正编号 correction id")
	f.StringVar(&v.Dataset, "dataset", "", "数据集编号 data set id")
	f.StringArrayVar(&v.Columns, "column", nil, "列，可重复 column, repeatable")
	f.StringVar(&v.Official, "official", "", "经办人编号 id of the official")
	f.StringVar(&v.Receipt, "receipt", "", "受理编号或加盐承诺 receipt number or salted commitment")
	f.StringVar(&wrong, "error", "", "差错 what is wrong")
	s.add(c)
	require(c, "id", "dataset", "official", "error")
	return c
}

func (a *app) correctionDisputeCmd() *cobra.Command {
	var v policies.Dispute
	var s statement
	var reason string
	c := &cobra.Command{
		Use:     "dispute CORRECTION",
		Short:   "对答复有异议，提交主管部门 · bring an answer before the regulator",
		Example: "  sandgate correction dispute cor-1 --official clerk-1 --reason 与公报不符 --kit ./kits/alpha",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			v.Correction, v.Reason = strings.TrimPrefix(args[0], "corrections/"), zh(reason)
			if v.By, err = a.signer(); err != nil {
				return err
			}
			text, err := documentOf(policies.KindDispute, v)
			return s.say(a, c, text, err)
		},
	}
	f := c.Flags()
	f.StringVar(&v.Official, "official", "", "经办人编号 id of the official")
	f.StringVar(&reason, "reason", "", "理由 reason")
	s.add(c)
	require(c, "official", "reason")
	return c
}

func (a *app) correctionListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "差错报告及答复 · reported errors and their answers",
		Example: "  sandgate correction list --kit ./kits/health",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			var body [][]string
			req := &sandgatev1.ListCorrectionsRequest{PageSize: 200}
			for {
				resp, err := cl.Desk.ListCorrections(c.Context(), req)
				if err != nil {
					return err
				}
				for _, v := range resp.GetCorrections() {
					body = append(body, []string{strings.TrimPrefix(v.GetName(), "corrections/"), v.GetDataset(), join(v.GetColumns()), v.GetParty(), a.state(v.GetState()),
						a.text(v.GetError()), a.lastAnswer(v.GetSteps()), owedNow(v.GetDuties())})
				}
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			return a.rows([]string{a.head("更正", "correction"), a.head("数据集", "dataset"), a.head("列", "columns"), a.head("报告方", "party"), a.head("状态", "state"),
				a.head("差错", "error"), a.head("答复", "answer"), a.head("待办", "owed")}, body)
		},
	}
}
