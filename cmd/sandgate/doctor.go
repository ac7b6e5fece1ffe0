package main

import (
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/sandbox"
)

func (a *app) doctorCmd() *cobra.Command {
	var dirs []string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "检查本机能否隔离工作进程 · check what this host offers for isolating workers",
		Long: `逐项检查内核、用户命名空间、Landlock、seccomp 等，并在每个隔离等级真正启动一个探针进程；缺什么、怎么补，逐条说明。
full 等级可用时退出码为 0，否则为 1。不改动主机。--certificates 另查网关目录或密钥包中证书的有效期，一个月内到期的退出码也为 1。
Checks kernel, user namespaces, Landlock, seccomp and more, and really starts a canary worker of each isolation
tier; says of each missing thing what to do. Exit status 0 when the full tier works, 1 otherwise. Changes nothing.
带 --kit 时也询问网关：见证方是否沉默或有异议。 With --kit it asks the gateway too whether witnesses are silent or object.
--certificates looks at those of a gateway's home or of a kit, too; one that ends within a month is exit status 1.`,
		Example: `  sandgate doctor
  sandgate doctor --kit ./kits/data_bureau
  sandgate doctor -o json
  sandgate doctor --certificates ./home --certificates ./kits/health`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var list []home.Certificate
			for _, dir := range dirs {
				more, err := home.Certificates(dir, time.Now())
				if err != nil {
					return err
				}
				list = append(list, more...)
			}
			d := sandbox.Diagnose(c.Context(), "")
			if a.kitDir != "" {
				d.Findings = append(d.Findings, a.witnessFinding(c.Context()))
			}
			if err := a.diagnosis(d, list); err != nil {
				return err
			}
			soon := slices.ContainsFunc(list, func(c home.Certificate) bool { return c.Soon })
			if !d.Tiers[sandbox.TierFull] || soon {
				return &silentError{exitError}
			}
			return nil
		},
	}
	c.Flags().StringArrayVar(&dirs, "certificates", nil, "网关目录或密钥包，检查其证书有效期 a gateway's home or a kit whose certificates to look at (repeatable)")
	return c
}

var doctorNames = map[string]string{
	"kernel": "内核", "user namespaces": "用户命名空间", "landlock": "Landlock", "seccomp": "seccomp",
	"memory-deny-write-execute": "禁止可写又可执行的内存", "cgroup v2": "cgroup v2", "memlock": "内存锁定上限",
	"AppArmor restriction of user namespaces": "AppArmor 对用户命名空间的限制", "temporary directory": "临时目录", "memory": "内存", "swap": "交换区", "witnesses": "见证",
	"tier full": "隔离等级 full", "tier container": "隔离等级 container",
}

func (a *app) diagnosis(d sandbox.Diagnosis, certs []home.Certificate) error {
	if a.format == "json" {
		return a.json(struct {
			sandbox.Diagnosis
			Certificates []home.Certificate `json:"certificates,omitempty"`
		}{d, certs})
	}
	levels := map[sandbox.Level]string{
		sandbox.LevelOK: a.t("正常", "ok"), sandbox.LevelAdvice: a.t("建议", "advice"), sandbox.LevelMissing: a.t("缺失", "missing"),
	}
	body := make([][]string, 0, len(d.Findings))
	for _, f := range d.Findings {
		body = append(body, []string{a.t(doctorNames[f.Name], f.Name), levels[f.Level], f.Found})
	}
	if err := a.rows([]string{a.t("检查项", "check"), a.t("结果", "result"), a.t("实况", "found")}, body); err != nil || a.format != "table" {
		return err
	}
	if len(certs) > 0 {
		if err := a.certificates(certs); err != nil {
			return err
		}
		if slices.ContainsFunc(certs, func(c home.Certificate) bool { return c.Soon }) {
			a.say("证书将到期：网关证书用 sandgate key rotate server，参与方证书用 sandgate party renew", "certificates end soon: renew the gateway's by sandgate key rotate server, a party's by sandgate party renew")
		}
	}
	for _, f := range d.Findings {
		if f.FixEn != "" {
			a.say("%s：%s", "%s: %s", a.t(doctorNames[f.Name], f.Name), a.t(f.FixZh, f.FixEn))
		}
	}
	switch {
	case d.Tiers[sandbox.TierFull]:
		a.say("本机可以提供 full 等级的服务", "this host can serve in the full tier")
	case d.Tiers[sandbox.TierContainer]:
		a.say("本机只能提供 container 等级的服务，须用 --isolation container 明确要求，并会写入账本", "this host can serve in the container tier only; ask for it with --isolation container; the ledger records it")
	default:
		a.say("本机不能提供服务", "this host cannot serve")
	}
	return nil
}
