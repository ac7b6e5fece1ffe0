package main

import (
	"github.com/spf13/cobra"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) catalogNegativeCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "negative",
		Short:   "生效的负面清单 · the negative list in force",
		Long:    "列出不得授权、不得查询的数据及其法律依据。用 NegativeList 文档增删，见 docs/catalogue.md。\nLists what may be neither licensed nor queried, and why. NegativeList documents change it; see docs/catalogue.md.",
		Example: "  sandgate catalog negative --kit ./kits/alpha",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			var body [][]string
			req := &sandgatev1.ListNegativeEntriesRequest{PageSize: 200}
			for {
				resp, err := cl.Catalogue.ListNegativeEntries(c.Context(), req)
				if err != nil {
					return err
				}
				for _, n := range resp.GetEntries() {
					body = append(body, []string{n.GetId(), n.GetSetBy(), n.GetProvider(), n.GetDataset(), join(n.GetColumns()), a.t(n.GetTitleZh(), n.GetTitleEn()),
						policies.Text{ZH: n.GetBasisZh(), EN: n.GetBasisEn()}.In(a.lang), dateOf(n.GetEffectiveTime())})
				}
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			return a.rows([]string{a.head("编号", "entry"), a.head("设定单位", "set_by"), a.head("提供单位", "provider"), a.head("数据集", "dataset"), a.head("列", "columns"),
				a.head("名称", "title"), a.head("依据", "basis"), a.head("生效", "since")}, body)
		},
	}
}

func (a *app) catalogRegisterCmd() *cobra.Command {
	var dataset, product, code, typ, until, note string
	c := &cobra.Command{
		Use:   "register --dataset ID --code CODE --type TYPE",
		Short: "登记数据集或产品（登记机构） · register a data set or product, by the regulator",
		Long: `生成 Registration 文档，用密钥包签名并提交。类型：first 首次、change 变更（含延续）、correction 更正、cancel 注销；有效期至多三年。
Writes a Registration document, signs it with the kit and applies it. Types: first, change (also renewal), correction,
cancel; valid for three years at most.`,
		Example: "  sandgate catalog register --dataset visits --code 239900-000001 --type first --until 2029-01-01 --kit ./kits/data_bureau",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if (dataset == "") == (product == "") {
				return usageError{texts.Errorf("give either --dataset or --product")}
			}
			r := policies.Registration{Subject: policies.Target{Kind: policies.TargetDataset, ID: dataset}, Code: code, Type: policies.RegistrationType(typ), Note: policies.Text{ZH: note}}
			if product != "" {
				r.Subject = policies.Target{Kind: policies.TargetProduct, ID: product}
			}
			if until != "" {
				var err error
				if r.ValidUntil, err = instant(until); err != nil {
					return usageError{err}
				}
			}
			text, err := policies.FormatDocument(policies.KindRegistration, r)
			if err != nil {
				return err
			}
			receipt, err := a.signAndApply(c.Context(), text)
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.proto(receipt)
			}
			a.say("已登记 %s %s（%s），账本第 %d 条", "registered %s %s (%s), ledger entry %d", r.Subject.Kind, r.Subject.ID, typ, receipt.GetReceipt().GetSeq())
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&dataset, "dataset", "", "数据集编号 data set id")
	f.StringVar(&product, "product", "", "产品编号 product id")
	f.StringVar(&code, "code", "", "登记编码 registration code")
	f.StringVar(&typ, "type", "", "first|change|correction|cancel")
	f.StringVar(&until, "until", "", "有效期至（日期或 RFC 3339）valid until, a date or RFC 3339")
	f.StringVar(&note, "note", "", "说明 note")
	require(c, "code", "type")
	return c
}
