package main

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) orderCmd() *cobra.Command {
	c := &cobra.Command{Use: "order", Short: "监管决定：责令整改、暂停、恢复、终止 · orders to rectify, suspend, resume, end"}
	c.AddCommand(
		a.orderGiveCmd(policies.StageRectify, "责令限期整改 · order to rectify until a date", "  sandgate order rectify --target operator/alpha --due 2026-12-31 --reason-zh 超范围使用 --basis 协议第九条 --kit ./kits/data_bureau"),
		a.orderGiveCmd(policies.StageSuspend, "暂停，运行中的作业立即停止 · suspend; running jobs stop at once", "  sandgate order suspend --target licence/alpha-2026 --reason-zh 安全异常 --basis 协议第九条 --kit ./kits/data_bureau"),
		a.orderGiveCmd(policies.StageResume, "恢复 · resume what was suspended", "  sandgate order resume --target licence/alpha-2026 --reason-zh 已整改 --basis 协议第九条 --kit ./kits/data_bureau"),
		a.orderGiveCmd(policies.StageEnd, "终止，不可恢复 · end for good", "  sandgate order end --target licence/alpha-2026 --reason-zh 逾期未整改 --basis 协议第十条 --kit ./kits/data_bureau"),
		a.orderListCmd(), a.orderStandingCmd())
	return c
}

func (a *app) orderGiveCmd(stage policies.OrderStage, short, example string) *cobra.Command {
	var id, target, due, lifts, out string
	o := policies.Order{Stage: stage}
	c := &cobra.Command{
		Use:   string(stage) + " --target KIND/ID",
		Short: short,
		Long: `写成决定、以密钥包签名并提交。主管部门可对任何对象作出；数源部门只可对本部门数据集和含其数据的授权作出。
对象 target: gateway, operator/编号, licence/编号, dataset/编号。只有作出暂停决定的一方或主管部门可以恢复。
Writes the order, signs it with the kit and applies it. The regulator orders on anything, a department on its own data
sets and on licences that grant them. Only who suspended, or the regulator, resumes.`,
		Example: example,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			k, err := a.kit()
			if err != nil {
				return err
			}
			if o.Target, err = policies.ParseTarget(target); err != nil {
				return usageError{err}
			}
			if due != "" {
				if o.Due, err = instant(due); err != nil {
					return usageError{err}
				}
			}
			if o.ID, o.By, o.Lifts = id, k.Party, lifts; id == "" {
				o.ID = freshID("o")
			}
			return a.declare(c.Context(), struct {
				Kind           policies.Kind `yaml:"kind"`
				policies.Order `yaml:",inline"`
			}{policies.KindOrder, o}, "orders/"+o.ID, out)
		},
	}
	f := c.Flags()
	f.StringVar(&target, "target", "", "对象 gateway|operator/ID|licence/ID|dataset/ID|product/ID · what it is about")
	f.StringVar(&id, "id", "", "决定编号，默认随机 · id of the order, random when empty")
	f.StringVar(&o.Reason.ZH, "reason-zh", "", "理由（中文）· reason in Chinese")
	f.StringVar(&o.Reason.EN, "reason-en", "", "理由（英文）· reason in English")
	f.StringVar(&o.Basis.ZH, "basis", "", "法律或协议依据（中文）· legal basis in Chinese")
	f.StringVar(&o.Basis.EN, "basis-en", "", "依据（英文）· legal basis in English")
	f.StringVar(&out, "out", "", "同时保存文件及其签名 · keep the document and FILE.dsse")
	required := []string{"target", "reason-zh", "basis"}
	switch stage {
	case policies.StageRectify:
		f.StringVar(&due, "due", "", "整改期限 YYYY-MM-DD 或 RFC 3339 · until when")
		required = append(required, "due")
	case policies.StageResume:
		f.StringVar(&lifts, "lifts", "", "只恢复这一决定，默认全部 · lift this order alone; all when empty")
	}
	require(c, required...)
	return c
}

// instant reads a day, whose begin it is in China, or an RFC 3339 time.
func instant(text string) (time.Time, error) {
	if t, err := time.ParseInLocation(time.DateOnly, text, civil); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, texts.Errorf("a time is YYYY-MM-DD or RFC 3339, such as 2026-12-31T09:00:00+08:00")
	}
	return t, nil
}

// freshID draws an id of letters: digits would look like a number that stands for
// somebody and be left out of messages.
func freshID(prefix string) string {
	raw := make([]byte, 10)
	rand.Read(raw)
	for i := range raw {
		raw[i] = 'a' + raw[i]%26
	}
	return prefix + "-" + string(raw)
}

// declare signs a document with the kit, applies it and says where it stands. out,
// when not empty, keeps the document and its envelope.
func (a *app) declare(ctx context.Context, doc any, name, out string) error {
	document, err := yaml.Marshal(doc)
	if err != nil {
		return texts.Errorf("failed to write the document: %w", err)
	}
	text, envelope, err := a.sign(document)
	if err != nil {
		return err
	}
	if out != "" {
		if err := errors.Join(os.WriteFile(out, text, 0o600), os.WriteFile(out+".dsse", envelope, 0o600)); err != nil {
			return texts.Errorf("failed to keep the document: %w", err)
		}
	}
	resp, err := a.apply(ctx, envelope)
	if err != nil {
		return err
	}
	if a.format == "json" {
		return a.proto(resp)
	}
	a.say("%s 已生效（账本第 %d 条）", "%s is in force (ledger entry %d)", name, resp.GetReceipt().GetSeq())
	return nil
}

func (a *app) orderListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "列出与本方有关的决定，新的在前 · list the orders that concern the caller, newest first",
		Example: "  sandgate order list --kit ./kits/alpha",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			var body [][]string
			req := &sandgatev1.ListOrdersRequest{}
			for {
				resp, err := cl.Licence.ListOrders(c.Context(), req)
				if err != nil {
					return err
				}
				for _, o := range resp.GetOrders() {
					due := ""
					if o.GetDueTime() != nil {
						due = dateOf(o.GetDueTime())
					}
					if o.GetOverdue() {
						due += a.head(" 已逾期", " overdue")
					}
					body = append(body, []string{strings.TrimPrefix(o.GetName(), "orders/"), a.when(o.GetCreateTime().AsTime()), o.GetBy(), o.GetTarget(),
						a.state(o.GetStage()), due, strings.TrimPrefix(o.GetClosedBy(), "orders/"), a.either(o.GetReasonZh(), o.GetReasonEn()), a.either(o.GetBasisZh(), o.GetBasisEn())})
				}
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			return a.rows([]string{a.head("决定", "order"), a.head("时间", "time"), a.head("作出方", "by"), a.head("对象", "target"), a.head("种类", "stage"),
				a.head("整改期限", "due"), a.head("了结于", "closed by"), a.head("理由", "reason"), a.head("依据", "basis")}, body)
		},
	}
}
