package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/internal/bilingual"
	"github.com/sandgate/sandgate/policies"
)

// Exit codes, documented in --help.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitRefused     = 3
	exitAuditFailed = 4
	exitUnavailable = 5
)

// app is what every command shares.
type app struct {
	in       io.Reader
	out, err io.Writer
	lang     string // zh | en
	format   string // table | json | csv
	kitDir   string
	server   string
}

// zh picks a text by language.
func (a *app) t(zh, en string) string {
	if a.lang == "en" {
		return en
	}
	return zh
}

// either is t for a text that its author may have given in one language alone: the
// other stands in for it, marked.
func (a *app) either(zh, en string) string {
	switch {
	case a.lang == "en" && en == "" && zh != "":
		return "[zh] " + zh
	case a.lang != "en" && zh == "" && en != "":
		return "[en] " + en
	}
	return a.t(zh, en)
}

func (a *app) say(zh, en string, args ...any) { fmt.Fprintf(a.out, a.t(zh, en)+"\n", args...) }

func (a *app) note(zh, en string, args ...any) { fmt.Fprintf(a.err, a.t(zh, en)+"\n", args...) }

// localeLang is Chinese unless the locale says English.
func localeLang() string {
	for _, v := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if s := os.Getenv(v); s != "" {
			if strings.HasPrefix(strings.ToLower(s), "en") {
				return "en"
			}
			return "zh"
		}
	}
	return "zh"
}

// usageError is an error of the command line.
type usageError struct{ error }

func (e usageError) Chinese() string { return bilingual.Chinese(e.error) }

// hintedError is an error with a way out of it.
type hintedError struct {
	error
	hint string
}

func (e hintedError) Chinese() string { return bilingual.Chinese(e.error) }

// silentError ends a command that has already said what there is to say.
type silentError struct{ code int }

func (e *silentError) Error() string { return fmt.Sprintf("exit %d", e.code) }

func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	a := &app{in: in, out: out, err: errOut, lang: localeLang()}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	return a.report(err)
}

// report prints an error with its hint and gives the exit code.
func (a *app) report(err error) int {
	var silent *silentError
	if errors.As(err, &silent) {
		return silent.code
	}
	var refused *gateway.Refusal
	if errors.As(err, &refused) {
		for _, r := range refused.Reasons {
			fmt.Fprintf(a.err, "%s %s: %s\n", a.t("拒绝", "refused"), r.Code, r.Text(a.lang))
		}
		return exitRefused
	}
	var reason *policies.Reason
	if errors.As(err, &reason) {
		// What wraps it says which file is meant.
		where, _ := strings.CutSuffix(err.Error(), reason.Error())
		fmt.Fprintf(a.err, "%s: %s%s: %s\n", a.t("错误", "error"), where, reason.Code, reason.Text(a.lang))
		return exitError
	}
	if p := client.ProblemOf(err); p != nil && p.Code != codes.Unknown {
		return a.reportProblem(p)
	}
	fmt.Fprintf(a.err, "%s: %s\n", a.t("错误", "error"), a.said(err))
	var usage usageError
	if errors.As(err, &usage) || isCobraUsage(err) {
		fmt.Fprintf(a.err, "%s\n", a.t("提示: 用 --help 查看用法和示例", "hint: see --help for usage and examples"))
		return exitUsage
	}
	var hinted hintedError
	if errors.As(err, &hinted) {
		fmt.Fprintf(a.err, "%s%s\n", a.t("提示: ", "hint: "), hinted.hint)
	}
	return exitError
}

func isCobraUsage(err error) bool {
	for _, s := range []string{"unknown command", "unknown flag", "unknown shorthand", "accepts ", "requires at least", "required flag", "invalid argument", "flag needs an argument", "if any flags in the group", "at least one of the flags"} {
		if strings.Contains(err.Error(), s) {
			return true
		}
	}
	return false
}

