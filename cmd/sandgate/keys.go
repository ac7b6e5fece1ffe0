package main

import (
	"github.com/spf13/cobra"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
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

func (a *app) keyCmd() *cobra.Command {
	c := &cobra.Command{Use: "key", Short: "密钥轮换 · rotation of keys"}
	c.AddCommand(&cobra.Command{
		Use:   "rotate storage",
		Short: "轮换快照主密钥，不停机 · put a new storage key in force without stopping",
		Long: `生成新的快照主密钥（使用 Vault 时由其生成新版本），重新包裹每个快照的数据密钥；文件不重写，作业不停；写入账本。
Draws a new storage key (with Vault: a new version there) and wraps the key of every snapshot by it. No file is written
anew and no job stops; the ledger records it.`,
		Example: "  sandgate key rotate storage --kit ./kits/data_bureau",
		Args:    cobra.ExactArgs(1),
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
			a.say("主密钥 %s 换为 %s\n重新包裹数据密钥 %d 个，仍需旧密钥的旧文件 %d 个（账本第 %d 条）", "master key %s replaced by %s\ndata keys wrapped anew: %d, files of before that need the old key: %d (ledger entry %d)",
				resp.GetFrom(), resp.GetTo(), resp.GetMoved(), resp.GetLeft(), resp.GetReceipt().GetSeq())
			return nil
		},
	})
	return c
}
