package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/home/vault"
)

func (a *app) snapshotCmd() *cobra.Command {
	c := &cobra.Command{Use: "snapshot", Short: "快照的销毁 · the end of a snapshot"}
	c.AddCommand(&cobra.Command{
		Use:   "destroy DATASET",
		Short: "不可逆销毁快照，账本留证明 · destroy a snapshot for good, with a certificate in the ledger",
		Long: `不可逆销毁数据集的快照：终止其上的作业，清除其密钥，删除文件；账本记录即销毁证明。授权到期退出时也用本命令。
数源部门销毁本部门的快照；数据集已暂停或其部门已撤销时，主管部门也可以。备份中的副本见 docs/keys.md。
Destroys a data set's snapshot for good: its jobs end, its key is erased, its file deleted; the ledger entry is the
certificate. The end of a licence uses the same command. The department does it with its own; of a data set that is
suspended, or whose department is withdrawn, the regulator may. For copies in backups see docs/keys.md.`,
		Example: "  sandgate snapshot destroy visits --kit ./kits/health",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			resp, err := cl.Keys.DestroySnapshot(c.Context(), &sandgatev1.DestroySnapshotRequest{Dataset: args[0]})
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.proto(resp)
			}
			a.say("已销毁 %s\n方式 %s，清单哈希 %s（账本第 %d 条）", "destroyed %s\nmethod %s, manifest %s (ledger entry %d)",
				resp.GetName(), resp.GetMethod(), resp.GetManifest(), resp.GetReceipt().GetSeq())
			return nil
		},
	})
	return c
}

// vaultFlags are the flags of serve that keep the storage key in Vault.
type vaultFlags struct {
	config   vault.Config
	recovery string
}

func (v *vaultFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&v.config.Address, "vault-addr", "", "Vault 地址，快照主密钥存于其中 address of the Vault that keeps the storage key, https://HOST:PORT")
	f.StringVar(&v.config.CA, "vault-ca", "", "Vault 证书机构 PEM file of Vault's authority")
	f.StringVar(&v.config.RoleFile, "vault-role", "", "AppRole 的 role_id 文件 file with the AppRole's role_id")
	f.StringVar(&v.config.SecretFile, "vault-secret", "", "AppRole 的 secret_id 文件（0600） file with the AppRole's secret_id, mode 0600")
	f.StringVar(&v.config.Mount, "vault-mount", "transit", "transit 挂载点 mount of transit")
	f.StringVar(&v.config.Key, "vault-key", "sandgate-storage", "transit 密钥名 name of the transit key")
	f.StringVar(&v.recovery, "recovery", "", "主管部门对恢复的确认文件 the regulator's confirmation of a restored home")
}

// options puts the flags into the options of a gateway.
func (v *vaultFlags) options(opt *gateway.Options) error {
	given := 0
	for _, s := range []string{v.config.Address, v.config.RoleFile, v.config.SecretFile} {
		if s != "" {
			given++
		}
	}
	switch given {
	case 0:
	case 3:
		cfg, logger := v.config, opt.Logger
		cfg.Told = func(s vault.State) { logger.Warn("the state of Vault changed", "state", string(s)) }
		opt.Vault = &cfg
	default:
		return usageError{texts.Errorf("--vault-addr, --vault-role and --vault-secret go together")}
	}
	if v.recovery == "" {
		return nil
	}
	text, err := os.ReadFile(v.recovery)
	if err != nil {
		return texts.Errorf("failed to read the confirmation: %w", err)
	}
	opt.Recovery = text
	return nil
}
