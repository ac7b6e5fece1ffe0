package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/home"
)

func (a *app) keyCmd() *cobra.Command {
	c := &cobra.Command{Use: "key", Short: "密钥清单与轮换 · the gateway's keys and their rotation"}
	c.AddCommand(a.keyListCmd(), a.keyRetireCmd(), &cobra.Command{
		Use:   "rotate KEY",
		Short: "轮换密钥，不停机 · put a new key in force without stopping",
		Long: `轮换网关的一把密钥：storage、log、receipt、token、commit、consent、server、ca。作业不停；每次轮换都写入账本，可离线审计。
中断的轮换用同一命令继续。轮换后请立即备份：此前的备份没有新密钥。逐项说明见 docs/keys.md。
Rotates one of the gateway's keys: storage, log, receipt, token, commit, consent, server or ca. No job stops; the ledger records
every rotation for an offline audit. One that broke off is carried on by the same command. Make a backup at once:
those of before lack the new key. docs/keys.md tells what each rotation means.`,
		Example: `  sandgate key rotate log --kit ./kits/data_bureau
  sandgate key rotate token --kit ./kits/data_bureau`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			resp, err := cl.Keys.RotateKey(c.Context(), &sandgatev1.RotateKeyRequest{Key: args[0]})
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.proto(resp)
			}
			a.rotated(args[0], resp)
			return nil
		},
	})
	return c
}

func (a *app) rotated(key string, r *sandgatev1.RotateKeyResponse) {
	a.say("密钥 %s 由 %s 换为 %s（账本第 %d 条）", "key %s: %s replaced by %s (ledger entry %d)", key, r.GetFrom(), r.GetTo(), r.GetReceipt().GetSeq())
	if key == "storage" {
		a.say("重新包裹数据密钥 %d 个，仍需旧密钥的旧文件 %d 个", "data keys wrapped anew: %d, files of before that need the old key: %d", r.GetMoved(), r.GetLeft())
	}
	switch w, p := strings.Join(r.GetWaiting(), ", "), strings.Join(r.GetDepartments(), ", "); key {
	case "consent":
		if w != "" {
			a.say("重新入库之前不再答复（CONSENT_EPOCH）：%s", "answering nothing until they are ingested again (CONSENT_EPOCH): %s", w)
		}
		if p != "" {
			a.say("请这些部门重新登记同意书，此前登记的不再有效：%s", "departments that have to record their consents again, since those of before cover nobody now: %s", p)
		}
		a.say("请立即备份：此前的备份没有新密钥", "make a backup now: those of before lack the new key")
		return
	case "ca":
		a.say("新旧两家颁发机构的证书目前都有效。请为各方执行 sandgate party renew，再执行 sandgate key retire ca",
			"certificates of both authorities are good for now: run sandgate party renew for every party, then sandgate key retire ca")
	}
	if w := r.GetWaiting(); len(w) > 0 {
		a.say("请各部门重新入库：%s。此前与已换钥的数据集不能关联；全部入库后旧密钥自动销毁", "to be ingested again: %s. Until then they cannot be joined with data sets of the new key; when all are, the old key is erased", strings.Join(w, ", "))
	}
	if w := r.GetClosing(); len(w) > 0 {
		a.say("注意：精确方式的 %s 重新入库后不再以精确方式答复", "note: %s, in exact mode, will answer nothing exactly once ingested again", strings.Join(w, ", "))
	}
	a.say("请立即备份：此前的备份没有新密钥", "make a backup now: those of before lack the new key")
}

