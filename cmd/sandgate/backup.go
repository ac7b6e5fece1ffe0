package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/gateway/backup"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) backupCmd() *cobra.Command {
	c := &cobra.Command{Use: "backup", Short: "加密备份与恢复 · encrypted backup and restore"}
	c.AddCommand(a.backupCreateCmd(), a.backupVerifyCmd(), a.backupRestoreCmd(), a.backupConfirmCmd())
	return c
}

func (a *app) backupReport(rep *backup.Report, zh, en string) error {
	if a.format == "json" {
		return a.json(rep)
	}
	a.say(zh+" %s: %d 个文件，%d 字节，新写入 %d 字节\n账本 %d 条，根 %s", en+" %s: %d files, %d bytes, %d bytes written\nledger %d entries, root %s",
		rep.Name, rep.Files, rep.Bytes, rep.Written, rep.Entries, rep.Root)
	if len(rep.Destroyed) > 0 {
		a.say("已销毁，不在其中: %s", "destroyed since, not in it: %s", join(rep.Destroyed))
	}
	if len(rep.Lost) > 0 {
		a.say("须重新入库: %s", "to be ingested again: %s", join(rep.Lost))
	}
	return nil
}

func (a *app) backupCreateCmd() *cobra.Command {
	var dir, to, pass string
	var recipients []string
	c := &cobra.Command{
		Use:   "create --home DIR --to DIR",
		Short: "备份网关目录，网关可继续运行 · back up a home while its gateway runs",
		Long: `把网关目录（账本、快照、密钥环、发布结果、差分记录）加密（age）备份到另一目录或 S3 兼容存储，只写新增内容；网关无须停机。
S3：--to s3+https://主机[:端口]/桶[/前缀]；凭据取自 AWS_ACCESS_KEY_ID、AWS_SECRET_ACCESS_KEY，或 AWS_SHARED_CREDENTIALS_FILE 所指文件（0600）。
账本已记载销毁的快照，其密钥同时从该目录的所有备份中清除。
Backs up a home (ledger, snapshots, keyring, releases, records of cells), encrypted with age, into another directory
or an S3-compatible store, --to s3+https://HOST[:PORT]/BUCKET[/PREFIX] with credentials from AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY or from the file (0600) of AWS_SHARED_CREDENTIALS_FILE; only what is new is written, and the gateway goes on. Keys of snapshots that the ledger says are destroyed are removed
from every backup in that directory.`,
		Example: `  sandgate backup create --home ./home --to /mnt/backup --recipient age1...
  sandgate backup create --home ./home --to /mnt/backup --passphrase-file ./pass
  sandgate backup create --home ./home --to s3+https://store.example/city-backup --recipient age1...`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if len(recipients) == 0 && pass == "" {
				return usageError{texts.Errorf("a backup is always encrypted: --recipient age1… or --passphrase-file FILE")}
			}
			h, err := home.Open(dir)
			if err != nil {
				return err
			}
			keys, err := backup.Recipients(to, recipients, pass)
			if err != nil {
				return err
			}
			rep, err := backup.Create(c.Context(), h, to, keys, time.Now())
			if err != nil {
				return err
			}
			return a.backupReport(rep, "已备份", "backed up")
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "home", "", "网关目录 gateway home")
	f.StringVar(&to, "to", "", "备份目录或 s3+https:// 地址 directory of backups, or s3+https://…")
	f.StringSliceVar(&recipients, "recipient", nil, "age 公钥 age recipient, may be repeated")
	f.StringVar(&pass, "passphrase-file", "", "口令文件（0600） file with a passphrase, mode 0600")
	require(c, "home", "to")
	return c
}

// unlocking adds the flags that open a backup.
func unlocking(c *cobra.Command, identity, pass *string) {
	c.Flags().StringVar(identity, "identity", "", "age 私钥文件 age identity file")
	c.Flags().StringVar(pass, "passphrase-file", "", "口令文件（0600） file with the passphrase, mode 0600")
}

