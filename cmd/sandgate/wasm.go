package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sandgate/sandgate/compute/wasm"
	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

func (a *app) wasmCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "wasm",
		Short: "在隔离进程中检查、试运行 WebAssembly 打分模块 · check and try WebAssembly scoring modules in a jailed worker",
		Long: `检查并试运行 WebAssembly 打分模块：列进，得分出，别无其他。用运营机构自己的文件，不需要网关。
Checks and tries WebAssembly scoring modules: columns in, scores out, nothing else. Works on the operator's own
files and needs no gateway.`,
	}
	c.AddCommand(a.wasmCheckCmd(), a.wasmRunCmd())
	return c
}

// wasmOptions are the flags of both commands.
type wasmOptions struct {
	tier      string
	memory    int64
	output    int64
	interpret bool
	limits    wasm.Limits
}

func (o *wasmOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.tier, "isolation", string(sandbox.TierFull), "隔离等级 isolation tier: full|container")
	f.Int64Var(&o.memory, "memory", 256, "模块可声明的最大内存（MiB）most memory a module may declare, in MiB")
	f.DurationVar(&o.limits.Compile, "compile-timeout", 10*time.Second, "编译时限 limit on compiling")
	f.BoolVar(&o.interpret, "interpreter", false, "用解释器代替编译器，慢数十倍，进程中从不产生可执行内存 interpret instead of compiling: tens of times slower, no memory is ever made executable")
}

// host starts the workers' pool.
func (o *wasmOptions) host(ctx context.Context) (*wasm.Host, error) {
	if o.memory < 1 || o.memory > 4095 {
		return nil, usageError{texts.Errorf("--memory is a number of MiB, 1…4095")}
	}
	if o.limits.Compile <= 0 {
		return nil, usageError{texts.Errorf("--compile-timeout must be longer than 0")}
	}
	o.limits.Memory = o.memory << 20
	pool, err := sandbox.NewPool(ctx, sandbox.Config{Tier: sandbox.Tier(o.tier), Limits: sandbox.Limits{Memory: 256 << 20}, Jobs: 1})
	if err != nil {
		return nil, err
	}
	return &wasm.Host{Pool: pool, Limits: o.limits, Interpret: o.interpret}, nil
}

// wasmError shows a module's refusal like every other.
func wasmError(err error) error {
	var r *policies.Reason
	if errors.As(err, &r) {
		return &gateway.Refusal{Reasons: []policies.Reason{*r}}
	}
	return err
}

// readModule reads a module, and of a file far too large only what shows that.
func readModule(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 16<<20))
}