func (a *app) keyRetireCmd() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "retire ca",
		Short: "停用先前的证书颁发机构 · end the certificate authority of before",
		Long: `轮换 ca 之后，停用先前的颁发机构：其证书一律拒绝，其私钥销毁，网关证书改由新机构签发。尚未更新的密钥包此后无法连接；
网关列出自启动以来未用新证书连接过的参与方，有则拒绝，除非 --force。
Ends the authority of before, after key rotate ca: its certificates are refused, its private key is destroyed, and the
gateway's certificate is issued by the new one. Kits that were not renewed are shut out from then on; the gateway names
the parties it has not seen with a new certificate since it started, and refuses for their sake unless --force is set.`,
		Example:   `  sandgate key retire ca --kit ./kits/data_bureau`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"ca"},
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			resp, err := cl.Keys.RetireKey(c.Context(), &sandgatev1.RetireKeyRequest{Key: args[0], Force: force})
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.proto(resp)
			}
			a.say("先前的颁发机构已停用，私钥已销毁（账本第 %d 条）", "the authority of before is retired and its private key destroyed (ledger entry %d)", resp.GetReceipt().GetSeq())
			if p := resp.GetParties(); len(p) > 0 {
				a.say("下列参与方更新密钥包之前可能无法连接：%s", "may be shut out until their kits are renewed: %s", strings.Join(p, ", "))
			}
			a.say("已更新的密钥包仍信任先前的颁发机构；若是因泄露而轮换，请各方再次 party renew", "kits renewed before still trust the old authority: after a compromise run party renew for each once more")
			return nil
		},
	}
	c.Flags().BoolVar(&force, "force", false, "即使有参与方尚未更新 even though parties have not renewed")
	return c
}

func (a *app) keyListCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "密钥清单 · what keys there are, what for, since when, how each is rotated",
		Long: `列出网关的每一把密钥：编号、用途、何时启用、是否以及如何轮换。密钥本身不会显示。
Lists every key of the gateway: id, purpose, since when, whether and how it is rotated. Never a key itself.`,
		Example: "  sandgate key list --kit ./kits/data_bureau",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			resp, err := cl.Keys.ListKeys(c.Context(), &sandgatev1.ListKeysRequest{})
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.proto(resp)
			}
			var body [][]string
			for _, k := range resp.GetKeys() {
				name := k.GetName()
				if k.GetEpoch() > 0 {
					name = fmt.Sprintf("%s #%d", name, k.GetEpoch())
				}
				body = append(body, []string{k.GetId(), name, dateOf(k.GetSince()), k.GetKept(), a.t(k.GetPurposeZh(), k.GetPurposeEn()), a.t(k.GetRotationZh(), k.GetRotationEn())})
			}
			if err := a.rows([]string{a.t("编号", "id"), a.t("密钥", "key"), a.t("启用", "since"), a.t("存放", "kept in"), a.t("用途", "for"), a.t("轮换", "rotation")}, body); err != nil {
				return err
			}
			for _, k := range resp.GetKeys() {
				if w := k.GetWaiting(); len(w) > 0 && a.format == "table" {
					a.say("%s 待重新入库：%s", "%s: to be ingested again: %s", k.GetId(), strings.Join(w, ", "))
				}
			}
			return nil
		},
	}
}

func (a *app) partyRenewCmd() *cobra.Command {
	var dir, kit string
	c := &cobra.Command{
		Use:   "renew --home DIR --of DIR",
		Short: "更新参与方证书 · renew a party's certificate",
		Long: `为已有密钥包签发新证书和新的 TLS 密钥；签名密钥（登记表所载）不变。旧证书到期自止。
Issues a new certificate with a new TLS key to an existing kit; its signing key, which the registry names, stays. The
old certificate ends at its own time.`,
		Example: `  sandgate party renew --home ./home --of ./kits/health`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			h, err := home.Open(dir)
			if err != nil {
				return err
			}
			keys, err := h.Unlock()
			if err != nil {
				return err
			}
			k, err := home.OpenKit(kit)
			if err != nil {
				return err
			}
			now := time.Now()
			if err := h.Renew(keys, k, now); err != nil {
				return err
			}
			list, err := home.Certificates(kit, now)
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.json(list)
			}
			return a.certificates(list)
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "home", "", "网关目录 gateway home")
	f.StringVar(&kit, "of", "", "密钥包目录 directory of the kit")
	require(c, "home", "of")
	return c
}

// certificates shows when certificates end.
func (a *app) certificates(list []home.Certificate) error {
	var body [][]string
	for _, c := range list {
		level := a.t("正常", "ok")
		if c.Soon {
			level = a.t("将到期", "ends soon")
		}
		body = append(body, []string{c.File, level, a.when(c.Until)})
	}
	return a.rows([]string{a.t("证书", "certificate"), a.t("结果", "result"), a.t("有效期至", "valid until")}, body)
}