func (a *app) backupVerifyCmd() *cobra.Command {
	var name, identity, pass string
	c := &cobra.Command{
		Use:   "verify DIR",
		Short: "校验备份：解密、哈希、账本重放 · check a backup: decrypt, hashes, replay of the ledger",
		Long: `解密备份的每个对象并校验哈希，重放其中的账本；不写任何文件。
Decrypts every object of a backup, checks its hashes and replays its ledger; writes nothing.`,
		Example: "  sandgate backup verify /mnt/backup --identity ./backup.key",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ids, err := backup.Identities(args[0], identity, pass)
			if err != nil {
				return err
			}
			rep, err := backup.Verify(c.Context(), args[0], name, ids)
			if err != nil {
				return err
			}
			return a.backupReport(rep, "校验通过", "verified")
		},
	}
	c.Flags().StringVar(&name, "backup", "", "备份名称，默认最新 name of the backup, the newest by default")
	unlocking(c, &identity, &pass)
	return c
}

func (a *app) backupRestoreCmd() *cobra.Command {
	var to, name, tail, identity, pass string
	c := &cobra.Command{
		Use:   "restore DIR --home NEW",
		Short: "由备份恢复到新目录 · make a new home of a backup",
		Long: `由备份建立新的网关目录。为防止用旧备份找回已用预算，恢复后的网关须有主管部门签名确认才能启动：
有更新的账本副本（sandgate ledger copy）时用 --ledger-tail 接上；随后 sandgate backup confirm，再 serve --recovery。
Makes a new home of a backup. So that no old backup gives spent budget back, the restored gateway starts only with the
regulator's signed confirmation: take a later copy of the ledger along with --ledger-tail if there is one, then
sandgate backup confirm, then serve --recovery.`,
		Example: `  sandgate backup restore /mnt/backup --home ./home2 --identity ./backup.key
  sandgate backup restore /mnt/backup --home ./home2 --passphrase-file ./pass --ledger-tail ./copy`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ids, err := backup.Identities(args[0], identity, pass)
			if err != nil {
				return err
			}
			rep, _, err := backup.Restore(c.Context(), args[0], name, to, tail, ids)
			if err != nil {
				return err
			}
			if err := a.backupReport(rep, "已恢复", "restored"); err != nil {
				return err
			}
			a.note("下一步: 主管部门执行 sandgate backup confirm --home %s --out recovery.dsse，然后 sandgate serve --home %s --recovery recovery.dsse",
				"next: the regulator runs sandgate backup confirm --home %s --out recovery.dsse, then sandgate serve --home %s --recovery recovery.dsse", to, to)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&to, "home", "", "新网关目录 the new home")
	f.StringVar(&name, "backup", "", "备份名称，默认最新 name of the backup, the newest by default")
	f.StringVar(&tail, "ledger-tail", "", "更新的账本副本 a later copy of the ledger")
	unlocking(c, &identity, &pass)
	require(c, "home")
	return c
}

