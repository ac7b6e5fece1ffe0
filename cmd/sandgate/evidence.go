package main

import (
	"errors"
	"io"
	"os"

	"filippo.io/torchwood"
	"github.com/spf13/cobra"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/ledger/dossier"
	"github.com/sandgate/sandgate/ledger/witness"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) evidenceCmd() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "evidence RELEASE",
		Short: "一个文件的发布证据 · the evidence of a release in one file",
		Long: `写出一个文件：该发布涉及的账本记录、其所依据的已签名授权与策略、包含证明、检查点及见证签名。
任何人可在没有其他东西的机器上用 sandgate evidence verify 核验；格式见 docs/evidence.md。
Writes one file: the ledger entries of a release, the signed licence and policies they rest on, inclusion proofs, the
checkpoint and its cosignatures. Anybody can verify it with sandgate evidence verify on a machine that has nothing else;
docs/evidence.md describes the format.`,
		Example: `  sandgate evidence jobs/0123456789abcdef0123 --out evidence.json --kit ./kits/alpha
  sandgate evidence verify evidence.json --trust trust.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			e, err := cl.Witness.GetEvidence(c.Context(), &sandgatev1.GetEvidenceRequest{Name: args[0]})
			if err != nil {
				return err
			}
			if out == "" {
				_, err := a.out.Write(e.GetFile())
				return err
			}
			f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return texts.Errorf("failed to create evidence file: %w", err)
			}
			_, err = f.Write(e.GetFile())
			if err = errors.Join(err, f.Close()); err != nil {
				return texts.Errorf("failed to write evidence file: %w", err)
			}
			a.note("证据已写入 %s（%d 字节）", "evidence written to %s (%d bytes)", out, len(e.GetFile()))
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "文件，不覆盖已有文件；默认标准输出 file, never overwritten; standard output by default")
	c.AddCommand(a.evidenceVerifyCmd(), a.evidenceStampCmd())
	return c
}

func (a *app) evidenceVerifyCmd() *cobra.Command {
	var trust, roots string
	var keys []string
	var quorum int
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "离线核验证据文件 · verify an evidence file offline",
		Long: `只需证据文件和信任文件（以及自己掌握的见证公钥），不需要网络、网关和账本。不成立时退出码为 4，文件不是证据文件时为 2。
Needs the file and the trust file (and the keys of witnesses you hold yourself); no network, gateway or ledger. Exit
status 4 when it does not hold, 2 when the file is no evidence.`,
		Example: `  sandgate evidence verify evidence.json --trust trust.json
  sandgate evidence verify evidence.json --trust trust.json --witness data-bureau.example/witness+…
  sandgate evidence verify stamped.json --trust trust.json --tsa-root tsa-root.pem`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := os.ReadFile(trust)
			if err != nil {
				return texts.Errorf("failed to read trust file: %w", err)
			}
			t, err := audit.ParseTrust(text)
			if err != nil {
				return err
			}
			opt := dossier.Options{Trust: *t, Witnesses: witness.Policy{Quorum: len(keys)}}
			if quorum > 0 {
				opt.Witnesses.Quorum = quorum
			}
			if opt.Witnesses.Quorum > len(keys) {
				return usageError{texts.Errorf("--quorum is more than the witnesses named")}
			}
			for _, k := range keys {
				key, err := torchwood.NewCosignatureVerifier(k)
				if err != nil {
					return usageError{texts.Errorf("--witness is the cosignature key of a witness, name+hash+key")}
				}
				opt.Witnesses.Parties = append(opt.Witnesses.Parties, witness.Party{Key: key})
			}
			if roots != "" {
				if opt.Authorities, err = readRoots(roots); err != nil {
					return err
				}
			}
			data, err := readAtMost(args[0], dossier.MaxFile)
			if err != nil {
				return err
			}
			f, err := dossier.Parse(data)
			if err != nil {
				return usageError{texts.Errorf("%s is no evidence file (%w); FILE is the JSON that sandgate evidence RELEASE --out FILE wrote", args[0], err)}
			}
			r, err := f.Verify(opt)
			if err != nil {
				a.say("证据不成立: %s", "the evidence does not hold: %s", a.said(err))
				return &silentError{exitAuditFailed}
			}
			return a.evidence(r)
		},
	}
	c.Flags().StringVar(&trust, "trust", "", "信任文件 trust.json from the regulator")
	c.Flags().StringArrayVar(&keys, "witness", nil, "自己掌握的见证公钥，须有其签名 key of a witness that must have cosigned (repeatable)")
	c.Flags().IntVar(&quorum, "quorum", 0, "其中至少几方，0 为全部 how many of them, 0: all")
	c.Flags().StringVar(&roots, "tsa-root", "", "时间戳机构的根证书（PEM）；给出则文件须有其时间戳 root certificates of a time-stamping authority; the file must hold its time-stamp then")
	require(c, "trust")
	return c
}

func readAtMost(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, texts.Errorf("failed to open file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, texts.Errorf("failed to read file: %w", err)
	}
	return data, nil
}

func (a *app) evidence(r *dossier.Report) error {
	if a.format == "json" {
		return a.json(r)
	}
	a.say("作业 %s，运营机构 %s，授权 %s，用途 %s，数据集 %s", "job %s, operator %s, licence %s, purpose %s, data sets %s", r.Job, r.Operator, r.Licence, r.Purpose, join(r.Datasets))
	if r.RepeatOf != "" {
		a.say("重复 %s，不另收费", "a repeat of %s, free of charge", r.RepeatOf)
	}
	a.say("预留 %s，发布 %s，费用 ρ %s，结果摘要 %s", "reserved %s, released %s, price ρ %s, digest of the release %s",
		policies.Clock(r.Reserved), policies.Clock(r.Released), r.Price, r.Digest)
	for _, d := range r.Documents {
		a.say("第 %d 条: %s，签名 %s", "entry %d: %s, signed by %s", d.Index, join(d.Documents), join(d.Signers))
	}
	a.say("检查点: %s，%d 条，根 %s", "checkpoint: %s, %d entries, root %s", r.Origin, r.Size, r.Root)
	for _, c := range r.Cosigned {
		a.say("见证 %s %s", "witness %s %s", c.Name, policies.Clock(c.At))
	}
	switch s := r.Timestamp; {
	case s == nil:
	case s.Trusted:
		a.say("时间戳 %s，%s", "time-stamp %s by %s", policies.Clock(s.At), s.Authority)
	default:
		a.say("时间戳 %s，%s（未核对机构；用 --tsa-root 核对）", "time-stamp %s by %s (the authority was not checked; name its root with --tsa-root)", policies.Clock(s.At), s.Authority)
	}
	if len(r.Cosigned) == 0 {
		a.say("没有见证签名：文件中没有见证规则", "no cosignature: the file holds no witness policy")
	}
	a.say("证据成立。它不重算查询的裁决；那由 sandgate audit 对整个账本进行", "the evidence holds. It does not decide the query again; that is for sandgate audit, on the whole ledger")
	return nil
}