func (a *app) wasmCheckCmd() *cobra.Command {
	var o wasmOptions
	c := &cobra.Command{
		Use:   "check MODULE",
		Short: "检查模块并列出它的输入与输出 · check a module and list its inputs and outputs",
		Long: `静态检查模块（无导入、无 start、内存有上限、只用允许的指令），在隔离进程中编译，并询问它的列。
Checks the module statically (no imports, no start function, bounded memory, allowed instructions only), compiles
it in a jailed worker and asks it for its columns.`,
		Example: `  sandgate wasm check score.wasm
  sandgate wasm check score.wasm -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			module, err := readModule(args[0])
			if err != nil {
				return err
			}
			h, err := o.host(c.Context())
			if err != nil {
				return err
			}
			defer h.Pool.Close()
			report, sig, _, err := h.Describe(c.Context(), module)
			if err != nil {
				return wasmError(err)
			}
			return a.wasmReport(report, sig)
		},
	}
	o.flags(c)
	return c
}

func (a *app) wasmReport(r *wasm.Report, sig wasm.Signature) error {
	names := func(types []wasm.Type) []string {
		out := make([]string, len(types))
		for i, t := range types {
			out[i] = t.String()
		}
		return out
	}
	if a.format == "json" {
		return a.json(map[string]any{
			"sha256": r.SHA256, "bytes": r.Bytes, "functions": r.Functions, "memory_max": r.MemoryMax, "initialises": r.Initialises,
			"simd": r.SIMD, "abi": wasm.ABIVersion, "inputs": names(sig.Inputs), "outputs": names(sig.Outputs),
		})
	}
	return a.rows([]string{a.head("项目", "item"), a.head("值", "value")}, [][]string{
		{"sha256", r.SHA256},
		{a.head("字节数", "bytes"), itoa(int64(r.Bytes))},
		{a.head("函数个数", "functions"), itoa(int64(r.Functions))},
		{a.head("最大内存（字节）", "memory_max"), itoa(r.MemoryMax)},
		{"ABI", itoa(wasm.ABIVersion)},
		{a.head("输入", "inputs"), join(names(sig.Inputs))},
		{a.head("输出", "outputs"), join(names(sig.Outputs))},
	})
}

func (a *app) wasmRunCmd() *cobra.Command {
	var o wasmOptions
	var input, out string
	var columns []string
	c := &cobra.Command{
		Use:   "run MODULE --input FILE",
		Short: "用模块给自己的文件打分 · score one's own file with a module",
		Long: `在隔离进程中运行模块：按批读入 CSV 或 Parquet，每批用两个全新实例各算一次，结果须逐位相同。
列按模块声明的类型解释；空字段为缺失值。表格输出只显示前 20 行，csv 与 json 输出全部。
Runs the module in a jailed worker: reads CSV or Parquet in batches and scores each batch twice in fresh instances,
whose results must agree bit for bit. Columns are read as the module declares them; an empty field is a missing
value. A table shows the first 20 rows, csv and json all.`,
		Example: `  sandgate wasm run score.wasm --input customers.csv
  sandgate wasm run score.wasm --input customers.parquet --column age,income --out scores.csv -o csv`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if o.output < 1 || o.limits.Wall <= 0 || o.limits.Batch <= 0 {
				return usageError{texts.Errorf("--max-output, --timeout and --batch-timeout must be more than 0")}
			}
			o.limits.Output = o.output << 20
			module, err := readModule(args[0])
			if err != nil {
				return err
			}
			in, err := openColumns(input, columns)
			if err != nil {
				return err
			}
			defer in.Close()
			h, err := o.host(c.Context())
			if err != nil {
				return err
			}
			defer h.Pool.Close()
			return a.wasmRun(c.Context(), h, module, in, out)
		},
	}
	o.flags(c)
	f := c.Flags()
	f.StringVar(&input, "input", "", "输入文件 input file: .csv, .csv.gz or .parquet")
	f.StringSliceVar(&columns, "column", nil, "按顺序给模块的列，默认为文件的全部列 columns for the module, in order; all of the file's by default")
	f.StringVar(&out, "out", "", "输出文件（table 即 csv），默认标准输出 output file (table means csv), standard output by default")
	f.DurationVar(&o.limits.Wall, "timeout", 10*time.Minute, "总时限 limit on the whole run")
	f.DurationVar(&o.limits.Batch, "batch-timeout", 10*time.Second, "单批时限 limit on one batch")
	f.Int64Var(&o.output, "max-output", 1024, "输出上限（MiB）limit on the scores in MiB")
	require(c, "input")
	return c
}

// wasmRun scores a file. A file named by out appears only when all went well.
func (a *app) wasmRun(ctx context.Context, h *wasm.Host, module []byte, in *columnFile, out string) error {
	dst := a.out
	format := a.format
	var file *os.File
	if out != "" {
		var err error
		if file, err = os.CreateTemp(filepath.Dir(out), "."+filepath.Base(out)+"-*"); err != nil {
			return err
		}
		defer func() {
			_ = file.Close()
			_ = os.Remove(file.Name()) // already renamed when the run succeeded
		}()
		dst = file
		if format == "table" {
			format = "csv"
		}
	}
	progress, done := a.wasmProgress()
	defer done()
	var w scoreWriter
	stats, err := h.Score(ctx, module, func(sig wasm.Signature) (wasm.Source, error) {
		w = newScoreWriter(dst, format, a.t("行", "row"), len(sig.Outputs))
		return in.source(ctx, sig)
	}, func(b wasm.Batch, scores []wasm.Column) error {
		progress(int64(b.Rows))
		return w.write(b.Rows, scores)
	})
	done()
	if err == nil {
		err = w.close()
	}
	if err != nil {
		return wasmError(err)
	}
	if file != nil {
		if err := errors.Join(file.Sync(), file.Close(), os.Rename(file.Name(), out)); err != nil {
			return err
		}
	}
	a.note("已打分 %d 行，共 %d 批，每批两次结果一致；NaN %d 个", "scored %d rows in %d batches, both runs of each alike; %d NaN", stats.Rows, stats.Batches, stats.NaN)
	return nil
}

// wasmProgress counts rows on a terminal and is silent elsewhere.
func (a *app) wasmProgress() (add func(int64), done func()) {
	f, ok := a.err.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func(int64) {}, func() {}
	}
	bar := progressbar.NewOptions64(-1, progressbar.OptionSetWriter(a.err), progressbar.OptionSetDescription("wasm"),
		progressbar.OptionShowIts(), progressbar.OptionSetItsString("rows"), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	return func(n int64) { _ = bar.Add64(n) }, func() { _ = bar.Finish() }
}

// columnError is a fault of the input file: positions and names, no value.
func columnError(hint, format string, args ...any) error {
	return hintedError{fmt.Errorf(format, args...), strings.TrimSpace(hint)}
}