func (a *app) reportProblem(p *client.Problem) int {
	switch p.Code {
	case codes.Unavailable, codes.DeadlineExceeded:
		if p.Reason == "" {
			fmt.Fprintf(a.err, "%s: %s\n", a.t("错误: 无法连接网关", "error: the gateway cannot be reached"), a.said(errors.New(p.Text("en"))))
			fmt.Fprintln(a.err, a.t("提示: 检查地址（--server）、证书（--kit）以及网关是否运行", "hint: check the address (--server), the certificate (--kit) and whether the gateway runs"))
			return exitUnavailable
		}
	case codes.Unauthenticated:
		fmt.Fprintf(a.err, "%s: %s\n", a.t("错误: 身份验证失败", "error: not authenticated"), a.said(errors.New(p.Text(a.lang))))
		return exitRefused
	}
	if len(p.Reasons) == 0 {
		fmt.Fprintf(a.err, "%s: %s\n", a.t("错误", "error"), a.said(errors.New(p.Text(a.lang))))
		return exitError
	}
	// What no rule refuses is an error: whoever scripts the client must not take a
	// broken gateway for a decision.
	word, code := a.t("拒绝", "refused"), exitRefused
	switch p.Code {
	case codes.Internal, codes.DataLoss:
		word, code = a.t("错误", "error"), exitError
	case codes.Unavailable:
		word, code = a.t("错误", "error"), exitUnavailable
	}
	for _, r := range p.Reasons {
		fmt.Fprintf(a.err, "%s %s: %s\n", word, r.GetCode(), reasonText(r, a.lang))
	}
	if p.Job != "" {
		fmt.Fprintf(a.err, "%s %s\n", a.t("已记入账本:", "ledgered as:"), p.Job)
	}
	return code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "sandgate",
		Short: "公共数据沙箱与授权运营运行时 · privacy-preserving data sandbox and authorised-operation runtime",
		Long: `Sandgate 公共数据沙箱：原始数据不出域，数据可用不可见。
Raw data never leaves the domain; operators get released answers, regulators verify everything offline.

退出码 exit codes: 0 成功 ok · 1 错误 error · 2 用法 usage · 3 被规则拒绝 refused · 4 审计未通过或目录有错 audit failed or lint errors · 5 网关不可达 unreachable`,
		Example: `  sandgate demo --once
  sandgate init --home ./home --regulator data_bureau --kit-out ./kits/data_bureau`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       gateway.Version(),
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.lang != "zh" && a.lang != "en" {
				return usageError{texts.Errorf("unknown language %q; known: zh, en", a.lang)}
			}
			switch a.format {
			case "table", "json", "csv":
				return nil
			}
			return usageError{texts.Errorf("unknown output format %q; known: table, json, csv", a.format)}
		},
	}
	f := root.PersistentFlags()
	f.StringVar(&a.lang, "lang", a.lang, "语言 language: zh|en")
	f.StringVarP(&a.format, "output", "o", "table", "输出格式 output: table|json|csv")
	f.StringVar(&a.kitDir, "kit", os.Getenv("SANDGATE_KIT"), "参与方密钥包目录 the party's kit directory (or SANDGATE_KIT)")
	f.StringVar(&a.server, "server", os.Getenv("SANDGATE_SERVER"), "网关地址 gateway HOST:PORT, overrides the kit's (or SANDGATE_SERVER)")
	root.AddCommand(a.initCmd(), a.partyCmd(), a.serveCmd(), a.policyCmd(), a.catalogCmd(), a.ingestCmd(),
		a.jobCmd(), a.budgetCmd(), a.ledgerCmd(), a.auditCmd(), a.demoCmd(), a.doctorCmd(), a.wasmCmd(), a.productCmd(), a.statementCmd(), a.usageCmd(), a.yearbookCmd(),
		a.licenceCmd(), a.orderCmd(), a.consentCmd(),
		a.applicationCmd(), a.objectionCmd(), a.correctionCmd(), a.dutiesCmd(), a.riskCmd(),
		a.snapshotCmd(), a.keyCmd(), a.backupCmd(),
		a.witnessCmd(), a.evidenceCmd(),
		// auto:
		a.alertCmd(),
		a.verifyCmd(),
		// model:
		a.modelCmd(),
		// twin:
		a.twinCmd(),
		// hub:
		a.roundCmd())
	for _, c := range root.Commands() {
		if c.HasSubCommands() && c.RunE == nil {
			c.Args, c.RunE = cobra.ArbitraryArgs, a.chooseCommand
			var examples []string
			for _, sub := range c.Commands() {
				first, _, _ := strings.Cut(sub.Example, "\n")
				examples = append(examples, first)
			}
			c.Example = strings.Join(examples, "\n")
		}
	}
	return root
}

// chooseCommand runs when a group such as "job" is called without one of its
// commands: cobra would print help and succeed.
func (a *app) chooseCommand(c *cobra.Command, args []string) error {
	var names []string
	for _, sub := range c.Commands() {
		names = append(names, sub.Name())
	}
	if len(args) > 0 {
		return usageError{texts.Errorf("unknown command %q for %q; known: %s", args[0], c.CommandPath(), join(names))}
	}
	return usageError{texts.Errorf("%q needs a command: %s", c.CommandPath(), join(names))}
}

// kit opens the party's kit.
func (a *app) kit() (*home.Kit, error) {
	if a.kitDir == "" {
		return nil, usageError{errors.New(a.t("未指定密钥包：用 --kit DIR 或环境变量 SANDGATE_KIT", "no kit: pass --kit DIR or set SANDGATE_KIT"))}
	}
	return home.OpenKit(a.kitDir)
}

// dial connects as the party of the kit.
func (a *app) dial() (*client.Client, error) {
	k, err := a.kit()
	if err != nil {
		return nil, err
	}
	return client.Dial(k, a.server, a.signs(k))
}