func (a *app) backupConfirmCmd() *cobra.Command {
	var dir, copied, out string
	var whole bool
	c := &cobra.Command{
		Use:   "confirm --home NEW --out FILE",
		Short: "主管部门确认恢复 · the regulator confirms a restoration",
		Long: `由主管部门签名，确认恢复后的网关可以启动；一次恢复一份确认。只读取目录中的 restored.json 和 ledger。
默认：接受账本可能缺失。缺失部分的用量无从得知，所有数据集的预算按用尽处理（重复已发布的查询仍可答复）。
--whole：声明不存在更新的账本；须用 --ledger 出示自存的账本副本，且不得比恢复的账本新。
Signs that a restored gateway may serve; one confirmation is good for one restoration. Reads restored.json and ledger
of the home only. By default it accepts that the ledger may lack entries: what they spent is unknown, so the budget of
every data set counts as spent (repeats of released queries are still answered). --whole states that no later ledger
exists; it needs the regulator's own copy (--ledger), which must not be later than what was restored.`,
		Example: `  sandgate backup confirm --home ./home2 --out recovery.dsse --kit ./kits/data_bureau
  sandgate backup confirm --home ./home2 --out recovery.dsse --whole --ledger ./copy --kit ./kits/data_bureau`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if whole == (copied == "") {
				return usageError{texts.Errorf("--whole and --ledger COPY go together")}
			}
			k, err := a.kit()
			if err != nil {
				return err
			}
			key, err := k.SigningKey()
			if err != nil {
				return err
			}
			mark, err := (&home.Home{Dir: dir}).Restored()
			if err != nil {
				return err
			}
			if mark == nil {
				return texts.Errorf("%s was not restored from a backup, or is confirmed already", dir)
			}
			if err := a.compareLedgers(dir, copied, k.Party, mark); err != nil {
				return err
			}
			text, err := policies.SignRecovery(policies.Recovery{Origin: mark.Origin, Home: mark.Home, Size: mark.Size, Root: mark.Root, Whole: whole}, k.Party, key)
			if err != nil {
				return err
			}
			if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
				return texts.Errorf("%s exists already", out)
			}
			if err := os.WriteFile(out, append(bytes.TrimSpace(text), '\n'), 0o600); err != nil {
				return texts.Errorf("failed to write the confirmation: %w", err)
			}
			a.say("已确认恢复 %s（账本 %d 条）: %s", "confirmed restoration %s (ledger %d entries): %s", short(mark.Home), mark.Size, out)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "home", "", "恢复的网关目录 the restored home")
	f.StringVar(&copied, "ledger", "", "主管部门自存的账本副本 the regulator's own copy of the ledger")
	f.StringVar(&out, "out", "", "确认文件 where the confirmation goes")
	f.BoolVar(&whole, "whole", false, "声明不存在更新的账本 state that no later ledger exists")
	require(c, "home", "out")
	return c
}

// compareLedgers checks that the restored ledger is the one its mark names, and that
// the regulator's copy, if one is given, is a beginning of it.
func (a *app) compareLedgers(dir, copied, party string, mark *home.Restored) error {
	replayed := state.New()
	read := func(from string, s *state.State, at ...uint64) (ledger.WriteAhead, error) {
		f, err := os.Open(ledger.WriteAheadFile(from))
		if err != nil {
			return ledger.WriteAhead{}, texts.Errorf("failed to open the ledger: %w", err)
		}
		defer f.Close()
		return ledger.ReadWriteAhead(f, s.Apply, at...)
	}
	var own ledger.WriteAhead
	var at []uint64
	var err error
	if copied != "" {
		if within(copied, dir) {
			return usageError{errors.New(a.t("--ledger 须是主管部门自存的副本，不能是恢复目录中的账本", "--ledger is the regulator's own copy, not the ledger of the restored home"))}
		}
		if own, err = read(copied, state.New()); err != nil {
			return err
		}
		at = append(at, own.Tree.Size)
	}
	restored, err := read((&home.Home{Dir: dir}).Ledger(), replayed, at...)
	if err != nil {
		return err
	}
	if g := replayed.Genesis(); g == nil || g.Regulator != party {
		return usageError{errors.New(a.t("恢复由主管部门确认：请用其密钥包", "a restoration is confirmed by the regulator: use its kit"))}
	}
	if restored.Tree.Size != mark.Size || hex.EncodeToString(restored.Tree.Root[:]) != mark.Root || restored.Origin != mark.Origin {
		return texts.Errorf("the ledger is not the one that was restored: restore the home again")
	}
	if copied == "" {
		return nil
	}
	if root, ok := restored.Roots[own.Tree.Size]; !ok || root != own.Tree.Root {
		return hintedError{errors.New(a.t("自存的账本副本比恢复的账本新，或属于另一历史", "the regulator's copy is later than the restored ledger, or of another history")),
			a.t("用 backup restore --ledger-tail 接上该副本重新恢复", "restore again and take the copy along: backup restore --ledger-tail")}
	}
	return nil
}

// within says whether a path lies below a directory, whatever links lead there.
func within(path, dir string) bool {
	real := func(p string) string {
		if abs, err := filepath.Abs(p); err == nil {
			p = abs
		}
		if target, err := filepath.EvalSymlinks(p); err == nil {
			return target
		}
		return p
	}
	rel, err := filepath.Rel(real(dir), real(path))
	return err == nil && filepath.IsLocal(rel)
}
